"""One participant's files into records: runs and anatomies checked, chosen and grouped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rls_bids.dataset import checks
from rls_bids.dataset.acquired import longest_edge
from rls_bids.dataset.anatomies import choose_anatomies
from rls_bids.dataset.description import fingerprint, read_json
from rls_bids.dataset.echoes import group_echoes, order_echoes
from rls_bids.dataset.fieldmaps import (
    OTHER_AXES,
    fieldmap_files,
    find_fieldmap,
    have_same_axes,
)
from rls_bids.dataset.filters import (
    IMAGES,
    BidsFile,
    Query,
    Selection,
    apply_queries,
    natural_key,
    select,
)
from rls_bids.dataset.products import RUN_ENTITIES
from rls_bids.dataset.requests import STEPS
from rls_bids.dataset.start import volumes_to_drop
from rls_bids.errors import InputDataError
from rls_bids.records import (
    Anatomy,
    BoldRun,
    FieldMap,
    Note,
    Participant,
    PreparedAnatomy,
    PreparedRun,
    Session,
)
from rls_bids.settings import BoldSettings

NOTHING_FOR_ONE = "sub-{participant} has no {kind} image that can be used ({steps})."
NO_TASK = "{path} has no task- in its name."
PHASE = "{path} is a phase image and is left out."

_NOT_IN_NAME = ("datatype", "extension")
_SAME_KIND = ("ses", "task", "acq", "ce", "rec")
_USED_METADATA = ("RepetitionTime", "SliceTiming", "SliceEncodingDirection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for, with queries ready to be applied one after the other."""

    bids_dir: str
    t1w: tuple[tuple[str, Query], ...]
    bold: tuple[tuple[str, Query], ...]
    sbref: tuple[tuple[str, Query], ...]
    fmap: tuple[tuple[str, Query], ...]
    session_labels: tuple[str, ...]
    by_session: bool
    settings: BoldSettings
    hash_content: Callable[[str], str]


def participant_record(
    label: str,
    t1w: Selection,
    bold: Selection | None,
    files: Sequence[BidsFile],
    sidecars: Mapping[str, Sequence[BidsFile]],
    request: Request,
) -> Participant:
    """Turn one participant's files into records.

    Parameters
    ----------
    label : str
        The participant.
    t1w, bold : Selection
        The images that the filters left; ``None`` when BOLD images are not wanted.
    files : sequence of BidsFile
        All files of the participant.
    sidecars : mapping
        JSON files of the data set by folder.
    request : Request
        What was asked for.
    """
    notes = _found_notes(label, t1w, bold, files)
    runs: list[BoldRun] = []
    groups, left_out = group_echoes(bold.files if bold else (), label)
    notes += left_out
    for group in groups:
        run, run_notes = _run(label, group, files, sidecars, request)
        runs += [run] if run else []
        notes += run_notes
    sessions = {run.session for run in runs} or _anatomical_sessions(t1w, request)
    chosen, anatomy_notes = choose_anatomies(
        label, t1w.files, sessions, request.hash_content, own_only=request.by_session
    )
    anatomies = {anatomy.t1w: anatomy for anatomy in chosen.values()}
    grouped = group_runs(label, runs, chosen)
    return Participant(
        label=label,
        anatomies=tuple(anatomies[path] for path in sorted(anatomies, key=natural_key)),
        sessions=grouped,
        notes=tuple(excused(note) if grouped else note for note in (*notes, *anatomy_notes)),
    )


def excused(note: Note) -> Note:
    """Take the exit status from a skipped run of a participant who has another one."""
    return replace(note, exit_status=0) if note.level == "skipped" else note


