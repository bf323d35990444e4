"""From a node that failed to a record that can be shown: what, where, why, and what to do.

nipype passes on a text where a node raised an exception. Here the exception is named again, so
that the message, the hint and the exit status of an
:class:`~rls_bids.errors.RlsBidsError` arrive in the report, also from a worker process.
"""

import re
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nipype.pipeline.engine.nodes import NodeExecutionError
from nipype.utils.filemanip import crash2txt

from rls_bids.errors import EXIT_FAILED, RlsBidsError

SECTION = "rls_bids"
"""Section of a node's configuration that holds the participant's label."""

DEFECT_HINT = "This is unexpected; the traceback is in {crash_file}."
TRACEBACK_START = re.compile(r"^Traceback \(most recent call last\):\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One node that failed.

    ``exception`` is the name of its class. ``hint`` and ``exit_status`` are those of the
    exception when it is one of ours, else a pointer to the crash file and 1.
    """

    participant: str | None
    node: str
    exception: str
    message: str
    hint: str = ""
    exit_status: int = EXIT_FAILED
    traceback: str = ""
    crash_file: str = ""


class Witness:
    """A context that keeps an exception of its block, whatever it is, instead of passing it on.

    Signals and requests to exit pass.

    Examples
    --------
    >>> with Witness() as witness:
    ...     1 / 0
    >>> witness.error
    ZeroDivisionError('division by zero')
    """

    error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
        return self.error is not None


def set_crash_dir(workflow: Any, folder: str, participant: str | None = None) -> None:
    """Tell every node of a workflow where its crash file goes and whose node it is.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        The participant's (or group's) workflow, before or after it is put into a larger one.
    folder : str
        Where crash files of its nodes are written.
    participant : str, optional
        Label without ``sub-``; ``None`` at the group level.
    """
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        config = dict(node.config or {})
        config["execution"] = {**config.get("execution", {}), "crashdump_dir": folder}
        config[SECTION] = {"participant": participant}
        node.config = config


def describe(error: BaseException, node: Any = None) -> Failure:
    """Describe an exception; where nipype wrapped it, the one that the interface raised.

    Parameters
    ----------
    error : BaseException
    node : nipype.pipeline.engine.Node, optional
        The node that raised it.

    Returns
    -------
    Failure
        Without its crash file, which :func:`write_crash` adds.
    """
    name, message, hint, status = type(error).__name__, str(error), "", EXIT_FAILED
    text = "".join(traceback.format_exception(error))
    if isinstance(error, RlsBidsError):
        message, hint, status = error.message, error.hint, error.exit_status
    if isinstance(error, NodeExecutionError) and node is not None:
        with Witness():
            runtime = node.result.runtime
            text = runtime.traceback
            name, message = parse_traceback(text)
            ours = _own_classes().get(name)
            if ours is not None:
                # nipype joins the arguments of the exception, (message, hint), by line breaks
                # and adds a line of its own.
                message, hint = runtime.traceback_args[0].split("\n")[:2]
                status = ours.exit_status
    return Failure(
        participant=participant_of(node),
        node=getattr(node, "fullname", ""),
        exception=name.rpartition(".")[2],
        message=message.strip() or name,
        hint=hint,
        exit_status=status,
        traceback=text,
    )


def parse_traceback(text: str) -> tuple[str, str]:
    r"""Name and message of the exception at the end of a traceback.

    Parameters
    ----------
    text : str
        As :func:`traceback.format_exception` makes it.

    Returns
    -------
    name : str
        With its module, unless it is built in.
    message : str

    Examples
    --------
    >>> parse_traceback('Traceback (most recent call last):\n  File "a.py"\nKeyError: 1\n')
    ('KeyError', '1')
    """
    block = TRACEBACK_START.split(text)[-1]
    lines = block.splitlines()
    start = next((i for i, line in enumerate(lines) if line and not line[0].isspace()), 0)
    name, _, message = "\n".join(lines[start:]).partition(":")
    return name.strip(), message.strip()


def write_crash(failure: Failure, node: Any) -> Failure:
    """Write the crash file of a failed node.

    Parameters
    ----------
    failure : Failure
    node : nipype.pipeline.engine.Node

    Returns
    -------
    Failure
        With its crash file, or without where that cannot be written.
    """
    folder = Path(node.config["execution"]["crashdump_dir"])
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = folder / f"crash-{stamp}-{node.name}-{uuid.uuid4().hex[:12]}.txt"
    with Witness() as witness:
        folder.mkdir(parents=True, exist_ok=True)
        crash2txt(str(path), {"node": node, "traceback": [failure.traceback]})
    if witness.error is not None:
        return failure
    hint = failure.hint
    if failure.exception not in {name.rpartition(".")[2] for name in _own_classes()}:
        hint = DEFECT_HINT.format(crash_file=path)
    return replace(failure, crash_file=str(path), hint=hint)


def read_crashes(folders: Mapping[str, str | None], since: float) -> tuple[Failure, ...]:
    """Read the crash files that another plugin of nipype wrote.

    Parameters
    ----------
    folders : mapping
        Where the nodes' crash files are → label of the participant.
    since : float
        Files that are older (s since the epoch) belong to earlier runs.

    Returns
    -------
    tuple of Failure
    """
    return tuple(
        _read_crash(path, participant)
        for folder, participant in sorted(folders.items())
        for path in sorted(Path(folder).glob("crash-*.txt"))
        if path.stat().st_mtime >= since
    )


def _read_crash(path: Path, participant: str | None) -> Failure:
    text = path.read_text(encoding="utf-8", errors="replace")
    node = re.search(r"^Node: (.*)$", text, re.MULTILINE)
    name, message = parse_traceback(text)
    if name.endswith(NodeExecutionError.__name__):
        # The traceback of the interface is inside, indented by a tab.
        inner = message.partition("Traceback:\n")[2]
        name, message = parse_traceback(re.sub("^\t", "", inner, flags=re.MULTILINE))
    ours = _own_classes().get(name)
    return Failure(
        participant=participant,
        node=node[1] if node else path.stem,
        exception=name.rpartition(".")[2],
        message=message or name,
        hint="" if ours else DEFECT_HINT.format(crash_file=path),
        exit_status=ours.exit_status if ours else EXIT_FAILED,
        traceback=text,
        crash_file=str(path),
    )


def participant_of(node: Any) -> str | None:
    """Label of the participant whose node it is (see :func:`set_crash_dir`)."""
    config = getattr(node, "config", None) or {}
    label = config.get(SECTION, {}).get("participant")
    return str(label) if label is not None else None


def _own_classes() -> dict[str, type[RlsBidsError]]:
    """Full name → class, for every error of ours that is known by now."""
    found: dict[str, type[RlsBidsError]] = {}
    waiting = [RlsBidsError]
    while waiting:
        cls = waiting.pop()
        found[f"{cls.__module__}.{cls.__qualname__}"] = cls
        waiting += cls.__subclasses__()
    return found
