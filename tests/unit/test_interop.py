"""What other programs are told of rls_bids: as its own options and names have it."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from rls_bids import __version__
from rls_bids.cli import parse_arguments
from rls_bids.dataset import naming
from rls_bids.options import OPTIONS, make_parser
from rls_bids.settings.limits import LEVELS

INTEROP = Path(__file__).resolve().parents[2] / "interop"
VALUES = {"String": "x", "Number": "3", "File": "f.json"}


def read(name: str) -> dict:
    return json.loads((INTEROP / name).read_text(encoding="utf-8"))


@pytest.fixture
def descriptor() -> dict:
    return read("boutiques.json")


def test_descriptors_are_in_step_with_the_options() -> None:
    done = subprocess.run(
        [sys.executable, INTEROP / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert read("boutiques.json") == read("nipoppy/descriptor.json")


def test_every_option_has_an_input_and_every_input_an_option(descriptor: dict) -> None:
    told = {one.get("command-line-flag") for one in descriptor["inputs"]} - {None}
    options = [flags.split() for table in OPTIONS.values() for flags, *_ in table]
    assert all(len(told & set(flags)) == 1 for flags in options)
    assert told - {flag for flags in options for flag in flags} == {"-v"}
    names = [one["id"] for one in descriptor["inputs"]]
    assert len(names) == len(set(names))
    keys = [one["value-key"] for one in descriptor["inputs"]]
    assert descriptor["command-line"].split()[1:] == keys
    assert descriptor["tool-version"] == __version__


def test_the_parser_takes_what_the_descriptor_says(descriptor: dict) -> None:
    parser = make_parser()
    start = ["/raw", "/out", LEVELS[0]]
    for one in descriptor["inputs"][3:]:
        argv = [one["command-line-flag"]]
        if one["type"] != "Flag":
            n = one.get("min-list-entries", 2 if one.get("list") else 1)
            value = str(one["value-choices"][0]) if "value-choices" in one else VALUES[one["type"]]
            argv += [value] * n
        found = vars(parser.parse_args([*start, *argv]))
        assert len(found) == 4, one["id"]


def test_nipoppy_passes_inputs_that_exist(descriptor: dict) -> None:
    known = {one["id"] for one in descriptor["inputs"]}
    needed = {one["id"] for one in descriptor["inputs"] if not one["optional"]}
    invocation = read("nipoppy/invocation.json")
    assert needed <= set(invocation) <= known
    config = read("nipoppy/config.json")
    assert config["VERSION"] == __version__
    for step in config["STEPS"]:
        files = [value for key, value in step.items() if key.endswith("_FILE")]
        assert all((INTEROP / "nipoppy" / name).is_file() for name in files)


def test_nipoppy_tracks_files_that_are_written() -> None:
    standard = {"space": "MNI152NLin2009cAsym", "res": "2"}
    written = [
        naming.report_page("01", "A"),
        naming.derivative("t1w", "01", "A"),
        naming.derivative("confounds", "01", "A", task="rest", run="1"),
        naming.derivative(
            "seed_map", "01", "A", task="rest", **standard, denoise="acompcor", seed="PCC",
            stat="fisherz",
        ),
    ]  # fmt: skip
    patterns = [
        path.replace("[[NIPOPPY_BIDS_PARTICIPANT_ID]]", "sub-01").replace(
            "[[NIPOPPY_BIDS_SESSION_ID]]", "ses-A"
        )
        for path in read("nipoppy/tracker.json")["PATHS"]
    ]
    assert len(patterns) == len(written)
    for pattern, path in zip(patterns, written, strict=True):
        assert fnmatch(path, pattern)


@pytest.mark.parametrize("by_session", [False, True])
def test_babs_calls_the_app_as_it_can_be_called(tmp_path: Path, by_session) -> None:
    text = (INTEROP / "babs" / "rls_bids.yaml").read_text(encoding="utf-8")
    if by_session:
        text = re.sub(r"# (\$SESSION_SELECTION_FLAG|--by-session)", r"\1", text)
    config = yaml.safe_load(text)
    argv = [str(tmp_path / "raw"), str(tmp_path / "out"), "participant"]
    for key, value in config["bids_app_args"].items():
        flag = {"$SUBJECT_SELECTION_FLAG": value, "$SESSION_SELECTION_FLAG": value}.get(key, key)
        given = {
            "$SUBJECT_SELECTION_FLAG": "sub-01",
            "$SESSION_SELECTION_FLAG": "ses-A",
            "-w": str(tmp_path / "work"),
        }.get(key, value)
        argv += [flag, given] if given else [flag]
    settings = parse_arguments(argv)
    assert settings.input.participant_labels == ("01",)
    assert settings.input.session_labels == (("A",) if by_session else ())
    assert settings.input.by_session is by_session
    assert settings.run.mem_gb == 7
    assert config["zip_foldernames"] == {"rls_bids": __version__.replace(".", "-")}


def test_scripts_are_bash() -> None:
    scripts = sorted(INTEROP.rglob("*.sh"))
    assert scripts
    for script in scripts:
        done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


STAND_IN = """#!/bin/bash
echo "{name} $*" >>"$CALLS"
{body}
"""


@pytest.fixture
def openneuro(tmp_path: Path):
    """Run the script with stand-ins of datalad and of the app, which fails for sub-02."""
    places = tmp_path / "bin"
    places.mkdir()
    bodies = {
        "datalad": '[ "$1" = clone ] && mkdir -p "$3"/sub-0{1,2}/{anat,func} && '
        'touch "$3"/sub-0{1,2}/anat/x_T1w.nii.gz "$3"/sub-0{1,2}/func/x_task-nback_bold.nii.gz '
        '"$3"/participants.tsv; exit 0',
        "rls_bids": '[[ "$*" != *sub-02* ]] || [ -e fixed ]',
        "git": "exit 0",
    }
    for name, body in bodies.items():
        (places / name).write_text(STAND_IN.format(name=name, body=body))
        (places / name).chmod(0o755)
    calls = tmp_path / "calls"

    def run(*arguments: str) -> tuple[int, list[str], str]:
        calls.write_text("")
        done = subprocess.run(
            ["bash", INTEROP / "openneuro.sh", *arguments],
            cwd=tmp_path,
            env={"PATH": f"{places}:/usr/bin:/bin", "CALLS": str(calls)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        lines = calls.read_text().replace(f"{tmp_path}/", "").splitlines()
        return done.returncode, lines, done.stderr

    return run


def test_openneuro_one_participant_after_the_other(openneuro, tmp_path: Path) -> None:
    data, out = "ds000001", "ds000001-rls_bids"
    call = f"rls_bids {data} {out} {{}} -w ds000001-work --n-cpus 3 --smoothing 4"
    asked = (data, "--version", "1.0.0", "--jobs", "3", "--", "--smoothing", "4")
    status, lines, _ = openneuro(*asked)
    assert status == 1  # sub-02 failed
    assert lines == [
        f"datalad clone https://github.com/OpenNeuroDatasets/{data}.git {data}",
        f"git -C {data} checkout --quiet 1.0.0",
        f"datalad -C {data} get {data}/sub-01/anat/x_T1w.nii.gz",
        call.format("participant --participant-label sub-01"),
        f"datalad -C {data} drop {data}/sub-01/anat/x_T1w.nii.gz",
        f"datalad -C {data} get {data}/sub-02/anat/x_T1w.nii.gz",
        call.format("participant --participant-label sub-02"),
        call.format("group"),
    ]
    (tmp_path / "fixed").touch()
    status, lines, _ = openneuro(*asked)
    assert status == 0
    assert not [line for line in lines if "sub-01" in line or "clone" in line]
    assert call.format("participant --participant-label sub-02") in lines


def test_openneuro_fetches_only_when_it_is_told_to(openneuro) -> None:
    status, lines, _ = openneuro("ds000001", "--fetch-only")
    assert status == 0
    assert sum(" get " in line for line in lines) == 2
    assert not [line for line in lines if line.startswith("rls_bids")]


@pytest.mark.parametrize("arguments", [(), ("000001",), ("ds000001", "--speed")])
def test_openneuro_says_how_it_is_called(openneuro, arguments) -> None:
    status, lines, error = openneuro(*arguments)
    assert (status, lines) == (2, [])
    assert "openneuro.sh ds000000" in error
