"""Interpolation of images and series at points given in world mm, and smoothing in a mask.

All images are interpolated with cubic B-splines (Unser 1999, doi:10.1109/79.799930): the samples
are turned into spline coefficients once per volume, and every point then costs 4 × 4 × 4
coefficients. Edges are mirrored on the outermost voxel centres. The field of view of an image
reaches to the outer faces of its outermost voxels, half a voxel beyond their centres.
"""

import os
from collections.abc import Iterator
from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VERSION = "1"

PAD = 2
NO_SHIFT = np.empty(0, np.float32)
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
AnyArray = NDArray[Any]


# The machine code is only kept where the caller has named a folder for it: numba would otherwise
# try to write beside this file, which fails on a read-only installation.
@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True, fastmath={"contract", "reassoc"})
def _evaluate(
    padded: Float32Array,
    points: Float64Array,
    matrix: Float64Array,
    shift: Float32Array,
    shift_axis: int,
    values: Float32Array,
) -> int:
    """Cubic B-spline expansion at ``matrix @ points``; NaN outside; returns how many are outside.

    ``padded`` are the coefficients with ``PAD`` mirrored ones on every side, ``matrix`` (3, 4)
    brings a point to (unpadded) voxel coordinates, where ``shift`` (n,) is added along
    ``shift_axis`` (none when it is empty).
    """
    n_outside = 0
    n_x, n_y, n_z = padded.shape
    weight = np.empty((3, 4))
    for i in range(points.shape[0]):
        p, q, r = points[i, 0], points[i, 1], points[i, 2]
        x = matrix[0, 0] * p + matrix[0, 1] * q + matrix[0, 2] * r + matrix[0, 3] + 2.0
        y = matrix[1, 0] * p + matrix[1, 1] * q + matrix[1, 2] * r + matrix[1, 3] + 2.0
        z = matrix[2, 0] * p + matrix[2, 1] * q + matrix[2, 2] * r + matrix[2, 3] + 2.0
        if shift.size:
            x += shift[i] if shift_axis == 0 else 0.0
            y += shift[i] if shift_axis == 1 else 0.0
            z += shift[i] if shift_axis == 2 else 0.0
        # Written so that NaN coordinates count as outside. The tolerance keeps points that lie
        # on a face inside in spite of rounding.
        if not (
            1.499 <= x <= n_x - 2.499 and 1.499 <= y <= n_y - 2.499 and 1.499 <= z <= n_z - 2.499
        ):
            values[i] = np.nan
            n_outside += 1
            continue
        ix, iy, iz = int(x), int(y), int(z)
        for axis in range(3):
            t = x - ix if axis == 0 else (y - iy if axis == 1 else z - iz)
            s = 1.0 - t
            weight[axis, 0] = s * s * s / 6.0
            weight[axis, 1] = 2.0 / 3.0 - 0.5 * t * t * (2.0 - t)
            weight[axis, 2] = 2.0 / 3.0 - 0.5 * s * s * (2.0 - s)
            weight[axis, 3] = t * t * t / 6.0
        z_0, z_1, z_2, z_3 = weight[2, 0], weight[2, 1], weight[2, 2], weight[2, 3]
        total = 0.0
        for j in range(4):
            plane = 0.0
            for k in range(4):
                row = padded[ix - 1 + j, iy - 1 + k]
                plane += weight[1, k] * (
                    z_0 * row[iz - 1] + z_1 * row[iz] + z_2 * row[iz + 1] + z_3 * row[iz + 2]
                )
            total += weight[0, j] * plane
        values[i] = total
    return n_outside


def evaluate_spline(
    padded: Float32Array, points: Float64Array, matrix: Float64Array
) -> Float32Array:
    """Evaluate a cubic B-spline expansion at points brought to voxel coordinates by a matrix.

    Parameters
    ----------
    padded : (X + 4, Y + 4, Z + 4) float32
        Coefficients as :func:`pad_mirrored` returns them.
    points : (n, 3) float64
        Points in any space.
    matrix : (4, 4) or (3, 4) float64
        From the points' space to voxel coordinates.

    Returns
    -------
    (n,) float32
        NaN where a point is outside the field of view.
    """
    values = np.empty(len(points), np.float32)
    pull = np.ascontiguousarray(matrix[:3], np.float64)
    _evaluate(padded, points, pull, NO_SHIFT, 0, values)
    return values


