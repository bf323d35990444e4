"""The group graph of one atlas: graphs on what all have in common, tests, tables, a picture."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.dataset.group import MapDesign, design_path
from rls_bids.interfaces.graph import NEGATIVE, PlotGroupGraphs, PlotGroupNodes
from rls_bids.interfaces.group_graphs import GroupGraphs, MeasureGraphs, ShareGraphs
from rls_bids.interfaces.group_tables import table_columns
from rls_bids.measures import MEASURES
from rls_bids.numerics import (
    columns,
    combat,
    effects,
    exchangeability,
    family,
    glm,
    permutation,
    statistic,
    welch,
)
from rls_bids.records import Template
from rls_bids.resources.atlases import find_atlas
from rls_bids.settings import Settings
from rls_bids.workflows.designs import count_words, design_files
from rls_bids.workflows.local import options_of
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stages import Place, Product, Stage

MEASURE = MEASURES["graphs"]
VERSION = ".".join(
    (
        MEASURE.version,
        *(kernel.VERSION for kernel in (columns, combat, effects, exchangeability, family, glm)),
        *(kernel.VERSION for kernel in (permutation, statistic, welch)),
    )
)
FIGURES = ("curves", "nodes")
WORDS = {
    "global": "Group comparison of metrics of whole graphs: areas under their curves over the "
    "common densities, on the common nodes.",
    "nodal": "Group comparison of metrics of nodes: areas under their curves over the common "
    "densities, on the common nodes.",
    "globalValues": "What was compared: metrics of every participant's whole graphs, on the "
    "common nodes, at the common densities.",
    "nodalValues": "What was compared: areas under the curves of every participant's nodes, "
    "a column for each node.",
}
OF_NEGATIVE = " Edges are the negative correlations, by their size."
ADJUSTED = " Adjusted for each participant's own mean correlation, as well."


def graph_stage(design: MapDesign, model: str, place: Place, settings: Settings) -> Stage:
    """Return what the comparison of the graphs of one atlas writes."""
    result = design.result
    options = options_of(MEASURE, settings)
    seed, n_permutations = settings.run.random_seed, settings.group.n_permutations
    stamp = fingerprint(
        data=design.fingerprint,
        options=options,
        random_seed=seed,
        n_permutations=n_permutations,
        covariate=settings.group.graph_covariate,
        version=VERSION,
    )
    files = [one.path for one in result.inputs]
    files.append(str(Path(place.output_dir, design_path(design, model))))
    about: dict[str, object] = {
        "Contrast": result.title,
        "NumberOfParticipants": result.counts,
        "Measure": {"Name": MEASURE.name, "Version": MEASURE.version, **options},
        "ResamplingsRequested": n_permutations,
        "RandomSeed": seed,
        "Sources": [bids_uri(file, place.output_dir, place.bids_dir) for file in files],
        "Fingerprint": stamp,
    }
    names: dict[str, Any] = design.entities
    products = tuple(
        Product(
            key=key,
            path=naming.group_table(model, "roi", desc=key, **names),
            metadata={"Description": words, **told, **about},
        )
        for key, words, told in _tables(result.size, settings)
    )
    figures = tuple(naming.group_figure(model, what, **names) for what in FIGURES)
    return Stage(fingerprint=stamp, products=products, figures=figures)


def _tables(size: str, settings: Settings) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield key, description and columns of every table.

    Tests have an adjusted copy, and negative correlations tables of their own, if asked for.
    """
    is_apart = settings.measures.graph_negative == "apart"
    is_adjusted = settings.group.graph_covariate == "mean_r"
    for key, told in table_columns(size).items():
        for sign in ("", NEGATIVE) if is_apart else ("",):
            what = key.removesuffix("Values")
            name = f"{what}{sign}{key.removeprefix(what)}"
            words = WORDS[key] + (OF_NEGATIVE if sign else "")
            yield name, words, told
            if is_adjusted and what == key:
                yield f"{name}MeanR", words + ADJUSTED, told


def init_graph_model_wf(
    design: MapDesign,
    stage: Stage,
    model: str,
    template: Template,
    place: Place,
    settings: Settings,
) -> pe.Workflow:
    """Build the comparison of the graphs of one atlas."""
    workflow = pe.Workflow(name=node_name("model", *design.key))
    result = design.result
    measured = {"options": options_of(MEASURE, settings), "version": VERSION}
    files = [one.path for one in result.inputs]
    share = pe.Node(
        ShareGraphs(in_files=files, atlas=asked_atlas(design, settings), **measured),
        name="shared",
        mem_gb=1,
    )
    values = pe.Node(Merge(len(files)), name="values", run_without_submitting=True)
    for number, file in enumerate(files, start=1):
        one = pe.Node(
            MeasureGraphs(in_file=file, random_seed=settings.run.random_seed, **measured),
            name=f"graphs_{number}",
            mem_gb=0.5,
        )
        workflow.connect([(share, one, [("shared", "shared")])])
        workflow.connect([(one, values, [("values", f"in{number}")])])
    compare = pe.Node(
        GroupGraphs(
            **design_files(design, model, place),
            covariate=settings.group.graph_covariate,
            random_seed=settings.run.random_seed,
            n_permutations=settings.group.n_permutations,
            version=VERSION,
        ),
        name="compare",
        mem_gb=1,
    )
    workflow.connect([(share, compare, [("shared", "shared")])])
    workflow.connect([(values, compare, [("out", "values")])])
    sink = stage_sink(stage, place, name="ds_tables")
    for node in (sink, *_pictures(design, stage, template, place, settings)):
        workflow.connect([(compare, node, [("manifest", "manifest")])])
    return workflow


def _pictures(
    design: MapDesign, stage: Stage, template: Template, place: Place, settings: Settings
) -> tuple[pe.Node, pe.Node]:
    """Return the nodes that draw curves by group, and the nodes that differ."""
    result = design.result
    subtitle = f"{count_words(result)}, {design.strategy}"
    curves = pe.Node(
        PlotGroupGraphs(
            groups=list(result.counts),
            title=f"Graphs of {design.compared.atlas}: {result.title}",
            subtitle=subtitle,
            base_dir=place.output_dir,
            path=stage.figures[0],
        ),
        name="figure",
        mem_gb=0.5,
    )
    nodes = pe.Node(
        PlotGroupNodes(
            atlas=asked_atlas(design, settings),
            space=place.space,
            template=template.brain,
            title=f"Nodes of {design.compared.atlas}: {result.title}",
            subtitle=subtitle,
            base_dir=place.output_dir,
            path=stage.figures[1],
        ),
        name="figure_nodes",
        mem_gb=0.5,
    )
    return curves, nodes


def asked_atlas(design: MapDesign, settings: Settings) -> str:
    """Return how the atlas was asked for: its name, or where its file is."""
    known = {naming.camel_label(find_atlas(text).name): text for text in settings.measures.atlases}
    return known[naming.camel_label(design.compared.atlas)]
