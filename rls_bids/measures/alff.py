"""Amplitude of low-frequency fluctuations, absolute and as a fraction of all frequencies."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics import alff
from rls_bids.numerics.local import LocalRun
from rls_bids.records import Measure, Stat


def compute(run: LocalRun, options: Mapping[str, float]) -> dict[str, NDArray[np.float64]]:
    """Return ALFF and fALFF of every voxel of one run, from the unfiltered residuals."""
    band_hz = (options["alff_low_hz"], options["alff_high_hz"])
    found = alff.amplitudes(run.unfiltered, run.sample_mask, run.repetition_time, band_hz)
    return {"alff": np.asarray(found.alff), "falff": np.asarray(found.falff)}


MEASURE = Measure(
    name="alff",
    kind="local",
    version=f"1-{alff.VERSION}",
    suffix="boldmap",
    stats=(
        Stat(
            name="alff",
            unit="signal/√Hz",
            caption="ALFF: mean amplitude of the fluctuations in the band.",
            group_scale="meannorm",
        ),
        Stat(
            name="falff",
            unit="fraction",
            caption="fALFF: amplitudes in the band over those of all frequencies.",
        ),
    ),
    caption="Amplitude of low-frequency fluctuations (ALFF), and its fraction of the whole.",
    method=(
        "ALFF is the mean over the band of the square root of the one-sided power spectral "
        "density of the residuals without band-pass [@zang2007]; fALFF is the sum of these "
        "amplitudes in the band over that of all frequencies up to Nyquist [@zou2008]. Spectra of "
        "series with censored volumes were estimated on the frequencies of the whole run, so that "
        "the number of volumes kept does not change their mean."
    ),
    sources=("10.1016/j.braindev.2006.07.002", "10.1016/j.jneumeth.2008.04.012"),
    options=("alff_low_hz", "alff_high_hz"),
    compute=compute,
)
