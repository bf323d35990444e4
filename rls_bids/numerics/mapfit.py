"""Estimates of one test in every voxel, a block of voxels at a time.

What permutation adds (:mod:`rls_bids.numerics.permutation`) is computed from the same data. t and
v are signed; F, G (Johansen) and Pillai's F are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rls_bids.numerics.ftest import f_to_z, fit_f
from rls_bids.numerics.glm import fit, partition
from rls_bids.numerics.statistic import Statistic, pillai_df
from rls_bids.numerics.voxelwise import fit_voxelwise
from rls_bids.numerics.welch import fit_welch

VERSION = "1"

BLOCK = 2**21

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFit:
    """One test in every voxel; arrays are (n_voxels,), NaN where nothing varies.

    ``effect`` and its ``variance`` are NaN where several numbers are tested together. ``pooled``
    is t or F with one variance for all, from which effect sizes are computed; ``df`` belongs to
    it.
    ``group_sd`` (n_groups, n_voxels) are residual standard deviations of the groups in the order
    of ``group_names``.
    """

    effect: FloatArray
    variance: FloatArray
    statistic: FloatArray
    z: FloatArray
    p: FloatArray
    pooled: FloatArray
    df: tuple[float, float]
    group_names: tuple[str, ...]
    group_sd: FloatArray


def fit_maps(
    data: NDArray[np.floating],
    design: ArrayLike,
    contrast: ArrayLike,
    statistic: Statistic,
    groups: Sequence[str] = (),
) -> MapFit:
    """Estimate and test a contrast in every voxel.

    Parameters
    ----------
    data : (n_participants, n_responses, n_voxels) array
        May be a memory map.
    design : (n_participants, n_columns) array
    contrast : (n_columns,) or (n_contrasts, n_columns) array
    statistic : Statistic
        Of this design and contrast.
    groups : sequence of str
        Group of each participant, whose residual standard deviations are told; none without.

    Returns
    -------
    MapFit

    Raises
    ------
    InputDataError
        As :func:`rls_bids.numerics.glm.fit`.

    Notes
    -----
    The estimate is that of least squares. With variance groups its variance is that of Welch's v,
    (effect / v)². Pillai's trace V of m measurements and q contrasts: F = V / (s − V) · df₂ / df₁,
    s = min(q, m) (:func:`rls_bids.numerics.statistic.pillai_df`).

    Examples
    --------
    >>> from rls_bids.numerics.statistic import prepare_statistic
    >>> design, data = np.ones((3, 1)), np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    >>> found = fit_maps(data, design, [1], prepare_statistic(design, [1]))
    >>> found.effect.tolist(), found.statistic.round(3).tolist(), found.df
    ([2.0], [3.464], (1, 2))
    """
    n_rows, n_responses, n_voxels = data.shape
    columns, weights = np.asarray(design, dtype=float), np.asarray(contrast, dtype=float)
    names = tuple(dict.fromkeys(groups))
    df: tuple[float, float] = (statistic.n_effects, statistic.df)
    if statistic.name == "Pillai":
        df = pillai_df(statistic.n_effects, n_responses, statistic.df)
    rows = np.full((6, n_voxels), np.nan)
    spread = np.full((len(names), n_voxels), np.nan)
    step = max(BLOCK // (n_rows * n_responses), 64)
    for start in range(0, n_voxels, step):
        block = slice(start, min(start + step, n_voxels))
        values = np.asarray(data[..., block], dtype=float)
        if statistic.name == "Pillai":
            rows[:, block] = _pillai(values, statistic, df)
        else:
            rows[:, block] = _univariate(values[:, 0], columns, weights, statistic)
            spread[:, block] = residual_sd(values[:, 0], columns, weights, groups)
    keys = ("effect", "variance", "statistic", "z", "p", "pooled")
    return MapFit(**dict(zip(keys, rows, strict=True)), df=df, group_names=names, group_sd=spread)


def fit_adjusted_maps(
    data: NDArray[np.floating],
    design: ArrayLike,
    contrast: ArrayLike,
    voxel_covariates: NDArray[np.floating],
) -> MapFit:
    """Estimate and test one contrast in every voxel, with covariates that differ by voxel.

    Parameters
    ----------
    data : (n_participants, 1, n_voxels) array
        May be a memory map.
    design : (n_participants, n_columns) array
    contrast : (n_columns,) array
    voxel_covariates : (n_participants, n_covariates, n_voxels) array
        May be a memory map; see :func:`rls_bids.numerics.voxelwise.fit_voxelwise`.

    Returns
    -------
    MapFit
        ``df`` has one degree of freedom less for each covariate; without groups.

    Raises
    ------
    InputDataError
        No residual degrees of freedom, or a contrast that the design cannot estimate.

    Examples
    --------
    >>> design, grey = np.repeat([[1, 0], [0, 1]], 3, axis=0), np.array([1.0, 2, 4, 2, 3, 3])
    >>> data = np.array([1.0, 2, 4, 7, 8, 6]).reshape(6, 1, 1)
    >>> found = fit_adjusted_maps(data, design, [1, -1], grey.reshape(6, 1, 1))
    >>> found.statistic.round(3).tolist(), found.df
    ([-5.686], (1, 3))
    """
    found = fit_voxelwise(data[:, 0], design, contrast, voxel_covariates)
    return MapFit(
        effect=found.effect,
        variance=found.variance,
        statistic=found.t,
        z=found.z,
        p=found.p,
        pooled=found.t,
        df=(1, int(found.df)),
        group_names=(),
        group_sd=np.empty((0, data.shape[2])),
    )


def residual_sd(
    data: ArrayLike, design: ArrayLike, contrast: ArrayLike, groups: Sequence[str]
) -> FloatArray:
    """Return the residual standard deviation of each group.

    Parameters
    ----------
    data : (n_participants, n_voxels) array
    design : (n_participants, n_columns) array
    contrast : (n_columns,) or (n_contrasts, n_columns) array
    groups : sequence of str

    Returns
    -------
    (n_groups, n_voxels) array
        √(‖e_g‖² / tr R_gg), R the residual-forming matrix, in the order of appearance; NaN for a
        group with less than one residual degree of freedom of its own.

    Examples
    --------
    >>> design = np.repeat([[1, 0], [0, 1]], 2, axis=0)
    >>> residual_sd([[1.0], [3], [0], [4]], design, [1, -1], list("aabb")).round(3).tolist()
    [[1.414], [2.828]]
    """
    observed = np.asarray(data, dtype=float)
    parts = partition(design, contrast)
    basis = np.hstack([parts.effect, parts.nuisance])
    residual = observed - basis @ (basis.T @ observed)
    labels = np.array(groups)
    found = np.full((len(dict.fromkeys(groups)), observed.shape[1]), np.nan)
    for number, name in enumerate(dict.fromkeys(groups)):
        mine = labels == name
        df = float(mine.sum() - (basis[mine] ** 2).sum())
        if df >= 1 - 1e-9:
            found[number] = np.sqrt((residual[mine] ** 2).sum(axis=0) / df)
    return found


def _univariate(
    values: FloatArray, design: FloatArray, contrast: FloatArray, statistic: Statistic
) -> FloatArray:
    """Return effect, variance, statistic, z, p and the pooled statistic of one measurement."""
    missing = np.full(values.shape[1], np.nan)
    labels = statistic.groups
    if statistic.name in ("t", "v"):
        found = fit(values, design, contrast)
        if statistic.name == "t":
            return np.stack([found.effect, found.variance, found.t, found.z, found.p, found.t])
        own = fit_welch(values, design, contrast, labels)
        v = np.where(np.isnan(found.t), np.nan, own.statistic)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = (found.effect / v) ** 2
        return np.stack([found.effect, variance, v, own.z, own.p, found.t])
    pooled = fit_f(values, design, contrast)
    if statistic.name == "F":
        return np.stack([missing, missing, pooled.f, pooled.z, pooled.p, pooled.f])
    own = fit_welch(values, design, contrast, labels)
    return np.stack([missing, missing, own.statistic, own.z, own.p, pooled.f])


def _pillai(values: FloatArray, statistic: Statistic, df: tuple[float, float]) -> FloatArray:
    """Return the same for several measurements, (n_participants, n_responses, n_voxels)."""
    q, n_responses = statistic.n_effects, values.shape[1]
    scores = np.tensordot(statistic.basis, values, axes=(0, 0))
    residual = values - np.tensordot(statistic.basis, scores, axes=1)
    between = np.einsum("qmv,qkv->vmk", scores[:q], scores[:q])
    within = np.einsum("imv,ikv->vmk", residual, residual)
    scale = np.einsum("imv,imv->v", values, values)
    is_tested = np.linalg.eigvalsh(within)[:, 0] > 1e-20 * scale
    within[~is_tested] = np.eye(n_responses)
    trace = np.trace(np.linalg.solve(between + within, between), axis1=1, axis2=2)
    share = trace / min(q, n_responses)
    with np.errstate(divide="ignore"):
        f = np.where(is_tested, share / (1 - share) * df[1] / df[0], np.nan)
    missing = np.full(len(f), np.nan)
    return np.stack([missing, missing, f, f_to_z(f, *df), special.fdtrc(*df, f), f])
