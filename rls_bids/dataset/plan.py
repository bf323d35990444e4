"""What a call would do, in words: the texts of ``--dry-run``."""

from collections.abc import Sequence
from pathlib import Path

from rls_bids.dataset.group import GroupPlan
from rls_bids.records import Anatomy, BoldRun, Note, Participant, PreparedRun
from rls_bids.resources.grids import resolution_words
from rls_bids.settings import Settings

FIELD_MAPS = {
    "phasediff": "field map (phase difference)",
    "two_phases": "field map (two phases)",
    "fieldmap": "field map (measured)",
    "opposed": "field map (opposed EPI)",
}


def plan_text(participants: Sequence[Participant], settings: Settings) -> str:
    """Return what would be done with which files, and what would be skipped and why.

    Parameters
    ----------
    participants : sequence of Participant
        What :func:`~rls_bids.dataset.query.index_participants` found.
    settings : Settings
        The request, for the space and the strategies.
    """
    root = Path(settings.input.bids_dir)
    lines = [
        f"Input   {root}",
        f"Output  {settings.input.output_dir}",
        *(f"From    {text}" for text in settings.input.derivatives),
        f"Space   {_space_words(settings)}",
        f"Denoise {', '.join(settings.denoise.strategies)}",
    ]
    for participant in participants:
        lines += ["", f"sub-{participant.label}"]
        rows = [
            ("T1w", path, "")
            for anatomy in participant.anatomies
            for path in (anatomy.t1w, *(anatomy.others if isinstance(anatomy, Anatomy) else ()))
            if path
        ]
        for session in participant.sessions:
            rows += [("BOLD", run.bold, _run_words(run)) for run in session.runs]
        lines += [f"  use   {kind:<4} {_short(path, root)}{words}" for kind, path, words in rows]
        if not participant.sessions:
            lines.append("  nothing to do for connectivity")
        lines += [_note_words(note, root) for note in participant.notes]
    n_runs = sum(len(session.runs) for one in participants for session in one.sessions)
    n_able = sum(bool(one.sessions) for one in participants)
    lines += ["", f"{n_able} of {len(participants)} participants, {n_runs} BOLD runs."]
    return "\n".join(lines)


def _space_words(settings: Settings) -> str:
    also = "; T1w, too" if settings.bold.in_t1w_space else ""
    return f"{settings.anat.space}, {resolution_words(settings.anat.resolution)}{also}"


def _run_words(run: BoldRun | PreparedRun) -> str:
    if isinstance(run, PreparedRun):
        kept = run.n_volumes - run.n_dropped
        return f"  ({kept} volumes, TR {run.repetition_time:g} s, by {run.generator})"
    timing = "slice timing" if run.slice_timing else "no slice timing"
    timing += ", single-band reference" if run.sbref else ""
    timing += f", {FIELD_MAPS[run.fieldmap.kind]}" if run.fieldmap else ", no field map"
    start = f", the first {run.dummy_scans} dropped" if run.dummy_scans else ""
    echoes = f", {len(run.echoes)} echoes" if run.echoes else ""
    return f"  ({run.n_volumes} volumes{start}{echoes}, TR {run.repetition_time:g} s, {timing})"


def _short(path: str, root: Path) -> Path:
    """Return a path as seen from the input data set, in full when it lies elsewhere."""
    place = Path(path)
    return place.relative_to(root) if place.is_relative_to(root) else place


def _note_words(note: Note, root: Path) -> str:
    word = {"info": "note", "warning": "warn", "skipped": "skip", "failed": "fail"}[note.level]
    return f"  {word:<5} {note.message.replace(f'{root}/', '')} {note.hint}".rstrip()


def group_plan_text(plan: GroupPlan, settings: Settings) -> str:
    """Return what would be compared, and who would be left out and why."""
    lines = [
        f"Input   {settings.input.bids_dir}",
        f"Output  {settings.input.output_dir}",
        f"Model   {plan.model}, columns: {', '.join(plan.designs[0].result.design.columns)}",
        f"Space   {settings.anat.space}, {resolution_words(settings.anat.resolution)}",
    ]
    told: tuple[tuple[str, str], ...] | None = None
    for design in plan.designs:
        result = design.result
        counts = ", ".join(f"{name} {n}" for name, n in result.counts.items())
        counts = counts or f"n = {len(result.design)}"
        seed = design.compared.name
        lines.append(f"  compare {seed:<16} {result.title} ({counts}), {design.strategy}")
        if result.dropped != told:
            lines += [f"    out   sub-{label}: {reason}" for label, reason in result.dropped]
        told = result.dropped
    lines += [f"  compare {value.key[1]}, {value.key[2]}, {value.key[0]}" for value in plan.values]
    for own in plan.towards:
        for one in own.maps:
            words = zip(("patients", "controls", "untreated"), one.counts, strict=True)
            counts = ", ".join(f"{arm} {n}" for arm, n in words)
            name = one.compared.name
            lines.append(f"  compare {name:<16} towards controls ({counts}), {own.strategy}")
            lines += [f"    out   sub-{label}: {reason}" for label, reason in one.dropped]
    lines += [f"  fail    {each.note.message} {each.note.hint}".rstrip() for each in plan.unfit]
    lines.append(f"{len(plan.designs)} of {len(plan.designs) + len(plan.unfit)} comparisons.")
    return "\n".join(lines)
