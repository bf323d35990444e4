"""The seed table, and what becomes of a user's own."""

import json

import numpy as np
import pytest

from rls_bids import resources
from rls_bids.dataset.naming import camel_label
from rls_bids.errors import UsageError
from rls_bids.resources import choose_seeds, default_seeds, list_seeds, load_seeds

DEFAULT = [
    "thal_VPL_L", "thal_VPL_R", "thal_VPL", "thal_MD_L", "thal_MD_R", "thal_MD",
    "thal_PuM_L", "thal_PuM_R", "thal_PuM", "thal_whole_L", "thal_whole_R", "thal_whole",
    "SN_aIns_L", "SN_aIns_R", "SN_dACC_R", "SN",
    "DMN_PCC", "DMN_aMPFC", "DMN_AG_L", "DMN_AG_R", "DMN",
]  # fmt: skip
SPACES = {"MNI152NLin6Asym", "MNI152NLin2009cAsym", "Colin27", "Talairach", "unknown"}
BY_NAME = {seed.name: seed for seed in load_seeds()}


def test_the_default_set():
    assert [seed.name for seed in default_seeds()] == DEFAULT


def test_coordinates_of_the_default_seeds():
    expected = {
        "thal_VPL_L": ((-18, -21, 5), 4), "thal_VPL_R": ((17, -20, 5), 4),
        "thal_MD_L": ((-5, -16, 4), 4), "thal_MD_R": ((4, -15, 4), 4),
        "thal_PuM_L": ((-13, -28, 6), 4), "thal_PuM_R": ((12, -27, 7), 4),
        "SN_aIns_L": ((-36, 18, 2), 5), "SN_aIns_R": ((38, 21, -1), 5),
        "SN_dACC_R": ((9, 20, 34), 5), "DMN_PCC": ((-2, -51, 27), 5),
        "DMN_aMPFC": ((-6, 52, -2), 5), "DMN_AG_L": ((-48, -63, 35), 5),
        "DMN_AG_R": ((51, -59, 34), 5),
    }  # fmt: skip
    for name, (centre, radius) in expected.items():
        assert (BY_NAME[name].centre_mm, BY_NAME[name].radius_mm) == (centre, radius)
    assert BY_NAME["thal_whole_L"].mask == "HarvardOxford:Left Thalamus"
    assert BY_NAME["thal_whole_R"].mask == "HarvardOxford:Right Thalamus"


def test_means():
    assert BY_NAME["thal_VPL"].members == ("thal_VPL_L", "thal_VPL_R")
    assert not BY_NAME["thal_VPL"].exclude_own
    assert BY_NAME["SN"].members == ("SN_aIns_L", "SN_aIns_R", "SN_dACC_R")
    assert BY_NAME["DMN"].members == ("DMN_PCC", "DMN_aMPFC", "DMN_AG_L", "DMN_AG_R")
    assert BY_NAME["SN"].exclude_own
    assert BY_NAME["DMN"].exclude_own


@pytest.mark.parametrize("seed", BY_NAME.values(), ids=lambda seed: seed.name)
def test_every_record_says_where_it_comes_from(seed):
    assert seed.space in SPACES
    assert seed.evidence
    assert seed.kind == "mean" or seed.source
    if seed.centre_mm is None:
        return
    x, side = seed.centre_mm[0], seed.name.rpartition("_")[2]
    if side == "L":
        assert x < 0
    elif side == "R":
        assert x > 0
    assert np.abs(seed.centre_mm).max() < 110
    assert 3 <= seed.radius_mm <= 6


def test_sides_mirror_each_other():
    for name, left in BY_NAME.items():
        right = BY_NAME.get(name[:-2] + "_R")
        if name.endswith("_L") and left.centre_mm and right:
            mirrored = np.array(right.centre_mm) * [-1, 1, 1]
            assert np.linalg.norm(mirrored - left.centre_mm) < 10


def test_names_become_labels_that_stay_different():
    labels = [camel_label(name).casefold() for name in BY_NAME]
    assert len(set(labels)) == len(labels)


# --- a user's file ------------------------------------------------------------------------------


