"""Images as covariates of a comparison of maps: at each voxel, and in the region of a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.dataset.adjustments import BASELINE, GREY_MATTER, baseline_weights
from rls_bids.errors import InputDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.interfaces.designs import GroupTest
    from rls_bids.interfaces.group_maps import Rows
    from rls_bids.interfaces.images import Volume
    from rls_bids.records import Seed

NO_LEVEL = 1e-8
"""Weights of sessions whose sum is less make a difference."""
OUTSIDE = "The region of the seed {seeds} has no voxel in {path}."
OUTSIDE_HINT = "Compare this seed without --seed-covariate."
NOTHING_ADDED = (
    "The amount of grey matter in the region of the seed {seeds} adds nothing to the design: it "
    "is the same in everybody, or the columns {n_columns} explain it."
)
NOTHING_ADDED_HINT = "Leave --seed-covariate or a column of the design out."


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelCovariate:
    """One covariate of every voxel: images in the order of the maps, and how they are weighed.

    ``smoothing_fwhm_mm`` is of images on a grid of their own; 0 takes them as they are.
    """

    name: str
    paths: tuple[str, ...]
    weights: tuple[float, ...]
    smoothing_fwhm_mm: float = 0.0

    @property
    def is_level(self) -> bool:
        """Whether it is centred; the zero of a difference of sessions means no change."""
        return abs(sum(self.weights)) > NO_LEVEL

    @property
    def told(self) -> dict[str, Any]:
        """What a sidecar says of it."""
        return {
            "Name": self.name,
            "SessionWeights": list(self.weights),
            "SmoothingFwhmMm": self.smoothing_fwhm_mm,
            "Centred": self.is_level,
        }


def voxel_covariates(given: Any, test: "GroupTest") -> list[VoxelCovariate]:
    """Return the covariates of every voxel that a node was asked for, in its order."""
    weights = tuple(float(weight) for weight in test.responses[0])
    every = {
        GREY_MATTER: VoxelCovariate(
            name=GREY_MATTER,
            paths=tuple(given.grey_files),
            weights=weights,
            smoothing_fwhm_mm=given.smoothing_fwhm_mm,
        ),
        BASELINE: VoxelCovariate(
            name=BASELINE, paths=tuple(given.in_files), weights=baseline_weights([weights])
        ),
    }
    return [every[name] for name in given.voxel_covariates]


def measure_covariates(given: Any, test: "GroupTest") -> dict[str, Any]:
    """Return what sidecars say of images as covariates, the amounts of seeds among it."""
    from rls_bids.interfaces.measure import seed_record

    told: dict[str, Any] = {}
    if given.voxel_covariates:
        told["VoxelCovariates"] = [each.told for each in voxel_covariates(given, test)]
    if given.measured_seeds:
        seeds = [seed_record(plain) for plain in given.measured_seeds]
        amounts = measure_seeds(seeds, given.grey_files, given.space)
        told["SeedCovariate"] = {
            "Name": GREY_MATTER,
            "Seeds": [seed.name for seed in seeds],
            "AmountsMm3": [float(amount) for amount in amounts],
        }
    return told


def read_covariates(
    covariates: Sequence[VoxelCovariate], rows: "Rows", folder: Path
) -> "NDArray[np.float32]":
    """Bring images to the voxels of the maps, an image at a time.

    Parameters
    ----------
    covariates : sequence of VoxelCovariate
    rows : Rows
        The maps; of them only grid and mask are used.
    folder : Path
        Where the array is kept; the caller removes ``covariates.npy``.

    Returns
    -------
    (n_rows, n_covariates, n_voxels) float32
        A memory map. Levels are centred over the rows, voxel by voxel.
    """
    import numpy as np

    n_rows, _, n_voxels = rows.data.shape
    found: NDArray[np.float32] = np.lib.format.open_memmap(
        folder / "covariates.npy",
        mode="w+",
        dtype=np.float32,
        shape=(n_rows, len(covariates), n_voxels),
    )
    for number, each in enumerate(covariates):
        n_sessions = len(each.weights)
        total = np.zeros(n_voxels)
        for row in range(n_rows):
            values = np.zeros(n_voxels)
            own = each.paths[row * n_sessions : (row + 1) * n_sessions]
            for path, weight in zip(own, each.weights, strict=True):
                if weight:
                    values += weight * _on_maps(path, each.smoothing_fwhm_mm, rows)
            found[row, number] = values
            total += values
        if each.is_level:
            for row in range(n_rows):
                found[row, number] -= total / n_rows
    return found


def _on_maps(path: str, fwhm_mm: float, rows: "Rows") -> "NDArray[np.floating]":
    """Return an image at the voxels of the maps, smoothed on its own grid before."""
    import numpy as np

    from rls_bids.interfaces.images import Volume, load_volume, voxel_sizes
    from rls_bids.numerics.resample import resample_volume, smooth_in_mask, voxel_points

    volume = load_volume(path)
    if fwhm_mm > 0:
        whole = np.ones(volume.data.shape, dtype=bool)
        smooth = smooth_in_mask(
            volume.data.reshape(1, -1), whole, voxel_sizes(volume.affine), fwhm_mm
        )
        volume = Volume(smooth.reshape(volume.data.shape), volume.affine)
    if volume.data.shape == rows.mask.shape and np.allclose(volume.affine, rows.affine):
        return volume.data[rows.mask]
    points = voxel_points(rows.mask, rows.affine)
    return np.asarray(resample_volume(volume.data, volume.affine, points, order=1))


def measure_seeds(
    seeds: "Sequence[Seed]", paths: Sequence[str], space: str
) -> "NDArray[np.float64]":
    """Return how much grey matter the region of seeds holds in each image.

    Parameters
    ----------
    seeds : sequence of Seed
        Spheres and masks; of several, voxels in any of them count once.
    paths : sequence of str
        Images of the amount of grey matter, which need not have one grid.
    space : str
        Standard space of the images.

    Returns
    -------
    (n_images,) array
        mm³: the sum over the voxels of the region times the volume of a voxel.

    Raises
    ------
    InputDataError
        A region outside an image.
    """
    import numpy as np

    from rls_bids.interfaces.images import load_volume

    amounts = np.empty(len(paths))
    for number, path in enumerate(paths):
        volume = load_volume(path)
        inside = _region(seeds, volume, space)
        if not inside.any():
            names = ", ".join(seed.name for seed in seeds)
            raise InputDataError(OUTSIDE.format(seeds=names, path=path), OUTSIDE_HINT)
        size_mm3 = abs(float(np.linalg.det(volume.affine[:3, :3])))
        amounts[number] = volume.data[inside].sum(dtype=float) * size_mm3
    return amounts


def _region(seeds: "Sequence[Seed]", volume: "Volume", space: str) -> "NDArray[np.bool_]":
    """Return the voxels of an image in the region of any of some seeds."""
    import numpy as np

    from rls_bids.numerics.spheres import sphere_mask
    from rls_bids.resources.regions import seed_region

    shape = volume.data.shape
    inside = np.zeros(shape, dtype=bool)
    for seed in seeds:
        if seed.centre_mm is not None and seed.radius_mm is not None:
            everything = np.ones(shape, dtype=bool)
            voxels, _ = sphere_mask(everything, volume.affine, seed.centre_mm, seed.radius_mm)
            inside.ravel()[voxels] = True
        else:
            inside |= seed_region(seed, shape, volume.affine, space)
    return inside


def with_seed_amounts(
    test: "GroupTest", amounts_mm3: "Sequence[float] | NDArray[np.float64]", names: str
) -> "GroupTest":
    """Return a design with the amount of grey matter in a seed's region as covariate.

    Parameters
    ----------
    test : GroupTest
    amounts_mm3 : (n_maps,) sequence
        In the order of the maps; one column for each response, weighed over sessions as the maps
        are. Levels are centred, differences are not: their zero means no change.
    names : str
        Of the seeds, for messages.

    Raises
    ------
    InputDataError
        The design explains the covariate.
    """
    import numpy as np

    from rls_bids.numerics.voxelwise import COLLINEAR

    values = np.reshape(amounts_mm3, (len(test.matrix), -1)) @ test.responses.T
    is_level = np.abs(test.responses.sum(axis=1)) > NO_LEVEL
    columns = values - np.where(is_level, values.mean(axis=0), 0.0)
    rest = columns - test.matrix @ np.linalg.lstsq(test.matrix, columns, rcond=None)[0]
    # Images of single precision differ by rounding where nothing else differs.
    if (np.linalg.norm(rest, axis=0) <= COLLINEAR * np.linalg.norm(values, axis=0)).any():
        told = {"seeds": names, "n_columns": test.matrix.shape[1]}
        raise InputDataError(NOTHING_ADDED.format(**told), NOTHING_ADDED_HINT)
    nothing = np.zeros((len(test.contrasts), columns.shape[1]))
    return replace(
        test,
        matrix=np.hstack([test.matrix, columns]),
        contrasts=np.hstack([test.contrasts, nothing]),
    )


def adjusted(test: "GroupTest", told: Mapping[str, Any]) -> "GroupTest":
    """Return a design as a comparison was made with it, from what its sidecar says."""
    own = told.get("SeedCovariate")
    if not own:
        return test
    return with_seed_amounts(test, own["AmountsMm3"], ", ".join(own["Seeds"]))
