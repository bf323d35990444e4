"""The command line starts without the heavy libraries, so that --help is instant."""

import subprocess
import sys

import pytest

HEAVY = {
    "ants", "bids", "jinja2", "matplotlib", "nibabel", "nilearn", "nipype", "numba", "numpy",
    "pandas", "scipy", "sklearn", "statsmodels",
}  # fmt: skip


@pytest.mark.parametrize("module", ["rls_bids.cli", "rls_bids.phantom.cli", "rls_bids.settings"])
def test_import_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.parametrize("module", ["rls_bids.cli", "rls_bids.phantom.cli"])
def test_help_is_light(module: str) -> None:
    code = (
        f"import sys, {module} as cli\n"
        "try:\n    cli.main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(*sorted({n.split('.')[0] for n in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert "usage:" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()
