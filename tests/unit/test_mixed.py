"""Mixed models: closed forms of balanced data, statsmodels, missing sessions, boundaries."""

import warnings

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from rls_bids.errors import InputDataError
from rls_bids.numerics.mixed import MEANS, NOTES, REML, ROWS, WITHIN, fit_mixed


def sessions(rng, n=14, k=2, m=5, spread=1.0):
    """Participants with k sessions each: values, labels, session."""
    labels = np.repeat([f"{i:03}" for i in range(n)], k)
    values = spread * np.repeat(rng.standard_normal((n, m)), k, axis=0)
    return values + rng.standard_normal((n * k, m)), labels, np.tile(np.arange(k), n)


def test_two_complete_sessions_are_a_paired_test(rng) -> None:
    values, labels, session = sessions(rng)
    before = values.copy()
    design = np.column_stack([np.ones(28), session])
    found = fit_mixed(values, design, [0, 1], labels)
    pairs = values.reshape(14, 2, 5)
    expected = stats.ttest_rel(pairs[:, 1], pairs[:, 0])
    np.testing.assert_allclose(found.t, expected.statistic, rtol=1e-6)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-6)
    limits = expected.confidence_interval()
    np.testing.assert_allclose([found.lower, found.upper], [limits.low, limits.high], rtol=1e-6)
    assert (found.df == 13).all()
    np.testing.assert_array_equal(values, before)
    within = np.array(found.method) == REML
    half = (pairs[:, 1] - pairs[:, 0]).var(axis=0, ddof=1) / 2
    np.testing.assert_allclose(found.within[within], half[within], rtol=1e-6)


def test_groups_of_complete_sessions_are_a_test_of_means(rng) -> None:
    values, labels, session = sessions(rng, n=15, k=3)
    group = np.repeat(np.repeat([1.0, 0.0], [6, 9]), 3)
    design = np.column_stack([group, 1 - group, session == 1, session == 2])
    found = fit_mixed(values, design, [1, -1, 0, 0], labels)
    means = values.reshape(15, 3, 5).mean(axis=1)
    expected = stats.ttest_ind(means[:6], means[6:])
    np.testing.assert_allclose(found.t, expected.statistic, rtol=1e-5)
    assert (found.df == 13).all()


