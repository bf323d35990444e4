"""One displacement field that makes two images of opposite phase-encoding polarity equal.

With positions y and displacements d along the phase-encoding axis,

    along(y + d) (1 + d') = truth(y) = against(y − ρ d) (1 − ρ d'),

where ρ is the ratio of the readout times. The signal of a voxel is the integral over its width,
and both sides are derivatives of running integrals. So d lives on the *faces* between voxels, and
with A and B, the running sums of either image along the axis, the model for the voxel between
the faces f and f + 1 needs no Jacobian and keeps all signal:

    A(y_f+1 + d_f+1) − A(y_f + d_f) = B(y_f+1 − ρ d_f+1) − B(y_f − ρ d_f).

What is minimised is the sum over the voxels of the squared difference of both sides, plus a
bending penalty α |∇²d|² (fields are nearly harmonic inside tissue) and, as proposed by Ruthotto
2012 (doi:10.1088/0031-9155/57/18/5715), a barrier that keeps the map one to one. The steps are
Gauss–Newton's, solved by conjugate gradients that are preconditioned by the exact tridiagonal
data term of every line.

Everything here has the phase-encoding axis last; :mod:`rls_bids.numerics.opposed` is the door.
"""

import os
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.numerics.resample import FWHM_PER_SIGMA

BARRIER = 0.01
PAD = 8
"""Voxels without signal beyond either end of a line."""
MAX_STEPS, MAX_SOLVER_STEPS, MAX_HALVINGS = 10, 15, 8
COST_TOLERANCE, SOLVER_TOLERANCE = 3e-3, 0.1

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One pair at one level of smoothing.

    ``along`` and ``against`` are coefficients (lines, n + 1 + 2 PAD) of the running sums, ``seen``
    (lines, n) is 1 where both images have data, ``shape`` that of the faces (X, Y, n + 1),
    ``ratio`` ρ, and ``bending_mm2`` α for images of intensity 1 and displacements in mm.
    """

    along: Float64Array
    against: Float64Array
    seen: Float64Array
    shape: tuple[int, int, int]
    sizes_mm: Float64Array
    ratio: float
    bending_mm2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A field at the faces (lines, n + 1) and all that follows from it.

    ``first`` and ``second`` (lines, n) are the corrected images, ``slope`` (lines, n + 1) the
    derivative of their difference by d at a face, ``bent`` the penalty's gradient.
    """

    field: Float64Array
    first: Float64Array
    second: Float64Array
    slope: Float64Array
    bent: Float64Array
    cost: float


def make_problem(
    images: tuple[Float64Array, Float64Array],
    seen: Float64Array,
    sizes_mm: Float64Array,
    ratio: float,
    fwhm_mm: float = 0.0,
    strides: tuple[int, int] = (1, 1),
) -> Problem:
    """Smooth a pair and prepare it for any field, yet without penalty on bending.

    Parameters
    ----------
    images : two (X, Y, n) float64
        Along and against, of equal intensity.
    seen : (X, Y, n) float64
        1 where both have data, else 0.
    sizes_mm : (3,) float64
        Voxel sizes; the last is along the phase-encoding axis.
    ratio : float
        ρ.
    fwhm_mm : float
        Of the Gaussian.
    strides : two int
        Every how many lines of the smoothed images are used, on the first two axes.
    """
    few = slice(None, None, strides[0]), slice(None, None, strides[1])
    along, against = (_running_sums(_smooth(image, fwhm_mm / sizes_mm)[few]) for image in images)
    seen = seen[few]
    n_x, n_y, n_z = seen.shape
    return Problem(
        along=along,
        against=against,
        seen=seen.reshape(-1, n_z),
        shape=(n_x, n_y, n_z + 1),
        sizes_mm=sizes_mm * (*strides, 1),
        ratio=ratio,
        bending_mm2=0.0,
    )


def _smooth(volume: Float64Array, fwhm: Float64Array) -> Float64Array:
    """Smooth a volume by a Gaussian (FWHM in voxels)."""
    if not fwhm.any():
        return volume
    # Signal is kept along the lines; across them the border is continued.
    modes = ("nearest", "nearest", "constant")
    return np.asarray(
        ndimage.gaussian_filter(volume, fwhm / FWHM_PER_SIGMA, mode=modes, truncate=3.0)
    )


