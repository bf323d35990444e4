"""Group ICA on tiny fake denoised series: found, matched, on its side, resume, refusals, page."""

import json
import pickle
import re
import shutil
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph

from rls_bids.dataset import processing, rows
from rls_bids.dataset.description import write_dataset_description, write_descriptions, write_json
from rls_bids.dataset.naming import derivative, ica_file, ica_page, sidecar
from rls_bids.dataset.series import BAD_SIDECAR_HINT
from rls_bids.dataset.walk import walk
from rls_bids.errors import InputDataError
from rls_bids.interfaces.dualregression import DualRegression
from rls_bids.interfaces.images import save_mask
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.tables import load_rows
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.networkmaps import load_network_maps
from rls_bids.resources.networktemplates import network_templates
from rls_bids.resources.seeds import seeds_asked
from rls_bids.resources.templates import locate_template
from rls_bids.settings import build_settings
from rls_bids.workflows import ica_plan
from rls_bids.workflows.ica import ica_stages, init_ica_wf
from rls_bids.workflows.ica_plan import plan_ica
from rls_bids.workflows.stages import place_of
from tests.factories import write_dataset, write_nifti
from tests.graph.test_group import run

SPACE = "MNI152NLin2009cAsym"
LABELS = ("01", "02", "03", "04")
MINIMAL, REFUSED, NOT_THERE = "05", "06", "07"
SHAPE = (18, 22, 18)
AFFINE = np.diag([10.0, 10.0, 10.0, 1.0])
AFFINE[:3, 3] = (-85, -130, -75)
INSIDE = np.ones(SHAPE, bool)
INSIDE[:1], INSIDE[:, :2] = False, False
LEFT_MM = (-45.0, 20.0, 55.0)
N_VOLUMES = 50
NAMES = ("DefaultMode", "Visual")
COMPONENTS = ica_file("components", 3, task="rest", space=SPACE, res="2", denoise="acompcor")
TABLE = COMPONENTS.replace(".nii.gz", ".tsv")


def truth() -> np.ndarray:
    """Two networks that have templates, and a place on the left, (3, n_voxels)."""
    made = network_templates(find_atlas("Seitzman300"), INSIDE, AFFINE, SPACE)
    points = np.argwhere(INSIDE) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    place = np.exp(-((points - LEFT_MM) ** 2).sum(axis=1) / (2 * 9.0**2))
    return np.stack([*(made[name] for name in NAMES), place])


def write_series(out: Path, label: str, run_label: str | None = None, **changes: Any) -> Path:
    """Write a denoised series and the sidecar of its regressors; None leaves the series out."""
    entities = {"task": changes.get("task", "rest"), "run": run_label, "denoise": "acompcor"}
    about = {"Description": "d", "Sources": ["bids:raw:participants.tsv"], "Fingerprint": label}
    status = {
        "SecondsKept": 300.0, "MinutesKept": 5.0, "ResidualDegreesOfFreedom": 30,
        "NumberOfVolumesKept": N_VOLUMES, "NumberOfVolumes": N_VOLUMES, "BandDimensions": 40,
        "NumberOfRegressors": 10, "MeanFramewiseDisplacement": 0.1 * int(label), "Run": "r",
    }  # fmt: skip
    session = changes.get("session")
    design = derivative("design", label, session, **entities)
    write_json(out / sidecar(design), about | status | changes.get("status", {}))
    (out / design).write_text("trans_x\n0\n")
    path = derivative("denoised_bold", label, session, **entities, space=SPACE, res="2")
    if changes.get("status") is None:
        rng = np.random.default_rng(int(label) + 100 * (run_label == "2"))
        series = rng.standard_normal((N_VOLUMES, 3)) @ (4 * truth())
        series += rng.standard_normal(series.shape)
        data = np.zeros((*SHAPE, N_VOLUMES), np.float32)
        data[INSIDE] = series.T
        write_nifti(out / path, data, affine=AFFINE, repetition_time=2.0)
        processing = {"Resolution": "2", "BandPassHz": [0.01, 0.1], "MotionThresholdMm": 0.5}
        told = {
            "SkullStripped": True, "RepetitionTime": 2.0, "SpatialReference": SPACE,
            "Resolution": "2 mm isotropic", "Processing": processing,
        }  # fmt: skip
        write_json(out / sidecar(path), about | told | changes.get("told", {}))
    return out / path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Series of four participants, one with two runs; three have none in different ways."""
    base = tmp_path_factory.mktemp("ica")
    table = [{"participant_id": f"sub-{each}"} for each in (*LABELS, MINIMAL, REFUSED, NOT_THERE)]
    bids, out = write_dataset(base / "raw", {}, table), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in LABELS[:-1]:
        write_series(out, label)
    for run_label in "12":
        write_series(out, LABELS[-1], run_label)
    write_series(out, MINIMAL, status={"MinutesKept": 5.0})
    refused = write_series(out, REFUSED)
    write_series(out, REFUSED, status={"SecondsKept": 90.0, "MinutesKept": 1.5})
    assert refused.is_file()
    write_descriptions(out)
    return bids, out


@pytest.fixture
def copy(made: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy to break, without results of the group level."""
    for each in made:
        shutil.copytree(each, tmp_path / each.name, ignore=shutil.ignore_patterns("group"))
    return tmp_path / "raw", tmp_path / "out"


