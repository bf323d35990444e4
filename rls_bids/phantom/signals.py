"""What happens in time: latent network courses, head motion, heart, breathing and drift."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from rls_bids.phantom.space import Floats, rigid_matrix
from rls_bids.phantom.spec import LATENT_SD, Group, Network, Plan, network_mean

BAND_HZ = (0.0125, 0.09)
"""Latent courses live inside the usual band-pass, away from its soft edges."""
TRUNCATION = 2.0
SESSION_SD = 0.05
HEART_HZ, BREATHING_HZ = 1.1, 0.27
SYSTEMIC_HZ = (0.021, 0.037, 0.063)
SPIKE_RATE = 0.02
LIMIT_MM, LIMIT_RAD = 2.5, 0.04
DRIFT_SHAPES = 3
EXCESS = (0.3, 0.04)
"""Of the signal over its steady state, at the first and the last volume before it."""


def truncated_sd() -> float:
    """Return the standard deviation of a standard normal cut at ± c: √(1 − 2 c φ(c) / P(|x| < c)).

    Examples
    --------
    >>> round(truncated_sd(), 4)
    0.8796
    """
    density = np.exp(-0.5 * TRUNCATION**2) / np.sqrt(2 * np.pi)
    return float(np.sqrt(1 - 2 * TRUNCATION * density / (1 - 2 * special.ndtr(-TRUNCATION))))


def latent_z(
    plan: Plan, group: Group, session: int, personal: np.random.Generator
) -> dict[str, float]:
    """Latent Fisher z of one participant in each network.

    Around the group's mean with standard deviation 0.25, cut at two standard deviations (scaled
    so that the cut leaves it at 0.25). From the second session on half the planted difference is
    left and a little is added that belongs to the session.
    """
    tail = special.ndtr(-TRUNCATION)
    ranks = tail + (1 - 2 * tail) * personal.uniform(size=len(plan.networks))
    shares = special.ndtri(ranks) / truncated_sd()
    values = {}
    for network, share in zip(plan.networks, shares, strict=True):
        mean = network_mean(network, group, plan.spec.effect)
        if session > 0:
            other = network_mean(network, "HC", plan.spec.effect)
            mean = (mean + other) / 2
        values[network.name] = float(mean + LATENT_SD * share)
    return values


def latent_frequencies(duration_s: float) -> Floats:
    """Whole cycles per run inside the latent band, in Hz."""
    cycles = np.arange(np.ceil(BAND_HZ[0] * duration_s), np.floor(BAND_HZ[1] * duration_s) + 1)
    frequencies: Floats = cycles / duration_s
    return frequencies


def latent_weights(
    networks: tuple[Network, ...],
    z_values: dict[str, float],
    n_frequencies: int,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Fourier weights (2 n_frequencies,) of each region's course.

    Rows of a random orthonormal set are mixed by the Cholesky factor of each network's
    correlation matrix, so that over the whole run a pair's sample correlation *is* tanh z, at
    whatever time within the volume a slice samples it, and that of regions of different networks
    is zero.
    """
    names = [name for network in networks for name in network.regions]
    dimensions = 2 * n_frequencies
    directions = np.linalg.qr(rng.standard_normal((dimensions, max(len(names), 1))))[0].T
    if len(directions) < len(names):  # a very short run has too few dimensions
        directions = rng.standard_normal((len(names), dimensions)) / np.sqrt(dimensions)
    weights: dict[str, Floats] = {}
    first = 0
    for network in networks:
        count = len(network.regions)
        lowest = -0.99 / max(count - 1, 1)
        shared = max(np.tanh(z_values[network.name]), lowest)
        matrix = np.full((count, count), shared)
        np.fill_diagonal(matrix, 1.0)
        mixed = np.linalg.cholesky(matrix) @ directions[first : first + count]
        weights.update(zip(network.regions, mixed, strict=True))
        first += count
    return weights


def latent_courses(weights: Floats, frequencies: Floats, times: Floats) -> Floats:
    """Course of unit variance over a run, at any times (s).

    Parameters
    ----------
    weights : (2 J,) array
        Weights of cosines, then of sines.
    """
    angles = 2 * np.pi * np.multiply.outer(times, frequencies)
    half = len(frequencies)
    course: Floats = np.sqrt(2.0) * (
        np.cos(angles) @ weights[:half] + np.sin(angles) @ weights[half:]
    )
    return course


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMotion:
    """Rigid motion: ``parameters`` (n_volumes, 6) in mm and rad about ``centre_mm``.

    ``during`` marks volumes in which the head moves from its place in the volume before to its
    own; ``matrices`` (n_volumes, 4, 4) are the pull maps from the reference pose.
    """

    parameters: Floats
    matrices: Floats
    centre_mm: Floats
    during: np.ndarray[tuple[int], np.dtype[np.bool_]]


