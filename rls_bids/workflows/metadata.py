"""What the sidecars say of how an output was made, and the versions of what made it."""

from collections.abc import Sequence

from rls_bids.interfaces import anat
from rls_bids.numerics import (
    average,
    boundary,
    confounds,
    coregister,
    correlation,
    echoes,
    fieldmap,
    opposed,
    realign,
    regressors,
    resample,
    signal,
    slicetiming,
    steady,
)
from rls_bids.records import BoldRun, PreparedRun, Seed, Session
from rls_bids.settings import BoldSettings, Settings
from rls_bids.settings.strategies import strategy_of, threshold_of
from rls_bids.workflows.nuisance import motion_filter_of

KERNELS = (
    steady,
    realign,
    slicetiming,
    resample,
    echoes,
    confounds,
    coregister,
    boundary,
    fieldmap,
    signal,
    correlation,
    regressors,
)
PREPROCESSING = KERNELS[:9]
ANAT_VERSION = anat.VERSION
AVERAGE_VERSION = f"{average.VERSION}-{coregister.VERSION}"
COREGISTRATION_VERSION = f"{coregister.VERSION}-{boundary.VERSION}-{fieldmap.VERSION}"
FIELDMAP_VERSION = f"{fieldmap.VERSION}-{opposed.VERSION}"


def timing_of(run: BoldRun, bold: BoldSettings) -> dict[str, object]:
    """Return what a sidecar says of the times of a preprocessed series.

    ``StartTime`` (s) is where in the first volume's acquisition its values belong: known only
    when the slices were brought to one time. ``NonSteadyStateVolumes`` is ``None`` where they were
    not looked for, because the user said how many volumes to drop.
    """
    told: dict[str, object] = {
        "SliceTimingCorrected": bool(run.slice_timing),
        "NumberOfVolumesDiscardedByUser": run.dummy_scans,
        "NonSteadyStateVolumes": run.dummy_scans if bold.dummy_scans is None else None,
    }
    if run.slice_timing:
        start = slicetiming.mid_slice_time(run.slice_timing)
        told["StartTime"] = round(start + run.dummy_scans * run.repetition_time, 6)
    return told


def echoes_of(run: BoldRun) -> dict[str, object]:
    """Return what a sidecar says of the echoes (s) that were combined; nothing where none were."""
    if not run.echoes:
        return {}
    times = [time for _, time in run.echoes]
    return {"EchoTimes": times, "EchoCombination": "T2*-weighted mean (Posse 1999)"}


def preprocessing_of(session: Session) -> str:
    """Return which program preprocessed the runs of a session; it must be equal, too."""
    others = {run.generator for run in session.runs if isinstance(run, PreparedRun)}
    return ", ".join(sorted(others)) or "rls_bids"


def distortion_of(run: BoldRun) -> dict[str, object]:
    """Return what a sidecar says of the susceptibility distortion of a run."""
    if run.fieldmap is None:
        return {"DistortionCorrection": None}
    return {
        "DistortionCorrection": run.fieldmap.kind,
        "PhaseEncodingDirection": run.fieldmap.direction,
    }


def processing_of(
    settings: Settings,
    strategy: str,
    size_mm: str,
    runs: Sequence[BoldRun | PreparedRun] = (),
) -> dict[str, object]:
    """Return what must be equal over the participants of a group model.

    ``size_mm`` is the edge of the voxels of the standard grid.
    """
    denoise, dummies = settings.denoise, settings.bold.dummy_scans
    band = [denoise.low_hz, denoise.high_hz] if denoise.band_pass else None
    return {
        "Denoising": strategy,
        "BandPassHz": band,
        "FilterOrder": denoise.filter_order if denoise.band_pass else None,
        "DenoisingColumns": list(strategy_of(denoise, strategy).patterns),
        "MotionThresholdMm": threshold_of(denoise, strategy),
        "MotionFilter": motion_filter_of(denoise),
        "SmoothingFwhmMm": denoise.smoothing_fwhm_mm,
        "Space": settings.anat.space,
        "Resolution": size_mm,
        "DummyScans": "found" if dummies is None else dummies,
        "Echoes": sorted({len(run.images) for run in runs}),
        "IgnoredSteps": sorted(settings.bold.ignore),
        "Sloppy": settings.anat.sloppy,
        "KernelVersions": ".".join((ANAT_VERSION, *(kernel.VERSION for kernel in KERNELS))),
    }


def seed_metadata(seed: Seed, members: Sequence[Seed]) -> dict[str, object]:
    """Return where a seed is and how that is known, for the sidecar."""
    return {
        "Name": seed.name,
        "Network": seed.network,
        "Kind": seed.kind,
        "CentreMm": list(seed.centre_mm) if seed.centre_mm else None,
        "RadiusMm": seed.radius_mm,
        "Mask": seed.mask,
        "Members": [member.name for member in members],
        "Space": seed.space,
        "GivenCentreMm": list(seed.given_mm) if seed.given_mm else None,
        "GivenSpace": seed.given_space or seed.space,
        "SpaceEvidence": seed.evidence,
        "Source": seed.source,
        "DOI": seed.doi,
    }
