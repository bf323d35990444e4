"""What is written of a run that another program has preprocessed."""

from collections.abc import Iterator
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.numerics import confounds, resample, translate
from rls_bids.records import PreparedAnatomy, PreparedRun
from rls_bids.settings import Settings
from rls_bids.workflows.nuisance import motion_filter_of
from rls_bids.workflows.stage import Place, Stage, make_product

PREPARED_VERSION = f"{translate.VERSION}-{resample.VERSION}-{confounds.VERSION}"


def prepared_anat_stage(anatomy: PreparedAnatomy) -> Stage:
    """Return the anatomy of another program: nothing is written, its content counts."""
    return Stage(fingerprint=fingerprint(content=anatomy.content), products=())


def prepared_stage(run: PreparedRun, anat: Stage, place: Place, settings: Settings) -> Stage:
    """Return what is written of one preprocessed run: what every later stage starts from."""
    stamp = fingerprint(
        anat=anat.fingerprint,
        content=run.content,
        repetition_time=run.repetition_time,
        n_dropped=run.n_dropped,
        generator=run.generator,
        grid=[place.space, place.resolution, place.size_mm],
        fd_threshold_mm=settings.denoise.fd_threshold_mm,
        motion_filter=motion_filter_of(settings.denoise),
        version=PREPARED_VERSION,
    )
    owner = (run.participant, run.session)
    entities: dict[str, Any] = dict(run.entities)
    products = tuple(
        make_product(
            place,
            stamp,
            key,
            naming.derivative(key, run.participant, run.session, **entities, **grid),
            description,
            [run.bold, run.mask, run.confounds],
            Preprocessing=run.generator,
            **extra,
        )
        for key, description, grid, extra in _products(
            run, place.std, is_full=settings.run.level == "full"
        )
    )
    figure = naming.figure(*owner, "motion", **entities)
    return Stage(fingerprint=stamp, products=products, figures=(figure,))


def _products(
    run: PreparedRun, std: dict[str, Any], *, is_full: bool
) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Yield key, description, entities of the grid and more metadata of each product."""
    timing = prepared_timing(run)
    yield (
        "boldref_std",
        "Temporal mean on the standard grid, inside the brain.",
        std,
        {"SkullStripped": True},
    )
    yield (
        "bold_mask_std",
        "Voxels of the program's brain mask that lie inside the field of view and vary.",
        std,
        {"Type": "Brain"},
    )
    yield "confounds", "Confounding time series, taken over and completed.", {}, timing
    yield "outliers", "Volumes that exceed the motion threshold: one column each.", {}, {}
    if is_full:
        yield (
            "preproc_bold",
            "Preprocessed BOLD series on the standard grid, inside the brain.",
            std,
            {"SkullStripped": True, "RepetitionTime": run.repetition_time, **timing},
        )


def prepared_timing(run: PreparedRun) -> dict[str, object]:
    """Return what is known of the times of a preprocessed series, dropped volumes counted in."""
    told: dict[str, object] = {"NumberOfVolumesDiscardedByUser": run.n_dropped}
    if run.is_slice_timed is not None:
        told["SliceTimingCorrected"] = run.is_slice_timed
    if run.start_time is not None:
        told["StartTime"] = round(run.start_time + run.n_dropped * run.repetition_time, 6)
    return told
