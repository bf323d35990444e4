"""What all local measures share: averages over runs, smoothing, and copies on other scales."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.resample import smooth_in_mask

VERSION = "1"

SCALES = ("", "meannorm", "zstd")
"""The map itself, divided by its mean, and as z over its voxels."""

NO_VALUE = "No voxel has a value."
NO_SPREAD = "All voxels have the same value."

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalRun:
    """One run as local measures see it, on a grid no finer than acquired.

    Attributes
    ----------
    filtered, unfiltered : (n_kept, n_voxels) array
        Unsmoothed residuals with and without band-pass, in the voxels of ``mask`` (C order).
    sample_mask : (n_volumes,) bool array
        True = kept.
    mask : (X, Y, Z) bool array
    counted : (n_voxels,) bool array
        Voxels of ``mask`` that the measure is about: all, or those in the grey matter of the
        standard head.
    repetition_time : float
        Seconds.
    n_threads : int
        Threads that a kernel may use.
    """

    filtered: NDArray[np.floating]
    unfiltered: NDArray[np.floating]
    sample_mask: BoolArray
    mask: BoolArray
    counted: BoolArray
    repetition_time: float
    n_threads: int = 1


def average_runs(
    maps: Sequence[NDArray[np.floating]], masks: Sequence[BoolArray], minutes: Sequence[float]
) -> FloatArray:
    """Average the maps of runs, weighted by the minutes that were kept.

    Parameters
    ----------
    maps : sequence of (n_voxels,) array
        One a run, in the voxels of its mask; NaN where there is no value.
    masks : sequence of (X, Y, Z) bool array
    minutes : sequence of float

    Returns
    -------
    (X, Y, Z) float64
        The mean over the runs that have a value; NaN where none has one.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.ones((1, 1, 2), bool)
    >>> average_runs([np.array([1.0, np.nan]), np.array([4.0, 5.0])], [mask, mask], [2, 1])
    array([[[2., 5.]]])
    """
    total, weight = np.zeros(masks[0].shape), np.zeros(masks[0].shape)
    for values, mask, kept in zip(maps, masks, minutes, strict=True):
        has_value = np.isfinite(values)
        here = np.zeros(mask.shape, bool)
        here[mask] = has_value
        total[here] += kept * np.asarray(values, np.float64)[has_value]
        weight[here] += kept
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: FloatArray = np.where(weight > 0, total / weight, np.nan)
    return mean


def smooth_map(
    volume: FloatArray, voxel_sizes_mm: tuple[float, float, float], fwhm_mm: float
) -> FloatArray:
    """Smooth a map over the voxels that have a value; the others stay NaN.

    Parameters
    ----------
    volume : (X, Y, Z) array
    voxel_sizes_mm : (3,) float
    fwhm_mm : float
        0 smooths nothing.
    """
    has_value = np.isfinite(volume)
    smooth = np.full(volume.shape, np.nan)
    values = volume[has_value][None]
    smooth[has_value] = smooth_in_mask(values, has_value, voxel_sizes_mm, fwhm_mm)[0]
    return smooth


def scaled_copies(volume: FloatArray) -> dict[str, FloatArray]:
    """Return a map with its copies, by the names of :data:`SCALES`.

    Raises
    ------
    ValueError
        No voxel has a value, or all have the same.

    Examples
    --------
    >>> import numpy as np
    >>> copies = scaled_copies(np.array([1.0, 3.0, np.nan]).reshape(1, 1, 3))
    >>> copies["meannorm"].tolist(), copies["zstd"].tolist()
    ([[[0.5, 1.5, nan]]], [[[-1.0, 1.0, nan]]])
    """
    values = volume[np.isfinite(volume)]
    if not values.size:
        raise ValueError(NO_VALUE)
    mean, spread = values.mean(), values.std()
    if spread == 0:
        raise ValueError(NO_SPREAD)
    return {"": volume, "meannorm": volume / mean, "zstd": (volume - mean) / spread}
