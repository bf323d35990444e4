"""The part of a group page that says whether patients move towards controls."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.group import GroupPlan
from rls_bids.interfaces.tables import load_rows
from rls_bids.reports.pages import Section, Table
from rls_bids.reports.texts import NOTHING, number
from rls_bids.settings import Settings
from rls_bids.workflows.group_towards import towards_stages
from rls_bids.workflows.stages import Place, Stage, place_of

TITLE = "Towards controls"
NOT_COMPARED = "This was not compared; see “What was not done, and why”."
SUMMARY = (
    "{n} of {total} means moved towards controls (family-wise p ≤ .05 over {maps} × {regions}). "
    "The claim takes three findings at once: patients differ from controls before, they change in "
    "that direction, and they come out closer than they were."
)
SETS = (
    "Not all maps have the same participants: the {n} sets are corrected by Bonferroni's method, "
    "the regions and maps of each by their joint resamplings."
)
WHO = "Patients: {patients}, {before} and {after}. Controls: {controls}. {untreated}"
OTHERS = "Patients without the treatment: {cell}, the same sessions."
NOBODY = "There are no patients without the treatment."
GUARDED = (
    "Change is that of the treated less that of the untreated patients, so that regression to the "
    "mean cancels out as far as both were chosen alike."
)
UNGUARDED = (
    "Regression to the mean is guarded only if the patients were not chosen by these values or by "
    "a score that goes with them (symptoms at their worst): then they return without treatment, "
    "and no analysis of these samples can tell. In simulated studies of such patients without any "
    "effect {share} claimed one, where .05 were allowed; untreated patients, chosen alike, are "
    "the remedy."
)
CLAIMED_UNGUARDED = ".128"
"""Measured by ``python -m benchmarks.normalisation``; see docs/validation-inference.md."""
CHOSEN_ELSEWHERE = "The regions were found in other participants."
DECLARED = "The regions were declared in the model file."
GIVEN = "Covariates: {names}; of the change: {changes}."
HEADER = (
    *("Map", "Region", "p (FWE)", "Patients before", "after", "Controls", "Deficit", "Change"),
    *("Share", "p (deficit)", "p (change)", "Closer", "p", "n"),
)
CAPTION = (
    "Means are as measured; deficit (controls − patients before), change and p are adjusted for "
    "covariates. Share: change / deficit"
)
LEFT_OUT = "Left out here"
LEFT_HEADER = ("Map", "Participant", "Reason")
METHOD = (
    "Whether patients moved towards controls was asked in {n} regions {source}: a claim took a "
    "difference before (two-sided), a change in its direction (one-sided, {change}) and a smaller "
    "difference after, with p the larger of the first two (intersection-union test) "
    "[@berger1996], corrected over all regions and maps."
)


def towards_sections(plan: GroupPlan, settings: Settings) -> Iterator[Section]:
    """Yield a section for each strategy."""
    place = place_of(settings)
    stages = towards_stages(plan, place, settings)
    for strategy, stage in stages.items():
        title = f"{TITLE} ({strategy})" if len(stages) > 1 else TITLE
        yield _section(title, stage, place)


def towards_words(plan: GroupPlan) -> tuple[str, ...]:
    """Return what the methods text says."""
    if not plan.towards:
        return ()
    first = plan.towards[0]
    is_declared = first.spec.source == "declared"
    return (
        METHOD.format(
            n=len(first.regions),
            source="declared beforehand" if is_declared else "found in other participants",
            change="against untreated patients" if first.spec.untreated else "by flipping signs",
        ),
    )


def _section(title: str, stage: Stage, place: Place) -> Section:
    root, anchor = Path(place.output_dir), naming.camel_label(title)
    if not stage.is_finished(str(root)):
        return Section(anchor=anchor, title=title, text=(NOT_COMPARED,))
    path = stage.product("tests").path
    told = read_json(root / naming.sidecar(path))
    rows = load_rows(root / path)
    tables = [Table(caption=CAPTION, header=HEADER, rows=tuple(_cells(row) for row in rows))]
    left = tuple(_left_out(told))
    if left:
        tables.append(Table(caption=LEFT_OUT, header=LEFT_HEADER, rows=left))
    return Section(
        anchor=anchor, title=title, text=tuple(_words(told, rows)), tables=tuple(tables)
    )


def _words(told: Mapping[str, Any], rows: list[dict[str, str]]) -> Iterator[str]:
    """Say what was found, who is in it, and how far the guard goes."""
    n_maps, n_regions = (len({row[name] for row in rows}) for name in ("map", "region"))
    yield SUMMARY.format(
        n=told["NumberOfRowsFwe05"],
        total=told["NumberOfRows"],
        maps=f"{n_maps} map{'s' * (n_maps > 1)}",
        regions=f"{n_regions} region{'s' * (n_regions > 1)}",
    )
    if told["NumberOfSets"] > 1:
        yield SETS.format(n=told["NumberOfSets"])
    untreated = told["Untreated"]
    yield WHO.format(
        patients=told["Patients"],
        before=told["SessionBefore"],
        after=told["SessionAfter"],
        controls=told["Controls"],
        untreated=OTHERS.format(cell=untreated) if untreated else NOBODY,
    )
    yield GUARDED if untreated else UNGUARDED.format(share=CLAIMED_UNGUARDED)
    yield DECLARED if told["SourceOfRegions"] == "declared" else CHOSEN_ELSEWHERE
    names, changes = (
        ", ".join(dict.fromkeys(name for own in told[key].values() for name in own)) or "none"
        for key in ("Covariates", "CovariatesOfChange")
    )
    yield GIVEN.format(names=names, changes=changes)


def _cells(row: Mapping[str, str]) -> tuple[str, ...]:
    others = f"{row['n_untreated']} untreated, " if row["n_untreated"] != "0" else ""
    n = f"{row['n_patients']}, {others}{row['n_controls']} controls"
    numbers = ("p_fwe", "before", "after", "controls", "deficit", "change", "share")
    return (
        row["map"],
        Path(row["region"]).name,
        *(_shown(row[name]) for name in (*numbers, "p_deficit", "p_change")),
        NOTHING if row["is_closer"] == "n/a" else row["is_closer"],
        _shown(row["p"]),
        n,
    )


def _shown(text: str) -> str:
    return NOTHING if text == "n/a" else number(float(text))


def _left_out(told: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield who is left out; maps that leave out the same are told together."""
    together: dict[tuple[str, str], list[str]] = {}
    for name, reasons in told["LeftOut"].items():
        for who, reason in reasons.items():
            together.setdefault((who, reason), []).append(name)
    for (who, reason), names in together.items():
        everywhere = len(names) == len(told["LeftOut"])
        yield "all" if everywhere else ", ".join(names), who, reason
    for name, reason in told["MapsLeftOut"].items():
        yield name, "all", reason
