"""The columns of a design: categories written out, numbers centred, contrasts as weights."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.formulas import INTERCEPT, parse_factor
from rls_bids.dataset.model import Contrast, Terms, split_cell
from rls_bids.errors import InputDataError, UsageError, nearest_hint

if TYPE_CHECKING:
    import pandas as pd

NO_FREEDOM = "{n} participants are too few for the {p} columns of the design ({columns})."
CONSTANT = "Covariate {column!r} has the same value for all participants in the model."
COLLINEAR = "Column {column!r} of the design is a combination of {others}."
COVARIATE_HINT = "Leave it out with --covariates (a site: --sites none), or out of the formula."
NO_CONSTANT = (
    "The design has neither a constant nor all levels of a category; its columns: {columns}."
)
NO_CONSTANT_HINT = "Begin the formula with 1, or the list X with 1."
UNKNOWN_CONDITION = "The contrast {contrast!r} names {name!r}; the design has {columns}."
NO_LEVEL = "The contrast {contrast!r} names {name!r}, but {column!r} has {levels}."
EMPTY = "The contrast {contrast!r} compares nothing: its weights cancel in this design."

CODED = "1 for {level}, else 0"
CENTRED = "{what}, minus its mean over the rows ({centre:.6g})"
PRODUCT = "product of {factors}"

TOLERANCE = 1e-8
ROUNDING = 1e-12
_CODE = re.compile(r"C\(c(\d+)\)\[(T\.)?L(\d+)\]")
_NUMBER = re.compile(r"^v(\d+)$")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A numeric factor, (n_rows,), and what it is in words; differences keep their zero."""

    values: FloatArray
    words: str
    is_difference: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A category: the level of each row, and all levels; the first is the reference."""

    values: tuple[str, ...]
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What columns are made of: numbers by factor, categories by variable."""

    numbers: Mapping[str, Numbers]
    categories: Mapping[str, Category]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matrix:
    """A design, a row each participant: ``coding`` says what each column holds."""

    frame: "pd.DataFrame"
    coding: tuple[tuple[str, str], ...]
    terms: Terms
    factors: Factors
    codes: tuple[str, ...]
    centres: FloatArray


def build_matrix(terms: Terms, factors: Factors, rows: Sequence[str]) -> Matrix:
    """Write the columns out.

    Parameters
    ----------
    terms : Terms
    factors : Factors
    rows : sequence of str
        Labels of the participants.

    Raises
    ------
    UsageError
        A column that is the same for all or a combination of others, or no constant.
    InputDataError
        No more rows than columns.
    """
    import pandas as pd

    names, raw = _encode(terms, factors, len(rows))
    shown = [_shown(name, terms, factors) for name in names]
    is_kept = [_keeps_zero(name, terms, factors) for name in names]
    centres = np.where(is_kept, 0.0, raw.mean(axis=0))
    values = raw - centres
    for name, column in zip(shown, values.T, strict=True):
        if name != INTERCEPT and np.abs(column).max() <= TOLERANCE:
            raise UsageError(CONSTANT.format(column=name), COVARIATE_HINT)
    frame = pd.DataFrame(dict(zip(shown, values.T, strict=True)), index=list(rows))
    check_rank(frame)
    _check_constant(frame)
    coding = tuple(
        (name, _coded(code, terms, factors, None if kept else float(centre)))
        for name, code, kept, centre in zip(shown, names, is_kept, centres, strict=True)
    )
    return Matrix(
        frame=frame,
        coding=coding,
        terms=terms,
        factors=factors,
        codes=tuple(names),
        centres=centres,
    )


def weigh(matrix: Matrix, contrast: Contrast) -> FloatArray:
    """Return the weights of a contrast's independent rows, (n_contrasts, n_columns).

    Raises
    ------
    UsageError
        An unknown condition, or nothing that is compared.
    """
    conditions = np.stack([_condition(matrix, contrast, name) for name in contrast.conditions])
    rows = np.array(contrast.weights) @ conditions
    kept: list[FloatArray] = []
    for row in rows:
        if np.linalg.matrix_rank(np.array([*kept, row]), tol=TOLERANCE) > len(kept):
            kept.append(np.where(np.abs(row) < ROUNDING, 0.0, row))
    if not kept:
        raise UsageError(EMPTY.format(contrast=contrast.name))
    return np.array(kept)


