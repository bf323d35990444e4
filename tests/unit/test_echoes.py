"""Echoes of one run: planted decay and courses, tedana as oracle, and what cannot be combined."""

from pathlib import Path

import numpy as np
import pytest

from rls_bids.dataset import echoes as module
from rls_bids.dataset.checks import VOLUME_TIMING
from rls_bids.dataset.description import write_json
from rls_bids.dataset.plan import plan_text
from rls_bids.dataset.query import index_participants
from rls_bids.errors import EXIT_DATA
from rls_bids.numerics.echoes import (
    T2STAR_RANGE_S,
    combination_weights,
    count_good_echoes,
    fit_t2star,
)
from rls_bids.records import Participant
from rls_bids.settings import BoldSettings, InputSettings, build_settings
from tests.factories import bold_array, write_bold, write_dataset, write_filter

TIMES = np.array([0.0128, 0.0302, 0.0476])
T2STAR = np.repeat([0.025, 0.045, 0.08], 200)
STEM = "task-rest_echo-{}"


def planted(rng, noise: float, n_volumes: int = 200, change: float = 0.01):
    """Echoes (E, n_volumes, n_voxels) of one course of 1/T2*, which is returned, too."""
    course = np.sin(2 * np.pi * np.arange(n_volumes) / 20)
    rate = (1 - change * course[:, None]) / T2STAR
    signal = 2000 * np.exp(-TIMES[:, None, None] * rate)
    return signal + rng.normal(0, noise, signal.shape), course


def combined(series: np.ndarray) -> np.ndarray:
    weights = combination_weights(series.mean(axis=1), TIMES)
    return np.einsum("ev,etv->tv", weights, series)


def test_the_planted_decay_is_fitted(rng) -> None:
    series, _ = planted(rng, 0.0, change=0.0)
    means = series.mean(axis=1)
    found = fit_t2star(means, TIMES, count_good_echoes(means))
    np.testing.assert_allclose(found, T2STAR, rtol=1e-6)
    noisy, _ = planted(rng, 30.0)
    found = fit_t2star(noisy.mean(axis=1), TIMES, np.full(600, 3))
    np.testing.assert_allclose(found, T2STAR, rtol=0.06)


def test_weights_are_those_of_posse_and_sum_to_one(rng) -> None:
    means = planted(rng, 0.0, change=0.0)[0].mean(axis=1)
    weights = combination_weights(means, TIMES)
    expected = TIMES[:, None] * np.exp(-TIMES[:, None] / T2STAR)
    np.testing.assert_allclose(weights, expected / expected.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)
    assert weights.dtype == np.float32


def test_the_combination_beats_every_echo(rng) -> None:
    """In tSNR the middle echo, in contrast-to-noise ratio all: the best that weights can do."""
    series, course = planted(rng, 40.0)
    both = combined(series)

    def tsnr(data):
        rest = data - np.outer(course, course @ data) / (course @ course)
        return data.mean(axis=0) / rest.std(axis=0)

    def contrast(data):
        change = course @ data / (course @ course)
        rest = data - np.outer(course, change)
        return np.abs(change) / rest.std(axis=0)

    for tissue in np.split(np.arange(600), 3):
        assert tsnr(both[:, tissue]).mean() > 1.15 * tsnr(series[1][:, tissue]).mean()
        assert contrast(both[:, tissue]).mean() > max(
            contrast(one[:, tissue]).mean() for one in series
        )
    assert contrast(both).mean() > 1.2 * max(contrast(one).mean() for one in series)
    follows = [
        np.mean([np.corrcoef(voxel, course)[0, 1] for voxel in one.T]) for one in (both, *series)
    ]
    assert follows[0] > 1.1 * max(follows[1:])
    assert np.corrcoef(both.mean(axis=1), course)[0, 1] > 0.95


def test_late_echoes_without_signal_do_not_count(rng) -> None:
    means = planted(rng, 0.0, change=0.0)[0].mean(axis=1)
    means[2, :20], means[1:, 20:40], means[:, 40:60] = 10.0, 10.0, 10.0
    n_good = count_good_echoes(means)
    assert set(n_good[:60]) == {2}
    assert set(n_good[60:]) == {3}
    weights = combination_weights(means, TIMES)
    assert not weights[2, :60].any()
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)


