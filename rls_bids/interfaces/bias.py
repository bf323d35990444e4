"""The bias field of images that are only registered: BOLD references and magnitude images."""

from pathlib import Path
from typing import TYPE_CHECKING

from rls_bids.interfaces.anat import run_ants
from rls_bids.interfaces.images import (
    SCANNER_CODE,
    Volume,
    load_volume,
    save_mask,
    stage_for_itk,
    voxel_sizes,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPACING_MM = 8.0
"""Of the voxels on which the field is estimated."""


def without_bias(
    image: Volume,
    mask: "NDArray[np.bool_]",
    *,
    knots_mm: float,
    rounds: str,
    least_shrink: int,
    folder: Path,
    path: str,
) -> Volume:
    """Divide an image by its bias field, estimated by N4 (Tustison 2010) within a mask.

    Parameters
    ----------
    image : Volume
    mask : (X, Y, Z) bool
        Where there is signal.
    knots_mm : float
        Distance of the spline's knots.
    rounds : str
        Most iterations of each level, such as ``"50x50"``.
    least_shrink : int
        Least factor by which the grid is thinned.
    folder : Path
        For temporary files.
    path : str
        The file that messages name.
    """
    stage_for_itk(image, folder / "uneven.nii.gz")
    save_mask(mask, image.affine, folder / "inside.nii.gz", code=SCANNER_CODE)
    shrink = max(least_shrink, round(SPACING_MM / max(voxel_sizes(image.affine))))
    options = f"-d 3 -s {shrink} -b [{knots_mm:g}] -c [{rounds},1e-5] -v 0".split()
    run_ants(
        "N4BiasFieldCorrection",
        [*options, "-i", "uneven.nii.gz", "-x", "inside.nii.gz", "-o", "even.nii.gz"],
        folder=folder,
        path=path,
    )
    return load_volume(folder / "even.nii.gz")
