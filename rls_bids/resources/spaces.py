"""Points in one standard space where another is meant: 6Asym, 2009cAsym and Talairach.

"MNI" is several heads. Coordinates given on MNI152NLin6Asym (FSL) lie up to 4 mm beside their
place on MNI152NLin2009cAsym. The two are joined by a deformation that was found once, from the
brains of both (``benchmarks/spaces.py``), and is stored as displacements at 2 mm. Other pairs are
not known: points stay as they are, and the sidecars say so.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.resample import resample_volume

FSL_SPACE = "MNI152NLin6Asym"
NEW_SPACE = "MNI152NLin2009cAsym"
TALAIRACH = "Talairach"
UNCHANGED = ("Colin27", "unknown")
"""Heads without a stored way to another one."""

FIELD = Path(__file__).with_name("MNI152NLin6Asym_MNI152NLin2009cAsym.npz")

MOVED = "moved from {source} to {target}"
SAME = "given in {target}"
NOT_MOVED = "given in {source}, used as it is"

Floats = NDArray[np.float64]

# Lancaster 2007 (10.1002/hbm.20345): from a brain that FSL registered to MNI, to Talairach.
_FSL_TO_TALAIRACH = np.array(
    [
        [0.9464, 0.0034, -0.0026, -1.0680],
        [-0.0083, 0.9479, -0.0580, -1.0239],
        [0.0053, 0.0617, 0.9010, 3.1883],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


@lru_cache(maxsize=1)
def load_fields() -> dict[str, tuple[Any, Floats]]:
    """Load both displacement fields, by the space in which they lie.

    Returns
    -------
    dict
        Space → ((3, X, Y, Z) float32 in RAS+ mm, affine (4, 4)): a point p of that space lies at
        p + displacement in the other one.
    """
    with np.load(FIELD) as stored:
        step = float(stored["step_mm"])
        return {
            space: (stored[space].astype(np.float32) * np.float32(step), stored[f"{space}_affine"])
            for space in (FSL_SPACE, NEW_SPACE)
        }


def knows(source: str, target: str) -> bool:
    """Whether there is a way from one space to the other."""
    both = {source, target}
    return source == target or both <= {FSL_SPACE, NEW_SPACE, TALAIRACH}


def points_to_space(points_mm: Floats, source: str, target: str) -> Floats:
    """Move points from one standard space to another.

    Parameters
    ----------
    points_mm : (n, 3) float
        RAS+ mm in ``source``.
    source, target : str
        Names of the spaces.

    Returns
    -------
    (n, 3) float64
        The same anatomical places in ``target``; unchanged where no way is known. Outside the
        stored grid (beyond the head) a point is not displaced.

    Examples
    --------
    >>> import numpy as np
    >>> leg = np.array([[-6.0, -26.0, 76.0]])
    >>> there = points_to_space(leg, "MNI152NLin6Asym", "MNI152NLin2009cAsym")
    >>> bool(1 < np.linalg.norm(there - leg) < 5)
    True
    >>> points_to_space(leg, "Colin27", "MNI152NLin2009cAsym").tolist()
    [[-6.0, -26.0, 76.0]]
    """
    points: Floats = np.array(points_mm, dtype=np.float64)
    if source == target or not knows(source, target):
        return points
    if source == TALAIRACH:
        points = _apply(np.linalg.inv(_FSL_TO_TALAIRACH), points)
        return points_to_space(points, FSL_SPACE, target)
    if target == TALAIRACH:
        return _apply(_FSL_TO_TALAIRACH, points_to_space(points, source, FSL_SPACE))
    field, affine = load_fields()[source]
    shift: Floats = np.stack([resample_volume(part, affine, points) for part in field], axis=1)
    moved: Floats = points + shift
    return moved


def _apply(matrix: Floats, points: Floats) -> Floats:
    moved: Floats = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved
