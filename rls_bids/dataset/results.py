"""Our own results as inputs of a group: which maps fit a request, and what their sidecars say."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rls_bids.dataset.description import canonical_json, content_hash, read_json
from rls_bids.dataset.filters import BidsFile, Query, read_filters, select
from rls_bids.dataset.naming import Parsed, camel_label, derivative, sidecar
from rls_bids.errors import InputDataError, UsageError
from rls_bids.measures import MEASURES
from rls_bids.numerics.graph.group import MAX_MISSING
from rls_bids.records import Compared, GroupInput, Seed
from rls_bids.resources.templates import NATIVE
from rls_bids.settings import InputSettings

NO_MAP_FITS = "No seed map fits {wanted}."
NO_MAP_FITS_HINT = "There are: {found}."
TWO_MAPS = "{one} and {other} are of the same session; a group model takes one."
TWO_MAPS_HINT = "Choose acq, ce or rec in the query bold of a --bids-filter-file."
MANY_TASKS = "The maps are of the tasks {tasks}; a group model takes one."
MANY_TASKS_HINT = "Choose with --task-id."
LACKS_NODES = "no values of the nodes {nodes}, which most participants have"
BAD_SIDECAR = "{path} lacks what a group model needs, or it is no number ({reason})."


SEED_MAP, MATRIX = "seed_map", "relmat"
GRAPHED = "pearsoncorrelation"
TANGENT = "tangent"
COMPARED_AS = {
    "pearsoncorrelation": "pearsoncorrelation",
    "partialcorrelation": "partialcorrelation",
    "shrunkencorrelation": TANGENT,
}
"""As which matrices of a group those of a participant are compared."""
MATRIX_WORDS = {
    "pearsoncorrelation": "Pearson correlations of {atlas}",
    "partialcorrelation": "partial correlations of {atlas}",
    TANGENT: "tangent coordinates of {atlas}",
}
SCALES = {
    stat.name: stat.group_scale
    for measure in MEASURES.values()
    for stat in measure.stats
    if stat.is_compared and measure.kind in ("seed", "local")
}
"""The copy by which groups are compared, by the name of a map."""
_GROUP_NAMES = ("task", "space", "res", "denoise")
_PLACE = ("Kind", "CentreMm", "RadiusMm", "Mask", "Members", "Space")
"""What makes a seed the same seed, among what its maps' sidecars say of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMaps:
    """Our own maps by label, and (by label and participant) why a map is missing.

    Labels are those of seeds, the names of local maps in front of which stands ``stat-``, and
    those of atlases after ``seg-``: alone for graphs, with ``_meas-`` for the matrices themselves.
    ``compared`` says what each is, as the sidecars tell; ``task`` is that of all maps.
    ``missing_in`` says it by (participant, session).
    """

    inputs: dict[str, tuple[GroupInput, ...]]
    missing: dict[str, dict[str, str]]
    compared: dict[str, Compared]
    task: str
    missing_in: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)


def select_maps(
    found: Sequence[Parsed], input_settings: InputSettings, denoise: str, grid: tuple[str, str]
) -> list[Parsed]:
    """Return the maps that fit labels, task, strategy and grid (space, resolution).

    Local maps fit on the native grid, whatever the resolution is; matrices have none.

    Raises
    ------
    UsageError
        None fits; the hint says which there are.
    """
    wanted: Query = {
        "sub": input_settings.participant_labels,
        "ses": input_settings.session_labels,
        "task": input_settings.task_ids,
        "denoise": (camel_label(denoise),),
        "space": (grid[0],),
        "res": (grid[1],),
    }
    chosen = read_filters(input_settings.bids_filter_file).get("bold", {})
    wanted |= {name: labels for name, labels in chosen.items() if name in ("acq", "ce", "rec")}
    excluded = input_settings.exclude_participant_labels
    grids: Mapping[str, Query] = {SEED_MAP: {}, MATRIX: {"res": ()}}
    of_local: Query = {"res": (NATIVE,)}
    left = [
        one
        for one in found
        if _fits(one, wanted | grids.get(one.product, of_local))
        and one.participant not in excluded
    ]
    if not left:
        raise UsageError(
            NO_MAP_FITS.format(wanted=_list_wanted(wanted)),
            NO_MAP_FITS_HINT.format(found=_list_found(found)),
        )
    return left


