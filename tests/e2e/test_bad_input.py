"""What is wrong with the input is said in one sentence, with the path, and the right exit code."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.e2e.conftest import Finished, call
from tests.factories import bold_array, write_dataset, write_nifti, write_participants

pytestmark = pytest.mark.e2e


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A raw data set of one participant that is too small to be analysed but well formed."""
    root = tmp_path / "bids"
    write_dataset(root, {"01": {None: {}}})
    return root


def check(done: Finished, status: int, *words: str) -> None:
    """Assert status and words, and that the user sees a sentence and not a traceback."""
    assert done.status == status, done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err


def run(root: Path, tmp_path: Path, *options: object, level: str = "participant") -> Finished:
    return call(root, tmp_path / "out", level, "-w", tmp_path / "work", *options)


def test_directory_is_missing(tmp_path: Path) -> None:
    check(run(tmp_path / "nowhere", tmp_path), 65, str(tmp_path / "nowhere"))


def test_directory_is_not_bids(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    check(run(tmp_path / "plain", tmp_path), 65, "dataset_description.json")


def test_unknown_participant(small: Path, tmp_path: Path) -> None:
    check(run(small, tmp_path, "--participant-label", "99"), 2, "sub-99", "sub-01")


def test_filter_that_leaves_nothing(small: Path, tmp_path: Path) -> None:
    check(run(small, tmp_path, "--task-id", "nback"), 2, "--task-id nback keeps 0", "rest")


def test_output_equals_input(small: Path, tmp_path: Path) -> None:
    done = call(small, small, "participant", "-w", tmp_path / "work")
    check(done, 2, str(small))


def test_work_directory_inside_input(small: Path, tmp_path: Path) -> None:
    done = call(small, tmp_path / "out", "participant", "-w", small / "work")
    check(done, 2, str(small / "work"))


def _bold(root: Path) -> Path:
    return next(root.glob("sub-01/**/func/*_bold.nii.gz"))


def _set_metadata(root: Path, **changes: object) -> None:
    path = Path(str(_bold(root)).replace(".nii.gz", ".json"))
    content = json.loads(path.read_text()) if path.is_file() else {}
    content |= changes
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(content))


def test_repetition_time_is_missing(small: Path, tmp_path: Path) -> None:
    for path in small.rglob("*bold.json"):
        content = json.loads(path.read_text())
        content.pop("RepetitionTime", None)
        path.write_text(json.dumps(content))
    check(run(small, tmp_path), 65, "RepetitionTime", _bold(small).name)


def test_repetition_time_contradicts_the_header(small: Path, tmp_path: Path) -> None:
    _set_metadata(small, RepetitionTime=2000.0)
    check(run(small, tmp_path), 65, "RepetitionTime", "2000")


def test_slice_timing_in_milliseconds_skips_the_step(small: Path, tmp_path: Path) -> None:
    n_slices = nib.load(_bold(small)).shape[2]
    _set_metadata(small, SliceTiming=[100.0 * k for k in range(n_slices)])
    done = run(small, tmp_path, "--dry-run")
    assert done.status == 0, done.err
    assert "no slice timing" in done.out
    assert "SliceTiming" in done.out


def test_bold_with_three_dimensions(small: Path, tmp_path: Path) -> None:
    path = _bold(small)
    write_nifti(path, np.ones((8, 8, 8), dtype=np.float32))
    check(run(small, tmp_path), 65, str(path))


def test_nothing_is_lost_when_bold_holds_nan(small: Path, tmp_path: Path) -> None:
    data = bold_array()
    data[3, 3, 3, 5] = np.nan
    write_nifti(_bold(small), data, repetition_time=2.0)
    done = run(small, tmp_path, "--sloppy", "--skull-strip-t1w", "skip")
    assert done.status in (1, 65)
    assert "Traceback" not in done.err
    assert _bold(small).name in done.err
    assert (tmp_path / "out" / "sub-01.html").is_file()


def test_group_without_participants_table(small: Path, tmp_path: Path) -> None:
    check(run(small, tmp_path, level="group"), 65, "participants.tsv")


def test_group_without_results(small: Path, tmp_path: Path) -> None:
    write_participants(small, [{"participant_id": "sub-01", "group": "RLS"}])
    check(run(small, tmp_path, level="group"), 65, str(tmp_path / "out"))


def test_output_cannot_be_written(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    check(run(small, tmp_path, "--sloppy", "--skull-strip-t1w", "skip"), 74, str(tmp_path / "out"))


def test_pointer_instead_of_content(small: Path, tmp_path: Path) -> None:
    path = _bold(small)
    path.unlink()
    path.symlink_to("../../../.git/annex/objects/aa/bb/MD5E-s1--c.nii.gz")
    check(run(small, tmp_path), 65, path.name, "datalad get")


def test_read_only_home_and_no_environment(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "copy of bids")
    done = call(tmp_path / "copy of bids", tmp_path / "out", "participant", "--dry-run")
    assert done.status == 0, done.err
