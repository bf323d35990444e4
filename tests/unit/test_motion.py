"""Motion as a finding: QC-FC beside scipy, planted motion, matched groups by brute force."""

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy import stats

from rls_bids.numerics.columns import compare_columns
from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
from rls_bids.numerics.motion import (
    compare_strategies,
    distance_dependence,
    match_pairs,
    qc_fc,
    trim_motion,
)


def test_equal_to_scipy(rng) -> None:
    edges, fd = rng.standard_normal((20, 50)), rng.gamma(2.0, 0.1, 20)
    lengths = rng.uniform(10, 150, 50)
    before = edges.copy()
    found = qc_fc(edges, fd, lengths=lengths)
    expected = [stats.pearsonr(fd, edge) for edge in edges.T]
    r = np.array([one.statistic for one in expected])
    np.testing.assert_allclose(found.r, r)
    np.testing.assert_allclose(found.p, [one.pvalue for one in expected], rtol=1e-8)
    assert found.median_abs_r == pytest.approx(np.median(np.abs(r)))
    assert found.share_significant == np.mean([one.pvalue < 0.05 for one in expected])
    assert found.distance_rho == pytest.approx(stats.spearmanr(r, lengths).statistic)
    np.testing.assert_array_equal(edges, before)


@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 2)])
def test_covariates_are_taken_out_and_counted(rng, shape) -> None:
    covariates = rng.standard_normal(shape)
    fd, edges = rng.standard_normal(40), rng.standard_normal((40, 3))
    found = qc_fc(edges, fd, covariates)
    design = np.column_stack([np.ones(40), covariates])

    def rest(y):
        return y - design @ np.linalg.lstsq(design, y)[0]

    for j in range(3):
        r = np.corrcoef(rest(fd), rest(edges[:, j]))[0, 1]
        df = 40 - 1 - design.shape[1]
        t = r * np.sqrt(df / (1 - r**2))
        assert (found.r[j], found.p[j]) == pytest.approx((r, 2 * stats.t.sf(abs(t), df)))


def test_planted_motion_falls_with_distance(rng) -> None:
    lengths = np.linspace(10, 150, 300)
    fd = rng.gamma(2.0, 0.1, 60)
    noise = 0.2 * rng.standard_normal((60, 300))
    dirty = noise + np.outer(fd - fd.mean(), np.linspace(1.5, -0.5, 300))
    clean, found = qc_fc(noise, fd, lengths=lengths), qc_fc(dirty, fd, lengths=lengths)
    assert found.distance_rho < -0.8
    assert found.median_abs_r > 2 * clean.median_abs_r
    assert found.share_significant > 0.4
    assert clean.share_significant < 0.15
    assert abs(clean.distance_rho) < 0.2
    grouped = qc_fc(dirty, fd, covariates=fd + 0.01 * rng.standard_normal(60), lengths=lengths)
    assert grouped.share_significant < 0.2  # a covariate that is all but FD leaves little


def test_edges_that_cannot_be_tested_do_not_count(rng) -> None:
    edges, fd = rng.standard_normal((12, 6)), rng.standard_normal(12)
    alone = qc_fc(edges[:, 2:], fd, lengths=np.arange(4.0))
    edges[0, 0], edges[:, 1] = np.nan, 3.0
    found = qc_fc(edges, fd, lengths=[9.0, 9.0, 0.0, 1.0, 2.0, 3.0])
    assert np.isnan(found.r[:2]).all()
    assert found.n_edges == 4
    for name in ("median_abs_r", "share_significant", "distance_rho"):
        assert getattr(found, name) == pytest.approx(getattr(alone, name))
    nothing = qc_fc(np.ones((12, 2)), fd)
    assert np.isnan([nothing.median_abs_r, nothing.distance_rho]).all()


def test_distance_without_variation_is_unknown() -> None:
    assert np.isnan(distance_dependence([0.1, 0.2], [1.0, 2.0]))
    assert np.isnan(distance_dependence([0.1, 0.2, 0.3], [5.0, 5.0, 5.0]))
    with pytest.raises(ValueError, match="one an edge"):
        distance_dependence([0.1, 0.2], [1.0])


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_the_best_of_all(seed) -> None:
    """As many pairs as possible, then the smallest sum of gaps, against every assignment."""
    rng = np.random.default_rng(seed)
    fd = rng.gamma(2.0, 0.1, 9)
    is_first = np.arange(9) < 5
    found = match_pairs(fd, is_first, 0.06)
    best = (0, 0.0)
    for order in permutations(range(5), 4):  # who of the first group goes to each of the second
        gaps = [abs(fd[i] - fd[5 + j]) for j, i in enumerate(order)]
        near = [gap for gap in gaps if gap <= 0.06]
        best = max(best, (len(near), -sum(near)))
    gaps = np.abs(fd[found.pairs[:, 0]] - fd[found.pairs[:, 1]])
    assert (len(gaps), -gaps.sum()) == pytest.approx(best)
    assert is_first[found.pairs[:, 0]].all()
    assert not is_first[found.pairs[:, 1]].any()
    assert found.kept.sum() == 2 * len(gaps)


