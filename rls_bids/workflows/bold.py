"""The BOLD graph of one run: from the raw series to standard space in one interpolation."""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from rls_bids.interfaces.bold import EstimateMotion, ResampleSeries
from rls_bids.interfaces.coregistration import Coregister
from rls_bids.interfaces.denoise import ComputeConfounds
from rls_bids.interfaces.fieldmap import EstimateField
from rls_bids.interfaces.figures import PlotCoregistration, PlotDistortion, PlotMotion
from rls_bids.numerics import confounds, echoes, realign, resample, slicetiming
from rls_bids.records import BoldRun, FieldMap
from rls_bids.settings import DenoiseSettings
from rls_bids.workflows.metadata import COREGISTRATION_VERSION, FIELDMAP_VERSION
from rls_bids.workflows.sinks import add_figure_sink, add_series_sink, add_sink
from rls_bids.workflows.stages import Place, Stage

RESAMPLING_VERSION = "-".join(
    (resample.VERSION, slicetiming.VERSION, echoes.VERSION, FIELDMAP_VERSION)
)


def init_bold_wf(
    bold_run: BoldRun,
    stage: Stage,
    place: Place,
    denoise: DenoiseSettings,
    *,
    name: str,
) -> pe.Workflow:
    """Build the preprocessing graph of one run.

    Inputs
    ------
    t1w, mask, dseg, GM, WM : the anatomy; WM_std, CSF_std : tissues on the standard grid
    points, std_mask : where each standard voxel lies in the T1w image

    Outputs
    -------
    series, mask, tsnr : masked standard-space series; confounds : table
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        IdentityInterface(
            ["t1w", "mask", "dseg", "GM", "WM", "WM_std", "CSF_std", "points", "std_mask"]
        ),
        name="inputnode",
    )
    outputnode = pe.Node(
        IdentityInterface(["series", "mask", "tsnr", "confounds"]), name="outputnode"
    )
    motion, coregister, resampling, nuisance = _make_nodes(bold_run, denoise)
    workflow.connect(
        [
            (motion, coregister, [("boldref", "boldref")]),
            (
                inputnode,
                coregister,
                [("t1w", "t1w"), ("mask", "mask"), ("GM", "grey"), ("WM", "white")],
            ),
            (motion, resampling, [("matrices", "matrices")]),
            (coregister, resampling, [("t1w_to_boldref", "t1w_to_boldref")]),
            (inputnode, resampling, [("points", "points"), ("std_mask", "std_mask")]),
            (resampling, nuisance, [("series", "series"), ("mask", "mask")]),
            (motion, nuisance, [("parameters", "parameters")]),
            (inputnode, nuisance, [("WM_std", "white_matter"), ("CSF_std", "csf")]),
            (resampling, outputnode, [("series", "series"), ("mask", "mask"), ("tsnr", "tsnr")]),
            (nuisance, outputnode, [("confounds", "confounds")]),
        ]
    )
    if bold_run.fieldmap:
        _add_fieldmap(workflow, bold_run.fieldmap, bold_run.bold)
    _add_outputs(workflow, stage, place, bold_run, denoise)
    return workflow


def _add_fieldmap(workflow: pe.Workflow, fieldmap: FieldMap, bold: str) -> None:
    """Bring the field in Hz to coregistration, and the shifts that it makes to resampling."""
    motion, coregister, resampling = (
        workflow.get_node(name) for name in ("head_motion", "coregistration", "resampling")
    )
    field = pe.Node(
        EstimateField(
            kind=fieldmap.kind,
            images=list(fieldmap.images),
            echo_times=list(fieldmap.echo_times_s),
            units=fieldmap.units or "Hz",
            is_bold_first=fieldmap.images[0] == bold,
            direction=fieldmap.direction,
            line_times=list(fieldmap.image_line_times_s),
            version=FIELDMAP_VERSION,
        ),
        name="field",
        mem_gb=1,
    )
    if fieldmap.magnitude:
        field.inputs.magnitude = fieldmap.magnitude
    coregister.inputs.direction = fieldmap.direction
    coregister.inputs.line_time = fieldmap.line_time_s
    resampling.inputs.direction = fieldmap.direction
    workflow.connect(
        [
            (motion, field, [("boldref", "boldref")]),
            (field, coregister, [("field", "field"), ("reference", "reference")]),
            (coregister, resampling, [("shift", "shift")]),
        ]
    )


def _make_nodes(bold_run: BoldRun, denoise: DenoiseSettings) -> tuple[pe.Node, ...]:
    """Return the nodes in the order of the methods section."""
    common = {"in_file": bold_run.bold, "dummy_scans": bold_run.dummy_scans}
    motion = pe.Node(
        EstimateMotion(**common, version=realign.VERSION), name="head_motion", mem_gb=2
    )
    coregister = pe.Node(
        Coregister(version=COREGISTRATION_VERSION),
        name="coregistration",
        mem_gb=1,
    )
    resampling = pe.Node(
        ResampleSeries(
            **common,
            echoes=[path for path, _ in bold_run.echoes],
            echo_times=[time for _, time in bold_run.echoes],
            repetition_time=bold_run.repetition_time,
            slice_timing=list(bold_run.slice_timing or ()),
            slice_encoding_direction=bold_run.slice_encoding_direction,
            version=RESAMPLING_VERSION,
        ),
        name="resampling",
        mem_gb=3,
    )
    nuisance = pe.Node(
        ComputeConfounds(
            repetition_time=bold_run.repetition_time,
            fd_threshold_mm=denoise.fd_threshold_mm,
            version=confounds.VERSION,
        ),
        name="confounds",
        mem_gb=2,
    )
    return motion, coregister, resampling, nuisance


def _add_outputs(
    workflow: pe.Workflow, stage: Stage, place: Place, bold_run: BoldRun, denoise: DenoiseSettings
) -> None:
    """Write every product and figure of the stage."""
    node = {each: workflow.get_node(each) for each in workflow.list_node_names()}
    sources = {
        "boldref": ("coregistration", "boldref"),
        "hmc_xfm": ("head_motion", "itk_transforms"),
        "boldref_to_t1w_xfm": ("coregistration", "boldref_to_t1w"),
        "boldref_std": ("resampling", "boldref_std"),
        "bold_mask_std": ("resampling", "mask"),
        "confounds": ("confounds", "confounds"),
        "outliers": ("confounds", "outliers"),
    }
    sinks = {
        key: add_sink(workflow, stage.product(key), place, node[source], field)
        for key, (source, field) in sources.items()
    }
    workflow.connect(node["confounds"], "metadata", sinks["confounds"], "metadata_file")
    workflow.connect(
        node["coregistration"], "metadata", sinks["boldref_to_t1w_xfm"], "metadata_file"
    )
    if "preproc_bold" in stage:
        resampling = node["resampling"]
        add_series_sink(
            workflow,
            stage.product("preproc_bold"),
            place,
            (resampling, "series"),
            (resampling, "mask"),
        )
    coregistration = pe.Node(PlotCoregistration(), name="figure_coregistration")
    motion = pe.Node(
        PlotMotion(
            repetition_time=bold_run.repetition_time, fd_threshold_mm=denoise.fd_threshold_mm
        ),
        name="figure_motion",
    )
    workflow.connect(
        [
            (
                node["inputnode"],
                coregistration,
                [("t1w", "t1w"), ("mask", "mask"), ("dseg", "dseg")],
            ),
            (node["coregistration"], coregistration, [("boldref_in_t1w", "boldref")]),
            (node["confounds"], motion, [("confounds", "confounds")]),
        ]
    )
    add_figure_sink(workflow, stage.figures[0], place, coregistration, "coregistration")
    add_figure_sink(workflow, stage.figures[1], place, motion, "motion")
    if bold_run.fieldmap:
        distortion = pe.Node(PlotDistortion(), name="figure_distortion")
        workflow.connect(
            [
                (node["inputnode"], distortion, [("mask", "mask"), ("dseg", "dseg")]),
                (
                    node["coregistration"],
                    distortion,
                    [("boldref_in_t1w", "boldref"), ("distorted_in_t1w", "distorted")],
                ),
            ]
        )
        add_figure_sink(workflow, stage.figures[2], place, distortion, "distortion")
