"""Atlases of users: BIDS or not, where their space comes from, and what is refused."""

import json

import numpy as np
import pytest

from rls_bids.errors import EXIT_USAGE, UsageError
from rls_bids.resources import atlases, parcels, user_atlas
from rls_bids.resources.atlas_grid import atlas_metadata, labels_on_grid
from rls_bids.resources.atlases import atlas_content, check_atlases, find_atlas
from rls_bids.resources.parcels import load_labels, load_parcels
from rls_bids.resources.user_atlas import companion, hemisphere_of
from tests.factories import write_nifti

MNI = "MNI152NLin2009cAsym"
AFFINE = np.array(
    [[-6.0, 0, 0, 60], [0, 6, 0, -90], [0, 0, 6, -40], [0, 0, 0, 1]]
)  # stored R to L
TABLE = "index\tname\themisphere\tnetwork\tlobe\n0\tbackground\n3\tone\tleft\tA\tfrontal\n"
TABLE += "5\ttwo_R\tn/a\tn/a\tn/a\n"


def labels():
    """Label 3 on the left (stored last), 5 on the right."""
    data = np.zeros((21, 30, 22), np.int16)
    data[14:18, 14:18, 10:14], data[3:7, 14:18, 10:14] = 3, 5
    return data


def write(
    folder, name="atlas-Mine_space-MNI152NLin6Asym_dseg", data=None, table=TABLE, about=None
):
    path = write_nifti(
        folder / f"{name}.nii.gz", labels() if data is None else data, affine=AFFINE
    )
    if table is not None:
        path.with_name(f"{name}.tsv").write_text(table)
    if about is not None:
        path.with_name(f"{name}.json").write_text(json.dumps(about))
    return str(path)


def test_a_bids_atlas(tmp_path):
    atlas = find_atlas(write(tmp_path, about={"License": "CC0", "Name": "My own"}))
    assert (atlas.name, atlas.space, atlas.n_parcels) == ("Mine", "MNI152NLin6Asym", 2)
    assert (atlas.license, atlas.source, atlas.package) == ("CC0", "My own", "")
    assert atlas.evidence == "space-MNI152NLin6Asym in the name of the file"
    one, two = load_parcels(atlas)
    assert (one.index, one.name, one.hemisphere, one.network) == (3, "one", "L", "A")
    assert one.lobe == "frontal"
    assert (two.index, two.hemisphere, two.network) == (5, "R", "")
    assert len(atlas_content(atlas)) == 2 * 64 + 1
    assert load_labels(atlas)[0].tolist() == labels().tolist()


def test_sides_through_an_image_stored_from_right_to_left(tmp_path):
    atlas = find_atlas(write(tmp_path))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -70, -100, -50
    found = labels_on_grid(atlas, (36, 45, 40), affine, MNI)
    x = np.argwhere(found == 3)[:, 0] * 4 - 70
    assert x.size
    assert (x < 0).all()
    assert (np.argwhere(found == 5)[:, 0] * 4 - 70 > 0).all()


@pytest.mark.parametrize(
    ("name", "about", "space", "evidence"),
    [
        ("atlas-Mine_dseg", {"SpatialReference": MNI}, MNI, "SpatialReference in atlas-Mine_dseg"),
        ("tpl-Colin27_atlas-Mine_dseg", {"Space": MNI}, "Colin27", "tpl-Colin27 in the name"),
        ("atlas-Mine_dseg", {"Space": ["?"]}, "unknown", "used as it is"),
        ("atlas-Mine_dseg", None, "unknown", "used as it is"),
    ],
)
def test_where_the_space_comes_from(tmp_path, name, about, space, evidence):
    atlas = find_atlas(write(tmp_path, name, about=about))
    assert atlas.space == space
    assert evidence in atlas.evidence
    if space == "unknown":
        assert atlas_metadata(atlas, MNI)["Placed"] == "given in unknown, used as it is"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("atlas-Mine_dseg", "Mine"),
        ("atlas-Mine_scale-200_desc-cortex_dseg", "Mine200Cortex"),
        ("my atlas.v2", "myAtlasV2"),
    ],
)
def test_the_label_of_results(tmp_path, name, label):
    assert find_atlas(write(tmp_path, name)).name == label


