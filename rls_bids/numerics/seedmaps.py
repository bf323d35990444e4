"""What maps of seeds are made from and of: runs, grid, regions, and their mean over runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.correlation import combine_runs, inverse_fisher_z
from rls_bids.records import Seed

VERSION = "1"

NO_RUN = "{seed} is missing in every run: {reasons}."

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The output grid of a session.

    Attributes
    ----------
    mask : (X, Y, Z) bool array
        Voxels of the maps that come out: the union of the runs' masks.
    affine : (4, 4) array
        Voxel to RAS mm.
    regions : mapping of str to (X, Y, Z) bool array
        Mask seeds by their ``mask`` name, on this grid and not cut by the brain mask.
    tissues : mapping of str to (X, Y, Z) array
        Probabilities by tissue name; may be empty.
    """

    mask: BoolArray
    affine: FloatArray
    regions: Mapping[str, BoolArray] = field(default_factory=dict)
    tissues: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeries:
    """The residuals of one run.

    Attributes
    ----------
    unsmoothed, smoothed : (n_kept, n_voxels) float32 arrays
        In the voxels of ``mask`` (C order).
    mask : (X, Y, Z) bool array
        On the output grid.
    tsnr : (n_voxels,) array
        Before denoising.
    residual_df : int
    """

    unsmoothed: NDArray[np.floating]
    smoothed: NDArray[np.floating]
    mask: BoolArray
    tsnr: NDArray[np.floating]
    residual_df: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What one run has of one seed: counts of voxels, and why it is missing (or empty)."""

    seed: str
    run: int
    n_voxels: int
    n_region: int
    coverage: float
    tissue_fractions: Mapping[str, float]
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """The map of one seed over the runs of a session.

    Attributes
    ----------
    z, r : (n_voxels,) float32 arrays or None
        Fisher z and tanh(z) in the voxels of the grid's mask; NaN where no run has a value. None
        when the seed is missing.
    regions : tuple of Region
        One a run, of each member for a mean.
    residual_df : int
        Sum over the runs that are in the map; for a mean the smallest of its members.
    missing : str
        Why there is no map, or empty.
    left_out : tuple of str
        Runs or members that are not in the map, as sentences.
    """

    z: NDArray[np.float32] | None
    r: NDArray[np.float32] | None
    regions: tuple[Region, ...]
    residual_df: int
    missing: str = ""
    left_out: tuple[str, ...] = ()


def combined(
    seed: Seed, maps: Sequence[FloatArray], weights: Sequence[int], regions: Sequence[Region]
) -> SeedResult:
    """Average the runs that have a seed's map, weighted, and say which have not.

    Parameters
    ----------
    seed : Seed
    maps : sequence of (n_voxels,) arrays
        Fisher z of the runs that have it.
    weights : sequence of int
        Their residual degrees of freedom.
    regions : sequence of Region
        One a run.
    """
    reasons = [f"run {region.run}: {region.missing}" for region in regions if region.missing]
    if not maps:
        missing = NO_RUN.format(seed=seed.name, reasons="; ".join(reasons) or "no run")
        return SeedResult(z=None, r=None, regions=tuple(regions), residual_df=0, missing=missing)
    z = combine_runs(np.stack(maps), weights)
    return map_result(z, tuple(regions), sum(weights), tuple(reasons))


def map_result(
    z: FloatArray, regions: tuple[Region, ...], residual_df: int, left_out: tuple[str, ...]
) -> SeedResult:
    """Return a result from a map of Fisher z."""
    return SeedResult(
        z=z.astype(np.float32),
        r=inverse_fisher_z(z).astype(np.float32),
        regions=regions,
        residual_df=residual_df,
        left_out=left_out,
    )
