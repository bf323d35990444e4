"""Single-band references: which one belongs to a run, and where its head is."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset import checks
from rls_bids.dataset.description import read_json, write_json
from rls_bids.dataset.fieldmaps import OTHER_AXES
from rls_bids.dataset.query import index_participants
from rls_bids.interfaces.images import load_volume, save_volume
from rls_bids.interfaces.sbref import PlaceReference
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.numerics.resample import resample_volume, voxel_points
from rls_bids.records import BoldRun, Participant
from rls_bids.reports.texts import reference_words
from rls_bids.resources.templates import locate_template
from rls_bids.settings import build_settings
from tests.factories import bold_array, write_dataset, write_filter, write_nifti

CENTRE = np.array([0.0, -18.0, 8.0])
MOVED = parameters_to_matrix(np.array([2.0, -3.0, 1.5, 0.03, -0.02, 0.04]), CENTRE)


def index(root: Path, **options) -> Participant:
    names = {name.replace("__", "."): value for name, value in options.items()}
    settings = build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": str(root),
            "input.output_dir": str(root.parent / "out"),
            **names,
        }
    )
    (found,) = index_participants(settings.input, settings.bold)
    return found


def runs(found: Participant) -> dict[str, BoldRun]:
    return {Path(run.bold).name: run for one in found.sessions for run in one.runs}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bold = ["task-rest_dir-AP_run-1", "task-rest_dir-AP_run-2"]
    folder = write_dataset(tmp_path / "raw", {"01": {None: {"bold": bold}}})
    place = folder / "sub-01/func"
    write_nifti(place / "sub-01_task-rest_dir-AP_run-1_sbref.nii.gz", bold_array()[..., :1])
    write_nifti(place / "sub-01_task-rest_dir-PA_run-2_sbref.nii.gz", bold_array()[..., 0])
    return folder


def test_a_filter_chooses_between_field_maps(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "raw", {"01": {None: {"bold": ["task-rest"]}}})
    encoding = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.03}
    sidecar = root / "sub-01/func/sub-01_task-rest_bold.json"
    write_json(sidecar, (read_json(sidecar) if sidecar.is_file() else {}) | encoding)
    told = {"IntendedFor": "bids::sub-01/func/sub-01_task-rest_bold.nii.gz", "Units": "Hz"}
    for run in (1, 2):
        stem = root / f"sub-01/fmap/sub-01_run-{run}_fieldmap"
        write_nifti(Path(f"{stem}.nii.gz"), bold_array()[..., 0])
        write_json(Path(f"{stem}.json"), told)
    for wanted in (1, 2):
        path = write_filter(tmp_path, {"fmap": {"run": wanted}})
        (run,) = runs(index(root, input__bids_filter_file=path)).values()
        assert run.fieldmap.images == (
            str(root / f"sub-01/fmap/sub-01_run-{wanted}_fieldmap.nii.gz"),
        )


def test_only_a_reference_with_the_same_entities_belongs_to_a_run(root: Path) -> None:
    found = runs(index(root))
    first = found["sub-01_task-rest_dir-AP_run-1_bold.nii.gz"]
    assert first.sbref == str(root / "sub-01/func/sub-01_task-rest_dir-AP_run-1_sbref.nii.gz")
    assert found["sub-01_task-rest_dir-AP_run-2_bold.nii.gz"].sbref is None


def test_content_follows_the_reference(root: Path) -> None:
    before = runs(index(root))
    write_nifti(
        root / "sub-01/func/sub-01_task-rest_dir-AP_run-1_sbref.nii.gz", bold_array()[..., 5]
    )
    after = runs(index(root))
    changed = {name for name in before if before[name].content != after[name].content}
    assert changed == {"sub-01_task-rest_dir-AP_run-1_bold.nii.gz"}


def test_references_are_left_out_on_request_and_by_the_filter_file(root, tmp_path) -> None:
    assert {run.sbref for run in runs(index(root, bold__ignore=("sbref",))).values()} == {None}
    path = write_filter(tmp_path, {"sbref": {"run": 2}})
    assert {run.sbref for run in runs(index(root, input__bids_filter_file=path)).values()} == {
        None
    }


@pytest.mark.parametrize("kind", ["series", "broken"])
def test_a_reference_that_cannot_be_used_is_told(root: Path, kind: str) -> None:
    path = root / "sub-01/func/sub-01_task-rest_dir-AP_run-1_sbref.nii.gz"
    if kind == "series":
        write_nifti(path, bold_array()[..., :3])
    else:
        path.write_bytes(b"no image")
    found = index(root)
    assert {run.sbref for run in runs(found).values()} == {None}
    (note,) = (note for note in found.notes if note.level == "warning")
    assert note.message.startswith(str(path))
    assert note.message.endswith(checks.SBREF_LEFT_OUT)


@pytest.mark.parametrize("is_alike", [True, False])
def test_a_reference_of_other_voxels_does_not_go_with_a_field_map(tmp_path, is_alike) -> None:
    maps = {
        "phasediff": {"B0FieldIdentifier": "f", "EchoTime1": 0.004, "EchoTime2": 0.006},
        "magnitude1": {"B0FieldIdentifier": "f"},
    }
    told = {
        "B0FieldSource": "f",
        "PhaseEncodingDirection": "i",
        "EffectiveEchoSpacing": 0.0005,
    }
    bids = write_dataset(tmp_path / "raw", {"01": {None: {"metadata": told, "fmap": maps}}})
    affine = np.diag([-3.0 if is_alike else 3.0, 3.0, 3.0, 1.0])
    path = bids / "sub-01/func/sub-01_task-rest_sbref.nii.gz"
    write_nifti(path, bold_array()[..., 0], affine=affine)
    found = index(bids)
    (run,) = runs(found).values()
    assert run.fieldmap is not None
    assert run.sbref == (str(path) if is_alike else None)
    warnings = [note.message for note in found.notes if note.level == "warning"]
    assert warnings == ([] if is_alike else [OTHER_AXES.format(path=path, bold=run.bold)])


def head(matrix, shape, affine, contrast=1.0, seed=0):
    """The template's brain where a matrix says, with noise."""
    template = load_volume(locate_template("MNI152NLin2009cAsym", "2").brain)
    points = voxel_points(np.ones(shape, bool), affine) @ matrix[:3, :3].T + matrix[:3, 3]
    data = resample_volume(template.data, template.affine, points).reshape(shape)
    top = float(data.max())
    noise = np.random.default_rng(seed).normal(0, 0.02 * top, shape)
    return (top * (data / top) ** contrast + np.abs(noise)).astype(np.float32)


