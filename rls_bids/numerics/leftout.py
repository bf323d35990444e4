"""The effect in a cluster, each participant measured where the others alone would have looked."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.glm import fit

VERSION = "1"

FloatArray = NDArray[np.float64]


def left_out_means(
    data: ArrayLike, design: ArrayLike, contrast: ArrayLike, sign: int, threshold: float
) -> FloatArray:
    """Return every participant's mean over voxels that were chosen without that participant.

    Parameters
    ----------
    data : (n_participants, n_voxels) array
        Of a cluster and what lies around it.
    design : (n_participants, n_columns) array
    contrast : (n_columns,) array
    sign : int
        1 or −1, that of the cluster.
    threshold : float
        z that forms clusters.

    Returns
    -------
    (n_participants,) array
        The mean over voxels whose z in all others exceeds the threshold; where none does, the
        highest voxel.

    Raises
    ------
    InputDataError
        Without one of the participants the model cannot be fitted.

    Notes
    -----
    After Esterman 2010 (doi:10.1016/j.neuroimage.2009.10.085). Which voxels count no longer
    depends on whom they are applied to; that there is a cluster here at all still does, so a
    little of the inflation stays.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> data = rng.normal(size=(20, 50))
    >>> design = np.repeat([[1, 0], [0, 1]], 10, axis=0)
    >>> chosen = (cluster_means, left_out_means)
    >>> means = [each(data, design, [1, -1], 1, 2.0) for each in chosen]
    >>> [round(float(fit(one[:, None], design, [1, -1]).t[0]), 1) for one in means]
    [2.6, 2.1]
    """
    values, columns = np.asarray(data, dtype=float), np.asarray(design, dtype=float)
    means = np.empty(len(values))
    others = np.ones(len(values), dtype=bool)
    for row in range(len(values)):
        others[row] = False
        chosen = _chosen(values[others], columns[others], contrast, sign, threshold)
        means[row] = values[row, chosen].mean()
        others[row] = True
    return means


def cluster_means(
    data: ArrayLike, design: ArrayLike, contrast: ArrayLike, sign: int, threshold: float
) -> FloatArray:
    """Return every participant's mean over voxels that were chosen with all participants.

    Parameters and result are those of :func:`left_out_means`, with which it is to be compared.
    """
    values = np.asarray(data, dtype=float)
    chosen = _chosen(values, np.asarray(design, dtype=float), contrast, sign, threshold)
    return np.asarray(values[:, chosen].mean(axis=1))


def _chosen(
    values: FloatArray, design: FloatArray, contrast: ArrayLike, sign: int, threshold: float
) -> NDArray[np.intp]:
    """Return the voxels above the threshold, or the highest one."""
    z = sign * np.nan_to_num(fit(values, design, contrast).z)
    above = np.flatnonzero(z > threshold)
    return above if above.size else np.array([z.argmax()])
