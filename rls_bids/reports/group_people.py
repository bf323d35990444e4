"""The parts of a group page about people: who is left out, who is in, how the groups differ."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.group import GroupPlan, Key
from rls_bids.dataset.group_tables import participants_of
from rls_bids.reports.comparisons import Comparison, compare_counts, compare_values
from rls_bids.reports.pages import Table
from rls_bids.reports.texts import NOTHING, number

if TYPE_CHECKING:
    import pandas as pd

EVERYONE = "everyone"
NOBODY_OUT = "Nobody was left out."
RATES = (
    "{rates} are in no model ({test} of equal rates: {p}). Different rates can make groups differ "
    "by selection."
)
RATE = "{out} of {n} {group}"
ONLY_RATE = "{rates} are in no model."
ONLY = "{reason} (seeds {seeds})"
ONLY_CONTRAST = "{reason} ({contrasts})"
LABELS: Mapping[str, str] = {
    "mean_fd": "mean FD (mm)",
    "minutes_kept": "minutes kept",
    "degrees_of_freedom": "residual df",
    "age": "age (years)",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """Everyone who is in a model or could have been.

    ``tables`` has one DataFrame a comparison; ``everyone`` one row a participant, taken from a
    model with the participant in it where there is one. ``groups`` are those of the models, or
    "everyone" where there are none.
    """

    groups: tuple[str, ...]
    tables: "dict[Key, pd.DataFrame]"
    everyone: "pd.DataFrame"

    def inside(self, group: str) -> "pd.DataFrame":
        """Return those of a group who are in at least one model."""
        rows = self.everyone
        return rows[(rows["group"] == group) & (rows["included"] == "yes")]

    def columns(self) -> list[str]:
        """Return demography, covariates and measured columns."""
        return list(self.everyone.columns[3:])


def people_of(plan: GroupPlan) -> People:
    """Collect everyone from all comparisons."""
    import pandas as pd

    tables = {each.key: participants_of(each, plan) for each in plan.designs}
    groups = tuple(dict.fromkeys(name for each in plan.designs for name in each.result.counts))
    if not groups:
        tables = {key: table.assign(group=EVERYONE) for key, table in tables.items()}
    rows = pd.concat(tables.values()).sort_values("included", ascending=False, kind="stable")
    rows = rows[~rows.index.duplicated()]
    everyone = rows.loc[sorted(rows.index, key=natural_key)]
    return People(groups=groups or (EVERYONE,), tables=tables, everyone=everyone)


def exclusions(people: People) -> Table:
    """Compare how many of each group are left out, of all models and of each."""
    overall = _rates(people.everyone, people.groups)
    of_map: dict[str, dict[str, Comparison]] = {}
    for (strategy, seed, contrast), table in people.tables.items():
        own = of_map.setdefault(f"of {seed} ({strategy})", {})
        own[contrast] = _rates(table, people.groups)
    compared = {"of all models": overall}
    for what, own in of_map.items():
        if len({each.cells for each in own.values()}) == 1:
            compared[what] = next(iter(own.values()))
        else:
            compared |= {f"{what}: {contrast}": each for contrast, each in own.items()}
    rows = tuple(
        (what, *each.cells, each.p_text)
        for what, each in compared.items()
        if each is overall or each.cells != overall.cells
    )
    return Table(
        caption="Left out, by group; models are listed where they differ from the first row",
        header=("Left out", *people.groups, f"p ({overall.test})"),
        rows=rows,
    )


def _rates(table: "pd.DataFrame", groups: tuple[str, ...]) -> Comparison:
    return compare_counts(*_counts(table, groups))


def _counts(table: "pd.DataFrame", groups: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Return how many of each group are left out, and how many there are."""
    out = [int(((table["group"] == name) & (table["included"] == "no")).sum()) for name in groups]
    return out, [int((table["group"] == name).sum()) for name in groups]


def exclusion_sentence(people: People) -> str:
    """Say how many of each group are in no model, and whether the rates differ."""
    out, n = _counts(people.everyone, people.groups)
    if not any(out):
        return NOBODY_OUT
    found = compare_counts(out, n)
    counted = zip(people.groups, out, n, strict=True)
    words = [RATE.format(out=k, n=m, group=group) for group, k, m in counted]
    rates = " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    if found.p is None:
        return ONLY_RATE.format(rates=rates)
    return RATES.format(rates=rates, test=f"{found.test} test", p=found.p_words)


def left_out(people: People) -> Table:
    """Name everyone who is left out of any model, with the reason and, if not all, of which."""
    reasons: dict[str, dict[str, list[Key]]] = {}
    for key, table in people.tables.items():
        for label, reason in table.loc[table["included"] == "no", "reason"].items():
            reasons.setdefault(str(label), {}).setdefault(reason, []).append(key)
    rows = []
    for label in sorted(reasons, key=natural_key):
        texts = [_of_which(people, reason, keys) for reason, keys in reasons[label].items()]
        group = _cell(people.everyone.loc[label, "group"])
        rows.append((f"sub-{label}", group, "; ".join(texts)))
    header = ("Participant", "Group", "Reason")
    return Table(caption="Who is left out", header=header, rows=tuple(rows))


def _of_which(people: People, reason: str, keys: list[Key]) -> str:
    """Add to a reason the seeds, or the contrasts, of which somebody is left out."""
    if len(keys) == len(people.tables):
        return reason
    seeds, contrasts = ({key[place] for key in people.tables} for place in (1, 2))
    own_seeds = dict.fromkeys(seed for _, seed, _ in keys)
    own_contrasts = dict.fromkeys(contrast for *_, contrast in keys)
    if set(own_contrasts) != contrasts and set(own_seeds) == seeds:
        return ONLY_CONTRAST.format(reason=reason, contrasts=", ".join(own_contrasts))
    return ONLY.format(reason=reason, seeds=", ".join(own_seeds))


def _cell(value: object) -> str:
    """Return a value of a table, a dash for what is missing."""
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return NOTHING if is_missing else number(value)


def included(people: People) -> Table:
    """List everyone who is in at least one model."""
    inside = people.everyone[people.everyone["included"] == "yes"]
    columns = ["group", *people.columns()]
    return Table(
        caption="Who is in at least one model",
        header=("Participant", "Group", *(LABELS.get(name, name) for name in columns[1:])),
        rows=tuple(
            (f"sub-{label}", *(_cell(row[name]) for name in columns))
            for label, row in inside.iterrows()
        ),
    )


def characteristics(people: People) -> Table:
    """Compare demography, covariates and quality of who is in."""
    inside = [people.inside(name) for name in people.groups]
    rows = []
    for name in people.columns():
        each = compare_values(*(list(rows_of[name]) for rows_of in inside))
        rows.append((LABELS.get(name, name), *each.cells, each.test, each.p_text))
    sizes = [f"{name} (n = {len(people.inside(name))})" for name in people.groups]
    header = ("", *sizes, "Test", "p")
    return Table(caption="Mean ± standard deviation, or counts", header=header, rows=tuple(rows))
