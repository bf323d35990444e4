"""Seed connectivity: the mean series of a region correlated with every voxel.

The seed's series comes from the unsmoothed residuals, so that a small nucleus is not mixed with
its neighbours, and is correlated with the smoothed ones. Runs have their own masks (what lies in
their field of view); maps are put together on one grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.correlation import correlate_seeds, fisher_z
from rls_bids.numerics.seedmaps import (
    Grid,
    Region,
    RunSeries,
    SeedResult,
    combined,
    map_result,
)
from rls_bids.numerics.seedseries import eigenvariate, unique_parts
from rls_bids.numerics.spheres import sphere_mask
from rls_bids.records import Measure, Seed, Stat

MEASURE = Measure(
    name="seed",
    kind="seed",
    version="1",
    suffix="statmap",
    stats=(
        Stat(name="pearsonr", unit="r", caption="Pearson correlation.", is_compared=False),
        Stat(name="fisherz", unit="Fisher z", caption="Correlation as Fisher z."),
    ),
    caption="Correlation of each voxel with the mean series of the seed (Fisher z).",
    method=(
        "The mean series of the seed's voxels, taken from the unsmoothed residuals, was "
        "correlated with the smoothed residuals of every voxel (Pearson), and correlations were "
        "turned into Fisher z. Voxels of a seed lie within its radius (or its mask), in the "
        "brain mask, and have a temporal signal-to-noise ratio above 20; a seed with fewer than "
        "7 such voxels or less than half of its region is missing. Runs were averaged as Fisher "
        "z, weighted by residual degrees of freedom; a map of both sides or of a network is the "
        "mean of its seeds' maps."
    ),
    sources=("10.1002/mrm.1910340409",),
)

MIN_TSNR = 20.0
MIN_VOXELS = 7
MIN_COVERAGE = 0.5
MIN_MEMBERS = 2

TOO_FEW = "{n_voxels} usable voxels of {n_region}, at least {least} needed"
TOO_LITTLE = "{n_voxels} of {n_region} voxels usable ({coverage:.0%}), {least:.0%} needed"
NO_VARIANCE = "its series is constant"
NO_REGION_VOXEL = "its region has no voxel on the grid: it is empty or lies outside"
NO_PARTNER = "{others} cannot be used, and the seeds of {network} are in one regression"
NOT_UNIQUE = "its series is told by those of the other seeds of {network} in the regression"
NO_DF = "{n_seeds} seeds in one regression leave no degree of freedom"
NO_MEMBERS = "{seed} is missing: of its {n_members} seeds {left_out}."
LEFT_OUT = "{member} is missing"
NO_REGION = "Mask {mask} of seed {seed} is not among the regions of the grid."

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]


def seed_voxels(seed: Seed, mask: BoolArray, grid: Grid) -> tuple[IndexArray, int]:
    """Return the voxels of a sphere or mask seed in a mask, and the size of the whole region.

    Raises
    ------
    ValueError
        A mask seed whose region the grid does not have.
    """
    if seed.kind == "sphere" and seed.centre_mm is not None and seed.radius_mm is not None:
        return sphere_mask(mask, grid.affine, seed.centre_mm, seed.radius_mm)
    if seed.mask not in grid.regions:
        raise ValueError(NO_REGION.format(mask=seed.mask, seed=seed.name))
    region = grid.regions[str(seed.mask)]
    return np.flatnonzero(region[mask]), int(region.sum())


def tissue_fractions(
    indices: IndexArray, mask: BoolArray, tissues: Mapping[str, NDArray[np.floating]]
) -> dict[str, float]:
    """Return the mean probability of each tissue in some voxels of a mask (NaN without any)."""
    return {
        name: float(np.mean(probability[mask][indices])) if indices.size else float("nan")
        for name, probability in tissues.items()
    }


def _locate(seed: Seed, run: RunSeries, number: int, grid: Grid) -> tuple[Region, IndexArray]:
    """Return what a run has of a seed, and the positions of its usable voxels."""
    indices, n_region = seed_voxels(seed, run.mask, grid)
    usable = indices[run.tsnr[indices] > MIN_TSNR]
    coverage = usable.size / n_region if n_region else 0.0
    missing = ""
    if not n_region:
        missing = NO_REGION_VOXEL
    elif usable.size < MIN_VOXELS:
        missing = TOO_FEW.format(n_voxels=usable.size, n_region=n_region, least=MIN_VOXELS)
    elif coverage < MIN_COVERAGE:
        missing = TOO_LITTLE.format(
            n_voxels=usable.size, n_region=n_region, coverage=coverage, least=MIN_COVERAGE
        )
    elif not np.ptp(run.unsmoothed[:, usable].mean(axis=1)) > 0:
        missing = NO_VARIANCE
    region = Region(
        seed=seed.name,
        run=number,
        n_voxels=usable.size,
        n_region=n_region,
        coverage=coverage,
        tissue_fractions=tissue_fractions(indices, run.mask, grid.tissues),
        missing=missing,
    )
    return region, usable


def seed_map(
    unsmoothed: NDArray[np.floating], smoothed: NDArray[np.floating], indices: IndexArray
) -> NDArray[np.float32]:
    """Correlate the mean unsmoothed series of some voxels with every smoothed one.

    Parameters
    ----------
    unsmoothed, smoothed : (n_volumes, n_voxels) arrays
    indices : (n,) int array
        Voxels of the seed.

    Returns
    -------
    (n_voxels,) float32 array
        Pearson r; NaN for constant voxels.
    """
    series = unsmoothed[:, indices].mean(axis=1, dtype=float)
    return np.asarray(correlate_seeds(series[:, None], smoothed)[0])


def _series(
    seeds: Sequence[Seed], run: RunSeries, number: int, grid: Grid
) -> tuple[dict[str, Region], dict[str, FloatArray], dict[str, int]]:
    """Return what a run has of each seed, the series to correlate, and what is left of its df."""
    regions: dict[str, Region] = {}
    series: dict[str, FloatArray] = {}
    for seed in seeds:
        regions[seed.name], usable = _locate(seed, run, number, grid)
        if not regions[seed.name].missing:
            own = run.unsmoothed[:, usable]
            first = seed.series == "eigenvariate"
            series[seed.name] = eigenvariate(own) if first else own.mean(axis=1, dtype=float)
    df = dict.fromkeys(series, run.residual_df)
    together = [seed for seed in seeds if seed.regression == "together"]
    for network in dict.fromkeys(seed.network for seed in together):
        names = [seed.name for seed in together if seed.network == network]
        reasons = _part_series(network, names, series, df)
        for name, reason in reasons.items():
            series.pop(name, None)
            missing = regions[name].missing or reason
            regions[name] = replace(regions[name], missing=missing)
    return regions, series, df


def _part_series(
    network: str, names: Sequence[str], series: dict[str, FloatArray], df: dict[str, int]
) -> dict[str, str]:
    """Replace series by what is their own among them; return why some cannot be used.

    A run without one of the seeds has none of them: with fewer seeds a semi-partial correlation
    is another quantity, which must not be averaged with this one.
    """
    absent = [name for name in names if name not in series]
    if absent:
        reason = NO_PARTNER.format(others=", ".join(absent), network=network)
        return dict.fromkeys(names, reason)
    n_others = len(names) - 1
    if df[names[0]] <= n_others:
        return dict.fromkeys(names, NO_DF.format(n_seeds=len(names)))
    parts = unique_parts(np.column_stack([series[name] for name in names]))
    for name, part in zip(names, parts.T, strict=True):
        series[name] = part
        df[name] -= n_others
    lost = [name for name in names if not np.isfinite(series[name]).all()]
    return dict.fromkeys(lost, NOT_UNIQUE.format(network=network))


def compute_regions(
    seeds: Sequence[Seed], runs: Sequence[RunSeries], grid: Grid
) -> dict[str, SeedResult]:
    """Return the maps of sphere and mask seeds, in one pass over each run.

    Centres are in the space of the grid; the results are by seed name.
    """
    maps: dict[str, list[FloatArray]] = {seed.name: [] for seed in seeds}
    weights: dict[str, list[int]] = {seed.name: [] for seed in seeds}
    regions: dict[str, list[Region]] = {seed.name: [] for seed in seeds}
    for number, run in enumerate(runs, start=1):
        found, series, df = _series(seeds, run, number, grid)
        for name, region in found.items():
            regions[name].append(region)
        if not series:
            continue
        correlations = correlate_seeds(np.column_stack(list(series.values())), run.smoothed)
        for name, r in zip(series, correlations, strict=True):
            whole = np.full(run.mask.shape, np.nan)
            whole[run.mask] = fisher_z(r)
            maps[name].append(whole[grid.mask])
            weights[name].append(df[name])
    return {
        seed.name: combined(seed, maps[seed.name], weights[seed.name], regions[seed.name])
        for seed in seeds
    }


def compute_mean(
    seed: Seed, members: Sequence[Seed], results: Mapping[str, SeedResult], grid: Grid
) -> SeedResult:
    """Return the mean of the z maps of a seed's members.

    With ``exclude_own`` each member's own region counts as missing in its map, so that a network
    map is not its own echo there. A member that is missing is left out and named; with fewer
    than two members the mean is missing.

    ``results`` holds those of the members, by name.
    """
    present = [member for member in members if results[member.name].z is not None]
    left_out = tuple(
        LEFT_OUT.format(member=member.name) for member in members if member not in present
    )
    regions = tuple(region for member in members for region in results[member.name].regions)
    if len(present) < MIN_MEMBERS:
        missing = NO_MEMBERS.format(
            seed=seed.name, n_members=len(members), left_out=", ".join(left_out)
        )
        return SeedResult(
            z=None, r=None, regions=regions, residual_df=0, missing=missing, left_out=left_out
        )
    total = np.zeros(int(grid.mask.sum()))
    count = np.zeros(total.size)
    for member in present:
        z = np.array(results[member.name].z, dtype=float)
        if seed.exclude_own:
            z[seed_voxels(member, grid.mask, grid)[0]] = np.nan
        total += np.nan_to_num(z)
        count += np.isfinite(z)
    mean = np.divide(total, count, out=np.full(total.size, np.nan), where=count > 0)
    residual_df = min(results[member.name].residual_df for member in present)
    return map_result(mean, regions, residual_df, left_out)


def compute(seeds: Sequence[Seed], runs: Sequence[RunSeries], grid: Grid) -> dict[str, SeedResult]:
    """Return the maps of all seeds of a session; means need their members among the seeds.

    Parameters
    ----------
    seeds : sequence of Seed
        Centres in the space of the grid.
    runs : sequence of RunSeries
        The usable runs.
    grid : Grid

    Returns
    -------
    dict of SeedResult by seed name
        In the order of ``seeds``.

    Notes
    -----
    Seeds of one network whose ``regression`` is ``"together"`` are in one regression; they must
    all be among ``seeds``. See :func:`.unique_parts` for the formula.

    Raises
    ------
    KeyError
        A member is not among the seeds.
    ValueError
        The grid lacks the region of a mask seed.
    """
    by_name = {seed.name: seed for seed in seeds}
    results = compute_regions([seed for seed in seeds if seed.kind != "mean"], runs, grid)
    for seed in seeds:
        if seed.kind == "mean":
            members = [by_name[name] for name in seed.members]
            results[seed.name] = compute_mean(seed, members, results, grid)
    return {seed.name: results[seed.name] for seed in seeds}
