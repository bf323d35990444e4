"""From the command line to a request for jobs: checked, with absolute paths, and with options."""

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rls_bids.cluster.jobs import Jobs
from rls_bids.engine.resources import parse_memory
from rls_bids.errors import UsageError
from rls_bids.paths import named_folders
from rls_bids.settings import DEFAULT_SPACE, SECTIONS, Settings, read_toml, to_toml
from rls_bids.settings.limits import FILE_MISSING

Parse = Callable[[Sequence[str]], Settings]
"""What turns arguments of the app into settings."""

BAD_TIME = "--time got {found!r}, but it is D-HH:MM:SS, HH:MM:SS, MM:SS, or minutes."
BAD_MEM = "--mem got {found!r}, but a job needs at least 1 MB."
BAD_NUMBER = "{flag} got {found}, but it must be {expected}."
BAD_NAME = "{flag} got {found!r}, but names hold no spaces, quotes or line breaks."
BAD_PATH = "{path} has {what} in its name, which {program} cannot take."
BAD_PATH_HINT = "Rename the folder, or make a symbolic link to it and use that."
OF_JOBS = "{flag} is decided by the job, not by an option of rls_bids."
OF_JOBS_HINT = "Use {ours} of rls_bids_slurm, before the `--`."
NO_CONTAINER_PLUGIN = "{flag} and --image exclude each other: no scheduler is within a container."

# Options of the app that the jobs set, and what stands for them here.
OURS = {
    "--n-cpus": "--cpus", "--nprocs": "--cpus", "--nthreads": "--cpus",
    "--mem": "--mem", "--mem-mb": "--mem",
    "-w": "--work-dir", "--work-dir": "--work-dir",
    "--by-session": "--by-session",
}  # fmt: skip
DROPPED = ("run.n_cpus", "run.mem_gb", "run.work_dir", "run.omp_nthreads")
_UNQUOTABLE = re.compile(r"[\"\\\n\t\r]")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})(/[\w./+-]*)?")


