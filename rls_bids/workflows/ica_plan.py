"""Whose denoised series a group ICA takes, and who is left out and why."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.naming import Parsed
from rls_bids.dataset.processing import check_processing
from rls_bids.dataset.rows import MOVED
from rls_bids.dataset.series import (
    DenoisedSeries,
    fits_strategy,
    fitting,
    read_series,
    series_on_disk,
)
from rls_bids.dataset.tables import read_participants
from rls_bids.errors import InputDataError, UsageError
from rls_bids.interfaces.denoise import refusal, usable_runs
from rls_bids.records import GroupInput, Note, Seed
from rls_bids.resources.grids import resolution_words
from rls_bids.resources.networkmaps import load_network_maps
from rls_bids.settings import Settings

LEAST_PARTICIPANTS = 2

NO_SERIES = "{path} holds no denoised series of {wanted}, in which group ICA finds networks."
NO_SERIES_HINT = "Run `rls_bids BIDS_DIR OUTPUT_DIR participant --level full` first."
OTHERS_HINT = "There are: {found}."
TOO_FEW = "Group ICA of {wanted} has {n} participants, {least} are needed. Left out: {out}."
MANY_TASKS = "The denoised series are of the tasks {tasks}; group ICA takes one."
MANY_TASKS_HINT = "Choose with --task-id."

EXCLUDED = "left out by --exclude-participant-label"
NOT_PROCESSED = "no results of the participant level"
NOT_DENOISED = "no results with the strategy {strategy}"
NOT_WRITTEN = "its denoised series were not written: run the participant level with --level full"
OTHER_SERIES = "its denoised series are of another task, session, run or grid"
OUTDATED = "its denoised series are older than its other results: run it again with --level full"
TOO_LITTLE = (
    "{minutes:.1f} minutes and {df:.0f} degrees of freedom were left (--min-time, --min-df)"
)
TOO_SHORT = "a run has {n} volumes, fewer than the {least} components"
LEFT_OUT = "{strategy}: left out of group ICA: {reason}."


@dataclass(frozen=True, slots=True, kw_only=True)
class IcaDesign:
    """The group ICA of one denoising strategy.

    ``size_mm`` is the edge of the voxels; ``left_out`` are (participant, reason).
    ``fingerprint`` changes with any series and with what is asked for.
    """

    strategy: str
    task: str
    series: tuple[DenoisedSeries, ...]
    left_out: tuple[tuple[str, str], ...]
    size_mm: str
    fingerprint: str

    @property
    def participants(self) -> tuple[str, ...]:
        """Labels of who is in it, in order."""
        return tuple(dict.fromkeys(one.participant for one in self.series))

    @property
    def notes(self) -> Iterator[Note]:
        """Who is left out, for the page and the log."""
        for label, reason in self.left_out:
            message = LEFT_OUT.format(strategy=self.strategy, reason=reason)
            yield Note(participant=label, level="warning", message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class IcaPlan:
    """All decompositions of one call, and the templates that the user gave."""

    n_components: int
    designs: tuple[IcaDesign, ...]
    templates: tuple[Seed, ...]


def plan_ica(settings: Settings) -> IcaPlan:
    """Find the denoised series of every strategy.

    Raises
    ------
    UsageError
        Participants were processed differently, there are several tasks, or the templates cannot
        be used.
    InputDataError
        There are no series, or of too few participants.
    """
    given = settings.measures.network_maps
    templates = load_network_maps(given) if given else ()
    designs = tuple(
        _design(strategy, settings, templates) for strategy in settings.denoise.strategies
    )
    return IcaPlan(
        n_components=settings.measures.n_components, designs=designs, templates=templates
    )


def _design(strategy: str, settings: Settings, templates: Sequence[Seed]) -> IcaDesign:
    chosen, root = settings.input, settings.input.output_dir
    there = series_on_disk(root)
    grid = (settings.anat.space, settings.anat.resolution)
    found = fitting(there, chosen, strategy, grid)
    wanted = _wanted(strategy, settings)
    if not found:
        others = sorted({_words(dict(one.entities)) for one in there})
        hint = OTHERS_HINT.format(found="; ".join(others)) if others else ""
        message = NO_SERIES.format(path=root, wanted=wanted)
        raise InputDataError(message, f"{NO_SERIES_HINT} {hint}".rstrip())
    tasks = sorted({dict(one.entities)["task"] for one in found})
    if len(tasks) > 1:
        raise UsageError(MANY_TASKS.format(tasks=", ".join(tasks)), MANY_TASKS_HINT)
    read = [read_series(root, one, strategy) for one in found]
    series, reasons = _selected(read, strategy, settings)
    known = {one.participant for one in read}
    reasons |= {
        label: _why_none(label, there, strategy, settings)
        for label in _requested(settings)
        if label not in known
    }
    left_out = tuple((label, reasons[label]) for label in sorted(reasons, key=natural_key))
    n = len({one.participant for one in series})
    if n < LEAST_PARTICIPANTS:
        out = "; ".join(f"sub-{label}: {reason}" for label, reason in left_out) or "nobody"
        message = TOO_FEW.format(wanted=wanted, n=n, least=LEAST_PARTICIPANTS, out=out)
        raise InputDataError(message)
    check_processing(_inputs(series))
    return IcaDesign(
        strategy=strategy,
        task=tasks[0],
        series=tuple(series),
        left_out=left_out,
        size_mm=_inputs(series)[0].size_mm,
        fingerprint=fingerprint(
            series=[(one.path.removeprefix(root), one.fingerprint) for one in series],
            n_components=settings.measures.n_components,
            smoothing=settings.denoise.smoothing_fwhm_mm,
            random_seed=settings.run.random_seed,
            templates=[asdict(each) | {"mask": ""} for each in templates],
        ),
    )


def _wanted(strategy: str, settings: Settings) -> str:
    tasks = "|".join(settings.input.task_ids) or "any"
    space = f"space-{settings.anat.space} res-{settings.anat.resolution}"
    return f"task-{tasks} {space} denoise-{naming.camel_label(strategy)}"


def _words(entities: dict[str, str]) -> str:
    names = ("task", "space", "res", "denoise")
    return " ".join(f"{name}-{entities[name]}" for name in names if name in entities)


def _selected(
    found: Sequence[DenoisedSeries], strategy: str, settings: Settings
) -> tuple[list[DenoisedSeries], dict[str, str]]:
    """Return the usable series, and why participants have none."""
    limits, least = settings.denoise, settings.measures.n_components
    sessions: dict[tuple[str, str | None], list[DenoisedSeries]] = {}
    for one in found:
        sessions.setdefault((one.participant, one.session), []).append(one)
    kept, reasons = [], {}
    for (label, _), runs in sessions.items():
        statuses = [one.status for one in runs]
        usable = [runs[index] for index in usable_runs(statuses, limits.min_time_s)]
        if not all(one.is_current for one in runs):
            reasons[label] = OUTDATED
            continue
        if refusal(
            statuses,
            who=label,
            strategy=strategy,
            min_time_s=limits.min_time_s,
            min_df=limits.min_df,
        ):
            minutes = sum(float(status["MinutesKept"]) for status in statuses)
            df = sum(float(status["ResidualDegreesOfFreedom"]) for status in statuses)
            reasons[label] = TOO_LITTLE.format(minutes=minutes, df=df)
            continue
        short = [n for one in usable if (n := int(one.status["NumberOfVolumesKept"])) < least]
        if short:
            reasons[label] = TOO_SHORT.format(n=min(short), least=least)
        elif reason := _moved(usable, settings.group.max_mean_fd_mm):
            reasons[label] = reason
        else:
            kept += usable
    inside = {one.participant for one in kept}
    return kept, {label: why for label, why in reasons.items() if label not in inside}


def _moved(runs: Sequence[DenoisedSeries], limit: float | None) -> str:
    """Say that a session has too much motion; empty where it has not."""
    minutes = [float(one.status["MinutesKept"]) for one in runs]
    moved = [float(one.status["MeanFramewiseDisplacement"]) for one in runs]
    mean = sum(m * fd for m, fd in zip(minutes, moved, strict=True)) / sum(minutes)
    return "" if limit is None or mean <= limit else MOVED.format(found=mean, limit=limit)


def _inputs(series: Sequence[DenoisedSeries]) -> tuple[GroupInput, ...]:
    """Return what tells whether participants were processed alike: one a way and participant."""
    import json

    ways = {(one.participant, one.processing): one for one in series}
    return tuple(
        GroupInput(
            participant=one.participant,
            session=one.session,
            path=one.path,
            mean_fd_mm=float(one.status["MeanFramewiseDisplacement"]),
            minutes_kept=float(one.status["MinutesKept"]),
            degrees_of_freedom=int(one.status["ResidualDegreesOfFreedom"]),
            size_mm=str(json.loads(one.processing)["Resolution"]),
            processing=one.processing,
        )
        for one in ways.values()
    )


def _requested(settings: Settings) -> list[str]:
    """Return who could be in it: the labels asked for, or all of the table and the results."""
    chosen = settings.input
    if chosen.participant_labels:
        return list(chosen.participant_labels)
    folders = (path for path in Path(chosen.output_dir).glob("sub-*") if path.is_dir())
    labels = [path.name.removeprefix("sub-") for path in folders]
    if Path(chosen.bids_dir, "participants.tsv").is_file():
        labels += list(read_participants(chosen.bids_dir).index)
    return list(dict.fromkeys(labels))


def _why_none(label: str, there: Sequence[Parsed], strategy: str, settings: Settings) -> str:
    """Return why a participant has no series."""
    if label in settings.input.exclude_participant_labels:
        return EXCLUDED
    folder = Path(settings.input.output_dir, f"sub-{label}")
    if not folder.is_dir():
        return NOT_PROCESSED
    pattern = f"func/*_denoise-{naming.camel_label(strategy)}_design.json"
    if not list(folder.rglob(pattern)):
        return NOT_DENOISED.format(strategy=strategy)
    return OTHER_SERIES if fits_strategy(there, label, strategy) else NOT_WRITTEN


def ica_plan_text(plan: IcaPlan, settings: Settings) -> str:
    """Return what would be decomposed, and who would be left out and why."""
    measures = settings.measures
    lines = [
        f"Input   {settings.input.bids_dir}",
        f"Output  {settings.input.output_dir}",
        f"Space   {settings.anat.space}, {resolution_words(settings.anat.resolution)}",
        f"Match   {measures.network_maps or 'templates of our own'}",
    ]
    for design in plan.designs:
        lines.append(
            f"  ica     {plan.n_components} components, {len(design.participants)} participants, "
            f"{len(design.series)} runs, task {design.task}, {design.strategy}"
        )
        lines += [f"    out   sub-{label}: {reason}" for label, reason in design.left_out]
    return "\n".join(lines)
