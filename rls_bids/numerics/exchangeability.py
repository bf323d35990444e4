"""What may be exchanged under the null hypothesis, how often, and the resamplings themselves.

Two assumptions, as in Winkler 2014 (doi:10.1016/j.neuroimage.2014.01.060): errors that are
*exchangeable* are permuted, errors that are *independent and symmetric* have their signs flipped.
Blocks say what belongs together (Winkler 2015, doi:10.1016/j.neuroimage.2015.05.092).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics.glm import Partition, partition

VERSION = "1"

REPEATED = (
    "{n_rows} rows belong to {n_participants} participants, and the contrast compares neither "
    "whole participants nor measurements within each of them."
)
REPEATED_HINT = "Reduce every participant to one contrast, and test that between participants."
UNPAIRED = "Pair {label!r} has {n} participants; expected 2."
UNPAIRED_HINT = "Leave incomplete pairs out before the model is built."
SYMMETRY = "Assumption {found!r} is not known; expected {expected!r} or nothing."
LENGTH = "The design has {n_rows} rows, {name} has {n}."
VARIANCE_TOO_SMALL = "Variance group {label!r} has {n} participants; expected 2 or more."
NOTHING_TO_EXCHANGE = (
    "The blocks leave nothing to exchange: every permutation gives the same design."
)
NOTHING_HINT = "Each site (or block) needs participants that differ in the design."
TOO_FEW = "Asked for {found} resamplings; expected 1 or more."

COMPOUND_SYMMETRY = "compound_symmetry"
DIGITS = 9

REASONS = {
    "intercept": "The mean itself is tested, so signs of the participants' values are flipped.",
    "variances": "Variances may differ between groups, so signs of residuals are flipped.",
    "pairs": "Participants change places within their matched pair.",
    "sites": "Participants change places within their site.",
    "free": "Participants change places freely.",
    "between": "Participants change places with all their measurements.",
    "within": "Each participant's residuals change sign together.",
    "symmetry": "Measurements change places within a participant (compound symmetry assumed).",
}

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Labels = ArrayLike | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchangeability:
    """What is exchanged: ``blocks`` (n_rows,) of numbers from 0, as a whole or within.

    A permutation with ``is_whole`` lets blocks of equal size change places, without it the rows
    of each block. Sign-flipping flips whole blocks. ``reason`` is a sentence for the report.
    """

    kind: Literal["permutation", "sign-flip"]
    blocks: IntArray
    is_whole: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resamplings:
    """Rows of new data sets: row i of number b is ``sign[b, i]`` times row ``order[b, i]``.

    The first is the data as they are. ``n_distinct`` counts those that exist; ``is_exhaustive``:
    they are all here, each once.
    """

    order: NDArray[np.int32]
    sign: NDArray[np.int8]
    n_distinct: int
    is_exhaustive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What the rows of a design are; each (n_rows,) of labels or None.

    ``participants`` where one has several rows (in the same order of sessions in each; ``sites``
    are then covariates only), ``pairs`` of matched participants, ``sites``, and
    ``variance_groups`` whose variances may differ.
    """

    participants: Labels = None
    pairs: Labels = None
    sites: Labels = None
    variance_groups: Labels = None


def choose_exchangeability(
    design: ArrayLike, contrast: ArrayLike, units: Units | None = None, assume: str = ""
) -> Exchangeability:
    """Find what may be exchanged from the design itself.

    Parameters
    ----------
    design : (n_rows, n_columns) array
    contrast : (n_columns,) or (n_contrasts, n_columns) array
    units : Units
        Nothing known: one row a participant, no pairs, one site, equal variances.
    assume : str
        ``compound_symmetry`` lets measurements change places within a participant.

    Returns
    -------
    Exchangeability

    Raises
    ------
    InputDataError
        A contrast that is neither between nor within participants, incomplete pairs, a variance
        group of one, blocks that leave nothing to exchange.
    UsageError
        An unknown assumption.
    ValueError
        Labels that do not fit the design.

    Notes
    -----
    In this order: several rows a participant and a contrast between them: whole participants
    are permuted; within them: whole participants are flipped. The reduced model does not hold
    the constant (the mean is tested), or variance groups: signs are flipped, those of a matched
    pair together in the second case. Pairs, then sites: permuted within. Else permuted freely.

    Examples
    --------
    >>> choose_exchangeability(np.ones((7, 1)), [1]).kind
    'sign-flip'
    """
    given = units or Units()
    parts = partition(design, contrast)
    n_rows = len(parts.effect)
    if assume not in ("", COMPOUND_SYMMETRY):
        raise UsageError(SYMMETRY.format(found=assume, expected=COMPOUND_SYMMETRY))
    participants = _numbers(given.participants, "participants", n_rows)
    if participants is not None and np.bincount(participants).max() > 1:
        return _repeated(parts, participants, assume)
    rows = np.arange(n_rows)
    pairs = _pairs(given.pairs, n_rows)
    groups = _variances(given.variance_groups, n_rows)
    if groups is not None:
        together = rows if pairs is None else pairs
        return _flip(together, "variances")
    constant = np.ones(n_rows) / np.sqrt(n_rows)
    if np.linalg.norm(constant - parts.nuisance @ (parts.nuisance.T @ constant)) > 1e-6:
        return _flip(rows, "intercept")
    sites = _numbers(given.sites, "sites", n_rows)
    if pairs is not None:
        found = _permute(pairs, "pairs", is_whole=False)
    elif sites is not None and sites.max() > 0:
        found = _permute(sites, "sites", is_whole=False)
    else:
        found = _permute(np.zeros(n_rows, dtype=np.intp), "free", is_whole=False)
    if count_distinct(found, design) == 1:
        raise InputDataError(NOTHING_TO_EXCHANGE, NOTHING_HINT)
    return found


