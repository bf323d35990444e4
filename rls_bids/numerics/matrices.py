"""Matrices of connectivity between parcels: Pearson, shrunken partial, tangent; means of sets.

A missing parcel is a column of NaN in a series, and a row and column of NaN in every matrix.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.correlation import combine_runs, fisher_z

VERSION = "1"

TOO_SHORT = "{found} volumes; expected at least {least}."
NOT_SQUARE = "Matrices of shape {found}; expected {expected}."
NOT_POSITIVE = "Matrix {number} is not symmetric positive definite (least eigenvalue {least:.3g})."
NOT_CONVERGED = "The mean of the matrices has not settled in {n} steps (gradient {left:.2g})."

MIN_VOLUMES = 3
CONSTANT = 1e-10
TANGENT_TOLERANCE = 1e-9
TANGENT_STEPS = 100

FloatArray = NDArray[np.float64]


def pearson_matrix(series: ArrayLike) -> FloatArray:
    """Correlate every pair of parcels.

    Parameters
    ----------
    series : (n_volumes, n_parcels) array
        Columns with a NaN, and constant ones, are missing.

    Returns
    -------
    (n_parcels, n_parcels) array
        Pearson r, symmetric, 1 on the diagonal; NaN in rows and columns of missing parcels.

    Raises
    ------
    ValueError
        Fewer than 3 volumes.

    Examples
    --------
    >>> pearson_matrix([[1.0, 2.0], [2.0, 0.0], [3.0, -2.0]]).round(9).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    standard, present = _standardised(series)
    r = np.clip(standard.T @ standard / len(standard), -1.0, 1.0)
    np.fill_diagonal(r, 1.0)
    return _embedded(r, present)


def shrunken_correlation(series: ArrayLike) -> tuple[FloatArray, float]:
    r"""Estimate the correlation matrix with the shrinkage of Ledoit and Wolf.

    Every column is standardised (population standard deviation), so that the result does not
    depend on the units of the parcels; the target is then the identity. With :math:`S` the
    sample correlation of :math:`n` volumes :math:`x_k` and :math:`p` parcels,
    :math:`\Sigma = (1 - \rho) S + \rho I`,
    :math:`\rho = \min(b^2, d^2) / d^2`, :math:`d^2 = \|S - I\|^2`,
    :math:`b^2 = n^{-2} \sum_k \|x_k x_k^T - S\|^2` (Frobenius norms).
    Volumes are taken as independent, as everywhere; in a band-passed series they are not, and
    more shrinkage would be right.

    Parameters
    ----------
    series : (n_volumes, n_parcels) array
        Columns with a NaN, and constant ones, are missing.

    Returns
    -------
    correlation : (n_parcels, n_parcels) array
        Positive definite over the parcels that are there (when :math:`\rho > 0`), NaN elsewhere.
    shrinkage : float
        :math:`\rho`, 0 (none) to 1 (identity).

    Raises
    ------
    ValueError
        Fewer than 3 volumes.

    References
    ----------
    Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((50, 1))
    >>> matrix, shrinkage = shrunken_correlation(shared + rng.standard_normal((50, 4)))
    >>> bool(0 < shrinkage < 1), matrix.shape
    (True, (4, 4))
    """
    x, present = _standardised(series)
    n, p = x.shape
    sample = x.T @ x / n
    squared = float((sample**2).sum())
    d_squared = squared - p  # |S - I|^2, because the diagonal of S is 1
    # sum_k |x_k x_k' - S|^2 = sum_k |x_k|^4 - n |S|^2
    b_squared = (float(((x**2).sum(axis=1) ** 2).sum()) / n - squared) / n
    shrinkage = min(b_squared / d_squared, 1.0) if d_squared > CONSTANT else 1.0
    shrunken = (1.0 - shrinkage) * sample + shrinkage * np.eye(p)
    return _embedded(shrunken, present), float(shrinkage)


def partial_matrix(series: ArrayLike) -> tuple[FloatArray, float]:
    r"""Correlate every pair of parcels given all the others, with shrinkage.

    With :math:`P` the inverse of :func:`shrunken_correlation`,
    :math:`r_{ij} = -P_{ij} / \sqrt{P_{ii} P_{jj}}`. nilearn's ``ConnectivityMeasure`` with
    ``kind="partial correlation"`` gives the same for a series standardised before; on a raw
    series it shrinks variances as well.

    Parameters
    ----------
    series : (n_volumes, n_parcels) array

    Returns
    -------
    partial : (n_parcels, n_parcels) array
        Partial r, symmetric, 1 on the diagonal; NaN where a parcel is missing.
    shrinkage : float
        Of the correlation matrix, 0 to 1.

    Raises
    ------
    ValueError
        Fewer than 3 volumes.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((500, 2))
    >>> chain = np.c_[x[:, 0], x[:, 0] + x[:, 1], x[:, 0] + x[:, 1]]
    >>> chain[:, 2] += np.random.default_rng(1).standard_normal(500)
    >>> bool(abs(partial_matrix(chain)[0][0, 2]) < 0.2 < pearson_matrix(chain)[0, 2])
    True
    """
    shrunken, shrinkage = shrunken_correlation(series)
    present = np.isfinite(np.diag(shrunken))
    if not present.any():
        return shrunken, shrinkage
    precision = np.linalg.inv(shrunken[np.ix_(present, present)])
    scale = 1.0 / np.sqrt(np.diag(precision))
    partial = -precision * scale[:, None] * scale[None, :]
    partial = np.clip((partial + partial.T) / 2, -1.0, 1.0)
    np.fill_diagonal(partial, 1.0)
    return _embedded(partial, present), shrinkage


