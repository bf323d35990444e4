"""Preprocessed series of other programs into records: found, checked, chosen and grouped."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rls_bids.dataset.acquired import acquired_size
from rls_bids.dataset.checks import note_of
from rls_bids.dataset.derivatives import (
    TISSUES,
    UNKNOWN_GENERATOR,
    DataSet,
    PreparedFiles,
    best_resolution,
    companions,
    files_of,
    find_anatomy,
    find_series,
    open_data_sets,
    run_key,
)
from rls_bids.dataset.description import content_hash, fingerprint
from rls_bids.dataset.filters import BidsFile, Query, Selection, default_queries, read_filters
from rls_bids.dataset.prepared_checks import check_prepared
from rls_bids.dataset.raw import excused, group_runs
from rls_bids.dataset.requests import (
    STEPS,
    bold_steps,
    check_root,
    check_sessions,
    check_something_left,
    requested_labels,
)
from rls_bids.errors import InputDataError
from rls_bids.records import Note, Participant, PreparedAnatomy, PreparedRun
from rls_bids.resources.templates import NATIVE
from rls_bids.settings import Settings

LOGGER = logging.getLogger(__name__)

NOTHING = "sub-{participant} has no preprocessed series in {space} ({steps}){others}."
NOTHING_HINT = (
    "Run fMRIPrep with --output-spaces {space}:res-{resolution}, or choose another space with "
    "--output-spaces here."
)
OTHER_SPACES = "; there are series in {spaces}"
NO_TISSUES = (
    "sub-{participant} has no {missing} in {space}; pictures and tissue fractions that need them "
    "are left out."
)
TAKEN_FROM = "{name} is {root}, made by {generator}."
LATER_WINS = "{used} is used, not {other}: the later of the data sets wins."
NOT_PREPARED = "sub-%s is in the input data set, but not in %s."
NO_VERSION = "{root} does not say which program and version made it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one data set has of one participant: all files, and the series that are wanted."""

    source: DataSet
    files: Sequence[BidsFile]
    series: Selection


def index_prepared(settings: Settings, *, hash_content: bool = True) -> tuple[Participant, ...]:
    """Find the preprocessed series of the requested participants and check them.

    Parameters
    ----------
    settings : Settings
        With ``input.derivatives``; the space, the strategies and the dummy scans count, too.
    hash_content : bool
        Whether to read all bytes for ``content``; without, it is empty (a dry run).

    Returns
    -------
    tuple of Participant
        As :func:`~rls_bids.dataset.query.index_participants` returns them.

    Raises
    ------
    InputDataError
        A folder is missing, or no data set has a preprocessed series at all.
    UsageError
        Unknown labels or filters, or filters that leave nothing.
    """
    check_root(settings.input.bids_dir, must_be_raw=False)
    sources = open_data_sets(settings.input.derivatives)
    labels = _labels(settings, [one.root for one in sources])
    steps = bold_steps(settings.input, read_filters(settings.input.bids_filter_file))
    grid = (settings.anat.space, settings.anat.resolution)
    found: dict[str, list[Found]] = {label: [] for label in labels}
    for source in sources:
        for label in labels:
            files = files_of(source.root, label)
            series = find_series(files, steps, grid)
            found[label].append(Found(source=source, files=files, series=series))
    every = [one for own in found.values() for one in own]
    files = [file for one in every for file in one.files]
    check_sessions(files, settings.input.session_labels)
    roots = ", ".join(source.root for source in sources)
    check_something_left("BOLD", roots, [one.series for one in every], files)
    return tuple(
        _participant(label, own, settings, hash_content=hash_content)
        for label, own in found.items()
    )


def _labels(settings: Settings, roots: Sequence[str]) -> list[str]:
    """Return who was named, else who is in one of the data sets; the others are told."""
    given = settings.input
    asked = requested_labels([*roots, given.bids_dir], given)
    there = [label for label in asked if any(Path(r, f"sub-{label}").is_dir() for r in roots)]
    if given.participant_labels or not there:
        return list(asked)
    for label in asked:
        if label not in there:
            LOGGER.warning(NOT_PREPARED, label, ", ".join(roots))
    return there


