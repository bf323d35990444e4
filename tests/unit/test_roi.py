"""Region means: loops by hand, weights, coverage, order and sides."""

import numpy as np
import pytest

from rls_bids.numerics.roi import region_means


def by_hand(maps, labels, indices, weights):
    found = np.full((len(maps), len(indices)), np.nan)
    for i, one in enumerate(maps):
        for j, index in enumerate(indices):
            rows = [v for v in range(len(labels)) if labels[v] == index]
            there = [v for v in rows if np.isfinite(one[v])]
            whole = sum(weights[v] for v in rows)
            seen = sum(weights[v] for v in there)
            if whole > 0 and seen / whole >= 0.5:
                found[i, j] = sum(weights[v] * one[v] for v in there) / seen
    return found


@pytest.mark.parametrize("is_weighted", [False, True])
def test_equal_to_loops(rng, is_weighted) -> None:
    maps = rng.standard_normal((5, 60))
    maps[rng.random(maps.shape) < 0.4] = np.nan
    labels = rng.integers(0, 6, 60)
    weights = rng.random(60) if is_weighted else np.ones(60)
    before = maps.copy()
    found = region_means(maps, labels, [4, 1, 5], weights=weights if is_weighted else None)
    expected = by_hand(maps, labels, [4, 1, 5], weights)
    assert 0 < np.isnan(expected).sum() < expected.size  # both sides of the rule are met
    np.testing.assert_allclose(found.mean, expected)
    np.testing.assert_array_equal(maps, before)


def test_half_is_enough_and_less_is_not() -> None:
    maps = np.array([[1.0, 2.0, np.nan, np.nan], [1.0, np.nan, np.nan, np.nan]])
    found = region_means(maps, [7, 7, 7, 7], [7])
    assert found.mean[0, 0] == 1.5
    assert np.isnan(found.mean[1, 0])
    np.testing.assert_array_equal(found.coverage[:, 0], [0.5, 0.25])


def test_voxels_outside_the_mask_count_as_missing() -> None:
    found = region_means(np.ones((1, 3)), [2, 2, 3], [2, 3], totals=[3, 4])
    np.testing.assert_allclose(found.coverage, [[2 / 3, 0.25]])
    assert found.mean[0, 0] == 1.0
    assert np.isnan(found.mean[0, 1])


def test_planted_regions_keep_order_and_side() -> None:
    """Left has label 2, right 1; asked for as left, right."""
    labels = np.repeat([2, 0, 1], 10)
    maps = np.where(labels == 2, 3.0, np.where(labels == 1, -1.0, 100.0))[None]
    np.testing.assert_array_equal(region_means(maps, labels, [2, 1]).mean, [[3.0, -1.0]])


def test_a_region_without_voxels_or_weight_is_missing() -> None:
    found = region_means(np.ones((2, 2)), [1, 2], [1, 9], weights=[0.0, 1.0])
    assert np.isnan(found.mean).all()
    assert (found.coverage == 0).all()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"labels": [1, 2]}, "one label a voxel"),
        ({"weights": [1.0, -1.0, 1.0]}, "0 or more"),
        ({"totals": [1.0]}, "one total a region"),
        ({"totals": [1.0, 1.0]}, "Region 1 has a weight of 2"),
        ({"indices": [1, 1]}, "each index once"),
    ],
)
def test_bad_input(changed, match) -> None:
    given = {"maps": np.ones((2, 3)), "labels": [1, 1, 2], "indices": [1, 2]} | changed
    with pytest.raises(ValueError, match=match):
        region_means(**given)
