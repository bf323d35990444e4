"""Boundary-based registration of a BOLD reference to a T1w image.

The rigid matrix that mutual information gave is refined by the one feature that both images show
sharply, the border between white and grey matter (Greve & Fischl 2009,
doi:10.1016/j.neuroimage.2009.06.060). The border is read from the T1w tissue probabilities. In a
T2*-weighted image its grey side is the brighter one, so for border points p with unit normals n
from white to grey, and the BOLD reference b, the rigid matrix M is sought that minimises

    1/N Σ 1 − tanh(s q),   q = 100 (g − w) / ((g + w) / 2),   g, w = b(M (p ± d n)).

It is near 0 where grey is everywhere much brighter than white, 1 where neither is, 2 where white
is. Only the two sides of a point are compared, so a smooth receive field does not matter.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.numerics.resample import (
    FWHM_PER_SIGMA,
    evaluate_spline,
    resample_volume,
    spline_coefficients,
)

VERSION = "1"

LEVEL = 0.5
SMOOTHING = 0.7
"""Gaussian SD over the largest voxel edge; the stairs of a mask would tilt the normals."""
SIDE_MM = 1.0
"""So far on either side of a point must still be white, or not white."""
GREY_MM = 1.0
N_POINTS = 20_000

DISTANCE_MM = 2.0
SLOPE = 0.05
"""Per percent. At the 0.5 of the paper tanh is saturated wherever grey is more than a few percent
brighter, and the few points in thin gyri, whose sides lie in the next fold, decide alone: planted
poses of 3 mm phantoms were then missed by 0.5 mm, with 0.05 by 0.15 mm."""
DARK = 0.2
"""Contrast is not read where less than this share of the median signal is left (signal voids)."""
TURN_RADIUS_MM = 60.0
SEARCH_MM = (-4.0, 0.0, 4.0)
N_SEARCHED, N_COARSE = 1000, 3000
N_FINALISTS = 2
COARSE_FWHM_MM = 6.0
COARSE_STEP_MM, COARSE_TOLERANCE_MM = 1.0, 0.1
FINE_STEP_MM, FINE_TOLERANCE_MM = 0.5, 0.01

MIN_POINTS = 2000
"""Slabs of a 3 mm phantom with 2500 points and more were right to 0.7 mm, with 1100 to 2 mm."""
MAX_MOVED_MM = 15.0
"""From 10 mm and 10° off a phantom's pose was found, from 20 mm or 20° mostly a false one."""
MAX_WRONG = 0.35
"""At the true pose of phantoms 0.02 to 0.15, at the end in a real head (BOLD 5 mm, T1w 2 mm) 0.18
were wrong; at false ends, with inverted contrast and in noise 0.43 and more."""

