"""Correlation of a score with the columns of a table: partial, by rank, with intervals and p."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from rls_bids.errors import InputDataError
from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.permutation import Rules, permutation_test
from rls_bids.numerics.statistic import prepare_statistic

VERSION = "1"

BAD_ROWS = "Score, values and covariates have {found} rows; expected the same number of each."
TOO_FEW = "A correlation with {k} covariates needs {least} participants or more; found {n}."
TOO_FEW_HINT = "Add participants, or leave covariates out."
NOT_FINITE = "The {name} has missing values in {n} rows; expected a number in each."
NOT_FINITE_HINT = "Leave these participants out."
EXPLAINED = "The score does not vary, or the covariates explain it fully; nothing is left of it."
EXPLAINED_HINT = "Leave out the covariate that repeats the score."
BAD_BOOTSTRAP = "Asked for {n} bootstrap samples at level {level:g}; expected 100 or more, 0 to 1."

BATCH_VALUES = 2**21
FLAT = 1e-10
MIN_VALID = 0.9

Method: TypeAlias = Literal["spearman", "pearson"]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How intervals are made: samples, seed, level; bias-corrected and accelerated or percentile.

    The same seed draws the same participants for every column.
    """

    n_samples: int = 2000
    seed: int = 0
    level: float = 0.95
    is_corrected: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """Correlation of a score with every column; arrays are (n_columns,), NaN where not tested.

    ``p`` is two-sided from t with ``df`` degrees of freedom, ``p_permutation`` from resampling,
    both for the column alone; ``p_fwe`` holds over all columns. ``lower`` and ``upper`` are
    bootstrap limits. ``maxima`` (n_resamplings,) hold the largest size of z in each resampling.
    """

    r: FloatArray
    lower: FloatArray
    upper: FloatArray
    p: FloatArray
    p_permutation: FloatArray
    p_fwe: FloatArray
    df: int
    maxima: FloatArray


def association_design(
    score: ArrayLike, covariates: ArrayLike | None = None, method: Method = "spearman"
) -> tuple[FloatArray, FloatArray]:
    """Return the linear model behind a partial correlation, to draw resamplings for.

    Parameters
    ----------
    score : (n_participants,) array
    covariates : (n_participants, n_covariates) array, optional
        Without a constant.
    method : {"spearman", "pearson"}

    Returns
    -------
    design : (n_participants, 2 + n_covariates) array
        Score, constant, covariates; as ranks for Spearman.
    contrast : (2 + n_covariates,) array
        1 for the score.

    Examples
    --------
    >>> design, contrast = association_design([3.0, 9.0, 1.0])
    >>> design[:, 0].tolist(), contrast.tolist()
    ([2.0, 3.0, 1.0], [1.0, 0.0])
    """
    column, others = _inputs(score, covariates)
    if method == "spearman":
        column, others = stats.rankdata(column), stats.rankdata(others, axis=0)
    design = np.column_stack([column, np.ones(len(column)), others])
    return design, np.eye(design.shape[1])[0]


def partial_correlation(
    score: ArrayLike,
    values: ArrayLike,
    covariates: ArrayLike | None = None,
    method: Method = "spearman",
) -> FloatArray:
    """Correlate a score with every column, both cleared of covariates.

    Parameters
    ----------
    score : (n_participants,) array
    values : (n_participants, n_columns) array
        A column with a missing value is not correlated.
    covariates : (n_participants, n_covariates) array, optional
    method : {"spearman", "pearson"}

    Returns
    -------
    (n_columns,) array
        NaN where the column does not vary beyond the covariates.

    Raises
    ------
    InputDataError
        Missing values in score or covariates, too few participants, a score that the covariates
        explain.
    ValueError
        Numbers of rows that differ.

    Notes
    -----
    r of the residuals from a constant and the covariates; for Spearman everything is ranked
    before (ties share their mean rank).

    Examples
    --------
    >>> partial_correlation([1.0, 2, 3, 4], [[1.0], [4.0], [9.0], [16.0]]).round(3).tolist()
    [1.0]
    """
    column, others, table = _checked(score, values, covariates)
    rows = np.arange(len(column))[None]
    return np.asarray(_resampled(column, table, others, rows, method)[0])


