"""Regional homogeneity: how alike a voxel and its neighbours fluctuate."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics import reho
from rls_bids.numerics.local import LocalRun
from rls_bids.records import Measure, Stat

N_NEIGHBOURS = 27


def compute(run: LocalRun, options: Mapping[str, object]) -> dict[str, NDArray[np.float64]]:  # noqa: ARG001 as all
    """Return Kendall's W of every voxel of one run with its neighbours."""
    return {"reho": np.asarray(reho.kendall_w(run.filtered, run.mask, N_NEIGHBOURS))}


MEASURE = Measure(
    name="reho",
    kind="local",
    version=f"1-{reho.VERSION}",
    suffix="boldmap",
    stats=(
        Stat(
            name="reho",
            unit="Kendall's W",
            caption=f"ReHo: Kendall's W of a voxel and its {N_NEIGHBOURS - 1} neighbours.",
        ),
    ),
    caption="Regional homogeneity (ReHo): Kendall's W of a voxel and its neighbours.",
    method=(
        "Regional homogeneity is Kendall's W of the unsmoothed residuals of a voxel and its 26 "
        "neighbours, with the correction for ties; voxels with fewer than 14 of these 27 in the "
        "brain mask have no value [@zang2004]. It was computed on a grid no finer than the "
        "acquired voxels, since interpolation itself makes neighbours alike."
    ),
    sources=("10.1016/j.neuroimage.2003.12.030",),
    compute=compute,
)
