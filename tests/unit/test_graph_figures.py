"""Pictures of graphs by group: what is drawn where."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rls_bids.figures import graph, nodes, style
from rls_bids.numerics.columns import mean_interval

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-78, -110, -70)
GROUPS = ("RLS", "HC")


@pytest.fixture
def brain() -> nib.Nifti1Image:
    index = np.stack(np.meshgrid(*(np.arange(40),) * 3, indexing="ij"), -1)
    points = index @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    inside = ((points / [65, 85, 60]) ** 2).sum(-1) < 1
    return nib.Nifti1Image(inside.astype(np.float32), AFFINE)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list:
    """Return the figures that are saved."""
    figures: list = []
    save = style.save

    def keep(figure, out_file, **kind):
        figures.append(figure)
        return save(figure, out_file, **kind)

    monkeypatch.setattr(style, "save", keep)
    return figures


def test_nodes_lie_where_they_are(brain: nib.Nifti1Image, drawn: list, tmp_path: Path) -> None:
    centres = np.array([[-40, -60, 10], [40, 30, 20], [-20, 50, 0], [np.nan] * 3, [10, 0, 0]])
    t = np.array([5.0, -2.0, 1.0, 9.0, np.nan])
    row = nodes.NodeValues(title="clustering", t=t, survives=t > 4)
    words = {"title": "Nodes", "subtitle": "n = 6 and 6"}
    path = nodes.plot_nodes([row], centres, brain, words, tmp_path / "nodes.svg")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</svg>")
    views = {panel.get_title(): panel for panel in drawn[0].axes if panel.get_title()}
    assert set(views) == {"left", "back", "above", "right"}

    def dots(view: str) -> dict[float, tuple[float, ...]]:
        found = views[view].collections[-1]
        places = [tuple(place) for place in found.get_offsets().tolist()]
        return dict(zip(found.get_array().tolist(), places, strict=True))

    assert dots("left") == {5.0: (-60, 10), 1.0: (50, 0)}
    assert dots("right") == {-2.0: (30, 20)}
    assert dots("back") == {5.0: (-40, 10), -2.0: (40, 20), 1.0: (-20, 0)}
    assert dots("above") == {5.0: (-40, -60), -2.0: (40, 30), 1.0: (-20, 50)}
    assert list(views["back"].collections[-1].get_array()) == [1.0, -2.0, 5.0]  # largest on top
    low, high = views["back"].get_xlim()
    assert low < 0 < high  # left is left
    assert views["left"].get_xlim()[0] > 0 > views["left"].get_xlim()[1]  # front to the left
    sizes = views["back"].collections[-1].get_sizes()
    assert sizes[-1] > sizes[0] == sizes[1]
    assert views["back"].collections[-1].get_clim() == (-9.0, 9.0)


def test_nothing_tested_is_an_empty_brain(brain: nib.Nifti1Image, tmp_path: Path) -> None:
    nothing = np.full(2, np.nan)
    row = nodes.NodeValues(title="degree", t=nothing, survives=nothing > 0)
    words = {"title": "Nodes", "subtitle": ""}
    path = nodes.plot_nodes([row], np.zeros((2, 3)), brain, words, tmp_path / "nodes.svg")
    assert path.is_file()


def rows_of(metric: str, group: str, values: np.ndarray, weighting: str) -> list[dict[str, str]]:
    return [
        {
            "participant_id": f"sub-{group}{place}",
            "group": group,
            "metric": metric,
            "weighting": weighting,
            "sign": "positive",
            "density": f"{density:g}",
            "value": "n/a" if np.isnan(value) else f"{value:.8g}",
        }
        for place, own in enumerate(values)
        for density, value in zip((0.1, 0.2, 0.3), own, strict=True)
    ]


@pytest.mark.parametrize("weightings", [("binary",), ("binary", "weighted")])
def test_curves_are_means_with_their_bands(
    weightings: tuple[str, ...], drawn: list, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    values = {group: rng.random((5, 3)) for group in GROUPS}
    values["RLS"][0, 1] = np.nan
    rows = [
        row
        for metric, _ in graph.PANELS
        for group in GROUPS
        for weighting in weightings
        for row in rows_of(metric, group, values[group], weighting)
    ]
    graph.plot_group_curves(rows, GROUPS, "Graphs", "n = 5 and 5", tmp_path / "curves.svg")
    panel = drawn[0].axes[0]
    assert len(panel.lines) == len(panel.collections) == 2 * len(weightings)
    for group, line, band in zip(GROUPS, panel.lines[:2], panel.collections[:2], strict=True):
        mean, lower, upper = mean_interval(values[group])
        np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-6)
        corners = band.get_paths()[0].vertices[:, 1]
        assert corners.min() == pytest.approx(lower.min(), rel=1e-5)
        assert corners.max() == pytest.approx(upper.max(), rel=1e-5)
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names[0].startswith("RLS")
