"""Changes: with scores, and of arms adjusted for the value before, beside statsmodels."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from rls_bids.errors import UsageError
from rls_bids.numerics.association import Bootstrap, association_design
from rls_bids.numerics.change import change_on_change, compare_adjusted
from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings

ARMS = np.repeat(np.eye(2), 11, axis=0)
CONTRAST = [1, -1]


def arms(n=199, seed=0):
    return draw_resamplings(choose_exchangeability(ARMS, CONTRAST), ARMS, n, seed)


def trial(rng, m=5, effect=0.0):
    trait = rng.standard_normal((22, m))
    before, after = (trait + rng.standard_normal((22, m)) for _ in range(2))
    return after + effect * ARMS[:, :1], before


def test_equal_to_statsmodels(rng) -> None:
    after, before = trial(rng, effect=0.5)
    kept = before.copy()
    found = compare_adjusted(after, before, ARMS, CONTRAST, arms(), (11, 11))
    for j in range(5):
        fitted = OLS(after[:, j], np.column_stack([ARMS, before[:, j]])).fit()
        test = fitted.t_test([1, -1, 0])
        assert found.fit.effect[j] == pytest.approx(test.effect.item())
        assert found.fit.statistic[j] == pytest.approx(test.tvalue.item())
        assert found.fit.p[j] == pytest.approx(test.pvalue.item())
    assert found.fit.df[0] == 19
    np.testing.assert_allclose(found.p_permutation, found.fit.p, atol=0.12)
    assert (found.p_fwe >= found.p_permutation - 1e-12).all()
    assert found.maxima.shape == (200,)
    np.testing.assert_array_equal(before, kept)


def test_a_difference_before_is_taken_out() -> None:
    """Arms that differ before by chance: the adjusted effect is the planted one."""
    rng = np.random.default_rng(2)
    after, before = trial(rng, m=200, effect=1.0)
    lucky = (ARMS.T @ before / 11)[0] - (ARMS.T @ before / 11)[1] > 0.5
    assert lucky.sum() > 20
    found = compare_adjusted(after, before, ARMS, CONTRAST, arms(19), (11, 11))
    change = (after - before)[:11].mean(axis=0) - (after - before)[11:].mean(axis=0)
    assert found.fit.effect[lucky].mean() == pytest.approx(1.0, abs=0.2)
    assert change[lucky].mean() < 0.75  # regression to the mean


def test_false_alarms() -> None:
    """200 null trials of 3 regions: a smoke alarm (.12)."""
    hits = []
    for i in range(200):
        after, before = trial(np.random.default_rng(i), m=3)
        found = compare_adjusted(after, before, ARMS, CONTRAST, arms(39, i), (11, 11))
        hits.append(found.p_fwe.min() <= 0.05 + 1e-9)
    assert 0 < np.mean(hits) <= 0.12


def test_columns_that_cannot_be_tested(rng) -> None:
    after, before = trial(rng)
    good = compare_adjusted(after, before, ARMS, CONTRAST, arms(), (11, 11))
    after[:, 0], before[3, 1] = 2.0, np.nan
    found = compare_adjusted(after, before, ARMS, CONTRAST, arms(), (11, 11))
    assert np.isnan(found.p_fwe[:2]).all()
    np.testing.assert_allclose(found.p_permutation[2:], good.p_permutation[2:])
    nothing = compare_adjusted(np.ones((22, 2)), before[:, :2], ARMS, CONTRAST, arms(), (11, 11))
    assert np.isnan(nothing.fit.statistic).all()
    with pytest.raises(ValueError, match="same columns before and after"):
        compare_adjusted(after, before[:, :2], ARMS, CONTRAST, arms(), (11, 11))


def test_change_on_change(rng) -> None:
    score = rng.integers(-20, 5, 18).astype(float)
    motion = rng.standard_normal(18)
    change = np.outer(score, [-0.2, 0.0]) + rng.standard_normal((18, 2))
    design, contrast = association_design(score)
    drawn = draw_resamplings(choose_exchangeability(design, contrast), design, 199, 0)
    few = Bootstrap(n_samples=100)
    found = change_on_change(change, score, drawn, "declared", bootstrap=few)
    expected = [stats.spearmanr(score, column).statistic for column in change.T]
    np.testing.assert_allclose(found.r, expected)
    assert found.r[0] < -0.5
    partial = change_on_change(change, score, drawn, "declared", motion, bootstrap=few)
    assert partial.df == found.df - 1
    with pytest.raises(UsageError, match="without any treatment"):
        change_on_change(change, score, drawn, "same scan")
