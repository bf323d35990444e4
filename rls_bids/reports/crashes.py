"""The crash files that a page shows."""

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from rls_bids.records import Note
from rls_bids.reports.pages import Crash
from rls_bids.settings import Settings

LONGEST_CRASH = 20_000


def read_crashes(
    root: Path, owner: str, notes: Iterable[Note], settings: Settings
) -> Iterator[Crash]:
    """Yield the crash texts of this call; when only pages are written, those of the last one.

    ``owner`` is the folder of the participant, or ``group``.
    """
    titles = {note.where: note.message for note in notes if note.where and note.level == "failed"}
    paths = [Path(where) for where in titles]
    if settings.run.reports_only:
        paths += [path for path in _last_crashes(root / owner) if str(path) not in titles]
    for path in paths:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if len(text) > LONGEST_CRASH:
            text = f"{text[:LONGEST_CRASH]}\n… (the rest is in the file)"
        place = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        yield Crash(title=titles.get(str(path)) or path.stem, text=text, path=place)


def _last_crashes(owner: Path) -> list[Path]:
    """Return the crash files of the last call that computed something."""
    for folder in sorted((owner / "log").glob("*"), reverse=True):
        try:
            saved = tomllib.loads((folder / "settings.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not saved.get("run", {}).get("reports_only", False):
            return sorted(folder.glob("crash-*.txt"))
    return []
