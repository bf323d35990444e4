"""Family-wise error of the permutation tests: predeclared designs, restartable.

``python -m benchmarks.fwe FOLDER`` runs 1,000 null studies of every design of
``docs/validation-inference.md`` with 500 resamplings each on a grid of 8,000 voxels (the family:
2,000), writes one line a study to ``FOLDER/<design>.jsonl`` and prints the table. The seed of a
study is its index. A second call goes on where the first was stopped; ``--table`` only prints.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, stats

from rls_bids.numerics.exchangeability import Units, choose_exchangeability, draw_resamplings
from rls_bids.numerics.family import correct_family
from rls_bids.numerics.permutation import permutation_test
from rls_bids.numerics.statistic import prepare_statistic
from rls_bids.numerics.tfce import voxel_neighbours

GRID, SMALL_GRID = (20, 20, 20), (20, 10, 10)
SIGMA = 1.27  # voxels: 3 voxels full width at half maximum
N_RESAMPLINGS = 500
ALPHA = 0.05
CHUNK = 10
FloatArray = NDArray[np.floating]
CORRECTIONS = ("voxel", "extent", "mass", "tfce")


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A null study: how it is drawn, how it is tested, and which cells must pass."""

    draw: Callable[[np.random.Generator], FloatArray]
    design: ArrayLike
    contrast: ArrayLike
    units: Units = field(default_factory=Units)
    n_responses: int = 1
    asserted: tuple[str, ...] = ("tfce",)
    grid: tuple[int, int, int] = GRID


def noise(rng: np.random.Generator, n: int, grid: tuple[int, ...] = GRID) -> FloatArray:
    """Return smooth Gaussian maps of unit variance, (n, n_voxels)."""
    white = rng.standard_normal((n, *grid), dtype=np.float32)
    maps = ndimage.gaussian_filter(white, (0, SIGMA, SIGMA, SIGMA), mode="wrap")
    return (maps / maps.std()).reshape(n, -1)


def groups(*sizes: int) -> FloatArray:
    """Return one indicator column a group."""
    return np.repeat(np.eye(len(sizes)), sizes, axis=0)


def with_spread(n1: int, n2: int, first: float) -> Design:
    """Two groups, the first with a standard deviation of its own, Welch's v and sign-flipping."""
    spread = np.repeat([first, 1.0], [n1, n2])[:, None].astype(np.float32)
    return Design(
        draw=lambda rng: noise(rng, n1 + n2) * spread,
        design=groups(n1, n2),
        contrast=[1, -1],
        units=Units(variance_groups=groups(n1, n2)[:, 0]),
    )


def draw_pairs(rng: np.random.Generator) -> FloatArray:
    """Two groups of 20, pairs of which share half of their variance."""
    return noise(rng, 40) + np.tile(noise(rng, 20), (2, 1))


def draw_sessions(rng: np.random.Generator, n: int, n_sessions: int) -> FloatArray:
    """Participants with sessions of growing variance and decaying correlation."""
    stable = noise(rng, n)
    sessions, state = [], noise(rng, n)
    for session in range(n_sessions):
        state = 0.6 * state + 0.8 * noise(rng, n)
        sessions.append(stable + (1 + 0.5 * session) * state)
    return np.stack(sessions, axis=1)


def draw_changes(rng: np.random.Generator) -> FloatArray:
    """Differences of two sessions of 20 participants."""
    first, second = np.moveaxis(draw_sessions(rng, 20, 2), 1, 0)
    return second - first


def draw_group_changes(rng: np.random.Generator) -> FloatArray:
    """Differences of two sessions of 18 + 22 participants."""
    first, second = np.moveaxis(draw_sessions(rng, 40, 2), 1, 0)
    return second - first


def draw_three_sessions(rng: np.random.Generator) -> FloatArray:
    """Two orthonormal contrasts of three sessions of 18 + 22 participants."""
    contrasts = np.array([[-1.0, 0.0, 1.0], [1.0, -2.0, 1.0]]) / np.sqrt([[2.0], [6.0]])
    return np.einsum("cs,nsv->ncv", contrasts, draw_sessions(rng, 40, 3))


SITES = np.repeat([0, 1, 2], [16, 16, 8])
AT_SITES = np.concatenate([np.arange(16) < 12, np.arange(16) < 5, np.arange(8) < 4]).astype(float)


def draw_sites(rng: np.random.Generator) -> FloatArray:
    """Three sites with means and scales of their own, groups 12/4, 5/11, 4/4."""
    scale = np.array([1.0, 1.6, 0.7], dtype=np.float32)[SITES][:, None]
    return scale * noise(rng, 40) + 2 * noise(rng, 3)[SITES]


def draw_skewed(rng: np.random.Generator) -> FloatArray:
    """Skewed differences (skewness about 1) of 20 participants, mean zero."""
    values = np.exp(0.314 * noise(rng, 20))
    return values - np.exp(0.314**2 / 2)


def draw_family(rng: np.random.Generator) -> FloatArray:
    """Six maps that share half of their variance and two of their own, (8, 40, n_voxels)."""
    shared = noise(rng, 40, SMALL_GRID)
    own = [noise(rng, 40, SMALL_GRID) for _ in range(8)]
    return np.stack([one + (shared if i < 6 else 0) for i, one in enumerate(own)])


