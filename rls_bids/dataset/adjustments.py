"""Images as covariates of maps: grey matter of every voxel or of a seed, and the map before.

A comparison of maps has one image of grey matter for every map. Anatomies are shared by sessions
as the participant level shares them; who has no image, or none that can have changed where
sessions are subtracted, leaves the comparison.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rls_bids.dataset import naming
from rls_bids.dataset.description import content_hash, fingerprint, read_json
from rls_bids.dataset.designs import Design
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.model import TOLERANCE, Model
from rls_bids.errors import InputDataError, UsageError, nearest_hint
from rls_bids.records import Compared, GroupInput, Seed
from rls_bids.resources.templates import BASE, NATIVE
from rls_bids.settings import Settings

GREY_MATTER, BASELINE = "grey_matter", "baseline"
VOXEL_COVARIATES = (GREY_MATTER, BASELINE)
NO_VOXELS = {"matrices", "graphs"}
IN_SPACE = ("sphere", "mask")

UNKNOWN = "{where} has {found!r} among the covariates of voxels, but they are {known}."
WITH_VARIANCES = "{where} asks for covariates of voxels together with variance groups."
WITH_VARIANCES_HINT = "Leave one of them out."
NO_IMAGE = "no image of the amount of grey matter (label-GM_desc-modulated_probseg)"
SAME_ANATOMY = "one T1w image serves all sessions of the contrast, so grey matter cannot change"
NOBODY = "No participant can be adjusted for grey matter: {reasons}."
NOBODY_HINT = (
    "Run the participant level on the T1w images; what it takes from --derivatives has no such "
    "image."
)
SAME_HINT = "Grey matter can be a covariate of a change only if each session has a T1w image."
ONE_NUMBER = (
    "{title} tests several numbers together (F), with which covariates of voxels do not go."
)
ONE_NUMBER_HINT = "Test the contrasts one by one."
NO_BASELINE = "{title} subtracts no session, so there is no map before."
NO_BASELINE_HINT = "Compare sessions with --session-contrast, such as 'post > pre'."
NO_REGION = "The region of the seed {seed} is not known: the seeds {members} have no maps."

NO_MAPS = "{flag} is about maps of {kinds}, but --measures asks for {found} only."

EACH_VOXEL = "Covariates of each voxel: {names}."
WORDS = {
    GREY_MATTER: "amount of grey matter (modulated, smoothed as the maps)",
    BASELINE: "map of the sessions that the contrast subtracts",
}
MAPS_ONLY = (
    "Covariates of each voxel are those of maps: means of regions, quality, graphs and matrices "
    "are compared without. Voxels where a covariate is the same in everybody are not tested."
)
EACH_SEED = "Covariate: amount of grey matter in the region of the seed."
SEEDS_ONLY = "Only maps of seeds with a region are adjusted for the grey matter in it."

Rebuild = Callable[[Mapping[str, str]], Design]
"""Builds the design again without some participants, and says why they are out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """Images that are covariates of one comparison of maps.

    ``voxelwise`` are names out of :data:`VOXEL_COVARIATES`. ``images`` show the amount of grey
    matter, one for each map of the design in its order; none where nothing needs them. ``seeds``
    are those whose region (together) is measured in them; none without such a covariate.
    ``words`` say what the null hypothesis is given, beside the columns of the design.
    """

    voxelwise: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] = ()
    words: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a call asks for, and where images of grey matter are."""

    voxelwise: tuple[str, ...]
    is_seed_measured: bool
    root: str
    space: str
    resolution: str


def asked_of(model: Model, settings: Settings) -> Asked:
    """Return what a model and a call ask for.

    Raises
    ------
    UsageError
        A covariate that is not known, variance groups beside one, or no maps that have one.
    """
    where = model.source or "--voxel-covariates"
    for name in model.voxel_covariates:
        if name not in VOXEL_COVARIATES:
            known = " and ".join(VOXEL_COVARIATES)
            raise UsageError(
                UNKNOWN.format(where=where, found=name, known=known),
                nearest_hint(name, VOXEL_COVARIATES),
            )
    if model.voxel_covariates and model.variance_groups:
        raise UsageError(WITH_VARIANCES.format(where=where), WITH_VARIANCES_HINT)
    _check_measures(settings.measures.names, where if model.voxel_covariates else "", settings)
    grid = settings.anat.resolution
    return Asked(
        voxelwise=tuple(dict.fromkeys(model.voxel_covariates)),
        is_seed_measured=settings.group.seed_covariate == GREY_MATTER,
        root=settings.input.output_dir,
        space=settings.anat.space,
        resolution=BASE if grid == NATIVE else grid,  # as the participant level keeps anatomies
    )


def _check_measures(names: Sequence[str], where: str, settings: Settings) -> None:
    """Refuse covariates of maps where no such maps are compared."""
    is_seed = settings.group.seed_covariate != "none"
    for flag, kinds, lacking in (
        (where, "seeds, networks and local measures", set(names) <= NO_VOXELS),
        ("--seed-covariate" if is_seed else "", "seeds", "seed" not in names),
    ):
        if flag and lacking:
            found = ", ".join(names)
            raise UsageError(NO_MAPS.format(flag=flag, kinds=kinds, found=found))


def adjust(
    result: Design, compared: Compared, asked: Asked, rebuild: Rebuild
) -> tuple[Design, Adjustment | None]:
    """Find the images of a comparison of maps, and leave out who has none.

    Parameters
    ----------
    result : Design
    compared : Compared
        Seeds with their members.
    asked : Asked
    rebuild : callable
        Builds the design again without those whom it is given, with the reasons.

    Returns
    -------
    Design
        With remarks on the covariates; tables that are made of it are not adjusted.
    Adjustment or None
        None where the comparison has no such covariates.

    Raises
    ------
    InputDataError
        Several numbers tested together, no session before, nobody with an image.
    """
    seeds = _seeds(compared) if asked.is_seed_measured else ()
    if not (asked.voxelwise or seeds):
        return result, None
    if asked.voxelwise:
        _check_contrast(result, asked.voxelwise)
    stamps: dict[str, str] = {}
    if seeds or GREY_MATTER in asked.voxelwise:
        result, stamps = _with_images(result, asked, rebuild)
    images = tuple(_image_of(one, asked) for one in result.inputs) if stamps else ()
    adjustment = Adjustment(
        voxelwise=asked.voxelwise,
        images=images,
        seeds=seeds,
        words=_words(asked.voxelwise, seeds),
        fingerprint=fingerprint(
            voxelwise=asked.voxelwise,
            images=[stamps[path] for path in images],
            seeds=[(one.kind, one.centre_mm, one.radius_mm, one.mask) for one in seeds],
        ),
    )
    remarks = (*((MAPS_ONLY,) if asked.voxelwise else ()), *((SEEDS_ONLY,) if seeds else ()))
    return replace(result, remarks=(*result.remarks, *remarks)), adjustment


def baseline_weights(responses: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return how the sessions that a contrast subtracts are averaged; none if there are none.

    Examples
    --------
    >>> baseline_weights([[1.0, -0.5, -0.5]]), baseline_weights([[0.5, 0.5]])
    ((0.0, 0.5, 0.5), ())
    """
    below = [max(-weight, 0.0) for weight in responses[0]]
    whole = sum(below)
    return tuple(weight / whole for weight in below) if whole > TOLERANCE else ()