def _fits(one: Parsed, wanted: Query) -> bool:
    entities = dict(one.entities) | {"sub": one.participant or ""}
    if one.session is not None:
        entities["ses"] = one.session
    query = {name: labels for name, labels in wanted.items() if labels}
    return bool(select([BidsFile(path="", entities=entities)], query))


def _list_wanted(wanted: Query) -> str:
    return ", ".join(
        f"{name}-{'|'.join(label or 'none' for label in labels)}"
        for name, labels in wanted.items()
        if labels
    )


def _list_found(found: Sequence[Parsed]) -> str:
    """Return which tasks, strategies and grids there are."""
    named = {
        " ".join(f"{name}-{dict(one.entities).get(name, 'none')}" for name in _GROUP_NAMES)
        for one in found
    }
    return "; ".join(sorted(named))


def group_maps(root: str, found: Sequence[Parsed]) -> GroupMaps:
    """Read the sidecars; one map a participant, session and label."""
    inputs: dict[str, list[GroupInput]] = {}
    missing: dict[str, dict[str, str]] = {}
    compared: dict[str, Compared] = {}
    missing_in: dict[str, dict[tuple[str, str], str]] = {}
    seen: dict[tuple[str, str | None, str], str] = {}
    for one in found:
        participant = one.participant or ""
        path = derivative(one.product, participant, one.session, **dict(one.entities))
        metadata = read_json(Path(root) / sidecar(path))
        for label, what in _compared(one, metadata).items():
            other = seen.setdefault((participant, one.session, label), path)
            if other != path:
                raise UsageError(TWO_MAPS.format(one=other, other=path), TWO_MAPS_HINT)
            compared.setdefault(label, what)
            if (Path(root) / path).is_file():
                inputs.setdefault(label, []).append(_group_input(root, path, one, metadata))
            else:
                reason = str(metadata.get("Missing", "the file is not there"))
                missing.setdefault(label, {})[participant] = reason
                missing_in.setdefault(label, {})[participant, one.session or ""] = reason
    tasks = sorted({dict(one.entities)["task"] for one in found})
    if len(tasks) > 1:
        raise UsageError(MANY_TASKS.format(tasks=", ".join(tasks)), MANY_TASKS_HINT)
    return GroupMaps(
        inputs={label: tuple(maps) for label, maps in inputs.items()},
        missing=missing,
        compared=compared,
        task=tasks[0],
        missing_in=missing_in,
    )


def matrix_label(seg: str, measure: str) -> str:
    """Return the label of the matrices of an atlas.

    Examples
    --------
    >>> matrix_label("AAL3", "tangent")
    'seg-AAL3_meas-tangent'
    """
    return f"seg-{seg}_meas-{measure}"


def matrix_compared(atlas: str, measure: str) -> Compared:
    """Return the record of the matrices of an atlas."""
    name = MATRIX_WORDS[measure].format(atlas=atlas)
    return Compared(name=name, measure=measure, resolution="", atlas=atlas, is_matrix=True)


def is_compared(one: Parsed) -> bool:
    """Whether this is the copy by which groups are compared, over all runs of a session."""
    entities = dict(one.entities)
    if one.product == MATRIX:
        return "run" not in entities and entities["meas"] in COMPARED_AS
    return "run" not in entities and entities.get("desc", "") == SCALES.get(entities["stat"])


