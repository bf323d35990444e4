"""How far the neighbours of a node are neighbours themselves: clustering, local efficiency."""

import numba
import numpy as np

from rls_bids.numerics.graph.paths import (
    KEEP_CODE,
    count_bits,
    find_paths,
    n_edges_of,
    pack_rows,
    shortest_lengths,
)
from rls_bids.numerics.graph.threshold import FloatArray, Weighting


def triangles(weights: FloatArray, weighting: Weighting) -> FloatArray:
    """Sum up the triangles at every node.

    Binary: their number. Weighted: the sum of (w_ij w_jh w_hi)^(1/3), the geometric mean of the
    three weights, after these are divided by the largest one (Onnela 2005,
    10.1103/PhysRevE.71.065103). The Brain Connectivity Toolbox leaves this division to its
    users; networkx does it.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    weighting : {'binary', 'weighted'}

    Returns
    -------
    (n_nodes,) array

    Examples
    --------
    >>> triangles(np.array([[0, 0.2, 0.2], [0.2, 0, 0.2], [0.2, 0.2, 0]]), "weighted").tolist()
    [1.0, 1.0, 1.0]
    """
    graph = np.ascontiguousarray(weights, dtype=np.float64)
    if weighting == "binary":
        return np.asarray(_count_triangles(graph))
    largest = graph.max()
    return np.asarray(
        _weigh_triangles(np.cbrt(graph / largest)) if largest else np.zeros(len(graph))
    )


def clustering(weights: FloatArray, weighting: Weighting) -> FloatArray:
    """Return the clustering coefficient of every node.

    C_i = 2 t_i / (k_i (k_i - 1)), with the triangles t of :func:`triangles` and the degree k;
    0 for nodes of degree 0 or 1, which count in the mean.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    weighting : {'binary', 'weighted'}

    Returns
    -------
    (n_nodes,) array

    Examples
    --------
    >>> kite = np.array([[0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0.0]])
    >>> clustering(kite, "binary").tolist()
    [0.333, 1.0, 1.0, 0.0]
    """
    n_pairs = _n_pairs(weights)
    return np.asarray(triangles(weights, weighting) / np.maximum(n_pairs, 1.0))


def transitivity(weights: FloatArray, weighting: Weighting) -> float:
    """Return the transitivity: 3 x triangles over connected triples, of the whole graph.

    T = sum of 2 t_i over the sum of k_i (k_i - 1), with the triangles of :func:`triangles`
    (Newman 2003, 10.1137/S003614450342480); NaN where no node has two neighbours.

    Examples
    --------
    >>> kite = np.array([[0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0.0]])
    >>> transitivity(kite, "binary")
    0.6
    """
    n_pairs = _n_pairs(weights).sum()
    return float(triangles(weights, weighting).sum() / n_pairs) if n_pairs else float("nan")


def local_efficiency(weights: FloatArray, weighting: Weighting) -> FloatArray:
    """Return the local efficiency of every node.

    With d_jh the shortest path between two neighbours of i that runs through neighbours of i
    alone, the binary one is the mean of 1/d_jh over these pairs (Latora and Marchiori 2001,
    10.1103/PhysRevLett.87.198701), the weighted one the sum of (w_ij w_ih / d_jh)^(1/3) over
    k_i (k_i - 1) (Rubinov and Sporns 2010, 10.1016/j.neuroimage.2009.10.003; in the unit of the
    weights, and on weights of 1 not equal to the binary one). 0 for degree 0 or 1.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    weighting : {'binary', 'weighted'}

    Returns
    -------
    (n_nodes,) array

    Examples
    --------
    >>> fan = np.array([[0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 1], [1, 0, 1, 0.0]])
    >>> local_efficiency(fan, "binary").tolist()
    [0.833, 1.0, 0.833, 1.0]
    """
    result = np.zeros(len(weights))
    for node, row in enumerate(weights):
        (around,) = np.nonzero(row)
        if len(around) < 2:
            continue
        inner = np.ascontiguousarray(weights[np.ix_(around, around)], dtype=np.float64)
        if weighting == "binary":
            total = find_paths(inner, weighting).inverse.sum()
        else:
            lengths = shortest_lengths(inner)
            np.fill_diagonal(lengths, np.inf)
            total = np.cbrt(np.outer(row[around], row[around]) / lengths).sum()
        result[node] = total / (len(around) * (len(around) - 1))
    return result


def _n_pairs(weights: FloatArray) -> FloatArray:
    """Return the number of pairs of neighbours of every node."""
    degree = n_edges_of(weights).astype(np.float64)
    return np.asarray(degree * (degree - 1) / 2)


@numba.njit(cache=KEEP_CODE, nogil=True)
def _count_triangles(weights: FloatArray) -> FloatArray:
    """Count the triangles at every node: the common neighbours of the two ends of each edge."""
    n = weights.shape[0]
    bits = pack_rows(weights)
    twice = np.zeros(n)
    for i in range(n):
        for j in range(i):
            if weights[i, j] > 0:
                common = np.uint64(0)
                for word in range(bits.shape[1]):
                    common += count_bits(bits[i, word] & bits[j, word])
                twice[i] += common
                twice[j] += common
    return twice / 2


@numba.njit(cache=KEEP_CODE, nogil=True, fastmath={"contract", "reassoc"})
def _weigh_triangles(roots: FloatArray) -> FloatArray:
    """Sum up the products of the cube roots of weights over the triangles at every node."""
    n = roots.shape[0]
    twice = np.zeros(n)
    for i in range(n):
        for j in range(i):
            if roots[i, j] > 0:
                first, second = roots[i], roots[j]
                common = 0.0
                for k in range(n):
                    common += first[k] * second[k]
                twice[i] += common * roots[i, j]
                twice[j] += common * roots[i, j]
    return twice / 2
