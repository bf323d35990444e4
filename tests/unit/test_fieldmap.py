"""Field maps against a planted field, for every direction and storage."""

import numpy as np
import pytest
from scipy import ndimage

from rls_bids.numerics.fieldmap import (
    axis_and_sign,
    coherence,
    complete,
    field_from_phase,
    head_mask,
    in_hz,
    jacobian,
    largest_part,
    line_time,
    phase_in_radians,
    sample_field,
    unwarp,
    unwrapped,
    without_islands,
)
from rls_bids.phantom.bold import on_bold_grid, place_bold, resting_head
from rls_bids.phantom.cohort import load_model, make_person
from rls_bids.phantom.distortion import (
    ECHO_SPACING_S,
    ECHO_TIMES_S,
    direction,
    distort,
    encoding,
    field_hz,
    phase_images,
)
from rls_bids.phantom.images import reorient
from rls_bids.phantom.spec import CohortSpec, plan_cohort

NOISE = 1000 / 60
PLAN = plan_cohort(CohortSpec(size="tiny", distortion=1.0, random_seed=4))


@pytest.fixture(scope="module")
def scene():
    """A head in its BOLD grid: model, person, geometry, and what is there without distortion."""
    model = load_model(PLAN)
    person = make_person(PLAN, model, "RLS", 0)
    geometry = place_bold(PLAN, np.array([0.0, -18.0, 8.0]), np.random.default_rng(1))
    still = resting_head(PLAN, model, person.warp, geometry, None)
    magnitude = on_bold_grid(still.signal, still.factor, geometry.shape)
    field = on_bold_grid(
        field_hz(still.points, model.from_standard, 1.0), still.factor, geometry.shape
    )
    brain = on_bold_grid(
        np.sum(still.tissues, axis=0, dtype=np.float32), still.factor, geometry.shape
    )
    return model, person, geometry, magnitude, field, brain > 0.5


@pytest.fixture(scope="module")
def measured(scene):
    """The field as it is measured from a noisy phase difference."""
    _, _, geometry, magnitude, field, _ = scene
    _, _, phase = phase_images(field, magnitude, np.random.default_rng(2), NOISE)
    radians = phase_in_radians(phase)
    mask = head_mask(magnitude, radians)
    found = field_from_phase(radians, ECHO_TIMES_S, mask)
    turn = 1 / (ECHO_TIMES_S[1] - ECHO_TIMES_S[0])
    mask = without_islands(found, mask, turn)
    sizes = np.linalg.norm(geometry.affine[:3, :3], axis=0)
    return complete(found, mask * coherence(radians) ** 2, tuple(sizes))


def test_the_field_of_a_noisy_phase_difference_is_the_planted_one(scene, measured):
    *_, field, brain = scene
    error = np.abs(measured - field)[brain]
    assert np.abs(field[brain]).max() > 60
    assert error.mean() < 1.0
    assert np.percentile(error, 95) < 3.0


def test_the_head_is_found_in_spite_of_the_coil(scene):
    """A magnitude that falls to a tenth from back to front, in even noise."""
    *_, magnitude, field, brain = scene
    uneven = magnitude * np.linspace(1, 0.1, magnitude.shape[1], dtype="f4")[None, :, None]
    noise = np.random.default_rng(6).normal(0, 10, (2, *magnitude.shape))
    _, _, phase = phase_images(field, uneven, np.random.default_rng(5), 10)
    mask = head_mask(np.hypot(uneven + noise[0], noise[1]), phase_in_radians(phase))
    assert mask[brain & (magnitude > 300)].mean() > 0.97
    air = ~ndimage.binary_dilation(magnitude > 20, iterations=2)
    assert mask[air].mean() < 0.001


def test_a_strong_field_is_unwrapped(scene):
    """At 300 Hz the phase goes round three quarters of a turn, three times it wraps."""
    *_, magnitude, field, brain = scene
    strong = 6 * field
    _, _, phase = phase_images(strong, magnitude, np.random.default_rng(3), NOISE)
    found = field_from_phase(phase_in_radians(phase), ECHO_TIMES_S, largest_part(magnitude > 200))
    assert np.abs(strong[brain]).max() > 0.5 / (ECHO_TIMES_S[1] - ECHO_TIMES_S[0])
    assert np.abs(found - strong)[brain & (magnitude > 200)].mean() < 6


def test_two_phases_say_the_same_as_their_difference(scene):
    *_, magnitude, field, brain = scene
    first, second, phase = phase_images(field, magnitude, np.random.default_rng(2), NOISE)
    mask = largest_part(magnitude > 200)
    one = field_from_phase(phase_in_radians(phase), ECHO_TIMES_S, mask)
    difference = phase_in_radians(second) - phase_in_radians(first)
    two = field_from_phase(difference, ECHO_TIMES_S, mask)
    assert np.abs(one - two)[brain & mask].max() < 0.5


