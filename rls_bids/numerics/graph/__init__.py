"""Graphs of correlation matrices: small-worldness and its relatives, beside null networks.

Matrix → nodes and edges (:mod:`threshold`) → metrics (:mod:`metrics`) beside nulls
(:mod:`nulls`, :mod:`correlated`) → long tables (:mod:`analysis`); :mod:`group` finds what
several participants have in common. Definitions are in the modules and in
``docs/validation-graphs.md``.
"""

from rls_bids.numerics.graph.analysis import graph_metrics
from rls_bids.numerics.graph.draws import participant_seed
from rls_bids.numerics.graph.group import (
    CommonNodes,
    common_densities,
    common_nodes,
    restrict_nodes,
)
from rls_bids.numerics.graph.options import DENSITIES, GraphOptions, GraphResult, GraphRow
from rls_bids.numerics.graph.smallworld import area_under_curve

__all__ = [
    "DENSITIES",
    "VERSION",
    "CommonNodes",
    "GraphOptions",
    "GraphResult",
    "GraphRow",
    "area_under_curve",
    "common_densities",
    "common_nodes",
    "graph_metrics",
    "participant_seed",
    "restrict_nodes",
]

VERSION = "1"
