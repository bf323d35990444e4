"""TFCE against the integral it stands for and against nilearn; clusters against scipy."""

import numpy as np
import pytest
from nilearn.mass_univariate._utils import calculate_cluster_measures, calculate_tfce
from scipy import ndimage

from rls_bids.numerics import tfce as module
from rls_bids.numerics.tfce import label_clusters, peaks, tfce, voxel_neighbours
from rls_bids.numerics.unions import descending

STRUCTURES = {6: 1, 18: 2, 26: 3}


def structure(connectivity):
    return ndimage.generate_binary_structure(3, STRUCTURES[connectivity])


def blurred(rng, shape, sigma=1.0):
    values = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return (values / values.std()).astype(np.float32)


def brute_force(values, mask, connectivity, n_steps, extent_power=0.5, height_power=2.0):
    """Midpoint rule with n_steps heights, both signs."""
    total = np.zeros(values.shape)
    step = np.abs(values[mask]).max() / n_steps
    for sign in (1, -1):
        signed = np.where(mask, sign * values, -np.inf)
        for height in (np.arange(n_steps) + 0.5) * step:
            labels, _ = ndimage.label(signed > height, structure(connectivity))
            extent = np.bincount(labels.ravel())[labels] * (labels > 0)
            total += sign * extent**extent_power * height**height_power * step * (labels > 0)
    return total[mask]


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_agrees_with_the_integral(connectivity, rng):
    values = blurred(rng, (9, 8, 7))
    mask = rng.random(values.shape) < 0.8
    found = tfce(values[mask], voxel_neighbours(mask, connectivity))
    expected = brute_force(values, mask, connectivity, 5000)
    # The midpoint rule itself is off by 1.5 dh/h in relation, so by more than this near zero.
    high = np.abs(values[mask]) > 0.35 * np.abs(values[mask]).max()
    assert np.abs(found / expected - 1)[high].max() < 1e-3
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)
    assert np.abs(found - expected).max() < 5e-4 * np.abs(expected).max()


