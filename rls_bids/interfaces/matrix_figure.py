"""The picture of a correlation matrix as a node."""

from functools import partial
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.dataset.description import atomic_write
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.tables import load_table

WORDS = "{shown} of {n} parcels, {df} residual degrees of freedom; ordered by {what}."


class PlotMatrixInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotMatrix`."""

    manifest = File(exists=True, mandatory=True, desc="tables of `Matrices`")
    atlas = traits.Str(mandatory=True, desc="name, for the title")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    path = traits.Str(mandatory=True, desc="finished relative path")


class PlotMatrix(SimpleInterface):
    """Draw the Pearson correlations, ordered by network or, without one, by lobe."""

    _always_run = True
    input_spec = PlotMatrixInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.figures.matrix import plot_matrix

        entries = {entry["key"]: entry for entry in load_manifest(self.inputs.manifest)}
        entry = entries["pearsoncorrelation"]
        if not entry["file"]:
            return runtime
        told = entry["metadata"]
        what = "Network" if any(node["Network"] for node in told["Nodes"]) else "Lobe"
        n, n_missing = len(told["Nodes"]), len(told["MissingNodes"])
        words = WORDS.format(
            shown=n - n_missing, n=n, df=told["DegreesOfFreedom"], what=what.lower()
        )
        draw = partial(
            plot_matrix,
            np.array(list(load_table(entry["file"]).values())),
            [node[what] or "" for node in told["Nodes"]],
            f"Correlation of the parcels of {self.inputs.atlas}",
            words,
        )
        atomic_write(Path(self.inputs.base_dir, self.inputs.path), draw)
        return runtime
