"""A correlation matrix as a picture: parcels ordered by network or lobe, missing ones left out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rls_bids.figures import style

_HEAD_INCH = 0.6
_LABEL_INCH = 2.2
_SIDE_INCH = 6.4
_LEAST_SHARE = 0.018


def group_order(groups: Sequence[str], is_there: Sequence[bool]) -> tuple[list[int], list[str]]:
    """Return the nodes to show by group, those without one last, and the group of each.

    Examples
    --------
    >>> group_order(["b", "", "a", "b"], [True, True, True, False])
    ([2, 0, 1], ['a', 'b', ''])
    """
    shown = [index for index, there in enumerate(is_there) if there]
    shown.sort(key=lambda index: (groups[index] == "", groups[index], index))
    return shown, [groups[index] for index in shown]


def plot_matrix(
    r: NDArray[np.floating],
    groups: Sequence[str],
    title: str,
    subtitle: str,
    out_file: str | Path,
) -> Path:
    """Draw a matrix with lines between groups.

    Parameters
    ----------
    r : (n, n) array
        Correlations; rows that are NaN are left out.
    groups : sequence of str
        Network or lobe of each node; empty where there is none.
    title, subtitle : str
    out_file : str or Path
        ``.svg`` or ``.png``.
    """
    off_diagonal = np.array(r, dtype=np.float64)
    np.fill_diagonal(off_diagonal, np.nan)
    is_there = [bool(np.isfinite(row).any()) for row in off_diagonal]
    shown, names = group_order(groups, is_there)
    picture = off_diagonal[np.ix_(shown, shown)]
    values = np.abs(picture[np.isfinite(picture)])
    vmax = max(float(np.ceil(np.percentile(values, 99) * 10) / 10), 0.2) if values.size else 1.0
    with style.house_style():
        figure = style.new_figure(_HEAD_INCH + _SIDE_INCH)
        style.heading(figure, title, subtitle)
        total = figure.get_figheight()
        side = (_SIDE_INCH - 0.1) / style.WIDTH_INCH
        box = (_LABEL_INCH / style.WIDTH_INCH, 0.05 / total, side, (_SIDE_INCH - 0.1) / total)
        axes = figure.add_axes(box)
        image = axes.imshow(
            picture, cmap=style.DIVERGING, vmin=-vmax, vmax=vmax, interpolation="nearest"
        )
        axes.set_facecolor("#888888")
        axes.set_xticks([])
        ticks, labels = [], []
        for name in dict.fromkeys(names):
            first, n = names.index(name), names.count(name)
            for line in (axes.axhline, axes.axvline):
                line(first - 0.5, color="black", lw=0.6)
            if n >= _LEAST_SHARE * len(names):
                ticks.append(first + (n - 1) / 2)
                labels.append(name or "no group")
        axes.set_yticks(ticks, labels, fontsize=8)
        axes.tick_params(length=0)
        bar = figure.add_axes((box[0] + side + 0.02, box[1] + 0.1, 0.014, box[3] - 0.2))
        figure.colorbar(image, cax=bar, label="Pearson r")
        return style.save(figure, out_file, is_photo=True)
