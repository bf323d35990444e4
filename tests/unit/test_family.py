"""Corrections over several tests: hand counts, false alarms of a family, statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from rls_bids.numerics import family
from rls_bids.numerics.family import adjust_p, correct_family, holm


def test_counts_by_hand():
    found = correct_family([[5.0, 1, 2, 3, 4], [10, 30, 20, 50, 40]])
    # p of each resampling: 1/5, 5/5, 4/5, 3/5, 2/5 and 5/5, 3/5, 4/5, 1/5, 2/5
    assert found.p.tolist() == [0.2, 1.0]
    assert found.smallest == pytest.approx([0.2, 0.6, 0.8, 0.2, 0.4])
    assert found.p_family.tolist() == [0.4, 1.0]


def test_one_test_stays_as_it_is_and_units_do_not_matter(rng):
    maxima = rng.exponential(size=(3, 200))
    alone = correct_family(maxima[:1])
    assert np.array_equal(alone.p, alone.p_family)
    scaled = correct_family(maxima * [[1], [1e6], [1e-3]])
    assert np.array_equal(scaled.p_family, correct_family(maxima).p_family)


def test_the_same_map_eight_times_costs_nothing(rng):
    maxima = rng.exponential(size=500)
    found = correct_family(np.tile(maxima, (8, 1)))
    assert np.allclose(found.p_family, found.p)
    independent = correct_family(np.vstack([maxima, rng.exponential(size=(7, 500))]))
    assert independent.p_family[0] > found.p_family[0] or independent.p[0] == 1.0


def test_rate_of_false_alarms_of_a_correlated_family():
    """Six correlated maps and two others: 5 % over all, where eight single tests have far more."""
    rng = np.random.default_rng(8)
    n_any, n_single, n_studies = 0, 0, 1000
    for _ in range(n_studies):
        common = rng.standard_normal((1, 200))
        maxima = rng.standard_normal((8, 200))
        maxima[:6] = 0.7 * common + maxima[:6]
        found = correct_family(maxima)
        n_any += found.p_family.min() <= 0.05
        n_single += found.p.min() <= 0.05
    assert 0.03 < n_any / n_studies < 0.07
    assert n_single / n_studies > 0.15


def test_p_of_voxels_are_adjusted_and_never_fall():
    smallest = np.array([0.1, 0.3, 0.2, 0.5, 0.6])
    assert adjust_p([0.1, 0.2, 0.25, 1.0, np.nan], smallest).tolist()[:4] == [0.2, 0.4, 0.4, 1.0]
    assert np.isnan(adjust_p([np.nan], smallest)).all()
    assert adjust_p([0.9], smallest) == 1.0


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_holm_is_that_of_statsmodels(n, rng):
    for p in (rng.random(n), rng.random(n) ** 3, np.full(n, 0.02), np.ones(n), np.zeros(n)):
        assert np.allclose(holm(p), multipletests(p, method="holm")[1])


def test_holm_leaves_missing_out():
    found = holm([0.01, np.nan, 0.04])
    assert np.isnan(found[1])
    assert found[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(holm([np.nan])).all()


def test_bad_input_is_told():
    for bad in (np.zeros(3), np.zeros((2, 1)), np.zeros((0, 5))):
        with pytest.raises(ValueError, match="one row for each test"):
            correct_family(bad)
    for function in (holm, lambda p: adjust_p(p, [0.5])):
        with pytest.raises(ValueError, match="between 0 and 1"):
            function([0.5, 1.5])


def test_golden_values_hold_while_the_version_stands():
    assert family.VERSION == "1", "numbers changed: store new golden values with the new version"
    maxima = np.sin(np.arange(60.0).reshape(3, 20) ** 2)
    assert np.allclose(correct_family(maxima).p_family, GOLDEN)


GOLDEN = [0.8, 1.0, 1.0]
