"""The smallest effect that a study could have found, by how many tests it is corrected for."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from rls_bids.numerics.evidence import smallest_effect
from rls_bids.numerics.family import adjust_p

VERSION = "1"

LEVEL = 0.05
MOST_SD = 50.0
"""No study is planned for larger effects."""


def sensitivity(
    df: float,
    size: float,
    heights: ArrayLike | None = None,
    smallest: ArrayLike | None = None,
    n_sets: int = 1,
) -> dict[str, float]:
    """Return the smallest effect found with a power of 80 %, in standard deviations.

    Parameters
    ----------
    df : float
        Residual degrees of freedom.
    size : float
        From :func:`rls_bids.numerics.evidence.effective_size`.
    heights : (n_resamplings,) array, optional
        Largest |z| of each resampling of the map.
    smallest : (n_resamplings,) array, optional
        Smallest p of each resampling over the family.
    n_sets : int
        Sets of the family that differ in their resamplings.

    Returns
    -------
    dict of str to float
        ``single``: one region declared before, two-sided α = .05; ``map``: one voxel, corrected
        over the map; ``family``: over all maps. What no p can reach, or only effects
        beyond any sense, is left out.

    Examples
    --------
    >>> heights = np.abs(np.random.default_rng(0).standard_normal((999, 1000))).max(axis=1)
    >>> {name: round(d, 1) for name, d in sensitivity(38, 10.0, heights).items()}
    {'single': 0.9, 'map': 1.6}
    """
    found = {"single": smallest_effect(df, size)}
    if heights is None:
        return found
    levels = {"map": LEVEL}
    if smallest is not None:
        minima = np.unique(np.asarray(smallest, dtype=float))
        allowed = minima[n_sets * adjust_p(minima, smallest) <= LEVEL]
        levels["family"] = float(allowed.max()) if allowed.size else 0.0
    ordered = np.sort(np.asarray(heights, dtype=float))[::-1]
    for name, level in levels.items():
        rank = int(np.floor(level * len(ordered) + 1e-9))
        if rank:
            alpha = float(2 * stats.norm.sf(ordered[rank - 1]))
            if stats.t.isf(alpha / 2, df) < MOST_SD * np.sqrt(size):
                found[name] = smallest_effect(df, size, alpha=alpha)
    return found
