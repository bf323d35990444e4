"""Averages of images of one head: planted moves are found, what does not agree is left out."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from rls_bids.dataset.description import read_json
from rls_bids.interfaces.heads import AverageHeads
from rls_bids.interfaces.images import load_volume, save_volume
from rls_bids.numerics.average import HEAD_MM, MIN_CORRELATION, average_heads, upper_head
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.numerics.resample import voxel_points
from rls_bids.phantom.head import sample, standard_model
from rls_bids.reports.texts import anatomy_words

SIZE_MM = 4.0
CENTRE = np.array([0.0, -18.0, 8.0])
STILL = np.zeros(6)
MOVED = np.array([4.0, -6.0, 3.0, 0.06, -0.04, 0.08])
NOISE = 4.0


@cache
def head():
    """The standard head with skull, face and neck, and the pieces of a brain mask."""
    return standard_model(skull=True, dropout=False)


def image(move, seed, *, flip=1.0, size_mm=SIZE_MM, skull=True):
    """A T1w image of the head moved by a matrix, with noise and a bias field of its own."""
    rng = np.random.default_rng(seed)
    model = head()
    pull = parameters_to_matrix(move, CENTRE)
    shape = tuple(int(n / size_mm) for n in (200, 250, 250))
    affine = np.diag([-flip * size_mm, size_mm, size_mm, 1.0])
    affine[:3, 3] = (flip * 100, -135, -135)
    points = voxel_points(np.ones(shape, bool), affine)
    points = (points @ pull[:3, :3].T + pull[:3, 3]).astype(np.float32)
    brain = sum(model.tissues) > 0.5
    volume = model.t1w if skull else np.where(brain, model.t1w, 0)
    clean = sample(model, volume, tuple(points.T)).reshape(shape)
    clean *= np.linspace(0.9, 1.1, shape[seed % 3]).reshape(np.roll([-1, 1, 1], seed % 3))
    noisy = np.hypot(clean + rng.normal(0, NOISE, shape), rng.normal(0, NOISE, shape))
    data = np.where(clean > 0, noisy, 0) if not skull else noisy
    return data.astype(np.float32), affine


def brain_points():
    model = head()
    return voxel_points(sum(model.tissues) > 0.5, model.affine)[::50]


def test_a_moved_repetition_is_found_and_lowers_the_noise():
    first, second = image(STILL, 0), image(MOVED, 1, flip=-1.0)
    twice = second[0] * 2, second[1]
    found = average_heads(first, [twice])
    assert found.is_used == (True,)
    assert found.correlations[0] > 0.95
    # The first image shows the standard head, the second shows it where its pull matrix says.
    truth = np.linalg.inv(parameters_to_matrix(MOVED, CENTRE))
    off = found.matrices[0] - truth
    points = brain_points()
    where = points @ off[:3, :3].T + off[:3, 3]
    assert np.linalg.norm(where, axis=1).mean() < 0.3
    white = sample_white(first[1], first[0].shape)
    before, after = (np.std(data[white]) for data in (first[0], found.data))
    assert after < 0.9 * before
    assert np.median(found.data[white]) == pytest.approx(np.median(first[0][white]), rel=0.03)


def sample_white(affine, shape):
    """Voxels deep in the white matter near the middle, where no bias field matters."""
    points = voxel_points(np.ones(shape, bool), affine)
    white = sample(head(), head().tissues[1], tuple(points.astype(np.float32).T)).reshape(shape)
    near = (np.linalg.norm(points - CENTRE, axis=1) < 40).reshape(shape)
    return ndimage.binary_erosion(white > 0.95) & near


def test_what_does_not_agree_is_left_out():
    first, second = image(STILL, 0), image(MOVED, 1)
    spoilt = (0.6 * second[0] + 0.4 * np.roll(second[0], 8, axis=1)).astype(np.float32)  # ghosts
    empty = np.zeros_like(second[0])
    found = average_heads(first, [(spoilt, second[1]), (empty, second[1])])
    assert found.is_used == (False, False)
    assert found.correlations[0] < MIN_CORRELATION
    np.testing.assert_array_equal(found.data, first[0])


def test_heads_without_skull_stay_without():
    first, second = image(STILL, 0, skull=False), image(MOVED, 1, skull=False)
    found = average_heads(first, [second])
    assert found.is_used == (True,)
    np.testing.assert_array_equal(found.data == 0, first[0] == 0)


def test_where_only_one_image_sees_the_head_it_stands_alone():
    first, second = image(STILL, 0), image(STILL, 1)
    low = second[1].copy()
    low[2, 3] += 20 * SIZE_MM
    found = average_heads(first, [(second[0][:, :, 20:], low)])
    assert found.is_used == (True,)
    np.testing.assert_array_equal(found.data[:, :, :19], first[0][:, :, :19])
    assert np.any(found.data[:, :, 25:] != first[0][:, :, 25:])


def test_upper_head_is_most_of_the_brain_and_no_neck():
    data, affine = image(STILL, 0)
    region = upper_head(data, affine)
    heights = voxel_points(region, affine)[:, 2]
    assert heights.max() - heights.min() <= HEAD_MM
    points = brain_points()
    index = np.rint((points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    assert region[tuple(index.T)].mean() > 0.85
    assert not upper_head(np.zeros((4, 4, 4), np.float32), np.eye(4)).any()


def test_sidecar_and_page_say_which_images_the_average_is_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = image(STILL, 0), image(MOVED, 1)
    images = [first, second, (np.roll(second[0], 30, axis=1)[::-1], second[1])]
    paths = [save_volume(*each, tmp_path / f"t{n}_T1w.nii.gz") for n, each in enumerate(images)]
    broken = tmp_path / "t3_T1w.nii.gz"
    broken.write_bytes(Path(paths[0]).read_bytes()[:5000])
    uris = [f"bids:raw:sub-01/anat/t{n}_T1w.nii.gz" for n in range(4)]
    node = AverageHeads(in_files=[*paths, str(broken)], uris=uris, version="1")
    found = node.run().outputs
    about = read_json(Path(found.metadata))
    assert about["Sources"] == uris[:2]
    assert [each["Image"] for each in about["Averaged"]] == uris[1:2]
    assert [each["Image"] for each in about["NotAveraged"]] == [uris[3], uris[2]]
    assert load_volume(found.out_file).data.shape == first[0].shape
    words = anatomy_words(about)
    assert words[0] == "The average of 2 T1w images: t0_T1w.nii.gz, t1_T1w.nii.gz."
    assert words[1].startswith("t3_T1w.nii.gz was left out of the average: ")
    assert "correlation" in words[2]
    assert anatomy_words({"SkullStripped": False}) == ()
