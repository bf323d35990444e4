"""BIDS Stats Models (version 1.0) read into a :class:`~rls_bids.dataset.model.Model`.

What a model may ask for is on the page ``docs/group-models.md``; whatever else a file holds is
refused with its place, since a key that is ignored would be a model that was not fitted.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rls_bids.dataset.formulas import INTERCEPT, parse_factor, parse_formula, variables_of
from rls_bids.dataset.harmonising import check_combat
from rls_bids.dataset.model import Contrast, Model, Terms, Towards, split_cell
from rls_bids.dataset.naming import camel_label
from rls_bids.errors import UsageError, nearest_hint

SOFTWARE = "rls_bids"
VERSIONS = ("1.0", "1.0.0")

UNREADABLE = "{path} cannot be read: {reason}."
NOT_JSON = "{path}: line {line}, column {column} is not JSON ({reason})."
UNKNOWN_KEY = "{place} has the key {key!r}, which a group model of rls_bids does not have."
KEYS_HINT = "It may have {known}."
LACKS = "{place} lacks {key}."
WRONG = "{place} is {found}; expected {expected}."
NODES = "a Dataset node, and before it a Subject node where participants have several sessions"
ONE_OF_A_KIND = "{place} has {n} {level} nodes; expected one: write one file a model."
OWN_RUNS = "{place} is {found!r}: runs are combined before the model; leave this node out."
GROUPED = "{place} is {found}; expected {expected}, for the contrast decides what is grouped."
WEIGHTS = "{place} has {n} weights, ConditionList has {expected} conditions."
TWICE = "{place} has several contrasts called {name!r}."
NO_CONTRAST = "{place} names the contrast {name!r}; the Subject node has {found}."
BAD_PLACE = "{place}: {message}"
NOT_IN_X = "{place} names {name!r}, which is no column of the node; it has {columns}."
SUBJECT_MODEL = "1, or every cell of sessions like '0 + C(session)'"
DUMMY_LIST = "{place} needs Contrasts: a category has several columns."
BAD_TRANSFORM = "{place} is {found!r}; only Factor is understood: numbers are centred anyway."

_TOP = ("Name", "BIDSModelVersion", "Description", "Input", "Nodes", "Edges")
_NODE = ("Level", "Name", "GroupBy", "Model", "Transformations", "Contrasts", "DummyContrasts")
_MODEL = ("Type", "X", "Formula", "Software")
_INPUT = ("task", "session", "subject")
_CONTRAST = ("Name", "ConditionList", "Weights", "Test")
_OWN = (
    *("name", "group_column", "where", "pair_id", "site", "variance_groups", "assume", "combat"),
    *("max_mean_fd", "family", "equivalence_bound", "regions", "voxel_covariates"),
    "towards_controls",
)
_TOWARDS = ("patients", "controls", "before", "after", "untreated", "source", "covariates")


def read_model(path: str | Path) -> Model:
    """Read a model file.

    Raises
    ------
    UsageError
        It cannot be read, is not JSON (with the line), or asks for what is not understood (with
        the place).
    """
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        where = {"line": error.lineno, "column": error.colno}
        raise UsageError(NOT_JSON.format(path=path, reason=error.msg, **where)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(UNREADABLE.format(path=path, reason=error)) from error
    return _model(told, str(path))


def _model(told: object, path: str) -> Model:
    given = _object(told, path, _TOP, needed=("Name", "BIDSModelVersion", "Nodes"))
    version = given["BIDSModelVersion"]
    if version not in VERSIONS:
        place = f"{path}: BIDSModelVersion"
        raise _wrong(place, version, " or ".join(VERSIONS))
    wanted = _object(given.get("Input", {}), f"{path}: Input", _INPUT)
    subject, dataset = _nodes(given["Nodes"], f"{path}: Nodes")
    within = _within(*subject) if subject else ()
    within = _edges(given.get("Edges"), f"{path}: Edges", within, (subject, dataset))
    node, place = dataset
    _transformations(node.get("Transformations"), f"{place}.Transformations")
    model = _object(node["Model"], f"{place}.Model", _MODEL)
    terms = _terms(model, f"{place}.Model")
    software = _object(model.get("Software", {}), f"{place}.Model.Software", (SOFTWARE,))
    own = _object(software.get(SOFTWARE, {}), f"{place}.Model.Software.{SOFTWARE}", _OWN)
    return Model(
        terms=terms,
        contrasts=_contrasts(node, place, terms),
        within=within,
        tasks=_bare(wanted, "task", f"{path}: Input"),
        sessions=_bare(wanted, "session", f"{path}: Input", "ses-"),
        participants=_bare(wanted, "subject", f"{path}: Input", "sub-"),
        source=path,
        **_extensions(own, f"{place}.Model.Software.{SOFTWARE}", _text(given, "Name", path)),
    )


# --- plain JSON, with the place of what is wrong ------------------------------------------------


def _wrong(place: str, found: object, expected: str, hint: str = "") -> UsageError:
    shown = json.dumps(found, ensure_ascii=False)
    return UsageError(WRONG.format(place=place, found=shown, expected=expected), hint)


def _object(
    value: object, place: str, known: Sequence[str], needed: Sequence[str] = ()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(place, value, "an object {…}")
    for key in value:
        if key not in known:
            hint = nearest_hint(key, known) or KEYS_HINT.format(known=", ".join(known))
            raise UsageError(UNKNOWN_KEY.format(place=place, key=key), hint)
    for key in needed:
        if key not in value:
            raise UsageError(LACKS.format(place=place, key=key))
    return value


def _text(given: Mapping[str, Any], key: str, place: str, default: str = "") -> str:
    value = given.get(key, default)
    if not isinstance(value, str) or (key in given and not value.strip()):
        raise _wrong(f"{place}.{key}", value, "a text")
    return value.strip()


def _texts(given: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    value = given.get(key, [])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) and one for one in listed):
        raise _wrong(f"{place}.{key}", value, "a list of texts")
    return tuple(listed)


def _bare(given: Mapping[str, Any], key: str, place: str, prefix: str = "") -> tuple[str, ...]:
    return tuple(text.removeprefix(prefix) for text in _texts(given, key, place))


def _list(value: object, place: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _wrong(place, value, "a list that is not empty")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- nodes and edges ----------------------------------------------------------------------------

_Node = tuple[dict[str, Any], str]


def _nodes(told: object, place: str) -> tuple[_Node | None, _Node]:
    """Return the Subject node, if there is one, and the Dataset node, each with its place."""
    found: dict[str, list[_Node]] = {"Subject": [], "Dataset": []}
    for number, value in enumerate(_list(told, place)):
        here = f"{place}[{number}]"
        node = _object(value, here, _NODE, needed=("Level", "Name", "Model"))
        level = str(node["Level"])
        if level.casefold() in ("run", "session"):
            raise UsageError(OWN_RUNS.format(place=f"{here}.Level", found=level))
        if level.capitalize() not in found:
            hint = nearest_hint(level, found)
            raise _wrong(f"{here}.Level", node["Level"], "Subject or Dataset", hint)
        found[level.capitalize()].append((node, here))
    for level, nodes in found.items():
        if len(nodes) > 1:
            raise UsageError(ONE_OF_A_KIND.format(place=place, n=len(nodes), level=level))
        for node, here in nodes:
            _check_grouping(level, node, here)
    if not found["Dataset"]:
        levels = [node["Level"] for node, _ in found["Subject"]]
        raise _wrong(place, levels, NODES)
    return next(iter(found["Subject"]), None), found["Dataset"][0]


def _check_grouping(level: str, node: Mapping[str, Any], here: str) -> None:
    ways: tuple[set[str], ...] = (set(), {"contrast"})
    if level == "Subject":
        ways = ({"subject"}, {"subject", "contrast"})
    if "GroupBy" in node and set(_texts(node, "GroupBy", here)) not in ways:
        expected = " or ".join(json.dumps(sorted(way)) for way in ways)
        shown = json.dumps(node["GroupBy"])
        text = GROUPED.format(place=f"{here}.GroupBy", found=shown, expected=expected)
        raise UsageError(text)


def _edges(
    told: object, place: str, within: tuple[Contrast, ...], nodes: tuple[_Node | None, _Node]
) -> tuple[Contrast, ...]:
    """Return the contrasts of the Subject node that lead to the Dataset node."""
    if told is None:
        return within
    names = [node[0]["Name"] for node in nodes if node]
    if not isinstance(told, list) or len(told) != len(names) - 1:
        raise _wrong(place, told, f"{len(names) - 1} edges for {len(names)} nodes")
    for number, value in enumerate(told):
        here = f"{place}[{number}]"
        edge = _object(value, here, ("Source", "Destination", "Filter"), ("Source", "Destination"))
        ends = [edge["Source"], edge["Destination"]]
        if ends != names:
            raise _wrong(here, ends, f"from {names[0]!r} to {names[1]!r}")
        chosen = _object(edge.get("Filter", {}), f"{here}.Filter", ("contrast",))
        wanted = _texts(chosen, "contrast", f"{here}.Filter")
        known = {contrast.name: contrast for contrast in within}
        for name in wanted:
            if name not in known:
                listed = ", ".join(known)
                text = NO_CONTRAST.format(place=f"{here}.Filter", name=name, found=listed)
                raise UsageError(text, nearest_hint(name, known))
        within = tuple(known[name] for name in wanted) or within
    return within


def _transformations(told: object, place: str) -> None:
    """Accept Factor, which columns like ``group.RLS`` imply anyway, and nothing else."""
    if told is None:
        return
    given = _object(told, place, ("Transformer", "Instructions"), ("Instructions",))
    for number, one in enumerate(_list(given["Instructions"], f"{place}.Instructions")):
        name = one.get("Name") if isinstance(one, dict) else one
        if name != "Factor":
            here = f"{place}.Instructions[{number}]"
            raise UsageError(BAD_TRANSFORM.format(place=here, found=name))


def _terms(model: Mapping[str, Any], place: str) -> Terms:
    """Return the columns that X or Formula asks for."""
    kind = model.get("Type", "glm")
    if kind not in ("glm", "meta"):
        raise _wrong(f"{place}.Type", kind, "glm")
    if ("X" in model) == ("Formula" in model):
        raise UsageError(LACKS.format(place=place, key="one of X and Formula"))
    if "Formula" in model:
        try:
            return parse_formula(_text(model, "Formula", place))
        except UsageError as error:
            message = BAD_PLACE.format(place=f"{place}.Formula", message=error.message)
            raise UsageError(message, error.hint) from error
    terms: list[tuple[str, ...]] = []
    for number, value in enumerate(_list(model["X"], f"{place}.X")):
        if value in (1, "1") and not isinstance(value, bool):
            terms.append(())
        elif isinstance(value, str) and all(parse_factor(part) for part in value.split(":")):
            terms.append(tuple(value.split(":")))
        else:
            expected = "1, a variable, or a level like group.RLS"
            raise _wrong(f"{place}.X[{number}]", value, expected)
    return tuple(terms)


# --- contrasts ----------------------------------------------------------------------------------


def _within(node: dict[str, Any], place: str) -> tuple[Contrast, ...]:
    """Return the contrasts over the sessions of each participant."""
    _transformations(node.get("Transformations"), f"{place}.Transformations")
    model = _object(node["Model"], f"{place}.Model", _MODEL)
    terms = _terms(model, f"{place}.Model")
    kinds = {factor.kind for term in terms for text in term if (factor := parse_factor(text))}
    if terms == ((),):
        return _contrasts(node, place, terms, default=INTERCEPT)
    is_cells = () not in terms and kinds <= {"category", "level"}
    if not is_cells or ("category" in kinds and len(terms) > 1):
        shown = model.get("Formula", model.get("X"))
        raise _wrong(f"{place}.Model", shown, SUBJECT_MODEL)
    return _contrasts(node, place, terms)


def _contrasts(
    node: Mapping[str, Any], place: str, terms: Terms, default: str = ""
) -> tuple[Contrast, ...]:
    found = [
        _contrast(value, f"{place}.Contrasts[{number}]")
        for number, value in enumerate(node.get("Contrasts") or [])
    ]
    found += _dummies(node.get("DummyContrasts"), f"{place}.DummyContrasts", terms)
    if not found and default:
        found = [Contrast(name=default, conditions=(default,), weights=((1.0,),))]
    if not found:
        raise UsageError(LACKS.format(place=place, key="Contrasts (or DummyContrasts)"))
    labels = [camel_label(contrast.name).casefold() for contrast in found]
    for number, contrast in enumerate(found):
        if labels[number] in labels[:number]:
            raise UsageError(TWICE.format(place=place, name=contrast.name))
    known = variables_of(terms)
    for condition in (one for contrast in found for one in contrast.conditions):
        used = [column for column, _ in split_cell(condition)]
        if used and not set(used) <= set(known):
            listed = ", ".join(known) or "1"
            text = NOT_IN_X.format(place=place, name=condition, columns=listed)
            raise UsageError(text, nearest_hint(used[0], known))
    return tuple(found)


def _contrast(value: object, place: str) -> Contrast:
    given = _object(value, place, _CONTRAST, needed=("Name", "ConditionList", "Weights"))
    conditions = [
        _condition(each) for each in _list(given["ConditionList"], f"{place}.ConditionList")
    ]
    if not all(conditions):
        raise _wrong(f"{place}.ConditionList", given["ConditionList"], "a list of texts")
    test = given.get("Test", "t")
    if test not in ("t", "F", "pass"):
        raise _wrong(f"{place}.Test", test, "t or F")
    weights = _list(given["Weights"], f"{place}.Weights")
    rows = weights if isinstance(weights[0], list) else [weights]
    numbers = [[_weight(one) for one in row] if isinstance(row, list) else [None] for row in rows]
    if any(one is None for row in numbers for one in row) or not all(any(row) for row in numbers):
        raise _wrong(f"{place}.Weights", weights, "numbers that are not all 0, or rows of them")
    for row in numbers:
        if len(row) != len(conditions):
            counts = {"n": len(row), "expected": len(conditions)}
            raise UsageError(WEIGHTS.format(place=f"{place}.Weights", **counts))
    if test != "F" and len(rows) > 1:
        raise _wrong(f"{place}.Test", test, "F for several rows of weights")
    return Contrast(
        name=_text(given, "Name", place),
        conditions=tuple(conditions),
        weights=tuple(tuple(float(one or 0) for one in row) for row in numbers),
        test="F" if len(rows) > 1 else "t",
        is_given=True,
    )


def _condition(value: object) -> str:
    if value in (1, "1") and not isinstance(value, bool):
        return INTERCEPT
    return value.strip() if isinstance(value, str) else ""


def _weight(value: object) -> float | None:
    """Return a weight; BIDS Stats Models allow fractions as texts."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+/[1-9]\d*", value):
        upper, _, lower = value.partition("/")
        return int(upper) / int(lower)
    return float(value) if isinstance(value, int | float) and _is_number(value) else None