def _participant(
    label: str, found: Sequence[Found], settings: Settings, *, hash_content: bool
) -> Participant:
    """Check one participant's runs and make the records."""
    notes = [told for one in found for told in _found_notes(label, one)]
    if not any(one.series.files for one in found):
        notes.append(_nothing(label, found, settings))
    runs: list[PreparedRun] = []
    anatomies: dict[str | None, PreparedAnatomy] = {}
    chosen, later = _choose(label, found)
    notes += later
    filters, defaults = read_filters(settings.input.bids_filter_file), default_queries()
    queries = [defaults[name] | filters.get(name, {}) for name in ("mask", "confounds")]
    for file, one in chosen:
        files = companions(file, one.files, *queries)
        run, checked = check_prepared(
            label,
            files,
            _for_local(file, one.files, files, queries[0]),
            one.source.generator,
            settings,
            voxel_size_mm=acquired_size(file, label, one.files, settings.input.bids_dir),
            hash_content=hash_content,
        )
        notes += checked
        if run is None:
            continue
        runs.append(run)
        if run.session not in anatomies:
            anatomy, told = _anatomy(run, one.files, settings, hash_content=hash_content)
            anatomies[run.session] = anatomy
            notes += told
    sessions = group_runs(label, runs, anatomies)
    return Participant(
        label=label,
        anatomies=tuple(anatomies.values()),
        sessions=sessions,
        notes=tuple(excused(each) if sessions else each for each in notes),
    )


def _for_local(
    file: BidsFile, files: Sequence[BidsFile], main: PreparedFiles, mask: Query
) -> PreparedFiles:
    """Return the files of a run from which local measures come: not finer than acquired, if any.

    Without ``res-`` the program kept the acquired voxel size.
    """
    same = {key: label for key, label in file.entities.items() if key != "res"}
    own = [one for one in files if {k: v for k, v in one.entities.items() if k != "res"} == same]
    (best,) = best_resolution(own, NATIVE)
    found = companions(best, files, mask, {})
    return found if best.entities.get("res") in (None, NATIVE) and found.mask else main


def _choose(label: str, found: Sequence[Found]) -> tuple[list[tuple[BidsFile, Found]], list[Note]]:
    """Take every run from the last data set that has it."""
    chosen: dict[object, tuple[BidsFile, Found]] = {}
    notes = []
    for one in found:
        for file in one.series.files:
            if run_key(file) in chosen:
                other = chosen[run_key(file)][0].path
                message = LATER_WINS.format(used=file.path, other=other)
                notes.append(note_of(label, "info", file.path, message))
            chosen[run_key(file)] = (file, one)
    return list(chosen.values()), notes


def _found_notes(label: str, one: Found) -> Iterator[Note]:
    """Say where the series come from and what each filter kept."""
    root, generator = one.source.root, one.source.generator
    told = TAKEN_FROM.format(name=one.source.name, generator=generator, root=root)
    yield note_of(label, "info", root, told)
    if generator == UNKNOWN_GENERATOR:
        yield note_of(label, "warning", root, NO_VERSION.format(root=root))
    if one.series.files:
        steps = STEPS.format(kind="BOLD", n_files=one.series.n_files, steps=one.series.say())
        yield note_of(label, "info", root, steps)


def _nothing(label: str, found: Sequence[Found], settings: Settings) -> Note:
    """Say that a participant has no series, and in which spaces there are some."""
    space, resolution = settings.anat.space, settings.anat.resolution
    steps = "; ".join(
        STEPS.format(kind=one.source.name, n_files=one.series.n_files, steps=one.series.say())
        for one in found
    )
    bold = [f for one in found for f in one.files if f.entities["suffix"] == "bold"]
    spaces = sorted({f.entities["space"] for f in bold if "space" in f.entities} - {space})
    others = OTHER_SPACES.format(spaces=", ".join(spaces)) if spaces else ""
    message = NOTHING.format(participant=label, space=space, steps=steps, others=others)
    hint = NOTHING_HINT.format(space=space, resolution=resolution)
    return note_of(label, "failed", found[-1].source.root, message, hint)


def _anatomy(
    run: PreparedRun, files: Sequence[BidsFile], settings: Settings, *, hash_content: bool
) -> tuple[PreparedAnatomy, list[Note]]:
    """Return the images of the head in standard space, for pictures and tissue fractions."""
    space = settings.anat.space
    found = find_anatomy(files, run.session, (space, settings.anat.resolution))
    notes = []
    contents = {}
    for what, path in found.items():
        try:
            contents[what] = content_hash(path) if path and hash_content else ""
        except InputDataError as error:
            notes.append(note_of(run.participant, "warning", path, error.message, error.hint))
            found[what] = ""
    missing = [what for what, path in found.items() if not path]
    if missing:
        message = NO_TISSUES.format(
            participant=run.participant, missing=", ".join(missing), space=space
        )
        notes.append(note_of(run.participant, "warning", str(Path(run.bold).parent), message))
    tissues = tuple(found[tissue] for tissue in TISSUES)
    anatomy = PreparedAnatomy(
        participant=run.participant,
        session=run.session,
        t1w=found["t1w"],
        tissues=tissues if all(tissues) else (),
        content=fingerprint(images=contents) if hash_content else "",
        generator=run.generator,
    )
    return anatomy, notes
