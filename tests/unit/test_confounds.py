"""Confounds against nipype's and nilearn's definitions, and planted truth."""

import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nipype.algorithms.confounds import _cosine_drift, compute_noise_components
from scipy import signal as scipy_signal

from rls_bids.numerics import confounds
from rls_bids.numerics.confounds import (
    acompcor,
    assemble,
    cosine_basis,
    dvars,
    erode_mask,
    expand_motion,
    fill_missing,
    framewise_displacement,
    outlier_columns,
    temporal_snr,
    tissue_mask,
)

SHAPE = (20, 22, 18)


@pytest.fixture(scope="module")
def run():
    """Return a small head: tissues, a mask, a series with one course a tissue, motion."""
    rng = np.random.default_rng(0)
    n = 120
    x, y, z = np.indices(SHAPE)
    radius = np.sqrt((x - 9.5) ** 2 + (y - 10.5) ** 2 + (z - 8.5) ** 2)
    mask = radius < 8.5
    csf, white = (radius < 3.2) * 1.0, ((radius >= 3.2) & (radius < 7.5)) * 1.0
    courses = {"csf": rng.standard_normal(n), "white": rng.standard_normal(n)}
    volumes = 1000 + 10 * rng.standard_normal((n, *SHAPE))
    for tissue, probability in (("csf", csf), ("white", white)):
        volumes += 30 * courses[tissue][:, None, None, None] * probability
    parameters = np.cumsum(rng.standard_normal((n, 6)), axis=0) * ([0.02] * 3 + [4e-4] * 3)
    return {
        "series": volumes[:, mask].astype(np.float32),
        "mask": mask,
        "csf": csf,
        "white": white,
        "courses": courses,
        "parameters": parameters,
        "repetition_time": 2.0,
    }


@pytest.fixture(scope="module")
def table(run):
    return assemble(
        run["series"],
        run["mask"],
        run["parameters"],
        white_matter=run["white"],
        csf=run["csf"],
        repetition_time=run["repetition_time"],
    )


# --- motion -------------------------------------------------------------------------------------


def test_framewise_displacement_is_the_sum_of_absolute_differences():
    parameters = np.zeros((3, 6))
    parameters[1] = [0.1, -0.2, 0.3, 0.002, -0.004, 0.006]
    found = framewise_displacement(parameters)
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([0.6 + 0.6, 0.6 + 0.6])
    assert framewise_displacement(parameters, radius_mm=80.0)[1] == pytest.approx(0.6 + 0.96)


def test_motion_is_expanded_in_the_order_of_nilearn():
    parameters = np.random.default_rng(1).standard_normal((10, 6))
    found = expand_motion(parameters)
    assert list(found)[:5] == [
        "trans_x", "trans_x_derivative1", "trans_x_power2", "trans_x_derivative1_power2",
        "trans_y",
    ]  # fmt: skip
    assert len(found) == 24
    assert np.array_equal(found["rot_z"], parameters[:, 5])
    assert np.isnan(found["rot_z_derivative1"][0])
    assert np.isnan(found["rot_z_derivative1_power2"][0])
    assert np.allclose(found["rot_z_derivative1"][1:], np.diff(parameters[:, 5]))
    assert np.allclose(found["rot_z_derivative1_power2"][1:], np.diff(parameters[:, 5]) ** 2)
    assert np.allclose(found["rot_z_power2"], parameters[:, 5] ** 2)


# --- intensity ----------------------------------------------------------------------------------


def nichols_dvars(data):
    """Return DVARS voxel by voxel, written from the definition."""
    scaled = data.astype(float) / np.median(data) * 1000
    plain = np.sqrt((np.diff(scaled, axis=0) ** 2).mean(axis=1))
    expected = []
    for voxel in scaled.T:
        low, high = np.percentile(voxel, [25, 75], method="lower")
        centred = voxel - voxel.mean()
        lag1 = (centred[1:] @ centred[:-1]) / (centred @ centred)
        expected.append(np.sqrt(2 * (1 - lag1)) * (high - low) / 1.349)
    return plain / np.mean(expected), plain


