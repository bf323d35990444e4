"""Regions of a tested map for its table: clusters that are formed by height, or that survive."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, stats

from rls_bids.numerics.clusters import Maximum, local_maxima
from rls_bids.numerics.tfce import label_clusters, voxel_neighbours

VERSION = "1"

LEVEL = 0.05
ANY_HEIGHT = 1e-30

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One region: ``peaks`` by height; ``inside`` are three arrays (n_voxels,) of indices.

    ``extent`` (voxels) and ``mass`` are those of the largest cluster above the cluster-forming
    threshold in it, 0 where the region has none.
    """

    peaks: tuple[Maximum, ...]
    inside: tuple[NDArray[np.intp], ...]
    sign: int
    extent: int
    mass: float


def forming_z(p: float, *, is_two_sided: bool = True) -> float:
    """Return the z above which voxels form clusters.

    Examples
    --------
    >>> round(forming_z(0.001), 3), round(forming_z(0.001, is_two_sided=False), 3)
    (3.291, 3.09)
    """
    return float(stats.norm.isf(p / (1 + is_two_sided)))


def find_regions(
    z: ArrayLike,
    p: ArrayLike,
    threshold: float,
    voxel_sizes_mm: tuple[float, float, float],
    *,
    is_two_sided: bool = True,
) -> list[Region]:
    """Find what a table of a map lists.

    Parameters
    ----------
    z : (X, Y, Z) array
        0 where nothing was tested.
    p : (X, Y, Z) array
        Corrected; 1 where nothing was tested.
    threshold : float
        z that forms clusters.
    voxel_sizes_mm : tuple of float
    is_two_sided : bool
        False: negative z is no effect (F).

    Returns
    -------
    list of Region
        Connected voxels (26 neighbours) of one sign whose |z| exceeds the threshold or whose p is
        .05 or less, highest peak first.

    Examples
    --------
    >>> z = np.zeros((9, 3, 3))
    >>> z[1:4, 1, 1], z[7, 1, 1] = (4, 5, 3), -6
    >>> p = np.where(z == 3, 0.01, 1.0)
    >>> found = find_regions(z, p, 3.2, (2, 2, 2))
    >>> [(one.sign, len(one.inside[0]), one.extent, round(one.mass, 1)) for one in found]
    [(-1, 1, 1, 2.8), (1, 3, 2, 2.6)]
    """
    heights = np.asarray(z, dtype=np.float32)
    if not is_two_sided:
        heights = np.maximum(heights, 0)
    mask = heights != 0
    if not mask.any():
        return []
    shown = np.where((np.abs(heights) > threshold) | (np.asarray(p) <= LEVEL), heights, 0.0)
    around = voxel_neighbours(mask)
    labels = np.zeros(mask.shape, dtype=np.int32)
    labels[mask] = label_clusters(shown[mask], around, ANY_HEIGHT)
    formed = np.zeros(mask.shape, dtype=np.int32)
    formed[mask] = label_clusters(heights[mask], around, threshold)
    peaks: dict[int, list[Maximum]] = {}
    for peak in local_maxima(shown.astype(float), ANY_HEIGHT, voxel_sizes_mm):
        peaks.setdefault(int(labels[peak.voxel]), []).append(peak)
    places = np.flatnonzero(labels)
    if not places.size:
        return []
    places = places[np.argsort(labels.ravel()[places], kind="stable")]
    names, starts = np.unique(labels.ravel()[places], return_index=True)
    members: dict[int, NDArray[np.intp]] = dict(
        zip(names.tolist(), np.split(places, starts[1:]), strict=True)
    )
    found = []
    for label, own in peaks.items():
        inside = np.unravel_index(members[label], labels.shape)
        extent, mass = _largest(formed[inside], np.abs(heights[inside]) - threshold)
        found.append(
            Region(
                peaks=tuple(own),
                inside=inside,
                sign=1 if label > 0 else -1,
                extent=extent,
                mass=mass,
            )
        )
    return found


def _largest(labels: NDArray[np.int32], excess: FloatArray) -> tuple[int, float]:
    """Return the extent and the mass of the largest clusters of some voxels."""
    numbers = np.abs(labels)
    if not numbers.any():
        return 0, 0.0
    extent = np.bincount(numbers, numbers > 0)
    mass = np.bincount(numbers, excess * (numbers > 0))
    return int(extent.max()), float(mass.max())


def surroundings(
    inside: tuple[NDArray[np.intp], ...], shape: tuple[int, ...], n_steps: int
) -> NDArray[np.bool_]:
    """Return a region with what lies a number of voxels around it, as a volume.

    Examples
    --------
    >>> surroundings((np.array([0]), np.array([0]), np.array([2])), (1, 1, 3), 1).tolist()
    [[[False, True, True]]]
    """
    region = np.zeros(shape, dtype=bool)
    region[inside] = True
    around = np.ones((3, 3, 3), dtype=bool)
    return np.asarray(ndimage.binary_dilation(region, around, iterations=n_steps))
