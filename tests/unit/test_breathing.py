"""Breathing is taken out of head motion, slow motion stays, and aliases are where they belong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from rls_bids.errors import UsageError
from rls_bids.numerics import breathing
from rls_bids.numerics.breathing import (
    MotionFilter,
    aliased_band,
    band_seen,
    displacement_of,
    filter_motion,
    filtered_columns,
)
from rls_bids.numerics.confounds import MOTION, expand_motion, framewise_displacement

NOTCH = MotionFilter(kind="notch", low_bpm=12, high_bpm=18, order=4)
LOW_PASS = MotionFilter(kind="lp", low_bpm=6, high_bpm=0, order=4)


def planted(repetition_time, breaths_per_minute=16.0, n=400):
    """Return slow head motion with a jump, and breathing, (n, 6) each; mm and rad."""
    times = repetition_time * np.arange(n)[:, None]
    scale = np.repeat([1.0, 1 / 50], 3)
    slow = (0.4 * np.sin(2 * np.pi * times / 120) + 0.8 * (times > times.mean())) * scale
    breaths = 0.15 * np.sin(2 * np.pi * times * breaths_per_minute / 60 + np.arange(6)) * scale
    return slow, breaths


@pytest.mark.parametrize("chosen", [NOTCH, LOW_PASS])
@pytest.mark.parametrize("repetition_time", [0.8, 1.5])
def test_breathing_goes_and_slow_motion_stays(chosen, repetition_time):
    slow, breaths = planted(repetition_time)
    found = filter_motion(slow + breaths, chosen, repetition_time)
    alone = filter_motion(slow, chosen, repetition_time)
    middle = slice(20, -20)
    left = np.linalg.norm((found - alone)[middle]) / np.linalg.norm(breaths[middle])
    assert left < 0.1
    smooth = 0.4 * np.sin(2 * np.pi * repetition_time * np.arange(400) / 120)[:, None]
    kept = filter_motion(smooth, chosen, repetition_time)[middle]
    assert np.abs(kept - smooth[middle]).max() < 0.02 * 0.4


def test_displacement_shows_the_jump_and_not_the_breathing():
    slow, breaths = planted(0.8)
    table = expand_motion(slow + breaths)
    table["framewise_displacement"] = framewise_displacement(slow + breaths)
    before = {name: column.copy() for name, column in table.items()}
    table |= filtered_columns(table, NOTCH, 0.8)
    assert all(np.array_equal(table[name], before[name], equal_nan=True) for name in before)
    used = displacement_of(table)
    assert used is table["framewise_displacement_filtered"]
    calm = np.r_[20:180, 220:380]
    breathing_fd = framewise_displacement(breaths)[calm].mean()
    excess = used[calm].mean() - framewise_displacement(slow)[calm].mean()
    assert excess < 0.1 * breathing_fd
    assert np.nanargmax(used) in {199, 200, 201}
    assert np.isnan(used[0])


def test_differences_and_squares_are_those_of_the_filtered_parameters():
    slow, breaths = planted(0.8)
    table = expand_motion(slow + breaths)
    found = filtered_columns(table, NOTCH, 0.8)
    parameters = filter_motion(slow + breaths, NOTCH, 0.8)
    assert set(found) == {f"{name}_filtered" for name in [*table, "framewise_displacement"]}
    for index, name in enumerate(MOTION):
        values = parameters[:, index]
        assert np.array_equal(found[f"{name}_filtered"], values)
        assert np.allclose(found[f"{name}_derivative1_filtered"][1:], np.diff(values))
        assert np.allclose(found[f"{name}_power2_filtered"], values**2)


def test_without_a_filter_the_displacement_is_the_plain_one():
    table = {"framewise_displacement": np.array([np.nan, 0.1])}
    assert displacement_of(table) is table["framewise_displacement"]


def test_filters_are_those_of_scipy():
    """XCP-D's definition, written from scipy's building blocks."""
    data = np.cumsum(np.random.default_rng(0).standard_normal((150, 6)), axis=0)
    b, a = scipy_signal.iirnotch(0.25, 0.25 / 0.1, fs=1 / 0.8)
    expected = data
    for _ in range(2):
        expected = scipy_signal.filtfilt(
            b, a, expected, axis=0, padtype="constant", padlen=len(data) - 1
        )
    assert np.allclose(filter_motion(data, NOTCH, 0.8), expected, atol=1e-12)
    b, a = scipy_signal.butter(2, 0.1, fs=1 / 0.8)
    expected = scipy_signal.filtfilt(b, a, data, axis=0, padtype="constant", padlen=149)
    assert np.allclose(filter_motion(data, LOW_PASS, 0.8), expected, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_very_short_runs_are_filtered_without_failing(n):
    data = np.random.default_rng(1).standard_normal((n, 6))
    before = data.copy()
    found = filter_motion(data, NOTCH, 0.8)
    assert found.shape == (n, 6)
    assert np.isfinite(found).all()
    assert np.array_equal(data, before)


# --- aliases ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("band", "repetition_time", "expected"),
    [
        ((12, 18), 0.8, (12, 18)),  # Nyquist 37.5/min: seen where it is
        ((12, 18), 2.0, (12, 15)),  # Nyquist 15/min lies in the band: folded there
        ((17, 18), 3.0, (2, 3)),  # one fold: 20 − f
        ((12, 18), 3.0, (2, 8)),
        ((58, 62), 2.0, (0, 2)),  # a pulse about twice the sampling rate
        ((25, 28), 3.0, (5, 8)),  # beyond the sampling rate: f − 20
    ],
)
def test_bands_are_folded_at_multiples_of_the_nyquist_frequency(band, repetition_time, expected):
    low, high = aliased_band(band[0] / 60, band[1] / 60, repetition_time)
    assert (60 * low, 60 * high) == pytest.approx(expected)


@settings(max_examples=80, deadline=None)
@given(low=st.floats(0.05, 1.5), width=st.floats(0.01, 0.3), repetition_time=st.floats(0.5, 4.0))
def test_the_alias_is_that_of_every_frequency_in_the_band(low, width, repetition_time):
    """Brute force: cosines sampled at the volumes are those of the folded frequency."""
    found = aliased_band(low, low + width, repetition_time)
    frequencies = np.linspace(low, low + width, 2001)
    phase = 2 * np.pi * frequencies * repetition_time
    seen = np.arccos(np.cos(phase)) / (2 * np.pi * repetition_time)
    assert found[0] <= seen.min() + 1e-9
    assert found[1] >= seen.max() - 1e-9
    step = 2 * width / 2000
    assert seen.min() - found[0] < step
    assert found[1] - seen.max() < step


def test_a_notch_beyond_nyquist_takes_the_alias_out():
    slow, breaths = planted(3.0, breaths_per_minute=17.0)  # seen at 3/min
    chosen = MotionFilter(kind="notch", low_bpm=15, high_bpm=18.5, order=4)
    found = filter_motion(slow + breaths, chosen, 3.0) - filter_motion(slow, chosen, 3.0)
    assert np.linalg.norm(found[20:-20]) < 0.1 * np.linalg.norm(breaths[20:-20])


def test_filters_that_cannot_work_are_refused_with_the_arithmetic():
    with pytest.raises(UsageError) as caught:
        band_seen(MotionFilter(kind="lp", low_bpm=18, high_bpm=0, order=4), 2.0)
    assert caught.value.message == breathing.LP_BEYOND.format(
        low=18, repetition_time=2.0, nyquist=15.0
    )
    with pytest.raises(UsageError) as caught:
        band_seen(MotionFilter(kind="notch", low_bpm=18, high_bpm=22, order=4), 3.0)
    assert caught.value.message == breathing.NOTCH_ON_ZERO.format(
        low=18, high=22, repetition_time=3.0, alias_low=0, alias_high=2
    )
    assert band_seen(LOW_PASS, 2.0) == (6, 0)


def test_golden_values_hold_while_the_version_stands():
    assert breathing.VERSION == "1", "numbers changed: store new golden values with the version"
    n = np.arange(80.0)[:, None]
    data = np.sin(n / np.arange(3, 9)) + n / 50
    found = [filter_motion(data, chosen, 1.0)[[0, 33, 79], [0, 2, 5]] for chosen in GOLDEN]
    assert np.allclose(found, list(GOLDEN.values()), atol=1e-6)


GOLDEN = {
    NOTCH: [0.1022029, 0.9688552, 1.1720429],
    LOW_PASS: [0.2274417, 0.968734, 1.1977501],
}
