"""Covariates that differ by voxel, against fitting every voxel of every data set by itself."""

import itertools

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import ndimage, stats
from statsmodels.multivariate.manova import MANOVA

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics import glm, permutation, statistic, voxelwise
from rls_bids.numerics.exchangeability import (
    Units,
    choose_exchangeability,
    draw_resamplings,
)
from rls_bids.numerics.glm import fit
from rls_bids.numerics.permutation import Rules, permutation_test, smallest_p
from rls_bids.numerics.statistic import prepare_statistic, reduce, resampled_z, voxel_nuisance
from rls_bids.numerics.tfce import voxel_neighbours
from rls_bids.numerics.voxelwise import fit_voxelwise, told_apart

MASK = np.ones((7, 6, 5), dtype=bool)
NEIGHBOURS = voxel_neighbours(MASK)
P_NAMES = ("p", "p_voxel", "p_extent", "p_mass", "p_enhanced")


def groups(*sizes):
    return np.repeat(np.eye(len(sizes)), sizes, axis=0)


def smooth(rng, n):
    noise = rng.standard_normal((n, *MASK.shape), dtype=np.float32)
    return ndimage.gaussian_filter(noise, (0, 0.8, 0.8, 0.8)).reshape(n, -1)


def draw(design, contrast, n=99, seed=0, units=None):
    chosen = choose_exchangeability(design, contrast, units)
    return draw_resamplings(chosen, told_apart(design), n, seed)


def run(data, covariates, design, contrast, *, n=99, seed=0, neighbours=NEIGHBOURS, **more):
    n_covariates = 1 if covariates.ndim == 2 else covariates.shape[1]
    n_responses = data.shape[1] if data.ndim == 3 else 1
    test = prepare_statistic(
        design, contrast, n_voxel_covariates=n_covariates, n_responses=n_responses
    )
    drawn = draw(design, contrast, n, seed)
    return permutation_test(data, test, drawn, neighbours, voxel_covariates=covariates, **more)


def resampled_by_hand(values, design, contrasts, covariates, drawn, row):
    """Freedman & Lane at one voxel: its own reduced fit + its resampled residuals, full model."""
    rows = np.atleast_2d(contrasts)
    _, _, right = np.linalg.svd(rows)
    reduced = np.column_stack([design @ right[len(rows) :].T, covariates])
    fitted = reduced @ np.linalg.lstsq(reduced, values, rcond=None)[0]
    moved = fitted + drawn.sign[row] * (values - fitted)[drawn.order[row]]
    return sm.OLS(moved, np.column_stack([design, covariates])).fit()


# --- parametric ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_covariates", [1, 2])
@pytest.mark.parametrize("is_redundant", [False, True])
def test_fit_is_that_of_statsmodels_at_every_voxel(n_covariates, is_redundant, rng):
    design = np.column_stack([groups(9, 12), rng.standard_normal(21) * 1e3])
    contrast = np.array([1.0, -1, 1e-3])
    data = rng.standard_normal((21, 30)) + 40
    covariates = (
        0.5 + 0.1 * rng.standard_normal((21, n_covariates, 30)) - 0.1 * design[:, :1, None]
    )
    used, weights = design, contrast
    if is_redundant:  # a constant beside the groups
        used, weights = np.column_stack([np.ones(21), design]), np.r_[0.0, contrast]
    found = fit_voxelwise(data, used, weights, covariates)
    for voxel in range(30):
        model = np.column_stack([design, covariates[:, :, voxel]])
        expected = sm.OLS(data[:, voxel], model).fit().t_test(np.r_[contrast, [0] * n_covariates])
        assert found.effect[voxel] == pytest.approx(expected.effect.item(), rel=1e-8)
        assert found.variance[voxel] == pytest.approx(expected.sd.item() ** 2, rel=1e-8)
        assert found.t[voxel] == pytest.approx(expected.tvalue.item(), rel=1e-8)
        assert found.p[voxel] == pytest.approx(float(expected.pvalue), rel=1e-8)
    assert found.df == 21 - 3 - n_covariates
    assert np.allclose(stats.norm.sf(np.abs(found.z)) * 2, found.p)


