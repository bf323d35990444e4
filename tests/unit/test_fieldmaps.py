"""Which field map belongs to a run: both ways of saying so, every kind, and what is missing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rls_bids.dataset import fieldmaps
from rls_bids.dataset.description import read_json
from rls_bids.dataset.fieldmaps import find_fieldmap
from rls_bids.dataset.filters import bids_file, default_queries, select

ROOT = "/raw"
BOLD = f"{ROOT}/sub-01/ses-A/func/sub-01_ses-A_task-rest_bold.nii.gz"
FMAP = f"{ROOT}/sub-01/ses-A/fmap/sub-01_ses-A"
RUN = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.03}
INTENDED = {"IntendedFor": "ses-A/func/sub-01_ses-A_task-rest_bold.nii.gz"}
ECHOES = {"EchoTime1": 0.00492, "EchoTime2": 0.00738}


LAS = np.diag([-3.0, 3.0, 3.0, 1.0])


@pytest.fixture(autouse=True)
def headers(monkeypatch):
    """Headers of files that are not there: 61 lines; ``acq-turned`` is stored front to back."""

    def read(path):
        affine = LAS @ np.diag([1, -1, 1, 1]) if "acq-turned" in path else LAS
        return SimpleNamespace(shape=(64, 61, 30), affine=affine.tolist())

    monkeypatch.setattr(fieldmaps, "read_header", read)


def find(run: dict[str, Any], maps: dict[str, dict[str, Any]]) -> tuple[Any, str]:
    """Look for the map of a run among files given by what follows the participant's name."""
    told = {f"{FMAP}_{name}.nii.gz": metadata for name, metadata in maps.items()}
    files = [bids_file(path) for path in told]
    return find_fieldmap(bids_file(BOLD), run, files, lambda file: told[file.path], ROOT)


@pytest.mark.parametrize(
    "name",
    [
        "ses-A/func/sub-01_ses-A_task-rest_bold.nii.gz",
        "sub-01/ses-A/func/sub-01_ses-A_task-rest_bold.nii.gz",
        "bids::sub-01/ses-A/func/sub-01_ses-A_task-rest_bold.nii.gz",
        ["func/other.nii.gz", "./ses-A/func/sub-01_ses-A_task-rest_bold.nii.gz"],
    ],
)
def test_a_phase_difference_that_is_meant_for_the_run(name):
    maps = {"phasediff": {"IntendedFor": name, **ECHOES}, "magnitude1": {}, "magnitude2": {}}
    found, message = find(RUN, maps)
    assert message == ""
    assert found.kind == "phasediff"
    assert found.images == (f"{FMAP}_phasediff.nii.gz",)
    assert found.magnitude == f"{FMAP}_magnitude1.nii.gz"
    assert found.echo_times_s == (0.00492, 0.00738)


def test_the_identifier_goes_before_the_intention():
    maps = {
        "acq-old_phasediff": {**INTENDED, **ECHOES},
        "acq-new_phasediff": {"B0FieldIdentifier": ["gre", "x"], **ECHOES},
    }
    found, _ = find(RUN | {"B0FieldSource": ["absent", "gre"]}, maps)
    assert found.images == (f"{FMAP}_acq-new_phasediff.nii.gz",)


def test_two_phases_find_each_other():
    maps = {
        "phase1": {**INTENDED, "EchoTime": 0.004},
        "phase2": {"EchoTime": 0.006},
        "magnitude1": {},
    }
    found, _ = find(RUN, maps)
    assert found.kind == "two_phases"
    assert [Path(image).name for image in found.images] == [
        "sub-01_ses-A_phase1.nii.gz",
        "sub-01_ses-A_phase2.nii.gz",
    ]
    assert found.echo_times_s == (0.004, 0.006)


def test_a_map_in_hertz():
    found, _ = find(RUN, {"fieldmap": {**INTENDED, "Units": "Hz"}, "magnitude": {}})
    assert (found.kind, found.units) == ("fieldmap", "Hz")
    assert found.magnitude == f"{FMAP}_magnitude.nii.gz"


def test_the_time_of_a_line_comes_from_the_axis_of_the_encoding():
    maps = {"phasediff": {**INTENDED, **ECHOES}}
    found, _ = find(RUN, maps)
    assert found.direction == "j-"
    assert found.line_time_s == pytest.approx(0.03 * 61 / 60)
    found, _ = find({"PhaseEncodingDirection": "i", "EffectiveEchoSpacing": 0.0005}, maps)
    assert found.line_time_s == pytest.approx(0.0005 * 64)


