"""Metrics of one graph against closed forms, networkx, the Brain Connectivity Toolbox, and sums.

The two libraries share nothing with the kernels: they walk dictionaries and matrix powers.
"""

import itertools

import bct
import networkx as nx
import numpy as np
import pytest

from rls_bids.numerics.graph import centrality
from rls_bids.numerics.graph.metrics import (
    GLOBAL_METRICS,
    NODAL_METRICS,
    NULL_METRICS,
    compare_metrics,
    describe_graph,
)
from rls_bids.numerics.graph.modularity import find_modules, modularity_of
from rls_bids.numerics.graph.paths import find_paths, mean_length, shortest_lengths
from rls_bids.numerics.graph.segregation import (
    clustering,
    local_efficiency,
    transitivity,
    triangles,
)

SEED = np.random.SeedSequence(7)
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def array(graph):
    return nx.to_numpy_array(graph, nodelist=sorted(graph))


def weigh(adjacency, seed):
    weights = np.triu(np.random.default_rng(seed).uniform(0.1, 0.9, adjacency.shape), 1)
    return adjacency * (weights + weights.T)


GRAPHS = {
    "sparse": array(nx.gnp_random_graph(70, 0.04, seed=1)),
    "dense": array(nx.gnp_random_graph(40, 0.35, seed=2)),
    "over a word": array(nx.gnp_random_graph(90, 0.1, seed=3)),
    "ring": array(nx.watts_strogatz_graph(60, 6, 0.0)),
    "small world": array(nx.watts_strogatz_graph(60, 6, 0.1, seed=4)),
    "rewired": array(nx.watts_strogatz_graph(60, 6, 1.0, seed=5)),
    "hubs": array(nx.barabasi_albert_graph(64, 3, seed=6)),
    "star": array(nx.star_graph(9)),
    "complete": array(nx.complete_graph(12)),
    "in pieces": array(nx.disjoint_union(nx.cycle_graph(7), nx.complete_graph(5))),
}
CASES = [
    pytest.param((adjacency, weighting), id=f"{name}, {weighting}")
    for name, adjacency in GRAPHS.items()
    for weighting in ("binary", "weighted")
]


@pytest.fixture(params=CASES)
def case(request):
    adjacency, weighting = request.param
    return (weigh(adjacency, 11) if weighting == "weighted" else adjacency), weighting


def as_networkx(graph):
    made = nx.from_numpy_array(graph)
    for _, _, edge in made.edges(data=True):
        edge["length"] = 1 / edge["weight"]
    return made


def lengths_of(graph):
    """Distances by networkx, infinite where there is no path."""
    found = np.full(graph.shape, np.inf)
    for i, row in nx.all_pairs_dijkstra_path_length(as_networkx(graph), weight="length"):
        for j, length in row.items():
            found[i, j] = length
    return found


def largest_of(graph):
    parts = list(nx.connected_components(as_networkx(graph)))
    return sorted(max(parts, key=lambda part: (len(part), -min(part))))


def test_paths(case):
    graph, weighting = case
    lengths, largest = lengths_of(graph), largest_of(graph)
    paths = find_paths(graph, weighting)
    np.fill_diagonal(lengths, np.inf)
    np.testing.assert_allclose(paths.inverse, (1 / lengths).sum(axis=1), **CLOSE)
    finite = np.where(np.isfinite(lengths), lengths, 0)
    np.testing.assert_allclose(paths.total, finite.sum(axis=1), **CLOSE)
    expected = np.where(graph.any(axis=1), finite.max(axis=1), np.nan)
    np.testing.assert_allclose(paths.eccentricity, expected, **CLOSE)
    assert np.flatnonzero(paths.is_in_largest).tolist() == largest


def test_characteristic_path_length(case):
    graph, weighting = case
    component = as_networkx(graph).subgraph(largest_of(graph))
    expected = nx.average_shortest_path_length(component, weight="length")
    np.testing.assert_allclose(mean_length(find_paths(graph, weighting)), expected, **CLOSE)


def test_distances_against_the_toolbox():
    graph = weigh(GRAPHS["dense"], 3)
    lengths = np.divide(1, graph, out=np.zeros_like(graph), where=graph > 0)
    np.testing.assert_allclose(shortest_lengths(graph), bct.distance_wei(lengths)[0], **CLOSE)


