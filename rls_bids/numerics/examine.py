"""What else a small study owes its reader beside a test: how robust, how sure, how sensitive.

For each column of a table (a region, a quality number): a test that allows unequal variances,
the evidence for and against an effect, the smallest effect that the study could have found, and
how far single participants carry the result.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.errors import InputDataError
from rls_bids.numerics import association, evidence, glm, influence, motion
from rls_bids.numerics.sizes import SizeKind, effect_size

VERSION = "-".join(("1", association.VERSION, evidence.VERSION, glm.VERSION, influence.VERSION))

STANDARDISED = ("hedgesg", "dz")
MATCHED_D = 0.1
N_BAYES = ("bf10_medium", "bf10", "bf10_ultrawide")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """A contrast as the examination needs it.

    ``sides`` (n_participants,): 1 for the first group of the contrast, -1 for the second, 0 for
    neither; None where the mean of all is tested. ``mean_fd`` (n_participants,) in mm is for a
    subsample in which both groups moved alike. ``scale`` leads from t to a standardised mean;
    ``bound`` of equivalence is in the unit of the standardised effect, 0 for none.
    """

    design: ArrayLike
    contrast: ArrayLike
    size: SizeKind
    scale: float
    sides: ArrayLike | None = None
    mean_fd: ArrayLike | None = None
    bound: float = 0.0


def examine_columns(
    values: ArrayLike, question: Question, family_alpha: float = 0.05
) -> dict[str, FloatArray]:
    """Examine a single contrast in every column.

    Parameters
    ----------
    values : (n_participants, n_columns) array
        A column with a missing value gives NaN. Not changed.
    question : Question
        With one contrast, not several.
    family_alpha : float
        α that the correction over the columns leaves to each, for the second sensitivity.

    Returns
    -------
    dict of (n_columns,) arrays
        ``p_hc3``; for standardised effects ``bf10`` and two other widths of the prior,
        ``smallest_effect`` and ``smallest_effectFamily`` (found with 80 % power),
        ``p_equivalence`` where a bound was given; ``size_withoutOneMin``, ``size_withoutOneMax``
        (g without each participant), ``n_signFlips``; for two groups ``n_matched``,
        ``size_matched`` and ``p_matched``, g and p of those left when the ones who moved most (or
        least) are out, until mean FD differs by a tenth of its standard deviation; for slopes
        Spearman's ``rho`` with bootstrap limits. What is not defined is NaN.

    Notes
    -----
    The parts have their sources: :mod:`~rls_bids.numerics.glm` (HC3),
    :mod:`~rls_bids.numerics.evidence`, :mod:`~rls_bids.numerics.influence`,
    :mod:`~rls_bids.numerics.association`.

    Examples
    --------
    >>> design = np.repeat([[1.0, 0], [0, 1]], 5, axis=0)
    >>> values = np.arange(10.0)[:, None] ** 0.5
    >>> asked = Question(design=design, contrast=[1, -1], size="hedgesg", scale=0.4**0.5)
    >>> float(examine_columns(values, asked)["smallest_effect"][0].round(2))
    2.02
    """
    table = np.array(values, dtype=float)
    fitted = glm.fit(table, question.design, question.contrast)
    columns = {"p_hc3": _robust_p(table, question)}
    if question.size in STANDARDISED:
        columns |= _evidence(fitted, question, family_alpha)
    if question.size == "partialr":
        columns |= _rank_correlation(table, question)
        return columns
    if question.sides is not None and question.mean_fd is not None:
        columns |= _moved_alike(table, question)
    if fitted.df >= 3:  # with one participant left out 2 are needed
        columns |= _without_each(table, question)
    return columns


def _robust_p(table: FloatArray, question: Question) -> FloatArray:
    try:
        return glm.fit_robust(table, question.design, question.contrast).p
    except InputDataError:  # a participant who alone determines a parameter has no HC3 error
        return np.full(table.shape[1], np.nan)


def _evidence(
    fitted: glm.ContrastFit, question: Question, family_alpha: float
) -> dict[str, FloatArray]:
    n_effective, df = question.scale**-2, float(fitted.df)
    n_columns = len(fitted.t)
    columns = {
        name: np.array([evidence.bayes_factor(float(t), df, n_effective, r) for t in fitted.t])
        for name, r in zip(N_BAYES, evidence.SCALES, strict=True)
    }
    for name, alpha in (("smallest_effect", 0.05), ("smallest_effectFamily", family_alpha)):
        found = evidence.smallest_effect(df, n_effective, alpha=alpha)
        columns[name] = np.full(n_columns, found)
    if question.bound > 0:
        standardised = fitted.t * question.scale
        error = np.full(n_columns, question.scale**2)
        columns["p_equivalence"] = evidence.equivalence(standardised, error, df, question.bound).p
    return columns


def _without_each(table: FloatArray, question: Question) -> dict[str, FloatArray]:
    found = influence.leave_one_out(table, question.design, question.contrast, question.sides)
    known = np.isfinite(found.g).any(axis=0)
    low, high = np.full((2, table.shape[1]), np.nan)
    low[known], high[known] = np.nanmin(found.g[:, known], 0), np.nanmax(found.g[:, known], 0)
    flips = np.where(known, found.n_sign_flips, np.nan)
    return {"size_withoutOneMin": low, "size_withoutOneMax": high, "n_signFlips": flips}


def _moved_alike(table: FloatArray, question: Question) -> dict[str, FloatArray]:
    """Test again in those who are left when both groups have the same mean FD."""
    sides = np.asarray(question.sides, dtype=float)
    fd = np.asarray(question.mean_fd, dtype=float)
    names, m = ("n_matched", "size_matched", "p_matched"), table.shape[1]
    lost = dict.fromkeys(names, np.full(m, np.nan))
    counts = [np.count_nonzero(sides == side) for side in (1, -1)]
    if min(counts) < motion.MIN_GROUP or not np.isfinite(fd[sides != 0]).all():
        return lost
    moved, inside = fd[sides != 0], sides[sides != 0] > 0
    spread = np.sqrt(np.mean([moved[inside].var(ddof=1), moved[~inside].var(ddof=1)]))
    found = motion.trim_motion(moved, inside, MATCHED_D * spread)
    kept = np.ones(len(fd), dtype=bool)
    kept[sides != 0] = found.kept
    design = np.asarray(question.design, dtype=float)[kept]
    if not found.is_matched or kept.sum() <= np.linalg.matrix_rank(design):
        return lost
    fitted = glm.fit(table[kept], design, question.contrast)
    n1, n2 = (np.count_nonzero(sides[kept] == side) for side in (1, -1))
    size = effect_size(
        question.size, fitted.t, (1, int(fitted.df)), float(np.sqrt(1 / n1 + 1 / n2))
    )[0]
    return dict(zip(names, (np.full(m, float(kept.sum())), size, fitted.p), strict=True))


def _rank_correlation(table: FloatArray, question: Question) -> dict[str, FloatArray]:
    """Correlate by ranks with the column that the contrast is about, given all others."""
    design = np.asarray(question.design, dtype=float)
    weights = np.asarray(question.contrast, dtype=float)
    names = ("rho", "rho_ciLower", "rho_ciUpper")
    if np.count_nonzero(weights) != 1:  # a difference of slopes is no correlation
        return {name: np.full(table.shape[1], np.nan) for name in names}
    score = design[:, weights.argmax() if weights.max() > 0 else weights.argmin()]
    others = design[:, weights == 0]
    others = others[:, np.ptp(others, axis=0) > 0]  # the constant is in every correlation
    sign = np.sign(weights.sum())
    rho = sign * association.partial_correlation(score, table, others, "spearman")
    limits = association.bootstrap_interval(score, table, others, "spearman")
    lower, upper = np.sort([sign * limits[0], sign * limits[1]], axis=0)
    return dict(zip(names, (rho, lower, upper), strict=True))
