"""Images on disk and arrays in memory: the load and save helpers that all interfaces share."""

import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from rls_bids.errors import InputDataError

UNREADABLE = "{path} cannot be read as a NIfTI image ({reason})."
UNREADABLE_HINT = "Copy the file again; a truncated .nii.gz is the usual cause."
WRONG_SHAPE = "{path} has shape {shape}; an image with {expected} dimensions was expected."
WRONG_SHAPE_HINT = "Check that the suffix in the file name fits what the file holds."
NOT_FINITE = "{path} holds {count} values that are not finite; only finite values were expected."
NOT_FINITE_HINT = "Replace NaN and infinite values, or convert the image again."
SHEARED = "The header of {path} shears its axes by {angle:.2f} degrees; 0 was expected."
SHEARED_HINT = "Resample the image to a grid with right angles first."
MASK_MISMATCH = "{path} has {found} columns; {expected} voxels of the mask {mask} were expected."

SCANNER_CODE = 1
STANDARD_CODE = 4
SHEAR_LIMIT_DEGREES = 0.5
HALF = 0.5
UNREADABLE_BECAUSE = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
)


class Volume(NamedTuple):
    """An array with its grid: ``affine`` maps voxel indices to RAS+ mm."""

    data: NDArray[np.float32]
    affine: NDArray[np.float64]


