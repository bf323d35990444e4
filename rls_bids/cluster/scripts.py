"""Job scripts from templates, for every scheduler."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rls_bids import __version__
from rls_bids.cluster.jobs import Jobs, Task, write_jobs, write_tasks
from rls_bids.dataset.description import atomic_write
from rls_bids.engine.environment import make_folder
from rls_bids.engine.resources import ALLOCATION

if TYPE_CHECKING:
    from jinja2 import Environment

VARIABLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "slurm": {"index": "SLURM_ARRAY_TASK_ID", "job": "SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID"},
        "lsf": {"index": "LSB_JOBINDEX", "job": "LSB_JOBID:-"},
        "sge": {"index": "SGE_TASK_ID", "job": "JOB_ID:-"},
        "pbs": {"index": "PBS_ARRAY_INDEX", "job": "PBS_JOBID:-"},
    }
)
"""Environment variables that tell a job which one it is (an array has one id for all tasks)."""

SCHEDULERS = tuple(VARIABLES)
TEMPLATES = ("participant.sh", "group.sh")


def write_scripts(jobs: Jobs, tasks: Sequence[Task], settings: str) -> tuple[Path, ...]:
    """Write the request, the table of tasks, the options and the scripts.

    Parameters
    ----------
    jobs : Jobs
    tasks : sequence of Task
    settings : str
        The options of the app, as TOML.

    Returns
    -------
    tuple of Path
        The scripts: that of the array, and that of the group job where it is wanted.

    Raises
    ------
    CannotWriteError
        If the output directory cannot be written.
    """
    for name in ("log", "state"):
        make_folder(jobs.folder / name, "folder of jobs")
    for old in (jobs.folder / "state").glob("*.tsv"):
        old.unlink(missing_ok=True)
    write_tasks(jobs.folder, tasks)
    write_jobs(jobs)
    atomic_write(jobs.folder / "settings.toml", settings)
    scripts = [_write(jobs, "participant.sh", len(tasks))]
    if jobs.has_group:
        scripts.append(_write(jobs, "group.sh", 0))
    return tuple(scripts)


def _write(jobs: Jobs, name: str, n_tasks: int) -> Path:
    path = jobs.folder / name
    atomic_write(path, render(jobs, name, n_tasks))
    path.chmod(0o755)
    return path


def render(jobs: Jobs, name: str, n_tasks: int) -> str:
    """Return the text of a script; without tasks it is that of the group job."""
    text: str = (
        _environment()
        .get_template(f"{name}.jinja")
        .render(
            jobs=jobs,
            version=__version__,
            scheduler=jobs.scheduler,
            variables=VARIABLES[jobs.scheduler],
            allocation=ALLOCATION,
            job_name=jobs.name if n_tasks else jobs.group_name,
            n_tasks=n_tasks,
            log=str(jobs.folder / "log"),
            mem_mb=jobs.mem_mb if n_tasks else jobs.group_mem_mb,
            time_s=jobs.time_s if n_tasks else jobs.group_time_s,
            work_is_variable=jobs.work_dir.startswith("$"),
        )
    )
    return text


def clock(seconds: int, has_days: bool = True) -> str:
    """Return a time as schedulers read it.

    Examples
    --------
    >>> clock(93784), clock(93784, False), clock(60)
    ('1-02:03:04', '26:03:04', '00:01:00')
    """
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24) if has_days else (0, hours)
    text = f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"{days}-{text}" if days else text


def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rls_bids.cluster"),
        autoescape=False,  # shell, quoted by the filter q
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["q"] = lambda value: shlex.quote(str(value))
    environment.filters["qq"] = lambda value: f'"{value}"'
    environment.filters["clock"] = clock
    return environment
