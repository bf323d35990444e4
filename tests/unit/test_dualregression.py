"""Dual regression against least squares and planted networks; network maps of users; the node."""

import json
import re
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rls_bids.dataset.description import write_json
from rls_bids.errors import UsageError
from rls_bids.interfaces.dualregression import DualRegression
from rls_bids.interfaces.images import save_mask
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.measures.dualregression import NO_DF, compute
from rls_bids.numerics import dualregression as dual
from rls_bids.numerics.resample import voxel_points
from rls_bids.numerics.seedmaps import Grid, RunSeries
from rls_bids.records import Seed
from rls_bids.resources.grids import standard_grid
from rls_bids.resources.networkmaps import load_network_maps, maps_on_grid
from rls_bids.resources.seeds import seeds_asked
from rls_bids.resources.spaces import FSL_SPACE, NEW_SPACE, points_to_space
from rls_bids.settings import build_settings

SHAPE = (10, 9, 8)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
GRID = Grid(mask=np.ones(SHAPE, dtype=bool), affine=AFFINE)
N_VOXELS = int(np.prod(SHAPE))


def network(name, index=1):
    return Seed(name=name, network="maps_x", kind="network", mask="/x.nii.gz", index=index)


def blobs():
    """Return three maps that overlap, (3, X, Y, Z)."""
    voxels = np.stack(np.indices(SHAPE), axis=-1)
    centres = np.array([(2, 3, 3), (7, 4, 4), (5, 6, 5)])
    distance = np.linalg.norm(voxels[None] - centres[:, None, None, None], axis=-1)
    return np.exp(-(distance**2) / 6).astype(np.float32)


def planted(number, n=200, noise=0.5, df=150):
    """Return a run of three networks with known, correlated series, and these."""
    rng = np.random.default_rng(number)
    series = rng.standard_normal((n, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.3], [0, 0, 1.0]])
    data = series @ blobs().reshape(3, -1) + noise * rng.standard_normal((n, N_VOXELS))
    data += 100 + 5 * rng.standard_normal((n, 1))  # all voxels rise and fall together
    run = RunSeries(
        unsmoothed=data,
        smoothed=data,
        mask=GRID.mask,
        tsnr=np.full(N_VOXELS, 50.0),
        residual_df=df,
    )
    return run, series


# --- kernels ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(n_maps=st.integers(1, 6), number=st.integers(0, 999))
def test_series_are_those_of_least_squares_with_an_intercept(n_maps, number):
    rng = np.random.default_rng(number)
    maps = rng.standard_normal((n_maps, 300)) * 10.0 ** rng.integers(-3, 4, (n_maps, 1)) + 3
    data = rng.standard_normal((20, 300)).astype(np.float32)
    before = maps.copy(), data.copy()
    design = np.column_stack([np.ones(300), maps.T])
    expected = np.linalg.lstsq(design, data.T.astype(float), rcond=None)[0][1:].T
    found = dual.network_series(maps, data)
    assert np.allclose(found, expected * maps.std(axis=1), atol=1e-6)
    assert np.array_equal(maps, before[0])
    assert np.array_equal(data, before[1])


@settings(max_examples=25, deadline=None)
@given(n_series=st.integers(1, 5), number=st.integers(0, 999))
def test_partial_correlations_are_those_of_residuals(n_series, number):
    rng = np.random.default_rng(number)
    series = rng.standard_normal((40, n_series)) * 10.0 ** rng.integers(-3, 4, n_series)
    data = rng.standard_normal((40, 7)) + (series / series.std(axis=0)).mean(axis=1)[:, None]
    found = dual.partial_correlations(series, data)
    for one in range(n_series):
        others = np.column_stack([np.ones(40), np.delete(series, one, axis=1)])
        residual = [
            values - others @ np.linalg.lstsq(others, values, rcond=None)[0]
            for values in (series[:, one], data)
        ]
        for voxel in range(7):
            expected = stats.pearsonr(residual[0], residual[1][:, voxel]).statistic
            assert found[one, voxel] == pytest.approx(expected, abs=1e-5)


def test_a_voxel_that_is_told_entirely_has_one_and_a_constant_one_none():
    rng = np.random.default_rng(1)
    series = rng.standard_normal((30, 2))
    data = np.column_stack([3 * series[:, 1] + 2, np.full(30, 7.0), -series[:, 0] + series[:, 1]])
    found = dual.partial_correlations(series, data)
    assert found[1, 0] == pytest.approx(1)
    assert np.isnan(found[:, 1]).all()
    assert found[:, 2] == pytest.approx([-1, 1])


