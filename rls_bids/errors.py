"""Errors that users may meet: what was found, what was expected, what to do, and an exit status.

Everything below :mod:`rls_bids.app` raises one of these when the *input* or the *request* is at
fault; any other exception is a defect of ours and is reported as such.
"""

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DATA = 65
EXIT_SOFTWARE = 70
EXIT_CANNOT_WRITE = 74
EXIT_SIGINT = 130
EXIT_SIGTERM = 143

NEAREST_HINT = "Did you mean {nearest!r}?"


class RlsBidsError(Exception):
    """Root of the tree.

    Parameters
    ----------
    message : str
        One sentence: the path or name, what was found, and what was expected.
    hint : str
        What the user can do about it.
    """

    exit_status = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(RlsBidsError):
    """The request cannot be met: bad arguments, unknown labels, a filter that leaves nothing."""

    exit_status = EXIT_USAGE


class InputDataError(RlsBidsError):
    """The input data cannot be used: missing, not BIDS, truncated, of the wrong shape."""

    exit_status = EXIT_DATA


class RunRefused(InputDataError):
    """Too little data is left after denoising; the arithmetic is in the message."""


class WorkflowError(RlsBidsError):
    """The workflow could not be built here: a program or an optional part is missing."""

    exit_status = EXIT_SOFTWARE


class CannotWriteError(RlsBidsError):
    """An output, work or log folder cannot be written."""

    exit_status = EXIT_CANNOT_WRITE


class WorkerLostError(RlsBidsError):
    """A worker process was killed from outside, most often for memory."""

    exit_status = EXIT_FAILED


def nearest_hint(found: str, known: Iterable[str]) -> str:
    """Suggest the known word that is nearest to a mistyped one, or nothing when none is near.

    Examples
    --------
    >>> nearest_hint("--participant-lable", ["--participant-label", "--seeds"])
    "Did you mean '--participant-label'?"
    """
    near = difflib.get_close_matches(found, sorted(known), n=1)
    return NEAREST_HINT.format(nearest=near[0]) if near else ""
