"""The page of a group ICA: what was found, which network it is, in whom, and its pictures."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rls_bids import __version__
from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.measures.ica import LEAST_R
from rls_bids.records import Note
from rls_bids.reports.crashes import read_crashes
from rls_bids.reports.methods import Facts, methods_text
from rls_bids.reports.pages import FigureItem, IcaPage, Section, Table
from rls_bids.reports.texts import NOTHING, figure_item, number
from rls_bids.reports.wording import ICA, ICA_TEMPLATES, OWN_TEMPLATES
from rls_bids.settings import Settings
from rls_bids.workflows.ica_plan import IcaDesign, IcaPlan
from rls_bids.workflows.stages import Stage

OWN_PREPROCESSING = "rls_bids"
MISSING = "n/a"
LEAD = (
    "{n} components of the denoised series of all participants, without regard to groups. "
    "Nothing is tested here: give {file} to the participant level with --network-maps, then "
    "compare groups."
)
NOT_FINISHED = "it did not finish; see “What was not done, and why”"
NOT_MADE = "This group ICA was not made: {reason}."
SUMMARY = (
    "{n_matched} of {n} components have a template (spatial correlation of {least:g} or more, "
    "each template once); found in {people} participants, {runs} runs, {voxels} voxels."
)
UNSETTLED = "{n} of {starts} starts of the algorithm did not settle; the best start was taken."
MATCHED = "Components by the correlation with their template"
HEADER = ("Component", "Volume", "Template", "r", "Nearest template", "r (nearest)")
LEFT_OUT = "Who is left out"
CAPTION = "z over the voxels; colours fade out below |z| = 2. The planes go through the peak."
WITH_TEMPLATE = "Template {template}, r = {r}. "
WITHOUT = "No template; the nearest is {template}, r = {r}. "


def collect_ica(
    plan: IcaPlan, stages: Mapping[str, Stage], notes: Sequence[Note], settings: Settings
) -> IcaPage:
    """Read what lies in the output directory and return the page.

    Parameters
    ----------
    plan : IcaPlan
        Whose series were decomposed.
    stages : mapping
        Strategy → what its group ICA writes. Components of another fingerprint are not shown.
    notes : sequence of Note
        What was left out or failed; ``where`` may be a crash file.
    settings : Settings
        Of this call.

    Returns
    -------
    IcaPage
    """
    root = Path(settings.input.output_dir)
    file = stages[plan.designs[0].strategy].product("components").path
    return IcaPage(
        n_components=plan.n_components,
        version=__version__,
        lead=LEAD.format(n=plan.n_components, file=file),
        sections=tuple(_section(each, stages[each.strategy], root) for each in plan.designs),
        methods=methods_text(*ica_facts(plan, settings)),
        notes=tuple(notes),
        crashes=tuple(read_crashes(root, "group", notes, settings)),
    )


def _section(design: IcaDesign, stage: Stage, root: Path) -> Section:
    title = f"Task {design.task}, denoised with {design.strategy}"
    anchor = f"ica-{naming.camel_label(design.strategy)}"
    out = Table(
        caption=LEFT_OUT,
        header=("Participant", "Reason"),
        rows=tuple((f"sub-{label}", reason) for label, reason in design.left_out),
    )
    if not stage.is_finished(str(root)):
        text = (NOT_MADE.format(reason=NOT_FINISHED),)
        return Section(anchor=anchor, title=title, text=text, tables=(out,))
    path = stage.product("components_table").path
    told, rows = read_json(root / naming.sidecar(path)), _rows(root / path)
    summary = SUMMARY.format(
        n_matched=told["NumberMatched"],
        n=len(rows),
        least=LEAST_R,
        people=len(design.participants),
        runs=len(design.series),
        voxels=f"{told['NumberOfVoxels']:,}",
    )
    unsettled = int(told["StartsNotConverged"])
    words = (UNSETTLED.format(n=unsettled, starts=told["Starts"]),) if unsettled else ()
    # In the order of the table above them: the best match first, those without template last.
    order = sorted(range(len(rows)), key=lambda place: _rank(rows[place]))
    matched = Table(
        caption=MATCHED, header=HEADER, rows=tuple(_cells(rows[place]) for place in order)
    )
    parts = tuple(
        Section(
            anchor=f"{anchor}-{naming.camel_label(rows[place]['name'])}",
            title=rows[place]["name"],
            figures=(_figure(rows[place], stage.figures[place], root),),
        )
        for place in order
    )
    text = (summary, *words, _templates_words(told))
    return Section(anchor=anchor, title=title, text=text, tables=(matched, out), parts=parts)


def _templates_words(told: Mapping[str, Any]) -> str:
    """Say where the templates come from, without citations."""
    templates = told["Templates"]
    source = templates.get("Source") or templates["Name"]
    doi = f", doi:{templates['DOI']}" if templates.get("DOI") else ""
    n = len(templates["Networks"])
    return f"Templates: {n} networks of {source}{doi} [{templates['GivenSpace']}]."


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _rank(row: Mapping[str, str]) -> tuple[bool, float]:
    is_without = row["template"] == MISSING
    value = row["nearest_correlation" if is_without else "spatial_correlation"]
    return is_without, 0.0 if value == MISSING else -abs(float(value))


def _cells(row: Mapping[str, str]) -> tuple[str, ...]:
    r, near = (row[name] for name in ("spatial_correlation", "nearest_correlation"))
    return (
        row["name"],
        row["index"],
        NOTHING if row["template"] == MISSING else row["template"],
        _number(r),
        row["nearest_template"],
        _number(near),
    )


def _number(text: str) -> str:
    return NOTHING if text == MISSING else number(float(text), 2)


def _figure(row: Mapping[str, str], path: str, root: Path) -> FigureItem:
    if row["template"] == MISSING:
        near = _number(row["nearest_correlation"])
        words = WITHOUT.format(template=row["nearest_template"], r=near)
    else:
        words = WITH_TEMPLATE.format(
            template=row["template"], r=_number(row["spatial_correlation"])
        )
    return figure_item(root, path, "component", NOT_FINISHED, row["name"], words + CAPTION)


def ica_facts(plan: IcaPlan, settings: Settings) -> tuple[Settings, Facts]:
    """Return what the methods text needs, with the processing that the sidecars tell."""
    told: dict[str, Any] = json.loads(plan.designs[0].series[0].processing)
    band = told.get("BandPassHz")
    denoise = replace(
        settings.denoise,
        band_pass=bool(band),
        low_hz=band[0] if band else settings.denoise.low_hz,
        high_hz=band[1] if band else settings.denoise.high_hz,
        filter_order=told.get("FilterOrder") or settings.denoise.filter_order,
        fd_threshold_mm=told.get("MotionThresholdMm", settings.denoise.fd_threshold_mm),
    )
    made_by = told.get("Preprocessing", OWN_PREPROCESSING)
    given = settings.measures.network_maps
    templates = ICA_TEMPLATES.format(file=Path(given).name) if given else OWN_TEMPLATES
    people = max(len(design.participants) for design in plan.designs)
    found = ICA.format(n=plan.n_components, people=people)
    facts = Facts(
        measures=("ica",),
        preprocessing=() if made_by == OWN_PREPROCESSING else (made_by,),
        group=(found, templates),
    )
    return replace(settings, denoise=denoise), facts
