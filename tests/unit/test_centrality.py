"""Degree centrality and connectivity strength against numpy.corrcoef and planted blocks."""

import numpy as np
import pytest
from scipy.stats import norm

from rls_bids.errors import UsageError
from rls_bids.numerics import centrality
from rls_bids.numerics.centrality import compute_centrality


def related(n_volumes, n_voxels, rng):
    """Noise with a few shared waves of either sign."""
    waves = rng.standard_normal((n_volumes, 4))
    return waves @ rng.standard_normal((4, n_voxels)) + 2 * rng.standard_normal(
        (n_volumes, n_voxels)
    )


def brute_force(series, threshold):
    """Count, sum and mean Fisher z from the whole matrix, and the positive part's edges."""
    r = np.corrcoef(series.T)
    np.fill_diagonal(r, 0)
    is_edge = r > threshold
    held = np.clip(r, -centrality.LARGEST_R, centrality.LARGEST_R)
    n_others = len(r) - 1
    return is_edge.sum(0), np.where(is_edge, r, 0).sum(0), np.arctanh(held).sum(0) / n_others


@pytest.mark.parametrize("n_voxels", [2, 70, 333])
@pytest.mark.parametrize("block", [50, 64, 1024])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_agrees_with_numpy(n_voxels, block, n_threads, monkeypatch):
    monkeypatch.setattr(centrality, "BLOCK_VOXELS", block)
    rng = np.random.default_rng(n_voxels)
    series = related(60, n_voxels, rng) + 500
    found = compute_centrality(series, threshold=0.2, n_threads=n_threads)
    number, total, strength = brute_force(series, 0.2)
    assert np.array_equal(found.at_threshold.binary, number)
    assert np.allclose(found.at_threshold.weighted, total, rtol=1e-6, atol=1e-6)
    assert np.allclose(found.strength, strength, rtol=0, atol=1e-6)
    assert found.at_threshold.density == pytest.approx(number.sum() / n_voxels / (n_voxels - 1))
    assert found.at_threshold.threshold == 0.2
    assert found.at_density is None


@pytest.mark.parametrize("density", [0.05, 0.3])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_one_threshold_gives_the_density(density, n_threads, monkeypatch):
    monkeypatch.setattr(centrality, "BLOCK_VOXELS", 100)
    series = related(80, 420, np.random.default_rng(1))
    found = compute_centrality(series, density=density, n_threads=n_threads)
    r = np.corrcoef(series.T)[np.triu_indices(420, k=1)]
    exact = np.quantile(r, 1 - density)
    degree = found.at_density
    assert degree.threshold == pytest.approx(exact, abs=2 / centrality.N_STEPS)
    assert density - 1e-6 <= degree.density <= density + 1e-3
    number, total, _ = brute_force(series, degree.threshold)
    assert np.array_equal(degree.binary, number)
    assert np.allclose(degree.weighted, total, rtol=1e-6, atol=1e-6)
    alone = compute_centrality(series)
    assert np.array_equal(alone.at_threshold.binary, found.at_threshold.binary)
    assert np.allclose(alone.strength, found.strength, atol=1e-12)


def test_only_positive_pairs_make_a_density():
    series = related(50, 80, np.random.default_rng(2))
    r = np.corrcoef(series.T)[np.triu_indices(80, k=1)]
    degree = compute_centrality(series, density=0.9).at_density
    assert degree.threshold == 0.0
    assert degree.density == pytest.approx((r > 0).mean())


def test_blocks_of_voxels_have_the_degrees_that_were_planted():
    """Three groups of 5, 20 and 60 voxels share a wave each (r = .8); 40 more are alone."""
    rng = np.random.default_rng(3)
    sizes = [5, 20, 60, 40]
    group = np.repeat(np.arange(4), sizes)
    order = rng.permutation(group.size)
    group = group[order]
    share = np.where(group < 3, np.sqrt(0.8), 0.0)
    # Orthogonal, or their chance correlation would move all voxels of a group alike.
    waves = np.linalg.qr(rng.standard_normal((3000, 4)))[0] * np.sqrt(3000)
    noise = rng.standard_normal((3000, group.size))
    series = share * waves[:, group] + np.sqrt(1 - share**2) * noise
    found = compute_centrality(series)
    expected = np.array([4, 19, 59, 0])[group]
    assert np.array_equal(found.at_threshold.binary, expected)
    assert np.allclose(found.at_threshold.weighted, 0.8 * expected, rtol=0.02, atol=1e-12)
    planted = expected * np.arctanh(0.8) / (group.size - 1)
    assert np.allclose(found.strength, planted, atol=0.03)


