"""Figure of a BOLD run before and after its susceptibility distortion was taken off."""

from pathlib import Path

from rls_bids.figures import style
from rls_bids.figures.bold import t1w_borders
from rls_bids.figures.planes import (
    PLANES,
    Floats,
    ImageLike,
    Row,
    Scene,
    bounds_of,
    intensity_window,
    load_volume,
    mosaic,
    slice_positions,
)

N_PAIRS = 3
"""Places a plane; those at the rim of the brain would show little."""
AS_ACQUIRED, CORRECTED = "as acquired", "corrected"


def plot_distortion(
    boldref_in_t1w: ImageLike,
    distorted_in_t1w: ImageLike,
    mask: ImageLike,
    dseg: "ImageLike | None",
    out_file: str | Path,
) -> Path:
    """Draw the BOLD reference as acquired and corrected, side by side, with T1w borders.

    Parameters
    ----------
    boldref_in_t1w, distorted_in_t1w : path or image
        The BOLD reference on the T1w grid, corrected and as acquired.
    mask : path or image
        Brain mask of the T1w image.
    dseg : path or image, optional
        Tissue labels (2 = white matter).
    out_file : str or Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    after, before, brain = (load_volume(one) for one in (boldref_in_t1w, distorted_in_t1w, mask))
    lines = t1w_borders(brain, dseg)
    window = intensity_window(after, brain)
    scenes = tuple(
        Scene(background=image, window=window, contours=lines) for image in (before, after)
    )
    bounds = bounds_of(brain, margin_mm=10)
    rows = [_pairs(scenes, bounds, plane) for plane in PLANES]
    with style.house_style():
        figure = mosaic(
            rows,
            bounds,
            "Distortion: the BOLD reference as acquired and corrected, with T1w borders",
            "The corrected image should follow the lines better than the acquired one, above all "
            "behind the forehead and beside the ears.",
            lines,
        )
        return style.save(figure, out_file, is_photo=True)


def _pairs(scenes: tuple[Scene, ...], bounds: Floats, plane: str) -> Row:
    """Return slices of one plane, each as acquired and corrected."""
    positions = slice_positions(bounds, plane, 2 * N_PAIRS + 1)[1::2]
    return Row(
        plane=plane,
        positions_mm=tuple(position for position in positions for _ in scenes),
        scenes=scenes * len(positions),
        captions=(AS_ACQUIRED, CORRECTED) * len(positions),
    )