def count_distinct(exchangeability: Exchangeability, design: ArrayLike) -> int:
    """Count the resamplings that give different designs.

    Parameters
    ----------
    exchangeability : Exchangeability
    design : (n_rows, n_columns) array
        Rows that are equal may change places without effect.

    Returns
    -------
    int
        The data as they are included; exact, however large.

    Examples
    --------
    >>> design = np.repeat([[1, 0], [0, 1]], [8, 8], axis=0)
    >>> count_distinct(choose_exchangeability(design, [1, -1]), design)
    12870
    """
    if exchangeability.kind == "sign-flip":
        return int(2 ** len(np.unique(exchangeability.blocks)))
    count = 1
    for slots in _exchanged(exchangeability, _classes(design)):
        _, repeats = np.unique([kind for kind, _ in slots], return_counts=True)
        ways = math.factorial(len(slots))
        for repeat in repeats:
            ways //= math.factorial(int(repeat))
        count *= ways
    return count


def draw_resamplings(
    exchangeability: Exchangeability, design: ArrayLike, n_resamplings: int, seed: int
) -> Resamplings:
    """Draw resamplings, or list them all where there are not more than asked for.

    Parameters
    ----------
    exchangeability : Exchangeability
    design : (n_rows, n_columns) array
    n_resamplings : int
        Asked for, the data as they are not counted.
    seed : int

    Returns
    -------
    Resamplings
        n_resamplings + 1, or all distinct ones. They are drawn before any is used, so that they
        do not depend on the number of processes.

    Raises
    ------
    ValueError
        Fewer than one asked for.

    Examples
    --------
    >>> flips = choose_exchangeability(np.ones((3, 1)), [1])
    >>> draw_resamplings(flips, np.ones((3, 1)), 100, 0).sign.sum(axis=1).tolist()
    [3, 1, 1, -1, 1, -1, -1, -3]
    """
    if n_resamplings < 1:
        raise ValueError(TOO_FEW.format(found=n_resamplings))
    n_rows = len(exchangeability.blocks)
    n_distinct = count_distinct(exchangeability, design)
    is_exhaustive = n_distinct <= n_resamplings
    shape = (n_distinct if is_exhaustive else n_resamplings + 1, n_rows)
    order = np.tile(np.arange(n_rows, dtype=np.int32), (shape[0], 1))
    sign = np.ones(shape, dtype=np.int8)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    if exchangeability.kind == "sign-flip":
        _, numbers = np.unique(exchangeability.blocks, return_inverse=True)
        n_blocks = int(numbers.max()) + 1
        if is_exhaustive:
            flips = np.array(list(product((1, -1), repeat=n_blocks)), dtype=np.int8)
        else:
            flips = rng.choice(np.array([1, -1], dtype=np.int8), (shape[0], n_blocks))
            flips[0] = 1
        sign = flips[:, numbers]
    elif is_exhaustive:
        _list_orders(order, _exchanged(exchangeability, _classes(design)))
    else:
        _draw_orders(order, _exchanged(exchangeability, _classes(design)), rng)
    return Resamplings(order=order, sign=sign, n_distinct=n_distinct, is_exhaustive=is_exhaustive)


# --- from labels to blocks ----------------------------------------------------------------------


def _numbers(labels: Labels, name: str, n_rows: int) -> IntArray | None:
    """Return labels as numbers from 0."""
    if labels is None:
        return None
    _, numbers = np.unique(np.asarray(labels), return_inverse=True)
    if len(numbers) != n_rows:
        raise ValueError(LENGTH.format(n_rows=n_rows, name=name, n=len(numbers)))
    return numbers.astype(np.intp)


def _pairs(labels: Labels, n_rows: int) -> IntArray | None:
    numbers = _numbers(labels, "pairs", n_rows)
    if numbers is not None:
        for label, n in zip(*np.unique(np.asarray(labels), return_counts=True), strict=True):
            if n != 2:
                raise InputDataError(UNPAIRED.format(label=str(label), n=n), UNPAIRED_HINT)
    return numbers