TWO = groups(20, 20)
DESIGNS = {
    "20 v 20": Design(
        draw=lambda rng: noise(rng, 40),
        design=TWO,
        contrast=[1, -1],
        asserted=("voxel", "mass", "tfce"),
    ),
    "20 v 20, SD ratio 2": with_spread(20, 20, 2.0),
    "15 v 30, SD ratio 2": with_spread(15, 30, 2.0),
    "30 v 15, SD ratio 2": with_spread(30, 15, 2.0),
    "matched pairs": Design(
        draw=draw_pairs, design=TWO, contrast=[1, -1], units=Units(pairs=[*range(20)] * 2)
    ),
    "pre and post": Design(draw=draw_changes, design=np.ones((20, 1)), contrast=[1]),
    "group by two sessions": Design(
        draw=draw_group_changes, design=groups(18, 22), contrast=[1, -1]
    ),
    "group by three sessions": Design(
        draw=draw_three_sessions, design=groups(18, 22), contrast=[1, -1], n_responses=2
    ),
    "unbalanced sites": Design(
        draw=draw_sites,
        design=np.column_stack([AT_SITES, np.eye(3)[SITES]]),
        contrast=[1, 0, 0, 0],
        units=Units(sites=SITES),
    ),
    "family of eight maps": Design(
        draw=draw_family, design=TWO, contrast=[1, -1], grid=SMALL_GRID
    ),
    "skewed differences": Design(
        draw=draw_skewed, design=np.ones((20, 1)), contrast=[1], asserted=()
    ),
}


def run_study(name: str, study: int) -> dict[str, float]:
    """Return the smallest corrected p of each correction in one null study."""
    one = DESIGNS[name]
    neighbours = voxel_neighbours(np.ones(one.grid))
    data = one.draw(np.random.default_rng(study))
    chosen = choose_exchangeability(one.design, one.contrast, one.units)
    drawn = draw_resamplings(chosen, one.design, N_RESAMPLINGS, study)
    test = prepare_statistic(
        one.design,
        one.contrast,
        variance_groups=one.units.variance_groups,
        n_responses=one.n_responses,
    )
    maps = data if name.startswith("family") else [data]
    found = [permutation_test(values, test, drawn, neighbours) for values in maps]
    p = {}
    for correction in CORRECTIONS:
        kind = "enhanced" if correction == "tfce" else correction
        maxima = np.stack([getattr(each.maxima, kind) for each in found])
        p[correction] = float(correct_family(maxima).p_family.min())
    return {"study": study, **p}


def run_chunk(task: tuple[str, list[int]]) -> tuple[str, list[dict[str, float]]]:
    """Run a few studies of one design."""
    name, studies = task
    return name, [run_study(name, study) for study in studies]


def path_of(folder: Path, name: str) -> Path:
    """Return where the studies of a design are written."""
    return folder / (name.replace(",", "").replace(" ", "-") + ".jsonl")


def finished(folder: Path, name: str) -> dict[int, dict[str, float]]:
    """Return the studies that were written; half a last line is left out."""
    found = {}
    if path_of(folder, name).exists():
        for line in path_of(folder, name).read_text().splitlines():
            if line.endswith("}"):
                result = json.loads(line)
                found[int(result["study"])] = result
    return found


def missing(folder: Path, names: list[str], n_studies: int) -> Iterator[tuple[str, list[int]]]:
    """Yield what is left to do."""
    for name in names:
        done = finished(folder, name)
        left = [study for study in range(n_studies) if study not in done]
        for start in range(0, len(left), CHUNK):
            yield name, left[start : start + CHUNK]


def limits(n_studies: int) -> tuple[float, float]:
    """Return the rates that pass: the exact 1 - .01/m interval of m asserted cells."""
    n_checks = sum(len(one.asserted) for one in DESIGNS.values())
    low, high = stats.binom.interval(1 - 0.01 / n_checks, n_studies, ALPHA)
    return low / n_studies, high / n_studies


def print_table(folder: Path, names: list[str]) -> bool:
    """Print rates and verdicts; True if all asserted cells pass."""
    print("| design | studies | " + " | ".join(CORRECTIONS) + " |")
    print("|---" * (2 + len(CORRECTIONS)) + "|")
    is_passed = True
    for name in names:
        done = [result for _, result in sorted(finished(folder, name).items())]
        cells = []
        for correction in CORRECTIONS:
            rate = float(np.mean([result[correction] <= ALPHA for result in done] or [np.nan]))
            cell = f"{rate:.3f}"
            if correction in DESIGNS[name].asserted and done:
                low, high = limits(len(done))
                is_inside = low <= rate <= high
                is_passed &= is_inside
                cell = f"**{rate:.3f}**" if is_inside else f"**{rate:.3f} fails**"
            cells.append(cell)
        print(f"| {name} | {len(done)} | " + " | ".join(cells) + " |")
    low, high = limits(1000)
    print(
        f"\nBold cells must lie in {low:.3f} to {high:.3f} (1,000 studies); others are reported."
    )
    return is_passed


def main() -> int:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--n-cpus", type=int, default=2)
    parser.add_argument("--design", action="append", choices=DESIGNS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    names = options.design or list(DESIGNS)
    options.folder.mkdir(parents=True, exist_ok=True)
    tasks = [] if options.table else list(missing(options.folder, names, options.studies))
    start, cpu = time.monotonic(), 0.0
    with ProcessPoolExecutor(options.n_cpus) as pool:
        for number, (name, results) in enumerate(pool.map(run_chunk, tasks), start=1):
            with path_of(options.folder, name).open("a") as out:
                out.writelines(json.dumps(result) + "\n" for result in results)
            cpu = time.monotonic() - start
            print(f"{number}/{len(tasks)} {name}, {cpu:.0f} s", end="\r", flush=True)
    print()
    return 0 if print_table(options.folder, names) else 1


if __name__ == "__main__":
    raise SystemExit(main())
