"""Local measures and matrices on a participant's page: one picture each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rls_bids.dataset import naming
from rls_bids.measures import MEASURES
from rls_bids.records import Entities
from rls_bids.reports.maps import MAP_NOT_DRAWN
from rls_bids.reports.pages import FigureItem, Section
from rls_bids.reports.results import Result
from rls_bids.reports.texts import capitalised, figure_item, number, run_title

CAPTION = (
    "{what} Shown as z over the voxels that have a value, on a grid of {size}, smoothed by "
    "{fwhm} mm; {minutes} min kept. Colours fade out below |z| = 0.5."
)
MATRIX_CAPTION = "Pearson r, {minutes} min kept, {df} residual degrees of freedom."
GRAPH_CAPTION = (
    "Global metrics of graphs of {n} nodes over density; a density that the positive correlations "
    "cannot reach is missing. Areas under the curves and nodal metrics are in the tables."
)
LOST_NODES = " Nodes left out: {names}."
LOST = " {n} parcels lie to less than half in the brain mask and are missing: {names}."


def local_sections(
    root: Path,
    label: str,
    sessions: Mapping[tuple[str | None, str], Sequence[Entities]],
    results: Sequence[Result],
) -> list[Section]:
    """Return the section on local measures, empty where none was made or tried."""
    maps = [one for one in results if one.product == "local_map" and "desc" not in one.entities]
    parts = []
    for (session, task), runs in sessions.items():
        own = [one for one in maps if (one.session, one.entities["task"]) == (session, task)]
        for strategy in dict.fromkeys(one.entities["denoise"] for one in own):
            chosen = [one for one in own if one.entities["denoise"] == strategy]
            parts.append(_part(root, label, runs, chosen, (session, strategy)))
    if not parts:
        return []
    return [Section(anchor="local", title="Local measures", parts=tuple(parts))]


def _part(
    root: Path,
    label: str,
    runs: Sequence[Entities],
    chosen: Sequence[Result],
    where: tuple[str | None, str],
) -> Section:
    """Return the maps of one session and strategy, in the order of the table of measures."""
    session, strategy = where
    shared = set(runs[0]).intersection(*runs)
    common = tuple(sorted(pair for pair in shared if pair[0] != "run"))
    found = {one.entities["stat"]: one.metadata for one in chosen}
    entities: dict[str, Any] = {**dict(common), "denoise": strategy}
    figures = []
    for measure in MEASURES.values():
        for stat in measure.stats:
            if measure.kind == "local" and stat.name in found:
                path = naming.figure(label, session, "localmap", **entities, stat=stat.name)
                figures.append(_figure(root, path, stat.caption, found[stat.name]))
    return Section(
        anchor="-".join(["local", session or "", strategy, *(label for _, label in common)]),
        title=capitalised(f"{run_title(session, common)}, denoised with {strategy}"),
        figures=tuple(figures),
    )


def _figure(root: Path, path: str, what: str, metadata: Mapping[str, Any]) -> FigureItem:
    name = what.split(":", maxsplit=1)[0].rstrip(".")
    if "Missing" in metadata:
        reason = str(metadata["Missing"])
        return FigureItem(title=name, path=None, alt="", reason=reason)
    caption = CAPTION.format(
        what=what,
        size=metadata.get("Resolution", "unknown voxels"),
        fwhm=number(metadata.get("Processing", {}).get("SmoothingFwhmMm")),
        minutes=number(metadata.get("MinutesKept")),
    )
    left_out = [str(each) for each in metadata.get("LeftOut", [])]
    if left_out:
        caption += f" {' '.join(left_out)}"
    return figure_item(root, path, "localmap", MAP_NOT_DRAWN, name, caption)


def matrix_sections(root: Path, label: str, results: Sequence[Result]) -> list[Section]:
    """Return the section on correlation matrices, empty where none was made or tried."""
    parts = []
    for one in results:
        if one.product != "relmat" or one.entities["meas"] != "pearsoncorrelation":
            continue
        entities: dict[str, Any] = {k: v for k, v in one.entities.items() if k != "meas"}
        path = naming.figure(label, one.session, "matrix", **entities)
        atlas, strategy = one.entities["seg"], one.entities["denoise"]
        title = f"{run_title(one.session, one.run)}, {atlas}, denoised with {strategy}"
        anchor = "-".join(["matrix", one.session or "", *sorted(entities.values())])
        if "Missing" in one.metadata:
            reason = str(one.metadata["Missing"])
            figure = FigureItem(title=atlas, path=None, alt="", reason=reason)
        else:
            caption = MATRIX_CAPTION.format(
                minutes=number(one.metadata.get("MinutesKept")),
                df=number(one.metadata.get("DegreesOfFreedom")),
            )
            lost = [str(name) for name in one.metadata.get("MissingNodes", [])]
            caption += LOST.format(n=len(lost), names=", ".join(lost)) if lost else ""
            figure = figure_item(root, path, "matrix", MAP_NOT_DRAWN, atlas, caption)
        figures = [figure, *_graph_figures(root, label, one, results, entities)]
        parts.append(Section(anchor=anchor, title=capitalised(title), figures=tuple(figures)))
    if not parts:
        return []
    return [Section(anchor="matrices", title="Matrices and graphs", parts=tuple(parts))]


def _graph_figures(
    root: Path, label: str, matrix: Result, results: Sequence[Result], entities: dict[str, Any]
) -> list[FigureItem]:
    """Return the picture of the graphs of a matrix, if any were made or tried."""
    for one in results:
        same = {k: v for k, v in one.entities.items() if k not in ("meas", "desc")} == entities
        is_own = one.product == "graph" and one.session == matrix.session and same
        if is_own and one.entities["desc"] == "global":
            path = naming.figure(label, one.session, "graph", **entities)
            name = f"Graphs of {one.entities['seg']}"
            if "Missing" in one.metadata:
                reason = str(one.metadata["Missing"])
                return [FigureItem(title=name, path=None, alt="", reason=reason)]
            lost = one.metadata.get("NodesLeftOut", {})
            caption = GRAPH_CAPTION.format(n=number(one.metadata.get("NumberOfNodes")))
            caption += LOST_NODES.format(names=", ".join(lost)) if lost else ""
            return [figure_item(root, path, "graph", MAP_NOT_DRAWN, name, caption)]
    return []
