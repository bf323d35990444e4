"""What the allocation allows, from pretended cgroups and schedulers."""

import os
import resource

import pytest

from rls_bids.engine import resources
from rls_bids.engine.resources import (
    ALLOCATION,
    available_cpus,
    available_memory_gb,
    parse_memory,
)
from rls_bids.errors import UsageError

PHYSICAL_GB = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """Pretend that this process lives in a cgroup with these files."""

    def make(line, files):
        (tmp_path / "self").write_text(line + "\n")
        monkeypatch.setattr(resources, "CGROUP_OF_PROCESS", tmp_path / "self")
        for name, text in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path / "tree"

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    return make


@pytest.mark.parametrize(
    ("line", "files", "cpus"),
    [
        ("0::/", {}, 16),
        ("0::/job", {"job/cpu.max": "300000 100000"}, 3),
        ("0::/job/step", {"job/cpu.max": "150000 100000", "job/step/cpu.max": "max 100000"}, 1),
        ("0::/gone", {"cpu.max": "50000 100000"}, 1),
        ("4:cpu,cpuacct:/j", {"cpu/j/cpu.cfs_quota_us": "-1"}, 16),
        ("4:cpu:/j", {"cpu/j/cpu.cfs_quota_us": "200000", "cpu/j/cpu.cfs_period_us": "100000"}, 2),
        # Without a link of the controller's own name, as some systems mount them.
        (
            "4:cpu,cpuacct:/j",
            {
                "cpu,cpuacct/j/cpu.cfs_quota_us": "500000",
                "cpu,cpuacct/j/cpu.cfs_period_us": "100000",
            },
            5,
        ),
    ],
)
def test_cpus_of_the_cgroup(cgroup, line, files, cpus):
    assert available_cpus({}, cgroup(line, files)) == cpus


def test_cpus_of_slurm(cgroup):
    root = cgroup("0::/", {})
    assert available_cpus({"SLURM_CPUS_PER_TASK": "4"}, root) == 4
    assert available_cpus({"SLURM_CPUS_PER_TASK": "64"}, root) == 16
    # Without --cpus-per-task, Slurm tells what the job has on this node; several tasks share it.
    assert available_cpus({"SLURM_CPUS_ON_NODE": "6"}, root) == 6
    assert available_cpus({"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}, root) == 2


@pytest.mark.parametrize(
    ("job", "variable"),
    [
        ("LSB_JOBID", "LSB_DJOB_NUMPROC"),
        ("JOB_ID", "NSLOTS"),
        ("PBS_JOBID", "NCPUS"),
        ("PBS_JOBID", "PBS_NUM_PPN"),
    ],
)
def test_cpus_of_other_schedulers(cgroup, job, variable):
    root = cgroup("0::/", {})
    assert available_cpus({job: "17", variable: "3"}, root) == 3
    assert available_cpus({variable: "3"}, root) == 16  # no job: set by somebody else
    assert {job, variable} <= set(ALLOCATION)


@pytest.mark.parametrize(
    ("line", "files", "gb"),
    [
        ("0::/", {}, PHYSICAL_GB),
        ("0::/j", {"j/memory.max": "max", "memory.max": "500000000"}, 0.5),
        ("0::/j", {"j/memory.max": "max", "j/memory.high": "600000000"}, 0.6),
        ("7:memory:/j", {"memory/j/memory.limit_in_bytes": "400000000"}, 0.4),
        ("7:memory:/j", {"memory/j/memory.limit_in_bytes": str(2**63 - 4096)}, PHYSICAL_GB),
    ],
)
def test_memory_of_the_cgroup(cgroup, line, files, gb):
    assert available_memory_gb({}, cgroup(line, files)) == pytest.approx(0.9 * gb, abs=0.01)


def test_memory_of_ulimit(cgroup, monkeypatch):
    root = cgroup("0::/", {})
    bound = (2_000_000_000, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda what: bound)
    assert available_memory_gb({}, root) == pytest.approx(1.8)
    monkeypatch.setattr(resource, "getrlimit", lambda what: (resource.RLIM_INFINITY,) * 2)
    assert available_memory_gb({}, root) == pytest.approx(0.9 * PHYSICAL_GB, abs=0.01)


def test_memory_of_slurm(cgroup):
    root = cgroup("0::/", {})
    per_node = available_memory_gb({"SLURM_MEM_PER_NODE": "1000"}, root)
    assert per_node == pytest.approx(0.9 * 1000 * 2**20 / 1e9, abs=0.01)
    assert available_memory_gb({"SLURM_MEM_PER_NODE": "0"}, root) > per_node
    per_cpu = {"SLURM_MEM_PER_CPU": "250", "SLURM_CPUS_PER_TASK": "2"}
    assert available_memory_gb(per_cpu, root) == pytest.approx(per_node / 2, abs=0.01)


@pytest.mark.parametrize(
    ("text", "gb"),
    [("16000", 16), ("16G", 16), ("16gb", 16), ("1.5T", 1500), ("500M", 0.5), ("2e3", None),
     ("5000K", 0.005), ("8GiB", 8), ("", None), ("G", None), ("-4G", None), ("lots", None)],
)  # fmt: skip
def test_memory_suffixes(text, gb):
    if gb is None:
        with pytest.raises(UsageError, match="--mem"):
            parse_memory(text)
    else:
        assert parse_memory(text) == pytest.approx(gb)
