"""Job scripts: what is written, and what bash makes of it."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from rls_bids import cli
from rls_bids.cluster import jobs as jobs_module
from rls_bids.cluster import program, requests
from rls_bids.cluster.jobs import read_jobs
from rls_bids.cluster.scripts import SCHEDULERS
from rls_bids.cluster.status import read_state
from rls_bids.dataset import requests as labels
from rls_bids.errors import EXIT_CANNOT_WRITE, EXIT_DATA, EXIT_OK, EXIT_USAGE
from rls_bids.settings import from_toml
from rls_bids.settings.limits import FILE_MISSING
from tests.factories import write_dataset

APP = """#!/bin/bash
printf '%s\\n' "$@" >"$SEEN"
env | grep -E '^(SLURM|TEMPLATEFLOW)' >"$SEEN.env"
{end}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return three participants, two with sessions; the path has spaces and a quote."""
    return write_dataset(
        tmp_path / "raw data's",
        {
            "01": {"A": {}, "B": {"t1w": []}, "C": {"bold": ["task-nback"]}},
            "02": {None: {}},
            "10": {"A": {}},
        },
    )


@pytest.fixture
def app(tmp_path: Path, monkeypatch) -> Path:
    """Put a program in the place of the app that writes down how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(requests, "own_command", lambda: ("bash", str(folder / "fake app")))
    for name in ("fake app", "apptainer"):
        (folder / name).write_text(APP.format(end="exit ${EXIT:-0}"))
        (folder / name).chmod(0o755)
    return folder


def slurm(*arguments: object) -> int:
    return cli.slurm([str(argument) for argument in arguments])


def seen(tmp_path: Path) -> list[str]:
    return (tmp_path / "seen").read_text().splitlines()


