"""Censoring, band-pass and nuisance regression as one linear step.

Filtering after regression brings removed noise back, and regression after filtering does the same
unless the confounds were filtered alike (Lindquist 2019, doi:10.1002/hbm.24528). So the order is
that of Power 2014 (doi:10.1016/j.neuroimage.2013.08.048): mark the volumes to censor, predict
them from the kept ones, filter data *and* confounds with the same operator, regress on the kept
volumes, return the residuals of these. All of it is linear in the data, so it is computed as one
(n_kept, n_kept) matrix and applied to blocks of voxels.

Arrays are (n_volumes, n_voxels), times in seconds, frequencies in Hz.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from rls_bids.errors import UsageError

VERSION = "1"

BAD_BAND = (
    "The band {low_hz:g}-{high_hz:g} Hz was asked for; with a repetition time of "
    "{repetition_time:g} s both edges must rise and lie under the Nyquist frequency of "
    "{nyquist_hz:.4g} Hz."
)
BAD_KEPT = "The kept volumes have shape {found}; expected {expected}."
NAN_CONFOUNDS = "The confounds hold NaN in kept volumes; they must be filled first."
BAD_BAND_HINT = "Lower --upper-bpf, or use --disable-bandpass-filter."

# Censored volumes are predicted as noisy samples of a process that forgets with this time
# constant: of linear, cubic, band-limited, Gaussian and exponential predictors this one brought
# the filtered series closest to the uncensored ones, for single volumes and for bursts. Cubic
# splines overshoot in bursts by more than the signal.
MEMORY_S = 10.0
NOISE_TO_SIGNAL = 0.5

# A direction counts as kept when at least half of its amplitude survives: the same -6 dB that
# define the edges of the band.
KEPT_AMPLITUDE = 0.5
# One period of the low edge leaves 3 % of the start-up transient at the ends, three none.
PAD_PERIODS = 3
RANK_TOLERANCE = 1e-6
VANISHED = 1e-8
BLOCK_VOXELS = 16384

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoised:
    """Residuals of one run, and what is left in them.

    Attributes
    ----------
    data : (n_kept, n_voxels) float32
        Residuals at the kept volumes; zero rows when nothing is left (``residual_df`` ≤ 0).
    regressors : (n_kept, n_regressors) float64
        The confounds as fitted: filtered, at the kept volumes. The residuals are orthogonal to
        them.
    kept : (n_volumes,) bool
    n_volumes, n_kept : int
    band_dimensions : int
        Dimensions of the filtered space at the kept volumes; without band-pass ``n_kept`` less
        constant and trend.
    n_regressors : int
        Columns of the confounds.
    confound_rank : int
        Dimensions of that space which the confounds take.
    residual_df : int
        ``band_dimensions - confound_rank`` while that is positive; otherwise the shortfall
        ``band_dimensions - n_regressors``.
    """

    data: NDArray[np.float32]
    regressors: FloatArray
    kept: BoolArray
    n_volumes: int
    n_kept: int
    band_dimensions: int
    n_regressors: int
    confound_rank: int
    residual_df: int


def sample_mask(fd: ArrayLike, threshold_mm: float, min_stretch: int = 5) -> BoolArray:
    """Mark the volumes to keep.

    Parameters
    ----------
    fd : (n_volumes,) array
        Framewise displacement in mm; NaN (the first volume) counts as still.
    threshold_mm : float
        Volumes above it are censored; 0 keeps all.
    min_stretch : int
        Stretches of fewer kept volumes between censored ones (or an end) are censored too.

    Returns
    -------
    (n_volumes,) bool array
        True where kept.

    Examples
    --------
    >>> sample_mask([np.nan, 0.1, 0.9, 0.1, 0.1, 0.1], 0.5, min_stretch=3).tolist()
    [False, False, False, True, True, True]
    """
    displacement = np.nan_to_num(np.asarray(fd, dtype=float), nan=0.0)
    kept = np.ones(displacement.size, dtype=bool)
    if threshold_mm <= 0 or not (displacement > threshold_mm).any():
        return kept
    kept = displacement <= threshold_mm
    edges = np.flatnonzero(np.diff(np.concatenate(([False], kept, [False]))))
    for start, stop in edges.reshape(-1, 2):
        if stop - start < min_stretch:
            kept[start:stop] = False
    return np.asarray(kept)


def usable_seconds(n_kept: int, repetition_time: float) -> float:
    """Return the seconds of data that censoring left.

    Examples
    --------
    >>> usable_seconds(120, 2.0)
    240.0
    """
    return n_kept * repetition_time


def _trend(times: FloatArray) -> FloatArray:
    """Return constant and straight line, (n_volumes, 2); the line is scaled to ±1."""
    middle = (times[0] + times[-1]) / 2
    half = max((times[-1] - times[0]) / 2, 1.0)
    return np.column_stack([np.ones(times.size), (times - middle) / half])


def _remove_trend(data: FloatArray) -> FloatArray:
    """Return the residuals of constant and straight line over all rows."""
    basis = _orthonormal(_trend(np.arange(len(data), dtype=float)))
    return data - basis @ (basis.T @ data)


def _orthonormal(columns: FloatArray, tolerance: float = RANK_TOLERANCE) -> FloatArray:
    """Return an orthonormal basis of the column space, (n, rank)."""
    if columns.size == 0:
        return np.zeros((columns.shape[0], 0))
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, values > tolerance * max(values[0], np.finfo(float).tiny)])


def interpolate_censored(data: ArrayLike, kept: BoolArray, repetition_time: float) -> FloatArray:
    """Predict the censored volumes from the kept ones, which stay as they are.

    Around the line through the kept volumes the series is taken for a process with covariance
    ``exp(-|Δt| / 10 s)`` plus white noise of half its variance, and its best linear prediction
    (the mean of a Gaussian process) fills the gaps. Long gaps and ends fall back to the line, so
    nothing overshoots. The result is linear in the kept volumes; it only serves the filter and is
    never analysed.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array
        Values at censored volumes are not looked at.
    kept : (n_volumes,) bool array
    repetition_time : float
        Seconds.

    Returns
    -------
    (n_volumes, n_voxels) float64 array
    """
    filled = np.array(data, dtype=float)
    if kept.all() or not kept.any():
        return filled
    times = np.arange(kept.size, dtype=float)
    known = filled[kept]
    line = _trend(times)
    if kept.sum() == 1:
        line = line[:, :1]
    coefficients = np.linalg.lstsq(line[kept], known, rcond=None)[0]
    distance = np.abs(times[:, None] - times[kept]) * repetition_time
    covariance = np.exp(-distance / MEMORY_S)
    noise = NOISE_TO_SIGNAL * np.eye(int(kept.sum()))
    weights = np.linalg.solve(covariance[kept] + noise, known - line[kept] @ coefficients)
    filled[~kept] = line[~kept] @ coefficients + covariance[~kept] @ weights
    return filled


def band_pass(
    data: ArrayLike, repetition_time: float, low_hz: float, high_hz: float, order: int = 2
) -> FloatArray:
    """Detrend and filter forwards and backwards with a Butterworth filter.

    Constant and straight line are removed, both ends are mirrored for three periods of the low
    edge (several times over in short runs), and the filter runs in both directions: zero
    phase, amplitude one half (−6 dB) at the edges.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array
    repetition_time : float
        Seconds.
    low_hz, high_hz : float
        Edges; 0 leaves that edge out.
    order : int
        Order of the filter before doubling.

    Returns
    -------
    (n_volumes, n_voxels) float64 array

    Raises
    ------
    UsageError
        The edges do not rise, or the upper one is not under the Nyquist frequency.

    Examples
    --------
    >>> slow = np.sin(2 * np.pi * 0.05 * 2.0 * np.arange(200))[:, None]
    >>> fast = np.sin(2 * np.pi * 0.20 * 2.0 * np.arange(200))[:, None]
    >>> out = band_pass(slow + fast, 2.0, 0.01, 0.1)[50:150]
    >>> bool(np.abs(out - slow[50:150]).max() < 0.05)
    True
    """
    nyquist_hz = 0.5 / repetition_time
    if low_hz < 0 or high_hz >= nyquist_hz or (high_hz > 0 and low_hz >= high_hz):
        raise UsageError(
            BAD_BAND.format(
                low_hz=low_hz,
                high_hz=high_hz,
                repetition_time=repetition_time,
                nyquist_hz=nyquist_hz,
            ),
            BAD_BAND_HINT,
        )
    flat = _remove_trend(np.asarray(data, dtype=float))
    edges = [edge for edge in (low_hz, high_hz) if edge > 0]
    if not edges:
        return flat
    kind = "bandpass" if len(edges) == 2 else ("highpass" if low_hz > 0 else "lowpass")
    sections = signal.butter(order, edges if len(edges) == 2 else edges[0], kind,
                             fs=1 / repetition_time, output="sos")  # fmt: skip
    n_pad = int(np.ceil(PAD_PERIODS / (edges[0] * repetition_time)))
    padded = np.pad(flat, ((n_pad, n_pad), (0, 0)), mode="reflect")
    filtered = signal.sosfiltfilt(sections, padded, axis=0, padtype=None)
    return np.asarray(filtered[n_pad : n_pad + len(flat)])


def _band_space(
    kept: BoolArray, repetition_time: float, low_hz: float, high_hz: float
) -> FloatArray:
    """Return an orthonormal basis of the band at the kept volumes, (n_kept, dimensions).

    The Fourier waves whose frequency lies in the band span what a filter of ideal edges keeps:
    two dimensions a frequency. Rows of censored volumes are taken out, and a direction counts
    while half of its amplitude is in the kept ones. For the order-2 filter this is within 7 % of
    the degrees of freedom that the variance of Fisher z shows, with and without censoring, where
    counting all singular values of the filter itself overstates them by a fifth or more.
    """
    n_volumes = kept.size
    length_s = n_volumes * repetition_time
    last = n_volumes // 2 if high_hz <= 0 else np.floor(high_hz * length_s + 1e-9)
    first = max(np.ceil(low_hz * length_s - 1e-9), 1.0)
    phase = 2 * np.pi * np.outer(np.flatnonzero(kept) / n_volumes, np.arange(first, last + 1))
    waves = np.hstack([np.cos(phase), np.sin(phase)]) * np.sqrt(2 / n_volumes)
    if waves.size == 0:
        return np.zeros((int(kept.sum()), 0))
    left, values, _ = np.linalg.svd(waves, full_matrices=False)
    return np.asarray(left[:, values > KEPT_AMPLITUDE])


def filter_operator(
    kept: BoolArray, repetition_time: float, band: tuple[float, float] | None, order: int
) -> tuple[FloatArray, FloatArray]:
    """Return the filter as a matrix on the kept volumes, and a basis of the space it keeps.

    Parameters
    ----------
    kept, repetition_time, band, order
        As in :func:`denoise`.

    Returns
    -------
    operator : (n_kept, n_kept) array
        Interpolation of censored volumes, detrending and band-pass in one.
    space : (n_kept, dimensions) array
        Orthonormal columns.
    """
    n_kept = int(kept.sum())
    if band is None:
        times = np.flatnonzero(kept).astype(float)
        trend = _orthonormal(_trend(times)) if n_kept else np.zeros((0, 0))
        operator = np.eye(n_kept) - trend @ trend.T
        values, vectors = np.linalg.eigh(operator)
        return operator, vectors[:, values > 0.5]
    impulses = np.zeros((kept.size, n_kept))
    impulses[kept] = np.eye(n_kept)
    filled = interpolate_censored(impulses, kept, repetition_time)
    operator = band_pass(filled, repetition_time, *band, order=order)[kept]
    return operator, _band_space(kept, repetition_time, *band)


def confound_basis(filtered: FloatArray, confounds: FloatArray) -> FloatArray:
    """Return an orthonormal basis, (n_kept, rank), of what the filter leaves of the confounds."""
    before = np.linalg.norm(confounds, axis=0)
    after = np.linalg.norm(filtered, axis=0)
    remains = after > VANISHED * np.maximum(before, np.finfo(float).tiny)
    return _orthonormal(filtered[:, remains] / after[remains])


def denoise(
    data: NDArray[np.floating],
    confounds: ArrayLike,
    *,
    repetition_time: float,
    kept: BoolArray,
    band: tuple[float, float] | None,
    order: int = 2,
) -> Denoised:
    """Filter and regress the confounds out in one step.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array
    confounds : (n_volumes, n_regressors) array
        Without NaN. Constant and trend need not be in it.
    repetition_time : float
        Seconds.
    kept : (n_volumes,) bool array
        From :func:`sample_mask`.
    band : (low_hz, high_hz) or None
        None leaves the band-pass out; constant and trend are removed either way.
    order : int
        Of the Butterworth filter.

    Returns
    -------
    Denoised

    Raises
    ------
    UsageError
        The band does not fit the repetition time.
    ValueError
        Shapes differ, or the confounds hold NaN.

    Notes
    -----
    With S the filter on the kept volumes and Q an orthonormal basis of the filtered confounds,
    residuals are (I − Q Qᵀ) S y. Degrees of freedom = rank(U) − rank(Uᵀ Q), where U spans the
    band at the kept volumes. nilearn's ``signal.clean`` gives the same to 1e-6 where nothing is
    censored and its filter is told to be of the same order with as much mirroring
    (``butterworth__padtype="even"``). With censoring it predicts the gaps by a cubic spline,
    leaves out gaps at the ends, and without band-pass takes its trend over the kept volumes as
    if they were one after the other; here the trend is over true time.
    """
    columns = np.asarray(confounds, dtype=float).reshape(len(data), -1)
    if kept.shape != (len(data),):
        raise ValueError(BAD_KEPT.format(found=kept.shape, expected=(len(data),)))
    if not np.isfinite(columns[kept]).all():
        raise ValueError(NAN_CONFOUNDS)
    operator, space = filter_operator(kept, repetition_time, band, order)
    regressors = operator @ columns[kept]
    basis = confound_basis(regressors, columns[kept])
    rank = _orthonormal(space.T @ basis).shape[1]
    dimensions, n_regressors = space.shape[1], columns.shape[1]
    left = dimensions - rank
    residuals = np.zeros((0, data.shape[1]), dtype=np.float32)
    if left > 0:
        residuals = _apply(operator - basis @ (basis.T @ operator), data, kept)
    return Denoised(
        data=residuals,
        regressors=regressors,
        kept=kept,
        n_volumes=kept.size,
        n_kept=int(kept.sum()),
        band_dimensions=dimensions,
        n_regressors=n_regressors,
        confound_rank=rank,
        residual_df=left if left > 0 else dimensions - n_regressors,
    )


def _apply(matrix: FloatArray, data: NDArray[np.floating], kept: BoolArray) -> NDArray[np.float32]:
    """Multiply the kept volumes by a matrix, block by block, in double precision."""
    result = np.empty((len(matrix), data.shape[1]), dtype=np.float32)
    for start in range(0, data.shape[1], BLOCK_VOXELS):
        block = slice(start, start + BLOCK_VOXELS)
        result[:, block] = matrix @ data[kept, block].astype(np.float64)
    return result
