"""Whether patients move towards controls: who is compared in which map, before and after."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rls_bids.dataset.description import fingerprint
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.matrix import check_rank
from rls_bids.dataset.model import SESSION, Model, Towards, split_cell
from rls_bids.dataset.processing import check_processing
from rls_bids.dataset.results import GroupMaps
from rls_bids.dataset.rows import MOVED, NO_MAP, NO_SESSION, NO_VALUE, WHY_NO_SESSION
from rls_bids.dataset.tables import Tables, number_of
from rls_bids.dataset.variables import (
    LONELY,
    LONELY_HINT,
    MIXED,
    MIXED_HINT,
    ONE_LEVEL,
    Row,
    check_columns,
    check_units,
    lacking,
    values_of,
)
from rls_bids.errors import InputDataError, UsageError, nearest_hint
from rls_bids.numerics.normalisation import SAME_SCAN, SAME_SCAN_HINT, TOO_FEW, check_source
from rls_bids.records import Compared, GroupInput
from rls_bids.resources.regions import GROUP_RESULT, find_place

if TYPE_CHECKING:
    import pandas as pd

ARMS = ("patients", "controls", "untreated")
LEAST = 3
FROM_GROUP = "a result of a group model ({region})"
NO_REGIONS = (
    "{path} has towards_controls, but no regions: whether patients move towards controls is asked "
    "in regions that are declared beforehand."
)
NO_REGIONS_HINT = 'Add "regions", such as ["AAL3:Thal_VPL_L"].'
BAD_CELL = "{path}: towards_controls.{arm} is {cell!r}; expected a level like group.RLS."
NO_LEVEL = "{path}: towards_controls.{arm} names {level!r}, but {column!r} has {levels}."
TWO_ARMS = "{path}: sub-{who} is among {one} and {other} of towards_controls."
TWO_ARMS_HINT = "Cells may be joined, such as group.RLS:treatment.active."
SAME_SESSION = "{path}: before and after of towards_controls are the same session ({session})."
NOT_ONE = "several sessions ({sessions}), none of them {before}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TowardsMap:
    """Who is compared in one map.

    ``patients`` and ``untreated`` have the maps before and after, ``controls`` one each.
    ``covariates`` are of patients (before), then controls; ``changes`` of patients, then
    untreated; ``dropped`` is who is left out, and why.
    """

    compared: Compared
    patients: tuple[Row, ...]
    controls: tuple[Row, ...]
    untreated: tuple[Row, ...]
    covariates: Mapping[str, tuple[float, ...]]
    changes: Mapping[str, tuple[float, ...]]
    dropped: tuple[tuple[str, str], ...]

    @property
    def inputs(self) -> tuple[GroupInput, ...]:
        """Patients before, patients after, controls, untreated before, untreated after."""
        return (
            *(row[0] for row in self.patients),
            *(row[1] for row in self.patients),
            *(row[0] for row in self.controls),
            *(row[0] for row in self.untreated),
            *(row[1] for row in self.untreated),
        )

    @property
    def counts(self) -> list[int]:
        """Numbers of patients, controls and untreated patients."""
        return [len(self.patients), len(self.controls), len(self.untreated)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TowardsPlan:
    """One strategy: its maps, and ``sets``, the number of the set of each map.

    Maps of one set have the same participants and covariates. ``unfit`` are maps that cannot be
    compared, and why.
    """

    strategy: str
    task: str
    spec: Towards
    regions: tuple[str, ...]
    variances_differ: bool
    maps: tuple[TowardsMap, ...]
    sets: tuple[int, ...]
    unfit: tuple[tuple[str, str], ...]
    fingerprint: str


def plan_towards(
    model: Model,
    maps: GroupMaps,
    wanted: Mapping[str, Compared],
    tables: Tables,
    missing: Mapping[str, str],
    strategy: str,
) -> TowardsPlan | None:
    """Find who is compared in every map; None where the model does not ask for it.

    Parameters
    ----------
    model : Model
    maps : GroupMaps
        Of one strategy.
    wanted : mapping of str to Compared
        What is compared, by label; matrices and graphs are left out.
    tables : Tables
    missing : mapping of str to str
        Why a participant has no map at all.
    strategy : str

    Raises
    ------
    UsageError
        No regions, regions of the same scans, columns or levels that nobody has, a participant
        in two arms, unequal processing.
    InputDataError
        No map can be compared (the first one's reason).
    """
    spec = model.towards
    if spec is None:
        return None
    _check(spec, model, tables)
    arm_of = _arms(spec, model, tables.participants)
    found: list[TowardsMap] = []
    unfit: list[tuple[str, str]] = []
    for label, compared in wanted.items():
        if compared.atlas:
            continue
        try:
            one = _find(label, compared, maps, tables, missing, (model, spec, arm_of))
            check_processing(one.inputs)
            found.append(one)
        except InputDataError as error:
            unfit.append((compared.name, error.message))
    if not found:
        raise InputDataError(unfit[0][1] if unfit else NO_MAP)
    members = [_members(one) for one in found]
    content = [(text, find_place(text).content) for text in model.regions]
    return TowardsPlan(
        strategy=strategy,
        task=maps.task,
        spec=spec,
        regions=model.regions,
        variances_differ=bool(model.variance_groups),
        maps=tuple(found),
        sets=tuple(members.index(own) for own in members),
        unfit=tuple(unfit),
        fingerprint=fingerprint(
            maps=[
                (one.compared.name, [(each.participant, each.fingerprint) for each in one.inputs])
                for one in found
            ],
            members=[str(own) for own in members],
            spec=asdict(spec),
            regions=content,
            variances_differ=bool(model.variance_groups),
        ),
    )


def _check(spec: Towards, model: Model, tables: Tables) -> None:
    """Refuse what cannot be asked."""
    if not model.regions:
        raise UsageError(NO_REGIONS.format(path=model.source), NO_REGIONS_HINT)
    check_source(spec.source)
    for region in model.regions:
        if spec.source == "declared" and GROUP_RESULT.search(region):
            found = FROM_GROUP.format(region=region)
            raise UsageError(
                SAME_SCAN.format(found=found, expected="declared regions"), SAME_SCAN_HINT
            )
    if _session(spec.before) == _session(spec.after):
        raise UsageError(SAME_SESSION.format(path=model.source, session=_session(spec.after)))
    check_columns([("towards_controls", name) for name in spec.covariates], tables)


def _session(label: str) -> str:
    return label.removeprefix("ses-")


def _arms(spec: Towards, model: Model, table: "pd.DataFrame") -> dict[str, str]:
    """Return the arm of every participant who is in one."""
    found: dict[str, str] = {}
    for arm in ARMS:
        text = getattr(spec, arm)
        if not text:
            continue
        cell = split_cell(text)
        words = {"path": model.source, "arm": arm}
        if not cell:
            raise UsageError(BAD_CELL.format(cell=text, **words))
        check_units(
            [("towards_controls", column) for column, _ in cell], Tables(participants=table)
        )
        for column, level in cell:
            levels = sorted(set(table[column].dropna()), key=natural_key)
            if level not in levels:
                listed = ", ".join(levels)
                message = NO_LEVEL.format(level=level, column=column, levels=listed, **words)
                raise UsageError(message, nearest_hint(level, levels))
        for who in table.index:
            if all(table.loc[who, column] == level for column, level in cell):
                if who in found:
                    other = {"one": found[who], "other": arm}
                    message = TWO_ARMS.format(path=model.source, who=who, **other)
                    raise UsageError(message, TWO_ARMS_HINT)
                found[who] = arm
    return found


def _find(
    label: str,
    compared: Compared,
    maps: GroupMaps,
    tables: Tables,
    missing: Mapping[str, str],
    asked: tuple[Model, Towards, Mapping[str, str]],
) -> TowardsMap:
    """Return who is compared in one map."""
    model, spec, arm_of = asked
    by_label: dict[str, list[GroupInput]] = {}
    for one in maps.inputs.get(label, ()):
        by_label.setdefault(one.participant, []).append(one)
    reasons = {**missing, **maps.missing.get(label, {})}
    rows: dict[str, list[Row]] = {arm: [] for arm in ARMS}
    dropped = []
    for who in sorted(arm_of, key=natural_key):
        own = {one.session or "": one for one in by_label.get(who, ())}
        row: Row = ()
        reason = reasons.get(who, NO_MAP)
        if own:
            row, reason = _row(own, arm_of[who], spec, maps.missing_in.get(label, {}))
        reason = reason or _why_not(row, spec, model, tables)
        if reason:
            dropped.append((who, reason))
        else:
            rows[arm_of[who]].append(row)
    for arm in ARMS:
        if len(rows[arm]) < LEAST and getattr(spec, arm):
            group = "untreated patients" if arm == "untreated" else arm
            raise InputDataError(TOO_FEW.format(n=len(rows[arm]), group=group))
    before = [(row[0],) for row in (*rows["patients"], *rows["controls"])]
    pairs = [*rows["patients"], *rows["untreated"]]
    covariates = dict(_covariates(spec.covariates, before, tables))
    changes = dict(_changes(spec.covariates, pairs, tables))
    _check_designs(rows, covariates, changes)
    return TowardsMap(
        compared=compared,
        patients=tuple(rows["patients"]),
        controls=tuple(rows["controls"]),
        untreated=tuple(rows["untreated"]),
        covariates=covariates,
        changes=changes,
        dropped=tuple(dropped),
    )


def _row(
    own: Mapping[str, GroupInput], arm: str, spec: Towards, lost: Mapping[tuple[str, str], str]
) -> tuple[Row, str]:
    """Return the maps of a participant, or what is missing."""
    before, after = _session(spec.before), _session(spec.after)
    who = next(iter(own.values())).participant
    if arm == "controls":
        if before not in own and len(own) > 1:
            return (), NOT_ONE.format(sessions=", ".join(sorted(own)), before=before)
        return (own.get(before) or next(iter(own.values())),), ""
    for session in (before, after):
        if session not in own:
            condition, reason = f"{SESSION}.{session}", lost.get((who, session), "")
            words = WHY_NO_SESSION if reason else NO_SESSION
            return (), words.format(condition=condition, reason=reason)
    return (own[before], own[after]), ""


def _why_not(row: Row, spec: Towards, model: Model, tables: Tables) -> str:
    """Return why a participant who has all maps cannot be compared, or nothing."""
    column = lacking(spec.covariates, row, tables)
    if column:
        return NO_VALUE.format(column=column)
    limit = model.max_mean_fd_mm
    moved = [one.mean_fd_mm for one in row if limit is not None and not one.mean_fd_mm <= limit]
    return MOVED.format(found=moved[0], limit=limit) if moved else ""


def _covariates(
    names: Sequence[str], rows: Sequence[Row], tables: Tables
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield numbers, and an indicator for every level of a word but the first."""
    for name in names:
        values = [str(values_of(name, row, tables)[0]) for row in rows]
        numbers = [number_of(value) for value in values]
        if len({value.casefold() for value in values}) < 2:
            raise UsageError(ONE_LEVEL.format(column=name))
        if None not in numbers:
            yield name, tuple(float(number or 0) for number in numbers)
            continue
        _check_words(name, values, rows)
        words = [value.casefold() for value in values]
        for level in sorted(set(words), key=natural_key)[1:]:
            yield f"{name}_{level}", tuple(float(word == level) for word in words)


def _check_words(name: str, values: Sequence[str], rows: Sequence[Row]) -> None:
    """Refuse numbers among words, and a level that one participant has."""
    words = [value.casefold() for value in values]
    if any(number_of(value) is not None for value in values):
        others = sorted({repr(value) for value in values if number_of(value) is None})
        raise UsageError(MIXED.format(column=name, words=", ".join(others[:5])), MIXED_HINT)
    for place, word in enumerate(words):
        if words.count(word) == 1:
            told = {"who": rows[place][0].participant, "level": values[place], "column": name}
            raise InputDataError(LONELY.format(**told), LONELY_HINT)


def _changes(
    names: Sequence[str], rows: Sequence[Row], tables: Tables
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield after − before of the numbers that sessions have of their own."""
    for name in names:
        values = [[number_of(one) for one in values_of(name, row, tables)] for row in rows]
        if any(len(each) != 2 or None in each for each in values):
            continue
        change = tuple(float(after or 0) - float(before or 0) for before, after in values)
        if any(change):
            yield name, change


def _check_designs(
    rows: Mapping[str, Sequence[Row]],
    covariates: Mapping[str, tuple[float, ...]],
    changes: Mapping[str, tuple[float, ...]],
) -> None:
    """Refuse columns that are combinations of others, and more columns than participants."""
    import pandas as pd

    n, n_controls, n_others = (len(rows[arm]) for arm in ARMS)
    is_patient = [1.0] * n + [0.0] * n_controls
    between = {"patients": is_patient, "controls": [1 - one for one in is_patient]}
    arms = {"patients": [1.0] * n + [0.0] * n_others}
    arms |= {"untreated": [0.0] * n + [1.0] * n_others} if n_others else {}
    check_rank(pd.DataFrame({**between, **covariates}))
    check_rank(pd.DataFrame({**arms, **changes}))


def _members(one: TowardsMap) -> tuple[object, ...]:
    """Return what maps of the same set share."""
    people = [[[(each.participant, each.session) for each in row] for row in rows]
              for rows in (one.patients, one.controls, one.untreated)]  # fmt: skip
    return people, dict(one.covariates), dict(one.changes)
