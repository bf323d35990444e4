"""Who is done, who failed and why: with accounting, without it, and without any scheduler."""

import os
from pathlib import Path

import pytest

from rls_bids import cli
from rls_bids.cluster import program, scheduler, status
from rls_bids.cluster.jobs import GROUP, Jobs, Task, read_jobs, write_jobs, write_tasks
from rls_bids.cluster.scheduler import Seen, commands_by_hand
from rls_bids.cluster.status import View, row_of
from rls_bids.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE

LABELS = ("01", "02", "03", "04", "05", "06", "07")
TASKS = tuple(Task(index=i, participant=p, session=None) for i, p in enumerate(LABELS, start=1))
NOBODY = View(queue=None, accounting={})
EMPTY = View(queue={}, accounting={})


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    asked = Jobs(
        scheduler="slurm",
        bids_dir=str(tmp_path / "raw"),
        output_dir=str(tmp_path / "out put"),
        work_dir=str(tmp_path / "work"),
        command=("true",),
        time_s=3600,
        mem_mb=2000,
    )
    for name in ("state", "log"):
        (asked.folder / name).mkdir(parents=True)
    write_tasks(asked.folder, TASKS)
    write_jobs(asked)
    return asked


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch):
    """Put programs on the PATH that answer like Slurm's; what they are asked is kept."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    asked = tmp_path / "asked"

    def program_of(name: str, out: str = "", status_code: int = 0) -> None:
        text = f"#!/bin/bash\nprintf '%s|' {name} \"$@\" >>'{asked}'\necho >>'{asked}'\n"
        text += f"cat <<'END'\n{out}\nEND\nexit {status_code}\n"
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    program_of.asked = lambda: asked.read_text().splitlines() if asked.exists() else []
    return program_of


def told(jobs: Jobs, key: object, **values: object) -> None:
    """Write what a task writes about itself."""
    given = {"job": 7, "host": "one", "start": 1000, **values}
    lines = [f"{name}\t{value}" for name, value in given.items()]
    (jobs.folder / "state" / f"{key}.tsv").write_text("\n".join(lines) + "\n")


def printed(jobs: Jobs, key: object, text: str, job: int = 7) -> None:
    name = f"group_{job}.txt" if key == GROUP else f"task-{key}_{job}.txt"
    (jobs.folder / "log" / name).write_text(text)


def test_from_files_alone(jobs: Jobs) -> None:
    told(jobs, 1, signal="", end=1100, status=0)
    told(jobs, 2, signal="", end=1100, status=65)
    printed(
        jobs,
        2,
        "10:00:00 2 CPUs\n10:00:01 warning: sub-02: left out.\n10:00:02 error: sub-02: x.nii.gz "
        "cannot be read. \n10:00:02 error: sub-02: another.\n",
    )
    told(jobs, 3)  # no end
    found = {row.name: row for row in status.rows_of(jobs, TASKS, NOBODY)}
    assert [(name, row.state) for name, row in found.items()] == [
        *(("sub-01", "done"), ("sub-02", "failed"), ("sub-03", "running")),
        *((f"sub-0{i}", "absent") for i in range(4, 8)),
        ("group", "absent"),
    ]
    assert found["sub-02"].why == "exit 65: sub-02: x.nii.gz cannot be read. (and 1 more)"
    assert found["sub-03"].why == "started on one, no end yet"
    assert found["sub-04"].why == status.NOT_SUBMITTED
    assert status.summary(list(found.values())) == (
        "7 tasks: 1 done, 1 failed, 1 running, 4 absent. Group job: absent."
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        # As Slurm 22.05 writes them, and its newer ways of saying it.
        ("slurmstepd-one: error: *** JOB 2 ON one CANCELLED AT 2026-11-26T17:48:11 DUE TO TIME "
         "LIMIT ***", status.TIMEOUT),
        ("slurmstepd: error: StepId=1.batch exceeded memory limit (441864192 > 104857600), being "
         "killed\nslurmstepd: error: *** JOB 1 ON one CANCELLED AT 2026-11-26T17:46:45 ***",
         status.OUT_OF_MEMORY),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=9.batch.", status.OUT_OF_MEMORY),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=9.", status.OUT_OF_MEMORY),
        ("slurmstepd: error: *** JOB 3 ON a CANCELLED AT 2026-01-01T00:00:00 ***",
         status.CANCELLED),
        ("slurmstepd: error: *** JOB 3 ON a CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION "
         "***", status.PREEMPTED),
        ("10:00:00 sub-01: step, 3 s", status.NO_WORD),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ended", [False, True])
def test_what_the_scheduler_writes_into_the_log(jobs: Jobs, line: str, why: str, ended) -> None:
    told(jobs, 1, **({"signal": "TERM", "end": 1100, "status": 143} if ended else {}))
    printed(jobs, 1, f"10:00:00 start\n{line}\n")
    row = row_of(jobs, "1", "sub-01", EMPTY)
    expected = status.ENDED_BY_SIGNAL.format(status=143)
    assert (row.state, row.why) == (
        "failed",
        why if why != status.NO_WORD or not ended else expected,
    )


def test_the_newest_log_counts(jobs: Jobs) -> None:
    told(jobs, 1, signal="", end=1100, status=1)
    printed(jobs, 1, "rls_bids: error: Old.\n", job=7)
    printed(jobs, 1, "rls_bids: error: New.\n", job=8)
    os.utime(jobs.folder / "log" / "task-1_7.txt", (1, 1))
    printed(jobs, 11, "rls_bids: error: Of another task.\n")
    assert row_of(jobs, "1", "sub-01", EMPTY).why == "exit 1: New."


def test_a_signal_after_the_whole_time_is_the_time_limit(jobs: Jobs) -> None:
    told(jobs, 1, signal="TERM", end=1000 + 3600, status=143)
    assert row_of(jobs, "1", "sub-01", NOBODY).why == status.TIMEOUT
    told(jobs, 1, signal="TERM", end=1000 + 3599, status=143)
    assert row_of(jobs, "1", "sub-01", NOBODY).why == status.ENDED_BY_SIGNAL.format(status=143)


def test_nothing_printed(jobs: Jobs) -> None:
    told(jobs, 1, signal="", end=1100, status=127)
    expected = status.EXIT.format(status=127, sentence=status.NO_LOG)
    assert row_of(jobs, "1", "sub-01", EMPTY).why == expected


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("OUT_OF_MEMORY", status.OUT_OF_MEMORY),
        ("TIMEOUT", status.TIMEOUT),
        ("CANCELLED", status.CANCELLED),
        ("NODE_FAIL", status.NODE_FAIL),
        ("FAILED", status.NO_WORD),
    ],
)
def test_what_the_accounting_says(jobs: Jobs, state: str, why: str) -> None:
    told(jobs, 1)
    view = View(queue={}, accounting={"1": Seen(job="7", state=state)})
    assert row_of(jobs, "1", "sub-01", view).why == why
    # Of an older array it says nothing about this end.
    told(jobs, 1, job=8, signal="", end=1100, status=1)
    printed(jobs, 1, "rls_bids: error: Why.\n")
    assert row_of(jobs, "1", "sub-01", view).why == "exit 1: Why."


def test_a_task_that_never_started(jobs: Jobs) -> None:
    view = View(queue={}, accounting={"1": Seen(job="7", state="CANCELLED")})
    row = row_of(jobs, "1", "sub-01", view)
    assert (row.state, row.why) == ("failed", status.CANCELLED)
    view = View(queue={}, accounting={"1": Seen(job="7", state="PENDING")})
    assert row_of(jobs, "1", "sub-01", view).state == "absent"


def test_a_task_that_runs_again_is_not_failed(jobs: Jobs) -> None:
    told(jobs, 1, signal="", end=1100, status=1)
    for state, expected in (
        ("PENDING", "waiting"),
        ("RUNNING", "running"),
        ("COMPLETING", "running"),
    ):
        view = View(queue={"1": Seen(job="9", state=state, reason="Resources")}, accounting={})
        row = row_of(jobs, "1", "sub-01", view)
        assert (row.state, row.why) == (expected, "Resources")


def test_the_queue(jobs: Jobs, slurm) -> None:
    lines = [
        f"{jobs.name}|3|12|RUNNING|None",
        f"{jobs.name}|4|12|PENDING|JobArrayTaskLimit",
        f"{jobs.name}|5|12|FAILED|NonZeroExitCode",
        f"{jobs.group_name}|N/A|13|PENDING|Dependency",
    ]
    slurm("squeue", "\n".join(lines))
    assert scheduler.queue(jobs) == {
        "3": Seen(job="12", state="RUNNING"),
        "4": Seen(job="12", state="PENDING", reason="JobArrayTaskLimit"),
        "group": Seen(job="13", state="PENDING", reason="Dependency"),
    }
    slurm("squeue", "", status_code=1)
    assert scheduler.queue(jobs) is None


def test_the_accounting(jobs: Jobs, slurm) -> None:
    lines = [
        f"12_1|{jobs.name}|COMPLETED|0:0",
        f"12_2|{jobs.name}|OUT_OF_MEMORY|0:125",
        f"12_3|{jobs.name}|TIMEOUT|0:0",
        f"12_[4-6]|{jobs.name}|PENDING|0:0",
        f"14_2|{jobs.name}|CANCELLED by 1000|0:0",
        f"9_3|{jobs.name}|COMPLETED|0:0",
        f"13|{jobs.group_name}|FAILED|1:0",
    ]
    slurm("sacct", "\n".join(lines))
    assert scheduler.accounting(jobs, "2026-11-26T10:00:00") == {
        "1": Seen(job="12", state="COMPLETED"),
        "2": Seen(job="14", state="CANCELLED"),
        "3": Seen(job="12", state="TIMEOUT"),
        "group": Seen(job="13", state="FAILED"),
    }
    slurm("sacct", "Slurm accounting storage is disabled", status_code=1)
    assert scheduler.accounting(jobs, "2026-11-26T10:00:00") == {}


def test_other_schedulers_are_not_asked(tmp_path: Path, slurm) -> None:
    slurm("squeue", "x|1|1|RUNNING|None")
    other = Jobs(scheduler="sge", bids_dir="/r", output_dir="/o", work_dir="/w", command=())
    assert scheduler.queue(other) is None
    assert scheduler.accounting(other, "now") == {}
    assert slurm.asked() == []


def test_status_prints_a_table(jobs: Jobs, slurm, capsys) -> None:
    slurm("squeue")
    told(jobs, 1, signal="", end=1100, status=0)
    assert cli.slurm(["status", jobs.output_dir]) == EXIT_OK
    printed_lines = capsys.readouterr().out.splitlines()
    assert printed_lines[:2] == ["index\tname\tstate\twhy", "1\tsub-01\tdone\tn/a"]
    assert len(printed_lines) == 9
    told(jobs, 2, signal="", end=1100, status=1)
    assert cli.slurm(["status", jobs.output_dir]) == EXIT_FAILED


def test_only_the_failed_and_absent_are_submitted_again(jobs: Jobs, slurm, capsys) -> None:
    for key in (1, 5):
        told(jobs, key, signal="", end=1100, status=0)
    told(jobs, 2, signal="", end=1100, status=1)
    told(jobs, 3)
    told(jobs, GROUP, signal="", end=1100, status=0)
    queue = f"{jobs.name}|4|12|RUNNING|None\n{jobs.group_name}|N/A|13|PENDING|Dependency"
    slurm("squeue", queue)
    slurm("sbatch", "21")
    slurm("scancel")
    assert cli.slurm(["resubmit", jobs.output_dir, "--mem", "4G", "--time", "90"]) == EXIT_OK
    said = capsys.readouterr().out
    assert "Submitted tasks 2-3,6-7 as job 21." in said
    calls = [
        line.split("|")[:-1] for line in slurm.asked() if not line.startswith(("squeue", "sacct"))
    ]
    folder = str(jobs.folder)
    assert calls == [
        ["sbatch", "--parsable", "--array=2-3,6-7", "--time=90", "--mem=4096M",
         f"{folder}/participant.sh"],
        ["scancel", "13"],
        ["sbatch", "--parsable", "--dependency=afterany:21:12", f"{folder}/group.sh"],
    ]  # fmt: skip
    left = {path.stem for path in (jobs.folder / "state").iterdir()}
    assert left == {"1", "5"}


def test_nothing_is_lost_when_the_scheduler_refuses(jobs: Jobs, slurm, capsys) -> None:
    told(jobs, 2, signal="", end=1100, status=1)
    slurm("squeue")
    slurm("sbatch", "", status_code=1)
    assert cli.slurm(["resubmit", jobs.output_dir]) == EXIT_FAILED
    assert "sbatch refused the job" in capsys.readouterr().err
    assert (jobs.folder / "state" / "2.tsv").is_file()


def test_nothing_to_submit(jobs: Jobs, slurm, capsys) -> None:
    slurm("squeue")
    for task in TASKS:
        told(jobs, task.index, signal="", end=1100, status=0)
    assert cli.slurm(["resubmit", jobs.output_dir]) == EXIT_OK
    assert program.NOTHING_TO_DO in capsys.readouterr().out
    assert not [line for line in slurm.asked() if line.startswith("sbatch")]


def test_without_slurm(jobs: Jobs, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.slurm(["resubmit", jobs.output_dir]) == EXIT_USAGE
    assert scheduler.NO_SLURM.format(program="sbatch") in capsys.readouterr().err
    assert cli.slurm(["resubmit", jobs.output_dir, "--dry-run", "--mem", "4G"]) == EXIT_OK
    assert "sbatch --parsable --mem=4096M " in capsys.readouterr().out


def test_tasks_that_run_are_not_replaced(jobs: Jobs, slurm, capsys) -> None:
    slurm("squeue", f"{jobs.name}|4|12|RUNNING|None")
    with pytest.raises(program.UsageError) as caught:
        program._check_nobody_runs(jobs)
    assert caught.value.message == program.STILL_THERE.format(n=1, path=jobs.folder)
    slurm("squeue")
    program._check_nobody_runs(jobs)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("lsf", ['bsub -J "{name}[2,5-6]" < {p}', 'bsub -w "ended({name})" < {g}']),
        ("sge", ["qsub -t 2 {p}", "qsub -t 5-6 {p}", "qsub -hold_jid {name} {g}"]),
        ("pbs", ["job1=$(qsub -J 2-3:2 {p})", "job2=$(qsub -J 5-6 {p})",
                 "qsub -W depend=afterany:$job1:$job2 {g}"]),
    ],
)  # fmt: skip
def test_commands_for_other_schedulers(name: str, lines: list[str], capsys) -> None:
    other = Jobs(scheduler=name, bids_dir="/r", output_dir="/o", work_dir="/w", command=())
    paths = {"p": "/o/logs/jobs/participant.sh", "g": "/o/logs/jobs/group.sh", "name": other.name}
    found = commands_by_hand(other, 7, [2, 5, 6])
    assert list(found) == [line.format(**paths) for line in lines]
    with pytest.raises(program.UsageError) as caught:
        scheduler.check_can_submit(other, 7, [2])
    assert caught.value.message == scheduler.ONLY_SLURM.format(scheduler=name.upper())


def test_what_is_written_is_read(jobs: Jobs) -> None:
    found, tasks = read_jobs(jobs.output_dir)
    assert (found, tasks) == (jobs, TASKS)


def test_sentences_are_found_as_the_app_prints_them(jobs: Jobs, capsys) -> None:
    cli._start_logging(0)
    try:
        cli.LOGGER.info("sub-01: a step, 3 s")
        cli.LOGGER.warning("sub-01: left out.")
        cli.LOGGER.error("%s%s %s", "sub-01: ", "It broke.", "Mend it.")
    finally:
        for handler in list(cli.LOGGER.handlers):
            cli.LOGGER.removeHandler(handler)
        cli.LOGGER.propagate = True
    text = capsys.readouterr().err
    assert " warning: sub-01: left out." in text
    told(jobs, 1, signal="", end=1100, status=1)
    printed(jobs, 1, text)
    expected = status.EXIT.format(status=1, sentence="sub-01: It broke. Mend it.")
    assert row_of(jobs, "1", "sub-01", EMPTY).why == expected
