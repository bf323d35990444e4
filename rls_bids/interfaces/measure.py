"""Measures: load the usable runs of a session, call one measure, save its maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from rls_bids.dataset.description import read_json
from rls_bids.interfaces.manifest import save_manifest
from rls_bids.records import Seed

if TYPE_CHECKING:
    from rls_bids.numerics.seedmaps import Grid, RunSeries, SeedResult

TISSUES = ("GM", "WM", "CSF")
MAP_WORDS = "{MinutesKept:.1f} minutes kept, {DegreesOfFreedom} residual degrees of freedom"


def seed_record(plain: Mapping[str, Any]) -> Seed:
    """Return the record of a seed that travelled as a dictionary of plain values."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
    }
    return Seed(**values)


class RunsInputSpec(BaseInterfaceInputSpec):
    """What nodes with a map a seed are given; the lists have one entry a usable run."""

    denoised = InputMultiObject(File(exists=True), mandatory=True, desc="residuals, .npy")
    smoothed = InputMultiObject(File(exists=True), mandatory=True, desc="smoothed residuals")
    mask = InputMultiObject(File(exists=True), mandatory=True, desc="voxels of the series")
    tsnr = InputMultiObject(File(exists=True), mandatory=True, desc="before denoising, .npy")
    status = InputMultiObject(File(exists=True), mandatory=True, desc="what is left, .json")
    space = traits.Str(mandatory=True, desc="standard space of the series")
    seeds = traits.List(traits.Dict(), mandatory=True, desc="records as plain dictionaries")
    wanted = traits.List(traits.Str(), mandatory=True, desc="names of the seeds to write")
    version = traits.Str(mandatory=True, desc="kernel version")


class SeedMapsInputSpec(RunsInputSpec):
    """Inputs of `SeedMaps`."""

    GM_std = File(exists=True, desc="probability on the standard grid, if known")
    WM_std = File(exists=True, desc="probability on the standard grid, if known")
    CSF_std = File(exists=True, desc="probability on the standard grid, if known")


class SeedMapsOutputSpec(TraitedSpec):
    """Outputs of `SeedMaps`."""

    manifest = File(exists=True, desc="Fisher z and r of every wanted seed, or why it is missing")


class SeedMaps(SimpleInterface):
    """Correlate seeds with every voxel, combined over the runs of a session."""

    input_spec = SeedMapsInputSpec
    output_spec = SeedMapsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.measures.seed import compute

        seeds = [seed_record(plain) for plain in self.inputs.seeds]
        grid = _grid(self.inputs, seeds)
        results = compute(seeds, load_runs(self.inputs), grid)
        metadata = session_metadata([read_json(Path(path)) for path in self.inputs.status])
        entries = []
        for name in self.inputs.wanted:
            entries += save_maps(name, results[name], metadata, grid, Path(runtime.cwd))
        self._results["manifest"] = save_manifest(entries, Path(runtime.cwd))
        return runtime


def load_runs(inputs: Any) -> "list[RunSeries]":
    """Load the residuals of every usable run."""
    import numpy as np

    from rls_bids.interfaces.images import load_mask
    from rls_bids.numerics.seedmaps import RunSeries

    return [
        RunSeries(
            unsmoothed=np.load(denoised, mmap_mode="r"),
            smoothed=np.load(smoothed, mmap_mode="r"),
            mask=load_mask(mask)[0],
            tsnr=np.load(tsnr),
            residual_df=int(read_json(Path(status))["ResidualDegreesOfFreedom"]),
        )
        for denoised, smoothed, mask, tsnr, status in zip(
            inputs.denoised, inputs.smoothed, inputs.mask, inputs.tsnr, inputs.status, strict=True
        )
    ]


def _grid(inputs: Any, seeds: Sequence[Seed]) -> "Grid":
    """Return the grid on which the maps of all runs are put together."""
    import numpy as np

    from rls_bids.interfaces.images import load_mask, load_volume
    from rls_bids.numerics.seedmaps import Grid
    from rls_bids.resources.regions import seed_region

    masks = [load_mask(path) for path in inputs.mask]
    affine = masks[0][1]
    return Grid(
        mask=np.any([mask for mask, _ in masks], axis=0),
        affine=affine,
        regions={
            seed.mask: seed_region(seed, masks[0][0].shape, affine, inputs.space)
            for seed in seeds
            if seed.mask
        },
        tissues={
            name: load_volume(getattr(inputs, f"{name}_std")).data
            for name in TISSUES
            if isdefined(getattr(inputs, f"{name}_std"))
        },
    )


def session_metadata(statuses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum and average over the usable runs, weighted by kept time, for sidecar and group."""
    minutes = sum(status["MinutesKept"] for status in statuses)
    mean_fd = sum(
        status["MeanFramewiseDisplacement"] * status["MinutesKept"] for status in statuses
    )
    return {
        "NumberOfRuns": len(statuses),
        "NumberOfVolumesKept": sum(status["NumberOfVolumesKept"] for status in statuses),
        "MinutesKept": round(minutes, 3),
        "MeanFramewiseDisplacement": round(mean_fd / minutes, 5),
    }


def save_maps(
    name: str,
    result: "SeedResult",
    metadata: dict[str, Any],
    grid: "Grid",
    folder: Path,
    stats: Sequence[str] = ("pearsonr", "fisherz"),
) -> list[dict[str, Any]]:
    """Save the maps of one seed and return their manifest entries."""
    from dataclasses import asdict

    import numpy as np

    from rls_bids.interfaces.images import STANDARD_CODE, save_volume

    own: dict[str, Any] = {
        **metadata,
        "DegreesOfFreedom": result.residual_df,
        "SeedCoverage": [asdict(region) for region in result.regions],
        "LeftOut": list(result.left_out),
    }
    entries = []
    for stat in stats:
        values = result.r if stat == "pearsonr" else result.z
        file = "" if values is None else f"{name}_{stat}.nii.gz"
        about = own if file else {**own, "Missing": result.missing}
        if values is not None:
            volume = np.zeros(grid.mask.shape, dtype=np.float32)
            volume[grid.mask] = np.nan_to_num(values)  # 0 marks what has no value
            save_volume(volume, grid.affine, folder / file, code=STANDARD_CODE)
        entries.append({"key": f"{name}:{stat}", "file": file, "metadata": about})
    return entries
