"""Queries over tiny data sets: what is found, what is said, what is refused."""

import json
import logging
import sys
from pathlib import Path

import pytest

from rls_bids.dataset import anatomies, query, raw, requests
from rls_bids.dataset.description import write_json
from rls_bids.dataset.echoes import ONE_ECHO
from rls_bids.dataset.plan import plan_text
from rls_bids.dataset.query import index_participants
from rls_bids.errors import EXIT_DATA, InputDataError, UsageError
from rls_bids.records import Participant
from rls_bids.settings import (
    AnatSettings,
    BoldSettings,
    DenoiseSettings,
    GroupSettings,
    InputSettings,
    MeasureSettings,
    RunSettings,
    Settings,
)
from tests.factories import write_bold, write_dataset, write_filter

ROOT = Path(__file__).parents[2]


def index(root: Path, bold: BoldSettings | None = None, **wanted) -> tuple[Participant, ...]:
    flags = {"anat_only", "hash_content"}
    options = {name: wanted.pop(name) for name in flags & set(wanted)}
    settings = InputSettings(bids_dir=str(root), output_dir=str(root.parent / "out"), **wanted)
    return index_participants(settings, bold or BoldSettings(), **options)


def names(participant: Participant) -> list[str]:
    return [Path(run.bold).name for one in participant.sessions for run in one.runs]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return two participants; the second has two sessions with T1w in the first only."""
    timing = {"SliceTiming": [0.0, 1.0, 0.4, 1.4, 0.8, 1.8], "SliceEncodingDirection": "k-"}
    runs = ["task-rest_run-1", "task-rest_run-2", "task-rest_run-10", "task-nback"]
    return write_dataset(
        tmp_path / "raw",
        {
            "01": {None: {"bold": runs, "metadata": timing}},
            "02": {"A": {}, "B": {"t1w": []}},
        },
    )


def test_records(root: Path) -> None:
    first, second = index(root)
    assert (first.label, second.label) == ("01", "02")
    (session,) = first.sessions
    assert (session.session, session.task) == (None, "rest")
    assert session.anatomy == first.anatomies[0]
    assert session.anatomy.t1w == str(root / "sub-01/anat/sub-01_T1w.nii.gz")
    assert [dict(run.entities)["run"] for run in session.runs] == ["1", "2", "10"]
    run = session.runs[0]
    assert run.entities == (("run", "1"), ("task", "rest"))
    assert (run.repetition_time, run.n_volumes) == (2.0, 20)
    assert run.slice_timing == (0.0, 1.0, 0.4, 1.4, 0.8, 1.8)
    assert run.slice_encoding_direction == "k-"
    assert [one.session for one in second.sessions] == ["A", "B"]
    assert {one.anatomy.session for one in second.sessions} == {"A"}
    assert len(second.anatomies) == 1
    borrowed = anatomies.BORROWED_T1W.format(where="ses-B", used="sub-02_ses-A_T1w.nii.gz")
    assert borrowed in [note.message for note in second.notes]


def test_content_follows_bytes_and_used_metadata(root: Path) -> None:
    before = index(root, participant_labels=("02",))[0]
    sidecar_path = root / "sub-02/ses-A/func/sub-02_ses-A_task-rest_bold.json"
    metadata = json.loads(sidecar_path.read_text(encoding="utf-8"))
    sidecar_path.write_text(json.dumps(metadata | {"Manufacturer": "x"}), encoding="utf-8")
    assert index(root, participant_labels=("02",))[0] == before
    sidecar_path.write_text(json.dumps(metadata | {"SliceTiming": [0] * 6}), encoding="utf-8")
    write_bold(root / "sub-02/ses-B/func", "sub-02_ses-B_task-rest", data=None)
    after = index(root, participant_labels=("02",))[0]
    assert after.sessions[0].runs[0].content != before.sessions[0].runs[0].content
    assert after.sessions[1].runs[0].content == before.sessions[1].runs[0].content
    quick = index(root, participant_labels=("02",), hash_content=False)[0]
    assert quick.sessions[0].runs[0].content == quick.anatomies[0].content == ""


def test_labels_sessions_tasks_runs(root: Path) -> None:
    assert [one.label for one in index(root, participant_labels=("02",))] == ["02"]
    assert [one.label for one in index(root, exclude_participant_labels=("02",))] == ["01"]
    (second,) = index(root, participant_labels=("02",), session_labels=("B",))
    assert [one.session for one in second.sessions] == ["B"]
    assert second.anatomies[0].session == "A"
    (first,) = index(root, participant_labels=("01",), task_ids=("rest", "nback"))
    assert [(one.task, len(one.runs)) for one in first.sessions] == [("nback", 1), ("rest", 3)]
    (first,) = index(root, participant_labels=("01",), run_ids=("02",))
    assert names(first) == ["sub-01_task-rest_run-2_bold.nii.gz"]
    assert "BOLD: 4 found, --task-id rest keeps 3 of 4, --run-id 02 keeps 1 of 3" in [
        note.message for note in first.notes
    ]


@pytest.mark.parametrize(
    ("wanted", "flag", "unknown", "known"),
    [
        ({"participant_labels": ("01", "7")}, "--participant-label", "sub-7", "sub-01, sub-02"),
        (
            {"exclude_participant_labels": ("7",)},
            "--exclude-participant-label",
            "sub-7",
            "sub-01, sub-02",
        ),
        ({"session_labels": ("C",)}, "--session-label", "ses-C", "ses-A, ses-B"),
    ],
)
def test_unknown_labels(root: Path, wanted: dict, flag: str, unknown: str, known: str) -> None:
    with pytest.raises(UsageError) as caught:
        index(root, **wanted)
    assert caught.value.message == requests.UNKNOWN_LABEL.format(flag=flag, unknown=unknown)
    assert caught.value.hint == requests.UNKNOWN_LABEL_HINT.format(known=known)
    with pytest.raises(UsageError) as caught:
        index(root, exclude_participant_labels=("01", "02"))
    assert caught.value.message == requests.NOBODY_LEFT


def test_a_filter_that_leaves_nothing_says_which(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        index(root, task_ids=("sleep",))
    assert caught.value.message == requests.NONE_LEFT.format(
        kind="BOLD", n_files=6, steps="--task-id sleep keeps 0 of 6"
    )
    assert caught.value.hint == requests.NONE_LEFT_HINT.format(tasks="nback, rest")


def test_not_bids(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputDataError) as caught:
        index(tmp_path / "nowhere")
    assert caught.value.message == requests.NO_DIRECTORY.format(path=tmp_path / "nowhere")
    with pytest.raises(InputDataError) as caught:
        index(tmp_path)
    assert caught.value.message == requests.NOT_BIDS.format(
        path=tmp_path, missing="dataset_description.json"
    )
    (root / "dataset_description.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputDataError, match="not valid JSON"):
        index(root)
    write_json(root / "dataset_description.json", {"DatasetType": "derivative"})
    with pytest.raises(InputDataError, match="is a derivative data set"):
        index(root)
    empty = write_dataset(tmp_path / "empty", {})
    with pytest.raises(InputDataError, match="has no sub- folder"):
        index(empty)
    no_bold = write_dataset(tmp_path / "anat", {"01": {None: {"bold": []}}})
    with pytest.raises(InputDataError) as caught:
        index(no_bold)
    assert caught.value.message == requests.NONE_OF_KIND.format(path=no_bold, kind="BOLD")
    (only,) = index(no_bold, anat_only=True)
    assert (len(only.anatomies), only.sessions, only.notes) == (1, (), ())


def test_one_broken_participant_does_not_stop_the_others(tmp_path: Path) -> None:
    root = write_dataset(
        tmp_path / "raw",
        {
            "01": {None: {}},
            "02": {None: {"t1w": []}},
            "03": {None: {"bold": []}},
            "04": {None: {"metadata": {"RepetitionTime": None}}},
            "05": {None: {}},
            "06": {None: {}},
        },
    )
    (root / "sub-05/func/sub-05_task-rest_bold.json").write_text("{", encoding="utf-8")
    (root / "sub-06/anat/sub-06_T1w.nii.gz").write_bytes(b"")
    found = {one.label: one for one in index(root)}
    assert [label for label, one in found.items() if one.sessions] == ["01"]
    for label, words in {
        "02": "has no T1w image that can be used (T1w: 0 found, no filter)",
        "03": "has no BOLD image that can be used",
        "04": "has no RepetitionTime",
        "05": "not valid JSON",
        "06": "cannot be read as NIfTI (it is empty)",
    }.items():
        failed = [note for note in found[label].notes if note.level == "failed"]
        assert len(failed) == 1
        assert words in failed[0].message
        assert failed[0].exit_status == EXIT_DATA
        assert failed[0].participant == label
    assert len(found["03"].anatomies) == 1


def test_skipped_runs_count_only_when_nothing_is_left(tmp_path: Path) -> None:
    echoes = ["task-rest_echo-1"]
    root = write_dataset(
        tmp_path / "raw",
        {
            "01": {None: {"bold": [*echoes, "task-rest_run-1"]}},
            "02": {None: {"bold": echoes}},
            "03": {None: {"bold": ["task-rest_part-mag", "task-rest_part-phase"]}},
        },
    )
    first, second, third = index(root)
    for one, status, runs in ((first, 0, 1), (second, EXIT_DATA, 0)):
        skipped = [note for note in one.notes if note.level == "skipped"]
        assert [note.exit_status for note in skipped] == [status]
        assert skipped[0].message == ONE_ECHO.format(path=skipped[0].where)
        assert len(names(one)) == runs
    assert names(third) == ["sub-03_task-rest_part-mag_bold.nii.gz"]
    assert third.sessions[0].runs[0].entities == (("task", "rest"),)
    phase = root / "sub-03/func/sub-03_task-rest_part-phase_bold.nii.gz"
    assert raw.PHASE.format(path=phase) in [note.message for note in third.notes]


def test_dummy_scans_and_ignored_slice_timing(root: Path) -> None:
    with_dummies = index(root, BoldSettings(dummy_scans=11), participant_labels=("02",))[0]
    assert with_dummies.sessions == ()
    assert [note.level for note in with_dummies.notes if note.exit_status] == ["skipped"] * 2
    ignoring = index(root, BoldSettings(ignore=("slicetiming",)), participant_labels=("01",))[0]
    assert ignoring.sessions[0].runs[0].slice_timing is None


def test_choice_of_the_t1w_image(tmp_path: Path) -> None:
    t1w = ["run-2", "run-1", "acq-z"]
    root = write_dataset(tmp_path / "raw", {"01": {"A": {}, "B": {"t1w": t1w}}})
    one = index(root)[0]
    assert [anatomy.session for anatomy in one.anatomies] == ["A", "B"]
    assert one.sessions[1].anatomy.t1w.endswith("sub-01_ses-B_acq-z_T1w.nii.gz")
    assert anatomies.OTHER_T1W.format(
        used="sub-01_ses-B_acq-z_T1w.nii.gz",
        others="sub-01_ses-B_run-1_T1w.nii.gz, sub-01_ses-B_run-2_T1w.nii.gz",
    ) in [note.message for note in one.notes]
    path = write_filter(tmp_path, {"t1w": {"acquisition": None, "run": 2}})
    chosen = index(root, bids_filter_file=path, session_labels=("B",))[0]
    assert chosen.anatomies[0].t1w.endswith("sub-01_ses-B_run-2_T1w.nii.gz")
    # A broken image of its own: the other session's is borrowed, and the failure is told.
    (root / "sub-01/ses-A/anat/sub-01_ses-A_T1w.nii.gz").write_bytes(b"")
    borrowing = index(root)[0]
    assert [one.anatomy.session for one in borrowing.sessions] == ["B", "B"]
    assert [note.level for note in borrowing.notes].count("failed") == 1


def test_different_acquisitions_are_not_combined(tmp_path: Path) -> None:
    runs = ["task-rest_acq-a_run-1", "task-rest_acq-a_run-2", "task-rest_acq-b"]
    runs += ["task-rest_acq-a_dir-AP_run-3"]
    root = write_dataset(tmp_path / "raw", {"01": {None: {"bold": runs}}})
    (one,) = index(root)
    assert [len(session.runs) for session in one.sessions] == [3, 1]


def test_metadata_are_inherited(tmp_path: Path) -> None:
    root = write_dataset(
        tmp_path / "raw",
        {"01": {"A": {"bold": ["task-rest_acq-x"], "metadata": {"RepetitionTime": None}}}},
    )
    write_json(root / "task-rest_bold.json", {"RepetitionTime": 9.0, "SliceTiming": [0] * 6})
    write_json(root / "task-rest_acq-x_bold.json", {"RepetitionTime": 5.0})
    write_json(root / "task-rest_acq-y_bold.json", {"RepetitionTime": 7.0})
    write_json(root / "sub-01/sub-01_task-rest_bold.json", {"RepetitionTime": 2.0})
    write_json(root / "sub-01/ses-A/sub-01_ses-A_task-rest_sbref.json", {"RepetitionTime": 8.0})
    run = index(root)[0].sessions[0].runs[0]
    assert run.repetition_time == 2.0
    assert run.slice_timing == (0.0,) * 6


def test_filter_file(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_filter(tmp_path, {"bold": {"run": ["1", 10]}})
    with caplog.at_level(logging.INFO):
        (first,) = index(root, participant_labels=("01",), bids_filter_file=path)
    assert names(first) == [f"sub-01_task-rest_run-{n}_bold.nii.gz" for n in (1, 10)]
    steps = "BOLD: 4 found, --task-id rest keeps 3 of 4, "
    assert f"{steps}the query bold of the filter file keeps 2 of 3" in caplog.text
    # An entity of the file replaces its flag.
    path = write_filter(tmp_path, {"bold": {"task": "nback"}})
    (first,) = index(root, participant_labels=("01",), bids_filter_file=path)
    assert names(first) == ["sub-01_task-nback_bold.nii.gz"]
    path = write_filter(tmp_path, {"bold": {"acq": "*"}})
    with pytest.raises(UsageError, match="filter file keeps 0 of 5"):
        index(root, bids_filter_file=path)


def test_database_serves_every_participant(root: Path, tmp_path: Path) -> None:
    database = str(tmp_path / "db")
    first = index(root, participant_labels=("01",), bids_database_dir=database)
    second = index(root, participant_labels=("02",), bids_database_dir=database)
    assert (*first, *second) == index(root)
    other = write_dataset(tmp_path / "other", {"01": {None: {}}})
    with pytest.raises(UsageError, match="is a database of"):
        index(other, bids_database_dir=database)


def test_only_the_requested_are_indexed(tmp_path: Path) -> None:
    labels = ["1", "10", "11"]
    root = write_dataset(tmp_path / "raw", {label: {None: {}} for label in labels})
    files, _ = query._index_raw(str(root), ["1"], None)
    assert {file.entities["sub"] for file in files} == {"1"}
    for label in labels:
        (root / f"sub-{label}/func/sub-{label}_task-rest_bold.json").unlink()
    # Others' folders are not even looked into.
    assert not query._others(["1"]).search("/sub-1/anat")
    assert query._others(["1"]).search("/sub-10")


def settings_for(root: Path, **wanted) -> Settings:
    return Settings(
        analysis_level="participant",
        input=InputSettings(bids_dir=str(root), output_dir=str(root.parent / "out"), **wanted),
        anat=AnatSettings(),
        bold=BoldSettings(),
        denoise=DenoiseSettings(),
        measures=MeasureSettings(),
        group=GroupSettings(),
        run=RunSettings(),
    )


def test_plan(root: Path) -> None:
    write_dataset(root, {"03": {None: {"t1w": []}}})
    settings = settings_for(root)
    participants = index_participants(settings.input, settings.bold, hash_content=False)
    lines = plan_text(participants, settings).splitlines()
    assert (
        "  use   BOLD sub-01/func/sub-01_task-rest_run-2_bold.nii.gz"
        "  (20 volumes, TR 2 s, slice timing, no field map)" in lines
    )
    assert "  use   T1w  sub-02/ses-A/anat/sub-02_ses-A_T1w.nii.gz" in lines
    assert any(line.startswith("  fail  sub-03 has no T1w image") for line in lines)
    assert lines[-1] == "2 of 3 participants, 5 BOLD runs."


def test_the_plan_names_the_field_map_and_says_why_one_is_not_used(tmp_path: Path) -> None:
    maps = {"phasediff": {"B0FieldIdentifier": "f", "EchoTime1": 0.004, "EchoTime2": 0.006}}
    told = {"PhaseEncodingDirection": "j", "EffectiveEchoSpacing": 0.0005}
    runs = {
        "01": {None: {"metadata": told | {"B0FieldSource": "f"}, "fmap": maps}},
        "02": {None: {"metadata": told, "fmap": maps}},
    }
    settings = settings_for(write_dataset(tmp_path / "raw", runs))
    participants = index_participants(settings.input, settings.bold, hash_content=False)
    text = plan_text(participants, settings)
    assert "no slice timing, field map (phase difference))" in text
    assert "no slice timing, no field map)" in text
    assert "sub-02/fmap holds field maps, but none is meant for sub-02_task-rest_bold" in text


def test_importing_the_room_is_light() -> None:
    import subprocess

    code = (
        "import sys, rls_bids.dataset.query, rls_bids.dataset.participants; "
        "print([m for m in ('bids', 'nibabel', 'pandas', 'nipype') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout.strip() == "[]"
