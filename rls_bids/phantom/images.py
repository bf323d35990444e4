"""Writing NIfTI images: storage orientation, qform, and bytes that depend on the content alone."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from rls_bids.phantom.space import Floats, Floats32, rigid_matrix

COMPRESSION = 1
WRONG_QFORM = (7.0, -11.0, 5.0, 0.2, -0.1, 0.3)
"""Shift (mm) and rotation (rad) of a qform that contradicts its sform."""
HEADER_BYTES = 352
AXIS_LETTERS = "ijk"


def load_image(path: str | Path) -> tuple[Floats32, Floats]:
    """Read values (float32) and affine of an image."""
    image: Any = nib.load(path)
    return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64)


def reorient(
    data: NDArray[np.generic], affine: Floats, codes: str
) -> tuple[NDArray[np.generic], Floats]:
    """Store an image so that its axes point where ``codes`` say, in the same place."""
    tools: Any = orientations  # without types
    change = tools.ornt_transform(tools.io_orientation(affine), tools.axcodes2ornt(codes))
    stored = tools.apply_orientation(data, change)
    return stored, affine @ tools.inv_ornt_aff(change, data.shape[:3])


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
    shown = affine
    if differing_qform:
        shown = rigid_matrix(np.array(WRONG_QFORM), np.zeros(3)) @ affine
    header = _header(data, affine, shown, repetition_time)
    _pack(path, header, data.T)


def save_series(
    path: Path, stored: NDArray[np.int16], affine: Floats, repetition_time: float
) -> None:
    """Write a series whose axes are time, z, y, x, without a transposed copy."""
    _pack(path, _header(stored.T, affine, affine, repetition_time), stored)


def _header(
    data: NDArray[np.generic], affine: Floats, shown: Floats, repetition_time: float | None
) -> bytes:
    """Return the 352 bytes before the data; ``shown`` is the qform."""
    make: Any = nib.Nifti1Header
    header = make()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_xyzt_units("mm", "sec")
    header.set_sform(affine, code=1)
    header.set_qform(shown, code=1)
    header.set_slope_inter(1.0, 0.0)
    if repetition_time is not None:
        header["pixdim"][4] = repetition_time
    header["vox_offset"] = HEADER_BYTES
    packed: bytes = header.binaryblock
    return packed + bytes(HEADER_BYTES - len(packed))


def _pack(path: Path, header: bytes, stored: NDArray[np.generic]) -> None:
    """Compress header and C-ordered data; the time of writing is left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("wb") as raw,
        gzip.GzipFile(
            filename="", mode="wb", fileobj=raw, compresslevel=COMPRESSION, mtime=0
        ) as packed,
    ):
        packed.write(header)
        packed.write(np.ascontiguousarray(stored).data)
