"""The graph of a group ICA: common voxels, components, their files and pictures."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.engine.crashes import set_crash_dir
from rls_bids.interfaces.ica import COLUMNS, CommonMask, GroupICA, PlotComponents
from rls_bids.measures import MEASURES
from rls_bids.measures.ica import LEAST_R
from rls_bids.records import Template
from rls_bids.resources import networktemplates
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.networktemplates import TEMPLATE_ATLAS, templates_metadata
from rls_bids.settings import Settings
from rls_bids.workflows.ica_plan import IcaDesign, IcaPlan
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stages import Place, Product, Stage

MEASURE = MEASURES["ica"]
VERSION = f"{MEASURE.version}-{networktemplates.VERSION}"
DESCRIPTION = (
    "Components of a group ICA as z over the voxels, one a volume, and a table of their names and "
    "templates; together network maps for --network-maps."
)
FOUND_IN = (
    "The components were found in the series of these participants, whatever their group. What "
    "is then measured with them in the same participants fits them better than it would others."
)
SUBTITLE = "{n} participants, {n_runs} runs, {strategy}"


def ica_stages(plan: IcaPlan, place: Place, settings: Settings) -> dict[str, Stage]:
    """Return what the group ICA of each strategy writes."""
    return {design.strategy: _stage(design, plan, place, settings) for design in plan.designs}


def _stage(design: IcaDesign, plan: IcaPlan, place: Place, settings: Settings) -> Stage:
    n, shared = plan.n_components, {"task": design.task, "denoise": design.strategy}
    names: dict[str, Any] = {**shared, **place.std}
    stamp = fingerprint(data=design.fingerprint, version=VERSION)
    paths = [one.path for one in design.series]
    about: dict[str, object] = {
        "Description": DESCRIPTION,
        **COLUMNS,
        "Measure": {"Name": MEASURE.name, "Version": VERSION, "NumberOfComponents": n},
        "RandomSeed": settings.run.random_seed,
        "SmoothingFwhmMm": settings.denoise.smoothing_fwhm_mm,
        "Templates": _templates_told(plan, place),
        "LeastCorrelation": LEAST_R,
        "Participants": [f"sub-{label}" for label in design.participants],
        "LeftOut": {f"sub-{label}": reason for label, reason in design.left_out},
        "FoundIn": FOUND_IN,
        "Processing": json.loads(design.series[0].processing),
        "SkullStripped": True,
        "SpatialReference": place.space,
        "Resolution": f"{design.size_mm} mm isotropic",
        "Sources": [bids_uri(path, place.output_dir, place.bids_dir) for path in paths],
        "Fingerprint": stamp,
    }
    products = tuple(
        Product(key=key, path=naming.ica_file(key, n, **names), metadata=about)
        for key in ("components_table", "components")
    )
    figures = tuple(naming.ica_figure(n, index, **names) for index in range(1, n + 1))
    return Stage(fingerprint=stamp, products=products, figures=figures)


def _templates_told(plan: IcaPlan, place: Place) -> dict[str, object]:
    """Return what the sidecar says of the templates: those given, or those of an atlas."""
    if not plan.templates:
        return templates_metadata(find_atlas(TEMPLATE_ATLAS), place.space)
    first = plan.templates[0]
    return {
        "Name": first.source,
        "GivenSpace": first.given_space,
        "SpaceEvidence": first.evidence,
        "Content": first.content,
        "Networks": [each.name for each in plan.templates],
    }


def init_ica_wf(
    plan: IcaPlan,
    stages: Mapping[str, Stage],
    template: Template,
    place: Place,
    settings: Settings,
    log_dir: str,
) -> pe.Workflow:
    """Build the group ICA of every strategy that is not finished."""
    workflow = pe.Workflow(
        name=node_name("group", "ica", str(plan.n_components)), base_dir=settings.run.work_dir
    )
    for design in plan.designs:
        stage = stages[design.strategy]
        if not stage.is_finished(place.output_dir):
            made = init_decomposition_wf(design, plan, stage, template, place, settings)
            workflow.add_nodes([made])
    set_crash_dir(workflow, log_dir)
    return workflow


def init_decomposition_wf(
    design: IcaDesign,
    plan: IcaPlan,
    stage: Stage,
    template: Template,
    place: Place,
    settings: Settings,
) -> pe.Workflow:
    """Build the group ICA of one strategy."""
    workflow = pe.Workflow(name=node_name("ica", design.strategy))
    series = [one.path for one in design.series]
    mask = pe.Node(CommonMask(series=series, version=VERSION), name="common_mask", mem_gb=3)
    own: dict[str, Any] = {"template_atlas": TEMPLATE_ATLAS}
    given = {"templates": [asdict(each) for each in plan.templates]}
    ica = pe.Node(
        GroupICA(
            series=series,
            n_components=plan.n_components,
            smoothing_fwhm_mm=settings.denoise.smoothing_fwhm_mm,
            random_seed=settings.run.random_seed,
            **(given if plan.templates else own),
            space=place.space,
            version=VERSION,
        ),
        name="group_ica",
        mem_gb=4,
    )
    subtitle = SUBTITLE.format(
        n=len(design.participants), n_runs=len(series), strategy=design.strategy
    )
    plot = pe.Node(
        PlotComponents(
            template=template.brain,
            subtitle=subtitle,
            base_dir=place.output_dir,
            paths=list(stage.figures),
        ),
        name="figures",
        mem_gb=1,
    )
    sink = stage_sink(stage, place, name="ds_components")
    workflow.connect(
        [
            (mask, ica, [("mask", "mask")]),
            (ica, sink, [("manifest", "manifest")]),
            (ica, plot, [("manifest", "manifest")]),
        ]
    )
    return workflow
