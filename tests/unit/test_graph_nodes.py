"""Graph metrics as nodes: long tables with the names of parcels, and what is missing."""

from pathlib import Path

import numpy as np
import pytest

from rls_bids.figures.graph import plot_curves
from rls_bids.interfaces.graph import COLUMNS, GraphTables, PlotGraph, read_graph_table
from rls_bids.interfaces.manifest import load_manifest, save_manifest
from rls_bids.interfaces.tables import save_table
from rls_bids.numerics.graph import GraphOptions, graph_metrics, participant_seed
from rls_bids.settings import MeasureSettings

N, SEED, WHO = 24, 7, ["sub-01_task-rest_seg-X"]
OPTIONS = {
    "graph_densities": [0.1, 0.2],
    "graph_weighting": ["binary", "weighted"],
    "graph_negative": "drop",
    "graph_metrics": "core",
    "graph_nulls": "rewired",
    "n_nulls": 5,
}


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    """Two modules; the last node is missing."""
    rng = np.random.default_rng(0)
    series = rng.standard_normal((200, N))
    for half in (slice(0, N // 2), slice(N // 2, N)):
        series[:, half] += 0.8 * rng.standard_normal((200, 1))
    r = np.corrcoef(series.T)
    r[-1], r[:, -1] = np.nan, np.nan
    return r


def save_matrices(folder: Path, r: np.ndarray | None) -> str:
    folder.mkdir()
    told = {"Atlas": {"Name": "X"}, "MinutesKept": 6.5, "DegreesOfFreedom": 60}
    if r is None:
        told["Missing"] = "No run has a usable series of the atlas X."
    else:
        names = [f"parcel_{index:02}" for index in range(N)]
        save_table(dict(zip(names, r.T, strict=True)), folder / "r.tsv")
    file = "" if r is None else "r.tsv"
    return save_manifest([{"key": "pearsoncorrelation", "file": file, "metadata": told}], folder)


def compute(manifest: str, folder: Path, **changes) -> dict:
    folder.mkdir()
    node = GraphTables(
        matrices=manifest, options=OPTIONS | changes, random_seed=SEED, who=WHO, version="test"
    )
    return {e["key"]: e for e in load_manifest(node.run(cwd=folder).outputs.manifest)}


def test_tables_hold_what_the_kernel_finds(matrix: np.ndarray, tmp_path: Path) -> None:
    found = compute(save_matrices(tmp_path / "m", matrix), tmp_path / "g")
    rows = read_graph_table(found["global"]["file"])
    assert tuple(rows[0]) == COLUMNS
    options = GraphOptions(densities=(0.1, 0.2), weighting="weighted", n_nulls=5)
    # The table of r has as many digits as it needs to come back the same.
    expected = graph_metrics(matrix, options, seed=participant_seed(SEED, *WHO))
    ours = {
        (row["metric"], row["density"]): row["value"]
        for row in rows
        if row["weighting"] == "weighted"
    }
    for row in expected.global_rows:
        key = (row.metric, "n/a" if np.isnan(row.density) else f"{row.density:.7g}")
        if np.isnan(row.value):
            assert ours[key] == "n/a"
        else:
            assert float(ours[key]) == pytest.approx(row.value, rel=1e-5)
    assert {row["node"] for row in rows} == {"n/a"}
    assert {row["weighting"] for row in rows} == {"binary", "weighted"}


def test_nodes_are_called_by_their_parcels(matrix: np.ndarray, tmp_path: Path) -> None:
    found = compute(save_matrices(tmp_path / "m", matrix), tmp_path / "g")
    rows = read_graph_table(found["nodal"]["file"])
    assert {row["node"] for row in rows} == {f"parcel_{index:02}" for index in range(N - 1)}
    told = found["nodal"]["metadata"]
    assert list(told["NodesLeftOut"]) == [f"parcel_{N - 1:02}"]
    assert told["NumberOfNodes"] == N - 1
    degree = {
        row["node"]: float(row["value"])
        for row in rows
        if (row["metric"], row["density"], row["weighting"]) == ("degree", "0.2", "binary")
    }
    inside = np.where(np.isnan(matrix), -1, matrix)[: N - 1, : N - 1]
    np.fill_diagonal(inside, -1)
    n_edges = round(0.2 * (N - 1) * (N - 2) / 2)
    cut = np.sort(inside[np.triu_indices(N - 1, k=1)])[-n_edges]
    assert list(degree.values()) == (inside >= cut).sum(axis=0).tolist()


def test_negative_correlations_have_tables_of_their_own(
    matrix: np.ndarray, tmp_path: Path
) -> None:
    manifest = save_matrices(tmp_path / "m", matrix)
    found = compute(manifest, tmp_path / "a", graph_negative="apart")
    assert list(found) == ["global", "nodal", "globalNegative", "nodalNegative"]
    usual = compute(manifest, tmp_path / "d")
    signs = {
        key: {row["sign"] for row in read_graph_table(entry["file"])}
        for key, entry in found.items()
    }
    assert signs["global"] == signs["nodal"] == {"positive"}
    assert signs["globalNegative"] == signs["nodalNegative"] == {"negative"}
    texts = [Path(each["global"]["file"]).read_text() for each in (found, usual)]
    assert texts[0] == texts[1]


def test_the_same_seed_gives_the_same_tables(matrix: np.ndarray, tmp_path: Path) -> None:
    manifest = save_matrices(tmp_path / "m", matrix)
    texts = [
        Path(compute(manifest, tmp_path / name)["global"]["file"]).read_text()
        for name in ("a", "b")
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("r", [None, np.full((N, N), np.nan)])
def test_without_a_matrix_the_tables_say_why(r: np.ndarray | None, tmp_path: Path) -> None:
    found = compute(save_matrices(tmp_path / "m", r), tmp_path / "g")
    assert {entry["file"] for entry in found.values()} == {""}
    assert all(entry["metadata"]["Missing"] for entry in found.values())
    PlotGraph(
        manifest=save_manifest(list(found.values()), tmp_path / "g"),
        atlas="X",
        base_dir=str(tmp_path),
        path="x.svg",
    ).run(cwd=tmp_path)
    assert not (tmp_path / "x.svg").exists()


def test_the_picture_is_drawn(matrix: np.ndarray, tmp_path: Path) -> None:
    found = compute(save_matrices(tmp_path / "m", matrix), tmp_path / "g")
    rows = read_graph_table(found["global"]["file"])
    path = plot_curves(rows, "Graphs of X", "23 nodes", tmp_path / "x.svg")
    text = path.read_text()
    assert "small-worldness" in text
    assert "weighted" in text
    alone = [row for row in rows if row["weighting"] == "binary" or row["density"] == "n/a"]
    plain = plot_curves(alone, "Graphs of X", "23 nodes", tmp_path / "y.svg").read_text()
    assert "weighted" not in plain


def test_options_of_the_node_are_settings() -> None:
    assert all(hasattr(MeasureSettings(), name) for name in OPTIONS)


def test_participation_is_that_of_the_networks_of_the_atlas(
    matrix: np.ndarray, tmp_path: Path
) -> None:
    """Labels come from the sidecar of the matrix; parcels of no network are one of their own."""
    networks = ["a", "b"] * (N // 2 - 1) + ["", ""]
    path = save_matrices(tmp_path / "m", matrix)
    entries = load_manifest(path)
    told = entries[0]["metadata"] | {"Nodes": [{"Network": name or None} for name in networks]}
    path = save_manifest(
        [{"key": "pearsoncorrelation", "file": "r.tsv", "metadata": told}], tmp_path / "m"
    )
    rows = read_graph_table(compute(path, tmp_path / "g")["nodal"]["file"])
    expected = graph_metrics(
        matrix,
        GraphOptions(densities=(0.1, 0.2), n_nulls=5),
        seed=participant_seed(SEED, *WHO),
        labels=networks,
    )
    wanted = [row.value for row in expected.nodal_rows if row.metric == "participation_auc"]
    found = [
        float(row["value"])
        for row in rows
        if (row["metric"], row["weighting"]) == ("participation_auc", "binary")
    ]
    assert found == pytest.approx(wanted, rel=1e-5)
    assert len(set(found)) > 3
    plain = compute(save_matrices(tmp_path / "n", matrix), tmp_path / "h")["nodal"]["file"]
    assert not any("participation" in row["metric"] for row in read_graph_table(plain))


def test_fixed_thresholds_stand_beside_densities(matrix: np.ndarray, tmp_path: Path) -> None:
    path = save_matrices(tmp_path / "m", matrix)
    rows = read_graph_table(
        compute(path, tmp_path / "g", graph_thresholds=[0.3])["global"]["file"]
    )
    found = [
        row
        for row in rows
        if row["threshold"] == "0.3"
        and (row["metric"], row["weighting"]) == ("mean_strength", "binary")
    ]
    pairs = matrix[:-1, :-1][np.triu_indices(N - 1, 1)]
    assert [row["density"] for row in found] == ["n/a"]
    assert float(found[0]["value"]) == pytest.approx(2 * (pairs > 0.3).sum() / (N - 1), rel=1e-6)
    assert float(found[0]["density_reached"]) == pytest.approx((pairs > 0.3).mean(), rel=1e-6)
