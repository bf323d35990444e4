"""Head motion: planted truth on an analytic head in every orientation; the laws of parameters.

The head is a sum of Gaussian blobs, so a moved volume is evaluated exactly, without any
interpolation. The full check on a moved 1 mm head is marked slow.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from benchmarks.realign import displacement, framewise, make_series
from rls_bids.errors import InputDataError
from rls_bids.numerics.realign import (
    NO_STRUCTURE,
    estimate_motion,
    grid_centre,
    matrix_to_parameters,
    parameters_to_matrix,
)

VOXEL_MM = 4.0
SIZE_MM = {"x": 160, "y": 192, "z": 152}


@cache
def blobs():
    """Centres (mm), widths (mm) and heights of the head, and of a neck below it."""
    rng = np.random.default_rng(3)
    centres = rng.uniform(-1, 1, (400, 3))
    centres = centres[np.linalg.norm(centres, axis=1) < 1][:90] * [52, 65, 48]
    widths, heights = rng.uniform(6, 12, len(centres)), rng.uniform(0.3, 1.0, len(centres))
    neck = rng.uniform(-1, 1, (12, 3)) * [35, 20, 8] + [0, -45, -62]
    return centres, widths, heights, neck


def picture(shape, affine, centres, widths, heights):
    """Sum of isotropic Gaussians on a grid of isotropic voxels, where they are separable."""
    index = (centres - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    along = [
        np.exp(-0.5 * np.square((np.arange(n) - index[:, [axis]]) * VOXEL_MM / widths[:, None]))
        for axis, n in enumerate(shape)
    ]
    planes = np.einsum("b,bx,by->xyb", heights, along[0], along[1])
    return planes @ along[2]


def oriented(name):
    """4 mm affine and shape of a grid centred on the origin."""
    axes = {
        "RAS": (np.eye(3), "xyz"),
        "LAS": (np.diag([-1.0, 1, 1]), "xyz"),
        "PSR": (np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]]), "yzx"),
        "oblique": (Rotation.from_euler("xyz", [14, -6, 9], True).as_matrix(), "xyz"),
    }
    linear, order = axes[name]
    shape = tuple(int(SIZE_MM[axis] / VOXEL_MM) for axis in order)
    affine = np.eye(4)
    affine[:3, :3] = VOXEL_MM * linear
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def moved_series(planted, name="RAS", *, noise=0.01, seed=0, necks=None):
    """Series of the head under pull parameters (n, 6) about the origin, its affine and truth."""
    affine, shape = oriented(name)
    centres, widths, heights, neck = blobs()
    rng = np.random.default_rng(seed)
    truth = np.stack([parameters_to_matrix(row, np.zeros(3)) for row in planted])
    series = np.empty((len(planted), *shape), np.float32)
    for index, matrix in enumerate(truth):
        # An isotropic blob moves with its centre.
        here = centres @ matrix[:3, :3].T + matrix[:3, 3]
        volume = picture(shape, affine, here, widths, heights)
        if necks is not None:
            volume += picture(
                shape, affine, neck + necks[index], *np.full((2, len(neck)), [[9.0], [1.2]])
            )
        volume += noise * rng.standard_normal(shape)
        series[index] = 1000.0 * volume
    return series, affine, truth


def planted(n_volumes, *, n_rest=5, size_mm=2.0, seed=1):
    """Five volumes at rest, then random poses."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (n_volumes, 6)) * size_mm / np.repeat([1.7, 100.0], 3)
    rows[:n_rest] = 0.0
    return rows


