"""Connections that differ: as a matrix by network, and inside the outline of the brain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rls_bids.figures import style
from rls_bids.figures.matrix import group_order
from rls_bids.figures.nodes import VIEWS, draw_outline
from rls_bids.figures.planes import Floats, ImageLike, load_volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEAD_INCH = 0.75
_LABEL_INCH = 2.2
_SIDE_INCH = 6.4
_LEAST_SHARE = 0.018
_LEAST_LIMIT = 3.0
_VIEW_INCH = 3.9
_POINTS_PER_INCH = 72
_DOT, _LARGEST_DOT = 0.35, 5.0
_FEW = 60.0
_MOST_DRAWN = 4000

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EdgeValues:
    """Tests of all connections, (n_nodes, n_nodes) symmetric.

    ``z`` is 0 where nothing was tested; ``in_network`` are those of components that survive,
    ``alone`` those that survive by themselves. ``n_networks`` counts the components.
    """

    z: Floats
    in_network: Bools
    alone: Bools
    n_networks: int


def plot_edge_matrix(
    values: EdgeValues, groups: Sequence[str], words: Mapping[str, str], out_file: str | Path
) -> Path:
    """Draw z of all connections below the diagonal, and what survives above it.

    Parameters
    ----------
    values : EdgeValues
    groups : sequence of str
        Network or lobe of each node; empty where there is none.
    words : mapping
        ``title`` and ``subtitle``.
    out_file : str or Path

    Returns
    -------
    Path
        What was written.
    """
    shown, names = group_order(groups, [True] * len(groups))
    order = np.ix_(shown, shown)
    z, survives = values.z[order], values.in_network[order]
    limit = _limit(z)
    upper = np.triu(np.ones(z.shape, dtype=bool), 1)
    picture = np.where(upper & ~survives, 0.0, z)
    np.fill_diagonal(picture, np.nan)
    with style.house_style():
        figure = style.new_figure(_HEAD_INCH + _SIDE_INCH)
        below = "below the diagonal all, above it surviving networks; dots: family-wise alone"
        style.heading(figure, words["title"], f"{words['subtitle']}; {below}")
        total = figure.get_figheight()
        side = (_SIDE_INCH - 0.1) / style.WIDTH_INCH
        box = (_LABEL_INCH / style.WIDTH_INCH, 0.05 / total, side, (_SIDE_INCH - 0.1) / total)
        axes = figure.add_axes(box)
        image = axes.imshow(
            picture, cmap=style.DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest"
        )
        axes.set_facecolor("#888888")
        rows, columns = np.nonzero(values.alone[order] & upper)
        # A dot is a third as wide as its cell, so that the colour stays to be seen.
        width = min(_DOT * _POINTS_PER_INCH * _SIDE_INCH / len(shown), _LARGEST_DOT)
        axes.scatter(columns, rows, s=width**2, color=style.INK, linewidths=0)
        _lines(axes, names)
        bar = figure.add_axes((box[0] + side + 0.02, box[1] + 0.1, 0.014, box[3] - 0.2))
        figure.colorbar(image, cax=bar, label="z")
        return style.save(figure, out_file, is_photo=True)


def _limit(z: Floats) -> float:
    return max(float(np.ceil(np.abs(z).max(initial=0.0))), _LEAST_LIMIT)


def _lines(axes: "Axes", names: Sequence[str]) -> None:
    """Draw lines between groups, and name those that are wide enough."""
    axes.set_xticks([])
    ticks, labels = [], []
    for name in dict.fromkeys(names):
        first, n = names.index(name), names.count(name)
        for line in (axes.axhline, axes.axvline):
            line(first - 0.5, color="black", lw=0.4)
        if n >= _LEAST_SHARE * len(names):
            ticks.append(first + (n - 1) / 2)
            labels.append(name or "no group")
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.tick_params(length=0)


def plot_connectome(
    values: EdgeValues,
    centres_mm: Floats,
    brain: ImageLike,
    words: Mapping[str, str],
    out_file: str | Path,
) -> Path:
    """Draw the connections of surviving networks, seen from four sides.

    Parameters
    ----------
    values : EdgeValues
    centres_mm : (n_nodes, 3) array
        In the space of ``brain``; connections of a node with NaN are not drawn.
    brain : path or image
        Zero outside the brain: its outline is drawn.
    words : mapping
        ``title`` and ``subtitle``.
    out_file : str or Path

    Returns
    -------
    Path
        What was written. The left hemisphere is on the left. From a side, connections with an end
        on that side are shown; more than 4,000 connections are thinned to those of largest |z|.
    """
    volume = load_volume(brain)
    first, second = np.nonzero(np.triu(values.in_network, 1))
    there = np.asarray(np.isfinite(centres_mm).all(axis=1))
    known = there[first] & there[second]
    first, second = first[known], second[known]
    z = values.z[first, second]
    order = np.argsort(np.abs(z), kind="stable")[-_MOST_DRAWN:]  # the largest on top
    first, second, z = first[order], second[order], z[order]
    with style.house_style():
        figure = style.new_figure(_VIEW_INCH)
        n = values.n_networks
        what = f"{n} surviving {'network' if n == 1 else 'networks'}, {known.sum()} connections"
        style.heading(figure, words["title"], f"{words['subtitle']}; {what}; left is left")
        top = 1 - _HEAD_INCH / _VIEW_INCH
        places = {"left": 0.02, "right": 0.9, "bottom": 0.02, "top": top, "wspace": 0.05}
        panels = figure.subplots(1, len(VIEWS), gridspec_kw=places)
        for panel, view in zip(panels, VIEWS, strict=True):
            draw_outline(panel, volume, view)
            _draw_lines(panel, centres_mm, (first, second, z), view, _limit(values.z))
        _bar(figure, _limit(values.z))
        return style.save(figure, out_file)


def _draw_lines(
    panel: "Axes",
    centres: Floats,
    edges: tuple[NDArray[np.intp], NDArray[np.intp], Floats],
    view: tuple[str, int, int, int, int, bool],
    limit: float,
) -> None:
    """Draw connections as lines and their ends as dots."""
    from matplotlib.collections import LineCollection

    first, second, z = edges
    _, across, up, _, side, _ = view
    if side:
        is_near = np.maximum(side * centres[first, 0], side * centres[second, 0]) > 0
        first, second, z = first[is_near], second[is_near], z[is_near]
    ends = np.stack([centres[first][:, (across, up)], centres[second][:, (across, up)]], axis=1)
    # The more there are, the thinner and paler.
    strength = min(1.0, np.sqrt(_FEW / max(len(z), 1)))
    lines = LineCollection(
        list(ends), cmap=style.DIVERGING, linewidths=0.3 + strength, alpha=0.25 + 0.65 * strength
    )
    lines.set_array(z)
    lines.set_clim(-limit, limit)
    panel.add_collection(lines)
    nodes = np.union1d(first, second)
    degree = np.bincount(np.concatenate([first, second]), minlength=len(centres))[nodes]
    panel.scatter(
        centres[nodes, across],
        centres[nodes, up],
        s=6 + 4 * np.sqrt(degree),
        color=style.INK,
        linewidths=0,
        zorder=3,
    )


def _bar(figure: "Figure", limit: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(norm=Normalize(-limit, limit), cmap=style.DIVERGING)
    figure.colorbar(colours, cax=figure.add_axes((0.93, 0.12, 0.012, 0.6))).set_label("z")
