"""Volumes before the steady state: planted saturation under noise, drift, breathing and motion."""

import numpy as np
import pytest

from rls_bids.numerics.steady import (
    LONGEST,
    count_non_steady,
    non_steady_columns,
    relative_level,
)

SHAPE = (24, 26, 16)
N_VOLUMES = 60
TISSUE_EXCESS = np.array([0.0, 0.8, 1.0, 2.5])  # air, white matter, grey matter, fluid
SIGNAL = np.array([0.0, 700.0, 900.0, 1300.0])


def phantom():
    """Tissue labels of a head with smooth edges left to the interpolation."""
    radius = np.linalg.norm(
        (np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2)
        / (np.array(SHAPE)[:, None, None, None] * 0.38),
        axis=0,
    )
    return np.select([radius < 0.25, radius < 0.65, radius < 0.92, radius < 1], [3, 1, 2, 3], 0)


LABELS = phantom()


def moved(spectra, weights, shifts):
    """Shift sums of images by exact Fourier phases: (n_volumes, X, Y, Z)."""
    phase = 1.0
    for axis, n in enumerate(SHAPE):
        shape = [1, 1, 1, 1]
        shape[axis + 1] = n
        frequency = np.fft.fftfreq(n).reshape(shape)
        phase = phase * np.exp(-2j * np.pi * frequency * shifts[:, axis].reshape(-1, 1, 1, 1))
    spectrum = sum(w.reshape(-1, 1, 1, 1) * s for w, s in zip(weights, spectra, strict=True))
    return np.fft.ifftn(spectrum * phase, axes=(1, 2, 3)).real


def breathing(rng, n):
    """Slow global waves of up to 0.3 % (standard deviation), as from breathing and pulse."""
    t = np.arange(n)
    waves = sum(
        rng.normal() * np.sin(2 * np.pi * (rng.uniform(0.02, 0.45) * t + rng.uniform()))
        for _ in range(4)
    )
    return rng.uniform(0.0005, 0.003) * waves / max(np.std(waves), 1e-9)


def planted(rng, excess, n=N_VOLUMES):
    """A series whose grey matter starts ``excess`` (a vector) brighter."""
    rise = np.zeros(n)
    rise[: len(excess)] = excess
    drift = rng.uniform(-0.03, 0.03) * np.arange(n) / n
    drift = drift + rng.uniform(-0.01, 0.01) * (np.arange(n) / n) ** 2
    level = 1 + drift + breathing(rng, n)
    walk = np.cumsum(rng.normal(0, 0.02, (n, 3)), axis=0)
    jump = rng.integers(0, n)
    walk[jump:] += rng.normal(0, 0.2, 3)  # voxels of 3 mm: jumps of about a millimetre
    base = SIGNAL[LABELS]
    spectra = (np.fft.fftn(base), np.fft.fftn(base * TISSUE_EXCESS[LABELS]))
    series = moved(spectra, (level, level * rise), walk)
    noise = rng.normal(0, 900 / rng.uniform(30, 100), series.shape)
    return np.abs(series + noise).astype(np.float32)


def falling(rng, n_start):
    """A decay that is at least 10 % at first and at least 2 % at its last volume."""
    first = rng.uniform(0.10, 0.5)
    return np.geomspace(first, rng.uniform(0.02, min(0.08, first)), n_start)[:n_start]


def shares(n_series, seed):
    """Share of false alarms without, and of exact counts with, a planted start."""
    rng = np.random.default_rng(seed)
    alarms = [count_non_steady(planted(rng, ())) > 0 for _ in range(n_series)]
    exact = []
    for index in range(n_series):
        n_start = 1 + index % 6
        excess = falling(rng, n_start)
        exact.append(count_non_steady(planted(rng, excess)) == n_start)
    return np.mean(alarms), np.mean(exact)


def test_planted_saturation_is_counted_and_nothing_else():
    alarms, exact = shares(60, seed=1)
    assert alarms <= 0.02
    assert exact >= 0.98


@pytest.mark.slow
def test_planted_saturation_in_many_series():
    alarms, exact = shares(1000, seed=2)
    assert alarms <= 0.02
    assert exact >= 0.98


def test_decay_that_never_ends_is_cut_between_3_and_half_a_percent():
    """A true exponential has no last volume: what is plain goes, what is lost in noise stays."""
    rng = np.random.default_rng(3)
    for ratio in (0.05, 0.2, 0.35, 0.5, 0.6):
        excess = 0.25 * ratio ** np.arange(N_VOLUMES)
        excess[excess < 1e-6] = 0
        found = count_non_steady(planted(rng, excess))
        assert np.count_nonzero(excess > 0.03) <= found <= np.count_nonzero(excess > 0.005)


def test_a_bent_drift_is_no_start():
    """Of a short run that sinks by 3 % in a bow, smoothly."""
    rng = np.random.default_rng(8)
    for n in (20, 24, 30, 40):
        series = (
            planted(rng, (), n=n) * (1 + 0.03 * (1 - np.arange(n) / n) ** 2)[:, None, None, None]
        )
        assert count_non_steady(series) == 0
        series[:2] *= np.array([1.3, 1.05]).reshape(2, 1, 1, 1)
        assert count_non_steady(series) == 2


def test_short_series():
    rng = np.random.default_rng(4)
    assert count_non_steady(planted(rng, (0.3, 0.1), n=20)) == 2
    assert count_non_steady(planted(rng, (), n=20)) == 0
    assert count_non_steady(planted(rng, (0.3,), n=2)) == 0
    assert count_non_steady(np.ones((0, 2, 2, 2))) == 0


def test_darker_start_later_steps_and_empty_images_are_left_alone():
    rng = np.random.default_rng(5)
    series = planted(rng, ())
    series[:2] *= 0.8
    assert count_non_steady(series) == 0
    series = planted(rng, ())
    series[3:6] *= 1.2
    assert count_non_steady(series) == 0
    assert count_non_steady(np.zeros((30, 3, 3, 3))) == 0


def test_never_more_than_the_longest_start():
    series = np.full((60, 3, 3, 3), 100.0)
    series[:30] *= 1.2
    assert count_non_steady(series) <= LONGEST


def test_input_is_untouched_and_scale_does_not_matter():
    series = planted(np.random.default_rng(6), (0.2, 0.05))
    before = series.copy()
    assert count_non_steady(series) == count_non_steady(series * np.float32(1e-3)) == 2
    np.testing.assert_array_equal(series, before)


def test_level_is_that_of_the_head_whatever_moves():
    """Against the planted level of grey matter, while the head moves by millimetres."""
    rng = np.random.default_rng(7)
    level = relative_level(planted(rng, (0.20,)), 5)
    assert level[0] / level[5:15].mean() == pytest.approx(1.20, abs=0.03)


def test_columns_have_the_names_of_fmriprep():
    columns = non_steady_columns(2, 5)
    assert list(columns) == ["non_steady_state_outlier00", "non_steady_state_outlier01"]
    np.testing.assert_array_equal(np.array(list(columns.values())), np.eye(5)[:2])
    assert non_steady_columns(0, 5) == {}
