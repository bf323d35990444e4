"""Participants with some of their sessions: left out of a test, but in the estimates beside it.

A contrast over sessions makes one number of all maps of a participant. Here every map is a row of
its own: each column of the design that is the same in all sessions of a participant becomes one
column a session, others (motion, a score) stay as they are. With all sessions there, the contrast
is the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.designs import ONE_MAP
from rls_bids.dataset.matrix import TOLERANCE, Matrix, build_matrix, weigh
from rls_bids.dataset.model import Contrast, Model, Terms
from rls_bids.dataset.processing import check_processing
from rls_bids.dataset.rows import Found, fits, reason_to_drop
from rls_bids.dataset.variables import Row, Scope, make_factors
from rls_bids.errors import InputDataError, UsageError
from rls_bids.records import GroupInput

MIN_SESSIONS = 2
NO_MODEL = "No estimates from a mixed model: {reason}"
BOTH = "the contrast is of means and of a variable that changes between sessions."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionModel:
    """A design with one row a map.

    Attributes
    ----------
    extra : tuple of GroupInput
        Maps of those who lack a session, in the order of the last rows.
    about : dict
        ``Rows`` and ``Sessions`` of the maps (those of the test first), ``Columns``, ``Design``
        (n_maps, n_columns), ``Weights`` (n_columns,); empty where there is no such model.
    remarks : tuple of str
        Why there is none though there are sessions; else empty.
    """

    extra: tuple[GroupInput, ...] = ()
    about: Mapping[str, Any]
    remarks: tuple[str, ...] = ()


NONE = SessionModel(about={})

_Map = tuple[int, GroupInput]
"""The number of the condition that a map is of, and the map."""


def plan_sessions(
    model: Model,
    asked: tuple[Contrast, Contrast | None, Terms, Sequence[str]],
    rows: Mapping[str, Row],
    found: Found,
    scope: Scope,
    needed: Sequence[str],
) -> SessionModel:
    """Build the design with one row a map, and find the maps of those who lack a session.

    Parameters
    ----------
    model : Model
    asked : (Contrast, Contrast or None, Terms, sequence of str)
        Between and within participants, columns, groups (none: all).
    rows : mapping of str to Row
        Maps of those who are tested.
    found : Found
    scope : Scope
        Of the test.
    needed : sequence of str
        Variables without which nobody can be in it.

    Returns
    -------
    SessionModel
        None for one session, for several contrasts tested together, for matched pairs and for
        harmonised tables.
    """
    between, within, terms, groups = asked
    if within is None or len(within.conditions) < MIN_SESSIONS or len(within.weights) > 1:
        return NONE
    if len(between.weights) > 1 or model.pairs or model.combat:
        return NONE
    first = next(iter(rows.values()))[0]
    maps: list[_Map] = [each for row in rows.values() for each in enumerate(row)]
    more: list[_Map] = []
    for own in _incomplete(found, within, rows):
        row = tuple(one for _, one in own)
        is_in = not reason_to_drop(row, found.tables, model, groups, needed)
        more += own if is_in and _is_alike(first, row) else ()
    maps += more
    try:
        about = _about(maps, between, within, terms, scope)
    except (InputDataError, UsageError) as error:
        return SessionModel(about={}, remarks=(NO_MODEL.format(reason=error.message),))
    return SessionModel(about=about, extra=tuple(one for _, one in more))


def without_columns(about: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the design of the maps without variables, and nothing where one of them is tested.

    Examples
    --------
    >>> about = {"Columns": ["pre:one", "post:one", "mean_fd"], "Weights": [-1, 1, 0],
    ...          "Design": [[1, 0, 0.2], [0, 1, 0.1]]}
    >>> left = without_columns(about, ["mean_fd"])
    >>> left["Columns"], left["Design"]
    (['pre:one', 'post:one'], [[1, 0], [0, 1]])
    """
    if not about:
        return {}
    is_kept = [not set(column.split(":")) & set(names) for column in about["Columns"]]
    weights = zip(about["Weights"], is_kept, strict=True)
    if any(abs(weight) > TOLERANCE for weight, kept in weights if not kept):
        return {}
    return {
        **about,
        **{key: list(compress(about[key], is_kept)) for key in ("Columns", "Weights")},
        "Design": [list(compress(row, is_kept)) for row in about["Design"]],
    }


def _incomplete(
    found: Found, within: Contrast, rows: Mapping[str, Row]
) -> Iterator[tuple[_Map, ...]]:
    """Yield the maps of each participant who has some of the sessions, each only once."""
    by_label: dict[str, list[GroupInput]] = {}
    for one in found.inputs:
        if one.participant not in rows and one.participant in found.tables.participants.index:
            by_label.setdefault(one.participant, []).append(one)
    for label in sorted(by_label):
        fitting = [
            [one for one in by_label[label] if fits(one, condition, found.tables)]
            for condition in within.conditions
        ]
        counts = [len(each) for each in fitting]
        if max(counts) == 1 and min(counts) == 0:
            yield tuple((place, each[0]) for place, each in enumerate(fitting) if each)


def _is_alike(first: GroupInput, row: Row) -> bool:
    """Whether maps are processed as those of the test are."""
    try:
        check_processing((first, *row))
    except UsageError:
        return False
    return True


def _about(
    maps: Sequence[_Map], between: Contrast, within: Contrast, terms: Terms, scope: Scope
) -> dict[str, Any]:
    """Return the design of the maps as a sidecar says it."""
    alone = replace(scope, within=None, responses=np.array(ONE_MAP))
    plain, factors = make_factors(terms, [(one,) for _, one in maps], alone)
    matrix = build_matrix(plain, factors, [str(number) for number in range(len(maps))])
    places = np.array([place for place, _ in maps])
    labels = np.array([one.participant for _, one in maps])
    names, columns, weights = _written_out(matrix, between, within, places, labels)
    return {
        "Rows": [f"sub-{label}" for label in labels],
        "Sessions": [f"ses-{one.session}" if one.session else "n/a" for _, one in maps],
        "Columns": names,
        "Design": columns.tolist(),
        "Weights": weights.tolist(),
    }


def _written_out(
    matrix: Matrix,
    between: Contrast,
    within: Contrast,
    places: NDArray[np.intp],
    labels: NDArray[np.str_],
) -> tuple[list[str], FloatArray, FloatArray]:
    """Return names, columns and weights, with a column a session for what has no sessions.

    A slope over a variable of sessions is the same in sessions, in their differences and in
    their means, so its weight is that of the test.
    """
    (own,) = weigh(matrix, between)
    _, numbers = np.unique(labels, return_inverse=True)
    names: list[str] = []
    columns: list[FloatArray] = []
    weights: list[float] = []
    is_tested = {True: False, False: False}
    for name, column, weight in zip(
        matrix.frame.columns, matrix.frame.to_numpy(float).T, own, strict=True
    ):
        means = np.bincount(numbers, column) / np.bincount(numbers)
        is_same = bool(np.abs(column - means[numbers]).max() <= TOLERANCE)
        is_tested[is_same] |= bool(abs(weight) > TOLERANCE)
        if not is_same:
            names.append(str(name))
            columns.append(column)
            weights.append(float(weight))
            continue
        for place, condition in enumerate(within.conditions):
            names.append(f"{condition}:{name}")
            columns.append(np.where(places == place, column, 0.0))
            weights.append(float(weight * within.weights[0][place]))
    if all(is_tested.values()):
        raise UsageError(BOTH)
    return names, np.stack(columns, axis=1), np.array(weights)
