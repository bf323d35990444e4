"""Mixed models for tables with missing sessions: a random constant for every participant.

For estimates; their p is approximate. A p by resampling comes from one contrast a participant
(see :mod:`rls_bids.numerics.exchangeability`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from rls_bids.errors import InputDataError
from rls_bids.numerics.glm import ContrastFit, fit, partition

VERSION = "1"

BAD_ROWS = "Values, design and participants have {found} rows; expected the same number of each."
BAD_CONTRAST = "The contrast has {found} weights for {expected} columns of the design."
NOT_REPEATED = "No participant has more than one row, so that a mixed model is not needed."
NOT_REPEATED_HINT = "Use the ordinary linear model."
NOT_FINITE = "The design has missing values in {n} rows; expected a number in each."
NOT_FINITE_HINT = "Leave these sessions out."
NO_DF = (
    "{n} participants and {rank} parameters between them leave no degrees of freedom; at least "
    "one participant more is needed."
)
NO_DF_HINT = "Add participants, or leave covariates out."

REML = "REML"
MEANS = "participant means"
WITHIN = "within participants"
ROWS = "rows"
EDGE = "The mixed model ended at a boundary of its variances; "
NOTES = {
    REML: "Mixed model with a random constant a participant; its p is approximate.",
    MEANS: EDGE + "least squares on the participants' means instead.",
    WITHIN: EDGE + "least squares with a constant for each participant instead.",
    ROWS: EDGE + "least squares on all sessions instead, as if each were of another participant.",
}

RANK = 1e-9
SMALLEST_SHARE = 1e-6
# The search is over the share ρ of the variance that lies between participants.
GRID = np.concatenate(
    [[0.0], np.linspace(0.01, 0.95, 48), 1 - np.geomspace(0.03, SMALLEST_SHARE, 16)]
)
N_STEPS = 40
BATCH_VALUES = 2**20
GOLDEN = (np.sqrt(5) - 1) / 2

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedFit:
    """One contrast in every column of a table; arrays are (n_columns,), NaN where not estimated.

    ``p`` is two-sided from t with ``df`` degrees of freedom and **approximate**; ``lower`` and
    ``upper`` are limits of the effect. ``between`` and ``within`` are the variances between and
    within participants (NaN unless ``method`` is REML), ``n_rows`` and ``n_participants`` those
    with a value. ``method`` says how it was estimated, a key of ``NOTES``, or "".
    """

    effect: FloatArray
    variance: FloatArray
    t: FloatArray
    p: FloatArray
    lower: FloatArray
    upper: FloatArray
    df: FloatArray
    between: FloatArray
    within: FloatArray
    n_rows: IntArray
    n_participants: IntArray
    method: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What columns with the same rows share; the effect is ``scale`` times the first score Qᵀy."""

    design: FloatArray
    contrast: FloatArray
    basis: FloatArray  # Q (n, rank), orthonormal
    scale: float
    numbers: IntArray  # (n,) participant of each row
    sizes: FloatArray  # (m,) rows of each participant
    is_within: bool
    df: int


