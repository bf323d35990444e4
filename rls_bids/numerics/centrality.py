"""Degree centrality and functional connectivity strength, without a voxel-by-voxel matrix.

Series are brought to length 1, so that a product of two blocks of voxels is a tile of
correlations, which is summed and forgotten. Each pair of voxels is computed once and counts for
both. Tiles are float32 products: correlations are right to some 1e-7.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rls_bids.errors import UsageError
from rls_bids.numerics.correlation import centre_columns

VERSION = "1"

BAD_SERIES = "The series have shape {found}; expected at least 3 volumes and 2 voxels."
BAD_THRESHOLD = (
    "The threshold of degree centrality is r > {found:g}; expected 0 or more and less than 1."
)
BAD_THRESHOLD_HINT = "Change --dc-threshold."
BAD_DENSITY = "The density of degree centrality is {found:g}; expected more than 0 and at most 1."
BAD_DENSITY_HINT = "Give the share of all pairs of voxels that is to be kept, e.g. 0.05."

# Rounding of r makes Fisher z above 7 noise; held here, copies of one series count alike (7.25).
LARGEST_R = 1 - 1e-6
BLOCK_VOXELS = 1024
N_STEPS = 32768
N_PRODUCTS = 32
LANES = 64

_HIGHEST = np.float32(LARGEST_R)
_ONE = np.float32(1)
_ZERO = np.float32(0)

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
Visit = Callable[[int, Float32Array, slice, slice], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Degree:
    """Degrees of the graph whose edges are the pairs with r above a threshold.

    Attributes
    ----------
    binary : (n_voxels,) float64
        Number of other voxels with r > ``threshold``; NaN for voxels that are constant or not
        finite, which are no one's neighbours either.
    weighted : (n_voxels,) float64
        Sum of these r; NaN as above.
    threshold : float
    density : float
        Share of all pairs that is above the threshold; NaN with fewer than two usable voxels.
    """

    binary: FloatArray
    weighted: FloatArray
    threshold: float
    density: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Centrality:
    """What :func:`compute_centrality` finds.

    Attributes
    ----------
    at_threshold : Degree
    at_density : Degree or None
        None when no density was asked for.
    strength : (n_voxels,) float64
        Mean Fisher z with all other usable voxels, negative ones included; NaN as in Degree.
    """

    at_threshold: Degree
    at_density: Degree | None
    strength: FloatArray


def compute_centrality(
    series: NDArray[np.floating],
    *,
    threshold: float = 0.25,
    density: float | None = None,
    n_threads: int = 1,
) -> Centrality:
    """Compute degree centrality and connectivity strength of each voxel.

    Parameters
    ----------
    series : (n_volumes, n_voxels) array
        Filtered residuals of the voxels of a mask; may be a memory map.
    threshold : float
        An edge has r > threshold; 0 or more, so that edges are positive.
    density : float, optional
        Share of all pairs to keep by one threshold on r for all voxels, in a second pass. It is
        found in a histogram of the positive r of all pairs, as the highest of its 32,768 edges
        with at least that share above it (0 when fewer pairs are positive).
    n_threads : int
        Threads that share the tiles. Sums of different numbers of threads differ by rounding.

    Returns
    -------
    Centrality

    Raises
    ------
    UsageError
        Threshold or density out of range.
    ValueError
        Fewer than 3 volumes or 2 voxels.

    Notes
    -----
    * binary_i = #{j ≠ i: r_ij > threshold}
    * weighted_i = Σ r_ij over these j
    * strength_i = mean of artanh r_ij over all j ≠ i; sizes of r above 1 − 1e-6 are held there
      (z = 7.25).

    The voxel itself never counts. Buckner 2009, 10.1523/JNEUROSCI.5062-08.2009; Zuo 2012,
    10.1093/cercor/bhr269.

    Examples
    --------
    >>> wave, other = np.sin(np.arange(30.0)), np.cos(np.arange(30.0))
    >>> found = compute_centrality(np.column_stack([wave, 2 * wave, other, 3 - other]))
    >>> found.at_threshold.binary.tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    if series.ndim != 2 or len(series) < 3 or series.shape[1] < 2:
        raise ValueError(BAD_SERIES.format(found=series.shape))
    if not 0 <= threshold < 1:
        raise UsageError(BAD_THRESHOLD.format(found=threshold), BAD_THRESHOLD_HINT)
    if density is not None and not 0 < density <= 1:
        raise UsageError(BAD_DENSITY.format(found=density), BAD_DENSITY_HINT)
    units, usable = _unit_rows(series)
    histograms = np.zeros((n_threads, N_STEPS if density is not None else 0), np.int64)
    number, total, logarithm = _sum_tiles(units, threshold, histograms)
    at_density = None
    if density is not None:
        found = _threshold_at(histograms.sum(axis=0), density, len(units))
        sums = _sum_degrees(units, found, n_threads)
        at_density = _degree(sums[0], sums[1], usable, found)
    return Centrality(
        at_threshold=_degree(number, total, usable, threshold),
        at_density=at_density,
        # ½ log((1 + r) / (1 − r)) is Fisher z.
        strength=_spread(logarithm / 2.0 / max(len(units) - 1, 1), usable),
    )


