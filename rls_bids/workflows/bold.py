"""The BOLD graph of one run: from the raw series to standard space in one interpolation."""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from rls_bids.interfaces.bold import EstimateMotion, ResampleSeries
from rls_bids.interfaces.coregistration import Coregister
from rls_bids.interfaces.denoise import ComputeConfounds
from rls_bids.interfaces.fieldmap import EstimateField
from rls_bids.interfaces.registration import T1wPoints
from rls_bids.interfaces.sbref import PlaceReference
from rls_bids.numerics import confounds, echoes, realign, resample, slicetiming
from rls_bids.records import BoldRun, FieldMap
from rls_bids.resources.grids import native_size
from rls_bids.settings import Settings
from rls_bids.workflows.bold_outputs import add_outputs
from rls_bids.workflows.metadata import ANAT_VERSION, COREGISTRATION_VERSION, FIELDMAP_VERSION
from rls_bids.workflows.nuisance import motion_filter_of
from rls_bids.workflows.stages import Place, Stage

ANATOMY = ("t1w", "mask", "dseg", "GM", "WM", "WM_std", "CSF_std")
OUTPUTS = ("series", "mask", "tsnr", "confounds", "coregistration", "local_series", "local_mask")
RESAMPLING_VERSION = "-".join(
    (resample.VERSION, slicetiming.VERSION, echoes.VERSION, FIELDMAP_VERSION)
)


def init_bold_wf(
    bold_run: BoldRun,
    stage: Stage,
    place: Place,
    settings: Settings,
    *,
    name: str,
    local: Place | None = None,
) -> pe.Workflow:
    """Build the preprocessing graph of one run.

    Inputs
    ------
    t1w, mask, dseg, GM, WM : the anatomy; WM_std, CSF_std : tissues on the standard grid
    points, std_mask : where each standard voxel lies in the T1w image
    local_points, local_std_mask : the same of the grid `local`, if it is another one

    Outputs
    -------
    local_series, local_mask : series on the grid of local measures
    series, mask, tsnr : masked standard-space series; confounds : table; coregistration : how it
        went, .json
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        IdentityInterface([*ANATOMY, "points", "std_mask", "local_points", "local_std_mask"]),
        name="inputnode",
    )
    outputnode = pe.Node(
        IdentityInterface(list(OUTPUTS)),
        name="outputnode",
    )
    motion, coregister, resampling, nuisance = _make_nodes(bold_run, settings)
    workflow.connect(
        [
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
            (coregister, outputnode, [("metadata", "coregistration")]),
        ]
    )
    if bold_run.sbref:
        _add_reference(workflow, bold_run.sbref)
    else:
        workflow.connect(motion, "boldref", coregister, "boldref")
    if bold_run.fieldmap:
        _add_fieldmap(workflow, bold_run.fieldmap, bold_run.bold)
    if settings.bold.in_t1w_space:
        _add_t1w_space(workflow, bold_run, settings)
    if local:
        finer = resampling
        if local.size_mm != place.size_mm:
            points = [("local_points", "points"), ("local_std_mask", "std_mask")]
            own = (inputnode, points)
            finer = _add_resampling(workflow, bold_run, settings, own, name="local")
        fields = [("series", "local_series"), ("mask", "local_mask")]
        workflow.connect([(finer, outputnode, fields)])
    add_outputs(workflow, stage, place, bold_run, settings.denoise)
    return workflow


def _add_reference(workflow: pe.Workflow, sbref: str) -> None:
    """Coregister the single-band reference, aligned to the mean, instead of the mean."""
    reference = pe.Node(
        PlaceReference(sbref=sbref, version=COREGISTRATION_VERSION), name="reference", mem_gb=1
    )
    workflow.connect(workflow.get_node("head_motion"), "boldref", reference, "boldref")
    workflow.connect(reference, "boldref", workflow.get_node("coregistration"), "boldref")


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
            direction=fieldmap.image_direction,
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
    workflow.connect(
        [
            (motion, field, [("boldref", "boldref")]),
            (field, coregister, [("field", "field"), ("reference", "reference")]),
            (coregister, resampling, [("shift", "shift")]),
        ]
    )


def _add_t1w_space(workflow: pe.Workflow, bold_run: BoldRun, settings: Settings) -> None:
    """Resample the raw series to the axes of the T1w image, too, in one interpolation."""
    points = pe.Node(
        T1wPoints(size_mm=native_size([bold_run.voxel_size_mm]), version=ANAT_VERSION),
        name="t1w_points",
    )
    workflow.connect(workflow.get_node("inputnode"), "mask", points, "mask")
    fields = [("points", "points"), ("std_mask", "std_mask")]
    _add_resampling(workflow, bold_run, settings, (points, fields), name="t1w")


def _add_resampling(
    workflow: pe.Workflow,
    bold_run: BoldRun,
    settings: Settings,
    points: tuple[pe.Node, list[tuple[str, str]]],
    *,
    name: str,
) -> pe.Node:
    """Take the raw series to the points of another grid, too."""
    resampling = _resampling(bold_run, settings, name=f"resampling_{name}")
    workflow.connect(
        [
            (points[0], resampling, points[1]),
            (workflow.get_node("head_motion"), resampling, [("matrices", "matrices")]),
            (
                workflow.get_node("coregistration"),
                resampling,
                [
                    ("t1w_to_boldref", "t1w_to_boldref"),
                    *([("shift", "shift")] if bold_run.fieldmap else []),
                ],
            ),
        ]
    )
    return resampling


def _resampling(bold_run: BoldRun, settings: Settings, *, name: str) -> pe.Node:
    """Return the node that takes a raw series to the points of a grid."""
    return pe.Node(
        ResampleSeries(
            in_file=bold_run.bold,
            dummy_scans=bold_run.dummy_scans,
            echoes=[path for path, _ in bold_run.echoes],
            echo_times=[time for _, time in bold_run.echoes],
            repetition_time=bold_run.repetition_time,
            slice_timing=list(bold_run.slice_timing or ()),
            slice_encoding_direction=bold_run.slice_encoding_direction,
            direction=bold_run.fieldmap.direction if bold_run.fieldmap else "j",
            use_jacobian="fmap-jacobian" not in settings.bold.ignore,
            version=RESAMPLING_VERSION,
        ),
        name=name,
        mem_gb=3,
    )


def _make_nodes(bold_run: BoldRun, settings: Settings) -> tuple[pe.Node, ...]:
    """Return the nodes in the order of the methods section."""
    motion = pe.Node(
        EstimateMotion(
            in_file=bold_run.bold, dummy_scans=bold_run.dummy_scans, version=realign.VERSION
        ),
        name="head_motion",
        mem_gb=2,
    )
    coregister = pe.Node(
        Coregister(version=COREGISTRATION_VERSION),
        name="coregistration",
        mem_gb=1,
    )
    nuisance = pe.Node(
        ComputeConfounds(
            repetition_time=bold_run.repetition_time,
            fd_threshold_mm=settings.denoise.fd_threshold_mm,
            motion_filter=motion_filter_of(settings.denoise),
            version=confounds.VERSION,
        ),
        name="confounds",
        mem_gb=2,
    )
    return motion, coregister, _resampling(bold_run, settings, name="resampling"), nuisance
