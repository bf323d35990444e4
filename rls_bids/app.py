"""The road of the data on one page: query, graph, run, report."""

import logging
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rls_bids import __version__
from rls_bids.dataset import naming
from rls_bids.dataset.description import (
    atomic_write,
    write_dataset_description,
    write_descriptions,
)
from rls_bids.dataset.group import GroupPlan, Key, plan_group
from rls_bids.dataset.group_tables import write_design_tables
from rls_bids.dataset.plan import group_plan_text, plan_text
from rls_bids.dataset.prepared import index_prepared
from rls_bids.dataset.query import index_participants
from rls_bids.dataset.requests import check_root
from rls_bids.engine.config import configure_nipype
from rls_bids.engine.crashes import Failure
from rls_bids.engine.outcome import exit_status, note_of
from rls_bids.engine.pool import run_workflow
from rls_bids.errors import EXIT_FAILED, EXIT_OK
from rls_bids.paths import named_folders
from rls_bids.records import Note, Participant, Seed, Template
from rls_bids.reports.collect import collect_participant
from rls_bids.reports.group import collect_group, group_facts
from rls_bids.reports.html import write_group_page, write_ica_page, write_participant_page
from rls_bids.reports.ica import collect_ica, ica_facts
from rls_bids.reports.methods import write_citation
from rls_bids.reports.sessions import notes_of_session, page_sessions
from rls_bids.resources.seeds import seeds_asked
from rls_bids.resources.templates import locate_template
from rls_bids.settings import Settings, to_toml
from rls_bids.settings.limits import ICA
from rls_bids.workflows.group import group_stages, init_group_wf
from rls_bids.workflows.group_results import init_results_wf, result_stages
from rls_bids.workflows.ica import ica_stages, init_ica_wf
from rls_bids.workflows.ica_plan import ica_plan_text, plan_ica
from rls_bids.workflows.participant import init_participants_wf
from rls_bids.workflows.seeds import circular_notes
from rls_bids.workflows.stages import Place, Stage, place_of

LOGGER = logging.getLogger("rls_bids")
NOTHING_TO_DO = "Every output is finished already; nothing is computed."


def run_participant(settings: Settings) -> int:
    """Take every requested participant from raw data to seed maps and a page.

    Returns
    -------
    int
        The exit status: 0, 1 (something failed) or 65 (no usable data of a participant).
    """
    template = locate_template(settings.anat.space, settings.anat.resolution)
    found = seeds_asked(settings)
    seeds = {seed.name: seed for seed in found}
    participants = _find(settings)
    if settings.run.dry_run:
        sys.stdout.write(plan_text(participants, settings) + "\n")
        return EXIT_OK
    run_id = new_run_id()
    given = settings.input
    others = named_folders(given.derivatives)
    write_dataset_description(given.output_dir, given.bids_dir, __version__, others)
    write_citation(settings)
    for participant in participants:
        _save_settings(settings, naming.log_dir(participant.label, run_id))
    notes = [note for participant in participants for note in participant.notes]
    if not (settings.run.reports_only or settings.run.boilerplate_only):
        notes += _compute(participants, settings, template, seeds, run_id)
    _write_pages(participants, notes, settings)
    write_descriptions(settings.input.output_dir)
    for note in notes:
        _tell(note)
    n_strategies = 0 if settings.run.anat_only else len(settings.denoise.strategies)
    return exit_status(participants, notes, n_strategies=n_strategies)


def _find(settings: Settings) -> tuple[Participant, ...]:
    """Return the requested participants: raw data, or what another program made of them."""
    is_read = not settings.run.dry_run
    if settings.input.derivatives:
        return index_prepared(settings, hash_content=is_read)
    return index_participants(
        settings.input, settings.bold, anat_only=settings.run.anat_only, hash_content=is_read
    )


def new_run_id() -> str:
    """Return a sortable name for the logs of one call."""
    return f"{datetime.now().astimezone():%Y%m%d-%H%M%S}_{uuid.uuid4()}"


def _save_settings(settings: Settings, log_dir: str) -> None:
    """Write the settings of this call to a log folder of the output directory."""
    atomic_write(Path(settings.input.output_dir, log_dir, "settings.toml"), to_toml(settings))


def _compute(
    participants: Sequence[Participant],
    settings: Settings,
    template: Template,
    seeds: Mapping[str, Seed],
    run_id: str,
) -> list[Note]:
    """Build the graph of what is unfinished, run it, and return what was refused or failed."""
    output_dir, work_dir = settings.input.output_dir, settings.run.work_dir
    configure_nipype(settings.run, work_dir, str(Path(output_dir, naming.log_dir(None, run_id))))
    plan = init_participants_wf(participants, settings, template, seeds, run_id)
    if not plan.n_unfinished:
        LOGGER.info(NOTHING_TO_DO)
        return list(plan.notes)
    LOGGER.info("%d unfinished stages of %d participants.", plan.n_unfinished, len(participants))
    failures = run_workflow(plan.workflow, settings.run)
    return [*plan.notes, *(note_of(failure) for failure in failures)]


