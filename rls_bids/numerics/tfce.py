"""Threshold-free cluster enhancement, exactly: clusters grow in one sweep from the highest voxel.

Smith & Nichols (2009, doi:10.1016/j.neuroimage.2008.03.061) give a voxel of height h the integral
∫₀ʰ e(x)ᴱ xᴴ dx, where e(x) is the extent of its cluster above x. The extent changes only where x
passes the value of a voxel, so between two values the integral is known in closed form, and there
is no step size. Voxels join in descending order by union-find; each cluster keeps what it has
gathered so far, and a cluster that joins a larger one remembers the difference.
"""

import os
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.unions import (
    NOBODY,
    Peaks,
    Place,
    collect,
    descending,
    find,
    merge,
    settle,
)

VERSION = "1"

BAD_CONNECTIVITY = "Voxels have 6, 18 or 26 neighbours; asked for {found}."
BAD_MASK = "The mask has {n_dim} dimensions and {n} voxels; expected 3 dimensions and a voxel."
BAD_VALUES = "The map has shape {found}; expected one value for each of {n} voxels of the mask."

EXTENT_POWER = 0.5
HEIGHT_POWER = 2.0
REACH = {6: 1, 18: 2, 26: 3}
# Where the lowest bit that is set stands: the product shifts a De Bruijn sequence by it.
DE_BRUIJN = 0x077CB531
DIGITS = np.argsort([((DE_BRUIJN << bit) & 0xFFFFFFFF) >> 27 for bit in range(32)])

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelNeighbours:
    """Where the voxels of a mask lie in a flat box with an empty border, and who touches them.

    ``places`` (n_voxels,) are indices into the box, ``steps`` (connectivity,) lead from a place
    to its neighbours, faces first. A table of neighbours would not fit the processor's cache; this
    does. Bit k of ``covers[j]`` says that the j-th and the k-th neighbour touch each other, too:
    where both are in a cluster, it is the same.
    """

    places: Int32Array
    steps: Int32Array
    covers: NDArray[np.uint32]
    n_places: int


def voxel_neighbours(mask: ArrayLike, connectivity: int = 26) -> VoxelNeighbours:
    """List the neighbours of every voxel of a mask.

    Parameters
    ----------
    mask : (X, Y, Z) bool
    connectivity : {26, 18, 6}
        Voxels touch by a face (6), also by an edge (18), also by a corner (26).

    Returns
    -------
    VoxelNeighbours

    Raises
    ------
    ValueError
        Another connectivity, or a mask that is not three-dimensional or empty.

    Examples
    --------
    >>> found = voxel_neighbours(np.ones((2, 1, 1)), 6)
    >>> found.places.tolist(), found.steps.tolist()
    ([13, 22], [-9, -3, -1, 1, 3, 9])
    """
    inside = np.asarray(mask, dtype=bool)
    if connectivity not in REACH:
        raise ValueError(BAD_CONNECTIVITY.format(found=connectivity))
    if inside.ndim != 3 or not inside.any():
        raise ValueError(BAD_MASK.format(n_dim=inside.ndim, n=int(inside.sum())))
    corner = np.argwhere(inside).min(axis=0) - 1
    size = np.argwhere(inside).max(axis=0) + 2 - corner
    strides = np.array([size[1] * size[2], size[2], 1])
    moves = np.argwhere(np.ones((3, 3, 3))) - 1
    length = np.abs(moves).sum(axis=1)
    is_near = (length > 0) & (length <= REACH[connectivity])
    moves = moves[is_near][np.argsort(length[is_near], kind="stable")]
    between = np.abs(moves[:, None] - moves)
    is_touching = (between.max(axis=2) <= 1) & (between.sum(axis=2) <= REACH[connectivity])
    return VoxelNeighbours(
        places=((np.argwhere(inside) - corner) @ strides).astype(np.int32),
        steps=(moves @ strides).astype(np.int32),
        covers=(is_touching @ (1 << np.arange(len(moves)))).astype(np.uint32),
        n_places=int(np.prod(size)),
    )


