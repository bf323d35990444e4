"""What may be exchanged in which design, counted and listed: a table of truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics import exchangeability as module
from rls_bids.numerics.exchangeability import (
    Units,
    choose_exchangeability,
    count_distinct,
    draw_resamplings,
)

RNG = np.random.default_rng(3)
AGE = RNG.standard_normal(12)


def groups(*sizes):
    return np.repeat(np.eye(len(sizes)), sizes, axis=0)


def sessions(n_participants, n_sessions):
    """Participants' dummies and session effects (the last is the reference), and whose rows."""
    whose = np.repeat(np.arange(n_participants), n_sessions)
    session = np.tile(np.eye(n_sessions)[:, :-1], (n_participants, 1))
    return np.column_stack([np.eye(n_participants)[whose], session]), whose


SESSIONS, WHOSE = sessions(6, 2)
THREE, OF_THREE = sessions(4, 3)
BETWEEN = np.column_stack([np.ones(12), np.repeat([1.0, 0], 6), np.tile([1.0, 0], 6)])
SITES = np.repeat(["a", "b", "c"], [3, 5, 4])
AT_SITES = np.column_stack([np.tile([1.0, 0], 6), groups(3, 5, 4)])
PAIRS = np.tile(np.arange(6), 2)
TWO = groups(6, 6)