def test_fit_with_the_same_covariate_everywhere_is_the_plain_fit(rng, monkeypatch):
    design, age = groups(8, 9), rng.standard_normal(17)
    data = rng.standard_normal((17, 200))
    plain = fit(data, np.column_stack([design, age]), [1, -1, 0])
    monkeypatch.setattr(voxelwise, "BLOCK", 17 * 2 * 70)  # three blocks
    found = fit_voxelwise(data, design, [1, -1], np.repeat(age[:, None], 200, axis=1))
    for name in ("effect", "variance", "t", "z", "p"):
        assert np.allclose(getattr(found, name), getattr(plain, name), rtol=1e-9)


def odd_voxels(rng, design):
    """Data and covariates with something wrong at voxels 0 to 6, and two good ones."""
    data, grey = rng.standard_normal((16, 9)), rng.random((16, 9)).astype(np.float32)
    grey[:, 0] = 0.7
    grey[:, 1] = 0.0
    grey[:, 2] = 0.3 * design[:, 2] + 5  # explained by age, but for rounding
    grey[:, 3] = 0.2 * design[:, 0] + 0.1  # is the contrast
    grey[4, 4], grey[5, 5] = np.nan, np.inf
    data[:, 6] = 3.0
    return data, grey


def test_voxels_where_the_model_is_deficient_are_not_tested(rng):
    design = np.column_stack([groups(8, 8), rng.standard_normal(16)])
    data, grey = odd_voxels(rng, design)
    found = fit_voxelwise(data, design, [1, -1, 0], grey)
    assert np.isfinite(found.t).tolist() == [False] * 7 + [True] * 2
    assert np.isnan(found.p[:7]).all()
    tested = run(data, grey, design, [1, -1, 0], neighbours=None)
    assert (tested.z[:7] == 0).all()
    assert np.allclose(tested.z[7:], found.z[7:], atol=1e-4)
    for name in P_NAMES:
        assert (getattr(tested, name)[:7] == 1).all()
    both = np.stack([grey[:, 7:], 2 * grey[:, 7:] - 1], axis=1)  # the second repeats the first
    assert np.isnan(fit_voxelwise(data[:, 7:], design, [1, -1, 0], both).t).all()


# --- resampled ----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize("n_covariates", [1, 2])
def test_t_is_that_of_the_resampled_data_at_every_voxel(n_covariates, is_flipped, rng):
    design = np.column_stack([groups(9, 12), rng.standard_normal(21)])
    contrast = np.array([1, -1, 0.0])
    covariates = rng.random((21, n_covariates, 12)) + design[:, :1, None]
    data = rng.standard_normal((21, 12)) + 3 + 2 * covariates[:, 0]
    units = Units(variance_groups=design[:, 0]) if is_flipped else None
    drawn = draw(design, contrast, 5, units=units)
    assert (drawn.sign.min() < 0) == is_flipped
    test = prepare_statistic(design, contrast, n_voxel_covariates=n_covariates)
    nuisance = voxel_nuisance(covariates, test)
    found = resampled_z(reduce(data, test, nuisance), test, drawn, slice(0, 6), nuisance)
    for row, voxel in itertools.product(range(6), range(12)):
        given = (design, contrast, covariates[:, :, voxel], drawn, row)
        again = resampled_by_hand(data[:, voxel], *given)
        t = again.t_test(np.r_[contrast, [0] * n_covariates]).tvalue.item()
        assert found[row, voxel] == pytest.approx(
            glm.t_to_z(t, 21 - 3 - n_covariates).item(), abs=3e-4
        )
    assert (test.name, test.df) == ("t", 18 - n_covariates)


