"""Slices of images in world coordinates.

Every panel is sampled from the image at world millimetres (RAS+), so images with different grids,
storage orders or oblique axes can lie on each other, and left is left whatever the file looks
like. Views are neurological: the participant's left is on the left, and marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from rls_bids.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from nibabel.nifti1 import Nifti1Image

ImageLike: TypeAlias = "str | Path | Volume | Nifti1Image"
"""A NIfTI file's path, a loaded image, or an array with its affine."""

Floats = NDArray[np.floating[Any]]

PLANES = ("axial", "coronal", "sagittal")
_AXES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
_LETTER = "xyz"
_MIDLINE_MM = 0.5
_GREY_LEVELS = 48
_MANY = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A 3D image: ``data`` (X, Y, Z) and its ``affine`` (4, 4), voxel → world in mm."""

    data: Floats
    affine: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contour:
    """An outline at the given ``levels`` of an image, drawn in one colour."""

    volume: Volume
    levels: tuple[float, ...]
    colour: str
    label: str = ""
    width: float = 1.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlay:
    """A statistic map: colours saturate at ``vmax`` and fade out below ``threshold``."""

    volume: Volume
    vmax: float
    threshold: float
    cmap: str = style.DIVERGING


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What one slice shows: a grey background, an optional overlay, and outlines."""

    background: Volume
    window: tuple[float, float]
    overlay: Overlay | None = None
    contours: tuple[Contour, ...] = ()


def load_volume(image: ImageLike) -> Volume:
    """Load a path or nibabel image as float32; of a 4D image the mean over volumes is taken.

    Values that are not finite become zero.
    """
    if isinstance(image, Volume):
        return image
    if isinstance(image, (str, Path)):
        from nibabel.loadsave import load

        image = cast("Nifti1Image", load(image))
    data = np.asanyarray(image.dataobj).astype(np.float32)
    if data.ndim > 3:
        data = data.reshape(*data.shape[:3], -1).mean(axis=3)
    return Volume(
        data=np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0),
        affine=np.asarray(image.affine, dtype=float),
    )


def bounds_of(volume: Volume, margin_mm: float = 0.0) -> Floats:
    """Return the world bounding box (3, 2) in mm of the voxels above zero, widened by a margin.

    An image without any such voxel gives the box of its whole grid.
    """
    inside = volume.data > 0
    if not inside.any():
        inside = np.ones_like(inside)
    # On an oblique grid the box of the indices would be much larger: of every row of voxels the
    # first and the last are enough.
    rows = np.argwhere(inside.any(axis=0))
    occupied = inside[:, rows[:, 0], rows[:, 1]]
    first, last = occupied.argmax(axis=0), len(inside) - 1 - occupied[::-1].argmax(axis=0)
    indices = np.vstack([np.column_stack([end, rows]) for end in (first, last)])
    points = indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return np.stack([points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm], axis=1)


def intensity_window(volume: Volume, region: Volume | None = None) -> tuple[float, float]:
    """Return the (black, white) intensities: 0 and the 99.5th percentile inside ``region``."""
    # Every other voxel says the same about an image of millions.
    thinned = volume.data[::2, ::2, ::2] if volume.data.size > _MANY else volume.data
    values = thinned[thinned > 0]
    if region is not None and region.data.shape == volume.data.shape and (region.data > 0).any():
        values = volume.data[region.data > 0]
    white = float(np.percentile(values, 99.5)) if values.size else 1.0
    return 0.0, white if white > 0 else 1.0


