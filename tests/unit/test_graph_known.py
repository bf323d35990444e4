"""Metrics of known graphs by their formulas, and the formulas of small-worldness."""

import networkx as nx
import numpy as np
import pytest

from rls_bids.numerics.graph.metrics import NULL_METRICS, describe_graph
from rls_bids.numerics.graph.paths import count_bits, find_paths, mean_length
from rls_bids.numerics.graph.smallworld import area_under_curve, omega, propensity, ratio

SEED = np.random.SeedSequence(7)


def array(graph):
    return nx.to_numpy_array(graph, nodelist=sorted(graph))


def test_a_ring_lattice_by_its_formulas():
    n, k = 300, 10
    graph = array(nx.watts_strogatz_graph(n, k, 0))
    whole, by_node = describe_graph(graph, "binary", SEED)
    steps = np.ceil(np.minimum(np.arange(1, n), n - np.arange(1, n)) / (k / 2))
    assert whole["clustering"] == pytest.approx(3 * (k - 2) / (4 * (k - 1)), abs=1e-14)
    assert whole["transitivity"] == pytest.approx(2 / 3, abs=1e-14)
    assert whole["path_length"] == pytest.approx(steps.mean(), abs=1e-12)
    assert whole["path_length_harmonic"] == pytest.approx(1 / np.mean(1 / steps), abs=1e-12)
    assert (whole["radius"], whole["diameter"], whole["mean_eccentricity"]) == (30, 30, 30)
    np.testing.assert_allclose(by_node["eigenvector_centrality"], 1 / np.sqrt(n), atol=1e-12)
    assert np.ptp(by_node["betweenness"]) < 1e-12


def test_a_complete_graph():
    whole, by_node = describe_graph(array(nx.complete_graph(12)), "binary", SEED)
    for name in (*NULL_METRICS, "local_efficiency", "radius", "diameter"):
        assert whole[name] == 1, name
    assert whole["modularity"] == pytest.approx(0, abs=1e-12)
    assert (by_node["betweenness"] == 0).all()


def test_a_star():
    whole, by_node = describe_graph(array(nx.star_graph(9)), "binary", SEED)
    assert (whole["clustering"], whole["transitivity"], whole["local_efficiency"]) == (0, 0, 0)
    # 9 pairs at 1 step, 36 at 2.
    assert whole["path_length"] == pytest.approx((9 + 72) / 45)
    assert whole["global_efficiency"] == pytest.approx((9 + 18) / 45)
    assert whole["assortativity"] == pytest.approx(-1)
    assert (whole["radius"], whole["diameter"], whole["n_degree_below_2"]) == (1, 2, 9)
    assert by_node["betweenness"].tolist() == [1] + [0] * 9


def test_a_graph_in_pieces():
    whole, _ = describe_graph(
        array(nx.disjoint_union(nx.cycle_graph(7), nx.complete_graph(5))), "binary", SEED
    )
    # Cycle of 7: 1, 2, 3 steps in either direction; complete graph of 5: 1 step.
    assert whole["path_length"] == pytest.approx(2)
    assert whole["largest_component"] == 7
    assert (whole["radius"], whole["diameter"]) == (3, 3)
    inverse = 7 * 2 * (1 + 1 / 2 + 1 / 3) + 5 * 4
    assert whole["path_length_harmonic"] == pytest.approx(12 * 11 / inverse)


@pytest.mark.parametrize("weighting", ["binary", "weighted"])
def test_of_two_components_of_one_size_the_first_is_described(weighting):
    graph = array(nx.disjoint_union(nx.cycle_graph(5), nx.complete_graph(5)))
    paths = find_paths(graph, weighting)
    assert np.flatnonzero(paths.is_in_largest).tolist() == [0, 1, 2, 3, 4]
    assert mean_length(paths) == pytest.approx(1.5)
    assert np.flatnonzero(find_paths(graph[::-1, ::-1], weighting).is_in_largest).tolist() == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip


def test_an_empty_graph_has_no_lengths():
    whole, by_node = describe_graph(np.zeros((5, 5)), "weighted", SEED, np.arange(5))
    missing = {
        "path_length", "path_length_harmonic", "transitivity", "assortativity", "modularity",
        "radius", "diameter", "mean_eccentricity",
    }  # fmt: skip
    assert {name for name, value in whole.items() if np.isnan(value)} == missing
    assert np.isnan(by_node["eccentricity"]).all()
    assert whole["n_degree_below_2"] == 5
    assert (by_node["participation"] == 0).all()


@pytest.mark.parametrize("word", [0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF])
def test_bits_are_counted(word):
    assert int(count_bits(np.uint64(word))) == word.bit_count()


def test_small_world_formulas():
    assert omega(clustering=0.4, length=3.0, random_length=2.4, lattice=0.5) == pytest.approx(0)
    # Half way in clustering, on the lattice's side in length.
    expected = 1 - np.sqrt((0.5**2 + 1) / 2)
    assert propensity((0.35, 0.1, 0.6), (9.5, 2.0, 9.0)) == pytest.approx(expected)
    assert propensity((0.7, 0.1, 0.6), (1.9, 2.0, 9.0)) == 1
    assert np.isnan(propensity((0.5, 0.6, 0.6), (2.0, 2.0, 9.0)))
    assert np.isnan(ratio(1.0, 0.0))
    assert np.isnan(ratio(float("nan"), 1.0))


def test_area_under_curve():
    densities = np.linspace(0.05, 0.4, 8)
    assert area_under_curve(densities, 3 * densities) == pytest.approx(3 * 0.225)
    assert area_under_curve(densities, np.full(8, 1.7)) == pytest.approx(1.7)
    assert np.isnan(area_under_curve(densities[:1], np.ones(1)))
    assert np.isnan(area_under_curve(densities[:2], np.array([1, np.nan])))