def _found_notes(
    label: str, t1w: Selection, bold: Selection | None, files: Sequence[BidsFile]
) -> list[Note]:
    """Say what each filter kept, what is left out by kind, and what is not there at all."""
    notes = []
    for kind, selection in (("T1w", t1w), ("BOLD", bold)):
        if selection is None:
            continue
        steps = STEPS.format(kind=kind, n_files=selection.n_files, steps=selection.say())
        if not selection.files:
            message = NOTHING_FOR_ONE.format(participant=label, kind=kind, steps=steps)
            notes.append(checks.note_of(label, "failed", "", message))
        elif selection.steps:
            notes.append(checks.note_of(label, "info", "", steps))
    if bold is not None:
        phases = select(files, {"suffix": ("bold",), "part": ("phase",), "extension": IMAGES})
        notes += [
            checks.note_of(label, "info", one.path, PHASE.format(path=one.path)) for one in phases
        ]
    return notes


def _run(
    label: str,
    group: Sequence[BidsFile],
    files: Sequence[BidsFile],
    sidecars: Mapping[str, Sequence[BidsFile]],
    request: Request,
) -> tuple[BoldRun | None, tuple[Note, ...]]:
    """Check one BOLD series, or the echoes of one, and make its record."""
    path = group[0].path
    if "task" not in group[0].entities:
        return None, (checks.note_of(label, "failed", path, NO_TASK.format(path=path)),)
    try:
        return _usable_run(label, group, files, sidecars, request)
    except InputDataError as error:
        return None, (checks.note_of(label, "failed", path, error.message),)


def _usable_run(
    label: str,
    group: Sequence[BidsFile],
    files: Sequence[BidsFile],
    sidecars: Mapping[str, Sequence[BidsFile]],
    request: Request,
) -> tuple[BoldRun | None, tuple[Note, ...]]:
    """Check header, metadata and the start of a run, and find its field map."""
    told, settings = [_metadata(one, sidecars) for one in group], request.settings
    order, echo_times, refused = order_echoes(group, told, label)
    if refused:
        return None, refused
    echoes = tuple((group[order[rank]].path, time) for rank, time in enumerate(echo_times))
    file, metadata = group[order[0]], told[order[0]]
    facts, notes = checks.check_bold(
        file.path,
        metadata,
        label,
        dummy_scans=settings.dummy_scans or 0,
        use_slice_timing="slicetiming" not in settings.ignore,
    )
    if facts is None:
        return None, notes
    dummy_scans, told_of_start = volumes_to_drop(
        file.path, label, facts.n_volumes, settings.dummy_scans
    )
    notes = (*notes, *told_of_start)
    if dummy_scans is None:
        return None, notes
    fieldmap, sbref, whys = _helpers(file, metadata, files, sidecars, request)
    entities = sorted(
        (name, file.entities[name]) for name in ("task", *RUN_ENTITIES) if name in file.entities
    )
    run = BoldRun(
        participant=label,
        session=file.entities.get("ses"),
        entities=tuple(entities),
        bold=file.path,
        content=_content(file, metadata, echoes, fieldmap, sbref, request),
        voxel_size_mm=longest_edge(checks.read_header(file.path)),
        repetition_time=facts.repetition_time,
        n_volumes=facts.n_volumes,
        slice_timing=facts.slice_timing,
        slice_encoding_direction=facts.slice_encoding_direction,
        dummy_scans=dummy_scans,
        echoes=echoes,
        fieldmap=fieldmap,
        sbref=sbref,
    )
    told_of_helpers = (checks.note_of(label, "warning", file.path, why) for why in whys)
    return run, (*notes, *told_of_helpers)


def _helpers(
    file: BidsFile,
    metadata: Mapping[str, Any],
    files: Sequence[BidsFile],
    sidecars: Mapping[str, Sequence[BidsFile]],
    request: Request,
) -> tuple[FieldMap | None, str | None, list[str]]:
    """Find the field map and the reference of a run, and why those that are there are not used."""
    fieldmap, why_none = _fieldmap(file, metadata, files, sidecars, request)
    sbref, why_no_sbref = _sbref(file, files, request)
    if fieldmap and sbref and not have_same_axes(sbref, file.path):
        sbref, why_no_sbref = None, OTHER_AXES.format(path=sbref, bold=file.path)
    return fieldmap, sbref, [why for why in (why_none, why_no_sbref) if why]


