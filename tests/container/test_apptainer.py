"""The same image as a SIF, as an ordinary user of a cluster runs it."""

import os
import shutil
from pathlib import Path

import pytest

from tests.container.conftest import QUICK, Done, Stopped, run

pytestmark = pytest.mark.container

NOBODY = 65534
LABEL = "HC001"
# What a cluster's environment and home bring along must not come in.
STRICT = ("--cleanenv", "--containall", "--no-home", "--net", "--network", "none")
NOISE = {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "OMP_NUM_THREADS": "x"}


def apptainer(action: str, binds: dict[str, Path], *arguments: object) -> Done:
    """Run the SIF without privileges, and without a home folder."""
    sif = Path(os.environ["RLS_BIDS_SIF"])
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(sif.parent), **NOISE}
    command = [os.environ["RLS_BIDS_APPTAINER"], "--quiet", action, *STRICT]
    for inside, path in binds.items():
        command += ["--bind", f"{path}:{inside}" + (":ro" if inside == "/data" else "")]
    return run(
        *command, sif, *arguments,
        env=environment, user=NOBODY, group=NOBODY, extra_groups=[], cwd=sif.parent,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sif() -> None:
    """Skip where there is no SIF."""
    if not os.environ.get("RLS_BIDS_SIF"):
        pytest.skip("there is no SIF; make e2e-container makes it where Apptainer runs")


@pytest.fixture(scope="module")
def binds(stopped: Stopped, group: Done, base: Path) -> dict[str, Path]:
    """The raw data, and the results of the others, as an ordinary user's."""
    home = base / "of nobody"
    home.mkdir()
    shutil.copytree(stopped.out, home / "out put")
    for path in home.glob(f"out put/sub-{LABEL}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (home / "scratch").mkdir()
    for path in (home, *home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return {
        "/data": stopped.mounts["/data"],
        "/out": home / "out put",
        "/scratch": home / "scratch",
    }


def test_home_is_absent_and_nothing_of_the_host_comes_in(binds: dict[str, Path]) -> None:
    done = apptainer("exec", {}, "sh", "-c", 'ls "$HOME"; touch /opt/x; env')
    assert "No such file or directory" in done.err
    assert "Read-only file system" in done.err or "Permission denied" in done.err
    assert not [line for line in done.out.splitlines() if "/nowhere" in line]
    assert "OMP_NUM_THREADS=1" in done.out.splitlines()


def test_a_participant_and_the_group_end_well(stopped: Stopped, binds: dict[str, Path]) -> None:
    # As many CPUs, and so threads, as docker allows: sums of more threads round differently.
    options = ("-w", "/scratch", "--n-cpus", 2, *QUICK)
    done = apptainer(
        "run", binds, "/data", "/out", "participant", "--participant-label", LABEL, *options
    )
    assert done.status == 0, done.err
    assert (binds["/out"] / f"sub-{LABEL}.html").is_file()
    # Docker's were stopped on the way and resumed, these were made at one go.
    images = [
        {path.name: path.read_bytes() for path in (out / f"sub-{LABEL}").rglob("*.nii.gz")}
        for out in (stopped.out, binds["/out"])
    ]
    assert len([name for name in images[0] if name.endswith("map.nii.gz")]) >= 4
    assert sorted(images[0]) == sorted(images[1])
    assert [name for name in images[0] if images[0][name] != images[1][name]] == []
    shutil.rmtree(binds["/out"] / "group")
    level = ("group", "--covariates", "mean_fd", "-w", "/scratch", *QUICK[1:])
    done = apptainer("run", binds, "/data", "/out", *level)
    assert done.status == 0, done.err
    assert list((binds["/out"] / "group").glob("model-*.html"))


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("/data", "/out", "participant", "--sedes", "x"), 2, "--seeds"),
        (("/data/sub-HC002", "/out", "participant", "-w", "/scratch"), 65, "dataset_description"),
        # the default work directory, where nothing can be written
        (("/data", "/out", "participant"), 74, "/work"),
    ],
)
def test_wrong_input_has_its_exit_status(
    binds: dict[str, Path], arguments: tuple, status: int, word: str
) -> None:
    done = apptainer("run", binds, *arguments)
    assert done.status == status, done.err
    assert word in done.err
    assert "Traceback" not in done.err