def test_pairs_bring_groups_together(rng) -> None:
    is_first = np.arange(60) < 30
    fd = rng.gamma(4.0, 0.05, 60) + 0.08 * is_first
    found = match_pairs(fd, is_first, 0.02)
    assert found.difference[0] == pytest.approx(fd[:30].mean() - fd[30:].mean())
    assert abs(found.difference[1]) <= 0.02 < found.difference[0]
    assert abs(found.d[1]) < 0.2 < found.d[0]
    assert found.is_matched
    again = match_pairs(fd, is_first, 0.02)
    np.testing.assert_array_equal(again.kept, found.kept)
    nobody = match_pairs([0.1, 0.2, 1.1, 1.2], [True, True, False, False], 0.05)
    assert not nobody.is_matched
    assert not nobody.kept.any()


def test_trimming_leaves_out_the_one_who_matters_most() -> None:
    rng = np.random.default_rng(1)
    is_first = np.arange(12) < 6
    fd = rng.gamma(4.0, 0.05, 12) + 0.1 * is_first

    def gap(kept):
        rows = np.isin(np.arange(12), kept)
        return abs(fd[rows & is_first].mean() - fd[rows & ~is_first].mean())

    whole = gap(range(12))
    one = min(gap(kept) for kept in combinations(range(12), 11))
    found = trim_motion(fd, is_first, (whole + one) / 2)
    assert found.kept.sum() == 11
    assert abs(found.difference[1]) == pytest.approx(one)
    assert found.is_matched
    assert trim_motion(fd, is_first, whole).kept.all()  # the bound is met already


def test_trimming_is_symmetric_and_ends() -> None:
    fd = np.array([0.1, 0.2, 0.9, 0.1, 0.2, 0.3])
    is_first = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    one, other = trim_motion(fd, is_first, 0.1), trim_motion(fd, ~is_first, 0.1)
    np.testing.assert_array_equal(one.kept, other.kept)
    assert one.difference == pytest.approx([-x for x in other.difference])
    apart = trim_motion([0.1, 0.2, 0.3, 5.1, 5.2, 5.3], is_first, 0.1)
    assert not apart.is_matched
    assert (apart.kept & is_first).sum() == (apart.kept & ~is_first).sum() == 2


def test_strategies_side_by_side(rng) -> None:
    design = np.repeat(np.eye(2), 10, axis=0)
    drawn = draw_resamplings(choose_exchangeability(design, [1, -1]), design, 99, 0)
    values = rng.standard_normal((20, 5)) + design[:, :1] * [3, -3, 3, -3, 3]
    tests = {
        name: compare_columns(table, design, [1, -1], drawn, (10, 10))
        for name, table in {"24P": values, "36P": values * 0.5, "none": -values}.items()
    }
    motion = {"36P": qc_fc(values, rng.standard_normal(20))}
    rows = compare_strategies(tests, motion)
    assert [row.name for row in rows] == ["24P", "36P", "none"]
    assert [row.is_sign_kept.tolist() for row in rows] == [[True] * 5, [True] * 5, [False] * 5]
    assert [row.effect_r for row in rows] == pytest.approx([1, 1, -1])
    np.testing.assert_array_equal(rows[1].t, tests["36P"].t)
    assert [row.motion for row in rows] == [None, motion["36P"], None]
    fewer = compare_columns(values[:, :2], design, [1, -1], drawn, (10, 10))
    with pytest.raises(ValueError, match="'36P' has 2 columns"):
        compare_strategies({"24P": tests["24P"], "36P": fewer})
    with pytest.raises(ValueError, match="No strategy"):
        compare_strategies({})


def test_bad_groups() -> None:
    with pytest.raises(ValueError, match="2 or more each"):
        match_pairs([0.1, 0.2, 0.3], [True, False, False], 0.1)
    with pytest.raises(ValueError, match="1 participants have no mean FD"):
        trim_motion([0.1, np.nan, 0.3, 0.4], [True, True, False, False], 0.1)
    with pytest.raises(ValueError, match="0 or more"):
        trim_motion([0.1, 0.2, 0.3, 0.4], [True, True, False, False], -0.1)
