"""Regional homogeneity: Kendall's W of a voxel's series with those of its neighbours.

All sums are over whole numbers (twice the average ranks), so W is exact but for one division, and
does not depend on the order of the voxels.
"""

import os
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

VERSION = "1"

BAD_NEIGHBOURS = "Neighbourhoods of {found} voxels were asked for; expected 7, 19 or 27."
BAD_SHAPES = (
    "A series of shape {series} came with a mask of shape {mask} that holds {n_voxels} voxels; "
    "expected (n_volumes, n_voxels) and (X, Y, Z)."
)
BAD_LENGTH = "The series have {found} volumes; expected {least} to {most}."

# Steps along the axes that a neighbour may be away: faces, also edges, also corners.
N_STEPS = {7: 1, 19: 2, 27: 3}
MIN_VOLUMES = 3
# Twice a rank fits into 16 bits.
MAX_VOLUMES = 32767
BLOCK_VOXELS = 4096

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
RankArray = NDArray[np.uint16]


def kendall_w(series: NDArray[np.floating], mask: BoolArray, n_neighbours: int = 27) -> FloatArray:
    """Compute Kendall's W of each voxel with its neighbours.

    Parameters
    ----------
    series : (n_volumes, n_voxels) array
        Unsmoothed residuals in the voxels of ``mask`` (C order); may be a memory map.
    mask : (X, Y, Z) bool array
    n_neighbours : {7, 19, 27}
        Voxels of a whole neighbourhood, the centre included: those that share a face with it,
        also an edge, also a corner.

    Returns
    -------
    (n_voxels,) float64 array
        0 to 1. NaN where fewer than half of the neighbourhood (4 of 7, 10 of 19, 14 of 27) lies
        in the mask. Constant voxels and those with a value that is not finite have no ranks:
        they are NaN themselves and count as outside the mask for their neighbours.

    Raises
    ------
    ValueError
        Another number of neighbours, arrays that do not belong together, or fewer than 3 or
        more than 32,767 volumes.

    Notes
    -----
    With R_t the sum of the m neighbours' ranks at volume t of n, and the sizes g of each
    voxel's groups of tied values (which have their average rank),

    * W = 12 Σ (R_t − m (n + 1) / 2)² / (m² (n³ − n) − m Σ (g³ − g)).

    Series that have nothing to do with each other give 1/m on average: 1/27 inside, more at
    the edge of the mask, where m is smaller.

    Zang 2004, 10.1016/j.neuroimage.2003.12.030; ties: Kendall & Gibbons 1990, *Rank Correlation
    Methods*.

    Examples
    --------
    >>> wave = np.sin(np.arange(20.0))[:, None]
    >>> kendall_w(np.tile(wave, (1, 27)), np.ones((3, 3, 3), dtype=bool))[13].item()
    1.0
    """
    _check(series, mask, n_neighbours)
    ranks, ties = _rank(series)
    index = np.full(np.add(mask.shape, 2), -1, dtype=np.int64)
    # Voxels without ranks have ties of all volumes.
    usable = ties >= 0
    inside = index[1:-1, 1:-1, 1:-1]
    inside[mask] = np.where(usable, np.arange(usable.size), -1)
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    near = steps[np.abs(steps).sum(axis=1) <= N_STEPS[n_neighbours]]
    strides = np.array([index.shape[1] * index.shape[2], index.shape[2], 1])
    result = np.full(usable.size, np.nan)
    centres = np.flatnonzero(index >= 0)
    _concordance(
        ranks, ties, index.ravel(), centres, near @ strides, (n_neighbours + 1) // 2, result
    )
    return result


def _check(series: NDArray[Any], mask: BoolArray, n_neighbours: int) -> None:
    if n_neighbours not in N_STEPS:
        raise ValueError(BAD_NEIGHBOURS.format(found=n_neighbours))
    n_voxels = int(np.count_nonzero(mask))
    if series.ndim != 2 or mask.ndim != 3 or series.shape[1] != n_voxels:
        raise ValueError(
            BAD_SHAPES.format(series=series.shape, mask=mask.shape, n_voxels=n_voxels)
        )
    if not MIN_VOLUMES <= len(series) <= MAX_VOLUMES:
        raise ValueError(BAD_LENGTH.format(found=len(series), least=MIN_VOLUMES, most=MAX_VOLUMES))


def _rank(series: NDArray[np.floating]) -> tuple[RankArray, IntArray]:
    """Return twice the average ranks, (n_voxels, n_volumes), and Σ (g³ − g) of each voxel.

    The latter is -1 for voxels that are constant or not finite.
    """
    n_volumes, n_voxels = series.shape
    ranks = np.empty((n_voxels, n_volumes), dtype=np.uint16)
    ties = np.empty(n_voxels, dtype=np.int64)
    for start in range(0, n_voxels, BLOCK_VOXELS):
        block = slice(start, start + BLOCK_VOXELS)
        values = np.ascontiguousarray(series[:, block].T)
        order = np.argsort(values, axis=1)
        _average_ranks(values, order, ranks[block], ties[block])
        ties[block][~np.isfinite(values).all(axis=1)] = -1
    return ranks, ties


# The machine code is only kept where the caller has named a folder for it (see resample).
@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _average_ranks(
    values: NDArray[np.floating], order: IntArray, ranks: RankArray, ties: IntArray
) -> None:
    """Give tied values twice the mean of their places 1 … n, which is a whole number."""
    n_voxels, n_volumes = values.shape
    for voxel in range(n_voxels):
        tied = 0
        first = 0
        while first < n_volumes:
            value = values[voxel, order[voxel, first]]
            last = first
            while last + 1 < n_volumes and values[voxel, order[voxel, last + 1]] == value:
                last += 1
            for place in range(first, last + 1):
                ranks[voxel, order[voxel, place]] = first + last + 2
            size = last - first + 1
            tied += size * size * size - size
            first = last + 1
        ties[voxel] = -1 if size == n_volumes else tied


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _concordance(
    ranks: RankArray,
    ties: IntArray,
    index: IntArray,
    centres: IntArray,
    near: IntArray,
    least: int,
    result: FloatArray,
) -> None:
    """Fill ``result`` with W where at least ``least`` neighbours have ranks.

    ``index`` is the padded grid, flat, with each voxel's row in ``ranks`` or -1; ``centres`` are
    places in it, and ``near`` the distances to the neighbours.
    """
    n_volumes = ranks.shape[1]
    total = np.empty(n_volumes, dtype=np.int32)
    for centre in centres:
        total[:] = 0
        n_present = 0
        tied = 0
        for distance in near:
            voxel = index[centre + distance]
            if voxel >= 0:
                n_present += 1
                tied += ties[voxel]
                row = ranks[voxel]
                for volume in range(n_volumes):
                    total[volume] += row[volume]
        if n_present < least:
            continue
        middle = n_present * (n_volumes + 1)
        squares = 0
        for volume in range(n_volumes):
            deviation = np.int64(total[volume]) - middle
            squares += deviation * deviation
        possible = n_present * n_present * (n_volumes**3 - n_volumes) - n_present * tied
        # Ranks are doubled, so the squares are four times too large.
        result[index[centre]] = 3.0 * squares / possible
