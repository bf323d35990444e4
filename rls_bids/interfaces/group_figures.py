"""Pictures of one comparison of maps: all of z, and what survives."""

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
from rls_bids.interfaces.figures import marks_of
from rls_bids.interfaces.group import CORRECTED, LEVEL
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.measure import seed_record

FADE_Z = 2.0
HOW = {
    "tfce": "p ≤ .05, family-wise (TFCE)",
    "cluster": "p ≤ .05, family-wise (cluster mass)",
    "voxel": "p ≤ .05, family-wise (voxels)",
    "fdr": "false discovery rate ≤ .05",
}
NOTHING = "no voxel survives"


class PlotGroupMapInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotGroupMap`."""

    manifest = File(exists=True, mandatory=True, desc="maps of the comparison")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    correction = traits.Enum(*CORRECTED, mandatory=True, desc="what survives")
    title = traits.Str(mandatory=True, desc="heading")
    subtitle = traits.Str("", usedefault=True, desc="below the heading")
    seeds = traits.List(
        traits.Dict(), mandatory=True, desc="the seed, its members first; empty: a local measure"
    )
    base_dir = traits.Str(mandatory=True, desc="output directory")
    whole_path = traits.Str(mandatory=True, desc="finished path of the map without threshold")
    corrected_path = traits.Str(mandatory=True, desc="finished path of what survives")


class PlotGroupMap(SimpleInterface):
    """Draw z without threshold, with what survives outlined, and what survives alone."""

    _always_run = True
    input_spec = PlotGroupMapInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.figures.group import plot_corrected_map, plot_group_map
        from rls_bids.figures.maps import MapLook
        from rls_bids.interfaces.images import load_volume, save_volume

        given, folder = self.inputs, Path(runtime.cwd)
        maps = {entry["key"]: entry["file"] for entry in load_manifest(given.manifest)}
        seeds = {plain["name"]: seed_record(plain) for plain in given.seeds}
        marks = [mark for own in list(seeds.values())[-1:] for mark in marks_of(own, seeds)]
        z, affine = load_volume(maps["z"])
        survives = load_volume(maps[f"p_{CORRECTED[given.correction]}"]).data <= LEVEL
        region = save_volume(survives, affine, folder / "survives.nii.gz", dtype=np.uint8)
        left = save_volume(np.where(survives, z, 0), affine, folder / "left.nii.gz")
        base = Path(given.base_dir)
        whole = MapLook(title=given.title, subtitle=given.subtitle, unit="z", threshold=FADE_Z)
        n = f"{int(survives.sum()):,} voxels" if survives.any() else NOTHING
        alone = MapLook(
            title=given.title,
            subtitle=f"{given.subtitle}: {HOW[given.correction]}, {n}",
            unit="z",
            threshold=0.0,
        )
        atomic_write(
            base / given.whole_path,
            lambda path: plot_group_map(
                maps["z"], given.template, marks, whole, path, significant=region
            ),
        )
        atomic_write(
            base / given.corrected_path,
            lambda path: plot_corrected_map(left, given.template, marks, alone, path),
        )
        return runtime
