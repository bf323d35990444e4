"""Time and memory of the local measures and of seed maps, beside other ways to compute them.

    OMP_NUM_THREADS=1 python -m benchmarks.measures [--voxels 60000] [--volumes 300] [--peer 1500]

A grid of 60 × 72 × 60 voxels of 3 mm, a head of 60,000 voxels in it, 300 volumes of noise that is
smooth in space and time. Each kernel and its peer get the same arrays in the same run; what they
find is compared first, and what numba compiles is compiled before the clock starts. Peers of which
a voxel costs the same everywhere are run on ``--peer`` voxels and scaled.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal, stats

from rls_bids.measures.seed import compute
from rls_bids.numerics.alff import Amplitudes, amplitudes, gapped_density
from rls_bids.numerics.centrality import compute_centrality
from rls_bids.numerics.reho import kendall_w
from rls_bids.numerics.seedmaps import Grid, RunSeries
from rls_bids.records import Seed

Array = NDArray[Any]
Figures = tuple[float, float]

SHAPE = (60, 72, 60)
AFFINE = np.array([[3.0, 0, 0, -88.5], [0, 3, 0, -106.5], [0, 0, 3, -88.5], [0, 0, 0, 1]])
REPETITION_TIME = 2.0
BAND = (0.01, 0.08)
N_SEEDS, RADIUS_MM = 20, 6.0
CENSORED = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The series as an image and as rows, the same numbers."""

    image: nib.Nifti1Image
    mask: Array
    series: Array
    seeds: list[Seed]


def clocks() -> Array:
    """Wall and CPU seconds; on a busy machine only the second is comparable."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(call: Callable[[], Any], n_times: int = 3) -> tuple[Any, Figures]:
    """Return the last result, and the smallest wall and CPU seconds of a few runs."""
    spent = []
    for _ in range(n_times):
        start = clocks()
        result = call()
        spent.append(clocks() - start)
    wall, cpu = np.min(spent, axis=0)
    return result, (float(wall), float(cpu))


def line(what: str, seconds: Figures, peer: Figures | None = None, note: str = "") -> None:
    """Print a row of the table."""
    text = f"{what:<66} {seconds[0]:9.2f} {seconds[1]:9.2f}"
    if peer is not None:
        text += f"   {peer[0] / seconds[0]:6.1f} × {peer[1] / seconds[1]:6.1f} ×"
    print(f"{text}   {note}".rstrip(), flush=True)


def make_data(n_voxels: int, n_volumes: int) -> Data:
    """Make the head (the voxels nearest to the middle of an ellipsoid), its series and seeds."""
    rng = np.random.default_rng(1)
    axes = [np.linspace(-1, 1, n) for n in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    distance = (x**2 + y**2 + z**2).ravel()
    mask = np.zeros(SHAPE, dtype=bool)
    mask.flat[np.argsort(distance, kind="stable")[:n_voxels]] = True
    # Volume after volume, as nibabel loads a file.
    volumes = np.empty((*SHAPE, n_volumes), dtype=np.float32, order="F")
    previous = np.zeros(SHAPE, dtype=np.float32)
    for index in range(n_volumes):
        noise = rng.standard_normal(SHAPE, dtype=np.float32)
        smooth = ndimage.gaussian_filter(noise, 1.0)
        previous = 0.6 * previous + smooth / smooth.std() + 0.5 * noise
        volumes[..., index] = 100.0 + previous
    volumes[~mask] = 0
    inner = np.argwhere(ndimage.binary_erosion(mask, iterations=4))
    centres = inner[rng.choice(len(inner), N_SEEDS, replace=False)] @ AFFINE[:3, :3].T
    seeds = [
        Seed(name=f"s{n}", network="", kind="sphere", centre_mm=tuple(mm), radius_mm=RADIUS_MM)
        for n, mm in enumerate((centres + AFFINE[:3, 3] + 0.7).tolist())
    ]
    image = nib.Nifti1Image(volumes, AFFINE)
    return Data(image=image, mask=mask, series=masked(volumes, mask), seeds=seeds)


def masked(volumes: Array, mask: Array) -> Array:
    """Return the voxels of the mask in C order, (n_volumes, n_voxels)."""
    rows = volumes.reshape(-1, volumes.shape[-1], order="F").T
    return rows.take(np.ravel_multi_index(np.nonzero(mask), mask.shape, order="F"), axis=1)


def our_seed_maps(data: Data, series: Array) -> Array:
    """Return Fisher z maps, (n_seeds, n_voxels), as the measure makes them."""
    run = RunSeries(
        unsmoothed=series,
        smoothed=series,
        mask=data.mask,
        tsnr=np.full(series.shape[1], 100.0),
        residual_df=len(series),
    )
    found = compute(data.seeds, [run], Grid(mask=data.mask, affine=AFFINE))
    return np.stack([result.z for result in found.values()])


def peer_seed_maps(data: Data, image: nib.Nifti1Image) -> Array:
    """Return the same by nilearn: standardised series of spheres and of voxels, and a product."""
    from nilearn.maskers import NiftiMasker, NiftiSpheresMasker

    mask_image = nib.Nifti1Image(data.mask.astype(np.uint8), AFFINE)
    centres = [seed.centre_mm for seed in data.seeds]
    spheres = NiftiSpheresMasker(
        centres, radius=RADIUS_MM, mask_img=mask_image, standardize="zscore_sample",
        allow_overlap=True, reports=False,
    )  # fmt: skip
    brain = NiftiMasker(mask_img=mask_image, standardize="zscore_sample", reports=False)
    seeds = spheres.fit_transform(image)
    voxels = brain.fit_transform(image)
    r = np.dot(seeds.T, voxels) / (len(voxels) - 1)
    return np.arctanh(np.clip(r, -1 + 1e-7, 1 - 1e-7))


def seed_maps(data: Data) -> None:
    """Compare seed maps, from the image and from the masked series that travel between nodes.

    nilearn is several times faster when the volumes of a voxel lie side by side in memory, which
    they do not in an image that nibabel has loaded; both are shown.
    """
    volumes = np.asarray(data.image.dataobj)
    ours, seconds = timed(lambda: our_seed_maps(data, data.series), 5)
    again, masking = timed(lambda: our_seed_maps(data, masked(volumes, data.mask)), 5)
    assert np.array_equal(ours, again)
    side_by_side = nib.Nifti1Image(np.ascontiguousarray(volumes), AFFINE)
    for layout, image in (("as nibabel loads", data.image), ("side by side", side_by_side)):
        theirs, peer = timed(lambda image=image: peer_seed_maps(data, image))
        worst = np.abs(np.tanh(ours) - np.tanh(theirs)).max()
        assert worst < 1e-5, worst
        line(f"{N_SEEDS} seed maps: nilearn's two maskers, volumes {layout}", peer)
        line("    ours, from the image", masking, peer)
        line("    ours, from the masked series", seconds, peer, f"r within {worst:.0e}")


def tied(ranks: Array) -> float:
    """Return the sum of g³ − g over the groups of g tied ranks of one voxel."""
    counts = np.unique(ranks, return_counts=True)[1].astype(float)
    return float((counts**3 - counts).sum())


def plain_w(ranks: Array, ties: float) -> float:
    """Kendall's W of (n_volumes, n_neighbours) ranks."""
    n, m = ranks.shape
    squares = float(((ranks.sum(axis=1) - m * (n + 1) / 2) ** 2).sum())
    return 12 * squares / (m**2 * (n**3 - n) - m * ties)