def combine_matrices(r: ArrayLike, residual_df: ArrayLike) -> FloatArray:
    """Average matrices over runs as Fisher z, weighted by residual degrees of freedom.

    Parameters
    ----------
    r : (n_runs, n_parcels, n_parcels) array
        Correlations; NaN where a run has no value (the other runs then make the mean).
    residual_df : (n_runs,) array

    Returns
    -------
    (n_parcels, n_parcels) array
        Fisher z; NaN on the diagonal and where no run has a value.

    Raises
    ------
    ValueError
        The matrices are not square or do not fit the weights.

    Examples
    --------
    >>> runs = [[[1.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]
    >>> combine_matrices(runs, [10, 30]).round(4).tolist()
    [[nan, 0.1373], [0.1373, nan]]
    """
    stack = np.asarray(r, dtype=float)
    weights = np.asarray(residual_df, dtype=float)
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or weights.shape != stack.shape[:1]:
        expected = f"({weights.size}, n, n)"
        raise ValueError(NOT_SQUARE.format(found=stack.shape, expected=expected))
    z = combine_runs(fisher_z(stack).reshape(len(stack), -1), weights).reshape(stack.shape[1:])
    np.fill_diagonal(z, np.nan)
    return z


def combine_shrunken(matrices: ArrayLike, residual_df: ArrayLike) -> FloatArray:
    """Average shrunken correlation matrices over runs, so that they stay positive definite.

    The mean is over the correlations themselves, weighted by residual degrees of freedom: that of
    Fisher z need not be positive definite, which the tangent space asks for.

    Parameters
    ----------
    matrices : (n_runs, n_parcels, n_parcels) array
        Of :func:`shrunken_correlation`.
    residual_df : (n_runs,) array

    Returns
    -------
    (n_parcels, n_parcels) array
        1 on the diagonal; NaN in rows and columns of parcels that a run lacks.

    Raises
    ------
    ValueError
        The matrices are not square or do not fit the weights.

    Examples
    --------
    >>> combine_shrunken([[[1.0, 0.5], [0.5, 1.0]], np.eye(2)], [10, 30])[0].tolist()
    [1.0, 0.125]
    """
    stack, weights = np.asarray(matrices, dtype=float), np.asarray(residual_df, dtype=float)
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or weights.shape != stack.shape[:1]:
        raise ValueError(NOT_SQUARE.format(found=stack.shape, expected=f"({weights.size}, n, n)"))
    mean = np.einsum("r,rij->ij", weights / weights.sum(), stack)
    there = np.isfinite(np.diag(mean))
    mean[~there], mean[:, ~there] = np.nan, np.nan
    mean[there, there] = 1.0
    return np.asarray(mean)


