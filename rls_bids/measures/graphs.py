"""Graphs: small-worldness and its relatives, of the matrix of an atlas."""

from rls_bids.numerics import graph
from rls_bids.records import Measure, Stat

MEASURE = Measure(
    name="graphs",
    kind="atlas",
    version=f"2-{graph.VERSION}",
    suffix="graph",
    stats=(
        Stat(name="global", unit="as the metric", caption="Metrics of the whole graph."),
        Stat(name="nodal", unit="as the metric", caption="Metrics of every node."),
    ),
    caption="Small-worldness, efficiencies and nodal metrics of graphs of parcels.",
    method=(
        "Graphs were made of the strongest positive correlations at each density. The clustering "
        "coefficient and the characteristic path length, each divided by its mean over random "
        "graphs with the same degrees [@maslov2002], give γ, λ and the small-worldness "
        "σ = γ / λ [@humphries2008]; path lengths are those of the largest component. Other "
        "metrics are defined as in [@rubinov2010]. A density that the positive correlations "
        "cannot reach is missing. Areas under the curve are over the densities reached, divided "
        "by the width of their range."
    ),
    sources=(
        "10.1126/science.1065103",
        "10.1371/journal.pone.0002051",
        "10.1016/j.neuroimage.2009.10.003",
    ),
    options=(
        *("graph_densities", "graph_weighting", "graph_negative", "graph_metrics"),
        *("graph_nulls", "n_nulls"),
    ),
)