def cell(matrix: Matrix, levels: Mapping[str, str]) -> FloatArray:
    """Return the weights of the mean of a cell, at the average of everything else.

    It is the mean of all rows in which the categories are set to the cell's levels; differences
    between sessions are set to 0. Without levels it is the mean of everyone.
    """
    n = len(matrix.frame)
    changed = {
        name: Category(values=(level,) * n, levels=matrix.factors.categories[name].levels)
        for name, level in levels.items()
    }
    numbers = {
        name: replace(own, values=np.zeros(n)) if own.is_difference else own
        for name, own in matrix.factors.numbers.items()
    }
    factors = Factors(numbers=numbers, categories={**matrix.factors.categories, **changed})
    raw = _evaluate(matrix.codes, matrix.terms, factors, n)
    return np.asarray((raw - matrix.centres).mean(axis=0))


def columns_of(matrix: Matrix, variable: str) -> list[str]:
    """Return the columns that hold levels of one variable and nothing else."""
    found = []
    for shown, code in zip(matrix.frame.columns, matrix.codes, strict=True):
        parts = _parts(code, matrix.terms)
        if len(parts) == 1:
            name = parts[0][0]
            factor = None if name in matrix.factors.categories else parse_factor(name)
            found += [str(shown)] if variable in (name, factor and factor.name) else []
    return found


def _condition(matrix: Matrix, contrast: Contrast, name: str) -> FloatArray:
    """Return the weights of a column, or of a cell's mean."""
    columns = list(matrix.frame.columns)
    code = re.sub(r"C\((\w+)[^()]*(?:\([^()]*\))?\)", r"\1", name)  # as formulaic writes columns
    plain = re.sub(r"\[(?:T\.)?([^\]]*)\]", r"_\1", code)
    for text in (name, plain):
        if text in columns:
            return np.asarray(np.eye(len(columns))[columns.index(text)])
    if name.casefold() == INTERCEPT:
        return cell(matrix, {})
    pairs = dict(split_cell(name))
    categories = matrix.factors.categories
    if pairs and set(pairs) <= set(categories):
        found = {column: _level(contrast, column, level, categories[column])
                 for column, level in pairs.items()}  # fmt: skip
        return cell(matrix, found)
    known = [f"{column}.{level}" for column, each in categories.items() for level in each.levels]
    listed = ", ".join([*columns, *known])
    text = UNKNOWN_CONDITION.format(contrast=contrast.name, name=name, columns=listed)
    raise UsageError(text, nearest_hint(name, [*columns, *known]))


def _level(contrast: Contrast, column: str, level: str, category: Category) -> str:
    for found in category.levels:
        if level == found:
            return found
    for found in category.levels:
        if level.casefold() == found.casefold():
            return found
    listed = ", ".join(category.levels)
    text = NO_LEVEL.format(contrast=contrast.name, name=level, column=column, levels=listed)
    raise UsageError(text, nearest_hint(level, category.levels))


# --- from factors to columns --------------------------------------------------------------------


def _numeric(terms: Terms) -> list[str]:
    """Return the numeric factors, in the order of their codes."""
    found = (text for term in terms for text in term if not text.startswith("C("))
    return list(dict.fromkeys(found))


def _categorical(terms: Terms) -> list[str]:
    found = (text[2:-1] for term in terms for text in term if text.startswith("C("))
    return list(dict.fromkeys(found))


def _encode(terms: Terms, factors: Factors, n: int) -> tuple[list[str], FloatArray]:
    """Return names in codes (``v0``, ``C(c0)[T.L1]``) and columns that are not centred yet.

    Codes instead of names: whatever a table calls its columns and levels, formulaic sees words.
    Numbers are centred before they are multiplied, so that a main effect holds at the average.
    """
    import pandas as pd
    from formulaic import Formula

    numeric, categorical = _numeric(terms), _categorical(terms)
    data: dict[str, Any] = {"one": np.ones(n)}
    for number, text in enumerate(numeric):
        data[f"v{number}"] = _values(text, terms, factors)
    for number, name in enumerate(categorical):
        category = factors.categories[name]
        codes = [f"L{category.levels.index(value)}" for value in category.values]
        every = [f"L{place}" for place in range(len(category.levels))]
        data[f"c{number}"] = pd.Categorical(codes, categories=every)
    words = ["1" if () in terms else "0"]
    for term in terms:
        codes = [
            f"C(c{categorical.index(text[2:-1])})"
            if text.startswith("C(")
            else f"v{numeric.index(text)}"
            for text in term
        ]
        words += [":".join(codes)] if codes else []
    made = Formula(" + ".join(words)).get_model_matrix(pd.DataFrame(data), na_action="raise")
    return list(made.columns), made.to_numpy(float)


