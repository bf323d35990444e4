"""A whole cohort on disk: raw BIDS, and the truth under ``sourcedata/truth``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rls_bids.phantom.bold import Scan, grid_shape, simulate
from rls_bids.phantom.cohort import (
    HEAD_CENTRE_MM,
    LATENT,
    SESSION_BOLD,
    SESSION_FIELDMAP,
    SESSION_T1W,
    Person,
    load_model,
    prepare_output,
    random_stream,
    region_centres,
    session_stem,
    write_json,
    write_people,
)
from rls_bids.phantom.distortion import direction, encoding
from rls_bids.phantom.fieldmaps import IDENTIFIER, readout, write_fieldmaps
from rls_bids.phantom.head import HeadModel, sample
from rls_bids.phantom.images import axis_of, save_image
from rls_bids.phantom.signals import framewise_displacement, latent_z, slice_timing
from rls_bids.phantom.space import (
    Floats,
    Floats32,
    Warp,
    apply_affine,
    pull_grid,
    rigid_matrix,
    standard_to_person,
)
from rls_bids.phantom.spec import CohortSpec, Plan, plan_cohort, spec_content
from rls_bids.phantom.texts import BOLD_FIELDS, DESCRIPTION, README, T1W_FIELDS

T1W_FIELD_OF_VIEW_MM = {True: (192.0, 240.0, 232.0), False: (192.0, 230.0, 194.0)}
T1W_SCALE, T1W_NOISE = 8.0, 1.8
STANDARD_GRID = ((33, 39, 33), (-96.0, -132.0, -78.0), 6.0)
"""Of the displacement file; linear interpolation on it is good to 0.1 mm."""


def session_warp(plan: Plan, model: HeadModel, person: Person, session: int) -> Warp:
    """Where the person's head lies in the T1w scan of a session; as drawn in the first."""
    if session == 0:
        return person.warp
    rng = random_stream(plan, (person.group, person.index), SESSION_T1W, session, 1)
    centre = apply_affine(model.from_standard, HEAD_CENTRE_MM[None])[0]
    moved = rigid_matrix(
        np.concatenate([rng.uniform(-6, 6, 3), np.deg2rad(rng.uniform(-4, 4, 3))]), centre
    )
    warp = person.warp
    return Warp(
        affine=warp.affine @ moved, waves=warp.waves, cosines=warp.cosines, sines=warp.sines
    )


def t1w_image(
    plan: Plan, model: HeadModel, warp: Warp, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8], Floats]:
    """T1w image (X, Y, Z), its tissues (1 grey, 2 white, 3 CSF) and the affine, axes near RAS."""
    spacing = plan.size.t1w_mm
    field_of_view = T1W_FIELD_OF_VIEW_MM[plan.skull]
    n_x, n_y, n_z = (round(extent / spacing) for extent in field_of_view)
    tilt = np.concatenate([np.zeros(3), np.deg2rad(rng.uniform(-3, 3, 3))])
    affine = rigid_matrix(tilt, np.zeros(3))
    affine[:3, :3] *= spacing
    at = HEAD_CENTRE_MM - (np.array([0.0, -2.0, 20.0]) if plan.skull else np.zeros(3))
    centre = standard_to_person(warp, apply_affine(model.from_standard, at[None]))[0]
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array([n_x, n_y, n_z]) - 1) / 2)
    points = pull_grid(warp, affine, (n_x, n_y, n_z))
    head = sample(model, model.t1w, points)
    shares = np.stack([sample(model, tissue, points) for tissue in model.tissues])
    labels = np.where(shares.sum(axis=0) > 0.5, 1 + shares.argmax(axis=0), 0)
    head *= _bias_field(head.shape, rng)
    noise = rng.standard_normal((2, *head.shape), dtype=np.float32) * np.float32(T1W_NOISE)
    if not plan.skull:  # a stripped head is exactly zero outside
        noise *= head > 0
    measured = np.hypot(head + noise[0], noise[1]) * T1W_SCALE
    return np.rint(measured).astype(np.int16), labels.astype(np.uint8), affine


def _bias_field(shape: tuple[int, ...], rng: np.random.Generator) -> Floats32:
    """Smooth factor round 1, about ± 20 %."""
    axes = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True
    )
    slopes = rng.uniform(-0.1, 0.1, 3).astype(np.float32)
    bows = rng.uniform(-0.15, 0.15, 3).astype(np.float32)
    exponent = sum(s * a + b * (a**2 - 0.33) for s, b, a in zip(slopes, bows, axes, strict=True))
    return np.asarray(np.exp(exponent), np.float32)


def _write_anat_truth(folder: Path, warp: Warp, labels: NDArray[np.uint8], affine: Floats) -> None:
    save_image(folder / "tissues_dseg.nii.gz", labels, affine)
    shape, origin, step = STANDARD_GRID
    grid = np.diag([step, step, step, 1.0])
    grid[:3, 3] = origin
    points = apply_affine(grid, np.argwhere(np.ones(shape, bool)).astype(np.float64))
    shift = (standard_to_person(warp, points) - points).astype(np.float32)
    save_image(folder / "standard_to_t1w_displacement.nii.gz", shift.reshape(*shape, 3), grid)
    np.savez(
        folder / "t1w_to_standard.npz",
        affine=warp.affine,
        waves=warp.waves,
        cosines=warp.cosines,
        sines=warp.sines,
    )


