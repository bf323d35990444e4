"""Grey matter of the standard head: where it must be, where not, and on both sides alike."""

import numpy as np
import pytest
from nibabel.affines import apply_affine

from rls_bids.resources.grids import standard_grid, standard_head
from rls_bids.resources.spaces import FSL_SPACE, points_to_space
from rls_bids.resources.templates import BUILT_IN_SPACE, locate_template
from rls_bids.resources.tissue import grey_matter_on_grid, load_grey_matter

GREY = {
    "ventral posterolateral thalamus": (-17, -20, 6),
    "putamen": (-26, 4, 2),
    "anterior insula": (-34, 20, 2),
    "leg area": (-6, -28, 64),
    "calcarine cortex": (-8, -80, 6),
    "cerebellar lobule": (-26, -64, -28),
}
NOT_GREY = {
    "corona radiata": (-26, -10, 30),
    "genu": (0, 26, 6),
    "lateral ventricle": (-8, -6, 22),
    "outside": (-80, 40, 40),
}


@pytest.fixture(scope="module")
def grey():
    shape, affine = standard_grid(BUILT_IN_SPACE, "3")
    return grey_matter_on_grid(shape, affine.tobytes(), BUILT_IN_SPACE), affine


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("name", GREY)
def test_grey_matter_is_grey_on_both_sides(grey, name, side):
    mask, affine = grey
    place = apply_affine(np.linalg.inv(affine), np.array(GREY[name]) * (side, 1, 1))
    x, y, z = np.rint(place).astype(int)
    assert mask[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2].mean() > 0.5


@pytest.mark.parametrize("name", NOT_GREY)
def test_what_is_not_grey_is_left_out(grey, name):
    mask, affine = grey
    voxel = apply_affine(np.linalg.inv(affine), NOT_GREY[name])
    assert not mask[tuple(np.rint(voxel).astype(int))]


def test_it_lies_in_the_brain_and_has_its_volume(grey):
    mask, _ = grey
    brain = standard_head(locate_template(BUILT_IN_SPACE, "2").brain, BUILT_IN_SPACE, "3")[1]
    assert (mask & ~brain).sum() < 0.03 * mask.sum()
    assert 1.0e6 < mask.sum() * 27 < 1.3e6
    probability, _ = load_grey_matter()
    assert probability.shape == (97, 115, 97)
    assert 0.98 <= probability.max() <= 1


def test_the_same_places_are_grey_in_another_space(grey):
    mask, affine = grey
    shape, grid = (61, 73, 61), np.diag([3.0, 3, 3, 1])
    grid[:3, 3] = (-90, -126, -72)
    there = grey_matter_on_grid(shape, grid.tobytes(), FSL_SPACE)
    points = apply_affine(grid, np.argwhere(there)).astype(np.float64)
    voxels = apply_affine(
        np.linalg.inv(affine), points_to_space(points, FSL_SPACE, BUILT_IN_SPACE)
    )
    where = np.clip(np.rint(voxels).astype(int), 0, np.array(mask.shape) - 1)
    assert mask[tuple(where.T)].mean() > 0.85
