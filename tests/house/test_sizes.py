"""Files, functions and workflow builders stay small enough to read at one sitting.

A function is counted without its docstring, so that nobody saves on explanations.
"""

import ast
from pathlib import Path

import pytest

from tests.house.tree import REPO, modules

MAX_FILE, MAX_FUNCTION, MAX_BUILDER = 400, 50, 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


def n_code_lines(function: Function) -> int:
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


def too_long(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            is_builder = node.name.startswith("init_") and node.name.endswith("_wf")
            limit = MAX_BUILDER if is_builder else MAX_FUNCTION
            if n_code_lines(node) > limit:
                found.append(f"{node.name}: {n_code_lines(node)} lines, at most {limit}")
    return found


def python_files() -> list[Path]:
    return [*modules(), *(REPO / "tests").rglob("*.py"), *(REPO / "benchmarks").rglob("*.py")]


def test_files_are_short() -> None:
    sizes = {
        p.relative_to(REPO).as_posix(): len(p.read_text().splitlines()) for p in python_files()
    }
    assert {name: n for name, n in sizes.items() if n > MAX_FILE} == {}


def test_functions_are_short() -> None:
    found = {p.relative_to(REPO).as_posix(): too_long(p.read_text()) for p in modules()}
    assert {name: functions for name, functions in found.items() if functions} == {}


@pytest.mark.parametrize(
    ("name", "n_lines", "is_too_long"),
    [("f", 49, False), ("f", 50, True), ("init_bold_wf", 59, False), ("init_bold_wf", 60, True)],
)
def test_the_ruler_is_right(name: str, n_lines: int, is_too_long: bool) -> None:
    source = "\n".join([f"def {name}():", '    """A docstring."""', *["    x = 1"] * n_lines])
    assert bool(too_long(source)) is is_too_long
