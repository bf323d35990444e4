"""What sidecars say of how an output was made."""

from dataclasses import replace

import pytest

from rls_bids.records import BoldRun
from rls_bids.settings import BoldSettings, build_settings
from rls_bids.workflows.metadata import processing_of, timing_of

RUN = BoldRun(
    participant="01",
    session=None,
    entities=(("task", "rest"),),
    bold="/raw/sub-01_task-rest_bold.nii.gz",
    content="",
    voxel_size_mm=3.0,
    repetition_time=2.0,
    n_volumes=100,
    slice_timing=(0.0, 1.0, 0.5, 1.5),
    slice_encoding_direction="k",
)
BASE = {
    "analysis_level": "participant",
    "input.bids_dir": "/raw",
    "input.output_dir": "/out",
}


def test_the_start_time_is_where_in_the_scan_the_values_belong():
    told = timing_of(replace(RUN, dummy_scans=3), BoldSettings(dummy_scans=3))
    assert told == {
        "SliceTimingCorrected": True,
        "NumberOfVolumesDiscardedByUser": 3,
        "NonSteadyStateVolumes": None,
        "StartTime": 3 * 2.0 + 0.75,
    }


def test_volumes_that_were_found_are_told_apart_from_those_that_were_asked_for():
    found = timing_of(replace(RUN, dummy_scans=3), BoldSettings())
    assert found["NonSteadyStateVolumes"] == found["NumberOfVolumesDiscardedByUser"] == 3
    assert found["StartTime"] == 3 * 2.0 + 0.75


def test_without_slice_times_no_start_time_is_claimed():
    told = timing_of(replace(RUN, slice_timing=None), BoldSettings())
    assert told == {
        "SliceTimingCorrected": False,
        "NumberOfVolumesDiscardedByUser": 0,
        "NonSteadyStateVolumes": 0,
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("bold.dummy_scans", 4),
        ("bold.dummy_scans", 0),
        ("bold.ignore", ("slicetiming",)),
        ("anat.sloppy", True),
        ("denoise.low_hz", 0.02),
        ("denoise.band_pass", False),
        ("denoise.fd_threshold_mm", 0.2),
        ("denoise.smoothing_fwhm_mm", 8.0),
        ("denoise.filter_order", 4),
    ],
)
def test_what_changes_a_map_makes_participants_unequal(option, value):
    plain = processing_of(build_settings(BASE), "acompcor", "2")
    assert processing_of(build_settings(BASE | {option: value}), "acompcor", "2") != plain


def test_voxels_of_other_sizes_make_participants_unequal():
    """The label of a native grid is the same for all; its voxels need not be."""
    settings = build_settings(BASE | {"anat.resolution": "native"})
    assert processing_of(settings, "acompcor", "3") != processing_of(settings, "acompcor", "3.5")


@pytest.mark.parametrize(
    ("option", "value"), [("denoise.min_df", 5), ("denoise.min_time_s", 60.0), ("run.n_cpus", 2)]
)
def test_what_changes_no_map_does_not(option, value):
    plain = processing_of(build_settings(BASE), "acompcor", "2")
    assert processing_of(build_settings(BASE | {option: value}), "acompcor", "2") == plain
