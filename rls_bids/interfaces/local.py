"""Local measures: load the usable runs of a session, call one measure, save its maps."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.dataset.description import atomic_write, read_json
from rls_bids.errors import RlsBidsError
from rls_bids.interfaces.manifest import load_manifest, save_manifest
from rls_bids.interfaces.measure import MAP_WORDS, session_metadata

if TYPE_CHECKING:
    from rls_bids.numerics.local import LocalRun

FADE_Z = 0.5
OF_ANOTHER_RUN = "{measure} of run {run} has no value: {reason}"


def map_key(stat: str, scale: str) -> str:
    """Return how one copy of a map is called in the manifest.

    Examples
    --------
    >>> map_key("alff", ""), map_key("alff", "zstd")
    ('alff', 'alff:zstd')
    """
    return f"{stat}:{scale}" if scale else stat


class LocalMapsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `LocalMaps`; the lists have one entry a usable run."""

    filtered = InputMultiObject(File(exists=True), mandatory=True, desc="residuals, .npy")
    unfiltered = InputMultiObject(File(exists=True), mandatory=True, desc="without band-pass")
    sample_mask = InputMultiObject(File(exists=True), mandatory=True, desc="volumes kept, .npy")
    mask = InputMultiObject(File(exists=True), mandatory=True, desc="voxels of the series")
    status = InputMultiObject(File(exists=True), mandatory=True, desc="what is left, .json")
    repetition_times = traits.Dict(mandatory=True, desc="s, by the name of the run")
    measure = traits.Str(mandatory=True, desc="name in the table of measures")
    options = traits.Dict(desc="settings that the measure needs")
    space = traits.Str(mandatory=True, desc="standard space of the series")
    smoothing_fwhm_mm = traits.Float(mandatory=True, desc="of the maps; 0: none")
    version = traits.Str(mandatory=True, desc="kernel version")


class LocalMapsOutputSpec(TraitedSpec):
    """Outputs of `LocalMaps`."""

    manifest = File(exists=True, desc="every map with its copies, or why it is missing")


class LocalMaps(SimpleInterface):
    """Compute one local measure, averaged over the runs of a session, smoothed, and scaled."""

    input_spec = LocalMapsInputSpec
    output_spec = LocalMapsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.measures import MEASURES

        measure = MEASURES[self.inputs.measure]
        statuses = [read_json(Path(path)) for path in self.inputs.status]
        metadata = session_metadata(statuses) | {
            "DegreesOfFreedom": sum(one["ResidualDegreesOfFreedom"] for one in statuses)
        }
        maps: dict[str, list[tuple[Any, Any, float]]] = {stat.name: [] for stat in measure.stats}
        reasons = []
        runs = _runs(self.inputs, is_of_grey=measure.is_of_grey)
        for number, (run, status) in enumerate(zip(runs, statuses, strict=True), 1):
            try:
                found = measure.compute(run, self.inputs.options) if measure.compute else {}
            except RlsBidsError as error:
                reasons.append(
                    OF_ANOTHER_RUN.format(measure=measure.name, run=number, reason=error.message)
                )
                continue
            for name, values in found.items():
                maps[name].append((values, run.mask, status["MinutesKept"]))
        entries = []
        for name, own in maps.items():
            entries += _save(name, own, metadata, reasons, self.inputs, Path(runtime.cwd))
        self._results["manifest"] = save_manifest(entries, Path(runtime.cwd))
        return runtime


def _runs(inputs: Any, *, is_of_grey: bool) -> "Sequence[LocalRun]":
    """Load the residuals of every usable run."""
    import numpy as np

    from rls_bids.interfaces.images import load_mask
    from rls_bids.numerics.local import LocalRun
    from rls_bids.resources.tissue import grey_matter_on_grid

    runs = []
    for filtered, unfiltered, sample_mask, mask_file, status in zip(
        inputs.filtered,
        inputs.unfiltered,
        inputs.sample_mask,
        inputs.mask,
        inputs.status,
        strict=True,
    ):
        mask, affine = load_mask(mask_file)
        grid = (mask.shape, affine.tobytes(), inputs.space)
        counted = grey_matter_on_grid(*grid) if is_of_grey else mask
        run = LocalRun(
            filtered=np.load(filtered, mmap_mode="r"),
            unfiltered=np.load(unfiltered, mmap_mode="r"),
            sample_mask=np.load(sample_mask),
            mask=mask,
            counted=counted[mask],
            repetition_time=inputs.repetition_times[read_json(Path(status))["Run"]],
        )
        runs.append(run)
    return runs


def _save(
    stat: str,
    maps: Sequence[tuple[Any, Any, float]],
    metadata: dict[str, Any],
    reasons: Sequence[str],
    inputs: Any,
    folder: Path,
) -> list[dict[str, Any]]:
    """Save a map with its copies and return their manifest entries."""
    import numpy as np

    from rls_bids.interfaces.images import STANDARD_CODE, load_mask, save_volume, voxel_sizes
    from rls_bids.numerics.local import SCALES, average_runs, scaled_copies, smooth_map

    _, affine = load_mask(inputs.mask[0])
    copies: dict[str, Any] = {}
    missing = " ".join(reasons)
    if maps:
        values, masks, minutes = zip(*maps, strict=True)
        mean = smooth_map(
            average_runs(values, masks, minutes), voxel_sizes(affine), inputs.smoothing_fwhm_mm
        )
        try:
            copies = scaled_copies(mean)
        except ValueError as error:
            missing = str(error)
    entries = []
    for scale in SCALES:
        file = f"{map_key(stat, scale).replace(':', '_')}.nii.gz" if copies else ""
        about = metadata | ({"LeftOut": list(reasons)} if file else {"Missing": missing})
        if file:
            # 0 marks what has no value
            volume = np.nan_to_num(copies[scale]).astype(np.float32)
            save_volume(volume, affine, folder / file, code=STANDARD_CODE)
        entries.append({"key": map_key(stat, scale), "file": file, "metadata": about})
    return entries


class PlotLocalMapsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotLocalMaps`."""

    manifest = File(exists=True, mandatory=True, desc="maps of one measure")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    titles = traits.Dict(mandatory=True, desc="stat to title")
    paths = traits.Dict(mandatory=True, desc="stat to finished relative path")


class PlotLocalMaps(SimpleInterface):
    """Draw each map of a measure as z over its voxels, straight to its finished path."""

    _always_run = True
    input_spec = PlotLocalMapsInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.maps import MapLook, plot_seed_map
        from rls_bids.figures.planes import load_volume

        template = load_volume(self.inputs.template)
        maps = {entry["key"]: entry for entry in load_manifest(self.inputs.manifest)}
        for stat, path in self.inputs.paths.items():
            entry = maps[map_key(stat, "zstd")]
            if not entry["file"]:
                continue
            look = MapLook(
                title=self.inputs.titles[stat],
                subtitle=MAP_WORDS.format(**entry["metadata"]),
                unit="z over the voxels",
                threshold=FADE_Z,
            )
            draw = partial(plot_seed_map, entry["file"], template, [], look)
            atomic_write(Path(self.inputs.base_dir, path), draw)
        return runtime
