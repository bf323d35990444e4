"""The head that every participant is a variation of: tissues, contrasts, skull and scalp."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from scipy import ndimage

from rls_bids.errors import InputDataError
from rls_bids.phantom.images import load_image
from rls_bids.phantom.render import read_trilinear
from rls_bids.phantom.space import Floats, Floats32, apply_affine
from rls_bids.resources.templates import locate_template

STANDARD_SPACE = "MNI152NLin2009cAsym"
WHITE_ABOVE, CSF_BELOW = 77.0, 46.0
"""Intensities of the standard brain that separate its tissues (its white matter is at 87)."""
EPI_TISSUES = (780.0, 620.0, 1000.0)
"""T2*-weighted signal of grey matter, white matter and CSF."""
REFERENCE_ECHO_S = 0.03
T2STAR_S = (0.05, 0.045, 0.1, 0.035)
"""Of grey matter, white matter, CSF and the rest, as at 3 T."""
EPI_SCALP, EPI_MUSCLE, EPI_BONE = 330.0, 280.0, 60.0
T1W_SCALP, T1W_MUSCLE, T1W_BONE, T1W_MARROW, T1W_CSF = 105.0, 48.0, 10.0, 38.0, 24.0
GAP_MM, SKULL_MM, SCALP_MM = 2.5, 8.0, 14.0
"""Outer borders of the CSF gap, of the skull and of the scalp, from the brain's hull."""
FAT_DEPTH = -0.09
"""Subcutaneous fat of face and neck reaches down to this relative depth; below is muscle."""
HULL_MM = 10.0
MARGIN_BELOW_MM, MARGIN_FRONT_MM = 52, 28
VOID_CENTRES_MM = ((0.0, 26.0, -24.0), (-48.0, -22.0, -34.0), (48.0, -22.0, -34.0))
VOID_WIDTH_MM = 9.0
SCALP_TOP_MM, BRAIN_TOP_MM = 95.0, 82.0

NOT_AN_IMAGE = "{path} cannot be read as a head: {found}; a 3D NIfTI image was expected."
NOT_AN_IMAGE_HINT = "Give a T1-weighted image, for instance sub-01_T1w.nii.gz."


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadModel:
    """Volumes (X, Y, Z) float32 on one grid.

    ``t1w`` and ``epi`` are contrasts; ``tissues`` the shares of grey matter, white matter and CSF
    inside the brain; ``affine`` maps voxel indices to mm; ``from_standard`` (4, 4) maps standard
    coordinates to those mm, exactly for the standard head and roughly for a given one.
    """

    affine: Floats
    t1w: Floats32
    epi: Floats32
    tissues: tuple[Floats32, Floats32, Floats32]
    from_standard: Floats
    standard_space: str


def _logistic(values: Floats32) -> Floats32:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0))), np.float32)


def _classify(intensities: Floats32, brain: NDArray[np.bool_]) -> tuple[Floats32, ...]:
    """Shares of grey matter, white matter and CSF by soft thresholds."""
    white = _logistic((intensities - WHITE_ABOVE) / 2.0) * brain
    csf = _logistic((CSF_BELOW - intensities) / 4.0) * brain
    return brain - white - csf, white, csf


def _void(affine: Floats, shape: tuple[int, ...]) -> Floats32:
    """Factor of the signal that is left near the sinuses and the ear canals."""
    lost = np.zeros(shape, np.float32)
    origin = affine[:3, 3]
    for centre in VOID_CENTRES_MM:
        parts = [
            np.exp(-0.5 * ((origin[a] + np.arange(shape[a]) - centre[a]) / VOID_WIDTH_MM) ** 2)
            for a in range(3)
        ]
        lost += np.einsum("i,j,k->ijk", *(part.astype(np.float32) for part in parts))
    return np.asarray(1.0 - 0.85 * np.minimum(lost, 1.0), np.float32)


