"""One look for every figure: colours that colour-blind readers tell apart, fonts, and saving.

Figures are built with matplotlib's object interface (no pyplot, no global state) and written under
a temporary name first, so that a page never shows half a picture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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
"""Width of every figure: 1100 px on the page at one to one."""

DOTS_PER_INCH = 110

DIVERGING = "RdBu_r"
"""Colour map of signed statistics: blue below zero, red above."""

TISSUE_COLOURS = {"GM": VERMILION, "WM": SKY, "CSF": GREEN}

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

    with mpl.rc_context(_RC):
        yield


def new_figure(height_inch: float, width_inch: float = WIDTH_INCH) -> "Figure":
    """Return an empty white figure of the given size in inches, drawn by the Agg renderer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inch, height_inch), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", out_file: str | Path) -> Path:
    """Write the figure as SVG or PNG (by the extension), whole or not at all.

    The bytes depend on the content alone: no date is written and SVG identifiers are fixed.

    Parameters
    ----------
    figure : Figure
        What to write.
    out_file : str or Path
        Ends in ``.svg`` or ``.png``; missing folders are made.

    Returns
    -------
    Path
        The absolute path of the file.
    """
    target = Path(out_file).absolute()
    kind = target.suffix.lstrip(".").lower()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    atomic_write(
        target,
        lambda path: figure.savefig(path, format=kind, dpi=DOTS_PER_INCH, metadata=metadata),
    )
    return target


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
