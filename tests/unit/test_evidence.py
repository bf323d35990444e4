"""Bayes factors against published values, equivalence and power against statsmodels."""

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from rls_bids.numerics import evidence
from rls_bids.numerics.evidence import (
    SCALES,
    bayes_factor,
    effective_size,
    equivalence,
    smallest_effect,
)
from rls_bids.numerics.glm import fit


def test_published_bayes_factor():
    """Student's sleep data, as in the manual of R's BayesFactor: 17.25888 (r = .707)."""
    first = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    second = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    t = stats.ttest_rel(first, second).statistic
    assert bayes_factor(t, 9, effective_size(10)) == pytest.approx(17.25888, rel=1e-5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("t", "n1", "n2"), [(0.0, 12, 14), (2.2, 20, 20), (-3.5, 9, 30), (8.0, 15, 15)]
)
def test_bayes_factor_is_the_average_over_effects(t, n1, n2, scale):
    """The same by another way: the noncentral t, averaged over a Cauchy prior on the effect."""
    df, size = n1 + n2 - 2, effective_size(n1, n2)

    def weighted(angle):
        delta = scale * np.tan(angle)  # the prior is uniform in the angle
        return stats.nct.pdf(t, df, delta * np.sqrt(size)) / np.pi

    average = integrate.quad(weighted, -1.45, 1.45, limit=300, points=[0.0])[0]
    assert bayes_factor(t, df, size, scale) == pytest.approx(
        average / stats.t.pdf(t, df), rel=0.02
    )


def test_bayes_factor_has_no_sign_and_grows_with_t():
    assert bayes_factor(2.0, 30, 16.0) == pytest.approx(bayes_factor(-2.0, 30, 16.0))
    values = [bayes_factor(t, 30, 16.0) for t in (0.0, 1.0, 2.0, 4.0, 10.0, 40.0)]
    assert (np.diff(values) > 0).all()
    assert values[0] < 1 / 3 + 0.05
    assert np.isfinite(values).all()
    assert np.isnan(bayes_factor(np.nan, 30, 16.0))
    large = bayes_factor(0.0, 398, effective_size(200, 200))
    assert large < 0.15  # evidence for nothing grows with the sample


@pytest.mark.parametrize("shift", [0.0, 0.6, 2.0])
def test_equivalence_is_that_of_statsmodels(shift, rng):
    first, second = rng.standard_normal(24) + shift, rng.standard_normal(30)
    design = np.repeat(np.eye(2), [24, 30], axis=0)
    fitted = fit(np.r_[first, second][:, None], design, [1, -1])
    found = equivalence(fitted.effect, fitted.variance, fitted.df, 0.7)
    expected = ttost_ind(first, second, -0.7, 0.7, usevar="pooled")[0]
    assert found.p.item() == pytest.approx(expected, rel=1e-8)
    inside = found.lower.item() > -0.7 and found.upper.item() < 0.7
    assert inside == (expected < 0.05)
    paired = first - second[:24]
    once = equivalence(paired.mean(), paired.var(ddof=1) / 24, 23, 0.5)
    assert once.p == pytest.approx(ttost_paired(first, second[:24], -0.5, 0.5)[0], rel=1e-8)


@pytest.mark.parametrize(("n1", "n2"), [(8, 8), (20, 20), (15, 40)])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_smallest_effect_is_that_of_statsmodels(n1, n2, alpha):
    found = smallest_effect(n1 + n2 - 2, effective_size(n1, n2), alpha=alpha)
    expected = TTestIndPower().solve_power(nobs1=n1, ratio=n2 / n1, alpha=alpha, power=0.8)
    assert found == pytest.approx(expected, rel=1e-4)
    single = smallest_effect(n1 - 1, effective_size(n1), power=0.9)
    assert single == pytest.approx(
        TTestPower().solve_power(nobs=n1, alpha=0.05, power=0.9), rel=1e-4
    )


def test_the_smallest_effect_is_found_as_often_as_it_says(rng):
    d = smallest_effect(28, effective_size(15, 15))
    first, second = rng.standard_normal((2, 15, 20000))
    p = stats.ttest_ind(first + d, second).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.01)


def test_power_where_the_far_tail_of_scipy_is_missing():
    """statsmodels has NaN here, and with it another answer; 400,000 studies have .900."""
    found = smallest_effect(7, 8.0, alpha=0.001, power=0.9)
    assert found == pytest.approx(2.6425, abs=1e-4)
    limit = stats.t.isf(0.0005, 7)
    assert stats.nct.sf(limit, 7, found * np.sqrt(8)) == pytest.approx(0.9)


def test_bad_input_is_told():
    for function in (lambda: bayes_factor(1.0, 0, 10), lambda: smallest_effect(10, 0)):
        with pytest.raises(ValueError, match="effective sample size"):
            function()
    with pytest.raises(ValueError, match="bound of equivalence"):
        equivalence(0.0, 1.0, 10, 0.0)
    with pytest.raises(ValueError, match="expected 0 < α < power"):
        smallest_effect(10, 5, alpha=0.5, power=0.4)


def test_golden_values_hold_while_the_version_stands():
    assert evidence.VERSION == "1", "numbers changed: store new golden values with the new version"
    found = [
        bayes_factor(1.3, 21, 6.0),
        smallest_effect(21, 6.0),
        float(equivalence(0.2, 0.1, 21, 1).p),
    ]
    assert found == pytest.approx(GOLDEN, rel=1e-6)


GOLDEN = [0.6843054079758725, 1.1995032324696744, 0.009739557789814295]