def _unit_rows(series: NDArray[np.floating]) -> tuple[Float32Array, NDArray[np.bool_]]:
    """Return the usable voxels' series, centred and of length 1, as rows; and which they are."""
    units = np.empty(series.shape[::-1], dtype=np.float32)
    usable = np.zeros(series.shape[1], dtype=bool)
    n_usable = 0
    for start in range(0, series.shape[1], BLOCK_VOXELS):
        data = np.asarray(series[:, start : start + BLOCK_VOXELS], dtype=np.float64)
        # An infinite value becomes NaN, and its voxel is left out.
        with np.errstate(invalid="ignore"):
            centred, length = centre_columns(data)
        good = np.isfinite(length)
        usable[start : start + good.size] = good
        last = n_usable + int(good.sum())
        units[n_usable:last] = (centred[:, good] / length[good]).T
        n_usable = last
    return units[:n_usable], usable


def _for_each_tile(units: Float32Array, n_threads: int, visit: Visit) -> None:
    """Call ``visit(thread, tile, rows, columns)`` with each tile of correlations.

    A tile is (n_rows, n_columns); each pair is in one of them, and what is none (below and on
    the diagonal of the whole) is zero. Tiles are dealt out in advance, so that sums do not
    depend on which thread is faster.
    """
    starts = range(0, len(units), BLOCK_VOXELS)
    tiles = [(row, column) for row in starts for column in starts if row <= column]

    def work(thread: int) -> None:
        place = np.empty(BLOCK_VOXELS * BLOCK_VOXELS, dtype=np.float32)
        for row, column in tiles[thread::n_threads]:
            first = units[row : row + BLOCK_VOXELS]
            second = units[column : column + BLOCK_VOXELS]
            tile = place[: len(first) * len(second)].reshape(len(first), len(second))
            np.matmul(first, second.T, out=tile)
            if row == column:
                tile[:] = np.triu(tile, k=1)
            rows, columns = (slice(n, n + BLOCK_VOXELS) for n in (row, column))
            visit(thread, tile, rows, columns)

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, range(n_threads)))


def _sum_tiles(units: Float32Array, threshold: float, histograms: IntArray) -> list[FloatArray]:
    """Return number and sum of r above the threshold, and Σ log((1 + r) / (1 − r)), (n,) each.

    Each of the ``histograms`` (n_threads, n_steps) gets the positive r of one thread's tiles,
    when it has any steps.
    """
    n_threads, n_steps = histograms.shape
    numbers, totals, logarithms = np.zeros((3, n_threads, len(units)))
    limit = np.float32(threshold)

    def visit(thread: int, tile: Float32Array, rows: slice, columns: slice) -> None:
        number, total, logarithm = numbers[thread], totals[thread], logarithms[thread]
        _add_degrees(tile, limit, number[rows], total[rows], number[columns], total[columns])
        _add_logarithms(tile, logarithm[rows], logarithm[columns])
        if n_steps:
            _add_to_histogram(tile, histograms[thread])

    _for_each_tile(units, n_threads, visit)
    return [sums.sum(axis=0) for sums in (numbers, totals, logarithms)]


def _sum_degrees(units: Float32Array, threshold: float, n_threads: int) -> list[FloatArray]:
    """Return number and sum of r above the threshold, (n,) each."""
    numbers, totals = np.zeros((2, n_threads, len(units)))
    limit = np.float32(threshold)

    def visit(thread: int, tile: Float32Array, rows: slice, columns: slice) -> None:
        number, total = numbers[thread], totals[thread]
        _add_degrees(tile, limit, number[rows], total[rows], number[columns], total[columns])

    _for_each_tile(units, n_threads, visit)
    return [sums.sum(axis=0) for sums in (numbers, totals)]


