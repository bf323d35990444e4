"""Local measures at the group level: on their own grid, in the copy that is compared."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.description import write_dataset_description, write_descriptions, write_json
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.walk import walk
from tests.factories import write_dataset, write_nifti
from tests.graph.test_group import (
    AFFINE,
    LABELS,
    MOVER,
    PATIENTS,
    SEEDS,
    SHAPE,
    SPACE,
    TARGET_MM,
    mean_fd,
    run,
    table,
    voxel,
    write_map,
)

STEM = f"group/model-group/model-group_task-rest_space-{SPACE}_res-native_denoise-acompcor"
EFFECTS = {("alff", "meannorm"): 1.5, ("alff", ""): 0.0, ("falff", ""): 0.0}
"""What is planted in the patients: only the copy that is compared has it."""


def write_local(out: Path, label: str, stat: str, scale: str, size: str = "3.5") -> None:
    entities = {"task": "rest", "space": SPACE, "res": "native", "denoise": "acompcor"}
    path = derivative("local_map", label, None, **entities, stat=stat, desc=scale or None)
    metadata = {
        "Description": "A map.",
        "Sources": ["bids:raw:participants.tsv"],
        "SkullStripped": True,
        "SpatialReference": SPACE,
        "Resolution": f"{size} mm isotropic",
        "MeanFramewiseDisplacement": mean_fd(label),
        "MinutesKept": 6.5,
        "DegreesOfFreedom": 50,
        "Processing": {"Resolution": size, "Measure": {"Version": "1"}},
        "Fingerprint": f"{label}{stat}{scale}",
        "Measure": {"Name": "alff"},
    }
    rng = np.random.default_rng(int(label) + 100 * len(stat) + 1000 * len(scale))
    data = rng.normal(1.0, 0.1, SHAPE)
    if label in PATIENTS:
        data[voxel(TARGET_MM)] += EFFECTS[stat, scale]
    write_nifti(out / path, data.astype(np.float32), affine=AFFINE)
    write_json(out / sidecar(path), metadata)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    bids, out = write_dataset(tmp_path / "raw", {}, table()), tmp_path / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in LABELS:
        write_map(out, label, SEEDS[1])
        for stat, scale in EFFECTS:
            write_local(out, label, stat, scale)
    write_descriptions(out)
    return bids, out


def test_local_measures_are_compared_beside_seeds(made: tuple[Path, Path]) -> None:
    bids, out = made
    assert run(bids, out, "--covariates", "mean_fd") == 0
    t = nib.load(out / f"{STEM}_meas-alff_contrast-RLSGtHC_stat-t_statmap.nii.gz")
    values = t.get_fdata()
    peak = np.unravel_index(values.argmax(), values.shape)
    assert peak == voxel(TARGET_MM)
    assert nib.affines.apply_affine(t.affine, peak)[0] < 0  # left, where it was planted
    told = json.loads((out / f"{STEM}_meas-alff_contrast-RLSGtHC_stat-t_statmap.json").read_text())
    assert told["Scale"] == "meannorm"
    assert told["Resolution"] == "3.5 mm isotropic"
    assert (out / f"{STEM}_meas-falff_contrast-RLSGtHC_stat-t_statmap.nii.gz").is_file()
    assert list(out.rglob("*seed-SNAInsL_meas-fisherz*stat-t_statmap.nii.gz"))
    assert walk(out) == []
    page = (out / "group/model-group.html").read_text()
    assert "connectivity with the seed (Fisher z), alff, falff" in page


def test_one_measure_alone(made: tuple[Path, Path]) -> None:
    bids, out = made
    assert run(bids, out, "--covariates", "mean_fd", "--measures", "alff") == 0
    assert not list(out.rglob("*meas-fisherz*"))


def test_other_voxel_sizes_are_refused(made: tuple[Path, Path]) -> None:
    bids, out = made
    assert MOVER != "02"
    write_local(out, "02", "alff", "meannorm", size="3")
    assert run(bids, out, "--covariates", "mean_fd", "--measures", "alff") == 2
