"""Figures of a BOLD run: coregistration, head motion, carpet before and after denoising."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.figures import style
from rls_bids.figures.anat import DSEG_LABELS
from rls_bids.figures.planes import (
    PLANES,
    Contour,
    Floats,
    ImageLike,
    Row,
    Scene,
    Volume,
    bounds_of,
    intensity_window,
    load_volume,
    mosaic,
    slice_positions,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

Bools = NDArray[np.bool_]

TISSUES: Mapping[int, str] = MappingProxyType(DSEG_LABELS)
"""Tissue labels of the carpet's voxels: 1 grey matter, 2 white matter, 3 CSF; 0 is left out."""

_WHITE_MATTER = 2
_HALF = 0.5
_CARPET_ROWS = 420
_CARPET_COLUMNS = 900
_CARPET_SD = 2.0
_CARPET_STEP = 0.25  # grey levels: finer ones make the file larger and look the same
_SHIFTS = ("x (left–right)", "y (back–front)", "z (down–up)")
_TURNS = ("x (pitch)", "y (roll)", "z (yaw)")
_LINES = ((style.BLUE, "-"), (style.ORANGE, "-"), (style.GREEN, "-"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timing:
    """What the traces of a run share.

    ``kept`` (n_volumes,) is true for volumes that denoising uses; ``fd_mm`` (n_volumes,) is the
    framewise displacement in mm with NaN in the first place; ``repetition_time`` is in s;
    a ``fd_threshold_mm`` of 0 means that nothing is censored. ``with_breathing_mm`` is the
    displacement before breathing was taken out, where it was.
    """

    fd_mm: Floats
    kept: Bools
    repetition_time: float
    fd_threshold_mm: float = 0.5
    with_breathing_mm: Floats | None = None

    @property
    def seconds(self) -> Floats:
        """Start of every volume, s."""
        return np.arange(len(self.kept)) * self.repetition_time


def plot_coregistration(
    t1w: ImageLike,
    boldref_in_t1w: ImageLike,
    mask: ImageLike,
    dseg: "ImageLike | None",
    out_file: str | Path,
) -> Path:
    """Draw borders seen on the T1w image on the BOLD reference, in three planes.

    The last slice of each row shows the T1w image at the place of the slice before it.

    Parameters
    ----------
    t1w, mask : path or image
        The anatomy and its brain mask.
    boldref_in_t1w : path or image
        The BOLD reference resampled to T1w space.
    dseg : path or image, optional
        Tissue labels (2 = white matter), for the border of the white matter.
    out_file : str or Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    head, reference, brain = load_volume(t1w), load_volume(boldref_in_t1w), load_volume(mask)
    lines = t1w_borders(brain, dseg)
    bold = Scene(background=reference, window=intensity_window(reference, brain), contours=lines)
    anatomy = Scene(background=head, window=intensity_window(head, brain), contours=lines)
    bounds = bounds_of(brain, margin_mm=10)
    rows = [
        _compared_row(bold, anatomy, bounds, plane, count)
        for plane, count in zip(PLANES, (6, 6, 5), strict=True)
    ]
    with style.house_style():
        figure = mosaic(
            rows,
            bounds,
            "Coregistration: borders of the T1w image on the BOLD reference",
            "Lines should follow the brain's surface and the ventricles; "
            "signal may be lost above sinuses and ears.",
            lines,
        )
        return style.save(figure, out_file, is_photo=True)


def t1w_borders(brain: Volume, dseg: "ImageLike | None") -> tuple[Contour, ...]:
    """Return the outline of the brain and, given tissue labels, that of the white matter."""
    contours = [Contour(volume=brain, levels=(_HALF,), colour=style.ORANGE, label="brain (T1w)")]
    if dseg is not None:
        labels = load_volume(dseg)
        white = (labels.data == _WHITE_MATTER).astype(np.float32)
        contours.append(
            Contour(
                volume=Volume(data=white, affine=labels.affine), levels=(_HALF,),
                colour=style.SKY, label="white matter (T1w)", width=0.8,
            )
        )  # fmt: skip
    return tuple(contours)


def _compared_row(bold: Scene, anatomy: Scene, bounds: Floats, plane: str, count: int) -> Row:
    """Return BOLD slices and a last T1w slice at the place of the middle one."""
    positions = slice_positions(bounds, plane, count - 1)
    middle = positions[(count - 1) // 2]
    return Row(
        plane=plane,
        positions_mm=(*positions, middle),
        scenes=(bold,) * (count - 1) + (anatomy,),
        captions=("BOLD",) * (count - 1) + ("T1w",),
    )


def plot_motion(parameters: Floats, timing: Timing, out_file: str | Path) -> Path:
    """Draw translations, rotations and framewise displacement over time.

    Parameters
    ----------
    parameters : ndarray, shape (n_volumes, 6)
        Translations x, y, z in mm, then rotations in rad.
    timing : Timing
        Framewise displacement, kept volumes, repetition time.
    out_file : str or Path
        ``.svg`` or ``.png``.

    Returns
    -------
    Path
        What was written.
    """
    with style.house_style():
        figure = style.new_figure(4.6)
        top, middle, bottom = figure.subplots(3, 1, sharex=True)
        figure.subplots_adjust(left=0.07, right=0.86, top=0.88, bottom=0.1, hspace=0.16)
        for axes, columns, names, unit in (
            (top, parameters[:, :3], _SHIFTS, "translation (mm)"),
            (middle, np.rad2deg(parameters[:, 3:]), _TURNS, "rotation (°)"),
        ):
            for values, name, (colour, dash) in zip(columns.T, names, _LINES, strict=True):
                axes.plot(timing.seconds, values, color=colour, ls=dash, lw=1.2, label=name)
            axes.set_ylabel(unit)
            axes.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), handlelength=1.4)
        _draw_fd(bottom, timing)
        bottom.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), handlelength=1.4)
        bottom.set_xlabel("time (s)")
        figure.align_ylabels()
        n_kept, n_volumes = int(timing.kept.sum()), len(timing.kept)
        style.heading(figure, "Head motion", _censoring_words(n_kept, n_volumes, timing))
        return style.save(figure, out_file)


def _censoring_words(n_kept: int, n_volumes: int, timing: Timing) -> str:
    fd = timing.fd_mm[np.isfinite(timing.fd_mm)]
    mean = f"mean framewise displacement {fd.mean():.2f} mm, " if fd.size else ""
    if timing.fd_threshold_mm <= 0:
        return f"{mean}no censoring, {n_volumes} volumes"
    return (
        f"{mean}{n_kept} of {n_volumes} volumes kept "
        f"at a threshold of {timing.fd_threshold_mm:g} mm"
    )


def _draw_fd(axes: "Axes", timing: Timing) -> None:
    """Draw framewise displacement, its threshold, and the censored volumes as shaded columns."""
    name, breathing = "displacement", timing.with_breathing_mm
    if breathing is not None:
        name = "without breathing"
        axes.plot(timing.seconds, breathing, color=style.GREY, lw=0.6, label="as measured")
    axes.plot(timing.seconds, timing.fd_mm, color=style.INK, lw=1.0, label=name)
    shown = timing.fd_mm if breathing is None else np.fmax(timing.fd_mm, breathing)
    highest = np.nanmax(shown) if np.isfinite(shown).any() else 0.0
    if timing.fd_threshold_mm > 0:
        axes.axhline(
            timing.fd_threshold_mm, color=style.VERMILION, ls="--", lw=1.0, label="threshold"
        )
    axes.set_ylim(0, 1.1 * max(float(highest), timing.fd_threshold_mm, 0.2))
    axes.set_ylabel("FD (mm)")
    _shade_censored(axes, timing, label="censored")
    axes.set_xlim(0, len(timing.kept) * timing.repetition_time)


def _shade_censored(axes: "Axes", timing: Timing, label: str = "") -> None:
    censored = np.concatenate([[False], ~timing.kept, [False]]).astype(int)
    starts, ends = np.flatnonzero(np.diff(censored) == 1), np.flatnonzero(np.diff(censored) == -1)
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axes.axvspan(
            start * timing.repetition_time,
            end * timing.repetition_time,
            color=style.ORANGE,
            alpha=0.35,
            lw=0,
            label=label if index == 0 else None,
        )


def plot_carpet(
    data: Floats | str | Path,
    tissues: NDArray[np.integer[Any]],
    dvars: Floats,
    timing: Timing,
    out_file: str | Path,
    *,
    denoised: Floats | str | Path | None = None,
    title: str = "Carpet plot",
) -> Path:
    """Draw displacement, DVARS and every voxel's signal over time, before and after denoising.

    Each voxel's series has its mean and slope removed and is divided by its own standard
    deviation; voxels are sorted by tissue. Censored volumes are blank after denoising.

    Parameters
    ----------
    data : ndarray or path of a ``.npy``, shape (n_volumes, n_voxels)
        The series before denoising.
    tissues : ndarray of int, shape (n_voxels,)
        1 grey matter, 2 white matter, 3 CSF, 0 none of these (left out; where all are 0, the
        tissues are not known and all are shown).
    dvars : ndarray, shape (n_volumes,)
        Standardised DVARS, NaN in the first place.
    timing : Timing
        Framewise displacement, kept volumes, repetition time.
    out_file : str or Path
        ``.svg`` or ``.png``.
    denoised : ndarray or path of a ``.npy``, shape (n_kept, n_voxels), optional
        The residuals; with no rows, a sentence says that nothing is left.
    title : str, optional
        Heading of the figure.

    Returns
    -------
    Path
        What was written.
    """
    columns, labels = _chosen_voxels(tissues)
    shown = [("before denoising", carpet_values(_columns_of(data, columns)))]
    if denoised is not None:
        full = np.full(shown[0][1].shape, np.nan, dtype=np.float32)
        after = carpet_values(_columns_of(denoised, columns))
        if len(after):
            full[timing.kept] = after
        shown.append(("after denoising", full))
    with style.house_style():
        figure = style.new_figure(2.4 + 2.8 * len(shown))
        grid = figure.add_gridspec(
            2 + len(shown), 2, height_ratios=[1, 1, *[4] * len(shown)], width_ratios=[1, 60],
            left=0.1, right=0.9, top=0.91, bottom=0.065, hspace=0.14, wspace=0.015,
        )  # fmt: skip
        top = figure.add_subplot(grid[0, 1])
        _draw_fd(top, timing)
        middle = figure.add_subplot(grid[1, 1], sharex=top)
        _draw_dvars(middle, dvars, timing)
        panels = [top, middle]
        for row, (name, values) in enumerate(shown, start=2):
            places = (grid[row, 0], grid[row, 1])
            panels.append(_draw_carpet(figure, places, values, labels, timing, name))
        for axes in panels[:-1]:
            axes.tick_params(labelbottom=False)
        panels[-1].set_xlabel("time (s)")
        _carpet_scale(figure)
        figure.align_ylabels([top, middle])
        words = _censoring_words(int(timing.kept.sum()), len(timing.kept), timing)
        style.heading(figure, title, words)
        return style.save(figure, out_file)


def _chosen_voxels(tissues: NDArray[np.integer[Any]]) -> tuple[NDArray[np.intp], Any]:
    """Pick voxels evenly within each tissue, sorted by tissue; return columns and labels."""
    is_known = np.isin(tissues, list(TISSUES))
    inside = np.flatnonzero(is_known if is_known.any() else np.ones_like(is_known))
    ordered = inside[np.argsort(tissues[inside], kind="stable")]
    if len(ordered) > _CARPET_ROWS:
        ordered = ordered[np.linspace(0, len(ordered) - 1, _CARPET_ROWS).round().astype(int)]
    return ordered, tissues[ordered]


def _columns_of(data: Floats | str | Path, columns: NDArray[np.intp]) -> Floats:
    array = np.load(data, mmap_mode="r") if isinstance(data, (str, Path)) else data
    return np.asarray(array[:, columns], dtype=np.float32)


def carpet_values(series: Floats) -> Floats:
    """Remove mean and slope of every column and divide by its standard deviation.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
        Any unit.

    Returns
    -------
    ndarray, shape (n_volumes, n_voxels)
        In standard deviations; constant columns are 0.
    """
    n_volumes = len(series)
    if not n_volumes:
        return series
    time = np.linspace(-1.0, 1.0, n_volumes) if n_volumes > 1 else np.zeros(1)
    centred = series - series.mean(axis=0)
    power = float(time @ time)
    if power > 0:
        centred = centred - np.outer(time, time @ centred) / power
    spread = centred.std(axis=0)
    floor = np.finfo(np.float32).eps * (np.abs(series).max(axis=0) + 1)
    result: Floats = np.where(spread > floor, centred / np.maximum(spread, floor), 0.0)
    return result


def _draw_dvars(axes: "Axes", dvars: Floats, timing: Timing) -> None:
    axes.plot(timing.seconds, dvars, color=style.INK, lw=1.0)
    _shade_censored(axes, timing)
    axes.set_ylabel("std. DVARS\n(ratio)")


def _draw_carpet(
    figure: "Figure",
    places: "tuple[SubplotSpec, SubplotSpec]",
    values: Floats,
    labels: NDArray[np.integer[Any]],
    timing: Timing,
    name: str,
) -> "Axes":
    """Draw one carpet and, left of it, the tissue of its rows."""
    strip, place = places
    axes = figure.add_subplot(place)
    end = len(timing.kept) * timing.repetition_time
    fold = int(np.ceil(len(values) / _CARPET_COLUMNS))
    steps = np.round(values[::fold].T / _CARPET_STEP) * _CARPET_STEP
    axes.imshow(
        steps, cmap="gray", vmin=-_CARPET_SD, vmax=_CARPET_SD, aspect="auto",
        interpolation="none", extent=(0, end, len(labels), 0),
    )  # fmt: skip
    axes.set_facecolor("#F3DFA8")
    axes.set_xlim(0, end)
    axes.set_yticks([])
    if not np.isfinite(values).any():
        axes.text(
            0.5, 0.5, "nothing is left after denoising", ha="center", va="center",
            transform=axes.transAxes, size=11,
        )  # fmt: skip
    side = figure.add_subplot(strip)
    side.set(xlim=(0, 1), ylim=(len(labels), 0), xticks=[], yticks=[])
    side.spines[:].set_visible(False)
    for label, tissue in TISSUES.items():
        rows = np.flatnonzero(labels == label)
        if not rows.size:
            continue
        side.axhspan(rows[0], rows[-1] + 1, color=style.TISSUE_COLOURS[tissue], lw=0)
        side.text(-0.3, rows.mean(), tissue, ha="right", va="center")
        axes.axhline(rows[-1] + 1, color="white", lw=0.6)
    axes.spines[:].set_visible(False)
    side.set_ylabel(name, labelpad=30)
    return axes


def _carpet_scale(figure: "Figure") -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = figure.add_axes((0.915, 0.1, 0.012, 0.3))
    mappable = ScalarMappable(Normalize(-_CARPET_SD, _CARPET_SD), "gray")
    figure.colorbar(mappable, cax=scale, label="signal (SD of the voxel)", ticks=[-2, 0, 2])
