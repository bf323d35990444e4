"""Figure of a nuisance regression: what its regressors explain, and how alike they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rls_bids.figures import style
from rls_bids.numerics.loadings import Loadings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_REGRESSORS = "This strategy regresses nothing."
WHOLE = "whole model"
_ROW_INCH = 0.115
_LEAST_INCH = 4.0


def plot_loadings(
    found: Loadings,
    names: Sequence[str],
    families: Sequence[str],
    out_file: str | Path,
    *,
    title: str = "Confound loadings",
) -> Path:
    """Draw variance explained by family, the strength of each regressor, their correlations.

    Parameters
    ----------
    found : Loadings
        Of k regressors.
    names, families : sequence of k str
        The regressors, and the family of each.
    out_file : str or Path
        ``.svg`` or ``.png``.
    title : str, optional
        Heading of the figure.

    Returns
    -------
    Path
        What was written.
    """
    with style.house_style():
        figure = style.new_figure(max(_LEAST_INCH, 1.5 + _ROW_INCH * len(names)))
        if not names:
            style.heading(figure, title, NO_REGRESSORS)
            return style.save(figure, out_file)
        order = sorted(range(len(names)), key=lambda i: found.families.index(families[i]))
        own = [families[i] for i in order]
        edges = [i for i in range(1, len(own)) if own[i] != own[i - 1]]
        inch = 1 / figure.get_figheight()
        bottom, height = 0.8 * inch, 1 - 1.65 * inch
        _draw_families(figure.add_axes((0.125, bottom, 0.215, height)), found)
        strength = figure.add_axes((0.49, bottom, 0.1, height))
        _draw_strength(strength, found, [names[i] for i in order], order)
        matrix = figure.add_axes((0.61, bottom, 0.32, height))
        _draw_correlations(figure, matrix, found.correlations[np.ix_(order, order)])
        for edge in edges:
            strength.axhline(edge - 0.5, color=style.GREY, lw=0.5)
            matrix.axhline(edge - 0.5, color=style.INK, lw=0.5)
            matrix.axvline(edge - 0.5, color=style.INK, lw=0.5)
        style.heading(figure, title, _summary(found, len(names)))
        return style.save(figure, out_file)


def _summary(found: Loadings, n_regressors: int) -> str:
    chance = found.total_by_chance
    expected = f"{chance:.0%}" if np.isfinite(chance) else "nothing"
    return (
        f"{n_regressors} regressors explain {found.total:.0%} of the variance of the filtered "
        f"series, averaged over voxels; as many random ones would explain {expected}"
    )


def _draw_families(axes: "Axes", found: Loadings) -> None:
    """Draw what each family explains by itself (pale) and alone among all (dark)."""
    names = [*found.families, WHOLE]
    alone = [*found.alone, found.total]
    chance = [*found.by_chance, found.total_by_chance]
    rows = np.arange(len(names))
    axes.barh(rows, np.array(alone) * 100, height=0.7, color=style.SKY, label="by itself")
    axes.barh(rows[:-1], found.unique * 100, height=0.4, color=style.BLUE, label="lost without it")
    axes.plot(np.array(chance) * 100, rows, ls="", marker="|", ms=16, mew=2.2,
              color=style.VERMILION, label="by chance")  # fmt: skip
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(5.0, 105 * float(np.nanmax([*alone, *chance]))))
    axes.set_xlabel("variance explained (%)")
    axes.set_title("by family", loc="left")
    axes.axhline(len(names) - 1.5, color=style.GREY, lw=0.5)
    handles, words = axes.get_legend_handles_labels()
    figure = axes.figure
    figure.legend(handles, words, loc="lower left", bbox_to_anchor=(0.06, 0.0), ncols=3,
                  fontsize=8.0, handlelength=1.4, columnspacing=1.4)  # fmt: skip


def _draw_strength(
    axes: "Axes", found: Loadings, names: Sequence[str], order: Sequence[int]
) -> None:
    """Draw the mean absolute correlation of each regressor with the voxels."""
    rows = np.arange(len(names))
    axes.barh(rows, found.strength[list(order)], height=0.75, color=style.BLUE)
    if np.isfinite(found.strength_by_chance):
        axes.axvline(found.strength_by_chance, color=style.VERMILION, lw=1.0)
    axes.set_yticks(rows, names, fontsize=6.0)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("mean |r| with voxels")
    axes.set_title("by regressor", loc="left")


def _draw_correlations(figure: "Figure", axes: "Axes", correlations: np.ndarray) -> None:
    image = axes.imshow(
        correlations, cmap=style.DIVERGING, vmin=-1, vmax=1, aspect="auto", interpolation="none"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title("correlation of the regressors (same order)", loc="left")
    place = axes.get_position()
    scale = figure.add_axes((0.943, place.y0 + 0.2 * place.height, 0.011, 0.6 * place.height))
    figure.colorbar(image, cax=scale, ticks=[-1, 0, 1], label="r")
