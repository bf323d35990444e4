"""Group comparisons of matrices: every connection, networks of connections, blocks of networks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.columns import ColumnFit, fit_columns
from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.glm import fdr
from rls_bids.numerics.matrices import mean_between_sets
from rls_bids.numerics.nbs import NodePairs, node_pairs
from rls_bids.numerics.permutation import Rules, permutation_test
from rls_bids.numerics.sizes import SizeKind
from rls_bids.numerics.statistic import prepare_statistic

VERSION = "1"

BAD_PAIRS = "There are {found} values a participant; expected one for each of {n} pairs of nodes."
BAD_SETS = "Matrices of shape {found}; expected (n, {n}, {n}) for {n} nodes with a set."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTests:
    """A contrast in every connection; arrays are (n_pairs,) in the order of ``node_pairs``.

    ``fit`` has effect, statistic and p by formula, NaN where a connection is not tested; ``z`` is
    0 and every other p 1 there. ``p_permutation`` and ``p_fdr`` (of the p by formula) are for
    single connections, ``p_fwe`` holds over all by the largest |z|, ``p_extent`` and
    ``p_intensity`` over components (the network-based statistic; 1 outside), ``p_tfnbs`` over
    enhanced connections. ``labels`` number the components formed at |z| > ``threshold``, those of
    negative values negatively, 0 outside.
    """

    fit: ColumnFit
    z: FloatArray
    enhanced: FloatArray
    labels: NDArray[np.int32]
    p_permutation: FloatArray
    p_fdr: FloatArray
    p_fwe: FloatArray
    p_extent: FloatArray
    p_intensity: FloatArray
    p_tfnbs: FloatArray
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Connections above the threshold that hang together.

    ``label`` is negative for negative values; ``intensity`` sums what |z| has above the
    threshold; ``peak`` is the place of the largest |z| among all pairs.
    """

    label: int
    n_nodes: int
    n_edges: int
    intensity: float
    p_extent: float
    p_intensity: float
    peak: int


def compare_edges(
    values: ArrayLike,
    design: ArrayLike,
    contrast: ArrayLike,
    resamplings: Resamplings,
    size: tuple[SizeKind, float],
    *,
    n_nodes: int,
    variance_groups: ArrayLike | None = None,
    n_threads: int = 1,
) -> EdgeTests:
    """Test a contrast in every connection and in networks of connections.

    Parameters
    ----------
    values : (n_participants, n_pairs) or (n_participants, n_responses, n_pairs) array
        Fisher z, or coordinates in tangent space, of the upper triangles (row by row). Not
        changed.
    design : (n_participants, n_columns) array
    contrast : (n_columns,) or (n_contrasts, n_columns) array
    resamplings : Resamplings
        Signs only, with variance groups.
    size : (str, float)
        Which effect size, and its scale (:func:`~rls_bids.numerics.sizes.effect_size`).
    n_nodes : int
    variance_groups : (n_participants,) labels, optional
        Groups whose residual variances may differ.
    n_threads : int
        Does not change any number.

    Returns
    -------
    EdgeTests

    Raises
    ------
    InputDataError
        As :func:`rls_bids.numerics.columns.compare_columns`.
    ValueError
        Not one value a pair.

    Notes
    -----
    One set of resamplings gives all distributions of maxima, both signs counted: of |z| (single
    step, Westfall & Young 1993), of extent and intensity of components formed at a two-sided
    p < .001 (network-based statistic, Zalesky 2010, doi:10.1016/j.neuroimage.2010.06.041), and
    of the threshold-free statistic (Baggio 2018, doi:10.1002/hbm.24007). The false discovery rate
    is that of Benjamini & Hochberg (1995, doi:10.1111/j.2517-6161.1995.tb02031.x).

    Examples
    --------
    >>> from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
    >>> design = np.repeat([[1.0, 0], [0, 1]], 8, axis=0)
    >>> values = np.random.default_rng(0).standard_normal((16, 6))
    >>> values[:8, [0, 1]] += 6
    >>> drawn = draw_resamplings(choose_exchangeability(design, [1, -1]), design, 200, 0)
    >>> found = compare_edges(values, design, [1, -1], drawn, ("hedgesg", 0.5), n_nodes=4)
    >>> found.labels.tolist(), bool(found.p_extent[0] < 0.05)
    ([1, 1, 0, 0, 0, 0], True)
    """
    table = np.array(values, dtype=float)
    table = table[:, None] if table.ndim == 2 else table
    pairs = node_pairs(n_nodes)
    if table.shape[-1] != len(pairs.first):
        raise ValueError(BAD_PAIRS.format(found=table.shape[-1], n=len(pairs.first)))
    fitted = fit_columns(table, design, contrast, size, variance_groups=variance_groups)
    # What has no statistic (a value is missing, nothing varies) does not count.
    is_tested = np.isfinite(fitted.statistic)
    table[..., ~is_tested] = 0.0
    found = permutation_test(
        table,
        prepare_statistic(
            design, contrast, variance_groups=variance_groups, n_responses=table.shape[1]
        ),
        resamplings,
        pairs,
        rules=Rules(),
        n_threads=n_threads,
    )
    adjusted = np.full(len(is_tested), 1.0)
    adjusted[is_tested] = fdr(fitted.p[is_tested])
    return EdgeTests(
        fit=fitted,
        z=found.z,
        enhanced=found.enhanced,
        labels=found.labels,
        p_permutation=found.p,
        p_fdr=adjusted,
        p_fwe=found.p_voxel,
        p_extent=found.p_extent,
        p_intensity=found.p_mass,
        p_tfnbs=found.p_enhanced,
        threshold=found.threshold,
    )


