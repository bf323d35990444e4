"""Running a graph in worker processes: it fails with a sentence, and never hangs.

nipype's own pool waits for ever when a worker is killed (for memory, most often) or a node cannot
be sent to a worker, and stops before the start when a node asks for more than there is. The
workers do all that takes time, also with one CPU: ANTs keeps Python's interpreter lock for
minutes, and a process that runs it cannot answer a signal.
"""

import gc
import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from nipype.pipeline import plugins
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from rls_bids.engine.crashes import (
    Failure,
    Witness,
    describe,
    participant_of,
    read_crashes,
    write_crash,
)
from rls_bids.engine.environment import stop_children
from rls_bids.errors import UsageError, WorkerLostError
from rls_bids.settings import RunSettings

LOGGER = logging.getLogger(__name__)

WORKER_LOST = (
    "A worker process was ended from outside ({how}), most often because memory ran out, while "
    "{nodes} ran; these asked for {asked:.1f} GB of {limit:.1f} GB, and the largest worker used "
    "{used:.1f} GB."
)
WORKER_LOST_HINT = (
    "Give the job more memory, or run fewer nodes at once with a lower --n-cpus or --mem; the "
    "next run goes on where this one stopped."
)
BAD_PLUGIN_FILE = "--nipype-plugin-file {path} {problem}."
PLUGIN_HINT = 'It is a TOML, JSON or YAML file with plugin = "NAME" and a table plugin_args.'
SLOW_NODE_S = 5.0
EXIT_STATUS_S = 2.0
"""Nodes that take longer (s) are told as progress."""


