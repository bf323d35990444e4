"""From an exception to a record."""

import traceback
from pathlib import Path

import pytest

from rls_bids.engine.crashes import Witness, describe, parse_traceback, read_crashes
from rls_bids.errors import EXIT_DATA, EXIT_FAILED, CannotWriteError, RunRefused

FULL = "The folder\nis full."
NO_FILE = "[Errno 2] No such file or directory: '/no'"


def text_of(action):
    with Witness() as witness:
        action()
    return "".join(traceback.format_exception(witness.error))


def chain():
    try:
        {}["cause"]
    except KeyError as error:
        raise CannotWriteError(FULL, "Free some.") from error


@pytest.mark.parametrize(
    ("action", "name", "message"),
    [
        (lambda: 1 / 0, "ZeroDivisionError", "division by zero"),
        (lambda: {}["a: b"], "KeyError", "'a: b'"),
        (lambda: Path("/no").read_text(), "FileNotFoundError", NO_FILE),
        (chain, "rls_bids.errors.CannotWriteError", f"{FULL} Free some."),
        (lambda: next(iter([])), "StopIteration", ""),
    ],
)  # fmt: skip
def test_parse_traceback(action, name, message):
    assert parse_traceback(text_of(action)) == (name, message)


def test_text_without_a_traceback():
    text = "RuntimeError: subprocess exited with code 3."
    assert parse_traceback(text) == ("RuntimeError", "subprocess exited with code 3.")


def test_describe_ours_and_others():
    ours = describe(RunRefused("None left.", "Lower --min-df."))
    assert (ours.message, ours.hint, ours.exit_status) == (
        "None left.",
        "Lower --min-df.",
        EXIT_DATA,
    )
    other = describe(StopIteration())
    assert (other.exception, other.message, other.exit_status) == (
        "StopIteration",
        "StopIteration",
        EXIT_FAILED,
    )
    assert other.participant is None


def test_witness_lets_signals_pass():
    with pytest.raises(KeyboardInterrupt), Witness():
        raise KeyboardInterrupt


def test_old_crash_files_are_left_alone(tmp_path):
    path = tmp_path / "crash-1.txt"
    path.write_text("Node: wf.n\n" + text_of(chain))
    assert read_crashes({str(tmp_path): "01"}, path.stat().st_mtime + 10) == ()
    (failure,) = read_crashes({str(tmp_path): "01"}, 0)
    assert (failure.participant, failure.node) == ("01", "wf.n")
    assert failure.exception == "CannotWriteError"
