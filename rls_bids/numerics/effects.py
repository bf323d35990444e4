"""Standardised effect sizes with exact confidence intervals."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from scipy.interpolate import PchipInterpolator

VERSION = "1"

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
    values = np.asarray(t, dtype=float)
    scale = np.sqrt(1 / n1 + 1 / n2)
    size = np.abs(values).ravel()
    # The interval of -t is that of t with signs and ends exchanged.
    near = (_bounds(size, df, (1 + ci) / 2) * scale).reshape(values.shape)
    far = (_bounds(size, df, (1 - ci) / 2) * scale).reshape(values.shape)
    positive = values >= 0
    lower = np.where(positive, near, -far)
    upper = np.where(positive, far, -near)
    return correction(df) * values * scale, lower, upper


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
        return float(stats.nct.cdf(t, df, shift)) - probability

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
