"""How well each kind of field map takes the distortion off, against a planted field.

``python -m benchmarks.distortion [--size tiny|full] [--seed N]`` makes one head with skull,
distorts its EPI in all six directions, stores it as LAS and as RAS, and prints for brain voxels
that are shifted by more than 3 mm the error before and after (mm; mean, 95th percentile, ratio),
and how far the image is from the undistorted head with the right and with the wrong polarity,
relative to the image as acquired.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from rls_bids.dataset.description import read_json
from rls_bids.interfaces.fieldmap import EstimateField
from rls_bids.numerics.fieldmap import axis_and_sign, line_time, unwarp
from rls_bids.phantom.bold import on_bold_grid, place_bold, resting_head
from rls_bids.phantom.cohort import load_model, make_person
from rls_bids.phantom.distortion import ECHO_SPACING_S, ECHO_TIMES_S, Encoding, direction, encoding
from rls_bids.phantom.fieldmaps import write_fieldmaps
from rls_bids.phantom.images import reorient
from rls_bids.phantom.space import Floats, Floats32
from rls_bids.phantom.spec import CohortSpec, Plan, plan_cohort

KINDS = {
    "phasediff": "phasediff",
    "phases": "two_phases",
    "fieldmap": "fieldmap",
    "opposed": "opposed",
}
FAR_MM = 3.0
HEADER = (
    f"{'map':10} {'storage':8} {'towards':8} {'voxels':>7} {'before':>7} {'mean':>6} "
    f"{'p95':>6} {'ratio':>6} {'right':>6} {'wrong':>6}"
)


def measure(spec: dict[str, Any], head: tuple[Any, ...], folder: Path) -> str:
    """Return one line: mm before, mm left (mean, 95th percentile), and wrong over none."""
    plan = plan_cohort(CohortSpec(**spec))
    model, person, geometry, brain = head
    rng = np.random.default_rng(7)
    truth = write_fieldmaps(folder / "sub-01", plan, model, person.warp, geometry, rng)
    codes, kind = plan.spec.bold_orientation, plan.spec.fieldmap
    truth, _ = reorient(truth, geometry.affine, codes)
    inside, _ = reorient(brain, geometry.affine, codes)
    told = {str(path): read_json(path.with_name(path.name.replace(".nii.gz", ".json")))
            for path in sorted(folder.glob("*.nii.gz"))}  # fmt: skip
    found = _estimate(plan, kind, told, truth.shape, folder)
    n_lines, spacing = _lines(plan, truth.shape), plan.size.bold_mm
    per_hz = line_time(n_lines, echo_spacing_s=ECHO_SPACING_S) * spacing
    planted = np.abs(truth) * per_hz
    far = inside & (planted > FAR_MM)
    error = (np.abs(found - truth) * per_hz)[far]
    images = [
        reorient(_shown(plan, head, encoded), geometry.affine, codes)[0]
        for encoded in (None, encoding(plan, geometry.shape))
    ]
    away = _polarity(plan, found, images, far)
    return (
        f"{kind:10} {codes:8} {plan.spec.phase_encoding:8} {far.sum():7d} "
        f"{planted[far].mean():7.2f} {error.mean():6.2f} {np.percentile(error, 95):6.2f} "
        f"{error.mean() / planted[far].mean():6.3f} {away[0]:6.2f} {away[1]:6.2f}"
    )


def _shown(plan: Plan, head: tuple[Any, ...], encoded: Encoding | None) -> Floats32:
    """Return what an EPI shows, or the head as it is without an encoding."""
    model, person, geometry, _ = head
    seen = resting_head(plan, model, person.warp, geometry, encoded)
    return on_bold_grid(seen.signal, seen.factor, geometry.shape)


def _polarity(plan: Plan, found: Floats, images: list[Floats32], far: Floats) -> list[float]:
    """Difference from the head as it is with the right and the wrong sign, relative to none."""
    still, seen = images
    axis, sign = axis_and_sign(direction(plan.spec.bold_orientation, plan.spec.phase_encoding))
    shift = found * sign * line_time(still.shape[axis], echo_spacing_s=ECHO_SPACING_S)
    right, none, wrong = (
        np.abs(unwarp(seen, factor * shift, axis) - still)[far].mean() for factor in (1, 0, -1)
    )
    return [right / none, wrong / none]


def _lines(plan: Plan, shape: tuple[int, ...]) -> int:
    axis, _ = axis_and_sign(direction(plan.spec.bold_orientation, plan.spec.phase_encoding))
    return shape[axis]


def _estimate(
    plan: Plan, kind: str, told: dict[str, Any], shape: tuple[int, ...], folder: Path
) -> Floats:
    """Run the node on the files; returns the field in Hz."""
    images = [path for path in told if "magnitude" not in path]
    inputs: dict[str, Any] = {"kind": KINDS[kind], "echo_times": list(ECHO_TIMES_S)}
    if kind == "opposed":
        images.sort(key=lambda path: f"{plan.spec.phase_encoding}_epi" not in path)
        inputs["direction"] = told[images[0]]["PhaseEncodingDirection"]
        inputs["line_times"] = [ECHO_SPACING_S * _lines(plan, shape)] * 2
    else:
        inputs["magnitude"] = next(path for path in told if "magnitude" in path)
    node = EstimateField(images=images, boldref=images[0], version="1", **inputs)
    return nib.load(node.run(cwd=str(folder)).outputs.field).get_fdata()


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(chr(10))[0])
    parser.add_argument("--size", default="full", choices=("tiny", "small", "full"))
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args(argv)
    common = {"size": options.size, "distortion": 1.0, "random_seed": options.seed, "skull": True}
    plan = plan_cohort(CohortSpec(**common))
    model = load_model(plan)
    person = make_person(plan, model, "RLS", 0)
    geometry = place_bold(plan, np.array([0.0, -18.0, 8.0]), np.random.default_rng(2))
    still = resting_head(plan, model, person.warp, geometry, None)
    tissue = np.sum(still.tissues, axis=0, dtype=np.float32)
    brain = on_bold_grid(tissue, still.factor, geometry.shape) > 0.5
    print(HEADER)
    cases = [("phasediff", codes, side) for codes in ("LAS", "RAS") for side in "LRPAIS"]
    cases += [(kind, "LAS", "A") for kind in KINDS if kind != "phasediff"]
    cases += [("opposed", "RAS", side) for side in "RS"]
    for kind, codes, side in cases:
        spec = {**common, "fieldmap": kind, "bold_orientation": codes, "phase_encoding": side}
        with tempfile.TemporaryDirectory() as folder:
            print(measure(spec, (model, person, geometry, brain), Path(folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
