"""Statistics of tables: harmonised sites, mixed models with missing sessions, intervals.

``python -m benchmarks.tables`` prints (1) how often groups are said to differ where they do not,
after ComBat with the test that harmonises every resampling anew, beside t of once harmonised
values; (2) alarms and coverage of mixed models, and their time beside statsmodels; (3) coverage of
bootstrap limits. Seeds are indices of studies.
"""

import argparse
import time
import warnings

import numpy as np
from numpy.typing import NDArray
from statsmodels.regression.mixed_linear_model import MixedLM

from rls_bids.numerics.association import Bootstrap, bootstrap_interval
from rls_bids.numerics.combat import combat_permutation, harmonise
from rls_bids.numerics.exchangeability import Units, choose_exchangeability, draw_resamplings
from rls_bids.numerics.glm import fit
from rls_bids.numerics.mixed import fit_mixed

FloatArray = NDArray[np.float64]

# Groups are spread unevenly over four sites with shifts and scales of their own.
FIRST, SECOND = (3, 13, 4, 12), (13, 3, 12, 4)
SHIFT = np.array([0.0, 3.0, -2.0, 1.0])
SCALES = {"equal scales": np.ones(4), "scales 0.6 to 2": np.array([1.0, 2.0, 0.6, 1.4])}
N_FEATURES, N_RESAMPLINGS = 20, 99


def measure_combat(n_studies: int, name: str, scale: FloatArray) -> None:
    """Print false alarms of the refitted test and of t after one harmonisation."""
    site = np.repeat(np.arange(4), np.add(FIRST, SECOND))
    pairs = zip(FIRST, SECOND, strict=True)
    side = np.concatenate([np.repeat([1, -1], pair) for pair in pairs])
    design, contrast = np.column_stack([side == 1, side == -1]).astype(float), [1.0, -1.0]
    chosen = choose_exchangeability(design, contrast, Units(sites=site))
    refitted, family, once = [], [], []
    for study in range(n_studies):
        rng = np.random.default_rng(study)
        values = rng.standard_normal((len(site), N_FEATURES)) * scale[site, None]
        values += SHIFT[site, None] + rng.standard_normal((4, N_FEATURES))[site]
        drawn = draw_resamplings(chosen, design, N_RESAMPLINGS, study)
        found = combat_permutation(values, site, design, contrast, drawn, side)
        refitted.append((found.p_permutation <= 0.05 + 1e-9).mean())
        family.append(found.p_fwe.min() <= 0.05 + 1e-9)
        once.append((fit(harmonise(values, site, design), design, contrast).p <= 0.05).mean())
    print(f"ComBat, {name}, {n_studies} null studies, 64 participants, {N_FEATURES} features")
    print(f"  refitted in every resampling: {np.mean(refitted):.3f} of features, "
          f"{np.mean(family):.3f} of studies family-wise")  # fmt: skip
    print(f"  t of once harmonised values:  {np.mean(once):.3f} of features")


def sessions(rng: np.random.Generator, n: int, m: int) -> FloatArray:
    """Return n participants with two sessions, ICC .5, three in ten sessions missing."""
    values = np.repeat(rng.standard_normal((n, m)), 2, axis=0) + rng.standard_normal((2 * n, m))
    values[rng.random(values.shape) < 0.3] = np.nan
    return values


def measure_mixed(n_columns: int) -> None:
    """Print false alarms, coverage, and time beside statsmodels."""
    print(f"Mixed models, {n_columns} null columns, two sessions, 30 % of rows missing")
    for n in (16, 40):
        values = sessions(np.random.default_rng(n), n, n_columns)
        labels, group = np.repeat(np.arange(n), 2), np.repeat(np.arange(n) < n // 2, 2)
        design = np.column_stack([group, ~group, np.tile([0, 1], n)]).astype(float)
        for name, contrast in (("groups", [1, -1, 0]), ("sessions", [0, 0, 1])):
            start = time.process_time()
            found = fit_mixed(values, design, contrast, labels)
            seconds = time.process_time() - start
            covered = (found.lower < 0) & (found.upper > 0)
            is_reml = np.array(found.method) == "REML"
            print(
                f"  n {n}, {name}: alarms {np.mean(found.p <= 0.05):.3f}, covered "
                f"{covered.mean():.3f}, REML in {is_reml.mean():.2f}, "
                f"{1000 * seconds / n_columns:.1f} ms CPU a column"
            )
    start, few = time.process_time(), 20
    for column in values.T[:few]:
        rows = np.isfinite(column)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MixedLM(column[rows], design[rows], labels[rows]).fit(method="powell")
    print(f"  statsmodels: {1000 * (time.process_time() - start) / few:.1f} ms CPU a column")


def measure_limits(n_columns: int) -> None:
    """Print how often 95 % limits hold a planted correlation."""
    rng = np.random.default_rng(0)
    print(f"Bootstrap limits, {n_columns} columns in blocks of 10, Pearson r .5, 2,000 samples")
    for n in (20, 60):
        hits: dict[bool, list[bool]] = {True: [], False: []}
        for _ in range(n_columns // 10):
            score = rng.standard_normal(n)
            noise = rng.standard_normal((n, 10))
            values = 0.5 * score[:, None] + np.sqrt(0.75) * noise
            for kind in (True, False):
                rules = Bootstrap(is_corrected=kind)
                lower, upper = bootstrap_interval(score, values, None, "pearson", rules)
                hits[kind] += ((lower < 0.5) & (upper > 0.5)).tolist()
        print(f"  n {n}: BCa {np.mean(hits[True]):.3f}, percentile {np.mean(hits[False]):.3f}")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300)
    n = parser.parse_args().studies
    for name, scale in SCALES.items():
        measure_combat(n, name, scale)
    measure_mixed(10 * n)
    measure_limits(5 * n)


if __name__ == "__main__":
    main()