# design, contrast, units, assumption; kind, blocks, whole blocks, reason, distinct, smallest p
TRUTH = {
    "one sample": (
        np.ones((7, 1)), [1], Units(), "",
        "sign-flip", range(7), True, "intercept", 2**7),
    "one sample, covariate": (
        np.column_stack([np.ones(12), AGE - AGE.mean()]), [1, 0], Units(), "",
        "sign-flip", range(12), True, "intercept", 2**12),
    "one group of two": (
        TWO, [1, 0], Units(), "",
        "sign-flip", range(12), True, "intercept", 2**12),
    "two groups": (
        groups(4, 4), [1, -1], Units(), "",
        "permutation", [0] * 8, False, "free", 70),
    "two groups, covariate": (
        np.column_stack([TWO, AGE]), [1, -1, 0], Units(), "",
        "permutation", [0] * 12, False, "free", math.factorial(12)),
    "three groups": (
        groups(3, 4, 5), [[1, -1, 0], [0, 1, -1]], Units(), "",
        "permutation", [0] * 12, False, "free", 27720),
    "regression": (
        np.column_stack([np.ones(12), AGE]), [0, 1], Units(), "",
        "permutation", [0] * 12, False, "free", math.factorial(12)),
    "two groups of two variances": (
        groups(4, 8), [1, -1], Units(variance_groups=[0] * 4 + [1] * 8), "",
        "sign-flip", range(12), True, "variances", 2**12),
    "pairs": (
        TWO, [1, -1], Units(pairs=PAIRS), "",
        "permutation", PAIRS, False, "pairs", 2**6),
    "pairs of two variances": (
        TWO, [1, -1], Units(pairs=PAIRS, variance_groups=TWO[:, 0]), "",
        "sign-flip", PAIRS, True, "variances", 2**6),
    "sites": (
        AT_SITES, [1, 0, 0, 0], Units(sites=SITES), "",
        "permutation", np.repeat([0, 1, 2], [3, 5, 4]), False, "sites",
        math.comb(3, 1) * math.comb(5, 2) * math.comb(4, 2)),
    "pre and post": (
        SESSIONS, [0] * 6 + [1], Units(participants=WHOSE), "",
        "sign-flip", WHOSE, True, "within", 2**6),
    "three sessions": (
        THREE, [[0] * 4 + [1, 0], [0] * 4 + [0, 1]], Units(participants=OF_THREE), "",
        "sign-flip", OF_THREE, True, "within", 2**4),
    "three sessions, symmetric": (
        THREE, [[0] * 4 + [1, 0], [0] * 4 + [0, 1]], Units(participants=OF_THREE),
        "compound_symmetry", "permutation", OF_THREE, False, "symmetry", 6**4),
    "groups with two sessions": (
        BETWEEN, [0, 1, 0], Units(participants=WHOSE), "",
        "permutation", WHOSE, True, "between", math.comb(6, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUTH)
def test_table_of_truth(name):
    design, contrast, units, assume, kind, blocks, is_whole, reason, n_distinct = TRUTH[name]
    found = choose_exchangeability(design, contrast, units, assume)
    assert (found.kind, found.is_whole) == (kind, is_whole)
    assert found.blocks.tolist() == list(blocks)
    assert found.reason == module.REASONS[reason]
    assert count_distinct(found, design) == n_distinct


@pytest.mark.parametrize("name", [name for name in TRUTH if TRUTH[name][-1] < 30_000])
def test_all_are_listed_once(name):
    design, contrast, units, assume = TRUTH[name][:4]
    n_distinct = TRUTH[name][-1]
    chosen = choose_exchangeability(design, contrast, units, assume)
    found = draw_resamplings(chosen, design, n_distinct, seed=1)
    n_rows = len(design)
    assert found.is_exhaustive
    assert found.order.shape == found.sign.shape == (n_distinct, n_rows)
    assert found.order[0].tolist() == list(range(n_rows))
    assert (found.sign[0] == 1).all()
    # Each gives the rows of data another design: the one that stands where a row has gone.
    moved = design[np.argsort(found.order, axis=1)].reshape(n_distinct, -1)
    full = moved if chosen.kind == "permutation" else found.sign
    assert len(np.unique(full.round(9), axis=0)) == n_distinct
    assert (np.sort(found.order, axis=1) == np.arange(n_rows)).all()


@pytest.mark.parametrize("name", TRUTH)
def test_drawn_ones_keep_to_the_blocks(name):
    design, contrast, units, assume = TRUTH[name][:4]
    chosen = choose_exchangeability(design, contrast, units, assume)
    n_asked = min(count_distinct(chosen, design) - 1, 300)
    found = draw_resamplings(chosen, design, n_asked, seed=5)
    assert not found.is_exhaustive
    assert len(found.order) == n_asked + 1
    assert (np.sort(found.order, axis=1) == np.arange(len(design))).all()
    assert found.order[0].tolist() == list(range(len(design)))
    assert (found.sign[0] == 1).all()
    again = draw_resamplings(chosen, design, n_asked, seed=5)
    other = draw_resamplings(chosen, design, n_asked, seed=6)
    assert np.array_equal(found.order, again.order)
    assert np.array_equal(found.sign, again.sign)
    assert not (
        np.array_equal(found.order, other.order) and np.array_equal(found.sign, other.sign)
    )
    blocks = chosen.blocks
    if chosen.kind == "sign-flip":
        assert (found.order == np.arange(len(design))).all()
        for block in np.unique(blocks):
            assert np.ptp(found.sign[:, blocks == block], axis=1).max() == 0
    elif chosen.is_whole:
        for block in np.unique(blocks):
            moved = found.order[:, blocks == block]
            assert np.ptp(blocks[moved], axis=1).max() == 0
            assert (np.diff(moved, axis=1) > 0).all()  # rows keep their order
    else:
        assert (blocks[found.order] == blocks).all()


def test_drawn_permutations_and_signs_are_even():
    free = choose_exchangeability(np.column_stack([np.ones(5), AGE[:5]]), [0, 1])
    design = np.column_stack([np.ones(5), AGE[:5]])
    found = draw_resamplings(free, design, 100, seed=0)
    counts = np.stack([np.bincount(column, minlength=5) for column in found.order[1:].T])
    assert counts.min() > 8  # 20 expected
    flips = choose_exchangeability(np.ones((20, 1)), [1])
    signs = draw_resamplings(flips, np.ones((20, 1)), 4000, seed=0).sign
    assert np.abs(signs.mean(axis=0)).max() < 0.06


@settings(max_examples=30)
@given(n1=st.integers(1, 5), n2=st.integers(1, 5), seed=st.integers(0, 9))
def test_two_groups_in_any_order_are_counted_by_the_binomial(n1, n2, seed):
    order = np.random.default_rng(seed).permutation(n1 + n2)
    design = groups(n1, n2)[order]
    if n1 + n2 < 3:
        return
    chosen = choose_exchangeability(design, [1, -1])
    assert count_distinct(chosen, design) == math.comb(n1 + n2, n1)
    listed = draw_resamplings(chosen, design, 1000, seed=0)
    assert len(np.unique(design[np.argsort(listed.order, axis=1)][:, :, 0], axis=0)) == math.comb(
        n1 + n2, n1
    )


def test_what_cannot_be_exchanged_is_told():
    mixed = np.column_stack([np.ones(12), RNG.standard_normal(12)])
    with pytest.raises(InputDataError) as caught:
        choose_exchangeability(mixed, [0, 1], Units(participants=WHOSE))
    assert caught.value.message == module.REPEATED.format(n_rows=12, n_participants=6)
    with pytest.raises(InputDataError) as caught:
        choose_exchangeability(TWO, [1, -1], Units(pairs=[1, *PAIRS[1:]]))
    assert caught.value.message == module.UNPAIRED.format(label="0", n=1)
    with pytest.raises(InputDataError) as caught:
        choose_exchangeability(TWO, [1, -1], Units(variance_groups=["a"] * 11 + ["b"]))
    assert caught.value.message == module.VARIANCE_TOO_SMALL.format(label="b", n=1)
    with pytest.raises(InputDataError) as caught:
        choose_exchangeability(groups(3, 3), [1, -1], Units(sites=[0, 0, 0, 1, 1, 1]))
    assert caught.value.message == module.NOTHING_TO_EXCHANGE
    with pytest.raises(UsageError) as caught:
        choose_exchangeability(TWO, [1, -1], None, "sphericity")
    assert "'sphericity'" in caught.value.message
    with pytest.raises(ValueError, match="sites has 3"):
        choose_exchangeability(TWO, [1, -1], Units(sites=[0, 1, 1]))
    with pytest.raises(ValueError, match="Asked for 0"):
        draw_resamplings(choose_exchangeability(TWO, [1, -1]), TWO, 0, 0)
