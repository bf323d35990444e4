"""Group models from the command line: several groups, contrasts and sessions, on fake maps."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rls_bids.dataset import rows
from rls_bids.dataset.description import write_dataset_description, write_descriptions
from rls_bids.dataset.group import plan_group
from rls_bids.dataset.group_tables import write_design_tables
from rls_bids.dataset.walk import walk
from rls_bids.interfaces.designs import draw, load_design
from rls_bids.settings import build_settings
from tests.factories import write_dataset
from tests.graph.test_group import LABELS, PATIENTS, SEEDS, run, table, voxel, write_map
from tests.unit.test_models import EXAMPLES

THIRD = ("05", "06", "11", "12")
SESSIONS = ("pre", "post", "late")
NO_LATE = "09"


def three_groups() -> list[dict[str, Any]]:
    return [
        row | ({"group": "PLM"} if row["participant_id"][4:] in THIRD else {}) for row in table()
    ]


def write_sessions(bids: Path, label: str) -> None:
    lines = ["session_id\tIRLS"]
    lines += [f"ses-{name}\t{20 + int(label) * (2 + n) % 11}" for n, name in enumerate(SESSIONS)]
    folder = bids / f"sub-{label}"
    folder.mkdir(exist_ok=True)
    (folder / f"sub-{label}_sessions.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("three")
    bids, out = write_dataset(base / "raw", {}, three_groups()), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in LABELS:
        write_map(out, label, SEEDS[0])
    write_descriptions(out)
    return bids, out


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three sessions of everybody but one, whose last map is missing."""
    base = tmp_path_factory.mktemp("sessions")
    bids, out = write_dataset(base / "raw", {}, table()), base / "out"
    write_dataset_description(out, bids, "0.1.0")
    for label in LABELS:
        write_sessions(bids, label)
        for number, name in enumerate(SESSIONS):
            fd = 0.1 + 0.01 * (int(label) * (3 + number) % 13)
            lost = {"Missing": "too few voxels"} if (label, name) == (NO_LATE, "late") else {}
            write_map(out, label, SEEDS[0], name, MeanFramewiseDisplacement=fd, **lost)
    write_descriptions(out)
    return bids, out


def test_two_contrasts_of_three_groups(groups: tuple[Path, Path]) -> None:
    bids, out = groups
    asked = ("--contrast", "RLS > HC", "RLS > PLM", "--covariates", "age")
    assert run(bids, out, *asked) == 0
    maps = sorted(path.name for path in out.rglob("*stat-t_statmap.nii.gz"))
    assert [re.search("contrast-([^_]+)", name)[1] for name in maps] == ["RLSGtHC", "RLSGtPLM"]
    assert walk(out) == []
    (design,) = out.glob("group/**/*contrast-RLSGtPLM_design.json")
    told = json.loads(design.read_text())
    assert told["Columns"] == ["group_RLS", "group_HC", "group_PLM", "age"]
    assert told["Weights"] == [[1, 0, -1, 0]]
    assert told["Coding"]["group_RLS"] == "1 for RLS, else 0"
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    for words in (
        "RLS, HC and PLM compared",
        "RLS and PLM have the same mean, given age.",
        "Positive t: RLS &gt; PLM; negative t: PLM &gt; RLS.",
        "Columns of the design of RLS &gt; HC; RLS &gt; PLM",
        "analysis of variance",
        "RLS (n = 4)",
    ):
        assert words in page
    assert page.count("<h1") == 1
    assert (out / "logs/CITATION.md").read_text().count("RLS and PLM have the same mean") == 1


def test_a_model_file_on_one_group(groups: tuple[Path, Path], tmp_path: Path) -> None:
    bids, out = groups
    text = EXAMPLES["Mean of one group"].replace('"Input": {"session": ["pre"]},', "")
    text = text.replace('["RLS"]', '["RLS", "HC"]')
    path = tmp_path / "mean.json"
    path.write_text(text)
    assert run(bids, out, "--model", path) == 0
    (t_map,) = out.glob("group/model-patients/*stat-t_statmap.nii.gz")
    import nibabel as nib

    values = nib.load(t_map).get_fdata()
    # Every participant's map was drawn around 0.2, and half of them carry the effect.
    assert (values[values != 0] > 0).mean() > 0.9
    assert values[voxel((-35.0, -30.0, 45.0))] > 2
    page = (out / "group/model-patients.html").read_text(encoding="utf-8")
    for words in ("<h1>mean</h1>", "The mean is 0, at the average of age.", "d_z"):
        assert words in page
    assert walk(out) == []


def plan(bids: Path, out: Path, **changes: Any) -> Any:
    values = {"analysis_level": "group", "input.bids_dir": str(bids), "input.output_dir": str(out)}
    settings = build_settings(values | {"run.work_dir": str(out.parent / "work")} | changes)
    return plan_group(settings), settings


