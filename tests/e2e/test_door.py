"""The second door: what another program has preprocessed, from the command line to the group.

Two cohorts: one like fMRIPrep's output, and our own preprocessing written in fMRIPrep's layout
and read back, from which exactly the same maps must come.
"""

import json
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.naming import camel_label
from rls_bids.dataset.walk import walk
from rls_bids.measures import LOCAL_STATS
from rls_bids.phantom.fmriprep import write_derivative
from rls_bids.phantom.spec import CohortSpec
from rls_bids.resources import default_seeds
from tests.e2e.conftest import Finished, Road, call

pytestmark = pytest.mark.e2e

STD = "space-MNI152NLin2009cAsym_res-2"
SEEDS = "name\tx\ty\tz\tradius_mm\nPCC\t-2\t-51\t27\t6\nAG_L\t-47\t-68\t33\t6\n"
LABELS = ("HC001", "HC002", "RLS001", "RLS002")
COPIED = ("desc-preproc_bold", "desc-brain_mask", "desc-confounds_timeseries")
TOLD = ("MinutesKept", "DegreesOfFreedom", "MeanFramewiseDisplacement", "SeedCoverage")


@dataclass(frozen=True)
class Door:
    """A derivative data set, the data set it stands for, and the results of both levels."""

    bids: Path
    derivative: Path
    out: Path
    work: Path
    options: tuple[object, ...]
    participant: Finished
    group: Finished


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    """Two patients and two controls as fMRIPrep leaves them, beside a raw data set's tables."""
    base = tmp_path_factory.mktemp("door")
    bids, derivative, out = base / "raw", base / "fmri prep", base / "out"
    people = {"n_patients": 2, "n_controls": 2}
    write_derivative(derivative, CohortSpec(size="tiny", random_seed=11, **people))
    bids.mkdir()
    shutil.copy(derivative / "participants.tsv", bids)
    about = {"Name": "raw", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (bids / "dataset_description.json").write_text(json.dumps(about))
    seeds = base / "seeds.tsv"
    seeds.write_text(SEEDS)
    options = ("-w", base / "work", "--n-cpus", 2, "--seeds", seeds)
    participant = call(bids, out, "participant", "-d", f"fmriprep={derivative}", *options)
    group = call(bids, out, "group", *options, "--covariates", "mean_fd")
    return Door(bids, derivative, out, base / "work", options, participant, group)


def test_both_levels_end_well(door: Door) -> None:
    assert door.participant.status == 0, door.participant.err
    assert door.group.status == 0, door.group.err
    assert "Traceback" not in door.participant.err + door.group.err


@pytest.mark.parametrize("label", LABELS)
def test_what_denoising_starts_from_is_written_and_no_anatomy(door: Door, label: str) -> None:
    func = f"sub-{label}/func/sub-{label}_task-rest"
    expected = [f"{func}_{STD}_{what}.nii.gz" for what in ("boldref", "desc-brain_mask")]
    expected += [f"{func}_{what}.tsv" for what in ("desc-confounds_timeseries", "outliers")]
    expected += [
        f"{func}_{STD}_denoise-acompcor_seed-{seed}_stat-fisherz_statmap.nii.gz"
        for seed in ("PCC", "AGL")
    ]
    assert [path for path in expected if not (door.out / path).is_file()] == []
    assert not (door.out / f"sub-{label}/anat").exists()


def test_the_output_is_valid_and_its_sources_resolve(door: Door, tmp_path: Path) -> None:
    assert walk(door.out) == []
    links = json.loads((door.out / "dataset_description.json").read_text())["DatasetLinks"]
    assert set(links) == {"raw", "fmriprep"}  # the group level, which names no other, keeps it
    program = Path(sysconfig.get_path("scripts")) / "bids-validator-deno"
    report = tmp_path / "report.json"
    arguments = [door.out, "--ignoreWarnings", "--format", "json", "-o", report]
    subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    found = json.loads(report.read_text())["issues"]["issues"]
    assert [issue for issue in found if issue["severity"] == "error"] == []


def test_pages_and_methods_name_the_program(door: Door) -> None:
    page = (door.out / "sub-RLS001.html").read_text()
    assert "fMRIPrep 23.2.0" in page
    assert "its step did not finish" not in page
    assert "desc-seeds_bold.svg" in page
    assert not list((door.out / "sub-RLS001/figures").glob("*coregistration*"))
    methods = (door.out / "logs/CITATION.md").read_text()
    assert "fMRIPrep 23.2.0 (Esteban et al. 2019)" in methods
    assert "Atropos" not in methods
    assert "fMRIPrep 23.2.0" in (door.out / "group/model-group.html").read_text()


def test_connected_regions_are_found(door: Door) -> None:
    """The two seeds belong to the same planted network."""
    stem = f"sub-HC001/func/sub-HC001_task-rest_{STD}_denoise-acompcor_seed-PCC"
    image = nib.load(door.out / f"{stem}_stat-fisherz_statmap.nii.gz")
    voxel = np.round(np.linalg.inv(image.affine) @ [-47, -68, 33, 1]).astype(int)[:3]
    assert image.get_fdata()[tuple(voxel)] > 0.2


def test_a_second_run_computes_nothing(door: Door, tmp_path: Path) -> None:
    options = ("-w", tmp_path / "new", *door.options[2:])
    again = call(door.bids, door.out, "participant", "-d", f"fmriprep={door.derivative}", *options)
    assert again.status == 0, again.err
    assert "nothing is computed" in again.err


def test_one_broken_participant_stops_nobody(door: Door, tmp_path: Path) -> None:
    """One series is cut short, one has no mask: both are named, the others are finished."""
    derivative, out = tmp_path / "fmriprep", tmp_path / "out"
    shutil.copytree(door.derivative, derivative)
    shutil.copytree(door.out, out)
    stems = {one: f"sub-{one}/func/sub-{one}_task-rest_{STD}_desc" for one in ("HC002", "RLS002")}
    bold = derivative / f"{stems['HC002']}-preproc_bold.nii.gz"
    bold.write_bytes(bold.read_bytes()[:-100_000])
    (derivative / f"{stems['RLS002']}-brain_mask.nii.gz").unlink()
    options = ("-w", tmp_path / "work", *door.options[2:])
    done = call(door.bids, out, "participant", "-d", derivative, *options)
    assert done.status == 1
    assert str(bold) in done.err
    assert "has no brain mask beside it" in done.err
    assert "Traceback" not in done.err
    assert "no brain mask beside it" in (out / "sub-RLS002.html").read_text()


def test_the_two_doors_agree(road: Road, tmp_path: Path) -> None:
    """Our own preprocessing, written in fMRIPrep's layout and read back: the same maps."""
    full, label = tmp_path / "full", "RLS001"
    shutil.copytree(road.out, full)
    common = ("--participant-label", label, "--sloppy", "--n-cpus", 2)
    done = call(road.bids, full, "participant", "-w", road.work, "--level", "full", *common)
    assert done.status == 0, done.err
    derivative, out = tmp_path / "as fMRIPrep", tmp_path / "out"
    for folder in ("anat", "func"):
        (derivative / f"sub-{label}" / folder).mkdir(parents=True)
    about = {"Name": "copy", "GeneratedBy": [{"Name": "fMRIPrep", "Version": "25.2.0"}]}
    (derivative / "dataset_description.json").write_text(json.dumps(about))
    for path in (full / f"sub-{label}").rglob("*.*"):
        wanted = STD in path.name if path.parent.name == "anat" else any(
            what in path.name for what in COPIED
        )  # fmt: skip
        if path.parent.name in ("anat", "func") and wanted:
            shutil.copy(path, derivative / path.relative_to(full))
    again = call(road.bids, out, "participant", "-w", tmp_path / "w", "-d", derivative, *common)
    assert again.status == 0, again.err
    func = f"sub-{label}/func/sub-{label}_task-rest_{STD}_denoise-acompcor"
    check_other_measures(full, out, func)
    for seed in default_seeds():
        for stat in ("fisherz", "pearsonr"):
            name = f"{func}_seed-{camel_label(seed.name)}_stat-{stat}_statmap"
            ours = nib.load(full / f"{name}.nii.gz").get_fdata()
            theirs = nib.load(out / f"{name}.nii.gz").get_fdata()
            assert abs(ours).max() > 0.2
            np.testing.assert_array_equal(theirs, ours, err_msg=name)
            told = [json.loads((root / f"{name}.json").read_text()) for root in (full, out)]
            assert [told[0][key] for key in TOLD] == [told[1][key] for key in TOLD]
    assert walk(out) == []


def check_other_measures(full: Path, out: Path, func: str) -> None:
    """Local measures come from the series on the acquired grid, matrices from the other one."""
    for stat in LOCAL_STATS:
        name = f"{func.replace('res-2', 'res-native')}_stat-{stat}_boldmap"
        ours = nib.load(full / f"{name}.nii.gz").get_fdata()
        assert abs(ours).max() > 0
        np.testing.assert_array_equal(nib.load(out / f"{name}.nii.gz").get_fdata(), ours)
    for measure in ("pearsoncorrelation", "partialcorrelation"):
        name = f"{func.replace('_res-2', '_seg-Seitzman300')}_meas-{measure}_relmat.tsv"
        assert (out / name).read_bytes() == (full / name).read_bytes()
    for level in ("global", "nodal"):
        name = f"{func.replace('_res-2', '_seg-Seitzman300')}_meas-pearsoncorrelation"
        name += f"_desc-{level}_graph.tsv"
        assert (out / name).read_bytes() == (full / name).read_bytes()
