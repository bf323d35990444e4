"""Head motion on the acquired grid, and the one interpolation from raw to standard space."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class EstimateMotionInputSpec(BaseInterfaceInputSpec):
    """Inputs of `EstimateMotion`."""

    in_file = File(exists=True, mandatory=True, desc="raw BOLD series")
    dummy_scans = traits.Int(0, usedefault=True, desc="volumes dropped at the start")
    version = traits.Str(mandatory=True, desc="kernel version")


class EstimateMotionOutputSpec(TraitedSpec):
    """Outputs of `EstimateMotion`."""

    parameters = File(exists=True, desc="(n_volumes, 6) mm and rad, .npy")
    matrices = File(exists=True, desc="(n_volumes, 4, 4) pull matrices in RAS mm, .npy")
    boldref = File(exists=True, desc="mean of the realigned volumes")
    itk_transforms = File(exists=True, desc="the matrices as ITK transforms, .txt")


class EstimateMotion(SimpleInterface):
    """Estimate rigid head motion by linearised least squares, in two passes."""

    input_spec = EstimateMotionInputSpec
    output_spec = EstimateMotionOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.dataset.checks import read_bold
        from rls_bids.interfaces.images import save_itk_transforms, save_volume
        from rls_bids.numerics.realign import estimate_motion

        series, affine = read_bold(self.inputs.in_file)
        motion = estimate_motion(series[self.inputs.dummy_scans :], affine)
        folder = Path(runtime.cwd)
        np.save(folder / "parameters.npy", motion.parameters)
        np.save(folder / "matrices.npy", motion.matrices)
        save_volume(motion.reference, affine, folder / "boldref.nii.gz")
        save_itk_transforms(motion.matrices, folder / "motion.txt")
        self._results["itk_transforms"] = str(folder / "motion.txt")
        self._results["parameters"] = str(folder / "parameters.npy")
        self._results["matrices"] = str(folder / "matrices.npy")
        self._results["boldref"] = str(folder / "boldref.nii.gz")
        return runtime


class ResampleSeriesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ResampleSeries`."""

    in_file = File(exists=True, mandatory=True, desc="raw BOLD series")
    dummy_scans = traits.Int(0, usedefault=True, desc="volumes dropped at the start")
    echoes = traits.List(File(exists=True), desc="raw BOLD series that are combined; empty: none")
    echo_times = traits.List(traits.Float(), desc="s, of `echoes`, ascending")
    repetition_time = traits.Float(mandatory=True, desc="s")
    slice_timing = traits.List(traits.Float(), desc="s, one per slice; empty: not corrected")
    slice_encoding_direction = traits.Str("k", usedefault=True, desc="BIDS axis, i to k-")
    matrices = File(exists=True, mandatory=True, desc="head motion, pull matrices")
    t1w_to_boldref = File(exists=True, mandatory=True, desc="(4, 4) pull matrix, .npy")
    points = File(exists=True, mandatory=True, desc="(n, 3) T1w RAS mm of each standard voxel")
    std_mask = File(exists=True, mandatory=True, desc="standard-space voxels of `points`")
    shift = File(exists=True, desc="voxels by which the BOLD reference is distorted")
    direction = traits.Str("j", usedefault=True, desc="of the phase encoding, BIDS")
    use_jacobian = traits.Bool(True, usedefault=True, desc="correct the signal for the shift")
    version = traits.Str(mandatory=True, desc="kernel version")


class ResampleSeriesOutputSpec(TraitedSpec):
    """Outputs of `ResampleSeries`."""

    series = File(exists=True, desc="(n_volumes, n_voxels) float32, .npy")
    mask = File(exists=True, desc="brain voxels inside the field of view of every volume")
    tsnr = File(exists=True, desc="(n_voxels,) temporal signal-to-noise ratio, .npy")
    boldref_std = File(exists=True, desc="temporal mean in standard space")


