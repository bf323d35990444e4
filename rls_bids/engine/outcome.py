"""What happened to those who were asked for: failures as notes, notes as an exit status."""

from collections.abc import Sequence

from rls_bids.engine.crashes import Failure
from rls_bids.errors import EXIT_DATA, EXIT_FAILED, EXIT_OK
from rls_bids.records import Note, Participant

REFUSED = "RunRefused"


def note_of(failure: Failure) -> Note:
    """Turn the failure of a node into a note: refused data are skipped, the rest failed."""
    return Note(
        participant=failure.participant,
        level="skipped" if failure.exception == REFUSED else "failed",
        message=failure.message,
        hint=failure.hint,
        where=failure.crash_file or failure.node,
        exit_status=failure.exit_status,
    )


def exit_status(
    participants: Sequence[Participant], notes: Sequence[Note], *, n_strategies: int
) -> int:
    """Return 0, 1 or 65 for what happened to the requested participants.

    ``n_strategies`` is 0 where only the anatomy was asked for. Something that failed gives 1, but
    65 when unusable input data explain all of it: no requested participant came through, or some
    were merely refused for too little data.
    """
    failed = [note for note in notes if note.level == "failed"]
    unusable = set()
    for participant in participants:
        refused = [
            note
            for note in notes
            if note.participant == participant.label
            and note.level == "skipped"
            and note.exit_status == EXIT_DATA
        ]
        broken = any(note.participant == participant.label for note in failed)
        n_expected = len(participant.sessions) * n_strategies
        wanted = participant.sessions if n_strategies else participant.anatomies
        if broken or not wanted or len(refused) >= n_expected > 0:
            unusable.add(participant.label)
    if not failed and not unusable:
        return EXIT_OK
    only_data = all(note.exit_status == EXIT_DATA for note in failed)
    if only_data and (not failed or len(unusable) == len(participants)):
        return EXIT_DATA
    return EXIT_FAILED
