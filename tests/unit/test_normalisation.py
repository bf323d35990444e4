"""Towards controls: by hand, planted, stopped without cause, refused in the same scan."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from benchmarks.normalisation import CASES, M, N, is_claimed, plain
from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics import normalisation
from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
from rls_bids.numerics.glm import fit
from rls_bids.numerics.normalisation import Measured, check_source, towards_controls


def cohort(rng, n=12, n_controls=14, deficit=(1.5, -1.5, 0.0, 1.5), effect=(1.5, -1.5, 1.5, -1.5)):
    trait = rng.standard_normal((n, 4))
    return Measured(
        before=trait + 0.5 * rng.standard_normal((n, 4)) - deficit,
        after=trait + 0.5 * rng.standard_normal((n, 4)) - deficit + np.array(effect),
        controls=rng.standard_normal((n_controls, 4)),
    )


def test_estimates_and_signs(rng) -> None:
    """Up towards higher controls, down towards lower ones, no deficit, away from controls."""
    data = cohort(rng, n=25, n_controls=25)
    kept = [np.array(one) for one in (data.before, data.after, data.controls)]
    found = towards_controls(data, "declared", n_resamplings=499)
    before, after, controls = (one.mean(axis=0) for one in kept)
    np.testing.assert_allclose(found.deficit, controls - before)
    np.testing.assert_allclose(found.change, after - before)
    np.testing.assert_allclose(found.remaining, controls - after)
    np.testing.assert_allclose(found.share, (after - before) / (controls - before))
    assert (found.p_fwe <= 0.05).tolist() == [True, True, False, False]
    assert found.is_closer.tolist()[:2] == [True, True]
    assert found.p[3] == 1  # changed, but away
    assert not found.is_closer[3]
    assert found.p_deficit[2] > 0.05 > found.p_change[:2].max()
    assert found.deficit[0] > 0 > found.deficit[1]
    assert (found.p_fwe >= found.p).all()
    for one, again in zip(kept, (data.before, data.after, data.controls), strict=True):
        np.testing.assert_array_equal(one, again)


def test_p_by_all_sign_flips(rng) -> None:
    """p of the change is a share of sign patterns, of the deficit one of permutations."""
    data = cohort(rng, n=7, n_controls=6)
    found = towards_controls(data, "declared", n_resamplings=2000)
    change = np.asarray(data.after) - data.before
    flips = np.array(list(product([1, -1], repeat=7)))
    side = np.sign(found.deficit)
    t = np.array([stats.ttest_1samp(f[:, None] * change, 0).statistic for f in flips]) * side
    np.testing.assert_allclose(found.p_change, (t >= t[0] - 1e-5 * np.abs(t[0])).mean(axis=0))
    design = np.repeat([[0.0, 1], [1, 0]], [7, 6], axis=0)
    drawn = draw_resamplings(choose_exchangeability(design, [1, -1]), design, 2000, 0)
    assert drawn.n_distinct == 1716
    for table, p in ((data.before, found.p_deficit), (data.after, found.p_remaining)):
        pooled = np.concatenate([table, data.controls])
        size = np.abs([fit(pooled[order], design, [1, -1]).t for order in drawn.order])
        np.testing.assert_allclose(p, (size >= size[0] * (1 - 1e-5)).mean(axis=0))
    claimed = (found.z_change * side > 0) & found.is_closer
    np.testing.assert_allclose(
        found.p[claimed], np.maximum(found.p_deficit, found.p_change)[claimed]
    )
    assert (found.p[~claimed] == 1).all()


def test_one_region_is_not_corrected_and_more_are(rng) -> None:
    data = cohort(rng)
    alone = towards_controls(
        Measured(before=np.asarray(data.before)[:, :1], after=np.asarray(data.after)[:, :1],
                 controls=np.asarray(data.controls)[:, :1]),
        "declared", n_resamplings=499,
    )  # fmt: skip
    assert alone.p_fwe[0] == alone.p[0]
    found = towards_controls(data, "declared", n_resamplings=499)
    assert alone.p[0] == pytest.approx(found.p[0])
    assert found.p[0] < found.p_fwe[0] <= 4 * found.p[0] + 1e-12


def test_equal_regions_are_corrected_less_than_by_their_number() -> None:
    """Of eight copies of one region the smallest p has the distribution of one."""
    rng = np.random.default_rng(3)
    one = Measured(
        before=rng.standard_normal((15, 1)) - 0.9,
        after=rng.standard_normal((15, 1)) - 0.2,
        controls=rng.standard_normal((15, 1)),
    )
    many = Measured(
        before=np.tile(one.before, 8),
        after=np.tile(one.after, 8),
        controls=np.tile(one.controls, 8),
    )
    found = towards_controls(many, "declared", n_resamplings=999)
    assert found.p[0] < 0.2
    assert found.p_fwe[0] <= 2 * found.p[0] + found.p_deficit[0] + 1e-9 < 8 * found.p[0]


def test_covariates_are_adjusted_for(rng) -> None:
    data = cohort(rng)
    age, motion = rng.standard_normal(26), rng.standard_normal((12, 1))
    moved = Measured(
        before=data.before + 2 * age[:12, None],
        after=data.after + 2 * age[:12, None] + 3 * motion,
        controls=data.controls + 2 * age[12:, None],
    )
    found = towards_controls(
        moved, "other participants", covariates=age, change_covariates=motion, n_resamplings=99
    )
    plain_one = towards_controls(
        data, "declared", covariates=age, change_covariates=motion, n_resamplings=99
    )
    np.testing.assert_allclose(found.deficit, plain_one.deficit)
    np.testing.assert_allclose(found.change, plain_one.change)
    np.testing.assert_allclose(found.z_change, plain_one.z_change, rtol=1e-4)
    expected = fit(data.after - data.before, np.column_stack([np.ones(12), motion]), [1, 0])
    np.testing.assert_allclose(found.change, expected.effect)


def test_untreated_patients_are_subtracted(rng) -> None:
    data = cohort(rng)
    untreated = rng.standard_normal((9, 4)) + 0.7
    found = towards_controls(
        Measured(
            before=data.before, after=data.after, controls=data.controls, untreated=untreated
        ),
        "declared",
        n_resamplings=99,
    )
    own = (np.asarray(data.after) - data.before).mean(axis=0)
    np.testing.assert_allclose(found.change, own - untreated.mean(axis=0))
    np.testing.assert_allclose(found.remaining, found.deficit - found.change)


def test_unequal_variances(rng) -> None:
    """Sign-flipping with Welch's v: p of the deficit is near Welch's own."""
    data = cohort(rng, n=25, n_controls=12, deficit=(0.6, 0, 0, 0), effect=(0, 0, 0, 0))
    wide = Measured(before=data.before, after=data.after, controls=3 * np.asarray(data.controls))
    found = towards_controls(wide, "declared", variances_differ=True, n_resamplings=2000)
    welch = stats.ttest_ind(wide.controls, wide.before, equal_var=False)
    np.testing.assert_allclose(found.p_deficit, welch.pvalue, atol=0.06)
    z = stats.norm.isf(welch.pvalue / 2) * np.sign(welch.statistic)
    np.testing.assert_allclose(found.z_deficit, z, atol=0.02)


def test_missing_and_constant_regions_are_not_claimed(rng) -> None:
    data = cohort(rng)
    good = towards_controls(data, "declared", n_resamplings=99)
    after = np.array(data.after)
    after[2, 1] = np.nan
    found = towards_controls(
        Measured(before=data.before, after=after, controls=data.controls), "declared",
        n_resamplings=99,
    )  # fmt: skip
    assert np.isnan(found.p_fwe[1])
    np.testing.assert_allclose(found.p[[0, 2, 3]], good.p[[0, 2, 3]])
    flat = np.ones((8, 2))
    nothing = towards_controls(
        Measured(before=flat, after=flat, controls=flat), "declared", n_resamplings=99
    )
    assert (nothing.p_fwe == 1).all()
    assert np.isnan(nothing.share).all()


def test_same_seed_same_p(rng) -> None:
    data = cohort(rng)
    one, again = (towards_controls(data, "declared", n_resamplings=99, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.p_fwe, again.p_fwe)


def test_refusals(rng) -> None:
    data = cohort(rng)
    with pytest.raises(UsageError, match="Regions come from 'same scan'") as refusal:
        towards_controls(data, "same scan")
    assert refusal.value.hint == normalisation.SAME_SCAN_HINT
    with pytest.raises(UsageError):
        check_source("data-driven")
    with pytest.raises(InputDataError, match="2 controls"):
        towards_controls(
            Measured(before=data.before, after=data.after, controls=np.ones((2, 4))), "declared"
        )
    with pytest.raises(ValueError, match="same patients before and after"):
        towards_controls(
            Measured(before=data.before, after=np.ones((9, 4)), controls=data.controls), "declared"
        )
    with pytest.raises(ValueError, match="Covariates have 5 rows; expected 26"):
        towards_controls(data, "declared", covariates=np.ones(5))


@pytest.mark.parametrize("name", ["no deficit, no effect", "deficit 0.8, no effect"])
def test_false_claims_of_small_studies(name, monkeypatch) -> None:
    """200 studies with test–retest r .5 and 199 resamplings: a smoke alarm (.12)."""
    monkeypatch.setattr("benchmarks.normalisation.N_RESAMPLINGS", 199)
    draw = CASES[name].draw
    hits = [is_claimed(draw(np.random.default_rng(1000 + i)), i) for i in range(200)]
    assert np.mean(hits) <= 0.12


def test_true_recovery_is_claimed(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.normalisation.N_RESAMPLINGS", 199)
    draw = plain(np.full(M, 1.5), np.full(M, 1.5))
    assert N == 20
    assert np.mean([is_claimed(draw(np.random.default_rng(i)), i) for i in range(20)]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.is_asserted])
def test_claims_without_cause_stay_rare(name) -> None:
    """The predeclared check: at most 5 % of 500 studies."""
    draw = CASES[name].draw
    assert np.mean([is_claimed(draw(np.random.default_rng(i)), i) for i in range(500)]) <= 0.05
