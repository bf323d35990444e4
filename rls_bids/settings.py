"""Frozen settings: built and validated once, written to the log, never changed.

Values arrive under dotted names, ``"denoise.low_hz"``, from the command line and from a file that
an earlier run wrote; :func:`build_settings` is the only place that turns them into sections.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from rls_bids.errors import UsageError, nearest_hint
from rls_bids.paths import check_paths, named_folders

DEFAULT_SPACE = "MNI152NLin2009cAsym"
STRATEGIES = ("acompcor", "24P", "6P", "none")
STEPS_TO_IGNORE = ("fieldmaps", "slicetiming", "sbref")

UNKNOWN_WORD = "{flag} got {found!r}, but it takes {expected}."
BAD_LABEL = "{flag} got the label {found!r}, but a label holds only letters, digits and '+'."
OUT_OF_RANGE = "{flag} got {found!r}, but it must be {expected}."
WRONG_TYPE = "The setting {name} is {found!r}, but it must be {expected}."
UNKNOWN_SETTING = "{source} has the setting {name!r}, which does not exist."
MISSING_SETTING = "{source} lacks the setting {name}."
BAD_TOML = "{source} is not a settings file: {reason}."
FILE_MISSING = "{flag} names {path}, but there is no such file."
BAND_ORDER = (
    "--lower-bpf is {low:g} Hz and --upper-bpf is {high:g} Hz, but the lower must be less."
)
ANAT_ONLY_DERIVATIVES = "--anat-only and --derivatives exclude each other: nothing would be done."
TOO_MANY_THREADS = "--omp-nthreads is {threads}, but only {cpus} CPUs may be used (--n-cpus)."
BAD_CONTRAST = "--contrast got {found!r}, but it must name two different groups like 'RLS > HC'."
BAD_SPACE = "--output-spaces got {found!r}, but it takes one space like MNI152NLin2009cAsym:res-2."


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSettings:
    """Which data: absolute paths, and labels without prefix; no label means all.

    ``derivatives`` are ``NAME=PATH`` of preprocessed data sets to start from.
    """

    bids_dir: str
    output_dir: str
    participant_labels: tuple[str, ...] = ()
    exclude_participant_labels: tuple[str, ...] = ()
    session_labels: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ("rest",)
    run_ids: tuple[str, ...] = ()
    bids_filter_file: str | None = None
    bids_database_dir: str | None = None
    derivatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnatSettings:
    """How the T1w image is processed. ``resolution`` is in mm, ``"1"`` or ``"2"``."""

    skull_strip: Literal["auto", "skip", "force"] = "auto"
    space: str = DEFAULT_SPACE
    resolution: str = "2"
    sloppy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BoldSettings:
    """How the BOLD series is preprocessed; ``dummy_scans`` of ``None`` are found in each run."""

    dummy_scans: int | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseSettings:
    """Nuisance regression, band-pass, censoring, and what must be left (s, mm, Hz)."""

    strategies: tuple[str, ...] = ("acompcor",)
    band_pass: bool = True
    low_hz: float = 0.01
    high_hz: float = 0.1
    filter_order: int = 2
    fd_threshold_mm: float = 0.5
    min_time_s: float = 240.0
    min_df: int = 20
    smoothing_fwhm_mm: float = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    """Which seeds; empty means the default set."""

    seeds_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """The two-group model. An empty ``contrast`` is filled from participants.tsv."""

    group_column: str = "group"
    contrast: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ("age", "sex", "mean_fd")
    max_mean_fd_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How the graph is run. Only ``random_seed`` may change a number in the outputs."""

    level: Literal["minimal", "full"] = "minimal"
    work_dir: str = "work"
    clean_workdir: bool = False
    n_cpus: int = 1
    omp_nthreads: int = 1
    mem_gb: float = 4.0
    random_seed: int = 0
    anat_only: bool = False
    dry_run: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    stop_on_first_crash: bool = False
    plugin_file: str | None = None
    resource_monitor: bool = False
    write_graph: bool = False
    verbosity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole of it; each workflow builder receives its section only."""

    analysis_level: Literal["participant", "group"]
    input: InputSettings
    anat: AnatSettings
    bold: BoldSettings
    denoise: DenoiseSettings
    measures: MeasureSettings
    group: GroupSettings
    run: RunSettings


SECTIONS: Mapping[str, Any] = {
    field.name: field.type
    for field in dataclasses.fields(Settings)
    if field.name != "analysis_level"
}
KINDS: Mapping[object, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
}
LEVELS = ("participant", "group")
LABELS = {
    "input.participant_labels": ("--participant-label", "sub-"),
    "input.exclude_participant_labels": ("--exclude-participant-label", "sub-"),
    "input.session_labels": ("--session-label", "ses-"),
    "input.task_ids": ("--task-id", "task-"),
    "input.run_ids": ("--run-id", "run-"),
}
WORDS = {
    "anat.skull_strip": ("--skull-strip-t1w", ("auto", "skip", "force")),
    "anat.resolution": ("--output-spaces", ("1", "2")),
    "bold.ignore": ("--ignore", STEPS_TO_IGNORE),
    "denoise.strategies": ("--nuisance-regressors", STRATEGIES),
    "run.level": ("--level", ("minimal", "full")),
}
FILES = {
    "input.bids_filter_file": "--bids-filter-file",
    "measures.seeds_file": "--seeds",
    "run.plugin_file": "--nipype-plugin-file",
}
PATHS = (
    "input.bids_dir",
    "input.output_dir",
    "input.bids_database_dir",
    "input.derivatives",
    "run.work_dir",
    *FILES,
)
RANGES: Mapping[str, tuple[str, float, bool, str]] = {
    "bold.dummy_scans": ("--dummy-scans", 0, True, "0 or more volumes"),
    "denoise.low_hz": ("--lower-bpf", 0, False, "more than 0 Hz"),
    "denoise.high_hz": ("--upper-bpf", 0, False, "more than 0 Hz"),
    "denoise.filter_order": ("--bpf-order", 1, True, "1 or more"),
    "denoise.fd_threshold_mm": ("--fd-thresh", 0, True, "0 mm (no censoring) or more"),
    "denoise.min_time_s": ("--min-time", 0, True, "0 s or more"),
    "denoise.min_df": ("--min-df", 1, True, "1 or more"),
    "denoise.smoothing_fwhm_mm": ("--smoothing", 0, True, "0 mm (no smoothing) or more"),
    "group.max_mean_fd_mm": ("--max-mean-fd", 0, False, "more than 0 mm"),
    "run.n_cpus": ("--n-cpus", 1, True, "1 or more"),
    "run.omp_nthreads": ("--omp-nthreads", 1, True, "1 or more"),
    "run.mem_gb": ("--mem", 0, False, "more than 0"),
    "run.random_seed": ("--random-seed", 0, True, "0 or more"),
}


def build_settings(values: Mapping[str, Any], source: str = "The command line") -> Settings:
    """Build and validate the settings from dotted names.

    Parameters
    ----------
    values : mapping
        Dotted name → value; names that are left out take the default of their section.
        ``"analysis_level"``, ``"input.bids_dir"`` and ``"input.output_dir"`` are needed;
        ``"anat.output_spaces"`` and a text as ``"group.contrast"`` are taken apart.
    source : str
        Where the values come from, for messages.

    Raises
    ------
    UsageError
        If a name is unknown, or a value has the wrong type or cannot be met.

    Examples
    --------
    >>> paths = {"input.bids_dir": "/data/raw", "input.output_dir": "/data/out"}
    >>> level = {"analysis_level": "participant"}
    >>> build_settings(paths | level | {"input.task_ids": ["task-rest"]}).input.task_ids
    ('rest',)
    """
    flat = dict(values)
    _expand_shorthands(flat)
    _check_names(flat, source)
    level = flat.pop("analysis_level")
    if level not in LEVELS:
        raise UsageError(*_unknown_word("The analysis level", level, LEVELS))
    sections: dict[str, Any] = {}
    for section, cls in SECTIONS.items():
        fields = dataclasses.fields(cls)
        cleaned = {f.name: _clean(f"{section}.{f.name}", flat, f) for f in fields}
        sections[section] = cls(**cleaned)
    settings = Settings(analysis_level=level, **sections)
    _check_together(settings)
    return settings


def to_toml(settings: Settings) -> str:
    """Write the settings as TOML text; what is ``None`` is left out."""
    import tomli_w

    document: dict[str, Any] = {"analysis_level": settings.analysis_level}
    for name in SECTIONS:
        section = dataclasses.asdict(getattr(settings, name))
        document[name] = {key: value for key, value in section.items() if value is not None}
    return tomli_w.dumps(document)


def read_toml(text: str, source: str = "The settings file") -> dict[str, Any]:
    """Read what :func:`to_toml` wrote into dotted names, not validated yet.

    Raises
    ------
    UsageError
        If the text is not TOML; ``source`` is named in the message.
    """
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(BAD_TOML.format(source=source, reason=error)) from error
    flat: dict[str, Any] = {}
    for name, value in document.items():
        is_section = isinstance(value, dict)
        flat.update(
            {f"{name}.{key}": v for key, v in value.items()} if is_section else {name: value}
        )
    return flat


def from_toml(text: str, source: str = "The settings file") -> Settings:
    """Build the settings from TOML text (the inverse of :func:`to_toml`)."""
    return build_settings(read_toml(text, source), source)


def _expand_shorthands(flat: dict[str, Any]) -> None:
    """Replace ``anat.output_spaces`` and a contrast text by the fields that they stand for."""
    spaces = flat.pop("anat.output_spaces", None)
    if spaces is not None:
        match = re.fullmatch(r"([A-Za-z0-9+]+)(?::res-([A-Za-z0-9]+))?", " ".join(spaces))
        if match is None:
            raise UsageError(BAD_SPACE.format(found=" ".join(spaces)))
        flat["anat.space"] = match[1]
        flat["anat.resolution"] = match[2] or AnatSettings().resolution
    if isinstance(flat.get("group.contrast"), str):
        flat["group.contrast"] = [part.strip() for part in flat["group.contrast"].split(">")]
    if flat.get("group.covariates") in (["none"], ("none",)):
        flat["group.covariates"] = ()


def _check_names(flat: Mapping[str, Any], source: str) -> None:
    """Refuse names that do not exist, and the absence of those without a default."""
    known = {
        f"{name}.{field.name}"
        for name, cls in SECTIONS.items()
        for field in dataclasses.fields(cls)
    }
    for name in flat.keys() - known - {"analysis_level"}:
        message = UNKNOWN_SETTING.format(source=source, name=name)
        raise UsageError(message, nearest_hint(name, known))
    for name in ("analysis_level", "input.bids_dir", "input.output_dir"):
        if name not in flat:
            raise UsageError(MISSING_SETTING.format(source=source, name=name))


def _clean(name: str, flat: Mapping[str, Any], field: "dataclasses.Field[object]") -> object:
    """Check one value and bring it into the form that its section holds."""
    value = flat.get(name, field.default)
    if value is None and get_origin(field.type) is UnionType:
        return None
    value = _typed(name, value, field.type)
    if name in PATHS:
        value = _absolute(value)
    if name in FILES and not Path(value).is_file():
        raise UsageError(FILE_MISSING.format(flag=FILES[name], path=value))
    if name in LABELS:
        value = _bare_labels(*LABELS[name], value)
    if name in WORDS:
        flag, words = WORDS[name]
        for word in (value,) if isinstance(value, str) else value:
            if word not in words:
                raise UsageError(*_unknown_word(flag, word, words))
    if name in RANGES:
        _check_range(value, *RANGES[name])
    if name == "group.contrast":
        _check_contrast(value)
    return tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value


def _typed(name: str, value: object, annotation: object) -> Any:  # noqa: ANN401 that of the field
    """Check the type of a value against the annotation of its field; sequences become tuples."""
    if get_origin(annotation) is UnionType:
        (annotation,) = (kind for kind in get_args(annotation) if kind is not type(None))
    if get_origin(annotation) is tuple:
        expected = "a list of texts"
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
    else:
        kinds, expected = KINDS.get(annotation, KINDS[str])
        if isinstance(value, kinds) and isinstance(value, bool) is (annotation is bool):
            return float(value) if isinstance(value, int) and annotation is float else value
    raise UsageError(WRONG_TYPE.format(name=name, found=value, expected=expected))


def _absolute(value: str | Sequence[str]) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return str(Path(value).resolve())
    return tuple(f"{name}={path}" for name, path in named_folders(value).items())


def _bare_labels(flag: str, prefix: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Take labels with or without their prefix."""
    bare = tuple(label.removeprefix(prefix) for label in labels)
    for label in bare:
        if not re.fullmatch(r"[A-Za-z0-9+]+", label):
            raise UsageError(BAD_LABEL.format(flag=flag, found=label))
    return bare


