"""How much of a planted bias field N4 leaves, for docs/validation-anatomy.md.

    python -m benchmarks.bias

The T1w image of a synthetic participant (2 mm, brain only), whose own field is known, as it is and
under a stronger field. What is left is the standard deviation of the logarithm of found over
planted field within the brain; the schemes are ours and the usual one of four levels.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.interfaces import anat
from rls_bids.interfaces.images import Volume, load_volume, save_mask, save_volume, stage_for_itk
from rls_bids.phantom.cohort import SESSION_T1W, load_model, make_person, random_stream
from rls_bids.phantom.dataset import _bias_field, t1w_image
from rls_bids.phantom.spec import CohortSpec, plan_cohort

FOUR_LEVELS = "-d 3 -s 3 -b [200] -c [50x50x50x50,1e-6] -v 0"
MEMBER = ("HC", 0)
Volumes = NDArray[np.floating]


def planted() -> tuple[Volumes, Volumes, NDArray[np.float64]]:
    """Return a T1w image, the logarithm of its bias field, and its affine."""
    plan = plan_cohort(CohortSpec(size="small", random_seed=1))
    model = load_model(plan)
    person = make_person(plan, model, *MEMBER)
    image, _, affine = t1w_image(
        plan, model, person.warp, random_stream(plan, MEMBER, SESSION_T1W, 0)
    )
    rng = random_stream(plan, MEMBER, SESSION_T1W, 0)
    rng.uniform(-3, 3, 3)  # the tilt of the image is drawn first
    return image.astype(np.float32), np.log(_bias_field(image.shape, rng)), affine


def stronger(shape: tuple[int, ...]) -> Volumes:
    """Return the logarithm of a field of some 12 %, with a gradient and a bow in each axis."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    bow = 0.45 * (x**2 + y**2 + z**2)
    return 0.35 * x * y - bow + 0.25 * np.sin(2.5 * z + 1) * y


def left(image: Volumes, corrected: Volumes, field: Volumes) -> tuple[float, float]:
    """Return the standard deviation of the planted field and of what is left of it."""
    inside = ndimage.binary_erosion(image > 0.1 * np.percentile(image, 99), iterations=2)
    found = np.log(np.maximum(image[inside], 1) / np.maximum(corrected[inside], 1))
    return float(field[inside].std()), float((found - field[inside]).std())


def main() -> None:
    """Print both fields by both schemes."""
    image, own, affine = planted()
    for name, extra in (("own field", np.zeros(image.shape)), ("stronger", stronger(image.shape))):
        head, field = (image * np.exp(extra)).astype(np.float32), own + extra
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            t1w = save_volume(head, affine, folder / "t1w.nii.gz")
            start = time.process_time()
            node = anat.BiasCorrect(in_file=t1w, version="1").run(cwd=str(folder))
            ours = load_volume(node.outputs.out_file).data
            middle = time.process_time()
            stage_for_itk(Volume(head, affine), folder / "staged.nii.gz")
            save_mask(head > 0.1 * np.percentile(head, 99), affine, folder / "bright.nii.gz")
            options = [*FOUR_LEVELS.split(), "-i", "staged.nii.gz", "-x", "bright.nii.gz"]
            anat.run_ants(
                "N4BiasFieldCorrection", [*options, "-o", "out.nii.gz"], folder=folder, path=t1w
            )
            end = time.process_time()
            usual = load_volume(folder / "out.nii.gz").data
        for scheme, result, seconds in (
            ("ours", ours, middle - start),
            ("four levels", usual, end - middle),
        ):
            sys.stdout.write(
                f"{name}: planted {left(head, result, field)[0]:.4f}, "
                f"left by {scheme} {left(head, result, field)[1]:.4f}, {seconds:.1f} s\n"
            )


if __name__ == "__main__":
    main()
