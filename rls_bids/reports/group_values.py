"""The parts of a group page on tables of values: regions, and the quality of the data."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.group import GroupPlan, Key
from rls_bids.dataset.values import QUALITY, REGIONS
from rls_bids.reports.pages import Section, Table
from rls_bids.reports.texts import NOTHING, number
from rls_bids.workflows.stages import Stage

NOT_COMPARED = "These values were not compared; see “What was not done, and why”."
SUMMARY = "{n} of {total} differ from the null hypothesis (family-wise p ≤ .05 over this table)."
RESAMPLED = (
    "p (FWE) comes from {n} resamplings{every}; the smallest that this design can reach is "
    "{smallest}. {reason}"
)
EVERY = ", all that there are"
HELP = (
    "“Without one”: the range of the effect size with each participant left out in turn. “Moved "
    "alike”: the effect size in those who are left when both groups have the same mean "
    "framewise displacement. BF₁₀: evidence for an effect over none (above 3 or below 1/3 is "
    "worth a word). “Detectable”: the smallest standardised effect that this study finds with "
    "80 % power at .05; what is smaller can be missed."
)
SIZES = {
    "hedgesg": "Hedges g",
    "dz": "d (z)",
    "partialr": "Partial r",
    "partialeta2": "Partial η²",
}
TITLES = {REGIONS: "Regions of {name}", QUALITY: "Quality of the data"}
SIGN_FLIPS = " (sign changes)"
CAPTION = "{n} values; effects in their own units"


def value_sections(plan: GroupPlan, stages: Mapping[Key, Stage], root: Path) -> Iterator[Section]:
    """Yield a section for every table of regions, and for the quality of the data."""
    several = {
        "strategy": len({value.design.strategy for value in plan.values}) > 1,
        "contrast": len({value.design.result.label for value in plan.values}) > 1,
    }
    ordered = sorted(plan.values, key=lambda value: value.what == QUALITY)
    for place, value in enumerate(ordered):
        design = value.design
        parts = [TITLES[value.what].format(name=design.compared.name)]
        parts += [design.result.title] if several["contrast"] else []
        title = ", ".join(parts) + (f" ({design.strategy})" if several["strategy"] else "")
        yield value_section(title, stages[value.key], root, is_first=place == 0)


def value_section(title: str, stage: Stage, root: Path, *, is_first: bool = True) -> Section:
    """Return the section of one table of values.

    Parameters
    ----------
    title : str
    stage : Stage
        With the products ``tests`` and ``values``.
    root : Path
        The output directory.
    is_first : bool
        The first of a page explains the columns.
    """
    anchor = naming.camel_label(title)
    if not stage.is_finished(str(root)):
        return Section(anchor=anchor, title=title, text=(NOT_COMPARED,))
    path = stage.product("tests").path
    told = read_json(root / naming.sidecar(path))
    with (root / path).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    drawn = told["Resamplings"]
    tested = sum(row["p_fwe"] != "n/a" for row in rows)
    text = (
        SUMMARY.format(n=told["NumberOfRowsFwe05"], total=tested),
        RESAMPLED.format(
            n=drawn["Number"],
            every=EVERY if drawn["Exhaustive"] else "",
            smallest=number(float(drawn["SmallestP"])),
            reason=drawn["Reason"],
        ),
        *filter(None, [told.get("Harmonisation"), told.get("MixedModel")]),
        *((HELP,) if is_first else ()),
    )
    table = Table(
        caption=CAPTION.format(n=len(rows)),
        header=_header(told["EffectSize"], drawn["Statistic"], rows),
        rows=tuple(tuple(_cells(row)) for row in rows),
    )
    return Section(anchor=anchor, title=title, text=text, tables=(table,))


def _header(size: str, statistic: str, rows: list[dict[str, str]]) -> tuple[str, ...]:
    head = ["", "Effect", statistic, "p", "p (FWE)", SIZES[size]]
    present = rows[0] if rows else {}
    extra = {
        "rho": "Spearman's ρ",
        "size_withoutOneMin": "Without one",
        "size_matched": "Moved alike",
        "bf10": "BF₁₀",
        "smallest_effect": "Detectable",
        "p_equivalence": "p (equivalence)",
        "mixed_effect": "Effect, all sessions",
    }
    return (*head, *(words for name, words in extra.items() if name in present))


def _cells(row: Mapping[str, str]) -> Iterator[str]:
    yield row["name"]
    for name in ("effect", "statistic", "p_uncorrected", "p_fwe"):
        yield _shown(row[name])
    yield _with_limits(row, "size", "size_ciLower", "size_ciUpper")
    if "rho" in row:
        yield _with_limits(row, "rho", "rho_ciLower", "rho_ciUpper")
    if "size_withoutOneMin" in row:
        low, high = _shown(row["size_withoutOneMin"]), _shown(row["size_withoutOneMax"])
        flips = row["n_signFlips"] not in ("0", "0.0", "n/a")
        yield NOTHING if low == NOTHING else f"{low} to {high}{SIGN_FLIPS if flips else ''}"
    if "size_matched" in row:
        n = row["n_matched"]
        yield NOTHING if n == "n/a" else f"{_shown(row['size_matched'])} (n = {float(n):.0f})"
    for name in ("bf10", "smallest_effect", "p_equivalence"):
        if name in row:
            yield _shown(row[name])
    if "mixed_effect" in row:
        n = "" if row["mixed_n"] == "n/a" else f" (n = {float(row['mixed_n']):.0f})"
        yield _with_limits(row, "mixed_effect", "mixed_ciLower", "mixed_ciUpper") + n


def _with_limits(row: Mapping[str, str], value: str, lower: str, upper: str) -> str:
    if row[value] == "n/a":
        return NOTHING
    if row[lower] == "n/a":
        return _shown(row[value])
    return f"{_shown(row[value])} [{_shown(row[lower])}, {_shown(row[upper])}]"


def _shown(text: str) -> str:
    return NOTHING if text == "n/a" else number(float(text))
