"""Where things are in the standard head: the T1w image, its tissues, and every voxel there.

ITK transforms work in LPS+ mm and are converted in two places only: `field_points` reads a
displacement field, :func:`~rls_bids.interfaces.images.save_itk_transforms` writes matrices.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from rls_bids.interfaces.anat import FINE_HEAD_MM, run_ants

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREFIX = "t1w_to_std"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How a head is deformed: grid of the standard brain (mm), ANTs metric, rounds by level."""

    size_mm: float
    metric: str
    radius_or_bins: int
    rounds: str
    shrink: str


SCHEMES = {
    "fine": Scheme(size_mm=2.0, metric="CC", radius_or_bins=2, rounds="40x20x5", shrink="4x2x1"),
    "coarse": Scheme(size_mm=3.0, metric="CC", radius_or_bins=2, rounds="30x15x4", shrink="3x2x1"),
    "sloppy": Scheme(
        size_mm=3.0, metric="MI", radius_or_bins=32, rounds="20x10x0", shrink="3x2x1"
    ),
}


class NormalizeToTemplateInputSpec(BaseInterfaceInputSpec):
    """Inputs of `NormalizeToTemplate`."""

    in_file = File(exists=True, mandatory=True, desc="bias-corrected T1w image")
    mask = File(exists=True, mandatory=True, desc="brain mask")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    sloppy = traits.Bool(False, usedefault=True, desc="coarse levels only, for tests")
    random_seed = traits.Int(0, usedefault=True, desc="of the metric's sampling")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class NormalizeToTemplateOutputSpec(TraitedSpec):
    """Outputs of `NormalizeToTemplate`."""

    t1w_to_std = File(exists=True, desc="composite transform that brings images there, .h5")
    std_to_t1w = File(exists=True, desc="its inverse, .h5")


class NormalizeToTemplate(SimpleInterface):
    """Symmetric diffeomorphic registration of the brain to the standard brain.

    Rigid and affine steps by mutual information, then SyN by local cross-correlation (Avants 2008,
    10.1016/j.media.2007.06.004) on a 2 mm grid, or 3 mm when the head is coarser than 1.75 mm.
    """

    input_spec = NormalizeToTemplateInputSpec
    output_spec = NormalizeToTemplateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.interfaces.images import (
            Volume,
            load_mask,
            load_volume,
            stage_for_itk,
            voxel_sizes,
        )
        from rls_bids.resources.grids import coarse_brain

        folder = Path(runtime.cwd)
        head = load_volume(self.inputs.in_file)
        mask, _ = load_mask(self.inputs.mask)
        stage_for_itk(Volume(head.data * mask, head.affine), folder / "moving.nii.gz")
        is_fine = max(voxel_sizes(head.affine)) < FINE_HEAD_MM
        scheme = SCHEMES["sloppy" if self.inputs.sloppy else "fine" if is_fine else "coarse"]
        template = Volume(*coarse_brain(*load_volume(self.inputs.template), scheme.size_mm))
        stage_for_itk(template, folder / "fixed.nii.gz")
        run_ants(
            "antsRegistration",
            normalization_arguments(scheme, self.inputs.random_seed),
            folder=folder,
            path=self.inputs.in_file,
        )
        self._results["t1w_to_std"] = str(folder / f"{PREFIX}Composite.h5")
        self._results["std_to_t1w"] = str(folder / f"{PREFIX}InverseComposite.h5")
        return runtime