def _write_pages(
    participants: Iterable[Participant], notes: Sequence[Note], settings: Settings
) -> None:
    """Write one page a participant, or a session, whatever happened to it."""
    root = settings.input.output_dir
    for participant in participants:
        label = participant.label
        own = [note for note in notes if note.participant == label]
        for session in page_sessions(participant, own, settings.input):
            told = own if session is None else notes_of_session(own, session)
            page = collect_participant(root, label, told, settings, session)
            path = write_participant_page(Path(root), page)
            LOGGER.info("Report of sub-%s: %s", label, path)


def _tell(note: Note) -> None:
    """Log a note at its level; what is only for the page was logged when it was found."""
    level = {"info": logging.DEBUG, "warning": logging.WARNING, "skipped": logging.WARNING}
    who = f"sub-{note.participant}: " if note.participant else ""
    LOGGER.log(level.get(note.level, logging.ERROR), "%s%s %s", who, note.message, note.hint)


def run_group(settings: Settings) -> int:
    """Compare two groups for every seed, local measure and atlas, and write the page.

    Returns
    -------
    int
        The exit status: 0, or 1 when a comparison could not be made or failed.
    """
    if ICA in settings.measures.names:
        return run_ica(settings)
    template = locate_template(settings.anat.space, settings.anat.resolution)
    check_root(settings.input.bids_dir, must_be_raw=False)
    plan = plan_group(settings)
    if settings.run.dry_run:
        sys.stdout.write(group_plan_text(plan, settings) + "\n")
        return EXIT_OK
    run_id = new_run_id()
    root = Path(settings.input.output_dir)
    write_dataset_description(root, settings.input.bids_dir, __version__)
    write_citation(*group_facts(plan, settings))
    _save_settings(settings, naming.log_dir(None, run_id))
    place = place_of(settings)
    stages = group_stages(plan, place, settings)
    compared = {seed.name: seed for design in plan.designs for seed in design.compared.seeds}
    notes = [*(each.note for each in plan.unfit), *circular_notes(None, compared.values())]
    if not (settings.run.reports_only or settings.run.boilerplate_only):
        write_design_tables(plan, settings)
        notes += _compare(plan, stages, template, place, settings, run_id)
    results = result_stages(plan, stages, place, settings)
    page = collect_group(plan, stages, results, notes, settings)
    LOGGER.info("Report of the group: %s", write_group_page(root, page))
    write_descriptions(root)
    for note in notes:
        _tell(note)
    return EXIT_FAILED if any(note.level == "failed" for note in notes) else EXIT_OK


def _compare(
    plan: GroupPlan,
    stages: Mapping[Key, Stage],
    template: Template,
    place: Place,
    settings: Settings,
    run_id: str,
) -> list[Note]:
    """Fit the models that are not finished, then correct and list, and return what failed."""
    log_dir = str(Path(place.output_dir, naming.log_dir(None, run_id)))
    run = settings.run
    configure_nipype(run, run.work_dir, log_dir)
    workflow = init_group_wf(plan, stages, template, place, settings, log_dir)
    failures: list[Failure] = []
    if is_left := bool(workflow.list_node_names()):
        LOGGER.info("%d comparisons are planned.", len(plan.designs))
        failures += run_workflow(workflow, run)
    results = result_stages(plan, stages, place, settings)
    workflow = init_results_wf(plan, stages, results, place, settings, log_dir)
    if workflow.list_node_names():
        failures += run_workflow(workflow, run)
    elif not is_left:
        LOGGER.info(NOTHING_TO_DO)
    return [note_of(failure) for failure in failures]


def run_ica(settings: Settings) -> int:
    """Find networks in the denoised series of all participants, and write their page.

    Returns
    -------
    int
        The exit status: 0, or 1 when something failed.
    """
    template = locate_template(settings.anat.space, settings.anat.resolution)
    plan = plan_ica(settings)
    if settings.run.dry_run:
        sys.stdout.write(ica_plan_text(plan, settings) + "\n")
        return EXIT_OK
    run_id, run = new_run_id(), settings.run
    root = Path(settings.input.output_dir)
    write_dataset_description(root, settings.input.bids_dir, __version__)
    write_citation(*ica_facts(plan, settings))
    _save_settings(settings, naming.log_dir(None, run_id))
    place = place_of(settings)
    stages = ica_stages(plan, place, settings)
    notes = [note for design in plan.designs for note in design.notes]
    if not (run.reports_only or run.boilerplate_only):
        log_dir = str(root / naming.log_dir(None, run_id))
        configure_nipype(run, run.work_dir, log_dir)
        workflow = init_ica_wf(plan, stages, template, place, settings, log_dir)
        if workflow.list_node_names():
            notes += [note_of(failure) for failure in run_workflow(workflow, run)]
        else:
            LOGGER.info(NOTHING_TO_DO)
    page = collect_ica(plan, stages, notes, settings)
    LOGGER.info("Report of group ICA: %s", write_ica_page(root, page))
    write_descriptions(root)
    for note in notes:
        _tell(note)
    return EXIT_FAILED if any(note.level == "failed" for note in notes) else EXIT_OK
