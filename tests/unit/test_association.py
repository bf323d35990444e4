"""Correlations of a score with columns: scipy, closed forms, intervals, false alarms."""

import numpy as np
import pytest
from scipy import stats

from rls_bids.errors import InputDataError
from rls_bids.numerics.association import (
    Bootstrap,
    associate,
    association_design,
    bootstrap_interval,
    partial_correlation,
)
from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings

METHODS = ["spearman", "pearson"]
FEW = Bootstrap(n_samples=100)


def resample(score, covariates=None, method="spearman", n=999):
    design, contrast = association_design(score, covariates, method)
    return draw_resamplings(choose_exchangeability(design, contrast), design, n, 0)


def study(rng, n=30, m=5):
    score = rng.integers(5, 35, n).astype(float)  # with ties, like a severity score
    covariates = rng.standard_normal((n, 2))
    values = rng.standard_normal((n, m)) + 0.05 * score[:, None] + covariates[:, :1]
    return score, values, covariates


def test_equal_to_scipy(rng) -> None:
    score, values, _ = study(rng)
    before = values.copy()
    for method, oracle in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        found = associate(score, values, resample(score, None, method), None, method=method,
                          bootstrap=FEW)  # fmt: skip
        expected = [oracle(score, column) for column in values.T]
        np.testing.assert_allclose(found.r, [one.statistic for one in expected], rtol=1e-10)
        np.testing.assert_allclose(found.p, [one.pvalue for one in expected], rtol=1e-8)
        assert found.df == 28
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("method", METHODS)
def test_partial_correlation_is_that_of_the_inverse_matrix(rng, method) -> None:
    """r_xy·z = −P_xy / √(P_xx P_yy), P the inverse correlation matrix of all."""
    score, values, covariates = study(rng)
    found = partial_correlation(score, values, covariates, method)
    for j, column in enumerate(values.T):
        all_of_them = np.column_stack([score, column, covariates])
        if method == "spearman":
            all_of_them = stats.rankdata(all_of_them, axis=0)
        p = np.linalg.inv(np.corrcoef(all_of_them.T))
        assert found[j] == pytest.approx(-p[0, 1] / np.sqrt(p[0, 0] * p[1, 1]), rel=1e-9)


