"""The general linear model over participants, all voxels at once: t, intervals, HC3 errors."""

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
LEVERAGE = (
    "Participant number {row} of the design has leverage {leverage:.3f}; robust (HC3) errors are "
    "not defined where one participant determines a parameter alone (limit {limit})."
)
LEVERAGE_HINT = (
    "Use ordinary errors, or leave out the covariate or the level with one participant."
)
BAD_SHAPES = "Data, design and contrast have the shapes {found}, which do not fit together."
CONSTANT = 1e-10
RANK = 1e-9
MAX_LEVERAGE = 0.99
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
    basis, directions = _estimable(columns, weights[None])
    df, direction = len(observed) - basis.shape[1], directions[:, 0]
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


def _estimable(columns: FloatArray, contrasts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return an orthonormal basis U (n, rank) of the design and D (rank, q): Cβ = Dᵀ Uᵀ y."""
    # Columns of equal length make the rank independent of the covariates' units.
    length = np.linalg.norm(columns, axis=0)
    length[length == 0] = 1.0
    left, values, right = np.linalg.svd(columns / length, full_matrices=False)
    rank = int((values > RANK * values[0]).sum())
    if len(columns) - rank < 1:
        raise InputDataError(NO_DF.format(n_rows=len(columns), rank=rank), NO_DF_HINT)
    scaled = contrasts / length
    along = right[:rank] @ scaled.T
    missed = np.linalg.norm(scaled.T - right[:rank].T @ along, axis=0)
    if (missed > 1e-6 * np.linalg.norm(scaled, axis=1)).any():
        raise InputDataError(
            NOT_ESTIMABLE.format(n_columns=columns.shape[1], rank=rank), NOT_ESTIMABLE_HINT
        )
    return left[:, :rank], along / values[:rank, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A design, split at a contrast.

    ``effect`` (n_participants, q) and ``nuisance`` (n_participants, k) are orthonormal and
    orthogonal to each other; their columns span the design, and those of ``nuisance`` the
    reduced model, in which the contrast is zero. Of one contrast, ``effect`` has its sign.
    """

    effect: FloatArray
    nuisance: FloatArray
    df: int


def partition(design: ArrayLike, contrast: ArrayLike) -> Partition:
    """Split a design into what a contrast tests and the rest.

    Parameters
    ----------
    design : (n_participants, n_columns) array
    contrast : (n_columns,) or (n_contrasts, n_columns) array
        Several rows are tested together (F); rows that repeat others are allowed.

    Returns
    -------
    Partition

    Raises
    ------
    InputDataError
        No residual degrees of freedom, or a contrast that the design cannot estimate.
    ValueError
        Shapes do not fit together, or the contrast is zero.

    Notes
    -----
    The effect space is that of X(XᵀX)⁺Cᵀ, the nuisance space its complement in the columns of X
    (Winkler 2014, doi:10.1016/j.neuroimage.2014.01.060, appendix A).

    Examples
    --------
    >>> parts = partition([[1, 1], [1, 1], [1, 0], [1, 0]], [0, 1])
    >>> parts.effect.T.round(1).tolist(), parts.nuisance.shape, parts.df
    ([[0.5, 0.5, -0.5, -0.5]], (4, 1), 2)
    """
    columns = np.asarray(design, dtype=float)
    rows = np.atleast_2d(np.asarray(contrast, dtype=float))
    if columns.ndim != 2 or rows.shape[1] != columns.shape[1] or not rows.any():
        raise ValueError(BAD_SHAPES.format(found=(columns.shape, rows.shape)))
    basis, directions = _estimable(columns, rows)
    directions /= np.maximum(np.linalg.norm(directions, axis=0), 1e-300)
    left, values, _ = np.linalg.svd(directions)
    q = int((values > RANK * values[0]).sum())
    effect = basis @ left[:, :q]
    if q == 1:
        effect *= np.sign((effect.T @ basis @ directions[:, :1]).item())
    return Partition(effect=effect, nuisance=basis @ left[:, q:], df=len(columns) - basis.shape[1])


def confidence_interval(fitted: ContrastFit, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Return the confidence limits of the effect.

    Parameters
    ----------
    fitted : ContrastFit
    level : float

    Returns
    -------
    lower, upper : (n_voxels,) arrays
        Effect ∓ t_df · √variance, in the unit of the effect.

    Examples
    --------
    >>> lower, upper = confidence_interval(fit([[1.0], [2.0], [3.0]], [[1], [1], [1]], [1]))
    >>> round(float(lower[0]), 3), round(float(upper[0]), 3)
    (-0.484, 4.484)
    """
    half = stats.t.ppf((1 + level) / 2, fitted.df) * np.sqrt(fitted.variance)
    return fitted.effect - half, fitted.effect + half


def fit_robust(data: ArrayLike, design: ArrayLike, contrast: ArrayLike) -> ContrastFit:
    """Fit by least squares with errors that hold for unequal variances (HC3).

    Parameters
    ----------
    data : (n_participants, n_variables) array
    design : (n_participants, n_columns) array
    contrast : (n_columns,) array

    Returns
    -------
    ContrastFit
        t with n − rank X degrees of freedom.

    Raises
    ------
    InputDataError
        As `fit`; a participant with a leverage above `MAX_LEVERAGE`.
    ValueError
        Shapes do not fit together.

    Notes
    -----
    var(cᵀβ) = Σᵢ aᵢ² eᵢ² / (1 − hᵢ)², a = X(XᵀX)⁺c, h the leverages
    (MacKinnon & White 1985, doi:10.1016/0304-4076(85)90158-7).

    Examples
    --------
    >>> found = fit_robust([[1.0], [2], [4], [6]], [[1, 1], [1, 1], [1, 0], [1, 0]], [0, 1])
    >>> found.t.round(3).tolist()
    [-2.214]
    """
    ordinary = fit(data, design, contrast)
    observed, columns = np.asarray(data, dtype=float), np.asarray(design, dtype=float)
    basis, directions = _estimable(columns, np.asarray(contrast, dtype=float)[None])
    leverage = (basis**2).sum(axis=1)
    row = int(leverage.argmax())
    if leverage[row] > MAX_LEVERAGE:
        message = LEVERAGE.format(row=row + 1, leverage=leverage[row], limit=MAX_LEVERAGE)
        raise InputDataError(message, LEVERAGE_HINT)
    residual = observed - basis @ (basis.T @ observed)
    weight = basis @ directions[:, 0] / (1 - leverage)
    variance = np.where(np.isfinite(ordinary.t), weight**2 @ residual**2, np.nan)
    t = ordinary.effect / np.sqrt(variance)
    return ContrastFit(
        effect=ordinary.effect,
        variance=variance,
        t=t,
        z=t_to_z(t, ordinary.df),
        p=np.asarray(2 * special.stdtr(ordinary.df, -np.abs(t))),
        df=ordinary.df,
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
