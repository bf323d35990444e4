"""Preprocessed data sets: what is found in which layout, what is said, what is refused."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from rls_bids.dataset import checks, prepared, prepared_checks, requests
from rls_bids.dataset.plan import plan_text
from rls_bids.dataset.prepared import index_prepared
from rls_bids.errors import EXIT_DATA, InputDataError, UsageError
from rls_bids.numerics.regressors import MISSING_COLUMNS
from rls_bids.paths import RESERVED_NAME, TWO_DERIVATIVES
from rls_bids.records import Note, Participant, PreparedRun
from rls_bids.resources.grids import standard_grid
from rls_bids.settings import Settings, build_settings
from tests.factories import bold_array, write_dataset, write_filter, write_nifti
from tests.prepared import SPACE, STD, confounds_columns, write_prepared, write_table

FUNC = "sub-01/func/sub-01_task-rest"


def settings_of(root: Path, *derivatives: Path | str, **options: object) -> Settings:
    bids = root / "raw"
    if not bids.is_dir():
        write_dataset(bids, {"01": {None: {"t1w": [], "bold": []}}})
    values = {name.replace("__", "."): value for name, value in options.items()}
    return build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": str(bids),
            "input.output_dir": str(root / "out"),
            "input.derivatives": [str(each) for each in derivatives],
            **values,
        }
    )


def index(root: Path, *derivatives: Path | str, **options: object) -> tuple[Participant, ...]:
    return index_prepared(settings_of(root, *derivatives, **options))


def only_run(participants: tuple[Participant, ...]) -> PreparedRun:
    (participant,) = participants
    (session,) = participant.sessions
    (run,) = session.runs
    assert isinstance(run, PreparedRun)
    return run


def failure(participants: tuple[Participant, ...]) -> Note:
    """Return the one failure of the one participant, who has nothing left."""
    (participant,) = participants
    assert participant.sessions == ()
    (note,) = [each for each in participant.notes if each.level == "failed"]
    assert note.exit_status == EXIT_DATA
    assert note.hint or "volumes" in note.message
    return note


def like(message: str, template: str) -> bool:
    parts = re.split(r"({[^}]*})", template)
    pattern = "".join(".*" if part.startswith("{") else re.escape(part) for part in parts)
    return re.fullmatch(pattern, message) is not None


@pytest.mark.parametrize(
    ("version", "strategy", "generator"),
    [
        ("25.2.0", "acompcor", "fMRIPrep 25.2.0"),
        ("20.2.7", "acompcor", "fMRIPrep 20.2.7"),
        ("1.5.0", "acompcor", "fMRIPrep 1.5.0"),
        ("1.0.0", "24P", "an unknown program"),
    ],
)
def test_every_layout_is_found(
    tmp_path: Path, version: str, strategy: str, generator: str
) -> None:
    root = write_prepared(tmp_path / "fmriprep", version)
    run = only_run(index(tmp_path, root, denoise__strategies=[strategy]))
    assert run.entities == (("task", "rest"),)
    assert (run.repetition_time, run.n_volumes, run.n_dropped) == (2.0, 20, 0)
    assert run.generator == generator
    assert Path(run.mask).is_file()
    assert "confounds" in run.confounds
    assert len(run.content) == 16


def test_the_published_example_is_planned_but_its_empty_images_are_refused(
    tmp_path: Path, real_data: Path
) -> None:
    source = real_data / "bids-examples/synthetic"
    options = {"input__bids_dir": str(source), "denoise__strategies": ["6P"]}
    derivative = source / "derivatives" / "fmriprep"
    participants = index(tmp_path, derivative, input__session_labels=["01"], **options)
    assert [one.label for one in participants] == ["01", "02", "03", "04", "05"]
    failed = [note for one in participants for note in one.notes if note.level == "failed"]
    assert len(failed) == 5
    assert all(
        "task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold.nii" in n.where for n in failed
    )


def test_sessions_and_runs_are_grouped_as_with_raw_data(tmp_path: Path) -> None:
    runs = [f"sub-01_ses-{s}_task-rest_run-{r}" for s in "AB" for r in (1, 2)]
    runs.append("sub-02_task-nback")
    root = write_prepared(tmp_path / "fmriprep", runs=runs)
    first, second = index(tmp_path, root)
    assert [(one.session, len(one.runs)) for one in first.sessions] == [("A", 2), ("B", 2)]
    assert second.sessions == ()
    assert any(note.exit_status == EXIT_DATA for note in second.notes)
    (chosen,) = index(
        tmp_path, root, input__session_labels=["B"], input__run_ids=["2"],
        input__participant_labels=["01"],
    )  # fmt: skip
    assert [one.session for one in chosen.sessions] == ["B"]
    assert len(chosen.sessions[0].runs) == 1


def test_unknown_labels_and_filters_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep")
    for options, template in (
        ({"input__participant_labels": ["99"]}, requests.UNKNOWN_LABEL),
        ({"input__task_ids": ["nback"]}, requests.NONE_LEFT),
        ({"anat__output_spaces": ["MNI152NLin6Asym"]}, requests.NONE_LEFT),
    ):
        with pytest.raises(UsageError) as caught:
            index(tmp_path, root, **options)
        assert like(caught.value.message, template)


def test_the_filter_file_chooses_among_runs(tmp_path: Path) -> None:
    runs = [f"sub-01_task-rest_acq-{acq}" for acq in ("slow", "fast")]
    root = write_prepared(tmp_path / "fmriprep", runs=runs)
    path = write_filter(tmp_path, {"bold": {"acquisition": "fast"}})
    run = only_run(index(tmp_path, root, input__bids_filter_file=path))
    assert ("acq", "fast") in run.entities


def test_the_wanted_resolution_comes_first_and_another_grid_is_told(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep")
    native = write_prepared(tmp_path / "native", "20.2.7")
    shutil.copytree(native / "sub-01", root / "sub-01", dirs_exist_ok=True)
    participants = index(tmp_path, root)
    run = only_run(participants)
    assert STD in run.bold
    assert STD not in run.local_bold  # without res-: the acquired voxels, for local measures
    assert "res" not in run.local_bold.partition("_space-")[2]
    assert any(like(n.message, prepared_checks.INTERPOLATED) for n in participants[0].notes)


def test_a_series_on_the_output_grid_needs_no_interpolation(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep")
    shape, affine = standard_grid(SPACE, "2")
    series = np.zeros((*shape, 12), np.uint8)
    series[50, 50, 50] = np.arange(12)
    path = root / f"{FUNC}_{STD}_desc-preproc_bold.nii.gz"
    write_nifti(path, series, affine=affine, repetition_time=2.0)
    write_nifti(
        root / f"{FUNC}_{STD}_desc-brain_mask.nii.gz", np.ones(shape, np.uint8), affine=affine
    )
    write_table(root / f"{FUNC}_desc-confounds_timeseries.tsv", confounds_columns("present", 12))
    participants = index(tmp_path, root)
    assert not any(like(n.message, prepared_checks.INTERPOLATED) for n in participants[0].notes)
    run = only_run(participants)
    assert (run.local_bold, run.local_mask) == (run.bold, run.mask)


def test_the_later_of_two_data_sets_wins(tmp_path: Path) -> None:
    old = write_prepared(tmp_path / "old", "20.2.7")
    new = write_prepared(tmp_path / "new", "25.2.0")
    participants = index(tmp_path, f"lts={old}", f"current={new}")
    assert only_run(participants).generator == "fMRIPrep 25.2.0"
    assert any(like(n.message, prepared.LATER_WINS) for n in participants[0].notes)


@pytest.mark.parametrize(
    ("texts", "template"),
    [(["a/fmriprep", "b/fmriprep"], TWO_DERIVATIVES), (["raw=a/fmriprep"], RESERVED_NAME)],
)
def test_names_of_data_sets_are_unique(tmp_path: Path, texts: list[str], template: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(tmp_path, *texts)
    assert like(caught.value.message, template)


def test_a_missing_folder_and_a_raw_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError) as caught:
        index(tmp_path, tmp_path / "nowhere")
    assert like(caught.value.message, requests.NO_DIRECTORY)
    settings_of(tmp_path)
    with pytest.raises(InputDataError) as caught:
        index(tmp_path, f"again={tmp_path / 'raw'}")
    assert caught.value.exit_status == EXIT_DATA


def test_marked_volumes_are_dropped_and_dummy_scans_can_only_add(tmp_path: Path) -> None:
    columns = confounds_columns("present")
    for index_, volume in enumerate((0, 1)):
        columns[f"non_steady_state_outlier{index_:02d}"] = np.eye(20)[volume]
    root = write_prepared(tmp_path / "fmriprep", columns=columns)
    participants = index(tmp_path, root)
    assert only_run(participants).n_dropped == 2
    assert any(like(n.message, prepared_checks.DROPPED) for n in participants[0].notes)
    assert only_run(index(tmp_path, root, bold__dummy_scans=1)).n_dropped == 2
    assert only_run(index(tmp_path, root, bold__dummy_scans=4)).n_dropped == 4
    assert like(failure(index(tmp_path, root, bold__dummy_scans=11)).message, checks.TOO_SHORT)


def test_the_repetition_time_comes_from_sidecar_or_header_and_they_must_agree(
    tmp_path: Path,
) -> None:
    silent = write_prepared(tmp_path / "silent", metadata={})
    participants = index(tmp_path, silent)
    assert only_run(participants).repetition_time == 2.0
    assert any(like(n.message, prepared_checks.TIME_FROM_HEADER) for n in participants[0].notes)
    wrong = write_prepared(tmp_path / "wrong", metadata={"RepetitionTime": 3.0})
    assert like(failure(index(tmp_path, wrong)).message, checks.OTHER_REPETITION_TIME)
    nothing = write_prepared(tmp_path / "nothing", metadata={}, time_unit="unknown")
    assert like(failure(index(tmp_path, nothing)).message, checks.NO_REPETITION_TIME)


def test_times_of_the_sidecar_are_kept(tmp_path: Path) -> None:
    told = {"RepetitionTime": 2.0, "SliceTimingCorrected": True, "StartTime": 0.95}
    run = only_run(index(tmp_path, write_prepared(tmp_path / "fmriprep", metadata=told)))
    assert (run.is_slice_timed, run.start_time) == (True, 0.95)


def broken_mask(root: Path) -> None:
    (root / f"{FUNC}_{STD}_desc-brain_mask.nii.gz").unlink()


def other_mask(root: Path) -> None:
    path = root / f"{FUNC}_{STD}_desc-brain_mask.nii.gz"
    write_nifti(path, np.ones((4, 5, 7), np.uint8))


def no_table(root: Path) -> None:
    (root / f"{FUNC}_desc-confounds_timeseries.tsv").unlink()


def short_table(root: Path) -> None:
    columns = confounds_columns("present", 19)
    write_table(root / f"{FUNC}_desc-confounds_timeseries.tsv", columns)


def wordy_table(root: Path) -> None:
    path = root / f"{FUNC}_desc-confounds_timeseries.tsv"
    path.write_text(path.read_text().replace("0.0", "none ", 1))


def ragged_table(root: Path) -> None:
    path = root / f"{FUNC}_desc-confounds_timeseries.tsv"
    path.write_text(path.read_text().rstrip("\n") + "\t1\n")


def without_components(root: Path) -> None:
    columns = confounds_columns("present")
    kept = {name: column for name, column in columns.items() if "_comp_cor_" not in name}
    write_table(root / f"{FUNC}_desc-confounds_timeseries.tsv", kept)


def without_motion(root: Path) -> None:
    columns = {"csf": confounds_columns("present")["csf"]}
    write_table(root / f"{FUNC}_desc-confounds_timeseries.tsv", columns)


def with_gaps(root: Path) -> None:
    columns = confounds_columns("present")
    columns["rot_x"][7] = np.nan
    write_table(root / f"{FUNC}_desc-confounds_timeseries.tsv", columns)


def odd_marks(root: Path) -> None:
    columns = confounds_columns("present") | {"non_steady_state_outlier00": np.eye(20)[5]}
    write_table(root / f"{FUNC}_desc-confounds_timeseries.tsv", columns)


def three_dimensions(root: Path) -> None:
    write_nifti(root / f"{FUNC}_{STD}_desc-preproc_bold.nii.gz", bold_array((4, 5, 6)))


def damaged(root: Path) -> None:
    (root / f"{FUNC}_{STD}_desc-preproc_bold.nii.gz").write_bytes(b"nothing of use")


@pytest.mark.parametrize(
    ("spoil", "template", "named"),
    [
        (broken_mask, prepared_checks.NO_MASK, "desc-brain_mask"),
        (other_mask, prepared_checks.OTHER_GRID, "4 × 5 × 7"),
        (no_table, prepared_checks.NO_CONFOUNDS, "desc-confounds_timeseries.tsv"),
        (short_table, prepared_checks.WRONG_ROWS, "19 rows"),
        (wordy_table, prepared_checks.NOT_A_TABLE, "line 2"),
        (ragged_table, prepared_checks.NOT_A_TABLE, "line 21"),
        (without_components, MISSING_COLUMNS, "c_comp_cor_00"),
        (without_motion, prepared_checks.NO_MOTION, "rot_z"),
        (with_gaps, prepared_checks.NOT_NUMBERS, "rot_x"),
        (odd_marks, prepared_checks.ODD_MARKS, "steady"),
        (three_dimensions, checks.NOT_4D, "(4, 5, 6)"),
        (damaged, checks.UNREADABLE, "desc-preproc_bold"),
    ],
)
def test_what_is_unusable_gets_a_sentence_and_others_go_on(
    tmp_path: Path, spoil, template: str, named: str
) -> None:
    root = write_prepared(tmp_path / "fmriprep", runs=["sub-01_task-rest", "sub-02_task-rest"])
    spoil(root)
    first, second = index(tmp_path, root)
    (note,) = [each for each in first.notes if each.level == "failed"]
    assert note.exit_status == EXIT_DATA
    assert named in note.message
    assert str(root) in note.message
    assert like(note.message, template) or like(
        note.message, prepared_checks.LACKING.replace("{reason}", template)
    )
    assert len(second.sessions) == 1


def test_another_space_is_named_with_the_way_out(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep", runs=["sub-01_task-rest", "sub-02_task-rest"])
    for path in (root / "sub-02/func").iterdir():
        path.rename(path.with_name(path.name.replace(STD, "space-T1w")))
    _, second = index(tmp_path, root)
    (note,) = [each for each in second.notes if each.level == "failed"]
    assert like(note.message, prepared.NOTHING)
    assert "T1w" in note.message
    assert "--output-spaces MNI152NLin2009cAsym:res-2" in note.hint


def test_the_anatomy_is_found_or_its_absence_told(tmp_path: Path) -> None:
    run = "sub-01_ses-B_task-rest"
    root = write_prepared(tmp_path / "fmriprep", runs=[run])
    (participant,) = index(tmp_path, root)
    assert participant.anatomies[0].tissues == ()
    assert any(like(n.message, prepared.NO_TISSUES) for n in participant.notes)
    anat = root / "sub-01/anat"
    for what in ("desc-preproc_T1w", *(f"label-{t}_probseg" for t in ("GM", "WM", "CSF"))):
        write_nifti(anat / f"sub-01_{STD}_{what}.nii.gz", bold_array((4, 5, 6)))
    (participant,) = index(tmp_path, root)
    (anatomy,) = participant.anatomies
    assert [Path(path).name.split("_")[-2] for path in anatomy.tissues] == [
        "label-GM", "label-WM", "label-CSF",
    ]  # fmt: skip
    assert anatomy.t1w.endswith("desc-preproc_T1w.nii.gz")
    assert participant.sessions[0].anatomy is anatomy


def test_who_is_raw_only_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_dataset(tmp_path / "raw", {"01": {None: {}}, "02": {None: {}}, "03": {None: {}}})
    root = write_prepared(tmp_path / "fmriprep")
    index(tmp_path, root, input__exclude_participant_labels=["03"])
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"sub-02 is in the input data set, but not in {root}."]
    named = index(tmp_path, root, input__participant_labels=["01", "02"])
    assert [bool(one.sessions) for one in named] == [True, False]
    assert [note.exit_status for note in named[1].notes if note.level == "failed"] == [EXIT_DATA]
    with pytest.raises(InputDataError):
        index(tmp_path, root, input__participant_labels=["02"])


def test_content_follows_series_mask_and_table(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep")
    seen = {only_run(index(tmp_path, root)).content}
    columns = confounds_columns("present")
    columns["csf"][3] += 1
    write_table(root / f"{FUNC}_desc-confounds_timeseries.tsv", columns)
    seen.add(only_run(index(tmp_path, root)).content)
    mask = np.ones((4, 5, 6), np.uint8)
    mask[0] = 0
    write_nifti(root / f"{FUNC}_{STD}_desc-brain_mask.nii.gz", mask)
    seen.add(only_run(index(tmp_path, root)).content)
    assert len(seen) == 3


def test_the_dry_run_names_files_and_program(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep")
    settings = settings_of(tmp_path, root)
    text = plan_text(index_prepared(settings, hash_content=False), settings)
    assert f"fmriprep={root}" in text
    assert f"{FUNC}_{STD}_desc-preproc_bold.nii.gz" in text
    assert "20 volumes, TR 2 s, by fMRIPrep 25.2.0" in text
    assert "1 of 1 participants, 1 BOLD runs." in text


def test_a_broken_description_is_refused_and_an_odd_one_is_unknown(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep")
    path = root / "dataset_description.json"
    path.write_text(json.dumps({"GeneratedBy": "me"}))
    assert only_run(index(tmp_path, root)).generator == "an unknown program"
    path.write_text("{")
    with pytest.raises(InputDataError):
        index(tmp_path, root)
