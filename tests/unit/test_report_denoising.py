"""Denoising on the page and in the methods text."""

from dataclasses import replace
from pathlib import Path

import pytest

from rls_bids.dataset import naming
from rls_bids.interfaces.denoise import refusal
from rls_bids.records import Note
from rls_bids.reports.collect import NOT_FINISHED, collect_participant
from rls_bids.reports.denoising import FIGURES, unused_words
from rls_bids.reports.html import write_participant_page
from rls_bids.reports.texts import FIGURES as WORDS
from rls_bids.reports.wording import denoising_text
from rls_bids.settings import DenoiseSettings, build_settings
from rls_bids.settings.limits import STRATEGIES
from tests.unit.test_reports import STATUS, SVG, _check, _result, _write

LEFT = STATUS | {"Run": "run-1", "SecondsKept": 394.0}


@pytest.mark.parametrize(
    ("change", "present", "absent"),
    [
        (
            {"strategies": ("36P:nocensor", "36P")},
            "for the filter only [@power2014]. With 36P:nocensor every volume was kept.",
            "acompcor",
        ),
        ({"strategies": ("24P:nocensor",)}, "No volume was censored.", "were censored"),
        (
            {"strategies": ("mine",), "model_columns": ("mine=csf", "mine=^rot_")},
            "mine: the columns csf, ^rot_ of the confounds table.",
            "acompcor",
        ),
        (
            {"motion_filter": "notch", "band_stop_min_bpm": 12.0, "band_stop_max_bpm": 18.0},
            "by a notch at 12–18 breaths per minute",
            "low-pass",
        ),
        (
            {"motion_filter": "lp", "band_stop_min_bpm": 6.0},
            "by a low-pass of 6 breaths per minute, of order 4",
            "notch",
        ),
        ({}, "Nuisance regression used acompcor:", "Breathing"),
    ],
)
def test_the_text_follows_the_settings(change, present, absent):
    text = denoising_text(replace(DenoiseSettings(), **change))
    assert present in text
    assert absent not in text


def test_each_model_is_described_once():
    both = replace(DenoiseSettings(), strategies=("6P", "6P:nocensor", *STRATEGIES[:4]))
    text = denoising_text(both)
    assert text.count("6P: six head motion parameters") == 2  # of 6P and of 36P
    for name in STRATEGIES[:4]:
        assert f"{name}: " in text


@pytest.fixture
def page(tmp_path):
    """Write one run with two strategies, one of which leaves nothing, and return its page."""
    root = tmp_path / "out"
    settings = build_settings(
        {
            "analysis_level": "participant",
            "input.bids_dir": "/data",
            "input.output_dir": str(root),
            "denoise.strategies": ["acompcor", "acompcor:nocensor"],
        }
    )
    names = {"task": "rest", "run": "1"}
    _result(root, "confounds", {}, "01", None, **names)
    nothing = LEFT | {"ResidualDegreesOfFreedom": -3, "NumberOfVolumesKept": 40,
                      "SecondsKept": 80.0}  # fmt: skip
    for label, status in (("acompcor", nothing), ("acompcorNocensor", LEFT)):
        _result(root, "design", status, "01", None, **names, denoise=label)
        _write(root, naming.figure("01", None, "carpet", **names, denoise=label), SVG)
    path = naming.figure("01", None, "loadings", **names, denoise="acompcor")
    _write(root, path, SVG)
    reason = refusal([nothing], who="sub-01_task-rest", strategy="acompcor",
                     min_time_s=240.0, min_df=20)  # fmt: skip
    note = Note(participant="01", level="skipped", message=reason)
    return root, collect_participant(root, "01", [note], settings)


def test_every_strategy_has_its_carpet_and_loadings(page):
    root, content = page
    (run,) = next(each for each in content.sections if each.anchor == "runs").parts
    shown = {item.title: item for item in run.figures}
    for what in FIGURES:
        for label in ("acompcor", "acompcorNocensor"):
            assert f"{WORDS[what].title}: {label}" in shown
    drawn = shown["Confound loadings: acompcor"]
    assert (
        drawn.path
        == "sub-01/figures/sub-01_task-rest_run-1_denoise-acompcor_desc-loadings_bold.svg"
    )
    assert "by itself" in drawn.caption
    missing = shown["Confound loadings: acompcorNocensor"]
    assert (missing.path, missing.reason) == (None, NOT_FINISHED)
    text = _check(write_participant_page(Path(root), content), Path(root)).text
    assert "Confound loadings: acompcor" in text


def test_a_run_that_is_left_out_and_a_session_that_is_refused_are_told(page):
    root, content = page
    text = _check(write_participant_page(Path(root), content), Path(root)).text
    assert "With acompcor this run is not used: too little is left (200 volumes (40 kept)" in text
    assert "With acompcorNocensor this run" not in text
    assert "too little data is left after denoising with acompcor" in text
    assert "no run has anything left" in text


def test_short_and_exhausted_runs_are_unused_and_others_not():
    denoise = DenoiseSettings()
    assert unused_words({"6P": LEFT}, denoise) == ()
    (words,) = unused_words({"6P": LEFT | {"SecondsKept": 50.0}}, denoise)
    assert "50 s" in words
    assert unused_words({"6P": LEFT | {"SecondsKept": 50.0}}, replace(denoise, min_time_s=0)) == ()
    assert unused_words({"6P": STATUS}, denoise) == ()  # of an earlier version: not known
