"""Censoring, band-pass and nuisance regression against planted truth, scipy and nilearn."""

import nilearn.signal
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.interfaces.fmriprep.load_confounds_scrub import optimize_scrub
from scipy import signal as scipy_signal
from scipy.interpolate import CubicSpline

from rls_bids.errors import UsageError
from rls_bids.numerics import signal
from rls_bids.numerics.signal import band_pass, denoise, interpolate_censored, sample_mask

BAND = (0.01, 0.1)


def everything(n):
    return np.ones(n, dtype=bool)


def waves(n, repetition_time, frequency_hz, phase=0.0):
    times = np.arange(n) * repetition_time
    return np.sin(2 * np.pi * frequency_hz * times + phase)[:, None]


# --- sample_mask --------------------------------------------------------------------------------


def test_sample_mask_keeps_the_first_volume_and_censors_short_stretches():
    fd = np.full(30, 0.1)
    fd[0] = np.nan
    fd[[10, 14, 20]] = 0.9  # 3 volumes between 10 and 14, 5 between 14 and 20
    kept = sample_mask(fd, 0.5)
    assert np.flatnonzero(~kept).tolist() == [10, 11, 12, 13, 14, 20]


def test_sample_mask_without_threshold_or_without_motion_keeps_all():
    assert sample_mask(np.full(8, 3.0), 0).all()
    assert sample_mask(np.full(3, 0.1), 0.5).all()


@settings(max_examples=60, deadline=None)
@given(outliers=st.sets(st.integers(0, 59), min_size=1, max_size=25), stretch=st.integers(2, 8))
def test_sample_mask_agrees_with_nilearn(outliers, stretch):
    fd = np.zeros(60)
    fd[sorted(outliers)] = 1.0
    expected = np.ones(60, dtype=bool)
    expected[optimize_scrub(np.array(sorted(outliers)), 60, stretch)] = False
    assert np.array_equal(sample_mask(fd, 0.5, min_stretch=stretch), expected)


# --- band_pass ----------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency_hz", BAND)
def test_edges_keep_half_of_the_amplitude(frequency_hz):
    out = band_pass(waves(2000, 2.0, frequency_hz), 2.0, *BAND)[500:1500]
    assert np.sqrt(2) * out.std() == pytest.approx(0.5, abs=0.005)


def test_pass_band_is_kept_and_stop_band_removed():
    inside = waves(1000, 2.0, 0.035)
    assert np.abs(band_pass(inside, 2.0, *BAND) - inside)[100:900].max() < 0.01
    for frequency_hz in (0.002, 0.24):
        out = band_pass(waves(1000, 2.0, frequency_hz), 2.0, *BAND)[100:900]
        assert np.abs(out).max() < 0.02


def test_agrees_with_scipy_away_from_the_ends():
    data = np.random.default_rng(1).standard_normal((600, 4))
    flat = scipy_signal.detrend(data, axis=0)
    sections = scipy_signal.butter(2, BAND, "bandpass", fs=0.5, output="sos")
    expected = scipy_signal.sosfiltfilt(sections, flat, axis=0, padlen=300)
    assert np.abs(band_pass(data, 2.0, *BAND) - expected)[150:450].max() < 1e-3


def test_agrees_with_nilearn_away_from_the_ends():
    data = np.random.default_rng(2).standard_normal((600, 4))
    expected = nilearn.signal.butterworth(
        scipy_signal.detrend(data, axis=0), 0.5, low_pass=0.1, high_pass=0.01, order=2,
        padlen=300, copy=True,
    )  # fmt: skip
    assert np.abs(band_pass(data, 2.0, *BAND) - expected)[150:450].max() < 1e-3


@pytest.mark.parametrize("n", [2, 5, 20, 21])
def test_short_runs_are_padded_several_times_over(n):
    data = np.random.default_rng(n).standard_normal((n, 3)) + np.arange(n)[:, None] * 50
    out = band_pass(data, 2.52, *BAND)
    assert out.shape == data.shape
    assert np.isfinite(out).all()
    assert np.abs(out).max() < 5  # the drift of 50 a volume is gone


def test_constant_and_trend_are_removed():
    line = 100 + 3.0 * np.arange(100)[:, None]
    assert np.abs(band_pass(line, 2.0, *BAND)).max() < 1e-9
    assert np.abs(band_pass(line, 2.0, 0.0, 0.0)).max() < 1e-9


