"""Leaving participants out: refitting, statsmodels, outliers, unselected cluster effects."""

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.outliers_influence import OLSInfluence

from rls_bids.errors import InputDataError
from rls_bids.numerics.effects import correction, hedges_g, paired_effects
from rls_bids.numerics.glm import fit
from rls_bids.numerics.influence import leave_one_out, left_out_effect

CONTRAST = np.array([1.0, -1.0, 0.0])


def study(rng, n1=9, n2=7, m=4):
    age = rng.standard_normal(n1 + n2)
    design = np.column_stack([np.repeat(np.eye(2), [n1, n2], axis=0), age])
    values = rng.standard_normal((n1 + n2, m)) + 0.4 * age[:, None] + design[:, :1]
    return values, design, design[:, 0] - design[:, 1]


def test_equal_to_refitting(rng) -> None:
    values, design, sides = study(rng)
    before = values.copy()
    found = leave_one_out(values, design, CONTRAST, sides)
    for row in range(16):
        kept = np.delete(np.arange(16), row)
        again = fit(values[kept], design[kept], CONTRAST)
        np.testing.assert_allclose(found.effect[row], again.effect, rtol=1e-10)
        np.testing.assert_allclose(found.t[row], again.t, rtol=1e-10)
        n1, n2 = (int((sides[kept] == side).sum()) for side in (1, -1))
        np.testing.assert_allclose(found.g[row], hedges_g(again.t, again.df, n1, n2)[0])
        assert found.df == again.df
    whole = fit(values, design, CONTRAST)
    np.testing.assert_allclose(found.full_t, whole.t)
    np.testing.assert_allclose(found.full_g, hedges_g(whole.t, whole.df, 9, 7)[0])
    np.testing.assert_array_equal(values, before)


def test_dfbetas_are_those_of_statsmodels(rng) -> None:
    values, design, _ = study(rng)
    contrast = np.array([0.0, 0.0, 1.0])
    found = leave_one_out(values, design, contrast)
    for j, column in enumerate(values.T):
        expected = OLSInfluence(OLS(column, design).fit()).dfbetas[:, 2]
        np.testing.assert_allclose(found.dfbetas[:, j], expected, rtol=1e-8)


def test_one_sample_is_a_paired_design(rng) -> None:
    after, first = rng.standard_normal((10, 3)) + 0.8, rng.standard_normal((10, 3))
    found = leave_one_out(after - first, np.ones((10, 1)), [1])
    kept = np.arange(1, 10)
    d_z = paired_effects(after[kept], first[kept]).d_z
    np.testing.assert_allclose(found.full_g, correction(9) * found.full_t / np.sqrt(10))
    np.testing.assert_allclose(found.t[0] / np.sqrt(9), d_z)


def test_a_planted_outlier_is_named_and_turns_the_sign() -> None:
    rng = np.random.default_rng(3)
    design = np.repeat(np.eye(2), 8, axis=0)
    values = np.tile(rng.permutation(np.linspace(-1, 1, 16))[:, None], (1, 2))
    values[:8] -= values[:8].mean(axis=0) + 0.2
    values[8:] -= values[8:].mean(axis=0)
    values[5, 1] += 8.0  # lifts the first group above the second
    found = leave_one_out(values, design, [1, -1])
    assert found.most_influential[1] == 5
    assert found.largest_change[1] > 0.8
    assert found.n_sign_flips[1] == 1
    assert found.full_effect[1] > 0 > found.effect[5, 1]
    assert found.full_effect[0] == pytest.approx(-0.2)
    assert found.largest_change[0] == pytest.approx(
        np.abs(found.full_effect[0] - found.effect[:, 0]).max()
        * np.sign((found.full_effect - found.effect)[found.most_influential[0], 0])
    )


def test_one_who_determines_a_parameter_alone(rng) -> None:
    """A site of one: without him nothing changes for others, and his own parameter is lost."""
    values, design, sides = study(rng)
    wider = np.column_stack([design, np.eye(16)[3]])
    found = leave_one_out(values, wider, [*CONTRAST, 0], sides)
    np.testing.assert_allclose(found.effect[3], found.full_effect)
    np.testing.assert_allclose(found.t[3], found.full_t)
    own = leave_one_out(values, wider, [0, 0, 0, 1])
    assert np.isnan(own.effect[3]).all()
    assert np.isfinite(np.delete(own.effect, 3, axis=0)).all()