def test_sessions_reach_the_nodes(sessions: tuple[Path, Path], tmp_path: Path) -> None:
    """What nodes read of a design over three sessions, and that the maps come in its order."""
    bids, out = sessions
    text = EXAMPLES["Group × session, any number of sessions"]
    path = tmp_path / "model.json"
    path.write_text(text)
    found, settings = plan(bids, out, **{"group.model_file": str(path)})
    assert found.model == "groupBySession"
    assert [one.result.label for one in found.designs] == [
        "RLSGtHCSessions", "RLSSessions", "RLSGtHCLateGtPre", "RLSLateGtPre",
    ]  # fmt: skip
    together = found.designs[0].result
    assert dict(together.dropped)[NO_LATE] == "no map of session.late: too few voxels"
    write_design_tables(found, settings)
    (design,) = out.glob("group/model-groupBySession/*contrast-RLSGtHCSessions_design.tsv")
    test = load_design(str(design), str(design.with_suffix(".json")))
    n = len(LABELS) - 1
    assert test.matrix.shape == (n, 4)
    assert test.responses.shape == (2, 3)
    assert len(together.inputs) == 3 * n
    assert [one.session for one in together.inputs[:3]] == list(SESSIONS)
    drawn = draw(test, 50, 0)
    assert (drawn.statistic.name, drawn.told["Kind"]) == ("Pillai", "permutation")
    (mean,) = out.glob("group/model-groupBySession/*contrast-RLSLateGtPre_design.tsv")
    test = load_design(str(mean), str(mean.with_suffix(".json")))
    assert draw(test, 50, 0).told["Kind"] == "sign-flip"
    assert test.responses.tolist() == [[1.0, -1.0]]
    people = pd.read_csv(str(mean).replace("_design", "_participants"), sep="\t", index_col=0)
    assert people.loc[f"sub-{NO_LATE}", "included"] == "no"
    assert people.loc["sub-01", "group"] == "RLS"
    assert set(people["group"].dropna()) == {"RLS", "HC"}
    assert walk(out) == []


def test_dry_run_lists_every_contrast(
    sessions: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    bids, out = sessions
    asked = ("--session-contrast", "post > pre", "pre = post = late", "--covariates", "mean_fd")
    assert run(bids, out, *asked, "--dry-run") == 0
    said = capfd.readouterr().out
    assert re.search(r"DMN_PCC +RLS > HC: post > pre \(RLS 6, HC 6\)", said)
    assert re.search(r"DMN_PCC +RLS > HC: pre = post = late \(RLS 6, HC 5\)", said)
    assert "2 of 2 comparisons" in said


def test_change_on_change_by_flags(sessions: tuple[Path, Path]) -> None:
    bids, out = sessions
    changes = {"group.regress": "IRLS", "group.session_contrast": ["post > pre"]}
    found, _ = plan(bids, out, **changes, **{"group.covariates": []})
    (design,) = found.designs
    assert design.result.title == "IRLS: post > pre"
    expected = [int(who) * 3 % 11 - int(who) * 2 % 11 for who in PATIENTS]
    assert list(design.result.design["IRLS"]) == expected
    assert found.model == "IRLS"


def test_a_page_without_results_says_so(sessions: tuple[Path, Path]) -> None:
    bids, out = sessions
    asked = ("--session-contrast", "post > pre", "--covariates", "mean_fd", "--reports-only")
    assert run(bids, out, *asked) == 0
    page = (out / "group/model-group.html").read_text(encoding="utf-8")
    for words in (
        "RLS and HC have the same mean of post &gt; pre, given mean_fd.",
        "did not finish",
        "Maps of the sessions post, pre are weighted by 1, −1 in each participant.",
        "mean_fd, post &gt; pre",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        (("--session-contrast", "after > pre"), 2, "names 'session.after'"),
        (("--model", "{model}", "--contrast", "RLS"), 2, "--model and --contrast exclude"),
        (("--model", "{broken}"), 2, "line 2, column 1 is not JSON"),
        (("--model", "{nowhere}"), 2, "there is no such file"),
        (("--model", "{model}", "--session-label", "pre"), 2, "the command line leaves none"),
        (
            ("--model", "{voxelwise}"),
            2,
            "has 'grey matter' among the covariates of voxels",
        ),
        (("--participant-label", "01", "nobody"), 2, "--participant-label names nobody"),
        ((), 2, rows.SESSIONS.format(sessions="late, post, pre")),
    ],
)
def test_what_cannot_be_asked(
    sessions: tuple[Path, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    asked: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    text = EXAMPLES["Adjusted for the baseline"]
    files = {"model": text, "broken": "{\n"}
    own = json.loads(text)
    own["Nodes"][0]["Model"]["Software"] = {"rls_bids": {"voxel_covariates": ["grey matter"]}}
    files["voxelwise"] = json.dumps(own)
    paths = {name: tmp_path / f"{name}.json" for name in (*files, "nowhere")}
    for name, content in files.items():
        paths[name].write_text(content)
    assert run(*sessions, *(each.format(**paths) for each in asked)) == status
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said
