"""Variables of a group model: one value a participant, whatever table it stands in."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.formulas import parse_factor
from rls_bids.dataset.matrix import TOLERANCE, Category, Factors, Numbers
from rls_bids.dataset.model import MEAN_FD, MEASURED, Contrast, Terms
from rls_bids.dataset.tables import Tables, is_missing, number_of
from rls_bids.errors import InputDataError, UsageError, nearest_hint
from rls_bids.records import GroupInput

NO_COLUMN = "participants.tsv has no column {column!r}; it has {columns}."
NO_COLUMN_ELSEWHERE = (
    "Neither participants.tsv nor sessions.tsv has a column {column!r}; there are {columns}."
)
NO_COLUMN_HINT = "Choose with {flag}."
MIXED = "Covariate {column!r} has numbers and words: {words}."
MIXED_HINT = "Write decimals with a point and missing values as n/a."
ONE_LEVEL = "Covariate {column!r} has the same value for all participants in the model."
LONELY = (
    "Only sub-{who} has the level {level!r} of {column!r}: its column would leave nothing of this "
    "participant to compare."
)
LONELY_HINT = (
    "Join levels in participants.tsv, leave the participant out with "
    "--exclude-participant-label, or the column with --covariates (sites: --sites none)."
)
CHANGES = (
    "{column!r} has words that change between the sessions of sub-{who} ({found}), so there is no "
    "difference of it."
)
CHANGES_HINT = "Use its levels as conditions of a Subject node, or write it as numbers."
NO_FUNCTION = "{function}({column}) is not defined for {found:g}, the value of sub-{who}."
NOT_NUMBERS = "{factor!r} needs numbers, but {column!r} has words: {words}."

DIFFERENCE = "{name}, {contrast}"
AVERAGE = "{name}, mean of the sessions"
FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "log": math.log,
    "log10": math.log10,
    "sqrt": math.sqrt,
}
MEASURED_OF: Mapping[str, Callable[[GroupInput], float]] = {
    MEAN_FD: lambda one: one.mean_fd_mm,
    "minutes_kept": lambda one: one.minutes_kept,
    "degrees_of_freedom": lambda one: one.degrees_of_freedom,
}

Row = tuple[GroupInput, ...]
"""The maps of one participant, in the order of sessions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scope:
    """Where variables are looked up, and how sessions become one value.

    ``within`` and ``responses`` (n_responses, n_sessions) are those of the contrast over
    sessions; ``spelled`` are the variables whose levels keep their spelling, ``first`` levels
    that come first, by variable.
    """

    tables: Tables
    within: Contrast | None
    responses: NDArray[np.float64]
    spelled: frozenset[str] = frozenset()
    first: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_difference(self) -> bool:
        """Whether what does not change between sessions cancels out."""
        return bool(np.abs(self.responses.sum(axis=1)).max() < TOLERANCE)


def check_columns(names: Iterable[tuple[str, str]], tables: Tables) -> None:
    """Refuse variables that no table has; ``names`` are (flag or place, variable)."""
    for flag, name in names:
        if name in MEASURED or name in tables.participants or name in tables.of_sessions:
            continue
        if baseline_of(name, tables)[0]:
            continue
        listed = [*tables.participants.columns, *sorted(tables.of_sessions)]
        template = NO_COLUMN_ELSEWHERE if tables.of_sessions else NO_COLUMN
        message = template.format(column=name, columns=", ".join(listed) or "no other")
        hint = nearest_hint(name, [*listed, *MEASURED])
        raise UsageError(message, hint or NO_COLUMN_HINT.format(flag=flag))


def check_units(names: Iterable[tuple[str, str]], tables: Tables) -> None:
    """Refuse columns of units (groups, pairs, sites) that participants.tsv does not have."""
    for flag, name in names:
        if name not in tables.participants:
            listed = list(tables.participants.columns)
            message = NO_COLUMN.format(column=name, columns=", ".join(listed) or "no other")
            hint = nearest_hint(name, listed) or NO_COLUMN_HINT.format(flag=flag)
            raise UsageError(message, hint)


def baseline_of(name: str, tables: Tables) -> tuple[str, str]:
    """Return variable and session of a value at one session, ``IRLS_pre``; else empty texts."""
    base, _, session = name.rpartition("_")
    known = {label for _, label in tables.sessions}
    return (base, session) if base in tables.of_sessions and session in known else ("", "")


def values_of(name: str, row: Row, tables: Tables) -> tuple[object, ...]:
    """Return a variable of a participant: one value, or one a session where they have their own.

    What the participant level measured comes first, then sessions.tsv and scans.tsv, then
    participants.tsv.
    """
    label = row[0].participant
    if name in MEASURED:
        return tuple(
            one.mean_fd_mm
            if name == MEAN_FD
            else one.minutes_kept if name == "minutes_kept" else one.degrees_of_freedom
            for one in row
        )  # fmt: skip
    base, session = baseline_of(name, tables)
    if base and name not in tables.participants and name not in tables.of_sessions:
        return (tables.sessions.get((label, session), {}).get(base),)
    if name in tables.of_sessions:
        return tuple(tables.sessions.get((label, one.session or ""), {}).get(name) for one in row)
    value = tables.participants[name].get(label)
    return (value,)


def lacking(names: Iterable[str], row: Row, tables: Tables) -> str:
    """Return the first variable without a value in some session, or nothing."""
    for name in names:
        if any(is_missing(value) for value in values_of(name, row, tables)):
            return name
    return ""


