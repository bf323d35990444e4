"""Dual regression: load the usable runs of a session and given network maps, save a map each."""

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

from rls_bids.dataset.description import read_json
from rls_bids.interfaces.manifest import save_manifest
from rls_bids.interfaces.measure import load_runs, save_maps, seed_record, session_metadata


class DualRegressionInputSpec(BaseInterfaceInputSpec):
    """Inputs of `DualRegression`; the lists have one entry a usable run."""

    denoised = InputMultiObject(File(exists=True), mandatory=True, desc="residuals, .npy")
    smoothed = InputMultiObject(File(exists=True), mandatory=True, desc="smoothed residuals")
    mask = InputMultiObject(File(exists=True), mandatory=True, desc="voxels of the series")
    tsnr = InputMultiObject(File(exists=True), mandatory=True, desc="before denoising, .npy")
    status = InputMultiObject(File(exists=True), mandatory=True, desc="what is left, .json")
    space = traits.Str(mandatory=True, desc="standard space of the series")
    seeds = traits.List(traits.Dict(), mandatory=True, desc="records of all maps of the file")
    wanted = traits.List(traits.Str(), mandatory=True, desc="names of the maps to write")
    version = traits.Str(mandatory=True, desc="kernel version")


class DualRegressionOutputSpec(TraitedSpec):
    """Outputs of `DualRegression`."""

    manifest = File(exists=True, desc="Fisher z of every wanted map, or why it is missing")


class DualRegression(SimpleInterface):
    """Fit network maps to each run and combine their maps over the runs of a session."""

    input_spec = DualRegressionInputSpec
    output_spec = DualRegressionOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import load_mask
        from rls_bids.measures.dualregression import MEASURE, compute
        from rls_bids.numerics.seedmaps import Grid
        from rls_bids.resources.networkmaps import maps_on_grid

        seeds = [seed_record(plain) for plain in self.inputs.seeds]
        masks = [load_mask(path) for path in self.inputs.mask]
        grid = Grid(mask=np.any([mask for mask, _ in masks], axis=0), affine=masks[0][1])
        path, given = str(seeds[0].mask), seeds[0].given_space
        indices = [seed.index for seed in seeds]
        # Where no run measured, too: how much of a map was measured is told.
        everywhere = np.ones(grid.mask.shape, dtype=bool)
        maps = maps_on_grid(path, indices, everywhere, grid.affine, self.inputs.space, given)
        results = compute(seeds, maps, load_runs(self.inputs), grid)
        metadata = session_metadata([read_json(Path(path)) for path in self.inputs.status])
        stats = [stat.name for stat in MEASURE.stats]
        entries = []
        for name in self.inputs.wanted:
            entries += save_maps(
                name, results[name], metadata, grid, Path(runtime.cwd), stats=stats
            )
        self._results["manifest"] = save_manifest(entries, Path(runtime.cwd))
        return runtime
