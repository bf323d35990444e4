"""Contrasts where every group has a variance of its own: Welch's v, Johansen's G."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rls_bids.numerics.ftest import f_to_z
from rls_bids.numerics.glm import t_to_z
from rls_bids.numerics.statistic import prepare_statistic

VERSION = "1"

ONE_GROUP = "All participants are in one variance group; expected two or more."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class WelchFit:
    """(n_voxels,) arrays; ``statistic`` is v with a sign, or G (an F) of several contrasts.

    ``z`` has the two-sided p of v, and the upper tail of G. ``group_sd`` (n_groups, n_voxels) are
    the residual standard deviations, in the order of the sorted labels.
    """

    statistic: FloatArray
    df: FloatArray
    z: FloatArray
    p: FloatArray
    group_sd: FloatArray


def fit_welch(
    data: ArrayLike, design: ArrayLike, contrast: ArrayLike, variance_groups: ArrayLike
) -> WelchFit:
    """Test contrasts where the residual variance differs between groups.

    Parameters
    ----------
    data : (n_participants, n_voxels) array
    design : (n_participants, n_columns) array
    contrast : (n_columns,) or (n_contrasts, n_columns) array
    variance_groups : (n_participants,) labels

    Returns
    -------
    WelchFit
        NaN where a group's residuals vanish.

    Raises
    ------
    InputDataError
        As :func:`rls_bids.numerics.statistic.prepare_statistic`.
    ValueError
        Fewer than two groups.

    Notes
    -----
    The estimate is that of least squares. With orthonormal effect columns A, the rows A_g of
    group g, σ²_g = ‖e_g‖² / tr(R_gg) (R the residual-forming matrix) and V_g = σ²_g A_gᵀA_g, its
    covariance is V = Σ V_g. One contrast: v = Aᵀy / √V with (ΣV_g)² / Σ(V_g² / tr R_gg) degrees of
    freedom. Several: Johansen's approximation (1980, doi:10.1093/biomet/67.1.85). Without
    covariates they are Welch's t and Welch's analysis of variance.

    Examples
    --------
    >>> design = np.repeat([[1, 0], [0, 1]], 3, axis=0)
    >>> found = fit_welch([[1.0], [2], [3], [4], [8], [6]], design, [1, -1], list("aaabbb"))
    >>> found.statistic.round(3).tolist(), found.df.round(3).tolist()
    ([-3.098], [2.941])
    """
    test = prepare_statistic(design, contrast, variance_groups=variance_groups)
    if test.name not in ("v", "G"):
        raise ValueError(ONE_GROUP)
    observed = np.asarray(data, dtype=float)
    scores = test.basis.T @ observed
    residual = observed - test.basis @ scores
    q, n_groups = test.n_effects, len(test.group_df)
    effect = scores[:q].T  # (n_voxels, q)
    parts = np.empty((n_groups, observed.shape[1], q, q))
    sd = np.empty((n_groups, observed.shape[1]))
    for g in range(n_groups):
        mine = test.groups == g
        squares = (residual[mine] ** 2).sum(axis=0)
        squares[squares <= 1e-20 * (observed[mine] ** 2).sum(axis=0)] = np.nan
        sd[g] = np.sqrt(squares / test.group_df[g])
        columns = test.basis[mine, :q]
        parts[g] = (sd[g] ** 2)[:, None, None] * (columns.T @ columns)
    whole = np.linalg.inv(parts.sum(axis=0))
    wald = np.einsum("vi,vij,vj->v", effect, whole, effect)
    share = parts @ whole
    traces = np.trace(share, axis1=2, axis2=3) ** 2 + np.einsum("gvij,gvji->gv", share, share)
    spread = (traces / test.group_df[:, None]).sum(axis=0) / 2
    df = q * (q + 2) / (3 * spread)
    if test.name == "v":
        v = np.copysign(np.sqrt(wald), effect[:, 0])
        p = 2 * special.stdtr(df, -np.abs(v))
        z = np.array([t_to_z(one, own) for one, own in zip(v, df, strict=True)])
        return WelchFit(statistic=v, df=df, z=z, p=p, group_sd=sd)
    f = wald / (q + 2 * spread - 6 * spread / (q + 2))
    return WelchFit(statistic=f, df=df, z=f_to_z(f, q, df), p=special.fdtrc(q, df, f), group_sd=sd)
