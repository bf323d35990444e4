"""The image, the engines that run it, and one tiny cohort that was made and analysed inside it."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

STRANGER = 1234
"""A user that neither the image nor the host knows."""
STRICT = (
    "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp",
    "--user", f"{STRANGER}:{STRANGER}", "--memory", "4g", "--cpus", "2",
)  # fmt: skip
QUICK = ("--sloppy", "--measures", "seed", "--seed-networks", "salience")


@dataclass(frozen=True)
class Done:
    """How a command ended, what it printed, and how long it took."""

    status: int
    out: str
    err: str
    seconds: float


def run(*command: object, timeout: float = 1800, **options: object) -> Done:
    """Run a command to its end."""
    start = time.monotonic()
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=timeout,
        **options,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


@dataclass(frozen=True)
class Docker:
    """The client and the image."""

    client: str
    image: str

    def command(
        self, mounts: dict[str, Path], *arguments: object, options: tuple[str, ...] = ()
    ) -> list[str]:
        """Make a command: mounts are place inside → path; data are read-only."""
        command = [self.client, "run", *STRICT, *options]
        for inside, path in mounts.items():
            command += ["-v", f"{path}:{inside}" + (":ro" if inside == "/data" else "")]
        return [*command, self.image, *map(str, arguments)]

    def __call__(self, mounts: dict[str, Path], *arguments: object) -> Done:
        """Run the app with the strict options."""
        return run(*self.command(mounts, *arguments))


@pytest.fixture(scope="session")
def docker() -> Docker:
    """Docker with the image that was just built."""
    image = os.environ.get("RLS_BIDS_IMAGE")
    if not image:
        pytest.skip("there is no image; make e2e-container builds it and runs these tests")
    return Docker(os.environ["RLS_BIDS_DOCKER"], image)


@pytest.fixture(scope="session")
def base(docker: Docker) -> Path:
    """A folder that every user can reach."""
    return Path(os.environ["RLS_BIDS_SCRATCH"])


def own_folder(path: Path, owner: int = STRANGER) -> Path:
    """Make a folder of one user."""
    path.mkdir(parents=True)
    os.chown(path, owner, owner)
    return path


@pytest.fixture(scope="session")
def cohort(docker: Docker, base: Path) -> Path:
    """Two patients and two controls, written by the image."""
    folder = own_folder(base / "raw data")
    mount = ("-v", f"{folder}:/out")
    people = ("--n-patients", 2, "--n-controls", 2, "--random-seed", 11)
    done = run(
        docker.client, "run", *STRICT, *mount, "--entrypoint", "rls_bids_phantom", docker.image,
        "/out/bids", "--size", "tiny", *people,
    )  # fmt: skip
    assert done.status == 0, done.err
    return folder / "bids"


@dataclass(frozen=True)
class Stopped:
    """A run over all participants that was ended by SIGTERM, and the call to repeat it."""

    mounts: dict[str, Path]
    arguments: tuple[object, ...]
    done: Done

    @property
    def out(self) -> Path:
        """The output directory."""
        return self.mounts["/out"]


@pytest.fixture(scope="session")
def stopped(docker: Docker, cohort: Path, base: Path) -> Stopped:
    """Run participants until the first BOLD run is aligned; ``seconds`` count from SIGTERM."""
    mounts = {"/data": cohort, "/out": own_folder(base / "out put")}
    mounts["/scratch"] = own_folder(base / "scratch")
    arguments = ("/data", "/out", "participant", "-w", "/scratch", *QUICK)
    name = f"rls_bids_{os.getpid()}"
    command = docker.command(mounts, *arguments, options=("--name", name))
    log = base / "first.log"
    with log.open("w") as stream, subprocess.Popen(command, stderr=stream) as app:
        _wait_for("coregistration", log, app)
        start = time.monotonic()
        run(docker.client, "kill", "--signal", "TERM", name)
        status = app.wait(timeout=60)
        seconds = time.monotonic() - start
    return Stopped(mounts, arguments, Done(status, "", log.read_text(), seconds))


@pytest.fixture(scope="session")
def resumed(docker: Docker, stopped: Stopped) -> Done:
    """The same call again."""
    return docker(stopped.mounts, *stopped.arguments)


@pytest.fixture(scope="session")
def group(docker: Docker, stopped: Stopped, resumed: Done) -> Done:
    """The group level over what the participants made."""
    options = ("-w", "/scratch", "--covariates", "mean_fd", *QUICK[1:])
    return docker(stopped.mounts, "/data", "/out", "group", *options)


def _wait_for(word: str, log: Path, app: "subprocess.Popen[bytes]") -> None:
    stop = time.monotonic() + 1200
    while word not in log.read_text():
        assert app.poll() is None, log.read_text()
        assert time.monotonic() < stop, log.read_text()
        time.sleep(0.2)
