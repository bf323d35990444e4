"""Global graph metrics over density, beside those of null networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rls_bids.figures import style

PANELS = (
    ("sigma", "small-worldness σ"),
    ("gamma", "γ: clustering over that of nulls"),
    ("lambda", "λ: path length over that of nulls"),
    ("clustering", "clustering coefficient"),
    ("global_efficiency", "global efficiency"),
    ("local_efficiency", "local efficiency"),
)
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
        top = 1 - _HEAD_INCH / figure.get_figheight()
        axes = figure.subplots(
            n_rows,
            _COLUMNS,
            gridspec_kw={
                "left": 0.07, "right": 0.99, "bottom": 0.1, "top": top - 0.02,
                "hspace": 0.55, "wspace": 0.28,
            },
        )  # fmt: skip
        for panel, (metric, label) in zip(np.ravel(axes), PANELS, strict=True):
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
            np.ravel(axes)[0].legend(fontsize=7, frameon=False)
        return style.save(figure, out_file)
