"""Every metric of one graph, global and by node."""

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.graph import centrality
from rls_bids.numerics.graph.modularity import find_modules
from rls_bids.numerics.graph.paths import Paths, find_paths, mean_efficiency, mean_length
from rls_bids.numerics.graph.segregation import clustering, local_efficiency, transitivity
from rls_bids.numerics.graph.smallworld import ratio
from rls_bids.numerics.graph.threshold import FloatArray, Weighting

NULL_METRICS = (
    "clustering",
    "transitivity",
    "path_length",
    "path_length_harmonic",
    "global_efficiency",
)
GLOBAL_METRICS = (
    *NULL_METRICS,
    "local_efficiency",
    "assortativity",
    "modularity",
    "radius",
    "diameter",
    "mean_eccentricity",
    "mean_strength",
    "largest_component",
    "n_degree_below_2",
)
NODAL_METRICS = (
    "degree",
    "strength",
    "clustering",
    "nodal_efficiency",
    "local_efficiency",
    "betweenness",
    "eigenvector_centrality",
    "eccentricity",
    "participation",
)


def compare_metrics(graph: FloatArray, weighting: Weighting) -> dict[str, float]:
    """Return the metrics that are measured in null networks too.

    Parameters
    ----------
    graph : (n_nodes, n_nodes) array
    weighting : {'binary', 'weighted'}

    Returns
    -------
    dict of str to float
        ``clustering`` (mean over nodes), ``transitivity``, ``path_length`` (mean over the
        largest component), ``path_length_harmonic`` (over all pairs), ``global_efficiency``.

    Examples
    --------
    >>> line = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0.0]])
    >>> compare_metrics(line, "binary")["path_length_harmonic"]
    1.2
    """
    return _of_paths_and_triangles(graph, weighting, find_paths(graph, weighting))


def _of_paths_and_triangles(
    graph: FloatArray, weighting: Weighting, paths: Paths
) -> dict[str, float]:
    efficiency = mean_efficiency(paths)
    return {
        "clustering": float(clustering(graph, weighting).mean()),
        "transitivity": transitivity(graph, weighting),
        "path_length": mean_length(paths),
        "path_length_harmonic": ratio(1.0, efficiency),
        "global_efficiency": efficiency,
    }


def describe_graph(
    graph: FloatArray,
    weighting: Weighting,
    seed: np.random.SeedSequence,
    labels: NDArray[np.generic] | None = None,
) -> tuple[dict[str, float], dict[str, FloatArray]]:
    """Compute every metric of one graph.

    Parameters
    ----------
    graph : (n_nodes, n_nodes) array
        Ones for a binary graph.
    weighting : {'binary', 'weighted'}
    seed : numpy.random.SeedSequence
        For the search for modules.
    labels : (n_nodes,) array, optional
        The network of each node; without them there is no participation coefficient.

    Returns
    -------
    whole : dict of str to float
        ``GLOBAL_METRICS``. Radius, diameter and mean eccentricity are of the largest component.
    by_node : dict of str to (n_nodes,) array
        ``NODAL_METRICS``; the eccentricity is that in the node's own component.

    Examples
    --------
    >>> star = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0.0]])
    >>> whole, by_node = describe_graph(star, "binary", np.random.SeedSequence(1))
    >>> whole["radius"], whole["diameter"], by_node["degree"].tolist()
    (1.0, 2.0, [2.0, 1.0, 1.0])
    """
    paths = find_paths(graph, weighting)
    degree = centrality.degree(graph)
    by_node = {
        "degree": degree,
        "strength": graph.sum(axis=1),
        "clustering": clustering(graph, weighting),
        "nodal_efficiency": paths.inverse / (len(graph) - 1),
        "local_efficiency": local_efficiency(graph, weighting),
        "betweenness": centrality.betweenness(graph),
        "eigenvector_centrality": centrality.eigenvector_centrality(graph, paths.is_in_largest),
        "eccentricity": paths.eccentricity,
    }
    if labels is not None:
        by_node["participation"] = centrality.participation(graph, labels)
    farthest = paths.eccentricity[paths.is_in_largest]
    whole = _of_paths_and_triangles(graph, weighting, paths) | {
        "local_efficiency": float(by_node["local_efficiency"].mean()),
        "assortativity": centrality.assortativity(graph),
        "modularity": find_modules(graph, seed)[1],
        "radius": float(farthest.min()),
        "diameter": float(farthest.max()),
        "mean_eccentricity": float(farthest.mean()),
        "mean_strength": centrality.mean_strength(graph),
        "largest_component": float(paths.is_in_largest.sum()),
        "n_degree_below_2": float((degree < 2).sum()),
    }
    return whole, by_node
