"""Estimates of a table from all sessions there are, beside the test of who has them all."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from rls_bids.dataset.description import write_json
from rls_bids.dataset.designs import Design
from rls_bids.dataset.incomplete import BOTH, NO_MODEL, without_columns
from rls_bids.dataset.model_flags import model_of_flags
from rls_bids.dataset.models import read_model
from rls_bids.dataset.participants import build_design
from rls_bids.dataset.rows import Found
from rls_bids.dataset.tables import Tables
from rls_bids.dataset.values import without_motion
from rls_bids.interfaces.group_mixed import MIXED_COLUMNS
from rls_bids.interfaces.group_values import CompareValues, save_values
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.numerics.mixed import fit_mixed
from rls_bids.settings import GroupSettings
from tests import cohorts
from tests.cohorts import HC, PLM, RLS, inputs_of, mean_fd, score
from tests.unit.test_models import EXAMPLES

PLAIN = GroupSettings(covariates=(), sites="none", session_contrast=("post > pre",))
TWO = ("pre", "post")
WHO = (*RLS, *HC)
LOST = {("02", "post"), ("05", "post"), ("07", "pre"), ("12", "pre"), ("16", "post")}
N_REGIONS = 4


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return cohorts.tables_of(tmp_path_factory.mktemp("cohort") / "raw")


def build(tables: Tables, inputs, **changes) -> Design:
    model = model_of_flags(dataclasses.replace(PLAIN, **changes), tables)
    (question,) = model.questions
    return build_design(model, Found(inputs=tuple(inputs), tables=tables), question)


def left(inputs=None):
    maps = inputs or inputs_of(WHO, TWO)
    return [one for one in maps if (one.participant, one.session) not in LOST]


def value_of(label: str, session: str) -> np.ndarray:
    """Regions of one map: patients change, each has a level of their own."""
    rng = np.random.default_rng([int(label), TWO.index(session)])
    level = 1.5 * np.random.default_rng(int(label)).standard_normal(N_REGIONS)
    change = 0.8 * (label in RLS) * (session == "post")
    return level + change + 5 * mean_fd(label, session) + 0.6 * rng.standard_normal(N_REGIONS)


def run(design: Design, folder: Path) -> tuple[pd.DataFrame, dict]:
    folder.mkdir()
    design.design.to_csv(folder / "design.tsv", sep="\t", index=False)
    write_json(folder / "design.json", {**design.about, **design.about_tables})
    maps = design.all_inputs
    values = np.array([value_of(one.participant, one.session) for one in maps])
    values[0, 3] = np.nan
    given = {f"region{number}": column for number, column in enumerate(values.T)}
    labels, sessions = [one.participant for one in maps], [one.session for one in maps]
    save_values(given, labels, sessions, folder / "given.tsv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        node = CompareValues(
            values=str(folder / "given.tsv"),
            design_file=str(folder / "design.tsv"),
            sidecar_file=str(folder / "design.json"),
            n_permutations=99,
            version="1",
        )
        entries = {one["key"]: one for one in load_manifest(node.run().outputs.manifest)}
    table = pd.read_csv(entries["tests"]["file"], sep="\t", index_col="name")
    return table, entries["tests"]["metadata"]


def long_frame(maps) -> pd.DataFrame:
    rows = [
        {
            "who": one.participant,
            "post": float(one.session == "post"),
            "rls": float(one.participant in RLS),
            "fd": mean_fd(one.participant, one.session),
            "irls": score(one.participant, one.session),
            **{f"region{n}": x
               for n, x in enumerate(value_of(one.participant, one.session))},
        }
        for one in maps
    ]  # fmt: skip
    return pd.DataFrame(rows)


def by_statsmodels(formula: str, frame: pd.DataFrame, name: str) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = smf.mixedlm(formula, frame, groups=frame["who"])
        return float(model.fit(method="powell", xtol=1e-10).fe_params[name])


# --- what is estimated --------------------------------------------------------------------------


@pytest.mark.parametrize("covariates", [(), ("age",), ("age", "sex")])
def test_with_all_sessions_it_is_the_test(tables, tmp_path: Path, covariates) -> None:
    design = build(tables, inputs_of(WHO, TWO), contrast=("RLS > HC",), covariates=covariates)
    assert design.extra == ()
    table, told = run(design, tmp_path / "node")
    whole = table.iloc[:3]
    np.testing.assert_allclose(whole["mixed_effect"], whole["effect"], rtol=1e-6)
    np.testing.assert_allclose(whole["mixed_t"], whole["statistic"], rtol=1e-5)
    np.testing.assert_allclose(whole["mixed_p"], whole["p_uncorrected"], rtol=1e-4)
    assert (whole["mixed_n"] == 16).all()
    assert "16 participants" in told["MixedModel"]
    assert "0 of them" in told["MixedModel"]
    # A session without this value is no session for it; the test does without the column.
    assert np.isnan(table.loc["region3", "p_fwe"])
    assert np.isfinite(table.loc["region3", "mixed_effect"])


def test_groups_by_session_with_sessions_missing(tables, tmp_path: Path) -> None:
    design = build(tables, left(), contrast=("RLS > HC",))
    assert {(one.participant, one.session) for one in design.extra} == {
        ("02", "pre"), ("05", "pre"), ("07", "post"), ("12", "post"), ("16", "pre")
    }  # fmt: skip
    assert len(design.design) == 11
    assert {who for who, _ in LOST} <= set(dict(design.dropped))
    table, told = run(design, tmp_path / "node")
    frame = long_frame(design.all_inputs)
    rls, post = frame["rls"], frame["post"]
    cells = np.stack(
        [rls * post, rls * (1 - post), (1 - rls) * post, (1 - rls) * (1 - post)], axis=1
    )
    names = ["region0", "region1", "region2"]
    direct = fit_mixed(frame[names].to_numpy(), cells, [1, -1, -1, 1], frame["who"].to_numpy())
    np.testing.assert_allclose(table.loc[names, "mixed_effect"], direct.effect, rtol=1e-5)
    np.testing.assert_allclose(table.loc[names, "mixed_t"], direct.t, rtol=1e-5)
    np.testing.assert_allclose(table.loc[names, "mixed_p"], direct.p, rtol=1e-4)
    np.testing.assert_allclose(table.loc[names, "mixed_ciLower"], direct.lower, rtol=1e-4)
    np.testing.assert_allclose(table.loc[names, "mixed_ciUpper"], direct.upper, rtol=1e-4)
    assert list(table.loc[names, "mixed_method"]) == list(direct.method)
    for name in names:
        oracle = by_statsmodels(f"{name} ~ rls * post", frame, "rls:post")
        assert table.loc[name, "mixed_effect"] == pytest.approx(oracle, rel=1e-3)
    assert (table["mixed_n"] == 16).all()
    assert "16 participants with at least one of the sessions, 5 of them" in told["MixedModel"]
    # Who lacks a session changes nothing else.
    complete = dataclasses.replace(design, extra=(), mixed={})
    alone, _ = run(complete, tmp_path / "alone")
    assert not set(MIXED_COLUMNS) & set(alone.columns)
    pd.testing.assert_frame_equal(table.drop(columns=list(MIXED_COLUMNS)), alone)


def test_a_change_and_motion_in_it(tables, tmp_path: Path) -> None:
    patients = left(inputs_of(RLS, TWO))
    design = build(tables, patients, covariates=("mean_fd",), contrast=("RLS",))
    constant = ["session.post:intercept", "session.pre:intercept"]
    assert design.mixed["Columns"] == [*constant, "mean_fd"]
    table, _ = run(design, tmp_path / "node")
    frame = long_frame(design.all_inputs)
    for name in ("region0", "region1", "region2"):
        oracle = by_statsmodels(f"{name} ~ post + fd", frame, "post")
        assert table.loc[name, "mixed_effect"] == pytest.approx(oracle, abs=1e-3)
    quality = without_motion(design)
    assert quality.mixed["Columns"] == constant
    table, _ = run(quality, tmp_path / "quality")
    oracle = by_statsmodels("region1 ~ post", frame, "post")
    assert table.loc["region1", "mixed_effect"] == pytest.approx(oracle, abs=1e-3)


def test_change_on_change(tables, tmp_path: Path) -> None:
    design = build(tables, left(inputs_of(RLS, TWO)), regress="IRLS")
    table, _ = run(design, tmp_path / "node")
    frame = long_frame(design.all_inputs)
    for name in ("region0", "region1", "region2"):
        oracle = by_statsmodels(f"{name} ~ post + irls", frame, "irls")
        assert table.loc[name, "mixed_effect"] == pytest.approx(oracle, abs=1e-3)


# --- who is in it -------------------------------------------------------------------------------


def test_who_else_is_left_out(tables) -> None:
    people = tables.participants.copy()
    people.loc["05", "age"] = None
    told = dataclasses.replace(tables, participants=people)
    maps = [
        dataclasses.replace(one, processing='{"Denoising": "24HMP"}')
        if one.participant == "07"
        else dataclasses.replace(one, mean_fd_mm=3.0)
        if one.participant == "12"
        else one
        for one in left(inputs_of((*WHO, *PLM), TWO))
        if (one.participant, one.session) != (PLM[0], "post")
    ]
    design = build(
        told, maps, contrast=("RLS > HC",), covariates=("age",), max_mean_fd_mm=1.0
    )  # fmt: skip
    assert [one.participant for one in design.extra] == ["02", "16"]
    assert len(design.mixed["Rows"]) == 2 * 11 + 2


def test_where_there_is_no_such_model(tables, tmp_path: Path) -> None:
    maps = left()
    assert build(tables, maps, contrast=("RLS > HC",), session_contrast=("pre = post",)).mixed
    three = [one for one in inputs_of(WHO) if (one.participant, one.session) not in LOST]
    several = {"session_contrast": ("pre = post = late",), "contrast": ("RLS > HC",)}
    paired = [one for one in maps if one.participant not in ("08", "18")]
    for design in (
        build(tables, three, **several),
        build(tables, inputs_of(WHO, ("pre",)), contrast=("RLS > HC",), session_contrast=()),
        build(tables, paired, contrast=("RLS > HC",), pairs="pair_id"),
    ):
        assert (design.extra, design.mixed, design.about_tables) == ((), {}, {})
    # A slope that changes between sessions, and a mean, in one contrast.
    path = tmp_path / "model.json"
    path.write_text(
        EXAMPLES["Change on change"]
        .replace('"DummyContrasts": {"Test": "t", "Contrasts": ["IRLS", 1]}',
                 '"Contrasts": [{"Name": "odd", "ConditionList": [1, "IRLS"], "Weights": [1, 1]}]')
    )  # fmt: skip
    model = read_model(path)
    found = Found(inputs=tuple(maps), tables=tables)
    design = build_design(model, found, model.questions[0])
    assert design.mixed == {}
    assert NO_MODEL.format(reason=BOTH) in design.remarks


def test_a_variable_that_is_tested_does_not_leave() -> None:
    about = {"Columns": ["pre:one", "mean_fd"], "Weights": [0, 1], "Design": [[1, 2]]}
    assert without_columns(about, ["mean_fd"]) == {}
    assert without_columns({}, ["mean_fd"]) == {}
