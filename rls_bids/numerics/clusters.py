"""Clusters of a statistic map above a threshold, and their local maxima."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VERSION = "1"
MIN_DISTANCE_MM = 8.0
MOST_FURTHER = 3

FloatArray = NDArray[np.float64]


class Maximum(NamedTuple):
    """One local maximum: ``name`` is the cluster's number, with a letter for further maxima."""

    name: str
    voxel: tuple[int, int, int]
    n_voxels: int


def local_maxima(
    values: FloatArray,
    threshold: float,
    voxel_sizes_mm: tuple[float, float, float],
    min_distance_mm: float = MIN_DISTANCE_MM,
) -> list[Maximum]:
    """Find clusters of both signs and the maxima in them.

    Parameters
    ----------
    values : (X, Y, Z) array
        Finite; 0 where nothing was tested.
    threshold : float
        Voxels with a larger absolute value form clusters, each sign by itself.
    voxel_sizes_mm : tuple of float
    min_distance_mm : float
        Least distance between two maxima of a cluster.

    Returns
    -------
    list of Maximum
        Clusters by their largest absolute value; in each its maximum, then at most
        `MOST_FURTHER` lower ones.

    Notes
    -----
    Voxels that share a face, an edge or a corner belong together (26 neighbours). A maximum is a
    voxel that none of its 26 neighbours exceeds; the highest are taken first.

    Examples
    --------
    >>> values = np.zeros((9, 3, 3))
    >>> values[1:4, 1, 1], values[7, 1, 1] = (4, 5, 4), -6
    >>> [(one.name, one.voxel, one.n_voxels) for one in local_maxima(values, 3, (2, 2, 2))]
    [('1', (7, 1, 1), 1), ('2', (2, 1, 1), 3)]
    """
    around = np.ones((3, 3, 3), dtype=bool)
    found: list[tuple[float, list[tuple[int, ...]], int]] = []
    for signed in (values, -values):
        labels, _ = ndimage.label(signed > threshold, around)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            # One voxel more on each side, so that a maximum is compared with all its neighbours.
            wide = tuple(slice(max(0, one.start - 1), one.stop + 1) for one in box)
            inside = labels[wide] == number
            height = np.where(inside, signed[wide], -np.inf)
            is_top = inside & (height == ndimage.maximum_filter(height, footprint=around))
            points = np.argwhere(is_top)
            points = points[np.argsort(-height[is_top], kind="stable")]
            kept = _apart(points, np.array(voxel_sizes_mm), min_distance_mm)
            start = [one.start for one in wide]
            tops = [tuple(int(i) for i in point + start) for point in kept]
            found.append((float(signed[tops[0]]), tops, int(inside.sum())))
    found.sort(key=lambda one: -one[0])
    return [
        Maximum(f"{number}{letter}", (top[0], top[1], top[2]), n_voxels)
        for number, (_, tops, n_voxels) in enumerate(found, start=1)
        for letter, top in zip(("", "a", "b", "c"), tops, strict=False)
    ]


def _apart(
    points: NDArray[np.intp], sizes_mm: FloatArray, distance: float
) -> list[NDArray[np.intp]]:
    """Return the first point and those that keep their distance from all that were taken."""
    kept: list[NDArray[np.intp]] = []
    for point in points:
        if len(kept) > MOST_FURTHER:
            break
        if all(np.linalg.norm((point - one) * sizes_mm) >= distance for one in kept):
            kept.append(point)
    return kept
