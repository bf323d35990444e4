"""A run that is told to stop, or killed, leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from rls_bids import cli
from tests.graph import test_pool as graph

def app(settings):
    from nipype.pipeline import engine as pe
    graph.configure_nipype(settings.run, settings.run.work_dir, settings.input.output_dir)
    workflow = pe.Workflow(name="test_wf", base_dir=settings.run.work_dir)
    workflow.add_nodes([graph.node("sleep", "sleep")])
    graph.set_crash_dir(workflow, settings.input.output_dir)
    return len(graph.run_workflow(workflow, settings.run))

cli._level = lambda settings: app
sys.exit(cli.main(sys.argv[1:]))
"""


def processes_in(folder):
    """Ids of the living processes that work in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(link.readlink()).startswith(str(folder)):
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds):
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize(
    ("number", "n_cpus", "status"),
    [
        (signal.SIGTERM, 2, 143),
        (signal.SIGINT, 2, 130),
        (signal.SIGTERM, 1, 143),
        (signal.SIGKILL, 2, -signal.SIGKILL),
    ],
)
def test_signal_ends_everything(tmp_path, number, n_cpus, status):
    work = tmp_path / "work"
    paths = [str(tmp_path / "raw"), str(tmp_path / "out"), "participant", "-w", str(work)]
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *paths, "--n-cpus", str(n_cpus)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    # The node's program works in the node's folder, as the worker that called it.
    assert wait_for(lambda: len(processes_in(work / "test_wf" / "sleep")) == 2, 30)
    start = time.monotonic()
    run.send_signal(number)
    _, err = run.communicate(timeout=10)
    assert run.returncode == status
    assert time.monotonic() - start < 5
    assert wait_for(lambda: not processes_in(tmp_path), 5)
    if status > 0:
        assert f"Stopped by {signal.Signals(number).name}" in err
        assert "Traceback" not in err
