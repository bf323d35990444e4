"""Strategies by name and by file: what is read, how it is called, and what is refused."""

from pathlib import Path

import pytest

from rls_bids.dataset.naming import camel_label
from rls_bids.errors import UsageError
from rls_bids.numerics.regressors import NO_MATCH
from rls_bids.options import make_parser
from rls_bids.settings import build_settings, from_toml, limits, read_toml, strategies, to_toml
from rls_bids.settings.strategies import read_model, strategy_of, threshold_of
from tests.prepared import write_prepared
from tests.unit.test_prepared import failure, index, only_run

MINE = "columns:\n  - csf\n  - ^rot_[xyz]$\n"


def build(*names, **values):
    base = {
        "analysis_level": "participant",
        "input.bids_dir": "/data/raw",
        "input.output_dir": "/data/out",
        "run.work_dir": "/scratch/work",
        "run.n_cpus": 4,
    }
    values = {f"denoise.{name}": value for name, value in values.items()}
    return build_settings(base | {"denoise.strategies": list(names)} | values)


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "my_model.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_a_file_gives_its_stem_as_name_and_its_columns(write):
    path = write(MINE)
    denoise = build("acompcor", path, f"{path}:nocensor").denoise
    assert denoise.strategies == ("acompcor", "my_model", "my_model:nocensor")
    found = strategy_of(denoise, "my_model")
    assert (found.patterns, found.source) == (("csf", "^rot_[xyz]$"), path)
    assert found.is_censored
    assert strategy_of(denoise, "acompcor").patterns == ()
    assert camel_label("my_model") == "myModel"
    assert camel_label("my_model:nocensor") == "myModelNocensor"


def test_the_first_letter_is_made_small_as_labels_in_desc_have_it(write):
    assert build(write(MINE, "Mine.yml")).denoise.strategies == ("mine",)


def test_the_log_of_a_call_holds_the_columns_so_that_the_file_may_go(write):
    path = write(MINE)
    settings = build(path, "6P")
    text = to_toml(settings)
    Path(path).unlink()
    assert from_toml(text) == settings
    values = read_toml(text) | {"denoise.strategies": ["6P"]}
    assert build_settings(values).denoise.model_columns == ()  # what is not used is not kept


def test_an_edited_file_counts_over_an_earlier_call(write):
    earlier = read_toml(to_toml(build(write(MINE))))
    path = write("columns: [white_matter]\n")
    again = build_settings(earlier | {"denoise.strategies": [path]})
    assert strategy_of(again.denoise, "my_model").patterns == ("white_matter",)


def test_the_form_of_xcpd_is_read(write):
    text = (
        "name: mine\ndescription: |\n  Words.\nconfounds:\n  preproc_confounds:\n"
        "    dataset: preprocessed\n    query:\n      desc: confounds\n"
        "    columns:\n    - trans_x\n    - ^c_comp_cor_0[0-4]$\n"
    )
    assert read_model(Path(write(text))) == ("trans_x", "^c_comp_cor_0[0-4]$")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("columns: [csf", strategies.NOT_YAML),
        ("- csf\n", strategies.NO_COLUMNS),
        ("columns: []\n", strategies.NO_COLUMNS),
        ("columns: csf\n", strategies.NO_COLUMNS),
        ("colums: [csf]\n", strategies.NO_COLUMNS),
        ("", strategies.NO_COLUMNS),
        ("columns: [csf, 3]\n", strategies.NO_TEXT),
        ("columns: [' ']\n", strategies.NO_TEXT),
        ("columns: ['^rot_[']\n", strategies.NO_EXPRESSION),
        ("confounds: {own: {dataset: custom, columns: [a]}}\n", strategies.OTHER_SOURCE),
        ("confounds: {voxelwise: {dataset: preprocessed}}\n", strategies.OTHER_SOURCE),
    ],
)
def test_a_bad_file_is_named_with_the_reason(write, text, reason):
    path = write(text)
    with pytest.raises(UsageError) as caught:
        build(path)
    start = strategies.BAD_FILE.partition("{reason}")[0].format(path=path)
    assert caught.value.message.startswith(start + reason.partition("{")[0])
    assert caught.value.message.count("\n") == 0
    assert caught.value.hint == strategies.BAD_FILE_HINT


