"""Talking to a scheduler: commands that submit, and what Slurm says of jobs."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rls_bids.cluster.jobs import Jobs
from rls_bids.errors import EXIT_FAILED, RlsBidsError, UsageError

NO_SLURM = "{program} is not on the PATH of this machine."
NO_SLURM_HINT = "Go to a login node of the cluster, or load Slurm's module."
REFUSED = "{program} refused the job ({reason})."
REFUSED_HINT = (
    "Ask the cluster's documentation for the right {flags} and for the longest array "
    "(MaxArraySize; --participant-label after `--` makes it shorter), and write the jobs again."
)
ONLY_SLURM = "Jobs are submitted to Slurm only, and these are for {scheduler}."
ONLY_SLURM_HINT = "Submit by hand: {commands}"

TIMEOUT_S = 60
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "RESIZING")
WAITING = ("PENDING", "REQUEUED")


class SubmitError(RlsBidsError):
    """The scheduler did not take a job."""

    exit_status = EXIT_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a scheduler says of one job; ``reason`` tells why it waits."""

    job: str
    state: str
    reason: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ALIVE


def array_text(indices: Sequence[int]) -> str:
    """Return indices as schedulers write them.

    Examples
    --------
    >>> array_text([1, 2, 3, 7, 9, 10])
    '1-3,7,9-10'
    """
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(f"{run[0]}-{run[-1]}" if run[1:] else str(run[0]) for run in runs)


def submit_command(
    jobs: Jobs, indices: Sequence[int], extra: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the command that submits these tasks to Slurm."""
    limit = f"%{jobs.max_running}" if jobs.max_running else ""
    array = f"--array={array_text(indices)}{limit}"
    return ("sbatch", "--parsable", array, *extra, str(jobs.folder / "participant.sh"))


def group_command(jobs: Jobs, after: Sequence[str]) -> tuple[str, ...]:
    """Return the command that submits the group job to Slurm, to run when all of these ended."""
    dependency = f"--dependency=afterany:{':'.join(after)}"
    return ("sbatch", "--parsable", dependency, str(jobs.folder / "group.sh"))


def commands_by_hand(
    jobs: Jobs, n_tasks: int, indices: Sequence[int], extra: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the lines of shell that submit these of ``n_tasks`` tasks, and the group job."""
    script = shlex.quote(str(jobs.folder / "participant.sh"))
    group = shlex.quote(str(jobs.folder / "group.sh"))
    array, is_all = array_text(indices), len(indices) == n_tasks
    pieces = array.split(",")
    flags = "".join(f"{text} " for text in (*([] if is_all else [f"--array={array}"]), *extra))
    made: dict[str, tuple[list[str], str]] = {
        "slurm": (
            [f"job=$(sbatch --parsable {flags}{script})"],
            f"sbatch --dependency=afterany:$job {group}",
        ),
        "lsf": (
            [f"bsub < {script}" if is_all else f'bsub -J "{jobs.name}[{array}]" < {script}'],
            f'bsub -w "ended({jobs.name})" < {group}',
        ),
        # SGE and PBS take one range a call.
        "sge": (
            [f"qsub {script}"] if is_all else [f"qsub -t {one} {script}" for one in pieces],
            f"qsub -hold_jid {jobs.name} {group}",
        ),
        "pbs": (
            [f"job1=$(qsub {script})"]
            if is_all
            else [f"job{i}=$({_pbs(one, script)})" for i, one in enumerate(pieces, start=1)],
            "qsub -W depend=afterany:"
            + ":".join(f"$job{i}" for i in range(1, 2 if is_all else len(pieces) + 1))
            + f" {group}",
        ),
    }
    lines, last = made[jobs.scheduler]
    return (*lines, last) if jobs.has_group else tuple(lines)


def _pbs(piece: str, script: str) -> str:
    """Return the command for a range, or for one task, which PBS does not take as an array."""
    if "-" in piece:
        return f"qsub -J {piece} {script}"
    return f"qsub -J {piece}-{int(piece) + 1}:2 {script}"


def submit(command: Sequence[str]) -> str:
    """Submit a job and return its id.

    Raises
    ------
    UsageError
        The program is not there.
    SubmitError
        It refused.
    """
    if shutil.which(command[0]) is None:
        raise UsageError(NO_SLURM.format(program=command[0]), NO_SLURM_HINT)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        flags = "--account, --partition, --time, --mem and --cpus"
        raise SubmitError(
            REFUSED.format(program=command[0], reason=reason.rstrip(".")),
            REFUSED_HINT.format(flags=flags),
        )
    return done.stdout.strip().partition(";")[0]


def _ask(*command: str) -> list[list[str]] | None:
    """Return rows of what a program prints, or ``None`` where it cannot be asked."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    return [line.split("|") for line in done.stdout.splitlines() if line.strip()]


def queue(jobs: Jobs) -> dict[str, Seen] | None:
    """Return what waits or runs, by index (``group`` for the group job); ``None`` if unknown."""
    if jobs.scheduler != "slurm":
        return None
    names = f"--name={jobs.name},{jobs.group_name}"
    rows = _ask("squeue", "--noheader", "--array", names, "--format=%j|%K|%F|%T|%r")
    if rows is None:
        return None
    found = {}
    for name, index, job, state, reason in (row for row in rows if len(row) == 5):
        key = "group" if name == jobs.group_name else index
        seen = Seen(job=job, state=state, reason="" if reason == "None" else reason)
        if seen.is_alive:
            found[key] = seen
    return found


def accounting(jobs: Jobs, since: str) -> dict[str, Seen]:
    """Return the last state of every task that Slurm's accounting knows; nothing without one."""
    if jobs.scheduler != "slurm":
        return {}
    rows = _ask(
        *("sacct", "--noheader", "--parsable2", "--allocations", "--starttime", since),
        *(f"--name={jobs.name},{jobs.group_name}", "--format=JobID,JobName,State,ExitCode"),
    )
    found: dict[str, Seen] = {}
    for job, name, state, _ in (row for row in rows or () if len(row) == 4):
        match = re.fullmatch(r"(\d+)(?:_(\d+))?", job)
        if match is None:
            continue  # tasks that wait together
        key = "group" if name == jobs.group_name else match[2] or ""
        if key not in found or int(match[1]) >= int(found[key].job):
            found[key] = Seen(job=match[1], state=state.split()[0])
    return found


def cancel_group(seen: Mapping[str, Seen]) -> None:
    """Take back a group job that still waits."""
    group = seen.get("group")
    if group is not None and group.state in WAITING:
        _ask("scancel", group.job)


def check_can_submit(jobs: Jobs, n_tasks: int, indices: Sequence[int]) -> None:
    """Refuse to submit to a scheduler that has never been tried, and show the commands."""
    if jobs.scheduler != "slurm":
        commands = "; ".join(commands_by_hand(jobs, n_tasks, indices))
        raise UsageError(
            ONLY_SLURM.format(scheduler=jobs.scheduler.upper()),
            ONLY_SLURM_HINT.format(commands=commands),
        )
