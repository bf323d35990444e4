"""Susceptibility displacement from two EPI volumes of opposite phase-encoding polarity.

The field inhomogeneity shifts tissue along the phase-encoding axis by d in one image and by −d in
the other, and squeezes or stretches its signal (Andersson 2003,
doi:10.1016/S1053-8119(03)00336-7). With positions y and d along that axis,

    along(y + d) (1 + d′) = truth(y) = against(y − ρ d) (1 − ρ d′),

where ρ is the ratio of the readout times. The signal of a voxel is the integral over its width,
and both sides are derivatives of running integrals. So d lives on the *faces* between voxels, and
with A and B, the running sums of either image along the axis, the model for the voxel between
the faces f and f + 1 needs no Jacobian and keeps all signal:

    A(y_f+1 + d_f+1) − A(y_f + d_f) = B(y_f+1 − ρ d_f+1) − B(y_f − ρ d_f).

What is minimised is the sum over the voxels of the squared difference of both sides, plus a
bending penalty α |∇²d|² (fields are nearly harmonic inside tissue) and, as proposed by Ruthotto
2012 (doi:10.1088/0031-9155/57/18/5715), a barrier that keeps the map one to one. Gauss–Newton
steps, solved by conjugate gradients with the exact tridiagonal data term of every line as
preconditioner, go from smoothed to less smoothed images. Between them, the small rigid
motion of the head from one image to the other is estimated (Andersson 2003).

What a pair cannot tell: a translation of the head along the phase-encoding axis looks exactly
like a constant field. It is counted as field; the corrected image is then shifted by its part.
"""

import os
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.errors import InputDataError
from rls_bids.numerics.realign import matrix_to_parameters, grid_centre, parameters_to_matrix
from rls_bids.numerics.resample import (
    FWHM_PER_SIGMA,
    evaluate_spline,
    spline_coefficients,
    voxel_points,
)

VERSION = "1"

BAD_SHAPES = "Two volumes of one shape (X, Y, Z) were expected, found {along} and {against}."
BAD_AXIS = "The phase-encoding axis is 0, 1 or 2, found {axis}."
BAD_RATIO = "The ratio of the readout times must be positive and finite, found {ratio}."
BAD_AFFINE = "An invertible affine (4, 4) was expected, found {affine}."
NOT_FINITE = "The volumes must be finite everywhere."
NO_HEAD = "The pair of opposite phase-encoding polarity shows no head (shape {shape})."
NO_HEAD_HINT = "Look at both images; one may be empty, constant or scaled to zero."

LEVELS_MM = (12.0, 6.0, 3.0)
"""FWHM of the smoothing, coarse to fine."""
BENDING_MM2 = 0.05
"""α, for images scaled to 1 in the head and d in mm."""
BARRIER = 0.01
VERBOSE = 0
FACTORS = {}
PAD = 8
"""Voxels without signal beyond either end of a line."""
MAX_STEPS, MAX_SOLVER_STEPS, MAX_HALVINGS = 10, 15, 8
COST_TOLERANCE, SOLVER_TOLERANCE = 1e-3, 0.1
MAX_ROUNDS = 8
ROUND_TOLERANCE_MM = 0.02
HEAD_RADIUS_MM = 60.0

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpposedPair:
    """Displacement field of a pair, and what it makes of the images.

    Attributes
    ----------
    displacement : (X, Y, Z) float32
        d in voxels along the phase-encoding axis: tissue at voxel index y lies at y + d in the
        first image and, where the head has not moved, at y − ρ d in the second.
    corrected : (X, Y, Z) float32
        Mean of both corrected images on the first one's grid and in its intensity.
    pull : (4, 4) float64
        Rigid pull matrix, head in the first image → head in the second, RAS+ mm.
    mismatch_before, mismatch_after : float
        Root mean square difference of the two images in the head, relative to the signal, both
        smoothed as at the finest level.
    """

    displacement: Float32Array
    corrected: Float32Array
    pull: Float64Array
    mismatch_before: float
    mismatch_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """One pair at one level, the phase-encoding axis last.

    ``along`` and ``against`` are coefficients (lines, n + 1 + 2 PAD) of the running sums, ``seen``
    (lines, n) is where both images have data, ``shape`` that of the faces (·, ·, n + 1),
    ``inverse_squares`` 1 / mm² of the voxel sizes, ``bending`` α for d in voxels.
    """

    along: Float64Array
    against: Float64Array
    seen: Float64Array
    shape: tuple[int, int, int]
    inverse_squares: Float64Array
    bending: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
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


