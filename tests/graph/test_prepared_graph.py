"""The participant graph behind the second door, as it is built. Nothing is run."""

import pickle
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

from nipype.pipeline.engine.utils import generate_expanded_graph

from rls_bids.dataset.prepared import index_prepared
from rls_bids.resources import default_seeds
from rls_bids.resources.templates import locate_template
from rls_bids.settings import build_settings
from rls_bids.workflows.participant import Plan, init_participants_wf
from tests.factories import bold_array, write_dataset, write_nifti
from tests.prepared import STD, write_prepared

RUNS = ("sub-01_task-rest_run-1", "sub-01_task-rest_run-2")
OURS = ("EstimateMotion", "Coregister", "ResampleSeries", "BiasCorrect", "NormalizeToTemplate")


def plan_of(root: Path, **options: Any) -> Plan:
    bids = root / "raw"
    if not bids.is_dir():
        write_dataset(bids, {"01": {None: {"t1w": [], "bold": []}}})
    settings = build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": str(bids),
            "input.output_dir": str(root / "out"),
            "input.derivatives": [str(root / "fmriprep")],
            "run.work_dir": str(root / "work"),
            **{name.replace("__", "."): value for name, value in options.items()},
        }
    )
    seeds = {seed.name: seed for seed in default_seeds()}
    template = locate_template(settings.anat.space, settings.anat.resolution)
    return init_participants_wf(index_prepared(settings), settings, template, seeds, "run")


def nodes_of(plan: Plan) -> list[Any]:
    """Return the nodes as nipype runs them."""
    return list(generate_expanded_graph(deepcopy(plan.workflow._create_flat_graph())).nodes())


def kinds_of(plan: Plan) -> Counter[str]:
    return Counter(type(node.interface).__name__ for node in nodes_of(plan))


def write_anatomy(root: Path) -> None:
    for what in ("desc-preproc_T1w", *(f"label-{t}_probseg" for t in ("GM", "WM", "CSF"))):
        path = root / f"fmriprep/sub-01/anat/sub-01_{STD}_{what}.nii.gz"
        write_nifti(path, bold_array((4, 5, 6)))


def test_nothing_is_preprocessed_and_all_that_follows_is_there(tmp_path: Path) -> None:
    write_prepared(tmp_path / "fmriprep", runs=RUNS)
    write_anatomy(tmp_path)
    kinds = kinds_of(plan_of(tmp_path))
    assert not set(OURS) & kinds.keys()
    assert kinds["LoadPrepared"] == kinds["Denoise"] == kinds["PlotMotion"] == 2
    assert kinds["PrepareTissues"] == kinds["PlotSeeds"] == 1
    assert kinds["SeedMaps"] == 3


def test_without_an_anatomy_its_pictures_are_left_out(tmp_path: Path) -> None:
    write_prepared(tmp_path / "fmriprep")
    kinds = kinds_of(plan_of(tmp_path))
    assert "PlotSeeds" not in kinds
    assert "PrepareTissues" not in kinds
    assert kinds["PlotCarpet"] == 1


def test_nodes_travel_have_versions_and_write_to_different_paths(tmp_path: Path) -> None:
    write_prepared(tmp_path / "fmriprep", runs=RUNS)
    write_anatomy(tmp_path)
    plan = plan_of(tmp_path, run__level="full", denoise__strategies=("acompcor", "6P"))
    without = ("Plot", "Write", "Merge", "SelectRuns", "Unmask", "Identity")
    paths = []
    for node in nodes_of(plan):
        assert pickle.loads(pickle.dumps(node)).fullname == node.fullname
        kind = type(node.interface).__name__
        assert kind.startswith(without) or node.inputs.version, kind
        if kind == "WriteDerivative":
            paths.append(node.inputs.path)
    assert len(paths) == len(set(paths)) > 20
    assert sum(path.endswith("desc-preproc_bold.nii.gz") for path in paths) == 2


def test_sidecars_name_their_sources_and_the_program(tmp_path: Path) -> None:
    write_prepared(tmp_path / "fmriprep")
    nodes = nodes_of(plan_of(tmp_path))
    (table,) = [
        node.inputs.metadata
        for node in nodes
        if getattr(node.inputs, "path", "").endswith("desc-confounds_timeseries.tsv")
    ]
    assert table["Preprocessing"] == "fMRIPrep 25.2.0"
    assert (
        f"bids:fmriprep:sub-01/func/sub-01_task-rest_{STD}_desc-preproc_bold.nii.gz"
        in (table["Sources"])
    )
    manifests = [node for node in nodes if type(node.interface).__name__ == "WriteManifest"]
    told = next(
        metadata
        for node in manifests
        for metadata in node.inputs.metadata.values()
        if "Seed" in metadata
    )
    assert told["Processing"]["Preprocessing"] == "fMRIPrep 25.2.0"
    assert told["Sources"][0].startswith("bids:fmriprep:")


def test_changed_input_or_options_change_the_fingerprint(tmp_path: Path) -> None:
    write_prepared(tmp_path / "fmriprep")

    def stamps(**options: Any) -> set[str]:
        nodes = nodes_of(plan_of(tmp_path, **options))
        (load,) = [
            node.inputs.metadata["Fingerprint"]
            for node in nodes
            if getattr(node.inputs, "path", "").endswith("_outliers.tsv")
        ]
        return {load}

    first = stamps()
    assert stamps() == first
    assert stamps(bold__dummy_scans=2) != first
    assert stamps(denoise__fd_threshold_mm=0.2) != first
    write_prepared(tmp_path / "fmriprep", metadata={"RepetitionTime": 2.0, "EchoTime": 0.03})
    assert stamps() == first
    table = tmp_path / "fmriprep/sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv"
    table.write_text(table.read_text().replace("0.1", "0.2", 1))
    assert stamps() != first
