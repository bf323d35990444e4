"""Matrices: correlations between the mean series of the parcels of an atlas."""

from rls_bids.numerics import matrices, parcels
from rls_bids.records import Measure, Stat

MEASURE = Measure(
    name="matrices",
    kind="atlas",
    version=f"1-{parcels.VERSION}-{matrices.VERSION}",
    suffix="relmat",
    stats=(
        Stat(
            name="pearsoncorrelation",
            unit="r",
            caption="Pearson correlation of each pair of parcels.",
        ),
        Stat(
            name="partialcorrelation",
            unit="r",
            caption="Partial correlation of each pair of parcels given all others.",
        ),
    ),
    caption="Correlations between the mean series of the parcels of atlases.",
    method=(
        "The unsmoothed residuals were averaged over each parcel; a parcel of which less than "
        "half lies in the brain mask is missing. Mean series were correlated with each other "
        "(Pearson), also given all others after shrinkage of the covariance towards a multiple "
        "of the identity [@ledoit2004]. Runs were averaged as Fisher z, weighted by residual "
        "degrees of freedom."
    ),
    sources=("10.1016/S0047-259X(03)00096-4",),
)
