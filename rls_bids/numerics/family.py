"""One correction for a family of maps, contrasts or metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = "1"

BAD_MAXIMA = (
    "Maxima have shape {found}; expected one row for each test and the same number of resamplings "
    "(two or more) in each."
)
BAD_P = "p values lie between 0 and 1; found {found:g}."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Several tests with the same resamplings, corrected together.

    ``p`` (n_tests,) is family-wise within each test, ``p_family`` over all of them. ``smallest``
    (n_resamplings,) are the smallest p of each resampling, with which others are compared.
    """

    p: FloatArray
    p_family: FloatArray
    smallest: FloatArray


def correct_family(maxima: ArrayLike) -> Family:
    """Correct several tests together by the distribution of the smallest p.

    Parameters
    ----------
    maxima : (n_tests, n_resamplings) array
        Of every test, from the **same** resamplings in the same order, the data as they are
        first. Maps over voxels, of clusters, of TFCE, or the values of single numbers; units may
        differ.

    Returns
    -------
    Family

    Raises
    ------
    ValueError
        Not one row a test, or fewer than two resamplings.

    Notes
    -----
    Every value is replaced by its p among the resamplings of its own test, so that all tests weigh
    the same; then the smallest p over the tests is compared with that of each resampling
    (single-step min-P, Westfall & Young 1993; Winkler 2016, doi:10.1002/hbm.23115).

    Examples
    --------
    >>> found = correct_family([[9, 1, 2, 3], [0.3, 0.2, 0.4, 0.1]])
    >>> found.p.tolist(), found.p_family.tolist()
    ([0.25, 0.5], [0.5, 0.75])
    """
    values = np.asarray(maxima, dtype=float)
    if values.ndim != 2 or values.shape[1] < 2 or len(values) < 1:
        raise ValueError(BAD_MAXIMA.format(found=values.shape))
    n_resamplings = values.shape[1]
    p = np.empty(values.shape)
    for row, one in enumerate(values):
        reached = np.searchsorted(np.sort(one), one - 1e-5 * np.abs(one), side="left")
        p[row] = (n_resamplings - reached) / n_resamplings
    smallest = p.min(axis=0)
    return Family(p=p[:, 0], p_family=adjust_p(p[:, 0], smallest), smallest=smallest)


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySets:
    """Tests of which some have the same resamplings; ``p`` and ``p_family`` are (n_tests,).

    ``smallest`` are the smallest p of each resampling by set.
    """

    p: FloatArray
    p_family: FloatArray
    smallest: dict[str, FloatArray]


def correct_sets(maxima: Sequence[ArrayLike], sets: Sequence[str]) -> FamilySets:
    """Correct tests together: by min-P those of one set, by Holm over the sets.

    Parameters
    ----------
    maxima : sequence of (n_resamplings,) arrays
        Of every test, the data as they are first; as many as others of its set.
    sets : sequence of str
        Which tests have the same resamplings.

    Returns
    -------
    FamilySets

    Examples
    --------
    >>> found = correct_sets([[9, 1, 2, 3], [0.3, 0.2, 0.4, 0.1], [5, 1]], ["a", "a", "b"])
    >>> found.p.tolist(), found.p_family.tolist()
    ([0.25, 0.5, 0.5], [1.0, 1.0, 1.0])
    """
    p, within = np.empty(len(sets)), np.empty(len(sets))
    smallest = {}
    for name in dict.fromkeys(sets):
        mine = [test for test, other in enumerate(sets) if other == name]
        found = correct_family(np.array([maxima[test] for test in mine], dtype=float))
        p[mine], within[mine] = found.p, found.p_family
        smallest[name] = found.smallest
    return FamilySets(p=p, p_family=holm_sets(within, sets), smallest=smallest)


def adjust_p(p: ArrayLike, smallest: ArrayLike) -> FloatArray:
    """Return p values corrected over a family, such as those of all voxels of one of its maps.

    Parameters
    ----------
    p : array
        Family-wise within one test.
    smallest : (n_resamplings,) array
        From :class:`Family`.

    Returns
    -------
    array like ``p``
        The share of resamplings whose smallest p is as small; never below ``p``.

    Raises
    ------
    ValueError
        A p outside 0 to 1.

    Examples
    --------
    >>> adjust_p([0.25, 1.0], [0.25, 0.5, 0.25, 0.75]).tolist()
    [0.5, 1.0]
    """
    values = _valid(p)
    ordered = np.sort(np.asarray(smallest, dtype=float))
    reached = np.searchsorted(ordered, values + 1e-9, side="right") / len(ordered)
    return np.asarray(np.where(np.isnan(values), np.nan, np.maximum(reached, values)))


def holm(p: ArrayLike) -> FloatArray:
    """Correct p values of tests whose resamplings cannot be synchronised (Holm 1979).

    Parameters
    ----------
    p : (n_tests,) array
        NaN (not tested) stays NaN and is not counted.

    Returns
    -------
    (n_tests,) array

    Raises
    ------
    ValueError
        A p outside 0 to 1.

    Notes
    -----
    The i-th smallest of m is multiplied by m − i + 1, and none comes out below a smaller one
    (https://www.jstor.org/stable/4615733).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    values = _valid(p)
    adjusted = np.full(values.shape, np.nan)
    tested = np.isfinite(values)
    n = int(tested.sum())
    order = np.argsort(values[tested], kind="stable")
    scaled = values[tested][order] * np.arange(n, 0, -1)
    back = np.empty(n)
    back[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if n else scaled
    adjusted[tested] = back
    return adjusted


def holm_sets(p: ArrayLike, sets: Sequence[str]) -> FloatArray:
    """Correct p values of tests that are corrected already within sets, over the sets.

    Parameters
    ----------
    p : (n_tests,) array
        Family-wise over the tests of their set (:func:`correct_family`).
    sets : sequence of str
        The set of each test: those with the same resamplings.

    Returns
    -------
    (n_tests,) array
        One set: ``p`` as it is; a set for each test: Holm's.

    Raises
    ------
    ValueError
        A p outside 0 to 1.

    Notes
    -----
    From the smallest p on, each is multiplied by the number of sets that are not yet dealt with
    completely. When the first true null hypothesis is rejected no set with one is, so the error is
    at most the sum over these sets of α divided by their number, as in Holm (1979). It is about
    tests as wholes, such as maps; for voxels, of which no set is ever dealt with completely, the
    factor is the number of sets.

    Examples
    --------
    >>> holm_sets([0.01, 0.02, 0.03], ["a", "a", "b"]).round(3).tolist()
    [0.02, 0.04, 0.04]
    >>> holm_sets([0.01, 0.04, 0.03], ["a", "b", "c"]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = _valid(p)
    adjusted, largest = np.empty(len(values)), 0.0
    left = list(sets)
    for test in np.argsort(values, kind="stable"):
        largest = max(largest, min(1.0, float(values[test]) * len(set(left))))
        adjusted[test] = largest
        left.remove(sets[test])
    return adjusted


def _valid(p: ArrayLike) -> FloatArray:
    values = np.asarray(p, dtype=float)
    is_wrong = (values < 0) | (values > 1)
    if is_wrong.any():
        raise ValueError(BAD_P.format(found=values[is_wrong].ravel()[0]))
    return values
