"""Effect sizes by kind: against the definitions and statsmodels."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from rls_bids.numerics.effects import hedges_g, paired_effects
from rls_bids.numerics.sizes import effect_size


def test_two_groups_and_one() -> None:
    g = effect_size("hedgesg", 2.5, (1, 38), (1 / 15 + 1 / 25) ** 0.5)
    np.testing.assert_allclose(g, hedges_g(2.5, 38, 15, 25))
    before = np.random.default_rng(0).standard_normal((12, 3))
    after = before + 0.5 + 0.3 * np.random.default_rng(1).standard_normal((12, 3))
    t = stats.ttest_rel(after, before).statistic
    found = effect_size("dz", t, (1, 11), (1 / 12) ** 0.5)
    expected = paired_effects(after, before)
    np.testing.assert_allclose(found[0], expected.d_z)
    np.testing.assert_allclose(found[1], expected.d_z_lower)
    np.testing.assert_allclose(found[2], expected.d_z_upper)


def test_a_slope_is_the_correlation_of_residuals() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.standard_normal((40, 3)), columns=["y", "x", "age"])
    frame["y"] += 0.4 * frame["x"] + 0.5 * frame["age"]
    fitted = smf.ols("y ~ x + age", frame).fit()
    r, lower, upper = effect_size("partialr", fitted.tvalues["x"], (1, 37))
    left = [smf.ols(f"{name} ~ age", frame).fit().resid for name in ("y", "x")]
    assert float(r) == pytest.approx(np.corrcoef(left)[0, 1])
    inside = stats.pearsonr(*left).confidence_interval()
    # scipy's interval counts 40 participants, ours one less for the covariate
    assert lower == pytest.approx(inside.low, abs=0.01)
    assert lower < inside.low < inside.high < upper
    assert float(effect_size("partialr", -fitted.tvalues["x"], (1, 37))[0]) == pytest.approx(-r)


def test_f_has_its_share_of_the_variance() -> None:
    assert effect_size("partialeta2", 5.0, (2, 40))[0] == pytest.approx(0.2)
    assert np.isnan(effect_size("partialeta2", 5.0, (2, 40))[1])


def test_one_degree_of_freedom_has_no_size() -> None:
    assert np.isnan(effect_size("hedgesg", [2.0, 3.0], (1, 1), 1.0)).all()
