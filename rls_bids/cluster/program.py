"""``rls_bids_slurm``: write, submit and watch the jobs of a data set."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Never

from rls_bids import __version__
from rls_bids.cluster import scheduler
from rls_bids.cluster.jobs import GROUP, Jobs, Task, find_tasks, read_jobs
from rls_bids.cluster.requests import Parse, jobs_asked, parse_mb, parse_time, settings_text
from rls_bids.cluster.scripts import SCHEDULERS, write_scripts
from rls_bids.cluster.status import Row, look, rows_of, summary, table
from rls_bids.errors import EXIT_FAILED, EXIT_OK, RlsBidsError, UsageError

PROGRAM = "rls_bids_slurm"
SEE_HELP = f"See {PROGRAM} --help."
STILL_THERE = "{n} tasks of earlier jobs in {path} wait or run."
STILL_THERE_HINT = "Wait for them, or stop them: scancel --name={name}."
EPILOG = "Times are D-HH:MM:SS, HH:MM:SS, MM:SS or minutes; memory is MB, or has K, M, G or T."
NO_OPTIONS = "Only write takes options of rls_bids; found {found}."
NOTHING_TO_DO = "Nothing to submit: no task failed or is absent."
WRITTEN = "{n} tasks in {folder}"
BY_HAND = "Submit them:"
WATCH = "Watch them: {program} status {path}"

AGAIN = ("failed", "absent")
Options = argparse.Namespace


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        """Raise instead of ending the process."""
        sentence = message[0].upper() + message[1:].rstrip(".") + "."
        raise UsageError(sentence, SEE_HELP)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of what stands before ``--``."""
    parser = _Parser(
        prog=PROGRAM,
        description="One job a participant (or session) on a cluster, then the group level.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_write(commands.add_parser("write", allow_abbrev=False, help="write the scripts"))
    status = commands.add_parser("status", allow_abbrev=False, help="who is done, who failed, why")
    status.add_argument("output_dir", metavar="OUTPUT_DIR")
    again = commands.add_parser(
        "resubmit", allow_abbrev=False, help="submit what failed or never started"
    )
    again.add_argument("output_dir", metavar="OUTPUT_DIR")
    again.add_argument("--time", type=parse_time, default=0, help="another time limit (the same)")
    again.add_argument("--mem", type=parse_mb, default=0, help="another memory limit (the same)")
    again.add_argument("--dry-run", action="store_true", help="print the commands only")
    return parser


def _add_write(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{PROGRAM} write BIDS_DIR OUTPUT_DIR [options] [-- any options of rls_bids]"
    add = parser.add_argument
    add("bids_dir", metavar="BIDS_DIR")
    add("output_dir", metavar="OUTPUT_DIR")
    add("--image", metavar="X.sif", help="Apptainer image (without: the rls_bids that runs here)")
    add(
        "--scheduler",
        choices=SCHEDULERS,
        default="slurm",
        help="slurm; the others are written as templates that nobody has tried (slurm)",
    )
    add("--account", default="", help="account or project that pays")
    add("--partition", "--queue", default="", help="partition or queue")
    add("--time", type=parse_time, default="6:00:00", help="limit of one task (6:00:00)")
    add("--mem", type=parse_mb, default="8G", help="memory of one task (8G)")
    add("--cpus", type=int, default=2, help="CPUs of one task (2)")
    add("--group-time", type=parse_time, default=0, help="limit of the group job (that of a task)")
    add("--group-mem", type=parse_mb, default=0, help="memory of the group job (that of a task)")
    add("--no-group", action="store_true", help="no group job")
    add("--max-running", type=int, default=0, metavar="N", help="tasks at once (no limit)")
    add(
        "--by-session",
        action="store_true",
        help="one task a session, with that session's T1w images only and a page of its own",
    )
    add(
        "-w",
        "--work-dir",
        default="work",
        help="scratch; each task has a folder in it; may be a variable of the job, like "
        "'$SLURM_TMPDIR' (work)",
    )
    add(
        "--setup",
        action="append",
        default=[],
        metavar="LINE",
        help="line of shell before the app, like 'module load apptainer' (none; repeat it)",
    )
    add(
        "--directive",
        action="append",
        default=[],
        metavar="TEXT",
        help="more for the scheduler, like '--qos=long' (none; repeat it)",
    )
    add("--submit", action="store_true", help="submit at once")  # fmt: skip


def main(argv: Sequence[str] | None, parse: Parse) -> int:
    """Run the program.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program (default: those of this process).
    parse : callable
        Turns the app's arguments into settings.

    Returns
    -------
    int
        The exit status; that of ``status`` is 1 when a task failed.
    """
    commands: dict[str, Callable[[Options, Sequence[str], Parse], int]]
    commands = {"write": _write, "status": _status, "resubmit": _resubmit}
    try:
        given = list(sys.argv[1:] if argv is None else argv)
        own, options = _split(given)
        asked = make_parser().parse_args(own)
        return commands[asked.command](asked, options, parse)
    except SystemExit as stop:
        return int(stop.code or EXIT_OK)
    except RlsBidsError as error:
        sys.stderr.write(f"{PROGRAM}: error: {error}\n")
        return error.exit_status


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the arguments at the first ``--``."""
    place = argv.index("--") if "--" in argv else len(argv)
    return argv[:place], argv[place + 1 :]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _write(asked: Options, options: Sequence[str], parse: Parse) -> int:
    jobs, settings = jobs_asked(asked, options, parse)
    tasks = find_tasks(settings)
    _check_nobody_runs(jobs)
    if asked.submit:
        scheduler.check_can_submit(jobs, len(tasks), [task.index for task in tasks])
    write_scripts(jobs, tasks, settings_text(settings, options))
    _say(WRITTEN.format(n=len(tasks), folder=jobs.folder))
    every = [task.index for task in tasks]
    if asked.submit:
        _submit(jobs, every)
    else:
        _say(BY_HAND)
        for line in scheduler.commands_by_hand(jobs, len(tasks), every):
            _say(f"  {line}")
    _say(WATCH.format(program=PROGRAM, path=jobs.output_dir))
    return EXIT_OK


def _check_nobody_runs(jobs: Jobs) -> None:
    """Refuse to replace the table of tasks that wait or run."""
    if not (jobs.folder / "jobs.toml").is_file():
        return
    n_alive = len(scheduler.queue(jobs) or {})
    if n_alive:
        raise UsageError(
            STILL_THERE.format(n=n_alive, path=jobs.folder),
            STILL_THERE_HINT.format(name=f"{jobs.name},{jobs.group_name}"),
        )


def _submit(jobs: Jobs, indices: Sequence[int], extra: Sequence[str] = ()) -> None:
    """Submit tasks, and the group job behind them and behind those that still wait or run."""
    seen = scheduler.queue(jobs) or {}
    job = scheduler.submit(scheduler.submit_command(jobs, indices, extra))
    _say(f"Submitted tasks {scheduler.array_text(indices)} as job {job}.")
    if jobs.has_group:
        scheduler.cancel_group(seen)
        others = {one.job for key, one in seen.items() if key != GROUP}
        group = scheduler.submit(scheduler.group_command(jobs, [job, *sorted(others - {job})]))
        _say(f"Submitted the group level as job {group}, when all tasks have ended.")


def _rows(output_dir: str) -> tuple[Jobs, tuple[Task, ...], tuple[Row, ...]]:
    jobs, tasks = read_jobs(output_dir)
    return jobs, tasks, rows_of(jobs, tasks, look(jobs))


def _no_options(options: Sequence[str]) -> None:
    if options:
        raise UsageError(NO_OPTIONS.format(found=" ".join(options)))


def _status(asked: Options, options: Sequence[str], parse: Parse) -> int:  # noqa: ARG001 as all
    _no_options(options)
    _, _, rows = _rows(asked.output_dir)
    sys.stdout.write(table(rows))
    sys.stderr.write(summary(rows) + "\n")
    return EXIT_FAILED if any(row.state == "failed" for row in rows) else EXIT_OK


def _resubmit(asked: Options, options: Sequence[str], parse: Parse) -> int:  # noqa: ARG001 as all
    _no_options(options)
    jobs, tasks, rows = _rows(asked.output_dir)
    left = [row for row in rows if row.key != GROUP and row.state in AGAIN]
    again = [int(row.key) for row in left]
    if not again:
        _say(NOTHING_TO_DO)
        return EXIT_OK
    extra = [f"--time={asked.time // 60 or 1}"] if asked.time else []
    extra += [f"--mem={asked.mem}M"] if asked.mem else []
    if asked.dry_run:
        for line in scheduler.commands_by_hand(jobs, len(tasks), again, extra):
            _say(line)
        return EXIT_OK
    scheduler.check_can_submit(jobs, len(tasks), again)
    told = [jobs.folder / "state" / f"{key}.tsv" for key in (*again, GROUP)]
    before = {path: path.read_bytes() for path in told if path.is_file()}
    # Taken away beforehand: a job that starts at once writes its own.
    for path in before:
        path.unlink()
    try:
        _submit(replace(jobs, time_s=asked.time or jobs.time_s), again, extra)
    except RlsBidsError:
        for path, content in before.items():
            path.write_bytes(content)
        raise
    return EXIT_OK
