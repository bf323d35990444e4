"""What local measures share: averages over runs, smoothing, copies; and their node."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from rls_bids.dataset.description import write_json
from rls_bids.interfaces.images import save_mask
from rls_bids.interfaces.local import LocalMaps, map_key
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.numerics import local
from rls_bids.resources.grids import standard_grid

SPACE = "MNI152NLin2009cAsym"
RNG = np.random.default_rng(4)


def test_runs_are_weighted_by_minutes_where_they_have_a_value():
    first, second = np.zeros((2, 3, 2), bool), np.zeros((2, 3, 2), bool)
    first[0], second[:, 1:] = True, True
    one, two = RNG.standard_normal(first.sum()), RNG.standard_normal(second.sum())
    two[0] = np.nan
    mean = local.average_runs([one, two], [first, second], [4.0, 2.0])
    for place in np.ndindex(first.shape):
        values = []
        for values_of, mask, minutes in ((one, first, 4.0), (two, second, 2.0)):
            if mask[place]:
                value = values_of[
                    np.flatnonzero(
                        mask.ravel()[: np.ravel_multi_index(place, mask.shape) + 1]
                    ).size
                    - 1
                ]
                values += [(value, minutes)] if np.isfinite(value) else []
        expected = sum(v * m for v, m in values) / sum(m for _, m in values) if values else np.nan
        np.testing.assert_allclose(mean[place], expected)


def test_smoothing_neither_fills_nor_leaks():
    volume = np.full((12, 12, 12), 3.0)
    volume[6:] = np.nan
    smooth = local.smooth_map(volume, (2.0, 2.0, 2.0), 6.0)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(volume))
    np.testing.assert_allclose(smooth[:6], 3.0, rtol=1e-5)
    np.testing.assert_array_equal(local.smooth_map(volume, (2.0, 2.0, 2.0), 0.0), volume)


def test_copies_are_what_they_are_called():
    volume = RNG.gamma(3, size=(4, 5, 6))
    volume[0] = np.nan
    copies = local.scaled_copies(volume)
    assert set(copies) == set(local.SCALES)
    inside = np.isfinite(volume)
    np.testing.assert_allclose(copies["zstd"][inside], stats.zscore(volume[inside]))
    assert copies["meannorm"][inside].mean() == pytest.approx(1)
    np.testing.assert_array_equal(copies[""], volume)


@pytest.mark.parametrize(("value", "message"), [(np.nan, local.NO_VALUE), (2.0, local.NO_SPREAD)])
def test_a_map_without_values_or_spread_has_no_copies(value, message):
    with pytest.raises(ValueError, match=message):
        local.scaled_copies(np.full((2, 2, 2), value))


@pytest.fixture
def runs(tmp_path: Path) -> dict:
    """Two runs on the 6 mm grid; in the left half of the first, neighbours go together."""
    shape, affine = standard_grid(SPACE, "6")
    mask = np.zeros(shape, bool)
    mask[8:24, 12:28, 10:22] = True
    lists = {"filtered": [], "unfiltered": [], "sample_mask": [], "mask": [], "status": []}
    for run, kept in enumerate((90, 60), 1):
        series = RNG.standard_normal((kept, mask.sum()))
        left = nib.affines.apply_affine(affine, np.argwhere(mask))[:, 0] < 0
        if run == 1:
            series[:, left] += 3 * RNG.standard_normal((kept, 1))
        for name in ("filtered", "unfiltered"):
            path = tmp_path / f"{name}_{run}.npy"
            np.save(path, series.astype(np.float32))
            lists[name].append(str(path))
        np.save(tmp_path / f"kept_{run}.npy", np.arange(100) < kept)
        lists["sample_mask"].append(str(tmp_path / f"kept_{run}.npy"))
        lists["mask"].append(save_mask(mask, affine, tmp_path / f"mask_{run}.nii.gz"))
        status = {"Run": f"run-{run}", "MinutesKept": kept / 30, "ResidualDegreesOfFreedom": 30}
        status |= {"NumberOfVolumesKept": kept, "MeanFramewiseDisplacement": 0.1}
        write_json(tmp_path / f"status_{run}.json", status)
        lists["status"].append(str(tmp_path / f"status_{run}.json"))
    return lists


def compute(runs: dict, measure: str, folder: Path, **options: float) -> dict:
    folder.mkdir()
    node = LocalMaps(
        **runs,
        repetition_times={"run-1": 2.0, "run-2": 2.0},
        measure=measure,
        options=options,
        space=SPACE,
        smoothing_fwhm_mm=0.0,
        version="test",
    )
    return {e["key"]: e for e in load_manifest(node.run(cwd=folder).outputs.manifest)}


def test_homogeneity_planted_on_the_left_comes_out_left(runs: dict, tmp_path: Path) -> None:
    found = compute(runs, "reho", tmp_path / "w")
    assert set(found) == {map_key("reho", scale) for scale in local.SCALES}
    image = nib.load(found["reho"]["file"])
    values = image.get_fdata()
    x = nib.affines.apply_affine(image.affine, np.argwhere(values != 0))[:, 0]
    own = values[values != 0]
    assert own[x < -6].mean() > 2 * own[x > 6].mean()
    told = found["reho"]["metadata"]
    assert told["NumberOfRuns"] == 2
    assert told["DegreesOfFreedom"] == 60
    assert told["MinutesKept"] == pytest.approx(5.0)


def test_grey_matter_alone_has_degrees(runs: dict, tmp_path: Path) -> None:
    found = compute(runs, "centrality", tmp_path / "w", dc_threshold=0.25, dc_density=0.05)
    degrees = nib.load(found["dcb"]["file"])
    from rls_bids.resources.tissue import grey_matter_on_grid

    grey = grey_matter_on_grid(degrees.shape, degrees.affine.tobytes(), SPACE)
    assert (degrees.get_fdata()[~grey] == 0).all()
    assert (nib.load(found["fcs"]["file"]).get_fdata()[grey] != 0).any()


def test_what_one_run_cannot_give_is_said_and_the_other_is_used(
    runs: dict, tmp_path: Path
) -> None:
    """A band that the second, shorter run has no frequency for cannot be: here none has one."""
    options = {"alff_low_hz": 0.2, "alff_high_hz": 0.24}
    found = compute(runs, "alff", tmp_path / "a", **options)
    assert found["alff"]["file"]
    options = {"alff_low_hz": 0.0101, "alff_high_hz": 0.0102}
    lost = compute(runs, "alff", tmp_path / "b", **options)
    assert {entry["file"] for entry in lost.values()} == {""}
    assert "alff of run 1 has no value" in lost["alff"]["metadata"]["Missing"]
