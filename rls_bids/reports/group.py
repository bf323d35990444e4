"""From group results on disk and the designs to the page of a group model."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rls_bids import __version__
from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.group import GroupPlan, MapDesign, participants_of
from rls_bids.measures import MEASURES
from rls_bids.records import Note
from rls_bids.reports.comparisons import Comparison, compare_counts, compare_values
from rls_bids.reports.crashes import read_crashes
from rls_bids.reports.group_graphs import graph_sections
from rls_bids.reports.methods import Facts, methods_text
from rls_bids.reports.pages import FigureItem, GroupPage, SeedResult, Table
from rls_bids.reports.texts import NOTHING, figure_item, number
from rls_bids.reports.wording import GROUP_GRAPHS
from rls_bids.settings import Settings
from rls_bids.workflows.stages import Stage

if TYPE_CHECKING:
    import pandas as pd

OWN_PREPROCESSING = "rls_bids"
CONNECTIVITY = "connectivity with the seed (Fisher z)"
NOT_FINISHED = "its model did not finish; see “What was not done, and why”"
NOBODY_OUT = "Nobody of either group was left out."
RATES = (
    "{first_out} of {n_first} {first} and {second_out} of {n_second} {second} are in no model "
    "(Fisher's exact test of equal rates: {p}). Different rates can make groups differ by "
    "selection."
)
ONLY = "{reason} (seeds {seeds})"
COUNTS = "In this model: {n_first} {first}, {n_second} {second}; denoised with {strategy}."
LABELS: Mapping[str, str] = {
    "mean_fd": "mean FD (mm)",
    "minutes_kept": "minutes kept",
    "degrees_of_freedom": "residual df",
    "age": "age (years)",
}
PEAKS = ("Cluster", "x", "y", "z (mm)", "Size (mm³)", "z value", "t", "p", "p (FDR)", "Hedges g")
MOST_PEAKS = 20
SOME_PEAKS = "; the {n} largest of {total}, the others are in the table of clusters"
FORMING = "Local maxima of clusters with an uncorrected p below .001, at least 8 mm apart"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _People:
    """Everyone who is in a model or could have been.

    ``tables`` has one DataFrame a comparison; ``everyone`` one row a participant, taken from a
    model with the participant in it where there is one.
    """

    groups: tuple[str, str]
    tables: "dict[tuple[str, str], pd.DataFrame]"
    everyone: "pd.DataFrame"

    def inside(self, group: str) -> "pd.DataFrame":
        """Return those of a group who are in at least one model."""
        rows = self.everyone
        return rows[(rows["group"] == group) & (rows["included"] == "yes")]

    def columns(self) -> list[str]:
        """Return demography, covariates and measured columns."""
        return list(self.everyone.columns[3:])


def collect_group(
    plan: GroupPlan,
    stages: Mapping[tuple[str, str], Stage],
    notes: Sequence[Note],
    settings: Settings,
) -> GroupPage:
    """Draw the designs, read what lies in the output directory, and return the page.

    Parameters
    ----------
    plan : GroupPlan
        Who is compared for which seed.
    stages : mapping
        (strategy, seed) → what the comparison writes. Maps of another fingerprint are not shown.
    notes : sequence of Note
        What was left out or failed; ``where`` may be a crash file.
    settings : Settings
        Of this call.

    Returns
    -------
    GroupPage
    """
    root = Path(settings.input.output_dir)
    people = _people(plan, settings)
    first, second = people.groups
    remarks = dict.fromkeys(text for each in plan.designs for text in each.result.remarks)
    return GroupPage(
        name=plan.model,
        version=__version__,
        groups=people.groups,
        n_in=(len(people.inside(first)), len(people.inside(second))),
        measure=_measures(plan),
        covariates=settings.group.covariates,
        exclusions=_exclusions(people),
        exclusion_sentence=_exclusion_sentence(people),
        left_out=_left_out(people),
        included=_included(people),
        characteristics=_characteristics(people),
        design_figures=(*_design_figures(plan, root), _covariate_figure(plan, people, root)),
        seeds=tuple(_seeds(plan, stages, settings)),
        methods=methods_text(*group_facts(plan, settings)),
        notes=tuple(notes),
        crashes=tuple(read_crashes(root, "group", notes, settings)),
        remarks=tuple(remarks),
        graphs=tuple(graph_sections(plan.designs, stages, settings)),
    )


def _measures(plan: GroupPlan) -> str:
    """Say in words what is compared."""
    local = [each.compared.name for each in plan.designs if not each.compared.seeds]
    words = [CONNECTIVITY] if len(local) < len(plan.designs) else []
    return ", ".join(dict.fromkeys([*words, *local]))


def _people(plan: GroupPlan, settings: Settings) -> _People:
    import pandas as pd

    tables = {each.key: participants_of(each, plan.table, settings) for each in plan.designs}
    rows = pd.concat(tables.values()).sort_values("included", ascending=False, kind="stable")
    rows = rows[~rows.index.duplicated()]
    everyone = rows.loc[sorted(rows.index, key=natural_key)]
    return _People(groups=plan.designs[0].result.groups, tables=tables, everyone=everyone)


def _exclusions(people: _People) -> Table:
    """Compare how many of each group are left out, of all models and of each."""
    compared = {"of all models": _rates(people.everyone, people.groups)}
    for (strategy, seed), table in people.tables.items():
        compared[f"of {seed} ({strategy})"] = _rates(table, people.groups)
    overall = compared["of all models"]
    rows = tuple(
        (what, *each.cells, each.p_text)
        for what, each in compared.items()
        if each is overall or each.cells != overall.cells
    )
    return Table(
        caption="Left out, by group; models are listed where they differ from the first row",
        header=("Left out", *people.groups, "p (Fisher)"),
        rows=rows,
    )


def _rates(table: "pd.DataFrame", groups: tuple[str, str]) -> Comparison:
    return compare_counts(*_counts(table, groups))


def _counts(table: "pd.DataFrame", groups: tuple[str, str]) -> tuple[list[int], list[int]]:
    """Return how many of each group are left out, and how many there are."""
    out = [int(((table["group"] == name) & (table["included"] == "no")).sum()) for name in groups]
    return out, [int((table["group"] == name).sum()) for name in groups]


def _exclusion_sentence(people: _People) -> str:
    out, n = _counts(people.everyone, people.groups)
    if not any(out):
        return NOBODY_OUT
    return RATES.format(
        first=people.groups[0],
        second=people.groups[1],
        first_out=out[0],
        second_out=out[1],
        n_first=n[0],
        n_second=n[1],
        p=compare_counts(out, n).p_words,
    )


def _left_out(people: _People) -> Table:
    """Name everyone who is left out of any model, with the reason and, if not all, the seeds."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for (_, seed), table in people.tables.items():
        for label, reason in table.loc[table["included"] == "no", "reason"].items():
            reasons.setdefault(str(label), {}).setdefault(reason, []).append(seed)
    rows = []
    for label in sorted(reasons, key=natural_key):
        texts = [
            reason
            if len(seeds) == len(people.tables)
            else ONLY.format(reason=reason, seeds=", ".join(dict.fromkeys(seeds)))
            for reason, seeds in reasons[label].items()
        ]
        group = _cell(people.everyone.loc[label, "group"])
        rows.append((f"sub-{label}", group, "; ".join(texts)))
    header = ("Participant", "Group", "Reason")
    return Table(caption="Who is left out", header=header, rows=tuple(rows))


