"""ComBat: sites brought to one mean and one variance, with what is studied kept, and its test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.errors import UsageError
from rls_bids.numerics.columns import ColumnTests
from rls_bids.numerics.effects import hedges_g
from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.glm import ContrastFit, fit, partition
from rls_bids.numerics.permutation import TIE, corrected_p

VERSION = "1"

MIN_PER_SITE = 15

ONE_SITE = "All participants are of site {label!r}; harmonisation needs two sites or more."
SMALL_SITE = (
    "Site {label!r} has {n} participants; harmonisation (ComBat) needs {least} or more at each."
)
MISSING_GROUP = (
    "Site {label!r} has nobody of group {group!r}; harmonisation (ComBat) needs every group at "
    "every site, or it takes the group for the site."
)
CONFOUNDED = (
    "Column number {column} of the design differs only between sites, so that harmonisation "
    "(ComBat) cannot keep it."
)
COVARIATE_HINT = "Use sites as covariate and as exchangeability blocks instead."
BAD_ROWS = "Values, sites and design have {found} rows; expected the same number of each."
ACROSS_SITES = "Resamplings exchange participants of different sites; draw them with sites."

TOLERANCE = 1e-4
MAX_STEPS = 500
FLAT = 1e-10

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What does not change with the values: sites, and the regression on sites and design."""

    sites: IntArray
    counts: FloatArray
    kept: FloatArray  # (n, k) columns of the design beyond the sites
    solve: FloatArray  # (n_sites + k, n): coefficients = solve @ values


def check_sites(sites: ArrayLike, groups: ArrayLike | None = None) -> None:
    """Refuse sites that are too few, too small, or without one of the groups.

    Parameters
    ----------
    sites : (n_participants,) labels
    groups : (n_participants,) labels, optional
        Without them only the sizes are looked at.

    Raises
    ------
    UsageError
        One site, a site with fewer than 15 participants, or without one of the groups.

    Examples
    --------
    >>> check_sites(["a"] * 20 + ["b"] * 9)
    Traceback (most recent call last):
    rls_bids.errors.UsageError: Site 'b' has 9 participants; harmonisation (ComBat) needs 15 or ...
    """
    labels = np.asarray(sites)
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2:
        raise UsageError(ONE_SITE.format(label=str(names[0])), COVARIATE_HINT)
    for name, n in zip(names, counts, strict=True):
        if n < MIN_PER_SITE:
            message = SMALL_SITE.format(label=str(name), n=n, least=MIN_PER_SITE)
            raise UsageError(message, COVARIATE_HINT)
    if groups is None:
        return
    group_of = np.asarray(groups)
    for name in names:
        for group in np.unique(group_of):
            if not (group_of[labels == name] == group).any():
                message = MISSING_GROUP.format(label=str(name), group=str(group))
                raise UsageError(message, COVARIATE_HINT)


def harmonise(values: ArrayLike, sites: ArrayLike, design: ArrayLike) -> FloatArray:
    """Remove shifts and scales of sites from every feature, and keep what the design explains.

    Parameters
    ----------
    values : (n_participants, n_features) array
        Such as regions or connections. Features with a missing value come back as NaN, constant
        ones as they are; neither has part in what sites have in common. Not changed.
    sites : (n_participants,) labels
    design : (n_participants, n_columns) array
        What is kept: groups and covariates; a constant may be among them.

    Returns
    -------
    (n_participants, n_features) array
        In the unit of the values.

    Raises
    ------
    UsageError
        One site, a site with fewer than 15 participants, a column that only sites explain.
    ValueError
        Numbers of rows that differ.

    Notes
    -----
    y = α + Xβ + γ_s + δ_s ε, with γ and δ² of a site drawn towards their mean over the features by
    normal and inverse gamma priors whose moments are those of the features (parametric empirical
    Bayes, Johnson 2007, doi:10.1093/biostatistics/kxj037; for imaging Fortin 2017,
    doi:10.1016/j.neuroimage.2017.08.047). With one feature there is nothing to draw towards.

    The result is not independent data: the parameters were estimated from the same participants
    and the design was kept. A test on it must refit it in every resampling
    (:func:`combat_permutation`); p of an ordinary model is too small (Nygaard 2016,
    doi:10.1093/biostatistics/kxv027).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.standard_normal((40, 30))
    >>> values[20:] = 3 * values[20:] + 5
    >>> found = harmonise(values, np.repeat(["a", "b"], 20), np.ones((40, 1)))
    >>> site_means = found[:20].mean(), found[20:].mean()
    >>> bool(abs(site_means[0] - site_means[1]) < 0.1)
    True
    """
    check_sites(sites)
    table = np.array(values, dtype=float)
    model = _prepare(sites, design, len(table))
    return _harmonise(table, model)