def sample_plane(
    volume: Volume,
    plane: str,
    position_mm: float,
    bounds: Floats,
    *,
    step_mm: float = 1.0,
    order: int = 1,
) -> tuple[Floats, Floats, Floats]:
    """Sample one slice at world coordinates.

    Parameters
    ----------
    volume : Volume
        The image; outside of it the value is 0.
    plane : {"axial", "coronal", "sagittal"}
        Which plane.
    position_mm : float
        Its z, y or x.
    bounds : ndarray, shape (3, 2)
        The box to cover, mm.
    step_mm : float, optional
        Distance of the samples.
    order : int, optional
        0 for labels, 1 for intensities.

    Returns
    -------
    tuple
        Values (n_vertical, n_horizontal), horizontal coordinates and vertical ones in mm.
    """
    from scipy.ndimage import map_coordinates

    across, up, through = _AXES[plane]
    horizontal = np.arange(bounds[across, 0], bounds[across, 1] + step_mm / 2, step_mm)
    vertical = np.arange(bounds[up, 0], bounds[up, 1] + step_mm / 2, step_mm)
    points = np.empty((3, vertical.size, horizontal.size))
    points[across], points[up] = np.meshgrid(horizontal, vertical)
    points[through] = position_mm
    inverse = np.linalg.inv(volume.affine)
    voxels = np.tensordot(inverse[:3, :3], points, axes=1) + inverse[:3, 3, None, None]
    values = map_coordinates(volume.data, voxels, order=order, mode="constant", cval=0.0)
    return values, horizontal, vertical


def slice_positions(bounds: Floats, plane: str, n_slices: int, trim: float = 0.12) -> list[float]:
    """Return evenly spaced positions (mm) through the box, leaving out a share at either end."""
    low, high = bounds[_AXES[plane][2]]
    edge = trim * (high - low)
    return [float(p) for p in np.linspace(low + edge, high - edge, n_slices)]


