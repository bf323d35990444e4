"""The tail of a permutation distribution: small p values from few resamplings.

Beyond a high threshold a distribution is close to a generalised Pareto distribution, which is
fitted to the largest of the resampled values (Knijnenburg 2009,
doi:10.1093/bioinformatics/btp211; Winkler 2016, doi:10.1016/j.neuroimage.2016.05.068).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = "1"

TOO_FEW = "The tail is fitted to {least} or more resamplings; there are {found}."

MIN_RESAMPLINGS = 500
MIN_EXCEEDANCES = 30
FIRST_SHARE = 0.25
STEP_SHARE = 0.9
# Critical value (5 %) of the Anderson-Darling statistic with both parameters estimated: a line
# through simulated values, 125 exceedances, shapes -.5 to .5 (.84 to 1.10); see
# `benchmarks.inference`.
CRITICAL, CRITICAL_SLOPE = 0.965, -0.27
# The shape is drawn towards 0 as by so many exceedances of an exponential tail.
N_PRIOR = 20
# Squares of normal values are nearly exponential in their tail, maxima of them as well.
N_PRIOR_NORMAL = 60

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A fitted tail: P(X > threshold + y) = share · (1 + shape · y / scale)^(−1/shape)."""

    threshold: float
    scale: float
    shape: float
    share: float
    n_exceedances: int
    smallest_p: float


def fit_tail(resampled: ArrayLike, n_prior: int = N_PRIOR) -> Tail | None:
    """Fit the tail of a distribution of sampled resamplings.

    Parameters
    ----------
    resampled : (n_resamplings,) array
        Without the value of the data as they are.
    n_prior : int
        How many exceedances of an exponential tail the shape is drawn to.

    Returns
    -------
    Tail or None
        None where no part of the tail with 30 or more values has the form of a generalised Pareto
        distribution (Anderson–Darling at 5 %), such as a tail of few distinct values.

    Raises
    ------
    ValueError
        Fewer than 500 values.

    Notes
    -----
    The fit begins with the largest quarter and takes a tenth less until it holds. Estimates
    are those of Zhang & Stephens (2009, doi:10.1198/tech.2009.08017), the statistic is that of
    Choulakian & Stephens (2001, doi:10.1198/00401700152672573). Once the form holds, the shape is
    drawn a little towards an exponential tail, and the scale follows from the mean: extrapolation
    is steadier, and errs to the safe side.

    Examples
    --------
    >>> values = np.random.default_rng(0).exponential(size=2000)
    >>> tail = fit_tail(values)
    >>> tail.n_exceedances, round(tail.shape, 1)
    (500, 0.0)
    """
    values = np.sort(np.asarray(resampled, dtype=float))[::-1]
    n = len(values)
    if n < MIN_RESAMPLINGS:
        raise ValueError(TOO_FEW.format(least=MIN_RESAMPLINGS, found=n))
    n_exceedances = int(FIRST_SHARE * n)
    while n_exceedances >= MIN_EXCEEDANCES:
        threshold = (values[n_exceedances - 1] + values[n_exceedances]) / 2
        beyond = values[:n_exceedances][::-1] - threshold
        if beyond[0] > 0:  # else values are tied at the threshold
            shape, scale = _estimate(beyond)
            if _anderson_darling(beyond, shape, scale) < CRITICAL + CRITICAL_SLOPE * shape:
                shape *= n_exceedances / (n_exceedances + n_prior)
                return Tail(
                    threshold=float(threshold),
                    scale=float(beyond.mean()) * (1 - shape),
                    shape=shape,
                    share=(1 + n_exceedances) / (1 + n),
                    n_exceedances=n_exceedances,
                    smallest_p=1 / (10 * n),
                )
        n_exceedances = min(int(STEP_SHARE * n_exceedances), n_exceedances - 1)
    return None


def tail_p(maxima: ArrayLike, observed: ArrayLike, *, is_normal: bool = False) -> FloatArray:
    """Return p values, those in the tail from its fit.

    Parameters
    ----------
    maxima : (n_resamplings,) array
        Sampled, not exhaustive; the first is that of the data as they are.
    observed : array
    is_normal : bool
        The values are z values, or maxima of them: the tail is that of z |z|.

    Returns
    -------
    array like ``observed``
        (1 + b) / (1 + B) up to the threshold of the tail, or everywhere if no tail could be
        fitted; never below 1 / (10 B).

    Raises
    ------
    ValueError
        Fewer than 500 resamplings.

    Notes
    -----
    The tail of z is far from its limit (it is lighter than exponential however far out), that of
    z² is exponential but for a factor that changes slowly. So the shape can be drawn more to an
    exponential tail, and the estimate is both steadier and closer in the median.

    Examples
    --------
    >>> maxima = np.r_[9.0, np.random.default_rng(0).exponential(size=1000)]
    >>> tail_p(maxima, [0.0, 3.0, 9.0]).round(4).tolist()
    [1.0, 0.0496, 0.0003]
    """
    every = np.asarray(maxima, dtype=float)
    values = np.asarray(observed, dtype=float)
    below = np.searchsorted(np.sort(every[1:]), values - 1e-5 * np.abs(values), side="left")
    p = 1 - below / len(every)
    if is_normal:
        every, values = every * np.abs(every), values * np.abs(values)
    tail = fit_tail(every[1:], N_PRIOR_NORMAL if is_normal else N_PRIOR)
    if tail is None:
        return np.asarray(p)
    beyond = np.maximum(values - tail.threshold, 0.0)
    fitted = tail.share * np.exp(_log_tail(beyond, tail.shape, tail.scale))
    return np.where(values > tail.threshold, np.maximum(fitted, tail.smallest_p), p)


def _log_tail(beyond: FloatArray, shape: float, scale: float) -> FloatArray:
    """Return log P(Y > y); −inf beyond the end of a bounded tail."""
    if abs(shape) < 1e-9:
        return -beyond / scale
    inside = np.maximum(1 + shape * beyond / scale, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(inside) / shape)


def _estimate(beyond: FloatArray) -> tuple[float, float]:
    """Return shape and scale of a generalised Pareto distribution; ``beyond`` ascends from 0.

    The profile likelihood in θ = −shape / scale is averaged over a grid that the data suggest.
    """
    n = len(beyond)
    n_grid = 20 + int(np.sqrt(n))
    quartile = beyond[int(n / 4 + 0.5) - 1]
    steps = 1 - np.sqrt(n_grid / (np.arange(n_grid) + 0.5))
    theta = 1 / beyond[-1] + steps / (3 * quartile)
    shapes = np.log1p(-theta[:, None] * beyond).mean(axis=1)
    log_likelihood = n * (np.log(-theta / shapes) - shapes - 1)
    weights = np.exp(log_likelihood - log_likelihood.max())
    mean = float((weights * theta).sum() / weights.sum())
    shape = float(np.log1p(-mean * beyond).mean())
    return shape, -shape / mean


def _anderson_darling(beyond: FloatArray, shape: float, scale: float) -> float:
    """Return the Anderson–Darling distance of ascending values from a distribution."""
    n = len(beyond)
    log_above = np.maximum(_log_tail(beyond, shape, scale), -700.0)
    log_below = np.log(np.maximum(-np.expm1(log_above), 1e-300))
    weights = 2 * np.arange(1, n + 1) - 1
    return float(-n - (weights * (log_below + log_above[::-1])).sum() / n)
