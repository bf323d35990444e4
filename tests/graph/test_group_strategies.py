"""Strategies side by side: equal ones agree, an inverted one does not, a lost map is told."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset.description import write_dataset_description, write_descriptions
from rls_bids.dataset.group import plan_group
from rls_bids.dataset.naming import derivative
from rls_bids.reports.pages import Section
from rls_bids.reports.strategies import NOT_FINISHED, OTHER_PEOPLE, strategy_sections
from rls_bids.reports.texts import NOTHING, number
from rls_bids.settings import build_settings
from rls_bids.workflows.group import group_stages
from rls_bids.workflows.group_results import result_stages
from rls_bids.workflows.stages import place_of
from tests.factories import write_dataset, write_nifti
from tests.graph.test_group import (
    AFFINE,
    LABELS,
    SEEDS,
    SPACE,
    STEM,
    TARGET_MM,
    run,
    table,
    voxel,
    write_map,
)
from tests.graph.test_group_matrices import ATLAS, write_matrices

STRATEGIES = ("acompcor", "24P", "36P")
ASKED = ("-p", *STRATEGIES[:2], "--measures", "seed", "matrices", "--atlases", ATLAS,
         "--covariates", "age", "--correction", "voxel")  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second strategy gives what the first does, upside down, and lacks a participant."""
    base = tmp_path_factory.mktemp("strategies")
    bids, out = write_dataset(base / "raw", {}, table()), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    for strategy in STRATEGIES[:2]:
        write_matrices(out, ("pearsoncorrelation",), strategy)
        for label in LABELS:
            if label == "11" and strategy == "24P":
                continue
            write_map(out, label, SEEDS[0], strategy=strategy)
            if strategy == "24P":
                entities = {"task": "rest", "space": SPACE, "res": "2", "denoise": "24P"}
                path = out / derivative(
                    "seed_map", label, **entities, seed=SEEDS[0], stat="fisherz"
                )
                data = nib.load(path).get_fdata()
                write_nifti(path, np.where(data == 0, 0, 0.4 - data).astype("f4"), affine=AFFINE)
    write_descriptions(out)
    assert run(bids, out, *ASKED) == 0
    return out


def section_of(out: Path, strategies: tuple[str, ...] = STRATEGIES[:2]) -> Section | None:
    told = {
        "analysis_level": "group",
        "input.bids_dir": str(out.parent / "raw"),
        "input.output_dir": str(out),
        "run.work_dir": str(out.parent / "work"),
        "denoise.strategies": list(strategies),
        "measures.names": ["seed", "matrices"],
        "measures.atlases": [ATLAS],
        "group.covariates": ["age"],
        "group.correction": "voxel",
        "group.max_mean_fd_mm": 0.5,
        "group.n_permutations": 200,
    }
    settings = build_settings(told)
    plan, place = plan_group(settings), place_of(settings)
    stages = group_stages(plan, place, settings)
    results = result_stages(plan, stages, place, settings)
    return next(strategy_sections(plan, stages, results, out), None)


def test_maps_side_by_side(done: Path) -> None:
    section = section_of(done)
    assert section is not None
    maps = next(each for each in section.tables if "DMN_PCC" in each.caption)
    first, second = (dict(zip(maps.header, row, strict=True)) for row in maps.rows)
    assert (first["Strategy"], second["Strategy"]) == STRATEGIES[:2]
    assert (first["n"], second["n"]) == ("11", "10")
    assert OTHER_PEOPLE in section.text
    assert (first["r"], first["Same sign"]) == ("1", "1")
    z = [
        nib.load(
            f"{done}/{STEM}_space-{SPACE}_res-2_denoise-{strategy}_seed-DMNPCC_meas-fisherz"
            "_contrast-RLSGtHC_stat-z_statmap.nii.gz"
        ).get_fdata()
        for strategy in STRATEGIES[:2]
    ]
    shared = (z[0] != 0) & (z[1] != 0)
    r = np.corrcoef(z[0][shared], z[1][shared])[0, 1]
    assert r < -0.8
    assert second["r"] == number(float(r))
    assert second["Same sign"] == number(float((z[0][shared] * z[1][shared] > 0).mean()))
    # the peak is where the difference was planted, in both: with opposite signs
    assert np.unravel_index(np.abs(z[0]).argmax(), z[0].shape) == voxel(TARGET_MM)
    place = ", ".join(number(float(value)) for value in TARGET_MM)
    assert maps.caption.endswith(f"peak of acompcor at {place} mm")
    g = [float(row["Hedges g at the peak"].replace("−", "-")) for row in (first, second)]
    assert g[0] > 2
    assert g[1] < -2
    family = pd.read_csv(f"{done}/{STEM}_denoise-acompcor_family.tsv", sep="\t")
    assert first["p (corrected)"] == number(float(family["p_fwe"][0]))
    assert first["p (family)"] == number(float(family["p_family"][0]))


def test_matrices_side_by_side_with_their_motion(done: Path) -> None:
    section = section_of(done)
    assert section is not None
    matrices = next(each for each in section.tables if ATLAS in each.caption)
    rows = [dict(zip(matrices.header, row, strict=True)) for row in matrices.rows]
    assert [row["r"] for row in rows] == ["1", "1"]
    (file,) = done.glob("group/**/*_denoise-24P_*_stat-z_matrix.json")
    told = json.loads(file.read_text())
    assert rows[1]["QC-FC, median |r|"] == number(told["QcFc"]["MedianAbsR"])
    assert rows[1]["QC-FC and distance, ρ"] == number(told["QcFc"]["DistanceRho"])
    assert rows[1]["Connections (FWE)"] == str(told["NumberOfEdgesFwe05"])
    assert told["QcFc"]["Covariates"] == ["group_RLS", "group_HC", "age"]
    page = (done / "group/model-group.html").read_text(encoding="utf-8")
    assert section.title in page
    assert matrices.caption in page.replace("&gt;", ">")


def test_one_strategy_has_no_side(done: Path) -> None:
    assert section_of(done, STRATEGIES[:1]) is None


def test_an_unfinished_strategy_has_a_row(done: Path) -> None:
    (z,) = done.glob("group/**/*_denoise-24P_*_stat-z_statmap.nii.gz")
    moved = z.rename(z.with_name("away.nii.gz"))
    try:
        section = section_of(done)
        assert section is not None
        maps = next(each for each in section.tables if "DMN_PCC" in each.caption)
        assert maps.rows[1] == ("24P", NOT_FINISHED, *[NOTHING] * (len(maps.header) - 2))
    finally:
        moved.rename(z)
