"""How central a node is: betweenness, eigenvector centrality, participation, assortativity."""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from rls_bids.numerics.graph.paths import BoolArray, count_passages, n_edges_of
from rls_bids.numerics.graph.threshold import FloatArray


def betweenness(weights: FloatArray) -> FloatArray:
    """Return the share of the shortest paths between other nodes that pass through each node.

    Freeman 1977 (10.2307/3033543) by the algorithm of Brandes 2001
    (10.1080/0022250X.2001.9990249), divided by the (n - 1)(n - 2) ordered pairs of other nodes;
    edges have the length 1/weight.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array

    Returns
    -------
    (n_nodes,) array
        Between 0 and 1.

    Examples
    --------
    >>> betweenness(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0.0]])).tolist()
    [0.0, 1.0, 0.0]
    """
    lengths = np.full(weights.shape, np.inf)
    np.divide(1.0, weights, out=lengths, where=weights > 0)
    n_nodes = len(weights)
    return np.asarray(count_passages(lengths) / ((n_nodes - 1) * (n_nodes - 2)))


def eigenvector_centrality(weights: FloatArray, is_in_largest: BoolArray) -> FloatArray:
    """Return the leading eigenvector of the largest component.

    Bonacich 1972 (10.1080/0022250X.1972.9989806); of length 1, no element negative. Nodes of
    other components have 0: their eigenvectors have no common scale.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    is_in_largest : (n_nodes,) bool array

    Returns
    -------
    (n_nodes,) array

    Examples
    --------
    >>> line = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0.0]])
    >>> eigenvector_centrality(line, np.ones(3, dtype=bool)).tolist()
    [0.5, 0.707, 0.5]
    """
    result = np.zeros(len(weights))
    size = int(is_in_largest.sum())
    if size > 1:
        component = weights[np.ix_(is_in_largest, is_in_largest)]
        _, vectors = linalg.eigh(component, subset_by_index=[size - 1, size - 1])
        result[is_in_largest] = np.abs(vectors[:, 0])
    return result


def participation(weights: FloatArray, labels: NDArray[np.generic]) -> FloatArray:
    """Return the participation coefficient of every node.

    P_i = 1 - sum over networks s of (k_is / k_i)^2, with the strength k_is of the edges into s
    and the strength k_i of all (Guimerà and Amaral 2005, 10.1038/nature03288); 0 without edges.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    labels : (n_nodes,) array
        The network of each node.

    Returns
    -------
    (n_nodes,) array

    Examples
    --------
    >>> star = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0.0]])
    >>> participation(star, np.array(["visual", "visual", "motor"])).tolist()
    [0.5, 0.0, 0.0]
    """
    names, numbers = np.unique(labels, return_inverse=True)
    is_member = np.arange(len(names)) == numbers[:, None]
    strength = weights.sum(axis=1)
    into = weights @ is_member.astype(np.float64)
    squares = (into**2).sum(axis=1)
    has_edges = strength > 0
    return np.where(has_edges, 1 - squares / np.where(has_edges, strength, 1.0) ** 2, 0.0)


def assortativity(weights: FloatArray) -> float:
    """Return the correlation of the strengths at both ends of an edge, over all edges.

    Newman 2002 (10.1103/PhysRevLett.89.208701); of degrees in a binary graph. Every edge counts
    once in either direction and, in a weighted graph, as much as any other. NaN where all ends
    have the same strength.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array

    Returns
    -------
    float

    Examples
    --------
    >>> assortativity(np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0.0]]))
    -1.0
    """
    rows, columns = np.nonzero(weights)
    if not len(rows):
        return float("nan")
    strength = weights.sum(axis=1)
    start, end = strength[rows], strength[columns]
    start, end = start - start.mean(), end - end.mean()
    spread = float(start @ start)
    if spread <= len(rows) * (1e-12 * strength.max()) ** 2:
        return float("nan")
    return float(start @ end / spread)


def mean_strength(weights: FloatArray) -> float:
    """Return the mean over nodes of the sum of weights; of the degree in a binary graph.

    Examples
    --------
    >>> mean_strength(np.array([[0, 0.5], [0.5, 0]]))
    0.5
    """
    return float(weights.sum(axis=1).mean())


def degree(weights: FloatArray) -> FloatArray:
    """Return the number of edges of every node as floats.

    Examples
    --------
    >>> degree(np.array([[0, 0.5], [0.5, 0]])).tolist()
    [1.0, 1.0]
    """
    return n_edges_of(weights).astype(np.float64)
