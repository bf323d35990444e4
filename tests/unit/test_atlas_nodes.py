"""Nodes of atlases: planted structure from residuals to matrices, and what is missing."""

import json
import pickle

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiSpheresMasker

from rls_bids.dataset.description import write_json
from rls_bids.interfaces import atlas as nodes
from rls_bids.interfaces.atlas import MATRIX_VERSION, SERIES_VERSION, Matrices, ParcelSeries
from rls_bids.interfaces.images import save_mask
from rls_bids.interfaces.manifest import load_manifest
from rls_bids.interfaces.tables import load_table
from rls_bids.numerics.matrices import shrunken_correlation
from rls_bids.numerics.parcels import MIN_COVERAGE
from rls_bids.resources.atlas_grid import labels_on_grid
from rls_bids.resources.atlases import atlas_content, find_atlas
from rls_bids.resources.parcels import load_parcels
from tests.factories import write_nifti

MNI = "MNI152NLin2009cAsym"
SHAPE = (40, 48, 40)
AFFINE = np.diag([4.5, 4.5, 4.5, 1.0])
AFFINE[:3, 3] = -88, -126, -72
N_SETS, PER_SET = 3, 4
RHO = 0.5


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def user_atlas(folder, networks=True):
    """Write an atlas of 12 cubes of 27 voxels in 3 networks, on the grid of the series."""
    data = np.zeros(SHAPE, np.int16)
    rows = ["index\tname" + "\tnetwork" * networks]
    for index in range(1, N_SETS * PER_SET + 1):
        data[3 * index : 3 * index + 3, 20:23, 20:23] = index
        rows.append(f"{index}\tp{index}" + f"\tn{(index - 1) // PER_SET}" * networks)
    path = write_nifti(folder / f"atlas-Cubes_space-{MNI}_dseg.nii.gz", data, affine=AFFINE)
    path.with_name(f"atlas-Cubes_space-{MNI}_dseg.tsv").write_text("\n".join(rows) + "\n")
    return str(path), data


def write_run(folder, data, mask, residual_df=50):
    """Write residuals, their mask and the status of a run; return the paths."""
    folder.mkdir()
    np.save(folder / "denoised.npy", data.astype(np.float32))
    save_mask(mask, AFFINE, folder / "mask.nii.gz")
    status = {
        "MinutesKept": len(data) / 30,
        "MeanFramewiseDisplacement": 0.1 * residual_df,
        "NumberOfVolumesKept": len(data),
        "ResidualDegreesOfFreedom": residual_df,
    }
    write_json(folder / "status.json", status)
    return {name: str(folder / name) for name in ("denoised.npy", "mask.nii.gz", "status.json")}


def series_node(run, atlas):
    return ParcelSeries(
        denoised=run["denoised.npy"],
        mask=run["mask.nii.gz"],
        atlas=atlas,
        content=atlas_content(find_atlas(atlas)),
        space=MNI,
        version=SERIES_VERSION,
    )


def matrices_of(runs, atlas, folder, monkeypatch):
    """Run both nodes and return {key: manifest entry}."""
    found = []
    for number, run in enumerate(runs):
        place = folder / f"series{number}"
        place.mkdir()
        monkeypatch.chdir(place)
        found.append(series_node(run, atlas).run().outputs)
    monkeypatch.chdir(folder)
    done = Matrices(
        time_series=[each.time_series for each in found],
        coverage=[each.coverage for each in found],
        status=[run["status.json"] for run in runs],
        atlas=atlas,
        content=atlas_content(find_atlas(atlas)),
        space=MNI,
        version=MATRIX_VERSION,
    ).run()
    return {entry["key"]: entry for entry in load_manifest(done.outputs.manifest)}


def square(entry):
    return pd.read_csv(entry["file"], sep="\t", na_values="n/a").to_numpy(dtype=float)


def planted(labels, n_volumes, seed, rho=RHO):
    """Return series of voxels and of parcels; those of a network share a signal."""
    rng = np.random.default_rng(seed)
    network = np.repeat(np.arange(N_SETS), PER_SET)
    shared = rng.standard_normal((n_volumes, N_SETS))[:, network]
    own = rng.standard_normal((n_volumes, network.size))
    parcels = np.sqrt(rho) * shared + np.sqrt(1 - rho) * own
    data = rng.standard_normal((n_volumes, labels.size)).astype(np.float32)
    data[:, labels > 0] = parcels[:, labels[labels > 0] - 1]
    return data, parcels


