"""Tables that are harmonised over sites: what is refused, what is left of the design, the test."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset import harmonising
from rls_bids.dataset.description import write_json
from rls_bids.dataset.designs import Design
from rls_bids.dataset.model import Model
from rls_bids.dataset.model_flags import model_of_flags, remarks_on_file
from rls_bids.dataset.models import read_model
from rls_bids.dataset.participants import build_design
from rls_bids.dataset.rows import Found
from rls_bids.dataset.tables import Tables, read_tables
from rls_bids.errors import UsageError
from rls_bids.interfaces.designs import GroupTest, draw
from rls_bids.interfaces.group_combat import load_table_design
from rls_bids.interfaces.group_graphs import make_test
from rls_bids.numerics import combat
from rls_bids.numerics.columns import compare_columns
from rls_bids.numerics.combat import combat_permutation, harmonise
from rls_bids.settings import GroupSettings
from tests.cohorts import one_input
from tests.factories import write_participants
from tests.unit.test_group_values import compare
from tests.unit.test_models import EXAMPLES

N = {("RLS", "A"): 14, ("HC", "A"): 6, ("RLS", "B"): 7, ("HC", "B"): 15}
WHO = [cell for cell, n in N.items() for _ in range(n)]
LABELS = [f"{number:02}" for number in range(len(WHO))]
GROUP = np.array([group for group, _ in WHO])
SITE = np.array([site for _, site in WHO])
AGE = [40 + 7 * number % 31 for number in range(len(WHO))]
FLAGS = GroupSettings(covariates=("age",), combat="", contrast=("RLS > HC",))
TITLE = "Two groups, harmonised over sites"


def tables_of(folder: Path, site=SITE, group=GROUP, **columns) -> Tables:
    rows = [
        {"participant_id": f"sub-{who}", "group": g, "site": s, "age": age}
        | {name: values[number] for name, values in columns.items()}
        for number, (who, g, s, age) in enumerate(zip(LABELS, group, site, AGE, strict=True))
    ]
    folder.mkdir(exist_ok=True)
    write_participants(folder, rows)
    return read_tables(folder)


def design_of(model: Model, tables: Tables) -> Design:
    inputs = tuple(one_input(label, None) for label in tables.participants.index)
    (question,) = model.questions
    return build_design(model, Found(inputs=inputs, tables=tables), question)


def flags(tables: Tables, **changes) -> Design:
    return design_of(model_of_flags(dataclasses.replace(FLAGS, **changes), tables), tables)


def loaded(design: Design, folder: Path) -> GroupTest:
    design.design.to_csv(folder / "design.tsv", sep="\t", index=False)
    write_json(folder / "design.json", design.about)
    return load_table_design(str(folder / "design.tsv"), str(folder / "design.json"))


# --- what is asked for --------------------------------------------------------------------------


def test_flags_and_file_ask_for_the_same(tmp_path: Path) -> None:
    tables = tables_of(tmp_path / "raw")
    model = model_of_flags(FLAGS, tables)
    assert (model.sites, model.combat) == ("site", "site")
    assert model.remarks == (harmonising.NOT_MAPS.format(column="site"),)
    assert model_of_flags(GroupSettings(), tables).combat == ""
    path = tmp_path / "model.json"
    path.write_text(EXAMPLES[TITLE])
    own = read_model(path)
    assert (own.sites, own.combat) == ("site", "site")
    assert remarks_on_file(own, tables)[0] == model.remarks[0]
    ours, theirs = flags(tables), design_of(own, tables)
    assert ours.combat == theirs.combat == ("site", "site_b")
    assert ours.sites == theirs.sites == tuple(SITE)
    with pytest.raises(UsageError) as error:
        flags(tables, sites="centre")
    text = harmonising.OTHER_SITES.format(place="", combat="site", sites="centre")
    assert error.value.message == text
    told = json.loads(EXAMPLES[TITLE])
    told["Nodes"][0]["Model"]["Software"]["rls_bids"]["site"] = "centre"
    path.write_text(json.dumps(told))
    with pytest.raises(UsageError, match="over 'site', but the sites are 'centre'"):
        read_model(path)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"site": ["A"] * 30 + ["B"] * 12}, {},
         combat.SMALL_SITE.format(label="B", n=12, least=15)),
        ({"site": ["A"] * 42}, {}, combat.ONE_SITE.format(label="A")),
        ({"group": np.where(SITE == "A", "RLS", GROUP)}, {},
         combat.MISSING_GROUP.format(label="A", group="HC")),
        ({"dose": range(42)}, {"regress": "dose", "contrast": ()},
         harmonising.TWO_GROUPS.format(title="dose")),
        ({}, {"contrast": ("RLS",)}, harmonising.TWO_GROUPS.format(title="RLS")),
        ({"pair": [n // 2 for n in range(42)], "site": ["A", "B"] * 21,
          "group": ["RLS", "HC", "HC", "RLS"] * 10 + ["RLS", "HC"]}, {"pairs": "pair"},
         harmonising.NOT_WITH.format(what="pairs")),
        ({}, {"variance_groups": ""}, harmonising.NOT_WITH.format(what="variance groups")),
    ],
)  # fmt: skip
def test_what_cannot_be_harmonised(tmp_path: Path, columns, changes, message) -> None:
    with pytest.raises(UsageError) as error:
        flags(tables_of(tmp_path / "raw", **columns), **changes)
    assert error.value.message == message
    assert error.value.hint == combat.COVARIATE_HINT


def test_a_covariate_of_sites_alone(tmp_path: Path) -> None:
    tables = tables_of(tmp_path / "raw", tesla=np.where(SITE == "A", 1.5, 3))
    told = json.loads(EXAMPLES[TITLE].replace("C(site)", "tesla"))
    path = tmp_path / "model.json"
    path.write_text(json.dumps(told))
    with pytest.raises(UsageError) as error:
        design_of(read_model(path), tables)
    assert error.value.message == harmonising.OF_SITES.format(name="tesla")


# --- the test -----------------------------------------------------------------------------------


def test_a_site_shift_leaves_the_table(tmp_path: Path) -> None:
    design = flags(tables_of(tmp_path / "raw"))
    rng = np.random.default_rng(3)
    clean = rng.standard_normal((len(WHO), 6))
    clean[:, 0] += 1.6 * (GROUP == "RLS")
    is_b = SITE[:, None] == "B"
    odd = np.where(is_b, 10 + 2.5 * clean, clean)
    tables = []
    for name, values in (("clean", clean), ("odd", odd), ("moved", clean + 10 * is_b)):
        folder = tmp_path / name
        folder.mkdir()
        given = {f"region{number}": column for number, column in enumerate(values.T)}
        table, told = compare(folder, design, given, n_permutations=299)
        tables.append(table)
    assert "over site (ComBat, 2 sites" in told["Harmonisation"]
    found = tables[1]
    test = loaded(design, tmp_path)
    assert test.matrix.shape == (42, 3)  # groups and age, no site
    kept = design.design[["group_RLS", "group_HC", "age"]].to_numpy()
    np.testing.assert_allclose(test.matrix, kept, atol=1e-9)
    drawn = draw(test, 299, 0)
    side = np.where(GROUP == "RLS", 1, -1)
    direct = combat_permutation(odd, SITE, kept, [1, -1, 0], drawn.resamplings, side)
    np.testing.assert_allclose(found["p_fwe"], direct.p_fwe, rtol=1e-5)
    np.testing.assert_allclose(found["effect"], direct.fit.effect, rtol=1e-4)
    assert found["p_uncorrected"].isna().all()
    assert not {"bf10", "size_withoutOneMin", "p_hc3"} & set(found.columns)
    # Ten units between sites, and nothing of them is left.
    by_site = harmonise(odd, SITE, kept)
    assert abs((by_site[SITE == "B"] - by_site[SITE == "A"].mean(axis=0)).mean()) < 1
    assert found.loc["region0", "p_fwe"] <= 0.05 < found["p_fwe"][1:].min()
    # A shift alone changes nothing but how far its estimates are shrunken.
    np.testing.assert_allclose(tables[2]["effect"], tables[0]["effect"], atol=0.15)
    np.testing.assert_allclose(tables[2]["size"], tables[0]["size"], atol=0.15)
    rest = by_site - kept @ np.linalg.lstsq(kept, by_site)[0]
    assert 0.8 < rest[SITE == "B"].std() / rest[SITE == "A"].std() < 1.25
    raw = pd.read_csv(tmp_path / "odd" / "values.tsv", sep="\t")
    np.testing.assert_allclose(raw["region0"], odd[:, 0], rtol=1e-4)


def test_sites_that_held_the_constant(tmp_path: Path) -> None:
    told = json.loads(EXAMPLES[TITLE])
    told["Nodes"][0]["Model"]["Formula"] = "0 + C(site) + C(group) + age"
    path = tmp_path / "model.json"
    path.write_text(json.dumps(told))
    tables = tables_of(tmp_path / "raw")
    design = design_of(read_model(path), tables)
    assert design.combat == ("site", "site_a", "site_b")
    test, other = loaded(design, tmp_path), None
    values = np.random.default_rng(1).standard_normal((42, 1, 4)) + np.arange(4)
    found = make_test(test, draw(test, 99, 0))(values[:, 0])
    other = loaded(flags(tables), tmp_path)
    expected = make_test(other, draw(other, 99, 0))(values[:, 0])
    np.testing.assert_allclose(found.fit.effect, expected.fit.effect, rtol=1e-6)
    np.testing.assert_allclose(found.fit.statistic, expected.fit.statistic, rtol=1e-6)
    np.testing.assert_allclose(found.p_fwe, expected.p_fwe)


def test_tables_of_graphs_are_harmonised_and_others_are_not(tmp_path: Path) -> None:
    tables = tables_of(tmp_path / "raw")
    values = np.random.default_rng(2).standard_normal((42, 5)) + 4.0 * (SITE == "B")[:, None]
    test = loaded(flags(tables), tmp_path)
    drawn = draw(test, 99, 0)
    found = make_test(test, drawn)(values)
    side = [1 if group == "RLS" else -1 for group in GROUP]
    direct = combat_permutation(values, SITE, test.matrix, test.contrast, drawn.resamplings, side)
    np.testing.assert_array_equal(found.p_permutation, direct.p_permutation)
    plain = loaded(flags(tables, combat=None, sites="site"), tmp_path)
    assert plain.combat == ""
    assert plain.matrix.shape == (42, 4)
    drawn = draw(plain, 99, 0)
    ours = make_test(plain, drawn)(values)
    size = (plain.size, plain.scale)
    theirs = compare_columns(values, plain.matrix, plain.contrast, drawn.resamplings, size)
    np.testing.assert_array_equal(ours.p_fwe, theirs.p_fwe)
    np.testing.assert_array_equal(ours.fit.p, theirs.fit.p)