def _sbref(file: BidsFile, files: Sequence[BidsFile], request: Request) -> tuple[str | None, str]:
    """Find the run's single-band reference unless the user leaves it out."""
    if "sbref" in request.settings.ignore:
        return None, ""

    def key(one: BidsFile) -> dict[str, str]:
        without = ("suffix", "extension", "part")
        return {name: label for name, label in one.entities.items() if name not in without}

    for other in apply_queries(files, request.sbref).files:
        if key(other) == key(file):
            return checks.check_sbref(other.path)
    return None, ""


def _content(
    file: BidsFile,
    metadata: Mapping[str, Any],
    echoes: Sequence[tuple[str, float]],
    fieldmap: FieldMap | None,
    sbref: str | None,
    request: Request,
) -> str:
    """Return a hash of the images of a run and of what is used of its metadata."""
    image = request.hash_content(file.path)
    maps = [request.hash_content(path) for path in fieldmap_files(fieldmap)]
    used = {key: metadata.get(key) for key in _USED_METADATA}
    told: dict[str, Any] = {"image": image, "metadata": used}
    if echoes:
        told["echoes"] = [(request.hash_content(path), time) for path, time in echoes]
    told |= {"fieldmap": asdict(fieldmap), "maps": maps} if fieldmap else {}
    told |= {"sbref": request.hash_content(sbref)} if sbref else {}
    return image and fingerprint(**told)


def _fieldmap(
    file: BidsFile,
    metadata: Mapping[str, Any],
    files: Sequence[BidsFile],
    sidecars: Mapping[str, Sequence[BidsFile]],
    request: Request,
) -> tuple[FieldMap | None, str]:
    """Find the run's field map unless the user leaves field maps out."""
    if "fieldmaps" in request.settings.ignore:
        return None, ""
    maps = apply_queries(files, request.fmap).files
    return find_fieldmap(
        file, metadata, maps, lambda other: _metadata(other, sidecars), request.bids_dir
    )


def _metadata(file: BidsFile, sidecars: Mapping[str, Sequence[BidsFile]]) -> dict[str, Any]:
    """Merge the JSON files that apply, from the root of the data set to the file's own folder."""
    folder = Path(file.path).parent
    wanted = set(file.entities.items())
    merged: dict[str, Any] = {}
    for place in reversed((folder, *folder.parents)):
        applying = [
            one
            for one in sidecars.get(str(place), ())
            if {pair for pair in one.entities.items() if pair[0] not in _NOT_IN_NAME} <= wanted
        ]
        for sidecar in sorted(applying, key=lambda one: len(one.entities)):
            merged |= read_json(sidecar.path)
    return merged


def _anatomical_sessions(t1w: Selection, request: Request) -> set[str | None]:
    """Return the sessions with a T1w image, where no BOLD image says which are needed."""
    if request.by_session and request.session_labels:
        return set(request.session_labels)
    own: set[str | None] = {file.entities.get("ses") for file in t1w.files}
    return {session for session in own if session in request.session_labels} or own


def group_runs(
    label: str,
    runs: Sequence[BoldRun] | Sequence[PreparedRun],
    anatomies: Mapping[str | None, Anatomy] | Mapping[str | None, PreparedAnatomy],
) -> tuple[Session, ...]:
    """Group runs that may be combined: same session, task, and kind of acquisition."""

    def kind(run: BoldRun | PreparedRun) -> tuple[str, ...]:
        entities = {"ses": run.session or "", **dict(run.entities)}
        return tuple(entities.get(name, "") for name in _SAME_KIND)

    every: list[BoldRun | PreparedRun] = [*runs]
    return tuple(
        Session(
            participant=label,
            session=group[0].session,
            task=dict(group[0].entities)["task"],
            anatomy=anatomies[group[0].session],
            runs=tuple(group),
        )
        for _, members in groupby(sorted(every, key=kind), key=kind)
        for group in [list(members)]
        if group[0].session in anatomies
    )
