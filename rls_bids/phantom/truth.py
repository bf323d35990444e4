"""What was planted, and what an honest analysis of the images should measure of it."""

from collections.abc import Sequence

import numpy as np

from rls_bids.phantom.bold import AMPLITUDE
from rls_bids.phantom.signals import TRUNCATION, latent_frequencies, truncated_sd
from rls_bids.phantom.space import Floats
from rls_bids.phantom.spec import LATENT_SD, Network, Plan, network_mean

QUADRATURE_NODES = 64
SMOOTHING_FWHM_MM = 6.0
BAND_PASS_HZ = (0.01, 0.1)
N_REGRESSORS = 22
FIRST_LINK = (0, 1)


def reliability(
    share: float, *, tsnr: float, n_voxels: float, repetition_time: float, band_hz: Sequence[float]
) -> float:
    """Share of the variance of a measured regional course that is the planted course.

    With the planted amplitude a (0.02 of the signal), the mean weight w of the region over the
    voxels that are averaged (what leaks out of the sphere), n independent voxels with white noise
    of standard deviation 1 / tSNR, and the part b = 2 TR (f₂ − f₁) of the noise power that the
    band-pass keeps:

        ρ = (a w)² / ((a w)² + b / (n tSNR²))

    Examples
    --------
    >>> round(reliability(1.0, tsnr=50, n_voxels=1, repetition_time=5, band_hz=(0, 0.1)), 3)
    0.5
    """
    kept = min(1.0, 2 * repetition_time * (band_hz[1] - band_hz[0]))
    signal = (AMPLITUDE * share) ** 2
    return signal / (signal + kept / (n_voxels * tsnr**2))


def expected_measured_d(
    mean_z: tuple[float, float],
    *,
    latent_sd: float,
    reliabilities: tuple[float, float],
    residual_df: float,
    latent_dimensions: float,
) -> float:
    """Standardised difference (first minus second group) of the measured Fisher z.

    A participant with latent z has the measured expectation μ(z) = atanh(λ tanh z) with the
    attenuation λ = √(ρ₁ ρ₂). Around it lies the temporal sampling noise of a correlation with ν
    residual degrees of freedom, less the part that does not exist because the latent correlation
    is realised exactly over the D dimensions of the latent band (the correction for a finite
    population, with g = ∂μ/∂z):

        v(z) = 1 / (ν − 1) − g(z)² / D
        d = (E₁[μ] − E₂[μ]) / √(½ Σ_groups (Var[μ] + E[v]))

    Expectations are over the truncated normal distribution of z in each group.

    Parameters
    ----------
    mean_z : tuple of float
        Mean latent Fisher z of the two groups.
    latent_sd : float
        Standard deviation of z within a group.
    reliabilities : tuple of float
        Of the two regional courses, see :func:`reliability`.
    residual_df : float
        Degrees of freedom ν that filter and regression leave.
    latent_dimensions : float
        D, two for each latent frequency.

    Examples
    --------
    >>> round(expected_measured_d((0.875, 0.25), latent_sd=0.25, reliabilities=(1.0, 1.0),
    ...     residual_df=1e9, latent_dimensions=1e9), 3)
    2.5
    """
    nodes, node_weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    density = node_weights * np.exp(-0.5 * (TRUNCATION * nodes) ** 2)
    density /= density.sum()
    shares = TRUNCATION * nodes / truncated_sd()
    attenuation = np.sqrt(reliabilities[0] * reliabilities[1])
    means, variances = [], []
    for mean in mean_z:
        correlation = np.tanh(mean + latent_sd * shares)
        measured = np.arctanh(attenuation * correlation)
        slope = attenuation * (1 - correlation**2) / (1 - (attenuation * correlation) ** 2)
        temporal = 1 / (residual_df - 1) - slope**2 / latent_dimensions
        average = float(density @ measured)
        means.append(average)
        variances.append(float(density @ ((measured - average) ** 2 + np.maximum(temporal, 0))))
    return (means[0] - means[1]) / float(np.sqrt(np.mean(variances)))


def sphere_points(centre_mm: Floats, radius_mm: float) -> Floats:
    """Points (n, 3) on a 1 mm grid within a radius of a centre."""
    reach = int(np.ceil(radius_mm))
    steps = np.arange(-reach, reach + 1.0)
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    points: Floats = centre_mm + offsets[np.linalg.norm(offsets, axis=1) <= radius_mm]
    return points


def expected_effects(
    plan: Plan, shares: dict[str, float], radii_mm: dict[str, float]
) -> list[dict[str, object]]:
    """Say what to expect of the first link of each network after the default denoising.

    The seed is the unsmoothed mean over its sphere, the target the voxels of its sphere after
    smoothing with 6 mm; 22 regressors; a band of 0.01 to 0.1 Hz.

    Parameters
    ----------
    shares : dict
        Mean weight of each region over the sphere round its seed.
    radii_mm : dict
        Radius of that sphere.
    """
    size = plan.size
    duration = plan.n_volumes * size.repetition_time
    dimensions = 2 * len(latent_frequencies(duration))
    kept = 2 * duration * (BAND_PASS_HZ[1] - BAND_PASS_HZ[0])
    voxel_mm3 = size.bold_mm**3
    sigma = SMOOTHING_FWHM_MM / np.sqrt(8 * np.log(2))
    smoothed = (4 * np.pi * sigma**2) ** 1.5 / voxel_mm3
    effects: list[dict[str, object]] = []
    for network in plan.networks:
        if len(network.regions) <= FIRST_LINK[1]:
            continue
        seed, target = (network.regions[at] for at in FIRST_LINK)
        sphere = max(1.0, 4 / 3 * np.pi * radii_mm[seed] ** 3 / voxel_mm3)
        counts = {seed: sphere, target: max(1.0, smoothed)}
        rho = [
            reliability(
                shares[name],
                tsnr=plan.spec.tsnr,
                n_voxels=counts[name],
                repetition_time=size.repetition_time,
                band_hz=BAND_PASS_HZ,
            )
            for name in (seed, target)
        ]
        effects.append(_effect(plan, network, (rho[0], rho[1]), kept - N_REGRESSORS, dimensions))
    return effects


def _effect(
    plan: Plan,
    network: Network,
    reliabilities: tuple[float, float],
    residual_df: float,
    dimensions: int,
) -> dict[str, object]:
    means = tuple(network_mean(network, group, plan.spec.effect) for group in ("RLS", "HC"))
    least = 3.0
    measured = None
    if residual_df > least:
        measured = expected_measured_d(
            (means[0], means[1]),
            latent_sd=LATENT_SD,
            reliabilities=reliabilities,
            residual_df=residual_df,
            latent_dimensions=dimensions,
        )
    return {
        "network": network.name,
        "regions": list(network.regions),
        "seed": network.regions[0],
        "target": network.regions[1],
        "sign_of_RLS_minus_HC": int(np.sign(network.sign * plan.spec.effect)),
        "latent_d": network.sign * plan.spec.effect,
        "mean_latent_z": {"RLS": means[0], "HC": means[1]},
        "latent_sd": LATENT_SD,
        "reliability": {"seed": reliabilities[0], "target": reliabilities[1]},
        "residual_df": residual_df,
        "latent_dimensions": dimensions,
        "expected_measured_d": measured,
    }
