"""The long tables: nodes left out, densities out of reach, signs, nulls, areas, seeds."""

from dataclasses import fields, replace

import bct
import numpy as np
import pytest

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics.graph import (
    VERSION,
    GraphOptions,
    GraphRow,
    analysis,
    graph_metrics,
    options,
)
from rls_bids.numerics.graph.analysis import BAD_LABELS
from rls_bids.numerics.graph.metrics import GLOBAL_METRICS, NODAL_METRICS, NULL_METRICS
from rls_bids.numerics.graph.options import check_options
from rls_bids.numerics.graph.threshold import NO_VALUES

GOLDEN_METRICS = (
    "clustering", "path_length", "local_efficiency", "modularity", "assortativity", "sigma",
    "omega", "propensity",
)  # fmt: skip
GOLDEN = {
    "binary": [
        0.1628571429,
        2.355718356,
        0.2118022487,
        0.3542099837,
        -0.1150395929,
        1.600157881,
        0.6468579339,
        0.3696454077,
        1.201970443,
        13.14089002,
        5.053095069,
    ],
    "weighted": [
        0.1538894235,
        3.062307695,
        0.187780756,
        0.3570688781,
        -0.122450382,
        1.603003009,
        0.6450178635,
        0.3703294304,
        1.201970443,
        13.12573051,
        5.059629568,
    ],
}
QUICK = GraphOptions(densities=(0.1, 0.2, 0.3), n_nulls=4, n_lattices=2)


