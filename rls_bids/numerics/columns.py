"""Group comparisons of tables: one number a participant and column, corrected over the columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rls_bids.numerics import glm
from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.ftest import fit_f
from rls_bids.numerics.permutation import Rules, permutation_test
from rls_bids.numerics.sizes import SizeKind, effect_size
from rls_bids.numerics.statistic import Statistic, pillai_df, prepare_statistic, reduce
from rls_bids.numerics.welch import fit_welch

VERSION = "2"

BAD_TABLE = "Values have the shape {found}; expected one row for each of {n} rows of the design."
BAD_SESSIONS = "Values have the shape {found}; expected {n} rows (sessions) for each participant."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnTests:
    """One test in every column of a table; arrays are (n_columns,), NaN where not tested.

    ``name`` says what ``statistic`` is: t, F, v (Welch), G (Welch, several contrasts) or Pillai
    (the F of Pillai's trace). ``effect`` is the adjusted difference in the unit of the column,
    NaN where several contrasts or measurements are tested together; ``df`` are the residual
    degrees of freedom. ``p`` (two-sided for t and v) and ``p_permutation`` from resampling are
    for the column alone; ``p_fwe`` holds over all columns. ``size`` is the effect size with its
    95 % limits. ``maxima`` (n_resamplings,) hold the largest size of z in each resampling, the
    data first; empty where no column was tested.
    """

    name: str
    effect: FloatArray
    statistic: FloatArray
    df: FloatArray
    p: FloatArray
    p_permutation: FloatArray
    p_fwe: FloatArray
    size: FloatArray
    size_lower: FloatArray
    size_upper: FloatArray
    maxima: FloatArray


def compare_columns(
    values: ArrayLike,
    design: ArrayLike,
    contrast: ArrayLike,
    resamplings: Resamplings,
    size: tuple[SizeKind, float],
    *,
    variance_groups: ArrayLike | None = None,
) -> ColumnTests:
    """Test a contrast in every column, family-wise over the columns.

    Parameters
    ----------
    values : (n_participants, n_columns) or (n_participants, n_responses, n_columns) array
        One number a participant and column, in any unit, or several that are tested together. A
        column with a missing value, or whose residuals vanish, is not tested. Not changed.
    design : (n_participants, n_regressors) array
    contrast : (n_regressors,) or (n_contrasts, n_regressors) array
    resamplings : Resamplings
        The same for several tables make their ``maxima`` comparable
        (:func:`~rls_bids.numerics.family.correct_family`). Signs only, with variance groups.
    size : (str, float)
        Which effect size, and its scale (:func:`~rls_bids.numerics.sizes.effect_size`). With
        variance groups, too, it is made of the pooled t or F: a standardised difference needs one
        standard deviation.
    variance_groups : (n_participants,) labels, optional
        Groups whose residual variances may differ.

    Returns
    -------
    ColumnTests

    Raises
    ------
    InputDataError
        No residual degrees of freedom, or a contrast that the design cannot estimate.
    ValueError
        Not one row a participant; permutations, or several measurements, with variance groups.

    Notes
    -----
    t or F by ordinary least squares, Welch's v or Johansen's G with variance groups
    (:mod:`~rls_bids.numerics.welch`), the F of Pillai's trace for several measurements. The
    residuals of the reduced model are resampled (Freedman & Lane 1983,
    doi:10.1080/07350015.1983.10509354); single step: each |z| is compared with the largest |z|
    over all columns in the same resampling (Westfall & Young 1993).

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
    if table.ndim == 2:
        table = table[:, None]
    if table.ndim != 3 or len(table) != len(np.asarray(design)):
        found = np.shape(values)
        raise ValueError(BAD_TABLE.format(found=found, n=len(np.asarray(design))))
    test = prepare_statistic(
        design, contrast, variance_groups=variance_groups, n_responses=table.shape[1]
    )
    fitted = _fit(table, design, contrast, variance_groups, test)
    is_tested = np.isfinite(fitted.statistic)
    alone, over_all = np.full((2, len(is_tested)), np.nan)
    maxima = np.zeros(0)
    if is_tested.any():
        tried = permutation_test(
            np.ascontiguousarray(table[..., is_tested]),
            test,
            resamplings,
            rules=Rules(is_enhanced=False),
        )
        alone[is_tested], over_all[is_tested] = tried.p, tried.p_voxel
        maxima = tried.maxima.voxel
    kind, scale = size
    sizes = effect_size(kind, np.where(is_tested, fitted.pooled, np.nan), fitted.pooled_df, scale)
    return ColumnTests(
        name=test.name,
        effect=np.where(is_tested, fitted.effect, np.nan),
        statistic=fitted.statistic,
        df=np.where(is_tested, fitted.df, np.nan),
        p=np.where(is_tested, fitted.p, np.nan),
        p_permutation=alone,
        p_fwe=over_all,
        size=sizes[0],
        size_lower=sizes[1],
        size_upper=sizes[2],
        maxima=maxima,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """A test by its formula; ``pooled`` is t or F with one variance, for effect sizes."""

    effect: FloatArray
    statistic: FloatArray
    df: FloatArray
    p: FloatArray
    pooled: FloatArray
    pooled_df: tuple[int, int]


def _fit(
    table: FloatArray,
    design: ArrayLike,
    contrast: ArrayLike,
    variance_groups: ArrayLike | None,
    test: Statistic,
) -> _Fitted:
    """Test every column of (n_participants, n_responses, n_columns) values by its formula."""
    if test.name == "Pillai":
        return _fit_pillai(table, test)
    flat = table[:, 0]
    nothing = np.full(flat.shape[1], np.nan)
    if test.n_effects == 1:
        # Several rows that say the same make one contrast.
        one = glm.fit(flat, design, np.atleast_2d(np.asarray(contrast, dtype=float))[0])
        effect, pooled, p, df = one.effect, one.t, one.p, (1, int(one.df))
    else:
        several = fit_f(flat, design, contrast)
        effect, pooled, p, df = nothing, several.f, several.p, several.df
    about: dict[str, FloatArray] = {
        "statistic": pooled,
        "p": p,
        "df": np.full(flat.shape[1], float(df[1])),
    }
    if test.name in ("v", "G"):
        known = np.isfinite(pooled)
        about = {name: nothing.copy() for name in about}
        if known.any():
            welch = fit_welch(flat[:, known], design, contrast, np.asarray(variance_groups))
            for name, column in about.items():
                column[known] = getattr(welch, name)
    return _Fitted(effect=effect, pooled=pooled, pooled_df=df, **about)


def _fit_pillai(table: FloatArray, test: Statistic) -> _Fitted:
    """Test several measurements together: V = tr H (H + E)⁻¹ of every column, as F."""
    q, m = test.n_effects, test.n_responses
    residual = reduce(table, test)  # 0 where nothing can be tested
    scores = np.einsum("nq,nmv->qmv", test.basis[:, :q], residual)
    hypothesis = np.einsum("qmv,qkv->vmk", scores, scores)
    total = np.einsum("nmv,nkv->vmk", residual, residual)
    spread = np.sqrt(np.einsum("vmm->vm", total))
    is_known = (spread > 0).all(axis=1)
    correlation = total / np.where(
        is_known[:, None, None], spread[:, :, None] * spread[:, None], 1
    )
    is_known &= np.linalg.eigvalsh(correlation)[:, 0] > glm.CONSTANT
    trace = np.full(len(total), np.nan)
    solved = np.linalg.solve(total[is_known], hypothesis[is_known])
    trace[is_known] = np.trace(solved, axis1=1, axis2=2)
    df1, df2 = pillai_df(q, m, test.df)
    share = trace / min(q, m)
    # A trace of its largest value leaves no residual.
    share[share > 1 - glm.CONSTANT] = np.nan
    f = share / (1 - share) * df2 / df1
    return _Fitted(
        effect=np.full(len(f), np.nan),
        statistic=f,
        df=np.full(len(f), df2),
        p=stats.f.sf(f, df1, df2),
        pooled=f,
        pooled_df=(round(df1), round(df2)),
    )


def weigh_sessions(values: ArrayLike, responses: ArrayLike) -> FloatArray:
    """Return what a design tests of values of several sessions.

    Parameters
    ----------
    values : (n_participants · n_sessions, n_columns) array
        All sessions of the first participant, then of the second.
    responses : (n_responses, n_sessions) array
        Weights of the sessions, such as (−1, 1) for the change from the first to the second.

    Returns
    -------
    (n_participants, n_responses, n_columns) array
        Σ weight · value; NaN where a session is.

    Raises
    ------
    ValueError
        The rows are no multiple of the sessions.

    Examples
    --------
    >>> weigh_sessions([[1.0], [4.0], [2.0], [2.5]], [[-1, 1]]).tolist()
    [[[3.0]], [[0.5]]]
    """
    weights = np.asarray(responses, dtype=float)
    table = np.asarray(values, dtype=float)
    n_sessions = weights.shape[1]
    if table.ndim != 2 or len(table) % n_sessions:
        raise ValueError(BAD_SESSIONS.format(found=table.shape, n=n_sessions))
    by_session = table.reshape(len(table) // n_sessions, n_sessions, table.shape[1])
    return np.asarray(np.einsum("rs,nsv->nrv", weights, by_session))


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
