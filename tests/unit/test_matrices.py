"""Matrices of connectivity: planted structure, oracles, missing parcels, runs, sets, tangent."""

import numpy as np
import pytest
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import LedoitWolf

from rls_bids.numerics import matrices
from rls_bids.numerics.matrices import (
    combine_matrices,
    combine_shrunken,
    mean_between_sets,
    partial_matrix,
    pearson_matrix,
    shrunken_correlation,
    tangent_matrices,
    tangent_reference,
)

N_BLOCKS, PER_BLOCK = 4, 6
BLOCK_OF = np.repeat(np.arange(N_BLOCKS), PER_BLOCK)
RHO = 0.6


def blocks(n_volumes=400, seed=0):
    """Series of parcels in blocks: r = RHO within a block, 0 between."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_volumes, N_BLOCKS))[:, BLOCK_OF]
    own = rng.standard_normal((n_volumes, BLOCK_OF.size))
    return np.sqrt(RHO) * shared + np.sqrt(1 - RHO) * own


def standardised(series):
    return (series - series.mean(axis=0)) / series.std(axis=0)


@pytest.mark.parametrize("n_volumes", [20, 400])
def test_pearson_is_that_of_numpy(n_volumes):
    series = blocks(n_volumes) * 1e4 + 1e5
    before = series.copy()
    r = pearson_matrix(series)
    np.testing.assert_allclose(r, np.corrcoef(series.T), atol=1e-9)
    np.testing.assert_array_equal(r, r.T)
    assert (np.diag(r) == 1).all()
    np.testing.assert_array_equal(series, before)


def test_pearson_is_that_of_nilearn():
    series = blocks(150)
    oracle = ConnectivityMeasure(
        kind="correlation", cov_estimator=empirical(), standardize="zscore_sample"
    ).fit_transform([series])[0]
    np.testing.assert_allclose(pearson_matrix(series), oracle, atol=1e-6)


def empirical():
    from sklearn.covariance import EmpiricalCovariance

    return EmpiricalCovariance(store_precision=False)


@pytest.mark.parametrize(("n_volumes", "seed"), [(15, 1), (60, 2), (400, 3)])
def test_shrinkage_is_that_of_scikit_learn(n_volumes, seed):
    series = blocks(n_volumes, seed) * np.linspace(1, 50, BLOCK_OF.size)
    shrunken, shrinkage = shrunken_correlation(series)
    oracle = LedoitWolf(assume_centered=False).fit(standardised(series))
    assert shrinkage == pytest.approx(oracle.shrinkage_, abs=1e-9)
    np.testing.assert_allclose(shrunken, oracle.covariance_, atol=1e-9)
    assert np.linalg.eigvalsh(shrunken)[0] > 0  # also with fewer volumes than parcels


def test_shrinkage_is_complete_where_nothing_is_shared():
    series = np.random.default_rng(0).standard_normal((2000, 40))
    _, shrinkage = shrunken_correlation(series)
    assert shrinkage > 0.9
    assert shrunken_correlation(blocks(4000))[1] < 0.01


@pytest.mark.parametrize("n_volumes", [15, 60, 400])
def test_partial_is_that_of_nilearn(n_volumes):
    series = blocks(n_volumes)
    partial, _ = partial_matrix(series * np.linspace(1, 50, BLOCK_OF.size))
    oracle = ConnectivityMeasure(
        kind="partial correlation",
        cov_estimator=LedoitWolf(store_precision=False),
        standardize=None,
    ).fit_transform([standardised(series)])[0]
    off = ~np.eye(len(partial), dtype=bool)
    np.testing.assert_allclose(partial[off], oracle[off], atol=1e-6)
    assert (np.diag(partial) == 1).all()


def test_partial_takes_out_what_goes_through_a_third():
    rng = np.random.default_rng(0)
    first = rng.standard_normal(20_000)
    middle = first + rng.standard_normal(20_000)
    last = middle + rng.standard_normal(20_000)
    series = np.c_[first, middle, last]
    assert pearson_matrix(series)[0, 2] == pytest.approx(1 / np.sqrt(3), abs=0.02)
    partial, shrinkage = partial_matrix(series)
    assert shrinkage < 0.001
    assert partial[0, 2] == pytest.approx(0, abs=0.02)
    assert partial[0, 1] == pytest.approx(0.5, abs=0.02)  # from the precision matrix


def test_planted_blocks_are_recovered():
    r = pearson_matrix(blocks(4000))
    same = BLOCK_OF[:, None] == BLOCK_OF[None, :]
    off = ~np.eye(len(r), dtype=bool)
    # Standard error of r is (1 - rho^2) / sqrt(n) = .01 within and .016 between.
    assert np.abs(r[same & off] - RHO).max() < 0.05
    assert np.abs(r[~same]).max() < 0.08
    degree = ((r > 0.25) & off).sum(axis=0)
    assert (degree == PER_BLOCK - 1).all()


@pytest.mark.parametrize("function", [pearson_matrix, lambda s: partial_matrix(s)[0]])
def test_missing_parcels_are_rows_of_nan_and_change_nothing_else(function):
    series = blocks(100)
    holed = series.copy()
    holed[:, 3] = np.nan
    holed[7, 5] = np.nan
    holed[:, 9] = 4.0
    gone = [3, 5, 9]
    kept = np.setdiff1d(np.arange(BLOCK_OF.size), gone)
    found = function(holed)
    assert np.isnan(found[gone]).all()
    assert np.isnan(found[:, gone]).all()
    np.testing.assert_allclose(found[np.ix_(kept, kept)], function(series[:, kept]), atol=1e-12)


def test_nothing_left_is_all_nan():
    assert np.isnan(pearson_matrix(np.full((5, 3), np.nan))).all()
    assert np.isnan(partial_matrix(np.ones((5, 3)))[0]).all()
    with pytest.raises(ValueError, match="2 volumes"):
        pearson_matrix(np.ones((2, 3)))


def test_runs_are_averaged_as_fisher_z_by_their_degrees_of_freedom():
    runs = np.array([pearson_matrix(blocks(60, seed)) for seed in range(3)])
    runs[1, 2] = runs[1, :, 2] = np.nan
    runs[:, 4] = runs[:, :, 4] = np.nan
    df = [10, 40, 25]
    z = combine_matrices(runs, df)
    pair = [10 * np.arctanh(runs[0, 0, 1]), 40 * np.arctanh(runs[1, 0, 1])]
    pair.append(25 * np.arctanh(runs[2, 0, 1]))
    assert z[0, 1] == pytest.approx(sum(pair) / 75, abs=1e-9)
    two = (10 * np.arctanh(runs[0, 2, 7]) + 25 * np.arctanh(runs[2, 2, 7])) / 35
    assert z[2, 7] == z[7, 2] == pytest.approx(two, abs=1e-9)
    assert np.isnan(z[4]).all()
    assert np.isnan(np.diag(z)).all()
    # One run comes back as it was.
    alone = combine_matrices(runs[:1], [10])
    off = ~np.eye(len(alone), dtype=bool)
    np.testing.assert_allclose(np.tanh(alone)[off], runs[0][off], atol=1e-12)
    with pytest.raises(ValueError, match="Matrices of shape"):
        combine_matrices(runs, [1, 2])


def test_means_of_sets_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((12, 12))
    z = z + z.T
    z[5] = z[:, 5] = np.nan
    z[0, 7] = z[7, 0] = np.nan
    set_of = np.array([0, 0, 0, 1, 1, 1, 1, 2, -1, 2, 3, -1])
    before = z.copy()
    mean, n_pairs = mean_between_sets(z, set_of, n_sets=5)
    np.testing.assert_array_equal(z, before)
    for a in range(5):
        for b in range(5):
            pairs = {
                frozenset((i, j))
                for i in np.flatnonzero(set_of == a)
                for j in np.flatnonzero(set_of == b)
                if i != j and np.isfinite(z[i, j])
            }
            assert n_pairs[a, b] == len(pairs)
            if not pairs:
                assert np.isnan(mean[a, b])
                continue
            expected = np.mean([z[tuple(pair)] for pair in pairs])
            assert mean[a, b] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(mean[3, 3])  # one parcel has no pair with itself
    with pytest.raises(ValueError, match="Matrices of shape"):
        mean_between_sets(z, set_of[:-1], n_sets=5)


def test_planted_blocks_come_out_as_sets():
    z = np.arctanh(pearson_matrix(blocks(4000)) * (1 - 1e-9))
    mean, _ = mean_between_sets(z, BLOCK_OF, N_BLOCKS)
    np.testing.assert_allclose(np.diag(mean), np.arctanh(RHO), atol=0.03)
    assert np.abs(mean[~np.eye(N_BLOCKS, dtype=bool)]).max() < 0.03


@pytest.fixture(scope="module")
def group():
    return [blocks(80, seed) * (1 + 0.1 * seed) for seed in range(6)]


def test_tangent_is_that_of_nilearn(group):
    series = [standardised(each) for each in group]
    oracle = ConnectivityMeasure(
        kind="tangent", cov_estimator=LedoitWolf(store_precision=False), standardize=None
    )
    expected = oracle.fit_transform(series)
    correlations = np.array([shrunken_correlation(each)[0] for each in group])
    reference = tangent_reference(correlations)
    np.testing.assert_allclose(reference, oracle.mean_, atol=1e-6)
    np.testing.assert_allclose(tangent_matrices(correlations, reference), expected, atol=1e-6)


def test_tangents_of_the_group_sum_to_zero_and_those_of_the_reference_are_zero(group):
    correlations = np.array([shrunken_correlation(each)[0] for each in group])
    before = correlations.copy()
    reference = tangent_reference(correlations)
    tangents = tangent_matrices(correlations, reference)
    np.testing.assert_allclose(tangents.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(tangent_matrices([reference], reference), 0, atol=1e-9)
    np.testing.assert_array_equal(correlations, before)
    # Another basis changes nothing but the basis (the mean is affine-invariant).
    mix = np.linalg.qr(np.random.default_rng(0).standard_normal(reference.shape))[0] * 1.7
    moved = tangent_reference([mix @ each @ mix.T for each in correlations])
    np.testing.assert_allclose(moved, mix @ reference @ mix.T, atol=1e-6)


@pytest.mark.parametrize(
    ("stack", "match"),
    [
        ([np.eye(2), np.diag([1.0, -1.0])], "Matrix 2 is not symmetric positive definite"),
        ([np.full((2, 2), np.nan)], "Matrix 1 is not"),
        ([np.array([[1.0, 0.5], [0.0, 1.0]])], "Matrix 1 is not"),
        (np.ones((2, 3, 4)), "Matrices of shape"),
    ],
)
def test_tangent_refuses_what_has_no_logarithm(stack, match):
    with pytest.raises(ValueError, match=match):
        tangent_reference(stack)


def test_tangent_says_when_it_does_not_settle(monkeypatch, group):
    monkeypatch.setattr(matrices, "TANGENT_STEPS", 1)
    with pytest.raises(ValueError, match="has not settled in 1 steps"):
        tangent_reference([shrunken_correlation(each)[0] for each in group])
    with pytest.raises(ValueError, match="Matrices of shape"):
        tangent_matrices([np.eye(3)], np.eye(2))


def test_shrunken_matrices_stay_positive_definite_over_runs() -> None:
    """Fewer volumes than parcels in every run; a parcel that a run lacks is missing."""
    rng = np.random.default_rng(8)
    runs = [rng.standard_normal((20, 30)) + rng.standard_normal((20, 1)) for _ in range(3)]
    runs[1][:, 4] = np.nan
    own = np.array([shrunken_correlation(series)[0] for series in runs])
    before = own.copy()
    mean = combine_shrunken(own, [10, 20, 30])
    np.testing.assert_array_equal(own, before)
    keep = np.delete(np.arange(30), 4)
    assert np.isnan(mean[4]).all()
    assert np.isnan(mean[:, 4]).all()
    inner = mean[np.ix_(keep, keep)]
    assert np.linalg.eigvalsh(inner).min() > 0
    expected = np.average(own[:, keep][:, :, keep], axis=0, weights=[10, 20, 30])
    np.testing.assert_allclose(inner, expected)
    with pytest.raises(ValueError, match="expected"):
        combine_shrunken(own, [1, 2])
