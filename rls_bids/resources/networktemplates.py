"""Templates of resting networks, made of the nodes of an atlas of spheres.

No map of resting networks comes with the installed packages, but nodes do, each with its network.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.resample import voxel_points
from rls_bids.records import Atlas, Parcel
from rls_bids.resources.atlas_grid import atlas_metadata
from rls_bids.resources.parcels import load_parcels
from rls_bids.resources.spaces import points_to_space

VERSION = "1"
TEMPLATE_ATLAS = "Seitzman300"
FWHM_MM = 16.0
"""As wide as can be (whole mm) so that no two templates correlate by .25 in the brain.

Wider ones are more alike between atlases: their nodes differ by some mm.
"""
NO_NETWORK = ("", "unassigned")

_FWHM_TO_SD = 1 / np.sqrt(8 * np.log(2))


def network_templates(
    atlas: Atlas, mask: NDArray[np.bool_], affine: NDArray[np.float64], space: str
) -> dict[str, NDArray[np.float32]]:
    """Return a map of each network of an atlas of spheres, at the voxels of a grid.

    A map is max exp(−d²/2s²) over the nodes of a network, with the distance d to a node and s of
    a full width at half maximum of 16 mm: 1 at nodes, a half at 8 mm from them. Nodes without
    network are in none.

    Parameters
    ----------
    atlas : Atlas
        Of kind ``"spheres"``.
    mask : (X, Y, Z) bool array
        Voxels that are wanted.
    affine : (4, 4) array
        Voxel to RAS+ mm.
    space : str
        Of the grid.

    Returns
    -------
    dict of (n_voxels,) float32 arrays
        By network, in alphabetical order; the voxels in the order of ``volume[mask]``.

    Raises
    ------
    UsageError, WorkflowError
        As :func:`rls_bids.resources.parcels.load_parcels`.

    References
    ----------
    Seitzman 2020, 10.1016/j.neuroimage.2019.116290 (nodes and networks).

    Examples
    --------
    >>> from rls_bids.resources.atlases import find_atlas
    >>> at_pcc = np.diag([2.0, 2.0, 2.0, 1.0])
    >>> at_pcc[:3, 3] = -2, -50, 28
    >>> found = network_templates(
    ...     find_atlas("Seitzman300"), np.ones((1, 1, 1), bool), at_pcc, "MNI152NLin6Asym")
    >>> len(found), max(found, key=lambda name: found[name][0])
    (13, 'DefaultMode')
    """
    points = voxel_points(mask, affine)
    found = {}
    for name, nodes in _networks(atlas).items():
        given = np.array([node.centre_mm for node in nodes], dtype=np.float64)
        nearest = np.full(len(points), np.inf)
        for centre in points_to_space(given, atlas.space, space):
            np.minimum(nearest, ((points - centre) ** 2).sum(axis=1), out=nearest)
        variance = (FWHM_MM * _FWHM_TO_SD) ** 2
        found[name] = np.exp(-nearest / (2 * variance)).astype(np.float32)
    return found


def _networks(atlas: Atlas) -> dict[str, list[Parcel]]:
    """Return the nodes of each network, in alphabetical order."""
    networks: dict[str, list[Parcel]] = {}
    for parcel in load_parcels(atlas):
        if parcel.network not in NO_NETWORK:
            networks.setdefault(parcel.network, []).append(parcel)
    return dict(sorted(networks.items()))


def templates_metadata(atlas: Atlas, space: str) -> dict[str, Any]:
    """Return what a sidecar says of the templates.

    Examples
    --------
    >>> from rls_bids.resources.atlases import find_atlas
    >>> told = templates_metadata(find_atlas("Seitzman300"), "MNI152NLin2009cAsym")
    >>> told["FwhmMm"], told["Networks"]["DefaultMode"]
    (16.0, 67)
    """
    told = atlas_metadata(atlas, space)
    shared = ("Name", "GivenSpace", "SpaceEvidence", "Placed", "License", "Source", "DOI")
    return {
        **{key: told[key] for key in shared},
        "FwhmMm": FWHM_MM,
        "Networks": {name: len(nodes) for name, nodes in _networks(atlas).items()},
    }
