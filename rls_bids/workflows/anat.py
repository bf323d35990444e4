"""The anatomical graph: T1w image to brain, tissues and standard space."""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from rls_bids.dataset.description import bids_uri
from rls_bids.interfaces.anat import BiasCorrect, ExtractBrain, SegmentTissue
from rls_bids.interfaces.figures import PlotAnatomy
from rls_bids.interfaces.heads import AverageHeads
from rls_bids.interfaces.registration import NormalizeToTemplate, ResampleToStandard
from rls_bids.records import Anatomy, Template
from rls_bids.settings import AnatSettings, RunSettings
from rls_bids.workflows.metadata import ANAT_VERSION, AVERAGE_VERSION
from rls_bids.workflows.sinks import add_figure_sink, add_sink
from rls_bids.workflows.stages import TISSUES, Place, Stage

FIELDS = (
    "t1w",
    "mask",
    "dseg",
    *TISSUES,
    "t1w_to_std",
    "std_to_t1w",
    "mask_std",
    "GM_std",
    "WM_std",
    "CSF_std",
    "dseg_std",
)


def init_finished_anat_wf(stage: Stage, place: Place, name: str) -> pe.Workflow:
    """Offer the outputs of a finished anatomical stage from the output directory."""
    workflow = pe.Workflow(name=name)
    outputnode = pe.Node(IdentityInterface(fields=list(FIELDS)), name="outputnode")
    for field in FIELDS:
        setattr(outputnode.inputs, field, f"{place.output_dir}/{stage.product(field).path}")
    workflow.add_nodes([outputnode])
    return workflow


def init_anat_wf(
    anatomy: Anatomy,
    stage: Stage,
    template: Template,
    place: Place,
    anat: AnatSettings,
    run: RunSettings,
    *,
    name: str,
) -> pe.Workflow:
    """Build the anatomical graph of one T1w image.

    Outputs
    -------
    t1w, mask, dseg, GM, WM, CSF : files in T1w space
    mask_std, GM_std, WM_std, CSF_std, dseg_std : files on the standard grid
    t1w_to_std, std_to_t1w : composite transforms
    """
    workflow = pe.Workflow(name=name)
    bias, brain, tissue, normalise, standard = _make_nodes(anatomy, template, place, anat, run)
    outputnode = pe.Node(IdentityInterface(fields=list(FIELDS)), name="outputnode")
    workflow.connect(
        [
            (bias, brain, [("out_file", "in_file")]),
            (bias, tissue, [("out_file", "in_file")]),
            (brain, tissue, [("out_mask", "mask")]),
            (bias, normalise, [("out_file", "in_file")]),
            (brain, normalise, [("out_mask", "mask")]),
            (normalise, standard, [("t1w_to_std", "transform")]),
            (bias, standard, [("out_file", "t1w")]),
            (brain, standard, [("out_mask", "mask")]),
            (tissue, standard, [(key, key) for key in ("dseg", *TISSUES)]),
            (bias, outputnode, [("out_file", "t1w")]),
            (brain, outputnode, [("out_mask", "mask")]),
            (tissue, outputnode, [(key, key) for key in ("dseg", *TISSUES)]),
            (normalise, outputnode, [(key, key) for key in ("t1w_to_std", "std_to_t1w")]),
            (
                standard,
                outputnode,
                [(f"{key}_std", f"{key}_std") for key in ("mask", "dseg", *TISSUES)],
            ),
        ]
    )
    if anatomy.others:
        _add_average(workflow, anatomy, place)
    _add_outputs(workflow, stage, place, template)
    return workflow


def _add_average(workflow: pe.Workflow, anatomy: Anatomy, place: Place) -> None:
    """Begin with the average of several images instead of the one."""
    paths = [anatomy.t1w, *anatomy.others]
    average = pe.Node(
        AverageHeads(
            in_files=paths,
            uris=[bids_uri(path, place.output_dir, place.bids_dir) for path in paths],
            version=AVERAGE_VERSION,
        ),
        name="average",
        mem_gb=2,
    )
    workflow.connect(average, "out_file", workflow.get_node("bias_correction"), "in_file")
    workflow.connect(average, "metadata", workflow.get_node("brain_extraction"), "about")


def _make_nodes(
    anatomy: Anatomy, template: Template, place: Place, anat: AnatSettings, run: RunSettings
) -> tuple[pe.Node, ...]:
    """Return the nodes in the order of the methods section."""
    bias = pe.Node(BiasCorrect(sloppy=anat.sloppy, version=ANAT_VERSION), name="bias_correction")
    if not anatomy.others:
        bias.inputs.in_file = anatomy.t1w
    brain = pe.Node(
        ExtractBrain(mode=anat.skull_strip, n_threads=run.omp_nthreads, version=ANAT_VERSION),
        name="brain_extraction",
        mem_gb=1,
    )
    tissue = pe.Node(
        SegmentTissue(sloppy=anat.sloppy, version=ANAT_VERSION),
        name="tissue_segmentation",
        mem_gb=1.5,
    )
    normalise = pe.Node(
        NormalizeToTemplate(
            template=template.brain,
            sloppy=anat.sloppy,
            random_seed=run.random_seed,
            version=ANAT_VERSION,
        ),
        name="normalisation",
        mem_gb=3,
    )
    standard = pe.Node(
        ResampleToStandard(
            space=place.space,
            resolution=place.size_mm,
            version=ANAT_VERSION,
        ),
        name="standard_space",
        mem_gb=1,
    )
    return bias, brain, tissue, normalise, standard


def _add_outputs(workflow: pe.Workflow, stage: Stage, place: Place, template: Template) -> None:
    """Write every product and figure of the stage."""
    node = {each: workflow.get_node(each) for each in workflow.list_node_names()}
    sources = {
        "t1w": ("bias_correction", "out_file"),
        "mask": ("brain_extraction", "out_mask"),
        "dseg": ("tissue_segmentation", "dseg"),
        **{tissue: ("tissue_segmentation", tissue) for tissue in TISSUES},
        "t1w_to_std": ("normalisation", "t1w_to_std"),
        "std_to_t1w": ("normalisation", "std_to_t1w"),
        **{
            f"{key}_std": ("standard_space", f"{key}_std")
            for key in ("t1w", "mask", "dseg", *TISSUES)
        },
        "modulated": ("standard_space", "modulated"),
    }
    for key, (source, field) in sources.items():
        sink = add_sink(workflow, stage.product(key), place, node[source], field)
        if key in {"t1w", "t1w_std"}:
            workflow.connect(node["brain_extraction"], "metadata", sink, "metadata_file")
        elif "average" in node:
            workflow.connect(node["average"], "metadata", sink, "metadata_file")
    figures = pe.Node(PlotAnatomy(template=template.brain), name="figures")
    workflow.connect(
        [
            (node["bias_correction"], figures, [("out_file", "t1w")]),
            (node["brain_extraction"], figures, [("out_mask", "mask")]),
            (node["tissue_segmentation"], figures, [("dseg", "dseg")]),
            (node["standard_space"], figures, [("t1w_std", "t1w_std")]),
        ]
    )
    for path, field in zip(stage.figures, ("brain_mask", "tissue", "normalization"), strict=True):
        add_figure_sink(workflow, path, place, figures, field)