def random_motion(plan: Plan, centre_mm: Floats, rng: np.random.Generator) -> HeadMotion:
    """Slow wander, small jitter and a few jerks that die out; the first volume is at rest."""
    n_volumes = plan.n_volumes
    scale = plan.spec.motion_scale
    units = np.array([1.0, 1.0, 1.0, 0.012, 0.012, 0.012])
    liveliness = rng.uniform(0.7, 1.3)
    wander = np.cumsum(rng.standard_normal((n_volumes, 6)), axis=0) * 0.035 * units
    wander = ndimage.gaussian_filter1d(wander, 3.0, axis=0, mode="nearest")
    jitter = rng.standard_normal((n_volumes, 6)) * 0.018 * units
    jerks = np.zeros((n_volumes, 6))
    for start in np.flatnonzero(rng.random(n_volumes) < SPIKE_RATE):
        decay = np.exp(-np.arange(n_volumes - start) / rng.uniform(0.7, 8.0))
        jerks[start:] += decay[:, None] * rng.standard_normal(6) * 0.35 * units
    parameters = scale * liveliness * (wander + jitter + jerks)
    parameters -= parameters[0]
    limits = np.repeat([LIMIT_MM, LIMIT_RAD], 3)
    parameters = limits * np.tanh(parameters / limits)
    matrices = np.stack([rigid_matrix(row, centre_mm) for row in parameters])
    during = rng.random(n_volumes) < plan.spec.intra_volume_fraction
    during[0] = False
    return HeadMotion(parameters=parameters, matrices=matrices, centre_mm=centre_mm, during=during)


def framewise_displacement(parameters: Floats, radius_mm: float = 50.0) -> Floats:
    """Sum of the absolute changes of the six parameters (Power 2012), (n_volumes − 1,) in mm."""
    steps = np.abs(np.diff(parameters, axis=0))
    total: Floats = steps[:, :3].sum(axis=1) + radius_mm * steps[:, 3:].sum(axis=1)
    return total


def body_rhythm(frequency_hz: float, times: Floats, rng: np.random.Generator) -> Floats:
    """Return a rhythm of wandering frequency (5 %) and unit variance at times (s)."""
    end = float(times.max()) + 2.0
    step = 0.05
    grid = np.arange(0.0, end, step)
    wander = ndimage.gaussian_filter1d(rng.standard_normal(grid.size), 6.0 / step)
    wander *= 0.05 / max(float(wander.std()), 1e-9)
    phase = 2 * np.pi * (np.cumsum(frequency_hz * (1.0 + wander)) * step + rng.uniform())
    rhythm: Floats = np.sqrt(2.0) * np.cos(np.interp(times, grid, phase))
    return rhythm


def systemic_waves(times: Floats, rng: np.random.Generator) -> Floats:
    """Return slow waves of the blood in white matter and CSF, of unit variance."""
    waves = [body_rhythm(frequency, times, rng) for frequency in SYSTEMIC_HZ]
    total: Floats = np.sum(waves, axis=0) / np.sqrt(len(waves))
    return total


def drift_courses(times: Floats, duration_s: float, rng: np.random.Generator) -> Floats:
    """Slow courses (…, 3): a line, a parabola and half a wave, the last with a random phase."""
    position = 2 * times / duration_s - 1
    wave = np.cos(np.pi * position * 0.8 + rng.uniform(0, 2 * np.pi))
    shapes: Floats = np.stack([position, 1.5 * position**2 - 0.5, wave], axis=-1)
    return shapes


def saturation_course(n_volumes: int, n_start: int) -> Floats:
    """Return a factor for each volume: the signal while longitudinal magnetisation saturates.

    The excess over the steady state falls by the same factor from each excitation to the next,
    from 30 % to 4 % at the last of the ``n_start`` volumes. There it is cut off, so that their
    number is a fact.

    Examples
    --------
    >>> saturation_course(5, 3).round(3).tolist()
    [1.3, 1.11, 1.04, 1.0, 1.0]
    """
    course = np.ones(n_volumes)
    course[:n_start] += np.geomspace(*EXCESS, max(n_start, 1))[:n_start]
    return course


def slice_timing(n_slices: int, repetition_time: float) -> Floats:
    """Acquisition times (s) of slices in the interleaved order 0, 2, 4, …, 1, 3, 5, …."""
    order = np.concatenate([np.arange(0, n_slices, 2), np.arange(1, n_slices, 2)])
    times = np.empty(n_slices)
    times[order] = np.arange(n_slices) * repetition_time / n_slices
    return np.round(times, 4)
