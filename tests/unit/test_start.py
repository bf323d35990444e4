"""Volumes dropped at the start of a run: found or asked for, one number wherever it is told."""

from pathlib import Path

import numpy as np
import pytest

from rls_bids.dataset.checks import TOO_SHORT, UNREADABLE
from rls_bids.dataset.plan import plan_text
from rls_bids.dataset.query import index_participants
from rls_bids.dataset.start import NON_STEADY, read_start, volumes_to_drop
from rls_bids.errors import EXIT_DATA, InputDataError, UsageError
from rls_bids.phantom.signals import saturation_course
from rls_bids.phantom.spec import BAD_START, CohortSpec, plan_cohort
from rls_bids.reports.methods import Facts, methods_text
from rls_bids.settings import BoldSettings, InputSettings, build_settings
from tests.factories import bold_array, write_bold, write_dataset, write_nifti

SETTINGS = {"analysis_level": "participant", "input.output_dir": "/out"}


def bright(n_start: int, n_volumes: int = 20) -> np.ndarray:
    return bold_array((8, 9, 10, n_volumes)) * saturation_course(n_volumes, n_start).astype("f4")


def write(folder: Path, data: np.ndarray) -> str:
    return str(write_nifti(folder / "sub-01_task-rest_bold.nii.gz", data, repetition_time=2.0))


@pytest.mark.parametrize("n_start", range(7))
def test_as_many_as_were_planted_are_found(tmp_path: Path, n_start: int) -> None:
    path = write(tmp_path, bright(n_start))
    count, notes = volumes_to_drop(path, "01", 20, None)
    assert count == n_start
    assert [(note.level, note.exit_status, note.message) for note in notes] == [
        ("info", 0, NON_STEADY.format(path=path, count=n_start, n_volumes=20))
    ] * bool(n_start)


@pytest.mark.parametrize("asked", [0, 1, 7])
def test_a_number_of_the_user_is_taken_as_it_is(tmp_path: Path, asked: int) -> None:
    assert volumes_to_drop(write(tmp_path, bright(3)), "01", 20, asked) == (asked, ())


def test_a_run_that_becomes_too_short_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, bright(3, 12))
    count, (note,) = volumes_to_drop(path, "01", 12, None)
    assert count is None
    assert (note.level, note.exit_status) == ("skipped", EXIT_DATA)
    assert note.message == TOO_SHORT.format(path=path, n_volumes=12, dummies=3, least=10)


def test_only_the_start_is_read_and_what_is_not_finite_is_nothing(tmp_path: Path) -> None:
    data = bright(2)
    data[1, 2, 3, 4], data[0, 0, 0, 0] = np.nan, np.inf
    path = write(tmp_path, data)
    start = read_start(path, 6)
    assert start.shape == (6, 8, 9, 10)
    assert start[4, 1, 2, 3] == start[0, 0, 0, 0] == 0
    np.testing.assert_array_equal(start[1], data[..., 1])
    assert volumes_to_drop(path, "01", 20, None)[0] == 2


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, bright(2))
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 10])
    with pytest.raises(InputDataError) as caught:
        volumes_to_drop(path, "01", 20, None)
    assert caught.value.message.startswith(UNREADABLE.split(" (")[0].format(path=path))


def test_record_note_and_plan_tell_one_number(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "raw", {"01": {None: {}}, "02": {None: {}}, "03": {None: {}}})
    for label, data in (("01", bright(3)), ("03", bright(3, 12))):
        write_bold(root / f"sub-{label}/func", f"sub-{label}_task-rest", data=data)
    settings = build_settings(SETTINGS | {"input.bids_dir": str(root)})
    found = index_participants(InputSettings(bids_dir=str(root), output_dir=""), settings.bold)
    assert [[run.dummy_scans for s in one.sessions for run in s.runs] for one in found] == [
        [3],
        [0],
        [],
    ]
    text = plan_text(found, settings)
    assert "(20 volumes, the first 3 dropped, TR 2 s" in text
    assert "(20 volumes, TR 2 s" in text
    assert "brighter than the steady state: 3 of 20 volumes" in text
    assert [note.level for note in found[2].notes if note.exit_status] == ["skipped"]
    asked = index_participants(
        InputSettings(bids_dir=str(root), output_dir=""), BoldSettings(dummy_scans=1)
    )
    assert [one.sessions[0].runs[0].dummy_scans for one in asked] == [1, 1, 1]
    assert "steady" not in plan_text(asked, settings)


@pytest.mark.parametrize(
    ("option", "discarded", "words"),
    [
        ({}, (0,), "there were none."),
        ({}, (0, 2, 3), "were discarded: 0 to 3 a run."),
        ({}, (3,), "were discarded: 3 a run."),
        ({}, (), "were discarded."),
        ({"bold.dummy_scans": 4}, (4,), "The first 4 volumes of each run were discarded."),
    ],
)
def test_methods_say_what_was_discarded(option: dict, discarded: tuple, words: str) -> None:
    settings = build_settings(SETTINGS | {"input.bids_dir": "/raw"} | option)
    found = methods_text(settings, Facts(discarded=discarded))
    text = dict(found.paragraphs)["BOLD"]
    assert words in text
    assert ("steady state" in text) == (not option)
    none = build_settings(SETTINGS | {"input.bids_dir": "/raw", "bold.dummy_scans": 0})
    assert "discarded" not in dict(methods_text(none, Facts()).paragraphs)["BOLD"]


def test_the_planted_start_falls_and_ends() -> None:
    course = saturation_course(30, 10)
    assert (np.diff(course[:11]) < 0).all()
    assert (course[10:] == 1).all()
    with pytest.raises(UsageError, match=BAD_START.format(value=11)):
        plan_cohort(CohortSpec(non_steady=11))
