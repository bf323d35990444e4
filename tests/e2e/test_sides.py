"""What lies left in the head comes out left, however T1w and BOLD images are stored."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage

from rls_bids.dataset.description import read_json
from rls_bids.dataset.walk import walk
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.space import Warp, standard_to_person
from rls_bids.phantom.spec import CohortSpec
from tests.e2e.conftest import call

pytestmark = pytest.mark.e2e

FUNC = "sub-RLS001/func/sub-RLS001_task-rest"
T1W = "sub-RLS001/anat/sub-RLS001_T1w.nii.gz"
STD = "space-MNI152NLin2009cAsym_res-native"
MARK_MM, RADIUS_MM = np.array([-28.0, -18.0, 26.0]), 7.0
MIRRORED_MM = MARK_MM * (-1, 1, 1)


@dataclass(frozen=True)
class Storage:
    """How both images are stored: axes, turn of the grid (degrees), a qform that differs."""

    t1w: str = "RAS"
    bold: str = "LAS"
    turn: float = 0.0
    is_qform_wrong: bool = False


STORAGES = {
    "RAS and LAS": Storage(),
    "LAS and RAS": Storage(t1w="LAS", bold="RAS"),
    "PSR and LAS, two forms": Storage(t1w="PSR", is_qform_wrong=True),
    "LAS and PSR": Storage(t1w="LAS", bold="PSR"),
    "oblique": Storage(t1w="LAS", bold="LPI", turn=18.0),
}


def stored(data: np.ndarray, affine: np.ndarray, codes: str, storage: Storage) -> nib.Nifti1Image:
    """Lay the image on a turned grid, store it along other axes, and spoil its qform."""
    if storage.turn:
        angles = np.deg2rad(storage.turn) * np.array([1, -0.6, 0.8])
        middle = apply_affine(affine, (np.array(data.shape[:3]) - 1) / 2)
        turned = parameters_to_matrix(np.array([0, 0, 0, *angles]), middle) @ affine
        pull = np.linalg.inv(affine) @ turned
        volumes = data[..., None] if data.ndim == 3 else data
        moved = [
            ndimage.affine_transform(one, pull[:3, :3], pull[:3, 3], order=1)
            for one in np.moveaxis(volumes, -1, 0)
        ]
        data, affine = np.stack(moved, axis=-1).reshape(data.shape), turned
    image = nib.Nifti1Image(data.astype(np.float32), affine)
    image = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes)))
    image.set_sform(image.affine, code=1)
    wrong = image.affine.copy()
    if storage.is_qform_wrong:
        wrong = parameters_to_matrix(np.array([25.0, 0, 0, 0, 0, 0.3]), np.zeros(3)) @ wrong
    image.set_qform(wrong, code=1)
    return image


def ball(image: nib.Nifti1Image, centre_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    """Voxels whose centres are near a point (RAS+ mm)."""
    voxels = np.indices(image.shape[:3]).reshape(3, -1).T
    distance = np.linalg.norm(apply_affine(image.affine, voxels) - centre_mm, axis=1)
    return (distance <= radius_mm).reshape(image.shape[:3])


def mark_and_store(bids: Path, storage: Storage) -> np.ndarray:
    """Brighten a place on the left in both images; return where it is in the T1w image (mm)."""
    truth = bids / "sourcedata/truth/sub-RLS001"
    with np.load(truth / "t1w_to_standard.npz") as found:
        place = standard_to_person(Warp(**found), MARK_MM[None])[0]
    with np.load(truth / "motion.npz") as motion:
        in_bold = apply_affine(motion["t1w_to_bold"], place)
    for name, codes, centre in (
        (T1W, storage.t1w, place),
        (f"{FUNC}_bold.nii.gz", storage.bold, in_bold),
    ):
        image = nib.load(bids / name)
        data = image.get_fdata(dtype=np.float32)
        data[ball(image, centre, RADIUS_MM)] *= 2
        nib.save(stored(data, image.affine, codes, storage), bids / name)
        step = image.header.get_zooms()[3:]
        if step:
            again = nib.load(bids / name)
            series = nib.Nifti1Image(again.get_fdata(dtype=np.float32), None, again.header)
            series.header.set_zooms((*again.header.get_zooms()[:3], *step))
            nib.save(series, bids / name)
    return place


def contrast(path: Path, here: np.ndarray, there: np.ndarray) -> float:
    """Return how much brighter an image is at one place than at another."""
    image = nib.load(path)
    data = image.get_fdata()
    inside = [data[ball(image, place, RADIUS_MM) & (data > 0)] for place in (here, there)]
    return float(np.median(inside[0]) / np.median(inside[1]))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if "two forms" in name else pytest.mark.slow)
        for name in STORAGES
    ],
)
def test_left_stays_left(tmp_path: Path, name: str) -> None:
    bids, out = tmp_path / "bids", tmp_path / "out"
    spec = CohortSpec(size="tiny", n_patients=1, n_controls=0, n_volumes=20, random_seed=4)
    write_cohort(bids, spec)
    place = mark_and_store(bids, STORAGES[name])
    seed = [
        {"name": "left", "centre_mm": MARK_MM.tolist(), "radius_mm": 8},
        {"name": "right", "centre_mm": MIRRORED_MM.tolist(), "radius_mm": 8},
    ]
    (tmp_path / "seeds.json").write_text(json.dumps(seed), encoding="utf-8")
    done = call(
        *(bids, out, "participant", "-w", tmp_path / "work", "--sloppy", "--level", "full"),
        *("-p", "none", "--min-time", 0, "--min-df", 2, "--ignore", "slicetiming"),
        *("--output-spaces", "MNI152NLin2009cAsym:res-native", "T1w"),
        *("--seeds", tmp_path / "seeds.json"),
    )
    assert done.status == 0, done.err
    assert walk(out) == []
    t1w = (
        out / "sub-RLS001/anat/sub-RLS001_space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w.nii.gz"
    )
    assert contrast(t1w, MARK_MM, MIRRORED_MM) > 1.3
    boldref = out / f"{FUNC}_{STD}_boldref.nii.gz"
    assert contrast(boldref, MARK_MM, MIRRORED_MM) > 1.3
    # What is twice as bright fluctuates twice as much: the order of voxels of the local measures.
    alff = out / f"{FUNC}_{STD}_denoise-none_stat-alff_boldmap.nii.gz"
    assert contrast(alff, MARK_MM, MIRRORED_MM) > 1.15
    assert nib.load(boldref).header.get_zooms() == pytest.approx((4.0, 4.0, 4.0))
    assert read_json(out / f"{FUNC}_{STD}_boldref.json")["Resolution"] == "4 mm isotropic"
    check_t1w_space(out, place)


def check_t1w_space(out: Path, place: np.ndarray) -> None:
    """The mark is where it is in the T1w image itself; mask and series lie on the same grid."""
    own = nib.load(out / "sub-RLS001/anat/sub-RLS001_desc-preproc_T1w.nii.gz")
    middle = apply_affine(own.affine, (np.array(own.shape) - 1) / 2)
    reference = out / f"{FUNC}_space-T1w_boldref.nii.gz"
    mirrored = place * (-1, 1, 1) + (2 * middle[0], 0, 0)
    assert contrast(reference, place, mirrored) > 1.3
    image = nib.load(reference)
    assert nib.aff2axcodes(image.affine) == nib.aff2axcodes(own.affine)
    centre = apply_affine(image.affine, (np.array(image.shape) - 1) / 2)
    np.testing.assert_allclose(centre, middle, atol=1e-3)
    series = nib.load(out / f"{FUNC}_space-T1w_desc-preproc_bold.nii.gz")
    mask = nib.load(out / f"{FUNC}_space-T1w_desc-brain_mask.nii.gz").get_fdata() > 0
    assert series.shape == (*mask.shape, 20)
    mean = series.get_fdata().mean(axis=3)
    np.testing.assert_allclose(mean[mask], image.get_fdata()[mask], rtol=1e-3, atol=0.1)
    brain = nib.load(out / "sub-RLS001/anat/sub-RLS001_desc-brain_mask.nii.gz")
    voxels = apply_affine(np.linalg.inv(brain.affine) @ image.affine, np.argwhere(mask))
    where = np.clip(np.rint(voxels).astype(int), 0, np.array(brain.shape) - 1)
    assert (brain.get_fdata()[tuple(where.T)] > 0).mean() > 0.97
    told = read_json(out / f"{FUNC}_space-T1w_boldref.json")
    assert told["SpatialReference"] == "bids::sub-RLS001/anat/sub-RLS001_desc-preproc_T1w.nii.gz"
