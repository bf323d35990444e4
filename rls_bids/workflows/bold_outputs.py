"""What preprocessing of a run writes: its products with their sidecars, and its figures."""

from nipype.pipeline import engine as pe

from rls_bids.interfaces.figures import PlotCoregistration, PlotDistortion, PlotMotion
from rls_bids.records import BoldRun
from rls_bids.settings import DenoiseSettings
from rls_bids.workflows.sinks import add_figure_sink, add_series_sink, add_sink
from rls_bids.workflows.stage import Place, Stage

GRIDS = ("", "_t1w", "_local")
"""Ends of the keys of images, and of the nodes that make them."""


def add_outputs(
    workflow: pe.Workflow, stage: Stage, place: Place, bold_run: BoldRun, denoise: DenoiseSettings
) -> None:
    """Write every product and figure of the stage."""
    node = {each: workflow.get_node(each) for each in workflow.list_node_names()}
    sources = {
        "boldref": ("coregistration", "boldref"),
        "hmc_xfm": ("head_motion", "itk_transforms"),
        "boldref_to_t1w_xfm": ("coregistration", "boldref_to_t1w"),
        "confounds": ("confounds", "confounds"),
        "outliers": ("confounds", "outliers"),
    }
    for suffix in GRIDS:
        if f"boldref_std{suffix}" in stage:
            made_by = f"resampling{suffix}" if f"resampling{suffix}" in node else "resampling"
            sources[f"boldref_std{suffix}"] = (made_by, "boldref_std")
            sources[f"bold_mask_std{suffix}"] = (made_by, "mask")
    sinks = {
        key: add_sink(workflow, stage.product(key), place, node[source], field)
        for key, (source, field) in sources.items()
    }
    workflow.connect(node["confounds"], "metadata", sinks["confounds"], "metadata_file")
    workflow.connect(
        node["coregistration"], "metadata", sinks["boldref_to_t1w_xfm"], "metadata_file"
    )
    if "reference" in node:
        workflow.connect(node["reference"], "metadata", sinks["boldref"], "metadata_file")
    for suffix in GRIDS:
        if f"preproc_bold{suffix}" in stage:
            resampling, series = (
                node.get(f"resampling{suffix}", node["resampling"]),
                stage.product(f"preproc_bold{suffix}"),
            )
            add_series_sink(workflow, series, place, (resampling, "series"), (resampling, "mask"))
    _add_figures(workflow, stage, place, bold_run, denoise)


def _add_figures(
    workflow: pe.Workflow, stage: Stage, place: Place, bold_run: BoldRun, denoise: DenoiseSettings
) -> None:
    """Draw coregistration, head motion and, where it was corrected, distortion."""
    inputnode, placed, nuisance = (
        workflow.get_node(name) for name in ("inputnode", "coregistration", "confounds")
    )
    coregistration = pe.Node(PlotCoregistration(), name="figure_coregistration")
    motion = pe.Node(
        PlotMotion(
            repetition_time=bold_run.repetition_time, fd_threshold_mm=denoise.fd_threshold_mm
        ),
        name="figure_motion",
    )
    anatomy = [(name, name) for name in ("t1w", "mask", "dseg")]
    workflow.connect(
        [
            (inputnode, coregistration, anatomy),
            (placed, coregistration, [("boldref_in_t1w", "boldref")]),
            (nuisance, motion, [("confounds", "confounds")]),
        ]
    )
    add_figure_sink(workflow, stage.figures[0], place, coregistration, "coregistration")
    add_figure_sink(workflow, stage.figures[1], place, motion, "motion")
    if bold_run.fieldmap:
        distortion = pe.Node(PlotDistortion(), name="figure_distortion")
        both = [("boldref_in_t1w", "boldref"), ("distorted_in_t1w", "distorted")]
        workflow.connect([(inputnode, distortion, anatomy[1:]), (placed, distortion, both)])
        add_figure_sink(workflow, stage.figures[2], place, distortion, "distortion")
