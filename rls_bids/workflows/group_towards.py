"""The part of the group graph that asks whether patients move towards controls."""

from collections.abc import Iterator
from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.dataset.group import GroupPlan
from rls_bids.dataset.towards import TowardsPlan
from rls_bids.interfaces.group_towards import COLUMNS, VALUES, CompareTowards
from rls_bids.interfaces.group_values import RegionValues
from rls_bids.numerics import (
    exchangeability,
    family,
    glm,
    normalisation,
    permutation,
    roi,
    statistic,
)
from rls_bids.settings import Settings
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stages import Place, Product, Stage

VERSION = "-".join(
    kernel.VERSION
    for kernel in (exchangeability, family, glm, normalisation, permutation, roi, statistic)
)
WHAT = "towards controls"
WORDS = (
    "Whether patients move towards controls: they differ before, change in that direction, and "
    "come out closer, all at once."
)
VALUES_WORDS = "What was compared: the mean of every map over each region."


def towards_stages(plan: GroupPlan, place: Place, settings: Settings) -> dict[str, Stage]:
    """Return what is written, by strategy."""
    return {own.strategy: _stage(own, plan.model, place, settings) for own in plan.towards}


def _stage(own: TowardsPlan, model: str, place: Place, settings: Settings) -> Stage:
    seed, n_permutations = settings.run.random_seed, settings.group.n_permutations
    stamp = fingerprint(
        data=own.fingerprint,
        random_seed=seed,
        n_permutations=n_permutations,
        version=VERSION,
    )
    files = dict.fromkeys(each.path for one in own.maps for each in one.inputs)
    spec = own.spec
    about: dict[str, object] = {
        "Patients": spec.patients,
        "Controls": spec.controls,
        "Untreated": spec.untreated or None,
        "SessionBefore": spec.before,
        "SessionAfter": spec.after,
        "SourceOfRegions": spec.source,
        "Regions": list(own.regions),
        "Covariates": {one.compared.name: list(one.covariates) for one in own.maps},
        "CovariatesOfChange": {one.compared.name: list(one.changes) for one in own.maps},
        "VariancesDiffer": own.variances_differ,
        "LeftOut": {
            one.compared.name: {f"sub-{who}": why for who, why in one.dropped} for one in own.maps
        },
        "MapsLeftOut": dict(own.unfit),
        "ResamplingsRequested": n_permutations,
        "RandomSeed": seed,
        "Sources": [bids_uri(file, place.output_dir, place.bids_dir) for file in files],
        "Fingerprint": stamp,
    }
    names: dict[str, Any] = {"task": own.task, "denoise": own.strategy}
    tests = Product(
        key="tests",
        path=naming.group_table(model, "roi", desc=WHAT, **names),
        metadata={"Description": WORDS, **COLUMNS, **about},
    )
    values = Product(
        key="values",
        path=naming.group_table(model, "roi", desc=f"{WHAT} values", **names),
        metadata={"Description": VALUES_WORDS, **VALUES, **about},
    )
    return Stage(fingerprint=stamp, products=(tests, values))


def towards_workflows(plan: GroupPlan, place: Place, settings: Settings) -> Iterator[pe.Workflow]:
    """Yield the comparison of every strategy that is not finished."""
    stages = towards_stages(plan, place, settings)
    for own in plan.towards:
        stage = stages[own.strategy]
        if not stage.is_finished(place.output_dir):
            yield _workflow(own, stage, place, settings)


def _workflow(own: TowardsPlan, stage: Stage, place: Place, settings: Settings) -> pe.Workflow:
    """Average every map over the regions, then compare all of them at once."""
    workflow = pe.Workflow(name=node_name("towards", own.strategy))
    # A changed mask file is read again: it is part of the plan's fingerprint.
    means = pe.Node(Merge(len(own.maps)), name="means", run_without_submitting=True)
    for number, one in enumerate(own.maps, start=1):
        node = pe.Node(
            RegionValues(
                in_files=[each.path for each in one.inputs],
                labels=[each.participant for each in one.inputs],
                sessions=[each.session or "" for each in one.inputs],
                regions=list(own.regions),
                space=place.space,
                version=f"{VERSION}-{own.fingerprint}",
            ),
            name=f"map_{number}",
            mem_gb=1,
        )
        workflow.connect([(node, means, [("values", f"in{number}")])])
    compare = pe.Node(
        CompareTowards(
            names=[one.compared.name for one in own.maps],
            counts=[one.counts for one in own.maps],
            sets=list(own.sets),
            covariates=[_plain(one.covariates) for one in own.maps],
            changes=[_plain(one.changes) for one in own.maps],
            source=own.spec.source,
            variances_differ=own.variances_differ,
            n_permutations=settings.group.n_permutations,
            random_seed=settings.run.random_seed,
            version=VERSION,
        ),
        name="compare",
        mem_gb=0.5,
    )
    workflow.connect([(means, compare, [("out", "values")])])
    workflow.connect([(compare, stage_sink(stage, place, name="ds"), [("manifest", "manifest")])])
    return workflow


def _plain(columns: Any) -> dict[str, list[float]]:
    return {name: list(values) for name, values in columns.items()}
