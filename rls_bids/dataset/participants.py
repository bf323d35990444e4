"""participants.tsv and the design matrix of a two-group model."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rls_bids.dataset.designs import Design
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.naming import contrast_label
from rls_bids.errors import InputDataError, UsageError
from rls_bids.records import GroupInput
from rls_bids.settings import GroupSettings

if TYPE_CHECKING:
    import pandas as pd

MEAN_FD = "mean_fd"
MIN_PER_GROUP = 2

NO_TABLE = "{path} does not exist, but the group level takes groups and covariates from it."
NOT_A_TABLE = "{path} cannot be read as a table ({reason})."
SURPLUS = "its rows have more values than the header has columns"
NO_ID_COLUMN = "{path} has no column participant_id; it has {columns}."
TWICE = "{path} lists {who} more than once."
NO_COLUMN = "participants.tsv has no column {column!r}; it has {columns}."
NO_COLUMN_HINT = "Choose with {flag}."
ONE_GROUP = "Column {column!r} has only the group {found} among the {n} participants with results."
MANY_GROUPS = "Column {column!r} has the groups {found}; a contrast names two of them."
MANY_GROUPS_HINT = "Say for example --contrast {example!r}."
UNKNOWN_GROUP = "The contrast names {unknown}, but column {column!r} has {found}."
TOO_FEW = "Group {group!r} has {n} participants in the model, {least} are needed. Left out: {out}."
NO_FREEDOM = "{n} participants are too few for the {p} columns of the design ({columns})."
MIXED = "Covariate {column!r} has numbers and words: {words}."
MIXED_HINT = "Write decimals with a point and missing values as n/a."
CONSTANT = "Covariate {column!r} has the same value for all participants in the model."
COLLINEAR = "Column {column!r} of the design is a combination of {others}."
COVARIATE_HINT = "Leave it out with --covariates."
SESSIONS = "There are several sessions of a participant: {sessions}."
SESSIONS_HINT = "Choose one with --session-label, or reduce them with a Subject node in a model."
UNEQUAL = "Participants were processed differently: {differences}."
UNEQUAL_HINT = "Process them again with equal settings, or choose some with --participant-label."

SAME_MEANS = "{first} and {second} have the same mean, given the covariates."

CHOSEN = "The contrast {first} > {second} was chosen: {why}."
BY_NAME = "the labels tell patients from controls"
BY_ALPHABET = "alphabetical order"

NOT_IN_TABLE = "not in participants.tsv"
NO_MAP = "no map of this seed"
NO_VALUE = "no value of {column}"
OTHER_GROUP = "in the group {group}"
MOVED = "mean framewise displacement {found:.3f} mm, above {limit:g} mm"

_PATIENT = re.compile(r"^(rls|wed|patient|pat|pt|case|pd)s?\d*$")
_CONTROL = re.compile(r"^(hc|control|con|ctrl|ctl|healthy.*|nc|hv|nonrls)s?\d*$")
_TOLERANCE = 1e-8


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
    import pandas as pd

    path = Path(bids_dir) / "participants.tsv"
    if not path.is_file():
        raise InputDataError(NO_TABLE.format(path=path))
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
    if "participant_id" not in table:
        columns = ", ".join(table.columns)
        raise InputDataError(NO_ID_COLUMN.format(path=path, columns=columns))
    table = table.dropna(subset=["participant_id"]).apply(lambda column: column.str.strip())
    table.index = table.pop("participant_id").str.removeprefix("sub-").rename("participant")
    if not table.index.is_unique:
        twice = ", ".join(sorted(set(table.index[table.index.duplicated()])))
        raise InputDataError(TWICE.format(path=path, who=twice))
    return table


def build_design(
    inputs: Sequence[GroupInput],
    table: "pd.DataFrame",
    group: GroupSettings,
    missing: Mapping[str, str] | None = None,
) -> Design:
    """Build the design of a comparison of two groups.

    Parameters
    ----------
    inputs : sequence of GroupInput
        The maps of one seed.
    table : DataFrame
        What :func:`read_participants` returned.
    group : GroupSettings
        Column, contrast, covariates, limit of motion.
    missing : mapping, optional
        Why participants have no map, where that is known.

    Raises
    ------
    UsageError
        Several sessions, unknown column or group, no contrast for more than two groups, a
        covariate that is constant, collinear or neither number nor category, unequal processing.
    InputDataError
        One group only, or too few participants left.
    """
    _check_sessions(inputs)
    _check_columns(table, group)
    by_label = {one.participant: one for one in inputs}
    dropped = _without_map(table, by_label, missing or {})
    both = sorted(set(by_label) & set(table.index), key=natural_key)
    dropped += [(label, NOT_IN_TABLE) for label in by_label if label not in both]
    rows = table.loc[both]
    known = table if group.contrast else rows
    first, second, remark = choose_contrast(known[group.group_column].dropna(), group)
    kept = []
    for label in both:
        reason = _reason_to_drop(label, rows, by_label[label], group, (first, second))
        if reason is None:
            kept.append(label)
        else:
            dropped.append((label, reason))
    chosen = tuple(by_label[label] for label in kept)
    members = rows.loc[kept, group.group_column]
    counts = {name: int((members == name).sum()) for name in (first, second)}
    _check_counts(counts, dropped)
    check_processing(chosen)
    design = _design(rows.loc[kept], chosen, group, (first, second))
    return Design(
        design=design,
        inputs=chosen,
        contrasts=((1.0, -1.0, *(0.0 for _ in range(design.shape[1] - 2))),),
        title=f"{first} > {second}",
        label=contrast_label(first, second),
        hypothesis=SAME_MEANS.format(first=first, second=second),
        groups=tuple(members),
        compared=((first, 1.0), (second, -1.0)),
        dropped=tuple(sorted(dropped, key=lambda one: natural_key(one[0]))),
        remarks=(remark,) if remark else (),
    )


def _without_map(
    table: "pd.DataFrame", by_label: Mapping[str, GroupInput], missing: Mapping[str, str]
) -> list[tuple[str, str]]:
    labels = [*table.index, *(label for label in missing if label not in table.index)]
    return [(label, missing.get(label, NO_MAP)) for label in labels if label not in by_label]


def _check_sessions(inputs: Sequence[GroupInput]) -> None:
    labels = [one.participant for one in inputs]
    if len(set(labels)) == len(labels):
        return
    sessions = sorted({one.session or "none" for one in inputs}, key=natural_key)
    raise UsageError(SESSIONS.format(sessions=", ".join(sessions)), SESSIONS_HINT)


def _check_columns(table: "pd.DataFrame", group: GroupSettings) -> None:
    wanted = [("--group-column", group.group_column)]
    wanted += [("--covariates", name) for name in group.covariates if name != MEAN_FD]
    for flag, column in wanted:
        if column not in table:
            columns = ", ".join(table.columns) or "no other"
            message = NO_COLUMN.format(column=column, columns=columns)
            raise UsageError(message, NO_COLUMN_HINT.format(flag=flag))


def choose_contrast(members: "pd.Series", group: GroupSettings) -> tuple[str, str, str]:
    """Return the first and the second group, and how they were chosen (empty when asked for).

    Without a contrast patients come first where the labels tell who they are, else the order is
    alphabetical.
    """
    found = sorted(set(members))
    listed = ", ".join(f"{name} ({int((members == name).sum())})" for name in found)
    if group.contrast:
        first, second = group.contrast
        unknown = [name for name in (first, second) if name not in found]
        if unknown:
            raise UsageError(
                UNKNOWN_GROUP.format(
                    unknown=" and ".join(unknown), column=group.group_column, found=listed
                )
            )
        return first, second, ""
    if len(found) < 2:
        raise InputDataError(
            ONE_GROUP.format(column=group.group_column, found=listed or "none", n=len(members))
        )
    if len(found) > 2:
        example = f"{found[0]} > {found[1]}"
        raise UsageError(
            MANY_GROUPS.format(column=group.group_column, found=listed),
            MANY_GROUPS_HINT.format(example=example),
        )
    first, second = found
    why = BY_ALPHABET
    if _is_patient(first) != _is_patient(second) or _is_control(first) != _is_control(second):
        why = BY_NAME
        if _is_patient(second) > _is_patient(first) or _is_control(first) > _is_control(second):
            first, second = second, first
    return first, second, CHOSEN.format(first=first, second=second, why=why)


def _plain(label: str) -> str:
    return re.sub(r"[^a-z0-9]", "", label.casefold())


def _is_patient(label: str) -> bool:
    return bool(_PATIENT.match(_plain(label)))


def _is_control(label: str) -> bool:
    return bool(_CONTROL.match(_plain(label)))


def _reason_to_drop(
    label: str,
    rows: "pd.DataFrame",
    one: GroupInput,
    group: GroupSettings,
    pair: tuple[str, str],
) -> str | None:
    """Return why a participant cannot be in the model, if so."""
    row = rows.loc[label]
    member = row[group.group_column]
    if not isinstance(member, str):
        return NO_VALUE.format(column=group.group_column)
    if member not in pair:
        return OTHER_GROUP.format(group=member)
    for column in group.covariates:
        value = one.mean_fd_mm if column == MEAN_FD else row[column]
        is_missing = not isinstance(value, str) and not np.isfinite(value)
        if is_missing or str(value).casefold() in ("nan", "inf", "-inf"):
            return NO_VALUE.format(column=column)
    limit = group.max_mean_fd_mm
    # A mean that is not a number is not below the limit.
    if limit is not None and not one.mean_fd_mm <= limit:
        return MOVED.format(found=one.mean_fd_mm, limit=limit)
    return None


def _check_counts(counts: Mapping[str, int], dropped: Sequence[tuple[str, str]]) -> None:
    for name, n in counts.items():
        if n < MIN_PER_GROUP:
            out = "; ".join(f"sub-{who}: {why}" for who, why in sorted(dropped)) or "nobody"
            raise InputDataError(TOO_FEW.format(group=name, n=n, least=MIN_PER_GROUP, out=out))


def check_processing(inputs: Sequence[GroupInput]) -> None:
    """Refuse inputs that were processed differently, naming who and in what.

    The commonest processing counts as the rule.
    """
    import json

    ways = [one.processing for one in inputs]
    if len(set(ways)) < 2:
        return
    usual = json.loads(max(sorted(set(ways)), key=ways.count))
    differences = []
    for one in inputs:
        own = json.loads(one.processing)
        differing = [key for key in sorted({*usual, *own}) if usual.get(key) != own.get(key)]
        if differing:
            words = ", ".join(
                f"{key} {own.get(key)} instead of {usual.get(key)}" for key in differing
            )
            differences.append(f"sub-{one.participant} has {words}")
    raise UsageError(UNEQUAL.format(differences="; ".join(differences)), UNEQUAL_HINT)


def _design(
    rows: "pd.DataFrame",
    inputs: Sequence[GroupInput],
    group: GroupSettings,
    pair: tuple[str, str],
) -> "pd.DataFrame":
    """Return indicator columns of both groups and centred covariates; checks that they differ."""
    import pandas as pd

    columns: dict[str, Any] = {
        f"{group.group_column}_{name}": (rows[group.group_column] == name).to_numpy(float)
        for name in pair
    }
    for covariate in dict.fromkeys(group.covariates):
        if covariate == MEAN_FD:
            columns[MEAN_FD] = np.array([one.mean_fd_mm for one in inputs])
        else:
            columns |= _covariate_columns(covariate, list(rows[covariate]))
    for name in list(columns)[2:]:
        columns[name] = columns[name] - columns[name].mean()
        if np.abs(columns[name]).max() <= _TOLERANCE:
            raise UsageError(CONSTANT.format(column=name), COVARIATE_HINT)
    design = pd.DataFrame(columns, index=rows.index)
    _check_rank(design)
    return design


def _covariate_columns(name: str, values: Sequence[str]) -> dict[str, Any]:
    """Return a numeric covariate as it is, of a categorical one indicators of all but a level."""
    numbers = [_number(value) for value in values]
    if all(number is not None for number in numbers):
        return {name: np.array(numbers, dtype=float)}
    words = sorted(
        {value for value, number in zip(values, numbers, strict=True) if number is None}
    )
    is_mixed = any(number is not None for number in numbers)
    if is_mixed or any(re.fullmatch(r"-?\d+,\d+", word) for word in words):
        listed = ", ".join(repr(word) for word in words[:5])
        raise UsageError(MIXED.format(column=name, words=listed), MIXED_HINT)
    # "F" and "f" are one level.
    levels = sorted({value.casefold() for value in values})
    if len(levels) == 1:
        raise UsageError(CONSTANT.format(column=name), COVARIATE_HINT)
    return {
        f"{name}_{level}": np.array([float(value.casefold() == level) for value in values])
        for level in levels[1:]
    }


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _check_rank(design: "pd.DataFrame") -> None:
    """Name the first column that the columns before it make up, and those that do."""
    names = list(design.columns)
    matrix = design.to_numpy(float)
    matrix = matrix / np.linalg.norm(matrix, axis=0)
    n, p = matrix.shape
    if n <= p:
        raise InputDataError(NO_FREEDOM.format(n=n, p=p, columns=", ".join(names)))
    for place in range(1, p):
        before, column = matrix[:, :place], matrix[:, place]
        weights = np.linalg.lstsq(before, column, rcond=None)[0]
        if np.linalg.norm(column - before @ weights) > _TOLERANCE:
            continue
        used = [name for name, w in zip(names, weights, strict=False) if abs(w) > _TOLERANCE]
        message = COLLINEAR.format(column=names[place], others=" and ".join(used))
        raise UsageError(message, COVARIATE_HINT)
