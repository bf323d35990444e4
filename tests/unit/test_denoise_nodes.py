"""The denoising nodes on a small series: what they fit, what they hand on, what they say."""

from pathlib import Path

import nibabel as nib
import nilearn.signal
import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset.description import read_json, write_json
from rls_bids.errors import InputDataError
from rls_bids.interfaces.denoise import (
    FD,
    FD_FILTERED,
    ComputeConfounds,
    Denoise,
    SelectRuns,
)
from rls_bids.interfaces.loadings import PlotLoadings
from rls_bids.interfaces.prepared import _save_confounds
from rls_bids.interfaces.tables import load_table, save_table
from rls_bids.numerics.confounds import MOTION, cosine_basis, framewise_displacement

SHAPE = (16, 16, 16)
N, REPETITION_TIME = 160, 1.0
NOTCH = {"kind": "notch", "low_bpm": 12.0, "high_bpm": 18.0, "order": 4, "version": "1"}


def breathing_head():
    """Slow motion, one jump, and breathing at 16/min that alone would censor half of the run."""
    times = REPETITION_TIME * np.arange(N)[:, None]
    periods = np.array([90, 70, 110, 80, 60, 100])
    slow = 0.05 * np.sin(2 * np.pi * times / periods) * np.repeat([1.0, 1 / 50], 3)
    slow[100:, 2] += 2.0
    breaths = np.zeros((N, 6))
    breaths[:, 1] = 0.4 * np.sin(2 * np.pi * times[:, 0] * 16 / 60)
    return slow, breaths


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    radius = np.linalg.norm(np.indices(SHAPE) - 7.5, axis=0)
    mask = radius < 7.4
    slow, breaths = breathing_head()
    series = 1000 + 10 * rng.standard_normal((N, int(mask.sum())))
    series += (slow + breaths)[:, 1:2] * 20
    np.save(folder / "series.npy", series.astype(np.float32))
    np.save(folder / "parameters.npy", slow + breaths)
    images = {"mask": mask, "white": (radius >= 3.2) & (radius < 7), "csf": radius < 3.2}
    for name, image in images.items():
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([3, 3, 3, 1.0])),
                 folder / f"{name}.nii.gz")  # fmt: skip
    return folder


def confounds_of(files, folder, motion_filter):
    node = ComputeConfounds(
        series=str(files / "series.npy"),
        mask=str(files / "mask.nii.gz"),
        parameters=str(files / "parameters.npy"),
        white_matter=str(files / "white.nii.gz"),
        csf=str(files / "csf.nii.gz"),
        repetition_time=REPETITION_TIME,
        fd_threshold_mm=0.2,
        motion_filter=motion_filter,
        version="1",
    )
    return node.run(cwd=str(folder)).outputs


@pytest.fixture(scope="module")
def plain(files, tmp_path_factory):
    return confounds_of(files, tmp_path_factory.mktemp("plain"), {})


@pytest.fixture(scope="module")
def notched(files, tmp_path_factory):
    return confounds_of(files, tmp_path_factory.mktemp("notched"), NOTCH)


def run_node(interface, files, folder, confounds, **options):
    given = {
        "series": str(files / "series.npy"),
        "confounds": str(confounds),
        "strategy": "24P",
        "label": "24P",
        "repetition_time": REPETITION_TIME,
        "band_hz": [0.01, 0.1],
        "fd_threshold_mm": 0.2,
        "version": "1",
    }
    if interface is Denoise:
        own = {"run": "run-1", "smoothing_fwhm_mm": 0.0}
        given |= own | {"mask": str(files / "mask.nii.gz")}
    folder.mkdir(exist_ok=True)
    return interface(**(given | options)).run(cwd=str(folder)).outputs


# --- breathing ----------------------------------------------------------------------------------


