"""Permutation tests: p against hand counts and nilearn, false alarms, power, threads."""

import itertools

import numpy as np
import pytest
from nilearn.mass_univariate import permuted_ols
from scipy import ndimage, stats

from rls_bids.numerics import permutation
from rls_bids.numerics.exchangeability import (
    Units,
    choose_exchangeability,
    count_distinct,
    draw_resamplings,
)
from rls_bids.numerics.glm import fit
from rls_bids.numerics.nbs import node_pairs
from rls_bids.numerics.permutation import Rules, corrected_p, permutation_test, smallest_p
from rls_bids.numerics.statistic import prepare_statistic
from rls_bids.numerics.tail import tail_p
from rls_bids.numerics.tfce import label_clusters, tfce, voxel_neighbours

MASK = np.ones((7, 6, 5), dtype=bool)
NEIGHBOURS = voxel_neighbours(MASK)


def groups(*sizes):
    return np.repeat(np.eye(len(sizes)), sizes, axis=0)


def smooth(rng, n):
    """Noise of n participants on the small grid."""
    noise = rng.standard_normal((n, *MASK.shape), dtype=np.float32)
    return ndimage.gaussian_filter(noise, (0, 0.8, 0.8, 0.8)).reshape(n, -1)


def run(data, design, contrast, *, units=None, n=99, seed=0, neighbours=NEIGHBOURS, **more):
    given = units or Units()
    chosen = choose_exchangeability(design, contrast, given)
    drawn = draw_resamplings(chosen, design, n, seed)
    test = prepare_statistic(design, contrast, variance_groups=given.variance_groups)
    return permutation_test(data, test, drawn, neighbours, **more)


# --- p against hand counts ----------------------------------------------------------------------


def test_all_sign_flips_of_seven(rng):
    values = rng.standard_normal((7, 3)) + 1.0
    found = run(values, np.ones((7, 1)), [1], n=500, neighbours=None)
    flips = np.array(list(itertools.product([1, -1], repeat=7)))[:, :, None]
    t = np.abs(stats.ttest_1samp(flips * values, 0, axis=1).statistic)
    assert np.allclose(found.p, (t >= t[0] * (1 - 1e-9)).mean(axis=0))
    largest = t.max(axis=1)
    assert np.allclose(found.p_voxel, [(largest >= one * (1 - 1e-9)).mean() for one in t[0]])
    assert (found.n_distinct, found.is_exhaustive) == (128, True)
    assert found.smallest_p == pytest.approx(0.0156, abs=5e-5)
    one_sided = run(
        values, np.ones((7, 1)), [1], n=500, neighbours=None, rules=Rules(is_two_sided=False)
    )
    assert one_sided.smallest_p == pytest.approx(1 / 128)


def test_all_ways_to_make_two_groups(rng):
    values = rng.standard_normal((9, 2)) + groups(4, 5)[:, :1]
    found = run(values, groups(4, 5), [1, -1], n=500, neighbours=None)
    t = []
    for first in itertools.combinations(range(9), 4):
        rest = [i for i in range(9) if i not in first]
        t.append(np.abs(stats.ttest_ind(values[list(first)], values[rest]).statistic))
    assert np.allclose(found.p, (np.array(t) >= np.array(t[0]) * (1 - 1e-9)).mean(axis=0))
    assert found.n_distinct == len(t) == 126


@pytest.mark.parametrize(
    ("design", "units", "expected"),
    [
        (groups(4, 4), Units(), 2 / 70),  # the groups may change names
        (groups(4, 5), Units(), 1 / 126),
        (groups(5, 5), Units(pairs=[*range(5)] * 2), 2 / 32),
        (np.column_stack([groups(3, 3), [1.0, 5, 2, 3, 9, 4]]), Units(), 1 / 720),
    ],
)
def test_smallest_p(design, units, expected):
    contrast = [1, -1, 0][: design.shape[1]]
    drawn = draw_resamplings(choose_exchangeability(design, contrast, units), design, 5000, 0)
    assert smallest_p(prepare_statistic(design, contrast), drawn) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pairs", "participants"])