def tfce(
    values: ArrayLike,
    neighbours: VoxelNeighbours,
    *,
    extent_power: float = EXTENT_POWER,
    height_power: float = HEIGHT_POWER,
) -> FloatArray:
    """Enhance a map, positive and negative values each among themselves.

    Parameters
    ----------
    values : (n_voxels,) array
        Values in the mask, in its C order; taken to single precision. NaN counts as 0.
    neighbours : VoxelNeighbours
    extent_power, height_power : float
        E and H.

    Returns
    -------
    (n_voxels,) float64
        With the sign of ``values``. The unit is that of the integral: FSL and nilearn leave out
        the step dx, and their numbers are larger by about its inverse.

    Raises
    ------
    ValueError
        The map does not fit the mask.

    Examples
    --------
    >>> neighbours = voxel_neighbours(np.ones((3, 1, 1)))
    >>> (3 * tfce([2.0, 1.0, -1.0], neighbours)).round(4).tolist()
    [8.4142, 1.4142, -1.0]
    """
    heights = np.asarray(values, dtype=np.float32)
    n_voxels = len(neighbours.places)
    if heights.shape != (n_voxels,):
        raise ValueError(BAD_VALUES.format(found=heights.shape, n=n_voxels))
    result = np.zeros(n_voxels)
    for sign in (np.float32(1), np.float32(-1)):
        enhanced = np.zeros(n_voxels)
        powers = (float(extent_power), float(height_power))
        _enhance(sign * heights, *_where(neighbours), powers, enhanced)
        result += sign * enhanced
    return result


def peaks(
    values: Float32Array,
    neighbours: VoxelNeighbours,
    threshold: float,
    *,
    is_two_sided: bool = True,
    is_enhanced: bool = True,
) -> Peaks:
    """Return the largest cluster extent, cluster mass and TFCE value of a map.

    Parameters
    ----------
    values : (n_voxels,) float32
    neighbours : VoxelNeighbours
    threshold : float
        Cluster-forming; positive. Clusters are of values above it.
    is_two_sided : bool
        Look at the negative values, too, and take the larger.
    is_enhanced : bool
        False: without TFCE, which takes most of the time.

    Returns
    -------
    Peaks

    Examples
    --------
    >>> neighbours = voxel_neighbours(np.ones((3, 1, 1)))
    >>> peaks(np.array([2.0, 1.5, -4.0], np.float32), neighbours, 1.0)
    Peaks(extent=2.0, mass=3.0, enhanced=21.333...)
    """
    found = [(0.0, 0.0, 0.0)]
    floor = 0.0 if is_enhanced else float(threshold)
    rules = (floor, float(threshold), EXTENT_POWER, HEIGHT_POWER)
    for sign in (1, -1)[: 1 + is_two_sided]:
        signed = values if sign > 0 else -values
        found.append(_largest(signed, *_where(neighbours), rules))
    extent, mass, highest = np.max(found, axis=0)
    highest = float(highest) if is_enhanced else 0.0
    return Peaks(extent=float(extent), mass=float(mass), enhanced=highest)


def label_clusters(values: ArrayLike, neighbours: VoxelNeighbours, threshold: float) -> Int32Array:
    """Give clusters above a threshold a number, and those below its negative.

    Parameters
    ----------
    values : (n_voxels,) array
    neighbours : VoxelNeighbours
    threshold : float
        Positive.

    Returns
    -------
    (n_voxels,) int32
        0 outside, positive for clusters of positive values, negative for those of negative ones.

    Examples
    --------
    >>> label_clusters([5.0, 4.0, -6.0, 0.0, 3.0], voxel_neighbours(np.ones((5, 1, 1))), 2.0)
    array([ 1,  1, -1,  0,  2], dtype=int32)
    """
    heights = np.asarray(values, dtype=np.float32)
    where = (neighbours.places, neighbours.steps, neighbours.n_places)
    return _label(heights, *where, threshold) - _label(-heights, *where, threshold)


