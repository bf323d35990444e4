"""A derivative like fMRIPrep's, written straight in standard space.

The same people, networks and planted differences as in the raw cohort, but without the way there:
every participant has the standard brain on the 2 mm grid of MNI152NLin2009cAsym, so that a
participant takes seconds.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rls_bids.errors import UsageError
from rls_bids.numerics.confounds import assemble
from rls_bids.phantom.bold import AMPLITUDE, BREATHING, DRIFT, HEART, SYSTEMIC, region_share
from rls_bids.phantom.cohort import (
    LATENT,
    SESSION_BOLD,
    Person,
    load_model,
    prepare_output,
    random_stream,
    region_centres,
    session_stem,
    write_json,
    write_people,
)
from rls_bids.phantom.head import EPI_TISSUES, STANDARD_SPACE, HeadModel, sample
from rls_bids.phantom.images import save_image, save_series
from rls_bids.phantom.signals import (
    BREATHING_HZ,
    HEART_HZ,
    body_rhythm,
    drift_courses,
    latent_courses,
    latent_frequencies,
    latent_weights,
    latent_z,
    random_motion,
    systemic_waves,
)
from rls_bids.phantom.space import Floats, Floats32
from rls_bids.phantom.spec import RAW_ONLY, CohortSpec, Plan, plan_cohort, spec_content
from rls_bids.phantom.texts import DERIVATIVE_DESCRIPTION
from rls_bids.resources.grids import standard_grid

RESOLUTION = "2"
SCALE = 0.15
"""Signal units per unit of the raw series: coarser numbers pack faster."""
RESIDUAL_MOTION = 0.003
"""Signal change per mm or per 1/50 rad that realignment leaves behind."""
NOT_WITH_ANAT = "A derivative in standard space cannot be written for {anat}."
RAW_ONLY_ASKED = "Raw images alone can have what was asked for: {names}."
RAW_ONLY_HINT = "Leave it out, or leave out --fmriprep."
NOT_WITH_ANAT_HINT = "Leave out --anat, or leave out --fmriprep."


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardHead:
    """The standard brain on the output grid.

    ``stored`` is the mask with axes z, y, x; ``base`` (n,) and the maps (C, n) have its voxels.
    """

    affine: Floats
    stored: NDArray[np.bool_]
    t1w: Floats32
    tissues: tuple[Floats32, Floats32, Floats32]
    base: Floats32
    region_maps: Floats32
    global_maps: Floats32
    smooth_maps: Floats32


def standard_head(plan: Plan, model: HeadModel) -> StandardHead:
    """Sample the head model on the 2 mm grid, once for the whole cohort."""
    shape, affine = standard_grid(STANDARD_SPACE, RESOLUTION)
    steps = [affine[a, 3] + affine[a, a] * np.arange(shape[a]) for a in range(3)]
    x, y, z = np.meshgrid(*(step.astype(np.float32) for step in steps), indexing="ij")
    points = (x, y, z)
    tissues = tuple(sample(model, tissue, points) for tissue in model.tissues)
    mask = np.sum(tissues, axis=0) > 0.5
    inside = tuple(axis.T[mask.T] for axis in points)
    shares = tuple(tissue.T[mask.T] for tissue in tissues)
    base = sample(model, model.epi, inside) * np.float32(SCALE)
    centres, _ = region_centres(plan)
    regions = [
        region_share(region, centres[region.name], inside, shares) for region in plan.regions
    ]
    slopes = [np.ones_like(base), *(axis / np.float32(80) for axis in inside)]
    return StandardHead(
        affine=affine,
        stored=np.ascontiguousarray(mask.T),
        t1w=sample(model, model.t1w, points),
        tissues=(tissues[0], tissues[1], tissues[2]),
        base=base,
        region_maps=AMPLITUDE * np.stack(regions),
        global_maps=np.stack([HEART * shares[2], SYSTEMIC * (shares[1] + shares[2])]),
        smooth_maps=np.stack(slopes),
    )


def _series(
    plan: Plan, head: StandardHead, z_values: dict[str, float], rng: np.random.Generator
) -> tuple[Floats32, Floats]:
    """Series (n_volumes, n_voxels) and the head motion (n_volumes, 6) that left traces in it."""
    times: Floats = np.arange(plan.n_volumes, dtype=np.float64) * plan.size.repetition_time
    duration = plan.n_volumes * plan.size.repetition_time
    frequencies = latent_frequencies(duration)
    weights = latent_weights(plan.networks, z_values, len(frequencies), rng)
    regional = [
        latent_courses(weights[region.name], frequencies, times) for region in plan.regions
    ]
    rhythms = [body_rhythm(HEART_HZ, times, rng), systemic_waves(times, rng)]
    motion = random_motion(plan, np.zeros(3), rng).parameters
    traces = RESIDUAL_MOTION * motion * np.repeat([1.0, 50.0], 3)
    slow = DRIFT * drift_courses(times, duration, rng)
    breathing = BREATHING * body_rhythm(BREATHING_HZ, times, rng)[:, None]
    nuisance = np.concatenate([traces, slow, breathing], axis=1)
    smooth = nuisance @ rng.uniform(-1, 1, (nuisance.shape[1], len(head.smooth_maps)))
    courses = np.concatenate([np.stack([*regional, *rhythms], axis=1), smooth], axis=1)
    maps = np.concatenate([head.region_maps, head.global_maps, head.smooth_maps])
    series = courses.astype(np.float32) @ maps
    series += 1.0
    series *= head.base
    noise = rng.standard_normal(series.shape, dtype=np.float32)
    noise *= np.float32(SCALE * EPI_TISSUES[0] / plan.spec.tsnr)
    series += noise
    return series, motion


def _save_series(path: Path, series: Floats32, head: StandardHead, repetition_time: float) -> None:
    stored = np.zeros((len(series), *head.stored.shape), np.int16)
    stored[:, head.stored] = np.rint(series)
    save_series(path, stored, head.affine, repetition_time)


def _write_table(path: Path, table: Mapping[str, NDArray[np.float64]]) -> None:
    names = list(table)
    rows = ["\t".join(names)]
    rows += [
        "\t".join(f"{v:.8g}" if np.isfinite(v) else "n/a" for v in values)
        for values in zip(*table.values(), strict=True)
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _write_anat(folder: Path, stem: str, head: StandardHead) -> None:
    """Write T1w image, mask and tissues in standard space and, the same, as the person's own."""
    mask = head.stored.T.astype(np.uint8)
    labels = np.where(mask > 0, 1 + np.stack(head.tissues).argmax(axis=0), 0).astype(np.uint8)
    t1w = np.rint(8.0 * head.t1w).astype(np.int16)
    notes: dict[str, dict[str, object]] = {
        "_desc-preproc_T1w": {"SkullStripped": True},
        "_desc-brain_mask": {"Type": "Brain"},
    }
    images = {"_desc-preproc_T1w": t1w, "_desc-brain_mask": mask, "_dseg": labels}
    for label, share in zip(("GM", "WM", "CSF"), head.tissues, strict=True):
        images[f"_label-{label}_probseg"] = share
    standard = f"{stem}_space-{STANDARD_SPACE}_res-{RESOLUTION}"
    for suffix, data in images.items():
        note = notes.get(suffix, {})
        save_image(folder / f"{standard}{suffix}.nii.gz", data, head.affine)
        shutil.copyfile(folder / f"{standard}{suffix}.nii.gz", folder / f"{stem}{suffix}.nii.gz")
        write_json(folder / f"{standard}{suffix}.json", {"Resolution": "2 mm", **note})
        write_json(folder / f"{stem}{suffix}.json", note)


