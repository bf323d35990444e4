"""Grey matter of the standard head, the same for every participant.

The probability was found by segmenting the brain of MNI152NLin2009cAsym as a participant's
(``benchmarks/tissue.py``), since no tissue map of this head comes with a package. By its signal
the lateral thalamus is taken for white matter; so the nuclei of the Harvard-Oxford atlas are added
when a mask is made.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.resources.templates import BUILT_IN_SPACE, HARVARD_OXFORD, locate_region

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GREY = Path(__file__).with_name("MNI152NLin2009cAsym_GM.npz")
SCALE = 200
GREY_MATTER = 0.2
"""A voxel with more than this probability counts as grey matter."""
_DEEP_GREY = ("Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala", "Accumbens")
_SIDED = tuple((side, name) for name in _DEEP_GREY for side in ("Left", "Right"))


def load_grey_matter() -> "tuple[NDArray[np.float32], NDArray[np.float64]]":
    """Load the probability of grey matter of MNI152NLin2009cAsym.

    Returns
    -------
    probability : (97, 115, 97) float32
    affine : (4, 4) float64
        To RAS+ mm.
    """
    import numpy as np

    with np.load(GREY) as stored:
        return stored["grey"].astype(np.float32) / SCALE, stored["affine"]


@lru_cache(maxsize=8)
def grey_matter_on_grid(
    shape: tuple[int, int, int], affine: bytes, space: str
) -> "NDArray[np.bool_]":
    """Return the voxels of a grid that are grey matter of the standard head.

    Parameters
    ----------
    shape : (3,) int
    affine : bytes
        Of a (4, 4) float64 array, voxel to RAS+ mm.
    space : str
        In which the grid lies; points are moved to the standard head where the way is known.

    Returns
    -------
    (X, Y, Z) bool
        Read-only.

    Examples
    --------
    >>> from rls_bids.resources.grids import standard_grid
    >>> shape, affine = standard_grid("MNI152NLin2009cAsym", "3")
    >>> grey = grey_matter_on_grid(shape, affine.tobytes(), "MNI152NLin2009cAsym")
    >>> bool(grey[32, 19, 28])  # calcarine cortex
    True
    """
    import numpy as np

    from rls_bids.numerics.resample import resample_volume, voxel_points
    from rls_bids.resources.spaces import points_to_space

    grid = np.frombuffer(affine).reshape(4, 4)
    centres = voxel_points(np.ones(shape, bool), grid)
    found = np.zeros(len(centres), bool)
    for probability, own, source, least in (
        (*load_grey_matter(), BUILT_IN_SPACE, GREY_MATTER),
        _load_deep_grey(),
    ):
        points = points_to_space(centres, space, source)
        found |= resample_volume(probability, own, points, order=1) > least
    found = found.reshape(shape)
    found.setflags(write=False)
    return found


def _load_deep_grey() -> "tuple[NDArray[np.float32], NDArray[np.float64], str, float]":
    """Load the largest probability (per cent) of the nuclei, affine, space, and threshold."""
    import nibabel as nib
    import numpy as np

    nuclei = [locate_region(f"{HARVARD_OXFORD}:{side} {name}") for side, name in _SIDED]
    image: Any = nib.load(nuclei[0].path)
    indices = [nucleus.index for nucleus in nuclei]
    # One block of the compressed file, which holds all of them, is read faster than each alone.
    block = np.asarray(image.dataobj[..., min(indices) : max(indices) + 1])
    chosen = block[..., [index - min(indices) for index in indices]]
    largest = chosen.max(axis=-1).astype(np.float32)
    return largest, np.asarray(image.affine, np.float64), nuclei[0].space, nuclei[0].threshold
