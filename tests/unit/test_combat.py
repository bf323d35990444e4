"""ComBat: the formula one feature at a time, planted sites and groups, false alarms, refusals."""

import numpy as np
import pytest
from scipy import stats

from rls_bids.errors import UsageError
from rls_bids.numerics.combat import check_sites, combat_permutation, harmonise
from rls_bids.numerics.exchangeability import Units, choose_exchangeability, draw_resamplings

SITES = np.repeat(["a", "b", "c"], [18, 24, 16])
SIDE = np.concatenate([np.tile([1, -1], 9), np.repeat([1, -1], [6, 18]), np.repeat([1, -1], 8)])
AGE = np.random.default_rng(9).standard_normal(58)
DESIGN = np.column_stack([SIDE == 1, SIDE == -1, AGE]).astype(float)
CONTRAST = np.array([1.0, -1.0, 0.0])
SHIFT = {"a": 0.0, "b": 3.0, "c": -2.0}
SCALE = {"a": 1.0, "b": 2.5, "c": 0.6}


def draw(n=99, seed=0, design=DESIGN, contrast=CONTRAST, sites=SITES):
    chosen = choose_exchangeability(design, contrast, Units(sites=sites))
    return draw_resamplings(chosen, design, n, seed)


def measured(rng, m=40, effect=0.0):
    """True values, and what sites with shifts and scales of their own make of them."""
    true = rng.standard_normal((58, m)) + 0.5 * AGE[:, None]
    true += effect * (SIDE == 1)[:, None]
    own = rng.standard_normal((3, m)) * 0.3
    number = np.unique(SITES, return_inverse=True)[1]
    shift = np.array([SHIFT[s] for s in SITES])[:, None] + own[number]
    scale = np.array([SCALE[s] for s in SITES])[:, None]
    expected = 0.5 * AGE[:, None] + effect * (SIDE == 1)[:, None]
    return expected + scale * (true - expected) + shift


def by_hand(values, sites, covariates):
    """Johnson's algorithm, one feature, site and step at a time (covariates without constant)."""
    n, m = values.shape
    names = sorted(set(sites))
    x = np.column_stack([[float(s == name) for s in sites] for name in names] + [*covariates.T])
    standard, back = np.empty_like(values), []
    for g in range(m):
        beta = np.linalg.solve(x.T @ x, x.T @ values[:, g])
        grand = sum(beta[i] * sum(sites == name) / n for i, name in enumerate(names))
        var = np.mean((values[:, g] - x @ beta) ** 2)
        centre = grand + covariates @ beta[len(names) :]
        standard[:, g] = (values[:, g] - centre) / np.sqrt(var)
        back.append((centre, np.sqrt(var)))
    result = np.empty_like(values)
    for name in names:
        own = standard[sites == name]
        k = len(own)
        gamma, delta = own.mean(axis=0), own.var(axis=0, ddof=1)
        gamma_bar, tau = gamma.mean(), gamma.var(ddof=1)
        mean, var = delta.mean(), delta.var(ddof=1)
        a, b = (2 * var + mean**2) / var, (mean * var + mean**3) / var
        for g in range(m):
            shift, spread = gamma[g], delta[g]
            for _ in range(200):
                shift = (tau * k * gamma[g] + spread * gamma_bar) / (tau * k + spread)
                spread = (b + 0.5 * sum((own[:, g] - shift) ** 2)) / (k / 2 + a - 1)
            centre, scale = back[g]
            rows = sites == name
            result[rows, g] = scale * (own[:, g] - shift) / np.sqrt(spread) + centre[rows]
    return result


def test_equal_to_the_formula(rng) -> None:
    values = measured(rng, m=12, effect=0.7)
    before = values.copy()
    covariates = np.column_stack([SIDE == 1, AGE]).astype(float)
    expected = by_hand(values, SITES, covariates)
    np.testing.assert_allclose(harmonise(values, SITES, DESIGN), expected, atol=2e-3)
    again = harmonise(values, SITES, np.column_stack([np.ones(58), covariates]))
    np.testing.assert_allclose(again, harmonise(values, SITES, DESIGN), atol=1e-9)
    np.testing.assert_array_equal(values, before)


def test_sites_are_taken_out_and_groups_and_age_are_kept() -> None:
    rng = np.random.default_rng(2)
    values = measured(rng, m=400, effect=1.0)
    found = harmonise(values, SITES, DESIGN)
    residual = found - DESIGN @ np.linalg.lstsq(DESIGN, found)[0]
    for table, limit in ((values, None), (found, 0.05)):
        rest = table - 0.5 * AGE[:, None] - (SIDE == 1)[:, None]
        means = np.array([rest[name == SITES].mean() for name in "abc"])
        if limit is None:
            assert np.ptp(means) > 4
        else:
            assert np.ptp(means) < limit
    spreads = np.array([residual[name == SITES].std() for name in "abc"])
    # Coefficients are those of the noisiest site most of all, so that it stays a little wider.
    assert spreads.max() / spreads.min() < 1.2
    coefficients = np.linalg.lstsq(DESIGN, found)[0]
    assert (coefficients[0] - coefficients[1]).mean() == pytest.approx(1.0, abs=0.1)
    assert coefficients[2].mean() == pytest.approx(0.5, abs=0.1)


