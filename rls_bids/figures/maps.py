"""Figures of seeds and of their connectivity maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rls_bids.figures import style
from rls_bids.figures.planes import (
    PLANES,
    Contour,
    Floats,
    ImageLike,
    Overlay,
    Panel,
    Scene,
    Volume,
    bounds_of,
    draw_slice,
    intensity_window,
    load_volume,
    plane_size,
    sample_plane,
    shared_axes,
    slice_positions,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float, float]

_THROUGH = {"axial": 2, "coronal": 1, "sagittal": 0}
_IN_PLANE = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
_GAP = 0.04
_HALF = 0.5
_WINDOW_MM = 45.0
_NEAR_MM = 25.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeedMark:
    """A seed to draw: a sphere (``centre_mm``, ``radius_mm``) or a region (``mask``, path).

    A mask without centre is looked at through its centre of mass.
    """

    name: str
    centre_mm: Point | None = None
    radius_mm: float | None = None
    mask: "ImageLike | None" = None
    network: str = ""


def _centre_of(mark: SeedMark) -> Point:
    if mark.centre_mm is not None:
        return mark.centre_mm
    if mark.mask is None:
        return (0.0, 0.0, 0.0)
    region = load_volume(mark.mask)
    voxels = np.argwhere(region.data > _HALF)
    if not voxels.size:
        return (0.0, 0.0, 0.0)
    centre = region.affine[:3, :3] @ voxels.mean(axis=0) + region.affine[:3, 3]
    return float(centre[0]), float(centre[1]), float(centre[2])


def _draw_mark(
    panel: Panel, mark: SeedMark, plane: str, position_mm: float, bounds: Floats
) -> None:
    """Draw the circle in which the slice cuts a sphere."""
    from matplotlib.patches import Circle

    if mark.centre_mm is None or mark.radius_mm is None:
        return
    distance = abs(position_mm - mark.centre_mm[_THROUGH[plane]])
    if distance >= mark.radius_mm:
        return
    across, up = _IN_PLANE[plane]
    scale, left, bottom = panel.place(plane, bounds)
    place = (left + scale * mark.centre_mm[across], bottom + scale * mark.centre_mm[up])
    radius = scale * float(np.sqrt(mark.radius_mm**2 - distance**2))
    for colour, width in (("black", 2.6), (style.YELLOW, 1.3)):
        panel.axes.add_patch(Circle(place, radius, fill=False, ec=colour, lw=width))


def _mask_contours(marks: Sequence[SeedMark]) -> tuple[Contour, ...]:
    return tuple(
        Contour(volume=load_volume(mark.mask), levels=(_HALF,), colour=style.YELLOW, width=1.2)
        for mark in marks
        if mark.mask is not None
    )


def plot_seeds_on_t1w(t1w: ImageLike, seeds: Sequence[SeedMark], out_file: str | Path) -> Path:
    """Draw every seed on the person's own T1w image: three close-ups through its centre.

    Parameters
    ----------
    t1w : path or image
        The head or brain.
    seeds : sequence of SeedMark
        Places in world mm of the T1w image.
    out_file : str or Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    head = load_volume(t1w)
    window = _window_around(head, [_centre_of(mark) for mark in seeds])
    head_room, strip, size = 0.55, 0.24, (style.WIDTH_INCH - 7 * _GAP) / 6
    n_rows = max(1, -(-len(seeds) // 2))
    total = head_room + n_rows * (size + strip)
    with style.house_style():
        figure = style.new_figure(total)
        style.heading(
            figure,
            "Seeds on the person's own T1w image",
            f"Close-ups of {2 * _WINDOW_MM:.0f} mm through each seed; "
            "each outline should lie inside its structure.",
        )
        shared = shared_axes(figure)
        for index, mark in enumerate(seeds):
            row, side = divmod(index, 2)
            top = total - head_room - row * (size + strip)
            left = _GAP + side * 3 * (size + _GAP)
            shared.text(left, top - 0.18, _seed_words(mark))
            scene = Scene(background=head, window=window, contours=_mask_contours([mark]))
            for number, plane in enumerate(PLANES):
                panel = Panel(
                    axes=shared,
                    left=left + number * (size + _GAP),
                    bottom=top - strip - size + 0.02,
                    width=size,
                    height=size - 0.02,
                )
                _close_up(panel, scene, mark, plane)
        return style.save(figure, out_file, is_photo=True)


def _window_around(head: Volume, centres: Sequence[Point]) -> tuple[float, float]:
    """Return the (black, white) intensities of the tissue around the seeds.

    Fat of the scalp is brighter than any brain and would leave the nuclei without contrast.
    """
    windows = []
    for x, y, z in centres:
        around = _box((x, y, z), _NEAR_MM)
        values = sample_plane(head, "axial", z, around, step_mm=2.0)[0]
        if (values > 0).any():
            windows.append(np.percentile(values[values > 0], [2, 99.5]))
    if not windows:
        return intensity_window(head)
    # The median over seeds leaves out those under the scalp.
    low, high = np.median(windows, axis=0)
    return (float(low), float(high)) if high > low else intensity_window(head)


def _box(centre: Point, reach_mm: float) -> Floats:
    """Return the world bounds (3, 2) of a cube around a point."""
    bounds: Floats = np.array(centre)[:, None] + np.array([-reach_mm, reach_mm])
    return bounds


def _close_up(panel: Panel, scene: Scene, mark: SeedMark, plane: str) -> None:
    centre = _centre_of(mark)
    bounds = _box(centre, _WINDOW_MM)
    position = centre[_THROUGH[plane]]
    draw_slice(panel, scene, plane, position, bounds)
    _draw_mark(panel, mark, plane, position, bounds)


def _seed_words(mark: SeedMark) -> str:
    network = f" ({mark.network})" if mark.network else ""
    if mark.mask is not None:
        return f"{mark.name}{network}: region"
    if mark.centre_mm is None:
        return f"{mark.name}{network}: no place"
    radius = f", radius {mark.radius_mm:g} mm" if mark.radius_mm is not None else ""
    return f"{mark.name}{network}{radius}"


def display_limit(volume: Volume, step: float = 0.1, floor: float = 0.2) -> float:
    """Return where colours saturate: the 99.5th percentile of |value| that is not 0, rounded up.

    Parameters
    ----------
    volume : Volume
        The map.
    step, floor : float, optional
        Multiple to round up to, and the smallest answer.

    Examples
    --------
    >>> import numpy as np
    >>> display_limit(Volume(data=np.full((2, 2, 2), 0.33), affine=np.eye(4)))
    0.4
    """
    values = np.abs(volume.data[volume.data != 0])
    top = float(np.percentile(values, 99.5)) if values.size else floor
    return round(max(float(np.ceil(top / step - 1e-6)) * step, floor), 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLook:
    """How a map is shown: unit at the colour bar, saturation, and where colours fade out."""

    title: str
    unit: str
    subtitle: str = ""
    vmax: float | None = None
    threshold: float = 0.2


def plot_seed_map(
    map_img: ImageLike,
    background: ImageLike,
    seeds: Sequence[SeedMark],
    look: MapLook,
    out_file: str | Path,
) -> Path:
    """Draw a connectivity map: three planes through the seed, axial slices, and a colour bar.

    Values below the threshold fade out instead of being cut, so nothing is hidden.

    Parameters
    ----------
    map_img : path or image
        Pearson r or Fisher z; 0 is outside.
    background : path or image
        The template's brain in the same space.
    seeds : sequence of SeedMark
        The seeds of this map; planes go through the first one.
    look : MapLook
        Title, unit, colour range.
    out_file : str or Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    with style.house_style():
        figure = draw_map(map_img, background, seeds, look)
        return style.save(figure, out_file, is_photo=True)


def draw_map(
    map_img: ImageLike,
    background: ImageLike,
    seeds: Sequence[SeedMark],
    look: MapLook,
    contours: tuple[Contour, ...] = (),
) -> "Figure":
    """Return the figure that :func:`plot_seed_map` saves; call it within the house style."""
    values, brain = load_volume(map_img), load_volume(background)
    vmax = look.vmax if look.vmax is not None else display_limit(values)
    threshold = min(look.threshold, vmax)
    scene = Scene(
        background=brain,
        window=intensity_window(brain),
        overlay=Overlay(volume=values, vmax=vmax, threshold=threshold),
        contours=(*contours, *_mask_contours(seeds)),
    )
    bounds = bounds_of(brain, margin_mm=2)
    head, small = 0.55, 8
    big_width = style.WIDTH_INCH - 1.1 - 4 * _GAP
    shares = np.array([plane_size(bounds, plane) for plane in PLANES])
    # The three planes get one height, so that their widths follow from the head's proportions.
    big_height = big_width / float((shares[:, 0] / shares[:, 1]).sum())
    small_width = (style.WIDTH_INCH - (small + 1) * _GAP) / small
    small_height = small_width * shares[0, 1] / shares[0, 0]
    total = head + big_height + small_height + 2 * _GAP
    figure = style.new_figure(total)
    style.heading(figure, look.title, look.subtitle)
    centre = _centre_of(seeds[0]) if seeds else tuple(bounds.mean(axis=1))
    shared, left, bottom = shared_axes(figure), _GAP, total - head - big_height
    for plane, (width, height) in zip(PLANES, shares, strict=True):
        inch = big_height * width / height
        panel = Panel(axes=shared, left=left, bottom=bottom, width=inch, height=big_height)
        _map_panel(panel, scene, plane, float(centre[_THROUGH[plane]]), bounds, seeds)
        left += inch + _GAP
    for index, position in enumerate(slice_positions(bounds, "axial", small)):
        left = _GAP + index * (small_width + _GAP)
        panel = Panel(axes=shared, left=left, bottom=_GAP, width=small_width, height=small_height)
        _map_panel(panel, scene, "axial", position, bounds, seeds)
    _colour_bar(figure, (total - head - big_height, big_height), vmax, threshold, look.unit)
    return figure


def _place(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    """Add axes at a place in inches."""
    total = figure.get_figheight()
    return figure.add_axes(
        (left / style.WIDTH_INCH, bottom / total, width / style.WIDTH_INCH, height / total)
    )


def _map_panel(
    panel: Panel,
    scene: Scene,
    plane: str,
    position_mm: float,
    bounds: Floats,
    seeds: Sequence[SeedMark],
) -> None:
    draw_slice(panel, scene, plane, position_mm, bounds)
    for mark in seeds:
        _draw_mark(panel, mark, plane, position_mm, bounds)


def _colour_bar(
    figure: "Figure", rows: tuple[float, float], vmax: float, threshold: float, unit: str
) -> None:
    """Draw the scale right of the large planes, fading as the map does."""
    from matplotlib import colormaps

    bottom, height = rows
    axes = _place(figure, style.WIDTH_INCH - 0.95, bottom + 0.15, 0.16, height - 0.3)
    values = np.linspace(-vmax, vmax, 256)
    colours = colormaps[style.DIVERGING](np.linspace(0, 1, 256))
    if threshold > 0:
        colours[:, 3] = np.clip(np.abs(values) / threshold, 0, 1) ** 2
    axes.set_facecolor("#888888")
    axes.imshow(colours[:, None], origin="lower", aspect="auto", extent=(0, 1, -vmax, vmax))
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_xticks([])
    axes.set_ylabel(unit)
    for sign in (-1, 1):
        if 0 < threshold < vmax:
            axes.axhline(sign * threshold, color="white", lw=0.8)