def test_noise_and_emptiness_leave_finite_weights() -> None:
    means = np.array([[0.0, 5.0, -1.0, 900.0], [0.0, 9.0, 2.0, 0.0], [0.0, 20.0, 0.5, 900.0]])
    for each in (means, np.zeros((3, 4))):
        weights = combination_weights(each, TIMES)
        assert np.isfinite(weights).all()
        np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)
    rising, falling = fit_t2star(np.array([[1.0, 1e6], [2.0, 1.0]]), TIMES[:2], np.full(2, 2))
    assert (falling, rising) == T2STAR_RANGE_S


@pytest.mark.parametrize("times", [[0.01], [0.03, 0.02, 0.04], [0.0, 0.02, 0.04], [0.01, 0.02]])
def test_times_that_make_no_sense_are_refused(times: list) -> None:
    with pytest.raises(ValueError, match="times"):
        combination_weights(np.ones((3, 2)), times)


def noisy_decay(n_volumes: int = 30) -> np.ndarray:
    """Four voxels of known noise, (E, n_volumes, 4)."""
    t2star = np.array([0.03, 0.04, 0.06, 0.1])
    signal = 5000 * np.exp(-TIMES[:, None] / t2star)
    return signal[:, None] + np.random.default_rng(5).normal(0, 30, (3, n_volumes, 4))


def test_tedana_agrees_where_it_was_asked() -> None:
    """T2* (ms) and combined means that tedana 26.0.3 gave for these series, all echoes used."""
    series = noisy_decay()
    means = series.mean(axis=1)
    found = fit_t2star(means, TIMES, np.full(4, 3))
    np.testing.assert_allclose(1e3 * found, TEDANA_T2STAR_MS, rtol=2e-3)
    weights = combination_weights(means, TIMES)
    np.testing.assert_allclose((weights * means).sum(axis=0), TEDANA_MEANS, rtol=2e-3)


TEDANA_T2STAR_MS = [29.8757, 40.1475, 59.9169, 100.6268]
TEDANA_MEANS = [1970.042, 2348.229, 2903.957, 3542.706]


def test_tedana_agrees_where_it_is_installed() -> None:
    decay = pytest.importorskip("tedana.decay")
    combine = pytest.importorskip("tedana.combine")
    series = noisy_decay(60)
    data, mask = np.moveaxis(series, (0, 1, 2), (1, 2, 0)), np.full(4, 3)
    t2star = decay.fit_decay(data, 1e3 * TIMES, mask, "loglin")[0]
    means = series.mean(axis=1)
    np.testing.assert_allclose(1e3 * fit_t2star(means, TIMES, mask), t2star, rtol=2e-3)
    theirs = combine.make_optcom(data, 1e3 * TIMES, mask, t2s=t2star).T
    np.testing.assert_allclose(combined(series), theirs, rtol=2e-3)


# --- which files ---------------------------------------------------------------------------------


def write(root: Path, echo_times: list, **changed: np.ndarray) -> Path:
    """One participant whose run has these echoes, and one with a plain run."""
    write_dataset(root, {"01": {None: {"bold": []}}, "02": {None: {}}})
    for number, time in enumerate(echo_times, 1):
        data = changed.get(f"echo_{number}", bold_array())
        metadata = {"EchoTime": time, "SliceTiming": [0.0, 1.0, 0.4, 1.4, 0.8, 1.8]}
        write_bold(root / "sub-01/func", f"sub-01_{STEM.format(number)}", metadata, data=data)
    return root


def index(root: Path, **options: object) -> tuple[Participant, ...]:
    return index_participants(
        InputSettings(bids_dir=str(root), output_dir="", **options), BoldSettings()
    )


def test_echoes_of_one_run_are_one_run(tmp_path: Path) -> None:
    root = write(tmp_path / "raw", [0.0302, 0.0128, 0.0476])
    first, second = index(root)
    (run,) = first.sessions[0].runs
    assert run.entities == (("task", "rest"),)
    assert [Path(path).name.split("_")[2] for path, _ in run.echoes] == [
        "echo-2",
        "echo-1",
        "echo-3",
    ]
    assert [time for _, time in run.echoes] == [0.0128, 0.0302, 0.0476]
    assert run.bold == run.echoes[0][0] == run.images[0]
    assert run.slice_timing is not None
    assert second.sessions[0].runs[0].echoes == ()
    assert second.sessions[0].runs[0].images == (second.sessions[0].runs[0].bold,)
    paths = {"input.bids_dir": str(root), "input.output_dir": "/out"}
    settings = build_settings(paths | {"analysis_level": "participant"})
    assert "(20 volumes, 3 echoes, TR 2 s, slice timing, no field map)" in plan_text(
        (first,), settings
    )