def estimate_displacement(
    along: NDArray[Any],
    against: NDArray[Any],
    affine: Float64Array,
    axis: int,
    readout_ratio: float = 1.0,
    *,
    is_moving: bool = True,
) -> OpposedPair:
    """Estimate the displacement along the phase-encoding axis from an opposed pair.

    Parameters
    ----------
    along, against : (X, Y, Z) float
        Volumes of opposite polarity on one grid, any intensity scales; for instance each the mean
        of a few realigned volumes. Exchanging them changes the sign of the field.
    affine : (4, 4) float
        Voxel indices → RAS+ mm of both.
    axis : {0, 1, 2}
        Array axis of phase encoding.
    readout_ratio : float
        ρ, total readout time of ``against`` / that of ``along``.
    is_moving : bool
        Whether to estimate rigid motion of the head between the two (else ``pull`` is 1).

    Returns
    -------
    OpposedPair

    Raises
    ------
    ValueError
        If shapes, axis, ratio, affine or values make no sense.
    InputDataError
        If there are no bright voxels.

    Notes
    -----
    Signal that has left the field of view and come back on the other side is not unwrapped. The
    field is taken to move with the head.

    Examples
    --------
    A bar between voxels 10 and 20 that the first image shows 1.5 voxels too high, and the other
    as much too low:

    >>> import numpy as np
    >>> def bar(start):
    ...     edges = np.clip(np.arange(33.0), start, start + 10)
    ...     return np.broadcast_to(np.diff(edges)[:, None, None], (32, 8, 8))
    >>> pair = estimate_displacement(bar(11.5), bar(8.5), np.diag([3.0, 3, 3, 1]), axis=0)
    >>> abs(float(pair.displacement[10:20].mean()) - 1.5) < 0.1
    True
    """
    _check(along, against, affine, axis, readout_ratio)
    affine = np.asarray(affine, np.float64)
    order = [other for other in range(3) if other != axis] + [axis]
    back = np.argsort(order).tolist()
    first = np.asarray(along, np.float64).transpose(order)
    second = np.asarray(against, np.float64).transpose(order)
    turned = affine[:, [*order, 3]]
    head = _head(first, second)
    scales = first[head].mean(), second[head].mean()
    first, second = first / scales[0], second / scales[1]
    state, pull, before = _estimate(first, second, turned, head, readout_ratio, is_moving)
    centred = 0.5 * (state.field[:, 1:] + state.field[:, :-1])
    moved, _ = _pulled(second, turned, pull)
    sharp = _problem(first, moved, np.ones(first.shape), turned, readout_ratio, 0.0)
    fine = _evaluate(sharp, state.field)
    gain = _gain(fine, head)
    mean = 0.5 * scales[0] * (fine.first + gain * fine.second)
    return OpposedPair(
        displacement=centred.reshape(first.shape).transpose(back).astype(np.float32),
        corrected=mean.reshape(first.shape).transpose(back).astype(np.float32),
        pull=pull,
        mismatch_before=before,
        mismatch_after=_mismatch(state, head),
    )


def _check(
    along: NDArray[Any], against: NDArray[Any], affine: Float64Array, axis: int, ratio: float
) -> None:
    if along.ndim != 3 or along.shape != against.shape:
        raise ValueError(BAD_SHAPES.format(along=along.shape, against=against.shape))
    if axis not in {0, 1, 2}:
        raise ValueError(BAD_AXIS.format(axis=axis))
    if not (np.isfinite(ratio) and ratio > 0.0):
        raise ValueError(BAD_RATIO.format(ratio=ratio))
    if np.shape(affine) != (4, 4) or not abs(np.linalg.det(affine)) > 0.0:
        raise ValueError(BAD_AFFINE.format(affine=affine))
    if not (np.isfinite(along).all() and np.isfinite(against).all()):
        raise ValueError(NOT_FINITE)


def _head(first: Float64Array, second: Float64Array) -> BoolArray:
    """Voxels that are bright in both images together, and those around them."""
    bright = np.zeros(first.shape)
    for volume in (first, second):
        floor, top = np.percentile(volume, [10.0, 98.0])
        if top <= floor:
            raise InputDataError(NO_HEAD.format(shape=first.shape), NO_HEAD_HINT)
        bright += (volume - floor) / (top - floor)
    head: BoolArray = ndimage.binary_dilation(bright > 0.5)
    return head