def decompose(bids: Path, out: Path, *arguments: object) -> int:
    common = ("--measures", "ica", "--n-components", 3, "--smoothing", 0)
    return run(bids, out, *common, *arguments)


@pytest.fixture(scope="module")
def done(made: tuple[Path, Path]) -> Path:
    """The output directory after group ICA."""
    assert decompose(*made) == 0
    return made[1]


def test_planted_networks_are_found_matched_and_on_their_side(done: Path) -> None:
    image = nib.load(done / COMPONENTS)
    maps, planted = image.get_fdata(), truth()
    rows = {row["name"]: row for row in load_rows(done / TABLE)}
    for name, expected in zip(NAMES, planted, strict=False):
        row = rows[name]
        assert row["template"] == row["nearest_template"] == name
        own = maps[INSIDE, int(row["index"]) - 1]
        assert np.corrcoef(own, expected)[0, 1] > 0.8
        told = np.corrcoef(own, expected)[0, 1]
        assert float(row["spatial_correlation"]) == pytest.approx(told, abs=1e-3)
    (other,) = (row for row in rows.values() if row["template"] == "n/a")
    own = maps[..., int(other["index"]) - 1]
    peak = np.unravel_index(own.argmax(), SHAPE)
    place = nib.affines.apply_affine(image.affine, peak)
    # Voxels are standardised, so that the peak is flat.
    assert np.abs(place - LEFT_MM).max() <= 10
    assert not maps[~INSIDE].any()


def test_the_sidecar_tells_who_what_and_templates(done: Path) -> None:
    told = json.loads((done / sidecar(COMPONENTS)).read_text())
    assert told["Participants"] == [f"sub-{label}" for label in LABELS]
    assert set(told["LeftOut"]) == {f"sub-{each}" for each in (MINIMAL, REFUSED, NOT_THERE)}
    assert told["LeftOut"][f"sub-{MINIMAL}"] == ica_plan.NOT_WRITTEN
    assert told["LeftOut"][f"sub-{NOT_THERE}"] == ica_plan.NOT_PROCESSED
    assert told["LeftOut"][f"sub-{REFUSED}"] == ica_plan.TOO_LITTLE.format(minutes=1.5, df=30)
    assert len(told["Sources"]) == 5
    assert told["Templates"]["DOI"] == "10.1016/j.neuroimage.2019.116290"
    assert len(told["Templates"]["Networks"]) == 13
    assert (told["NumberMatched"], told["NumberOfVoxels"]) == (2, int(INSIDE.sum()))
    assert told["Processing"]["BandPassHz"] == [0.01, 0.1]


def test_the_page_shows_templates_figures_and_who_is_left_out(done: Path) -> None:
    assert walk(done) == []
    page = (done / ica_page(3)).read_text()
    for words in (*NAMES, "Seitzman", "Smith", "Varoquaux", f"sub-{MINIMAL}", "No template"):
        assert words in page
    figures = sorted((done / "group/ica-3/figures").glob("*.svg"))
    assert len(figures) == 3
    assert all(f"ica-3/figures/{each.name}" in page for each in figures)


def test_a_second_call_computes_nothing(done: Path, made: tuple[Path, Path]) -> None:
    def seen() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (done / "group/ica-3").rglob("*.*")}

    before = seen()
    assert decompose(*made) == 0
    assert seen() == before


def planned(bids: Path, out: Path, **options: Any) -> tuple[Any, Any]:
    """Return the plan of a call, and its settings."""
    settings = build_settings(
        {
            "analysis_level": "group",
            "input.bids_dir": str(bids),
            "input.output_dir": str(out),
            "run.work_dir": str(out.parent / "work"),
            "measures.names": ["ica"],
            "measures.n_components": 3,
            "denoise.smoothing_fwhm_mm": 0.0,
            **{name.replace("__", "."): value for name, value in options.items()},
        }
    )
    return plan_ica(settings), settings


