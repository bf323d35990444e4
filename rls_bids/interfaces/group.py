"""The general linear model over participants' maps."""

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.interfaces.manifest import save_manifest

FDR_LEVEL = 0.05
Z_FORMING = 3.2905  # two-sided p = .001


class FitGroupMapsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `FitGroupMaps`."""

    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="one map a participant")
    design_file = File(exists=True, mandatory=True, desc="one row a participant, same order")
    contrast = traits.List(traits.Float(), mandatory=True, desc="one weight a design column")
    n_first = traits.Int(mandatory=True, desc="participants in the first group")
    n_second = traits.Int(mandatory=True, desc="participants in the second group")
    version = traits.Str(mandatory=True, desc="kernel version")


class FitGroupMapsOutputSpec(TraitedSpec):
    """Outputs of `FitGroupMaps`."""

    manifest = File(exists=True, desc="effect, variance, t, z, p and g maps")
    clusters = File(exists=True, desc="local maxima, .tsv")


class FitGroupMaps(SimpleInterface):
    """Fit every voxel that all participants have, and list the maxima."""

    input_spec = FitGroupMapsInputSpec
    output_spec = FitGroupMapsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import STANDARD_CODE, load_volume, save_volume
        from rls_bids.interfaces.tables import load_table
        from rls_bids.numerics.effects import hedges_g
        from rls_bids.numerics.glm import fdr, fit

        first = load_volume(self.inputs.in_files[0])
        maps = np.stack([load_volume(path).data for path in self.inputs.in_files])
        mask = (maps != 0).all(axis=0)  # participants' maps are 0 outside their field of view
        design = np.column_stack(list(load_table(self.inputs.design_file).values()))
        result = fit(maps[:, mask], design, np.array(self.inputs.contrast))
        g, lower, upper = hedges_g(result.t, result.df, self.inputs.n_first, self.inputs.n_second)
        values = {
            "effect": result.effect,
            "variance": result.variance,
            "t": result.t,
            "z": result.z,
            "p_uncorrected": result.p,
            "p_fdr": fdr(result.p),
            "hedgesg": g,
            "hedgesg_ciLower": lower,
            "hedgesg_ciUpper": upper,
        }
        folder = Path(runtime.cwd)
        n_found = int((values["p_fdr"] < FDR_LEVEL).sum())
        metadata = {
            "DegreesOfFreedom": int(result.df),
            "NumberOfVoxels": int(mask.sum()),
            "NumberOfVoxelsFdr05": n_found,
        }
        entries = []
        for key, vector in values.items():
            # p images are 1 where nothing was tested, so that a threshold never selects it
            volume = np.full(mask.shape, 1.0 if key.startswith("p_") else 0.0, dtype=np.float32)
            volume[mask] = vector
            save_volume(volume, first.affine, folder / f"{key}.nii.gz", code=STANDARD_CODE)
            entries.append({"key": key, "file": f"{key}.nii.gz", "metadata": metadata})
        self._results["manifest"] = save_manifest(entries, folder)
        self._results["clusters"] = _maxima(values, mask, first, folder)
        return runtime


def _maxima(values: dict[str, Any], mask: Any, grid: Any, folder: Path) -> str:
    """Write the local maxima of both signs, with what the maps hold there."""
    import nibabel as nib
    import numpy as np
    from nilearn.reporting import get_clusters_table

    def image(key: str) -> nib.Nifti1Image:
        volume = np.zeros(mask.shape)
        volume[mask] = values[key]
        return nib.Nifti1Image(volume, grid.affine)

    table = get_clusters_table(image("z"), Z_FORMING, two_sided=True)
    points = table[["X", "Y", "Z"]].to_numpy(dtype=float).reshape(-1, 3)
    voxels = nib.affines.apply_affine(np.linalg.inv(grid.affine), points).round().astype(int)
    for key in ("t", "p_uncorrected", "p_fdr", "hedgesg", "hedgesg_ciLower", "hedgesg_ciUpper"):
        table[key] = image(key).get_fdata()[tuple(voxels.T)]
    path = folder / "clusters.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    return str(path)
