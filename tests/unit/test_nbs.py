"""Components of matrices against networkx, TFNBS against the integral it stands for."""

import networkx as nx
import numpy as np
import pytest

from rls_bids.numerics import nbs
from rls_bids.numerics.nbs import (
    label_components,
    matrix_to_pairs,
    node_pairs,
    pairs_to_matrix,
    peaks,
    tfnbs,
)

PAIRS = node_pairs(9)


def components(values, threshold):
    """Return the sets of pairs of each component, by networkx."""
    graph = nx.Graph()
    edges = [
        (int(PAIRS.first[i]), int(PAIRS.second[i])) for i in np.flatnonzero(values > threshold)
    ]
    graph.add_edges_from(edges)
    number = {
        edge: i
        for i, edge in enumerate(zip(PAIRS.first.tolist(), PAIRS.second.tolist(), strict=True))
    }
    return [
        [number[tuple(sorted(edge))] for edge in graph.subgraph(nodes).edges]
        for nodes in nx.connected_components(graph)
    ]


@pytest.mark.parametrize("threshold", [0.3, 0.8, 1.5])
def test_components_are_those_of_networkx(threshold, rng):
    values = rng.standard_normal(36).astype(np.float32)
    labels = label_components(values, PAIRS, threshold)
    expected = np.zeros(36, dtype=int)
    sizes, masses = [0], [0.0]
    for sign in (1, -1):
        for found in components(sign * values, threshold):
            assert len(set(labels[found])) == 1
            assert sign * labels[found[0]] > 0
            expected[found] = 1
            sizes.append(len(found))
            masses.append((np.abs(values[found]) - threshold).sum())
    assert np.array_equal(labels != 0, expected != 0)
    assert len(set(labels) - {0}) == len(sizes) - 1
    for is_enhanced in (True, False):
        found = peaks(values, PAIRS, threshold, is_enhanced=is_enhanced)
        assert found.extent == max(sizes)
        assert found.mass == pytest.approx(max(masses), rel=1e-5)


@pytest.mark.parametrize(("extent_power", "height_power"), [(0.4, 3.0), (0.5, 2.0)])
def test_enhancement_is_the_integral(extent_power, height_power, rng):
    values = rng.standard_normal(36).astype(np.float32)
    expected, n_steps = np.zeros(36), 1500
    step = np.abs(values).max() / n_steps
    for sign in (1, -1):
        for height in (np.arange(n_steps) + 0.5) * step:
            for found in components(sign * values, height):
                expected[found] += sign * len(found) ** extent_power * height**height_power * step
    given = {"extent_power": extent_power, "height_power": height_power}
    assert np.allclose(tfnbs(values, PAIRS, **given), expected, rtol=3e-3, atol=3e-3)
    if height_power == 3.0:
        found = peaks(values, PAIRS, 1.0)
        assert found.enhanced == pytest.approx(np.abs(tfnbs(values, PAIRS)).max())
        one = peaks(values, PAIRS, 1.0, is_two_sided=False)
        assert one.enhanced == pytest.approx(tfnbs(values, PAIRS).max())


def test_matrices_and_pairs_go_both_ways(rng):
    matrix = rng.standard_normal((5, 5))
    matrix += matrix.T
    np.fill_diagonal(matrix, 1.0)
    values = matrix_to_pairs(matrix)
    assert np.array_equal(pairs_to_matrix(values, 5, 1.0), matrix)
    pairs = node_pairs(5)
    assert np.array_equal(values, matrix[pairs.first, pairs.second])
    assert matrix_to_pairs(np.stack([matrix, 2 * matrix])).shape == (2, 10)


def test_bad_input_is_told(rng):
    for bad in (np.zeros(4), np.zeros((3, 4)), np.zeros((1, 1))):
        with pytest.raises(ValueError, match="expected a square"):
            matrix_to_pairs(bad)
    with pytest.raises(ValueError, match="not symmetric"):
        matrix_to_pairs([[0, 1], [2, 0]])
    with pytest.raises(ValueError, match="one for each of 36"):
        tfnbs(np.zeros(35), PAIRS)
    with pytest.raises(ValueError, match="one for each of 3"):
        pairs_to_matrix(np.zeros(4), 3)
    with pytest.raises(ValueError, match="two or more nodes"):
        node_pairs(1)


def test_nothing_is_found_in_nothing():
    found = peaks(np.zeros(36, np.float32), PAIRS, 1.0)
    assert (found.extent, found.mass, found.enhanced) == (0.0, 0.0, 0.0)
    assert not tfnbs(np.full(36, np.nan), PAIRS).any()


def test_golden_values_hold_while_the_version_stands():
    assert nbs.VERSION == "1", "numbers changed: store new golden values with the new version"
    n = np.arange(36.0)
    found = tfnbs(np.sin(n * n) * 3, PAIRS)
    assert np.allclose(found[[1, 4, 9, 13, 20]], GOLDEN, atol=1e-5)


GOLDEN = [23.40777521, -0.43694717, -8.70463167, -7.37800113, -25.9354105]
