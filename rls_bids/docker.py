"""``rls_bids_docker``: a call of rls_bids, inside its container image.

The arguments are those of ``rls_bids``. Each path among them is mounted under its own name, so
that messages, links and settings files hold inside as well as outside. Only the standard library
is used: ``pip install --no-deps`` is enough on a machine that has an engine.
"""

import argparse
import csv
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rls_bids.cli import read_arguments
from rls_bids.engine.environment import make_folder
from rls_bids.errors import EXIT_OK, RlsBidsError, UsageError, WorkflowError
from rls_bids.options import MANY, NUMBERS, OFF, ON, OPTIONS, PAIR
from rls_bids.paths import check_paths, named_folders
from rls_bids.settings import read_toml
from rls_bids.settings.limits import FILES, IMAGE_ENDINGS, NAMES_OR_PATHS, PATHS
from rls_bids.settings.strategies import ENDINGS, UNCENSORED

PROGRAM = "rls_bids_docker"
IMAGE = "rls_bids"
ENGINES = ("docker", "podman")
TEMPLATEFLOW = "TEMPLATEFLOW_HOME"
DESCRIPTION = (
    "Run rls_bids in its container image: all arguments of rls_bids (see rls_bids --help), whose "
    "paths become mounts, and these options."
)

# What is only read is mounted read-only.
WRITTEN = ("input.output_dir", "run.work_dir", "input.bids_database_dir")
# What has tables, sidecars or masks beside it comes with its folder.
WITH_FOLDER = ("measures.seeds_file", "measures.network_maps", *NAMES_OR_PATHS)
# A mount there would hide what the image is made of.
OF_IMAGE = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/sbin", "/sys", "/usr")
# Answered by the image: nothing is analysed.
ANSWERS = ("--version", "--list-measures", "--list-seeds", "--list-atlases")

NO_PATH = "{flag} names {path}, but there is no such file or folder."
HIDES = "{path} cannot be mounted: the image has its programs there."
HIDES_HINT = "Move the data, or run the engine yourself with mounts of your choice."
NO_ENGINE = "{engine} was not found on this machine."
NO_ENGINE_HINT = "Install it, or name the other one: --engine {other}."


def list_mounts(values: Mapping[str, Any]) -> dict[Path, bool]:
    """Return the files and folders that a call needs, and whether each is written to.

    Parameters
    ----------
    values : mapping
        Of :func:`rls_bids.cli.read_arguments`, with absolute paths.

    Raises
    ------
    UsageError
        A path that is only read does not exist, or one would hide the image's own programs.
    """
    mounts: dict[Path, bool] = {}
    for setting, text in _paths(values):
        path = Path(text)
        if setting not in WRITTEN:
            if not path.exists():
                raise UsageError(NO_PATH.format(flag=flag_of(setting), path=path))
            if setting in WITH_FOLDER and path.is_file():
                path = path.parent
        if path == Path("/") or any(path.is_relative_to(place) for place in OF_IMAGE):
            raise UsageError(HIDES.format(path=path), HIDES_HINT)
        mounts[path] = mounts.get(path, False) or setting in WRITTEN
    return mounts


def flag_of(setting: str) -> str:
    """Return the flag, or the name of the positional, that fills a setting.

    Examples
    --------
    >>> flag_of("run.work_dir"), flag_of("input.bids_dir")
    ('--work-dir', 'BIDS_DIR')
    """
    flags = {name: flag for options in OPTIONS.values() for flag, name, *_ in options}
    if setting not in flags:
        return {"input.bids_dir": "BIDS_DIR", "input.output_dir": "OUTPUT_DIR"}.get(
            setting, "--mount"
        )
    return next(flag for flag in flags[setting].split() if flag.startswith("--"))


def write_arguments(values: Mapping[str, Any]) -> list[str]:
    """Write a command line of rls_bids, the inverse of :func:`rls_bids.cli.read_arguments`.

    Examples
    --------
    >>> write_arguments({"input.bids_dir": "/raw", "input.output_dir": "/out",
    ...                  "analysis_level": "group", "run.verbosity": 2, "run.n_cpus": 4})
    ['/raw', '/out', 'group', '-vv', '--n-cpus', '4']
    """
    names = ("input.bids_dir", "input.output_dir", "analysis_level")
    written = [values[name] for name in names]
    if "run.verbosity" in values:
        written.append("-" + "v" * values["run.verbosity"])
    for options in OPTIONS.values():
        for _, setting, kind, _, _ in options:
            if setting not in values:
                continue
            written.append(flag_of(setting))
            if kind in (MANY, NUMBERS, PAIR):
                written += map(str, values[setting])
            elif kind not in (ON, OFF):
                written.append(str(values[setting]))
    return written


