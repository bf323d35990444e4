"""Atlases on grids: sides, spaces, spheres against brute force, volumes, identity."""

from dataclasses import replace

import numpy as np
import pytest

from rls_bids.numerics.resample import voxel_points
from rls_bids.resources.atlas_grid import atlas_metadata, labels_on_grid, parcel_centres
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.grids import standard_grid
from rls_bids.resources.parcels import load_labels, load_parcels
from rls_bids.resources.regions import region_on_grid
from rls_bids.resources.spaces import FSL_SPACE, NEW_SPACE, points_to_space

INSTALLED = ("Seitzman300", "Power264", "Dosenbach160", "HCPex", "AAL3", "HarvardOxford")
SHAPE, AFFINE = standard_grid(NEW_SPACE, "2")


def oblique():
    """Return a grid stored right to left and inferior first, turned by 20 degrees."""
    turn = np.deg2rad(20)
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-3.0, 3.2, 3.5])
    shape = (70, 80, 60)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2) + [0, -18, 5]
    return shape, affine


GRIDS = {"standard": (SHAPE, AFFINE), "oblique": oblique()}


def centroids(labels, affine):
    """Return {index: centroid in mm} of what is on a grid."""
    points = voxel_points(labels > 0, affine)
    own = labels[labels > 0]
    count = np.bincount(own)
    sums = np.stack([np.bincount(own, points[:, axis]) for axis in range(3)], axis=1)
    return {index: sums[index] / count[index] for index in np.flatnonzero(count).tolist()}


@pytest.mark.parametrize(
    ("grid", "space"), [("standard", NEW_SPACE), ("standard", FSL_SPACE), ("oblique", NEW_SPACE)]
)
@pytest.mark.parametrize("name", INSTALLED)
def test_left_is_left(name, grid, space):
    atlas = find_atlas(name)
    shape, affine = GRIDS[grid]
    labels = labels_on_grid(atlas, shape, affine, space)
    found = centroids(labels, affine)
    sided = [p for p in load_parcels(atlas) if p.hemisphere and p.index in found]
    wrong = [p.name for p in sided if (found[p.index][0] < 0) != (p.hemisphere == "L")]
    assert wrong == []
    if name not in ("Power264", "Dosenbach160"):  # whose names have no side
        assert len(sided) > 100
    else:  # their coordinates have: nothing crosses the midline
        far = [p for p in load_parcels(atlas) if abs(p.centre_mm[0]) > 6]
        assert all(np.sign(found[p.index][0]) == np.sign(p.centre_mm[0]) for p in far)


@pytest.mark.parametrize("name", INSTALLED)
def test_nearly_every_parcel_is_on_the_standard_grid(name):
    atlas = find_atlas(name)
    labels = labels_on_grid(atlas, SHAPE, AFFINE, NEW_SPACE)
    empty = {p.index for p in load_parcels(atlas)} - set(np.unique(labels).tolist())
    assert len(empty) <= 1  # the reuniens nucleus of one side is smaller than a voxel
    assert set(np.unique(labels).tolist()) <= {0} | {p.index for p in load_parcels(atlas)}
    assert not labels.flags.writeable
    assert labels_on_grid(atlas, SHAPE, AFFINE.copy(), NEW_SPACE) is labels  # kept


@pytest.mark.parametrize("space", [NEW_SPACE, FSL_SPACE])
def test_spheres_are_those_of_brute_force(space):
    atlas = replace(find_atlas("Dosenbach160"), radius_mm=9.0)  # so that neighbours overlap
    _, affine = oblique()
    affine[:3, :3] *= 2
    shape = (35, 40, 30)
    found = labels_on_grid(atlas, shape, affine, space)
    parcels = load_parcels(atlas)
    centres = points_to_space(np.array([p.centre_mm for p in parcels]), atlas.space, space)
    points = voxel_points(np.ones(shape, bool), affine)
    distance = np.linalg.norm(points[:, None] - centres[None], axis=2)
    indices = np.array([p.index for p in parcels])
    nearest = indices[distance.argmin(axis=1)]
    expected = np.where(distance.min(axis=1) <= 9.0, nearest, 0).reshape(shape)
    np.testing.assert_array_equal(found, expected)
    assert ((distance <= 9.0).sum(axis=1) > 1).any()


