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
    >>> means = left_out_means(data, design, [1, -1], 1, 2.0)
    >>> best = fit(data, design, [1, -1]).t.max()
    >>> bool(fit(means[:, None], design, [1, -1]).t[0] < best)
    True
    """
    values, columns = np.asarray(data, dtype=float), np.asarray(design, dtype=float)
    means = np.empty(len(values))
    others = np.ones(len(values), dtype=bool)
    for row, own in enumerate(values):
        others[row] = False
        z = sign * np.nan_to_num(fit(values[others], columns[others], contrast).z)
        means[row] = own[z > threshold].mean() if (z > threshold).any() else own[z.argmax()]
        others[row] = True
    return means
