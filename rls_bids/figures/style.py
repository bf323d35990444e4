"""One look for every figure: colours that colour-blind readers tell apart, fonts, and saving.

Figures are built with matplotlib's object interface (no pyplot, no global state) and written under
a temporary name first, so that a page never shows half a picture.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.dataset.description import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette, told apart with every common colour-vision deficiency.
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
INK = "#222222"
GREY = "#777777"
PALE = "#DDDDDD"

WIDTH_INCH = 11.0
"""Width of most figures: 1056 px on the page."""

DOTS_PER_INCH = 110
_PHOTO_DOTS_PER_INCH = 125
_CSS_PIXELS_PER_INCH = 96  # what an inch is on a page, so that all figures have one width

DIVERGING = "RdBu_r"
"""Colour map of signed statistics: blue below zero, red above."""

TISSUE_COLOURS = {"GM": VERMILION, "WM": SKY, "CSF": ORANGE}

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "rls_bids",
    "svg.image_inline": True,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with the fonts and lines of the package; matplotlib's settings are restored after."""
    import matplotlib as mpl

    with mpl.rc_context(_RC):  # type: ignore[arg-type]
        yield


def new_figure(height_inch: float, width_inch: float = WIDTH_INCH) -> "Figure":
    """Return an empty white figure of the given size in inches, drawn by the Agg renderer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inch, height_inch), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", out_file: str | Path, *, is_photo: bool = False) -> Path:
    """Write the figure as SVG or PNG (by the extension), whole or not at all.

    The bytes depend on the content alone: no date is written and SVG identifiers are fixed.

    Parameters
    ----------
    figure : Figure
        What to write.
    out_file : str or Path
        Ends in ``.svg`` or ``.png``; missing folders are made.
    is_photo : bool, optional
        Slices rather than lines: the SVG then holds one JPEG picture at a fine resolution, which
        is a fraction of the size of the same content in pieces.

    Returns
    -------
    Path
        The absolute path of the file.
    """
    target = Path(out_file).absolute()
    kind = target.suffix.lstrip(".").lower()
    if kind == "svg" and is_photo:
        atomic_write(target, _photo_svg(figure))
        return target
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    atomic_write(
        target,
        lambda path: figure.savefig(path, format=kind, dpi=DOTS_PER_INCH, metadata=metadata),
    )
    return target


def _photo_svg(figure: "Figure") -> str:
    """Return an SVG document that holds the figure as one JPEG picture."""
    buffer = BytesIO()
    options = {"quality": 82, "subsampling": 0, "optimize": True}
    figure.savefig(buffer, format="jpeg", dpi=_PHOTO_DOTS_PER_INCH, pil_kwargs=options)
    width = round(figure.get_figwidth() * _CSS_PIXELS_PER_INCH)
    height = round(figure.get_figheight() * _CSS_PIXELS_PER_INCH)
    picture = b64encode(buffer.getvalue()).decode("ascii")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f'<image width="{width}" height="{height}" '
        f'xlink:href="data:image/jpeg;base64,{picture}"/>\n</svg>\n'
    )


def heading(figure: "Figure", title: str, subtitle: str = "", *, inset_inch: float = 0.08) -> None:
    """Write the title and a smaller line below it at the top left of the figure."""
    height = figure.get_figheight()
    figure.text(0.006, 1 - inset_inch / height, title, va="top", weight="bold", size=11)
    if subtitle:
        place = 1 - (inset_inch + 0.22) / height
        figure.text(0.006, place, subtitle, va="top", size=9, color="#444444")


def line_key(axes: "Axes", entries: list[tuple[str, str]]) -> None:
    """Draw a legend of (label, colour) lines in one row inside otherwise empty axes."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, lw=2.2, label=label) for label, colour in entries]
    axes.axis("off")
    axes.legend(handles=handles, loc="center right", ncol=len(handles), borderaxespad=0)