def test_left_signal_appears_in_left_parcels_only(inside):
    """A sine in the left half of the brain, through the default atlas on a coarse grid."""
    points_x = np.broadcast_to((np.arange(SHAPE[0]) * 4.5 - 88)[:, None, None], SHAPE)
    mask = np.ones(SHAPE, bool)
    rng = np.random.default_rng(0)
    sine = np.sin(np.arange(60) / 3)
    data = rng.standard_normal((60, mask.sum())).astype(np.float32)
    data[:, points_x[mask] < -6] += 5 * sine[:, None].astype(np.float32)
    run = write_run(inside / "run", data, mask)
    out = series_node(run, "Seitzman300").run().outputs
    table = load_table(out.time_series)
    parcels = load_parcels(find_atlas("Seitzman300"))
    assert list(table) == [parcel.name for parcel in parcels]
    r = {p.name: np.corrcoef(table[p.name], sine)[0, 1] for p in parcels}
    far = [p for p in parcels if abs(p.centre_mm[0]) > 15]
    assert {p.hemisphere for p in far} == {"L", "R", ""}
    assert all(r[p.name] > 0.9 for p in far if p.centre_mm[0] < 0)
    assert all(abs(r[p.name]) < 0.5 for p in far if p.centre_mm[0] > 0)


def test_series_are_means_in_the_mask_and_half_seen_parcels_are_missing(inside):
    path, data = user_atlas(inside)
    mask = np.random.default_rng(0).random(SHAPE) > 0.1
    cut = np.argwhere(data == 2)
    mask[tuple(cut[:14].T)] = False  # 13 of 27 are left at most
    mask[tuple(np.argwhere(data == 3).T)] = False
    values, _ = planted(data[mask], 40, 0)
    run = write_run(inside / "run", values, mask)
    out = series_node(run, path).run().outputs
    table = load_table(out.time_series)
    expected = np.load(run["denoised.npy"])[:, data[mask] == 1].astype(float).mean(axis=1)
    np.testing.assert_allclose(table["p1"], expected, atol=1e-7)
    assert np.isnan(table["p2"]).all()
    assert np.isnan(table["p3"]).all()
    assert "n/a" in (inside / "mean.tsv").read_text()
    coverage = pd.read_csv(out.coverage, sep="\t").set_index("name")
    assert coverage.loc["p1", "coverage"] == pytest.approx((mask & (data == 1)).sum() / 27)
    assert coverage.loc["p2", "coverage"] < MIN_COVERAGE
    assert coverage.loc["p3", "coverage"] == 0
    assert coverage.loc["p1", "network"] == "n0"
    assert coverage["n_voxels"].tolist() == [27] * 12
    mean, cover = load_manifest(out.manifest)
    assert (mean["key"], cover["key"]) == ("mean", "coverage")
    assert mean["metadata"]["MissingNodes"] == ["p2", "p3"]
    assert mean["metadata"]["Atlas"]["GivenSpace"] == MNI
    assert mean["metadata"]["MinimumCoverage"] == 0.5
    json.dumps(mean["metadata"])


def test_spheres_give_the_series_of_nilearn(inside):
    """In the atlas' own space, where centres stay, and for spheres that do not touch."""
    mask = np.random.default_rng(0).random(SHAPE) > 0.2
    data = np.random.default_rng(1).normal(100, 5, (30, mask.sum())).astype(np.float32)
    node = series_node(write_run(inside / "run", data, mask), "Dosenbach160")
    node.inputs.space = "MNI152NLin6Asym"
    table = load_table(node.run().outputs.time_series)
    regions = load_parcels(find_atlas("Dosenbach160"))
    centres = np.array([parcel.centre_mm for parcel in regions])
    apart = np.linalg.norm(centres[:, None] - centres, axis=2) + 99 * np.eye(len(centres))
    alone = [
        k
        for k, parcel in enumerate(regions)
        if apart[k].min() > 10 and np.isfinite(table[parcel.name]).all()
    ]
    volume = np.zeros((*SHAPE, 30), np.float32)
    volume[mask] = data.T
    masker = NiftiSpheresMasker(
        [tuple(centres[k]) for k in alone],
        radius=5.0,
        mask_img=nib.Nifti1Image(mask.astype(np.int8), AFFINE),
        allow_overlap=True,
        standardize=None,
    )
    oracle = masker.fit_transform(nib.Nifti1Image(volume, AFFINE))
    found = np.array([table[regions[k].name] for k in alone]).T
    assert len(alone) > 80
    np.testing.assert_allclose(found, oracle, rtol=1e-6)