def test_missing_and_constant_columns(rng) -> None:
    values, design, sides = study(rng)
    values[2, 1] = np.nan
    values[:, 2] = 4.0
    found = leave_one_out(values, design, CONTRAST, sides)
    assert np.isnan(found.effect[:, 1]).all()
    assert np.isnan(found.t[:, [1, 2]]).all()
    assert np.isfinite(found.t[:, [0, 3]]).all()


def selected(data, design, n_best=20):
    """A cluster: the voxels with the largest t of those who are kept."""

    def find(kept):
        t = fit(data[kept], design[kept], [1, -1]).t
        return t >= np.sort(t)[-n_best]

    return find


def test_noise_has_an_effect_in_its_own_cluster_but_not_in_those_left_out() -> None:
    design = np.repeat(np.eye(2), 12, axis=0)
    own, others = [], []
    for seed in range(60):
        data = np.random.default_rng(seed).standard_normal((24, 400))
        find = selected(data, design)
        found = left_out_effect(data, find, design, [1, -1], design @ [1, -1])
        others.append(found.effect)
        inside = data[:, find(np.arange(24))].mean(axis=1)
        own.append(inside[:12].mean() - inside[12:].mean())
    assert np.mean(own) > 0.7
    error = np.std(others) / np.sqrt(60)
    assert abs(np.mean(others)) < 4 * error < 0.2


def test_a_planted_effect_is_found_in_those_left_out() -> None:
    rng = np.random.default_rng(8)
    design = np.repeat(np.eye(2), 15, axis=0)
    data = 0.3 * rng.standard_normal((30, 200)) + rng.standard_normal((30, 1))
    data[:15, :20] += 1.5
    find = selected(data, design)
    found = left_out_effect(data, find, design, [1, -1], design @ [1, -1])
    assert found.effect == pytest.approx(1.5, abs=0.9)
    assert found.lower < found.g < found.upper
    expected = fit(found.values[:, None], design, [1, -1])
    assert found.g == pytest.approx(hedges_g(expected.t, 28, 15, 15)[0].item())
    masks = np.array([find(np.delete(np.arange(30), i)) for i in range(30)])
    again = left_out_effect(data, masks, design, [1, -1], design @ [1, -1])
    np.testing.assert_array_equal(again.values, found.values)
    assert (again.sizes == 20).all()


def test_those_without_a_cluster_have_no_value(rng) -> None:
    data = rng.standard_normal((8, 5))
    masks = np.ones((8, 5), dtype=bool)
    masks[[1, 6]] = False
    found = left_out_effect(data, masks, np.ones((8, 1)), [1])
    assert found.n_without == 2
    np.testing.assert_array_equal(np.isnan(found.values), ~masks[:, 0])
    kept = data[masks[:, 0]].mean(axis=1)
    assert found.effect == pytest.approx(kept.mean())
    t = kept.mean() / kept.std(ddof=1) * np.sqrt(6)
    assert found.g == pytest.approx(hedges_g(t, 5, 12, 12)[0].item())
    nothing = left_out_effect(data, np.zeros((8, 5), dtype=bool), np.ones((8, 1)), [1])
    assert np.isnan([nothing.effect, nothing.g]).all()


def test_bad_input(rng) -> None:
    values, design, _ = study(rng)
    with pytest.raises(InputDataError, match="expected 2 or more"):
        leave_one_out(values[[0, 1, 2, 12, 13]], design[[0, 1, 2, 12, 13]], CONTRAST)
    with pytest.raises(ValueError, match="values of 1, -1"):
        leave_one_out(values, design, CONTRAST, np.full(16, 2))
    with pytest.raises(ValueError, match="one row for each of 16"):
        leave_one_out(values[:9], design, CONTRAST)
    with pytest.raises(ValueError, match="without participant number 1"):
        left_out_effect(values, lambda kept: np.ones(3, bool), design, CONTRAST)
