"""A whole cohort on disk: raw BIDS, and the truth under ``sourcedata/truth``."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rls_bids.errors import CannotWriteError
from rls_bids.phantom.bold import Scan, region_share, simulate
from rls_bids.phantom.head import HeadModel, given_model, sample, standard_model
from rls_bids.phantom.images import axis_of, save_image
from rls_bids.phantom.signals import framewise_displacement, latent_z
from rls_bids.phantom.space import (
    Floats,
    Floats32,
    Warp,
    apply_affine,
    pull_grid,
    random_affine,
    random_warp,
    rigid_matrix,
    standard_to_person,
)
from rls_bids.phantom.spec import CohortSpec, Group, Plan, participant_label, plan_cohort
from rls_bids.phantom.texts import (
    BOLD_FIELDS,
    DESCRIPTION,
    PARTICIPANT_COLUMNS,
    README,
    T1W_FIELDS,
)
from rls_bids.phantom.truth import expected_effects, sphere_points
from rls_bids.resources import load_seeds

NOT_EMPTY = "The output directory {path} exists and is not empty."
NOT_EMPTY_HINT = "Name a new directory, or empty this one."
CANNOT_WRITE = "The output directory {path} cannot be written: {reason}."
CANNOT_WRITE_HINT = "Name a directory on a disk with room where you may write."

T1W_FIELD_OF_VIEW_MM = {True: (192.0, 240.0, 232.0), False: (192.0, 230.0, 194.0)}
T1W_SCALE, T1W_NOISE = 8.0, 1.8
HEAD_CENTRE_MM = np.array([0.0, -18.0, 8.0])
STANDARD_GRID = ((33, 39, 33), (-96.0, -132.0, -78.0), 6.0)
"""Of the displacement file; linear interpolation on it is good to 0.1 mm."""
GROUP_CODES: dict[Group, int] = {"RLS": 0, "HC": 1}
PERSON, LATENT, SESSION_T1W, SESSION_BOLD = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One member of the cohort: ``warp`` leads from the person's own space to the head model."""

    label: str
    group: Group
    index: int
    age: int
    sex: str
    irls: int | None
    warp: Warp


def random_stream(plan: Plan, person: tuple[Group, int], *what: int) -> np.random.Generator:
    """Stream of random numbers that depends on the seed and on who and what it is for."""
    key = (GROUP_CODES[person[0]], person[1], *what)
    return np.random.default_rng(np.random.SeedSequence(plan.spec.random_seed, spawn_key=key))


def load_model(plan: Plan) -> HeadModel:
    """Make the head of the cohort: the standard one, or that of ``anat``."""
    if plan.spec.anat is None:
        return standard_model(skull=plan.skull, dropout=plan.spec.dropout)
    return given_model(plan.spec.anat, skull=plan.skull)


def region_centres(plan: Plan) -> tuple[dict[str, Floats], dict[str, float]]:
    """Centres (mm, standard space) of the regions, and the radii of their seeds."""
    seeds = {seed.name: seed for seed in load_seeds()}
    centres, radii = {}, {}
    for region in plan.regions:
        seed = seeds[region.seed]
        centres[region.name] = np.add(seed.centre_mm or (0.0, 0.0, 0.0), region.shift_mm)
        radii[region.name] = float(seed.radius_mm or 0.0)
    return centres, radii


def region_shares(
    plan: Plan, model: HeadModel, centres: Mapping[str, Floats], radii: Mapping[str, float]
) -> dict[str, float]:
    """Mean weight of each region over the sphere round its seed."""
    shares = {}
    for region in plan.regions:
        ball = sphere_points(centres[region.name] - region.shift_mm, radii[region.name])
        at = apply_affine(model.from_standard, ball).astype(np.float32)
        points = (at[:, 0], at[:, 1], at[:, 2])
        tissues = tuple(sample(model, tissue, points) for tissue in model.tissues)
        centre = apply_affine(model.from_standard, centres[region.name][None])[0]
        shares[region.name] = float(region_share(region, centre, points, tissues).mean())
    return shares


def make_person(plan: Plan, model: HeadModel, group: Group, index: int) -> Person:
    """Draw one participant: anatomy, age, sex, severity."""
    rng = random_stream(plan, (group, index), PERSON)
    age = int(np.clip(round(rng.normal(55, 9)), 25, 80))
    sex = "F" if rng.random() < 0.5 else "M"
    severity = int(np.clip(round(rng.normal(24, 5)), 11, 40))
    centre = apply_affine(model.from_standard, HEAD_CENTRE_MM[None])[0]
    affine = random_affine(rng, centre)
    inside = np.sum([tissue[::8, ::8, ::8] for tissue in model.tissues], axis=0) > 0.5
    points = apply_affine(model.affine, 8.0 * np.argwhere(inside).astype(np.float64))
    return Person(
        label=participant_label(group, index),
        group=group,
        index=index,
        age=age,
        sex=sex,
        irls=severity if group == "RLS" else None,
        warp=random_warp(rng, affine, points, plan.spec.warp_mm),
    )


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