def _estimate(
    first: Float64Array,
    second: Float64Array,
    affine: Float64Array,
    head: BoolArray,
    ratio: float,
    is_moving: bool,
) -> tuple[_State, Float64Array, float]:
    """Go from coarse to fine, field and rigid motion in turn.

    Returns the state at the finest level, the pull matrix and the mismatch without correction.
    """
    field = np.zeros((first.shape[0] * first.shape[1], first.shape[2] + 1))
    pull, gain = np.eye(4), 1.0
    for fwhm_mm in LEVELS_MM:
        for _ in range(MAX_ROUNDS if is_moving else 1):
            moved, seen = _pulled(second, affine, pull)
            problem = _problem(first, gain * moved, seen, affine, ratio, fwhm_mm)
            state = _minimise(problem, field)
            field = state.field
            gain *= _gain(state, head)
            if not is_moving:
                break
            step, size_mm = _rigid_step(state, problem, affine, head)
            pull = pull @ step
            field = field + _as_field(step, affine, problem)
            if VERBOSE: print(fwhm_mm, round(size_mm,3), np.round(matrix_to_parameters(pull, grid_centre(head.shape, affine))*[1,1,1,57.3,57.3,57.3],3))
            if size_mm < ROUND_TOLERANCE_MM:
                break
    plain = _problem(first, gain * second, seen, affine, ratio, LEVELS_MM[-1])
    return state, pull, _mismatch(_evaluate(plain, np.zeros_like(field)), head)


