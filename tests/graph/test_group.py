"""The group level on tiny fake maps: planted difference, oracle, resume, page, exit statuses."""

import json
import logging
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from rls_bids.cli import main
from rls_bids.dataset import group as group_designs
from rls_bids.dataset import rows
from rls_bids.dataset.description import (
    write_dataset_description,
    write_descriptions,
    write_json,
)
from rls_bids.dataset.naming import derivative, sidecar
from rls_bids.dataset.walk import walk
from rls_bids.numerics.effects import hedges_g
from tests.factories import write_dataset, write_nifti, write_participants

SPACE = "MNI152NLin2009cAsym"
PATIENTS = tuple(f"{number:02}" for number in range(1, 7))
CONTROLS = tuple(f"{number:02}" for number in range(7, 13))
LABELS = (*PATIENTS, *CONTROLS)
NOT_THERE, REFUSED, NO_FIELD, MOVER = "13", "14", "03", "12"
SHAPE = (18, 22, 18)
AFFINE = np.diag([10.0, 10.0, 10.0, 1.0])
AFFINE[:3, 3] = (-85, -130, -75)
TARGET_MM = (-35.0, -30.0, 45.0)  # left
EFFECT = 1.2
SEEDS = ("DMN_PCC", "SN_aIns_L")
STEM = "group/model-group/model-group_task-rest"