def reho(data: Data, n_peer: int) -> None:
    """Compare ReHo with loops over voxels: all in the loop, and ranks and ties beforehand."""
    place = np.full(SHAPE, -1)
    place[data.mask] = np.arange(data.series.shape[1])
    inner = np.argwhere(ndimage.binary_erosion(data.mask, np.ones((3, 3, 3))))
    chosen = inner[np.linspace(0, len(inner) - 1, n_peer).astype(int)]
    near = [place[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2].ravel() for x, y, z in chosen]

    def in_the_loop(voxels: Array) -> float:
        ranks = stats.rankdata(data.series[:, voxels], axis=0)
        return plain_w(ranks, sum(tied(column) for column in ranks.T))

    def beforehand() -> tuple[Array, Array]:
        ranks = stats.rankdata(data.series, axis=0)
        return ranks, np.array([tied(column) for column in ranks.T])

    kendall_w(data.series[:4], data.mask)  # compiles
    ours, seconds = timed(lambda: kendall_w(data.series, data.mask))
    theirs, sliced = timed(lambda: [in_the_loop(n) for n in near], 1)
    (ranks, ties), ranking = timed(beforehand, 1)
    again, looping = timed(lambda: [plain_w(ranks[:, n], ties[n].sum()) for n in near], 1)
    for found in (theirs, again):
        assert np.allclose(ours[place[tuple(chosen.T)]], found, rtol=0, atol=1e-6)
    scale = data.series.shape[1] / n_peer
    loop = (sliced[0] * scale, sliced[1] * scale)
    ranked = (ranking[0] + looping[0] * scale, ranking[1] + looping[1] * scale)
    line("ReHo-27: Python loop over voxels (scaled)", loop)
    line("    ours", seconds, loop)
    line("    a loop with ranks and ties made beforehand (scaled)", ranked)
    line("    ours", seconds, ranked)


