"""Denoising on the page: what each strategy did to a run, and left of it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rls_bids.dataset import naming
from rls_bids.interfaces.denoise import run_arithmetic, usable_runs
from rls_bids.records import Entities
from rls_bids.reports.pages import FigureItem, Section
from rls_bids.reports.results import Result
from rls_bids.reports.texts import figure_item
from rls_bids.settings import DenoiseSettings

NOT_USED = "With {strategy} this run is not used: too little is left ({arithmetic}; {seconds} s)."
FIGURES = ("carpet", "loadings")


def designs_of(
    results: Iterable[Result], session: str | None, run: Entities
) -> dict[str, dict[str, Any]]:
    """Return the sidecars of the designs of one run by strategy label."""
    return {
        result.entities["denoise"]: result.metadata
        for result in results
        if result.product == "design" and (result.session, result.run) == (session, run)
    }


def strategy_figures(
    root: Path,
    label: str,
    session: str | None,
    run: Entities,
    strategies: Iterable[str],
    reason: str,
) -> Iterator[FigureItem]:
    """Yield the figures of each strategy (label) of one run."""
    entities: dict[str, Any] = dict(run)
    for strategy in strategies:
        for what in FIGURES:
            path = naming.figure(label, session, what, **entities, denoise=strategy)
            yield figure_item(root, path, what, reason, strategy)


def regressor_parts(anchor: str, designs: Mapping[str, dict[str, Any]]) -> tuple[Section, ...]:
    """List the regressors of each design."""
    parts = []
    for strategy, design in designs.items():
        names = [str(name) for name in design.get("Regressors", [])]
        parts.append(
            Section(
                anchor=f"{anchor}-{strategy}",
                title=f"Regressors of {strategy} ({len(names)})",
                text=(", ".join(names) or "none besides the mean",),
                is_folded=True,
            )
        )
    return tuple(parts)


def unused_words(
    designs: Mapping[str, dict[str, Any]], denoise: DenoiseSettings
) -> tuple[str, ...]:
    """Say with which strategies a run is left out of its session."""
    known = {k: v for k, v in designs.items() if "SecondsKept" in v}
    return tuple(
        NOT_USED.format(
            strategy=strategy,
            arithmetic=run_arithmetic(status).partition(": ")[2],
            seconds=f"{status['SecondsKept']:.0f}",
        )
        for strategy, status in known.items()
        if not usable_runs([status], denoise.min_time_s)
    )
