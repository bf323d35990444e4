"""Dual regression: the series of given network maps in one run, then each network's own map."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = "1"

BAD_SHAPES = (
    "Found {n_maps} maps of {n_map_voxels} voxels and data of {n_voxels}; expected the same."
)
NO_SPREAD = "the map is the same in all voxels of the mask"
NOT_APART = "the {n} maps have only {rank} different patterns in the mask"
BAD_LENGTHS = "Series and data have {found} volumes; expected the same number, over {least}."
BLOCK_VOXELS = 16384
CONSTANT = 1e-7

FloatArray = NDArray[np.float64]


def maps_problem(maps: ArrayLike) -> tuple[tuple[int, ...], str]:
    """Say why maps cannot be told apart, and which of them it is about; empty if they can.

    Parameters
    ----------
    maps : (n_maps, n_voxels) array

    Returns
    -------
    which : tuple of int
        Maps without any spread, else all when they depend on each other.
    reason : str

    Examples
    --------
    >>> maps_problem([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    ((1,), 'the map is the same in all voxels of the mask')
    >>> maps_problem([[0.0, 1.0, 2.0], [1.0, 0.0, 5.0]])
    ((), '')
    """
    values = np.asarray(maps, dtype=float)
    flat = np.flatnonzero(~(np.ptp(values, axis=1) > 0) if values.size else np.ones(len(values)))
    if flat.size:
        return tuple(int(each) for each in flat), NO_SPREAD
    rank = int(np.linalg.matrix_rank(_patterns(values)))
    if rank < len(values):
        return tuple(range(len(values))), NOT_APART.format(n=len(values), rank=rank)
    return (), ""


def network_series(maps: ArrayLike, data: NDArray[np.floating]) -> FloatArray:
    """Return the series of each map: all maps in one spatial regression a volume (stage 1).

    With the maps M (voxels in rows), centred over voxels and scaled to a standard deviation of 1,
    and y_t the volume t, s_t = (MᵀM)⁻¹ Mᵀ y_t, which is a fit with an intercept. Centring takes
    out what raises or lowers all voxels of a volume alike.

    Parameters
    ----------
    maps : (n_maps, n_voxels) array
        See :func:`maps_problem` for what they must not be.
    data : (n_volumes, n_voxels) array

    Returns
    -------
    (n_volumes, n_maps) array
        In the unit of ``data`` per standard deviation of the map.

    Raises
    ------
    ValueError
        The numbers of voxels differ.

    References
    ----------
    Nickerson 2017, 10.3389/fnins.2017.00115.

    Examples
    --------
    >>> maps = [[0.0, 0.0, 2.0, 2.0], [0.0, 2.0, 0.0, 2.0]]
    >>> network_series(maps, np.array([[9.0, 9.0, 11.0, 11.0], [0.0, 3.0, 0.0, 3.0]])).tolist()
    [[1.0, 0.0], [0.0, 1.5]]
    """
    values = np.asarray(maps, dtype=float)
    if values.ndim != 2 or values.shape[1] != data.shape[1]:
        raise ValueError(
            BAD_SHAPES.format(
                n_maps=len(values), n_map_voxels=values.shape[-1], n_voxels=data.shape[1]
            )
        )
    patterns = _patterns(values)
    product = np.zeros((len(data), len(patterns)))
    for start in range(0, data.shape[1], BLOCK_VOXELS):
        block = slice(start, start + BLOCK_VOXELS)
        product += data[:, block].astype(np.float64) @ patterns[:, block].T
    return np.asarray(np.linalg.solve(patterns @ patterns.T, product.T).T)


def _patterns(maps: FloatArray) -> FloatArray:
    """Centre the maps over voxels and scale them to a standard deviation of 1."""
    centred = maps - maps.mean(axis=1, keepdims=True)
    return np.asarray(centred / centred.std(axis=1, keepdims=True))


def partial_correlations(series: ArrayLike, data: NDArray[np.floating]) -> NDArray[np.float32]:
    """Correlate every voxel with each series given all others (stage 2), in one regression.

    For the regression of voxel y on an intercept and the series X with coefficients b, residual
    sum of squares e and G = (XᵀX)⁻¹ (columns centred), the partial correlation is
    r_j = b_j / √(b_j² + e G_jj), which is t_j / √(t_j² + residual df).

    Parameters
    ----------
    series : (n_volumes, n_series) array
        Linearly independent.
    data : (n_volumes, n_voxels) array

    Returns
    -------
    (n_series, n_voxels) float32 array
        NaN for constant voxels.

    Raises
    ------
    ValueError
        The numbers of volumes differ, or are not over the number of series by 2 or more.

    References
    ----------
    Cohen, Cohen, West & Aiken 2003, 10.4324/9780203774441.

    Examples
    --------
    >>> series = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    >>> data = np.array([[2.0], [-2.0], [1.0], [1.0]])
    >>> [round(float(r), 4) for r in abs(partial_correlations(series, data)[:, 0])]
    [0.9428, 0.0]
    """
    values = np.asarray(series, dtype=float)
    n_volumes, n_series = values.shape
    if n_volumes != len(data) or n_volumes < n_series + 2:
        found = (n_volumes, len(data))
        raise ValueError(BAD_LENGTHS.format(found=found, least=n_series + 1))
    centred = values - values.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=0)
    inverse = np.linalg.inv(centred.T @ centred)
    result = np.empty((n_series, data.shape[1]), dtype=np.float32)
    for start in range(0, data.shape[1], BLOCK_VOXELS):
        block = slice(start, start + BLOCK_VOXELS)
        voxels = data[:, block].astype(np.float64)
        largest = np.abs(voxels).max(axis=0)
        voxels -= voxels.mean(axis=0)
        length = np.linalg.norm(voxels, axis=0)
        length[~(length > CONSTANT * largest * np.sqrt(n_volumes))] = np.nan
        product = centred.T @ (voxels / length)
        weights = inverse @ product
        left = np.clip(1.0 - (weights * product).sum(axis=0), 0.0, None)
        result[:, block] = weights / np.sqrt(weights**2 + left * np.diag(inverse)[:, None])
    return np.asarray(np.clip(result, -1, 1, out=result))
