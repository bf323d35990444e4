"""The denoising graph of one run and one strategy."""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from rls_bids.interfaces.denoise import Denoise
from rls_bids.interfaces.figures import PlotCarpet
from rls_bids.interfaces.loadings import PlotLoadings
from rls_bids.numerics import loadings, resample
from rls_bids.records import BoldRun, PreparedRun
from rls_bids.settings import DenoiseSettings
from rls_bids.workflows.nuisance import VERSION, regression_inputs
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
    with_unfiltered: bool = False,
) -> pe.Workflow:
    """Build nuisance regression, band-pass and smoothing of one run.

    Inputs
    ------
    series, mask, confounds : from our own preprocessing or any other; dseg_std : tissues

    Outputs
    -------
    denoised, smoothed, status : residuals and what is left; sample_mask : volumes kept
    unfiltered : residuals without band-pass, if `with_unfiltered`
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        IdentityInterface(["series", "mask", "confounds", "dseg_std"]), name="inputnode"
    )
    handed = ("denoised", "smoothed", "status", "sample_mask", "unfiltered")
    outputnode = pe.Node(IdentityInterface(list(handed)), name="outputnode")
    told = regression_inputs(bold_run.repetition_time, strategy, denoise)
    regression = pe.Node(
        Denoise(
            **told,
            run="_".join("-".join(pair) for pair in bold_run.entities),
            smoothing_fwhm_mm=denoise.smoothing_fwhm_mm,
            with_unfiltered=with_unfiltered,
            version=f"{VERSION}-{resample.VERSION}",
        ),
        name="nuisance_regression",
        mem_gb=3,
    )
    timing = {name: told[name] for name in ("repetition_time", "fd_threshold_mm")}
    carpet = pe.Node(PlotCarpet(**timing), name="figure_carpet", mem_gb=1)
    plot = PlotLoadings(**told, version=f"{VERSION}-{loadings.VERSION}")
    strength = pe.Node(plot, name="figure_loadings", mem_gb=1)
    fields = [(field, field) for field in ("series", "mask", "confounds")]
    workflow.connect(
        [
            (inputnode, regression, fields),
            (inputnode, carpet, [*fields, ("dseg_std", "dseg")]),
            (regression, carpet, [("denoised", "denoised"), ("status", "status")]),
            (inputnode, strength, [(field, field) for field in ("series", "confounds")]),
            (regression, outputnode, [(key, key) for key in handed]),
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
    add_figure_sink(workflow, stage.figures[1], place, strength, "loadings")
    return workflow
