"""Group ICA of denoised series, its components matched to templates of networks."""

import warnings
from functools import partial
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

from rls_bids.dataset.description import atomic_write
from rls_bids.errors import InputDataError
from rls_bids.interfaces.manifest import load_manifest, save_manifest
from rls_bids.interfaces.measure import seed_record
from rls_bids.interfaces.tables import load_rows, save_table

N_STARTS = 10
NO_TEMPLATE = "n/a"

OTHER_GRID = "{path} is not on the grid of {first}, but group ICA needs series of one grid."
OTHER_GRID_HINT = "Run the participant level again with the same --output-spaces."
NOTHING_SHARED = "No voxel varies in all {n} series, {first} among them."

COLUMNS = {
    "index": {"Description": "Volume of the image of components, from 1."},
    "name": {"Description": "Name of the component: of its template, or its number."},
    "template": {"Description": "Template that the component was matched to, n/a without."},
    "spatial_correlation": {"Description": "Pearson r with this template over the voxels."},
    "nearest_template": {"Description": "Template with the largest absolute correlation."},
    "nearest_correlation": {"Description": "Pearson r with the nearest template."},
}


class CommonMaskInputSpec(BaseInterfaceInputSpec):
    """Inputs of `CommonMask`."""

    series = InputMultiObject(File(exists=True), mandatory=True, desc="4D images of one grid")
    version = traits.Str(mandatory=True, desc="kernel version")


class CommonMaskOutputSpec(TraitedSpec):
    """Outputs of `CommonMask`."""

    mask = File(exists=True, desc="voxels that vary in every series")


class CommonMask(SimpleInterface):
    """Find the voxels that all series have; one series is in memory at a time."""

    input_spec = CommonMaskInputSpec
    output_spec = CommonMaskOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import load_volume, save_mask

        paths = list(self.inputs.series)
        mask = affine = None
        for path in paths:
            data, own = load_volume(path, n_dims=4)
            varies = (data != data[..., :1]).any(axis=3)
            if mask is None or affine is None:
                mask, affine = varies, own
            elif varies.shape != mask.shape or not np.allclose(own, affine, atol=1e-3):
                message = OTHER_GRID.format(path=path, first=paths[0])
                raise InputDataError(message, OTHER_GRID_HINT)
            mask &= varies
        if mask is None or affine is None or not mask.any():
            raise InputDataError(NOTHING_SHARED.format(n=len(paths), first=paths[0]))
        path = Path(runtime.cwd) / "mask.nii.gz"
        self._results["mask"] = save_mask(mask, affine, path)
        return runtime


class GroupICAInputSpec(BaseInterfaceInputSpec):
    """Inputs of `GroupICA`."""

    series = InputMultiObject(
        File(exists=True), mandatory=True, desc="denoised 4D images, one a participant and run"
    )
    mask = File(exists=True, mandatory=True, desc="voxels that all of them have")
    n_components = traits.Int(mandatory=True, desc="how many networks")
    smoothing_fwhm_mm = traits.Float(mandatory=True, desc="of the series; 0: none")
    random_seed = traits.Int(mandatory=True, desc="start of the random numbers")
    templates = traits.List(traits.Dict(), desc="records of network maps of one file")
    template_atlas = traits.Str(desc="atlas of spheres whose networks are the templates otherwise")
    space = traits.Str(mandatory=True, desc="standard space of the series")
    version = traits.Str(mandatory=True, desc="kernel version")


class GroupICAOutputSpec(TraitedSpec):
    """Outputs of `GroupICA`."""

    manifest = File(exists=True, desc="components and their table: network maps")


class GroupICA(SimpleInterface):
    """Find networks in the series of all participants by canonical ICA (Varoquaux 2010).

    nilearn's CanICA (10.1016/j.neuroimage.2010.02.010) with a fixed seed and without thresholds,
    as z over the voxels. A component that has a template gets its name, and its sign so that they
    correlate positively; the others are signed by their skewness.
    """

    input_spec = GroupICAInputSpec
    output_spec = GroupICAOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import STANDARD_CODE, load_mask, save_volume
        from rls_bids.measures.ica import LEAST_R
        from rls_bids.numerics.matching import match_maps, orient

        mask, affine = load_mask(self.inputs.mask)
        raw, n_unfinished = _components(self.inputs)
        names, short, templates = _templates(self.inputs, mask, affine)
        found = match_maps(raw[:, mask], templates, LEAST_R)
        maps, sign = orient(raw[:, mask], found)
        volume = np.zeros((*mask.shape, len(maps)), dtype=np.float32)
        volume[mask] = maps.T
        folder = Path(runtime.cwd)
        save_volume(volume, affine, folder / "components.nii.gz", code=STANDARD_CODE)
        save_table(_table(found, sign, names, short), folder / "components.tsv")
        about = {
            "NumberOfVoxels": int(mask.sum()),
            "NumberMatched": int((found.template >= 0).sum()),
            "StartsNotConverged": n_unfinished,
            "Starts": N_STARTS,
        }
        # The table first: without the image nothing is taken for finished.
        files = {"components_table": "components.tsv", "components": "components.nii.gz"}
        entries = [{"key": key, "file": file, "metadata": about} for key, file in files.items()]
        self._results["manifest"] = save_manifest(entries, folder)
        return runtime


