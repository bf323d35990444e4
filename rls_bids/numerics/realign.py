"""Rigid head motion of a BOLD series by robust, linearised least squares.

Every volume v is fitted to a reference f by Gauss–Newton steps on

    v(M x) ≈ a f(x) + b + f(x) g·x + ∇f(x)·(t + ω × (x − c)),

where M is the present pull matrix, a and b are gain and offset of the volume, g a gain that
varies linearly in space (the receive field stays while the head moves), and t, ω the step. It is
the linearisation of Cox & Jesmanowicz (1999, Magn Reson Med 42:1014)
in its inverse-compositional form (Baker & Matthews 2004, doi:10.1023/B:VISI.0000011205.11775.fd):
the gradients belong to the reference and are computed once, and the step changes M to
M (1 + step)⁻¹. Tukey's biweight on the residuals takes the weight from tissue that moves by
itself (neck, eyes, jaw) and from spoilt slices.

Both images are smoothed by the same Gaussian and by the cubic B-spline itself: smoothed samples
serve directly as spline coefficients, so the interpolated image is a smooth function without a
prefilter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.errors import InputDataError
from rls_bids.numerics.resample import (
    evaluate_spline,
    pad_mirrored,
    spline_coefficients,
    voxel_points,
)

VERSION = "1"

NO_STRUCTURE = (
    "The BOLD series shows no head: its reference volume (shape {shape}) has no bright voxels."
)
NO_STRUCTURE_HINT = "Look at the image; it may be empty, constant or scaled to zero."

QUIET_VOLUMES = 5
MEAN_VOLUMES = 40
SMOOTHING = 0.9
COARSE_SMOOTHING = 2.5
BORDER = 2
MAX_STEPS = 20
FIRST_POINTS, SECOND_POINTS = 10_000, 20_000
FIRST_TOLERANCE_MM, SECOND_TOLERANCE_MM = 0.02, 0.005
LARGE_STEP_VOXELS = 1.0
HEAD_RADIUS_MM = 60.0
TUKEY = 4.685
SIGMA_PER_MAD = 1.4826
OUTLIER_SCALE = 1.5

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Head motion of one series.

    Attributes
    ----------
    parameters : (n_volumes, 6) float64
        ``trans_x, trans_y, trans_z`` (mm) and ``rot_x, rot_y, rot_z`` (rad) of
        :func:`parameters_to_matrix` about the centre of the grid, in RAS+ world axes. Positive
        ``trans_x`` means that the head moved to its right.
    matrices : (n_volumes, 4, 4) float64
        Pull matrices, reference → volume, RAS+ mm.
    reference : (X, Y, Z) float32
        Mean of the realigned volumes (without those that fit badly), on the grid of the series.
    """

    parameters: Float64Array
    matrices: Float64Array
    reference: Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A smoothed reference at its weighted voxels, ready to be fitted.

    ``design`` (n, 11) has the columns trans_x,y,z, rot_x,y,z, f, 1, f·x, f·y, f·z; ``scale`` is
    what each was divided by.
    """

    points: Float64Array
    weights: Float32Array
    design: Float32Array
    scale: Float64Array
    sigma: tuple[float, ...]
    tolerance_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """Pull matrix of one volume and the robust SD of its residuals, relative to the gain."""

    matrix: Float64Array
    spread: float
    first_step_mm: float
    converged: bool


def grid_centre(shape: tuple[int, ...], affine: Float64Array) -> Float64Array:
    """Centre of a grid in RAS+ mm: the point about which the parameters rotate, (3,)."""
    middle = (np.array(shape[-3:], np.float64) - 1.0) / 2.0
    centre: Float64Array = affine[:3, :3] @ middle + affine[:3, 3]
    return centre


def parameters_to_matrix(parameters: Float64Array, centre_mm: Float64Array) -> Float64Array:
    """Pull matrix of six rigid parameters.

    x ↦ R (x − c) + c + t with R = R_z R_y R_x, right-handed rotations about the RAS+ axes.

    Parameters
    ----------
    parameters : (6,) float
        Translations (mm) and rotations (rad) in the order x, y, z.
    centre_mm : (3,) float
        Centre c of the rotation, RAS+ mm.

    Returns
    -------
    (4, 4) float64

    Examples
    --------
    >>> import numpy as np
    >>> matrix = parameters_to_matrix(np.array([1.0, 0, 0, 0, 0, np.pi / 2]), np.zeros(3))
    >>> np.round(matrix @ [10.0, 0, 0, 1], 6).tolist()
    [1.0, 10.0, 0.0, 1.0]
    """
    (sin_x, sin_y, sin_z), (cos_x, cos_y, cos_z) = np.sin(parameters[3:]), np.cos(parameters[3:])
    rotation_x = np.array([[1.0, 0.0, 0.0], [0.0, cos_x, -sin_x], [0.0, sin_x, cos_x]])
    rotation_y = np.array([[cos_y, 0.0, sin_y], [0.0, 1.0, 0.0], [-sin_y, 0.0, cos_y]])
    rotation_z = np.array([[cos_z, -sin_z, 0.0], [sin_z, cos_z, 0.0], [0.0, 0.0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_z @ rotation_y @ rotation_x
    matrix[:3, 3] = parameters[:3] + centre_mm - matrix[:3, :3] @ centre_mm
    return matrix


def matrix_to_parameters(matrix: Float64Array, centre_mm: Float64Array) -> Float64Array:
    """Six rigid parameters (mm, rad) of a rigid pull matrix (4, 4), about ``centre_mm`` (3,).

    The inverse of :func:`parameters_to_matrix` for rotations about y below 90°.
    """
    rotation = matrix[:3, :3]
    translation = matrix[:3, 3] - centre_mm + rotation @ centre_mm
    angles = (
        np.arctan2(rotation[2, 1], rotation[2, 2]),
        np.arcsin(np.clip(-rotation[2, 0], -1.0, 1.0)),
        np.arctan2(rotation[1, 0], rotation[0, 0]),
    )
    return np.concatenate([translation, angles])


def _smoothing_sigma(affine: Float64Array, width: float) -> tuple[float, ...]:
    """Gaussian SD in voxels: with the B-spline's own it makes ``width`` × the voxel size."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    total = np.square(width * sizes.max() / sizes)
    return tuple(float(sigma) for sigma in np.sqrt(np.maximum(total - 1.0 / 3.0, 0.1)))


