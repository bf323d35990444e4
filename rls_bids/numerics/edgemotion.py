"""What head motion has left in the connections that a design compares."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.motion import QcFc, qc_fc
from rls_bids.numerics.nbs import node_pairs

VERSION = "1"

BAD_CENTRES = "There are {found} centres for {expected} edges; expected one a node."

FloatArray = NDArray[np.float64]


def motion_in_edges(
    edges: ArrayLike, mean_fd: ArrayLike, design: ArrayLike, centres: ArrayLike
) -> QcFc:
    """Correlate motion with every connection, cleared of the columns of a design.

    Parameters
    ----------
    edges : (n_participants, n_edges) array
        Connections in the order of :func:`~rls_bids.numerics.nbs.node_pairs`.
    mean_fd : (n_participants,) array
        mm; of a difference between sessions, its difference.
    design : (n_participants, n_columns) array
        Without columns of motion. Columns that repeat each other or a constant are no obstacle:
        what they span is taken out.
    centres : (n_nodes, 3) array
        RAS+ mm; NaN where a place is not known.

    Returns
    -------
    QcFc

    Raises
    ------
    InputDataError
        Too few participants for the design, or motion that the design explains.
    ValueError
        Centres that do not fit the edges.

    Notes
    -----
    As :func:`~rls_bids.numerics.motion.qc_fc`; the length of a connection is the straight way
    between its two centres.

    Examples
    --------
    >>> fd = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.7])
    >>> edges = np.column_stack([fd, fd**2, -fd])
    >>> groups = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1.0]])
    >>> found = motion_in_edges(edges, fd, groups, [[0, 0, 0], [10, 0, 0], [10, 50, 0]])
    >>> found.r.round(2).tolist(), round(found.distance_rho, 2)
    ([1.0, 0.97, -1.0], -0.5)
    """
    places, columns = np.asarray(centres, dtype=float), np.asarray(design, dtype=float)
    pairs = node_pairs(len(places))
    n_edges = np.asarray(edges).shape[1]
    if len(pairs.first) != n_edges:
        raise ValueError(BAD_CENTRES.format(found=len(places), expected=n_edges))
    lengths = np.linalg.norm(places[pairs.first] - places[pairs.second], axis=1)
    return qc_fc(edges, mean_fd, _span(columns), lengths)


def _span(columns: FloatArray) -> FloatArray | None:
    """Return as many columns as the given ones span beside a constant; None for none."""
    centred = columns - columns.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    varies = length > 1e-9 * np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    if not varies.any():
        return None
    left, sizes, _ = np.linalg.svd(centred[:, varies] / length[varies], full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * sizes[0]])
