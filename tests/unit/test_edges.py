"""Group comparisons of matrices: planted networks, oracles, signs, false alarms."""

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from rls_bids.numerics.edges import block_means, compare_edges, list_components
from rls_bids.numerics.exchangeability import (
    Units,
    choose_exchangeability,
    draw_resamplings,
)
from rls_bids.numerics.glm import fdr
from rls_bids.numerics.nbs import matrix_to_pairs, node_pairs, pairs_to_matrix
from rls_bids.numerics.permutation import permutation_test
from rls_bids.numerics.statistic import prepare_statistic

N_NODES, SIZE = 20, 10
PAIRS = node_pairs(N_NODES)
DESIGN, CONTRAST = np.repeat(np.eye(2), SIZE, axis=0), np.array([1.0, -1.0])
MORE, LESS = (0, 1, 2, 3), (10, 11, 12)
SCALE = ("hedgesg", (2 / SIZE) ** 0.5)


def within(nodes: tuple[int, ...]) -> np.ndarray:
    """Return the places of the pairs among some nodes."""
    return np.flatnonzero(np.isin(PAIRS.first, nodes) & np.isin(PAIRS.second, nodes))


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Patients have stronger connections among four nodes, weaker ones among three others."""
    z = np.random.default_rng(0).standard_normal((2 * SIZE, len(PAIRS.first)))
    z[:SIZE, within(MORE)] += 4.0
    z[:SIZE, within(LESS)] -= 4.0
    return z


def drawn(design=DESIGN, contrast=CONTRAST, n=500, seed=0, groups=None):
    chosen = choose_exchangeability(design, contrast, Units(variance_groups=groups))
    return draw_resamplings(chosen, design, n, seed)


def compare(values, **changes):
    return compare_edges(values, DESIGN, CONTRAST, drawn(), SCALE, n_nodes=N_NODES, **changes)


def test_the_planted_networks_come_out_with_their_signs(values) -> None:
    before = values.copy()
    found = compare(values)
    np.testing.assert_array_equal(values, before)
    components = [one for one in list_components(found, PAIRS) if one.p_extent <= 0.05]
    assert len(components) == 2
    more = next(one for one in components if one.label > 0)
    less = next(one for one in components if one.label < 0)
    own = np.flatnonzero(found.labels == more.label)
    assert set(own) <= set(within(MORE))
    assert more.n_edges == len(own) >= 4
    assert set(np.flatnonzero(found.labels == less.label)) <= set(within(LESS))
    assert more.peak in own
    assert (found.fit.effect[own] > 0).all()
    assert (found.fit.size[own] > 0).all()
    assert (found.p_tfnbs[own] <= 0.05).all()
    outside = np.setdiff1d(np.arange(len(PAIRS.first)), [*within(MORE), *within(LESS)])
    assert found.p_fwe[outside].min() > 0.05
    turned = compare_edges(values, DESIGN, -CONTRAST, drawn(), SCALE, n_nodes=N_NODES)
    np.testing.assert_allclose(turned.z, -found.z, rtol=1e-5)
    np.testing.assert_array_equal(turned.labels, -found.labels)


def test_every_number_is_that_of_another_way(values) -> None:
    """The statistic of scipy, components of networkx, resampling as called directly."""
    found = compare(values)
    oracle = stats.ttest_ind(values[:SIZE], values[SIZE:])
    np.testing.assert_allclose(found.fit.statistic, oracle.statistic, rtol=1e-10)
    np.testing.assert_allclose(found.p_fdr, stats.false_discovery_control(oracle.pvalue))
    np.testing.assert_allclose(found.p_fdr, fdr(found.fit.p))
    direct = permutation_test(values, prepare_statistic(DESIGN, CONTRAST), drawn(), PAIRS)
    for name, other in (
        ("z", "z"),
        ("p_permutation", "p"),
        ("p_fwe", "p_voxel"),
        ("p_extent", "p_extent"),
        ("p_intensity", "p_mass"),
        ("p_tfnbs", "p_enhanced"),
        ("labels", "labels"),
    ):
        np.testing.assert_array_equal(getattr(found, name), getattr(direct, other))
    z = stats.norm.isf(oracle.pvalue / 2) * np.sign(oracle.statistic)
    graph = nx.Graph()
    limit = stats.norm.isf(0.0005)
    above = np.flatnonzero(z > limit)
    graph.add_edges_from(zip(PAIRS.first[above], PAIRS.second[above], strict=True))
    expected = sorted(
        (len(part), graph.subgraph(part).number_of_edges())
        for part in nx.connected_components(graph)
    )
    own = [one for one in list_components(found, PAIRS) if one.label > 0]
    assert sorted((one.n_nodes, one.n_edges) for one in own) == expected
    total = sum(one.intensity for one in own)
    assert total == pytest.approx((z[above] - limit).sum(), rel=1e-4)


def test_threads_change_nothing(values) -> None:
    one, two = compare(values), compare(values, n_threads=2)
    for name in ("p_permutation", "p_fwe", "p_extent", "p_intensity", "p_tfnbs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_unequal_variances_and_missing_values(values) -> None:
    groups = ("RLS",) * SIZE + ("HC",) * SIZE
    gaps = values.copy()
    gaps[3, 7], gaps[:, 9] = np.nan, 0.5
    found = compare_edges(
        gaps,
        DESIGN,
        CONTRAST,
        drawn(groups=groups),
        SCALE,
        n_nodes=N_NODES,
        variance_groups=groups,
    )
    known = np.setdiff1d(np.arange(len(PAIRS.first)), [7, 9])
    oracle = stats.ttest_ind(gaps[:SIZE, known], gaps[SIZE:, known], equal_var=False)
    np.testing.assert_allclose(found.fit.statistic[known], oracle.statistic, rtol=1e-8)
    assert np.isnan(found.fit.statistic[[7, 9]]).all()
    for name in ("p_permutation", "p_fdr", "p_fwe", "p_extent", "p_intensity", "p_tfnbs"):
        assert (getattr(found, name)[[7, 9]] == 1).all()
    assert found.p_fwe[within(MORE)].min() <= 0.05


def test_false_alarms_of_networks() -> None:
    """200 null studies with connections that hang together: a smoke alarm (bound .12)."""
    n_nodes, size = 10, 8
    design = np.repeat(np.eye(2), size, axis=0)
    pairs, alarms = node_pairs(n_nodes), np.zeros(4)
    for study in range(200):
        rng = np.random.default_rng(study)
        of_node = rng.standard_normal((2 * size, n_nodes))
        z = of_node[:, pairs.first] + of_node[:, pairs.second]
        z += rng.standard_normal(z.shape)
        resamplings = drawn(design, n=199, seed=study)
        found = compare_edges(z, design, CONTRAST, resamplings, SCALE, n_nodes=n_nodes)
        kinds = (found.p_fwe, found.p_extent, found.p_intensity, found.p_tfnbs)
        alarms += [each.min() <= 0.05 for each in kinds]
    assert (alarms / 200 <= 0.12).all()
    assert (alarms > 0).all()


def test_blocks_by_hand() -> None:
    rng = np.random.default_rng(1)
    stack = np.array([pairs_to_matrix(rng.standard_normal(15), 6) for _ in range(3)])
    sets = np.array([1, 0, 1, -1, 0, 2])
    means, blocks, n_pairs = block_means(stack, sets, 3)
    assert blocks.tolist() == [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2]]  # 2 has one node
    for column, (first, second) in enumerate(blocks):
        places = [
            (i, j)
            for i in range(6)
            for j in range(i + 1, 6)
            if sorted((sets[i], sets[j])) == [first, second]
        ]
        assert n_pairs[column] == len(places)
        wanted = [np.mean([each[place] for place in places]) for each in stack]
        np.testing.assert_allclose(means[:, column], wanted)


def test_values_must_fit() -> None:
    with pytest.raises(ValueError, match="one for each of 190 pairs"):
        compare(np.zeros((20, 5)))
    with pytest.raises(ValueError, match="for 3 nodes"):
        block_means(np.zeros((2, 4, 4)), [0, 0, 1], 2)
    assert matrix_to_pairs(pairs_to_matrix([1, 2, 3], 3)).tolist() == [1, 2, 3]
