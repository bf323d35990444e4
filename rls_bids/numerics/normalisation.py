"""Whether treatment moves patients towards controls, guarded against regression to the mean."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics.exchangeability import (
    Resamplings,
    Units,
    choose_exchangeability,
    draw_resamplings,
)
from rls_bids.numerics.family import adjust_p, correct_family
from rls_bids.numerics.glm import fit
from rls_bids.numerics.permutation import TIE
from rls_bids.numerics.statistic import Statistic, prepare_statistic, reduce, resampled_z

VERSION = "1"

SOURCES = ("declared", "other participants")

SAME_SCAN = (
    "Regions come from {found!r}; expected one of {expected}. Regions that were chosen because "
    "these patients differ in these scans move towards controls without any treatment."
)
SAME_SCAN_HINT = "Declare regions beforehand, or find them in other participants."
BAD_SHAPES = (
    "Patients before, after, controls and untreated patients have the shapes {found}; expected "
    "the same regions in all, and the same patients before and after."
)
BAD_COVARIATES = "{name} have {found} rows; expected {expected}."
TOO_FEW = "There are {n} {group}; expected 3 or more."

FloatArray = NDArray[np.float64]


def check_source(source: str) -> None:
    """Refuse regions that were found in the scans that are to show a change.

    Parameters
    ----------
    source : {"declared", "other participants"}

    Raises
    ------
    UsageError
        Any other source.

    Examples
    --------
    >>> check_source("declared")
    """
    if source not in SOURCES:
        raise UsageError(SAME_SCAN.format(found=source, expected=SOURCES), SAME_SCAN_HINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured in the regions.

    ``before`` and ``after`` (n_patients, n_regions) in the same order of patients, ``controls``
    (n_controls, n_regions), and, where there are any, ``untreated`` (n_untreated, n_regions): the
    **changes** of patients without the treatment (sham, waiting), who were chosen alike.
    """

    before: ArrayLike
    after: ArrayLike
    controls: ArrayLike
    untreated: ArrayLike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Towards:
    """Whether each region moved towards controls; arrays are (n_regions,), NaN if not tested.

    ``deficit`` is controls − patients before, ``change`` after − before (less that of the
    untreated), ``remaining`` deficit − change, in the unit of the regions and adjusted for
    covariates. ``p_deficit`` and ``p_remaining`` are two-sided, ``p_change`` one-sided in the
    direction of controls, all by resampling and uncorrected. ``is_closer``: the remaining
    difference is smaller than the deficit. ``p`` is that of the claim "moved towards controls" for
    one region, ``p_fwe`` over all regions. ``share`` is change / deficit: to be read where the
    deficit is beyond doubt. ``z_deficit`` and ``z_change`` have the signs of the estimates.
    """

    deficit: FloatArray
    change: FloatArray
    remaining: FloatArray
    share: FloatArray
    z_deficit: FloatArray
    z_change: FloatArray
    p_deficit: FloatArray
    p_change: FloatArray
    p_remaining: FloatArray
    is_closer: NDArray[np.bool_]
    p: FloatArray
    p_fwe: FloatArray


def towards_controls(
    measured: Measured,
    source: str,
    *,
    covariates: ArrayLike | None = None,
    change_covariates: ArrayLike | None = None,
    variances_differ: bool = False,
    n_resamplings: int = 5000,
    seed: int = 0,
) -> Towards:
    """Test in every region whether treatment moves patients towards controls.

    Parameters
    ----------
    measured : Measured
        Regions with a missing value are not tested. Not changed.
    source : {"declared", "other participants"}
        Where the regions come from; any other source is refused.
    covariates : (n_patients + n_controls, n_covariates) array, optional
        Of patients (before) and controls, in this order, such as age.
    change_covariates : (n_patients + n_untreated, n_covariates) array, optional
        Of the changes, such as the change in framewise displacement. Not centred here: the change
        is that of a patient with zeros.
    variances_differ : bool
        Patients and controls have variances of their own (Welch's v, sign-flipping).
    n_resamplings, seed : int

    Returns
    -------
    Towards

    Raises
    ------
    UsageError
        Regions from the same scans, or a source that is not known.
    InputDataError
        Fewer than three patients or controls; covariates that leave nothing to test.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    The claim takes three things at once: patients **differ** from controls before, they **change**
    in that direction, and they come out closer to controls than they were (judged by the
    estimates). It fails if one of them is not so, so that p = max(p_deficit, p_change) needs no
    correction for testing both (intersection-union test, Berger & Hsu 1996,
    doi:10.1214/ss/1032280304), and is 1 where patients do not come closer.

    Where there is no deficit, the direction is that of noise, and the noise of the scan before
    goes back with the next one: such regions are stopped by p_deficit. Where there is one, its
    sign is known, and the mean change of patients who were not chosen by these values is zero
    without treatment. Patients who **were** chosen by them (or by a score that goes with them)
    regress as a group; only untreated patients, chosen alike, tell that apart (Barnett 2005,
    doi:10.1093/ije/dyh299).

    Over m regions p_fwe = min(1, m p, F_d(p) + F_c(p)): F_d and F_c are the shares of resamplings
    whose smallest p over the regions, of deficits and of changes, is p or less. Each resampling is
    the same for all regions. All are bounds of the error whichever half of the claim is false in
    which region, so that the smallest is one as well.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trait = rng.standard_normal((20, 2))
    >>> data = Measured(
    ...     before=trait + [-2, 0],
    ...     after=trait + 0.3 * rng.standard_normal((20, 2)) + [-0.5, 0],
    ...     controls=rng.standard_normal((20, 2)),
    ... )
    >>> found = towards_controls(data, "declared", n_resamplings=500)
    >>> (found.p_fwe < 0.05).tolist(), bool(0.4 < found.share[0] < 1.1)
    ([True, False], True)
    """
    check_source(source)
    tables = _tables(measured)
    tested = np.all([np.isfinite(table).all(axis=0) for table in tables], axis=0)
    before, after, controls, untreated = (table[:, tested] for table in tables)
    n, found = len(before), np.full((11, len(tested)), np.nan)
    is_patient = np.arange(n + len(controls)) < n
    design = _joined(np.column_stack([~is_patient, is_patient]), covariates, "Covariates")
    labels = is_patient if variances_differ else None
    between = _plan(design, 2, labels, n_resamplings, seed)
    is_treated = np.arange(n + len(untreated)) < n
    n_arms = 1 + bool(len(untreated))
    arms = np.column_stack([is_treated, ~is_treated])[:, :n_arms]
    moved = _joined(arms, change_covariates, "Covariates of changes")
    within = _plan(moved, n_arms, None, n_resamplings, seed)
    if tested.any():
        left = _run(between, np.concatenate([after, controls]))[1]
        found[:, tested] = _claim(
            _run(between, np.concatenate([before, controls])),
            _run(within, np.concatenate([after - before, untreated])),
            left,
        )
    return Towards(
        deficit=found[0],
        change=found[1],
        remaining=found[2],
        share=found[3],
        z_deficit=found[4],
        z_change=found[5],
        p_deficit=found[6],
        p_change=found[7],
        p_remaining=found[8],
        is_closer=np.abs(found[2]) < np.abs(found[0]),
        p=found[9],
        p_fwe=found[10],
    )


