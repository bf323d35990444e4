"""The denoising graph of one run and one strategy."""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from rls_bids.interfaces.denoise import Denoise
from rls_bids.interfaces.figures import PlotCarpet
from rls_bids.numerics import resample, signal
from rls_bids.records import BoldRun, PreparedRun
from rls_bids.settings import DenoiseSettings
from rls_bids.workflows.sinks import add_figure_sink, add_series_sink, add_sink
from rls_bids.workflows.stages import Place, Stage


def init_denoise_wf(
    bold_run: BoldRun | PreparedRun,
    strategy: str,
    stage: Stage,
    place: Place,
    denoise: DenoiseSettings,
    *,
    name: str,
) -> pe.Workflow:
    """Build nuisance regression, band-pass and smoothing of one run.

    Inputs
    ------
    series, mask, confounds : from our own preprocessing or any other; dseg_std : tissues

    Outputs
    -------
    denoised, smoothed, status : residuals and what is left
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        IdentityInterface(["series", "mask", "confounds", "dseg_std"]), name="inputnode"
    )
    outputnode = pe.Node(IdentityInterface(["denoised", "smoothed", "status"]), name="outputnode")
    regression = pe.Node(
        Denoise(
            run="_".join("-".join(pair) for pair in bold_run.entities),
            strategy=strategy,
            repetition_time=bold_run.repetition_time,
            band_hz=[denoise.low_hz, denoise.high_hz] if denoise.band_pass else [],
            filter_order=denoise.filter_order,
            fd_threshold_mm=denoise.fd_threshold_mm,
            smoothing_fwhm_mm=denoise.smoothing_fwhm_mm,
            version=f"{signal.VERSION}-{resample.VERSION}",
        ),
        name="nuisance_regression",
        mem_gb=3,
    )
    carpet = pe.Node(
        PlotCarpet(
            repetition_time=bold_run.repetition_time, fd_threshold_mm=denoise.fd_threshold_mm
        ),
        name="figure_carpet",
        mem_gb=1,
    )
    fields = [(field, field) for field in ("series", "mask", "confounds")]
    workflow.connect(
        [
            (inputnode, regression, fields),
            (inputnode, carpet, [*fields, ("dseg_std", "dseg")]),
            (regression, carpet, [("denoised", "denoised"), ("status", "status")]),
            (regression, outputnode, [(key, key) for key in ("denoised", "smoothed", "status")]),
        ]
    )
    design = add_sink(workflow, stage.product("design"), place, regression, "design")
    workflow.connect(regression, "status", design, "metadata_file")
    if "denoised_bold" in stage:
        add_series_sink(
            workflow,
            stage.product("denoised_bold"),
            place,
            (regression, "denoised"),
            (inputnode, "mask"),
        )
    add_figure_sink(workflow, stage.figures[0], place, carpet, "carpet")
    return workflow
