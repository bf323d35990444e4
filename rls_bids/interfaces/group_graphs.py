"""Graphs of several participants on common nodes and densities, compared between two groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.errors import InputDataError
from rls_bids.interfaces.designs import draw, load_design
from rls_bids.interfaces.group_tables import (
    AREA,
    compare_nodes,
    compare_whole,
    count_survivors,
    long_table,
    stack_rows,
    wide_table,
)
from rls_bids.interfaces.manifest import save_manifest
from rls_bids.interfaces.tables import load_table, save_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.numerics.graph import GraphOptions, GraphResult

OTHER_NODES = "{path} has other nodes than {first}."
OTHER_NODES_HINT = "Run the participant level again with one version of the atlas for all."
ONE_DENSITY = (
    "All participants reach only the density {density:g} of {asked}; an area under the curve "
    "needs two."
)
ONE_DENSITY_HINT = "Ask for lower densities with --graph-densities."


class GroupGraphsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `GroupGraphs`."""

    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="matrices of r")
    design_file = File(exists=True, mandatory=True, desc="one row a participant, same order")
    sidecar_file = File(exists=True, mandatory=True, desc="contrast and units of the design")
    options = traits.Dict(mandatory=True, desc="settings of the measure")
    random_seed = traits.Int(0, usedefault=True, desc="of null networks and resamplings")
    n_permutations = traits.Int(mandatory=True, desc="resamplings asked for")
    version = traits.Str(mandatory=True, desc="kernel version")


class GroupGraphsOutputSpec(TraitedSpec):
    """Outputs of `GroupGraphs`."""

    manifest = File(exists=True, desc="tables of tests and of values, global and nodal")


class GroupGraphs(SimpleInterface):
    """Measure graphs on what all participants have in common, and test the contrast."""

    input_spec = GroupGraphsInputSpec
    output_spec = GroupGraphsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.numerics.columns import compare_columns

        given = self.inputs
        shared = _share(given.in_files, given.options)
        results = _measure(shared, given)
        whole = stack_rows([[row for one in each for row in one.global_rows] for each in results])
        nodes = stack_rows([[row for one in each for row in one.nodal_rows] for each in results])
        tested = load_design(given.design_file, given.sidecar_file)
        drawn = draw(tested, given.n_permutations, given.random_seed)
        test = partial(
            compare_columns,
            design=tested.matrix,
            contrast=tested.contrast,
            resamplings=drawn.resamplings,
            size=(tested.size, tested.scale),
        )
        nodal = nodes.take([row.metric.endswith(AREA) for row in nodes.rows])
        who = list(zip(tested.labels, tested.groups, strict=True))
        tables = {
            "global": compare_whole(whole, test),
            "nodal": compare_nodes(nodal, shared.names, test),
            "globalValues": long_table(whole, who),
            "nodalValues": wide_table(nodal, shared.names, who),
        }
        folder = Path(runtime.cwd)
        for key, columns in tables.items():
            save_table(columns, folder / f"{key}.tsv")
        about = _about(shared, given) | {"Resamplings": drawn.told}
        counts = {
            "global": {"NumberOfMetricsFwe05": count_survivors(tables["global"])},
            "nodal": {"NumberOfNodesFwe05": count_survivors(tables["nodal"])},
        }
        entries = [
            {"key": key, "file": f"{key}.tsv", "metadata": about | counts.get(key, {})}
            for key in tables
        ]
        self._results["manifest"] = save_manifest(entries, folder)
        return runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What all participants have: matrices of the common nodes, their names, and densities."""

    matrices: "list[NDArray[np.float64]]"
    names: list[str]
    nodes_out: dict[str, str]
    densities: tuple[float, ...]


def _share(paths: Sequence[str], options: Mapping[str, Any]) -> _Shared:
    """Read the matrices; who lacks a node that most have was left out when it was planned."""
    import numpy as np

    from rls_bids.numerics.graph import common_densities, common_nodes, restrict_nodes

    tables = [load_table(path) for path in paths]
    names = list(tables[0])
    for path, table in zip(paths, tables, strict=True):
        if list(table) != names:
            message = OTHER_NODES.format(path=path, first=paths[0])
            raise InputDataError(message, OTHER_NODES_HINT)
    matrices = [np.array(list(table.values())) for table in tables]
    common = common_nodes(matrices, max_missing=0.0)
    inner = [restrict_nodes(matrix, common.nodes) for matrix in matrices]
    asked = sorted(options["graph_densities"])
    densities = common_densities(inner, asked, options["graph_negative"])
    if len(densities) < 2:
        listed = ", ".join(f"{density:g}" for density in asked)
        message = ONE_DENSITY.format(density=densities[0], asked=listed)
        raise InputDataError(message, ONE_DENSITY_HINT)
    return _Shared(
        matrices=inner,
        names=[names[node] for node in common.nodes],
        nodes_out={names[out.node]: out.reason for out in common.nodes_out},
        densities=densities,
    )


def _options(shared: _Shared, given: Mapping[str, Any]) -> "list[GraphOptions]":
    """Return the options of each weighting."""
    from rls_bids.numerics.graph import GraphOptions

    return [
        GraphOptions(
            densities=shared.densities,
            weighting=weighting,
            negative=given["graph_negative"],
            metrics=given["graph_metrics"],
            null_model=given["graph_nulls"],
            n_nulls=given["n_nulls"],
        )
        for weighting in given["graph_weighting"]
    ]


def _measure(shared: _Shared, given: Any) -> "list[list[GraphResult]]":
    """Measure every participant with the seeds that the participant level took."""
    from rls_bids.numerics.graph import graph_metrics, participant_seed

    options = _options(shared, given.options)

    def measure(place: int) -> "list[GraphResult]":
        who = Path(given.in_files[place]).name.split("_meas-")[0]
        seed = participant_seed(given.random_seed, who)
        return [graph_metrics(shared.matrices[place], each, seed=seed) for each in options]

    return [measure(place) for place in range(len(shared.matrices))]


def _about(shared: _Shared, given: Any) -> dict[str, Any]:
    """Return what only the run knew."""
    return {
        "NumberOfNodes": len(shared.names),
        "NodesLeftOut": shared.nodes_out,
        "Densities": list(shared.densities),
        "DensitiesLeftOut": sorted(set(given.options["graph_densities"]) - set(shared.densities)),
    }
