"""Frozen settings: built and validated once, written to the log, never changed.

Values arrive under dotted names, ``"denoise.low_hz"``, from the command line and from a file that
an earlier run wrote; :func:`build_settings` is the only place that turns them into sections.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from rls_bids.errors import UsageError, nearest_hint
from rls_bids.paths import check_paths, named_folders
from rls_bids.settings import limits
from rls_bids.settings.sections import (
    DEFAULT_SPACE,
    SECTIONS,
    AnatSettings,
    BoldSettings,
    DenoiseSettings,
    GroupSettings,
    InputSettings,
    MeasureSettings,
    RunSettings,
    Settings,
)
from rls_bids.settings.strategies import check_strategies, expand_strategies

__all__ = [
    "DEFAULT_SPACE",
    "SECTIONS",
    "AnatSettings",
    "BoldSettings",
    "DenoiseSettings",
    "GroupSettings",
    "InputSettings",
    "MeasureSettings",
    "RunSettings",
    "Settings",
    "build_settings",
    "from_toml",
    "read_toml",
    "to_toml",
]


def build_settings(values: Mapping[str, Any], source: str = "The command line") -> Settings:
    """Build and validate the settings from dotted names.

    Parameters
    ----------
    values : mapping
        Dotted name → value; names that are left out take the default of their section.
        ``"analysis_level"``, ``"input.bids_dir"`` and ``"input.output_dir"`` are needed;
        ``"anat.output_spaces"`` is taken apart; a text as ``"group.contrast"`` is a list of one.
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
    if level not in limits.LEVELS:
        raise UsageError(*_unknown_word("The analysis level", level, limits.LEVELS))
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
        raise UsageError(limits.BAD_TOML.format(source=source, reason=error)) from error
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
    """Replace ``anat.output_spaces`` and such by the fields that they stand for."""
    spaces = flat.pop("anat.output_spaces", None)
    if spaces is not None:
        flat |= _output_spaces(spaces)
    if "measures.alff_band" in flat:
        low, high = flat.pop("measures.alff_band")
        flat |= {"measures.alff_low_hz": low, "measures.alff_high_hz": high}
    for name in ("group.contrast", "group.session_contrast"):
        if isinstance(flat.get(name), str):
            flat[name] = [flat[name]]
    for name in ("group.covariates", "group.voxel_covariates", "measures.atlases"):
        if flat.get(name) in (["none"], ("none",)):
            flat[name] = ()
    expand_strategies(flat)


def _output_spaces(given: Sequence[str]) -> dict[str, Any]:
    """Tell the standard space of the results from ``T1w``, in which series are written, too."""
    standard = [space for space in given if space != limits.T1W_SPACE]
    found: dict[str, Any] = {"bold.in_t1w_space": len(standard) < len(given)}
    if len(standard) > 1:
        raise UsageError(limits.ONE_STANDARD_SPACE.format(found=", ".join(standard)))
    for space in standard:
        match = re.fullmatch(r"([A-Za-z0-9+]+)(?::res-([A-Za-z0-9]+))?", space)
        if match is None:
            raise UsageError(limits.BAD_SPACE.format(found=space))
        if match[1] in limits.SURFACES:
            raise UsageError(limits.NO_SURFACES.format(found=space))
        found["anat.space"] = match[1]
        found["anat.resolution"] = match[2] or AnatSettings().resolution
    return found


def _check_names(flat: Mapping[str, Any], source: str) -> None:
    """Refuse names that do not exist, and the absence of those without a default."""
    known = {
        f"{name}.{field.name}"
        for name, cls in SECTIONS.items()
        for field in dataclasses.fields(cls)
    }
    for name in flat.keys() - known - {"analysis_level"}:
        message = limits.UNKNOWN_SETTING.format(source=source, name=name)
        raise UsageError(message, nearest_hint(name, known))
    for name in ("analysis_level", "input.bids_dir", "input.output_dir"):
        if name not in flat:
            raise UsageError(limits.MISSING_SETTING.format(source=source, name=name))


