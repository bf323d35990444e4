"""The table of clusters of one comparison, and the label image that goes with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

from rls_bids.interfaces.group import CORRECTED, FORMS_CLUSTERS, LEVEL, MAXIMA, map_key, p_maps
from rls_bids.interfaces.manifest import save_manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.interfaces.designs import GroupTest
    from rls_bids.numerics.regions import Region

ATLASES = ("HarvardOxford", "AAL3")
N_STEPS = 2
MISSING = "n/a"
AXES = (("x", "Right"), ("y", "Front"), ("z", "Up"))
MOST_VOXELS = 20_000


def table_columns(statistic: str, size: str, correction: str) -> dict[str, dict[str, str]]:
    """Return the columns of the table and what they mean.

    Parameters
    ----------
    statistic : str
        ``t`` or ``F``.
    size : str
        The effect size.
    correction : str
        By which clusters survive.
    """
    made = p_maps(correction)
    p_columns = {
        "uncorrected": "p of the statistic at the peak, not corrected.",
        "fdr": "p at the peak, adjusted for the false discovery rate.",
        "voxelFWE": "Family-wise p of the peak, by the largest |z|.",
        "clusterFWE": "Family-wise p of the cluster, by its mass.",
        "tfceFWE": "Family-wise p of the peak after TFCE.",
    }
    texts = {
        "cluster": "Number of the cluster (26 neighbours); letters: further maxima.",
        **{f"{axis}_mm": f"{side} is positive." for axis, side in AXES},
        "z": "z value at the peak; its sign is that of the contrast.",
        statistic: f"{statistic} at the peak.",
        "size_mm3": "Volume of the cluster.",
        "mass": "Sum of what exceeds the cluster-forming z in it.",
        **{f"p_{name}": text for name, text in p_columns.items() if name in made},
        "p_extent": "Family-wise p of the cluster, by its extent.",
        "p_corrected": "Smallest p in the cluster by the correction that was chosen.",
        "p_family": "The same, corrected over all maps of the family.",
        size: "Effect size at the peak; selected, therefore inflated.",
        f"{size}_ciLower": "Lower 95 % confidence limit of it.",
        f"{size}_ciUpper": "Upper 95 % confidence limit of it.",
        f"{size}_mean": "Effect size of the participants' means over voxels here whose z forms "
        "clusters, of clusters that survive; inflated, too.",
        f"{size}_leftOut": "Effect size of the participants' means over voxels that were chosen "
        "without the participant; of clusters that survive.",
    }
    for atlas in ATLASES:
        texts[atlas] = f"Region of {atlas} at the peak."
        texts[f"{atlas}_most"] = f"Region of {atlas} with most of the voxels, and its share."
    absent = set() if correction in FORMS_CLUSTERS else {"p_extent"}
    absent |= {"p_family"} if correction == "fdr" else set()
    units = {"size_mm3": "mm^3", "x_mm": "mm", "y_mm": "mm", "z_mm": "mm"}
    return {
        name: {"Description": text} | ({"Units": units[name]} if name in units else {})
        for name, text in texts.items()
        if name not in absent
    }


class ListClustersInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ListClusters`."""

    maps = traits.Dict(mandatory=True, desc="key of a map to its path")
    maxima_file = File(exists=True, desc="of the resamplings; none without resampling")
    minima_file = File(exists=True, desc="smallest p of each resampling over the family")
    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="one map a participant")
    design_file = File(exists=True, mandatory=True, desc="one row a participant, same order")
    sidecar_file = File(exists=True, mandatory=True, desc="contrast and units of the design")
    correction = traits.Enum(*CORRECTED, mandatory=True, desc="by which clusters survive")
    space = traits.Str(mandatory=True, desc="of the maps")
    stamp = traits.Str(mandatory=True, desc="changes with maps and family")


class ListClustersOutputSpec(TraitedSpec):
    """Outputs of `ListClusters`."""

    manifest = File(exists=True, desc="table, label image, names of the labels")