def test_global_and_nodal_efficiency(case):
    graph, weighting = case
    whole, by_node = describe_graph(graph, weighting, SEED)
    toolbox = bct.efficiency_bin if weighting == "binary" else bct.efficiency_wei
    np.testing.assert_allclose(whole["global_efficiency"], toolbox(graph), **CLOSE)
    if weighting == "binary":
        expected = nx.global_efficiency(as_networkx(graph))
        np.testing.assert_allclose(whole["global_efficiency"], expected, **CLOSE)
    np.testing.assert_allclose(by_node["nodal_efficiency"].mean(), toolbox(graph), **CLOSE)
    np.testing.assert_allclose(whole["path_length_harmonic"], 1 / toolbox(graph), **CLOSE)


def test_clustering(case):
    graph, weighting = case
    found = clustering(graph, weighting)
    weight = "weight" if weighting == "weighted" else None
    named = nx.clustering(as_networkx(graph), weight=weight)
    np.testing.assert_allclose(found, [named[i] for i in range(len(graph))], **CLOSE)
    toolbox = bct.clustering_coef_bu if weighting == "binary" else bct.clustering_coef_wu
    np.testing.assert_allclose(found, toolbox(graph / graph.max()), **CLOSE)


def test_transitivity(case):
    graph, weighting = case
    found = transitivity(graph, weighting)
    toolbox = bct.transitivity_bu if weighting == "binary" else bct.transitivity_wu
    np.testing.assert_allclose(found, toolbox(graph / graph.max()), **CLOSE)
    if weighting == "binary":
        np.testing.assert_allclose(found, nx.transitivity(as_networkx(graph)), **CLOSE)


def test_triangles_of_a_matrix_by_three_loops():
    graph = weigh(GRAPHS["sparse"][:25, :25] + GRAPHS["dense"][:25, :25] > 0, 5)
    scaled = graph / graph.max()
    expected = np.zeros(25)
    for i, j, k in itertools.combinations(range(25), 3):
        product = scaled[i, j] * scaled[j, k] * scaled[k, i]
        expected[[i, j, k]] += product ** (1 / 3) if product else 0
    np.testing.assert_allclose(triangles(graph, "weighted"), expected, **CLOSE)


def test_local_efficiency(case):
    graph, weighting = case
    found = local_efficiency(graph, weighting)
    if weighting == "binary":
        np.testing.assert_allclose(found, bct.efficiency_bin(graph, local=True), **CLOSE)
        np.testing.assert_allclose(found.mean(), nx.local_efficiency(as_networkx(graph)), **CLOSE)
    else:
        np.testing.assert_allclose(found, bct.efficiency_wei(graph, "original"), **CLOSE)


def test_betweenness(case):
    graph, weighting = case
    found = centrality.betweenness(graph)
    named = nx.betweenness_centrality(as_networkx(graph), weight="length")
    np.testing.assert_allclose(found, [named[i] for i in range(len(graph))], **CLOSE)
    n_pairs = (len(graph) - 1) * (len(graph) - 2)
    if weighting == "binary":
        expected = bct.betweenness_bin(graph)
    else:
        lengths = np.divide(1, graph, out=np.zeros_like(graph), where=graph > 0)
        expected = bct.betweenness_wei(lengths)
    np.testing.assert_allclose(found, expected / n_pairs, **CLOSE)


def test_betweenness_counts_equal_paths_whose_sums_differ_by_rounding():
    # 0 - 1 - 2 - 3 and 0 - 4 - 5 - 3: the same three lengths added in another order.
    graph = np.zeros((6, 6))
    for path in ((0, 1, 2, 3), (0, 4, 5, 3)):
        steps = (0.1, 0.3, 0.7) if path[1] == 1 else (0.7, 0.1, 0.3)
        for i, j, length in zip(path, path[1:], steps, strict=False):
            graph[i, j] = graph[j, i] = 1 / length
    assert 0.1 + 0.3 + 0.7 != 0.7 + 0.1 + 0.3
    found = centrality.betweenness(graph)
    lengths = np.where(graph > 0, graph, np.inf)
    lengths = np.round(10 / lengths)  # whole numbers: ties are exact
    named = nx.betweenness_centrality(nx.from_numpy_array(lengths), weight="weight")
    np.testing.assert_allclose(found, [named[i] for i in range(6)], **CLOSE)


