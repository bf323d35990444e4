"""From the command line to the group page, on one tiny cohort."""

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset.naming import camel_label
from rls_bids.dataset.walk import walk
from rls_bids.measures import LOCAL_STATS
from rls_bids.resources import default_seeds
from tests.e2e.conftest import Road, call

pytestmark = pytest.mark.e2e

PARTICIPANTS = ("RLS001", "RLS002", "HC001", "HC002")
STD = "space-MNI152NLin2009cAsym_res-2"


def promised(label: str) -> set[str]:
    """Every file that a participant without sessions and one run has at the minimal level."""
    anat, func = f"sub-{label}/anat/sub-{label}", f"sub-{label}/func/sub-{label}_task-rest"
    images = [
        f"{anat}{where}_{what}"
        for where in ("", f"_{STD}")
        for what in (
            "desc-preproc_T1w",
            "desc-brain_mask",
            "dseg",
            *(f"label-{tissue}_probseg" for tissue in ("GM", "WM", "CSF")),
        )
    ]
    images += [f"{func}_boldref", f"{func}_{STD}_boldref", f"{func}_{STD}_desc-brain_mask"]
    images += [
        f"{func}_{STD}_denoise-acompcor_seed-{camel_label(seed.name)}_stat-{stat}_statmap"
        for seed in default_seeds()
        for stat in ("pearsonr", "fisherz")
    ]
    native = STD.replace("res-2", "res-native")
    images += [
        f"{func}_{native}_denoise-acompcor_stat-{stat}{scale}_boldmap"
        for stat in LOCAL_STATS
        for scale in ("", "_desc-meannorm", "_desc-zstd")
    ]
    parcels = f"{func}_{STD.removesuffix('_res-2')}_seg-Seitzman300_denoise-acompcor"
    tables = [f"{parcels}_stat-{stat}_timeseries" for stat in ("mean", "coverage")]
    tables += [f"{parcels}_meas-{kind}correlation_relmat" for kind in ("pearson", "partial")]
    tables += [f"{parcels}_meas-fisherz_desc-{sets}_relmat" for sets in ("networks", "lobes")]
    graph = f"{parcels}_meas-pearsoncorrelation_desc"
    tables += [f"{graph}-{level}_graph" for level in ("global", "nodal")]
    others = dict.fromkeys(tables, ".tsv") | {
        f"{anat}_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm": ".h5",
        f"{anat}_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm": ".h5",
        f"{func}_from-boldref_to-T1w_mode-image_xfm": ".txt",
        f"{func}_from-orig_to-boldref_mode-image_desc-hmc_xfm": ".txt",
        f"{func}_desc-confounds_timeseries": ".tsv",
        f"{func}_outliers": ".tsv",
        f"{func}_quality": ".tsv",
        f"{func}_denoise-acompcor_design": ".tsv",
    }
    files = {f"{image}.nii.gz" for image in images}
    files |= {stem + extension for stem, extension in others.items()}
    return files | {f"{stem}.json" for stem in [*images, *others]} | {f"sub-{label}.html"}


def test_both_levels_end_well(road: Road) -> None:
    assert road.participant.status == 0, road.participant.err
    assert road.group.status == 0, road.group.err
    assert "Traceback" not in road.participant.err + road.group.err


@pytest.mark.parametrize("label", PARTICIPANTS)
def test_every_promised_file_is_there(road: Road, label: str) -> None:
    missing = sorted(path for path in promised(label) if not (road.out / path).is_file())
    assert missing == []


def test_the_top_level_is_complete(road: Road) -> None:
    for name in (
        "dataset_description.json",
        "README.md",
        ".bidsignore",
        "descriptions.tsv",
        "logs/CITATION.md",
        "logs/CITATION.bib",
        "logs/CITATION.html",
        "group/model-group.html",
    ):
        assert (road.out / name).is_file(), name
    logs = list((road.out / "sub-RLS001/log").glob("*/settings.toml"))
    assert len(logs) >= 1


