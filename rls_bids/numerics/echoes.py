"""Several echoes of one excitation: the decay from one to the next, and their combination.

The signal decays as S(TE) = S₀ exp(−TE / T2*), and a BOLD change, which is one of 1/T2*, shows in
proportion to TE · S(TE). With noise that is equal in all echoes, the mean that is weighted in
this proportion has the best contrast-to-noise ratio (Posse et al. 1999,
10.1002/(SICI)1522-2594(199907)42:1<87::AID-MRM13>3.0.CO;2-O).

All that is needed here is the temporal mean of each echo, so echoes can be read one at a time.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VERSION = "1"

T2STAR_RANGE_S = (0.002, 0.5)
"""Tissue and fluid lie well inside; a decay beyond it is noise."""
TYPICAL_PERCENTILE = 33.0
LEAST_SHARE = 1 / 3
"""An echo with less than this share of its typical signal is taken to be noise."""
FEWEST = 2

OTHER_NUMBER = "{n_echoes} echoes with {n_times} echo times; two or more of each were expected."
NOT_ASCENDING = "Echo times must ascend from above 0, not {times}."

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.intp]


def count_good_echoes(means: NDArray[np.floating]) -> IntArray:
    """Count the echoes of each voxel that hold signal, up to the first that does not.

    Where the field is uneven the late echoes are noise, whose floor would be taken for a slow
    decay. An echo holds signal where its mean is at least a third of the 33rd percentile of that
    echo over all voxels (the thresholds of tedana's adaptive mask, there from one voxel).

    Parameters
    ----------
    means : (n_echoes, n_voxels) float
        Temporal means, the shortest echo first.

    Returns
    -------
    (n_voxels,) int
        From 2, which a decay needs, to ``n_echoes``.
    """
    means = np.asarray(means, dtype=float)
    is_seen = means[0] > 0
    if not is_seen.any():
        return np.full(means.shape[1], FEWEST)
    typical = np.percentile(means[:, is_seen], TYPICAL_PERCENTILE, axis=1)
    is_good = means >= LEAST_SHARE * typical[:, None]
    n_good: IntArray = np.maximum(np.cumprod(is_good, axis=0).sum(axis=0), FEWEST)
    return n_good


def fit_t2star(
    means: NDArray[np.floating], echo_times_s: Sequence[float], n_good: IntArray
) -> FloatArray:
    """Fit the decay of each voxel: a line through the logarithms of its good echoes.

    Parameters
    ----------
    means : (n_echoes, n_voxels) float
        Temporal means, the shortest echo first.
    echo_times_s : sequence of float
        s, ascending.
    n_good : (n_voxels,) int
        How many of the echoes are used, at least 2.

    Returns
    -------
    (n_voxels,) float
        T2* in s, held between 0.002 and 0.5; the latter also where the signal does not decay.

    Examples
    --------
    >>> times = np.array([0.012, 0.030, 0.048])
    >>> fit_t2star(1000 * np.exp(-times / 0.04)[:, None], times, np.array([3])).round(6)
    array([0.04])
    """
    means = np.asarray(means, dtype=float)
    times = np.broadcast_to(np.asarray(echo_times_s, dtype=float)[:, None], means.shape)
    tiny = np.finfo(np.float32).tiny
    level = np.log(np.maximum(means, tiny))
    used = np.arange(len(means))[:, None] < n_good
    centred = np.where(used, times - np.mean(times, axis=0, where=used), 0.0)
    rate = -np.sum(centred * level, axis=0) / np.sum(centred**2, axis=0)
    shortest, longest = T2STAR_RANGE_S
    return np.asarray(1.0 / np.clip(rate, 1.0 / longest, 1.0 / shortest))


def combination_weights(
    means: NDArray[np.floating], echo_times_s: Sequence[float]
) -> Float32Array:
    """Weights of the echoes in proportion to TE exp(−TE / T2*), which sum to 1 in each voxel.

    Parameters
    ----------
    means : (n_echoes, n_voxels) float
        Temporal means, the shortest echo first.
    echo_times_s : sequence of float
        s, ascending.

    Returns
    -------
    (n_echoes, n_voxels) float32
        0 for echoes that hold no signal.

    Raises
    ------
    ValueError
        Fewer than two echoes, or times that do not ascend from above 0.
    """
    times = np.asarray(echo_times_s, dtype=float)
    if len(times) < FEWEST or len(times) != len(means):
        raise ValueError(OTHER_NUMBER.format(n_echoes=len(means), n_times=len(times)))
    if times[0] <= 0 or (np.diff(times) <= 0).any():
        raise ValueError(NOT_ASCENDING.format(times=times.tolist()))
    n_good = count_good_echoes(means)
    t2star = fit_t2star(means, echo_times_s, n_good)
    weights = times[:, None] * np.exp(-(times - times[0])[:, None] / t2star)
    weights *= np.arange(len(times))[:, None] < n_good
    return np.asarray(weights / weights.sum(axis=0), dtype=np.float32)
