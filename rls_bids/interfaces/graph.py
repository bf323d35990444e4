"""Graph metrics of a session's correlation matrix, as two long tables and a picture."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.dataset.description import atomic_write
from rls_bids.interfaces.group_tables import LEVEL
from rls_bids.interfaces.manifest import load_manifest, save_manifest
from rls_bids.interfaces.tables import load_table

if TYPE_CHECKING:
    from rls_bids.numerics.graph import GraphResult, GraphRow

COLUMNS = (
    *("metric", "node", "density", "density_reached", "threshold", "weighting", "sign"),
    *("null_model", "n_nodes", "value", "null_mean", "null_sd", "z"),
)
MISSING = "n/a"
TABLES = ("global", "nodal")
NEGATIVE = "Negative"
"""Ends the names of tables of graphs whose edges are the negative correlations."""
STATISTICS = {"t": "t", "f": "F"}
NODAL_PANELS = (
    ("degree_auc", "degree"),
    ("clustering_auc", "clustering"),
    ("nodal_efficiency_auc", "nodal efficiency"),
    ("betweenness_auc", "betweenness"),
    ("participation_auc", "participation"),
)


class GraphTablesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `GraphTables`."""

    matrices = File(exists=True, mandatory=True, desc="manifest of `Matrices`")
    options = traits.Dict(mandatory=True, desc="settings of the measure")
    random_seed = traits.Int(0, usedefault=True, desc="of the null networks")
    who = traits.List(traits.Str(), mandatory=True, desc="what makes the seed the matrix' own")
    version = traits.Str(mandatory=True, desc="kernel version")


class GraphTablesOutputSpec(TraitedSpec):
    """Outputs of `GraphTables`."""

    manifest = File(exists=True, desc="`global` and `nodal`, or why they are missing")


class GraphTables(SimpleInterface):
    """Measure graphs of the Pearson correlations at every density and weighting."""

    input_spec = GraphTablesInputSpec
    output_spec = GraphTablesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.errors import RlsBidsError

        folder = Path(runtime.cwd)
        entries = {entry["key"]: entry for entry in load_manifest(self.inputs.matrices)}
        matrix = entries["pearsoncorrelation"]
        about = {
            key: matrix["metadata"][key]
            for key in ("Atlas", "MinutesKept", "MeanFramewiseDisplacement", "DegreesOfFreedom")
            if key in matrix["metadata"]
        }
        if not matrix["file"]:
            about["Missing"] = matrix["metadata"]["Missing"]
        else:
            table = load_table(matrix["file"])
            try:
                nodes = matrix["metadata"].get("Nodes", [])
                labels = network_labels([node["Network"] or "" for node in nodes])
                results = _measure(np.array(list(table.values())), labels, self.inputs)
                about |= _save(results, list(table), folder)
            except RlsBidsError as error:
                about["Missing"] = error.message
        found = [
            {"key": key, "file": "" if "Missing" in about else f"{key}.tsv", "metadata": about}
            for key in tables_of(self.inputs.options)
        ]
        self._results["manifest"] = save_manifest(found, folder)
        return runtime


def tables_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tables that are written: negative correlations have their own, if studied.

    Examples
    --------
    >>> tables_of({"graph_negative": "apart"})
    ('global', 'nodal', 'globalNegative', 'nodalNegative')
    """
    apart = tuple(f"{key}{NEGATIVE}" for key in TABLES)
    return (*TABLES, *apart) if options["graph_negative"] == "apart" else TABLES


def network_labels(networks: Sequence[str]) -> list[str]:
    """Return the labels for the participation coefficient, none where there is one network.

    Parcels of no network count as one of their own.

    Examples
    --------
    >>> network_labels(["visual", "", "visual"]), network_labels(["", ""])
    (['visual', '', 'visual'], [])
    """
    return list(networks) if len(set(networks)) > 1 else []


def _measure(matrix: Any, labels: Sequence[str], inputs: Any) -> "list[GraphResult]":
    """Measure one matrix with every weighting; all have the same null seeds."""
    from rls_bids.numerics.graph import GraphOptions, graph_metrics, participant_seed

    given = inputs.options
    return [
        graph_metrics(
            matrix,
            GraphOptions(
                densities=tuple(given["graph_densities"]),
                thresholds=tuple(given.get("graph_thresholds", ())),
                weighting=weighting,
                negative=given["graph_negative"],
                metrics=given["graph_metrics"],
                null_model=given["graph_nulls"],
                n_nulls=given["n_nulls"],
            ),
            seed=participant_seed(inputs.random_seed, *inputs.who),
            labels=labels or None,
        )
        for weighting in given["graph_weighting"]
    ]


def _save(results: "Sequence[GraphResult]", names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write both tables and return what the sidecars say."""
    rows = {
        "global": [row for result in results for row in result.global_rows],
        "nodal": [row for result in results for row in result.nodal_rows],
    }
    apart = {f"{key}{NEGATIVE}": table for key, table in rows.items()}
    for key, table in (rows | apart).items():
        is_negative = key.endswith(NEGATIVE)
        own = [row for row in table if (row.sign == "negative") is is_negative]
        text = "\n".join("\t".join(line) for line in (COLUMNS, *_lines(own, names)))
        (folder / f"{key}.tsv").write_text(f"{text}\n", encoding="utf-8")
    first = results[0]
    return {
        "NumberOfNodes": first.n_nodes,
        "NodesLeftOut": {names[out.node]: out.reason for out in first.nodes_out},
        "DensitiesReached": {sign: list(reached) for sign, reached in first.densities_reached},
    }


