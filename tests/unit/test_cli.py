"""The command line: spellings, sentences and exit codes."""

import argparse
import dataclasses
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rls_bids import __version__, cli
from rls_bids.errors import (
    EXIT_CANNOT_WRITE,
    EXIT_DATA,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    NEAREST_HINT,
    InputDataError,
    UsageError,
)
from rls_bids.options import REPEATED_FLAG
from rls_bids.settings import SECTIONS, RunSettings, to_toml
from rls_bids.settings.limits import FILE_MISSING, LABELS, STRATEGIES, WORDS
from rls_bids.settings.strategies import UNCENSORED

ROOT = Path(__file__).parents[2]
PATHS = ["/data/raw", "/data/out", "participant"]
SENTENCE, HINT = "No BOLD file in /data/raw.", "Look at --task-id."


def parse(text):
    return cli.parse_arguments([*PATHS, *shlex.split(text)])


@pytest.fixture
def app(monkeypatch, tmp_path):
    """Put a function in the place of the app, and run ``main`` with it."""
    monkeypatch.setattr(cli, "prepare_environment", lambda *_: None)
    monkeypatch.setattr(cli, "_start_logging", lambda *_: None)

    def run(function):
        monkeypatch.setattr(cli, "_level", lambda settings: function)
        paths = [str(tmp_path / "raw"), str(tmp_path / "out"), "participant"]
        return cli.main([*paths, "-w", str(tmp_path / "work")])

    return run


def options():
    return [option for group in cli.OPTIONS.values() for option in group]


def test_every_option_has_help_and_its_setting():
    names = {f"{s}.{f.name}" for s, cls in SECTIONS.items() for f in dataclasses.fields(cls)}
    names |= {"config_file", "anat.output_spaces", "measures.alff_band"}
    for flags, setting, _, _, text in options():
        assert text, flags
        assert setting in names or setting.startswith("ignored."), flags


def test_every_setting_is_reached_from_an_option():
    reached = {setting for _, setting, *_ in options()}
    reached |= {action.dest for action in cli.make_parser()._actions}
    # from --output-spaces, --alff-band, and a YAML file among --nuisance-regressors
    reached |= {"anat.space", "anat.resolution", "bold.in_t1w_space"}
    reached |= {"measures.alff_low_hz", "measures.alff_high_hz"}
    reached |= {"denoise.model_columns", "denoise.model_files"}
    for section, cls in SECTIONS.items():
        for field in dataclasses.fields(cls):
            assert f"{section}.{field.name}" in reached


def test_flags_of_messages_exist():
    known = {flag for flags, *_ in options() for flag in flags.split()}
    assert {flag for flag, _ in (*LABELS.values(), *WORDS.values())} <= known


def test_choices_in_help_are_those_of_the_settings():
    shown = {setting: value for _, setting, _, value, _ in options() if value.startswith("{")}
    listed, _, suffix = shown.pop("denoise.strategies").partition("[")
    assert tuple(listed.strip("{}").split(",")) == (*STRATEGIES, "FILE.yaml")
    assert f"[{suffix}" == f"[{UNCENSORED}]"
    for setting, value in shown.items():
        assert tuple(value.strip("{}").split(",")) == WORDS[setting][1]


def test_no_underscore_in_help():
    flags = [flag for action in cli.make_parser()._actions for flag in action.option_strings]
    assert not [flag for flag in flags if "_" in flag]


@pytest.mark.parametrize("flag", ["--n-cpus", "--n_cpus", "--nprocs", "--nthreads"])
def test_spellings_of_cpus(flag):
    assert parse(f"{flag} 3").run.n_cpus == 3
    assert parse(f"{flag}=3").run.n_cpus == 3


def test_both_spellings_and_values_with_underscores():
    settings = parse("--participant_label sub-01 02 --group_column my_group --mem_mb 2000")
    assert settings.input.participant_labels == ("01", "02")
    assert settings.group.group_column == "my_group"
    assert settings.run.mem_gb == 2.0


def test_lists_add_and_single_flags_do_not():
    settings = parse("-t rest --task-id task-movie -p 6P -p 24P")
    assert settings.input.task_ids == ("rest", "movie")
    assert settings.denoise.strategies == ("6P", "24P")
    with pytest.raises(UsageError) as caught:
        parse("--nprocs 2 --n-cpus 3")
    assert caught.value.message == REPEATED_FLAG.format(flag="--n-cpus")


def test_the_real_data_call():
    settings = parse("--min-time 0 --min-df 5 --fd-thresh 0 -p 6P --disable-bandpass-filter")
    denoise = settings.denoise
    assert (denoise.min_time_s, denoise.min_df, denoise.fd_threshold_mm) == (0, 5, 0)
    assert denoise.strategies == ("6P",)
    assert not denoise.band_pass


def test_defaults_of_threads():
    assert parse("--n-cpus 1").run.omp_nthreads == 1
    assert parse("--n-cpus 4").run.omp_nthreads == 3
    assert parse("--n-cpus 32").run.omp_nthreads == 8


def test_abbreviations_are_refused():
    with pytest.raises(UsageError) as caught:
        parse("--seed x")
    assert caught.value.message == cli.UNKNOWN_FLAG.format(flag="--seed")
    assert caught.value.hint == NEAREST_HINT.format(nearest="--seeds")