def test_both_displacements_stand_in_the_table_and_the_filtered_one_censors(plain, notched):
    before, after = (pd.read_csv(each.confounds, sep="\t") for each in (plain, notched))
    assert FD_FILTERED not in before
    for name in (*MOTION, FD):
        assert np.allclose(after[name][1:], before[name][1:])  # what was measured stays
    assert after[FD][1:].mean() > 0.2
    outliers = {name: pd.read_csv(each.outliers, sep="\t").shape[1] for name, each in
                (("plain", plain), ("notched", notched))}  # fmt: skip
    assert outliers["plain"] > N / 3
    assert 1 <= outliers["notched"] <= 12  # the jump, and a few volumes about it
    assert np.nanargmax(pd.to_numeric(after[FD_FILTERED], errors="coerce")) in range(98, 103)
    told = read_json(Path(notched.metadata))
    assert told[FD_FILTERED]["UsedForCensoring"] is True
    assert told["trans_y_filtered"]["BandStopSeenBreathsPerMinute"] == [12.0, 18.0]
    assert FD_FILTERED not in read_json(Path(plain.metadata))


def test_regressors_and_censoring_are_without_breathing(files, plain, notched, tmp_path):
    status = {}
    for name, confounds in (("plain", plain), ("notched", notched)):
        outputs = run_node(Denoise, files, tmp_path / name, confounds.confounds)
        status[name] = read_json(Path(outputs.status))
    assert status["plain"]["FramewiseDisplacementUsed"] == FD
    assert status["notched"]["FramewiseDisplacementUsed"] == FD_FILTERED
    assert "trans_y_derivative1_filtered" in status["notched"]["Regressors"]
    assert not any(name in MOTION for name in status["notched"]["Regressors"])
    assert status["notched"]["NumberOfVolumesKept"] > 2 * status["plain"]["NumberOfVolumesKept"]
    assert status["notched"]["MeanFramewiseDisplacement"] < 0.1
    assert status["plain"]["MeanFramewiseDisplacement"] > 0.2


def test_the_other_door_filters_alike(notched, tmp_path):
    """A table of another program gets the same columns from its motion parameters."""

    class Given:
        confounds_file = str(tmp_path / "given.tsv")
        n_dropped = 0
        repetition_time = REPETITION_TIME
        motion_filter = NOTCH
        fd_threshold_mm = 0.2

    ours = load_table(notched.confounds)
    save_table({name: ours[name] for name in (*MOTION, FD, "std_dvars", "dvars")},
               Path(Given.confounds_file))  # fmt: skip
    (tmp_path / "out").mkdir()
    found = _save_confounds(Given, np.zeros((N, 2), np.float32), tmp_path / "out")
    table = load_table(found["confounds"])
    filtered = [name for name in ours if name.endswith("_filtered")]
    assert len(filtered) == 25
    for name in filtered:
        assert np.allclose(table[name], ours[name], atol=1e-5, equal_nan=True)
    assert read_json(Path(found["metadata"]))[FD_FILTERED]["UsedForCensoring"]
    assert Path(found["outliers"]).read_text() == Path(notched.outliers).read_text()


# --- what is handed on --------------------------------------------------------------------------


def test_unfiltered_residuals_are_those_of_plain_regression(files, notched, tmp_path):
    outputs = run_node(
        Denoise, files, tmp_path / "a", notched.confounds, strategy="6P", with_unfiltered=True
    )
    kept, unfiltered = np.load(outputs.sample_mask), np.load(outputs.unfiltered)
    assert kept.dtype == np.bool_
    assert kept.shape == (N,)
    assert unfiltered.dtype == np.float32
    assert unfiltered.shape == (kept.sum(), np.load(files / "series.npy").shape[1])
    assert np.load(outputs.denoised).shape == unfiltered.shape
    table = load_table(notched.confounds)
    names = [f"{name}_filtered" for name in MOTION]
    columns = np.column_stack([np.ones(N), np.arange(N), *(table[name] for name in names)])
    design = np.hstack([columns, cosine_basis(N, REPETITION_TIME)])[kept]
    design = design / np.linalg.norm(design, axis=0)
    data = np.load(files / "series.npy").astype(float)[kept]
    expected = data - design @ np.linalg.lstsq(design, data, rcond=None)[0]
    assert np.abs(unfiltered - expected).max() < 1e-3 * data.std()
    # The band-pass has taken most of white noise out of the other one.
    assert np.load(outputs.denoised).std() < 0.6 * unfiltered.std()


