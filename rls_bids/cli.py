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
from typing import Any, Never

from rls_bids import __version__
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
from rls_bids.settings import (
    FILE_MISSING,
    LEVELS,
    Settings,
    build_settings,
    read_toml,
)

PROGRAM = "rls_bids"
LOGGER = logging.getLogger(PROGRAM)
EPILOG = "Times are in s, lengths in mm, frequencies in Hz. Defaults are in parentheses."

UNKNOWN_FLAG = "There is no option {flag}."
REPEATED_FLAG = "{flag} is given more than once, but takes one value."
SWALLOWED = "{flag} takes several values and has swallowed {names}."
SWALLOWED_HINT = "Write: {command}"
SEE_HELP = "See rls_bids --help."
DEFECT = "Stopped because of an unexpected {error} at {place}."
DEFECT_HINT = "The traceback is in {log}; please report it."
NO_LOG_HINT = "The traceback could not be written anywhere; please report it."
NO_SPACE = "{path} cannot be written ({reason})."

MANY, TEXT, WHOLE, NUMBER, ON, OFF = "many", "text", "whole", "number", "on", "off"
POSITIONALS = ("BIDS_DIR", "OUTPUT_DIR", "{participant,group}")

# (flags, setting, kind, what --help shows as the value, help). Dotted names are settings; what
# starts with "ignored." is taken so that scripts for other BIDS Apps work.
OPTIONS: dict[str, tuple[tuple[str, str, str, str, str], ...]] = {
    "selection": (
        ("--participant-label", "input.participant_labels", MANY, "LABEL", "participants (all)"),
        ("--exclude-participant-label", "input.exclude_participant_labels", MANY, "LABEL",
         "participants to leave out (none)"),
        ("--session-label --session-id", "input.session_labels", MANY, "LABEL", "sessions (all)"),
        ("-t --task-id", "input.task_ids", MANY, "LABEL", "tasks (rest)"),
        ("--run-id", "input.run_ids", MANY, "LABEL", "runs (all)"),
        ("--bids-filter-file", "input.bids_filter_file", TEXT, "FILE.json",
         "which files the queries t1w and bold find"),
        ("--bids-database-dir", "input.bids_database_dir", TEXT, "DIR",
         "where the index of the input is kept and found again (not kept)"),
        ("--skip-bids-validation", "ignored.bids_validation", ON, "",
         "accepted; the validator is never run, what is needed is checked anyway"),
    ),
    "input": (
        ("-d --derivatives", "input.derivatives", MANY, "[NAME=]PATH",
         "fMRIPrep outputs to start from, instead of preprocessing (none)"),
    ),
    "resources": (
        ("--n-cpus --nprocs --nthreads", "run.n_cpus", WHOLE, "N",
         "CPUs for everything (those of the allocation)"),
        ("--omp-nthreads", "run.omp_nthreads", WHOLE, "N",
         "threads of one process (one less than CPUs, at most 8)"),
        ("--mem --mem-mb", "run.mem_gb", TEXT, "SIZE",
         "memory for everything: a number is MB, else with K, M, G or T (of the allocation)"),
        ("-w --work-dir", "run.work_dir", TEXT, "DIR", "scratch folder (work)"),
        ("--clean-workdir", "run.clean_workdir", ON, "",
         "empty the scratch folders of these participants first"),
        ("--nipype-plugin-file --use-plugin", "run.plugin_file", TEXT, "FILE",
         "TOML, JSON or YAML file with another nipype plugin"),
        ("--resource-monitor", "run.resource_monitor", ON, "", "record CPU and memory of nodes"),
    ),
    "preprocessing": (
        ("--output-spaces", "anat.output_spaces", MANY, "SPACE[:res-N]",
         "standard space and voxel size (MNI152NLin2009cAsym:res-2)"),
        ("--dummy-scans", "bold.dummy_scans", WHOLE, "N",
         "volumes to drop at the start (those brighter than the steady state)"),
        ("--ignore", "bold.ignore", MANY, "{fieldmaps,slicetiming,sbref}",
         "steps to leave out (none)"),
        ("--skull-strip-t1w", "anat.skull_strip", TEXT, "{auto,skip,force}",
         "auto: leave it out where the image has no skull (auto)"),
        ("--anat-only", "run.anat_only", ON, "", "stop after the T1w image"),
        ("--sloppy", "anat.sloppy", ON, "", "fast and inaccurate, for tests"),
    ),
    "denoising": (
        ("-p --nuisance-regressors", "denoise.strategies", MANY, "{acompcor,24P,6P,none}",
         "strategies, each with outputs of its own (acompcor)"),
        ("--lower-bpf", "denoise.low_hz", NUMBER, "HZ", "lower edge of the band (0.01)"),
        ("--upper-bpf", "denoise.high_hz", NUMBER, "HZ", "upper edge of the band (0.1)"),
        ("--bpf-order", "denoise.filter_order", WHOLE, "N", "order of the Butterworth filter (2)"),
        ("--disable-bandpass-filter", "denoise.band_pass", OFF, "", "no band-pass"),
        ("-f --fd-thresh", "denoise.fd_threshold_mm", NUMBER, "MM",
         "censor volumes with more framewise displacement; 0 censors none (0.5)"),
        ("--min-time", "denoise.min_time_s", NUMBER, "S", "least time left after censoring (240)"),
        ("--min-df", "denoise.min_df", WHOLE, "N", "least residual degrees of freedom (20)"),
        ("--smoothing", "denoise.smoothing_fwhm_mm", NUMBER, "MM", "FWHM of the kernel (6)"),
    ),
    "measures": (
        ("--seeds", "measures.seeds_file", TEXT, "FILE", "JSON or TSV file of seeds (our own)"),
    ),
    "group": (
        ("--contrast", "group.contrast", TEXT, "'A > B'", "the two groups (from the table)"),
        ("--group-column", "group.group_column", TEXT, "NAME",
         "column of participants.tsv with the group (group)"),
        ("--covariates", "group.covariates", MANY, "NAME",
         "columns of participants.tsv, mean_fd, or none (age sex mean_fd)"),
        ("--max-mean-fd", "group.max_mean_fd_mm", NUMBER, "MM",
         "leave out participants with more mean framewise displacement (off)"),
        ("--random-seed", "run.random_seed", WHOLE, "N", "start of all random numbers (0)"),
    ),
    "running": (
        ("--dry-run", "run.dry_run", ON, "", "print what would be done with which files"),
        ("--stop-on-first-crash", "run.stop_on_first_crash", ON, "", "stop at the first failure"),
        ("--reports-only", "run.reports_only", ON, "", "write the pages again, compute nothing"),
        ("--boilerplate-only", "run.boilerplate_only", ON, "", "write the methods text only"),
        ("--level", "run.level", TEXT, "{minimal,full}", "full also writes the series (minimal)"),
        ("--config-file", "config_file", TEXT, "FILE.toml",
         "settings of an earlier run; the command line wins"),
        ("--write-graph", "run.write_graph", ON, "", "write the graph of the workflow"),
        ("--notrack", "ignored.notrack", ON, "", "accepted; nothing is ever sent"),
    ),
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        """Raise instead of ending the process."""
        sentence = message[0].upper() + message[1:].rstrip(".") + "."
        raise UsageError(sentence, SEE_HELP)


class _Once(argparse.Action):
    """Store one value, and refuse a second."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 argparse's signature
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if hasattr(namespace, self.dest):
            raise UsageError(REPEATED_FLAG.format(flag=option_string))
        setattr(namespace, self.dest, values)


class _ListMeasures(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from rls_bids.measures import MEASURES

        for measure in MEASURES.values():
            sys.stdout.write(f"{measure.name}: {measure.caption}\n")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; its namespace has the dotted names of what was given, and nothing else.

    Returns
    -------
    argparse.ArgumentParser
    """
    parser = _Parser(
        prog=PROGRAM,
        description="Functional connectivity in restless legs syndrome: BIDS in, maps out.",
        epilog=EPILOG,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("input.bids_dir", metavar=POSITIONALS[0], help="raw BIDS data set")
    add("input.output_dir", metavar=POSITIONALS[1], help="where everything is written")
    add("analysis_level", metavar=POSITIONALS[2], choices=LEVELS, help="which level to run")
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    add("--list-measures", action=_ListMeasures, nargs=0, help="print the measures and exit")
    add("-v", "--verbose", dest="run.verbosity", action="count", help="say more (repeat it)")
    kinds: dict[str, dict[str, Any]] = {
        MANY: {"nargs": "+", "action": "extend"},
        TEXT: {"action": _Once},
        WHOLE: {"action": _Once, "type": int},
        NUMBER: {"action": _Once, "type": float},
        ON: {"action": "store_const", "const": True},
        OFF: {"action": "store_const", "const": False},
    }
    for title, options in OPTIONS.items():
        group = parser.add_argument_group(title)
        for flags, setting, kind, shown, text in options:
            value: dict[str, Any] = {"metavar": shown} if shown else {}
            group.add_argument(*flags.split(), dest=setting, help=text, **kinds[kind], **value)
    return parser


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
    parser = make_parser()
    # One rule for both spellings of a flag: what is parsed has dashes.
    argv = [re.sub(r"^--[^=]*", lambda m: m[0].replace("_", "-"), token) for token in argv]
    _check_flags(parser, argv)
    try:
        values = vars(parser.parse_args(argv))
    except UsageError as error:
        raise _swallowed(argv, error.message) or error from None
    return _resolve({k: v for k, v in values.items() if not k.startswith("ignored.")})


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
    return build_settings(values, config_file or "The command line")


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


def _level(settings: Settings) -> Callable[[Settings], int]:
    from rls_bids import app

    return app.run_participant if settings.analysis_level == "participant" else app.run_group


def _say(sentence: str) -> None:
    sys.stderr.write(f"{PROGRAM}: error: {sentence}\n")


def _start_logging(verbosity: int) -> None:
    """Send progress to stderr; ``-v`` adds details."""
    LOGGER.setLevel(logging.DEBUG if verbosity else logging.INFO)
    LOGGER.propagate = False
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
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
