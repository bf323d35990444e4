"""What is there: raw data sets into records, and our own results into the inputs of a group.

The only file that knows pybids. It indexes file names alone, and of the requested participants
alone; metadata are read per run, so that one broken JSON file costs one run.
"""

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rls_bids.dataset.description import content_hash
from rls_bids.dataset.filters import (
    BidsFile,
    apply_queries,
    bids_file,
    default_queries,
    natural_key,
    read_filters,
)
from rls_bids.dataset.naming import parse
from rls_bids.dataset.raw import Request, participant_record
from rls_bids.dataset.requests import (
    bold_steps,
    check_root,
    check_sessions,
    check_something_left,
    filter_step,
    requested_labels,
)
from rls_bids.dataset.results import GroupMaps, group_maps, is_compared, select_maps
from rls_bids.errors import InputDataError, UsageError
from rls_bids.records import Participant
from rls_bids.settings import BoldSettings, InputSettings

OTHER_DATABASE = "{path} is a database of {found}, not of {expected}."
NO_RESULTS = "{path} holds no combined seed maps of the participant level."
NO_RESULTS_HINT = "Run `rls_bids BIDS_DIR OUTPUT_DIR participant` first."

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
    check_root(root)
    labels = requested_labels([root], input_settings)
    files, sidecars = _index_raw(root, labels, input_settings.bids_database_dir)
    check_sessions(files, input_settings.session_labels)
    request = _request(input_settings, bold, hash_content=hash_content)
    own: dict[str, list[BidsFile]] = {label: [] for label in labels}
    for file in files:
        own[file.entities["sub"]].append(file)
    t1w = {label: apply_queries(found, request.t1w) for label, found in own.items()}
    runs = {label: apply_queries(found, request.bold) for label, found in own.items()}
    check_something_left("T1w", root, list(t1w.values()), files)
    if not anat_only:
        check_something_left("BOLD", root, list(runs.values()), files)
    return tuple(
        participant_record(
            label, t1w[label], None if anat_only else runs[label], own[label], sidecars, request
        )
        for label in labels
    )


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
    filters = read_filters(input_settings.bids_filter_file)
    return Request(
        bids_dir=input_settings.bids_dir,
        t1w=(("", default_queries()["t1w"]), *filter_step("t1w", filters)),
        bold=bold_steps(input_settings, filters),
        sbref=(("", default_queries()["sbref"]), *filter_step("sbref", filters)),
        fmap=(("", default_queries()["fmap"]), *filter_step("fmap", filters)),
        session_labels=input_settings.session_labels,
        by_session=input_settings.by_session,
        settings=bold,
        hash_content=content_hash if hash_content else lambda _: "",
    )


def query_group(
    input_settings: InputSettings, *, denoise: str, space: str, resolution: str
) -> GroupMaps:
    """Find the combined maps and matrices of all participants that a group model can use.

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
    found = [one for one in found if is_compared(one)]
    if not found:
        raise InputDataError(NO_RESULTS.format(path=root), NO_RESULTS_HINT)
    return group_maps(root, select_maps(found, input_settings, denoise, (space, resolution)))


def _index_own(root: str) -> list[str]:
    """Return the relative paths of maps and matrices; a sidecar may stand for one."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    indexer = BIDSLayoutIndexer(
        validate=False, index_metadata=False, ignore=[re.compile(_NO_MAPS)]
    )
    own = resources.files("rls_bids.dataset") / "entities.json"
    config = ["bids", "derivatives", str(own)]
    layout = BIDSLayout(root, validate=False, indexer=indexer, config=config)
    listed = layout.get(suffix=["statmap", "boldmap", "relmat"], return_type="filename")
    _close(layout)
    found = (Path(path).relative_to(layout.root).as_posix() for path in listed)
    # Tables are not indexed: the sidecar stands for a matrix.
    return sorted(
        {path.replace(".json", ".tsv" if "_relmat." in path else ".nii.gz") for path in found},
        key=natural_key,
    )
