"""Group ICA of denoised series, its components matched to given network maps."""

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

from rls_bids.interfaces.measure import seed_record
from rls_bids.interfaces.tables import save_table
from rls_bids.numerics import matching

VERSION = f"1-{matching.VERSION}"
N_COMPONENTS = 12
NO_TEMPLATE = "n/a"


class GroupICAInputSpec(BaseInterfaceInputSpec):
    """Inputs of `GroupICA`."""

    series = InputMultiObject(
        File(exists=True), mandatory=True, desc="denoised 4D images, one a participant and run"
    )
    mask = File(exists=True, mandatory=True, desc="voxels that all of them have")
    n_components = traits.Int(N_COMPONENTS, usedefault=True, desc="how many networks")
    smoothing_fwhm_mm = traits.Float(6.0, usedefault=True, desc="of the series; 0: none")
    random_seed = traits.Int(0, usedefault=True, desc="start of the random numbers")
    templates = traits.List(traits.Dict(), desc="records of network maps of one file")
    space = traits.Str(mandatory=True, desc="standard space of the series")
    version = traits.Str(mandatory=True, desc="kernel version")


class GroupICAOutputSpec(TraitedSpec):
    """Outputs of `GroupICA`; both files together are network maps for dual regression."""

    components = File(exists=True, desc="4D image, one component a volume")
    table = File(exists=True, desc="index, name, template and spatial correlation, .tsv")


class GroupICA(SimpleInterface):
    """Find networks in the series of all participants by canonical ICA (Varoquaux 2010).

    nilearn's CanICA (10.1016/j.neuroimage.2010.02.010) with a fixed seed and without thresholds.
    A component that has a template gets its name, and its sign so that they correlate positively;
    the others are signed by their skewness.
    """

    input_spec = GroupICAInputSpec
    output_spec = GroupICAOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import STANDARD_CODE, load_mask, save_volume

        mask, affine = load_mask(self.inputs.mask)
        maps = _components(self.inputs)[:, mask]
        names, table = _named(maps, mask, affine, self.inputs)
        volume = np.zeros((*mask.shape, len(maps)), dtype=np.float32)
        volume[mask] = (maps * table.pop("sign")[:, None]).T
        folder = Path(runtime.cwd)
        path = save_volume(volume, affine, folder / "components.nii.gz", code=STANDARD_CODE)
        save_table({"index": np.arange(1, len(maps) + 1), "name": names, **table},
                   folder / "components.tsv")  # fmt: skip
        self._results["components"] = str(path)
        self._results["table"] = str(folder / "components.tsv")
        return runtime


def _components(inputs: Any) -> Any:
    """Return the components, (n_components, X, Y, Z)."""
    import numpy as np
    from nilearn.decomposition import CanICA

    ica = CanICA(
        n_components=inputs.n_components,
        mask=inputs.mask,
        smoothing_fwhm=inputs.smoothing_fwhm_mm or None,
        threshold=None,
        standardize="zscore_sample",
        standardize_confounds=False,
        detrend=False,
        random_state=inputs.random_seed,
    )
    ica.fit(list(inputs.series))
    return np.moveaxis(ica.components_img_.get_fdata(dtype=np.float32), -1, 0)


def _named(maps: Any, mask: Any, affine: Any, inputs: Any) -> tuple[Any, dict[str, Any]]:
    """Return names of the components, and their templates, correlations and signs."""
    import numpy as np

    from rls_bids.numerics.matching import match_maps
    from rls_bids.resources.networkmaps import maps_on_grid

    width = len(str(len(maps)))
    names = [f"IC{number:0{width}d}" for number in range(1, len(maps) + 1)]
    centred = maps - maps.mean(axis=1, keepdims=True)
    sign = np.where((centred**3).sum(axis=1) < 0, -1.0, 1.0)
    template, r = np.full(len(maps), NO_TEMPLATE, dtype=object), np.full(len(maps), np.nan)
    seeds = [seed_record(plain) for plain in inputs.templates or ()]
    if seeds:
        path, given = str(seeds[0].mask), seeds[0].given_space
        indices = [seed.index for seed in seeds]
        there = maps_on_grid(path, indices, mask, affine, inputs.space, given)[:, mask]
        found = match_maps(maps, there)
        for number, index in enumerate(found.template):
            if index >= 0:
                names[number] = template[number] = seeds[index].name
                sign[number] = -1.0 if found.r[number] < 0 else 1.0
                r[number] = abs(found.r[number])
    shown = np.array([NO_TEMPLATE if np.isnan(each) else f"{each:.4f}" for each in r])
    table = {"template": template.astype(str), "spatial_correlation": shown, "sign": sign}
    return np.array(names), table
