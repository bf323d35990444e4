"""The expected measured effect against a simulation at signal level."""

import numpy as np
import pytest
from scipy import stats

from rls_bids.phantom.bold import AMPLITUDE
from rls_bids.phantom.signals import latent_courses, latent_frequencies, latent_weights, latent_z
from rls_bids.phantom.spec import LATENT_SD, NETWORKS, CohortSpec, network_mean, plan_cohort
from rls_bids.phantom.truth import expected_measured_d, reliability, sphere_points

N_VOLUMES, TR, BAND, N_CONFOUNDS = 150, 2.0, (0.01, 0.1), 22


def band_basis():
    times = np.arange(N_VOLUMES) * TR
    frequencies = np.arange(3, 31) / (N_VOLUMES * TR)
    angles = 2 * np.pi * np.outer(times, frequencies)
    basis = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return basis / np.linalg.norm(basis, axis=0)


def measured_z(plan, group, noise, index):
    """One participant: two noisy courses, band-pass, regression of random confounds."""
    rng = np.random.default_rng([index, group == "HC"])
    z_values = latent_z(plan, group, 0, rng)
    frequencies = latent_frequencies(N_VOLUMES * TR)
    weights = latent_weights(NETWORKS, z_values, len(frequencies), rng)
    times = np.arange(N_VOLUMES) * TR
    pair = np.stack([latent_courses(weights[n], frequencies, times) for n in ("PCC", "aMPFC")])
    pair = AMPLITUDE * pair + noise[:, None] * rng.standard_normal(pair.shape)
    basis = band_basis()
    inside = pair @ basis
    confounds = np.linalg.qr(rng.standard_normal((basis.shape[1], N_CONFOUNDS)))[0]
    rest = inside - inside @ confounds @ confounds.T
    return np.arctanh(rest[0] @ rest[1] / np.linalg.norm(rest[0]) / np.linalg.norm(rest[1]))


@pytest.mark.parametrize("noise", [(0.002, 0.002), (0.01, 0.02)])
def test_expected_d_is_what_a_simulation_measures(noise):
    plan = plan_cohort(CohortSpec(size="tiny"))
    count = 800
    patients, controls = (
        np.array([measured_z(plan, group, np.array(noise), i) for i in range(count)])
        for group in ("RLS", "HC")
    )
    spread = np.sqrt((patients.var(ddof=1) + controls.var(ddof=1)) / 2)
    found = (patients.mean() - controls.mean()) / spread
    default = next(n for n in NETWORKS if n.name == "default")
    frequencies = latent_frequencies(N_VOLUMES * TR)
    expected = expected_measured_d(
        (network_mean(default, "RLS", 2.5), network_mean(default, "HC", 2.5)),
        latent_sd=LATENT_SD,
        reliabilities=tuple(
            reliability(1.0, tsnr=1 / s, n_voxels=1, repetition_time=TR, band_hz=BAND)
            for s in noise
        ),
        residual_df=band_basis().shape[1] - N_CONFOUNDS,
        latent_dimensions=2 * len(frequencies),
    )
    error = np.sqrt(2 / count + found**2 / (4 * count))
    assert abs(found - expected) < stats.norm.ppf(0.995) * error
    assert abs(expected) < 2.5


def test_no_effect_stays_none_and_noise_only_weakens():
    common = {"latent_sd": 0.25, "residual_df": 30, "latent_dimensions": 48}
    assert expected_measured_d((0.5, 0.5), reliabilities=(0.9, 0.8), **common) == 0
    clean = expected_measured_d((0.875, 0.25), reliabilities=(1.0, 1.0), **common)
    noisy = expected_measured_d((0.875, 0.25), reliabilities=(0.5, 0.5), **common)
    assert 2.5 > clean > noisy > 0


def test_reliability_counts_leak_noise_and_voxels():
    base = {"tsnr": 60, "repetition_time": 2.0, "band_hz": BAND}
    whole = reliability(1.0, n_voxels=1, **base)
    assert reliability(0.5, n_voxels=1, **base) < whole < reliability(1.0, n_voxels=8, **base)
    assert reliability(0.5, n_voxels=4, **base) == pytest.approx(whole)


def test_sphere_points_lie_in_the_sphere():
    points = sphere_points(np.array([1.0, 2.0, 3.0]), 4.0)
    assert len(points) == 257
    np.testing.assert_allclose(points.mean(axis=0), [1.0, 2.0, 3.0])