def test_a_common_cause_is_taken_out(rng) -> None:
    age = rng.standard_normal(400)
    score, values = age + 0.5 * rng.standard_normal(400), age + 0.5 * rng.standard_normal(400)
    assert partial_correlation(score, values[:, None])[0] > 0.7
    assert abs(partial_correlation(score, values[:, None], age)[0]) < 0.15


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("is_corrected", [True, False])
def test_limits_are_those_of_scipy(rng, method, is_corrected) -> None:
    score, values, _ = study(rng, m=1)
    oracle = stats.spearmanr if method == "spearman" else stats.pearsonr

    def r(x, y):
        return oracle(x, y).statistic

    expected = stats.bootstrap(
        (score, values[:, 0]),
        r,
        paired=True,
        vectorized=False,
        n_resamples=300,
        method="BCa" if is_corrected else "percentile",
        random_state=np.random.default_rng(3),
    ).confidence_interval
    rules = Bootstrap(n_samples=300, seed=3, is_corrected=is_corrected)
    lower, upper = bootstrap_interval(score, values, None, method, rules)
    assert (lower[0], upper[0]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_limits_cover_the_truth() -> None:
    """Of 200 columns with r = .5 about 95 % of the intervals hold it."""
    rng = np.random.default_rng(5)
    score = rng.standard_normal(60)
    hits = []
    for _ in range(20):
        score = rng.standard_normal(60)
        values = 0.5 * score[:, None] + np.sqrt(0.75) * rng.standard_normal((60, 10))
        lower, upper = bootstrap_interval(score, values, None, "pearson", Bootstrap(n_samples=500))
        hits += ((lower < 0.5) & (upper > 0.5)).tolist()
    assert 0.88 < np.mean(hits) < 0.99


def test_with_a_covariate_limits_are_of_the_partial_r(rng) -> None:
    """Each sample refits the covariate: the same as a loop over the same rows."""
    score, values, covariates = study(rng, m=2)
    rules = Bootstrap(n_samples=100, seed=4, is_corrected=False)
    lower, upper = bootstrap_interval(score, values, covariates, "spearman", rules)
    rows = np.random.default_rng(4).integers(0, 30, (100, 30))
    each = [partial_correlation(score[i], values[i], covariates[i]) for i in rows]
    np.testing.assert_allclose(lower, np.quantile(each, 0.025, axis=0))
    np.testing.assert_allclose(upper, np.quantile(each, 0.975, axis=0))


def test_permutation_p_by_hand(rng) -> None:
    """Spearman without covariates: the share of orders of the ranks with as large an |r|."""
    from itertools import permutations

    score, values = rng.standard_normal(6), rng.standard_normal((6, 3))
    found = associate(score, values, resample(score, n=1000), bootstrap=FEW)
    r = np.array([
        [stats.spearmanr(score, column[list(order)]).statistic for column in values.T]
        for order in permutations(range(6))
    ])  # fmt: skip
    limit = np.abs(found.r) - 1e-9
    np.testing.assert_allclose(found.p_permutation, (np.abs(r) >= limit).mean(axis=0))
    largest = np.abs(r).max(axis=1)[:, None]
    np.testing.assert_allclose(found.p_fwe, (largest >= limit).mean(axis=0))


def test_sign_and_order_of_columns(rng) -> None:
    score = rng.standard_normal(25)
    values = np.outer(score, [1.0, -1.0, 0.0]) + 0.3 * rng.standard_normal((25, 3))
    found = associate(score, values, resample(score), bootstrap=FEW)
    assert found.r[0] > 0.8
    assert found.r[1] < -0.8
    assert (found.lower < found.r).all()
    assert (found.r < found.upper).all()
    assert found.p_fwe[0] == found.p_fwe[1] == pytest.approx(0.001)


def test_columns_that_cannot_be_correlated(rng) -> None:
    score, values, covariates = study(rng)
    good = associate(score, values, resample(score, covariates), covariates, bootstrap=FEW)
    missing = values[:, 0].copy()
    missing[3] = np.nan
    mixed = np.column_stack([missing, np.ones(30), values, covariates[:, 0]])
    found = associate(score, mixed, resample(score, covariates), covariates, bootstrap=FEW)
    for name in ("r", "lower", "upper", "p", "p_permutation", "p_fwe"):
        np.testing.assert_allclose(getattr(found, name)[2:7], getattr(good, name))
        assert np.isnan(getattr(found, name)[[0, 1, 7]]).all()


def test_false_alarms_with_a_covariate() -> None:
    """200 null studies of 6 columns that share a cause with the score: a smoke alarm (.12)."""
    n_alarms = 0
    for number in range(200):
        rng = np.random.default_rng(number)
        age = rng.standard_normal(18)
        score = age + rng.standard_normal(18)
        values = age[:, None] + rng.standard_normal((18, 6)) + rng.standard_normal((18, 1))
        design, contrast = association_design(score, age)
        drawn = draw_resamplings(choose_exchangeability(design, contrast), design, 99, number)
        found = associate(score, values, drawn, age, bootstrap=FEW)
        n_alarms += bool(found.p_fwe.min() <= 0.05)
    assert 0 < n_alarms / 200 <= 0.12


def test_same_seed_same_limits(rng) -> None:
    score, values, _ = study(rng)
    one = bootstrap_interval(score, values, bootstrap=Bootstrap(n_samples=200, seed=1))
    again = bootstrap_interval(score, values[:, ::-1], bootstrap=Bootstrap(n_samples=200, seed=1))
    np.testing.assert_array_equal(one[0], again[0][::-1])


def test_bad_input(rng) -> None:
    score, values, covariates = study(rng, n=10)
    with pytest.raises(ValueError, match="same number"):
        partial_correlation(score[:9], values)
    with pytest.raises(InputDataError, match="score has missing values in 1 rows"):
        partial_correlation(np.where(np.arange(10) == 2, np.nan, score), values)
    with pytest.raises(InputDataError, match="needs 5 participants or more; found 4"):
        partial_correlation(score[:4], values[:4], covariates[:4])
    with pytest.raises(InputDataError, match="covariates explain it fully"):
        partial_correlation(covariates.sum(axis=1), values, covariates)
    with pytest.raises(ValueError, match="100 or more"):
        bootstrap_interval(score, values, bootstrap=Bootstrap(n_samples=9))
