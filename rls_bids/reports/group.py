"""From group results on disk and the designs to the page of a group model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rls_bids import __version__
from rls_bids.dataset import naming
from rls_bids.dataset.group import GroupPlan, Key, MapDesign
from rls_bids.measures import MEASURES
from rls_bids.records import Note
from rls_bids.reports.crashes import read_crashes
from rls_bids.reports.group_design import (
    coding_tables,
    compared_groups,
    contrasts_of,
    model_sentences,
    tested_table,
)
from rls_bids.reports.group_graphs import graph_sections
from rls_bids.reports.group_maps import map_sections
from rls_bids.reports.group_matrices import matrix_sections, method_words
from rls_bids.reports.group_people import (
    LABELS,
    People,
    characteristics,
    exclusion_sentence,
    exclusions,
    included,
    left_out,
    people_of,
)
from rls_bids.reports.group_values import value_sections
from rls_bids.reports.methods import Facts, methods_text
from rls_bids.reports.pages import FigureItem, GroupPage
from rls_bids.reports.strategies import strategy_sections
from rls_bids.reports.texts import figure_item
from rls_bids.reports.towards import towards_sections, towards_words
from rls_bids.settings import Settings
from rls_bids.workflows.group_results import Results
from rls_bids.workflows.stages import Stage

OWN_PREPROCESSING = "rls_bids"
CONNECTIVITY = "connectivity with the seed (Fisher z)"
NOT_FINISHED = "its model did not finish; see “What was not done, and why”"


def collect_group(
    plan: GroupPlan,
    stages: Mapping[Key, Stage],
    results: Results,
    notes: Sequence[Note],
    settings: Settings,
) -> GroupPage:
    """Draw the designs, read what lies in the output directory, and return the page.

    Parameters
    ----------
    plan : GroupPlan
        Who is compared for which seed.
    stages : mapping
        (strategy, seed) → what the comparison writes. Maps of another fingerprint are not shown.
    results : Results
        The families and tables of clusters of the comparisons that are finished.
    notes : sequence of Note
        What was left out or failed; ``where`` may be a crash file.
    settings : Settings
        Of this call.

    Returns
    -------
    GroupPage
    """
    root = Path(settings.input.output_dir)
    people = people_of(plan)
    remarks = dict.fromkeys(text for each in plan.designs for text in each.result.remarks)
    return GroupPage(
        name=plan.model,
        version=__version__,
        groups=compared_groups(plan),
        measure=_measures(plan),
        contrasts=contrasts_of(plan),
        tested=tested_table(plan, stages, root),
        codings=tuple(coding_tables(plan)),
        exclusions=exclusions(people),
        exclusion_sentence=exclusion_sentence(people),
        left_out=left_out(people),
        included=included(people),
        characteristics=characteristics(people),
        design_figures=(*_design_figures(plan, root), _covariate_figure(plan, people, root)),
        maps=tuple(map_sections(plan, stages, results, settings)),
        methods=methods_text(*group_facts(plan, settings)),
        notes=tuple(notes),
        crashes=tuple(read_crashes(root, "group", notes, settings)),
        remarks=tuple(remarks),
        graphs=(
            *strategy_sections(plan, stages, results, root),
            *towards_sections(plan, settings),
            *value_sections(plan, stages, root),
            *graph_sections(plan.designs, stages, settings),
            *matrix_sections(plan.designs, stages, settings),
        ),
    )


def _measures(plan: GroupPlan) -> str:
    """Say in words what is compared."""
    local = [each.compared.name for each in plan.designs if not each.compared.seeds]
    words = [CONNECTIVITY] if len(local) < len(plan.designs) else []
    return ", ".join(dict.fromkeys([*words, *local]))


def _design_figures(plan: GroupPlan, root: Path) -> Iterator[FigureItem]:
    """Draw every different design once."""
    from rls_bids.figures.group import plot_design

    different: dict[str, list[MapDesign]] = {}
    for design in plan.designs:
        different.setdefault(design.result.design.to_csv(), []).append(design)
    for designs in different.values():
        matrix = designs[0].result.design
        entities: dict[str, Any] = designs[0].entities
        path = naming.group_figure(plan.model, "design", **entities)
        rows = [f"sub-{label}" for label in matrix.index]
        plot_design(matrix.to_numpy(), list(matrix.columns), root / path, rows=rows)
        seeds = ", ".join(dict.fromkeys(each.compared.name for each in designs))
        item = figure_item(root, path, "design", NOT_FINISHED, seeds)
        yield item if len(different) == 1 else replace(item, caption=f"{seeds}: {item.caption}")


def _covariate_figure(plan: GroupPlan, people: People, root: Path) -> FigureItem:
    """Draw the numeric characteristics of who is in a model."""
    import pandas as pd

    from rls_bids.figures.group import plot_covariates

    inside = people.everyone[people.everyone["included"] == "yes"]
    numbers = {
        LABELS.get(name, name): pd.to_numeric(inside[name], errors="coerce").to_numpy(float)
        for name in people.columns()
    }
    shown = {name: column for name, column in numbers.items() if np.isfinite(column).any()}
    design = plan.designs[0]
    shared: dict[str, Any] = {
        name: design.entities[name] for name in ("task", "denoise", "contrast")
    }
    path = naming.group_figure(plan.model, "covariates", **shared)
    plot_covariates(shown, list(inside["group"]), root / path)
    return figure_item(root, path, "covariates", NOT_FINISHED)


def group_facts(plan: GroupPlan, settings: Settings) -> tuple[Settings, Facts]:
    """Return what the methods text needs, with the processing that the maps' sidecars tell."""
    first = plan.designs[0]
    told: dict[str, Any] = _processing(first)
    band = told.get("BandPassHz", (settings.denoise.low_hz, settings.denoise.high_hz))
    denoise = replace(
        settings.denoise,
        strategies=tuple(dict.fromkeys(each.strategy for each in plan.designs)),
        band_pass=bool(band),
        low_hz=band[0] if band else settings.denoise.low_hz,
        high_hz=band[1] if band else settings.denoise.high_hz,
        filter_order=told.get("FilterOrder") or settings.denoise.filter_order,
        fd_threshold_mm=told.get("MotionThresholdMm", settings.denoise.fd_threshold_mm),
        smoothing_fwhm_mm=told.get("SmoothingFwhmMm", settings.denoise.smoothing_fwhm_mm),
    )
    known = replace(settings, denoise=denoise)
    seeds = {seed.name: seed for each in plan.designs for seed in each.compared.seeds[-1:]}
    made_by = told.get("Preprocessing", OWN_PREPROCESSING)
    preprocessing = () if made_by == OWN_PREPROCESSING else (made_by,)
    stats = {each.compared.measure for each in plan.designs}
    atlases = tuple(dict.fromkeys(each.compared.atlas for each in plan.designs))
    atlases = tuple(atlas for atlas in atlases if atlas)
    made = tuple(
        name
        for name, measure in MEASURES.items()
        if (measure.kind == "local" and stats & {stat.name for stat in measure.stats})
        or (measure.kind == "atlas" and atlases)
    )
    facts = Facts(
        seeds=tuple(seeds.values()),
        measures=made,
        preprocessing=preprocessing,
        model=model_sentences(plan),
        group=(*method_words(plan.designs, settings), *towards_words(plan)),
    )
    return known, facts


def _processing(design: MapDesign) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(design.result.inputs[0].processing)
    return told
