"""Columns of a design: our evaluation against formulaic's, and what cells mean."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rls_bids.dataset import matrix
from rls_bids.dataset.formulas import parse_formula
from rls_bids.dataset.matrix import Category, Factors, Numbers, build_matrix, cell, weigh
from rls_bids.dataset.model import Contrast
from rls_bids.errors import UsageError

N = 24


def factors_of(seed: int = 0) -> Factors:
    rng = np.random.default_rng(seed)
    arms, sexes = ["a", "b c", "d:e"] * 8, ["f", "f", "m", "m"] * 6
    return Factors(
        numbers={
            "age": Numbers(values=rng.normal(50, 9, N), words="age"),
            "moved": Numbers(values=rng.normal(1, 1, N), words="moved", is_difference=True),
        },
        categories={
            "arm": Category(values=tuple(arms), levels=("a", "b c", "d:e")),
            "sex": Category(values=tuple(sexes), levels=("f", "m")),
        },
    )


FORMULAS = (
    "1 + C(arm) + age",
    "0 + C(arm) + age + moved",
    "1 + C(arm)*age",
    "0 + C(arm):C(sex) + age",
    "1 + C(arm) + C(sex) + C(arm):C(sex)",
    "0 + C(arm) + C(arm):moved",
)
ROWS = [f"{number:02}" for number in range(N)]


@pytest.mark.parametrize("formula", FORMULAS)
def test_our_evaluation_is_the_one_of_formulaic(formula: str) -> None:
    terms, factors = parse_formula(formula), factors_of()
    names, columns = matrix._encode(terms, factors, N)
    np.testing.assert_allclose(matrix._evaluate(names, terms, factors, N), columns)


@pytest.mark.parametrize("formula", FORMULAS)
def test_cells_are_predicted_means(formula: str) -> None:
    """Of a fitted model a cell gives the mean of what is predicted with the level set."""
    terms, factors = parse_formula(formula), factors_of()
    made = build_matrix(terms, factors, ROWS)
    beta = np.random.default_rng(1).normal(size=made.frame.shape[1])
    for level in factors.categories["arm"].levels:
        mine = [value == level for value in factors.categories["arm"].values]
        changed = {
            **factors.categories,
            "arm": Category(values=(level,) * N, levels=("a", "b c", "d:e")),
        }
        at_zero = {**factors.numbers, "moved": Numbers(values=np.zeros(N), words="")}
        other = Factors(numbers=at_zero, categories=changed)
        columns = matrix._encode(terms, other, N)[1] - made.centres
        assert cell(made, {"arm": level}) @ beta == pytest.approx((columns @ beta).mean())
        assert sum(mine) == 8


def test_names_of_columns() -> None:
    made = build_matrix(parse_formula("1 + C(arm)*age"), factors_of(), ROWS)
    assert list(made.frame) == [
        "intercept", "arm_b c", "arm_d:e", "age", "arm_b c:age", "arm_d:e:age",
    ]  # fmt: skip
    assert np.allclose(made.frame.iloc[:, 1:].mean(), 0)
    for name in ("arm_b c", "C(arm)[T.b c]", "arm[T.b c]"):
        contrast = Contrast(name="x", conditions=(name,), weights=((2.0,),))
        assert weigh(made, contrast).tolist() == [[0, 2, 0, 0, 0, 0]]


@given(seed=st.integers(0, 50), shift=st.floats(-100, 100))
@settings(max_examples=15, deadline=None)
def test_where_a_covariate_starts_does_not_matter(seed: int, shift: float) -> None:
    factors = factors_of(seed)
    age = factors.numbers["age"]
    moved = {**factors.numbers, "age": Numbers(values=age.values + shift, words="age")}
    terms = parse_formula("1 + C(arm)*age")
    both = [
        build_matrix(terms, each, ROWS)
        for each in (factors, Factors(numbers=moved, categories=factors.categories))
    ]
    np.testing.assert_allclose(both[0].frame, both[1].frame, atol=1e-8)


def test_dependent_rows_of_an_f_contrast_leave() -> None:
    made = build_matrix(parse_formula("0 + C(arm)"), factors_of(), ROWS)
    pairs = Contrast(
        name="all pairs",
        conditions=("arm.a", "arm.b c", "arm_d:e"),
        weights=((1.0, -1.0, 0.0), (0.0, 1.0, -1.0), (1.0, 0.0, -1.0)),
        test="F",
    )
    assert weigh(made, pairs).shape == (2, 3)


def test_a_constant_column_is_named() -> None:
    numbers = {"age": Numbers(values=np.full(N, 3.0), words="age")}
    factors = Factors(numbers=numbers, categories=factors_of().categories)
    with pytest.raises(UsageError) as caught:
        build_matrix(parse_formula("1 + age"), factors, ROWS)
    assert caught.value.message == matrix.CONSTANT.format(column="age")
