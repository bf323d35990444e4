"""Graphs of several participants on common nodes and densities, and the tests of a design.

Three kinds of nodes: what all have in common, one participant's graphs (as many at once as there
are processes), and the tests. Numbers do not depend on who is measured where: each matrix has a
seed of its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
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

from rls_bids.dataset.description import read_json, write_json
from rls_bids.errors import InputDataError
from rls_bids.interfaces.designs import Drawn, GroupTest, draw
from rls_bids.interfaces.graph import NEGATIVE, network_labels
from rls_bids.interfaces.group_combat import compare, load_table_design, told_of_sites
from rls_bids.interfaces.group_tables import (
    AREA,
    MEAN_R,
    Stack,
    Test,
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

    from rls_bids.numerics.graph import GraphOptions, GraphRow

OTHER_NODES = "{path} has other nodes than {first}."
OTHER_NODES_HINT = "Run the participant level again with one version of the atlas for all."
ONE_DENSITY = (
    "All participants reach only the density {density:g} of {asked}; an area under the curve "
    "needs two."
)
ONE_DENSITY_HINT = "Ask for lower densities with --graph-densities."

EVERYBODY = "all"
"""The group of everyone where a design has no groups."""

NO_LEVEL = 1e-8
"""Weights of sessions whose sum is less make a difference."""


class ShareGraphsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ShareGraphs`."""

    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="matrices of r")
    atlas = traits.Str(mandatory=True, desc="as it was asked for")
    options = traits.Dict(mandatory=True, desc="settings of the measure")
    version = traits.Str(mandatory=True, desc="kernel version")


class ShareGraphsOutputSpec(TraitedSpec):
    """Outputs of `ShareGraphs`."""

    shared = File(exists=True, desc="common nodes, their networks, and densities, .json")


class ShareGraphs(SimpleInterface):
    """Find the nodes and densities that all participants of a comparison have."""

    input_spec = ShareGraphsInputSpec
    output_spec = ShareGraphsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.numerics.graph import common_densities, restrict_nodes

        given = self.inputs
        names, matrices, nodes, nodes_out = load_common(given.in_files)
        inner = [restrict_nodes(matrix, nodes) for matrix in matrices]
        asked = sorted(given.options["graph_densities"])
        densities = common_densities(inner, asked, given.options["graph_negative"])
        if len(densities) < 2:
            listed = ", ".join(f"{density:g}" for density in asked)
            message = ONE_DENSITY.format(density=densities[0], asked=listed)
            raise InputDataError(message, ONE_DENSITY_HINT)
        kept = [names[node] for node in nodes]
        path = Path(runtime.cwd, "shared.json")
        shared = {
            "Nodes": nodes.tolist(),
            "Names": kept,
            "NodesLeftOut": nodes_out,
            "Densities": list(densities),
            "DensitiesLeftOut": sorted(set(asked) - set(densities)),
            "Networks": network_labels(parcel_sets(given.atlas, kept, "network")),
        }
        write_json(path, shared)
        self._results["shared"] = str(path)
        return runtime


def load_common(
    paths: Sequence[str],
) -> "tuple[list[str], list[NDArray[np.float64]], NDArray[np.intp], dict[str, str]]":
    """Read matrices and find the nodes that all have; who lacks a usual one left when planned.

    Returns
    -------
    names, matrices, nodes, nodes_out
        Names of all nodes, one matrix a file, places of the common nodes, and the names of the
        others with the reason.

    Raises
    ------
    InputDataError
        The matrices have different nodes, or fewer than 3 in common.
    """
    import numpy as np

    from rls_bids.numerics.graph import common_nodes

    tables = [load_table(path) for path in paths]
    names = list(tables[0])
    for path, table in zip(paths, tables, strict=True):
        if list(table) != names:
            message = OTHER_NODES.format(path=path, first=paths[0])
            raise InputDataError(message, OTHER_NODES_HINT)
    matrices = [np.array(list(table.values())) for table in tables]
    common = common_nodes(matrices, max_missing=0.0)
    nodes_out = {names[out.node]: out.reason for out in common.nodes_out}
    return names, matrices, common.nodes, nodes_out


def parcel_sets(atlas: str, names: Sequence[str], what: str) -> list[str]:
    """Return the network (or lobe) of each node, empty where the atlas does not say it."""
    from rls_bids.resources.atlases import find_atlas
    from rls_bids.resources.parcels import load_parcels

    known = {parcel.name: getattr(parcel, what) for parcel in load_parcels(find_atlas(atlas))}
    return [known.get(name, "") for name in names]


class MeasureGraphsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `MeasureGraphs`."""

    in_file = File(exists=True, mandatory=True, desc="matrix of r of one participant")
    shared = File(exists=True, mandatory=True, desc="of `ShareGraphs`")
    options = traits.Dict(mandatory=True, desc="settings of the measure")
    random_seed = traits.Int(0, usedefault=True, desc="of null networks")
    version = traits.Str(mandatory=True, desc="kernel version")


class MeasureGraphsOutputSpec(TraitedSpec):
    """Outputs of `MeasureGraphs`."""

    values = File(exists=True, desc="rows of global metrics, and areas of nodes, .json")


class MeasureGraphs(SimpleInterface):
    """Measure one participant's graphs with the seeds that the participant level took."""

    input_spec = MeasureGraphsInputSpec
    output_spec = MeasureGraphsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.numerics.graph import graph_metrics, participant_seed, restrict_nodes

        given = self.inputs
        shared = read_json(Path(given.shared))
        table = load_table(given.in_file)
        matrix = restrict_nodes(np.array(list(table.values())), np.array(shared["Nodes"]))
        seed = participant_seed(given.random_seed, Path(given.in_file).name.split("_meas-")[0])
        labels = shared["Networks"] or None
        found = [
            graph_metrics(matrix, options, seed=seed, labels=labels)
            for options in _options(shared["Densities"], given.options)
        ]
        rows = {
            "global": [asdict(row) for one in found for row in one.global_rows],
            "nodal": [
                asdict(row) for one in found for row in one.nodal_rows if row.metric.endswith(AREA)
            ],
        }
        path = Path(runtime.cwd, "values.json")
        path.write_text(json.dumps(rows), encoding="utf-8")  # NaN, and every digit
        self._results["values"] = str(path)
        return runtime


def _options(densities: Sequence[float], given: Mapping[str, Any]) -> "list[GraphOptions]":
    """Return the options of each weighting."""
    from rls_bids.numerics.graph import GraphOptions

    return [
        GraphOptions(
            densities=tuple(densities),
            weighting=weighting,
            negative=given["graph_negative"],
            metrics=given["graph_metrics"],
            null_model=given["graph_nulls"],
            n_nulls=given["n_nulls"],
        )
        for weighting in given["graph_weighting"]
    ]


class GroupGraphsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `GroupGraphs`."""

    values = InputMultiObject(File(exists=True), mandatory=True, desc="of `MeasureGraphs`")
    shared = File(exists=True, mandatory=True, desc="of `ShareGraphs`")
    design_file = File(exists=True, mandatory=True, desc="one row a participant, same order")
    sidecar_file = File(exists=True, mandatory=True, desc="contrast and units of the design")
    covariate = traits.Enum("none", "mean_r", usedefault=True, desc="of an adjusted copy")
    random_seed = traits.Int(0, usedefault=True, desc="of resamplings")
    n_permutations = traits.Int(mandatory=True, desc="resamplings asked for")
    version = traits.Str(mandatory=True, desc="kernel version")


class GroupGraphsOutputSpec(TraitedSpec):
    """Outputs of `GroupGraphs`."""

    manifest = File(exists=True, desc="tables of tests and of values, global and nodal")


class GroupGraphs(SimpleInterface):
    """Test the contrast on global metrics and on those of nodes."""

    input_spec = GroupGraphsInputSpec
    output_spec = GroupGraphsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        given = self.inputs
        shared = read_json(Path(given.shared))
        whole, nodes = (_stack(given.values, part) for part in ("global", "nodal"))
        test = load_table_design(given.design_file, given.sidecar_file)
        who = who_is_who(test, read_json(Path(given.sidecar_file))["Sessions"])
        tables: dict[str, Any] = {}
        about: dict[str, Any] = {}
        for sign, (own, own_nodes) in _by_sign(whole, nodes).items():
            values = {
                f"global{sign}Values": long_table(own, who),
                f"nodal{sign}Values": wide_table(own_nodes, shared["Names"], who),
            }
            tables |= values
            about |= {key: _told(shared) for key in values}
            ways = {"": test}
            if given.covariate == "mean_r":
                ways["MeanR"] = with_mean_r(test, own)
            for suffix, way in ways.items():
                drawn = draw(way, given.n_permutations, given.random_seed)
                told = _told(shared) | {"Resamplings": drawn.told} | told_of_sites(test)
                found = _compare(
                    own, own_nodes, shared["Names"], way, drawn, is_adjusted=bool(suffix)
                )
                for key, columns in found.items():
                    count = {f"NumberOf{COUNTED[key]}Fwe05": count_survivors(columns)}
                    about[f"{key}{sign}{suffix}"] = told | count
                    tables[f"{key}{sign}{suffix}"] = columns
        folder = Path(runtime.cwd)
        for key, columns in tables.items():
            save_table(columns, folder / f"{key}.tsv")
        entries = [{"key": key, "file": f"{key}.tsv", "metadata": about[key]} for key in tables]
        self._results["manifest"] = save_manifest(entries, folder)
        return runtime


def _by_sign(whole: Stack, nodes: Stack) -> dict[str, tuple[Stack, Stack]]:
    """Put graphs of negative correlations apart, where there are any."""
    found = {}
    for name, is_negative in (("", False), (NEGATIVE, True)):
        chosen = [
            stack.take([(row.sign == "negative") is is_negative for row in stack.rows])
            for stack in (whole, nodes)
        ]
        if chosen[0].rows:
            found[name] = (chosen[0], chosen[1])
    return found


def _compare(
    whole: Stack,
    nodes: Stack,
    names: Sequence[str],
    test: GroupTest,
    drawn: Drawn,
    *,
    is_adjusted: bool,
) -> dict[str, Any]:
    """Test global metrics and those of nodes; what is a covariate cannot be tested."""
    compare_all = make_test(test, drawn)
    rows = [not is_adjusted or row.metric not in MEAN_R for row in whole.rows]
    return {
        "global": compare_whole(whole.take(rows), compare_all, test.size),
        "nodal": compare_nodes(nodes, names, compare_all, test.size),
    }


COUNTED = {"global": "Metrics", "nodal": "Nodes"}


def _stack(paths: Sequence[str], part: str) -> Stack:
    """Read the rows of every participant, and put them side by side."""
    from rls_bids.numerics.graph import GraphRow

    def rows(path: str) -> "list[GraphRow]":
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        return [GraphRow(**row) for row in told[part]]

    return stack_rows([rows(path) for path in paths])


def who_is_who(test: GroupTest, sessions: Sequence[str]) -> list[tuple[str, str | None, str]]:
    """Return participant, session and group of every file of a design, in its order."""
    groups = test.groups or (EVERYBODY,) * len(test.labels)
    return [
        (label, session, group)
        for label, group in zip(test.labels, groups, strict=True)
        for session in (sessions or (None,))
    ]


def make_test(test: GroupTest, drawn: Drawn) -> Test:
    """Return what tests the values of all files with the same resamplings each time."""
    from rls_bids.numerics.columns import ColumnTests, weigh_sessions

    def test_values(values: "NDArray[np.float64]") -> ColumnTests:
        return compare(weigh_sessions(values, test.responses), test, drawn)

    return test_values


def with_mean_r(test: GroupTest, whole: Stack) -> GroupTest:
    """Return a design in which each participant's mean correlation is a covariate.

    The mean of the positive correlations (of all by size, where graphs are made of these), one
    column for each response, weighed over sessions as the metrics are. It is centred, but not
    where it is a difference of sessions: its zero means no change (as for other covariates).
    """
    import numpy as np

    from rls_bids.numerics.columns import weigh_sessions

    (column,) = [row for row, each in enumerate(whole.rows) if each.metric in MEAN_R][:1]
    values = weigh_sessions(whole.values[:, [column]], test.responses)[:, :, 0]
    is_level = np.abs(test.responses.sum(axis=1)) > NO_LEVEL
    covariates = values - np.where(is_level, values.mean(axis=0), 0.0)
    nothing = np.zeros((len(test.contrasts), covariates.shape[1]))
    return replace(
        test,
        matrix=np.hstack([test.matrix, covariates]),
        contrasts=np.hstack([test.contrasts, nothing]),
    )


def _told(shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what sidecars say of nodes and densities."""
    kept = ("NodesLeftOut", "Densities", "DensitiesLeftOut")
    return {"NumberOfNodes": len(shared["Names"]), **{key: shared[key] for key in kept}}
