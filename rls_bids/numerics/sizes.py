"""The effect size that goes with a test: which one, and its confidence limits."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rls_bids.numerics.effects import partial_eta_squared, standardised

VERSION = "1"

SizeKind = Literal["hedgesg", "dz", "partialr", "partialeta2"]

MIN_DF_OF_G = 2

FloatArray = NDArray[np.float64]


def effect_size(
    kind: SizeKind, statistic: ArrayLike, df: tuple[int, int], scale: float = 1.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the effect size of a test, with 95 % confidence limits.

    Parameters
    ----------
    kind : str
        ``hedgesg`` (difference of groups, corrected for small samples), ``dz`` (mean of one, such
        as a change), ``partialr`` (slope), ``partialeta2`` (F).
    statistic : array
        t, or F for ``partialeta2``.
    df : (int, int)
        Contrasts tested together, residual degrees of freedom.
    scale : float
        What leads from t to a standardised mean, √(Σ w²/n) over the groups with the weights w:
        √(1/n₁ + 1/n₂) for two, √(1/n) for one.

    Returns
    -------
    size, lower, upper : arrays like ``statistic``
        NaN where the size is not defined; partial η² has no limits.

    Notes
    -----
    Partial r = t / √(t² + df), its limits by Fisher's z with the standard error 1/√(df − 1)
    (Fisher 1924). The others are in :mod:`rls_bids.numerics.effects`.

    Examples
    --------
    >>> [round(float(x), 2) for x in effect_size("partialr", 2.5, (1, 38))]
    [0.38, 0.07, 0.62]
    """
    values = np.asarray(statistic, dtype=float)
    nothing = np.full(values.shape, np.nan)
    n_contrasts, residual = df
    if kind == "partialeta2":
        return partial_eta_squared(values, n_contrasts, residual), nothing, nothing
    if residual < MIN_DF_OF_G:
        return nothing, nothing, nothing
    if kind == "partialr":
        r = values / np.sqrt(values**2 + residual)
        reach = stats.norm.ppf(0.975) / np.sqrt(residual - 1)
        return r, np.tanh(np.arctanh(r) - reach), np.tanh(np.arctanh(r) + reach)
    return standardised(values, residual, scale, is_corrected=kind == "hedgesg")
