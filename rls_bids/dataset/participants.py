"""The design of one contrast: who is in it, the columns, the weights, what may be exchanged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.designs import ONE_MAP, Design
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.formulas import INTERCEPT, variables_of
from rls_bids.dataset.groups import check_groups, choose_contrast
from rls_bids.dataset.harmonising import plan_combat
from rls_bids.dataset.hypotheses import Hypothesis, describe, shown_variables, title_of
from rls_bids.dataset.incomplete import plan_sessions
from rls_bids.dataset.matrix import (
    COLLINEAR,
    COVARIATE_HINT,
    TOLERANCE,
    Matrix,
    build_matrix,
    weigh,
)
from rls_bids.dataset.model import MEASURED, SESSION, Contrast, Model, Terms, split_cell
from rls_bids.dataset.naming import camel_label
from rls_bids.dataset.processing import check_processing
from rls_bids.dataset.rows import (
    Found,
    drop_unpaired,
    expand_sessions,
    find_rows,
    reason_to_drop,
)
from rls_bids.dataset.tables import Tables, is_missing, number_of
from rls_bids.dataset.variables import (
    Row,
    Scope,
    check_columns,
    check_units,
    make_factors,
    values_of,
)
from rls_bids.errors import InputDataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

MIN_PER_GROUP = 2
TOO_FEW = "Group {group!r} has {n} participants in the model, {least} are needed. Left out: {out}."
NOBODY = "Nobody is left in the model. Left out: {out}."
SAME_IN_PAIRS = "{column} is the same in both of every pair, so pairs account for it."
SHADOWED = "{column} stands in participants.tsv, too; what is known of each session was used."
PAIRS_MEAN = "{title} tests a mean, but pairs are for comparisons of groups."
PAIRS_HINT = "Leave pairs out of this model."
VARIANCES_TOGETHER = (
    "{title} tests several contrasts of sessions together, which variance groups do not go with."
)
VARIANCES_HINT = "Test the contrasts of sessions one by one."

Question = tuple[Contrast | None, Contrast | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question with nothing left open; ``groups`` are those in the model (none: all)."""

    between: Contrast
    within: Contrast | None
    terms: Terms
    groups: tuple[str, ...]
    remarks: tuple[str, ...]


def build_design(model: Model, found: Found, question: Question = (None, None)) -> Design:
    """Build the design of one contrast.

    Parameters
    ----------
    model : Model
    found : Found
        Maps of one seed (or matrices), tables, and why maps are missing.
    question : (Contrast or None, Contrast or None)
        Within and between participants, one of ``model.questions``; no contrast between them:
        the two groups that there are.

    Raises
    ------
    UsageError
        Several sessions without a contrast over them, unknown column, group, session or
        condition, no contrast for more than two groups, a covariate that is constant, collinear
        or neither number nor category, unequal processing.
    InputDataError
        One group only, too few participants left, a level that one participant has.
    """
    tables = found.tables
    within = expand_sessions(question[0], model, found.inputs)
    _check_needed(model, question, tables)
    rows, dropped = find_rows(found, within)
    asked = _settle(model, (within, question[1]), rows, tables)
    rows = _keep(model, asked, rows, dropped, tables)
    _check_counts(asked, rows, tables, model, dropped)
    inputs = tuple(one for row in rows.values() for one in row)
    check_processing(inputs)
    terms, remarks = _with_pairs(asked, rows, tables, model)
    remarks += _shadowed(variables_of(terms), tables)
    scope = _scope(model, asked, tables)
    plain, factors = make_factors(terms, list(rows.values()), scope)
    matrix = build_matrix(plain, factors, list(rows))
    weights = weigh(matrix, asked.between)
    hidden = (model.pairs,) if model.pairs else ()
    tested = describe(matrix, weights, asked.between, within, hidden)
    title = title_of(asked.between, within)
    _check_units(model, within, tested, title)
    column, members = _members(tested, matrix, rows, tables, model)
    result = Design(
        design=matrix.frame,
        inputs=inputs,
        contrasts=tuple(tuple(float(w) for w in row) for row in weights),
        title=title,
        label=label_of(asked.between, within),
        hypothesis=tested.text,
        groups=members,
        group_column=column,
        compared=tested.compared,
        sessions=tuple(_condition_label(one) for one in within.conditions) if within else (),
        responses=tuple(map(tuple, scope.responses.tolist())) if within else ONE_MAP,
        pairs=_labels(model.pairs, rows, tables),
        sites=_labels(model.sites, rows, tables),
        variance_groups=_labels(model.variance_groups, rows, tables),
        assume=model.assume,
        size="dz" if model.pairs and tested.size == "hedgesg" else tested.size,
        dropped=tuple(sorted(dropped.items(), key=lambda one: natural_key(one[0]))),
        remarks=(*model.remarks, *asked.remarks, *remarks),
        coding=matrix.coding,
        variables=_variables(shown_variables(terms, hidden), rows, scope),
    )
    asked = replace(asked, within=within, terms=terms)
    return replace(
        result, **_for_tables(result, model, asked, (matrix, tested), rows, found, scope)
    )


