"""Designs of every kind: planted truth, other solvers, what may be exchanged, who leaves."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from rls_bids.dataset import groups, participants, rows
from rls_bids.dataset.designs import Design
from rls_bids.dataset.model import Model
from rls_bids.dataset.model_flags import model_of_flags
from rls_bids.dataset.models import read_model
from rls_bids.dataset.participants import build_design
from rls_bids.dataset.rows import Found
from rls_bids.dataset.tables import Tables
from rls_bids.numerics.glm import fit
from rls_bids.settings import GroupSettings
from tests import cohorts
from tests.cohorts import EVERYBODY, HC, PLM, RLS, SESSIONS, inputs_of, mean_fd, score
from tests.unit.test_models import EXAMPLES

PRE = ("pre",)
PLAIN = GroupSettings(covariates=(), sites="none")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return cohorts.tables_of(tmp_path_factory.mktemp("cohort") / "raw")


def designs(model: Model, tables: Tables, inputs: Any = None, **found: Any) -> list[Design]:
    """Return the design of every question, with the sessions that the model asks for."""
    maps = inputs if inputs is not None else inputs_of(sessions=model.sessions or SESSIONS)
    told = Found(inputs=tuple(maps), tables=tables, **found)
    return [build_design(model, told, question) for question in model.questions]


def flags(tables: Tables, inputs: Any = None, **changes: Any) -> list[Design]:
    settings = dataclasses.replace(PLAIN, **changes)
    return designs(model_of_flags(settings, tables), tables, inputs)


def example(title: str, tables: Tables, folder: Path, inputs: Any = None) -> list[Design]:
    path = folder / "model.json"
    path.write_text(EXAMPLES[title])
    return designs(read_model(path), tables, inputs)


def frame_of(design: Design, tables: Tables) -> pd.DataFrame:
    """Return what the raw tables say of who is in a design."""
    labels = list(design.design.index)
    table = tables.participants.loc[labels]
    return table.assign(
        age=table["age"].astype(float),
        **{f"fd_{s}": [mean_fd(who, s) for who in labels] for s in SESSIONS},
        **{f"irls_{s}": [score(who, s) for who in labels] for s in SESSIONS},
    )


def values(n: int, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


# --- against other solvers ----------------------------------------------------------------------


def test_two_groups_are_the_oracles(tables: Tables, tmp_path: Path) -> None:
    (design,) = example("Two groups", tables, tmp_path)
    assert design.counts == {"RLS": 8, "HC": 8}
    assert dict(design.dropped) == dict.fromkeys(PLM, rows.OTHER_GROUP.format(group="PLM"))
    frame = frame_of(design, tables).assign(y=values(16))
    oracle = smf.ols("y ~ C(group) + age + C(sex) + fd_pre", frame).fit()
    ours = fit(frame[["y"]].to_numpy(), design.design.to_numpy(), design.contrasts[0])
    assert ours.t[0] == pytest.approx(oracle.tvalues["C(group)[T.RLS]"])
    assert design.size == "hedgesg"
    assert dict(design.compared) == {"RLS": 1.0, "HC": -1.0}
    assert design.scale == pytest.approx(math.sqrt(1 / 8 + 1 / 8))
    assert design.hypothesis == "RLS and HC have the same mean, given age, sex and mean_fd."
    assert design.label == "RLSGtHC"


def test_three_groups_planned_and_together(tables: Tables, tmp_path: Path) -> None:
    planned, together, slope = example("Three groups, planned and F contrasts", tables, tmp_path)
    n = len(EVERYBODY)
    frame = frame_of(planned, tables).assign(y=values(n))
    oracle = smf.ols("y ~ C(group) + age", frame).fit()
    y = frame[["y"]].to_numpy()
    ours = fit(y, planned.design.to_numpy(), planned.contrasts[0])
    wanted = oracle.t_test("C(group)[T.RLS] - 0.5 * C(group)[T.PLM]")
    assert ours.t[0] == pytest.approx(float(np.squeeze(wanted.tvalue)))
    assert dict(planned.compared) == pytest.approx({"RLS": 1, "HC": -0.5, "PLM": -0.5})
    assert planned.size == "hedgesg"
    assert planned.scale == pytest.approx(math.sqrt(1 / 8 + 0.25 / 8 + 0.25 / 6))
    assert "RLS − 0.5 HC − 0.5 PLM" in planned.hypothesis
    f = oracle.f_test("C(group)[T.RLS] = 0, C(group)[T.PLM] = 0")
    weights = np.array(together.contrasts)
    beta = np.linalg.lstsq(together.design, y, rcond=None)[0]
    inner = weights @ np.linalg.inv(together.design.T @ together.design) @ weights.T
    effect = weights @ beta
    own = float((effect.T @ np.linalg.solve(inner, effect)).item()) / 2 / oracle.mse_resid
    assert own == pytest.approx(float(np.squeeze(f.fvalue)))
    assert (together.size, len(together.contrasts)) == ("partialeta2", 2)
    assert together.hypothesis == "HC, PLM and RLS all have the same mean, given age."
    assert slope.size == "partialr"
    assert slope.hypothesis == "The value does not depend on age, given group: its slope is 0."
    ours = fit(y, slope.design.to_numpy(), slope.contrasts[0])
    assert ours.t[0] == pytest.approx(oracle.tvalues["age"])


def test_matched_pairs_are_a_paired_t(tables: Tables, tmp_path: Path) -> None:
    (design,) = example("Matched pairs", tables, tmp_path)
    frame = frame_of(design, tables).assign(y=values(16))
    ours = fit(frame[["y"]].to_numpy(), design.design.to_numpy(), design.contrasts[0])
    wide = frame.pivot(index="pair_id", columns="group", values="y")
    oracle = stats.ttest_rel(wide["RLS"], wide["HC"])
    assert ours.t[0] == pytest.approx(oracle.statistic)
    assert (design.size, design.scale) == ("dz", pytest.approx(math.sqrt(1 / 8)))
    assert design.pairs == tuple(frame["pair_id"])
    difference = wide["RLS"] - wide["HC"]
    d_z = difference.mean() / difference.std(ddof=1)
    assert ours.t[0] * design.scale == pytest.approx(d_z)


def test_incomplete_pairs_leave(tables: Tables) -> None:
    inputs = [one for one in inputs_of(sessions=PRE) if one.participant != "13"]
    (design,) = flags(tables, inputs, contrast=("RLS > HC",), pairs="pair_id")
    assert len(design.design) == 14
    assert dict(design.dropped)["03"] == rows.UNPAIRED.format(pair="pair_id p3")
    assert dict(design.dropped)["13"] == rows.NO_MAP
    assert "03" not in design.design.index


def test_what_pairs_share_is_no_covariate(tables: Tables) -> None:
    people = tables.participants.copy()
    people["sex"] = ["F" if int(who) % 10 < 5 else "M" for who in people.index]
    same = dataclasses.replace(tables, participants=people)
    (design,) = flags(same, inputs_of(sessions=PRE), contrast=("RLS > HC",), pairs="pair_id",
                      covariates=("sex", "age"))  # fmt: skip
    assert "age" in design.design
    assert "sex_m" not in design.design
    assert participants.SAME_IN_PAIRS.format(column="sex") in design.remarks


def test_a_change_is_tested_without_a_change_of_motion(tables: Tables, tmp_path: Path) -> None:
    """Differences of motion keep their zero, age does not."""
    (design,) = example("Pre and post", tables, tmp_path)
    assert list(design.design) == ["intercept", "age", "mean_fd"]
    assert list(design.design.index) == list(RLS)
    frame = frame_of(design, tables)
    change = frame["fd_post"] - frame["fd_pre"]
    np.testing.assert_allclose(design.design["mean_fd"], change)
    assert abs(change.mean()) > 1e-3
    np.testing.assert_allclose(design.design["age"], frame["age"] - frame["age"].mean())
    y = values(8) + 2.0
    oracle = smf.ols("y ~ aged + moved", frame.assign(
        y=y, aged=frame["age"] - frame["age"].mean(), moved=change)).fit()  # fmt: skip
    ours = fit(y[:, None], design.design.to_numpy(), design.contrasts[0])
    assert ours.t[0] == pytest.approx(oracle.tvalues["Intercept"])
    assert (design.size, design.title, design.label) == ("dz", "post > pre", "postGtPre")
    assert design.sessions == ("post", "pre")
    assert design.responses == ((1.0, -1.0),)
    assert [(one.participant, one.session) for one in design.inputs[:3]] == [
        ("01", "post"), ("01", "pre"), ("02", "post"),
    ]  # fmt: skip
    assert design.hypothesis == (
        "The mean of post > pre is 0, at the average of age, without a difference of mean_fd."
    )
    told = dict(design.coding)
    assert told["age"].startswith("age, minus its mean over the rows (")
    assert told["mean_fd"] == "mean_fd, post > pre"
    assert set(design.groups) == {"RLS"}
    np.testing.assert_allclose(design.variables["mean_fd"], change)


def test_groups_by_sessions(tables: Tables, tmp_path: Path) -> None:
    every = example("Group × session, any number of sessions", tables, tmp_path)
    together, patients, planned, mean = every
    assert [one.title for one in every] == [
        "RLS > HC: sessions", "RLS: sessions", "RLS > HC: late > pre", "RLS: late > pre",
    ]  # fmt: skip
    assert together.sessions == ("pre", "post", "late")
    weights = np.array(together.responses)
    np.testing.assert_allclose(weights @ weights.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 0, atol=1e-12)
    assert list(together.design) == ["group_HC", "group_RLS", "mean_fd_1", "mean_fd_2"]
    frame = frame_of(together, tables)
    fd = frame[["fd_pre", "fd_post", "fd_late"]].to_numpy() @ weights.T
    np.testing.assert_allclose(together.design[["mean_fd_1", "mean_fd_2"]], fd)
    assert together.size == patients.size == "partialeta2"
    assert planned.size == "hedgesg"
    assert planned.hypothesis == "RLS and HC have the same mean of late > pre, given mean_fd."
    assert mean.size == "dz"
    assert mean.hypothesis == (
        "The mean of late > pre of RLS is 0, without a difference of mean_fd."
    )
    assert mean.scale == pytest.approx(math.sqrt(1 / 8))
    assert list(mean.design) == ["group_HC", "group_RLS", "mean_fd"]
    assert mean.contrasts == ((0.0, 1.0, 0.0),)  # at no difference of motion, not at the average
    # The omnibus does not depend on which contrasts stand for the sessions (Hotelling).
    rng = np.random.default_rng(2)
    y = rng.normal(size=(16, 3))
    first = _hotelling(y @ weights.T, together)
    other = _hotelling(y @ np.array([[1, 0, -1], [1, -2, 1]]).T, together)
    assert first == pytest.approx(other)


def _hotelling(y: np.ndarray, design: Design) -> float:
    """Return Hotelling's T² of the contrast of groups, adjusted for all columns."""
    x, c = design.design.to_numpy(), np.array(design.contrasts[0])
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    left = y - x @ beta
    spread = left.T @ left / (len(x) - x.shape[1])
    effect = c @ beta
    inner = float(c @ np.linalg.inv(x.T @ x) @ c)
    return float(effect @ np.linalg.solve(spread, effect)) / inner


