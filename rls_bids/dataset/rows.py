"""Who can be in a contrast: maps of every session that it needs, and no value missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.formulas import INTERCEPT
from rls_bids.dataset.model import SESSION, Contrast, Model, split_cell
from rls_bids.dataset.tables import Tables, is_missing
from rls_bids.dataset.variables import Row, lacking
from rls_bids.errors import UsageError, nearest_hint
from rls_bids.records import GroupInput

SESSIONS = "There are several sessions of a participant: {sessions}."
SESSIONS_HINT = (
    "Choose one with --session-label, compare them with --session-contrast, or reduce them with "
    "a Subject node in a model."
)
NO_SUCH_SESSION = "The contrast {contrast!r} names {name!r}; there are {found}."
NOT_IN_TABLE = "not in participants.tsv"
NO_MAP = "no map of this seed"
NO_VALUE = "no value of {column}"
OTHER_GROUP = "in the group {group}"
OTHER_VALUE = "{column} is {value}"
MOVED = "mean framewise displacement {found:.3f} mm, above {limit:g} mm"
NO_SESSION = "no map of {condition}"
WHY_NO_SESSION = "no map of {condition}: {reason}"
TWO_SESSIONS = "{n} sessions are {condition} ({found}); one is needed"
UNPAIRED = "no partner in the model ({pair})"
CROWD = "Column {column!r} has {n} participants in the pair {pair!r}: {who}; a pair has two."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Maps and tables of one comparison, and why maps are missing.

    ``missing`` is by participant, ``missing_in`` by (participant, session).
    """

    inputs: Sequence[GroupInput]
    tables: Tables
    missing: Mapping[str, str] = field(default_factory=dict)
    missing_in: Mapping[tuple[str, str], str] = field(default_factory=dict)


def expand_sessions(
    within: Contrast | None, model: Model, inputs: Sequence[GroupInput]
) -> Contrast | None:
    """Write out the mean over all sessions, and refuse sessions that nobody has."""
    if within is None:
        return None
    labels = {one.session for one in inputs if one.session}
    found = sorted(set(model.sessions) & labels if model.sessions else labels, key=natural_key)
    if within.conditions == (INTERCEPT,):
        n = len(found) or 1
        return Contrast(
            name=within.name if within.name != INTERCEPT else "mean of sessions",
            conditions=tuple(f"{SESSION}.{label}" for label in found),
            weights=((1 / n,) * n,),
            is_given=within.is_given,
        )
    for condition in within.conditions:
        for column, level in split_cell(condition) or ((condition, ""),):
            if column == SESSION and level not in found:
                listed = ", ".join(f"{SESSION}.{label}" for label in found) or "no sessions"
                text = NO_SUCH_SESSION.format(contrast=within.name, name=condition, found=listed)
                raise UsageError(text, nearest_hint(level, found))
    return within


def find_rows(found: Found, within: Contrast | None) -> tuple[dict[str, Row], dict[str, str]]:
    """Return the maps of each participant in the order of conditions, and who lacks one."""
    table = found.tables.participants
    by_label: dict[str, list[GroupInput]] = {}
    for one in found.inputs:
        by_label.setdefault(one.participant, []).append(one)
    if within is None:
        _check_sessions(by_label)
    everyone = [*table.index, *(who for who in found.missing if who not in table.index)]
    dropped = {who: found.missing.get(who, NO_MAP) for who in everyone if who not in by_label}
    rows: dict[str, Row] = {}
    for label in sorted(by_label, key=natural_key):
        if label not in table.index:
            dropped[label] = NOT_IN_TABLE
            continue
        row, reason = _row(by_label[label], within, found)
        if reason:
            dropped[label] = reason
        else:
            rows[label] = row
    return rows, dropped


def _check_sessions(by_label: Mapping[str, Sequence[GroupInput]]) -> None:
    if all(len(maps) == 1 for maps in by_label.values()):
        return
    labels = {one.session or "none" for maps in by_label.values() for one in maps}
    listed = ", ".join(sorted(labels, key=natural_key))
    raise UsageError(SESSIONS.format(sessions=listed), SESSIONS_HINT)


def _row(maps: Sequence[GroupInput], within: Contrast | None, found: Found) -> tuple[Row, str]:
    """Return the maps of a participant in order, or what is missing."""
    if within is None:
        return tuple(maps), ""
    row = []
    for condition in within.conditions:
        fitting = [one for one in maps if fits(one, condition, found.tables)]
        if len(fitting) > 1:
            labels = ", ".join(str(one.session) for one in fitting)
            n = len(fitting)
            return (), TWO_SESSIONS.format(n=n, condition=condition, found=labels)
        if not fitting:
            who = maps[0].participant
            sessions = [level for column, level in split_cell(condition) if column == SESSION]
            reasons = [found.missing_in.get((who, session), "") for session in sessions]
            if any(reasons):
                reason = "; ".join(filter(None, reasons))
                return (), WHY_NO_SESSION.format(condition=condition, reason=reason)
            return (), NO_SESSION.format(condition=condition)
        row += fitting
    return tuple(row), ""


def fits(one: GroupInput, condition: str, tables: Tables) -> bool:
    """Whether a session is in a cell."""
    told = tables.sessions.get((one.participant, one.session or ""), {})
    return all(
        one.session == level
        if column == SESSION
        else told.get(column, "").casefold() == level.casefold()
        for column, level in split_cell(condition)
    )


def reason_to_drop(
    row: Row, tables: Tables, model: Model, groups: Sequence[str], needed: Sequence[str]
) -> str:
    """Return why a participant who has all maps cannot be in the model, or nothing.

    ``groups`` are those in the model (none: all), ``needed`` the variables without which nobody
    can be in it.
    """
    told = tables.participants.loc[row[0].participant]
    reason = _not_meant(told, model, groups)
    column = "" if reason else lacking(needed, row, tables)
    if column:
        return NO_VALUE.format(column=column)
    limit = model.max_mean_fd_mm
    # A mean that is not a number is not below the limit.
    moved = [one.mean_fd_mm for one in row if limit is not None and not one.mean_fd_mm <= limit]
    if not reason and moved:
        return MOVED.format(found=moved[0], limit=limit)
    return reason


def _not_meant(told: Mapping[str, object], model: Model, groups: Sequence[str]) -> str:
    """Return why a participant is none of those whom the model is about, or nothing."""
    wanted = [(model.group_column, tuple(groups))] if groups else []
    for column, values in (*wanted, *model.where):
        if is_missing(told[column]):
            return NO_VALUE.format(column=column)
        if str(told[column]) not in values:
            if column == model.group_column:
                return OTHER_GROUP.format(group=told[column])
            return OTHER_VALUE.format(column=column, value=told[column])
    return ""


def drop_unpaired(
    rows: dict[str, Row], dropped: dict[str, str], tables: Tables, column: str
) -> dict[str, Row]:
    """Return the rows whose partner is in the model, too; the others are listed in ``dropped``."""
    pair_of = tables.participants[column]
    counts = Counter(pair_of[label] for label in rows)
    for pair, n in counts.items():
        if n > 2:
            who = ", ".join(f"sub-{label}" for label in rows if pair_of[label] == pair)
            raise UsageError(CROWD.format(column=column, n=n, pair=pair, who=who))
    for label in rows:
        if counts[pair_of[label]] == 1:
            dropped[label] = UNPAIRED.format(pair=f"{column} {pair_of[label]}")
    return {label: row for label, row in rows.items() if label not in dropped}
