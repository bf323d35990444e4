"""Where things are: T1w image to the standard head, BOLD reference to the T1w image.

ITK transforms work in LPS+ mm and are converted in two places only: `field_points` reads a
displacement field, :func:`~rls_bids.interfaces.images.save_itk_transforms` writes matrices.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.interfaces.anat import run_ants

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TISSUES = ("GM", "WM", "CSF")
FIXED_SIZE_MM = 2.0


class NormalizeToTemplateInputSpec(BaseInterfaceInputSpec):
    """Inputs of `NormalizeToTemplate`."""

    in_file = File(exists=True, mandatory=True, desc="bias-corrected T1w image")
    mask = File(exists=True, mandatory=True, desc="brain mask")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    sloppy = traits.Bool(False, usedefault=True, desc="coarse levels only, for tests")
    random_seed = traits.Int(0, usedefault=True, desc="of the metric's sampling")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of ITK")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class NormalizeToTemplateOutputSpec(TraitedSpec):
    """Outputs of `NormalizeToTemplate`."""

    t1w_to_std = File(exists=True, desc="composite transform that brings images there, .h5")
    std_to_t1w = File(exists=True, desc="its inverse, .h5")


class NormalizeToTemplate(SimpleInterface):
    """Symmetric diffeomorphic registration of the brain to the standard brain.

    Rigid and affine steps by mutual information, then SyN by local cross-correlation on a 2 mm
    grid (Avants 2008, 10.1016/j.media.2007.06.004).
    """

    input_spec = NormalizeToTemplateInputSpec
    output_spec = NormalizeToTemplateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.interfaces.images import Volume, load_mask, load_volume, stage_for_itk

        folder = Path(runtime.cwd)
        head = load_volume(self.inputs.in_file)
        mask, _ = load_mask(self.inputs.mask)
        moving = stage_for_itk(Volume(head.data * mask, head.affine), folder / "moving.nii.gz")
        template = _coarse(load_volume(self.inputs.template))
        fixed = stage_for_itk(template, folder / "fixed.nii.gz")
        prefix = folder / "t1w_to_std"
        run_ants(
            "antsRegistration",
            normalization_arguments(
                fixed,
                moving,
                str(prefix),
                sloppy=self.inputs.sloppy,
                random_seed=self.inputs.random_seed,
            ),
            n_threads=self.inputs.n_threads,
            path=self.inputs.in_file,
        )
        self._results["t1w_to_std"] = f"{prefix}Composite.h5"
        self._results["std_to_t1w"] = f"{prefix}InverseComposite.h5"
        return runtime


def normalization_arguments(
    fixed: str,
    moving: str,
    prefix: str,
    *,
    sloppy: bool = False,
    random_seed: int = 0,
    deformable: bool = True,
) -> list[str]:
    """Return the options of antsRegistration for a head and a template.

    Parameters
    ----------
    fixed, moving : str
        Brains: the standard one at 2 mm, the participant's at any resolution.
    prefix : str
        How the names of the two composite transforms start.
    sloppy : bool
        Coarse levels only.
    random_seed : int
        Taken plus one, since ITK takes zero for the time of day.
    deformable : bool
        False ends after the affine step, to compare with.
    """
    linear = f"MI[{fixed},{moving},1,32,Regular,0.25]"
    rounds = "200x100x0" if sloppy else "500x250x100"
    arguments = f"-d 3 --float 1 -u 1 -z 1 --random-seed {random_seed + 1} -v 0".split()
    arguments += ["-w", "[0.005,0.995]", "-r", f"[{fixed},{moving},1]"]
    for transform in ("Rigid[0.1]", "Affine[0.1]"):
        arguments += ["-t", transform, "-m", linear, "-c", f"[{rounds},1e-6,10]"]
        arguments += ["-f", "4x3x2", "-s", "2x1x1vox"]
    if deformable:
        metric = f"MI[{fixed},{moving},1,32]" if sloppy else f"CC[{fixed},{moving},1,3]"
        rounds = "30x10x0" if sloppy else "60x40x15"
        arguments += ["-t", "SyN[0.2,3,0]", "-m", metric, "-c", f"[{rounds},1e-6,10]"]
        arguments += ["-f", "4x2x1", "-s", "2x1x0vox"]
    return [*arguments, "--write-composite-transform", "1", "-o", prefix]


def _coarse(head: Any) -> Any:
    """Return a template at the grid size of the registration, or as it is when no finer."""
    import numpy as np

    from rls_bids.interfaces.images import Volume, voxel_sizes
    from rls_bids.resources.templates import box_average

    sizes = np.array(voxel_sizes(head.affine))
    if (sizes > FIXED_SIZE_MM - 0.5).any():
        return head
    affine = head.affine.copy()
    affine[:3, :3] *= FIXED_SIZE_MM / sizes
    affine[:3, 3] += head.affine[:3, :3] @ (FIXED_SIZE_MM / sizes - 1) / 2
    x, y, z = np.ceil(np.array(head.data.shape) * sizes / FIXED_SIZE_MM).astype(int)
    return Volume(box_average(head.data, head.affine, (x, y, z), affine), affine)


class StandardPointsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `StandardPoints`."""

    transform = File(exists=True, mandatory=True, desc="T1w image to standard space, .h5")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    space = traits.Str(mandatory=True, desc="name of the standard space")
    resolution = traits.Str(mandatory=True, desc="of the standard grid, mm")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of ITK")
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
        from rls_bids.resources.templates import standard_head

        folder = Path(runtime.cwd)
        _, mask, affine = standard_head(
            self.inputs.template, self.inputs.space, self.inputs.resolution
        )
        points = field_points(
            self.inputs.transform, mask.shape, affine, folder, n_threads=self.inputs.n_threads
        )
        np.save(folder / "points.npy", points[mask])
        self._results["points"] = str(folder / "points.npy")
        self._results["std_mask"] = save_mask(mask, affine, folder / "std_mask.nii.gz")
        return runtime


