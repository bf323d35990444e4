"""Comparisons of numbers: means of every compared map over regions, and the data's quality."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.dataset.group import MapDesign, design_path
from rls_bids.interfaces.group_values import COLUMNS, VALUES, CompareValues, RegionValues
from rls_bids.numerics import columns, examine, exchangeability, permutation, roi
from rls_bids.settings import Settings
from rls_bids.workflows.designs import design_files
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stages import Place, Product, Stage

VERSION = "-".join(
    kernel.VERSION for kernel in (columns, examine, exchangeability, permutation, roi)
)
REGIONS, QUALITY = "regions", "quality"
WORDS = {
    REGIONS: "Group comparison of the means over regions that were named beforehand.",
    QUALITY: "Group comparison of the quality of the data: motion as an outcome, without "
    "covariates of motion.",
}
VALUES_WORDS = {
    REGIONS: "What was compared: the mean of every map over each region.",
    QUALITY: "What was compared: quality numbers of every session, over its runs.",
}


def table_stage(
    design: MapDesign, what: str, model: str, place: Place, settings: Settings, **extra: object
) -> Stage:
    """Return what the comparison of a table writes; ``extra`` makes it what it is."""
    seed, n_permutations = settings.run.random_seed, settings.group.n_permutations
    stamp = fingerprint(
        data=design.fingerprint,
        what=what,
        random_seed=seed,
        n_permutations=n_permutations,
        version=VERSION,
        **extra,
    )
    result = design.result
    files = [one.path for one in result.inputs]
    files.append(str(Path(place.output_dir, design_path(design, model))))
    about: dict[str, object] = {
        "Contrast": result.title,
        "NumberOfParticipants": result.counts,
        "NullHypothesis": result.hypothesis,
        "ResamplingsRequested": n_permutations,
        "RandomSeed": seed,
        **extra,
        "Sources": [bids_uri(file, place.output_dir, place.bids_dir) for file in files],
        "Fingerprint": stamp,
    }
    names: dict[str, Any] = design.entities
    tests = Product(
        key="tests",
        path=naming.group_table(model, "roi", desc=what, **names),
        metadata={"Description": WORDS[what], **COLUMNS, **about},
    )
    values = Product(
        key="values",
        path=naming.group_table(model, "roi", desc=f"{what} values", **names),
        metadata={"Description": VALUES_WORDS[what], **VALUES, **about},
    )
    return Stage(fingerprint=stamp, products=(tests, values))


def init_regions_wf(
    design: MapDesign,
    stage: Stage,
    regions: Sequence[str],
    bound: float,
    model: str,
    place: Place,
    settings: Settings,
) -> pe.Workflow:
    """Build the comparison of the means of one comparison's maps over regions."""
    workflow = pe.Workflow(name=node_name(REGIONS, *design.key))
    inputs = design.result.inputs
    values = pe.Node(
        RegionValues(
            in_files=[one.path for one in inputs],
            labels=[one.participant for one in inputs],
            sessions=[one.session or "" for one in inputs],
            regions=list(regions),
            space=place.space,
            version=VERSION,
        ),
        name="values",
        mem_gb=1,
    )
    compare = _compare_node(design, bound, model, place, settings)
    workflow.connect([(values, compare, [("values", "values")])])
    workflow.connect([(compare, stage_sink(stage, place, name="ds"), [("manifest", "manifest")])])
    return workflow


def init_quality_model_wf(
    design: MapDesign, stage: Stage, values_file: str, model: str, place: Place, settings: Settings
) -> pe.Workflow:
    """Build the comparison of the quality of the data, whose table is written already."""
    workflow = pe.Workflow(name=node_name(QUALITY, *design.key))
    compare = _compare_node(design, 0.0, model, place, settings)
    compare.inputs.values = values_file
    workflow.connect([(compare, stage_sink(stage, place, name="ds"), [("manifest", "manifest")])])
    return workflow


def _compare_node(
    design: MapDesign, bound: float, model: str, place: Place, settings: Settings
) -> pe.Node:
    return pe.Node(
        CompareValues(
            **design_files(design, model, place),
            equivalence_bound=bound,
            n_permutations=settings.group.n_permutations,
            random_seed=settings.run.random_seed,
            version=VERSION,
        ),
        name="compare",
        mem_gb=0.5,
    )
