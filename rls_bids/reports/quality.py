"""The quality table of each run on a participant's page, and what it warns of."""

import csv
from pathlib import Path
from typing import Any

from rls_bids.records import Entities, Note
from rls_bids.reports.pages import Table
from rls_bids.reports.texts import run_title

CAPTION = "Quality"
HEADER = ("What", "Value", "Unit")
FALLBACK = (
    "Registration on the white-matter boundary went astray ({fault}); that by mutual information "
    "is used. Check the coregistration."
)


def quality_table(root: Path, path: str, metadata: dict[str, Any]) -> Table | None:
    """Return the numbers of one run with what they mean; ``None`` when they cannot be read.

    Parameters
    ----------
    root : Path
        The output directory.
    path : str
        The table, relative to it.
    metadata : dict
        Its sidecar, which explains the columns.
    """
    try:
        with (root / path).open(encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"), {})
    except OSError:
        return None
    rows = []
    for name, value in row.items():
        told = metadata.get(name, {})
        rows.append((str(told.get("Description", name)).rstrip("."), value, told.get("Units", "")))
    return Table(caption=CAPTION, header=HEADER, rows=tuple(rows)) if rows else None


def quality_notes(
    label: str,
    session: str | None,
    run: Entities,
    quality: dict[str, Any],
    coregistration: dict[str, Any],
) -> list[Note]:
    """Return what must be said loudly of one run: what is cut off, and a doubtful registration."""
    messages = [str(message) for message in quality.get("CutOff", [])]
    if fault := coregistration.get("BoundaryFault"):
        messages.append(FALLBACK.format(fault=fault))
    where = run_title(session, run)
    return [
        Note(participant=label, level="warning", message=f"{where}: {message}")
        for message in messages
    ]
