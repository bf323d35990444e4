"""Which component is which network: one template each, by spatial correlation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

VERSION = "1"

BAD_MAPS = "Found components of the shape {one} and templates of {other}; expected equal voxels."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which template each component has, and how well all fit.

    Attributes
    ----------
    template : (n_components,) int array
        Index of its template, -1 for components that got none.
    r : (n_components,) array
        Spatial correlation with it; negative where the component points the other way; NaN without
        a template.
    correlations : (n_components, n_templates) array
        All of them; NaN for maps without spread.
    """

    template: NDArray[np.intp]
    r: FloatArray
    correlations: FloatArray


def spatial_correlations(components: ArrayLike, templates: ArrayLike) -> FloatArray:
    """Correlate every component with every template over voxels.

    Parameters
    ----------
    components, templates : (n, n_voxels) arrays

    Returns
    -------
    (n_components, n_templates) array
        Pearson r; NaN for maps without spread.

    Raises
    ------
    ValueError
        The numbers of voxels differ.
    """
    one, other = np.asarray(components, dtype=float), np.asarray(templates, dtype=float)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(BAD_MAPS.format(one=one.shape, other=other.shape))
    return np.asarray(np.clip(_unit(one) @ _unit(other).T, -1, 1))


def _unit(maps: FloatArray) -> FloatArray:
    centred = maps - maps.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(length > 0, length, np.nan))


def match_maps(components: ArrayLike, templates: ArrayLike, least: float = 0.0) -> Matching:
    """Give each component at most one template, so that the sum of abs(r) is the largest.

    The sign of an independent component is arbitrary, so that the size of the correlation counts.
    Of more components than templates some get none, and the other way round. The correlation is
    reported, because the nearest template need not be near.

    Parameters
    ----------
    components, templates : (n, n_voxels) arrays
    least : float
        Pairs with a smaller abs(r) are none, and do not count in the sum.

    Returns
    -------
    Matching

    Raises
    ------
    ValueError
        The numbers of voxels differ.

    References
    ----------
    Kuhn 1955, 10.1002/nav.3800020109 (the assignment).

    Examples
    --------
    >>> templates = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    >>> found = match_maps([[0.0, -1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [3.0, 0.0, 1.0, 0.0]],
    ...                    templates)
    >>> found.template.tolist(), found.r.round(2).tolist()
    ([1, -1, 0], [-1.0, nan, 0.94])
    """
    correlations = spatial_correlations(components, templates)
    size = np.abs(np.nan_to_num(correlations))
    rows, columns = linear_sum_assignment(-np.where(size >= least, size, 0.0))
    template = np.full(len(correlations), -1, dtype=np.intp)
    r = np.full(len(correlations), np.nan)
    for row, column in zip(rows, columns, strict=True):
        if np.isfinite(correlations[row, column]) and size[row, column] >= least:
            template[row], r[row] = column, correlations[row, column]
    return Matching(template=template, r=r, correlations=correlations)


def orient(components: ArrayLike, found: Matching) -> tuple[FloatArray, FloatArray]:
    """Turn components towards their templates, those without by skewness, and give them as z.

    Parameters
    ----------
    components : (n_components, n_voxels) array
    found : Matching
        Of these components.

    Returns
    -------
    z : (n_components, n_voxels) array
        Mean 0 and standard deviation 1 over the voxels; 0 where there is no spread.
    sign : (n_components,) array
        1, or -1 for those that were turned.

    Examples
    --------
    >>> components = [[0.0, -3.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]
    >>> z, sign = orient(components, match_maps(components, [[0.0, 0.0, -1.0, 0.0]]))
    >>> z.argmax(axis=1).tolist(), z.argmin(axis=1).tolist(), sign.tolist()
    ([1, 0], [0, 2], [-1.0, -1.0])
    """
    values = np.array(components, dtype=float)
    values -= values.mean(axis=1, keepdims=True)
    skewed = np.sign((values**3).sum(axis=1))
    sign = np.where(found.template >= 0, np.sign(np.nan_to_num(found.r)), skewed)
    sign[sign == 0] = 1.0
    spread = values.std(axis=1, keepdims=True)
    return np.asarray(values * sign[:, None] / np.where(spread > 0, spread, 1.0)), sign