def _dummies(told: object, place: str, terms: Terms) -> Iterable[Contrast]:
    """Yield a contrast for each column that is to be tested by itself."""
    if told is None:
        return
    given = _object(told, place, ("Test", "Contrasts"))
    if given.get("Test", "t") not in ("t", "pass"):
        raise _wrong(f"{place}.Test", given["Test"], "t")
    wanted = [_condition(one) for one in given.get("Contrasts", [])]
    if not wanted:
        factors = [parse_factor(text) for term in terms for text in term]
        if any(factor and factor.kind == "category" for factor in factors):
            raise UsageError(DUMMY_LIST.format(place=place))
        wanted = [":".join(term) or INTERCEPT for term in terms]
    for name in wanted:
        yield Contrast(name=name, conditions=(name,), weights=((1.0,),), is_given=True)


# --- what BIDS Stats Models leave to the software -----------------------------------------------


def _extensions(own: Mapping[str, Any], place: str, name: str) -> dict[str, Any]:
    family: Literal["all", "none"] = own.get("family", "all")
    if family not in ("all", "none"):
        raise _wrong(f"{place}.family", family, "all or none")
    if own.get("assume", "") not in ("", "compound_symmetry"):
        raise _wrong(f"{place}.assume", own["assume"], "compound_symmetry")
    for key in ("max_mean_fd", "equivalence_bound"):
        if key in own and not (_is_number(own[key]) and own[key] > 0):
            raise _wrong(f"{place}.{key}", own[key], "a number above 0")
    where = own.get("where", {})
    if not isinstance(where, dict):
        raise _wrong(f"{place}.where", where, "an object of columns and their values")
    return {
        "name": camel_label(_text(own, "name", place, name)),
        "group_column": _text(own, "group_column", place, "group"),
        "where": tuple((key, _texts(where, key, f"{place}.where")) for key in where),
        "pairs": _text(own, "pair_id", place),
        "sites": check_combat(_text(own, "combat", place), _text(own, "site", place), place),
        "combat": _text(own, "combat", place),
        "variance_groups": _text(own, "variance_groups", place),
        "assume": _text(own, "assume", place),
        "max_mean_fd_mm": float(own["max_mean_fd"]) if "max_mean_fd" in own else None,
        "family": family,
        "equivalence_bound": own.get("equivalence_bound"),
        "regions": _texts(own, "regions", place),
        "voxel_covariates": _texts(own, "voxel_covariates", place),
        "towards": _towards(own.get("towards_controls"), f"{place}.towards_controls"),
    }


def _towards(told: object, place: str) -> Towards | None:
    if told is None:
        return None
    given = _object(told, place, _TOWARDS, needed=_TOWARDS[:4])
    texts = {key: _text(given, key, place) for key in given if key != "covariates"}
    return Towards(**texts, covariates=_texts(given, "covariates", place))
