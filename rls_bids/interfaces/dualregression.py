"""Dual regression: load the usable runs of a session and given network maps, save a map each."""

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    File,
    SimpleInterface,
    TraitedSpec,
)

from rls_bids.dataset.description import read_json
from rls_bids.interfaces.manifest import save_manifest
from rls_bids.interfaces.measure import (
    RunsInputSpec,
    load_runs,
    save_maps,
    seed_record,
    session_metadata,
)


class DualRegressionOutputSpec(TraitedSpec):
    """Outputs of `DualRegression`."""

    manifest = File(exists=True, desc="Fisher z of every wanted map, or why it is missing")


class DualRegression(SimpleInterface):
    """Fit network maps to each run and combine their maps over the runs of a session."""

    input_spec = RunsInputSpec
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
