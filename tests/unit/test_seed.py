"""Seed connectivity against numpy, brute force and planted truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rls_bids.measures import seed as seeds
from rls_bids.measures.seed import compute, seed_map, seed_voxels
from rls_bids.numerics import seedmaps
from rls_bids.numerics.seedmaps import Grid, RunSeries
from rls_bids.numerics.spheres import sphere_lattice, sphere_mask
from rls_bids.records import Seed

SHAPE = (16, 15, 14)
AFFINE = np.array([[2.0, 0, 0, -16], [0, 2, 0, -14], [0, 0, 2, -12], [0, 0, 0, 1]])


def sphere(name, centre, radius=4.0):
    return Seed(name=name, network="n", kind="sphere", centre_mm=centre, radius_mm=radius)


def mean_of(name, *members, exclude_own=False):
    return Seed(name=name, network="n", kind="mean", members=members, exclude_own=exclude_own)


LEFT, RIGHT, OUTSIDE = sphere("L", (-8, 0, 0)), sphere("R", (8, 0, 0)), sphere("O", (60, 0, 0))
BOTH = mean_of("both", "L", "R")


def points(shape=SHAPE, affine=AFFINE):
    voxels = np.stack(np.indices(shape), axis=-1).reshape(-1, 3)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def make_run(random_seed=0, n=150, df=100, mask=None, tsnr=60.0):
    rng = np.random.default_rng(random_seed)
    mask = np.ones(SHAPE, dtype=bool) if mask is None else mask
    data = rng.standard_normal((n, int(mask.sum()))).astype(np.float32)
    snr = np.full(data.shape[1], tsnr, dtype=np.float32)
    return RunSeries(unsmoothed=data, smoothed=data.copy(), mask=mask, tsnr=snr, residual_df=df)


def whole_grid(**more):
    return Grid(mask=np.ones(SHAPE, dtype=bool), affine=AFFINE, **more)


# --- which voxels -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    centre=st.tuples(*[st.floats(-20, 20)] * 3),
    radius=st.floats(0.5, 9),
    angle=st.floats(0, 3),
    sizes=st.tuples(*[st.floats(1, 4)] * 3),
)
def test_spheres_are_those_of_brute_force_also_obliquely(centre, radius, angle, sizes):
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, -1]]) * sizes
    affine[:3, 3] = [3, -7, 11]
    found = sphere_lattice(affine, centre, radius)
    voxel = np.linalg.inv(affine) @ [*centre, 1]
    around = np.round(voxel[:3]) + np.stack(np.indices((25, 25, 25)) - 12, -1).reshape(-1, 3)
    distance = np.linalg.norm(around @ affine[:3, :3].T + affine[:3, 3] - centre, axis=1)
    assert len(found) == (distance <= radius * (1 + 1e-6) + 1e-9).sum()
    inside = found @ affine[:3, :3].T + affine[:3, 3] - centre
    assert (np.linalg.norm(inside, axis=1) <= radius * (1 + 1e-5) + 1e-8).all()


def test_positions_are_those_of_the_masked_series():
    mask = np.random.default_rng(1).random(SHAPE) > 0.3
    indices, n_region = sphere_mask(mask, AFFINE, (-8, 0, 0), 4.0)
    inside = points()[mask.ravel()][indices]
    assert (np.linalg.norm(inside - [-8, 0, 0], axis=1) <= 4.0).all()
    assert n_region == 33
    distance = np.linalg.norm(points() - [-8, 0, 0], axis=1)
    assert indices.size == (mask.ravel() & (distance <= 4.0)).sum()


def test_a_sphere_across_the_edge_counts_the_voxels_that_are_not_there():
    indices, n_region = sphere_mask(np.ones(SHAPE, dtype=bool), AFFINE, (-16, 0, 0), 4.0)
    assert n_region == 33
    assert 0 < indices.size < 33
    none, n_region = sphere_mask(np.ones(SHAPE, dtype=bool), AFFINE, (200, 0, 0), 4.0)
    assert (none.size, n_region) == (0, 33)


def test_storage_orientation_does_not_matter():
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -2.0, -16 + 2.0 * (SHAPE[0] - 1)
    mask = np.random.default_rng(2).random(SHAPE) > 0.2
    first, _ = sphere_mask(mask, AFFINE, (-8, 2, 0), 5.0)
    second, _ = sphere_mask(mask[::-1], flipped, (-8, 2, 0), 5.0)
    assert {tuple(p) for p in points()[mask.ravel()][first]} == {
        tuple(p) for p in points(affine=flipped)[mask[::-1].ravel()][second]
    }


def test_mask_seeds_take_their_region():
    region = np.zeros(SHAPE, dtype=bool)
    region[2:5, 3:6, 4:7] = True
    seed = Seed(name="M", network="n", kind="mask", mask="Atlas:M")
    mask = np.ones(SHAPE, dtype=bool)
    mask[2] = False
    indices, n_region = seed_voxels(seed, mask, whole_grid(regions={"Atlas:M": region}))
    assert (indices.size, n_region) == (18, 27)
    assert region[mask][indices].all()
    with pytest.raises(ValueError, match="Atlas:M"):
        seed_voxels(seed, mask, whole_grid())


# --- maps ---------------------------------------------------------------------------------------


def test_the_map_is_the_correlation_of_the_unsmoothed_mean_with_smoothed_voxels():
    rng = np.random.default_rng(3)
    run = make_run(3)
    smoothed = rng.standard_normal(run.smoothed.shape).astype(np.float32)
    run = RunSeries(
        unsmoothed=run.unsmoothed, smoothed=smoothed, mask=run.mask, tsnr=run.tsnr, residual_df=9
    )
    indices, _ = sphere_mask(run.mask, AFFINE, LEFT.centre_mm, 4.0)
    expected = [
        np.corrcoef(run.unsmoothed[:, indices].mean(axis=1), smoothed[:, voxel])[0, 1]
        for voxel in range(50)
    ]
    result = compute([LEFT], [run], whole_grid())["L"]
    assert np.allclose(result.r[:50], expected, atol=1e-5)
    assert np.allclose(result.z[:50], np.arctanh(expected), atol=1e-5)
    assert np.allclose(seed_map(run.unsmoothed, smoothed, indices), result.r, atol=1e-6)
    assert result.residual_df == 9


def test_planted_coupling_comes_out_on_its_own_side():
    run = make_run(4, n=2000)
    left, _ = sphere_mask(run.mask, AFFINE, LEFT.centre_mm, 4.0)
    target, _ = sphere_mask(run.mask, AFFINE, (-8, 10, 8), 4.0)
    course = np.random.default_rng(5).standard_normal(2000).astype(np.float32)
    for voxels in (left, target):
        run.unsmoothed[:, voxels] += course[:, None]
        run.smoothed[:, voxels] += course[:, None]
    results = compute([LEFT, RIGHT], [run], whole_grid())
    # the seed's mean has noise variance 1/33, a target voxel 1
    expected = 1 / np.sqrt((1 + 1 / 33) * 2)
    assert results["L"].r[target].mean() == pytest.approx(expected, abs=0.02)
    mirrored, _ = sphere_mask(run.mask, AFFINE, (8, 10, 8), 4.0)
    assert abs(results["L"].r[mirrored].mean()) < 0.02
    assert abs(results["R"].r[target].mean()) < 0.05


def test_runs_are_averaged_by_degrees_of_freedom_and_fields_of_view_united():
    lower, upper = np.ones(SHAPE, dtype=bool), np.ones(SHAPE, dtype=bool)
    lower[..., -2:], upper[..., :2] = False, False
    runs = [make_run(6, df=30, mask=lower), make_run(7, df=90, mask=upper)]
    grid = whole_grid()
    result = compute([LEFT], runs, grid)["L"]
    singles = []
    for run in runs:
        one = compute([LEFT], [run], Grid(mask=run.mask, affine=AFFINE))["L"]
        whole = np.full(SHAPE, np.nan)
        whole[run.mask] = one.z
        singles.append(whole)
    z = np.full(SHAPE, np.nan)
    z[grid.mask] = result.z
    both = lower & upper
    assert np.allclose(z[both], 0.25 * singles[0][both] + 0.75 * singles[1][both], atol=1e-5)
    assert np.allclose(z[..., 0], singles[0][..., 0], atol=1e-5)
    assert np.allclose(z[..., -1], singles[1][..., -1], atol=1e-5)
    assert result.residual_df == 120
    assert np.allclose(result.r, np.tanh(result.z), atol=1e-6)


def test_both_sides_are_the_mean_of_their_maps():
    results = compute([LEFT, RIGHT, BOTH], [make_run(8)], whole_grid())
    assert list(results) == ["L", "R", "both"]
    assert np.allclose(results["both"].z, (results["L"].z + results["R"].z) / 2, atol=1e-6)
    assert [region.seed for region in results["both"].regions] == ["L", "R"]


def test_a_network_map_leaves_each_seeds_own_sphere_out():
    network = mean_of("net", "L", "R", exclude_own=True)
    grid = whole_grid()
    results = compute([LEFT, RIGHT, network], [make_run(9)], grid)
    own = {s.name: seed_voxels(s, grid.mask, grid)[0] for s in (LEFT, RIGHT)}
    assert np.allclose(results["net"].z[own["L"]], results["R"].z[own["L"]], atol=1e-6)
    assert np.allclose(results["net"].z[own["R"]], results["L"].z[own["R"]], atol=1e-6)
    elsewhere = np.setdiff1d(np.arange(grid.mask.sum()), np.concatenate(list(own.values())))
    mean = (results["L"].z + results["R"].z) / 2
    assert np.allclose(results["net"].z[elsewhere], mean[elsewhere], atol=1e-6)


# --- what is missing ----------------------------------------------------------------------------


def test_a_seed_outside_the_field_of_view_is_missing_and_said_so():
    result = compute([OUTSIDE], [make_run(10)], whole_grid())["O"]
    assert result.z is None
    assert result.r is None
    reason = seeds.TOO_FEW.format(n_voxels=0, n_region=33, least=7)
    assert result.missing == seedmaps.NO_RUN.format(seed="O", reasons=f"run 1: {reason}")
    assert result.regions[0].coverage == 0


@pytest.mark.parametrize(
    ("n_usable", "radius", "is_missing"),
    [(6, 3.0, True), (7, 2.9, True), (17, 4.0, False), (16, 4.0, True), (10, 2.9, False)],
)
def test_seven_voxels_and_half_of_the_region_are_needed(n_usable, radius, is_missing):
    run = make_run(11)
    seed = sphere("L", LEFT.centre_mm, radius)
    indices, n_region = sphere_mask(run.mask, AFFINE, LEFT.centre_mm, radius)
    assert n_region == {2.9: 19, 3.0: 19, 4.0: 33}[radius]
    run.tsnr[indices[n_usable:]] = 20.0  # not above 20: not usable
    result = compute([seed], [run], whole_grid())["L"]
    assert (result.z is None) is is_missing
    region = result.regions[0]
    assert (region.n_voxels, region.n_region) == (n_usable, n_region)
    assert region.coverage == pytest.approx(n_usable / n_region)
    assert bool(region.missing) is is_missing


def test_noisy_voxels_do_not_enter_the_seed():
    run = make_run(12)
    indices, _ = sphere_mask(run.mask, AFFINE, LEFT.centre_mm, 4.0)
    run.tsnr[indices[:10]] = 3.0
    run.unsmoothed[:, indices[:10]] = 1e4
    expected = seed_map(run.unsmoothed, run.smoothed, indices[10:])
    assert np.allclose(compute([LEFT], [run], whole_grid())["L"].r, expected, atol=1e-6)


def test_a_run_without_the_seed_is_left_out_and_named():
    good, bad = make_run(13, df=50), make_run(14, df=70)
    bad.tsnr[:] = 5.0
    result = compute([LEFT], [good, bad], whole_grid())["L"]
    alone = compute([LEFT], [good], whole_grid())["L"]
    assert np.array_equal(result.z, alone.z)
    assert result.residual_df == 50
    assert len(result.left_out) == 1
    assert result.left_out[0].startswith("run 2: 0 usable voxels")


def test_a_constant_seed_is_missing():
    run = make_run(15)
    indices, _ = sphere_mask(run.mask, AFFINE, LEFT.centre_mm, 4.0)
    run.unsmoothed[:, indices] = 3.0
    result = compute([LEFT], [run], whole_grid())["L"]
    assert seeds.NO_VARIANCE in result.missing


def test_one_side_alone_is_not_both():
    result = compute([LEFT, OUTSIDE, mean_of("both", "L", "O")], [make_run(16)], whole_grid())
    assert result["L"].z is not None
    assert result["both"].z is None
    assert "O is missing" in result["both"].missing


def test_a_missing_member_of_a_network_is_left_out_and_named():
    network = mean_of("net", "L", "O", "R", exclude_own=True)
    without = mean_of("net", "L", "R", exclude_own=True)
    run = make_run(17)
    result = compute([LEFT, OUTSIDE, RIGHT, network], [run], whole_grid())["net"]
    expected = compute([LEFT, RIGHT, without], [run], whole_grid())["net"]
    assert np.array_equal(result.z, expected.z)
    assert result.left_out == (seeds.LEFT_OUT.format(member="O"),)


def test_tissue_fractions_are_those_of_the_sphere():
    grey = np.zeros(SHAPE)
    grey.reshape(-1)[points()[:, 0] < -8] = 1.0
    grid = whole_grid(tissues={"GM": grey, "WM": 1 - grey})
    region = compute([LEFT], [make_run(18)], grid)["L"].regions[0]
    distance = np.linalg.norm(points() - LEFT.centre_mm, axis=1)
    expected = grey.ravel()[distance <= 4].mean()
    assert region.tissue_fractions["GM"] == pytest.approx(expected)
    assert sum(region.tissue_fractions.values()) == pytest.approx(1.0)


def test_golden_values_hold_while_the_version_stands():
    assert seeds.MEASURE.version == "1", "numbers changed: store new golden values too"
    n, voxel = np.arange(40.0)[:, None], np.arange(np.prod(SHAPE))
    data = np.sin(n / 5 + voxel / 40) + np.cos(n * (1 + voxel % 7) / 9)
    run = RunSeries(
        unsmoothed=data,
        smoothed=data,
        mask=np.ones(SHAPE, dtype=bool),
        tsnr=np.full(data.shape[1], 50.0),
        residual_df=30,
    )
    result = compute([LEFT, RIGHT, BOTH], [run], whole_grid())["both"]
    assert np.allclose(result.z[[0, 1000, 2500]], GOLDEN, atol=1e-5)


GOLDEN = [-0.0269787, 0.2716622, -0.2137512]