# --- parts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """One contrast with its resamplings."""

    design: FloatArray
    contrast: FloatArray
    statistic: Statistic
    resamplings: Resamplings


def _plan(design: FloatArray, n_groups: int, groups: ArrayLike | None, n: int, seed: int) -> _Test:
    """Plan the test of first − second group, or of the first column alone."""
    contrast = np.zeros(design.shape[1])
    contrast[:n_groups] = (1.0, -1.0)[:n_groups]
    chosen = choose_exchangeability(design, contrast, Units(variance_groups=groups))
    return _Test(
        design=design,
        contrast=contrast,
        statistic=prepare_statistic(design, contrast, variance_groups=groups),
        resamplings=draw_resamplings(chosen, design, n, seed),
    )


def _run(test: _Test, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return estimates (n_regions,) and resampled z (n_resamplings, n_regions)."""
    residual = reduce(values, test.statistic)
    z = resampled_z(residual, test.statistic, test.resamplings, slice(None))
    return fit(values, test.design, test.contrast).effect, z.astype(float)


def _claim(
    before: tuple[FloatArray, FloatArray], change: tuple[FloatArray, FloatArray], left: FloatArray
) -> FloatArray:
    """Return the rows of the result from estimates and resampled z."""
    deficit, moved = before[0], change[0]
    remaining = deficit - moved
    side = np.where(before[1][0] < 0, -1.0, 1.0)
    size, along = np.abs(before[1]), change[1] * side
    p_deficit, p_change = _share(size), _share(along)
    is_claimed = (np.abs(remaining) < np.abs(deficit)) & (along[0] > 0)
    p = np.where(is_claimed, np.maximum(p_deficit, p_change), 1.0)
    bounds = [np.minimum(len(p) * p, 1.0)]
    if min(len(size), len(along)) > 1:
        smallest = [correct_family(z.T).smallest for z in (size, along)]
        bounds.append(np.minimum(sum(adjust_p(p, one) for one in smallest), 1.0))
    share = np.divide(moved, deficit, out=np.full(len(p), np.nan), where=deficit != 0)
    signed = before[1][0], change[1][0]
    alone = p_deficit, p_change, _share(np.abs(left))
    fwe = np.min(bounds, axis=0)
    return np.stack([deficit, moved, remaining, share, *signed, *alone, p, fwe])


def _share(z: FloatArray) -> FloatArray:
    """Return the share of resamplings that reach the first; equal ones count."""
    return np.asarray((z >= z[0] - TIE * np.abs(z[0])).mean(axis=0))


def _tables(measured: Measured) -> list[FloatArray]:
    """Return before, after, controls, changes of the untreated (or no row), checked."""
    given = (measured.before, measured.after, measured.controls)
    tables = [np.asarray(one, dtype=float) for one in given]
    none = np.zeros((0, *tables[0].shape[1:]))
    rest = none if measured.untreated is None else np.asarray(measured.untreated, dtype=float)
    tables.append(rest)
    shapes = [table.shape for table in tables]
    if (
        {len(s) for s in shapes} != {2}
        or len({s[1] for s in shapes}) > 1
        or shapes[0] != shapes[1]
    ):
        raise ValueError(BAD_SHAPES.format(found=shapes))
    for group, table in zip(("patients", "controls"), (tables[0], tables[2]), strict=True):
        if len(table) < 3:
            raise InputDataError(TOO_FEW.format(n=len(table), group=group))
    return tables


def _joined(design: NDArray[np.generic], covariates: ArrayLike | None, name: str) -> FloatArray:
    """Return a design with its covariates behind."""
    columns = design.astype(np.float64)
    if covariates is None:
        return columns
    others = np.asarray(covariates, dtype=float)
    others = others[:, None] if others.ndim == 1 else others
    if len(others) != len(columns):
        message = BAD_COVARIATES.format(name=name, found=len(others), expected=len(columns))
        raise ValueError(message)
    return np.column_stack([columns, others])