def test_every_echo_counts_for_the_fingerprint(tmp_path: Path) -> None:
    root = write(tmp_path / "raw", [0.0128, 0.0302])
    contents = {index(root)[0].sessions[0].runs[0].content}
    write(root, [0.0128, 0.0303])
    contents.add(index(root)[0].sessions[0].runs[0].content)
    write(root, [0.0128, 0.0303], echo_2=bold_array(seed=3))
    contents.add(index(root)[0].sessions[0].runs[0].content)
    assert len(contents) == 3


@pytest.mark.parametrize(
    ("times", "changed", "template", "words", "level"),
    [
        ([0.0128], {}, module.ONE_ECHO, {}, "skipped"),
        ([0.0128, None], {}, module.NO_ECHO_TIME, {}, "failed"),
        ([0.0128, 30.2], {}, module.BAD_ECHO_TIME, {"found": 30.2}, "failed"),
        ([0.0128, "0.03"], {}, module.BAD_ECHO_TIME, {"found": "0.03"}, "failed"),
        ([0.0128, 0.0128], {}, module.SAME_ECHO_TIME, {}, "failed"),
        (
            [0.0128, 0.03],
            {"echo_2": bold_array((4, 5, 6, 21))},
            module.OTHER_GRID,
            {"shape": (4, 5, 6, 21), "expected": (4, 5, 6, 20)},
            "failed",
        ),
    ],
)
def test_what_cannot_be_combined_is_said_in_one_sentence(
    tmp_path: Path, times: list, changed: dict, template: str, words: dict, level: str
) -> None:
    root = write(tmp_path / "raw", times, **changed)
    one, other = index(root)
    assert one.sessions == ()
    assert len(other.sessions) == 1
    (note,) = (note for note in one.notes if note.exit_status)
    paths = [root / f"sub-01/func/sub-01_{STEM.format(k)}_bold.nii.gz" for k in (len(times), 1)]
    assert note.message == template.format(path=paths[0], other=paths[1], **words)
    assert (note.level, note.exit_status) == (level, EXIT_DATA)


def test_echoes_that_differ_in_place_or_timing_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "raw", [0.0128, 0.03])
    stem = f"sub-01_{STEM.format(2)}"
    write_bold(root / "sub-01/func", stem, {"EchoTime": 0.03})
    (note,) = (note for note in index(root)[0].notes if note.exit_status)
    assert "has another SliceTiming than" in note.message
    write(root, [0.0128, 0.03])
    place = np.diag([-3.0, 3.0, 3.0, 1.0])
    place[0, 3] = 0.5
    times = {"EchoTime": 0.03, "SliceTiming": [0.0, 1.0, 0.4, 1.4, 0.8, 1.8]}
    write_bold(root / "sub-01/func", stem, times, affine=place)
    (note,) = (note for note in index(root)[0].notes if note.exit_status)
    assert "lies elsewhere than" in note.message


def test_a_series_that_the_scanner_combined_gives_way_to_its_echoes(tmp_path: Path) -> None:
    root = write(tmp_path / "raw", [0.0128, 0.03])
    path = write_bold(root / "sub-01/func", "sub-01_task-rest")
    (one, _) = index(root)
    assert [len(run.echoes) for run in one.sessions[0].runs] == [2]
    assert module.COMBINED_TOO.format(path=path) in [note.message for note in one.notes]
    plain = write_filter(tmp_path, {"bold": {"echo": None}})
    (one, _) = index(root, bids_filter_file=plain)
    assert [run.bold for run in one.sessions[0].runs] == [str(path)]


def test_volumes_at_times_of_their_own_are_refused_in_a_sentence(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "raw", {"01": {None: {}}})
    path = root / "sub-01/func/sub-01_task-rest_bold.json"
    write_json(path, {"TaskName": "rest", "VolumeTiming": [2.0 * k for k in range(20)]})
    (one,) = index(root)
    assert one.sessions == ()
    (note,) = (note for note in one.notes if note.exit_status)
    bold = str(path).replace(".json", ".nii.gz")
    assert (note.level, note.message) == ("skipped", VOLUME_TIMING.format(path=bold))
    assert note.exit_status == EXIT_DATA
