"""What was asked for, against what there is: labels that exist, filters that leave something."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from rls_bids.dataset.description import check_fetched, read_json
from rls_bids.dataset.filters import (
    BidsFile,
    Query,
    Selection,
    default_queries,
    natural_key,
    together,
)
from rls_bids.errors import InputDataError, UsageError
from rls_bids.settings import InputSettings

LOGGER = logging.getLogger(__name__)

NO_DIRECTORY = "{path} is not a directory."
IS_DERIVATIVE = "{path} is a derivative data set, but raw data were expected."
IS_DERIVATIVE_HINT = "To start from it, name it with --derivatives."
NOT_BIDS = "{path} is not a BIDS data set: it has no {missing}."
UNKNOWN_LABEL = "{flag}: {unknown} is not in the data set."
UNKNOWN_LABEL_HINT = "There are: {known}."
NOBODY_LEFT = "--exclude-participant-label leaves no participant."
NONE_OF_KIND = "{path} has no {kind} image for the requested participants."
NONE_LEFT = "No {kind} image is left of {n_files}: {steps}."
NONE_LEFT_HINT = "Tasks in the data set: {tasks}."
STEPS = "{kind}: {n_files} found, {steps}"

_ALL_LABELS = 12


def check_root(root: str, *, must_be_raw: bool = True) -> None:
    """Raise :class:`~rls_bids.errors.InputDataError` when a folder is no (raw) BIDS data set.

    Its tables at the top must be there themselves, and not as pointers to their content.
    """
    if not Path(root).is_dir():
        raise InputDataError(NO_DIRECTORY.format(path=root))
    for name in ("dataset_description.json", "participants.tsv"):
        path = Path(root, name)
        if path.is_symlink() or path.is_file():
            check_fetched(path)
    if not (Path(root) / "dataset_description.json").is_file():
        raise InputDataError(NOT_BIDS.format(path=root, missing="dataset_description.json"))
    description = read_json(Path(root) / "dataset_description.json")
    if must_be_raw and description.get("DatasetType") == "derivative":
        raise InputDataError(IS_DERIVATIVE.format(path=root), IS_DERIVATIVE_HINT)


def requested_labels(roots: Sequence[str], input_settings: InputSettings) -> tuple[str, ...]:
    """Return the labels to work on, after checking that all that were named exist.

    Raises
    ------
    InputDataError
        No folder has a ``sub-`` folder.
    UsageError
        A label is unknown, or nobody is left.
    """
    folders = [folder for root in roots for folder in Path(root).glob("sub-*")]
    found = {folder.name.removeprefix("sub-") for folder in folders if folder.is_dir()}
    known = sorted(found, key=natural_key)
    if not known:
        path = ", ".join(roots)
        raise InputDataError(NOT_BIDS.format(path=path, missing="sub- folder"))
    wanted = input_settings.participant_labels
    excluded = input_settings.exclude_participant_labels
    _check_labels("--participant-label", "sub-", wanted, known)
    _check_labels("--exclude-participant-label", "sub-", excluded, known)
    left = tuple(label for label in known if label in (wanted or known) and label not in excluded)
    if not left:
        raise UsageError(NOBODY_LEFT)
    return left


def check_sessions(files: Iterable[BidsFile], wanted: Sequence[str]) -> None:
    """Refuse sessions that no file is of."""
    known = sorted({file.entities["ses"] for file in files if "ses" in file.entities})
    _check_labels("--session-label", "ses-", wanted, known)


def _check_labels(flag: str, prefix: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [f"{prefix}{label}" for label in wanted if label not in known]
    if not unknown:
        return
    listed = ", ".join(f"{prefix}{label}" for label in known[:_ALL_LABELS])
    more = "" if len(known) <= _ALL_LABELS else f" and {len(known) - _ALL_LABELS} more"
    message = UNKNOWN_LABEL.format(flag=flag, unknown=", ".join(unknown))
    raise UsageError(message, UNKNOWN_LABEL_HINT.format(known=(listed or "none") + more))


def bold_steps(
    input_settings: InputSettings, filters: dict[str, Query]
) -> tuple[tuple[str, Query], ...]:
    """Return defaults, flags and the filter file's query, in the order in which they apply.

    An entity in the filter file replaces the flag for it.
    """
    steps: list[tuple[str, Query]] = [("", default_queries()["bold"])]
    for name, entity, wanted in (
        ("--session-label", "ses", input_settings.session_labels),
        ("--task-id", "task", input_settings.task_ids),
        ("--run-id", "run", input_settings.run_ids),
    ):
        if wanted and entity not in filters.get("bold", {}):
            steps.append((f"{name} {' '.join(wanted)}", {entity: wanted}))
    return (*steps, *filter_step("bold", filters))


def filter_step(query: str, filters: dict[str, Query]) -> tuple[tuple[str, Query], ...]:
    """Return what the filter file says of a query as a step, if it says anything."""
    if query not in filters:
        return ()
    return ((f"the query {query} of the filter file", filters[query]),)


def check_something_left(
    kind: str, root: str, selections: Sequence[Selection], files: Iterable[BidsFile]
) -> None:
    """Log what each filter kept of all participants' images; refuse to go on with none.

    Raises
    ------
    InputDataError
        There never was any.
    UsageError
        The filters removed all (with what each removed).
    """
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