def test_one_edge_alone():
    slow, fast = waves(1000, 2.0, 0.002), waves(1000, 2.0, 0.2)
    slow = scipy_signal.detrend(slow, axis=0)
    low_pass = band_pass(slow + fast, 2.0, 0.0, 0.1)
    assert np.abs(low_pass - slow)[100:900].max() < 0.1
    high_pass = band_pass(slow + fast, 2.0, 0.01, 0.0)
    assert np.abs(high_pass - fast)[100:900].max() < 0.02


@pytest.mark.parametrize("band", [(0.01, 0.25), (0.01, 0.3), (0.1, 0.05), (-0.01, 0.1)])
def test_impossible_bands_are_refused_with_the_nyquist_frequency(band):
    with pytest.raises(UsageError) as caught:
        band_pass(np.zeros((50, 1)), 2.0, *band)
    assert caught.value.message == signal.BAD_BAND.format(
        low_hz=band[0], high_hz=band[1], repetition_time=2.0, nyquist_hz=0.25
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(15, 120), a=st.floats(-5, 5))
def test_filter_is_linear_and_has_no_phase(seed, n, a):
    x, y = np.random.default_rng(seed).standard_normal((2, n, 2))
    both = band_pass(x + a * y, 2.0, *BAND)
    assert np.allclose(both, band_pass(x, 2.0, *BAND) + a * band_pass(y, 2.0, *BAND), atol=1e-9)
    # Zero phase: time reversal and filtering commute but for the start-up transients, which the
    # padding has damped away.
    backwards = band_pass(x[::-1], 2.0, *BAND)[::-1]
    assert np.allclose(backwards, band_pass(x, 2.0, *BAND), atol=1e-3)


# --- interpolation ------------------------------------------------------------------------------


def test_kept_volumes_stay_and_censored_values_are_not_looked_at():
    data = np.random.default_rng(3).standard_normal((60, 2))
    kept = everything(60)
    kept[[0, 1, 20, 21, 22, 59]] = False
    spoiled = data.copy()
    spoiled[~kept] = np.nan
    filled = interpolate_censored(spoiled, kept, 2.0)
    assert np.array_equal(filled[kept], data[kept])
    assert np.isfinite(filled).all()
    spoiled[~kept] = 1e6
    assert np.array_equal(filled, interpolate_censored(spoiled, kept, 2.0))


def test_a_straight_line_is_continued_and_nothing_overshoots():
    kept = everything(80)
    kept[30:55] = False
    line = 3.0 + 0.5 * np.arange(80)[:, None]
    assert np.allclose(interpolate_censored(line, kept, 2.0), line)
    noise = np.random.default_rng(4).standard_normal((80, 50))
    filled = interpolate_censored(noise, kept, 2.0)
    assert np.abs(filled[~kept]).max() < np.abs(noise[kept]).max()


@pytest.mark.parametrize("kept", [everything(12), ~everything(12), np.arange(12) == 3])
def test_nothing_one_or_all_kept(kept):
    data = np.random.default_rng(5).standard_normal((12, 2))
    filled = interpolate_censored(data, kept, 2.0)
    assert np.array_equal(filled[kept], data[kept])


@pytest.mark.parametrize("gap", ["singles", "bursts"])
def test_prediction_brings_the_filtered_series_close(gap):
    rng = np.random.default_rng(6)
    clean = scipy_signal.lfilter([1.0], [1.0, -0.85], rng.standard_normal((240, 200)), axis=0)
    kept = everything(240)
    if gap == "singles":
        kept[rng.choice(240, 40, replace=False)] = False
    else:
        for start in range(10, 230, 25):
            kept[start : start + 5] = False
    truth = band_pass(clean, 2.0, *BAND)[kept]

    def error(filled):
        return np.sqrt(np.mean((band_pass(filled, 2.0, *BAND)[kept] - truth) ** 2))

    zeros = np.where(kept[:, None], clean, 0.0)
    spikes = np.where(kept[:, None], clean, 5.0)
    cubic = CubicSpline(np.flatnonzero(kept), clean[kept])(np.arange(240))
    ours = error(interpolate_censored(zeros, kept, 2.0))
    assert ours < 0.6 * error(zeros)
    assert ours < 0.9 * error(cubic)
    assert ours < 0.25 * error(spikes)


