"""Parcels: the series of each run, the matrices of a session, and what they write."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.interfaces.atlas import MATRIX_KEYS, MATRIX_VERSION, SERIES_VERSION, ParcelSeries
from rls_bids.interfaces.atlas import Matrices as ComputeMatrices
from rls_bids.interfaces.matrix_figure import PlotMatrix
from rls_bids.records import Atlas, BoldRun, PreparedRun, Session
from rls_bids.resources.atlases import atlas_content, find_atlas
from rls_bids.settings import Settings
from rls_bids.workflows.graphs import add_graph, graph_stage
from rls_bids.workflows.metadata import preprocessing_of, processing_of
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stage import Place, Stage, common_entities, make_product

SERIES = {
    "mean": "Mean series of each parcel: unsmoothed residuals at the kept volumes.",
    "coverage": "Share of each parcel's voxels inside the brain mask of the run.",
}
MATRICES = {
    "pearsoncorrelation": "Pearson correlation (r) of each pair of parcels.",
    "partialcorrelation": "Partial correlation of each pair of parcels given all others.",
    "shrunkencorrelation": "Correlation of each pair of parcels, shrunken towards the identity: "
    "positive definite, for the tangent space of the group level.",
    "networks": "Mean Fisher z between and within networks.",
    "lobes": "Mean Fisher z between and within lobes, cerebellum, thalamus and basal ganglia.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasStages:
    """What is written for one atlas and strategy: one stage a run, and one of the session.

    ``given`` is how the user named the atlas, ``content`` covers its files.
    """

    atlas: Atlas
    given: str
    content: str
    runs: tuple[Stage, ...]
    matrices: Stage
    graph: Stage | None

    def is_finished(self, output_dir: str) -> bool:
        """Whether every table of every run and of the session is there."""
        stages = (*self.runs, self.matrices, *([self.graph] if self.graph else []))
        return all(stage.is_finished(output_dir) for stage in stages)


def atlas_stages(
    session: Session, strategy: str, designs: Sequence[Stage], place: Place, settings: Settings
) -> dict[str, AtlasStages]:
    """Return what each atlas that was asked for writes, with one strategy."""
    if "matrices" not in settings.measures.names:
        return {}
    found = {}
    for text in settings.measures.atlases:
        atlas = find_atlas(text)
        content = atlas_content(atlas)
        runs = tuple(
            _series_stage(run, strategy, design, atlas, content, place)
            for run, design in zip(session.runs, designs, strict=True)
        )
        shared: dict[str, Any] = dict(common_entities(session))
        shared |= _entities(strategy, atlas, place)
        matrices = _matrix_stage(session, strategy, runs, atlas, place, settings)
        found[atlas.name] = AtlasStages(
            atlas=atlas,
            given=text,
            content=content,
            runs=runs,
            matrices=matrices,
            graph=graph_stage(session, matrices, shared, place, settings),
        )
    return found


def _entities(strategy: str, atlas: Atlas, place: Place) -> dict[str, str]:
    return {
        "space": place.space,
        "seg": naming.camel_label(atlas.name),
        "denoise": naming.camel_label(strategy),
    }


def _series_stage(
    run: BoldRun | PreparedRun,
    strategy: str,
    design: Stage,
    atlas: Atlas,
    content: str,
    place: Place,
) -> Stage:
    stamp = fingerprint(
        design=design.fingerprint,
        atlas=asdict(atlas),
        content=content,
        grid=[place.space, place.size_mm],
        version=SERIES_VERSION,
    )
    entities: dict[str, Any] = {**dict(run.entities), **_entities(strategy, atlas, place)}
    products = tuple(
        make_product(
            place,
            stamp,
            key,
            naming.derivative("parcel_series", run.participant, run.session, **entities, stat=key),
            description,
            run.images,
            **({"RepetitionTime": run.repetition_time} if key == "mean" else {}),
        )
        for key, description in SERIES.items()
    )
    return Stage(fingerprint=stamp, products=products)


def _matrix_stage(
    session: Session,
    strategy: str,
    runs: Sequence[Stage],
    atlas: Atlas,
    place: Place,
    settings: Settings,
) -> Stage:
    stamp = fingerprint(runs=[stage.fingerprint for stage in runs], version=MATRIX_VERSION)
    owner = (session.participant, session.session)
    shared: dict[str, Any] = dict(common_entities(session))
    shared |= _entities(strategy, atlas, place)
    told = {
        "Processing": {
            "Preprocessing": preprocessing_of(session),
            **processing_of(settings, strategy, place.size_mm, session.runs),
            "Atlas": atlas.name,
            "MatrixVersion": MATRIX_VERSION,
        }
    }
    sources = [image for run in session.runs for image in run.images]
    products = []
    for key in MATRIX_KEYS:
        is_set = key in ("networks", "lobes")
        named = {"meas": "fisherz", "desc": key} if is_set else {"meas": key}
        path = naming.derivative("relmat", *owner, **(shared | named))
        products.append(make_product(place, stamp, key, path, MATRICES[key], sources, **told))
    figure = naming.figure(*owner, "matrix", **shared)
    return Stage(fingerprint=stamp, products=tuple(products), figures=(figure,))


def add_atlases(
    workflow: pe.Workflow,
    measures: pe.Workflow,
    slug: str,
    stages: Mapping[str, AtlasStages],
    place: Place,
    settings: Settings,
) -> None:
    """Add series, matrices, graphs, sinks and figures of every unfinished atlas to a session.

    ``measures`` is the graph of the strategy ``slug`` in ``workflow``; its node ``select_runs``
    says which runs are used.
    """
    select = measures.get_node("select_runs")
    for name, own in stages.items():
        given = {"atlas": own.given, "content": own.content, "space": place.space}
        matrices = pe.Node(
            ComputeMatrices(**given, version=MATRIX_VERSION), name=node_name("matrices", name)
        )
        lists = {
            field: pe.Node(
                Merge(len(own.runs)),
                name=node_name(field, slug, name),
                run_without_submitting=True,
            )
            for field in ("time_series", "coverage")
        }
        for index, stage in enumerate(own.runs):
            series = pe.Node(
                ParcelSeries(**given, version=SERIES_VERSION),
                name=node_name("parcels", slug, name, str(index)),
                mem_gb=1,
            )
            sink = stage_sink(stage, place, name=f"{series.name}_ds")
            denoise = workflow.get_node(f"denoise_{slug}_{index}")
            bold = workflow.get_node(f"bold_{index}")
            workflow.connect(
                [
                    (denoise, series, [("outputnode.denoised", "denoised")]),
                    (bold, series, [("outputnode.mask", "mask")]),
                    *((series, lists[f], [(f, f"in{index + 1}")]) for f in lists),
                    (series, sink, [("manifest", "manifest")]),
                ]
            )
        measures.connect([(select, matrices, [("selected", "selected")])])
        _add_matrix_outputs(measures, matrices, own.matrices, place, name)
        if own.graph:
            add_graph(measures, matrices, own.graph, place, settings, atlas=name)
        status = workflow.get_node(f"status_{slug}")
        handed = f"{matrices.name}."
        workflow.connect([(status, measures, [("out", f"{handed}status")])])
        for field, node in lists.items():
            workflow.connect([(node, measures, [("out", f"{handed}{field}")])])


def _add_matrix_outputs(
    measures: pe.Workflow, matrices: pe.Node, stage: Stage, place: Place, atlas: str
) -> None:
    """Write the tables of the session and draw the correlation matrix."""
    plot = pe.Node(
        PlotMatrix(base_dir=place.output_dir, path=stage.figures[0], atlas=atlas),
        name=f"figure_{matrices.name}",
        mem_gb=0.5,
    )
    sink = stage_sink(stage, place, name=f"ds_{matrices.name}")
    for node in (sink, plot):
        measures.connect([(matrices, node, [("manifest", "manifest")])])
