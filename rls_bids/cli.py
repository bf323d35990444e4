"""The command line: options → Settings → app; errors → a sentence and an exit status.

Nothing heavy is imported before the request is understood, so that ``--help`` is instant.
"""

import argparse
import errno
import logging
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rls_bids.engine.environment import answer_signals, prepare_environment
from rls_bids.engine.resources import available_cpus, available_memory_gb, parse_memory
from rls_bids.errors import (
    EXIT_CANNOT_WRITE,
    EXIT_FAILED,
    EXIT_OK,
    RlsBidsError,
    UsageError,
    nearest_hint,
)
from rls_bids.options import MANY, OPTIONS, POSITIONALS, PROGRAM, SEE_HELP, make_parser
from rls_bids.resources.atlases import check_atlases
from rls_bids.settings import Settings, build_settings, read_toml
from rls_bids.settings.limits import FILE_MISSING, LEVELS

LOGGER = logging.getLogger(PROGRAM)

UNKNOWN_FLAG = "There is no option {flag}."
SWALLOWED = "{flag} takes several values and has swallowed {names}."
SWALLOWED_HINT = "Write: {command}"
DEFECT = "Stopped because of an unexpected {error} at {place}."
DEFECT_HINT = "The traceback is in {log}; please report it."
NO_LOG_HINT = "The traceback could not be written anywhere; please report it."
NO_SPACE = "{path} cannot be written ({reason})."


def parse_arguments(argv: Sequence[str]) -> Settings:
    """Turn the command line into settings.

    Parameters
    ----------
    argv : sequence of str
        Without the name of the program.

    Returns
    -------
    Settings

    Raises
    ------
    UsageError
        If the request cannot be met.
    """
    values = read_arguments(argv)
    return _resolve({k: v for k, v in values.items() if not k.startswith("ignored.")})


def read_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """Read the command line and nothing else: no file, no default.

    Parameters
    ----------
    argv : sequence of str
        Without the name of the program.

    Returns
    -------
    dict
        What was given, by the dotted names of :data:`rls_bids.options.OPTIONS`.

    Raises
    ------
    UsageError
        An option is unknown, or something is missing.

    Examples
    --------
    >>> read_arguments(["raw", "out", "participant", "--task_id", "rest"])["input.task_ids"]
    ['rest']
    """
    parser = make_parser()
    # One rule for both spellings of a flag: what is parsed has dashes.
    argv = [re.sub(r"^--[^=]*", lambda m: m[0].replace("_", "-"), token) for token in argv]
    _check_flags(parser, argv)
    try:
        return vars(parser.parse_args(argv))
    except UsageError as error:
        raise _swallowed(argv, error.message) or error from None


def _resolve(given: dict[str, Any]) -> Settings:
    """Lay what was given over an earlier run's settings and what the machine offers."""
    config_file = given.pop("config_file", None)
    if "run.mem_gb" in given:
        given["run.mem_gb"] = parse_memory(given["run.mem_gb"])
    earlier: dict[str, Any] = {}
    if config_file is not None:
        if not Path(config_file).is_file():
            raise UsageError(FILE_MISSING.format(flag="--config-file", path=config_file))
        earlier = read_toml(Path(config_file).read_text(encoding="utf-8"), config_file)
    if "run.n_cpus" in given:
        # Threads that were right for another number of CPUs are not taken over.
        earlier.pop("run.omp_nthreads", None)
    values = earlier | given
    values.setdefault("run.n_cpus", available_cpus())
    values.setdefault("run.omp_nthreads", min(8, max(1, values["run.n_cpus"] - 1)))
    values.setdefault("run.mem_gb", available_memory_gb())
    settings = build_settings(values, config_file or "The command line")
    check_atlases(settings.measures.atlases)
    return settings


