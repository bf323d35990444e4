"""Inference on maps at the group level: nodes on tiny grids, against kernels and oracles."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from rls_bids.interfaces.designs import draw, load_design
from rls_bids.interfaces.group import FitGroupMaps, map_key, map_list, p_maps
from rls_bids.interfaces.group_clusters import ListClusters, table_columns
from rls_bids.interfaces.group_family import HOLM_ALONE, MIN_P, ONE_MAP, CorrectFamily
from rls_bids.interfaces.group_maps import NOTHING_SHARED, OTHER_GRID, read_rows
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.numerics.permutation import Rules, permutation_test
from rls_bids.numerics.tfce import voxel_neighbours
from tests.factories import write_nifti

SHAPE = (11, 9, 8)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-20, -40, 0)
LEFT = (slice(1, 3), slice(3, 6), slice(2, 5))
"""x of −16 and −12 mm: left."""
ORDER = ("tfce", "cluster", "voxel", "fdr")


@dataclass
class Study:
    """A hand-written design with its maps."""

    folder: Path
    matrix: np.ndarray
    data: np.ndarray  # (n_rows, n_sessions, *SHAPE)
    told: dict[str, Any]

    def write(self) -> "Study":
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [f"c{k}" for k in range(self.matrix.shape[1])]
        frame = pd.DataFrame(self.matrix, columns=names)
        frame.to_csv(self.folder / "design.tsv", sep="\t", index=False)
        n = len(self.matrix)
        groups = self.told.get("Groups", [])
        rest = {
            "Rows": [f"sub-{row:02}" for row in range(n)],
            "Groups": groups,
            "Compared": {},
            "MeanFd": [0.1] * n,
            "Responses": [[1.0]],
            "Pairs": [],
            "Sites": [],
            "VarianceGroups": [],
            "Assume": "",
            "EffectSize": "hedgesg",
            "EffectSizeScale": float(np.sqrt(2 / (n / 2))),
        }
        (self.folder / "design.json").write_text(json.dumps(rest | self.told))
        for row, sessions in enumerate(self.data):
            for number, volume in enumerate(sessions):
                write_nifti(self.path(row, number), volume.astype(np.float32), affine=AFFINE)
        return self

    def path(self, row: int, session: int = 0) -> Path:
        return self.folder / f"map{row:02}_{session}.nii.gz"

    @property
    def paths(self) -> list[str]:
        n_rows, n_sessions = self.data.shape[:2]
        return [str(self.path(row, one)) for row in range(n_rows) for one in range(n_sessions)]

    @property
    def files(self) -> dict[str, str]:
        names = {"design_file": "design.tsv", "sidecar_file": "design.json"}
        return {key: str(self.folder / name) for key, name in names.items()}


def two_groups(folder: Path, *, effect: float = 0.0, spread: float = 1.0, seed: int = 0) -> Study:
    """Eight against eight, with an effect on the left."""
    rng = np.random.default_rng(seed)
    data = rng.normal(0.3, 0.1, (16, 1, *SHAPE))
    data[8:] = 0.3 + (data[8:] - 0.3) * spread
    data[:8, 0][(slice(None), *LEFT)] += effect
    told = {"Weights": [[1.0, -1.0]], "Groups": ["a"] * 8 + ["b"] * 8}
    return Study(folder, np.repeat(np.eye(2), 8, axis=0), data, told).write()


def fit(study: Study, tmp: Path, monkeypatch, **options: Any) -> tuple[dict[str, Any], dict]:
    """Run the node; return the arrays of its maps (and the table) by key, and one sidecar."""
    tmp.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp)
    asked = {"correction": "tfce", "cluster_threshold": 0.001, "n_permutations": 100}
    node = FitGroupMaps(in_files=study.paths, **study.files, version="1", **(asked | options))
    entries = load_manifest(node.run().outputs.manifest)
    found = {
        entry["key"]: pd.read_csv(entry["file"], sep="\t")
        if entry["file"].endswith("tsv")
        else nib.load(entry["file"]).get_fdata()
        for entry in entries
        if entry["file"]
    }
    assert not list(tmp.glob("*.npy"))
    return found, entries[0]["metadata"]


def test_a_planted_effect_is_found_on_its_side(tmp_path, monkeypatch) -> None:
    study = two_groups(tmp_path / "in", effect=0.4)
    found, told = fit(study, tmp_path / "out", monkeypatch)
    planted = np.zeros(SHAPE, dtype=bool)
    planted[LEFT] = True
    x = (AFFINE @ [*np.argwhere(planted).mean(axis=0), 1])[0]
    assert x < 0
    near = np.zeros(SHAPE, dtype=bool)
    near[0:4, 2:7, 1:6] = True
    for desc in ("tfceFWE", "clusterFWE", "voxelFWE"):
        assert (found[f"p_{desc}"][planted] <= 0.05).mean() > 0.8, desc
        assert not (found[f"p_{desc}"][~near] <= 0.05).any(), desc
    assert (found["t"][planted] > 0).all()
    assert told["NumberOfVoxelsCorrected05"] == (found["p_tfceFWE"] <= 0.05).sum()
    assert set(found) - {"maxima"} == {
        map_key(stat, desc) for stat, desc, _ in map_list("t", "hedgesg", "tfce")
    }


def test_p_is_that_of_the_kernel_whatever_the_threads(tmp_path, monkeypatch) -> None:
    study = two_groups(tmp_path / "in", effect=0.1)
    found, told = fit(study, tmp_path / "one", monkeypatch, n_permutations=600)
    other, _ = fit(study, tmp_path / "two", monkeypatch, n_permutations=600, n_threads=2)
    for key, values in found.items():
        np.testing.assert_array_equal(values, other[key], err_msg=key)
    test = load_design(**study.files)
    drawn = draw(test, 600, 0)
    data = study.data[:, 0].reshape(16, -1).astype(np.float32)
    around = voxel_neighbours(np.ones(SHAPE))
    rules = Rules(is_tail_fitted=True)
    direct = permutation_test(data, drawn.statistic, drawn.resamplings, around, rules=rules)
    assert not direct.is_exhaustive
    assert told["Resamplings"]["TailFitted"]
    for desc, p in (
        ("voxelFWE", direct.p_voxel),
        ("clusterFWE", direct.p_mass),
        ("tfceFWE", direct.p_enhanced),
    ):
        np.testing.assert_allclose(found[f"p_{desc}"].ravel(), p, rtol=1e-6)
        np.testing.assert_allclose(found[f"logp_{desc}"].ravel(), -np.log10(p), atol=1e-6)
    np.testing.assert_allclose(found["maxima"]["enhanced"], direct.maxima.enhanced, rtol=1e-6)
    np.testing.assert_allclose(found["tfce"].ravel(), direct.enhanced, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("correction", ORDER)
def test_each_correction_makes_the_cheaper_ones(tmp_path, monkeypatch, correction: str) -> None:
    study = two_groups(tmp_path / "in")
    found, told = fit(study, tmp_path / "out", monkeypatch, correction=correction)
    made = {key.removeprefix("p_") for key in found if key.startswith("p_")}
    assert made == set(p_maps(correction))
    assert len(made) == 1 + len(ORDER) - ORDER.index(correction)
    assert ("maxima" in found) == ("Resamplings" in told) == (correction != "fdr")
    assert ("tfce" in found) == (correction == "tfce")


def test_estimates_are_those_of_statsmodels(tmp_path, monkeypatch) -> None:
    study = two_groups(tmp_path / "in", effect=0.2)
    rng = np.random.default_rng(5)
    study.matrix = np.column_stack([study.matrix, rng.normal(size=16)])
    study.told["Weights"] = [[1.0, -1.0, 0.0]]
    found, told = fit(study.write(), tmp_path / "out", monkeypatch, correction="fdr")
    assert told["DegreesOfFreedom"] == 13
    for place in ((1, 4, 3), (9, 2, 7)):
        y = study.data[(slice(None), 0, *place)].astype(np.float32).astype(float)
        oracle = sm.OLS(y, study.matrix).fit().t_test([1, -1, 0])
        assert found["t"][place] == pytest.approx(oracle.tvalue.item(), rel=1e-5)
        assert found["effect"][place] == pytest.approx(oracle.effect.item(), rel=1e-5)
        assert found["variance"][place] == pytest.approx(oracle.sd.item() ** 2, rel=1e-5)
        assert found["p_uncorrected"][place] == pytest.approx(oracle.pvalue.item(), rel=1e-5)


def test_variance_groups_are_tested_by_welch_with_flips(tmp_path, monkeypatch) -> None:
    study = two_groups(tmp_path / "in", effect=0.2, spread=3.0)
    study.told["VarianceGroups"] = study.told["Groups"]
    found, told = fit(study.write(), tmp_path / "out", monkeypatch)
    assert told["Statistic"] == "v"
    assert told["Resamplings"]["Kind"] == "sign-flip"
    assert told["ResidualSdRatio"]["a"] == pytest.approx(1 / 3, abs=0.06)
    assert told["ResidualSdRatio"]["b"] == 1
    data = study.data[:, 0].astype(np.float32).astype(float)
    oracle = stats.ttest_ind(data[:8], data[8:], equal_var=False)
    np.testing.assert_allclose(found["t"], oracle.statistic, rtol=1e-5)
    np.testing.assert_allclose(found["p_uncorrected"], oracle.pvalue, rtol=1e-4)
    np.testing.assert_allclose(found["effect"] / np.sqrt(found["variance"]), found["t"], rtol=1e-4)


def test_seven_pairs_reach_one_in_sixty_four(tmp_path, monkeypatch) -> None:
    """Before and after in seven participants: their differences have their signs flipped."""
    rng = np.random.default_rng(3)
    data = rng.normal(0.3, 0.1, (7, 2, *SHAPE))
    data[:, 1][(slice(None), *LEFT)] += 0.6
    told = {"Weights": [[1.0]], "Responses": [[-1.0, 1.0]], "EffectSize": "dz"}
    told["EffectSizeScale"] = float(np.sqrt(1 / 7))
    study = Study(tmp_path / "in", np.ones((7, 1)), data, told).write()
    found, metadata = fit(study, tmp_path / "out", monkeypatch, n_permutations=1000)
    assert metadata["Resamplings"]["Kind"] == "sign-flip"
    assert metadata["Resamplings"]["Distinct"] == 128
    assert metadata["Resamplings"]["SmallestP"] == pytest.approx(2 / 128)
    assert metadata["SmallestPCorrected"] == pytest.approx(2 / 128)
    assert not metadata["Resamplings"]["TailFitted"]
    single = data.astype(np.float32).astype(float)
    oracle = stats.ttest_rel(single[:, 1], single[:, 0])
    np.testing.assert_allclose(found["t"], oracle.statistic, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["dz"], oracle.statistic / np.sqrt(7), rtol=1e-4, atol=1e-5)
    assert (found["p_tfceFWE"][LEFT] <= 0.05).all()
    assert (found["t"][LEFT] > 0).all()  # after minus before


def test_several_contrasts_are_tested_by_f(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(4)
    data = rng.normal(0.3, 0.1, (15, 1, *SHAPE))
    data[:5, 0][(slice(None), *LEFT)] += 0.4
    told = {
        "Weights": [[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]],
        "Groups": ["a"] * 5 + ["b"] * 5 + ["c"] * 5,
        "EffectSize": "partialeta2",
    }
    study = Study(tmp_path / "in", np.repeat(np.eye(3), 5, axis=0), data, told).write()
    found, metadata = fit(study, tmp_path / "out", monkeypatch)
    single = data[:, 0].astype(np.float32).astype(float)
    oracle = stats.f_oneway(single[:5], single[5:10], single[10:])
    np.testing.assert_allclose(found["F"], oracle.statistic, rtol=1e-5)
    np.testing.assert_allclose(found["p_uncorrected"], oracle.pvalue, rtol=1e-4)
    eta = 2 * oracle.statistic / (2 * oracle.statistic + 12)
    np.testing.assert_allclose(found["partialeta2"], eta, rtol=1e-5)
    assert (metadata["DegreesOfFreedomEffect"], metadata["DegreesOfFreedom"]) == (2, 12)
    assert (found["p_tfceFWE"][LEFT] <= 0.05).mean() > 0.8
    keys = {map_key(stat, desc) for stat, desc, _ in map_list("F", "partialeta2", "tfce")}
    assert set(found) - {"maxima"} == keys


def test_three_sessions_are_tested_by_pillai(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(6)
    data = rng.normal(0.3, 0.1, (12, 3, *SHAPE))
    data[:, 2][(slice(None), *LEFT)] += 0.3
    helmert = [[1 / np.sqrt(2), -1 / np.sqrt(2), 0.0], [1.0, 1.0, -2.0]]
    helmert[1] = (np.array(helmert[1]) / np.sqrt(6)).tolist()
    told = {"Weights": [[1.0]], "Responses": helmert, "EffectSize": "partialeta2"}
    study = Study(tmp_path / "in", np.ones((12, 1)), data, told).write()
    found, metadata = fit(study, tmp_path / "out", monkeypatch)
    assert metadata["Statistic"] == "Pillai"
    place = (1, 4, 3)
    numbers = np.array(helmert) @ data[(slice(None), slice(None), *place)].astype(np.float32).T
    mean, covariance = numbers.mean(axis=1), np.cov(numbers)
    t2 = 12 * mean @ np.linalg.solve(covariance, mean)  # Hotelling
    f = t2 * (12 - 2) / (2 * 11)
    assert found["F"][place] == pytest.approx(f, rel=1e-4)
    assert found["p_uncorrected"][place] == pytest.approx(stats.f.sf(f, 2, 10), rel=1e-3)
    assert (found["p_tfceFWE"][LEFT] <= 0.05).all()


def test_voxels_are_tested_where_everybody_has_a_value(tmp_path, monkeypatch) -> None:
    study = two_groups(tmp_path / "in")
    study.data[3, 0, 0] = 0  # one plane only here
    study.data[5, 0, :, 0] = 0
    study.data[6, 0, :, 0] = 0
    found, told = fit(study.write(), tmp_path / "out", monkeypatch)
    assert (found["coverage"][0, 1:] == 15).all()
    assert (found["coverage"][1:, 0] == 14).all()
    assert (found["coverage"][0, 0] == 13).all()
    is_lost = found["coverage"] < 16
    for key, values in found.items():
        if key.startswith("p_"):
            assert (values[is_lost] == 1).all(), key
        elif key not in ("coverage", "maxima"):
            assert not values[is_lost].any(), key
    missing = told["MissingVoxels"]
    assert missing["OnlyMissingIn"] == {"sub-03": 8 * 8}
    assert missing["EveryParticipant"] == told["NumberOfVoxels"] == 10 * 8 * 8


def test_maps_that_do_not_fit_are_refused(tmp_path) -> None:
    study = two_groups(tmp_path / "in")
    labels = [f"{row:02}" for row in range(16)]
    study.data[0, 0, :6] = 0
    study.data[1, 0, 5:] = 0
    study.write()
    first, other = study.paths[0], study.paths[2]
    with pytest.raises(Exception, match=NOTHING_SHARED.format(n=16, first=first)[:30]):
        read_rows(study.paths, np.array([[1.0]]), labels, tmp_path)
    write_nifti(study.path(2), np.ones((5, 5, 5), np.float32), affine=AFFINE)
    with pytest.raises(Exception, match=OTHER_GRID.format(path=other, first=first)[:30]):
        read_rows(study.paths, np.array([[1.0]]), labels, tmp_path)


def correct(folders: list[Path], tmp: Path, monkeypatch) -> tuple[pd.DataFrame, str]:
    """Run the node of the family over the maxima of finished comparisons."""
    tmp.mkdir(parents=True)
    monkeypatch.chdir(tmp)
    for folder in folders:  # as the sink writes them
        entries = json.loads((folder / "manifest.json").read_text())["entries"]
        (folder / "maxima.json").write_text(json.dumps(entries[-1]["metadata"]))
    found = CorrectFamily(
        maxima_files=[str(folder / "maxima.tsv") for folder in folders],
        names=[folder.name for folder in folders],
        contrasts=["a > b"] * len(folders),
        counts=[16] * len(folders),
        column="enhanced",
        stamp="x",
    ).run()
    return pd.read_csv(tmp / "family.tsv", sep="\t"), found.outputs.minima


def test_a_family_is_corrected_together(tmp_path, monkeypatch) -> None:
    folders = []
    for seed, effect in enumerate((0.4, 0.0, 0.0)):
        study = two_groups(tmp_path / f"in{seed}", effect=effect, seed=seed)
        folders.append(tmp_path / f"map{seed}")
        fit(study, folders[-1], monkeypatch, n_permutations=200)
    table, _ = correct(folders, tmp_path / "family", monkeypatch)
    assert (table["p_family"] >= table["p_fwe"]).all()
    assert table["set"].nunique() == 1
    assert table["method"].tolist() == [MIN_P.format(n=3)] * 3
    assert table["p_family"][0] <= 0.05
    assert (table["p_family"][1:] > 0.05).all()
    maxima = np.array([pd.read_csv(f / "maxima.tsv", sep="\t")["enhanced"] for f in folders])
    p = np.array([[(row >= x * (1 - 1e-5)).mean() for x in row] for row in maxima])  # by hand
    by_hand = [(p.min(axis=0) <= own + 1e-12).mean() for own in p[:, 0]]
    np.testing.assert_allclose(table["p_family"], np.maximum(by_hand, table["p_fwe"]), rtol=1e-6)
    alone, _ = correct(folders[:1], tmp_path / "alone", monkeypatch)
    assert alone["method"].tolist() == [ONE_MAP]
    assert alone["p_family"][0] == alone["p_fwe"][0]


def test_other_resamplings_are_joined_by_holm(tmp_path, monkeypatch) -> None:
    first = two_groups(tmp_path / "in0", effect=0.4)
    second = two_groups(tmp_path / "in1", seed=1)
    second.matrix, second.data = second.matrix[:-1], second.data[:-1]
    second.told["Groups"] = second.told["Groups"][:-1]
    folders = [tmp_path / "map0", tmp_path / "map1"]
    for study, folder in zip((first, second.write()), folders, strict=True):
        fit(study, folder, monkeypatch)
    table, minima = correct(folders, tmp_path / "family", monkeypatch)
    assert table["set"].nunique() == 2
    assert table["method"].tolist() == [HOLM_ALONE.format(n_sets=2)] * 2
    assert table["p_family"][0] == pytest.approx(min(1, 2 * table["p_fwe"][0]))
    assert list(pd.read_csv(minima, sep="\t")) == table["set"].tolist()


def test_the_table_lists_what_is_there(tmp_path, monkeypatch) -> None:
    study = two_groups(tmp_path / "in", effect=0.4)
    folder = tmp_path / "map0"
    found, told = fit(study, folder, monkeypatch, n_permutations=200)
    _, minima = correct([folder], tmp_path / "family", monkeypatch)
    (folder / "z.json").write_text(json.dumps(told))
    tables = tmp_path / "tables"
    tables.mkdir()
    monkeypatch.chdir(tables)
    maps = {path.name.removesuffix(".nii.gz"): str(path) for path in folder.glob("*.nii.gz")}
    node = ListClusters(
        maps=maps, maxima_file=str(folder / "maxima.tsv"), minima_file=minima, stamp="x",
        in_files=study.paths, **study.files, correction="tfce", space="MNI152NLin6Asym",
    )  # fmt: skip
    entries = load_manifest(node.run().outputs.manifest)
    rows = pd.read_csv(tables / "clusters.tsv", sep="\t", keep_default_na=False)
    assert list(rows) == list(table_columns("t", "hedgesg", "tfce"))
    first = rows.iloc[0]
    assert first["x_mm"] in (-16, -12)
    peak = tuple(
        np.rint(np.linalg.inv(AFFINE) @ [*first[["x_mm", "y_mm", "z_mm"]], 1]).astype(int)[:3]
    )
    assert float(first["t"]) == pytest.approx(found["t"][peak], rel=1e-5)
    assert float(first["p_family"]) >= float(first["p_corrected"])
    labels = nib.load(tables / "labels.nii.gz").get_fdata()
    np.testing.assert_array_equal(labels > 0, found["p_tfceFWE"] <= 0.05)
    names = pd.read_csv(tables / "names.tsv", sep="\t")
    assert set(names["index"]) == set(np.unique(labels)) - {0}
    assert labels[peak] == 1
    assert 0.5 < float(first["hedgesg_leftOut"]) <= float(first["hedgesg_mean"])
    sensitive = entries[0]["metadata"]["Sensitivity"]
    assert sensitive["single"] < sensitive["map"] <= sensitive["family"]