def test_what_cannot_be_fitted_is_said():
    assert dual.maps_problem(np.zeros((2, 5)))[0] == (0, 1)
    maps = np.random.default_rng(0).standard_normal((3, 50))
    maps[2] = maps[0] - 2 * maps[1] + 5
    which, reason = dual.maps_problem(maps)
    assert which == (0, 1, 2)
    assert reason == dual.NOT_APART.format(n=3, rank=2)
    message = dual.BAD_SHAPES.format(n_maps=3, n_map_voxels=50, n_voxels=49)
    with pytest.raises(ValueError, match=re.escape(message)):
        dual.network_series(maps, np.zeros((4, 49)))
    message = dual.BAD_LENGTHS.format(found=(4, 4), least=4)
    with pytest.raises(ValueError, match=re.escape(message)):
        dual.partial_correlations(np.zeros((4, 3)), np.zeros((4, 2)))


# --- maps of a session --------------------------------------------------------------------------

SEEDS = [network(name, index) for index, name in enumerate("ABC", start=1)]


def test_planted_series_are_found_although_all_voxels_drift():
    run, series = planted(2)
    found = dual.network_series(blobs().reshape(3, -1), run.unsmoothed)
    for one in range(3):
        assert np.corrcoef(found[:, one], series[:, one])[0, 1] > 0.97


def test_each_network_comes_out_where_it_was_planted_and_no_other():
    run, _ = planted(3, n=600, df=500)
    # without the drift, of which every voxel has its share
    data = run.smoothed - run.smoothed.mean(axis=1, keepdims=True)
    run = RunSeries(unsmoothed=data, smoothed=data, mask=run.mask, tsnr=run.tsnr, residual_df=500)
    result = compute(SEEDS, blobs(), [run], GRID)
    maps = blobs().reshape(3, -1)
    r = np.array([[np.corrcoef(result[s.name].z, each)[0, 1] for each in maps] for s in SEEDS])
    assert (np.diag(r) > 0.8).all()
    assert (r - np.diag(np.diag(r)) < 0.5).all()
    peak = np.unravel_index(np.argmax(result["B"].z), SHAPE)
    assert np.linalg.norm(np.array(peak) - (7, 4, 4)) <= 1.5
    assert result["A"].residual_df == 498
    assert np.allclose(result["A"].r, np.tanh(result["A"].z), atol=1e-6)


def test_input_is_untouched_the_result_repeats_and_shift_and_scale_do_not_matter():
    run, _ = planted(12)
    data, maps = run.unsmoothed, blobs()
    before = data.copy(), maps.copy()
    for array in (data, maps):
        array.flags.writeable = False
    first = compute(SEEDS, maps, [run], GRID)
    again = compute(SEEDS, maps, [run], GRID)
    assert np.array_equal(data, before[0])
    assert np.array_equal(maps, before[1])
    scaled = RunSeries(
        unsmoothed=40 * data - 7,
        smoothed=3 * data + 9,
        mask=run.mask,
        tsnr=run.tsnr,
        residual_df=run.residual_df,
    )
    other = compute(SEEDS, 5 * maps, [scaled], GRID)
    for name in "ABC":
        assert np.array_equal(first[name].z, again[name].z)
        assert np.allclose(first[name].z, other[name].z, atol=1e-5)
        assert np.isfinite(first[name].z).all()


def test_golden_values_hold_while_the_version_stands():
    assert dual.VERSION == "1", "numbers changed: store new golden values too"
    n, voxel = np.arange(40.0)[:, None], np.arange(N_VOXELS)
    data = np.sin(n / 5 + voxel / 40) + np.cos(n * (1 + voxel % 7) / 9)
    run = RunSeries(
        unsmoothed=data, smoothed=data, mask=GRID.mask, tsnr=np.ones(N_VOXELS), residual_df=30
    )
    found = compute(SEEDS, blobs(), [run], GRID)["B"].z[[0, 300, 600]]
    assert np.allclose(found, GOLDEN, atol=1e-5), found.tolist()


GOLDEN = [-0.659638, 0.7777673, -0.0736912]


def test_runs_are_weighted_by_what_is_left_of_their_degrees_of_freedom():
    runs = [planted(4, df=32)[0], planted(5, df=92)[0]]
    both = compute(SEEDS, blobs(), runs, GRID)
    first, second = (compute(SEEDS, blobs(), [run], GRID) for run in runs)
    for name in "ABC":
        expected = 0.25 * first[name].z + 0.75 * second[name].z
        assert np.allclose(both[name].z, expected, atol=1e-5)
        assert both[name].residual_df == 30 + 90