def test_active_and_sham_over_time(tables: Tables, tmp_path: Path) -> None:
    (design,) = example("Active or sham, over time", tables, tmp_path)
    assert design.counts == {"active": 4, "sham": 4}
    assert design.group_column == "treatment"
    assert dict(design.dropped)["11"] == rows.NO_VALUE.format(column="treatment")
    assert design.title == "active > sham: post > pre"


def test_time_of_day_whatever_the_order(tables: Tables, tmp_path: Path) -> None:
    (design,) = example("Morning and evening × group", tables, tmp_path)
    assert design.sessions == ("evening", "morning")
    first = {one.participant: one.session for one in design.inputs[::2]}
    assert first["01"] == "post"
    assert first["02"] == first["12"] == "pre"
    frame = frame_of(design, tables)
    swapped = [who in cohorts.ODD for who in frame.index]
    change = np.where(swapped, -1, 1) * (frame["fd_post"] - frame["fd_pre"])
    np.testing.assert_allclose(design.design["mean_fd"], change)


def test_a_crossover_in_any_order(tables: Tables, tmp_path: Path) -> None:
    """Four sessions; whoever is odd began with sham. The cells come in one order."""
    order = [("active", "pre"), ("active", "post"), ("sham", "pre"), ("sham", "post")]
    told = {
        (who, f"v{visit}"): dict(
            zip(("drug", "time"), order[(visit + 2 * (int(who) % 2)) % 4], strict=True)
        )
        for who in RLS
        for visit in range(4)
    }
    crossed = dataclasses.replace(tables, sessions=told)
    cells = [f"drug.{drug}:time.{time}" for drug, time in (order[1], order[0], order[3], order[2])]
    model = json.loads(EXAMPLES["Pre and post"])
    model["Nodes"][0]["Model"]["Formula"] = "0 + C(drug):C(time)"
    model["Nodes"][0]["Contrasts"][0] |= {"ConditionList": cells, "Weights": [1, -1, -1, 1]}
    model["Nodes"][1]["Model"]["X"] = [1]
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    visits = [cohorts.one_input(who, f"v{visit}") for who in RLS for visit in range(4)]
    (design,) = designs(read_model(path), crossed, visits)
    assert design.sessions == ("active:post", "active:pre", "sham:post", "sham:pre")
    assert [one.session for one in design.inputs[:8]] == [
        *("v3", "v2", "v1", "v0"),
        *("v1", "v0", "v3", "v2"),
    ]
    assert design.responses == ((1.0, -1.0, -1.0, 1.0),)