def test_without_asking_there_are_no_unfiltered_residuals(files, notched, tmp_path):
    outputs = run_node(Denoise, files, tmp_path / "a", notched.confounds)
    assert not isinstance(outputs.unfiltered, str)
    assert not (tmp_path / "a" / "unfiltered.npy").exists()
    assert np.load(outputs.sample_mask).sum() == np.load(outputs.denoised).shape[0]


def test_without_censoring_every_volume_is_kept_and_nilearn_agrees(files, plain, tmp_path):
    outputs = run_node(
        Denoise, files, tmp_path / "a", plain.confounds,
        fd_threshold_mm=0.0, label="24P:nocensor", band_hz=[], strategy="6P",
    )  # fmt: skip
    assert np.load(outputs.sample_mask).all()
    assert read_json(Path(outputs.status))["Strategy"] == "24P:nocensor"
    table = load_table(plain.confounds)
    names = [*MOTION, *(name for name in table if name.startswith("cosine"))]
    expected = nilearn.signal.clean(
        np.load(files / "series.npy").astype(float),
        confounds=np.column_stack([table[name] for name in names]),
        detrend=True, standardize=None, standardize_confounds=True, filter=False, t_r=1.0,
    )  # fmt: skip
    assert np.abs(np.load(outputs.denoised) - expected).max() < 1e-4 * expected.std()


def test_columns_of_a_file_are_fitted(files, plain, tmp_path):
    given = {"strategy": "mine", "patterns": ["csf", "^rot_[xyz]$"], "source": "/data/mine.yaml"}
    outputs = run_node(Denoise, files, tmp_path / "a", plain.confounds, **given)
    names = ["csf", "rot_x", "rot_y", "rot_z"]
    assert read_json(Path(outputs.status))["Regressors"] == names
    assert list(load_table(outputs.design)) == names
    given["patterns"] = ["^rotx"]
    with pytest.raises(InputDataError, match=r"/data/mine.yaml asks for '\^rotx'"):
        run_node(Denoise, files, tmp_path / "b", plain.confounds, **given)


@pytest.mark.parametrize("strategy", ["acompcor_gsr", "none"])
def test_the_loadings_are_drawn(files, plain, tmp_path, strategy):
    outputs = run_node(PlotLoadings, files, tmp_path / "a", plain.confounds, strategy=strategy)
    text = Path(outputs.loadings).read_text(encoding="utf-8")
    assert "Confound loadings of 24P" in text
    assert ("global signal" in text) is (strategy == "acompcor_gsr")


def test_selected_runs_take_their_unfiltered_series_along(tmp_path):
    names = ("denoised", "smoothed", "mask", "tsnr", "status", "local_unfiltered", "sample_mask")
    lists = {name: [] for name in names}
    for index, left in enumerate((30, -2, 25)):
        for name in names:
            path = tmp_path / f"{name}{index}"
            write_json(path, {
                "Run": f"run-{index}", "NumberOfVolumes": 200, "NumberOfVolumesKept": 200,
                "BandDimensions": 60, "NumberOfRegressors": 22, "SecondsKept": 400.0,
                "ResidualDegreesOfFreedom": left,
            })  # fmt: skip
            lists[name].append(str(path))
    limits = {"who": "sub-01", "strategy": "6P", "min_time_s": 240.0, "min_df": 20}
    outputs = SelectRuns(**lists, **limits).run().outputs
    names = [Path(path).name for path in outputs.local_unfiltered]
    assert names == ["local_unfiltered0", "local_unfiltered2"]
    assert outputs.selected == [0, 2]
    assert [Path(path).name for path in outputs.sample_mask] == ["sample_mask0", "sample_mask2"]
    for name in ("local_unfiltered", "sample_mask"):
        del lists[name]
    outputs = SelectRuns(**lists, **limits).run().outputs
    assert len(outputs.denoised) == 2


def test_the_planted_displacement_is_what_the_tests_say():
    slow, breaths = breathing_head()
    assert (framewise_displacement(breaths)[1:] > 0.2).mean() > 0.5
    assert np.nanmax(np.delete(framewise_displacement(slow), 100)) < 0.05
