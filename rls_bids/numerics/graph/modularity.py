"""Modularity: the division into modules that is denser inside than chance would have it."""

import numba
import numpy as np

from rls_bids.numerics.graph.draws import child_seed
from rls_bids.numerics.graph.paths import KEEP_CODE
from rls_bids.numerics.graph.threshold import FloatArray, IntArray

N_RUNS = 10
SMALLEST_GAIN = 1e-12


def modularity_of(weights: FloatArray, modules: IntArray) -> float:
    """Return the modularity Q of a division, at resolution 1.

    Q = sum over pairs in the same module of (w_ij - s_i s_j / 2m) / 2m, with the strengths s and
    the sum 2m of all weights (Newman 2004, 10.1103/PhysRevE.70.056131); NaN without edges.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    modules : (n_nodes,) int array
        The number of each node's module.

    Returns
    -------
    float

    Examples
    --------
    >>> pairs = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0.0]])
    >>> modularity_of(pairs, np.array([0, 0, 1, 1]))
    0.5
    """
    total = weights.sum()
    if total == 0:
        return float("nan")
    is_member = (np.arange(modules.max() + 1) == modules[:, None]).astype(np.float64)
    inside = np.einsum("im,ij,jm->", is_member, weights, is_member, optimize=True)
    strengths = weights.sum(axis=1) @ is_member
    return float(inside / total - (strengths**2).sum() / total**2)


def find_modules(
    weights: FloatArray, seed: np.random.SeedSequence, n_runs: int = N_RUNS
) -> tuple[IntArray, float]:
    """Divide a graph into modules of high modularity, the best of several runs.

    The Louvain method (Blondel 2008, 10.1088/1742-5468/2008/10/P10008) at resolution 1: nodes
    move, in random order, to the neighbouring module with the highest gain until none gains;
    modules become nodes, and so on. The result depends on the order, so that several runs with
    seeds of their own are made.

    Parameters
    ----------
    weights : (n_nodes, n_nodes) array
    seed : numpy.random.SeedSequence
        Run i draws from the child i of it.
    n_runs : int

    Returns
    -------
    modules : (n_nodes,) int array
        Numbered by their first node.
    quality : float
        Their modularity; NaN without edges.

    Examples
    --------
    >>> pairs = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0.0]])
    >>> modules, quality = find_modules(pairs, np.random.SeedSequence(1))
    >>> modules.tolist(), quality
    ([0, 0, 1, 1], 0.5)
    """
    graph = np.ascontiguousarray(weights, dtype=np.float64)
    best, quality = np.arange(len(graph)), float("nan")
    if not graph.any():
        return best, quality
    for run in range(n_runs):
        order = np.random.default_rng(child_seed(seed, run)).permutation(len(graph))
        modules = _louvain(graph, order)
        found = modularity_of(graph, modules)
        if not found <= quality:
            best, quality = modules, found
    _, first, numbers = np.unique(best, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.asarray(rank[numbers]), quality


@numba.njit(cache=KEEP_CODE, nogil=True)
def _louvain(weights: FloatArray, order: IntArray) -> IntArray:
    """Return the modules of one run; what is left of ``order`` serves the smaller graphs."""
    n = weights.shape[0]
    modules = np.arange(n)
    graph = weights
    while True:
        size = graph.shape[0]
        found, n_found = _move_nodes(graph, order[order < size])
        if n_found == size:
            return modules
        for i in range(n):
            modules[i] = found[modules[i]]
        smaller = np.zeros((n_found, n_found))
        for i in range(size):
            for j in range(size):
                smaller[found[i], found[j]] += graph[i, j]
        graph = smaller


@numba.njit(cache=KEEP_CODE, nogil=True)
def _move_nodes(graph: FloatArray, order: IntArray) -> tuple[IntArray, int]:
    """Move single nodes to the best module until nothing gains; number the modules anew.

    The diagonal holds the weight inside a node that was a module, in both directions.
    """
    n = graph.shape[0]
    strengths = graph.sum(axis=1)
    total = strengths.sum()
    module, in_module = np.arange(n), strengths.copy()
    has_moved = True
    while has_moved:
        has_moved = False
        for node in order:
            towards = np.zeros(n)
            for j in range(n):
                if j != node:
                    towards[module[j]] += graph[node, j]
            home = module[node]
            in_module[home] -= strengths[node]
            best = home
            most = towards[home] - strengths[node] * in_module[home] / total
            for m in range(n):
                if towards[m] > 0:
                    gain = towards[m] - strengths[node] * in_module[m] / total
                    if gain > most + SMALLEST_GAIN * total:
                        best, most = m, gain
            in_module[best] += strengths[node]
            module[node] = best
            has_moved = has_moved or best != home
    number = np.full(n, -1)
    n_found = 0
    for i in range(n):
        if number[module[i]] < 0:
            number[module[i]] = n_found
            n_found += 1
        module[i] = number[module[i]]
    return module, n_found
