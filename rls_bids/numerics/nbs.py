"""Networks of connections: the network-based statistic and its threshold-free form.

The values are those of a symmetric matrix, one for each pair of nodes. Pairs above a threshold
that share nodes make a component, as touching voxels make a cluster (Zalesky 2010,
doi:10.1016/j.neuroimage.2010.06.041). Its extent counts connections, its intensity sums what
exceeds the threshold. Without a threshold (TFNBS, Baggio 2018, doi:10.1002/hbm.24007) every
connection gathers ∫ e(x)ᴱ xᴴ dx as in :mod:`rls_bids.numerics.tfce`, exactly.
"""

import os
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.unions import NOBODY, Peaks, collect, descending, find, merge, settle

VERSION = "1"

BAD_MATRIX = "The matrix has shape {found}; expected a square one of two or more nodes."
BAD_VALUES = "There are {found} values; expected one for each of {n} pairs of nodes."
NOT_SYMMETRIC = "The matrix is not symmetric: {first:g} and {second:g} differ."

EXTENT_POWER = 0.4
HEIGHT_POWER = 3.0

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePairs:
    """The two nodes of each value, (n_pairs,) each, and how many nodes there are."""

    first: Int32Array
    second: Int32Array
    n_nodes: int


def node_pairs(n_nodes: int) -> NodePairs:
    """List the pairs of nodes in the order of the upper triangle, row by row.

    Parameters
    ----------
    n_nodes : int

    Returns
    -------
    NodePairs

    Raises
    ------
    ValueError
        Fewer than two nodes.

    Examples
    --------
    >>> pairs = node_pairs(3)
    >>> pairs.first.tolist(), pairs.second.tolist()
    ([0, 0, 1], [1, 2, 2])
    """
    if n_nodes < 2:
        raise ValueError(BAD_MATRIX.format(found=(n_nodes, n_nodes)))
    first, second = np.triu_indices(n_nodes, 1)
    return NodePairs(first=first.astype(np.int32), second=second.astype(np.int32), n_nodes=n_nodes)


def matrix_to_pairs(matrices: ArrayLike) -> FloatArray:
    """Return the upper triangles of symmetric matrices; the diagonal is left out.

    Parameters
    ----------
    matrices : (..., n_nodes, n_nodes) array

    Returns
    -------
    (..., n_pairs) array

    Raises
    ------
    ValueError
        Not square, or not symmetric.

    Examples
    --------
    >>> matrix_to_pairs([[9, 1, 2], [1, 9, 3], [2, 3, 9]]).tolist()
    [1.0, 2.0, 3.0]
    """
    values = np.asarray(matrices, dtype=float)
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or values.shape[-1] < 2:
        raise ValueError(BAD_MATRIX.format(found=values.shape))
    rows, columns = np.triu_indices(values.shape[-1], 1)
    upper, lower = values[..., rows, columns], values[..., columns, rows]
    is_off = ~np.isclose(upper, lower, rtol=1e-5, atol=1e-8, equal_nan=True)
    if is_off.any():
        raise ValueError(NOT_SYMMETRIC.format(first=upper[is_off][0], second=lower[is_off][0]))
    return upper


def pairs_to_matrix(values: ArrayLike, n_nodes: int, diagonal: float = 0.0) -> FloatArray:
    """Return the symmetric matrix of values of pairs.

    Parameters
    ----------
    values : (n_pairs,) array
    n_nodes : int
    diagonal : float

    Returns
    -------
    (n_nodes, n_nodes) array

    Raises
    ------
    ValueError
        Not as many values as pairs.

    Examples
    --------
    >>> pairs_to_matrix([1, 2, 3], 3).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]
    """
    pairs = node_pairs(n_nodes)
    given = np.asarray(values, dtype=float)
    if given.shape != pairs.first.shape:
        raise ValueError(BAD_VALUES.format(found=given.shape, n=len(pairs.first)))
    matrix = np.full((n_nodes, n_nodes), float(diagonal))
    matrix[pairs.first, pairs.second] = matrix[pairs.second, pairs.first] = given
    return matrix


def tfnbs(
    values: ArrayLike,
    pairs: NodePairs,
    *,
    extent_power: float = EXTENT_POWER,
    height_power: float = HEIGHT_POWER,
) -> FloatArray:
    """Enhance connections, positive and negative ones each among themselves.

    Parameters
    ----------
    values : (n_pairs,) array
        Taken to single precision. NaN counts as 0.
    pairs : NodePairs
    extent_power, height_power : float
        E and H; by default those of MRtrix3's connectomestats.

    Returns
    -------
    (n_pairs,) float64
        With the sign of ``values``.

    Raises
    ------
    ValueError
        Not as many values as pairs.

    Examples
    --------
    >>> tfnbs([2.0, 1.0, 0.0], node_pairs(3)).round(4).tolist()
    [4.0799, 0.3299, 0.0]
    """
    heights = _fitting(values, pairs)
    result = np.zeros(len(heights))
    rules = (0.0, np.inf, float(extent_power), float(height_power))
    for sign in (np.float32(1), np.float32(-1)):
        enhanced = np.zeros(len(heights))
        _sweep(sign * heights, pairs.first, pairs.second, pairs.n_nodes, rules, enhanced)
        result += sign * enhanced
    return result


