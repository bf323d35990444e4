"""A Slurm of two nodes, and a small cohort that fMRIPrep seems to have preprocessed."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from rls_bids.phantom.fmriprep import write_derivative
from rls_bids.phantom.spec import CohortSpec
from tests.cluster import private_slurm

PATIENCE_S = 2400


@dataclass(frozen=True)
class Cluster:
    """What talks to the scheduler."""

    environment: Mapping[str, str]

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run ``rls_bids_slurm``."""
        command = [
            sys.executable,
            "-c",
            "import sys; from rls_bids.cli import slurm; sys.exit(slurm())",
        ]
        return subprocess.run(
            [*command, *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def status(self, out: Path) -> dict[str, tuple[str, str]]:
        """Return state and reason by name."""
        done = self.run("status", out)
        lines = done.stdout.splitlines()
        assert lines, done.stderr
        assert lines[0].split("\t") == ["index", "name", "state", "why"]
        rows = {line.split("\t")[1]: line.split("\t")[2:] for line in lines[1:]}
        return {name: (state, why) for name, (state, why) in rows.items()}

    def wait(self, out: Path) -> dict[str, tuple[str, str]]:
        """Wait until nothing waits or runs, and return the status."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = self.status(out)
            if not {"waiting", "running"} & {state for state, _ in found.values()}:
                return found
            time.sleep(5)
        raise TimeoutError(found)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a Slurm of two nodes with two CPUs and 8 GB each."""
    reason = private_slurm.why_not()
    if reason:
        pytest.skip(f"no Slurm: {reason}")
    with private_slurm.running(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
        yield Cluster(environment)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return three patients and three controls."""
    folder = tmp_path_factory.mktemp("cohort") / "fMRI prep"
    write_derivative(folder, CohortSpec(size="tiny", n_patients=3, n_controls=3, random_seed=3))
    return folder


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one patient and one control before and after."""
    folder = tmp_path_factory.mktemp("sessions") / "fMRI prep"
    spec = CohortSpec(
        size="tiny", n_patients=1, n_controls=1, random_seed=4, sessions=("pre", "post")
    )
    write_derivative(folder, spec)
    return folder
