"""What stands beside a test: against statsmodels, scipy, and refitting."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from rls_bids.numerics.effects import hedges_g
from rls_bids.numerics.examine import Question, examine_columns
from rls_bids.numerics.motion import trim_motion

RNG = np.random.default_rng(5)
N = 24
GROUPS = np.repeat(np.eye(2), [10, 14], axis=0)
AGE = RNG.standard_normal(N)
DESIGN = np.column_stack([GROUPS, AGE - AGE.mean()])
VALUES = RNG.standard_normal((N, 3)) + np.outer(GROUPS[:, 0], [0.0, 1.5, 0.5])
SCALE = (1 / 10 + 1 / 14) ** 0.5


def question(**changes) -> Question:
    usual = {
        "design": DESIGN,
        "contrast": [1.0, -1.0, 0.0],
        "size": "hedgesg",
        "scale": SCALE,
        "sides": GROUPS @ [1, -1],
    }
    return Question(**{**usual, **changes})


def test_errors_for_unequal_variances() -> None:
    found = examine_columns(VALUES, question())
    for column in range(3):
        fitted = sm.OLS(VALUES[:, column], DESIGN).fit()
        robust = fitted.get_robustcov_results("HC3", use_t=True)
        expected = robust.t_test([1, -1, 0]).pvalue
        assert found["p_hc3"][column] == pytest.approx(float(expected), rel=1e-8)


def test_each_participant_is_left_out_once() -> None:
    found = examine_columns(VALUES, question())
    sizes = []
    for row in range(N):
        keep = np.arange(N) != row
        n1, n2 = GROUPS[keep].sum(axis=0)
        fitted = sm.OLS(VALUES[keep, 1], DESIGN[keep]).fit()
        t = float(fitted.t_test([1, -1, 0]).tvalue.item())
        sizes.append(float(hedges_g(t, fitted.df_resid, int(n1), int(n2))[0]))
    assert found["size_withoutOneMin"][1] == pytest.approx(min(sizes), rel=1e-6)
    assert found["size_withoutOneMax"][1] == pytest.approx(max(sizes), rel=1e-6)
    assert found["n_signFlips"][1] == sum(size < 0 for size in sizes)


def test_evidence_grows_with_the_effect_and_turns_against_it_without() -> None:
    strong = examine_columns(VALUES + np.outer(GROUPS[:, 0], [0, 3, 0]), question(bound=0.5))
    assert strong["bf10"][1] > 100
    assert 0 < strong["bf10"][0] < 1
    assert strong["p_equivalence"][1] > 0.99
    assert strong["smallest_effectFamily"][0] == pytest.approx(strong["smallest_effect"][0])
    family = examine_columns(VALUES, question(), family_alpha=0.01)
    assert family["smallest_effectFamily"][0] > family["smallest_effect"][0]
    assert "p_equivalence" not in family
    many = np.repeat(np.eye(2), 4000, axis=0)
    null = np.random.default_rng(1).standard_normal((8000, 1))
    wide = question(
        design=many, contrast=[1, -1], scale=0.0005**0.5, sides=many @ [1, -1], bound=0.2
    )
    assert examine_columns(null, wide)["p_equivalence"][0] < 1e-6


def test_slopes_are_correlated_by_rank_given_the_groups() -> None:
    score = RNG.standard_normal(N)
    values = VALUES + np.outer(score, [0.0, -1.0, 0.0])
    design = np.column_stack([GROUPS, score])
    found = examine_columns(
        values, question(design=design, contrast=[0, 0, -1.0], size="partialr", sides=None)
    )

    def left(column):
        ranks = stats.rankdata(column)
        return ranks - GROUPS @ np.linalg.lstsq(GROUPS, ranks, rcond=None)[0]

    expected = -stats.pearsonr(left(score), left(values[:, 1])).statistic
    assert found["rho"][1] == pytest.approx(expected, rel=1e-8)
    assert found["rho"][1] > 0.4
    assert (found["rho_ciLower"] < found["rho"]).all()
    assert (found["rho"] < found["rho_ciUpper"]).all()
    assert "bf10" not in found


def test_an_effect_of_motion_is_gone_among_those_who_moved_alike() -> None:
    rng = np.random.default_rng(11)
    first = np.repeat([1.0, 0.0], 20)
    fd = 0.15 + 0.03 * rng.standard_normal(40) + np.where(np.arange(40) < 8, 0.4, 0.0)
    values = np.column_stack([10 * fd, 10 * fd + 3 * first]) + 0.3 * rng.standard_normal((40, 2))
    design = np.column_stack([first, 1 - first])
    asked = question(
        design=design, contrast=[1, -1], scale=0.1**0.5, sides=2 * first - 1, mean_fd=fd
    )
    found = examine_columns(values, asked)
    assert 28 <= found["n_matched"][0] <= 32
    assert found["p_matched"][0] > 0.05 > found["p_hc3"][0]
    assert found["size_matched"][1] > 3
    spread = np.sqrt((fd[:20].var(ddof=1) + fd[20:].var(ddof=1)) / 2)
    keep = trim_motion(fd, first > 0, 0.1 * spread).kept
    assert not keep[:8].any()
    kept = stats.ttest_ind(values[keep & (first > 0)], values[keep & (first == 0)])
    np.testing.assert_allclose(found["p_matched"], kept.pvalue, rtol=1e-8)
    without = question(design=design, contrast=[1, -1], sides=2 * first - 1)
    assert "n_matched" not in examine_columns(values, without)


def test_missing_values_and_the_input_stay() -> None:
    values = VALUES.copy()
    values[3, 0] = np.nan
    before = values.copy()
    found = examine_columns(values, question())
    np.testing.assert_array_equal(values, before)
    for column in found.values():
        if column.std() > 0 or np.isnan(column).any():
            assert np.isnan(column[0])
            assert np.isfinite(column[1:]).all()
