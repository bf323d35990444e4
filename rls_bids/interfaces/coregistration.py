"""BOLD on the T1w image: rigid registration, with the susceptibility distortion taken off."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.interfaces.bias import without_bias
from rls_bids.interfaces.images import (
    SCANNER_CODE,
    Volume,
    load_mask,
    load_volume,
    resample_to,
    save_itk_transforms,
    save_mask,
    save_volume,
    voxel_sizes,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.numerics.coregister import Rigid

HALF = 0.5
MUTUAL_INFORMATION, BOUNDARY = "mutual information", "white-matter boundary"
UNWARPING_ROUNDS = 2
"""The first round places the field by the headers, the second by what the first corrected."""


class CoregisterInputSpec(BaseInterfaceInputSpec):
    """Inputs of `Coregister`."""

    boldref = File(exists=True, mandatory=True, desc="BOLD reference volume")
    t1w = File(exists=True, mandatory=True, desc="bias-corrected T1w image")
    mask = File(exists=True, mandatory=True, desc="brain mask of the T1w image")
    white = File(exists=True, mandatory=True, desc="probability of white matter, T1w grid")
    grey = File(exists=True, mandatory=True, desc="probability of grey matter, T1w grid")
    field = File(exists=True, desc="field map, Hz; absent: distortion is left as it is")
    reference = File(desc="the head on the grid of `field`; absent: it lies as BOLD does")
    direction = traits.Str("j", usedefault=True, desc="of the phase encoding, BIDS")
    line_time = traits.Float(0.0, usedefault=True, desc="s in which 1 Hz shifts by one voxel")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class CoregisterOutputSpec(TraitedSpec):
    """Outputs of `Coregister`."""

    t1w_to_boldref = File(exists=True, desc="(4, 4) pull matrix, T1w RAS mm to BOLD RAS mm, .npy")
    boldref_to_t1w = File(exists=True, desc="the same as an ITK image transform, .txt")
    boldref = File(exists=True, desc="BOLD reference, undistorted where a field is given")
    shift = File(desc="voxels from where a tissue is to where BOLD shows it; with a field only")
    boldref_in_t1w = File(exists=True, desc="BOLD reference on the T1w grid, for figures")
    distorted_in_t1w = File(desc="the same as acquired; with a field only")
    boldref_mask = File(exists=True, desc="T1w brain mask on the BOLD grid, for figures")
    moved_mm = traits.Float(desc="mean way of the brain from where the headers had it")
    metadata = File(exists=True, desc="method, costs and way for the sidecar, .json")


class Coregister(SimpleInterface):
    """Rigid registration of the BOLD reference to the T1w brain, whatever the headers say.

    N4 takes the bias field off the BOLD reference; then :mod:`rls_bids.numerics.coregister` finds
    the head and :mod:`rls_bids.numerics.boundary` refines the result on the white-matter
    boundary, unless that goes astray. With a field map the distortion is taken off before: first
    with the field where the headers have it, then where the field's own image of the head fits
    the corrected BOLD reference best.
    """

    input_spec = CoregisterInputSpec
    output_spec = CoregisterOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        folder = Path(runtime.cwd)
        mask, affine = load_mask(self.inputs.mask)
        head = Volume(load_volume(self.inputs.t1w).data, affine)
        placed = _register(self.inputs, head, mask, folder)
        pull, shift = placed.pull, placed.shift
        np.save(folder / "t1w_to_boldref.npy", pull)
        self._results["t1w_to_boldref"] = str(folder / "t1w_to_boldref.npy")
        self._results["boldref_to_t1w"] = save_itk_transforms(pull, folder / "boldref_to_t1w.txt")
        self._results |= _images(self.inputs, pull, shift, folder)
        moved = mean_way(mask, affine, pull)
        record = {**placed.record, "MovedFromHeaderMm": round(moved, 3)}
        if shift is not None:
            record |= _shift_record(self.inputs, pull, shift, mask, affine)
        metadata = folder / "coregistration.json"
        metadata.write_text(json.dumps(record), encoding="utf-8")
        self._results |= {"moved_mm": moved, "metadata": str(metadata)}
        return runtime


class _Placed(NamedTuple):
    """Pull matrix, T1w mm → BOLD mm; shift (voxels) of the BOLD reference if any; how it went."""

    pull: "NDArray[np.float64]"
    shift: "NDArray[np.float32] | None"
    record: dict[str, Any]


def _register(inputs: Any, head: Volume, mask: "NDArray[np.bool_]", folder: Path) -> _Placed:
    """Find where the head is in the BOLD reference, and how that is distorted."""
    import numpy as np

    from rls_bids.numerics.coregister import coregister
    from rls_bids.numerics.fieldmap import axis_and_sign, unwarp

    brain, bold_mask = _bold_brain(inputs, folder)
    if not inputs.field:
        found = coregister(head.data, head.affine, mask, brain.data, brain.affine, bold_mask)
        pull, record = _refine(inputs, brain, found)
        return _Placed(pull, None, record | _overlap(mask, head, brain, bold_mask, pull))
    axis, _ = axis_and_sign(inputs.direction)
    to_field = np.eye(4)
    for _ in range(UNWARPING_ROUNDS):
        shift = _shift(inputs, brain, to_field)
        straight = Volume(unwarp(brain.data, shift, axis), brain.affine)
        inside = unwarp(bold_mask.astype("f4"), shift, axis, use_jacobian=False) > HALF
        found = coregister(head.data, head.affine, mask, straight.data, straight.affine, inside)
        to_field = _place_field(inputs, straight, Volume(mask.astype("f4"), head.affine), found)
    pull, record = _refine(inputs, straight, found)
    record |= _overlap(mask, head, straight, inside, pull)
    return _Placed(pull, _shift(inputs, brain, to_field), record)


def _overlap(
    mask: "NDArray[np.bool_]",
    head: Volume,
    boldref: Volume,
    bold_mask: "NDArray[np.bool_]",
    pull: "NDArray[np.float64]",
) -> dict[str, float]:
    """Return the overlap of the brain in both images."""
    import numpy as np

    from rls_bids.numerics.quality import dice

    push = np.asarray(np.linalg.inv(pull), dtype=np.float64)
    brain = resample_to(Volume(mask.astype(np.float32), head.affine), boldref, push, order=0)
    return {"MaskDice": round(dice(brain > HALF, bold_mask), 4)}


def _refine(
    inputs: Any, boldref: Volume, found: "Rigid"
) -> "tuple[NDArray[np.float64], dict[str, Any]]":
    """Refine a registration on the white-matter boundary; keep it where that goes astray."""
    from rls_bids.numerics.boundary import find_fault, refine, white_matter_boundary

    white, grey = load_volume(inputs.white), load_volume(inputs.grey)
    surface = white_matter_boundary(white.data, white.affine, grey.data)
    refined = refine(surface, boldref.data, boldref.affine, found.matrix)
    fault = find_fault(refined)
    record = {
        "CoregistrationMethod": MUTUAL_INFORMATION if fault else BOUNDARY,
        "CoregistrationCost": round(found.cost, 6),
        "BoundaryCost": round(refined.cost, 6),
        "BoundaryWrongShare": round(refined.wrong_share, 4),
        "BoundaryMovedMm": round(refined.moved_mm, 3),
        "BoundaryFault": fault or None,
    }
    return (found.matrix if fault else refined.matrix), record


def _place_field(
    inputs: Any, straight: Volume, mask: Volume, found: "Rigid"
) -> "NDArray[np.float64]":
    """Return the matrix from BOLD RAS mm to those of the field map."""
    import numpy as np

    from rls_bids.numerics.coregister import align

    if not inputs.reference:
        return np.eye(4)
    push = np.asarray(np.linalg.inv(found.matrix), dtype=np.float64)
    region = resample_to(mask, straight, push, order=0) > HALF
    head = load_volume(inputs.reference)
    return align(straight.data, straight.affine, region, head.data, head.affine).matrix


def _shift(inputs: Any, boldref: Volume, to_field: "NDArray[np.float64]") -> "NDArray[np.float32]":
    """Return the shift (voxels) at each voxel of the BOLD reference, given where the field is."""
    import numpy as np

    from rls_bids.numerics.fieldmap import axis_and_sign, sample_field
    from rls_bids.numerics.resample import voxel_points

    field = load_volume(inputs.field)
    _, sign = axis_and_sign(inputs.direction)
    points = voxel_points(np.ones(boldref.data.shape, bool), boldref.affine)
    points = points @ to_field[:3, :3].T + to_field[:3, 3]
    hz = sample_field(field.data, field.affine, points).reshape(boldref.data.shape)
    return np.asarray(hz * sign * inputs.line_time, np.float32)


def _bold_brain(inputs: Any, folder: Path) -> "tuple[Volume, NDArray[np.bool_]]":
    """Return the BOLD reference without its bias field, and its brain mask."""
    import nibabel as nib
    import numpy as np
    from nilearn.masking import compute_epi_mask

    boldref = load_volume(inputs.boldref)
    found = compute_epi_mask(nib.Nifti1Image(boldref.data, boldref.affine), opening=1)
    mask = np.asarray(found.dataobj, dtype=bool)
    even = without_bias(
        boldref,
        mask,
        knots_mm=200,
        rounds="30x30x30",
        least_shrink=2,
        folder=folder,
        path=inputs.boldref,
    )
    return even, mask


def mean_way(
    mask: "NDArray[np.bool_]", affine: "NDArray[np.float64]", pull: "NDArray[np.float64]"
) -> float:
    """Return the mean way (mm) of the brain from where the headers had it."""
    import numpy as np

    from rls_bids.numerics.resample import voxel_points

    points = voxel_points(mask, affine)
    return float(np.linalg.norm(points @ pull[:3, :3].T + pull[:3, 3] - points, axis=1).mean())


def _shift_record(
    inputs: Any,
    pull: "NDArray[np.float64]",
    shift: "NDArray[np.float32]",
    mask: "NDArray[np.bool_]",
    affine: "NDArray[np.float64]",
) -> dict[str, float]:
    """Return how far the brain was shifted (mm), for the sidecar."""
    import numpy as np

    from rls_bids.numerics.fieldmap import axis_and_sign

    boldref = load_volume(inputs.boldref)
    axis, _ = axis_and_sign(inputs.direction)
    push = np.asarray(np.linalg.inv(pull), dtype=np.float64)
    brain = resample_to(Volume(mask.astype(np.float32), affine), boldref, push, order=0)
    away = np.abs(shift[brain > 0]) * voxel_sizes(boldref.affine)[axis]
    return {
        "MeanDistortionMm": round(float(away.mean()), 3),
        "LargestDistortionMm": round(float(away.max()), 3),
    }


def _images(
    inputs: Any,
    pull: "NDArray[np.float64]",
    shift: "NDArray[np.float32] | None",
    folder: Path,
) -> dict[str, str]:
    """Write the BOLD reference without distortion and on the T1w grid, and masks for figures."""
    import numpy as np

    from rls_bids.numerics.fieldmap import axis_and_sign, unwarp

    acquired, mask = load_volume(inputs.boldref), load_volume(inputs.mask)
    boldref, written = acquired, {"boldref": inputs.boldref}
    if shift is not None:
        axis, _ = axis_and_sign(inputs.direction)
        straight = np.maximum(unwarp(acquired.data, shift, axis), 0)
        boldref = Volume(straight, acquired.affine)
        before = resample_to(acquired, mask, pull, order=1)
        for name, data, grid in (
            ("boldref", straight, acquired),
            ("shift", shift, acquired),
            ("distorted_in_t1w", before, mask),
        ):
            written[name] = save_volume(data, grid.affine, folder / f"{name}.nii.gz")
    push = np.asarray(np.linalg.inv(pull), dtype=np.float64)
    moved = resample_to(boldref, mask, pull, order=1)
    brain = resample_to(mask, boldref, push, order=0) > 0
    path = folder / "boldref_mask.nii.gz"
    return written | {
        "boldref_in_t1w": save_volume(moved, mask.affine, folder / "boldref_in_t1w.nii.gz"),
        "boldref_mask": save_mask(brain, boldref.affine, path, code=SCANNER_CODE),
    }
