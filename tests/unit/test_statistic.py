"""Statistics of resampled data against fitting every resampled data set by itself."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.multivariate.manova import MANOVA
from statsmodels.stats.oneway import anova_oneway

from rls_bids.errors import InputDataError
from rls_bids.numerics import ftest, statistic, statistic_kernels, welch
from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.ftest import f_to_z, fit_f
from rls_bids.numerics.glm import fit, partition, t_to_z
from rls_bids.numerics.statistic import prepare_statistic, reduce, resampled_z
from rls_bids.numerics.welch import fit_welch


def groups(*sizes):
    return np.repeat(np.eye(len(sizes)), sizes, axis=0)


def shuffled(n, n_rows, rng, *, is_flipped):
    """Resamplings of every kind, the data as they are first."""
    order = np.stack([np.arange(n)] + [rng.permutation(n) for _ in range(n_rows - 1)])
    sign = np.ones((n_rows, n), dtype=np.int8)
    if is_flipped:
        order[:] = np.arange(n)
        sign[1:] = rng.choice([-1, 1], (n_rows - 1, n))
    return Resamplings(
        order=order.astype(np.int32), sign=sign, n_distinct=10**9, is_exhaustive=False
    )


def freedman_lane(data, design, contrast, resamplings, row):
    """Return the data set that Freedman & Lane would fit: reduced fit + resampled residuals."""
    parts = partition(design, contrast)
    fitted = parts.nuisance @ (parts.nuisance.T @ data)
    residual = data - fitted
    moved = residual[resamplings.order[row]] * resamplings.sign[row][:, None]
    return fitted + moved


@pytest.mark.parametrize("is_flipped", [False, True])
def test_t_is_that_of_the_resampled_data(is_flipped, rng):
    design = np.column_stack([groups(9, 12), rng.standard_normal((21, 2))])
    contrast, data = [1, -1, 0, 0.5], rng.standard_normal((21, 15)) + 3
    test = prepare_statistic(design, contrast)
    resamplings = shuffled(21, 6, rng, is_flipped=is_flipped)
    found = resampled_z(reduce(data, test), test, resamplings, slice(0, 6))
    for row in range(6):
        again = fit(freedman_lane(data, design, contrast, resamplings, row), design, contrast)
        assert np.allclose(found[row], again.z, atol=2e-4)
    assert (test.name, test.is_signed) == ("t", True)


def test_f_is_that_of_the_resampled_data(rng):
    design = np.column_stack([groups(6, 8, 7), rng.standard_normal(21)])
    contrasts = [[1, -1, 0, 0], [0, 1, -1, 0]]
    data = rng.standard_normal((21, 15)) + groups(6, 8, 7) @ rng.standard_normal((3, 15))
    test = prepare_statistic(design, contrasts)
    resamplings = shuffled(21, 5, rng, is_flipped=False)
    found = resampled_z(reduce(data, test), test, resamplings, slice(0, 5))
    for row in range(5):
        moved = freedman_lane(data, design, contrasts, resamplings, row)
        assert np.allclose(found[row], fit_f(moved, design, contrasts).z, atol=2e-3)
    assert (test.name, test.is_signed) == ("F", False)


def test_welch_is_that_of_the_resampled_data(rng):
    sizes = np.repeat([0, 1, 2], [7, 11, 9])
    design = np.column_stack([groups(7, 11, 9), rng.standard_normal(27)])
    data = rng.standard_normal((27, 12)) * (1.0 + sizes)[:, None]
    resamplings = shuffled(27, 5, rng, is_flipped=True)
    for contrast, name in (([1, -1, 0, 0], "v"), ([[1, -1, 0, 0], [0, 1, -1, 0]], "G")):
        test = prepare_statistic(design, contrast, variance_groups=sizes)
        assert test.name == name
        found = resampled_z(reduce(data, test), test, resamplings, slice(0, 5))
        for row in range(5):
            moved = freedman_lane(data, design, contrast, resamplings, row)
            again = fit_welch(moved, design, contrast, sizes)
            near = again.z > -1.5  # where F is all but 0 the table is coarse, and nobody looks
            assert np.allclose(found[row][near], again.z[near], atol=1e-3)
            assert np.allclose(found[row], again.z, atol=1e-2)


def test_pillai_is_that_of_statsmodels(rng):
    design = np.column_stack([groups(8, 9, 10), rng.standard_normal(27)])
    contrasts = np.array([[1.0, -1, 0, 0], [0, 1, -1, 0]])
    data = rng.standard_normal((27, 2, 6))
    test = prepare_statistic(design, contrasts, n_responses=2)
    one = shuffled(27, 1, rng, is_flipped=False)
    found = resampled_z(reduce(data, test), test, one, slice(0, 1))[0]
    for voxel in range(6):
        table = MANOVA(data[:, :, voxel], design).mv_test([("c", contrasts)]).results["c"]
        p = float(table["stat"].loc["Pillai's trace", "Pr > F"])
        assert stats.norm.sf(found[voxel]) == pytest.approx(p, rel=2e-3)
    assert test.name == "Pillai"


def test_one_sample_of_several_measurements_is_hotelling(rng):
    data = rng.standard_normal((14, 3, 5)) + 0.4
    test = prepare_statistic(np.ones((14, 1)), [1], n_responses=3)
    one = shuffled(14, 1, rng, is_flipped=True)
    found = resampled_z(reduce(data, test), test, one, slice(0, 1))[0]
    for voxel in range(5):
        values = data[:, :, voxel]
        mean, covariance = values.mean(axis=0), np.cov(values, rowvar=False)
        squared = 14 * mean @ np.linalg.solve(covariance, mean)
        p = stats.f.sf(squared * (14 - 3) / (3 * 13), 3, 11)
        assert stats.norm.sf(found[voxel]) == pytest.approx(p, rel=2e-3)


# --- Welch --------------------------------------------------------------------------------------


def test_v_of_two_groups_is_welchs_t(rng):
    data = rng.standard_normal((23, 8)) * np.repeat([1.0, 3.0], [8, 15])[:, None]
    found = fit_welch(data, groups(8, 15), [1, -1], np.repeat(["a", "b"], [8, 15]))
    expected = stats.ttest_ind(data[:8], data[8:], equal_var=False)
    assert np.allclose(found.statistic, expected.statistic, rtol=1e-10)
    assert np.allclose(found.df, expected.df, rtol=1e-10)
    assert np.allclose(found.p, expected.pvalue, rtol=1e-10)
    assert np.allclose(found.group_sd[1], data[8:].std(axis=0, ddof=1))


def test_g_of_three_groups_is_welchs_anova(rng):
    sizes = np.repeat([0, 1, 2], [6, 9, 12])
    data = rng.standard_normal((27, 5)) * (1.0 + sizes)[:, None]
    found = fit_welch(data, groups(6, 9, 12), [[1, -1, 0], [0, 1, -1]], sizes)
    for voxel in range(5):
        expected = anova_oneway(data[:, voxel], sizes, use_var="unequal")
        assert found.statistic[voxel] == pytest.approx(expected.statistic, rel=1e-9)
        assert found.df[voxel] == pytest.approx(expected.df_denom, rel=1e-9)
        assert found.p[voxel] == pytest.approx(expected.pvalue, rel=1e-9)


def test_v_keeps_its_rate_where_t_does_not(rng):
    sizes = np.repeat([0, 1], [15, 30])
    data = rng.standard_normal((45, 20000)) * np.repeat([2.0, 1.0], [15, 30])[:, None]
    assert np.mean(fit_welch(data, groups(15, 30), [1, -1], sizes).p < 0.05) < 0.055
    assert np.mean(fit(data, groups(15, 30), [1, -1]).p < 0.05) > 0.1


# --- F and z ------------------------------------------------------------------------------------


def test_f_agrees_with_statsmodels(rng):
    design = np.column_stack([groups(6, 7, 8), rng.standard_normal((21, 2)) * [1, 1e4]])
    contrasts = np.array([[1.0, -1, 0, 0, 0], [0, 1, -1, 0, 0], [1, 0, -1, 0, 0]])
    data = rng.standard_normal((21, 6)) + 5
    found = fit_f(data, design, contrasts)  # the third row repeats the others
    for voxel in range(6):
        expected = sm.OLS(data[:, voxel], design).fit().f_test(contrasts[:2])
        assert found.f[voxel] == pytest.approx(float(expected.fvalue), rel=1e-8)
        assert found.p[voxel] == pytest.approx(float(expected.pvalue), rel=1e-8)
    assert found.df == (2, 16)
    constant = fit_f(np.ones((21, 1)), design, contrasts)
    assert np.isnan(constant.f).all()


def test_f_of_one_contrast_is_t_squared(rng):
    design, data = np.column_stack([groups(6, 7), np.arange(13)]), rng.standard_normal((13, 4))
    assert np.allclose(fit_f(data, design, [[1, -1, 0]]).f, fit(data, design, [1, -1, 0]).t ** 2)


@pytest.mark.parametrize(("df1", "df2"), [(1, 5), (2, 14), (6, 80)])
def test_z_has_the_tail_of_f(df1, df2):
    f = np.geomspace(1e-3, 200, 50)
    assert np.allclose(
        stats.norm.logsf(f_to_z(f, df1, df2)), stats.f.logsf(f, df1, df2), atol=1e-7
    )
    far = f_to_z(np.array([1e3, 1e5, 1e8]), df1, 1000)
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()
    assert np.isnan(f_to_z(np.nan, df1, df2))


@pytest.mark.parametrize("df", [3.3, 8, 40, 300])
def test_the_quick_z_of_t_is_close(df):
    t = np.linspace(-8, 8, 41)
    quick = np.array([statistic_kernels._t_to_z(one, df) for one in t])
    assert np.abs(quick - t_to_z(t, df)).max() < (1e-3 if df < 5 else 5e-5)


# --- what is prepared ---------------------------------------------------------------------------


def test_the_parts_of_a_design_are_orthogonal_and_span_it(rng):
    design = np.column_stack([groups(5, 6, 7), rng.standard_normal((18, 2))])
    parts = partition(design, [[1, -1, 0, 0, 0], [1, 0, -1, 0, 0]])
    both = np.hstack([parts.effect, parts.nuisance])
    assert parts.effect.shape, parts.nuisance.shape == ((18, 2), (18, 3))
    assert np.allclose(both.T @ both, np.eye(5))
    assert np.allclose(both @ (both.T @ design), design)
    reduced = np.column_stack([np.ones(18), design[:, 3:]])  # groups made equal
    assert np.allclose(parts.nuisance @ (parts.nuisance.T @ reduced), reduced)
    for sign in (1, -1):
        effect = partition(design, [sign, -sign, 0, 0, 0]).effect[:, 0]
        assert sign * (effect @ design[:, 0]) > 0


def test_untested_voxels_are_zero(rng):
    data = rng.standard_normal((12, 4))
    data[:, 1], data[5, 2] = 7.0, np.nan
    test = prepare_statistic(groups(6, 6), [1, -1])
    one = shuffled(12, 3, rng, is_flipped=False)
    found = resampled_z(reduce(data, test), test, one, slice(0, 3))
    assert (found[:, [1, 2]] == 0).all()
    assert (found[:, [0, 3]] != 0).all()


def test_what_cannot_be_prepared_is_told(rng):
    design = np.column_stack(
        [groups(3, 9), np.r_[1.0, 2, 4, np.zeros(9)], np.r_[1.0, 0, 1, np.zeros(9)]]
    )
    with pytest.raises(InputDataError) as caught:
        prepare_statistic(design, [1, -1, 0, 0], variance_groups=["a"] * 3 + ["b"] * 9)
    assert caught.value.message == statistic.GROUP_DF.format(label="a", df=0)
    with pytest.raises(InputDataError) as caught:
        prepare_statistic(np.ones((4, 1)), [1], n_responses=4)
    assert caught.value.message == statistic.TOO_MANY.format(n=4, df=0)
    with pytest.raises(ValueError, match="one measurement"):
        prepare_statistic(groups(5, 5), [1, -1], variance_groups=[0] * 5 + [1] * 5, n_responses=2)
    test = prepare_statistic(groups(5, 5), [1, -1], variance_groups=[0] * 5 + [1] * 5)
    moved = shuffled(10, 3, rng, is_flipped=False)
    with pytest.raises(ValueError, match="only signs"):
        resampled_z(reduce(np.eye(10), test), test, moved, slice(0, 3))
    with pytest.raises(ValueError, match="variance group"):
        fit_welch(np.eye(10), groups(5, 5), [1, -1], [0] * 10)
    with pytest.raises(ValueError, match="do not fit"):
        partition(groups(5, 5), [0, 0])


def test_golden_values_hold_while_the_version_stands(rng):
    versions = (statistic.VERSION, statistic_kernels.VERSION, ftest.VERSION, welch.VERSION)
    assert versions == ("1",) * 4, "numbers changed: store new golden values with the new version"
    n = np.arange(12.0)
    data = np.column_stack([np.sin(n), np.cos(n * n), n % 5])
    columns = np.column_stack([n < 5, n >= 5, np.sqrt(n)]).astype(float)
    found = fit_welch(data, columns, [1, -1, 0], n < 5)
    several = fit_f(data, columns, [[1, -1, 0], [0, 0, 1]])
    assert np.allclose([found.statistic, found.df, several.f, several.z], GOLDEN, atol=1e-8)


GOLDEN = [
    [0.0612673, -4.24388874, 2.86855034],
    [6.80898311, 7.80542195, 8.35069248],
    [0.34432921, 7.53518327, 2.79499104],
    [-0.57583639, 2.25868769, 1.20696868],
]