def test_nodes_can_be_pickled():
    for node in (ParcelSeries(atlas="AAL3"), Matrices(atlas="AAL3")):
        assert pickle.loads(pickle.dumps(node)).inputs.atlas == "AAL3"


def test_planted_networks_are_recovered_over_two_runs(inside, monkeypatch):
    path, data = user_atlas(inside)
    mask = np.ones(SHAPE, bool)
    series, runs = [], []
    for number, (n_volumes, df) in enumerate([(120, 30), (400, 90)]):
        values, parcels = planted(data[mask], n_volumes, number)
        runs.append(write_run(inside / f"run{number}", values, mask, residual_df=df))
        series.append(parcels)
    entries = matrices_of(runs, path, inside, monkeypatch)
    assert list(entries) == list(nodes.MATRIX_KEYS)
    r = square(entries["pearsoncorrelation"])
    z = [np.arctanh(np.corrcoef(each.T) * (1 - np.eye(12))) for each in series]
    off = ~np.eye(12, dtype=bool)
    expected = np.tanh((30 * z[0] + 90 * z[1]) / 120)
    np.testing.assert_allclose(r[off], expected[off], atol=1e-6)
    assert (np.diag(r) == 1).all()
    about = entries["pearsoncorrelation"]["metadata"]
    assert about["DegreesOfFreedom"] == 120
    assert about["NumberOfRuns"] == 2
    assert about["MissingNodes"] == []
    assert about["Nodes"][5] | {"Lobe": None} == {
        "Index": 6, "Name": "p6", "Hemisphere": None, "Network": "n1", "Lobe": None,
        "Coverage": [1.0, 1.0], "DegreesOfFreedom": 120,
    }  # fmt: skip
    partial = square(entries["partialcorrelation"])
    same = np.repeat(np.arange(N_SETS), PER_SET)
    within = (same[:, None] == same[None, :]) & off
    assert partial[within].mean() < r[within].mean()  # each pair shares its network with others
    assert partial[within].min() > np.abs(partial[~within & off]).mean()
    assert len(entries["partialcorrelation"]["metadata"]["Shrinkage"]) == 2
    shrunken = square(entries["shrunkencorrelation"])
    own = [shrunken_correlation(each)[0] for each in series]
    np.testing.assert_allclose(shrunken, (30 * own[0] + 90 * own[1]) / 120, atol=1e-6)
    assert np.linalg.eigvalsh(shrunken).min() > 0
    assert entries["shrunkencorrelation"]["metadata"]["MissingNodes"] == []
    means = square(entries["networks"])
    combined = np.arctanh(np.where(off, r, 0))
    first = combined[:4, :4][~np.eye(4, dtype=bool)].mean()
    assert means[0, 0] == pytest.approx(first, abs=1e-6)
    assert means[0, 2] == means[2, 0] == pytest.approx(combined[:4, 8:].mean(), abs=1e-6)
    assert np.diag(means).min() > 0.4
    assert np.abs(means[~np.eye(3, dtype=bool)]).max() < 0.15
    sets = entries["networks"]["metadata"]
    assert sets["Sets"] == ["n0", "n1", "n2"]
    assert sets["NumberOfPairs"] == [[6, 16, 16], [16, 6, 16], [16, 16, 6]]
    assert "Nodes" not in sets
    assert entries["lobes"]["file"]  # by place


