"""One tiny cohort, taken from raw data to the group once and shared by all end-to-end tests."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rls_bids.phantom.dataset import write_cohort
from rls_bids.phantom.spec import CohortSpec

N_PER_GROUP = 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all end-to-end tests on one worker: they share a cohort and use every core."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("e2e"))


@dataclass(frozen=True)
class Finished:
    """What a call of the app printed, how it ended, and how long it took."""

    status: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Road:
    """A cohort with its output and work directories."""

    bids: Path
    out: Path
    work: Path
    participant: Finished
    group: Finished


def call(*arguments: object, home: Path | None = None, timeout: float = 900) -> Finished:
    """Run the app as a user does: in a process of its own."""
    environment = dict(os.environ)
    if home is not None:
        environment |= {"HOME": str(home), "TMPDIR": str(home)}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "rls_bids", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        cwd=home,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw data of two patients and two controls."""
    folder = tmp_path_factory.mktemp("cohort") / "raw data"  # spaces must do no harm
    write_cohort(
        folder,
        CohortSpec(size="tiny", n_patients=N_PER_GROUP, n_controls=N_PER_GROUP, random_seed=11),
    )
    return folder


@pytest.fixture(scope="session")
def road(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Road:
    """The cohort's results of both levels."""
    base = tmp_path_factory.mktemp("road")
    out, work = base / "out put", base / "work"
    home = base / "home"
    home.mkdir()
    common = ("-w", work, "--n-cpus", 2)
    participant = call(cohort, out, "participant", *common, "--sloppy", home=home)
    group = call(cohort, out, "group", *common, "--covariates", "mean_fd", home=home)
    return Road(cohort, out, work, participant, group)