class ListClusters(SimpleInterface):
    """List the clusters of a map with all that is known of each."""

    input_spec = ListClustersInputSpec
    output_spec = ListClustersOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.designs import load_design
        from rls_bids.interfaces.group_covariates import adjusted
        from rls_bids.interfaces.images import STANDARD_CODE, save_volume
        from rls_bids.interfaces.tables import save_table

        given, folder = self.inputs, Path(runtime.cwd)
        test = load_design(given.design_file, given.sidecar_file)
        look = _look(given)
        test = adjusted(test, look.told)
        rows = list(_rows(look, given, test))
        statistic = "t" if "t" in given.maps else "F"
        names_of = table_columns(statistic, test.size, given.correction)
        columns = {key: np.array([row.get(key, np.nan) for row in rows]) for key in names_of}
        save_table(columns, folder / "clusters.tsv")
        labels = np.zeros(look.z.shape, dtype=np.int16)
        names = []
        for number, region in enumerate(look.regions, start=1):
            survives = look.p[region.inside] <= LEVEL
            labels[region.inside] = np.where(survives, number, 0)
            names += [number] if survives.any() else []
        save_volume(
            labels, look.affine, folder / "labels.nii.gz", dtype=np.int16, code=STANDARD_CODE
        )
        named = [f"cluster{number}" for number in names]
        save_table({"index": np.array(names), "name": np.array(named)}, folder / "names.tsv")
        about = {
            "NumberOfClusters": len(look.regions),
            "NumberOfClustersCorrected05": len(names),
            "Sensitivity": _sensitivity(look, test),
            "EffectSize": test.size,
            "Statistic": look.told["Statistic"],
        }
        files = {"clusters": "clusters.tsv", "names": "names.tsv", "labels": "labels.nii.gz"}
        self._results["manifest"] = save_manifest(
            [{"key": key, "file": file, "metadata": about} for key, file in files.items()], folder
        )
        return runtime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Look:
    """What is known of a map: its volumes, regions, and how it was corrected.

    ``values`` are volumes by key; ``maxima`` and ``minima`` are empty without resampling.
    """

    z: "NDArray[np.float32]"
    p: "NDArray[np.float32]"
    affine: "NDArray[np.float64]"
    values: "dict[str, NDArray[np.float32]]"
    regions: "list[Region]"
    maxima: "dict[str, NDArray[np.float64]]"
    minima: "NDArray[np.float64] | None"
    n_sets: int
    told: dict[str, Any]


def _look(given: Any) -> _Look:
    """Read what other nodes have left."""
    import numpy as np

    from rls_bids.dataset.description import read_json
    from rls_bids.dataset.naming import sidecar
    from rls_bids.interfaces.images import load_volume, voxel_sizes
    from rls_bids.interfaces.tables import load_table
    from rls_bids.numerics.regions import find_regions

    volumes = {key: load_volume(path) for key, path in given.maps.items()}
    z, affine = volumes["z"]
    p = volumes[f"p_{CORRECTED[given.correction]}"].data
    told = read_json(sidecar(given.maps["z"]))
    maxima = load_table(given.maxima_file) if isdefined(given.maxima_file) else {}
    minima, n_sets = None, 1
    if isdefined(given.minima_file):
        every = load_table(given.minima_file)
        minima, n_sets = every[told["Resamplings"]["Set"]], len(every)
        minima = minima[~np.isnan(minima)]
    return _Look(
        z=z,
        p=p,
        affine=affine,
        values={key: volume.data for key, volume in volumes.items()},
        regions=find_regions(
            z, p, told["ClusterFormingZ"], voxel_sizes(affine), is_two_sided="t" in given.maps
        ),
        maxima=maxima,
        minima=minima,
        n_sets=n_sets,
        told=told,
    )


def _rows(look: _Look, given: Any, test: "GroupTest") -> Iterator[dict[str, Any]]:
    """Yield a row for each peak; what belongs to a cluster stands in the row of its first."""
    import nibabel as nib
    import numpy as np

    from rls_bids.interfaces.images import voxel_sizes

    edge = float(np.prod(voxel_sizes(look.affine)))
    at_peaks = ["t" if "t" in given.maps else "F", "z"]
    at_peaks += [f"p_{desc}" for desc in p_maps(given.correction)]
    at_peaks += [map_key(test.size, desc) for desc in ("", "ciLower", "ciUpper")]
    parcels = [_parcels(atlas, look, given.space) for atlas in ATLASES] if look.regions else []
    left_out = _left_out(look, given, test)
    for region in look.regions:
        of_cluster: dict[str, Any] = {
            "size_mm3": len(region.inside[0]) * edge,
            "mass": region.mass,
            **_of_cluster(region, look, given.correction),
            **left_out.get(region.peaks[0].name, {}),
        }
        for atlas, (labels, names) in zip(ATLASES, parcels, strict=True):
            of_cluster[f"{atlas}_most"] = _most(labels[region.inside], names)
        for peak in region.peaks:
            x, y, height = nib.affines.apply_affine(look.affine, peak.voxel)
            row = {"cluster": peak.name, "x_mm": x, "y_mm": y, "z_mm": height}
            known = [key for key in at_peaks if key in look.values]
            row |= {key: float(look.values[key][peak.voxel]) for key in known}
            for atlas, (labels, names) in zip(ATLASES, parcels, strict=True):
                row[atlas] = names.get(int(labels[peak.voxel]), MISSING)
                row[f"{atlas}_most"] = MISSING
            yield row | (of_cluster if peak is region.peaks[0] else {})


