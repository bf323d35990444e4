"""Covariates that differ from voxel to voxel, such as a map of grey matter of each participant.

At every voxel the model has the columns of the design and the participants' values there. The
part of a covariate that the nuisance columns do not explain, W, makes the reduced model [N, W];
what is left of the effect columns Q there is E = (Q − W Aᵀ) T, with A = QᵀW and T the inverse
square root of 1 − A Aᵀ, whose diagonal is one over the variance inflation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rls_bids.errors import InputDataError
from rls_bids.numerics.glm import (
    BAD_SHAPES,
    CONSTANT,
    NO_DF,
    NO_DF_HINT,
    ContrastFit,
    partition,
    t_to_z,
)

VERSION = "1"

SEVERAL = "{n} contrasts were given; expected one, as effect and variance are of one."

BLOCK = 2**18
# What a covariate adds to the design must be more than rounding of single-precision images.
COLLINEAR = 1e-5

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelNuisance:
    """Covariates of a block of voxels, orthogonal to the nuisance columns and to each other.

    ``columns`` (n_participants, n_covariates, n_voxels) is W, ``overlap`` (q, n_covariates,
    n_voxels) A, ``root`` (q, q, n_voxels) T. ``is_tested`` (n_voxels,) is False where a covariate
    adds nothing to the design or has missing values; all else is 0 there.
    """

    columns: FloatArray
    overlap: FloatArray
    root: FloatArray
    is_tested: NDArray[np.bool_]


def split_covariates(
    voxel_covariates: ArrayLike, effect: FloatArray, nuisance: FloatArray
) -> VoxelNuisance:
    """Split covariates of voxels at a partition of the design.

    Parameters
    ----------
    voxel_covariates : (n_participants, n_covariates, n_voxels) array
    effect, nuisance : (n_participants, q) and (n_participants, k) arrays
        From :func:`rls_bids.numerics.glm.partition`.

    Returns
    -------
    VoxelNuisance

    Notes
    -----
    A voxel is not tested where the part of a covariate that neither the design nor the covariates
    before it explain is shorter than 10⁻⁵ of the covariate.

    Examples
    --------
    >>> parts = partition([[1, 0], [1, 0], [0, 1], [0, 1]], [1, -1])
    >>> maps = np.array([[1.0, 7, 1], [2, 7, 1], [3, 7, 0], [5, 7, 0]])[:, None]
    >>> found = split_covariates(maps, parts.effect, parts.nuisance)
    >>> found.is_tested.tolist(), found.overlap[0, 0].round(3).tolist()
    ([True, False, False], [-0.845, 0.0, 0.0])
    """
    given = np.asarray(voxel_covariates, dtype=float)
    is_tested = np.isfinite(given).all(axis=(0, 1))
    columns = np.where(is_tested, given, 0.0)
    least = np.ones(given.shape[2])
    for j in range(given.shape[1]):
        column, before = columns[:, j], columns[:, :j]
        whole = np.linalg.norm(column, axis=0)
        for _ in range(2):  # the second time removes what rounding has left
            column = column - nuisance @ (nuisance.T @ column)
            column -= _dot(before, _score(before, column[:, None]))[:, 0]
        length = np.linalg.norm(column, axis=0)
        columns[:, j] = column / np.where(length > 0, length, 1.0)
        least = np.minimum(least, length / np.where(whole > 0, whole, 1.0))
    overlap = np.einsum("nq,nmv->qmv", effect, columns)
    values, vectors = np.linalg.eigh(
        np.eye(effect.shape[1]) - np.einsum("qmv,rmv->vqr", overlap, overlap)
    )
    is_tested &= least * np.sqrt(np.maximum(values[:, 0], 0.0)) > COLLINEAR
    inverse = np.where(is_tested[:, None], 1.0 / np.sqrt(np.maximum(values, 1e-300)), 0.0)
    return VoxelNuisance(
        columns=np.where(is_tested, columns, 0.0),
        overlap=np.where(is_tested, overlap, 0.0),
        root=np.einsum("vqi,vi,vri->qrv", vectors, inverse, vectors),
        is_tested=is_tested,
    )


def without_covariates(residuals: FloatArray, nuisance: VoxelNuisance) -> FloatArray:
    """Return residuals of the design's nuisance columns without what covariates explain.

    Parameters
    ----------
    residuals : (n_participants, n_responses, n_voxels) array
    nuisance : VoxelNuisance

    Returns
    -------
    array like ``residuals``
        e − W Wᵀe.
    """
    return residuals - _dot(nuisance.columns, _score(nuisance.columns, residuals))


def fit_voxelwise(
    data: ArrayLike, design: ArrayLike, contrast: ArrayLike, voxel_covariates: ArrayLike
) -> ContrastFit:
    """Fit by least squares and test one contrast, with covariates that differ by voxel.

    Parameters
    ----------
    data : (n_participants, n_voxels) array
        May be a memory map: it is read in blocks of voxels.
    design : (n_participants, n_columns) array
    contrast : (n_columns,) array
    voxel_covariates : (n_participants, n_voxels) or (n_participants, n_covariates, n_voxels) array
        May be a memory map. They are used as they are: where the constant is tested, centre them
        first over the participants of the model.

    Returns
    -------
    ContrastFit
        As :func:`rls_bids.numerics.glm.fit` of each voxel with its own design. NaN where the
        residuals vanish, or a covariate adds nothing to the design or has missing values.

    Raises
    ------
    InputDataError
        No residual degrees of freedom, or a contrast that the design cannot estimate.
    ValueError
        Shapes do not fit together, or several contrasts.

    Notes
    -----
    cᵀβ = κ T Eᵀy and var = κ² T² σ², where κ qᵀy is the contrast without covariates and
    σ² = ‖y − N Nᵀy − W Wᵀy − E Eᵀy‖² / (n − rank X − n_covariates)
    (Frisch & Waugh 1933, doi:10.2307/1907330).

    Examples
    --------
    >>> design = np.repeat([[1, 0], [0, 1]], 3, axis=0)
    >>> grey = np.array([[1.0], [2], [4], [2], [3], [3]])
    >>> found = fit_voxelwise([[1.0], [2], [4], [7], [8], [6]], design, [1, -1], grey)
    >>> found.effect.round(3).tolist(), found.t.round(3).tolist(), found.df
    ([-4.375], [-5.686], 3)
    """
    observed = data if isinstance(data, np.ndarray) else np.asarray(data, dtype=float)
    covariates = as_covariates(voxel_covariates)
    columns, weights = np.asarray(design, dtype=float), np.asarray(contrast, dtype=float)
    parts = partition(columns, weights)
    shapes = (observed.shape, columns.shape, covariates.shape)
    if {s[0] for s in shapes} != {len(columns)} or observed.shape[1:] != covariates.shape[2:]:
        raise ValueError(BAD_SHAPES.format(found=shapes))
    if parts.effect.shape[1] > 1:
        raise ValueError(SEVERAL.format(n=parts.effect.shape[1]))
    df = parts.df - covariates.shape[1]
    if df < 1:
        raise InputDataError(NO_DF.format(n_rows=len(columns), rank=len(columns) - df), NO_DF_HINT)
    row = weights.ravel()
    scale = float(row @ row) / float(parts.effect[:, 0] @ (columns @ row))
    effect, variance = np.empty((2, observed.shape[1]))
    step = max(BLOCK // (len(columns) * (1 + covariates.shape[1])), 64)
    for start in range(0, observed.shape[1], step):
        block = slice(start, start + step)
        values = np.asarray(observed[:, block], dtype=float)
        nuisance = split_covariates(covariates[..., block], parts.effect, parts.nuisance)
        root = nuisance.root[0, 0]
        both = root * (
            parts.effect - _dot(nuisance.columns, nuisance.overlap.transpose(1, 0, 2))[:, 0]
        )
        rest = values - parts.nuisance @ (parts.nuisance.T @ values)
        rest = without_covariates(rest[:, None], nuisance)[:, 0]
        score = (both * rest).sum(axis=0)
        squares = ((rest - both * score) ** 2).sum(axis=0)
        is_tested = nuisance.is_tested & (squares > CONSTANT**2 * (values**2).sum(axis=0))
        effect[block] = np.where(nuisance.is_tested, scale * root * score, np.nan)
        variance[block] = np.where(is_tested, (scale * root) ** 2 * squares / df, np.nan)
    t = effect / np.sqrt(variance)
    p = np.asarray(2 * special.stdtr(df, -np.abs(t)))
    return ContrastFit(effect=effect, variance=variance, t=t, z=t_to_z(t, df), p=p, df=df)


def told_apart(design: ArrayLike) -> FloatArray:
    """Return a design in which no two rows are equal, to draw resamplings for.

    Participants with equal rows of the design are interchangeable; with covariates of their own
    at every voxel they are not. Resamplings are counted and listed by the rows of the design, so
    give :func:`rls_bids.numerics.exchangeability.draw_resamplings` this one.

    Parameters
    ----------
    design : (n_participants, n_columns) array

    Returns
    -------
    (n_participants, n_columns + 1) array

    Examples
    --------
    >>> from rls_bids.numerics.exchangeability import choose_exchangeability, count_distinct
    >>> design = np.repeat([[1, 0], [0, 1]], 3, axis=0)
    >>> chosen = choose_exchangeability(design, [1, -1])
    >>> count_distinct(chosen, design), count_distinct(chosen, told_apart(design))
    (20, 720)
    """
    columns = np.asarray(design, dtype=float)
    return np.column_stack([columns, np.arange(len(columns))])


def as_covariates(voxel_covariates: ArrayLike) -> NDArray[np.floating]:
    """Return covariates as (n_participants, n_covariates, n_voxels); a memory map is not read.

    Parameters
    ----------
    voxel_covariates : (n_participants, n_voxels) or (n_participants, n_covariates, n_voxels) array
    """
    given = (
        voxel_covariates
        if isinstance(voxel_covariates, np.ndarray)
        else np.asarray(voxel_covariates, dtype=float)
    )
    return given[:, None] if given.ndim == 2 else given


def _score(columns: FloatArray, values: FloatArray) -> FloatArray:
    """Return Wᵀy at every voxel, (n_covariates, n_responses, n_voxels)."""
    return np.asarray(np.einsum("nmv,nkv->mkv", columns, values))


def _dot(columns: FloatArray, scores: FloatArray) -> FloatArray:
    """Return W s at every voxel, (n_participants, n_responses, n_voxels)."""
    return np.asarray(np.einsum("nmv,mkv->nkv", columns, scores))