def test_each_site_goes_its_own_way(rng) -> None:
    """The site that was planted high comes down; not the other way round."""
    values = measured(rng)
    moved = harmonise(values, SITES, DESIGN) - values
    assert moved[SITES == "b"].mean() < -1 < 1 < moved[SITES == "c"].mean()


def test_one_feature_is_not_shrunken(rng) -> None:
    values = measured(rng, m=1)
    found = harmonise(values, SITES, np.ones((58, 1)))
    squares = [
        ((values[name == SITES] - values[name == SITES].mean()) ** 2).sum() for name in "abc"
    ]
    pooled = np.sqrt(sum(squares) / 58)
    for name in "abc":
        own = found[name == SITES, 0]
        assert own.mean() == pytest.approx(values.mean())
        assert own.std(ddof=1) == pytest.approx(pooled)


def test_missing_and_constant_features_do_not_matter(rng) -> None:
    values = measured(rng, m=10)
    missing = values[:, 0].copy()
    missing[4] = np.nan
    mixed = np.column_stack([missing, np.full(58, 2.5), values])
    found = harmonise(mixed, SITES, DESIGN)
    assert np.isnan(found[:, 0]).all()
    np.testing.assert_array_equal(found[:, 1], 2.5)
    np.testing.assert_allclose(found[:, 2:], harmonise(values, SITES, DESIGN))
    one = combat_permutation(mixed, SITES, DESIGN, CONTRAST, draw(19), SIDE)
    other = combat_permutation(values, SITES, DESIGN, CONTRAST, draw(19), SIDE)
    assert np.isnan(one.p_fwe[:2]).all()
    np.testing.assert_allclose(one.p_fwe[2:], other.p_fwe)
    nothing = combat_permutation(np.ones((58, 2)), SITES, DESIGN, CONTRAST, draw(19), SIDE)
    assert nothing.maxima.size == 0


def test_the_test_is_freedman_and_lane_around_harmonisation(rng) -> None:
    """The same by a loop with ordinary least squares."""
    values = measured(rng, m=6)
    drawn = draw(19)
    found = combat_permutation(values, SITES, DESIGN, CONTRAST, drawn, SIDE)
    reduced = np.column_stack([np.ones(58), AGE, SITES == "b", SITES == "c"]).astype(float)
    fitted = reduced @ np.linalg.lstsq(reduced, values)[0]
    t, unit = [], CONTRAST @ np.linalg.inv(DESIGN.T @ DESIGN) @ CONTRAST
    for order in drawn.order:
        y = harmonise(fitted + (values - fitted)[order], SITES, DESIGN)
        beta = np.linalg.lstsq(DESIGN, y)[0]
        variance = ((y - DESIGN @ beta) ** 2).sum(axis=0) / 55
        t.append(CONTRAST @ beta / np.sqrt(variance * unit))
    size = np.abs(t)
    np.testing.assert_allclose(found.t, t[0])
    np.testing.assert_allclose(found.p_permutation, (size >= size[0] - 1e-9).mean(axis=0))
    largest = size.max(axis=1)[:, None]
    np.testing.assert_allclose(found.p_fwe, (largest >= size[0] - 1e-9).mean(axis=0))
    np.testing.assert_allclose(found.maxima[0], stats.norm.isf(stats.t.sf(size[0].max(), 55)))
    assert np.isnan(found.p).all()


def test_a_planted_group_effect_is_found() -> None:
    values = measured(np.random.default_rng(3), m=20)
    scale = np.array([SCALE[s] for s in SITES])[:, None]
    values[:, :5] += 1.6 * scale * (SIDE == 1)[:, None]
    found = combat_permutation(values, SITES, DESIGN, CONTRAST, draw(199), SIDE)
    assert (found.p_fwe[:5] <= 0.05).sum() >= 4
    assert (found.g[:5] > 0.7).all()
    assert (found.effect[:5] > 1).all()


def test_false_alarms_of_groups_unbalanced_over_sites() -> None:
    """200 null studies whose sites differ in mean and scale: a smoke alarm (.12)."""
    n_alarms = 0
    for study in range(200):
        values = measured(np.random.default_rng(study), m=8)
        found = combat_permutation(values, SITES, DESIGN, CONTRAST, draw(19, study), SIDE)
        n_alarms += bool(found.p_fwe.min() <= 0.05 + 1e-9)  # 1 of 20
    assert 0 < n_alarms / 200 <= 0.12


def test_refusals(rng) -> None:
    values = measured(rng)
    with pytest.raises(UsageError, match="'c' has 12 participants"):
        harmonise(values[:54], SITES[:54], DESIGN[:54])
    with pytest.raises(UsageError, match="two sites or more"):
        harmonise(values, ["a"] * 58, DESIGN)
    with pytest.raises(UsageError, match="'c' has nobody of group '-1'"):
        check_sites(SITES, np.where(SITES == "c", 1, SIDE))
    with pytest.raises(UsageError, match="Column number 2 of the design differs only between"):
        harmonise(values, SITES, np.column_stack([AGE, SITES == "b"]).astype(float))
    with pytest.raises(ValueError, match="different sites"):
        combat_permutation(values, SITES, DESIGN, CONTRAST, draw(9, sites=None), SIDE)
    with pytest.raises(ValueError, match="same number of each"):
        harmonise(values, SITES, DESIGN[:50])
