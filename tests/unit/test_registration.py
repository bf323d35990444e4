"""Normalisation, standard points and coregistration against planted transforms."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from rls_bids.interfaces import coregistration, registration
from rls_bids.interfaces.images import (
    load_mask,
    load_volume,
    save_itk_transforms,
    save_mask,
    save_volume,
)
from rls_bids.numerics.coregister import align, coregister
from rls_bids.numerics.realign import parameters_to_matrix
from rls_bids.numerics.resample import resample_volume, voxel_points
from rls_bids.phantom.head import standard_model
from rls_bids.resources.grids import standard_head
from rls_bids.resources.templates import locate_template

SPACE = "MNI152NLin2009cAsym"
CENTRE = np.array([0.0, -18.0, 8.0])


@pytest.fixture(scope="module")
def template():
    return locate_template(SPACE, "2")


@pytest.fixture(scope="module")
def standard(template):
    """The template on the 2 mm grid: brain, mask, affine."""
    return standard_head(template.brain, SPACE, "2")


@pytest.fixture(scope="module")
def bend():
    """A smooth displacement of some millimetres on a 4 mm lattice, and the lattice's affine."""
    rng = np.random.default_rng(5)
    shape = (54, 64, 54)
    parts = [ndimage.gaussian_filter(rng.normal(size=shape), 5.0) for _ in range(3)]
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = (-108, -146, -90)
    return np.stack([part / part.std() * 2.0 for part in parts]), affine


def head_to_standard(points, bend):
    """The planted map: an affine, then the bend; T1w RAS mm → standard RAS mm."""
    field, affine = bend
    matrix = parameters_to_matrix(np.array([6, -8, 10, 0.12, 0.05, -0.08]), CENTRE)
    turned = points @ (matrix[:3, :3] * (1.07, 0.95, 1.04)).T + matrix[:3, 3]
    lattice = ((turned - affine[:3, 3]) / 4.0).T
    moved = [ndimage.map_coordinates(part, lattice, order=3, mode="nearest") for part in field]
    return turned + np.transpose(moved)


@pytest.fixture(scope="module")
def head(standard, bend, tmp_path_factory):
    """A 3 mm head stored left to right backwards, deformed by the planted map; files."""
    folder = tmp_path_factory.mktemp("head")
    brain, mask, affine = standard
    rng = np.random.default_rng(6)
    grid = np.diag([-3.0, 3, 3, 1])
    grid[:3, 3] = (99, -130, -100)
    shape = (66, 76, 68)
    points = head_to_standard(voxel_points(np.ones(shape, bool), grid), bend)
    inside = resample_volume(mask.astype(np.float32), affine, points).reshape(shape) > 0.5
    signal = resample_volume(brain, affine, points, 3).reshape(shape)
    left = (points[:, 0].reshape(shape) < -15) & inside
    noisy = np.where(inside, np.clip(signal + rng.normal(0, 2, shape), 0.1, None), 0)
    return {
        "t1w": save_volume(noisy, grid, folder / "t1w.nii.gz"),
        "mask": save_mask(inside, grid, folder / "mask.nii.gz"),
        "left": save_mask(left, grid, folder / "left.nii.gz"),
    }