def _pulled(
    volume: Float64Array, affine: Float64Array, pull: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Volume as if the head had not moved, and 1 where it was in the field of view, else 0.

    What has moved in from outside continues the border.
    """
    if np.array_equal(pull, np.eye(4)):
        return volume, np.ones(volume.shape)
    points = voxel_points(np.ones(volume.shape, np.bool_), affine)
    to_voxels = np.linalg.inv(affine) @ pull
    where = points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
    nearest = np.clip(where, -0.499, np.array(volume.shape) - 0.501)
    seen = (np.abs(where - nearest) < 0.5).all(axis=1)
    moved = evaluate_spline(spline_coefficients(volume), nearest, np.eye(4))
    return moved.reshape(volume.shape).astype(np.float64), seen.reshape(volume.shape) * 1.0


def _problem(
    first: Float64Array,
    second: Float64Array,
    seen: Float64Array,
    affine: Float64Array,
    ratio: float,
    fwhm_mm: float,
) -> _Problem:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    n_x, n_y, n_z = first.shape
    return _Problem(
        along=_running_sums(first, fwhm_mm / sizes),
        against=_running_sums(second, fwhm_mm / sizes),
        seen=seen.reshape(-1, n_z),
        shape=(n_x, n_y, n_z + 1),
        inverse_squares=1.0 / np.square(sizes),
        bending=BENDING_MM2 * FACTORS.get(fwhm_mm, 1.0) * float(sizes[2] ** 2),
        ratio=ratio,
    )


def _running_sums(volume: Float64Array, fwhm: Float64Array) -> Float64Array:
    """Coefficients of the integral along the lines of a smoothed volume (FWHM in voxels)."""
    if fwhm.any():
        # Signal is kept along the lines; across them the border is continued.
        modes = ("nearest", "nearest", "constant")
        volume = ndimage.gaussian_filter(volume, fwhm / FWHM_PER_SIGMA, mode=modes, truncate=3.0)
    lines = volume.reshape(-1, volume.shape[2])
    padded = np.pad(lines, ((0, 0), (PAD + 1, PAD)))
    sums: Float64Array = ndimage.spline_filter1d(np.cumsum(padded, axis=1), 3, mode="mirror")
    return sums


def _bent(problem: _Problem, field: Float64Array) -> Float64Array:
    """Half the gradient of the bending penalty: α ∇⁴ d."""
    once, twice = np.empty(problem.shape), np.empty(problem.shape)
    _laplacian(field.reshape(problem.shape), problem.inverse_squares, once)
    _laplacian(once, problem.inverse_squares, twice)
    twice *= problem.bending
    return twice.reshape(field.shape)


def _evaluate(problem: _Problem, field: Float64Array) -> _State:
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
    return _State(field=field, first=first, second=second, slope=slope, bent=bent, cost=cost)


def _stretch(problem: _Problem, field: Float64Array) -> Float64Array:
    """d′ of the image that is distorted more."""
    return max(1.0, problem.ratio) * np.diff(field, axis=1)


def _minimise(problem: _Problem, field: Float64Array) -> _State:
    """Gauss–Newton steps, each shortened until it lowers the cost."""
    state = _evaluate(problem, field)
    for _ in range(MAX_STEPS):
        gradient, diagonal, beside = _linearised(problem, state)
        step = _conjugate_gradients(problem, gradient, diagonal, beside)
        before = state.cost
        length = 1.0
        for _ in range(MAX_HALVINGS):
            trial = _evaluate(problem, state.field + length * step)
            if trial.cost < before:
                state = trial
                break
            length *= 0.5
        if before - state.cost <= COST_TOLERANCE * before:
            break
    return state


def _linearised(
    problem: _Problem, state: _State
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Half the gradient (lines, n + 1) of the cost, and half its tridiagonal Gauss–Newton matrix.

    The matrix (its diagonal and what is beside it) has the data term and the barrier
    v⁴ / (1 − v²) of v = d′; the bending penalty is added by whoever multiplies with it.
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
    problem: _Problem, gradient: Float64Array, diagonal: Float64Array, beside: Float64Array
) -> Float64Array:
    """Step of Gauss–Newton: (data + bending) step = −gradient, to a tolerance."""
    weights = problem.inverse_squares
    # The diagonal of ∇⁴ away from the border.
    penalty = problem.bending * (4.0 * weights.sum() ** 2 + 2.0 * np.square(weights).sum())
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


def _gain(state: _State, head: BoolArray) -> float:
    """Signal of the first corrected image in the head, relative to the second."""
    inside = head.ravel()
    return float(state.first.ravel()[inside].sum() / state.second.ravel()[inside].sum())


def _mismatch(state: _State, head: BoolArray) -> float:
    inside = head.ravel()
    first, second = state.first.ravel()[inside], state.second.ravel()[inside]
    return float(np.sqrt(np.mean(np.square(first - second))) / np.mean(first))


def _as_field(step: Float64Array, affine: Float64Array, problem: _Problem) -> Float64Array:
    """Change of the field (lines, n + 1) that keeps the images matched along the lines.

    A rigid step that is now in the pull matrix had been seen as field: u voxels of displacement
    along the axis as u / (1 + ρ).
    """
    n_x, n_y, n_faces = problem.shape
    i, j, k = np.ogrid[:n_x, :n_y, :n_faces]
    row = (np.linalg.inv(affine) @ step @ affine)[2]
    shift = row[0] * i + row[1] * j + (row[2] - 1.0) * (k - 0.5) + row[3]
    along: Float64Array = shift.reshape(-1, n_faces) / (1.0 + problem.ratio)
    return along


def _rigid_step(
    state: _State, problem: _Problem, affine: Float64Array, head: BoolArray
) -> tuple[Float64Array, float]:
    """Rigid motion (4, 4) that is left between the corrected images, and its size in mm.

    Linear least squares on the image differences. Displacements along the phase-encoding axis
    belong to the field, so the gradient along it does not count: rotations show in what they do
    across it. The translation along it, which nothing shows, stays 0.
    """
    shape = head.shape
    used = head & (problem.seen.reshape(shape) > 0.0)
    mean = 0.5 * (state.first + state.second).reshape(shape)
    slopes = np.stack([np.gradient(mean, axis=axis)[used] for axis in (0, 1)], axis=1)
    gradient = slopes @ np.linalg.inv(affine[:3, :3])[:2]
    arms = (voxel_points(used, affine) - grid_centre(shape, affine)) / HEAD_RADIUS_MM
    design = np.hstack([-gradient, -np.cross(arms, gradient), mean[used][:, None]])
    difference = (state.second - state.first).reshape(shape)[used]
    normal, right = design.T @ design, design.T @ difference
    solution = np.asarray(np.linalg.lstsq(normal, right, rcond=1e-9)[0], np.float64)[:6]
    size_mm = float(np.linalg.norm(solution[:3]) + np.linalg.norm(solution[3:]))
    solution[3:] /= HEAD_RADIUS_MM
    return parameters_to_matrix(solution, grid_centre(shape, affine)), size_mm
