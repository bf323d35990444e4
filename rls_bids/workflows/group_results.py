"""The family of all maps of a model, and the tables of clusters of each.

They are made of what lies on disk: a comparison that failed is not in the family, and stops no
other. A map that is added later changes the family and the tables, not the other maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.dataset.group import GroupPlan, Key, MapDesign
from rls_bids.engine.crashes import set_crash_dir
from rls_bids.interfaces.group import CORRECTED, MAXIMA
from rls_bids.interfaces.group_clusters import ListClusters, table_columns
from rls_bids.interfaces.group_family import FAMILY_COLUMNS, CorrectFamily
from rls_bids.numerics import clusters, family, leftout, regions, sensitivity
from rls_bids.settings import GroupSettings, Settings
from rls_bids.workflows.designs import design_files
from rls_bids.workflows.group_maps import about, asked, of_image, statistic_of
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stages import Place, Product, Stage

TABLE_VERSION = ".".join(
    each.VERSION for each in (clusters, regions, leftout, sensitivity, family)
)
CLUSTER_WORDS = (
    "Clusters and their peaks: connected voxels of one sign whose |z| exceeds the cluster-forming "
    "threshold or whose corrected p is .05 or less. Values at peaks are selected for being large."
)
LABEL_WORDS = "Voxels with a corrected p of .05 or less, by number of their cluster."
FAMILY_WORDS = "All maps of one call with one strategy, corrected together."
MINIMA_WORDS = "Smallest p of each resampling over the maps of each set."


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What is made of finished comparisons: families by strategy, tables of clusters by key.

    ``members`` are the comparisons of each family.
    """

    families: Mapping[str, Stage]
    members: Mapping[str, tuple[MapDesign, ...]]
    clusters: Mapping[Key, Stage]


def result_stages(
    plan: GroupPlan, stages: Mapping[Key, Stage], place: Place, settings: Settings
) -> Results:
    """Return what follows from the comparisons of maps that are finished."""
    group = settings.group
    members: dict[str, list[MapDesign]] = {}
    for design in plan.designs:
        if not design.compared.atlas and stages[design.key].is_finished(place.output_dir):
            members.setdefault(design.strategy, []).append(design)
    families = {
        strategy: _family_stage(own, stages, plan.model, place, settings)
        for strategy, own in members.items()
        if group.correction != "fdr" and plan.spec.family == "all"
    }
    tables = {
        design.key: _cluster_stage(
            design,
            stages[design.key],
            families.get(strategy),
            (plan.model, place, group),
        )
        for strategy, own in members.items()
        for design in own
    }
    together = {strategy: tuple(own) for strategy, own in members.items()}
    return Results(families=families, members=together, clusters=tables)


def _family_stage(
    members: list[MapDesign],
    stages: Mapping[Key, Stage],
    model: str,
    place: Place,
    settings: Settings,
) -> Stage:
    """Return what the family of one strategy writes."""
    stamp = fingerprint(
        members=[(each.key, stages[each.key].fingerprint) for each in members],
        version=family.VERSION,
    )
    files = [Path(place.output_dir, stages[each.key].product("maxima").path) for each in members]
    about: dict[str, object] = {
        **asked(settings),
        "Sources": [bids_uri(file, place.output_dir, place.bids_dir) for file in files],
        "Fingerprint": stamp,
    }
    names: dict[str, Any] = {
        key: label for key, label in members[0].entities.items() if key in ("task", "denoise")
    }
    table = Product(
        key="family",
        path=naming.group_table(model, "family", **names),
        metadata={"Description": FAMILY_WORDS, **FAMILY_COLUMNS, **about},
    )
    minima = Product(
        key="minima",
        path=naming.group_table(model, "family", desc="minima", **names),
        metadata={"Description": MINIMA_WORDS, **about},
    )
    return Stage(fingerprint=stamp, products=(table, minima))


