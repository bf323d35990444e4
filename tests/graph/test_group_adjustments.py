"""Images as covariates, from the plan to the page: who has them, what is refused, resuming."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rls_bids.dataset import adjustments
from rls_bids.dataset.description import write_dataset_description, write_descriptions, write_json
from rls_bids.dataset.group import plan_group
from rls_bids.dataset.group_tables import write_design_tables
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.walk import walk
from rls_bids.errors import InputDataError, UsageError
from rls_bids.records import Seed, Template
from rls_bids.settings import build_settings
from rls_bids.workflows.group import group_stages, init_group_wf
from rls_bids.workflows.stages import place_of
from tests.factories import write_dataset, write_nifti
from tests.graph import test_group as fakes
from tests.graph.test_group_covariates import OTHER, SPHERE
from tests.unit.test_models import EXAMPLES


def image_path(label: str, session: str | None = None) -> str:
    grid = {"space": fakes.SPACE, "res": "2", "label": "GM"}
    return derivative("modulated", label, session, **grid)


def write_image(out: Path, label: str, session: str | None = None, stamp: str = "g") -> None:
    path = image_path(label, session)
    about = {
        "Description": "Amount of grey matter.",
        "Sources": ["bids:raw:participants.tsv"],
        "SpatialReference": fakes.SPACE,
        "Resolution": "2 mm isotropic",
        "Fingerprint": f"{stamp}{label}",
    }
    write_json(out / sidecar(path), about)
    data = np.random.default_rng(int(label) + 77).uniform(0.2, 0.8, fakes.SHAPE)
    write_nifti(out / path, data.astype(np.float32), affine=fakes.AFFINE)


def write_study(
    base: Path, sessions: tuple[str | None, ...] = (None,), seeds: tuple[str, ...] = fakes.SEEDS
) -> tuple[Path, Path]:
    bids, out = write_dataset(base / "raw", {}, fakes.table()), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    processing = {"Resolution": "2", "SmoothingFwhmMm": 6.0, "MotionThresholdMm": 0.4}
    for label in fakes.LABELS:
        for session in sessions:
            for seed in seeds:
                fakes.write_map(out, label, seed, session, Processing=processing)
    write_descriptions(out)
    return bids, out


def plan(bids: Path, out: Path, **changes: Any) -> Any:
    values = {"analysis_level": "group", "input.bids_dir": str(bids), "input.output_dir": str(out)}
    values["run.work_dir"] = str(out.parent / "work")
    changes = ({} if "model_file" in changes else {"covariates": []}) | changes
    named = {key if "." in key else f"group.{key}": each for key, each in changes.items()}
    settings = build_settings(values | named)
    return plan_group(settings), settings


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path]:
    """One map a participant; 05 has no image."""
    bids, out = write_study(tmp_path, seeds=fakes.SEEDS[:1])
    for label in fakes.LABELS:
        if label != "05":
            write_image(out, label)
    return bids, out


def test_who_has_no_image_leaves(study: tuple[Path, Path]) -> None:
    without, _ = plan(*study)
    found, _ = plan(*study, voxel_covariates=["grey_matter"])
    (design,), (plain,) = found.designs, without.designs
    assert dict(design.result.dropped)["05"] == adjustments.NO_IMAGE
    assert "05" not in design.result.design.index
    assert "05" in plain.result.design.index
    assert plain.adjustment is None
    assert [Path(path).name[:6] for path in design.adjustment.images] == [
        f"sub-{one.participant}" for one in design.result.inputs
    ]
    assert design.result.hypothesis == plain.result.hypothesis  # tables are made of it, too
    assert design.adjustment.words == (
        "Covariates of each voxel: amount of grey matter (modulated, smoothed as the maps)."
    )
    assert adjustments.MAPS_ONLY in design.result.remarks
    again, _ = plan(*study, voxel_covariates=["grey_matter"])
    seeds, _ = plan(*study, seed_covariate="grey_matter")
    write_image(study[1], "03", stamp="changed")
    other, _ = plan(*study, voxel_covariates=["grey_matter"])
    stamps = [each.designs[0].fingerprint for each in (found, again, seeds, other, without)]
    assert stamps[0] == stamps[1]
    assert len(set(stamps)) == 4


def test_the_nodes_get_what_the_plan_found(study: tuple[Path, Path]) -> None:
    asked = {"voxel_covariates": ["grey_matter"], "seed_covariate": "grey_matter"}
    found, settings = plan(*study, **asked)
    write_design_tables(found, settings)
    place = place_of(settings)
    stages = group_stages(found, place, settings)
    image = str(study[1] / image_path("01"))
    template = Template(**{
        name: image if name in ("head", "brain", "mask") else "x"
        for name in Template.__dataclass_fields__
    })  # fmt: skip
    workflow = init_group_wf(found, stages, template, place, settings, str(study[1]))
    for node in workflow._get_all_nodes():
        assert pickle.loads(pickle.dumps(node)).fullname == node.fullname
    (node,) = [one for one in workflow._get_all_nodes() if one.name == "test"]
    (design,) = found.designs
    assert node.inputs.voxel_covariates == ["grey_matter"]
    assert node.inputs.grey_files == list(design.adjustment.images)
    assert node.inputs.smoothing_fwhm_mm == 6.0
    assert [one["name"] for one in node.inputs.measured_seeds] == [fakes.SEEDS[0]]
    plain, _ = plan(*study)
    versions = {stages[design.key].fingerprint}
    versions |= {group_stages(plain, place, settings)[design.key].fingerprint}
    assert len(versions) == 2
    assert design.adjustment.words in stages[design.key].products[0].metadata["NullHypothesis"]
    (z,) = [one for one in stages[design.key].products if one.key == "z"]
    assert any("desc-modulated" in source for source in z.metadata["Sources"])


def test_nobody_has_an_image(tmp_path: Path) -> None:
    bids, out = write_study(tmp_path, seeds=fakes.SEEDS[:1])
    with pytest.raises(InputDataError) as caught:
        plan(bids, out, voxel_covariates=["grey_matter"])
    assert caught.value.message == adjustments.NOBODY.format(reasons=adjustments.NO_IMAGE)
    assert caught.value.hint == adjustments.NOBODY_HINT


@pytest.fixture
def sessions(tmp_path: Path) -> tuple[Path, Path]:
    """Two sessions; 02 has one T1w image for both, 03 one without a session, others two."""
    bids, out = write_study(tmp_path, ("post", "pre"), fakes.SEEDS[:1])
    for label in fakes.LABELS:
        own = {"02": ("pre",), "03": (None,)}.get(label, ("post", "pre"))
        for session in own:
            write_image(out, label, session)
    return bids, out


def test_anatomies_of_sessions(sessions: tuple[Path, Path], tmp_path: Path) -> None:
    asked = {"voxel_covariates": ["grey_matter"], "contrast": ["RLS > HC"]}
    found, _ = plan(*sessions, **asked, session_contrast=["post > pre"])
    (design,) = found.designs
    out = dict(design.result.dropped)
    assert out["02"] == out["03"] == adjustments.SAME_ANATOMY
    assert [Path(path).parts[-3] for path in design.adjustment.images[:2]] == [
        f"ses-{name}" for name in design.result.sessions
    ]
    model = json.loads(EXAMPLES["Pre and post"])
    model["Nodes"][0]["Model"] = {"Type": "glm", "X": [1]}  # the mean of both sessions
    del model["Nodes"][0]["Contrasts"]
    model["Nodes"][0]["DummyContrasts"] = {"Test": "t", "Contrasts": [1]}
    model["Nodes"][1]["Model"]["Software"]["rls_bids"] |= {"voxel_covariates": ["grey_matter"]}
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    found, _ = plan(*sessions, model_file=str(path))
    assert {"02", "03"} <= set(found.designs[0].result.design.index)
    of_two, of_three = (
        [Path(path).name for path in found.designs[0].adjustment.images if f"sub-{label}" in path]
        for label in ("02", "03")
    )
    assert of_two == [Path(image_path("02", "pre")).name] * 2
    assert of_three == [Path(image_path("03")).name] * 2


def test_one_anatomy_for_all_sessions(tmp_path: Path) -> None:
    bids, out = write_study(tmp_path, ("post", "pre"), fakes.SEEDS[:1])
    for label in fakes.LABELS:
        write_image(out, label, "pre")
    asked = {"voxel_covariates": ["grey_matter"], "session_contrast": ["post > pre"]}
    with pytest.raises(InputDataError) as caught:
        plan(bids, out, **asked)
    assert caught.value.message == adjustments.NOBODY.format(reasons=adjustments.SAME_ANATOMY)
    assert caught.value.hint == adjustments.SAME_HINT
    found, _ = plan(bids, out, **asked | {"voxel_covariates": ["baseline"]})
    assert found.designs[0].adjustment.images == ()  # the map before needs no anatomy


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"variance_groups": ""}, UsageError, "together with variance groups"),
        ({"measures.names": ["matrices", "graphs"]}, UsageError, "asks for matrices, graphs only"),
        (
            {"measures.names": ["reho"], "seed_covariate": "grey_matter"},
            UsageError,
            "--seed-covariate is about maps of seeds",
        ),
        (
            {"session_contrast": ["post > pre", "post = pre = late"]},
            None,
            adjustments.ONE_NUMBER.format(title="RLS > HC: post = pre = late"),
        ),
        (
            {"voxel_covariates": ["baseline"], "session_contrast": ["post"]},
            InputDataError,
            "so there is no map before",
        ),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, asked, error, message) -> None:
    bids, out = write_study(tmp_path, ("post", "pre", "late"), fakes.SEEDS[:1])
    for label in fakes.LABELS:
        for session in ("post", "pre", "late"):
            write_image(out, label, session)
    given = {"voxel_covariates": ["grey_matter"]} | asked
    if error is None:  # one contrast fails, the other is made
        found, _ = plan(bids, out, **given)
        assert [one.error.message for one in found.unfit] == [message]
        assert len(found.designs) == 1
        return
    with pytest.raises(error) as caught:
        plan(bids, out, **given)
    assert message in caught.value.message


def test_a_mean_of_seeds_needs_its_members() -> None:
    mean = Seed(name="net", network="n", kind="mean", members=("left", "next"))
    whole = SimpleNamespace(seeds=(SPHERE, OTHER, mean))
    assert adjustments._seeds(whole) == (SPHERE, OTHER)
    with pytest.raises(InputDataError) as caught:
        adjustments._seeds(SimpleNamespace(seeds=(SPHERE, mean)))
    assert caught.value.message == adjustments.NO_REGION.format(seed="net", members="next")
    network = Seed(name="dmn", network="n", kind="network", mask="maps.nii.gz")
    assert adjustments._seeds(SimpleNamespace(seeds=(network,))) == ()
    assert adjustments._seeds(SimpleNamespace(seeds=())) == ()


def test_from_the_command_line_to_the_page(tmp_path: Path) -> None:
    bids, out = write_study(tmp_path)
    for label in fakes.LABELS:
        if label != "05":
            write_image(out, label)
    asked = ("--voxel-covariates", "grey_matter", "--seed-covariate", "grey_matter")
    asked += ("--covariates", "age", "--correction", "voxel", "--n-permutations", 50)
    assert fakes.run(bids, out, *asked) == 0
    maps = sorted(out.glob("group/**/*stat-z_statmap.json"))
    told = [json.loads(path.read_text()) for path in maps]
    assert len(told) == len(fakes.SEEDS)
    assert [one["DegreesOfFreedom"] for one in told] == [10 - 3 - 2] * 2
    assert told[0]["VoxelCovariates"][0]["SmoothingFwhmMm"] == 6.0
    assert len(told[0]["SeedCovariate"]["AmountsMm3"]) == 10
    assert len({one["Resamplings"]["Set"] for one in told}) == 1  # in step
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    for words in (
        adjustments.NO_IMAGE, adjustments.EACH_SEED, adjustments.MAPS_ONLY,
        "Covariates of each voxel: amount of grey matter",
    ):  # fmt: skip
        assert words in page
    method = (out / "logs/CITATION.md").read_text()
    assert method.count("Covariates of each voxel") == 1
    assert walk(out) == []
    written = {path: path.stat().st_mtime_ns for path in out.glob("group/model*/*.nii.gz")}
    assert fakes.run(bids, out, *asked) == 0
    assert written == {path: path.stat().st_mtime_ns for path in written}
