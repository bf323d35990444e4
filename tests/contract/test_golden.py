"""Golden values: numbers that change without a new version would leave old results in place."""

import numpy as np
import pytest
from scipy import ndimage

from rls_bids.numerics import average, coregister, realign, resample, slicetiming

MESSAGE = "numbers changed: raise VERSION, then store the new golden values"
SHAPE = (18, 20, 16)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-34.0, -38.0, -30.0)


def head(shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Return a soft ellipsoid with structure inside, moved by a shift; no random numbers."""
    x, y, z = (
        AFFINE[axis, axis] * index + AFFINE[axis, 3] - shift_mm[axis]
        for axis, index in enumerate(np.indices(SHAPE))
    )
    inside = 1 / (1 + np.exp((np.sqrt((x / 26) ** 2 + (y / 30) ** 2 + (z / 22) ** 2) - 1) * 12))
    texture = 1 + 0.3 * np.sin(x / 7 + 1) * np.cos(y / 9) + 0.2 * np.sin(z / 5 + x / 11)
    return (1000 * inside * texture).astype(np.float32)


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    shifts = [(0.3 * np.sin(n), 0.2 * np.cos(2 * n), 0.1 * n) for n in range(8)]
    return np.stack([head(shift) for shift in shifts])


def test_realign(series: np.ndarray) -> None:
    assert realign.VERSION == "1", MESSAGE
    parameters = realign.estimate_motion(series, AFFINE).parameters
    found = [*parameters[[0, 3, 7], 2], parameters[5, 0]]
    np.testing.assert_allclose(found, REALIGN, atol=2e-4, err_msg=MESSAGE)


def test_slicetiming(series: np.ndarray) -> None:
    assert slicetiming.VERSION == "1", MESSAGE
    long = np.concatenate([series] * 4)
    times = [0.1 * n for n in range(SHAPE[2])]
    found = slicetiming.correct_slice_timing(
        long, times, 2.0, slice_axis=2, reversed_axis=False, reference_time=0.75
    )
    np.testing.assert_allclose(found[10, 9, 10, [2, 8, 14]], SLICETIMING, rtol=1e-5)


def test_resample() -> None:
    assert resample.VERSION == "1", MESSAGE
    points = np.array([[1.3, -2.7, 3.1], [10.0, 12.5, -8.0], [-15.2, 4.4, 9.9]])
    found = resample.resample_volume(head(), AFFINE, points, order=3)
    np.testing.assert_allclose(found, RESAMPLE, rtol=1e-5, err_msg=MESSAGE)


def test_coregister() -> None:
    assert coregister.VERSION == "3", MESSAGE
    fixed = head()
    moving = ndimage.gaussian_filter(1200 - head((5.0, -4.0, 3.0)), 0.5).astype(np.float32)
    masks = fixed > 300, head((5.0, -4.0, 3.0)) > 300
    moving = np.where(masks[1], moving, np.float32(0))
    wide = AFFINE.copy()  # a field of view of a whole head
    wide[:3, 3] -= 10 * np.diag(AFFINE)[:3]
    for volume, mask, affine, shift, cost in (
        (np.pad(moving, 10), np.pad(masks[1], 10), wide, COREGISTER, COREGISTER_COST),
        (moving, masks[1], AFFINE, COREGISTER_SLAB, COREGISTER_SLAB_COST),
    ):
        found = coregister.coregister(fixed, AFFINE, masks[0], volume, affine, mask)
        np.testing.assert_allclose(found.matrix[:3, 3], shift, atol=2e-3, err_msg=MESSAGE)
        assert found.cost == pytest.approx(cost, abs=1e-5)


def test_average() -> None:
    assert average.VERSION == "1", MESSAGE
    found = average.average_heads((head(), AFFINE), [(head((2.0, -1.0, 1.5)) * 1.5, AFFINE)])
    np.testing.assert_allclose(found.matrices[0][:3, 3], AVERAGE_SHIFT, atol=2e-3, err_msg=MESSAGE)
    np.testing.assert_allclose(found.data[[5, 9, 12], 10, 8], AVERAGE, rtol=1e-3, err_msg=MESSAGE)


AVERAGE_SHIFT = [2.000584, -1.013069, 1.505025]
AVERAGE = [598.03967, 1391.1421, 1234.6553]
REALIGN = [-0.499733, -0.198406, 0.203394, -0.165001]
SLICETIMING = [665.26874, 1375.1886, 117.980255]
RESAMPLE = [1399.8595, 889.70245, 827.3639]
COREGISTER = [4.900064, -3.963064, 3.096807]
COREGISTER_COST = -1.159783
COREGISTER_SLAB = [4.907079, -3.968106, 3.084019]
COREGISTER_SLAB_COST = -1.160188