def pad_mirrored(coefficients: AnyArray) -> Float32Array:
    """Surround an array by two mirrored samples a side (the outermost sample is not repeated)."""
    padded = np.pad(coefficients.astype(np.float32, copy=False), PAD, mode="reflect")
    return np.ascontiguousarray(padded)


def spline_coefficients(volume: AnyArray) -> Float32Array:
    """Compute padded cubic B-spline coefficients, (X, Y, Z) → (X + 4, Y + 4, Z + 4) float32."""
    samples = np.asarray(volume, np.float32)
    return pad_mirrored(ndimage.spline_filter(samples, 3, output=np.float32, mode="mirror"))


def voxel_points(mask: BoolArray, affine: Float64Array) -> Float64Array:
    """World coordinates of the voxel centres of a mask.

    Parameters
    ----------
    mask : (X, Y, Z) bool
    affine : (4, 4) float
        Voxel indices → RAS+ mm.

    Returns
    -------
    (n, 3) float64
        RAS+ mm, in the order of ``data[mask]``.

    Examples
    --------
    >>> import numpy as np
    >>> voxel_points(np.ones((2, 1, 1), bool), np.diag([-3.0, 3.0, 3.0, 1.0])).tolist()
    [[0.0, 0.0, 0.0], [-3.0, 0.0, 0.0]]
    """
    indices = np.argwhere(mask).astype(np.float64)
    points = indices @ np.asarray(affine, np.float64)[:3, :3].T + np.asarray(affine)[:3, 3]
    return np.ascontiguousarray(points + 0.0)


def resample_series(
    series: AnyArray,
    affine: Float64Array,
    points_mm: Float64Array,
    matrices: Float64Array,
    shift: Float32Array = NO_SHIFT,
    shift_axis: int = 0,
) -> tuple[Float32Array, BoolArray]:
    """Interpolate a series at points, each volume through its own matrix, in one go.

    Parameters
    ----------
    series : (n_volumes, X, Y, Z) float
    affine : (4, 4) float
        Voxel indices of the series → RAS+ mm.
    points_mm : (n, 3) float
        Where values are wanted, in the space in which ``matrices`` start.
    matrices : (n_volumes, 4, 4) float
        Pull matrices: a point of the points' space → where the same tissue lies in the volume
        (RAS+ mm).
    shift : (n,) float32, optional
        Voxels along ``shift_axis`` from there to where the image shows the tissue
        (susceptibility distortion); the same in every volume.
    shift_axis : int
        Of the array.

    Returns
    -------
    data : (n_volumes, n) float32
        Zero in the whole column where ``inside`` is false.
    inside : (n,) bool
        Whether the point is within the field of view in every volume.

    Notes
    -----
    Memory beyond input and output is two volumes, so ``series`` may be a memory map.
    """
    points = np.ascontiguousarray(points_mm, np.float64)
    to_voxels = np.linalg.inv(np.asarray(affine, np.float64))
    data = np.empty((len(series), len(points)), np.float32)
    inside = np.ones(len(points), np.bool_)
    for volume, matrix, values in zip(series, matrices, data, strict=True):
        pull = np.ascontiguousarray((to_voxels @ matrix)[:3])
        if _evaluate(spline_coefficients(volume), points, pull, shift, shift_axis, values):
            inside &= ~np.isnan(values)
    if not inside.all():
        data[:, ~inside] = 0.0
    return data, inside


