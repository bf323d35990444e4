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
    move, in random order, to the module with the highest gain (an empty one, if need be) until
    none gains; modules become nodes, and so on. The result depends on the order, so that several
    runs with seeds of their own are made.

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
    """Return the modules of one run; ``order`` is that of all nodes."""
    n = weights.shape[0]
    modules = np.arange(n)
    graph = weights
    while True:
        size = graph.shape[0]
        found, n_found = _move_nodes(graph, order)
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

    An order of more nodes than there are serves for those that there are. The diagonal holds
    the weight inside a node that was a module, in both directions.
    """
    n = graph.shape[0]
    strengths, in_module = np.zeros(n), np.zeros(n)
    for i in range(n):
        for j in range(n):
            strengths[i] += graph[i, j]
        in_module[i] = strengths[i]
    module, number = np.arange(n), np.full(n, -1)
    has_moved = True
    while has_moved:
        has_moved = False
        for node in order:
            if node < n:
                home = module[node]
                in_module[home] -= strengths[node]
                module[node] = _best_module(graph[node], node, module, strengths[node], in_module)
                in_module[module[node]] += strengths[node]
                has_moved = has_moved or module[node] != home
    n_found = 0
    for i in range(n):
        if number[module[i]] < 0:
            number[module[i]] = n_found
            n_found += 1
        module[i] = number[module[i]]
    return module, n_found


@numba.njit(cache=KEEP_CODE, nogil=True)
def _best_module(
    edges: FloatArray, node: int, module: IntArray, strength: float, in_module: FloatArray
) -> int:
    """Return the module where a node that was taken out gains most; its old one if none more."""
    n = edges.shape[0]
    towards, total = np.zeros(n), strength
    for j in range(n):
        total += in_module[j]
        if j != node:
            towards[module[j]] += edges[j]
    best: int = module[node]
    most = towards[best] - strength * in_module[best] / total
    for m in range(n):
        gain = towards[m] - strength * in_module[m] / total
        if gain > most + SMALLEST_GAIN * total:
            best, most = m, gain
    return best
