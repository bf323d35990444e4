"""Local measures: their stages, and the graph that takes them from residuals to maps."""

from collections.abc import Mapping, Sequence
from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.interfaces.denoise import Denoise
from rls_bids.interfaces.local import LocalMaps, PlotLocalMaps, map_key
from rls_bids.measures import MEASURES
from rls_bids.numerics import local, resample
from rls_bids.records import BoldRun, Measure, PreparedRun, Session, Template
from rls_bids.settings import DenoiseSettings, Settings
from rls_bids.workflows.metadata import preprocessing_of, processing_of
from rls_bids.workflows.nuisance import VERSION, regression_inputs
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stage import Place, Stage, common_entities, make_product

LOCAL_FIELDS = ("local_denoised", "local_unfiltered", "local_mask", "sample_mask")
SCALE_WORDS = {"": "", "meannorm": ", divided by its mean", "zstd": ", as z over its voxels"}


def options_of(measure: Measure, settings: Settings) -> dict[str, Any]:
    """Return the settings that a measure needs."""
    return {name: getattr(settings.measures, name) for name in measure.options}


def local_stages(
    session: Session,
    strategy: str,
    designs: Sequence[Stage],
    place: Place | None,
    settings: Settings,
) -> dict[str, Stage]:
    """Return what every local measure that was asked for writes, with one strategy."""
    if place is None:
        return {}
    return {
        name: _local_stage(MEASURES[name], session, strategy, designs, place, settings)
        for name in settings.measures.names
        if MEASURES[name].kind == "local"
    }


def _local_stage(
    measure: Measure,
    session: Session,
    strategy: str,
    designs: Sequence[Stage],
    place: Place,
    settings: Settings,
) -> Stage:
    options = options_of(measure, settings)
    stamp = fingerprint(
        designs=[design.fingerprint for design in designs],
        grid=[place.space, place.size_mm],
        options=options,
        versions=[measure.version, local.VERSION, resample.VERSION],
    )
    owner = (session.participant, session.session)
    shared: dict[str, Any] = dict(common_entities(session))
    shared["denoise"] = naming.camel_label(strategy)
    on_grid: dict[str, Any] = shared | place.std
    told = {
        "SkullStripped": True,
        "Measure": {"Name": measure.name, "Version": measure.version, **options},
        "Processing": {
            "Preprocessing": preprocessing_of(session),
            **processing_of(settings, strategy, place.size_mm, session.runs),
            "Measure": {"Version": measure.version, **options},
        },
    }
    sources = [image for run in session.runs for image in run.images]
    products = tuple(
        make_product(
            place,
            stamp,
            map_key(stat.name, scale),
            naming.derivative("local_map", *owner, **on_grid, stat=stat.name, desc=scale or None),
            f"{stat.caption.removesuffix('.')}{SCALE_WORDS[scale]}.",
            sources,
            **told,
            Units=stat.unit if not scale else "arbitrary",
        )
        for stat in measure.stats
        for scale in local.SCALES
    )
    figures = tuple(
        naming.figure(*owner, "localmap", **shared, stat=stat.name) for stat in measure.stats
    )
    return Stage(fingerprint=stamp, products=products, figures=figures)


def local_denoising(
    run: BoldRun | PreparedRun, strategy: str, denoise: DenoiseSettings, *, name: str
) -> pe.Node:
    """Return the node that denoises a run on the grid of the local measures, unsmoothed."""
    return pe.Node(
        Denoise(
            **regression_inputs(run.repetition_time, strategy, denoise),
            run=run_name(run),
            smoothing_fwhm_mm=0.0,
            with_unfiltered=True,
            version=f"{VERSION}-{resample.VERSION}",
        ),
        name=name,
        mem_gb=2,
    )


def run_name(run: BoldRun | PreparedRun) -> str:
    """Return how a run is called in messages and among those of its session."""
    return "_".join("-".join(pair) for pair in run.entities)


def _maps_node(measure: Measure, session: Session, place: Place, settings: Settings) -> pe.Node:
    """Return the node that computes one measure."""
    return pe.Node(
        LocalMaps(
            repetition_times={run_name(run): run.repetition_time for run in session.runs},
            measure=measure.name,
            options=options_of(measure, settings),
            space=place.space,
            smoothing_fwhm_mm=settings.denoise.smoothing_fwhm_mm,
            version=f"{measure.version}-{local.VERSION}-{resample.VERSION}",
        ),
        name=node_name("local", measure.name),
        mem_gb=2,
    )


def add_local_measures(
    workflow: pe.Workflow,
    session: Session,
    stages: Mapping[str, Stage],
    template: Template,
    place: Place,
    settings: Settings,
) -> None:
    """Add the node, the sink and the figures of every unfinished local measure."""
    for name, stage in stages.items():
        measure = MEASURES[name]
        maps = _maps_node(measure, session, place, settings)
        sink = stage_sink(stage, place, name=node_name("ds", name))
        plots = pe.Node(
            PlotLocalMaps(
                template=template.brain,
                base_dir=place.output_dir,
                titles={stat.name: stat.caption for stat in measure.stats},
                paths={
                    stat.name: path
                    for stat, path in zip(measure.stats, stage.figures, strict=True)
                },
            ),
            name=node_name("figure", name),
            mem_gb=1,
        )
        handed = [
            ("local_denoised", "filtered"),
            ("local_unfiltered", "unfiltered"),
            ("local_mask", "mask"),
            *((field, field) for field in ("sample_mask", "status")),
        ]
        workflow.connect(
            [
                (workflow.get_node("select_runs"), maps, handed),
                (maps, sink, [("manifest", "manifest")]),
                (maps, plots, [("manifest", "manifest")]),
            ]
        )