def _seeds(compared: Compared) -> tuple[Seed, ...]:
    """Return the seeds whose regions are measured; none for what has no region."""
    if not compared.seeds or compared.seeds[-1].kind == "network":
        return ()
    own = compared.seeds[-1]
    found = tuple(one for one in compared.seeds if one.kind in IN_SPACE)
    if own.kind == "mean" and {one.name for one in found} < set(own.members):
        lacking = ", ".join(sorted(set(own.members) - {one.name for one in found}))
        raise InputDataError(NO_REGION.format(seed=own.name, members=lacking))
    return found


def _check_contrast(result: Design, names: Sequence[str]) -> None:
    """Refuse contrasts that covariates of voxels do not go with."""
    if len(result.contrasts) > 1 or len(result.responses) > 1:
        raise InputDataError(ONE_NUMBER.format(title=result.title), ONE_NUMBER_HINT)
    if BASELINE in names and not baseline_weights(result.responses):
        raise InputDataError(NO_BASELINE.format(title=result.title), NO_BASELINE_HINT)


def _with_images(result: Design, asked: Asked, rebuild: Rebuild) -> tuple[Design, dict[str, str]]:
    """Leave out who cannot be adjusted; return the fingerprints of the images, too."""
    out = _lacking(result, asked)
    if len(out) == len(result.design):
        reasons = dict.fromkeys(out.values())
        hint = NOBODY_HINT if NO_IMAGE in reasons else SAME_HINT
        raise InputDataError(NOBODY.format(reasons="; ".join(reasons)), hint)
    kept = rebuild(out) if out else result
    return kept, {path: _stamp(path) for path in {_image_of(one, asked) for one in kept.inputs}}


def _lacking(result: Design, asked: Asked) -> dict[str, str]:
    """Return who has no image for a map, or one image where the contrast is of a change."""
    n = len(result.responses[0])
    out = {}
    for start in range(0, len(result.inputs), n):
        row = result.inputs[start : start + n]
        paths = [_image_of(one, asked) for one in row]
        if not all(paths):
            out[row[0].participant] = NO_IMAGE
        elif any(_cancels(paths, weights) for weights in result.responses):
            out[row[0].participant] = SAME_ANATOMY
    return out


def _cancels(paths: Sequence[str], weights: Sequence[float]) -> bool:
    """Whether each image is subtracted from itself."""
    left: dict[str, float] = defaultdict(float)
    for path, weight in zip(paths, weights, strict=True):
        left[path] += weight
    return all(abs(weight) < TOLERANCE for weight in left.values())


def _image_of(one: GroupInput, asked: Asked) -> str:
    """Return the image of the anatomy that a session used, empty where there is none.

    That is the session's own, else the one without a session, else that of the first session.
    """
    folder = Path(asked.root, f"sub-{one.participant}")
    others = sorted((each.name for each in folder.glob("ses-*")), key=natural_key)
    sessions = [one.session, None, *(name.removeprefix("ses-") for name in others)]
    grid = {"space": asked.space, "res": asked.resolution, "label": "GM"}
    for session in sessions:
        path = Path(asked.root, naming.derivative("modulated", one.participant, session, **grid))
        if path.is_file():
            return str(path)
    return ""


def _stamp(path: str) -> str:
    told = read_json(Path(naming.sidecar(path)))
    return str(told.get("Fingerprint") or content_hash(path))


def _words(voxelwise: Sequence[str], seeds: Sequence[Seed]) -> str:
    """Return sentences that name the covariates."""
    listed = "; ".join(WORDS[name] for name in voxelwise)
    words = [EACH_VOXEL.format(names=listed)] if voxelwise else []
    return " ".join(words + ([EACH_SEED] if seeds else []))