def parse_time(text: str) -> int:
    """Return seconds of a time limit.

    Examples
    --------
    >>> parse_time("90"), parse_time("1:30"), parse_time("2:00:00"), parse_time("1-12")
    (5400, 90, 7200, 129600)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d{1,2}))?(?::(\d{1,2}))?", text.strip())
    if match is None:
        raise UsageError(BAD_TIME.format(found=text))
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] is not None or match[4] is not None:
        seconds = ((days * 24 + first) * 60 + second) * 60 + third
    elif match[3] is not None:
        seconds = first * 60 + second
    else:
        seconds = first * 60
    if not seconds:
        raise UsageError(BAD_TIME.format(found=text))
    return seconds


def parse_mb(text: str) -> int:
    """Return MB (2²⁰ bytes, as schedulers count) of an amount of memory.

    Examples
    --------
    >>> parse_mb("4000"), parse_mb("4G"), parse_mb("0.5T")
    (4000, 4096, 524288)
    """
    match = re.search(r"[KMGT]", text, re.IGNORECASE)
    scale = {"K": 1e6 / 2**10, "M": 1e3, "G": 2**10, "T": 2**20 / 1e3}
    megabytes = parse_memory(text) * scale[match[0].upper() if match else "M"]
    if megabytes < 1:
        raise UsageError(BAD_MEM.format(found=text))
    return round(megabytes)


def jobs_asked(
    asked: argparse.Namespace, options: Sequence[str], parse: Parse
) -> tuple[Jobs, Settings]:
    """Check a request.

    Parameters
    ----------
    asked : argparse.Namespace
        What stands before ``--``.
    options : sequence of str
        Options of the app.
    parse : callable
        Turns arguments of the app into settings.

    Returns
    -------
    jobs : Jobs
    settings : Settings
        Of the app.

    Raises
    ------
    UsageError
        It cannot be met.
    """
    _check_options(options, has_image=bool(asked.image))
    _check_numbers(asked)
    app = [asked.bids_dir, asked.output_dir, "participant", *options]
    app += ["--n-cpus", str(asked.cpus), "--mem", str(asked.mem)]
    app += ["--by-session"] if asked.by_session else []
    if not is_variable(asked.work_dir):
        app += ["--work-dir", asked.work_dir]
    settings = parse(app)
    given = settings.input
    jobs = Jobs(
        scheduler=asked.scheduler,
        bids_dir=given.bids_dir,
        output_dir=given.output_dir,
        work_dir=asked.work_dir if is_variable(asked.work_dir) else settings.run.work_dir,
        command=own_command(),
        image=_image(asked.image) if asked.image else "",
        binds=tuple(p for p in dict.fromkeys(_paths(settings)) if p != given.bids_dir),
        env=tuple(_handed_on(settings)),
        setup=tuple(asked.setup),
        directives=tuple(asked.directive),
        account=asked.account,
        partition=asked.partition,
        time_s=asked.time,
        mem_mb=asked.mem,
        cpus=asked.cpus,
        group_time_s=asked.group_time or asked.time,
        group_mem_mb=asked.group_mem or asked.mem,
        max_running=asked.max_running,
        by_session=asked.by_session,
        has_group=not (asked.no_group or settings.run.anat_only),
        excluded=given.exclude_participant_labels,
    )
    _check_paths(jobs)
    return jobs, settings


def own_command() -> tuple[str, ...]:
    """Return what runs the app outside of a container: this very Python."""
    return (os.path.abspath(sys.executable), "-m", "rls_bids")  # noqa: PTH100 a venv is a link


def is_variable(path: str) -> bool:
    """Whether a path starts with a variable that only the job knows.

    Examples
    --------
    >>> is_variable("$SLURM_TMPDIR/scratch"), is_variable("/scratch")
    (True, False)
    """
    return bool(_VARIABLE.fullmatch(path))


def settings_text(settings: Settings, options: Sequence[str]) -> str:
    """Return the options of the app as TOML, without what each job finds out for itself.

    What is as by default is left out, so that an image of another version takes what it knows.
    """
    import tomli_w

    defaults = {
        f"{name}.{field.name}": field.default
        for name, section in SECTIONS.items()
        for field in dataclasses.fields(section)
    }
    keeps_threads = any(_flag(text) == "--omp-nthreads" for text in options)
    document: dict[str, object] = {}
    for name, value in read_toml(to_toml(settings)).items():
        if name in DROPPED and not (keeps_threads and name == "run.omp_nthreads"):
            continue
        if (tuple(value) if isinstance(value, list) else value) == defaults.get(name):
            continue
        section, _, key = name.rpartition(".")
        place = document.setdefault(section, {}) if section else document
        assert isinstance(place, dict)
        place[key] = value
    return tomli_w.dumps(document)


def _flag(text: str) -> str:
    return text.partition("=")[0].replace("_", "-") if text.startswith("-") else ""


def _check_options(options: Sequence[str], *, has_image: bool) -> None:
    for text in options:
        flag = _flag(text)
        if flag in OURS:
            raise UsageError(OF_JOBS.format(flag=flag), OF_JOBS_HINT.format(ours=OURS[flag]))
        if has_image and flag in ("--nipype-plugin-file", "--use-plugin"):
            raise UsageError(NO_CONTAINER_PLUGIN.format(flag=flag))


def _check_numbers(asked: argparse.Namespace) -> None:
    if asked.cpus < 1:
        raise UsageError(BAD_NUMBER.format(flag="--cpus", found=asked.cpus, expected="1 or more"))
    if asked.max_running < 0:
        expected = "0 (no limit) or more"
        found = asked.max_running
        raise UsageError(BAD_NUMBER.format(flag="--max-running", found=found, expected=expected))
    for flag, text in (("--account", asked.account), ("--partition", asked.partition)):
        if text and not re.fullmatch(r"[^\s\"'\\$`]+", text):
            raise UsageError(BAD_NAME.format(flag=flag, found=text))
    for flag, texts in (("--directive", asked.directive), ("--setup", asked.setup)):
        for text in texts:
            if "\n" in text:
                raise UsageError(BAD_NAME.format(flag=flag, found=text))


def _image(path: str) -> str:
    if not Path(path).exists():
        raise UsageError(FILE_MISSING.format(flag="--image", path=path))
    return str(Path(path).resolve())


def _paths(settings: Settings) -> Iterator[str]:
    """Yield what the app reads besides the data set."""
    given, measures = settings.input, settings.measures
    yield from named_folders(given.derivatives).values()
    for path in (given.bids_filter_file, measures.seeds_file, measures.network_maps):
        if path:
            yield path
    for text in (*measures.atlases,):
        if text.startswith("/"):
            # An atlas has its table beside it.
            yield str(Path(text).parent)
    if _template_folder(settings):
        yield _template_folder(settings)


def _template_folder(settings: Settings) -> str:
    """Return the folder of templates, where the container's own are not enough."""
    folder = os.environ.get("TEMPLATEFLOW_HOME", "")
    is_needed = settings.anat.space != DEFAULT_SPACE and Path(folder or "/").is_dir()
    return str(Path(folder).resolve()) if folder and is_needed else ""


def _handed_on(settings: Settings) -> Iterator[str]:
    folder = _template_folder(settings)
    if folder:
        yield f"TEMPLATEFLOW_HOME={folder}"


def _check_paths(jobs: Jobs) -> None:
    """Refuse names that job scripts or containers cannot hold."""
    places = (jobs.bids_dir, jobs.output_dir, jobs.work_dir, jobs.image, *jobs.binds)
    for path in places:
        if _UNQUOTABLE.search(path):
            what = "a quote, a backslash, a tab or a line break"
            message = BAD_PATH.format(path=repr(path), what=what, program="a job script")
            raise UsageError(message, BAD_PATH_HINT)
        if jobs.image and (":" in path or "," in path):
            message = BAD_PATH.format(path=path, what="a colon or a comma", program="apptainer")
            raise UsageError(message, BAD_PATH_HINT)
