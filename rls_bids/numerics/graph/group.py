"""What the graphs of several participants have in common: nodes and densities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics.graph.options import SIGNS
from rls_bids.numerics.graph.threshold import (
    FEW_NODES,
    MIN_NODES,
    IntArray,
    NodeOut,
    check_matrix,
    reachable_densities,
    select_nodes,
    take_sign,
)

MAX_MISSING = 0.10
DIFFERENT_SIZES = "The matrices have {found} nodes; expected the same number in all."
NO_MATRICES = "There is no matrix to compare; expected at least one."
NODE_OUT = "missing in {n_missing} of {n_matrices} participants"
NO_COMMON_DENSITY = (
    "No density of {asked} is reached by all; expected at least one: the least connected "
    "participant (number {worst}) reaches {reached:.3f}. Ask for lower densities or leave this "
    "participant out."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonNodes:
    """The nodes that all participants of a comparison have.

    ``nodes`` are rows of the matrices; ``nodes_out`` left for all. ``incomplete`` are the
    participants (by place) that lack some of ``nodes``, with those they lack: they cannot be
    compared and leave.
    """

    nodes: IntArray
    nodes_out: tuple[NodeOut, ...]
    incomplete: tuple[tuple[int, tuple[int, ...]], ...]


def common_nodes(matrices: Sequence[ArrayLike], max_missing: float = MAX_MISSING) -> CommonNodes:
    """Find the nodes on which all participants are compared.

    A node that is missing in more than a share of the participants leaves for all; a participant
    who misses one of the others leaves.

    Parameters
    ----------
    matrices : sequence of (n_nodes, n_nodes) arrays
        One a participant, NaN where values are missing.
    max_missing : float
        The largest share of participants that may miss a node.

    Returns
    -------
    CommonNodes

    Raises
    ------
    InputDataError
        There is no matrix, they differ in size, one cannot be used (see
        :func:`~rls_bids.numerics.graph.threshold.select_nodes`), or fewer than 3 nodes are left.

    Examples
    --------
    >>> whole, part = np.full((5, 5), 0.5), np.full((5, 5), 0.5)
    >>> part[3] = part[:, 3] = np.nan
    >>> common_nodes([whole, part]).nodes.tolist()
    [0, 1, 2, 4]
    """
    if not matrices:
        raise InputDataError(NO_MATRICES)
    sizes = sorted({len(np.asarray(matrix)) for matrix in matrices})
    if len(sizes) > 1:
        raise InputDataError(DIFFERENT_SIZES.format(found=sizes))
    is_there = np.zeros((len(matrices), sizes[0]), dtype=bool)
    for place, matrix in enumerate(matrices):
        is_there[place, select_nodes(matrix)[0]] = True
    n_missing = (~is_there).sum(axis=0)
    is_out = n_missing > max_missing * len(matrices)
    nodes = np.flatnonzero(~is_out)
    if len(nodes) < MIN_NODES:
        message = FEW_NODES.format(found=len(nodes), n_nodes=sizes[0], least=MIN_NODES)
        raise InputDataError(message)
    lacking = [nodes[~row[nodes]] for row in is_there]
    return CommonNodes(
        nodes=nodes,
        nodes_out=tuple(
            NodeOut(
                node=int(node),
                reason=NODE_OUT.format(n_missing=n_missing[node], n_matrices=len(matrices)),
            )
            for node in np.flatnonzero(is_out)
        ),
        incomplete=tuple(
            (place, tuple(int(node) for node in nodes_lacking))
            for place, nodes_lacking in enumerate(lacking)
            if len(nodes_lacking)
        ),
    )


def restrict_nodes(matrix: ArrayLike, nodes: IntArray) -> np.ndarray:
    """Return the part of a matrix that belongs to some nodes, in their order.

    Examples
    --------
    >>> restrict_nodes([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.array([0, 2])).tolist()
    [[1.0, 3.0], [7.0, 9.0]]
    """
    return np.array(np.asarray(matrix, dtype=np.float64)[np.ix_(nodes, nodes)])


def common_densities(
    matrices: Sequence[ArrayLike], densities: Sequence[float], negative: str = "drop"
) -> tuple[float, ...]:
    """Return the densities that the graphs of all participants reach, of every sign asked for.

    Parameters
    ----------
    matrices : sequence of (n_nodes, n_nodes) arrays
        On the common nodes (:func:`common_nodes`, :func:`restrict_nodes`).
    densities : sequence of float
        Ascending.
    negative : {'drop', 'absolute', 'apart'}
        As in :class:`~rls_bids.numerics.graph.options.GraphOptions`.

    Returns
    -------
    tuple of float

    Raises
    ------
    InputDataError
        A matrix cannot be used.
    UsageError
        No density is reached by all.

    Examples
    --------
    >>> weak = np.array([[1, 0.3, -0.1], [0.3, 1, -0.2], [-0.1, -0.2, 1]])
    >>> common_densities([np.full((3, 3), 0.5), weak], [0.3, 0.6, 0.9])
    (0.3,)
    """
    if not matrices:
        raise InputDataError(NO_MATRICES)
    common = tuple(densities)
    reached = []
    for matrix in matrices:
        kept, _ = select_nodes(matrix)
        values = restrict_nodes(check_matrix(matrix), kept)
        n_pairs = len(kept) * (len(kept) - 1)
        graphs = [take_sign(values, sign) for sign in SIGNS[negative]]
        for graph in graphs:
            common = reachable_densities(graph, common)
        reached.append(min(np.count_nonzero(graph) / n_pairs for graph in graphs))
    if not common:
        worst = int(np.argmin(reached))
        asked = ", ".join(f"{density:g}" for density in densities)
        found = {"asked": asked, "worst": worst + 1, "reached": float(reached[worst])}
        raise UsageError(NO_COMMON_DENSITY.format(**found))
    return common