def voxel(point_mm: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(np.rint(np.linalg.inv(AFFINE) @ (*point_mm, 1))[:3].astype(int))


def mean_fd(label: str) -> float:
    return 0.9 if label == MOVER else 0.1 + 0.02 * (int(label) * 5 % 7)


def table() -> list[dict[str, Any]]:
    return [
        {
            "participant_id": f"sub-{label}",
            "group": "RLS" if label in PATIENTS else "HC",
            "age": 40 + int(label) * 7 % 23,
            "sex": "FM"[int(label) * 3 % 5 % 2],
        }
        for label in (*LABELS, NOT_THERE, REFUSED)
    ]


def write_map(out: Path, label: str, seed: str, session: str | None = None, **changes) -> None:
    """Write the Fisher z map of one participant with a difference left of the middle."""
    strategy = changes.pop("strategy", "acompcor")
    entities = {"task": "rest", "space": SPACE, "res": "2", "denoise": strategy}
    path = derivative("seed_map", label, session, **entities, seed=seed, stat="fisherz")
    metadata: dict[str, Any] = {
        "Description": "A map.",
        "Sources": ["bids:raw:participants.tsv"],
        "SkullStripped": True,
        "SpatialReference": SPACE,
        "Resolution": "2 mm isotropic",
        "MeanFramewiseDisplacement": mean_fd(label),
        "MinutesKept": 6.5,
        "DegreesOfFreedom": 50 + int(label),
        "Processing": {"Resolution": "2", "BandPassHz": [0.01, 0.1], "MotionThresholdMm": 0.4},
        "Fingerprint": f"{label}{seed}",
        "Seed": {"Name": seed, "Kind": "sphere", "CentreMm": [-2, -51, 27], "RadiusMm": 4.0},
    } | changes
    write_json(out / sidecar(path), metadata)
    if "Missing" in metadata:
        return
    rng = np.random.default_rng(int(label) + 1000 * SEEDS.index(seed))
    data = rng.normal(0.2, 0.1, SHAPE)
    if label in PATIENTS and seed == SEEDS[0]:
        data[voxel(TARGET_MM)] += EFFECT
    data[0] = 0  # outside the field of view
    data[2, 2, 2] = 0.5  # the same in everybody: nothing to test
    write_nifti(out / path, data.astype(np.float32), affine=AFFINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Raw data and participant results; three are left out in different ways."""
    base = tmp_path_factory.mktemp("group")
    bids, out = write_dataset(base / "raw", {}, table()), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in LABELS:
        for seed in SEEDS:
            is_lost = label == NO_FIELD and seed == SEEDS[1]
            write_map(out, label, seed, **({"Missing": "too few voxels"} if is_lost else {}))
    status = {"MinutesKept": 1.5, "ResidualDegreesOfFreedom": 7}
    about = {"Description": "d", "Sources": ["bids:raw:participants.tsv"], "Fingerprint": "x"}
    path = derivative("design", REFUSED, None, task="rest", denoise="acompcor")
    write_json(out / sidecar(path), about | status)
    (out / path).write_text("trans_x\n0\n")
    write_descriptions(out)
    return bids, out


@pytest.fixture
def copy(made: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy to break, without results of the group level."""
    for each in made:
        shutil.copytree(each, tmp_path / each.name, ignore=shutil.ignore_patterns("group"))
    return tmp_path / "raw", tmp_path / "out"


def run(bids: Path, out: Path, *arguments: object) -> int:
    work = out.parent / "work"
    common = ["group", "-w", work, "--n-cpus", 1, "--max-mean-fd", 0.5]
    common += ["--n-permutations", 200] * ("--n-permutations" not in arguments)
    logger, environment = logging.getLogger("rls_bids"), dict(os.environ)
    try:
        return main([str(each) for each in (bids, out, *common, *arguments)])
    finally:  # the app prepares a process of its own; this one goes on to other tests
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None
        logger.handlers.clear()
        logger.propagate = True


@pytest.fixture(scope="module")
def done(made: tuple[Path, Path]) -> Path:
    """The output directory after the group level."""
    assert run(*made) == 0
    return made[1]


def load(out: Path, what: str, seed: str = "DMNPCC") -> np.ndarray:
    name = f"{STEM}_space-{SPACE}_res-2_denoise-acompcor_seed-{seed}_meas-fisherz"
    return nib.load(out / f"{name}_contrast-RLSGtHC_{what}_statmap.nii.gz").get_fdata()


def read_table(out: Path, what: str, seed: str = "DMNPCC") -> pd.DataFrame:
    name = f"{STEM}_denoise-acompcor_seed-{seed}_meas-fisherz_contrast-RLSGtHC_{what}.tsv"
    return pd.read_csv(out / name, sep="\t")


def test_the_oracle_agrees_at_the_planted_voxel(done: Path) -> None:
    labels = [label for label in LABELS if label != MOVER]
    place = voxel(TARGET_MM)
    values = []
    for label in labels:
        entities = {"task": "rest", "space": SPACE, "res": "2", "denoise": "acompcor"}
        path = derivative("seed_map", label, **entities, seed=SEEDS[0], stat="fisherz")
        values.append(nib.load(done / path).get_fdata()[place])
    frame = pd.DataFrame(table()).set_index("participant_id").loc[[f"sub-{s}" for s in labels]]
    frame = frame.assign(y=values, fd=[mean_fd(label) for label in labels])
    fit = smf.ols("y ~ C(group) + age + C(sex) + fd", frame).fit()
    name = "C(group)[T.RLS]"
    assert load(done, "stat-t")[place] == pytest.approx(fit.tvalues[name], rel=1e-5)
    assert load(done, "stat-effect")[place] == pytest.approx(fit.params[name], rel=1e-5)
    assert load(done, "stat-variance")[place] == pytest.approx(fit.bse[name] ** 2, rel=1e-5)
    p = load(done, "stat-p_desc-uncorrected")[place]
    assert p == pytest.approx(fit.pvalues[name], rel=1e-5)
    assert load(done, "stat-z")[place] == pytest.approx(stats.norm.isf(p / 2), rel=1e-4)
    expected = hedges_g(fit.tvalues[name], fit.df_resid, 6, 5)
    limits = ("", "_desc-ciLower", "_desc-ciUpper")
    g = [load(done, f"stat-hedgesg{desc}")[place] for desc in limits]
    assert g == pytest.approx([float(value) for value in expected], abs=2e-3)
    assert g[1] < g[0] < g[2]


def test_the_planted_side_is_left(done: Path) -> None:
    t = load(done, "stat-t")
    x, y, z = np.unravel_index(np.abs(t).argmax(), t.shape)
    assert (AFFINE @ (x, y, z, 1))[:3] == pytest.approx(TARGET_MM)
    assert t[x, y, z] > 5  # positive: patients have more
    mirrored = voxel((-TARGET_MM[0], *TARGET_MM[1:]))
    assert abs(t[mirrored]) < 4


def test_p_is_one_where_nothing_was_tested(done: Path) -> None:
    for what in ("stat-p_desc-uncorrected", "stat-p_desc-fdr"):
        p = load(done, what)
        assert (p[0] == 1).all()
        assert p[2, 2, 2] == 1
        assert p[3:].min() > 0
    assert (load(done, "stat-t")[0] == 0).all()
    assert np.isfinite(load(done, "stat-hedgesg")).all()
    uncorrected, adjusted = (load(done, f"stat-p_desc-{how}") for how in ("uncorrected", "fdr"))
    inside = load(done, "stat-t") != 0
    oracle = stats.false_discovery_control(uncorrected[inside])
    np.testing.assert_allclose(adjusted[inside], oracle, rtol=1e-4)


def test_the_peak_is_in_the_table(done: Path) -> None:
    first = read_table(done, "clusters").iloc[0]
    assert list(first[["x_mm", "y_mm", "z_mm"]]) == pytest.approx(TARGET_MM, abs=10)
    assert first["t"] == pytest.approx(load(done, "stat-t")[voxel(TARGET_MM)], rel=1e-4)
    assert first["hedgesg_ciLower"] < first["hedgesg"] < first["hedgesg_ciUpper"]


def test_tables_say_who_is_in(done: Path) -> None:
    people = read_table(done, "participants", "SNAInsL").set_index("participant_id")
    out = people[people["included"] == "no"]["reason"]
    assert out.to_dict() == {
        f"sub-{NO_FIELD}": "too few voxels",
        f"sub-{MOVER}": rows.MOVED.format(found=0.9, limit=0.5),
        f"sub-{NOT_THERE}": group_designs.NOT_PROCESSED,
        f"sub-{REFUSED}": group_designs.TOO_LITTLE.format(minutes=1.5, df=7),
    }
    design = read_table(done, "design", "SNAInsL")
    assert len(design) == (people["included"] == "yes").sum() == 10
    assert list(design) == ["group_RLS", "group_HC", "age", "sex_m", "mean_fd"]
    assert design["age"].mean() == pytest.approx(0, abs=1e-9)


def test_the_output_is_as_promised(done: Path, tmp_path: Path) -> None:
    assert walk(done) == []
    report = tmp_path / "report.json"
    program = Path(sysconfig.get_path("scripts")) / "bids-validator-deno"
    arguments = [done, "--ignoreWarnings", "--format", "json", "-o", report]
    subprocess.run([program, *arguments], check=False, capture_output=True)
    issues = json.loads(report.read_text())["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert list(done.glob("group/log/*/settings.toml"))


def test_the_page_names_who_is_left_out(done: Path) -> None:
    page = (done / "group/model-group.html").read_text(encoding="utf-8")
    for words in (
        *("RLS compared with HC", f"sub-{NOT_THERE}", group_designs.NOT_PROCESSED),
        f"too few voxels (seeds {SEEDS[1]})",
        "0.900 mm, above 0.5 mm",
        "3 of 8 (38 %)",
        "No voxel survives (family-wise over this map after TFCE, .05)",
        "Participants change places freely.",
        "6.5 ± 0",
        "above 0.4 mm were censored",  # from the maps' sidecars, not from this call's options
    ):
        assert words in page
    for source in re.findall(r'<img src="([^"]+)"', page):
        assert (done / "group" / source).is_file()
    assert len(re.findall("<img ", page)) == 5  # z of two maps, two designs, the covariates


def test_a_second_run_computes_nothing(
    done: Path, made: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*statmap*")}
    before |= {path: path.stat().st_mtime_ns for path in done.rglob("group/**/*.tsv")}
    figures = {path for path in before if path.suffix == ".svg" and "_res-2_" not in path.name}
    shutil.rmtree(made[1].parent / "work")
    assert run(*made) == 0
    assert "nothing is computed" in capfd.readouterr().err
    assert {path for path in before if path.stat().st_mtime_ns != before[path]} <= figures


def test_a_changed_map_is_modelled_again_alone(copy: tuple[Path, Path], done: Path) -> None:
    bids, out = copy
    shutil.copytree(done, out, dirs_exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("group/**/*_stat-t_*.nii.gz")}
    write_map(out, "05", SEEDS[1], Fingerprint="another")
    assert run(bids, out) == 0
    changed = [path.name for path in before if path.stat().st_mtime_ns != before[path]]
    assert len(changed) == 1
    assert "SNAInsL" in changed[0]


def test_strategies_stand_side_by_side(copy: tuple[Path, Path]) -> None:
    """Who is excluded by name is counted."""
    bids, out = copy
    for label in LABELS:
        write_map(out, label, SEEDS[0], strategy="24P")
    arguments = ("-p", "acompcor", "24P", "--exclude-participant-label", "02")
    assert run(bids, out, *arguments) == 0
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert "DMN_PCC (24P)</a>" in page
    assert "DMN_PCC (acompcor)</a>" in page
    assert group_designs.EXCLUDED in page
    assert "1 of 6 (17 %)" in page
    assert len(list(out.glob("group/**/*_denoise-24P_*_stat-t_*.nii.gz"))) == 1
    assert walk(out) == []


def test_dry_run_says_who_and_writes_nothing(
    copy: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    bids, out = copy
    before = sorted(out.rglob("*"))
    assert run(bids, out, "--dry-run") == 0
    said = capfd.readouterr().out
    assert re.search(r"DMN_PCC +RLS > HC \(RLS 6, HC 5\)", said)
    assert f"sub-{NOT_THERE}: {group_designs.NOT_PROCESSED}" in said
    assert sorted(out.rglob("*")) == before


def test_one_seed_that_cannot_be_compared_stops_no_other(
    copy: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    bids, out = copy
    for label in CONTROLS:
        path = next((out / f"sub-{label}").rglob("*SNAInsL*.nii.gz"))
        path.unlink()
        write_map(out, label, SEEDS[1], Missing="outside the field of view")
    assert run(bids, out, "--covariates", "none") == 1
    assert "SN_aIns_L (acompcor) was not modelled" in capfd.readouterr().err
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert "This was not modelled" in page
    assert load(out, "stat-t").max() > 5
    assert walk(out) == []


def test_a_broken_map_fails_its_model_alone(copy: tuple[Path, Path]) -> None:
    bids, out = copy
    path = next((out / "sub-01").rglob("*SNAInsL*.nii.gz"))
    path.write_bytes(path.read_bytes()[:500])
    assert run(bids, out) == 1
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    assert path.name in page
    assert "did not finish" in page
    assert load(out, "stat-t").max() > 5


def test_two_groups_of_two_have_no_g(copy: tuple[Path, Path]) -> None:
    """One residual degree of freedom: t, but no corrected effect size."""
    bids, out = copy
    chosen = ("--participant-label", "01", "02", "07", "08", "--covariates", "mean_fd")
    assert run(bids, out, *chosen) == 0
    assert load(out, "stat-t").any()
    assert walk(out) == []
    assert not list(out.glob("group/**/*stat-hedgesg_statmap.nii.gz"))
    assert run(bids, out, *chosen) == 0


def break_table(bids: Path, out: Path) -> None:
    (bids / "participants.tsv").unlink()


def break_groups(bids: Path, out: Path) -> None:
    write_participants(bids, [row | {"group": "HC"} for row in table()])


def break_covariate(bids: Path, out: Path) -> None:
    write_participants(bids, [{k: v for k, v in row.items() if k != "age"} for row in table()])


def break_processing(**changes: object) -> Callable[[Path, Path], None]:
    told = {"Resolution": "2", "BandPassHz": [0.01, 0.1], "MotionThresholdMm": 0.4} | changes
    return lambda bids, out: write_map(out, "02", SEEDS[0], Processing=told)


def break_seed(bids: Path, out: Path) -> None:
    write_map(out, "02", SEEDS[0], Seed={"Name": SEEDS[0], "CentreMm": [0, 0, 0]})


def break_sessions(bids: Path, out: Path) -> None:
    write_map(out, "02", SEEDS[0], "post")


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (break_table, 65, "participants.tsv does not exist"),
        (break_groups, 65, "has only the group HC (11)"),
        (break_covariate, 2, "no column 'age'"),
        (
            break_processing(BandPassHz=None),
            2,
            "sub-02 has BandPassHz None instead of [0.01, 0.1]",
        ),
        (break_processing(Resolution="3.5"), 2, "sub-02 has Resolution 3.5 instead of 2"),
        (break_seed, 2, "sub-02 has SeedCentreMm [0, 0, 0] instead of [-2, -51, 27]"),
        (break_sessions, 2, "several sessions of a participant: none, post"),
    ],
)
def test_what_cannot_be_modelled_is_refused(
    copy: tuple[Path, Path],
    capfd: pytest.CaptureFixture[str],
    spoil: Callable[[Path, Path], None],
    status: int,
    words: str,
) -> None:
    spoil(*copy)
    assert run(*copy) == status
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not list(copy[1].glob("group/**/*.nii.gz"))
