"""Graphs at the group level on tiny fake matrices: common nodes, planted clustering, the page."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from rls_bids.dataset import group as group_designs
from rls_bids.dataset.description import write_dataset_description, write_descriptions, write_json
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.results import LACKS_NODES
from rls_bids.dataset.walk import walk
from rls_bids.interfaces.tables import save_table
from rls_bids.numerics.graph import GraphOptions, graph_metrics, participant_seed
from rls_bids.reports.group_graphs import NODES_OUT
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.parcels import load_parcels
from tests.factories import write_dataset
from tests.graph.test_group import (
    LABELS,
    MOVER,
    NO_FIELD,
    NOT_THERE,
    PATIENTS,
    REFUSED,
    SEEDS,
    SPACE,
    mean_fd,
    run,
    table,
    write_map,
)

ATLAS, N_NODES, DENSITIES = "Seitzman300", 30, (0.2, 0.3)
NAMES = [parcel.name for parcel in load_parcels(find_atlas(ATLAS))[:N_NODES]]
EVERYWHERE_LOST, LOST = NAMES[5], NAMES[7]
STEM = (
    f"group/model-group/model-group_task-rest_seg-{ATLAS}_denoise-acompcor"
    "_meas-pearsoncorrelation_contrast-RLSGtHC"
)
CHOSEN = (
    *("--measures", "seed", "graphs"),
    *(
        "--atlases",
        ATLAS,
        "--graph-densities",
        0.2,
        0.3,
        "--n-nulls",
        5,
        "--covariates",
        "mean_fd",
    ),
    *("--n-permutations", 500),
)


def correlations(label: str) -> np.ndarray:
    """Correlations that fall with distance on a ring: sharply in patients, hardly in controls."""
    rng = np.random.default_rng(int(label))
    distance = np.abs(np.subtract.outer(np.arange(N_NODES), np.arange(N_NODES)))
    near = 0.75 ** np.minimum(distance, N_NODES - distance)
    share = 0.9 if label in PATIENTS else 0.25
    r = 0.3 + 0.5 * (share * near + (1 - share) * rng.random((N_NODES, N_NODES)))
    r = (r + r.T) / 2
    r[np.diag_indices(N_NODES)] = 1
    return r


def lost_nodes(label: str) -> list[str]:
    """One node is missing in three participants, another in one alone."""
    lost = [EVERYWHERE_LOST] if label in ("02", "08", "09") else []
    return lost + ([LOST] if label == NO_FIELD else [])


def write_matrix(out: Path, label: str, atlas: str = ATLAS, **changes: Any) -> Path:
    entities = {"task": "rest", "space": SPACE, "seg": atlas, "denoise": "acompcor"}
    path = derivative("relmat", label, None, **entities, meas="pearsoncorrelation")
    metadata = {
        "Description": "A matrix.",
        "Sources": ["bids:raw:participants.tsv"],
        "SpatialReference": SPACE,
        "MeanFramewiseDisplacement": mean_fd(label),
        "MinutesKept": 6.5,
        "DegreesOfFreedom": 50,
        "Processing": {"Resolution": "2", "Atlas": atlas},
        "MissingNodes": lost_nodes(label),
        "Fingerprint": f"{label}{atlas}",
    } | changes
    write_json(out / sidecar(path), metadata)
    if "Missing" in metadata:
        return out / path
    r = correlations(label)
    for name in metadata["MissingNodes"]:
        r[NAMES.index(name)], r[:, NAMES.index(name)] = np.nan, np.nan
    save_table(dict(zip(NAMES, r.T, strict=True)), out / path)
    return out / path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return raw data and participants' matrices; nothing else."""
    base = tmp_path_factory.mktemp("graphs")
    bids, out = write_dataset(base / "raw", {}, table()), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in LABELS:
        write_matrix(out, label)
    write_descriptions(out)
    return bids, out


