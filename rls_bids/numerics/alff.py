"""Amplitude of low-frequency fluctuations, also of series with censored volumes.

Amplitudes are square roots of a one-sided power spectral density, whose size does not depend on
the number of volumes (that of a plain amplitude spectrum does). Without gaps the density comes
from the FFT. With gaps it is the least-squares periodogram with a floating mean (Lomb 1976,
Scargle 1982, Zechmeister & Kürster 2009) on the frequencies of the whole run, corrected for what
the gaps make leak from other frequencies: a periodogram of 60 % of the volumes is a mixture of
the true spectrum and a flat one, which makes red noise look too weak in the low band.

The correction is known but for the shape of the spectrum. The expected periodogram is ``W S``,
with S the densities of the whole run and W from the kept volumes alone (the identity without
gaps). S is fitted to each voxel's periodogram as a smooth curve of a few triangles by Whittle's
likelihood, and the periodogram is multiplied by ``S / (W S)``. It keeps the scatter of a
periodogram, which the mean of square roots depends on.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from rls_bids.errors import RunRefused, UsageError
from rls_bids.numerics.correlation import centre_columns

VERSION = "1"

BAD_BAND = (
    "The ALFF band {low_hz:g}-{high_hz:g} Hz was asked for; with a repetition time of "
    "{repetition_time:g} s its edges must rise and lie between 0 and the Nyquist frequency of "
    "{nyquist_hz:.4g} Hz."
)
BAD_BAND_HINT = "Change --alff-band."
NO_BINS = (
    "The ALFF band {low_hz:g}-{high_hz:g} Hz holds none of the frequencies of a run of "
    "{n_volumes} volumes, which are {step_hz:.4g} Hz apart; expected at least one."
)
NO_BINS_HINT = "Widen --alff-band, or leave this run out."
BAD_UPPER = (
    "The upper limit of fALFF is {upper_hz:g} Hz; expected between the upper edge of the band "
    "({high_hz:g} Hz) and the Nyquist frequency ({nyquist_hz:.4g} Hz)."
)
BAD_UPPER_HINT = "Choose a limit that all runs have under their Nyquist frequency."
TOO_FEW = "{n_kept} of {n_volumes} volumes are kept; ALFF needs at least {least}."
TOO_FEW_HINT = "Raise --fd-thresh, or leave this run out."
NOT_TOLD = (
    "The {n_kept} kept of {n_volumes} volumes cannot tell {frequency_hz:.4g} Hz from a constant; "
    "expected gaps that are not periodic."
)
BAD_SHAPE = (
    "Series of {n_rows} volumes came with a sample mask of {shape} that keeps {n_kept}; expected "
    "one row for each kept volume."
)

MIN_VOLUMES = 16
BLOCK_VOXELS = 1024
# Triangles of the smooth spectrum: the first spans 4 bins, each next is 2.5 times wider. With
# narrower ones the fit follows the scatter (ALFF of short, heavily censored runs 3 % too low),
# with wider ones it misses the bend of red noise.
FIRST_WIDTH_BINS = 4.0
WIDENING = 2.5
N_STEPS = 50
OVER_RELAXATION = 1.5
FLOOR = 1e-12

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amplitudes:
    """Amplitudes of each voxel.

    Attributes
    ----------
    alff : (n_voxels,) float64
        In units of the signal per square root of Hz; NaN for constant voxels and for those with
        a value that is not finite.
    falff : (n_voxels,) float64
        Share of the band in the sum of all amplitudes, 0 to 1; NaN as above.
    """

    alff: FloatArray
    falff: FloatArray


def amplitudes(
    series: NDArray[np.floating],
    sample_mask: BoolArray,
    repetition_time: float,
    band_hz: tuple[float, float],
    upper_hz: float | None = None,
) -> Amplitudes:
    """Compute ALFF and fALFF.

    Parameters
    ----------
    series : (n_kept, n_voxels) array
        Residuals at the kept volumes, not band-passed; may be a memory map.
    sample_mask : (n_volumes,) bool array
        True = kept.
    repetition_time : float
        Seconds.
    band_hz : (low, high)
        Both edges belong to the band.
    upper_hz : float, optional
        Upper end of the frequencies that fALFF refers to (default: Nyquist). Data of different
        repetition times can only be compared with the same limit.

    Returns
    -------
    Amplitudes

    Raises
    ------
    UsageError
        The band or the limit does not fit the repetition time, or the band holds no frequency of
        the run.
    RunRefused
        Fewer than 16 volumes are kept, or periodic gaps hide a frequency.
    ValueError
        Series and mask do not belong together.

    Notes
    -----
    With f = k / (n_volumes · dt) for k = 1 … n_volumes / 2,

    * A(f) = √(2 · dt · |X(f)|² / n_volumes),
    * ALFF = mean of A(f) over low ≤ f ≤ high,
    * fALFF = sum of A(f) over low ≤ f ≤ high / sum of A(f) over 0 < f ≤ Nyquist.

    The factor 2 is kept at the Nyquist frequency of an even number of volumes, so that white
    noise is flat up to there (a density whose integral is the variance has 1 in that bin). How
    gaps are met is told at the top of this module; without the correction the density is
    that of ``scipy.signal.lombscargle(..., floating_mean=True)`` times ``2 dt``.

    ALFF: Zang 2007, 10.1016/j.braindev.2006.07.002; fALFF: Zou 2008,
    10.1016/j.jneumeth.2008.04.012; periodogram: 10.1007/BF00648343, 10.1086/160554,
    10.1051/0004-6361:200811296; likelihood: Whittle 1953, 10.1007/BF02590998; the fit's steps:
    Févotte 2009, 10.1162/neco.2008.04-08-771.

    Examples
    --------
    A sine of amplitude 3 at one of the 12 frequencies in the band:

    >>> wave = 3 * np.sin(2 * np.pi * 8 * np.arange(100) / 100)[:, None]
    >>> found = amplitudes(wave, np.ones(100, dtype=bool), 2.0, (0.02, 0.075))
    >>> round(found.alff.item(), 4), round(3 * (100 * 2 / 2) ** 0.5 / 12, 4)
    (2.5, 2.5)
    >>> round(found.falff.item(), 6)
    1.0
    """
    _check_shapes(series, sample_mask)
    first, last, top = _bins(sample_mask.size, repetition_time, band_hz, upper_hz)
    gaps = None if sample_mask.all() else _prepare(sample_mask, repetition_time)
    alff = np.empty(series.shape[1])
    falff = np.empty(series.shape[1])
    for start in range(0, series.shape[1], BLOCK_VOXELS):
        block = slice(start, start + BLOCK_VOXELS)
        data = np.asarray(series[:, block], dtype=np.float64)
        # Infinite values become NaN in their own column; that is what is wanted.
        with np.errstate(invalid="ignore", divide="ignore"):
            data, length = centre_columns(data)
            data[:, np.isnan(length)] = np.nan
            if gaps is None:
                density = fourier_density(data, repetition_time)
            else:
                density = _density(gaps, data)
                density *= _correction(gaps, density)
            amplitude = np.sqrt(density[:top])
            in_band = amplitude[first:last].sum(axis=0)
            alff[block] = in_band / (last - first)
            falff[block] = in_band / amplitude.sum(axis=0)
    return Amplitudes(alff=alff, falff=falff)


def fourier_density(series: FloatArray, repetition_time: float) -> FloatArray:
    """Return ``2 dt |X|² / n`` of series without gaps.

    Parameters
    ----------
    series : (n_volumes, n_voxels) array
    repetition_time : float
        Seconds.

    Returns
    -------
    (n_volumes // 2, n_voxels) array
        At the frequencies k / (n_volumes · dt), k = 1, 2, …; squared units of the signal per Hz.

    Examples
    --------
    >>> fourier_density(np.array([[1.0], [0.0], [-1.0], [0.0]]), 0.5).ravel().tolist()
    [1.0, 0.0]
    """
    transform = fft.rfft(series, axis=0)[1:]
    power = transform.real**2 + transform.imag**2
    return np.asarray(2.0 * repetition_time / len(series) * power)


def gapped_density(
    series: FloatArray, sample_mask: BoolArray, repetition_time: float
) -> FloatArray:
    """Return the least-squares density of series with gaps, without correction for leakage.

    Parameters
    ----------
    series : (n_kept, n_voxels) array
    sample_mask : (n_volumes,) bool array
    repetition_time : float
        Seconds.

    Returns
    -------
    (n_volumes // 2, n_voxels) array
        ``2 dt`` times the sum of squares that a sine beside a constant explains, divided by its
        number of parameters (2; 1 at Nyquist): flat, at ``2 dt σ²``, for white noise, whatever
        the gaps. Frequencies and unit as in :func:`fourier_density`, to which it is equal
        without gaps.

    Raises
    ------
    RunRefused
        Periodic gaps hide a frequency.

    Examples
    --------
    A sine whose sum of squares is 4 has 2 dt · 4 / 2 at its own frequency:

    >>> kept = np.array([True, True, True, True, False, True, True, True])
    >>> wave = np.sin(2 * np.pi * 2 * np.arange(8.0) / 8)[:, None]
    >>> gapped_density(wave[kept], kept, 0.5).ravel().round(3).tolist()
    [0.0, 2.0, 0.0, 0.0]
    """
    return _density(_prepare(sample_mask, repetition_time), series)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gaps:
    """The matrices that turn series with given gaps into densities.

    Attributes
    ----------
    fitted : (2 * n_bins, n_kept) array
        Orthonormal cosine and sine of each bin, both beside the constant.
    scale : (n_bins, 1) array
        From sums of squares to densities.
    triangles : (n_bins, n_triangles) array
        The smooth spectra, S.
    leaked : (n_bins, n_triangles) array
        What they are expected to look like, W S.
    """

    fitted: FloatArray
    scale: FloatArray
    triangles: FloatArray
    leaked: FloatArray


def _prepare(sample_mask: BoolArray, repetition_time: float) -> _Gaps:
    """Make the matrices of one run."""
    n_volumes, n_bins = sample_mask.size, sample_mask.size // 2
    waves, fitted = _bases(sample_mask, repetition_time)
    n_parameters = np.full(n_bins, 2.0)
    if n_volumes % 2 == 0:
        n_parameters[-1] = 1.0
    fitted = fitted.reshape(-1, 2 * n_bins).T
    # Share of each true density (columns) in each expected one (rows).
    shared = fitted @ waves.reshape(-1, 2 * n_bins)
    leakage = (shared.reshape(n_bins, 2, n_bins, 2) ** 2).sum(axis=(1, 3))
    leakage *= n_parameters / (n_volumes * n_parameters[:, None])
    triangles = _triangles(n_bins)
    return _Gaps(
        fitted=fitted,
        scale=2.0 * repetition_time / n_parameters[:, None],
        triangles=triangles,
        leaked=leakage @ triangles,
    )


def _density(gaps: _Gaps, data: FloatArray) -> FloatArray:
    """Return the periodogram of (n_kept, n_voxels) series, (n_bins, n_voxels)."""
    coefficients = (gaps.fitted @ data).reshape(len(gaps.scale), 2, -1)
    return np.asarray(gaps.scale * (coefficients**2).sum(axis=1))


def _correction(gaps: _Gaps, density: FloatArray) -> FloatArray:
    """Return S / (W S), (n_bins, n_voxels), S being a smooth fit to each periodogram.

    Whittle's likelihood takes a periodogram for exponential about its expectation; the
    multiplicative steps of non-negative factorisation with the Itakura-Saito divergence climb it
    and keep S positive. The exponent makes them longer; the last one is plain.
    """
    relative = density / density.mean(axis=0)
    weights = (gaps.triangles / gaps.triangles.sum(axis=0)).T @ relative
    np.maximum(weights, FLOOR, out=weights)
    for step in range(N_STEPS):
        inverse = 1.0 / (gaps.leaked @ weights)
        down = gaps.leaked.T @ inverse
        np.multiply(inverse, inverse, out=inverse)
        np.multiply(inverse, relative, out=inverse)
        up = gaps.leaked.T @ inverse
        weights *= (up / down) ** (OVER_RELAXATION if step < N_STEPS - 1 else 1.0)
        np.maximum(weights, FLOOR, out=weights)
    return np.asarray((gaps.triangles @ weights) / (gaps.leaked @ weights))


def _bases(sample_mask: BoolArray, repetition_time: float) -> tuple[FloatArray, FloatArray]:
    """Return cosine and sine at the kept volumes, and an orthonormal basis beside the constant.

    Both (n_kept, n_bins, 2); at Nyquist there is no sine and its columns are zero.
    """
    n_volumes, n_bins = sample_mask.size, sample_mask.size // 2
    times = np.flatnonzero(sample_mask)
    # The product is reduced first, so that the angles of long runs stay exact.
    turns = np.outer(times, np.arange(1, n_bins + 1)) % n_volumes / n_volumes
    waves = np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=-1)
    has_nyquist = n_volumes % 2 == 0
    if has_nyquist:
        waves[:, -1, 1] = 0.0
    centred = waves - waves.mean(axis=0)
    products = np.einsum("tki,tkj->kij", centred, centred)
    if has_nyquist:
        products[-1, 1, 1] = times.size
    smallest = np.linalg.eigvalsh(products)[:, 0]
    if smallest.min() < 1e-9 * times.size:
        frequency_hz = (smallest.argmin() + 1) / (n_volumes * repetition_time)
        message = NOT_TOLD.format(
            n_kept=times.size, n_volumes=n_volumes, frequency_hz=frequency_hz
        )
        raise RunRefused(message, TOO_FEW_HINT)
    factors = np.linalg.inv(np.linalg.cholesky(products))
    return waves, np.asarray(np.einsum("tki,kji->tkj", centred, factors))


def _triangles(n_bins: int) -> FloatArray:
    """Return overlapping triangles that add up to 1 in each bin, (n_bins, n_triangles)."""
    tops, width = [1.0], FIRST_WIDTH_BINS
    while tops[-1] < n_bins:
        tops.append(tops[-1] + width)
        width *= WIDENING
    places = 1.0 + (np.array(tops) - 1.0) * (n_bins - 1.0) / (tops[-1] - 1.0)
    bins = np.arange(1, n_bins + 1)
    return np.column_stack([np.interp(bins, places, row) for row in np.eye(places.size)])


def _check_shapes(series: NDArray[Any], sample_mask: BoolArray) -> None:
    n_kept = int(np.count_nonzero(sample_mask))
    if series.ndim != 2 or sample_mask.ndim != 1 or len(series) != n_kept:
        raise ValueError(
            BAD_SHAPE.format(n_rows=len(series), shape=sample_mask.shape, n_kept=n_kept)
        )
    if n_kept < MIN_VOLUMES:
        message = TOO_FEW.format(n_kept=n_kept, n_volumes=sample_mask.size, least=MIN_VOLUMES)
        raise RunRefused(message, TOO_FEW_HINT)


def _bins(
    n_volumes: int,
    repetition_time: float,
    band_hz: tuple[float, float],
    upper_hz: float | None,
) -> tuple[int, int, int]:
    """Return first and end of the band, and the end of all, as rows of a density."""
    low_hz, high_hz = band_hz
    length_s = n_volumes * repetition_time
    nyquist_hz = 0.5 / repetition_time
    slack = 1 + 1e-9
    if not 0 <= low_hz < high_hz <= nyquist_hz * slack:
        message = BAD_BAND.format(
            low_hz=low_hz, high_hz=high_hz, repetition_time=repetition_time, nyquist_hz=nyquist_hz
        )
        raise UsageError(message, BAD_BAND_HINT)
    if upper_hz is not None and not high_hz <= upper_hz <= nyquist_hz * slack:
        message = BAD_UPPER.format(upper_hz=upper_hz, high_hz=high_hz, nyquist_hz=nyquist_hz)
        raise UsageError(message, BAD_UPPER_HINT)
    # A frequency that is written with few digits still counts as on the edge.
    first = max(int(np.ceil(low_hz * length_s - 1e-6)), 1)
    last = min(int(np.floor(high_hz * length_s + 1e-6)), n_volumes // 2)
    if last < first:
        message = NO_BINS.format(
            low_hz=low_hz, high_hz=high_hz, n_volumes=n_volumes, step_hz=1 / length_s
        )
        raise UsageError(message, NO_BINS_HINT)
    top = n_volumes // 2
    if upper_hz is not None:
        top = min(top, int(np.floor(upper_hz * length_s + 1e-6)))
    return first - 1, last, top
