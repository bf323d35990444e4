"""Speed and accuracy of group inference, beside nilearn.

``python -m benchmarks.inference`` times TFCE of a 2 mm map (after asserting equal results) and the
permutation test of 60 participants: t, Welch's v, t with a covariate that differs by voxel.
``--memory`` measures 500 participants (with ``--voxelwise`` such a covariate, too), ``--tail`` the
fitted tail of 500 resamplings against 20,000, ``--power`` a planted effect beside `permuted_ols`,
``--critical`` the critical values of the Anderson-Darling statistic.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from nilearn.mass_univariate import permuted_ols
from nilearn.mass_univariate._utils import calculate_tfce
from numpy.typing import NDArray
from scipy import ndimage, stats

from rls_bids.numerics import tail
from rls_bids.numerics.exchangeability import (
    Resamplings,
    Units,
    choose_exchangeability,
    draw_resamplings,
)
from rls_bids.numerics.permutation import Rules, permutation_test
from rls_bids.numerics.statistic import Statistic, prepare_statistic
from rls_bids.numerics.tfce import VoxelNeighbours, tfce, voxel_neighbours

SHAPE = (97, 115, 97)
SIGMA = 1.3  # voxels: 6 mm full width at half maximum
N_FULL = 5000

FloatArray = NDArray[np.floating]


def brain() -> NDArray[np.bool_]:
    """Return an ellipsoid of 235,000 voxels on the standard 2 mm grid."""
    x, y, z = np.ogrid[-1:1:97j, -1:1:115j, -1:1:97j]
    return np.asarray((x / 0.72) ** 2 + (y / 0.78) ** 2 + (z / 0.76) ** 2 < 1.0)


def smooth_map(rng: np.random.Generator, mask: NDArray[np.bool_]) -> FloatArray:
    """Return one map of smooth noise of unit variance in the mask, (n_voxels,) float32."""
    values = ndimage.gaussian_filter(rng.standard_normal(mask.shape, dtype=np.float32), SIGMA)
    return np.asarray(values[mask] / values[mask].std(), dtype=np.float32)


def clocks() -> FloatArray:
    """Wall and CPU seconds; on a busy machine only the second is comparable."""
    return np.array([time.perf_counter(), time.process_time()])


def time_tfce() -> None:
    """Assert equal results, then print seconds of both and their ratio."""
    mask = brain()
    values = smooth_map(np.random.default_rng(1), mask)
    neighbours = voxel_neighbours(mask)
    start = clocks()
    tfce(values, neighbours)
    print(f"TFCE, compilation: {clocks()[0] - start[0]:.1f} s wall")
    image = np.zeros((*mask.shape, 1))
    image[mask, 0] = values
    ours, theirs = [], []
    for _ in range(3):
        start = clocks()
        found = tfce(values, neighbours)
        ours.append(clocks() - start)
        start = clocks()
        other = calculate_tfce(image, np.ones((3, 3, 3)))[mask, 0]
        theirs.append(clocks() - start)
    step = np.abs(values).max() / 100
    r = np.corrcoef(found, other)[0, 1]
    off = np.linalg.norm(found - step * other) / np.linalg.norm(found)
    print(f"  {mask.sum()} voxels, both signs: r {r:.5f}, {100 * off:.1f} % off nilearn times dh")
    assert r > 0.999
    assert off < 0.05
    (wall, cpu), (wall_other, cpu_other) = np.median(ours, axis=0), np.median(theirs, axis=0)
    print(
        f"  rls_bids {wall:.3f} s wall, {cpu:.3f} s CPU; nilearn {wall_other:.2f}, {cpu_other:.2f}"
    )
    print(f"  ratio {wall_other / wall:.0f} wall, {cpu_other / cpu:.0f} CPU (medians of 3)")


def planned(
    n: int, n_resamplings: int, *, is_welch: bool = False, n_voxel_covariates: int = 0
) -> tuple[Statistic, Resamplings, FloatArray]:
    """Return a two-group test with three covariates."""
    rng = np.random.default_rng(2)
    group = np.repeat([1.0, 0.0], [n // 2, n - n // 2])
    design = np.column_stack([group, 1 - group, rng.standard_normal((n, 3))])
    contrast = [1, -1, 0, 0, 0]
    labels = group if is_welch else None
    chosen = choose_exchangeability(design, contrast, Units(variance_groups=labels))
    drawn = draw_resamplings(chosen, design, n_resamplings, 0)
    test = prepare_statistic(
        design, contrast, variance_groups=labels, n_voxel_covariates=n_voxel_covariates
    )
    return test, drawn, design


def mapped_cohort(folder: Path, n: int, mask: NDArray[np.bool_], seed: int = 3) -> FloatArray:
    """Write maps of n participants, and return them as a memory map."""
    rng = np.random.default_rng(seed)
    path = folder / f"maps{seed}.npy"
    maps = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=(n, int(mask.sum())))
    few = [smooth_map(rng, mask) for _ in range(min(n, 60))]
    for row in range(n):
        maps[row] = few[row % len(few)] + 0.5 * rng.standard_normal(maps.shape[1])
    maps.flush()
    del maps
    loaded: FloatArray = np.load(path, mmap_mode="r")
    return loaded


def peak_gb() -> float:
    """Return the largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def time_permutation(n: int, n_resamplings: int) -> None:
    """Print seconds of the whole test, by one and two threads, and scaled to 5,000."""
    mask = brain()
    neighbours = voxel_neighbours(mask)
    with tempfile.TemporaryDirectory() as folder:
        maps, grey = (mapped_cohort(Path(folder), n, mask, seed) for seed in (3, 4))
        for is_welch, covariates in ((False, None), (True, None), (False, grey)):
            n_covariates = 0 if covariates is None else 1
            test, drawn, _ = planned(
                n, n_resamplings, is_welch=is_welch, n_voxel_covariates=n_covariates
            )
            few = Resamplings(
                order=drawn.order[:2], sign=drawn.sign[:2], n_distinct=2, is_exhaustive=False
            )
            permutation_test(maps, test, few, neighbours, voxel_covariates=covariates)  # compiles
            _time_threads(maps, test, drawn, neighbours, covariates)


