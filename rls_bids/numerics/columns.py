"""Group comparisons of tables: one number a participant and column, corrected over the columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.glm import fit
from rls_bids.numerics.permutation import Rules, permutation_test
from rls_bids.numerics.sizes import SizeKind, effect_size
from rls_bids.numerics.statistic import prepare_statistic

VERSION = "1"

BAD_TABLE = "Values have the shape {found}; expected one row for each of {n} rows of the design."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnTests:
    """One contrast in every column of a table; arrays are (n_columns,), NaN where not tested.

    ``effect`` is the adjusted difference in the unit of the column, ``p`` two-sided from t,
    ``p_permutation`` from resampling, both for the column alone; ``p_fwe`` holds over all columns.
    ``g`` is the effect size with its 95 % limits. ``maxima`` (n_resamplings,) hold the
    largest size of z in each resampling, the data first; empty where no column was tested.
    """

    effect: FloatArray
    t: FloatArray
    p: FloatArray
    p_permutation: FloatArray
    p_fwe: FloatArray
    g: FloatArray
    g_lower: FloatArray
    g_upper: FloatArray
    df: int
    maxima: FloatArray


def compare_columns(
    values: ArrayLike,
    design: ArrayLike,
    contrast: ArrayLike,
    resamplings: Resamplings,
    size: tuple[SizeKind, float],
) -> ColumnTests:
    """Test a contrast in every column, family-wise over the columns.

    Parameters
    ----------
    values : (n_participants, n_columns) array
        One number a participant and column, in any unit. A column with a missing value, or whose
        residuals vanish, is not tested. Not changed.
    design : (n_participants, n_regressors) array
    contrast : (n_regressors,) array
    resamplings : Resamplings
        The same for several tables make their ``maxima`` comparable
        (:func:`~rls_bids.numerics.family.correct_family`).
    size : (str, float)
        Which effect size, and its scale (:func:`~rls_bids.numerics.sizes.effect_size`).

    Returns
    -------
    ColumnTests

    Raises
    ------
    InputDataError
        No residual degrees of freedom, or a contrast that the design cannot estimate.
    ValueError
        Not one row a participant.

    Notes
    -----
    t by ordinary least squares. The residuals of the reduced model are resampled (Freedman &
    Lane 1983, doi:10.1080/07350015.1983.10509354); single step: each |z| is compared with the
    largest |z| over all columns in the same resampling (Westfall & Young 1993).

    Examples
    --------
    >>> from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
    >>> design = np.repeat([[1.0, 0], [0, 1]], 4, axis=0)
    >>> values = np.array([[5.0, 1], [6, 2], [7, 3], [8, 5], [1, 4], [2, 3], [3, 2], [4, 2]])
    >>> chosen = choose_exchangeability(design, [1, -1])
    >>> drawn = draw_resamplings(chosen, design, 100, 0)
    >>> found = compare_columns(values, design, [1, -1], drawn, ("hedgesg", 0.5**0.5))
    >>> found.effect.tolist(), found.p_fwe.round(3).tolist()
    ([4.0, 0.0], [0.029, 1.0])
    """
    table = np.array(values, dtype=float)
    if table.ndim != 2 or len(table) != len(np.asarray(design)):
        raise ValueError(BAD_TABLE.format(found=table.shape, n=len(np.asarray(design))))
    fitted = fit(table, design, contrast)
    tested = np.isfinite(fitted.t)
    alone, over_all = np.full(len(tested), np.nan), np.full(len(tested), np.nan)
    maxima = np.zeros(0)
    if tested.any():
        found = permutation_test(
            np.ascontiguousarray(table[:, tested]),
            prepare_statistic(design, contrast),
            resamplings,
            rules=Rules(is_enhanced=False),
        )
        alone[tested], over_all[tested] = found.p, found.p_voxel
        maxima = found.maxima.voxel
    kind, scale = size
    g = effect_size(kind, np.where(tested, fitted.t, np.nan), (1, fitted.df), scale)
    return ColumnTests(
        effect=np.where(tested, fitted.effect, np.nan),
        t=np.where(tested, fitted.t, np.nan),
        p=np.where(tested, fitted.p, np.nan),
        p_permutation=alone,
        p_fwe=over_all,
        g=g[0],
        g_lower=g[1],
        g_upper=g[2],
        df=fitted.df,
        maxima=maxima,
    )


def mean_interval(
    values: ArrayLike, level: float = 0.95
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the mean of every column with its confidence limits.

    Parameters
    ----------
    values : (n_participants, n_columns) array
        Missing values are left out.
    level : float

    Returns
    -------
    mean, lower, upper : (n_columns,) arrays
        Mean ∓ t · SD / √n. NaN without values; limits are NaN for a single value.

    Examples
    --------
    >>> [round(float(x[0]), 2) for x in mean_interval([[1.0], [2.0], [3.0]])]
    [2.0, -0.48, 4.48]
    """
    table = np.asarray(values, dtype=float)
    is_there = np.isfinite(table)
    n = is_there.sum(axis=0)
    known = np.where(is_there, table, 0.0)
    mean = np.where(n > 0, known.sum(axis=0) / np.maximum(n, 1), np.nan)
    squares = (np.where(is_there, table - mean, 0.0) ** 2).sum(axis=0)
    df = np.maximum(n - 1, 1)
    error = np.sqrt(squares / df / np.maximum(n, 1)) * stats.t.ppf((1 + level) / 2, df)
    reach = np.where(n > 1, error, np.nan)
    return mean, mean - reach, mean + reach
