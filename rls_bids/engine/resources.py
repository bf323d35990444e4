"""How many CPUs and how much memory this process may use, whoever set the limit."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rls_bids.errors import UsageError

BAD_MEMORY = "--mem got {found!r}, but it must be a number, or a number with K, M, G or T."

SHARE_OF_MEMORY = 0.9
"""Fraction of the memory that is planned with; the rest is for the process that plans."""

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_OF_PROCESS = Path("/proc/self/cgroup")


def available_cpus(environ: Mapping[str, str] = os.environ, root: Path = CGROUP_ROOT) -> int:
    """CPUs of the allocation: the least of Slurm's, the affinity's and the cgroup's.

    Parameters
    ----------
    environ : mapping
        The environment, for ``SLURM_CPUS_PER_TASK``.
    root : pathlib.Path
        Where the cgroup tree is mounted.

    Returns
    -------
    int
        At least 1.
    """
    limits = [len(os.sched_getaffinity(0))]
    limits += _numbers([environ.get("SLURM_CPUS_PER_TASK", "")])
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
    """Memory to plan with: 90 % of the least of Slurm's, the cgroup's and the machine's.

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
    for folder in _cgroup_folders(root, "memory"):
        limits += _numbers(
            [_read(folder / name) for name in ("memory.max", "memory.limit_in_bytes")]
        )
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
            tree = root / controller if controllers else root
            folder = tree / path.lstrip("/")
            yield from (folder, *(up for up in folder.parents if up.is_relative_to(tree)))
