"""Pearson correlation of seeds with every voxel, Fisher z, and the mean over runs."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = "1"

BAD_LENGTHS = "Seed and data have {found} volumes; expected the same number, at least 3."

# Float32 r of a voxel with itself may come out as 1 or a little more; z is held at 8.4.
LARGEST_R = 1 - 1e-7
# Blocks that stay in the cache in double precision: larger ones take three times longer.
BLOCK_VOXELS = 1024
CONSTANT = 1e-7

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]


def correlate_seed(seed: ArrayLike, data: NDArray[np.floating]) -> Float32Array:
    """Correlate one seed series with every voxel.

    Parameters
    ----------
    seed : (n_volumes,) array
    data : (n_volumes, n_voxels) array

    Returns
    -------
    (n_voxels,) float32 array
        Pearson r; NaN for constant voxels, and everywhere for a constant seed.

    Examples
    --------
    >>> correlate_seed([1.0, 2.0, 3.0], np.array([[2.0, 1.0], [4.0, 0.0], [6.0, -1.0]])).tolist()
    [1.0, -1.0]
    """
    return np.asarray(correlate_seeds(np.asarray(seed, dtype=float)[:, None], data)[0])


def correlate_seeds(seeds: ArrayLike, data: NDArray[np.floating]) -> Float32Array:
    """Correlate several seed series with every voxel in one pass over the data.

    Parameters
    ----------
    seeds : (n_volumes, n_seeds) array
    data : (n_volumes, n_voxels) array

    Returns
    -------
    (n_seeds, n_voxels) float32 array
        As in :func:`correlate_seed`.

    Raises
    ------
    ValueError
        The numbers of volumes differ, or are under 3.
    """
    series = np.asarray(seeds, dtype=float)
    if len(series) != len(data) or len(data) < 3:
        raise ValueError(BAD_LENGTHS.format(found=(len(series), len(data))))
    centred, length = centre_columns(series)
    unit_seeds = (centred / length).T
    result = np.empty((series.shape[1], data.shape[1]), dtype=np.float32)
    for start in range(0, data.shape[1], BLOCK_VOXELS):
        block = slice(start, start + BLOCK_VOXELS)
        centred, length = centre_columns(data[:, block].astype(np.float64))
        result[:, block] = (unit_seeds @ centred) / length
    return np.asarray(np.clip(result, -1, 1, out=result))


def centre_columns(data: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Subtract the mean of each column, and find which columns vary.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array

    Returns
    -------
    centred : (n_volumes, n_voxels) array
    length : (n_voxels,) array
        Root of the sum of squares of ``centred``; NaN where it is nothing but rounding, and for
        columns with a value that is not finite.

    Examples
    --------
    >>> centred, length = centre_columns(np.array([[1.0, 7.0], [7.0, 7.0], [4.0, 7.0]]))
    >>> (length**2).tolist()
    [18.0, nan]
    """
    mean = data.mean(axis=0)
    centred = data - mean
    squares = np.einsum("ij,ij->j", centred, centred)
    length = np.sqrt(squares)
    length[~(length > CONSTANT * np.sqrt(squares + len(data) * mean**2))] = np.nan
    return centred, length


def fisher_z(r: ArrayLike) -> FloatArray:
    """Return atanh(r), with the size of r held under 1 so that the result is finite.

    Examples
    --------
    >>> fisher_z([0.0, 0.5]).round(4).tolist()
    [0.0, 0.5493]
    """
    return np.asarray(np.arctanh(np.clip(np.asarray(r, dtype=float), -LARGEST_R, LARGEST_R)))


def inverse_fisher_z(z: ArrayLike) -> FloatArray:
    """Return tanh(z), the correlation that belongs to a Fisher z.

    Examples
    --------
    >>> inverse_fisher_z(0.5493061443).round(4).item()
    0.5
    """
    return np.asarray(np.tanh(np.asarray(z, dtype=float)))


def combine_runs(z: ArrayLike, residual_df: ArrayLike) -> FloatArray:
    """Average Fisher z over runs, weighted by their residual degrees of freedom.

    Parameters
    ----------
    z : (n_runs, n_voxels) array
        NaN where a run has no value; the other runs then make the mean.
    residual_df : (n_runs,) array
        Runs with none left (≤ 0) have no weight.

    Returns
    -------
    (n_voxels,) array
        NaN where no run has a value.

    Examples
    --------
    >>> combine_runs([[0.2, np.nan], [0.5, 0.5]], [10, 20]).round(3).tolist()
    [0.4, 0.5]
    """
    values = np.asarray(z, dtype=float)
    weights = np.maximum(np.asarray(residual_df, dtype=float), 0.0)[:, None]
    present = np.isfinite(values) * weights
    total = present.sum(axis=0)
    weighted = (np.where(np.isfinite(values), values, 0.0) * present).sum(axis=0)
    mean = np.full(values.shape[1], np.nan)
    return np.asarray(np.divide(weighted, total, out=mean, where=total > 0))
