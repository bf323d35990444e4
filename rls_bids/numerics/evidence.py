"""What a study could find, and what it could not: Bayes factor, equivalence, sensitivity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, optimize, special, stats

VERSION = "1"

BAD_SIZE = "df is {df} and the effective sample size {n:g}; expected 1 or more and more than 0."
BAD_BOUND = "The bound of equivalence is {found:g}; expected more than 0."
BAD_SHARE = "Power is {power:g} and α {alpha:g}; expected 0 < α < power < 1."

SCALES = (0.5, 0.5**0.5, 1.0)

FloatArray = NDArray[np.float64]


def effective_size(n1: int, n2: int | None = None) -> float:
    """Return the sample size that a t value carries: t = δ √n_e on average.

    Parameters
    ----------
    n1 : int
        Participants of a one-sample or paired test, or of the first group.
    n2 : int, optional
        Participants of the second group.

    Returns
    -------
    float

    Examples
    --------
    >>> effective_size(20), effective_size(20, 20)
    (20.0, 10.0)
    """
    return float(n1) if n2 is None else n1 * n2 / (n1 + n2)


def bayes_factor(t: float, df: float, size: float, scale: float = SCALES[1]) -> float:
    """Return the evidence for an effect over none, from t (JZS Bayes factor).

    Parameters
    ----------
    t : float
    df : float
        Residual degrees of freedom.
    size : float
        From :func:`effective_size`.
    scale : float
        Width r of the Cauchy prior on the standardised effect: half of it lies within ± r.

    Returns
    -------
    float
        Above 1 for an effect, below 1 for none; NaN where t is.

    Raises
    ------
    ValueError
        No degrees of freedom, no participants.

    Notes
    -----
    The ratio of the marginal likelihoods of t, over the variance g of the effect
    (Rouder 2009, doi:10.3758/PBR.16.2.225, with r² g in place of g). Integrated over log g, from
    the peak of the integrand.

    Examples
    --------
    >>> round(bayes_factor(-4.0621, 9, effective_size(10)), 2)
    17.26
    """
    if df < 1 or size <= 0:
        raise ValueError(BAD_SIZE.format(df=df, n=size))
    if np.isnan(t):
        return float("nan")
    null = -(df + 1) / 2 * np.log1p(t**2 / df)

    def log_integrand(log_g: float) -> float:
        g = np.exp(log_g)
        spread = 1 + size * scale**2 * g
        likelihood = -0.5 * np.log(spread) - (df + 1) / 2 * np.log1p(t**2 / (spread * df))
        prior = -0.5 * np.log(2 * np.pi) - 0.5 * log_g - 1 / (2 * g)
        return float(likelihood + prior - null)

    peak = optimize.minimize_scalar(lambda x: -log_integrand(x), bounds=(-8, 40), method="bounded")
    top = -float(peak.fun)
    parts = [
        integrate.quad(lambda x: np.exp(log_integrand(x) - top), low, high, limit=200)[0]
        for low, high in ((peak.x - 12, peak.x), (peak.x, peak.x + 80))
    ]
    return float(np.exp(top) * sum(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Two one-sided tests; arrays like the effect.

    ``p`` is the larger of both: small where the effect lies within ± bound. ``lower`` and
    ``upper`` are the interval whose inclusion in ± bound is the same test at α.
    """

    p: FloatArray
    lower: FloatArray
    upper: FloatArray


def equivalence(
    effect: ArrayLike, variance: ArrayLike, df: float, bound: float, alpha: float = 0.05
) -> Equivalence:
    """Test that an effect is smaller than a bound, in either direction (Schuirmann 1987).

    Parameters
    ----------
    effect, variance : arrays
        Estimate and its sampling variance.
    df : float
    bound : float
        In the unit of the effect, chosen before the data were seen.
    alpha : float

    Returns
    -------
    Equivalence

    Raises
    ------
    ValueError
        A bound that is not positive.

    Notes
    -----
    p = max(P(T > (effect + bound)/s), P(T < (effect − bound)/s)), doi:10.1007/BF01068419.

    Examples
    --------
    >>> found = equivalence(0.1, 0.01, 30, 0.5)
    >>> round(float(found.p), 5), round(float(found.upper), 3)
    (0.00019, 0.27)
    """
    if not bound > 0:
        raise ValueError(BAD_BOUND.format(found=bound))
    estimate, error = np.asarray(effect, dtype=float), np.sqrt(np.asarray(variance, dtype=float))
    low = special.stdtr(df, -(estimate + bound) / error)
    high = special.stdtr(df, (estimate - bound) / error)
    half = stats.t.ppf(1 - alpha, df) * error
    return Equivalence(
        p=np.asarray(np.maximum(low, high)),
        lower=np.asarray(estimate - half),
        upper=np.asarray(estimate + half),
    )


def smallest_effect(df: float, size: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest standardised effect that a two-sided t test finds with a given power.

    Parameters
    ----------
    df : float
        Residual degrees of freedom.
    size : float
        From :func:`effective_size`.
    alpha : float
        Two-sided; .05, or what the correction over a family leaves.
    power : float

    Returns
    -------
    float
        Cohen's d.

    Raises
    ------
    ValueError
        No degrees of freedom, no participants, or power not above α.

    Notes
    -----
    d solves P(T > t_crit) + P(T < −t_crit) = power, T noncentral with d √n_e.

    Examples
    --------
    >>> round(smallest_effect(38, effective_size(20, 20)), 3)
    0.909
    """
    if df < 1 or size <= 0:
        raise ValueError(BAD_SIZE.format(df=df, n=size))
    if not 0 < alpha < power < 1:
        raise ValueError(BAD_SHARE.format(power=power, alpha=alpha))
    limit = stats.t.isf(alpha / 2, df)

    def missing(shift: float) -> float:
        # The far tail adds nothing that floats can hold for large shifts, where scipy has NaN.
        far = np.nan_to_num(stats.nct.cdf(-limit, df, shift))
        return float(stats.nct.sf(limit, df, shift) + far - power)

    high = limit + 1.0
    while missing(high) < 0:
        high *= 1.5
    return float(optimize.brentq(missing, 0.0, high, xtol=1e-10)) / float(np.sqrt(size))
