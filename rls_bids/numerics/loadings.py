"""How strongly the regressors of a model load on the data, and how alike they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.signal import VANISHED, confound_basis, filter_operator

VERSION = "1"

MAX_VOXELS = 20_000

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loadings:
    """What a nuisance regression explains of the filtered series at the kept volumes.

    Shares are of 1, means over voxels. ``strength`` (k,) is each regressor's mean absolute
    correlation with the voxels, ``correlations`` (k, k) that among the regressors. By family:
    ``alone`` is what it explains by itself, ``unique`` what is lost when it alone is left out,
    ``by_chance`` what as many random regressors would explain. ``total`` and ``total_by_chance``
    are of the whole model; ``strength_by_chance`` is of one random regressor.
    """

    strength: FloatArray
    correlations: FloatArray
    families: tuple[str, ...]
    alone: FloatArray
    unique: FloatArray
    by_chance: FloatArray
    total: float
    total_by_chance: float
    strength_by_chance: float


def loadings(
    data: NDArray[np.floating],
    confounds: ArrayLike,
    families: Sequence[str],
    *,
    repetition_time: float,
    kept: NDArray[np.bool_],
    band: tuple[float, float] | None,
    order: int = 2,
) -> Loadings:
    """Measure what each regressor and each family of regressors explains.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array
        Of many voxels, 20,000 are taken at equal distances.
    confounds : (n_volumes, k) array
        Without NaN.
    families : sequence of k str
        Which family each regressor belongs to.
    repetition_time : float
        Seconds.
    kept : (n_volumes,) bool array
    band, order
        As in :func:`~rls_bids.numerics.signal.denoise`, and so are data and confounds filtered.

    Returns
    -------
    Loadings

    Notes
    -----
    With Y the filtered voxels and Q an orthonormal basis of filtered regressors, the share
    explained in a voxel is ‖Qᵀy‖² / ‖y‖². Chance is rank(Q) / d with d the dimensions of the
    band, and √(2 / πd) for one absolute correlation.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> course, noise = rng.standard_normal((200, 1)), rng.standard_normal((200, 50))
    >>> found = loadings(course + 0 * noise, course, ["motion"], repetition_time=2.0,
    ...                  kept=np.ones(200, dtype=bool), band=None)
    >>> round(found.total, 6), found.families
    (1.0, ('motion',))
    """
    columns = np.asarray(confounds, dtype=float).reshape(len(data), -1)
    operator, space = filter_operator(kept, repetition_time, band, order)
    step = max(1, -(-data.shape[1] // MAX_VOXELS))
    raw = np.asarray(data[:, ::step])[kept].astype(float)
    voxels = operator @ raw
    regressors = operator @ columns[kept]
    varies = np.linalg.norm(voxels, axis=0) > VANISHED * np.linalg.norm(raw, axis=0)
    voxels = _unit(voxels[:, varies])
    scaled = _unit(regressors)
    dimensions = space.shape[1] or np.nan
    names = tuple(dict.fromkeys(families))
    of_family = np.array(families, dtype=object)
    inside = {name: of_family == name for name in names}

    def share(chosen: NDArray[np.bool_]) -> tuple[float, float]:
        """Return what columns explain on average over voxels, and what chance would."""
        basis = confound_basis(regressors[:, chosen], columns[kept][:, chosen])
        explained = ((basis.T @ voxels) ** 2).sum(axis=0)
        return float(explained.mean()) if explained.size else 0.0, basis.shape[1] / dimensions

    every = np.ones(columns.shape[1], dtype=bool)
    total, total_by_chance = share(every)
    alone = [share(inside[name]) for name in names]
    others = [share(~inside[name])[0] for name in names]
    size = np.abs(scaled.T @ voxels)
    return Loadings(
        strength=size.mean(axis=1) if size.size else np.zeros(columns.shape[1]),
        correlations=scaled.T @ scaled,
        families=names,
        alone=np.array([each for each, _ in alone]),
        unique=total - np.array(others),
        by_chance=np.array([chance for _, chance in alone]),
        total=total,
        total_by_chance=total_by_chance,
        strength_by_chance=float(np.sqrt(2 / (np.pi * dimensions))),
    )


def _unit(columns: FloatArray) -> FloatArray:
    """Scale columns to length 1; those of zeros stay."""
    length = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(length > 0, length, 1.0))
