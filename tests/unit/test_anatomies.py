"""Which T1w images of a session are used: the best kind, its repetitions joined."""

from pathlib import Path

import numpy as np
import pytest

from rls_bids.dataset import anatomies
from rls_bids.dataset.plan import plan_text
from rls_bids.dataset.query import index_participants
from rls_bids.records import Participant
from rls_bids.settings import Settings, build_settings
from tests.factories import write_dataset, write_nifti


def settings_of(root: Path) -> Settings:
    return build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": str(root),
            "input.output_dir": str(root.parent / "out"),
        }
    )


def index(root: Path, **options: bool) -> Participant:
    settings = settings_of(root)
    (found,) = index_participants(settings.input, settings.bold, **options)
    return found


def head(folder: Path, name: str, size_mm: float = 3.0, shape=(5, 6, 7)) -> Path:
    data = np.random.default_rng(len(name)).normal(500, 50, shape).astype(np.float32)
    affine = np.diag([-size_mm, size_mm, size_mm, 1.0])
    return write_nifti(folder / f"anat/sub-01_{name}T1w.nii.gz", data, affine=affine)


def names(found: Participant) -> list[list[str]]:
    return [[Path(path).name for path in (one.t1w, *one.others)] for one in found.anatomies]


def test_repetitions_of_one_acquisition_are_joined_and_told(tmp_path: Path) -> None:
    t1w = ["run-1", "run-2", "run-10"]
    root = write_dataset(tmp_path / "raw", {"01": {None: {"t1w": t1w}}})
    found = index(root)
    assert names(found) == [[f"sub-01_run-{n}_T1w.nii.gz" for n in (1, 2, 10)]]
    message = anatomies.JOINED_T1W.format(
        used="sub-01_run-1_T1w.nii.gz",
        others="sub-01_run-2_T1w.nii.gz, sub-01_run-10_T1w.nii.gz",
    )
    assert message in [note.message for note in found.notes]
    text = plan_text([found], settings_of(root))
    assert text.count("  use   T1w ") == 3


def test_content_follows_every_image_that_may_be_used(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "raw", {"01": {None: {"t1w": ["run-1", "run-2"]}}})
    before = index(root).anatomies[0].content
    head(root / "sub-01", "run-2_")
    after = index(root).anatomies[0].content
    assert before != after
    assert index(root, hash_content=False).anatomies[0].content == ""
    (root / "sub-01/anat/sub-01_run-2_T1w.nii.gz").unlink()
    assert index(root).anatomies[0].content not in (before, after)


def test_other_kinds_are_not_mixed(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "raw", {"01": {None: {"t1w": []}}})
    folder = root / "sub-01"
    head(folder, "acq-a_run-1_")
    head(folder, "acq-a_run-2_", size_mm=3.2)
    head(folder, "acq-a_run-3_", size_mm=3.6)
    head(folder, "acq-b_")
    head(folder, "acq-a_rec-norm_")
    found = index(root)
    used = ["sub-01_acq-a_rec-norm_T1w.nii.gz"]
    assert names(found) == [used]
    (folder / "anat" / used[0]).unlink()
    found = index(root)
    assert names(found) == [[f"sub-01_acq-a_run-{n}_T1w.nii.gz" for n in (1, 2)]]
    told = [note.message for note in found.notes]
    assert any(text.endswith("run-3_T1w.nii.gz, sub-01_acq-b_T1w.nii.gz.") for text in told)


@pytest.mark.parametrize(
    ("first", "second"), [(("acq-a_", 4.0), ("acq-b_", 3.0)), (("ce-gd_", 3.0), ("run-1_", 3.0))]
)
def test_fine_voxels_and_no_contrast_agent_are_better(tmp_path: Path, first, second) -> None:
    root = write_dataset(tmp_path / "raw", {"01": {None: {"t1w": []}}})
    for name, size in (first, second):
        head(root / "sub-01", name, size)
    assert names(index(root)) == [[f"sub-01_{second[0]}T1w.nii.gz"]]


def test_a_broken_repetition_is_left_out_and_told(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "raw", {"01": {None: {"t1w": ["run-1", "run-2"]}}})
    (root / "sub-01/anat/sub-01_run-1_T1w.nii.gz").write_bytes(b"")
    found = index(root)
    assert names(found) == [["sub-01_run-2_T1w.nii.gz"]]
    (note,) = (note for note in found.notes if note.level == "skipped")
    assert note.exit_status == 0
    assert "run-1_T1w.nii.gz cannot be read" in note.message


def test_sessions_without_their_own_borrow_the_joined_image(tmp_path: Path) -> None:
    sessions = {"A": {"t1w": []}, "B": {"t1w": ["run-1", "run-2"]}, "C": {"t1w": []}}
    root = write_dataset(tmp_path / "raw", {"01": sessions})
    found = index(root)
    (anatomy,) = found.anatomies
    assert (anatomy.session, len(anatomy.others)) == ("B", 1)
    assert [one.anatomy for one in found.sessions] == [anatomy] * 3
    told = [note.message for note in found.notes]
    for label in "AC":
        text = anatomies.BORROWED_T1W.format(
            where=f"ses-{label}", used="sub-01_ses-B_run-1_T1w.nii.gz"
        )
        assert text in told
