"""The BOLD series of one participant: contrast, networks, body rhythms, motion and noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.phantom.distortion import Encoding, distort, encoding, field_hz
from rls_bids.phantom.head import EPI_TISSUES, HeadModel, echo_contrasts, sample
from rls_bids.phantom.render import average_box, box_shift, gather, kernel_table
from rls_bids.phantom.signals import (
    BREATHING_HZ,
    DRIFT_SHAPES,
    HEART_HZ,
    HeadMotion,
    body_rhythm,
    drift_courses,
    latent_courses,
    latent_frequencies,
    latent_weights,
    random_motion,
    saturation_course,
    slice_timing,
    systemic_waves,
)
from rls_bids.phantom.space import (
    Floats,
    Floats32,
    Warp,
    apply_affine,
    pull_grid,
    rigid_matrix,
    standard_to_person,
)
from rls_bids.phantom.spec import Plan, Region

AMPLITUDE = 0.02
"""Standard deviation of a network's course, as a share of the signal."""
HEART, BREATHING, SYSTEMIC, DRIFT = 0.02, 0.004, 0.005, 0.012
EDGE_MM = 1.0
FIELD_OF_VIEW_MM = {True: (212.0, 246.0, 168.0), False: (180.0, 216.0, 176.0)}
PAD = 3
"""BOLD voxels by which the fine grid exceeds the field of view on each side."""
RIM = 2
REACH_MM = 7.0
"""Farthest that head motion takes a network's tissue."""
SEEN = 5.0
"""Voxels with less signal (and their surroundings) are air and hold only noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Grid and position: ``affine`` (4, 4) voxel → BOLD mm, slices along the third axis.

    ``t1w_to_bold`` (4, 4) maps a T1w point to where its tissue lies in the BOLD space while the
    head is in its reference pose.
    """

    shape: tuple[int, int, int]
    affine: Floats
    t1w_to_bold: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Maps (X, Y, Z, C) that move with the head and the voxels they can reach."""

    field: Floats32
    first: tuple[int, int, int]
    reached: NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """What one echo shows of the head: global maps that move with it, and those of regions."""

    field: Floats32
    regions: dict[str, Component]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Series (X, Y, Z, n_volumes) int16, one an echo, with all that is known of them.

    ``reference`` (X, Y, Z) is the noise-free first volume of the first echo.
    """

    series: tuple[NDArray[np.int16], ...]
    geometry: Geometry
    motion: HeadMotion
    reference: Floats32
    z_values: dict[str, float]


def grid_shape(plan: Plan) -> tuple[int, int, int]:
    """Voxels of the BOLD grid, slices last."""
    n_x, n_y, n_z = (round(extent / plan.size.bold_mm) for extent in FIELD_OF_VIEW_MM[plan.skull])
    return n_x, n_y, n_z


def place_bold(plan: Plan, centre_mm: Floats, rng: np.random.Generator) -> Geometry:
    """Choose where the head lies during BOLD and which tilted grid covers it."""
    scale = plan.spec.misalignment_scale
    parameters = np.concatenate([rng.uniform(-5, 5, 3), np.deg2rad(rng.uniform(-4, 4, 3))])
    t1w_to_bold = rigid_matrix(scale * parameters, centre_mm)
    spacing = plan.size.bold_mm
    n_x, n_y, n_z = grid_shape(plan)
    tilt = np.zeros(6)
    tilt[3:] = np.deg2rad([rng.uniform(-10, 4), rng.uniform(-2, 2), rng.uniform(-2, 2)])
    affine = rigid_matrix(tilt, np.zeros(3))
    affine[:3, :3] *= spacing
    middle = (np.array([n_x, n_y, n_z]) - 1) / 2
    centre = apply_affine(t1w_to_bold, centre_mm[None])[0] + rng.uniform(-2, 2, 3)
    if plan.skull:  # the field of view ends above the chin
        centre += np.array([0.0, 2.0, 3.0])
    affine[:3, 3] = centre - affine[:3, :3] @ middle
    return Geometry(shape=(n_x, n_y, n_z), affine=affine, t1w_to_bold=t1w_to_bold)


