"""Shortest paths between all pairs of nodes, and what follows from them.

The length of an edge is 1 in a binary graph and 1/weight in a weighted one (Rubinov and Sporns
2010, 10.1016/j.neuroimage.2009.10.003).
"""

import os
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.graph.threshold import FloatArray, IntArray, Weighting

BoolArray = NDArray[np.bool_]

# Machine code is kept only where the caller has named a folder for it (see numerics.resample).
KEEP_CODE = "NUMBA_CACHE_DIR" in os.environ
# Lengths that differ by less than this, relatively, count as equal: they are the same edges
# added in another order.
EQUAL = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Sums over the shortest paths that start at each node.

    ``inverse`` is the sum of 1/length over all others (0 for those out of reach), ``total`` the
    sum of lengths and ``eccentricity`` the greatest length over those within reach (NaN for a
    node without edges); ``is_in_largest`` marks the largest component, of several the one with
    the first node.
    """

    inverse: FloatArray
    total: FloatArray
    eccentricity: FloatArray
    is_in_largest: BoolArray


def find_paths(weights: FloatArray, weighting: Weighting) -> Paths:
    """Sum up the shortest paths of a graph.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    weighting : {'binary', 'weighted'}

    Returns
    -------
    Paths

    Examples
    --------
    >>> line = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0.0]])
    >>> paths = find_paths(line, "binary")
    >>> paths.inverse.tolist(), paths.total.tolist(), paths.is_in_largest.tolist()
    ([1.5, 2.0, 1.5, 0.0], [3.0, 2.0, 3.0, 0.0], [True, True, True, False])
    """
    graph = np.ascontiguousarray(weights, dtype=np.float64)
    if weighting == "binary":
        inverse, total, farthest, is_in_largest = _sum_hops(graph)
    else:
        lengths = shortest_lengths(graph)
        is_reached = np.isfinite(lengths)
        finite = np.where(is_reached, lengths, 0.0)
        off_diagonal = np.where(finite > 0, finite, np.inf)
        inverse, total, farthest = (1 / off_diagonal).sum(1), finite.sum(1), finite.max(1)
        is_in_largest = is_reached[np.argmax(is_reached.sum(axis=1))]
    return Paths(
        inverse=inverse,
        total=total,
        eccentricity=np.where(farthest > 0, farthest, np.nan),
        is_in_largest=is_in_largest,
    )


def mean_length(paths: Paths) -> float:
    """Return the characteristic path length: the mean over pairs of the largest component.

    Watts and Strogatz 1998 (10.1038/30918); NaN in a graph without edges.

    Examples
    --------
    >>> line = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0.0]])
    >>> mean_length(find_paths(line, "binary"))
    1.333
    """
    size = int(paths.is_in_largest.sum())
    if size < 2:
        return float("nan")
    return float(paths.total[paths.is_in_largest].sum() / (size * (size - 1)))


def mean_efficiency(paths: Paths) -> float:
    """Return the global efficiency: the mean of 1/length over all pairs of nodes.

    Latora and Marchiori 2001 (10.1103/PhysRevLett.87.198701). Its inverse is the harmonic mean
    path length, which is defined for disconnected graphs too (Newman 2003,
    10.1137/S003614450342480).

    Examples
    --------
    >>> line = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0.0]])
    >>> mean_efficiency(find_paths(line, "binary"))
    0.417
    """
    n_nodes = len(paths.inverse)
    return float(paths.inverse.sum() / (n_nodes * (n_nodes - 1)))


@numba.njit(cache=KEEP_CODE, nogil=True)
def shortest_lengths(weights: FloatArray) -> FloatArray:
    """Return the lengths of the shortest paths between all pairs (Floyd and Warshall).

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
        C-contiguous; an edge of weight w has the length 1/w.

    Returns
    -------
    (n_nodes, n_nodes) array
        Infinite where there is no path.

    Examples
    --------
    >>> shortest_lengths(np.array([[0, 0.5, 0.1], [0.5, 0, 0.25], [0.1, 0.25, 0]]))[0].tolist()
    [0.0, 2.0, 6.0]
    """
    n = weights.shape[0]
    lengths = np.full((n, n), np.inf)
    for i in range(n):
        for j in range(n):
            if weights[i, j] > 0:
                lengths[i, j] = 1.0 / weights[i, j]
        lengths[i, i] = 0.0
    for k in range(n):
        middle = lengths[k]
        for i in range(n):
            first = lengths[i, k]
            if i == k or first == np.inf:
                continue
            row = lengths[i]
            for j in range(n):
                row[j] = min(row[j], first + middle[j])
    return lengths


@numba.njit(cache=KEEP_CODE, nogil=True)
def count_bits(word: np.uint64) -> np.uint64:
    """Return the number of ones in 64 bits."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    word = (word & pairs) + ((word >> np.uint64(2)) & pairs)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@numba.njit(cache=KEEP_CODE, nogil=True)
