"""Test statistics of resampled data, many resamplings at once, as standard normal values.

After Freedman & Lane (1983, doi:10.1080/07350015.1983.10509354) the residuals e of the reduced
model are resampled and the full model is fitted to them. All that depends on the resampling is
then linear in e: the scores Qᵀ P e, Q the orthonormal basis of the design. t and F follow from
scores and the residuals' sum of squares, which resampling does not change.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.ftest import f_to_z
from rls_bids.numerics.glm import NO_DF, NO_DF_HINT, partition
from rls_bids.numerics.statistic_kernels import (
    LARGEST_F,
    N_DF_NODES,
    N_NODES,
    fill_f,
    fill_pillai,
    fill_t,
    fill_voxelwise,
    fill_welch,
)
from rls_bids.numerics.voxelwise import VoxelNuisance, split_covariates, without_covariates

VERSION = "1"

GROUP_DF = (
    "Variance group {label!r} has {df:.2f} residual degrees of freedom of its own; expected 1 or "
    "more."
)
GROUP_DF_HINT = "Join it with another group, or leave covariates out."
ONLY_FLIPS = "Groups of different variances were permuted; only signs may be flipped then."
ONE_RESPONSE = "Variance groups go with one measurement a participant; found {n}."
EQUAL_VARIANCES = (
    "Covariates that differ by voxel were asked for together with variance groups; expected one "
    "of the two."
)
EQUAL_VARIANCES_HINT = (
    "Leave the variance groups out, or take the covariate's mean over a region as an ordinary "
    "covariate."
)
TOO_MANY = "{n} measurements a participant leave {df} residual degrees of freedom; expected 1."

LOWEST_Z = -9.0

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One test, prepared: ``name`` is t, F, v (Welch), G (Welch, several contrasts) or Pillai.

    ``basis`` (n_participants, rank) has its ``n_effects`` effect columns first. ``groups`` are
    numbers of variance groups (all 0: equal variances) with ``group_df`` residual degrees of
    freedom each. ``z_table`` (N_DF_NODES, N_NODES) leads from F to z. ``df`` is what
    ``n_voxel_covariates`` leave.
    """

    name: str
    basis: FloatArray
    n_effects: int
    n_responses: int
    df: int
    groups: IntArray
    group_df: FloatArray
    z_table: FloatArray
    df_range: tuple[float, float]
    n_voxel_covariates: int = 0

    @property
    def is_signed(self) -> bool:
        """Whether the statistic has a direction."""
        return self.name in ("t", "v")


def prepare_statistic(
    design: ArrayLike,
    contrast: ArrayLike,
    *,
    variance_groups: ArrayLike | None = None,
    n_responses: int = 1,
    n_voxel_covariates: int = 0,
) -> Statistic:
    """Prepare the test of a contrast.

    Parameters
    ----------
    design : (n_participants, n_columns) array
    contrast : (n_columns,) or (n_contrasts, n_columns) array
    variance_groups : (n_participants,) labels, optional
        Groups whose residual variances may differ: v instead of t, G instead of F.
    n_responses : int
        Measurements a participant that are tested together (Pillai's trace), such as the k − 1
        orthonormal contrasts of k sessions.
    n_voxel_covariates : int
        Nuisance covariates that differ from voxel to voxel (see :func:`voxel_nuisance`).

    Returns
    -------
    Statistic

    Raises
    ------
    InputDataError
        As :func:`rls_bids.numerics.glm.partition`; a group without residual degrees of freedom;
        more measurements than residual degrees of freedom.
    UsageError
        Variance groups together with covariates of voxels.
    ValueError
        Variance groups together with several measurements.

    Examples
    --------
    >>> prepare_statistic([[1, 0], [1, 0], [0, 1], [0, 1]], [1, -1]).name
    't'
    """
    parts = partition(design, contrast)
    basis = np.hstack([parts.effect, parts.nuisance])
    groups = np.zeros(len(basis), dtype=np.intp)
    labels = np.array(["all"])
    if variance_groups is not None:
        labels, groups = np.unique(np.asarray(variance_groups), return_inverse=True)
    is_welch = len(labels) > 1
    df = parts.df - n_voxel_covariates
    _check_counts(len(basis), df, n_responses, n_voxel_covariates, is_welch=is_welch)
    sizes = np.bincount(groups).astype(np.float64)
    own = np.maximum(sizes - np.bincount(groups, (basis**2).sum(axis=1)), 0.0)
    for label, mine in zip(labels, own, strict=True):
        if is_welch and mine < 1 - 1e-9:
            raise InputDataError(GROUP_DF.format(label=str(label), df=mine), GROUP_DF_HINT)
    q = parts.effect.shape[1]
    name = ("G" if q > 1 else "v") if is_welch else ("F" if q > 1 else "t")
    df1, df2 = float(q), (float(df), float(df))
    if is_welch:  # Johansen's df lie between those of the smallest group and of all
        scale = 2 * (q + 2) / (3 * (q + 1))
        df2 = (scale * float(own.min()), scale * float(own.sum()))
    elif n_responses > 1:
        name = "Pillai"
        df1, below = pillai_df(q, n_responses, df)
        df2 = (below, below)
    return Statistic(
        name=name,
        basis=basis,
        n_effects=q,
        n_responses=n_responses,
        df=df,
        groups=groups.astype(np.intp),
        group_df=own,
        z_table=_z_table(df1, df2) if name in ("F", "G", "Pillai") else np.zeros((1, 1)),
        df_range=df2,
        n_voxel_covariates=n_voxel_covariates,
    )


