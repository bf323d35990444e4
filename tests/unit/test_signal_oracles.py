"""One order of denoising, against nilearn and against the steps written out one by one."""

import nilearn.signal
import numpy as np
import pytest

from rls_bids.numerics.signal import (
    PAD_PERIODS,
    band_pass,
    denoise,
    filter_operator,
    interpolate_censored,
    sample_mask,
)

BAND = (0.01, 0.1)
REPETITION_TIME = 2.0
# nilearn's filter told to be ours: order 2, mirrored for as long at both ends.
SAME_FILTER = {
    "filter": "butterworth",
    "low_pass": BAND[1],
    "high_pass": BAND[0],
    "t_r": REPETITION_TIME,
    "butterworth__order": 2,
    "butterworth__padtype": "even",
    "butterworth__padlen": int(PAD_PERIODS / BAND[0] / REPETITION_TIME),
}


def planted(n=400, n_voxels=30, n_confounds=8, seed=0):
    rng = np.random.default_rng(seed)
    confounds = np.cumsum(rng.standard_normal((n, n_confounds)), axis=0)
    data = 100 + rng.standard_normal((n, n_voxels)) + 0.05 * np.arange(n)[:, None]
    return data + 0.1 * confounds @ rng.standard_normal((n_confounds, n_voxels)), confounds


def ours(data, confounds, kept=None, band=BAND):
    kept = np.ones(len(data), dtype=bool) if kept is None else kept
    found = denoise(data, confounds, repetition_time=REPETITION_TIME, kept=kept, band=band)
    return found.data


@pytest.mark.parametrize("n", [300, 401])
def test_filter_and_regression_are_those_of_nilearn(n):
    data, confounds = planted(n)
    expected = nilearn.signal.clean(
        data, confounds=confounds, detrend=True, standardize=None, standardize_confounds=False,
        **SAME_FILTER,
    )  # fmt: skip
    assert np.abs(ours(data, confounds) - expected).max() < 1e-6


def test_filter_alone_is_that_of_nilearn():
    data, _ = planted()
    expected = nilearn.signal.clean(data, detrend=True, standardize=None, **SAME_FILTER)
    assert np.abs(ours(data, np.zeros((400, 0))) - expected).max() < 1e-6
    assert np.abs(band_pass(data, REPETITION_TIME, *BAND) - expected).max() < 1e-9


def test_regression_without_band_is_that_of_nilearn_to_1e6():
    data, confounds = planted()
    expected = nilearn.signal.clean(
        data, confounds=confounds, detrend=True, standardize=None, standardize_confounds=False,
        filter=False, t_r=REPETITION_TIME,
    )  # fmt: skip
    assert np.abs(ours(data, confounds, band=None) - expected).max() < 1e-6


def test_censored_regression_is_that_of_nilearn_with_the_trend_over_true_time():
    """nilearn detrends kept volumes as if they were neighbours; so the line is taken off first."""
    data, confounds = planted()
    kept = np.ones(400, dtype=bool)
    kept[[3, 50, 51, 52, 200]] = False
    kept[300:340] = False
    line = np.column_stack([np.ones(400), np.linspace(-1, 1, 400)])
    flat, columns = (
        each - line @ np.linalg.lstsq(line[kept], each[kept], rcond=None)[0]
        for each in (data, confounds)
    )
    expected = nilearn.signal.clean(
        flat, confounds=columns, sample_mask=np.flatnonzero(kept), detrend=False,
        standardize=None, standardize_confounds=True, filter=False, t_r=REPETITION_TIME,
    )  # fmt: skip
    assert np.abs(ours(data, confounds, kept, band=None) - expected).max() < 1e-6


def test_the_order_is_mark_interpolate_filter_both_fit_on_kept_and_censor():
    data, confounds = planted(seed=1)
    fd = np.full(400, 0.1)
    fd[[30, 33, 100, 101, 102, 250]] = 0.9
    fd[380:] = 0.9
    kept = sample_mask(fd, 0.5)
    assert not kept[[31, 32]].any()  # a stretch of two
    filtered, columns = (
        band_pass(interpolate_censored(each, kept, REPETITION_TIME), REPETITION_TIME, *BAND)
        for each in (data, confounds)
    )
    weights = np.linalg.lstsq(columns[kept], filtered[kept], rcond=None)[0]
    expected = (filtered - columns @ weights)[kept]
    assert np.abs(ours(data, confounds, kept) - expected).max() < 1e-6
    # Any other order gives other numbers: here the confounds are fitted before the filter.
    before = confounds - confounds.mean(axis=0)
    early = data - before @ np.linalg.lstsq(before[kept], data[kept], rcond=None)[0]
    other = band_pass(interpolate_censored(early, kept, REPETITION_TIME), REPETITION_TIME, *BAND)
    assert np.abs(other[kept] - expected).max() > 1e-2


def test_spikes_in_censored_volumes_do_not_ring():
    data, confounds = planted(seed=2)
    kept = np.ones(400, dtype=bool)
    kept[[150, 151, 260]] = False
    calm = ours(data, confounds, kept)
    spiked = data.copy()
    spiked[~kept] += 500
    assert np.array_equal(ours(spiked, confounds, kept), calm)
    assert np.abs(ours(spiked, confounds) - ours(data, confounds)).max() > 10


def test_mirroring_is_longer_than_one_period_of_the_low_edge():
    assert PAD_PERIODS >= 1
    data, _ = planted(n=60)  # 120 s: shorter than the mirror, which is folded several times
    assert np.isfinite(band_pass(data, REPETITION_TIME, *BAND)).all()


def test_the_operator_is_the_filter():
    data, _ = planted(n=120)
    kept = np.ones(120, dtype=bool)
    kept[40:47] = False
    operator, space = filter_operator(kept, REPETITION_TIME, BAND, 2)
    filled = interpolate_censored(data, kept, REPETITION_TIME)
    expected = band_pass(filled, REPETITION_TIME, *BAND)[kept]
    assert np.allclose(operator @ data[kept], expected, atol=1e-9)
    assert np.allclose(space.T @ space, np.eye(space.shape[1]), atol=1e-9)