def grid(size_mm, low):
    affine = np.diag([-size_mm, size_mm, size_mm, 1.0])
    affine[:3, 3] = low
    return affine


def test_the_head_of_a_reference_lands_on_that_of_the_mean(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    mean_grid, own_grid = grid(4.0, (100, -140, -82)), grid(3.5, (95, -135, -80))
    mean = save_volume(head(np.eye(4), (50, 58, 48), mean_grid), mean_grid, tmp_path / "m.nii.gz")
    data = head(MOVED, (56, 66, 54), own_grid, contrast=1.6, seed=1) * 3
    sbref = save_volume(data, own_grid, tmp_path / "s.nii.gz")
    found = PlaceReference(sbref=sbref, boldref=mean, version="1").run().outputs
    placed = load_volume(found.boldref)
    np.testing.assert_array_equal(placed.data, data)  # never interpolated
    brain = voxel_points(head(np.eye(4), (50, 58, 48), mean_grid) > 30, mean_grid)
    # Where the header now has the head, and where it is: the template's own coordinates.
    voxels = nib.affines.apply_affine(np.linalg.inv(placed.affine), brain)
    truth = nib.affines.apply_affine(MOVED, nib.affines.apply_affine(own_grid, voxels))
    assert np.linalg.norm(truth - brain, axis=1).mean() < 0.3
    about = read_json(Path(found.metadata))
    assert about["CoregistrationReference"] == "single-band reference"
    (words,) = reference_words(about)
    assert "single-band reference was coregistered" in words


def test_a_reference_of_something_else_is_not_used(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    affine = grid(4.0, (100, -140, -82))
    mean = save_volume(head(np.eye(4), (50, 58, 48), affine), affine, tmp_path / "m.nii.gz")
    noise = np.random.default_rng(2).random((50, 58, 48))
    sbref = save_volume(noise, affine, tmp_path / "s.nii.gz")
    found = PlaceReference(sbref=sbref, boldref=mean, version="1").run().outputs
    assert found.boldref == mean
    (words,) = reference_words(read_json(Path(found.metadata)))
    assert words.startswith("The mean of the run was coregistered")
    assert reference_words({}) == ()
