"""Group ICA: networks found in the series of all participants together."""

from rls_bids.numerics import matching
from rls_bids.records import Measure, Stat

LEAST_R = 0.25
"""Spatial correlation from which a component has the name of a template (Smith 2009)."""

MEASURE = Measure(
    name="ica",
    kind="group",
    version=f"1-{matching.VERSION}",
    suffix="components",
    stats=(Stat(name="component", unit="z over the voxels", caption="An independent component."),),
    caption=(
        "Networks found by group ICA in the denoised series of all participants, matched to "
        "templates (group level, by itself)."
    ),
    method=(
        "Networks were found by canonical ICA [@varoquaux2010] of the denoised series of all "
        "participants, groups together, without thresholds, in the voxels that all of them have; "
        "components are given as z over these voxels. Each template was given to at most one "
        f"component, so that the sum of the absolute spatial correlations of {LEAST_R:g} and more "
        "was the largest [@smith2009]; a component was turned so that it correlates positively "
        "with its template, one without template so that its skewness is positive."
    ),
    sources=("10.1016/j.neuroimage.2010.02.010", "10.1073/pnas.0905267106"),
    options=("n_components",),
)
