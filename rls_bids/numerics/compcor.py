"""Noise components of one tissue (aCompCor): sure voxels, slow drifts, principal components."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

N_COMPONENTS = 5
MIN_VOXELS = 50

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Principal components of one tissue.

    ``components`` is (n_volumes, n_components) with unit columns; ``singular_values`` and
    ``variance_explained`` (shares of 1) belong to them.
    """

    components: FloatArray
    singular_values: FloatArray
    variance_explained: FloatArray


def cosine_basis(n_volumes: int, repetition_time: float, cutoff_s: float = 128.0) -> FloatArray:
    """Return the discrete cosines slower than a cut-off, without the constant.

    Parameters
    ----------
    n_volumes : int
    repetition_time : float
        Seconds.
    cutoff_s : float
        Shortest period that is modelled.

    Returns
    -------
    (n_volumes, k) array
        fMRIPrep's ``cosine00`` …; k is 0 in runs shorter than the cut-off.
    """
    order = max(int(np.floor(2 * n_volumes * repetition_time / cutoff_s)), 1)
    phase = np.pi / n_volumes * (np.arange(n_volumes) + 0.5)
    return np.asarray(np.sqrt(2 / n_volumes) * np.cos(np.outer(phase, np.arange(1, order))))


def acompcor(
    data: NDArray[np.floating], cosines: FloatArray, n_components: int = N_COMPONENTS
) -> Components:
    """Return the first principal components of the series of one tissue.

    Constant and cosines are regressed out, voxels are scaled to unit variance, and the left
    singular vectors are the components (Behzadi 2007, doi:10.1016/j.neuroimage.2007.04.042).
    The sign, which is arbitrary, makes the largest value positive.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array
        Voxels that are constant or hold NaN add nothing.
    cosines : (n_volumes, k) array
        From :func:`cosine_basis`.
    n_components : int
        Fewer are returned where the tissue has not as many dimensions.

    Returns
    -------
    Components
    """
    series = np.asarray(data, dtype=float)
    series = series[:, np.isfinite(series).all(axis=0)]
    drift = np.linalg.qr(np.column_stack([np.ones(len(series)), cosines]))[0]
    size = np.linalg.norm(series, axis=0)
    series = series - drift @ (drift.T @ series)
    deviation = series.std(axis=0)
    varies = deviation > 1e-7 * size / np.sqrt(len(series))
    series = series[:, varies] / deviation[varies]
    if not varies.any():
        none = np.zeros(0)
        return Components(
            components=np.zeros((len(series), 0)), singular_values=none, variance_explained=none
        )
    values, vectors = np.linalg.eigh(series @ series.T)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    found = min(n_components, int((values > 1e-10 * values[0]).sum()))
    vectors = vectors[:, :found]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(found)]
    return Components(
        components=vectors * np.sign(largest),
        singular_values=np.sqrt(values[:found]),
        variance_explained=values[:found] / values.sum(),
    )


def erode_mask(mask: BoolArray, n: int) -> BoolArray:
    """Peel ``n`` layers off a 3D mask: a voxel stays while its 6 face neighbours are inside.

    The edge of the array counts as outside.
    """
    if n == 0:
        return mask.copy()
    return np.asarray(ndimage.binary_erosion(mask, iterations=n), dtype=bool)


def tissue_mask(
    probability: NDArray[np.floating],
    threshold: float,
    n_erosions: int = 0,
    *,
    within: BoolArray | None = None,
    min_voxels: int = MIN_VOXELS,
) -> BoolArray:
    """Return where one tissue is sure, away from its borders.

    Parameters
    ----------
    probability : (X, Y, Z) array
    threshold : float
        Least probability.
    n_erosions : int
        Layers to peel off; fewer when fewer than ``min_voxels`` would be left.
    within : (X, Y, Z) bool array, optional
        Voxels that have data; applied last, so that its border does not erode the tissue.
    min_voxels : int

    Returns
    -------
    (X, Y, Z) bool array
    """
    sure = probability >= threshold
    allowed = np.ones(sure.shape, dtype=bool) if within is None else within
    for n in range(n_erosions, -1, -1):
        found = erode_mask(sure, n) & allowed
        if found.sum() >= min_voxels:
            break
    return found