def _keep(
    model: Model, asked: _Asked, rows: dict[str, Row], dropped: dict[str, str], tables: Tables
) -> dict[str, Row]:
    """Return who can be in the model; why others cannot is added to ``dropped``."""
    needed = _needed(asked, model)
    kept = {}
    for label, row in rows.items():
        reason = reason_to_drop(row, tables, model, asked.groups, needed)
        if reason:
            dropped[label] = reason
        else:
            kept[label] = row
    return drop_unpaired(kept, dropped, tables, model.pairs) if model.pairs else kept


def _for_tables(
    result: Design,
    model: Model,
    asked: _Asked,
    described: tuple[Matrix, Hypothesis],
    rows: Mapping[str, Row],
    found: Found,
    scope: Scope,
) -> dict[str, Any]:
    """Return what tables need to know beyond maps: of sites, and of who lacks a session."""
    combat = plan_combat(model, *described, result)
    needed = _needed(asked, model)
    question = (asked.between, asked.within, asked.terms, asked.groups)
    beside = plan_sessions(model, question, rows, found, scope, needed)
    return {
        "combat": combat,
        "extra": beside.extra,
        "mixed": beside.about,
        "remarks": (*result.remarks, *beside.remarks),
    }


def _needed(asked: _Asked, model: Model) -> list[str]:
    """Return the variables without which nobody can be in the model."""
    units = (model.pairs, model.sites, model.variance_groups)
    return [*variables_of(asked.terms), *filter(None, units)]


def label_of(between: Contrast, within: Contrast | None) -> str:
    """Return the contrast as file names have it.

    Examples
    --------
    >>> from rls_bids.dataset.groups import between_contrast, session_contrast
    >>> label_of(between_contrast("RLS > HC", "group"), session_contrast("post > pre"))
    'RLSGtHCPostGtPre'
    """
    names = [one.name for one in (between, within) if one and one.name != INTERCEPT]
    text = " ".join(names) or "mean"
    return camel_label(text.replace(">", " gt ").replace("=", " eq "))


def _check_needed(model: Model, question: Question, tables: Tables) -> None:
    """Refuse variables that no table has, and units that participants.tsv does not have."""
    within, _ = question
    units = [(model.source, column) for column, _ in model.where]
    units += [] if model.terms else [("--group-column", model.group_column)]
    units += [
        (flag, column)
        for flag, column in (
            ("--pairs", model.pairs),
            ("--combat" if model.combat else "--sites", model.sites),
            ("--variance-groups", model.variance_groups),
        )
        if column
    ]
    check_units(units, tables)
    covariates = variables_of(tuple((name,) for name in model.covariates))
    names = [("--covariates", name) for name in covariates]
    names += [(model.source or "--regress", name) for name in variables_of(model.terms)]
    for condition in within.conditions if within else ():
        cells = [column for column, _ in split_cell(condition) if column != SESSION]
        names += [("--session-contrast", column) for column in cells]
    check_columns(names, tables)


def _settle(model: Model, question: Question, rows: Mapping[str, Row], tables: Tables) -> _Asked:
    """Decide what is left open: which groups, and which columns compare them."""
    within, between = question
    if model.terms:
        chosen = between or Contrast(name=INTERCEPT, conditions=(INTERCEPT,), weights=((1.0,),))
        return _Asked(between=chosen, within=within, terms=model.terms, groups=(), remarks=())
    column = tables.participants[model.group_column].dropna()
    remark = ""
    if between is None:
        members = [str(one) for one in column[column.index.isin(list(rows))]]
        between, remark = choose_contrast(members, model.group_column, within)
        groups = tuple(level for _, level in _cells((between,))) or tuple(sorted(set(members)))
    else:
        groups = tuple(dict.fromkeys(level for _, level in _cells(model.contrasts)))
        check_groups(groups, [str(one) for one in column], model.group_column)
    if model.group_column in model.covariates:
        others = " and ".join(f"{model.group_column}_{group}" for group in groups)
        text = COLLINEAR.format(column=model.group_column, others=others)
        raise UsageError(text, COVARIATE_HINT)
    covariates = tuple((name,) for name in model.covariates)
    if len(groups) > 1:
        terms: Terms = ((f"C({model.group_column})",), *covariates)
    else:
        between = replace(between, conditions=(INTERCEPT,))
        terms = ((), *covariates)
    remarks = (remark,) if remark else ()
    return _Asked(between=between, within=within, terms=terms, groups=groups, remarks=remarks)


def _cells(contrasts: Sequence[Contrast]) -> list[tuple[str, str]]:
    conditions = (condition for contrast in contrasts for condition in contrast.conditions)
    return [pair for condition in conditions for pair in split_cell(condition)]


def _check_counts(
    asked: _Asked,
    rows: Mapping[str, Row],
    tables: Tables,
    model: Model,
    dropped: Mapping[str, str],
) -> None:
    """Refuse a contrast with a group of one."""
    out = "; ".join(f"sub-{who}: {why}" for who, why in sorted(dropped.items())) or "nobody"
    if not rows:
        raise InputDataError(NOBODY.format(out=out))
    named = [(model.group_column, group) for group in asked.groups]
    named += [pair for pair in _cells((asked.between,)) if pair[0] in tables.participants]
    for column, level in dict.fromkeys(named):
        values = tables.participants[column]
        n = sum(str(values[label]).casefold() == level.casefold() for label in rows)
        is_known = (values.dropna().str.casefold() == level.casefold()).any()
        if is_known and n < MIN_PER_GROUP:
            raise InputDataError(TOO_FEW.format(group=level, n=n, least=MIN_PER_GROUP, out=out))


