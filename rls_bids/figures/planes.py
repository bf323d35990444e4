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
    inside = np.argwhere(volume.data > 0)
    if not inside.size:
        inside = np.argwhere(np.ones((2, 2, 2), bool)) * (np.array(volume.data.shape) - 1)
    low, high = inside.min(axis=0), inside.max(axis=0)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    points = (low + corners * (high - low)) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return np.stack([points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm], axis=1)


def intensity_window(volume: Volume, region: Volume | None = None) -> tuple[float, float]:
    """Return the (black, white) intensities: 0 and the 99.5th percentile inside ``region``."""
    values = volume.data[volume.data > 0]
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


def draw_slice(axes: "Axes", scene: Scene, plane: str, position_mm: float, bounds: Floats) -> None:
    """Draw one slice with its outlines, its position in mm and its sides (L/R or A/P)."""
    step = max(plane_size(bounds, plane)) / 230.0
    values, across, up = sample_plane(scene.background, plane, position_mm, bounds, step_mm=step)
    extent = (across[0], across[-1], up[0], up[-1])
    low, high = scene.window
    # Few grey levels look the same and make the picture a third as large.
    grey = np.clip((values - low) / (high - low), 0, 1)
    grey = np.round(grey * _GREY_LEVELS) / _GREY_LEVELS
    axes.imshow(
        grey, cmap="gray", vmin=0, vmax=1, origin="lower", extent=extent, interpolation="none"
    )
    if scene.overlay is not None:
        _draw_overlay(axes, scene.overlay, plane, position_mm, bounds)
    for contour in scene.contours:
        values, across, up = sample_plane(contour.volume, plane, position_mm, bounds, step_mm=step)
        levels = [v for v in contour.levels if values.min() < v < values.max()]
        if levels:
            axes.contour(
                across, up, values, levels=levels, colors=contour.colour, linewidths=contour.width
            ).set_rasterized(True)
    axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], aspect="equal")
    axes.set_facecolor("black")
    for spine in axes.spines.values():
        spine.set_visible(False)
    _label_slice(axes, plane, position_mm)


def _draw_overlay(
    axes: "Axes", overlay: Overlay, plane: str, position_mm: float, bounds: Floats
) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    values, across, up = sample_plane(overlay.volume, plane, position_mm, bounds, step_mm=1.0)
    colours = colormaps[overlay.cmap](Normalize(-overlay.vmax, overlay.vmax)(values))
    strength = np.abs(values) / overlay.threshold if overlay.threshold > 0 else values != 0
    # Squared, so that weak values stay visible without hiding the anatomy.
    colours[..., 3] = np.round(np.clip(strength, 0, 1) ** 2 * 15) / 15
    extent = (across[0], across[-1], up[0], up[-1])
    axes.imshow(colours, origin="lower", extent=extent, interpolation="none")


def _label_slice(axes: "Axes", plane: str, position_mm: float) -> None:
    left, right = ("P", "A") if plane == "sagittal" else ("L", "R")
    white = _white_text(axes)
    axes.text(0.02, 0.5, left, va="center", ha="left", weight="bold", **white)
    axes.text(0.98, 0.5, right, va="center", ha="right", weight="bold", **white)
    axes.text(0.98, 0.02, position_label(plane, position_mm), va="bottom", ha="right", **white)


def _white_text(axes: "Axes") -> dict[str, Any]:
    """Return how text on a slice looks: white with a dark rim, legible on any brain."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2, foreground="black")]
    return {"color": "white", "transform": axes.transAxes, "size": 8, "path_effects": rim}


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
        panel = (style.WIDTH_INCH - (count + 1) * gap) / count
        sizes.append((panel, panel * height / width))
    total = head + sum(height + gap for _, height in sizes)
    figure = style.new_figure(total)
    style.heading(figure, title, subtitle)
    if key:
        axes = figure.add_axes((0.55, 1 - 0.3 / total, 0.445, 0.24 / total))
        style.line_key(axes, [(c.label, c.colour) for c in key if c.label])
    top = total - head
    for row, (width, height) in zip(rows, sizes, strict=True):
        for index, (position, scene) in enumerate(zip(row.positions_mm, row.scenes, strict=True)):
            left = gap + index * (width + gap)
            box = (left / style.WIDTH_INCH, (top - height) / total, width / style.WIDTH_INCH)
            axes = figure.add_axes((*box, height / total))
            draw_slice(axes, scene, row.plane, position, bounds)
            if row.captions and row.captions[index]:
                _caption(axes, row.captions[index])
        top -= height + gap
    return figure


def _caption(axes: "Axes", text: str) -> None:
    axes.text(0.02, 0.98, text, va="top", ha="left", weight="bold", **_white_text(axes))
