"""Figures of the components of a group ICA."""

from pathlib import Path

import numpy as np

from rls_bids.figures.maps import MapLook, SeedMark, display_limit, plot_seed_map
from rls_bids.figures.planes import Floats, ImageLike, Volume

FADE_Z = 2.0


def plot_component(
    data: Floats, affine: Floats, background: ImageLike, words: tuple[str, str], out_file: Path
) -> Path:
    """Draw a component: three planes through its peak, axial slices, and a colour bar.

    Parameters
    ----------
    data : (X, Y, Z) array
        z over the voxels; 0 outside.
    affine : (4, 4) array
        Voxel to RAS+ mm.
    background : path or image
        The template's brain in the same space.
    words : (str, str)
        Title, and what is written smaller below it.
    out_file : Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    volume = Volume(data=np.asarray(data, dtype=np.float32), affine=affine)
    peak = np.unravel_index(int(volume.data.argmax()), volume.data.shape)
    x, y, z = (float(each) for each in affine[:3, :3] @ np.array(peak) + affine[:3, 3])
    title, subtitle = words
    limit = display_limit(volume, step=1.0, floor=4.0)
    look = MapLook(title=title, unit="z", subtitle=subtitle, vmax=limit, threshold=FADE_Z)
    # A mark without radius is not drawn: it says where the planes go.
    return plot_seed_map(
        volume, background, [SeedMark(name="", centre_mm=(x, y, z))], look, out_file
    )
