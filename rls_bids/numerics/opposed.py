"""Susceptibility displacement from two EPI volumes of opposite phase-encoding polarity.

The field inhomogeneity shifts tissue along the phase-encoding axis one way in one image and the
other way in the other, and squeezes or stretches its signal (Andersson 2003,
doi:10.1016/S1053-8119(03)00336-7; Ruthotto 2012, doi:10.1088/0031-9155/57/18/5715). The field
that makes both corrected images equal is sought from smoothed to less smoothed images
(:mod:`rls_bids.numerics.opposed_field` has the model), in turn with the small rigid motion of the
head from one image to the other.

What a pair cannot tell: a translation of the head along the phase-encoding axis looks exactly
like a constant field. It is counted as field, and the corrected image is shifted by as much.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.errors import InputDataError
from rls_bids.numerics.opposed_field import State, evaluate, make_problem, minimise
from rls_bids.numerics.realign import grid_centre, parameters_to_matrix
from rls_bids.numerics.resample import evaluate_spline, spline_coefficients, voxel_points

VERSION = "1"

BAD_SHAPES = (
    "Two volumes of one shape (X, Y, Z), at least four voxels a side, were expected; "
    "found {along} and {against}."
)
BAD_AXIS = "The phase-encoding axis is 0, 1 or 2, found {axis}."
BAD_RATIO = "The ratio of the readout times must be positive and finite, found {ratio}."
BAD_AFFINE = "An invertible affine (4, 4) was expected, found {affine}."
NOT_FINITE = "The volumes must be finite everywhere."
NO_HEAD = "The pair of opposite phase-encoding polarity shows no head (shape {shape})."
NO_HEAD_HINT = "Look at both images; one may be empty, constant or scaled to zero."

LEVELS = ((12.0, 5.0, 8), (6.0, 1.0, 4), (3.0, 0.05, 2))
"""FWHM of the smoothing (mm), weight of the bending penalty (mm²), rounds; coarse to fine.

Where the field bends freely it also explains what motion does, so motion is found while it is
stiff.
"""
N_MIXED = 5
LEAST_SIZE = 4
ROUND_TOLERANCE_MM, LONGEST_STEP_MM = 0.01, 2.0
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
        Root mean square difference of the two images in the head, relative to the signal,
        without and with correction.
    """

    displacement: Float32Array
    corrected: Float32Array
    pull: Float64Array
    mismatch_before: float
    mismatch_after: float


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
    first = np.asarray(along, np.float64).transpose(order)
    second = np.asarray(against, np.float64).transpose(order)
    turned = affine[:, [*order, 3]]
    head = _head(first, second)
    scales = first[head].mean(), second[head].mean()
    first, second = first / scales[0], second / scales[1]
    field, pull = _estimate(first, second, turned, head, readout_ratio, is_moving)
    moved, seen = _pulled(second, turned, pull)
    sizes_mm = np.linalg.norm(turned[:3, :3], axis=0)

    def corrected_by(image: Float64Array, faces: Float64Array) -> State:
        problem = make_problem((first, image), seen, sizes_mm, readout_ratio)
        return evaluate(problem, faces.reshape(-1, faces.shape[2]))

    state = corrected_by(moved, field)
    mean = 0.5 * scales[0] * (state.first + _gain(state, head) * state.second)

    def turned_back(volume: Float64Array) -> Float32Array:
        return np.ascontiguousarray(volume.transpose(np.argsort(order)), np.float32)

    return OpposedPair(
        displacement=turned_back(0.5 * (field[..., 1:] + field[..., :-1])),
        corrected=turned_back(mean.reshape(first.shape)),
        pull=pull,
        mismatch_before=_mismatch(corrected_by(second, np.zeros_like(field)), head),
        mismatch_after=_mismatch(state, head),
    )


def _check(
    along: NDArray[Any], against: NDArray[Any], affine: Float64Array, axis: int, ratio: float
) -> None:
    if along.ndim != 3 or along.shape != against.shape or min(along.shape) < LEAST_SIZE:
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
    if not head.any() or min(first[head].mean(), second[head].mean()) <= 0.0:
        raise InputDataError(NO_HEAD.format(shape=first.shape), NO_HEAD_HINT)
    return head


def _estimate(
    first: Float64Array,
    second: Float64Array,
    affine: Float64Array,
    head: BoolArray,
    ratio: float,
    is_moving: bool,
) -> tuple[Float64Array, Float64Array]:
    """Go from coarse to fine, field and rigid motion in turn.

    Returns the field at the faces (X, Y, n + 1), in voxels, and the pull matrix (4, 4).
    """
    sizes_mm = np.linalg.norm(affine[:3, :3], axis=0)
    centre_mm = grid_centre(first.shape, affine)
    field, parameters, gain = np.zeros((*first.shape[:2], first.shape[2] + 1)), np.zeros(6), 1.0
    for fwhm_mm, bending_mm2, n_rounds in LEVELS:
        strides = _strides(first.shape, sizes_mm, fwhm_mm)
        few = slice(None, None, strides[0]), slice(None, None, strides[1])
        lines = field[few].reshape(-1, field.shape[2])
        found: list[tuple[Float64Array, Float64Array]] = []
        for n_left in reversed(range(n_rounds if is_moving else 1)):
            pull = _matrix(parameters, centre_mm)
            moved, seen = _pulled(second, affine, pull)
            problem = make_problem((first, gain * moved), seen, sizes_mm, ratio, fwhm_mm, strides)
            state = minimise(replace(problem, bending_mm2=bending_mm2), lines)
            lines = state.field
            gain *= _gain(state, head[few])
            if not n_left:
                break
            used = head[few] & (seen[few] > 0.0)
            step = _rigid_step(state, used, affine * (*strides, 1, 1), centre_mm)
            if np.linalg.norm(step) < ROUND_TOLERANCE_MM:
                break
            found.append((parameters, step))
            parameters = _mixed(found)
        field = _widened(lines.reshape(problem.shape), strides, field.shape)
    return field, pull


