"""The graph of one session: its runs, then what is computed over them together."""

from collections.abc import Mapping
from dataclasses import asdict

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe

from rls_bids.interfaces.figures import PlotSeeds
from rls_bids.interfaces.prepared import PrepareTissues
from rls_bids.interfaces.registration import ResampleToStandard, StandardPoints
from rls_bids.records import PreparedAnatomy, PreparedRun, Seed, Session, Template
from rls_bids.resources.templates import NATIVE
from rls_bids.settings import Settings
from rls_bids.workflows.bold import init_bold_wf
from rls_bids.workflows.denoise import init_denoise_wf
from rls_bids.workflows.finished import Unfinished
from rls_bids.workflows.local import LOCAL_FIELDS, add_local_measures, local_denoising
from rls_bids.workflows.matrices import add_atlases
from rls_bids.workflows.measures import RUN_FIELDS, init_measures_wf
from rls_bids.workflows.metadata import ANAT_VERSION
from rls_bids.workflows.prepared import init_prepared_wf
from rls_bids.workflows.quality import init_quality_wf
from rls_bids.workflows.sinks import add_figure_sink, node_name
from rls_bids.workflows.stages import TISSUES, Place, SessionStages

ANAT_FIELDS = (
    *("t1w", "mask", "dseg", "GM", "WM", "CSF", "t1w_to_std"),
    *("mask_std", "GM_std", "WM_std", "CSF_std", "dseg_std"),
)
GRID_FIELDS = ("mask_std", "GM_std", "WM_std", "CSF_std", "dseg_std")
MEASURES = "measures_"
LOCAL_SERIES = (
    ("outputnode.local_series", "series"),
    ("outputnode.local_mask", "mask"),
    ("outputnode.confounds", "confounds"),
)
TISSUES_STD = ("GM_std", "WM_std", "CSF_std")


def init_session_wf(
    session: Session,
    stages: SessionStages,
    wanted: Mapping[str, Unfinished],
    template: Template,
    seeds: Mapping[str, Seed],
    settings: Settings,
    *,
    name: str,
) -> pe.Workflow:
    """Build the graph of one session; `wanted` tells the unfinished maps of each strategy.

    Inputs
    ------
    t1w, mask, dseg, GM, WM, CSF, t1w_to_std : the anatomy
    mask_std, GM_std, WM_std, CSF_std, dseg_std : the same on its standard grid
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(list(ANAT_FIELDS)), name="inputnode")
    workflow.add_nodes([inputnode])
    points = _add_points(workflow, stages.place, template, "standard_points")
    _add_grid(workflow, session, stages.place)
    if stages.local_place and stages.local_place.size_mm != stages.place.size_mm:
        _add_points(workflow, stages.local_place, template, "local_points")
    if stages.seeds_figure:
        figure = pe.Node(
            PlotSeeds(space=settings.anat.space, seeds=[asdict(seed) for seed in seeds.values()]),
            name="figure_seeds",
        )
        fields = [("points", "points"), ("std_mask", "std_mask")]
        workflow.connect([(inputnode, figure, [("t1w", "t1w")]), (points, figure, fields)])
        add_figure_sink(workflow, stages.seeds_figure, stages.place, figure, "seeds")
    for index in range(len(session.runs)):
        _add_run(workflow, session, stages, index, template, settings)
        _add_quality(workflow, session, stages, index, template, seeds, settings)
    for strategy, unfinished in wanted.items():
        _add_strategy(workflow, session, strategy, stages, unfinished, seeds, template, settings)
    return workflow


def _add_points(workflow: pe.Workflow, place: Place, template: Template, name: str) -> pe.Node:
    """Tell where the voxels of a standard grid lie in the T1w image."""
    points = pe.Node(
        StandardPoints(
            template=template.brain,
            space=place.space,
            resolution=place.size_mm,
            version=ANAT_VERSION,
        ),
        name=name,
        mem_gb=1,
    )
    workflow.connect(workflow.get_node("inputnode"), "t1w_to_std", points, "transform")
    return points


def _add_grid(workflow: pe.Workflow, session: Session, place: Place) -> None:
    """Offer the anatomy on the grid of the session: as it was written, or made for its voxels."""
    inputnode = workflow.get_node("inputnode")
    grid = pe.Node(IdentityInterface(list(GRID_FIELDS)), name="grid")
    if place.resolution != NATIVE:
        workflow.connect([(inputnode, grid, [(field, field) for field in GRID_FIELDS])])
        return
    common = {"space": place.space, "resolution": place.size_mm, "version": ANAT_VERSION}
    if isinstance(session.anatomy, PreparedAnatomy):
        given = dict(zip(TISSUES, session.anatomy.tissues, strict=False))
        fields: tuple[str, ...] = GRID_FIELDS[1:]
        if not given:
            workflow.add_nodes([grid])
            return
        native = pe.Node(PrepareTissues(**common, **given), name="native_grid", mem_gb=0.5)
    else:
        fields = tuple(GRID_FIELDS)
        native = pe.Node(ResampleToStandard(**common), name="native_grid", mem_gb=1)
        images = [(field, field) for field in ("t1w", "mask", "dseg", *TISSUES)]
        workflow.connect([(inputnode, native, [("t1w_to_std", "transform"), *images])])
    workflow.connect([(native, grid, [(field, field) for field in fields])])


def _add_run(
    workflow: pe.Workflow,
    session: Session,
    stages: SessionStages,
    index: int,
    template: Template,
    settings: Settings,
) -> None:
    """Add preprocessing, ours or another program's, and denoising with every strategy."""
    run, place, name = session.runs[index], stages.place, f"bold_{index}"
    stage, inputnode = stages.runs[index], workflow.get_node("inputnode")
    grid = workflow.get_node("grid")
    local = stages.local_place
    if isinstance(run, PreparedRun):
        bold = init_prepared_wf(run, stage, place, local, template, settings.denoise, name=name)
    else:
        bold = init_bold_wf(run, stage, place, settings, name=name, local=local)
        points = workflow.get_node("standard_points")
        finer = workflow.get_node("local_points")
        # A list of its own: nipype takes connections out of the list that it is given.
        local_points = [(f, f"inputnode.local_{f}") for f in ("points", "std_mask")]
        anatomy = ("t1w", "mask", "dseg", "GM", "WM")
        workflow.connect(
            [
                (inputnode, bold, [(field, f"inputnode.{field}") for field in anatomy]),
                (grid, bold, [(f, f"inputnode.{f}") for f in ("WM_std", "CSF_std")]),
                (points, bold, [(f, f"inputnode.{f}") for f in ("points", "std_mask")]),
                *([(finer, bold, local_points)] if finer else []),
            ]
        )
    for strategy, designs in stages.designs.items():
        denoise = init_denoise_wf(
            run,
            strategy,
            designs[index],
            place,
            settings.denoise,
            name=f"denoise_{node_name(strategy)}_{index}",
        )
        handed = ("series", "mask", "confounds")
        workflow.connect(
            [
                (bold, denoise, [(f"outputnode.{f}", f"inputnode.{f}") for f in handed]),
                (grid, denoise, [("dseg_std", "inputnode.dseg_std")]),
            ]
        )
        if local:
            on_local = local_denoising(
                run, strategy, settings.denoise, name=f"local_{node_name(strategy)}_{index}"
            )
            workflow.connect([(bold, on_local, [*LOCAL_SERIES])])


