"""Three T1w images, a slab of BOLD and its single-band reference, from raw data to the page."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from rls_bids.dataset.description import read_json
from rls_bids.dataset.walk import walk
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.spec import CohortSpec
from tests.e2e.conftest import call

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LOW, N_SLICES = 18, 9
FUNC = "sub-RLS001/func/sub-RLS001_task-rest"


def cut_to_a_slab(bids: Path) -> None:
    """Keep 36 mm of the series; its fifth volume, in another contrast, becomes the reference."""
    path = bids / f"{FUNC}_bold.nii.gz"
    slab = nib.load(path).slicer[:, :, LOW : LOW + N_SLICES]
    volume = np.asarray(slab.dataobj[..., 4], np.float32)
    data = 2000 * (volume / volume.max()) ** 1.3
    nib.save(nib.Nifti1Image(np.asarray(slab.dataobj), slab.affine, slab.header), path)
    nib.save(nib.Nifti1Image(data, slab.affine), bids / f"{FUNC}_sbref.nii.gz")
    sidecar = bids / "task-rest_bold.json"
    metadata = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**metadata, "SliceTiming": metadata["SliceTiming"][:N_SLICES]}))


def repeat_t1w(bids: Path) -> None:
    """Make three of one: as it is, moved, and spoilt by a ghost."""
    path = bids / "sub-RLS001/anat/sub-RLS001_T1w.nii.gz"
    image = nib.load(path)
    data = image.get_fdata(dtype=np.float32)
    moved = parameters_to_matrix(np.array([3, -2, 4, 0.04, -0.03, 0.05]), np.array([0, -18.0, 8]))
    pull = np.linalg.inv(image.affine) @ moved @ image.affine
    again = ndimage.affine_transform(data, pull[:3, :3], pull[:3, 3], order=1)
    ghost = 0.5 * data + 0.5 * np.roll(data, 12, axis=1)
    for run, volume in enumerate((data, again, ghost), 1):
        name = f"sub-RLS001_run-{run}_T1w.nii.gz"
        nib.save(nib.Nifti1Image(volume.astype(np.float32), image.affine), path.with_name(name))
    path.unlink()


def test_what_people_upload_goes_through_and_is_told(tmp_path: Path) -> None:
    bids, out = tmp_path / "bids", tmp_path / "out"
    spec = CohortSpec(size="tiny", n_patients=1, n_controls=0, n_volumes=20, random_seed=5)
    write_cohort(bids, spec)
    cut_to_a_slab(bids)
    repeat_t1w(bids)
    arguments = ("-w", tmp_path / "work", "--sloppy", "-p", "none", "--min-time", 0, "--min-df", 2)
    done = call(bids, out, "participant", *arguments)
    assert done.status == 0, done.err
    assert walk(out) == []
    t1w = read_json(out / "sub-RLS001/anat/sub-RLS001_desc-preproc_T1w.json")
    images = [f"bids:raw:sub-RLS001/anat/sub-RLS001_run-{n}_T1w.nii.gz" for n in (1, 2, 3)]
    assert t1w["Sources"] == images[:2]
    assert [each["Image"] for each in t1w["NotAveraged"]] == images[2:]
    boldref = read_json(out / f"{FUNC}_boldref.json")
    assert boldref["CoregistrationReference"] == "single-band reference"
    assert f"bids:raw:{FUNC}_sbref.nii.gz" in boldref["Sources"]
    page = (out / "sub-RLS001.html").read_text(encoding="utf-8")
    assert "sub-RLS001_run-3_T1w.nii.gz was left out of the average" in page
    assert "The single-band reference was coregistered" in page
    assert "Missing seeds" in page
    assert worst_distance(bids, out) < 1.0


def worst_distance(bids: Path, out: Path) -> float:
    """Return how far (mm, mean) the brain in the slab is from where it was planted."""
    (truth,) = bids.glob("sourcedata/truth/sub-RLS001/**/motion.npz")
    planted = np.load(truth)
    labels = nib.load(next(truth.parent.glob("tissues_dseg.nii.gz")))
    points = nib.affines.apply_affine(labels.affine, np.argwhere(labels.get_fdata() > 0)[::20])
    bold = nib.load(bids / f"{FUNC}_bold.nii.gz")
    voxels = nib.affines.apply_affine(np.linalg.inv(bold.affine) @ planted["t1w_to_bold"], points)
    points = points[np.all((voxels >= 0) & (voxels <= np.array(bold.shape[:3]) - 1), axis=1)]
    text = (out / f"{FUNC}_from-boldref_to-T1w_mode-image_xfm.txt").read_text()
    numbers = np.array(text.split("Parameters: ")[1].split("\n")[0].split(), float)
    lps = np.eye(4)
    lps[:3] = np.column_stack([numbers[:9].reshape(3, 3), numbers[9:]])
    flip = np.diag([-1.0, -1, 1, 1])
    found = nib.affines.apply_affine(flip @ lps @ flip, points)
    expected = [
        nib.affines.apply_affine(matrix @ planted["t1w_to_bold"], points)
        for matrix in planted["matrices"]
    ]
    return float(np.median(np.linalg.norm(found - np.array(expected), axis=2).mean(axis=1)))