def _lines(rows: "Iterable[GraphRow]", names: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Yield the cells of a long table; nodes are called by the names of their parcels."""
    for row in rows:
        cells = {name: getattr(row, name) for name in COLUMNS}
        cells["node"] = MISSING if row.node is None else names[row.node]
        yield tuple(_cell(value) for value in cells.values())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return MISSING if math.isnan(value) else f"{value:.7g}"
    return str(value) or MISSING


class PlotGraphInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotGraph`."""

    manifest = File(exists=True, mandatory=True, desc="tables of `GraphTables`")
    atlas = traits.Str(mandatory=True, desc="name, for the title")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    path = traits.Str(mandatory=True, desc="finished relative path")


class PlotGraph(SimpleInterface):
    """Draw the global metrics over density beside those of the null networks."""

    _always_run = True
    input_spec = PlotGraphInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.graph import plot_curves

        entries = {entry["key"]: entry for entry in load_manifest(self.inputs.manifest)}
        entry = entries["global"]
        if entry["file"]:
            words = f"{entry['metadata']['NumberOfNodes']} nodes"
            title = f"Graphs of {self.inputs.atlas}"
            draw = partial(plot_curves, read_graph_table(entry["file"]), title, words)
            atomic_write(Path(self.inputs.base_dir, self.inputs.path), draw)
        return runtime


def read_graph_table(path: str) -> list[dict[str, str]]:
    """Read a long table of graph metrics, cells as text."""
    import csv

    with Path(path).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


class PlotGroupGraphsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotGroupGraphs`."""

    manifest = File(exists=True, mandatory=True, desc="tables of a group comparison")
    groups = traits.List(traits.Str(), desc="in the order of the contrast, if there are any")
    title = traits.Str(mandatory=True, desc="of the figure")
    subtitle = traits.Str(mandatory=True, desc="smaller, below the title")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    path = traits.Str(mandatory=True, desc="finished relative path")


class PlotGroupGraphs(SimpleInterface):
    """Draw the global metrics of both groups over density."""

    _always_run = True
    input_spec = PlotGroupGraphsInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.graph import plot_group_curves

        entries = {entry["key"]: entry for entry in load_manifest(self.inputs.manifest)}
        rows = read_graph_table(entries["globalValues"]["file"])
        words = (self.inputs.title, self.inputs.subtitle)
        rank = {group: place for place, group in enumerate(self.inputs.groups)}
        rows.sort(key=lambda row: rank.get(row["group"], len(rank)))
        for row in rows:
            if row["session"] != MISSING:
                row["group"] = f"{row['group']}, {row['session']}"
        groups = list(dict.fromkeys(row["group"] for row in rows))
        draw = partial(plot_group_curves, rows, groups, *words)
        atomic_write(Path(self.inputs.base_dir, self.inputs.path), draw)
        return runtime


class PlotGroupNodesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotGroupNodes`."""

    manifest = File(exists=True, mandatory=True, desc="tables of a group comparison")
    atlas = traits.Str(mandatory=True, desc="as it was asked for")
    space = traits.Str(mandatory=True, desc="of the template")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    title = traits.Str(mandatory=True, desc="of the figure")
    subtitle = traits.Str(mandatory=True, desc="smaller, below the title")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    path = traits.Str(mandatory=True, desc="finished relative path")


class PlotGroupNodes(SimpleInterface):
    """Draw t of some nodal metrics where the nodes are."""

    _always_run = True
    input_spec = PlotGroupNodesInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.figures.nodes import NodeValues, plot_nodes
        from rls_bids.resources.atlas_grid import parcel_centres
        from rls_bids.resources.atlases import find_atlas
        from rls_bids.resources.parcels import load_parcels

        given = self.inputs
        entries = {entry["key"]: entry for entry in load_manifest(given.manifest)}
        rows = read_graph_table(entries["nodal"]["file"])
        atlas = find_atlas(given.atlas)
        centres = parcel_centres(atlas, given.space)
        names = [parcel.name for parcel in load_parcels(atlas)]
        first = (rows[0]["weighting"], rows[0]["sign"])
        found = {row["metric"] for row in rows}
        of = "t" if any(row["t"] != MISSING for row in rows) else "f"
        drawn = []
        for metric, words in (panel for panel in NODAL_PANELS if panel[0] in found):
            t, survives = np.full(len(names), np.nan), np.zeros(len(names), dtype=bool)
            for row in rows:
                is_shown = (row["metric"], row["weighting"], row["sign"]) == (metric, *first)
                if is_shown and row["node"] in names and row[of] != MISSING:
                    place = names.index(row["node"])
                    t[place], survives[place] = float(row[of]), float(row["p_fwe"]) <= LEVEL
            drawn.append(NodeValues(title=words, t=t, survives=survives))
        text = {"title": given.title, "subtitle": given.subtitle, "statistic": STATISTICS[of]}
        draw = partial(plot_nodes, drawn, centres, given.template, text)
        atomic_write(Path(given.base_dir, given.path), draw)
        return runtime
