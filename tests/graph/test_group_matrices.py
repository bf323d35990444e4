"""Matrices at the group level on tiny fakes: planted networks, oracles, resume, tangent space."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from nilearn.connectome.connectivity_matrices import _geometric_mean, _map_eigenvalues

from rls_bids.dataset.description import write_dataset_description, write_descriptions, write_json
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.walk import walk
from rls_bids.interfaces.designs import draw, load_design
from rls_bids.interfaces.group_matrices import GroupMatrices
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.tables import save_table
from rls_bids.numerics.matrices import mean_between_sets, shrunken_correlation
from rls_bids.numerics.nbs import matrix_to_pairs, node_pairs
from rls_bids.numerics.permutation import permutation_test
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.parcels import load_parcels
from tests.factories import write_dataset
from tests.graph.test_group import LABELS, PATIENTS, SPACE, mean_fd, run, table

ATLAS, N_NODES = "Seitzman300", 24
PARCELS = load_parcels(find_atlas(ATLAS))[:: 300 // N_NODES][:N_NODES]
NAMES = [parcel.name for parcel in PARCELS]
LOST, GONE = 5, "12"
MORE, LESS = (0, 1, 2, 3), (10, 11, 12, 13)
MEASURES = ("pearsoncorrelation", "partialcorrelation", "shrunkencorrelation")
STEM = f"group/model-group/model-group_task-rest_seg-{ATLAS}_denoise-acompcor"
CHOSEN = (
    *("--measures", "matrices", "--atlases", ATLAS, "--covariates", "mean_fd"),
    *("--n-permutations", 300),
    *("--matrix-measures", "pearsoncorrelation", "partialcorrelation", "tangent"),
)
INSIDE = [label for label in LABELS if label != GONE]  # sub-12 moved too much


def series(label: str) -> np.ndarray:
    """Four nodes go together in patients, four others in controls."""
    rng = np.random.default_rng(int(label))
    values = rng.standard_normal((150, N_NODES)) + 0.4 * rng.standard_normal((150, 1))
    together = MORE if label in PATIENTS else LESS
    values[:, list(together)] += 1.2 * rng.standard_normal((150, 1))
    return values


def matrix(label: str, measure: str) -> np.ndarray:
    if measure == "pearsoncorrelation":
        r = np.corrcoef(series(label).T)
    else:
        r = shrunken_correlation(series(label))[0]
        if measure == "partialcorrelation":
            p = np.linalg.inv(r)
            r = -p / np.sqrt(np.outer(np.diag(p), np.diag(p)))
            np.fill_diagonal(r, 1.0)
    if label in ("02", "08"):
        r[LOST], r[:, LOST] = np.nan, np.nan
    return r


def write_matrices(out: Path, measures: tuple[str, ...], strategy: str = "acompcor") -> None:
    """Write what the participant level would."""
    for label in LABELS:
        for measure in measures:
            entities = {"task": "rest", "space": SPACE, "seg": ATLAS, "denoise": strategy}
            path = derivative("relmat", label, None, **entities, meas=measure)
            metadata = {
                "Description": "A matrix.",
                "Sources": ["bids:raw:participants.tsv"],
                "SpatialReference": SPACE,
                "MeanFramewiseDisplacement": mean_fd(label),
                "MinutesKept": 6.5,
                "DegreesOfFreedom": 50,
                "Processing": {"Resolution": "2", "Atlas": ATLAS},
                "MissingNodes": [NAMES[LOST]] if label in ("02", "08") else [],
                "Fingerprint": f"{label}{measure}",
            }
            write_json(out / sidecar(path), metadata)
            columns = dict(zip(NAMES, matrix(label, measure).T, strict=True))
            save_table(columns, out / path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return raw data and participants' matrices of three kinds."""
    base = tmp_path_factory.mktemp("matrices")
    bids, out = write_dataset(base / "raw", {}, table()), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    write_matrices(out, MEASURES)
    write_descriptions(out)
    return bids, out


@pytest.fixture(scope="module")
def done(made: tuple[Path, Path]) -> Path:
    assert run(*made, *CHOSEN) == 0
    return made[1]


def stem(measure: str = "pearsoncorrelation") -> str:
    return f"{STEM}_meas-{measure}_contrast-RLSGtHC"


def square(out: Path, what: str, measure: str = "pearsoncorrelation") -> np.ndarray:
    frame = pd.read_csv(out / f"{stem(measure)}_{what}_matrix.tsv", sep="\t", na_values="n/a")
    assert list(frame.columns) == KEPT
    return frame.to_numpy()


def roi(out: Path, desc: str, measure: str = "pearsoncorrelation", kind: str = "roi") -> Any:
    return pd.read_csv(out / f"{stem(measure)}_desc-{desc}_{kind}.tsv", sep="\t", na_values="n/a")


KEPT = [name for place, name in enumerate(NAMES) if place != LOST]
PLACES = [place for place in range(N_NODES) if place != LOST]


