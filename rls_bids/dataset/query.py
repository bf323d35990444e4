"""What is there: raw data sets into records, and our own results into the inputs of a group.

The only file that knows pybids. It indexes file names alone, and of the requested participants
alone; metadata are read per run, so that one broken JSON file costs one run.
"""

import logging
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rls_bids.dataset.description import content_hash, read_json
from rls_bids.dataset.filters import (
    BidsFile,
    Query,
    Selection,
    apply_queries,
    bids_file,
    default_queries,
    natural_key,
    read_filters,
    together,
)
from rls_bids.dataset.naming import parse
from rls_bids.dataset.raw import STEPS, Request, participant_record
from rls_bids.dataset.results import GroupMaps, group_maps, select_maps
from rls_bids.errors import InputDataError, UsageError
from rls_bids.records import Participant
from rls_bids.settings import BoldSettings, InputSettings

LOGGER = logging.getLogger(__name__)

NO_DIRECTORY = "{path} is not a directory."
NOT_BIDS = "{path} is not a BIDS data set: it has no {missing}."
IS_DERIVATIVE = "{path} is a derivative data set, but raw data were expected."
UNKNOWN_LABEL = "{flag}: {unknown} is not in the data set."
UNKNOWN_LABEL_HINT = "There are: {known}."
NOBODY_LEFT = "--exclude-participant-label leaves no participant."
NONE_OF_KIND = "{path} has no {kind} image for the requested participants."
NONE_LEFT = "No {kind} image is left of {n_files}: {steps}."
NONE_LEFT_HINT = "Tasks in the data set: {tasks}."
OTHER_DATABASE = "{path} is a database of {found}, not of {expected}."
NO_RESULTS = "{path} holds no combined seed maps of the participant level."
NO_RESULTS_HINT = "Run `rls_bids BIDS_DIR OUTPUT_DIR participant` first."

_ALL_LABELS = 12
_NO_MAPS = (
    r"^/(group|logs|multiverse|\.)|/(anat|figures|log)(/|$)"
    r"|\.(html|tsv|txt|h5|svg|png|toml|md|bib)$"
)
_OUTSIDE = r"^/(code|derivatives|models|sourcedata|stimuli|\.)"


def index_participants(
    input_settings: InputSettings,
    bold: BoldSettings,
    *,
    anat_only: bool = False,
    hash_content: bool = True,
) -> tuple[Participant, ...]:
    """Find the images of the requested participants and check what can be checked beforehand.

    Parameters
    ----------
    input_settings : InputSettings
        Folder, labels and filter file. An entity in the filter file replaces the flag for it.
    bold : BoldSettings
        Dummy scans count against the least number of volumes; an ignored slice timing is left out.
    anat_only : bool
        Do not ask for BOLD images.
    hash_content : bool
        Whether to read all bytes for ``content``; without, it is empty (a dry run).

    Returns
    -------
    tuple of Participant
        In the order of their labels. Who cannot be processed has no sessions and a note with an
        exit status.

    Raises
    ------
    InputDataError
        No directory, not a raw BIDS data set, or no T1w or BOLD image at all.
    UsageError
        Unknown labels or filters, or filters that leave nothing (with what each removed).
    """
    root = input_settings.bids_dir
    _check_root(root)
    labels = _requested_labels(input_settings)
    files, sidecars = _index_raw(root, labels, input_settings.bids_database_dir)
    _check_sessions(files, input_settings.session_labels)
    request = _request(input_settings, bold, hash_content=hash_content)
    own: dict[str, list[BidsFile]] = {label: [] for label in labels}
    for file in files:
        own[file.entities["sub"]].append(file)
    t1w = {label: apply_queries(found, request.t1w) for label, found in own.items()}
    runs = {label: apply_queries(found, request.bold) for label, found in own.items()}
    _check_something_left("T1w", root, list(t1w.values()), files)
    if not anat_only:
        _check_something_left("BOLD", root, list(runs.values()), files)
    return tuple(
        participant_record(
            label, t1w[label], None if anat_only else runs[label], own[label], sidecars, request
        )
        for label in labels
    )


def _check_root(root: str) -> None:
    if not Path(root).is_dir():
        raise InputDataError(NO_DIRECTORY.format(path=root))
    if not (Path(root) / "dataset_description.json").is_file():
        raise InputDataError(NOT_BIDS.format(path=root, missing="dataset_description.json"))
    description = read_json(Path(root) / "dataset_description.json")
    if description.get("DatasetType") == "derivative":
        raise InputDataError(IS_DERIVATIVE.format(path=root))


def _requested_labels(input_settings: InputSettings) -> tuple[str, ...]:
    """Return the labels to work on, after checking that all that were named exist."""
    folders = Path(input_settings.bids_dir).glob("sub-*")
    known = [folder.name.removeprefix("sub-") for folder in folders if folder.is_dir()]
    known.sort(key=natural_key)
    if not known:
        raise InputDataError(NOT_BIDS.format(path=input_settings.bids_dir, missing="sub- folder"))
    wanted = input_settings.participant_labels
    excluded = input_settings.exclude_participant_labels
    _check_labels("--participant-label", "sub-", wanted, known)
    _check_labels("--exclude-participant-label", "sub-", excluded, known)
    left = tuple(label for label in known if label in (wanted or known) and label not in excluded)
    if not left:
        raise UsageError(NOBODY_LEFT)
    return left