def test_table_and_sidecar_of_the_folders_above(tmp_path):
    folder = tmp_path / "set" / "tpl-X"
    path = write(folder, "tpl-X_atlas-Mine_res-02_dseg", table=None)
    (folder / "tpl-X_atlas-Other_dseg.tsv").write_text("index\tname\n1\twrong\n")
    (folder / "tpl-X_atlas-Mine_res-01_dseg.tsv").write_text("index\tname\n1\twrong\n")
    (tmp_path / "set" / "atlas-Mine_dseg.tsv").write_text(TABLE)
    (tmp_path / "set" / "dataset_description.json").write_text('{"License": "PDDL"}')
    atlas = find_atlas(path)
    assert [p.name for p in load_parcels(atlas)] == ["one", "two_R"]
    assert atlas.license == "PDDL"
    # A nearer and more specific one wins.
    (folder / "tpl-X_atlas-Mine_dseg.tsv").write_text(TABLE.replace("one", "nearer"))
    assert load_parcels(find_atlas(path))[0].name == "nearer"
    assert companion(tmp_path / "atlas-Mine_dseg.nii.gz", ".json") is None


def test_a_folder_with_one_atlas(tmp_path):
    write(tmp_path / "set" / "sub")
    assert find_atlas(str(tmp_path / "set")).name == "Mine"
    write(tmp_path / "set", "atlas-Second_dseg")
    with pytest.raises(UsageError, match=r"holds 2 files \*_dseg"):
        find_atlas(str(tmp_path / "set"))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        find_atlas(str(tmp_path / "atlas-Mine_dseg.nii.gz"))
    (tmp_path / "atlas.tsv").write_text(TABLE)
    with pytest.raises(UsageError, match="NIfTI label image"):
        find_atlas(str(tmp_path / "atlas.tsv"))
    path = write(tmp_path, "mine", table=None)
    with pytest.raises(UsageError, match=r"mine\.tsv was not found") as caught:
        find_atlas(path)
    assert caught.value.hint == user_atlas.TABLE_HINT
    assert caught.value.exit_status == EXIT_USAGE


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("", "the columns none"),
        ("name\nx\n", "the columns name"),
        ("index\tname\n1.5\tx\n", "the index '1.5' in row 1"),
        ("index\tname\nx\ty\n", "the index 'x' in row 1"),
        ("index\tname\n1\tx\n1\ty\n", "the index 1 twice"),
        ("index\tname\n1\tx\n2\tx\n", "the name 'x' twice"),
        ("index\tname\n0\tbackground\n", "no parcel"),
    ],
)
def test_tables_that_are_refused(tmp_path, table, found):
    with pytest.raises(UsageError) as caught:
        find_atlas(write(tmp_path, table=table))
    assert f"found {found}" in caught.value.message


def test_a_sidecar_that_is_no_json(tmp_path):
    path = write(tmp_path)
    (tmp_path / "atlas-Mine_space-MNI152NLin6Asym_dseg.json").write_text("{")
    with pytest.raises(UsageError, match="expected JSON"):
        find_atlas(path)


def test_labels_without_a_row_are_named(tmp_path):
    data = labels()
    data[0, 0, :8] = np.arange(10, 18)
    with pytest.raises(UsageError, match="10, 11, 12, 13, 14 and 3 more") as caught:
        load_parcels(find_atlas(write(tmp_path, data=data)))
    assert caught.value.hint == parcels.NO_ROW_HINT


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (labels() * 0.5, "values from 0 to 2.5"),
        (labels() * -1, "values from -5 to 0"),
        (labels() * 0, "values from 0 to 0"),
        (np.stack([labels()] * 2, axis=-1), r"the shape \(21, 30, 22, 2\)"),
    ],
)
def test_images_that_hold_no_labels(tmp_path, data, found):
    with pytest.raises(UsageError, match=found):
        load_labels(find_atlas(write(tmp_path, data=data.astype(np.float32))))


def test_float_labels_and_a_fourth_axis_of_one_are_labels(tmp_path):
    atlas = find_atlas(write(tmp_path, data=labels().astype(np.float32)[..., None]))
    assert load_labels(atlas)[0].shape == (21, 30, 22)


def test_two_atlases_of_one_name_are_refused(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b", table=TABLE.replace("A", "B"))
    with pytest.raises(UsageError, match="names two atlases 'Mine'") as caught:
        check_atlases([first, second])
    assert caught.value.hint == atlases.SAME_NAME_HINT
    assert len(check_atlases([first, first, "AAL3"])) == 2


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("L_OFC", "L"), ("rh.V1", "R"), ("Area_5L", ""), ("LH-Default 3", "L"), ("Lingual", ""),
        ("Left", "L"), ("Raphe_D", ""), ("Vis_RH_1", "R"),
    ],
)  # fmt: skip
def test_sides_in_names(name, side):
    assert hemisphere_of(name) == side
