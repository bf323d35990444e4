"""The grids on which results lie, and standard heads on them."""

import math
from typing import TYPE_CHECKING, Any

from rls_bids.resources.templates import BUILT_IN_SPACE, NATIVE, locate_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

HALF = 0.5
CROP_MARGIN_MM = 6.0
MIN_RATIO = 1.4
STEP_MM = 0.5
ROUNDING = 0.01

_FINE_SHAPE = (193, 229, 193)
_FINE_ORIGIN_MM = (-96.0, -132.0, -78.0)
_GRIDS = {
    "1": (_FINE_SHAPE, _FINE_ORIGIN_MM, 1.0),
    "2": ((97, 115, 97), (-96.5, -132.5, -78.5), 2.0),
}


def native_size(voxel_sizes_mm: "Sequence[float]") -> str:
    """Return the voxel size (mm) of a standard grid that is not finer than any acquired image.

    The longest edge of all voxels, rounded up to 0.5 mm; a header's rounding is forgiven.

    Examples
    --------
    >>> native_size([3.0, 3.3]), native_size([3.0000002]), native_size([1.72])
    ('3.5', '3', '2')
    """
    steps = math.ceil(max(voxel_sizes_mm) / STEP_MM - ROUNDING)
    return f"{steps * STEP_MM:g}"


def resolution_words(resolution: str) -> str:
    """Return how a resolution is called in texts.

    Examples
    --------
    >>> resolution_words("2"), resolution_words("native")
    ('2 mm', 'native (acquired voxel size, rounded up to 0.5 mm)')
    """
    if resolution == NATIVE:
        return f"{NATIVE} (acquired voxel size, rounded up to {STEP_MM:g} mm)"
    return f"{resolution} mm"


def standard_grid(
    space: str, resolution: str
) -> "tuple[tuple[int, int, int], NDArray[np.float64]]":
    """Return shape and affine (voxel to RAS+ mm) of the grid on which results are written.

    For MNI152NLin2009cAsym it is the grid of TemplateFlow and fMRIPrep: at 2 mm 97 × 115 × 97
    voxels, the first centred at (−96.5, −132.5, −78.5) mm. For other spaces it is that of the
    TemplateFlow file. Other sizes (of ``native_size``) cover the same box, centred in it.

    Raises
    ------
    UsageError
        As :func:`.locate_template`.

    Examples
    --------
    >>> standard_grid("MNI152NLin2009cAsym", "2")[0]
    (97, 115, 97)
    """
    import numpy as np

    is_known = resolution in _GRIDS
    template = locate_template(space, resolution if is_known else NATIVE)
    if space == BUILT_IN_SPACE:
        shape, origin, size = _GRIDS[resolution if is_known else "1"]
        affine = np.diag([size, size, size, 1.0])
        affine[:3, 3] = origin
    else:
        import nibabel as nib

        image: Any = nib.load(template.brain)
        shape, affine = image.shape[:3], np.asarray(image.affine, dtype=np.float64)
    return (shape, affine) if is_known else _box_grid(shape, affine, float(resolution))


def _box_grid(
    shape: tuple[int, ...], affine: "NDArray[np.float64]", size_mm: float
) -> "tuple[tuple[int, int, int], NDArray[np.float64]]":
    """Return the RAS grid of cubic voxels that covers the box of a straight grid."""
    import numpy as np

    axes = np.abs(affine[:3, :3]).argmax(axis=1)
    n_voxels, sizes = np.array(shape)[axes], np.abs(affine[:3, :3]).max(axis=1)
    last = affine[:3, :3] @ (np.array(shape) - 1) + affine[:3, 3]
    straight = np.diag([*sizes, 1.0])
    straight[:3, 3] = np.minimum(last, affine[:3, 3])
    x, y, z = (int(n) for n in n_voxels)
    return same_box((x, y, z), straight, size_mm)