def resample_volume(
    volume: AnyArray, affine: Float64Array, points_mm: Float64Array, order: Literal[0, 1, 3] = 1
) -> AnyArray:
    """Interpolate one volume at points in its own world space.

    Parameters
    ----------
    volume : (X, Y, Z)
    affine : (4, 4) float
        Voxel indices → RAS+ mm.
    points_mm : (n, 3) float
        RAS+ mm.
    order : {0, 1, 3}
        0 nearest voxel (labels and masks), 1 linear, 3 cubic B-spline.

    Returns
    -------
    (n,)
        Of the volume's type for order 0, else float32. Zero outside the field of view.
    """
    points = np.ascontiguousarray(points_mm, np.float64)
    to_voxels = np.linalg.inv(np.asarray(affine, np.float64))
    if order == 3:
        return np.nan_to_num(
            evaluate_spline(spline_coefficients(volume), points, to_voxels), copy=False
        )
    coordinates = (points @ to_voxels[:3, :3].T + to_voxels[:3, 3]).T
    last = np.array(volume.shape)[:, None] - 1.0
    inside = np.all((coordinates >= -0.501) & (coordinates <= last + 0.501), axis=0)
    coordinates = np.clip(coordinates, 0.0, last)
    if order == 0:
        i, j, k = np.rint(coordinates).astype(np.intp)
        nearest: AnyArray = np.where(inside, volume[i, j, k], np.zeros(1, volume.dtype))
        return nearest
    linear = ndimage.map_coordinates(
        volume.astype(np.float32, copy=False), coordinates, order=1, mode="nearest"
    )
    return np.where(inside, linear, np.float32(0.0))


def local_volume(points_mm: AnyArray, affine: Float64Array) -> Float32Array:
    """Return how much of the image each voxel of a grid draws on: the Jacobian determinant.

    Parameters
    ----------
    points_mm : (X, Y, Z, 3) float
        Where the tissue of each voxel of the grid lies in the image, RAS+ mm.
    affine : (4, 4) float
        Of the grid, voxel indices → RAS+ mm.

    Returns
    -------
    (X, Y, Z) float32
        Volume in the image per volume in the grid; above 1 where the image was compressed, 0
        where the mapping folds over. A density times it keeps the image's amount of tissue
        ("modulation", Good 2001, doi:10.1006/nimg.2001.0786).

    Examples
    --------
    >>> i, j, k = np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij")
    >>> twice_as_long = np.stack([4 * i, 2 * j, 2 * k], axis=-1)
    >>> float(local_volume(twice_as_long, np.diag([2.0, 2.0, 2.0, 1.0]))[1, 1, 1])
    2.0
    """
    by_voxel = np.stack(np.gradient(np.asarray(points_mm, np.float64), axis=(0, 1, 2)), axis=-1)
    by_mm = by_voxel @ np.linalg.inv(np.asarray(affine, np.float64)[:3, :3])
    return np.asarray(np.maximum(np.linalg.det(by_mm), 0.0), dtype=np.float32)


def _smoothed(
    data: Float32Array, box: BoolArray, sigma: tuple[float, ...]
) -> Iterator[Float32Array]:
    """Yield filtered volumes of the mask's box, one after the other, at the mask's voxels."""
    volume = np.zeros(box.shape, np.float32)
    for row in data:
        volume[box] = row
        yield ndimage.gaussian_filter(volume, sigma, mode="constant")[box]


def smooth_in_mask(
    data: AnyArray,
    mask: BoolArray,
    voxel_sizes_mm: tuple[float, float, float],
    fwhm_mm: float,
) -> Float32Array:
    """Smooth masked volumes with a Gaussian normalised by the equally smoothed mask.

    Each value becomes Σ g·x / Σ g over the voxels of the mask, so nothing leaks in from outside
    and a constant stays constant up to the edge.

    Parameters
    ----------
    data : (n_volumes, n_voxels) float
        In the order of ``volume[mask]``.
    mask : (X, Y, Z) bool
    voxel_sizes_mm : (3,) float
    fwhm_mm : float
        Full width at half maximum; 0 returns a copy.

    Returns
    -------
    (n_volumes, n_voxels) float32
    """
    values = np.asarray(data, np.float32)
    if fwhm_mm <= 0.0 or values.shape[1] == 0:
        return values.copy()
    sigma = tuple(fwhm_mm / FWHM_PER_SIGMA / float(size) for size in voxel_sizes_mm)
    box = mask[ndimage.find_objects(mask.astype(np.uint8))[0]]
    (weight,) = _smoothed(np.ones((1, values.shape[1]), np.float32), box, sigma)
    smooth = np.empty(values.shape, np.float32)
    for target, volume in zip(smooth, _smoothed(values, box, sigma), strict=True):
        np.divide(volume, weight, out=target)
    return smooth
