"""Null networks: what they keep, what they lose, and that chance is fair and repeatable."""

import itertools
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from rls_bids.numerics.graph.correlated import match_correlations
from rls_bids.numerics.graph.draws import (
    child_seed,
    draw,
    draw_below,
    participant_seed,
    random_state,
    toss,
)
from rls_bids.numerics.graph.metrics import compare_metrics
from rls_bids.numerics.graph.nulls import latticise, rewire
from rls_bids.numerics.graph.segregation import clustering
from rls_bids.numerics.graph.smallworld import omega, ratio
from rls_bids.numerics.graph.threshold import keep_strongest, take_sign

KINDS = [
    pytest.param(maker, weighting, id=f"{maker.__name__}, {weighting}")
    for maker in (rewire, latticise)
    for weighting in ("binary", "weighted")
]


def seed(*keys):
    return np.random.SeedSequence(list(keys) or [1])


def array(graph):
    return nx.to_numpy_array(graph, nodelist=sorted(graph))


def correlations(n_nodes=100, n_modules=5, seed=0):
    """Correlations of series with modules and nodes that are coupled to all by more or less."""
    rng = np.random.default_rng(seed)
    module = np.repeat(rng.standard_normal((150, n_modules)), n_nodes // n_modules, axis=1)
    shared = rng.standard_normal((150, 1)) * rng.uniform(0, 1, n_nodes)
    series = rng.standard_normal((150, n_nodes)) + 0.6 * module + 0.5 * shared
    matrix = np.corrcoef(series.T)
    np.fill_diagonal(matrix, 0)
    return (matrix + matrix.T) / 2


@pytest.fixture(scope="module")
def weights():
    return keep_strongest(take_sign(correlations(), "positive"), 0.15)


def shared_edges(graph, null):
    return np.count_nonzero((graph > 0) & (null > 0)) / np.count_nonzero(graph)


@pytest.mark.parametrize(("maker", "weighting"), KINDS)
def test_degrees_and_weights_stay(weights, maker, weighting):
    graph = (weights > 0).astype(float) if weighting == "binary" else weights
    before = graph.copy()
    null = maker(graph, weighting, seed(3))
    np.testing.assert_array_equal(graph, before)
    np.testing.assert_array_equal(null, null.T)
    assert (np.diag(null) == 0).all()
    np.testing.assert_array_equal(np.count_nonzero(null, axis=1), np.count_nonzero(graph, axis=1))
    upper = np.triu_indices(len(graph), 1)
    np.testing.assert_array_equal(np.sort(null[upper]), np.sort(graph[upper]))


@pytest.mark.parametrize("maker", [rewire, latticise])
def test_strengths_stay(weights, maker):
    null = maker(weights, "weighted", seed(4))
    strengths = weights.sum(axis=1)
    assert np.corrcoef(null.sum(axis=1), strengths)[0, 1] > 0.99999
    difference = np.abs(null.sum(axis=1) - strengths)
    assert np.sqrt(np.mean(difference**2)) < 0.005 * strengths.mean()
    # Dealt out by chance alone, they are far from it.
    binary = rewire((weights > 0).astype(float), "binary", seed(4))
    values = np.random.default_rng(0).permutation(weights[np.triu(weights, 1) > 0])
    dealt = np.zeros_like(weights)
    dealt[np.triu(binary, 1) > 0] = values
    by_chance = np.abs((dealt + dealt.T).sum(axis=1) - strengths)
    assert by_chance.mean() > 20 * difference.mean()


@pytest.mark.parametrize("density", [0.05, 0.15, 0.4])
def test_rewired_nulls_share_no_more_edges_than_chance(density):
    graph = keep_strongest(take_sign(correlations(), "positive"), density)
    graph = (graph > 0).astype(float)
    shared = [shared_edges(graph, rewire(graph, "binary", seed(n))) for n in range(10)]
    # Where most pairs are edges, nodes of high degree must share more: what is shared after ten
    # times as many swaps is the bound.
    mixed = [shared_edges(graph, rewire(graph, "binary", seed(n), 500)) for n in range(10)]
    assert abs(np.mean(shared) - np.mean(mixed)) < 0.01
    assert np.mean(mixed) < 0.7


@pytest.mark.parametrize("n_edges", [10, 30])
def test_rewired_ring_lattices_share_no_more_than_density(n_edges):
    graph = array(nx.watts_strogatz_graph(100, n_edges, 0))
    density = n_edges / 99
    shared = [shared_edges(graph, rewire(graph, "binary", seed(n))) for n in range(10)]
    assert max(shared) <= density + 0.05
    assert np.mean(shared) == pytest.approx(density, abs=0.02)


def test_clustering_of_nulls_is_settled_after_ten_swaps():
    graph = array(nx.watts_strogatz_graph(150, 12, 0.05, seed=1))
    found = {
        swaps: [
            clustering(rewire(graph, "binary", seed(n), swaps), "binary").mean() for n in range(30)
        ]
        for swaps in (10, 50)
    }
    assert np.mean(found[10]) == pytest.approx(np.mean(found[50]), rel=0.02)
    assert clustering(graph, "binary").mean() > 5 * np.mean(found[50])


def test_rewiring_reaches_every_graph_equally_often():
    # Of six nodes with two edges each: 60 hexagons and 10 pairs of triangles.
    ring = array(nx.cycle_graph(6))
    pairs = list(itertools.combinations(range(6), 2))
    found = Counter(
        tuple(int(rewire(ring, "binary", seed(n), 10)[pair]) for pair in pairs)
        for n in range(4000)
    )
    assert len(found) == 70
    assert stats.chisquare(list(found.values())).pvalue > 0.001


def test_weights_are_dealt_to_every_edge():
    # All strengths can be met in many ways on a complete graph: no weight stays in its place.
    rng = np.random.default_rng(0)
    graph = np.triu(rng.uniform(0.1, 1, (20, 20)), 1)
    graph += graph.T
    null = rewire(graph, "weighted", seed(1))
    upper = np.triu_indices(20, 1)
    assert np.mean(null[upper] == graph[upper]) < 0.05
    assert abs(np.corrcoef(null[upper], graph[upper])[0, 1]) < 0.35


def test_lattices_are_on_a_ring(weights):
    graph = (weights > 0).astype(float)
    random = compare_metrics(rewire(graph, "binary", seed(1)), "binary")
    lattice = compare_metrics(latticise(graph, "binary", seed(1)), "binary")
    assert lattice["clustering"] > 1.5 * random["clustering"]
    assert lattice["path_length"] > random["path_length"]


def test_a_shuffled_ring_becomes_a_ring_again():
    ring = array(nx.watts_strogatz_graph(120, 8, 0))
    order = np.random.default_rng(5).permutation(120)
    lattices = [latticise(ring[np.ix_(order, order)], "binary", seed(n)) for n in range(5)]
    found = np.mean([clustering(lattice, "binary").mean() for lattice in lattices])
    assert found == pytest.approx(clustering(ring, "binary").mean(), rel=0.02)


def test_more_swaps_make_better_lattices(weights):
    graph = (weights > 0).astype(float)
    found = [
        np.mean(
            [clustering(latticise(graph, "binary", seed(n), k), "binary").mean() for n in range(5)]
        )
        for k in (10, 100, 1000, 3000)
    ]
    assert found == sorted(found)
    assert found[3] < 1.02 * found[2]


@pytest.mark.parametrize(
    ("p", "sigma", "tolerance", "omega_expected", "omega_tolerance"),
    [(0.0, None, None, -0.82, 0.03), (0.1, 13.4, 1.0, 0.0, 0.1), (1.0, 1.0, 0.05, 0.96, 0.03)],
)
def test_watts_strogatz_graphs(p, sigma, tolerance, omega_expected, omega_tolerance):
    """Means of three graphs; ``python -m benchmarks.graphs --truth`` takes ten."""
    found = []
    for number in range(3):
        graph = array(nx.watts_strogatz_graph(300, 10, p, seed=number))
        value = compare_metrics(graph, "binary")
        nulls = [compare_metrics(rewire(graph, "binary", seed(n)), "binary") for n in range(10)]
        lattice = np.mean(
            [clustering(latticise(graph, "binary", seed(n)), "binary").mean() for n in range(3)]
        )
        random_clustering = np.mean([null["clustering"] for null in nulls])
        random_length = np.mean([null["path_length"] for null in nulls])
        gamma = ratio(value["clustering"], random_clustering)
        found.append((
            value["clustering"],
            gamma / ratio(value["path_length"], random_length),
            omega(value["clustering"], value["path_length"], random_length, lattice),
        ))  # fmt: skip
    mean_clustering, mean_sigma, mean_omega = np.mean(found, axis=0)
    expected = (2 / 3) * (1 - p) ** 3
    assert mean_clustering == pytest.approx(expected, rel=0.03 if p < 1 else None, abs=0.035 * p)
    assert mean_omega == pytest.approx(omega_expected, abs=omega_tolerance)
    if sigma is not None:
        assert mean_sigma == pytest.approx(sigma, abs=tolerance)


@pytest.mark.parametrize("maker", [rewire, latticise])
@pytest.mark.parametrize("n_edges", [0, 1, 2])
def test_graphs_with_nothing_to_swap(maker, n_edges):
    graph = np.zeros((5, 5))
    for i in range(n_edges):
        graph[i, i + 1] = graph[i + 1, i] = 0.5 + i / 10
    null = maker(graph, "weighted", seed(1))
    np.testing.assert_array_equal(np.count_nonzero(null, axis=1), np.count_nonzero(graph, axis=1))
    complete = np.ones((5, 5)) - np.eye(5)
    np.testing.assert_array_equal(maker(complete, "binary", seed(1)), complete)


@pytest.mark.parametrize(("maker", "weighting"), KINDS)
def test_the_same_seed_gives_the_same_null_in_any_thread(weights, maker, weighting):
    seeds = [seed(n) for n in range(8)]
    one_by_one = [maker(weights, weighting, child) for child in seeds]
    with ThreadPoolExecutor(4) as pool:
        side_by_side = list(pool.map(lambda child: maker(weights, weighting, child), seeds))
    np.testing.assert_array_equal(one_by_one, side_by_side)
    assert not (one_by_one[0] == one_by_one[1]).all()


def test_the_same_seed_gives_the_same_null_in_another_process():
    program = (
        "import numpy as np; from rls_bids.numerics.graph.nulls import rewire;"
        "ring = np.roll(np.eye(20), 1, axis=1) + np.roll(np.eye(20), -1, axis=1);"
        "print(np.argwhere(rewire(ring, 'binary', np.random.SeedSequence(9))).tolist())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    ring = np.roll(np.eye(20), 1, axis=1) + np.roll(np.eye(20), -1, axis=1)
    assert run.stdout.strip() == str(np.argwhere(rewire(ring, "binary", seed(9))).tolist())


def test_bits_are_those_of_numpy():
    child = seed(5)
    state = random_state(child)
    expected = np.random.SFC64(child).random_raw(1000)
    assert [int(draw(state)) for _ in range(1000)] == [int(bits) for bits in expected]


def test_numbers_below_a_limit_and_coins_are_fair():
    state = random_state(seed(6))
    numbers = np.bincount([draw_below(state, 7) for _ in range(14000)], minlength=7)
    assert len(numbers) == 7
    assert stats.chisquare(numbers).pvalue > 0.001
    assert abs(np.mean([toss(state) for _ in range(10000)]) - 0.5) < 0.02
    assert {draw_below(state, 1) for _ in range(10)} == {0}


def test_children_are_those_that_spawn_makes():
    spawned = np.random.SeedSequence(5).spawn(3)[1].spawn(8)[7]
    child = child_seed(np.random.SeedSequence(5), 1, 7)
    np.testing.assert_array_equal(child.generate_state(8), spawned.generate_state(8))


def test_participants_have_seeds_of_their_own():
    names = [("01", "pre"), ("01", "post"), ("02", "pre"), ("0", "1pre")]
    states = {tuple(participant_seed(1, *name).generate_state(4)) for name in names}
    assert len(states) == 4
    again = participant_seed(1, "01", "pre").generate_state(4)
    np.testing.assert_array_equal(again, participant_seed(1, "01", "pre").generate_state(4))
    assert (participant_seed(2, "01", "pre").generate_state(4) != again).any()


def test_correlated_nulls_have_the_moments_of_the_matrix():
    matrix = correlations(120)
    upper = np.triu_indices(120, 1)
    drawn = [match_correlations(matrix, seed(n)) for n in range(20)]
    values = np.array([null[upper] for null in drawn])
    assert values.mean() == pytest.approx(matrix[upper].mean(), rel=0.05)
    assert values.var(axis=1).mean() == pytest.approx(matrix[upper].var(), rel=0.1)
    for null in drawn[:3]:
        np.testing.assert_array_equal(null, null.T)
        assert (np.diag(null) == 0).all()
        assert np.linalg.eigvalsh(null + np.eye(120)).min() > -1e-10
    assert (drawn[0] != drawn[1]).any()


def test_correlated_nulls_are_more_clustered_than_rewired_ones():
    matrix = correlations(120)
    found = {"correlated": [], "rewired": []}
    for n in range(10):
        null = keep_strongest(take_sign(match_correlations(matrix, seed(n)), "positive"), 0.1)
        null = (null > 0).astype(float)
        found["correlated"].append(clustering(null, "binary").mean())
        found["rewired"].append(clustering(rewire(null, "binary", seed(n)), "binary").mean())
    assert np.mean(found["correlated"]) > 1.1 * np.mean(found["rewired"])


@pytest.mark.parametrize("value", [0.0, 0.3, -0.2])
def test_correlated_nulls_of_equal_correlations(value):
    null = match_correlations(np.full((30, 30), value), seed(1))
    upper = np.triu_indices(30, 1)
    assert null[upper].mean() == pytest.approx(max(value, 0), abs=0.01)
    assert null[upper].std() < 0.015
