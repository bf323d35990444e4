"""Kendall's W against Friedman's test, planted neighbours and the layout of the grid."""

import numpy as np
import pytest
from scipy import stats

from rls_bids.numerics import reho
from rls_bids.numerics.reho import kendall_w

CUBE = np.ones((3, 3, 3), dtype=bool)
CENTRE = 13


def neighbourhood(voxel, mask, n_steps):
    """Positions of the neighbours in ``data[mask]``, one by one."""
    places = np.argwhere(mask)
    distance = np.abs(places - places[voxel])
    return np.flatnonzero((distance.max(axis=1) <= 1) & (distance.sum(axis=1) <= n_steps))


def friedman_w(series):
    n_volumes, n_raters = series.shape
    return stats.friedmanchisquare(*series).statistic / (n_raters * (n_volumes - 1))


@pytest.mark.parametrize(("n_neighbours", "n_steps"), [(7, 1), (19, 2), (27, 3)])
@pytest.mark.parametrize("levels", [None, 6])
def test_agrees_with_friedman(n_neighbours, n_steps, levels):
    rng = np.random.default_rng(0)
    mask = rng.random((6, 5, 7)) < 0.8
    series = rng.standard_normal((30, int(mask.sum()))) + 0.7 * rng.standard_normal((30, 1))
    if levels:
        series = np.round(series * levels / 4)
    found = kendall_w(series, mask, n_neighbours)
    n_missing = 0
    for voxel, value in enumerate(found):
        near = neighbourhood(voxel, mask, n_steps)
        if near.size < (n_neighbours + 1) // 2:
            assert np.isnan(value)
            n_missing += 1
        else:
            assert value == pytest.approx(friedman_w(series[:, near]), abs=1e-6)
    assert 0 < n_missing < found.size


@pytest.mark.parametrize(("n_neighbours", "least"), [(7, 4), (19, 10), (27, 14)])
def test_half_of_the_neighbours_must_be_there(n_neighbours, least):
    rng = np.random.default_rng(1)
    series = rng.standard_normal((20, 27))
    near = neighbourhood(CENTRE, CUBE, reho.N_STEPS[n_neighbours])
    others = near[near != CENTRE]
    for n_present, is_there in [(least, True), (least - 1, False)]:
        flat = np.zeros(27, dtype=bool)
        flat[CENTRE] = True
        flat[others[: n_present - 1]] = True
        found = kendall_w(series[:, flat], flat.reshape(3, 3, 3), n_neighbours)
        assert np.isfinite(found[np.flatnonzero(flat) == CENTRE][0]) == is_there


def test_identical_neighbours_are_one_also_with_ties_and_any_rising_scale():
    wave = np.round(np.random.default_rng(2).standard_normal(50), 1)
    assert np.unique(wave).size < 45
    series = np.column_stack([np.exp(wave) * (1 + n) + 10 * n for n in range(27)])
    assert kendall_w(series, CUBE)[CENTRE] == 1.0
    series[:, 1::2] = -series[:, 1::2]
    assert kendall_w(series, CUBE)[CENTRE] < 0.01


@pytest.mark.parametrize("n_neighbours", [7, 19, 27])
def test_independent_neighbours_have_the_null_mean(n_neighbours):
    mask = np.ones((14, 14, 14), dtype=bool)
    series = np.random.default_rng(3).standard_normal((60, mask.sum())).astype(np.float32)
    found = kendall_w(series, mask, n_neighbours).reshape(mask.shape)[1:-1, 1:-1, 1:-1]
    assert found.mean() == pytest.approx(1 / n_neighbours, rel=0.02)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_neighbourhood_lies_in_the_grid_in_c_order(axis):
    """Columns along one axis share a series: 3 groups of alike voxels around each one."""
    rng = np.random.default_rng(4)
    shape = (8, 9, 10)
    n_columns = int(np.prod(shape)) // shape[axis]
    waves = rng.standard_normal((400, n_columns))
    across = list(np.delete(shape, axis))
    column = np.expand_dims(np.arange(n_columns).reshape(across), axis)
    series = waves[:, np.broadcast_to(column, shape).ravel()]
    found = kendall_w(series, np.ones(shape, dtype=bool), 7).reshape(shape)
    middle = tuple(slice(1, -1) for _ in range(3))
    # Three of the seven are one series: W = (9 + 4) / 49 when the series are independent.
    assert found[middle].mean() == pytest.approx(13 / 49, abs=0.005)
    # At the two ends of the columns only two of six are: W = (4 + 4) / 36.
    ends = tuple([0, -1] if a == axis else slice(1, -1) for a in range(3))
    assert found[ends].mean() == pytest.approx(8 / 36, abs=0.005)


