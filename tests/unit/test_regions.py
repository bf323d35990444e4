"""Seeds that are labels or files: found by name, on their side, in their space, or refused."""

import json
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest

from rls_bids.errors import UsageError
from rls_bids.interfaces.measure import seed_record
from rls_bids.numerics.resample import voxel_points
from rls_bids.records import Seed
from rls_bids.resources import load_seeds, regions
from rls_bids.resources.grids import standard_grid
from rls_bids.resources.regions import circularity, find_place, region_on_grid, seed_region
from rls_bids.resources.seeds import seed_to_space, seeds_in_space
from rls_bids.resources.spaces import FSL_SPACE, NEW_SPACE, points_to_space

SHAPE, AFFINE = standard_grid(NEW_SPACE, "2")


def centre_of(region):
    return voxel_points(np.asarray(region), AFFINE).mean(axis=0)


def save_mask(path, points_mm, affine, shape, radius=6.0, dtype=np.uint8):
    distance = [
        np.linalg.norm(voxel_points(np.ones(shape, bool), affine) - p, axis=1) for p in points_mm
    ]
    data = (np.min(distance, axis=0) <= radius).reshape(shape).astype(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return data


def write_seeds(path, *rows):
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return str(path)


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["AAL3:Thal_VPL_L", "AAL3:129", "aal3:thal_vpl_l"])
def test_a_label_is_found_by_name_and_index(mask):
    place = find_place(mask)
    assert (place.name, place.index, place.space) == ("AAL3:Thal_VPL_L", 129, "Colin27")
    assert len(place.content) == 64


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("AAL3:Thal_VPL_L", "AAL3:Thal_VPL_R"),
        ("HCPex:Area_1_L", "HCPex:Area_1_R"),
        ("HarvardOxford:Left Thalamus", "HarvardOxford:Right Thalamus"),
        ("Seitzman300:VentralAttention_216", "Seitzman300:VentralAttention_218"),
    ],
)
def test_labels_lie_on_their_side(left, right):
    sides = [centre_of(region_on_grid(name, SHAPE, AFFINE, NEW_SPACE)) for name in (left, right)]
    assert sides[0][0] < -3
    assert sides[1][0] > 3
    assert np.linalg.norm(sides[0] * [-1, 1, 1] - sides[1]) < 12


def test_a_label_is_where_the_seed_table_has_its_centre():
    found = centre_of(region_on_grid("AAL3:Thal_VPL_L", SHAPE, AFFINE, NEW_SPACE))
    assert np.linalg.norm(found - [-18, -21, 5]) < 1.0


def test_a_harvard_oxford_label_is_also_found_by_index():
    by_name = find_place("HarvardOxford:Left Thalamus")
    from rls_bids.resources.atlases import find_atlas
    from rls_bids.resources.parcels import load_parcels

    parcels = load_parcels(find_atlas("HarvardOxford"))
    index = next(p.index for p in parcels if p.name == "Left Thalamus")
    assert find_place(f"HarvardOxford:{index}") == by_name


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        ("AAL3:Thal_VPX_L", "Thal_VPL_L"),
        ("AAL3:9999", "AAL3"),
        ("HarvardOxford:Left Thalamos", "Left Thalamus"),
        ("AAL4:Thal_VPL_L", "'AAL4'"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is_near(mask, found):
    with pytest.raises(UsageError) as caught:
        find_place(mask)
    assert found in caught.value.message


def test_a_label_of_a_users_atlas_relative_to_the_seeds_file(tmp_path):
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -80, -110, -60
    image = tmp_path / "atlas-Mine_space-MNI152NLin2009cAsym_dseg.nii.gz"
    data = 7 * save_mask(image, [(-20, 0, 20)], affine, (41, 50, 41), radius=9, dtype=np.int16)
    nib.save(nib.Nifti1Image(data, affine), image)
    image.with_name(image.name.replace(".nii.gz", ".tsv")).write_text("index\tname\n7\tspot\n")
    path = write_seeds(tmp_path / "s.json", {"name": "A", "mask": f"{image.name}:spot"})
    (seed,) = seeds_in_space(NEW_SPACE, path)
    assert seed.mask == f"{image}:spot"
    assert (
        np.linalg.norm(centre_of(seed_region(seed, SHAPE, AFFINE, NEW_SPACE)) - [-20, 0, 20]) < 1
    )


# --- files --------------------------------------------------------------------------------------

OBLIQUE = np.array(
    [[-1.9, 0.3, 0.0, 80.0], [0.3, 1.9, 0.2, -120.0], [0.1, -0.2, 2.1, -70.0], [0, 0, 0, 1.0]]
)


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["same grid", "oblique, right to left"])
def test_a_mask_file_comes_out_at_its_place_whatever_its_grid(tmp_path, affine):
    spot = np.array([-24.0, -20.0, 10.0])
    save_mask(tmp_path / "spot.nii.gz", [spot], affine, SHAPE)
    row = {"name": "A", "mask": "spot.nii.gz", "space": NEW_SPACE}
    (seed,) = seeds_in_space(NEW_SPACE, write_seeds(tmp_path / "s.json", row))
    region = seed_region(seed, SHAPE, AFFINE, NEW_SPACE)
    distance = np.linalg.norm(voxel_points(np.ones(SHAPE, bool), AFFINE) - spot, axis=1)
    expected = (distance <= 6).reshape(SHAPE)
    assert np.linalg.norm(centre_of(region) - spot) < 0.5
    overlap = 2 * (region & expected).sum() / (region.sum() + expected.sum())
    assert overlap > (0.99 if affine is AFFINE else 0.85)