def _strides(shape: tuple[int, ...], sizes_mm: Float64Array, fwhm_mm: float) -> tuple[int, int]:
    """Every how many lines describe images of a smoothness, on the first two axes."""
    first, second = (
        max(1, min(int(fwhm_mm / (1.5 * size)), n // 2))
        for size, n in zip(sizes_mm[:2], shape[:2], strict=True)
    )
    return first, second


def _widened(
    field: Float64Array, strides: tuple[int, int], shape: tuple[int, ...]
) -> Float64Array:
    """Interpolate the lines between those of a thinned field, linearly."""
    for axis, stride in enumerate(strides):
        where = np.minimum(np.arange(shape[axis]) / stride, field.shape[axis] - 1.0)
        low = where.astype(np.intp)
        high = np.minimum(low + 1, field.shape[axis] - 1)
        part = (where - low).reshape([-1 if axis == other else 1 for other in range(3)])
        field = field.take(low, axis) * (1.0 - part) + field.take(high, axis) * part
    return field


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
    where: Float64Array = points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
    nearest = np.clip(where, -0.499, np.array(volume.shape) - 0.501)
    seen = np.zeros(volume.shape)
    seen.flat[:] = (np.abs(where - nearest) < 0.5).all(axis=1)
    moved = evaluate_spline(spline_coefficients(volume), nearest, np.eye(4))
    return np.asarray(moved.reshape(volume.shape), np.float64), seen


def _gain(state: State, head: BoolArray) -> float:
    """Signal of the first corrected image in the head, relative to the second."""
    inside = head.ravel()
    return float(state.first.ravel()[inside].sum() / state.second.ravel()[inside].sum())


def _mismatch(state: State, head: BoolArray) -> float:
    """Root mean square difference of the images in the head, relative to the signal."""
    inside = head.ravel()
    first, second = state.first.ravel()[inside], _gain(state, head) * state.second.ravel()[inside]
    return float(np.sqrt(np.mean(np.square(first - second))) / np.mean(first))


def _rigid_step(
    state: State, used: BoolArray, affine: Float64Array, centre_mm: Float64Array
) -> Float64Array:
    """Rigid motion (6,) that is left between the corrected images, in mm (rotations: of arc).

    Linear least squares on the differences at the voxels used. Displacements along the
    phase-encoding axis belong to the field, so the gradient along it does not count: rotations
    show in what they do across it. The translation along it, which nothing shows, stays 0.
    """
    shape = used.shape
    mean = 0.5 * (state.first + state.second).reshape(shape)
    slopes = np.stack([np.gradient(mean, axis=axis)[used] for axis in (0, 1)], axis=1)
    gradient = slopes @ np.linalg.inv(affine[:3, :3])[:2]
    arms = (voxel_points(used, affine) - centre_mm) / HEAD_RADIUS_MM
    design = np.hstack([-gradient, -np.cross(arms, gradient), mean[used][:, None]])
    difference = (state.second - state.first).reshape(shape)[used]
    normal, right = design.T @ design, design.T @ difference
    return np.asarray(np.linalg.lstsq(normal, right, rcond=1e-9)[0], np.float64)[:6]


def _mixed(found: list[tuple[Float64Array, Float64Array]]) -> Float64Array:
    """Next parameters (6,), by Anderson mixing of the parameters and steps found so far.

    Field and motion each explain a part of what the other does, so that plain alternation
    creeps; the last few steps tell how far it would go (Walker & Ni 2011, doi:10.1137/10078356X).
    """
    points, steps = (np.array(part) for part in zip(*found[-N_MIXED - 1 :], strict=True))
    change, moved = np.diff(steps, axis=0).T, np.diff(points, axis=0).T
    weights = np.linalg.lstsq(change, steps[-1], rcond=1e-3)[0]
    ahead: Float64Array = steps[-1] - (moved + change) @ weights
    ahead *= LONGEST_STEP_MM / max(LONGEST_STEP_MM, float(np.linalg.norm(ahead)))
    following: Float64Array = points[-1] + ahead
    return following


def _matrix(parameters: Float64Array, centre_mm: Float64Array) -> Float64Array:
    """Pull matrix (4, 4) of translations in mm and rotations in mm of arc."""
    scaled = np.concatenate([parameters[:3], parameters[3:] / HEAD_RADIUS_MM])
    return parameters_to_matrix(scaled, centre_mm)
