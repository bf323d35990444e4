"""Rigid registration of images of different contrast, from headers that may be far off.

Normalised mutual information (Studholme 1999, 10.1016/S0031-3203(98)00091-0) of a joint histogram
that is filled by linear interpolation in both images and smoothed (Collignon 1997), maximised by
Powell's method from coarse to fine and from several starts. One thread, no random numbers: the
same input gives the same matrix on every machine of a kind.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.numerics.resample import voxel_points

VERSION = "3"

N_BINS = 48
HISTOGRAM_SIGMA = 1.5
MARGIN_MM = 8.0
TURN_RADIUS_MM = 60.0
TURNS_DEGREES = (-20.0, 20.0)
N_FINALISTS = 2
SAME_MM = 3.0
SLAB_MM = 100.0
"""A field of view with a shorter edge does not hold a brain: what is outside is not known."""
SLAB_STARTS_MM = (0.0, -8.0, 8.0)
SLAB_GROWTH = 2
NO_COST = 0.0
LEAST_OVERLAP = 0.6
"""Share of the points that must stay in a slab of those that the headers put there."""

Float64Array = NDArray[np.float64]
Cost = Callable[[Float64Array], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rigid:
    """A pull matrix (4, 4), fixed RAS+ mm → moving RAS+ mm, and minus its mutual information."""

    matrix: Float64Array
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """Distance of the sampled points, smoothing, and where Powell's method stops."""

    spacing_mm: float
    fwhm_mm: float
    tolerance_mm: float
    flatness: float


_COARSE = _Level(spacing_mm=8.0, fwhm_mm=9.0, tolerance_mm=0.3, flatness=1e-4)
_MIDDLE = _Level(spacing_mm=5.0, fwhm_mm=6.0, tolerance_mm=0.1, flatness=1e-5)
_FINE = _Level(spacing_mm=3.0, fwhm_mm=3.0, tolerance_mm=0.01, flatness=1e-6)


def coregister(
    fixed: NDArray[np.float32],
    fixed_affine: Float64Array,
    fixed_mask: NDArray[np.bool_],
    moving: NDArray[np.float32],
    moving_affine: Float64Array,
    moving_mask: NDArray[np.bool_],
) -> Rigid:
    """Find the rigid matrix that maps points of the fixed image into the moving image.

    Parameters
    ----------
    fixed : (X, Y, Z) float32
        For instance a T1w image; only what ``fixed_mask`` holds is looked at.
    fixed_affine, moving_affine : (4, 4) float64
        Voxel indices → RAS+ mm.
    fixed_mask, moving_mask : (X, Y, Z) bool
        The brain in either image; what is outside counts as zero.
    moving : (X', Y', Z') float32
        For instance a BOLD reference volume.

    Returns
    -------
    Rigid

    Notes
    -----
    The starts are the headers as they are, and the centres of both masks on each other: straight,
    and turned by 20° either way about each axis.

    A slab (an edge of its field of view is shorter than ``SLAB_MM``) has another centre than the
    brain, and beyond its edge the brain goes on. There the starts are the headers alone, also
    moved across the slab, and only points within the slab are compared.
    """
    points = _around(fixed_mask, fixed_affine)
    centre = voxel_points(fixed_mask, fixed_affine).mean(axis=0)
    target = voxel_points(moving_mask, moving_affine).mean(axis=0)
    still = np.where(fixed_mask, fixed, np.float32(0))
    brain = np.where(moving_mask, moving, np.float32(0))

    normal = _slab_normal(moving.shape, moving_affine)
    if normal is not None:  # masks shrink at the faces of a slab, where the brain goes on
        moving_mask = ndimage.binary_dilation(moving_mask, iterations=SLAB_GROWTH)
    brain = np.where(moving_mask, moving, np.float32(0))

    def prepare(level: _Level) -> Cost:
        values = _sample(_smooth(still, fixed_affine, level.fwhm_mm), fixed_affine, points(level))
        volume = _smooth(brain, moving_affine, level.fwhm_mm)
        is_slab = normal is not None
        return _cost(values, points(level), volume, moving_affine, centre, is_slab=is_slab)

    coarse = prepare(_COARSE)
    starts = _starts(target - centre)
    if normal is not None:
        starts = [np.concatenate([step * normal, np.zeros(3)]) for step in SLAB_STARTS_MM]
    found = [_powell(coarse, start, _COARSE) for start in starts]
    middle = prepare(_MIDDLE)
    better = [_powell(middle, parameters, _MIDDLE) for parameters in _finalists(found)]
    best, _ = min(better, key=lambda result: result[1])
    best, cost = _powell(prepare(_FINE), best, _FINE)
    return Rigid(matrix=_matrix(best, centre), cost=cost)