def alff(data: Data, n_peer: int) -> None:
    """Compare ALFF with scipy's Lomb-Scargle, with and without gaps."""
    n_volumes = len(data.series)
    rng = np.random.default_rng(2)
    gaps = np.ones(n_volumes, dtype=bool)
    gaps[rng.choice(n_volumes, int(CENSORED * n_volumes), replace=False)] = False
    times = np.flatnonzero(gaps) * REPETITION_TIME
    n_bins = (n_volumes - 1) // 2
    angular = 2 * np.pi * np.arange(1, n_bins + 1) / (n_volumes * REPETITION_TIME)
    cut = data.series[gaps]

    def lombscargle() -> Array:
        columns = cut[:, :n_peer].astype(float).T
        found = [signal.lombscargle(times, x, angular, floating_mean=True) for x in columns]
        return 2 * REPETITION_TIME * np.transpose(found)

    def ours(series: Array, mask: Array) -> Amplitudes:
        return amplitudes(series, mask, REPETITION_TIME, BAND)

    theirs, sliced = timed(lombscargle, 1)
    density = gapped_density(cut[:, :n_peer].astype(float), gaps, REPETITION_TIME)
    assert np.allclose(density[:n_bins], theirs, rtol=1e-6, atol=1e-6)
    peer = tuple(seconds * data.series.shape[1] / n_peer for seconds in sliced)
    line(f"ALFF + fALFF, {CENSORED:.0%} censored: scipy.signal.lombscargle (scaled)", peer)
    line("    ours, with correction", timed(lambda: ours(cut, gaps))[1], peer)
    whole = np.ones(n_volumes, dtype=bool)
    found, seconds = timed(lambda: ours(data.series, whole))
    frequencies, power = signal.periodogram(
        data.series[:, :n_peer].astype(float), 1 / REPETITION_TIME, detrend="constant", axis=0
    )
    in_band = (frequencies >= BAND[0] - 1e-9) & (frequencies <= BAND[1] + 1e-9)
    assert np.allclose(found.alff[:n_peer], np.sqrt(power[in_band]).mean(axis=0), rtol=1e-6)
    line("    ours, no gaps", seconds)


def centrality_alone(path: str, density: float | None, n_threads: int) -> tuple[Figures, float]:
    """Return seconds, and the peak memory (GB) of this process."""
    series = np.load(path, mmap_mode="r")
    compute_centrality(np.asarray(series[:, :50]), density=density)  # compiles
    _, seconds = timed(lambda: compute_centrality(series, density=density, n_threads=n_threads), 1)
    # Not getrusage: its peak also counts the parent that this process was started from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return seconds, int(status.split("VmHWM:")[1].split()[0]) / 2**20


def centrality(data: Data, n_peer: int) -> None:
    """Compare degree centrality with a dense matrix of some voxels; time and memory of all."""
    some = data.series[:, :: max(1, data.series.shape[1] // n_peer)][:, :n_peer]
    found = compute_centrality(some)
    r = np.corrcoef(some.T)
    np.fill_diagonal(r, 0)
    edges = r > 0.25
    # A pair within rounding of the threshold may fall on either side.
    assert np.abs(found.at_threshold.binary - edges.sum(axis=0)).max() <= 1
    assert np.allclose(found.strength, np.arctanh(r).sum(axis=0) / (len(r) - 1), atol=1e-6)
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.npy"
        np.save(path, data.series)
        for density, n_threads in ((None, 1), (None, 2), (0.05, 2)):
            # A process of its own, so that its peak memory is that of the kernel.
            with spawn.Pool(1) as pool:
                seconds, memory = pool.apply(centrality_alone, (str(path), density, n_threads))
            what = "r > .25" if density is None else f"r > .25 and density {density:.0%}"
            text = f"Degree centrality, FC strength, {what}, {n_threads} thread(s)"
            line(text, seconds, None, f"{memory:.2f} GB")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--voxels", type=int, default=60_000)
    parser.add_argument("--volumes", type=int, default=300)
    parser.add_argument("--peer", type=int, default=1500)
    options = parser.parse_args()
    data = make_data(options.voxels, options.volumes)
    print(f"{data.series.shape[1]} voxels of {SHAPE}, {len(data.series)} volumes")
    print(f"{'':<66} {'wall s':>9} {'CPU s':>9}   {'faster: wall':>8} {'CPU':>7}")
    seed_maps(data)
    reho(data, options.peer)
    alff(data, options.peer)
    centrality(data, options.peer)


if __name__ == "__main__":
    main()
