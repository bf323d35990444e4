"""Settings: every field is checked, and TOML keeps what was set."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls_bids import errors, paths
from rls_bids import settings as module
from rls_bids.errors import EXIT_USAGE, UsageError
from rls_bids.settings import (
    SECTIONS,
    build_settings,
    from_toml,
    limits,
    read_toml,
    to_toml,
)

LABELS = st.lists(st.from_regex(r"[A-Za-z0-9]{1,6}", fullmatch=True), unique=True, max_size=3)


def build(**values):
    """Settings from names with two underscores for the dot."""
    base = {
        "analysis_level": "participant",
        "input.bids_dir": "/data/raw",
        "input.output_dir": "/data/out",
        "run.work_dir": "/scratch/work",
        "run.n_cpus": 4,
    }
    return build_settings(base | {name.replace("__", ".", 1): v for name, v in values.items()})


def test_defaults():
    settings = build()
    assert settings.input.task_ids == ("rest",)
    assert settings.denoise == module.DenoiseSettings()
    assert settings.anat.resolution == "2"


def test_labels_lose_their_prefix_and_repeats():
    settings = build(
        input__participant_labels=["sub-01", "01", "02"],
        input__session_labels=["ses-A"],
        input__task_ids=["task-rest"],
        input__run_ids=["run-1"],
    )
    assert settings.input.participant_labels == ("01", "02")
    assert settings.input.session_labels == ("A",)
    assert settings.input.task_ids == ("rest",)
    assert settings.input.run_ids == ("1",)


@pytest.mark.parametrize(
    ("spaces", "expected"),
    [
        (["MNI152NLin2009cAsym"], ("MNI152NLin2009cAsym", "2")),
        (["MNI152NLin6Asym:res-1"], ("MNI152NLin6Asym", "1")),
        (["MNI152NLin2009cAsym:res-native"], ("MNI152NLin2009cAsym", "native")),
        (["T1w"], ("MNI152NLin2009cAsym", "2")),
        (["T1w", "MNI152NLin6Asym:res-1"], ("MNI152NLin6Asym", "1")),
    ],
)
def test_output_spaces(spaces, expected):
    settings = build(anat__output_spaces=spaces)
    assert (settings.anat.space, settings.anat.resolution) == expected
    assert settings.bold.in_t1w_space is ("T1w" in spaces)


def test_preprocessed_series_do_not_go_to_the_t1w_image():
    with pytest.raises(UsageError, match=re.escape(limits.T1W_DERIVATIVES)):
        build(anat__output_spaces=["T1w"], input__derivatives=["fmriprep=/data/fmriprep"])


def test_atlases_are_names_or_absolute_paths(tmp_path, monkeypatch):
    assert build().measures.atlases == ("Seitzman300",)
    assert build(measures__atlases=["none"]).measures.atlases == ()
    monkeypatch.chdir(tmp_path)
    settings = build(measures__atlases=["AAL3", "my.nii.gz", "set/x.nii", "AAL3"])
    expected = ("AAL3", str(tmp_path / "my.nii.gz"), str(tmp_path / "set" / "x.nii"))
    assert settings.measures.atlases == expected
    assert from_toml(to_toml(settings)) == settings


def test_contrast_text_and_no_covariates():
    none = {"group__covariates": ["none"], "group__voxel_covariates": ["none"]}
    group = build(group__contrast="RLS > HC", **none).group
    assert group.voxel_covariates == ()
    assert group.contrast == ("RLS > HC",)
    assert group.covariates == ()


@pytest.mark.parametrize(
    ("name", "value", "template"),
    [
        ("input__participant_labels", ["a_b"], limits.BAD_LABEL),
        ("input__task_ids", [""], limits.BAD_LABEL),
        ("anat__output_spaces", ["A", "B"], limits.ONE_STANDARD_SPACE),
        ("anat__output_spaces", ["fsaverage5"], limits.NO_SURFACES),
        ("anat__output_spaces", ["A:den-1"], limits.BAD_SPACE),
        ("anat__output_spaces", ["A:res-3"], limits.UNKNOWN_WORD),
        ("anat__skull_strip", "yes", limits.UNKNOWN_WORD),
        ("bold__ignore", ["sleep"], limits.UNKNOWN_WORD),
        ("denoise__strategies", ["37P"], limits.UNKNOWN_WORD),
        ("analysis_level", "subject", limits.UNKNOWN_WORD),
        ("group__voxel_covariates", ["white_matter"], limits.UNKNOWN_WORD),
        ("group__seed_covariate", "yes", limits.UNKNOWN_WORD),
        ("denoise__fd_threshold_mm", -0.1, limits.OUT_OF_RANGE),
        ("denoise__fd_threshold_mm", float("nan"), limits.OUT_OF_RANGE),
        ("denoise__low_hz", 0.0, limits.OUT_OF_RANGE),
        ("denoise__min_df", 0, limits.OUT_OF_RANGE),
        ("bold__dummy_scans", -1, limits.OUT_OF_RANGE),
        ("run__n_cpus", 0, limits.OUT_OF_RANGE),
        ("run__mem_gb", 0, limits.OUT_OF_RANGE),
        ("group__max_mean_fd_mm", 0, limits.OUT_OF_RANGE),
        ("run__random_seed", -1, limits.OUT_OF_RANGE),
        ("denoise__low_hz", 0.2, limits.BAND_ORDER),
        ("run__omp_nthreads", 8, limits.TOO_MANY_THREADS),
        ("measures__n_components", 1, limits.OUT_OF_RANGE),
        ("measures__names", ["ica"], limits.ICA_OF_GROUP),
        ("group__contrast", "RLS > RLS", limits.BAD_CONTRAST),
        ("group__session_contrast", "post >", limits.BAD_CONTRAST),
        ("group__contrast", "A > B > C", limits.BAD_CONTRAST),
        ("group__contrast", "A > ", limits.BAD_CONTRAST),
        ("measures__seeds_file", "/nowhere.tsv", limits.FILE_MISSING),
        ("input__bids_filter_file", "/nowhere.json", limits.FILE_MISSING),
        ("denoise__min_df", 2.5, limits.WRONG_TYPE),
        ("denoise__min_df", True, limits.WRONG_TYPE),
        ("denoise__band_pass", 1, limits.WRONG_TYPE),
        ("denoise__strategies", "6P", limits.WRONG_TYPE),
        ("denoise__low_hz", "0.1", limits.WRONG_TYPE),
        ("run__work_dir", 3, limits.WRONG_TYPE),
        ("run__colour", "red", limits.UNKNOWN_SETTING),
        ("input__output_dir", "/data/raw", paths.OUTPUT_IN_INPUT),
        ("input__output_dir", "/data/raw/out", paths.OUTPUT_IN_INPUT),
        ("input__output_dir", "/data/raw/derivatives", paths.OUTPUT_IN_INPUT),
        ("input__output_dir", "/data/raw/derivatives/../sub-01", paths.OUTPUT_IN_INPUT),
        ("run__work_dir", "/data/raw/work", paths.WORK_IN_INPUT),
        ("run__work_dir", "/data/raw", paths.WORK_IN_INPUT),
        ("run__work_dir", "/data/out", paths.WORK_IS_OUTPUT),
    ],
)
def test_refusals(name, value, template):
    with pytest.raises(UsageError) as caught:
        build(**{name: value})
    assert caught.value.exit_status == EXIT_USAGE
    # The text between the fields of the template is in the message.
    assert_matches(caught.value.message, template)


def test_group_ica_runs_by_itself():
    assert build(analysis_level="group", measures__names=["ica"]).measures.n_components == 12
    with pytest.raises(UsageError) as caught:
        build(analysis_level="group", measures__names=["seed", "ica", "alff"])
    assert caught.value.message == limits.ICA_ALONE.format(others="seed, alff")


def assert_matches(message, template):
    import re

    pattern = "".join(
        ".*" if part.startswith("{") else re.escape(part)
        for part in re.split(r"({[^}]*})", template)
    )
    assert re.fullmatch(pattern, message), message


def test_mistyped_words_get_a_suggestion():
    with pytest.raises(UsageError) as caught:
        build(denoise__strategies=["acompcorr"])
    assert caught.value.hint == errors.NEAREST_HINT.format(nearest="acompcor")


@pytest.mark.parametrize("output", ["/data/raw/derivatives/rls_bids", "/data/rawer", "/data"])
def test_outputs_that_are_allowed(output):
    assert build(input__output_dir=output).input.output_dir == output


def test_a_link_into_the_input_is_seen(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    with pytest.raises(UsageError):
        build(input__bids_dir=str(tmp_path / "raw"), input__output_dir=str(tmp_path / "link/out"))


@pytest.mark.parametrize("name", ["analysis_level", "input.bids_dir", "input.output_dir"])
def test_what_is_needed(name):
    values = {
        "analysis_level": "group",
        "input.bids_dir": "/data/raw",
        "input.output_dir": "/data/out",
    }
    del values[name]
    with pytest.raises(UsageError, match=name):
        build_settings(values)


@given(
    labels=LABELS,
    strategies=st.lists(st.sampled_from(limits.STRATEGIES), unique=True, min_size=1),
    edges=st.tuples(st.floats(1e-4, 0.05), st.floats(0.06, 0.5)),
    min_time=st.floats(0, 1e4),
    level=st.sampled_from(["minimal", "full"]),
    contrast=st.sampled_from(["", 'R"LS > H\\C', "über > ≥"]),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_toml_round_trip(labels, strategies, edges, min_time, level, contrast, flags):
    settings = build(
        input__participant_labels=labels,
        denoise__strategies=strategies,
        denoise__low_hz=edges[0],
        denoise__high_hz=edges[1],
        denoise__min_time_s=min_time,
        denoise__band_pass=flags[0],
        run__dry_run=flags[1],
        run__level=level,
        **({"group__contrast": contrast} if contrast else {}),
    )
    assert from_toml(to_toml(settings)) == settings


def test_toml_has_every_field_that_is_set():
    names = {f"{s}.{f.name}" for s, cls in SECTIONS.items() for f in dataclasses.fields(cls)}
    written = read_toml(to_toml(build())).keys()
    unset = {name for name in names if name not in written}
    settings = build()
    assert all(
        getattr(getattr(settings, name.split(".")[0]), name.split(".")[1]) is None
        for name in unset
    )


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("a = ", limits.BAD_TOML),
        ("[run]\ncolour = 1\n", limits.UNKNOWN_SETTING),
        ("run = 3\n", limits.UNKNOWN_SETTING),
    ],
)
def test_bad_toml(text, template):
    with pytest.raises(UsageError) as caught:
        from_toml(text, "old.toml")
    assert_matches(caught.value.message, template)
    assert "old.toml" in caught.value.message