def write_json(path: Path, content: object) -> None:
    """Write JSON with an indent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def session_stem(plan: Plan, person: Person, session: int) -> tuple[Path, str]:
    """Folder of a participant's session, and how its file names begin."""
    folder, stem = Path(f"sub-{person.label}"), f"sub-{person.label}"
    if plan.spec.sessions:
        label = plan.spec.sessions[session]
        folder, stem = folder / f"ses-{label}", f"{stem}_ses-{label}"
    return folder, stem


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


def write_session(root: Path, plan: Plan, model: HeadModel, person: Person, session: int) -> Scan:
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
    save_image(
        root / folder / "func" / f"{stem}_task-rest_bold.nii.gz",
        scan.series,
        scan.geometry.affine,
        codes=spec.bold_orientation,
        repetition_time=plan.size.repetition_time,
        differing_qform=spec.differing_qform,
    )
    _write_bold_truth(truth, person, scan)
    return scan


def bold_sidecar(plan: Plan, slice_times: Floats) -> dict[str, object]:
    """Metadata of the series for its storage orientation.

    Slices are acquired from the feet upwards in two passes and encoded from back to front.
    """
    codes = plan.spec.bold_orientation
    phase, phase_backwards = axis_of(codes, "A", "P")
    slices, slices_backwards = axis_of(codes, "S", "I")
    times = slice_times[::-1] if slices_backwards else slice_times
    return {
        **BOLD_FIELDS,
        "RepetitionTime": plan.size.repetition_time,
        "SliceTiming": [float(time) for time in times],
        "SliceEncodingDirection": slices,
        "PhaseEncodingDirection": f"{phase}-" if phase_backwards else phase,
    }


def write_participants(root: Path, people: list[Person]) -> None:
    """Write participants.tsv and its description."""
    rows = ["\t".join(["participant_id", "group", "age", "sex", "irls"])]
    for person in people:
        irls = "n/a" if person.irls is None else str(person.irls)
        rows.append(
            "\t".join([f"sub-{person.label}", person.group, str(person.age), person.sex, irls])
        )
    (root / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    write_json(root / "participants.json", PARTICIPANT_COLUMNS)


def write_cohort_truth(root: Path, plan: Plan, model: HeadModel) -> None:
    """Write what holds for the whole cohort to ``sourcedata/truth/truth.json``."""
    centres, radii = region_centres(plan)
    shares = region_shares(plan, model, centres, radii)
    content = {
        "spec": asdict(plan.spec),
        "sampling": asdict(plan.size),
        "n_volumes": plan.n_volumes,
        "standard_space": model.standard_space,
        "regions": {
            region.name: {
                "seed": region.seed,
                "centre_mm": centres[region.name].tolist(),
                "territory_radius_mm": region.radius_mm,
                "mean_weight_in_seed_sphere": shares[region.name],
            }
            for region in plan.regions
        },
        "effects": expected_effects(plan, shares, radii),
    }
    write_json(root / "sourcedata" / "truth" / "truth.json", content)


def prepare_output(output_dir: str | Path) -> Path:
    """Make the output directory, which must not exist or be empty.

    Raises
    ------
    CannotWriteError
        It has content, or cannot be made.
    """
    root = Path(output_dir)
    try:
        root.mkdir(parents=True, exist_ok=True)
        filled = any(root.iterdir())
    except OSError as error:
        message = CANNOT_WRITE.format(path=root, reason=error.strerror)
        raise CannotWriteError(message, CANNOT_WRITE_HINT) from error
    if filled:
        raise CannotWriteError(NOT_EMPTY.format(path=root), NOT_EMPTY_HINT)
    return root


def write_cohort(
    output_dir: str | Path, spec: CohortSpec, *, tell: Callable[[str], None] | None = None
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
    try:
        people = []
        for group, index in plan.members:
            person = make_person(plan, model, group, index)
            for session in range(max(len(spec.sessions), 1)):
                scan = write_session(root, plan, model, person, session)
            people.append(person)
            if tell is not None:
                tell(f"sub-{person.label} written")
        write_json(root / "task-rest_bold.json", bold_sidecar(plan, scan.slice_timing))
        write_json(root / "T1w.json", T1W_FIELDS)
        write_json(root / "dataset_description.json", DESCRIPTION)
        (root / "README").write_text(README.format(spec=spec), encoding="utf-8")
        write_participants(root, people)
        write_cohort_truth(root, plan, model)
    except OSError as error:
        free = shutil.disk_usage(root).free // 10**6
        reason = f"{error.strerror or error}, {free} MB free"
        message = CANNOT_WRITE.format(path=root, reason=reason)
        raise CannotWriteError(message, CANNOT_WRITE_HINT) from error
    return root
