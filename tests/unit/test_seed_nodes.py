"""The node of seed maps with seeds of every kind, and pictures of seeds that are not there."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.description import write_json
from rls_bids.interfaces.figures import _mark_in_t1w
from rls_bids.interfaces.images import save_mask
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.measure import SeedMaps
from rls_bids.measures.seed import NO_PARTNER, NO_REGION_VOXEL
from rls_bids.numerics.resample import voxel_points
from rls_bids.reports import maps
from rls_bids.resources.grids import standard_grid
from rls_bids.resources.regions import seed_region
from rls_bids.resources.seeds import seeds_in_space

SPACE = "MNI152NLin2009cAsym"
SHAPE, AFFINE = standard_grid(SPACE, "2")
SPOT, TARGET = (-40.0, -20.0, 50.0), (30.0, 20.0, 30.0)


def ball(point, radius=7.0):
    distance = np.linalg.norm(voxel_points(np.ones(SHAPE, bool), AFFINE) - point, axis=1)
    return (distance <= radius).reshape(SHAPE)


@pytest.fixture
def world(tmp_path):
    """Return the inputs of the node for one run, its seeds, and the mask of the run."""
    for name, data in (("spot", ball(SPOT)), ("empty", np.zeros(SHAPE))):
        nib.save(nib.Nifti1Image(data.astype(np.uint8), AFFINE), tmp_path / f"{name}.nii.gz")
    rows = [
        {"name": "file", "mask": "spot.nii.gz", "space": SPACE},
        {"name": "label", "mask": "AAL3:Thal_VPL_L"},
        {"name": "empty", "mask": "empty.nii.gz", "space": SPACE},
        {"name": "both", "members": ["file", "label"]},
        {"name": "with", "network": "pair", "mask": "spot.nii.gz", "regression": "together"},
        {"name": "gone", "network": "pair", "mask": "empty.nii.gz", "regression": "together"},
    ]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    seeds = seeds_in_space(SPACE, str(tmp_path / "s.json"))
    label = seed_region(seeds[1], SHAPE, AFFINE, SPACE)
    mask = ball(SPOT, 9) | ball(TARGET) | label
    save_mask(mask, AFFINE, tmp_path / "mask.nii.gz")
    rng = np.random.default_rng(0)
    data = rng.standard_normal((100, int(mask.sum())))
    course = rng.standard_normal((100, 1))
    data[:, (ball(SPOT) | ball(TARGET))[mask]] += course
    np.save(tmp_path / "data.npy", data.astype(np.float32))
    np.save(tmp_path / "tsnr.npy", np.full(int(mask.sum()), 50.0))
    status = {
        "ResidualDegreesOfFreedom": 60,
        "MinutesKept": 4.0,
        "MeanFramewiseDisplacement": 0.1,
        "NumberOfVolumesKept": 100,
    }
    write_json(tmp_path / "status.json", status)
    files = {
        "denoised": "data.npy",
        "smoothed": "data.npy",
        "mask": "mask.nii.gz",
        "tsnr": "tsnr.npy",
        "status": "status.json",
    }
    inputs = {key: [str(tmp_path / name)] for key, name in files.items()}
    return inputs, seeds, mask


def test_masks_of_every_kind_make_maps_or_say_why_not(world, tmp_path):
    inputs, seeds, mask = world
    node = SeedMaps(
        **inputs,
        space=SPACE,
        seeds=json.loads(json.dumps([asdict(seed) for seed in seeds])),
        wanted=[seed.name for seed in seeds],
        version="1",
    )
    found = {e["key"]: e for e in load_manifest(node.run(cwd=str(tmp_path)).outputs.manifest)}
    target = ball(TARGET)
    for name, low, high in (("file", 0.5, 2), ("label", -0.1, 0.1), ("both", 0.25, 1)):
        values = nib.load(found[f"{name}:fisherz"]["file"]).get_fdata()
        assert low < values[target].mean() < high, name
        assert not values[~mask].any()
    coverage = found["label:fisherz"]["metadata"]["SeedCoverage"]
    assert coverage[0]["coverage"] == 1
    assert NO_REGION_VOXEL in found["empty:fisherz"]["metadata"]["Missing"]
    assert not found["empty:fisherz"]["file"]
    reason = NO_PARTNER.format(others="gone", network="pair")
    assert reason in found["with:fisherz"]["metadata"]["Missing"]


def test_a_seed_without_a_voxel_has_no_place_in_a_picture(world, tmp_path):
    inputs, seeds, mask = world
    np.save(tmp_path / "points.npy", voxel_points(mask, AFFINE))
    given = SimpleNamespace(
        std_mask=inputs["mask"][0], points=str(tmp_path / "points.npy"), space=SPACE
    )
    marks = {seed.name: _mark_in_t1w(seed, given, tmp_path) for seed in seeds}
    assert marks["empty"] is None
    assert marks["both"] is None
    drawn = nib.load(marks["file"].mask)
    centre = nib.affines.apply_affine(drawn.affine, np.argwhere(drawn.get_fdata() > 0)).mean(
        axis=0
    )
    assert np.linalg.norm(centre - SPOT) < 2


def test_the_page_tells_the_run_by_its_number_and_what_coverage_of_a_network_means():
    row = {"run": 1, "n_voxels": 90, "n_region": 100, "coverage": 0.8, "tissue_fractions": {}}
    found = [
        SimpleNamespace(metadata={"Seed": {"Kind": kind}, "SeedCoverage": [row | {"seed": kind}]})
        for kind in ("sphere", "network")
    ]
    assert maps._coverage(found[:1]).caption == maps.COVERAGE_CAPTION
    table = maps._coverage(found)
    assert table.caption == maps.COVERAGE_CAPTION + maps.NETWORK_CAPTION
    assert [each[:5] for each in table.rows] == [
        ("sphere", "1", "90", "100", "80 %"),
        ("network", "1", "90", "100", "80 %"),
    ]