@pytest.mark.parametrize("measure", ["pearsoncorrelation", "partialcorrelation", "tangent"])
def test_the_planted_networks_have_their_signs(done: Path, measure: str) -> None:
    t = square(done, "stat-t", measure)
    more = [KEPT.index(NAMES[node]) for node in MORE]
    less = [KEPT.index(NAMES[node]) for node in LESS]
    assert np.nanmin(t[np.ix_(more, more)]) > 3
    assert np.nanmax(t[np.ix_(less, less)]) < -3
    assert np.isnan(np.diag(t)).all()
    np.testing.assert_array_equal(t, t.T)
    found = roi(done, "components", measure, "clusters").set_index("component")
    survive = found[found["p_extent"] <= 0.05]
    assert {np.sign(label) for label in survive.index} == {1, -1}
    p = square(done, "stat-p_desc-nbsExtentFWE", measure)
    assert (p[np.ix_(more, more)][~np.eye(4, dtype=bool)] <= 0.05).mean() > 0.8
    labels = square(done, "stat-label", measure)
    largest = survive[survive.index > 0]["n_edges"].idxmax()
    assert (labels == largest).sum() == 2 * found.loc[largest, "n_edges"]
    edges = roi(done, "edges", measure)
    top = edges.iloc[0]
    assert {top["node_1"], top["node_2"]} <= {NAMES[node] for node in (*MORE, *LESS)}
    assert np.sign(top["t"]) == np.sign(top["hedgesg"]) == np.sign(top["component"])
    told = json.loads((done / f"{stem(measure)}_stat-z_matrix.json").read_text())
    assert told["NumberOfNodes"] == N_NODES - 1
    assert told["NodesLeftOut"] == {NAMES[LOST]: "missing in 2 of 11 participants"}
    assert told["NumberOfComponentsExtent05"] == len(survive)


def test_oracles(done: Path) -> None:
    """The statistic from statsmodels, every p from the kernel of resampling itself."""
    stack = np.array([matrix(label, "pearsoncorrelation") for label in INSIDE])
    values = matrix_to_pairs(np.arctanh(stack[:, PLACES][:, :, PLACES] * (1 - np.eye(23))))
    groups = ["RLS" if label in PATIENTS else "HC" for label in INSIDE]
    frame = pd.DataFrame({"group": groups, "fd": [mean_fd(label) for label in INSIDE]})
    pairs = node_pairs(23)
    t = square(done, "stat-t")[pairs.first, pairs.second]
    for place in (0, 41, 200):
        fitted = smf.ols("y ~ C(group) + fd", frame.assign(y=values[:, place])).fit()
        name = "C(group)[T.RLS]"
        assert t[place] == pytest.approx(fitted.tvalues[name], rel=1e-4)
        effect = square(done, "stat-effect")[pairs.first[place], pairs.second[place]]
        assert effect == pytest.approx(fitted.params[name], rel=1e-4)
    design = done / f"{stem()}_design.tsv"
    test = load_design(str(design), str(design.with_suffix(".json")))
    drawn = draw(test, 300, 0)
    direct = permutation_test(values, drawn.statistic, drawn.resamplings, pairs)
    for desc, field in (
        ("edgeFWE", "p_voxel"),
        ("nbsExtentFWE", "p_extent"),
        ("nbsIntensityFWE", "p_mass"),
        ("tfnbsFWE", "p_enhanced"),
    ):
        p = square(done, f"stat-p_desc-{desc}")[pairs.first, pairs.second]
        np.testing.assert_allclose(p, getattr(direct, field), rtol=1e-6)


def test_blocks_are_those_of_the_participant_level(done: Path) -> None:
    """Means of z over the common nodes, as for one participant; tested like any table."""
    values = roi(done, "networksValues").set_index("participant_id")
    networks = [PARCELS[place].network for place in PLACES]
    sets = sorted(set(networks))
    own = matrix("04", "pearsoncorrelation")[np.ix_(PLACES, PLACES)]
    mean, n_pairs = mean_between_sets(
        np.arctanh(own * (1 - np.eye(23))), [sets.index(name) for name in networks], len(sets)
    )
    tested = roi(done, "networks")
    for row in tested.itertuples():
        i, j = sets.index(row.set_1), sets.index(row.set_2)
        assert row.n_pairs == n_pairs[i, j]
        assert values.loc["sub-04", f"{row.set_1}-{row.set_2}"] == pytest.approx(mean[i, j], 1e-5)
    assert len(tested) == np.triu(n_pairs > 0).sum()
    assert (tested["p_permutation"] <= tested["p_fwe"]).all()
    first = tested.iloc[0]
    frame = values.assign(y=values[f"{first.set_1}-{first.set_2}"])
    frame["fd"] = [mean_fd(label) for label in INSIDE]
    fitted = smf.ols("y ~ C(group) + fd", frame).fit()
    assert first.t == pytest.approx(fitted.tvalues["C(group)[T.RLS]"], rel=1e-4)
    assert len(roi(done, "lobes")) > 3


