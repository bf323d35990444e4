"""Global graph metrics over density, beside those of null networks."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rls_bids.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (
    ("sigma", "small-worldness σ"),
    ("gamma", "γ: clustering over that of nulls"),
    ("lambda", "λ: path length over that of nulls"),
    ("clustering", "clustering coefficient"),
    ("global_efficiency", "global efficiency"),
    ("local_efficiency", "local efficiency"),
)
GROUP_COLOURS = (style.VERMILION, style.BLUE, style.ORANGE, style.SKY, style.GREEN, style.PURPLE)
_COLUMNS = 3
_PANEL_INCH = 2.2
_HEAD_INCH = 0.7


def curve(
    rows: Sequence[Mapping[str, str]], metric: str, weighting: str, column: str = "value"
) -> tuple[list[float], list[float]]:
    """Return densities and values of one metric of positive edges; missing ones are left out.

    Examples
    --------
    >>> row = {"metric": "sigma", "density": "0.1", "weighting": "binary", "sign": "positive",
    ...        "value": "2.5"}
    >>> curve([row, row | {"density": "0.2", "value": "n/a"}], "sigma", "binary")
    ([0.1], [2.5])
    """
    points = [
        (float(row["density"]), float(row[column]))
        for row in rows
        if row["metric"] == metric
        and row["weighting"] == weighting
        and row["sign"] != "negative"
        and "n/a" not in (row["density"], row[column])
    ]
    points.sort()
    return [x for x, _ in points], [y for _, y in points]


def plot_curves(
    rows: Sequence[Mapping[str, str]], title: str, subtitle: str, out_file: str | Path
) -> Path:
    """Draw one panel a metric: the participant's graphs, and mean ± 2 SD of the nulls.

    Parameters
    ----------
    rows : sequence of mapping
        The long table of global metrics, cells as text.
    title, subtitle : str
    out_file : str or Path
    """
    at_density = (row["weighting"] for row in rows if row["density"] != "n/a")
    weightings = list(dict.fromkeys(at_density))
    n_rows = -(-len(PANELS) // _COLUMNS)
    with style.house_style():
        figure = style.new_figure(_HEAD_INCH + n_rows * _PANEL_INCH)
        style.heading(figure, title, f"{subtitle}; grey: null networks, mean ± 2 SD")
        for panel, (metric, label) in zip(_panels(figure, n_rows), PANELS, strict=True):
            for weighting, colour in zip(weightings, (style.BLUE, style.ORANGE), strict=False):
                x, y = curve(rows, metric, weighting)
                panel.plot(x, y, "o-", ms=3, lw=1.4, color=colour, label=weighting)
                at, mean = curve(rows, metric, weighting, "null_mean")
                _, spread = curve(rows, metric, weighting, "null_sd")
                if at and len(spread) == len(mean):
                    middle, reach = np.array(mean), 2 * np.array(spread)
                    panel.plot(at, middle, "-", color=style.GREY, lw=1)
                    panel.fill_between(at, middle - reach, middle + reach, color=style.PALE, lw=0)
            panel.set_title(label, fontsize=9)
            panel.set_xlabel("density", fontsize=8)
            panel.tick_params(labelsize=8)
        if len(weightings) > 1:
            figure.axes[0].legend(fontsize=7, frameon=False)
        return style.save(figure, out_file)


def group_curves(
    rows: Sequence[Mapping[str, str]], metric: str, weighting: str, group: str
) -> tuple[list[float], list[list[float]]]:
    """Return densities and the values of a group's participants, one list a participant.

    Examples
    --------
    >>> row = {"metric": "sigma", "density": "0.1", "weighting": "binary", "sign": "positive",
    ...        "group": "HC", "participant_id": "sub-1", "value": "2.5"}
    >>> group_curves([row, row | {"participant_id": "sub-2", "value": "n/a"}], "sigma", "binary",
    ...              "HC")
    ([0.1], [[2.5], [nan]])
    """
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        is_shown = (row["metric"], row["weighting"], row["group"]) == (metric, weighting, group)
        if is_shown and row["sign"] != "negative" and row["density"] != "n/a":
            value = float("nan") if row["value"] == "n/a" else float(row["value"])
            found.setdefault(row["participant_id"], {})[float(row["density"])] = value
    densities = sorted({density for own in found.values() for density in own})
    return densities, [[own[density] for density in densities] for own in found.values()]


def plot_group_curves(
    rows: Sequence[Mapping[str, str]],
    groups: Sequence[str],
    title: str,
    subtitle: str,
    out_file: str | Path,
) -> Path:
    """Draw the mean of each group over density, with the 95 % confidence band of the mean.

    Parameters
    ----------
    rows : sequence of mapping
        Long table of every participant's global metrics, cells as text.
    groups : sequence of str
        In the order of their colours: first and second group, or more.
    title, subtitle : str
    out_file : str or Path
    """
    from rls_bids.numerics.columns import mean_interval

    weightings = list(dict.fromkeys(row["weighting"] for row in rows if row["density"] != "n/a"))
    n_rows = -(-len(PANELS) // _COLUMNS)
    with style.house_style():
        figure = style.new_figure(_HEAD_INCH + n_rows * _PANEL_INCH)
        style.heading(figure, title, f"{subtitle}; means with 95 % confidence bands, not adjusted")
        for panel, (metric, label) in zip(_panels(figure, n_rows), PANELS, strict=True):
            for weighting, line in zip(weightings, ("-", "--"), strict=False):
                for group, colour in zip(groups, cycle(GROUP_COLOURS), strict=False):
                    x, values = group_curves(rows, metric, weighting, group)
                    if not x:
                        continue
                    mean, lower, upper = mean_interval(values)
                    name = group if len(weightings) == 1 else f"{group}, {weighting}"
                    panel.plot(x, mean, line, marker="o", ms=3, lw=1.4, color=colour, label=name)
                    panel.fill_between(x, lower, upper, color=colour, alpha=0.18, lw=0)
            panel.set_title(label, fontsize=9)
            panel.set_xlabel("density", fontsize=8)
            panel.tick_params(labelsize=8)
        figure.axes[0].legend(fontsize=7, frameon=False)
        return style.save(figure, out_file)


def _panels(figure: "Figure", n_rows: int) -> "list[Axes]":
    """Return the axes of all panels, row by row."""
    top = 1 - _HEAD_INCH / figure.get_figheight()
    places = {
        "left": 0.07, "right": 0.99, "bottom": 0.1, "top": top - 0.02, "hspace": 0.55,
        "wspace": 0.28,
    }  # fmt: skip
    return list(np.ravel(figure.subplots(n_rows, _COLUMNS, gridspec_kw=places)))
