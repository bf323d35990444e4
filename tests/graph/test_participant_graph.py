"""The participant graph as it is built: nodes, edges and names. Nothing is run."""

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph

from rls_bids.dataset.query import index_participants
from rls_bids.measures import MEASURES
from rls_bids.resources import default_seeds
from rls_bids.resources.templates import locate_template
from rls_bids.settings import build_settings
from rls_bids.workflows.participant import init_participants_wf
from tests.factories import bold_array, write_dataset, write_nifti

ONE_RUN: dict[str | None, dict[str, Any]] = {None: {}}
TWO_RUNS = {None: {"bold": ["task-rest_run-1", "task-rest_run-2"]}}
TWO_SESSIONS: dict[str | None, dict[str, Any]] = {"pre": {}, "post": {}}

SCRIPT = """
import sys
from rls_bids.dataset.query import index_participants
from rls_bids.resources import default_seeds
from rls_bids.resources.templates import locate_template
from rls_bids.settings import build_settings
from rls_bids.workflows.participant import init_participants_wf
settings = build_settings({
    "analysis_level": "participant",
    "input.bids_dir": sys.argv[1],
    "input.output_dir": sys.argv[2],
})
participants = index_participants(settings.input, settings.bold)
seeds = {seed.name: seed for seed in default_seeds()}
template = locate_template(settings.anat.space, settings.anat.resolution)
plan = init_participants_wf(participants, settings, template, seeds, "run")
assert plan.n_unfinished == 2
print(*sorted(name for name in sys.modules if "." not in name))
"""


def expand(
    root: Path, sessions: Mapping[str | None, Mapping[str, Any]], **options: Any
) -> list[Any]:
    """Build the graph of a data set and return its nodes, expanded as nipype runs them."""
    bids = write_dataset(root / "bids", {"01": sessions})
    names = {name.replace("__", "."): value for name, value in options.items()}
    settings = build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": str(bids),
            "input.output_dir": str(root / "out"),
            "run.work_dir": str(root / "work"),
            **names,
        }
    )
    participants = index_participants(
        settings.input, settings.bold, anat_only=settings.run.anat_only
    )
    seeds = {seed.name: seed for seed in default_seeds()}
    template = locate_template(settings.anat.space, settings.anat.resolution)
    plan = init_participants_wf(participants, settings, template, seeds, "run")
    flat = plan.workflow._create_flat_graph()
    return generate_expanded_graph(deepcopy(flat))


def names_of(graph: Any) -> set[str]:
    """Names of the nodes within the participant's graph."""
    return {node.fullname.split(".", 2)[2] for node in graph.nodes()}


def node_of(graph: Any, name: str) -> Any:
    return next(node for node in graph.nodes() if node.fullname.endswith(f".{name}"))


def sources_of(graph: Any, name: str) -> dict[str, str]:
    """What each connected input of a node comes from."""
    node = node_of(graph, name)
    found = {}
    for source, _, data in graph.in_edges(node, data=True):
        for output, target in data["connect"]:
            origin = output if isinstance(output, str) else output[0]
            found[target] = f"{source.fullname.split('.', 2)[2]}.{origin}"
    return found


def test_one_run_has_the_road_of_the_design(tmp_path: Path) -> None:
    graph = expand(tmp_path, ONE_RUN)
    names = names_of(graph)
    for expected in (
        *(
            f"anat.{step}"
            for step in (
                "bias_correction",
                "brain_extraction",
                "tissue_segmentation",
                "normalisation",
                "standard_space",
            )
        ),
        "ses_rest.standard_points",
        *(
            f"ses_rest.bold_0.{step}"
            for step in ("head_motion", "coregistration", "resampling", "confounds")
        ),
        "ses_rest.denoise_acompcor_0.nuisance_regression",
        "ses_rest.measures_acompcor.select_runs",
        *(
            f"ses_rest.measures_acompcor.seed_{network}"
            for network in ("thalamus", "salience", "default")
        ),
    ):
        assert expected in names
    assert not any(name.endswith(("inputnode", "outputnode")) for name in names)


