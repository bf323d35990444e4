"""What is in an atlas: its parcels with side, network and lobe, and its label image."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rls_bids.errors import UsageError
from rls_bids.records import Atlas, Parcel
from rls_bids.resources.atlases import lobe_reference, locate_files
from rls_bids.resources.spaces import FSL_SPACE, points_to_space
from rls_bids.resources.user_atlas import hemisphere_of, read_table

LOBES = (
    *("frontal", "parietal", "temporal", "occipital", "insula", "limbic"),
    *("basal ganglia", "thalamus", "cerebellum", "brainstem"),
)
"""The usual lobes, in the order of tables; an atlas may have others."""

NO_ROW = "{path} has the labels {labels}, which are not in {table}."
NO_ROW_HINT = "Every label of the image but 0 needs a row in the table."
NOT_LABELS = "{path} is not a label image: found {found}; expected {expected}."

LATTICE_MM = 2.0
QUARTER = 0.25
MAX_LOOKED_UP = 500
MAX_NAMED = 5

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

# How Seitzman's second file codes where a ROI lies.
_SEITZMAN_SIDES: Mapping[str, Literal["L", "R"]] = {"1": "L", "2": "R"}
_SEITZMAN_LOBES = {
    "3": "limbic",
    "4": "limbic",
    "5": "basal ganglia",
    "6": "thalamus",
    "7": "cerebellum",
}


@lru_cache(maxsize=16)
def load_parcels(atlas: Atlas) -> tuple[Parcel, ...]:
    """Return the parcels of an atlas in the order of their indices.

    A lobe is the one that the atlas itself gives, or that the name says; else it is that of most
    of the parcel's place in AAL2 (Rolls 2015, 10.1016/j.neuroimage.2015.07.075), or empty.

    Raises
    ------
    UsageError
        A file is missing or cannot be understood, or image and table do not fit.
    WorkflowError
        A file of an installed package is missing or changed.

    Examples
    --------
    >>> from rls_bids.resources.atlases import find_atlas
    >>> parcels = load_parcels(find_atlas("Seitzman300"))
    >>> parcels[3].name, parcels[3].hemisphere, parcels[3].radius_mm
    ('unassigned_004', 'R', 5.0)
    """
    found = _READERS[atlas.reader](atlas)
    kept = [p for p in found if not (atlas.excluded and re.search(atlas.excluded, p.name))]
    named = [replace(p, lobe=p.lobe or _lobe_of(p.name, atlas.lobes)) for p in kept]
    if atlas.reader == "table":
        _check_table(atlas, named)
    by_place = _lobes_by_place(atlas, [p for p in named if not p.lobe])
    placed = (replace(p, lobe=p.lobe or by_place.get(p.index, "")) for p in named)
    return tuple(sorted(placed, key=lambda p: p.index))


@lru_cache(maxsize=4)
def load_labels(atlas: Atlas) -> tuple[Labels, Floats]:
    """Load the label image of an atlas that has one.

    Of a probabilistic atlas it is the most probable region of each voxel, where that has at least
    the atlas' threshold (of equally probable ones the first).

    Returns
    -------
    labels : (X, Y, Z) int32 array
        Indices of parcels, 0 elsewhere; read-only.
    affine : (4, 4) float64 array
        Voxel to RAS+ mm in the atlas' own space; read-only.

    Raises
    ------
    UsageError
        The image does not hold labels.
    """
    import nibabel as nib

    path = locate_files(atlas)[0]
    image: Any = nib.load(path, keep_file_open=True)
    if atlas.kind == "probabilistic":
        labels = _most_probable(image, atlas.threshold)
    else:
        labels = _whole_numbers(image, path)
    affine = np.array(image.affine, dtype=np.float64)
    for array in (labels, affine):
        array.setflags(write=False)
    return labels, affine


def _most_probable(image: Any, threshold: float) -> Labels:  # noqa: ANN401 nibabel's
    """Return volume + 1 of the largest probability; one volume at a time is in memory."""
    shape = image.shape[:3]
    best = np.zeros(int(np.prod(shape)), dtype=np.float32)
    labels = np.zeros(best.size, dtype=np.int32)
    for volume in range(image.shape[3]):
        values = np.asarray(image.dataobj[..., volume]).reshape(-1)
        where = np.flatnonzero(values >= threshold)
        where = where[values[where] > best[where]]
        best[where] = values[where]
        labels[where] = volume + 1
    return np.asarray(labels.reshape(shape))


def _whole_numbers(image: Any, path: str) -> Labels:  # noqa: ANN401 nibabel's
    """Return the image as labels after checking that it holds some."""
    shape = tuple(size for size in image.shape if size > 1)
    if len(shape) != 3:
        raise UsageError(
            NOT_LABELS.format(path=path, found=f"the shape {image.shape}", expected="3 dimensions")
        )
    data = np.asarray(image.dataobj).reshape(shape)
    labels: Labels = np.rint(np.nan_to_num(data)).astype(np.int32)
    if not np.array_equal(labels, data) or labels.min() < 0 or not labels.any():
        found = f"values from {np.nanmin(data):g} to {np.nanmax(data):g}"
        raise UsageError(
            NOT_LABELS.format(path=path, found=found, expected="whole numbers of 0 and more")
        )
    return labels


def _read_seitzman(atlas: Atlas) -> list[Parcel]:
    """Read centre, radius and network of each ROI, and the code of the structure it lies in."""
    rois, codes = (_lines(path)[1:] for path in locate_files(atlas))
    parcels = []
    for index, (roi, code) in enumerate(zip(rois, codes, strict=True), start=1):
        x, y, z, radius, _, network = roi.split()
        parcels.append(
            Parcel(
                index=index,
                name=f"{network}_{index:03d}",
                hemisphere=_SEITZMAN_SIDES.get(code.strip(), ""),
                network=network,
                lobe=_SEITZMAN_LOBES.get(code.strip(), ""),
                centre_mm=(float(x), float(y), float(z)),
                radius_mm=float(radius),
            )
        )
    return parcels


def _read_coordinates(atlas: Atlas) -> list[Parcel]:
    """Read a CSV file of centres, with name and network where it has them."""
    parcels = []
    for row in csv.DictReader(_lines(locate_files(atlas)[0])):
        given = {key.lower(): value for key, value in row.items()}
        index = int(given.get("roi") or given["number"])
        name = re.sub(r"\W+", "_", given.get("name", "ROI"))
        parcels.append(
            Parcel(
                index=index,
                name=f"{name}_{index:03d}",
                network=given.get("network", ""),
                centre_mm=(float(given["x"]), float(given["y"]), float(given["z"])),
                radius_mm=atlas.radius_mm,
            )
        )
    return parcels


def _read_numbered(atlas: Atlas) -> list[Parcel]:
    """Read lines of an index and a name."""
    rows = (line.split() for line in _lines(locate_files(atlas)[1]))
    return [
        Parcel(index=int(row[0]), name=row[1], hemisphere=hemisphere_of(row[1])) for row in rows
    ]


def _read_volumes(atlas: Atlas) -> list[Parcel]:
    """Read a CSV file of volumes of a 4D image; labels start at 1."""
    rows = csv.DictReader(_lines(locate_files(atlas)[1]))
    names = ((int(row["index"]) + 1, row["name"].replace("_", " ")) for row in rows)
    return [Parcel(index=i, name=name, hemisphere=hemisphere_of(name)) for i, name in names]


def _read_table(atlas: Atlas) -> list[Parcel]:
    """Read a BIDS table; names like ``7Networks_LH_Vis_1`` also give the network."""
    parcels = list(read_table(locate_files(atlas)[1]))
    yeo = {p.index: re.match(r"\d+Networks_[LR]H_([A-Za-z]+)", p.name) for p in parcels}
    return [
        replace(p, network=match[1]) if (match := yeo[p.index]) and not p.network else p
        for p in parcels
    ]


_READERS = {
    "seitzman": _read_seitzman,
    "coordinates": _read_coordinates,
    "numbered": _read_numbered,
    "volumes": _read_volumes,
    "table": _read_table,
}


def _lines(path: str) -> list[str]:
    text = Path(path).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


def _check_table(atlas: Atlas, parcels: Sequence[Parcel]) -> None:
    """Refuse labels of an image that its table does not know."""
    labels, _ = load_labels(atlas)
    unknown = sorted(set(np.unique(labels).tolist()) - {0} - {p.index for p in parcels})
    if unknown:
        path, table = locate_files(atlas)
        shown = ", ".join(map(str, unknown[:MAX_NAMED])) + (
            f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        )
        raise UsageError(NO_ROW.format(path=path, labels=shown, table=table), NO_ROW_HINT)


def _lobe_of(name: str, lobes: Sequence[tuple[str, str]]) -> str:
    return next((lobe for pattern, lobe in lobes if re.search(pattern, name)), "")


def _lobes_by_place(atlas: Atlas, parcels: Sequence[Parcel]) -> dict[int, str]:
    """Return the lobe in which most of each parcel lies, by index; those in none are left out."""
    if not parcels:
        return {}
    labels, affine, lobe_of = _lobe_image()
    points, owners = _places(atlas, parcels)
    # AAL2 lies on Colin27, to which no way is stored; to lobes, 6Asym is near enough.
    there = points_to_space(points, atlas.space, FSL_SPACE)
    found = nearest_labels(labels, affine, there)
    votes: dict[int, dict[str, int]] = {}
    for owner, label in zip(owners.tolist(), found.tolist(), strict=True):
        lobe = lobe_of.get(label, "")
        if lobe:
            own = votes.setdefault(owner, {})
            own[lobe] = own.get(lobe, 0) + 1
    return {owner: max(sorted(own), key=own.__getitem__) for owner, own in votes.items()}


@lru_cache(maxsize=1)
def _lobe_image() -> tuple[Labels, Floats, dict[int, str]]:
    """Load AAL2: label image, affine, and the lobe of each label."""
    import nibabel as nib

    (path, table), lobes = lobe_reference()
    image: Any = nib.load(path)
    with Path(table).open(encoding="utf-8", newline="") as stream:
        names = {int(row["index"]): row["name"] for row in csv.DictReader(stream)}
    lobe_of = {index: _lobe_of(name, lobes) for index, name in names.items()}
    return _whole_numbers(image, path), np.array(image.affine, dtype=np.float64), lobe_of


def _places(atlas: Atlas, parcels: Sequence[Parcel]) -> tuple[Floats, NDArray[np.intp]]:
    """Return points (n, 3) of the parcels in the atlas' space, and the index each belongs to."""
    if atlas.kind == "spheres":
        clouds = [np.array(p.centre_mm) + _ball(p.radius_mm or 0.0) for p in parcels]
        owners = np.repeat([p.index for p in parcels], [len(cloud) for cloud in clouds])
        return np.concatenate(clouds), owners.astype(np.intp)
    labels, affine = load_labels(atlas)
    flat = labels.reshape(-1)
    inside = np.flatnonzero(np.isin(flat, [p.index for p in parcels]))
    inside = inside[np.argsort(flat[inside], kind="stable")]
    starts = np.flatnonzero(np.diff(flat[inside], prepend=-1))
    chosen = [
        part[np.linspace(0, len(part) - 1, min(len(part), MAX_LOOKED_UP)).astype(int)]
        for part in np.split(inside, starts[1:])
        if len(part)
    ]
    if not chosen:
        return np.empty((0, 3)), np.empty(0, dtype=np.intp)
    picked = np.concatenate(chosen)
    voxels = np.stack(np.unravel_index(picked, labels.shape), axis=1)
    return voxels @ affine[:3, :3].T + affine[:3, 3], flat[picked].astype(np.intp)