class ResampleSeries(SimpleInterface):
    """Correct slice timing, then take every volume from raw to standard space at once.

    Of several echoes each is taken there, and their weighted mean is the series.
    """

    input_spec = ResampleSeriesInputSpec
    output_spec = ResampleSeriesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.dataset.checks import read_bold
        from rls_bids.interfaces.images import load_mask, save_mask, save_masked
        from rls_bids.numerics.confounds import temporal_snr
        from rls_bids.numerics.resample import resample_series

        folder = Path(runtime.cwd)
        mask, mask_affine = load_mask(self.inputs.std_mask)
        to_boldref, points = np.load(self.inputs.t1w_to_boldref), np.load(self.inputs.points)
        matrices = np.load(self.inputs.matrices) @ to_boldref
        shift, piling, axis = _distortion(self.inputs, points, to_boldref)

        def resampled(path: str) -> Any:
            series, affine = read_bold(path)
            series = _in_step(series[self.inputs.dummy_scans :], self.inputs)
            return resample_series(series, affine, points, matrices, shift, axis)

        if self.inputs.echoes:
            data, inside = _combined(self.inputs.echoes, self.inputs.echo_times, resampled, folder)
        else:
            data, inside = resampled(self.inputs.in_file)
        data *= piling
        inside &= data.std(axis=0) > 0  # what never varies carries no signal: outside the image
        data = np.ascontiguousarray(data[:, inside])
        mask[mask] = inside
        np.save(folder / "series.npy", data)
        np.save(folder / "tsnr.npy", temporal_snr(data))
        mask_file = folder / "mask.nii.gz"
        save_mask(mask, mask_affine, mask_file)
        save_masked(data.mean(axis=0), mask, mask_affine, folder / "boldref_std.nii.gz")
        for name in ("series", "tsnr"):
            self._results[name] = str(folder / f"{name}.npy")
        for name in ("mask", "boldref_std"):
            self._results[name] = str(folder / f"{name}.nii.gz")
        return runtime


def _combined(
    paths: Sequence[str],
    echo_times: Sequence[float],
    resampled: Callable[[str], Any],
    folder: Path,
) -> tuple[Any, Any]:
    """Combine echoes at the points of the standard grid, with one of them in memory at a time."""
    import numpy as np

    from rls_bids.numerics.echoes import combination_weights

    means, is_inside = [], []
    for index, path in enumerate(paths):
        data, inside = resampled(path)
        means.append(data.mean(axis=0))
        is_inside.append(inside)
        np.save(folder / f"echo_{index}.npy", data)
    weights = combination_weights(np.stack(means), echo_times)
    combined = np.zeros_like(data)
    del data
    for index, weight in enumerate(weights):
        place = folder / f"echo_{index}.npy"
        for volume, values in enumerate(np.load(place, mmap_mode="r")):
            combined[volume] += weight * values
        place.unlink()
    return combined, np.logical_and.reduce(is_inside)


def _distortion(inputs: Any, points: Any, to_boldref: Any) -> tuple[Any, Any, int]:
    """Return shift (voxels) and change of signal at the points, and the axis of the shift."""
    import numpy as np

    from rls_bids.interfaces.images import load_volume
    from rls_bids.numerics.fieldmap import axis_and_sign, jacobian, sample_field
    from rls_bids.numerics.resample import NO_SHIFT

    axis, _ = axis_and_sign(inputs.direction)
    if not inputs.shift:
        return NO_SHIFT, np.float32(1.0), axis
    shift, affine = load_volume(inputs.shift)
    at = points @ to_boldref[:3, :3].T + to_boldref[:3, 3]
    at_points = sample_field(shift, affine, at)
    if not inputs.use_jacobian:
        return at_points, np.float32(1.0), axis
    return at_points, sample_field(jacobian(shift, axis), affine, at), axis


def _in_step(series: Any, inputs: Any) -> Any:
    """Shift every slice to the middle of the slice acquisitions, where their times are known."""
    if not inputs.slice_timing:
        return series
    from rls_bids.numerics.fieldmap import axis_and_sign
    from rls_bids.numerics.slicetiming import correct_slice_timing, mid_slice_time

    axis, sign = axis_and_sign(inputs.slice_encoding_direction)
    return correct_slice_timing(
        series,
        inputs.slice_timing,
        inputs.repetition_time,
        slice_axis=axis,
        reversed_axis=sign < 0,
        reference_time=mid_slice_time(inputs.slice_timing),
    )


class UnmaskSeriesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `UnmaskSeries`."""

    series = File(exists=True, mandatory=True, desc="(n_volumes, n_voxels) .npy")
    mask = File(exists=True, mandatory=True, desc="voxels of `series`")
    repetition_time = traits.Float(mandatory=True, desc="s")


class UnmaskSeriesOutputSpec(TraitedSpec):
    """Outputs of `UnmaskSeries`."""

    out_file = File(exists=True, desc="4D image, 0 outside the mask")


class UnmaskSeries(SimpleInterface):
    """Turn a masked series into a 4D image, for users who want it on disk."""

    input_spec = UnmaskSeriesInputSpec
    output_spec = UnmaskSeriesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import nibabel as nib
        import numpy as np

        from rls_bids.interfaces.images import STANDARD_CODE, load_mask

        mask, affine = load_mask(self.inputs.mask)
        data = np.load(self.inputs.series)
        volumes = np.zeros((*mask.shape, len(data)), dtype=np.float32)
        volumes[mask] = data.T
        image = nib.Nifti1Image(volumes, affine)
        image.set_sform(affine, code=STANDARD_CODE)
        image.set_qform(affine, code=STANDARD_CODE)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = self.inputs.repetition_time
        path = Path(runtime.cwd) / "bold.nii.gz"
        nib.save(image, path)
        self._results["out_file"] = str(path)
        return runtime