def test_f_is_that_of_the_resampled_data_at_every_voxel(rng):
    design, contrasts = groups(6, 8, 7), np.array([[1.0, -1, 0], [0, 1, -1]])
    covariates = rng.random((21, 1, 10)) + design[:, 1, None, None]
    data = rng.standard_normal((21, 10)) + design @ rng.standard_normal((3, 10))
    drawn = draw(design, contrasts, 4)
    test = prepare_statistic(design, contrasts, n_voxel_covariates=1)
    nuisance = voxel_nuisance(covariates, test)
    found = resampled_z(reduce(data, test, nuisance), test, drawn, slice(0, 5), nuisance)
    for row, voxel in itertools.product(range(5), range(10)):
        given = (design, contrasts, covariates[:, :, voxel], drawn, row)
        again = resampled_by_hand(data[:, voxel], *given).f_test(
            np.column_stack([contrasts, [0, 0]])
        )
        if again.pvalue < 0.9:  # where F is all but 0 the table is coarse, and nobody looks
            assert stats.norm.sf(found[row, voxel]) == pytest.approx(float(again.pvalue), rel=3e-3)
    assert test.name == "F"


def test_several_measurements_have_the_covariate_of_their_participant(rng):
    design, contrasts = groups(8, 9, 10), np.array([[1.0, -1, 0], [0, 1, -1]])
    data, grey = rng.standard_normal((27, 2, 6)), rng.random((27, 6)) + design[:, :1]
    found = run(data, grey, design, contrasts, n=9, neighbours=None)
    for voxel in range(6):
        model = np.column_stack([design, grey[:, voxel]])
        tests = MANOVA(data[:, :, voxel], model).mv_test(
            [("c", np.column_stack([contrasts, [0, 0]]))]
        )
        p = float(tests.results["c"]["stat"].loc["Pillai's trace", "Pr > F"])
        assert stats.norm.sf(found.z[voxel]) == pytest.approx(p, rel=2e-3)


def test_the_same_covariate_everywhere_is_the_plain_test(rng):
    design, age = groups(9, 9), rng.standard_normal(18)
    data = smooth(rng, 18) + 0.5 * design[:, :1] + age[:, None]
    found = run(data, np.repeat(age[:, None], data.shape[1], axis=1), design, [1, -1], n=299)
    whole = np.column_stack([design, age])
    drawn = draw(design, [1, -1], 299)
    plain = permutation_test(data, prepare_statistic(whole, [1, -1, 0]), drawn, NEIGHBOURS)
    assert np.allclose(found.z, plain.z, atol=1e-4)
    assert np.allclose(found.enhanced, plain.enhanced, rtol=1e-3, atol=1e-5)
    assert np.allclose(found.maxima.enhanced, plain.maxima.enhanced, rtol=1e-3)
    for name in P_NAMES:
        assert np.abs(getattr(found, name) - getattr(plain, name)).max() <= 2 / 300
    assert found.p_voxel.min() < 0.1


def test_all_permutations_by_hand(rng):
    """Five participants, one voxel: each of 120 orders once, although groups repeat after 10."""
    design, grey = groups(2, 3), rng.random((5, 1))
    values = rng.standard_normal((5, 1))
    found = run(values, grey, design, [1, -1], n=500, neighbours=None)
    orders = np.array(list(itertools.permutations(range(5))), dtype=np.int32)
    every = draw(design, [1, -1], 500)
    assert sorted(map(tuple, every.order)) == sorted(map(tuple, orders))
    given = (values[:, 0], design, [1, -1], grey, every)
    fits = [resampled_by_hand(*given, row).t_test([1, -1, 0]) for row in range(120)]
    t = np.abs([one.tvalue.item() for one in fits])
    assert found.n_distinct == 120
    assert found.p.item() == pytest.approx((t >= t[0] * (1 - 1e-6)).mean())
    assert found.smallest_p == pytest.approx(1 / 120)


def test_smallest_p_of_flips_counts_both_signs():
    design = np.ones((6, 1))
    test = prepare_statistic(design, [1], n_voxel_covariates=1)
    assert smallest_p(test, draw(design, [1], 100)) == 2 / 64


# --- what it is for -----------------------------------------------------------------------------