def surface():
    """Points on the head's surface, (n, 3) mm."""
    directions = np.random.default_rng(0).standard_normal((200, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True) * [60, 75, 55]


@pytest.mark.parametrize("name", ["RAS", "LAS", "PSR", "oblique"])
def test_recovers_the_pose_in_world_space_for_every_storage(name):
    series, affine, truth = moved_series(planted(9), name)
    motion = estimate_motion(series, affine)
    errors = displacement(motion.matrices, truth, surface())
    assert errors.mean() <= 0.05
    assert np.percentile(errors, 95) <= 0.10
    # The reference is the pose at rest, so the frames agree without any adjustment.
    np.testing.assert_allclose(motion.matrices, truth, atol=0.1)
    centre = grid_centre(series.shape, affine)
    for row, matrix in zip(motion.parameters, motion.matrices, strict=True):
        np.testing.assert_allclose(parameters_to_matrix(row, centre), matrix, atol=1e-9)


@pytest.mark.parametrize("axis", range(6))
def test_signs_and_units_of_each_parameter(axis):
    rows = np.zeros((6, 6))
    rows[5, axis] = 1.5 if axis < 3 else 0.03
    series, affine, _ = moved_series(rows, "LAS" if axis % 2 else "PSR")
    found = estimate_motion(series, affine).parameters[5]
    np.testing.assert_allclose(found[:3], rows[5, :3], atol=0.03)
    np.testing.assert_allclose(found[3:], rows[5, 3:], atol=0.0005)


def test_the_reference_shows_the_head_at_rest():
    series, affine, _ = moved_series(planted(9))
    rest, _, _ = moved_series(np.zeros((1, 6)), noise=0.0)
    motion = estimate_motion(series, affine)
    core = (slice(4, -4),) * 3
    difference = motion.reference[core] - rest[0][core]
    assert motion.reference.dtype == np.float32
    assert np.sqrt(np.mean(difference**2)) < 10.0
    assert np.sqrt(np.mean((series[8][core] - rest[0][core]) ** 2)) > 30.0


def test_a_neck_that_moves_by_itself_is_set_aside():
    necks = np.random.default_rng(4).uniform(-3, 3, (9, 3))
    series, affine, truth = moved_series(planted(9), necks=necks)
    motion = estimate_motion(series, affine)
    errors = displacement(motion.matrices, truth, surface())
    assert errors.mean() <= 0.05
    assert np.percentile(errors, 95) <= 0.10


def test_drift_of_the_intensity_and_a_gain_across_the_head_do_not_look_like_motion():
    series, affine, truth = moved_series(planted(9))
    ramp = np.linspace(-0.05, 0.05, series.shape[1])[:, None, None]
    for index, volume in enumerate(series):
        volume[...] = volume * (1.0 + 0.03 * index + ramp * np.sin(index)) + 20.0 * index
    errors = displacement(estimate_motion(series, affine).matrices, truth, surface())
    assert np.percentile(errors, 95) <= 0.10


def test_motion_within_a_volume_spoils_neither_the_others_nor_the_reference():
    rows = planted(12)
    series, affine, truth = moved_series(rows)
    other, _, _ = moved_series(rows + 2.0 / np.repeat([1.0, 70.0], 3))
    series[7, :, :, 1::2] = other[7, :, :, 1::2]
    motion = estimate_motion(series, affine)
    clean = np.arange(12) != 7
    errors = displacement(motion.matrices[clean], truth[clean], surface())
    assert np.percentile(errors, 95) <= 0.10
    without = estimate_motion(series[clean], affine).reference
    assert np.abs(motion.reference - without).max() < 0.02 * without.max()


def test_large_jumps_are_followed():
    rows = np.zeros((8, 6))
    rows[5] = 9.0, -6.0, 5.0, 0.12, -0.08, 0.15
    rows[6] = -8.0, 7.0, -6.0, -0.15, 0.1, -0.1
    series, affine, truth = moved_series(rows)
    errors = displacement(estimate_motion(series, affine).matrices, truth, surface())
    assert errors.max() < 0.5


def test_bias_at_rest_and_framewise_displacement():
    series, affine, truth = moved_series(planted(14, n_rest=8), noise=0.008)
    motion = estimate_motion(series, affine)
    found, expected = framewise(motion.matrices, np.zeros(3)), framewise(truth, np.zeros(3))
    assert found[:7].mean() <= 0.02
    assert np.polyfit(expected, found, 1)[0] == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(expected, found)[0, 1] >= 0.98


def test_scale_offset_and_repetition_change_nothing():
    series, affine, _ = moved_series(planted(7))
    before = series.copy()
    series.flags.writeable = False
    first, again = estimate_motion(series, affine), estimate_motion(series, affine)
    other = estimate_motion(0.02 * series + 5.0, affine)
    np.testing.assert_array_equal(series, before)
    np.testing.assert_array_equal(first.parameters, again.parameters)
    np.testing.assert_allclose(first.parameters, other.parameters, atol=0.005)


def test_one_volume_stays_where_it_is():
    series, affine, _ = moved_series(np.zeros((1, 6)))
    motion = estimate_motion(series, affine)
    np.testing.assert_allclose(motion.matrices[0], np.eye(4), atol=1e-3)
    assert motion.parameters.shape == (1, 6)


def test_an_empty_volume_in_between_takes_its_neighbours_pose():
    series, affine, truth = moved_series(planted(9))
    series[6] = 0.0
    motion = estimate_motion(series, affine)
    assert np.isfinite(motion.matrices).all()
    clean = np.arange(9) != 6
    errors = displacement(motion.matrices[clean], truth[clean], surface())
    assert errors.max() <= 0.15
    np.testing.assert_allclose(motion.matrices[6], motion.matrices[5], atol=0.05)


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_series_without_a_head_is_refused(level):
    series = np.full((4, 12, 12, 12), level, np.float32)
    with pytest.raises(InputDataError) as caught:
        estimate_motion(series, np.eye(4))
    assert caught.value.message == NO_STRUCTURE.format(shape=(12, 12, 12))


small = st.floats(-1.4, 1.4)
anywhere = st.floats(-200.0, 200.0)


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(anywhere, anywhere, anywhere, small, small, small),
    st.tuples(anywhere, anywhere, anywhere),
)
def test_parameters_survive_the_round_trip(parameters, centre):
    row, middle = np.array(parameters), np.array(centre)
    matrix = parameters_to_matrix(row, middle)
    np.testing.assert_allclose(matrix_to_parameters(matrix, middle), row, atol=1e-8)
    expected = Rotation.from_euler("xyz", row[3:]).as_matrix()
    np.testing.assert_allclose(matrix[:3, :3], expected, atol=1e-12)
    np.testing.assert_allclose(
        matrix[:3, :3] @ middle + matrix[:3, 3], middle + row[:3], atol=1e-9
    )


@pytest.mark.slow
def test_acceptance_on_a_head_moved_at_1_mm():
    series = make_series(60)
    motion = estimate_motion(series.data, series.affine)
    errors = displacement(motion.matrices, series.truth, series.surface_mm)[~series.mixed]
    assert errors.mean() <= 0.05
    assert np.percentile(errors, 95) <= 0.10
    found = framewise(motion.matrices, series.centre_mm)
    expected = framewise(series.truth, series.centre_mm)
    resting = ~(series.moving | series.mixed)
    still = resting[1:] & resting[:-1]
    assert 0.95 <= np.polyfit(expected, found, 1)[0] <= 1.05
    assert np.corrcoef(expected, found)[0, 1] >= 0.98
    assert found[still].mean() <= 0.02
