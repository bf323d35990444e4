"""What the app says at the end: exit codes for what happened to the requested participants."""

from rls_bids.engine.outcome import exit_status
from rls_bids.errors import EXIT_DATA, EXIT_FAILED, EXIT_OK
from rls_bids.records import Anatomy, Note, Participant, Session

ANATOMY = Anatomy(participant="01", session=None, t1w="t1w.nii.gz", content="")


def participant(label: str, *, has_bold: bool = True) -> Participant:
    session = Session(participant=label, session=None, task="rest", anatomy=ANATOMY, runs=())
    return Participant(
        label=label, anatomies=(ANATOMY,), sessions=(session,) if has_bold else (), notes=()
    )


def note(label: str, level: str, status: int) -> Note:
    return Note(participant=label, level=level, message="why", exit_status=status)


def test_all_went_well() -> None:
    assert exit_status([participant("01")], [note("01", "info", 0)], n_strategies=1) == EXIT_OK


def test_refused_participants_are_no_failure_but_65() -> None:
    two = [participant("01"), participant("02")]
    refused = [note("01", "skipped", EXIT_DATA)]
    assert exit_status(two, refused, n_strategies=1) == EXIT_DATA
    assert exit_status(two, refused, n_strategies=2) == EXIT_OK  # the other strategy came through


def test_one_broken_participant_of_two_is_a_failure() -> None:
    two = [participant("01"), participant("02")]
    broken = [note("01", "failed", EXIT_DATA)]
    assert exit_status(two, broken, n_strategies=1) == EXIT_FAILED
    assert exit_status(two[:1], broken, n_strategies=1) == EXIT_DATA
    assert exit_status(two[:1], [note("01", "failed", 1)], n_strategies=1) == EXIT_FAILED


def test_without_bold_only_the_anatomy_can_be_done() -> None:
    one = [participant("01", has_bold=False)]
    assert exit_status(one, [], n_strategies=1) == EXIT_DATA
    assert exit_status(one, [], n_strategies=0) == EXIT_OK
