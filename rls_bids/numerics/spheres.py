"""Voxels of a grid within a radius of a point."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VERSION = "1"

FloatArray = NDArray[np.float64]


def sphere_lattice(
    affine: FloatArray, centre_mm: Sequence[float], radius_mm: float
) -> NDArray[np.int64]:
    """Return the voxels of the unbounded grid whose centres lie in a sphere.

    Parameters
    ----------
    affine : (4, 4) array
        Voxel to RAS mm.
    centre_mm : (3,) float
    radius_mm : float
        Voxels on the surface count.

    Returns
    -------
    (n, 3) int array
        Voxel indices, also outside the image.

    Examples
    --------
    >>> len(sphere_lattice(np.diag([2.0, 2, 2, 1]), (0, 0, 0), 4.0))
    33
    """
    inverse = np.linalg.inv(affine)
    centre = inverse[:3, :3] @ np.asarray(centre_mm, dtype=float) + inverse[:3, 3]
    # Rows of the inverse bound how far a sphere reaches along each voxel axis, also obliquely.
    reach = radius_mm * np.linalg.norm(inverse[:3, :3], axis=1)
    low, high = np.floor(centre - reach).astype(int), np.ceil(centre + reach).astype(int)
    axes = [np.arange(first, last + 1) for first, last in zip(low, high, strict=True)]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm((voxels - centre) @ affine[:3, :3].T, axis=1)
    return np.asarray(voxels[distance <= radius_mm * (1 + 1e-6) + 1e-9], dtype=np.int64)


def sphere_mask(
    mask: NDArray[np.bool_], affine: FloatArray, centre_mm: Sequence[float], radius_mm: float
) -> tuple[NDArray[np.intp], int]:
    """Return the voxels of a sphere that lie in a mask.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
        Voxel to RAS mm.
    centre_mm : (3,) float
    radius_mm : float

    Returns
    -------
    indices : (n,) int array
        Positions in ``data[mask]``.
    n_region : int
        Voxels of the whole sphere on the unbounded grid.
    """
    voxels = sphere_lattice(affine, centre_mm, radius_mm)
    inside = voxels[((voxels >= 0) & (voxels < mask.shape)).all(axis=1)]
    region = np.zeros(mask.shape, dtype=bool)
    region[tuple(inside.T)] = True
    return np.flatnonzero(region[mask]), len(voxels)