def test_the_series_is_interpolated_once(tmp_path: Path) -> None:
    graph = expand(tmp_path, ONE_RUN)
    resampling = sources_of(graph, "bold_0.resampling")
    assert resampling == {
        "matrices": "ses_rest.bold_0.head_motion.matrices",
        "t1w_to_boldref": "ses_rest.bold_0.coregistration.t1w_to_boldref",
        "points": "ses_rest.standard_points.points",
        "std_mask": "ses_rest.standard_points.std_mask",
    }
    node = node_of(graph, "bold_0.resampling")
    assert node.inputs.in_file.endswith("sub-01_task-rest_bold.nii.gz")  # the raw file
    local = node_of(graph, "bold_0.resampling_local")
    assert local.inputs.in_file == node.inputs.in_file  # local measures have a grid of their own
    assert sources_of(graph, "bold_0.resampling_local")["points"] == "ses_rest.local_points.points"
    kinds = Counter(type(node.interface).__name__ for node in graph.nodes())
    assert kinds["ResampleSeries"] == 2
    alone = expand(tmp_path / "seeds", ONE_RUN, measures__names=("seed",))
    kinds = Counter(type(node.interface).__name__ for node in alone.nodes())
    assert (kinds["ResampleSeries"], kinds["Denoise"], kinds["LocalMaps"]) == (1, 1, 0)


def test_every_series_of_every_session_has_its_points(tmp_path: Path) -> None:
    """What is connected once must be connected each time: nipype empties lists it is given."""
    graph = expand(tmp_path, TWO_SESSIONS)
    nodes = [n for n in graph.nodes() if type(n.interface).__name__ == "ResampleSeries"]
    assert len(nodes) == 4
    for node in nodes:
        found = {
            field for _, _, data in graph.in_edges(node, data=True) for _, field in data["connect"]
        }
        assert {"points", "std_mask", "matrices", "t1w_to_boldref"} <= found


def test_a_native_grid_serves_the_local_measures_too(tmp_path: Path) -> None:
    graph = expand(tmp_path, ONE_RUN, anat__resolution="native")
    kinds = Counter(type(node.interface).__name__ for node in graph.nodes())
    assert kinds["StandardPoints"] == 1
    assert kinds["ResampleSeries"] == 1
    series = sources_of(graph, "ses_rest.local_acompcor_0")["series"]
    assert series == "ses_rest.bold_0.resampling.series"
    assert sources_of(graph, "bold_0.confounds")["white_matter"].endswith("native_grid.WM_std")
    assert sources_of(graph, "ses_rest.native_grid")["transform"].startswith("anat.normalisation")


def test_every_measure_of_the_table_reaches_the_graph(tmp_path: Path) -> None:
    graph = expand(tmp_path, TWO_RUNS, measures__atlases=("Power264", "Dosenbach160"))
    kinds = Counter(type(node.interface).__name__ for node in graph.nodes())
    local = [name for name, measure in MEASURES.items() if measure.kind == "local"]
    assert kinds["LocalMaps"] == kinds["PlotLocalMaps"] == len(local) == 3
    assert (kinds["ParcelSeries"], kinds["Matrices"], kinds["GraphTables"]) == (4, 2, 2)
    for name in local:
        sources = sources_of(graph, f"measures_acompcor.local_{name}")
        assert sources["filtered"].endswith("select_runs.local_denoised")
        assert sources["unfiltered"].endswith("select_runs.local_unfiltered")
    sources = sources_of(graph, "measures_acompcor.matrices_Power264")
    assert sources["selected"].endswith("select_runs.selected")


def test_every_run_has_its_own_branch_and_they_meet_in_the_measures(tmp_path: Path) -> None:
    graph = expand(tmp_path, TWO_RUNS)
    kinds = Counter(type(node.interface).__name__ for node in graph.nodes())
    assert kinds["EstimateMotion"] == 2
    assert kinds["ResampleSeries"] == kinds["Denoise"] == 4  # also for local measures
    assert kinds["NormalizeToTemplate"] == 1
    assert kinds["SeedMaps"] == 3
    merged = sources_of(graph, "ses_rest.denoised_acompcor")
    assert merged == {
        "in1": "ses_rest.denoise_acompcor_0.nuisance_regression.denoised",
        "in2": "ses_rest.denoise_acompcor_1.nuisance_regression.denoised",
    }