def test_what_a_covariate_explains_is_not_found_and_the_rest_is(rng):
    design = groups(20, 20)
    grey = smooth(rng, 40) - 0.6 * design[:, :1]  # the first group has less
    data = 1.5 * grey + smooth(rng, 40)
    alone = prepare_statistic(design, [1, -1])
    drawn = draw(design, [1, -1], 199)
    assert permutation_test(data, alone, drawn, NEIGHBOURS).p_enhanced.min() <= 0.01
    assert run(data, grey, design, [1, -1], n=199).p_enhanced.min() > 0.05
    planted = (np.arange(MASK.sum()) % 30 < 12) & (np.arange(MASK.sum()) < 90)
    more = data - np.outer(design[:, 0], planted)  # and has a lower value, besides
    found = run(more, grey, design, [1, -1], n=199)
    assert found.p_enhanced[planted].min() <= 0.01
    assert found.z[planted].mean() < -1.5


def test_effects_are_those_beside_the_covariate():
    """Means over studies: what lacking grey matter makes without it, what is planted with it."""
    design, effects = groups(20, 20), []
    for study in range(40):
        rng = np.random.default_rng(study)
        grey = smooth(rng, 40) - 0.6 * design[:, :1]
        data = 1.5 * grey + smooth(rng, 40) + 0.25 * design[:, :1]
        plain, beside = fit(data, design, [1, -1]), fit_voxelwise(data, design, [1, -1], grey)
        effects.append([plain.effect.mean(), beside.effect.mean()])
    assert np.allclose(np.mean(effects, axis=0), [0.25 - 0.9, 0.25], atol=0.05)


@pytest.mark.parametrize("kind", ["two groups", "one sample"])
def test_rate_of_false_alarms(kind):
    """Covariates that explain half of the data and, in groups, differ between them."""
    n_studies, bound = 200, 0.12
    design = groups(12, 12) if kind == "two groups" else np.ones((14, 1))
    contrast = [1, -1] if kind == "two groups" else [1]
    test = prepare_statistic(design, contrast, n_voxel_covariates=1)
    alarms = np.zeros(3)
    for study in range(n_studies):
        rng = np.random.default_rng([study, len(design)])
        grey = smooth(rng, len(design))
        grey += 0.3 * design[:, :1] if kind == "two groups" else -grey.mean(axis=0)
        data = grey + smooth(rng, len(design))
        found = permutation_test(
            data, test, draw(design, contrast, 39, study), NEIGHBOURS,
            rules=Rules(cluster_p=0.01), voxel_covariates=grey,
        )  # fmt: skip
        alarms += [p.min() <= 0.05 for p in (found.p_voxel, found.p_extent, found.p_enhanced)]
    assert (alarms / n_studies <= bound).all()
    assert (alarms / n_studies >= 0.005)[[0, 2]].all()  # nor is it blind


# --- the same whatever the machine --------------------------------------------------------------


def test_threads_and_blocks_change_nothing(rng, monkeypatch):
    design, data, grey = groups(8, 8), smooth(rng, 16), smooth(rng, 32).reshape(16, 2, -1)
    first = run(data, grey, design, [1, -1], n=300)
    for n_threads in (2, 3):
        other = run(data, grey, design, [1, -1], n=300, n_threads=n_threads)
        for name in (*P_NAMES, "z"):
            assert np.array_equal(getattr(first, name), getattr(other, name))
    monkeypatch.setattr(permutation, "BLOCK", 16 * 3 * 64)
    small = run(data, grey, design, [1, -1], n=300)
    for name in P_NAMES:
        assert np.array_equal(getattr(first, name), getattr(small, name))
    seeded = run(data, grey, design, [1, -1], n=300, seed=1)
    assert not np.array_equal(seeded.p_enhanced, first.p_enhanced)


