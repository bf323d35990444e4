"""Design matrices: planted truth, an independent solver, and every way to be left out."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from rls_bids.dataset import groups, matrix, processing, rows, tables
from rls_bids.dataset.designs import Design
from rls_bids.dataset.model_flags import model_of_flags
from rls_bids.dataset.participants import build_design
from rls_bids.dataset.processing import check_processing
from rls_bids.dataset.rows import Found
from rls_bids.dataset.tables import Tables, read_participants
from rls_bids.errors import InputDataError, UsageError
from rls_bids.records import GroupInput
from rls_bids.settings import GroupSettings
from tests.factories import write_participants

ROWS = [
    {"participant_id": "sub-01", "group": "HC", "age": "50", "sex": "F", "site": "A"},
    {"participant_id": "sub-02", "group": "HC", "age": "61", "sex": "M", "site": "B"},
    {"participant_id": "sub-03", "group": "HC", "age": "45.5", "sex": "f", "site": "C"},
    {"participant_id": "sub-04", "group": "HC", "age": "70", "sex": "M", "site": "A"},
    {"participant_id": "sub-05", "group": "RLS", "age": "52", "sex": "F", "site": "B"},
    {"participant_id": "sub-06", "group": "RLS", "age": "66", "sex": "M", "site": "C"},
    {"participant_id": "sub-07", "group": "RLS", "age": "48", "sex": "F", "site": "A"},
    {"participant_id": "sub-08", "group": "RLS", "age": "59", "sex": "m", "site": "B"},
]
PROCESSING = {"Denoising": "acompcor", "BandPassHz": [0.01, 0.1]}


def one_input(label: str, **changes: object) -> GroupInput:
    number = int(label)
    values = {
        "participant": label,
        "session": None,
        "path": f"/out/sub-{label}.nii.gz",
        "mean_fd_mm": 0.1 + 0.01 * (number * 7 % 5),
        "minutes_kept": 6.0,
        "degrees_of_freedom": 50,
        "size_mm": "2",
        "processing": json.dumps(PROCESSING, sort_keys=True),
    }
    return GroupInput(**(values | changes))


INPUTS = tuple(one_input(f"{number:02}") for number in range(1, 9))


def table_of(tmp_path: Path, rows: list[dict] = ROWS):
    write_participants(tmp_path, rows)
    return read_participants(tmp_path)


def build(inputs, table, settings: GroupSettings, missing=None) -> Design:
    """The only design of the flags; the column site is a covariate in tests of its own."""
    known = Tables(participants=table)
    chosen = dataclasses.replace(settings, sites=settings.sites or "none")
    model = model_of_flags(chosen, known)
    found = Found(inputs=tuple(inputs), tables=known, missing=missing or {})
    return build_design(model, found, model.questions[0])


def test_default_design(tmp_path: Path) -> None:
    result = build(INPUTS, table_of(tmp_path), GroupSettings())
    assert list(result.design) == ["group_RLS", "group_HC", "age", "sex_m", "mean_fd"]
    assert list(result.design.index) == [one.participant for one in result.inputs]
    assert result.contrasts == ((1.0, -1.0, 0.0, 0.0, 0.0),)
    assert list(result.counts.items()) == [("RLS", 4), ("HC", 4)]
    assert result.dropped == ()
    assert result.remarks == (groups.CHOSEN.format(first="RLS", second="HC", why=groups.BY_NAME),)
    np.testing.assert_allclose(result.design.iloc[:, 2:].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(
        result.design["age"], np.array([50, 61, 45.5, 70, 52, 66, 48, 59]) - 56.4375
    )
    np.testing.assert_allclose(
        result.design["mean_fd"] + 0.1 + 0.02125, [o.mean_fd_mm for o in INPUTS]
    )


def test_the_contrast_is_the_adjusted_difference(tmp_path: Path) -> None:
    """Planted: effect 0.3 beside a strong age effect; statsmodels is the oracle."""
    import statsmodels.formula.api as smf

    table = table_of(tmp_path)
    result = build(INPUTS, table, GroupSettings())
    labels = result.design.index
    frame = table.loc[labels].assign(
        age=table.loc[labels, "age"].astype(float),
        sex=table.loc[labels, "sex"].str.lower(),
        fd=[one.mean_fd_mm for one in result.inputs],
    )
    noise = np.random.default_rng(3).normal(0, 0.05, len(labels))
    y = 0.3 * (frame["group"] == "RLS") + 0.02 * frame["age"] + noise
    beta = np.linalg.lstsq(result.design.to_numpy(), y.to_numpy(), rcond=None)[0]
    oracle = smf.ols("y ~ C(group) + age + C(sex) + fd", frame.assign(y=y)).fit()
    ours = float(np.array(result.contrasts[0]) @ beta)
    assert ours == pytest.approx(oracle.params["C(group)[T.RLS]"])
    assert ours == pytest.approx(0.3, abs=0.15)
    # Both group columns are adjusted means at the average covariates.
    assert y.mean() == pytest.approx(beta[:2].mean())


def test_who_is_left_out_and_why(tmp_path: Path) -> None:
    table_rows = [dict(row) for row in ROWS]
    table_rows[0]["age"] = None
    table_rows[4]["group"] = None
    table_rows.append({"participant_id": "sub-09", "group": "PLM", "age": "40", "sex": "F"})
    table_rows.append({"participant_id": "sub-10", "group": "HC", "age": "40", "sex": "F"})
    table_rows.append({"participant_id": "sub-12", "group": "HC", "age": "41", "sex": "F"})
    table_rows.append({"participant_id": "sub-13", "group": "RLS", "age": "41", "sex": "F"})
    table_rows.append({"participant_id": "sub-14", "group": "HC", "age": "61", "sex": "M"})
    moving = [one_input("13", mean_fd_mm=0.8), one_input("14", mean_fd_mm=float("nan"))]
    inputs = (*INPUTS, one_input("09"), one_input("11"), *moving)
    settings = GroupSettings(contrast=("HC > RLS",), covariates=("age",), max_mean_fd_mm=0.5)
    missing = {"12": "the seed is outside the field of view", "20": "refused"}
    result = build(inputs, table_of(tmp_path, table_rows), settings, missing)
    assert dict(result.dropped) == {
        "01": rows.NO_VALUE.format(column="age"),
        "05": rows.NO_VALUE.format(column="group"),
        "09": rows.OTHER_GROUP.format(group="PLM"),
        "10": rows.NO_MAP,
        "11": rows.NOT_IN_TABLE,
        "12": "the seed is outside the field of view",
        "13": rows.MOVED.format(found=0.8, limit=0.5),
        "14": rows.MOVED.format(found=float("nan"), limit=0.5),
        "20": "refused",
    }
    assert [one.participant for one in result.inputs] == ["02", "03", "04", "06", "07", "08"]
    assert list(result.counts.items()) == [("HC", 3), ("RLS", 3)]
    assert result.remarks == ()


@pytest.mark.parametrize(
    ("labels", "expected", "why"),
    [
        (("HC", "RLS"), ("RLS", "HC"), groups.BY_NAME),
        (("control", "patient"), ("patient", "control"), groups.BY_NAME),
        (("Controls", "iRLS"), ("iRLS", "Controls"), groups.BY_NAME),
        (("healthy", "Patients"), ("Patients", "healthy"), groups.BY_NAME),
        (("late", "early"), ("early", "late"), groups.BY_ALPHABET),
        (("RLS1", "RLS2"), ("RLS1", "RLS2"), groups.BY_ALPHABET),
    ],
)
def test_patients_come_first(
    tmp_path: Path, labels: tuple[str, str], expected: tuple[str, str], why: str
) -> None:
    table_rows = [row | {"group": labels[row["group"] == "RLS"]} for row in ROWS]
    result = build(INPUTS, table_of(tmp_path, table_rows), GroupSettings(covariates=()))
    assert tuple(result.counts) == expected
    assert why in result.remarks[0]


def test_category_with_several_levels(tmp_path: Path) -> None:
    settings = GroupSettings(covariates=("site",))
    result = build(INPUTS, table_of(tmp_path), settings)
    assert list(result.design)[2:] == ["site_b", "site_c"]


def test_table_errors(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"participants\.tsv does not exist"):
        read_participants(tmp_path)
    path = tmp_path / "participants.tsv"
    path.write_text("\ufeffparticipant_id\tgroup\nsub-01\tHC\n", encoding="utf-8")
    assert list(read_participants(tmp_path).index) == ["01"]
    path.write_text("subject\tgroup\nsub-01\tHC\n", encoding="utf-8")
    with pytest.raises(InputDataError) as caught:
        read_participants(tmp_path)
    assert caught.value.message == tables.NO_ID_COLUMN.format(
        path=path, name="participant_id", columns="subject, group"
    )
    path.write_text("participant_id\nsub-01\n01\n", encoding="utf-8")
    with pytest.raises(InputDataError, match="lists 01 more than once"):
        read_participants(tmp_path)
    path.write_text("participant_id\tgroup\nsub-01\tHC\tx\ty\nsub-02\n", encoding="utf-8")
    with pytest.raises(InputDataError, match="cannot be read as a table"):
        read_participants(tmp_path)


@pytest.mark.parametrize(
    ("changes", "settings", "words"),
    [
        ({}, {"group_column": "diagnosis"}, "no column 'diagnosis'; it has group, age, sex, site"),
        ({}, {"covariates": ("ferritin",)}, "no column 'ferritin'"),
        ({}, {"contrast": ("RLS > PD",)}, "names PD, but column 'group' has HC (4), RLS (4)"),
        ({"07": {"group": "X"}}, {}, "has the groups HC (4), RLS (3), X (1)"),
        ({"07": {"age": "old"}}, {}, "'age' has numbers and words: 'old'"),
        ({"*": {"age": "45,5"}}, {}, "'age' has numbers and words"),
        ({"*": {"sex": "F"}}, {}, "'sex' has the same value"),
        ({"*": {"age": "50"}}, {}, "'age' has the same value"),
        ({}, {"covariates": ("group",)}, "'group' of the design is a combination of"),
    ],
)
def test_requests_that_cannot_be_met(
    tmp_path: Path, changes: dict, settings: dict, words: str
) -> None:
    table_rows = [
        row | changes.get(row["participant_id"][4:], changes.get("*", {})) for row in ROWS
    ]
    table = table_of(tmp_path, table_rows)
    with pytest.raises(UsageError) as caught:
        build(INPUTS, table, GroupSettings(**settings))
    assert words in caught.value.message


def test_collinear_covariates_are_named(tmp_path: Path) -> None:
    table_rows = [row | {"months": 12 * float(row["age"])} for row in ROWS]
    settings = GroupSettings(covariates=("age", "sex", "months"))
    with pytest.raises(UsageError) as caught:
        build(INPUTS, table_of(tmp_path, table_rows), settings)
    assert caught.value.message == matrix.COLLINEAR.format(column="months", others="age")


def test_one_group_or_too_few(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    with pytest.raises(InputDataError) as caught:
        build(INPUTS[:4], table, GroupSettings())
    assert caught.value.message == groups.ONE_GROUP.format(column="group", found="HC (4)", n=4)
    with pytest.raises(InputDataError) as caught:
        build(INPUTS[:5], table, GroupSettings())
    assert "Group 'RLS' has 1 participants" in caught.value.message
    assert "sub-06: no map of this seed" in caught.value.message
    with pytest.raises(InputDataError, match="5 participants are too few for the 5 columns"):
        build(INPUTS[1:6], table, GroupSettings())


def test_several_sessions(tmp_path: Path) -> None:
    inputs = [one_input("01", session=session) for session in ("pre", "post")]
    with pytest.raises(UsageError) as caught:
        build(inputs, table_of(tmp_path), GroupSettings())
    assert caught.value.message == rows.SESSIONS.format(sessions="post, pre")
    assert "--session-label" in caught.value.hint


def test_unequal_processing_names_who_and_what() -> None:
    check_processing(INPUTS)
    other = json.dumps(PROCESSING | {"BandPassHz": None}, sort_keys=True)
    odd = dataclasses.replace(INPUTS[2], processing=other)
    with pytest.raises(UsageError) as caught:
        check_processing((*INPUTS[:2], odd, *INPUTS[3:]))
    assert caught.value.message == processing.UNEQUAL.format(
        differences="sub-03 has BandPassHz None instead of [0.01, 0.1]"
    )