TOO_FEW = "the field of view holds {n} points of the white-matter boundary, {least} are needed"
MOVED_FAR = "the refinement moved the brain by {moved:.1f} mm, more than {most:.0f} mm"
NO_CONTRAST = (
    "grey matter is not brighter than white matter at {share:.0%} of the boundary, "
    "more than {most:.0%}"
)

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Cost = Callable[[Float64Array], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Points on the surface of the white matter, spread evenly, in random order.

    Attributes
    ----------
    points_mm : (n, 3) float64
        RAS+ mm.
    normals : (n, 3) float64
        Of length 1 along RAS+ axes, from white to grey matter.
    """

    points_mm: Float64Array
    normals: Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """A refined matrix and what speaks for it.

    Attributes
    ----------
    matrix : (4, 4) float64
        Pull matrix, T1w RAS+ mm → BOLD RAS+ mm.
    cost, start_cost : float
        At ``matrix`` and at the start, 0 … 2; lower is better.
    wrong_share : float
        Share of the points at which grey is not brighter than white; half of them by chance.
    n_points : int
        Points of the boundary whose two sides the BOLD image covers.
    moved_mm : float
        Mean way of these points from the start.
    """

    matrix: Float64Array
    cost: float
    start_cost: float
    wrong_share: float
    n_points: int
    moved_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The part of a boundary that a BOLD image covers at a matrix.

    ``sides`` (2, n, 3) are points on the grey and on the white side, T1w mm; ``coefficients`` and
    ``to_voxels`` read the image at T1w points through the matrix; ``centre_mm`` is the points'
    mean; ``floor`` the signal below which contrast is not read.
    """

    sides: Float64Array
    coefficients: Float32Array
    to_voxels: Float64Array
    centre_mm: Float64Array
    floor: float


def white_matter_boundary(
    white: Float32Array,
    affine: Float64Array,
    grey: Float32Array | None = None,
    exclude: NDArray[np.bool_] | None = None,
    n_points: int = N_POINTS,
) -> Boundary:
    """Find points on the surface at which white matter has a probability of one half.

    The points are the vertices that marching cubes would find: where the edges of the voxel
    lattice cross the level of the slightly smoothed probability, placed by linear interpolation.
    Normals are its negative gradient. Points of thin sheets are left out.

    Parameters
    ----------
    white : (X, Y, Z) float32
        Probability of white matter, or a mask.
    affine : (4, 4) float64
        Voxel indices → RAS+ mm; any axis order, sign and obliqueness.
    grey : (X, Y, Z) float32, optional
        Probability of grey matter. Points that have something else on their outer side are left
        out: ventricles, the brain stem in its cistern, the edge of the brain mask.
    exclude : (X, Y, Z) bool, optional
        Where no points are wanted, for instance at deep grey nuclei.
    n_points : int
        At most so many are kept.

    Returns
    -------
    Boundary
        Empty where there is no white matter. The same input gives the same points.

    Examples
    --------
    >>> import numpy as np
    >>> white = np.zeros((20, 20, 20), np.float32)
    >>> white[:, :, :10] = 1
    >>> boundary = white_matter_boundary(white, np.eye(4))
    >>> len(boundary.points_mm), float(boundary.points_mm[0, 2]), boundary.normals[0].tolist()
    (400, 9.5, [0.0, 0.0, 1.0])
    """
    affine = np.asarray(affine, np.float64)
    box, inner = _crop(np.asarray(white) > 0, affine)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    sigma = SMOOTHING * sizes.max() / sizes
    values = np.asarray(white[box], np.float32)
    smooth = ndimage.gaussian_filter(values, sigma, mode="nearest")
    voxels, gradient = _crossings(smooth)
    points = voxels @ inner[:3, :3].T + inner[:3, 3]
    normals = -gradient @ np.linalg.inv(inner[:3, :3])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(length, np.finfo(np.float64).tiny) + 0.0
    used = length[:, 0] > 0
    used &= resample_volume(smooth, inner, points - SIDE_MM * normals) > LEVEL
    used &= resample_volume(smooth, inner, points + SIDE_MM * normals) < LEVEL
    if grey is not None:
        used &= resample_volume(grey, affine, points + GREY_MM * normals) > LEVEL
    if exclude is not None:
        used &= ~resample_volume(np.asarray(exclude, np.bool_), affine, points, 0)
    points, normals = points[used], normals[used]
    # A surface is crossed by the more edges the more it is oblique to them: draw without
    # replacement with the inverse weight (Efraimidis & Spirakis 2006).
    crossed = np.abs(normals @ inner[:3, :3]).sum(axis=1)
    drawn = np.log1p(-np.random.default_rng(0).random(len(points)))
    order = np.argsort(-drawn * crossed, kind="stable")[:n_points]
    return Boundary(points_mm=points[order], normals=normals[order])


def _crop(mask: NDArray[np.bool_], affine: Float64Array) -> tuple[tuple[slice, ...], Float64Array]:
    """Return the box round a mask with two voxels to spare, and the affine of the box."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return (slice(None),) * 3, affine
    box = tuple(slice(max(0, side.start - 2), side.stop + 2) for side in found[0])
    inner = affine.copy()
    inner[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return box, inner


def _crossings(smooth: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Return where lattice edges cross the level, (n, 3) voxels, and the gradients there."""
    above = smooth >= LEVEL
    slopes = np.gradient(smooth)
    places, gradients = [], []
    for axis in range(3):
        low = np.argwhere(np.diff(above, axis=axis))
        high = low + np.eye(3, dtype=low.dtype)[axis]
        start, stop = (smooth[tuple(at.T)].astype(np.float64) for at in (low, high))
        share = ((LEVEL - start) / (stop - start))[:, None]
        ends = [np.stack([slope[tuple(at.T)] for slope in slopes], axis=1) for at in (low, high)]
        places.append(low + share * (high - low))
        gradients.append((1.0 - share) * ends[0] + share * ends[1])
    return np.concatenate(places), np.concatenate(gradients)


def refine(
    boundary: Boundary,
    boldref: Float32Array,
    bold_affine: Float64Array,
    start: Float64Array,
    distance_mm: float = DISTANCE_MM,
    slope: float = SLOPE,
) -> Refined:
    """Refine a rigid matrix until grey is brighter than white all along the boundary.

    Parameters
    ----------
    boundary : Boundary
        Of the T1w image.
    boldref : (X, Y, Z) float32
        T2*-weighted; needs no mask and no bias correction. A slab is enough.
    bold_affine : (4, 4) float64
        Voxel indices → RAS+ mm.
    start : (4, 4) float64
        Pull matrix, T1w mm → BOLD mm, right to some 5 mm and 5°.
    distance_mm : float
        Way d from the boundary to either side.
    slope : float
        Slope s of tanh, for contrast in percent; negative where white matter is brighter.

    Returns
    -------
    Refined
        With too few points in the field of view the start itself, at a cost of 1; ask
        :func:`find_fault`.

    Notes
    -----
    Shifts and turns by 4 mm (of arc at 60 mm) are tried in all combinations on a smoothed BOLD
    image; Powell's method goes on from the best and from the start, then on the image itself.
    Points that leave the field of view on the way, or lie in signal voids, count as without
    contrast, so that nothing is won by driving them there. One thread, no random numbers.
    """
    affine, start = np.asarray(bold_affine, np.float64), np.asarray(start, np.float64)
    volume = np.asarray(boldref, np.float32)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    sigma = np.sqrt(np.maximum(COARSE_FWHM_MM**2 - sizes**2, 0.0)) / FWHM_PER_SIGMA / sizes
    smooth = ndimage.gaussian_filter(volume, sigma, mode="nearest")
    view, step = _view(boundary, smooth, affine, start, distance_mm), np.eye(4)
    if view.sides.shape[1] >= MIN_POINTS:
        step = _approach(view, slope)
        # What is covered is only now known well enough.
        view = _view(boundary, volume, affine, start @ step, distance_mm)
    n_points = view.sides.shape[1]
    if n_points < MIN_POINTS:
        nothing = {"cost": 1.0, "start_cost": 1.0, "wrong_share": 1.0, "moved_mm": 0.0}
        return Refined(matrix=start.copy(), n_points=n_points, **nothing)
    best, cost = _powell(_cost(view, slope), np.zeros(6), FINE_STEP_MM, FINE_TOLERANCE_MM)
    last = _matrix(best, view.centre_mm)
    back = np.asarray(np.linalg.inv(step), np.float64)
    points, whole = view.sides.mean(axis=0), step @ last
    way = points @ whole[:3, :3].T + whole[:3, 3] - points
    return Refined(
        matrix=start @ whole,
        cost=cost,
        start_cost=_mean_cost(_contrast(view, back), slope),
        wrong_share=float(np.mean(_contrast(view, last) * np.sign(slope) <= 0.0)),
        n_points=n_points,
        moved_mm=float(np.linalg.norm(way, axis=1).mean()),
    )


def _view(
    boundary: Boundary,
    volume: Float32Array,
    affine: Float64Array,
    matrix: Float64Array,
    distance_mm: float,
) -> _View:
    """Look at a BOLD image through a pull matrix and keep the points that it covers."""
    reach = distance_mm * boundary.normals
    sides = np.stack([boundary.points_mm + reach, boundary.points_mm - reach])
    coefficients, to_voxels = spline_coefficients(volume), np.linalg.inv(affine) @ matrix
    values = evaluate_spline(coefficients, sides.reshape(-1, 3), to_voxels).reshape(2, -1)
    seen = np.isfinite(values).all(axis=0)
    return _View(
        sides=sides[:, seen],
        coefficients=coefficients,
        to_voxels=to_voxels,
        centre_mm=sides[:, seen].mean(axis=(0, 1)) if seen.any() else np.zeros(3),
        floor=DARK * float(np.median(values[:, seen])) if seen.any() else 0.0,
    )


def _contrast(view: _View, step: Float64Array) -> Float32Array:
    """Contrast in percent, (n,), after the points moved by a matrix (4, 4) in T1w mm."""
    points = view.sides.reshape(-1, 3)
    grey, white = evaluate_spline(view.coefficients, points, view.to_voxels @ step).reshape(2, -1)
    mean = (grey + white) / 2
    percent: Float32Array = np.zeros_like(mean)
    np.divide(100 * (grey - white), mean, out=percent, where=mean > view.floor)
    return percent


def _mean_cost(percent: Float32Array, slope: float) -> float:
    return float(1.0 - np.tanh(slope * percent, dtype=np.float64).mean())


def _cost(view: _View, slope: float, n_points: int | None = None) -> Cost:
    """Return the function of six scaled parameters that is minimised, from the first points."""
    few = replace(view, sides=np.ascontiguousarray(view.sides[:, :n_points]))

    def cost(parameters: Float64Array) -> float:
        return _mean_cost(_contrast(few, _matrix(parameters, view.centre_mm)), slope)

    return cost


def _approach(view: _View, slope: float) -> Float64Array:
    """Return the best step (4, 4) from the start and from a search around it."""
    tried = [np.array(steps, np.float64) for steps in product(SEARCH_MM, repeat=6)]
    first = sorted(tried, key=_cost(view, slope, N_SEARCHED))[:N_FINALISTS]
    cost = _cost(view, slope, N_COARSE)
    found = [
        _powell(cost, start, COARSE_STEP_MM, COARSE_TOLERANCE_MM)
        for start in (np.zeros(6), *first)
    ]
    return _matrix(min(found, key=lambda result: result[1])[0], view.centre_mm)


def _matrix(parameters: Float64Array, centre_mm: Float64Array) -> Float64Array:
    """Pull matrix of translations in mm and rotations in mm of arc at a brain's radius."""
    scaled = np.concatenate([parameters[:3], parameters[3:] / TURN_RADIUS_MM])
    return parameters_to_matrix(scaled, centre_mm)


def _powell(
    cost: Cost, start: Float64Array, step_mm: float, tolerance_mm: float
) -> tuple[Float64Array, float]:
    """Minimise from a start; returns parameters and cost."""
    options = {"xtol": tolerance_mm, "ftol": 1e-6, "maxiter": 20, "direc": np.eye(6) * step_mm}
    found = optimize.minimize(cost, start, method="Powell", options=options)
    return np.asarray(found.x, np.float64), float(found.fun)


def find_fault(refined: Refined) -> str:
    """Say why a refined matrix should not be used.

    Parameters
    ----------
    refined : Refined

    Returns
    -------
    str
        Empty where there is no reason.

    Examples
    --------
    >>> import numpy as np
    >>> find_fault(Refined(matrix=np.eye(4), cost=0.9, start_cost=1.0, wrong_share=0.45,
    ...     n_points=20000, moved_mm=2.0))
    'grey matter is not brighter than white matter at 45% of the boundary, more than 35%'
    """
    if refined.n_points < MIN_POINTS:
        return TOO_FEW.format(n=refined.n_points, least=MIN_POINTS)
    if refined.moved_mm > MAX_MOVED_MM:
        return MOVED_FAR.format(moved=refined.moved_mm, most=MAX_MOVED_MM)
    if refined.wrong_share > MAX_WRONG:
        return NO_CONTRAST.format(share=refined.wrong_share, most=MAX_WRONG)
    return ""


def is_trustworthy(refined: Refined) -> bool:
    """Tell whether a refined matrix may replace the start; see :func:`find_fault`."""
    return not find_fault(refined)