def field_points(
    transform: str,
    shape: tuple[int, ...],
    affine: "NDArray[np.float64]",
    folder: Path,
    *,
    n_threads: int = 1,
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
    grid = stage_for_itk(empty, folder / "grid.nii.gz")
    out = folder / "field.nii"
    run_ants(
        "antsApplyTransforms",
        ["-d", "3", "--float", "0", "-i", grid, "-r", grid, "-t", transform, "-o", f"[{out},1]"],
        n_threads=n_threads,
        path=transform,
    )
    field = np.asarray(nib.load(out).dataobj, np.float64).reshape(*shape, 3)
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
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    space = traits.Str(mandatory=True, desc="name of the standard space")
    resolution = traits.Str(mandatory=True, desc="of the standard grid, mm")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of ITK")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class ResampleToStandardOutputSpec(TraitedSpec):
    """Outputs of `ResampleToStandard`, all on the standard grid."""

    t1w_std = File(exists=True, desc="T1w image, cubic B-spline, not below zero")
    mask_std = File(exists=True, desc="brain mask, nearest voxel")
    dseg_std = File(exists=True, desc="tissue labels, nearest voxel")
    GM_std = File(exists=True, desc="probability of grey matter, linear")
    WM_std = File(exists=True, desc="probability of white matter, linear")
    CSF_std = File(exists=True, desc="probability of cerebrospinal fluid, linear")


class ResampleToStandard(SimpleInterface):
    """Bring what the anatomy found to the standard grid."""

    input_spec = ResampleToStandardInputSpec
    output_spec = ResampleToStandardOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import STANDARD_CODE, load_volume, save_volume
        from rls_bids.numerics.resample import resample_volume
        from rls_bids.resources.templates import standard_grid

        folder = Path(runtime.cwd)
        shape, affine = standard_grid(self.inputs.space, self.inputs.resolution)
        points = field_points(
            self.inputs.transform, shape, affine, folder, n_threads=self.inputs.n_threads
        ).reshape(-1, 3)
        orders = {"t1w": 3, "mask": 0, "dseg": 0, **dict.fromkeys(TISSUES, 1)}
        for name, order in orders.items():
            volume = load_volume(getattr(self.inputs, name))
            values = resample_volume(volume.data, volume.affine, points, order=order)
            self._results[f"{name}_std"] = save_volume(
                np.maximum(values, 0).reshape(shape),
                affine,
                folder / f"{name}_std.nii.gz",
                dtype=np.float32 if order else np.uint8,
                code=STANDARD_CODE,
            )
        return runtime