def _compared(one: Parsed, metadata: dict[str, Any]) -> dict[str, Compared]:
    """Return what a map or matrix is compared as, by label, as its sidecar tells."""
    entities = dict(one.entities)
    if one.product == MATRIX:
        seg, measure = entities["seg"], COMPARED_AS[entities["meas"]]
        atlas = str(metadata.get("Processing", {}).get("Atlas", seg))
        graphs = Compared(name=f"graphs of {atlas}", measure=GRAPHED, resolution="", atlas=atlas)
        found = {f"seg-{seg}": graphs} if measure == GRAPHED else {}
        return found | {matrix_label(seg, measure): matrix_compared(atlas, measure)}
    shared: dict[str, Any] = {
        "measure": entities["stat"],
        "resolution": entities.get("res", ""),
    }
    if one.product == SEED_MAP:
        seed = _seed(entities["seed"], metadata.get("Seed", {}))
        return {entities["seed"]: Compared(name=seed.name, seeds=(seed,), **shared)}
    scale = entities.get("desc", "")
    return {f"stat-{entities['stat']}": Compared(name=entities["stat"], scale=scale, **shared)}


def _seed(label: str, told: dict[str, Any]) -> Seed:
    """Return the record of a seed as the sidecar of one of its maps tells it."""
    centre, given = told.get("CentreMm"), told.get("GivenCentreMm")
    return Seed(
        name=told.get("Name", label),
        network=told.get("Network", ""),
        kind=told.get("Kind", "mask"),
        centre_mm=(centre[0], centre[1], centre[2]) if centre else None,
        radius_mm=told.get("RadiusMm"),
        mask=told.get("Mask"),
        members=tuple(told.get("Members", ())),
        space=told.get("Space", "unknown"),
        evidence=told.get("SpaceEvidence", ""),
        source=told.get("Source", ""),
        doi=told.get("DOI", ""),
        given_mm=(given[0], given[1], given[2]) if given else None,
        given_space=told.get("GivenSpace", ""),
    )


def _group_input(root: str, path: str, one: Parsed, metadata: dict[str, Any]) -> GroupInput:
    told = metadata.get("Seed", {})
    place = {f"Seed{key}": told[key] for key in _PLACE if key in told}
    try:
        return GroupInput(
            participant=one.participant or "",
            session=one.session,
            path=str(Path(root) / path),
            mean_fd_mm=float(metadata["MeanFramewiseDisplacement"]),
            minutes_kept=float(metadata["MinutesKept"]),
            degrees_of_freedom=int(metadata["DegreesOfFreedom"]),
            size_mm=str(metadata["Processing"]["Resolution"]),
            processing=canonical_json({**metadata["Processing"], **place}),
            fingerprint=metadata.get("Fingerprint") or content_hash(Path(root) / path),
            missing_nodes=tuple(metadata.get("MissingNodes", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        file = Path(root) / sidecar(path)
        raise InputDataError(BAD_SIDECAR.format(path=file, reason=error)) from error


def lacking_nodes(inputs: Sequence[GroupInput]) -> dict[str, str]:
    """Return who lacks a node that is compared, and which.

    A node that more than a tenth misses leaves for all; whoever misses another cannot be compared
    (as :func:`rls_bids.numerics.graph.common_nodes` does it with the matrices themselves).

    Examples
    --------
    >>> shared = {"session": None, "path": "", "mean_fd_mm": 0.1, "minutes_kept": 5.0,
    ...           "degrees_of_freedom": 40, "size_mm": "2", "processing": "{}"}
    >>> inputs = [GroupInput(participant=f"{n}", **shared) for n in range(9)]
    >>> inputs += [GroupInput(participant="9", missing_nodes=("a",), **shared)]
    >>> lacking_nodes(inputs)
    {'9': 'no values of the nodes a, which most participants have'}
    """
    counts = Counter(node for one in inputs for node in set(one.missing_nodes))
    kept = {node for node, n in counts.items() if n <= MAX_MISSING * len(inputs)}
    lacking = {
        one.participant: ", ".join(node for node in one.missing_nodes if node in kept)
        for one in inputs
    }
    return {label: LACKS_NODES.format(nodes=nodes) for label, nodes in lacking.items() if nodes}