def test_patients_on_their_severity(tables: Tables, tmp_path: Path) -> None:
    severity, duration = example("Regression of the patients", tables, tmp_path)
    frame = frame_of(severity, tables)
    frame = frame.assign(y=values(8), duration=frame["duration"].astype(float))
    oracle = smf.ols("y ~ irls_pre + duration + age", frame).fit()
    for design, name in ((severity, "irls_pre"), (duration, "duration")):
        ours = fit(frame[["y"]].to_numpy(), design.design.to_numpy(), design.contrasts[0])
        assert ours.t[0] == pytest.approx(oracle.tvalues[name])
        assert design.size == "partialr"
    assert severity.hypothesis == (
        "The value does not depend on IRLS, given duration and age: its slope is 0."
    )


def test_change_on_change(tables: Tables, tmp_path: Path) -> None:
    slope, mean = example("Change on change", tables, tmp_path)
    frame = frame_of(slope, tables)
    change = frame["irls_post"] - frame["irls_pre"]
    np.testing.assert_allclose(slope.design["IRLS"], change, atol=1e-9)
    frame = frame.assign(y=values(8), change=change, moved=frame["fd_post"] - frame["fd_pre"])
    oracle = smf.ols("y ~ change + moved", frame).fit()
    for design, name in ((slope, "change"), (mean, "Intercept")):
        ours = fit(frame[["y"]].to_numpy(), design.design.to_numpy(), design.contrasts[0])
        assert ours.t[0] == pytest.approx(oracle.tvalues[name])
    assert (slope.size, mean.size) == ("partialr", "dz")