def fine_grid(plan: Plan, geometry: Geometry) -> tuple[Floats, tuple[int, int, int], int]:
    """Affine, shape and subdivision of the grid on which the resting head is made."""
    factor = round(plan.size.bold_mm / plan.size.fine_mm)
    to_bold = np.diag([1 / factor, 1 / factor, 1 / factor, 1.0])
    to_bold[:3, 3] = (0.5 - factor / 2) / factor - PAD
    x, y, z = ((n + 2 * PAD) * factor for n in geometry.shape)
    return geometry.affine @ to_bold, (x, y, z), factor


def region_share(
    region: Region,
    centre: Floats,
    points: tuple[Floats32, ...],
    tissues: tuple[Floats32, ...],
) -> Floats32:
    """Weight 0 … 1 of a region's course at points: a soft-edged sphere times tissue weights."""
    distance = np.sqrt(sum((p - c) ** 2 for p, c in zip(points, centre, strict=True)))
    sphere = 1.0 / (1.0 + np.exp(np.clip((distance - region.radius_mm) / (EDGE_MM / 2), -30, 30)))
    content = sum(w * t for w, t in zip(region.weights, tissues, strict=True))
    return np.asarray(sphere * content, np.float32)


def _global_fields(base: Floats32, tissues: tuple[Floats32, ...]) -> list[Floats32]:
    """Return the maps that move with the head: signal, heartbeat and systemic waves."""
    _, white, csf = tissues
    return [base, base * (HEART * csf), base * (SYSTEMIC * (white + csf))]


def _scanner_slopes(
    shape: tuple[int, int, int], voxels: NDArray[np.int32], rng: np.random.Generator
) -> Floats32:
    """Return maps (n, 1 + DRIFT_SHAPES) fixed to the scanner: breathing and drift, linear."""
    position = 2 * voxels / np.array(shape) - 1
    tilt = rng.uniform(-1, 1, (4, 1 + DRIFT_SHAPES))
    maps = (position @ tilt[:3] + tilt[3]) * np.array([BREATHING, *(DRIFT,) * DRIFT_SHAPES])
    slopes: Floats32 = maps.astype(np.float32)
    return slopes


def _crop(volume: Floats32, margin: int) -> tuple[slice, slice, slice]:
    """Smallest box round the non-zero part of a volume, with a margin."""
    level = 0.01 * float(volume.max())
    found = ndimage.find_objects((volume > level).astype(np.int8))
    if not found:
        return slice(0, 2 * margin), slice(0, 2 * margin), slice(0, 2 * margin)
    x, y, z = (
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, size in zip(found[0], volume.shape, strict=True)
    )
    return x, y, z


def region_components(
    plan: Plan,
    model: HeadModel,
    centres: dict[str, Floats],
    base: Floats32,
    points: tuple[Floats32, ...],
    tissues: tuple[Floats32, ...],
    factor: int,
    positions: Floats,
) -> dict[str, Component]:
    """Cut the map of each region out of the head; ``positions`` (n, 3) are resting voxels."""
    components = {}
    margin = 4 + int(np.ceil(REACH_MM / plan.size.fine_mm))
    for region in plan.regions:
        centre = apply_affine(model.from_standard, centres[region.name][None])[0]
        weight = region_share(region, centre, points, tissues)
        box = _crop(average_box(weight * (base > SEEN), factor), margin)
        field = average_box((base[box] * weight[box] * AMPLITUDE), factor)
        first = np.array([part.start for part in box])
        last = np.array([part.stop for part in box])
        inside = ((positions > first + 3) & (positions < last - 4)).all(axis=1)
        components[region.name] = Component(
            field=np.ascontiguousarray(field[..., None]),
            first=(int(first[0]), int(first[1]), int(first[2])),
            reached=np.flatnonzero(inside),
        )
    return components