def test_unknown_flag_wins_over_missing_positionals():
    with pytest.raises(UsageError) as caught:
        cli.parse_arguments(["--participant_lable", "01"])
    assert caught.value.hint == NEAREST_HINT.format(nearest="--participant-label")


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (
            "--participant-label 01 'a b' O participant",
            "'a b' O participant --participant-label 01",
        ),
        ("-t rest -p 6P B O group", "B O group -t rest -p 6P"),
        ("-t rest B O group --n-cpus 2", "B O group -t rest --n-cpus 2"),
        ("B -t rest O participant", "B O participant -t rest"),
        ("B O -t rest participant -v", "B O participant -t rest -v"),
    ],
)
def test_swallowed_positionals(argv, command):
    with pytest.raises(UsageError) as caught:
        cli.parse_arguments(shlex.split(argv))
    assert caught.value.hint == cli.SWALLOWED_HINT.format(command=f"rls_bids {command}")
    assert cli.parse_arguments(shlex.split(command))


@pytest.mark.parametrize(
    "argv",
    ["", "B O", "B O subject", "B O participant --level most", "B O participant --n-cpus two",
     "B O participant more", "B O participant --fd-thresh -1", "B O participant -z"],
)  # fmt: skip
def test_usage_errors_are_one_sentence(argv, capsys):
    assert cli.main(shlex.split(argv)) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rls_bids: error: ")
    assert err.count("\n") == 1


def test_config_file_gives_way_to_the_command_line(tmp_path):
    old = tmp_path / "old.toml"
    old.write_text(to_toml(parse("-p 6P --fd-thresh 0.2 --n-cpus 8 --omp-nthreads 8 --mem 4G")))
    settings = parse(f"--config-file {old} --fd-thresh 0.3 --n-cpus 2")
    assert settings.denoise.strategies == ("6P",)
    assert settings.denoise.fd_threshold_mm == 0.3
    assert settings.run.mem_gb == 4
    assert (settings.run.n_cpus, settings.run.omp_nthreads) == (2, 1)


def test_config_file_that_is_missing():
    with pytest.raises(UsageError) as caught:
        parse("--config-file /nowhere.toml")
    assert caught.value.message == FILE_MISSING.format(flag="--config-file", path="/nowhere.toml")


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_in_an_empty_environment(flag, tmp_path):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-S", "-m", "rls_bids", flag],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert time.monotonic() - start < 5
    assert done.stderr == ""
    assert __version__ in done.stdout or "usage: rls_bids" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_exit_status_of_the_app(app):
    assert app(lambda settings: EXIT_OK) == EXIT_OK
    assert app(lambda settings: EXIT_DATA) == EXIT_DATA


def test_our_errors_become_sentences(app, capsys):
    def refuse(settings):
        raise InputDataError(SENTENCE, HINT)

    assert app(refuse) == EXIT_DATA
    expected = f"rls_bids: error: {SENTENCE} {HINT}\n"
    assert capsys.readouterr().err == expected


def test_defects_are_logged_not_shown(app, capsys, tmp_path):
    def defect(settings):
        return {}["no such key"]

    assert app(defect) == EXIT_FAILED
    err = capsys.readouterr().err
    (log,) = (tmp_path / "out" / "logs").iterdir()
    assert str(log) in err
    assert "Traceback" not in err
    assert "KeyError: 'no such key'" in log.read_text()


def test_defect_log_goes_where_it_can(app, capsys, tmp_path):
    (tmp_path / "out").write_text("in the way")

    def defect(settings):
        raise ZeroDivisionError

    assert app(defect) == EXIT_FAILED
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_full_disk_names_the_place(app, capsys):
    def fill(settings):
        import errno

        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/out/map.nii.gz")

    assert app(fill) == EXIT_CANNOT_WRITE
    assert "/data/out/map.nii.gz" in capsys.readouterr().err


def test_levels_of_the_app():
    from rls_bids import app

    participant = argparse.Namespace(analysis_level="participant", run=RunSettings())
    assert cli._level(participant) is app.run_participant
    group = argparse.Namespace(analysis_level="group", run=RunSettings())
    assert cli._level(group) is app.run_group


def test_list_measures(capsys):
    assert cli.main(["--list-measures"]) == EXIT_OK
    assert capsys.readouterr().out


def test_list_atlases(capsys):
    assert cli.main(["--list-atlases"]) == EXIT_OK
    header, first = capsys.readouterr().out.splitlines()[:2]
    assert header.startswith("name\tparcels\tspace\tlicence\tsource")
    assert first.startswith("Seitzman300\t300\tMNI152NLin6Asym\t")


def test_atlases_are_checked_before_anything_runs():
    assert parse("--atlases AAL3 Power264").measures.atlases == ("AAL3", "Power264")
    with pytest.raises(UsageError, match="neither a known atlas nor a file") as caught:
        parse("--atlases AAL")
    assert caught.value.hint == NEAREST_HINT.format(nearest="AAL3")
    with pytest.raises(UsageError, match=r"names /nowhere\.nii\.gz, but there is no such file"):
        parse("--atlases /nowhere.nii.gz")