def test_tangent_coordinates_are_those_of_another_library(done: Path) -> None:
    """nilearn's tangent of the same matrices; the reference knows nothing of groups."""
    stack = np.array([matrix(label, "shrunkencorrelation") for label in INSIDE])
    inner = stack[:, PLACES][:, :, PLACES]
    reference = _geometric_mean(inner, max_iter=50, tol=1e-9)
    found = square(done, "desc-reference", "tangent")
    np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-6)
    whitening = _map_eigenvalues(lambda x: 1 / np.sqrt(x), reference)
    rows = pd.read_csv(
        done / f"{stem('tangent')}_desc-participants_matrix.tsv", sep="\t", na_values="n/a"
    )
    assert list(rows.columns) == ["participant_id", "session", "group", "node", *KEPT]
    own = rows[rows["participant_id"] == "sub-04"]
    assert list(own["node"]) == KEPT
    expected = _map_eigenvalues(np.log, whitening @ inner[INSIDE.index("04")] @ whitening)
    np.testing.assert_allclose(own[KEPT].to_numpy(), expected, rtol=1e-4, atol=1e-6)
    mean = rows[KEPT].to_numpy().reshape(len(INSIDE), 23, 23).mean(axis=0)
    np.testing.assert_allclose(mean, 0, atol=1e-6)


def test_the_output_is_as_promised(done: Path) -> None:
    assert walk(done) == []
    page = (done / "group/model-group.html").read_text(encoding="utf-8")
    for words in (
        f"Pearson correlations of {ATLAS}",
        f"tangent coordinates of {ATLAS}",
        "differ by themselves",
        "without regard to their groups",
        "Means between and within networks",
        "network-based statistic",
    ):
        assert words in page
    for source in re.findall(r'<img src="([^"]+)"', page):
        assert (done / "group" / source).is_file()
    assert "desc-edges" in page
    assert "desc-connectome" in page


def test_a_second_run_computes_nothing(
    done: Path, made: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("group/**/*.tsv")}
    shutil.rmtree(made[1].parent / "work")
    assert run(*made, *CHOSEN) == 0
    assert "nothing is computed" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_threads_do_not_change_what_is_written(done: Path, tmp_path: Path) -> None:
    entities = {"task": "rest", "space": SPACE, "seg": ATLAS, "denoise": "acompcor"}
    paths = [
        derivative("relmat", label, None, **entities, meas="pearsoncorrelation")
        for label in INSIDE
    ]
    design = done / f"{stem()}_design.tsv"
    node = GroupMatrices(
        in_files=[str(done / path) for path in paths],
        measure="pearsoncorrelation",
        mean_fd_mm=[mean_fd(label) for label in INSIDE],
        atlas=ATLAS,
        space=SPACE,
        design_file=str(design),
        sidecar_file=str(design.with_suffix(".json")),
        n_permutations=300,
        n_threads=2,
        version="test",
    )
    entries = load_manifest(node.run(cwd=tmp_path).outputs.manifest)
    written = {path.read_bytes() for path in done.glob(f"{stem()}_*.tsv")}
    assert len(entries) == 17
    assert all(Path(each["file"]).read_bytes() in written for each in entries)


def test_motion_that_is_left_is_that_of_a_partial_correlation(done: Path) -> None:
    """QC-FC beside pandas: group is a covariate, motion itself is none."""
    r = square(done, "stat-r_desc-qcfc")
    np.testing.assert_array_equal(r, r.T)
    values = np.arctanh([matrix(label, "pearsoncorrelation")[PLACES][:, PLACES][0, 1:]
                         for label in INSIDE])  # fmt: skip
    fd = np.array([mean_fd(label) for label in INSIDE])
    is_patient = np.array([label in PATIENTS for label in INSIDE])
    groups = np.column_stack([is_patient, ~is_patient]).astype(float)
    left = [x - groups @ np.linalg.lstsq(groups, x)[0] for x in (fd[:, None], values)]
    expected = [np.corrcoef(left[0][:, 0], column)[0, 1] for column in left[1].T]
    np.testing.assert_allclose(r[0, 1:], expected, atol=1e-5)
    told = json.loads((done / f"{stem()}_stat-z_matrix.json").read_text())["QcFc"]
    assert told["Covariates"] == ["group_RLS", "group_HC"]
    upper = r[np.triu_indices(len(r), 1)]
    assert told["NumberOfEdges"] == len(upper)
    assert told["MedianAbsR"] == pytest.approx(np.median(np.abs(upper)), abs=1e-6)
    assert -1 < told["DistanceRho"] < 1
    page = (done / "group/model-group.html").read_text(encoding="utf-8")
    assert page.count("Motion that is left (QC-FC)") == 3