def pack_rows(weights: FloatArray) -> NDArray[np.uint64]:
    """Return the neighbours of every node as bits, 64 nodes in a word."""
    n = weights.shape[0]
    bits = np.zeros((n, (n + 63) // 64), dtype=np.uint64)
    for i in range(n):
        for j in range(n):
            if weights[i, j] > 0:
                bits[i, j >> 6] |= np.uint64(1) << np.uint64(j & 63)
    return bits


@numba.njit(cache=KEEP_CODE, nogil=True)
def _sum_hops(weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Sum up shortest paths of a binary graph, for all nodes at once, one step further a round.

    What a node reaches in s + 1 steps is what its neighbours reach in s; sets are bits.
    """
    n = weights.shape[0]
    now = pack_rows(weights)
    neighbours, starts = _list_neighbours(weights)
    inverse, total, farthest = np.zeros(n), np.zeros(n), np.zeros(n)
    n_reached = np.zeros(n, dtype=np.int64)
    then = np.zeros_like(now)
    for i in range(n):
        now[i, i >> 6] |= np.uint64(1) << np.uint64(i & 63)
        n_reached[i] = _copy_and_count(now[i], then[i])
        inverse[i] = total[i] = n_reached[i] - 1
        farthest[i] = min(total[i], 1.0)
    steps, has_grown = 1.0, True
    while has_grown:
        steps, has_grown = steps + 1.0, False
        _add_neighbours(now, then, neighbours, starts)
        for i in range(n):
            count = _copy_and_count(then[i], now[i])
            n_new = count - n_reached[i]
            if n_new:
                n_reached[i], farthest[i], has_grown = count, steps, True
                inverse[i] += n_new / steps
                total[i] += n_new * steps
    largest = 0
    for i in range(n):
        if n_reached[i] > n_reached[largest]:
            largest = i
    is_in_largest = np.zeros(n, dtype=np.bool_)
    for i in range(n):
        is_in_largest[i] = (now[largest, i >> 6] >> np.uint64(i & 63)) & np.uint64(1)
    return inverse, total, farthest, is_in_largest


@numba.njit(cache=KEEP_CODE, nogil=True)
def _copy_and_count(source: NDArray[np.uint64], target: NDArray[np.uint64]) -> int:
    """Copy a set and return its size."""
    count = 0
    for word in range(source.shape[0]):
        target[word] = source[word]
        count += int(count_bits(source[word]))
    return count


@numba.njit(cache=KEEP_CODE, nogil=True)
def _add_neighbours(
    now: NDArray[np.uint64], then: NDArray[np.uint64], neighbours: IntArray, starts: IntArray
) -> None:
    """Add to the set of each node those of its neighbours."""
    for i in range(now.shape[0]):
        for place in range(starts[i], starts[i + 1]):
            j = neighbours[place]
            for word in range(now.shape[1]):
                then[i, word] |= now[j, word]


@numba.njit(cache=KEEP_CODE, nogil=True)
def _list_neighbours(weights: FloatArray) -> tuple[IntArray, IntArray]:
    """List the neighbours of all nodes, node by node, and where those of each start."""
    n = weights.shape[0]
    neighbours = np.empty(n * n, dtype=np.int64)
    starts = np.zeros(n + 1, dtype=np.int64)
    for i in range(n):
        starts[i + 1] = starts[i]
        for j in range(n):
            if weights[i, j] > 0:
                neighbours[starts[i + 1]] = j
                starts[i + 1] += 1
    return neighbours, starts


@numba.njit(cache=KEEP_CODE, nogil=True)
def count_passages(lengths: FloatArray) -> FloatArray:
    """Count the shortest paths between other nodes that pass through each (Brandes 2001).

    Of several shortest paths between two nodes each counts its share; every pair counts twice,
    once in either direction.

    Parameters
    ----------
    lengths : (n_nodes, n_nodes) array
        Lengths of edges, infinite where there is none.

    Returns
    -------
    (n_nodes,) array

    Examples
    --------
    >>> inf = np.inf
    >>> count_passages(np.array([[inf, 1, inf], [1, inf, 1], [inf, 1, inf]])).tolist()
    [0.0, 2.0, 0.0]
    """
    n = lengths.shape[0]
    passages = np.zeros(n)
    order = np.empty(n, dtype=np.int64)
    distance, n_paths, share = np.empty(n), np.empty(n), np.empty(n)
    for source in range(n):
        n_settled = _settle_nodes(lengths, source, order, distance, n_paths)
        share[:] = 0.0
        for place in range(n_settled - 1, 0, -1):
            far = order[place]
            for earlier in range(place):
                i = order[earlier]
                if _is_before(distance, lengths, i, far):
                    share[i] += n_paths[i] / n_paths[far] * (1.0 + share[far])
            passages[far] += share[far]
    return passages


@numba.njit(cache=KEEP_CODE, nogil=True)
def _settle_nodes(
    lengths: FloatArray, source: int, order: IntArray, distance: FloatArray, n_paths: FloatArray
) -> int:
    """Fill in distances from a node and numbers of shortest paths, and the order of distances.

    Returns how many nodes are within reach (Dijkstra).
    """
    n: int = lengths.shape[0]
    is_settled = np.zeros(n, dtype=np.bool_)
    distance[:] = np.inf
    n_paths[:] = 0.0
    distance[source], n_paths[source] = 0.0, 1.0
    for n_settled in range(n):
        nearest = -1
        for i in range(n):
            if not is_settled[i] and (nearest < 0 or distance[i] < distance[nearest]):
                nearest = i
        if distance[nearest] == np.inf:
            return n_settled
        for place in range(n_settled):
            i = order[place]
            if _is_before(distance, lengths, i, nearest):
                n_paths[nearest] += n_paths[i]
        is_settled[nearest] = True
        order[n_settled] = nearest
        for i in range(n):
            if not is_settled[i]:
                distance[i] = min(distance[i], distance[nearest] + lengths[nearest, i])
    return n


@numba.njit(cache=KEEP_CODE, nogil=True)
def _is_before(distance: FloatArray, lengths: FloatArray, i: int, far: int) -> bool:
    """Whether a shortest path to one node has another as the last stop before."""
    return bool(abs(distance[i] + lengths[i, far] - distance[far]) <= EQUAL * distance[far])


def n_edges_of(weights: FloatArray) -> IntArray:
    """Return the degree of every node: the number of its edges.

    Examples
    --------
    >>> n_edges_of(np.array([[0, 0.5, 0.2], [0.5, 0, 0], [0.2, 0, 0]])).tolist()
    [2, 1, 1]
    """
    return np.asarray(np.count_nonzero(weights, axis=1))
