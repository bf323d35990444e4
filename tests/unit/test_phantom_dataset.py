"""Whole synthetic cohorts on disk: valid, reproducible, and true to what they say."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from rls_bids.dataset.start import volumes_to_drop
from rls_bids.errors import EXIT_CANNOT_WRITE, EXIT_DATA, EXIT_USAGE, UsageError
from rls_bids.phantom.cli import main
from rls_bids.phantom.cohort import NOT_EMPTY
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.fmriprep import NOT_WITH_ANAT
from rls_bids.phantom.head import NOT_AN_IMAGE
from rls_bids.phantom.images import axis_of
from rls_bids.phantom.space import Warp, apply_affine, standard_to_person
from rls_bids.phantom.spec import (
    BAD_COUNT,
    BAD_EFFECT,
    BAD_ORIENTATION,
    BAD_SESSION,
    CohortSpec,
    plan_cohort,
)
from rls_bids.phantom.truth import sphere_points

SPEC = CohortSpec(size="tiny", n_patients=1, n_controls=1, n_volumes=60, tsnr=300.0, random_seed=7)
SHORT = CohortSpec(
    size="tiny",
    n_patients=0,
    n_controls=1,
    n_volumes=10,
    random_seed=7,
    t1w_orientation="LAS",
    bold_orientation="PSR",
    sessions=("pre", "post"),
    differing_qform=True,
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("raw") / "cohort", SPEC)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("sessions") / "cohort", SHORT)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_validator(path):
    beside = str(Path(sys.executable).parent)
    program = shutil.which("bids-validator-deno", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    assert program, "bids-validator-deno comes with the test extra"
    done = subprocess.run(
        [program, str(path), "--ignoreWarnings", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout)["issues"]["issues"]


def load_truth(root, participant):
    folder = root / "sourcedata" / "truth" / participant
    with np.load(folder / "t1w_to_standard.npz") as found:
        warp = Warp(**found)
    with np.load(folder / "motion.npz") as found:
        motion = dict(found)
    return warp, motion, json.loads((folder / "truth.json").read_text())


def test_validator_finds_no_error(cohort):
    assert run_validator(cohort) == []


def test_validator_finds_no_error_with_sessions(sessions):
    assert run_validator(sessions) == []


def test_participant_does_not_depend_on_the_cohort(cohort, tmp_path):
    alone = write_cohort(tmp_path / "alone", replace(SPEC, n_patients=0))
    for name in ("anat/sub-HC001_T1w.nii.gz", "func/sub-HC001_task-rest_bold.nii.gz"):
        assert digest(alone / "sub-HC001" / name) == digest(cohort / "sub-HC001" / name)
    rows = (cohort / "participants.tsv").read_text().splitlines()
    assert (alone / "participants.tsv").read_text().splitlines()[1] == rows[2]
    assert rows[2].endswith("n/a")
    other = digest(cohort / "sub-RLS001/anat/sub-RLS001_T1w.nii.gz")
    assert other != digest(cohort / "sub-HC001/anat/sub-HC001_T1w.nii.gz")


def region_courses(root, participant, radius_mm=4.0):
    """Mean course of each region where the truth says it is in every volume."""
    warp, motion, _ = load_truth(root, participant)
    image = nib.load(root / participant / "func" / f"{participant}_task-rest_bold.nii.gz")
    data, to_index = np.asarray(image.dataobj, np.float32), np.linalg.inv(image.affine)
    regions = json.loads((root / "sourcedata/truth/truth.json").read_text())["regions"]
    courses = {}
    for name, region in regions.items():
        ball = sphere_points(np.array(region["centre_mm"]), radius_mm)
        there = apply_affine(motion["t1w_to_bold"], standard_to_person(warp, ball))
        courses[name] = np.array(
            [
                ndimage.map_coordinates(
                    data[..., v], apply_affine(to_index @ motion["matrices"][v], there).T, order=1
                ).mean()
                for v in range(data.shape[-1])
            ]
        )
    return courses


@pytest.mark.parametrize("participant", ["sub-RLS001", "sub-HC001"])
def test_networks_are_where_and_as_strong_as_the_truth_says(cohort, participant):
    courses = region_courses(cohort, participant)
    latent = load_truth(cohort, participant)[2]["latent_z"]
    names = list(courses)
    series = np.stack([courses[n] / courses[n].mean() - 1 for n in names])
    frequencies = np.fft.rfftfreq(series.shape[1], 2.0)
    spectrum = np.fft.rfft(series)
    spectrum[:, (frequencies < 0.016) | (frequencies > 0.09)] = 0
    matrix = np.corrcoef(np.fft.irfft(spectrum, series.shape[1]))
    pairs = {
        "thalamocortical_left": ("VPL_L", "hand_L"),
        "thalamocortical_right": ("VPL_R", "hand_R"),
        "salience": ("insula_L", "dACC"),
        "default": ("PCC", "aMPFC"),
    }
    for network, (first, second) in pairs.items():
        found = matrix[names.index(first), names.index(second)]
        assert found == pytest.approx(np.tanh(latent[network]), abs=0.25), network
    # a course that is there at all: about 1 to 2 % of the signal
    assert all(0.006 < row.std() < 0.04 for row in series)


def test_tissues_and_transform_fit_the_images(cohort):
    root = cohort / "sub-RLS001"
    labels = nib.load(cohort / "sourcedata/truth/sub-RLS001/tissues_dseg.nii.gz")
    t1w = nib.as_closest_canonical(nib.load(root / "anat/sub-RLS001_T1w.nii.gz"))
    np.testing.assert_allclose(t1w.affine, labels.affine, atol=1e-4)
    tissue, values = np.asarray(labels.dataobj), t1w.get_fdata()
    grey, white, csf = (values[tissue == label].mean() for label in (1, 2, 3))
    assert white > 1.2 * grey > 1.4 * csf
    assert values[tissue == 0].mean() < 0.05 * grey
    bold = nib.load(root / "func/sub-RLS001_task-rest_bold.nii.gz")
    motion = load_truth(cohort, "sub-RLS001")[1]
    core = ndimage.binary_erosion(tissue == 2, iterations=2), tissue == 1
    signal = []
    for mask in core:
        where = apply_affine(labels.affine, np.argwhere(mask)[::20].astype(float))
        index = apply_affine(np.linalg.inv(bold.affine) @ motion["t1w_to_bold"], where)
        signal.append(
            ndimage.map_coordinates(bold.dataobj[..., 0].astype(float), index.T, order=1).mean()
        )
    assert signal[1] > 1.08 * signal[0]


def test_displacement_file_agrees_with_the_formula(cohort):
    image = nib.load(cohort / "sourcedata/truth/sub-RLS001/standard_to_t1w_displacement.nii.gz")
    warp = load_truth(cohort, "sub-RLS001")[0]
    index = np.array([[16, 19, 17], [7, 13, 20]])
    points = apply_affine(image.affine, index.astype(float))
    found = points + np.asarray(image.dataobj)[tuple(index.T)]
    np.testing.assert_allclose(found, standard_to_person(warp, points), atol=1e-3)


def test_storage_and_metadata(sessions):
    t1w = nib.load(sessions / "sub-HC001/ses-pre/anat/sub-HC001_ses-pre_T1w.nii.gz")
    bold = nib.load(sessions / "sub-HC001/ses-post/func/sub-HC001_ses-post_task-rest_bold.nii.gz")
    assert nib.aff2axcodes(t1w.affine) == tuple("LAS")
    assert nib.aff2axcodes(bold.affine) == tuple("PSR")
    assert not np.allclose(bold.get_qform(), bold.get_sform(), atol=1)
    np.testing.assert_allclose(bold.affine, bold.get_sform())
    assert bold.header.get_zooms()[3] == 2.0
    sidecar = json.loads((sessions / "task-rest_bold.json").read_text())
    assert len(sidecar["SliceTiming"]) == bold.shape[1]
    assert sidecar["SliceEncodingDirection"] == "j"
    assert sidecar["PhaseEncodingDirection"] == "i-"
    assert max(sidecar["SliceTiming"]) < sidecar["RepetitionTime"]


def test_axis_of():
    assert axis_of("LAS", "A", "P") == ("j", False)
    assert axis_of("LPI", "S", "I") == ("k", True)


def test_derivative_has_fmriprep_names(tmp_path):
    pytest.importorskip("rls_bids.numerics.confounds")
    out = tmp_path / "derivative"
    arguments = ["--size", "tiny", "--n-patients", "1", "--n-controls", "0", "--fmriprep"]
    assert main([str(out), *arguments, "--n-volumes", "80"]) == 0
    stem = out / "sub-RLS001/func/sub-RLS001_task-rest"
    space = f"{stem}_space-MNI152NLin2009cAsym_res-2"
    bold = nib.load(f"{space}_desc-preproc_bold.nii.gz")
    mask = nib.load(f"{space}_desc-brain_mask.nii.gz")
    assert bold.shape == (97, 115, 97, 80)
    np.testing.assert_allclose(bold.affine, mask.affine)
    np.testing.assert_allclose(bold.affine[:3, 3], [-96.5, -132.5, -78.5])
    inside = np.asarray(mask.dataobj) > 0
    assert (np.asarray(bold.dataobj[..., 0])[inside] > 0).mean() > 0.98
    table = Path(f"{stem}_desc-confounds_timeseries.tsv").read_text()
    columns = table.splitlines()[0].split("\t")
    assert {"trans_x", "framewise_displacement", "c_comp_cor_00", "cosine00"} <= set(columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_patients": 0, "n_controls": 0}, BAD_COUNT.format(patients=0, controls=0)),
        ({"effect": 9.0}, BAD_EFFECT.format(value=9.0)),
        ({"effect": float("nan")}, BAD_EFFECT.format(value=float("nan"))),
        ({"t1w_orientation": "RAL"}, BAD_ORIENTATION.format(value="RAL")),
        ({"sessions": ("a", "a")}, BAD_SESSION.format(value="a")),
        ({"sessions": ("pre_1",)}, BAD_SESSION.format(value="pre_1")),
    ],
)
def test_bad_requests(change, message):
    with pytest.raises(UsageError) as caught:
        plan_cohort(replace(SPEC, **change))
    assert caught.value.message == message


def test_offset_effect_leaves_the_seed_without_one():
    plan = plan_cohort(replace(SPEC, effect_offset_mm=12.0))
    left = next(n for n in plan.networks if n.name == "thalamocortical_left")
    assert left.regions == ("beside_VPL_L", "hand_L")
    seed = next(r for r in plan.regions if r.name == "VPL_L")
    beside = next(r for r in plan.regions if r.name == "beside_VPL_L")
    assert beside.shift_mm == (-12.0, 0.0, 0.0)
    assert seed.radius_mm + beside.radius_mm < 12.0


def test_program_refuses_in_a_sentence(tmp_path, capsys):
    filled = tmp_path / "filled"
    filled.mkdir()
    (filled / "mine").write_text("keep")
    assert main([str(filled)]) == EXIT_CANNOT_WRITE
    assert NOT_EMPTY.format(path=filled) in capsys.readouterr().err
    assert main([str(tmp_path / "a"), "--anat", str(tmp_path / "none.nii")]) == EXIT_DATA
    assert NOT_AN_IMAGE.split("{", maxsplit=1)[0] in capsys.readouterr().err
    assert main([str(tmp_path / "a"), "--fmriprep", "--anat", "x.nii"]) == EXIT_USAGE
    assert NOT_WITH_ANAT.format(anat="x.nii") in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_cohort_in_steady_state_has_nothing_to_drop(cohort):
    path = cohort / "sub-HC001/func/sub-HC001_task-rest_bold.nii.gz"
    assert volumes_to_drop(str(path), "HC001", SPEC.n_volumes, None) == (0, ())
    for name in ("README", "sourcedata/truth/truth.json"):
        assert "non_steady" not in (cohort / name).read_text()
