"""Directives of every scheduler, and how amounts are read."""

import subprocess
from pathlib import Path

import pytest

from rls_bids.cluster.jobs import Jobs, Task
from rls_bids.cluster.requests import parse_mb, parse_time
from rls_bids.cluster.scripts import render
from rls_bids.errors import UsageError

JOBS = Jobs(
    scheduler="slurm",
    bids_dir="/raw",
    output_dir="/out",
    work_dir="/work",
    command=("rls_bids",),
    account="lab",
    partition="long",
    time_s=93_784,
    mem_mb=8192,
    cpus=3,
    group_time_s=60,
    group_mem_mb=1000,
    max_running=5,
    directives=("--qos=high",),
)


@pytest.mark.parametrize(
    ("scheduler", "mark", "wanted"),
    [
        (
            "slurm",
            "#SBATCH",
            ["--array=1-7%5", "--cpus-per-task=3", "--mem=8192M", "--time=1-02:03:04",
             "--account=lab", "--partition=long", "--qos=high",
             '--output="/out/logs/jobs/log/task-%a_%A.txt"'],
        ),
        (
            "lsf",
            "#BSUB",
            [f'-J "{JOBS.name}[1-7]%5"', "-n 3", '-R "span[hosts=1]"', "-M 8192MB", "-W 1563",
             "-P lab", "-q long"],
        ),
        (
            "sge",
            "#$",
            ["-t 1-7", "-tc 5", "-pe smp 3", "-l h_vmem=2731M", "-l h_rt=93784", "-P lab",
             "-q long"],
        ),
        (
            "pbs",
            "#PBS",
            ["-J 1-7%5", "-l select=1:ncpus=3:mem=8192mb", "-l walltime=26:03:04", "-A lab",
             "-q long"],
        ),
    ],
)  # fmt: skip
def test_directives(tmp_path: Path, scheduler: str, mark: str, wanted: list[str]) -> None:
    asked = Jobs(**{**{n: getattr(JOBS, n) for n in Jobs.__slots__}, "scheduler": scheduler})
    text = render(asked, "participant.sh", 7)
    head = [line for line in text.splitlines() if line.startswith(f"{mark} ")]
    for one in wanted:
        assert f"{mark} {one}" in head
    assert ("Not tested" in text) is (scheduler != "slurm")
    assert ("--n-cpus 3" in text) is (scheduler != "slurm")
    group = render(asked, "group.sh", 0)
    assert "1-7" not in group
    assert JOBS.group_name in group
    for name, script in (("p.sh", text), ("g.sh", group)):
        (tmp_path / name).write_text(script)
        done = subprocess.run(
            ["bash", "-n", tmp_path / name], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86_400), ("1-2:30", 95_400),
     ("1-02:03:04", 93_784)],
)  # fmt: skip
def test_times(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "mb"), [("4000", 4000), ("8G", 8192), ("512M", 512), ("1T", 2**20)]
)
def test_memory(text: str, mb: int) -> None:
    assert parse_mb(text) == mb


@pytest.mark.parametrize("text", ["", "1:2:3:4", "-5", "1d"])
def test_bad_times(text: str) -> None:
    with pytest.raises(UsageError):
        parse_time(text)


def test_names_of_tasks() -> None:
    assert Task(index=1, participant="01", session="A").name == "sub-01_ses-A"
    assert Task(index=1, participant="01", session=None).name == "sub-01"
