"""Figures as nodes: each calls functions of `rls_bids.figures` on the files of one stage."""

from functools import partial
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from rls_bids.dataset.description import atomic_write, read_json
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.measure import MAP_WORDS, seed_record
from rls_bids.records import Seed

MARK_MM = 3.0


class PlotAnatomyInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotAnatomy`."""

    t1w = File(exists=True, mandatory=True, desc="T1w image")
    mask = File(exists=True, mandatory=True, desc="brain mask")
    dseg = File(exists=True, mandatory=True, desc="tissue labels")
    t1w_std = File(exists=True, mandatory=True, desc="T1w image on the standard grid")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")


class PlotAnatomyOutputSpec(TraitedSpec):
    """Outputs of `PlotAnatomy`."""

    brain_mask = File(exists=True, desc="outline of the brain mask")
    tissue = File(exists=True, desc="borders of the tissues")
    normalization = File(exists=True, desc="borders of the template on the normalised head")


class PlotAnatomy(SimpleInterface):
    """Draw what a user checks of the anatomy."""

    input_spec = PlotAnatomyInputSpec
    output_spec = PlotAnatomyOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.anat import plot_brain_mask, plot_normalization, plot_tissue

        given, folder = self.inputs, Path(runtime.cwd)
        files = {
            name: folder / f"{name}.svg" for name in ("brain_mask", "tissue", "normalization")
        }
        plot_brain_mask(given.t1w, given.mask, files["brain_mask"])
        plot_tissue(given.t1w, given.dseg, files["tissue"])
        plot_normalization(given.template, given.t1w_std, files["normalization"])
        self._results |= {name: str(path) for name, path in files.items()}
        return runtime


class PlotCoregistrationInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotCoregistration`."""

    t1w = File(exists=True, mandatory=True, desc="T1w image")
    boldref = File(exists=True, mandatory=True, desc="BOLD reference on the T1w grid")
    mask = File(exists=True, mandatory=True, desc="brain mask of the T1w image")
    dseg = File(exists=True, mandatory=True, desc="tissue labels of the T1w image")


class PlotCoregistrationOutputSpec(TraitedSpec):
    """Outputs of `PlotCoregistration`."""

    coregistration = File(exists=True, desc="T1w borders on the BOLD reference")


class PlotCoregistration(SimpleInterface):
    """Draw the borders of the T1w image on the BOLD reference."""

    input_spec = PlotCoregistrationInputSpec
    output_spec = PlotCoregistrationOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.bold import plot_coregistration

        given, path = self.inputs, Path(runtime.cwd) / "coregistration.svg"
        plot_coregistration(given.t1w, given.boldref, given.mask, given.dseg, path)
        self._results["coregistration"] = str(path)
        return runtime


class PlotDistortionInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotDistortion`."""

    boldref = File(exists=True, mandatory=True, desc="BOLD reference on the T1w grid, corrected")
    distorted = File(exists=True, mandatory=True, desc="the same as acquired")
    mask = File(exists=True, mandatory=True, desc="brain mask of the T1w image")
    dseg = File(exists=True, mandatory=True, desc="tissue labels of the T1w image")


class PlotDistortionOutputSpec(TraitedSpec):
    """Outputs of `PlotDistortion`."""

    distortion = File(exists=True, desc="the BOLD reference before and after correction")


class PlotDistortion(SimpleInterface):
    """Draw the BOLD reference before and after its distortion was taken off."""

    input_spec = PlotDistortionInputSpec
    output_spec = PlotDistortionOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.distortion import plot_distortion

        given, path = self.inputs, Path(runtime.cwd) / "distortion.svg"
        plot_distortion(given.boldref, given.distorted, given.mask, given.dseg, path)
        self._results["distortion"] = str(path)
        return runtime


class PlotMotionInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotMotion`."""

    confounds = File(exists=True, mandatory=True, desc="confounds table")
    repetition_time = traits.Float(mandatory=True, desc="s")
    fd_threshold_mm = traits.Float(mandatory=True, desc="0: nothing is censored")


class PlotMotionOutputSpec(TraitedSpec):
    """Outputs of `PlotMotion`."""

    motion = File(exists=True, desc="translations, rotations, framewise displacement")


class PlotMotion(SimpleInterface):
    """Draw head motion over time."""

    input_spec = PlotMotionInputSpec
    output_spec = PlotMotionOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.figures.bold import plot_motion
        from rls_bids.interfaces.tables import load_table

        table = load_table(self.inputs.confounds)
        names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
        path = Path(runtime.cwd) / "motion.svg"
        plot_motion(
            np.column_stack([table[name] for name in names]), _timing(table, self.inputs), path
        )
        self._results["motion"] = str(path)
        return runtime


def _timing(table: dict[str, Any], inputs: Any) -> Any:
    """Return what the traces of a run share."""
    from rls_bids.figures.bold import Timing
    from rls_bids.numerics.breathing import displacement_of
    from rls_bids.numerics.signal import sample_mask

    fd, plain = displacement_of(table), table["framewise_displacement"]
    return Timing(
        fd_mm=fd,
        with_breathing_mm=None if fd is plain else plain,
        kept=sample_mask(fd, inputs.fd_threshold_mm),
        repetition_time=inputs.repetition_time,
        fd_threshold_mm=inputs.fd_threshold_mm,
    )


class PlotCarpetInputSpec(PlotMotionInputSpec):
    """Inputs of `PlotCarpet`."""

    series = File(exists=True, mandatory=True, desc="before denoising, .npy")
    denoised = File(exists=True, mandatory=True, desc="residuals, .npy")
    mask = File(exists=True, mandatory=True, desc="voxels of the series")
    dseg = File(exists=True, desc="tissue labels on the standard grid; none: all voxels alike")
    status = File(exists=True, mandatory=True, desc="what is left, .json")


class PlotCarpetOutputSpec(TraitedSpec):
    """Outputs of `PlotCarpet`."""

    carpet = File(exists=True, desc="every voxel over time, before and after")


class PlotCarpet(SimpleInterface):
    """Draw every voxel's signal over time, before and after denoising."""

    input_spec = PlotCarpetInputSpec
    output_spec = PlotCarpetOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.bold import plot_carpet
        from rls_bids.interfaces.images import load_mask, tissue_labels
        from rls_bids.interfaces.tables import load_table

        table, dseg = load_table(self.inputs.confounds), self.inputs.dseg
        mask, _ = load_mask(self.inputs.mask)
        status = read_json(Path(self.inputs.status))
        path = Path(runtime.cwd) / "carpet.svg"
        plot_carpet(
            self.inputs.series,
            tissue_labels(dseg if isdefined(dseg) else None, mask),
            table["std_dvars"],
            _timing(table, self.inputs),
            path,
            denoised=self.inputs.denoised,
            title=f"Before and after denoising with {status['Strategy']}",
        )
        self._results["carpet"] = str(path)
        return runtime


class PlotSeedsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotSeeds`."""

    t1w = File(exists=True, mandatory=True, desc="T1w image")
    points = File(exists=True, mandatory=True, desc="(n, 3) T1w RAS mm of each standard voxel")
    std_mask = File(exists=True, mandatory=True, desc="standard-space voxels of `points`")
    space = traits.Str(mandatory=True, desc="standard space of `std_mask` and of the seeds")
    seeds = traits.List(traits.Dict(), mandatory=True, desc="records as plain dictionaries")


class PlotSeedsOutputSpec(TraitedSpec):
    """Outputs of `PlotSeeds`."""

    seeds = File(exists=True, desc="every seed on the T1w image")


class PlotSeeds(SimpleInterface):
    """Draw every seed where it lies in the person's own T1w image."""

    input_spec = PlotSeedsInputSpec
    output_spec = PlotSeedsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.maps import plot_seeds_on_t1w

        seeds, folder = map(seed_record, self.inputs.seeds), Path(runtime.cwd)
        found = [_mark_in_t1w(seed, self.inputs, folder) for seed in seeds]
        marks = [mark for mark in found if mark is not None]
        path = Path(runtime.cwd) / "seeds.svg"
        plot_seeds_on_t1w(self.inputs.t1w, marks, path)
        self._results["seeds"] = str(path)
        return runtime


