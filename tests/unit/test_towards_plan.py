"""Who is in a comparison of change towards controls: sessions, covariates, motion, sets."""

from typing import Any

import pandas as pd
import pytest

from rls_bids.dataset import towards, variables
from rls_bids.dataset.model import Model, Towards
from rls_bids.dataset.results import GroupMaps
from rls_bids.dataset.rows import MOVED, NO_VALUE
from rls_bids.dataset.tables import Tables
from rls_bids.dataset.towards import TowardsPlan, plan_towards
from rls_bids.errors import InputDataError, UsageError
from rls_bids.records import Compared, GroupInput, Seed

PATIENTS, CONTROLS = ("1", "2", "3", "4"), ("5", "6", "7", "8")
SPEC: dict[str, Any] = {
    "patients": "group.RLS", "controls": "group.HC", "before": "pre", "after": "post",
}  # fmt: skip


def one(who: str, session: str | None, mean_fd: float = 0.1) -> GroupInput:
    return GroupInput(
        participant=who, session=session, path=f"/{who}_{session}", mean_fd_mm=mean_fd,
        minutes_kept=5.0, degrees_of_freedom=50, size_mm="2", processing="{}", fingerprint=who,
    )  # fmt: skip


def everybody() -> list[GroupInput]:
    inputs = [one(who, session) for who in PATIENTS for session in ("post", "pre")]
    return [*inputs, *(one(who, None) for who in CONTROLS)]


def plan(inputs: dict[str, list[GroupInput]], spec: dict[str, Any] | None = None,
         **columns: Any) -> TowardsPlan:  # fmt: skip
    table = pd.DataFrame(
        {"group": ["RLS"] * 4 + ["HC"] * 4, **columns}, index=[*PATIENTS, *CONTROLS]
    )
    seed = Seed(name="a", network="", kind="sphere")
    wanted = {
        name: Compared(name=name, measure="fisherz", resolution="2", seeds=(seed,))
        for name in inputs
    }
    maps = GroupMaps(
        inputs={name: tuple(each) for name, each in inputs.items()},
        missing={}, compared=wanted, task="rest",
    )  # fmt: skip
    model = Model(
        name="m", regions=("AAL3:129",), towards=Towards(**SPEC | (spec or {})),
        max_mean_fd_mm=0.5, source="m.json",
    )  # fmt: skip
    found = plan_towards(model, maps, wanted, Tables(participants=table), {}, "acompcor")
    assert found is not None
    return found


def test_the_order_is_before_after_controls() -> None:
    (found,) = plan({"a": everybody()}).maps
    paths = [each.path for each in found.inputs]
    assert paths[:4] == [f"/{who}_pre" for who in PATIENTS]
    assert paths[4:8] == [f"/{who}_post" for who in PATIENTS]
    assert paths[8:] == [f"/{who}_None" for who in CONTROLS]
    assert found.counts == [4, 4, 0]


def test_controls_have_the_session_before_or_their_only_one() -> None:
    inputs = [each for each in everybody() if each.participant != "5"]
    inputs += [one("5", "post"), one("5", "pre")]
    (found,) = plan({"a": inputs}).maps
    assert found.controls[0][0].session == "pre"
    inputs = [each for each in inputs if (each.participant, each.session) != ("5", "pre")]
    (found,) = plan({"a": [*inputs, one("5", "late")]}).maps
    reason = towards.NOT_ONE.format(sessions="late, post", before="pre")
    assert dict(found.dropped) == {"5": reason}


def test_motion_and_missing_values_leave() -> None:
    inputs = [each for each in everybody() if (each.participant, each.session) != ("2", "post")]
    ages = ["40", "50", "60", "70", "41", None, "51", "61"]
    (found,) = plan(
        {"a": [*inputs, one("2", "post", 0.7)]}, {"covariates": ("age",)}, age=ages
    ).maps
    assert dict(found.dropped) == {
        "2": MOVED.format(found=0.7, limit=0.5), "6": NO_VALUE.format(column="age"),
    }  # fmt: skip
    assert found.covariates == {"age": (40.0, 60.0, 70.0, 41.0, 51.0, 61.0)}
    assert found.changes == {}


def test_motion_changes_with_the_session() -> None:
    fd = {("1", "post"): 0.3, ("2", "pre"): 0.2}
    inputs = [one(each.participant, each.session, fd.get((each.participant, each.session), 0.1))
              for each in everybody()]  # fmt: skip
    (found,) = plan({"a": inputs}, {"covariates": ("mean_fd",)}).maps
    assert found.changes["mean_fd"] == pytest.approx((0.2, -0.1, 0, 0))
    assert found.covariates["mean_fd"] == (0.1, 0.2, *[0.1] * 6)


def test_words_become_indicators() -> None:
    sex = ["F", "m", "M", "F", "f", "M", "F", "M"]
    (found,) = plan({"a": everybody()}, {"covariates": ("sex",)}, sex=sex).maps
    assert found.covariates == {"sex_m": (0, 1, 1, 0, 0, 1, 0, 1)}


def test_maps_of_other_people_are_another_set() -> None:
    fewer = [each for each in everybody() if each.participant != "1"]
    inputs = {"a": everybody(), "b": fewer, "c": everybody()}
    assert plan(inputs).sets == (0, 1, 0)
    two = [each for each in fewer if each.participant != "2"]
    found = plan({**inputs, "d": two})
    assert [one.compared.name for one in found.maps] == ["a", "b", "c"]
    assert found.unfit == (("d", towards.TOO_FEW.format(n=2, group="patients")),)
    assert found.fingerprint == plan({**inputs, "d": two}).fingerprint
    assert found.fingerprint != plan({**inputs, "b": everybody()}).fingerprint


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (["1"] * 8, UsageError, variables.ONE_LEVEL.format(column="x")),
        (["1", "a"] * 4, UsageError, variables.MIXED.format(column="x", words="'a'")),
        (["0"] * 4 + ["1"] * 4, UsageError, "is a combination of"),
        (
            ["a"] * 7 + ["b"],
            InputDataError,
            variables.LONELY.format(who="8", level="b", column="x"),
        ),
    ],
)
def test_covariates_that_leave_nothing(values: list[str], error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        plan({"a": everybody()}, {"covariates": ("x",)}, x=values)
    assert words in str(caught.value)
