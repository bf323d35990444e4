"""Writing NIfTI images: storage orientation, qform, and bytes that depend on the content alone."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from rls_bids.phantom.space import Floats, rigid_matrix

COMPRESSION = 1
WRONG_QFORM = (7.0, -11.0, 5.0, 0.2, -0.1, 0.3)
"""Shift (mm) and rotation (rad) of a qform that contradicts its sform."""
AXIS_LETTERS = "ijk"


def reorient(
    data: NDArray[np.generic], affine: Floats, codes: str
) -> tuple[NDArray[np.generic], Floats]:
    """Store an image so that its axes point where ``codes`` say, in the same place."""
    change = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    stored = nib.orientations.apply_orientation(data, change)
    return stored, affine @ inv_ornt_aff(change, data.shape[:3])


def axis_of(codes: str, towards: str, opposite: str) -> tuple[str, bool]:
    """Letter (i, j, k) of the stored axis along a body axis, and whether it runs backwards.

    Examples
    --------
    >>> axis_of("PSR", "A", "P")
    ('i', True)
    """
    for letter, code in zip(AXIS_LETTERS, codes, strict=True):
        if code in {towards, opposite}:
            return letter, code == opposite
    raise ValueError(codes)


def save_image(
    path: Path,
    data: NDArray[np.generic],
    affine: Floats,
    *,
    codes: str | None = None,
    repetition_time: float | None = None,
    differing_qform: bool = False,
) -> None:
    """Write a .nii.gz whose bytes depend on its content only.

    Parameters
    ----------
    codes : str, optional
        Storage orientation; as it is when None.
    """
    if codes is not None:
        data, affine = reorient(data, affine, codes)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    shown = affine
    if differing_qform:
        shown = rigid_matrix(np.array(WRONG_QFORM), np.zeros(3)) @ affine
    image.set_qform(shown, code=1)
    if repetition_time is not None:
        zooms = image.header.get_zooms()
        image.header.set_zooms((*zooms[:3], repetition_time))
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("wb") as raw,
        gzip.GzipFile(
            filename="", mode="wb", fileobj=raw, compresslevel=COMPRESSION, mtime=0
        ) as packed,
    ):
        packed.write(image.to_bytes())