def _write_bold_truth(folder: Path, person: Person, scan: Scan) -> None:
    motion = scan.motion
    np.savez(
        folder / "motion.npz",
        parameters=motion.parameters,
        matrices=motion.matrices,
        centre_mm=motion.centre_mm,
        during=motion.during,
        bold_affine=scan.geometry.affine,
        t1w_to_bold=scan.geometry.t1w_to_bold,
    )
    displacement = framewise_displacement(motion.parameters)
    content = {
        "group": person.group,
        "latent_z": scan.z_values,
        "t1w_to_bold": scan.geometry.t1w_to_bold.tolist(),
        "rotation_centre_mm": motion.centre_mm.tolist(),
        "mean_framewise_displacement_mm": float(displacement.mean()),
        "volumes_with_motion_inside": np.flatnonzero(motion.during).tolist(),
    }
    write_json(folder / "truth.json", content)


def _write_bold(stem: Path, plan: Plan, scan: Scan) -> None:
    """Write the series, or one an echo with its echo time."""
    spec = plan.spec
    for number, series in enumerate(scan.series, 1):
        echo = f"_echo-{number}" if spec.echo_times_s else ""
        if echo:
            time = {"EchoTime": spec.echo_times_s[number - 1]}
            write_json(stem.with_name(f"{stem.name}{echo}_bold.json"), time)
        save_image(
            stem.with_name(f"{stem.name}{echo}_bold.nii.gz"),
            series,
            scan.geometry.affine,
            codes=spec.bold_orientation,
            repetition_time=plan.size.repetition_time,
            differing_qform=spec.differing_qform,
        )


def write_session(root: Path, plan: Plan, model: HeadModel, person: Person, session: int) -> None:
    """Write the T1w image, the BOLD series and the truth of one session."""
    folder, stem = session_stem(plan, person, session)
    spec, who = plan.spec, (person.group, person.index)
    truth = root / "sourcedata" / "truth" / folder
    warp = session_warp(plan, model, person, session)
    image, labels, affine = t1w_image(
        plan, model, warp, random_stream(plan, who, SESSION_T1W, session)
    )
    save_image(
        root / folder / "anat" / f"{stem}_T1w.nii.gz",
        image,
        affine,
        codes=spec.t1w_orientation,
        differing_qform=spec.differing_qform,
    )
    _write_anat_truth(truth, warp, labels, affine)
    z_values = latent_z(plan, person.group, session, random_stream(plan, who, LATENT))
    centres, _ = region_centres(plan)
    scan = simulate(
        plan, model, warp, centres, z_values, random_stream(plan, who, SESSION_BOLD, session)
    )
    _write_bold(root / folder / "func" / f"{stem}_task-rest", plan, scan)
    _write_bold_truth(truth, person, scan)
    if spec.distortion:
        stream = random_stream(plan, who, SESSION_FIELDMAP, session)
        stem_path = root / folder / "fmap" / stem
        field = write_fieldmaps(stem_path, plan, model, warp, scan.geometry, stream)
        save_image(truth / "field_hz.nii.gz", field, scan.geometry.affine)


def bold_sidecar(plan: Plan) -> dict[str, object]:
    """Metadata of the series for its storage orientation.

    Slices are acquired from the feet upwards in two passes.
    """
    codes, towards = plan.spec.bold_orientation, plan.spec.phase_encoding
    slices, slices_backwards = axis_of(codes, "S", "I")
    times = slice_timing(grid_shape(plan)[2], plan.size.repetition_time)
    times = times[::-1] if slices_backwards else times
    distorted: dict[str, object] = {}
    if plan.spec.distortion:
        shape = grid_shape(plan)
        distorted = readout(plan, shape[encoding(plan, shape).axis], towards)
        distorted |= {"B0FieldSource": IDENTIFIER} if plan.spec.fieldmap != "none" else {}
    common = {
        k: v for k, v in BOLD_FIELDS.items() if k != "EchoTime" or not plan.spec.echo_times_s
    }
    return {
        **common,
        "RepetitionTime": plan.size.repetition_time,
        "SliceTiming": [float(time) for time in times],
        "SliceEncodingDirection": slices,
        "PhaseEncodingDirection": direction(codes, towards),
        **distorted,
    }


def write_cohort(
    output_dir: str | Path,
    spec: CohortSpec,
    *,
    tell: Callable[[str], None] | None = None,
    n_cpus: int = 1,
) -> Path:
    """Write a raw BIDS cohort with its truth.

    Parameters
    ----------
    output_dir : str or Path
        New or empty directory.
    spec : CohortSpec
        What to write.
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
        The specification is out of range.
    InputDataError
        The given head cannot be read.
    CannotWriteError
        The output directory has content or cannot be written.
    """
    plan = plan_cohort(spec)
    model = load_model(plan)
    root = prepare_output(output_dir)
    write_json(root / "task-rest_bold.json", bold_sidecar(plan))
    write_json(root / "T1w.json", T1W_FIELDS)
    write_json(root / "dataset_description.json", DESCRIPTION)
    words = ", ".join(f"{name}={value!r}" for name, value in spec_content(spec).items())
    (root / "README").write_text(README.format(spec=f"CohortSpec({words})"), encoding="utf-8")
    write = partial(write_session, root, plan, model)
    write_people(root, plan, model, write, tell=tell, n_cpus=n_cpus)
    return root
