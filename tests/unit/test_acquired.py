"""The voxel size of an acquisition is found behind a preprocessed series, or unknown."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.acquired import acquired_size, longest_edge
from rls_bids.dataset.checks import read_header
from rls_bids.dataset.derivatives import files_of

FUNC = "sub-01/func/sub-01_task-rest"
STD = "space-MNI152NLin2009cAsym"


def write(path: Path, sizes: tuple[float, float, float], n_volumes: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.zeros((3, 4, 5, n_volumes), np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([-sizes[0], *sizes[1:], 1])), path)


def find(root: Path, raw: Path, name: str) -> float | None:
    files = files_of(str(root), "01")
    (bold,) = (one for one in files if one.path.endswith(name))
    return acquired_size(bold, "01", files, str(raw))


def test_the_longest_edge_of_an_oblique_image(tmp_path: Path) -> None:
    turn = nib.eulerangles.euler2mat(0.4, 0.1, -0.2) @ np.diag([2.0, 2.0, 3.3])
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), nib.affines.from_matvec(turn))
    nib.save(image, tmp_path / "x.nii.gz")
    assert longest_edge(read_header(tmp_path / "x.nii.gz")) == pytest.approx(3.3, abs=1e-3)


def test_the_raw_series_counts_first(tmp_path: Path) -> None:
    root, raw = tmp_path / "prep", tmp_path / "raw"
    name = f"{STD}_res-2_desc-preproc_bold.nii.gz"
    write(root / f"{FUNC}_{name}", (2, 2, 2))
    assert find(root, raw, name) is None
    write(root / f"{FUNC}_{STD}_desc-preproc_bold.nii.gz", (3.5, 3.5, 3.5))
    assert find(root, raw, name) is None  # of another run of the program: not this series
    write(root / f"{FUNC}_space-T1w_boldref.nii.gz", (3, 3, 3))
    assert find(root, raw, name) == 3.0
    write(raw / "sub-01/func/sub-01_task-other_bold.nii.gz", (4, 4, 4))
    assert find(root, raw, name) == 3.0
    write(raw / f"{FUNC}_bold.nii.gz", (2.5, 2.5, 2.8))
    assert find(root, raw, name) == 2.8


def test_a_series_without_a_resolution_kept_its_voxels(tmp_path: Path) -> None:
    root = tmp_path / "prep"
    name = f"{STD}_desc-preproc_bold.nii.gz"
    write(root / f"{FUNC}_{name}", (3.5, 3.5, 3.5))
    assert find(root, tmp_path / "none", name) == 3.5