# --- denoise ------------------------------------------------------------------------------------


def test_the_short_run_has_nothing_left_and_says_so():
    rng = np.random.default_rng(7)
    out = denoise(
        rng.standard_normal((20, 9)).astype(np.float32),
        rng.standard_normal((20, 22)),
        repetition_time=2.52,
        kept=everything(20),
        band=BAND,
    )
    assert (out.n_volumes, out.band_dimensions, out.n_regressors) == (20, 10, 22)
    assert out.residual_df == -12
    assert out.data.shape == (0, 9)
    assert out.data.dtype == np.float32


def test_the_short_run_with_six_parameters_and_no_band_keeps_twelve():
    rng = np.random.default_rng(8)
    out = denoise(
        rng.standard_normal((20, 9)),
        rng.standard_normal((20, 6)),
        repetition_time=2.52,
        kept=everything(20),
        band=None,
    )
    assert (out.band_dimensions, out.confound_rank, out.residual_df) == (18, 6, 12)
    assert out.data.shape == (20, 9)


def test_regression_without_band_is_that_of_nilearn():
    rng = np.random.default_rng(9)
    data, confounds = rng.standard_normal((120, 30)), rng.standard_normal((120, 8))
    out = denoise(data, confounds, repetition_time=2.0, kept=everything(120), band=None)
    expected = nilearn.signal.clean(
        data,
        confounds=confounds,
        detrend=True,
        standardize=None,
        standardize_confounds=True,
        filter=False,
        t_r=2.0,
    )
    assert np.abs(out.data - expected).max() < 1e-5