def test_a_file_that_is_not_there_or_no_text(write, tmp_path):
    with pytest.raises(UsageError, match=strategies.NOT_THERE):
        build(str(tmp_path / "gone.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00columns")
    with pytest.raises(UsageError, match="it is not YAML"):
        build(str(tmp_path / "bytes.yaml"))


@pytest.mark.parametrize(
    "name", ["6p.yaml", "acompcor-GSR.yml", "36PNocensor.yaml", "a=b.yaml", "a:b.yaml", "_.yaml"]
)
def test_names_that_collide_or_cannot_be_written_are_refused(write, name):
    path = write(MINE, name)
    with pytest.raises(UsageError) as caught:
        build(path)
    reason = strategies.UNNAMEABLE.format(found=Path(name).stem)
    assert caught.value.message == strategies.BAD_NAME.format(path=path, reason=reason)


@pytest.mark.parametrize("second", ["b/my_model.yaml", "b/myModel.yaml", "b/my-model.yml"])
def test_two_files_of_one_name_are_refused(write, second):
    paths = [write(MINE, "a/my_model.yaml"), write(MINE, second)]
    with pytest.raises(UsageError) as caught:
        build(*paths)
    assert strategies.SAME_LABEL.partition("{")[0] in caught.value.message
    assert caught.value.hint == strategies.SAME_LABEL_HINT


def test_the_same_strategy_twice_is_one():
    assert build("6P", "6P").denoise.strategies == ("6P",)


def test_without_censoring_beside_it():
    denoise = build("acompcor", "acompcor:nocensor").denoise
    assert threshold_of(denoise, "acompcor") == 0.5
    assert threshold_of(denoise, "acompcor:nocensor") == 0.0


def test_no_censoring_of_nothing_is_refused():
    with pytest.raises(UsageError) as caught:
        build("6P", "6P:nocensor", fd_threshold_mm=0.0)
    assert caught.value.message == strategies.NOTHING_CENSORED.format(
        flag=strategies.FLAG, found="6P:nocensor"
    )


@pytest.mark.parametrize("word", ["acompcorr", "6P:nocens", "mine", ":nocensor", "none.json"])
def test_unknown_words_are_refused_with_what_there_is(word):
    with pytest.raises(UsageError) as caught:
        build(word)
    assert caught.value.message == limits.UNKNOWN_WORD.format(
        flag=strategies.FLAG, found=word, expected=strategies.TAKES
    )


def test_a_table_of_another_program_that_lacks_a_column_is_named_with_the_file(write, tmp_path):
    root = write_prepared(tmp_path / "fmriprep")
    path = write("columns: [trans_x, ^whitematter]\n")
    note = failure(index(tmp_path, root, denoise__strategies=[path]))
    assert str(root) in note.message
    assert NO_MATCH.format(source=path, pattern="^whitematter") in note.message
    assert "white_matter" in note.hint
    good = write("columns: [trans_x, ^white_matter, ^motion_outlier]\n")
    only_run(index(tmp_path, root, denoise__strategies=[good]))


# --- the motion filter --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "template"),
    [
        ({"band_stop_min_bpm": 12.0}, limits.STOP_WITHOUT_FILTER),
        ({"motion_filter": "notch", "band_stop_min_bpm": 12.0}, limits.NOTCH_NEEDS),
        ({"motion_filter": "lp", "band_stop_max_bpm": 12.0}, limits.LP_NEEDS),
        ({"motion_filter": "lp"}, limits.LP_NEEDS),
        (
            {"motion_filter": "notch", "band_stop_min_bpm": 18.0, "band_stop_max_bpm": 12.0},
            limits.STOP_ORDER,
        ),
        (
            {"motion_filter": "lp", "band_stop_min_bpm": 6.0, "motion_filter_order": 3},
            limits.ODD_ORDER,
        ),
        ({"motion_filter": "lowpass"}, limits.UNKNOWN_WORD),
        ({"band_stop_min_bpm": -1.0}, limits.OUT_OF_RANGE),
    ],
)
def test_edges_must_fit_the_type_of_the_filter(values, template):
    with pytest.raises(UsageError) as caught:
        build("6P", **values)
    for part in template.replace("{", "\0{").split("\0"):
        assert part.partition("}")[2 if part.startswith("{") else 0] in caught.value.message


def test_the_flags_of_the_motion_filter_reach_the_settings():
    flags = "--motion-filter-type notch --band-stop-min 12 --band-stop-max 18"
    given = make_parser().parse_args(["/data/raw", "/data/out", "participant", *flags.split()])
    denoise = build_settings(vars(given)).denoise
    assert (denoise.motion_filter, denoise.motion_filter_order) == ("notch", 4)
    assert (denoise.band_stop_min_bpm, denoise.band_stop_max_bpm) == (12.0, 18.0)
