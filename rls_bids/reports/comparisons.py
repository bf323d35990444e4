"""Small tests between groups of participants, as the cells of a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rls_bids.reports.texts import NOTHING, number

WELCH, FISHER, CHI, ANOVA = "Welch's t", "Fisher's exact", "χ²", "analysis of variance"
_SMALL = 0.001
_LEAST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is known of each group, how it was compared, and the p value (``None``: not tested)."""

    cells: tuple[str, ...]
    test: str
    p: float | None

    @property
    def p_text(self) -> str:
        """The p value as a cell."""
        return NOTHING if self.p is None else p_text(self.p)

    @property
    def p_words(self) -> str:
        """The p value in a sentence."""
        sign = "" if self.p_text.startswith("<") else "= "
        return f"p {sign}{self.p_text}"


def p_text(p: float) -> str:
    """Return a p value with three decimals.

    Examples
    --------
    >>> p_text(0.0321), p_text(0.00002), p_text(1.0)
    ('0.032', '< 0.001', '1')
    """
    return "< 0.001" if p < _SMALL else f"{p:.3f}".rstrip("0").rstrip(".")


def compare_counts(some: Sequence[int], n: Sequence[int]) -> Comparison:
    """Compare rates: two by Fisher's exact test, more by χ².

    Parameters
    ----------
    some, n : sequence of int
        How many of how many, in each group.

    Examples
    --------
    >>> compare_counts([6, 0], [10, 10]).cells
    ('6 of 10 (60 %)', '0 of 10 (0 %)')
    """
    pairs = list(zip(some, n, strict=True))
    cells = tuple(f"{k} of {m} ({100 * k / m:.0f} %)" if m else "0 of 0" for k, m in pairs)
    table = [[k, m - k] for k, m in pairs]
    if len(pairs) == _LEAST:
        return Comparison(cells=cells, test=FISHER, p=float(stats.fisher_exact(table).pvalue))
    columns = np.array(table).sum(axis=0)
    if len(pairs) < _LEAST or not columns.all() or not all(n):
        return Comparison(cells=cells, test=CHI if len(pairs) > _LEAST else NOTHING, p=None)
    return Comparison(cells=cells, test=CHI, p=float(stats.chi2_contingency(table).pvalue))


def compare_values(*samples: Sequence[object]) -> Comparison:
    """Compare a variable between groups.

    Two groups by Welch's t (numbers) or Fisher's exact test (two categories), more by analysis
    of variance or χ². Missing values (``None``, NaN) are left out. Words of two kinds are
    categories, also when they are digits. Nothing is tested where nothing varies or a group has
    fewer than two numbers.

    Examples
    --------
    >>> compare_values(["F", "F", "M"], ["M", "f", None]).cells
    ('f: 2, m: 1', 'f: 1, m: 1')
    """
    kept = [[value for value in side if not _is_missing(value)] for side in samples]
    words = [[str(value).casefold() for value in side] for side in kept]
    is_text = all(isinstance(value, str) for side in kept for value in side)
    if is_text and len({word for side in words for word in side}) <= _LEAST:
        return _compare_categories(words)
    try:
        return _compare_numbers([np.array(side, dtype=float) for side in kept])
    except ValueError:
        return _compare_categories(words)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _compare_numbers(samples: Sequence[NDArray[np.float64]]) -> Comparison:
    cells, moments = [], []
    for sample in samples:
        spread = float(sample.std(ddof=1)) if sample.size >= _LEAST else 0.0
        mean = float(sample.mean()) if sample.size else float("nan")
        moments.append((mean, spread, int(sample.size)))
        cells.append(f"{number(mean)} ± {number(spread)}" if sample.size else NOTHING)
    test, p = NOTHING, None
    is_enough = min(n for *_, n in moments) >= _LEAST
    if is_enough and len(samples) > 1 and max(spread for _, spread, _ in moments) > 0:
        if len(samples) == _LEAST:
            found = stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False)
            test, p = WELCH, float(found.pvalue)
        else:
            test, p = ANOVA, float(stats.f_oneway(*samples).pvalue)
    return Comparison(cells=tuple(cells), test=test, p=p)


def _compare_categories(samples: Sequence[Sequence[str]]) -> Comparison:
    levels = sorted({value for sample in samples for value in sample})
    table = [[list(sample).count(level) for level in levels] for sample in samples]
    cells = tuple(
        ", ".join(f"{level}: {n}" for level, n in zip(levels, row, strict=True)) for row in table
    )
    test, p = NOTHING, None
    if len(levels) == len(samples) == _LEAST:
        test, p = FISHER, float(stats.fisher_exact(table).pvalue)
    elif len(levels) > 1 and len(samples) > 1 and all(samples):
        test, p = CHI, float(stats.chi2_contingency(table).pvalue)
    return Comparison(cells=cells, test=test, p=p)
