"""Which columns each strategy takes, against nilearn's and XCP-D's lists, and those of files."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds

from rls_bids.errors import InputDataError
from rls_bids.numerics import regressors
from rls_bids.numerics.breathing import MotionFilter, filtered_columns
from rls_bids.numerics.confounds import EXPANSIONS, MOTION, SIGNALS, assemble, fill_missing
from rls_bids.numerics.regressors import FAMILIES, columns_for, family_of, own_columns
from rls_bids.settings.limits import STRATEGIES

SHAPE = (16, 16, 16)
N = 120

# XCP-D's lists as its documentation has them (the file of its acompcor_gsr also names the mean
# signals of CSF and white matter).
MOTION_24 = {name + suffix for name in MOTION for suffix in EXPANSIONS}
MOTION_12 = {name + suffix for name in MOTION for suffix in EXPANSIONS[:2]}
SIGNALS_12 = {name + suffix for name in SIGNALS for suffix in EXPANSIONS}
COMPONENTS = {f"{letter}_comp_cor_0{index}" for letter in "cw" for index in range(5)}
XCPD = {
    "24P": MOTION_24,
    "36P": MOTION_24 | SIGNALS_12,
    "acompcor": MOTION_12 | COMPONENTS | {"cosine00", "cosine01"},
    "acompcor_gsr": MOTION_12 | COMPONENTS | {"cosine00", "cosine01", "global_signal"},
}
# What differs, on purpose: with a band-pass the cosines add nothing, and the global signal comes
# with its expansion, as in 36P.
NOT_OURS = {"acompcor": {"cosine00", "cosine01"}, "acompcor_gsr": {"cosine00", "cosine01"}}
NOT_THEIRS = {"acompcor_gsr": {f"global_signal{suffix}" for suffix in EXPANSIONS[1:]}}


@pytest.fixture(scope="module")
def table():
    """Return the table that our preprocessing makes of a small head, and its metadata."""
    rng = np.random.default_rng(0)
    x, y, z = np.indices(SHAPE)
    radius = np.sqrt((x - 7.5) ** 2 + (y - 7.5) ** 2 + (z - 7.5) ** 2)
    mask = radius < 7.5
    volumes = 1000 + 10 * rng.standard_normal((N, int(mask.sum())))
    parameters = np.cumsum(rng.standard_normal((N, 6)), axis=0) * ([0.02] * 3 + [4e-4] * 3)
    return assemble(
        volumes.astype(np.float32),
        mask,
        parameters,
        white_matter=((radius >= 3.2) & (radius < 7.0)) * 1.0,
        csf=(radius < 3.2) * 1.0,
        repetition_time=2.0,
    )


def nilearn_columns(tmp_path, table, metadata, **options):
    """Write the table as fMRIPrep would and return what nilearn selects."""
    stem = tmp_path / "sub-01_task-rest"
    pd.DataFrame(table).to_csv(
        f"{stem}_desc-confounds_timeseries.tsv", sep="\t", na_rep="n/a", index=False
    )
    sidecar = tmp_path / f"{stem.name}_desc-confounds_timeseries.json"
    sidecar.write_text(json.dumps(metadata), encoding="utf-8")
    bold = f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, N), dtype="i2"), np.eye(4)), bold)
    frame, _ = load_confounds(bold, demean=False, **options)
    return frame


ANATOMICAL = {"motion": "derivatives", "compcor": "anat_separated", "n_compcor": 5}
CASES = {
    "6P": {"strategy": ["motion"], "motion": "basic"},
    "24P": {"strategy": ["motion"], "motion": "full"},
    "36P": {
        "strategy": ["motion", "wm_csf", "global_signal"],
        "motion": "full",
        "wm_csf": "full",
        "global_signal": "full",
    },
    "acompcor": {"strategy": ["motion", "compcor", "high_pass"], **ANATOMICAL},
    "acompcor_gsr": {
        "strategy": ["motion", "compcor", "high_pass", "global_signal"],
        "global_signal": "full",
        **ANATOMICAL,
    },
}


@pytest.mark.parametrize("strategy", CASES)
@pytest.mark.parametrize("band_pass", [True, False])
def test_strategies_select_what_nilearn_selects(tmp_path, table, strategy, band_pass):
    columns, metadata = table
    options = CASES[strategy]
    if not band_pass and "high_pass" not in options["strategy"]:
        options = options | {"strategy": [*options["strategy"], "high_pass"]}
    frame = nilearn_columns(tmp_path, columns, metadata, **options)
    expected = set(frame.columns)
    if band_pass:
        # nilearn insists on the cosines beside components; here the band-pass does their work.
        expected = {name for name in expected if not name.startswith("cosine")}
    found = columns_for(strategy, columns, band_pass=band_pass)
    assert set(found) == expected
    assert len(found) == len(set(found))
    values = fill_missing(np.column_stack([columns[name] for name in found]))
    assert np.allclose(values, frame[found].to_numpy(), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("strategy", XCPD)
def test_strategies_differ_from_those_of_xcpd_as_stated(table, strategy):
    found = set(columns_for(strategy, table[0], band_pass=True))
    assert XCPD[strategy] - found == NOT_OURS.get(strategy, set())
    assert found - XCPD[strategy] == NOT_THEIRS.get(strategy, set())
    without_band = set(columns_for(strategy, table[0], band_pass=False))
    assert without_band == found | {"cosine00", "cosine01"}


def test_every_strategy_has_its_number_of_columns(table):
    columns, _ = table
    count = {s: len(columns_for(s, columns, band_pass=True)) for s in STRATEGIES}
    assert count == {
        "acompcor": 22, "acompcor_gsr": 26, "24P": 24, "36P": 36, "6P": 6, "none": 0,
    }  # fmt: skip
    assert columns_for("none", columns, band_pass=False) == ["cosine00", "cosine01"]


def test_missing_columns_are_named():
    with pytest.raises(InputDataError) as caught:
        columns_for("acompcor", ["trans_x"], band_pass=True)
    assert "w_comp_cor_04" in caught.value.message
    assert "acompcor" in caught.value.message
    assert caught.value.hint == regressors.MISSING_COLUMNS_HINT


# --- columns of a file --------------------------------------------------------------------------


def listed(table, *patterns, band_pass=True):
    return columns_for(
        "mine", table, band_pass=band_pass, patterns=patterns, source="/data/mine.yaml"
    )


def test_names_and_expressions_of_a_file_select_columns(table):
    columns, _ = table
    assert listed(columns, "csf", r"^rot_[xyz]$", "rot_x") == ["csf", "rot_x", "rot_y", "rot_z"]
    assert len(listed(columns, "^trans_")) == 12  # an expression need not reach to the end
    assert listed(columns, "csf", band_pass=False) == ["csf", "cosine00", "cosine01"]
    assert listed(columns, "^cosine", "csf", band_pass=False) == ["cosine00", "cosine01", "csf"]


def test_what_a_run_may_lack_by_nature_may_be_asked_for(table):
    columns, _ = table
    assert listed(columns, "csf", r"^motion_outlier\d+$") == ["csf"]
    short = {name: column for name, column in columns.items() if not name.startswith("cosine")}
    assert listed(short, "csf", r"^cosine\d+$") == ["csf"]


@pytest.mark.parametrize(
    ("pattern", "template", "nearest"),
    [
        ("trans_X", regressors.NO_SUCH_COLUMN, "trans_x"),
        ("whitematter", regressors.NO_SUCH_COLUMN, "white_matter"),
        (r"^globalsignal\w*$", regressors.NO_MATCH, "global_signal"),
        ("^$", regressors.NO_MATCH, ""),
    ],
)
def test_what_selects_nothing_is_named_with_file_and_neighbours(table, pattern, template, nearest):
    with pytest.raises(InputDataError) as caught:
        listed(table[0], "csf", pattern)
    assert caught.value.message == template.format(source="/data/mine.yaml", pattern=pattern)
    assert nearest in caught.value.hint
    assert bool(caught.value.hint) is bool(nearest)


def test_motion_without_breathing_takes_the_place_of_motion(table):
    columns, _ = table
    notch = MotionFilter(kind="notch", low_bpm=10, high_bpm=14, order=4)
    both = columns | filtered_columns(columns, notch, 2.0)
    for strategy in STRATEGIES:
        plain = columns_for(strategy, columns, band_pass=True)
        found = columns_for(strategy, both, band_pass=True)
        moved = [name + "_filtered" if name.startswith(MOTION) else name for name in plain]
        assert found == moved
    assert listed(both, "^rot_x$", "csf") == ["rot_x_filtered", "csf"]
    assert listed(both, "framewise_displacement") == ["framewise_displacement_filtered"]


def test_own_columns_are_those_that_preprocessing_writes(table):
    columns, _ = table
    written = {name for name in columns if not name.startswith("cosine")}
    assert set(own_columns()) == written


def test_every_column_has_a_family(table):
    columns, _ = table
    families = {family_of(name) for name in columns}
    assert families == set(FAMILIES)
    assert family_of("trans_x_derivative1_power2") == "motion, squares"
    assert family_of("global_signal_derivative1") == "global signal"
    assert family_of("motion_outlier03") == "others"