def pillai_df(n_effects: int, n_responses: int, df: int) -> tuple[float, float]:
    """Return the degrees of freedom of Pillai's F, exact where either number is 1.

    Notes
    -----
    s = min(q, m), F = (V / s) / (1 − V / s) · df₂ / df₁, df₁ = s max(q, m), df₂ = s (df − m + s)
    (Pillai 1955, doi:10.1214/aoms/1177728599).

    Examples
    --------
    >>> pillai_df(1, 2, 20)
    (2.0, 19.0)
    """
    smaller = min(n_effects, n_responses)
    return (
        float(smaller * max(n_effects, n_responses)),
        float(smaller * (df - n_responses + smaller)),
    )


def resampled_z(
    residuals: NDArray[np.floating],
    statistic: Statistic,
    resamplings: Resamplings,
    rows: slice,
    nuisance: VoxelNuisance | None = None,
) -> Float32Array:
    """Return z of the resamplings ``rows`` for residuals of the reduced model.

    Parameters
    ----------
    residuals : (n_participants, n_responses, n_voxels) array
        From :func:`reduce`.
    statistic : Statistic
    resamplings : Resamplings
    rows : slice
    nuisance : VoxelNuisance, optional
        That of :func:`reduce`.

    Returns
    -------
    (n_rows, n_voxels) float32
        Signed for t and v, else the value whose upper tail is p. 0 where nothing varies.

    Raises
    ------
    ValueError
        Permutations together with variance groups.
    """
    n, n_responses, n_voxels = residuals.shape
    weights = _weights(statistic, resamplings, rows)
    n_rows, n_columns = weights.shape[:2]
    flat = np.ascontiguousarray(residuals.reshape(n, -1), dtype=np.float32)
    scores = (weights.reshape(-1, n) @ flat).reshape(n_rows, n_columns, n_responses, n_voxels)
    if nuisance is not None:
        columns = nuisance.columns.astype(np.float32)
        drawn = (resamplings.order[rows], resamplings.sign[rows])
        of_voxels = (columns, nuisance.overlap, nuisance.root)
        fill_voxelwise(flat.reshape(residuals.shape), of_voxels, *drawn, scores)
    z = np.zeros((n_rows, n_voxels), dtype=np.float32)
    q, table = statistic.n_effects, (statistic.z_table, statistic.df_range)
    if statistic.name in ("v", "G"):
        groups = [statistic.groups == g for g in range(len(statistic.group_df))]
        squares = np.stack([(flat[mine] ** 2).sum(axis=0, dtype=float) for mine in groups], axis=1)
        grams = np.stack([statistic.basis[mine].T @ statistic.basis[mine] for mine in groups])
        fill_welch(scores[:, :, 0], squares, grams, statistic.group_df, q, table, z)
    elif statistic.name == "Pillai":
        cross = np.einsum("imv,ikv->mkv", residuals, residuals, dtype=float)
        df = pillai_df(q, n_responses, statistic.df)
        fill_pillai(scores, cross, q, df, table, z)
    else:
        total = np.einsum("iv,iv->v", flat, flat, dtype=float)
        if statistic.name == "t":
            fill_t(scores[:, :, 0], total, statistic.df, z)
        else:
            fill_f(scores[:, :, 0], total, q, statistic.df, table, z)
    return z


