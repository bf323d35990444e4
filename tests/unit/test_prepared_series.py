"""Series of other programs on the output grid: the same numbers where nothing need be moved."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from rls_bids.dataset import checks
from rls_bids.errors import InputDataError
from rls_bids.interfaces import prepared
from rls_bids.interfaces.prepared import LoadPrepared, PrepareTissues, on_grid
from rls_bids.resources.grids import standard_head
from rls_bids.resources.templates import locate_template
from tests.factories import write_nifti
from tests.prepared import SPACE, confounds_columns, write_table

N_VOLUMES = 16


@pytest.fixture(scope="module")
def grid():
    """The standard head: mask and affine."""
    template = locate_template(SPACE, "2")
    _, mask, affine = standard_head(template.brain, SPACE, "2")
    return mask, affine


@pytest.fixture(scope="module")
def box(grid):
    """A box well inside the brain, as a mask on the output grid."""
    mask = np.zeros(grid[0].shape, bool)
    mask[35:60, 45:75, 35:60] = True
    return mask


def save(folder: Path, series, mask, affine, *, extension: str = ".nii") -> tuple[str, str]:
    bold = write_nifti(folder / f"bold{extension}", series, affine=affine, repetition_time=2.0)
    inside = write_nifti(folder / "mask.nii.gz", mask.astype(np.uint8), affine=affine)
    return str(bold), str(inside)


@pytest.fixture(scope="module")
def series(grid, box):
    """Noise in the box, 0 around it."""
    values = np.zeros((*grid[0].shape, N_VOLUMES), np.float32)
    values[box] = np.random.default_rng(2).normal(1000, 10, (box.sum(), N_VOLUMES))
    return values


def test_on_its_own_grid_not_a_bit_is_changed(tmp_path, grid, box, series) -> None:
    files = save(tmp_path, series, box, grid[1])
    data, mask = on_grid(*files, 0, grid[0].shape, grid[1])
    assert data.dtype == np.float32
    assert data.flags.c_contiguous
    np.testing.assert_array_equal(data, series[box].T)
    np.testing.assert_array_equal(mask, box)


def test_the_first_volumes_can_be_left_out(tmp_path, grid, box, series) -> None:
    files = save(tmp_path, series, box, grid[1])
    data, _ = on_grid(*files, 3, grid[0].shape, grid[1])
    np.testing.assert_array_equal(data, series[box].T[3:])


def test_voxels_that_never_vary_are_outside(tmp_path, grid, box, series) -> None:
    wide = box.copy()
    wide[34] = True
    files = save(tmp_path, series, wide, grid[1])
    _, mask = on_grid(*files, 0, grid[0].shape, grid[1])
    np.testing.assert_array_equal(mask, box)


def test_another_storage_order_gives_the_same_voxels(tmp_path, grid, box, series) -> None:
    """Stored right to left: left must stay left."""
    flipped = grid[1].copy()
    flipped[0, 0] *= -1
    flipped[0, 3] = grid[1][0, 3] + 2 * (box.shape[0] - 1)
    lopsided = series.copy()
    lopsided[:40] *= 2
    files = save(tmp_path, lopsided[::-1], box[::-1], flipped)
    data, mask = on_grid(*files, 0, grid[0].shape, grid[1])
    np.testing.assert_array_equal(mask, box)
    np.testing.assert_allclose(data, lopsided[box].T, rtol=1e-4)


def test_a_coarser_grid_is_interpolated_in_the_right_place(tmp_path, grid) -> None:
    """A plane in space, rising with time, keeps its values at every voxel of the output."""
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = (-80, -110, -60)
    i, j, k = np.indices((40, 48, 40))
    plane = 500 + 2.0 * (4 * i - 80) - (4 * j - 110) + 0.5 * (4 * k - 60)
    values = np.stack([plane + 3 * t for t in range(N_VOLUMES)], axis=-1).astype(np.float32)
    mask = np.zeros(plane.shape, bool)
    mask[12:28, 15:33, 12:28] = True
    data, inside = on_grid(*save(tmp_path, values, mask, affine), 0, grid[0].shape, grid[1])
    x, y, z = (np.argwhere(inside) @ grid[1][:3, :3].T + grid[1][:3, 3]).T
    np.testing.assert_allclose(data[0], 500 + 2 * x - y + 0.5 * z, atol=0.5)
    np.testing.assert_allclose(data[5] - data[0], 15, atol=0.01)
    assert 0.9 < inside.sum() * 8 / (mask.sum() * 64) < 1.1


def test_what_is_not_finite_counts_inside_the_mask_only(tmp_path, grid, box, series) -> None:
    holes = series.copy()
    holes[0, 0, 0, 2] = np.nan
    files = save(tmp_path, holes, box, grid[1])
    data, _ = on_grid(*files, 0, grid[0].shape, grid[1])
    assert np.isfinite(data).all()
    holes[50, 60, 50, 2] = np.inf
    files = save(tmp_path, holes, box, grid[1])
    with pytest.raises(InputDataError) as caught:
        on_grid(*files, 0, grid[0].shape, grid[1])
    assert caught.value.message == checks.NOT_FINITE.format(path=files[0], count=1)


def test_a_truncated_series_is_refused(tmp_path, grid, box, series) -> None:
    bold, mask = save(tmp_path, series[..., :12], box, grid[1], extension=".nii.gz")
    Path(bold).write_bytes(Path(bold).read_bytes()[:-50_000])
    with pytest.raises(InputDataError, match="cannot be read"):
        on_grid(bold, mask, 0, grid[0].shape, grid[1])


def test_an_empty_mask_is_refused(tmp_path, grid, box, series) -> None:
    files = save(tmp_path, series, np.zeros_like(box), grid[1])
    with pytest.raises(InputDataError, match="marks no voxel"):
        on_grid(*files, 0, grid[0].shape, grid[1])


def load(folder: Path, files: tuple[str, str], **options: object):
    """Run the node's interface in a folder of its own."""
    node = LoadPrepared(
        in_file=files[0],
        in_mask=files[1],
        confounds_file=str(folder / "confounds.tsv"),
        template=locate_template(SPACE, "2").brain,
        space=SPACE,
        resolution="2",
        fd_threshold_mm=0.5,
        repetition_time=2.0,
        version="1",
        **options,
    )
    return node.run(cwd=str(folder)).outputs