class PoolPlugin(MultiProcPlugin):
    """nipype's process pool with failures as records.

    Parameters
    ----------
    run : RunSettings
        CPUs and memory of the pool.
    """

    def __init__(self, run: RunSettings) -> None:
        super().__init__(
            plugin_args={
                "n_procs": run.n_cpus,
                "memory_gb": run.mem_gb,
                # A node that asks for more than the pool has gets the whole pool.
                "raise_insufficient": False,
                "n_gpu_procs": 0,
            }
        )
        self.pool = ProcessPoolExecutor(
            max_workers=run.n_cpus,
            initializer=_start_worker,
            initargs=(str(Path.cwd()), os.getpid()),
        )
        self.failures: list[Failure] = []
        self._futures: dict[int, Future[dict[str, Any]]] = {}
        self._nodes: dict[int, Any] = {}
        self._workers: Sequence[Any] = ()
        self._lost: BrokenProcessPool | None = None
        self._state = (-1, -1, -1)

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run the graph. Its nodes live as long as it runs, so garbage is not looked for in them.

        nipype collects garbage before and after every node that it runs in this process, which
        with some hundred nodes takes longer than the nodes themselves.
        """
        gc.collect()
        gc.freeze()
        try:
            super().run(graph, config, updatehash=updatehash)
        finally:
            gc.unfreeze()

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        try:
            future = self.pool.submit(_run_node, node, updatehash)
        except BrokenProcessPool as error:
            raise self._worker_lost() from error
        self._futures[self._taskid] = future
        self._nodes[self._taskid] = node
        self._workers = multiprocessing.active_children() or self._workers
        return int(self._taskid)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        future = self._futures[taskid]
        if not future.done():
            return None
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            self._lost = error
            return None
        if error is None:
            result = future.result()
        else:
            # The node (or its error) could not be sent from one process to the other.
            result = {"failure": describe(error, self._nodes[taskid]), "seconds": 0.0}
        failure = result["failure"]
        node = self._nodes[taskid]
        level = logging.INFO if result["seconds"] >= SLOW_NODE_S else logging.DEBUG
        who = participant_of(node)
        place = f"sub-{who}" if who else "group"
        LOGGER.log(level, "%s: %s, %.1f s", place, _short_name(node), result["seconds"])
        return {"result": None, "traceback": failure and [failure.traceback], "failure": failure}

    def _clear_task(self, taskid: int) -> None:
        del self._futures[taskid], self._nodes[taskid]

    def _sort_jobs(self, jobids: Any, scheduler: str = "tsort") -> list[int]:  # noqa: ARG002
        """Put what only writes first, then one participant after the other.

        What is computed reaches the output directory at once, and an interrupted run leaves
        whole participants behind instead of a little of each.
        """
        return sorted(
            (int(job) for job in jobids),
            key=lambda job: (
                not self.procs[job].run_without_submitting,
                participant_of(self.procs[job]) or "",
                job,
            ),
        )

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        if self._lost is not None:
            raise self._worker_lost() from self._lost
        # nipype collects garbage at every look, which takes longer than the time between looks;
        # without a node that started or ended since the last one there is nothing to send.
        state = (int(self.proc_done.sum()), int(self.proc_pending.sum()), len(self._futures))
        if self._futures and state == self._state:
            return
        self._state = state
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)

    def _local_hash_check(self, jobid: int, graph: Any) -> bool:
        """Look for a finished result; inputs that cannot be read fail this node alone."""
        with Witness() as witness:
            self.procs[jobid].is_cached()
        if witness.error is None:
            return bool(super()._local_hash_check(jobid, graph))
        failure = describe(witness.error, self.procs[jobid])
        result = {"result": None, "traceback": [failure.traceback], "failure": failure}
        self._run_errors.append(failure.traceback)
        self._clean_queue(jobid, graph, result=result)
        self.proc_pending[jobid] = False
        return True

    def _report_crash(self, node: Any, result: dict[str, Any] | None = None) -> str:
        failure = (result or {}).get("failure")
        if failure is None:
            # Raised in this process by a node that is not worth a worker.
            failure = describe(sys.exc_info()[1] or RuntimeError("unknown"), node)
        failure = write_crash(failure, node)
        self.failures.append(failure)
        return failure.crash_file

    def _worker_lost(self) -> WorkerLostError:
        """Make the sentence, from what ran and how the worker ended."""
        nodes = list(self._nodes.values())
        for worker in self._workers:
            worker.join(EXIT_STATUS_S)  # a moment passes before the system tells how it ended
        codes = [worker.exitcode for worker in self._workers]
        fatal = [code for code in codes if code not in (None, 0, -signal.SIGTERM)]
        how = f"exit status {fatal[0]}" if fatal else "status unknown"
        if fatal and fatal[0] < 0:
            how = signal.Signals(-fatal[0]).name
        message = WORKER_LOST.format(
            how=how,
            nodes=", ".join(_short_name(node) for node in nodes),
            asked=sum(node.mem_gb for node in nodes),
            limit=self.memory_gb,
            used=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9,
        )
        error = WorkerLostError(message, WORKER_LOST_HINT)
        whose = {participant_of(node): node for node in nodes}
        self.failures += [write_crash(describe(error, node), node) for node in whose.values()]
        return error

    def close(self) -> None:
        """End the workers, also those that are busy."""
        if self._futures:
            stop_children()
        self.pool.shutdown(wait=True, cancel_futures=True)


def run_workflow(workflow: Any, run: RunSettings) -> tuple[Failure, ...]:
    """Run a graph; what fails is returned, and everything that does not depend on it still runs.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        Its nodes have been through :func:`~rls_bids.engine.crashes.set_crash_dir`.
    run : RunSettings
        CPUs, memory, and the plugin file, if another plugin of nipype is to be used.

    Returns
    -------
    tuple of Failure
        Empty when all went well. When a worker was killed the run ends at once, with one record
        (``WorkerLostError``) for each participant that was computed; it names the nodes.

    Raises
    ------
    UsageError
        If the plugin file cannot be used.
    """
    if run.plugin_file is not None:
        return _run_with_plugin(workflow, run.plugin_file)
    plugin = PoolPlugin(run)
    try:
        workflow.run(plugin=plugin)
    except (RuntimeError, WorkerLostError):
        # nipype raises the first failure again; without a record it is no node's.
        if not plugin.failures:
            raise
    finally:
        plugin.close()
    return tuple(plugin.failures)


def load_plugin(path: str) -> tuple[str, dict[str, Any]]:
    """Read the name of a nipype plugin and its arguments.

    Parameters
    ----------
    path : str
        TOML, JSON or YAML file.

    Returns
    -------
    name : str
    arguments : dict

    Raises
    ------
    UsageError
        If the file cannot be read or names no plugin of nipype.
    """
    import yaml  # type: ignore[import-untyped]

    text = Path(path).read_text(encoding="utf-8")
    content: object
    try:
        if path.endswith(".toml"):
            content = tomllib.loads(text)
        else:
            content = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        problem = f"cannot be read ({error})"
        raise UsageError(
            BAD_PLUGIN_FILE.format(path=path, problem=problem), PLUGIN_HINT
        ) from error
    content = content if isinstance(content, dict) else {}
    name = content.get("plugin")
    if not hasattr(plugins, f"{name}Plugin"):
        problem = f"names the plugin {name!r}, which nipype does not have"
        raise UsageError(BAD_PLUGIN_FILE.format(path=path, problem=problem), PLUGIN_HINT)
    return str(name), dict(content.get("plugin_args") or {})


def _run_with_plugin(workflow: Any, path: str) -> tuple[Failure, ...]:
    name, arguments = load_plugin(path)
    nodes = [workflow.get_node(node) for node in workflow.list_node_names()]
    folders = {
        node.config["execution"]["crashdump_dir"]: participant_of(node)
        for node in nodes
        if node.config
    }
    start = time.time()
    with Witness() as witness:
        workflow.run(plugin=name, plugin_args=arguments)
    failures = read_crashes(folders, start - 1)
    if witness.error is not None and not failures:
        raise witness.error
    return failures


def _run_node(node: Any, updatehash: bool) -> dict[str, Any]:
    """Run one node in a worker; only plain values go back."""
    start = time.monotonic()
    with Witness() as witness:
        node.run(updatehash=updatehash)
    failure = None if witness.error is None else describe(witness.error, node)
    return {"failure": failure, "seconds": time.monotonic() - start}


def _start_worker(folder: str, parent: int) -> None:
    """Make this process a worker that ends when its parent does, with all that it started."""
    os.setpgrp()
    os.chdir(folder)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(0, signal.SIGKILL)


def _short_name(node: Any) -> str:
    """Name of the node and of its workflow."""
    return ".".join(str(node.fullname).split(".")[-2:])
