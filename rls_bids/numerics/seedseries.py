"""From the voxels of seeds to the series that are correlated: component, and part of its own."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = "1"

TOO_SHORT = "Found series of the shape {found}; expected 3 or more volumes and 1 or more columns."
OWN_SHARE = 1e-6

FloatArray = NDArray[np.float64]


def eigenvariate(data: ArrayLike) -> FloatArray:
    """Return the first principal component of some voxels' series, over time.

    With X the (n_volumes, n_voxels) data, columns centred and not scaled, and X = U S Vᵀ, it is
    u₁ s₁ / √n_voxels, which is the series itself where all voxels have the same. Its sign is that
    of a positive correlation with the mean series.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array

    Returns
    -------
    (n_volumes,) array
        Mean 0, in the unit of ``data``.

    Raises
    ------
    ValueError
        Under 3 volumes, or no voxel.

    References
    ----------
    Jolliffe 2002, Principal component analysis, 10.1007/b98835.

    Examples
    --------
    >>> eigenvariate([[1.0, 1.0], [2.0, 2.0], [6.0, 6.0]]).round(6).tolist()
    [-2.0, -1.0, 3.0]
    """
    values = _checked(data)
    centred = values - values.mean(axis=0)
    n_volumes, n_voxels = centred.shape
    # The smaller of both products has the same largest eigenvalue: many times faster than an SVD.
    if n_voxels <= n_volumes:
        component = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
    else:
        sizes, vectors = np.linalg.eigh(centred @ centred.T)
        component = vectors[:, -1] * np.sqrt(max(sizes[-1], 0.0))
    component = component / np.sqrt(n_voxels)
    sign = -1.0 if component @ centred.mean(axis=1) < 0 else 1.0
    return np.asarray(sign * component)


def unique_parts(series: ArrayLike) -> FloatArray:
    """Return of each series what the others do not tell: the residual given them.

    For the series x_j and the others X_(-j) with an intercept, it is
    e_j = x_j − X_(-j) (X_(-j)ᵀ X_(-j))⁻¹ X_(-j)ᵀ x_j. The correlation of a voxel y with e_j is the
    semi-partial (part) correlation: sr_j² = R²(y | X) − R²(y | X_(-j)), with the sign of the
    coefficient of x_j in the regression of y on all of X.

    Parameters
    ----------
    series : (n_volumes, n_series) array

    Returns
    -------
    (n_volumes, n_series) array
        NaN in the columns of series that the others tell to within 1e-6 of their length.

    Raises
    ------
    ValueError
        Under 3 volumes, or no series.

    References
    ----------
    Cohen, Cohen, West & Aiken 2003, Applied multiple regression/correlation analysis for the
    behavioral sciences, 10.4324/9780203774441.

    Examples
    --------
    >>> unique_parts([[1.0, 1.0], [2.0, 0.0], [3.0, -1.0], [4.0, 2.0]]).round(3)[:, 1].tolist()
    [0.8, -0.4, -1.6, 1.2]
    """
    values = _checked(series)
    centred = values - values.mean(axis=0)
    parts: FloatArray = np.empty_like(centred)
    # Unit columns for the fit, so that the rank does not depend on the seeds' amplitudes.
    sizes = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(sizes > 0, sizes, 1.0)
    for column, size in enumerate(sizes):
        own = np.array(unit[:, column])
        others = np.delete(unit, column, axis=1)
        if others.shape[1]:
            own -= others @ np.linalg.lstsq(others, own, rcond=None)[0]
        parts[:, column] = size * own if np.linalg.norm(own) > OWN_SHARE else np.nan
    return parts


def _checked(data: ArrayLike) -> FloatArray:
    values = np.asarray(data, dtype=float)
    if values.ndim != 2 or len(values) < 3 or not values.shape[1]:
        raise ValueError(TOO_SHORT.format(found=values.shape))
    return values
