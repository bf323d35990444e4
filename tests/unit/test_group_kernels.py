"""Kernels of the tables of maps: left-out means, regions, sensitivity, families of sets."""

import numpy as np
import pytest
from scipy import ndimage, stats

from rls_bids.numerics.family import correct_family, correct_sets, holm, holm_sets
from rls_bids.numerics.leftout import cluster_means, left_out_means
from rls_bids.numerics.mapfit import residual_sd
from rls_bids.numerics.regions import find_regions, forming_z
from rls_bids.numerics.sensitivity import sensitivity

DESIGN = np.repeat(np.eye(2), 10, axis=0)


def difference(means: np.ndarray) -> float:
    return float(means[:10].mean() - means[10:].mean())


@pytest.mark.parametrize(("effect", "low", "high"), [(0.0, -0.15, 0.15), (1.0, 0.8, 1.0)])
def test_left_out_means_are_not_inflated(effect: float, low: float, high: float) -> None:
    selected, left_out = [], []
    for seed in range(150):
        data = np.random.default_rng(seed).normal(size=(20, 50))
        data[:10, :10] += effect
        chosen = (data, DESIGN, [1, -1], 1, 2.0)
        selected.append(difference(cluster_means(*chosen)))
        left_out.append(difference(left_out_means(*chosen)))
    assert low < np.mean(left_out) < high
    assert np.mean(selected) > effect + 0.2


def test_left_out_means_follow_the_sign_and_leave_the_data() -> None:
    data = np.random.default_rng(1).normal(size=(20, 30))
    before = data.copy()
    up = left_out_means(data, DESIGN, [1, -1], 1, 1.0)
    np.testing.assert_allclose(left_out_means(-data, DESIGN, [1, -1], -1, 1.0), -up)
    np.testing.assert_array_equal(data, before)


def test_regions_are_what_ndimage_labels() -> None:
    rng = np.random.default_rng(2)
    z = ndimage.gaussian_filter(rng.normal(size=(14, 15, 16)), 1.0)
    z *= 2.5 / z.std()
    p = np.where(rng.uniform(size=z.shape) < 0.01, 0.01, 1.0)
    found = find_regions(z, p, 3.29, (2, 2, 2))
    around = np.ones((3, 3, 3))
    n_expected = 0
    for sign in (1, -1):
        inside = ((sign * z > 3.29) | (p <= 0.05)) & (sign * z > 0)
        labels, n = ndimage.label(inside, around)
        n_expected += n
        formed, _ = ndimage.label(sign * z > 3.29, around)
        for region in (each for each in found if each.sign == sign):
            peak = region.peaks[0].voxel
            inside = np.zeros(z.shape, dtype=bool)
            inside[region.inside] = True
            np.testing.assert_array_equal(inside, labels == labels[peak])
            numbers = set(np.unique(formed[region.inside])) - {0}
            extents = [(formed == number).sum() for number in numbers]
            masses = [(np.abs(z)[formed == number] - 3.29).sum() for number in numbers]
            assert region.extent == max(extents, default=0)
            assert region.mass == pytest.approx(max(masses, default=0.0), rel=1e-5)
    assert len(found) == n_expected > 3
    heights = [abs(z[one.peaks[0].voxel]) for one in found]
    assert heights == sorted(heights, reverse=True)
    signs = {one.sign for one in find_regions(z, p, 3.29, (2, 2, 2), is_two_sided=False)}
    assert signs == {1}


def test_forming_z_is_that_of_p() -> None:
    assert forming_z(0.001) == pytest.approx(3.2905, abs=1e-4)
    assert find_regions(np.zeros((3, 3, 3)), np.ones((3, 3, 3)), 3.0, (2, 2, 2)) == []


def test_residual_sd_without_covariates_is_that_of_each_group() -> None:
    data = np.random.default_rng(3).normal(size=(20, 4)) * np.repeat([[1], [3]], 10, axis=0)
    groups = ["a"] * 10 + ["b"] * 10
    found = residual_sd(data, DESIGN, [1, -1], groups)
    np.testing.assert_allclose(found[0], data[:10].std(axis=0, ddof=1))
    np.testing.assert_allclose(found[1], data[10:].std(axis=0, ddof=1))


def test_sets_are_between_min_p_and_holm() -> None:
    rng = np.random.default_rng(4)
    maxima = rng.normal(size=(5, 200))
    maxima[:, 0] += 2
    together = correct_sets(list(maxima), ["a"] * 5)
    expected = correct_family(maxima)
    np.testing.assert_allclose(together.p_family, expected.p_family)
    np.testing.assert_array_equal(together.smallest["a"], expected.smallest)
    apart = correct_sets(list(maxima), list("abcde"))
    np.testing.assert_allclose(apart.p_family, holm(apart.p))
    mixed = correct_sets(list(maxima), list("aaabb"))
    assert (mixed.p_family >= mixed.p).all()
    p = np.array([0.001, 0.02, 0.03, 0.004])
    # a: .001 twice (2 sets), then b: .004 · 2, then a (.02 · 2), then b's last, alone: .03
    np.testing.assert_allclose(holm_sets(p, list("aabb")), [0.002, 0.04, 0.04, 0.008])


def test_joined_sets_keep_the_error_rate() -> None:
    """Two sets, half of each with large effects: false alarms over the true nulls stay at 5 %."""
    rng = np.random.default_rng(5)
    n_wrong = 0
    for _ in range(400):
        maxima = rng.normal(size=(4, 100))
        maxima[[0, 2], 0] += 6
        found = correct_sets(list(maxima), list("aabb"))
        n_wrong += bool((found.p_family[[1, 3]] <= 0.05).any())
    assert n_wrong / 400 < stats.binom.ppf(0.999, 400, 0.05) / 400


def test_sensitivity_grows_with_the_number_of_tests() -> None:
    rng = np.random.default_rng(6)
    heights = np.abs(rng.normal(size=(1000, 500))).max(axis=1)
    minima = rng.uniform(size=(1000, 10)).min(axis=1).round(3)
    found = sensitivity(38, 10.0, heights, minima)
    assert found["single"] == pytest.approx(0.909, abs=1e-3)  # two groups of 20
    assert found["single"] < found["map"] < found["family"]
    alpha = 2 * stats.norm.sf(np.quantile(heights, 0.95))
    limit = stats.t.isf(alpha / 2, 38)
    power = stats.nct.sf(limit, 38, found["map"] * np.sqrt(10.0))
    assert power == pytest.approx(0.8, abs=0.01)
    assert set(sensitivity(38, 10.0)) == {"single"}
    assert set(sensitivity(1, 2.0, heights + 3)) == {"single"}  # t of hundreds
    assert "family" not in sensitivity(38, 10.0, heights, np.full(1000, 0.01))


def test_nothing_is_found_where_nothing_stands_out() -> None:
    z = np.full((4, 4, 4), 0.3)
    assert find_regions(z, np.ones(z.shape), 3.29, (2.0, 2.0, 2.0)) == []
