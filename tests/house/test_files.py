"""Nothing in the repository is tied to one machine, and nothing is left half done."""

import re

import pytest

from tests.house.tree import REPO, text_files

# Written in pieces, so that this file is not found by its own patterns.
MACHINE_PATH = re.compile(r"(?<![\w.~})\]/-])/(?:root|work|Users/\w+|home/\w+)/\w")
REGISTRY = re.compile(
    "|".join(["index" + "-url", "python" + r"hosted\.org", r"registry\.npm" + "js"])
)
UNFINISHED = re.compile(
    "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"])
)


def hits(pattern: re.Pattern[str], under: str = "") -> list[str]:
    found = []
    for path in text_files():
        name = path.relative_to(REPO).as_posix()
        if name.startswith(under):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [f"{name}:{n}" for n, line in enumerate(lines, 1) if pattern.search(line)]
    return found


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["machine path", "registry"])
def test_nothing_of_one_machine(pattern: re.Pattern[str]) -> None:
    assert hits(pattern) == []


@pytest.mark.parametrize("under", ["rls_bids/", "tests/", "benchmarks/"])
def test_nothing_unfinished(under: str) -> None:
    assert hits(UNFINISHED, under) == []


@pytest.mark.parametrize(
    ("text", "is_hit"),
    [("see /" + "root/x", True), ("-v '/" + "home/ann/data'", True), ("demo/work/x", False),
     ("~/work/x", False), ("/data/sub-01", False)],
)  # fmt: skip
def test_the_pattern_is_right(text: str, is_hit: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) is is_hit
