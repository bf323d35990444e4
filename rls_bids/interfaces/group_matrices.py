"""Matrices of several participants on common nodes: connections, their networks, and blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

from rls_bids.dataset.description import read_json
from rls_bids.interfaces.atlas import SETS, sorted_sets
from rls_bids.interfaces.designs import Drawn, GroupTest, draw, load_design
from rls_bids.interfaces.group_graphs import load_common, make_test, parcel_sets, who_is_who
from rls_bids.interfaces.group_motion import motion_left, node_centres
from rls_bids.interfaces.group_tables import LEVEL, tested_columns, who_columns
from rls_bids.interfaces.manifest import save_manifest
from rls_bids.interfaces.tables import load_table, save_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.numerics.edges import EdgeTests
    from rls_bids.numerics.nbs import NodePairs

    Floats = NDArray[np.float64]

TANGENT = "tangent"
NO_SETS = "The atlas {atlas} does not tell two or more {what} of its parcels."
P_VALUES = {
    "p_uncorrected": "uncorrected",
    "p_fdr": "fdr",
    "p_fwe": "edgeFWE",
    "p_extent": "nbsExtentFWE",
    "p_intensity": "nbsIntensityFWE",
    "p_tfnbs": "tfnbsFWE",
}
"""p of every connection: key of its matrix, and the label after ``desc-``."""


class GroupMatricesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `GroupMatrices`."""

    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="matrices, or shrunken r")
    measure = traits.Str(mandatory=True, desc="as which matrices they are compared")
    mean_fd_mm = traits.List(traits.Float(), mandatory=True, desc="of each file")
    atlas = traits.Str(mandatory=True, desc="as it was asked for")
    space = traits.Str(mandatory=True, desc="standard space, for the length of connections")
    design_file = File(exists=True, mandatory=True, desc="one row a participant, same order")
    sidecar_file = File(exists=True, mandatory=True, desc="contrast and units of the design")
    random_seed = traits.Int(0, usedefault=True, desc="of resamplings")
    n_permutations = traits.Int(mandatory=True, desc="resamplings asked for")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="does not change any number")
    version = traits.Str(mandatory=True, desc="kernel version")


class GroupMatricesOutputSpec(TraitedSpec):
    """Outputs of `GroupMatrices`."""

    manifest = File(exists=True, desc="matrices and tables of tests")


class GroupMatrices(SimpleInterface):
    """Test the contrast in every connection, in networks of them, and in blocks."""

    input_spec = GroupMatricesInputSpec
    output_spec = GroupMatricesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        given, folder = self.inputs, Path(runtime.cwd)
        test = load_design(given.design_file, given.sidecar_file)
        who = who_is_who(test, read_json(Path(given.sidecar_file))["Sessions"])
        drawn = draw(test, given.n_permutations, given.random_seed)
        shared = _share(given.in_files, given.measure)
        about = {
            "NumberOfNodes": len(shared.names),
            "NodesLeftOut": shared.nodes_out,
            "Resamplings": drawn.told,
        }
        found, more = _test_edges(shared, test, drawn, given)
        found["qcfc"], more["QcFc"] = _motion(shared, test, given)
        files: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        files |= {key: (table, about | more) for key, table in found.items()}
        files |= _blocks(shared, test, drawn, who, about, given.atlas)
        if shared.reference is not None:
            files["reference"] = (_square(shared.names, shared.reference), about)
            files["participants"] = (_stacked(shared, who), about)
        for key, (table, _) in files.items():
            if table:
                save_table(table, folder / f"{key}.tsv")
        entries = [
            {"key": key, "file": f"{key}.tsv" if table else "", "metadata": told}
            for key, (table, told) in files.items()
        ]
        self._results["manifest"] = save_manifest(entries, folder)
        return runtime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shared:
    """Matrices (n_files, n_nodes, n_nodes) of the common nodes in the unit that is tested.

    ``reference`` is where the tangent space touches, None for correlations.
    """

    matrices: "Floats"
    names: list[str]
    nodes_out: dict[str, str]
    reference: "Floats | None"


