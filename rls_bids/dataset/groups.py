"""Which groups are compared where nobody said it, and how flags name contrasts."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rls_bids.dataset.formulas import INTERCEPT
from rls_bids.dataset.model import SESSION, Contrast
from rls_bids.errors import InputDataError, UsageError
from rls_bids.settings.limits import split_contrast

ONE_GROUP = "Column {column!r} has only the group {found} among the {n} participants with results."
ONE_GROUP_HINT = "The mean of one group is tested by --contrast {group!r}."
MANY_GROUPS = "Column {column!r} has the groups {found}; a contrast names two of them."
MANY_GROUPS_HINT = "Say for example --contrast {example!r}."
UNKNOWN_GROUP = "The contrast names {unknown}, but column {column!r} has {found}."

CHOSEN = "The contrast {first} > {second} was chosen: {why}."
BY_NAME = "the labels tell patients from controls"
BY_ALPHABET = "alphabetical order"
ONLY_ONE = "Everyone with results is in the group {group}: the mean of {within} is tested."

_PATIENT = re.compile(r"^(rls|wed|patient|pat|pt|case|pd)s?\d*$")
_CONTROL = re.compile(r"^(hc|control|con|ctrl|ctl|healthy.*|nc|hv|nonrls)s?\d*$")


def between_contrast(text: str, column: str) -> Contrast:
    """Return what a flag says of groups: a difference, several that are equal, or one mean.

    Examples
    --------
    >>> between_contrast("RLS > HC", "group").conditions
    ('group.RLS', 'group.HC')
    >>> between_contrast("A = B = C", "group").weights
    ((1.0, -1.0, 0.0), (0.0, 1.0, -1.0))
    """
    return _contrast(text, [f"{column}.{label}" for label in split_contrast(text)])


def session_contrast(text: str) -> Contrast:
    """Return what a flag says of sessions: labels, or levels of a column of sessions.tsv.

    Examples
    --------
    >>> session_contrast("post > pre").conditions
    ('session.post', 'session.pre')
    >>> session_contrast("time.evening > time.morning").weights
    ((1.0, -1.0),)
    """
    labels = [label.removeprefix("ses-") for label in split_contrast(text)]
    return _contrast(text, [each if "." in each else f"{SESSION}.{each}" for each in labels])


def _contrast(text: str, conditions: Sequence[str]) -> Contrast:
    n = len(conditions)
    if n == 1:
        return Contrast(name=text.strip(), conditions=tuple(conditions), weights=((1.0,),))
    weights = tuple(
        tuple(1.0 if place == row else -1.0 if place == row + 1 else 0.0 for place in range(n))
        for row in range(n - 1)
    )
    sign = " > " if ">" in text else " = "
    name = sign.join(split_contrast(text))
    return Contrast(
        name=name,
        conditions=tuple(conditions),
        weights=weights,
        test="F" if len(weights) > 1 else "t",
    )


def count_members(members: Iterable[str]) -> str:
    """List groups with their sizes: ``HC (4), RLS (4)``."""
    counts = Counter(members)
    return ", ".join(f"{name} ({counts[name]})" for name in sorted(counts))


def check_groups(names: Sequence[str], members: Sequence[str], column: str) -> None:
    """Refuse groups that the table does not have."""
    unknown = [name for name in names if name not in set(members)]
    if unknown:
        raise UsageError(
            UNKNOWN_GROUP.format(
                unknown=" and ".join(unknown), column=column, found=count_members(members)
            )
        )


def choose_contrast(
    members: Sequence[str], column: str, within: Contrast | None = None
) -> tuple[Contrast, str]:
    """Return the contrast of the groups that there are, and how it was chosen.

    Patients come first where the labels tell who they are, else the order is alphabetical. One
    group alone is tested where there is a contrast ``within`` participants.
    """
    found = sorted(set(members))
    listed = count_members(members)
    if len(found) == 1 and within:
        mean = Contrast(name=INTERCEPT, conditions=(INTERCEPT,), weights=((1.0,),))
        return mean, ONLY_ONE.format(group=found[0], within=within.name)
    if len(found) <= 1:
        hint = ONE_GROUP_HINT.format(group=found[0]) if found else ""
        text = ONE_GROUP.format(column=column, found=listed or "none", n=len(members))
        raise InputDataError(text, hint)
    if len(found) > 2:
        example = f"{found[0]} > {found[1]}"
        raise UsageError(
            MANY_GROUPS.format(column=column, found=listed),
            MANY_GROUPS_HINT.format(example=example),
        )
    first, second = found
    why = BY_ALPHABET
    if is_patient(first) != is_patient(second) or _is_control(first) != _is_control(second):
        why = BY_NAME
        if is_patient(second) > is_patient(first) or _is_control(first) > _is_control(second):
            first, second = second, first
    remark = CHOSEN.format(first=first, second=second, why=why)
    return between_contrast(f"{first} > {second}", column), remark


def _plain(label: str) -> str:
    return re.sub(r"[^a-z0-9]", "", label.casefold())


def is_patient(label: str) -> bool:
    """Whether a label says that these are patients.

    Examples
    --------
    >>> is_patient("iRLS"), is_patient("RLS"), is_patient("HC")
    (False, True, False)
    """
    return bool(_PATIENT.match(_plain(label)))


def _is_control(label: str) -> bool:
    return bool(_CONTROL.match(_plain(label)))
