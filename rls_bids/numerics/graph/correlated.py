"""Null correlation matrices: random ones whose values have the same mean and variance."""

import numpy as np

from rls_bids.numerics.graph.threshold import FloatArray

# A matrix whose values are all equal would need endless columns.
LEAST_VARIANCE = 1e-4


def match_correlations(matrix: FloatArray, seed: np.random.SeedSequence) -> FloatArray:
    """Return a random correlation matrix by the method of Hirschberger, Qi and Steuer.

    X Xᵀ of a random (n_nodes, m) matrix X of normal values of mean μ and variance s² has, off
    the diagonal, the mean e = m μ² and the variance v = m (s⁴ + 2 μ² s²), and on it the mean
    m (μ² + s²); e and v are those of the given matrix and m is the whole number that brings the
    diagonal nearest below 1 (Hirschberger 2007, 10.1016/j.ejor.2005.10.014). The result is
    scaled to a diagonal of 1. Like every matrix of correlations it has clustered graphs, which
    rewired nulls have not: by these the small-worldness of correlations is overstated (Zalesky
    2012, 10.1016/j.neuroimage.2012.02.001).

    Parameters
    ----------
    matrix : (n_nodes, n_nodes) array
        Correlations without missing values; a negative mean counts as 0.
    seed : numpy.random.SeedSequence

    Returns
    -------
    (n_nodes, n_nodes) array
        Diagonal zero.

    Examples
    --------
    >>> near = np.diag(np.full(39, 0.3), 1)
    >>> matrix = 0.2 + near + near.T
    >>> null = match_correlations(matrix, np.random.SeedSequence(1))
    >>> null.shape, bool(np.abs(null).max() <= 1)
    ((40, 40), True)
    """
    values = matrix[np.triu_indices(len(matrix), 1)]
    mean, variance = max(float(values.mean()), 0.0), float(values.var())
    variance = max(variance, LEAST_VARIANCE)
    n_columns = max(2, int((1 - mean**2) / variance))
    centre = np.sqrt(mean / n_columns)
    spread = np.sqrt(np.sqrt(centre**4 + variance / n_columns) - centre**2)
    shape = (len(matrix), n_columns)
    draws = np.random.default_rng(seed).normal(centre, spread, size=shape)
    draws /= np.linalg.norm(draws, axis=1, keepdims=True)
    null = draws @ draws.T
    np.fill_diagonal(null, 0.0)
    return np.asarray((null + null.T) / 2)
