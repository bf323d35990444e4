"""Random numbers: a stream for every participant, graph and null, the same in any process.

The generator is numpy's SFC64, whose state travels as an argument through compiled code, so that
neither threads nor processes nor the order of the work change what is drawn.
"""

import hashlib

import numba
import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics.graph.paths import KEEP_CODE

State = NDArray[np.uint64]


def child_seed(seed: np.random.SeedSequence, *keys: int) -> np.random.SeedSequence:
    """Return the descendant of a seed at a place in its tree.

    As ``seed.spawn`` makes them, but by number: whoever asks for child 7 gets child 7, whatever
    was asked for before.

    Parameters
    ----------
    seed : numpy.random.SeedSequence
    *keys : int
        Not negative, under 2^32.

    Returns
    -------
    numpy.random.SeedSequence

    Examples
    --------
    >>> root = np.random.SeedSequence(5)
    >>> third = np.random.SeedSequence(5).spawn(3)[2]
    >>> bool((child_seed(root, 2).generate_state(4) == third.generate_state(4)).all())
    True
    """
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *keys))


def participant_seed(random_seed: int, *labels: str) -> np.random.SeedSequence:
    """Return the seed of one matrix, from the seed of the run and the names of the matrix.

    Parameters
    ----------
    random_seed : int
        Not negative.
    *labels : str
        What tells the matrix apart: participant, session, atlas …

    Returns
    -------
    numpy.random.SeedSequence
        The same for the same labels, whoever else is analysed, in whatever order.

    Examples
    --------
    >>> participant_seed(1, "01", "pre").spawn_key == participant_seed(1, "02", "pre").spawn_key
    False
    """
    text = "\0".join(labels).encode()
    words = np.frombuffer(hashlib.sha256(text).digest()[:16], dtype="<u4")
    return np.random.SeedSequence(random_seed, spawn_key=tuple(int(word) for word in words))


def random_state(seed: np.random.SeedSequence) -> State:
    """Return the state of numpy's SFC64 generator after it is seeded.

    Examples
    --------
    >>> state = random_state(np.random.SeedSequence(1))
    >>> int(draw(state)) == int(np.random.SFC64(np.random.SeedSequence(1)).random_raw())
    True
    """
    state = np.random.SFC64(seed).state["state"]
    return np.array(state["state"], dtype=np.uint64)


@numba.njit(cache=KEEP_CODE, nogil=True)
def draw(state: State) -> np.uint64:
    """Return 64 random bits and move the state on."""
    result: np.uint64 = state[0] + state[1] + state[3]
    state[3] += np.uint64(1)
    state[0] = state[1] ^ (state[1] >> np.uint64(11))
    state[1] = state[2] + (state[2] << np.uint64(3))
    state[2] = ((state[2] << np.uint64(24)) | (state[2] >> np.uint64(40))) + result
    return result


@numba.njit(cache=KEEP_CODE, nogil=True)
def draw_below(state: State, limit: int) -> int:
    """Return a random number from 0 to limit - 1; the bias is under limit / 2^32."""
    return int(((draw(state) >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32))


@numba.njit(cache=KEEP_CODE, nogil=True)
def toss(state: State) -> bool:
    """Return true or false, either with the same chance."""
    return bool(draw(state) >> np.uint64(63))
