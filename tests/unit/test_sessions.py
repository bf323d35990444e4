"""One session alone: its own T1w images, a page of its own, and a filter file for it."""

import json
from pathlib import Path

import pytest

from rls_bids.dataset import anatomies
from rls_bids.dataset.query import index_participants
from rls_bids.engine.outcome import exit_status
from rls_bids.errors import EXIT_DATA, EXIT_OK
from rls_bids.records import Note, Participant
from rls_bids.reports.collect import collect_participant
from rls_bids.reports.html import write_participant_page
from rls_bids.reports.sessions import notes_of_session, page_sessions
from rls_bids.settings import InputSettings, build_settings
from tests.factories import write_dataset, write_filter

PATHS = {"analysis_level": "participant", "input.bids_dir": "/raw"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a participant with T1w images in the sessions A and C, and one without sessions."""
    return write_dataset(
        tmp_path / "raw",
        {"01": {"A": {}, "B": {"t1w": []}, "C": {}}, "02": {None: {}}},
    )


def index(root: Path, *, anat_only: bool = False, **wanted) -> tuple[Participant, ...]:
    given = {"by_session": True, **wanted}
    settings = build_settings(
        {
            **PATHS,
            "input.bids_dir": str(root),
            "input.output_dir": str(root.parent / "out"),
            **{f"input.{name}": value for name, value in given.items()},
        }
    )
    return index_participants(settings.input, settings.bold, anat_only=anat_only)


def pairs(found: Participant) -> list[tuple[str | None, str | None]]:
    return [(one.session, one.anatomy.session) for one in found.sessions]


def test_each_session_has_its_own_anatomy_or_none(root: Path) -> None:
    first, second = index(root)
    assert pairs(first) == [("A", "A"), ("C", "C")]
    assert pairs(second) == [(None, None)]
    (note,) = [note for note in first.notes if note.level == "failed"]
    assert note.message == anatomies.NO_OWN_T1W.format(where="ses-B")
    assert note.hint == anatomies.NO_OWN_T1W_HINT
    assert note.exit_status == EXIT_DATA


@pytest.mark.parametrize("anat_only", [False, True])
def test_a_session_without_t1w_is_refused_alone(root: Path, anat_only) -> None:
    wanted = {"participant_labels": ["01"], "session_labels": ["B"]}
    (found,) = index(root, anat_only=anat_only, **wanted)
    assert (found.sessions, found.anatomies) == ((), ())
    n_strategies = 0 if anat_only else 1
    assert exit_status([found], list(found.notes), n_strategies=n_strategies) == EXIT_DATA
    (found,) = index(root, anat_only=anat_only, **wanted, by_session=False)
    assert found.anatomies
    assert found.anatomies[0].session != "B"
    assert exit_status([found], list(found.notes), n_strategies=n_strategies) == EXIT_OK


def test_one_session_of_several(root: Path) -> None:
    (found,) = index(root, participant_labels=["01"], session_labels=["C"])
    assert pairs(found) == [("C", "C")]
    assert [one.session for one in found.anatomies] == ["C"]


def test_a_filter_file_chooses_the_session(root: Path, tmp_path: Path) -> None:
    both = {"t1w": {"session": "C"}, "bold": {"session": ["B", "C"]}}
    path = write_filter(tmp_path, both)
    (found, _) = index(root, bids_filter_file=str(path))
    assert pairs(found) == [("C", "C")]
    (found, _) = index(root, bids_filter_file=str(path), by_session=False)
    assert pairs(found) == [("B", "C"), ("C", "C")]
    # What BABS writes for one session of a job.
    babs = {name: {"session": "A"} for name in ("fmap", "bold", "sbref", "t1w")}
    path = write_filter(tmp_path, babs)
    (found,) = index(root, participant_labels=["01"], bids_filter_file=str(path))
    assert pairs(found) == [("A", "A")]


def given(**values) -> InputSettings:
    return InputSettings(bids_dir="/raw", output_dir="/out", **values)


def test_which_pages_are_written(root: Path) -> None:
    first, second = index(root)
    assert page_sessions(first, first.notes, given()) == (None,)
    alone = given(by_session=True)
    assert page_sessions(first, first.notes, alone) == ("A", "B", "C")
    assert page_sessions(first, (), alone) == ("A", "C")
    assert page_sessions(second, second.notes, alone) == (None,)
    only = given(by_session=True, session_labels=("B",))
    assert page_sessions(first, first.notes, only) == ("B",)


def test_notes_go_to_the_page_of_their_session() -> None:
    def note(where: str) -> Note:
        return Note(participant="01", level="failed", message="why", where=where)

    own = note("/raw/sub-01/ses-A/func/sub-01_ses-A_task-rest_bold.nii.gz")
    other = note("/raw/sub-01/ses-AB/func/sub-01_ses-AB_task-rest_bold.nii.gz")
    everybody = note("/out/sub-01/log/x/crash-1-bold_ses.txt")
    assert notes_of_session([own, other, everybody], "A") == [own, everybody]
    assert notes_of_session([own, other, everybody], "AB") == [other, everybody]


def test_the_page_of_a_session_shows_nothing_of_another(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for session in ("A", "B"):
        stem = f"sub-01/ses-{session}/func/sub-01_ses-{session}_task-rest"
        path = out / f"{stem}_denoise-acompcor_design.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"MinutesKept": 5, "RepetitionTime": 2}))
        confounds = {"RepetitionTime": 2, "NumberOfVolumes": 100}
        (out / f"{stem}_desc-confounds_timeseries.json").write_text(json.dumps(confounds))
    settings = build_settings({**PATHS, "input.output_dir": str(out)})
    texts = {}
    for session in ("A", None):
        page = collect_participant(out, "01", [], settings, session)
        path = write_participant_page(out, page)
        texts[path.name] = path.read_text(encoding="utf-8")
    assert set(texts) == {"sub-01_ses-A.html", "sub-01.html"}
    assert "<h1>Participant 01, session A</h1>" in texts["sub-01_ses-A.html"]
    assert "ses-B" not in texts["sub-01_ses-A.html"]
    assert "session B" not in texts["sub-01_ses-A.html"]
    assert "session B" in texts["sub-01.html"]
