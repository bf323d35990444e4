"""Seeds that are regions: a label of an atlas or a mask file, found and put on a grid.

What a seeds file calls ``mask`` is ``atlas:label`` (name or index of the parcel, the atlas one of
``--list-atlases`` or a label image with its table) or the path of a mask image.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.errors import UsageError
from rls_bids.numerics.resample import resample_volume, voxel_points
from rls_bids.records import Atlas, Parcel, Seed
from rls_bids.resources.atlas_grid import labels_on_grid
from rls_bids.resources.atlases import atlas_content, find_atlas
from rls_bids.resources.parcels import load_parcels, nearest_labels
from rls_bids.resources.spaces import points_to_space
from rls_bids.resources.templates import (
    HARVARD_OXFORD,
    file_sha256,
    load_probability,
    locate_region,
)
from rls_bids.resources.user_atlas import space_of
from rls_bids.settings.limits import IMAGE_ENDINGS

NO_LABEL = "The seed mask {mask} names no region of {atlas}; the nearest are {nearest}."
NO_ATLAS = "The seed mask {mask} names {atlas!r}, which is neither a known atlas nor a file."
NO_MASK_FILE = "The seed mask {path} cannot be read as an image: {reason}."
NOT_A_MASK = "The seed mask {path} has the shape {shape}; expected three dimensions."
MASK_HINT = (
    "A mask is atlas:label (rls_bids --list-atlases prints the atlases; the label is a name or an "
    "index), or the path of a NIfTI image that is above 0 inside."
)
CIRCULAR = (
    "The mask of the seed {seed} is a result of a group model ({path}). Testing the participants "
    "of that model with it is circular: the region was chosen for what their data showed, so "
    "effects come out too large and p values too small (Kriegeskorte 2009, 10.1038/nn.2303). Use "
    "it for other participants or data, or report it as a description."
)
GROUP_RESULT = re.compile(r"(^|/)group/model-[^/]+/")
N_NEAREST = 3
PLANES = 8

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a mask seed is: ``atlas`` and ``index`` of a label, or neither for a mask file.

    ``name`` is how it is written, with the parcel's name; ``content`` a hash of what it is made
    of, empty where the package pins it.
    """

    name: str
    space: str
    evidence: str
    content: str = ""
    atlas: Atlas | None = None
    index: int = 0


def is_file(mask: str) -> bool:
    """Tell whether a mask is an image of its own, not a label of an atlas.

    Examples
    --------
    >>> is_file("/data/cluster.nii.gz"), is_file("AAL3:Thal_VPL_L")
    (True, False)
    """
    return mask.endswith(IMAGE_ENDINGS)


def find_place(mask: str, space: str = "unknown") -> Place:
    """Find the region that a mask names.

    Parameters
    ----------
    mask : str
        ``atlas:label`` or the path of an image.
    space : str
        That of a mask file as the seeds file says it; where it says nothing, the file's name or
        sidecar may.

    Raises
    ------
    UsageError
        The atlas, the label or the file is not known, or the image is no mask.
    WorkflowError
        A file of an installed package is missing or changed.

    Examples
    --------
    >>> find_place("AAL3:129").name
    'AAL3:Thal_VPL_L'
    """
    if is_file(mask):
        return _mask_file(mask, space)
    text, _, label = mask.rpartition(":")
    try:
        atlas = find_atlas(text)
    except UsageError as error:
        if "/" in text:
            raise
        raise UsageError(NO_ATLAS.format(mask=mask, atlas=text), MASK_HINT) from error
    if atlas.name == HARVARD_OXFORD:
        return _harvard_oxford(atlas, label)
    parcel = _parcel(atlas, label, mask)
    content = hashlib.sha256(atlas_content(atlas).encode()).hexdigest()
    return Place(
        name=f"{text if '/' in text else atlas.name}:{parcel.name}",
        space=atlas.space,
        evidence=atlas.evidence,
        content=content,
        atlas=atlas,
        index=parcel.index,
    )


def _harvard_oxford(atlas: Atlas, label: str) -> Place:
    """Return a region by its own probability, which also cuts across neighbours."""
    by_index = {str(parcel.index): parcel.name for parcel in load_parcels(atlas)}
    region = locate_region(f"{atlas.name}:{by_index.get(label, label)}")
    return Place(name=region.name, space=region.space, evidence=region.evidence)


def _parcel(atlas: Atlas, label: str, mask: str) -> Parcel:
    """Return the parcel of a name, whatever its case, or of an index."""
    parcels = load_parcels(atlas)
    known: Mapping[str, Parcel] = {parcel.name: parcel for parcel in parcels}
    folded = {parcel.name.casefold(): parcel for parcel in parcels}
    by_index = {str(parcel.index): parcel for parcel in parcels}
    found = known.get(label) or folded.get(label.casefold()) or by_index.get(label)
    if found is None:
        close = get_close_matches(label.casefold(), folded, n=N_NEAREST, cutoff=0.0)
        nearest = ", ".join(folded[each].name for each in close)
        raise UsageError(NO_LABEL.format(mask=mask, atlas=atlas.name, nearest=nearest), MASK_HINT)
    return found