def list_components(tests: EdgeTests, pairs: NodePairs) -> list[Component]:
    """Describe every component, that with the smallest p first.

    Parameters
    ----------
    tests : EdgeTests
    pairs : NodePairs

    Returns
    -------
    list of Component

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> tests = SimpleNamespace(labels=np.array([0, -1, -1]), z=np.array([1.0, -5, -4]),
    ...     threshold=3.0, p_extent=np.array([1, 0.1, 0.1]), p_intensity=np.array([1, 0.2, 0.2]))
    >>> (one,) = list_components(tests, node_pairs(3))
    >>> one.label, one.n_nodes, one.n_edges, one.intensity
    (-1, 3, 2, 3.0)
    """
    found = []
    for label in np.unique(tests.labels[tests.labels != 0]).tolist():
        own = np.flatnonzero(tests.labels == label)
        sizes = np.abs(tests.z[own])
        found.append(
            Component(
                label=label,
                n_nodes=len(np.union1d(pairs.first[own], pairs.second[own])),
                n_edges=len(own),
                intensity=float((sizes - tests.threshold).sum()),
                p_extent=float(tests.p_extent[own[0]]),
                p_intensity=float(tests.p_intensity[own[0]]),
                peak=int(own[sizes.argmax()]),
            )
        )
    return sorted(found, key=lambda one: (one.p_extent, one.p_intensity, -one.n_edges, one.label))


def block_means(
    matrices: ArrayLike, set_of: ArrayLike, n_sets: int
) -> tuple[FloatArray, NDArray[np.intp], NDArray[np.int64]]:
    """Average every matrix over the pairs between two sets of nodes, and within each set.

    Parameters
    ----------
    matrices : (n, n_nodes, n_nodes) array
        Fisher z, or coordinates in tangent space, without missing values.
    set_of : (n_nodes,) int array
        Set of each node, 0 to `n_sets` - 1; negative where it belongs to none.
    n_sets : int

    Returns
    -------
    means : (n, n_blocks) array
    blocks : (n_blocks, 2) array
        The two sets of each block, the smaller number first; those without a pair are left out.
    n_pairs : (n_blocks,) array

    Raises
    ------
    ValueError
        The shapes do not fit.

    Examples
    --------
    >>> z = [[0, 0.4, 0.1], [0.4, 0, 0.3], [0.1, 0.3, 0]]
    >>> means, blocks, n_pairs = block_means([z], [0, 0, 1], 2)
    >>> means.round(3).tolist(), blocks.tolist(), n_pairs.tolist()
    ([[0.4, 0.2]], [[0, 0], [0, 1]], [1, 2])
    """
    stack = np.asarray(matrices, dtype=float)
    n_nodes = np.asarray(set_of).size
    if stack.ndim != 3 or stack.shape[1:] != (n_nodes, n_nodes):
        raise ValueError(BAD_SETS.format(found=stack.shape, n=n_nodes))
    found = [mean_between_sets(each, set_of, n_sets) for each in stack]
    n_pairs = found[0][1] if found else np.zeros((n_sets, n_sets), dtype=np.int64)
    first, second = np.nonzero(np.triu(n_pairs))
    means = np.array([mean[first, second] for mean, _ in found]).reshape(len(stack), len(first))
    return means, np.column_stack([first, second]), n_pairs[first, second]
