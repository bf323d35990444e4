"""Three echoes that start bright, from raw data to the page; and what combining them gains."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.description import read_json
from rls_bids.dataset.walk import walk
from rls_bids.errors import UsageError
from rls_bids.interfaces.bold import ResampleSeries
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.space import Warp, standard_to_person
from rls_bids.phantom.spec import BAD_ECHOES, CohortSpec, plan_cohort
from rls_bids.phantom.truth import sphere_points
from tests.e2e.conftest import call

pytestmark = pytest.mark.e2e

N_START, N_VOLUMES = 3, 30
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
    seed = [
        {"name": "PCC", "centre_mm": [-2, -51, 27], "radius_mm": 6, "space": "MNI152NLin6Asym"}
    ]
    (tmp_path / "seed.json").write_text(json.dumps(seed), encoding="utf-8")
    arguments = ("--sloppy", "-p", "none", "--min-time", 0, "--min-df", 2, "--n-cpus", 1)
    arguments += ("--seeds", tmp_path / "seed.json")
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
    """Series (n_regions, n_volumes, n_points) of one echo, or of several combined.

    Points are 4 mm apart in spheres round the planted regions; motion and places are the truth.
    """
    folder.mkdir()
    truth = root / "sourcedata/truth"
    with np.load(truth / "sub-RLS001/t1w_to_standard.npz") as found:
        warp = Warp(**found)
    regions = json.loads((truth / "truth.json").read_text())["regions"].values()
    balls = [np.array(one["centre_mm"]) + 4 * sphere_points(np.zeros(3), 2) for one in regions]
    points = standard_to_person(warp, np.concatenate(balls))
    np.save(folder / "points.npy", points)
    mask = nib.Nifti1Image(np.ones((len(points), 1, 1), np.uint8), np.eye(4))
    nib.save(mask, folder / "mask.nii.gz")
    with np.load(truth / "sub-RLS001/motion.npz") as motion:
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
    series = np.load(done.outputs.series)
    return np.moveaxis(series.reshape(len(series), len(balls), -1), 1, 0)


def test_the_combination_beats_the_middle_echo(cohort: Path, tmp_path: Path) -> None:
    """In tSNR, and in how well the voxels of a region show its one planted course."""
    tsnr, agreement = {}, {}
    for name, echoes in (("middle", (2,)), ("combined", (1, 2, 3))):
        series = resampled(cohort, tmp_path / name, echoes)
        own = series - series.mean(axis=2, keepdims=True)
        tsnr[name] = np.median(series.mean(axis=1) / own.std(axis=1))
        upper = np.triu_indices(series.shape[2], k=1)
        agreement[name] = np.mean([np.corrcoef(one.T)[upper] for one in series])
    assert tsnr["combined"] > 1.2 * tsnr["middle"]
    assert agreement["combined"] > agreement["middle"] + 0.05


@pytest.mark.parametrize("times", [(0.03,), (0.03, 0.02), (0.0, 0.03), (0.01, 30.0)])
def test_echo_times_of_a_phantom_must_ascend(times: tuple) -> None:
    with pytest.raises(UsageError) as caught:
        plan_cohort(CohortSpec(echo_times_s=times))
    assert caught.value.message == BAD_ECHOES.format(value=times)