def make_command(argv: Sequence[str]) -> tuple[list[str], argparse.Namespace]:
    """Make the command that runs the container.

    Parameters
    ----------
    argv : sequence of str
        Our own options and those of rls_bids, in any order.

    Returns
    -------
    command : list of str
    own : argparse.Namespace
        Our own options.

    Raises
    ------
    UsageError
        The call cannot be met.
    CannotWriteError
        The output or work directory cannot be made.
    """
    argv = [re.sub(r"^--[^=]*", lambda m: m[0].replace("_", "-"), token) for token in argv]
    own, rest = _make_parser().parse_known_args(argv)
    command = [own.engine, "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"]
    command += ["--user", f"{os.getuid()}:{os.getgid()}"]
    if own.engine == "podman":
        # Without these, files of a rootless run belong to another user, or cannot be read at all.
        command += ["--security-opt", "label=disable"]
        command += ["--userns", "keep-id"] if os.getuid() else []  # root has no other self
    command += ["--env", f"RLS_BIDS_CONTAINER={own.image}", *shlex.split(own.engine_options)]
    if any(token in ANSWERS for token in rest):
        return [*command, own.image, *rest], own
    values = _absolute(read_arguments(rest))
    mounts = list_mounts(values | {"mount": list(map(_resolved, own.mount))})
    check_paths(values["input.bids_dir"], values["input.output_dir"], values["run.work_dir"],
                named_folders(values.get("input.derivatives", ())))  # fmt: skip
    home = os.environ.get(TEMPLATEFLOW, "")
    if home and Path(home).is_dir():
        mounts.setdefault(Path(home).resolve(), False)
        command += ["--env", f"{TEMPLATEFLOW}={Path(home).resolve()}"]
    for path, is_written in sorted(mounts.items()):
        if is_written and not own.print_command:
            make_folder(path, "folder")
        command += ["--mount", _mount(path, is_written)]
    return [*command, own.image, *write_arguments(values)], own


def main(argv: Sequence[str] | None = None) -> int:
    """Become the container engine, so that signals and the exit status are its own.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program (default: those of this process).

    Returns
    -------
    int
        The exit status, where no container is started (see :mod:`rls_bids.errors`).
    """
    try:
        command, own = make_command(sys.argv[1:] if argv is None else argv)
        if own.print_command:
            sys.stdout.write(shlex.join(command) + "\n")
            return EXIT_OK
        program = shutil.which(own.engine)
        if program is None:
            other = next(name for name in ENGINES if name != own.engine)
            raise WorkflowError(
                NO_ENGINE.format(engine=own.engine), NO_ENGINE_HINT.format(other=other)
            )
        sys.stdout.flush()
        os.execv(program, command)
    except SystemExit as stop:
        return int(stop.code or EXIT_OK)
    except RlsBidsError as error:
        sys.stderr.write(f"{PROGRAM}: error: {error}\n")
        return error.exit_status


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} BIDS_DIR OUTPUT_DIR {{participant,group}} [options]",
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--image", default=IMAGE, metavar="NAME", help=f"the image ({IMAGE})")
    add("--engine", choices=ENGINES, default=ENGINES[0], help=f"what runs it ({ENGINES[0]})")
    text = "more options of the engine's run, e.g. --engine-options='--cpus 2 --memory 8g'"
    add("--engine-options", default="", metavar="'TEXT'", help=text)
    text = "mount this too, read-only: where links of the data set lead, or paths in files"
    add("--mount", action="append", default=[], metavar="PATH", help=text)
    add("--print-command", action="store_true", help="print the command instead of running it")
    return parser


def _paths(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the setting and the text of every path of a call."""
    for setting in (*PATHS, "config_file", "mount"):
        if setting == "input.derivatives":
            found = list(named_folders(values.get(setting, ())).values())
        elif setting in NAMES_OR_PATHS:
            found = [text for text in values.get(setting, ()) if _is_path(text)]
        else:
            value = values.get(setting) or []
            found = value if isinstance(value, list) else [value]
        yield from ((setting, text) for text in found)
    for text in values.get("denoise.strategies", ()):
        if _is_model(text):
            yield "denoise.strategies", text.removesuffix(UNCENSORED)


def _is_path(text: str) -> bool:
    return "/" in text or text.endswith(IMAGE_ENDINGS)


def _is_model(text: str) -> bool:
    return text.removesuffix(UNCENSORED).lower().endswith(ENDINGS)


def _absolute(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with absolute paths, and with the paths of an earlier run's settings."""
    values = dict(given)
    if "config_file" in values:
        path = Path(values["config_file"])
        if not path.is_file():
            raise UsageError(NO_PATH.format(flag="--config-file", path=path))
        values["config_file"] = str(path.resolve())
        earlier = read_toml(path.read_text(encoding="utf-8"), str(path))
        values = {name: earlier[name] for name in PATHS if earlier.get(name)} | values
    values.setdefault("run.work_dir", "work")
    for setting in ("input.bids_dir", *WRITTEN, *FILES):
        if values.get(setting):
            values[setting] = _resolved(values[setting])
    for setting in NAMES_OR_PATHS:
        if setting in values:
            values[setting] = [_resolved(t) if _is_path(t) else t for t in values[setting]]
    if "denoise.strategies" in values:
        texts = values["denoise.strategies"]
        values["denoise.strategies"] = [_resolved(t) if _is_model(t) else t for t in texts]
    if "input.derivatives" in values:
        folders = named_folders(values["input.derivatives"])
        values["input.derivatives"] = [
            path if name in named_folders([path]) else f"{name}={path}"
            for name, path in folders.items()
        ]
    return values


def _resolved(text: str) -> str:
    bare = text.removesuffix(UNCENSORED)
    return str(Path(bare).resolve()) + text[len(bare) :]


def _mount(path: Path, is_written: bool) -> str:
    """Write a mount; the engines read it as a row of comma-separated values."""
    row = io.StringIO()
    fields = ["type=bind", f"source={path}", f"target={path}"]
    csv.writer(row, lineterminator="").writerow(fields if is_written else [*fields, "readonly"])
    return row.getvalue()


if __name__ == "__main__":
    sys.exit(main())
