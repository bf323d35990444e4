"""The whole graph of the requested participants, without what is finished already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.engine.crashes import set_crash_dir
from rls_bids.records import (
    Anatomy,
    Note,
    Participant,
    PreparedAnatomy,
    Seed,
    Session,
    Template,
)
from rls_bids.settings import Settings
from rls_bids.workflows.anat import init_anat_wf, init_finished_anat_wf
from rls_bids.workflows.finished import Unfinished, refusals, unfinished_maps
from rls_bids.workflows.nuisance import alias_notes
from rls_bids.workflows.prepared import init_prepared_anat_wf
from rls_bids.workflows.seeds import circular_notes
from rls_bids.workflows.session import ANAT_FIELDS, init_session_wf
from rls_bids.workflows.sinks import node_name
from rls_bids.workflows.stages import SessionStages, anat_place, anat_stage, stages_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The graph to run, how many stages it holds, and what is left out of it and why."""

    workflow: pe.Workflow
    n_unfinished: int
    notes: tuple[Note, ...]


def init_participants_wf(
    participants: Sequence[Participant],
    settings: Settings,
    template: Template,
    seeds: Mapping[str, Seed],
    run_id: str,
) -> Plan:
    """Build one sub-graph a participant, of the unfinished stages only."""
    workflow = pe.Workflow(name="rls_bids", base_dir=settings.run.work_dir)
    notes: list[Note] = []
    n_unfinished = 0
    for participant in participants:
        notes += circular_notes(participant.label, seeds.values()) if participant.sessions else ()
        graph = pe.Workflow(name=node_name("sub", participant.label))
        unfinished = _add_anatomies(graph, participant.anatomies, settings, template)
        for session in () if settings.run.anat_only else participant.sessions:
            stages = stages_of(session, settings, template, seeds)
            refused = refusals(session, stages, settings)
            notes += [*alias_notes(session, settings.denoise), *refused.values()]
            wanted = unfinished_maps(stages, settings.input.output_dir, refused)
            if wanted is None:
                continue
            unfinished += 1
            _add_session(graph, session, stages, wanted, template, seeds, settings)
        if unfinished:
            log_dir = Path(settings.input.output_dir, naming.log_dir(participant.label, run_id))
            set_crash_dir(graph, str(log_dir), participant.label)
            workflow.add_nodes([graph])
        n_unfinished += unfinished
    return Plan(workflow=workflow, n_unfinished=n_unfinished, notes=tuple(notes))


def _anat_name(anatomy: Anatomy | PreparedAnatomy) -> str:
    return node_name("anat", anatomy.session)


def _add_anatomies(
    graph: pe.Workflow,
    anatomies: Sequence[Anatomy | PreparedAnatomy],
    settings: Settings,
    template: Template,
) -> int:
    """Add the anatomical graphs, or finished files in their place; count the unfinished."""
    place = anat_place(settings)
    unfinished = 0
    for anatomy in anatomies:
        name = _anat_name(anatomy)
        if isinstance(anatomy, PreparedAnatomy):
            graph.add_nodes([init_prepared_anat_wf(anatomy, place, name=name)])
            continue
        stage = anat_stage(anatomy, settings.anat, template, place, settings.run.random_seed)
        if stage.is_finished(place.output_dir):
            graph.add_nodes([init_finished_anat_wf(stage, place, name)])
            continue
        unfinished += 1
        graph.add_nodes(
            [init_anat_wf(anatomy, stage, template, place, settings.anat, settings.run, name=name)]
        )
    return unfinished


def _add_session(
    graph: pe.Workflow,
    session: Session,
    stages: SessionStages,
    wanted: Mapping[str, Unfinished],
    template: Template,
    seeds: Mapping[str, Seed],
    settings: Settings,
) -> None:
    """Add the graph of one session behind its anatomy."""
    session_wf = init_session_wf(
        session,
        stages,
        wanted,
        template,
        seeds,
        settings,
        name=node_name("ses", session.session, session.task),
    )
    anat_wf = graph.get_node(_anat_name(session.anatomy))
    fields = [(f"outputnode.{field}", f"inputnode.{field}") for field in ANAT_FIELDS]
    graph.connect([(anat_wf, session_wf, fields)])