def make_factors(terms: Terms, rows: Sequence[Row], scope: Scope) -> tuple[Terms, Factors]:
    """Return the columns in one spelling, and what they are made of.

    A number that several responses need becomes a column each (``mean_fd_1``, ``mean_fd_2``).

    Raises
    ------
    UsageError
        Numbers mixed with words, one level only, words that change between sessions.
    InputDataError
        A level that one participant has.
    """
    numbers: dict[str, Numbers] = {}
    categories: dict[str, Category] = {}
    spelling: dict[str, tuple[str, ...]] = {}
    for text in dict.fromkeys(text for term in terms for text in term):
        factor = parse_factor(text)
        if factor is None:
            raise UsageError(NO_COLUMN.format(column=text, columns="no such factor"))
        name = factor.name
        values = [values_of(name, row, scope.tables) for row in rows]
        is_category = factor.kind != "variable" or not _are_numbers(values)
        if is_category and factor.function:
            words = ", ".join(sorted({str(one) for each in values for one in each})[:5])
            raise UsageError(NOT_NUMBERS.format(factor=text, column=name, words=words))
        if is_category:
            _check_words(name, values, is_asked=factor.kind != "variable")
            base = (factor.level,) if factor.kind == "category" and factor.level else ()
            categories[name] = _category(name, rows, values, scope, base)
            spelling[text] = (text if factor.kind == "level" else f"C({name})",)
            continue
        plain = f"{factor.function}({name})" if factor.function else name
        made = _numbers(plain, factor.function, rows, values, scope)
        numbers |= made
        spelling[text] = tuple(made)
    plain_terms: list[tuple[str, ...]] = []
    for term in terms:
        products: list[tuple[str, ...]] = [()]
        for text in term:
            products = [(*product, one) for product in products for one in spelling[text]]
        plain_terms += products
    return tuple(dict.fromkeys(plain_terms)), Factors(numbers=numbers, categories=categories)


def _are_numbers(values: Sequence[Sequence[object]]) -> bool:
    return all(number_of(one) is not None for each in values for one in each)


def _check_words(name: str, values: Sequence[Sequence[object]], *, is_asked: bool) -> None:
    """Refuse a column in which some values are numbers and others are not, or decimal commas."""
    texts = [str(one) for each in values for one in each]
    words = sorted({text for text in texts if number_of(text) is None})
    is_mixed = not is_asked and len(words) > 0 and any(number_of(one) is not None for one in texts)
    if is_mixed or any(re.fullmatch(r"-?\d+,\d+", word) for word in words):
        listed = ", ".join(repr(word) for word in words[:5])
        raise UsageError(MIXED.format(column=name, words=listed), MIXED_HINT)


def _category(
    name: str,
    rows: Sequence[Row],
    values: Sequence[Sequence[object]],
    scope: Scope,
    base: tuple[str, ...],
) -> Category:
    """Return a category; without a spelling of its own "F" and "f" are one level."""
    found = []
    for row, each in zip(rows, values, strict=True):
        words = [str(one) for one in each]
        kinds = dict.fromkeys(words if name in scope.spelled else map(str.casefold, words))
        if len(kinds) > 1:
            listed, who = ", ".join(words), row[0].participant
            text = CHANGES.format(column=name, who=who, found=listed)
            raise UsageError(text, CHANGES_HINT)
        found.append(next(iter(kinds)))
    first = scope.first.get(name, ())
    base = base if name in scope.spelled else tuple(map(str.casefold, base))
    ordered = [*base, *first, *sorted(set(found), key=natural_key)]
    levels = tuple(dict.fromkeys(level for level in ordered if level in set(found)))
    if len(levels) < 2:
        raise UsageError(ONE_LEVEL.format(column=name))
    counts = Counter(found)
    for level in levels:
        if counts[level] < 2:
            who = rows[found.index(level)][0].participant
            text = LONELY.format(who=who, level=level, column=name)
            raise InputDataError(text, LONELY_HINT)
    return Category(values=tuple(found), levels=levels)


def _numbers(
    plain: str,
    function: str,
    rows: Sequence[Row],
    values: Sequence[Sequence[object]],
    scope: Scope,
) -> dict[str, Numbers]:
    """Return a number a participant, by name: the same weights over sessions as for the maps."""
    taken = [
        [_apply(function, plain, number_of(one), row) for one in each]
        for row, each in zip(rows, values, strict=True)
    ]
    is_of_sessions = scope.responses.shape[1] > 1 and all(len(each) > 1 for each in taken)
    if not is_of_sessions:
        column = np.array([each[0] for each in taken])
        return {plain: Numbers(values=column, words=plain)}
    responses = np.array(taken) @ scope.responses.T
    contrast = scope.within.name if scope.within else ""
    words = DIFFERENCE if scope.is_difference else AVERAGE
    n = responses.shape[1]
    names = [plain] if n == 1 else [f"{plain}_{number + 1}" for number in range(n)]
    return {
        name: Numbers(
            values=column,
            words=words.format(name=name, contrast=contrast),
            is_difference=scope.is_difference,
        )
        for name, column in zip(names, responses.T, strict=True)
    }


def _apply(function: str, plain: str, value: float | None, row: Row) -> float:
    number = math.nan if value is None else value
    if not function:
        return number
    try:
        return FUNCTIONS[function](number)
    except ValueError:
        name = plain.partition("(")[2].rstrip(")")
        who = row[0].participant
        text = NO_FUNCTION.format(function=function, column=name, found=number, who=who)
        raise UsageError(text) from None
