"""The files of the repository, as the house tests look at them."""

import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "rls_bids"
NOT_OURS = {".git", ".venv", ".venv-fresh", "demo", "build", "dist", "work", "__pycache__"}


def modules() -> list[Path]:
    """Return the modules of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def text_files() -> list[Path]:
    """Return the tracked and untracked files (not the ignored ones) that hold text."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [REPO / name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive, without git
        paths = [p for p in REPO.rglob("*") if not NOT_OURS & set(p.relative_to(REPO).parts)]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()[:1024]]
