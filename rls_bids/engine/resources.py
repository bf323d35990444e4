"""How many CPUs and how much memory this process may use, whoever set the limit."""

import os
import re
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from rls_bids.errors import UsageError

BAD_MEMORY = "--mem got {found!r}, but it must be a number, or a number with K, M, G or T."

SHARE_OF_MEMORY = 0.9
"""Fraction of the memory that is planned with; the rest is for the process that plans."""

SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
OTHERS = (
    ("LSB_JOBID", "LSB_DJOB_NUMPROC"),
    ("JOB_ID", "NSLOTS"),
    ("PBS_JOBID", "NCPUS"),
    ("PBS_JOBID", "PBS_NUM_PPN"),
)
"""Variables of LSF, Grid Engine and PBS with the number of CPUs; they count within a job only."""

ALLOCATION = (*SLURM, "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", *(n for p in OTHERS for n in p))
"""What must be handed to a container for it to know its allocation."""

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMORY_FILES = ("memory.max", "memory.high", "memory.limit_in_bytes")
CGROUP_OF_PROCESS = Path("/proc/self/cgroup")


def available_cpus(environ: Mapping[str, str] = os.environ, root: Path = CGROUP_ROOT) -> int:
    """CPUs of the allocation: the least of the scheduler's, the affinity's and the cgroup's.

    Parameters
    ----------
    environ : mapping
        The environment, for what Slurm, LSF, Grid Engine and PBS tell.
    root : pathlib.Path
        Where the cgroup tree is mounted.

    Returns
    -------
    int
        At least 1.
    """
    limits = [len(os.sched_getaffinity(0))]
    limits += _numbers([environ.get(name, "") for name in SLURM])
    limits += _numbers([environ.get(name, "") for job, name in OTHERS if environ.get(job)])
    for folder in _cgroup_folders(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        both = _numbers([quota, period])
        if len(both) == 2:
            limits.append(both[0] // both[1])
    return max(1, min(limits))


def available_memory_gb(
    environ: Mapping[str, str] = os.environ, root: Path = CGROUP_ROOT
) -> float:
    """Memory to plan with: 90 % of the least of Slurm's, the cgroup's, ulimit's and the machine's.

    Grid Engine and LSF tell no variable, but bound the address space (``ulimit -v``) of a job.

    Parameters
    ----------
    environ : mapping
        The environment, for ``SLURM_MEM_PER_NODE`` and ``SLURM_MEM_PER_CPU`` (MB).
    root : pathlib.Path
        Where the cgroup tree is mounted.

    Returns
    -------
    float
        GB (10⁹ bytes).
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits += [mb * 2**20 for mb in _numbers([environ.get("SLURM_MEM_PER_NODE", "")])]
    per_cpu = _numbers([environ.get("SLURM_MEM_PER_CPU", "")])
    limits += [mb * 2**20 * available_cpus(environ, root) for mb in per_cpu]
    limits += [bound for bound in resource.getrlimit(resource.RLIMIT_AS)[:1] if bound > 0]
    for folder in _cgroup_folders(root, "memory"):
        limits += _numbers([_read(folder / name) for name in MEMORY_FILES])
    return round(SHARE_OF_MEMORY * min(limits) / 1e9, 2)


def parse_memory(text: str) -> float:
    """Read an amount of memory.

    Parameters
    ----------
    text : str
        A number is MB; K, M, G and T (or KB, MB …) are powers of 1000 bytes.

    Returns
    -------
    float
        GB.

    Raises
    ------
    UsageError
        If it is not an amount.

    Examples
    --------
    >>> parse_memory("8000"), parse_memory("8G"), parse_memory("0.5T")
    (8.0, 8.0, 500.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(BAD_MEMORY.format(found=text))
    scale = {"K": 1e-6, "": 1e-3, "M": 1e-3, "G": 1.0, "T": 1e3}[match[2].upper()]
    return round(float(match[1]) * scale, 9)


def _numbers(texts: list[str]) -> list[int]:
    """Positive whole numbers; ``max``, ``-1``, 0 and nothing mean no limit."""
    return [int(text) for text in texts if text.isdecimal() and int(text) > 0]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Folders that may limit this process: its own cgroup and all above it (v2, then v1)."""
    for line in _read(CGROUP_OF_PROCESS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            for name in dict.fromkeys((controller, controllers)) if controllers else ("",):
                tree = root / name
                folder = tree / path.lstrip("/")
                yield from (folder, *(up for up in folder.parents if up.is_relative_to(tree)))