def _running_sums(volume: Float64Array) -> Float64Array:
    """Coefficients of the integral along the lines of a volume."""
    lines = volume.reshape(-1, volume.shape[2])
    padded = np.pad(lines, ((0, 0), (PAD + 1, PAD)))
    sums: Float64Array = ndimage.spline_filter1d(np.cumsum(padded, axis=1), 3, mode="mirror")
    return sums


# Machine code is kept only where the caller has named a folder for it (see numerics.resample).
@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _read(
    coefficients: Float64Array,
    field: Float64Array,
    sign: float,
    content: Float64Array,
    density: Float64Array,
) -> None:
    """Signal between displaced faces, and its density at them, by cubic B-splines.

    Face f of a line is read at f + sign · field; ends without signal go on for ever.
    """
    last = coefficients.shape[1] - 3.0
    for line in range(field.shape[0]):
        row = coefficients[line]
        before = 0.0
        for face in range(field.shape[1]):
            x = min(max(face + sign * field[line, face] + PAD, 1.0), last)
            i = int(x)
            t = x - i
            s = 1.0 - t
            a, b, c, d = row[i - 1], row[i], row[i + 1], row[i + 2]
            total = s * s * s * a + (4.0 - 3.0 * t * t * (2.0 - t)) * b
            total += (4.0 - 3.0 * s * s * (2.0 - s)) * c + t * t * t * d
            total /= 6.0
            if face:
                content[line, face - 1] = total - before
            before = total
            density[line, face] = 0.5 * (
                s * s * (b - a) + (1.0 + 2.0 * s * t) * (c - b) + t * t * (d - c)
            )


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _laplacian(field: Float64Array, inverse_squares: Float64Array, out: Float64Array) -> None:
    """Minus the Laplacian of a volume whose border is continued by its outermost values."""
    n_x, n_y, n_z = field.shape
    u, v, w = inverse_squares
    for i in range(n_x):
        left, right = field[max(i - 1, 0)], field[min(i + 1, n_x - 1)]
        for j in range(n_y):
            here = field[i, j]
            back, front = field[i, max(j - 1, 0)], field[i, min(j + 1, n_y - 1)]
            for k in range(n_z):
                middle = 2.0 * here[k]
                total = u * (middle - left[j, k] - right[j, k]) + v * (middle - back[k] - front[k])
                total += w * (middle - here[max(k - 1, 0)] - here[min(k + 1, n_z - 1)])
                out[i, j, k] = total


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def _solve_lines(
    diagonal: Float64Array, beside: Float64Array, right: Float64Array, out: Float64Array
) -> None:
    """Solve one symmetric tridiagonal system a line (elimination, no pivoting)."""
    n = diagonal.shape[1]
    factor = np.zeros(n)
    for line in range(diagonal.shape[0]):
        pivot = diagonal[line, 0]
        out[line, 0] = right[line, 0] / pivot
        for k in range(1, n):
            factor[k] = beside[line, k - 1] / pivot
            pivot = diagonal[line, k] - beside[line, k - 1] * factor[k]
            out[line, k] = (right[line, k] - beside[line, k - 1] * out[line, k - 1]) / pivot
        for k in range(n - 2, -1, -1):
            out[line, k] -= factor[k + 1] * out[line, k + 1]


def _bending(problem: Problem) -> float:
    """Weight of the bending penalty for displacements in voxels."""
    return problem.bending_mm2 * float(problem.sizes_mm[2] ** 2)


def _bent(problem: Problem, field: Float64Array) -> Float64Array:
    """Half the gradient of the bending penalty: α ∇⁴ d."""
    once, twice = np.empty(problem.shape), np.empty(problem.shape)
    inverse_squares = 1.0 / np.square(problem.sizes_mm)
    _laplacian(field.reshape(problem.shape), inverse_squares, once)
    _laplacian(once, inverse_squares, twice)
    twice *= _bending(problem)
    return twice.reshape(field.shape)


def _stretch(problem: Problem, field: Float64Array) -> Float64Array:
    """Slope d' (lines, n) of the image that is distorted more."""
    return max(1.0, problem.ratio) * np.diff(field, axis=1)


