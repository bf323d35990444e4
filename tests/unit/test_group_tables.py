"""Tables of group comparisons of graphs: false alarms of real metrics, families, shapes."""

from functools import partial

import numpy as np
import pytest

from rls_bids.interfaces.group_tables import (
    AREA,
    MEAN_R,
    Stack,
    compare_nodes,
    compare_whole,
    long_table,
    stack_rows,
    table_columns,
    wide_table,
)
from rls_bids.numerics.columns import compare_columns
from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
from rls_bids.numerics.graph import GraphOptions, graph_metrics

N_NODES, N_POOL, N_STUDIES, SIZE = 14, 40, 60, 8
DESIGN, CONTRAST = np.repeat(np.eye(2), SIZE, axis=0), [1.0, -1.0]
SIZE_KIND = "hedgesg"
NAMES = [f"n{index}" for index in range(N_NODES)]


@pytest.fixture(scope="module")
def pool() -> tuple[Stack, Stack]:
    """Metrics of whole graphs and of nodes of people who differ, but not by group."""
    results = []
    for person in range(N_POOL):
        rng = np.random.default_rng(person)
        series = rng.standard_normal((60, N_NODES))
        series[:, :5] += rng.random() * rng.standard_normal((60, 1))
        series[:, 4:9] += rng.random() * rng.standard_normal((60, 1))
        options = GraphOptions(densities=(0.2, 0.3), n_nulls=2, negative="absolute")
        results.append(graph_metrics(np.corrcoef(series.T), options, seed=person))
    nodal = stack_rows([result.nodal_rows for result in results])
    nodal = nodal.take([row.metric.endswith(AREA) for row in nodal.rows])
    return stack_rows([result.global_rows for result in results]), nodal


def some(stack: Stack, people: np.ndarray) -> Stack:
    return Stack(rows=stack.rows, values=stack.values[people])


def model_of(study: int, n_resamplings: int = 199) -> partial:
    chosen = choose_exchangeability(DESIGN, CONTRAST)
    drawn = draw_resamplings(chosen, DESIGN, n_resamplings, study)
    return partial(
        compare_columns,
        design=DESIGN,
        contrast=CONTRAST,
        resamplings=drawn,
        size=("hedgesg", (2 / SIZE) ** 0.5),
    )


def test_nothing_is_found_where_nothing_is(pool: tuple[Stack, Stack]) -> None:
    """60 null studies: at most 9 with any p of 3 expected (a smoke alarm, chance .003)."""
    alarms = np.zeros(2)
    for study in range(N_STUDIES):
        people = np.random.default_rng(1000 + study).permutation(N_POOL)[: 2 * SIZE]
        test = model_of(study)
        whole = compare_whole(some(pool[0], people), test, SIZE_KIND)
        nodes = compare_nodes(some(pool[1], people), NAMES, test, SIZE_KIND)
        found = (np.nanmin(whole["p_fwe"]), np.nanmin(nodes["p_fweMetrics"]))
        alarms += np.array(found) <= 0.05
    assert (alarms <= 9).all()
    assert alarms.any()  # a test that never alarms tests nothing


def test_a_planted_node_is_found_with_its_sign(pool: tuple[Stack, Stack]) -> None:
    values = pool[1].values[: 2 * SIZE].copy()
    places = [
        place
        for place, row in enumerate(pool[1].rows)
        if row.metric == "clustering_auc" and row.node in (3, 6)
    ]
    assert len(places) == 2
    values[:SIZE, places[0]] += 6 * values[:, places[0]].std()
    values[SIZE:, places[1]] += 6 * values[:, places[1]].std()
    nodes = compare_nodes(
        Stack(rows=pool[1].rows, values=values), NAMES, model_of(0, 999), SIZE_KIND
    )
    found = {
        name: (t, p)
        for metric, name, t, p in zip(
            *(nodes[key] for key in ("metric", "node", "t", "p_fweMetrics")), strict=True
        )
        if metric == "clustering_auc" and p <= 0.05
    }
    assert set(found) == {"n3", "n6"}
    assert found["n3"][0] > 0 > found["n6"][0]


def test_families(pool: tuple[Stack, Stack]) -> None:
    """The mean correlation is tested by itself, and does not weigh on the metrics."""
    people = np.arange(2 * SIZE)
    whole = compare_whole(some(pool[0], people), model_of(1), SIZE_KIND)
    assert list(whole) == list(table_columns(SIZE_KIND)["global"])
    is_mean = np.isin(whole["metric"], MEAN_R)
    assert is_mean.sum() == 1
    assert np.isnan(whole["p_fwe"][is_mean]).all()
    assert np.isfinite(whole["p_permutation"][is_mean]).all()
    areas = pool[0].take([row.metric.endswith(AREA) for row in pool[0].rows])
    alone = compare_whole(some(areas, people), model_of(1), SIZE_KIND)
    np.testing.assert_array_equal(alone["p_fwe"], whole["p_fwe"][~is_mean])
    nodes = compare_nodes(some(pool[1], people), NAMES, model_of(1), SIZE_KIND)
    assert list(nodes) == list(table_columns(SIZE_KIND)["nodal"])
    assert (nodes["p_fweMetrics"] >= nodes["p_fwe"])[np.isfinite(nodes["p_fwe"])].all()
    degree = pool[1].take([row.metric == "degree_auc" for row in pool[1].rows])
    one = compare_nodes(some(degree, people), NAMES, model_of(1), SIZE_KIND)
    same = nodes["metric"] == "degree_auc"
    np.testing.assert_array_equal(one["p_fwe"], nodes["p_fwe"][same])


def test_values_keep_their_places(pool: tuple[Stack, Stack]) -> None:
    who = [(f"{person:02}", None, "RLS" if person < 20 else "HC") for person in range(N_POOL)]
    long = long_table(pool[0], who)
    place = next(
        place
        for place, row in enumerate(pool[0].rows)
        if row.metric == "clustering" and row.density == 0.3
    )
    chosen = (long["participant_id"] == "sub-07") & (long["metric"] == "clustering")
    chosen &= long["density"] == 0.3
    assert long["value"][chosen].tolist() == [pool[0].values[7, place]]
    assert long["group"][chosen].tolist() == ["RLS"]
    wide = wide_table(pool[1], NAMES, who)
    place = next(
        place
        for place, row in enumerate(pool[1].rows)
        if row.metric == "betweenness_auc" and row.node == 9
    )
    chosen = (wide["participant_id"] == "sub-33") & (wide["metric"] == "betweenness_auc")
    assert wide["n9"][chosen].tolist() == [pool[1].values[33, place]]


def test_what_is_told_twice_stands_once() -> None:
    """With lattices, metrics have a row for each kind of null."""
    matrix = np.corrcoef(np.random.default_rng(0).standard_normal((60, N_NODES)).T)
    options = GraphOptions(densities=(0.2, 0.3), n_nulls=2, n_lattices=1, metrics="all")
    result = graph_metrics(matrix, options, seed=0)
    stack = stack_rows([result.global_rows])
    told = [(row.metric, str(row.density)) for row in stack.rows]
    assert len(set(told)) == len(told) < len(result.global_rows)
    assert ("omega_auc", "nan") in told