def test_every_session_has_its_own_anatomy(tmp_path: Path) -> None:
    graph = expand(tmp_path, TWO_SESSIONS)
    kinds = Counter(type(node.interface).__name__ for node in graph.nodes())
    assert kinds["BiasCorrect"] == kinds["EstimateMotion"] == 2
    assert kinds["SeedMaps"] == 6
    sources = {
        sources_of(graph, f"ses_{session}Rest.bold_0.coregistration")["t1w"]
        if f"ses_{session}Rest.bold_0.coregistration" in names_of(graph)
        else sources_of(graph, f"ses_{session}_rest.bold_0.coregistration")["t1w"]
        for session in ("pre", "post")
    }
    assert sources == {"anat_pre.bias_correction.out_file", "anat_post.bias_correction.out_file"}


def test_strategies_share_the_preprocessing(tmp_path: Path) -> None:
    options = {"denoise__strategies": ("acompcor", "24P"), "measures__names": ("seed",)}
    graph = expand(tmp_path, ONE_RUN, **options)
    kinds = Counter(type(node.interface).__name__ for node in graph.nodes())
    assert kinds["ResampleSeries"] == kinds["ComputeConfounds"] == 1
    assert kinds["Denoise"] == kinds["PlotCarpet"] == 2
    assert kinds["SeedMaps"] == 6
    paths = [
        path
        for node in graph.nodes()
        if type(node.interface).__name__ == "WriteManifest"
        for path in node.inputs.paths.values()
    ]
    assert len(paths) == len(set(paths)) == 2 * 2 * len(default_seeds())


def test_anat_only_stops_after_the_anatomy(tmp_path: Path) -> None:
    graph = expand(tmp_path, ONE_RUN, run__anat_only=True)
    assert {name.split(".")[0] for name in names_of(graph)} == {"anat"}


def test_level_full_also_writes_the_series(tmp_path: Path) -> None:
    minimal = expand(tmp_path / "a", ONE_RUN)
    full = expand(tmp_path / "b", ONE_RUN, run__level="full")
    assert names_of(full) - names_of(minimal) == {
        "ses_rest.bold_0.ds_boldref_std_local",
        "ses_rest.bold_0.ds_bold_mask_std_local",
        "ses_rest.bold_0.unmask_preproc_bold_local",
        "ses_rest.bold_0.ds_preproc_bold_local",
        "ses_rest.bold_0.unmask_preproc_bold",
        "ses_rest.bold_0.ds_preproc_bold",
        "ses_rest.denoise_acompcor_0.unmask_denoised_bold",
        "ses_rest.denoise_acompcor_0.ds_denoised_bold",
    }
    assert sources_of(full, "unmask_preproc_bold") == {
        "series": "ses_rest.bold_0.resampling.series",
        "mask": "ses_rest.bold_0.resampling.mask",
    }
    assert sources_of(full, "unmask_denoised_bold") == {
        "series": "ses_rest.denoise_acompcor_0.nuisance_regression.denoised",
        "mask": "ses_rest.bold_0.resampling.mask",
    }


@pytest.mark.parametrize("sessions", [ONE_RUN, TWO_RUNS, TWO_SESSIONS])
def test_every_expanded_node_travels_to_another_process(
    tmp_path: Path, sessions: dict[str | None, dict[str, Any]]
) -> None:
    graph = expand(tmp_path, sessions, run__level="full", denoise__strategies=("acompcor", "6P"))
    for node in graph.nodes():
        again = pickle.loads(pickle.dumps(node))
        assert again.fullname == node.fullname


def test_every_computing_node_knows_the_version_of_its_numbers(tmp_path: Path) -> None:
    """The cache is keyed by inputs, not by code: without a version old numbers would stay."""
    graph = expand(tmp_path, ONE_RUN)
    without = ("Plot", "Write", "Merge", "SelectRuns", "Unmask", "Identity")
    for node in graph.nodes():
        kind = type(node.interface).__name__
        if not kind.startswith(without):
            assert node.inputs.version, kind


def test_no_two_nodes_write_to_one_path(tmp_path: Path) -> None:
    graph = expand(tmp_path, TWO_RUNS, run__level="full", denoise__strategies=("acompcor", "6P"))
    paths = [
        node.inputs.path
        for node in graph.nodes()
        if type(node.interface).__name__ == "WriteDerivative"
    ]
    assert len(paths) == len(set(paths)) > 40


