"""How much head motion is left in the connections of a comparison."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rls_bids.errors import InputDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.interfaces.designs import GroupTest

    Floats = NDArray[np.float64]

MOTION = "mean_fd"
BY_SESSIONS = "mean over the sessions"
BY_RESPONSE = "weighed over the sessions as the matrices are"


def motion_left(
    edges: "Floats",
    mean_fd_mm: Sequence[float],
    columns: Sequence[str],
    test: "GroupTest",
    centres: "Floats",
) -> "tuple[Floats, dict[str, Any]]":
    """Correlate mean framewise displacement with every connection.

    Parameters
    ----------
    edges : (n_files, n_edges) array
        All sessions of the first participant, then of the second.
    mean_fd_mm : sequence of n_files floats
    columns : sequence of str
        Of the design; those of motion are not among the covariates.
    test : GroupTest
        How sessions become what is tested. Where several things are tested together, motion and
        connections are averaged over the sessions.
    centres : (n_nodes, 3) array
        RAS+ mm.

    Returns
    -------
    r : (n_edges,) array
        NaN where nothing was measured.
    told : dict
        The summary for sidecars; where it cannot be measured, the reason.
    """
    import numpy as np

    from rls_bids.numerics.columns import weigh_sessions
    from rls_bids.numerics.edgemotion import motion_in_edges

    several = len(test.responses) > 1
    n_sessions = test.responses.shape[1]
    weights = np.full((1, n_sessions), 1 / n_sessions) if several else test.responses
    motion = weigh_sessions(np.array(mean_fd_mm, dtype=float)[:, None], weights)[:, 0, 0]
    values = weigh_sessions(edges, weights)[:, 0]
    is_other = [MOTION not in name for name in columns]
    told: dict[str, Any] = {
        "Motion": BY_SESSIONS if several else BY_RESPONSE,
        "Covariates": [name for name in columns if MOTION not in name],
    }
    try:
        found = motion_in_edges(values, motion, test.matrix[:, is_other], centres)
    except InputDataError as error:
        return np.full(values.shape[1], np.nan), told | {"Missing": error.message}
    told |= {
        "NumberOfEdges": found.n_edges,
        "MedianAbsR": found.median_abs_r,
        "ShareUncorrected05": found.share_significant,
        "DistanceRho": found.distance_rho if np.isfinite(found.distance_rho) else None,
    }
    return found.r, told


def node_centres(atlas: str, names: Sequence[str], space: str) -> "Floats":
    """Return the centres (n_nodes, 3) of nodes, NaN for one that the atlas does not place."""
    import numpy as np

    from rls_bids.resources.atlas_grid import parcel_centres
    from rls_bids.resources.atlases import find_atlas
    from rls_bids.resources.parcels import load_parcels

    found = find_atlas(atlas)
    places = {
        parcel.name: centre
        for parcel, centre in zip(load_parcels(found), parcel_centres(found, space), strict=True)
    }
    return np.array([places.get(name, np.full(3, np.nan)) for name in names])
