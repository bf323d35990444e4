"""Who may import whom: the contracts of pyproject.toml hold, and each of them can break."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import PACKAGE, REPO


def lint(folder: Path) -> tuple[int, str]:
    """Run import-linter over the package in ``folder``."""
    command = (
        "import sys; from importlinter.cli import lint_imports as f; sys.exit(f(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_contracts_are_kept() -> None:
    status, said = lint(REPO)
    assert status == 0, said


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("utils.py", "X = 1", "utils"),
        (
            "engine/extra.py",
            "import rls_bids.app",
            "A lower room never imports a higher one BROKEN",
        ),
        ("numerics/extra.py", "import nibabel", "know arrays only BROKEN"),
        ("workflows/extra.py", "import numpy", "hold no numbers BROKEN"),
        ("interfaces/extra.py", "import scipy.ndimage", "do not compute BROKEN"),
        ("dataset/extra.py", "import bids", "Only the query knows pybids BROKEN"),
        ("interfaces/extra.py", "import ants", "know ANTs BROKEN"),
        ("figures/extra.py", "import nipype", "know nipype BROKEN"),
        ("measures/extra.py", "import rls_bids.measures.seed", "import each other BROKEN"),
    ],
)
def test_a_violation_is_seen(module: str, line: str, broken: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "rls_bids", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", tmp_path)
    (tmp_path / "rls_bids" / module).write_text(line + "\n")
    status, said = lint(tmp_path)
    assert status != 0
    assert broken in said