def _share(paths: Sequence[str], measure: str) -> _Shared:
    """Read what all have; correlations become Fisher z, shrunken ones tangent coordinates."""
    import numpy as np

    from rls_bids.numerics.correlation import fisher_z
    from rls_bids.numerics.graph import restrict_nodes
    from rls_bids.numerics.matrices import tangent_matrices, tangent_reference

    names, matrices, nodes, nodes_out = load_common(paths)
    inner = np.array([restrict_nodes(matrix, nodes) for matrix in matrices])
    reference = tangent_reference(inner) if measure == TANGENT else None
    values = fisher_z(inner) if reference is None else tangent_matrices(inner, reference)
    kept = [names[node] for node in nodes]
    return _Shared(matrices=values, names=kept, nodes_out=nodes_out, reference=reference)


def _test_edges(
    shared: _Shared, test: GroupTest, drawn: Drawn, given: Any
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return matrices and tables of the tests of connections, and what sidecars say of them."""
    from rls_bids.numerics.columns import weigh_sessions
    from rls_bids.numerics.edges import compare_edges
    from rls_bids.numerics.nbs import matrix_to_pairs, node_pairs, pairs_to_matrix

    n_nodes = len(shared.names)
    found = compare_edges(
        weigh_sessions(matrix_to_pairs(shared.matrices), test.responses),
        test.matrix,
        test.contrast,
        drawn.resamplings,
        (test.size, test.scale),
        n_nodes=n_nodes,
        variance_groups=test.units.variance_groups,
        n_threads=given.n_threads,
    )
    pairs = node_pairs(n_nodes)
    values: dict[str, Any] = {
        "effect": found.fit.effect,
        "statistic": found.fit.statistic,
        "z": found.z,
        **{key: _p_of(found, key) for key in P_VALUES},
        "label": found.labels,
    }
    square = {
        key: _square(shared.names, pairs_to_matrix(each, n_nodes, diagonal=float("nan")))
        for key, each in values.items()
    }
    square["components"] = _components(found, pairs, shared.names)
    square["edges"] = _edges(found, pairs, shared.names, test.size, given.atlas)
    extents = {label: p for label, p in zip(found.labels, found.p_extent, strict=True) if label}
    masses = {label: p for label, p in zip(found.labels, found.p_intensity, strict=True) if label}
    told = {
        "FormingZ": found.threshold,
        "NumberOfEdges": len(pairs.first),
        "NumberOfEdgesFdr05": int((found.p_fdr <= LEVEL).sum()),
        "NumberOfEdgesFwe05": int((found.p_fwe <= LEVEL).sum()),
        "NumberOfEdgesTfnbs05": int((found.p_tfnbs <= LEVEL).sum()),
        "NumberOfComponents": len(extents),
        "NumberOfComponentsExtent05": sum(bool(p <= LEVEL) for p in extents.values()),
        "NumberOfComponentsIntensity05": sum(bool(p <= LEVEL) for p in masses.values()),
    }
    return square, told


def _motion(shared: _Shared, test: GroupTest, given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return r of motion with every connection as a matrix, and its summary."""
    from rls_bids.numerics.nbs import matrix_to_pairs, pairs_to_matrix

    r, told = motion_left(
        matrix_to_pairs(shared.matrices),
        given.mean_fd_mm,
        list(load_table(given.design_file)),
        test,
        node_centres(given.atlas, shared.names, given.space),
    )
    matrix = pairs_to_matrix(r, len(shared.names), diagonal=float("nan"))
    return _square(shared.names, matrix), told


def _p_of(found: "EdgeTests", key: str) -> "Floats":
    """Return a p of every connection, 1 where nothing was tested."""
    import numpy as np

    if key != "p_uncorrected":
        return np.asarray(getattr(found, key))
    return np.where(np.isfinite(found.fit.p), found.fit.p, 1.0)


def _square(names: Sequence[str], matrix: "Floats") -> dict[str, Any]:
    """Return the columns of a matrix, one a node."""
    return dict(zip(names, matrix.T, strict=True))


def _components(found: "EdgeTests", pairs: "NodePairs", names: Sequence[str]) -> dict[str, Any]:
    """Return a row for every component."""
    import numpy as np

    from rls_bids.numerics.edges import list_components

    parts = list_components(found, pairs)
    peaks = np.array([one.peak for one in parts], dtype=int)
    fields = ("n_nodes", "n_edges", "intensity", "p_extent", "p_intensity")
    return {
        "component": np.array([one.label for one in parts], dtype=int),
        **{name: np.array([getattr(one, name) for one in parts]) for name in fields},
        "peak_node_1": np.array([names[place] for place in pairs.first[peaks]], dtype=object),
        "peak_node_2": np.array([names[place] for place in pairs.second[peaks]], dtype=object),
        "peak_z": found.z[peaks],
    }


def _edges(
    found: "EdgeTests", pairs: "NodePairs", names: Sequence[str], kind: str, atlas: str
) -> dict[str, Any]:
    """Return a row for every connection of a component, or that survives by itself."""
    import numpy as np

    is_listed = found.labels != 0
    for key in ("p_fdr", "p_fwe", "p_tfnbs"):
        is_listed |= getattr(found, key) <= LEVEL
    places = np.flatnonzero(is_listed)
    places = places[np.argsort(-np.abs(found.z[places]), kind="stable")]
    networks = parcel_sets(atlas, names, "network")
    ends = {"1": pairs.first[places], "2": pairs.second[places]}
    by_formula = tested_columns(found.fit, kind)
    told = [each or None for each in networks]
    return {
        **{f"node_{end}": np.array([names[n] for n in own], object) for end, own in ends.items()},
        **{
            f"network_{end}": np.array([told[n] for n in own], object) for end, own in ends.items()
        },
        "component": found.labels[places],
        **{name: column[places] for name, column in by_formula.items()},
        "p_permutation": found.p_permutation[places],
        **{key: getattr(found, key)[places] for key in P_VALUES if key != "p_uncorrected"},
    }


def _blocks(
    shared: _Shared,
    test: GroupTest,
    drawn: Drawn,
    who: Sequence[tuple[str, str | None, str]],
    about: Mapping[str, Any],
    atlas: str,
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the tests of means between networks and between lobes, and the values tested."""
    files: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for key, field in SETS.items():
        belongs = parcel_sets(atlas, shared.names, field)
        sets = sorted_sets(key, belongs)
        if len(sets) < 2:
            told = {**about, "Missing": NO_SETS.format(atlas=atlas, what=key)}
            files |= {name: ({}, told) for name in (key, f"{key}Values")}
            continue
        tested, values = _block_tables(shared, sets, belongs, test, drawn)
        count = int((tested["p_fwe"] <= LEVEL).sum())
        files[key] = (tested, {**about, "Sets": sets, "NumberOfBlocksFwe05": count})
        files[f"{key}Values"] = (who_columns(who, 1) | values, {**about, "Sets": sets})
    return files


def _block_tables(
    shared: _Shared, sets: Sequence[str], belongs: Sequence[str], test: GroupTest, drawn: Drawn
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a row for every block, and the means of every participant in columns."""
    import numpy as np

    from rls_bids.numerics.edges import block_means
    from rls_bids.numerics.glm import fdr

    set_of = [sets.index(each) if each else -1 for each in belongs]
    means, blocks, n_pairs = block_means(shared.matrices, set_of, len(sets))
    found = make_test(test, drawn)(means)
    adjusted = np.full(len(n_pairs), np.nan)
    known = np.isfinite(found.fit.p)
    adjusted[known] = fdr(found.fit.p[known])
    ends = [[sets[place] for place in column] for column in blocks.T]
    tested = {
        "set_1": np.array(ends[0], dtype=object),
        "set_2": np.array(ends[1], dtype=object),
        "n_pairs": n_pairs,
        **tested_columns(found.fit, test.size),
        "p_permutation": found.p_permutation,
        "p_fdr": adjusted,
        "p_fwe": found.p_fwe,
    }
    names = [f"{first}-{second}" for first, second in zip(*ends, strict=True)]
    return tested, dict(zip(names, means.T, strict=True))


def _stacked(shared: _Shared, who: Sequence[tuple[str, str | None, str]]) -> dict[str, Any]:
    """Return the matrices of all participants one below the other."""
    import numpy as np

    n, n_nodes, _ = shared.matrices.shape
    long = shared.matrices.reshape(n * n_nodes, n_nodes)
    return {
        **who_columns(who, n_nodes),
        "node": np.tile(np.array(shared.names, dtype=object), n),
        **_square(shared.names, long),
    }