def _time_threads(
    maps: FloatArray,
    test: Statistic,
    drawn: Resamplings,
    neighbours: VoxelNeighbours,
    covariates: FloatArray | None,
) -> None:
    found = []
    n_rows = len(drawn.order)
    name = test.name if covariates is None else f"{test.name} with a covariate of voxels"
    for n_threads in (1, 2):
        start = clocks()
        found.append(
            permutation_test(
                maps, test, drawn, neighbours, n_threads=n_threads, voxel_covariates=covariates
            )
        )
        wall, cpu = clocks() - start
        scaled = np.array([wall, cpu]) / n_rows * (N_FULL + 1)
        print(
            f"{name}, {len(maps)} participants, {maps.shape[1]} voxels, {n_rows} resamplings,"
            f" {n_threads} thread(s): {wall:.1f} s wall, {cpu:.1f} s CPU; "
            f"{N_FULL}: {scaled[0] / 60:.1f} min wall, {scaled[1] / 60:.1f} min CPU; "
            f"peak {peak_gb():.2f} GB"
        )
    assert np.array_equal(found[0].p_enhanced, found[1].p_enhanced)


def check_tail(n_sets: int = 200) -> None:
    """Print how far the p of 500 resamplings and a tail are from those of 20,000."""
    mask = np.ones((8, 8, 8), dtype=bool)
    neighbours = voxel_neighbours(mask)
    design = np.repeat(np.eye(2), 15, axis=0)
    chosen = choose_exchangeability(design, [1, -1])
    test = prepare_statistic(design, [1, -1])
    ratios: dict[str, list[float]] = {"one value": [], "voxel": [], "mass": [], "enhanced": []}
    for index in range(n_sets):
        rng = np.random.default_rng(index)
        white = rng.standard_normal((30, *mask.shape), dtype=np.float32)
        data = ndimage.gaussian_filter(white, (0, SIGMA, SIGMA, SIGMA)).reshape(30, -1)
        goal = 10 ** rng.uniform(-3, -1)
        few = draw_resamplings(chosen, design, 500, index)
        many = draw_resamplings(chosen, design, 20_000, 10_000 + index)
        rules = Rules(cluster_p=0.01)
        found = [permutation_test(data, test, one, neighbours, rules=rules) for one in (few, many)]
        single = [permutation_test(data[:, :1], test, one) for one in (few, many)]
        for kind, collected in ratios.items():
            name = "voxel" if kind == "one value" else kind
            pair = single if kind == "one value" else found
            small, large = (getattr(one.maxima, name) for one in pair)
            value = np.quantile(large, 1 - goal)
            expected = (large >= value).mean()
            if 0.001 <= expected <= 0.1:
                is_normal = name == "voxel"
                found_p = tail.tail_p(small, value, is_normal=is_normal)
                collected.append(float(found_p / expected))
    for kind, several in ratios.items():
        log = np.log10(several)
        print(
            f"tail, {kind}: median |log10 ratio| {np.median(np.abs(log)):.3f}, median log10 ratio "
            f"{np.median(log):+.3f}, p90 {np.quantile(np.abs(log), 0.9):.3f}, {len(log)} sets"
        )