def _with_pairs(
    asked: _Asked, rows: Mapping[str, Row], tables: Tables, model: Model
) -> tuple[Terms, tuple[str, ...]]:
    """Add a column a pair; what is the same in both of every pair leaves, since pairs hold it.

    Columns that a file asks for stay, so that it is told what is wrong with them.
    """
    terms = asked.terms
    if model.sites and f"C({model.sites})" in model.covariates:
        known = {tables.participants[model.sites][label] for label in rows}
        terms = terms if len(known) > 1 else tuple(t for t in terms if t != (f"C({model.sites})",))
    if not model.pairs:
        return terms, ()
    pair_of = {label: str(tables.participants[model.pairs][label]) for label in rows}
    remarks = []
    for name in model.covariates:
        variable = variables_of(((name,),))[0]
        values: dict[str, set[object]] = {}
        for label, row in rows.items():
            value = values_of(variable, row, tables)
            values.setdefault(pair_of[label], set()).add(str(value).casefold())
        if all(len(each) == 1 for each in values.values()):
            terms = tuple(term for term in terms if term != (name,))
            remarks.append(SAME_IN_PAIRS.format(column=variable))
    has_pairs = any(model.pairs in variables_of((term,)) for term in terms)
    return (terms if has_pairs else (*terms, (f"C({model.pairs})",))), tuple(remarks)


def _shadowed(names: Sequence[str], tables: Tables) -> tuple[str, ...]:
    """Say which variables stand in two tables."""
    return tuple(
        SHADOWED.format(column=name)
        for name in names
        if name in tables.participants and (name in tables.of_sessions or name in MEASURED)
    )


def _scope(model: Model, asked: _Asked, tables: Tables) -> Scope:
    cells = _cells((*model.contrasts, asked.between))
    spelled = {model.group_column, model.pairs, *(column for column, _ in cells)}
    first = {model.group_column: asked.groups} if asked.groups else {}
    return Scope(
        tables=tables,
        within=asked.within,
        responses=_responses(asked.within),
        spelled=frozenset(spelled),
        first=first,
    )


def _responses(within: Contrast | None) -> NDArray[np.float64]:
    """Return how sessions become numbers; several contrasts are made orthonormal."""
    if within is None:
        return np.array(ONE_MAP)
    weights = np.array(within.weights, dtype=float)
    if len(weights) == 1:
        return weights
    _, sizes, rows = np.linalg.svd(weights, full_matrices=False)
    return np.asarray(rows[sizes > TOLERANCE * sizes[0]])


def _check_units(model: Model, within: Contrast | None, tested: Hypothesis, title: str) -> None:
    if model.pairs and tested.size == "dz":
        raise UsageError(PAIRS_MEAN.format(title=title), PAIRS_HINT)
    if model.variance_groups and within and len(within.weights) > 1:
        raise UsageError(VARIANCES_TOGETHER.format(title=title), VARIANCES_HINT)


def _members(
    tested: Hypothesis, matrix: Matrix, rows: Mapping[str, Row], tables: Tables, model: Model
) -> tuple[str, tuple[str, ...]]:
    """Return the groups of the rows: what the contrast compares, else the column of groups."""
    if tested.column:
        return tested.column, matrix.factors.categories[tested.column].values
    labels = _labels(model.group_column, rows, tables)
    return (model.group_column if labels else ""), labels


def _labels(column: str, rows: Mapping[str, Row], tables: Tables) -> tuple[str, ...]:
    """Return a column's labels, none where one is missing."""
    if not column or column not in tables.participants:
        return ()
    labels = [tables.participants[column][label] for label in rows]
    return () if any(map(is_missing, labels)) else tuple(map(str, labels))


def _condition_label(condition: str) -> str:
    """Return a condition as a table shows it: the session's label, or the levels."""
    return ":".join(level for _, level in split_cell(condition)) or condition


def _variables(names: Sequence[str], rows: Mapping[str, Row], scope: Scope) -> "pd.DataFrame":
    """Return what each participant has of the variables, as the model took it, not centred.

    Of several contrasts of sessions that are tested together: the mean of the sessions.
    """
    import pandas as pd

    weights = scope.responses[0]
    if len(scope.responses) > 1:
        weights = np.full(len(weights), 1 / len(weights))
    columns: dict[str, list[object]] = {}
    for name in names:
        columns[name] = []
        for row in rows.values():
            values = values_of(name, row, scope.tables)
            numbers = [number_of(value) for value in values]
            own = [number for number in numbers if number is not None]
            is_reduced = len(own) == len(weights) > 1
            columns[name].append(float(weights @ own) if is_reduced else values[0])
    return pd.DataFrame(columns, index=list(rows))