def test_pairs_and_sessions_are_tests_of_differences(name, rng):
    """Pairs (permuted) and two sessions (flipped) with an indicator for each: the paired test."""
    first, second = rng.standard_normal((2, 6, 5))
    whose = np.tile(np.arange(6), 2)
    design = np.column_stack([np.repeat([0.5, -0.5], 6), np.eye(6)[whose]])
    units = Units(**{name: whose})
    both = run(
        np.vstack([first, second]), design, [1] + [0] * 6, units=units, n=99, neighbours=None
    )
    single = run(first - second, np.ones((6, 1)), [1], n=99, neighbours=None)
    assert both.n_distinct == single.n_distinct == 64
    assert np.allclose(both.z, single.z, atol=1e-5)
    assert np.allclose(both.p, single.p)
    assert np.allclose(both.p_voxel, single.p_voxel)
    assert both.smallest_p == single.smallest_p == 2 / 64


def test_sampled_p_count_the_data(rng):
    values = np.zeros((20, 1))
    values[:10] = 5 + rng.standard_normal((10, 1))
    values[10:] = rng.standard_normal((10, 1))
    found = run(values, groups(10, 10), [1, -1], n=200, neighbours=None)
    assert [found.p.item(), found.p_voxel.item(), found.smallest_p] == pytest.approx([1 / 201] * 3)


def test_the_maps_are_those_of_their_kernels(rng):
    data = smooth(rng, 20) + 0.6 * groups(10, 10)[:, :1]
    found = run(data, groups(10, 10), [1, -1])
    z = fit(data, groups(10, 10), [1, -1]).z
    assert np.allclose(found.z, z, atol=1e-4)
    assert np.allclose(found.enhanced, tfce(z, NEIGHBOURS), rtol=1e-3)
    assert found.threshold == pytest.approx(3.2905, abs=1e-4)
    assert np.array_equal(found.labels, label_clusters(z, NEIGHBOURS, found.threshold))
    assert found.maxima.voxel[0] == pytest.approx(np.abs(z).max(), abs=1e-4)
    assert found.maxima.enhanced[0] == pytest.approx(np.abs(found.enhanced).max())
    for one, p in ((found.maxima.extent, found.p_extent), (found.maxima.mass, found.p_mass)):
        assert p[found.labels != 0].min() == pytest.approx(corrected_p(one, one[0]))
        assert (p[found.labels == 0] == 1).all()


def test_two_signs_have_one_maximum(rng):
    data = smooth(rng, 14)
    plus, minus = run(data, np.ones((14, 1)), [1]), run(-data, np.ones((14, 1)), [1])
    assert np.array_equal(plus.p_enhanced, minus.p_enhanced)
    assert np.array_equal(plus.z, -minus.z)
    assert np.array_equal(plus.maxima.mass, minus.maxima.mass)


# --- nilearn ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_one_sample", [False, True])
def test_p_is_that_of_nilearn(is_one_sample, rng):
    n, n_resamplings = 20, 1000
    data = smooth(rng, n).astype(float)
    data[:10, :60] += 0.35
    if is_one_sample:
        tested, confounds, design, contrast = np.ones((n, 1)), None, np.ones((n, 1)), [1]
    else:
        tested, age = groups(10, 10)[:, :1], rng.standard_normal((n, 1))
        confounds = np.hstack([age, np.ones((n, 1))])
        design, contrast = np.hstack([tested, confounds]), [1, 0, 0]
    theirs = permuted_ols(
        tested, data, confounds, model_intercept=False, n_perm=n_resamplings, random_state=0
    )
    found = run(data, design, contrast, n=n_resamplings)
    expected = 10 ** -theirs["logp_max_t"][0]
    error = np.sqrt(2 * expected * (1 - expected) / n_resamplings)
    assert np.all(np.abs(found.p_voxel - expected) < 4 * error + 0.003)
    assert expected.min() < 0.2 < expected.max()


