"""What a T1w head looks like from outside: whether the skull is still on."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VERSION = "1"

BRAIN_ML = (400.0, 2800.0)
MAX_SHARE = 0.75
MAX_STRAY = 0.01
MAX_DROP = 0.05
SHELL_MM = 3.0
N_SHELLS = 7


def is_skull_stripped(
    data: NDArray[np.float32], voxel_sizes_mm: tuple[float, float, float]
) -> bool:
    """Tell a head without skull from a whole one, defaced and zero-padded ones included.

    Without skull, what is not exactly zero is one piece of the size of a brain, and going inwards
    from its surface the signal rises: cerebrospinal fluid, cortex, white matter. A whole head
    whose air was set to zero is larger, and under its bright scalp lies dark bone.

    Parameters
    ----------
    data : (X, Y, Z) float32
        A T1w image; air must not have been smoothed.
    voxel_sizes_mm : (3,) float
        Edge lengths of a voxel.

    Returns
    -------
    bool
    """
    if np.count_nonzero(data) > MAX_SHARE * data.size:
        return False
    steps = [max(1, round(SHELL_MM / size)) for size in voxel_sizes_mm]
    coarse = np.abs(data[:: steps[0], :: steps[1], :: steps[2]])
    support = coarse > 0
    body = solid(support)
    n_support = int(np.count_nonzero(support))
    if not n_support:
        return False
    stray = np.count_nonzero(support & ~body) / n_support
    size_ml = np.count_nonzero(body) * float(np.prod(voxel_sizes_mm) * np.prod(steps)) / 1000.0
    if stray > MAX_STRAY or not BRAIN_ML[0] <= size_ml <= BRAIN_ML[1]:
        return False
    return shell_drop(coarse, body) <= MAX_DROP


def shell_drop(data: NDArray[np.float32], body: NDArray[np.bool_]) -> float:
    """Measure the largest fall of the signal from one shell of a body to a deeper one.

    Parameters
    ----------
    data : (X, Y, Z) float32
    body : (X, Y, Z) bool
        One solid piece; its shells are one voxel thick.

    Returns
    -------
    float
        Difference of the mean signals of the two shells, as a share of the 95th percentile of the
        signal in the body; 0 where the signal only rises.
    """
    profile = []
    for _ in range(N_SHELLS):
        inner = ndimage.binary_erosion(body)
        shell = body & ~inner
        if not shell.any():
            break
        profile.append(float(data[shell].mean()))
        body = inner
    fall = np.maximum.accumulate(profile) - profile
    return float(fall.max() / np.percentile(data[data > 0], 95))


def solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest connected piece of a mask (6 neighbours) and fill its holes.

    Parameters
    ----------
    mask : (X, Y, Z) bool

    Returns
    -------
    (X, Y, Z) bool
        Empty where the mask is.

    Examples
    --------
    >>> ring = np.array([[[1, 1, 1, 0, 1], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]]], bool).repeat(3, 0)
    >>> ring[[0, 2], 1, 1] = True
    >>> int(solid(ring).sum())
    27
    """
    labels, n_pieces = ndimage.label(mask)
    if not n_pieces:
        return np.zeros(mask.shape, dtype=bool)
    largest = np.argmax(np.bincount(labels.ravel())[1:]) + 1
    return np.asarray(ndimage.binary_fill_holes(labels == largest), dtype=bool)