def normalization_arguments(
    scheme: Scheme, random_seed: int = 0, *, is_deformable: bool = True
) -> list[str]:
    """Return the options of antsRegistration for a head and a template.

    The brains are ``fixed.nii.gz``, the standard one at ``scheme.size_mm``, and ``moving.nii.gz``,
    the participant's; the composite transforms begin with ``PREFIX``.

    Parameters
    ----------
    scheme : Scheme
        Metric and rounds.
    random_seed : int
        Taken plus one, since ITK takes zero for the time of day.
    is_deformable : bool
        False ends after the affine step, to compare with.
    """
    images = "fixed.nii.gz,moving.nii.gz"
    arguments = ["-d", "3", "--float", "1", "-u", "1", "-w", "[0.005,0.995]"]
    arguments += ["--random-seed", str(random_seed + 1), "-r", f"[{images},1]"]
    for transform in ("Rigid[0.1]", "Affine[0.1]"):
        arguments += ["-t", transform, "-m", f"MI[{images},1,32,Regular,0.25]"]
        arguments += ["-c", "[100x50,1e-6,10]", "-f", "4x3", "-s", "2x1vox"]
    if is_deformable:
        metric = f"{scheme.metric}[{images},1,{scheme.radius_or_bins}]"
        arguments += ["-t", "SyN[0.4,3,0]", "-m", metric, "-c", f"[{scheme.rounds},1e-6,10]"]
        arguments += ["-f", scheme.shrink, "-s", "2x1x0vox"]
    return [*arguments, "--write-composite-transform", "1", "-o", PREFIX]


class StandardPointsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `StandardPoints`."""

    transform = File(exists=True, desc="T1w image to standard space, .h5; none: it is in it")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    space = traits.Str(mandatory=True, desc="name of the standard space")
    resolution = traits.Str(mandatory=True, desc="of the standard grid, mm")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class StandardPointsOutputSpec(TraitedSpec):
    """Outputs of `StandardPoints`."""

    points = File(exists=True, desc="(n, 3) float32 T1w RAS mm of each voxel of `std_mask`, .npy")
    std_mask = File(exists=True, desc="brain of the standard head on the standard grid")


class StandardPoints(SimpleInterface):
    """Tell for every standard-space brain voxel where the same tissue lies in the T1w image."""

    input_spec = StandardPointsInputSpec
    output_spec = StandardPointsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import save_mask
        from rls_bids.numerics.resample import voxel_points
        from rls_bids.resources.grids import standard_head

        folder = Path(runtime.cwd)
        _, mask, affine = standard_head(
            self.inputs.template, self.inputs.space, self.inputs.resolution
        )
        if isdefined(self.inputs.transform):
            points = field_points(self.inputs.transform, mask.shape, affine, folder)[mask]
        else:
            points = voxel_points(mask, affine).astype(np.float32)
        np.save(folder / "points.npy", points)
        self._results["points"] = str(folder / "points.npy")
        self._results["std_mask"] = save_mask(mask, affine, folder / "std_mask.nii.gz")
        return runtime


class T1wPointsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `T1wPoints`."""

    mask = File(exists=True, mandatory=True, desc="brain mask of the T1w image")
    size_mm = traits.Str(mandatory=True, desc="edge of the voxels wanted")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class T1wPoints(SimpleInterface):
    """Lay a grid of another voxel size over the T1w image, along its axes, and keep the brain."""

    input_spec = T1wPointsInputSpec
    output_spec = StandardPointsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import load_volume, save_mask
        from rls_bids.numerics.resample import resample_volume, voxel_points
        from rls_bids.resources.grids import HALF, same_box

        folder = Path(runtime.cwd)
        brain = load_volume(self.inputs.mask)
        shape, affine = same_box(brain.data.shape, brain.affine, float(self.inputs.size_mm))
        centres = voxel_points(np.ones(shape, bool), affine)
        share = resample_volume(brain.data.astype(np.float32), brain.affine, centres, order=1)
        mask = share.reshape(shape) >= HALF
        np.save(folder / "points.npy", voxel_points(mask, affine).astype(np.float32))
        self._results["points"] = str(folder / "points.npy")
        self._results["std_mask"] = save_mask(mask, affine, folder / "t1w_mask.nii.gz")
        return runtime


