"""Opposed phase encoding: planted fields on a real brain, both images made by pushing its tissue.

The forward model shares nothing with the estimator: the brain at 1 mm is averaged across the
phase-encoding axis, subdivided along it, every piece of tissue is moved and dropped where it
lands, and voxels sum up what they got.
"""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from rls_bids.errors import InputDataError
from rls_bids.numerics import opposed
from rls_bids.numerics.opposed import estimate_displacement
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.phantom.head import standard_model

SIZE = 4
PIECES = 4
BELOW_MM = 12
SIGNAL, TSNR = 730.0, 30.0
CENTRE = np.array([0.0, -18.0, 8.0])


@cache
def head():
    """The echo-planar head at 1 mm with room below it, its brain, and its affine."""
    model = standard_model(skull=False, dropout=True)
    room = ((0, 0), (0, 0), (BELOW_MM, 0))
    affine = model.affine.copy()
    affine[2, 3] -= BELOW_MM
    brain = np.sum(model.tissues, axis=0) > 0.5
    return np.pad(model.epi, room), np.pad(brain, room), affine


def field_mm(x, y, z):
    """Frontal sinus, two ear canals, and a slow variation: up to 12 mm."""

    def bump(centre, widths, height):
        parts = zip((x, y, z), centre, widths, strict=True)
        return height * np.exp(-0.5 * sum(((a - c) / w) ** 2 for a, c, w in parts))

    sinus = bump((0, 38, -22), (20, 18, 18), 12.0) + bump((0, 60, 20), (25, 20, 20), -3.0)
    canals = bump((-48, -22, -34), (14, 14, 16), -7.0) + bump((48, -22, -34), (14, 14, 16), -6.0)
    return sinus + canals + 1.5 * np.sin(x / 40) * np.cos(z / 45)


def averaged(volume, axes):
    """Averages of blocks along the axes; what does not fill a block is left out."""
    for axis in axes:
        n = volume.shape[axis] // SIZE
        lines = np.moveaxis(volume, axis, 0)[: n * SIZE]
        blocks = lines.reshape(n, SIZE, *lines.shape[1:]).mean(axis=1)
        volume = np.moveaxis(blocks, 0, axis)
    return volume


