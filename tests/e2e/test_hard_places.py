"""Where clusters and containers are harsh: killed workers, foreign users, nothing writable."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rls_bids.dataset.walk import walk
from rls_bids.engine.pool import WORKER_LOST_HINT
from tests.e2e.conftest import Road

pytestmark = pytest.mark.e2e

STRANGER = 54321
"""A user id without an entry in the list of users, as containers on clusters have it."""


def children_of(pid: int) -> list[int]:
    """Ids of the processes that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(folder.name))
    return found


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busiest_worker(app: "subprocess.Popen[str]", seconds: float) -> int:
    """Wait until a worker of the app has computed for a while, and return its id."""
    stop = time.monotonic() + seconds
    while time.monotonic() < stop and app.poll() is None:
        for pid in children_of(app.pid):
            try:
                if cpu_seconds(pid) > 4.0:
                    return pid
            except OSError:
                continue
        time.sleep(0.1)
    pytest.fail("no worker began to compute")


def test_a_killed_worker_ends_the_run_with_a_sentence(road: Road, tmp_path: Path) -> None:
    """What the system does when memory runs out: SIGKILL, without a word."""
    out, work = tmp_path / "out", tmp_path / "work"
    arguments = ["participant", "--participant-label", "RLS001", "--sloppy", "--n-cpus", "2"]
    app = subprocess.Popen(
        [sys.executable, "-m", "rls_bids", road.bids, out, *arguments, "-w", work],
        stderr=subprocess.PIPE,
        text=True,
    )
    os.kill(busiest_worker(app, 120), signal.SIGKILL)
    killed = time.monotonic()
    _, errors = app.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert app.returncode == 1
    assert "A worker process was ended from outside (SIGKILL)" in errors
    assert WORKER_LOST_HINT in errors
    assert "Traceback" not in errors
    assert "ended from outside (SIGKILL)" in (out / "sub-RLS001.html").read_text()
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if _works_in(pid, tmp_path)]


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(folder)
    except OSError:
        return False


def _others_can_read(path: Path) -> bool:
    """Whether every folder on the way lets any user through."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def _owned_by_stranger(folder: Path) -> set[str]:
    found = set()
    for entry in os.scandir(folder):
        try:
            if entry.stat(follow_symlinks=False).st_uid == STRANGER:
                found.add(entry.path)
        except OSError:
            continue
    return found


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory, road: Road) -> Path:
    """A folder of the stranger, with a copy of the raw data that everybody may read."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for needed in (Path(sys.executable), Path(__file__)):
        if not _others_can_read(needed):
            pytest.skip(f"other users cannot reach {needed}")
    base = Path("/var/tmp") / f"rls_bids_stranger_{os.getpid()}"
    base.mkdir(mode=0o755)
    subprocess.run(["cp", "-r", road.bids, base / "bids"], check=True)
    (base / "own").mkdir()
    os.chown(base / "own", STRANGER, STRANGER)
    yield base
    subprocess.run(["rm", "-rf", base], check=True)


@pytest.mark.parametrize("step", [["--help"], ["--dry-run"], ["--anat-only", "--sloppy"]])
def test_a_stranger_with_nothing_but_output_and_work(open_folder: Path, step: list[str]) -> None:
    """No HOME, no entry in the list of users, an installation and a folder that are read-only."""
    own = open_folder / "own"
    before = {place: _owned_by_stranger(Path(place)) for place in ("/tmp", "/var/tmp", "/")}
    arguments = ["participant", "--participant-label", "HC001", "-w", own / "work", *step]
    done = subprocess.run(
        [sys.executable, "-m", "rls_bids", open_folder / "bids", own / "out", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={},
        cwd="/",
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert {place: _owned_by_stranger(Path(place)) for place in before} == before
    assert {path.name for path in own.iterdir()} <= {"out", "work"}
    if "--anat-only" in step:
        assert (own / "out/sub-HC001/anat/sub-HC001_desc-preproc_T1w.nii.gz").is_file()
        assert walk(own / "out") == []
