"""T1w images as people upload them: oblique, anisotropic, noisy air, long necks, cut faces."""

import platform
from functools import cache
from importlib.util import find_spec

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from rls_bids.interfaces import anat
from rls_bids.interfaces.images import load_volume, save_volume, voxel_sizes
from rls_bids.numerics.head import is_skull_stripped
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.numerics.resample import voxel_points
from rls_bids.phantom.head import sample, standard_model

NOISE = 2.0
HEADS = ("ds011-heads/sub-01", "ds011-heads/sub-02", "pumi-minitest/sub-001")
ROBEX = pytest.mark.skipif(platform.machine() != "x86_64", reason="ROBEX is an x86-64 program")


@cache
def model():
    """The standard head with skull, face and neck; its brain as the sum of its tissues."""
    return standard_model(skull=True, dropout=False)


def grid(sizes_mm, angles=(0, 0, 0), axes="RAS", below_mm=0):
    """Shape and affine of a field of view around the standard head."""
    extent = np.array([200, 250, 250 + below_mm])
    low = np.array([-100, -145, -145 - below_mm])
    affine = parameters_to_matrix(np.array([0, 0, 0, *np.radians(angles)]), np.zeros(3))
    affine[:3, :3] *= sizes_mm
    shape = tuple(np.ceil(extent / sizes_mm).astype(int))
    affine[:3, 3] = low + extent / 2 - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    turned = nib.Nifti1Image(np.zeros(shape, np.uint8), affine).as_reoriented(turn)
    return turned.shape, turned.affine


def head(shape, affine, *, skull=True):
    """The head on a grid with noise, and where its brain is."""
    points = voxel_points(np.ones(shape, bool), affine).astype(np.float32)
    # What lies below the model goes on as the neck does there.
    points[:, 2] = np.maximum(points[:, 2], model().affine[2, 3] + 1)
    clean = sample(model(), model().t1w, tuple(points.T)).reshape(shape)
    brain = sample(model(), np.sum(model().tissues, axis=0), tuple(points.T)).reshape(shape) > 0.5
    rng = np.random.default_rng(1)
    noisy = np.hypot(clean + rng.normal(0, NOISE, shape), rng.normal(0, NOISE, shape))
    return (noisy if skull else np.where(brain, noisy, 0)).astype(np.float32), brain


def ratio_image(clean, seed=2):
    """What MP2RAGE gives: a ratio of two echoes, between 0 and 4095; the air is all noise."""
    rng = np.random.default_rng(seed)
    signal = np.clip(clean / clean.max(), 0, 1)
    first, second = (
        level + rng.normal(0, 0.004, (2, *clean.shape)).view(np.float64)
        for level in (signal * (signal > 0.03) * 0.1, (signal > 0.03) * 0.2)
    )
    ratio = (first * second).sum(axis=0) / ((first**2).sum(axis=0) + (second**2).sum(axis=0))
    return ((ratio + 0.5) * 4095).astype(np.float32)


GRIDS = {
    "plain": ((3, 3, 3), (0, 0, 0), "RAS", 0),
    "oblique": ((3, 3, 3), (22, -12, 15), "PSR", 0),
    "thick slices": ((2, 2, 4), (0, 0, 0), "LAS", 0),
    "sagittal, thick": ((4, 2, 2), (0, 0, 0), "LAS", 0),
    "neck": ((3, 3, 3), (0, 0, 0), "RAS", 80),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_skull_is_seen_on_every_grid(name):
    shape, affine = grid(*GRIDS[name])
    for skull in (True, False):
        data, _ = head(shape, affine, skull=skull)
        assert is_skull_stripped(data, voxel_sizes(affine)) is not skull
        cut = np.where(data > 4 * NOISE, data, 0).astype(np.float32)  # the air is cut away
        assert is_skull_stripped(cut, voxel_sizes(affine)) is not skull


def test_noisy_air_is_no_stripped_head():
    shape, affine = grid(*GRIDS["plain"])
    data, _ = head(shape, affine)
    assert not is_skull_stripped(ratio_image(data), voxel_sizes(affine))


@pytest.mark.parametrize("name", ["oblique", "thick slices"])
def test_bias_correction_keeps_grid_and_contrast(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape, affine = grid(*GRIDS[name])
    data, brain = head(shape, affine)
    path = save_volume(data, affine, tmp_path / "t1w.nii.gz")
    found = anat.BiasCorrect(in_file=path, sloppy=True, version="1").run().outputs
    corrected = load_volume(found.out_file)
    np.testing.assert_allclose(corrected.affine, affine, atol=1e-4)
    assert np.corrcoef(corrected.data[brain], data[brain])[0, 1] > 0.97


@pytest.mark.parametrize("folder", HEADS)
def test_real_heads_keep_their_skull_and_cut_faces_do_not_matter(real_data, folder):
    path = next((real_data / folder).rglob("*_T1w.nii.gz"))
    data, affine = load_volume(path)
    assert not is_skull_stripped(data, voxel_sizes(affine))
    dark = ndimage.gaussian_filter(data, 1) < 0.06 * np.percentile(data, 99.5)
    cut = np.where(dark, 0, data).astype(np.float32)
    assert not is_skull_stripped(cut, voxel_sizes(affine))


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def extract(path, folder, monkeypatch, method):
    """Bias correction and brain extraction; returns the mask."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(anat, "choose_extractor", lambda: method)
    corrected = anat.BiasCorrect(in_file=str(path), version="1").run().outputs.out_file
    found = anat.ExtractBrain(in_file=corrected, version="1").run().outputs
    assert (found.skull_state, found.method) == ("whole", method)
    return load_volume(found.out_mask).data > 0


@ROBEX
@pytest.mark.slow
@pytest.mark.parametrize("name", ["oblique", "thick slices", "neck", "noisy air"])
def test_the_brain_is_found_in_odd_heads(name, tmp_path, monkeypatch):
    kind = "plain" if name == "noisy air" else name
    sizes = (1.0, 1.0, 3.0) if name == "thick slices" else (1.5, 1.5, 1.5)
    shape, affine = grid(sizes, *GRIDS[kind][1:])
    data, brain = head(shape, affine)
    if name == "noisy air":
        data = ratio_image(data)
    path = save_volume(data, affine, tmp_path / "t1w.nii.gz")
    assert dice(extract(path, tmp_path, monkeypatch, "ROBEX"), brain) > 0.95


@ROBEX
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("deepbet"), reason="deepbet is not installed")
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
@pytest.mark.parametrize("folder", HEADS)
def test_two_programs_agree_on_real_heads(real_data, folder, tmp_path, monkeypatch):
    path = next((real_data / folder).rglob("*_T1w.nii.gz"))
    found = {}
    for method in ("ROBEX", "deepbet"):
        place = tmp_path / method
        place.mkdir()
        found[method] = extract(path, place, monkeypatch, method)
    assert dice(found["ROBEX"], found["deepbet"]) >= 0.93