def test_the_baseline_is_a_covariate(tables: Tables, tmp_path: Path) -> None:
    (design,) = example("Adjusted for the baseline", tables, tmp_path)
    frame = frame_of(design, tables)
    centred = frame["irls_pre"] - frame["irls_pre"].mean()
    np.testing.assert_allclose(design.design["IRLS_pre"], centred, atol=1e-9)
    assert {one.session for one in design.inputs} == {"post"}


def test_the_mean_of_one_group(tables: Tables, tmp_path: Path) -> None:
    (design,) = example("Mean of one group", tables, tmp_path)
    assert (design.title, design.label, design.size) == ("mean", "mean", "dz")
    assert design.scale == pytest.approx(math.sqrt(1 / 8))
    assert design.hypothesis == "The mean is 0, at the average of age."
    (flagged,) = flags(tables, inputs_of(sessions=PRE), contrast=("RLS",), covariates=("age",))
    pd.testing.assert_frame_equal(flagged.design, design.design)
    assert flagged.contrasts == design.contrasts


def test_interactions_hold_at_the_average(tables: Tables, tmp_path: Path) -> None:
    """The difference of groups is that at the mean age, and rows of a cell may be joined."""
    text = EXAMPLES["Two groups"].replace("age + C(sex) + mean_fd", "age + C(group):age")
    (tmp_path / "model.json").write_text(text)
    (design,) = designs(read_model(tmp_path / "model.json"), tables)
    frame = frame_of(design, tables)
    frame = frame.assign(y=values(16), aged=frame["age"] - frame["age"].mean())
    oracle = smf.ols("y ~ C(group) * aged", frame).fit()
    ours = fit(frame[["y"]].to_numpy(), design.design.to_numpy(), design.contrasts[0])
    assert ours.t[0] == pytest.approx(oracle.tvalues["C(group)[T.RLS]"])
    mean = f"{frame['age'].mean():.6g}"
    assert dict(design.coding)["age"] == f"age, minus its mean over the rows ({mean})"