@pytest.mark.parametrize("name", ["dense", "over a word", "small world", "hubs", "star"])
@pytest.mark.parametrize("weighting", ["binary", "weighted"])
def test_eigenvector_centrality(name, weighting):
    graph = weigh(GRAPHS[name], 8) if weighting == "weighted" else GRAPHS[name]
    found = centrality.eigenvector_centrality(graph, find_paths(graph, weighting).is_in_largest)
    np.testing.assert_allclose(found, bct.eigenvector_centrality_und(graph), **CLOSE)
    named = nx.eigenvector_centrality_numpy(as_networkx(graph), weight="weight")
    np.testing.assert_allclose(found, [named[i] for i in range(len(graph))], rtol=0, atol=1e-9)


def test_eigenvector_centrality_is_of_the_largest_component():
    graph = GRAPHS["in pieces"]
    found = centrality.eigenvector_centrality(graph, find_paths(graph, "binary").is_in_largest)
    np.testing.assert_allclose(found, [1 / np.sqrt(7)] * 7 + [0] * 5, **CLOSE)


def test_participation(case):
    graph, _ = case
    labels = np.arange(len(graph)) * 7 % 4
    found = centrality.participation(graph, labels)
    with np.errstate(invalid="ignore"):  # the toolbox divides by 0 for a node without edges
        expected = bct.participation_coef(graph, labels)
    np.testing.assert_allclose(found, expected, **CLOSE)
    names = np.array(["visual", "motor", "default", "limbic"])[labels]
    np.testing.assert_allclose(centrality.participation(graph, names), found, **CLOSE)


@pytest.mark.parametrize("name", ["sparse", "dense", "over a word", "small world", "hubs", "star"])
@pytest.mark.parametrize("weighting", ["binary", "weighted"])
def test_assortativity(name, weighting):
    if name == "star" and weighting == "weighted":
        graph = weigh(GRAPHS["hubs"], 9)[:20, :20]
    else:
        graph = weigh(GRAPHS[name], 8) if weighting == "weighted" else GRAPHS[name]
    found = centrality.assortativity(graph)
    named = nx.degree_pearson_correlation_coefficient(as_networkx(graph), weight="weight")
    np.testing.assert_allclose(found, named, **CLOSE)
    toolbox = bct.assortativity_bin if weighting == "binary" else bct.assortativity_wei
    np.testing.assert_allclose(found, toolbox(graph, 0), **CLOSE)


@pytest.mark.parametrize("name", ["ring", "complete"])
def test_assortativity_of_equal_degrees_is_missing(name):
    assert np.isnan(centrality.assortativity(GRAPHS[name]))
    assert np.isnan(centrality.assortativity(GRAPHS[name] * 0.1))


def test_eccentricity_radius_diameter(case):
    graph, weighting = case
    whole, by_node = describe_graph(graph, weighting, SEED)
    component = as_networkx(graph).subgraph(largest_of(graph))
    named = nx.eccentricity(component, weight="length")
    np.testing.assert_allclose(
        by_node["eccentricity"][sorted(named)], [named[i] for i in sorted(named)], **CLOSE
    )
    assert whole["radius"] == pytest.approx(nx.radius(component, weight="length"), abs=1e-10)
    assert whole["diameter"] == pytest.approx(nx.diameter(component, weight="length"), abs=1e-10)
    assert whole["mean_eccentricity"] == pytest.approx(np.mean(list(named.values())), abs=1e-10)
    assert whole["largest_component"] == len(component)


def test_strengths_and_degrees(case):
    graph, weighting = case
    whole, by_node = describe_graph(graph, weighting, SEED)
    made = as_networkx(graph)
    degree, strength = dict(made.degree()), dict(made.degree(weight="weight"))
    np.testing.assert_array_equal(by_node["degree"], [degree[i] for i in range(len(graph))])
    np.testing.assert_allclose(
        by_node["strength"], [strength[i] for i in range(len(graph))], **CLOSE
    )
    assert whole["mean_strength"] == pytest.approx(np.mean(list(strength.values())), abs=1e-10)
    assert whole["n_degree_below_2"] == sum(k < 2 for k in degree.values())