def _ball(radius_mm: float) -> Floats:
    """Return points of a lattice within a radius of the origin."""
    n = int(radius_mm // LATTICE_MM)
    axis = np.arange(-n, n + 1) * LATTICE_MM
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(points[np.linalg.norm(points, axis=1) <= radius_mm])


def nearest_labels(labels: Labels, affine: Floats, points_mm: Floats) -> Labels:
    """Read a label image at points, without bias to a side where a point is between voxels.

    A grid of twice the size has all its centres on corners of the atlas' voxels: rounding would
    move the whole atlas by half a voxel, also from left to right. A label is therefore what most
    of eight places have, a quarter of a voxel from the point along each axis; that is the nearest
    voxel wherever it is clear which one that is. Of equally frequent ones it is the one towards
    the midline, back and below, so that left and right are treated alike and volumes are kept.

    Parameters
    ----------
    labels : (X, Y, Z) int array
    affine : (4, 4) array
        Voxel to RAS+ mm.
    points_mm : (n, 3) array

    Returns
    -------
    (n,) int32 array
        0 outside the image.

    Examples
    --------
    >>> image = np.array([0, 7, 7]).reshape(3, 1, 1)
    >>> nearest_labels(image, np.eye(4), np.array([[0.9, 0.0, 0.0], [0.5, 0.0, 0.0]])).tolist()
    [7, 0]
    """
    back = np.linalg.inv(affine)
    voxels = points_mm @ back[:3, :3].T + back[:3, 3]
    signs = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), axis=-1).reshape(-1, 3)
    stack = np.array([_at(labels, voxels + QUARTER * each) for each in signs])
    result = np.array(stack[0])
    unclear = np.flatnonzero((stack != stack[0]).any(axis=0))
    few, where = np.sort(stack[:, unclear], axis=0), points_mm[unclear]
    size = np.linalg.norm(affine[:3, :3], axis=0).min()
    inward = np.stack([-np.sign(where[:, 0]), *-np.ones((2, unclear.size))], axis=1)
    preferred = _at(labels, voxels[unclear] + QUARTER * size * inward @ back[:3, :3].T)
    votes = np.array([(few == each).sum(axis=0) for each in few]) + 0.5 * (few == preferred)
    result[unclear] = few[votes.argmax(axis=0), np.arange(unclear.size)]
    return result


def _at(labels: Labels, voxels: Floats) -> Labels:
    """Return the label of the voxel in which each place lies; 0 outside."""
    nearest = np.floor(voxels + 0.5).astype(np.int64)
    inside = ((nearest >= 0) & (nearest < labels.shape)).all(axis=1)
    found = np.zeros(len(voxels), dtype=np.int32)
    found[inside] = labels[tuple(nearest[inside].T)]
    return found
