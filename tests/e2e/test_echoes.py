"""Three echoes that start bright, from raw data to the page; and what combining them gains."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.description import read_json
from rls_bids.dataset.walk import walk
from rls_bids.errors import UsageError
from rls_bids.interfaces.bold import ResampleSeries
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.spec import BAD_ECHOES, CohortSpec, plan_cohort
from tests.e2e.conftest import call

pytestmark = pytest.mark.e2e

N_START, N_VOLUMES = 3, 36
TIMES = (0.013, 0.03, 0.047)
SPEC = CohortSpec(
    size="tiny",
    n_patients=1,
    n_controls=0,
    n_volumes=N_VOLUMES,
    non_steady=N_START,
    echo_times_s=TIMES,
    tsnr=40.0,
    random_seed=3,
)
FUNC = "sub-RLS001/func/sub-RLS001_task-rest"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("echoes") / "bids", SPEC)


def test_echoes_become_one_run_without_its_bright_start(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--sloppy", "-p", "none", "--min-time", 0, "--min-df", 2, "--n-cpus", 1)
    done = call(cohort, out, "participant", "-w", tmp_path / "work", *arguments)
    assert done.status == 0, done.err
    assert walk(out) == []
    told = read_json(out / f"{FUNC}_desc-confounds_timeseries.json")
    assert told["NumberOfVolumesDiscardedByUser"] == told["NonSteadyStateVolumes"] == N_START
    assert N_START * 2.0 < told["StartTime"] < (N_START + 1) * 2.0
    assert told["EchoTimes"] == list(TIMES)
    sources = [source for source in told["Sources"] if "bold" in source]
    assert sources == [f"bids:raw:{FUNC}_echo-{k}_bold.nii.gz" for k in (1, 2, 3)]
    n_kept = N_VOLUMES - N_START
    for name in ("desc-confounds_timeseries", "outliers"):
        assert len((out / f"{FUNC}_{name}.tsv").read_text().splitlines()) == 1 + n_kept
    design = read_json(out / f"{FUNC}_denoise-none_design.json")
    assert design["NumberOfVolumes"] == n_kept
    hmc = (out / f"{FUNC}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt").read_text()
    assert hmc.count("Transform: ") == n_kept
    page = (out / "sub-RLS001.html").read_text(encoding="utf-8")
    assert f"being brighter than the steady state: {N_START} of {N_VOLUMES} volumes" in page
    assert f"were discarded: {N_START} a run" in page
    assert "Head motion of runs with 3 echoes" in page
    again = call(cohort, out, "participant", "-w", tmp_path / "other", *arguments)
    assert "Every output is finished already" in again.err


def resampled(root: Path, folder: Path, echoes: tuple[int, ...]) -> np.ndarray:
    """Grey matter of one echo, or of several combined, moved as the truth says."""
    folder.mkdir()
    truth = root / "sourcedata/truth/sub-RLS001"
    grey = nib.load(truth / "tissues_dseg.nii.gz")
    mask = np.asarray(grey.dataobj) == 1
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), grey.affine), folder / "mask.nii.gz")
    np.save(folder / "points.npy", nib.affines.apply_affine(grey.affine, np.argwhere(mask)))
    with np.load(truth / "motion.npz") as motion:
        np.save(folder / "matrices.npy", motion["matrices"][N_START:])
        np.save(folder / "place.npy", motion["t1w_to_bold"])
    paths = [str(root / f"{FUNC}_echo-{k}_bold.nii.gz") for k in echoes]
    several = {"echoes": paths, "echo_times": [TIMES[k - 1] for k in echoes]}
    node = ResampleSeries(
        in_file=paths[0],
        dummy_scans=N_START,
        repetition_time=2.0,
        slice_timing=json.loads((root / "task-rest_bold.json").read_text())["SliceTiming"],
        matrices=str(folder / "matrices.npy"),
        t1w_to_boldref=str(folder / "place.npy"),
        points=str(folder / "points.npy"),
        std_mask=str(folder / "mask.nii.gz"),
        version="test",
        **(several if len(paths) > 1 else {}),
    )
    done = node.run(cwd=folder)
    assert [path.name for path in folder.glob("echo_*.npy")] == []
    return np.load(done.outputs.series)


def test_the_combination_beats_the_middle_echo(cohort: Path, tmp_path: Path) -> None:
    """In tSNR, and in how well it follows the same head measured without noise."""
    twin = write_cohort(tmp_path / "twin", replace(SPEC, tsnr=1e6))
    tsnr, follows = {}, {}
    for name, echoes in (("middle", (2,)), ("combined", (1, 2, 3))):
        series = resampled(cohort, tmp_path / name, echoes)
        truth = resampled(twin, tmp_path / f"{name}_twin", echoes)
        noise = series - truth
        tsnr[name] = np.median(series.mean(axis=0) / noise.std(axis=0))
        centred = [data - data.mean(axis=0) for data in (series, truth)]
        norms = np.prod([np.linalg.norm(data, axis=0) for data in centred], axis=0)
        follows[name] = np.median((centred[0] * centred[1]).sum(axis=0) / norms)
    assert tsnr["combined"] > 1.3 * tsnr["middle"]
    assert follows["combined"] > follows["middle"] + 0.05


@pytest.mark.parametrize("times", [(0.03,), (0.03, 0.02), (0.0, 0.03), (0.01, 30.0)])
def test_echo_times_of_a_phantom_must_ascend(times: tuple) -> None:
    with pytest.raises(UsageError) as caught:
        plan_cohort(CohortSpec(echo_times_s=times))
    assert caught.value.message == BAD_ECHOES.format(value=times)
