"""Pictures of connections: order, sides, and what is drawn."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from rls_bids.figures import edges
from rls_bids.figures.nodes import VIEWS

N = 6
CENTRES = np.array(
    [[-40.0, 30, 10], [-30, -40, 20], [40, 30, 10], [30, -50, 20], [0, 0, 0], [np.nan] * 3]
)


@pytest.fixture
def values() -> edges.EdgeValues:
    """One connection on the left, one on the right, one whose end has no place."""
    z, survives = np.zeros((N, N)), np.zeros((N, N), dtype=bool)
    for first, second, value in ((0, 1, 5.0), (2, 3, -4.0), (0, 5, 6.0)):
        z[first, second] = z[second, first] = value
        survives[first, second] = survives[second, first] = True
    return edges.EdgeValues(z=z, in_network=survives, alone=survives & (z > 4.5), n_networks=2)


def test_sides_show_their_own_connections(values: edges.EdgeValues) -> None:
    first, second = np.array([0, 2]), np.array([1, 3])
    shown = {}
    for view in VIEWS:
        panel = Figure().add_subplot()
        edges._draw_lines(panel, CENTRES, (first, second, values.z[first, second]), view, 6.0)
        (lines,) = [each for each in panel.collections if isinstance(each, LineCollection)]
        shown[view[0]] = {float(value) for value in lines.get_array()}
        if view[0] == "above":
            x = {tuple(segment[:, 0]) for segment in lines.get_segments()}
            assert x == {(-40.0, -30.0), (40.0, 30.0)}
    assert shown == {"left": {5.0}, "right": {-4.0}, "back": {5.0, -4.0}, "above": {5.0, -4.0}}


def test_both_are_written(values: edges.EdgeValues, tmp_path: Path) -> None:
    affine = np.diag([10.0, 10, 10, 1])
    affine[:3, 3] = (-80, -110, -60)
    brain = nib.Nifti1Image(np.ones((17, 20, 15), np.float32), affine)
    words = {"title": "a", "subtitle": "b"}
    out = edges.plot_connectome(values, CENTRES, brain, words, tmp_path / "c.svg")
    text = out.read_text(encoding="utf-8")
    assert "2 surviving networks, 2 connections" in text
    groups = ["b", "a", "", "a", "b", "c"]
    assert edges.plot_edge_matrix(values, groups, words, tmp_path / "e.png").stat().st_size > 5000


def test_nothing_survives(tmp_path: Path) -> None:
    nothing = np.zeros((N, N), dtype=bool)
    values = edges.EdgeValues(z=np.zeros((N, N)), in_network=nothing, alone=nothing, n_networks=0)
    brain = nib.Nifti1Image(np.ones((9, 9, 9), np.float32), np.diag([20.0, 20, 20, 1]))
    words = {"title": "a", "subtitle": "b"}
    out = edges.plot_connectome(values, CENTRES, brain, words, tmp_path / "c.svg")
    assert "0 surviving networks" in out.read_text(encoding="utf-8")
    assert edges.plot_edge_matrix(values, ["a"] * N, words, tmp_path / "e.svg").is_file()