def _cluster_stage(
    design: MapDesign,
    fitted: Stage,
    whole: Stage | None,
    where: tuple[str, Place, GroupSettings],
) -> Stage:
    """Return the table of clusters of one comparison, and the label image with its names."""
    model, place, group = where
    stamp = fingerprint(
        fit=fitted.fingerprint,
        family=whole.fingerprint if whole else "",
        version=TABLE_VERSION,
    )
    told = about(design, model, place, stamp)
    told |= {"Correction": group.correction, "ClusterFormingP": group.cluster_threshold}
    columns = table_columns(statistic_of(design.result), design.result.size, group.correction)
    names: dict[str, Any] = design.entities
    image, label_names = naming.group_labels(
        model,
        **names,
        space=place.space,
        res=design.compared.resolution,
        desc=CORRECTED[group.correction],
    )
    of_labels = {"Description": LABEL_WORDS, **told, **of_image(design, place)}
    products = (
        Product(
            key="clusters",
            path=naming.group_table(model, "clusters", **names),
            metadata={"Description": CLUSTER_WORDS, **columns, **told},
        ),
        Product(key="names", path=label_names, metadata=of_labels),
        Product(key="labels", path=image, metadata=of_labels),
    )
    return Stage(fingerprint=stamp, products=products)


def init_results_wf(
    plan: GroupPlan,
    stages: Mapping[Key, Stage],
    results: Results,
    place: Place,
    settings: Settings,
    log_dir: str,
) -> pe.Workflow:
    """Build families and tables of clusters that are not finished."""
    workflow = pe.Workflow(
        name=node_name("group", plan.model, "results"), base_dir=settings.run.work_dir
    )
    root = Path(place.output_dir)
    for strategy, members in results.members.items():
        whole = results.families.get(strategy)
        correct = None
        if whole and not whole.is_finished(str(root)):
            correct = _family_node(members, stages, whole, root, settings)
            sink = stage_sink(whole, place, name=node_name("ds_family", strategy))
            workflow.connect([(correct, sink, [("manifest", "manifest")])])
        for design in members:
            stage = results.clusters[design.key]
            if stage.is_finished(str(root)):
                continue
            listed = _cluster_node(
                design, (stages[design.key], stage), plan.model, place, settings
            )
            if correct is not None:
                workflow.connect([(correct, listed, [("minima", "minima_file")])])
            elif whole is not None:
                listed.inputs.minima_file = str(root / whole.product("minima").path)
            sink = stage_sink(stage, place, name=node_name("ds", *design.key))
            workflow.connect([(listed, sink, [("manifest", "manifest")])])
    set_crash_dir(workflow, log_dir)
    return workflow


def _family_node(
    members: tuple[MapDesign, ...],
    stages: Mapping[Key, Stage],
    whole: Stage,
    root: Path,
    settings: Settings,
) -> pe.Node:
    return pe.Node(
        CorrectFamily(
            maxima_files=[str(root / stages[each.key].product("maxima").path) for each in members],
            names=[each.compared.name for each in members],
            contrasts=[each.result.title for each in members],
            counts=[len(each.result.design) for each in members],
            column=MAXIMA[CORRECTED[settings.group.correction]],
            stamp=whole.fingerprint,
        ),
        name=node_name("family", members[0].strategy),
        mem_gb=0.5,
    )


def _cluster_node(
    design: MapDesign, stages: tuple[Stage, Stage], model: str, place: Place, settings: Settings
) -> pe.Node:
    fitted, own = stages
    root = Path(place.output_dir)
    maps = {each.key: str(root / each.path) for each in fitted.products if each.key != "maxima"}
    is_left = {key: path for key, path in maps.items() if not key.startswith("logp_")}
    node = pe.Node(
        ListClusters(
            maps={key: path for key, path in is_left.items() if Path(path).is_file()},
            in_files=[one.path for one in design.result.inputs],
            **design_files(design, model, place),
            correction=settings.group.correction,
            space=place.space,
            stamp=own.fingerprint,
        ),
        name=node_name("clusters", *design.key),
        mem_gb=1.5,
    )
    if "maxima" in fitted:
        node.inputs.maxima_file = str(root / fitted.product("maxima").path)
    return node
