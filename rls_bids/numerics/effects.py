"""Standardised effect sizes with exact confidence intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from scipy.interpolate import PchipInterpolator

VERSION = "1"

BAD_PAIRS = (
    "The measurements have the shapes {found}; expected two of the same, with 3 rows or more."
)
BAD_DF = "Degrees of freedom are {df1} and {df2}; expected 1 or more."
BAD_GROUPS = "df is {df}, groups of {n1} and {n2}; expected a df of 2 or more and no empty group."

# A map of a quarter of a million voxels takes its bounds from a table of this many exact ones.
N_NODES = 161
SMALL = 2 * N_NODES

FloatArray = NDArray[np.float64]


def hedges_g(
    t: ArrayLike, df: float, n1: int, n2: int, ci: float = 0.95
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Hedges g of a two-group difference from its t, with a confidence interval.

    Parameters
    ----------
    t : array
        Of the group contrast, adjusted for covariates where the model has them.
    df : float
        Residual degrees of freedom.
    n1, n2 : int
        Participants in each group.
    ci : float
        Confidence level.

    Returns
    -------
    g, lower, upper : arrays like ``t``
        NaN where t is.

    Raises
    ------
    ValueError
        df under 2 (the correction is not defined), or an empty group.

    Notes
    -----
    d = t √(1/n₁ + 1/n₂), g = J d with J = Γ(df/2) / (√(df/2) Γ((df − 1)/2)) (Hedges 1981,
    doi:10.3102/10769986006002107). The interval is that of the population value δ: the
    noncentralities that put t at the two tails of the noncentral t distribution, times
    √(1/n₁ + 1/n₂) (Steiger & Fouladi 1997). It has its stated coverage as it is, so it is not
    multiplied by J.

    Examples
    --------
    >>> g, lower, upper = hedges_g(2.5, 38, 20, 20)
    >>> [round(float(value), 2) for value in (g, lower, upper)]
    [0.77, 0.14, 1.43]
    """
    if df < 2 or min(n1, n2) < 1:
        raise ValueError(BAD_GROUPS.format(df=df, n1=n1, n2=n2))
    return _from_t(t, df, float(np.sqrt(1 / n1 + 1 / n2)), ci)