def test_homogeneous_patch_is_where_it_was_planted():
    rng = np.random.default_rng(5)
    mask = np.zeros((9, 10, 11), dtype=bool)
    mask[1:, :-1, 2:] = True
    series = rng.standard_normal((80, *mask.shape))
    series[:, 2:5, 4:7, 4:7] += 3 * rng.standard_normal((80, 1, 1, 1))
    whole = np.full(mask.shape, np.nan)
    whole[mask] = kendall_w(series[:, mask], mask)
    assert np.unravel_index(np.nanargmax(whole), mask.shape) == (3, 5, 5)
    assert whole[3, 5, 5] > 0.7


def test_bad_voxels_are_missing_and_do_not_count():
    rng = np.random.default_rng(6)
    series = rng.standard_normal((40, 27))
    good = np.setdiff1d(np.arange(27), [0, 5, 26])
    series[:, 0], series[3, 5], series[8, 26] = 0.1, np.nan, np.inf
    before = series.copy()
    found = kendall_w(series, CUBE)
    assert np.isnan(found[[0, 5, 26]]).all()
    assert found[CENTRE] == pytest.approx(friedman_w(series[:, good]), abs=1e-6)
    assert np.array_equal(series, before, equal_nan=True)
    series[:, :13] = 7.0
    assert np.isnan(kendall_w(series, CUBE)[CENTRE])
    assert np.isnan(kendall_w(np.ones((5, 27)), CUBE)).all()


def test_types_layouts_and_blocks_do_not_matter(monkeypatch, tmp_path):
    rng = np.random.default_rng(7)
    mask = rng.random((6, 7, 8)) < 0.9
    series = rng.standard_normal((25, int(mask.sum()))).astype(np.float32)
    first = kendall_w(series, mask)
    assert first.dtype == np.float64
    monkeypatch.setattr(reho, "BLOCK_VOXELS", 13)
    np.save(tmp_path / "series.npy", series)
    mapped = np.load(tmp_path / "series.npy", mmap_mode="r")
    for other in (
        mapped,
        np.asfortranarray(series),
        series.astype(float),
        3 * series.astype(float) - 8,
    ):
        assert np.array_equal(kendall_w(other, mask), first, equal_nan=True)


def test_what_does_not_fit_is_told():
    series = np.random.default_rng(8).standard_normal((10, 27))
    with pytest.raises(ValueError, match="7, 19 or 27") as caught:
        kendall_w(series, CUBE, 26)
    assert str(caught.value) == reho.BAD_NEIGHBOURS.format(found=26)
    for bad_series, bad_mask in [(series[:, 1:], CUBE), (series[0], CUBE), (series, CUBE.ravel())]:
        with pytest.raises(ValueError, match="n_volumes, n_voxels"):
            kendall_w(bad_series, bad_mask)
    with pytest.raises(ValueError, match="3 to 32767"):
        kendall_w(series[:2], CUBE)


def test_golden_values_hold_while_the_version_stands():
    assert reho.VERSION == "1", "numbers changed: store new golden values with the version"
    n = np.arange(40.0)[:, None]
    series = np.round(5 * np.sin(n / 4 + np.arange(27) / 9))
    assert kendall_w(series, CUBE)[CENTRE] == pytest.approx(GOLDEN, abs=1e-9)


GOLDEN = 0.46617475129270647