def test_dvars_follows_the_definition_and_finds_a_spike():
    rng = np.random.default_rng(2)
    data = 800 + scipy_signal.lfilter([1], [1, -0.5], rng.standard_normal((90, 400)), axis=0)
    data[40] += 6
    data = data.astype(np.float32)
    standard, plain = dvars(data)
    for found, expected in zip((standard, plain), nichols_dvars(data), strict=True):
        assert np.isnan(found[0])
        assert np.allclose(found[1:], expected, rtol=1e-5)
    assert np.nanargmax(standard) in {40, 41}
    assert standard[40] > 3
    assert np.nanmedian(standard) == pytest.approx(1, abs=0.1)


def test_dvars_leaves_constant_voxels_out_and_does_not_depend_on_blocks(monkeypatch):
    data = 500 + np.random.default_rng(3).standard_normal((50, 60))
    whole = dvars(data)
    monkeypatch.setattr(confounds, "BLOCK_VOXELS", 11)
    assert np.allclose(whole, dvars(data), equal_nan=True)
    monkeypatch.undo()
    with_constant = np.hstack([data, np.full((50, 30), np.median(data))])
    assert np.allclose(whole, dvars(with_constant), equal_nan=True)
    assert np.isnan(dvars(np.full((5, 4), 3.0))).all()


def test_temporal_snr_is_mean_over_noise_without_the_drift():
    rng = np.random.default_rng(4)
    data = 600 + 10 * rng.standard_normal((2000, 5)) + np.linspace(-200, 200, 2000)[:, None]
    data[:, 4] = 7.0
    found = temporal_snr(data.astype(np.float32))
    assert found[:4] == pytest.approx([60] * 4, rel=0.06)
    assert found[4] == 0
    assert found.dtype == np.float32


# --- cosines and components ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "repetition_time"), [(200, 2.0), (150, 0.8), (20, 2.52), (51, 2.52)]
)
def test_cosines_are_those_of_fmriprep(n, repetition_time):
    expected = _cosine_drift(128, repetition_time * np.arange(n))[:, :-1]
    assert np.allclose(cosine_basis(n, repetition_time), expected)


def test_components_are_those_of_nipype():
    rng = np.random.default_rng(5)
    data = 100 + rng.standard_normal((100, 3)) @ rng.standard_normal((3, 64)) * 4
    data += rng.standard_normal((100, 64)) + np.linspace(0, 9, 100)[:, None]
    cosines = cosine_basis(100, 2.0)
    found = acompcor(data, cosines, 4)
    image = nib.Nifti1Image(np.ones((4, 4, 4)), np.eye(4))
    expected, basis, metadata = compute_noise_components(
        data.T.reshape(4, 4, 4, 100), [image], 4, "cosine", period_cut=128, repetition_time=2.0
    )
    assert np.allclose(basis, cosines)
    assert np.allclose(np.abs((found.components * expected).sum(axis=0)), 1, atol=1e-6)
    assert np.allclose(found.singular_values, metadata["singular_value"][:4], rtol=1e-6)
    assert np.allclose(found.variance_explained, metadata["variance_explained"][:4], rtol=1e-6)


def test_components_are_orthonormal_free_of_drift_and_of_fixed_sign():
    data = np.random.default_rng(6).standard_normal((80, 40)).cumsum(axis=0)
    cosines = cosine_basis(80, 2.0)
    found = acompcor(data, cosines).components
    assert np.allclose(found.T @ found, np.eye(5), atol=1e-9)
    assert np.abs(cosines.T @ found).max() < 1e-9
    assert np.abs(found.sum(axis=0)).max() < 1e-9
    assert (found.max(axis=0) >= -found.min(axis=0)).all()
    flipped = acompcor(-data, cosines).components
    assert np.allclose(found, flipped)


def test_small_tissues_give_fewer_components():
    data = np.random.default_rng(7).standard_normal((50, 3))
    assert acompcor(data, cosine_basis(50, 2.0)).components.shape == (50, 3)
    assert acompcor(np.full((50, 4), 9.0), cosine_basis(50, 2.0)).components.shape == (50, 0)
    assert acompcor(np.zeros((50, 0)), cosine_basis(50, 2.0)).components.shape == (50, 0)
    data[0, 0] = np.nan
    assert acompcor(data, cosine_basis(50, 2.0)).components.shape == (50, 2)