def test_the_official_validator_finds_no_error(road: Road, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    program = Path(sysconfig.get_path("scripts")) / "bids-validator-deno"
    arguments = [road.out, "--ignoreWarnings", "--format", "json", "-o", report]
    done = subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    found = json.loads(report.read_text())["issues"]["issues"]
    errors = [issue for issue in found if issue["severity"] == "error"]
    assert errors == []
    assert done.returncode == 0


def test_every_file_is_one_of_ours(road: Road) -> None:
    assert walk(road.out) == []


def test_nothing_is_written_elsewhere(road: Road) -> None:
    """HOME, TMPDIR and the current folder were an empty folder beside output and work."""
    home = road.out.parent / "home"
    assert [path.name for path in home.rglob("*")] == []
    assert {path.name for path in road.out.parent.iterdir()} == {"home", "out put", "work"}


def test_maps_lie_on_the_standard_grid(road: Road) -> None:
    image = nib.load(
        road.out / f"sub-RLS001/func/sub-RLS001_task-rest_{STD}_denoise-acompcor"
        "_seed-DMNPCC_stat-fisherz_statmap.nii.gz"
    )
    assert image.shape == (97, 115, 97)
    np.testing.assert_allclose(image.affine[:3, 3], (-96.5, -132.5, -78.5))
    voxel = np.round(np.linalg.inv(image.affine) @ [-2, -51, 27, 1]).astype(int)[:3]
    values = image.get_fdata()
    assert values[tuple(voxel)] > 0.5  # the seed correlates with its own place
    assert np.isfinite(values).all()


def test_a_second_run_computes_nothing(road: Road) -> None:
    before = {path: path.stat().st_mtime_ns for path in road.out.rglob("*.nii.gz")}
    again = call(
        road.bids, road.out, "participant", "-w", road.work, "--sloppy", "-v", "--n-cpus", 2
    )
    assert again.status == 0, again.err
    assert "nothing is computed" in again.err
    assert {path: path.stat().st_mtime_ns for path in road.out.rglob("*.nii.gz")} == before


def test_nor_without_the_work_directory(road: Road, tmp_path: Path) -> None:
    again = call(road.bids, road.out, "participant", "-w", tmp_path / "new", "--sloppy", "-v")
    assert again.status == 0, again.err
    assert "nothing is computed" in again.err


def test_one_missing_map_is_made_again_alone(road: Road, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(road.out, out)
    lost = (
        out / f"sub-HC001/func/sub-HC001_task-rest_{STD}_denoise-acompcor"
        "_seed-SNAInsL_stat-fisherz_statmap.nii.gz"
    )
    expected = nib.load(lost).get_fdata()
    lost.unlink()
    kept = {
        path: path.stat().st_mtime_ns for path in out.rglob("*_seed-DMN*_stat-fisherz*.nii.gz")
    }
    again = call(
        road.bids, out, "participant", "-w", road.work, "--sloppy", "--participant-label", "HC001"
    )
    assert again.status == 0, again.err
    np.testing.assert_array_equal(nib.load(lost).get_fdata(), expected)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_one_broken_participant_stops_nobody(road: Road, tmp_path: Path) -> None:
    """HC002's BOLD file is cut short: the others come from what is finished, HC002 is named."""
    bids, out = tmp_path / "bids", tmp_path / "out"
    shutil.copytree(road.bids, bids)
    shutil.copytree(road.out, out)
    bold = bids / "sub-HC002/func/sub-HC002_task-rest_bold.nii.gz"
    bold.write_bytes(bold.read_bytes()[:-100_000])
    done = call(bids, out, "participant", "-w", tmp_path / "work", "--sloppy", "--n-cpus", 2)
    assert done.status == 1
    assert "sub-HC002" in done.err
    assert str(bold) in done.err
    assert "Traceback" not in done.err
    page = (out / "sub-HC002.html").read_text()
    assert "bold.nii.gz" in page


def test_too_little_data_is_refused_with_its_arithmetic(road: Road, tmp_path: Path) -> None:
    """The same data ask for more than they have: preprocessing stands, no map is made."""
    out = tmp_path / "out"
    arguments = ("--participant-label", "RLS001", "--sloppy", "--min-df", 200, "--n-cpus", 2)
    done = call(road.bids, out, "participant", "-w", road.work, *arguments)
    assert done.status == 65
    assert "150 volumes" in done.err
    assert "22 regressors" in done.err
    assert (out / "sub-RLS001.html").is_file()
    assert (out / "sub-RLS001/func/sub-RLS001_task-rest_desc-confounds_timeseries.tsv").is_file()
    assert list(out.rglob("*_statmap.nii.gz")) == []
    again = call(road.bids, out, "participant", "-w", tmp_path / "new", *arguments)
    assert again.status == 65
    assert "22 regressors" in again.err
    assert walk(out) == []


def test_level_full_writes_the_series_of_a_finished_participant(
    road: Road, tmp_path: Path
) -> None:
    out, func = tmp_path / "out", "sub-RLS001/func/sub-RLS001_task-rest"
    shutil.copytree(road.out, out)
    arguments = ("--participant-label", "RLS001", "--sloppy", "--level", "full", "--n-cpus", 2)
    done = call(road.bids, out, "participant", "-w", road.work, *arguments)
    assert done.status == 0, done.err
    mask = nib.load(out / f"{func}_{STD}_desc-brain_mask.nii.gz").get_fdata() > 0
    mean = nib.load(out / f"{func}_{STD}_boldref.nii.gz").get_fdata()
    raw = nib.load(road.bids / f"{func}_bold.nii.gz")
    for name in ("desc-preproc", "desc-denoisedAcompcor"):
        image = nib.load(out / f"{func}_{STD}_{name}_bold.nii.gz")
        told = json.loads((out / f"{func}_{STD}_{name}_bold.json").read_text())
        assert image.shape[:3] == mask.shape
        assert image.header.get_zooms()[3] == pytest.approx(raw.header.get_zooms()[3])
        assert told["RepetitionTime"] == pytest.approx(raw.header.get_zooms()[3])
        series = np.asarray(image.dataobj, np.float32)
        assert (series[~mask] == 0).all()
        if name == "desc-preproc":
            assert image.shape[3] == raw.shape[3]
            np.testing.assert_allclose(series.mean(axis=3), mean, rtol=1e-3, atol=0.1)
        else:
            inside = series[mask]
            assert (abs(inside.mean(axis=1)) < 0.05 * inside.std(axis=1)).all()
            design = pd.read_csv(out / f"{func}_denoise-acompcor_design.tsv", sep="\t")
            regressors = design.to_numpy() / np.linalg.norm(design.to_numpy(), axis=0)
            scale = np.linalg.norm(inside, axis=1, keepdims=True)
            assert abs(inside @ regressors / scale).max() < 1e-3
    assert walk(out) == []
