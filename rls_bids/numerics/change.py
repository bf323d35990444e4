"""Changes between two sessions: with a score, and of arms adjusted for the value before."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.association import Association, Bootstrap, Method, associate
from rls_bids.numerics.columns import ColumnFit, ColumnTests
from rls_bids.numerics.effects import hedges_g
from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.glm import fit, partition
from rls_bids.numerics.normalisation import check_source
from rls_bids.numerics.permutation import corrected_p
from rls_bids.numerics.sizes import MIN_DF_OF_G
from rls_bids.numerics.statistic import prepare_statistic, reduce, resampled_z

VERSION = "1"

BAD_TABLES = (
    "Values before, after and the design have the shapes {found}; expected one row a participant "
    "in each, and the same columns before and after."
)

FloatArray = NDArray[np.float64]


def change_on_change(
    change: ArrayLike,
    score_change: ArrayLike,
    resamplings: Resamplings,
    source: str,
    covariates: ArrayLike | None = None,
    *,
    method: Method = "spearman",
    bootstrap: Bootstrap | None = None,
) -> Association:
    """Correlate the change of a score with the changes of regions over patients.

    Parameters
    ----------
    change : (n_patients, n_regions) array
        After − before.
    score_change : (n_patients,) array
        After − before, such as that of a severity score.
    resamplings : Resamplings
        Drawn for :func:`~rls_bids.numerics.association.association_design` of the score's change.
    source : {"declared", "other participants"}
        As in :func:`~rls_bids.numerics.normalisation.towards_controls`.
    covariates : (n_patients, n_covariates) array, optional
        Such as the change in framewise displacement and the score before.
    method : {"spearman", "pearson"}
    bootstrap : Bootstrap

    Returns
    -------
    Association

    Raises
    ------
    UsageError
        Regions from the same scans.
    InputDataError, ValueError
        As :func:`~rls_bids.numerics.association.associate`.

    Notes
    -----
    The two changes have no measurement in common. A change and the value **before** it have one,
    and correlate with −√((1 − r) / 2) when nothing happens at all, r the test–retest correlation
    (Oldham 1962, doi:10.1016/0021-9681(62)90116-9); that is not offered.

    Examples
    --------
    >>> from rls_bids.numerics.association import association_design
    >>> from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
    >>> score = np.array([-8.0, -2, -12, 1, -5, -9, -3])
    >>> design, contrast = association_design(score)
    >>> drawn = draw_resamplings(choose_exchangeability(design, contrast), design, 99, 0)
    >>> change_on_change(-0.1 * score[:, None], score, drawn, "declared").r.tolist()
    [-1.0]
    """
    check_source(source)
    return associate(
        score_change, change, resamplings, covariates, method=method, bootstrap=bootstrap
    )


def compare_adjusted(
    after: ArrayLike,
    before: ArrayLike,
    design: ArrayLike,
    contrast: ArrayLike,
    resamplings: Resamplings,
    sizes: tuple[int, int],
) -> ColumnTests:
    """Compare two arms after treatment, adjusted in every column for its own value before.

    Parameters
    ----------
    after, before : (n_participants, n_columns) arrays
        A column with a missing value is not tested. Not changed.
    design : (n_participants, n_regressors) array
        Of the arms and covariates, without the value before.
    contrast : (n_regressors,) array
    resamplings : Resamplings
        The same for all columns.
    sizes : (int, int)
        Participants in the first and in the second arm, for Hedges g.

    Returns
    -------
    ColumnTests
        ``effect`` is the difference of arms with equal values before.

    Raises
    ------
    InputDataError
        No residual degrees of freedom, or a contrast that the design cannot estimate.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    Analysis of covariance (Vickers & Altman 2001, doi:10.1136/bmj.323.7321.1123), for arms that
    chance has made. Patients and controls differ before, each group regresses to a mean of its
    own, and the adjusted difference is then not that of treatment (Lord 1967,
    doi:10.1037/h0025105).

    Examples
    --------
    >>> from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
    >>> design = np.repeat(np.eye(2), 4, axis=0)
    >>> drawn = draw_resamplings(choose_exchangeability(design, [1, -1]), design, 100, 0)
    >>> before = np.array([[1.0], [2], [3], [4], [3], [4], [5], [6]])
    >>> after = before + [[2.0], [2.1], [1.9], [2], [0.1], [0], [0], [-0.1]]
    >>> found = compare_adjusted(after, before, design, [1, -1], drawn, (4, 4))
    >>> round(float(found.fit.effect[0]), 2), found.p_fwe.round(3).tolist()
    (1.92, [0.014])
    """
    last, first = np.asarray(after, dtype=float), np.asarray(before, dtype=float)
    columns, weights = np.asarray(design, dtype=float), np.asarray(contrast, dtype=float)
    if last.shape != first.shape or last.ndim != 2 or len(last) != len(columns):
        raise ValueError(BAD_TABLES.format(found=(first.shape, last.shape, columns.shape)))
    m, df = last.shape[1], partition(columns, weights).df - 1
    found, size = np.full((8, m), np.nan), np.full((len(resamplings.order), m), np.nan)
    longer = np.append(weights, 0.0)
    for j in np.flatnonzero(np.isfinite(last + first).all(axis=0)):
        own = np.column_stack([columns, first[:, j] - first[:, j].mean()])
        fitted = fit(last[:, [j]], own, longer)
        if not np.isfinite(fitted.t[0]):
            continue
        statistic = prepare_statistic(own, longer)
        z = resampled_z(reduce(last[:, [j]], statistic), statistic, resamplings, slice(None))
        size[:, j] = np.abs(z[:, 0])
        found[:3, j] = fitted.effect[0], fitted.t[0], fitted.p[0]
        found[3, j] = corrected_p(size[:, j], size[0, j]).item()
        if fitted.df >= MIN_DF_OF_G:
            found[5:, j] = np.ravel(hedges_g(fitted.t, fitted.df, *sizes))
    tested = np.isfinite(size[0])
    maxima = size[:, tested].max(axis=1) if tested.any() else np.zeros(0)
    if tested.any():
        found[4, tested] = corrected_p(maxima, size[0, tested])
    fits = ColumnFit(
        name="t",
        effect=found[0],
        statistic=found[1],
        df=np.where(tested, float(df), np.nan),
        p=found[2],
        size=found[5],
        size_lower=found[6],
        size_upper=found[7],
    )
    return ColumnTests(fit=fits, p_permutation=found[3], p_fwe=found[4], maxima=maxima)
