"""Which sessions have a page of their own, and which notes are told there."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rls_bids.records import Note, Participant
from rls_bids.settings import InputSettings

_SESSION = re.compile(r"_ses-([A-Za-z0-9+]+)(?=[_.]|$)")


def page_sessions(
    participant: Participant, notes: Iterable[Note], given: InputSettings
) -> tuple[str | None, ...]:
    """Return the sessions that get a page; ``(None,)`` stands for one page of everything.

    A session of which nothing can be used has a page, too: it is known by its name in the
    request or in a note. With ``--session-label`` only those sessions have one.

    Parameters
    ----------
    participant : Participant
    notes : iterable of Note
        All of this participant.
    given : InputSettings
        ``by_session`` and the labels asked for.
    """
    if not given.by_session:
        return (None,)
    found = {session.session for session in participant.sessions}
    found |= {anatomy.session for anatomy in participant.anatomies}
    named = {label for note in notes for label in _sessions_in(note)}
    labels = {label for label in found | named if label} | set(given.session_labels)
    if given.session_labels:
        labels &= set(given.session_labels)
    return tuple(sorted(labels)) or (None,)


def notes_of_session(notes: Sequence[Note], session: str) -> list[Note]:
    """Return the notes that do not speak of another session's file."""
    return [note for note in notes if session in (_sessions_in(note) or {session})]


def _sessions_in(note: Note) -> set[str]:
    """Return the session in the name of the file that a note is about, if there is one."""
    return set(_SESSION.findall(Path(note.where).name))