@pytest.mark.parametrize("n_responses", [1, 2])
def test_memory_maps_are_read_and_left_alone(n_responses, rng, tmp_path):
    design, maps = groups(6, 6), {}
    data = smooth(rng, 12 * n_responses).reshape(12, n_responses, -1)
    grey = smooth(rng, 24).reshape(12, 2, -1)
    expected = run(data, grey, design, [1, -1])
    for name, values in (("data", data), ("grey", grey)):
        np.save(tmp_path / f"{name}.npy", values)
        maps[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    found = run(maps["data"], maps["grey"], design, [1, -1])
    assert np.array_equal(found.p_enhanced, expected.p_enhanced)
    fitted = fit_voxelwise(maps["data"][:, 0], design, [1, -1], maps["grey"])
    assert np.array_equal(fitted.t, fit_voxelwise(data[:, 0], design, [1, -1], grey).t)
    for name, values in (("data", data), ("grey", grey)):
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), values)


# --- what cannot be done ------------------------------------------------------------------------


def test_variance_groups_are_refused():
    design = groups(6, 6)
    with pytest.raises(UsageError) as caught:
        prepare_statistic(design, [1, -1], variance_groups=design[:, 0], n_voxel_covariates=1)
    assert caught.value.message == statistic.EQUAL_VARIANCES
    assert caught.value.exit_status == 2
    one = prepare_statistic(design, [1, -1], variance_groups=[0] * 12, n_voxel_covariates=1)
    assert one.name == "t"


def test_too_few_participants_are_told(rng):
    with pytest.raises(InputDataError) as caught:
        prepare_statistic(groups(2, 2), [1, -1], n_voxel_covariates=2)
    assert caught.value.message == glm.NO_DF.format(n_rows=4, rank=4)
    with pytest.raises(InputDataError) as caught:
        fit_voxelwise(np.eye(4), groups(2, 2), [1, -1], rng.random((4, 2, 4)))
    assert caught.value.message == glm.NO_DF.format(n_rows=4, rank=4)


def test_a_list_that_leaves_resamplings_out_is_refused(rng):
    """The 252 orders that change the design of 5 v 5 are not all, once participants differ."""
    design, values = groups(5, 5), rng.standard_normal((10, 3))
    chosen = choose_exchangeability(design, [1, -1])
    drawn = draw_resamplings(chosen, design, 500, 0)
    assert drawn.is_exhaustive
    test = prepare_statistic(design, [1, -1], n_voxel_covariates=1)
    with pytest.raises(ValueError, match="told_apart") as caught:
        permutation_test(values, test, drawn, voxel_covariates=rng.random((10, 3)))
    assert str(caught.value) == permutation.NOT_CLOSED.format(n=252)
    paired = choose_exchangeability(design, [1, -1], Units(pairs=[*range(5)] * 2))
    all_pairs = draw_resamplings(paired, design, 500, 0)  # a group, told apart or not
    found = permutation_test(values, test, all_pairs, voxel_covariates=rng.random((10, 3)))
    assert found.n_distinct == 32


def test_what_does_not_fit_is_told(rng):
    design, data = groups(5, 5), rng.standard_normal((10, 4))
    drawn = draw(design, [1, -1], 9)
    test = prepare_statistic(design, [1, -1], n_voxel_covariates=1)
    for bad in (None, rng.random((9, 4)), rng.random((10, 3)), rng.random((10, 2, 4))):
        with pytest.raises(ValueError, match="covariates of voxels"):
            permutation_test(data, test, drawn, voxel_covariates=bad)
    plain = prepare_statistic(design, [1, -1])
    with pytest.raises(ValueError, match="covariates of voxels"):
        permutation_test(data, plain, drawn, voxel_covariates=data)
    with pytest.raises(ValueError, match="do not fit"):
        fit_voxelwise(data, design, [1, -1], data[:, :3])
    with pytest.raises(ValueError, match="expected one"):
        fit_voxelwise(data, design, np.eye(2), data)


def test_golden_values_hold_while_the_version_stands():
    assert voxelwise.VERSION == "1", "numbers changed: store new golden values"
    n = np.arange(12.0)[:, None] * np.arange(1, 4)
    found = fit_voxelwise(np.sin(n * n), groups(5, 7), [1, -1], np.cos(n) + n % 5)
    assert np.allclose([found.effect, found.t], GOLDEN, atol=1e-7)


GOLDEN = [[0.24335559, -0.03658911, -0.39996185], [0.52031331, -0.0958005, -0.89005537]]
