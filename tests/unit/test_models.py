"""Model files: what is understood, the examples of the documentation, and every bad file."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rls_bids.dataset import formulas, models
from rls_bids.dataset.formulas import parse_formula
from rls_bids.dataset.models import read_model
from rls_bids.errors import UsageError
from tests.house.tree import REPO

PAGE = (REPO / "docs" / "group-models.md").read_text(encoding="utf-8")
EXAMPLES = {
    title.strip(): text
    for title, text in re.findall(r"### ([^\n]+)\n\n```json\n(.*?)```", PAGE, re.DOTALL)
}
BASE = json.loads(EXAMPLES["Group × session, any number of sessions"])


def write(folder: Path, content: object) -> Path:
    path = folder / "model.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(place: str, value: Any) -> dict[str, Any]:
    """Return the base model with one value changed; ``None`` removes it."""
    model = copy.deepcopy(BASE)
    *way, last = [int(key) if key.isdigit() else key for key in place.split("/")]
    inner: Any = model
    for key in way:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return model


def test_a_model_is_read(tmp_path: Path) -> None:
    model = read_model(write(tmp_path, BASE))
    assert model.name == "groupBySession"
    assert model.sessions == ("pre", "post", "late")
    assert model.terms == (("C(group)",), ("mean_fd",))
    assert model.where == (("group", ("RLS", "HC")),)
    assert [one.name for one in model.within] == ["sessions", "late > pre"]
    assert model.within[0].test == "F"
    assert model.within[0].weights == ((1.0, -1.0, 0.0), (0.0, 1.0, -1.0))
    assert model.within[1].conditions == ("session.late", "session.pre")
    assert [one.name for one in model.contrasts] == ["RLS > HC", "RLS"]
    assert len(model.questions) == 4


def test_every_example_of_the_documentation_is_a_model(tmp_path: Path) -> None:
    assert len(EXAMPLES) == PAGE.count("```json") >= 12
    names = [read_model(write(tmp_path, text)).name for text in EXAMPLES.values()]
    assert len(set(names)) == len(names)


def test_extensions(tmp_path: Path) -> None:
    own = {
        "name": "my model",
        "group_column": "arm",
        "where": {"arm": "a"},
        "pair_id": "pair",
        "site": "centre",
        "variance_groups": "arm",
        "assume": "compound_symmetry",
        "max_mean_fd": 0.4,
        "family": "none",
        "equivalence_bound": 0.3,
        "regions": ["HCPex:12"],
        "voxel_covariates": ["grey_matter"],
    }
    model = read_model(write(tmp_path, changed("Nodes/1/Model/Software", {"rls_bids": own})))
    assert (model.name, model.group_column, model.where) == ("myModel", "arm", (("arm", ("a",)),))
    assert (model.pairs, model.sites, model.variance_groups) == ("pair", "centre", "arm")
    assert (model.assume, model.max_mean_fd_mm) == ("compound_symmetry", 0.4)
    assert (model.family, model.equivalence_bound) == ("none", 0.3)
    assert (model.regions, model.voxel_covariates) == (("HCPex:12",), ("grey_matter",))


def test_an_edge_chooses_contrasts(tmp_path: Path) -> None:
    edge = {"Source": "sessions", "Destination": "groups", "Filter": {"contrast": ["late > pre"]}}
    model = read_model(write(tmp_path, changed("Edges", [edge])))
    assert [one.name for one in model.within] == ["late > pre"]


def test_lists_fractions_and_dummies(tmp_path: Path) -> None:
    given = changed("Nodes/1/Model", {"Type": "glm", "X": [1, "age", "group.RLS"]})
    given["Nodes"][1]["Contrasts"] = [
        {"Name": "half", "ConditionList": ["age"], "Weights": ["1/2"]}
    ]
    given["Nodes"][1]["DummyContrasts"] = {"Test": "t"}
    model = read_model(write(tmp_path, given))
    assert model.terms == ((), ("age",), ("group.RLS",))
    assert model.contrasts[0].weights == ((0.5,),)
    assert [one.name for one in model.contrasts] == ["half", "intercept", "age", "group.RLS"]


def test_the_mean_of_sessions_needs_no_contrast(tmp_path: Path) -> None:
    given = changed("Nodes/0/Model", {"Type": "meta", "X": [1]})
    del given["Nodes"][0]["Contrasts"]
    (within,) = read_model(write(tmp_path, given)).within
    assert within.conditions == (formulas.INTERCEPT,)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("Nodes", None, "lacks Nodes"),
        ("Nodes", [], "a list that is not empty"),
        ("Nodes", [{"Level": "Subject", "Name": "s", "Model": {"X": [1]}}], models.NODES),
        ("BIDSModelVersion", "2.0", 'BIDSModelVersion is "2.0"; expected 1.0 or 1.0.0'),
        ("Contrasts", [], "has the key 'Contrasts'"),
        ("Nodes/1/Contrast", [], "Nodes[1] has the key 'Contrast'"),
        ("Nodes/0/Level", "Run", "runs are combined before the model"),
        ("Nodes/0/Level", "Datset", 'Nodes[0].Level is "Datset"; expected Subject or Dataset'),
        ("Nodes/0/Level", "Dataset", "Nodes has 2 Dataset nodes"),
        ("Nodes/1/GroupBy", ["contrast", "group"], "Nodes[1].GroupBy is"),
        ("Nodes/0/GroupBy", ["session"], "Nodes[0].GroupBy is"),
        ("Nodes/1/Model/HRF", {}, "has the key 'HRF'"),
        ("Nodes/1/Model/X", [1], "lacks one of X and Formula"),
        ("Nodes/1/Model/Type", "lasso", "expected glm"),
        ("Nodes/1/Model/Formula", "1 + (age", "Nodes[1].Model.Formula: The formula '1 + (age'"),
        ("Nodes/1/Model/Formula", "y ~ age", formulas.LEFT_SIDE),
        ("Nodes/1/Model/Formula", " ", "expected a text"),
        ("Nodes/1/Model/Software", {"fsl": {}}, "has the key 'fsl'"),
        ("Nodes/1/Model/Software/rls_bids", {"pairs": "p"}, "has the key 'pairs'"),
        ("Nodes/1/Model/Software/rls_bids", {"assume": "normality"}, "compound_symmetry"),
        ("Nodes/1/Model/Software/rls_bids", {"max_mean_fd": -1}, "a number above 0"),
        ("Nodes/1/Model/Software/rls_bids", {"family": "some"}, "expected all or none"),
        ("Nodes/0/Model", {"Formula": "1 + C(session)"}, models.SUBJECT_MODEL),
        ("Nodes/1/Transformations", {"Instructions": [{"Name": "Scale"}]}, "only Factor"),
        ("Nodes/1/Contrasts", None, "lacks Contrasts (or DummyContrasts)"),
        ("Nodes/1/Contrasts/0/Weights", [1], "has 1 weights, ConditionList has 2"),
        ("Nodes/1/Contrasts/0/Weights", [0, 0], "numbers that are not all 0"),
        ("Nodes/1/Contrasts/0/Weights", ["x", 1], "numbers that are not all 0"),
        ("Nodes/1/Contrasts/0/Weights", [[1, 0], [0, 1]], "expected F for several rows"),
        ("Nodes/1/Contrasts/0/Test", "z", "expected t or F"),
        ("Nodes/1/Contrasts/0/Name", "RLS", "several contrasts called 'RLS'"),
        ("Nodes/1/Contrasts/0/ConditionList", [], "a list that is not empty"),
        ("Nodes/1/Contrasts/0/ConditionList", ["goup.RLS", "group.HC"], "names 'goup.RLS'"),
        ("Nodes/1/DummyContrasts", {"Test": "t"}, "needs Contrasts"),
        ("Edges", [], "expected 1 edges for 2 nodes"),
        ("Edges/0/Source", "groups", "from 'sessions' to 'groups'"),
        ("Edges/0/Filter", {"contrast": ["none"]}, "names the contrast 'none'"),
        ("Input", {"run": ["1"]}, "has the key 'run'"),
        ("Input/session", [1], "a list of texts"),
    ],
)
def test_bad_files_are_told_with_their_place(
    tmp_path: Path, place: str, value: Any, words: str
) -> None:
    path = write(tmp_path, changed(place, value))
    with pytest.raises(UsageError) as caught:
        read_model(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1 is not JSON"),
        ('{"Name": "a",\n "Nodes": [\n', "line 3, column 1 is not JSON"),
        ("[]", "is []; expected an object"),
        ("null", "is null; expected an object"),
    ],
)
def test_what_is_no_model_at_all(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_model(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    with pytest.raises(UsageError, match="cannot be read"):
        read_model(tmp_path / "nowhere.json")


def test_formulas_expand() -> None:
    assert parse_formula("0 + C(group)*log(age)") == (
        ("C(group)",),
        ("log(age)",),
        ("C(group)", "log(age)"),
    )
    assert parse_formula("age + sex - 1") == (("age",), ("sex",))
    assert parse_formula("1 + C(group, contr.treatment('HC'))")[1] == (
        "C(group,contr.treatment('HC'))",
    )


@pytest.mark.parametrize(
    "formula",
    [
        "1 + __import__('os').system('true')",
        "1 + open(age)",
        "1 + age.values.tofile('x')",
        "1 + {age ** 2}",
        "1 + I(age**2)",
        "C(age if 1 else 2)",
    ],
)
def test_a_formula_is_no_program(formula: str) -> None:
    with pytest.raises(UsageError):
        parse_formula(formula)
