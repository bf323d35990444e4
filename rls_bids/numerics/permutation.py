"""Permutation tests of maps, matrices and tables: maxima of resampled z maps, and their p values.

Everything is computed in one pass over the resamplings, for a batch of them at a time and the
voxels in blocks, so that memory does not grow with the number of participants. A resampling was
drawn before (see :mod:`rls_bids.numerics.exchangeability`), so its result depends neither on the
number of threads nor on the others.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rls_bids.numerics import nbs, tail, tfce
from rls_bids.numerics.exchangeability import Resamplings
from rls_bids.numerics.statistic import Statistic, reduce, resampled_z, voxel_nuisance
from rls_bids.numerics.voxelwise import as_covariates

VERSION = "1"

BAD_ROWS = "Data, design and resamplings have {found} rows; expected the same of all."
BAD_VOXELS = "The data have {found} values a participant, the neighbourhood {expected}."
BAD_COVARIATES = (
    "The covariates of voxels have the shape {found}; data and statistic go with {expected}."
)
NOT_CLOSED = (
    "The {n} resamplings are all that change the design. With covariates of voxels, participants "
    "whose rows of the design are equal differ as well: draw them for `told_apart(design)`."
)

BATCH = 128
BLOCK = 2**18
TIE = 1e-5
N_PROBES = 4
N_TRIED = 16
CLUSTER_P = 0.001

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Neighbourhood: TypeAlias = tfce.VoxelNeighbours | nbs.NodePairs | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Maxima:
    """The largest of each map, (n_resamplings,); the first are those of the data as they are.

    ``voxel`` in z, ``extent`` and ``mass`` of clusters, ``enhanced`` TFCE; both signs counted
    where the test is two-sided.
    """

    voxel: FloatArray
    extent: FloatArray
    mass: FloatArray
    enhanced: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutationTest:
    """What a permutation test found; arrays of maps are (n_voxels,).

    ``z`` is 0 and every p is 1 where nothing was tested. ``p`` is not corrected; ``p_voxel``,
    ``p_extent``, ``p_mass`` and ``p_enhanced`` (TFCE) hold family-wise over the map, those of
    clusters at every voxel of the cluster and 1 outside. ``labels`` number the clusters (those of
    negative values negatively).
    """

    z: FloatArray
    enhanced: FloatArray
    labels: NDArray[np.int32]
    p: FloatArray
    p_voxel: FloatArray
    p_extent: FloatArray
    p_mass: FloatArray
    p_enhanced: FloatArray
    maxima: Maxima
    threshold: float
    n_distinct: int
    is_exhaustive: bool
    smallest_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What maxima of a map are of."""

    neighbourhood: Neighbourhood
    threshold: float
    is_two_sided: bool
    is_enhanced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How maps are looked at.

    ``cluster_p`` forms clusters; ``is_two_sided`` concerns t and v only; without ``is_enhanced``
    there is no TFCE; with ``is_tail_fitted`` small p come from the fitted tail of the maxima.
    """

    cluster_p: float = CLUSTER_P
    is_two_sided: bool = True
    is_enhanced: bool = True
    is_tail_fitted: bool = False


def permutation_test(
    data: ArrayLike,
    statistic: Statistic,
    resamplings: Resamplings,
    neighbourhood: Neighbourhood = None,
    *,
    rules: Rules | None = None,
    n_threads: int = 1,
    voxel_covariates: ArrayLike | None = None,
) -> PermutationTest:
    """Test a contrast by resampling.

    Parameters
    ----------
    data : (n_participants, n_voxels) or (n_participants, n_responses, n_voxels) array
        May be a memory map: it is read in blocks of voxels. Voxels with a missing value or
        without variation are not tested.
    statistic : Statistic
    resamplings : Resamplings
        The same for several maps make them comparable (see :mod:`rls_bids.numerics.family`).
    neighbourhood : VoxelNeighbours, NodePairs or None
        Which values make clusters; None for tables.
    rules : Rules
    n_threads : int
        Does not change any number.
    voxel_covariates : (n_participants, n_voxels) or (n_participants, n_covariates, n_voxels) array
        Nuisance that differs from voxel to voxel, as many as the statistic was prepared for; may
        be a memory map. Draw the resamplings for
        :func:`rls_bids.numerics.voxelwise.told_apart`. Voxels where a covariate adds nothing to
        the design (constant there, or explained by it) or is missing are not tested.

    Returns
    -------
    PermutationTest
        p = (1 + b) / (1 + B), b of B resamplings at least as extreme as the data; where all
        were listed the data are one of them, which is the same.

    Raises
    ------
    ValueError
        Arrays do not fit together; permutations together with variance groups; covariates of
        voxels with a list of resamplings that leaves some of theirs out.

    Notes
    -----
    With covariates of voxels, each voxel has a reduced model of its own, and all get the same
    resamplings, so that maxima hold family-wise as without (Winkler 2014,
    doi:10.1016/j.neuroimage.2014.01.060). Errors must be exchangeable given the covariates.

    A signed statistic is tested for both signs by the maximum over both. Values that differ by
    less than a part in 10⁵ are equal: resamplings that repeat the data come out with other
    rounding.

    Examples
    --------
    >>> from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
    >>> from rls_bids.numerics.statistic import prepare_statistic
    >>> design = np.ones((7, 1))
    >>> flips = draw_resamplings(choose_exchangeability(design, [1]), design, 1000, 0)
    >>> values = np.array([[2.0], [3], [1], [4], [2], [5], [3]])
    >>> found = permutation_test(values, prepare_statistic(design, [1]), flips)
    >>> found.n_distinct, found.p_voxel.tolist(), found.smallest_p
    (128, [0.015625], 0.015625)
    """
    used = rules or Rules()
    values = data if isinstance(data, np.ndarray) else np.asarray(data, dtype=float)
    covariates = None if voxel_covariates is None else as_covariates(voxel_covariates)
    _check(values, statistic, resamplings, neighbourhood)
    _check_covariates(covariates, values, statistic, resamplings)
    is_two_sided = used.is_two_sided and statistic.is_signed
    look = _Look(
        neighbourhood=neighbourhood,
        threshold=float(stats.norm.isf(used.cluster_p / (1 + is_two_sided))),
        is_two_sided=is_two_sided,
        is_enhanced=used.is_enhanced,
    )
    observed = _z_maps(values, covariates, statistic, resamplings, slice(0, 1))[0]
    limit = np.abs(observed) if is_two_sided else observed
    limit = limit - np.float32(TIE) * np.abs(limit)

    def run(start: int) -> tuple[FloatArray, NDArray[np.int64]]:
        z = _z_maps(values, covariates, statistic, resamplings, slice(start, start + BATCH))
        counts = np.zeros(len(observed), dtype=np.int64)
        for one in z:
            counts += (np.abs(one) if is_two_sided else one) >= limit
        return np.array([_peaks(one, look) for one in z]).T, counts

    with ThreadPoolExecutor(n_threads) as pool:
        parts = list(pool.map(run, range(0, len(resamplings.order), BATCH)))
    rows = np.concatenate([found for found, _ in parts], axis=1)
    maxima = Maxima(voxel=rows[0], extent=rows[1], mass=rows[2], enhanced=rows[3])
    is_fitted = used.is_tail_fitted and not resamplings.is_exhaustive
    maps = _maps(observed, maxima, look, is_fitted=is_fitted)
    return PermutationTest(
        **maps,
        p=np.sum([counts for _, counts in parts], axis=0) / rows.shape[1],
        maxima=maxima,
        threshold=look.threshold,
        n_distinct=resamplings.n_distinct,
        is_exhaustive=resamplings.is_exhaustive,
        smallest_p=smallest_p(statistic, resamplings, is_two_sided=is_two_sided),
    )


def smallest_p(
    statistic: Statistic, resamplings: Resamplings, *, is_two_sided: bool = True
) -> float:
    """Return the smallest p that a design can reach with these resamplings.

    Parameters
    ----------
    statistic : Statistic
    resamplings : Resamplings
    is_two_sided : bool

    Returns
    -------
    float
        The share of resamplings that give any data the same statistic as no resampling, such as
        all signs flipped, or two equal groups changing names, in a two-sided test.
    """
    n_rows, n = resamplings.order.shape
    if not resamplings.is_exhaustive:
        return 1 / int(n_rows)
    # Resamplings that agree on random data agree on all.
    rng = np.random.default_rng(0)
    probe = rng.standard_normal((n, statistic.n_responses, N_PROBES))
    covariates = rng.standard_normal((n, statistic.n_voxel_covariates, N_PROBES))
    z = _block_z(
        probe, covariates if covariates.size else None, statistic, resamplings, slice(None)
    )
    z = np.abs(z) if is_two_sided and statistic.is_signed else z
    is_same = (np.abs(z - z[0]) <= 1e-4 * np.abs(z[0])).all(axis=1)
    return int(is_same.sum()) / int(n_rows)


def corrected_p(maxima: ArrayLike, observed: ArrayLike) -> FloatArray:
    """Return family-wise p values from the distribution of the maximum.

    Parameters
    ----------
    maxima : (n_resamplings,) array
        The data as they are among them.
    observed : array

    Returns
    -------
    array like ``observed``
        The share of maxima that reach each value.

    Examples
    --------
    >>> corrected_p([5.0, 1.0, 2.0, 3.0], [5.0, 2.5, 0.0]).tolist()
    [0.25, 0.5, 1.0]
    """
    ordered = np.sort(np.asarray(maxima, dtype=float))
    values = np.asarray(observed, dtype=float)
    below = np.searchsorted(ordered, values - TIE * np.abs(values), side="left")
    # 1 - below / n would put one twentieth a little above .05
    return np.asarray((len(ordered) - below) / len(ordered))


# --- parts --------------------------------------------------------------------------------------


def _check(
    data: ArrayLike, statistic: Statistic, resamplings: Resamplings, neighbourhood: Neighbourhood
) -> None:
    shape = np.shape(data)
    rows = (shape[0], len(statistic.basis), resamplings.order.shape[1])
    if len(set(rows)) > 1:
        raise ValueError(BAD_ROWS.format(found=rows))
    n_responses = shape[1] if len(shape) == 3 else 1
    expected = (statistic.n_responses, _n_values(neighbourhood, shape[-1]))
    if (n_responses, shape[-1]) != expected:
        raise ValueError(BAD_VOXELS.format(found=(n_responses, shape[-1]), expected=expected))


def _check_covariates(
    covariates: NDArray[np.floating] | None,
    data: NDArray[np.floating],
    statistic: Statistic,
    resamplings: Resamplings,
) -> None:
    expected = (len(data), statistic.n_voxel_covariates, data.shape[-1])
    found = (*expected[:1], 0, *expected[2:]) if covariates is None else covariates.shape
    if found != expected:
        raise ValueError(BAD_COVARIATES.format(found=found, expected=expected))
    order = resamplings.order
    if covariates is None or not resamplings.is_exhaustive:
        return
    # All resamplings of a data set are a group: one after the other is one of them.
    known = {row.tobytes() for row in order}
    for number in np.linspace(0, len(order) - 1, N_TRIED).astype(int):
        after = np.ascontiguousarray(order[:, order[number]])
        if any(row.tobytes() not in known for row in after):
            raise ValueError(NOT_CLOSED.format(n=len(order)))


def _z_maps(
    data: NDArray[np.floating],
    covariates: NDArray[np.floating] | None,
    statistic: Statistic,
    resamplings: Resamplings,
    rows: slice,
) -> Float32Array:
    """Return z of a batch of resamplings, (n_rows, n_voxels), computed in blocks of voxels."""
    n_voxels = data.shape[-1]
    n_rows = len(resamplings.order[rows])
    z = np.empty((n_rows, n_voxels), dtype=np.float32)
    n_maps = statistic.n_responses + statistic.n_voxel_covariates
    step = max(BLOCK // (len(data) * n_maps), 64)
    for start in range(0, n_voxels, step):
        block = slice(start, start + step)
        own = None if covariates is None else covariates[..., block]
        z[:, block] = _block_z(data[..., block], own, statistic, resamplings, rows)
    return z


def _block_z(
    data: NDArray[np.floating],
    covariates: NDArray[np.floating] | None,
    statistic: Statistic,
    resamplings: Resamplings,
    rows: slice,
) -> Float32Array:
    nuisance = None if covariates is None else voxel_nuisance(covariates, statistic)
    residuals = reduce(data, statistic, nuisance)
    return resampled_z(residuals, statistic, resamplings, rows, nuisance)


def _peaks(z: Float32Array, look: _Look) -> tuple[float, float, float, float]:
    """Return the maxima of one map, in the order of `Maxima`."""
    highest = float(np.abs(z).max() if look.is_two_sided else z.max())
    around = look.neighbourhood
    if around is None:
        return highest, 0.0, 0.0, 0.0
    how = {"is_two_sided": look.is_two_sided, "is_enhanced": look.is_enhanced}
    if isinstance(around, tfce.VoxelNeighbours):
        found = tfce.peaks(z, around, look.threshold, **how)
    else:
        found = nbs.peaks(z, around, look.threshold, **how)
    return highest, found.extent, found.mass, found.enhanced


def _maps(z: Float32Array, maxima: Maxima, look: _Look, *, is_fitted: bool) -> dict[str, Any]:
    """Return the maps of the data as they are and their p, by the names of the result."""
    corrected = tail.tail_p if is_fitted else corrected_p
    of_z = partial(tail.tail_p, is_normal=True) if is_fitted else corrected_p
    labels, enhanced = np.zeros(len(z), dtype=np.int32), np.zeros(len(z))
    around = look.neighbourhood
    if isinstance(around, tfce.VoxelNeighbours):
        labels = tfce.label_clusters(z, around, look.threshold)
        enhanced = tfce.tfce(z, around) if look.is_enhanced else enhanced
    elif around is not None:
        labels = nbs.label_components(z, around, look.threshold)
        enhanced = nbs.tfnbs(z, around) if look.is_enhanced else enhanced
    if not look.is_two_sided:
        labels, enhanced = np.maximum(labels, 0), np.maximum(enhanced, 0.0)
    extent, mass = _sizes(z, labels, look.threshold)
    return {
        "z": z.astype(float),
        "enhanced": enhanced,
        "labels": labels,
        "p_voxel": of_z(maxima.voxel, np.abs(z) if look.is_two_sided else z),
        "p_extent": corrected_p(maxima.extent, extent),
        "p_mass": corrected(maxima.mass, mass),
        "p_enhanced": corrected(maxima.enhanced, np.abs(enhanced)),
    }


def _sizes(
    z: Float32Array, labels: NDArray[np.int32], threshold: float
) -> tuple[FloatArray, FloatArray]:
    """Return extent and mass of the cluster of each voxel; 0 outside."""
    shifted = labels - labels.min()
    inside = labels != 0
    extent = np.bincount(shifted, inside)[shifted]
    mass = np.bincount(shifted, (np.abs(z) - threshold) * inside)[shifted]
    return extent, mass


def _n_values(neighbourhood: Neighbourhood, default: int) -> int:
    if isinstance(neighbourhood, tfce.VoxelNeighbours):
        return len(neighbourhood.places)
    return default if neighbourhood is None else len(neighbourhood.first)
