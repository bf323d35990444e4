"""Hedges g against its definition and its interval against coverage and the noncentral t."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rls_bids.numerics import effects
from rls_bids.numerics.effects import (
    correction,
    hedges_g,
    noncentrality,
    paired_effects,
    partial_eta_squared,
    standardised,
)


def test_g_is_the_corrected_standardised_difference():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal(9) + 1, rng.standard_normal(13)
    t = stats.ttest_ind(first, second).statistic
    pooled = np.sqrt((8 * first.var(ddof=1) + 12 * second.var(ddof=1)) / 20)
    d = (first.mean() - second.mean()) / pooled
    assert hedges_g(t, 20, 9, 13)[0] == pytest.approx(d * correction(20))
    assert correction(20) == pytest.approx(1 - 3 / (4 * 20 - 1), abs=2e-4)


@pytest.mark.parametrize("ci", [0.9, 0.95])
def test_bounds_put_t_in_the_tails_of_the_noncentral_t(ci):
    t, df, n1, n2 = 2.3, 27, 14, 17
    _, lower, upper = hedges_g(t, df, n1, n2, ci=ci)
    scale = np.sqrt(1 / n1 + 1 / n2)
    assert stats.nct.sf(t, df, lower / scale) == pytest.approx((1 - ci) / 2, abs=1e-7)
    assert stats.nct.cdf(t, df, upper / scale) == pytest.approx((1 - ci) / 2, abs=1e-7)


def test_interval_covers_the_planted_difference_as_often_as_it_says():
    rng = np.random.default_rng(1)
    delta, n = 1.2, 8
    first = rng.standard_normal((n, 4000)) + delta
    second = rng.standard_normal((n, 4000))
    t = stats.ttest_ind(first, second).statistic
    g, lower, upper = hedges_g(t, 2 * n - 2, n, n)
    covered = np.mean((lower <= delta) & (delta <= upper))
    assert covered == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors
    assert g.mean() == pytest.approx(delta, abs=0.03)  # d itself would be 1.27


@pytest.mark.parametrize(("df", "n1", "n2"), [(4, 3, 3), (14, 8, 8), (55, 20, 40)])
def test_the_table_of_a_map_is_exact_to_a_thousandth(df, n1, n2):
    t = np.random.default_rng(2).standard_t(df, 5000)
    t[:3] = [25.0, -30.0, np.nan]
    from_table = hedges_g(t, df, n1, n2)
    chosen = np.r_[0:60]
    exact = hedges_g(t[chosen], df, n1, n2)
    for a, b in zip(from_table, exact, strict=True):
        assert np.allclose(a[chosen], b, atol=1e-3, equal_nan=True)
    order = np.argsort(t[3:])
    for bound in from_table[1:]:
        assert (np.diff(bound[3:][order]) >= 0).all()


@settings(max_examples=25, deadline=None)
@given(t=st.floats(-12, 12), df=st.integers(4, 120))
def test_signs_change_places(t, df):
    g, lower, upper = hedges_g(t, df, 7, 9)
    g_minus, lower_minus, upper_minus = hedges_g(-t, df, 7, 9)
    assert (g, lower, upper) == pytest.approx((-g_minus, -upper_minus, -lower_minus), abs=1e-6)
    assert lower < upper
    assert lower <= g <= upper


def test_shape_is_kept_and_missing_stays_missing():
    t = np.array([[1.0, np.nan], [-2.0, 0.0]])
    for values in hedges_g(t, 10, 6, 6):
        assert values.shape == (2, 2)
        assert np.isnan(values).tolist() == [[False, True], [False, False]]
    assert np.isnan(hedges_g(np.full(3, np.nan), 10, 6, 6)).all()


def test_too_small_groups_are_told():
    for df, n1, n2 in ((1, 2, 1), (10, 0, 12)):
        with pytest.raises(ValueError, match="groups of"):
            hedges_g(1.0, df, n1, n2)


def test_noncentrality_inverts_the_distribution_far_out():
    for t in (-15.0, 0.0, 40.0):
        shift = noncentrality(t, 30, 0.025)
        assert stats.nct.cdf(t, 30, shift) == pytest.approx(0.025, abs=1e-6)


# --- paired, and of F ---------------------------------------------------------------------------


def test_paired_effects_are_their_definitions(rng):
    before = rng.standard_normal((15, 3))
    after = 0.7 * before + 0.5 * rng.standard_normal((15, 3)) + [0.0, 0.4, -1.5]
    found = paired_effects(after, before)
    t = stats.ttest_rel(after, before).statistic
    assert np.allclose(found.d_z, t / np.sqrt(15))
    average = (after.std(axis=0, ddof=1) + before.std(axis=0, ddof=1)) / 2
    assert np.allclose(found.g_av, correction(14) * (after - before).mean(axis=0) / average)
    for voxel in range(3):
        for limit, tail in ((found.d_z_lower, stats.nct.sf), (found.d_z_upper, stats.nct.cdf)):
            share = tail(t[voxel], 14, limit[voxel] * np.sqrt(15))
            assert share == pytest.approx(0.025, abs=1e-6)
    assert (found.g_av_lower < found.g_av).all()
    assert (found.g_av < found.g_av_upper).all()
    back = paired_effects(before, after)
    assert np.allclose(back.g_av, -found.g_av)
    assert np.allclose(back.g_av_lower, -found.g_av_upper)


def test_paired_intervals_cover_the_planted_effect():
    rng = np.random.default_rng(9)
    n, rho, delta = 12, 0.6, 0.8
    shared = rng.standard_normal((n, 4000))
    before, after = (
        np.sqrt(rho) * shared + np.sqrt(1 - rho) * rng.standard_normal((n, 4000)) for _ in range(2)
    )
    found = paired_effects(after + delta, before)
    d_z = delta / np.sqrt(2 - 2 * rho)
    assert np.mean((found.d_z_lower < d_z) & (d_z < found.d_z_upper)) == pytest.approx(
        0.95, abs=0.012
    )
    assert np.mean((found.g_av_lower < delta) & (delta < found.g_av_upper)) > 0.92
    assert found.g_av.mean() == pytest.approx(delta, abs=0.04)


def test_eta_squared_is_the_share_of_squares(rng):
    groups = [rng.standard_normal(n) + shift for n, shift in ((8, 0.0), (9, 0.5), (7, 1.0))]
    f = stats.f_oneway(*groups).statistic
    every = np.concatenate(groups)
    within = sum(((one - one.mean()) ** 2).sum() for one in groups)
    total = ((every - every.mean()) ** 2).sum()
    assert partial_eta_squared(f, 2, 21) == pytest.approx(1 - within / total)
    with pytest.raises(ValueError, match="Degrees of freedom"):
        partial_eta_squared(1.0, 0, 5)


def test_measurements_that_do_not_pair_are_told():
    for after, before in ((np.ones((4, 2)), np.ones((5, 2))), (np.ones((2, 1)), np.ones((2, 1)))):
        with pytest.raises(ValueError, match="two of the same"):
            paired_effects(after, before)
    assert np.isnan(paired_effects(np.full((5, 1), 3.0), np.full((5, 1), 2.0)).d_z).all()


def test_golden_values_hold_while_the_version_stands():
    assert effects.VERSION == "1", "numbers changed: store new golden values with the new version"
    assert np.allclose(hedges_g([-1.0, 0.5, 4.0], 21, 12, 13), GOLDEN, atol=1e-6)


GOLDEN = [
    [-0.38582168, 0.19291084, 1.54328673],
    [-1.18947766, -0.58911103, 0.66695196],
    [0.39809594, 0.98472273, 2.50784886],
]


@pytest.mark.parametrize(("t", "df"), [(10.0, 2), (26.0, 3), (60.0, 2), (59.0, 4)])
def test_limits_of_very_small_studies(t, df):
    """scipy's noncentral t has no values there; simulated quantiles are the oracle."""
    rng = np.random.default_rng(7)
    for probability in (0.975, 0.025):
        shift = noncentrality(t, df, probability)
        spread = np.sqrt(rng.chisquare(df, 400_000) / df)
        below = ((rng.standard_normal(400_000) + shift) / spread <= t).mean()
        assert below == pytest.approx(probability, abs=0.002)
    size = standardised(np.linspace(-t, t, 400), df, 0.5)
    assert np.isfinite(size).all()


@pytest.mark.parametrize("df", [1, 2, 3, 4])
@pytest.mark.parametrize("probability", [0.025, 0.975])
def test_bounds_of_large_t_with_few_degrees_of_freedom(df: int, probability: float) -> None:
    # From 30 on scipy's distribution is not a number at places that the search passes.
    for t in np.sinh(np.linspace(0, np.arcsinh(300), 12)):
        shift = effects.noncentrality(float(t), df, probability)
        assert stats.nct.cdf(t, df, shift) == pytest.approx(probability, abs=1e-6)
