"""Seed correlation, Fisher z and the mean over runs against numpy and their laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rls_bids.numerics import correlation
from rls_bids.numerics.correlation import (
    combine_runs,
    correlate_seed,
    correlate_seeds,
    fisher_z,
    inverse_fisher_z,
)


def test_agrees_with_numpy_also_far_from_zero():
    rng = np.random.default_rng(0)
    data = (rng.standard_normal((150, 40)) * 5 + 10000).astype(np.float32)
    seed = data[:, :3].mean(axis=1)
    expected = np.corrcoef(seed, data.T.astype(float))[0, 1:]
    found = correlate_seed(seed, data)
    assert np.allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


def test_planted_correlation_is_found():
    rng = np.random.default_rng(1)
    seed = rng.standard_normal(20000)
    data = 0.6 * seed[:, None] + 0.8 * rng.standard_normal((20000, 4))
    assert correlate_seed(seed, data) == pytest.approx([0.6] * 4, abs=0.02)


def test_several_seeds_are_several_times_one(monkeypatch):
    rng = np.random.default_rng(2)
    data, seeds = rng.standard_normal((60, 25)), rng.standard_normal((60, 4))
    monkeypatch.setattr(correlation, "BLOCK_VOXELS", 6)
    together = correlate_seeds(seeds, data)
    monkeypatch.undo()
    for seed, row in zip(seeds.T, together, strict=True):
        assert np.allclose(correlate_seed(seed, data), row, atol=1e-6)


def test_a_voxel_with_itself_is_one_and_with_its_opposite_minus_one():
    seed = np.random.default_rng(3).standard_normal(50).astype(np.float32)
    found = correlate_seed(seed, np.column_stack([seed, -seed, 3 * seed + 7]))
    assert np.allclose(found, [1, -1, 1], atol=1e-6)
    assert (np.abs(found) <= 1).all()


def test_constant_voxels_and_seeds_are_nan():
    data = np.random.default_rng(4).standard_normal((50, 3)).astype(np.float32)
    data[:, 1] = 1234.5678
    assert np.isnan(correlate_seed(data[:, 0], data)).tolist() == [False, True, False]
    assert np.isnan(correlate_seed(data[:, 1], data)).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    shift=st.floats(-100, 100),
    scale=st.floats(0.01, 100),
    sign=st.sampled_from([-1, 1]),
)
def test_shift_and_scale_do_not_matter(seed, shift, scale, sign):
    rng = np.random.default_rng(seed)
    series, data = rng.standard_normal(40), rng.standard_normal((40, 6))
    first = correlate_seed(series, data)
    assert np.allclose(
        sign * correlate_seed(series, shift + sign * scale * data), first, atol=1e-5
    )
    assert np.allclose(
        sign * correlate_seed(shift + sign * scale * series, data), first, atol=1e-5
    )


def test_lengths_that_differ_are_told():
    with pytest.raises(ValueError, match="volumes"):
        correlate_seed(np.zeros(9), np.zeros((10, 2)))
    with pytest.raises(ValueError, match="at least 3"):
        correlate_seed(np.zeros(2), np.zeros((2, 2)))


@settings(max_examples=200, deadline=None)
@given(a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_fisher_z_is_odd_monotone_and_finite(a, b):
    assert fisher_z(-a) == -fisher_z(a)
    assert np.isfinite(fisher_z(a))
    if a < b:
        assert fisher_z(a) <= fisher_z(b)
    assert inverse_fisher_z(fisher_z(a)) == pytest.approx(a, abs=2e-7)


def test_runs_are_weighted_by_degrees_of_freedom():
    z = np.array([[0.1, np.nan, np.nan], [0.4, 0.3, np.nan], [9.0, 9.0, 9.0]])
    assert combine_runs(z, [30, 60, -5]) == pytest.approx([0.3, 0.3, np.nan], nan_ok=True)
    assert combine_runs(z[:1], [7]) == pytest.approx(z[0], nan_ok=True)
    assert np.isnan(combine_runs(z, [0, 0, -1])).all()


def test_golden_values_hold_while_the_version_stands():
    assert correlation.VERSION == "1", "numbers changed: store new golden values with the version"
    n = np.arange(50.0)
    data = np.column_stack([np.sin(n / 5), np.cos(n / 4), n % 7])
    r = correlate_seed(np.sin(n / 6), data)
    assert np.allclose(r, GOLDEN_R, atol=1e-6)
    assert np.allclose(combine_runs([fisher_z(r), [0.1, 0.2, 0.3]], [20, 40]), GOLDEN_Z, atol=1e-6)


GOLDEN_R = [0.6161078, -0.3184043, 0.0279554]
GOLDEN_Z = [0.3062357, 0.0233765, 0.2093209]
