"""How well and how fast anatomy and coregistration work, for docs/validation-anatomy.md.

    python benchmarks/anatomy.py [T1W ...]

A planted deformation of the template at 1 mm (and 2 mm), rigid starts of 20 mm and 20 degrees at
BOLD resolution, and, for every real T1w image given, time, memory and Dice against the
segmentation of the template. One line a figure.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from nipype.interfaces.base import SimpleInterface, TraitedSpec
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.interfaces import anat, registration
from rls_bids.interfaces.images import Volume, load_volume, save_mask, save_volume, stage_for_itk
from rls_bids.numerics.coregister import coregister
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.numerics.resample import resample_volume, voxel_points
from rls_bids.resources.grids import coarse_brain, standard_head
from rls_bids.resources.templates import locate_template

CENTRE = np.array([0.0, -18.0, 8.0])
TEMPLATE = locate_template("MNI152NLin2009cAsym", "2")
BRAIN, MASK, AFFINE = standard_head(TEMPLATE.brain, TEMPLATE.space, "2")
CODES = {"GM": 1, "WM": 2, "CSF": 3}
Points = NDArray[np.float64]


def timed(interface: SimpleInterface, folder: Path, name: str) -> TraitedSpec:
    """Run a node in a folder of its own; returns its outputs and what it cost."""
    place = folder / name
    place.mkdir(parents=True)
    start, cpu = time.perf_counter(), time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    outputs = interface.run(cwd=str(place)).outputs
    cpu = time.process_time() - cpu
    cpu += resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - children
    print(f"  {name}: {time.perf_counter() - start:.1f} s wall, {cpu:.1f} s processor", flush=True)
    return outputs


def plant(
    size_mm: float, strength_mm: float, folder: Path, seed: int = 5
) -> tuple[str, str, Callable[[Points], Points]]:
    """Write a deformed template with bias and noise; returns its files and the planted map."""
    rng = np.random.default_rng(seed)
    lattice = np.diag([4.0, 4, 4, 1])
    lattice[:3, 3] = (-108, -146, -90)
    parts = [ndimage.gaussian_filter(rng.normal(size=(54, 64, 54)), 4.3) for _ in range(3)]
    parts = [part / part.std() * strength_mm / np.sqrt(3) for part in parts]
    matrix = parameters_to_matrix(np.array([6, -8, 10, 0.12, 0.05, -0.08]), CENTRE)

    def to_standard(points: Points) -> Points:
        turned = points @ (matrix[:3, :3] * (1.07, 0.95, 1.04)).T + matrix[:3, 3]
        where = ((turned - lattice[:3, 3]) / 4.0).T
        moved = [ndimage.map_coordinates(part, where, order=3, mode="nearest") for part in parts]
        return turned + np.transpose(moved)

    fine = load_volume(TEMPLATE.brain)
    grid = np.diag([-size_mm, size_mm, size_mm, 1.0])
    grid[:3, 3] = (99, -130, -100)
    shape = tuple(int(extent / size_mm) for extent in (198, 228, 204))
    points = to_standard(voxel_points(np.ones(shape, bool), grid))
    inside = resample_volume((fine.data > 0).astype(np.float32), fine.affine, points) > 0.5
    signal = resample_volume(fine.data, fine.affine, points, 3)
    bias = 1 + 0.1 * np.sin(points[:, 0] / 40) * np.cos(points[:, 1] / 50)
    noisy = np.clip(signal * bias + rng.normal(0, 2, len(signal)), 0.1, None)
    head = np.where(inside, noisy, 0).reshape(shape)
    return (
        save_volume(head, grid, folder / "t1w.nii.gz"),
        save_mask(inside.reshape(shape), grid, folder / "mask.nii.gz"),
        to_standard,
    )


def affine_transform(t1w: str, mask: str, folder: Path) -> str:
    """Stop after the affine step; returns the transform."""
    head, brain = load_volume(t1w), load_volume(mask)
    scheme = registration.SCHEMES["fine"]
    stage_for_itk(Volume(head.data * brain.data, head.affine), folder / "moving.nii.gz")
    template = Volume(*coarse_brain(*load_volume(TEMPLATE.brain), scheme.size_mm))
    stage_for_itk(template, folder / "fixed.nii.gz")
    arguments = registration.normalization_arguments(scheme, is_deformable=False)
    anat.run_ants("antsRegistration", arguments, folder=folder, path=t1w)
    return str(folder / f"{registration.PREFIX}Composite.h5")


def planted_normalisation(size_mm: float, strength_mm: float, folder: Path) -> None:
    """Print how far the points found are from the planted ones."""
    folder.mkdir()
    t1w, mask, to_standard = plant(size_mm, strength_mm, folder)
    wanted = voxel_points(MASK, AFFINE)
    print(f"planted deformation, {size_mm:g} mm head, mean length {strength_mm:g} mm")
    found = {"affine": affine_transform(t1w, mask, folder)}
    for name, sloppy in (("default", False), ("sloppy", True)):
        node = registration.NormalizeToTemplate(
            in_file=t1w,
            mask=mask,
            template=TEMPLATE.brain,
            sloppy=sloppy,
            version="1",
        )
        found[name] = timed(node, folder, f"normalisation, {name}").t1w_to_std
    for name, transform in found.items():
        points = registration.field_points(transform, MASK.shape, AFFINE, folder)
        error = np.linalg.norm(to_standard(points[MASK].astype(np.float64)) - wanted, axis=1)
        jacobian = np.stack(np.gradient(points.astype(np.float64), 2.0, axis=(0, 1, 2)), axis=-1)
        smallest = np.linalg.det(jacobian[MASK]).min()
        print(
            f"  {name}: mean {error.mean():.2f} mm, 95th percentile "
            f"{np.percentile(error, 95):.2f} mm, smallest Jacobian {smallest:.2f}",
            flush=True,
        )


def far_starts(size_mm: float, n_starts: int = 6) -> None:
    """Print the error of coregistration from 20 mm and 20 degrees, fluid bright, biased, noisy."""
    rng = np.random.default_rng(11)
    contrast = np.where(MASK, 160 - BRAIN, 0).astype(np.float32)
    errors, cpu = [], time.process_time()
    for _ in range(n_starts):
        ways = rng.normal(size=(2, 3))
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        pull = parameters_to_matrix(np.ravel(ways * [[20.0], [np.radians(20)]]), CENTRE)
        shape = np.array([200, 220, 160]) // size_mm
        n = shape.astype(int) * 3
        fine = np.diag([-size_mm / 3, size_mm / 3, size_mm / 3, 1.0])
        middle = pull[:3, :3] @ CENTRE + pull[:3, 3] + rng.uniform(-4, 4, 3)
        fine[:3, 3] = middle - fine[:3, :3] @ ((n - 1) / 2)
        back = np.linalg.inv(pull)
        points = voxel_points(np.ones(n, bool), fine) @ back[:3, :3].T + back[:3, 3]
        dense = resample_volume(contrast, AFFINE, points).reshape(n)
        a, b, c = shape.astype(int)
        blocks = dense.reshape(a, 3, b, 3, c, 3).mean(axis=(1, 3, 5))
        grid = fine.copy()
        grid[:3, :3] *= 3
        grid[:3, 3] += fine[:3, :3].sum(axis=1)
        bold = np.abs(blocks * (1 + 0.1 * np.sin(np.linspace(0, 3, b)))[:, None])
        bold = (bold + rng.normal(0, 3, bold.shape)).astype(np.float32)
        inside = ndimage.binary_opening(bold > 40)
        found = coregister(BRAIN, AFFINE, MASK, bold, grid, inside).matrix - pull
        where = voxel_points(MASK, AFFINE) @ found[:3, :3].T + found[:3, 3]
        errors.append(np.linalg.norm(where, axis=1).mean())
    cpu = (time.process_time() - cpu) / n_starts
    print(
        f"coregistration, {size_mm:g} mm BOLD, {n_starts} starts: mean {np.mean(errors):.2f} mm, "
        f"worst {np.max(errors):.2f} mm, {cpu:.1f} s processor each with making the image",
        flush=True,
    )


def dice(transform: str, labels_file: str, reference: np.ndarray, folder: Path) -> str:
    """Return the overlap of each tissue on the standard grid."""
    points = registration.field_points(transform, MASK.shape, AFFINE, folder).reshape(-1, 3)
    labels = load_volume(labels_file)
    found = resample_volume(labels.data, labels.affine, points.astype(np.float64), 0)
    found = found.reshape(MASK.shape)
    shares = []
    for name, code in CODES.items():
        a, b = found == code, reference == code
        shares.append(f"{name} {2 * np.sum(a & b) / (a.sum() + b.sum()):.3f}")
    return ", ".join(shares)


def real_head(path: str, reference: np.ndarray, folder: Path) -> None:
    """Print time and Dice of one T1w image."""
    folder.mkdir()
    print(path)
    common = {"version": "1"}
    t1w = timed(anat.BiasCorrect(in_file=path, **common), folder, "bias field").out_file
    brain = timed(anat.ExtractBrain(in_file=t1w, **common), folder, "brain")
    print(f"  {brain.skull_state} head, mask by {brain.method}")
    mask = brain.out_mask
    tissue = timed(anat.SegmentTissue(in_file=t1w, mask=mask, **common), folder, "tissues")
    node = registration.NormalizeToTemplate(
        in_file=t1w, mask=mask, template=TEMPLATE.brain, **common
    )
    found = timed(node, folder, "normalisation").t1w_to_std
    rough = affine_transform(t1w, mask, folder)
    print(f"  Dice: {dice(found, tissue.dseg, reference, folder)}")
    print(f"  Dice, affine only: {dice(rough, tissue.dseg, reference, folder)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"  peak memory so far: {peak:.0f} MB, brain extraction {child:.0f} MB", flush=True)


def main(heads: list[str]) -> None:
    """Print everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        brain = save_volume(BRAIN, AFFINE, folder / "brain.nii.gz")
        mask = save_mask(MASK, AFFINE, folder / "mask.nii.gz")
        tissue = anat.SegmentTissue(in_file=brain, mask=mask, version="1")
        reference = load_volume(timed(tissue, folder, "tissues of the template").dseg).data
        for number, head in enumerate(heads):
            real_head(str(Path(head).resolve()), reference, folder / f"head{number}")
        for size_mm in (3.0, 4.0):
            far_starts(size_mm)
        for size_mm, strength_mm in ((2.0, 4.0), (1.0, 4.0)):
            planted_normalisation(size_mm, strength_mm, folder / f"{size_mm:g}-{strength_mm:g}")


if __name__ == "__main__":
    main(sys.argv[1:])
