"""Degree centrality and connectivity strength: how much of the grey matter a voxel goes with."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rls_bids.numerics import centrality
from rls_bids.numerics.local import LocalRun
from rls_bids.records import Measure, Stat


def compute(run: LocalRun, options: Mapping[str, float]) -> dict[str, NDArray[np.float64]]:
    """Return degrees and strength of the grey-matter voxels of one run; NaN elsewhere."""
    found = centrality.compute_centrality(
        run.filtered[:, run.counted],
        threshold=options["dc_threshold"],
        density=options["dc_density"],
        n_threads=run.n_threads,
    )
    sparse = found.at_density
    degrees = {
        "dcb": found.at_threshold.binary,
        "dcw": found.at_threshold.weighted,
        "fcs": found.strength,
    }
    if sparse is not None:
        degrees |= {"dcbdensity": sparse.binary, "dcwdensity": sparse.weighted}
    maps = {}
    for name, values in degrees.items():
        maps[name] = np.full(run.counted.shape, np.nan)
        maps[name][run.counted] = values
    return maps


MEASURE = Measure(
    name="centrality",
    kind="local",
    version=f"1-{centrality.VERSION}",
    suffix="boldmap",
    stats=(
        Stat(
            name="dcb",
            unit="voxels",
            caption="Degree centrality: voxels with a correlation above the threshold.",
            group_scale="zstd",
        ),
        Stat(
            name="dcw",
            unit="sum of r",
            caption="Weighted degree centrality: sum of the correlations above the threshold.",
            group_scale="zstd",
        ),
        Stat(
            name="dcbdensity",
            unit="voxels",
            caption="Degree centrality with a fixed share of all pairs.",
            group_scale="zstd",
        ),
        Stat(
            name="dcwdensity",
            unit="sum of r",
            caption="Weighted degree centrality with a fixed share of all pairs.",
            group_scale="zstd",
        ),
        Stat(name="fcs", unit="Fisher z", caption="Connectivity strength: mean Fisher z."),
    ),
    caption="Degree centrality and connectivity strength within the grey matter.",
    method=(
        "Every grey-matter voxel was correlated with every other one. Grey matter is that of the "
        "standard head, the same for all participants. Degree centrality is the number of voxels "
        "with a positive correlation above the threshold, or the sum of these correlations "
        "[@buckner2009], [@zuo2012], and the same with one threshold for all voxels that keeps a "
        "fixed share of all pairs; connectivity strength is the mean Fisher z."
    ),
    sources=("10.1523/JNEUROSCI.5062-08.2009", "10.1093/cercor/bhr269"),
    options=("dc_threshold", "dc_density"),
    is_of_grey=True,
    compute=compute,
)