def _components(inputs: Any) -> tuple[Any, int]:
    """Return the components, (n_components, X, Y, Z), and how many starts did not converge."""
    import numpy as np
    from nilearn.decomposition import CanICA

    ica = CanICA(
        n_components=inputs.n_components,
        mask=inputs.mask,
        smoothing_fwhm=inputs.smoothing_fwhm_mm or None,
        n_init=N_STARTS,
        threshold=None,
        standardize="zscore_sample",
        standardize_confounds=False,
        detrend=False,
        random_state=inputs.random_seed,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ica.fit(list(inputs.series))
    others = [each for each in caught if each.category.__name__ != "ConvergenceWarning"]
    for each in others:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    components = np.moveaxis(ica.components_img_.get_fdata(dtype=np.float32), -1, 0)
    return components, len(caught) - len(others)


def _templates(inputs: Any, mask: Any, affine: Any) -> tuple[list[str], list[str], Any]:
    """Return names of the templates, the same within their file, and their maps in the mask."""
    import numpy as np

    from rls_bids.resources.atlases import find_atlas
    from rls_bids.resources.networkmaps import SET, maps_on_grid
    from rls_bids.resources.networktemplates import network_templates

    seeds = [seed_record(plain) for plain in inputs.templates or ()]
    if not seeds:
        atlas = find_atlas(inputs.template_atlas)
        made = network_templates(atlas, mask, affine, inputs.space)
        return list(made), list(made), np.stack(list(made.values()))
    path, given = str(seeds[0].mask), seeds[0].given_space
    indices = [seed.index for seed in seeds]
    maps = maps_on_grid(path, indices, mask, affine, inputs.space, given)[:, mask]
    names = [seed.name for seed in seeds]
    file = seeds[0].network.removeprefix(SET.format(name=""))
    return names, [name.removeprefix(f"{file}_") for name in names], maps


def _table(found: Any, sign: Any, names: list[str], short: list[str]) -> dict[str, Any]:
    """Return the table of components: names, templates and correlations, after turning."""
    import numpy as np

    n = len(sign)
    numbers = [f"IC{number:0{len(str(n))}d}" for number in range(1, n + 1)]
    # A template may be a component of another decomposition, which is called like ours.
    taken = {number.casefold() for number in numbers}
    own = [
        full if each.casefold() in taken else each for full, each in zip(names, short, strict=True)
    ]
    has = found.template >= 0
    r = found.correlations * sign[:, None]
    nearest = np.abs(np.nan_to_num(r)).argmax(axis=1)
    pairs = list(zip(found.template, has, strict=True))
    with_template = np.where(has, r[np.arange(n), found.template], np.nan)
    return {
        "index": np.arange(1, n + 1),
        "name": np.array(
            [own[t] if is_one else numbers[i] for i, (t, is_one) in enumerate(pairs)]
        ),
        "template": np.array([names[t] if is_one else NO_TEMPLATE for t, is_one in pairs]),
        "spatial_correlation": np.array([_cell(value) for value in with_template]),
        "nearest_template": np.array([names[t] for t in nearest]),
        "nearest_correlation": np.array([_cell(value) for value in r[np.arange(n), nearest]]),
    }


def _cell(value: float) -> str:
    return f"{value:.4f}" if value == value else NO_TEMPLATE  # noqa: PLR0124 - not a number


class PlotComponentsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotComponents`."""

    manifest = File(exists=True, mandatory=True, desc="of `GroupICA`")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    subtitle = traits.Str(mandatory=True, desc="smaller, below the title")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    paths = traits.List(traits.Str(), mandatory=True, desc="finished relative paths, in order")


class PlotComponents(SimpleInterface):
    """Draw every component through its peak."""

    _always_run = True
    input_spec = PlotComponentsInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.components import plot_component
        from rls_bids.interfaces.images import load_volume

        given = self.inputs
        files = {entry["key"]: entry["file"] for entry in load_manifest(given.manifest)}
        data, affine = load_volume(files["components"], n_dims=4)
        rows = load_rows(files["components_table"])
        for index, (row, path) in enumerate(zip(rows, given.paths, strict=True)):
            draw = partial(
                plot_component,
                data[..., index],
                affine,
                given.template,
                (row["name"], f"{_words(row)}; {given.subtitle}"),
            )
            atomic_write(Path(given.base_dir, path), draw)
        return runtime


def _words(row: dict[str, str]) -> str:
    """Say which template a component has, or which is nearest."""
    near, r = row["nearest_template"], row["nearest_correlation"]
    if row["template"] == NO_TEMPLATE:
        return f"no template; nearest {near}, r = {_rounded(r)}"
    return f"template {row['template']}, r = {_rounded(row['spatial_correlation'])}"


def _rounded(text: str) -> str:
    return text if text == NO_TEMPLATE else f"{float(text):.2f}".replace("-", "−")
