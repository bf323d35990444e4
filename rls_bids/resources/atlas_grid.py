"""Atlases on the grid of the data, whatever space each lies in."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.resample import voxel_points
from rls_bids.records import Atlas
from rls_bids.resources.parcels import Labels, load_labels, load_parcels, nearest_labels
from rls_bids.resources.spaces import MOVED, NOT_MOVED, SAME, knows, points_to_space

PLANES = 8

Floats = NDArray[np.float64]


def labels_on_grid(
    atlas: Atlas, shape: tuple[int, int, int], affine: Floats, space: str
) -> Labels:
    """Return the parcel in which the centre of each voxel of a grid lies.

    Centres of spheres are moved to the space of the grid and keep their radius there; a voxel
    within reach of several belongs to the nearest. For label images the voxel centres are moved
    to the atlas' own space and read there. Where no way between the spaces is known, places are
    used as they are (:func:`rls_bids.resources.spaces.knows` tells).

    Parameters
    ----------
    atlas : Atlas
    shape : (3,) int
    affine : (4, 4) array
        Voxel to RAS+ mm.
    space : str
        Of the grid.

    Returns
    -------
    (X, Y, Z) int32 array
        Index of the parcel, 0 in none; read-only and shared by all who ask again.

    Raises
    ------
    UsageError, WorkflowError
        As :func:`rls_bids.resources.parcels.load_parcels`.

    Examples
    --------
    >>> from rls_bids.resources.atlases import find_atlas
    >>> affine = np.diag([4.0, 4.0, 4.0, 1.0])
    >>> affine[:3, 3] = -90, -126, -72
    >>> labels = labels_on_grid(find_atlas("Power264"), (46, 55, 46), affine, "MNI152NLin6Asym")
    >>> int(labels.max())
    264
    """
    x, y, z = (int(size) for size in shape)
    return _on_grid(atlas, (x, y, z), np.ascontiguousarray(affine, float).tobytes(), space)


# Every run and participant of a process asks for the same few atlases on the same grid.
@lru_cache(maxsize=8)
def _on_grid(atlas: Atlas, shape: tuple[int, int, int], affine: bytes, space: str) -> Labels:
    grid = np.frombuffer(affine).reshape(4, 4)
    if atlas.kind == "spheres":
        found = _spheres(atlas, shape, grid, space)
    else:
        found = _pulled(atlas, shape, grid, space)
    found.setflags(write=False)
    return found


def _pulled(atlas: Atlas, shape: tuple[int, int, int], affine: Floats, space: str) -> Labels:
    """Read the label image at the voxel centres, some planes at a time to save memory."""
    labels, own = load_labels(atlas)
    known = np.array([parcel.index for parcel in load_parcels(atlas)])
    found = np.zeros(shape, dtype=np.int32)
    for start in range(0, shape[0], PLANES):
        slab = found[start : start + PLANES]
        corner = np.array(affine)
        corner[:3, 3] += start * affine[:3, 0]
        points = voxel_points(np.ones(slab.shape, dtype=bool), corner)
        there = points_to_space(points, space, atlas.space)
        slab[:] = nearest_labels(labels, own, there).reshape(slab.shape)
    found[~np.isin(found, known)] = 0
    return found


def _spheres(atlas: Atlas, shape: tuple[int, int, int], affine: Floats, space: str) -> Labels:
    """Draw the spheres; looks only at the box around each."""
    parcels = load_parcels(atlas)
    centres = points_to_space(np.array([p.centre_mm for p in parcels]), atlas.space, space)
    back = np.linalg.inv(affine)
    reach = np.linalg.norm(back[:3, :3], axis=1)  # voxels that one mm spans along each axis
    labels = np.zeros(shape, dtype=np.int32)
    nearest = np.full(shape, np.inf)
    for parcel, centre in zip(parcels, centres, strict=True):
        radius = parcel.radius_mm or 0.0
        middle = back[:3, :3] @ centre + back[:3, 3]
        low = np.maximum(np.ceil(middle - radius * reach), 0).astype(int)
        high = np.minimum(np.floor(middle + radius * reach) + 1, shape).astype(int)
        if (low >= high).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        voxels = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"))
        points = np.tensordot(affine[:3, :3], voxels, axes=1) + affine[:3, 3, None, None, None]
        distance = np.linalg.norm(points - centre[:, None, None, None], axis=0)
        takes = (distance <= radius) & (distance < nearest[box])
        nearest[box][takes] = distance[takes]
        labels[box][takes] = parcel.index
    return labels


def atlas_metadata(atlas: Atlas, space: str) -> dict[str, Any]:
    """Return what a sidecar says of an atlas, and how it came to the space of the results.

    Examples
    --------
    >>> from rls_bids.resources.atlases import find_atlas
    >>> atlas_metadata(find_atlas("AAL3"), "MNI152NLin2009cAsym")["Placed"]
    'given in Colin27, used as it is'
    """
    moved = MOVED if knows(atlas.space, space) else NOT_MOVED
    placed = SAME if atlas.space == space else moved
    return {
        "Name": atlas.name,
        "Kind": atlas.kind,
        "NumberOfParcels": atlas.n_parcels,
        "GivenSpace": atlas.space,
        "SpaceEvidence": atlas.evidence,
        "Placed": placed.format(source=atlas.space, target=space),
        "ThresholdPercent": atlas.threshold if atlas.kind == "probabilistic" else None,
        "License": atlas.license,
        "Source": atlas.source,
        "DOI": atlas.doi,
    }


def parcel_centres(atlas: Atlas, space: str) -> Floats:
    """Return where to draw each parcel: the centre of its sphere, or the mean of its voxels.

    Parameters
    ----------
    atlas : Atlas
    space : str
        Of the picture.

    Returns
    -------
    (n_parcels, 3) array
        RAS+ mm in ``space``, in the order of :func:`rls_bids.resources.parcels.load_parcels`;
        NaN for a parcel without voxels.

    Raises
    ------
    UsageError, WorkflowError
        As :func:`rls_bids.resources.parcels.load_parcels`.

    Examples
    --------
    >>> from rls_bids.resources.atlases import find_atlas
    >>> parcel_centres(find_atlas("Power264"), "MNI152NLin6Asym").shape
    (264, 3)
    """
    parcels = load_parcels(atlas)
    if atlas.kind == "spheres":
        centres = np.array([parcel.centre_mm for parcel in parcels], dtype=float)
    else:
        labels, affine = load_labels(atlas)
        inside = labels > 0
        points, own = voxel_points(inside, affine), labels[inside]
        indices = np.array([parcel.index for parcel in parcels])
        size = int(max(own.max(), indices.max())) + 1
        counts = np.bincount(own, minlength=size)[indices]
        sums = [np.bincount(own, points[:, axis], size)[indices] for axis in range(3)]
        is_there = counts > 0
        centres = np.full((len(parcels), 3), np.nan)
        centres[is_there] = np.stack(sums, axis=1)[is_there] / counts[is_there, None]
    known = np.isfinite(centres).all(axis=1)
    centres[known] = points_to_space(centres[known], atlas.space, space)
    return centres