def test_building_loads_no_image_library(tmp_path: Path) -> None:
    """A cluster's login node builds hundreds of graphs; ants alone would take seconds each."""
    bids = write_dataset(tmp_path / "bids", {"01": ONE_RUN})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(bids), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "nipype" in loaded
    assert loaded.isdisjoint({"ants", "nilearn", "matplotlib", "sklearn"})


def test_repeated_t1w_images_are_averaged_before_anything_else(tmp_path: Path) -> None:
    graph = expand(tmp_path, {None: {"t1w": ["run-1", "run-2"]}})
    assert sources_of(graph, "anat.bias_correction") == {"in_file": "anat.average.out_file"}
    assert sources_of(graph, "anat.brain_extraction")["about"] == "anat.average.metadata"
    node = node_of(graph, "anat.average")
    assert node.inputs.uris == [f"bids:raw:sub-01/anat/sub-01_run-{n}_T1w.nii.gz" for n in (1, 2)]
    assert [Path(path).name for path in node.inputs.in_files] == [
        f"sub-01_run-{n}_T1w.nii.gz" for n in (1, 2)
    ]
    assert sources_of(graph, "anat.ds_dseg")["metadata_file"] == "anat.average.metadata"
    alone = expand(tmp_path / "one", ONE_RUN)
    assert "anat.average" not in names_of(alone)
    assert "metadata_file" not in sources_of(alone, "anat.ds_dseg")


@pytest.mark.parametrize("ignore", [(), ("sbref",)])
def test_a_single_band_reference_is_coregistered_unless_it_is_left_out(tmp_path, ignore):
    write_nifti(tmp_path / "bids/sub-01/func/sub-01_task-rest_sbref.nii.gz", bold_array()[..., 0])
    graph = expand(tmp_path, ONE_RUN, bold__ignore=ignore)
    motion = "ses_rest.bold_0.head_motion.boldref"
    placed = sources_of(graph, "bold_0.coregistration")["boldref"]
    if ignore:
        assert placed == motion
        return
    assert placed == "ses_rest.bold_0.reference.boldref"
    assert sources_of(graph, "bold_0.reference") == {"boldref": motion}
    sink = sources_of(graph, "bold_0.ds_boldref")
    assert sink["metadata_file"] == "ses_rest.bold_0.reference.metadata"
    told = node_of(graph, "bold_0.ds_boldref").inputs.metadata
    assert told["Description"].startswith("Single-band reference")
    assert "bids:raw:sub-01/func/sub-01_task-rest_sbref.nii.gz" in told["Sources"]


FIELD = {"B0FieldIdentifier": "gre"}
ECHOES = {"EchoTime1": 0.00492, "EchoTime2": 0.00738}
MAPPED = {
    "metadata": {
        "B0FieldSource": "gre",
        "PhaseEncodingDirection": "i-",
        "EffectiveEchoSpacing": 0.0005,
    },
    "fmap": {"phasediff": {**FIELD, **ECHOES}, "magnitude1": FIELD},
}


def test_a_field_map_reaches_coregistration_and_resampling(tmp_path):
    graph = expand(tmp_path, {None: MAPPED})
    assert "ses_rest.bold_0.field" in names_of(graph)
    found = node_of(graph, "bold_0.coregistration")
    assert found.inputs.direction == "i-"
    assert found.inputs.line_time == pytest.approx(0.0005 * 4)  # lines of the first axis
    for before, after in (
        ("bold_0.field", "bold_0.coregistration"),
        ("bold_0.coregistration", "bold_0.resampling"),
    ):
        assert graph.has_edge(node_of(graph, before), node_of(graph, after))


@pytest.mark.parametrize("ignore", [(), ("fieldmaps",)])
def test_field_maps_are_left_out_on_request_or_when_nothing_points_to_them(tmp_path, ignore):
    run = MAPPED if ignore else {**MAPPED, "metadata": {}}
    names = names_of(expand(tmp_path, {None: run}, bold__ignore=ignore))
    assert "ses_rest.bold_0.field" not in names
    assert "ses_rest.bold_0.resampling" in names
