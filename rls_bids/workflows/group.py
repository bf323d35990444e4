"""The group graph: one model a seed, measure or atlas, without what is finished already."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.dataset.group import GroupPlan, Key, MapDesign, design_path
from rls_bids.engine.crashes import set_crash_dir
from rls_bids.interfaces.figures import PlotGroupMap
from rls_bids.interfaces.group import CLUSTER_COLUMNS, FitGroupMaps
from rls_bids.numerics import clusters, effects, glm
from rls_bids.records import Template
from rls_bids.settings import Settings
from rls_bids.workflows.designs import count_words, design_files
from rls_bids.workflows.group_graphs import graph_stage, init_graph_model_wf
from rls_bids.workflows.group_matrices import init_matrix_model_wf, matrix_stage
from rls_bids.workflows.sinks import add_figure_sink, add_sink, manifest_sink, node_name
from rls_bids.workflows.stages import Place, Product, Stage

VERSION = f"{glm.VERSION}.{effects.VERSION}.{clusters.VERSION}"
CLUSTERS = "Local maxima of |z| among voxels with an uncorrected two-sided p below .001."
MAPS = (
    ("effect", None, "First minus second group: difference of the means, adjusted."),
    ("variance", None, "Squared standard error of the effect."),
    ("t", None, "t statistic of the contrast."),
    ("z", None, "z value with the tail probability of t."),
    ("p", "uncorrected", "Two-sided p value of t, not corrected."),
    ("p", "fdr", "p value adjusted for the false discovery rate over this map's voxels."),
    ("hedgesg", None, "Hedges g from the adjusted t, corrected for small samples."),
    ("hedgesg", "ciLower", "Lower 95 % confidence limit of Hedges g (noncentral t)."),
    ("hedgesg", "ciUpper", "Upper 95 % confidence limit of Hedges g (noncentral t)."),
)


def map_key(stat: str, desc: str | None) -> str:
    """Return how a map is called in the manifest.

    Examples
    --------
    >>> map_key("p", "fdr"), map_key("t", None)
    ('p_fdr', 't')
    """
    return f"{stat}_{desc}" if desc else stat


def group_stages(plan: GroupPlan, place: Place, settings: Settings) -> dict[Key, Stage]:
    """Return what each comparison writes, by strategy and what is compared."""
    return {
        design.key: (matrix_stage if design.compared.is_matrix else graph_stage)(
            design, plan.model, place, settings
        )
        if design.compared.atlas
        else _stage(design, plan.model, place)
        for design in plan.designs
    }


def _stage(design: MapDesign, model: str, place: Place) -> Stage:
    result = design.result
    stamp = fingerprint(data=design.fingerprint, version=VERSION)
    files = [one.path for one in result.inputs]
    files.append(str(Path(place.output_dir, design_path(design, model))))
    about: dict[str, object] = {
        "Contrast": result.title,
        "NumberOfParticipants": result.counts,
        "Scale": design.compared.scale or None,
        "Sources": [bids_uri(file, place.output_dir, place.bids_dir) for file in files],
        "Fingerprint": stamp,
    }
    of_image = {
        "SpatialReference": place.space,
        "Resolution": f"{design.size_mm} mm isotropic",
        "SkullStripped": True,
    }
    grid = {"space": place.space, "res": design.compared.resolution}
    names: dict[str, Any] = {**design.entities, **grid}
    images = [
        Product(
            key=map_key(stat, desc),
            path=naming.group_map(model, stat, desc=desc, **names),
            metadata={"Description": text, **about, **of_image},
        )
        for stat, desc, text in MAPS
    ]
    table = Product(
        key="clusters",
        path=naming.group_table(model, "clusters", **design.entities),
        metadata={"Description": CLUSTERS, **CLUSTER_COLUMNS, **about},
    )
    figure = naming.group_figure(model, "tmap", **names)
    return Stage(fingerprint=stamp, products=(*images, table), figures=(figure,))


def init_group_wf(
    plan: GroupPlan,
    stages: Mapping[Key, Stage],
    template: Template,
    place: Place,
    settings: Settings,
    log_dir: str,
) -> pe.Workflow:
    """Build one model, sinks and a figure for every unfinished comparison."""
    workflow = pe.Workflow(name=node_name("group", plan.model), base_dir=settings.run.work_dir)
    for design in plan.designs:
        stage = stages[design.key]
        if stage.is_finished(place.output_dir):
            continue
        if design.compared.atlas:
            is_matrix = design.compared.is_matrix
            init_tables_wf = init_matrix_model_wf if is_matrix else init_graph_model_wf
            made = init_tables_wf(design, stage, plan.model, template, place, settings)
        else:
            made = init_seed_model_wf(design, stage, plan.model, template, place)
        workflow.add_nodes([made])
    set_crash_dir(workflow, log_dir)
    return workflow


def init_seed_model_wf(
    design: MapDesign, stage: Stage, model: str, template: Template, place: Place
) -> pe.Workflow:
    """Build the model of one seed."""
    workflow = pe.Workflow(name=node_name("model", *design.key))
    result, compared = design.result, design.compared
    fit = pe.Node(
        FitGroupMaps(
            in_files=[one.path for one in result.inputs],
            **design_files(design, model, place),
            version=VERSION,
        ),
        name="glm",
        mem_gb=2,
    )
    plot = pe.Node(
        PlotGroupMap(
            template=template.brain,
            title=f"{compared.name}: {result.title}",
            subtitle=f"{count_words(result)}, {design.strategy}",
            seeds=[asdict(seed) for seed in compared.seeds],
        ),
        name="figure",
        mem_gb=1,
    )
    images = [product for product in stage.products if product.key != "clusters"]
    maps = manifest_sink({each.key: each for each in images}, place, name="ds_maps")
    workflow.connect([(fit, maps, [("manifest", "manifest")])])
    workflow.connect([(fit, plot, [("manifest", "manifest")])])
    add_sink(workflow, stage.product("clusters"), place, fit, "clusters")
    add_figure_sink(workflow, stage.figures[0], place, plot, "figure")
    return workflow
