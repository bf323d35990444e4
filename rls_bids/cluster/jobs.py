"""What is asked of a scheduler, and which tasks there are, as records and as files.

Everything lies in ``logs/jobs`` of the output directory::

    tasks.tsv        one row a task: index, participant_id, session_id
    jobs.toml        the request, for `status` and `resubmit`
    settings.toml    the options of rls_bids, with absolute paths
    participant.sh   one task of the array
    group.sh         the job after all tasks
    state/N.tsv      what task N did: job, host, start, end, status, signal
    log/             what the tasks and the group job printed
"""

import dataclasses
import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rls_bids.dataset.description import atomic_write
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.requests import check_root, requested_labels
from rls_bids.errors import InputDataError, UsageError
from rls_bids.paths import named_folders
from rls_bids.settings import InputSettings, Settings

NO_JOBS = "{path} has no jobs."
NO_JOBS_HINT = "Write them first: rls_bids_slurm write BIDS_DIR {path}."
BROKEN_JOBS = "{path} cannot be read ({reason})."
BROKEN_HINT = "Write the jobs again: rls_bids_slurm write BIDS_DIR OUTPUT_DIR."
NO_SESSION = "No participant has a session with {what}."
NO_SESSION_HINT = "Check --session-label and --task-id, or leave --by-session out."

FOLDER = "logs/jobs"
GROUP = "group"
COLUMNS = ("index", "participant_id", "session_id")
NONE = "n/a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of the array; ``session`` is ``None`` for all sessions of the participant."""

    index: int
    participant: str
    session: str | None

    @property
    def name(self) -> str:
        """Name of its folder and for people, like ``sub-01_ses-A``."""
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What was asked for: where, with what, under which limits.

    ``command`` runs the app where there is no ``image``; ``binds`` are paths that a container
    reads; ``setup`` are lines of shell before the app; ``directives`` go to the scheduler as they
    are. ``max_running`` of 0 is no limit, and texts that are empty are left to the scheduler.
    """

    scheduler: str
    bids_dir: str
    output_dir: str
    work_dir: str
    command: tuple[str, ...]
    image: str = ""
    binds: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    account: str = ""
    partition: str = ""
    time_s: int = 0
    mem_mb: int = 0
    cpus: int = 1
    group_time_s: int = 0
    group_mem_mb: int = 0
    max_running: int = 0
    by_session: bool = False
    has_group: bool = True
    excluded: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the scripts lie."""
        return Path(self.output_dir, FOLDER)

    @property
    def name(self) -> str:
        """Name of the array, short and the same for one output directory."""
        return "rls-" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def group_name(self) -> str:
        """Name of the group job."""
        return f"{self.name}-g"


def find_tasks(settings: Settings) -> tuple[Task, ...]:
    """Return one task a participant, or one a session where each is on its own.

    Only names of folders and files are looked at: what cannot be used is told by its task.

    Raises
    ------
    InputDataError
        The input is no data set, or has no participant.
    UsageError
        A label is unknown, or no session is left.
    """
    given = settings.input
    roots = [*named_folders(given.derivatives).values()] or [given.bids_dir]
    check_root(given.bids_dir, must_be_raw=not given.derivatives)
    labels = requested_labels(roots, given)
    pairs = [
        (label, session)
        for label in labels
        for session in (_sessions(roots, label, settings) if given.by_session else (None,))
    ]
    if not pairs:
        what = "a T1w image" if settings.run.anat_only else f"task-{'|'.join(given.task_ids)}"
        raise UsageError(NO_SESSION.format(what=what), NO_SESSION_HINT)
    return tuple(
        Task(index=index, participant=label, session=session)
        for index, (label, session) in enumerate(pairs, start=1)
    )


def _sessions(roots: Sequence[str], label: str, settings: Settings) -> tuple[str | None, ...]:
    """Return the sessions of a participant with an image of the kind that is wanted."""
    given = settings.input
    found: set[str | None] = set()
    for root in roots:
        own = Path(root, f"sub-{label}")
        for place in (own, *sorted(own.glob("ses-*"))):
            session = None if place == own else place.name.removeprefix("ses-")
            is_wanted = session in given.session_labels or not given.session_labels
            if is_wanted and any(_images(place, given, anat_only=settings.run.anat_only)):
                found.add(session)
    return tuple(sorted(found, key=lambda one: natural_key(one or "")))


def _images(place: Path, given: InputSettings, *, anat_only: bool) -> Iterator[Path]:
    if anat_only:
        yield from place.glob("anat/*_T1w.nii*")
        return
    for task in given.task_ids:
        yield from place.glob(f"func/*_task-{task}_*bold*.nii*")


def write_tasks(folder: Path, tasks: Sequence[Task]) -> None:
    """Write the table of tasks."""
    rows = [(str(task.index), f"sub-{task.participant}", _session_id(task)) for task in tasks]
    lines = ["\t".join(row) for row in (COLUMNS, *rows)]
    atomic_write(folder / "tasks.tsv", "\n".join(lines) + "\n")


def _session_id(task: Task) -> str:
    return f"ses-{task.session}" if task.session else NONE


def write_jobs(jobs: Jobs) -> None:
    """Write the request."""
    import tomli_w

    atomic_write(jobs.folder / "jobs.toml", tomli_w.dumps(dataclasses.asdict(jobs)))


def read_jobs(output_dir: str | Path) -> tuple[Jobs, tuple[Task, ...]]:
    """Read what was asked for, and the tasks.

    Raises
    ------
    InputDataError
        There is nothing, or it is broken.
    """
    root = Path(output_dir).resolve()
    folder = root / FOLDER
    if not (folder / "jobs.toml").is_file():
        raise InputDataError(NO_JOBS.format(path=root), NO_JOBS_HINT.format(path=root))
    try:
        values = tomllib.loads((folder / "jobs.toml").read_text(encoding="utf-8"))
        given: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in values.items()
        }
        # The folder may have been moved, or be called otherwise on this machine.
        jobs = Jobs(**(given | {"output_dir": str(root)}))
        lines = (folder / "tasks.tsv").read_text(encoding="utf-8").splitlines()[1:]
        tasks = tuple(_task(*line.split("\t")) for line in lines)
    except (OSError, TypeError, ValueError) as error:
        message = BROKEN_JOBS.format(path=folder, reason=" ".join(str(error).split()))
        raise InputDataError(message, BROKEN_HINT) from error
    return jobs, tasks


def _task(index: str, participant: str, session: str) -> Task:
    return Task(
        index=int(index),
        participant=participant.removeprefix("sub-"),
        session=None if session == NONE else session.removeprefix("ses-"),
    )
