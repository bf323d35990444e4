"""The table of measures: one file each, one line here."""

from rls_bids.measures import (
    alff,
    centrality,
    dualregression,
    graphs,
    ica,
    matrices,
    reho,
    seed,
)
from rls_bids.records import Measure

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        seed.MEASURE,
        dualregression.MEASURE,
        alff.MEASURE,
        reho.MEASURE,
        centrality.MEASURE,
        matrices.MEASURE,
        graphs.MEASURE,
        ica.MEASURE,
    )
}
LOCAL_STATS = tuple(
    stat.name for measure in MEASURES.values() if measure.kind == "local" for stat in measure.stats
)