def _cell(value: object) -> str:
    """Return a value of a table, a dash for what is missing."""
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return NOTHING if is_missing else number(value)


def _included(people: _People) -> Table:
    inside = people.everyone[people.everyone["included"] == "yes"]
    columns = ["group", *people.columns()]
    return Table(
        caption="Who is in at least one model",
        header=("Participant", "Group", *(LABELS.get(name, name) for name in columns[1:])),
        rows=tuple(
            (f"sub-{label}", *(_cell(row[name]) for name in columns))
            for label, row in inside.iterrows()
        ),
    )


def _characteristics(people: _People) -> Table:
    """Compare demography, covariates and quality of who is in."""
    first, second = (people.inside(name) for name in people.groups)
    rows = []
    for name in people.columns():
        each = compare_values(list(first[name]), list(second[name]))
        rows.append((LABELS.get(name, name), *each.cells, each.test, each.p_text))
    sizes = [f"{name} (n = {len(people.inside(name))})" for name in people.groups]
    header = ("", *sizes, "Test", "p")
    return Table(caption="Mean ± standard deviation, or counts", header=header, rows=tuple(rows))


def _design_figures(plan: GroupPlan, root: Path) -> Iterator[FigureItem]:
    """Draw every different design once."""
    from rls_bids.figures.group import plot_design

    different: dict[str, list[MapDesign]] = {}
    for design in plan.designs:
        different.setdefault(design.result.design.to_csv(), []).append(design)
    for designs in different.values():
        matrix = designs[0].result.design
        entities: dict[str, Any] = designs[0].entities
        path = naming.group_figure(plan.model, "design", **entities)
        rows = [f"sub-{label}" for label in matrix.index]
        plot_design(matrix.to_numpy(), list(matrix.columns), root / path, rows=rows)
        seeds = ", ".join(dict.fromkeys(each.compared.name for each in designs))
        item = figure_item(root, path, "design", NOT_FINISHED, seeds)
        yield item if len(different) == 1 else replace(item, caption=f"{seeds}: {item.caption}")