def align(
    fixed: NDArray[np.float32],
    fixed_affine: Float64Array,
    region: NDArray[np.bool_],
    moving: NDArray[np.float32],
    moving_affine: Float64Array,
) -> Rigid:
    """Find the rigid matrix between two images of one session, near where the headers have it.

    Unlike :func:`coregister` there is one start, the headers, and only what lies in a region of
    the fixed image counts: what is around the brain may look different in the two.

    Parameters
    ----------
    fixed : (X, Y, Z) float32
    region : (X, Y, Z) bool
        The brain in the fixed image.
    moving : (X', Y', Z') float32
    fixed_affine, moving_affine : (4, 4) float64
        Voxel indices → RAS+ mm of the scanner.

    Returns
    -------
    Rigid
        Fixed RAS+ mm → moving RAS+ mm.
    """
    brain = voxel_points(region, fixed_affine)
    centre = brain.mean(axis=0)
    found = np.zeros(6), 0.0
    for level in (_MIDDLE, _FINE):
        points = _between_voxels(brain, fixed_affine, level.spacing_mm)
        values = _sample(_smooth(fixed, fixed_affine, level.fwhm_mm), fixed_affine, points)
        volume = _smooth(moving, moving_affine, level.fwhm_mm)
        found = _powell(_cost(values, points, volume, moving_affine, centre), found[0], level)
    return Rigid(matrix=_matrix(found[0], centre), cost=found[1])


def _slab_normal(shape: tuple[int, ...], affine: Float64Array) -> Float64Array | None:
    """Return the unit vector across a slab, ``None`` where the field of view holds a brain."""
    edges = affine[:3, :3] * np.array(shape)
    lengths = np.linalg.norm(edges, axis=0)
    thin = int(np.argmin(lengths))
    return edges[:, thin] / lengths[thin] if lengths[thin] < SLAB_MM else None


def _between_voxels(points: Float64Array, affine: Float64Array, spacing_mm: float) -> Float64Array:
    """Return about one point per cube of the spacing, off the voxel centres.

    Two images on one grid look most alike where their voxels coincide, since interpolation then
    smooths neither (Pluim 2000, 10.1006/cviu.1999.0816). Multiples of irrational numbers spread
    the points evenly within the voxels.
    """
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    chosen = points[:: max(1, round(spacing_mm**3 / voxel_mm3))]
    number = np.arange(len(chosen))[:, None]
    within = np.modf(number * np.sqrt([2.0, 3.0, 5.0]))[0] - 0.5
    return np.ascontiguousarray(chosen + within @ affine[:3, :3].T)


def _starts(shift_mm: Float64Array) -> list[Float64Array]:
    """Scaled parameters to begin with: nothing moved, and centres matched with several turns."""
    starts = [np.zeros(6), np.concatenate([shift_mm, np.zeros(3)])]
    for axis in range(3):
        for angle in TURNS_DEGREES:
            turn = np.zeros(3)
            turn[axis] = np.radians(angle) * TURN_RADIUS_MM
            starts.append(np.concatenate([shift_mm, turn]))
    return starts


def _finalists(found: list[tuple[Float64Array, float]]) -> list[Float64Array]:
    """Return the best results that are not the same place, best first."""
    chosen: list[Float64Array] = []
    for parameters, _ in sorted(found, key=lambda result: result[1]):
        if all(np.linalg.norm(parameters - other) > SAME_MM for other in chosen):
            chosen.append(parameters)
    return chosen[:N_FINALISTS]


def _matrix(parameters: Float64Array, centre_mm: Float64Array) -> Float64Array:
    """Pull matrix of translations in mm and rotations in mm of arc at a brain's radius."""
    scaled = np.concatenate([parameters[:3], parameters[3:] / TURN_RADIUS_MM])
    return parameters_to_matrix(scaled, centre_mm)


def _around(mask: NDArray[np.bool_], affine: Float64Array) -> Callable[[_Level], Float64Array]:
    """Return what gives the points of a level: a lattice over the mask and a margin around it."""
    brain = voxel_points(mask, affine)
    low, high = brain.min(axis=0) - MARGIN_MM, brain.max(axis=0) + MARGIN_MM

    def points(level: _Level) -> Float64Array:
        axes = [np.arange(a, b, level.spacing_mm) for a, b in zip(low, high, strict=True)]
        lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        inside = _sample(mask.astype(np.float32), affine, lattice.reshape(-1, 3)) > 0
        n_steps = round(MARGIN_MM / level.spacing_mm)
        near = ndimage.binary_dilation(inside.reshape(lattice.shape[:3]), iterations=n_steps)
        return np.ascontiguousarray(lattice[near])

    return points


def _smooth(
    volume: NDArray[np.float32], affine: Float64Array, fwhm_mm: float
) -> NDArray[np.float32]:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    sigma = np.sqrt(np.maximum(fwhm_mm**2 - sizes**2, 0.0)) / (sizes * np.sqrt(8 * np.log(2)))
    return np.asarray(ndimage.gaussian_filter(volume, sigma, mode="constant", truncate=3.0))


