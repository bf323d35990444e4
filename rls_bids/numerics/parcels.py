"""Mean time series of parcels, and how much of each parcel was seen."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = "1"

MIN_COVERAGE = 0.5
BLOCK_VOLUMES = 32

BAD_LABELS = "{found} labels for {expected} voxels; expected one label a voxel."
BAD_COUNTS = "{found} voxel counts for {expected} parcels; expected one count a parcel."
MORE_THAN_ALL = "Parcel {index} has {found} voxels in the mask but {total} in all."

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def parcel_series(
    data: NDArray[np.floating],
    labels: ArrayLike,
    indices: ArrayLike,
    n_voxels: ArrayLike,
    *,
    min_coverage: float = MIN_COVERAGE,
) -> tuple[FloatArray, FloatArray]:
    """Average a series over the voxels of each parcel.

    A voxel counts when it lies in the mask, every value of it is finite, and it is not constant.

    Parameters
    ----------
    data : (n_volumes, n_mask_voxels) array
        Read in blocks of volumes, so that it may be a memory map.
    labels : (n_mask_voxels,) int array
        Index of the parcel of each voxel of the mask; others (0) belong to none.
    indices : (n_parcels,) int array
        Indices of the parcels, each once, in the order of the result.
    n_voxels : (n_parcels,) int array
        Voxels of each parcel on the whole grid, inside the mask or not.
    min_coverage : float
        A parcel of which less than this fraction counts is missing.

    Returns
    -------
    series : (n_volumes, n_parcels) array
        Unit of `data`; NaN in every volume for a missing parcel.
    coverage : (n_parcels,) array
        Voxels that count / voxels on the grid, 0 to 1; 0 for a parcel without a voxel.

    Raises
    ------
    ValueError
        The lengths do not fit, or a parcel has more voxels in the mask than on the grid.

    Examples
    --------
    >>> data = np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 9.0]])
    >>> series, coverage = parcel_series(data, [1, 1, 2], indices=[1, 2], n_voxels=[2, 4])
    >>> series.tolist(), coverage.tolist()
    ([[2.0, nan], [3.0, nan]], [1.0, 0.25])
    """
    label_of = np.asarray(labels, dtype=np.int64)
    order = np.asarray(indices, dtype=np.int64)
    total = np.asarray(n_voxels, dtype=np.int64)
    if label_of.shape != data.shape[1:]:
        raise ValueError(BAD_LABELS.format(found=label_of.size, expected=data.shape[1]))
    if total.shape != order.shape:
        raise ValueError(BAD_COUNTS.format(found=total.size, expected=order.size))
    columns = np.flatnonzero(np.isin(label_of, order))
    columns = columns[valid_voxels(data, columns)]
    position = _positions(label_of[columns], order)
    counts = np.bincount(position, minlength=order.size)
    for index, found, most in zip(order, counts, total, strict=True):
        if found > most:
            raise ValueError(MORE_THAN_ALL.format(index=index, found=found, total=most))
    coverage = np.divide(counts, total, out=np.zeros(order.size), where=total > 0)
    series = _means(data, columns, position, counts)
    series[:, (coverage < min_coverage) | (counts == 0)] = np.nan
    return series, coverage


def valid_voxels(data: NDArray[np.floating], columns: ArrayLike) -> BoolArray:
    """Tell which of some columns are finite throughout and not constant.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array
    columns : (n_columns,) int array

    Returns
    -------
    (n_columns,) bool array
        False everywhere where there are fewer than two volumes.

    Examples
    --------
    >>> data = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, np.nan]])
    >>> valid_voxels(data, [0, 1, 2]).tolist()
    [True, False, False]
    """
    chosen = np.asarray(columns, dtype=np.intp)
    is_finite = np.ones(chosen.size, dtype=bool)
    varies = np.zeros(chosen.size, dtype=bool)
    for start in range(0, len(data), BLOCK_VOLUMES):
        block = np.asarray(data[start : start + BLOCK_VOLUMES])[:, chosen]
        is_finite &= np.isfinite(block).all(axis=0)
        varies |= (block != np.asarray(data[0])[chosen]).any(axis=0)
    return np.asarray(is_finite & varies)


def _positions(labels: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the place of each label in `order`."""
    ranks = np.argsort(order, kind="stable")
    return np.asarray(ranks[np.searchsorted(order[ranks], labels)], dtype=np.intp)


def _means(
    data: NDArray[np.floating],
    columns: NDArray[np.intp],
    position: NDArray[np.intp],
    counts: NDArray[np.intp],
) -> FloatArray:
    """Return (n_volumes, n_parcels) means; 0 for a parcel without a column."""
    series = np.zeros((len(data), counts.size))
    if not columns.size:
        return series
    by_parcel = np.argsort(position, kind="stable")
    filled = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[filled])[:-1]])
    for start in range(0, len(data), BLOCK_VOLUMES):
        rows = slice(start, start + BLOCK_VOLUMES)
        block = np.asarray(data[rows])[:, columns[by_parcel]].astype(np.float64)
        series[rows, filled] = np.add.reduceat(block, starts, axis=1) / counts[filled]
    return series
