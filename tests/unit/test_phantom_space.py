"""The geometry of the synthetic heads: exact inverses, deformations no affine explains."""

import numpy as np
import pytest
from scipy import ndimage

from rls_bids.phantom.render import average_box, box_shift, gather, kernel_table, read_trilinear
from rls_bids.phantom.space import (
    apply_affine,
    displace,
    least_jacobian,
    person_to_standard,
    pull_grid,
    random_affine,
    random_warp,
    rigid_matrix,
    standard_to_person,
    without_affine,
)

CENTRE = np.array([0.0, -18.0, 8.0])


def brain_points():
    axes = np.meshgrid(*(np.arange(-70, 71, 14.0),) * 3, indexing="ij")
    grid = np.stack(axes, axis=-1).reshape(-1, 3)
    return CENTRE + grid[np.linalg.norm(grid / [1.0, 1.25, 1.0], axis=1) < 70]


def make_warp(seed):
    rng = np.random.default_rng(seed)
    return random_warp(rng, random_affine(rng, CENTRE), brain_points(), 3.3)


@pytest.mark.parametrize("seed", range(5))
def test_inverse_is_exact_and_nothing_folds(seed):
    warp, points = make_warp(seed), brain_points()
    there = standard_to_person(warp, points)
    np.testing.assert_allclose(person_to_standard(warp, there), points, atol=1e-5)
    assert least_jacobian(warp, points) > 0.3


@pytest.mark.parametrize("seed", range(5))
def test_no_affine_explains_the_deformation(seed):
    warp, points = make_warp(seed), brain_points()
    missed = np.linalg.norm(without_affine(points, displace(warp, points)), axis=1)
    assert missed.mean() == pytest.approx(3.3)
    assert missed.max() < 12


def test_pull_grid_agrees_with_points():
    warp = make_warp(1)
    to_person = rigid_matrix(np.array([3.0, -20, 5, 0.1, -0.2, 0.05]), np.zeros(3))
    to_person[:3, :3] *= 4.0
    shape = (7, 9, 5)
    index = np.argwhere(np.ones(shape, bool)).astype(float)
    expected = person_to_standard(warp, apply_affine(to_person, index))
    found = np.stack([axis.ravel() for axis in pull_grid(warp, to_person, shape)], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_rigid_matrix_has_the_convention_of_the_estimator():
    realign = pytest.importorskip("rls_bids.numerics.realign")
    parameters = np.array([1.0, -2.0, 0.5, 0.1, -0.05, 0.2])
    np.testing.assert_allclose(
        rigid_matrix(parameters, CENTRE), realign.parameters_to_matrix(parameters, CENTRE)
    )


def test_windowed_sinc_moves_a_band_limited_head():
    rng = np.random.default_rng(3)
    volume = ndimage.gaussian_filter(rng.standard_normal((40, 40, 40)), 2.0)
    waves = rng.uniform(-0.5, 0.5, (12, 3))
    index = np.argwhere(np.ones(volume.shape, bool)).astype(float)
    field = np.cos(index @ waves.T).sum(axis=1).reshape(volume.shape).astype(np.float32)
    motion = rigid_matrix(np.array([0.4, -0.7, 1.3, 0.03, -0.02, 0.04]), np.full(3, 19.5))
    voxels = np.argwhere(np.ones((12, 12, 12), bool)).astype(np.int32) + 14
    matrices = np.repeat(motion[None, :3], 40, axis=0)
    found = gather(field[..., None], voxels, matrices, kernel_table())[:, 0]
    exact = np.cos(apply_affine(motion, voxels.astype(float)) @ waves.T).sum(axis=1)
    assert np.abs(found - exact).max() < 0.01 * np.abs(field).max()
    nearest = field[tuple(np.rint(apply_affine(motion, voxels.astype(float))).astype(int).T)]
    assert np.abs(nearest - exact).max() > 0.05 * np.abs(field).max()


@pytest.mark.parametrize("factor", [2, 3])
def test_box_average_is_that_of_the_voxel(factor):
    fine = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    parts = fine.reshape(12 // factor, factor, 12 // factor, factor, 12 // factor, factor)
    first = int(box_shift(factor))
    found = average_box(fine, factor)[first::factor, first::factor, first::factor]
    np.testing.assert_allclose(found, parts.mean(axis=(1, 3, 5)), rtol=1e-5)


def test_trilinear_reading_agrees_with_scipy():
    rng = np.random.default_rng(0)
    volume = rng.random((9, 8, 7)).astype(np.float32)
    points = tuple(rng.uniform(-2, 20, (4, 50)).astype(np.float32) for _ in range(3))
    matrix = np.diag([0.5, 0.5, 0.5, 1.0])
    found = read_trilinear(volume, points, matrix)
    index = 0.5 * np.stack(points)
    expected = ndimage.map_coordinates(volume, index, order=1, mode="constant", cval=0)
    last = np.array(volume.shape)[:, None, None] - 1
    inside = ((index >= 0) & (index < last)).all(axis=0)
    assert 20 < inside.sum() < inside.size
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4)
    np.testing.assert_array_equal(found[((index < 0) | (index > last)).any(axis=0)], 0)