def _where(
    neighbours: VoxelNeighbours,
) -> tuple[Int32Array, Int32Array, NDArray[np.uint32], int]:
    return neighbours.places, neighbours.steps, neighbours.covers, neighbours.n_places


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _label(
    values: Float32Array, places: Int32Array, steps: Int32Array, n_places: int, threshold: float
) -> Int32Array:
    """Give clusters above a threshold numbers, in the order of their first voxels."""
    parent = np.full(n_places, NOBODY, np.uint32)
    for i in range(values.size):
        if values[i] > threshold:
            here = places[i]
            parent[here] = here
            for step in steps:
                if parent[here + step] != NOBODY:
                    parent[find(parent, here)] = find(parent, here + step)
    numbers = np.zeros(n_places, np.int32)
    labels = np.zeros(values.size, np.int32)
    n_found = 0
    for i in range(values.size):
        if parent[places[i]] != NOBODY:
            root = find(parent, places[i])
            if numbers[root] == 0:
                n_found += 1
                numbers[root] = n_found
            labels[i] = numbers[root]
    return labels


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _enhance(
    values: Float32Array,
    places: Int32Array,
    steps: Int32Array,
    covers: NDArray[np.uint32],
    n_places: int,
    powers: tuple[float, float],
    enhanced: FloatArray,
) -> None:
    """Grow the clusters of positive values; fill what each voxel gathers."""
    extent_power, power = powers[0], powers[1] + 1.0
    heights, order = descending(values, np.arange(values.size).astype(np.int32), 0.0)
    parent = np.full(n_places, NOBODY, np.uint32)
    seen = np.zeros(n_places, np.uint8)
    merged = np.empty((order.size, 2), np.uint32)
    state = np.empty((n_places, 4))
    n_merged = 0
    for k in range(order.size):
        height = float(heights[k])
        level = (height * height * height if power == 3.0 else height**power) / power
        here = np.uintp(places[order[k]])  # numba looks for negative indices else
        root: Place = here
        parent[here] = here
        state[here, 0], state[here, 1], state[here, 2], state[here, 3] = 1.0, 0.0, 0.0, level
        present = _touching(seen, here, steps)
        seen[here] = 1
        while present:
            j = _lowest(present)
            present &= ~np.uint64(covers[j])
            other = find(parent, parent[np.uintp(here + np.uintp(steps[j]))])
            if other != root:
                root, other = merge(parent, state, root, other, level, extent_power)
                merged[n_merged, 0], merged[n_merged, 1] = other, root
                n_merged += 1
    collect(parent, state, merged[:n_merged], extent_power)
    for k in range(order.size):
        enhanced[order[k]] = state[places[order[k]], 2]


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _largest(
    values: Float32Array,
    places: Int32Array,
    steps: Int32Array,
    covers: NDArray[np.uint32],
    n_places: int,
    rules: tuple[float, float, float, float],
) -> tuple[float, float, float]:
    """Return the largest extent, mass (of clusters above the threshold) and enhanced value.

    rules = floor, threshold, powers of extent and height. A voxel that joins a cluster gathers
    less than those before it, so what has been gathered is kept for each cluster's best voxel
    alone. Sizes and masses only grow on the way down: the largest seen are the largest there are.
    """
    floor, threshold, extent_power, height_power = rules
    heights, order = descending(values, places, floor)
    parent = np.full(n_places, NOBODY, np.uint32)
    seen = np.zeros(n_places, np.uint8)
    state = np.empty((n_places, 4))
    largest, heaviest, highest, power = 0.0, 0.0, 0.0, height_power + 1.0
    for k in range(order.size):
        height = float(heights[k])
        level = (height * height * height if power == 3.0 else height**power) / power
        here = np.uintp(order[k])
        root: Place = here
        present = _touching(seen, here, steps)
        seen[here] = 1
        if present:
            root = _join(parent, state, here, present, steps, covers, level, extent_power)
            state[root, 0] += 1.0
            state[root, 1] += height - threshold
        else:
            state[here, 0], state[here, 1] = 1.0, height - threshold
            state[here, 2], state[here, 3] = 0.0, level
        parent[here] = root
        if height > threshold:
            largest, heaviest = max(largest, state[root, 0]), max(heaviest, state[root, 1])
    for here in order:
        if parent[here] == np.uint32(here):
            settle(state, here, 0.0, extent_power)
            highest = max(highest, state[here, 2])
    return largest, heaviest, highest


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _join(
    parent: NDArray[np.uint32],
    state: FloatArray,
    here: Place,
    present: np.uint64,
    steps: Int32Array,
    covers: NDArray[np.uint32],
    level: float,
    power: float,
) -> Place:
    """Join all clusters that touch a place; return the root, which keeps the best of them."""
    j = _lowest(present)
    present &= ~np.uint64(covers[j])
    root = find(parent, np.uintp(here + np.uintp(steps[j])))
    settle(state, root, level, power)
    while present:
        j = _lowest(present)
        present &= ~np.uint64(covers[j])
        other = find(parent, np.uintp(here + np.uintp(steps[j])))
        if other != root:
            settle(state, other, level, power)
            best = max(state[root, 2], state[other, 2])
            if state[other, 0] > state[root, 0]:
                root, other = other, root
            parent[other] = root
            state[root, 0] += state[other, 0]
            state[root, 1] += state[other, 1]
            state[root, 2] = best
    return root


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _touching(seen: NDArray[np.uint8], here: Place, steps: Int32Array) -> np.uint64:
    """Return the bits of those neighbours that are in a cluster already, without a branch."""
    present = np.uint64(0)
    for j in range(steps.size):
        present |= np.uint64(seen[np.uintp(here + np.uintp(steps[j]))]) << np.uint64(j)
    return present


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _lowest(present: np.uint64) -> int:
    """Return the number of the lowest bit that is set, below 32."""
    only = present & (~present + np.uint64(1))
    shifted = (only * np.uint64(DE_BRUIJN)) & np.uint64(0xFFFFFFFF)
    return int(DIGITS[shifted >> np.uint64(27)])
