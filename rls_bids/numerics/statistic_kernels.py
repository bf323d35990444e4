"""Compiled loops from scores of resampled residuals to z values, voxel by voxel."""

import os

import numba
import numpy as np
from numpy.typing import NDArray

VERSION = "1"

N_NODES, N_DF_NODES = 2048, 48
LARGEST_F = 1e7
TINY = 1e-7

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
WIDTH = 128
Int32Array = NDArray[np.int32]
Table = tuple[FloatArray, tuple[float, float]]


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _hill(y: float, t: float, b: float) -> float:
    """Return z from y = a log(1 + t² / df) and b = 48 a², a = df − ½."""
    tail = (((-0.4 * y - 3.3) * y - 24.0) * y - 85.5) / (0.8 * y * y + 100.0 + b) + y + 3.0
    return float(np.copysign((tail / b + 1.0) * np.sqrt(y), t))


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _t_to_z(t: float, df: float) -> float:
    """Return z of t (Hill 1970, doi:10.1145/355598.355600), to 1e-4 from 5 df on."""
    a = df - 0.5
    return _hill(a * np.log1p(t * t / df), t, 48.0 * a * a)


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _f_to_z(f: float, df2: float, table: Table) -> float:
    """Interpolate the table, linear in both directions."""
    values, (low, high) = table
    x = np.log1p(min(max(f, 0.0), LARGEST_F)) / np.log1p(LARGEST_F) * (N_NODES - 1)
    column = min(int(x), N_NODES - 2)
    x -= column
    if len(values) == 1:
        return float((1 - x) * values[0, column] + x * values[0, column + 1])
    y = (1 / min(max(df2, low), high) - 1 / high) / (1 / low - 1 / high) * (N_DF_NODES - 1)
    row = min(int(y), N_DF_NODES - 2)
    y -= row
    above = (1 - x) * values[row, column] + x * values[row, column + 1]
    below = (1 - x) * values[row + 1, column] + x * values[row + 1, column + 1]
    return float((1 - y) * above + y * below)


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def fill_t(scores: Float32Array, total: FloatArray, df: float, z: Float32Array) -> None:
    """Fill z with t of one variance; scores (n_rows, rank, n_voxels).

    One step after the other for some voxels at a time: all but the logarithm are done for
    several voxels at once by the processor.
    """
    n_rows, rank, n_voxels = scores.shape
    nuisance, t, y = np.empty(WIDTH), np.empty(WIDTH), np.empty(WIDTH)
    a = df - 0.5
    for b in range(n_rows):
        for start in range(0, n_voxels, WIDTH):
            n = min(WIDTH, n_voxels - start)
            own, whole = scores[b, :, start : start + n], total[start : start + n]
            found = z[b, start : start + n]
            nuisance[:] = 0.0
            for j in range(1, rank):
                for v in range(n):
                    nuisance[v] += float(own[j, v]) ** 2
            for v in range(n):
                effect = float(own[0, v]) ** 2
                rest = max(whole[v] - effect - nuisance[v], TINY * whole[v])
                rest = rest if rest > 0.0 else 1.0  # not tested
                t[v] = np.copysign(np.sqrt(effect / (rest / df)), own[0, v])
            for v in range(n):
                y[v] = a * np.log1p(t[v] * t[v] / df)
            for v in range(n):
                found[v] = _hill(y[v], t[v], 48.0 * a * a) if whole[v] > 0.0 else 0.0


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def fill_f(
    scores: Float32Array,
    total: FloatArray,
    q: int,
    df: float,
    table: Table,
    z: Float32Array,
) -> None:
    """Fill z with F of one variance; scores (n_rows, rank, n_voxels)."""
    n_rows, rank, n_voxels = scores.shape
    for b in range(n_rows):
        for voxel in range(n_voxels):
            if total[voxel] <= 0.0:
                continue
            effect, nuisance = 0.0, 0.0
            for j in range(rank):
                square = float(scores[b, j, voxel]) ** 2
                if j < q:
                    effect += square
                else:
                    nuisance += square
            rest = max(total[voxel] - effect - nuisance, TINY * total[voxel])
            z[b, voxel] = _f_to_z(effect / q / (rest / df), df, table)


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _invert(matrix: FloatArray, inverse: FloatArray) -> None:
    """Invert a small positive definite matrix in place of itself (Gauss–Jordan)."""
    n = len(matrix)
    inverse[:] = 0.0
    for i in range(n):
        inverse[i, i] = 1.0
    for i in range(n):
        pivot = max(matrix[i, i], 1e-300)
        for j in range(n):
            matrix[i, j] /= pivot
            inverse[i, j] /= pivot
        for k in range(n):
            factor = matrix[k, i]
            if k != i and factor != 0.0:
                for j in range(n):
                    matrix[k, j] -= factor * matrix[i, j]
                    inverse[k, j] -= factor * inverse[i, j]


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _group_variances(
    part: FloatArray,
    whole: FloatArray,
    squares: FloatArray,
    grams: FloatArray,
    group_df: FloatArray,
    variances: FloatArray,
) -> None:
    """Fill each group's residual variance from its part (n_groups, rank) of the whole scores."""
    n_groups, rank = part.shape
    for g in range(n_groups):
        rest = squares[g]
        for j in range(rank):
            rest -= 2.0 * part[g, j] * whole[j]
            for k in range(rank):
                rest += whole[j] * grams[g, j, k] * whole[k]
        variances[g] = max(rest, TINY * squares[g]) / group_df[g]


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def fill_welch(
    scores: Float32Array,
    squares: FloatArray,
    grams: FloatArray,
    group_df: FloatArray,
    q: int,
    table: Table,
    z: Float32Array,
) -> None:
    """Fill z with v or G; scores (n_rows, n_groups · rank, n_voxels), squares by voxel, group."""
    n_rows, _, n_voxels = scores.shape
    n_groups, rank, _ = grams.shape
    part, whole, variances = np.empty((n_groups, rank)), np.empty(rank), np.empty(n_groups)
    for b in range(n_rows):
        for voxel in range(n_voxels):
            if squares[voxel].min() <= 0.0:
                continue
            whole[:] = 0.0
            for g in range(n_groups):
                for j in range(rank):
                    part[g, j] = scores[b, g * rank + j, voxel]
                    whole[j] += part[g, j]
            _group_variances(part, whole, squares[voxel], grams, group_df, variances)
            if q == 1:
                total, spread = 0.0, 0.0
                for g in range(n_groups):
                    one = variances[g] * grams[g, 0, 0]
                    total += one
                    spread += one * one / group_df[g]
                z[b, voxel] = _t_to_z(whole[0] / np.sqrt(total), total * total / spread)
            else:
                f, df2 = _johansen(whole[:q], variances, grams[:, :q, :q], group_df)
                z[b, voxel] = _f_to_z(f, df2, table)


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _johansen(
    effect: FloatArray, variances: FloatArray, grams: FloatArray, group_df: FloatArray
) -> tuple[float, float]:
    """Return F and its lower df for unequal variances (Johansen 1980)."""
    q = effect.size
    covariance, inverse = np.zeros((q, q)), np.empty((q, q))
    for g in range(variances.size):
        covariance += variances[g] * grams[g]
    _invert(covariance, inverse)
    wald = 0.0
    for i in range(q):
        for j in range(q):
            wald += effect[i] * inverse[i, j] * effect[j]
    share = np.empty((q, q))
    spread = 0.0
    for g in range(variances.size):
        share[:] = 0.0
        for i in range(q):
            for j in range(q):
                for k in range(q):
                    share[i, j] += variances[g] * grams[g, i, k] * inverse[k, j]
        trace, square = 0.0, 0.0
        for i in range(q):
            trace += share[i, i]
            for j in range(q):
                square += share[i, j] * share[j, i]
        spread += (trace * trace + square) / group_df[g] / 2.0
    return wald / (q + 2 * spread - 6 * spread / (q + 2)), q * (q + 2) / (3 * spread)


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def fill_pillai(
    scores: Float32Array,
    cross: FloatArray,
    q: int,
    df: tuple[float, float],
    table: Table,
    z: Float32Array,
) -> None:
    """Fill z with Pillai's trace; scores (n_rows, rank, m, n_voxels), cross (m, m, n_voxels)."""
    n_rows, rank, m, n_voxels = scores.shape
    smaller = min(q, m)
    hypothesis, whole, inverse = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    for b in range(n_rows):
        for voxel in range(n_voxels):
            smallest = cross[0, 0, voxel]
            for i in range(m):
                smallest = min(smallest, cross[i, i, voxel])
                for k in range(m):
                    one, other = 0.0, 0.0
                    for j in range(rank):
                        score = float(scores[b, j, i, voxel]) * scores[b, j, k, voxel]
                        if j < q:
                            one += score
                        else:
                            other += score
                    hypothesis[i, k] = one
                    whole[i, k] = cross[i, k, voxel] - other
            if smallest <= 0.0:
                continue
            _invert(whole, inverse)
            share = (hypothesis * inverse).sum() / smaller  # both are symmetric
            share = min(max(share, 0.0), 1.0 - TINY)
            z[b, voxel] = _f_to_z(share / (1 - share) * df[1] / df[0], df[1], table)


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def fill_voxelwise(
    residuals: Float32Array,
    covariates: tuple[Float32Array, FloatArray, FloatArray],
    order: Int32Array,
    sign: NDArray[np.int8],
    scores: Float32Array,
) -> None:
    """Fill the scores of covariates of voxels, the last columns, and correct those of effects.

    residuals (n, n_responses, n_voxels); covariates: columns (n, m, n_voxels), overlap
    (q, m, n_voxels), root (q, q, n_voxels); scores (n_rows, rank + m, n_responses, n_voxels).
    """
    columns, overlap, root = covariates
    n, m, n_voxels = columns.shape
    n_rows, n_scores, n_responses, _ = scores.shape
    first = n_scores - m
    for start in range(0, n_voxels, WIDTH):  # few enough voxels to stay in the nearest cache
        stop = min(start + WIDTH, n_voxels)
        for b in range(n_rows):
            for response in range(n_responses):
                for j in range(m):
                    found = scores[b, first + j, response, start:stop]
                    found[:] = np.float32(0)
                    for i in range(n):
                        flip = np.float32(sign[b, i])
                        column = columns[i, j, start:stop]
                        moved = residuals[order[b, i], response, start:stop]
                        for v in range(stop - start):
                            found[v] += flip * column[v] * moved[v]
                own = scores[b, :, response, start:stop]
                _correct(own, overlap[:, :, start:stop], root[:, :, start:stop])


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _correct(scores: Float32Array, overlap: FloatArray, root: FloatArray) -> None:
    """Change scores of effect columns, the first, to those of what covariates leave of them."""
    q, m, n_voxels = overlap.shape
    first = len(scores) - m
    rest = np.empty(q)
    for v in range(n_voxels):
        for i in range(q):
            rest[i] = scores[i, v]
            for j in range(m):
                rest[i] -= overlap[i, j, v] * scores[first + j, v]
        for i in range(q):
            total = 0.0
            for k in range(q):
                total += root[i, k, v] * rest[k]
            scores[i, v] = total