def test_means_of_groups_are_the_adjusted_ones(tables: Tables, tmp_path: Path) -> None:
    """The mean of a group, and of everyone, whatever the coding of the columns."""
    y = values(16) + 1.0
    for formula in ("0 + C(group) + age", "1 + C(group) + age"):
        text = EXAMPLES["Two groups"].replace("1 + C(group) + age + C(sex) + mean_fd", formula)
        text = text.replace('["group.RLS", "group.HC"], "Weights": [1, -1]',
                            '["group.RLS"], "Weights": [1]')  # fmt: skip
        text = text.replace(', "Test": "t"}]}]}', '}], "DummyContrasts": {"Contrasts": [1]}}]}')
        (tmp_path / "model.json").write_text(text)
        patients, everyone = designs(read_model(tmp_path / "model.json"), tables)
        frame = frame_of(patients, tables).assign(y=y)
        frame = frame.assign(aged=frame["age"] - frame["age"].mean())
        oracle = smf.ols("y ~ 0 + C(group) + aged", frame).fit()
        x = patients.design.to_numpy()
        ours = fit(y[:, None], x, patients.contrasts[0])
        assert ours.t[0] == pytest.approx(oracle.tvalues["C(group)[RLS]"])
        assert (patients.size, dict(patients.compared)) == ("dz", {"RLS": 1.0})
        assert patients.hypothesis == "The mean of RLS is 0, at the average of age."
        ours = fit(y[:, None], x, everyone.contrasts[0])
        assert ours.effect[0] == pytest.approx(y.mean())


# --- flags are the same models ------------------------------------------------------------------


def test_flags_make_the_same_designs(tables: Tables, tmp_path: Path) -> None:
    pre = inputs_of(sessions=PRE)
    three = flags(tables, pre, contrast=("RLS > HC", "RLS = HC = PLM"), covariates=("age",))
    assert [one.label for one in three] == ["RLSGtHC", "RLSEqHCEqPLM"]
    assert len(three[0].design) == len(EVERYBODY)
    assert three[1].size == "partialeta2"
    (change,) = flags(tables, inputs_of(RLS), session_contrast=("post > pre",))
    assert change.label == "postGtPre"
    assert change.remarks[-1] == groups.ONLY_ONE.format(group="RLS", within="post > pre")
    both = inputs_of((*RLS, *HC))
    (interaction,) = flags(tables, both, session_contrast=("post > pre",), covariates=("mean_fd",))
    assert interaction.title == "RLS > HC: post > pre"
    assert interaction.label == "RLSGtHCPostGtPre"
    (omnibus,) = flags(tables, both, session_contrast=("pre = post = late",))
    assert (omnibus.size, len(omnibus.responses)) == ("partialeta2", 2)
    (day,) = flags(tables, both, session_contrast=("time.evening > time.morning",))
    assert day.sessions == ("evening", "morning")
    (slope,) = flags(tables, pre, regress="IRLS", covariates=("age", "IRLS"))
    assert list(slope.design.index) == list(RLS)
    assert list(slope.design) == ["intercept", "IRLS", "age"]
    assert "Only RLS is in the regression on IRLS" in slope.remarks[-1]
    (on_change,) = flags(tables, None, regress="IRLS", session_contrast=("post > pre",))
    assert on_change.title == "IRLS: post > pre"
    (welch,) = flags(tables, pre, contrast=("RLS > HC",), variance_groups="")
    assert welch.variance_groups == welch.groups


def test_sites_are_taken_by_default(tables: Tables) -> None:
    pre = inputs_of(sessions=PRE)
    (design,) = flags(tables, pre, contrast=("RLS > HC",), sites=None)
    assert "site_b" in design.design
    assert set(design.sites) == {"A", "B"}
    assert any("--sites none" in remark for remark in design.remarks)
    assert any("--pairs pair_id" in remark for remark in design.remarks)
    one = tables.participants.assign(site="A")
    alone = dataclasses.replace(tables, participants=one)
    (design,) = flags(alone, pre, contrast=("RLS > HC",), sites=None)
    assert design.sites == ()