@pytest.mark.parametrize(
    "changed",
    [
        {"run__random_seed": 5},
        {"measures__n_components": 4},
        {"denoise__smoothing_fwhm_mm": 6.0},
        {"input__participant_labels": ["01", "02"]},
    ],
)
def test_what_changes_numbers_changes_the_fingerprint(
    done: Path, made: tuple[Path, Path], changed: dict[str, Any]
) -> None:
    def finished(**options: Any) -> bool:
        plan, settings = planned(*made, **options)
        stage = ica_stages(plan, place_of(settings), settings)["acompcor"]
        told = json.loads((done / sidecar(COMPONENTS)).read_text())
        return bool(told["Fingerprint"] == stage.fingerprint)

    assert finished(group__max_mean_fd_mm=0.5)
    assert not finished(**changed)


def test_components_are_network_maps(done: Path, made: tuple[Path, Path]) -> None:
    """What the participant level is given: names, space and the grid fit."""
    bids, out = made
    path = str(out / COMPONENTS)
    maps = load_network_maps(path)
    names = [row["name"] for row in load_rows(done / TABLE)]
    assert [each.name for each in maps] == [f"ICA3_{name}" for name in names]
    assert {each.space for each in maps} == {SPACE}
    options = {
        "analysis_level": "participant", "input.bids_dir": str(bids),
        "input.output_dir": str(out), "measures.network_maps": path,
    }  # fmt: skip
    settings = build_settings(options | {"measures.names": ["dualregression"]})
    asked = [seed.name for seed in seeds_asked(settings) if seed.kind == "network"]
    assert asked == [each.name for each in maps]


def test_dual_regression_takes_components_back_to_a_participant(
    done: Path, tmp_path: Path
) -> None:
    """Each network's map in a participant is where the network was planted."""
    seeds = load_network_maps(str(done / COMPONENTS))
    rng = np.random.default_rng(7)
    series = rng.standard_normal((N_VOLUMES, 3)) @ (4 * truth())
    np.save(tmp_path / "series.npy", series + rng.standard_normal(series.shape))
    np.save(tmp_path / "tsnr.npy", np.full(series.shape[1], 50.0))
    save_mask(INSIDE, AFFINE, tmp_path / "mask.nii.gz")
    status = {"ResidualDegreesOfFreedom": 30, "MinutesKept": 5.0, "NumberOfVolumesKept": N_VOLUMES}
    write_json(tmp_path / "status.json", status | {"MeanFramewiseDisplacement": 0.1})
    given = {"denoised": "series.npy", "smoothed": "series.npy", "mask": "mask.nii.gz"}
    given |= {"tsnr": "tsnr.npy", "status": "status.json"}
    node = DualRegression(
        **{name: [str(tmp_path / file)] for name, file in given.items()},
        space=SPACE,
        seeds=[asdict(each) for each in seeds],
        wanted=[each.name for each in seeds],
        version="1",
    )
    made = load_manifest(node.run(cwd=str(tmp_path)).outputs.manifest)
    files = {entry["key"].partition(":")[0]: entry["file"] for entry in made}
    (other,) = set(files) - {f"ICA3_{name}" for name in NAMES}
    names = (*(f"ICA3_{name}" for name in NAMES), other)
    r = np.corrcoef([*(nib.load(files[n]).get_fdata()[INSIDE] for n in names), *truth()])[:3, 3:]
    assert (np.diag(r) > [0.7, 0.7, 0.3]).all(), "the third is small: noise surrounds it"
    assert np.abs(r - np.diag(np.diag(r))).max() < 0.15


def test_given_templates_are_taken(copy: tuple[Path, Path], tmp_path: Path) -> None:
    """The place on the left gets its name; what has no map among the templates gets none."""
    bids, out = copy
    volume = np.zeros((*SHAPE, 2), np.float32)
    volume[INSIDE] = truth()[[2, 0]].T
    path = write_nifti(tmp_path / f"own_space-{SPACE}.nii.gz", volume, affine=AFFINE)
    path.with_name(f"own_space-{SPACE}.tsv").write_text("index\tname\n1\tleft\n2\tdmn\n")
    assert decompose(bids, out, "--network-maps", path) == 0
    rows = load_rows(out / TABLE)
    assert {row["template"] for row in rows} == {"own_left", "own_dmn", "n/a"}
    assert {"left", "dmn"} < {row["name"] for row in rows}
    told = json.loads((out / sidecar(COMPONENTS)).read_text())
    assert told["Templates"]["Networks"] == ["own_left", "own_dmn"]