def _check_flags(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Refuse an unknown flag before the positionals are counted."""
    known = [flag for action in parser._actions for flag in action.option_strings]
    for token in argv:
        flag = token.partition("=")[0]
        if flag == "--":
            return
        if flag.startswith("--") and flag not in known:
            raise UsageError(UNKNOWN_FLAG.format(flag=flag), nearest_hint(flag, known) or SEE_HELP)


def _swallowed(argv: Sequence[str], message: str) -> UsageError | None:
    """Show the corrected command when a list flag took the positionals."""
    missing = [name for name in POSITIONALS if name in message and "required" in message]
    lists = {
        flag
        for options in OPTIONS.values()
        for flags, _, kind, _, _ in options
        if kind == MANY
        for flag in flags.split()
    }
    for start in (i for i, token in enumerate(argv) if token in lists):
        stop = next((i for i in range(start + 1, len(argv)) if argv[i][0:1] == "-"), len(argv))
        n = len(missing)
        if n and stop - start > n and argv[stop - 1] in LEVELS:
            taken, rest = argv[stop - n : stop], [*argv[: stop - n], *argv[stop:]]
            first = len(POSITIONALS) - n
            command = shlex.join([PROGRAM, *rest[:first], *taken, *rest[first:]])
            names = " ".join(missing)
            return UsageError(
                SWALLOWED.format(flag=argv[start], names=names),
                SWALLOWED_HINT.format(command=command),
            )
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program (default: those of this process).

    Returns
    -------
    int
        The exit status (see :mod:`rls_bids.errors`).
    """
    handlers = answer_signals(PROGRAM)
    settings: Settings | None = None
    try:
        settings = parse_arguments(sys.argv[1:] if argv is None else argv)
        _start_logging(settings.run.verbosity)
        prepare_environment(settings.run.work_dir, settings.run.omp_nthreads)
        run = settings.run
        LOGGER.info("%d CPUs, %d threads a process, %g GB of memory",
                    run.n_cpus, run.omp_nthreads, run.mem_gb)  # fmt: skip
        return _level(settings)(settings)
    except SystemExit as stop:
        return int(stop.code or EXIT_OK)
    except RlsBidsError as error:
        _say(str(error))
        return error.exit_status
    except Exception as error:  # noqa: BLE001 the last door: never a bare traceback
        return _report_defect(error, settings)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def slurm(argv: Sequence[str] | None = None) -> int:
    """Run ``rls_bids_slurm``, which checks the app's options as the app does."""
    from rls_bids.cluster.program import main as run

    return run(argv, parse_arguments)


def _level(settings: Settings) -> Callable[[Settings], int]:
    from rls_bids import app

    return app.run_participant if settings.analysis_level == "participant" else app.run_group


def _say(sentence: str) -> None:
    sys.stderr.write(f"{PROGRAM}: error: {sentence}\n")


def _name_level(record: logging.LogRecord) -> bool:
    """Give what is graver than progress a word before its text."""
    is_grave = record.levelno >= logging.WARNING
    record.word = f"{record.levelname.lower()}: " if is_grave else ""
    return True


def _start_logging(verbosity: int) -> None:
    """Send progress to stderr; ``-v`` adds details."""
    LOGGER.setLevel(logging.DEBUG if verbosity else logging.INFO)
    LOGGER.propagate = False
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_name_level)
    handler.setFormatter(logging.Formatter("%(asctime)s %(word)s%(message)s", "%H:%M:%S"))
    LOGGER.addHandler(handler)


def _report_defect(error: Exception, settings: Settings | None) -> int:
    """Say in one sentence what happened and where the traceback is."""
    import traceback

    if isinstance(error, OSError) and _is_ours(error, settings):
        _say(NO_SPACE.format(path=error.filename or "The output", reason=error.strerror))
        return EXIT_CANNOT_WRITE
    frame = traceback.extract_tb(error.__traceback__)[-1]
    sentence = DEFECT.format(
        error=f"{type(error).__name__} ({' '.join(str(error).split())})",
        place=f"{Path(frame.filename).name}:{frame.lineno}",
    )
    name = f"{PROGRAM}-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    folders = settings and (Path(settings.input.output_dir, "logs"), Path(settings.run.work_dir))
    for folder in folders or ():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = "".join(traceback.format_exception(error))
            (folder / name).write_text(text, encoding="utf-8")
        except OSError:
            continue
        _say(f"{sentence} {DEFECT_HINT.format(log=folder / name)}")
        return EXIT_FAILED
    _say(f"{sentence} {NO_LOG_HINT}")
    return EXIT_FAILED


def _is_ours(error: OSError, settings: Settings | None) -> bool:
    """Whether a place that we write to is full or closed."""
    if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
        return True
    if settings is None or error.errno not in (errno.EACCES, errno.EPERM):
        return False
    path = Path(str(error.filename))
    return any(path.is_relative_to(p) for p in (settings.input.output_dir, settings.run.work_dir))
