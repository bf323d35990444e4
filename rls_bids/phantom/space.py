"""Where things are: rigid and affine maps, and smooth random deformations with exact inverses.

All maps are *pull* maps between RAS+ millimetre spaces.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

N_WAVES = 24
WAVELENGTHS_MM = (75.0, 140.0)
LEAST_JACOBIAN = 0.35
FIXED_POINT_STEPS = 60
FIXED_POINT_MM = 1e-6


def rotation_matrix(angles: Floats) -> Floats:
    """Rotation R_z R_y R_x for angles (x, y, z) in rad, (3, 3)."""
    (sin_x, sin_y, sin_z), (cos_x, cos_y, cos_z) = np.sin(angles), np.cos(angles)
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cos_x, -sin_x], [0.0, sin_x, cos_x]])
    about_y = np.array([[cos_y, 0.0, sin_y], [0.0, 1.0, 0.0], [-sin_y, 0.0, cos_y]])
    about_z = np.array([[cos_z, -sin_z, 0.0], [sin_z, cos_z, 0.0], [0.0, 0.0, 1.0]])
    product: Floats = about_z @ about_y @ about_x
    return product


def rigid_matrix(parameters: Floats, centre_mm: Floats) -> Floats:
    """Rigid map x ↦ R (x − c) + c + t, (4, 4).

    Parameters
    ----------
    parameters : (6,) array
        Translations (mm) and rotations (rad) in the order x, y, z.
    centre_mm : (3,) array
        Centre c of the rotation.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(parameters[3:])
    matrix[:3, 3] = centre_mm + parameters[:3] - matrix[:3, :3] @ centre_mm
    return matrix


def apply_affine(matrix: Floats, points: Floats) -> Floats:
    """Map points (n, 3) by a (4, 4) matrix."""
    moved: Floats = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def random_affine(rng: np.random.Generator, centre_mm: Floats) -> Floats:
    """Affine from a person to the standard head, (4, 4).

    Rotations to 5°, shifts to 8 mm, sizes 0.94 to 1.08, shears to 0.02.
    """
    turn = rotation_matrix(rng.uniform(-1, 1, 3) * np.deg2rad([4.0, 4.0, 5.0]))
    stretch = np.eye(3)
    stretch[np.triu_indices(3, 1)] = rng.uniform(-0.02, 0.02, 3)
    stretch *= rng.uniform(0.94, 1.08, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ stretch
    matrix[:3, 3] = centre_mm - matrix[:3, :3] @ centre_mm + rng.uniform(-8, 8, 3)
    return matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Warp:
    """The way from a person's T1w space to the standard (or given) head.

    A point x of the T1w space shows the tissue of y + u(y), y = A x, with

        u(y) = Σ_j a_j cos(k_j · y) + b_j sin(k_j · y)

    so that u is known exactly everywhere. ``affine`` is A (4, 4); ``waves`` k (J, 3) in rad/mm;
    ``cosines`` a and ``sines`` b (J, 3) in mm.
    """

    affine: Floats
    waves: Floats
    cosines: Floats
    sines: Floats


def displace(warp: Warp, points: Floats) -> Floats:
    """Displacement u (n, 3) in mm at points (n, 3) of the affinely aligned space."""
    angles = points @ warp.waves.T
    field: Floats = np.cos(angles) @ warp.cosines + np.sin(angles) @ warp.sines
    return field


def person_to_standard(warp: Warp, points: Floats) -> Floats:
    """Map T1w points (n, 3) to where their tissue lies in the standard head."""
    aligned = apply_affine(warp.affine, points)
    return aligned + displace(warp, aligned)


def standard_to_person(warp: Warp, points: Floats) -> Floats:
    """Map standard points (n, 3) to where their tissue lies in the T1w space.

    The fixed point y ← p − u(y) converges as the deformation stretches by less than 1.
    """
    aligned = points
    for _ in range(FIXED_POINT_STEPS):
        before = aligned
        aligned = points - displace(warp, before)
        if float(np.abs(aligned - before).max()) < FIXED_POINT_MM:
            break
    to_person = np.asarray(np.linalg.inv(warp.affine), np.float64)
    return apply_affine(to_person, aligned)


def pull_grid(
    warp: Warp, to_person: Floats, shape: tuple[int, int, int]
) -> tuple[Floats32, Floats32, Floats32]:
    """Return standard coordinates x, y, z of all voxels of a grid, each of the given shape.

    A plane wave stays a plane wave under an affine map, so that it factorises over the axes of
    any grid: the sum over waves is one matrix product.

    Parameters
    ----------
    to_person : (4, 4) array
        Voxel indices of the grid to T1w mm.
    """
    to_aligned = warp.affine @ to_person
    along = warp.waves @ to_aligned[:3, :3]
    start = np.exp(1j * (warp.waves @ to_aligned[:3, 3]))
    first, second, third = (
        np.exp(1j * np.outer(along[:, axis], np.arange(shape[axis]))) for axis in range(3)
    )
    planes = (second[:, :, None] * third[:, None, :]).reshape(len(start), -1)
    planes = planes.astype(np.complex64)
    stacked = np.concatenate([planes.real, planes.imag])
    index = np.meshgrid(
        *(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True
    )
    coordinates = []
    for axis in range(3):
        weight = (warp.cosines[:, axis] - 1j * warp.sines[:, axis]) * start
        rows = (weight[:, None] * first).T
        factor = np.concatenate([rows.real, -rows.imag], axis=1).astype(np.float32)
        field = (factor @ stacked).reshape(shape)
        row = to_aligned[axis].astype(np.float32)
        field += row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]
        coordinates.append(field)
    return coordinates[0], coordinates[1], coordinates[2]


def without_affine(points: Floats, field: Floats) -> Floats:
    """Return what is left of a displacement field (n, 3) after its best affine fit."""
    design = np.column_stack([points, np.ones(len(points))])
    solution = np.linalg.lstsq(design, field, rcond=None)[0]
    rest: Floats = field - design @ solution
    return rest


def least_jacobian(warp: Warp, points: Floats) -> float:
    """Smallest determinant of I + ∂u/∂y over points (n, 3)."""
    angles = points @ warp.waves.T
    slopes = np.cos(angles)[:, :, None] * warp.sines - np.sin(angles)[:, :, None] * warp.cosines
    gradient = np.einsum("njc,jd->ncd", slopes, warp.waves)
    return float(np.linalg.det(np.eye(3) + gradient).min())


def random_warp(
    rng: np.random.Generator, affine: Floats, points: Floats, magnitude_mm: float
) -> Warp:
    """Draw a smooth invertible deformation.

    Parameters
    ----------
    points : (n, 3) array
        Points of the brain in the standard space.
    magnitude_mm : float
        Mean length of the displacement that remains after the best affine fit.
    """
    while True:
        directions = rng.standard_normal((N_WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        waves = 2 * np.pi / rng.uniform(*WAVELENGTHS_MM, (N_WAVES, 1)) * directions
        amplitudes = rng.standard_normal((2, N_WAVES, 3))
        warp = Warp(affine=affine, waves=waves, cosines=amplitudes[0], sines=amplitudes[1])
        rest = np.linalg.norm(without_affine(points, displace(warp, points)), axis=1).mean()
        scale = magnitude_mm / float(rest)
        warp = Warp(
            affine=affine, waves=waves, cosines=scale * amplitudes[0], sines=scale * amplitudes[1]
        )
        if least_jacobian(warp, points) > LEAST_JACOBIAN:
            return warp