def points(shape, affine, steps, pull):
    """Open coordinates of a head's own space, at every ``steps`` voxels, averaged in between."""
    index = [
        np.arange(n // step) * step + (step - 1) / 2 for n, step in zip(shape, steps, strict=True)
    ]
    lattice = np.stack(np.meshgrid(*index, indexing="ij"))
    matrix = np.linalg.inv(pull) @ affine
    return np.einsum("ij,jxyz->ixyz", matrix[:3, :3], lattice) + matrix[:3, 3, None, None, None]


def acquire(volume, affine, axis, sign, amplitude, pull=None):
    """What the scanner shows of a volume whose field moves with the head."""
    pull = np.eye(4) if pull is None else pull
    across = [other for other in range(3) if other != axis]
    steps = [1 if other == axis else SIZE for other in range(3)]
    shift = sign * amplitude * field_mm(*points(volume.shape, affine, steps, pull))
    lines = np.moveaxis(averaged(volume, across), axis, 2)
    shift = np.moveaxis(shift, axis, 2)
    n = lines.shape[2]
    fine = (np.arange(n * PIECES) + 0.5) / PIECES - 0.5
    low = np.clip(fine.astype(int), 0, n - 2)
    part = np.clip(fine - low, 0.0, 1.0)
    mass, moved = (v[..., low] * (1 - part) + v[..., low + 1] * part for v in (lines, shift))
    where = (fine + 0.5 + moved) * PIECES - 0.5
    first = np.floor(where).astype(int)
    row = np.arange(first[..., 0].size).reshape(*first.shape[:2], 1) * n * PIECES
    landed = np.zeros(first.size)
    for at, weight in ((first, 1 - (where - first)), (first + 1, where - first)):
        inside = (at >= 0) & (at < n * PIECES)
        landed += np.bincount((row + at)[inside], (mass * weight)[inside], first.size)
    n_voxels = n // SIZE
    landed = landed.reshape(*first.shape)[..., : n_voxels * SIZE * PIECES]
    voxels = landed.reshape(*first.shape[:2], n_voxels, SIZE * PIECES).mean(axis=3)
    return np.moveaxis(voxels, 2, axis)


def noisy(image, seed):
    """Magnitudes of a complex image: also the background has noise."""
    real, imaginary = np.random.default_rng(seed).normal(0, SIGNAL / TSNR, (2, *image.shape))
    return np.hypot(image + real, imaginary).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Pair:
    along: np.ndarray
    against: np.ndarray
    field_mm: np.ndarray
    truth: np.ndarray
    brain: np.ndarray
    affine: np.ndarray


@cache
def pair(axis=1, ratio=1.0, amplitude=1.0, motion=None):
    volume, brain, affine = head()
    moved, pull = volume, np.eye(4)
    if motion is not None:
        pull = parameters_to_matrix(np.array(motion), CENTRE)
        to_still = np.linalg.inv(affine) @ np.linalg.inv(pull) @ affine
        moved = ndimage.affine_transform(volume, to_still[:3, :3], to_still[:3, 3], order=1)
    grid = affine.copy()
    grid[:3, 3] += affine[:3, :3].sum(axis=1) * (SIZE - 1) / 2
    grid[:3, :3] *= SIZE
    steps = [SIZE] * 3
    return Pair(
        along=noisy(acquire(volume, affine, axis, 1.0, amplitude), 1),
        against=noisy(acquire(moved, affine, axis, -ratio, amplitude, pull), 2),
        field_mm=amplitude * field_mm(*points(volume.shape, affine, steps, np.eye(4))),
        truth=averaged(volume, range(3)),
        brain=averaged(brain.astype(float), range(3)) > 0.5,
        affine=grid,
    )


@cache
def still():
    """The standard pair, corrected."""
    made = pair()
    return estimate_displacement(made.along, made.against, made.affine, 1, is_moving=False)


def assert_recovered(found_mm, made):
    """The acceptance limits over brain voxels that are shifted by more than 3 mm."""
    shifted = made.brain & (np.abs(made.field_mm) > 3.0)
    assert shifted.sum() > 500
    error = np.abs(found_mm - made.field_mm)[shifted]
    assert error.mean() <= 0.75
    assert np.percentile(error, 95) <= 2.0
    assert error.mean() <= np.abs(made.field_mm[shifted]).mean() / 4


def test_the_forward_model_keeps_signal_and_moves_it_forwards():
    volume = np.zeros((8, 40, 8))
    volume[:, 20] = 1.0
    affine = np.eye(4)
    affine[:3, 3] = (0, 18, -22)
    image = acquire(volume, affine, 1, 1.0, 1.0)
    assert image.sum() * SIZE**3 == pytest.approx(volume.sum())
    centre = (image.sum(axis=(0, 2)) * (np.arange(10) * SIZE + 1.5)).sum() / image.sum()
    assert centre - 20 == pytest.approx(field_mm(3.5, 38.0, -18.5), abs=0.6)


@pytest.mark.parametrize("is_swapped", [False, True], ids=["along first", "against first"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planted_field_is_recovered(axis, is_swapped):
    made = pair(axis)
    images = (made.against, made.along) if is_swapped else (made.along, made.against)
    found = estimate_displacement(*images, made.affine, axis, is_moving=False)
    sign = -1.0 if is_swapped else 1.0
    assert_recovered(sign * SIZE * found.displacement, made)


def test_both_images_become_the_truth():
    made, found = pair(), still()
    brain = made.brain
    before = np.corrcoef(made.along[brain], made.truth[brain])[0, 1]
    after = np.corrcoef(found.corrected[brain], made.truth[brain])[0, 1]
    assert before < 0.9
    assert after > 0.96
    assert found.mismatch_after < found.mismatch_before / 4
    assert found.corrected[brain].mean() == pytest.approx(made.truth[brain].mean(), rel=0.02)


def test_swapped_images_give_the_negative_field():
    made, found = pair(), still()
    swapped = estimate_displacement(made.against, made.along, made.affine, 1, is_moving=False)
    assert np.abs(swapped.displacement + found.displacement)[made.brain].mean() < 0.01


def test_intensity_scales_do_not_matter():
    made, found = pair(), still()
    scaled = estimate_displacement(
        0.02 * made.along, 7.5 * made.against, made.affine, 1, is_moving=False
    )
    np.testing.assert_allclose(scaled.displacement, found.displacement, atol=0.01)
    np.testing.assert_allclose(scaled.corrected, 0.02 * found.corrected, atol=0.05)


def test_no_field_gives_none():
    made = pair(amplitude=0.0)
    found = estimate_displacement(made.along, made.against, made.affine, 1)
    assert np.abs(found.displacement[made.brain]).mean() <= 0.1
    np.testing.assert_allclose(found.pull, np.eye(4), atol=0.1)


@pytest.mark.parametrize("ratio", [0.6, 1.5])
def test_unequal_readout_times(ratio):
    made = pair(ratio=ratio, amplitude=0.9)
    found = estimate_displacement(made.along, made.against, made.affine, 1, ratio, is_moving=False)
    assert_recovered(SIZE * found.displacement, made)


def turned_array(volume):
    """Another storage of the same image: axes moved on by one, the last one backwards."""
    return volume.transpose(2, 0, 1)[:, :, ::-1]


def test_motion_between_the_images_in_any_storage():
    motion = (0.6, 0.0, 0.8, np.radians(1.0), np.radians(0.7), np.radians(-1.0))
    made = pair(motion=motion)
    affine = made.affine[:, [2, 0, 1, 3]]
    affine[:3, 3] += affine[:3, 2] * (made.along.shape[1] - 1)
    affine[:3, 2] *= -1
    images = turned_array(made.along), turned_array(made.against)
    found = estimate_displacement(*images, affine, 2)
    back = -found.displacement[:, :, ::-1].transpose(1, 2, 0)
    assert_recovered(SIZE * back, made)
    inside = np.argwhere(made.brain) @ made.affine[:3, :3].T + made.affine[:3, 3]
    difference = found.pull - parameters_to_matrix(np.array(motion), CENTRE)
    missed = np.abs(inside @ difference[:3, :3].T + difference[:3, 3])
    assert missed[:, [0, 2]].mean(axis=0).max() <= 0.25
    blind = estimate_displacement(made.along, made.against, made.affine, 1, is_moving=False)
    shifted = made.brain & (np.abs(made.field_mm) > 3.0)
    errors = [np.abs(SIZE * d - made.field_mm)[shifted].mean() for d in (back, blind.displacement)]
    assert errors[0] <= 0.6 * errors[1]


def test_translation_along_the_axis_counts_as_field():
    made = pair(motion=(0.0, 1.0, 0.0, 0.0, 0.0, 0.0))
    found = estimate_displacement(made.along, made.against, made.affine, 1)
    extra = (SIZE * found.displacement - made.field_mm)[made.brain].mean()
    assert extra == pytest.approx(-0.5, abs=0.1)
    np.testing.assert_allclose(found.pull, np.eye(4), atol=0.15)


def test_second_run_is_identical_and_inputs_are_untouched():
    made = pair()
    copies = made.along.copy(), made.against.copy(), made.affine.copy()
    again = estimate_displacement(made.along, made.against, made.affine, 1, is_moving=False)
    np.testing.assert_array_equal(again.displacement, still().displacement)
    np.testing.assert_array_equal(again.corrected, still().corrected)
    for now, before in zip((made.along, made.against, made.affine), copies, strict=True):
        np.testing.assert_array_equal(now, before)
    for image in (again.displacement, again.corrected):
        assert image.dtype == np.float32
        assert image.shape == made.along.shape
    np.testing.assert_array_equal(again.pull, np.eye(4))


GOOD = np.random.default_rng(0).uniform(1, 2, (6, 7, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"against": GOOD[1:]}, opposed.BAD_SHAPES),
        ({"along": GOOD[0], "against": GOOD[0]}, opposed.BAD_SHAPES),
        ({"axis": 3}, opposed.BAD_AXIS),
        ({"axis": -1}, opposed.BAD_AXIS),
        ({"readout_ratio": 0.0}, opposed.BAD_RATIO),
        ({"readout_ratio": np.nan}, opposed.BAD_RATIO),
        ({"affine": np.zeros((4, 4))}, opposed.BAD_AFFINE),
        ({"affine": np.eye(3)}, opposed.BAD_AFFINE),
        ({"against": np.full(GOOD.shape, np.nan)}, opposed.NOT_FINITE),
    ],
)
def test_nonsense_is_refused(changes, message):
    given = {"along": GOOD, "against": GOOD, "affine": np.eye(4), "axis": 1} | changes
    with pytest.raises(ValueError, match=re.escape(message.split("{")[0])):
        estimate_displacement(**given)


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_an_image_without_a_head_is_refused(level):
    with pytest.raises(InputDataError, match="shows no head"):
        estimate_displacement(GOOD, np.full(GOOD.shape, level), np.eye(4), 1)