def combat_permutation(
    values: ArrayLike,
    sites: ArrayLike,
    design: ArrayLike,
    contrast: ArrayLike,
    resamplings: Resamplings,
    groups: ArrayLike,
) -> ColumnTests:
    """Test a difference of two groups in harmonised features, harmonising every resampling anew.

    Parameters
    ----------
    values : (n_participants, n_features) array
        Not harmonised. Features with a missing value, or constant ones, are not tested.
    sites : (n_participants,) labels
    design : (n_participants, n_columns) array
        Without sites.
    contrast : (n_columns,) array
    resamplings : Resamplings
        Drawn with ``Units(sites=sites)``, so that they stay within sites.
    groups : (n_participants,) array
        1 and -1 for the two sides of the contrast, 0 for others.

    Returns
    -------
    ColumnTests
        ``effect``, ``t`` and g are of the harmonised values. ``p`` is NaN: after harmonisation t
        has no t distribution.

    Raises
    ------
    UsageError
        As :func:`check_sites` and :func:`harmonise`.
    InputDataError
        As :func:`~rls_bids.numerics.glm.fit`.
    ValueError
        Resamplings across sites, numbers of rows that differ.

    Notes
    -----
    After Freedman & Lane (1983, doi:10.1080/07350015.1983.10509354), with harmonisation as part of
    the statistic: (1) the values **as they were measured** are fitted by the model without the
    contrast and with a constant for each site; (2) its residuals, which hold the scale of their
    site, change places within sites; (3) the fit is added again, which gives data with all effects
    of sites but none of the groups; (4) these are harmonised with the whole design, as the data
    were, and t is computed. So whatever harmonisation does to t, it does to all resamplings.

    Examples
    --------
    >>> from rls_bids.numerics.exchangeability import (
    ...     Units, choose_exchangeability, draw_resamplings)
    >>> rng = np.random.default_rng(1)
    >>> side, sites = np.tile([1, -1], 20), np.repeat(["a", "b"], 20)
    >>> design = np.column_stack([side == 1, side == -1]).astype(float)
    >>> chosen = choose_exchangeability(design, [1, -1], Units(sites=sites))
    >>> drawn = draw_resamplings(chosen, design, 99, 0)
    >>> values = rng.standard_normal((40, 3)) + np.outer(side, [1, 0, 0])
    >>> found = combat_permutation(values, sites, design, [1, -1], drawn, side)
    >>> found.p_fwe.round(2).tolist()
    [0.01, 1.0, 0.99]
    """
    check_sites(sites, groups)
    table = np.array(values, dtype=float)
    columns, weights = np.asarray(design, dtype=float), np.asarray(contrast, dtype=float)
    model = _prepare(sites, columns, len(table))
    if (model.sites[resamplings.order] != model.sites).any():
        raise ValueError(ACROSS_SITES)
    tested = np.isfinite(table).all(axis=0) & (np.ptp(table, axis=0) > 0)
    kept = table[:, tested]
    nuisance = _with_sites(partition(columns, weights).nuisance, model)
    fitted = nuisance @ (nuisance.T @ kept)
    residual = kept - fitted
    observed = fit(_harmonise(kept, model), columns, weights)
    size = np.empty((len(resamplings.order), kept.shape[1]))
    for number, (order, sign) in enumerate(zip(resamplings.order, resamplings.sign, strict=True)):
        again = _harmonise(fitted + sign[:, None] * residual[order], model)
        size[number] = np.abs(fit(again, columns, weights).z)
    size[np.isnan(size)] = 0.0
    return _tests(observed, size, tested, np.asarray(groups))


# --- parts --------------------------------------------------------------------------------------


def _tests(
    observed: ContrastFit, size: FloatArray, tested: NDArray[np.bool_], groups: NDArray[np.generic]
) -> ColumnTests:
    """Return what was found, with p from sizes of z (n_resamplings, n_tested)."""
    found = np.full((7, len(tested)), np.nan)
    maxima = size.max(axis=1) if size.shape[1] else np.zeros(0)
    if tested.any():
        limit = size[0] - TIE * size[0]
        alone = (size >= limit).mean(axis=0)
        n1, n2 = int((groups == 1).sum()), int((groups == -1).sum())
        g = hedges_g(observed.t, observed.df, n1, n2)
        over_all = corrected_p(maxima, size[0])
        found[:, tested] = [observed.effect, observed.t, alone, over_all, *g]
    return ColumnTests(
        effect=found[0],
        t=found[1],
        p=np.full(len(tested), np.nan),
        p_permutation=found[2],
        p_fwe=found[3],
        g=found[4],
        g_lower=found[5],
        g_upper=found[6],
        df=observed.df,
        maxima=maxima,
    )


