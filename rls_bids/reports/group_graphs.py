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
GLOBAL = ("Metric", "Effect", "t", "p", "p (permutation)", "p (FWE)", "Hedges g")
NODAL = ("Metric", "Node", "t", "p", "p (FWE)", "p (FWE, metrics)", "Hedges g")
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
        if design.compared.atlas:
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
    whole = Table(
        caption="Metrics of whole graphs, adjusted for the covariates",
        header=GLOBAL,
        rows=tuple(_global_row(row) for row in rows),
    )
    figures = tuple(
        figure_item(root, path, what, NOT_FINISHED, title)
        for path, what in zip(stage.figures, ("curves", "nodes"), strict=True)
    )
    return Section(
        anchor=anchor,
        title=title,
        text=(summary, *_words(design, told)),
        tables=(whole, *_nodes_table(nodes)),
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


def _metric(row: Mapping[str, str]) -> str:
    """Return a metric in words."""
    name = row["metric"].removesuffix("_auc").replace("_", " ")
    parts = [row["weighting"]] if row["weighting"] != BINARY else []
    parts += [row["sign"]] if row["sign"] != "positive" else []
    return f"{name} ({', '.join(parts)})" if parts else name


def _cells(row: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    """Return numbers of a row, and Hedges g with its interval last."""
    cells = [NOTHING if row[name] == "n/a" else number(float(row[name])) for name in names]
    g, low, high = (row[name] for name in ("hedgesg", "hedgesg_ciLower", "hedgesg_ciUpper"))
    if g == "n/a":
        return (*cells, NOTHING)
    limits = f"[{number(float(low))}, {number(float(high))}]"
    return (*cells, f"{number(float(g))} {limits}")


def _global_row(row: Mapping[str, str]) -> tuple[str, ...]:
    names = ("effect", "t", "p_uncorrected", "p_permutation", "p_fwe")
    return (_metric(row), *_cells(row, names))


def _nodes_table(rows: Sequence[Mapping[str, str]]) -> tuple[Table, ...]:
    """Return the nodes that differ most, if any was tested."""
    tested = [row for row in rows if row["p_fwe"] != "n/a"]
    tested.sort(key=lambda row: (float(row["p_fwe"]), -abs(float(row["t"]))))
    names = ("t", "p_uncorrected", "p_fwe", "p_fweMetrics")
    shown = tuple((_metric(row), row["node"], *_cells(row, names)) for row in tested[:MOST_NODES])
    caption = NODES.format(n=MOST_NODES)
    return (Table(caption=caption, header=NODAL, rows=shown),) if shown else ()