def bootstrap_interval(
    score: ArrayLike,
    values: ArrayLike,
    covariates: ArrayLike | None = None,
    method: Method = "spearman",
    bootstrap: Bootstrap | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return confidence limits of partial correlations by resampling participants.

    Parameters
    ----------
    score, values, covariates, method
        As in :func:`partial_correlation`.
    bootstrap : Bootstrap

    Returns
    -------
    lower, upper : (n_columns,) arrays
        NaN where r is, or where more than a tenth of the samples have no r.

    Raises
    ------
    InputDataError, ValueError
        As :func:`partial_correlation`; fewer than 100 samples.

    Notes
    -----
    Ranks and residuals are made anew in every sample. Corrected limits are the quantiles
    Φ(z₀ + (z₀ + z_α) / (1 − a (z₀ + z_α))), z₀ from the share of samples below r, a from the
    jackknife (Efron 1987, doi:10.1080/01621459.1987.10478410).

    Examples
    --------
    >>> score = np.arange(20.0)
    >>> lower, upper = bootstrap_interval(score, (score + score % 3 * 4)[:, None])
    >>> bool(0.3 < lower[0] < upper[0] < 1)
    True
    """
    used = bootstrap or Bootstrap()
    if used.n_samples < 100 or not 0 < used.level < 1:
        raise ValueError(BAD_BOOTSTRAP.format(n=used.n_samples, level=used.level))
    column, others, table = _checked(score, values, covariates)
    n = len(column)
    drawn = np.random.default_rng(used.seed).integers(0, n, (used.n_samples, n))
    samples = _resampled(column, table, others, drawn, method)
    observed = _resampled(column, table, others, np.arange(n)[None], method)[0]
    tails = np.array([(1 - used.level) / 2, (1 + used.level) / 2])[:, None]
    levels = np.broadcast_to(tails, (2, table.shape[1]))
    if used.is_corrected:
        left_out = np.array([np.delete(np.arange(n), i) for i in range(n)])
        jackknife = _resampled(column, table, others, left_out, method)
        levels = _corrected_levels(observed, samples, jackknife, tails)
    limits = np.full((2, table.shape[1]), np.nan)
    is_known = np.isfinite(samples)
    for j in np.flatnonzero(np.isfinite(observed) & (is_known.mean(axis=0) >= MIN_VALID)):
        if np.isfinite(levels[:, j]).all():
            limits[:, j] = np.quantile(samples[is_known[:, j], j], levels[:, j])
    return limits[0], limits[1]


def associate(
    score: ArrayLike,
    values: ArrayLike,
    resamplings: Resamplings,
    covariates: ArrayLike | None = None,
    *,
    method: Method = "spearman",
    bootstrap: Bootstrap | None = None,
) -> Association:
    """Correlate a score with every column, with intervals and p, family-wise over the columns.

    Parameters
    ----------
    score : (n_participants,) array
    values : (n_participants, n_columns) array
        A column with a missing value is not tested. Not changed.
    resamplings : Resamplings
        Drawn for :func:`association_design`.
    covariates : (n_participants, n_covariates) array, optional
    method : {"spearman", "pearson"}
    bootstrap : Bootstrap

    Returns
    -------
    Association

    Raises
    ------
    InputDataError, ValueError
        As :func:`partial_correlation` and :func:`bootstrap_interval`.

    Notes
    -----
    r and t = r √(df / (1 − r²)) with df = n − 2 − covariates are one test. Residuals of the model
    without the score are resampled (Freedman & Lane 1983, doi:10.1080/07350015.1983.10509354), of
    the ranks for Spearman.

    Examples
    --------
    >>> from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
    >>> score = np.array([4.0, 1, 6, 2, 5, 3, 7])
    >>> design, contrast = association_design(score)
    >>> drawn = draw_resamplings(choose_exchangeability(design, contrast), design, 10**4, 0)
    >>> found = associate(score, (score**2)[:, None], drawn)
    >>> found.r.tolist(), drawn.n_distinct, round(float(found.p_fwe[0]), 4)  # 2 of 5040
    ([1.0], 5040, 0.0004)
    """
    column, others, table = _checked(score, values, covariates)
    r = partial_correlation(column, table, others, method)
    lower, upper = bootstrap_interval(column, table, others, method, bootstrap)
    design, contrast = association_design(column, others, method)
    df = len(column) - design.shape[1]
    tested = np.isfinite(r)
    alone, over_all, maxima = np.full(len(r), np.nan), np.full(len(r), np.nan), np.zeros(0)
    if tested.any():
        kept = np.ascontiguousarray(table[:, tested])
        ranked = stats.rankdata(kept, axis=0) if method == "spearman" else kept
        found = permutation_test(
            ranked,
            prepare_statistic(design, contrast),
            resamplings,
            rules=Rules(is_enhanced=False),
        )
        alone[tested], over_all[tested] = found.p, found.p_voxel
        maxima = found.maxima.voxel
    with np.errstate(divide="ignore"):
        t = r * np.sqrt(df / (1 - r**2))
    return Association(
        r=r,
        lower=lower,
        upper=upper,
        p=np.asarray(2 * special.stdtr(df, -np.abs(t))),
        p_permutation=alone,
        p_fwe=over_all,
        df=df,
        maxima=maxima,
    )


# --- parts --------------------------------------------------------------------------------------


def _inputs(score: ArrayLike, covariates: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    """Return score and covariates as arrays of n rows."""
    column = np.asarray(score, dtype=float)
    if column.ndim != 1:
        raise ValueError(BAD_ROWS.format(found=column.shape))
    if covariates is None:
        return column, np.zeros((len(column), 0))
    others = np.asarray(covariates, dtype=float)
    return column, others[:, None] if others.ndim == 1 else others


def _checked(
    score: ArrayLike, values: ArrayLike, covariates: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return score, covariates and values, which fit and leave something to correlate."""
    column, others = _inputs(score, covariates)
    table = np.asarray(values, dtype=float)
    rows = (len(column), len(table), len(others))
    if table.ndim != 2 or len(set(rows)) > 1:
        raise ValueError(BAD_ROWS.format(found=rows))
    for name, one in (("score", column[:, None]), ("table of covariates", others)):
        n_missing = int((~np.isfinite(one)).any(axis=1).sum())
        if n_missing:
            raise InputDataError(NOT_FINITE.format(name=name, n=n_missing), NOT_FINITE_HINT)
    n, k = others.shape
    if n < k + 3:
        raise InputDataError(TOO_FEW.format(k=k, least=k + 3, n=n), TOO_FEW_HINT)
    rest = column - column.mean()
    basis = np.column_stack([np.ones(n), others])
    left = column - basis @ np.linalg.lstsq(basis, column)[0]
    if float(np.linalg.norm(left)) <= 1e-8 * max(float(np.linalg.norm(rest)), 1e-300):
        raise InputDataError(EXPLAINED, EXPLAINED_HINT)
    return column, others, table


def _resampled(
    score: FloatArray,
    table: FloatArray,
    others: FloatArray,
    rows: NDArray[np.intp],
    method: Method,
) -> FloatArray:
    """Return r of each list of rows, (n_samples, n_columns), in batches of samples."""
    found = np.full((len(rows), table.shape[1]), np.nan)
    is_whole = np.isfinite(table).all(axis=0)
    kept = table[:, is_whole]
    if not is_whole.any():
        return found
    step = max(BATCH_VALUES // max(rows.shape[1] * kept.shape[1], 1), 1)
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        parts = [np.take(score[:, None], chosen, axis=0), others[chosen], kept[chosen]]
        if method == "spearman":
            parts = [stats.rankdata(part, axis=1) if part.size else part for part in parts]
        found[start : start + step, is_whole] = _partial(*parts)
    return found


def _partial(score: FloatArray, others: FloatArray, values: FloatArray) -> FloatArray:
    """Return r of residuals for a batch: (B, n, 1), (B, n, k), (B, n, m) to (B, m)."""
    centred = [part - part.mean(axis=1, keepdims=True) for part in (score, others, values)]
    before = [np.linalg.norm(part, axis=1) for part in centred]
    if others.shape[2]:
        length = np.where(before[1] > 0, before[1], 1.0)[:, None]
        left, sizes, _ = np.linalg.svd(centred[1] / length, full_matrices=False)
        # Samples in which covariates repeat each other keep only what they span.
        left = left * (sizes > 1e-9 * np.maximum(sizes[:, :1], 1e-300))[:, None]
        for i in (0, 2):
            centred[i] = centred[i] - left @ (left.transpose(0, 2, 1) @ centred[i])
    lengths = [np.linalg.norm(centred[i], axis=1) for i in (0, 2)]
    for length, whole in zip(lengths, (before[0], before[2]), strict=True):
        length[length <= FLAT * np.maximum(whole, 1e-300)] = np.nan
    products = (centred[0].transpose(0, 2, 1) @ centred[2])[:, 0]
    return np.asarray(np.clip(products / lengths[0] / lengths[1], -1, 1))


def _corrected_levels(
    observed: FloatArray, samples: FloatArray, jackknife: FloatArray, tails: FloatArray
) -> FloatArray:
    """Return the quantiles of the BCa interval, (2, n_columns)."""
    below = (samples < observed).sum(axis=0) + (samples <= observed).sum(axis=0)
    n_known = np.maximum(np.isfinite(samples).sum(axis=0), 1)
    bias = special.ndtri(below / (2 * n_known))
    bias[~np.isfinite(bias)] = np.nan  # beyond all samples: there is no such interval
    deviation = jackknife.mean(axis=0) - jackknife
    squares = (deviation**2).sum(axis=0)
    acceleration = np.divide(
        (deviation**3).sum(axis=0),
        6 * squares**1.5,
        out=np.zeros(len(observed)),
        where=squares > 0,
    )
    reach = bias + special.ndtri(tails)
    return np.asarray(special.ndtr(bias + reach / (1 - acceleration * reach)))
