"""The average of several images of one head, rigidly aligned, of the ones that agree.

Averaging n images of equal noise divides the noise by √n. An image that was spoilt by motion, or
that shows something else, would blur the average, so what does not correlate with the first image
after alignment is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.numerics.coregister import align
from rls_bids.numerics.head import solid
from rls_bids.numerics.resample import FWHM_PER_SIGMA, resample_volume, voxel_points

VERSION = "1"

MIN_CORRELATION = 0.9
HEAD_MM = 120.0
"""From the vertex down: below lie face, which may be cut away, jaw and neck."""
RIND_MM = 12.0
"""Scalp and skull: agreement is asked of what lies deeper."""
FWHM_MM = 5.0
"""Smoothing before images are compared: noise, which averaging is for, must not count."""
BRIGHT = 0.1
"""Share of the 99th percentile above which a voxel belongs to the head."""
OPENING_MM = 2.0

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Image = tuple[Float32Array, Float64Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """The mean on the first image's grid, and for each other image how it fitted.

    ``matrices`` (4, 4) map RAS+ mm of the first image to those of the other; ``correlations`` are
    Pearson's, of the smoothed images within the upper head, after alignment.
    """

    data: Float32Array
    matrices: tuple[Float64Array, ...]
    correlations: tuple[float, ...]
    is_used: tuple[bool, ...]


def upper_head(data: Float32Array, affine: Float64Array) -> NDArray[np.bool_]:
    """Find the head down to about the level of the eyes and the cerebellum.

    Parameters
    ----------
    data : (X, Y, Z) float32
        T1w image, with or without skull.
    affine : (4, 4) float64
        Voxel indices → RAS+ mm.

    Returns
    -------
    (X, Y, Z) bool
        One solid piece; empty when nothing is bright.
    """
    bright = data > BRIGHT * np.percentile(data, 99)
    steps = int(max(1, round(OPENING_MM / float(_voxel_sizes(affine).max()))))
    opened = solid(ndimage.binary_opening(bright, iterations=steps))
    head = opened if opened.any() else solid(bright)
    heights = affine[2, 3] + sum(
        (affine[2, axis] * np.arange(length)).reshape([-1 if axis == n else 1 for n in range(3)])
        for axis, length in enumerate(head.shape)
    )
    top = np.max(heights, where=head, initial=-np.inf)
    return np.asarray(head & (heights > top - HEAD_MM), dtype=bool)


def average_heads(first: Image, others: Sequence[Image]) -> Average:
    """Average images of one head on the grid of the first.

    Parameters
    ----------
    first : tuple of (X, Y, Z) float32 and (4, 4) float64
        Voxels and affine of the image that gives grid and intensities.
    others : sequence of such tuples
        Images of the same contrast, on any grid. Each is interpolated once (cubic B-spline) and
        divided by the factor that makes its median in the upper head that of the first image.

    Returns
    -------
    Average
        Voxels that are exactly zero in the first image stay zero: they were cut away.
    """
    data, affine = first
    region = upper_head(data, affine)
    points = voxel_points(np.ones(data.shape, dtype=bool), affine)
    deep = ndimage.distance_transform_edt(region, sampling=_voxel_sizes(affine)) > RIND_MM
    total, count = data.astype(np.float64), np.ones(data.shape)
    matrices, correlations = [], []
    for volume, own in others:
        is_blank = not (region.any() and np.any(volume > 0))
        matrix = np.eye(4) if is_blank else align(data, affine, region, volume, own).matrix
        places = points @ matrix[:3, :3].T + matrix[:3, 3]
        moved = np.maximum(resample_volume(volume, own, places, 3), 0).reshape(data.shape)
        seen = resample_volume(np.ones(volume.shape, np.uint8), own, places, 0) > 0
        seen = seen.reshape(data.shape)
        shared = deep & seen
        fit = agreement(data, moved, shared, affine)
        matrices.append(matrix)
        correlations.append(fit)
        if fit < MIN_CORRELATION:
            continue
        factor = float(np.median(data[shared]) / np.median(moved[shared]))
        total += np.where(seen, moved * factor, 0)
        count += seen
    mean = np.where(data == 0, 0, total / count)
    return Average(
        data=np.asarray(mean, np.float32),
        matrices=tuple(matrices),
        correlations=tuple(correlations),
        is_used=tuple(found >= MIN_CORRELATION for found in correlations),
    )


def _voxel_sizes(affine: Float64Array) -> Float64Array:
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def agreement(
    one: Float32Array, other: Float32Array, where: NDArray[np.bool_], affine: Float64Array
) -> float:
    """Measure how alike two images on one grid are, noise apart.

    Parameters
    ----------
    one, other : (X, Y, Z) float32
    where : (X, Y, Z) bool
        Voxels to compare.
    affine : (4, 4) float64
        Of the grid.

    Returns
    -------
    float
        Pearson's correlation after smoothing by 5 mm; 0 where either does not vary.
    """
    sigma = FWHM_MM / FWHM_PER_SIGMA / _voxel_sizes(affine)
    a, b = (ndimage.gaussian_filter(volume, sigma)[where] for volume in (one, other))
    if a.size < 2 or not (np.ptp(a) and np.ptp(b)):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
