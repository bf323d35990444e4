"""Graphs of the matrices of a session: their stage, and the nodes behind the matrices."""

from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.interfaces.graph import GraphTables, PlotGraph, tables_of
from rls_bids.measures import MEASURES
from rls_bids.records import Session
from rls_bids.settings import Settings
from rls_bids.workflows.local import options_of
from rls_bids.workflows.sinks import stage_sink
from rls_bids.workflows.stage import Place, Stage, make_product

MEASURE = MEASURES["graphs"]
WORDS = {
    "global": "Metrics of the whole graph, one row a metric and density.",
    "nodal": "Metrics of every node, one row a metric, node and density.",
    "globalNegative": "Metrics of the whole graph of negative correlations (by size).",
    "nodalNegative": "Metrics of every node in the graph of negative correlations (by size).",
}
COLUMNS = {
    "metric": {"Description": "Metric; _auc: area under its curve over the densities reached."},
    "node": {"Description": "Parcel, n/a for the whole graph."},
    "density": {"Description": "Share of all pairs that was asked for."},
    "density_reached": {"Description": "Share of all pairs that are edges."},
    "threshold": {"Description": "Fixed correlation that edges exceed, where one was asked for."},
    "null_mean": {"Description": "Mean of the metric over the null networks."},
    "null_sd": {"Description": "Standard deviation over the null networks."},
    "z": {"Description": "Distance of the value from null_mean in units of null_sd."},
}


def graph_stage(
    session: Session, matrices: Stage, shared: dict[str, Any], place: Place, settings: Settings
) -> Stage | None:
    """Return what the graphs of one matrix write, if graphs were asked for.

    ``shared`` are the entities of the matrix, without the measure.
    """
    if "graphs" not in settings.measures.names:
        return None
    options = options_of(MEASURE, settings)
    seed = settings.run.random_seed
    stamp = fingerprint(
        matrices=matrices.fingerprint,
        options=options,
        random_seed=seed,
        version=MEASURE.version,
    )
    owner = (session.participant, session.session)
    source = f"{place.output_dir}/{matrices.product('pearsoncorrelation').path}"
    told = {
        "Measure": {"Name": MEASURE.name, "Version": MEASURE.version, **options},
        "RandomSeed": seed,
        **COLUMNS,
    }
    processing: dict[str, Any] = dict(matrices.products[0].metadata["Processing"])  # type: ignore[call-overload]
    products = tuple(
        make_product(
            place,
            stamp,
            key,
            naming.derivative("graph", *owner, **shared, meas="pearsoncorrelation", desc=key),
            WORDS[key],
            [source],
            **told,
            Processing={**processing, "Measure": told["Measure"]},
        )
        for key in tables_of(options)
    )
    figure = naming.figure(*owner, "graph", **shared)
    return Stage(fingerprint=stamp, products=products, figures=(figure,))


def add_graph(
    measures: pe.Workflow,
    matrices: pe.Node,
    stage: Stage,
    place: Place,
    settings: Settings,
    *,
    atlas: str,
) -> None:
    """Add the graph metrics of one matrix, their sink and their picture."""
    parts = stage.products[0].path.rpartition("/")[2].split("_meas-")[0]
    graph = pe.Node(
        GraphTables(
            options=options_of(MEASURE, settings),
            random_seed=settings.run.random_seed,
            who=[parts],
            version=MEASURE.version,
        ),
        name=matrices.name.replace("matrices", "graphs"),
        mem_gb=0.5,
    )
    sink = stage_sink(stage, place, name=f"ds_{graph.name}")
    plot = pe.Node(
        PlotGraph(base_dir=place.output_dir, path=stage.figures[0], atlas=atlas),
        name=f"figure_{graph.name}",
        mem_gb=0.5,
    )
    measures.connect(
        [
            (matrices, graph, [("manifest", "matrices")]),
            (graph, sink, [("manifest", "manifest")]),
            (graph, plot, [("manifest", "manifest")]),
        ]
    )