def by_statsmodels(values, design, contrast, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = MixedLM(values, design, labels).fit(method="powell", xtol=1e-9)
    effect, between = contrast @ fitted.fe_params, np.asarray(fitted.cov_re)[0, 0]
    # Its own errors come from the Hessian of all parameters; those of the formula are asked for.
    v = between * (labels[:, None] == labels) + fitted.scale * np.eye(len(labels))
    covariance = np.linalg.inv(design.T @ np.linalg.solve(v, design))
    return effect, contrast @ covariance @ contrast, between, fitted.scale


@pytest.mark.parametrize("contrast", [[0, 0, 1.0, 0], [1.0, -1.0, 0, 0], [0, 0, 0, 1.0]])
def test_missing_sessions_beside_statsmodels(rng, contrast) -> None:
    values, labels, session = sessions(rng, n=20, k=3, spread=1.5)
    group = np.repeat(np.arange(20) < 9, 3).astype(float)
    design = np.column_stack([group, 1 - group, session == 2, rng.standard_normal(60)])
    values[rng.random(values.shape) < 0.25] = np.nan
    found = fit_mixed(values, design, contrast, labels)
    assert set(found.method) == {REML}
    for j, column in enumerate(values.T):
        rows = np.isfinite(column)
        expected = by_statsmodels(column[rows], design[rows], np.array(contrast), labels[rows])
        ours = found.effect[j], found.variance[j], found.between[j], found.within[j]
        assert ours == pytest.approx(expected, rel=2e-4, abs=1e-6)
        assert found.n_rows[j] == rows.sum()
        assert found.n_participants[j] == len(np.unique(labels[rows]))


def test_the_likelihood_is_the_largest(rng) -> None:
    """Brute force with full matrices: no other share has a larger restricted likelihood."""
    values, labels, session = sessions(rng, n=10, k=3, m=1)
    rows = rng.random(30) < 0.8
    y, x = values[rows, 0], np.column_stack([np.ones(30), session])[rows]
    same = labels[rows][:, None] == labels[rows]

    def criterion(rho):
        v = rho * same + (1 - rho) * np.eye(len(y))
        a = np.linalg.inv(v)
        beta = np.linalg.solve(x.T @ a @ x, x.T @ a @ y)
        e = y - x @ beta
        df = len(y) - 2
        whole = (
            df * np.log(e @ a @ e) + np.linalg.slogdet(v)[1] + np.linalg.slogdet(x.T @ a @ x)[1]
        )
        return whole, beta[1]

    found = fit_mixed(y[:, None], x, [0, 1], labels[rows])
    rho = found.between[0] / (found.between[0] + found.within[0])
    best = criterion(rho)
    assert found.effect[0] == pytest.approx(best[1], rel=1e-8)
    assert min(criterion(one)[0] for one in np.linspace(0, 0.999, 400)) > best[0] - 1e-9


def test_a_planted_change_is_recovered_from_missing_sessions() -> None:
    """Who comes back is not random: those with low values stay away. Complete pairs waste them."""
    rng = np.random.default_rng(4)
    n, m = 60, 200
    trait = 2.0 * rng.standard_normal((n, m))
    first = trait + rng.standard_normal((n, m))
    second = trait + rng.standard_normal((n, m)) + 0.5
    second[first < -1] = np.nan
    values = np.stack([first, second], axis=1).reshape(2 * n, m)
    design = np.column_stack([np.ones(2 * n), np.tile([0, 1], n)])
    found = fit_mixed(values, design, [0, 1], np.repeat(np.arange(n), 2))
    error = found.effect.std() / np.sqrt(m)
    assert abs(found.effect.mean() - 0.5) < 4 * error
    assert np.mean((found.lower < 0.5) & (found.upper > 0.5)) > 0.9
    naive = np.nanmean(second, axis=0) - np.nanmean(first, axis=0)
    assert naive.mean() > 1.0


def test_boundary_uses_means_or_differences(rng) -> None:
    """Sessions that correlate negatively have no variance between participants."""
    n = 16
    swing = rng.standard_normal((n, 1))
    values = np.stack([swing, -swing], axis=1).reshape(2 * n, 1)
    values = values + 0.1 * rng.standard_normal(values.shape)
    labels, session = np.repeat(np.arange(n), 2), np.tile([0.0, 1.0], n)
    group = np.repeat(np.arange(n) < 7, 2).astype(float)
    design = np.column_stack([group, 1 - group, session])
    between = fit_mixed(values, design, [1, -1, 0], labels)
    assert between.method == (MEANS,)
    assert np.isnan(between.between[0])
    means = values.reshape(n, 2).mean(axis=1)
    assert between.t[0] == pytest.approx(stats.ttest_ind(means[:7], means[7:]).statistic)
    within = fit_mixed(values, design[:, 1:] + design[:, [0]] * [1, 0], [0, 1], labels)
    assert within.method == (WITHIN,)
    pairs = values.reshape(n, 2)
    assert within.t[0] == pytest.approx(stats.ttest_rel(pairs[:, 1], pairs[:, 0]).statistic)
    mixed = np.column_stack([1 - group, group * (1 - session), group * session])
    neither = fit_mixed(values, mixed, [-1, 0, 1], labels)
    assert neither.method == (ROWS,)
    assert set(NOTES) == {REML, MEANS, WITHIN, ROWS}


def test_alarms_under_the_null() -> None:
    """2,000 null columns, a third of second sessions missing: the rate is near .05."""
    rng = np.random.default_rng(6)
    values, labels, session = sessions(rng, n=20, k=2, m=2000)
    gone = (session == 1)[:, None] & (rng.random((20, 1)) < 0.3).repeat(2, axis=0)
    values[np.broadcast_to(gone, values.shape)] = np.nan
    group = np.repeat(np.arange(20) < 10, 2).astype(float)
    design = np.column_stack([group, 1 - group, session])
    for contrast in ([1, -1, 0], [0, 0, 1]):
        found = fit_mixed(values, design, contrast, labels)
        assert 0.03 < (found.p < 0.05).mean() < 0.065


def test_order_of_rows_and_sign_do_not_matter(rng) -> None:
    values, labels, session = sessions(rng)
    values[3, 1] = np.nan
    design = np.column_stack([np.ones(28), session])
    found = fit_mixed(values + 2.0 * session[:, None], design, [0, 1], labels)
    assert (found.effect > 0.5).all()
    order = rng.permutation(28)
    again = fit_mixed((values + 2.0 * session[:, None])[order], design[order], [0, -1],
                      labels[order])  # fmt: skip
    np.testing.assert_allclose(again.effect, -found.effect, rtol=1e-6)
    np.testing.assert_allclose(again.variance, found.variance, rtol=1e-6)


def test_columns_with_too_little_are_not_estimated(rng) -> None:
    values, labels, session = sessions(rng)
    values[:, 0] = 1.0
    values[session == 1, 1] = np.nan
    values[:, 2] = np.nan
    values[4:, 3] = np.nan
    found = fit_mixed(values, np.column_stack([np.ones(28), session]), [0, 1], labels)
    assert found.method[:3] == ("", "", "")
    assert np.isnan(found.t[:3]).all()
    assert found.df[3] == 1  # two participants
    assert found.n_rows.tolist() == [28, 14, 0, 4, 28]
    assert found.n_participants.tolist() == [14, 14, 0, 2, 14]


def test_bad_input(rng) -> None:
    values, labels, session = sessions(rng)
    design = np.column_stack([np.ones(28), session])
    with pytest.raises(InputDataError, match="a mixed model is not needed"):
        fit_mixed(values, design, [0, 1], np.arange(28))
    with pytest.raises(InputDataError, match="missing values in 1 rows"):
        fit_mixed(values, np.where(np.arange(56).reshape(28, 2) == 5, np.nan, design), [0, 1],
                  labels)  # fmt: skip
    with pytest.raises(InputDataError, match="1 participants and 1 parameters"):
        fit_mixed(values[:3], design[[0, 1, 1]], [0, 1], ["a"] * 3)
    with pytest.raises(ValueError, match="same number of each"):
        fit_mixed(values[:9], design, [0, 1], labels)
    with pytest.raises(ValueError, match="3 weights for 2"):
        fit_mixed(values, design, [0, 1, 0], labels)