def _mask_file(path: str, space: str) -> Place:
    """Describe a mask image after a look at its header."""
    shape = _load(path).shape
    if len(shape) < 3 or set(shape[3:]) - {1}:
        raise UsageError(NOT_A_MASK.format(path=path, shape=shape), MASK_HINT)
    evidence = "as the seeds file says"
    if space == "unknown":
        space, evidence = space_of(Path(path))
    return Place(name=path, space=space, evidence=evidence, content=file_sha256(path))


def _load(path: str) -> Any:  # noqa: ANN401 nibabel's
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        return nib.load(path)
    except (OSError, ImageFileError) as error:
        raise UsageError(NO_MASK_FILE.format(path=path, reason=error), MASK_HINT) from error


def circularity(seed: Seed) -> str:
    """Say that a seed is a result of a group model; empty where it is not.

    Examples
    --------
    >>> seed = Seed(name="a", network="user", kind="mask",
    ...             mask="/out/group/model-group/model-group_desc-fdr_mask.nii.gz")
    >>> circularity(seed)[:57]
    'The mask of the seed a is a result of a group model (/out'
    """
    if seed.kind == "mask" and GROUP_RESULT.search(seed.mask or ""):
        return CIRCULAR.format(seed=seed.name, path=seed.mask)
    return ""


def seed_region(seed: Seed, shape: tuple[int, ...], affine: Floats, space: str) -> Bools:
    """Return the voxels of a grid in the region of a mask seed; see :func:`region_on_grid`."""
    given = seed.given_space or seed.space
    return region_on_grid(str(seed.mask), shape, affine, space, given, seed.content)


def region_on_grid(
    mask: str,
    shape: tuple[int, ...],
    affine: Floats,
    space: str,
    given_space: str = "unknown",
    content: str = "",
) -> Bools:
    """Return the voxels of a grid whose centres lie in a region.

    The centres are moved to the space of the region and looked up there; where no way between
    the spaces is known, they stay. Of a Harvard-Oxford label, the probability is interpolated
    and must reach 25 %; of other atlases and of mask files the nearest voxel counts.

    Parameters
    ----------
    mask : str
        As in :func:`find_place`.
    shape, affine, space
        The grid (voxel to RAS mm) and its standard space, which need not be that of the region.
    given_space : str
        That of a mask file.
    content : str
        Hash of a mask file, so that a changed one is read again.

    Returns
    -------
    (X, Y, Z) bool array
        Read-only.

    Raises
    ------
    UsageError, WorkflowError
        As :func:`find_place`.
    """
    return _region(mask, shape, np.asarray(affine, float).tobytes(), space, given_space, content)


# Every participant of a process asks for the same few regions of the same grid.
@lru_cache(maxsize=16)
def _region(
    mask: str,
    shape: tuple[int, ...],
    affine: bytes,
    space: str,
    given_space: str,
    content: str,  # noqa: ARG001 part of the key of the cache
) -> Bools:
    grid = np.frombuffer(affine).reshape(4, 4)
    place = find_place(mask, given_space)
    if place.atlas is not None:
        x, y, z = shape
        found = labels_on_grid(place.atlas, (x, y, z), grid, space) == place.index
    elif is_file(mask):
        found = _file_on_grid(place, shape, grid, space)
    else:
        region = locate_region(place.name)
        probability, own = load_probability(region)
        points = points_to_space(voxel_points(np.ones(shape, bool), grid), space, place.space)
        values = resample_volume(probability, own, points, order=1)
        found = (values >= region.threshold).reshape(shape)
    found = np.array(found)
    found.setflags(write=False)
    return found


def _file_on_grid(place: Place, shape: tuple[int, ...], affine: Floats, space: str) -> Bools:
    """Read a mask image at the voxel centres, some planes at a time to save memory."""
    image = _load(place.name)
    data = np.nan_to_num(np.asarray(image.dataobj, dtype=np.float32))
    inside = (data.reshape(data.shape[:3]) > 0).astype(np.int32)
    own = np.array(image.affine, dtype=np.float64)
    found = np.zeros(shape, dtype=bool)
    for start in range(0, shape[0], PLANES):
        slab = found[start : start + PLANES]
        corner = np.array(affine)
        corner[:3, 3] += start * affine[:3, 0]
        points = voxel_points(np.ones(slab.shape, dtype=bool), corner)
        there = points_to_space(points, space, place.space)
        slab[:] = nearest_labels(inside, own, there).reshape(slab.shape) == 1
    return found
