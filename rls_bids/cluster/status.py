"""Who is done, who failed and why: from the queue, the accounting, and the jobs' own files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from rls_bids.cluster import scheduler
from rls_bids.cluster.jobs import GROUP, NONE, Jobs, Task
from rls_bids.cluster.scheduler import Seen

State = Literal["done", "failed", "running", "waiting", "absent"]
STATES: tuple[State, ...] = get_args(State)

OUT_OF_MEMORY = "OUT_OF_MEMORY: it needs more than its memory; resubmit with a larger --mem."
TIMEOUT = "TIMEOUT: it needs more than its time; resubmit with a longer --time."
CANCELLED = "CANCELLED: somebody stopped it."
NODE_FAIL = "NODE_FAIL: its node failed."
PREEMPTED = "PREEMPTED: another job took its place."
ENDED_BY_SIGNAL = "exit {status}: stopped by the scheduler or by somebody."
NO_WORD = "Killed without a word, most often for memory; resubmit with a larger --mem."
EXIT = "exit {status}: {sentence}"
NO_SENTENCE = "see {log}"
NO_LOG = "it printed nothing"
MORE = " (and {n} more)"
NOT_SUBMITTED = "not submitted, or not started yet"
NEVER_STARTED = "{state}: it never started."

CAUSES: Mapping[str, str] = {
    "OUT_OF_MEMORY": OUT_OF_MEMORY,
    "TIMEOUT": TIMEOUT,
    "DEADLINE": TIMEOUT,
    "CANCELLED": CANCELLED,
    "NODE_FAIL": NODE_FAIL,
    "BOOT_FAIL": NODE_FAIL,
    "PREEMPTED": PREEMPTED,
}
"""What the accounting calls it → what it means."""

TRACES: tuple[tuple[str, str], ...] = (
    (r"DUE TO TIME LIMIT|TERM_RUNLIMIT|walltime .* exceeded", TIMEOUT),
    (r"oom[-_ ]kill|exceeded (?:job )?memory limit|OUT[-_ ]OF[-_ ]MEMORY", OUT_OF_MEMORY),
    (r"TERM_MEMLIMIT", OUT_OF_MEMORY),
    (r"DUE TO NODE FAILURE", NODE_FAIL),
    (r"DUE TO PREEMPTION", PREEMPTED),
    (r"CANCELLED AT", CANCELLED),
)
"""What schedulers write into the log of a job that they end → what it means."""

_SENTENCE = re.compile(
    r"^(?:rls_bids(?:_slurm)?: error:|\d\d:\d\d:\d\d error:) (.*)$", re.MULTILINE
)
_TAIL = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one task, or the group job, stands."""

    key: str
    name: str
    state: State
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything there is to know: the queue is ``None`` where nobody can be asked."""

    queue: Mapping[str, Seen] | None
    accounting: Mapping[str, Seen]


def look(jobs: Jobs) -> View:
    """Ask the scheduler."""
    written = datetime.fromtimestamp((jobs.folder / "jobs.toml").stat().st_mtime).astimezone()
    return View(
        queue=scheduler.queue(jobs),
        accounting=scheduler.accounting(jobs, f"{written:%Y-%m-%dT%H:%M:%S}"),
    )


def rows_of(jobs: Jobs, tasks: Sequence[Task], view: View) -> tuple[Row, ...]:
    """Return how every task stands, and the group job last.

    Parameters
    ----------
    jobs : Jobs
    tasks : sequence of Task
    view : View
        Of the scheduler.
    """
    rows = [row_of(jobs, str(task.index), task.name, view) for task in tasks]
    if jobs.has_group:
        rows.append(row_of(jobs, GROUP, GROUP, view))
    return tuple(rows)


def row_of(jobs: Jobs, key: str, name: str, view: View) -> Row:
    """Return how one task stands: the queue first, then what the job has written."""
    told = read_state(jobs.folder / "state" / f"{key}.tsv")
    seen, past = (view.queue or {}).get(key), view.accounting.get(key)
    if seen is not None:
        state: State = "waiting" if seen.state in scheduler.WAITING else "running"
        return Row(key=key, name=name, state=state, why=seen.reason)
    if not told:
        if past is None or past.state in ("COMPLETED", *scheduler.ALIVE):
            return Row(key=key, name=name, state="absent", why=NOT_SUBMITTED)
        why = CAUSES.get(past.state, NEVER_STARTED.format(state=past.state))
        return Row(key=key, name=name, state="failed", why=why)
    if told.get("status") == "0":
        return Row(key=key, name=name, state="done")
    if "status" not in told and view.queue is None and past is None:
        host = told.get("host", "")
        return Row(key=key, name=name, state="running", why=f"started on {host}, no end yet")
    return Row(key=key, name=name, state="failed", why=_why(jobs, key, told, past))


def read_state(path: Path) -> dict[str, str]:
    """Return what a job wrote about itself; nothing where it has not started."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key: value for key, _, value in (line.partition("\t") for line in lines) if key}