def _hull_distance(brain: NDArray[np.bool_]) -> Floats32:
    """Distance in mm outside the closed brain, from a 2 mm grid back to the 1 mm grid."""
    coarse = np.pad(brain[::2, ::2, ::2], 12)
    grown = ndimage.distance_transform_edt(~coarse, sampling=2.0) <= HULL_MM
    hull = ndimage.distance_transform_edt(grown, sampling=2.0) > HULL_MM
    distance = ndimage.distance_transform_edt(~hull, sampling=2.0)[12:-12, 12:-12, 12:-12]
    smooth = ndimage.gaussian_filter(distance.astype(np.float32), 0.7)
    fine = ndimage.zoom(
        smooth, [n / m for n, m in zip(brain.shape, smooth.shape, strict=True)], order=1
    )
    return np.asarray(fine, np.float32)


def _soft_tissue(affine: Floats, shape: tuple[int, ...]) -> Floats32:
    """Depth (relative, negative inside) of a face and a neck made of simple bodies."""
    x, y, z = (
        (affine[a, 3] + np.arange(shape[a], dtype=np.float32)).reshape(
            [-1 if a == b else 1 for b in range(3)]
        )
        for a in range(3)
    )
    face = np.sqrt((x / 62) ** 2 + ((y - 38) / 62) ** 2 + ((z + 62) / 74) ** 2) - 1
    neck = np.sqrt((x / 58) ** 2 + ((y + 28) / 62) ** 2) - 1 + np.maximum(z + 55, 0) / 30
    airway = 1 - np.sqrt((x / 12) ** 2 + ((y - 55) / 26) ** 2 + ((z + 58) / 22) ** 2)
    return np.asarray(np.maximum(np.minimum(face, neck), airway), np.float32)


def _add_skull(
    t1w: Floats32, epi: Floats32, brain: NDArray[np.bool_], affine: Floats
) -> tuple[Floats32, Floats32]:
    """Put CSF, bone, marrow, scalp, face and neck round the brain."""
    distance = _hull_distance(brain)
    depth = _soft_tissue(affine, brain.shape)
    skin = (distance < SCALP_MM) | (depth < 0)
    outer = depth > FAT_DEPTH
    fat = outer & (((distance < SCALP_MM) & (distance >= SKULL_MM)) | (depth < 0))
    bone = distance < SKULL_MM
    gap = distance < GAP_MM
    middle = (GAP_MM + SKULL_MM) / 2
    marrow = np.exp(-0.5 * ((distance - middle) / 0.9) ** 2)
    head = np.where(skin, np.where(fat, T1W_SCALP, T1W_MUSCLE), 0.0)
    head = np.where(bone, T1W_BONE + (T1W_MARROW - T1W_BONE) * marrow, head)
    head = np.where(gap, T1W_CSF, head)
    fast = np.where(skin, np.where(fat, EPI_SCALP, EPI_MUSCLE), 0.0)
    fast = np.where(bone, EPI_BONE, fast)
    fast = np.where(gap, EPI_TISSUES[2], fast)
    soft = [
        ndimage.gaussian_filter(np.where(brain, inner, outer).astype(np.float32), 0.5)
        for inner, outer in ((t1w, head), (epi, fast))
    ]
    return soft[0], soft[1]


def standard_model(*, skull: bool, dropout: bool) -> HeadModel:
    """Make the standard head from the MNI152NLin2009cAsym brain at 1 mm."""
    values, affine = load_image(locate_template(STANDARD_SPACE, "1").brain)
    if skull:
        values = np.pad(values, ((0, 0), (0, MARGIN_FRONT_MM), (MARGIN_BELOW_MM, 0)))
        affine = affine.copy()
        affine[2, 3] -= MARGIN_BELOW_MM
    brain = values > 0
    grey, white, csf = _classify(values, brain)
    shares = zip((grey, white, csf), EPI_TISSUES, strict=True)
    epi = np.asarray(np.sum([share * value for share, value in shares], axis=0), np.float32)
    t1w = values
    if skull:
        t1w, epi = _add_skull(t1w, epi, brain, affine)
    if dropout:
        epi = epi * _void(affine, epi.shape)
    return HeadModel(
        affine=affine,
        t1w=t1w,
        epi=epi,
        tissues=(grey, white, csf),
        from_standard=np.eye(4),
        standard_space=STANDARD_SPACE,
    )