def correlations(n_nodes=40, seed=0):
    rng = np.random.default_rng(seed)
    module = np.repeat(rng.standard_normal((80, 4)), n_nodes // 4, axis=1)
    return np.corrcoef((rng.standard_normal((80, n_nodes)) + 0.7 * module).T)


def with_signs():
    """Twelve nodes in two halves: correlated inside, against each other between."""
    side = np.repeat([1, -1], 6)
    strengths = np.random.default_rng(1).uniform(0.2, 0.8, (12, 12))
    matrix = np.triu(side * side[:, None] * strengths, 1)
    return matrix + matrix.T + np.eye(12)


def take(rows, metric, **where):
    return [
        row for row in rows
        if row.metric == metric and all(getattr(row, k) == v for k, v in where.items())
    ]  # fmt: skip


def one(rows, metric, **where):
    (row,) = take(rows, metric, **where)
    return row


@pytest.fixture(scope="module")
def result():
    return graph_metrics(correlations(), QUICK, seed=3, labels=np.arange(40) % 5)


@pytest.mark.parametrize("weighting", ["binary", "weighted"])
def test_values_are_those_of_the_toolbox(weighting):
    matrix = correlations()
    asked = replace(QUICK, weighting=weighting, n_nulls=0)
    rows = graph_metrics(matrix, asked, seed=1).global_rows
    for density in asked.densities:
        np.fill_diagonal(matrix, 0)
        graph = bct.threshold_proportional(np.where(matrix > 0, matrix, 0), density)
        if weighting == "binary":
            graph = bct.binarize(graph)
            expected = {
                "clustering": bct.clustering_coef_bu(graph).mean(),
                "transitivity": bct.transitivity_bu(graph),
                "global_efficiency": bct.efficiency_bin(graph),
                "assortativity": bct.assortativity_bin(graph, 0),
            }
        else:
            expected = {
                "clustering": bct.clustering_coef_wu(graph / graph.max()).mean(),
                "transitivity": bct.transitivity_wu(graph / graph.max()),
                "global_efficiency": bct.efficiency_wei(graph),
                "local_efficiency": bct.efficiency_wei(graph, "original").mean(),
            }
        for name, value in expected.items():
            row = one(rows, name, density=density)
            assert row.value == pytest.approx(value, abs=1e-10), (name, density)
            assert row.density_reached == pytest.approx(bct.density_und(graph)[0], abs=1e-12)


def test_every_row_is_there_once(result):
    beside = ("gamma", "lambda", "sigma", "lambda_harmonic", "sigma_harmonic")
    names = {*GLOBAL_METRICS, *beside}
    for name in names:
        assert [row.density for row in take(result.global_rows, name)] == [0.1, 0.2, 0.3]
        assert len(take(result.global_rows, f"{name}_auc")) == 1
    assert len(take(result.global_rows, "n_nulls")) == 3
    assert len(result.global_rows) == 4 * len(names) + 3 + 1
    for name in NODAL_METRICS:
        for density in QUICK.densities:
            rows = take(result.nodal_rows, name, density=density)
            assert [row.node for row in rows] == list(range(40))
        assert [row.node for row in take(result.nodal_rows, f"{name}_auc")] == list(range(40))
    assert len(result.nodal_rows) == 4 * 40 * len(NODAL_METRICS)
    assert all(row.node is None for row in result.global_rows)


def test_the_columns_of_the_table_are_there():
    columns = (
        "metric", "node", "density", "density_reached", "weighting", "sign", "null_model",
        "n_nodes", "value", "null_mean", "null_sd", "z",
    )  # fmt: skip
    assert {*columns} <= {field.name for field in fields(GraphRow)}


def test_mean_correlation_is_written(result):
    values = correlations()[np.triu_indices(40, 1)]
    row = one(result.global_rows, "mean_positive_r")
    assert row.value == pytest.approx(values[values > 0].mean(), rel=1e-12)
    assert row.density_reached == pytest.approx(np.mean(values > 0))
    assert np.isnan(row.density)


def test_small_world_rows_follow_from_the_nulls(result):
    rows = result.global_rows
    for density in QUICK.densities:
        clustering = one(rows, "clustering", density=density)
        length = one(rows, "path_length", density=density)
        harmonic = one(rows, "path_length_harmonic", density=density)
        gamma = clustering.value / clustering.null_mean
        by_length, by_harmonic = (row.value / row.null_mean for row in (length, harmonic))
        expected = {
            "gamma": gamma, "lambda": by_length, "sigma": gamma / by_length,
            "lambda_harmonic": by_harmonic, "sigma_harmonic": gamma / by_harmonic, "n_nulls": 4,
        }  # fmt: skip
        for name, value in expected.items():
            assert one(rows, name, density=density).value == pytest.approx(value), name
            assert one(rows, name, density=density).null_model == "rewired"
        z = (clustering.value - clustering.null_mean) / clustering.null_sd
        assert clustering.z == pytest.approx(z)
        assert clustering.z > 2  # modules are more clustered than chance
    for name in set(GLOBAL_METRICS) - set(NULL_METRICS):
        assert {row.null_model for row in take(rows, name)} == {""}


def test_omega_and_propensity_come_with_all_metrics_only(result):
    assert not take(result.global_rows, "omega")
    rows = graph_metrics(correlations(), replace(QUICK, metrics="all"), seed=3).global_rows
    for density in QUICK.densities:
        random = one(rows, "clustering", density=density, null_model="rewired")
        lattice = one(rows, "clustering", density=density, null_model="lattice")
        length = one(rows, "path_length", density=density, null_model="rewired")
        expected = length.null_mean / length.value - lattice.value / lattice.null_mean
        assert one(rows, "omega", density=density).value == pytest.approx(expected)
        assert lattice.null_mean > random.null_mean
        assert 0 <= one(rows, "propensity", density=density).value <= 1
    # What core gives does not change.
    for row in result.global_rows:
        if row.metric in ("sigma", "modularity", "clustering_auc"):
            same = one(rows, row.metric, density=row.density, null_model=row.null_model) \
                if not np.isnan(row.density) \
                else take(rows, row.metric, null_model=row.null_model)[0]  # fmt: skip
            assert same.value == row.value


def test_areas_under_the_curve(result):
    for rows in (result.global_rows, result.nodal_rows):
        node = None if rows is result.global_rows else 7
        values = [row.value for row in take(rows, "clustering", node=node)]
        area = (values[0] / 2 + values[1] + values[2] / 2) / 2
        assert one(rows, "clustering_auc", node=node).value == pytest.approx(area)


def test_a_density_out_of_reach_is_missing_not_zero():
    matrix = with_signs()  # 30 of 66 pairs are positive
    asked = GraphOptions(densities=(0.1, 0.2, 0.4, 0.6), n_nulls=2, metrics="all", n_lattices=2)
    result = graph_metrics(matrix, asked, seed=1, labels=np.zeros(12))
    assert result.densities_reached == (("positive", (0.1, 0.2, 0.4)),)
    missing = [row for row in result.global_rows + result.nodal_rows if row.density == 0.6]
    present = [row for row in result.global_rows + result.nodal_rows if row.density == 0.4]
    assert [(r.metric, r.node, r.null_model) for r in missing] == [
        (r.metric, r.node, r.null_model) for r in present
    ]
    assert all(np.isnan(row.value) for row in missing if row.metric != "n_nulls")
    assert all(np.isnan(row.density_reached) for row in missing)
    assert one(missing, "n_nulls").value == 0
    values = [one(result.global_rows, "mean_strength", density=d).value for d in (0.1, 0.2, 0.4)]
    area = (0.1 * (values[0] + values[1]) / 2 + 0.2 * (values[1] + values[2]) / 2) / 0.3
    assert one(result.global_rows, "mean_strength_auc").value == pytest.approx(area)


def test_negative_correlations_dropped_absolute_and_apart():
    matrix = with_signs()
    base = GraphOptions(densities=(0.1, 0.3), n_nulls=2, weighting="weighted")
    found = {
        word: graph_metrics(matrix, replace(base, negative=word), seed=1)
        for word in ("drop", "absolute", "apart")
    }
    signs = {word: {row.sign for row in f.global_rows} for word, f in found.items()}
    assert signs == {
        "drop": {"positive"}, "absolute": {"absolute"}, "apart": {"positive", "negative"},
    }  # fmt: skip
    apart = found["apart"].global_rows
    positive = [row for row in apart if row.sign == "positive"]
    assert str(positive) == str(list(found["drop"].global_rows))
    # Only pairs of different halves are negative: two sides, no triangles.
    assert one(apart, "transitivity", sign="negative", density=0.3).value == 0
    assert one(apart, "mean_strength", sign="negative", density=0.3).value > 0
    between = -matrix[:6, 6:]
    assert one(apart, "mean_negative_r").value == pytest.approx(between.mean())
    whole = matrix[np.triu_indices(12, 1)]
    absolute = found["absolute"].global_rows
    assert one(absolute, "mean_absolute_r").value == pytest.approx(np.abs(whole).mean())


@pytest.mark.parametrize("weighting", ["binary", "weighted"])
def test_nodes_without_values_are_left_out_and_named(weighting):
    matrix = correlations()
    asked = replace(QUICK, weighting=weighting)
    kept = np.setdiff1d(np.arange(40), [0, 17])
    inner = graph_metrics(matrix[np.ix_(kept, kept)], asked, seed=2, labels=kept % 3)
    matrix[[0, 17]] = matrix[:, [0, 17]] = np.nan
    matrix[0, 0] = 1.0
    result = graph_metrics(matrix, asked, seed=2, labels=np.arange(40) % 3)
    assert [(out.node, out.reason) for out in result.nodes_out] == [
        (0, NO_VALUES),
        (17, NO_VALUES),
    ]
    assert result.n_nodes == 38
    assert str(result.global_rows) == str(inner.global_rows)
    assert {row.n_nodes for row in result.global_rows} == {38}
    assert sorted({row.node for row in result.nodal_rows}) == kept.tolist()
    renamed = [replace(row, node=int(kept[row.node])) for row in inner.nodal_rows]
    assert str(list(result.nodal_rows)) == str(renamed)


def test_thresholds_beside_densities():
    matrix = correlations()
    asked = GraphOptions(densities=(), thresholds=(0.25, 0.999), n_nulls=2)
    result = graph_metrics(matrix, asked, seed=1)
    rows = result.global_rows
    np.fill_diagonal(matrix, 0)
    row = one(rows, "mean_strength", threshold=0.25)
    assert row.value == pytest.approx((matrix > 0.25).sum(axis=1).mean())
    assert row.density_reached == pytest.approx((matrix > 0.25).sum() / (40 * 39))
    assert np.isnan(row.density)
    empty = one(rows, "path_length", threshold=0.999)
    assert empty.density_reached == 0
    assert np.isnan(empty.value)
    assert np.isnan(one(rows, "sigma", threshold=0.999).value)
    assert not [row for row in rows if row.metric.endswith("_auc")]
    assert result.densities_reached == (("positive", ()),)


@pytest.mark.parametrize("weighting", ["binary", "weighted"])
def test_correlated_nulls(weighting):
    asked = replace(QUICK, null_model="correlated", weighting=weighting, n_nulls=10)
    rows = graph_metrics(correlations(), asked, seed=3).global_rows
    rewired = graph_metrics(correlations(), replace(QUICK, weighting=weighting), seed=3)
    assert one(rows, "n_nulls", density=0.2).value == 10
    sigma = one(rows, "sigma", density=0.2)
    assert sigma.null_model == "correlated"
    assert 1 < sigma.value < one(rewired.global_rows, "sigma", density=0.2).value


def test_correlated_nulls_out_of_reach_are_left_out_and_counted():
    # Nearly all pairs are weakly positive, in the nulls only a part of them.
    asked = GraphOptions(densities=(0.95,), null_model="correlated", n_nulls=5)
    rng = np.random.default_rng(0)
    matrix = np.triu(np.where(rng.random((20, 20)) < 0.1, 0.9, 0.01), 1)
    rows = graph_metrics(matrix + matrix.T, asked, seed=1).global_rows
    assert one(rows, "n_nulls", density=0.95).value == 0
    assert np.isnan(one(rows, "gamma", density=0.95).value)
    assert not np.isnan(one(rows, "clustering", density=0.95).value)


def test_without_nulls():
    rows = graph_metrics(correlations(), replace(QUICK, n_nulls=0), seed=3).global_rows
    assert all(np.isnan(row.value) for row in take(rows, "sigma"))
    assert one(rows, "n_nulls", density=0.1).value == 0


def test_numbers_depend_on_the_seed_and_on_nothing_else(result):
    matrix = correlations()
    before = matrix.copy()
    labels = np.arange(40) % 5
    again = graph_metrics(matrix, QUICK, seed=np.random.SeedSequence(3), labels=labels)
    np.testing.assert_array_equal(matrix, before)
    assert str(again) == str(result)
    alone = graph_metrics(matrix, replace(QUICK, densities=(0.2,), n_nulls=3), seed=3)
    more = graph_metrics(matrix, replace(QUICK, n_nulls=3), seed=3)
    for name in ("sigma", "modularity"):
        found = [one(r.global_rows, name, density=0.2).value for r in (alone, more)]
        assert found[0] == found[1]
    other = graph_metrics(matrix, QUICK, seed=4)
    rows = [one(r.global_rows, "clustering", density=0.2) for r in (result, other)]
    assert rows[0].value == rows[1].value
    assert rows[0].null_mean != rows[1].null_mean


def test_every_graph_and_purpose_has_a_seed_of_its_own():
    root = np.random.SeedSequence(1)
    cuts = [
        analysis._Cut(sign=sign, **{name: step})
        for sign in ("positive", "negative", "absolute")
        for name in ("density", "threshold")
        for step in (0.05, 0.1, 0.15)
    ]
    purposes = (analysis.SEED_NULLS, analysis.SEED_LATTICES, analysis.SEED_MODULES)
    keys = {cut.seed(root, purpose).spawn_key for cut in cuts for purpose in purposes}
    assert len(keys) == len(cuts) * len(purposes)


def golden_matrix():
    i = np.arange(1, 31)
    return 0.8 * np.sin(0.37 * np.multiply.outer(i, i) + 1.3 * np.add.outer(i, i))


@pytest.mark.parametrize("weighting", ["binary", "weighted"])
def test_golden_values_hold_while_the_version_stands(weighting):
    assert VERSION == "1", "numbers changed: store new golden values with the new version"
    asked = GraphOptions(
        densities=(0.1, 0.2), n_nulls=5, n_lattices=3, metrics="all", weighting=weighting
    )
    result = graph_metrics(golden_matrix(), asked, seed=1, labels=np.arange(30) % 3)
    rows = result.global_rows
    found = [take(rows, f"{name}_auc")[0].value for name in GOLDEN_METRICS]
    found += [
        sum(row.value for row in take(result.nodal_rows, f"{name}_auc"))
        for name in ("betweenness", "participation", "eigenvector_centrality")
    ]
    np.testing.assert_allclose(found, GOLDEN[weighting], rtol=1e-7)


@pytest.mark.parametrize("labels", [np.zeros(39), np.zeros((40, 2))])
def test_labels_of_another_length(labels):
    with pytest.raises(InputDataError) as caught:
        graph_metrics(correlations(), QUICK, seed=1, labels=labels)
    assert caught.value.message == BAD_LABELS.format(found=labels.size, n_nodes=40)
    assert caught.value.exit_status == 65


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weighting": "signed"}, options.NOT_ONE_OF.format(
            name="weighting", found="signed", known="binary, weighted")),
        ({"negative": "keep"}, options.NOT_ONE_OF.format(
            name="negative", found="keep", known="drop, absolute, apart")),
        ({"metrics": "some"}, options.NOT_ONE_OF.format(
            name="metrics", found="some", known="core, all")),
        ({"null_model": "none"}, options.NOT_ONE_OF.format(
            name="null_model", found="none", known="rewired, correlated")),
        ({"densities": ()}, options.NOTHING_TO_CUT),
        ({"densities": (0.2, 0.1)}, options.BAD_DENSITIES.format(found=(0.2, 0.1))),
        ({"densities": (0.1, 0.1)}, options.BAD_DENSITIES.format(found=(0.1, 0.1))),
        ({"densities": (0.0,)}, options.BAD_DENSITIES.format(found=(0.0,))),
        ({"densities": (5.0,)}, options.BAD_DENSITIES.format(found=(5.0,))),
        ({"densities": (float("nan"),)}, options.BAD_DENSITIES.format(found=(float("nan"),))),
        ({"thresholds": (1.0,)}, options.BAD_THRESHOLDS.format(found=(1.0,))),
        ({"thresholds": (-0.1,)}, options.BAD_THRESHOLDS.format(found=(-0.1,))),
        ({"n_nulls": -1}, options.BAD_COUNT.format(name="n_nulls", found=-1, least=0)),
        ({"n_nulls": 2.5}, options.BAD_COUNT.format(name="n_nulls", found=2.5, least=0)),
        ({"n_lattices": 0}, options.BAD_COUNT.format(name="n_lattices", found=0, least=1)),
        ({"swaps_per_edge": 0}, options.BAD_COUNT.format(name="swaps_per_edge", found=0, least=1)),
    ],
)  # fmt: skip
def test_options_that_cannot_be_met(changes, message):
    with pytest.raises(UsageError) as caught:
        check_options(replace(QUICK, **changes))
    assert caught.value.message == message
    assert caught.value.exit_status == 2
