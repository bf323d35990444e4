"""The echoes of one run: which files belong together, and whether they can be combined."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rls_bids.dataset.checks import note_of, read_header
from rls_bids.dataset.filters import BidsFile
from rls_bids.records import Note

LONGEST_ECHO_TIME_S = 1.0

ONE_ECHO = "{path} is the only echo of its run that was found, but two or more are combined."
ONE_ECHO_HINT = "Give all echoes, or let the filter file take a series without echo- in its name."
NO_ECHO_TIME = "{path} has no EchoTime in its metadata, which is needed to combine echoes."
BAD_ECHO_TIME = "{path}: EchoTime is {found!r}, but seconds (0 to 1) were expected."
SAME_ECHO_TIME = "{path} has the same EchoTime as {other}, another echo of the run."
ECHO_TIME_HINT = "Correct EchoTime (in seconds) in the JSON files of the echoes."
OTHER_GRID = "{path} has the shape {shape}, but {other}, another echo of the run, has {expected}."
OTHER_PLACE = "{path} lies elsewhere than {other}, another echo of the run."
OTHER_KEY = "{path} has another {key} than {other}, another echo of the run."
COMBINED_TOO = "{path} is left out: its run has separate echoes, which are combined instead."

_SHARED = ("RepetitionTime", "SliceTiming", "SliceEncodingDirection")
_TOLERANCE_MM = 1e-3

Metadata = Mapping[str, Any]


def group_echoes(
    files: Sequence[BidsFile], participant: str
) -> tuple[list[tuple[BidsFile, ...]], list[Note]]:
    """Put the echoes of one run together; a series without ``echo-`` is a group of its own.

    Where a run has echoes, a series without ``echo-`` (their combination by the scanner) is left
    out with a note.
    """
    groups: dict[tuple[tuple[str, str], ...], list[BidsFile]] = {}
    combined: dict[tuple[tuple[str, str], ...], BidsFile] = {}
    for file in files:
        key = tuple(sorted(pair for pair in file.entities.items() if pair[0] != "echo"))
        if "echo" not in file.entities:
            combined[key] = file
        groups.setdefault(key, []).append(file)
    notes = []
    for key, file in combined.items():
        if len(groups[key]) > 1:
            groups[key].remove(file)
            message = COMBINED_TOO.format(path=file.path)
            notes.append(note_of(participant, "info", file.path, message))
    return [tuple(group) for group in groups.values()], notes


def order_echoes(
    group: Sequence[BidsFile], metadata: Sequence[Metadata], participant: str
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[Note, ...]]:
    """Return the order of a run's files by echo time, the shortest first, or why it is refused.

    Parameters
    ----------
    group : sequence of BidsFile
        The echoes of one run, or one series without ``echo-``.
    metadata : sequence of mappings
        Of each file, with inheritance applied.
    participant : str
        Label, for the note.

    Returns
    -------
    order : tuple of int
        Positions in ``group``; empty when the run is refused.
    echo_times_s : tuple of float
        In this order; empty for a series without ``echo-``.
    notes : tuple of Note

    Raises
    ------
    InputDataError
        The header of an echo cannot be read.
    """
    if "echo" not in group[0].entities:
        return (0,), (), ()
    if len(group) == 1:
        path = group[0].path
        message = ONE_ECHO.format(path=path)
        return (), (), (note_of(participant, "skipped", path, message, ONE_ECHO_HINT),)
    problem = _echo_time_problem(group, metadata)
    order = () if problem else sorted(range(len(group)), key=lambda i: metadata[i]["EchoTime"])
    problem = problem or unequal_echoes(
        [group[i].path for i in order], [metadata[i] for i in order]
    )
    if problem:
        return (), (), (note_of(participant, "failed", *problem),)
    return tuple(order), tuple(float(metadata[i]["EchoTime"]) for i in order), ()


def _echo_time_problem(
    group: Sequence[BidsFile], metadata: Sequence[Metadata]
) -> tuple[str, str, str] | None:
    """Return path, message and hint when an echo time is missing or cannot be true."""
    seen: dict[float, str] = {}
    for path, found in ((f.path, m.get("EchoTime")) for f, m in zip(group, metadata, strict=True)):
        if found is None:
            return path, NO_ECHO_TIME.format(path=path), ECHO_TIME_HINT
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number or not 0 < found < LONGEST_ECHO_TIME_S:
            return path, BAD_ECHO_TIME.format(path=path, found=found), ECHO_TIME_HINT
        if found in seen:
            return path, SAME_ECHO_TIME.format(path=path, other=seen[found]), ECHO_TIME_HINT
        seen[found] = path
    return None


def unequal_echoes(
    paths: Sequence[str], metadata: Sequence[Metadata]
) -> tuple[str, str, str] | None:
    """Return path, message and hint of an echo that does not fit the first one.

    Raises
    ------
    InputDataError
        A header cannot be read.
    """
    headers = [read_header(path) for path in paths]
    for path, header, told in list(zip(paths, headers, metadata, strict=True))[1:]:
        words: dict[str, Any] = {"path": path, "other": paths[0]}
        if header.shape != headers[0].shape:
            shapes = {"shape": header.shape, "expected": headers[0].shape}
            return path, OTHER_GRID.format(**words, **shapes), ""
        if not np.allclose(header.affine, headers[0].affine, atol=_TOLERANCE_MM):
            return path, OTHER_PLACE.format(**words), ""
        for key in _SHARED:
            if told.get(key) != metadata[0].get(key):
                return path, OTHER_KEY.format(**words, key=key), ""
    return None