def mean_between_sets(
    values: ArrayLike, set_of: ArrayLike, n_sets: int
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Average a matrix over all pairs between two sets of parcels, and within each set.

    Parameters
    ----------
    values : (n_parcels, n_parcels) array
        Symmetric, Fisher z; pairs with NaN, and the diagonal, are left out.
    set_of : (n_parcels,) int array
        Set of each parcel, 0 to `n_sets` - 1; negative where it belongs to none.
    n_sets : int

    Returns
    -------
    mean : (n_sets, n_sets) array
        NaN where there is no pair; on the diagonal the mean within a set.
    n_pairs : (n_sets, n_sets) int array
        Pairs behind each mean, each counted once.

    Raises
    ------
    ValueError
        The shapes do not fit.

    Examples
    --------
    >>> z = np.array([[0.0, 0.4, 0.1], [0.4, 0.0, 0.3], [0.1, 0.3, 0.0]])
    >>> mean, n_pairs = mean_between_sets(z, [0, 0, 1], n_sets=2)
    >>> mean.round(3).tolist(), n_pairs.tolist()
    ([[0.4, 0.2], [0.2, nan]], [[1, 2], [2, 0]])
    """
    matrix = np.array(values, dtype=float)
    belongs = np.asarray(set_of, dtype=np.int64)
    if matrix.shape != (belongs.size, belongs.size):
        expected = f"({belongs.size}, {belongs.size})"
        raise ValueError(NOT_SQUARE.format(found=matrix.shape, expected=expected))
    members = (belongs[None, :] == np.arange(n_sets)[:, None]).astype(float)
    np.fill_diagonal(matrix, np.nan)
    has_value = np.isfinite(matrix)
    totals = members @ np.where(has_value, matrix, 0.0) @ members.T
    counts = members @ has_value @ members.T
    mean = np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)
    n_pairs = np.rint(counts).astype(np.int64)
    # Within a set every pair was met from both sides.
    np.fill_diagonal(n_pairs, np.diag(n_pairs) // 2)
    return mean, n_pairs


def tangent_reference(matrices: ArrayLike) -> FloatArray:
    r"""Return the geometric mean of covariance or correlation matrices of a group.

    It is the matrix :math:`G` for which
    :math:`\sum_i \log(G^{-1/2} C_i G^{-1/2}) = 0`, found by going along the mean logarithm.

    Parameters
    ----------
    matrices : (n_participants, n, n) array
        Symmetric positive definite, without missing parcels: leave those out for all first.

    Returns
    -------
    (n, n) array
        Symmetric positive definite.

    Raises
    ------
    ValueError
        A matrix is not positive definite, or the mean does not settle.

    References
    ----------
    Varoquaux 2010, doi:10.1007/978-3-642-15705-9_25; Fletcher and Joshi 2007,
    doi:10.1016/j.sigpro.2005.12.018

    Examples
    --------
    >>> tangent_reference([np.diag([1.0, 4.0]), np.diag([4.0, 1.0])]).round(9).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    stack = _positive_stack(matrices)
    mean: FloatArray = stack.mean(axis=0)
    step, last = 1.0, np.inf
    for _ in range(TANGENT_STEPS):
        root, inverse_root = _power(mean, 0.5), _power(mean, -0.5)
        log_mean = np.mean([_log(inverse_root @ each @ inverse_root) for each in stack], axis=0)
        gradient = float(np.linalg.norm(log_mean))
        if gradient < TANGENT_TOLERANCE * len(mean):
            return mean
        step, last = (step / 2 if gradient > last else step), gradient
        mean = root @ _exp(step * log_mean) @ root
        mean = (mean + mean.T) / 2
    raise ValueError(NOT_CONVERGED.format(n=TANGENT_STEPS, left=last))


def tangent_matrices(matrices: ArrayLike, reference: ArrayLike) -> FloatArray:
    r"""Return how each participant differs from a reference, in its tangent space.

    :math:`T_i = \log(G^{-1/2} C_i G^{-1/2})`. The reference belongs to the group from which
    it was made: where participants are held out, make it from the others.

    Parameters
    ----------
    matrices : (n_participants, n, n) array
        As in :func:`tangent_reference`.
    reference : (n, n) array
        Of :func:`tangent_reference`.

    Returns
    -------
    (n_participants, n, n) array
        Symmetric; zero for a participant that equals the reference.

    Raises
    ------
    ValueError
        A matrix is not positive definite, or the shapes differ.

    Examples
    --------
    >>> tangent_matrices([np.diag([np.e, 1.0])], np.eye(2)).round(9).tolist()
    [[[1.0, 0.0], [0.0, 0.0]]]
    """
    stack = _positive_stack(matrices)
    (centre,) = _positive_stack(np.asarray(reference, dtype=float)[None])
    if centre.shape != stack.shape[1:]:
        raise ValueError(NOT_SQUARE.format(found=centre.shape, expected=stack.shape[1:]))
    inverse_root = _power(centre, -0.5)
    return np.array([_log(inverse_root @ each @ inverse_root) for each in stack])


def _standardised(series: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the columns that are there with mean 0 and variance 1, and which those are."""
    data = np.asarray(series, dtype=float)
    if len(data) < MIN_VOLUMES:
        raise ValueError(TOO_SHORT.format(found=len(data), least=MIN_VOLUMES))
    present = np.isfinite(data).all(axis=0)
    centred = data[:, present] - data[:, present].mean(axis=0)
    spread = centred.std(axis=0)
    varies = spread > CONSTANT * np.abs(data[:, present]).max(axis=0, initial=0.0)
    present[present] = varies
    return np.asarray(centred[:, varies] / spread[varies]), present


def _embedded(matrix: FloatArray, present: NDArray[np.bool_]) -> FloatArray:
    """Put the matrix of the parcels that are there into one of all."""
    full = np.full((present.size, present.size), np.nan)
    full[np.ix_(present, present)] = matrix
    return full


def _positive_stack(matrices: ArrayLike) -> FloatArray:
    """Return the matrices as one array after checking them."""
    stack = np.asarray(matrices, dtype=float)
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or not len(stack):
        raise ValueError(NOT_SQUARE.format(found=stack.shape, expected="(n_participants, n, n)"))
    for number, each in enumerate(stack, start=1):
        is_symmetric = np.isfinite(each).all() and np.allclose(each, each.T, atol=1e-8)
        least = float(np.linalg.eigvalsh(each)[0]) if is_symmetric else np.nan
        if not least > 0:
            raise ValueError(NOT_POSITIVE.format(number=number, least=least))
    return stack


def _power(matrix: FloatArray, exponent: float) -> FloatArray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * values**exponent) @ vectors.T)


def _log(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.log(values)) @ vectors.T)


def _exp(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.exp(values)) @ vectors.T)
