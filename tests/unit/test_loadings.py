"""What regressors explain, against planted shares and least squares, and the picture of it."""

import re

import numpy as np
import pytest

from rls_bids.figures.loadings import NO_REGRESSORS, WHOLE, plot_loadings
from rls_bids.numerics import loadings as module
from rls_bids.numerics.loadings import loadings
from rls_bids.numerics.signal import band_pass, interpolate_censored

N = 240
FAMILIES = ["motion", "motion", "CSF components", "global signal"]
NAMES = ["trans_x", "rot_x", "c_comp_cor_00", "global_signal"]


def measure(data, confounds, families=FAMILIES, *, kept=None, band=None):
    kept = np.ones(len(data), dtype=bool) if kept is None else kept
    return loadings(data, confounds, families, repetition_time=2.0, kept=kept, band=band)


@pytest.fixture(scope="module")
def planted():
    """Orthonormal courses without mean and trend, with variance shares .4, .2, .1, 0 and noise."""
    rng = np.random.default_rng(0)
    line = np.column_stack([np.ones(N), np.arange(N), rng.standard_normal((N, 5))])
    courses = np.linalg.qr(line)[0][:, 2:]
    shares = np.array([0.4, 0.2, 0.1, 0.0, 0.3])
    signs = rng.choice([-1, 1], (5, 80))
    return courses @ (np.sqrt(shares)[:, None] * signs) * 30 + 500, courses[:, :4] * 7 + 3


def test_planted_shares_are_found(planted):
    data, confounds = planted
    before = data.copy(), confounds.copy()
    found = measure(data, confounds)
    assert found.families == ("motion", "CSF components", "global signal")
    assert np.allclose(found.alone, [0.6, 0.1, 0.0], atol=1e-9)
    assert np.allclose(found.unique, [0.6, 0.1, 0.0], atol=1e-9)
    assert found.total == pytest.approx(0.7)
    assert np.allclose(found.strength, np.sqrt([0.4, 0.2, 0.1, 0.0]), atol=1e-9)
    assert np.allclose(found.correlations, np.eye(4), atol=1e-9)
    assert np.allclose(found.by_chance, np.array([2, 1, 1]) / (N - 2))
    assert found.total_by_chance == pytest.approx(4 / (N - 2))
    assert np.array_equal(data, before[0])
    assert np.array_equal(confounds, before[1])


def test_what_two_families_share_is_unique_to_neither(planted):
    data, confounds = planted
    both = np.column_stack([confounds, confounds[:, 0] * -2])
    found = measure(data, both, [*FAMILIES, "others"])
    alone = dict(zip(found.families, found.alone, strict=True))
    unique = dict(zip(found.families, found.unique, strict=True))
    assert alone["others"] == pytest.approx(0.4)
    assert unique["others"] == pytest.approx(0.0, abs=1e-9)
    assert unique["motion"] == pytest.approx(0.2)
    assert found.correlations[0, 4] == pytest.approx(-1)
    assert found.total == pytest.approx(0.7)


@pytest.mark.parametrize("band", [None, (0.01, 0.1)])
def test_shares_are_those_of_least_squares_on_filtered_kept_volumes(band):
    rng = np.random.default_rng(1)
    confounds = np.cumsum(rng.standard_normal((N, 4)), axis=0)
    data = rng.standard_normal((N, 40)) * 5 + confounds @ rng.standard_normal((4, 40))
    kept = np.ones(N, dtype=bool)
    kept[60:75] = False
    found = measure(data, confounds, kept=kept, band=band)
    if band:
        y, x = (
            band_pass(interpolate_censored(each, kept, 2.0), 2.0, *band)[kept]
            for each in (data, confounds)
        )
    else:
        line = np.column_stack([np.ones(N), np.arange(N)])[kept]
        y, x = (
            each[kept] - line @ np.linalg.lstsq(line, each[kept], rcond=None)[0]
            for each in (data, confounds)
        )

    def share(columns):
        left = y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
        return np.mean(1 - (left**2).sum(axis=0) / (y**2).sum(axis=0))

    assert found.total == pytest.approx(share(x), abs=1e-9)
    assert found.alone[0] == pytest.approx(share(x[:, :2]), abs=1e-9)
    assert found.unique[0] == pytest.approx(share(x) - share(x[:, 2:]), abs=1e-9)
    expected = np.abs((x / np.linalg.norm(x, axis=0)).T @ (y / np.linalg.norm(y, axis=0)))
    assert np.allclose(found.strength, expected.mean(axis=1), atol=1e-9)


def test_random_regressors_explain_what_chance_says():
    rng = np.random.default_rng(2)
    data, confounds = rng.standard_normal((N, 2000)), rng.standard_normal((N, 10))
    found = measure(data, confounds, ["others"] * 10)
    assert found.total == pytest.approx(found.total_by_chance, rel=0.03)
    assert found.strength.mean() == pytest.approx(found.strength_by_chance, rel=0.03)


def test_of_many_voxels_some_are_taken_at_equal_distances(planted, monkeypatch):
    data, confounds = planted
    monkeypatch.setattr(module, "MAX_VOXELS", 20)
    some = measure(data, confounds)
    assert some.total == pytest.approx(measure(data[:, ::4], confounds).total)
    constant = np.hstack([data, np.full((N, 7), 3.0)])
    monkeypatch.undo()
    assert measure(constant, confounds).total == pytest.approx(0.7)


@pytest.mark.parametrize("kept", [np.ones(N, dtype=bool), np.zeros(N, dtype=bool)])
def test_no_regressors_or_nothing_kept(planted, kept):
    data, confounds = planted
    none = measure(data, np.zeros((N, 0)), [], kept=kept)
    assert (none.families, none.total) == ((), 0)
    found = measure(data, confounds, kept=kept)
    assert found.strength.shape == (4,)
    assert found.correlations.shape == (4, 4)
    assert np.isfinite(found.total)


def test_the_picture_names_every_family_and_regressor(planted, tmp_path):
    data, confounds = planted
    path = plot_loadings(measure(data, confounds), NAMES, FAMILIES, tmp_path / "loadings.svg")
    text = re.sub(r"<!--\s*(.*?)\s*-->", r"\1", path.read_text(encoding="utf-8"))
    for word in (*NAMES, *FAMILIES, WHOLE, "4 regressors explain 70% of the variance"):
        assert word in text


@pytest.mark.parametrize("kept", [np.ones(N, dtype=bool), np.zeros(N, dtype=bool)])
def test_a_picture_is_drawn_whatever_is_left(planted, tmp_path, kept):
    data, confounds = planted
    none = measure(data, np.zeros((N, 0)), [], kept=kept)
    path = plot_loadings(none, [], [], tmp_path / "none.svg")
    assert NO_REGRESSORS in path.read_text(encoding="utf-8")
    found = measure(data, confounds, kept=kept)
    assert plot_loadings(found, NAMES, FAMILIES, tmp_path / "nothing.png").is_file()


def test_golden_values_hold_while_the_version_stands():
    assert module.VERSION == "1", "numbers changed: store new golden values with the new version"
    n = np.arange(90.0)
    data = np.column_stack([np.sin(n / 3) + np.cos(n**1.2 / 7), np.cos(n / 5), np.sin(n**1.3)])
    confounds = np.column_stack([np.sin(n / 3.1), (n % 13) / 13])
    found = measure(data, confounds, ["motion", "others"], band=(0.01, 0.1))
    assert np.allclose([found.total, *found.alone, *found.unique], GOLDEN, atol=1e-6)


GOLDEN = [0.1597832, 0.1466909, 0.0125058, 0.1472774, 0.0130923]