def test_a_dry_run_says_who_and_writes_nothing(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bids, out = copy
    assert decompose(bids, out, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "3 components, 4 participants, 5 runs, task rest, acompcor" in said
    assert f"out   sub-{MINIMAL}: {ica_plan.NOT_WRITTEN}" in said
    assert not (out / "group").exists()


def test_motion_and_flags_leave_out(made: tuple[Path, Path]) -> None:
    """Framewise displacement of these participants is a tenth of their label."""
    plan, _ = planned(*made, group__max_mean_fd_mm=0.35)
    reasons = dict(plan.designs[0].left_out)
    assert reasons["04"] == rows.MOVED.format(found=0.4, limit=0.35)
    assert plan.designs[0].participants == LABELS[:3]
    plan, _ = planned(*made, input__exclude_participant_labels=["02"])
    assert dict(plan.designs[0].left_out)["02"] == ica_plan.EXCLUDED
    with pytest.raises(InputDataError, match=f"has 1 .*sub-01: {ica_plan.OTHER_SERIES}"):
        planned(*made, input__run_ids=["1"])  # only one has runs with numbers


def test_series_older_than_their_regressors_are_left_out(copy: tuple[Path, Path]) -> None:
    """A later call with other settings, but without --level full, leaves the old series there."""
    path = next(copy[1].glob("sub-02/func/*_design.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"Fingerprint": "later"}))
    plan, _ = planned(*copy)
    assert dict(plan.designs[0].left_out)["02"] == ica_plan.OUTDATED
    assert "02" not in plan.designs[0].participants


def refusal(capsys: pytest.CaptureFixture[str], *call: Any) -> tuple[int, str]:
    status = decompose(*call)
    return status, capsys.readouterr().err


def test_without_series_it_says_how_to_get_them(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bids, out = copy
    status, said = refusal(capsys, bids, out, "-p", "24P")
    assert status == 65
    wanted = f"task-rest space-{SPACE} res-2 denoise-24P"
    assert ica_plan.NO_SERIES.format(path=out, wanted=wanted) in said
    assert ica_plan.NO_SERIES_HINT in said
    assert f"task-rest space-{SPACE} res-2 denoise-acompcor" in said
    for path in out.rglob("*_bold.nii.gz"):
        path.unlink()
    status, said = refusal(capsys, bids, out)
    assert status == 65
    assert ica_plan.NO_SERIES_HINT in said
    assert "There are" not in said


def test_unequal_processing_is_refused(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bids, out = copy
    other = {"Resolution": "2", "BandPassHz": [0.01, 0.08], "MotionThresholdMm": 0.5}
    write_series(out, "02", told={"Processing": other})
    status, said = refusal(capsys, bids, out)
    assert status == 2
    words = "sub-02 has BandPassHz [0.01, 0.08] instead of [0.01, 0.1]"
    assert processing.UNEQUAL.format(differences=words) in said


def test_one_participant_and_several_tasks_are_refused(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bids, out = copy
    status, said = refusal(capsys, bids, out, "--participant-label", "01", MINIMAL)
    assert status == 65
    assert re.search(r"has 1 participants, 2 are needed\. Left out: sub-05: its denoised", said)
    write_series(out, "01", task="nback")
    status, said = refusal(capsys, bids, out, "-t", "rest", "nback")
    assert status == 2
    assert ica_plan.MANY_TASKS.format(tasks="nback, rest") in said


def test_an_older_sidecar_is_refused(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bids, out = copy
    path = out / sidecar(write_series(out, "02").relative_to(out).as_posix())
    path.write_text(json.dumps({"Fingerprint": "x"}))
    status, said = refusal(capsys, bids, out)
    assert status == 65
    assert str(path) in said
    assert BAD_SIDECAR_HINT in said


def test_more_components_than_volumes_leave_nobody(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*copy, "--measures", "ica", "--n-components", 51) == 65
    assert ica_plan.TOO_SHORT.format(n=N_VOLUMES, least=51) in capsys.readouterr().err


def test_the_graph_expands_and_every_node_travels(made: tuple[Path, Path], tmp_path: Path) -> None:
    bids, out = made
    plan, settings = planned(bids, out, measures__n_components=4)
    place = place_of(settings)
    stages = ica_stages(plan, place, settings)
    template = locate_template(settings.anat.space, settings.anat.resolution)
    workflow = init_ica_wf(plan, stages, template, place, settings, str(tmp_path))
    graph = generate_expanded_graph(deepcopy(workflow._create_flat_graph()))
    kinds = {type(node.interface).__name__ for node in graph.nodes()}
    assert kinds == {"CommonMask", "GroupICA", "PlotComponents", "WriteManifest"}
    assert len(graph.edges()) == 3
    for node in graph.nodes():
        assert pickle.loads(pickle.dumps(node)).fullname == node.fullname
        if type(node.interface).__name__ in ("CommonMask", "GroupICA"):
            assert node.inputs.version
