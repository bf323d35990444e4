"""Susceptibility: phases into a field in Hz, and a field into where an EPI image shows a tissue.

Two gradient echoes at times t₁ < t₂ differ in phase by φ = 2π f (t₂ − t₁) where the field is off
resonance by f (Jezzard & Balaban 1995, 10.1002/mrm.1910340111). In an EPI image of N lines at an
echo spacing of s seconds the tissue then appears f · s · N voxels further along the
phase-encoding axis, backwards where the direction ends in ``-``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VERSION = "1"

TURN = 2.0 * np.pi
SIEMENS_STEPS = 4096.0
"""Siemens stores a phase of ± π as ± 4096, or one turn as 0 to 4096."""
MILLIRADIANS = (3100.0, 3142.0)
"""Largest value of phases stored in thousandths of a radian."""
HZ_PER_TESLA = 42.577478518e6
"""Of the proton (CODATA 2018)."""
WIDTHS_MM = (48.0, 24.0, 12.0, 6.0)
"""Full widths of the kernels that complete a field, coarse to fine."""
TRUST = 0.05
"""Share of a full neighbourhood's weight that a finer kernel needs to be believed as much as
the coarser ones."""
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
AIR_COHERENCE, HEAD_COHERENCE, HEAD_OVER_NOISE = 0.5, 0.85, 4.0
"""Of :func:`head_mask`. Air has 0.2, a head 0.9 and more; noise has a median of 1.2 σ."""
WRAP_LIMIT = 0.5
"""Turns by which a voxel may differ from the median of its neighbours."""

NOT_A_PHASE = (
    "phases from {low:g} to {high:g} are neither radians, nor thousandths of them, nor "
    "0 to 4096, nor -4096 to 4096"
)
NO_HEAD = "no head with coherent phases is found in it"

Floats = NDArray[np.floating]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def phase_in_radians(phase: Floats) -> Float64Array:
    """Bring stored phases to radians.

    Parameters
    ----------
    phase : array
        Radians, thousandths of radians, or a vendor's steps: 0 to 4096 for one turn, or −4096 to
        4096 for −π to π.

    Returns
    -------
    array of the same shape
        Radians, as they are up to whole turns.

    Raises
    ------
    ValueError
        The range fits none of these; guessing the scale would make a wrong field.

    Examples
    --------
    >>> phase_in_radians(np.array([-4096.0, 0.0, 2048.0, 4094.0])).round(3).tolist()
    [-3.142, 0.0, 1.571, 3.14]
    >>> phase_in_radians(np.array([0.0, 2048.0, 4095.0])).round(3).tolist()
    [0.0, 3.142, 6.282]
    """
    values = np.asarray(phase, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    if low < high and high - low <= TURN * 1.01 and largest <= TURN * 1.01:
        return values
    if low < 0 and MILLIRADIANS[0] <= largest <= MILLIRADIANS[1]:
        return values / 1000.0
    if low >= 0 and TURN < high <= SIEMENS_STEPS:
        return values * (TURN / SIEMENS_STEPS)
    if low < 0 and TURN < largest <= SIEMENS_STEPS:
        return values * (np.pi / SIEMENS_STEPS)
    raise ValueError(NOT_A_PHASE.format(low=low, high=high))


def coherence(phase: Float64Array) -> Float64Array:
    """Length of the mean of exp(i φ) over 3 × 3 × 3 voxels: 1 where phases agree, 0.2 in air.

    Unlike the magnitude it does not depend on the sensitivity of the coil.

    Parameters
    ----------
    phase : (X, Y, Z) float
        Radians.
    """
    real, imaginary = (ndimage.uniform_filter(part, 3) for part in (np.cos(phase), np.sin(phase)))
    return np.asarray(np.hypot(real, imaginary))


def head_mask(magnitude: Floats, phase: Float64Array) -> BoolArray:
    """Find where a phase can be trusted.

    Parameters
    ----------
    magnitude : (X, Y, Z) float
    phase : (X, Y, Z) float
        Radians.

    Returns
    -------
    (X, Y, Z) bool
        The largest part whose phases agree with their neighbours and whose magnitude is well
        above that of the places where they do not.

    Raises
    ------
    ValueError
        There is no such part.
    """
    agree = coherence(phase)
    air = magnitude[agree < AIR_COHERENCE]
    noise = float(np.median(air)) if air.size else 0.0
    is_bright = (magnitude > HEAD_OVER_NOISE * noise) & (magnitude > 0)
    inner = largest_part(ndimage.binary_opening(is_bright & (agree > HEAD_COHERENCE)))
    if not inner.any():
        raise ValueError(NO_HEAD)
    return np.asarray(ndimage.binary_dilation(inner) & is_bright)  # the rim has air beside it


def unwrapped(phase: Float64Array, mask: BoolArray) -> Float64Array:
    """Remove the jumps of whole turns inside a mask.

    The path that follows reliable voxels first (Abdul-Rahman 2007, 10.1364/AO.46.006623), as
    scikit-image has it. The median of the result is brought to within half a turn of zero: a
    shimmed head is on resonance on the whole.

    Parameters
    ----------
    phase : (X, Y, Z) float
        Radians.
    mask : (X, Y, Z) bool

    Returns
    -------
    (X, Y, Z) float64
        Zero outside the mask.
    """
    from skimage import restoration  # loads slowly, and the records need this module's arithmetic

    wrapped = np.angle(np.exp(1j * phase))
    unwrap: Any = restoration.unwrap_phase  # neither has types
    masked: Any = np.ma
    whole = masked.filled(unwrap(masked.masked_array(wrapped, mask=~mask), rng=0), 0.0)
    whole[mask] -= TURN * np.round(np.median(whole[mask]) / TURN)
    return np.asarray(whole, dtype=np.float64)


def field_from_phase(
    phase: Float64Array, echo_times_s: tuple[float, float], mask: BoolArray
) -> Float64Array:
    """Field from the phase difference of two echoes.

    Parameters
    ----------
    phase : (X, Y, Z) float
        Phase of the second echo minus that of the first, radians up to whole turns.
    echo_times_s : (float, float)
        In the same order: the second minus the first is the time the phase had.
    mask : (X, Y, Z) bool
        Where the phase can be trusted, such as :func:`head_mask`.

    Returns
    -------
    (X, Y, Z) float64
        Hz; zero outside the mask.
    """
    first, second = echo_times_s
    return unwrapped(phase, mask) / (TURN * (second - first))


def in_hz(field: Floats, units: str) -> Float64Array:
    """Convert a measured field map to Hz.

    Parameters
    ----------
    field : array
    units : {"Hz", "rad/s", "Tesla"}
        As BIDS spells them.
    """
    factor = {"Hz": 1.0, "rad/s": 1.0 / TURN, "Tesla": HZ_PER_TESLA}[units]
    return np.asarray(field, dtype=np.float64) * factor


def largest_part(mask: BoolArray) -> BoolArray:
    """Return the largest connected part of a mask: phases cannot be compared across gaps."""
    labels, n_parts = ndimage.label(mask)
    if n_parts < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def complete(
    field: Float64Array, weights: Floats, voxel_sizes_mm: tuple[float, float, float]
) -> Float32Array:
    """Take the noise off a field and continue it where nothing was measured.

    Normalised convolution (Knutsson & Westin 1993) with Gaussians of falling width: each takes
    over from the coarser one as far as measured voxels are near. Voxels that lie half a turn
    and more beside the median of their neighbours are left out.

    Parameters
    ----------
    field : (X, Y, Z) float
        Hz.
    weights : (X, Y, Z) float
        Reliability, such as the squared :func:`coherence`; zero where nothing was measured.
    voxel_sizes_mm : (3,) float

    Returns
    -------
    (X, Y, Z) float32
        Hz, everywhere.

    Examples
    --------
    >>> slope = np.fromfunction(lambda i, j, k: 2.0 * i, (12, 8, 8))
    >>> mask = np.zeros(slope.shape)
    >>> mask[2:10, 2:6, 2:6] = 1
    >>> bool(abs(complete(slope, mask, (3.0, 3.0, 3.0)) - slope)[4:8, 3:5, 3:5].max() < 0.2)
    True
    """
    weight = np.asarray(weights, dtype=np.float64)
    weight = weight / weight[weight > 0].mean()
    smooth = np.full(field.shape, float(np.average(field, weights=weight)))
    for width in WIDTHS_MM:
        sigma = [width / FWHM_PER_SIGMA / size for size in voxel_sizes_mm]
        near = ndimage.gaussian_filter(weight, sigma, mode="constant")
        # The rest after the coarser scales is what is averaged, so that slopes keep their course.
        rest = ndimage.gaussian_filter(weight * (field - smooth), sigma, mode="constant")
        smooth = smooth + rest / (near + TRUST)
    return smooth.astype(np.float32)


def without_islands(field: Float64Array, mask: BoolArray, turn_hz: float) -> BoolArray:
    """Leave out voxels whose phase went another way round than that of their neighbours.

    Parameters
    ----------
    field : (X, Y, Z) float
        Hz; zero outside the mask.
    mask : (X, Y, Z) bool
    turn_hz : float
        The field that one turn of the phase stands for.
    """
    inside = np.where(mask, field, np.nan)
    padded = np.pad(inside, 1, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3)).reshape(*mask.shape, 27)
    middle = np.zeros(mask.shape)
    middle[mask] = np.nanmedian(windows[mask], axis=1)
    return np.asarray(mask & (np.abs(field - middle) < WRAP_LIMIT * turn_hz))


def line_time(
    n_lines: int, *, echo_spacing_s: float = 0.0, total_readout_time_s: float = 0.0
) -> float:
    """Time (s) for which 1 Hz shifts the image by one voxel: echo spacing times lines.

    BIDS defines the total readout time from the first line to the last, one echo spacing less.

    Examples
    --------
    >>> line_time(64, echo_spacing_s=0.0005)
    0.032
    >>> line_time(64, total_readout_time_s=0.0315)
    0.032
    """
    if echo_spacing_s > 0:
        return echo_spacing_s * n_lines
    return total_readout_time_s * n_lines / (n_lines - 1)


def axis_and_sign(direction: str) -> tuple[int, int]:
    """Return axis of the array and sign of a BIDS direction.

    Examples
    --------
    >>> axis_and_sign("j-"), axis_and_sign("i")
    ((1, -1), (0, 1))
    """
    return "ijk".index(direction[0]), -1 if direction.endswith("-") else 1


def encoding_vector(affine: Float64Array, direction: str) -> Float64Array:
    """Return the unit vector in RAS+ along which a BIDS direction points.

    Parameters
    ----------
    affine : (4, 4) float
        Voxel indices → RAS+ mm.
    direction : str

    Examples
    --------
    >>> encoding_vector(np.diag([-3.0, 3.0, 3.0, 1.0]), "i-").tolist()
    [1.0, 0.0, 0.0]
    """
    axis, sign = axis_and_sign(direction)
    column = affine[:3, axis]
    return np.asarray(sign * column / np.linalg.norm(column) + 0.0)


def sample_field(field: Floats, affine: Float64Array, points_mm: Float64Array) -> Float32Array:
    """Read a field at points; beyond its edge it stays what it is at the edge.

    Parameters
    ----------
    field : (X, Y, Z) float
    affine : (4, 4) float
        Voxel indices → RAS+ mm.
    points_mm : (n, 3) float
        RAS+ mm in the field's own space.

    Returns
    -------
    (n,) float32
    """
    to_voxels = np.linalg.inv(affine)
    coordinates = to_voxels[:3, :3] @ points_mm.T + to_voxels[:3, 3:]
    last = np.array(field.shape)[:, None] - 1.0
    coordinates = np.clip(coordinates, 0.0, last)
    return np.asarray(ndimage.map_coordinates(field, coordinates, order=3, mode="nearest"), "f4")


def unwarp(volume: Floats, shift: Floats, axis: int, *, use_jacobian: bool = True) -> Float32Array:
    """Show every tissue where it is.

    Parameters
    ----------
    volume : (X, Y, Z) float
        As acquired.
    shift : (X, Y, Z) float
        Voxels along ``axis`` from where a tissue is to where the image shows it.
    axis : int
    use_jacobian : bool
        Undo the piling up and thinning out of signal by the factor 1 + ∂shift/∂axis.

    Returns
    -------
    (X, Y, Z) float32
        Zero where the tissue was shifted out of the image.
    """
    coordinates = np.indices(volume.shape, dtype=np.float64)
    coordinates[axis] += shift
    straight = ndimage.map_coordinates(volume, coordinates, order=3, mode="constant")
    if use_jacobian:
        straight *= jacobian(shift, axis)
    return np.asarray(straight, dtype=np.float32)


def jacobian(shift: Floats, axis: int) -> Float32Array:
    """Factor 1 + ∂shift/∂axis (voxels per voxel), not below zero."""
    slope = np.gradient(np.asarray(shift, dtype=np.float64), axis=axis)
    return np.asarray(np.maximum(1.0 + slope, 0.0), np.float32)
