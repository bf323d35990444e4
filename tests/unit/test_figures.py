"""Figures: sampling in world coordinates against planted places, and every figure on mock data."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from rls_bids.figures import anat, bold, group, maps, planes, style

RNG = np.random.default_rng(7)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-46, -58, -46)
SHAPE = (24, 28, 24)
CENTRE = (-18.0, -22.0, 6.0)


def _grid() -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    return index @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def _image(data: np.ndarray, affine: np.ndarray = AFFINE) -> nib.Nifti1Image:
    return nib.Nifti1Image(data.astype(np.float32), affine)


@pytest.fixture(scope="module")
def head() -> dict[str, nib.Nifti1Image]:
    """A brain of three nested ellipsoids with labels, and a map with one blob at ``CENTRE``."""
    points = _grid()
    radius = np.sqrt(((points / np.array([38, 48, 38])) ** 2).sum(-1))
    labels = np.select([radius < 0.3, radius < 0.7, radius < 1], [3, 2, 1], 0)
    t1w = np.choose(labels, [0, 60, 100, 20]) + RNG.normal(0, 1, SHAPE) * (labels > 0)
    blob = 0.8 * np.exp(-((points - np.array(CENTRE)) ** 2).sum(-1) / 2 / 8**2)
    return {
        "t1w": _image(t1w),
        "mask": _image(labels > 0),
        "dseg": _image(labels),
        "bold": _image(gaussian_filter(np.choose(labels, [0, 80, 60, 120]).astype(float), 1)),
        "map": _image(blob * (labels > 0)),
    }


def _check(path: Path, is_wide: bool = True) -> None:
    """A figure is whole, small and opens."""
    assert 2_000 < path.stat().st_size < 500_000
    assert list(path.parent.glob(".*")) == []
    if path.suffix == ".svg":
        text = path.read_text(encoding="utf-8")
        assert text.rstrip().endswith("</svg>")
        assert "<dc:date>" not in text
        width = re.search(r'<svg[^>]*? width="([\d.]+)(pt)?"', text)
        assert width is not None
        if is_wide:
            pixels = float(width[1]) * (96 / 72 if width[2] else 1)
            assert pixels == pytest.approx(96 * style.WIDTH_INCH, abs=1)


@pytest.mark.parametrize(
    "orientation", [("R", "A", "S"), ("L", "A", "S"), ("P", "S", "R"), ("L", "I", "P")]
)
def test_a_left_marker_is_drawn_left_whatever_the_storage_order(orientation):
    data = np.zeros(SHAPE)
    data[3:6, 13:16, 11:14] = 1  # world x of -34 to -26: left
    image = _image(data)
    start = nib.io_orientation(image.affine)
    end = nib.orientations.axcodes2ornt(orientation)
    stored = image.as_reoriented(nib.orientations.ornt_transform(start, end))
    volume = planes.load_volume(stored)
    bounds = planes.world_extent(volume)
    for plane, position in (("axial", 2.0), ("coronal", -2.0)):
        values, across, _ = planes.sample_plane(volume, plane, position, bounds)
        centre = (values.sum(axis=0) * across).sum() / values.sum()
        assert centre == pytest.approx(-30, abs=0.6)


def test_an_oblique_image_is_sampled_where_it_is():
    turn = 0.4
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    data = np.zeros(SHAPE)
    data[5, 20, 12] = 1
    affine = rotation @ AFFINE
    truth = affine @ np.array([5, 20, 12, 1.0])
    volume = planes.load_volume(_image(data, affine))
    bounds = planes.world_extent(volume)
    values, across, up = planes.sample_plane(volume, "axial", truth[2], bounds, step_mm=0.5)
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert (across[column], up[row]) == pytest.approx(truth[:2], abs=0.5)


def test_bounds_of_a_box_and_of_an_empty_image():
    data = np.zeros(SHAPE)
    data[4:7, 5:9, 6] = 1
    found = planes.bounds_of(planes.load_volume(_image(data)), margin_mm=2)
    expected = [[-30 - 2, -22 + 2], [-38 - 2, -26 + 2], [-22 - 2, -22 + 2]]
    np.testing.assert_allclose(found, expected)
    empty = planes.load_volume(_image(np.zeros(SHAPE)))
    np.testing.assert_allclose(planes.bounds_of(empty), planes.world_extent(empty))


def test_bounds_are_those_of_what_is_shown_on_an_oblique_grid():
    turn = np.eye(4)
    turn[:2, :2] = np.sqrt(0.5) * np.array([[1, -1], [1, 1]])
    ball = (np.linalg.norm(np.indices((41, 41, 41)) - 20, axis=0) <= 15).astype(np.float32)
    found = planes.bounds_of(planes.Volume(data=ball, affine=turn))
    middle = turn[:3, :3] @ (20, 20, 20)
    np.testing.assert_allclose(found - middle[:, None], [[-15, 15]] * 3, atol=0.5)


def test_slices_say_their_side():
    assert planes.position_label("sagittal", -18) == "x = −18 mm (L)"
    assert planes.position_label("sagittal", 18.2) == "x = 18 mm (R)"
    assert planes.position_label("sagittal", 0) == "x = 0 mm"
    assert planes.position_label("coronal", -7) == "y = −7 mm"


def test_values_that_are_not_finite_become_zero_and_4d_its_mean():
    data = np.ones((*SHAPE, 2))
    data[..., 1] = 3
    data[0, 0, 0] = np.nan
    volume = planes.load_volume(_image(data))
    assert volume.data.shape == SHAPE
    assert volume.data[0, 0, 0] == 0
    assert volume.data[1, 1, 1] == 2


def test_class_means_finds_three_planted_classes():
    values = np.concatenate([RNG.normal(m, 1, n) for m, n in ((20, 300), (60, 900), (100, 800))])
    assert anat.class_means(values) == pytest.approx((20, 60, 100), abs=1)
    assert anat.class_means(np.zeros(0)) == (0.0, 0.0, 0.0)


def test_carpet_values_have_no_mean_slope_or_scale():
    time = np.arange(50.0)
    series = RNG.normal(size=(50, 4)) * np.array([1, 5, 0.1, 1]) + 800
    series[:, 3] = 7.0
    trended = series + time[:, None] * np.array([3, -2, 1, 0])
    values = bold.carpet_values(trended)
    np.testing.assert_allclose(values[:, :3].std(axis=0), 1, atol=1e-9)
    slopes = np.polyfit(time, values, 1)
    np.testing.assert_allclose(slopes, 0, atol=1e-9)
    np.testing.assert_allclose(values[:, 3], 0)
    np.testing.assert_allclose(values, bold.carpet_values(series), atol=1e-9)


def test_colour_limit_is_rounded_up_and_ignores_zeros():
    data = np.zeros(SHAPE)
    data[:4] = -0.61
    assert maps.display_limit(planes.load_volume(_image(data))) == 0.7
    assert maps.display_limit(planes.load_volume(_image(np.zeros(SHAPE)))) == 0.2


def test_dots_do_not_overlap_and_never_change():
    shifts = group.dodge(30)
    assert len(np.unique(shifts)) == 30
    assert abs(shifts).max() <= 0.18
    np.testing.assert_array_equal(shifts, group.dodge(30))


def test_anatomy_figures(head, tmp_path):
    _check(anat.plot_tissue(head["t1w"], head["dseg"], tmp_path / "b.svg"))
    _check(anat.plot_normalization(head["t1w"], head["t1w"], tmp_path / "c.svg"))


def test_coregistration_reads_paths_with_and_without_tissues(head, tmp_path):
    for name, image in head.items():
        image.to_filename(tmp_path / f"{name}.nii.gz")
    files = [tmp_path / f"{name}.nii.gz" for name in ("t1w", "bold", "mask")]
    _check(bold.plot_coregistration(*files, tmp_path / "dseg.nii.gz", tmp_path / "a.svg"))
    _check(bold.plot_coregistration(*files, None, tmp_path / "b.svg"))


@pytest.fixture
def timing() -> bold.Timing:
    fd = np.abs(RNG.normal(0.1, 0.05, 60))
    fd[0], fd[[20, 21, 59]] = np.nan, 0.9
    return bold.Timing(fd_mm=fd, kept=~(np.nan_to_num(fd) > 0.5), repetition_time=2.0)


def test_carpet_before_and_after_and_when_nothing_is_left(tmp_path, timing):
    data = RNG.normal(size=(60, 900)).astype(np.float32)
    np.save(tmp_path / "data.npy", data)
    tissues = RNG.integers(0, 4, 900)
    dvars = np.concatenate([[np.nan], np.ones(59)])
    kept = data[timing.kept]
    for name, denoised in (("a", kept), ("b", kept[:0]), ("c", None)):
        path = tmp_path / f"{name}.svg"
        source = tmp_path / "data.npy"
        _check(bold.plot_carpet(source, tissues, dvars, timing, path, denoised=denoised))
    unknown = np.zeros_like(tissues)
    _check(bold.plot_carpet(source, unknown, dvars, timing, tmp_path / "d.svg", denoised=kept))


def test_displacement_as_measured_is_drawn_beside_that_without_breathing(tmp_path, timing):
    parameters = RNG.normal(0, 0.01, (60, 6))
    both = replace(timing, with_breathing_mm=timing.fd_mm + 2.0)
    texts = {}
    for name, each in (("plain", timing), ("both", both)):
        path = tmp_path / f"{name}.svg"
        _check(bold.plot_motion(parameters, each, path))
        texts[name] = path.read_text(encoding="utf-8")
    assert "as measured" in texts["both"]
    assert "without breathing" in texts["both"]
    assert "as measured" not in texts["plain"]


def test_motion_without_censoring(tmp_path, timing):
    parameters = RNG.normal(0, 0.01, (60, 6))
    _check(bold.plot_motion(parameters, timing, tmp_path / "a.png"))
    free = bold.Timing(
        fd_mm=timing.fd_mm, kept=np.ones(60, bool), repetition_time=2.0, fd_threshold_mm=0
    )
    _check(bold.plot_motion(parameters, free, tmp_path / "b.svg"))


def test_seeds_as_spheres_and_regions(head, tmp_path):
    seeds = [
        maps.SeedMark(name="a", centre_mm=CENTRE, radius_mm=4, network="thalamus"),
        maps.SeedMark(name="b", mask=head["mask"]),
        maps.SeedMark(name="c", mask=_image(np.zeros(SHAPE))),
    ]
    _check(maps.plot_seeds_on_t1w(head["t1w"], seeds, tmp_path / "a.svg"))
    _check(maps.plot_seeds_on_t1w(head["t1w"], [], tmp_path / "b.svg"))


def test_bright_fat_does_not_darken_the_seeds(head, tmp_path):
    seed = maps.SeedMark(name="a", centre_mm=CENTRE, radius_mm=4)
    data = head["t1w"].get_fdata()
    fat = np.where(head["mask"].get_fdata() > 0, data, 800)
    written = [
        maps.plot_seeds_on_t1w(_image(each), [seed], tmp_path / f"{n}.png")
        for n, each in enumerate((data, fat))
    ]
    from matplotlib.image import imread

    plain, fatty = (imread(path)[100:, 50:140, 0].mean() for path in written)
    assert fatty == pytest.approx(plain, abs=0.1)


def test_seed_map_is_the_same_bytes_twice(head, tmp_path):
    seed = maps.SeedMark(name="a", centre_mm=CENTRE, radius_mm=4)
    look = maps.MapLook(title="a", unit="Fisher z")
    written = [
        maps.plot_seed_map(head["map"], head["t1w"], [seed], look, tmp_path / f"{n}.svg")
        for n in "ab"
    ]
    _check(written[0])
    assert written[0].read_bytes() == written[1].read_bytes()


def test_seed_map_shows_the_blob_in_red_on_its_side(head):
    seed = maps.SeedMark(name="a", centre_mm=CENTRE, radius_mm=4)
    look = maps.MapLook(title="a", unit="Fisher z")
    with style.house_style():
        figure = maps.draw_map(head["map"], head["t1w"], [seed], look)
        figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[::-1] / 255
    is_red = (picture[..., 0] > 0.35) & (picture[..., 1] < 0.3) & (picture[..., 2] < 0.35)
    shared = figure.axes[0]
    sides = [text for text in shared.texts if text.get_text() in {"L", "R"}]
    for left, right in (sides[:2], sides[2:4]):  # axial, coronal
        assert (left.get_text(), right.get_text()) == ("L", "R")
        (x_left, row), (x_right, _) = (
            shared.transData.transform(text.get_position()).astype(int) for text in (left, right)
        )
        middle = (x_left + x_right) // 2
        rows = slice(row - 150, row + 150)
        assert is_red[rows, x_left:middle].sum() > 500
        assert is_red[rows, middle:x_right].sum() == 0


def test_group_figures(head, tmp_path):
    t_map = _image(head["map"].get_fdata() * 8)
    seed = maps.SeedMark(name="a", centre_mm=CENTRE, radius_mm=4)
    look = maps.MapLook(title="a", unit="t", threshold=2.0)
    none = _image(np.zeros(SHAPE))
    for name, significant in (("a", _image(t_map.get_fdata() > 4)), ("b", none)):
        path = tmp_path / f"{name}.svg"
        _check(
            group.plot_group_map(t_map, head["t1w"], [seed], look, path, significant=significant)
        )
        left = _image(t_map.get_fdata() * significant.get_fdata())
        _check(
            group.plot_corrected_map(left, head["t1w"], [seed], look, tmp_path / f"{name}c.svg")
        )
    design = np.column_stack([np.repeat([1.0, 0], 8), np.repeat([0.0, 1], 8), np.arange(16)])
    rows = [f"sub-{n:02d}" for n in range(16)]
    names = ["RLS", "HC", "age"]
    _check(group.plot_design(design, names, tmp_path / "d.svg", rows=rows), is_wide=False)
    ages = np.append(np.nan, np.arange(15.0))
    groups = ["RLS"] * 8 + ["HC"] * 8
    _check(group.plot_covariates({"age (years)": ages}, groups, tmp_path / "c.svg"), is_wide=False)


def test_matplotlib_settings_are_left_alone_and_pyplot_is_not_used(head, tmp_path):
    import sys

    import matplotlib as mpl

    before = mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]
    sys.modules.pop("matplotlib.pyplot", None)
    path = anat.plot_brain_mask(head["t1w"], head["mask"], tmp_path / "a.svg")
    assert (mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]) == before
    assert "matplotlib.pyplot" not in sys.modules
    picture = base64.b64decode(path.read_text().split("base64,")[1].split('"')[0])
    assert picture.startswith(b"\xff\xd8")  # a JPEG inside