def _sample(
    volume: NDArray[np.float32], affine: Float64Array, points: Float64Array
) -> NDArray[np.float32]:
    """Linear interpolation; zero outside the field of view."""
    to_voxels = np.linalg.inv(affine)
    coordinates = to_voxels[:3, :3] @ points.T + to_voxels[:3, 3:]
    return np.asarray(
        ndimage.map_coordinates(volume, coordinates, order=1, mode="constant", prefilter=False)
    )


# Its machine code is kept for the same reason as that of numerics.resample.
@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _fill(
    joint: Float64Array,
    rows: Float64Array,
    points: Float64Array,
    matrix: Float64Array,
    volume: NDArray[np.float32],
    top: float,
    skip_outside: bool,
) -> int:
    """Add every point to the joint histogram (n_bins, n_bins).

    ``rows`` are the fixed image's values in bins; the moving image is interpolated linearly at
    ``matrix @ points`` (voxels; zero outside) and ``top`` is its value in the last bin. A point
    gives weight to the two bins around either value. Returns how many points were added: with
    ``skip_outside`` those within the field of view.
    """
    last = joint.shape[0] - 1.001
    n_x, n_y, n_z = volume.shape
    n_added = 0
    for n in range(points.shape[0]):
        p, q, r = points[n, 0], points[n, 1], points[n, 2]
        x = matrix[0, 0] * p + matrix[0, 1] * q + matrix[0, 2] * r + matrix[0, 3]
        y = matrix[1, 0] * p + matrix[1, 1] * q + matrix[1, 2] * r + matrix[1, 3]
        z = matrix[2, 0] * p + matrix[2, 1] * q + matrix[2, 2] * r + matrix[2, 3]
        value = 0.0
        if 0.0 <= x < n_x - 1 and 0.0 <= y < n_y - 1 and 0.0 <= z < n_z - 1:
            i, j, k = int(x), int(y), int(z)
            u, v, w = x - i, y - j, z - k
            for step_i in range(2):
                weight_i = u if step_i else 1.0 - u
                for step_j in range(2):
                    weight = weight_i * (v if step_j else 1.0 - v)
                    row = volume[i + step_i, j + step_j]
                    value += weight * ((1.0 - w) * row[k] + w * row[k + 1])
        elif skip_outside:
            continue
        n_added += 1
        column = min(max(value / top, 0.0), 1.0) * last
        a, b = int(rows[n]), int(column)
        part_a, part_b = rows[n] - a, column - b
        joint[a, b] += (1.0 - part_a) * (1.0 - part_b)
        joint[a, b + 1] += (1.0 - part_a) * part_b
        joint[a + 1, b] += part_a * (1.0 - part_b)
        joint[a + 1, b + 1] += part_a * part_b
    return n_added


def _cost(
    values: NDArray[np.float32],
    points: Float64Array,
    volume: NDArray[np.float32],
    affine: Float64Array,
    centre_mm: Float64Array,
    *,
    is_slab: bool = False,
) -> Cost:
    """Return the function of six scaled parameters that is minimised.

    Points that leave the moving field of view keep the value zero: outside a brain is
    information. Those outside a slab are left out, and as many must stay as the headers have in.
    """
    top = float(np.percentile(volume[volume > 0], 99.5))
    highest = float(np.percentile(values[values > 0], 99.5))
    rows = np.clip(values / highest, 0.0, 1.0).astype(np.float64) * (N_BINS - 1.001)
    to_voxels = np.linalg.inv(affine)

    def fill(parameters: Float64Array) -> tuple[Float64Array, int]:
        pull = np.ascontiguousarray((to_voxels @ _matrix(parameters, centre_mm))[:3])
        joint = np.zeros((N_BINS, N_BINS))
        return joint, _fill(joint, rows, points, pull, volume, top, is_slab)

    least = max(1, LEAST_OVERLAP * fill(np.zeros(6))[1]) if is_slab else 1

    def cost(parameters: Float64Array) -> float:
        joint, n_points = fill(parameters)
        return -_normalised_information(joint) if n_points >= least else NO_COST

    return cost


def _normalised_information(joint: Float64Array) -> float:
    """(H(a) + H(b)) / H(a, b) of a joint histogram, smoothed."""
    density = ndimage.gaussian_filter(joint, HISTOGRAM_SIGMA, mode="nearest")
    density /= density.sum()

    def entropy(share: Float64Array) -> float:
        present = share[share > 0]
        return float(-(present * np.log(present)).sum())

    return (entropy(density.sum(axis=0)) + entropy(density.sum(axis=1))) / entropy(density.ravel())


def _powell(cost: Cost, start: Float64Array, level: _Level) -> tuple[Float64Array, float]:
    """Minimise from a start; returns parameters and cost."""
    found = optimize.minimize(
        cost,
        start,
        method="Powell",
        options={
            "xtol": level.tolerance_mm,
            "ftol": level.flatness,
            "maxiter": 12,
            "direc": np.eye(6) * level.spacing_mm / 2,
        },
    )
    return np.asarray(found.x, dtype=np.float64), float(found.fun)
