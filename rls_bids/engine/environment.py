"""The surroundings that the heavy libraries expect, set before any of them is imported.

Only the standard library is used here, so that the command line can call it first.
"""

import os
import signal
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rls_bids.errors import EXIT_SIGINT, EXIT_SIGTERM, CannotWriteError

CANNOT_WRITE = "The {what} {path} cannot be written ({reason})."
CANNOT_WRITE_HINT = "Name a writable folder, or free some space."
SCRATCH = ".rls_bids"
FOLDERS = {
    "HOME": "home",
    "MPLCONFIGDIR": "matplotlib",
    "XDG_CACHE_HOME": "cache",
    "NUMBA_CACHE_DIR": "numba",
}
THREAD_VARIABLES = (
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)


def prepare_environment(
    work_dir: str, omp_nthreads: int, environ: MutableMapping[str, str] | None = None
) -> None:
    """Point homes, caches and temporary files to the work directory and bound the threads.

    Parameters
    ----------
    work_dir : str
        Made when it is missing. ``TMPDIR`` always lies in it; ``HOME`` and the cache folders do
        where the variable is unset or names a folder that cannot be written.
    omp_nthreads : int
        Threads of one process, for OpenMP, BLAS, ITK and numba.
    environ : mutable mapping, optional
        The environment to change (default: that of this process).

    Raises
    ------
    CannotWriteError
        If the work directory cannot be made or written.
    """
    environ = os.environ if environ is None else environ
    scratch = make_folder(Path(work_dir) / SCRATCH, "work directory")
    for variable, name in FOLDERS.items():
        if not _is_writable(environ.get(variable)):
            environ[variable] = str(make_folder(scratch / name, "work directory"))
    environ["TMPDIR"] = str(make_folder(scratch / "tmp", "work directory"))
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]
    for variable in THREAD_VARIABLES:
        environ[variable] = str(omp_nthreads)
    environ["MPLBACKEND"] = "Agg"
    environ["NO_ET"] = "1"  # no version checks over the network
    environ["NIPYPE_NO_ET"] = "1"
    _name_the_user(environ)


def make_folder(path: Path, what: str) -> Path:
    """Make a folder that can be written.

    Parameters
    ----------
    path : pathlib.Path
    what : str
        What the folder is for, e.g. ``"work directory"``.

    Returns
    -------
    pathlib.Path
        The same path.

    Raises
    ------
    CannotWriteError
        If the folder cannot be made, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = CANNOT_WRITE.format(what=what, path=path, reason=error.strerror)
        raise CannotWriteError(message, CANNOT_WRITE_HINT) from error
    if not os.access(path, os.W_OK | os.X_OK):
        message = CANNOT_WRITE.format(what=what, path=path, reason="no permission")
        raise CannotWriteError(message, CANNOT_WRITE_HINT)
    return path


def _is_writable(path: str | None) -> bool:
    return bool(path) and Path(str(path)).is_dir() and os.access(str(path), os.W_OK | os.X_OK)


def _name_the_user(environ: MutableMapping[str, str]) -> None:
    """Give ``getpass.getuser`` an answer where the user has no passwd entry (containers)."""
    import pwd

    if any(environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid{os.getuid()}"
    environ["LOGNAME"] = environ["USER"] = name


def stop_children() -> None:
    """Kill the worker processes of this process and all that they started.

    Each worker leads a process group of its own, so that also the programs that it called end.
    """
    import multiprocessing

    for worker in multiprocessing.active_children():
        if worker.pid is None:
            continue
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                kill(worker.pid, signal.SIGKILL)


def answer_signals(program: str) -> dict[int, Any]:
    """End at once on SIGINT and SIGTERM, together with the workers.

    Parameters
    ----------
    program : str
        The name at the start of the last sentence on stderr.

    Returns
    -------
    dict
        Signal → the handler before; empty outside the main thread, which has the say.
    """

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 signal's signature
        stop_children()
        name = signal.Signals(number).name
        os.write(2, f"{program}: error: Stopped by {name}.\n".encode())
        # No exception: nipype would take it for the failure of a node and go on.
        os._exit(EXIT_SIGINT if number == signal.SIGINT else EXIT_SIGTERM)

    try:
        return {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        return {}
