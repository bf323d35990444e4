"""From which series local measures come, and that the page says when there is none."""

from pathlib import Path

import numpy as np

from rls_bids.dataset import prepared_checks
from tests.factories import write_nifti
from tests.prepared import write_prepared
from tests.unit.test_prepared import FUNC, index, like, only_run


def told(participants, template: str) -> bool:
    return any(like(note.message, template) for note in participants[0].notes)


def test_the_acquired_voxel_size_is_needed_and_found(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep")
    participants = index(tmp_path, root)
    assert only_run(participants).voxel_size_mm is None
    assert told(participants, prepared_checks.NO_LOCAL)
    assert not told(participants, prepared_checks.INFLATED)
    raw = tmp_path / "raw" / f"{FUNC}_bold.nii.gz"
    raw.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(raw, np.zeros((4, 4, 4, 12), np.uint8), affine=np.diag([3.0, 3, 3.5, 1]))
    participants = index(tmp_path, root)
    assert only_run(participants).voxel_size_mm == 3.5
    assert told(participants, prepared_checks.INFLATED)
    assert not told(participants, prepared_checks.NO_LOCAL)


def test_seeds_alone_do_not_ask(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "fmriprep")
    participants = index(tmp_path, root, measures__names=("seed",))
    assert not told(participants, prepared_checks.NO_LOCAL)