def test_a_run_that_does_not_see_a_network_is_left_out_for_all():
    good, whole = planted(6)[0], planted(7)[0]
    maps = blobs()
    maps[2, :6] = 0  # network C lies in the upper half of x only
    mask = np.ones(SHAPE, bool)
    mask[6:] = False
    part = RunSeries(
        unsmoothed=whole.unsmoothed[:, mask.ravel()],
        smoothed=whole.smoothed[:, mask.ravel()],
        mask=mask,
        tsnr=whole.tsnr[mask.ravel()],
        residual_df=100,
    )
    found = compute(SEEDS, maps, [part, good], GRID)
    alone = compute(SEEDS, maps, [good], GRID)
    for name in "ABC":
        assert np.array_equal(found[name].z, alone[name].z)
        assert found[name].left_out == (f"run 1: C: {dual.NO_SPREAD}",)
    assert found["C"].regions[0].coverage == 0
    assert 0.1 < found["B"].regions[0].coverage < 0.7
    assert found["B"].regions[1].coverage == pytest.approx(1)
    nowhere = compute(SEEDS, maps, [part], GRID)["A"]
    assert nowhere.z is None
    assert dual.NO_SPREAD in nowhere.missing


def test_too_many_networks_for_a_run_are_said():
    found = compute(SEEDS, blobs(), [planted(8, df=2)[0]], GRID)
    assert NO_DF.format(n_maps=3, df=2) in found["A"].missing
    found = compute(SEEDS, blobs(), [planted(9, n=4, df=50)[0]], GRID)
    assert found["A"].z is None


# --- files --------------------------------------------------------------------------------------

STANDARD, STANDARD_AFFINE = standard_grid(NEW_SPACE, "2")
COARSE = np.array([[-5.0, 0, 0, 95], [0, 5, 0, -130], [0, 0, 5, -75], [0, 0, 0, 1]])
SPOTS = [(-40.0, -20.0, 40.0), (40.0, 20.0, 10.0), (0.0, -60.0, 20.0)]


def weights(spots=SPOTS, shape=(39, 46, 39), affine=COARSE):
    points = voxel_points(np.ones(shape, bool), affine)
    each = [np.exp(-(np.linalg.norm(points - spot, axis=1) ** 2) / 200) for spot in spots]
    return np.stack(each, axis=-1).reshape(*shape, len(spots)).astype(np.float32)


def save(path, data, affine=COARSE):
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def test_volumes_are_named_by_the_table_and_land_at_their_place(tmp_path):
    path = save(tmp_path / f"atlas-Mine_space-{NEW_SPACE}_probseg.nii.gz", weights())
    table = tmp_path / f"atlas-Mine_space-{NEW_SPACE}_probseg.tsv"
    table.write_text("index\tname\n2\tright\n1\tleft\n3\tback\n")
    seeds = load_network_maps(path)
    assert [seed.name for seed in seeds] == ["Mine_left", "Mine_right", "Mine_back"]
    assert {seed.given_space for seed in seeds} == {NEW_SPACE}
    mask = np.ones(STANDARD, bool)
    maps = maps_on_grid(path, [1, 2, 3], mask, STANDARD_AFFINE, NEW_SPACE, NEW_SPACE)
    for one, spot in zip(maps, SPOTS, strict=True):
        points = voxel_points(mask, STANDARD_AFFINE)
        centre = (one.ravel()[:, None] * points).sum(axis=0) / one.sum()
        assert np.linalg.norm(centre - spot) < 1
    half = np.zeros(STANDARD, bool)
    half[:48] = True
    part = maps_on_grid(path, [1, 2], half, STANDARD_AFFINE, NEW_SPACE, NEW_SPACE)
    assert np.array_equal(part[0][half], maps[0][half])
    assert part[1][~half].max() == 0


def test_labels_become_maps_of_ones_moved_between_spaces(tmp_path):
    labels = np.zeros((39, 46, 39), np.int16)
    near = weights([(-6.0, -26.0, 70.0), (40.0, 0.0, 0.0)]) > 0.5
    labels[near[..., 0]], labels[near[..., 1]] = 3, 12
    path = save(tmp_path / f"nets_space-{FSL_SPACE}_dseg.nii.gz", labels)
    seeds = load_network_maps(path)
    assert [(s.name, s.index) for s in seeds] == [
        ("netsDseg_label03", 3),
        ("netsDseg_label12", 12),
    ]
    mask = np.ones(STANDARD, bool)
    maps = maps_on_grid(path, [3, 12], mask, STANDARD_AFFINE, NEW_SPACE, FSL_SPACE)
    assert set(np.unique(maps)) == {0, 1}
    centre = voxel_points(maps[0] > 0, STANDARD_AFFINE).mean(axis=0)
    there = points_to_space(np.array([[-6.0, -26.0, 70.0]]), FSL_SPACE, NEW_SPACE)[0]
    assert np.linalg.norm(there - (-6, -26, 70)) > 1.5
    assert np.linalg.norm(centre - there) < 1.2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.full((4, 4, 4), 0.5, np.float32), "values from 0.5 to 0.5 in 3 dimensions"),
        (np.zeros((4, 4, 4), np.int16), "values from 0 to 0"),
        (np.full((4, 4, 4), -1, np.int16), "values from -1 to -1"),
        (np.zeros((4, 4)), "has the shape (4, 4)"),
        (np.zeros((2, 2, 2, 101), np.uint8), "has 101 maps, over 100"),
    ],
)
def test_images_that_are_no_maps(tmp_path, data, reason):
    with pytest.raises(UsageError) as caught:
        load_network_maps(save(tmp_path / "x.nii.gz", data))
    assert reason in caught.value.message


