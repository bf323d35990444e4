"""What a field map says, as a field in Hz beside an image of the head that is not distorted."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.errors import InputDataError
from rls_bids.interfaces.bias import without_bias
from rls_bids.interfaces.images import (
    Volume,
    load_volume,
    resample_to,
    save_volume,
    voxel_sizes,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNUSABLE = "{path} cannot be used as a field map: {reason}."
UNUSABLE_HINT = "Correct its metadata, or leave field maps out with --ignore fieldmaps."
OTHER_GRID = "{path} has shape {found}; {expected} was expected, that of {other}."
OTHER_GRID_HINT = "Images of one field map must lie on one grid; or use --ignore fieldmaps."
SERIES_DIMS = 4
HEAD_SHARE = 0.1
"""Of the bright end of the magnitude: less is air, where phases are noise."""


class EstimateFieldInputSpec(BaseInterfaceInputSpec):
    """Inputs of `EstimateField`."""

    kind = traits.Enum("phasediff", "two_phases", "fieldmap", "opposed", mandatory=True)
    images = InputMultiObject(File(exists=True), mandatory=True, desc="as FieldMap.images")
    magnitude = File(exists=True, desc="of the same acquisition")
    echo_times = traits.List(traits.Float(), desc="s, of the phases")
    units = traits.Str("Hz", usedefault=True, desc="of a measured map")
    boldref = File(exists=True, mandatory=True, desc="stands in for the first of opposed images")
    is_bold_first = traits.Bool(False, usedefault=True, desc="the first of `images` is the run")
    direction = traits.Str(desc="of the phase encoding of the first of opposed images")
    line_times = traits.List(traits.Float(), desc="s, of opposed images")
    version = traits.Str(mandatory=True, desc="kernel version")


class EstimateFieldOutputSpec(TraitedSpec):
    """Outputs of `EstimateField`."""

    field = File(exists=True, desc="Hz, everywhere on its grid")
    reference = File(desc="an undistorted image of the head on the same grid, if there is one")


class EstimateField(SimpleInterface):
    """Turn a field map of any kind into Hz."""

    input_spec = EstimateFieldInputSpec
    output_spec = EstimateFieldOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        estimate = _from_opposed if self.inputs.kind == "opposed" else _from_echoes
        for name, volume in zip(
            ("field", "reference"), estimate(self.inputs, folder), strict=True
        ):
            if volume is not None:
                path = folder / f"{name}.nii.gz"
                self._results[name] = save_volume(volume.data, volume.affine, path)
        return runtime


def _from_echoes(inputs: Any, folder: Path) -> "tuple[Volume, Volume | None]":
    """Return field and magnitude (without its bias field) of gradient echoes."""
    import numpy as np

    from rls_bids.numerics import fieldmap

    first = load_volume(inputs.images[0])
    magnitude = _like(inputs.magnitude, first, inputs.images[0]) if inputs.magnitude else None
    strength = magnitude if magnitude is not None else np.ones_like(first.data)
    try:
        if inputs.kind == "fieldmap":
            field = fieldmap.in_hz(first.data, inputs.units)
            weights = _bright(strength) & (first.data != 0)
        else:
            times = (float(inputs.echo_times[0]), float(inputs.echo_times[1]))
            phase = fieldmap.phase_in_radians(first.data)
            if inputs.kind == "two_phases":
                second = _like(inputs.images[1], first, inputs.images[0])
                phase = fieldmap.phase_in_radians(second) - phase
            mask = fieldmap.head_mask(strength, phase)
            field = fieldmap.field_from_phase(phase, times, mask)
            turn_hz = 1.0 / abs(times[1] - times[0])
            weights = (
                fieldmap.without_islands(field, mask, turn_hz) * fieldmap.coherence(phase) ** 2
            )
    except ValueError as error:
        message = UNUSABLE.format(path=inputs.images[0], reason=error)
        raise InputDataError(message, UNUSABLE_HINT) from error
    smooth = fieldmap.complete(field, weights, voxel_sizes(first.affine))
    if magnitude is None:
        return Volume(smooth, first.affine), None
    reference = without_bias(
        Volume(magnitude, first.affine),
        weights > 0,
        knots_mm=150,
        rounds="50x50x50",
        least_shrink=1,
        folder=folder,
        path=inputs.magnitude,
    )
    return Volume(smooth, first.affine), reference


def _bright(magnitude: "NDArray[np.float32]") -> "NDArray[np.bool_]":
    """Return the head in a magnitude image."""
    import numpy as np

    from rls_bids.numerics.fieldmap import largest_part

    return largest_part(magnitude >= HEAD_SHARE * np.percentile(magnitude, 98))


def _like(path: str, first: Volume, first_path: str) -> "NDArray[np.float32]":
    """Load an image that must lie on the grid of another."""
    data = load_volume(path).data
    if data.shape != first.data.shape:
        message = OTHER_GRID.format(
            path=path, found=data.shape, expected=first.data.shape, other=first_path
        )
        raise InputDataError(message, OTHER_GRID_HINT)
    return data


def _from_opposed(inputs: Any, folder: Path) -> "tuple[Volume, Volume | None]":  # noqa: ARG001
    """Return field and corrected mean of a pair of opposed EPI images."""
    import numpy as np

    from rls_bids.numerics.fieldmap import axis_and_sign
    from rls_bids.numerics.opposed import estimate_displacement

    along_path, against_path = inputs.images
    along = load_volume(inputs.boldref) if inputs.is_bold_first else _mean(along_path)
    against = _mean(against_path)
    if against.data.shape != along.data.shape or not np.allclose(against.affine, along.affine):
        moved = resample_to(against, along, np.eye(4), order=1)
        against = Volume(np.asarray(moved, np.float32), along.affine)
    axis, sign = axis_and_sign(inputs.direction)
    first, second = inputs.line_times
    pair = estimate_displacement(
        along.data, against.data, along.affine, axis, readout_ratio=second / first
    )
    hz = np.asarray(pair.displacement / (sign * first), dtype=np.float32)
    return Volume(hz, along.affine), Volume(pair.corrected, along.affine)


def _mean(path: str) -> Volume:
    """Load an EPI image; of several volumes their mean after head motion correction."""
    import nibabel as nib

    from rls_bids.dataset.checks import read_bold
    from rls_bids.numerics.realign import estimate_motion

    image: Any = nib.load(path)
    if len(image.shape) < SERIES_DIMS or image.shape[3] == 1:
        return load_volume(path)
    series, affine = read_bold(path)
    return Volume(estimate_motion(series, affine).reference, affine)