def _from_t(
    t: ArrayLike, df: float, scale: float, ci: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return g and its limits from t, where δ is the noncentrality times ``scale``."""
    values = np.asarray(t, dtype=float)
    size = np.abs(values).ravel()
    # The interval of -t is that of t with signs and ends exchanged.
    near = (_bounds(size, df, (1 + ci) / 2) * scale).reshape(values.shape)
    far = (_bounds(size, df, (1 - ci) / 2) * scale).reshape(values.shape)
    positive = values >= 0
    lower = np.where(positive, near, -far)
    upper = np.where(positive, far, -near)
    return correction(df) * values * scale, lower, upper


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedEffects:
    """Two named sizes of a paired difference; arrays (n_voxels,) with confidence limits.

    ``d_z`` is in units of the differences' standard deviation and grows with the correlation of
    the measurements; ``g_av`` in units of the average of both, as between groups.
    """

    d_z: FloatArray
    d_z_lower: FloatArray
    d_z_upper: FloatArray
    g_av: FloatArray
    g_av_lower: FloatArray
    g_av_upper: FloatArray


def paired_effects(after: ArrayLike, before: ArrayLike, ci: float = 0.95) -> PairedEffects:
    """Return the sizes of the difference of two measurements of the same participants.

    Parameters
    ----------
    after, before : (n_participants, n_voxels) arrays
        In the same order of participants.
    ci : float
        Confidence level.

    Returns
    -------
    PairedEffects
        NaN where the differences do not vary.

    Raises
    ------
    ValueError
        Shapes that differ, or fewer than 3 participants.

    Notes
    -----
    d_z = m / s_diff, with the exact interval of the noncentral t. g_av = J m / ((s₁ + s₂)/2), J of
    n − 1 df (Lakens 2013, doi:10.3389/fpsyg.2013.00863); its interval is that of d_z in the other
    unit (Algina & Keselman 2003, doi:10.1177/0013164403256358), without J.

    Examples
    --------
    >>> found = paired_effects([[3.0], [5.0], [4.0], [6.0]], [[2.0], [3.0], [4.0], [4.0]])
    >>> found.d_z.round(3).tolist(), found.g_av.round(3).tolist()
    ([1.306], [0.805])
    """
    second, first = np.asarray(after, dtype=float), np.asarray(before, dtype=float)
    if second.shape != first.shape or len(first) < 3:
        raise ValueError(BAD_PAIRS.format(found=(second.shape, first.shape)))
    n, difference = len(first), second - first
    spread = difference.std(axis=0, ddof=1)
    spread = np.where(spread > 1e-10 * np.abs(difference).max(axis=0), spread, np.nan)
    d_z = difference.mean(axis=0) / spread
    _, lower, upper = _from_t(d_z * np.sqrt(n), n - 1, float(np.sqrt(1 / n)), ci)
    unit = 2 * spread / (first.std(axis=0, ddof=1) + second.std(axis=0, ddof=1))
    return PairedEffects(
        d_z=d_z,
        d_z_lower=lower,
        d_z_upper=upper,
        g_av=correction(n - 1) * d_z * unit,
        g_av_lower=lower * unit,
        g_av_upper=upper * unit,
    )


def partial_eta_squared(f: ArrayLike, df1: int, df2: int) -> FloatArray:
    """Return partial η², the share of the remaining variance that an F contrast explains.

    Parameters
    ----------
    f : array
    df1, df2 : int

    Returns
    -------
    array like ``f``
        df₁ F / (df₁ F + df₂).

    Raises
    ------
    ValueError
        Degrees of freedom under 1.

    Examples
    --------
    >>> partial_eta_squared(5.0, 2, 40).round(2).item()
    0.2
    """
    if min(df1, df2) < 1:
        raise ValueError(BAD_DF.format(df1=df1, df2=df2))
    scaled = df1 * np.asarray(f, dtype=float)
    return np.asarray(scaled / (scaled + df2))


def correction(df: float) -> float:
    """Return Hedges' J, the factor that removes the bias of d.

    Examples
    --------
    >>> round(correction(38), 4)
    0.9801
    """
    return float(np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2))


def noncentrality(t: float, df: float, probability: float) -> float:
    """Return the noncentrality whose distribution has ``probability`` below t.

    Parameters
    ----------
    t : float
    df : float
    probability : float
        Between 0 and 1.

    Returns
    -------
    float
    """
    # Normal approximation of the noncentral t, to start a bracket from.
    centre = t - stats.norm.ppf(probability) * np.sqrt(1 + t**2 / (2 * df))
    step = 1.0 + abs(t) / np.sqrt(df)

    def excess(shift: float) -> float:
        below = float(stats.nct.cdf(t, df, shift))
        # scipy finds no number far out, with few degrees of freedom: there it is all or nothing.
        return (below if np.isfinite(below) else float(shift < t)) - probability

    low, high = centre - step, centre + step
    while excess(low) < 0:
        low -= step
    while excess(high) > 0:
        high += step
    return float(optimize.brentq(excess, low, high, xtol=1e-9))


def _bounds(size: FloatArray, df: float, probability: float) -> FloatArray:
    """Return the noncentralities for sizes of t, exact for few and from a table for many.

    The table is even in arcsinh(t): dense where maps have their values, sparse far out, where
    the bounds are all but straight. Interpolation is monotone (PCHIP); the error in g stays
    under 1e-3.
    """
    result = np.full(size.shape, np.nan)
    known = np.isfinite(size)
    if not known.any():
        return result
    if known.sum() <= SMALL:
        result[known] = [noncentrality(float(t), df, probability) for t in size[known]]
        return result
    nodes = np.sinh(np.linspace(0.0, np.arcsinh(size[known].max()) * (1 + 1e-12), N_NODES))
    table = [noncentrality(float(t), df, probability) for t in nodes]
    result[known] = PchipInterpolator(nodes, table, extrapolate=True)(size[known])
    return result