def test_spheres_move_with_the_space():
    atlas = find_atlas("Seitzman300")
    given = np.array([p.centre_mm for p in load_parcels(atlas)])
    moved = points_to_space(given, FSL_SPACE, NEW_SPACE)
    assert np.linalg.norm(moved - given, axis=1).mean() > 1
    here, there = (
        centroids(labels_on_grid(atlas, SHAPE, AFFINE, space), AFFINE)
        for space in (NEW_SPACE, FSL_SPACE)
    )
    for row, parcel in enumerate(load_parcels(atlas)):
        # Neighbours may take voxels of a sphere, so a little room is left.
        assert np.linalg.norm(here[parcel.index] - moved[row]) < 2.0
        assert np.linalg.norm(there[parcel.index] - given[row]) < 2.0


@pytest.mark.parametrize("name", ["HCPex", "AAL3"])
def test_an_atlas_on_its_own_grid_is_itself(name):
    atlas = find_atlas(name)
    labels, affine = load_labels(atlas)
    low = np.array([60, 90, 60])
    corner = affine.copy()
    corner[:3, 3] += affine[:3, :3] @ low
    part = labels[60:100, 90:120, 60:100]
    np.testing.assert_array_equal(labels_on_grid(atlas, part.shape, corner, atlas.space), part)


def test_volumes_are_kept_on_a_coarser_grid():
    atlas = find_atlas("HCPex")
    labels, _ = load_labels(atlas)  # 1 mm
    coarse = labels_on_grid(atlas, SHAPE, AFFINE, NEW_SPACE)
    assert 8 * (coarse > 0).sum() == pytest.approx((labels > 0).sum(), rel=0.02)
    size = {p.index: ((labels == p.index).sum(), p) for p in load_parcels(atlas)[:20]}
    for index, (fine, _) in size.items():
        assert 8 * (coarse == index).sum() == pytest.approx(fine, rel=0.1)


def test_labels_are_pulled_the_right_way_between_spaces():
    """Centroids of HCPex on a 6Asym grid lie at its own centroids, moved to 6Asym."""
    atlas = find_atlas("HCPex")
    own = centroids(labels_on_grid(atlas, SHAPE, AFFINE, NEW_SPACE), AFFINE)
    there = centroids(labels_on_grid(atlas, SHAPE, AFFINE, FSL_SPACE), AFFINE)
    shared = sorted(own.keys() & there.keys())
    given = np.array([own[index] for index in shared])
    expected = points_to_space(given, NEW_SPACE, FSL_SPACE)
    found = np.array([there[index] for index in shared])
    error = np.linalg.norm(found - expected, axis=1)
    assert np.median(error) < 1.0
    # The wrong way round would leave twice the distance.
    assert np.median(error) < 0.5 * np.median(np.linalg.norm(found - given, axis=1))


def test_without_a_known_way_places_stay():
    atlas = find_atlas("AAL3")
    one, other = (labels_on_grid(atlas, SHAPE, AFFINE, space) for space in (NEW_SPACE, FSL_SPACE))
    np.testing.assert_array_equal(one, other)
    assert "used as it is" in atlas_metadata(atlas, NEW_SPACE)["Placed"]
    hcp = find_atlas("HCPex")
    assert atlas_metadata(hcp, NEW_SPACE)["Placed"] == f"given in {NEW_SPACE}"
    assert atlas_metadata(hcp, FSL_SPACE)["Placed"] == f"moved from {NEW_SPACE} to {FSL_SPACE}"


def test_harvard_oxford_agrees_with_its_seed_region():
    side = "Left"
    atlas = find_atlas("HarvardOxford")
    index = next(p.index for p in load_parcels(atlas) if p.name == f"{side} Thalamus")
    parcel = labels_on_grid(atlas, SHAPE, AFFINE, NEW_SPACE) == index
    region = region_on_grid(f"HarvardOxford:{side} Thalamus", SHAPE, AFFINE, NEW_SPACE)
    dice = 2 * (parcel & region).sum() / (parcel.sum() + region.sum())
    assert dice > 0.9


@pytest.mark.parametrize("name", ["Seitzman300", "AAL3"])
def test_centres_of_parcels_are_those_on_the_grid(name):
    atlas = find_atlas(name)
    found = parcel_centres(atlas, NEW_SPACE)
    expected = centroids(labels_on_grid(atlas, SHAPE, AFFINE, NEW_SPACE), AFFINE)
    parcels = load_parcels(atlas)
    distance = [
        np.linalg.norm(centre - expected[parcel.index])
        for parcel, centre in zip(parcels, found, strict=True)
        if parcel.index in expected
    ]
    assert len(distance) > 0.95 * len(parcels)
    assert np.median(distance) < 1.2  # of voxels of 2 mm; spheres that overlap share voxels
    sided = [(p, c) for p, c in zip(parcels, found, strict=True) if p.hemisphere]
    assert all((centre[0] < 0) == (parcel.hemisphere == "L") for parcel, centre in sided)