def _clean(name: str, flat: Mapping[str, Any], field: "dataclasses.Field[object]") -> object:
    """Check one value and bring it into the form that its section holds."""
    value = flat.get(name, field.default)
    if value is None and get_origin(field.type) is UnionType:
        return None
    value = _typed(name, value, field.type)
    if name in limits.PATHS:
        value = _absolute(name, value)
    if name in limits.FILES and not Path(value).is_file():
        raise UsageError(limits.FILE_MISSING.format(flag=limits.FILES[name], path=value))
    if name in limits.LABELS:
        value = _bare_labels(*limits.LABELS[name], value)
    if name in limits.WORDS:
        flag, words = limits.WORDS[name]
        for word in (value,) if isinstance(value, str) else value:
            if word not in words:
                raise UsageError(*_unknown_word(flag, word, words))
    if name in limits.RANGES:
        _check_range(value, *limits.RANGES[name])
    if name in ("group.contrast", "group.session_contrast"):
        _check_contrasts("--" + name.partition(".")[2].replace("_", "-"), value)
    return tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value


def _typed(name: str, value: object, annotation: object) -> Any:  # noqa: ANN401 that of the field
    """Check the type of a value against the annotation of its field; sequences become tuples."""
    if get_origin(annotation) is UnionType:
        (annotation,) = (kind for kind in get_args(annotation) if kind is not type(None))
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)[0]
        kinds, expected = limits.KINDS_OF_ITEMS[inner]
        if isinstance(value, list | tuple) and all(isinstance(item, kinds) for item in value):
            return tuple(inner(item) for item in value)
    else:
        kinds, expected = limits.KINDS.get(annotation, limits.KINDS[str])
        if isinstance(value, kinds) and isinstance(value, bool) is (annotation is bool):
            return float(value) if isinstance(value, int) and annotation is float else value
    raise UsageError(limits.WRONG_TYPE.format(name=name, found=value, expected=expected))


def _absolute(name: str, value: str | Sequence[str]) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return str(Path(value).resolve())
    if name in limits.NAMES_OR_PATHS:
        return tuple(str(Path(text).resolve()) if _is_path(text) else text for text in value)
    return tuple(f"{name}={path}" for name, path in named_folders(value).items())


def _is_path(text: str) -> bool:
    return "/" in text or text.endswith(limits.IMAGE_ENDINGS)