def test_a_table_must_name_every_map(tmp_path):
    path = save(tmp_path / "x.nii.gz", weights())
    (tmp_path / "x.tsv").write_text("index\tname\n1\ta\n2\tb\n")
    with pytest.raises(UsageError) as caught:
        load_network_maps(path)
    assert caught.value.message.endswith("x.tsv has no row for volume 3.")
    (tmp_path / "broken.nii.gz").write_text("nothing")
    with pytest.raises(UsageError, match="cannot be read as an image"):
        load_network_maps(str(tmp_path / "broken.nii.gz"))


def settings_with(tmp_path, **more):
    (tmp_path / "raw").mkdir(exist_ok=True)
    return build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": str(tmp_path / "raw"),
            "input.output_dir": str(tmp_path / "out"),
            **more,
        }
    )


def test_maps_follow_the_seeds_only_when_they_are_given(tmp_path):
    path = save(tmp_path / "rsn.nii.gz", weights())
    plain = seeds_asked(settings_with(tmp_path))
    given = seeds_asked(settings_with(tmp_path, **{"measures.network_maps": path}))
    assert given[: len(plain)] == plain
    assert [s.name for s in given[len(plain) :]] == ["rsn_volume1", "rsn_volume2", "rsn_volume3"]
    off = {"measures.network_maps": path, "measures.names": ["seed"]}
    assert seeds_asked(settings_with(tmp_path, **off)) == plain


def test_a_map_with_the_file_name_of_a_seed_is_refused(tmp_path):
    path = save(tmp_path / "SN.nii.gz", weights()[..., :1].repeat(2, axis=-1))
    (tmp_path / "SN.tsv").write_text("index\tname\n1\taIns_L\n2\tother\n")
    with pytest.raises(UsageError) as caught:
        seeds_asked(settings_with(tmp_path, **{"measures.network_maps": path}))
    assert "SN_aIns_L and SN_aIns_L" in caught.value.message


# --- node ---------------------------------------------------------------------------------------


def test_the_node_finds_planted_networks_over_two_runs(tmp_path):
    path = save(tmp_path / f"rsn_space-{NEW_SPACE}.nii.gz", weights())
    seeds = load_network_maps(path)
    mask = np.zeros(STANDARD, bool)
    mask[10:-10:3, 10:-10:3, 10:-10:3] = True
    save_mask(mask, STANDARD_AFFINE, tmp_path / "mask.nii.gz")
    maps = maps_on_grid(path, [1, 2, 3], mask, STANDARD_AFFINE, NEW_SPACE, NEW_SPACE)[:, mask]
    rng = np.random.default_rng(11)
    inputs = {key: [] for key in ("denoised", "smoothed", "mask", "tsnr", "status")}
    for run in "12":
        series = rng.standard_normal((120, 3))
        data = series @ maps + 0.3 * rng.standard_normal((120, maps.shape[1]))
        np.save(tmp_path / f"data{run}.npy", data.astype(np.float32))
        np.save(tmp_path / f"tsnr{run}.npy", np.full(maps.shape[1], 50.0))
        status = {
            "ResidualDegreesOfFreedom": 60,
            "MinutesKept": 4.0,
            "MeanFramewiseDisplacement": 0.1,
            "NumberOfVolumesKept": 120,
        }
        write_json(tmp_path / f"status{run}.json", status)
        for key, name in (
            *(("denoised", f"data{run}.npy"), ("smoothed", f"data{run}.npy")),
            *(("mask", "mask.nii.gz"), ("tsnr", f"tsnr{run}.npy")),
            ("status", f"status{run}.json"),
        ):
            inputs[key].append(str(tmp_path / name))
    node = DualRegression(
        **inputs,
        space=NEW_SPACE,
        seeds=json.loads(json.dumps([asdict(seed) for seed in seeds])),
        wanted=[seeds[0].name, seeds[1].name],
        version="1",
    )
    entries = load_manifest(node.run(cwd=str(tmp_path)).outputs.manifest)
    assert [entry["key"] for entry in entries] == [f"{s.name}:fisherz" for s in seeds[:2]]
    for entry, own in zip(entries, maps, strict=False):
        values = nib.load(entry["file"]).get_fdata()[mask]
        assert np.corrcoef(values, own)[0, 1] > 0.7
        assert entry["metadata"]["DegreesOfFreedom"] == 2 * (60 - 2)
        assert len(entry["metadata"]["SeedCoverage"]) == 2
