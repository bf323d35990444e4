"""Components and semi-partial series: scikit-learn, ordinary regression, planted truth."""

import re

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from rls_bids.measures import seed as seeds
from rls_bids.measures.seed import compute, seed_voxels
from rls_bids.numerics.correlation import correlate_seeds
from rls_bids.numerics.seedmaps import Grid, RunSeries
from rls_bids.numerics.seedseries import TOO_SHORT, eigenvariate, unique_parts
from rls_bids.records import Seed

SHAPE = (16, 15, 14)
AFFINE = np.array([[2.0, 0, 0, -16], [0, 2, 0, -14], [0, 0, 2, -12], [0, 0, 0, 1]])
GRID = Grid(mask=np.ones(SHAPE, dtype=bool), affine=AFFINE)


def sphere(name, centre, **more):
    return Seed(name=name, network="n", kind="sphere", centre_mm=centre, radius_mm=4.0, **more)


def make_run(random_seed, n=120, df=80):
    rng = np.random.default_rng(random_seed)
    data = rng.standard_normal((n, int(np.prod(SHAPE))))
    snr = np.full(data.shape[1], 60.0)
    return RunSeries(unsmoothed=data, smoothed=data, mask=GRID.mask, tsnr=snr, residual_df=df)


def plant(run, seed, course):
    run.unsmoothed[:, seed_voxels(seed, run.mask, GRID)[0]] += course[:, None]


# --- first component ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(st.integers(5, 60), st.integers(2, 80)), number=st.integers(0, 1000))
def test_the_component_is_that_of_scikit_learn_with_the_sign_of_the_mean(shape, number):
    data = np.random.default_rng(number).standard_normal(shape) + 3.0
    before = data.copy()
    found = eigenvariate(data)
    expected = PCA(1, svd_solver="full").fit_transform(data)[:, 0] / np.sqrt(shape[1])
    assert np.allclose(np.abs(found), np.abs(expected), atol=1e-8)
    assert found @ (data - data.mean(axis=0)).mean(axis=1) >= 0
    assert np.array_equal(data, before)


def test_the_component_finds_what_part_of_the_voxels_share():
    rng = np.random.default_rng(1)
    course, other = rng.standard_normal((2, 500))
    data = 0.3 * rng.standard_normal((500, 30))
    data[:, :20] += course[:, None]  # the mean takes in the other third, the component does not
    data[:, 20:] += 0.8 * other[:, None]
    assert np.corrcoef(eigenvariate(data), course)[0, 1] > 0.97
    assert np.corrcoef(data.mean(axis=1), course)[0, 1] < 0.95
    assert np.corrcoef(eigenvariate(-data), course)[0, 1] < -0.97


# --- parts --------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(n_series=st.integers(1, 6), number=st.integers(0, 1000))
def test_semi_partial_correlations_are_those_of_ordinary_regression(n_series, number):
    rng = np.random.default_rng(number)
    series = rng.standard_normal((80, n_series)) @ rng.standard_normal((n_series, n_series))
    series = series * 10.0 ** rng.integers(-3, 3, n_series)
    voxels = rng.standard_normal((80, 4)) + (series / series.std(axis=0)).mean(axis=1)[:, None]
    before = series.copy()
    found = correlate_seeds(unique_parts(series), voxels)
    for column, voxel in enumerate(voxels.T):
        fit = sm.OLS(voxel, sm.add_constant(series)).fit()
        # sr_j = t_j √((1 − R²) / residual df) (Cohen 2003)
        expected = fit.tvalues[1:] * np.sqrt((1 - fit.rsquared) / fit.df_resid)
        assert np.allclose(found[:, column], expected, atol=1e-5)
    assert np.array_equal(series, before)


def test_squares_are_what_each_seed_adds_to_the_variance_explained():
    rng = np.random.default_rng(2)
    series = rng.standard_normal((100, 3)) @ np.array([[1, 0.6, 0], [0, 1, 0.4], [0, 0, 1.0]])
    voxel = series @ [1.0, -0.5, 0.2] + rng.standard_normal(100)
    full = sm.OLS(voxel, sm.add_constant(series)).fit().rsquared
    found = correlate_seeds(unique_parts(series), voxel[:, None])[:, 0]
    for one in range(3):
        without = sm.OLS(voxel, sm.add_constant(np.delete(series, one, axis=1))).fit().rsquared
        assert found[one] ** 2 == pytest.approx(full - without, abs=1e-6)
    assert (np.sign(found) == [1, -1, 1]).all()


def test_series_that_the_others_tell_are_missing():
    rng = np.random.default_rng(3)
    series = rng.standard_normal((50, 4))
    series[:, 2] = 2 * series[:, 0] - series[:, 1] + 7
    parts = unique_parts(series)
    assert np.isnan(parts[:, :3]).all()
    assert np.isfinite(parts[:, 3]).all()
    assert np.isnan(unique_parts(np.ones((10, 2)))).all()


