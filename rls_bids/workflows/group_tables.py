"""Comparisons of numbers: means of every compared map over regions, and the data's quality."""

from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.dataset.group import design_path
from rls_bids.dataset.group_tables import values_file
from rls_bids.dataset.values import QUALITY, REGIONS, ValueDesign
from rls_bids.interfaces.group_values import COLUMNS, VALUES, CompareValues, RegionValues
from rls_bids.numerics import columns, combat, examine, exchangeability, mixed, permutation, roi
from rls_bids.resources.regions import find_place
from rls_bids.settings import Settings
from rls_bids.workflows.designs import design_files
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stages import Place, Product, Stage

VERSION = "-".join(
    kernel.VERSION
    for kernel in (columns, combat, examine, exchangeability, mixed, permutation, roi)
)
WORDS = {
    REGIONS: "Comparison of the means over regions that were named beforehand.",
    QUALITY: "Comparison of the quality of the data: motion as an outcome, without covariates of "
    "motion.",
}
VALUES_WORDS = {
    REGIONS: "What was compared: the mean of every map over each region.",
    QUALITY: "What was compared: quality numbers of every session, over its runs.",
}


def table_stage(value: ValueDesign, model: str, place: Place, settings: Settings) -> Stage:
    """Return what the comparison of a table writes."""
    design, seed = value.design, settings.run.random_seed
    n_permutations = settings.group.n_permutations
    stamp = fingerprint(
        data=design.fingerprint,
        what=value.what,
        regions=[(text, find_place(text).content) for text in value.regions],
        bound=value.bound,
        random_seed=seed,
        n_permutations=n_permutations,
        version=VERSION,
        mixed=design.result.about_tables,
        incomplete=[(one.participant, one.fingerprint) for one in design.result.extra],
    )
    result = design.result
    files = [one.path for one in result.all_inputs]
    files.append(str(Path(place.output_dir, design_path(design, model))))
    about: dict[str, object] = {
        "Contrast": result.title,
        "NumberOfParticipants": result.counts or {"all": len(result.design)},
        "NullHypothesis": result.hypothesis,
        "ResamplingsRequested": n_permutations,
        "RandomSeed": seed,
        "Regions": list(value.regions),
        "EquivalenceBound": value.bound or None,
        "Sources": [bids_uri(file, place.output_dir, place.bids_dir) for file in files],
        "Fingerprint": stamp,
    }
    names: dict[str, Any] = design.entities
    tests = Product(
        key="tests",
        path=naming.group_table(model, "roi", desc=value.what, **names),
        metadata={"Description": WORDS[value.what], **COLUMNS, **about},
    )
    values = Product(
        key="values",
        path=naming.group_table(model, "roi", desc=f"{value.what} values", **names),
        metadata={"Description": VALUES_WORDS[value.what], **VALUES, **about},
    )
    return Stage(fingerprint=stamp, products=(tests, values))


def init_values_wf(
    value: ValueDesign, stage: Stage, model: str, place: Place, settings: Settings
) -> pe.Workflow:
    """Build the comparison of a table: one that is known, or means of maps over regions."""
    workflow = pe.Workflow(name=node_name("values", *value.key))
    compare = pe.Node(
        CompareValues(
            **design_files(value.design, model, place),
            equivalence_bound=value.bound,
            n_permutations=settings.group.n_permutations,
            random_seed=settings.run.random_seed,
            version=VERSION,
        ),
        name="compare",
        mem_gb=0.5,
    )
    if value.columns is not None:
        compare.inputs.values = values_file(value, model, settings)
    else:
        inputs = value.design.result.all_inputs
        means = pe.Node(
            RegionValues(
                in_files=[one.path for one in inputs],
                labels=[one.participant for one in inputs],
                sessions=[one.session or "" for one in inputs],
                regions=list(value.regions),
                space=place.space,
                version=VERSION,
            ),
            name="means",
            mem_gb=1,
        )
        workflow.connect([(means, compare, [("values", "values")])])
    workflow.connect([(compare, stage_sink(stage, place, name="ds"), [("manifest", "manifest")])])
    return workflow