def _evaluate(codes: Sequence[str], terms: Terms, factors: Factors, n: int) -> FloatArray:
    """Return the columns of codes that :func:`_encode` chose, for other levels of the rows."""
    columns = []
    for code in codes:
        column = np.ones(n)
        for name, level, _ in _parts(code, terms):
            if level:
                category = factors.categories[name]
                wanted = category.levels[int(level)]
                column = column * np.array([value == wanted for value in category.values])
            else:
                column = column * _values(name, terms, factors)
        columns.append(column)
    return np.stack(columns, axis=1)


def _values(text: str, terms: Terms, factors: Factors) -> FloatArray:
    """Return a numeric factor; inside a product it is centred, unless its zero means something."""
    factor = parse_factor(text)
    if text not in factors.numbers and factor and factor.kind == "level":
        is_level = [value == factor.level for value in factors.categories[factor.name].values]
        return np.array(is_level, dtype=float)
    own = factors.numbers[text]
    return own.values - own.values.mean() if _is_centred_first(text, own, terms) else own.values


def _is_centred_first(text: str, own: Numbers, terms: Terms) -> bool:
    """Whether a number is centred before it is multiplied, so that main effects hold there."""
    return not own.is_difference and any(text in term and len(term) > 1 for term in terms)


def _parts(code: str, terms: Terms) -> list[tuple[str, str, bool]]:
    """Return (variable or factor, level, is every level a column) of each part of a column."""
    found = []
    for part in code.split(":"):
        category, number = _CODE.fullmatch(part), _NUMBER.fullmatch(part)
        if category:
            name = _categorical(terms)[int(category[1])]
            found.append((name, category[3], category[2] is None))
        elif number:
            found.append((_numeric(terms)[int(number[1])], "", False))
    return found


def _shown(code: str, terms: Terms, factors: Factors) -> str:
    """Return a column's name: ``group_RLS``, ``age``, ``group_RLS:age``, ``intercept``."""
    parts = _parts(code, terms)
    words = [
        f"{name}_{factors.categories[name].levels[int(level)]}" if level else name
        for name, level, _ in parts
    ]
    return ":".join(words) or INTERCEPT


def _keeps_zero(code: str, terms: Terms, factors: Factors) -> bool:
    """Whether a column is not centred: the constant, full sets of levels, differences."""
    parts = _parts(code, terms)
    if not parts or any(is_full for *_, is_full in parts):
        return True
    for name, level, _ in parts:
        own = factors.numbers.get(name)
        if not level and own is not None and own.is_difference:
            return True
        factor = parse_factor(name)
        if not level and own is None and factor and factor.kind == "level" and () not in terms:
            return True
    return False


def _coded(code: str, terms: Terms, factors: Factors, centre: float | None) -> str:
    """Say what a column holds."""
    parts = _parts(code, terms)
    if not parts:
        return "1"
    words = []
    for name, level, _ in parts:
        factor = parse_factor(name)
        if level:
            words.append(CODED.format(level=factors.categories[name].levels[int(level)]))
        elif name in factors.numbers:
            own = factors.numbers[name]
            mean = float(own.values.mean())
            is_centred = _is_centred_first(name, own, terms)
            words.append(CENTRED.format(what=own.words, centre=mean) if is_centred else own.words)
            centre = None if is_centred and len(parts) == 1 else centre
        elif factor:
            words.append(CODED.format(level=factor.level))
    what = words[0] if len(words) == 1 else PRODUCT.format(factors=" and ".join(words))
    return what if centre is None else CENTRED.format(what=what, centre=centre)


# --- what a design must be ----------------------------------------------------------------------


def check_rank(design: "pd.DataFrame") -> None:
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
        if np.linalg.norm(column - before @ weights) > TOLERANCE:
            continue
        used = [name for name, w in zip(names, weights, strict=False) if abs(w) > TOLERANCE]
        message = COLLINEAR.format(column=names[place], others=" and ".join(used))
        raise UsageError(message, COVARIATE_HINT)


def _check_constant(design: "pd.DataFrame") -> None:
    """Refuse a regression through the origin: nobody means it."""
    matrix = design.to_numpy(float)
    ones = np.ones(len(matrix))
    left = ones - matrix @ np.linalg.lstsq(matrix, ones, rcond=None)[0]
    if np.linalg.norm(left) > TOLERANCE * len(ones):
        columns = ", ".join(design.columns)
        raise UsageError(NO_CONSTANT.format(columns=columns), NO_CONSTANT_HINT)
