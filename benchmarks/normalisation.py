"""How often "treatment moves patients towards controls" is claimed without cause, and with.

``python -m benchmarks.normalisation`` draws 500 studies of every case (seed = index): 20 patients
before and after, 20 controls, 6 regions that correlate by .3, test–retest correlation .5, 999
resamplings. A study counts when the smallest family-wise p is .05 or less. The first cases have
no region that moves towards controls and must stay at .05 or below; the others are reported.
Beside them what is commonly done: regions chosen in the same scan, and the share of the deficit
that is recovered, tested against zero. ``--studies`` for a trial.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rls_bids.numerics.normalisation import Measured, towards_controls

N, M, RETEST, SHARED = 20, 6, 0.5, 0.3
N_RESAMPLINGS, ALPHA = 999, 0.05
N_SCREENED = 60

FloatArray = NDArray[np.float64]
Generator = np.random.Generator
HALF = np.arange(M) < M // 2


def regions(rng: Generator, n: int, m: int = M) -> FloatArray:
    """Return regions of unit variance that share a part of it, (n, m)."""
    own, shared = rng.standard_normal((n, m)), rng.standard_normal((n, 1))
    return np.asarray(np.sqrt(1 - SHARED) * own + np.sqrt(SHARED) * shared)


def sessions(rng: Generator, n: int, m: int = M) -> tuple[FloatArray, FloatArray]:
    """Return two sessions of unit variance with the test–retest correlation."""
    trait, stay, go = regions(rng, n, m), np.sqrt(RETEST), np.sqrt(1 - RETEST)
    return stay * trait + go * regions(rng, n, m), stay * trait + go * regions(rng, n, m)


def plain(deficit: FloatArray, effect: FloatArray) -> Callable[[Generator], Measured]:
    """Patients below controls by ``deficit`` before, and higher by ``effect`` after."""

    def draw(rng: Generator) -> Measured:
        before, after = sessions(rng, N)
        return Measured(
            before=before - deficit,
            after=after - deficit + effect,
            controls=regions(rng, N),
        )

    return draw


def chosen(*, has_untreated: bool) -> Callable[[Generator], Measured]:
    """Patients who came in because their regions were low before; nobody is treated."""

    def enrol(rng: Generator) -> tuple[FloatArray, FloatArray]:
        before, after = sessions(rng, 2 * N)
        rows = np.argsort(before.mean(axis=1))[:N]
        return before[rows], after[rows]

    def draw(rng: Generator) -> Measured:
        before, after = enrol(rng)
        other = enrol(rng)
        return Measured(
            before=before,
            after=after,
            controls=regions(rng, N),
            untreated=other[1] - other[0] if has_untreated else None,
        )

    return draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is drawn, and whether claims of it are false and bounded."""

    draw: Callable[[Generator], Measured]
    is_asserted: bool = True


NONE, FULL = np.zeros(M), np.full(M, 0.8)
CASES = {
    "no deficit, no effect": Case(draw=plain(NONE, NONE)),
    "deficit 0.8, no effect": Case(draw=plain(FULL, NONE)),
    "deficit 0.4, no effect": Case(draw=plain(FULL / 2, NONE)),
    "deficit in half, no effect": Case(draw=plain(FULL * HALF, NONE)),
    "no deficit, effect 0.8": Case(draw=plain(NONE, FULL)),
    "deficit in half, effect in the others": Case(draw=plain(2 * FULL * HALF, FULL * ~HALF)),
    "deficit 0.8, effect away": Case(draw=plain(FULL, -FULL)),
    "patients chosen for low values, untreated arm": Case(draw=chosen(has_untreated=True)),
    "patients chosen for low values, no such arm": Case(
        draw=chosen(has_untreated=False), is_asserted=False
    ),
    "deficit 0.8, fully recovered": Case(draw=plain(FULL, FULL), is_asserted=False),
    "deficit 0.8, half recovered": Case(draw=plain(FULL, FULL / 2), is_asserted=False),
    "deficit 1.2, fully recovered": Case(draw=plain(1.5 * FULL, 1.5 * FULL), is_asserted=False),
}


def is_claimed(measured: Measured, seed: int) -> bool:
    """Return whether any region is claimed family-wise."""
    found = towards_controls(measured, "declared", n_resamplings=N_RESAMPLINGS, seed=seed)
    return bool(np.nanmin(found.p_fwe) <= ALPHA + 1e-9)


def chosen_in_the_scan(rng: Generator) -> bool:
    """Choose the largest of many differences, and test its change by t: no deficit, no effect."""
    before, after = sessions(rng, N, N_SCREENED)
    controls = regions(rng, N, N_SCREENED)
    t = stats.ttest_ind(controls, before).statistic
    best = int(np.abs(t).argmax())
    change = np.sign(t[best]) * (after - before)[:, best]
    return bool(stats.ttest_1samp(change, 0, alternative="greater").pvalue <= ALPHA)


def share_recovered(rng: Generator) -> bool:
    """Test the recovered share of each patient's own deficit: no deficit, no effect."""
    before, after = (one[:, 0] for one in sessions(rng, N))
    aim = regions(rng, N)[:, 0].mean()
    share = np.clip((after - before) / (aim - before), -10, 10)
    return bool(stats.ttest_1samp(share, 0, alternative="greater").pvalue <= ALPHA)


def main() -> int:
    """Print the table; 1 if an asserted case claims too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    n = parser.parse_args().studies
    n_failed = 0
    for name, case in CASES.items():
        hits = [is_claimed(case.draw(np.random.default_rng(i)), i) for i in range(n)]
        verdict = ""
        if case.is_asserted:
            verdict = "pass" if np.mean(hits) <= ALPHA else "FAIL"
            n_failed += verdict == "FAIL"
        print(f"{name:48s} {np.mean(hits):.3f} {verdict}", flush=True)
    for common in (chosen_in_the_scan, share_recovered):
        hits = [common(np.random.default_rng(i)) for i in range(n)]
        print(f"{common.__name__.replace('_', ' '):48s} {np.mean(hits):.3f}")
    return int(n_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
