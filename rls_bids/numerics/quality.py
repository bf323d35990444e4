"""Numbers that tell how good a run is: overlap of masks, and what of the brain was measured."""

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.resample import voxel_points

VERSION = "2"

VERTEX_DEPTH_MM = 20.0
VERTEX_WIDTH_MM = 30.0
"""Leg areas of both hemispheres: the top of the brain beside the midline."""
CEREBELLUM_BACK_MM, CEREBELLUM_TOP_MM, CEREBELLUM_WIDTH_MM = -48.0, -24.0, 50.0
"""Posterior cerebellum in standard space: behind, below, and within this of the midline."""

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


def dice(one: BoolArray, other: BoolArray) -> float:
    """Overlap of two masks, 2 |A ∩ B| / (|A| + |B|) (Dice 1945, 10.2307/1932409).

    Examples
    --------
    >>> dice(np.array([True, True, False, False]), np.array([False, True, True, False]))
    0.5
    """
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return float(2.0 * np.count_nonzero(one & other) / total) if total else float("nan")


def coverage(region: BoolArray, measured: BoolArray) -> float:
    """Share of a region that was measured; NaN for an empty region.

    Examples
    --------
    >>> coverage(np.array([True, True, True, True]), np.array([True, False, True, True]))
    0.75
    """
    n_voxels = np.count_nonzero(region)
    return float(np.count_nonzero(region & measured) / n_voxels) if n_voxels else float("nan")


def trend_per_minute(values: FloatArray, repetition_time: float) -> float:
    """Slope of a series over time, per minute, by least squares; NaN values are left out.

    Lying still makes restless legs worse, so that motion may grow within a run; its mean alone
    does not tell.

    Parameters
    ----------
    values : (n_volumes,) float
        Such as framewise displacement.
    repetition_time : float
        In s.

    Returns
    -------
    float
        NaN for fewer than three values.

    Examples
    --------
    >>> round(trend_per_minute(np.array([np.nan, 0.1, 0.2, 0.3]), 2.0), 6)
    3.0
    """
    known = np.isfinite(values)
    if np.count_nonzero(known) < 3:
        return float("nan")
    minutes = np.flatnonzero(known) * repetition_time / 60.0
    return float(np.polynomial.Polynomial.fit(minutes, values[known], 1).convert().coef[1])


def rls_regions(brain: BoolArray, affine: FloatArray) -> dict[str, BoolArray]:
    """Mark the two places of RLS findings that fields of view cut off most often.

    Parameters
    ----------
    brain : (X, Y, Z) bool
        The brain of the standard head.
    affine : (4, 4) float
        Voxel to RAS mm of an MNI152 space.

    Returns
    -------
    dict of (X, Y, Z) bool
        ``vertex``: within 20 mm of the top and 30 mm of the midline (sensorimotor leg area).
        ``cerebellum``: the posterior cerebellum, as a box that holds hardly anything else.
    """
    x, y, z = voxel_points(brain, affine).T
    vertex = (z > z.max() - VERTEX_DEPTH_MM) & (np.abs(x) < VERTEX_WIDTH_MM)
    cerebellum = (
        (y < CEREBELLUM_BACK_MM) & (z < CEREBELLUM_TOP_MM) & (np.abs(x) < CEREBELLUM_WIDTH_MM)
    )
    regions = {}
    for name, inside in (("vertex", vertex), ("cerebellum", cerebellum)):
        regions[name] = np.zeros(brain.shape, dtype=bool)
        regions[name][brain] = inside
    return regions
