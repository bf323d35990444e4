"""Hedges g against its definition and its interval against coverage and the noncentral t."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rls_bids.numerics import effects
from rls_bids.numerics.effects import correction, hedges_g, noncentrality


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


def test_golden_values_hold_while_the_version_stands():
    assert effects.VERSION == "1", "numbers changed: store new golden values with the new version"
    assert np.allclose(hedges_g([-1.0, 0.5, 4.0], 21, 12, 13), GOLDEN, atol=1e-6)


GOLDEN = [
    [-0.38582168, 0.19291084, 1.54328673],
    [-1.18947766, -0.58911103, 0.66695196],
    [0.39809594, 0.98472273, 2.50784886],
]
