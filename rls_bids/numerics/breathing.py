"""Breathing in the motion parameters: taken out before displacement is computed.

Breathing moves the head, and in fast sequences it also shifts the image along the phase-encoding
axis without any movement (Fair 2020, doi:10.1016/j.neuroimage.2019.116400; Gratton 2020,
doi:10.1016/j.neuroimage.2020.116866). Frequencies are in Hz or breaths per minute, as named.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from rls_bids.errors import UsageError
from rls_bids.numerics.confounds import MOTION, Table, expand_motion, framewise_displacement

VERSION = "1"

FILTERED = "_filtered"
DISPLACEMENT = "framewise_displacement"
SECONDS_PER_MINUTE = 60.0

LP_BEYOND = (
    "--motion-filter-type lp should keep up to {low:g} breaths/min, but with a repetition time "
    "of {repetition_time:g} s nothing beyond {nyquist:.4g}/min (Nyquist) is seen: it would do "
    "nothing."
)
LP_BEYOND_HINT = "Use notch, which goes to the alias of the band, or lower --band-stop-min."
NOTCH_ON_ZERO = (
    "With a repetition time of {repetition_time:g} s, breathing at {low:g}-{high:g}/min is "
    "aliased to {alias_low:.3g}-{alias_high:.3g}/min, and a notch there would take slow head "
    "motion out."
)
NOTCH_ON_ZERO_HINT = "Leave --motion-filter-type out for these runs, or narrow the band."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionFilter:
    """What is taken out of the motion parameters.

    ``kind`` is ``"notch"`` (from ``low_bpm`` to ``high_bpm``) or ``"lp"`` (above ``low_bpm``;
    ``high_bpm`` is 0); ``order`` is even, the filter runs in both directions.
    """

    kind: str
    low_bpm: float
    high_bpm: float
    order: int


def aliased_band(low_hz: float, high_hz: float, repetition_time: float) -> tuple[float, float]:
    """Return where a band of frequencies is seen in a series of volumes.

    Every frequency f folds to ``|f − round(f·TR)/TR|``. A band that holds a multiple of the
    Nyquist frequency is folded there and reaches up to it, or down to 0.

    Parameters
    ----------
    low_hz, high_hz : float
        Of the band.
    repetition_time : float
        Seconds.

    Returns
    -------
    low_hz, high_hz : float
        Between 0 and the Nyquist frequency.

    Examples
    --------
    >>> [round(60 * edge, 3) for edge in aliased_band(17 / 60, 18 / 60, 3.0)]
    [2.0, 3.0]
    """
    nyquist = 0.5 / repetition_time
    first, last = int(np.ceil(low_hz / nyquist)), int(np.floor(high_hz / nyquist))
    turns = [nyquist * n for n in range(first, last + 1)]
    places = [abs(f - np.round(f * repetition_time) / repetition_time)
              for f in (low_hz, high_hz, *turns)]  # fmt: skip
    return float(min(places)), float(max(places))


def aliased_bpm(low_bpm: float, high_bpm: float, repetition_time: float) -> tuple[float, float]:
    """Return where a band in breaths per minute is seen (:func:`aliased_band`)."""
    edges = (low_bpm / SECONDS_PER_MINUTE, high_bpm / SECONDS_PER_MINUTE)
    low, high = aliased_band(*edges, repetition_time)
    return low * SECONDS_PER_MINUTE, high * SECONDS_PER_MINUTE


def band_seen(chosen: MotionFilter, repetition_time: float) -> tuple[float, float]:
    """Return the band (breaths/min) that is filtered at a repetition time (s).

    Returns
    -------
    low_bpm, high_bpm : float
        The alias of the notch where it lies beyond the Nyquist frequency; for a low-pass its
        edge and 0.

    Raises
    ------
    UsageError
        A low-pass at or beyond the Nyquist frequency, or a notch whose alias reaches 0.
    """
    nyquist = 0.5 * SECONDS_PER_MINUTE / repetition_time
    low, high = chosen.low_bpm, chosen.high_bpm
    if chosen.kind == "lp":
        if low >= nyquist:
            told = {"low": low, "repetition_time": repetition_time, "nyquist": nyquist}
            raise UsageError(LP_BEYOND.format(**told), LP_BEYOND_HINT)
        return low, 0.0
    alias_low, alias_high = aliased_bpm(low, high, repetition_time)
    if alias_low < 1e-9 or alias_high - alias_low < 1e-9:
        raise UsageError(
            NOTCH_ON_ZERO.format(
                low=low,
                high=high,
                repetition_time=repetition_time,
                alias_low=alias_low,
                alias_high=alias_high,
            ),
            NOTCH_ON_ZERO_HINT,
        )
    return alias_low, alias_high


def filter_motion(
    parameters: ArrayLike, chosen: MotionFilter, repetition_time: float
) -> FloatArray:
    """Take breathing out of the motion parameters.

    As XCP-D does: ``lp`` is a Butterworth filter of half the order, forward and backward;
    ``notch`` is a second-order notch with the band's middle and width, forward and backward,
    applied order / 2 times. Both ends are continued by their own value. Unlike XCP-D's, a notch
    beyond the Nyquist frequency is folded as a band, not edge by edge (12–18/min at TR 2 s would
    leave it no width there), and a low-pass beyond it is refused.

    Parameters
    ----------
    parameters : (n_volumes, 6) array
        Any unit.
    chosen : MotionFilter
    repetition_time : float
        Seconds.

    Returns
    -------
    (n_volumes, 6) array

    Raises
    ------
    UsageError
        The filter does not fit the repetition time (:func:`band_seen`).

    Examples
    --------
    >>> times = 0.8 * np.arange(300)[:, None]
    >>> slow, breaths = np.sin(2 * np.pi * times / 100), np.sin(2 * np.pi * times * 16 / 60)
    >>> notch = MotionFilter(kind="notch", low_bpm=12, high_bpm=18, order=4)
    >>> left = filter_motion(slow + breaths, notch, 0.8) - slow
    >>> bool(left[30:-30].std() < 0.1 * breaths.std())
    True
    """
    low, high = (edge / SECONDS_PER_MINUTE for edge in band_seen(chosen, repetition_time))
    rate = 1 / repetition_time
    values = np.array(parameters, dtype=float)
    if len(values) < 2:
        return values
    if chosen.kind == "lp":
        b, a = signal.butter(chosen.order // 2, low, "lowpass", fs=rate)
        times_applied = 1
    else:
        middle = (low + high) / 2
        b, a = signal.iirnotch(middle, middle / (high - low), fs=rate)
        times_applied = chosen.order // 2
    for _ in range(times_applied):
        values = signal.filtfilt(b, a, values, axis=0, padtype="constant", padlen=len(values) - 1)
    return values


def filtered_columns(table: Table, chosen: MotionFilter, repetition_time: float) -> Table:
    """Return the motion columns without breathing, named like the others with ``_filtered``.

    Parameters
    ----------
    table : dict of (n_volumes,) arrays
        With the six parameters, mm and radians; it stays as it is.
    chosen : MotionFilter
    repetition_time : float
        Seconds.

    Returns
    -------
    dict of (n_volumes,) arrays
        ``trans_x_filtered``, ``trans_x_derivative1_filtered`` … (differences and squares are
        those of the filtered parameters) and ``framewise_displacement_filtered``, mm.
    """
    parameters = np.column_stack([table[name] for name in MOTION])
    filtered = filter_motion(parameters, chosen, repetition_time)
    columns = expand_motion(filtered) | {DISPLACEMENT: framewise_displacement(filtered)}
    return {name + FILTERED: values for name, values in columns.items()}


def displacement_of(table: Table) -> FloatArray:
    """Return the displacement that censors: without breathing where that was taken out.

    Parameters
    ----------
    table : dict of (n_volumes,) arrays

    Returns
    -------
    (n_volumes,) array
        mm, NaN in the first row.
    """
    return table.get(DISPLACEMENT + FILTERED, table[DISPLACEMENT])


def is_motion(name: str) -> bool:
    """Whether a column is a motion parameter or made of one."""
    return name.startswith(MOTION)