def test_independent_noise_has_the_degree_of_chance():
    n_volumes, n_voxels = 100, 1500
    series = np.random.default_rng(4).standard_normal((n_volumes, n_voxels))
    found = compute_centrality(series, density=0.05)
    by_chance = norm.sf(np.arctanh(0.25) * np.sqrt(n_volumes - 3))
    assert found.at_threshold.density == pytest.approx(by_chance, rel=0.05)
    assert found.at_density.threshold == pytest.approx(
        np.tanh(norm.isf(0.05) / np.sqrt(n_volumes - 3)), abs=0.003
    )
    assert found.strength.mean() == pytest.approx(0, abs=0.001)


def test_constant_and_broken_voxels_are_missing_and_not_counted():
    series = related(60, 40, np.random.default_rng(5))
    bad = [0, 17, 39]
    series[:, 0], series[5, 17], series[7, 39] = 1e4 / 3, np.nan, np.inf
    before = series.copy()
    found = compute_centrality(series, threshold=0.1, density=0.1)
    others = compute_centrality(np.delete(series, bad, axis=1), threshold=0.1, density=0.1)
    for new, old in [
        (found.at_threshold.binary, others.at_threshold.binary),
        (found.at_threshold.weighted, others.at_threshold.weighted),
        (found.at_density.weighted, others.at_density.weighted),
        (found.strength, others.strength),
    ]:
        assert np.flatnonzero(np.isnan(new)).tolist() == bad
        assert np.allclose(np.delete(new, bad), old, atol=1e-9)
    assert found.at_threshold.density == others.at_threshold.density
    assert np.array_equal(series, before, equal_nan=True)


def test_without_a_pair_everything_is_missing():
    series = np.ones((20, 4))
    series[:, 2] = np.arange(20)
    found = compute_centrality(series, density=0.5)
    for values in (found.at_threshold.binary, found.at_density.weighted, found.strength):
        assert np.isnan(values).all()
    assert np.isnan(found.at_threshold.density)


def test_copies_of_a_voxel_are_held_at_a_finite_z():
    wave = np.random.default_rng(6).standard_normal((200, 1))
    series = np.hstack([wave * scale for scale in np.linspace(0.3, 30, 150)] + [-wave])
    found = compute_centrality(series)
    held = np.arctanh(centrality.LARGEST_R)
    assert np.allclose(found.strength[:-1], held * 148 / 150, rtol=2e-3)
    assert found.strength[-1] == pytest.approx(-held, rel=2e-3)
    assert found.at_threshold.binary.tolist() == [149.0] * 150 + [0.0]
    assert np.allclose(found.at_threshold.weighted[:-1], 149, rtol=1e-6)


def test_scale_shift_type_and_sign(tmp_path):
    series = related(50, 30, np.random.default_rng(7)).astype(np.float32)
    first = compute_centrality(series)
    np.save(tmp_path / "series.npy", series)
    for other in (
        np.load(tmp_path / "series.npy", mmap_mode="r"),
        np.asfortranarray(series),
        -3 * series.astype(float) + 40,
    ):
        found = compute_centrality(other)
        assert np.array_equal(found.at_threshold.binary, first.at_threshold.binary)
        assert np.allclose(found.at_threshold.weighted, first.at_threshold.weighted, atol=1e-5)
        assert np.allclose(found.strength, first.strength, atol=1e-6)
    again = compute_centrality(series)
    assert np.array_equal(again.strength, first.strength)


def test_what_does_not_fit_is_told():
    series = related(20, 5, np.random.default_rng(8))
    for bad in (series[:2], series[:, :1], series[0]):
        with pytest.raises(ValueError, match="at least 3 volumes and 2 voxels"):
            compute_centrality(bad)
    for threshold in (-0.1, 1.0, np.nan):
        with pytest.raises(UsageError) as caught:
            compute_centrality(series, threshold=threshold)
        assert caught.value.message == centrality.BAD_THRESHOLD.format(found=threshold)
    for density in (0, 1.1):
        with pytest.raises(UsageError) as caught:
            compute_centrality(series, density=density)
        assert caught.value.message == centrality.BAD_DENSITY.format(found=density)


def test_golden_values_hold_while_the_version_stands():
    assert centrality.VERSION == "1", "numbers changed: store new golden values with the version"
    n = np.arange(50.0)[:, None]
    found = compute_centrality(np.sin(n / np.arange(2, 7)), density=0.3)
    assert np.allclose(found.at_threshold.weighted, GOLDEN_WEIGHTED, atol=1e-6)
    assert np.allclose(found.strength, GOLDEN_STRENGTH, atol=1e-6)
    assert found.at_density.threshold == pytest.approx(GOLDEN_THRESHOLD, abs=1e-9)


GOLDEN_WEIGHTED = [0, 0, 0.27636322, 0.89247087, 0.61610764]
GOLDEN_STRENGTH = [0.02636865, 0.00061845, -0.03988442, 0.25697691, 0.12133467]
GOLDEN_THRESHOLD = 0.1239051484725486
