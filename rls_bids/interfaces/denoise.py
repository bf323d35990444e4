"""Confounds, nuisance regression, and the decision whether enough data is left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    Undefined,
    isdefined,
    traits,
)

from rls_bids.dataset.description import read_json, write_json
from rls_bids.errors import RunRefused

if TYPE_CHECKING:
    import numpy as np

REFUSED_MSG = "{who}: too little data is left after denoising with {strategy}: {reasons}."
REFUSED_HINT = (
    "Use a smaller model (-p 6P), a wider or no band (--disable-bandpass-filter), milder "
    "censoring (--fd-thresh), or lower --min-time and --min-df, and say so in your paper."
)
SHORTEST_RUN_S = 60.0
FD = "framewise_displacement"
FD_FILTERED = "framewise_displacement_filtered"


def run_arithmetic(status: Mapping[str, object]) -> str:
    """Return in words how many degrees of freedom one run keeps.

    Examples
    --------
    >>> run_arithmetic({"Run": "run-1", "NumberOfVolumes": 20, "NumberOfVolumesKept": 20,
    ...     "BandDimensions": 10, "NumberOfRegressors": 22, "ResidualDegreesOfFreedom": -12})
    'run-1: 20 volumes, the band keeps 10 dimensions, 22 regressors, -12 left'
    """
    kept = status["NumberOfVolumesKept"]
    censored = "" if kept == status["NumberOfVolumes"] else f" ({kept} kept)"
    return (
        f"{status['Run']}: {status['NumberOfVolumes']} volumes{censored}, "
        f"the band keeps {status['BandDimensions']} dimensions, "
        f"{status['NumberOfRegressors']} regressors, "
        f"{status['ResidualDegreesOfFreedom']} left"
    )


def usable_runs(statuses: Sequence[Mapping[str, object]], min_time_s: float) -> list[int]:
    """Return the positions of the runs that have something left and are not too short.

    A run of under 60 s carries no connectivity, unless the user asks for less in total.
    """
    shortest = min(SHORTEST_RUN_S, min_time_s)
    return [
        index
        for index, status in enumerate(statuses)
        if int(str(status["ResidualDegreesOfFreedom"])) > 0
        and float(str(status["SecondsKept"])) >= shortest
    ]


def refusal(
    statuses: Sequence[Mapping[str, object]],
    *,
    who: str,
    strategy: str,
    min_time_s: float,
    min_df: int,
) -> str:
    """Return why a session cannot be analysed, or an empty string.

    The limits apply to the sum over the usable runs.
    """
    usable = [statuses[index] for index in usable_runs(statuses, min_time_s)]
    seconds = sum(float(str(status["SecondsKept"])) for status in usable)
    left = sum(int(str(status["ResidualDegreesOfFreedom"])) for status in usable)
    reasons = []
    if not usable:
        reasons.append("no run has anything left")
    elif left < min_df:
        reasons.append(f"{left} degrees of freedom over all runs, --min-df asks for {min_df}")
    if usable and seconds < min_time_s:
        reasons.append(f"{seconds:.0f} s over all runs, --min-time asks for {min_time_s:.0f} s")
    if not reasons:
        return ""
    reasons += [run_arithmetic(status) for status in statuses]
    return REFUSED_MSG.format(who=who, strategy=strategy, reasons="; ".join(reasons))


class ComputeConfoundsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ComputeConfounds`."""

    series = File(exists=True, mandatory=True, desc="(n_volumes, n_voxels) .npy")
    mask = File(exists=True, mandatory=True, desc="voxels of `series`")
    parameters = File(exists=True, mandatory=True, desc="(n_volumes, 6) mm and rad, .npy")
    white_matter = File(exists=True, mandatory=True, desc="probability on the standard grid")
    csf = File(exists=True, mandatory=True, desc="probability on the standard grid")
    repetition_time = traits.Float(mandatory=True, desc="s")
    fd_threshold_mm = traits.Float(mandatory=True, desc="0: no outliers")
    motion_filter = traits.Dict(desc="record of the filter of breathing; empty: none")
    version = traits.Str(mandatory=True, desc="kernel version")