def test_a_parcel_missing_in_one_run_comes_from_the_other(inside, monkeypatch):
    path, data = user_atlas(inside)
    full, holed = np.ones(SHAPE, bool), np.ones(SHAPE, bool)
    holed[np.isin(data, [3, 5])] = False
    gone = holed.copy()
    gone[data == 5] = False
    first, parcels = planted(data[full], 100, 0)
    full[data == 5] = False
    runs = [
        write_run(inside / "a", first[:, full.reshape(-1)], full, residual_df=20),
        write_run(inside / "b", planted(data[gone], 100, 1)[0], gone, residual_df=60),
    ]
    entries = matrices_of(runs, path, inside, monkeypatch)
    r = square(entries["pearsoncorrelation"])
    assert np.isnan(r[4]).all()
    assert np.isnan(r[:, 4]).all()
    assert r[2, 0] == pytest.approx(np.corrcoef(parcels.T)[2, 0], abs=1e-5)
    about = entries["pearsoncorrelation"]["metadata"]
    assert about["MissingNodes"] == ["p5"]
    assert [about["Nodes"][k]["DegreesOfFreedom"] for k in (0, 2, 4)] == [80, 20, 0]
    assert about["Nodes"][2]["Coverage"] == [1.0, 0.0]
    assert entries["networks"]["metadata"]["NumberOfPairs"][1][1] == 3


def test_runs_with_nothing_left_do_not_count(inside, monkeypatch):
    path, data = user_atlas(inside)
    mask = np.ones(SHAPE, bool)
    values, parcels = planted(data[mask], 60, 0)
    empty = write_run(inside / "empty", values[:0], mask, residual_df=-4)
    runs = [write_run(inside / "run", values, mask), empty]
    entries = matrices_of(runs, path, inside, monkeypatch)
    r = square(entries["pearsoncorrelation"])
    np.testing.assert_allclose(r, np.corrcoef(parcels.T), atol=1e-6)
    assert entries["pearsoncorrelation"]["metadata"]["NumberOfRuns"] == 1
    mean, _ = load_manifest(inside / "series1" / "manifest.json")
    assert mean["file"] == ""
    assert mean["metadata"]["Missing"].startswith("0 volumes are left")


def test_no_usable_run_and_no_networks_are_said(inside, monkeypatch):
    path, data = user_atlas(inside, networks=False)
    mask = np.ones(SHAPE, bool)
    values, _ = planted(data[mask], 60, 0)
    (inside / "x").mkdir()
    entries = matrices_of(
        [write_run(inside / "run", values, mask)], path, inside / "x", monkeypatch
    )
    assert entries["networks"]["file"] == ""
    expected = nodes.NO_SETS.format(atlas="Cubes", what="networks")
    assert entries["networks"]["metadata"]["Missing"] == expected
    (inside / "y").mkdir()
    none = write_run(inside / "none", values[:0], mask, residual_df=0)
    entries = matrices_of([none], path, inside / "y", monkeypatch)
    assert {entry["file"] for entry in entries.values()} == {""}
    for entry in entries.values():
        assert entry["metadata"]["Missing"] == nodes.NO_RUN.format(atlas="Cubes")


def test_series_of_another_atlas_are_refused(inside, monkeypatch):
    path, data = user_atlas(inside)
    mask = np.ones(SHAPE, bool)
    run = write_run(inside / "run", planted(data[mask], 20, 0)[0], mask)
    out = series_node(run, path).run().outputs
    with pytest.raises(ValueError, match="the 160 parcels of Dosenbach160 were expected"):
        Matrices(
            time_series=[out.time_series],
            coverage=[out.coverage],
            status=[run["status.json"]],
            atlas="Dosenbach160",
            content="x",
            space=MNI,
            version=MATRIX_VERSION,
        ).run()


def test_the_space_of_the_series_decides_where_parcels_are(inside):
    """A marker drawn where the atlas lies in one space is found there, and less in the other."""
    atlas = find_atlas("Dosenbach160")
    parcels = load_parcels(atlas)
    here = labels_on_grid(atlas, SHAPE, AFFINE, MNI)
    rng = np.random.default_rng(0)
    sine = np.sin(np.arange(50) / 2)
    mask = np.ones(SHAPE, bool)
    data = 0.5 * rng.standard_normal((50, mask.sum()))
    data[:, here[mask] > 0] += sine[:, None]
    run = write_run(inside / "run", data, mask)
    size = {}
    for space in (MNI, "MNI152NLin6Asym"):
        node = series_node(run, "Dosenbach160")
        node.inputs.space = space
        table = load_table(node.run().outputs.time_series)
        size[space] = np.array([table[p.name] @ sine / (sine @ sine) for p in parcels])
    assert size[MNI] == pytest.approx(1, abs=0.15)
    assert size["MNI152NLin6Asym"].mean() < 0.8
