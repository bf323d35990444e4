"""What happens in time: exact latent correlations, plausible motion, planted group means."""

import numpy as np
import pytest

from rls_bids.phantom.signals import (
    body_rhythm,
    framewise_displacement,
    latent_courses,
    latent_frequencies,
    latent_weights,
    latent_z,
    random_motion,
    slice_timing,
)
from rls_bids.phantom.spec import LATENT_SD, NETWORKS, CohortSpec, network_mean, plan_cohort


@pytest.fixture(scope="module")
def plan():
    return plan_cohort(CohortSpec(size="tiny"))


@pytest.mark.parametrize("delay", [0.0, 0.73, 1.9])
def test_latent_correlations_are_realised_at_any_slice_time(plan, delay):
    rng = np.random.default_rng(0)
    z_values = latent_z(plan, "RLS", 0, rng)
    frequencies = latent_frequencies(300.0)
    weights = latent_weights(NETWORKS, z_values, len(frequencies), rng)
    times = np.arange(150) * 2.0 + delay
    courses = {n: latent_courses(w, frequencies, times) for n, w in weights.items()}
    for network in NETWORKS:
        rows = np.corrcoef([courses[name] for name in network.regions])
        upper = rows[np.triu_indices(len(rows), 1)]
        np.testing.assert_allclose(upper, np.tanh(z_values[network.name]), atol=1e-9)
        np.testing.assert_allclose([courses[n].std() for n in network.regions], 1.0)
    across = np.corrcoef(courses["PCC"], courses["insula_L"])[0, 1]
    assert across == pytest.approx(0.0, abs=1e-9)


def test_latent_z_has_the_planted_difference(plan):
    draws = {
        group: [latent_z(plan, group, 0, np.random.default_rng(i)) for i in range(1500)]
        for group in ("RLS", "HC")
    }
    for network in NETWORKS:
        patients, controls = (np.array([z[network.name] for z in draws[g]]) for g in draws)
        assert patients.std() == pytest.approx(LATENT_SD, rel=0.06)
        found = (patients.mean() - controls.mean()) / LATENT_SD
        # the same random numbers serve both groups, so that the difference is exact
        assert found == pytest.approx(network.sign * 2.5, abs=1e-9)


def test_null_cohort_and_later_session(plan):
    null = plan_cohort(CohortSpec(size="tiny", effect=0.0))
    for network in NETWORKS:
        assert network_mean(network, "RLS", 0.0) == network_mean(network, "HC", 0.0)
    assert latent_z(null, "RLS", 0, np.random.default_rng(1)) == latent_z(
        null, "HC", 0, np.random.default_rng(1)
    )
    first, second = (latent_z(plan, "RLS", s, np.random.default_rng(1)) for s in (0, 1))
    assert second["salience"] - first["salience"] == pytest.approx(-2.5 * LATENT_SD / 2)
    assert second["control"] == first["control"]


def test_head_motion_is_plausible(plan):
    means, largest = [], []
    for seed in range(40):
        motion = random_motion(plan, np.zeros(3), np.random.default_rng(seed))
        means.append(framewise_displacement(motion.parameters).mean())
        largest.append(np.abs(motion.parameters[:, :3]).max())
        np.testing.assert_array_equal(motion.matrices[0], np.eye(4))
    assert 0.1 < np.mean(means) < 0.2
    assert max(largest) < 3.0


def test_slices_are_interleaved():
    times = slice_timing(5, 2.0)
    np.testing.assert_allclose(np.argsort(times), [0, 2, 4, 1, 3])
    assert times.max() < 2.0


def test_heartbeat_has_its_frequency():
    times = np.arange(0, 300, 0.1)
    rhythm = body_rhythm(1.1, times, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(rhythm)) ** 2
    assert np.fft.rfftfreq(times.size, 0.1)[power.argmax()] == pytest.approx(1.1, abs=0.12)