def write_session(
    root: Path, plan: Plan, head: StandardHead, person: Person, session: int
) -> None:
    """Write the preprocessed series, mask, confounds and anatomy of one session."""
    folder, stem = session_stem(plan, person, session)
    who = (person.group, person.index)
    z_values = latent_z(plan, person.group, session, random_stream(plan, who, LATENT))
    rng = random_stream(plan, who, SESSION_BOLD, session)
    series, motion = _series(plan, head, z_values, rng)
    func = root / folder / "func"
    run = f"{stem}_task-rest"
    space = f"{run}_space-{STANDARD_SPACE}_res-{RESOLUTION}"
    repetition_time = plan.size.repetition_time
    _save_series(func / f"{space}_desc-preproc_bold.nii.gz", series, head, repetition_time)
    note = {
        "RepetitionTime": repetition_time,
        "TaskName": "rest",
        "SkullStripped": False,
        "SliceTimingCorrected": True,
        "StartTime": repetition_time / 2,
        "Resolution": "2 mm",
    }
    write_json(func / f"{space}_desc-preproc_bold.json", note)
    mask = head.stored.T
    save_image(func / f"{space}_desc-brain_mask.nii.gz", mask.astype(np.uint8), head.affine)
    write_json(func / f"{space}_desc-brain_mask.json", {"Type": "Brain", "Resolution": "2 mm"})
    mean = np.zeros(head.stored.shape, np.int16)
    mean[head.stored] = np.rint(series.mean(axis=0))
    save_image(func / f"{space}_boldref.nii.gz", mean.T, head.affine)
    white, csf = (np.ascontiguousarray(t.T) for t in head.tissues[1:])
    table, metadata = assemble(
        series, head.stored, motion, white_matter=white, csf=csf, repetition_time=repetition_time
    )
    _write_table(func / f"{run}_desc-confounds_timeseries.tsv", table)
    write_json(func / f"{run}_desc-confounds_timeseries.json", metadata)
    _write_anat(root / folder / "anat", stem, head)
    truth = {"group": person.group, "latent_z": z_values}
    write_json(root / "sourcedata" / "truth" / folder / "truth.json", truth)


def write_derivative(
    output_dir: str | Path,
    spec: CohortSpec,
    *,
    tell: Callable[[str], None] | None = None,
    n_cpus: int = 1,
) -> Path:
    """Write a cohort as fMRIPrep would leave it, at 2 mm in MNI152NLin2009cAsym.

    Parameters
    ----------
    output_dir : str or Path
        New or empty directory.
    spec : CohortSpec
        What to write; without ``anat``.
    tell : callable, optional
        Called with a line of text after each participant.
    n_cpus : int, optional
        Participants written at the same time; the files do not depend on it.

    Returns
    -------
    Path
        The data set's root.

    Raises
    ------
    UsageError
        The specification is out of range or names a head of its own.
    CannotWriteError
        The output directory has content or cannot be written.
    """
    plan = plan_cohort(spec)
    if spec.anat is not None:
        raise UsageError(NOT_WITH_ANAT.format(anat=spec.anat), NOT_WITH_ANAT_HINT)
    asked = [name for name in RAW_ONLY if getattr(spec, name)]
    if asked:
        raise UsageError(RAW_ONLY_ASKED.format(names=", ".join(asked)), RAW_ONLY_HINT)
    model = load_model(plan)
    head = standard_head(plan, model)
    root = prepare_output(output_dir)
    write_json(root / "dataset_description.json", DERIVATIVE_DESCRIPTION)
    write_json(root / "sourcedata" / "truth" / "spec.json", spec_content(spec))
    write = partial(write_session, root, plan, head)
    write_people(root, plan, model, write, tell=tell, n_cpus=n_cpus)
    return root
