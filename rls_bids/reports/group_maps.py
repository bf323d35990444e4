"""The parts of a group page on maps: all of them together, then each with its clusters."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.group import GroupPlan, Key, MapDesign
from rls_bids.interfaces.group import LEVEL
from rls_bids.interfaces.group_family import ONE_MAP
from rls_bids.reports.pages import Section, Table
from rls_bids.reports.texts import NOTHING, capitalised, figure_item, number
from rls_bids.settings import Settings
from rls_bids.workflows.designs import count_words
from rls_bids.workflows.group_maps import hypothesis_of
from rls_bids.workflows.group_results import Results
from rls_bids.workflows.stages import Stage

NOT_FINISHED = "its model did not finish; see “What was not done, and why”"
NOT_FITTED = "This was not modelled: {reason}."
ACROSS_MAPS = "p values are corrected over the voxels of each map, not across maps."
TOGETHER = (
    "{n_found} of {n} maps have an effect by the p that is corrected over all maps of the model "
    "(p family ≤ .05); {n_alone} by the p of each map alone. With these resamplings p family "
    "cannot get below {smallest}. Another strategy would be a family of its own."
)
OTHER_SETS = (
    "Not all maps have the same resamplings: participants who lack a map, or another "
    "exchangeability, make designs differ. Maps with the same are corrected by the smallest p of "
    "each resampling, and Holm's method joins the {n_sets} sets."
)
LEFT_ALONE = "Without a result, and not corrected across maps: {names}."
HOW = {
    "tfce": "family-wise over this map after TFCE",
    "cluster": "family-wise over the clusters of this map, by mass",
    "voxel": "family-wise over the voxels of this map",
    "fdr": "false discovery rate over this map",
}
NOTHING_SURVIVES = "No voxel survives ({how}, .05) in {n_voxels} voxels; smallest p {p}{family}."
SURVIVORS = (
    "{n} of {n_voxels} voxels survive ({how}, .05); clusters: {n_clusters}; smallest p "
    "{p}{family}."
)
OVER_FAMILY = ", over all maps {p}"
COUNTS = "In this model: {counts}; denoised with {strategy}. {hypothesis}"
RESAMPLED = "{reason} {n} resamplings ({kind}){which}; the smallest p they can give is {smallest}."
EVERY = ", all that there are"
SAMPLED = ", sampled from more"
TAIL = " Small p come from a generalised Pareto tail where one fits."
TESTED = "{statistic} has {df} degrees of freedom."
TESTED_WELCH = "{statistic} (Welch) has degrees of freedom that differ between voxels."
RATIO = (
    "Residual standard deviations of the groups are as {ratio} ({names}, median over voxels); "
    "{used}."
)
EQUAL = "equal variances are assumed (--variance-groups assumes none)"
UNEQUAL = "each group has a variance of its own, and signs of residuals are flipped"
COVERED = "{n} voxels have a value in every participant and are tested, of {n_any} in any."
ALONE = " Voxels that one participant alone lacks: {each}."
SENSITIVE = "With 80 % power this study finds effects of at least {each}."
SENSITIVE_TO = {
    "single": "{d} standard deviations in one region declared before",
    "map": "{d} in one voxel, corrected over this map",
    "family": "{d} corrected over all maps",
}
INFLATED = (
    "Effect sizes at peaks are selected for being large and are therefore inflated; do not use "
    "them to plan a study. Of the mean: of the participants' means over the cluster, inflated, "
    "too. Left out: over voxels that were chosen without the participant."
)
CIRCULAR = (
    "The label image may be a seed for other participants; tested in these, it would be circular."
)
PEAKS = (
    *("Cluster", "x", "y", "z (mm)", "Size (mm³)", "z value", "p (corrected)", "p (family)"),
    *("Effect size", "of the mean", "left out", "Region", "mostly"),
)
MOST_PEAKS = 20
SOME_PEAKS = "; the {n} with the smallest p of {total}, the others are in the table of clusters"
FORMING = (
    "Clusters of |z| > {z} or a corrected p ≤ .05, and further maxima at least 8 mm apart; "
    "{size} with 95 % confidence limits"
)
SIZES = {
    "hedgesg": "Hedges g",
    "dz": "d_z",
    "partialr": "partial r",
    "partialeta2": "partial η²",
}
ATLASES = ("AAL3", "HarvardOxford")
FAMILY = ("Map", "Contrast", "n", "p (FWE)", "p (family)", "Clusters", "Corrected by")


def map_sections(
    plan: GroupPlan, stages: Mapping[Key, Stage], results: Results, settings: Settings
) -> Iterator[Section]:
    """Yield the part on all maps, one on each comparison, and those that could not be made."""
    designs = [each for each in plan.designs if not each.compared.atlas]
    strategies = [*(each.strategy for each in designs), *(each.strategy for each in plan.unfit)]
    several = len(set(strategies)) > 1
    root = Path(settings.input.output_dir)
    if designs:
        is_family = settings.group.correction != "fdr" and plan.spec.family == "all"
        yield from _together(designs, results, root, is_family=is_family)
    families = {
        strategy: _family_rows(root, stage) for strategy, stage in results.families.items()
    }
    for design in designs:
        name = _name(design.compared.name, design, designs)
        title = f"{name} ({design.strategy})" if several else name
        own = families.get(design.strategy, {}).get(_row_key(design))
        yield _section(title, design, stages[design.key], results, own, settings)
    for each in plan.unfit:
        title = f"{each.seed} ({each.strategy})" if several else each.seed
        text = NOT_FITTED.format(reason=each.error.message.rstrip("."))
        yield Section(anchor=_anchor(title), title=title, text=(text,))


def _name(name: str, design: MapDesign, designs: list[MapDesign]) -> str:
    """Return what is compared, with the contrast where there are several."""
    several = len({each.result.label for each in designs}) > 1
    return f"{name}, {design.result.title}" if several else name


def _anchor(title: str) -> str:
    return f"seed-{naming.camel_label(title)}"


def _row_key(design: MapDesign) -> tuple[str, str]:
    return design.compared.name, design.result.title


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _family_rows(root: Path, stage: Stage) -> dict[tuple[str, str], dict[str, str]]:
    """Return the rows of a finished family by map and contrast."""
    if not stage.is_finished(str(root)):
        return {}
    rows = _rows(root / stage.product("family").path)
    return {(row["map"], row["contrast"]): row for row in rows}


def _together(
    designs: list[MapDesign], results: Results, root: Path, *, is_family: bool
) -> Iterator[Section]:
    """Yield a part for the family of each strategy."""
    for strategy in dict.fromkeys(each.strategy for each in designs):
        mine = [each for each in designs if each.strategy == strategy]
        stage = results.families.get(strategy)
        several = len({each.strategy for each in designs}) > 1
        title = f"All maps ({strategy})" if several else "All maps"
        anchor = f"family-{naming.camel_label(strategy)}"
        if not is_family:
            yield Section(anchor=anchor, title=title, text=(ACROSS_MAPS,))
            continue
        found = _family_rows(root, stage) if stage else {}
        alone = [each.compared.name for each in mine if _row_key(each) not in found]
        left = (LEFT_ALONE.format(names=", ".join(dict.fromkeys(alone))),) if alone else ()
        if not found or stage is None:
            yield Section(anchor=anchor, title=title, text=left)
            continue
        told = read_json(root / naming.sidecar(stage.product("family").path))
        n_sets = told["NumberOfSets"]
        summary = TOGETHER.format(
            n=len(found),
            n_found=sum(float(row["p_family"]) <= LEVEL for row in found.values()),
            smallest=number(float(told["SmallestPFamily"])),
            n_alone=sum(float(row["p_fwe"]) <= LEVEL for row in found.values()),
        )
        sets = (OTHER_SETS.format(n_sets=n_sets),) if n_sets > 1 else ()
        rows = tuple(
            _family_row(found[_row_key(each)], results.clusters[each.key], root)
            for each in mine
            if _row_key(each) in found
        )
        table = Table(caption="Smallest p of each map", header=FAMILY, rows=rows)
        text = (summary, *sets, *left)
        yield Section(anchor=anchor, title=title, text=text, tables=(table,))


def _family_row(row: Mapping[str, str], stage: Stage, root: Path) -> tuple[str, ...]:
    n_clusters: object = None
    if stage.is_finished(str(root)):
        told = read_json(root / naming.sidecar(stage.product("clusters").path))
        n_clusters = told["NumberOfClustersCorrected05"]
    method = row["method"] if row["method"] != ONE_MAP else "nothing: one map"
    p_values = (number(float(row[name])) for name in ("p_fwe", "p_family"))
    return (row["map"], row["contrast"], row["n"], *p_values, number(n_clusters), method)


def _section(
    title: str,
    design: MapDesign,
    stage: Stage,
    results: Results,
    own: Mapping[str, str] | None,
    settings: Settings,
) -> Section:
    """Return the part on one comparison."""
    root = Path(settings.input.output_dir)
    anchor = _anchor(title)
    table = results.clusters.get(design.key)
    if not stage.is_finished(str(root)) or table is None or not table.is_finished(str(root)):
        text = NOT_FITTED.format(reason=NOT_FINISHED)
        return Section(anchor=anchor, title=title, text=(text,))
    told = read_json(root / naming.sidecar(stage.product("z").path))
    listed = read_json(root / naming.sidecar(table.product("clusters").path))
    n = told["NumberOfVoxelsCorrected05"]
    family = OVER_FAMILY.format(p=number(float(own["p_family"]))) if own else ""
    summary = (SURVIVORS if n else NOTHING_SURVIVES).format(
        n=f"{n:,}",
        n_voxels=f"{told['NumberOfVoxels']:,}",
        n_clusters=listed["NumberOfClustersCorrected05"],
        how=HOW[settings.group.correction],
        p=number(float(told["SmallestPCorrected"])),
        family=family,
    )
    shown = [("zmap", stage.figures[0])] + ([("corrected", stage.figures[1])] if n else [])
    return Section(
        anchor=anchor,
        title=title,
        text=(summary, *_words(design, told, listed)),
        figures=tuple(figure_item(root, path, what, NOT_FINISHED, title) for what, path in shown),
        parts=_clusters(anchor, root / table.product("clusters").path, listed, told),
    )


def _words(design: MapDesign, told: Mapping[str, Any], listed: Mapping[str, Any]) -> Iterator[str]:
    """Say who and what is in a comparison, and what it could find."""
    result = design.result
    counts = count_words(result)
    said = {"counts": counts, "strategy": design.strategy, "hypothesis": hypothesis_of(design)}
    yield COUNTS.format(**said)
    drawn = told.get("Resamplings")
    if drawn:
        sentence = RESAMPLED.format(
            reason=drawn["Reason"],
            n=f"{drawn['Number']:,}",
            kind={"sign-flip": "signs flipped"}.get(drawn["Kind"], "permutations"),
            which=EVERY if drawn["Exhaustive"] else SAMPLED,
            smallest=number(float(drawn["SmallestP"])),
        )
        yield sentence + (TAIL if drawn["TailFitted"] else "")
    is_welch = told["Statistic"] in ("v", "G")
    upper = told.get("DegreesOfFreedomEffect")
    df = f"{upper} and {told['DegreesOfFreedom']}" if upper else told["DegreesOfFreedom"]
    words = [(TESTED_WELCH if is_welch else TESTED).format(statistic=told["Statistic"], df=df)]
    if "ResidualSdRatio" in told:
        ratio = told["ResidualSdRatio"]
        shown = " : ".join(number(float(each)) for each in ratio.values())
        used = UNEQUAL if is_welch else EQUAL
        words.append(RATIO.format(ratio=shown, names=" : ".join(ratio), used=used))
    yield " ".join(words)
    missing = told["MissingVoxels"]
    n, n_any = (f"{missing[key]:,}" for key in ("EveryParticipant", "AnyParticipant"))
    alone = ", ".join(f"{who} {lost:,}" for who, lost in missing["OnlyMissingIn"].items())
    yield COVERED.format(n=n, n_any=n_any) + (ALONE.format(each=alone) if alone else "")
    found = listed["Sensitivity"]
    if found:
        each = [SENSITIVE_TO[name].format(d=number(float(d), 2)) for name, d in found.items()]
        yield SENSITIVE.format(each="; ".join(each))


def _clusters(
    anchor: str, path: Path, listed: Mapping[str, Any], told: Mapping[str, Any]
) -> tuple[Section, ...]:
    """Return the part with the table of clusters; the smallest p and highest z first."""
    rows = _rows(path)
    if not rows:
        return ()
    size = str(listed["EffectSize"])
    some = "" if len(rows) <= MOST_PEAKS else SOME_PEAKS.format(n=MOST_PEAKS, total=len(rows))
    p_of: dict[str, float] = {}
    for row in rows:  # further maxima have none of their own, and stay with their cluster
        if row["cluster"].isdigit():
            p_of[row["cluster"]] = float(row["p_corrected"])
    rows.sort(key=lambda row: p_of[row["cluster"].rstrip("abc")])
    caption = FORMING.format(z=number(float(told["ClusterFormingZ"])), size=SIZES[size])
    table = Table(
        caption=capitalised(caption + some),
        header=PEAKS,
        rows=tuple(_peak(row, size) for row in rows[:MOST_PEAKS]),
    )
    text = (INFLATED, CIRCULAR) if listed["NumberOfClustersCorrected05"] else (INFLATED,)
    return (Section(anchor=f"{anchor}-clusters", title="Clusters", text=text, tables=(table,)),)


def _peak(row: Mapping[str, str], size: str) -> tuple[str, ...]:
    """Return one row of the table."""

    def shown(key: str, digits: int = 3) -> str:
        return NOTHING if row.get(key, "") in ("n/a", "") else number(float(row[key]), digits)

    effect = shown(size)
    if effect != NOTHING and shown(f"{size}_ciLower") != NOTHING:
        effect += f" [{shown(f'{size}_ciLower')}, {shown(f'{size}_ciUpper')}]"
    places = (shown(key, 4) for key in ("x_mm", "y_mm", "z_mm", "size_mm3"))
    values = (shown(key) for key in ("z", "p_corrected", "p_family"))
    at_peak = next((row[name] for name in ATLASES if row[name] != "n/a"), NOTHING)
    mostly = next((row[f"{name}_most"] for name in ATLASES if row[f"{name}_most"] != "n/a"), "")
    return (
        *(row["cluster"], *places, *values),
        *(effect, shown(f"{size}_mean"), shown(f"{size}_leftOut"), at_peak, mostly or NOTHING),
    )
