"""Group comparisons of tables: oracles, sign, families, and false alarms."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from rls_bids.numerics.columns import compare_columns, mean_interval
from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings

CONTRAST = np.array([1.0, -1.0])


def two_groups(n: int) -> np.ndarray:
    return np.repeat(np.eye(2), n, axis=0)


def compare(values, design, contrast=CONTRAST, n_resamplings=1000, seed=0):
    chosen = choose_exchangeability(design, contrast)
    drawn = draw_resamplings(chosen, design, n_resamplings, seed)
    n = int(design[:, 0].sum())
    scale = (1 / n + 1 / (len(design) - n)) ** 0.5
    return compare_columns(values, design, contrast, drawn, ("hedgesg", scale))


def test_all_groupings_by_hand() -> None:
    """Single-step p over the columns: the share of groupings whose largest |t| is as large."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal((10, 4))
    values[:5, 2] += 2.0
    before = values.copy()
    found = compare(values, two_groups(5))
    t = []
    for first in combinations(range(10), 5):
        rest = [row for row in range(10) if row not in first]
        t.append(np.abs(stats.ttest_ind(values[list(first)], values[rest]).statistic))
    t = np.array(t)
    observed = stats.ttest_ind(values[:5], values[5:])
    np.testing.assert_allclose(found.t, observed.statistic, rtol=1e-10)
    np.testing.assert_allclose(found.p, observed.pvalue, rtol=1e-10)
    limit = np.abs(observed.statistic) * (1 - 1e-6)
    np.testing.assert_allclose(found.p_fwe, (t.max(axis=1)[:, None] >= limit).mean(axis=0))
    np.testing.assert_allclose(found.p_permutation, (t >= limit).mean(axis=0))
    np.testing.assert_allclose(found.effect, values[:5].mean(axis=0) - values[5:].mean(axis=0))
    assert (found.p_fwe >= found.p_permutation).all()
    assert found.df == 8
    np.testing.assert_array_equal(values, before)


def test_the_sign_is_that_of_the_contrast() -> None:
    values = np.random.default_rng(2).standard_normal((16, 2)) + np.repeat([[0, 2], [2, 0]], 8, 0)
    found = compare(values, two_groups(8))
    turned = compare(values, two_groups(8), -CONTRAST)
    assert found.t[0] < -2 < 2 < found.t[1]
    np.testing.assert_allclose(turned.t, -found.t)
    assert (found.g_lower < found.g).all()
    assert (found.g < found.g_upper).all()
    assert found.g[0] < 0 < found.g[1]


def test_columns_that_cannot_be_tested_do_not_count() -> None:
    rng = np.random.default_rng(3)
    good = rng.standard_normal((12, 3))
    nan = rng.standard_normal(12)
    nan[4] = np.nan
    perfect = np.repeat([1.0, 0.0], 6)  # no residual is left
    mixed = np.column_stack([good[:, :1], nan, np.ones(12), perfect, good[:, 1:]])
    found, alone = compare(mixed, two_groups(6)), compare(good, two_groups(6))
    places = [0, 4, 5]
    for name in ("effect", "t", "p", "p_permutation", "p_fwe", "g"):
        np.testing.assert_allclose(getattr(found, name)[places], getattr(alone, name))
        assert np.isnan(getattr(found, name)[[1, 2, 3]]).all()
    nothing = compare(np.ones((12, 2)), two_groups(6))
    assert np.isnan(nothing.p_fwe).all()
    assert nothing.maxima.size == 0


def test_one_degree_of_freedom_has_no_g() -> None:
    design = np.column_stack([np.repeat(np.eye(2), 2, axis=0), [0.5, -0.5, 0.2, -0.2]])
    found = compare([[1.0], [3.0], [2.0], [7.0]], design, np.array([1.0, -1.0, 0.0]))
    assert found.df == 1
    assert np.isfinite(found.t).all()
    assert np.isnan(found.g).all()


def test_rows_must_fit() -> None:
    design = two_groups(4)
    drawn = draw_resamplings(choose_exchangeability(design, CONTRAST), design, 10, 0)
    with pytest.raises(ValueError, match="shape"):
        compare_columns(np.ones((7, 2)), design, CONTRAST, drawn, ("hedgesg", 0.5))


def test_false_alarms_of_families() -> None:
    """200 null studies of 8 correlated metrics with a covariate: a smoke alarm (bound .12)."""
    n_alarms = 0
    for study in range(200):
        rng = np.random.default_rng(study)
        age = rng.standard_normal(16)
        design = np.column_stack([two_groups(8), age - age.mean()])
        shared = rng.standard_normal((16, 1)) + age[:, None]
        values = shared + rng.standard_normal((16, 8))
        found = compare(values, design, np.array([1.0, -1.0, 0.0]), 199, study)
        n_alarms += bool(found.p_fwe.min() <= 0.05)
    assert 0 < n_alarms / 200 <= 0.12


def test_intervals_of_means() -> None:
    values = np.random.default_rng(4).standard_normal((9, 3))
    values[2:, 1] = np.nan
    values[1:, 2] = np.nan
    mean, lower, upper = mean_interval(values)
    for column, n in ((0, 9), (1, 2)):
        own = values[:n, column]
        expected = stats.t.interval(0.95, n - 1, own.mean(), stats.sem(own))
        assert (lower[column], upper[column]) == pytest.approx(expected)
    assert mean[2] == values[0, 2]
    assert np.isnan([lower[2], upper[2]]).all()
    assert np.isnan(mean_interval(np.full((3, 1), np.nan))[0]).all()
