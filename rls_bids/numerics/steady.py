"""Volumes at the start of a BOLD series that are brighter than its steady state.

The first excitations meet unsaturated spins: the signal starts high and falls, within a few
volumes, to where saturation and recovery are in balance. Those volumes carry another contrast and
a step of many times the BOLD effect, so they must not reach head motion, slice timing (which
interpolates in time) or connectivity.

How this relates to dummy scans: a number that the user gives is taken as it is, and nothing is
detected; 0 keeps every volume. Without a number, what :func:`count_non_steady` finds is dropped
before anything else is computed, and told. Programs that keep these volumes mark each by a column
of its own in the confounds table (:func:`non_steady_columns`, with fMRIPrep's names).
"""

import numpy as np
from numpy.typing import NDArray

VERSION = "2"

WINDOW = 50
"""Volumes looked at: drift is nearly a line over so few."""
LONGEST = 10
"""The most that is ever found; more is not how a series reaches its steady state."""
LEAST_EXCESS = 0.01
"""A share of the signal. Breathing and drift reach some tenths of a percent."""
LEAST_FALL = 0.008
"""A share of the signal, from the last volume before the steady state to the next."""
N_DEVIATIONS = 4.0
N_CHANGES = 3.0
HEAD_SHARE = 0.2
MAD_PER_SD = 0.6744897501960817
_MAX_VOXELS = 50_000

FloatArray = NDArray[np.float64]


def count_non_steady(series: NDArray[np.floating]) -> int:
    """Count the volumes at the start that are brighter than the steady state.

    The level of a volume is the median, over the voxels of the head, of its signal relative to
    the voxel's own later signal. A median barely moves with the head, whose edges are what head
    motion changes, and thermal noise averages out. The levels of the later volumes (up to the
    50th) give a robust line (Theil 1950, Sen 1968, 10.1080/01621459.1968.10480934) and, by their
    median absolute deviation from it, the standard deviation of the level. A volume is not in
    steady state when it and all volumes before it exceed the line by more than 1 % and more than
    four standard deviations. The last of them is one from which the level falls by more than
    0.8 % and more than three standard deviations of the later changes from volume to volume:
    saturation goes by steps, while a drift that bends away from the line goes smoothly. Darker
    volumes are left alone: saturation only takes signal away.

    Parameters
    ----------
    series : (n_volumes, X, Y, Z) float
        The series as it was acquired.

    Returns
    -------
    int
        0 up to ``min(10, n_volumes // 3)``; 0 for series of fewer than three volumes.

    Examples
    --------
    >>> flat = np.full((20, 4, 4, 4), 1000.0)
    >>> count_non_steady(flat)
    0
    >>> flat[:2] *= np.array([1.3, 1.06]).reshape(2, 1, 1, 1)
    >>> count_non_steady(flat)
    2
    """
    n_longest = min(LONGEST, len(series) // 3)
    if not n_longest:
        return 0
    level = relative_level(series[:WINDOW], n_longest)
    steady = np.arange(n_longest, len(level), dtype=float)
    slope, offset = _robust_line(steady, level[n_longest:])
    residual = level[n_longest:] - (offset + slope * steady)
    deviation = float(np.median(np.abs(residual - np.median(residual)))) / MAD_PER_SD
    excess = level[:n_longest] - (offset + slope * np.arange(n_longest))
    is_bright = excess > max(LEAST_EXCESS, N_DEVIATIONS * deviation)
    n_bright = n_longest if is_bright.all() else int(np.argmin(is_bright))
    change = np.diff(level)
    usual = float(np.median(np.abs(change[n_longest:]))) / MAD_PER_SD
    falls = np.flatnonzero(-change[:n_bright] > max(LEAST_FALL, N_CHANGES * usual))
    return int(falls[-1]) + 1 if falls.size else 0


def relative_level(series: NDArray[np.floating], n_start: int) -> FloatArray:
    """Return the level of each volume relative to the volumes after the start.

    Parameters
    ----------
    series : (n_volumes, X, Y, Z) float
    n_start : int
        Volumes that the reference leaves out, fewer than there are.

    Returns
    -------
    (n_volumes,) float64
        Near 1; 1 throughout when no voxel is bright.
    """
    flat = series.reshape(len(series), -1)
    # Every nth voxel: 50,000 of them give the median to a tenth of a permille at tSNR 30.
    flat = flat[:, :: max(1, flat.shape[1] // _MAX_VOXELS)]
    reference = np.median(flat[n_start:], axis=0)
    inside = reference > HEAD_SHARE * np.percentile(reference, 99)
    inside &= reference > 0
    if not inside.any():
        return np.ones(len(series))
    ratio = flat[:, inside] / reference[inside]
    return np.asarray(np.median(ratio, axis=1), dtype=float)


def non_steady_columns(n_non_steady: int, n_volumes: int) -> dict[str, FloatArray]:
    """Return one column for each volume that is not in steady state.

    Parameters
    ----------
    n_non_steady : int
        How many volumes at the start.
    n_volumes : int
        Rows of the table, these volumes included.

    Returns
    -------
    dict of (n_volumes,) arrays
        ``non_steady_state_outlier00`` …, each 1 at one volume and 0 elsewhere.

    Examples
    --------
    >>> {name: column.tolist() for name, column in non_steady_columns(1, 3).items()}
    {'non_steady_state_outlier00': [1.0, 0.0, 0.0]}
    """
    unit = np.eye(n_volumes)
    return {f"non_steady_state_outlier{i:02d}": unit[i] for i in range(n_non_steady)}


def _robust_line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return the median of all pairwise slopes, and the median offset that goes with it."""
    first, second = np.triu_indices(len(x), k=1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    return slope, float(np.median(y - slope * x))
