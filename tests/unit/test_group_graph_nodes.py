"""Graphs of groups as nodes: sessions, unequal variances, mean correlation, participation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from rls_bids.dataset.description import write_json
from rls_bids.dataset.designs import Design
from rls_bids.interfaces.group_graphs import GroupGraphs, MeasureGraphs, ShareGraphs
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.tables import save_table
from rls_bids.numerics.graph import GraphOptions, graph_metrics, participant_seed
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.parcels import load_parcels

ATLAS, N_NODES, N_PEOPLE = "Seitzman300", 16, 12
PARCELS = load_parcels(find_atlas(ATLAS))[:: 300 // N_NODES][:N_NODES]
NAMES = [parcel.name for parcel in PARCELS]
NETWORKS = [parcel.network for parcel in PARCELS]
OPTIONS = {
    "graph_densities": [0.2, 0.3],
    "graph_weighting": ["binary"],
    "graph_negative": "drop",
    "graph_metrics": "core",
    "graph_nulls": "rewired",
    "n_nulls": 2,
}
SESSIONS = ("post", "pre")
GROUPS = ("RLS",) * 6 + ("HC",) * 6
TWO = np.repeat(np.eye(2), 6, axis=0)


def correlations(person: int, session: int) -> np.ndarray:
    """Patients are more strongly connected after treatment."""
    rng = np.random.default_rng([person, session])
    series = rng.standard_normal((80, N_NODES))
    strength = 0.3 + 0.3 * rng.random() + 0.4 * (person < 6 and session == 0)
    series[:, ::2] += strength * rng.standard_normal((80, 1))
    series += strength * rng.standard_normal((80, 1))
    return np.corrcoef(series.T)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str], list[str]]:
    """Return what all share, the values of every participant and session, and their matrices."""
    folder = tmp_path_factory.mktemp("graphs")
    files = []
    for person in range(N_PEOPLE):
        for place, session in enumerate(SESSIONS):
            path = folder / f"sub-{person:02}_ses-{session}_meas-pearsoncorrelation_relmat.tsv"
            save_table(dict(zip(NAMES, correlations(person, place).T, strict=True)), path)
            files.append(str(path))
    given = {"options": OPTIONS, "version": "test"}
    share = ShareGraphs(in_files=files, atlas=ATLAS, **given).run(cwd=folder).outputs.shared
    values = []
    for number, file in enumerate(files):
        own = folder / str(number)
        own.mkdir()
        node = MeasureGraphs(in_file=file, shared=share, random_seed=3, **given)
        values.append(node.run(cwd=own).outputs.values)
    return share, values, files


def compare(measured, folder: Path, matrix, contrasts, **changes) -> dict[str, pd.DataFrame]:
    """Run the tests of a design; with sessions, all files, else those of the first session."""
    share, values, _ = measured
    covariate = changes.pop("covariate", "none")
    columns = [f"c{place}" for place in range(np.shape(matrix)[1])]
    frame = pd.DataFrame(matrix, columns=columns, index=[f"{n:02}" for n in range(N_PEOPLE)])
    design = Design(
        design=frame,
        inputs=(),
        contrasts=contrasts,
        title="a contrast",
        label="aContrast",
        hypothesis="nothing",
        **changes,
    )
    save_table({name: frame[name].to_numpy() for name in columns}, folder / "design.tsv")
    write_json(folder / "design.json", design.about)
    node = GroupGraphs(
        values=values if design.sessions else values[::2],
        shared=share,
        design_file=str(folder / "design.tsv"),
        sidecar_file=str(folder / "design.json"),
        covariate=covariate,
        n_permutations=199,
        version="test",
    )
    entries = load_manifest(node.run(cwd=folder).outputs.manifest)
    return {
        each["key"]: pd.read_csv(each["file"], sep="\t", na_values="n/a") for each in entries
    } | {"told": {each["key"]: each["metadata"] for each in entries}}


def areas(table: pd.DataFrame, metric: str) -> np.ndarray:
    """Return a metric by participant and session."""
    return table[table["metric"] == metric]["value"].to_numpy()


def row(table: pd.DataFrame, metric: str) -> pd.Series:
    return table.set_index("metric").loc[metric]


def test_participation_is_that_of_the_networks_of_the_atlas(measured) -> None:
    share, values, _ = measured
    assert json.loads(Path(share).read_text())["Networks"] == NETWORKS
    assert len(set(NETWORKS)) > 3
    found = json.loads(Path(values[4]).read_text())["nodal"]
    own = [each["value"] for each in found if each["metric"] == "participation_auc"]
    expected = graph_metrics(
        correlations(2, 0),
        GraphOptions(densities=(0.2, 0.3), n_nulls=2),
        seed=participant_seed(3, "sub-02_ses-post"),
        labels=NETWORKS,
    )
    wanted = [r.value for r in expected.nodal_rows if r.metric == "participation_auc"]
    assert own == pytest.approx(wanted, rel=1e-6)
    assert len(set(own)) > 3


def test_unequal_variances(measured, tmp_path: Path) -> None:
    found = compare(
        measured,
        tmp_path,
        TWO,
        ((1.0, -1.0),),
        groups=GROUPS,
        compared=(("RLS", 1.0), ("HC", -1.0)),
        variance_groups=GROUPS,
    )
    values = areas(found["globalValues"], "clustering_auc")
    welch = stats.ttest_ind(values[:6], values[6:], equal_var=False)
    tested = row(found["global"], "clustering_auc")
    assert tested["t"] == pytest.approx(welch.statistic, rel=1e-5)
    assert tested["df"] == pytest.approx(welch.df, rel=1e-5)
    assert tested["p_uncorrected"] == pytest.approx(welch.pvalue, rel=1e-5)
    assert found["told"]["global"]["Resamplings"]["Kind"] == "sign-flip"
    assert found["told"]["global"]["Resamplings"]["Statistic"] == "v"


def test_change_and_group_by_session(measured, tmp_path: Path) -> None:
    """The change of a group is a paired t; that of two groups compares the changes."""
    both = {"sessions": SESSIONS, "responses": ((1.0, -1.0),)}
    found = compare(measured, tmp_path, TWO, ((1.0, -1.0),), groups=GROUPS, size="hedgesg", **both)
    table = found["globalValues"]
    assert list(table["session"].unique()) == list(SESSIONS)
    values = areas(table, "mean_positive_r").reshape(N_PEOPLE, 2)
    assert values[3, 1] == pytest.approx(_mean_r(correlations(3, 1)), rel=1e-6)
    change = values[:, 0] - values[:, 1]
    tested = row(found["global"], "mean_positive_r")
    assert tested["t"] == pytest.approx(stats.ttest_ind(change[:6], change[6:]).statistic, 1e-5)
    assert tested["t"] > 2
    one = compare(measured, tmp_path, np.ones((12, 1)), ((1.0,),), size="dz", **both)
    tested = row(one["global"], "mean_positive_r")
    assert tested["t"] == pytest.approx(stats.ttest_1samp(change, 0).statistic, rel=1e-5)
    assert tested["dz"] == pytest.approx(change.mean() / change.std(ddof=1), rel=1e-5)
    assert set(one["globalValues"]["group"]) == {"all"}
    nodal = one["nodalValues"]
    area = nodal[nodal["metric"] == "clustering_auc"][NAMES].to_numpy().reshape(12, 2, -1)
    t = stats.ttest_1samp(area[:, 0] - area[:, 1], 0).statistic
    own = one["nodal"][one["nodal"]["metric"] == "clustering_auc"]["t"]
    assert own.to_numpy() == pytest.approx(t, rel=1e-4, nan_ok=True)


def _mean_r(matrix: np.ndarray) -> float:
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    return float(pairs[pairs > 0].mean())


def test_the_mean_correlation_is_a_covariate_of_a_second_copy(measured, tmp_path: Path) -> None:
    found = compare(
        measured,
        tmp_path,
        TWO,
        ((1.0, -1.0),),
        groups=GROUPS,
        compared=(("RLS", 1.0), ("HC", -1.0)),
        covariate="mean_r",
    )
    values = areas(found["globalValues"], "global_efficiency_auc")
    mean_r = np.array([_mean_r(correlations(person, 0)) for person in range(N_PEOPLE)])
    fitted = sm.OLS(values, np.column_stack([TWO, mean_r])).fit()
    oracle = fitted.t_test([1, -1, 0])
    tested = row(found["globalMeanR"], "global_efficiency_auc")
    assert tested["t"] == pytest.approx(oracle.tvalue.item(), rel=1e-4)
    assert tested["effect"] == pytest.approx(oracle.effect.item(), rel=1e-4)
    assert tested["df"] == 9
    plain = row(found["global"], "global_efficiency_auc")
    assert plain["t"] == pytest.approx(stats.ttest_ind(values[:6], values[6:]).statistic, rel=1e-4)
    assert "mean_positive_r" in set(found["global"]["metric"])
    assert "mean_positive_r" not in set(found["globalMeanR"]["metric"])
    assert len(found["nodalMeanR"]) == len(found["nodal"])


def test_of_a_change_the_covariate_is_the_change_as_it_is(measured, tmp_path: Path) -> None:
    """Its zero means no change: it is not centred where the mean change is tested."""
    found = compare(
        measured,
        tmp_path,
        np.ones((12, 1)),
        ((1.0,),),
        sessions=SESSIONS,
        responses=((1.0, -1.0),),
        size="dz",
        covariate="mean_r",
    )
    values = areas(found["globalValues"], "clustering_auc").reshape(N_PEOPLE, 2)
    mean_r = areas(found["globalValues"], "mean_positive_r").reshape(N_PEOPLE, 2)
    change, change_r = values[:, 0] - values[:, 1], mean_r[:, 0] - mean_r[:, 1]
    fitted = sm.OLS(change, np.column_stack([np.ones(12), change_r])).fit()
    assert row(found["globalMeanR"], "clustering_auc")["t"] == pytest.approx(
        fitted.tvalues[0], rel=1e-4
    )
