"""Moving a head that is known on a fine grid: windowed sinc, slice by slice."""

import os

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.phantom.space import Floats, Floats32

LOBES = 3
"""The kernel is sinc(x) sinc(x / 3), 6 taps an axis."""
STEPS = 4096
"""Rows of the table of weights per voxel: positions are rounded to 1/4096 of a fine voxel."""


def kernel_table() -> Floats32:
    """Weights (4097, 6) of the six neighbours for fractions 0 … 1; rows sum to 1."""
    fractions = np.arange(STEPS + 1)[:, None] / STEPS
    distance = fractions - np.arange(1 - LOBES, LOBES + 1)
    weights = np.sinc(distance) * np.sinc(distance / LOBES) * (np.abs(distance) < LOBES)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


# Machine code is kept only where the caller has named a folder for it.
@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True, fastmath={"contract"})
def _gather(  # noqa: C901
    field: Floats32,
    voxels: NDArray[np.int32],
    matrices: Floats,
    table: Floats32,
    out: Floats32,
) -> None:
    n_x, n_y, n_z, n_channels = field.shape
    taps = table.shape[1]
    before = taps // 2 - 1
    steps = table.shape[0] - 1
    width = taps * n_channels
    flat = field.reshape(-1)
    line = np.zeros(width, np.float32)
    for n in range(voxels.shape[0]):
        m = matrices[voxels[n, 2]]
        i, j, k = voxels[n, 0], voxels[n, 1], voxels[n, 2]
        x = m[0, 0] * i + m[0, 1] * j + m[0, 2] * k + m[0, 3]
        y = m[1, 0] * i + m[1, 1] * j + m[1, 2] * k + m[1, 3]
        z = m[2, 0] * i + m[2, 1] * j + m[2, 2] * k + m[2, 3]
        first_x, first_y, first_z = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        row_x = int((x - first_x) * steps + 0.5)
        row_y = int((y - first_y) * steps + 0.5)
        row_z = int((z - first_z) * steps + 0.5)
        first_x -= before
        first_y -= before
        first_z -= before
        for channel in range(n_channels):
            out[n, channel] = 0.0
        if first_x < 0 or first_y < 0 or first_z < 0:
            continue
        if first_x + taps > n_x or first_y + taps > n_y or first_z + taps > n_z:
            continue
        for at in range(width):
            line[at] = 0.0
        for a in range(taps):
            for b in range(taps):
                weight = table[row_x, a] * table[row_y, b]
                start = (((first_x + a) * n_y + first_y + b) * n_z + first_z) * n_channels
                run = flat[start : start + width]  # a view lets the loop become vector code
                for at in range(width):
                    line[at] += weight * run[at]
        for c in range(taps):
            weight = table[row_z, c]
            for channel in range(n_channels):
                out[n, channel] += weight * line[c * n_channels + channel]


def gather(
    field: Floats32, voxels: NDArray[np.int32], matrices: Floats, table: Floats32
) -> Floats32:
    """Read a field where the voxels of a volume lie in it.

    Parameters
    ----------
    field : (X, Y, Z, C) float32 array
        Points nearer than three voxels to its border read 0.
    voxels : (n, 3) int32 array
        Indices in the volume; the third is the slice.
    matrices : (n_slices, 3, 4) array
        Volume index to field index, one for each slice.
    table : (R + 1, 6) float32 array
        From :func:`kernel_table`.

    Returns
    -------
    (n, C) float32 array
    """
    out = np.empty((len(voxels), field.shape[3]), np.float32)
    # one memory layout, so that the kernel is compiled once
    _gather(
        np.ascontiguousarray(field),
        np.ascontiguousarray(voxels),
        np.ascontiguousarray(matrices),
        table,
        out,
    )
    return out


# Ten times as fast as scipy's general function, which matters for a head at 1 mm.
@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _trilinear(
    volume: Floats32, x: Floats32, y: Floats32, z: Floats32, matrix: Floats, out: Floats32
) -> None:
    n_x, n_y, n_z = volume.shape
    for n in range(x.size):
        i = matrix[0, 0] * x[n] + matrix[0, 1] * y[n] + matrix[0, 2] * z[n] + matrix[0, 3]
        j = matrix[1, 0] * x[n] + matrix[1, 1] * y[n] + matrix[1, 2] * z[n] + matrix[1, 3]
        k = matrix[2, 0] * x[n] + matrix[2, 1] * y[n] + matrix[2, 2] * z[n] + matrix[2, 3]
        first_i, first_j, first_k = int(np.floor(i)), int(np.floor(j)), int(np.floor(k))
        out[n] = 0.0
        if first_i < 0 or first_j < 0 or first_k < 0:
            continue
        if first_i > n_x - 2 or first_j > n_y - 2 or first_k > n_z - 2:
            continue
        total = 0.0
        for a in range(2):
            weight_i = abs(1 - a - i + first_i)
            for b in range(2):
                weight = weight_i * abs(1 - b - j + first_j)
                near = volume[first_i + a, first_j + b, first_k]
                far = volume[first_i + a, first_j + b, first_k + 1]
                total += weight * (near + (far - near) * (k - first_k))
        out[n] = total


def read_trilinear(volume: Floats32, points: tuple[Floats32, ...], matrix: Floats) -> Floats32:
    """Read a volume at points by trilinear interpolation; 0 outside.

    Parameters
    ----------
    volume : (X, Y, Z) float32 array
    points : three arrays of one shape
        Coordinates x, y, z in mm.
    matrix : (4, 4) array
        Mm to voxel index.

    Returns
    -------
    float32 array of the shape of the coordinates
    """
    x, y, z = (np.ascontiguousarray(axis, np.float32).ravel() for axis in points)
    out = np.empty(x.shape, np.float32)
    volume = np.ascontiguousarray(volume, np.float32)
    _trilinear(volume, x, y, z, np.ascontiguousarray(matrix), out)
    return out.reshape(points[0].shape)


def average_box(volume: Floats32, factor: int) -> Floats32:
    """Average over cubes of ``factor`` voxels round each voxel (the extent of a BOLD voxel).

    For an even factor the value at index i is that of position i − ½.
    """
    averaged = ndimage.uniform_filter(volume, size=factor, mode="nearest")
    return np.asarray(averaged, np.float32)


def box_shift(factor: int) -> float:
    """Index in an averaged grid of the centre of the first BOLD voxel of a subdivided grid."""
    return (factor - 1) / 2 + (0.0 if factor % 2 else 0.5)
