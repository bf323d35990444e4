"""Dual regression: how each voxel goes with given network maps, all networks in one model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics import dualregression, seedmaps
from rls_bids.numerics.correlation import fisher_z
from rls_bids.numerics.dualregression import (
    maps_problem,
    network_series,
    partial_correlations,
)
from rls_bids.numerics.seedmaps import Grid, Region, RunSeries, SeedResult, combined
from rls_bids.records import Measure, Seed, Stat

MEASURE = Measure(
    name="dualregression",
    kind="network",
    version=f"1-{dualregression.VERSION}-{seedmaps.VERSION}",
    suffix="statmap",
    stats=(Stat(name="fisherz", unit="Fisher z", caption="Partial correlation as Fisher z."),),
    caption="Partial correlation of each voxel with the series of given network maps (Fisher z).",
    method=(
        "Given network maps were taken to each run by dual regression [@nickerson2017]: all maps "
        "in one spatial regression of each volume of the unsmoothed residuals gave the series of "
        "the networks, and all series in one temporal regression of each voxel's smoothed "
        "residuals gave the partial correlation with each network given the others, turned into "
        "Fisher z. Runs were averaged, weighted by residual degrees of freedom less those of the "
        "other networks."
    ),
    sources=("10.3389/fnins.2017.00115",),
)

OF_OTHERS = "{names}: {reason}"
NO_DF = "{n_maps} maps leave none of its {df} residual degrees of freedom"


def compute(
    seeds: Sequence[Seed], maps: NDArray[np.floating], runs: Sequence[RunSeries], grid: Grid
) -> dict[str, SeedResult]:
    """Return the map of every network over the runs of a session.

    A run in which a map has no spread, or in which the maps depend on each other, is in none of
    the results: with fewer networks in the model, partial correlations are another quantity.

    Parameters
    ----------
    seeds : sequence of Seed
        One a map.
    maps : (n_maps, X, Y, Z) array
        On the grid; 0 where a map has no value.
    runs : sequence of RunSeries
        The usable runs.
    grid : Grid

    Returns
    -------
    dict of SeedResult by seed name
        ``r`` is the partial correlation. ``regions`` tell how much of a map's absolute weight
        lies in the mask of each run.
    """
    z: list[list[NDArray[np.float64]]] = [[] for _ in seeds]
    regions: list[list[Region]] = [[] for _ in seeds]
    weights = []
    for number, run in enumerate(runs, start=1):
        inside = np.asarray(maps[:, run.mask], dtype=float)
        missing = _problem(seeds, inside, run)
        for own, seed, whole, part in zip(regions, seeds, maps, inside, strict=True):
            own.append(_region(seed, number, whole, part, missing))
        if missing:
            continue
        series = network_series(inside, run.unsmoothed)
        for own_z, r in zip(z, partial_correlations(series, run.smoothed), strict=True):
            volume = np.full(run.mask.shape, np.nan)
            volume[run.mask] = fisher_z(r)
            own_z.append(volume[grid.mask])
        weights.append(run.residual_df - len(seeds) + 1)
    return {
        seed.name: combined(seed, own_z, weights, own)
        for seed, own_z, own in zip(seeds, z, regions, strict=True)
    }


def _problem(seeds: Sequence[Seed], inside: NDArray[np.floating], run: RunSeries) -> str:
    """Say why the maps cannot be fitted to a run; empty where they can."""
    which, reason = maps_problem(inside)
    if which:
        names = ", ".join(seeds[each].name for each in which)
        return OF_OTHERS.format(names=names, reason=reason)
    # The regression needs two volumes more than maps, whatever the residual df are said to be.
    left = min(run.residual_df, len(run.smoothed) - 2) - len(seeds) + 1
    return "" if left > 0 else NO_DF.format(n_maps=len(seeds), df=run.residual_df)


def _region(
    seed: Seed,
    number: int,
    whole: NDArray[np.floating],
    part: NDArray[np.floating],
    missing: str,
) -> Region:
    total = float(np.abs(whole).sum(dtype=float))
    return Region(
        seed=seed.name,
        run=number,
        n_voxels=int(np.count_nonzero(part)),
        n_region=int(np.count_nonzero(whole)),
        coverage=float(np.abs(part).sum(dtype=float)) / total if total else 0.0,
        tissue_fractions={},
        missing=missing,
    )
