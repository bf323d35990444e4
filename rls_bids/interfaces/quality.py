"""One row of numbers that tell how good a run is, with what each of them means."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from rls_bids.dataset.description import read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.records import Seed

COLUMNS = {
    "mean_fd": ("Mean framewise displacement.", "mm"),
    "max_fd": ("Largest framewise displacement.", "mm"),
    "fd_slope": ("Growth of framewise displacement within the run.", "mm/min"),
    "percent_censored": ("Volumes that censoring leaves out.", "percent"),
    "minutes_kept": ("Time that censoring leaves.", "min"),
    "median_tsnr": (
        "Median temporal signal-to-noise ratio, in grey matter where it is known.",
        "",
    ),
    "dice_bold_t1w": (
        "Overlap (Dice) of the brain in the BOLD reference and in the T1w image.",
        "",
    ),
    "dice_normalisation": ("Overlap (Dice) of the normalised brain and the template's.", ""),
    "coregistration_cost": ("Coregistration: minus mutual information (lower is better).", ""),
    "boundary_cost": ("Coregistration: cost on the boundary, 0 to 2 (lower is better).", ""),
    "boundary_wrong_share": (
        "Share of the white-matter boundary where grey matter is not brighter; chance is 0.5.",
        "",
    ),
    "mean_distortion": ("Mean susceptibility distortion that was corrected.", "mm"),
    "coverage_brain": ("Share of the template's brain that was measured.", ""),
    "coverage_vertex": ("Share of the vertex (leg area) that was measured.", ""),
    "coverage_cerebellum": ("Share of the posterior cerebellum that was measured.", ""),
}
NETWORK = ("Share of the regions of the network {name} that was measured.", "")
LEAST_COVERAGE = {"vertex": 0.9, "cerebellum": 0.9}
CUT_OFF = {
    "vertex": "the vertex with the leg area",
    "cerebellum": "the posterior cerebellum",
}
CUT_OFF_MSG = (
    "{percent:.0f} % of {what} was not measured: findings in RLS lie there, and this run can say "
    "nothing or little of it."
)
GREY = 0.5


class MeasureQualityInputSpec(BaseInterfaceInputSpec):
    """Inputs of `MeasureQuality`."""

    mask = File(exists=True, mandatory=True, desc="what was measured, on the standard grid")
    tsnr = File(exists=True, mandatory=True, desc="(n_voxels,) of `mask`, .npy")
    confounds = File(exists=True, mandatory=True, desc="confounds table")
    grey = File(desc="probability of grey matter on the standard grid")
    brain_std = File(desc="the participant's brain mask on the standard grid")
    coregistration = File(desc="how coregistration went, .json")
    template = File(exists=True, mandatory=True, desc="brain of the standard head")
    space = traits.Str(mandatory=True, desc="name of the standard space")
    resolution = traits.Str(mandatory=True, desc="of the standard grid, mm")
    repetition_time = traits.Float(mandatory=True, desc="s")
    fd_threshold_mm = traits.Float(mandatory=True, desc="0: no censoring")
    seeds = traits.List(traits.Dict(), desc="records of all regions, as dictionaries")
    version = traits.Str(mandatory=True, desc="version of the numbers")


class MeasureQualityOutputSpec(TraitedSpec):
    """Outputs of `MeasureQuality`."""

    table = File(exists=True, desc="one row, .tsv")
    metadata = File(exists=True, desc="what the columns mean, and what was cut off, .json")


class MeasureQuality(SimpleInterface):
    """Gather the numbers by which a user judges a run."""

    input_spec = MeasureQualityInputSpec
    output_spec = MeasureQualityOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from rls_bids.interfaces.measure import seed_record
        from rls_bids.interfaces.tables import save_table
        from rls_bids.resources.grids import standard_head

        given, folder = self.inputs, Path(runtime.cwd)
        seeds = [seed_record(seed) for seed in given.seeds]
        _, head, _ = standard_head(given.template, given.space, given.resolution)
        row = _of_motion(given) | _of_registration(given, head)
        row |= _of_coverage(given, seeds, head)
        named = {name: f"{value:.5g}" for name, value in row.items() if np.isfinite(value)}
        save_table({name: np.array([named.get(name, "n/a")]) for name in row}, folder / "q.tsv")
        write_json(folder / "q.json", _explain(row) | {"CutOff": cut_off(row)})
        self._results["table"] = str(folder / "q.tsv")
        self._results["metadata"] = str(folder / "q.json")
        return runtime


def cut_off(row: Mapping[str, float]) -> list[str]:
    """Say which regions of RLS findings a run leaves out.

    Examples
    --------
    >>> cut_off({"coverage_vertex": 1.0, "coverage_cerebellum": 0.4})[0][:52]
    '60 % of the posterior cerebellum was not measured: f'
    """
    return [
        CUT_OFF_MSG.format(percent=100 * (1 - row[f"coverage_{name}"]), what=CUT_OFF[name])
        for name, least in LEAST_COVERAGE.items()
        if row[f"coverage_{name}"] < least
    ]


def _of_motion(given: Any) -> dict[str, float]:
    import numpy as np

    from rls_bids.interfaces.images import load_mask, load_volume
    from rls_bids.interfaces.tables import load_table
    from rls_bids.numerics.breathing import displacement_of
    from rls_bids.numerics.quality import trend_per_minute
    from rls_bids.numerics.signal import sample_mask

    fd = displacement_of(load_table(given.confounds))
    kept = sample_mask(fd, given.fd_threshold_mm)
    tsnr = np.load(given.tsnr)
    if given.grey:
        mask, _ = load_mask(given.mask)
        grey = load_volume(given.grey).data[mask] > GREY
        tsnr = tsnr[grey] if grey.any() else tsnr
    return {
        "mean_fd": float(np.nanmean(fd)),
        "max_fd": float(np.nanmax(fd)),
        "fd_slope": trend_per_minute(fd, given.repetition_time),
        "percent_censored": 100.0 * float(1 - kept.mean()),
        "minutes_kept": float(kept.sum()) * given.repetition_time / 60.0,
        "median_tsnr": float(np.median(tsnr)),
    }


def _of_registration(given: Any, brain: "NDArray[np.bool_]") -> dict[str, float]:
    from rls_bids.interfaces.images import load_mask
    from rls_bids.numerics.quality import dice

    told = read_json(given.coregistration) if given.coregistration else {}
    names = {
        "dice_bold_t1w": "MaskDice",
        "coregistration_cost": "CoregistrationCost",
        "boundary_cost": "BoundaryCost",
        "boundary_wrong_share": "BoundaryWrongShare",
        "mean_distortion": "MeanDistortionMm",
    }
    row = {name: float(told.get(key, "nan")) for name, key in names.items()}
    row["dice_normalisation"] = float("nan")
    if given.brain_std:
        row["dice_normalisation"] = dice(load_mask(given.brain_std)[0], brain)
    return row


def _of_coverage(
    given: Any, seeds: "Sequence[Seed]", brain: "NDArray[np.bool_]"
) -> dict[str, float]:
    """Return the measured shares of brain, regions of RLS findings, and seed networks."""
    import numpy as np

    from rls_bids.interfaces.images import load_mask
    from rls_bids.numerics.quality import coverage, rls_regions

    measured, affine = load_mask(given.mask)
    row = {"coverage_brain": coverage(brain, measured)}
    for name, region in rls_regions(brain, affine).items():
        row[f"coverage_{name}"] = coverage(region, measured)
    for network in dict.fromkeys(seed.network for seed in seeds):
        shares = [
            _seed_coverage(seed, measured, affine, given.space)
            for seed in seeds
            if seed.network == network and seed.kind != "mean"
        ]
        row[f"coverage_{network}"] = float(np.mean(shares)) if shares else float("nan")
    return row


def _seed_coverage(
    seed: "Seed", measured: "NDArray[np.bool_]", affine: "NDArray[np.float64]", space: str
) -> float:
    """Return the share of a seed's region that was measured."""
    from rls_bids.numerics.quality import coverage
    from rls_bids.numerics.spheres import sphere_mask
    from rls_bids.resources.regions import seed_region

    if seed.kind == "mask":
        return coverage(seed_region(seed, measured.shape, affine, space), measured)
    centre, radius = seed.centre_mm or (0.0, 0.0, 0.0), seed.radius_mm or 0.0
    inside, n_region = sphere_mask(measured, affine, centre, radius)
    return len(inside) / n_region if n_region else float("nan")


def _explain(row: Mapping[str, float]) -> dict[str, Any]:
    """Describe the columns as BIDS wants it."""
    told = {}
    for name in row:
        network = name.removeprefix("coverage_")
        description, unit = COLUMNS.get(name) or (NETWORK[0].format(name=network), NETWORK[1])
        told[name] = {"Description": description, **({"Units": unit} if unit else {})}
    return told