def _of_cluster(region: "Region", look: _Look, correction: str) -> dict[str, float]:
    """Return the p values of a cluster."""
    from rls_bids.numerics.family import adjust_p
    from rls_bids.numerics.permutation import corrected_p

    inside = region.inside
    found = {"p_corrected": float(look.p[inside].min())}
    if correction in FORMS_CLUSTERS:
        found["p_clusterFWE"] = float(look.values["p_clusterFWE"][inside].min())
        found["p_extent"] = float(corrected_p(look.maxima["extent"], region.extent))
    if look.minima is not None:
        # What is compared over maps are plain shares of resamplings, without a fitted tail.
        column = MAXIMA[CORRECTED[correction]]
        value = region.mass
        if column != "mass":
            map_of = look.values["tfce"] if column == "enhanced" else look.z
            value = float((region.sign * map_of[inside]).max())
        own = corrected_p(look.maxima[column], value)
        p = min(1.0, look.n_sets * float(adjust_p(own, look.minima)))
        found["p_family"] = max(p, found["p_corrected"])
    return found


def _left_out(look: _Look, given: Any, test: "GroupTest") -> dict[str, dict[str, float]]:
    """Return effect sizes of the means of clusters that survive, chosen with and without each.

    Of very large clusters voxels at regular steps stand for all. None with covariates of each
    voxel, as the mean of a cluster has none of its own.
    """
    import numpy as np

    from rls_bids.errors import InputDataError
    from rls_bids.interfaces.group_maps import read_voxels
    from rls_bids.numerics.glm import fit
    from rls_bids.numerics.leftout import cluster_means, left_out_means
    from rls_bids.numerics.regions import surroundings
    from rls_bids.numerics.sizes import effect_size

    surviving = [each for each in look.regions if look.p[each.inside].min() <= LEVEL]
    is_plain = "t" in given.maps and "VoxelCovariates" not in look.told
    if not is_plain or len(test.responses) > 1 or not surviving:
        return {}
    every = np.zeros(look.z.size, dtype=bool)
    chosen = {}
    for region in surviving:
        voxels = np.flatnonzero(surroundings(region.inside, look.z.shape, N_STEPS) & (look.z != 0))
        chosen[region.peaks[0].name] = voxels[:: 1 + len(voxels) // MOST_VOXELS]
        every[chosen[region.peaks[0].name]] = True
    data = read_voxels(given.in_files, test.responses, every.reshape(look.z.shape))[:, 0]
    column = np.cumsum(every) - 1
    height = look.told["ClusterFormingZ"]
    found: dict[str, dict[str, float]] = {}
    kinds = {"mean": cluster_means, "leftOut": left_out_means}
    for region, (name, voxels) in zip(surviving, chosen.items(), strict=True):
        own = data[:, column[voxels]]
        found[name] = {}
        for kind, measure in kinds.items():
            try:
                means = measure(own, test.matrix, test.contrast, region.sign, height)
            except InputDataError:  # one participant carries a column alone
                continue
            fitted = fit(means[:, None], test.matrix, test.contrast)
            sizes = effect_size(test.size, fitted.t, (1, fitted.df), test.scale)
            found[name][f"{test.size}_{kind}"] = float(sizes[0][0])
    return found


def _sensitivity(look: _Look, test: "GroupTest") -> dict[str, float]:
    """Return the smallest effects that were to be found; none for slopes and F."""
    from rls_bids.numerics.sensitivity import sensitivity

    if test.size not in ("hedgesg", "dz"):
        return {}
    df = look.told["DegreesOfFreedom"]
    heights = look.maxima.get("voxel")
    found = sensitivity(df, 1 / test.scale**2, heights, look.minima, look.n_sets)
    return {name: round(value, 3) for name, value in found.items()}


def _parcels(name: str, look: _Look, space: str) -> "tuple[NDArray[np.int32], dict[int, str]]":
    """Return the labels of an atlas on the grid of the map, and the names of its parcels."""
    from rls_bids.resources.atlas_grid import labels_on_grid
    from rls_bids.resources.atlases import find_atlas
    from rls_bids.resources.parcels import load_parcels

    atlas = find_atlas(name)
    x, y, z = look.z.shape
    labels = labels_on_grid(atlas, (x, y, z), look.affine, space)
    return labels, {parcel.index: parcel.name for parcel in load_parcels(atlas)}


def _most(labels: "NDArray[np.int32]", names: Mapping[int, str]) -> str:
    """Return the region with most voxels and its share.

    Examples
    --------
    >>> import numpy as np
    >>> _most(np.array([0, 7, 7, 9]), {7: "Thal_VPL_L", 9: "Thal_MGN_L"})
    'Thal_VPL_L (50 %)'
    """
    import numpy as np

    counts = np.bincount(labels)
    counts[0] = 0
    if not counts.any():
        return MISSING
    label = int(counts.argmax())
    return f"{names.get(label, str(label))} ({100 * counts[label] / len(labels):.0f} %)"