def _covariate_figure(plan: GroupPlan, people: _People, root: Path) -> FigureItem:
    """Draw the numeric characteristics of who is in a model."""
    import pandas as pd

    from rls_bids.figures.group import plot_covariates

    inside = people.everyone[people.everyone["included"] == "yes"]
    numbers = {
        LABELS.get(name, name): pd.to_numeric(inside[name], errors="coerce").to_numpy(float)
        for name in people.columns()
    }
    shown = {name: column for name, column in numbers.items() if np.isfinite(column).any()}
    design = plan.designs[0]
    shared: dict[str, Any] = {
        name: design.entities[name] for name in ("task", "denoise", "contrast")
    }
    path = naming.group_figure(plan.model, "covariates", **shared)
    plot_covariates(shown, list(inside["group"]), root / path)
    return figure_item(root, path, "covariates", NOT_FINISHED)


def _seeds(
    plan: GroupPlan, stages: Mapping[tuple[str, str], Stage], settings: Settings
) -> Iterator[SeedResult]:
    """Yield the result of every comparison, then those that could not be made."""
    strategies = [each.strategy for each in plan.designs]
    several = len({*strategies, *(each.strategy for each in plan.unfit)}) > 1
    for design in plan.designs:
        if design.compared.atlas:
            continue
        strategy, seed = design.key
        name = f"{seed} ({strategy})" if several else seed
        yield _result(name, design, stages[design.key], settings)
    for each in plan.unfit:
        name = f"{each.seed} ({each.strategy})" if several else each.seed
        nothing = FigureItem(title=name, path=None, alt="", reason=each.error.message)
        yield SeedResult(
            name=name, figure=nothing, n_significant=None, n_voxels=0, reason=each.error.message
        )