def test_other_powers_agree_with_the_integral(rng):
    values, mask = blurred(rng, (7, 7, 6)), np.ones((7, 7, 6), dtype=bool)
    found = tfce(values[mask], voxel_neighbours(mask), extent_power=0.4, height_power=3.0)
    expected = brute_force(values, mask, 26, 3000, 0.4, 3.0)
    assert np.allclose(found, expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("connectivity", [6, 26])
def test_correlates_with_nilearn(connectivity, rng):
    values, mask = blurred(rng, (20, 22, 18), 1.3), np.ones((20, 22, 18), dtype=bool)
    found = tfce(values[mask], voxel_neighbours(mask, connectivity))
    theirs = calculate_tfce(values[..., None].astype(float), structure(connectivity))
    assert np.corrcoef(found, theirs[..., 0][mask])[0, 1] > 0.999


def test_one_plateau_is_known_exactly():
    mask = np.ones((4, 3, 2), dtype=bool)
    values = np.full(24, 2.0)
    assert np.allclose(tfce(values, voxel_neighbours(mask)), np.sqrt(24) * 8 / 3)
    assert np.allclose(tfce(-values, voxel_neighbours(mask)), -np.sqrt(24) * 8 / 3)


def test_places_are_in_order_and_ends_do_not_touch():
    """A step along each axis is a neighbour; the two ends of a row, and other rows, are not."""
    mask = np.ones((3, 4, 5), dtype=bool)
    values = np.zeros((3, 4, 5), dtype=np.float32)
    values[0, 1, 4] = values[0, 2, 0] = values[2, 3, 4] = 3.0  # neighbours in memory only
    labels = label_clusters(values[mask], voxel_neighbours(mask), 1.0)
    assert sorted(labels[labels != 0]) == [1, 2, 3]
    for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        pair = np.zeros((3, 4, 5), dtype=np.float32)
        pair[1, 1, 1] = pair[tuple(np.add(1, step))] = 3.0
        assert label_clusters(pair[mask], voxel_neighbours(mask, 6), 1.0).max() == 1


def test_diagonals_touch_as_connectivity_says():
    mask = np.ones((2, 2, 2), dtype=bool)
    corner, edge = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    corner[0, 0, 0] = corner[1, 1, 1] = edge[0, 0, 0] = edge[1, 1, 0] = 3.0
    n_found = {
        n: [
            label_clusters(one[mask], voxel_neighbours(mask, n), 1.0).max()
            for one in (corner, edge)
        ]
        for n in (6, 18, 26)
    }
    assert n_found == {6: [2, 2], 18: [2, 1], 26: [1, 1]}


@pytest.mark.parametrize("is_two_sided", [True, False])
@pytest.mark.parametrize("is_enhanced", [True, False])
def test_peaks_are_those_of_the_maps(is_two_sided, is_enhanced, rng):
    values = blurred(rng, (15, 14, 13)) - np.float32(0.2)
    mask = rng.random(values.shape) < 0.9
    neighbours = voxel_neighbours(mask)
    inside = values[mask]
    found = peaks(inside, neighbours, 1.5, is_two_sided=is_two_sided, is_enhanced=is_enhanced)
    size, mass = calculate_cluster_measures(
        np.where(mask, values, 0)[..., None].astype(float), 1.5, structure(26), is_two_sided
    )
    assert found.extent == size.item()
    assert found.mass == pytest.approx(mass.item(), rel=1e-6)
    enhanced = tfce(inside, neighbours)
    highest = np.abs(enhanced).max() if is_two_sided else enhanced.max()
    assert found.enhanced == pytest.approx(highest if is_enhanced else 0.0)


def test_labels_are_those_of_scipy(rng):
    values, mask = blurred(rng, (16, 15, 14)), np.ones((16, 15, 14), dtype=bool)
    found = label_clusters(values[mask], voxel_neighbours(mask), 1.2)
    up, n_up = ndimage.label(values > 1.2, structure(26))
    down, n_down = ndimage.label(values < -1.2, structure(26))
    assert np.array_equal(found, (up - down)[mask])
    assert (n_up, n_down) == (found.max(), -found.min())


def test_order_is_that_of_the_values(rng):
    values = np.concatenate([rng.exponential(size=5000), [1e-30, 1e30, 0.0, -1.0, np.nan]])
    values = values.astype(np.float32)
    copy, items = values.copy(), np.arange(5005, dtype=np.int32) * 3
    heights, found = descending(values, items, 0.0)
    assert (len(found), len(heights)) == (5002, 5002)
    order = found // 3
    assert np.array_equal(heights, values[order])
    assert np.array_equal(values, copy, equal_nan=True)
    assert (np.diff(values[order]) <= 0).all()


def test_nothing_is_changed_and_nothing_found_in_nothing(rng):
    mask = np.ones((3, 3, 3), dtype=bool)
    values = rng.standard_normal(27)
    copy = values.copy()
    neighbours = voxel_neighbours(mask)
    tfce(values, neighbours)
    peaks(values.astype(np.float32), neighbours, 1.0)
    assert np.array_equal(values, copy)
    assert not tfce(np.zeros(27), neighbours).any()
    assert not tfce(np.full(27, np.nan), neighbours).any()
    nothing = peaks(np.zeros(27, np.float32), neighbours, 1.0)
    assert (nothing.extent, nothing.mass, nothing.enhanced) == (0.0, 0.0, 0.0)


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="6, 18 or 26"):
        voxel_neighbours(np.ones((2, 2, 2)), 8)
    for mask in (np.zeros((2, 2, 2)), np.ones((2, 2))):
        with pytest.raises(ValueError, match="expected 3 dimensions"):
            voxel_neighbours(mask)
    with pytest.raises(ValueError, match="one value for each of 8"):
        tfce(np.ones(7), voxel_neighbours(np.ones((2, 2, 2))))


def test_golden_values_hold_while_the_version_stands():
    assert module.VERSION == "1", "numbers changed: store new golden values with the new version"
    n = np.arange(24.0)
    found = tfce(np.sin(n * n) * 3, voxel_neighbours(np.ones((4, 3, 2))))
    assert np.allclose(found[[1, 4, 9, 13, 20]], GOLDEN, atol=1e-5)


GOLDEN = [13.30584215, -0.7469746, -6.80924851, -6.05330688, -14.53155792]