def _prepare(sites: ArrayLike, design: ArrayLike, n: int) -> _Model:
    """Make the regression on sites and on those columns of the design that sites leave open."""
    columns = np.asarray(design, dtype=float)
    _, numbers = np.unique(np.asarray(sites), return_inverse=True)
    if columns.ndim != 2 or {n, len(columns), len(numbers)} != {n}:
        raise ValueError(BAD_ROWS.format(found=(n, len(numbers), len(columns))))
    indicator = np.eye(int(numbers.max()) + 1)[numbers]
    counts = indicator.sum(axis=0)
    used = indicator
    for place, column in enumerate(columns.T):
        own = column - used @ np.linalg.lstsq(used, column)[0]
        if np.linalg.norm(own) > 1e-9 * np.linalg.norm(column):
            used = np.column_stack([used, column])
        elif np.ptp(column) > 0:
            apart = column - (indicator.T @ column / counts)[numbers]
            if np.linalg.norm(apart) <= 1e-9 * np.linalg.norm(column):
                raise UsageError(CONFOUNDED.format(column=place + 1), COVARIATE_HINT)
    return _Model(
        sites=numbers.astype(np.intp),
        counts=counts,
        kept=used[:, len(counts) :],
        solve=np.asarray(np.linalg.pinv(used), dtype=float),
    )


def _with_sites(nuisance: FloatArray, model: _Model) -> FloatArray:
    """Return an orthonormal basis of the reduced model with a constant for each site."""
    whole = np.column_stack([np.eye(len(model.counts))[model.sites], nuisance])
    left, values, _ = np.linalg.svd(whole, full_matrices=False)
    return np.asarray(left[:, values > 1e-9 * values[0]])


def _harmonise(table: FloatArray, model: _Model) -> FloatArray:
    """Harmonise features whose rows and design have been checked."""
    result = table.copy()
    is_whole = np.isfinite(table).all(axis=0)
    result[:, ~is_whole] = np.nan
    n_sites = len(model.counts)
    coefficients = model.solve @ table[:, is_whole]
    by_site = coefficients[:n_sites]
    centre = model.counts @ by_site / len(table) + model.kept @ coefficients[n_sites:]
    rest = table[:, is_whole] - centre
    within = rest - (by_site - model.counts @ by_site / len(table))[model.sites]
    scale = np.sqrt((within**2).mean(axis=0))
    varies = scale > FLAT * np.abs(table[:, is_whole]).max(axis=0, initial=0.0)
    standard = rest[:, varies] / scale[varies]
    shift, spread = _site_effects(standard, model)
    clean = (standard - shift[model.sites]) / spread[model.sites]
    result[:, np.flatnonzero(is_whole)[varies]] = clean * scale[varies] + centre[:, varies]
    return result


def _site_effects(standard: FloatArray, model: _Model) -> tuple[FloatArray, FloatArray]:
    """Return shift and spread of each site and feature (n_sites, n_features), shrunken."""
    n_sites, n = len(model.counts), model.counts[:, None]
    sums = np.zeros((2, n_sites, standard.shape[1]))
    for site in range(n_sites):
        own = standard[model.sites == site]
        sums[0, site] = own.mean(axis=0)
        sums[1, site] = ((own - sums[0, site]) ** 2).sum(axis=0)
    mean, squares = sums
    variance = squares / (n - 1)
    if standard.shape[1] < 2:
        return mean, np.sqrt(variance)
    centre, prior = mean.mean(axis=1, keepdims=True), mean.var(axis=1, ddof=1, keepdims=True)
    first = variance.mean(axis=1, keepdims=True)
    second = np.maximum(variance.var(axis=1, ddof=1, keepdims=True), 1e-12)
    shape, rate = first**2 / second + 2, first**3 / second + first
    shift, spread = mean, variance
    for _ in range(MAX_STEPS):
        moved = (n * prior * mean + spread * centre) / (n * prior + spread)
        square = squares + n * (mean - moved) ** 2
        changed = (rate + square / 2) / (n / 2 + shape - 1)
        step = max(float(np.abs(moved - shift).max()), float(np.abs(changed - spread).max()))
        shift, spread = moved, changed
        if step < TOLERANCE:
            break
    return shift, np.sqrt(spread)
