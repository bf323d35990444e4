"""Figures of the group level: statistic maps, design, covariates by group."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rls_bids.figures import style
from rls_bids.figures.maps import MapLook, SeedMark, display_limit, draw_map
from rls_bids.figures.planes import Contour, Floats, ImageLike, load_volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HALF = 0.5
_GROUP_COLOURS = (style.VERMILION, style.BLUE, style.GREEN, style.PURPLE)
_GROUP_MARKS = ("o", "s", "^", "D")


def plot_group_map(
    stat_img: ImageLike,
    background: ImageLike,
    seeds: Sequence[SeedMark],
    look: MapLook,
    out_file: str | Path,
    *,
    significant: "ImageLike | None" = None,
) -> Path:
    """Draw a group statistic map: three planes through the seed, axial slices, a colour bar.

    Parameters
    ----------
    stat_img : path or image
        t or z values; 0 outside the mask.
    background : path or image
        The template's brain in the same space.
    seeds : sequence of SeedMark
        The seeds of this map.
    look : MapLook
        Title, unit ("t"), threshold below which colours fade; without ``vmax`` whole numbers of
        at least 4 are used.
    out_file : str or Path
        ``.svg`` or ``.png``.
    significant : path or image, optional
        1 in voxels that survive correction; they are outlined in black.

    Returns
    -------
    Path
        What was written.
    """
    values = load_volume(stat_img)
    vmax = look.vmax if look.vmax is not None else display_limit(values, step=1.0, floor=4.0)
    contours: tuple[Contour, ...] = ()
    if significant is not None and (region := load_volume(significant)).data.any():
        contours = (Contour(volume=region, levels=(_HALF,), colour="black", width=1.3),)
    shown = replace(look, vmax=vmax)
    with style.house_style():
        return style.save(
            draw_map(stat_img, background, seeds, shown, contours), out_file, is_photo=True
        )


def plot_corrected_map(
    stat_img: ImageLike,
    background: ImageLike,
    seeds: Sequence[SeedMark],
    look: MapLook,
    out_file: str | Path,
) -> Path:
    """Draw what survives correction, in planes through its highest value.

    Parameters
    ----------
    stat_img : path or image
        t or z values of what survives, 0 elsewhere.
    background, seeds, look, out_file
        As in :func:`plot_group_map`; nothing that survives fades.

    Returns
    -------
    Path
        What was written.
    """
    values = load_volume(stat_img)
    marks, lowest = list(seeds), 0.0
    if values.data.any():
        lowest = float(np.abs(values.data[values.data != 0]).min())
        voxel = np.unravel_index(np.abs(values.data).argmax(), values.data.shape)
        peak = values.affine[:3, :3] @ np.array(voxel) + values.affine[:3, 3]
        # Planes go through the first mark, which has no size and is not seen.
        marks.insert(0, SeedMark(name="", centre_mm=(peak[0], peak[1], peak[2])))
    limit = look.vmax if look.vmax is not None else display_limit(values, step=1.0, floor=4.0)
    with style.house_style():
        # Colours between a voxel that survives and its neighbours fade, so that edges are sharp.
        shown = replace(look, vmax=limit, threshold=lowest)
        figure = draw_map(stat_img, background, marks, shown)
        return style.save(figure, out_file, is_photo=True)


def plot_design(
    design: Floats, names: Sequence[str], out_file: str | Path, *, rows: Sequence[str] = ()
) -> Path:
    """Draw the design matrix as grey levels, each column scaled to its own range.

    Parameters
    ----------
    design : ndarray, shape (n_participants, n_columns)
        As fitted.
    names : sequence of str
        One a column.
    out_file : str or Path
        ``.svg`` or ``.png``.
    rows : sequence of str, optional
        Participants' labels, shown when there are at most 60.

    Returns
    -------
    Path
        What was written.
    """
    n_participants, n_columns = design.shape
    low, high = design.min(axis=0), design.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    scaled = np.where(high > low, (design - low) / spread, 1.0)
    with style.house_style():
        height = float(np.clip(1.6 + 0.16 * n_participants, 3.0, 9.0))
        width = float(np.clip(1.8 + 1.1 * n_columns, 4.5, style.WIDTH_INCH))
        figure = style.new_figure(height, width)
        axes = figure.add_axes((1.0 / width, 0.5 / height, 1 - 1.9 / width, 1 - 1.5 / height))
        image = axes.imshow(scaled, cmap="cividis", aspect="auto", interpolation="none")
        ranges = [f"{name}\n{_range(a, b)}" for name, a, b in zip(names, low, high, strict=True)]
        axes.set_xticks(range(n_columns), ranges)
        axes.xaxis.tick_top()
        axes.set_xticks(np.arange(n_columns + 1) - _HALF, minor=True)
        axes.grid(which="minor", axis="x", color="white", lw=2)
        axes.tick_params(which="both", length=0)
        few = 60
        if rows and n_participants <= few:
            axes.set_yticks(
                range(n_participants), list(rows), size=8 if n_participants < 40 else 6
            )
        axes.set_ylabel("participants")
        axes.spines[:].set_visible(False)
        bar = figure.add_axes((1 - 0.75 / width, 0.5 / height, 0.12 / width, 1 - 1.5 / height))
        figure.colorbar(image, cax=bar, ticks=[0, 1]).set_ticklabels(["lowest", "highest"])
        style.heading(figure, "Design matrix")
        return style.save(figure, out_file)


def _range(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def plot_covariates(
    values: Mapping[str, Floats], groups: Sequence[str], out_file: str | Path
) -> Path:
    """Draw every participant's covariates as dots by group, with the group's mean.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (n_participants,)
        Axis label with unit, e.g. ``"age (years)"`` → values; NaN is left out.
    groups : sequence of str
        The group of each participant.
    out_file : str or Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    names = list(dict.fromkeys(groups))
    membership = np.array(groups)
    with style.house_style():
        width = min(style.WIDTH_INCH, 0.6 + 3.2 * max(1, len(values)))
        figure = style.new_figure(3.6, width)
        panels = figure.subplots(1, max(1, len(values)), squeeze=False)[0]
        for axes, (label, numbers) in zip(panels, values.items(), strict=False):
            _dots(axes, label, [np.asarray(numbers)[membership == name] for name in names])
            ticks = [f"{name}\n(n = {(membership == name).sum()})" for name in names]
            axes.set_xticks(range(len(names)), ticks)
            axes.set_xlim(-0.6, len(names) - 0.4)
        figure.subplots_adjust(
            left=0.75 / width, right=1 - 0.1 / width, top=0.86, bottom=0.15, wspace=0.38
        )
        style.heading(figure, "Covariates by group", "dots: participants, lines: means")
        return style.save(figure, out_file)


def _dots(axes: "Axes", label: str, samples: Sequence[Floats]) -> None:
    for place, sample in enumerate(samples):
        shown = sample[np.isfinite(sample)]
        colour = _GROUP_COLOURS[place % len(_GROUP_COLOURS)]
        axes.scatter(
            place + dodge(len(shown))[np.argsort(np.argsort(shown, kind="stable"))],
            shown,
            color=colour,
            marker=_GROUP_MARKS[place % len(_GROUP_MARKS)],
            s=24,
            alpha=0.75,
            lw=0,
        )
        if shown.size:
            axes.plot([place - 0.3, place + 0.3], [shown.mean()] * 2, color=style.INK, lw=1.6)
    axes.set_ylabel(label)


def dodge(n: int, reach: float = 0.18) -> Floats:
    """Return ``n`` sideways shifts in [-reach, reach] that look scattered and never change.

    Neighbours in rank lie far apart (multiples of the golden ratio).

    Examples
    --------
    >>> float(abs(dodge(10)).max()) <= 0.18
    True
    """
    golden = 0.6180339887
    shifts: Floats = ((np.arange(n) * golden) % 1.0 * 2 - 1) * reach
    return shifts
