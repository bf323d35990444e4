"""How much a result hangs on single participants, and how large a cluster is in those left out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.errors import InputDataError
from rls_bids.numerics.effects import correction, hedges_g
from rls_bids.numerics.glm import fit, partition

VERSION = "1"

TOO_FEW = (
    "Leaving one of {n} participants out leaves {df} residual degrees of freedom; expected 2 or "
    "more."
)
TOO_FEW_HINT = "Add participants, or leave covariates out."
BAD_SIDES = "Sides have the shape {found}; expected {n} values of 1, -1 (both) and 0."
BAD_MASK = "The cluster without participant number {row} has the shape {found}, not {expected}."
BAD_DATA = "Data have the shape {found}; expected one row for each of {n} rows of the design."

DETERMINED = 1e-9

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
FindCluster = Callable[[NDArray[np.intp]], ArrayLike]


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """One contrast with and without each participant.

    ``full_effect``, ``full_t``, ``full_g`` (n_columns,) are of all; ``effect``, ``t``, ``g`` and
    ``dfbetas`` (n_participants, n_columns) without each; ``df`` is that without one.
    ``dfbetas`` is the change of the effect by him, in standard errors without him.
    ``largest_change`` (n_columns,) is the largest change of the effect in the unit of the column,
    with its sign (all minus without him), by participant ``most_influential`` (n_columns,).
    ``n_sign_flips`` (n_columns,) counts those without whom the sign is another.
    NaN where nothing can be estimated.
    """

    full_effect: FloatArray
    full_t: FloatArray
    full_g: FloatArray
    effect: FloatArray
    t: FloatArray
    g: FloatArray
    dfbetas: FloatArray
    largest_change: FloatArray
    most_influential: NDArray[np.intp]
    n_sign_flips: NDArray[np.intp]
    df: int


def leave_one_out(
    values: ArrayLike, design: ArrayLike, contrast: ArrayLike, sides: ArrayLike | None = None
) -> Influence:
    """Estimate a contrast without each participant in turn.

    Parameters
    ----------
    values : (n_participants, n_columns) array
        A column with a missing value gives NaN. Not changed.
    design : (n_participants, n_regressors) array
    contrast : (n_regressors,) array
    sides : (n_participants,) array, optional
        1 for the first group of the contrast, -1 for the second, 0 for neither; without it the
        contrast is the mean of all (one sample, differences of pairs). Concerns g alone.

    Returns
    -------
    Influence

    Raises
    ------
    InputDataError
        Too few participants, or a contrast that the design cannot estimate.
    ValueError
        Shapes that do not fit.

    Notes
    -----
    Nothing is fitted again: with leverage h and residual e of participant i,
    β₋ᵢ = β − (XᵀX)⁻¹xᵢ eᵢ/(1 − hᵢ) and RSS₋ᵢ = RSS − eᵢ²/(1 − hᵢ) (Cook & Weisberg 1982;
    DFBETAS: Belsley 1980, doi:10.1002/0471725153). g = J t √(1/n₁ + 1/n₂), or J t / √n.
    A participant who alone determines a parameter that the contrast uses has NaN.

    Examples
    --------
    >>> design = np.repeat([[1, 0], [0, 1]], 4, axis=0)
    >>> values = np.array([[1.0], [2], [1], [9], [0], [1], [0], [1]])
    >>> found = leave_one_out(values, design, [1, -1])
    >>> found.full_effect.tolist(), found.most_influential.tolist()
    ([2.75], [3])
    >>> found.effect[3].round(3).tolist(), found.largest_change.round(3).tolist()
    ([0.833], [1.917])
    """
    table = np.array(values, dtype=float)
    parts = partition(design, contrast)
    n = len(parts.effect)
    if table.ndim != 2 or len(table) != n:
        raise ValueError(BAD_DATA.format(found=table.shape, n=n))
    if parts.df < 3:
        raise InputDataError(TOO_FEW.format(n=n, df=parts.df - 1), TOO_FEW_HINT)
    whole = fit(table, design, contrast)
    basis = np.hstack([parts.effect, parts.nuisance])
    direction = parts.effect[:, 0]
    # The unit effect column has the score 1, so its estimate is the scale of the contrast.
    scale = float(fit(direction[:, None], design, contrast).effect[0])
    residual = table - basis @ (basis.T @ table)
    left = 1 - (basis**2).sum(axis=1)
    is_alone = left < DETERMINED
    left[is_alone] = 1.0
    step = np.where(is_alone, 0.0, direction / left)
    effect = whole.effect - scale * step[:, None] * residual
    square = (residual**2).sum(axis=0) - residual**2 / left[:, None]
    factor = scale**2 * (1 + direction * step)
    df = parts.df - 1 + is_alone  # without him his parameter goes as well
    square[:, ~np.isfinite(whole.t)] = np.nan
    variance = np.maximum(square, 0) / df[:, None]
    is_lost = is_alone & (np.abs(direction) > np.sqrt(DETERMINED))
    effect[is_lost] = np.nan
    variance[variance <= 1e-20 * (table**2).mean(axis=0)] = np.nan
    t = effect / np.sqrt(variance * factor[:, None])
    units, full_unit = _units(sides, n)
    change = whole.effect - effect
    largest = np.where(np.isfinite(change), np.abs(change), -1.0).argmax(axis=0)
    return Influence(
        full_effect=whole.effect,
        full_t=whole.t,
        full_g=correction(parts.df) * full_unit * whole.t,
        effect=effect,
        t=t,
        g=np.array([correction(int(one)) for one in df])[:, None] * units[:, None] * t,
        dfbetas=change / np.sqrt(variance * scale**2),
        largest_change=np.take_along_axis(change, largest[None], axis=0)[0],
        most_influential=largest,
        n_sign_flips=(np.sign(effect) * np.sign(whole.effect) < 0).sum(axis=0),
        df=parts.df - 1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutEffect:
    """The size of a cluster's effect in participants who had no part in finding it.

    ``values`` (n_participants,) are each one's mean in the cluster that the others gave, NaN where
    they gave none (``n_without`` of them); ``sizes`` (n_participants,) voxels of these clusters.
    ``effect`` and ``g`` with its limits are of these values; NaN where they cannot be estimated.
    """

    values: FloatArray
    sizes: NDArray[np.intp]
    n_without: int
    effect: float
    g: float
    lower: float
    upper: float


def left_out_effect(
    data: ArrayLike,
    clusters: FindCluster | ArrayLike,
    design: ArrayLike,
    contrast: ArrayLike,
    sides: ArrayLike | None = None,
) -> LeftOutEffect:
    """Measure the effect in a cluster that is found without the participant it is measured in.

    Parameters
    ----------
    data : (n_participants, n_voxels) array
        May be a memory map; missing values are left out of the mean.
    clusters : callable or (n_participants, n_voxels) bool array
        Given the numbers of the participants who are kept, (n - 1,) in their order, it returns
        the (n_voxels,) bool mask of the cluster that they give. Or all these masks.
    design : (n_participants, n_regressors) array
    contrast : (n_regressors,) array
    sides : (n_participants,) array, optional
        As in :func:`leave_one_out`.

    Returns
    -------
    LeftOutEffect

    Raises
    ------
    InputDataError
        As :func:`~rls_bids.numerics.glm.fit`, when some have a value but too few.
    ValueError
        A mask or data of another shape.

    Notes
    -----
    An effect that is measured in the voxels that were chosen for it is too large (Kriegeskorte
    2009, doi:10.1038/nn.2303); the value of a participant who was left out is not chosen
    (Esterman 2010, doi:10.1016/j.neuroimage.2009.10.085). Where the others give no cluster there
    is no value: with many of those, effect and g are of a selection again.

    Examples
    --------
    >>> data = np.array([[5.0, 1], [6, 0], [7, 2], [1, 1], [2, 0], [0, 2]])
    >>> def find(kept):
    ...     return data[kept].std(axis=0) > 2
    >>> found = left_out_effect(data, find, np.repeat(np.eye(2), 3, axis=0), [1, -1])
    >>> found.values.tolist(), found.effect
    ([5.0, 6.0, 7.0, 1.0, 2.0, 0.0], 5.0)
    """
    table = data if isinstance(data, np.ndarray) else np.asarray(data, dtype=float)
    columns = np.asarray(design, dtype=float)
    n = len(columns)
    if table.ndim != 2 or len(table) != n:
        raise ValueError(BAD_DATA.format(found=table.shape, n=n))
    values, sizes = np.full(n, np.nan), np.zeros(n, dtype=np.intp)
    for row in range(n):
        kept = np.delete(np.arange(n), row)
        mask = np.asarray(clusters(kept) if callable(clusters) else np.asarray(clusters)[row])
        if mask.shape != table.shape[1:]:
            message = BAD_MASK.format(row=row + 1, found=mask.shape, expected=table.shape[1:])
            raise ValueError(message)
        own = np.asarray(table[row], dtype=float)[mask.astype(bool)]
        sizes[row] = len(own)
        if np.isfinite(own).any():
            values[row] = own[np.isfinite(own)].mean()
    there = np.isfinite(values)
    numbers = (float("nan"),) * 4
    if there.sum() > columns.shape[1]:
        used = None if sides is None else np.asarray(sides)[there]
        numbers = _size(values[there], columns[there], contrast, used)
    return LeftOutEffect(
        values=values,
        sizes=sizes,
        n_without=int((~there).sum()),
        effect=numbers[0],
        g=numbers[1],
        lower=numbers[2],
        upper=numbers[3],
    )


# --- parts --------------------------------------------------------------------------------------


def _size(
    values: FloatArray, design: FloatArray, contrast: ArrayLike, sides: ArrayLike | None
) -> tuple[float, float, float, float]:
    """Return the effect and g with its limits."""
    fitted = fit(values[:, None], design, contrast)
    side = _sides(sides, len(values))
    n1, n2 = int((side > 0).sum()), int((side < 0).sum())
    if sides is None:
        n1 = n2 = 2 * len(values)  # √(1/2n + 1/2n) is the unit of one sample
    effect = float(fitted.effect[0])
    if fitted.df < 2 or min(n1, n2) < 1:
        return effect, float("nan"), float("nan"), float("nan")
    g, lower, upper = hedges_g(fitted.t, fitted.df, n1, n2)
    return effect, float(g[0]), float(lower[0]), float(upper[0])


def _sides(sides: ArrayLike | None, n: int) -> FloatArray:
    """Return the side of each participant, checked."""
    if sides is None:
        return np.ones(n)
    side = np.asarray(sides, dtype=float)
    if side.shape != (n,) or not np.isin(side, (-1, 0, 1)).all():
        raise ValueError(BAD_SIDES.format(found=side.shape, n=n))
    return side


def _units(sides: ArrayLike | None, n: int) -> tuple[FloatArray, float]:
    """Return √(1/n₁ + 1/n₂), or √(1/n), without each participant and with all; NaN if empty."""
    side = _sides(sides, n)
    groups = [side > 0] if sides is None else [side > 0, side < 0]
    without, whole = np.zeros(n), 0.0
    for mine in groups:
        size = int(mine.sum())
        left = size - mine.astype(float)
        without += np.divide(1.0, left, out=np.full(n, np.nan), where=left > 0)
        whole += 1 / size if size else float("nan")
    return np.sqrt(without), float(np.sqrt(whole))
