"""Comparisons of maps: what each writes, and its graph."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from rls_bids.dataset import naming
from rls_bids.dataset.description import bids_uri, fingerprint
from rls_bids.dataset.designs import Design
from rls_bids.dataset.group import MapDesign, design_path
from rls_bids.interfaces.group import FitGroupMaps, map_key, map_list
from rls_bids.interfaces.group_figures import PlotGroupMap
from rls_bids.numerics import (
    effects,
    exchangeability,
    glm,
    mapfit,
    permutation,
    resample,
    sizes,
    spheres,
    statistic,
    tail,
    tfce,
    voxelwise,
    welch,
)
from rls_bids.records import Template
from rls_bids.settings import Settings
from rls_bids.workflows.designs import count_words, design_files
from rls_bids.workflows.sinks import node_name, stage_sink
from rls_bids.workflows.stages import Place, Product, Stage

FIT_VERSION = ".".join(each.VERSION for each in (glm, mapfit, effects, sizes, welch))
RESAMPLING_VERSION = ".".join(
    each.VERSION for each in (permutation, statistic, exchangeability, tfce, tail)
)
ADJUSTED_VERSION = ".".join(each.VERSION for each in (voxelwise, resample, spheres))
FIGURES = ("zmap", "corrected")
MAXIMA_WORDS = (
    "The largest value of each resampling, the data as they are first: |z| of a voxel, extent and "
    "mass of a cluster, TFCE. Maps with the same resamplings (Set) can be corrected together."
)
NEUROVAULT = {"t": "T", "F": "F", "z": "Z", "effect": "U", "variance": "V"}
RESOURCE_GB = (1.0, 0.5)
"""Memory of a comparison: at least, and more for each thread."""


def statistic_of(result: Design) -> str:
    """Return whether a design gives t (also Welch's) or F."""
    return "t" if len(result.contrasts) == len(result.responses) == 1 else "F"


def fit_stage(design: MapDesign, model: str, place: Place, settings: Settings) -> Stage:
    """Return what one comparison writes: maps, the maxima of the resamplings, two figures."""
    result, group = design.result, settings.group
    stamp = fingerprint(
        data=design.fingerprint,
        correction=group.correction,
        cluster_threshold=group.cluster_threshold,
        resampling=_resampling(settings),
        version=fit_version(design),
    )
    told = about(design, model, place, stamp) | asked(settings)
    grid = {"space": place.space, "res": design.compared.resolution}
    names: dict[str, Any] = {**design.entities, **grid}
    products = [
        Product(
            key=map_key(stat, desc),
            path=naming.group_map(model, stat, desc=desc or None, **names),
            metadata={
                "Description": text,
                **told,
                **of_image(design, place),
                **_neurovault(stat, design, place),
            },
        )
        for stat, desc, text in map_list(statistic_of(result), result.size, group.correction)
    ]
    if group.correction != "fdr":
        path = naming.group_table(model, "maxima", **design.entities)
        metadata = {"Description": MAXIMA_WORDS, **told}
        products.append(Product(key="maxima", path=path, metadata=metadata))
    figures = tuple(naming.group_figure(model, what, **names) for what in FIGURES)
    return Stage(fingerprint=stamp, products=tuple(products), figures=figures)


def fit_version(design: MapDesign) -> str:
    """Return the version of what estimates a comparison."""
    return f"{FIT_VERSION}.{ADJUSTED_VERSION}" if design.adjustment else FIT_VERSION


def _resampling(settings: Settings) -> list[object]:
    """Return what changes resamplings; nothing where there are none."""
    group = settings.group
    if group.correction == "fdr":
        return []
    return [group.n_permutations, settings.run.random_seed, RESAMPLING_VERSION]


def asked(settings: Settings) -> dict[str, object]:
    """Return how maps are corrected, for sidecars."""
    group = settings.group
    told: dict[str, object] = {
        "Correction": group.correction,
        "ClusterFormingP": group.cluster_threshold,
    }
    if group.correction == "fdr":
        return told
    seed = settings.run.random_seed
    return {**told, "ResamplingsRequested": group.n_permutations, "RandomSeed": seed}


def about(design: MapDesign, model: str, place: Place, stamp: str) -> dict[str, object]:
    """Return what all sidecars of a comparison say."""
    result = design.result
    files = [one.path for one in result.inputs]
    files += dict.fromkeys(design.adjustment.images) if design.adjustment else ()
    files.append(str(Path(place.output_dir, design_path(design, model))))
    return {
        "Contrast": result.title,
        "NullHypothesis": hypothesis_of(design),
        "NumberOfParticipants": result.counts or {"all": len(result.design)},
        "Scale": design.compared.scale or None,
        "VarianceGroups": sorted(set(result.variance_groups)),
        "Sources": [bids_uri(file, place.output_dir, place.bids_dir) for file in files],
        "Fingerprint": stamp,
    }


def hypothesis_of(design: MapDesign) -> str:
    """Return the null hypothesis of a comparison of maps, covariates that are images included."""
    words = design.adjustment.words if design.adjustment else ""
    return f"{design.result.hypothesis} {words}".strip()


def of_image(design: MapDesign, place: Place) -> dict[str, object]:
    """Return what sidecars of images say of the grid."""
    return {
        "SpatialReference": place.space,
        "Resolution": f"{design.size_mm} mm isotropic",
        "SkullStripped": True,
    }


def _neurovault(stat: str, design: MapDesign, place: Place) -> dict[str, object]:
    """Return what NeuroVault asks for, of maps without threshold."""
    if stat not in NEUROVAULT:
        return {}
    told = json.loads(design.result.inputs[0].processing)
    return {
        "NeuroVault": {
            "map_type": NEUROVAULT[stat],
            "modality": "fMRI-BOLD",
            "analysis_level": "G",
            "is_thresholded": False,
            "number_of_subjects": len(design.result.design),
            "target_template_image": place.space,
            "contrast_definition": f"{design.compared.name}: {design.result.title}",
            "smoothness_fwhm": told.get("SmoothingFwhmMm"),
            "cognitive_paradigm_cogatlas": "rest",
        }
    }


def _covariates(design: MapDesign, place: Place) -> dict[str, Any]:
    """Return the inputs by which a node reads images as covariates; none without."""
    own = design.adjustment
    if own is None:
        return {}
    told = json.loads(design.result.inputs[0].processing)
    return {
        "voxel_covariates": list(own.voxelwise),
        "grey_files": list(own.images),
        "smoothing_fwhm_mm": float(told.get("SmoothingFwhmMm") or 0.0),
        "measured_seeds": [asdict(seed) for seed in own.seeds],
        "space": place.space,
    }


def init_map_model_wf(
    design: MapDesign,
    stage: Stage,
    model: str,
    template: Template,
    place: Place,
    settings: Settings,
    n_threads: int,
) -> pe.Workflow:
    """Build the comparison of one seed or local measure."""
    workflow = pe.Workflow(name=node_name("model", *design.key))
    result, compared, group = design.result, design.compared, settings.group
    fit = pe.Node(
        FitGroupMaps(
            in_files=[one.path for one in result.inputs],
            **design_files(design, model, place),
            correction=group.correction,
            cluster_threshold=group.cluster_threshold,
            n_permutations=group.n_permutations,
            random_seed=settings.run.random_seed,
            n_threads=n_threads,
            **_covariates(design, place),
            version=f"{fit_version(design)}-{RESAMPLING_VERSION}",
        ),
        name="test",
        n_procs=n_threads,
        mem_gb=RESOURCE_GB[0] + n_threads * RESOURCE_GB[1],
    )
    plot = pe.Node(
        PlotGroupMap(
            template=template.brain,
            correction=group.correction,
            title=f"{compared.name}: {result.title}",
            subtitle=f"{count_words(result)}, {design.strategy}",
            seeds=[asdict(seed) for seed in compared.seeds],
            base_dir=place.output_dir,
            whole_path=stage.figures[0],
            corrected_path=stage.figures[1],
        ),
        name="figure",
        mem_gb=1,
    )
    for node in (stage_sink(stage, place, name="ds_maps"), plot):
        workflow.connect([(fit, node, [("manifest", "manifest")])])
    return workflow
