"""Mean series of parcels: exact means, coverage, what is missing, and an independent oracle."""

import nibabel as nib
import numpy as np
import pytest
from nilearn.maskers import NiftiLabelsMasker

from rls_bids.numerics import parcels
from rls_bids.numerics.parcels import parcel_series, valid_voxels

SHAPE = (7, 8, 9)
INDICES = np.array([4, 2, 9])


@pytest.fixture
def planted():
    """A labelled grid, a mask with holes, and a series: (labels, mask, data)."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 2, 4, 9, 11], SHAPE)
    mask = rng.random(SHAPE) > 0.2
    data = rng.normal(100, 5, (70, int(mask.sum()))).astype(np.float32)
    return labels, mask, data


def counts(labels):
    return [int((labels == index).sum()) for index in INDICES]


def test_agrees_with_nilearn_and_with_a_loop(planted):
    labels, mask, data = planted
    series, coverage = parcel_series(data, labels[mask], INDICES, counts(labels))
    volume = np.zeros((*SHAPE, len(data)), np.float64)
    volume[mask] = data.T
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    masker = NiftiLabelsMasker(
        nib.Nifti1Image(np.where(np.isin(labels, INDICES), labels, 0).astype(np.int32), affine),
        mask_img=nib.Nifti1Image(mask.astype(np.int8), affine),
        strategy="mean",
        standardize=None,
    )
    oracle = masker.fit_transform(nib.Nifti1Image(volume, affine))
    by_index = dict(zip(sorted(INDICES), oracle.T, strict=True))
    np.testing.assert_allclose(series, np.array([by_index[i] for i in INDICES]).T, rtol=1e-6)
    for k, index in enumerate(INDICES):
        inside = data[:, labels[mask] == index].astype(float)
        np.testing.assert_allclose(series[:, k], inside.mean(axis=1), rtol=1e-12)
        assert coverage[k] == (mask & (labels == index)).sum() / (labels == index).sum()


def test_a_parcel_that_is_half_outside_is_missing_and_not_zero(planted):
    labels, mask, data = planted
    n_voxels = counts(labels)
    inside = [(labels[mask] == index).sum() for index in INDICES]
    n_voxels[1] = 2 * inside[1]  # exactly half is enough
    n_voxels[2] = 2 * inside[2] + 1
    series, coverage = parcel_series(data, labels[mask], INDICES, n_voxels)
    assert coverage[1] == 0.5
    assert coverage[2] < 0.5
    assert np.isfinite(series[:, :2]).all()
    assert np.isnan(series[:, 2]).all()


def test_a_parcel_without_a_voxel_is_missing(planted):
    labels, mask, data = planted
    series, coverage = parcel_series(data, labels[mask], [4, 77], [counts(labels)[0], 0])
    assert coverage[1] == 0
    assert np.isnan(series[:, 1]).all()
    assert np.isfinite(series[:, 0]).all()
    nothing, none = parcel_series(data, np.zeros(mask.sum(), int), [4], [5])
    assert np.isnan(nothing).all()
    assert none.tolist() == [0]


def test_dead_voxels_do_not_dilute_the_mean(planted):
    labels, mask, data = planted
    chosen = np.flatnonzero(labels[mask] == 4)
    spoilt = data.copy()
    spoilt[:, chosen[0]] = 0.0
    spoilt[:, chosen[1]] = np.nan
    spoilt[40, chosen[2]] = np.inf
    series, coverage = parcel_series(spoilt, labels[mask], INDICES, counts(labels))
    expected = data[:, chosen[3:]].astype(float).mean(axis=1)
    np.testing.assert_allclose(series[:, 0], expected, rtol=1e-12)
    assert coverage[0] == (len(chosen) - 3) / counts(labels)[0]


def test_input_is_untouched_and_blocks_and_maps_make_no_difference(planted, tmp_path, monkeypatch):
    labels, mask, data = planted
    before = data.copy()
    series, coverage = parcel_series(data, labels[mask], INDICES, counts(labels))
    np.testing.assert_array_equal(data, before)
    np.save(tmp_path / "data.npy", data)
    monkeypatch.setattr(parcels, "BLOCK_VOLUMES", 7)
    mapped = np.load(tmp_path / "data.npy", mmap_mode="r")
    again, same = parcel_series(mapped, labels[mask], INDICES, counts(labels))
    np.testing.assert_array_equal(series, again)
    np.testing.assert_array_equal(coverage, same)


def test_a_shift_and_a_scale_of_the_series_are_those_of_the_mean(planted):
    labels, mask, data = planted
    wide = data.astype(float)
    series, _ = parcel_series(wide, labels[mask], INDICES, counts(labels))
    moved, _ = parcel_series(3 * wide + 7, labels[mask], INDICES, counts(labels))
    np.testing.assert_allclose(moved, 3 * series + 7, rtol=1e-12)


def test_valid_voxels_needs_a_change():
    data = np.ones((80, 3))
    data[79, 1] = 2.0  # in the last block only
    data[0, 2] = 2.0  # only the first volume differs
    assert valid_voxels(data, [0, 1, 2]).tolist() == [False, True, True]
    assert valid_voxels(data[:1], [0, 1, 2]).tolist() == [False] * 3


@pytest.mark.parametrize(
    ("labels", "indices", "n_voxels", "template"),
    [
        ([1, 1], [1], [2], parcels.BAD_LABELS),
        ([1, 1, 0], [1], [2, 3], parcels.BAD_COUNTS),
        ([1, 1, 0], [1], [1], parcels.MORE_THAN_ALL),
    ],
)
def test_what_does_not_fit_is_refused(labels, indices, n_voxels, template):
    data = np.random.default_rng(0).random((5, 3))
    with pytest.raises(ValueError, match=template.split("{")[1].split("}")[1][:10]):
        parcel_series(data, labels, indices, n_voxels)