def _add_quality(
    workflow: pe.Workflow,
    session: Session,
    stages: SessionStages,
    index: int,
    template: Template,
    seeds: Mapping[str, Seed],
    settings: Settings,
) -> None:
    """Add the quality table of one run."""
    run, stage = session.runs[index], stages.quality[index]
    table = init_quality_wf(
        run,
        stage,
        stages.place,
        template,
        seeds,
        settings.denoise,
        name=f"quality_{index}",
    )
    handed = ["mask", "tsnr", "confounds"]
    handed += [] if isinstance(run, PreparedRun) else ["coregistration"]
    bold, grid = workflow.get_node(f"bold_{index}"), workflow.get_node("grid")
    workflow.connect(
        [
            (bold, table, [(f"outputnode.{key}", f"inputnode.{key}") for key in handed]),
            (grid, table, [(key, f"inputnode.{key}") for key in ("GM_std", "mask_std")]),
        ]
    )


def _add_strategy(
    workflow: pe.Workflow,
    session: Session,
    strategy: str,
    stages: SessionStages,
    unfinished: Unfinished,
    seeds: Mapping[str, Seed],
    template: Template,
    settings: Settings,
) -> None:
    """Add the measures of one strategy over all runs."""
    slug = node_name(strategy)
    measures = init_measures_wf(
        session,
        strategy,
        {label: stages.seeds[strategy][label] for label in unfinished.seeds},
        seeds,
        template,
        stages.place,
        settings,
        name=f"{MEASURES}{slug}",
    )
    if stages.local_place:
        own = {name: stages.local[strategy][name] for name in unfinished.local}
        add_local_measures(measures, session, own, template, stages.local_place, settings)
    grid = workflow.get_node("grid")
    workflow.connect([(grid, measures, [(field, f"inputnode.{field}") for field in TISSUES_STD])])
    sources = dict.fromkeys(RUN_FIELDS, f"denoise_{slug}_{{}}")
    sources |= dict.fromkeys(("mask", "tsnr"), "bold_{}")
    if stages.local_place:
        sources |= dict.fromkeys(LOCAL_FIELDS, f"local_{slug}_{{}}") | {"local_mask": "bold_{}"}
    for field, origin in sources.items():
        _merge_runs(workflow, field, origin, measures, len(session.runs))
    atlases = {name: stages.atlases[strategy][name] for name in unfinished.atlases}
    add_atlases(workflow, measures, slug, atlases, stages.place, settings)


def _merge_runs(
    workflow: pe.Workflow, field: str, origin: str, measures: pe.Workflow, n_runs: int
) -> None:
    """Collect one field of all runs into a list."""
    over_runs = pe.Node(
        Merge(n_runs),
        name=f"{field}_{measures.name.removeprefix(MEASURES)}",
        run_without_submitting=True,
    )
    for index in range(n_runs):
        node = workflow.get_node(origin.format(index))
        is_graph = isinstance(node, pe.Workflow)
        output = f"outputnode.{field}" if is_graph else field.removeprefix("local_")
        workflow.connect(node, output, over_runs, f"in{index + 1}")
    workflow.connect(over_runs, "out", measures, f"inputnode.{field}")