def check_known_tails(n_sets: int = 1500) -> None:
    """Print the same for distributions whose tail is known exactly: maxima of normal values."""
    for n_values in (1, 50, 1000):
        rng = np.random.default_rng(5)
        log = []
        for _ in range(n_sets):
            p = 10 ** rng.uniform(-3, -1)
            # The two-sided p of the maximum of n values is 1 - (1 - p of each)^n.
            drawn = stats.norm.isf(-np.expm1(np.log(rng.random(500)) / n_values) / 2)
            value = stats.norm.isf(-np.expm1(np.log1p(-p) / n_values) / 2)
            log.append(np.log10(tail.tail_p(np.r_[value, drawn], value, is_normal=True) / p))
        print(
            f"tail, maximum of {n_values} normal values: median |log10 ratio| "
            f"{np.median(np.abs(log)):.3f}, median {np.median(log):+.3f}, "
            f"p90 {np.quantile(np.abs(log), 0.9):.3f}, {n_sets} sets"
        )


def compare_power(n_studies: int = 100) -> None:
    """Print how often a planted block is found by both, voxelwise, with 200 resamplings."""
    mask = np.ones((14, 14, 14), dtype=bool)
    neighbours = voxel_neighbours(mask)
    planted = np.zeros(mask.shape)
    planted[5:9, 5:9, 5:9] = 0.12
    design = np.repeat(np.eye(2), 15, axis=0)
    chosen = choose_exchangeability(design, [1, -1])
    test = prepare_statistic(design, [1, -1])
    hits = np.zeros(3)
    for study in range(n_studies):
        white = np.random.default_rng(study).standard_normal((30, *mask.shape))
        data = ndimage.gaussian_filter(white, (0, SIGMA, SIGMA, SIGMA)).reshape(30, -1)
        data[:15] += planted.ravel()
        drawn = draw_resamplings(chosen, design, 200, study)
        found = permutation_test(data, test, drawn, neighbours)
        other = permuted_ols(design[:, :1], data, n_perm=200, random_state=study)
        inside = planted.ravel() > 0
        hits += [
            found.p_voxel[inside].min() <= 0.05,
            other["logp_max_t"][0][inside].max() >= -np.log10(0.05),
            found.p_enhanced[inside].min() <= 0.05,
        ]
    ours, theirs, enhanced = hits / n_studies
    print(f"power, voxelwise: rls_bids {ours:.2f}, permuted_ols {theirs:.2f}; TFCE {enhanced:.2f}")


def print_critical() -> None:
    """Print the 95th percentile of the Anderson-Darling statistic for true tails."""
    rng = np.random.default_rng(4)
    for n in (30, 125, 250):
        row = []
        for shape in (-0.5, -0.25, 0.0, 0.25, 0.5):
            found = []
            for _ in range(4000):
                values = np.sort(stats.genpareto.rvs(shape, size=n, random_state=rng))
                found.append(tail._anderson_darling(values, *tail._estimate(values)))
            row.append(f"{shape:+.2f} {np.quantile(found, 0.95):.3f}")
        print(f"Anderson-Darling, {n} values, shape and 95th percentile: " + ", ".join(row))


def measure_memory(n: int, *, is_voxelwise: bool) -> None:
    """Print the peak memory of a test of many participants, maps on disk."""
    mask = brain()
    with tempfile.TemporaryDirectory() as folder:
        maps = mapped_cohort(Path(folder), n, mask)
        grey = mapped_cohort(Path(folder), n, mask, seed=4) if is_voxelwise else None
        before = peak_gb()
        test, drawn, _ = planned(n, 128, n_voxel_covariates=int(is_voxelwise))
        permutation_test(
            maps, test, drawn, voxel_neighbours(mask), n_threads=2, voxel_covariates=grey
        )
        size = maps.nbytes / 1e9 * (1 + is_voxelwise)
        print(
            f"{n} participants, {maps.shape[1]} voxels ({size:.2f} GB on disk), 2 threads: peak "
            f"{peak_gb():.2f} GB, pages of the file included; before the test {before:.2f} GB"
        )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--participants", type=int, help="60; for --memory 500")
    parser.add_argument("--resamplings", type=int, default=255)
    for name in ("memory", "voxelwise", "tail", "power", "critical"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.participants or 500, is_voxelwise=options.voxelwise)
    elif options.tail:
        check_known_tails()
        check_tail()
    elif options.power:
        compare_power()
    elif options.critical:
        print_critical()
    else:
        time_tfce()
        time_permutation(options.participants or 60, options.resamplings)


if __name__ == "__main__":
    main()