def normalise(template, head, folder, **inputs):
    """Run the node; returns its outputs."""
    interface = registration.NormalizeToTemplate(
        in_file=head["t1w"], mask=head["mask"], template=template.brain, version="1", **inputs
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return interface.run(cwd=str(folder)).outputs


@pytest.fixture(scope="module")
def sloppy(template, head, tmp_path_factory):
    """Transforms of the head by the sloppy scheme."""
    return normalise(template, head, tmp_path_factory.mktemp("sloppy, [in] a folder"), sloppy=True)


def errors_mm(transform, standard, bend, folder):
    """Distance between the planted map of the points found and where they should be."""
    _, mask, affine = standard
    points = registration.field_points(transform, mask.shape, affine, folder)[mask]
    wanted = voxel_points(mask, affine)
    return np.linalg.norm(head_to_standard(points.astype(np.float64), bend) - wanted, axis=1)


def test_sloppy_is_better_than_any_affine(sloppy, standard, bend, tmp_path):
    found = errors_mm(sloppy.t1w_to_std, standard, bend, tmp_path)
    assert found.mean() <= 1.75
    assert found.mean() <= 0.7 * best_affine(standard, bend)


@pytest.mark.slow
def test_planted_deformation_is_recovered(template, head, standard, bend, tmp_path):
    outputs = normalise(template, head, tmp_path)
    found = errors_mm(outputs.t1w_to_std, standard, bend, tmp_path)
    assert found.mean() <= 1.5
    assert np.percentile(found, 95) <= 3.0
    assert best_affine(standard, bend) >= 2 * found.mean()


def best_affine(standard, bend):
    """Mean error that even the best affine map leaves, by least squares on the planted map."""
    _, mask, grid = standard
    wanted = voxel_points(mask, grid)
    field, affine = bend
    lattice = ((wanted - affine[:3, 3]) / 4.0).T
    moved = np.transpose(
        [ndimage.map_coordinates(part, lattice, order=3, mode="nearest") for part in field]
    )
    design = np.column_stack([wanted, np.ones(len(wanted))])
    rest = moved - design @ np.linalg.lstsq(design, moved, rcond=None)[0]
    return np.linalg.norm(rest, axis=1).mean()


def test_second_run_is_identical(sloppy, template, head, standard, tmp_path):
    again = normalise(template, head, tmp_path, sloppy=True)
    _, mask, affine = standard
    first, second = (
        registration.field_points(outputs.t1w_to_std, mask.shape, affine, tmp_path)
        for outputs in (sloppy, again)
    )
    np.testing.assert_array_equal(first[mask], second[mask])


def test_inverse_leads_back(sloppy, standard, tmp_path):
    _, mask, affine = standard
    points = registration.field_points(sloppy.t1w_to_std, mask.shape, affine, tmp_path)
    grid = np.diag([4.0, 4, 4, 1])
    grid[:3, 3] = (-120, -160, -130)
    shape = (60, 70, 65)
    back = registration.field_points(sloppy.std_to_t1w, shape, grid, tmp_path)
    inner = ndimage.binary_erosion(mask, iterations=5)
    lattice = ((points[inner] - grid[:3, 3]) / 4.0).T
    there = [ndimage.map_coordinates(back[..., k], lattice, order=1) for k in range(3)]
    distance = np.linalg.norm(np.transpose(there) - voxel_points(inner, affine), axis=1)
    assert distance.mean() < 0.5


def test_points_agree_with_ants(sloppy, standard, tmp_path):
    import ants
    import pandas as pd

    _, mask, affine = standard
    transform = sloppy.t1w_to_std
    points = registration.field_points(transform, mask.shape, affine, tmp_path)[mask][::9999]
    lps = voxel_points(mask, affine)[::9999] * (-1, -1, 1)
    plain = shutil.copy(transform, tmp_path / "copied.h5")
    frame = pd.DataFrame(lps, columns=["x", "y", "z"])
    oracle = ants.apply_transforms_to_points(3, frame, [str(plain)], whichtoinvert=[False])
    oracle = oracle[["x", "y", "z"]].to_numpy() * (-1, -1, 1)
    np.testing.assert_allclose(points, oracle, atol=0.01)


def test_left_stays_left_on_the_standard_grid(sloppy, template, head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = {
        "transform": sloppy.t1w_to_std,
        "template": template.brain,
        "space": SPACE,
        "resolution": "2",
        "version": "1",
    }
    found = registration.ResampleToStandard(
        t1w=head["t1w"],
        mask=head["mask"],
        dseg=head["left"],
        GM=head["left"],
        WM=head["mask"],
        CSF=head["mask"],
        **{name: value for name, value in common.items() if name != "template"},
    ).run()
    marker, affine = load_mask(found.outputs.dseg_std)
    assert marker.shape == (97, 115, 97)
    np.testing.assert_array_equal(affine[:3, 3], (-96.5, -132.5, -78.5))
    sides = voxel_points(marker, affine)[:, 0]
    assert (sides < -12).mean() > 0.99
    assert nib.load(found.outputs.dseg_std).get_data_dtype() == np.uint8
    assert load_volume(found.outputs.GM_std).data.max() <= 1
    assert load_volume(found.outputs.t1w_std).data.min() >= 0
    # what is called grey matter here is the left marker: the standard grid keeps its volume
    amount, source = (load_volume(path) for path in (found.outputs.modulated, head["left"]))
    there = float(amount.data.sum()) * 8.0
    here = float(source.data.sum()) * abs(np.linalg.det(source.affine[:3, :3]))
    assert there == pytest.approx(here, rel=0.03)
    assert abs(float(load_volume(found.outputs.GM_std).data.sum()) * 8.0 / here - 1) > 0.05
    unmoved = {key: value for key, value in common.items() if key != "transform"}
    points = registration.StandardPoints(**unmoved).run().outputs
    mask, affine = load_mask(points.std_mask)
    np.testing.assert_allclose(np.load(points.points), voxel_points(mask, affine), atol=1e-4)
    points = registration.StandardPoints(**common).run().outputs
    mask, _ = load_mask(points.std_mask)
    where = np.load(points.points)
    assert where.dtype == np.float32
    assert where.shape == (mask.sum(), 3)
    source = load_volume(head["left"])
    again = resample_volume(source.data, source.affine, where.astype(np.float64), 0)
    np.testing.assert_array_equal(again > 0, marker[mask])


def bold_of(standard, pull, size_mm=4.0):
    """An echo-planar image of the template: fluid bright, turned by a pull matrix, own grid."""
    brain, mask, affine = standard
    contrast = np.where(mask, 160 - brain, 0).astype(np.float32)
    rng = np.random.default_rng(7)
    fine = np.diag([-size_mm / 2, size_mm / 2, size_mm / 2, 1.0])
    shape = (96, 112, 84)
    middle = pull[:3, :3] @ CENTRE + pull[:3, 3]
    fine[:3, 3] = middle - fine[:3, :3] @ ((np.array(shape) - 1) / 2) + (1.3, -2.1, 0.7)
    back = np.linalg.inv(pull)
    points = voxel_points(np.ones(shape, bool), fine) @ back[:3, :3].T + back[:3, 3]
    dense = resample_volume(contrast, affine, points).reshape(shape)
    coarse = fine.copy()
    coarse[:3, :3] *= 2
    coarse[:3, 3] += fine[:3, :3].sum(axis=1) / 2
    blocks = dense.reshape(48, 2, 56, 2, 42, 2).mean(axis=(1, 3, 5))
    field = 1 + 0.2 * np.sin(np.linspace(0, 3, 56))[:, None]
    return np.abs(blocks * field + rng.normal(0, 3, blocks.shape)).astype(np.float32), coarse


STARTS = {
    "near": (1.0, -2, 1, 0.01, -0.02, 0.02),
    "20 mm and 20 degrees": (-11.5, 11.5, 11.5, 0.2, -0.2, 0.2),
    "pitch": (0, 15, -13, 0.35, 0, 0),
}


@pytest.mark.parametrize("name", STARTS)
def test_coregistration_from_far(standard, name):
    pull = parameters_to_matrix(np.array(STARTS[name]), CENTRE)
    brain, mask, affine = standard
    bold, bold_affine = bold_of(standard, pull)
    bold_mask = ndimage.binary_opening(bold > 40)
    found = coregister(brain, affine, mask, bold, bold_affine, bold_mask)
    points = voxel_points(mask, affine)
    difference = found.matrix - pull
    error = np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1)
    assert error.mean() <= 0.5


@pytest.mark.parametrize("low", [10, 17, 24])
def test_a_slab_is_found_from_the_headers(standard, low):
    """36 mm of brain, 8 mm and 5 degrees away; its centre is not the brain's."""
    pull = parameters_to_matrix(np.array([3, 5, -5, 0.05, -0.06, 0.03]), CENTRE)
    brain, mask, affine = standard
    bold, grid = bold_of(standard, pull)
    slab, grid = bold[:, :, low : low + 9], grid.copy()
    grid[:3, 3] += grid[:3, 2] * low
    slab_mask = ndimage.binary_opening(slab > 40)  # as masks are, eaten away at the faces
    found = coregister(brain, affine, mask, slab, grid, slab_mask)
    points = voxel_points(mask, affine)
    voxels = np.linalg.inv(grid) @ pull @ np.vstack([points.T, np.ones(len(points))])
    points = points[np.all((voxels[:3].T >= 0) & (np.array(slab.shape) - 1 >= voxels[:3].T), 1)]
    assert 0.1 < len(points) / np.count_nonzero(mask) < 0.5
    difference = found.matrix - pull
    error = np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1)
    assert error.mean() <= 1.0