def _bare_labels(flag: str, prefix: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Take labels with or without their prefix."""
    bare = tuple(label.removeprefix(prefix) for label in labels)
    for label in bare:
        if not re.fullmatch(r"[A-Za-z0-9+]+", label):
            raise UsageError(limits.BAD_LABEL.format(flag=flag, found=label))
    return bare


def _check_range(
    given: float | tuple[float, ...], flag: str, lowest: float, is_allowed: bool, expected: str
) -> None:
    for value in given if isinstance(given, tuple) else (given,):
        if not math.isfinite(value) or value < lowest or (value == lowest and not is_allowed):
            raise UsageError(limits.OUT_OF_RANGE.format(flag=flag, found=value, expected=expected))


def _check_contrasts(flag: str, texts: Sequence[str]) -> None:
    for text in texts:
        if not limits.split_contrast(text):
            raise UsageError(limits.BAD_CONTRAST.format(flag=flag, found=text))


def _unknown_word(flag: str, found: object, words: Sequence[str]) -> tuple[str, str]:
    message = limits.UNKNOWN_WORD.format(flag=flag, found=found, expected=", ".join(words))
    return message, nearest_hint(str(found), words)


def _check_together(settings: Settings) -> None:
    """Check values that must fit each other."""
    given, denoise, run = settings.input, settings.denoise, settings.run
    others = named_folders(given.derivatives)
    check_paths(given.bids_dir, given.output_dir, run.work_dir, others)
    if run.anat_only and others:
        raise UsageError(limits.ANAT_ONLY_DERIVATIVES)
    if settings.bold.in_t1w_space and others:
        raise UsageError(limits.T1W_DERIVATIVES)
    _check_model(settings.group)
    if denoise.band_pass and denoise.low_hz >= denoise.high_hz:
        raise UsageError(limits.BAND_ORDER.format(low=denoise.low_hz, high=denoise.high_hz))
    low, high = settings.measures.alff_low_hz, settings.measures.alff_high_hz
    if low >= high:
        raise UsageError(limits.ALFF_ORDER.format(low=low, high=high))
    if settings.group.cluster_threshold >= limits.MOST_P:
        raise UsageError(limits.CLUSTER_P.format(found=settings.group.cluster_threshold))
    check_strategies(denoise)
    _check_motion_filter(denoise)
    if settings.analysis_level == "participant":  # the group level finds the matrices it needs
        _check_graphs(settings.measures)
    _check_densities(settings.measures)
    _check_ica(settings)
    if run.omp_nthreads > run.n_cpus:
        raise UsageError(limits.TOO_MANY_THREADS.format(threads=run.omp_nthreads, cpus=run.n_cpus))


def _check_ica(settings: Settings) -> None:
    """Check that group ICA is asked for by itself, at the level that makes it."""
    names = settings.measures.names
    if limits.ICA not in names:
        return
    if settings.analysis_level != "group":
        raise UsageError(limits.ICA_OF_GROUP)
    others = [name for name in names if name != limits.ICA]
    if others:
        raise UsageError(limits.ICA_ALONE.format(others=", ".join(others)))


def _check_model(group: GroupSettings) -> None:
    """Check that a model is told by a file or by flags, not by both."""
    default = GroupSettings()
    flags = [
        flag
        for name, flag in limits.MODEL_FLAGS.items()
        if getattr(group, name) != getattr(default, name)
    ]
    if group.model_file and flags:
        raise UsageError(limits.MODEL_AND_FLAGS.format(flags=" and ".join(flags)))
    if group.regress and group.contrast:
        raise UsageError(limits.REGRESS_AND_CONTRAST)


def _check_graphs(measures: MeasureSettings) -> None:
    """Check that graphs have matrices to be made of."""
    if "graphs" in measures.names and "matrices" not in measures.names:
        raise UsageError(limits.GRAPHS_WITHOUT_MATRICES)


def _check_densities(measures: MeasureSettings) -> None:
    """Check that graphs can have the densities and thresholds."""
    for threshold in measures.graph_thresholds:
        if threshold >= 1:
            raise UsageError(limits.THRESHOLD_OF_ONE.format(found=threshold))
    for density in measures.graph_densities:
        if density > 1:
            raise UsageError(limits.DENSITY_ABOVE_ONE.format(found=density))


def _check_motion_filter(denoise: DenoiseSettings) -> None:
    """Check that the edges of the motion filter are those that its type takes."""
    low, high = denoise.band_stop_min_bpm, denoise.band_stop_max_bpm
    flags = [f"--band-stop-{n}" for n, value in (("min", low), ("max", high)) if value is not None]
    if denoise.motion_filter is None:
        if flags:
            raise UsageError(limits.STOP_WITHOUT_FILTER.format(flags=" and ".join(flags)))
        return
    if denoise.motion_filter == "lp" and (low is None or high is not None):
        raise UsageError(limits.LP_NEEDS)
    if denoise.motion_filter == "notch":
        if low is None or high is None:
            raise UsageError(limits.NOTCH_NEEDS)
        if low >= high:
            raise UsageError(limits.STOP_ORDER.format(low=low, high=high))
    if denoise.motion_filter_order % 2:
        raise UsageError(limits.ODD_ORDER.format(found=denoise.motion_filter_order))