def _threshold_at(histogram: IntArray, density: float, n_voxels: int) -> float:
    """Return the highest step with at least the asked share of pairs above it, or 0."""
    n_asked = density * n_voxels * (n_voxels - 1) / 2
    above = np.cumsum(histogram[::-1])[::-1]
    return float(np.flatnonzero(above >= n_asked)[-1]) / (histogram.size - 1)


def _degree(
    number: FloatArray, total: FloatArray, usable: NDArray[np.bool_], threshold: float
) -> Degree:
    n_both_ways = number.size * (number.size - 1)
    return Degree(
        binary=_spread(number, usable),
        weighted=_spread(total, usable),
        threshold=threshold,
        density=float(number.sum() / n_both_ways) if n_both_ways else float("nan"),
    )


def _spread(values: FloatArray, usable: NDArray[np.bool_]) -> FloatArray:
    """Return values of the usable voxels among NaN; NaN alone when there is no pair."""
    result = np.full(usable.size, np.nan)
    if values.size > 1:
        result[usable] = values
    return result


# The machine code is only kept where the caller has named a folder for it (see resample). One
# plain loop for each sum, over a row that stays in the nearest cache and arrays of one dimension:
# the compiler turns these into vector instructions, and gives up on more at once. Tiles hold no
# NaN, and no ratio divides by zero; told so, it vectorises these steps too.
_compiled = numba.njit(
    cache="NUMBA_CACHE_DIR" in os.environ,
    nogil=True,
    fastmath={"contract", "reassoc", "nnan", "nsz"},
    error_model="numpy",
)


@_compiled
def _add_degrees(
    tile: Float32Array,
    limit: np.float32,
    row_numbers: FloatArray,
    row_sums: FloatArray,
    column_numbers: FloatArray,
    column_sums: FloatArray,
) -> None:
    """Add number and sum of r above the limit (0 or more) to both voxels of each pair."""
    n_rows, n_columns = tile.shape
    for i in range(n_rows):
        row = tile[i]
        number, total = 0, 0.0
        for j in range(n_columns):
            number += 1 if row[j] > limit else 0
            total += float(row[j]) if row[j] > limit else 0.0
        for j in range(n_columns):
            column_numbers[j] += _ONE if row[j] > limit else _ZERO
        for j in range(n_columns):
            column_sums[j] += row[j] if row[j] > limit else _ZERO
        row_numbers[i] += number
        row_sums[i] += total


@_compiled
def _add_logarithms(tile: Float32Array, rows: FloatArray, columns: FloatArray) -> None:
    """Add log((1 + r) / (1 − r)) to both voxels of each pair.

    Up to 32 ratios are multiplied before one logarithm is taken, which is far quicker; each is
    at most 2e6, and 2e6 to the power of 32 is still a number in double precision.
    """
    n_rows, n_columns = tile.shape
    # Ones fill the last lanes up.
    ratio = np.ones((n_columns + LANES - 1) // LANES * LANES, dtype=np.float32)
    product = np.ones(n_columns)
    lanes = np.empty(LANES)
    for i in range(n_rows):
        row = tile[i]
        for j in range(n_columns):
            r = min(max(row[j], -_HIGHEST), _HIGHEST)
            ratio[j] = (_ONE + r) / (_ONE - r)
        for j in range(n_columns):
            product[j] *= ratio[j]
        if (i + 1) % N_PRODUCTS == 0 or i + 1 == n_rows:
            for j in range(n_columns):
                columns[j] += math.log(product[j])
                product[j] = 1.0
        for start in range(0, ratio.size, LANES * N_PRODUCTS):
            lanes[:] = 1.0
            for k in range(start, min(start + LANES * N_PRODUCTS, ratio.size), LANES):
                part = ratio[k : k + LANES]
                for lane in range(LANES):
                    lanes[lane] *= part[lane]
            total = 0.0
            for lane in range(LANES):
                total += math.log(lanes[lane])
            rows[i] += total


@_compiled
def _add_to_histogram(tile: Float32Array, histogram: IntArray) -> None:
    """Count the r of the pairs in equal steps from 0 to 1; all others fall into the first.

    Without a branch, which would be guessed wrong at every other pair.
    """
    n_rows, n_columns = tile.shape
    scale = np.float32(histogram.size - 1)
    for i in range(n_rows):
        row = tile[i]
        for j in range(n_columns):
            histogram[int(max(row[j], _ZERO) * scale)] += 1
