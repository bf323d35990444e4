"""Null networks: the same degrees, edges drawn anew at random or on a ring, same strengths.

A swap takes two edges a-b and c-d and makes a-d and c-b of them, where neither is there yet, so
that every node keeps its degree (Maslov and Sneppen 2002, 10.1126/science.1065103).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.graph.draws import State, child_seed, draw_below, random_state, toss
from rls_bids.numerics.graph.paths import KEEP_CODE
from rls_bids.numerics.graph.threshold import FloatArray, IntArray, Weighting

ByteArray = NDArray[np.uint8]

SWAPS_PER_EDGE = 10
# Three times as many raise the clustering of the lattices by 0.1 % (density .40) to 1.7 % (.05).
LATTICE_SWAPS_PER_EDGE = 1000
EXCHANGES_PER_EDGE = 30


def rewire(
    weights: FloatArray,
    weighting: Weighting,
    seed: np.random.SeedSequence,
    swaps_per_edge: int = SWAPS_PER_EDGE,
) -> FloatArray:
    """Return a random graph of the same degrees and, when weighted, of the same strengths.

    Swaps are attempted ``swaps_per_edge`` times the number of edges. The weights of a weighted
    graph are then dealt out at random, and two of them change places, of randomly chosen pairs,
    whenever this brings the strengths nearer to those of the graph in the sum of squares: the
    annealing of Milisav 2025 (10.1038/s43588-024-00735-z) at temperature zero. The set of
    weights stays exactly the same, strengths almost.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    weighting : {'binary', 'weighted'}
    seed : numpy.random.SeedSequence
    swaps_per_edge : int

    Returns
    -------
    (n_nodes, n_nodes) array

    Examples
    --------
    >>> ring = np.roll(np.eye(8), 1, axis=1) + np.roll(np.eye(8), -1, axis=1)
    >>> null = rewire(ring, "binary", np.random.SeedSequence(1))
    >>> null.sum(axis=1).tolist() == ring.sum(axis=1).tolist(), bool((null == ring).all())
    (True, False)
    """
    state = random_state(seed)
    edges = np.argwhere(np.triu(weights, 1) > 0)
    adjacency = (weights > 0).astype(np.uint8)
    _swap_edges(edges, adjacency, swaps_per_edge * len(edges), state)
    return _dress(weights, weighting, edges, state)


def latticise(
    weights: FloatArray,
    weighting: Weighting,
    seed: np.random.SeedSequence,
    swaps_per_edge: int = LATTICE_SWAPS_PER_EDGE,
) -> FloatArray:
    """Return a ring-like graph of the same degrees and, when weighted, of the same strengths.

    The nodes are put on a ring in random order, and swaps are made that do not lengthen the
    edges along the ring (Sporns and Zwi 2004, 10.1385/NI:2:2:145). A swap is proposed by taking
    one end of an edge to a node near its other end, since swaps of any two edges are hardly ever
    of use once most edges are short. Weights are dealt out as in :func:`rewire`.

    Parameters
    ----------
    weights, weighting, seed, swaps_per_edge
        As for :func:`rewire`.

    Returns
    -------
    (n_nodes, n_nodes) array
        The nodes as they came.

    Examples
    --------
    >>> ring = np.roll(np.eye(8), 1, axis=1) + np.roll(np.eye(8), -1, axis=1)
    >>> lattice = latticise(ring, "binary", np.random.SeedSequence(1))
    >>> lattice.sum(axis=1).tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    state = random_state(seed)
    n_nodes = len(weights)
    at = np.random.default_rng(child_seed(seed, 0)).permutation(n_nodes)
    on_ring = weights[np.ix_(at, at)]
    edges = np.argwhere(np.triu(on_ring, 1) > 0)
    if len(edges):
        adjacency = (on_ring > 0).astype(np.uint8)
        reach = max(2, -(-len(edges) // n_nodes))
        _shorten_edges(edges, adjacency, swaps_per_edge * len(edges), reach, state)
    return _dress(weights, weighting, at[edges], state)


def _dress(weights: FloatArray, weighting: Weighting, edges: IntArray, state: State) -> FloatArray:
    """Return the graph of these edges, with ones or with the weights of another graph."""
    values = np.ones(len(edges))
    if weighting == "weighted":
        values = weights[np.triu(weights, 1) > 0]
        _deal_weights(edges, values, weights.sum(axis=1), EXCHANGES_PER_EDGE * len(edges), state)
    null = np.zeros_like(weights)
    null[edges[:, 0], edges[:, 1]] = values
    null[edges[:, 1], edges[:, 0]] = values
    return null


@numba.njit(cache=KEEP_CODE, nogil=True)
def _exchange(adjacency: ByteArray, a: int, b: int, c: int, d: int) -> None:
    """Replace the edges a-b and c-d by a-d and c-b."""
    adjacency[a, b] = adjacency[b, a] = adjacency[c, d] = adjacency[d, c] = 0
    adjacency[a, d] = adjacency[d, a] = adjacency[c, b] = adjacency[b, c] = 1


@numba.njit(cache=KEEP_CODE, nogil=True)
def _swap_edges(edges: IntArray, adjacency: ByteArray, n_attempts: int, state: State) -> None:
    """Swap randomly chosen pairs of edges, in place."""
    n_edges = edges.shape[0]
    for _ in range(n_attempts):
        i, j = draw_below(state, n_edges), draw_below(state, n_edges)
        a, b, c, d = edges[i, 0], edges[i, 1], edges[j, 0], edges[j, 1]
        if toss(state):
            c, d = d, c
        if a in (c, d) or b in (c, d) or adjacency[a, d] or adjacency[c, b]:
            continue
        _exchange(adjacency, a, b, c, d)
        edges[i, 1], edges[j, 0], edges[j, 1] = d, c, b


@numba.njit(cache=KEEP_CODE, nogil=True)
def _around(a: int, b: int, n: int) -> int:
    """Return the distance of two places on a ring."""
    distance = abs(a - b)
    return min(distance, n - distance)


@numba.njit(cache=KEEP_CODE, nogil=True)
def _list_ends(edges: IntArray, n: int) -> tuple[IntArray, IntArray, IntArray]:
    """List the ends of edges (2 x edge + side) node by node, and where each end stands."""
    n_ends = 2 * edges.shape[0]
    starts = np.zeros(n + 1, dtype=np.int64)
    for end in range(n_ends):
        starts[edges[end >> 1, end & 1] + 1] += 1
    starts = np.cumsum(starts)
    fill = starts.copy()
    ends, place = np.empty(n_ends, dtype=np.int64), np.empty(n_ends, dtype=np.int64)
    for end in range(n_ends):
        node = edges[end >> 1, end & 1]
        ends[fill[node]], place[end] = end, fill[node]
        fill[node] += 1
    return starts, ends, place


@numba.njit(cache=KEEP_CODE, nogil=True)
def _shorten_edges(
    edges: IntArray, adjacency: ByteArray, n_attempts: int, reach: int, state: State
) -> None:
    """Swap pairs of edges, in place, when they do not become longer along the ring."""
    n = adjacency.shape[0]
    starts, ends, place = _list_ends(edges, n)
    for _ in range(n_attempts):
        mine = draw_below(state, len(ends))
        i, side = mine >> 1, mine & 1
        a, b = edges[i, side], edges[i, 1 - side]
        step = 1 + draw_below(state, reach)
        d = (a + (step if toss(state) else n - step)) % n
        n_ends = starts[d + 1] - starts[d]
        if d == a or adjacency[a, d] or n_ends == 0:
            continue
        other = ends[starts[d] + draw_below(state, n_ends)]
        j, at = other >> 1, other & 1
        c = edges[j, 1 - at]
        if c in (a, b) or b == d or adjacency[c, b]:
            continue
        before = _around(a, b, n) + _around(c, d, n)
        if _around(a, d, n) + _around(c, b, n) > before:
            continue
        _exchange(adjacency, a, b, c, d)
        # The far end of the first edge and the near end of the second change nodes.
        edges[i, 1 - side], edges[j, at] = d, b
        first, second = 2 * i + 1 - side, other
        place[first], place[second] = place[second], place[first]
        ends[place[first]], ends[place[second]] = first, second


@numba.njit(cache=KEEP_CODE, nogil=True)
def _deal_weights(
    edges: IntArray, values: FloatArray, strengths: FloatArray, n_attempts: int, state: State
) -> None:
    """Deal weights out to edges, in place, so that nodes come near to given strengths."""
    n_edges = edges.shape[0]
    for i in range(n_edges - 1, 0, -1):
        j = draw_below(state, i + 1)
        values[i], values[j] = values[j], values[i]
    excess = -strengths
    for i in range(n_edges):
        excess[edges[i, 0]] += values[i]
        excess[edges[i, 1]] += values[i]
    for _ in range(n_attempts):
        i, j = draw_below(state, n_edges), draw_below(state, n_edges)
        a, b, c, d = edges[i, 0], edges[i, 1], edges[j, 0], edges[j, 1]
        more = values[j] - values[i]
        change = 0.0
        if a not in (c, d):
            change += 2 * excess[a] + more
        if b not in (c, d):
            change += 2 * excess[b] + more
        if c not in (a, b):
            change -= 2 * excess[c] - more
        if d not in (a, b):
            change -= 2 * excess[d] - more
        if change * more < 0:
            values[i] += more
            values[j] -= more
            excess[a] += more
            excess[b] += more
            excess[c] -= more
            excess[d] -= more
