"""What may be exchanged in designs of every kind, who leaves them, and what is refused."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rls_bids.dataset import matrix, variables
from rls_bids.dataset.designs import Design
from rls_bids.dataset.models import read_model
from rls_bids.dataset.tables import Tables
from rls_bids.errors import InputDataError, UsageError
from rls_bids.numerics.columns import compare_columns
from rls_bids.numerics.exchangeability import (
    Units,
    choose_exchangeability,
    count_distinct,
    draw_resamplings,
)
from tests import cohorts
from tests.cohorts import EVERYBODY, HC, PLM, RLS, SESSIONS, inputs_of
from tests.unit.test_group_designs import PRE, designs, example, flags
from tests.unit.test_models import EXAMPLES


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return cohorts.tables_of(tmp_path_factory.mktemp("cohort") / "raw")


def resampling(design: Design) -> tuple[str, int]:
    """Return what the nodes do with a design: kind and number of distinct resamplings."""
    units = Units(
        pairs=design.pairs or None,
        sites=design.sites or None,
        variance_groups=design.variance_groups or None,
    )
    values, weights = design.design.to_numpy(), np.array(design.contrasts)
    contrast = weights[0] if len(weights) == 1 else weights
    found = choose_exchangeability(values, contrast, units, design.assume)
    return found.kind, count_distinct(found, values)


# --- what may be exchanged ----------------------------------------------------------------------

FOUR = (*RLS[:4], *HC[:4])
NINE = (*RLS[:3], *HC[:3], *PLM[:3])
ORDER = {"covariates": ("age",)}


@pytest.mark.parametrize(
    ("labels", "sessions", "changes", "kind", "distinct"),
    [
        (FOUR, PRE, {}, "permutation", 70),
        (FOUR, PRE, ORDER, "permutation", math.factorial(8)),
        (NINE, PRE, {"contrast": ("RLS = HC = PLM",)}, "permutation", 1680),
        (NINE, PRE, {"contrast": ("RLS > HC", "RLS = HC = PLM")}, "permutation", 1680),
        ((*RLS[:6], *HC[:6]), PRE, {"pairs": "pair_id"}, "permutation", 2**6),
        ((*RLS[:6], *HC[:6]), PRE, {"pairs": "pair_id", **ORDER}, "permutation", 2**6),
        (RLS[:7], SESSIONS, {"session_contrast": ("post > pre",)}, "sign-flip", 2**7),
        (FOUR, SESSIONS, {"session_contrast": ("post > pre",)}, "permutation", 70),
        (FOUR, SESSIONS, {"session_contrast": ("pre = post = late",)}, "permutation", 70),
        (RLS[:6], SESSIONS, {"session_contrast": ("pre = post = late",)}, "sign-flip", 2**6),
        (FOUR, SESSIONS, {"session_contrast": ("time.evening > time.morning",)},
         "permutation", 70),
        (RLS[:6], PRE, {"regress": "IRLS"}, "permutation", 720),
        (RLS[:6], SESSIONS, {"regress": "IRLS", "session_contrast": ("post > pre",)},
         "permutation", 720),
        ((*RLS[:4], *HC), PRE, {"variance_groups": "group"}, "sign-flip", 2**12),
        (RLS[:5], PRE, {"contrast": ("RLS",)}, "sign-flip", 2**5),
    ],
)  # fmt: skip
def test_what_may_be_exchanged(
    tables: Tables, labels: tuple, sessions: tuple, changes: dict, kind: str, distinct: int
) -> None:
    for design in flags(tables, inputs_of(labels, sessions), **changes):
        assert resampling(design) == (kind, distinct)


def test_pairs_are_tested_by_all_their_signs(tables: Tables) -> None:
    """With a column a pair, exchange within pairs is the exact sign test of the differences."""
    (design,) = flags(tables, inputs_of((*RLS[:6], *HC[:6]), PRE), pairs="pair_id")
    x, contrast = design.design.to_numpy(), np.array(design.contrasts[0])
    found = choose_exchangeability(x, contrast, Units(pairs=design.pairs))
    drawn = draw_resamplings(found, x, 1000, 0)
    assert drawn.is_exhaustive
    y = np.random.default_rng(5).normal(0.4, 1, (12, 7))
    size = (design.size, design.scale)
    ours = compare_columns(y, x, contrast, drawn, size)
    labels = np.array(design.pairs)
    patients = np.array(design.groups) == "RLS"
    change = np.stack(
        [y[(labels == one) & patients][0] - y[(labels == one) & ~patients][0]
         for one in np.unique(labels)]
    )  # fmt: skip
    signs = np.array(list(itertools.product((1, -1), repeat=6)))
    t = [abs(stats.ttest_1samp(sign[:, None] * change, 0).statistic) for sign in signs]
    expected = (np.array(t) >= t[0] - 1e-6).mean(axis=0)
    np.testing.assert_allclose(ours.p_permutation, expected)
    np.testing.assert_allclose(ours.fit.size, change.mean(axis=0) / change.std(axis=0, ddof=1))


def test_places_change_within_sites(tables: Tables) -> None:
    people = tables.participants.assign(
        site=["A" if int(who) % 10 in (1, 2, 3) else "B" for who in tables.participants.index]
    )
    told = dataclasses.replace(tables, participants=people)
    labels = (*RLS[:5], *HC[:6])
    (design,) = flags(told, inputs_of(labels, PRE), sites="site")
    # 3 v 3 at one site, 2 v 3 at the other
    assert resampling(design) == ("permutation", 20 * 10)


# --- who leaves, and what is refused ------------------------------------------------------------


def test_whoever_lacks_a_session_leaves_what_needs_it(tables: Tables, tmp_path: Path) -> None:
    inputs = [one for one in inputs_of() if (one.participant, one.session) != ("02", "post")]
    path = tmp_path / "model.json"
    path.write_text(EXAMPLES["Group × session, any number of sessions"])
    together, _, planned, _ = designs(
        read_model(path), tables, inputs, missing_in={("02", "post"): "too few voxels"}
    )
    assert dict(together.dropped)["02"] == "no map of session.post: too few voxels"
    assert "02" not in together.design.index
    assert "02" in planned.design.index
    assert "02" not in dict(planned.dropped)


def test_sessions_that_fit_twice(tables: Tables) -> None:
    told = {key: {**row, "time": "morning"} if key[0] == "03" else row
            for key, row in tables.sessions.items()}  # fmt: skip
    odd = dataclasses.replace(tables, sessions=told)
    (design,) = flags(odd, inputs_of(FOUR), session_contrast=("time.morning > time.noon",))
    assert dict(design.dropped)["03"].startswith("3 sessions are time.morning (pre, post, late)")


@pytest.mark.parametrize(
    ("labels", "sessions", "changes", "error", "words"),
    [
        (RLS, PRE, {}, InputDataError, "has only the group RLS (8)"),
        (EVERYBODY, PRE, {}, UsageError, "has the groups HC (8), PLM (6), RLS (8)"),
        ((*RLS, HC[0]), PRE, {}, InputDataError, "Group 'HC' has 1 participants"),
        (FOUR, SESSIONS, {}, UsageError, "several sessions of a participant: late, post, pre"),
        (FOUR, PRE, {"session_contrast": ("post > pre",)}, UsageError,
         "names 'session.post'; there are session.pre"),
        (FOUR, SESSIONS, {"session_contrast": ("drug.on > drug.off",)}, UsageError,
         "has a column 'drug'; there are group"),
        (FOUR, PRE, {"covariates": ("agee",)}, UsageError, "has a column 'agee'"),
        (FOUR, PRE, {"pairs": "pair"}, UsageError, "no column 'pair'"),
        (FOUR, PRE, {"sites": "time"}, UsageError, "no column 'time'"),
        (FOUR, PRE, {"covariates": ("age", "IRLS", "mean_fd", "minutes_kept")}, UsageError,
         "'minutes_kept' has the same value"),
        (FOUR, PRE, {"covariates": ("age", "IRLS", "mean_fd", "sex", "IRLS_post", "IRLS_late")},
         InputDataError, "8 participants are too few for the 8 columns of the design (group_RLS"),
        (RLS, SESSIONS, {"contrast": ("RLS",), "covariates": ("time",),
                         "session_contrast": ("post > pre",)}, UsageError,
         "'time' has words that change between the sessions of sub-01 (evening, morning)"),
        (RLS[:4], SESSIONS, {"contrast": ("RLS",), "pairs": "pair_id",
                             "session_contrast": ("post > pre",)}, InputDataError,
         "Nobody is left in the model"),
        (FOUR, SESSIONS, {"variance_groups": "group", "session_contrast": ("pre=post=late",)},
         UsageError, "which variance groups do not go with"),
        (RLS, PRE, {"regress": "site"}, UsageError, "names 'site'"),
    ],
)  # fmt: skip
def test_bad_designs_get_sentences(
    tables: Tables, labels: tuple, sessions: tuple, changes: dict, error: type, words: str
) -> None:
    with pytest.raises(error) as caught:
        flags(tables, inputs_of(labels, sessions), **changes)
    assert words in caught.value.message


def test_a_level_of_one_is_named(tables: Tables) -> None:
    people = tables.participants.copy()
    people["sex"] = ["F" if who == "04" else "M" for who in people.index]
    odd = dataclasses.replace(tables, participants=people)
    with pytest.raises(InputDataError) as caught:
        flags(odd, inputs_of(FOUR, PRE), covariates=("sex",))
    assert caught.value.message == variables.LONELY.format(who="04", level="f", column="sex")


def test_sites_of_one_group_each_are_refused(tables: Tables) -> None:
    people = tables.participants.copy()
    people["site"] = ["A" if who in RLS else "B" for who in people.index]
    odd = dataclasses.replace(tables, participants=people)
    with pytest.raises(UsageError) as caught:
        flags(odd, inputs_of(FOUR, PRE), sites="site")
    assert caught.value.message == matrix.COLLINEAR.format(
        column="site_b", others="group_RLS and group_HC"
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("age + C(sex)", "ferritin", "has a column 'ferritin'"),
        ('"group.RLS", "group.HC"', '"group.RLS", "group.PD"', "but 'group' has HC, RLS"),
        ('"group.RLS", "group.HC"', '"group_RLS", "wood"', "names 'wood'; the design has"),
        ('"group.RLS", "group.HC"', '"group.RLS", "group.RLS"', "compares nothing"),
    ],
)
def test_contrasts_that_the_columns_do_not_have(
    tables: Tables, tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = EXAMPLES["Two groups"]
    assert old in text
    path = tmp_path / "model.json"
    path.write_text(text.replace(old, new))
    model = read_model(path)
    with pytest.raises(UsageError) as caught:
        designs(model, tables)
    assert words in caught.value.message


def test_a_regression_through_the_origin_is_refused(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(EXAMPLES["Mean of one group"].replace("1 + age", "0 + age + IRLS")
                    .replace('"Contrasts": [1]', '"Contrasts": ["age"]'))  # fmt: skip
    model = read_model(path)
    with pytest.raises(UsageError) as caught:
        designs(model, tables)
    assert caught.value.message == matrix.NO_CONSTANT.format(columns="age, IRLS")


def test_the_sidecar_says_it_all(tables: Tables, tmp_path: Path) -> None:
    (design,) = example("Groups with variances of their own, at several sites", tables, tmp_path)
    about = json.loads(json.dumps(design.about))
    assert about["Coding"]["group_RLS"] == "1 for RLS, else 0"
    assert about["Coding"]["site_b"].startswith("1 for b, else 0, minus its mean")
    assert about["VarianceGroups"] == about["Groups"] == list(design.groups)
    assert set(about["Sites"]) == {"A", "B"}
    assert about["NullHypothesis"] == "RLS and HC have the same mean, given site."
    assert about["Compared"] == {"RLS": 1.0, "HC": -1.0}
