"""Who is in a cohort, where everything of it goes, and what holds for all of it."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from rls_bids.errors import CannotWriteError
from rls_bids.phantom.bold import region_share
from rls_bids.phantom.head import STANDARD_SPACE, HeadModel, given_model, sample, standard_model
from rls_bids.phantom.space import Floats, Warp, apply_affine, random_affine, random_warp
from rls_bids.phantom.spec import Group, Plan, participant_label, spec_content
from rls_bids.phantom.texts import PARTICIPANT_COLUMNS
from rls_bids.phantom.truth import expected_effects, sphere_points
from rls_bids.resources import load_seeds
from rls_bids.resources.seeds import seed_to_space

NOT_EMPTY = "The output directory {path} exists and is not empty."
NOT_EMPTY_HINT = "Name a new directory, or empty this one."
CANNOT_WRITE = "The output directory {path} cannot be written: {reason}."
CANNOT_WRITE_HINT = "Name a directory on a disk with room where you may write."

HEAD_CENTRE_MM = np.array([0.0, -18.0, 8.0])
GROUP_CODES: dict[Group, int] = {"RLS": 0, "HC": 1}
PERSON, LATENT, SESSION_T1W, SESSION_BOLD, SESSION_FIELDMAP = range(5)


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
    seeds = {seed.name: seed_to_space(seed, STANDARD_SPACE) for seed in load_seeds()}
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


def session_stem(plan: Plan, person: Person, session: int) -> tuple[Path, str]:
    """Folder of a participant's session, and how its file names begin."""
    folder, stem = Path(f"sub-{person.label}"), f"sub-{person.label}"
    if plan.spec.sessions:
        label = plan.spec.sessions[session]
        folder, stem = folder / f"ses-{label}", f"{stem}_ses-{label}"
    return folder, stem


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


def write_json(path: Path, content: object) -> None:
    """Write JSON with an indent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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
        "spec": spec_content(plan.spec),
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


def write_people(
    root: Path,
    plan: Plan,
    model: HeadModel,
    write_session: Callable[[Person, int], None],
    *,
    tell: Callable[[str], None] | None = None,
    n_cpus: int = 1,
) -> None:
    """Write every session of everyone, ``n_cpus`` people at a time, then what holds for all.

    Parameters
    ----------
    root : Path
        The data set.
    plan, model : Plan, HeadModel
        The cohort and its head.
    write_session : callable
        Writes the files of a person's session; it travels to other processes.
    tell : callable, optional
        Called with a line of text after each participant.
    n_cpus : int, optional
        The files do not depend on it.

    Raises
    ------
    CannotWriteError
        The disk is full, or not writable.
    """
    people = []
    jobs = (delayed(_write_person)(plan, model, write_session, *who) for who in plan.members)
    n_jobs = min(n_cpus, len(plan.members))
    try:
        for person in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
            people.append(person)
            if tell is not None:
                tell(f"sub-{person.label} written")
        write_participants(root, people)
        write_cohort_truth(root, plan, model)
    except OSError as error:
        free = shutil.disk_usage(root).free // 10**6
        reason = f"{error.strerror or error}, {free} MB free"
        message = CANNOT_WRITE.format(path=root, reason=reason)
        raise CannotWriteError(message, CANNOT_WRITE_HINT) from error


def _write_person(
    plan: Plan,
    model: HeadModel,
    write_session: Callable[[Person, int], None],
    group: Group,
    index: int,
) -> Person:
    person = make_person(plan, model, group, index)
    for session in range(max(len(plan.spec.sessions), 1)):
        write_session(person, session)
    return person