def test_opposed_images_come_in_the_order_along_and_against():
    maps = {
        "dir-AP_epi": {**INTENDED, **RUN},
        "dir-PA_epi": {**INTENDED, "PhaseEncodingDirection": "j", "TotalReadoutTime": 0.06},
    }
    found, _ = find(RUN, maps)
    assert found.kind == "opposed"
    assert [Path(image).name for image in found.images] == [
        "sub-01_ses-A_dir-AP_epi.nii.gz",
        "sub-01_ses-A_dir-PA_epi.nii.gz",
    ]
    assert found.image_line_times_s == pytest.approx((0.0305, 0.061))


def test_what_is_opposed_is_told_by_the_place_of_the_axes_not_by_letters():
    """Stored front to back, ``j-`` points forward like ``j`` of the run's own storage."""
    epi = {**INTENDED, **RUN}
    found, _ = find(RUN, {"acq-turned_epi": epi})
    assert found.images == (BOLD, f"{FMAP}_acq-turned_epi.nii.gz")
    assert found.image_direction == "j-"
    maps = {"acq-turned_epi": {**epi, "PhaseEncodingDirection": "j"}, "dir-PA_epi": {
        **epi, "PhaseEncodingDirection": "j"}}  # fmt: skip
    found, _ = find(RUN, maps)
    assert [Path(image).name for image in found.images] == [
        "sub-01_ses-A_acq-turned_epi.nii.gz",
        "sub-01_ses-A_dir-PA_epi.nii.gz",
    ]
    assert (found.direction, found.image_direction) == ("j-", "j")
    found, _ = find(RUN, {"acq-turned_epi": {**epi, "PhaseEncodingDirection": "j"}})
    assert found is None


def test_one_opposed_image_is_paired_with_the_run_itself():
    found, _ = find(RUN, {"dir-PA_epi": {**INTENDED, **RUN, "PhaseEncodingDirection": "j"}})
    assert found.images == (BOLD, f"{FMAP}_dir-PA_epi.nii.gz")


def test_an_image_encoded_across_opposes_nothing():
    found, message = find(RUN, {"dir-LR_epi": {**INTENDED, "PhaseEncodingDirection": "i"}})
    assert found is None
    assert "dir-LR_epi" in message


def test_a_map_that_nothing_points_to_is_not_used_and_told():
    found, message = find(RUN, {"phasediff": ECHOES})
    assert found is None
    assert message == fieldmaps.NOT_MEANT.format(folder=Path(FMAP).parent, bold=Path(BOLD).name)


def test_no_map_is_no_message():
    assert find(RUN, {}) == (None, "")


@pytest.mark.parametrize(
    ("run", "metadata", "words"),
    [
        ({"TotalReadoutTime": 0.03}, ECHOES, "no valid PhaseEncodingDirection"),
        (RUN | {"PhaseEncodingDirection": "AP"}, ECHOES, "'AP'"),
        ({"PhaseEncodingDirection": "j"}, ECHOES, "neither TotalReadoutTime"),
        (RUN, {}, "no EchoTime1 and EchoTime2"),
        (RUN, {"EchoTime1": 4.92, "EchoTime2": 7.38}, "in seconds"),
        (RUN, {"EchoTime1": 0.005, "EchoTime2": 0.005}, "two different times"),
    ],
)
def test_what_is_missing_is_named(run, metadata, words):
    found, message = find(run, {"phasediff": {**INTENDED, **metadata}})
    assert found is None
    assert words in message
    assert message.endswith("distortion is not corrected.")


def test_a_map_without_units_is_refused():
    found, message = find(RUN, {"fieldmap": INTENDED})
    assert found is None
    assert "Hz, rad/s or Tesla" in message


def test_the_real_phase_difference_is_found(real_data):
    root = real_data / "pumi-minitest"
    files = [bids_file(str(path)) for path in sorted(root.glob("sub-001/*/*"))]
    bold = next(f for f in files if f.entities["suffix"] == "bold" and f.path.endswith(".gz"))

    def metadata_of(file):
        return read_json(file.path.replace(".nii.gz", ".json"))

    maps = select(files, default_queries()["fmap"])
    found, message = find_fieldmap(bold, metadata_of(bold), maps, metadata_of, str(root))
    assert message == ""
    assert found.kind == "phasediff"
    assert found.echo_times_s == (0.00492, 0.00738)
    assert found.magnitude.endswith("sub-001_magnitude1.nii.gz")