def fit_mixed(
    values: ArrayLike,
    design: ArrayLike,
    contrast: ArrayLike,
    participants: ArrayLike,
    level: float = 0.95,
) -> MixedFit:
    """Estimate a contrast in every column of a table with one row a participant and session.

    Parameters
    ----------
    values : (n_rows, n_columns) array
        NaN where a session lacks this column; its row is then left out for the column. Not
        changed.
    design : (n_rows, n_regressors) array
        With its constant.
    contrast : (n_regressors,) array
    participants : (n_rows,) labels
        In any order; participants may have any number of rows.
    level : float
        Of the limits.

    Returns
    -------
    MixedFit
        NaN where the rows that are there cannot estimate the contrast or leave no degrees of
        freedom.

    Raises
    ------
    InputDataError
        Nobody has a second row, missing values in the design, too few participants.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    y = Xβ + u + e with var u = ρσ² and var e = (1 − ρ)σ². ρ maximises the restricted likelihood
    (Patterson & Thompson 1971, doi:10.1093/biomet/58.3.545), profiled over β and σ², for all
    columns at once. Degrees of freedom are those between participants: their number less the
    columns of the design that do not change within them; for a contrast within participants only
    those count who have two sessions that differ in the design. With complete sessions t is that
    of the paired or of the two-sample test of means.

    Where ρ comes out as 0, generalised least squares takes every session for a participant of its
    own. A contrast between participants is then estimated from their means, one within them with
    a constant for each (as in a paired test), any other from all rows. The same if ρ is 1.

    Examples
    --------
    >>> design = np.tile([[1.0, 0.0], [1.0, 1.0]], (4, 1))  # constant, second session
    >>> values = np.array([[1.0], [2], [3], [5], [2], [2.5], [6], [np.nan]])
    >>> found = fit_mixed(values, design, [0, 1], np.repeat(list("abcd"), 2))
    >>> found.effect.round(2).tolist(), found.df.tolist(), found.method
    ([1.11], [2.0], ('REML',))
    """
    table, columns = np.asarray(values, dtype=float), np.asarray(design, dtype=float)
    weights, labels = np.asarray(contrast, dtype=float), np.asarray(participants)
    _check(table, columns, weights, labels)
    n_columns = table.shape[1]
    _prepare(columns, weights, labels)  # says what is wrong with the design as a whole
    found = np.full((5, n_columns), np.nan)
    methods = np.full(n_columns, "", dtype=object)
    is_there = np.isfinite(table)
    n_participants = np.zeros(n_columns, dtype=np.intp)
    patterns, kind = np.unique(is_there, axis=1, return_inverse=True)
    for number, rows in enumerate(patterns.T):
        mine = np.flatnonzero(kind.reshape(-1) == number)
        if not rows.any():
            continue
        n_participants[mine] = len(np.unique(labels[rows]))
        try:
            parts = _prepare(columns[rows], weights, labels[rows])
        except InputDataError:  # too little is left for these columns
            continue
        own = table[np.ix_(rows, mine)]
        found[:, mine], is_edge = _reml(own, parts)
        methods[mine] = REML
        if is_edge.any():
            methods[mine[is_edge]], found[:, mine[is_edge]] = _simple(own[:, is_edge], parts)
    is_lost = ~np.isfinite(found[:3]).all(axis=0)
    found[:, is_lost], methods[is_lost] = np.nan, ""
    effect, variance, df, between, within = found
    t = effect / np.sqrt(variance)
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance)
    return MixedFit(
        effect=effect,
        variance=variance,
        t=t,
        p=np.asarray(2 * special.stdtr(df, -np.abs(t))),
        lower=effect - half,
        upper=effect + half,
        df=df,
        between=between,
        within=within,
        n_rows=is_there.sum(axis=0),
        n_participants=n_participants,
        method=tuple(str(one) for one in methods),
    )


# --- parts --------------------------------------------------------------------------------------


def _check(
    table: FloatArray, columns: FloatArray, weights: FloatArray, labels: NDArray[np.generic]
) -> None:
    rows = (len(table), len(columns), len(labels))
    if table.ndim != 2 or columns.ndim != 2 or len(set(rows)) > 1:
        raise ValueError(BAD_ROWS.format(found=rows))
    if weights.shape != columns.shape[1:]:
        raise ValueError(BAD_CONTRAST.format(found=weights.size, expected=columns.shape[1]))
    n_missing = int((~np.isfinite(columns)).any(axis=1).sum())
    if n_missing:
        raise InputDataError(NOT_FINITE.format(n=n_missing), NOT_FINITE_HINT)
    if len(np.unique(labels)) == len(labels):
        raise InputDataError(NOT_REPEATED, NOT_REPEATED_HINT)


def _prepare(columns: FloatArray, weights: FloatArray, labels: NDArray[np.generic]) -> _Parts:
    """Split the design at the contrast, and find its degrees of freedom."""
    split = partition(columns, weights)
    basis = np.hstack([split.effect, split.nuisance])
    _, numbers = np.unique(labels, return_inverse=True)
    sizes = np.bincount(numbers).astype(np.float64)
    deviations = basis - _means(basis, numbers, sizes)[numbers]
    _, values, right = np.linalg.svd(deviations, full_matrices=False)
    own = right[values > RANK]
    # A contrast is within participants if most of it is, and if deviations alone can tell it.
    is_told = np.linalg.norm(own[:, 0]) > 1 - 1e-6 if len(own) else False
    is_within = bool(is_told and np.linalg.norm(deviations[:, 0]) ** 2 >= 0.5)
    rank = basis.shape[1] - len(own)
    n_participants = len(sizes)
    if is_within:
        differs = np.bincount(numbers, (deviations**2).sum(axis=1)) > RANK**2
        n_participants = int(differs.sum())
    if n_participants - rank < 1:
        raise InputDataError(NO_DF.format(n=n_participants, rank=rank), NO_DF_HINT)
    return _Parts(
        design=columns,
        contrast=weights,
        basis=basis,
        scale=float(fit(basis[:, :1], columns, weights).effect[0]),
        numbers=numbers,
        sizes=sizes,
        is_within=is_within,
        df=n_participants - rank,
    )


def _means(rows: FloatArray, numbers: IntArray, sizes: FloatArray) -> FloatArray:
    """Return the mean of each participant's rows, (m, n_columns)."""
    sums = np.zeros((len(sizes), rows.shape[1]))
    np.add.at(sums, numbers, rows)
    return sums / sizes[:, None]


