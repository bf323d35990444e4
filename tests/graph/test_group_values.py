"""Regions and the quality of the data beside a comparison of maps: command line to tables."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset.description import write_json
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.walk import walk
from rls_bids.resources.regions import region_on_grid
from tests.graph.test_group import (
    AFFINE,
    LABELS,
    MOVER,
    SEEDS,
    SHAPE,
    STEM,
    copy,  # noqa: F401 a fixture
    made,  # noqa: F401 a fixture
    mean_fd,
    run,
)

SPACE = "MNI152NLin2009cAsym"
LEFT, RIGHT = "AAL3:Precentral_L", "AAL3:Precentral_R"
SEEDED = f"{STEM}_denoise-acompcor_seed-DMNPCC_meas-fisherz_contrast-RLSGtHC"


def test_regions_and_quality(copy: tuple[Path, Path]) -> None:  # noqa: F811
    bids, out = copy
    for label in LABELS:
        path = out / derivative("quality", label, None, task="rest")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"mean_fd\tmedian_tsnr\tdice_bold_t1w\n{mean_fd(label)}\t{50 + int(label)}\tn/a\n"
        )
        about = {"Description": "d", "Sources": ["bids:raw:participants.tsv"], "Fingerprint": "x"}
        write_json(out / sidecar(path.relative_to(out).as_posix()), about)
    asked = ("--regions", LEFT, RIGHT, "--equivalence-bound", 0.3, "--correction", "voxel",
             "--covariates", "age", "mean_fd", "--n-permutations", 200)  # fmt: skip
    assert run(bids, out, *asked) == 0
    table = pd.read_csv(out / f"{SEEDED}_desc-regions_roi.tsv", sep="\t", index_col="name")
    values = pd.read_csv(out / f"{SEEDED}_desc-regionsValues_roi.tsv", sep="\t")
    assert list(table.index) == list(values.columns[2:])
    # planted left: the values are those of the maps over the region
    import nibabel as nib

    inside = region_on_grid(LEFT, SHAPE, AFFINE, SPACE)
    first = values.iloc[0]
    name = derivative(
        "seed_map", first["participant_id"].removeprefix("sub-"), None, task="rest",
        space=SPACE, res="2", denoise="acompcor", seed=SEEDS[0], stat="fisherz",
    )  # fmt: skip
    data = nib.load(out / name).get_fdata()[inside]
    assert first.iloc[2] == pytest.approx(data[data != 0].mean(), rel=1e-5)
    assert {"p_equivalence", "bf10", "n_matched"} <= set(table.columns)
    quality = f"{STEM}_denoise-acompcor_meas-quality_contrast-RLSGtHC"
    found = pd.read_csv(out / f"{quality}_desc-quality_roi.tsv", sep="\t", index_col="name")
    assert list(found.index) == ["mean_fd", "median_tsnr"]
    design = pd.read_csv(out / f"{quality}_design.tsv", sep="\t")
    assert "mean_fd" not in design
    assert "age" in design
    numbers = pd.read_csv(out / f"{quality}_desc-qualityValues_roi.tsv", sep="\t")
    assert MOVER not in set(numbers["participant_id"].str.removeprefix("sub-"))
    # labels, and so signals, are smaller in patients
    assert found.loc["median_tsnr", "effect"] < 0
    assert found.loc["median_tsnr", "p_uncorrected"] < 0.05
    told = json.loads((out / f"{quality}_desc-quality_roi.json").read_text())
    assert told["Resamplings"]["SmallestP"] <= 1 / 200
    assert walk(out) == []
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert "Regions of DMN_PCC" in page
    assert "Quality of the data" in page
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*_roi.tsv")}
    shutil.rmtree(out.parent / "work")
    assert run(bids, out, *asked) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_motion_as_what_is_asked_for_is_not_adjusted_for_itself() -> None:
    from dataclasses import replace

    from rls_bids.dataset.values import without_motion
    from tests.unit.test_group_values import two_groups

    design = two_groups()
    moved = replace(
        design,
        design=design.design.assign(mean_fd=np.linspace(-1, 1, len(design.design))),
        contrasts=((1.0, -1.0, 0.0, 0.0),),
    )
    left = without_motion(moved)
    assert left is not None
    assert list(left.design) == list(design.design)
    assert left.contrasts == design.contrasts
    assert without_motion(replace(moved, contrasts=((0.0, 0.0, 0.0, 1.0),))) is None


def test_a_region_that_nobody_knows(copy: tuple[Path, Path], capfd) -> None:  # noqa: F811
    assert run(*copy, "--regions", "AAL3:Nowhere") == 2
    assert "names no region of AAL3" in capfd.readouterr().err
