"""Confounds tables of every generation come out under the present names, completed."""

from pathlib import Path

import numpy as np
import pytest

from rls_bids.dataset.prepared_checks import component_metadata, read_confounds
from rls_bids.numerics.confounds import expand_motion, framewise_displacement
from rls_bids.numerics.regressors import columns_for
from rls_bids.numerics.translate import (
    component_names,
    count_marked,
    drop_start,
    not_finite,
    present_name,
    translate,
)
from tests.prepared import component_notes, confounds_columns

MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]


def motion_of(table: dict[str, np.ndarray]) -> np.ndarray:
    return np.column_stack([table[name] for name in MOTION])


@pytest.mark.parametrize(
    ("name", "strategies"),
    [
        ("fmriprep-1.1_sub-pixar123_desc-confounds_regressors.tsv", ["36P", "24P", "6P"]),
        ("sub-0001_task-anticipation_acq-seq_desc-confounds_regressors.tsv", ["36P", "6P"]),
        (
            "nilearn_test_desc-confounds_regressors.tsv",
            ["acompcor", "acompcor_gsr", "36P", "24P", "6P"],
        ),
    ],
)
def test_real_tables_serve_the_strategies_they_can(
    real_data: Path, name: str, strategies: list[str]
) -> None:
    path = str(real_data / "confounds" / name)
    raw = read_confounds(path)
    table = translate(raw, component_metadata(path))
    for strategy in strategies:
        names = columns_for(strategy, list(table), band_pass=False)
        assert any(each.startswith("cosine") for each in names)
        n_marked = count_marked(raw)
        assert not_finite(table, [*names, "framewise_displacement"], n_marked) == []
    assert len({len(column) for column in table.values()}) == 1


def test_the_earliest_real_table_is_read(real_data: Path) -> None:
    folder = real_data / "bids-examples/synthetic/derivatives/fmriprep/sub-01/ses-01/func"
    table = translate(read_confounds(str(folder / "sub-01_ses-01_task-rest_timeseries.tsv")), {})
    assert set(columns_for("24P", list(table), band_pass=True)) <= table.keys()
    fd = framewise_displacement(motion_of(table))
    np.testing.assert_allclose(table["framewise_displacement"][1:], fd[1:], atol=1e-5)


def test_real_differences_and_squares_are_those_we_would_compute(real_data: Path) -> None:
    """fMRIPrep wrote them into this table; from its motion parameters come the same."""
    path = "confounds/sub-0001_task-anticipation_acq-seq_desc-confounds_regressors.tsv"
    table = translate(read_confounds(str(real_data / path)), {})
    computed = expand_motion(motion_of(table))
    for name, column in computed.items():
        np.testing.assert_allclose(table[name][1:], column[1:], atol=1e-6, err_msg=name)
    fd = framewise_displacement(motion_of(table))
    np.testing.assert_allclose(table["framewise_displacement"][1:], fd[1:], atol=1e-4)


def test_early_names_become_present_ones() -> None:
    early = confounds_columns("early")
    table = translate(early, {})
    np.testing.assert_array_equal(table["rot_z"], early["RotZ"])
    np.testing.assert_array_equal(table["csf_power2"], early["CSF"] ** 2)
    assert present_name("aCompCor05") == "a_comp_cor_05"
    assert present_name("tCompCor05") == "tCompCor05"  # of no use to us


def test_components_are_told_apart_by_the_sidecar_in_their_order() -> None:
    raw = confounds_columns("told by the sidecar")
    found = component_names(raw, component_notes())
    assert found["c_comp_cor_00"] == "a_comp_cor_06"
    assert found["w_comp_cor_04"] == "a_comp_cor_15"
    assert component_names(raw, {}) == {}
    table = translate(raw, component_notes())
    np.testing.assert_array_equal(table["w_comp_cor_00"], raw["a_comp_cor_11"])
    assert not any(name.startswith("a_comp_cor") for name in table)


def test_a_hundred_components_keep_their_order() -> None:
    names = [f"a_comp_cor_{index:02d}" for index in (9, 100, 99)]
    told = {name: {"Mask": "CSF"} for name in names}
    ordered = list(component_names(names, told).values())
    assert ordered == ["a_comp_cor_09", "a_comp_cor_99", "a_comp_cor_100"]


def test_the_input_is_untouched_and_the_first_difference_is_not_there() -> None:
    raw = confounds_columns("present")
    before = {name: column.copy() for name, column in raw.items()}
    table = translate(raw, {})
    assert np.isnan(table["framewise_displacement"][0])
    assert np.isnan(table["trans_x_derivative1_power2"][0])
    assert np.isfinite(table["trans_x"]).all()
    for name, column in raw.items():
        np.testing.assert_array_equal(column, before[name])


def test_displacement_is_computed_where_it_is_not_written() -> None:
    raw = confounds_columns("present")
    del raw["framewise_displacement"]
    fd = framewise_displacement(motion_of(raw))
    np.testing.assert_allclose(translate(raw, {})["framewise_displacement"], fd)


def test_dropped_volumes_take_the_difference_to_them_along() -> None:
    table = drop_start(translate(confounds_columns("present"), {}), 3)
    assert {len(column) for column in table.values()} == {17}
    assert np.isnan(table["framewise_displacement"][0])
    assert np.isfinite(table["trans_y"]).all()


@pytest.mark.parametrize(
    ("marked", "expected"), [([], 0), ([0], 1), ([0, 1, 2], 3), ([1], -1), ([0, 2], -1)]
)
def test_marked_volumes_are_counted_from_the_start(marked: list[int], expected: int) -> None:
    table = {f"non_steady_state_outlier{i:02d}": np.eye(6)[v] for i, v in enumerate(marked)}
    assert count_marked({"trans_x": np.zeros(6), **table}) == expected


def test_missing_numbers_are_named() -> None:
    table = {"trans_x": np.array([0, np.nan, 0]), "dvars": np.array([np.nan, 1, 2])}
    assert not_finite(table, table, 0) == ["trans_x"]
    assert not_finite(table, table, 2) == []
