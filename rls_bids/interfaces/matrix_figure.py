"""The pictures of a correlation matrix, and of connections that differ, as nodes."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.dataset.description import atomic_write
from rls_bids.interfaces.group_tables import LEVEL
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.tables import load_table

if TYPE_CHECKING:
    from rls_bids.figures.edges import EdgeValues

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


class PlotGroupEdgesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotGroupEdges`."""

    manifest = File(exists=True, mandatory=True, desc="of `GroupMatrices`")
    atlas = traits.Str(mandatory=True, desc="as it was asked for")
    title = traits.Str(mandatory=True, desc="of the figure")
    subtitle = traits.Str(mandatory=True, desc="smaller, below the title")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    path = traits.Str(mandatory=True, desc="finished relative path")


class PlotGroupEdges(SimpleInterface):
    """Draw z of every connection, ordered by network or, without one, by lobe."""

    _always_run = True
    input_spec = PlotGroupEdgesInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.edges import plot_edge_matrix
        from rls_bids.interfaces.group_graphs import parcel_sets

        given = self.inputs
        values, names = _edge_values(given.manifest)
        groups = parcel_sets(given.atlas, names, "network")
        groups = groups if any(groups) else parcel_sets(given.atlas, names, "lobe")
        words = {"title": given.title, "subtitle": given.subtitle}
        draw = partial(plot_edge_matrix, values, groups, words)
        atomic_write(Path(given.base_dir, given.path), draw)
        return runtime


class PlotConnectomeInputSpec(PlotGroupEdgesInputSpec):
    """Inputs of `PlotConnectome`."""

    space = traits.Str(mandatory=True, desc="of the template")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")


class PlotConnectome(SimpleInterface):
    """Draw the connections of surviving networks where they are."""

    _always_run = True
    input_spec = PlotConnectomeInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.edges import plot_connectome
        from rls_bids.resources.atlas_grid import parcel_centres
        from rls_bids.resources.atlases import find_atlas
        from rls_bids.resources.parcels import load_parcels

        given = self.inputs
        values, names = _edge_values(given.manifest)
        atlas = find_atlas(given.atlas)
        known = [parcel.name for parcel in load_parcels(atlas)]
        centres = parcel_centres(atlas, given.space)[[known.index(name) for name in names]]
        words = {"title": given.title, "subtitle": given.subtitle}
        draw = partial(plot_connectome, values, centres, given.template, words)
        atomic_write(Path(given.base_dir, given.path), draw)
        return runtime


def _edge_values(manifest: str) -> "tuple[EdgeValues, list[str]]":
    """Read what is drawn, and the names of the nodes; networks survive by their intensity."""
    import numpy as np

    from rls_bids.figures.edges import EdgeValues

    entries = {entry["key"]: entry for entry in load_manifest(manifest)}
    tables = {
        key: load_table(entries[key]["file"]) for key in ("z", "p_fwe", "p_intensity", "label")
    }
    square = {key: np.array(list(table.values())) for key, table in tables.items()}
    in_network = square["p_intensity"] <= LEVEL
    values = EdgeValues(
        z=np.nan_to_num(square["z"]),
        in_network=in_network,
        alone=square["p_fwe"] <= LEVEL,
        n_networks=len(np.unique(square["label"][in_network])),
    )
    return values, list(tables["z"])