def voxel_sizes(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Edge lengths of a voxel in mm.

    Examples
    --------
    >>> voxel_sizes(np.diag([-2.0, 2.0, 3.5, 1.0]))
    (2.0, 2.0, 3.5)
    """
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(x), float(y), float(z)


def load_volume(path: str | Path, *, n_dims: int = 3) -> Volume:
    """Load an image as float32 and refuse what cannot be analysed.

    Parameters
    ----------
    path : str or Path
        A NIfTI file.
    n_dims : int
        Dimensions wanted. Trailing axes of length one are dropped, never others.

    Returns
    -------
    Volume

    Raises
    ------
    InputDataError
        Unreadable or truncated file, wrong number of dimensions, or values that are not finite.
    """
    try:
        image: Any = nib.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
    except UNREADABLE_BECAUSE as error:
        raise InputDataError(
            UNREADABLE.format(path=path, reason=error), UNREADABLE_HINT
        ) from error
    while data.ndim > n_dims and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != n_dims:
        raise InputDataError(
            WRONG_SHAPE.format(path=path, shape=data.shape, expected=n_dims), WRONG_SHAPE_HINT
        )
    n_bad = int(data.size - np.count_nonzero(np.isfinite(data)))
    if n_bad:
        raise InputDataError(NOT_FINITE.format(path=path, count=n_bad), NOT_FINITE_HINT)
    return Volume(data, np.asarray(image.affine, dtype=np.float64))


def save_volume(
    data: NDArray[np.generic],
    affine: NDArray[np.float64],
    path: str | Path,
    *,
    dtype: DTypeLike = np.float32,
    code: int = SCANNER_CODE,
) -> str:
    """Write an image whose qform and sform agree; returns the absolute path.

    Readers differ in which of the two they believe, so both always hold ``affine``.
    """
    image = nib.Nifti1Image(np.asarray(data, dtype=dtype), affine)
    image.set_sform(affine, code=code)
    image.set_qform(affine, code=code)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return str(Path(path).resolve())


def stage_for_itk(source: str | Path | Volume, path: str | Path) -> str:
    """Write a float32 copy that ITK places where nibabel does; returns its path.

    ITK reads the qform or the sform by rules of its own; in the copy they are the same.

    Raises
    ------
    InputDataError
        When the axes of the grid are not at right angles, which ITK images cannot express.
    """
    volume = source if isinstance(source, Volume) else load_volume(source)
    directions = volume.affine[:3, :3] / voxel_sizes(volume.affine)
    off_diagonal = np.abs(directions.T @ directions - np.eye(3)).max()
    angle = float(np.degrees(np.arcsin(min(1.0, off_diagonal))))
    if angle > SHEAR_LIMIT_DEGREES:
        name = path if isinstance(source, Volume) else source
        raise InputDataError(SHEARED.format(path=name, angle=angle), SHEARED_HINT)
    return save_volume(volume.data, volume.affine, path)


def resample_to(
    source: Volume, target: Volume, pull: NDArray[np.float64], *, order: Literal[0, 1, 3]
) -> NDArray[Any]:
    """Bring an image to the grid of another.

    Parameters
    ----------
    source, target : Volume
        Of the target only the grid is used.
    pull : (4, 4) float64
        Target RAS+ mm → source RAS+ mm.
    order : {0, 1, 3}
        Nearest voxel, linear, or cubic B-spline.

    Returns
    -------
    (X, Y, Z)
        Zero outside the source's field of view.
    """
    from rls_bids.numerics.resample import resample_volume, voxel_points

    points = voxel_points(np.ones(target.data.shape, dtype=bool), target.affine)
    points = points @ pull[:3, :3].T + pull[:3, 3]
    return resample_volume(source.data, source.affine, points, order).reshape(target.data.shape)


def load_mask(path: str | Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Load a mask: (X, Y, Z) boolean, voxels above one half are inside, and its affine."""
    volume = load_volume(path)
    return volume.data > HALF, volume.affine


def tissue_labels(path: str | Path | None, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the tissue label of every voxel of a mask; without a file all are 0 (unknown)."""
    if path is None:
        return np.zeros(int(np.count_nonzero(mask)), dtype=np.intp)
    return load_volume(path).data[mask].astype(np.intp)


def load_masked(
    series_file: str | Path, mask_file: str | Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Load a masked series and the mask whose voxels its columns are.

    Returns
    -------
    data : (n_volumes, n_voxels) float32
        Columns in the order of ``volume[mask]``.
    mask : (X, Y, Z) bool
    affine : (4, 4) float64

    Raises
    ------
    InputDataError
        When the number of columns differs from the number of voxels in the mask.
    """
    data = np.load(series_file, allow_pickle=False)
    mask, affine = load_mask(mask_file)
    n_voxels = int(np.count_nonzero(mask))
    if data.shape[-1] != n_voxels:
        raise InputDataError(
            MASK_MISMATCH.format(
                path=series_file, found=data.shape[-1], expected=n_voxels, mask=mask_file
            )
        )
    return np.asarray(data, dtype=np.float32), mask, affine


def save_mask(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    path: str | Path,
    *,
    code: int = STANDARD_CODE,
) -> str:
    """Write a mask as zeros and ones (uint8); returns the absolute path."""
    return save_volume(mask, affine, path, dtype=np.uint8, code=code)


def save_masked(
    values: NDArray[np.generic],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    path: str | Path,
    *,
    fill: float = 0.0,
    code: int = STANDARD_CODE,
) -> str:
    """Write a masked vector (n_voxels,) or series (n_volumes, n_voxels) as a float32 image.

    Voxels outside the mask hold ``fill``; a series becomes (X, Y, Z, n_volumes). Returns the
    absolute path.
    """
    rows = np.atleast_2d(values)
    volume = np.full((*mask.shape, rows.shape[0]), fill, dtype=np.float32)
    volume[mask] = rows.T
    return save_volume(volume[..., 0] if np.ndim(values) == 1 else volume, affine, path, code=code)


def save_itk_transforms(matrices: NDArray[np.float64], path: str | Path) -> str:
    """Write pull matrices as an ITK text file; returns the absolute path.

    An ITK transform maps points of the output image to points of the input image, which is what a
    pull matrix does, but in LPS+ mm: the first two axes change sign on both sides.

    Parameters
    ----------
    matrices : (4, 4) or (n, 4, 4) float64
        Pull matrices in RAS+ mm, one transform each.
    path : str or Path
        Where to write; the name must end in ``.txt``.
    """
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lines = ["#Insight Transform File V1.0"]
    for index, matrix in enumerate(np.reshape(matrices, (-1, 4, 4))):
        lps = flip @ matrix @ flip
        numbers = [*lps[:3, :3].ravel(), *lps[:3, 3]]
        lines += [
            f"#Transform {index}",
            "Transform: AffineTransform_double_3_3",
            "Parameters: " + " ".join(f"{number:.17g}" for number in numbers),
            "FixedParameters: 0 0 0",
        ]
    Path(path).write_text("\n".join(lines) + "\n", encoding="ascii")
    return str(Path(path).resolve())
