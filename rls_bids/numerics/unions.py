"""Clusters that grow from the highest value down and join: union-find, and what each gathers.

Shared by touching voxels (:mod:`rls_bids.numerics.tfce`) and by connections that share nodes
(:mod:`rls_bids.numerics.nbs`). Each cluster has a row of ``state``: its extent, its mass, what
its first member has gathered of ∫ e(x)ᴱ xᴴ dx so far, and the level (the integral of xᴴ) of its
last change.
"""

import os
from dataclasses import dataclass
from typing import TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

VERSION = "1"

NOBODY = np.uint32(0xFFFFFFFF)
DIGIT_BITS = 11

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
Place: TypeAlias = int | np.unsignedinteger


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """What a sweep of one map found at most, both signs counted or one.

    ``extent`` (voxels) and ``mass`` (sum of what exceeds the threshold) belong to the clusters
    above the cluster-forming threshold, ``enhanced`` to TFCE; 0 where there is nothing.
    """

    extent: float
    mass: float
    enhanced: float


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def descending(
    values: Float32Array, items: Int32Array, floor: float
) -> tuple[Float32Array, Int32Array]:
    """Return values above a floor of 0 or more, largest first, and their items, one each.

    A radix sort of three digits; equal values keep their order.
    """
    bits = values.view(np.uint32)  # of positive floats, in the order of the floats
    n = 0
    for i in range(values.size):
        if values[i] > floor:
            n += 1
    keys, found = np.empty(n, np.uint32), np.empty(n, np.int32)
    n = 0
    for i in range(values.size):
        if values[i] > floor:
            keys[n], found[n] = np.uint32(0x7FFFFFFF) - bits[i], items[i]
            n += 1
    other_keys, other_found = np.empty(n, np.uint32), np.empty(n, np.int32)
    n_digits = 1 << DIGIT_BITS
    for digit in range(3):
        shift = np.uint32(digit * DIGIT_BITS)
        start = np.zeros(n_digits + 1, np.int64)
        for k in range(n):
            start[((keys[k] >> shift) & np.uint32(n_digits - 1)) + 1] += 1
        for k in range(n_digits):
            start[k + 1] += start[k]
        for k in range(n):
            place = (keys[k] >> shift) & np.uint32(n_digits - 1)
            other_keys[start[place]], other_found[start[place]] = keys[k], found[k]
            start[place] += 1
        keys, other_keys = other_keys, keys
        found, other_found = other_found, found
    for k in range(n):
        keys[k] = np.uint32(0x7FFFFFFF) - keys[k]
    return keys.view(np.float32), found


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def find(parent: NDArray[np.uint32], at: Place) -> Place:
    """Return the root of a cluster, and shorten the way to it."""
    here = np.uintp(at)
    while parent[here] != here:
        parent[here] = parent[parent[here]]
        here = np.uintp(parent[here])
    return here


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def merge(
    parent: NDArray[np.uint32],
    state: FloatArray,
    one: Place,
    other: Place,
    level: float,
    power: float,
) -> tuple[Place, Place]:
    """Join two clusters at a level; return the root of the whole, and the root that was."""
    settle(state, one, level, power)
    settle(state, other, level, power)
    if state[other, 0] > state[one, 0]:
        one, other = other, one
    parent[other] = one
    state[other, 2] -= state[one, 2]  # what the larger one has gathered is not for the other
    state[one, 0] += state[other, 0]
    state[one, 1] += state[other, 1]
    return one, other


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def settle(state: FloatArray, root: Place, level: float, power: float) -> None:
    """Add what a cluster has gathered since its last change."""
    size = state[root, 0]
    weight = np.sqrt(size) if power == 0.5 else size**power
    state[root, 2] += weight * (state[root, 3] - level)
    state[root, 3] = level


@numba.njit(cache="NUMBA_CACHE_DIR" in os.environ, nogil=True)
def collect(
    parent: NDArray[np.uint32], state: FloatArray, merged: NDArray[np.uint32], power: float
) -> None:
    """Bring the clusters down to zero and hand on what they gathered, the last joined first."""
    for root in range(parent.size):
        if parent[root] == np.uint32(root):
            settle(state, root, 0.0, power)
    for k in range(len(merged) - 1, -1, -1):
        state[merged[k, 0], 2] += state[merged[k, 1], 2]
