"""The group graph: one model a seed, measure or atlas, without what is finished already."""

from collections.abc import Mapping

from nipype.pipeline import engine as pe

from rls_bids.dataset.group import GroupPlan, Key
from rls_bids.engine.crashes import set_crash_dir
from rls_bids.records import Template
from rls_bids.settings import Settings
from rls_bids.workflows.group_graphs import graph_stage, init_graph_model_wf
from rls_bids.workflows.group_maps import fit_stage, init_map_model_wf
from rls_bids.workflows.group_matrices import init_matrix_model_wf, matrix_stage
from rls_bids.workflows.group_tables import init_values_wf, table_stage
from rls_bids.workflows.group_towards import towards_workflows
from rls_bids.workflows.sinks import node_name
from rls_bids.workflows.stages import Place, Stage


def group_stages(plan: GroupPlan, place: Place, settings: Settings) -> dict[Key, Stage]:
    """Return what each comparison writes, by strategy and what is compared."""
    found = {value.key: table_stage(value, plan.model, place, settings) for value in plan.values}
    return found | {
        design.key: (matrix_stage if design.compared.is_matrix else graph_stage)(
            design, plan.model, place, settings
        )
        if design.compared.atlas
        else fit_stage(design, plan.model, place, settings)
        for design in plan.designs
    }


def init_group_wf(
    plan: GroupPlan,
    stages: Mapping[Key, Stage],
    template: Template,
    place: Place,
    settings: Settings,
    log_dir: str,
) -> pe.Workflow:
    """Build one model, sinks and figures for every unfinished comparison."""
    workflow = pe.Workflow(name=node_name("group", plan.model), base_dir=settings.run.work_dir)
    unfinished = [
        each for each in plan.designs if not stages[each.key].is_finished(place.output_dir)
    ]
    # Several comparisons at once use the CPUs better than several threads in one.
    n_threads = max(1, settings.run.n_cpus // max(1, len(unfinished)))
    for design in unfinished:
        stage = stages[design.key]
        if design.compared.atlas:
            is_matrix = design.compared.is_matrix
            init_tables_wf = init_matrix_model_wf if is_matrix else init_graph_model_wf
            made = init_tables_wf(design, stage, plan.model, template, place, settings)
        else:
            shared = (plan.model, template, place, settings)
            made = init_map_model_wf(design, stage, *shared, n_threads)
        workflow.add_nodes([made])
    for value in plan.values:
        stage = stages[value.key]
        if not stage.is_finished(place.output_dir):
            workflow.add_nodes([init_values_wf(value, stage, plan.model, place, settings)])
    workflow.add_nodes(list(towards_workflows(plan, place, settings)))
    set_crash_dir(workflow, log_dir)
    return workflow
