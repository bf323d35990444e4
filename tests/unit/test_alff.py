"""ALFF and fALFF against planted sines and noise, numpy's FFT and scipy's Lomb-Scargle."""

import numpy as np
import pytest
from scipy import signal

from rls_bids.errors import RunRefused, UsageError
from rls_bids.numerics import alff
from rls_bids.numerics.alff import amplitudes, fourier_density, gapped_density

BAND = (0.01, 0.08)


def whole(n_volumes):
    return np.ones(n_volumes, dtype=bool)


def gaps(n_volumes, share, kind, rng):
    """Censor single volumes at random, or bursts of 4 to 15."""
    mask = whole(n_volumes)
    if kind == "single":
        mask[rng.choice(n_volumes, int(share * n_volumes), replace=False)] = False
    if kind == "one gap":
        mask[n_volumes // 4 : n_volumes // 4 + int(share * n_volumes)] = False
    while kind == "bursts" and (~mask).sum() < share * n_volumes:
        start = rng.integers(n_volumes)
        mask[start : start + rng.integers(4, 16)] = False
    return mask


def red_noise(n_volumes, n_voxels, phi, rng):
    white = rng.standard_normal((n_volumes + 200, n_voxels))
    return signal.lfilter([1], [1, -phi], white, axis=0)[200:]


def breathing_noise(n_volumes, n_voxels, rng):
    """A fall with frequency over a white floor, and a peak at 0.17 Hz (2 s a volume)."""
    frequencies = np.fft.rfftfreq(4 * n_volumes, 2.0)[1:]
    density = 0.15 + 1 / (1 + (frequencies / 0.03) ** 2)
    density += 0.6 * np.exp(-0.5 * ((frequencies - 0.17) / 0.015) ** 2)
    parts = rng.standard_normal((2, frequencies.size, n_voxels)) * np.sqrt(density)[:, None]
    spectrum = np.vstack([np.zeros((1, n_voxels)), parts[0] + 1j * parts[1]])
    return np.fft.irfft(spectrum, 4 * n_volumes, axis=0)[:n_volumes]


def bias(make, n_volumes, share, kind, rng, n_runs=8):
    """Mean ALFF and fALFF of censored runs relative to the same runs whole, less 1."""
    means = []
    for _ in range(n_runs):
        data, mask = make(n_volumes, rng), gaps(n_volumes, share, kind, rng)
        uncut = amplitudes(data, whole(n_volumes), 2.0, BAND)
        cut = amplitudes(data[mask], mask, 2.0, BAND)
        means.append([x.mean() for x in (uncut.alff, cut.alff, uncut.falff, cut.falff)])
    mean = np.mean(means, axis=0)
    return mean[1] / mean[0] - 1, mean[3] / mean[2] - 1


@pytest.mark.parametrize(("n_volumes", "repetition_time"), [(300, 2.0), (251, 0.8), (150, 3.0)])
def test_a_sine_in_the_band_has_its_amplitude_and_one_outside_has_none(n_volumes, repetition_time):
    length_s = n_volumes * repetition_time
    first, last = 5, 17
    band = (first / length_s, last / length_s)
    times = np.arange(n_volumes)[:, None]
    bins = np.array([first - 1, first, 11, last, last + 1])
    waves = 2.5 * np.cos(2 * np.pi * times * bins / n_volumes + 0.7)
    found = amplitudes(waves, whole(n_volumes), repetition_time, band)
    inside = 2.5 * np.sqrt(n_volumes * repetition_time / 2) / (last - first + 1)
    assert found.alff == pytest.approx([0, inside, inside, inside, 0], abs=1e-9)
    assert found.falff == pytest.approx([0, 1, 1, 1, 0], abs=1e-9)


@pytest.mark.parametrize("n_volumes", [120, 121])
def test_agrees_with_numpy_without_gaps(n_volumes):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((n_volumes, 7)) * 30 + 800
    frequencies = np.fft.rfftfreq(n_volumes, 2.0)[1:]
    amplitude = np.sqrt(2 * 2.0 / n_volumes) * np.abs(np.fft.rfft(data, axis=0)[1:])
    is_low = (frequencies >= 0.01) & (frequencies <= 0.08)
    found = amplitudes(data, whole(n_volumes), 2.0, BAND)
    assert np.allclose(found.alff, amplitude[is_low].mean(axis=0), rtol=1e-9)
    ratio = amplitude[is_low].sum(axis=0) / amplitude.sum(axis=0)
    assert np.allclose(found.falff, ratio, rtol=1e-9)
    limited = amplitudes(data, whole(n_volumes), 2.0, BAND, upper_hz=0.2)
    ratio = amplitude[is_low].sum(axis=0) / amplitude[frequencies <= 0.2].sum(axis=0)
    assert np.allclose(limited.falff, ratio, rtol=1e-9)
    assert np.array_equal(limited.alff, found.alff)


@pytest.mark.parametrize("n_volumes", [150, 151])
def test_both_densities_are_one_without_gaps(n_volumes):
    data = np.random.default_rng(1).standard_normal((n_volumes, 5))
    by_fft = fourier_density(data, 2.0)
    by_fit = gapped_density(data, whole(n_volumes), 2.0)
    assert by_fit.shape == (n_volumes // 2, 5)
    assert np.allclose(by_fit, by_fft, rtol=1e-6, atol=1e-9)
    without_gaps = alff._prepare(whole(n_volumes), 2.0)
    assert np.allclose(alff._correction(without_gaps, by_fit), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["single", "bursts"])
@pytest.mark.parametrize("n_volumes", [180, 201])
def test_density_with_gaps_agrees_with_lomb_scargle(kind, n_volumes):
    rng = np.random.default_rng(2)
    mask = gaps(n_volumes, 0.35, kind, rng)
    data = red_noise(n_volumes, 4, 0.5, rng)[mask] + 50
    times = np.flatnonzero(mask) * 2.0
    # At Nyquist there is no sine to fit, and scipy's fit is singular.
    n_bins = (n_volumes - 1) // 2
    angular = 2 * np.pi * np.arange(1, n_bins + 1) / (n_volumes * 2.0)
    expected = [signal.lombscargle(times, x, angular, floating_mean=True) for x in data.T]
    found = gapped_density(data, mask, 2.0)[:n_bins]
    assert np.allclose(found, 2 * 2.0 * np.transpose(expected), rtol=1e-6, atol=1e-9)


def test_nyquist_with_gaps_is_the_fit_of_an_alternation():
    rng = np.random.default_rng(3)
    mask = gaps(60, 0.3, "single", rng)
    data = rng.standard_normal((int(mask.sum()), 1))
    columns = np.column_stack([np.ones(len(data)), (-1.0) ** np.flatnonzero(mask)])
    left = [np.linalg.lstsq(columns[:, :n], data, rcond=None)[1].item() for n in (1, 2)]
    assert gapped_density(data, mask, 2.0)[-1].item() == pytest.approx(
        2 * 2.0 * (left[0] - left[1])
    )


@pytest.mark.parametrize("phi", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("n_volumes", [150, 400])
def test_censoring_does_not_bias_noise(n_volumes, phi):
    rng = np.random.default_rng(4)
    for kind, share in [("single", 0.15), ("single", 0.4), ("bursts", 0.15), ("bursts", 0.4)]:
        found = bias(lambda n, rng: red_noise(n, 150, phi, rng), n_volumes, share, kind, rng)
        assert np.abs(found).max() < 0.03, (kind, share, found)


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, "breathing"])
@pytest.mark.parametrize("n_volumes", [150, 300, 600])
def test_censoring_does_not_bias_noise_of_many_kinds(n_volumes, phi):
    rng = np.random.default_rng(11)

    def make(n, rng):
        return breathing_noise(n, 300, rng) if phi == "breathing" else red_noise(n, 300, phi, rng)

    cells = [("single", 0.1), ("single", 0.4), ("one gap", 0.4)]
    cells += [("bursts", share) for share in (0.1, 0.2, 0.4)]
    for kind, share in cells:
        found = bias(make, n_volumes, share, kind, rng, n_runs=10)
        print(n_volumes, phi, kind, share, np.round(found, 4))
        assert np.abs(found).max() < 0.03, (kind, share, found)


@pytest.mark.parametrize(("n_volumes", "kind"), [(120, "single"), (121, "bursts")])
def test_gaps_leave_white_noise_white(n_volumes, kind):
    mask = gaps(n_volumes, 0.4, kind, np.random.default_rng(12))
    prepared = alff._prepare(mask, 2.0)
    assert np.allclose(prepared.triangles.sum(axis=1), 1)
    assert np.allclose(prepared.leaked.sum(axis=1), 1, atol=1e-9)


def test_without_correction_censoring_would_bias_red_noise():
    """The test above is not empty: the plain least-squares density fails it."""
    rng = np.random.default_rng(5)
    data, mask = red_noise(300, 400, 0.5, rng), gaps(300, 0.4, "single", rng)
    low = slice(5, 48)
    uncut = np.sqrt(fourier_density(data, 2.0)[low]).mean()
    assert np.sqrt(gapped_density(data[mask], mask, 2.0)[low]).mean() / uncut < 0.94


def test_amplitude_does_not_depend_on_the_length_of_the_run():
    rng = np.random.default_rng(6)
    means = [
        amplitudes(rng.standard_normal((n, 1500)), whole(n), 2.0, BAND).alff.mean()
        for n in (150, 600)
    ]
    assert means[0] / means[1] == pytest.approx(1, abs=0.02)
    # The mean of a square root of an exponential variable of mean 2 dt.
    assert means[1] == pytest.approx(np.sqrt(np.pi / 4 * 2 * 2.0), rel=0.02)


@pytest.mark.parametrize("share", [0, 0.3])
def test_scale_shift_type_and_blocks(share, monkeypatch, tmp_path):
    rng = np.random.default_rng(7)
    mask = gaps(200, share, "bursts" if share else "none", rng)
    data = red_noise(200, 30, 0.4, rng)[mask]
    first = amplitudes(data, mask, 1.5, BAND)
    doubled, shifted = (
        amplitudes(-2 * data, mask, 1.5, BAND),
        amplitudes(data + 900, mask, 1.5, BAND),
    )
    assert np.allclose(doubled.alff, 2 * first.alff, rtol=1e-9)
    assert np.allclose(doubled.falff, first.falff, rtol=1e-9)
    assert np.allclose(shifted.alff, first.alff, rtol=1e-6)
    single = data.astype(np.float32)
    np.save(tmp_path / "series.npy", single)
    monkeypatch.setattr(alff, "BLOCK_VOXELS", 7)
    mapped = amplitudes(np.load(tmp_path / "series.npy", mmap_mode="r"), mask, 1.5, BAND)
    assert np.allclose(mapped.alff, first.alff, rtol=1e-5)
    assert np.allclose(mapped.falff, first.falff, rtol=1e-5)
    assert np.array_equal(single, data.astype(np.float32))
    assert mapped.alff.dtype == mapped.falff.dtype == np.float64


@pytest.mark.parametrize("share", [0, 0.3])
def test_a_bad_voxel_is_missing_and_harms_no_other(share):
    rng = np.random.default_rng(8)
    mask = gaps(100, share, "single", rng)
    data = rng.standard_normal((int(mask.sum()), 6))
    clean = amplitudes(data, mask, 2.0, BAND)
    data[:, 1], data[4, 2], data[9, 3] = 1234.5678, np.nan, np.inf
    before = data.copy()
    found = amplitudes(data, mask, 2.0, BAND)
    for new, old in [(found.alff, clean.alff), (found.falff, clean.falff)]:
        assert np.isnan(new).tolist() == [False, True, True, True, False, False]
        assert np.allclose(new[[0, 4, 5]], old[[0, 4, 5]], rtol=1e-9)
    assert np.array_equal(data, before, equal_nan=True)


def test_bands_that_do_not_fit_are_told():
    data, mask = np.random.default_rng(9).standard_normal((50, 2)), whole(50)
    for band in [(0.01, 0.26), (0.08, 0.01), (-0.01, 0.08)]:
        with pytest.raises(UsageError) as caught:
            amplitudes(data, mask, 2.0, band)
        assert caught.value.message == alff.BAD_BAND.format(
            low_hz=band[0], high_hz=band[1], repetition_time=2.0, nyquist_hz=0.25
        )
    with pytest.raises(UsageError) as caught:
        amplitudes(data, mask, 2.0, (0.011, 0.019))
    assert caught.value.message == alff.NO_BINS.format(
        low_hz=0.011, high_hz=0.019, n_volumes=50, step_hz=0.01
    )
    for upper in (0.07, 0.3):
        with pytest.raises(UsageError) as caught:
            amplitudes(data, mask, 2.0, BAND, upper_hz=upper)
        assert caught.value.message == alff.BAD_UPPER.format(
            upper_hz=upper, high_hz=0.08, nyquist_hz=0.25
        )


def test_volumes_that_do_not_do_are_told():
    data, mask = np.random.default_rng(10).standard_normal((50, 2)), whole(50)
    with pytest.raises(ValueError, match="one row for each kept volume"):
        amplitudes(data[:-1], mask, 2.0, BAND)
    mask[15:] = False
    with pytest.raises(RunRefused) as caught:
        amplitudes(data[:15], mask, 2.0, BAND)
    assert caught.value.message == alff.TOO_FEW.format(n_kept=15, n_volumes=50, least=16)
    mask = np.arange(50) % 2 == 0
    with pytest.raises(RunRefused) as caught:
        amplitudes(data[mask], mask, 2.0, BAND)
    assert caught.value.message == alff.NOT_TOLD.format(n_kept=25, n_volumes=50, frequency_hz=0.25)


def test_golden_values_hold_while_the_version_stands():
    assert alff.VERSION == "1", "numbers changed: store new golden values with the version"
    n = np.arange(100.0)
    data = np.column_stack([np.sin(n / 5) + np.cos(n * n / 40), (n % 7) + np.sin(n / 9)])
    mask = whole(100)
    mask[[5, 6, 7, 8, 30, 55, 56, 90]] = False
    found = amplitudes(data[mask], mask, 2.0, BAND)
    assert np.allclose(found.alff, GOLDEN_ALFF, rtol=1e-6)
    assert np.allclose(found.falff, GOLDEN_FALFF, rtol=1e-6)


GOLDEN_ALFF = [1.8701471, 4.1073009]
GOLDEN_FALFF = [0.3640456, 0.4867824]