def bash(script: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_one_task_a_participant(root: Path, tmp_path: Path, app: Path, capsys) -> None:
    out = tmp_path / "out put"
    assert (
        slurm("write", root, out, "-w", tmp_path / "scratch", "--", "--smoothing", "4") == EXIT_OK
    )
    said = capsys.readouterr().out
    folder = out / "logs" / "jobs"
    assert program.WRITTEN.format(n=3, folder=folder) in said
    assert "sbatch --parsable" in said
    assert "sbatch --dependency=afterany:$job" in said
    jobs, tasks = read_jobs(out)
    assert [task.name for task in tasks] == ["sub-01", "sub-02", "sub-10"]
    assert (folder / "tasks.tsv").read_text().splitlines()[:2] == [
        "index\tparticipant_id\tsession_id",
        "1\tsub-01\tn/a",
    ]
    done = bash(folder / "participant.sh", SLURM_ARRAY_TASK_ID="3", SLURM_ARRAY_JOB_ID="77")
    assert done.returncode == 0, done.stderr
    assert seen(tmp_path) == [
        *(str(root), str(out), "participant", "--config-file", str(folder / "settings.toml")),
        *("--work-dir", str(tmp_path / "scratch" / "sub-10"), "--participant-label", "sub-10"),
    ]
    assert (tmp_path / "scratch" / "sub-10").is_dir()
    told = read_state(folder / "state" / "3.tsv")
    assert (told["job"], told["status"], told["signal"]) == ("77", "0", "")
    assert int(told["end"]) >= int(told["start"]) > 0
    assert jobs.command == ("bash", str(app / "fake app"))


def test_what_the_app_makes_of_its_options(root: Path, tmp_path: Path, app: Path) -> None:
    out = tmp_path / "out"
    options = ("--", "--smoothing", "4", "--covariates", "none", "--measures", "seed", "alff")
    assert slurm("write", root, out, *options) == EXIT_OK
    text = (out / "logs/jobs/settings.toml").read_text()
    assert tomllib.loads(text) == {
        "analysis_level": "participant",
        "input": {"bids_dir": str(root), "output_dir": str(out)},
        "denoise": {"smoothing_fwhm_mm": 4.0},
        "measures": {"names": ["seed", "alff"]},
        "group": {"covariates": []},
    }
    settings = from_toml(text)
    assert settings.denoise.smoothing_fwhm_mm == 4
    assert settings.group.covariates == ()
    assert settings.measures.names == ("seed", "alff")
    # As the app reads it in the job: the limits are those of the allocation.
    bash(out / "logs/jobs/participant.sh", "2")
    argv = seen(tmp_path)
    found = cli.parse_arguments([*argv, "--n-cpus", "1"])
    assert found.input.participant_labels == ("02",)
    assert found.denoise.smoothing_fwhm_mm == 4
    assert found.run.work_dir.endswith("work/sub-02")


def test_threads_are_kept_when_they_are_asked_for(root: Path, tmp_path: Path, app: Path) -> None:
    assert (
        slurm("write", root, tmp_path / "o", "--cpus", 2, "--", "--omp-nthreads", "2") == EXIT_OK
    )
    stored = tomllib.loads((tmp_path / "o/logs/jobs/settings.toml").read_text())["run"]
    assert stored["omp_nthreads"] == 2
    assert "n_cpus" not in stored


def test_one_task_a_session(root: Path, tmp_path: Path, app: Path) -> None:
    out = tmp_path / "out"
    assert slurm("write", root, out, "--by-session", "-w", tmp_path / "w") == EXIT_OK
    _, tasks = read_jobs(out)
    # ses-C of 01 has no series of the task.
    assert [(task.participant, task.session) for task in tasks] == [
        *(("01", "A"), ("01", "B"), ("02", None), ("10", "A")),
    ]
    folder = out / "logs/jobs"
    bash(folder / "participant.sh", "2")
    labels_given = ["--participant-label", "sub-01", "--session-label", "ses-B"]
    assert seen(tmp_path)[-4:] == labels_given
    assert str(tmp_path / "w" / "sub-01_ses-B") in seen(tmp_path)
    found = cli.parse_arguments(seen(tmp_path))
    assert found.input.by_session
    assert (found.input.participant_labels, found.input.session_labels) == (("01",), ("B",))
    bash(folder / "participant.sh", "3")
    assert seen(tmp_path)[-2:] == ["--participant-label", "sub-02"]
    options = ("--", "--session-label", "A", "--exclude-participant-label", "10")
    assert slurm("write", root, out, "--by-session", *options) == EXIT_OK
    assert [task.name for task in read_jobs(out)[1]] == ["sub-01_ses-A"]


def test_the_group_job_leaves_out_who_did_not_end_well(
    root: Path, tmp_path: Path, app: Path
) -> None:
    out = tmp_path / "out"
    options = ("--", "--exclude-participant-label", "10")
    assert slurm("write", root, out, "--by-session", *options) == EXIT_OK
    folder = out / "logs/jobs"
    done = bash(folder / "group.sh")
    assert done.returncode == EXIT_DATA
    assert "No task has ended well" in done.stderr
    bash(folder / "participant.sh", "1")
    bash(folder / "participant.sh", "2", EXIT="1")
    bash(folder / "participant.sh", "3")
    done = bash(folder / "group.sh")
    assert done.returncode == 0, done.stderr
    assert "sub-01 ses-B is left out: its task 2 did not end well." in done.stdout
    assert seen(tmp_path)[2] == "group"
    assert seen(tmp_path)[-3:] == ["--exclude-participant-label", "sub-01", "10"]
    assert read_state(folder / "state" / "group.tsv")["status"] == "0"


def test_exit_status_and_unknown_tasks(root: Path, tmp_path: Path, app: Path) -> None:
    out = tmp_path / "out"
    assert slurm("write", root, out) == EXIT_OK
    folder = out / "logs/jobs"
    assert bash(folder / "participant.sh", "1", EXIT="65").returncode == 65
    assert read_state(folder / "state" / "1.tsv")["status"] == "65"
    done = bash(folder / "participant.sh", "4")
    assert done.returncode == 2
    assert "There is no task 4" in done.stderr
    # Written again, nothing is known of the tasks.
    assert slurm("write", root, out) == EXIT_OK
    assert not list((folder / "state").iterdir())


def test_a_signal_reaches_the_app_and_is_written_down(
    root: Path, tmp_path: Path, app: Path
) -> None:
    end = 'trap "exit 143" TERM; touch "$SEEN.on"; for i in {1..300}; do sleep 0.1; done'
    (app / "fake app").write_text(APP.format(end=end))
    assert slurm("write", root, tmp_path / "out") == EXIT_OK
    folder = tmp_path / "out/logs/jobs"
    job = subprocess.Popen(["bash", folder / "participant.sh", "1"])
    while not (tmp_path / "seen.on").exists():
        assert job.poll() is None
    job.terminate()
    assert job.wait(20) == 143
    told = read_state(folder / "state" / "1.tsv")
    assert (told["signal"], told["status"]) == ("TERM", "143")


def test_in_a_container(root: Path, tmp_path: Path, app: Path, monkeypatch) -> None:
    image, seeds = tmp_path / "an image.sif", tmp_path / "my seeds.tsv"
    image.touch()
    seeds.touch()
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    out = tmp_path / "out put"
    raw = root.rename(tmp_path / "raw data")
    options = ("--", "--seeds", seeds, "--output-spaces", "MNI152NLin6Asym")
    where = ("--image", image, "-w", "$SCRATCH_OF_JOB/rls")
    assert slurm("write", raw, out, *where, *options) == EXIT_OK
    done = bash(
        out / "logs/jobs/participant.sh",
        SLURM_ARRAY_TASK_ID="1",
        SLURM_CPUS_PER_TASK="2",
        SLURM_MEM_PER_NODE="8192",
        SCRATCH_OF_JOB=str(tmp_path / "node scratch"),
    )
    assert done.returncode == 0, done.stderr
    argv = seen(tmp_path)
    work = str(tmp_path / "node scratch" / "rls" / "sub-01")
    start = argv.index(str(image))
    flags = argv[:start]
    assert flags[:4] == ["run", "--cleanenv", "--containall", "--no-home"]
    binds = [flags[i + 1] for i, flag in enumerate(flags) if flag == "--bind"]
    expected = [
        f"{raw}:{raw}:ro",
        f"{seeds}:{seeds}:ro",
        f"{tmp_path}:{tmp_path}:ro",
        str(out),
        work,
    ]
    assert binds == expected
    handed = {flags[i + 1] for i, flag in enumerate(flags) if flag == "--env"}
    assert handed == {
        *("SLURM_CPUS_PER_TASK=2", "SLURM_MEM_PER_NODE=8192", f"TEMPLATEFLOW_HOME={tmp_path}"),
    }
    assert argv[start + 1 : start + 4] == [str(raw), str(out), "participant"]
    assert argv[argv.index("--work-dir") + 1] == work
    assert Path(work).is_dir()


def test_without_a_container_runtime(root: Path, tmp_path: Path, app: Path) -> None:
    raw, image = root.rename(tmp_path / "raw"), tmp_path / "x.sif"
    image.touch()
    assert slurm("write", raw, tmp_path / "out", "--image", image) == EXIT_OK
    (app / "apptainer").unlink()
    done = bash(tmp_path / "out/logs/jobs/participant.sh", "1", PATH="/usr/bin:/bin")
    assert done.returncode == 127
    assert "apptainer nor singularity" in done.stderr
    assert read_state(tmp_path / "out/logs/jobs/state/1.tsv")["status"] == "127"


def test_every_scheduler_writes_its_scripts(root: Path, tmp_path: Path, app: Path, capsys) -> None:
    hints = {
        "slurm": "sbatch",
        "lsf": "bsub -w",
        "sge": "-hold_jid",
        "pbs": "depend=afterany:$job1",
    }
    for scheduler in SCHEDULERS:
        out = tmp_path / scheduler
        assert slurm("write", root, out, "--scheduler", scheduler) == EXIT_OK
        assert hints[scheduler] in capsys.readouterr().out
        done = bash(out / "logs/jobs/participant.sh", "1")
        assert done.returncode == 0, done.stderr
    log = out / "logs/jobs/log/task-1_hand.txt"
    assert log.is_file()
    assert seen(tmp_path)[-4:] == ["--n-cpus", "2", "--mem", "8192M"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time", "soon"], requests.BAD_TIME.format(found="soon")),
        (["--time", "0"], requests.BAD_TIME.format(found="0")),
        (["--mem", "0"], requests.BAD_MEM.format(found="0")),
        (["--mem", "lots"], "--mem got 'lots'"),
        (["--cpus", "0"], "--cpus got 0"),
        (["--max-running", "-1"], "--max-running got -1"),
        (["--account", "my lab"], requests.BAD_NAME.format(flag="--account", found="my lab")),
        (["--setup", "a\nb"], "--setup got"),
        (["--image", "gone.sif"], FILE_MISSING.format(flag="--image", path="gone.sif")),
        (["--scheduler", "cron"], "invalid choice: 'cron'"),
        (["--", "--n-cpus", "4"], requests.OF_JOBS.format(flag="--n-cpus")),
        (["--", "--mem_mb=4000"], requests.OF_JOBS.format(flag="--mem-mb")),
        (["--", "-w", "/x"], requests.OF_JOBS.format(flag="-w")),
        (["--", "--smothing", "4"], "There is no option --smothing."),
        (["--", "--participant-label", "99"], "sub-99"),
        (["--by-session", "--", "--session-label", "A", "--task-id", "x"], "task-x"),
    ],
)  # fmt: skip
def test_bad_requests_are_sentences(
    root: Path, tmp_path: Path, app: Path, capsys, arguments: list[str], message: str
) -> None:
    assert slurm("write", root, tmp_path / "out", *arguments) == EXIT_USAGE
    error = capsys.readouterr().err
    assert error.startswith("rls_bids_slurm: error: ")
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_paths_that_no_script_can_hold(root: Path, tmp_path: Path, app: Path, capsys) -> None:
    assert slurm("write", root, tmp_path / 'o"ut') == EXIT_USAGE
    assert "a quote" in capsys.readouterr().err
    (tmp_path / "x.sif").touch()
    assert slurm("write", root, tmp_path / "o:ut", "--image", tmp_path / "x.sif") == EXIT_USAGE
    assert "a colon or a comma" in capsys.readouterr().err
    plugin = tmp_path / "plugin.toml"
    plugin.touch()
    options = ("--image", tmp_path / "x.sif", "--", "--nipype-plugin-file", plugin)
    assert slurm("write", root, tmp_path / "out", *options) == EXIT_USAGE
    assert "no scheduler is within a container" in capsys.readouterr().err


def test_bad_places(root: Path, tmp_path: Path, app: Path, capsys) -> None:
    assert slurm("write", tmp_path / "gone", tmp_path / "out") == EXIT_DATA
    assert labels.NO_DIRECTORY.format(path=tmp_path / "gone") in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert slurm("write", root, tmp_path / "file") == EXIT_CANNOT_WRITE
    for command in ("status", "resubmit"):
        assert slurm(command, tmp_path) == EXIT_DATA
        assert jobs_module.NO_JOBS.format(path=tmp_path) in capsys.readouterr().err
    assert slurm("status", tmp_path, "--", "--x") == EXIT_USAGE
    assert slurm("write", root, tmp_path / "out") == EXIT_OK
    (tmp_path / "out/logs/jobs/jobs.toml").write_text("scheduler = 3\nnonsense = 1\n")
    capsys.readouterr()
    assert slurm("status", tmp_path / "out") == EXIT_DATA
    assert "Write the jobs again" in capsys.readouterr().err