@pytest.mark.parametrize("shape", [(2, 3), (5, 0), (5,)])
def test_what_is_no_series_is_refused(shape):
    for function in (eigenvariate, unique_parts):
        with pytest.raises(ValueError, match=re.escape(TOO_SHORT.format(found=shape))):
            function(np.zeros(shape))


# --- seeds --------------------------------------------------------------------------------------

LEFT, RIGHT = sphere("L", (-8, 0, 0)), sphere("R", (8, 0, 0))
BOTH = [sphere(s.name, s.centre_mm, regression="together") for s in (LEFT, RIGHT)]
TARGET = sphere("T", (0, 8, 8))


def test_a_seed_that_only_follows_the_other_has_no_map_of_its_own():
    run = make_run(4, n=3000)
    rng = np.random.default_rng(5)
    course = rng.standard_normal(3000)
    follower = 0.8 * course + 0.6 * rng.standard_normal(3000)
    plant(run, LEFT, course)
    plant(run, RIGHT, follower)
    plant(run, TARGET, course)
    target = seed_voxels(TARGET, run.mask, GRID)[0]
    alone = compute([LEFT, RIGHT], [run], GRID)
    together = compute(BOTH, [run], GRID)
    assert alone["R"].r[target].mean() > 0.4
    assert abs(together["R"].r[target].mean()) < 0.03
    assert together["L"].r[target].mean() > 0.35


def test_maps_of_seeds_together_are_those_of_one_regression():
    run = make_run(6)
    found = compute(BOTH, [run], GRID)
    series = [run.unsmoothed[:, seed_voxels(s, run.mask, GRID)[0]].mean(axis=1) for s in BOTH]
    for voxel in (0, 777, 2000):
        fit = sm.OLS(run.smoothed[:, voxel], sm.add_constant(np.column_stack(series))).fit()
        expected = fit.tvalues[1:] * np.sqrt((1 - fit.rsquared) / fit.df_resid)
        assert [found[n].r[voxel] for n in "LR"] == pytest.approx(expected, abs=1e-5)
    assert found["L"].residual_df == run.residual_df - 1


def test_networks_are_regressed_apart_and_seeds_that_say_separate_stay_so():
    run = make_run(7)
    other = sphere("X", (0, -8, 0), regression="together")
    other = Seed(**{f: getattr(other, f) for f in other.__slots__} | {"network": "m"})
    alone = sphere("S", (0, 8, 0))
    found = compute([*BOTH, other, alone], [run], GRID)
    plain = compute([sphere("X", (0, -8, 0)), alone], [run], GRID)
    assert np.allclose(found["X"].r, plain["X"].r, atol=1e-6)
    assert np.array_equal(found["S"].r, plain["S"].r)
    assert found["S"].residual_df == found["X"].residual_df == run.residual_df


def test_a_run_that_lacks_one_seed_has_none_of_its_regression():
    good, bad = make_run(8), make_run(9)
    bad.tsnr[seed_voxels(RIGHT, bad.mask, GRID)[0]] = 1.0
    found = compute(BOTH, [good, bad], GRID)
    only = compute(BOTH, [good], GRID)
    for name in "LR":
        assert np.array_equal(found[name].r, only[name].r)
    reason = seeds.NO_PARTNER.format(others="R", network="n")
    assert found["L"].left_out == (f"run 2: {reason}",)
    assert found["R"].left_out[0].startswith("run 2: 0 usable voxels")


def test_the_same_region_twice_is_missing_with_the_reason():
    twin = sphere("twin", LEFT.centre_mm, regression="together")
    found = compute([*BOTH, twin], [make_run(10)], GRID)
    assert found["R"].z is not None
    for name in ("L", "twin"):
        assert seeds.NOT_UNIQUE.format(network="n") in found[name].missing


def test_too_few_degrees_of_freedom_are_said():
    found = compute(BOTH, [make_run(11, df=1)], GRID)
    assert seeds.NO_DF.format(n_seeds=2) in found["L"].missing


def test_the_component_of_a_seed_makes_its_map():
    run = make_run(12)
    first = sphere("L", LEFT.centre_mm, series="eigenvariate")
    voxels = seed_voxels(first, run.mask, GRID)[0]
    component = PCA(1, svd_solver="full").fit_transform(run.unsmoothed[:, voxels])[:, 0]
    expected = np.corrcoef(component, run.smoothed[:, 5])[0, 1]
    found = compute([first], [run], GRID)["L"].r[5]
    assert abs(found) == pytest.approx(abs(expected), abs=1e-5)
    assert not np.allclose(
        compute([LEFT], [run], GRID)["L"].r, compute([first], [run], GRID)["L"].r
    )


def test_an_empty_region_is_missing_with_the_reason():
    nothing = Seed(name="M", network="n", kind="mask", mask="/a/mask.nii.gz")
    grid = Grid(mask=GRID.mask, affine=AFFINE, regions={nothing.mask: np.zeros(SHAPE, bool)})
    found = compute([nothing], [make_run(13)], grid)["M"]
    assert found.z is None
    assert seeds.NO_REGION_VOXEL in found.missing
