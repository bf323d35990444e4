"""Tables of the raw data set: participants.tsv, sessions.tsv and scans.tsv as variables."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.errors import InputDataError

if TYPE_CHECKING:
    import pandas as pd

NO_TABLE = "{path} does not exist, but the group level takes groups and covariates from it."
NOT_A_TABLE = "{path} cannot be read as a table ({reason})."
SURPLUS = "its rows have more values than the header has columns"
NO_ID_COLUMN = "{path} has no column {name}; it has {columns}."
TWICE = "{path} lists {who} more than once."
BAD_TIME = "{path} has the acquisition time {found!r}; expected a date and time like {example}."

ACQUIRED, ACQUIRED_HOUR = "acq_time", "acq_hour"
TIME_EXAMPLE = "2026-03-01T21:30:00"

Values = Mapping[tuple[str, str], Mapping[str, str]]
"""Values by (participant, session) and variable; missing ones are left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tables:
    """What the raw data set says of participants (a row each) and of their sessions."""

    participants: "pd.DataFrame"
    sessions: Values = field(default_factory=dict)

    @property
    def of_sessions(self) -> frozenset[str]:
        """Variables that are told of sessions."""
        return frozenset(name for values in self.sessions.values() for name in values)


def read_participants(bids_dir: str | Path) -> "pd.DataFrame":
    """Read participants.tsv.

    Returns
    -------
    DataFrame
        Texts, missing values as NaN, indexed by the label without ``sub-``.

    Raises
    ------
    InputDataError
        No such file, no ``participant_id``, or a participant twice.
    """
    path = Path(bids_dir) / "participants.tsv"
    if not path.is_file():
        raise InputDataError(NO_TABLE.format(path=path))
    table = _read(path, "participant_id")
    table.index = table.index.str.removeprefix("sub-").rename("participant")
    _check_once(path, table)
    return table


def read_tables(bids_dir: str | Path, task: str = "rest") -> Tables:
    """Read participants.tsv, and what sessions.tsv and scans.tsv of each participant say.

    Parameters
    ----------
    bids_dir : str or Path
        The raw data set.
    task : str
        Whose BOLD runs count in scans.tsv: numbers are averaged over the runs of a session, of
        ``acq_time`` the hour of the day becomes ``acq_hour``.

    Raises
    ------
    InputDataError
        As :func:`read_participants`; a table that cannot be read, a session twice, a time that
        is none.
    """
    participants = read_participants(bids_dir)
    values: dict[tuple[str, str], dict[str, str]] = {}
    for label in participants.index:
        folder = Path(bids_dir) / f"sub-{label}"
        path = folder / f"sub-{label}_sessions.tsv"
        if path.is_file():
            for session, row in _read_sessions(path).items():
                values.setdefault((label, session), {}).update(row)
        for path in sorted([*folder.glob("*_scans.tsv"), *folder.glob("ses-*/*_scans.tsv")]):
            found = re.search(r"_ses-([A-Za-z0-9+]+)_", path.name)
            row = _read_scans(path, task)
            values.setdefault((label, found[1] if found else ""), {}).update(row)
    return Tables(participants=participants, sessions=values)


def _read(path: Path, key: str) -> "pd.DataFrame":
    """Read a table of texts, indexed by its key column."""
    import pandas as pd

    try:
        table = pd.read_csv(
            path,
            sep="\t",
            dtype=str,
            na_values=["n/a", ""],
            keep_default_na=False,
            encoding="utf-8-sig",
        )
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputDataError(NOT_A_TABLE.format(path=path, reason=reason)) from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes surplus values at the start of rows for an index, and so shifts columns.
        raise InputDataError(NOT_A_TABLE.format(path=path, reason=SURPLUS))
    table.columns = [str(column).strip() for column in table.columns]
    if key not in table:
        columns = ", ".join(table.columns)
        raise InputDataError(NO_ID_COLUMN.format(path=path, name=key, columns=columns))
    table = table.dropna(subset=[key]).apply(lambda column: column.str.strip())
    return table.set_index(key)


def _check_once(path: Path, table: "pd.DataFrame") -> None:
    if not table.index.is_unique:
        twice = ", ".join(sorted(set(table.index[table.index.duplicated()])))
        raise InputDataError(TWICE.format(path=path, who=twice))


def _read_sessions(path: Path) -> dict[str, dict[str, str]]:
    table = _read(path, "session_id")
    table.index = table.index.str.removeprefix("ses-")
    _check_once(path, table)
    return {session: _present(row) for session, row in table.to_dict("index").items()}


def _present(row: Mapping[Any, Any]) -> dict[str, str]:
    """Leave missing values out."""
    return {str(name): value for name, value in row.items() if isinstance(value, str)}


def _read_scans(path: Path, task: str) -> dict[str, str]:
    """Return one value a variable: the mean of numbers, or the word that all runs have."""
    table = _read(path, "filename")
    is_run = table.index.str.contains(rf"_task-{re.escape(task)}_.*bold\.nii", regex=True)
    rows = [_present(row) for row in table[is_run].to_dict("records")]
    found: dict[str, str] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        texts = [row[name] for row in rows if name in row]
        if name == ACQUIRED:
            found[ACQUIRED_HOUR] = f"{_mean([_hour(path, text) for text in texts]):.6g}"
        elif all(number_of(text) is not None for text in texts):
            found[name] = f"{_mean([float(text) for text in texts]):.10g}"
        elif len(set(texts)) == 1:
            found[name] = texts[0]
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _hour(path: Path, text: str) -> float:
    """Return the hour of the day, with its fraction."""
    found = re.search(r"T(\d{2}):(\d{2})(?::(\d{2}))?", text)
    if not found:
        message = BAD_TIME.format(path=path, found=text, example=TIME_EXAMPLE)
        raise InputDataError(message)
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours + minutes / 60 + seconds / 3600


def number_of(value: object) -> float | None:
    """Return a number that is told as text, or None.

    Examples
    --------
    >>> number_of("4.5"), number_of("F"), number_of(None)
    (4.5, None, None)
    """
    if not isinstance(value, str | float | int):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def is_missing(value: object) -> bool:
    """Whether a value says nothing: missing, not a number, infinite.

    Examples
    --------
    >>> is_missing(None), is_missing(float("nan")), is_missing("inf"), is_missing("n")
    (True, True, True, False)
    """
    if value is None or str(value).strip().casefold() in ("", "nan", "n/a"):
        return True
    number = number_of(value)
    return number is not None and not math.isfinite(number)


def first_missing(values: Mapping[str, object], names: Iterable[str]) -> str:
    """Return the first variable that has no value, or nothing."""
    return next((name for name in names if is_missing(values.get(name))), "")
