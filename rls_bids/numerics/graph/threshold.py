"""From a correlation matrix to a graph: nodes, signs, densities.

A graph is a symmetric ``(n_nodes, n_nodes)`` array of weights that are positive where an edge is
and zero elsewhere, the diagonal included; a binary graph has only ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.errors import InputDataError

Sign = Literal["positive", "negative", "absolute"]
Weighting = Literal["binary", "weighted"]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_NODES = 3
BAD_SHAPE = "The matrix has the shape {found}; expected a square of at least {least} nodes."
NOT_SYMMETRIC = (
    "The matrix differs from its transpose by up to {found:.2g}; expected a symmetric one: give "
    "the mean of both triangles."
)
NOT_FINITE = "The matrix holds {found} infinite values; expected correlations or NaN."
FEW_NODES = (
    "Only {found} of {n_nodes} nodes have values with all others; expected at least {least}: "
    "leave this participant out or choose a coarser atlas."
)
NO_VALUES = "no value with any other node"
SOME_VALUES = "no value with {missing} of the {others} nodes that were left"
ASYMMETRY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOut:
    """A node that is not part of the graphs, as row of the matrix, and why."""

    node: int
    reason: str


def check_matrix(matrix: ArrayLike) -> FloatArray:
    """Return a copy of a correlation matrix as float64, its diagonal zero.

    Parameters
    ----------
    matrix : (n_nodes, n_nodes) array
        Correlations, NaN where there are none. The diagonal is not looked at.

    Returns
    -------
    (n_nodes, n_nodes) float64 array

    Raises
    ------
    InputDataError
        The matrix is not square, not symmetric, smaller than 3 nodes, or holds infinities.

    Examples
    --------
    >>> check_matrix([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])[0].tolist()
    [0.0, 0.5, 0.2]
    """
    values = np.array(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < MIN_NODES:
        raise InputDataError(BAD_SHAPE.format(found=values.shape, least=MIN_NODES))
    np.fill_diagonal(values, 0.0)
    if np.isinf(values).any():
        raise InputDataError(NOT_FINITE.format(found=int(np.isinf(values).sum())))
    difference = np.abs(values - values.T)
    is_one_sided = np.isnan(values) != np.isnan(values.T)
    if is_one_sided.any() or np.nanmax(difference) > ASYMMETRY:
        found = np.inf if is_one_sided.any() else float(np.nanmax(difference))
        raise InputDataError(NOT_SYMMETRIC.format(found=found))
    return np.asarray((values + values.T) / 2)


def select_nodes(matrix: ArrayLike) -> tuple[IntArray, tuple[NodeOut, ...]]:
    """Tell which nodes have a value with every other one.

    The node with the most missing values goes first (the first of several), until none is
    missing: a parcel without data, or with a constant series, has NaN in its row and column.

    Parameters
    ----------
    matrix : (n_nodes, n_nodes) array
        As for :func:`check_matrix`.

    Returns
    -------
    kept : (n_kept,) int array
        Rows of the matrix, ascending.
    out : tuple of NodeOut
        The others, ascending.

    Raises
    ------
    InputDataError
        As :func:`check_matrix`, or fewer than 3 nodes are kept.

    Examples
    --------
    >>> matrix = np.full((4, 4), 0.5)
    >>> matrix[1] = matrix[:, 1] = np.nan
    >>> kept, out = select_nodes(matrix)
    >>> kept.tolist(), out[0].node, out[0].reason
    ([0, 2, 3], 1, 'no value with any other node')
    """
    is_missing = np.isnan(check_matrix(matrix))
    n_nodes = len(is_missing)
    n_missing = is_missing.sum(axis=1)
    is_kept = np.ones(n_nodes, dtype=bool)
    out = []
    while n_missing.max() > 0:
        worst = int(np.argmax(n_missing))
        others = int(is_kept.sum()) - 1
        missing = int(n_missing[worst])
        reason = (
            NO_VALUES if missing == others else SOME_VALUES.format(missing=missing, others=others)
        )
        out.append(NodeOut(node=worst, reason=reason))
        is_kept[worst] = False
        n_missing = (is_missing & is_kept).sum(axis=1) * is_kept
    kept = np.flatnonzero(is_kept)
    if len(kept) < MIN_NODES:
        raise InputDataError(FEW_NODES.format(found=len(kept), n_nodes=n_nodes, least=MIN_NODES))
    return kept, tuple(sorted(out, key=lambda node: node.node))


def take_sign(matrix: FloatArray, sign: Sign) -> FloatArray:
    """Return the correlations of one sign as positive weights, zero elsewhere.

    Parameters
    ----------
    matrix : (n_nodes, n_nodes) array
        Without missing values, diagonal zero.
    sign : {'positive', 'negative', 'absolute'}
        Keep the positive ones, the negative ones by their size, or both by their size.

    Returns
    -------
    (n_nodes, n_nodes) array

    Examples
    --------
    >>> matrix = np.array([[0.0, -0.3, 0.2], [-0.3, 0.0, 0.1], [0.2, 0.1, 0.0]])
    >>> [take_sign(matrix, sign)[0].tolist() for sign in ("positive", "negative", "absolute")]
    [[0.0, 0.0, 0.2], [0.0, 0.3, 0.0], [0.0, 0.3, 0.2]]
    """
    if sign == "positive":
        return np.where(matrix > 0, matrix, 0.0)
    if sign == "negative":
        return np.where(matrix < 0, -matrix, 0.0)
    return np.abs(matrix)


def density_of(weights: FloatArray) -> float:
    """Return the number of edges over that of pairs of nodes.

    Examples
    --------
    >>> density_of(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    0.33
    """
    n_nodes = len(weights)
    return float(np.count_nonzero(weights) / (n_nodes * (n_nodes - 1)))


def keep_strongest(weights: FloatArray, density: float) -> FloatArray | None:
    """Keep the strongest edges, as many as make up a density.

    Their number is the density times that of all pairs, rounded to the nearest (half upwards).
    Of equally strong edges at the cut those that come first in the upper triangle, row by row,
    are kept, so that the number is exact and the result always the same.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
        Not negative, diagonal zero.
    density : float
        Between 0 and 1.

    Returns
    -------
    (n_nodes, n_nodes) array or None
        None where the edges there are do not make up this density, or where it is less than one
        edge: the graph is missing, its metrics are not zero.

    Examples
    --------
    >>> weights = np.array([[0, 0.3, 0.2], [0.3, 0, 0.0], [0.2, 0.0, 0]])
    >>> keep_strongest(weights, 1 / 3)[0].tolist()
    [0.0, 0.3, 0.0]
    >>> keep_strongest(weights, 1.0) is None
    True
    """
    rows, columns = np.triu_indices(len(weights), 1)
    strengths = weights[rows, columns]
    n_edges = int(np.floor(density * len(strengths) + 0.5))
    if n_edges < 1 or n_edges > np.count_nonzero(strengths):
        return None
    order = np.argsort(-strengths, kind="stable")[:n_edges]
    kept = np.zeros_like(weights)
    kept[rows[order], columns[order]] = strengths[order]
    return np.asarray(kept + kept.T)


def keep_above(weights: FloatArray, threshold: float) -> FloatArray:
    """Keep the edges that are stronger than a threshold.

    Examples
    --------
    >>> keep_above(np.array([[0, 0.3, 0.2], [0.3, 0, 0.1], [0.2, 0.1, 0]]), 0.2)[0].tolist()
    [0.0, 0.3, 0.0]
    """
    return np.where(weights > threshold, weights, 0.0)


def reachable_densities(weights: FloatArray, densities: Sequence[float]) -> tuple[float, ...]:
    """Return those of the densities that the edges of a matrix can make up.

    Examples
    --------
    >>> reachable_densities(np.array([[0, 0.3, 0], [0.3, 0, 0], [0, 0, 0]]), [0.3, 0.6])
    (0.3,)
    """
    return tuple(d for d in densities if keep_strongest(weights, d) is not None)