def same_box(
    shape: tuple[int, ...], affine: "NDArray[np.float64]", size_mm: float
) -> "tuple[tuple[int, int, int], NDArray[np.float64]]":
    """Return a grid of cubic voxels along the axes of another one, over the same box.

    Parameters
    ----------
    shape, affine
        The grid; ``affine`` to RAS+ mm.
    size_mm : float
        Edge of the voxels wanted.

    Returns
    -------
    shape : (3,) int
        Covers the box of the given grid, in whose middle its own lies.
    affine : (4, 4) float64

    Examples
    --------
    >>> import numpy as np
    >>> shape, affine = same_box((4, 4, 4), np.diag([-1.0, 1, 1, 1]), 2.0)
    >>> shape, affine[:3, 3].tolist()
    ((2, 2, 2), [-0.5, 0.5, 0.5])
    """
    import numpy as np

    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = np.ceil(sizes * shape / size_mm - ROUNDING).astype(int)
    out = affine.copy()
    out[:3, :3] *= size_mm / sizes
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    out[:3, 3] = middle - out[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    return (int(x), int(y), int(z)), out


def standard_head(
    brain_file: str, space: str, resolution: str
) -> "tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]":
    """Load a template's brain on its standard grid.

    Parameters
    ----------
    brain_file, space, resolution : str
        Of :class:`~rls_bids.records.Template`.

    Returns
    -------
    brain : (X, Y, Z) float32
    mask : (X, Y, Z) bool
        Voxels of which at least half lie in the brain.
    affine : (4, 4) float64
    """
    import nibabel as nib
    import numpy as np

    image: Any = nib.load(brain_file)
    shape, affine = standard_grid(space, resolution)
    if shape != image.shape:
        image = nib.as_closest_canonical(image)  # type: ignore[no-untyped-call]
    data = np.asarray(image.dataobj, dtype=np.float32)
    if shape == data.shape:
        return data, data > 0, affine
    brain = box_average(data, image.affine, shape, affine)
    mask = box_average(data > 0, image.affine, shape, affine) >= HALF
    return np.where(mask, brain, np.float32(0)), mask, affine


def box_average(
    data: "NDArray[np.generic]",
    affine: "NDArray[np.float64]",
    shape: tuple[int, int, int],
    out_affine: "NDArray[np.float64]",
) -> "NDArray[np.float32]":
    """Average a volume over the voxels of a coarser grid with the same axes.

    Every output voxel is the mean over its own box, fine voxels weighted by the part of them that
    lies in it and taken as zero outside the field of view.

    Parameters
    ----------
    data : (X, Y, Z)
    affine, out_affine : (4, 4)
        Diagonal up to the origin, positive diagonal.
    shape : (3,) int
        Of the output.

    Returns
    -------
    (X', Y', Z') float32
    """
    import numpy as np

    result = np.asarray(data, dtype=np.float32)
    for axis in range(3):
        fine, coarse = affine[axis, axis], out_affine[axis, axis]
        low = affine[axis, 3] + fine * (np.arange(result.shape[axis]) - 0.5)
        out_low = out_affine[axis, 3] + coarse * (np.arange(shape[axis]) - 0.5)
        upper = np.minimum(low[None] + fine, out_low[:, None] + coarse)
        overlap = np.clip(upper - np.maximum(low[None], out_low[:, None]), 0.0, None) / coarse
        moved = np.tensordot(overlap.astype(np.float32), result, axes=(1, axis))
        result = np.moveaxis(moved, 0, axis)
    return np.ascontiguousarray(result)


def coarse_brain(
    data: "NDArray[np.float32]", affine: "NDArray[np.float64]", size_mm: float
) -> "tuple[NDArray[np.float32], NDArray[np.float64]]":
    """Crop a template's brain and average it to the grid on which heads are registered.

    What lies further than a few millimetres from the brain costs time and holds nothing. A
    template that is not clearly finer than ``size_mm`` is cropped only.

    Parameters
    ----------
    data : (X, Y, Z) float32
        Zero outside the brain.
    affine : (4, 4) float64
        Diagonal up to the origin.
    size_mm : float
        Edge length of the voxels wanted.

    Returns
    -------
    (X', Y', Z') float32, (4, 4) float64
    """
    import numpy as np

    sizes = np.diag(affine)[:3]
    inside = np.argwhere(data > 0)
    margin = np.ceil(CROP_MARGIN_MM / np.abs(sizes)).astype(int)
    low = np.maximum(inside.min(axis=0) - margin, 0)
    high = np.minimum(inside.max(axis=0) + margin + 1, data.shape)
    cropped = data[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    fine = affine.copy()
    fine[:3, 3] += affine[:3, :3] @ low
    ratio = size_mm / sizes
    if (ratio < MIN_RATIO).any():
        return cropped, fine
    coarse = fine.copy()
    coarse[:3, :3] *= ratio
    coarse[:3, 3] += fine[:3, :3] @ (ratio - 1) / 2
    x, y, z = np.ceil(np.array(cropped.shape) / ratio).astype(int)
    return box_average(cropped, fine, (int(x), int(y), int(z)), coarse), coarse