def _slice_poses(motion: HeadMotion, volume: int, fractions: Floats) -> Floats:
    """Pull matrices (n_slices, 4, 4) of one volume."""
    if not motion.during[volume]:
        return np.repeat(motion.matrices[volume][None], len(fractions), axis=0)
    before, now = motion.parameters[volume - 1 : volume + 1]
    rows = before + fractions[:, None] * (now - before)
    return np.stack([rigid_matrix(row, motion.centre_mm) for row in rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class RestingHead:
    """What a fine grid shows of the resting head: points of the model, signal and tissues."""

    points: tuple[Floats32, ...]
    signal: Floats32
    tissues: tuple[Floats32, ...]
    factor: int


def resting_head(
    plan: Plan, model: HeadModel, warp: Warp, geometry: Geometry, encoded: Encoding | None
) -> RestingHead:
    """Sample the head on the fine grid, as an EPI with this encoding shows it."""
    fine_affine, fine_shape, factor = fine_grid(plan, geometry)
    points: tuple[Floats32, ...]
    points = pull_grid(warp, np.linalg.inv(geometry.t1w_to_bold) @ fine_affine, fine_shape)
    density = np.ones(1, np.float32)
    if encoded and plan.spec.distortion:
        field = field_hz(points, model.from_standard, plan.spec.distortion)
        shift = field * np.float32(encoded.sign * encoded.voxels_per_hz * factor)
        points, density = distort(points, shift, encoded.axis)
    return RestingHead(
        points=points,
        signal=sample(model, model.epi, points) * density,
        tissues=tuple(sample(model, tissue, points) for tissue in model.tissues),
        factor=factor,
    )


def on_bold_grid(volume: Floats32, factor: int, shape: tuple[int, int, int]) -> Floats32:
    """Average a volume of the fine grid over the extent of each BOLD voxel."""
    start = int(PAD * factor + box_shift(factor))
    every = average_box(volume, factor)[start::factor, start::factor, start::factor]
    return every[: shape[0], : shape[1], : shape[2]]


def simulate(
    plan: Plan,
    model: HeadModel,
    warp: Warp,
    centres: dict[str, Floats],
    z_values: dict[str, float],
    rng: np.random.Generator,
) -> Scan:
    """Make one series.

    The resting head is sampled from the model on a fine grid that subdivides the BOLD grid and
    averaged over the extent of a BOLD voxel; every slice of every volume then reads it, by
    windowed sinc, at the pose the head has at that time. Time courses are evaluated at each
    slice's own time.
    """
    head_centre = standard_to_person(
        warp, apply_affine(model.from_standard, np.array([[0.0, -18.0, 8.0]]))
    )[0]
    geometry = place_bold(plan, head_centre, rng)
    head = resting_head(plan, model, warp, geometry, encoding(plan, geometry.shape))
    base, factor = head.signal, head.factor
    start = np.full(3, PAD * factor + box_shift(factor))
    seen = on_bold_grid(base, factor, geometry.shape) > SEEN
    seen = ndimage.binary_dilation(seen, iterations=RIM)
    voxels = np.argwhere(seen).astype(np.int32)
    echoes = []
    for share, change in echo_contrasts(plan.spec.echo_times_s, head.tissues):
        shown = base * share
        parts = _global_fields(shown, head.tissues)
        field = np.stack([average_box(part, factor) for part in parts], axis=-1)
        regions = region_components(
            plan,
            model,
            centres,
            shown * change,
            head.points,
            head.tissues,
            factor,
            voxels * factor + start,
        )
        echoes.append(Echo(field=field, regions=regions))
    centre_mm = apply_affine(geometry.t1w_to_bold, head_centre[None])[0]
    motion = random_motion(plan, centre_mm, rng)
    to_field = np.eye(4)
    to_field[:3, :3] *= factor
    to_field[:3, 3] = start
    series, reference = _acquire(plan, geometry, echoes, voxels, motion, to_field, z_values, rng)
    return Scan(
        series=series,
        geometry=geometry,
        motion=motion,
        reference=reference,
        z_values=z_values,
    )


def _courses(
    plan: Plan, z_values: dict[str, float], times: Floats, rng: np.random.Generator
) -> tuple[Floats, dict[str, Floats]]:
    """Courses (n_volumes, n_slices, 7) of the global maps, and those of the regions."""
    duration = plan.n_volumes * plan.size.repetition_time
    rhythms = [
        np.ones(times.shape),
        body_rhythm(HEART_HZ, times, rng),
        systemic_waves(times, rng),
        body_rhythm(BREATHING_HZ, times, rng),
    ]
    drift = drift_courses(times, duration, rng)
    factors = np.concatenate([np.stack(rhythms, axis=-1), drift], axis=-1)
    frequencies = latent_frequencies(duration)
    weights = latent_weights(plan.networks, z_values, len(frequencies), rng)
    courses = {
        name: latent_courses(weight, frequencies, times) for name, weight in weights.items()
    }
    return factors, courses


def _acquire(
    plan: Plan,
    geometry: Geometry,
    echoes: Sequence[Echo],
    voxels: NDArray[np.int32],
    motion: HeadMotion,
    to_field: Floats,
    z_values: dict[str, float],
    rng: np.random.Generator,
) -> tuple[tuple[NDArray[np.int16], ...], Floats32]:
    """Acquire volume by volume, every echo; also the noise-free first volume of the first."""
    timing = slice_timing(geometry.shape[2], plan.size.repetition_time)
    starts = np.arange(plan.n_volumes) * plan.size.repetition_time
    times = starts[:, None] + timing
    factors, courses = _courses(plan, z_values, times, rng)
    factors = factors.astype(np.float32)
    slopes = _scanner_slopes(geometry.shape, voxels, rng)
    level = saturation_course(plan.n_volumes, plan.spec.non_steady).astype(np.float32)
    series = np.empty((len(echoes), plan.n_volumes, *geometry.shape), np.int16)
    reference = np.zeros(geometry.shape, np.float32)
    where = tuple(voxels.T)
    sigma = np.float32(EPI_TISSUES[0] / plan.spec.tsnr)
    to_rest = to_field @ np.linalg.inv(geometry.affine)
    for volume in range(plan.n_volumes):
        poses = _slice_poses(motion, volume, timing / plan.size.repetition_time)
        matrices = to_rest @ np.linalg.inv(poses) @ geometry.affine
        now = factors[volume][voxels[:, 2]]
        current = {name: course[volume] for name, course in courses.items()}
        for number, echo in enumerate(echoes):
            signal = _shown(echo, voxels, matrices[:, :3], now, slopes, current)
            image = np.zeros(geometry.shape, np.float32)
            image[where] = signal * level[volume]
            if volume == number == 0:
                reference = image.copy()
            noise = rng.standard_normal((2, *geometry.shape), dtype=np.float32) * sigma
            series[number, volume] = np.rint(np.hypot(image + noise[0], noise[1]))
    return tuple(np.moveaxis(one, 0, -1) for one in series), reference


def _shown(
    echo: Echo,
    voxels: NDArray[np.int32],
    matrices: Floats,
    now: Floats32,
    slopes: Floats32,
    current: dict[str, Floats],
) -> Floats32:
    """Signal (n,) of one echo at voxels; ``matrices`` (n_slices, 3, 4) pull from the maps."""
    table = kernel_table()
    values = gather(echo.field, voxels, matrices, table)
    signal: Floats32 = np.einsum("nc,nc->n", values, now[:, : values.shape[1]])
    signal *= 1.0 + np.einsum("nc,nc->n", slopes, now[:, values.shape[1] :])
    for name, component in echo.regions.items():
        near = voxels[component.reached]
        shifted = matrices.copy()
        shifted[:, :, 3] -= component.first
        share = gather(component.field, near, shifted, table)[:, 0]
        signal[component.reached] += share * current[name][near[:, 2]]
    return signal
