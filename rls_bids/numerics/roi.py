"""Means of maps over labelled regions, one number a participant and region."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = "1"

MIN_COVERAGE = 0.5

BAD_LABELS = "{found} labels for {expected} voxels; expected one label a voxel."
BAD_WEIGHTS = (
    "Weights have the shape {found} for {expected} voxels; expected one a voxel, finite and 0 or "
    "more."
)
BAD_TOTALS = "{found} totals for {expected} regions; expected one total a region."
BAD_INDICES = "Regions are asked for as {found}; expected each index once."
MORE_THAN_ALL = "Region {index} has a weight of {found:g} in the mask but {total:g} in all."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMeans:
    """Means of regions, and how much of each was seen; both (n_participants, n_regions).

    ``mean`` is in the unit of the maps and NaN where the coverage is too small; ``coverage`` is
    between 0 and 1.
    """

    mean: FloatArray
    coverage: FloatArray


def region_means(
    maps: ArrayLike,
    labels: ArrayLike,
    indices: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    totals: ArrayLike | None = None,
    min_coverage: float = MIN_COVERAGE,
) -> RegionMeans:
    """Average every participant's map over the voxels of each region.

    Parameters
    ----------
    maps : (n_participants, n_voxels) array
        NaN where a participant has no value. Read row by row, so that it may be a memory map.
    labels : (n_voxels,) int array
        Index of the region of each voxel; others (0) belong to none.
    indices : (n_regions,) int array
        The regions, each once, in the order of the result.
    weights : (n_voxels,) array, optional
        Such as the probability of grey matter, 0 or more; without them every voxel weighs 1.
    totals : (n_regions,) array, optional
        Sum of the weights of each region on the whole grid (its number of voxels without
        weights), where the maps hold only a part of it, such as a mask.
    min_coverage : float
        A region of which a participant has less than this share is missing for him.

    Returns
    -------
    RegionMeans

    Raises
    ------
    ValueError
        Lengths that do not fit, negative weights, a region named twice or larger in the maps than
        on the grid.

    Notes
    -----
    mean = Σ w x / Σ w and coverage = Σ w / total, the sums over voxels with a finite value.

    Examples
    --------
    >>> found = region_means([[1.0, 3.0, 5.0], [2.0, np.nan, np.nan]], [1, 1, 2], [1, 2])
    >>> found.mean.tolist(), found.coverage.tolist()
    ([[2.0, 5.0], [2.0, nan]], [[1.0, 1.0], [0.5, 0.0]])
    """
    table = maps if isinstance(maps, np.ndarray) else np.asarray(maps, dtype=float)
    label_of, order = np.asarray(labels, dtype=np.int64), np.asarray(indices, dtype=np.int64)
    if table.ndim != 2 or label_of.shape != table.shape[1:]:
        raise ValueError(BAD_LABELS.format(found=label_of.size, expected=table.shape[-1]))
    if len(np.unique(order)) != order.size:
        raise ValueError(BAD_INDICES.format(found=order.tolist()))
    weight = np.ones(len(label_of)) if weights is None else np.asarray(weights, dtype=float)
    if weight.shape != label_of.shape or not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(BAD_WEIGHTS.format(found=weight.shape, expected=label_of.size))
    inside = np.flatnonzero(np.isin(label_of, order))
    ranks = np.argsort(order, kind="stable")
    place = ranks[np.searchsorted(order[ranks], label_of[inside])]
    weight = weight[inside]
    in_maps = np.bincount(place, weight, order.size).astype(np.float64)
    total = _totals(totals, in_maps, order)
    mean, coverage = np.full((len(table), order.size), np.nan), np.zeros((len(table), order.size))
    for row, one in enumerate(table):
        values = np.asarray(one, dtype=float)[inside]
        is_there = np.isfinite(values)
        seen = np.bincount(place, weight * is_there, order.size)
        summed = np.bincount(place, weight * np.where(is_there, values, 0.0), order.size)
        np.divide(seen, total, out=coverage[row], where=total > 0)
        is_enough = (coverage[row] >= min_coverage) & (seen > 0)
        np.divide(summed, seen, out=mean[row], where=is_enough)
    return RegionMeans(mean=mean, coverage=coverage)


def _totals(totals: ArrayLike | None, in_maps: FloatArray, order: NDArray[np.int64]) -> FloatArray:
    """Return the whole weight of each region, checked."""
    if totals is None:
        return in_maps
    whole = np.asarray(totals, dtype=float)
    if whole.shape != order.shape:
        raise ValueError(BAD_TOTALS.format(found=whole.size, expected=order.size))
    too_large = np.flatnonzero(in_maps > whole * (1 + 1e-9))
    if too_large.size:
        i = int(too_large[0])
        raise ValueError(MORE_THAN_ALL.format(index=order[i], found=in_maps[i], total=whole[i]))
    return whole