def _mark_in_t1w(seed: Seed, inputs: Any, folder: Path) -> Any:
    """Return a seed as seen in the T1w image; ``None`` for what has no place."""
    import numpy as np

    from rls_bids.figures.maps import SeedMark
    from rls_bids.interfaces.images import load_mask, save_volume
    from rls_bids.numerics.head import solid
    from rls_bids.numerics.resample import voxel_points
    from rls_bids.resources.regions import seed_region

    if seed.kind in ("mean", "network"):
        return None
    mask, affine = load_mask(inputs.std_mask)
    points = np.load(inputs.points)
    if seed.mask:
        # Voxels of the region where the transform puts them, on a coarse grid without gaps.
        inside = points[seed_region(seed, mask.shape, affine, inputs.space)[mask]]
        if not len(inside):
            return None
        origin = np.floor(inside.min(axis=0)) - 2 * MARK_MM
        grid = np.diag([MARK_MM, MARK_MM, MARK_MM, 1])
        grid[:3, 3] = origin
        voxels = np.rint((inside - origin) / MARK_MM).astype(int)
        volume = np.zeros(voxels.max(axis=0) + 3, dtype=bool)
        volume[tuple(voxels.T)] = True
        volume = solid(volume)
        path = save_volume(volume, grid, folder / f"{seed.name}.nii.gz", dtype=np.uint8)
        return SeedMark(name=seed.name, mask=path, network=seed.network)
    distance = np.linalg.norm(voxel_points(mask, affine) - np.array(seed.centre_mm), axis=1)
    nearest = np.argsort(distance)[:8]
    weights = 1 / np.maximum(distance[nearest], 1e-3)
    x, y, z = weights @ points[nearest] / weights.sum()
    return SeedMark(
        name=seed.name,
        centre_mm=(float(x), float(y), float(z)),
        radius_mm=seed.radius_mm,
        network=seed.network,
    )


class PlotSeedMapsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `PlotSeedMaps`."""

    manifest = File(exists=True, mandatory=True, desc="maps of the seeds")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    seeds = traits.List(traits.Dict(), mandatory=True, desc="records as plain dictionaries")
    base_dir = traits.Str(mandatory=True, desc="output directory")
    paths = traits.Dict(mandatory=True, desc="seed to finished relative path")


class PlotSeedMaps(SimpleInterface):
    """Draw the Fisher z map of every seed that has one, straight to its finished path."""

    _always_run = True
    input_spec = PlotSeedMapsInputSpec
    output_spec = TraitedSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.figures.maps import MapLook, plot_seed_map
        from rls_bids.figures.planes import load_volume

        template = load_volume(self.inputs.template)
        seeds = {plain["name"]: seed_record(plain) for plain in self.inputs.seeds}
        maps = {entry["key"]: entry for entry in load_manifest(self.inputs.manifest)}
        for name, path in self.inputs.paths.items():
            entry = maps[f"{name}:fisherz"]
            if not entry["file"]:
                continue
            draw = partial(
                plot_seed_map,
                entry["file"],
                template,
                marks_of(seeds[name], seeds),
                MapLook(
                    title=f"Connectivity of {name}",
                    subtitle=MAP_WORDS.format(**entry["metadata"]),
                    unit="Fisher z",
                ),
            )
            atomic_write(Path(self.inputs.base_dir, path), draw)
        return runtime


def marks_of(seed: Seed, seeds: dict[str, Seed]) -> list[Any]:
    """Return the spheres of a seed, or of its members, in standard space."""
    from rls_bids.figures.maps import SeedMark

    chosen = [seeds[name] for name in seed.members] or [seed]
    return [
        SeedMark(name=each.name, centre_mm=each.centre_mm, radius_mm=each.radius_mm)
        for each in chosen
        if each.centre_mm
    ]
