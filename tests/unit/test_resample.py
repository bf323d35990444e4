"""Interpolation against scipy, nibabel, nilearn and analytic truth; handedness; smoothing."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_from_to
from nilearn.image import smooth_img
from scipy import ndimage
from scipy.spatial.transform import Rotation

from rls_bids.numerics.resample import (
    local_volume,
    resample_series,
    resample_volume,
    smooth_in_mask,
    voxel_points,
)

SHAPE = (20, 24, 18)


def oriented(name: str) -> np.ndarray:
    """3 mm affine whose grid is centred on the world's origin."""
    axes = {
        "RAS": np.diag([3.0, 3.0, 3.0]),
        "LAS": np.diag([-3.0, 3.0, 3.0]),
        "PSR": np.array([[0.0, 0, 3], [-3, 0, 0], [0, 3, 0]]),
    }
    linear = axes.get(name, Rotation.from_euler("xyz", [12, -9, 20], True).as_matrix() * 3.0)
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = -linear @ ((np.array(SHAPE) - 1) / 2)
    return affine


def wave(points: np.ndarray) -> np.ndarray:
    """A smooth function of world mm without symmetry."""
    x, y, z = points.T
    return np.sin(x / 9 + 0.3) * np.cos(y / 11) + 0.5 * np.sin(z / 10 - y / 15) + 0.01 * x


def sampled(affine: np.ndarray, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    everywhere = np.ones(shape, bool)
    return wave(voxel_points(everywhere, affine)).reshape(shape).astype(np.float32)


ORIENTATIONS = pytest.mark.parametrize("name", ["RAS", "LAS", "PSR", "oblique"])


@ORIENTATIONS
def test_identity_returns_the_samples(name):
    affine, volume = oriented(name), sampled(oriented(name))
    mask = np.random.default_rng(0).random(SHAPE) > 0.5
    data, inside = resample_series(
        volume[None], affine, voxel_points(mask, affine), np.eye(4)[None]
    )
    assert inside.all()
    assert data.dtype == np.float32
    np.testing.assert_allclose(data[0], volume[mask], atol=2e-6)


@ORIENTATIONS
def test_interpolates_the_analytic_truth_through_pull_matrices(name):
    affine = oriented(name)
    points = np.random.default_rng(1).uniform(-10, 10, (500, 3))
    pull = np.eye(4)
    pull[:3, :3] = Rotation.from_euler("zyx", [4, 3, -5], True).as_matrix()
    pull[:3, 3] = 1.3, -2.1, 0.4
    series = np.stack([sampled(affine)] * 2)
    data, inside = resample_series(series, affine, points, np.stack([np.eye(4), pull]))
    moved = points @ pull[:3, :3].T + pull[:3, 3]
    assert inside.all()
    np.testing.assert_allclose(data[0], wave(points), atol=1e-3)
    np.testing.assert_allclose(data[1], wave(moved), atol=1e-3)
    assert np.abs(wave(moved) - wave(points)).max() > 0.1


@ORIENTATIONS
@pytest.mark.parametrize("order", [0, 1, 3])
def test_left_marker_stays_left(name, order):
    affine = oriented(name)
    grid = voxel_points(np.ones(SHAPE, bool), affine)
    marker = (np.linalg.norm(grid - [-12, 6, 3], axis=1) < 8).reshape(SHAPE).astype(np.float32)
    here, mirrored = np.array([[-12.0, 6, 3]]), np.array([[12.0, 6, 3]])
    assert resample_volume(marker, affine, here, order)[0] > 0.8
    assert abs(resample_volume(marker, affine, mirrored, order)[0]) < 0.05


def test_agrees_with_scipy_everywhere_inside():
    rng = np.random.default_rng(2)
    volume = rng.standard_normal(SHAPE).astype(np.float32)
    index = rng.uniform(-0.499, np.array(SHAPE) - 0.501, (2000, 3))
    expected = ndimage.map_coordinates(volume, index.T, order=3, mode="mirror")
    found = resample_volume(volume, np.eye(4), index, 3)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    linear = ndimage.map_coordinates(volume, index.T, order=1, mode="nearest")
    np.testing.assert_allclose(resample_volume(volume, np.eye(4), index, 1), linear, atol=1e-6)


def test_agrees_with_nibabel_between_oblique_and_flipped_grids():
    image = nib.Nifti1Image(sampled(oriented("oblique")), oriented("oblique"))
    target = oriented("LAS")
    expected = resample_from_to(image, (SHAPE, target), order=3, mode="mirror").get_fdata()
    core = np.zeros(SHAPE, bool)
    core[7:13, 8:16, 6:12] = True
    found = resample_volume(image.get_fdata(), image.affine, voxel_points(core, target), 3)
    np.testing.assert_allclose(found, expected[core], atol=1e-5)


def test_field_of_view_ends_at_the_faces_of_the_outer_voxels():
    volume = np.full(SHAPE, 5.0, np.float32)
    points = np.array([[-0.5, 3, 3], [-0.51, 3, 3], [19.5, 3, 3], [19.6, 3, 3], [3, 3, 17.4]])
    expected = [True, False, True, False, True]
    data, inside = resample_series(volume[None], np.eye(4), points, np.eye(4)[None])
    assert inside.tolist() == expected
    np.testing.assert_allclose(data[0], np.where(expected, 5.0, 0.0), rtol=1e-6)
    for order in (0, 1, 3):
        found = resample_volume(volume, np.eye(4), points, order)
        np.testing.assert_allclose(found, np.where(expected, 5.0, 0.0), rtol=1e-6)


def test_a_point_missed_by_one_volume_is_zero_in_all():
    series = np.ones((3, *SHAPE), np.float32)
    away = np.eye(4)
    away[0, 3] = 15.0
    data, inside = resample_series(
        series, np.eye(4), np.array([[2.0, 3, 3], [8, 3, 3]]), np.stack([np.eye(4), away, away])
    )
    assert inside.tolist() == [True, False]
    np.testing.assert_allclose(data, [[1, 0]] * 3, atol=1e-6)


def test_points_that_are_not_numbers_are_outside():
    data, inside = resample_series(
        np.ones((1, *SHAPE), np.float32), np.eye(4), np.full((1, 3), np.nan), np.eye(4)[None]
    )
    assert not inside.any()
    assert data.tolist() == [[0.0]]


@pytest.mark.parametrize("shape", [(20, 24, 1), (20, 24, 2)])
def test_few_slices_are_enough(shape):
    volume = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    mask = np.ones(shape, bool)
    found = resample_volume(volume, np.eye(4), voxel_points(mask, np.eye(4)), 3)
    np.testing.assert_allclose(found, volume[mask], atol=1e-5)


def test_labels_keep_type_and_values():
    labels = np.random.default_rng(4).integers(0, 9, SHAPE).astype(np.int16)
    mask = np.ones(SHAPE, bool)
    found = resample_volume(labels, oriented("PSR"), voxel_points(mask, oriented("PSR")), 0)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, labels[mask])


