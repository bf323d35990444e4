"""Comparisons of two groups, against scipy and by hand."""

import pytest
from scipy import stats

from rls_bids.reports.comparisons import CHI, FISHER, WELCH, compare_counts, compare_values
from rls_bids.reports.texts import NOTHING


def test_numbers_by_welch() -> None:
    first, second = ["50", "61", "45.5", None, "70"], [52.0, 40.0, 48.0, float("nan")]
    found = compare_values(first, second)
    oracle = stats.ttest_ind([50, 61, 45.5, 70], [52, 40, 48], equal_var=False)
    assert (found.test, found.p) == (WELCH, pytest.approx(oracle.pvalue))
    assert found.cells[1] == "46.7 ± 6.11"


def test_two_words_by_fisher_whatever_they_are() -> None:
    """The tea tasting of Fisher 1935: p = 34/70, two-sided."""
    for words in (("M", "f"), ("1", "2")):
        found = compare_values([words[0]] * 3 + [words[1]], [words[0]] + [words[1]] * 3)
        assert (found.test, found.p) == (FISHER, pytest.approx(34 / 70))
    rates = compare_counts([3, 1], [4, 4])
    assert rates.p == pytest.approx(34 / 70)
    assert rates.cells == ("3 of 4 (75 %)", "1 of 4 (25 %)")
    assert rates.p_words == "p = 0.486"


def test_more_words_by_chi_square() -> None:
    found = compare_values(["a", "b", "c", "a"], ["b", "B", "c", "c"])
    assert found.test == CHI
    assert found.p == pytest.approx(stats.chi2_contingency([[2, 1, 1], [0, 2, 2]]).pvalue)


@pytest.mark.parametrize(
    ("first", "second"),
    [([6.5, 6.5], [6.5, 6.5]), ([1.0], [2.0, 3.0]), ([], []), (["F"], ["f", "F"]), ([], ["x"])],
)
def test_nothing_is_tested_where_nothing_can_be(first: list, second: list) -> None:
    found = compare_values(first, second)
    assert (found.test, found.p, found.p_text) == (NOTHING, None, NOTHING)


def test_nobody_at_all() -> None:
    assert compare_counts([0, 0], [0, 0]).p == 1
    assert compare_counts([40, 0], [40, 40]).p_words == "p < 0.001"