def test_a_mask_file_of_another_space_is_moved(tmp_path):
    spot = np.array([-6.0, -26.0, 76.0])  # 2.5 mm and more between the spaces
    save_mask(tmp_path / "leg.nii.gz", [spot], *standard_grid(NEW_SPACE, "2")[::-1], radius=8)
    rows = [
        {"name": name, "mask": "leg.nii.gz", "space": space}
        for name, space in (("moved", FSL_SPACE), ("kept", "Colin27"))
    ]
    moved, kept = seeds_in_space(NEW_SPACE, write_seeds(tmp_path / "s.json", *rows))
    assert (moved.given_space, moved.space) == (FSL_SPACE, NEW_SPACE)
    assert (kept.given_space, kept.space) == ("Colin27", "Colin27")
    there = points_to_space(spot[None], FSL_SPACE, NEW_SPACE)[0]
    assert np.linalg.norm(there - spot) > 2
    # the warp changes the shape of the ball as well
    assert np.linalg.norm(centre_of(seed_region(moved, SHAPE, AFFINE, NEW_SPACE)) - there) < 1
    assert np.linalg.norm(centre_of(seed_region(kept, SHAPE, AFFINE, NEW_SPACE)) - spot) < 0.3


def test_the_space_of_a_file_is_read_from_its_name_where_nothing_else_says_it(tmp_path):
    name = f"x_space-{FSL_SPACE}_mask.nii.gz"
    save_mask(tmp_path / name, [(0, 0, 0)], AFFINE, SHAPE)
    assert find_place(str(tmp_path / name)).space == FSL_SPACE
    assert find_place(str(tmp_path / name), "Talairach").space == "Talairach"
    save_mask(tmp_path / "y.nii", [(0, 0, 0)], AFFINE, SHAPE)
    assert find_place(str(tmp_path / "y.nii")).space == "unknown"


def test_what_is_above_zero_is_inside_also_in_one_volume_and_beside_nan(tmp_path):
    data = np.full((*SHAPE, 1), np.nan, dtype=np.float32)
    data[40:50, 50:60, 40:50] = -1.0
    data[42:46, 50:60, 40:50] = 0.01
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "m.nii.gz")
    region = region_on_grid(str(tmp_path / "m.nii.gz"), SHAPE, AFFINE, NEW_SPACE, NEW_SPACE)
    assert np.array_equal(region, np.nan_to_num(data[..., 0]) > 0)
    assert not region.flags.writeable


def test_a_mask_far_from_the_grid_is_empty(tmp_path):
    affine = AFFINE.copy()
    affine[:3, 3] += 900
    save_mask(tmp_path / "far.nii.gz", [(900, 900, 900)], affine, SHAPE)
    assert not region_on_grid(
        str(tmp_path / "far.nii.gz"), SHAPE, AFFINE, NEW_SPACE, NEW_SPACE
    ).any()


def test_another_content_is_another_seed_and_is_read_again(tmp_path):
    path = write_seeds(tmp_path / "s.json", {"name": "A", "mask": "m.nii", "space": NEW_SPACE})
    found = []
    for spot in ((-20, 0, 0), (20, 0, 0)):
        save_mask(tmp_path / "m.nii", [spot], AFFINE, SHAPE)
        (seed,) = seeds_in_space(NEW_SPACE, path)
        found.append((seed.content, centre_of(seed_region(seed, SHAPE, AFFINE, NEW_SPACE))[0]))
    assert found[0][0] != found[1][0]
    assert found[0][1] < -15 < 15 < found[1][1]
    assert seed_record(json.loads(json.dumps(asdict(seed)))) == seed


def test_images_that_are_no_mask(tmp_path):
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(UsageError) as caught:
        find_place(str(tmp_path / "text.nii.gz"))
    assert "cannot be read as an image" in caught.value.message
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 7), np.uint8), AFFINE), tmp_path / "four.nii.gz")
    with pytest.raises(UsageError) as caught:
        find_place(str(tmp_path / "four.nii.gz"))
    expected = regions.NOT_A_MASK.format(path=tmp_path / "four.nii.gz", shape=(4, 5, 6, 7))
    assert caught.value.message == expected


@pytest.mark.parametrize("mask", ["gone.nii.gz", "AAL3", "AAL3:", ":VPL", "gone/atlas.nii:x"])
def test_masks_that_cannot_be_meant(tmp_path, mask):
    path = write_seeds(tmp_path / "s.json", {"name": "A", "mask": mask})
    with pytest.raises(UsageError) as caught:
        load_seeds(path)
    assert f"row 1 (A): found mask {mask!r}" in caught.value.message


# --- circularity --------------------------------------------------------------------------------


def test_a_result_of_a_group_model_is_warned_of(tmp_path):
    folder = tmp_path / "out" / "group" / "model-group"
    save_mask(folder / f"c_space-{NEW_SPACE}_mask.nii.gz", [(0, 0, 0)], AFFINE, SHAPE)
    elsewhere = tmp_path / "group" / "mine" / "m.nii.gz"
    save_mask(elsewhere, [(0, 0, 0)], AFFINE, SHAPE)
    for path, is_circular in ((next(folder.iterdir()), True), (elsewhere, False)):
        seed = Seed(name="A", network="user", kind="mask", mask=str(path))
        words = circularity(seed_to_space(seed, NEW_SPACE))
        assert bool(words) is is_circular
        label = Seed(name="A", network="user", kind="mask", mask=f"{path}:1")
        assert bool(circularity(label)) is is_circular
        if is_circular:
            assert words == regions.CIRCULAR.format(seed="A", path=path)
