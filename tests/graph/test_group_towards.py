"""Towards controls from a model file to the page: who recovers, who drifts, which side."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset import towards
from rls_bids.dataset.description import write_dataset_description, write_descriptions
from rls_bids.dataset.group import plan_group
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.rows import NO_SESSION
from rls_bids.dataset.walk import walk
from rls_bids.numerics.normalisation import Measured, towards_controls
from rls_bids.reports import towards as page_of
from rls_bids.settings import build_settings
from rls_bids.workflows.group_towards import towards_workflows
from rls_bids.workflows.stages import place_of
from tests.factories import write_dataset, write_nifti
from tests.graph.test_group import AFFINE, SEEDS, SHAPE, SPACE, run, write_map
from tests.unit.test_models import EXAMPLES

ACTIVE = tuple(f"{n}" for n in range(21, 30))
SHAM = tuple(f"{n}" for n in range(41, 49))
HEALTHY = tuple(f"{n}" for n in range(31, 40))
NO_POST = "29"
LEFT, RIGHT = slice(2, 6), slice(12, 16)  # the affine puts small i on the left
DEFICIT = 0.5
MODEL = json.loads(EXAMPLES["Towards controls"])


def table() -> list[dict[str, Any]]:
    return [
        {
            "participant_id": f"sub-{label}",
            "group": "HC" if label in HEALTHY else "RLS",
            "treatment": "active" if label in ACTIVE else "sham" if label in SHAM else "n/a",
            "age": 40 + int(label) * 7 % 23,
        }
        for label in (*ACTIVE, *SHAM, *HEALTHY)
    ]


def fd(label: str, session: str) -> float:
    return 0.1 + 0.01 * (int(label) * (3 if session == "pre" else 5) % 13)


def values(label: str, seed: str, session: str) -> np.ndarray:
    """Patients lack connectivity on both sides; on the left they get it back.

    With the first seed only those who are treated do, with the second all patients.
    """
    number = int(label) + 1000 * SEEDS.index(seed)
    trait = np.random.default_rng(number).normal(0, 0.1, 2)
    noise = np.random.default_rng([number, session == "post"]).normal(0, 0.1, (2, *SHAPE))
    data = 0.6 + noise[0]
    for side, own, place in (("left", trait[0], LEFT), ("right", trait[1], RIGHT)):
        data[place] += own + 0.3 * noise[1, 0, 0, 0]
        if label in HEALTHY:
            continue
        recovers = side == "left" and (label in ACTIVE or seed == SEEDS[1])
        data[place] -= 0 if recovers and session == "post" else DEFICIT
    return data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("towards")
    bids, out = write_dataset(base / "raw", {}, table()), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in (*ACTIVE, *SHAM, *HEALTHY):
        for seed in SEEDS:
            for session in ("pre",) if label in HEALTHY or label == NO_POST else ("pre", "post"):
                motion = {"MeanFramewiseDisplacement": fd(label, session)}
                stamp = {"Fingerprint": f"{label}{seed}{session}"}
                write_map(out, label, seed, session, **motion, **stamp)
                entities = {"task": "rest", "space": SPACE, "res": "2", "denoise": "acompcor"}
                path = derivative(
                    "seed_map", label, session, **entities, seed=seed, stat="fisherz"
                )
                write_nifti(
                    out / path, values(label, seed, session).astype(np.float32), affine=AFFINE
                )
    for name, place in (("left", LEFT), ("right", RIGHT)):
        mask = np.zeros(SHAPE, np.uint8)
        mask[place] = 1
        write_nifti(base / f"{name}_space-{SPACE}_mask.nii.gz", mask, affine=AFFINE)
    write_descriptions(out)
    return bids, out


def model(base: Path, name: str, **own: Any) -> Path:
    """Write the example of the documentation with the masks as regions."""
    told = copy.deepcopy(MODEL)
    software = told["Nodes"][1]["Model"]["Software"]["rls_bids"]
    masks = [str(base / f"{side}_space-{SPACE}_mask.nii.gz") for side in ("left", "right")]
    software |= {"name": name, "regions": masks} | own
    software = {key: value for key, value in software.items() if value is not None}
    told["Nodes"][1]["Model"]["Software"]["rls_bids"] = software
    path = base / f"{name}.json"
    path.write_text(json.dumps(told))
    return path


def asked(**changes: Any) -> dict[str, Any]:
    """Return the key of the example with its values changed; None removes one."""
    software = MODEL["Nodes"][1]["Model"]["Software"]["rls_bids"]
    found = software["towards_controls"] | changes
    return {key: value for key, value in found.items() if value is not None}


FAST = ("--correction", "fdr", "--n-permutations", 2000)


@pytest.fixture(scope="module")
def done(made: tuple[Path, Path]) -> Path:
    path = model(made[1].parent, "treated")
    assert run(*made, "--model", path, *FAST) == 0
    return made[1]


def read_towards(out: Path, name: str = "treated", what: str = "") -> pd.DataFrame:
    stem = f"group/model-{name}/model-{name}_task-rest_denoise-acompcor"
    return pd.read_csv(out / f"{stem}_desc-towardsControls{what}_roi.tsv", sep="\t")


def rows_of(frame: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    side = frame["region"].str.extract("(left|right)")[0]
    keys = zip(frame["map"], side, strict=True)
    return {key: row for key, (_, row) in zip(keys, frame.iterrows(), strict=True)}


def test_who_recovers_is_claimed_and_drift_of_all_is_not(done: Path) -> None:
    found = rows_of(read_towards(done))
    claimed = [key for key, row in found.items() if row["p_fwe"] <= 0.05]
    assert claimed == [(SEEDS[0], "left")]
    row = found[SEEDS[0], "left"]
    assert row["deficit"] == pytest.approx(DEFICIT, abs=0.15)
    assert row["share"] == pytest.approx(1, abs=0.4)
    assert row["before"] < row["after"]
    assert row["is_closer"] == "yes"
    assert [row[f"n_{arm}"] for arm in ("patients", "controls", "untreated")] == [8, 9, 8]
    drift = found[SEEDS[1], "left"]
    assert drift["after"] - drift["before"] == pytest.approx(DEFICIT, abs=0.2)
    assert abs(drift["change"]) < 0.25
    assert drift["p_deficit"] < 0.01
    assert found[SEEDS[0], "right"]["p_deficit"] < 0.01


def planned(made: tuple[Path, Path], path: Path) -> tuple[Any, Any]:
    """Return plan and settings of a model file."""
    bids, out = made
    told = {"analysis_level": "group", "input.bids_dir": str(bids), "input.output_dir": str(out)}
    own = {"group.model_file": str(path), "group.n_permutations": 2000}
    settings = build_settings(told | own | {"run.work_dir": str(out.parent / "work")})
    return plan_group(settings), settings


def test_without_untreated_patients_drift_cannot_be_told(made, done: Path, tmp_path: Path) -> None:
    path = model(made[1].parent, "alone", towards_controls=asked(untreated=None))
    plan, settings = planned(made, path)
    for workflow in towards_workflows(plan, place_of(settings), settings):
        workflow.base_dir = str(tmp_path)
        workflow.run()
    found = rows_of(read_towards(done, "alone"))
    claimed = {key for key, row in found.items() if row["p_fwe"] <= 0.05}
    assert claimed == {(SEEDS[0], "left"), (SEEDS[1], "left")}
    (section,) = page_of.towards_sections(plan, settings)
    assert page_of.UNGUARDED.format(share=page_of.CLAIMED_UNGUARDED) in section.text
    for each in (done / "group").glob("model-alone*"):
        shutil.rmtree(each)


def mean(label: str, seed: str, session: str, place: slice) -> float:
    return float(values(label, seed, session).astype(np.float32)[place].mean(dtype=float))


def test_the_table_is_that_of_the_kernel(done: Path) -> None:
    """Region means and covariates come to the kernel in its order."""
    treated = [label for label in ACTIVE if label != NO_POST]
    columns = [
        [mean(who, seed, "pre", place) for who in treated]
        + [mean(who, seed, "post", place) for who in treated]
        + [mean(who, seed, "pre", place) for who in HEALTHY]
        + [mean(who, seed, "post", place) - mean(who, seed, "pre", place) for who in SHAM]
        for seed in sorted(SEEDS, reverse=True)  # in the order of the seeds' table
        for place in (LEFT, RIGHT)
    ]
    stack, n = np.array(columns, dtype=float).T, len(treated)
    expected = towards_controls(
        Measured(
            before=stack[:n],
            after=stack[n : 2 * n],
            controls=stack[2 * n : 2 * n + len(HEALTHY)],
            untreated=stack[2 * n + len(HEALTHY) :],
        ),
        "declared",
        covariates=[[40 + int(who) * 7 % 23, fd(who, "pre")] for who in (*treated, *HEALTHY)],
        change_covariates=[[fd(who, "post") - fd(who, "pre")] for who in (*treated, *SHAM)],
        n_resamplings=2000,
        seed=0,
    )
    found = read_towards(done)
    assert list(found["map"][::2]) == sorted(SEEDS, reverse=True)
    for name in ("deficit", "change", "remaining", "p_deficit", "p_change", "p", "p_fwe"):
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-4, atol=1e-6)


def test_values_and_sidecar_say_who_is_in(done: Path) -> None:
    long = read_towards(done, what="Values")
    counts = long.groupby(["map", "arm", "time"]).size()
    assert counts[SEEDS[0]].to_dict() == {
        ("patients", "before"): 8, ("patients", "after"): 8, ("controls", "before"): 9,
        ("untreated", "before"): 8, ("untreated", "after"): 8,
    }  # fmt: skip
    (file,) = done.glob("group/model-treated/*desc-towardsControls_roi.json")
    told = json.loads(file.read_text())
    reason = NO_SESSION.format(condition="session.post")
    assert told["LeftOut"] == {seed: {f"sub-{NO_POST}": reason} for seed in SEEDS}
    assert told["Covariates"][SEEDS[0]] == ["age", "mean_fd"]
    assert told["CovariatesOfChange"][SEEDS[0]] == ["mean_fd"]
    assert told["NumberOfSets"] == 1
    assert walk(done) == []
    page = (done / "group/model-treated.html").read_text(encoding="utf-8")
    for words in (
        page_of.GUARDED,
        reason,
        "1 of 4 means moved towards controls",
        "8, 8 untreated, 9 controls",
    ):
        assert words in page


def test_a_second_run_computes_nothing_and_another_map_would(
    made, done: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = made[1].parent / "treated.json"
    assert run(*made, "--model", path, *FAST) == 0
    assert "nothing is computed" in capfd.readouterr().err
    plan, settings = planned(made, path)
    assert list(towards_workflows(plan, place_of(settings), settings)) == []
    entities = {"task": "rest", "space": SPACE, "res": "2", "denoise": "acompcor"}
    name = derivative("seed_map", SHAM[0], "post", **entities, seed=SEEDS[0], stat="fisherz")
    stamp = done / sidecar(name)
    told = stamp.read_text()
    stamp.write_text(told.replace(f'"{SHAM[0]}{SEEDS[0]}post"', '"changed"'))
    try:
        plan, settings = planned(made, path)
        assert len(list(towards_workflows(plan, place_of(settings), settings))) == 1
    finally:
        stamp.write_text(told)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"regions": None}, "has towards_controls, but no regions"),
        (
            {"towards_controls": asked(patients="everybody")},
            "towards_controls.patients is 'everybody'; expected a level like group.RLS",
        ),
        (
            {"towards_controls": asked(controls="group.HV")},
            "towards_controls.controls names 'HV', but 'group' has HC, RLS.",
        ),
        ({"towards_controls": asked(patients="group.RLS")}, "among patients and untreated"),
        ({"towards_controls": asked(after="ses-pre")}, "are the same session (pre)"),
        ({"towards_controls": asked(source="the same")}, "Regions come from 'the same'"),
        ({"towards_controls": asked(covariates=["height"])}, "'height'"),
        ({"towards_controls": asked(before=None)}, "towards_controls lacks before"),
        ({"towards_controls": asked(ages="x")}, "has the key 'ages'"),
        ({"regions": ["{base}/group/model-x/x_mask.nii.gz"]}, "a result of a group model"),
    ],
)
def test_what_cannot_be_asked(made, tmp_path, capfd, own: dict[str, Any], words: str) -> None:
    result = tmp_path / "group/model-x/x_mask.nii.gz"
    result.parent.mkdir(parents=True)
    shutil.copy(made[1].parent / f"left_space-{SPACE}_mask.nii.gz", result)
    own = json.loads(json.dumps(own).replace("{base}", str(tmp_path)))
    path = model(made[1].parent, "bad", **own)
    assert run(*made, "--model", path, "--dry-run") == 2
    said = " ".join(capfd.readouterr().err.split())
    assert words in said
    assert "Traceback" not in said


def test_a_dry_run_says_who(made, capfd) -> None:
    path = model(made[1].parent, "dry")
    assert run(*made, "--model", path, "--dry-run") == 0
    said = capfd.readouterr().out
    words = r"DMN_PCC +towards controls \(patients 8, controls 9, untreated 8\), acompcor\n +out +"
    assert re.search(words + f"sub-{NO_POST}: ", said)


def test_too_few_are_told_and_stop_nothing(made, capfd) -> None:
    """Of those left out by name two remain."""
    bids, out = made
    path = model(out.parent, "few")
    gone = ("--exclude-participant-label", *HEALTHY[:7])
    assert run(bids, out, "--model", path, "--dry-run", *gone) == 0
    said = capfd.readouterr().out
    assert towards.TOO_FEW.format(n=2, group="controls") in said
