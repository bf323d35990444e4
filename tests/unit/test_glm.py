"""The linear model against statsmodels and scipy, far tails, and its rate of false alarms."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from rls_bids.errors import InputDataError
from rls_bids.numerics import glm
from rls_bids.numerics.glm import confidence_interval, fdr, fit, fit_robust, t_to_z


def design(n_first, n_second, n_covariates, rng):
    n = n_first + n_second
    group = np.repeat([1.0, 0.0], [n_first, n_second])
    covariates = rng.standard_normal((n, n_covariates)) * 10 ** np.arange(n_covariates)
    return np.column_stack([group, 1 - group, covariates])


def test_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    columns, contrast = design(9, 14, 3, rng), np.array([1.0, -1, 0, 0, 0])
    data = rng.standard_normal((23, 12)) + 0.4
    found = fit(data, columns, contrast)
    for voxel in range(12):
        test = sm.OLS(data[:, voxel], columns).fit().t_test(contrast)
        assert found.effect[voxel] == pytest.approx(test.effect.item())
        assert found.variance[voxel] == pytest.approx(test.sd.item() ** 2)
        assert found.t[voxel] == pytest.approx(test.tvalue.item())
        assert found.p[voxel] == pytest.approx(test.pvalue.item())
    assert found.df == 18


def test_two_groups_without_covariates_are_the_t_test():
    rng = np.random.default_rng(1)
    data = rng.standard_normal((20, 8))
    found = fit(data, design(8, 12, 0, rng), [1, -1])
    expected = stats.ttest_ind(data[:8], data[8:])
    assert np.allclose(found.t, expected.statistic)
    assert np.allclose(found.p, expected.pvalue)
    assert np.allclose(2 * stats.norm.sf(np.abs(found.z)), expected.pvalue)
    assert (np.sign(found.z) == np.sign(found.t)).all()


def test_planted_coefficients_are_found():
    rng = np.random.default_rng(2)
    columns = np.column_stack([np.ones(400), rng.standard_normal((400, 2))])
    data = columns @ np.array([[5.0], [0.7], [-1.5]]) + 0.1 * rng.standard_normal((400, 30))
    assert fit(data, columns, [0, 1, 0]).effect == pytest.approx([0.7] * 30, abs=0.03)
    assert fit(data, columns, [0, 0, 1]).effect == pytest.approx([-1.5] * 30, abs=0.03)


def test_null_p_values_are_uniform():
    rng = np.random.default_rng(3)
    found = fit(rng.standard_normal((16, 20000)), design(8, 8, 3, rng), [1, -1, 0, 0, 0])
    assert stats.kstest(found.p, "uniform").pvalue > 0.01
    assert stats.kstest(found.z, "norm").pvalue > 0.01


def test_redundant_columns_are_allowed_while_the_contrast_stands():
    rng = np.random.default_rng(4)
    columns = design(6, 7, 1, rng)
    data = rng.standard_normal((13, 5))
    twice = np.column_stack([columns, columns[:, 2] * 3])
    first, second = fit(data, columns, [1, -1, 0]), fit(data, twice, [1, -1, 0, 0])
    assert np.allclose(first.t, second.t)
    assert first.df == second.df


def test_what_cannot_be_estimated_is_refused():
    rng = np.random.default_rng(5)
    group = np.repeat([1.0, 0.0], 6)
    site = group.copy()  # each group was scanned at a site of its own
    columns = np.column_stack([np.ones(12), group, site])
    with pytest.raises(InputDataError) as caught:
        fit(rng.standard_normal((12, 3)), columns, [0, 1, 0])
    assert caught.value.message == glm.NOT_ESTIMABLE.format(n_columns=3, rank=2)
    with pytest.raises(InputDataError) as caught:
        fit(rng.standard_normal((4, 3)), rng.standard_normal((4, 4)), [1, 0, 0, 0])
    assert caught.value.message == glm.NO_DF.format(n_rows=4, rank=4)
    with pytest.raises(ValueError, match="shapes"):
        fit(np.zeros((5, 2)), np.zeros((4, 2)), [1, 0])


def test_constant_and_missing_voxels_are_nan():
    rng = np.random.default_rng(6)
    data = rng.standard_normal((12, 4))
    data[:, 1], data[3, 2] = 5.0, np.nan
    found = fit(data, design(6, 6, 1, rng), [1, -1, 0])
    for values in (found.t, found.z, found.p):
        assert np.isnan(values).tolist() == [False, True, True, False]


def test_units_of_covariates_do_not_matter():
    rng = np.random.default_rng(7)
    columns, data = design(8, 9, 2, rng), rng.standard_normal((17, 6))
    scaled = columns * [1, 1, 1e6, 1e-6]
    first, second = fit(data, columns, [1, -1, 0, 0]), fit(data, scaled, [1, -1, 0, 0])
    assert np.allclose(first.t, second.t)


# --- intervals and robust errors ----------------------------------------------------------------


def test_everything_equals_statsmodels_to_eight_digits():
    rng = np.random.default_rng(10)
    columns, contrast = design(9, 14, 3, rng), np.array([1.0, -1, 0.2, 0, 0])
    data = rng.standard_normal((23, 6)) + 0.4
    found = fit(data, columns, contrast)
    robust = fit_robust(data, columns, contrast)
    for level in (0.9, 0.95):
        lower, upper = confidence_interval(found, level)
        for voxel in range(6):
            model = sm.OLS(data[:, voxel], columns)
            test = model.fit().t_test(contrast)
            assert found.t[voxel] == pytest.approx(test.tvalue.item(), rel=1e-8)
            assert found.p[voxel] == pytest.approx(test.pvalue.item(), rel=1e-8)
            limits = test.conf_int(1 - level)[0]
            assert [lower[voxel], upper[voxel]] == pytest.approx(limits, rel=1e-8)
            hc3 = model.fit(cov_type="HC3", use_t=True).t_test(contrast)
            assert robust.t[voxel] == pytest.approx(hc3.tvalue.item(), rel=1e-8)
            assert robust.p[voxel] == pytest.approx(hc3.pvalue.item(), rel=1e-8)
            assert robust.variance[voxel] == pytest.approx(hc3.sd.item() ** 2, rel=1e-8)
    assert np.array_equal(robust.effect, found.effect)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(11)
    columns = design(8, 9, 1, rng)
    data = columns @ np.array([[2.0], [0.5], [0.3]]) + rng.standard_normal((17, 5000))
    lower, upper = confidence_interval(fit(data, columns, [1, -1, 0]))
    assert np.mean((lower < 1.5) & (upper > 1.5)) == pytest.approx(0.95, abs=0.011)


def test_robust_errors_refuse_one_who_decides_alone():
    rng = np.random.default_rng(12)
    columns = np.column_stack([np.ones(10), np.r_[np.zeros(9), 1.0]])
    with pytest.raises(InputDataError) as caught:
        fit_robust(rng.standard_normal((10, 2)), columns, [0, 1])
    expected = glm.LEVERAGE.format(row=10, leverage=1.0, limit=glm.MAX_LEVERAGE)
    assert caught.value.message == expected
    constant = fit_robust(np.ones((8, 1)), np.ones((8, 1)), [1])
    assert np.isnan(constant.t).all()


# --- t to z -------------------------------------------------------------------------------------


@pytest.mark.parametrize("df", [3, 14, 58, 500])
def test_z_has_the_tail_of_t(df):
    t = np.linspace(-12, 12, 101)
    z = t_to_z(t, df)
    assert np.allclose(special.log_ndtr(-np.abs(z)), stats.t.logsf(np.abs(t), df), atol=1e-9)
    assert np.allclose(z, -t_to_z(-t, df))


def test_z_stays_finite_and_in_order_where_probabilities_vanish():
    t = np.array([30.0, 60.0, 100.0, 500.0, 1e4])
    z = t_to_z(t, 1000)
    assert np.isfinite(z).all()
    assert (np.diff(z) > 0).all()
    # The series of the far tail continues the exact values without a step.
    near = np.linspace(50, 58, 200)
    steps = np.diff(t_to_z(near, 1000))
    assert steps.min() > 0
    assert np.ptp(steps) < 0.01 * steps.mean() + 0.005
    t_at = 20.0
    assert glm._log_tail(np.array([t_at]), 30) == pytest.approx(stats.t.logsf(t_at, 30), rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(t=st.floats(-50, 50), df=st.integers(2, 300))
def test_z_is_odd_and_not_larger_than_t(t, df):
    assert t_to_z(-t, df) == -t_to_z(t, df)
    assert abs(t_to_z(t, df)) <= abs(t) + 1e-9
    assert t_to_z(np.nan, df) != t_to_z(np.nan, df)


# --- fdr ----------------------------------------------------------------------------------------


def test_fdr_agrees_with_statsmodels():
    p = np.random.default_rng(8).uniform(size=300) ** 2
    assert np.allclose(fdr(p), multipletests(p, method="fdr_bh")[1])


def test_fdr_leaves_missing_out():
    p = np.array([0.01, np.nan, 0.02, 0.9])
    found = fdr(p)
    assert np.isnan(found[1])
    assert np.allclose(found[[0, 2, 3]], fdr([0.01, 0.02, 0.9]))
    assert np.isnan(fdr([np.nan, np.nan])).all()
    assert fdr(np.zeros((0,))).size == 0


def test_golden_values_hold_while_the_version_stands():
    assert glm.VERSION == "1", "numbers changed: store new golden values with the new version"
    n = np.arange(12.0)
    data = np.column_stack([np.sin(n), np.cos(n * n), n % 5])
    columns = np.column_stack([n < 5, n >= 5, np.sqrt(n)]).astype(float)
    found = fit(data, columns, [1, -1, 0])
    assert np.allclose([found.effect, found.t, found.z, found.p], GOLDEN, atol=1e-8)


GOLDEN = [
    [0.0484850675, -1.9614293618, 2.9775636204],
    [0.0592130745, -3.8804767591, 2.2173109567],
    [0.0575885925, -2.9002466343, 1.9284463943],
    [0.9540763365, 0.0037286915, 0.0537996258],
]