def test_masks_are_eroded_only_as_far_as_voxels_last():
    ball = np.zeros((15, 15, 15), dtype=bool)
    ball[4:11, 4:11, 4:11] = True
    assert erode_mask(ball, 0).sum() == 343
    assert erode_mask(ball, 2).sum() == 27
    assert tissue_mask(ball * 0.95, 0.9, 2, min_voxels=20).sum() == 27
    assert tissue_mask(ball * 0.95, 0.9, 2, min_voxels=50).sum() == 125
    assert tissue_mask(ball * 0.85, 0.9, 2).sum() == 0
    half = np.zeros_like(ball)
    half[:8] = True
    # the border of the brain mask does not erode the tissue itself
    assert tissue_mask(ball * 1.0, 0.9, 1, within=half, min_voxels=1).sum() == 3 * 25


# --- the table ----------------------------------------------------------------------------------


def test_the_table_holds_the_planted_courses(run, table):
    columns, _ = table
    for name, course in (("csf", "csf"), ("white_matter", "white")):
        assert np.corrcoef(columns[name], run["courses"][course])[0, 1] > 0.99
    planted = {"c": "csf", "w": "white"}
    cosines = np.column_stack([np.ones(120), cosine_basis(120, 2.0)])
    for letter, course in planted.items():
        truth = run["courses"][course]
        truth = truth - cosines @ np.linalg.lstsq(cosines, truth, rcond=None)[0]
        assert np.abs(np.corrcoef(columns[f"{letter}_comp_cor_00"], truth)[0, 1]) > 0.99
    assert np.allclose(columns["global_signal"], run["series"].mean(axis=1), rtol=1e-5)
    assert np.isnan(columns["framewise_displacement"][0])
    assert sum(name.startswith("cosine") for name in columns) == 2
    assert all(column.shape == (120,) for column in columns.values())


def test_metadata_has_the_keys_of_fmriprep(table):
    columns, metadata = table
    assert metadata["c_comp_cor_00"]["Mask"] == "CSF"
    assert metadata["w_comp_cor_04"]["Mask"] == "WM"
    shares = [metadata[f"w_comp_cor_0{i}"]["CumulativeVarianceExplained"] for i in range(5)]
    assert shares == sorted(shares)
    assert 0 < shares[-1] <= 1
    assert set(metadata) <= set(columns)
    json.dumps(metadata)


def test_outliers_are_one_column_each():
    fd = np.array([np.nan, 0.6, 0.2, 0.51, 0.5])
    found = outlier_columns(fd, 0.5)
    assert list(found) == ["motion_outlier00", "motion_outlier01"]
    assert np.array_equal(np.sum(list(found.values()), axis=0), [0, 1, 0, 1, 0])
    assert outlier_columns(fd, 0) == {}
    assert len(outlier_columns(np.ones(120), 0.5)) == 120
    assert list(outlier_columns(np.ones(120), 0.5))[-1] == "motion_outlier119"


# --- filling -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(2, 30), k=st.integers(0, 5))
def test_filled_columns_are_finite_and_known_values_stay(seed, n, k):
    rng = np.random.default_rng(seed)
    columns = rng.standard_normal((n, k))
    columns[rng.random((n, k)) < 0.4] = np.nan
    before = columns.copy()
    filled = fill_missing(columns)
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[np.isfinite(before)], before[np.isfinite(before)])
    assert np.array_equal(columns, before, equal_nan=True)


def test_golden_values_hold_while_the_version_stands():
    assert confounds.VERSION == "1", "numbers changed: store new golden values with the version"
    n, v = np.arange(40.0)[:, None], np.arange(30.0)
    data = 100 + np.sin(n * (v + 1) / 9) + 0.5 * np.cos(n / (v + 2))
    standard, plain = dvars(data)
    found = acompcor(data, cosine_basis(40, 2.0), 2)
    assert np.allclose([standard[7], plain[7]], GOLDEN_DVARS, rtol=1e-6)
    assert np.allclose(found.components[[0, 10, 39]], GOLDEN_COMPONENTS, atol=1e-6)
    assert np.allclose(temporal_snr(data)[[0, 29]], GOLDEN_TSNR, rtol=1e-5)


GOLDEN_DVARS = [0.83071905755, 10.46249350226]
GOLDEN_COMPONENTS = [[0.1736294, 0.1176164], [0.1535237, -0.0501210], [-0.2217430, 0.1529861]]
GOLDEN_TSNR = [187.512512, 141.536499]
