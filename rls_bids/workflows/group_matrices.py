"""The group graph of the matrices of one atlas: tests of connections and blocks, pictures."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.dataset.group import MapDesign, design_path
from rls_bids.dataset.results import TANGENT
from rls_bids.interfaces.group_matrices import P_VALUES, GroupMatrices
from rls_bids.interfaces.group_tables import TESTED, WHO, size_columns
from rls_bids.interfaces.matrix_figure import PlotConnectome, PlotGroupEdges
from rls_bids.numerics import (
    association,
    columns,
    edgemotion,
    edges,
    exchangeability,
    glm,
    matrices,
    motion,
    nbs,
    permutation,
    statistic,
    welch,
)
from rls_bids.records import Template
from rls_bids.settings import Settings
from rls_bids.workflows.designs import count_words, design_files
from rls_bids.workflows.group_graphs import asked_atlas
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stages import Place, Product, Stage

VERSION = ".".join(
    kernel.VERSION
    for kernel in (
        *(columns, edges, exchangeability, glm, matrices, nbs),
        *(permutation, statistic, welch, association, edgemotion, motion),
    )
)
FIGURES = ("edges", "connectome")
UNITS = {TANGENT: "coordinates in tangent space"}
FISHER_Z = "Fisher z"
WORDS = {
    "effect": "Adjusted effect of the contrast on every connection, in {unit}.",
    "statistic": "Statistic of every connection: t, F, or those of unequal variances.",
    "z": "z of every connection, with the tail probability of the statistic.",
    "p_uncorrected": "p of every connection by the formula of its statistic, not corrected.",
    "p_fdr": "p adjusted for the false discovery rate over all connections.",
    "p_fwe": "p from resampling, family-wise over all connections (largest |z|).",
    "p_extent": "p of the network-based statistic by the number of connections; 1 outside.",
    "p_intensity": "p of the network-based statistic by what |z| has above the threshold.",
    "p_tfnbs": "p of the threshold-free network-based statistic.",
    "qcfc": "Correlation of mean framewise displacement with every connection, over participants "
    "and cleared of the design's other columns (QC-FC).",
    "label": "Number of the component of every connection, negative for negative values; else 0.",
    "components": "Components of connections above the forming threshold (FormingZ).",
    "edges": "Connections of components, and those that survive a correction by themselves.",
    "networks": "Means of {unit} between and within networks, over the common nodes.",
    "lobes": "Means of {unit} between and within lobes, over the common nodes.",
    "networksValues": "What was compared: every participant's means, first-second network.",
    "lobesValues": "What was compared: every participant's means, first-second lobe.",
    "reference": "Geometric mean of the shrunken correlations of all participants of the model, "
    "whatever their group and session: where the tangent space touches.",
    "participants": "Coordinates in tangent space, log(G^-1/2 C G^-1/2), G the reference: the "
    "rows of every participant's matrix, one participant below the other.",
}
_P = {
    "p_permutation": {"Description": "p from resampling, not corrected."},
    "p_fdr": {"Description": "p adjusted for the false discovery rate."},
    "p_fwe": {"Description": "p from resampling, family-wise over all rows tested."},
}
_OF_EDGES = {
    "p_fwe": {"Description": "p family-wise over all connections (largest |z|)."},
    "p_extent": {"Description": "p of the component by its number of connections."},
    "p_intensity": {"Description": "p of the component by its intensity."},
    "p_tfnbs": {"Description": "p of the threshold-free network-based statistic."},
}
_COMPONENTS = {
    "component": {"Description": "Number of the component, negative for negative values."},
    "n_nodes": {"Description": "Parcels in it."},
    "n_edges": {"Description": "Connections in it: its extent."},
    "intensity": {"Description": "Sum over connections of |z| above the forming threshold."},
    "p_extent": {"Description": "p family-wise, by extent."},
    "p_intensity": {"Description": "p family-wise, by intensity."},
    "peak_node_1": {"Description": "First parcel of the connection with the largest |z|."},
    "peak_node_2": {"Description": "Second parcel of it."},
    "peak_z": {"Description": "z there."},
}


def _table_columns(key: str, size: str) -> Mapping[str, Any]:
    """Return what sidecars say of the columns of a table."""
    by_formula = {name: told for name, told in TESTED.items() if name != "p_permutation"}
    by_formula |= size_columns(size)
    if key == "components":
        return _COMPONENTS
    if key == "edges":
        ends = {f"node_{end}": {"Description": "Parcel."} for end in (1, 2)}
        ends |= {f"network_{end}": {"Description": "Network of the parcel."} for end in (1, 2)}
        own = {"component": {"Description": "Number of its component, 0 for none."}}
        return ends | own | by_formula | _P | _OF_EDGES
    if key in ("networks", "lobes"):
        ends = {f"set_{end}": {"Description": key[:-1].capitalize() + "."} for end in (1, 2)}
        pairs = {"n_pairs": {"Description": "Connections behind the mean."}}
        return ends | pairs | by_formula | _P
    is_node = {"node": {"Description": "Parcel of the row."}} if key == "participants" else {}
    return WHO | is_node


def _paths(design: MapDesign, model: str) -> Iterator[tuple[str, str]]:
    """Yield key and path of everything that is written."""
    names: dict[str, Any] = design.entities
    result = design.result
    several = len(result.contrasts) > 1 or len(result.responses) > 1
    yield "effect", naming.group_matrix(model, stat="effect", **names)
    yield "statistic", naming.group_matrix(model, stat="f" if several else "t", **names)
    yield "z", naming.group_matrix(model, stat="z", **names)
    for key, desc in P_VALUES.items():
        yield key, naming.group_matrix(model, stat="p", desc=desc, **names)
    yield "qcfc", naming.group_matrix(model, stat="r", desc="qcfc", **names)
    yield "label", naming.group_matrix(model, stat="label", **names)
    yield "components", naming.group_table(model, "clusters", desc="components", **names)
    for key in ("edges", "networks", "lobes", "networksValues", "lobesValues"):
        yield key, naming.group_table(model, "roi", desc=key, **names)
    if design.compared.measure == TANGENT:
        for key in ("reference", "participants"):
            yield key, naming.group_matrix(model, desc=key, **names)


def matrix_stage(design: MapDesign, model: str, place: Place, settings: Settings) -> Stage:
    """Return what the comparison of the matrices of one atlas writes."""
    result = design.result
    seed, n_permutations = settings.run.random_seed, settings.group.n_permutations
    stamp = fingerprint(
        data=design.fingerprint,
        measure=design.compared.measure,
        random_seed=seed,
        n_permutations=n_permutations,
        version=VERSION,
    )
    files = [one.path for one in result.inputs]
    files.append(str(Path(place.output_dir, design_path(design, model))))
    about: dict[str, object] = {
        "Contrast": result.title,
        "NumberOfParticipants": result.counts,
        "RelationshipMeasure": design.compared.measure,
        "ResamplingsRequested": n_permutations,
        "RandomSeed": seed,
        "Sources": [bids_uri(file, place.output_dir, place.bids_dir) for file in files],
        "Fingerprint": stamp,
    }
    unit = UNITS.get(design.compared.measure, FISHER_Z)
    products = tuple(
        Product(
            key=key,
            path=path,
            metadata={
                "Description": WORDS[key].format(unit=unit),
                **({} if "_stat-" in path or key == "reference" else told),
                **about,
            },
        )
        for key, path in _paths(design, model)
        for told in [_table_columns(key, result.size)]
    )
    names: dict[str, Any] = design.entities
    figures = tuple(naming.group_figure(model, what, **names) for what in FIGURES)
    return Stage(fingerprint=stamp, products=products, figures=figures)


def init_matrix_model_wf(
    design: MapDesign,
    stage: Stage,
    model: str,
    template: Template,
    place: Place,
    settings: Settings,
) -> pe.Workflow:
    """Build the comparison of the matrices of one atlas."""
    workflow = pe.Workflow(name=node_name("model", *design.key))
    result, atlas = design.result, asked_atlas(design, settings)
    compare = pe.Node(
        GroupMatrices(
            in_files=[one.path for one in result.inputs],
            mean_fd_mm=[one.mean_fd_mm for one in result.inputs],
            measure=design.compared.measure,
            atlas=atlas,
            space=place.space,
            **design_files(design, model, place),
            random_seed=settings.run.random_seed,
            n_permutations=settings.group.n_permutations,
            n_threads=settings.run.n_cpus,
            version=VERSION,
        ),
        name="matrices",
        n_procs=settings.run.n_cpus,
        mem_gb=2,
    )
    words: dict[str, Any] = {
        "atlas": atlas,
        "title": f"{design.compared.name}: {result.title}",
        "subtitle": f"{count_words(result)}, {design.strategy}",
        "base_dir": place.output_dir,
    }
    square = pe.Node(
        PlotGroupEdges(path=stage.figures[0], **words), name="figure_edges", mem_gb=0.5
    )
    brain = pe.Node(
        PlotConnectome(path=stage.figures[1], space=place.space, template=template.brain, **words),
        name="figure_connectome",
        mem_gb=0.5,
    )
    sink = stage_sink(stage, place, name="ds_matrices")
    for node in (sink, square, brain):
        workflow.connect([(compare, node, [("manifest", "manifest")])])
    return workflow
