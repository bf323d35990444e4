"""Slice timing: delay, amplitude and ringing on planted sines and spikes, all slice layouts."""

import numpy as np
import pytest

from rls_bids.errors import InputDataError
from rls_bids.numerics.slicetiming import (
    OUT_OF_RANGE,
    WRONG_LENGTH,
    correct_slice_timing,
    mid_slice_time,
)

N_SLICES = 6
INTERLEAVED = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
MULTIBAND = [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]


def acquired(hz, tr, n_volumes, times, axis, *, is_reversed, phase=0.0):
    """A sine that every slice samples at its own time; (n_volumes, X, Y, Z)."""
    order = np.asarray(times)[:: -1 if is_reversed else 1]
    clock = tr * np.arange(n_volumes)[:, None] + order
    rows = np.sin(2 * np.pi * hz * clock + phase).astype(np.float32)
    shape = [n_volumes, 2, 2, 2]
    shape[1 + axis] = len(times)
    view = [n_volumes, 1, 1, 1]
    view[1 + axis] = len(times)
    return np.broadcast_to(rows.reshape(view), shape).copy()


def delay_and_gain(found, hz, tr, time):
    """Delay (s) and amplitude of each column against the sine at ``time``, by least squares."""
    clock = tr * np.arange(len(found)) + time
    core = slice(12, -12)
    design = np.stack([np.sin(2 * np.pi * hz * clock), np.cos(2 * np.pi * hz * clock)], axis=1)
    in_phase, quadrature = np.linalg.lstsq(design[core], found[core], rcond=None)[0]
    return -np.arctan2(quadrature, in_phase) / (2 * np.pi * hz), np.hypot(in_phase, quadrature)


def worst(tr, times, *, is_corrected):
    """Largest delay (s) and relative loss of amplitude over slices and 0.01–0.1 Hz."""
    delays, losses = [], []
    for hz in (0.01, 0.02, 0.04, 0.06, 0.08, 0.09, 0.1):
        n_volumes = int(400 / tr)
        series = acquired(hz, tr, n_volumes, times, 2, is_reversed=False)
        middle = mid_slice_time(times)
        if is_corrected:
            series = correct_slice_timing(
                series, times, tr, slice_axis=2, reversed_axis=False, reference_time=middle
            )
        delay, gain = delay_and_gain(series[:, 0, 0], hz, tr, middle)
        delays.append(np.abs(delay).max())
        losses.append(np.abs(gain - 1).max())
    return max(delays), max(losses)


@pytest.mark.parametrize("tr", [0.8, 1.5, 2.0, 2.5, 3.0])
@pytest.mark.parametrize("pattern", [INTERLEAVED, MULTIBAND], ids=["interleaved", "multiband"])
def test_delay_and_amplitude_hold_only_with_the_correction(tr, pattern):
    times = [tr * (index + 0.5) / 6.01 for index in pattern]
    delay, loss = worst(tr, times, is_corrected=True)
    assert delay <= 0.02
    assert loss <= 0.01
    uncorrected, _ = worst(tr, times, is_corrected=False)
    assert uncorrected > 0.02


@pytest.mark.parametrize("tr", [0.8, 2.0, 3.0])
def test_a_spike_rings_little_two_volumes_away(tr):
    times = np.linspace(0.0, tr * 0.99, 40).tolist()
    series = np.zeros((60, 1, 1, 40), np.float32)
    series[30] = 1.0
    found = correct_slice_timing(
        series,
        times,
        tr,
        slice_axis=2,
        reversed_axis=False,
        reference_time=mid_slice_time(times),
    )
    away = np.abs(np.arange(60) - 30) >= 2
    assert np.abs(found[away]).max() <= 0.10
    np.testing.assert_allclose(found.sum(0), 1.0, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_every_slice_axis_and_direction(axis, is_reversed):
    tr, hz = 2.0, 0.05
    times = [index / 3.0 for index in INTERLEAVED]
    series = acquired(hz, tr, 120, times, axis, is_reversed=is_reversed)
    before = series.copy()
    arguments = {"slice_axis": axis, "reference_time": mid_slice_time(times)}
    found = correct_slice_timing(series, times, tr, reversed_axis=is_reversed, **arguments)
    wrong = correct_slice_timing(series, times, tr, reversed_axis=not is_reversed, **arguments)
    np.testing.assert_array_equal(series, before)
    assert found.shape == series.shape
    assert found.dtype == np.float32
    columns = found.reshape(120, -1)
    delay, _ = delay_and_gain(columns, hz, tr, mid_slice_time(times))
    assert np.abs(delay).max() < 0.005
    mistaken, _ = delay_and_gain(wrong.reshape(120, -1), hz, tr, mid_slice_time(times))
    assert np.abs(mistaken).max() > 0.3


@pytest.mark.parametrize("reference_time", [0.0, 1.99])
def test_any_reference_time(reference_time):
    tr, hz = 2.0, 0.04
    times = [index / 3.0 for index in INTERLEAVED]
    series = acquired(hz, tr, 120, times, 2, is_reversed=False, phase=0.0)
    found = correct_slice_timing(
        series, times, tr, slice_axis=2, reversed_axis=False, reference_time=reference_time
    )
    delay, gain = delay_and_gain(found[:, 0, 0], hz, tr, reference_time)
    assert np.abs(delay).max() < 0.005
    np.testing.assert_allclose(gain, 1.0, atol=0.005)


def test_the_reference_slice_is_not_touched():
    series = np.random.default_rng(0).standard_normal((30, 2, 2, 3)).astype(np.float32)
    found = correct_slice_timing(
        series, [0.0, 1.0, 2.0], 3.0, slice_axis=2, reversed_axis=False, reference_time=1.0
    )
    np.testing.assert_array_equal(found[..., 1], series[..., 1])
    assert not np.allclose(found[..., 0], series[..., 0])


@pytest.mark.parametrize("n_volumes", [1, 3, 200])
def test_a_constant_stays_constant_to_the_ends(n_volumes):
    series = np.full((n_volumes, 2, 2, 6), 900.0, np.float32)
    found = correct_slice_timing(
        series, INTERLEAVED, 6.0, slice_axis=2, reversed_axis=False, reference_time=2.5
    )
    np.testing.assert_allclose(found, 900.0, rtol=1e-5)


def test_linear_in_the_data():
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((2, 40, 2, 2, 6)).astype(np.float32)

    def correct(series):
        return correct_slice_timing(
            series, MULTIBAND, 3.0, slice_axis=2, reversed_axis=False, reference_time=1.0
        )

    expected = 2 * correct(first) + correct(second)
    np.testing.assert_allclose(correct(2 * first + second), expected, atol=1e-5)


def test_wrong_number_of_times_is_named():
    series = np.zeros((5, 2, 2, 6), np.float32)
    with pytest.raises(InputDataError) as caught:
        correct_slice_timing(
            series, [0.0, 1.0], 2.0, slice_axis=2, reversed_axis=False, reference_time=0.5
        )
    assert caught.value.message == WRONG_LENGTH.format(found=2, expected=6, axis=2)


def test_times_in_milliseconds_are_refused():
    series = np.zeros((5, 2, 2, 2), np.float32)
    with pytest.raises(InputDataError) as caught:
        correct_slice_timing(
            series, [0.0, 1000.0], 2.0, slice_axis=2, reversed_axis=False, reference_time=0.5
        )
    assert caught.value.message == OUT_OF_RANGE.format(low=0.0, high=1000.0, tr=2.0)
