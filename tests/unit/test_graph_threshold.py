"""From matrix to edges, and what several matrices have in common."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics.graph import (
    common_densities,
    common_nodes,
    group,
    restrict_nodes,
    threshold,
)
from rls_bids.numerics.graph.threshold import (
    check_matrix,
    density_of,
    keep_above,
    keep_strongest,
    reachable_densities,
    select_nodes,
    take_sign,
)


def symmetric(n, seed, *, decimals=15):
    upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, (n, n)), 1).round(decimals)
    return upper + upper.T


def without(matrix, *nodes):
    holed = matrix.copy()
    for node in nodes:
        holed[node] = holed[:, node] = np.nan
    return holed


@given(
    n=st.integers(3, 25),
    seed=st.integers(0, 10**6),
    density=st.floats(0.01, 1.0),
    decimals=st.sampled_from([1, 15]),
)
def test_the_strongest_edges_are_kept(n, seed, density, decimals):
    weights = take_sign(symmetric(n, seed, decimals=decimals), "positive")
    before = weights.copy()
    kept = keep_strongest(weights, density)
    np.testing.assert_array_equal(weights, before)
    n_pairs, n_positive = n * (n - 1) // 2, np.count_nonzero(weights) // 2
    n_edges = int(np.floor(density * n_pairs + 0.5))
    if n_edges > n_positive or n_edges < 1:
        assert kept is None
        return
    assert np.count_nonzero(np.triu(kept)) == n_edges
    assert density_of(kept) == pytest.approx(n_edges / n_pairs)
    np.testing.assert_array_equal(kept, kept.T)
    is_kept = kept > 0
    np.testing.assert_array_equal(kept[is_kept], weights[is_kept])
    if (weights[~is_kept] > 0).any():
        assert weights[~is_kept].max() <= kept[is_kept].min()


def test_of_equal_edges_the_first_are_kept():
    weights = np.full((5, 5), 0.5) - 0.5 * np.eye(5)
    weights[3, 4] = weights[4, 3] = 0.9
    kept = keep_strongest(weights, 0.4)
    assert np.argwhere(np.triu(kept)).tolist() == [[0, 1], [0, 2], [0, 3], [3, 4]]


def test_of_many_equal_edges_the_first_are_kept():
    rows, columns = np.triu_indices(30, 1)
    kept = keep_strongest(np.full((30, 30), 0.5) - 0.5 * np.eye(30), 0.3)
    is_kept = kept[rows, columns] > 0
    assert is_kept.sum() == 131  # 130.5 upwards
    assert is_kept[:131].all()


def test_densities_nest():
    weights = take_sign(symmetric(30, 1, decimals=1), "positive")
    graphs = [keep_strongest(weights, density) > 0 for density in (0.1, 0.2, 0.3)]
    assert (graphs[0] <= graphs[1]).all()
    assert (graphs[1] <= graphs[2]).all()


def test_the_last_density_that_positive_edges_reach():
    weights = take_sign(symmetric(30, 2), "positive")
    density = density_of(weights)
    np.testing.assert_array_equal(keep_strongest(weights, density), weights)
    assert keep_strongest(weights, density + 1 / 435) is None
    asked = (0.05, density, min(density + 0.01, 1))
    assert reachable_densities(weights, asked) == asked[:2]


def test_less_than_one_edge_is_no_graph():
    assert keep_strongest(np.ones((4, 4)) - np.eye(4), 0.05) is None


def test_fixed_thresholds_are_exclusive():
    weights = np.array([[0, 0.25, 0.3], [0.25, 0, 0.1], [0.3, 0.1, 0]])
    assert np.argwhere(np.triu(keep_above(weights, 0.25))).tolist() == [[0, 2]]


def test_signs_add_up():
    matrix = symmetric(20, 3)
    positive, negative = take_sign(matrix, "positive"), take_sign(matrix, "negative")
    np.testing.assert_array_equal(positive - negative, matrix)
    np.testing.assert_array_equal(positive + negative, take_sign(matrix, "absolute"))
    assert (negative >= 0).all()


def test_the_diagonal_does_not_matter():
    matrix = symmetric(6, 1)
    for diagonal in (1.0, np.nan, np.inf):
        other = matrix.copy()
        np.fill_diagonal(other, diagonal)
        np.testing.assert_array_equal(check_matrix(other), matrix)
        assert select_nodes(other)[0].tolist() == list(range(6))


def test_nodes_without_values_are_out():
    kept, out = select_nodes(without(symmetric(8, 1), 2, 5))
    assert kept.tolist() == [0, 1, 3, 4, 6, 7]
    assert [(node.node, node.reason) for node in out] == [
        (2, threshold.NO_VALUES), (5, threshold.NO_VALUES),
    ]  # fmt: skip


def test_single_missing_values_cost_as_few_nodes_as_possible():
    matrix = symmetric(8, 1)
    for other in (1, 4, 6):
        matrix[3, other] = matrix[other, 3] = np.nan
    kept, out = select_nodes(matrix)
    assert kept.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert out[0].reason == threshold.SOME_VALUES.format(missing=3, others=7)
    matrix = symmetric(8, 1)
    matrix[3, 4] = matrix[4, 3] = np.nan
    assert [node.node for node in select_nodes(matrix)[1]] == [3]


def lopsided():
    matrix = symmetric(5, 1)
    matrix[0, 1] += 0.25
    return matrix


def half_missing():
    matrix = symmetric(5, 1)
    matrix[0, 1] = np.nan
    return matrix


def infinite():
    matrix = symmetric(5, 1)
    matrix[0, 1] = matrix[1, 0] = np.inf
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((4, 5)), threshold.BAD_SHAPE.format(found=(4, 5), least=3)),
        (np.zeros(4), threshold.BAD_SHAPE.format(found=(4,), least=3)),
        (np.zeros((2, 2)), threshold.BAD_SHAPE.format(found=(2, 2), least=3)),
        (lopsided(), threshold.NOT_SYMMETRIC.format(found=0.25)),
        (half_missing(), threshold.NOT_SYMMETRIC.format(found=np.inf)),
        (infinite(), threshold.NOT_FINITE.format(found=2)),
        (without(symmetric(5, 1), 0, 1, 2),
         threshold.FEW_NODES.format(found=2, n_nodes=5, least=3)),
        (np.full((5, 5), np.nan), threshold.FEW_NODES.format(found=1, n_nodes=5, least=3)),
    ],
)  # fmt: skip
def test_matrices_that_cannot_be_used(matrix, message):
    with pytest.raises(InputDataError) as caught:
        select_nodes(matrix)
    assert caught.value.message == message
    assert caught.value.exit_status == 65


def test_nodes_missing_in_more_than_a_tenth_leave_for_all():
    matrices = [symmetric(6, n) for n in range(20)]
    for place in (0, 1, 2):
        matrices[place] = without(matrices[place], 4)
    for place in (5, 6):
        matrices[place] = without(matrices[place], 1)
    common = common_nodes(matrices)
    assert common.nodes.tolist() == [0, 1, 2, 3, 5]
    reason = group.NODE_OUT.format(n_missing=3, n_matrices=20)
    assert [(out.node, out.reason) for out in common.nodes_out] == [(4, reason)]
    # Node 1 stays (2 of 20 are not more than a tenth); who lacks it cannot be compared.
    assert common.incomplete == ((5, (1,)), (6, (1,)))
    assert common_nodes(matrices, max_missing=0).nodes.tolist() == [0, 2, 3, 5]
    assert common_nodes(matrices, max_missing=0).incomplete == ()


def test_common_densities_are_reached_by_all():
    weak = symmetric(10, 1)
    weak[np.abs(weak) < 0.3] *= -np.sign(weak[np.abs(weak) < 0.3])
    strong = np.abs(weak)
    share = density_of(take_sign(weak, "positive"))
    densities = tuple(np.round(np.arange(0.05, 0.95, 0.05), 2))
    assert common_densities([strong], densities) == densities
    found = common_densities([strong, weak], densities)
    assert found == reachable_densities(take_sign(weak, "positive"), densities)
    assert found[-1] <= share + 1 / 90
    assert common_densities([strong, weak], densities, "absolute") == densities
    both = common_densities([weak], densities, "apart")
    assert both == tuple(
        d for d in found if d in reachable_densities(take_sign(weak, "negative"), densities)
    )


def test_restricted_matrices_are_copies():
    matrix = symmetric(5, 1)
    part = restrict_nodes(matrix, np.array([0, 2]))
    part[:] = 9
    assert matrix.max() < 1


def test_groups_that_cannot_be_compared():
    weak = take_sign(symmetric(6, 1), "positive") - 1
    np.fill_diagonal(weak, 1)
    weak[0, 1] = weak[1, 0] = 0.5
    with pytest.raises(UsageError) as caught:
        common_densities([np.ones((6, 6)), weak], (0.2, 0.4))
    expected = group.NO_COMMON_DENSITY.format(asked="0.2, 0.4", worst=2, reached=1 / 15)
    assert caught.value.message == expected
    cases = [
        ([], group.NO_MATRICES),
        ([np.ones((4, 4)), np.ones((5, 5))], group.DIFFERENT_SIZES.format(found=[4, 5])),
        ([without(np.ones((4, 4)), 0), without(np.ones((4, 4)), 1)],
         threshold.FEW_NODES.format(found=2, n_nodes=4, least=3)),
    ]  # fmt: skip
    for matrices, message in cases:
        with pytest.raises(InputDataError) as refused:
            common_nodes(matrices)
        assert refused.value.message == message
    with pytest.raises(InputDataError):
        common_densities([], (0.1,))
