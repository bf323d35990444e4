"""The call in a container: what is mounted, what is passed on, and what is refused."""

import csv
import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rls_bids import docker
from rls_bids.cli import read_arguments
from rls_bids.errors import EXIT_SOFTWARE, EXIT_USAGE, UsageError
from rls_bids.options import MANY, MAYBE, NUMBER, NUMBERS, OFF, ON, OPTIONS, PAIR, TEXT, WHOLE
from rls_bids.paths import OUTPUT_IN_INPUT
from rls_bids.settings import build_settings, to_toml
from rls_bids.settings.limits import PATHS
from tests.house.tree import REPO

ROWS = [row for rows in OPTIONS.values() for row in rows]
SAMPLES = {
    MANY: ["a", "b c"], TEXT: ["a b"], WHOLE: ["3"], NUMBER: ["0.25"], NUMBERS: ["0.1", "0.2"],
    PAIR: ["0.01", "0.1"], ON: [], OFF: [], MAYBE: ["a b"],
}  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with spaces and commas in its name, with a data set, as the current one."""
    folder = tmp_path / "my, place"
    (folder / "raw data").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv(docker.TEMPLATEFLOW, raising=False)
    return folder


def call(text, paths="'raw data' out participant"):
    command, _ = docker.make_command([*shlex.split(paths), *shlex.split(text)])
    return command


def mounts_of(command):
    """Read the mounts as an engine does: path inside → (path outside, whether it is written)."""
    found = {}
    for flag, text in itertools.pairwise(command):
        if flag == "--mount":
            (fields,) = csv.reader([text])
            pairs = dict(field.partition("=")[::2] for field in fields)
            assert pairs["type"] == "bind"
            found[Path(pairs["target"])] = (Path(pairs["source"]), "readonly" not in pairs)
    return found


def inside(command, image=docker.IMAGE):
    return command[command.index(image) + 1 :]


def test_the_data_are_read_only_and_the_rest_is_written(place):
    command = call("")
    written = {place / "raw data": False, place / "out": True, place / "work": True}
    assert mounts_of(command) == {path: (path, w) for path, w in written.items()}
    assert (place / "out").is_dir()
    given = read_arguments(inside(command))
    assert given["input.bids_dir"] == str(place / "raw data")
    assert given["run.work_dir"] == str(place / "work")


def test_the_container_has_no_network_and_no_privilege(place, monkeypatch):
    command = call("")
    text = shlex.join(command)
    assert command[:3] == ["docker", "run", "--rm"]
    assert "--network none --read-only --tmpfs /tmp" in text
    assert f"--user {os.getuid()}:{os.getgid()}" in text
    assert "RLS_BIDS_CONTAINER=rls_bids" in text
    monkeypatch.setattr(os, "getuid", lambda: 1001)
    other = call("--engine podman --image my/rls:1 --engine-options='--cpus 2 --memory 4g'")
    assert "--userns keep-id" in shlex.join(other)
    assert other[0] == "podman"
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert "--userns" not in call("--engine podman")
    assert shlex.join(other[: other.index("my/rls:1")]).find("--cpus 2 --memory 4g") > 0


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_option_reaches_the_container_as_it_was_given(row):
    flags, setting, kind, _, _ = row
    for flag in flags.split():
        given = read_arguments(["/raw", "/out", "group", flag, *SAMPLES[kind], "-v"])
        assert setting in given
        assert read_arguments(docker.write_arguments(given)) == given


def test_every_option_with_a_path_is_mounted():
    """Whoever adds an option for a path adds it to the table of paths, which is the one used."""
    taken = {*PATHS, "config_file", "denoise.strategies"}
    named = {
        setting: shown for _, setting, _, shown, _ in ROWS
        if any(word in shown for word in ("FILE", "DIR", "PATH"))
    }  # fmt: skip
    assert {setting: shown for setting, shown in named.items() if setting not in taken} == {}
    assert set(docker.WRITTEN) <= set(PATHS)
    assert set(docker.WITH_FOLDER) <= set(PATHS)


@pytest.mark.parametrize(
    ("option", "name", "mounted", "is_written"),
    [
        ("--bids-filter-file", "f.json", "f.json", False),
        ("--bids_filter_file", "f.json", "f.json", False),
        ("--seeds", "seeds/s.tsv", "seeds", False),
        ("--network-maps", "nets/n.nii.gz", "nets", False),
        ("--atlases", "atlases/a_dseg.nii.gz", "atlases", False),
        ("--nipype-plugin-file", "p.toml", "p.toml", False),
        ("--use-plugin", "p.toml", "p.toml", False),
        ("-p", "model.yaml", "model.yaml", False),
        ("--mount", "elsewhere/annex", "elsewhere", False),
        ("-w", "scratch", "scratch", True),
        ("--bids-database-dir", "index", "index", True),
    ],
)
def test_paths_of_options_are_mounted(place, option, name, mounted, is_written):
    if not is_written:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).touch()
    if option == "--mount":
        name = mounted
    command = call(f"{option} {name}")
    assert mounts_of(command)[place / mounted] == (place / mounted, is_written)
    if option != "--mount":
        assert str(place / name) in inside(command)


def test_names_are_not_taken_for_paths(place):
    (place / "model.yml").touch()
    command = call("--atlases AAL3 none -p acompcor:nocensor model.yml:nocensor")
    assert set(mounts_of(command)) == {place / n for n in ("raw data", "out", "work", "model.yml")}
    given = read_arguments(inside(command))
    assert given["measures.atlases"] == ["AAL3", "none"]
    assert given["denoise.strategies"] == ["acompcor:nocensor", f"{place}/model.yml:nocensor"]


def test_derivatives_keep_their_names(place):
    for name in ("fmriprep", "other prep", ".hidden"):
        (place / name).mkdir()
    command = call("-d fmriprep 'lts=other prep' .hidden")
    assert {place / "fmriprep", place / "other prep"} <= set(mounts_of(command))
    given = read_arguments(inside(command))
    want = [f"{place}/fmriprep", f"lts={place}/other prep", f"{place}/.hidden"]
    assert given["input.derivatives"] == want


def test_links_are_followed(place):
    (place / "store").mkdir()
    (place / "link").symlink_to(place / "store")
    command = call("", "link out participant")
    assert mounts_of(command)[place / "store"] == (place / "store", False)
    assert inside(command)[0] == str(place / "store")


def test_paths_of_an_earlier_run_are_mounted(place):
    (place / "prep").mkdir()
    earlier = build_settings({
        "analysis_level": "participant", "input.bids_dir": str(place / "raw data"),
        "input.output_dir": str(place / "old"), "run.work_dir": str(place / "ssd"),
        "input.derivatives": [str(place / "prep")],
    })  # fmt: skip
    (place / "settings.toml").write_text(to_toml(earlier))
    found = mounts_of(call("--config-file settings.toml"))
    expected = {"raw data": False, "out": True, "ssd": True, "prep": False, "settings.toml": False}
    assert {path: w for path, (_, w) in found.items()} == {
        place / n: w for n, w in expected.items()
    }
    assert place / "here" in mounts_of(call("--config-file settings.toml -w here"))


def test_templateflow_goes_along(place, monkeypatch):
    (place / "tpl").mkdir()
    monkeypatch.setenv(docker.TEMPLATEFLOW, "tpl")
    command = call("")
    assert mounts_of(command)[place / "tpl"] == (place / "tpl", False)
    assert f"{docker.TEMPLATEFLOW}={place / 'tpl'}" in command


@pytest.mark.parametrize(
    ("text", "flag", "name"),
    [
        ("nowhere out participant", "BIDS_DIR", "nowhere"),
        ("'raw data' out participant -d nowhere", "--derivatives", "nowhere"),
        ("'raw data' out participant --seeds s.tsv", "--seeds", "s.tsv"),
        ("'raw data' out group --atlases a/b_dseg.nii.gz", "--atlases", "a/b_dseg.nii.gz"),
        ("'raw data' out participant -p m.yaml", "--nuisance-regressors", "m.yaml"),
        ("'raw data' out participant --mount m", "--mount", "m"),
    ],
)
def test_what_is_not_there_is_named(place, text, flag, name, capsys):
    assert docker.main([*shlex.split(text), "--print-command"]) == EXIT_USAGE
    said = docker.NO_PATH.format(flag=flag, path=place / name)
    assert capsys.readouterr().err == f"{docker.PROGRAM}: error: {said}\n"
    assert not (place / "out").exists()


def test_a_missing_settings_file_is_named(place):
    with pytest.raises(UsageError, match=r"--config-file names s\.toml"):
        call("--config-file s.toml")


@pytest.mark.parametrize("path", ["/", "/usr/share", "/etc"])
def test_the_image_is_not_hidden(place, path):
    with pytest.raises(UsageError) as caught:
        call("", f"{path} out participant")
    assert caught.value.message == docker.HIDES.format(path=path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("'raw data' out participant --sedes x", "Did you mean '--seeds'?"),
        ("'raw data' out", "See rls_bids --help."),
        ("--participant-label 01 'raw data' out participant", "has swallowed"),
        ("'raw data' 'raw data' participant", OUTPUT_IN_INPUT.split("{bids}")[1]),
    ],
)
def test_a_call_that_cannot_be_met_never_reaches_the_engine(place, text, words, capsys):
    assert docker.main(shlex.split(text)) == EXIT_USAGE
    assert words in capsys.readouterr().err


def test_no_engine_is_said(place, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(place))
    assert docker.main(["raw data", "out", "participant"]) == EXIT_SOFTWARE
    said = capsys.readouterr().err
    assert docker.NO_ENGINE.format(engine="docker") in said
    assert docker.NO_ENGINE_HINT.format(other="podman") in said


@pytest.mark.parametrize("flag", docker.ANSWERS)
def test_questions_are_answered_by_the_image(place, flag):
    assert inside(docker.make_command([flag])[0]) == [flag]


def fake_engine(place, script):
    """Put a script in the place of docker, and return the environment that finds it first."""
    (place / "bin").mkdir()
    engine = place / "bin/docker"
    engine.write_text(f"#!/bin/bash\n{script}\n")
    engine.chmod(0o755)
    return os.environ | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(REPO)}


def wrapped(environment):
    command = [sys.executable, "-m", "rls_bids.docker", "raw data", "out", "group"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_the_exit_status_and_arguments_are_those_of_the_engine(place):
    with wrapped(fake_engine(place, 'printf "%s\\n" "$@"; exit 65')) as done:
        out, _ = done.communicate(timeout=60)
    assert done.returncode == 65
    assert out.splitlines()[0] == "run"
    assert out.splitlines()[-5:-2] == [f"{place}/raw data", f"{place}/out", "group"]


def test_signals_reach_the_engine(place):
    script = "trap 'exit 143' TERM\necho up\nwhile :; do sleep 0.05; done"
    with wrapped(fake_engine(place, script)) as done:
        assert done.stdout.readline() == "up\n"
        start = time.monotonic()
        done.send_signal(signal.SIGTERM)
        assert done.wait(timeout=30) == 143
    assert time.monotonic() - start < 5


def test_only_the_standard_library_is_needed(place):
    code = (
        f"import sys; sys.path.insert(0, {str(REPO)!r}); from rls_bids.docker import main; "
        "sys.exit(main(['raw data', 'out', 'group', '--print-command']))"
    )
    # -S: no site-packages at all
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout)[0] == "docker"
    assert not (place / "out").exists()