# --- the same whatever the machine --------------------------------------------------------------


def test_threads_and_blocks_change_nothing(rng, monkeypatch):
    data = smooth(rng, 16)
    first = run(data, groups(8, 8), [1, -1], n=300)
    for n_threads in (2, 3):
        other = run(data, groups(8, 8), [1, -1], n=300, n_threads=n_threads)
        for name in ("p", "p_voxel", "p_extent", "p_mass", "p_enhanced", "z"):
            assert np.array_equal(getattr(first, name), getattr(other, name))
    monkeypatch.setattr(permutation, "BLOCK", 16 * 64)
    assert np.array_equal(run(data, groups(8, 8), [1, -1], n=300).p_enhanced, first.p_enhanced)
    assert not np.array_equal(
        run(data, groups(8, 8), [1, -1], n=300, seed=1).p_enhanced, first.p_enhanced
    )


def test_memory_maps_are_read_and_left_alone(rng, tmp_path):
    data = smooth(rng, 12)
    np.save(tmp_path / "maps.npy", data)
    mapped = np.load(tmp_path / "maps.npy", mmap_mode="r")
    assert np.array_equal(
        run(mapped, groups(6, 6), [1, -1]).p_enhanced, run(data, groups(6, 6), [1, -1]).p_enhanced
    )
    assert np.array_equal(np.load(tmp_path / "maps.npy"), data)


def test_untested_voxels_never_stand_out(rng):
    data = smooth(rng, 12)
    data[:, 5], data[3, 8] = 4.0, np.nan
    found = run(data, groups(6, 6), [1, -1])
    for p in (found.p, found.p_voxel, found.p_extent, found.p_mass, found.p_enhanced):
        assert (p[[5, 8]] == 1).all()
        assert np.isfinite(p).all()


# --- false alarms and power ---------------------------------------------------------------------

TWO = groups(20, 20)
UNEQUAL = groups(15, 30)
NULLS = {
    "20 v 20": (TWO, [1, -1], Units(), 1.0),
    "15 v 30, SD ratio 2": (
        UNEQUAL, [1, -1], Units(variance_groups=UNEQUAL[:, 0]), np.repeat([2.0, 1.0], [15, 30]),
    ),
    "matched pairs": (TWO, [1, -1], Units(pairs=[*range(20)] * 2), 1.0),
    "one sample": (np.ones((15, 1)), [1], Units(), 1.0),
}  # fmt: skip
N_STUDIES, BOUND = 200, 0.12


@pytest.mark.parametrize("name", NULLS)
def test_rate_of_false_alarms(name):
    design, contrast, units, spread = NULLS[name]
    chosen = choose_exchangeability(design, contrast, units)
    test = prepare_statistic(design, contrast, variance_groups=units.variance_groups)
    alarms = np.zeros(3)
    for study in range(N_STUDIES):
        rng = np.random.default_rng([study, len(design)])
        data = smooth(rng, len(design)) * np.reshape(spread, (-1, 1))
        if units.pairs is not None:
            data += np.tile(smooth(rng, 20), (2, 1))
        drawn = draw_resamplings(chosen, design, 39, study)
        found = permutation_test(data, test, drawn, NEIGHBOURS, rules=Rules(cluster_p=0.01))
        alarms += [p.min() <= 0.05 for p in (found.p_voxel, found.p_extent, found.p_enhanced)]
    assert (alarms / N_STUDIES <= BOUND).all()
    assert (alarms / N_STUDIES >= 0.005)[[0, 2]].all()  # nor is it blind