def _place_standard(mask: NDArray[np.bool_], affine: Floats, *, skull: bool) -> Floats:
    """Map standard → given head by top, width and length of the head; good to about 1 cm."""
    points = apply_affine(affine, np.argwhere(mask).astype(np.float64))
    top = np.percentile(points[:, 2], 99.98)
    level = points[np.abs(points[:, 2] - (top - 60.0)) < 2.0]
    low, high = np.percentile(level[:, :2], [0.5, 99.5], axis=0)
    rim = SCALP_MM if skull else 0.0
    scale = (high - low) / (np.array([140.0, 178.0]) + 2 * rim)
    matrix = np.diag([*scale, scale.mean(), 1.0])
    standard = np.array([0.0, -17.5, SCALP_TOP_MM if skull else BRAIN_TOP_MM])
    matrix[:3, 3] = np.array([*(low + high) / 2, top]) - matrix[:3, :3] @ standard
    return matrix


def given_model(path: str, *, skull: bool) -> HeadModel:
    """Take a real T1w image as the head.

    There is no truth in standard space for it: networks lie where a rough placement by the head's
    extent puts them, and the BOLD contrast is the T1 contrast inverted.

    Raises
    ------
    InputDataError
        The file is not a 3D image.
    """
    try:
        values, affine = load_image(path)
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise InputDataError(
            NOT_AN_IMAGE.format(path=path, found=error), NOT_AN_IMAGE_HINT
        ) from error
    if values.ndim != 3 or not np.isfinite(values).all() or values.max() <= 0:
        found = f"shape {values.shape}, or values that are not finite and positive"
        raise InputDataError(NOT_AN_IMAGE.format(path=path, found=found), NOT_AN_IMAGE_HINT)
    values = values * np.float32(90.0 / np.percentile(values[values > values.mean()], 90))
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(values > 15.0, iterations=2))
    from_standard = _place_standard(mask, affine, skull=skull)
    standard = standard_model(skull=False, dropout=False)
    to_index = np.linalg.inv(standard.affine) @ np.linalg.inv(from_standard) @ affine
    brain = ndimage.affine_transform(
        np.sum(standard.tissues, axis=0),
        to_index[:3, :3],
        to_index[:3, 3],
        output_shape=values.shape,
        order=1,
    )
    grey, white, csf = _classify(np.minimum(values, 100.0), brain > 0.5)
    epi = np.where(mask, np.clip(1050.0 - 5.0 * values, 250.0, 1000.0), 0.0)
    epi = np.where(brain < 0.1, np.where(values < 30.0, 0.0, 0.5 * epi), epi)
    return HeadModel(
        affine=affine,
        t1w=values,
        epi=np.asarray(epi, np.float32),
        tissues=(grey, white, csf),
        from_standard=from_standard,
        standard_space=Path(path).name,
    )


def sample(model: HeadModel, volume: Floats32, points: tuple[Floats32, ...]) -> Floats32:
    """Read a volume of the model at points (mm) by trilinear interpolation; 0 outside.

    Parameters
    ----------
    points : three arrays of one shape
        Coordinates x, y, z.
    """
    return read_trilinear(volume, points, np.asarray(np.linalg.inv(model.affine), np.float64))


def echo_contrasts(
    echo_times_s: Sequence[float], tissues: tuple[Floats32, ...]
) -> Iterator[tuple[Floats32, np.float32]]:
    """Yield the share of the reference signal in each echo, and how much more it changes.

    The signal decays from the reference echo time with the rate 1/T2* of the tissues; a course is
    one of this rate, so its share of the signal grows with the echo time.
    """
    if not echo_times_s:
        yield np.ones(1, np.float32), np.float32(1)
        return
    other = np.float32(1) - sum(tissues)
    rate = sum(share / np.float32(t) for share, t in zip((*tissues, other), T2STAR_S, strict=True))
    for time in echo_times_s:
        share = np.exp(np.float32(REFERENCE_ECHO_S - time) * rate)
        yield np.asarray(share, np.float32), np.float32(time / REFERENCE_ECHO_S)