@pytest.mark.parametrize("codes", ["LAS", "RAS"])
@pytest.mark.parametrize("towards", list("LRPAIS"))
def test_distortion_is_undone_whatever_the_encoding(scene, measured, towards, codes):
    """Sidecar and stored image in, mm of error out; over brain shifted by more than 3 mm."""
    model, person, geometry, magnitude, field, brain = scene
    encoded = encoding(PLAN, geometry.shape, towards)
    head = resting_head(PLAN, model, person.warp, geometry, encoded)
    image = on_bold_grid(head.signal, head.factor, geometry.shape)
    stored, _ = reorient(image, geometry.affine, codes)
    found, _ = reorient(measured, geometry.affine, codes)
    truth, _ = reorient(field, geometry.affine, codes)
    still, _ = reorient(magnitude, geometry.affine, codes)
    inside, _ = reorient(brain, geometry.affine, codes)
    axis, sign = axis_and_sign(direction(codes, towards))
    per_hz = sign * line_time(
        image.shape[encoded.axis],
        total_readout_time_s=ECHO_SPACING_S * (image.shape[encoded.axis] - 1),
    )
    spacing = PLAN.size.bold_mm
    planted = np.abs(truth) * ECHO_SPACING_S * stored.shape[axis] * spacing
    far = inside & (planted > 3)
    error = np.abs((found - truth) * per_hz * spacing)[far]
    assert far.sum() > 300
    assert error.mean() <= 0.75
    assert np.percentile(error, 95) <= 2.0
    assert error.mean() <= planted[far].mean() / 4
    wrong = np.abs((-found - truth) * per_hz * spacing)[far]
    assert wrong.mean() >= 1.8 * planted[far].mean()
    # The right sign shows the head as it is, the wrong one is worse than none.
    away = [
        np.abs(unwarp(stored, factor * per_hz * found, axis) - still)[far].mean()
        for factor in (1, 0, -1)
    ]
    assert away[0] < 0.35 * away[1]
    assert away[2] > away[1]


def test_a_tissue_is_shown_where_its_field_takes_it():
    """A point at +50 Hz moves along j; the same point goes backwards for j-."""
    line = np.zeros((3, 40, 3), np.float32)
    line[:, 20] = 100.0
    for name, place in (("j", 22), ("j-", 18)):
        axis, sign = axis_and_sign(name)
        shift = np.full(line.shape, 50.0 * sign * line_time(40, echo_spacing_s=0.001), np.float32)
        seen = np.roll(line, place - 20, axis=axis)
        assert unwarp(seen, shift, axis)[1, :, 1].argmax() == 20


def test_the_jacobian_keeps_the_amount_of_signal():
    n = np.arange(80.0)
    shift = 3 * np.exp(-(((n - 40) / 9) ** 2) / 2)
    flat = np.broadcast_to(np.float32(1.0), (1, 80, 1))
    points = tuple(np.zeros((1, 80, 1), np.float32) + p for p in (0, n[None, :, None], 0))
    _, density = distort(points, shift.astype("f4")[None, :, None], 1)
    piled = flat * density
    straight = unwarp(piled, shift[None, :, None], 1)[0, 5:75, 0]
    plain = unwarp(piled, shift[None, :, None], 1, use_jacobian=False)[0, 5:75, 0]
    assert np.abs(straight - 1).max() < 0.02
    assert np.abs(plain - 1).max() > 0.1
    assert jacobian(np.array([0.0, -2.0, -4.0]), 0).min() == 0


@pytest.mark.parametrize(
    ("stored", "radians"),
    [
        ([-4096, 0, 4094], [-np.pi, 0, 4094 / 4096 * np.pi]),
        ([0, 1024, 4095], [0, np.pi / 2, 4095 / 2048 * np.pi]),
        ([-3142, 0, 3141], [-3.142, 0, 3.141]),
        ([-3.1, 0, 3.1], [-3.1, 0, 3.1]),
        ([0, 3, 6.28], [0, 3, 6.28]),
    ],
)
def test_phases_of_every_vendor_become_radians(stored, radians):
    assert phase_in_radians(np.array(stored, float)) == pytest.approx(radians)


@pytest.mark.parametrize("values", [[-30000, 30000], [0, 65535], [-100000, 5]])
def test_an_unknown_scale_is_refused(values):
    with pytest.raises(ValueError, match="neither radians"):
        phase_in_radians(np.array(values, float))


def test_the_path_through_a_ramp_finds_every_turn():
    ramp = np.fromfunction(lambda i, j, k: 0.9 * i - 0.4 * j + 0.2 * k, (30, 20, 10))
    ramp -= np.median(ramp)
    found = unwrapped(np.angle(np.exp(1j * ramp)), np.ones(ramp.shape, bool))
    assert np.abs(found - ramp).max() < 1e-6


def test_units_of_a_measured_map():
    assert in_hz(np.array([1.0]), "Hz")[0] == 1
    assert in_hz(np.array([2 * np.pi]), "rad/s")[0] == pytest.approx(1)
    assert in_hz(np.array([1e-6]), "Tesla")[0] == pytest.approx(42.577, abs=1e-3)


def test_a_field_goes_on_beyond_its_mask_and_loses_its_noise():
    index = np.indices((30, 30, 20)).astype(float)
    field = 30 + 1.5 * index[0] - 0.8 * index[1]
    mask = ((index - np.array([15, 15, 10])[:, None, None, None]) ** 2).sum(axis=0) < 64
    noisy = np.where(mask, field + np.random.default_rng(0).normal(0, 3, field.shape), 0)
    smooth = complete(noisy, mask, (3.0, 3.0, 3.0))
    assert np.abs(smooth - field)[mask].mean() < 1.0
    near = ndimage.binary_dilation(mask, iterations=2) & ~mask
    assert np.abs(smooth - field)[near].mean() < 2.5
    assert np.isfinite(smooth).all()
    assert smooth.min() > field[mask].min() - 15
    assert smooth.max() < field[mask].max() + 15


def test_a_field_is_read_between_and_beyond_its_voxels():
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    field = np.fromfunction(lambda i, j, k: 10.0 * i, (8, 8, 8))
    points = np.array([[-4.5, 9.0, 9.0], [30.0, 9.0, 9.0], [-90.0, 9.0, 9.0]])
    assert sample_field(field, affine, points) == pytest.approx([15.0, 0.0, 70.0], abs=0.5)