def test_voxel_points_follow_the_order_of_masked_data():
    mask = np.random.default_rng(5).random(SHAPE) > 0.7
    affine = oriented("oblique")
    index = np.moveaxis(np.indices(SHAPE), 0, -1)[mask]
    np.testing.assert_allclose(voxel_points(mask, affine), nib.affines.apply_affine(affine, index))


def test_inputs_are_left_alone():
    series = np.random.default_rng(6).standard_normal((2, *SHAPE)).astype(np.float32)
    before, points = series.copy(), np.zeros((4, 3))
    series.flags.writeable = False
    resample_series(series, np.eye(4), points, np.stack([np.eye(4)] * 2))
    np.testing.assert_array_equal(series, before)


def test_local_volume_is_the_determinant_on_any_grid():
    """A planted linear map on an oblique, mirrored grid, and a bend with a known determinant."""
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * (-2.0, 3.0, 2.5)
    affine[:3, 3] = 5.0, -7.0, 11.0
    centres = voxel_points(np.ones((7, 8, 9), bool), affine).reshape(7, 8, 9, 3)
    stretch = np.array([[1.2, 0.1, 0.0], [0.0, 0.8, 0.2], [0.1, 0.0, 1.1]])
    found = local_volume(centres @ stretch.T, affine)
    np.testing.assert_allclose(found, np.linalg.det(stretch), rtol=1e-5)
    plain = np.diag([2.0, 2.0, 2.0, 1.0])
    bent = voxel_points(np.ones((20, 20, 20), bool), plain).reshape(20, 20, 20, 3)
    expected = 1 + 0.3 * np.cos(bent[..., 1] / 10)
    bent[..., 1] += 3 * np.sin(bent[..., 1] / 10)
    inner = np.s_[:, 1:-1]
    np.testing.assert_allclose(local_volume(bent, plain)[inner], expected[inner], rtol=5e-3)


def test_smoothing_equals_the_normalised_sum_over_the_mask():
    rng = np.random.default_rng(7)
    mask = rng.random((12, 11, 10)) > 0.3
    sizes, fwhm = (2.0, 3.0, 2.5), 6.0
    data = rng.standard_normal((2, mask.sum())).astype(np.float32)
    points = np.argwhere(mask) * np.array(sizes)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    squared = ((points[:, None] - points[None]) / sigma) ** 2
    kernel = np.exp(-0.5 * squared.sum(-1))
    # scipy cuts its kernel at four standard deviations an axis.
    reach = np.floor(4.0 * sigma / np.array(sizes) + 0.5) * np.array(sizes) + 1e-6
    kernel[np.any(np.abs(points[:, None] - points[None]) > reach, axis=-1)] = 0.0
    expected = data @ (kernel / kernel.sum(1, keepdims=True)).T
    np.testing.assert_allclose(smooth_in_mask(data, mask, sizes, fwhm), expected, atol=1e-5)


def test_smoothing_agrees_with_nilearn_far_from_the_edge():
    volume = np.random.default_rng(8).standard_normal((30, 30, 30)).astype(np.float32)
    mask = np.ones(volume.shape, bool)
    image = nib.Nifti1Image(volume, np.diag([3.0, 3, 3, 1]))
    expected = smooth_img(image, 6.0).get_fdata()
    found = smooth_in_mask(volume.reshape(1, -1), mask, (3.0, 3.0, 3.0), 6.0)
    core = (slice(8, 22),) * 3
    np.testing.assert_allclose(found.reshape(mask.shape)[core], expected[core], atol=1e-5)


def test_smoothing_keeps_a_constant_and_zero_width_copies():
    mask = np.random.default_rng(9).random((9, 9, 9)) > 0.5
    data = np.full((3, mask.sum()), 7.0, np.float32)
    np.testing.assert_allclose(smooth_in_mask(data, mask, (2.0, 2.0, 2.0), 6.0), 7.0, rtol=1e-6)
    copy = smooth_in_mask(data, mask, (2.0, 2.0, 2.0), 0.0)
    assert copy is not data
    np.testing.assert_array_equal(copy, data)
