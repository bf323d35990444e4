"""Values of nodes inside the outline of the brain, seen from the sides, the back and above."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rls_bids.figures import style
from rls_bids.figures.planes import Floats, ImageLike, Volume, load_volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

_HEAD_INCH = 0.75
_ROW_INCH = 2.1
_LEAST_LIMIT = 3.0
_SMALL, _LARGE = 14.0, 36.0
# (title, horizontal axis, vertical axis, axis looked along, side of the nodes shown, mirrored)
_VIEWS = (
    ("left", 1, 2, 0, -1, True),
    ("back", 0, 2, 1, 0, False),
    ("above", 0, 1, 2, 0, False),
    ("right", 1, 2, 0, 1, False),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeValues:
    """One row of the picture: t (n_nodes,), NaN where not tested, and what survives correction."""

    title: str
    t: Floats
    survives: "np.ndarray"


def plot_nodes(
    rows: Sequence[NodeValues],
    centres_mm: Floats,
    brain: ImageLike,
    words: Mapping[str, str],
    out_file: str | Path,
) -> Path:
    """Draw t of every node as a dot, those that survive correction larger and ringed.

    Parameters
    ----------
    rows : sequence of NodeValues
        One row of views each.
    centres_mm : (n_nodes, 3) array
        In the space of ``brain``; a node with NaN is not drawn.
    brain : path or image
        Zero outside the brain: its outline is drawn.
    words : mapping
        ``title`` and ``subtitle``; ``statistic`` where it is not t.
    out_file : str or Path

    Returns
    -------
    Path
        What was written. The left hemisphere is on the left.
    """
    volume = load_volume(brain)
    sizes = np.concatenate([np.abs(row.t) for row in rows])
    known = sizes[np.isfinite(sizes)]
    limit = max(float(np.ceil(known.max())) if known.size else 0.0, _LEAST_LIMIT)
    height = _HEAD_INCH + _ROW_INCH * len(rows)
    with style.house_style():
        figure = style.new_figure(height)
        subtitle = f"{words['subtitle']}; ringed: family-wise p ≤ .05 over the nodes; left is left"
        style.heading(figure, words["title"], subtitle)
        places = {"left": 0.08, "right": 0.9, "bottom": 0.02, "top": 1 - _HEAD_INCH / height}
        grid = figure.subplots(len(rows), len(_VIEWS), squeeze=False, gridspec_kw=places)
        for axes, row in zip(grid, rows, strict=True):
            for panel, view in zip(axes, _VIEWS, strict=True):
                _draw_view(panel, row, centres_mm, volume, view, limit)
            axes[0].text(-0.12, 0.5, row.title, rotation=90, va="center", ha="center",
                         transform=axes[0].transAxes, size=9)  # fmt: skip
        bar = figure.add_axes((0.93, 0.15, 0.012, 0.6))
        figure.colorbar(_colours(limit), cax=bar).set_label(words.get("statistic", "t"))
        return style.save(figure, out_file)


def _colours(limit: float) -> "ScalarMappable":
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(norm=Normalize(-limit, limit), cmap=style.DIVERGING)


def _draw_view(
    panel: "Axes",
    row: NodeValues,
    centres: Floats,
    brain: Volume,
    view: tuple[str, int, int, int, int, bool],
    limit: float,
) -> None:
    title, across, up, along, side, is_mirrored = view
    # Templates are stored along the axes of the world.
    outline = (brain.data > 0).any(axis=along)
    grids = [
        brain.affine[axis, axis] * np.arange(brain.data.shape[axis]) + brain.affine[axis, 3]
        for axis in (across, up)
    ]
    panel.contour(*grids, outline.T, levels=[0.5], colors=style.GREY, linewidths=0.8)
    shown = np.isfinite(row.t) & np.isfinite(centres).all(axis=1)
    if side:
        shown &= side * centres[:, 0] > 0
    order = np.flatnonzero(shown)
    order = order[np.argsort(np.abs(row.t[order]), kind="stable")]  # the largest on top
    is_sure = row.survives[order]
    panel.scatter(
        centres[order, across],
        centres[order, up],
        c=row.t[order],
        cmap=style.DIVERGING,
        vmin=-limit,
        vmax=limit,
        s=np.where(is_sure, _LARGE, _SMALL),
        linewidths=[1.2 if sure else 0.3 for sure in is_sure],
        edgecolors=[style.INK if sure else style.GREY for sure in is_sure],
    )
    panel.set_aspect("equal")
    panel.axis("off")
    panel.set_title(title, fontsize=8)
    if is_mirrored:
        panel.invert_xaxis()
