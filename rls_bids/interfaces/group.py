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

from rls_bids.errors import InputDataError
from rls_bids.interfaces.manifest import save_manifest

FDR_LEVEL = 0.05
Z_FORMING = 3.2905  # two-sided p = .001

OTHER_GRID = "{path} is not on the grid of {first}."
OTHER_GRID_HINT = "Run the participant level again with the same --output-spaces."
NOTHING_SHARED = "No voxel has a value in all {n} maps, {first} among them."
NO_G = "Hedges g is defined from 2 residual degrees of freedom on; the model has {df}."

_LIMIT = "confidence limit (95 %) of Hedges g at the maximum."
CLUSTER_COLUMNS = {
    "cluster": {"Description": "Number of the cluster (26 neighbours); letters: further maxima."},
    "x_mm": {"Description": "Right is positive.", "Units": "mm"},
    "y_mm": {"Description": "Front is positive.", "Units": "mm"},
    "z_mm": {"Description": "Up is positive.", "Units": "mm"},
    "z": {"Description": "z value at the maximum; its sign is that of the contrast."},
    "size_mm3": {"Description": "Volume of the cluster.", "Units": "mm^3"},
    "t": {"Description": "t at the maximum."},
    "p_uncorrected": {"Description": "Two-sided p at the maximum, not corrected."},
    "p_fdr": {"Description": "p at the maximum, adjusted for the false discovery rate."},
    "hedgesg": {"Description": "Hedges g at the maximum; selected, therefore inflated."},
    "hedgesg_ciLower": {"Description": f"Lower {_LIMIT}"},
    "hedgesg_ciUpper": {"Description": f"Upper {_LIMIT}"},
}


class FitGroupMapsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `FitGroupMaps`."""

    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="one map a participant")
    design_file = File(exists=True, mandatory=True, desc="one row a participant, same order")
    sidecar_file = File(exists=True, mandatory=True, desc="contrast and units of the design")
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

        from rls_bids.interfaces.designs import load_design
        from rls_bids.interfaces.images import STANDARD_CODE, save_volume
        from rls_bids.numerics.glm import fdr, fit
        from rls_bids.numerics.sizes import MIN_DF_OF_G, effect_size

        maps, affine = _load_maps(self.inputs.in_files)
        mask = (maps != 0).all(axis=0)  # participants' maps are 0 outside their field of view
        if not mask.any():
            message = NOTHING_SHARED.format(n=len(maps), first=self.inputs.in_files[0])
            raise InputDataError(message)
        test = load_design(self.inputs.design_file, self.inputs.sidecar_file)
        result = fit(maps[:, mask], test.matrix, test.contrast)
        values = {
            "effect": result.effect,
            "variance": result.variance,
            "t": result.t,
            "z": result.z,
            "p_uncorrected": result.p,
            "p_fdr": fdr(result.p),
        }
        sizes = ("hedgesg", "hedgesg_ciLower", "hedgesg_ciUpper")
        if result.df >= MIN_DF_OF_G:
            g = effect_size(test.size, result.t, (1, int(result.df)), test.scale)
            values |= dict(zip(sizes, g, strict=True))
        # Where the residuals vanish nothing was tested.
        tested = np.isfinite(result.t)
        mask[mask] = tested
        values = {key: vector[tested] for key, vector in values.items()}
        folder = Path(runtime.cwd)
        metadata = {
            "DegreesOfFreedom": int(result.df),
            "NumberOfVoxels": int(mask.sum()),
            "NumberOfVoxelsFdr05": int((values["p_fdr"] < FDR_LEVEL).sum()),
        }
        entries: list[dict[str, Any]] = []
        for key, vector in values.items():
            # p images are 1 where nothing was tested, so that a threshold never selects it
            volume = np.full(mask.shape, 1.0 if key.startswith("p_") else 0.0, dtype=np.float32)
            volume[mask] = vector
            save_volume(volume, affine, folder / f"{key}.nii.gz", code=STANDARD_CODE)
            entries.append({"key": key, "file": f"{key}.nii.gz", "metadata": metadata})
        missing = {**metadata, "Missing": NO_G.format(df=result.df)}
        absent = [key for key in sizes if key not in values]
        entries += [{"key": key, "file": "", "metadata": missing} for key in absent]
        self._results["manifest"] = save_manifest(entries, folder)
        self._results["clusters"] = _maxima(values, mask, affine, folder)
        return runtime


def _load_maps(paths: list[str]) -> tuple[Any, Any]:
    """Return the maps, participants first, and their common affine."""
    import numpy as np

    from rls_bids.interfaces.images import load_volume

    volumes = [load_volume(path) for path in paths]
    first = volumes[0]
    for path, volume in zip(paths, volumes, strict=True):
        is_same = volume.data.shape == first.data.shape
        if not is_same or not np.allclose(volume.affine, first.affine, atol=1e-3):
            message = OTHER_GRID.format(path=path, first=paths[0])
            raise InputDataError(message, OTHER_GRID_HINT)
    return np.stack([volume.data for volume in volumes]), first.affine


def _maxima(values: dict[str, Any], mask: Any, affine: Any, folder: Path) -> str:
    """Write the local maxima of both signs, with what the maps hold there."""
    import nibabel as nib
    import numpy as np

    from rls_bids.interfaces.images import voxel_sizes
    from rls_bids.interfaces.tables import save_table
    from rls_bids.numerics.clusters import local_maxima

    def volume_of(key: str) -> Any:
        volume = np.zeros(mask.shape)
        volume[mask] = values[key]
        return volume

    sizes = voxel_sizes(affine)
    found = local_maxima(volume_of("z"), Z_FORMING, sizes)
    voxels = np.array([one.voxel for one in found], dtype=int).reshape(-1, 3)
    places = nib.affines.apply_affine(affine, voxels)
    columns = {name: places[:, axis] for axis, name in enumerate(("x_mm", "y_mm", "z_mm"))}
    columns["size_mm3"] = np.array([one.n_voxels * np.prod(sizes) for one in found])
    for key in set(CLUSTER_COLUMNS) & set(values):
        columns[key] = volume_of(key)[tuple(voxels.T)]
    names = np.array([one.name for one in found])
    missing = np.full(len(found), np.nan)
    path = folder / "clusters.tsv"
    save_table(
        {key: columns.get(key, names if key == "cluster" else missing) for key in CLUSTER_COLUMNS},
        path,
    )
    return str(path)