def _why(jobs: Jobs, key: str, told: Mapping[str, str], past: Seen | None) -> str:
    """Say why a task failed: what ended it from outside, else what the app said."""
    if past is not None and past.state in CAUSES and _is_same(past, told):
        return CAUSES[past.state]
    log = log_of(jobs, key)
    text = _tail(log) if log else ""
    for pattern, cause in TRACES:
        if re.search(pattern, text, re.IGNORECASE):
            return cause
    if "status" not in told:
        return NO_WORD
    status = told["status"]
    sentences = list(dict.fromkeys(_SENTENCE.findall(text)))
    if told.get("signal") and status in ("130", "137", "143"):
        return _ended(jobs, told)
    if not sentences:
        sentence = NO_SENTENCE.format(log=log) if text else NO_LOG
        return EXIT.format(status=status, sentence=sentence)
    more = MORE.format(n=len(sentences) - 1) if sentences[1:] else ""
    return EXIT.format(status=status, sentence=sentences[0].strip() + more)


def _ended(jobs: Jobs, told: Mapping[str, str]) -> str:
    """Tell the time limit from another signal by the time that the job ran."""
    try:
        seconds = int(told["end"]) - int(told["start"])
    except (KeyError, ValueError):
        seconds = 0
    if jobs.time_s and seconds >= jobs.time_s:
        return TIMEOUT
    return ENDED_BY_SIGNAL.format(status=told["status"])


def _is_same(past: Seen, told: Mapping[str, str]) -> bool:
    """Whether the accounting speaks of an array that is not older than what the job wrote."""
    job = told.get("job", "")
    return not job.isdecimal() or int(past.job) >= int(job) or "status" not in told


def log_of(jobs: Jobs, key: str) -> Path | None:
    """Return the newest log of a task."""
    pattern = "group_*.txt" if key == GROUP else f"task-{key}_*.txt"
    logs = sorted((jobs.folder / "log").glob(pattern), key=lambda path: path.stat().st_mtime)
    return logs[-1] if logs else None


def _tail(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        return stream.read().decode("utf-8", errors="replace")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as tab-separated lines with a header."""
    lines = ["index\tname\tstate\twhy"]
    lines += [f"{row.key}\t{row.name}\t{row.state}\t{row.why or NONE}" for row in rows]
    return "\n".join(lines) + "\n"


def summary(rows: Sequence[Row]) -> str:
    """Return how many tasks stand how, in one line.

    Examples
    --------
    >>> summary([Row(key="1", name="sub-01", state="done"), Row(key="2", name="b", state="done")])
    '2 tasks: 2 done.'
    """
    tasks = [row.state for row in rows if row.key != GROUP]
    told = ", ".join(f"{tasks.count(state)} {state}" for state in STATES if state in tasks)
    group = "".join(f" Group job: {row.state}." for row in rows if row.key == GROUP)
    return f"{len(tasks)} tasks: {told}.{group}"
