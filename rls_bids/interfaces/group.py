"""One comparison of maps: estimates, resampling, and p values for every voxel."""

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

from rls_bids.interfaces.manifest import save_manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.interfaces.designs import Drawn, GroupTest
    from rls_bids.interfaces.group_maps import Rows
    from rls_bids.numerics.mapfit import MapFit
    from rls_bids.numerics.permutation import PermutationTest

LEVEL = 0.05
FORMS_CLUSTERS = ("tfce", "cluster")
CORRECTED = {"tfce": "tfceFWE", "cluster": "clusterFWE", "voxel": "voxelFWE", "fdr": "fdr"}
"""The map of p by which a correction judges; each makes those after it, too."""
MAXIMA = {"voxelFWE": "voxel", "clusterFWE": "mass", "tfceFWE": "enhanced"}
"""The column of the table of maxima that such a map comes from."""

NO_SIZE = "The effect size is defined from 2 residual degrees of freedom on; the model has {df}."

P_WORDS = {
    "uncorrected": "{sides} p of the statistic, not corrected.",
    "voxelFWE": "Family-wise p over the voxels of this map, by the largest |z| of each "
    "resampling.",
    "clusterFWE": "Family-wise p over the clusters of this map, by the largest cluster mass of "
    "each resampling; the same in all voxels of a cluster.",
    "tfceFWE": "Family-wise p over the voxels of this map after threshold-free cluster "
    "enhancement of z.",
    "fdr": "p adjusted for the false discovery rate over the voxels of this map.",
}
STATISTIC_WORDS = {
    "t": "t of the contrast; with variance groups Welch's v, whose degrees of freedom differ "
    "between voxels.",
    "F": "F of the contrasts together; of several measurements that of Pillai's trace, with "
    "variance groups Johansen's.",
}
SIZE_WORDS = {
    "hedgesg": "Hedges g from the adjusted t of equal variances, corrected for small samples",
    "dz": "d_z, the mean in standard deviations, from t",
    "partialr": "Partial correlation, from t",
    "partialeta2": "Partial eta squared, from F",
}


def map_list(statistic: str, size: str, correction: str) -> tuple[tuple[str, str, str], ...]:
    """Return the maps of a comparison as (stat, desc, what it is); desc may be empty.

    Parameters
    ----------
    statistic : str
        ``t`` or ``F``.
    size : str
        The effect size (:data:`rls_bids.numerics.sizes.SizeKind`).
    correction : str
        How far maps are corrected.
    """
    sided = "Two-sided" if statistic == "t" else "Upper-tail"
    signed = (
        ("effect", "", "Estimate of the contrast, adjusted for the covariates."),
        ("variance", "", "Squared standard error of the estimate."),
    )
    limits = (
        (size, "ciLower", f"{SIZE_WORDS[size]}: lower 95 % confidence limit."),
        (size, "ciUpper", f"{SIZE_WORDS[size]}: upper 95 % confidence limit."),
    )
    found = [*signed] if statistic == "t" else []
    found += [
        (statistic, "", STATISTIC_WORDS[statistic]),
        ("z", "", "z value with the tail probability of the statistic."),
        (size, "", f"{SIZE_WORDS[size]}."),
    ]
    found += limits if size != "partialeta2" else ()
    found.append(("coverage", "", "Number of participants who have a value."))
    if correction == "tfce":
        words = "Threshold-free cluster enhancement of z (E .5, H 2, 26 neighbours), the integral."
        found.append(("tfce", "", words))
    for desc in p_maps(correction):
        words = P_WORDS[desc].format(sides=sided)
        found += [("p", desc, words), ("logp", desc, f"Minus log10 of: {words}")]
    return tuple(found)


def p_maps(correction: str) -> tuple[str, ...]:
    """Return the maps of p that a correction makes.

    Examples
    --------
    >>> p_maps("voxel")
    ('uncorrected', 'voxelFWE', 'fdr')
    """
    steps = tuple(CORRECTED.values())
    return ("uncorrected", *steps[steps.index(CORRECTED[correction]) :])


def map_key(stat: str, desc: str) -> str:
    """Return how a map is called in the manifest.

    Examples
    --------
    >>> map_key("p", "fdr"), map_key("t", "")
    ('p_fdr', 't')
    """
    return f"{stat}_{desc}" if desc else stat


class FitGroupMapsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `FitGroupMaps`."""

    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="one map a participant")
    design_file = File(exists=True, mandatory=True, desc="one row a participant, same order")
    sidecar_file = File(exists=True, mandatory=True, desc="contrast and units of the design")
    correction = traits.Enum(*CORRECTED, mandatory=True, desc="how far maps are corrected")
    cluster_threshold = traits.Float(mandatory=True, desc="two-sided p that forms clusters")
    n_permutations = traits.Int(mandatory=True, desc="resamplings asked for")
    random_seed = traits.Int(0, usedefault=True, desc="of the resamplings")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of the resampling")
    voxel_covariates = traits.List(traits.Str(), usedefault=True, desc="of every voxel, by name")
    grey_files = traits.List(
        File(exists=True), usedefault=True, desc="amount of grey matter, one a map; or none"
    )
    smoothing_fwhm_mm = traits.Float(0.0, usedefault=True, desc="of the maps")
    measured_seeds = traits.List(
        traits.Dict(), usedefault=True, desc="whose grey matter is a covariate; or none"
    )
    space = traits.Str("", usedefault=True, desc="standard space of the grey matter")
    version = traits.Str(mandatory=True, desc="kernel version")


class FitGroupMapsOutputSpec(TraitedSpec):
    """Outputs of `FitGroupMaps`."""

    manifest = File(exists=True, desc="maps, and the table of maxima")


class FitGroupMaps(SimpleInterface):
    """Fit and test every voxel that all participants have."""

    input_spec = FitGroupMapsInputSpec
    output_spec = FitGroupMapsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from rls_bids.interfaces.designs import draw, load_design
        from rls_bids.interfaces.group_covariates import (
            adjusted,
            measure_covariates,
            read_covariates,
            voxel_covariates,
        )
        from rls_bids.interfaces.group_maps import read_rows
        from rls_bids.numerics.mapfit import fit_adjusted_maps, fit_maps

        given, folder = self.inputs, Path(runtime.cwd)
        test = load_design(given.design_file, given.sidecar_file)
        told = measure_covariates(given, test)
        test = adjusted(test, told)
        n_more = len(given.voxel_covariates)
        drawn = draw(test, given.n_permutations, given.random_seed, n_more)
        rows = read_rows(given.in_files, test.responses, test.labels, folder)
        covariates = None
        if n_more:
            covariates = read_covariates(voxel_covariates(given, test), rows, folder)
            fitted = fit_adjusted_maps(rows.data, test.matrix, test.contrast, covariates)
        else:
            fitted = fit_maps(rows.data, test.matrix, test.contrast, drawn.statistic, test.groups)
        values, sizes = _estimates(fitted, test, signed=drawn.statistic.is_signed)
        resampled = None
        if given.correction != "fdr":
            resampled = _resample(rows, drawn, given, covariates)
            values |= _corrected(resampled, given.correction)
        metadata = _about(fitted, rows, drawn, values, given) | told
        if resampled is None:
            del metadata["Resamplings"]
        entries = _save_maps(values, rows, folder, metadata)
        missing = NO_SIZE.format(df=fitted.df[1])
        entries += [
            {"key": key, "file": "", "metadata": {**metadata, "Missing": missing}}
            for key in sizes
            if key not in values
        ]
        if resampled is not None:
            entries.append(_save_maxima(resampled, given.correction, folder, metadata))
        del rows, covariates  # closes the maps of the files before these are removed
        for name in ("rows.npy", "covariates.npy"):
            (folder / name).unlink(missing_ok=True)
        self._results["manifest"] = save_manifest(entries, folder)
        return runtime


def _estimates(
    fitted: "MapFit", test: "GroupTest", *, signed: bool
) -> "tuple[dict[str, NDArray[np.float64]], list[str]]":
    """Return maps that need no resampling, and the keys of the effect size."""
    import numpy as np

    from rls_bids.numerics.glm import fdr
    from rls_bids.numerics.sizes import effect_size

    signed_only = {"effect": fitted.effect, "variance": fitted.variance} if signed else {}
    values = {
        **signed_only,
        "t" if signed else "F": fitted.statistic,
        "z": fitted.z,
        "p_uncorrected": fitted.p,
        "p_fdr": fdr(fitted.p),
    }
    df = (int(fitted.df[0]), int(fitted.df[1]))
    found = effect_size(test.size, fitted.pooled, df, test.scale)
    keys = [map_key(test.size, desc) for desc in ("", "ciLower", "ciUpper")]
    sizes = dict(zip(keys, found, strict=True))
    values |= {key: size for key, size in sizes.items() if np.isfinite(size).any()}
    return values, keys if test.size != "partialeta2" else keys[:1]


def _resample(
    rows: "Rows", drawn: "Drawn", given: Any, covariates: "NDArray[np.float32] | None"
) -> "PermutationTest":
    """Test by resampling, as far as the correction goes."""
    from rls_bids.numerics.permutation import Rules, permutation_test
    from rls_bids.numerics.tail import MIN_RESAMPLINGS
    from rls_bids.numerics.tfce import voxel_neighbours

    forms = given.correction in FORMS_CLUSTERS
    return permutation_test(
        rows.data if rows.data.shape[1] > 1 else rows.data[:, 0],
        drawn.statistic,
        drawn.resamplings,
        voxel_neighbours(rows.mask) if forms else None,
        rules=Rules(
            cluster_p=given.cluster_threshold,
            is_enhanced=given.correction == "tfce",
            is_tail_fitted=given.n_permutations >= MIN_RESAMPLINGS,
        ),
        n_threads=given.n_threads,
        voxel_covariates=covariates,
    )


def _corrected(found: "PermutationTest", correction: str) -> "dict[str, NDArray[np.float64]]":
    """Return the maps of corrected p, and of TFCE."""
    every = {
        "p_voxelFWE": found.p_voxel,
        "p_clusterFWE": found.p_mass,
        "p_tfceFWE": found.p_enhanced,
    }
    values = {key: every[key] for key in every if key.removeprefix("p_") in p_maps(correction)}
    return values | ({"tfce": found.enhanced} if correction == "tfce" else {})


def _about(
    fitted: "MapFit", rows: "Rows", drawn: "Drawn", values: dict[str, Any], given: Any
) -> dict[str, Any]:
    """Return what only the run knew, for all sidecars."""
    import numpy as np

    from rls_bids.numerics.regions import forming_z
    from rls_bids.numerics.tail import MIN_RESAMPLINGS

    df = [int(each) if float(each).is_integer() else float(each) for each in fitted.df]
    tested = np.isfinite(fitted.statistic)
    p = values[f"p_{CORRECTED[given.correction]}"]
    about: dict[str, Any] = {
        "Statistic": drawn.statistic.name,
        "DegreesOfFreedom": df[1],
        "NumberOfVoxels": int(tested.sum()),
        "NumberOfVoxelsFdr05": int((values["p_fdr"] <= LEVEL).sum()),
        "NumberOfVoxelsCorrected05": int((p <= LEVEL).sum()),
        "SmallestPCorrected": float(np.nanmin(p)) if tested.any() else 1.0,
        "MissingVoxels": {
            "Rule": "Tested where every participant has a value.",
            "AnyParticipant": int((rows.coverage > 0).sum()),
            "EveryParticipant": int(rows.mask.sum()),
            "OnlyMissingIn": {f"sub-{label}": n for label, n in rows.lost.items()},
        },
        "Resamplings": {
            **drawn.told,
            "TailFitted": given.n_permutations >= MIN_RESAMPLINGS and not drawn.told["Exhaustive"],
        },
        "ClusterFormingZ": forming_z(
            given.cluster_threshold, is_two_sided=drawn.statistic.is_signed
        ),
    }
    if df[0] > 1:
        about["DegreesOfFreedomEffect"] = df[0]
    spread = fitted.group_sd[:, tested]
    if len(fitted.group_names) > 1 and spread.size and (spread > 0).all():
        ratio = np.median(spread / spread[-1], axis=1)
        about["ResidualSdRatio"] = dict(zip(fitted.group_names, ratio.round(4), strict=True))
    return about


def _save_maps(
    values: "dict[str, NDArray[np.float64]]", rows: "Rows", folder: Path, metadata: dict[str, Any]
) -> list[dict[str, Any]]:
    """Write maps; p is 1 where nothing was tested, so that a threshold never selects it."""
    import numpy as np

    from rls_bids.interfaces.images import STANDARD_CODE, save_masked, save_volume

    made, tested = dict(values), np.isfinite(values["z"])
    for key in [key for key in values if key.startswith("p_")]:
        made[f"log{key}"] = -np.log10(np.maximum(values[key], np.finfo(float).tiny))
    entries = []
    for key, vector in made.items():
        outside = 1.0 if key.startswith("p_") else 0.0
        save_masked(
            np.where(tested & np.isfinite(vector), vector, outside),
            rows.mask,
            rows.affine,
            folder / f"{key}.nii.gz",
            fill=outside,
        )
        entries.append({"key": key, "file": f"{key}.nii.gz", "metadata": metadata})
    name = "coverage.nii.gz"
    save_volume(rows.coverage, rows.affine, folder / name, dtype=np.int16, code=STANDARD_CODE)
    return [*entries, {"key": "coverage", "file": name, "metadata": metadata}]


def _save_maxima(
    found: "PermutationTest", correction: str, folder: Path, metadata: dict[str, Any]
) -> dict[str, Any]:
    """Write the largest value of each resampling, the data as they are first."""
    from rls_bids.interfaces.tables import save_table

    names = ["voxel"]
    names += ["extent", "mass"] if correction in FORMS_CLUSTERS else []
    names += ["enhanced"] if correction == "tfce" else []
    columns = {name: getattr(found.maxima, name) for name in names}
    save_table(columns, folder / "maxima.tsv")
    return {"key": "maxima", "file": "maxima.tsv", "metadata": metadata}
