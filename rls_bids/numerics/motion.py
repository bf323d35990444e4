"""Head motion as a finding: what is left of it in connectivity, and groups that moved alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from scipy.optimize import linear_sum_assignment

from rls_bids.numerics.association import partial_correlation
from rls_bids.numerics.columns import ColumnTests

VERSION = "1"

BAD_LENGTHS = "There are {found} lengths for {expected} edges; expected one an edge."
BAD_GROUPS = "FD and groups have {found} rows, groups of {n1} and {n2}; expected 2 or more each."
NO_FD = "{n} participants have no mean FD; leave them out."
BAD_BOUND = "The bound of the difference in FD is {found:g} mm; expected 0 or more."
BAD_COLUMNS = "Strategy {name!r} has {found} columns, the first has {expected}."
NO_STRATEGY = "No strategy to compare; expected one or more."

P_LIMIT = 0.05
FORBIDDEN = 1e6
MIN_GROUP = 2

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class QcFc:
    """Correlation of mean framewise displacement with every edge over participants.

    ``r`` and ``p`` (n_edges,) are NaN for edges that were not tested. ``median_abs_r`` and
    ``share_significant`` (p < .05, uncorrected; .05 is expected by chance) are over the others,
    ``n_edges`` of them. ``distance_rho`` is Spearman's correlation of r with the length of edges
    (negative: motion adds to short connections); NaN without lengths.
    """

    r: FloatArray
    p: FloatArray
    n_edges: int
    median_abs_r: float
    share_significant: float
    distance_rho: float


def qc_fc(
    edges: ArrayLike,
    mean_fd: ArrayLike,
    covariates: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
) -> QcFc:
    """Correlate head motion with every edge, cleared of covariates.

    Parameters
    ----------
    edges : (n_participants, n_edges) array
        Fisher z; an edge with a missing value is not tested.
    mean_fd : (n_participants,) array
        mm.
    covariates : (n_participants, n_covariates) array, optional
        Such as age, sex and group.
    lengths : (n_edges,) array, optional
        Distance of the two nodes, mm.

    Returns
    -------
    QcFc

    Raises
    ------
    InputDataError, ValueError
        As :func:`~rls_bids.numerics.association.partial_correlation`; lengths of another number.

    Notes
    -----
    Partial Pearson r (Power 2015, doi:10.1016/j.neuroimage.2014.10.044; Ciric 2017,
    doi:10.1016/j.neuroimage.2017.03.020), p from t with n − 2 − covariates degrees of freedom.
    Edges are not independent, so that distance dependence has no p.

    Examples
    --------
    >>> fd = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    >>> edges = np.column_stack([fd + [0, 0.1, 0, 0, 0], [1.0, 0, 1, 0, 1], -fd])
    >>> found = qc_fc(edges, fd, lengths=[10.0, 40.0, 90.0])
    >>> found.r.round(2).tolist(), round(found.distance_rho, 3)
    ([0.96, 0.0, -1.0], -1.0)
    """
    r = partial_correlation(mean_fd, edges, covariates, "pearson")
    k = 0 if covariates is None else np.atleast_2d(np.asarray(covariates).T).shape[0]
    df = len(np.asarray(mean_fd)) - 2 - k
    with np.errstate(divide="ignore"):
        p = 2 * special.stdtr(df, -np.abs(r * np.sqrt(df / (1 - r**2))))
    tested = np.isfinite(r)
    n_edges = int(tested.sum())
    return QcFc(
        r=r,
        p=np.asarray(p),
        n_edges=n_edges,
        median_abs_r=float(np.median(np.abs(r[tested]))) if n_edges else float("nan"),
        share_significant=float((p[tested] < P_LIMIT).mean()) if n_edges else float("nan"),
        distance_rho=float("nan") if lengths is None else distance_dependence(r, lengths),
    )


def distance_dependence(r: ArrayLike, lengths: ArrayLike) -> float:
    """Return Spearman's correlation of QC-FC with the length of edges.

    Parameters
    ----------
    r, lengths : (n_edges,) arrays
        Edges without either are left out.

    Returns
    -------
    float
        NaN for fewer than 3 edges, or where one of both does not vary.

    Raises
    ------
    ValueError
        Numbers that differ.

    Examples
    --------
    >>> distance_dependence([0.3, 0.2, np.nan, 0.1], [10.0, 30.0, 1.0, 20.0])
    -0.5
    """
    values, length = np.asarray(r, dtype=float), np.asarray(lengths, dtype=float)
    if values.shape != length.shape:
        raise ValueError(BAD_LENGTHS.format(found=length.size, expected=values.size))
    there = np.isfinite(values) & np.isfinite(length)
    if there.sum() < 3:
        return float("nan")
    ranks = [stats.rankdata(one[there]) for one in (values, length)]
    centred = [one - one.mean() for one in ranks]
    scale = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return float(centred[0] @ centred[1]) / scale if scale > 0 else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionMatch:
    """Participants whose groups moved alike.

    ``kept`` (n_participants,) bool; ``pairs`` (n_pairs, 2) rows of the first and the second group,
    empty where participants were left out one by one. ``difference`` is mean FD of the first minus
    the second group (mm) before and after; ``d`` the same over the pooled standard deviation.
    ``is_matched``: the bound was met.
    """

    kept: BoolArray
    pairs: NDArray[np.intp]
    difference: tuple[float, float]
    d: tuple[float, float]
    is_matched: bool


def match_pairs(mean_fd: ArrayLike, is_first: ArrayLike, max_gap: float) -> MotionMatch:
    """Choose pairs across two groups that moved alike: as many as there are, then the nearest.

    Parameters
    ----------
    mean_fd : (n_participants,) array
        mm.
    is_first : (n_participants,) bool array
        True for the first group.
    max_gap : float
        Largest difference within a pair, mm.

    Returns
    -------
    MotionMatch
        Pairs in the order of the first group's rows. ``is_matched`` where two pairs or more
        were found.

    Raises
    ------
    ValueError
        Groups of fewer than 2, a missing FD, a negative bound.

    Notes
    -----
    The assignment with the smallest sum of gaps, a pair beyond the bound counting for more than
    all others together (Rosenbaum 1989, doi:10.1080/01621459.1989.10478868). No random numbers.

    Examples
    --------
    >>> fd = [0.10, 0.20, 0.60, 0.12, 0.19, 0.30]
    >>> found = match_pairs(fd, [True, True, True, False, False, False], 0.05)
    >>> found.pairs.tolist(), found.kept.astype(int).tolist()
    ([[0, 3], [1, 4]], [1, 1, 0, 1, 1, 0])
    """
    fd, first = _groups(mean_fd, is_first, max_gap)
    ones, others = np.flatnonzero(first), np.flatnonzero(~first)
    gaps = np.abs(fd[ones][:, None] - fd[others])
    is_near = gaps <= max_gap + 1e-12
    scale = max(float(gaps.max()), 1e-12)
    rows, columns = linear_sum_assignment(np.where(is_near, gaps / scale, FORBIDDEN))
    chosen = is_near[rows, columns]
    pairs = np.column_stack([ones[rows[chosen]], others[columns[chosen]]]).astype(np.intp)
    kept = np.zeros(len(fd), dtype=bool)
    kept[pairs.ravel()] = True
    return _described(fd, first, kept, pairs, is_matched=len(pairs) >= MIN_GROUP)


def trim_motion(mean_fd: ArrayLike, is_first: ArrayLike, bound: float) -> MotionMatch:
    """Leave participants out one by one until two groups differ in mean FD by a bound at most.

    Parameters
    ----------
    mean_fd : (n_participants,) array
        mm.
    is_first : (n_participants,) bool array
    bound : float
        Largest difference of the groups' means, mm.

    Returns
    -------
    MotionMatch
        ``is_matched`` is False where groups of 2 still differ by more.

    Raises
    ------
    ValueError
        Groups of fewer than 2, a missing FD, a negative bound.

    Notes
    -----
    Each step leaves out the participant without whom the difference is smallest: the one who moved
    most of the group that moved more, or least of the other. No random numbers; of equal ones the
    first. Who moves most may also be most ill, so that the subsample is another population: show
    its results beside those of all.

    Examples
    --------
    >>> found = trim_motion([0.1, 0.2, 0.9, 0.1, 0.2, 0.3], [1, 1, 1, 0, 0, 0], 0.1)
    >>> found.kept.astype(int).tolist(), [round(x, 2) for x in found.difference]
    ([1, 1, 0, 1, 1, 1], [0.2, -0.05])
    """
    fd, first = _groups(mean_fd, is_first, bound)
    kept = np.ones(len(fd), dtype=bool)
    while abs(_difference(fd, first, kept)) > bound + 1e-12:
        candidates = [
            row for row in np.flatnonzero(kept) if (kept & (first == first[row])).sum() > MIN_GROUP
        ]
        if not candidates:
            break
        left = [abs(_difference(fd, first, kept & (np.arange(len(fd)) != r))) for r in candidates]
        kept[candidates[int(np.argmin(np.round(left, 12)))]] = False
    is_matched = abs(_difference(fd, first, kept)) <= bound + 1e-12
    return _described(fd, first, kept, np.zeros((0, 2), dtype=np.intp), is_matched=is_matched)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyRow:
    """One denoising strategy beside others; arrays are (n_columns,).

    ``effect``, ``t``, ``p_fwe`` and ``g`` are of the group contrast. ``is_sign_kept`` tells where
    the sign is that of the first strategy, ``effect_r`` how effects correlate with its effects
    over the columns (NaN for fewer than 3). ``motion`` is its QC-FC, where it was measured.
    """

    name: str
    effect: FloatArray
    t: FloatArray
    p_fwe: FloatArray
    g: FloatArray
    is_sign_kept: BoolArray
    effect_r: float
    motion: QcFc | None


def compare_strategies(
    tests: Mapping[str, ColumnTests], motion: Mapping[str, QcFc] | None = None
) -> list[StrategyRow]:
    """Put the same contrast under several denoising strategies side by side.

    Parameters
    ----------
    tests : mapping of str to ColumnTests
        By name of the strategy, of the same columns of the same participants; the first is what
        others are compared with.
    motion : mapping of str to QcFc, optional

    Returns
    -------
    list of StrategyRow
        In the order of ``tests``.

    Raises
    ------
    ValueError
        No strategy, or columns that differ.
    """
    if not tests:
        raise ValueError(NO_STRATEGY)
    first = next(iter(tests.values()))
    rows = []
    for name, one in tests.items():
        if one.effect.shape != first.effect.shape:
            message = BAD_COLUMNS.format(
                name=name, found=one.effect.size, expected=first.effect.size
            )
            raise ValueError(message)
        rows.append(
            StrategyRow(
                name=name,
                effect=one.effect,
                t=one.t,
                p_fwe=one.p_fwe,
                g=one.g,
                is_sign_kept=np.sign(one.effect) == np.sign(first.effect),
                effect_r=_agreement(one.effect, first.effect),
                motion=None if motion is None else motion.get(name),
            )
        )
    return rows


# --- parts --------------------------------------------------------------------------------------


def _agreement(one: FloatArray, other: FloatArray) -> float:
    """Return Pearson r over the columns that both have."""
    there = np.isfinite(one) & np.isfinite(other)
    if there.sum() < 3:
        return float("nan")
    a, b = one[there] - one[there].mean(), other[there] - other[there].mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 0 else float("nan")


def _groups(mean_fd: ArrayLike, is_first: ArrayLike, bound: float) -> tuple[FloatArray, BoolArray]:
    """Return FD and group, checked."""
    fd, first = np.asarray(mean_fd, dtype=float), np.asarray(is_first, dtype=bool)
    n1 = int(first.sum())
    if fd.shape != first.shape or fd.ndim != 1 or min(n1, first.size - n1) < MIN_GROUP:
        found = (fd.size, first.size)
        raise ValueError(BAD_GROUPS.format(found=found, n1=n1, n2=first.size - n1))
    if not np.isfinite(fd).all():
        raise ValueError(NO_FD.format(n=int((~np.isfinite(fd)).sum())))
    if not bound >= 0:
        raise ValueError(BAD_BOUND.format(found=bound))
    return fd, first


def _difference(fd: FloatArray, first: BoolArray, kept: BoolArray) -> float:
    """Return mean FD of the first minus the second group; NaN for an empty one."""
    if not (kept & first).any() or not (kept & ~first).any():
        return float("nan")
    return float(fd[kept & first].mean() - fd[kept & ~first].mean())


def _described(
    fd: FloatArray, first: BoolArray, kept: BoolArray, pairs: NDArray[np.intp], *, is_matched: bool
) -> MotionMatch:
    """Return the subsample with its differences before and after."""
    everyone = np.ones(len(fd), dtype=bool)
    differences, sizes = [], []
    for rows in (everyone, kept):
        differences.append(_difference(fd, first, rows))
        groups = [fd[rows & first], fd[rows & ~first]]
        df = sum(len(group) for group in groups) - 2
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups if len(group))
        sd = np.sqrt(squares / df) if df > 0 else 0.0
        sizes.append(differences[-1] / float(sd) if sd > 0 else float("nan"))
    return MotionMatch(
        kept=kept,
        pairs=pairs,
        difference=(differences[0], differences[1]),
        d=(sizes[0], sizes[1]),
        is_matched=is_matched,
    )
