"""A list of the files one node makes, with what only the run knew of each.

A node that makes many files hands on one manifest; each entry has the checksum of its file, so
that whatever depends on the manifest is recomputed when a file changes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rls_bids.dataset.description import content_hash, read_json, write_json


def save_manifest(entries: Sequence[dict[str, Any]], folder: Path) -> str:
    """Write ``manifest.json`` into `folder`; return its path.

    Each entry has `key`, `file` (name inside `folder`, empty for a result that could not be made)
    and `metadata` for the sidecar.
    """
    stamped = [
        {**entry, "sha256": content_hash(folder / entry["file"]) if entry["file"] else ""}
        for entry in entries
    ]
    path = folder / "manifest.json"
    write_json(path, {"entries": stamped})
    return str(path)


def load_manifest(path: str | Path) -> list[dict[str, Any]]:
    """Return the entries with absolute file paths (empty where there is none)."""
    folder = Path(path).parent
    return [
        {**entry, "file": str(folder / entry["file"]) if entry["file"] else ""}
        for entry in read_json(Path(path))["entries"]
    ]