def test_filter_and_regression_are_those_of_scipy_and_least_squares():
    rng = np.random.default_rng(10)
    data, confounds = rng.standard_normal((500, 20)), rng.standard_normal((500, 6))
    out = denoise(data, confounds, repetition_time=2.0, kept=everything(500), band=BAND)
    sections = scipy_signal.butter(2, BAND, "bandpass", fs=0.5, output="sos")

    def filtered(x):
        return scipy_signal.sosfiltfilt(
            sections, scipy_signal.detrend(x, axis=0), axis=0, padtype="even", padlen=300
        )

    columns = filtered(confounds)
    y = filtered(data)
    expected = y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
    assert np.abs(out.data - expected).max() < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(60, 150),
    k=st.integers(1, 6),
    with_band=st.booleans(),
    censor=st.booleans(),
)
def test_residuals_are_orthogonal_to_the_filtered_confounds(seed, n, k, with_band, censor):
    rng = np.random.default_rng(seed)
    data, confounds = rng.standard_normal((n, 5)), rng.standard_normal((n, k))
    kept = everything(n)
    if censor:
        kept[n // 3 : n // 3 + 7] = False
    band = BAND if with_band else None
    out = denoise(data, confounds, repetition_time=2.0, kept=kept, band=band)
    if with_band:
        columns = band_pass(interpolate_censored(confounds, kept, 2.0), 2.0, *BAND)[kept]
    else:
        columns = confounds[kept]
    scale = np.linalg.norm(columns, axis=0)[:, None] * np.linalg.norm(out.data, axis=0)
    assert (np.abs(columns.T @ out.data) < 1e-5 * scale).all()
    assert (np.abs(out.regressors.T @ out.data) < 1e-5 * scale).all()
    assert out.residual_df > 0


def test_a_confound_that_is_all_of_the_signal_leaves_nothing_but_noise():
    rng = np.random.default_rng(11)
    confounds = np.cumsum(rng.standard_normal((200, 3)), axis=0)
    data = confounds @ rng.standard_normal((3, 10)) + 100
    out = denoise(data, confounds, repetition_time=2.0, kept=everything(200), band=BAND)
    assert np.abs(out.data).max() < 1e-4


def test_censored_values_do_not_reach_the_result():
    rng = np.random.default_rng(12)
    data, confounds = rng.standard_normal((150, 8)), rng.standard_normal((150, 4))
    kept = everything(150)
    kept[[40, 41, 90]] = False
    first = denoise(data, confounds, repetition_time=2.0, kept=kept, band=BAND)
    data[~kept], confounds[~kept] = 1e5, -1e5
    second = denoise(data, confounds, repetition_time=2.0, kept=kept, band=BAND)
    assert np.array_equal(first.data, second.data)
    assert first.n_kept == first.data.shape[0] == 147


def test_rank_is_counted_not_the_columns():
    rng = np.random.default_rng(13)
    base = rng.standard_normal((200, 5))
    extra = [base[:, :2] @ [[1.0], [2.0]], np.ones((200, 1)), np.arange(200.0)[:, None]]
    confounds = np.hstack([base, *extra])
    for band in (BAND, None):
        out = denoise(
            rng.standard_normal((200, 3)),
            confounds,
            repetition_time=2.0,
            kept=everything(200),
            band=band,
        )
        assert (out.n_regressors, out.confound_rank) == (8, 5)
        assert out.residual_df == out.band_dimensions - 5


def test_no_confounds_and_nothing_kept():
    data = np.random.default_rng(14).standard_normal((100, 4))
    out = denoise(data, np.zeros((100, 0)), repetition_time=2.0, kept=everything(100), band=BAND)
    assert np.allclose(out.data, band_pass(data, 2.0, *BAND), atol=1e-6)
    for band in (BAND, None):
        none = denoise(
            data, np.zeros((100, 3)), repetition_time=2.0, kept=~everything(100), band=band
        )
        assert none.residual_df == -3
        assert none.data.shape == (0, 4)


@pytest.mark.parametrize("censoring", ["none", "bursts", "scattered"])
@pytest.mark.parametrize(("n", "repetition_time"), [(200, 2.0), (400, 0.8)])
def test_degrees_of_freedom_are_those_that_fisher_z_shows(n, repetition_time, censoring):
    rng = np.random.default_rng(15)
    kept = everything(n)
    if censoring == "bursts":
        for start in range(20, n - 10, 40):
            kept[start : start + 8] = False
    elif censoring == "scattered":
        kept[rng.choice(n, n // 5, replace=False)] = False
    data = rng.standard_normal((n, 6000))
    confounds = rng.standard_normal((n, 10))
    out = denoise(data, confounds, repetition_time=repetition_time, kept=kept, band=BAND)
    a, b = out.data[:, :3000], out.data[:, 3000:]
    r = (a * b).sum(axis=0) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)
    effective = 1 / np.arctanh(r).var() + 3
    assert out.residual_df == pytest.approx(effective, rel=0.15)


def test_input_is_untouched_and_blocks_make_no_difference(monkeypatch):
    rng = np.random.default_rng(16)
    data, confounds = rng.standard_normal((80, 50)).astype("f4"), rng.standard_normal((80, 3))
    before = data.copy(), confounds.copy()
    arguments = {"repetition_time": 2.0, "kept": everything(80), "band": BAND}
    whole = denoise(data, confounds, **arguments)
    monkeypatch.setattr(signal, "BLOCK_VOXELS", 7)
    pieces = denoise(data, confounds, **arguments)
    assert np.allclose(whole.data, pieces.data, atol=1e-6)
    assert np.array_equal(data, before[0])
    assert np.array_equal(confounds, before[1])


def test_defects_of_the_caller_are_told():
    data = np.zeros((50, 2))
    with pytest.raises(ValueError, match="kept volumes have shape"):
        denoise(data, np.zeros((50, 1)), repetition_time=2.0, kept=everything(49), band=None)
    with pytest.raises(ValueError, match="NaN"):
        denoise(
            data, np.full((50, 1), np.nan), repetition_time=2.0, kept=everything(50), band=None
        )


def test_golden_values_hold_while_the_version_stands():
    assert signal.VERSION == "1", "numbers changed: store new golden values with the new version"
    n = np.arange(60.0)
    data = np.column_stack([np.sin(n / 3) + 0.1 * n, np.cos(n**1.3 / 5)])
    confounds = np.column_stack([np.sin(n / 7), (n % 11) / 11])
    kept = (n < 20) | (n > 26)
    out = denoise(data, confounds, repetition_time=2.0, kept=kept, band=BAND)
    assert (out.band_dimensions, out.confound_rank) == GOLDEN_RANKS
    assert np.allclose(out.data[[0, 19, 20, -1]], GOLDEN, atol=2e-5)


GOLDEN_RANKS = (20, 2)
GOLDEN = [
    [-0.2475226, 0.4283459],
    [0.1290036, -0.4107428],
    [0.3510702, -0.4573959],
    [0.9000502, -0.4240429],
]
