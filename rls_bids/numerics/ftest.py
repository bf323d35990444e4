"""Several contrasts of the linear model tested together: F, and the normal value of its tail."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from rls_bids.numerics.glm import BAD_SHAPES, CONSTANT, TAIL, partition

VERSION = "1"

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FFit:
    """An F test: (n_voxels,) arrays and the degrees of freedom above and below the line.

    ``z`` is the standard normal value whose upper tail is ``p``.
    """

    f: FloatArray
    z: FloatArray
    p: FloatArray
    df: tuple[int, int]


def fit_f(data: ArrayLike, design: ArrayLike, contrasts: ArrayLike) -> FFit:
    """Test several contrasts together.

    Parameters
    ----------
    data : (n_participants, n_voxels) array
    design : (n_participants, n_columns) array
    contrasts : (n_contrasts, n_columns) array

    Returns
    -------
    FFit
        NaN where the residuals vanish.

    Raises
    ------
    InputDataError
        No residual degrees of freedom, or a contrast that the design cannot estimate.
    ValueError
        Shapes do not fit together.

    Notes
    -----
    F = (‖Q_eᵀy‖² / q) / (‖y − Q Qᵀy‖² / (n − rank X)), Q_e and Q from :func:`partition`.

    Examples
    --------
    >>> found = fit_f([[1.0], [2], [4], [6]], [[1, 1], [1, 1], [1, 0], [1, 0]], [[0, 1]])
    >>> found.f.round(3).tolist(), found.df
    ([9.8], (1, 2))
    """
    observed = np.asarray(data, dtype=float)
    parts = partition(design, contrasts)
    if len(parts.effect) != len(observed):
        raise ValueError(BAD_SHAPES.format(found=(observed.shape, parts.effect.shape)))
    effect = parts.effect.T @ observed
    residual = observed - parts.effect @ effect - parts.nuisance @ (parts.nuisance.T @ observed)
    squares = (residual**2).sum(axis=0)
    squares[squares <= CONSTANT**2 * (observed**2).sum(axis=0)] = np.nan
    q = parts.effect.shape[1]
    f = (effect**2).sum(axis=0) / q / (squares / parts.df)
    return FFit(f=f, z=f_to_z(f, q, parts.df), p=stats.f.sf(f, q, parts.df), df=(q, parts.df))


def f_to_z(f: ArrayLike, df1: float, df2: ArrayLike) -> FloatArray:
    """Return the standard normal value with the same upper tail as F, negative where p > ½.

    Parameters
    ----------
    f : array
    df1 : float
    df2 : float or array like ``f``

    Returns
    -------
    array like ``f``

    Examples
    --------
    >>> f_to_z([0.2, 4.0, 1e4], 2, 40).round(3).tolist()
    [-0.914, 1.942, 15.535]
    """
    values = np.asarray(f, dtype=float)
    below = np.asarray(df2, dtype=float)
    tail = np.asarray(special.fdtrc(df1, below, values))
    log_tail = np.log(np.maximum(tail, TAIL))
    far = tail < TAIL
    if far.any():
        # I_x(a, b) ≈ xᵃ / (a B(a, b)) for x → 0, x = df2 / (df2 + df1 F)
        a, b = np.broadcast_to(below, values.shape)[far] / 2, df1 / 2
        x = 2 * a / (2 * a + df1 * values[far])
        log_tail[far] = a * np.log(x) - np.log(a) - special.betaln(a, b)
    log_tail = np.where(np.isnan(tail), np.nan, log_tail)
    return np.asarray(-special.ndtri_exp(log_tail))