class ComputeConfoundsOutputSpec(TraitedSpec):
    """Outputs of `ComputeConfounds`."""

    confounds = File(exists=True, desc="table with fMRIPrep's column names")
    metadata = File(exists=True, desc="how the components were made, .json")
    outliers = File(exists=True, desc="one column per outlier volume")


class ComputeConfounds(SimpleInterface):
    """Compute the confounds table from the unsmoothed series on the standard grid."""

    input_spec = ComputeConfoundsInputSpec
    output_spec = ComputeConfoundsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import load_mask, load_volume
        from rls_bids.interfaces.tables import save_table
        from rls_bids.numerics.breathing import displacement_of
        from rls_bids.numerics.confounds import assemble, outlier_columns

        mask, _ = load_mask(self.inputs.mask)
        table, metadata = assemble(
            np.load(self.inputs.series),
            mask,
            np.load(self.inputs.parameters),
            white_matter=load_volume(self.inputs.white_matter).data,
            csf=load_volume(self.inputs.csf).data,
            repetition_time=self.inputs.repetition_time,
        )
        added, told = without_breathing(
            table, self.inputs.motion_filter, self.inputs.repetition_time
        )
        table, metadata = table | added, metadata | told
        fd = displacement_of(table)
        outliers = outlier_columns(fd, self.inputs.fd_threshold_mm)
        folder = Path(runtime.cwd)
        save_table(table | outliers, folder / "confounds.tsv")
        save_table(outliers, folder / "outliers.tsv", n_rows=len(fd))
        write_json(folder / "confounds.json", metadata)
        self._results["confounds"] = str(folder / "confounds.tsv")
        self._results["outliers"] = str(folder / "outliers.tsv")
        self._results["metadata"] = str(folder / "confounds.json")
        return runtime


