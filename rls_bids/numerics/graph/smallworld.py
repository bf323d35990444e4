"""Small-worldness: clustering and path length beside those of null networks."""

import math

import numpy as np

from rls_bids.numerics.graph.threshold import FloatArray

NAN = float("nan")


def ratio(value: float, reference: float) -> float:
    """Return value / reference, NaN where the reference is 0 or either is missing.

    γ = C / C_rand and λ = L / L_rand are such ratios; σ = γ / λ (Humphries and Gurney 2008,
    10.1371/journal.pone.0002051).

    Examples
    --------
    >>> ratio(0.5, 0.1), ratio(0.5, 0.0)
    (5.0, nan)
    """
    return value / reference if reference else NAN


def omega(clustering: float, length: float, random_length: float, lattice: float) -> float:
    """Return ω = L_rand / L - C / C_latt (Telesford 2011, 10.1089/brain.2011.0038).

    Near 0 for small worlds, towards -1 for lattices and towards 1 for random graphs.

    Parameters
    ----------
    clustering, length : float
        Of the graph.
    random_length : float
        Mean path length of random graphs of the same degrees.
    lattice : float
        Mean clustering of latticised graphs of the same degrees.

    Returns
    -------
    float

    Examples
    --------
    >>> omega(clustering=0.5, length=2.5, random_length=2.0, lattice=0.625)
    0.0
    """
    return ratio(random_length, length) - ratio(clustering, lattice)


def propensity(
    clustering: tuple[float, float, float], length: tuple[float, float, float]
) -> float:
    """Return the small-world propensity (Muldoon 2016, 10.1038/srep22057).

    φ = 1 - √((Δ_C² + Δ_L²) / 2), Δ_C = (C_latt - C) / (C_latt - C_rand),
    Δ_L = (L - L_rand) / (L_latt - L_rand), both held between 0 and 1. The references are the
    same random and latticised graphs that σ and ω use.

    Parameters
    ----------
    clustering, length : (value, random, lattice)
        Of the graph, and the means of its random and latticised nulls.

    Returns
    -------
    float
        Between 0 and 1, 1 for a graph as clustered as the lattice with paths as short as random;
        NaN where lattice and random do not differ.

    Examples
    --------
    >>> propensity((0.6, 0.1, 0.6), (2.0, 2.0, 9.0)), propensity((0.1, 0.1, 0.6), (2.0, 2.0, 9.0))
    (1.0, 0.293)
    """
    value, random, lattice = clustering
    less_clustered = ratio(lattice - value, lattice - random)
    value, random, lattice = length
    longer = ratio(value - random, lattice - random)
    if math.isnan(less_clustered) or math.isnan(longer):
        return NAN
    parts = [min(max(part, 0.0), 1.0) for part in (less_clustered, longer)]
    return 1 - math.sqrt((parts[0] ** 2 + parts[1] ** 2) / 2)


def area_under_curve(densities: FloatArray, values: FloatArray) -> float:
    """Return the area under a metric over density, divided by the width of the range.

    Trapezoids; the mean height of the curve, in the unit of the metric.

    Parameters
    ----------
    densities : (n_densities,) array
        Ascending: those that the graph reached, and no others.
    values : (n_densities,) array

    Returns
    -------
    float
        NaN with fewer than two densities, or where a value is missing.

    Examples
    --------
    >>> area_under_curve(np.array([0.1, 0.2, 0.4]), np.array([1.0, 2.0, 2.0]))
    1.833
    """
    if len(densities) < 2:
        return NAN
    return float(np.trapezoid(values, densities) / (densities[-1] - densities[0]))
