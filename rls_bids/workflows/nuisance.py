"""What nodes, fingerprints and sidecars are told of a nuisance regression."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics import breathing, regressors, signal
from rls_bids.numerics.breathing import MotionFilter, aliased_bpm, band_seen
from rls_bids.numerics.regressors import columns_for, own_columns
from rls_bids.records import Note, Session
from rls_bids.settings import DenoiseSettings
from rls_bids.settings.strategies import strategy_of, threshold_of

ALIASED = (
    "Breathing at {low:g}-{high:g}/min is seen at {seen_low:.3g}-{seen_high:.3g}/min with the "
    "repetition time of {repetition_time:g} s (Nyquist: {nyquist:.3g}/min); the notch is there."
)
KEPT = (
    "The usual breathing of adults, {low:g}-{high:g}/min, is seen at {seen_low:.3g}-"
    "{seen_high:.3g}/min with the repetition time of {repetition_time:g} s (Nyquist: "
    "{nyquist:.3g}/min), and --motion-filter-type lp keeps up to {edge:g}/min of that."
)
KEPT_HINT = "Use --motion-filter-type notch with the band of these participants."
USUAL_BPM = (12.0, 18.0)
ALIASED_HINT = "Real head motion of these frequencies is taken out, too."

VERSION = f"{signal.VERSION}-{regressors.VERSION}"


def regression_inputs(
    repetition_time: float, strategy: str, denoise: DenoiseSettings
) -> dict[str, Any]:
    """Return what a node must be told to fit a strategy."""
    chosen = strategy_of(denoise, strategy)
    return {
        "label": strategy,
        "strategy": chosen.name,
        "patterns": list(chosen.patterns),
        "source": chosen.source,
        "repetition_time": repetition_time,
        "band_hz": [denoise.low_hz, denoise.high_hz] if denoise.band_pass else [],
        "filter_order": denoise.filter_order,
        "fd_threshold_mm": threshold_of(denoise, strategy),
    }


def design_parameters(denoise: DenoiseSettings, strategy: str) -> dict[str, object]:
    """Return what the design of one strategy depends on; of a file, its columns."""
    own = {"strategies": strategy, "model_files": ()}
    return asdict(denoise) | own | {"model_columns": strategy_of(denoise, strategy).patterns}


def check_columns(denoise: DenoiseSettings, strategy: str) -> None:
    """Check that the columns of a file are among those that our preprocessing will write.

    Raises
    ------
    UsageError
        With the file, what it asks for, and the nearest columns.
    """
    chosen = strategy_of(denoise, strategy)
    try:
        columns_for(
            chosen.name,
            own_columns(),
            band_pass=denoise.band_pass,
            patterns=chosen.patterns,
            source=chosen.source,
        )
    except InputDataError as error:
        raise UsageError(error.message, error.hint) from error


def motion_filter_of(denoise: DenoiseSettings) -> dict[str, Any]:
    """Return the filter of the motion parameters with its version; empty where there is none."""
    chosen = _motion_filter(denoise)
    return asdict(chosen) | {"version": breathing.VERSION} if chosen else {}


def _motion_filter(denoise: DenoiseSettings) -> MotionFilter | None:
    if denoise.motion_filter is None:
        return None
    return MotionFilter(
        kind=denoise.motion_filter,
        low_bpm=denoise.band_stop_min_bpm or 0.0,
        high_bpm=denoise.band_stop_max_bpm or 0.0,
        order=denoise.motion_filter_order,
    )


def alias_notes(session: Session, denoise: DenoiseSettings) -> Iterator[Note]:
    """Yield where breathing is seen in runs that are too slow to see it where it is.

    A low-pass is told of only where it would keep the alias of usual breathing.

    Raises
    ------
    UsageError
        The filter does not fit a run.
    """
    chosen = _motion_filter(denoise)
    if chosen is None:
        return
    is_notch = chosen.kind == "notch"
    asked = (chosen.low_bpm, chosen.high_bpm) if is_notch else USUAL_BPM
    words, hint = (ALIASED, ALIASED_HINT) if is_notch else (KEPT, KEPT_HINT)
    for repetition_time in sorted({run.repetition_time for run in session.runs}):
        band_seen(chosen, repetition_time)
        low, high = aliased_bpm(*asked, repetition_time)
        is_where_asked = (round(low, 6), round(high, 6)) == tuple(round(f, 6) for f in asked)
        if is_where_asked or (not is_notch and low >= chosen.low_bpm):
            continue
        message = words.format(
            low=asked[0],
            high=asked[1],
            seen_low=low,
            seen_high=high,
            repetition_time=repetition_time,
            nyquist=30 / repetition_time,
            edge=chosen.low_bpm,
        )
        yield Note(participant=session.participant, level="warning", message=message, hint=hint)
