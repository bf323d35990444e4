"""Images as covariates of maps: grey matter of voxels and of seeds, the map before."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import ndimage

from rls_bids.dataset.naming import sidecar
from rls_bids.errors import InputDataError
from rls_bids.interfaces.designs import draw, load_design
from rls_bids.interfaces.group import FitGroupMaps
from rls_bids.interfaces.group_clusters import ListClusters
from rls_bids.interfaces.group_covariates import (
    NOTHING_ADDED,
    OUTSIDE,
    VoxelCovariate,
    measure_seeds,
    read_covariates,
    with_seed_amounts,
)
from rls_bids.interfaces.group_maps import Rows
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.numerics.permutation import Rules, permutation_test
from rls_bids.numerics.tfce import voxel_neighbours
from rls_bids.numerics.voxelwise import fit_voxelwise
from rls_bids.records import Seed
from tests.factories import write_nifti
from tests.graph import test_group as fakes
from tests.graph.test_group_maps import AFFINE, LEFT, SHAPE, Study

N = 8
"""In each group."""
GREY = {"voxel_covariates": ["grey_matter"]}
FREE = {"Compared": {}, "MeanFd": []}
SPHERE = Seed(
    name="left", network="n", kind="sphere", centre_mm=(-12.0, -24.0, 12.0), radius_mm=4.1,
    space=fakes.SPACE,
)  # fmt: skip
OTHER = Seed(
    name="next", network="n", kind="sphere", centre_mm=(-8.0, -24.0, 12.0), radius_mm=4.1,
    space=fakes.SPACE,
)  # fmt: skip


def write_grey(folder: Path, grey: np.ndarray, affine: np.ndarray = AFFINE) -> list[str]:
    """Write one image a map."""
    paths = [folder / f"grey{number:02}.nii.gz" for number in range(len(grey))]
    for path, one in zip(paths, grey, strict=True):
        write_nifti(path, one.astype(np.float32), affine=affine)
    return [str(path) for path in paths]


def confounded(folder: Path, seed: int = 0) -> tuple[Study, np.ndarray]:
    """Two groups whose maps differ on the left, where and because their grey matter does."""
    rng = np.random.default_rng(seed)
    grey = rng.uniform(0.4, 0.6, (2 * N, *SHAPE))
    grey[:N][(slice(None), *LEFT)] -= 0.3
    data = 0.1 + grey[:, None] + rng.normal(0, 0.02, (2 * N, 1, *SHAPE))
    told = {"Weights": [[1.0, -1.0]], "Groups": ["a"] * N + ["b"] * N, **FREE}
    study = Study(folder, np.repeat(np.eye(2), N, axis=0), data, told).write()
    return study, grey.astype(np.float32)


def run_node(study: Study, tmp: Path, monkeypatch, **options: Any) -> tuple[dict[str, Any], dict]:
    """Run the node; return the entries of its manifest by key, maps as arrays, and a sidecar."""
    tmp.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp)
    asked = {"correction": "voxel", "cluster_threshold": 0.001, "n_permutations": 100}
    node = FitGroupMaps(in_files=study.paths, **study.files, version="1", **(asked | options))
    entries = load_manifest(node.run().outputs.manifest)
    assert not list(tmp.glob("*.npy"))
    maps = {
        entry["key"]: nib.load(entry["file"]).get_fdata()
        for entry in entries
        if entry["file"].endswith(".nii.gz")
    }
    return maps, entries[0]["metadata"]


def test_a_difference_that_is_grey_matter_disappears(tmp_path, monkeypatch) -> None:
    study, grey = confounded(tmp_path / "in")
    plain, _ = run_node(study, tmp_path / "plain", monkeypatch)
    files = write_grey(tmp_path / "grey", grey)
    found, told = run_node(study, tmp_path / "out", monkeypatch, grey_files=files, **GREY)
    assert (plain["p_voxelFWE"][LEFT] <= 0.05).mean() > 0.9
    assert (plain["t"][LEFT] < 0).all()
    assert (found["p_voxelFWE"] > 0.05).all()
    assert abs(found["effect"][LEFT].mean()) < 0.03
    assert plain["effect"][LEFT].mean() < -0.25
    assert told["DegreesOfFreedom"] == 2 * N - 3
    assert told["VoxelCovariates"] == [
        {"Name": "grey_matter", "SessionWeights": [1.0], "SmoothingFwhmMm": 0.0, "Centred": True}
    ]


def test_the_node_gives_what_the_kernels_give(tmp_path, monkeypatch) -> None:
    study, grey = confounded(tmp_path / "in", seed=1)
    files = write_grey(tmp_path / "grey", grey)
    asked = {"correction": "tfce", "grey_files": files, **GREY}
    found, told = run_node(study, tmp_path / "out", monkeypatch, **asked)
    other, _ = run_node(study, tmp_path / "two", monkeypatch, n_threads=2, **asked)
    np.testing.assert_array_equal(found["p_tfceFWE"], other["p_tfceFWE"])
    data = study.data[:, 0].reshape(2 * N, -1).astype(np.float32)
    flat = grey.reshape(2 * N, -1)
    direct = fit_voxelwise(data, study.matrix, [1, -1], flat - flat.mean(axis=0))
    for key, values in (("t", direct.t), ("effect", direct.effect), ("p_uncorrected", direct.p)):
        np.testing.assert_allclose(found[key].ravel(), values, rtol=1e-4, atol=1e-5)
    test = load_design(**study.files)
    drawn = draw(test, 100, 0, 1)
    tested = permutation_test(
        data,
        drawn.statistic,
        drawn.resamplings,
        voxel_neighbours(np.ones(SHAPE)),
        rules=Rules(),
        voxel_covariates=flat - flat.mean(axis=0),
    )
    for key, values in (("p_voxelFWE", tested.p_voxel), ("p_tfceFWE", tested.p_enhanced)):
        np.testing.assert_allclose(found[key].ravel(), values, atol=1e-6)
    assert told["Resamplings"]["Set"] == drawn.told["Set"]


def test_resamplings_are_in_step_among_covariates_only(tmp_path) -> None:
    rng = np.random.default_rng(0)
    matrix = np.repeat(np.eye(2), 4, axis=0)
    told = {"Weights": [[1.0, -1.0]], "Groups": ["a"] * 4 + ["b"] * 4, **FREE}
    study = Study(tmp_path, matrix, rng.normal(size=(8, 1, *SHAPE)), told).write()
    test = load_design(**study.files)
    plain, adjusted, again = draw(test, 100, 0), draw(test, 100, 0, 1), draw(test, 100, 0, 1)
    assert plain.told["Exhaustive"]
    assert plain.told["Number"] == 70  # participants of a group are the same
    assert not adjusted.told["Exhaustive"]  # they are not the same with images of their own
    assert adjusted.told["Set"] == again.told["Set"] != plain.told["Set"]
    assert adjusted.statistic.df == plain.statistic.df - 1


def rows_of(mask: np.ndarray, affine: np.ndarray, n_rows: int) -> Rows:
    shape = (n_rows, 1, int(mask.sum()))
    return Rows(
        data=np.zeros(shape, np.float32), mask=mask, affine=affine,
        coverage=mask.astype(np.int32), lost={},
    )  # fmt: skip


def test_images_come_to_the_grid_of_the_maps(tmp_path) -> None:
    """An image that is linear in mm, on a finer and flipped grid, keeps its values and sides."""
    fine = np.diag([-2.0, 2.0, 2.0, 1.0])
    fine[:3, 3] = (50, -60, -20)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (60, 50, 40)], indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(nib.affines.apply_affine(fine, index), -1, 0)
    paths = write_grey(tmp_path, np.stack([x + 0.1 * y, 3 * z]), fine)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:9, 1:8, 1:6] = True
    difference = VoxelCovariate(name="g", paths=tuple(paths), weights=(1.0, -1.0))
    found = read_covariates([difference], rows_of(mask, AFFINE, 1), tmp_path)
    at = nib.affines.apply_affine(AFFINE, np.argwhere(mask))
    expected = at[:, 0] + 0.1 * at[:, 1] - 3 * at[:, 2]
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-3)  # a difference is not centred


def test_images_are_smoothed_as_the_maps(tmp_path) -> None:
    point = np.zeros((1, *SHAPE))
    point[0, 5, 4, 4] = 1.0
    paths = write_grey(tmp_path, np.concatenate([point, 0 * point]))
    level = VoxelCovariate(name="g", paths=tuple(paths), weights=(1.0,), smoothing_fwhm_mm=6.0)
    mask = np.ones(SHAPE, dtype=bool)
    found = read_covariates([level], rows_of(mask, AFFINE, 2), tmp_path)
    sigma = 6.0 / np.sqrt(8 * np.log(2)) / 4.0
    expected = ndimage.gaussian_filter(point[0], sigma)
    inner = (slice(3, 8), slice(2, 7), slice(2, 6))
    np.testing.assert_allclose(found[0, 0].reshape(SHAPE)[inner], expected[inner] / 2, atol=2e-3)
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-6)  # a level is centred


def test_a_change_given_the_map_before_is_the_map_after_given_it(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(4)
    before = rng.normal(0.5, 0.2, (2 * N, *SHAPE))
    after = 0.4 * before + rng.normal(0.3, 0.1, (2 * N, *SHAPE))
    told = {"Weights": [[1.0, -1.0]], "Groups": ["a"] * N + ["b"] * N, **FREE}
    told["Responses"] = [[1.0, -1.0]]  # the second map is that before
    matrix = np.repeat(np.eye(2), N, axis=0)
    study = Study(tmp_path / "in", matrix, np.stack([after, before], axis=1), told).write()
    asked = {"voxel_covariates": ["baseline"], "correction": "fdr"}
    found, told = run_node(study, tmp_path / "out", monkeypatch, **asked)
    place = (3, 4, 5)
    columns = np.column_stack([matrix, before[:, *place]])
    oracle = sm.OLS(after[:, *place], columns).fit().t_test([1, -1, 0])
    assert found["t"][place] == pytest.approx(oracle.tvalue.item(), rel=1e-4)
    assert found["effect"][place] == pytest.approx(oracle.effect.item(), rel=1e-4)
    (about,) = told["VoxelCovariates"]
    assert (about["SessionWeights"], about["Centred"]) == ([0.0, 1.0], True)
    grey = rng.uniform(0, 1, (2 * N, 2, *SHAPE))  # beside it
    files = write_grey(tmp_path / "grey", grey.reshape(4 * N, *SHAPE))
    asked |= {"voxel_covariates": ["grey_matter", "baseline"], "grey_files": files}
    found, told = run_node(study, tmp_path / "both", monkeypatch, **asked)
    change = grey[:, 0, *place] - grey[:, 1, *place]
    oracle = sm.OLS(after[:, *place], np.column_stack([columns, change])).fit()
    assert found["t"][place] == pytest.approx(oracle.t_test([1, -1, 0, 0]).tvalue.item(), rel=1e-4)
    assert told["DegreesOfFreedom"] == oracle.df_resid
    assert [one["Centred"] for one in told["VoxelCovariates"]] == [False, True]


def test_a_mean_is_that_at_the_average_amount(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(6)
    grey = rng.uniform(0.3, 0.7, (N, *SHAPE))
    data = grey[:, None] + rng.normal(0, 0.1, (N, 1, *SHAPE))
    told = {"Weights": [[1.0]], "EffectSize": "dz", "EffectSizeScale": N**-0.5, **FREE}
    study = Study(tmp_path / "in", np.ones((N, 1)), data, told).write()
    files = write_grey(tmp_path / "grey", grey)
    found, told = run_node(study, tmp_path / "out", monkeypatch, grey_files=files, **GREY)
    np.testing.assert_allclose(found["effect"], data[:, 0].mean(axis=0), rtol=1e-5)
    assert told["Resamplings"]["Kind"] == "sign-flip"
    assert told["DegreesOfFreedom"] == N - 2


def test_the_amount_in_a_seed(tmp_path) -> None:
    rng = np.random.default_rng(2)
    paths = write_grey(tmp_path, rng.uniform(0, 1, (2, *SHAPE)))
    found = measure_seeds([SPHERE, OTHER], paths, fakes.SPACE)
    voxels = np.argwhere(np.ones(SHAPE))
    at = nib.affines.apply_affine(AFFINE, voxels)
    near = [np.linalg.norm(at - seed.centre_mm, axis=1) <= 4.1 for seed in (SPHERE, OTHER)]
    inside = (near[0] | near[1]).reshape(SHAPE)
    assert inside.sum() == 12  # two crosses of 7 share the two centres
    for path, amount in zip(paths, found, strict=True):
        assert amount == pytest.approx(nib.load(path).get_fdata()[inside].sum() * 64, rel=1e-5)
    far = Seed(name="far", network="", kind="sphere", centre_mm=(400, 0, 0), radius_mm=2.0)
    with pytest.raises(InputDataError) as caught:
        measure_seeds([far], paths, fakes.SPACE)
    assert caught.value.message == OUTSIDE.format(seeds="far", path=paths[0])


def test_a_seed_is_a_column_of_the_design(tmp_path, monkeypatch) -> None:
    study, grey = confounded(tmp_path / "in", seed=3)
    files = write_grey(tmp_path / "grey", grey)
    plain = {
        "name": "left", "network": "n", "kind": "sphere", "radius_mm": 4.1,
        "centre_mm": [-12.0, -24.0, 12.0], "space": fakes.SPACE,
    }  # fmt: skip
    asked = {"grey_files": files, "measured_seeds": [plain], "space": fakes.SPACE}
    found, told = run_node(study, tmp_path / "out", monkeypatch, **asked)
    amounts = measure_seeds([SPHERE], files, fakes.SPACE)
    own = told["SeedCovariate"]
    assert own["AmountsMm3"] == pytest.approx(list(amounts))
    assert own["Seeds"] == ["left"]
    place = (7, 2, 2)
    columns = np.column_stack([study.matrix, amounts])
    oracle = sm.OLS(study.data[:, 0][:, *place], columns).fit().t_test([1, -1, 0])
    assert found["t"][place] == pytest.approx(oracle.tvalue.item(), rel=1e-4)
    assert told["DegreesOfFreedom"] == 2 * N - 3


def test_what_a_seed_cannot_add(tmp_path) -> None:
    study, _ = confounded(tmp_path)
    test = load_design(**study.files)
    rounding = 7.1 * (1 + 1e-9 * np.arange(2 * N))
    for amounts in (np.full(2 * N, 7.1), rounding, np.repeat([5.0, 6.0], N)):
        with pytest.raises(InputDataError) as caught:
            with_seed_amounts(test, amounts, "PCC")
        assert caught.value.message == NOTHING_ADDED.format(seeds="PCC", n_columns=2)
    found = with_seed_amounts(test, np.arange(2 * N), "PCC")
    assert found.matrix[:, 2].mean() == pytest.approx(0)
    assert found.contrasts.tolist() == [[1, -1, 0]]
    assert test.matrix.shape == (2 * N, 2)


def test_means_of_clusters_have_the_column_of_the_seed(tmp_path, monkeypatch) -> None:
    """Effect sizes of clusters are those of the adjusted design; without one there are none."""
    rng = np.random.default_rng(8)
    data = rng.normal(0.3, 0.05, (2 * N, 1, *SHAPE))
    data[:N, 0][(slice(None), *LEFT)] += 0.5
    told = {"Weights": [[1.0, -1.0]], "Groups": ["a"] * N + ["b"] * N, **FREE}
    study = Study(tmp_path / "in", np.repeat(np.eye(2), N, axis=0), data, told).write()
    sizes = {}
    amounts = rng.normal(100, 10, 2 * N)
    own = {"SeedCovariate": {"Seeds": ["left"], "AmountsMm3": list(amounts)}}
    for name, more in (("plain", {}), ("seed", own), ("voxel", {"VoxelCovariates": [{}]})):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        node = FitGroupMaps(
            in_files=study.paths, **study.files, version="1",
            correction="fdr", cluster_threshold=0.001, n_permutations=1,
        )  # fmt: skip
        entries = load_manifest(node.run().outputs.manifest)
        maps = {entry["key"]: entry["file"] for entry in entries if entry["file"]}
        for path in maps.values():
            Path(sidecar(path)).write_text(json.dumps(entries[0]["metadata"] | more))
        listed = ListClusters(
            maps={k: v for k, v in maps.items() if not k.startswith("logp")},
            in_files=study.paths, **study.files, correction="fdr", space=fakes.SPACE, stamp="x",
        )  # fmt: skip
        (table, *_) = load_manifest(listed.run().outputs.manifest)
        rows = pd.read_csv(table["file"], sep="\t")
        sizes[name] = rows["hedgesg_mean"].max()
    assert sizes["plain"] > 2
    assert sizes["seed"] > 2
    assert sizes["seed"] != pytest.approx(sizes["plain"], rel=1e-6)
    assert np.isnan(sizes["voxel"])
