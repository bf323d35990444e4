"""Families and clusters of the group level from the command line: resume, sets, chaining."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset.description import write_dataset_description, write_descriptions
from rls_bids.dataset.walk import walk
from rls_bids.resources.regions import circularity, region_on_grid
from rls_bids.resources.seeds import seeds_in_space
from tests.factories import write_dataset
from tests.graph.test_group import (
    AFFINE,
    LABELS,
    SEEDS,
    SHAPE,
    SPACE,
    TARGET_MM,
    run,
    table,
    voxel,
    write_map,
)

FEW = ("--covariates", "none", "--n-permutations", 500)
STEM = "model-group_task-rest_denoise-acompcor"
MAP = "seed-DMNPCC_meas-fisherz_contrast-RLSGtHC"


@pytest.fixture
def one(tmp_path: Path) -> tuple[Path, Path]:
    """Maps of one seed of everybody."""
    bids, out = write_dataset(tmp_path / "raw", {}, table()), tmp_path / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in LABELS:
        write_map(out, label, SEEDS[0])
    write_descriptions(out)
    return bids, out


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (out / "group").rglob("*") if path.is_file()}


def family(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "group/model-group" / f"{STEM}_family.tsv", sep="\t")


def test_a_seed_that_is_added_changes_the_family_and_the_tables(one: tuple[Path, Path]) -> None:
    bids, out = one
    assert run(bids, out, *FEW) == 0
    assert family(out)["map"].tolist() == [SEEDS[0]]
    before = times(out)
    for label in LABELS:
        write_map(out, label, SEEDS[1])
    assert run(bids, out, *FEW) == 0
    after = times(out)
    changed = {path.name for path in before if after[path] != before[path]}
    tables = {name for name in changed if name.endswith((".tsv", ".nii.gz"))}
    assert tables == {
        f"{STEM}_family.tsv",
        f"{STEM}_desc-minima_family.tsv",
        f"{STEM}_{MAP}_clusters.tsv",
        f"model-group_task-rest_space-{SPACE}_res-2_denoise-acompcor_{MAP}_desc-tfceFWE_dseg.tsv",
        f"model-group_task-rest_space-{SPACE}_res-2_denoise-acompcor_{MAP}_desc-tfceFWE_dseg.nii.gz",
    }
    found = family(out)
    assert set(found["map"]) == set(SEEDS)
    assert found["set"].nunique() == 1
    assert (found["p_family"] >= found["p_fwe"]).all()
    p = found.set_index("map")["p_family"]
    assert p[SEEDS[0]] <= 0.05 < p[SEEDS[1]]
    assert walk(out) == []
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert "1 of 2 maps have an effect" in page
    assert "min-P over 2 maps with the same resamplings" in page
    assert run(bids, out, *FEW) == 0
    again = times(out)
    assert all(again[path] == after[path] for path in after if path.name in tables)


def test_who_lacks_a_map_makes_another_set(one: tuple[Path, Path]) -> None:
    bids, out = one
    for label in LABELS[1:]:
        write_map(out, label, SEEDS[1])
    assert run(bids, out, *FEW, "--correction", "voxel") == 0
    found = family(out)
    # one moved too much
    assert found.set_index("map")["n"].to_dict() == {SEEDS[0]: 11, SEEDS[1]: 10}
    assert found["set"].nunique() == 2
    assert found["method"].str.startswith("Holm over 2 sets").all()
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert "Not all maps have the same resamplings" in page
    assert not list(out.rglob("*tfce*"))
    assert walk(out) == []


def test_without_resampling_nothing_is_said_about_families(one: tuple[Path, Path]) -> None:
    bids, out = one
    assert run(bids, out, *FEW, "--correction", "fdr") == 0
    assert not list(out.rglob("*_family.tsv"))
    assert not list(out.rglob("*_maxima.tsv"))
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert "not across maps" in page
    assert "resamplings (" not in page
    clusters = pd.read_csv(next(out.rglob("*_clusters.tsv")), sep="\t")
    assert "p_family" not in clusters
    assert walk(out) == []


def test_clusters_are_seeds_with_a_warning(one: tuple[Path, Path], tmp_path: Path) -> None:
    bids, out = one
    assert run(bids, out, *FEW) == 0
    image = next(out.rglob("*_desc-tfceFWE_dseg.nii.gz"))
    labels = nib.load(image)
    assert labels.get_fdata()[voxel(TARGET_MM)] == 1
    rows = [
        {"name": "whole", "mask": str(image)},
        {"name": "first", "mask": f"{image}:cluster1"},
    ]
    path = tmp_path / "seeds.json"
    path.write_text(json.dumps([row | {"network": "user", "source": "x"} for row in rows]))
    for seed in seeds_in_space(SPACE, str(path)):
        assert seed.space == SPACE
        assert "circular" in circularity(seed)
        inside = region_on_grid(str(seed.mask), SHAPE, AFFINE, SPACE, SPACE)
        expected = labels.get_fdata() > 0
        expected = labels.get_fdata() == 1 if seed.name == "first" else expected
        np.testing.assert_array_equal(inside, expected)
    told = json.loads(Path(str(image).replace(".nii.gz", ".json")).read_text())
    assert told["NumberOfClustersCorrected05"] == len(np.unique(labels.get_fdata())) - 1


def test_a_map_that_breaks_is_not_in_the_family(one: tuple[Path, Path]) -> None:
    bids, out = one
    for label in LABELS:
        write_map(out, label, SEEDS[1])
    path = next((out / "sub-01").rglob("*SNAInsL*.nii.gz"))
    path.write_bytes(path.read_bytes()[:500])
    assert run(bids, out, *FEW, "--correction", "voxel") == 1
    assert family(out)["map"].tolist() == [SEEDS[0]]
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert f"not corrected across maps: {SEEDS[1]}" in page


def test_a_cluster_threshold_is_a_p(one: tuple[Path, Path], capfd) -> None:
    bids, out = one
    assert run(bids, out, "--cluster-threshold", "3.1") == 2
    assert "--cluster-threshold got 3.1" in capfd.readouterr().err
