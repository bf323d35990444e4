"""The pool on small graphs: what fails, what goes on, and that nothing hangs."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

from rls_bids.engine.config import configure_nipype
from rls_bids.engine.crashes import set_crash_dir
from rls_bids.engine.pool import WORKER_LOST_HINT, load_plugin, run_workflow
from rls_bids.errors import EXIT_DATA, EXIT_FAILED, RunRefused, UsageError
from rls_bids.settings import RunSettings

MESSAGE = "Run 1 has 20 volumes: the band keeps 10 dimensions."
HINT = "Lower --min-df."
UNEXPECTED = "first line\nsecond line: more"


class _Inputs(BaseInterfaceInputSpec):
    value = traits.Int(mandatory=True)
    deed = traits.Str("add")
    thing = traits.Any()


class _Outputs(TraitedSpec):
    value = traits.Int()


class Act(SimpleInterface):
    """Adds one, or does what ``deed`` says."""

    input_spec = _Inputs
    output_spec = _Outputs

    def _run_interface(self, runtime):
        deed = self.inputs.deed
        if deed == "refuse":
            try:
                {}["cause"]
            except KeyError as error:
                raise RunRefused(MESSAGE, HINT) from error
        if deed == "break":
            raise ValueError(UNEXPECTED)
        if deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "sleep":
            subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], check=True)
        Path("done.txt").write_text(str(os.getpid()))
        self._results["value"] = self.inputs.value + 1
        return runtime


def node(name, deed="add", **options):
    return pe.Node(Act(value=1, deed=deed), name=name, **options)


@pytest.fixture
def build(tmp_path):
    """Make a workflow from chains of nodes that run independently of each other."""

    def make(*chains, participant="01", **run):
        settings = RunSettings(work_dir=str(tmp_path / "work"), n_cpus=2, **run)
        configure_nipype(settings, settings.work_dir, str(tmp_path / "log"))
        workflow = pe.Workflow(name="test_wf", base_dir=settings.work_dir)
        for chain in chains:
            workflow.add_nodes(list(chain))
            for first, second in itertools.pairwise(chain):
                workflow.connect(first, "value", second, "value")
        set_crash_dir(workflow, str(tmp_path / "sub-01" / "log"), participant)
        return workflow, settings

    return make


def is_done(tmp_path, name):
    return (tmp_path / "work" / "test_wf" / name / "done.txt").exists()


@pytest.mark.parametrize("n_cpus", [1, 2])
@pytest.mark.parametrize("on_master", [False, True])
def test_failure_is_a_record_and_other_branches_finish(build, tmp_path, n_cpus, on_master):
    refuse = node("refuse", "refuse", run_without_submitting=on_master)
    broken = node("broken", "break", run_without_submitting=on_master)
    workflow, run = build(
        [node("a"), refuse, node("after")], [node("b"), node("c"), node("d")], [broken]
    )
    failures = {f.node: f for f in run_workflow(workflow, replace(run, n_cpus=n_cpus))}
    assert failures.keys() == {"test_wf.refuse", "test_wf.broken"}
    refused = failures["test_wf.refuse"]
    assert (refused.message, refused.hint, refused.exit_status) == (MESSAGE, HINT, EXIT_DATA)
    assert refused.exception == "RunRefused"
    assert refused.participant == "01"
    wrong = failures["test_wf.broken"]
    assert (wrong.exception, wrong.exit_status) == ("ValueError", EXIT_FAILED)
    assert wrong.message == UNEXPECTED
    assert wrong.crash_file in wrong.hint
    crash = Path(wrong.crash_file)
    assert crash.parent == tmp_path / "sub-01" / "log"
    assert "ValueError: first line" in crash.read_text()
    assert is_done(tmp_path, "d")
    assert not is_done(tmp_path, "after")


def test_second_run_recomputes_nothing_but_the_failed(build, tmp_path):
    workflow, run = build([node("a"), node("b")])
    assert run_workflow(workflow, run) == ()
    times = [p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("done.txt"))]
    workflow, run = build([node("a"), node("b")])
    assert run_workflow(workflow, run) == ()
    assert [p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("done.txt"))] == times


@pytest.mark.parametrize("n_cpus", [1, 2])
def test_killed_worker_ends_the_run(build, tmp_path, n_cpus):
    workflow, run = build([node("a"), node("victim", "die"), node("after")], [node("b")])
    start = time.monotonic()
    failures = run_workflow(workflow, replace(run, n_cpus=n_cpus))
    assert time.monotonic() - start < 20
    (victim,) = failures  # both nodes are of one participant, who is told once
    assert victim.exception == "WorkerLostError"
    assert victim.exit_status == EXIT_FAILED
    assert "SIGKILL" in victim.message
    assert "test_wf.victim" in victim.message
    assert victim.hint == WORKER_LOST_HINT
    assert Path(victim.crash_file).exists()


def test_node_that_cannot_be_sent_fails_alone(build, tmp_path):
    class Local(Act):
        """A class that no other process can import."""

    stuck = pe.Node(Local(value=1), name="stuck")
    workflow, run = build([node("a"), node("b")], [stuck])
    start = time.monotonic()
    (failure,) = run_workflow(workflow, run)
    assert time.monotonic() - start < 20
    assert failure.node == "test_wf.stuck"
    assert "pickle" in failure.message
    assert is_done(tmp_path, "b")


def test_inputs_that_cannot_be_read_fail_alone(build, tmp_path):
    first, second = node("first"), node("second")
    workflow, run = build([first], [second], [node("c"), node("d")])
    workflow.connect(first, "value", second, "deed")
    (failure,) = run_workflow(workflow, run)
    assert failure.node == "test_wf.second"
    assert failure.exception == "TraitError"
    assert is_done(tmp_path, "d")


def test_node_larger_than_the_pool_is_clamped(build, tmp_path):
    workflow, run = build([node("large", mem_gb=500, n_procs=64), node("b")], mem_gb=0.5)
    assert run_workflow(workflow, run) == ()
    assert is_done(tmp_path, "b")


def test_stop_on_first_crash(build, tmp_path):
    workflow, run = build(
        [node("broken", "break")], [node("s", "sleep"), node("t")], stop_on_first_crash=True
    )
    start = time.monotonic()
    failures = run_workflow(workflow, run)
    assert time.monotonic() - start < 20
    assert [f.node for f in failures] == ["test_wf.broken"]
    assert not is_done(tmp_path, "t")


def test_other_plugin_of_nipype(build, tmp_path):
    plugin = tmp_path / "plugin.toml"
    plugin.write_text('plugin = "Linear"\n')
    workflow, run = build([node("refuse", "refuse")], [node("b")])
    failures = run_workflow(workflow, replace(run, plugin_file=str(plugin)))
    assert [(f.node, f.exception, f.exit_status) for f in failures] == [
        ("test_wf.refuse", "RunRefused", EXIT_DATA)
    ]
    assert failures[0].participant == "01"
    assert MESSAGE in failures[0].message
    assert is_done(tmp_path, "b")


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.toml", "plugin = "), ("p.json", "[1]"), ("p.yml", "plugin: Nobody\n")],
)
def test_bad_plugin_files(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match="nipype-plugin-file"):
        load_plugin(str(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", 'plugin = "SLURM"\n[plugin_args]\nn = 1\n'),
        ("p.json", '{"plugin": "SLURM", "plugin_args": {"n": 1}}'),
        ("p.yml", "plugin: SLURM\nplugin_args:\n  n: 1\n"),
    ],
)
def test_plugin_files(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert load_plugin(str(path)) == ("SLURM", {"n": 1})