def peaks(
    values: Float32Array,
    pairs: NodePairs,
    threshold: float,
    *,
    is_two_sided: bool = True,
    is_enhanced: bool = True,
) -> Peaks:
    """Return the largest extent and intensity of a component, and the largest TFNBS value.

    Parameters
    ----------
    values : (n_pairs,) float32
    pairs : NodePairs
    threshold : float
        Positive; connections above it make components.
    is_two_sided : bool
        Look at the negative values, too, and take the larger.
    is_enhanced : bool
        False: without TFNBS.

    Returns
    -------
    Peaks

    Examples
    --------
    >>> peaks(np.array([3, 2, 0, 0, 0, -4], np.float32), node_pairs(4), 1.0, is_enhanced=False)
    Peaks(extent=2.0, mass=3.0, enhanced=0.0)
    """
    floor = 0.0 if is_enhanced else float(threshold)
    rules = (floor, float(threshold), EXTENT_POWER, HEIGHT_POWER)
    enhanced = np.zeros(len(values) if is_enhanced else 0)
    where = (pairs.first, pairs.second, pairs.n_nodes)
    found = [_sweep(values, *where, rules, enhanced)]
    if is_two_sided:
        found.append(_sweep(-values, *where, rules, enhanced))
    extent, mass, highest = np.max(found, axis=0)
    return Peaks(extent=float(extent), mass=float(mass), enhanced=float(highest))


def label_components(values: ArrayLike, pairs: NodePairs, threshold: float) -> Int32Array:
    """Give connected pairs above a threshold a number, and those below its negative.

    Parameters
    ----------
    values : (n_pairs,) array
    pairs : NodePairs
    threshold : float
        Positive.

    Returns
    -------
    (n_pairs,) int32
        0 outside, negative for components of negative values.

    Examples
    --------
    >>> label_components([3, 0, 0, 0, -2, 3], node_pairs(4), 1.0).tolist()
    [1, 0, 0, 0, -1, 2]
    """
    heights = _fitting(values, pairs)
    where = (pairs.first, pairs.second, pairs.n_nodes)
    return _label(heights, *where, threshold) - _label(-heights, *where, threshold)


def _fitting(values: ArrayLike, pairs: NodePairs) -> Float32Array:
    heights = np.asarray(values, dtype=np.float32)
    if heights.shape != pairs.first.shape:
        raise ValueError(BAD_VALUES.format(found=heights.shape, n=len(pairs.first)))
    return heights


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _sweep(
    values: Float32Array,
    first: Int32Array,
    second: Int32Array,
    n_nodes: int,
    rules: tuple[float, float, float, float],
    enhanced: FloatArray,
) -> tuple[float, float, float]:
    """Grow components of positive values; as the sweep over voxels, but nodes are joined."""
    floor, threshold, extent_power, height_power = rules
    heights, order = descending(values, np.arange(values.size).astype(np.int32), floor)
    parent = np.full(n_nodes, NOBODY, np.uint32)
    merged = np.empty((n_nodes, 2), np.uint32)
    state = np.zeros((n_nodes, 4))  # extent, mass, gathered, level of the last change
    before, owner = np.empty(order.size), np.empty(order.size, np.uint32)
    n_merged, largest, heaviest = 0, 0.0, 0.0
    for k in range(order.size):
        pair = order[k]
        height = float(heights[k])
        level = height ** (height_power + 1.0) / (height_power + 1.0)
        for node in (first[pair], second[pair]):
            if parent[node] == NOBODY:
                parent[node], state[node, 3] = node, level
        root, other = find(parent, first[pair]), find(parent, second[pair])
        if root == other:
            settle(state, root, level, extent_power)
        else:
            root, other = merge(parent, state, root, other, level, extent_power)
            merged[n_merged, 0], merged[n_merged, 1] = other, root
            n_merged += 1
        state[root, 0] += 1.0
        state[root, 1] += height - threshold
        before[k], owner[k] = state[root, 2], root
        if height > threshold:
            largest, heaviest = max(largest, state[root, 0]), max(heaviest, state[root, 1])
    if not enhanced.size:
        return largest, heaviest, 0.0
    collect(parent, state, merged[:n_merged], extent_power)
    highest = 0.0
    for k in range(order.size):
        enhanced[order[k]] = state[owner[k], 2] - before[k]
        highest = max(highest, enhanced[order[k]])
    return largest, heaviest, highest


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _label(
    values: Float32Array, first: Int32Array, second: Int32Array, n_nodes: int, threshold: float
) -> Int32Array:
    """Give components above a threshold numbers, in the order of their first pairs."""
    parent = np.arange(n_nodes).astype(np.uint32)
    for pair in range(values.size):
        if values[pair] > threshold:
            parent[find(parent, first[pair])] = find(parent, second[pair])
    numbers, labels = np.zeros(n_nodes, np.int32), np.zeros(values.size, np.int32)
    n_found = 0
    for pair in range(values.size):
        if values[pair] > threshold:
            root = find(parent, first[pair])
            if numbers[root] == 0:
                n_found += 1
                numbers[root] = n_found
            labels[pair] = numbers[root]
    return labels