def _reml(values: FloatArray, parts: _Parts) -> tuple[FloatArray, BoolArray]:
    """Return the five rows of the result, and which columns ended at a boundary."""
    scores = parts.basis.T @ values
    residual = values - parts.basis @ scores
    square = (residual**2).sum(axis=0)
    square[square <= 1e-20 * (values**2).sum(axis=0)] = np.nan
    sums = [_means(one, parts.numbers, parts.sizes) * parts.sizes[:, None]
            for one in (residual, parts.basis)]  # fmt: skip
    profile = _Profile(square=square, sums=sums[0], basis=sums[1], sizes=parts.sizes,
                       df=len(values) - parts.basis.shape[1])  # fmt: skip
    step = max(BATCH_VALUES // sums[0].size, 1)
    criterion = np.concatenate([
        profile.at(np.tile(GRID[start : start + step, None], len(square)))[0]
        for start in range(0, len(GRID), step)
    ])  # fmt: skip
    best = np.where(np.isnan(criterion), np.inf, criterion).argmin(axis=0)
    low, high = GRID[np.maximum(best - 1, 0)], GRID[np.minimum(best + 1, len(GRID) - 1)]
    for _ in range(N_STEPS):
        inner = np.stack([low + (1 - GOLDEN) * (high - low), low + GOLDEN * (high - low)])
        is_left = np.less(*profile.at(inner)[0])
        low, high = np.where(is_left, low, inner[0]), np.where(is_left, inner[1], high)
    rho = (low + high) / 2
    value, within, first, inverse = profile.at(rho)
    is_edge = (value >= criterion[0] - 1e-10) | (rho > 1 - 2 * SMALLEST_SHARE)
    found = np.stack([
        parts.scale * (scores[0] + first),
        parts.scale**2 * within * inverse,
        np.where(np.isfinite(square), parts.df, np.nan),
        within * rho / (1 - rho),
        within,
    ])  # fmt: skip
    return found, is_edge & np.isfinite(square)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile:
    """The restricted likelihood as a function of ρ, from sums over each participant's rows."""

    square: FloatArray  # (c,) of residuals
    sums: FloatArray  # (m, c) of residuals
    basis: FloatArray  # (m, rank) of the orthonormal design
    sizes: FloatArray  # (m,)
    df: int

    def at(self, rho: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return −2 log likelihood, variance within, first score, its factor; all (..., c)."""
        ratio = (rho / (1 - rho))[..., None]
        weight = ratio / (1 + ratio * self.sizes)  # (..., c, m): V⁻¹ = I − weight · J
        rank = self.basis.shape[1]
        pairs = (self.basis[:, :, None] * self.basis[:, None]).reshape(len(self.sizes), -1)
        gram = np.eye(rank) - (weight @ pairs).reshape(*rho.shape, rank, rank)
        moment = -(weight * self.sums.T) @ self.basis
        inverse = np.linalg.inv(gram)
        scores = (inverse @ moment[..., None])[..., 0]
        left = (
            self.square - (weight * self.sums.T**2).sum(axis=-1) - (scores * moment).sum(axis=-1)
        )
        left = np.maximum(left, 1e-300)
        determinants = np.log1p(ratio * self.sizes).sum(axis=-1) + np.linalg.slogdet(gram)[1]
        value = self.df * np.log(left) + determinants
        within: FloatArray = left / self.df
        first, factor = np.asarray(scores[..., 0]), np.asarray(inverse[..., 0, 0], float)
        return np.asarray(value), within, first, factor


def _simple(values: FloatArray, parts: _Parts) -> tuple[str, FloatArray]:
    """Return what least squares find where a variance is at its boundary."""
    means = [_means(one, parts.numbers, parts.sizes) for one in (values, parts.design)]
    if parts.is_within:
        apart = [one - mean[parts.numbers]
                 for one, mean in zip((values, parts.design), means, strict=True)]  # fmt: skip
        fitted = fit(apart[0], apart[1], parts.contrast)
        left = fitted.df - len(parts.sizes)
        factor = fitted.df / left if left > 0 else float("nan")
        return WITHIN, _rows(fitted, parts.df, factor)
    try:
        fitted = fit(means[0], means[1], parts.contrast)
    except InputDataError:  # neither between nor within participants
        return ROWS, _rows(fit(values, parts.design, parts.contrast), parts.df)
    return MEANS, _rows(fitted, fitted.df)


def _rows(fitted: ContrastFit, df: int, factor: float = 1.0) -> FloatArray:
    """Return a fit as the five rows of the result, without variances."""
    nothing = np.full(len(fitted.effect), np.nan)
    return np.stack(
        [fitted.effect, factor * fitted.variance, np.full(len(nothing), df), nothing, nothing]
    )
