"""Files of git-annex or git-lfs that were not fetched: recognised, named, with a remedy."""

from pathlib import Path

import pytest

from rls_bids.app import run_group
from rls_bids.dataset.description import NOT_FETCHED, NOT_FETCHED_HINT
from rls_bids.dataset.prepared import index_prepared
from rls_bids.dataset.query import index_participants
from rls_bids.engine.outcome import exit_status
from rls_bids.errors import EXIT_DATA, InputDataError
from rls_bids.records import Note, Participant
from rls_bids.settings import Settings, build_settings
from tests.factories import write_dataset
from tests.prepared import STD, write_prepared


def as_link(path: Path) -> None:
    """Leave what `datalad clone` leaves of a locked file."""
    path.unlink()
    path.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s1--c.nii.gz/MD5E-s1--c.nii.gz")


def as_pointer(path: Path) -> None:
    """Leave what git-annex leaves of an unlocked file."""
    path.write_bytes(b"/annex/objects/MD5E-s1234--d41d8cd98f00b204e9800998ecf8427e.nii.gz\n")


def as_lfs(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n")


WAYS = pytest.mark.parametrize("leave", [as_link, as_pointer, as_lfs])


def settings_of(root: Path, **values: object) -> Settings:
    return build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": str(root / "raw"),
            "input.output_dir": str(root / "out"),
            **values,
        }
    )


def pointers(found: Participant) -> list[Note]:
    return [note for note in found.notes if "pointer" in note.message]


def check(note: Note, path: Path) -> None:
    assert note.message.startswith(NOT_FETCHED.format(path=path))
    assert note.hint == NOT_FETCHED_HINT.format(path=path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "raw", {"01": {None: {}}, "02": {None: {}}})


@WAYS
@pytest.mark.parametrize("name", ["anat/sub-01_T1w.nii.gz", "func/sub-01_task-rest_bold.nii.gz"])
def test_raw_images(raw: Path, leave, name: str) -> None:
    path = raw / "sub-01" / name
    leave(path)
    settings = settings_of(raw.parent)
    first, second = index_participants(settings.input, settings.bold)
    (note,) = pointers(first)
    check(note, path)
    assert (note.level, note.exit_status) == ("failed", EXIT_DATA)
    assert first.sessions == ()
    assert second.sessions
    assert exit_status([first], list(first.notes), n_strategies=1) == EXIT_DATA


@WAYS
def test_sidecars_and_descriptions(raw: Path, leave) -> None:
    sidecar = raw / "sub-01/func/sub-01_task-rest_bold.json"
    leave(sidecar)
    settings = settings_of(raw.parent)
    first, _ = index_participants(settings.input, settings.bold)
    (note,) = pointers(first)
    assert note.message == NOT_FETCHED.format(path=sidecar)
    for name in ("participants.tsv", "dataset_description.json"):
        (raw / name).touch()
        leave(raw / name)
        with pytest.raises(InputDataError) as caught:
            index_participants(settings.input, settings.bold)
        assert caught.value.message == NOT_FETCHED.format(path=raw / name)
        assert caught.value.exit_status == EXIT_DATA


@WAYS
def test_the_table_of_a_group(raw: Path, leave) -> None:
    (raw / "participants.tsv").touch()
    leave(raw / "participants.tsv")
    with pytest.raises(InputDataError) as caught:
        run_group(settings_of(raw.parent, analysis_level="group"))
    assert caught.value.message == NOT_FETCHED.format(path=raw / "participants.tsv")


@WAYS
@pytest.mark.parametrize(
    "name",
    [
        f"sub-01_task-rest_{STD}_desc-preproc_bold.nii.gz",
        f"sub-01_task-rest_{STD}_desc-preproc_bold.json",
        f"sub-01_task-rest_{STD}_desc-brain_mask.nii.gz",
        "sub-01_task-rest_desc-confounds_timeseries.tsv",
    ],
)
@pytest.mark.parametrize("hash_content", [True, False])
def test_derivatives(raw: Path, leave, name: str, hash_content) -> None:
    prep = write_prepared(raw.parent / "prep")
    path = prep / "sub-01" / "func" / name
    leave(path)
    settings = settings_of(raw.parent, **{"input.derivatives": [str(prep)]})
    (found,) = index_prepared(settings, hash_content=hash_content)
    (note,) = pointers(found)
    check(note, path)
    assert (note.level, note.exit_status) == ("failed", EXIT_DATA)
    assert found.sessions == ()


@WAYS
def test_the_description_of_derivatives(raw: Path, leave) -> None:
    prep = write_prepared(raw.parent / "prep")
    leave(prep / "dataset_description.json")
    settings = settings_of(raw.parent, **{"input.derivatives": [str(prep)]})
    with pytest.raises(InputDataError) as caught:
        index_prepared(settings)
    assert caught.value.message == NOT_FETCHED.format(path=prep / "dataset_description.json")
