"""Parcels: mean series of a run, and the matrices of a session over its runs."""

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
from rls_bids.interfaces.measure import session_metadata
from rls_bids.interfaces.tables import load_table, save_table
from rls_bids.numerics import correlation, matrices, parcels, resample
from rls_bids.records import Atlas, Parcel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = "1"
SERIES_VERSION = f"{VERSION}-{parcels.VERSION}-{resample.VERSION}"
MATRIX_VERSION = f"2-{matrices.VERSION}-{correlation.VERSION}"
"""For the input `version` of both nodes, and for fingerprints."""

MIN_VOLUMES = matrices.MIN_VOLUMES
NO_VOLUME = "{found} volumes are left after censoring; at least {least} are needed."
NO_RUN = "No run has a usable series of the atlas {atlas}."
NO_SETS = "The atlas {atlas} does not say to which of the {what} its parcels belong."
NO_PAIR = "No two parcels of the atlas {atlas} that belong to {what} have a value."
OTHER_PARCELS = "{path} has {found} columns; the {expected} parcels of {atlas} were expected."

MEASURES = {
    "pearsoncorrelation": "Pearson correlation",
    "partialcorrelation": "Partial correlation given all other nodes, Ledoit-Wolf shrinkage",
}
SHRUNKEN = "shrunkencorrelation"
"""Of which the group level makes coordinates in tangent space."""

SETS = {"networks": "network", "lobes": "lobe"}
MATRIX_KEYS = (*MEASURES, SHRUNKEN, *SETS)
"""Keys of the manifest of `Matrices`, in its order."""


class ParcelSeriesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ParcelSeries`."""

    denoised = File(exists=True, mandatory=True, desc="unsmoothed residuals, .npy")
    mask = File(exists=True, mandatory=True, desc="voxels of the series")
    atlas = traits.Str(mandatory=True, desc="name of an atlas, or path of a label image")
    content = traits.Str(mandatory=True, desc="hash of the files of the atlas")
    space = traits.Str(mandatory=True, desc="standard space of the series")
    version = traits.Str(mandatory=True, desc="kernel versions")


class ParcelSeriesOutputSpec(TraitedSpec):
    """Outputs of `ParcelSeries`."""

    time_series = File(exists=True, desc="one column a parcel, n/a where it is missing, .tsv")
    coverage = File(exists=True, desc="one row a parcel, .tsv")
    manifest = File(exists=True, desc="both, as `mean` and `coverage`, or why they are missing")


class ParcelSeries(SimpleInterface):
    """Average the residuals of one run over the voxels of each parcel of an atlas."""

    input_spec = ParcelSeriesInputSpec
    output_spec = ParcelSeriesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.images import load_mask
        from rls_bids.resources.atlas_grid import atlas_metadata, labels_on_grid
        from rls_bids.resources.atlases import find_atlas
        from rls_bids.resources.parcels import load_parcels

        atlas = find_atlas(self.inputs.atlas)
        regions = load_parcels(atlas)
        mask, affine = load_mask(self.inputs.mask)
        x, y, z = mask.shape
        labels = labels_on_grid(atlas, (x, y, z), affine, self.inputs.space)
        indices = np.array([region.index for region in regions])
        n_voxels = np.bincount(labels.reshape(-1), minlength=indices.max() + 1)[indices]
        data = np.load(self.inputs.denoised, mmap_mode="r")
        series, coverage = parcels.parcel_series(data, labels[mask], indices, n_voxels)
        about = {
            "Atlas": atlas_metadata(atlas, self.inputs.space),
            "MinimumCoverage": parcels.MIN_COVERAGE,
            "MissingNodes": _missing(regions, coverage >= parcels.MIN_COVERAGE),
            "NumberOfVolumesKept": len(data),
        }
        folder = Path(runtime.cwd)
        self._save(folder, regions, (series, coverage, n_voxels), about)
        return runtime

    def _save(
        self,
        folder: Path,
        regions: Sequence[Parcel],
        found: "tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]",
        about: dict[str, Any],
    ) -> None:
        """Save both tables and the manifest."""
        series, coverage, n_voxels = found
        names = [region.name for region in regions]
        save_table(dict(zip(names, series.T, strict=True)), folder / "mean.tsv")
        table = {**_region_columns(regions), "n_voxels": n_voxels, "coverage": coverage}
        save_table(table, folder / "coverage.tsv")
        if len(series) < MIN_VOLUMES:
            about = {
                **about,
                "Missing": NO_VOLUME.format(found=len(series), least=MIN_VOLUMES),
            }
        entries = [
            {"key": key, "file": "" if "Missing" in about else f"{key}.tsv", "metadata": about}
            for key in ("mean", "coverage")
        ]
        self._results["time_series"] = str(folder / "mean.tsv")
        self._results["coverage"] = str(folder / "coverage.tsv")
        self._results["manifest"] = save_manifest(entries, folder)


class MatricesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `Matrices`; the lists have one entry a run."""

    time_series = InputMultiObject(File(exists=True), mandatory=True, desc="of `ParcelSeries`")
    coverage = InputMultiObject(File(exists=True), mandatory=True, desc="of `ParcelSeries`")
    status = InputMultiObject(File(exists=True), mandatory=True, desc="what is left, .json")
    selected = traits.List(traits.Int(), desc="places of the usable runs; else all")
    atlas = traits.Str(mandatory=True, desc="name of an atlas, or path of a label image")
    content = traits.Str(mandatory=True, desc="hash of the files of the atlas")
    space = traits.Str(mandatory=True, desc="standard space of the series")
    version = traits.Str(mandatory=True, desc="kernel versions")


class MatricesOutputSpec(TraitedSpec):
    """Outputs of `Matrices`."""

    manifest = File(exists=True, desc="matrices and means of sets, or why they are missing")


class Matrices(SimpleInterface):
    """Correlate parcels with each other, combined over the runs of a session.

    Matrices hold r: the tanh of the mean Fisher z over runs. Means of sets are in Fisher z.
    """

    input_spec = MatricesInputSpec
    output_spec = MatricesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.resources.atlas_grid import atlas_metadata
        from rls_bids.resources.atlases import find_atlas
        from rls_bids.resources.parcels import load_parcels

        atlas = find_atlas(self.inputs.atlas)
        regions = load_parcels(atlas)
        runs = _load_runs(self.inputs, atlas, regions)
        about: dict[str, Any] = {"Atlas": atlas_metadata(atlas, self.inputs.space)}
        folder = Path(runtime.cwd)
        if not runs:
            about["Missing"] = NO_RUN.format(atlas=atlas.name)
            entries = [{"key": key, "file": "", "metadata": about} for key in MATRIX_KEYS]
        else:
            about |= session_metadata([status for _, _, status in runs])
            entries = _matrix_entries(atlas, regions, runs, about, folder)
        self._results["manifest"] = save_manifest(entries, folder)
        return runtime


Run = tuple["NDArray[np.float64]", "NDArray[np.float64]", dict[str, Any]]
"""Series (n_volumes, n_parcels), coverage (n_parcels,) and status of a run."""


def _load_runs(inputs: Any, atlas: Atlas, regions: Sequence[Parcel]) -> list[Run]:
    """Load the runs that have volumes and degrees of freedom left."""
    import numpy as np
    import pandas as pd

    names = [region.name for region in regions]
    runs = []
    every = list(zip(inputs.time_series, inputs.coverage, inputs.status, strict=True))
    usable = inputs.selected if isdefined(inputs.selected) else range(len(every))
    for path, coverage, status_path in (every[place] for place in usable):
        table = load_table(path)
        if list(table) != names:
            message = OTHER_PARCELS.format(
                path=path, found=len(table), expected=len(names), atlas=atlas.name
            )
            raise ValueError(message)
        series = np.array([table[name] for name in names]).T
        status = read_json(Path(status_path))
        if len(series) >= MIN_VOLUMES and status["ResidualDegreesOfFreedom"] > 0:
            covered = pd.read_csv(coverage, sep="\t")["coverage"].to_numpy(dtype=float)
            runs.append((series, covered, status))
    return runs


def _matrix_entries(
    atlas: Atlas,
    regions: Sequence[Parcel],
    runs: Sequence[Run],
    about: Mapping[str, Any],
    folder: Path,
) -> list[dict[str, Any]]:
    """Save every matrix and return the manifest entries."""
    import numpy as np

    df = [int(status["ResidualDegreesOfFreedom"]) for _, _, status in runs]
    partial = [matrices.partial_matrix(series) for series, _, _ in runs]
    stacks = {
        "pearsoncorrelation": [matrices.pearson_matrix(series) for series, _, _ in runs],
        "partialcorrelation": [matrix for matrix, _ in partial],
    }
    combined = {
        key: matrices.combine_matrices(np.array(stack), df) for key, stack in stacks.items()
    }
    present = np.isfinite([np.diag(each) for each in stacks["pearsoncorrelation"]])
    in_any = np.asarray(present.any(axis=0))
    shared = {
        **about,
        "DegreesOfFreedom": sum(df),
        "Nodes": _nodes(regions, runs, present, df),
        "MissingNodes": _missing(regions, in_any),
    }
    entries = []
    for key, description in MEASURES.items():
        own = {**shared, **_relation(description, "r")}
        if key == "partialcorrelation":
            own["Shrinkage"] = [shrinkage for _, shrinkage in partial]
        r = correlation.inverse_fisher_z(combined[key])
        r[np.diag_indices_from(r)] = np.where(in_any, 1.0, np.nan)
        names = [region.name for region in regions]
        save_table(dict(zip(names, r.T, strict=True)), folder / f"{key}.tsv")
        entries.append({"key": key, "file": f"{key}.tsv", "metadata": own})
    entries.append(_shrunken_entry(regions, runs, df, shared, folder))
    z = combined["pearsoncorrelation"]
    return entries + [_set_entry(key, atlas, regions, z, shared, folder) for key in SETS]


def _shrunken_entry(
    regions: Sequence[Parcel],
    runs: Sequence[Run],
    df: Sequence[int],
    shared: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Save the shrunken correlations of the session and return the manifest entry."""
    import numpy as np

    found = [matrices.shrunken_correlation(series) for series, _, _ in runs]
    mean = matrices.combine_shrunken(np.array([matrix for matrix, _ in found]), df)
    names = [region.name for region in regions]
    save_table(dict(zip(names, mean.T, strict=True)), folder / f"{SHRUNKEN}.tsv")
    about = {
        **shared,
        **_relation("Pearson correlation, Ledoit-Wolf shrinkage", "r"),
        "CombinationOverRuns": "mean, weighted by residual degrees of freedom",
        "Shrinkage": [shrinkage for _, shrinkage in found],
        "MissingNodes": _missing(regions, np.isfinite(np.diag(mean))),
    }
    return {"key": SHRUNKEN, "file": f"{SHRUNKEN}.tsv", "metadata": about}


def _set_entry(
    key: str,
    atlas: Atlas,
    regions: Sequence[Parcel],
    z: "NDArray[np.float64]",
    shared: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Save the means between networks, or between lobes, and return the manifest entry."""
    import numpy as np

    belongs = [getattr(region, SETS[key]) for region in regions]
    sets = sorted_sets(key, belongs)
    own = {name: value for name, value in shared.items() if name != "Nodes"}
    set_of = [sets.index(each) if each else -1 for each in belongs]
    mean, n_pairs = matrices.mean_between_sets(z, set_of, len(sets))
    if not np.isfinite(mean).any():
        reason = NO_PAIR if sets else NO_SETS
        own["Missing"] = reason.format(atlas=atlas.name, what=key)
        return {"key": key, "file": "", "metadata": own}
    save_table(dict(zip(sets, mean.T, strict=True)), folder / f"{key}.tsv")
    own |= {
        **_relation("Mean Pearson correlation over all pairs of nodes", "Fisher z"),
        "ValidDiagonal": True,
        "Sets": sets,
        "NumberOfNodes": [belongs.count(each) for each in sets],
        "NumberOfPairs": n_pairs.tolist(),
    }
    return {"key": key, "file": f"{key}.tsv", "metadata": own}


def sorted_sets(key: str, belongs: Sequence[str]) -> list[str]:
    """Return the sets in the order of tables: lobes from front to back, networks by name.

    Examples
    --------
    >>> sorted_sets("lobes", ["thalamus", "frontal", "", "claustrum"])
    ['frontal', 'thalamus', 'claustrum']
    """
    from rls_bids.resources.parcels import LOBES

    order = {name: rank for rank, name in enumerate(LOBES)} if key == "lobes" else {}
    return sorted(set(belongs) - {""}, key=lambda name: (order.get(name, len(order)), name))


def _relation(description: str, unit: str) -> dict[str, Any]:
    """Return what BIDS' proposal for connectivity (BEP 17) asks of a sidecar."""
    return {
        "RelationshipMeasure": description,
        "Unit": unit,
        "Weighted": True,
        "Directed": False,
        "ValidDiagonal": False,
        "StorageFormat": "Full",
        "NonNegative": "Contains negative values",
        "CombinationOverRuns": "mean Fisher z, weighted by residual degrees of freedom",
    }


def _nodes(
    regions: Sequence[Parcel], runs: Sequence[Run], present: "NDArray[np.bool_]", df: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what is known of each node; coverage has one entry a run."""
    import numpy as np

    coverage = np.array([covered for _, covered, _ in runs])
    left = np.array(df) @ present
    return [
        {
            "Index": region.index,
            "Name": region.name,
            "Hemisphere": region.hemisphere or None,
            "Network": region.network or None,
            "Lobe": region.lobe or None,
            "Coverage": coverage[:, column].round(4).tolist(),
            "DegreesOfFreedom": int(left[column]),
        }
        for column, region in enumerate(regions)
    ]


def _missing(
    regions: Sequence[Parcel], is_there: "Sequence[bool] | NDArray[np.bool_]"
) -> list[str]:
    return [region.name for region, there in zip(regions, is_there, strict=True) if not there]


def _region_columns(regions: Sequence[Parcel]) -> "dict[str, NDArray[np.generic]]":
    """Return the columns that describe parcels, ``None`` (n/a) where nothing is known."""
    import numpy as np

    columns: dict[str, NDArray[np.generic]] = {
        "index": np.array([region.index for region in regions])
    }
    for field in ("name", "hemisphere", "network", "lobe"):
        told = [getattr(region, field) or None for region in regions]
        columns[field] = np.array(told, dtype=object)
    return columns
