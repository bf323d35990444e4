"""Tables of the raw data set: sessions, scans, precedence, and what cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from rls_bids.dataset import tables, variables
from rls_bids.dataset.formulas import parse_formula
from rls_bids.dataset.tables import read_tables
from rls_bids.dataset.variables import Scope, baseline_of, make_factors, values_of
from rls_bids.errors import InputDataError, UsageError
from tests.cohorts import one_input
from tests.factories import write_participants

SCANS = "filename\tacq_time\tdose\twho\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    rows = [
        {"participant_id": f"sub-{n:02}", "IRLS": str(n), "age": str(30 + n * n)}
        for n in range(1, 7)
    ]
    write_participants(tmp_path, rows)
    return tmp_path


def test_sessions_and_scans(raw: Path) -> None:
    write(
        raw / "sub-01/sub-01_sessions.tsv", "session_id\tIRLS\tstate\nses-a\t31\ton\nb\tn/a\toff\n"
    )
    write(
        raw / "sub-01/ses-a/sub-01_ses-a_scans.tsv",
        SCANS + "func/sub-01_ses-a_task-rest_run-1_bold.nii.gz\t2026-03-01T21:30:00\t2\tX\n"
        "func/sub-01_ses-a_task-rest_run-2_bold.nii.gz\t2026-03-01T22:30:00.5\t4\tY\n"
        "func/sub-01_ses-a_task-other_bold.nii.gz\t2026-03-01T02:30:00\t900\tX\n"
        "anat/sub-01_ses-a_T1w.nii.gz\tn/a\t700\tX\n",
    )
    write(
        raw / "sub-02/sub-02_scans.tsv", SCANS + "func/sub-02_task-rest_bold.nii.gz\tn/a\t7\tZ\n"
    )
    found = read_tables(raw)
    assert found.sessions["01", "a"] == {
        "IRLS": "31", "state": "on", "acq_hour": "22", "dose": "3",
    }  # fmt: skip
    assert found.sessions["01", "b"] == {"state": "off"}
    assert found.sessions["02", ""] == {"dose": "7", "who": "Z"}
    assert found.of_sessions == {"IRLS", "state", "acq_hour", "dose", "who"}
    row = (one_input("01", "a"), one_input("01", "b"))
    assert values_of("IRLS", row, found) == ("31", None)
    assert values_of("IRLS_a", row, found) == ("31",)
    assert values_of("age", row, found) == ("31",)
    assert baseline_of("IRLS_c", found) == ("", "")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("sub-01/sub-01_sessions.tsv", "session\nses-a\n", "has no column session_id"),
        ("sub-01/sub-01_sessions.tsv", "session_id\nses-a\na\n", "lists a more than once"),
        ("sub-01/sub-01_sessions.tsv", "", "cannot be read as a table"),
        (
            "sub-01/sub-01_scans.tsv",
            SCANS + "func/sub-01_task-rest_bold.nii.gz\tevening\t1\tX\n",
            "has the acquisition time 'evening'; expected a date and time like "
            + tables.TIME_EXAMPLE,
        ),
    ],
)
def test_tables_that_cannot_be_used(raw: Path, name: str, text: str, words: str) -> None:
    write(raw / name, text)
    with pytest.raises(InputDataError) as caught:
        read_tables(raw)
    assert words in caught.value.message
    assert name in caught.value.message


def scope(raw: Path) -> Scope:
    return Scope(tables=read_tables(raw), within=None, responses=np.array([[1.0]]))


def test_functions_of_variables(raw: Path) -> None:
    rows = [(one_input(f"{n:02}", None),) for n in range(1, 7)]
    terms, factors = make_factors(parse_formula("1 + np.log(age) + IRLS"), rows, scope(raw))
    assert terms == ((), ("log(age)",), ("IRLS",))
    ages = [30 + n * n for n in range(1, 7)]
    np.testing.assert_allclose(factors.numbers["log(age)"].values, np.log(ages))
    with pytest.raises(UsageError) as caught:
        make_factors((("log(age)",),), rows[:1], _spoilt(raw))
    assert caught.value.message == variables.NO_FUNCTION.format(
        function="log", column="age", found=0.0, who="01"
    )


def _spoilt(raw: Path) -> Scope:
    found = scope(raw)
    found.tables.participants.loc["01", "age"] = "0"
    return found


def test_a_reference_level_comes_first(raw: Path) -> None:
    found = scope(raw)
    people = found.tables.participants
    people["arm"] = ["a", "b", "c"] * 2
    rows = [(one_input(label, None),) for label in people.index]
    terms, factors = make_factors(parse_formula("1 + C(arm, contr.treatment('b'))"), rows, found)
    assert terms == ((), ("C(arm)",))
    assert factors.categories["arm"].levels == ("b", "a", "c")