def _check_labels(flag: str, prefix: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [f"{prefix}{label}" for label in wanted if label not in known]
    if not unknown:
        return
    listed = ", ".join(f"{prefix}{label}" for label in known[:_ALL_LABELS])
    more = "" if len(known) <= _ALL_LABELS else f" and {len(known) - _ALL_LABELS} more"
    message = UNKNOWN_LABEL.format(flag=flag, unknown=", ".join(unknown))
    raise UsageError(message, UNKNOWN_LABEL_HINT.format(known=(listed or "none") + more))


def _check_sessions(files: Sequence[BidsFile], wanted: Sequence[str]) -> None:
    known = sorted({file.entities["ses"] for file in files if "ses" in file.entities})
    _check_labels("--session-label", "ses-", wanted, known)


def _index_raw(
    root: str, labels: Sequence[str], database: str | None
) -> tuple[list[BidsFile], dict[str, list[BidsFile]]]:
    """Return the participants' files, and JSON files by folder.

    A database holds all participants, so that it can serve every later request.
    """
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    others = [] if database else [_others(labels)]
    indexer = BIDSLayoutIndexer(
        validate=False, index_metadata=False, ignore=[re.compile(_OUTSIDE), *others]
    )
    layout = BIDSLayout(root, validate=False, indexer=indexer, database_path=database)
    if Path(layout.root).resolve() != Path(root).resolve():
        raise UsageError(OTHER_DATABASE.format(path=database, found=layout.root, expected=root))
    files = [bids_file(path) for path in layout.get(return_type="filename")]
    _close(layout)
    sidecars: dict[str, list[BidsFile]] = {}
    for file in files:
        if file.entities["extension"] == ".json":
            sidecars.setdefault(str(Path(file.path).parent), []).append(file)
    return [file for file in files if file.entities.get("sub") in labels], sidecars


def _close(layout: Any) -> None:  # noqa: ANN401 - pybids has no types
    """Close the database of a layout, which nobody else does."""
    layout.connection_manager.session.close()
    layout.connection_manager.engine.dispose()


def _others(labels: Sequence[str]) -> "re.Pattern[str]":
    """Match the folders of all participants but these."""
    return re.compile(rf"^/sub-(?!(?:{'|'.join(map(re.escape, labels))})(?:/|$))")


def _request(input_settings: InputSettings, bold: BoldSettings, *, hash_content: bool) -> Request:
    """Put defaults, flags and filter file in the order in which they are applied."""
    defaults, filters = default_queries(), read_filters(input_settings.bids_filter_file)
    flags: list[tuple[str, Query]] = [("", defaults["bold"])]
    for name, entity, wanted in (
        ("--session-label", "ses", input_settings.session_labels),
        ("--task-id", "task", input_settings.task_ids),
        ("--run-id", "run", input_settings.run_ids),
    ):
        if wanted and entity not in filters.get("bold", {}):
            flags.append((f"{name} {' '.join(wanted)}", {entity: wanted}))
    t1w: list[tuple[str, Query]] = [("", defaults["t1w"])]
    for query, steps in (("t1w", t1w), ("bold", flags)):
        if query in filters:
            steps.append((f"the query {query} of the filter file", filters[query]))
    return Request(
        bids_dir=input_settings.bids_dir,
        t1w=tuple(t1w),
        bold=tuple(flags),
        session_labels=input_settings.session_labels,
        settings=bold,
        hash_content=content_hash if hash_content else lambda _: "",
    )


def _check_something_left(
    kind: str, root: str, selections: Sequence[Selection], files: Sequence[BidsFile]
) -> None:
    total = together(selections)
    LOGGER.info(STEPS.format(kind=kind, n_files=total.n_files, steps=total.say()))
    if total.files:
        return
    if not total.n_files:
        raise InputDataError(NONE_OF_KIND.format(path=root, kind=kind))
    tasks = sorted({file.entities["task"] for file in files if "task" in file.entities})
    raise UsageError(
        NONE_LEFT.format(kind=kind, n_files=total.n_files, steps=total.say()),
        NONE_LEFT_HINT.format(tasks=", ".join(tasks) or "none") if kind == "BOLD" else "",
    )


def query_group(
    input_settings: InputSettings, *, denoise: str, space: str, resolution: str
) -> GroupMaps:
    """Find the combined Fisher z maps of all participants that a group model can use.

    Parameters
    ----------
    input_settings : InputSettings
        Output folder, labels, sessions and tasks. Of the filter file's query ``bold`` the
        entities ``acq``, ``ce`` and ``rec`` count.
    denoise, space, resolution : str
        Strategy and grid of the maps.

    Raises
    ------
    InputDataError
        There are no maps at all, or a sidecar lacks what a model needs.
    UsageError
        No map fits the request (with what there is), or a participant has several in one session.
    """
    root = input_settings.output_dir
    if not (Path(root) / "dataset_description.json").is_file():
        raise InputDataError(NO_RESULTS.format(path=root), NO_RESULTS_HINT)
    found = [parse(path) for path in _index_own(root)]
    found = [one for one in found if dict(one.entities)["stat"] == "fisherz"]
    found = [one for one in found if "run" not in dict(one.entities)]
    if not found:
        raise InputDataError(NO_RESULTS.format(path=root), NO_RESULTS_HINT)
    return group_maps(root, select_maps(found, input_settings, denoise, (space, resolution)))


def _index_own(root: str) -> list[str]:
    """Return the relative paths of seed maps, those that only a sidecar stands for included."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    indexer = BIDSLayoutIndexer(
        validate=False, index_metadata=False, ignore=[re.compile(_NO_MAPS)]
    )
    own = resources.files("rls_bids.dataset") / "entities.json"
    config = ["bids", "derivatives", str(own)]
    layout = BIDSLayout(root, validate=False, indexer=indexer, config=config)
    listed = layout.get(suffix="statmap", return_type="filename")
    _close(layout)
    maps = (Path(path).relative_to(layout.root).as_posix() for path in listed)
    return sorted({path.replace(".json", ".nii.gz") for path in maps}, key=natural_key)