def test_power_is_not_below_nilearn(rng):
    """A planted block is found by both with the same resampling scheme and correction."""
    ours, theirs = 0, 0
    planted = np.zeros(MASK.shape)
    planted[2:5, 2:5, 1:4] = 0.22
    for study in range(30):
        data = smooth(np.random.default_rng(study), 24).astype(float)
        data[:12] += planted.ravel()
        found = run(data, groups(12, 12), [1, -1], n=400, seed=study, neighbours=None)
        ours += found.p_voxel.min() <= 0.05
        other = permuted_ols(
            groups(12, 12)[:, :1], data, n_perm=400, random_state=study, model_intercept=True
        )
        theirs += other["logp_max_t"].max() >= -np.log10(0.05) - 1e-9
    assert 5 <= ours <= 25  # neither blind nor at the ceiling
    assert abs(ours - theirs) <= 2  # chance of the resamplings


# --- networks, tables, several measurements -----------------------------------------------------


def test_a_planted_network_is_found(rng):
    pairs = node_pairs(12)
    values = rng.standard_normal((30, 66))
    planted = (pairs.first < 4) & (pairs.second < 4)
    values[:15, planted] += 1.6
    found = run(values, groups(15, 15), [1, -1], neighbours=pairs, rules=Rules(cluster_p=0.01))
    assert found.p_extent[planted].min() <= 0.05
    assert found.p_mass[planted].min() <= 0.05
    assert found.p_enhanced[planted].min() <= 0.05
    assert found.p_enhanced[~planted].mean() > 0.3


def test_several_sessions_together(rng):
    contrasts = rng.standard_normal((12, 2, 40))
    contrasts[:, 1, 0] += 4
    chosen = choose_exchangeability(np.ones((12, 1)), [1])
    drawn = draw_resamplings(chosen, np.ones((12, 1)), 200, 0)
    test = prepare_statistic(np.ones((12, 1)), [1], n_responses=2)
    found = permutation_test(contrasts, test, drawn)
    assert found.p_voxel[0] <= 0.02
    assert found.p_voxel[1:].min() > 0.02


def mass_of(found):
    """Return the mass of each voxel's cluster."""
    mass = np.zeros(len(found.z))
    for label in set(found.labels) - {0}:
        mine = found.labels == label
        mass[mine] = (np.abs(found.z[mine]) - found.threshold).sum()
    return mass


def test_tails_make_small_p_finer(rng):
    data = smooth(rng, 30)
    data[:15, :20] += 0.9
    plain = run(data, groups(15, 15), [1, -1], n=600)
    fitted = run(data, groups(15, 15), [1, -1], n=600, rules=Rules(is_tail_fitted=True))
    assert plain.p_enhanced.min() == pytest.approx(1 / 601)
    assert 1 / 6000 <= fitted.p_enhanced.min() < 1 / 601
    expected = tail_p(fitted.maxima.voxel, np.abs(fitted.z), is_normal=True)
    assert np.array_equal(fitted.p_voxel, expected)
    assert np.array_equal(fitted.p_mass, tail_p(fitted.maxima.mass, mass_of(fitted)))
    common = plain.p_enhanced > 0.3
    assert np.array_equal(plain.p_enhanced[common], fitted.p_enhanced[common])


def test_what_does_not_fit_is_told(rng):
    design = groups(5, 5)
    chosen = choose_exchangeability(design, [1, -1])
    drawn = draw_resamplings(chosen, design, 9, 0)
    test = prepare_statistic(design, [1, -1])
    assert count_distinct(chosen, design) == 252
    with pytest.raises(ValueError, match="rows"):
        permutation_test(np.zeros((9, 4)), test, drawn)
    with pytest.raises(ValueError, match="neighbourhood"):
        permutation_test(np.zeros((10, 4)), test, drawn, NEIGHBOURS)
    with pytest.raises(ValueError, match="neighbourhood"):
        permutation_test(np.zeros((10, 2, 4)), test, drawn)


def test_golden_values_hold_while_the_version_stands():
    assert permutation.VERSION == "1", "numbers changed: store new golden values"
    n = np.arange(10.0 * MASK.sum()).reshape(10, -1)
    found = run(np.sin(n * n), groups(5, 5), [1, -1], n=300)
    assert np.allclose([found.p[7], found.p_voxel.min(), found.p_enhanced.min()], GOLDEN)


GOLDEN = [0.626984127, 0.634920635, 0.650793651]