def test_tsv(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text(
        "name\tx\ty\tz\tradius_mm\tmask\tmembers\texclude_own\tremark\n"
        "A_L\t-10\t2.5\t3\t4\t\t\t\tleft\n"
        "A_R\t10\t2.5\t3\t4\t\t\t\t\n"
        "B\t\t\t\t\tHarvardOxford:Left Thalamus\t\t\t\n"
        "A\t\t\t\t\t\tA_L, A_R\tyes\t\n",
        encoding="utf-8",
    )
    left, right, mask, both = load_seeds(str(path))
    assert (left.kind, left.centre_mm, left.radius_mm) == ("sphere", (-10.0, 2.5, 3.0), 4.0)
    assert right.network == "user"
    assert right.network_default
    assert (mask.kind, mask.mask) == ("mask", "HarvardOxford:Left Thalamus")
    assert (both.kind, both.members, both.exclude_own) == ("mean", ("A_L", "A_R"), True)
    assert default_seeds(str(path)) == (left, right, mask, both)


def test_json_in_both_forms(tmp_path):
    rows = [
        {"name": "A", "centre_mm": [1, 2, 3], "radius_mm": 5, "space": "Talairach"},
        {"name": "B", "x": 1, "y": 2, "z": 3, "radius_mm": 5, "network_default": False},
    ]
    for content in (rows, {"seeds": rows}):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        first, second = load_seeds(str(path))
        assert first.centre_mm == second.centre_mm == (1.0, 2.0, 3.0)
        assert first.space == "Talairach"
        assert [seed.name for seed in default_seeds(str(path))] == ["A"]


def test_our_own_table_can_be_a_users_file():
    assert load_seeds(str(resources.BUILT_IN)) == load_seeds()


# --- networks -----------------------------------------------------------------------------------

GORGES = {
    *("sensorimotor", "sensory_thalamic", "ventral_attention", "dorsal_attention"),
    *("basal_ganglia_thalamic", "cingulate", "brainstem"),
}


def test_every_network_has_a_map_of_its_own():
    seeds = load_seeds()
    for network in {seed.network for seed in seeds}:
        means = [seed for seed in seeds if seed.network == network and seed.kind == "mean"]
        assert means, network
        # both sides of a nucleus are a mean of maps; a network leaves each seed's sphere out
        assert network == "thalamus" or all(seed.exclude_own for seed in means)


def test_networks_are_chosen_by_name_with_the_members_of_their_means():
    names = [seed.name for seed in choose_seeds(load_seeds(), ["Executive"])]
    assert names[-1] == "ECN"
    assert {"ECN_LPFC_L", "ECN_PPC_R", "ECN_dlPFC_L"} < set(names)
    names = [seed.name for seed in choose_seeds(load_seeds(), ["basal_ganglia_thalamic"])]
    assert {"BG_thal", "BG_NAc_L", "thal_whole_R"} < set(names)
    assert "BG" not in names
    assert choose_seeds(load_seeds(), ["all", "executive"]) == load_seeds()


def test_gorges_are_seven_networks():
    chosen = choose_seeds(load_seeds(), ["gorges"])
    assert {seed.network for seed in chosen if seed.kind == "mean"} == GORGES
    assert choose_seeds(load_seeds(), sorted(GORGES)) == chosen


def test_a_network_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        choose_seeds(load_seeds(), ["executif"])
    assert "'executif'" in caught.value.message
    assert "dorsal_attention" in caught.value.message
    assert "executive" in caught.value.hint


def test_a_mean_brings_members_that_are_not_default(tmp_path):
    rows = [SPHERE | {"network_default": False}, OTHER, {"name": "M", "members": "A,B"}]
    path = tmp_path / "s.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    assert [seed.name for seed in default_seeds(str(path))] == ["A", "B", "M"]
    with pytest.raises(UsageError) as caught:
        choose_seeds(load_seeds(str(path)), ["gorges"])
    assert "user, all" in caught.value.message


def test_the_list_has_a_line_for_each_seed():
    header, *lines = (line.split("\t") for line in list_seeds().splitlines())
    assert [line[0] for line in lines] == list(BY_NAME)
    assert {len(line) for line in lines} == {len(header)}
    assert [line[0] for line in lines if line[-1] == "yes"] == DEFAULT


def test_series_and_regression_of_a_row_and_of_the_call(tmp_path):
    rows = [SPHERE | {"series": "mean"}, OTHER, OTHER | {"name": "C", "regression": "together"}]
    path = tmp_path / "s.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    found = load_seeds(str(path), series="eigenvariate")
    assert [seed.series for seed in found] == ["mean", "eigenvariate", "eigenvariate"]
    assert [seed.regression for seed in found] == ["separate", "separate", "together"]


SPHERE = {"name": "A", "x": 1, "y": 2, "z": 3, "radius_mm": 4}
OTHER = SPHERE | {"name": "B"}


@pytest.mark.parametrize(
    ("rows", "found", "expected"),
    [
        ([SPHERE | {"radius_mm": "4*"}], "row 1 (A): found radius_mm '4*'", "a number of mm"),
        ([SPHERE | {"radius_mm": 0}], "radius_mm 0", "a number of mm"),
        ([SPHERE | {"x": "left"}], "x 'left'", "a number of mm"),
        ([SPHERE | {"x": float("nan")}], "x nan", "a number of mm"),
        ([SPHERE | {"z": 2000}], "z 2000", "between -200 and 200"),
        ([SPHERE | {"x": True}], "x True", "a number of mm"),
        ([{"name": "A", "x": 1, "y": 2, "radius_mm": 4}], "z None", "a number of mm"),
        (
            [{"name": "A", "centre_mm": [1, 2], "radius_mm": 4}],
            "centre_mm [1, 2]",
            "three numbers",
        ),
        ([{"name": "A"}], "columns 'name'", resources.A_SEED),
        ([SPHERE | {"kind": "cube"}], "columns", resources.A_SEED),
        ([{"x": 1}], "the name None", "a name with letters"),
        ([{"name": "__"}], "the name '__'", "a name with letters"),
        ([SPHERE, SPHERE | {"name": "a"}], "row 2 (a): found the same name as A", "different"),
        ([SPHERE | {"name": "A_b"}, SPHERE | {"name": "AB"}], "the same name as A_b", "different"),
        ([SPHERE, {"name": "M", "members": ["A", "C"]}], "the members C", "in the same file"),
        ([SPHERE, {"name": "M", "members": "A"}], "members 'A'", resources.TWO_NAMES),
        ([SPHERE, {"name": "M", "members": ["A", "A"]}], "members ['A', 'A']", "different names"),
        ([SPHERE, {"name": "M", "members": [1, 2]}], "members [1, 2]", resources.TWO_NAMES),
        (
            [SPHERE, OTHER, {"name": "M", "members": "A,B"}, {"name": "N", "members": "A,M"}],
            "row 4 (N): found the members M",
            "spheres or masks",
        ),
        ([SPHERE | {"exclude_own": "maybe"}], "exclude_own 'maybe'", "true or false"),
        ([SPHERE | {"series": "median"}], "series 'median'", "mean or eigenvariate"),
        ([SPHERE | {"regression": 1}], "regression 1", "separate or together"),
        ([], "no seed", "at least one row"),
        ("text", "found str", "a list of objects"),
        ([1, 2], "found list", "a list of objects"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, rows, found, expected):
    path = tmp_path / "seeds file.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_seeds(str(path))
    assert str(path) in caught.value.message
    assert found in caught.value.message
    assert expected in caught.value.message
    assert caught.value.hint == resources.SEEDS_HINT


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.json", b"{not json", "line 1"),
        ("a.tsv", b"x,y,z\n1,2,3\n", "the columns x,y,z"),
        ("a.tsv", b"", "the columns none"),
        ("a.tsv", b"\xff\xfe\x00", "codec"),
        ("a.tsv", b"name\tx\ty\tz\tradius_mm\nA\t1\t2\n", "row 1 (A): found z None"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, found):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_seeds(str(path))
    assert str(path) in caught.value.message
    assert found in caught.value.message


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError) as caught:
        load_seeds(str(tmp_path / "none.json"))
    assert "no such file" in caught.value.message
    with pytest.raises(UsageError):
        load_seeds(str(tmp_path))