def _check_range(value: float, flag: str, lowest: float, is_allowed: bool, expected: str) -> None:
    if not math.isfinite(value) or value < lowest or (value == lowest and not is_allowed):
        raise UsageError(OUT_OF_RANGE.format(flag=flag, found=value, expected=expected))


def _check_contrast(groups: Sequence[str]) -> None:
    if groups and (len(groups) != 2 or not all(groups) or groups[0] == groups[1]):
        raise UsageError(BAD_CONTRAST.format(found=" > ".join(groups)))


def _unknown_word(flag: str, found: object, words: Sequence[str]) -> tuple[str, str]:
    message = UNKNOWN_WORD.format(flag=flag, found=found, expected=", ".join(words))
    return message, nearest_hint(str(found), words)


def _check_together(settings: Settings) -> None:
    """Check values that must fit each other."""
    given, denoise, run = settings.input, settings.denoise, settings.run
    others = named_folders(given.derivatives)
    check_paths(given.bids_dir, given.output_dir, run.work_dir, others)
    if run.anat_only and others:
        raise UsageError(ANAT_ONLY_DERIVATIVES)
    if denoise.band_pass and denoise.low_hz >= denoise.high_hz:
        raise UsageError(BAND_ORDER.format(low=denoise.low_hz, high=denoise.high_hz))
    if run.omp_nthreads > run.n_cpus:
        raise UsageError(TOO_MANY_THREADS.format(threads=run.omp_nthreads, cpus=run.n_cpus))
