"""Group comparisons of tables: oracles, sign, families, and false alarms."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.multivariate.manova import MANOVA
from statsmodels.stats.oneway import anova_oneway

from rls_bids.numerics.columns import compare_columns, mean_interval
from rls_bids.numerics.exchangeability import (
    Units,
    choose_exchangeability,
    draw_resamplings,
)
from rls_bids.numerics.sizes import effect_size

CONTRAST = np.array([1.0, -1.0])


def two_groups(n: int) -> np.ndarray:
    return np.repeat(np.eye(2), n, axis=0)


def compare(values, design, contrast=CONTRAST, n_resamplings=1000, seed=0, *, groups=None):
    chosen = choose_exchangeability(design, contrast, Units(variance_groups=groups))
    drawn = draw_resamplings(chosen, design, n_resamplings, seed)
    n = int(design[:, 0].sum())
    scale = (1 / n + 1 / (len(design) - n)) ** 0.5
    size = ("hedgesg", scale) if np.ndim(contrast) == 1 else ("partialeta2", 1.0)
    return compare_columns(values, design, contrast, drawn, size, variance_groups=groups)


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
    np.testing.assert_allclose(found.statistic, observed.statistic, rtol=1e-10)
    np.testing.assert_allclose(found.p, observed.pvalue, rtol=1e-10)
    limit = np.abs(observed.statistic) * (1 - 1e-6)
    np.testing.assert_allclose(found.p_fwe, (t.max(axis=1)[:, None] >= limit).mean(axis=0))
    np.testing.assert_allclose(found.p_permutation, (t >= limit).mean(axis=0))
    np.testing.assert_allclose(found.effect, values[:5].mean(axis=0) - values[5:].mean(axis=0))
    assert (found.p_fwe >= found.p_permutation).all()
    assert (found.df == 8).all()
    np.testing.assert_array_equal(values, before)


def test_the_sign_is_that_of_the_contrast() -> None:
    values = np.random.default_rng(2).standard_normal((16, 2)) + np.repeat([[0, 2], [2, 0]], 8, 0)
    found = compare(values, two_groups(8))
    turned = compare(values, two_groups(8), -CONTRAST)
    assert found.statistic[0] < -2 < 2 < found.statistic[1]
    np.testing.assert_allclose(turned.statistic, -found.statistic)
    assert (found.size_lower < found.size).all()
    assert (found.size < found.size_upper).all()
    assert found.size[0] < 0 < found.size[1]


def test_columns_that_cannot_be_tested_do_not_count() -> None:
    rng = np.random.default_rng(3)
    good = rng.standard_normal((12, 3))
    nan = rng.standard_normal(12)
    nan[4] = np.nan
    perfect = np.repeat([1.0, 0.0], 6)  # no residual is left
    mixed = np.column_stack([good[:, :1], nan, np.ones(12), perfect, good[:, 1:]])
    found, alone = compare(mixed, two_groups(6)), compare(good, two_groups(6))
    places = [0, 4, 5]
    for name in ("effect", "statistic", "p", "p_permutation", "p_fwe", "size"):
        np.testing.assert_allclose(getattr(found, name)[places], getattr(alone, name))
        assert np.isnan(getattr(found, name)[[1, 2, 3]]).all()
    nothing = compare(np.ones((12, 2)), two_groups(6))
    assert np.isnan(nothing.p_fwe).all()
    assert nothing.maxima.size == 0


def test_one_degree_of_freedom_has_no_g() -> None:
    design = np.column_stack([np.repeat(np.eye(2), 2, axis=0), [0.5, -0.5, 0.2, -0.2]])
    found = compare([[1.0], [3.0], [2.0], [7.0]], design, np.array([1.0, -1.0, 0.0]))
    assert (found.df == 1).all()
    assert np.isfinite(found.statistic).all()
    assert np.isnan(found.size).all()


def test_unequal_variances_are_welch() -> None:
    """The statistic is Welch's, signs are flipped, and the effect keeps the sign."""
    rng = np.random.default_rng(5)
    values = rng.standard_normal((24, 3)) * np.repeat([3.0, 1.0], [8, 16])[:, None]
    values[:8, 1] += 6.0
    design = np.repeat(np.eye(2), [8, 16], axis=0)
    groups = ("RLS",) * 8 + ("HC",) * 16
    found = compare(values, design, groups=groups)
    welch = stats.ttest_ind(values[:8], values[8:], equal_var=False)
    pooled = stats.ttest_ind(values[:8], values[8:])
    assert found.name == "v"
    np.testing.assert_allclose(found.statistic, welch.statistic, rtol=1e-10)
    np.testing.assert_allclose(found.df, welch.df, rtol=1e-10)
    np.testing.assert_allclose(found.p, welch.pvalue, rtol=1e-10)
    assert not np.allclose(found.statistic, pooled.statistic, rtol=0.01)
    expected = effect_size("hedgesg", pooled.statistic, (1, 22), (1 / 8 + 1 / 16) ** 0.5)
    np.testing.assert_allclose(found.size, expected[0], rtol=1e-10)
    assert found.p_fwe[1] <= 0.05 < found.p_fwe[[0, 2]].min()
    assert found.effect[1] > 0
    mixed = values.copy()
    mixed[3, 0], mixed[:, 2] = np.nan, 1.0
    again = compare(mixed, design, groups=groups)
    assert np.isnan(again.p_fwe[[0, 2]]).all()
    np.testing.assert_allclose(again.statistic[1], found.statistic[1])