def evaluate(problem: Problem, field: Float64Array) -> State:
    """Correct both images by a field; its cost is infinite where a voxel is turned inside out."""
    first, second = np.empty(problem.seen.shape), np.empty(problem.seen.shape)
    slope, other = np.empty(field.shape), np.empty(field.shape)
    _read(problem.along, field, 1.0, first, slope)
    _read(problem.against, field, -problem.ratio, second, other)
    slope += problem.ratio * other
    bent = _bent(problem, field)
    squares = np.square(_stretch(problem, field))
    cost = np.inf
    if squares.max() < 1.0:
        difference = problem.seen * (first - second)
        cost = float(np.sum(difference * difference) + np.sum(field * bent))
        cost += BARRIER * float(np.sum(squares * squares / (1.0 - squares)))
    return State(field=field, first=first, second=second, slope=slope, bent=bent, cost=cost)


def minimise(problem: Problem, field: Float64Array) -> State:
    """Gauss–Newton steps, each shortened until it lowers the cost."""
    state = evaluate(problem, field)
    for _ in range(MAX_STEPS):
        gradient, diagonal, beside = _linearised(problem, state)
        step = _conjugate_gradients(problem, gradient, diagonal, beside)
        before = state.cost
        length = 1.0
        for _ in range(MAX_HALVINGS):
            trial = evaluate(problem, state.field + length * step)
            if trial.cost < before:
                state = trial
                break
            length *= 0.5
        if before - state.cost <= COST_TOLERANCE * before:
            break
    return state


def _linearised(problem: Problem, state: State) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Half the gradient (lines, n + 1) of the cost, and half its tridiagonal Gauss–Newton matrix.

    The matrix (its diagonal and what is beside it) has the data term and the barrier
    v⁴ / (1 − v²) of v = d'; the bending penalty is added by whoever multiplies with it.
    """
    slope, shown = state.slope, np.square(problem.seen)
    pulling = shown * (state.first - state.second)
    factor = max(1.0, problem.ratio)
    stretch = _stretch(problem, state.field)
    square = np.square(stretch)
    push = BARRIER * factor * stretch * square * (2.0 - square) / np.square(1.0 - square)
    stiff = square * (6.0 - 3.0 * square + square * square) / (1.0 - square) ** 3
    stiff *= BARRIER * factor**2
    gradient = state.bent.copy()
    gradient[:, 1:] += slope[:, 1:] * pulling + push
    gradient[:, :-1] -= slope[:, :-1] * pulling + push
    diagonal = np.zeros_like(gradient)
    diagonal[:, 1:] += np.square(slope[:, 1:]) * shown + stiff
    diagonal[:, :-1] += np.square(slope[:, :-1]) * shown + stiff
    beside = -slope[:, 1:] * slope[:, :-1] * shown - stiff
    return gradient, diagonal, beside


def _conjugate_gradients(
    problem: Problem, gradient: Float64Array, diagonal: Float64Array, beside: Float64Array
) -> Float64Array:
    """Step of Gauss–Newton: (data + bending) step = −gradient, to a tolerance."""
    weights = 1.0 / np.square(problem.sizes_mm)
    # The diagonal of ∇⁴ away from the border.
    penalty = _bending(problem) * (4.0 * weights.sum() ** 2 + 2.0 * np.square(weights).sum())
    kept = diagonal + penalty
    step, rest = np.zeros_like(gradient), -gradient
    solved = np.empty_like(gradient)
    _solve_lines(kept, beside, rest, solved)
    direction = solved.copy()
    size = first_size = float(np.sum(rest * solved))
    for _ in range(MAX_SOLVER_STEPS):
        if size <= SOLVER_TOLERANCE**2 * first_size or size == 0.0:
            break
        product = _bent(problem, direction) + diagonal * direction
        product[:, 1:] += beside * direction[:, :-1]
        product[:, :-1] += beside * direction[:, 1:]
        length = size / float(np.sum(direction * product))
        step += length * direction
        rest -= length * product
        _solve_lines(kept, beside, rest, solved)
        before, size = size, float(np.sum(rest * solved))
        direction = solved + (size / before) * direction
    return step
