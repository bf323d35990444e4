"""Strategies side by side: what they share, how they are told apart, when they are done again."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rls_bids.dataset.query import index_participants
from rls_bids.errors import UsageError
from rls_bids.numerics import breathing, regressors
from rls_bids.resources import default_seeds
from rls_bids.resources.templates import locate_template
from rls_bids.settings import build_settings
from rls_bids.workflows import nuisance
from rls_bids.workflows.denoise import init_denoise_wf
from rls_bids.workflows.metadata import processing_of
from rls_bids.workflows.participant import init_participants_wf
from rls_bids.workflows.stages import place_of, stages_of
from tests.factories import write_dataset
from tests.graph.test_participant_graph import ONE_RUN, expand, node_of, sources_of

STRATEGIES = ("acompcor", "acompcor_gsr")
SHARED = (
    *("BiasCorrect", "ExtractBrain", "NormalizeToTemplate", "EstimateMotion", "Coregister"),
    *("ResampleSeries", "ComputeConfounds", "PlotMotion", "MeasureQuality"),
)
NOTCH = {"motion_filter": "notch", "band_stop_min_bpm": 12.0, "band_stop_max_bpm": 18.0}


def settings_of(root, *strategies, **values):
    bids = root / "bids"
    if not bids.exists():
        write_dataset(bids, {"01": ONE_RUN})
    return build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": str(bids),
            "input.output_dir": str(root / "out"),
            "run.work_dir": str(root / "work"),
            "denoise.strategies": list(strategies),
            **{f"denoise.{name}": value for name, value in values.items()},
        }
    )


def session_of(settings):
    (participant,) = index_participants(settings.input, settings.bold)
    return participant.sessions[0]


def staged(settings):
    """Return the stages of the one session, and the session."""
    session = session_of(settings)
    seeds = {seed.name: seed for seed in default_seeds()}
    template = locate_template(settings.anat.space, settings.anat.resolution)
    return stages_of(session, settings, template, seeds), session


def written(graph):
    return [
        path
        for node in graph.nodes()
        for path in (
            [node.inputs.path]
            if type(node.interface).__name__ == "WriteDerivative"
            else list(node.inputs.paths.values())
            if type(node.interface).__name__ == "WriteManifest"
            else []
        )
    ]


@pytest.mark.parametrize("second", ["acompcor_gsr", "acompcor:nocensor"])
def test_two_strategies_share_everything_up_to_the_confounds(tmp_path, second):
    graph = expand(tmp_path, ONE_RUN, denoise__strategies=("acompcor", second))
    kinds = Counter(type(node.interface).__name__ for node in graph.nodes())
    present = [kind for kind in SHARED if kind in kinds]
    assert {"EstimateMotion", "ResampleSeries", "ComputeConfounds"} <= set(present)
    twice = ("ResampleSeries", "StandardPoints")  # on the grid of the local measures, too
    assert all(kinds[kind] == 1 + (kind in twice) for kind in present)
    assert kinds["PlotCarpet"] == kinds["PlotLoadings"] == 2
    assert kinds["Denoise"] == 4
    labels = {"acompcor_gsr": "acompcorGsr", "acompcor:nocensor": "acompcorNocensor"}
    for label in ("acompcor", labels[second]):
        sources = sources_of(graph, f"denoise_{label}_0.nuisance_regression")
        assert sources["confounds"] == "ses_rest.bold_0.confounds.confounds"
        assert sources["series"] == "ses_rest.bold_0.resampling.series"
    paths = written(graph)
    assert len(paths) == len(set(paths))
    own = [path for path in paths if f"denoise-{labels[second]}_" in path]
    assert len(own) == sum("denoise-acompcor_" in path for path in paths) > 10


def test_censoring_is_off_where_it_was_asked_to_be(tmp_path):
    names = ("acompcor", "acompcor:nocensor")
    graph = expand(tmp_path / "graph", ONE_RUN, denoise__strategies=names)
    for label, threshold in (("acompcor", 0.5), ("acompcorNocensor", 0.0)):
        for node in ("nuisance_regression", "figure_carpet", "figure_loadings"):
            inputs = node_of(graph, f"denoise_{label}_0.{node}").inputs
            assert inputs.fd_threshold_mm == threshold
        inputs = node_of(graph, f"denoise_{label}_0.nuisance_regression").inputs
        assert inputs.strategy == "acompcor"
    settings = settings_of(tmp_path, *names)
    told = [processing_of(settings, name, "2") for name in names]
    assert [each["MotionThresholdMm"] for each in told] == [0.5, 0.0]
    assert [each["Denoising"] for each in told] == list(names)
    stages, _ = staged(settings)
    (first,), (second,) = stages.designs.values()
    assert first.fingerprint != second.fingerprint
    assert "denoise-acompcorNocensor" in second.products[0].path


def test_an_edited_file_does_its_own_strategy_again_and_no_other(tmp_path):
    path = tmp_path / "my_model.yaml"
    found = {}
    for text in ("columns: [csf]\n", "# words\ncolumns:\n- csf\n", "columns: [csf, '^rot_']\n"):
        path.write_text(text)
        stages, _ = staged(settings_of(tmp_path, "24P", str(path)))
        found[text] = stages
    first, same, edited = found.values()
    assert first.runs == same.runs == edited.runs
    assert first.designs["24P"] == edited.designs["24P"]
    assert first.designs["my_model"] == same.designs["my_model"]
    stamps = [each.designs["my_model"][0].fingerprint for each in (first, edited)]
    assert stamps[0] != stamps[1]
    assert first.seeds["24P"] == edited.seeds["24P"]
    name = next(iter(first.seeds["my_model"]))
    stamps = [each.seeds["my_model"][name].fingerprint for each in (first, edited)]
    assert stamps[0] != stamps[1]
    assert "_denoise-myModel_" in first.designs["my_model"][0].products[0].path
    settings = settings_of(tmp_path, str(path))
    assert processing_of(settings, "my_model", "2")["DenoisingColumns"] == ["csf", "^rot_"]
    moved = tmp_path / "elsewhere" / "my_model.yaml"
    moved.parent.mkdir()
    path.rename(moved)
    again, _ = staged(settings_of(tmp_path, str(moved)))
    assert again.designs["my_model"] == edited.designs["my_model"]


def test_the_columns_of_a_file_reach_the_nodes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("columns: [csf, '^rot_[xyz]$']\n")
    graph = expand(tmp_path, ONE_RUN, denoise__strategies=[str(path)])
    for node in ("nuisance_regression", "figure_loadings"):
        inputs = node_of(graph, f"denoise_mine_0.{node}").inputs
        assert inputs.patterns == ["csf", "^rot_[xyz]$"]
        assert inputs.source == str(path)


def test_a_column_that_will_not_be_there_is_refused_before_anything_is_computed(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("columns: [trans_x, '^rotation_']\n")
    with pytest.raises(UsageError) as caught:
        expand(tmp_path, ONE_RUN, denoise__strategies=[str(path)])
    assert caught.value.message == regressors.NO_MATCH.format(source=path, pattern="^rotation_")
    path.write_text("columns: ['^cosine', '^motion_outlier']\n")
    expand(tmp_path, ONE_RUN, denoise__strategies=[str(path)])


@pytest.mark.parametrize("wanted", [None, True])
def test_unfiltered_residuals_are_made_on_request(tmp_path, wanted):
    settings = settings_of(tmp_path, "6P")
    stages, session = staged(settings)
    options = {} if wanted is None else {"with_unfiltered": wanted}
    workflow = init_denoise_wf(
        session.runs[0], "6P", stages.designs["6P"][0], place_of(settings), settings.denoise,
        name="denoise", **options,
    )  # fmt: skip
    regression = workflow.get_node("nuisance_regression")
    assert regression.inputs.with_unfiltered is bool(wanted)
    outputs = workflow.get_node("outputnode").outputs.copyable_trait_names()
    assert {"unfiltered", "sample_mask", "denoised", "smoothed", "status"} == set(outputs)


# --- breathing ----------------------------------------------------------------------------------


def test_the_motion_filter_reaches_the_confounds_and_does_them_again(tmp_path):
    options = {f"denoise__{name}": value for name, value in NOTCH.items()}
    graph = expand(tmp_path / "graph", ONE_RUN, **options)
    told = node_of(graph, "bold_0.confounds").inputs.motion_filter
    assert told == {
        "kind": "notch", "low_bpm": 12.0, "high_bpm": 18.0, "order": 4,
        "version": breathing.VERSION,
    }  # fmt: skip
    plain = expand(tmp_path / "plain", ONE_RUN)
    assert node_of(plain, "bold_0.confounds").inputs.motion_filter == {}
    before, _ = staged(settings_of(tmp_path, "6P"))
    settings = settings_of(tmp_path, "6P", **NOTCH)
    after, _ = staged(settings)
    assert before.anat == after.anat
    assert before.runs[0].fingerprint != after.runs[0].fingerprint
    assert before.designs["6P"][0].fingerprint != after.designs["6P"][0].fingerprint
    assert processing_of(settings, "6P", "2")["MotionFilter"] == told


def test_an_alias_is_told_with_the_repetition_time(tmp_path):
    settings = settings_of(tmp_path, "6P", **NOTCH)
    participants = index_participants(settings.input, settings.bold)
    seeds = {seed.name: seed for seed in default_seeds()}
    template = locate_template(settings.anat.space, settings.anat.resolution)
    plan = init_participants_wf(participants, settings, template, seeds, "run")
    (note,) = plan.notes
    assert note.level == "warning"
    assert note.message == nuisance.ALIASED.format(
        low=12, high=18, seen_low=12, seen_high=15, repetition_time=2.0, nyquist=15
    )
    slow = settings_of(tmp_path, "6P", **(NOTCH | {"band_stop_max_bpm": 14.0}))
    assert not list(nuisance.alias_notes(session_of(slow), slow.denoise))


@pytest.mark.parametrize(("repetition_time", "is_told"), [(2.0, False), (3.0, True)])
def test_a_low_pass_that_keeps_the_alias_of_breathing_is_told(tmp_path, repetition_time, is_told):
    settings = settings_of(tmp_path, "6P", motion_filter="lp", band_stop_min_bpm=6.0)
    session = session_of(settings)
    runs = tuple(replace(run, repetition_time=repetition_time) for run in session.runs)
    notes = list(nuisance.alias_notes(replace(session, runs=runs), settings.denoise))
    assert bool(notes) is is_told
    if notes:
        assert "is seen at 2-8/min with the repetition time of 3 s" in notes[0].message
        assert "keeps up to 6/min" in notes[0].message


def test_a_filter_that_does_nothing_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(UsageError) as caught:
        expand(tmp_path, ONE_RUN, denoise__motion_filter="lp", denoise__band_stop_min_bpm=20.0)
    assert caught.value.message == breathing.LP_BEYOND.format(
        low=20, repetition_time=2.0, nyquist=15.0
    )
    assert Path(tmp_path / "out").exists() is False