def field_points(
    transform: str,
    shape: tuple[int, ...],
    affine: "NDArray[np.float64]",
    folder: Path,
) -> "NDArray[np.float32]":
    """Map every voxel centre of a grid through an ITK transform.

    ITK gives the displacement d in LPS+ mm; in RAS+ mm the point is p + (−d₀, −d₁, d₂).

    Parameters
    ----------
    transform : str
        Composite transform to the space of the grid.
    shape, affine
        The grid; ``affine`` to RAS+ mm.
    folder : Path
        For temporary files.

    Returns
    -------
    (X, Y, Z, 3) float32
        RAS+ mm in the space that the transform comes from.
    """
    import nibabel as nib
    import numpy as np

    from rls_bids.interfaces.images import Volume, stage_for_itk
    from rls_bids.numerics.resample import voxel_points

    empty = Volume(np.zeros(shape, np.float32), affine)
    grid, out, link = folder / "grid.nii.gz", folder / "field.nii", folder / "transform.h5"
    stage_for_itk(empty, grid)
    link.unlink(missing_ok=True)
    link.symlink_to(Path(transform).resolve())
    options = ["-d", "3", "--float", "0", "-i", grid.name, "-r", grid.name]
    run_ants(
        "antsApplyTransforms",
        [*options, "-t", link.name, "-o", f"[{out.name},1]"],
        folder=folder,
        path=transform,
    )
    image: Any = nib.load(out)
    field = np.asarray(image.dataobj, np.float64).reshape(*shape, 3)
    out.unlink()
    centres = voxel_points(np.ones(shape, bool), affine).reshape(*shape, 3)
    return (centres + field * (-1.0, -1.0, 1.0)).astype(np.float32)


class ResampleToStandardInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ResampleToStandard`."""

    transform = File(exists=True, mandatory=True, desc="T1w image to standard space, .h5")
    t1w = File(exists=True, mandatory=True, desc="bias-corrected T1w image")
    mask = File(exists=True, mandatory=True, desc="brain mask")
    dseg = File(exists=True, mandatory=True, desc="tissue labels")
    GM = File(exists=True, mandatory=True, desc="probability of grey matter")
    WM = File(exists=True, mandatory=True, desc="probability of white matter")
    CSF = File(exists=True, mandatory=True, desc="probability of cerebrospinal fluid")
    space = traits.Str(mandatory=True, desc="name of the standard space")
    resolution = traits.Str(mandatory=True, desc="of the standard grid, mm")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class ResampleToStandardOutputSpec(TraitedSpec):
    """Outputs of `ResampleToStandard`, all on the standard grid."""

    t1w_std = File(exists=True, desc="T1w image, cubic B-spline, not below zero")
    mask_std = File(exists=True, desc="brain mask, nearest voxel")
    dseg_std = File(exists=True, desc="tissue labels, nearest voxel")
    GM_std = File(exists=True, desc="probability of grey matter, linear")
    WM_std = File(exists=True, desc="probability of white matter, linear")
    CSF_std = File(exists=True, desc="probability of cerebrospinal fluid, linear")
    modulated = File(exists=True, desc="grey matter times the local volume: its amount")


class ResampleToStandard(SimpleInterface):
    """Bring what the anatomy found to the standard grid."""

    input_spec = ResampleToStandardInputSpec
    output_spec = ResampleToStandardOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import STANDARD_CODE, load_volume, save_volume
        from rls_bids.numerics.resample import local_volume, resample_volume
        from rls_bids.resources.grids import standard_grid

        folder = Path(runtime.cwd)
        shape, affine = standard_grid(self.inputs.space, self.inputs.resolution)
        points = field_points(self.inputs.transform, shape, affine, folder)
        flat = np.asarray(points.reshape(-1, 3), dtype=np.float64)
        orders: dict[str, Literal[0, 1, 3]] = {"t1w": 3, "mask": 0, "dseg": 0}
        orders |= {"GM": 1, "WM": 1, "CSF": 1}
        for name, order in orders.items():
            volume = load_volume(getattr(self.inputs, name))
            values = resample_volume(volume.data, volume.affine, flat, order)
            values = np.maximum(values, 0).reshape(shape)
            path, kind = folder / f"{name}_std.nii.gz", np.float32 if order else np.uint8
            self._results[f"{name}_std"] = save_volume(
                values, affine, path, dtype=kind, code=STANDARD_CODE
            )
            if name == "GM":
                amount, path = values * local_volume(points, affine), folder / "modulated.nii.gz"
                self._results["modulated"] = save_volume(amount, affine, path, code=STANDARD_CODE)
        return runtime