def test_modularity_of_given_modules(case):
    graph, _ = case
    modules = np.arange(len(graph)) * 5 % 3
    sets = [set(np.flatnonzero(modules == m).tolist()) for m in range(3)]
    expected = nx.community.modularity(as_networkx(graph), sets, weight="weight")
    np.testing.assert_allclose(modularity_of(graph, modules), expected, **CLOSE)
    found, quality = bct.modularity_louvain_und(graph, seed=1)
    np.testing.assert_allclose(modularity_of(graph, found - 1), quality, **CLOSE)


def test_modules_found_are_as_good_as_others_find(case):
    graph, _ = case
    modules, quality = find_modules(graph, SEED)
    assert quality == modularity_of(graph, modules)
    made = as_networkx(graph)
    others = [nx.community.louvain_communities(made, seed=s) for s in range(10)]
    best = max(nx.community.modularity(made, found) for found in others)
    assert quality >= best - 0.01
    assert modules[0] == 0
    assert sorted(set(modules.tolist())) == list(range(modules.max() + 1))


def divisions(n):
    """All divisions of n nodes into modules."""
    if n == 0:
        yield []
        return
    for front in divisions(n - 1):
        for module in range(max(front, default=-1) + 2):
            yield [*front, module]


@pytest.mark.parametrize("seed", range(5))
def test_modules_of_small_graphs_are_the_best_of_all(seed):
    graph = weigh(array(nx.gnp_random_graph(8, 0.45, seed=seed)), seed)
    best = max(modularity_of(graph, np.array(found)) for found in divisions(8))
    assert find_modules(graph, SEED)[1] == pytest.approx(best, abs=1e-12)


def test_planted_modules_are_found():
    planted = np.arange(90) % 3
    draws = np.random.default_rng(1).random((90, 90))
    graph = np.triu(draws < np.where(planted == planted[:, None], 0.5, 0.05), 1).astype(float)
    modules, quality = find_modules(graph + graph.T, SEED)
    assert modules.tolist() == planted.tolist()
    assert quality > 0.4


def test_more_runs_are_not_worse():
    graph = GRAPHS["over a word"]
    qualities = [find_modules(graph, SEED, n_runs=n)[1] for n in (1, 3, 10, 30)]
    assert qualities == sorted(qualities)
    assert qualities[-1] > qualities[0]


def test_every_metric_is_there_and_inputs_stay(case):
    graph, weighting = case
    before = graph.copy()
    whole, by_node = describe_graph(graph, weighting, SEED, np.arange(len(graph)) % 2)
    assert tuple(sorted(whole)) == tuple(sorted(GLOBAL_METRICS))
    assert tuple(sorted(by_node)) == tuple(sorted(NODAL_METRICS))
    assert all(values.shape == (len(graph),) for values in by_node.values())
    np.testing.assert_array_equal(graph, before)
    assert tuple(compare_metrics(graph, weighting)) == NULL_METRICS
    assert all(value == whole[name] for name, value in compare_metrics(graph, weighting).items())


def test_metrics_do_not_depend_on_the_order_of_nodes():
    graph = weigh(GRAPHS["over a word"], 2)
    order = np.random.default_rng(0).permutation(len(graph))
    whole, by_node = describe_graph(graph, "weighted", SEED, order % 3)
    shuffled = np.ascontiguousarray(graph[np.ix_(order, order)])
    whole_too, by_node_too = describe_graph(shuffled, "weighted", SEED, order[order] % 3)
    for name in set(whole) - {"modularity"}:
        assert whole_too[name] == pytest.approx(whole[name], rel=1e-9), name
    for name, values in by_node.items():
        np.testing.assert_allclose(by_node_too[name], values[order], rtol=1e-8, atol=1e-12)


def test_weights_scale_as_their_units_say():
    graph = weigh(GRAPHS["dense"], 2)
    one, two = (describe_graph(factor * graph, "weighted", SEED)[0] for factor in (1, 2))
    same = ("clustering", "transitivity", "assortativity", "modularity", "largest_component")
    twice = ("global_efficiency", "local_efficiency", "mean_strength")
    half = ("path_length", "path_length_harmonic", "radius", "diameter", "mean_eccentricity")
    for names, factor in ((same, 1), (twice, 2), (half, 0.5)):
        for name in names:
            assert two[name] == pytest.approx(factor * one[name], rel=1e-9), name
