"""Formulas of group models: which columns they ask for, without running anything they hold.

Operators (``+ - * : **`` and brackets) are expanded by formulaic. A factor may be a variable, a
category ``C(name)`` with another reference ``C(name, contr.treatment("HC"))``, or a function of
a variable out of :data:`FUNCTIONS`; nothing else is evaluated, so that a model is never a program.
"""

import re
from dataclasses import dataclass
from typing import Literal

from rls_bids.dataset.model import Terms
from rls_bids.errors import UsageError

BAD_FORMULA = "The formula {formula!r} cannot be read: {reason}."
LEFT_SIDE = "it has a left side, but the maps are what is explained"
NO_TERM = "it asks for no column"
BAD_FACTOR = "{factor!r} is neither a variable, C(variable) nor one of {functions} of a variable"
FUNCTIONS = ("log", "log10", "sqrt")
INTERCEPT = "intercept"

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_CATEGORY = re.compile(
    rf"C\(({_NAME})(?:,(?:contr\.treatment)\((?:base=)?['\"]([^'\"]+)['\"]\))?\)"
)
_FUNCTION = re.compile(rf"(?:np\.)?({'|'.join(FUNCTIONS)})\(({_NAME})\)")
_LEVEL = re.compile(rf"({_NAME})\.([^()\[\]'\"]+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|⧛|⧚")


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One factor of a column: a variable, taken as it is, as a category, or one level of it."""

    name: str
    kind: Literal["variable", "category", "level"] = "variable"
    level: str = ""
    function: str = ""


def parse_formula(formula: str) -> Terms:
    """Expand a formula into products of factors; the constant is an empty product.

    Raises
    ------
    UsageError
        It cannot be read, has a left side, or asks for more than variables.

    Examples
    --------
    >>> parse_formula("1 + C(group)*age")
    ((), ('C(group)',), ('age',), ('C(group)', 'age'))
    """
    from formulaic import Formula, SimpleFormula
    from formulaic.errors import FormulaicError

    try:
        parsed = Formula(formula)
    except (FormulaicError, SyntaxError) as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        reason = _COLOURS.sub("", reason)
        raise UsageError(BAD_FORMULA.format(formula=formula, reason=reason)) from error
    if not isinstance(parsed, SimpleFormula):
        raise UsageError(BAD_FORMULA.format(formula=formula, reason=LEFT_SIDE))
    terms = tuple(
        tuple(_plain(factor.expr) for factor in term.factors if factor.expr != "1")
        for term in parsed
    )
    if not terms:
        raise UsageError(BAD_FORMULA.format(formula=formula, reason=NO_TERM))
    for text in dict.fromkeys(text for term in terms for text in term):
        factor = parse_factor(text)
        if factor is None or factor.kind == "level":
            reason = BAD_FACTOR.format(factor=text, functions=", ".join(FUNCTIONS))
            raise UsageError(BAD_FORMULA.format(formula=formula, reason=reason))
    return terms


def _plain(text: str) -> str:
    """Return a factor in one spelling: no blanks, no quotation of names."""
    return re.sub(r"\s*([(),=])\s*", r"\1", text).strip().strip("`")


def parse_factor(text: str) -> Factor | None:
    """Tell what a factor is, or None.

    Examples
    --------
    >>> parse_factor("C(group,contr.treatment('HC'))")
    Factor(name='group', kind='category', level='HC', function='')
    >>> parse_factor("group.RLS").kind, parse_factor("np.log(age)").function
    ('level', 'log')
    >>> parse_factor("__import__('os')") is None
    True
    """
    if re.fullmatch(_NAME, text):
        return Factor(name=text)
    category = _CATEGORY.fullmatch(text)
    if category:
        return Factor(name=category[1], kind="category", level=category[2] or "")
    function = _FUNCTION.fullmatch(text)
    if function:
        return Factor(name=function[2], function=function[1])
    level = _LEVEL.fullmatch(text)
    if level:
        return Factor(name=level[1], kind="level", level=level[2])
    return None


def variables_of(terms: Terms) -> tuple[str, ...]:
    """Return the variables that columns are made of, each once.

    Examples
    --------
    >>> variables_of(parse_formula("1 + C(group):age + log(ferritin)"))
    ('ferritin', 'group', 'age')
    """
    factors = [parse_factor(text) for term in terms for text in term]
    return tuple(dict.fromkeys(factor.name for factor in factors if factor))
