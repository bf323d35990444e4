"""The graphs of the second door: from another program's output to what denoising starts from."""

from dataclasses import replace

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from rls_bids.interfaces.figures import PlotMotion
from rls_bids.interfaces.prepared import LoadPrepared, PrepareTissues
from rls_bids.records import PreparedAnatomy, PreparedRun, Template
from rls_bids.settings import DenoiseSettings
from rls_bids.workflows.anat import FIELDS
from rls_bids.workflows.nuisance import motion_filter_of
from rls_bids.workflows.prepared_stages import PREPARED_VERSION
from rls_bids.workflows.sinks import add_figure_sink, add_series_sink, add_sink
from rls_bids.workflows.stages import TISSUES, Place, Stage


def init_prepared_anat_wf(anatomy: PreparedAnatomy, place: Place, *, name: str) -> pe.Workflow:
    """Offer what there is of another program's anatomy, in standard space only.

    Outputs
    -------
    t1w : T1w image in standard space
    GM_std, WM_std, CSF_std, dseg_std : on the output grid
        Undefined where the program left none; all others are.
    """
    workflow = pe.Workflow(name=name)
    outputnode = pe.Node(IdentityInterface(fields=list(FIELDS)), name="outputnode")
    workflow.add_nodes([outputnode])
    if anatomy.t1w:
        outputnode.inputs.t1w = anatomy.t1w
    if anatomy.tissues:
        tissues = pe.Node(
            PrepareTissues(
                **dict(zip(TISSUES, anatomy.tissues, strict=True)),
                space=place.space,
                resolution=place.size_mm,
                version=PREPARED_VERSION,
            ),
            name="tissues",
            mem_gb=0.5,
        )
        fields = [(f"{key}_std", f"{key}_std") for key in ("dseg", *TISSUES)]
        workflow.connect([(tissues, outputnode, fields)])
    return workflow


def init_prepared_wf(
    run: PreparedRun,
    stage: Stage,
    place: Place,
    local: Place | None,
    template: Template,
    denoise: DenoiseSettings,
    *,
    name: str,
) -> pe.Workflow:
    """Build the graph of one run that another program has preprocessed.

    Outputs
    -------
    series, mask, tsnr : masked standard-space series; confounds : table
    local_series, local_mask : the series on the grid `local` of local measures, if there is one
    """
    workflow = pe.Workflow(name=name)
    outputnode = pe.Node(
        IdentityInterface(["series", "mask", "tsnr", "confounds", "local_series", "local_mask"]),
        name="outputnode",
    )
    load = _load(run, place, template, denoise, name="preprocessed_series")
    if local:
        is_same = local.size_mm == place.size_mm
        given = replace(run, bold=run.local_bold, mask=run.local_mask)
        is_same = is_same and run.local_bold == run.bold
        own = load if is_same else _load(given, local, template, denoise, name="local_series")
        fields = [("series", "local_series"), ("mask", "local_mask")]
        workflow.connect([(own, outputnode, fields)])
    motion = pe.Node(
        PlotMotion(repetition_time=run.repetition_time, fd_threshold_mm=denoise.fd_threshold_mm),
        name="figure_motion",
    )
    handed = [(key, key) for key in ("series", "mask", "tsnr", "confounds")]
    workflow.connect([(load, outputnode, handed), (load, motion, [("confounds", "confounds")])])
    sources = {"boldref_std": "boldref_std", "bold_mask_std": "mask", "outliers": "outliers"}
    for key, field in sources.items():
        add_sink(workflow, stage.product(key), place, load, field)
    table = add_sink(workflow, stage.product("confounds"), place, load, "confounds")
    workflow.connect(load, "metadata", table, "metadata_file")
    if "preproc_bold" in stage:
        add_series_sink(
            workflow, stage.product("preproc_bold"), place, (load, "series"), (load, "mask")
        )
    add_figure_sink(workflow, stage.figures[0], place, motion, "motion")
    return workflow


def _load(
    run: PreparedRun, place: Place, template: Template, denoise: DenoiseSettings, *, name: str
) -> pe.Node:
    """Return the node that brings a series to a grid."""
    return pe.Node(
        LoadPrepared(
            in_file=run.bold,
            in_mask=run.mask,
            confounds_file=run.confounds,
            template=template.brain,
            space=place.space,
            resolution=place.size_mm,
            n_dropped=run.n_dropped,
            fd_threshold_mm=denoise.fd_threshold_mm,
            repetition_time=run.repetition_time,
            motion_filter=motion_filter_of(denoise),
            content=run.content,
            version=PREPARED_VERSION,
        ),
        name=name,
        mem_gb=2,
    )