def voxel_nuisance(voxel_covariates: ArrayLike, statistic: Statistic) -> VoxelNuisance:
    """Prepare covariates that differ from voxel to voxel.

    Parameters
    ----------
    voxel_covariates : (n_participants, n_covariates, n_voxels) array
    statistic : Statistic

    Returns
    -------
    VoxelNuisance

    Notes
    -----
    The reduced model of a voxel holds the covariates as they are there, so its residuals differ
    in design as well as in data, but every voxel gets the same resamplings: the dependence
    between voxels is kept, and the maximum over them holds family-wise
    (Winkler 2014, doi:10.1016/j.neuroimage.2014.01.060). Errors must be exchangeable (or
    symmetric) given the covariates; as with any nuisance of Freedman & Lane, the test is exact
    for known, and close to it for estimated coefficients.
    """
    q = statistic.n_effects
    return split_covariates(voxel_covariates, statistic.basis[:, :q], statistic.basis[:, q:])


def reduce(
    data: ArrayLike, statistic: Statistic, nuisance: VoxelNuisance | None = None
) -> FloatArray:
    """Return the residuals of the reduced model, (n_participants, n_responses, n_voxels).

    Where they are nothing but rounding, or a value is missing, they are set to 0.

    Parameters
    ----------
    data : (n_participants, n_voxels) or (n_participants, n_responses, n_voxels) array
    statistic : Statistic
    nuisance : VoxelNuisance, optional
        From :func:`voxel_nuisance`; voxels that it does not test are set to 0.
    """
    observed = np.asarray(data, dtype=float)
    if observed.ndim == 2:
        observed = observed[:, None]
    columns = statistic.basis[:, statistic.n_effects :]
    residuals = observed - np.tensordot(
        columns, np.tensordot(columns, observed, axes=(0, 0)), axes=1
    )
    if nuisance is not None:
        residuals = without_covariates(residuals, nuisance)
        residuals[:, :, ~nuisance.is_tested] = 0.0
    is_tested = (residuals**2).sum(axis=0) > 1e-20 * (observed**2).sum(axis=0)
    residuals[:, ~is_tested] = 0.0  # a comparison with NaN is false
    return np.asarray(residuals)


def _check_counts(
    n_rows: int, df: int, n_responses: int, n_voxel_covariates: int, *, is_welch: bool
) -> None:
    """Refuse what cannot go together, or leaves no degrees of freedom."""
    if is_welch and n_responses > 1:
        raise ValueError(ONE_RESPONSE.format(n=n_responses))
    if is_welch and n_voxel_covariates:
        raise UsageError(EQUAL_VARIANCES, EQUAL_VARIANCES_HINT)
    if df < 1:
        raise InputDataError(NO_DF.format(n_rows=n_rows, rank=n_rows - df), NO_DF_HINT)
    if df <= n_responses - 1:
        raise InputDataError(TOO_MANY.format(n=n_responses, df=df - n_responses + 1))


def _weights(statistic: Statistic, resamplings: Resamplings, rows: slice) -> Float32Array:
    """Return what brings residuals to scores, (n_rows, n_columns, n_participants).

    With variance groups, each group has the columns of the basis for itself. Columns of 0 stand
    for covariates of voxels.
    """
    order, sign = resamplings.order[rows], resamplings.sign[rows]
    n_groups = len(statistic.group_df)
    if n_groups > 1 and (order != np.arange(order.shape[1])).any():
        raise ValueError(ONLY_FLIPS)
    columns = np.hstack(
        [statistic.basis * (statistic.groups == g)[:, None] for g in range(n_groups)]
    )
    columns = np.pad(columns, ((0, 0), (0, statistic.n_voxel_covariates)))
    signed = columns[None] * sign[:, :, None]
    back = np.argsort(order, axis=1)
    moved = np.take_along_axis(signed, back[:, :, None], axis=1)
    return np.ascontiguousarray(moved.transpose(0, 2, 1), dtype=np.float32)


def _z_table(df1: float, df2: tuple[float, float]) -> FloatArray:
    """Return z at nodes of log(1 + F) (columns) and of 1/df2 (rows)."""
    f = np.expm1(np.linspace(0.0, np.log1p(LARGEST_F), N_NODES))
    low, high = df2
    inverse = np.linspace(1 / high, 1 / low, N_DF_NODES) if high > low else np.array([1 / low])
    return np.stack([np.maximum(f_to_z(f, df1, 1 / one), LOWEST_Z) for one in inverse])