def test_several_contrasts_are_f() -> None:
    """Three groups and a covariate, against statsmodels; with variance groups, Welch's ANOVA."""
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"g": np.repeat(list("abc"), 7), "age": rng.standard_normal(21)})
    frame["y"] = rng.standard_normal(21) + (frame["g"] == "b") + frame["age"]
    groups = np.repeat(np.eye(3), 7, axis=0)
    age = frame["age"].to_numpy() - frame["age"].mean()
    contrast = np.array([[1.0, -1, 0, 0], [0, 1, -1, 0]])
    values = np.column_stack([frame["y"], rng.standard_normal(21)])
    found = compare(values, np.column_stack([groups, age]), contrast)
    table = ols("y ~ C(g) + age", frame).fit().f_test("C(g)[T.b] = 0, C(g)[T.c] = 0")
    assert found.name == "F"
    assert found.statistic[0] == pytest.approx(float(table.fvalue), rel=1e-8)
    assert found.p[0] == pytest.approx(float(table.pvalue), rel=1e-8)
    assert np.isnan(found.effect).all()
    assert ((found.size > 0) & (found.size < 1)).all()
    labels = tuple(frame["g"])
    own = compare(values, groups, contrast[:, :3], groups=labels)
    anova = anova_oneway(frame["y"], frame["g"], use_var="unequal")
    assert own.name == "G"
    assert own.statistic[0] == pytest.approx(anova.statistic, rel=1e-8)
    assert own.df[0] == pytest.approx(anova.df_denom, rel=1e-8)
    assert own.p[0] == pytest.approx(anova.pvalue, rel=1e-8)


def test_several_measurements_are_pillai() -> None:
    """Group × session with three sessions: both contrasts of sessions together."""
    rng = np.random.default_rng(7)
    values = rng.standard_normal((20, 2, 3))
    values[:10, 1, 2] += 3.0
    values[:, 1, 1] = 2 * values[:, 0, 1]  # the same twice
    found = compare(values, two_groups(10))
    frame = pd.DataFrame(
        {"a": values[:, 0, 2], "b": values[:, 1, 2], "g": ["x"] * 10 + ["y"] * 10}
    )
    told = MANOVA.from_formula("a + b ~ C(g)", frame).mv_test().results["C(g)"]["stat"]
    row = told.loc["Pillai's trace"]
    assert found.name == "Pillai"
    assert found.statistic[2] == pytest.approx(row["F Value"], rel=1e-8)
    assert found.df[2] == row["Den DF"]
    assert found.p[2] == pytest.approx(row["Pr > F"], rel=1e-6)
    assert found.p_fwe[2] <= 0.05
    assert np.isnan(found.statistic[1])
    assert np.isnan(found.p_fwe[1])
    one = compare(values[:, :1], two_groups(10))
    flat = compare(values[:, 0], two_groups(10))
    np.testing.assert_array_equal(one.p_fwe, flat.p_fwe)


def test_false_alarms_under_unequal_variances() -> None:
    """200 null studies, 6 v 14, SD ratio 2: t alarms far too often, v with flipped signs not."""
    n_alarms, design = np.zeros(2), np.repeat(np.eye(2), [6, 14], axis=0)
    groups = ("a",) * 6 + ("b",) * 14
    for study in range(200):
        rng = np.random.default_rng(study)
        values = rng.standard_normal((20, 4)) * np.repeat([2.0, 1.0], [6, 14])[:, None]
        own = compare(values, design, n_resamplings=199, seed=study, groups=groups)
        pooled = compare(values, design, n_resamplings=199, seed=study)
        n_alarms += [own.p_fwe.min() <= 0.05, pooled.p_fwe.min() <= 0.05]
    assert 0 < n_alarms[0] / 200 <= 0.12 < n_alarms[1] / 200


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
