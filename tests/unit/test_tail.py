"""The fitted tail: known distributions, its rate of refusal, p of many resamplings from few."""

import numpy as np
import pytest
from scipy import stats

from rls_bids.numerics import tail as module
from rls_bids.numerics.tail import fit_tail, tail_p


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
def test_parameters_of_a_pareto_distribution_are_found(shape):
    rng = np.random.default_rng(4)
    found = [
        module._estimate(
            np.sort(stats.genpareto.rvs(shape, scale=2.0, size=300, random_state=rng))
        )
        for _ in range(60)
    ]
    shapes, scales = np.array(found).T
    assert shapes.mean() == pytest.approx(shape, abs=0.04)
    assert scales.mean() == pytest.approx(2.0, abs=0.1)
    assert module._log_tail(np.array([1.5]), shape, 2.0) == pytest.approx(
        stats.genpareto.logsf(1.5, shape, scale=2.0), rel=1e-9
    )


@pytest.mark.parametrize("shape", [-0.4, 0.0, 0.4])
def test_the_critical_value_refuses_one_in_twenty(shape):
    rng = np.random.default_rng(5)
    n_refused = 0
    for _ in range(1000):
        values = np.sort(stats.genpareto.rvs(shape, size=125, random_state=rng))
        found, scale = module._estimate(values)
        limit = module.CRITICAL + module.CRITICAL_SLOPE * found
        n_refused += module._anderson_darling(values, found, scale) > limit
    assert 0.03 < n_refused / 1000 < 0.075


def test_anderson_darling_is_that_of_scipy():
    values = np.sort(np.random.default_rng(6).exponential(size=80))
    scale = values.mean()
    expected = stats.anderson(values, "expon").statistic
    assert module._anderson_darling(values, 0.0, scale) == pytest.approx(expected)


def test_tails_of_known_distributions(rng):
    for distribution in (stats.norm, stats.gumbel_r, stats.chi2(4), stats.expon):
        p = np.array([0.05, 0.01, 0.003])
        found = []
        for _ in range(40):
            maxima = np.r_[0.0, distribution.rvs(size=1000, random_state=rng)]
            found.append(tail_p(maxima, distribution.isf(p)))
        assert np.abs(np.log10(np.median(found, axis=0) / p)).max() < 0.08


def test_few_resamplings_give_the_p_of_many():
    """200 data sets, 500 resamplings and a tail against the exact tail of the same statistic."""
    rng = np.random.default_rng(7)
    ratios = []
    for _ in range(200):
        n = 20
        values = rng.standard_normal((n, 1))
        target = 10 ** rng.uniform(-3, -1)
        signs = rng.choice([-1.0, 1.0], (20_000, n))
        means = np.abs(signs @ values)[:, 0]
        observed = np.quantile(means, 1 - target)
        expected = (1 + (means >= observed).sum()) / 20_001
        fresh = np.abs(rng.choice([-1.0, 1.0], (500, n)) @ values)[:, 0]
        ratios.append(tail_p(np.r_[observed, fresh], observed) / expected)
    assert np.median(np.abs(np.log10(ratios))) <= 0.1
    assert abs(np.median(np.log10(ratios))) <= 0.05


@pytest.mark.parametrize("n_values", [1, 1000])
def test_normal_values_and_their_maxima_meet_the_bound_against_the_exact_tail(n_values):
    """Three seeds of 200 sets each: 500 two-sided values and a p in [.001, .1] that is known."""
    medians = []
    for seed in range(3):
        rng, log = np.random.default_rng([8, seed]), []
        for _ in range(200):
            p = 10 ** rng.uniform(-3, -1)
            drawn = stats.norm.isf(-np.expm1(np.log(rng.random(500)) / n_values) / 2)
            value = stats.norm.isf(-np.expm1(np.log1p(-p) / n_values) / 2)
            log.append(np.log10(tail_p(np.r_[value, drawn], value, is_normal=True) / p))
        medians.append([np.median(np.abs(log)), abs(np.median(log))])
    assert np.mean(medians, axis=0)[0] <= 0.1
    assert np.max(medians, axis=0)[1] <= 0.04


def test_p_of_normal_values_is_that_of_their_squares(rng):
    """One-sided values may be negative; the order, and p of the middle, stay."""
    maxima = np.r_[0.0, rng.standard_normal(999)]
    grid = np.linspace(-4, 12, 2000)
    found = tail_p(maxima, grid, is_normal=True)
    assert (np.diff(found) <= 1e-12).all()
    assert found[-1] == pytest.approx(1 / 9990)
    middle = grid < 0.6
    assert np.array_equal(found[middle], tail_p(maxima, grid)[middle])
    value = np.array([2.0, 3.0])
    fitted = fit_tail(maxima[1:] * np.abs(maxima[1:]), module.N_PRIOR_NORMAL)
    expected = fitted.share * stats.genpareto.sf(
        value**2, fitted.shape, loc=fitted.threshold, scale=fitted.scale
    )
    assert tail_p(maxima, value, is_normal=True) == pytest.approx(expected)
    assert np.abs(np.log10(expected / stats.norm.sf(value))).max() < 0.2


def test_p_goes_down_without_a_step_and_has_a_floor(rng):
    maxima = np.r_[0.0, rng.standard_normal(999)]
    found = tail_p(maxima, np.linspace(-3, 40, 3000))
    assert (np.diff(found) <= 1e-12).all()
    assert found[0] > 0.99
    assert found[-1] == pytest.approx(1 / 9990)
    fitted = fit_tail(maxima[1:])
    around = tail_p(maxima, fitted.threshold + np.array([-1e-6, 1e-6]))
    assert around[1] == pytest.approx(around[0], rel=1e-3)


def test_tails_that_are_none_are_not_fitted(rng):
    steps = np.round(rng.exponential(size=1000) * 0.4)
    assert fit_tail(steps) is None
    maxima = np.r_[2.0, steps]
    expected = (1 + (steps >= 2.0).sum()) / 1001
    assert tail_p(maxima, 2.0) == pytest.approx(expected)
    assert fit_tail(np.zeros(600)) is None


def test_too_few_are_refused(rng):
    with pytest.raises(ValueError, match="500 or more"):
        fit_tail(rng.standard_normal(499))


def test_golden_values_hold_while_the_version_stands():
    assert module.VERSION == "1", "numbers changed: store new golden values with the new version"
    values = stats.gumbel_r.ppf((np.arange(800) + 0.5) / 800)
    found = fit_tail(values)
    assert found.n_exceedances == 200
    assert [found.threshold, found.scale, found.shape] == pytest.approx(GOLDEN, abs=1e-6)


GOLDEN = [1.2459023122, 1.0964582074, -0.0235309811]