def _smooth(volume: Float32Array, sigma: tuple[float, ...]) -> Float32Array:
    """Smooth a volume into padded spline coefficients."""
    samples = np.asarray(volume, np.float32)
    return pad_mirrored(ndimage.gaussian_filter(samples, sigma, mode="mirror", truncate=3.0))


def _head_weights(values: Float32Array) -> Float32Array:
    """Weigh the bright part of a volume by 1, what is outside it or at the borders by 0."""
    top = float(np.percentile(values, 98.0))
    floor = float(np.percentile(values, 10.0))
    bright = values > floor + 0.25 * (top - floor)
    if top <= floor or not bright.any():
        raise InputDataError(NO_STRUCTURE.format(shape=values.shape), NO_STRUCTURE_HINT)
    weights: Float32Array = ndimage.binary_dilation(bright).astype(np.float32)
    for axis, size in enumerate(values.shape):
        # A moved head shows at the border what the reference has not seen.
        border = min(BORDER, (size - 1) // 4)
        distance = np.minimum(np.arange(size), np.arange(size)[::-1])
        ramp = np.clip((distance - border + 1) / 2.0, 0.0, 1.0).astype(np.float32)
        weights = weights * ramp.reshape([-1 if other == axis else 1 for other in range(3)])
    return weights


def _thinned(used: BoolArray, n_points: int) -> BoolArray:
    """Keep at most so many voxels, scattered at random but always the same."""
    chosen = np.flatnonzero(used)
    if len(chosen) <= n_points:
        return used
    chosen = np.random.default_rng(0).choice(chosen, int(n_points), replace=False)
    few = np.zeros_like(used)
    few.flat[chosen] = True
    return few


def _prepare(
    reference: Float32Array, affine: Float64Array, width: float, n_points: int, tolerance_mm: float
) -> _Target:
    """Compute values, gradients and weights of a smoothed reference."""
    sigma = _smoothing_sigma(affine, width)
    smooth = ndimage.gaussian_filter(reference, sigma, mode="mirror", truncate=3.0)
    # The cubic B-spline and its derivative at the voxel centres.
    spline, slope = np.array([1.0, 4.0, 1.0]) / 6.0, np.array([-0.5, 0.0, 0.5])
    kernels = [[slope if axis == along else spline for axis in range(3)] for along in range(4)]
    images = []
    for kernel in kernels:
        image = smooth
        for axis in range(3):
            image = ndimage.correlate1d(image, kernel[axis], axis, mode="mirror")
        images.append(image)
    weights = _head_weights(images[3])
    used = _thinned(weights > 0.0, n_points)
    points = voxel_points(used, affine)
    gradient = np.stack([image[used] for image in images[:3]], axis=1).astype(np.float64)
    gradient = gradient @ np.linalg.inv(affine[:3, :3])
    arms = points - grid_centre(reference.shape, affine)
    values = images[3][used].astype(np.float64)[:, None]
    design = np.hstack(
        [gradient, np.cross(arms, gradient), values, np.ones_like(values), values * arms]
    )
    scale = np.sqrt(np.mean(np.square(design), axis=0))
    scale[scale == 0.0] = 1.0
    return _Target(
        points=points,
        weights=weights[used],
        design=np.ascontiguousarray(design / scale, np.float32),
        scale=scale,
        sigma=sigma,
        tolerance_mm=tolerance_mm,
    )


def _solve(design: Float32Array, values: Float32Array, weights: Float32Array) -> Float64Array:
    """Weighted least squares by the normal equations (minimum norm where singular)."""
    weighted = design * weights[:, None]
    normal = (weighted.T @ design).astype(np.float64)
    right = (weighted.T @ values).astype(np.float64)
    return np.asarray(np.linalg.lstsq(normal, right, rcond=1e-9)[0], np.float64)


def _fit(target: _Target, padded: Float32Array, affine: Float64Array, start: Float64Array) -> _Fit:
    """Gauss–Newton with robust weights from one starting matrix."""
    to_voxels = np.linalg.inv(affine)
    centre = grid_centre(tuple(size - 4 for size in padded.shape), affine)
    matrix: Float64Array = start
    robust: Float32Array = np.ones_like(target.weights)
    spread, size, sizes = np.inf, np.inf, []
    for _ in range(MAX_STEPS):
        values = evaluate_spline(padded, target.points, to_voxels @ matrix)
        seen = np.isfinite(values)
        weights = target.weights * robust * seen
        np.copyto(values, 0.0, where=~seen)
        solution = _solve(target.design, values, weights)
        residuals = values - target.design @ solution.astype(np.float32)
        spread = SIGMA_PER_MAD * float(np.median(np.abs(residuals[seen]))) if seen.any() else 0.0
        gain = solution[6] / target.scale[6]
        if gain < 0.1:
            return _Fit(matrix=start, spread=np.inf, first_step_mm=0.0, converged=False)
        step = solution[:6] / target.scale[:6] / gain
        matrix = matrix @ np.linalg.inv(parameters_to_matrix(step, centre))
        size = float(np.linalg.norm(step[:3]) + HEAD_RADIUS_MM * np.linalg.norm(step[3:]))
        sizes.append(size)
        # The first step knows no robust weights yet.
        if size < target.tolerance_mm and len(sizes) > 1:
            break
        ratio = residuals / np.float32(max(TUKEY * spread, 1e-20))
        robust = np.square(np.maximum(1.0 - ratio * ratio, 0.0))
    return _Fit(
        matrix=matrix,
        spread=float(spread / gain),
        first_step_mm=sizes[0],
        converged=size < target.tolerance_mm,
    )


def _fit_carefully(
    fine: _Target, coarse: _Target, volume: Float32Array, affine: Float64Array, start: Float64Array
) -> _Fit:
    """Fit a volume; after a large step also by way of a coarser level, and keep the better."""
    padded = _smooth(volume, fine.sigma)
    fit = _fit(fine, padded, affine, start)
    large = LARGE_STEP_VOXELS * float(np.linalg.norm(affine[:3, :3], axis=0).min())
    if fit.converged and fit.first_step_mm < large:
        return fit
    rough = _fit(coarse, _smooth(volume, coarse.sigma), affine, start)
    other = _fit(fine, padded, affine, rough.matrix)
    return min((fit, other), key=lambda candidate: candidate.spread)


def _quiet_start(series: Float32Array) -> int:
    """First volume of the stretch with the smallest changes from volume to volume."""
    changes, before = [], None
    for volume in series:
        sample = volume[::2, ::2, ::2].astype(np.float64)
        if before is not None:
            changes.append(float(np.mean(np.abs(sample - before))))
        before = sample
    n_changes = min(QUIET_VOLUMES, len(series)) - 1
    stretches = [
        max(changes[first : first + n_changes], default=0.0)
        for first in range(len(series) - n_changes)
    ]
    return int(np.argmin(stretches))


def _outward(middle: int, n_volumes: int) -> Iterator[tuple[int, int]]:
    """Pairs (volume, neighbour already done), from the middle to both ends."""
    yield middle, middle
    for volume in range(middle + 1, n_volumes):
        yield volume, volume - 1
    for volume in range(middle - 1, -1, -1):
        yield volume, volume + 1


def _mean_realigned(
    series: Float32Array, affine: Float64Array, matrices: Float64Array, used: NDArray[np.intp]
) -> Float32Array:
    """Mean of the chosen volumes brought to the reference; zero where none was seen."""
    to_voxels = np.linalg.inv(affine)
    points = voxel_points(np.ones(series.shape[1:], np.bool_), affine)
    total, count = np.zeros(len(points)), np.zeros(len(points))
    for index in used:
        values = evaluate_spline(
            spline_coefficients(series[index]), points, to_voxels @ matrices[index]
        )
        seen = np.isfinite(values)
        np.add(total, values, out=total, where=seen)
        count += seen
    mean: Float64Array = total / np.maximum(count, 1.0)
    return mean.reshape(series.shape[1:]).astype(np.float32)


def _regular(fits: list[_Fit]) -> NDArray[np.intp]:
    """List the volumes that fit about as well as most do."""
    spreads = np.array([fit.spread for fit in fits])
    finite = spreads[np.isfinite(spreads)]
    if not finite.size:
        return np.arange(len(fits))
    return np.flatnonzero(spreads <= OUTLIER_SCALE * np.median(finite))


def estimate_motion(series: Float32Array, affine: Float64Array) -> Motion:
    """Estimate the rigid motion of the head in two passes.

    The first pass goes to the median of the quietest five volumes, the second to the mean of
    the volumes realigned so far. Volumes whose residuals are much larger than usual (motion
    while the volume was taken) get an estimate but do not enter the means.

    Parameters
    ----------
    series : (n_volumes, X, Y, Z) float32
    affine : (4, 4) float
        Voxel indices → RAS+ mm; any axis order, sign and obliqueness.

    Returns
    -------
    Motion
        In the space of the first reference.

    Raises
    ------
    InputDataError
        If the reference volume has no bright voxels.
    """
    affine = np.asarray(affine, np.float64)
    n_volumes = len(series)
    first = _quiet_start(series)
    quiet = slice(first, first + QUIET_VOLUMES)
    reference = np.median(series[quiet], axis=0).astype(np.float32)
    middle = first + min(QUIET_VOLUMES, n_volumes) // 2
    fine = _prepare(reference, affine, SMOOTHING, FIRST_POINTS, FIRST_TOLERANCE_MM)
    coarse = _prepare(reference, affine, COARSE_SMOOTHING, FIRST_POINTS, FIRST_TOLERANCE_MM)
    fits = [_Fit(matrix=np.eye(4), spread=0.0, first_step_mm=0.0, converged=True)] * n_volumes
    for index, neighbour in _outward(middle, n_volumes):
        start = fits[neighbour].matrix
        fits[index] = _fit_carefully(fine, coarse, series[index], affine, start)
    regular = _regular(fits)
    thinned = regular[:: -(-len(regular) // MEAN_VOLUMES)]
    matrices = np.stack([fit.matrix for fit in fits])
    reference = _mean_realigned(series, affine, matrices, thinned)
    fine = _prepare(reference, affine, SMOOTHING, SECOND_POINTS, SECOND_TOLERANCE_MM)
    for index in range(n_volumes):
        fits[index] = _fit(fine, _smooth(series[index], fine.sigma), affine, matrices[index])
    matrices = np.stack([fit.matrix for fit in fits])
    centre = grid_centre(series.shape, affine)
    parameters = np.stack([matrix_to_parameters(matrix, centre) for matrix in matrices])
    mean = _mean_realigned(series, affine, matrices, _regular(fits))
    return Motion(parameters=parameters, matrices=matrices, reference=mean)