@pytest.fixture
def copy(made: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    for each in made:
        shutil.copytree(each, tmp_path / each.name, ignore=shutil.ignore_patterns("group"))
    return tmp_path / "raw", tmp_path / "out"


@pytest.fixture(scope="module")
def done(made: tuple[Path, Path]) -> Path:
    assert run(*made, *CHOSEN) == 0
    return made[1]


def read(out: Path, desc: str) -> pd.DataFrame:
    return pd.read_csv(out / f"{STEM}_desc-{desc}_roi.tsv", sep="\t", na_values=["n/a"])


def test_the_planted_clustering_has_the_right_sign(done: Path) -> None:
    found = read(done, "global").set_index("metric")
    row = found.loc["clustering_auc"]
    assert row["t"] > 5
    assert row["effect"] > 0
    assert row["p_uncorrected"] <= row["p_fwe"] <= 0.05
    assert row["hedgesg_ciLower"] < row["hedgesg"] < row["hedgesg_ciUpper"]
    assert found.loc["global_efficiency_auc", "t"] < 0
    assert np.isnan(found.loc["mean_positive_r", "p_fwe"])
    assert found.loc["mean_positive_r", "p_uncorrected"] <= 1
    assert (found["p_fwe"].dropna() >= found["p_permutation"][found["p_fwe"].notna()]).all()


def test_the_oracle_agrees(done: Path) -> None:
    """The values that were tested give t and effect again, with another library."""
    values = read(done, "globalValues")
    areas = values[(values["metric"] == "clustering_auc")].set_index("participant_id")
    labels = [label for label in LABELS if label not in (MOVER, NO_FIELD)]
    assert list(areas.index) == [f"sub-{label}" for label in labels]
    assert set(areas["group"][[f"sub-{label}" for label in labels if label in PATIENTS]]) == {
        "RLS"
    }
    frame = areas.assign(fd=[mean_fd(label) for label in labels])
    fitted = smf.ols("value ~ C(group) + fd", frame).fit()
    row = read(done, "global").set_index("metric").loc["clustering_auc"]
    assert row["t"] == pytest.approx(fitted.tvalues["C(group)[T.RLS]"], rel=1e-5)
    assert row["effect"] == pytest.approx(fitted.params["C(group)[T.RLS]"], rel=1e-5)
    assert row["p_uncorrected"] == pytest.approx(fitted.pvalues["C(group)[T.RLS]"], rel=1e-5)
    assert row["df"] == fitted.df_resid


def test_values_are_those_of_the_kernel_on_the_common_nodes(done: Path) -> None:
    keep = [index for index in range(N_NODES) if index != 5]
    who = f"sub-04_task-rest_space-{SPACE}_seg-{ATLAS}_denoise-acompcor"
    expected = graph_metrics(
        correlations("04")[np.ix_(keep, keep)],
        GraphOptions(densities=DENSITIES, n_nulls=5),
        seed=participant_seed(0, who),
    )
    values = read(done, "globalValues")
    own = values[values["participant_id"] == "sub-04"]
    for row in expected.global_rows:
        if row.metric == "n_nulls":
            continue
        same = own[own["metric"] == row.metric]
        same = same[same["density"].isna() if np.isnan(row.density) else
                    np.isclose(same["density"], row.density)]  # fmt: skip
        assert same["value"].item() == pytest.approx(row.value, rel=1e-6, nan_ok=True)
    nodal = read(done, "nodalValues")
    mine = nodal[(nodal["participant_id"] == "sub-04") & (nodal["metric"] == "clustering_auc")]
    wanted = [row.value for row in expected.nodal_rows if row.metric == "clustering_auc"]
    names = [NAMES[index] for index in keep]
    assert list(nodal.columns[6:]) == names
    assert list(mine[names].iloc[0]) == pytest.approx(wanted, rel=1e-6)


def test_common_nodes_and_who_lacks_one(done: Path) -> None:
    told = json.loads((done / f"{STEM}_desc-nodal_roi.json").read_text())
    assert told["NumberOfNodes"] == N_NODES - 1
    assert told["NodesLeftOut"] == {EVERYWHERE_LOST: "missing in 3 of 10 participants"}
    assert told["Densities"] == list(DENSITIES)
    assert told["Resamplings"]["SmallestP"] == pytest.approx(1 / 501)
    people = pd.read_csv(done / f"{STEM}_participants.tsv", sep="\t", index_col=0)
    out = people[people["included"] == "no"]["reason"]
    assert out[f"sub-{NO_FIELD}"] == LACKS_NODES.format(nodes=LOST)
    assert set(out.index) == {f"sub-{label}" for label in (NO_FIELD, MOVER, NOT_THERE, REFUSED)}
    nodal = read(done, "nodal")
    assert EVERYWHERE_LOST not in set(nodal["node"])
    assert LOST in set(nodal["node"])
    both = nodal.dropna(subset=["p_fwe"])
    assert (both["p_permutation"] <= both["p_fwe"]).all()
    assert (both["p_fwe"] <= both["p_fweMetrics"]).all()
    clustered = both[both["metric"] == "clustering_auc"]
    assert (clustered["t"] > 0).mean() > 0.9
    assert clustered["p_fwe"].min() <= 0.05


def test_the_output_is_as_promised(done: Path) -> None:
    assert walk(done) == []
    page = (done / "group/model-group.html").read_text(encoding="utf-8")
    for words in (
        f"graphs of {ATLAS}",
        "p (FWE)",
        NODES_OUT.format(nodes=f"{EVERYWHERE_LOST} (missing in 3 of 10 participants)"),
        LACKS_NODES.format(nodes=LOST),
        "the densities 0.2, 0.3 that all reach",
        "Participants change places freely.",
        "RLS and HC have the same mean, given mean_fd.",
    ):
        assert words in page
    for source in re.findall(r'<img src="([^"]+)"', page):
        assert (done / "group" / source).is_file()
    assert "desc-curves" in page
    assert "desc-nodes" in page


def test_a_second_run_computes_nothing(
    done: Path, made: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("group/**/*.tsv")}
    assert len(before) == 6
    shutil.rmtree(made[1].parent / "work")
    assert run(*made, *CHOSEN) == 0
    assert "nothing is computed" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_one_atlas_that_cannot_be_compared_stops_nothing_else(
    copy: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    bids, out = copy
    for label in LABELS:
        write_map(out, label, SEEDS[0])
        write_matrix(out, label, "AAL3", **({} if label in PATIENTS else {"Missing": "no run"}))
    assert run(bids, out, *CHOSEN, "--atlases", "AAL3") == 1
    said = capfd.readouterr().err
    assert "graphs of AAL3 (acompcor) was not modelled" in said
    assert (out / f"{STEM}_desc-global_roi.tsv").is_file()
    assert list(out.glob("group/**/*_stat-t_statmap.nii.gz"))
    assert "This was not modelled" in (out / "group/model-group.html").read_text(encoding="utf-8")
    assert walk(out) == []


def test_a_broken_matrix_fails_its_comparison_alone(copy: tuple[Path, Path]) -> None:
    bids, out = copy
    for label in LABELS:
        write_map(out, label, SEEDS[0])
    path = write_matrix(out, "01")
    path.write_text("\n".join(path.read_text().splitlines()[:7]) + "\n")
    assert run(bids, out, *CHOSEN) == 1
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert "These graphs were not compared" in page
    assert list(out.glob("group/**/*_stat-t_statmap.nii.gz"))
    assert not list(out.glob("group/**/*_roi.tsv"))


@pytest.mark.parametrize(
    ("changes", "arguments", "status", "words"),
    [
        (
            {"Processing": {"Resolution": "2", "Atlas": ATLAS, "MinDf": 5}},
            (),
            2,
            "sub-02 has MinDf 5 instead of None",
        ),
        ({}, ("--graph-densities", 0.2), 1, "an area under the curve needs two"),
        ({}, ("--n-permutations", 0), 2, "1 or more resamplings"),
        ({}, ("--measures", "alff"), 65, "nothing to compare of the measures alff"),
        ({}, ("--atlases", "AAL3"), 65, "No participant has a usable matrix of AAL3"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    copy: tuple[Path, Path],
    capfd: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    arguments: tuple[Any, ...],
    status: int,
    words: str,
) -> None:
    bids, out = copy
    write_matrix(out, "02", **changes)
    given = CHOSEN
    if arguments:
        flag = arguments[0]
        pieces = " ".join(map(str, CHOSEN)).split(" --")
        kept = [piece.removeprefix("--") for piece in pieces]
        kept = [piece for piece in kept if f"--{piece.split()[0]}" != flag]
        given = tuple(" ".join(f"--{piece}" for piece in kept).split())
    assert run(bids, out, *given, *arguments) == status
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_group_designs_say_who_has_no_matrix(done: Path) -> None:
    page = (done / "group/model-group.html").read_text(encoding="utf-8")
    assert group_designs.NOT_PROCESSED in page


def test_negative_correlations_are_compared_in_tables_of_their_own(
    copy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    positive = correlations

    def signed(label: str) -> np.ndarray:
        r = positive(label) - 0.55
        r[np.diag_indices(N_NODES)] = 1
        return r

    bids, out = copy
    monkeypatch.setitem(write_matrix.__globals__, "correlations", signed)
    for label in LABELS:
        write_matrix(out, label)
    monkeypatch.undo()
    low = [{0.2: 0.05, 0.3: 0.1}.get(each, each) for each in CHOSEN]
    assert run(bids, out, *low, "--graph-negative", "apart", "--graph-covariate", "mean_r") == 0
    tables = {
        what: pd.read_csv(out / f"{STEM}_desc-{what}_roi.tsv", sep="\t", na_values="n/a")
        for what in ("global", "globalNegative", "globalNegativeValues", "globalNegativeMeanR")
    }
    assert set(tables["global"]["sign"]) == {"positive"}
    assert set(tables["globalNegative"]["sign"]) == {"negative"}
    assert set(tables["globalNegativeValues"]["sign"]) == {"negative"}
    assert "mean_negative_r" not in set(tables["globalNegativeMeanR"]["metric"])
    assert walk(out) == []
    assert "negative correlations" in (out / "group/model-group.html").read_text(encoding="utf-8")