def _variances(labels: Labels, n_rows: int) -> IntArray | None:
    numbers = _numbers(labels, "variance groups", n_rows)
    if numbers is None or numbers.max() == 0:
        return None
    for label, n in zip(*np.unique(np.asarray(labels), return_counts=True), strict=True):
        if n < 2:
            raise InputDataError(VARIANCE_TOO_SMALL.format(label=str(label), n=n))
    return numbers


def _repeated(parts: Partition, participants: IntArray, assume: str) -> Exchangeability:
    """Choose for several rows a participant, by what the effect does within each of them."""
    sums = np.stack([np.bincount(participants, column) for column in parts.effect.T], axis=1)
    means = (sums / np.bincount(participants)[:, None])[participants]
    if np.abs(parts.effect - means).max() < 1e-9:
        return _permute(participants, "between", is_whole=True)
    if np.abs(means).max() < 1e-9:
        if assume == COMPOUND_SYMMETRY:
            return _permute(participants, "symmetry", is_whole=False)
        return _flip(participants, "within")
    counts = {"n_rows": len(participants), "n_participants": len(sums)}
    raise InputDataError(REPEATED.format(**counts), REPEATED_HINT)


def _permute(blocks: IntArray, reason: str, *, is_whole: bool) -> Exchangeability:
    return Exchangeability(
        kind="permutation", blocks=blocks, is_whole=is_whole, reason=REASONS[reason]
    )


def _flip(blocks: IntArray, reason: str) -> Exchangeability:
    return Exchangeability(kind="sign-flip", blocks=blocks, is_whole=True, reason=REASONS[reason])


# --- from blocks to orders ----------------------------------------------------------------------

Slot = tuple[int, tuple[int, ...]]


def _classes(design: ArrayLike) -> IntArray:
    """Return a number for each row; equal rows have equal numbers."""
    columns = np.asarray(design, dtype=float)
    length = np.abs(columns).max(axis=0)
    scaled = columns / np.where(length > 0, length, 1.0)
    _, numbers = np.unique(scaled.round(DIGITS) + 0.0, axis=0, return_inverse=True)
    return numbers.reshape(-1).astype(np.intp)


def _exchanged(exchangeability: Exchangeability, classes: IntArray) -> Iterator[list[Slot]]:
    """Yield lists of slots whose contents change places: the class of each, and its rows."""
    blocks = exchangeability.blocks
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    if not exchangeability.is_whole:
        for rows in members:
            yield [(int(classes[row]), (int(row),)) for row in rows]
        return
    kinds: dict[tuple[int, ...], int] = {}
    for size in sorted({len(rows) for rows in members}):
        yield [
            (
                kinds.setdefault(tuple(int(k) for k in classes[rows]), len(kinds)),
                tuple(int(row) for row in rows),
            )
            for rows in members
            if len(rows) == size
        ]


def _list_orders(order: NDArray[np.int32], exchanged: Iterator[list[Slot]]) -> None:
    """Write every distinct order, the present one first."""
    choices = [list(_arrangements(slots)) for slots in exchanged]
    for number, choice in enumerate(product(*choices)):
        for moved in choice:
            for place, row in moved:
                order[number, place] = row


def _arrangements(slots: list[Slot]) -> Iterator[list[tuple[int, int]]]:
    """Yield each distinct way to move rows, as pairs of place and row; the present one first.

    An arrangement gives every *row of data* the class of another row of the design, so the row
    goes to a place of that class.
    """
    present = [kind for kind, _ in slots]
    kinds = sorted(present)
    arrangement: list[int] | None = kinds
    yield [(row, row) for _, rows in slots for row in rows]
    while arrangement is not None:
        if arrangement != present:
            supply = {kind: iter([rows for k, rows in slots if k == kind]) for kind in set(kinds)}
            filled = [next(supply[kind]) for kind in arrangement]
            yield [
                (place, row)
                for (_, rows), places in zip(slots, filled, strict=True)
                for place, row in zip(places, rows, strict=True)
            ]
        arrangement = _next_arrangement(arrangement)


def _next_arrangement(values: list[int]) -> list[int] | None:
    """Return the next larger order of a list of numbers, or None after the largest."""
    fall = len(values) - 2
    while fall >= 0 and values[fall] >= values[fall + 1]:
        fall -= 1
    if fall < 0:
        return None
    other = max(i for i in range(fall + 1, len(values)) if values[i] > values[fall])
    found = values.copy()
    found[fall], found[other] = found[other], found[fall]
    return found[: fall + 1] + found[:fall:-1]


def _draw_orders(
    order: NDArray[np.int32], exchanged: Iterator[list[Slot]], rng: np.random.Generator
) -> None:
    """Shuffle each list of slots in every row but the first."""
    for slots in exchanged:
        places = np.array([rows for _, rows in slots])
        keys = rng.random((len(order), len(slots)))
        keys[0] = np.arange(len(slots))
        order[:, places.ravel()] = places[np.argsort(keys, axis=1)].reshape(len(order), -1)
