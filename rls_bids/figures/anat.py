"""Figures of the anatomy: brain mask, tissues, normalisation."""

from pathlib import Path

import numpy as np

from rls_bids.figures import style
from rls_bids.figures.planes import (
    Contour,
    Floats,
    ImageLike,
    Scene,
    Volume,
    bounds_of,
    even_rows,
    intensity_window,
    load_volume,
    mosaic,
)

DSEG_LABELS = {1: "GM", 2: "WM", 3: "CSF"}
"""Labels of a ``dseg`` image as BIDS derivatives number them."""

_HALF = 0.5


def plot_brain_mask(t1w: ImageLike, mask: ImageLike, out_file: str | Path) -> Path:
    """Draw the outline of the brain mask on the T1w image in three planes.

    Parameters
    ----------
    t1w, mask : path or image
        The whole head (or brain) and the mask, in the same world space.
    out_file : str or Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    head, brain = load_volume(t1w), load_volume(mask)
    outline = Contour(volume=brain, levels=(_HALF,), colour=style.ORANGE, label="brain mask")
    scene = Scene(background=head, window=intensity_window(head, brain), contours=(outline,))
    bounds = bounds_of(brain, margin_mm=14)
    with style.house_style():
        figure = mosaic(
            even_rows(scene, bounds, (6, 6, 5)),
            bounds,
            "Brain mask on the T1w image",
            "The line should follow the outer surface of the brain, cerebellum included, "
            "and leave out skull and eyes.",
            (outline,),
        )
        return style.save(figure, out_file, is_photo=True)


def plot_tissue(t1w: ImageLike, dseg: ImageLike, out_file: str | Path) -> Path:
    """Draw the borders of white matter and CSF on the T1w image in three planes.

    Grey matter is what lies between; a third line would hide the others. ``dseg`` holds 1 = GM,
    2 = WM, 3 = CSF; the other arguments are those of :func:`plot_brain_mask`.
    """
    head, labels = load_volume(t1w), load_volume(dseg)
    contours = tuple(
        Contour(
            volume=Volume(data=(labels.data == label).astype(np.float32), affine=labels.affine),
            levels=(_HALF,),
            colour=style.TISSUE_COLOURS[name],
            label=text,
            width=0.9,
        )
        for label, name, text in ((2, "WM", "white matter"), (3, "CSF", "CSF"))
    )
    scene = Scene(background=head, window=intensity_window(head, labels), contours=contours)
    bounds = bounds_of(labels, margin_mm=6)
    with style.house_style():
        figure = mosaic(
            even_rows(scene, bounds, (5, 5, 4)),
            bounds,
            "Tissues on the T1w image",
            "Grey matter lies between the white matter's border and the border of CSF.",
            contours,
        )
        return style.save(figure, out_file, is_photo=True)


def plot_normalization(template: ImageLike, t1w_std: ImageLike, out_file: str | Path) -> Path:
    """Draw the template's borders on the person's head in standard space, in three planes.

    Parameters
    ----------
    template : path or image
        The template's T1w brain.
    t1w_std : path or image
        The person's T1w image in the template's space.
    out_file : str or Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    brain, head = load_volume(template), load_volume(t1w_std)
    csf, grey, white = class_means(brain.data[brain.data > 0])
    edges = (
        Contour(
            volume=brain, levels=((csf + grey) / 2,), colour=style.ORANGE,
            label="template: cortex | CSF",
        ),
        Contour(
            volume=brain, levels=((grey + white) / 2,), colour=style.SKY, width=0.8,
            label="template: white | grey matter",
        ),
    )  # fmt: skip
    window = intensity_window(head, brain)
    scene = Scene(background=head, window=window, contours=edges)
    bounds = bounds_of(brain, margin_mm=8)
    with style.house_style():
        figure = mosaic(
            even_rows(scene, bounds, (5, 5, 4)),
            bounds,
            "Normalisation: template borders on the T1w image in standard space",
            "Ventricles, deep nuclei, cortex and cerebellum should lie within the lines.",
            edges,
        )
        return style.save(figure, out_file, is_photo=True)


def class_means(values: Floats) -> tuple[float, float, float]:
    """Split intensities into three classes (1-D k-means) and return their means in rising order.

    Used to find where the template's tissue borders lie; starts from the 10th, 50th and 90th
    percentiles, so the answer is always the same.
    """
    if not values.size:
        return 0.0, 0.0, 0.0
    means = np.percentile(values, [10, 50, 90])
    for _ in range(50):
        borders = (means[1:] + means[:-1]) / 2
        group = np.searchsorted(borders, values)
        new = np.array([values[group == k].mean() if (group == k).any() else means[k]
                        for k in range(3)])  # fmt: skip
        if np.allclose(new, means):
            break
        means = new
    return float(means[0]), float(means[1]), float(means[2])