def test_series_and_table_lose_the_same_volumes(tmp_path, grid, box, series) -> None:
    columns = confounds_columns("present", N_VOLUMES)
    columns["framewise_displacement"][[2, 9]] = 0.9
    write_table(tmp_path / "confounds.tsv", columns)
    outputs = load(tmp_path, save(tmp_path, series, box, grid[1]), n_dropped=2)
    data = np.load(outputs.series)
    table = pd.read_csv(outputs.confounds, sep="\t", na_values="n/a")
    outliers = pd.read_csv(outputs.outliers, sep="\t")
    assert len(data) == len(table) == len(outliers) == N_VOLUMES - 2
    np.testing.assert_allclose(table["trans_x"], columns["trans_x"][2:], rtol=1e-7)
    assert np.isnan(table["framewise_displacement"][0])
    assert [int(outliers[name].argmax()) for name in outliers] == [7]
    assert table["std_dvars"].notna().sum() == N_VOLUMES - 3  # the table had none
    assert np.load(outputs.tsnr).shape == (data.shape[1],)
    mean = nib.load(outputs.boldref_std).get_fdata()
    np.testing.assert_allclose(mean[box], series[box][:, 2:].mean(axis=1), rtol=1e-4)
    assert json.loads(Path(outputs.metadata).read_text()) == {}


def test_a_mask_beside_the_standard_brain_is_not_in_its_space(tmp_path, grid, series) -> None:
    outside = np.zeros(grid[0].shape, bool)
    outside[:8, :8, :8] = True
    noisy = np.random.default_rng(0).normal(size=(*outside.shape, N_VOLUMES)).astype(np.float32)
    write_table(tmp_path / "confounds.tsv", confounds_columns("present", N_VOLUMES))
    files = save(tmp_path, noisy, outside, grid[1])
    with pytest.raises(InputDataError) as caught:
        load(tmp_path, files)
    assert caught.value.message == prepared.NOT_IN_SPACE.format(
        path=files[1], found=0.0, space=SPACE, expected=0.5
    )


def test_labels_are_made_from_the_probabilities(tmp_path, grid) -> None:
    """fMRIPrep numbered CSF 1 in its first versions; the probabilities never changed."""
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = (-96, -132, -78)
    shape = (48, 57, 48)
    for place, tissue in enumerate(("GM", "WM", "CSF")):
        share = np.zeros(shape, np.float32)
        share[10 * place : 10 * place + 10] = 0.9
        write_nifti(tmp_path / f"{tissue}.nii.gz", share, affine=affine)
    files = {tissue: str(tmp_path / f"{tissue}.nii.gz") for tissue in ("GM", "WM", "CSF")}
    (tmp_path / "node").mkdir()
    node = PrepareTissues(**files, space=SPACE, resolution="2", version="1")
    outputs = node.run(cwd=str(tmp_path / "node")).outputs
    labels = nib.load(outputs.dseg_std)
    assert labels.shape == grid[0].shape
    assert [int(labels.dataobj[x, 50, 40]) for x in (9, 29, 49, 80)] == [1, 2, 3, 0]
    assert nib.load(outputs.WM_std).get_fdata()[29, 50, 40] == pytest.approx(0.9)