def without_breathing(
    table: dict[str, Any], motion_filter: Mapping[str, Any], repetition_time: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the motion columns without breathing, and what the sidecar says of each.

    Both are empty where no filter was asked for.
    """
    if not motion_filter:
        return {}, {}
    from rls_bids.numerics.breathing import MotionFilter, band_seen, filtered_columns

    fields = ("kind", "low_bpm", "high_bpm", "order")
    chosen = MotionFilter(**{name: motion_filter[name] for name in fields})
    columns = filtered_columns(table, chosen, repetition_time)
    low, high = band_seen(chosen, repetition_time)
    told = {
        "MotionFilter": chosen.kind,
        "BandStopBreathsPerMinute": [chosen.low_bpm, chosen.high_bpm or None],
        "BandStopSeenBreathsPerMinute": [round(low, 4), round(high, 4) or None],
        "MotionFilterOrder": chosen.order,
    }
    return columns, {name: told | {"UsedForCensoring": name == FD_FILTERED} for name in columns}


class RegressionInputSpec(BaseInterfaceInputSpec):
    """What says which confounds are fitted, and how."""

    series = File(exists=True, mandatory=True, desc="(n_volumes, n_voxels) .npy")
    confounds = File(exists=True, mandatory=True, desc="table with fMRIPrep's column names")
    label = traits.Str(mandatory=True, desc="what the user calls the strategy")
    strategy = traits.Str(mandatory=True, desc="name of the nuisance regression")
    patterns = traits.List(traits.Str(), desc="columns of a regression that is not built in")
    source = traits.Str("", usedefault=True, nohash=True, desc="file of the patterns")
    repetition_time = traits.Float(mandatory=True, desc="s")
    band_hz = traits.List(traits.Float(), desc="low and high edge; empty: no band-pass")
    filter_order = traits.Int(2, usedefault=True, desc="of the Butterworth filter")
    fd_threshold_mm = traits.Float(mandatory=True, desc="0: no censoring")
    version = traits.Str(mandatory=True, desc="kernel version")


def load_regressors(
    given: Any, table: "Mapping[str, np.ndarray]", *, band_pass: bool
) -> "tuple[list[str], np.ndarray]":
    """Return names and values, (n_volumes, n_regressors), of what a strategy takes."""
    import numpy as np

    from rls_bids.numerics.confounds import fill_missing
    from rls_bids.numerics.regressors import columns_for

    names = columns_for(
        given.strategy,
        list(table),
        band_pass=band_pass,
        patterns=given.patterns,
        source=given.source,
    )
    columns = np.empty((len(next(iter(table.values()))), len(names)))
    for column, name in zip(columns.T, names, strict=True):
        column[:] = table[name]
    return names, fill_missing(columns)


class DenoiseInputSpec(RegressionInputSpec):
    """Inputs of `Denoise`."""

    mask = File(exists=True, mandatory=True, desc="voxels of `series`")
    run = traits.Str(mandatory=True, desc="what to call the run in messages")
    smoothing_fwhm_mm = traits.Float(mandatory=True, desc="0: no smoothing")
    with_unfiltered = traits.Bool(
        default_value=False, usedefault=True, desc="also regress without band-pass"
    )


class DenoiseOutputSpec(TraitedSpec):
    """Outputs of `Denoise`."""

    denoised = File(exists=True, desc="(n_kept, n_voxels) residuals, .npy")
    smoothed = File(exists=True, desc="the same, smoothed within the mask, .npy")
    unfiltered = File(desc="(n_kept, n_voxels) residuals without band-pass, if wanted, .npy")
    sample_mask = File(exists=True, desc="(n_volumes,) true where kept, .npy")
    design = File(exists=True, desc="regressors as fitted: filtered, at the kept volumes, .tsv")
    status = File(exists=True, desc="what is left, .json")


class Denoise(SimpleInterface):
    """Regress the confounds and band-pass in one step, then smooth.

    A run with nothing left is not an error here: it has zero rows and says so in `status`;
    `SelectRuns` decides over all runs of the session.
    """

    input_spec = DenoiseInputSpec
    output_spec = DenoiseOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import load_mask, voxel_sizes
        from rls_bids.interfaces.tables import load_table, save_table
        from rls_bids.numerics.breathing import displacement_of
        from rls_bids.numerics.resample import smooth_in_mask
        from rls_bids.numerics.signal import denoise, sample_mask

        table = load_table(self.inputs.confounds)
        band = tuple(self.inputs.band_hz) or None
        names, regressors = load_regressors(self.inputs, table, band_pass=band is not None)
        fd = displacement_of(table)
        kept = sample_mask(fd, self.inputs.fd_threshold_mm)
        series = np.load(self.inputs.series)
        result = denoise(
            series,
            regressors,
            repetition_time=self.inputs.repetition_time,
            kept=kept,
            band=band,
            order=self.inputs.filter_order,
        )
        mask, affine = load_mask(self.inputs.mask)
        smoothed = smooth_in_mask(
            result.data, mask, voxel_sizes(affine), self.inputs.smoothing_fwhm_mm
        )
        folder = Path(runtime.cwd)
        np.save(folder / "denoised.npy", result.data)
        np.save(folder / "smoothed.npy", smoothed)
        np.save(folder / "sample_mask.npy", kept)
        if self.inputs.with_unfiltered:
            self._save_unfiltered(series, table, kept, folder / "unfiltered.npy")
        save_table(
            dict(zip(names, result.regressors.T, strict=True)),
            folder / "design.tsv",
            n_rows=result.n_kept,
        )
        status = {
            "Run": self.inputs.run,
            "Strategy": self.inputs.label,
            "Regressors": names,
            "FramewiseDisplacementUsed": FD_FILTERED if FD_FILTERED in table else FD,
            **_what_is_left(result, fd, self.inputs.repetition_time),
        }
        write_json(folder / "status.json", status)
        ending = {"design": "tsv", "status": "json"}
        for name in ("denoised", "smoothed", "sample_mask", "design", "status"):
            self._results[name] = str(folder / f"{name}.{ending.get(name, 'npy')}")
        return runtime

    def _save_unfiltered(
        self,
        series: "np.ndarray",
        table: "Mapping[str, np.ndarray]",
        kept: "np.ndarray",
        path: Path,
    ) -> None:
        """Regress the confounds as they are, with cosines, for measures of all frequencies."""
        import numpy as np

        from rls_bids.numerics.signal import denoise

        _, regressors = load_regressors(self.inputs, table, band_pass=False)
        repetition_time = self.inputs.repetition_time
        result = denoise(series, regressors, repetition_time=repetition_time, kept=kept, band=None)
        np.save(path, result.data)
        self._results["unfiltered"] = str(path)


def _what_is_left(result: Any, fd: Any, repetition_time: float) -> dict[str, object]:
    """Return the counts that decide whether a run is usable."""
    import numpy as np

    seconds = result.n_kept * repetition_time
    return {
        "RepetitionTime": repetition_time,
        "NumberOfVolumes": result.n_volumes,
        "NumberOfVolumesKept": result.n_kept,
        "SecondsKept": seconds,
        "MinutesKept": round(seconds / 60, 3),
        "BandDimensions": result.band_dimensions,
        "NumberOfRegressors": result.n_regressors,
        "ResidualDegreesOfFreedom": result.residual_df,
        "MeanFramewiseDisplacement": round(float(np.nanmean(fd)), 5),
        "MaxFramewiseDisplacement": round(float(np.nanmax(fd)), 5),
    }


class SelectRunsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `SelectRuns`, one entry a run in each list."""

    denoised = InputMultiObject(File(exists=True), mandatory=True, desc="residuals")
    smoothed = InputMultiObject(File(exists=True), mandatory=True, desc="smoothed residuals")
    mask = InputMultiObject(File(exists=True), mandatory=True, desc="voxels of the series")
    tsnr = InputMultiObject(File(exists=True), mandatory=True, desc="before denoising")
    status = InputMultiObject(File(exists=True), mandatory=True, desc="what is left")
    local_denoised = InputMultiObject(File(exists=True), desc="residuals for local measures")
    local_unfiltered = InputMultiObject(File(exists=True), desc="the same without band-pass")
    local_mask = InputMultiObject(File(exists=True), desc="voxels of both")
    sample_mask = InputMultiObject(File(exists=True), desc="which volumes were kept")
    who = traits.Str(mandatory=True, desc="participant and session, for the message")
    strategy = traits.Str(mandatory=True, desc="for the message")
    min_time_s = traits.Float(mandatory=True, desc="over all runs")
    min_df = traits.Int(mandatory=True, desc="over all runs")


class SelectRunsOutputSpec(TraitedSpec):
    """Outputs of `SelectRuns`: the usable runs only."""

    denoised = OutputMultiObject(File(exists=True), desc="residuals")
    smoothed = OutputMultiObject(File(exists=True), desc="smoothed residuals")
    mask = OutputMultiObject(File(exists=True), desc="voxels of the series")
    tsnr = OutputMultiObject(File(exists=True), desc="before denoising")
    status = OutputMultiObject(File(exists=True), desc="what is left")
    local_denoised = OutputMultiObject(File(exists=True), desc="residuals for local measures")
    local_unfiltered = OutputMultiObject(File(exists=True), desc="the same without band-pass")
    local_mask = OutputMultiObject(File(exists=True), desc="voxels of both")
    sample_mask = OutputMultiObject(File(exists=True), desc="which volumes were kept")
    selected = traits.List(traits.Int(), desc="places of the usable runs")


class SelectRuns(SimpleInterface):
    """Pass the usable runs of a session on, or refuse the session with the arithmetic."""

    input_spec = SelectRunsInputSpec
    output_spec = SelectRunsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        statuses = [read_json(Path(path)) for path in self.inputs.status]
        reason = refusal(
            statuses,
            who=self.inputs.who,
            strategy=self.inputs.strategy,
            min_time_s=self.inputs.min_time_s,
            min_df=self.inputs.min_df,
        )
        if reason:
            raise RunRefused(reason, REFUSED_HINT)
        usable = usable_runs(statuses, self.inputs.min_time_s)
        self._results["selected"] = usable
        for name in self.output_spec().copyable_trait_names():
            if isdefined(files := getattr(self.inputs, name, Undefined)):
                self._results[name] = [files[index] for index in usable]
        return runtime
