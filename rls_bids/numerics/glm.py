"""The general linear model over participants, one contrast, all voxels at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from rls_bids.errors import InputDataError

VERSION = "1"

NO_DF = "The model has {n_rows} participants and {rank} parameters; at least one more is needed."
NO_DF_HINT = "Add participants, or leave covariates out."
NOT_ESTIMABLE = (
    "The contrast cannot be estimated: the design has {n_columns} columns and rank {rank}, and "
    "the contrast asks for a difference that other columns explain as well."
)
NOT_ESTIMABLE_HINT = "Leave out a covariate that is constant or repeats the groups."
BAD_SHAPES = "Data, design and contrast have the shapes {found}, which do not fit together."
CONSTANT = 1e-10
TAIL = 1e-290

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastFit:
    """One contrast of a linear model: (n_voxels,) arrays and the residual degrees of freedom.

    ``effect`` is cᵀβ, ``variance`` its sampling variance, ``p`` two-sided, ``z`` the standard
    normal value of the same tail as ``t``.
    """

    effect: FloatArray
    variance: FloatArray
    t: FloatArray
    z: FloatArray
    p: FloatArray
    df: int


def fit(data: ArrayLike, design: ArrayLike, contrast: ArrayLike) -> ContrastFit:
    """Fit by ordinary least squares and test one contrast.

    Parameters
    ----------
    data : (n_participants, n_voxels) array
        A voxel with NaN gives NaN.
    design : (n_participants, n_columns) array
        With its constant, where there is one.
    contrast : (n_columns,) array

    Returns
    -------
    ContrastFit
        t, z and p are NaN where the residuals vanish.

    Raises
    ------
    InputDataError
        No residual degrees of freedom, or a contrast that the design cannot estimate.
    ValueError
        Shapes do not fit together.

    Notes
    -----
    β = X⁺y, σ² = ‖y − Xβ‖² / (n − rank X), t = cᵀβ / √(σ² cᵀ(XᵀX)⁺c).
    """
    observed = np.asarray(data, dtype=float)
    columns = np.asarray(design, dtype=float)
    weights = np.asarray(contrast, dtype=float)
    if columns.shape != (len(observed), weights.size):
        raise ValueError(BAD_SHAPES.format(found=(observed.shape, columns.shape, weights.shape)))
    # Columns of equal length make the rank independent of the covariates' units.
    length = np.linalg.norm(columns, axis=0)
    length[length == 0] = 1.0
    left, values, right = np.linalg.svd(columns / length, full_matrices=False)
    rank = int((values > 1e-9 * values[0]).sum())
    df = len(observed) - rank
    if df < 1:
        raise InputDataError(NO_DF.format(n_rows=len(observed), rank=rank), NO_DF_HINT)
    scaled = weights / length
    along = right[:rank] @ scaled
    if np.linalg.norm(scaled - right[:rank].T @ along) > 1e-6 * np.linalg.norm(scaled):
        raise InputDataError(
            NOT_ESTIMABLE.format(n_columns=weights.size, rank=rank), NOT_ESTIMABLE_HINT
        )
    basis, direction = left[:, :rank], along / values[:rank]
    scores = basis.T @ observed
    effect = direction @ scores
    residual = ((observed - basis @ scores) ** 2).sum(axis=0)
    residual[residual <= CONSTANT**2 * (observed**2).sum(axis=0)] = np.nan
    variance = residual / df * float(direction @ direction)
    t = effect / np.sqrt(variance)
    return ContrastFit(
        effect=effect,
        variance=variance,
        t=t,
        z=t_to_z(t, df),
        p=np.asarray(2 * special.stdtr(df, -np.abs(t))),
        df=df,
    )


def t_to_z(t: ArrayLike, df: float) -> FloatArray:
    """Return the standard normal value with the same tail probability as t.

    Works on the logarithm of the tail, and on its series where it is smaller than any float, so
    that large values stay finite and distinct.

    Parameters
    ----------
    t : array
    df : float
        Degrees of freedom.

    Returns
    -------
    array like ``t``

    Examples
    --------
    >>> t_to_z([0.0, 2.0, -40.0], 20).round(3).tolist()
    [0.0, 1.886, -9.296]
    """
    values = np.asarray(t, dtype=float)
    size = np.abs(values)
    tail = np.atleast_1d(special.stdtr(df, -size))
    log_tail = np.log(np.maximum(tail, TAIL))
    far = tail < TAIL
    if far.any():
        log_tail[far] = _log_tail(np.atleast_1d(size)[far], df)
    log_tail[np.isnan(tail)] = np.nan
    z = -special.ndtri_exp(log_tail).reshape(values.shape)
    return np.asarray(np.copysign(np.maximum(z, 0.0), values))


def _log_tail(t: FloatArray, df: float) -> FloatArray:
    """Return log P(T > t) far out, from ½ I_x(df/2, ½) with x = df / (df + t²)."""
    x = df / (df + t**2)
    half = df / 2
    series = special.hyp2f1(half + 0.5, 1.0, half + 1.0, x)
    log_beta = special.betaln(half, 0.5)
    log_x = -np.log1p(t**2 / df)
    head = half * log_x + 0.5 * np.log1p(-x)
    return np.asarray(head - np.log(half) - log_beta + np.log(series) - np.log(2))


def fdr(p: ArrayLike) -> FloatArray:
    """Adjust p values for the false discovery rate (Benjamini & Hochberg 1995).

    Parameters
    ----------
    p : array
        NaN (not tested) stays NaN and is not counted.

    Returns
    -------
    array like ``p``
        Smallest rate at which each would be called, doi:10.1111/j.2517-6161.1995.tb02031.x.

    Examples
    --------
    >>> fdr([0.01, 0.04, 0.03, np.nan]).round(3).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    values = np.asarray(p, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    tested = np.isfinite(values)
    if tested.any():
        adjusted[tested] = stats.false_discovery_control(values[tested], method="bh")
    return adjusted
