"""The parts of a group page on graphs: tests of global metrics, of nodes, curves by group."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.group import Key, MapDesign
from rls_bids.reports.pages import Section, Table
from rls_bids.reports.texts import NOTHING, figure_item, number
from rls_bids.settings import Settings
from rls_bids.workflows.designs import count_words
from rls_bids.workflows.stages import Stage

NOT_FINISHED = "its model did not finish; see “What was not done, and why”"
NOT_COMPARED = "These graphs were not compared: {reason}."
SUMMARY = (
    "{metrics} of {n_metrics} global metrics differ (family-wise p ≤ .05 over the metrics); "
    "{nodes} pairs of node and metric do (family-wise over the nodes of each metric)."
)
WHO = (
    "In this model: {counts}; denoised with {strategy}. Graphs have "
    "the {n_nodes} nodes that all of them have, and the densities {densities} that all reach."
)
NODES_OUT = "Nodes that left for all: {nodes}."
DENSITIES_OUT = "Densities that not all reach: {densities}."
RESAMPLED = (
    "p (permutation) and p (FWE) come from {n} resamplings{all}; the smallest that this "
    "design can reach is {smallest}. Values are areas under the "
    "curves over density, divided by the width of its range. The mean correlation is no metric of "
    "the family: where it differs, densities equate the number of edges, not their strength."
)
EVERY = ", all that there are"
GLOBAL = ("Metric", "Effect", "{of}", "p", "p (permutation)", "p (FWE)", "{size}")
NODAL = ("Metric", "Node", "{of}", "p", "p (FWE)", "p (FWE, metrics)", "{size}")
SIZES = {"hedgesg": "Hedges g", "dz": "d_z", "partialr": "partial r", "partialeta2": "partial η²"}
WHOLE = "Metrics of whole graphs, adjusted for the covariates"
OF_NEGATIVE = ", of the negative correlations by their size (nodes: see the table nodalNegative)"
WITH_MEAN_R = (
    " and for each participant's mean correlation: what differs here, too, is not explained by "
    "the strength of connectivity (nodes: see the table nodalMeanR)"
)
MOST_NODES = 20
NODES = "Nodes with the smallest family-wise p, at most {n}; the others are in the table"
BINARY = "binary"


def graph_sections(
    designs: Sequence[MapDesign], stages: Mapping[Key, Stage], settings: Settings
) -> Iterator[Section]:
    """Yield a section for each atlas and strategy."""
    root = Path(settings.input.output_dir)
    strategies = {design.strategy for design in designs}
    for design in designs:
        if design.compared.atlas and not design.compared.is_matrix:
            name = design.compared.name
            title = f"{name} ({design.strategy})" if len(strategies) > 1 else name
            yield _section(title, design, stages[design.key], root)


def _section(title: str, design: MapDesign, stage: Stage, root: Path) -> Section:
    anchor = naming.camel_label(title)
    if not stage.is_finished(str(root)):
        return Section(
            anchor=anchor, title=title, text=(NOT_COMPARED.format(reason=NOT_FINISHED),)
        )
    path = stage.product("global").path
    told = read_json(root / naming.sidecar(path))
    rows = _rows(root / path)
    nodes = _rows(root / stage.product("nodal").path)
    on_nodes = read_json(root / naming.sidecar(stage.product("nodal").path))
    summary = SUMMARY.format(
        metrics=told["NumberOfMetricsFwe05"],
        n_metrics=sum(row["p_fwe"] != "n/a" for row in rows),
        nodes=on_nodes["NumberOfNodesFwe05"],
    )
    size = design.result.size
    tables = [_global_table(WHOLE, rows, size), *_nodes_table(nodes, size)]
    if "globalNegative" in stage:
        negative = _rows(root / stage.product("globalNegative").path)
        tables.append(_global_table(WHOLE + OF_NEGATIVE, negative, size))
    if "globalMeanR" in stage:
        adjusted = _rows(root / stage.product("globalMeanR").path)
        tables.append(_global_table(WHOLE + WITH_MEAN_R, adjusted, size))
    figures = tuple(
        figure_item(root, path, what, NOT_FINISHED, title)
        for path, what in zip(stage.figures, ("curves", "nodes"), strict=True)
    )
    return Section(
        anchor=anchor,
        title=title,
        text=(summary, *_words(design, told)),
        tables=tuple(tables),
        figures=figures,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _words(design: MapDesign, told: Mapping[str, Any]) -> Iterator[str]:
    """Say who and what is in the comparison."""
    yield WHO.format(
        counts=count_words(design.result),
        strategy=design.strategy,
        n_nodes=told["NumberOfNodes"],
        densities=", ".join(f"{density:g}" for density in told["Densities"]),
    )
    if told["NodesLeftOut"]:
        nodes = ", ".join(f"{name} ({why})" for name, why in told["NodesLeftOut"].items())
        yield NODES_OUT.format(nodes=nodes)
    if told["DensitiesLeftOut"]:
        listed = ", ".join(f"{density:g}" for density in told["DensitiesLeftOut"])
        yield DENSITIES_OUT.format(densities=listed)
    drawn = told["Resamplings"]
    yield RESAMPLED.format(
        n=drawn["Number"],
        all=EVERY if drawn["Exhaustive"] else "",
        smallest=number(float(drawn["SmallestP"])),
    )
    if told.get("Harmonisation"):
        yield told["Harmonisation"]


def _metric(row: Mapping[str, str]) -> str:
    """Return a metric in words."""
    name = row["metric"].removesuffix("_auc").replace("_", " ")
    parts = [row["weighting"]] if row["weighting"] != BINARY else []
    parts += [row["sign"]] if row["sign"] != "positive" else []
    return f"{name} ({', '.join(parts)})" if parts else name


def _statistic(rows: Sequence[Mapping[str, str]]) -> str:
    """Return which column has the statistic: t, or F of several contrasts together."""
    return "f" if rows and all(row["t"] == "n/a" for row in rows) else "t"


def _header(header: Sequence[str], of: str, size: str) -> tuple[str, ...]:
    return tuple(each.format(of="F" if of == "f" else of, size=SIZES[size]) for each in header)


def _cells(row: Mapping[str, str], names: Sequence[str], size: str) -> tuple[str, ...]:
    """Return numbers of a row, and the effect size with its interval last."""
    cells = [NOTHING if row[name] == "n/a" else number(float(row[name])) for name in names]
    found, low, high = (row[name] for name in (size, f"{size}_ciLower", f"{size}_ciUpper"))
    if "n/a" in (found, low):
        return (*cells, NOTHING if found == "n/a" else number(float(found)))
    limits = f"[{number(float(low))}, {number(float(high))}]"
    return (*cells, f"{number(float(found))} {limits}")


def _global_table(caption: str, rows: Sequence[Mapping[str, str]], size: str) -> Table:
    of = _statistic(rows)
    names = ("effect", of, "p_uncorrected", "p_permutation", "p_fwe")
    shown = tuple((_metric(row), *_cells(row, names, size)) for row in rows)
    return Table(caption=caption, header=_header(GLOBAL, of, size), rows=shown)


def _nodes_table(rows: Sequence[Mapping[str, str]], size: str) -> tuple[Table, ...]:
    """Return the nodes that differ most, if any was tested."""
    of = _statistic(rows)
    tested = [row for row in rows if row["p_fwe"] != "n/a"]
    tested.sort(key=lambda row: (float(row["p_fwe"]), -abs(float(row[of]))))
    names = (of, "p_uncorrected", "p_fwe", "p_fweMetrics")
    shown = tuple(
        (_metric(row), row["node"], *_cells(row, names, size)) for row in tested[:MOST_NODES]
    )
    caption = NODES.format(n=MOST_NODES)
    return (Table(caption=caption, header=_header(NODAL, of, size), rows=shown),) if shown else ()
