"""Motion in connections: planted, beside statsmodels, with designs whose columns overlap."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from rls_bids.errors import InputDataError
from rls_bids.numerics.edgemotion import BAD_CENTRES, motion_in_edges
from rls_bids.numerics.nbs import node_pairs

N, N_NODES = 30, 12


@pytest.fixture
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Motion adds to short connections; group and age go with motion."""
    rng = np.random.default_rng(3)
    centres = rng.uniform(-60, 60, (N_NODES, 3))
    pairs = node_pairs(N_NODES)
    lengths = np.linalg.norm(centres[pairs.first] - centres[pairs.second], axis=1)
    is_first = np.arange(N) < N // 2
    age = rng.normal(50, 10, N)
    fd = 0.2 + 0.05 * is_first + 0.002 * age + rng.gamma(2, 0.05, N)
    edges = rng.normal(0, 0.15, (N, len(lengths))) + 0.5 * is_first[:, None]
    edges += (fd - fd.mean())[:, None] * np.maximum(80 - lengths, 0) / 20
    design = np.column_stack([is_first, ~is_first, age - age.mean()]).astype(float)
    return edges, fd, design, centres


def test_every_r_and_p_is_that_of_a_regression(planted) -> None:
    edges, fd, design, centres = planted
    found = motion_in_edges(edges, fd, design, centres)
    fits = [sm.OLS(column, np.column_stack([fd, design])).fit() for column in edges.T]
    t = np.array([fit.tvalues[0] for fit in fits])
    df = N - 4  # group, group, age, motion: the constant is among them
    np.testing.assert_allclose(found.r, t / np.sqrt(t**2 + df), atol=1e-10)
    np.testing.assert_allclose(found.p, [fit.pvalues[0] for fit in fits], rtol=1e-7)
    assert found.share_significant == pytest.approx((found.p < 0.05).mean())


def test_short_connections_carry_the_planted_motion(planted) -> None:
    edges, fd, design, centres = planted
    pairs = node_pairs(N_NODES)
    lengths = np.linalg.norm(centres[pairs.first] - centres[pairs.second], axis=1)
    found = motion_in_edges(edges, fd, design, centres)
    assert found.distance_rho < -0.4
    assert found.distance_rho == pytest.approx(stats.spearmanr(found.r, lengths).statistic)
    assert found.r[lengths < 40].mean() > 0.3
    clean = edges - (fd - fd.mean())[:, None] * np.maximum(80 - lengths, 0) / 20
    assert abs(motion_in_edges(clean, fd, design, centres).distance_rho) < 0.3


def test_an_unknown_place_leaves_the_length_alone(planted) -> None:
    edges, fd, design, centres = planted
    before = edges.copy(), centres.copy()
    lost = centres.copy()
    lost[2] = np.nan
    found = motion_in_edges(edges, fd, design, lost)
    assert np.isfinite(found.r).all()
    assert found.distance_rho < -0.3
    np.testing.assert_array_equal(edges, before[0])
    np.testing.assert_array_equal(centres, before[1])


def test_what_cannot_be_measured(planted) -> None:
    edges, fd, design, centres = planted
    with pytest.raises(InputDataError):
        motion_in_edges(edges, design[:, 2] * 2, design, centres)
    with pytest.raises(InputDataError):
        motion_in_edges(edges[:4], fd[:4], np.eye(4), centres)
    message = BAD_CENTRES.format(found=5, expected=edges.shape[1])
    with pytest.raises(ValueError, match=message):
        motion_in_edges(edges, fd, design, centres[:5])