@pytest.mark.parametrize("is_same_grid", [True, False])
def test_images_of_one_session_are_aligned_from_their_headers(standard, is_same_grid):
    """Another contrast, a bright rim around the head, 4 mm and 3 degrees away or in place."""
    _, mask, affine = standard
    still, grid = bold_of(standard, np.eye(4))
    pull = np.eye(4)
    if not is_same_grid:
        pull = parameters_to_matrix(np.array([1, 3.5, -1.5, 0.05, -0.02, 0.01]), CENTRE)
    other, other_grid = bold_of(standard, pull, 3.6)
    shell = ndimage.binary_dilation(other > 40, iterations=4)
    shell &= ~ndimage.binary_dilation(other > 40, iterations=2)
    other = np.where(shell, 400, np.sqrt(other) * 10).astype(np.float32)
    region = ndimage.binary_opening(still > 40)
    found = align(still, grid, region, other, other_grid)
    points = voxel_points(mask, affine)
    difference = found.matrix - pull
    error = np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1)
    assert error.mean() <= 0.5


def test_coregistration_node(standard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import ants

    pull = parameters_to_matrix(np.array(STARTS["pitch"]), CENTRE)
    brain, mask, affine = standard
    bold, bold_affine = bold_of(standard, pull)
    model = standard_model(skull=False, dropout=False)
    shares = [
        resample_volume(share, model.affine, voxel_points(np.ones(mask.shape, bool), affine))
        for share in model.tissues
    ]
    grey, white, _ = (share.reshape(mask.shape) for share in shares)
    found = (
        coregistration.Coregister(
            boldref=save_volume(bold, bold_affine, tmp_path / "bold.nii.gz"),
            t1w=save_volume(brain, affine, tmp_path / "t1w.nii.gz"),
            mask=save_mask(mask, affine, tmp_path / "mask.nii.gz"),
            white=save_volume(white, affine, tmp_path / "white.nii.gz"),
            grey=save_volume(grey, affine, tmp_path / "grey.nii.gz"),
            version="1",
        )
        .run()
        .outputs
    )
    points = voxel_points(mask, affine)
    matrix = np.load(found.t1w_to_boldref)
    where = points @ matrix[:3, :3].T + matrix[:3, 3]
    truth = points @ pull[:3, :3].T + pull[:3, 3]
    assert np.linalg.norm(where - truth, axis=1).mean() <= 0.5
    assert found.moved_mm == pytest.approx(np.linalg.norm(truth - points, axis=1).mean(), abs=0.5)
    told = json.loads(Path(found.metadata).read_text())
    assert told["MovedFromHeaderMm"] > 15
    assert told["CoregistrationMethod"] == "white-matter boundary"
    assert told["BoundaryWrongShare"] < 0.2
    itk = ants.read_transform(found.boldref_to_t1w, precision="double")
    flip = np.array([-1, -1, 1])
    np.testing.assert_allclose(
        flip * np.array(itk.apply_to_point(tuple(flip * points[777]))), where[777], atol=1e-4
    )
    moved = load_volume(found.boldref_in_t1w).data
    assert np.corrcoef(moved[mask], brain[mask])[0, 1] < -0.25
    bold_mask, _ = load_mask(found.boldref_mask)
    assert bold[bold_mask].mean() > 10 * bold[~bold_mask].mean()


def test_itk_file_of_many_volumes(tmp_path):
    motion = [parameters_to_matrix(np.array([n, 0, -n, 0.01 * n, 0, 0]), CENTRE) for n in range(3)]
    text = Path(save_itk_transforms(np.array(motion), tmp_path / "hmc.txt")).read_text()
    blocks = text.split("#Transform ")[1:]
    assert [block[0] for block in blocks] == ["0", "1", "2"]
    numbers = np.array(blocks[2].splitlines()[2].split()[1:], float)
    flip = np.diag([-1.0, -1, 1])
    np.testing.assert_allclose(numbers[:9].reshape(3, 3), flip @ motion[2][:3, :3] @ flip)
    np.testing.assert_allclose(numbers[9:], flip @ motion[2][:3, 3])
