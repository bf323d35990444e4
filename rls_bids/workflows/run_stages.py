"""What preprocessing of one BOLD run writes, under which names, and what makes it valid."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.dataset.fieldmaps import fieldmap_files
from rls_bids.records import BoldRun
from rls_bids.settings import Settings
from rls_bids.workflows.metadata import PREPROCESSING, distortion_of, echoes_of, timing_of
from rls_bids.workflows.nuisance import motion_filter_of
from rls_bids.workflows.stage import Place, Stage, make_product

T1W_STD = {"space": "T1w"}
Output = tuple[str, str, dict[str, Any]]
"""Key, description and metadata of a product."""


def run_stage(
    run: BoldRun, anat: Stage, place: Place, local: Place | None, settings: Settings
) -> Stage:
    """Return what preprocessing of one BOLD run writes."""
    bold = {key: value for key, value in asdict(settings.bold).items() if key != "in_t1w_space"}
    stamp = fingerprint(
        anat=anat.fingerprint,
        content=run.content,
        repetition_time=run.repetition_time,
        slice_timing=run.slice_timing,
        slice_encoding_direction=run.slice_encoding_direction,
        dummy_scans=run.dummy_scans,
        settings=bold,
        grid=[place.resolution, place.size_mm],
        fd_threshold_mm=settings.denoise.fd_threshold_mm,
        motion_filter=motion_filter_of(settings.denoise),
        versions=[kernel.VERSION for kernel in PREPROCESSING],
    )
    owner = (run.participant, run.session)
    entities: dict[str, Any] = dict(run.entities)
    sources = [
        *run.images,
        *(*fieldmap_files(run.fieldmap), *([run.sbref] if run.sbref else [])),
        f"{place.output_dir}/{anat.product('t1w').path}",
    ]
    told = timing_of(run, settings.bold) | distortion_of(run) | echoes_of(run)
    products = tuple(
        make_product(
            where,
            stamp,
            f"{key}{suffix}",
            naming.derivative(key, run.participant, run.session, **entities, **std),
            description,
            sources,
            **extra,
        )
        for where, suffix, std, (key, description, extra) in _run_outputs(
            run, told, place, local, settings
        )
    )
    names = ["coregistration", "motion", *(["distortion"] if run.fieldmap else [])]
    figures = tuple(naming.figure(*owner, what, **entities) for what in names)
    return Stage(fingerprint=stamp, products=products, figures=figures)


def _run_outputs(
    run: BoldRun, told: dict[str, object], place: Place, local: Place | None, settings: Settings
) -> Iterator[tuple[Place, str, dict[str, Any], Output]]:
    """Yield place, suffix of the key, entities of the grid and the rest of each product."""
    is_full = settings.run.level == "full"
    for output in _run_products(told, run):
        yield place, "", {}, output
    grids = [(place, "", place.std)]
    if settings.bold.in_t1w_space:
        grids.append((place, "_t1w", T1W_STD))
    if is_full and local and local.std != place.std:
        grids.append((local, "_local", local.std))
    for where, suffix, std in grids:
        for output in _run_images(told, run, is_t1w=std == T1W_STD, is_full=is_full):
            yield where, suffix, std, output


def _run_products(told: dict[str, object], run: BoldRun) -> Iterator[Output]:
    """Yield key, description and more metadata of each product that lies on no grid."""
    yield (
        "boldref",
        (
            "Single-band reference, aligned to the mean after head motion correction"
            if run.sbref
            else "Mean of the volumes after head motion correction"
        )
        + (", distortion taken off." if told["DistortionCorrection"] else "."),
        {"SkullStripped": False, "DistortionCorrection": told["DistortionCorrection"]},
    )
    yield "hmc_xfm", "Head motion: one rigid transform a volume.", {}
    coregistration = "Rigid coregistration of the BOLD reference to the T1w image."
    yield "boldref_to_t1w_xfm", coregistration, {}
    yield "confounds", "Confounding time series.", told
    yield "outliers", "Volumes that exceed the motion threshold: one column each.", {}


def _run_images(
    told: dict[str, object], run: BoldRun, *, is_t1w: bool, is_full: bool
) -> Iterator[Output]:
    """Yield the same of the images in one space: reference, mask and, in full, the series."""
    where = "on the axes of the T1w image" if is_t1w else "on the standard grid"
    stripped: dict[str, Any] = {"SkullStripped": True}
    yield "boldref_std", f"Temporal mean {where}, inside the brain.", stripped
    mask = f"Brain voxels {where} inside the field of view of every volume."
    yield "bold_mask_std", mask, {"Type": "Brain"}
    if is_full:
        series = f"Preprocessed BOLD series {where}, inside the brain."
        times = {"RepetitionTime": run.repetition_time, **told}
        yield "preproc_bold", series, stripped | times