def plane_size(bounds: Floats, plane: str) -> tuple[float, float]:
    """Return (width, height) in mm of the box seen in this plane."""
    across, up, _ = _AXES[plane]
    return float(np.ptp(bounds[across])), float(np.ptp(bounds[up]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """A box for one slice, in inches of the figure, on the axes that all slices share.

    Making axes takes longer than drawing a slice, so that a figure has one for all its slices.
    """

    axes: "Axes"
    left: float
    bottom: float
    width: float
    height: float

    def place(self, plane: str, bounds: Floats) -> tuple[float, float, float]:
        """Return the scale (inches a mm) and where 0 mm across and 0 mm up lie, in inches."""
        across, up, _ = _AXES[plane]
        width, height = plane_size(bounds, plane)
        scale = min(self.width / width, self.height / height)
        left = self.left + (self.width - scale * width) / 2 - scale * bounds[across, 0]
        bottom = self.bottom + (self.height - scale * height) / 2 - scale * bounds[up, 0]
        return float(scale), float(left), float(bottom)


def shared_axes(figure: "Figure") -> "Axes":
    """Return axes over the whole figure whose coordinates are inches from its lower left."""
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(0, figure.get_figheight()))
    axes.set_autoscale_on(False)
    axes.axis("off")
    return axes


def draw_slice(panel: Panel, scene: Scene, plane: str, position_mm: float, bounds: Floats) -> None:
    """Draw one slice with its outlines, its position in mm and its sides (L/R or A/P)."""
    step = max(plane_size(bounds, plane)) / 230.0
    signal, across, up = sample_plane(scene.background, plane, position_mm, bounds, step_mm=step)
    scale, left, bottom = panel.place(plane, bounds)
    x, y = left + scale * across, bottom + scale * up
    low, high = scene.window
    # Few grey levels look the same and make the picture a third as large.
    grey = np.round(np.clip((signal - low) / (high - low), 0, 1) * _GREY_LEVELS) / _GREY_LEVELS
    colours: Floats = np.repeat(grey[..., None], 3, axis=2)
    if scene.overlay is not None:
        values, _, _ = sample_plane(scene.overlay.volume, plane, position_mm, bounds, step_mm=step)
        colours = _blend(colours, values, scene.overlay)
    half = scale * step / 2
    edges = (x[0] - half, x[-1] + half, y[0] - half, y[-1] + half)
    panel.axes.imshow(
        (colours * 255).astype(np.uint8),
        origin="lower",
        extent=edges,
        interpolation="none",
        aspect="auto",
    )
    for contour in scene.contours:
        values, _, _ = sample_plane(contour.volume, plane, position_mm, bounds, step_mm=step)
        levels = [v for v in contour.levels if values.min() < v < values.max()]
        if levels:
            panel.axes.contour(
                x, y, values, levels=levels, colors=contour.colour, linewidths=contour.width
            )
    _label_slice(panel, plane, position_mm)


def _blend(colours: Floats, values: Floats, overlay: Overlay) -> Floats:
    """Lay the colours of a map over a picture (n, m, 3), fading below its threshold."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    shown = colormaps[overlay.cmap](Normalize(-overlay.vmax, overlay.vmax)(values))[..., :3]
    strength = np.abs(values) / overlay.threshold if overlay.threshold > 0 else values != 0
    # Squared, so that weak values stay visible without hiding the anatomy.
    share = np.round(np.clip(strength, 0, 1) ** 2 * 15)[..., None] / 15
    blended: Floats = share * shown + (1 - share) * colours
    return blended


def _label_slice(panel: Panel, plane: str, position_mm: float) -> None:
    left, right = ("P", "A") if plane == "sagittal" else ("L", "R")
    write(panel, left, (0.02, 0.5), weight="bold")
    write(panel, right, (0.98, 0.5), weight="bold")
    write(panel, position_label(plane, position_mm), (0.98, 0.02))


def write(panel: Panel, text: str, place: tuple[float, float], weight: str = "normal") -> None:
    """Write white text with a dark rim, legible on any brain, at shares of a panel's size."""
    from matplotlib.patheffects import withStroke

    (across, up), middle = place, 0.5
    panel.axes.text(
        panel.left + across * panel.width,
        panel.bottom + up * panel.height,
        text,
        color="white",
        size=8,
        weight=weight,
        ha="left" if across < middle else "right",
        va="center" if up == middle else "bottom" if up < middle else "top",
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )


def position_label(plane: str, position_mm: float) -> str:
    """Return the position of a slice in words; a sagittal slice also says which side it is.

    Examples
    --------
    >>> position_label("sagittal", -18.0)
    'x = −18 mm (L)'
    >>> position_label("axial", 5.2)
    'z = 5 mm'
    """
    rounded = round(position_mm)
    number = f"{rounded}".replace("-", "−")
    label = f"{_LETTER[_AXES[plane][2]]} = {number} mm"
    if plane != "sagittal" or abs(position_mm) < _MIDLINE_MM:
        return label
    return f"{label} ({'L' if position_mm < 0 else 'R'})"


def world_extent(volume: Volume) -> Floats:
    """Return the world bounding box (3, 2) in mm of the whole grid."""
    return bounds_of(Volume(data=np.ones(volume.data.shape), affine=volume.affine))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One row of a mosaic: a plane, its slice positions (mm) and a scene for each."""

    plane: str
    positions_mm: tuple[float, ...]
    scenes: tuple[Scene, ...]
    captions: tuple[str, ...] = ()


def even_rows(scene: Scene, bounds: Floats, counts: Sequence[int]) -> list[Row]:
    """Return three rows (axial, coronal, sagittal) of evenly spaced slices of one scene."""
    rows = []
    for plane, count in zip(PLANES, counts, strict=True):
        positions = tuple(slice_positions(bounds, plane, count))
        rows.append(Row(plane=plane, positions_mm=positions, scenes=(scene,) * count))
    return rows


def mosaic(
    rows: Sequence[Row], bounds: Floats, title: str, subtitle: str, key: Sequence[Contour] = ()
) -> "Figure":
    """Lay rows of slices out over the full width, every panel of a row at the same scale."""
    gap, head = 0.04, 0.55
    sizes = []
    for row in rows:
        width, height = plane_size(bounds, row.plane)
        count = len(row.positions_mm)
        across = (style.WIDTH_INCH - (count + 1) * gap) / count
        sizes.append((across, across * height / width))
    total = head + sum(height + gap for _, height in sizes)
    figure = style.new_figure(total)
    style.heading(figure, title, subtitle)
    if key:
        axes = figure.add_axes((0.55, 1 - 0.3 / total, 0.445, 0.24 / total))
        style.line_key(axes, [(c.label, c.colour) for c in key if c.label])
    shared, top = shared_axes(figure), total - head
    for row, (width, height) in zip(rows, sizes, strict=True):
        for index, (position, scene) in enumerate(zip(row.positions_mm, row.scenes, strict=True)):
            left = gap + index * (width + gap)
            panel = Panel(axes=shared, left=left, bottom=top - height, width=width, height=height)
            draw_slice(panel, scene, row.plane, position, bounds)
            if row.captions and row.captions[index]:
                write(panel, row.captions[index], (0.02, 0.98), weight="bold")
        top -= height + gap
    return figure
