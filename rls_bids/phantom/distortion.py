"""Susceptibility: a field that is known everywhere, what it does to EPI, and maps of it.

The field moves with the head and distorts along the axis of the resting head, as every correction
by a static map assumes; at head rotations of 1° and 5 mm of distortion this leaves out 0.1 mm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rls_bids.phantom.images import axis_of
from rls_bids.phantom.space import Floats, Floats32
from rls_bids.phantom.spec import Plan

ECHO_SPACING_S = 0.0006
"""A line every 0.6 ms: 54 lines of 4 mm shift by one voxel at 31 Hz."""
ECHO_TIMES_S = (0.00492, 0.00738)
PHASE_STEPS = 4096
STEPS = 30
"""Rounds that invert the distortion; each leaves at most two thirds of the error."""
OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))
TOWARDS = "RAS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bump:
    """A Gaussian of the field: centre and standard deviations (mm, standard space), peak (Hz)."""

    centre_mm: tuple[float, float, float]
    width_mm: tuple[float, float, float]
    peak_hz: float


BUMPS = (
    Bump(centre_mm=(0.0, 48.0, -22.0), width_mm=(18.0, 16.0, 16.0), peak_hz=90.0),
    Bump(centre_mm=(-58.0, -22.0, -30.0), width_mm=(15.0, 17.0, 14.0), peak_hz=70.0),
    Bump(centre_mm=(58.0, -22.0, -30.0), width_mm=(15.0, 17.0, 14.0), peak_hz=60.0),
    Bump(centre_mm=(0.0, -30.0, -50.0), width_mm=(22.0, 22.0, 18.0), peak_hz=-50.0),
    Bump(centre_mm=(20.0, -70.0, 60.0), width_mm=(35.0, 35.0, 30.0), peak_hz=-25.0),
)
"""Sinuses, both petrous bones (unequal, so that sides can be told apart), brain stem, vertex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How an EPI is encoded: axis of the array near RAS, sign, and voxels that 1 Hz shifts."""

    axis: int
    sign: int
    voxels_per_hz: float


def field_hz(points: tuple[Floats32, ...], from_standard: Floats, scale: float) -> Floats32:
    """Off-resonance at points of the head, float32 of their shape.

    Parameters
    ----------
    points : three arrays of one shape
        Coordinates x, y, z in the head's space (mm).
    from_standard : (4, 4) array
        Standard space to the head's space.
    scale : float
        Multiplies the field.
    """
    back = np.asarray(np.linalg.inv(from_standard), np.float32)
    x, y, z = (
        row[0] * points[0] + row[1] * points[1] + row[2] * points[2] + row[3] for row in back[:3]
    )
    total = np.zeros(points[0].shape, np.float32)
    for bump in BUMPS:
        away = sum(
            ((axis - centre) / width) ** 2
            for axis, centre, width in zip((x, y, z), bump.centre_mm, bump.width_mm, strict=True)
        )
        total += np.float32(scale * bump.peak_hz) * np.exp(-away / 2)
    return total


def encoding(plan: Plan, shape: tuple[int, int, int], towards: str | None = None) -> Encoding:
    """Return the encoding of the cohort's BOLD, or of an EPI encoded towards another side."""
    side = towards or plan.spec.phase_encoding
    axis = next(a for a, code in enumerate(TOWARDS) if side in {code, OPPOSITE[code]})
    return Encoding(
        axis=axis, sign=1 if side in TOWARDS else -1, voxels_per_hz=ECHO_SPACING_S * shape[axis]
    )


def direction(codes: str, towards: str) -> str:
    """BIDS name of a phase-encoding direction for an image stored with these axis codes.

    Examples
    --------
    >>> direction("LAS", "P"), direction("PSR", "R")
    ('j-', 'k')
    """
    letter, backwards = axis_of(codes, towards, OPPOSITE[towards])
    return f"{letter}-" if backwards else letter


def distort(
    points: tuple[Floats32, ...], shift: Floats32, axis: int
) -> tuple[tuple[Floats32, ...], Floats32]:
    """Tell which tissue an EPI shows at each voxel of a grid, and how it is piled up.

    Tissue at y appears at x = y + shift(y); y is found by a fixed point, and the signal is
    divided by dx/dy = 1 + ∂shift/∂y.

    Parameters
    ----------
    points : three arrays of one shape
        What the voxels show without distortion.
    shift : array of that shape
        Voxels of the grid along ``axis``; its slope must stay between −1 and 1.

    Returns
    -------
    points : three arrays
    factor : array
    """
    rows = np.moveaxis(shift, axis, -1)
    at = np.arange(rows.shape[-1], dtype=np.float32)
    source = np.broadcast_to(at, rows.shape)
    for _ in range(STEPS):
        source = at - _along(rows, source)
    slope = _along(np.gradient(rows, axis=-1).astype(np.float32), source)
    moved = [np.moveaxis(_along(np.moveaxis(p, axis, -1), source), -1, axis) for p in points]
    return (moved[0], moved[1], moved[2]), np.moveaxis(1.0 / (1.0 + slope), -1, axis)


def _along(rows: Floats32, position: Floats32) -> Floats32:
    """Interpolate linearly along the last axis; the last stretch goes on beyond the ends."""
    first = np.clip(np.floor(position).astype(np.intp), 0, rows.shape[-1] - 2)
    low = np.take_along_axis(rows, first, axis=-1)
    high = np.take_along_axis(rows, first + 1, axis=-1)
    return np.asarray(low + (high - low) * (position - first), np.float32)


def phase_images(
    field: Floats32, magnitude: Floats32, rng: np.random.Generator, noise: float
) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]:
    """Phases of two gradient echoes and their difference, in steps of π/4096.

    The first echo also holds the phase of the coil, which the difference is free of; the noise
    is that of the magnitude images.
    """
    away = np.linspace(-2.0, 2.0, field.shape[0], dtype=np.float32)[:, None, None]
    parts = rng.standard_normal((2, 2, *field.shape), dtype=np.float32) * np.float32(noise)
    echoes = [
        magnitude * np.exp(1j * (away + 2 * np.pi * field * time)) + part[0] + 1j * part[1]
        for time, part in zip(ECHO_TIMES_S, parts, strict=True)
    ]
    angles = (*(np.angle(echo) for echo in echoes), np.angle(echoes[1] * np.conj(echoes[0])))
    steps = [
        np.clip(np.rint(angle / np.pi * PHASE_STEPS), -PHASE_STEPS, PHASE_STEPS - 1)
        for angle in angles
    ]
    return steps[0].astype(np.int16), steps[1].astype(np.int16), steps[2].astype(np.int16)