def _result(name: str, design: MapDesign, stage: Stage, settings: Settings) -> SeedResult:
    root = Path(settings.input.output_dir)
    result = design.result
    figure = figure_item(root, stage.figures[0], "tmap", NOT_FINISHED, name)
    if not stage.is_finished(str(root)):
        return SeedResult(
            name=name, figure=figure, n_significant=None, n_voxels=0, reason=NOT_FINISHED
        )
    told = read_json(root / naming.sidecar(stage.product("t").path))
    text = COUNTS.format(
        n_first=result.n_first,
        first=result.groups[0],
        n_second=result.n_second,
        second=result.groups[1],
        strategy=design.strategy,
    )
    return SeedResult(
        name=name,
        figure=figure,
        n_significant=int(told["NumberOfVoxelsFdr05"]),
        n_voxels=int(told["NumberOfVoxels"]),
        degrees_of_freedom=int(told["DegreesOfFreedom"]),
        peaks=_peaks(root / stage.product("clusters").path),
        text=(text,),
    )


def _peaks(path: Path) -> Table:
    """Return the largest local maxima."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    rows.sort(key=lambda row: -abs(float(row["z"])))
    some = "" if len(rows) <= MOST_PEAKS else SOME_PEAKS.format(n=MOST_PEAKS, total=len(rows))
    shown = tuple(_peak(row) for row in rows[:MOST_PEAKS])
    return Table(caption=FORMING + some, header=PEAKS, rows=shown)


def _peak(row: Mapping[str, str]) -> tuple[str, ...]:
    def shown(key: str, digits: int = 3) -> str:
        return NOTHING if row[key] in ("n/a", "") else number(float(row[key]), digits)

    g = shown("hedgesg")
    if g != NOTHING:
        g += f" [{shown('hedgesg_ciLower')}, {shown('hedgesg_ciUpper')}]"
    places = (shown(key, 4) for key in ("x_mm", "y_mm", "z_mm", "size_mm3"))
    values = (shown(key) for key in ("z", "t", "p_uncorrected", "p_fdr"))
    return (row["cluster"], *places, *values, g)


def group_facts(plan: GroupPlan, settings: Settings) -> tuple[Settings, Facts]:
    """Return what the methods text needs, with the processing that the maps' sidecars tell."""
    first = plan.designs[0]
    told: dict[str, Any] = _processing(first)
    band = told.get("BandPassHz", (settings.denoise.low_hz, settings.denoise.high_hz))
    denoise = replace(
        settings.denoise,
        strategies=tuple(dict.fromkeys(each.strategy for each in plan.designs)),
        band_pass=bool(band),
        low_hz=band[0] if band else settings.denoise.low_hz,
        high_hz=band[1] if band else settings.denoise.high_hz,
        filter_order=told.get("FilterOrder") or settings.denoise.filter_order,
        fd_threshold_mm=told.get("MotionThresholdMm", settings.denoise.fd_threshold_mm),
        smoothing_fwhm_mm=told.get("SmoothingFwhmMm", settings.denoise.smoothing_fwhm_mm),
    )
    known = replace(
        settings, denoise=denoise, group=replace(settings.group, contrast=first.result.groups)
    )
    seeds = {seed.name: seed for each in plan.designs for seed in each.compared.seeds[-1:]}
    made_by = told.get("Preprocessing", OWN_PREPROCESSING)
    preprocessing = () if made_by == OWN_PREPROCESSING else (made_by,)
    stats = {each.compared.measure for each in plan.designs}
    atlases = tuple(dict.fromkeys(each.compared.atlas for each in plan.designs))
    atlases = tuple(atlas for atlas in atlases if atlas)
    made = tuple(
        name
        for name, measure in MEASURES.items()
        if (measure.kind == "local" and stats & {stat.name for stat in measure.stats})
        or (measure.kind == "atlas" and atlases)
    )
    facts = Facts(
        seeds=tuple(seeds.values()),
        measures=made,
        preprocessing=preprocessing,
        group=(GROUP_GRAPHS.format(n=settings.group.n_permutations),) if atlases else (),
    )
    return known, facts


def _processing(design: MapDesign) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(design.result.inputs[0].processing)
    return told
