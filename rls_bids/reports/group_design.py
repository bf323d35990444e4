"""The parts of a group page about designs: contrasts, null hypotheses, coding, resampling."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.designs import Design
from rls_bids.dataset.group import GroupPlan, Key, MapDesign
from rls_bids.reports import wording
from rls_bids.reports.pages import ContrastWords, Table
from rls_bids.reports.texts import NOTHING, number
from rls_bids.workflows.designs import count_words
from rls_bids.workflows.stages import Stage

ROUNDING = 1e-9
SIZES: Mapping[str, str] = MappingProxyType(
    {
        "hedgesg": "Hedges g",
        "dz": "d_z",
        "partialr": "partial r",
        "partialeta2": "partial η²",
    }
)
SIGN = "Positive t: {first} > {second}; negative t: {second} > {first}."
SIGN_OF = "Positive t: {what} is above 0; negative t: it is below."
NO_SIGN = "{title} is an F test: it has no sign."
TESTED = (
    *("Contrast", "Null hypothesis", "Participants", "Effect size"),
    *("What is exchanged", "Resamplings", "Smallest p"),
)
ALL = "{n}, all there are"
CODING = "Columns of the design of {title}{first}"
FIRST = "; means are those of {name}, other maps may have other participants"
SESSIONS = "Maps of the sessions {sessions} are weighted by {weights} in each participant."


def contrasts_of(plan: GroupPlan) -> tuple[ContrastWords, ...]:
    """Return every contrast once, with its null hypothesis and sign in words."""
    return tuple(
        ContrastWords(
            title=design.result.title,
            hypothesis=design.result.hypothesis,
            sign=sign_words(design.result),
        )
        for design in _different(plan)
    )


def _different(plan: GroupPlan) -> list[MapDesign]:
    """Return the first design of every contrast."""
    return list({each.result.label: each for each in reversed(plan.designs)}.values())[::-1]


def compared_groups(plan: GroupPlan) -> tuple[str, ...]:
    """Return the groups that some contrast compares with others."""
    compared = (each.result.compared for each in _different(plan))
    pairs = [pairs for pairs in compared if abs(sum(weight for _, weight in pairs)) < ROUNDING]
    return tuple(dict.fromkeys(name for each in pairs for name, _ in each))


def sign_words(result: Design) -> str:
    """Say what a positive t means."""
    if len(result.contrasts) > 1 or len(result.responses) > 1:
        return NO_SIGN.format(title=result.title)
    weights = [weight for _, weight in result.compared]
    is_pair = len(weights) == len(("first", "second")) and weights[0] > 0 > weights[1]
    if is_pair and not result.sessions:
        (first, _), (second, _) = result.compared
        return SIGN.format(first=first, second=second)
    what = "the slope" if result.size == "partialr" else result.title
    return SIGN_OF.format(what=what)


def tested_table(plan: GroupPlan, stages: Mapping[Key, Stage], root: Path) -> Table:
    """List the contrasts: what is tested on whom, and how often what was exchanged."""
    rows = []
    for design in _different(plan):
        same = [each for each in plan.designs if each.result.label == design.result.label]
        drawn = next((told for each in same if (told := _drawn(stages[each.key], root))), {})
        counts = " or ".join(dict.fromkeys(count_words(each.result) for each in same))
        n = drawn.get("Number", NOTHING)
        smallest = drawn.get("SmallestP")
        rows.append(
            (
                design.result.title,
                design.result.hypothesis,
                counts,
                SIZES[design.result.size],
                str(drawn.get("Reason", NOTHING)),
                ALL.format(n=n) if drawn.get("Exhaustive") else str(n),
                NOTHING if smallest is None else number(float(smallest)),
            )
        )
    return Table(caption="What is tested", header=TESTED, rows=tuple(rows))


def _drawn(stage: Stage, root: Path) -> dict[str, Any]:
    """Return what the results say of resamplings, if they are there."""
    if not stage.is_finished(str(root)):
        return {}
    for product in stage.products:
        told: dict[str, Any] = read_json(root / naming.sidecar(product.path)).get(
            "Resamplings", {}
        )
        if told:
            return told
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coded:
    """Columns that several contrasts may share."""

    columns: tuple[str, ...]
    name: str
    titles: list[str]
    coding: tuple[tuple[str, str], ...]
    weights: list[tuple[tuple[float, ...], ...]]


def coding_tables(plan: GroupPlan) -> Iterator[Table]:
    """Yield for each different set of columns what they hold, and the weights of its contrasts."""
    found: dict[tuple[str, ...], _Coded] = {}
    for design in _different(plan):
        result = design.result
        columns = tuple(result.design.columns)
        shared = found.setdefault(
            columns,
            _Coded(
                columns=columns,
                name=design.compared.name,
                titles=[],
                coding=result.coding,
                weights=[],
            ),
        )
        shared.titles.append(result.title)
        shared.weights.append(result.contrasts)
    n_maps = len({design.compared.name for design in plan.designs})
    for each in found.values():
        first = FIRST.format(name=each.name) if n_maps > 1 else ""
        yield Table(
            caption=CODING.format(title="; ".join(each.titles), first=first),
            header=("Column", "Coding", *(f"Weights of {title}" for title in each.titles)),
            rows=tuple(
                (name, words, *(_weights(rows, place) for rows in each.weights))
                for place, (name, words) in enumerate(each.coding)
            ),
        )


def _weights(rows: tuple[tuple[float, ...], ...], place: int) -> str:
    return ", ".join(number(round(row[place], 10)) for row in rows)


def model_sentences(plan: GroupPlan) -> tuple[str, ...]:
    """Return what the methods section says of the model."""
    model = plan.spec
    designs = _different(plan)
    sentences = []
    for design in designs:
        result = design.result
        if result.sessions and len(result.responses) == 1:
            listed = ", ".join(result.sessions)
            weights = ", ".join(number(weight) for weight in result.responses[0])
            sentences.append(SESSIONS.format(sessions=listed, weights=weights))
        elif result.sessions:
            sentences.append(wording.TOGETHER_SESSIONS.format(sessions=", ".join(result.sessions)))
    columns = dict.fromkeys(name for each in designs for name in each.result.design.columns)
    contrasts = "; ".join(f"{each.result.title} ({each.result.hypothesis})" for each in designs)
    sentences += [wording.COLUMNS.format(columns=", ".join(columns))]
    sentences += [wording.CONTRASTS.format(contrasts=contrasts)]
    sentences += [wording.PAIRED] if model.pairs else []
    sentences += [wording.SITES.format(column=model.sites)] if model.sites else []
    if model.variance_groups:
        sentences.append(wording.VARIANCES.format(column=model.variance_groups))
    sentences += [each.adjustment.words for each in plan.designs if each.adjustment]
    sizes = dict.fromkeys(SIZES[each.result.size] for each in designs)
    sentences.append(wording.SIZES.format(sizes=", ".join(sizes)))
    limit = model.max_mean_fd_mm
    if limit is not None:
        sentences.append(wording.LIMIT.format(limit=limit))
    return tuple(dict.fromkeys(sentences))
