"""Network maps that users bring for dual regression: 4D weights, or a label image."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.errors import UsageError
from rls_bids.numerics.resample import resample_volume, voxel_points
from rls_bids.records import Seed
from rls_bids.resources.parcels import nearest_labels
from rls_bids.resources.spaces import points_to_space
from rls_bids.resources.templates import file_sha256
from rls_bids.resources.user_atlas import companion, image_label, read_table, space_of

NOT_MAPS = "--network-maps names {path}, which {reason}."
MAPS_HINT = (
    "Give a 4D image with a map in each volume, or a 3D image of whole numbers; a table beside it "
    "(.tsv of the same name, columns index and name) names volumes (from 1) or labels."
)
NO_NAME = "--network-maps names {path}, whose table {table} has no row for {what} {missing}."
SAME_LABEL = (
    "{one} and {other} would have one file name: a seed or network map needs another name."
)
SET = "maps_{name}"
MAX_MAPS = 100
MAX_NAMED = 5

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Weights = NDArray[np.float32]


def load_network_maps(path: str) -> tuple[Seed, ...]:
    """Describe the maps of a file, one record each, in the order of volumes or labels.

    Results are called ``<file>_<map>``, the file by its ``atlas``, ``seg`` or ``desc`` label or
    its name. The space is that of ``space-`` or ``tpl-`` in the name, or of the sidecar, or
    unknown: then places are used as they are.

    Raises
    ------
    UsageError
        The file cannot be read, is neither kind of image, or its table lacks a map.
    """
    image = _load(path)
    shape = image.shape
    if len(shape) == 4 and shape[3] > 1:
        what, indices = "volume", list(range(1, shape[3] + 1))
    else:
        what, indices = "label", _labels(path, image)
    if len(indices) > MAX_MAPS:
        raise _error(path, f"has {len(indices)} maps, over {MAX_MAPS}")
    names = _names(path, what, indices)
    space, evidence = space_of(Path(path))
    label, content = image_label(Path(path)), file_sha256(path)
    return tuple(
        Seed(
            name=f"{label}_{name}",
            network=SET.format(name=label),
            kind="network",
            mask=path,
            index=index,
            space=space,
            evidence=evidence,
            source=Path(path).name,
            content=content,
            network_default=True,
            given_space=space,
            series="spatial",
            regression="together",
        )
        for index, name in zip(indices, names, strict=True)
    )


def _load(path: str) -> Any:  # noqa: ANN401 nibabel's
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        image: Any = nib.load(path)
    except (OSError, ImageFileError) as error:
        raise _error(path, f"cannot be read as an image ({error})") from error
    if len(image.shape) not in (3, 4):
        raise _error(path, f"has the shape {image.shape}")
    return image


def _error(path: str, reason: str) -> UsageError:
    return UsageError(NOT_MAPS.format(path=path, reason=reason), MAPS_HINT)


def _labels(path: str, image: Any) -> list[int]:  # noqa: ANN401 nibabel's
    """Return the labels of a 3D image."""
    data = np.nan_to_num(np.asarray(image.dataobj, dtype=float))
    found = np.unique(data)
    labels = found[found != 0]
    if not labels.size or not np.array_equal(labels, np.rint(labels)) or labels[0] < 0:
        raise _error(path, f"has values from {found[0]:g} to {found[-1]:g} in 3 dimensions")
    return [int(label) for label in labels]


def _names(path: str, what: str, indices: list[int]) -> list[str]:
    """Return the names of the table beside the file, or numbers where there is none."""
    table = companion(Path(path), ".tsv")
    if table is None:
        width = len(str(max(indices)))
        return [f"{what}{index:0{width}d}" for index in indices]
    known = {parcel.index: parcel.name for parcel in read_table(str(table))}
    missing = [str(index) for index in indices if index not in known]
    if missing:
        shown = ", ".join(missing[:MAX_NAMED])
        raise UsageError(
            NO_NAME.format(path=path, table=table.name, what=what, missing=shown), MAPS_HINT
        )
    return [known[index] for index in indices]


def maps_on_grid(
    path: str, indices: list[int], mask: Bools, affine: Floats, space: str, given_space: str
) -> Weights:
    """Return network maps at the voxels of a grid.

    The voxel centres are moved to the space of the maps. Weights are interpolated linearly; of a
    label the map is 1 inside and 0 outside.

    Parameters
    ----------
    path : str
    indices : list of int
        Volumes, from 1, or labels.
    mask : (X, Y, Z) bool array
        Voxels that are wanted; others are 0.
    affine : (4, 4) array
        Voxel to RAS mm.
    space, given_space : str
        Of the grid, and of the maps.

    Returns
    -------
    (n_maps, X, Y, Z) float32 array

    Raises
    ------
    UsageError
        As :func:`load_network_maps`.
    """
    image = _load(path)
    own = np.array(image.affine, dtype=np.float64)
    points = points_to_space(voxel_points(mask, affine), space, given_space)
    found = np.zeros((len(indices), *mask.shape), dtype=np.float32)
    if len(image.shape) == 4 and image.shape[3] > 1:
        for one, index in zip(found, indices, strict=True):
            volume = np.nan_to_num(np.asarray(image.dataobj[..., index - 1], dtype=np.float32))
            one[mask] = resample_volume(volume, own, points, order=1)
        return found
    data = np.nan_to_num(np.asarray(image.dataobj, dtype=float))
    labels = np.rint(data.reshape(data.shape[:3])).astype(np.int32)
    at = nearest_labels(labels, own, points)
    for one, index in zip(found, indices, strict=True):
        one[mask] = at == index
    return found
