"""What a contrast tests: in words, between which groups, and with which effect size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.formulas import INTERCEPT, variables_of
from rls_bids.dataset.matrix import Matrix, cell
from rls_bids.dataset.model import Contrast, Terms, split_cell
from rls_bids.numerics.sizes import SizeKind

SAME = "{first} and {second} have the same {value}{given}."
ALL_SAME = "{names} all have the same {value}{given}."
SUM = "{sum} of the groups' {value}s is 0{given}."
MEAN_OF = "The {value} of {group} is 0{given}."
MEAN = "The {value} is 0{given}."
SLOPE = "The {what} does not depend on {column}{given}: its slope is 0."
ANY = "{name} is 0{given}: {sum}."
ANY_OF = "Each of these is 0{given}: {sums}."
VALUE, CHANGE, TOGETHER = "mean", "mean of {name}", "vector of means of {name}"
PLAIN, OF_SESSIONS = "value", "value of {name}"
GIVEN = ", given {names}"
AT_MEAN = ", at the average of {names}"
UNCHANGED = ", without a difference of {names}"

TOLERANCE = 1e-8
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """``compared`` are groups with weights, ``column`` is the category that they are levels of."""

    text: str
    size: SizeKind
    compared: tuple[tuple[str, float], ...] = ()
    column: str = ""


def describe(
    matrix: Matrix,
    weights: FloatArray,
    contrast: Contrast,
    within: Contrast | None,
    hidden: Sequence[str] = (),
) -> Hypothesis:
    """Say what the rows of weights test.

    ``hidden`` are variables that the words leave out, as the labels of pairs.
    """
    column, found = _in_groups(matrix, weights, hidden)
    is_difference = bool(column) and bool(np.abs(found.sum(axis=1)).max() < TOLERANCE)
    variables = [name for name in variables_of(matrix.terms) if name not in (column, *hidden)]
    value = VALUE
    if within:
        value = (CHANGE if len(within.weights) == 1 else TOGETHER).format(name=within.name)
    if len(weights) > 1 or (within and len(within.weights) > 1):
        text = _together(matrix, weights, value, (column, found, is_difference), variables)
        compared = _listed(matrix, column, found[:1]) if is_difference else ()
        return Hypothesis(text=text, size="partialeta2", compared=compared, column=column)
    if is_difference:
        compared = _listed(matrix, column, found)
        given = _given(GIVEN, variables)
        text = _difference(compared, value, given)
        return Hypothesis(text=text, size="hedgesg", compared=compared, column=column)
    row = weights[0]
    if _is_mean(matrix, row):
        kept = [name for name in variables if _is_difference_of(matrix, name)]
        centred = [name for name in variables if name not in kept]
        given = _given(AT_MEAN, centred) + _given(UNCHANGED, kept)
        compared = _listed(matrix, column, found) if column else ()
        group = compared[0][0] if len(compared) == 1 else ""
        text = (MEAN_OF if group else MEAN).format(value=value, group=group, given=given)
        cells = [name for one in contrast.conditions for name, _ in split_cell(one)]
        if len(compared) == 1 or column in cells:
            return Hypothesis(text=text, size="dz", compared=compared, column=column)
        return Hypothesis(text=text, size="dz")
    name = _single(matrix, row)
    others = [each for each in variables if each != name.partition("(")[2].rstrip(")")]
    given = _given(GIVEN, [each for each in others if each != name])
    if name:
        what = OF_SESSIONS.format(name=within.name) if within else PLAIN
        text = SLOPE.format(what=what, column=name, given=given)
    else:
        text = ANY.format(name=contrast.name, given=given, sum=_sum(matrix, row))
    return Hypothesis(text=text, size="partialr")


def _in_groups(
    matrix: Matrix, weights: FloatArray, hidden: Sequence[str]
) -> tuple[str, FloatArray]:
    """Return the category whose cells alone make up the contrast, and their weights."""
    for name, category in matrix.factors.categories.items():
        if name in hidden:
            continue
        cells = np.stack([cell(matrix, {name: level}) for level in category.levels])
        found = np.linalg.lstsq(cells.T, weights.T, rcond=None)[0].T
        if np.abs(found @ cells - weights).max() < TOLERANCE:
            return name, np.where(np.abs(found) < TOLERANCE, 0.0, found)
    return "", np.zeros((len(weights), 0))


def _listed(matrix: Matrix, column: str, found: FloatArray) -> tuple[tuple[str, float], ...]:
    """Return the levels that take part, those with positive weights first."""
    levels = matrix.factors.categories[column].levels
    pairs = [(level, round(float(w), 12)) for level, w in zip(levels, found[0], strict=True) if w]
    return tuple(sorted(pairs, key=lambda pair: pair[1] < 0))


def _difference(compared: Sequence[tuple[str, float]], value: str, given: str) -> str:
    if len(compared) == 2:
        return SAME.format(first=compared[0][0], second=compared[1][0], value=value, given=given)
    return SUM.format(sum=_written(compared), value=value, given=given)


def _together(
    matrix: Matrix,
    weights: FloatArray,
    value: str,
    tested: tuple[str, FloatArray, bool],
    variables: list[str],
) -> str:
    """Say what several contrasts, or several responses, test together."""
    column, found, is_difference = tested
    given = _given(GIVEN, variables)
    if is_difference and len(weights) == 1:
        return _difference(_listed(matrix, column, found), value, given)
    if is_difference:
        levels = matrix.factors.categories[column].levels
        names = [
            level
            for level, used in zip(levels, np.any(found, axis=0).tolist(), strict=True)
            if used
        ]
        if len(names) == len(weights) + 1:
            return ALL_SAME.format(names=_and(names), value=value, given=given)
    if len(weights) == 1 and _is_mean(matrix, weights[0]):
        kept = [name for name in variables if _is_difference_of(matrix, name)]
        centred = [name for name in variables if name not in kept]
        given = _given(AT_MEAN, centred) + _given(UNCHANGED, kept)
        return MEAN.format(value=value, given=given)
    sums = "; ".join(_sum(matrix, row) for row in weights)
    return ANY_OF.format(given=given, sums=sums)


def _is_mean(matrix: Matrix, row: FloatArray) -> bool:
    """Whether the constant itself is tested: the reduced model could not hold it."""
    ones = np.ones(len(matrix.frame))
    solved = np.linalg.lstsq(matrix.frame.to_numpy(float), ones, rcond=None)[0]
    return bool(abs(float(row @ solved)) > TOLERANCE)


def _is_difference_of(matrix: Matrix, name: str) -> bool:
    own = [each for text, each in matrix.factors.numbers.items() if text.startswith(name)]
    return any(each.is_difference for each in own)


def _single(matrix: Matrix, row: FloatArray) -> str:
    """Return the name of the only column that is tested, or nothing."""
    names = [name for name, w in zip(matrix.frame.columns, row, strict=True) if w]
    return str(names[0]) if len(names) == 1 else ""


def _sum(matrix: Matrix, row: FloatArray) -> str:
    columns = zip(matrix.frame.columns, row, strict=True)
    return _written([(str(name), float(w)) for name, w in columns if w])


def _written(pairs: Sequence[tuple[str, float]]) -> str:
    """Write a weighted sum.

    Examples
    --------
    >>> _written([("A", 1.0), ("B", -0.5), ("C", -0.5)])
    'A − 0.5 B − 0.5 C'
    """
    words = []
    for number, (name, weight) in enumerate(pairs):
        sign = "−" if weight < 0 else "+"
        size = "" if abs(abs(weight) - 1) < TOLERANCE else f"{abs(weight):.3g} "
        lead = sign + " " if number else ("−" if weight < 0 else "")
        words.append(f"{lead}{size}{name}")
    return " ".join(words)


def _given(template: str, names: Sequence[str]) -> str:
    return template.format(names=_and(names)) if names else ""


def _and(names: Sequence[str]) -> str:
    """List names in words.

    Examples
    --------
    >>> _and(["age", "sex", "mean_fd"])
    'age, sex and mean_fd'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def title_of(between: Contrast, within: Contrast | None) -> str:
    """Return the contrast for readers.

    Examples
    --------
    >>> mean = Contrast(name="intercept", conditions=("intercept",), weights=((1.0,),))
    >>> title_of(mean, None)
    'mean'
    """
    if within is None:
        return "mean" if between.name == INTERCEPT else between.name
    return within.name if between.name == INTERCEPT else f"{between.name}: {within.name}"


def shown_variables(terms: Terms, hidden: Sequence[str]) -> tuple[str, ...]:
    """Return the variables of a model that readers see."""
    return tuple(name for name in variables_of(terms) if name not in hidden)
