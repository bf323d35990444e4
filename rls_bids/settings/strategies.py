"""Nuisance regressions by name: built-in ones, those of a YAML file, and both without censoring.

A strategy is written ``NAME`` or ``NAME:nocensor``. A file gives its stem as NAME and its columns
to the settings, so that the log of a call says all of what was regressed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rls_bids.errors import UsageError, nearest_hint
from rls_bids.settings import limits
from rls_bids.settings.sections import DenoiseSettings

FLAG = "--nuisance-regressors"
UNCENSORED = ":nocensor"
ENDINGS = (".yaml", ".yml")
TAKES = ", ".join(limits.STRATEGIES) + f" (each also with {UNCENSORED}) or a YAML file"

BAD_FILE = "{path} cannot be used as a nuisance regression: {reason}."
BAD_FILE_HINT = (
    "A file holds 'columns:' and a list of names of confounds, or of regular expressions that "
    "start with ^ (docs/denoising.md)."
)
BAD_NAME = "{path} cannot name a nuisance regression: {reason}."
BAD_NAME_HINT = "Rename the file: letters, digits, '_', '-', '+' and '.', and no built-in name."
NOTHING_CENSORED = (
    "{flag} got {found!r}, but nothing is censored in any strategy with --fd-thresh 0."
)
SAME_LABEL = "{flag} got {first!r} and {second!r}, whose outputs would have the same name."
SAME_LABEL_HINT = "Rename one of the files."

NOT_THERE = "there is no such file"
NOT_YAML = "it is not YAML ({problem})"
NO_COLUMNS = "it has no list 'columns' (found: {found})"
NO_TEXT = "{found!r} is no column name"
NO_EXPRESSION = "{found!r} is no regular expression ({problem})"
OTHER_SOURCE = "its entry {name!r} takes confounds from elsewhere than the table"
UNNAMEABLE = "its name is {found!r}"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One nuisance regression: ``patterns`` and ``source`` are of a file, else empty."""

    name: str
    patterns: tuple[str, ...]
    source: str
    is_censored: bool


def strategy_of(denoise: DenoiseSettings, strategy: str) -> Strategy:
    """Return what a strategy of the settings means.

    Examples
    --------
    >>> strategy_of(DenoiseSettings(), "24P:nocensor")
    Strategy(name='24P', patterns=(), source='', is_censored=False)
    """
    name = strategy.removesuffix(UNCENSORED)
    return Strategy(
        name=name,
        patterns=tuple(_values(denoise.model_columns).get(name, ())),
        source=_values(denoise.model_files).get(name, [""])[0],
        is_censored=name == strategy,
    )


def threshold_of(denoise: DenoiseSettings, strategy: str) -> float:
    """Return the displacement (mm) above which a strategy censors; 0: it censors nothing."""
    return denoise.fd_threshold_mm if strategy_of(denoise, strategy).is_censored else 0.0


def expand_strategies(flat: dict[str, Any]) -> None:
    """Replace the files among the strategies by their names, and add what they hold.

    Columns that an earlier call has stored serve strategies that are given by name alone.

    Raises
    ------
    UsageError
        A file cannot be read, or its name cannot be used.
    """
    if not _are_texts(flat.get("denoise.strategies")):
        return  # what is no list of texts is refused with everything else
    given: Sequence[str] = flat["denoise.strategies"]
    columns = _values(_texts(flat.get("denoise.model_columns")))
    files = _values(_texts(flat.get("denoise.model_files")))
    names: list[str] = []
    read: dict[str, str] = {}
    for text in given:
        base = text.removesuffix(UNCENSORED)
        if base.lower().endswith(ENDINGS):
            path = Path(base).resolve()
            name = _checked_name(path)
            if read.setdefault(name, str(path)) != str(path):
                message = SAME_LABEL.format(flag=FLAG, first=read[name], second=str(path))
                raise UsageError(message, SAME_LABEL_HINT)
            columns[name], files[name] = list(read_model(path)), [str(path)]
            text = name + text[len(base) :]  # noqa: PLW2901 the name stands for the file
        names.append(text)
    used = {text.removesuffix(UNCENSORED) for text in names}
    flat["denoise.strategies"] = names
    for key, values in (("columns", columns), ("files", files)):
        kept = [f"{name}={each}" for name, own in values.items() if name in used for each in own]
        if kept or f"denoise.model_{key}" in flat:
            flat[f"denoise.model_{key}"] = kept


def read_model(path: Path) -> tuple[str, ...]:
    """Read the columns and expressions that a YAML file lists.

    Taken are ``columns: [...]`` and XCP-D's form, ``confounds: {name: {columns: [...]}}``, as far
    as that is about the confounds table.

    Raises
    ------
    UsageError
        With the path and the reason.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _bad(path, NOT_THERE) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _bad(path, NOT_YAML.format(problem=" ".join(str(error).split()))) from error
    listed = _listed(path, content)
    for each in listed:
        if not isinstance(each, str) or not each.strip():
            raise _bad(path, NO_TEXT.format(found=each))
        if each.startswith("^"):
            try:
                re.compile(each)
            except re.error as error:
                raise _bad(path, NO_EXPRESSION.format(found=each, problem=error)) from error
    return tuple(dict.fromkeys(listed))


def _listed(path: Path, content: Any) -> list[Any]:  # noqa: ANN401 not checked yet
    """Return the list of columns, of either form."""
    is_mapping = isinstance(content, Mapping)
    if is_mapping and isinstance(content.get("confounds"), Mapping):
        listed: Any = []
        for name, entry in content["confounds"].items():
            is_ours = isinstance(entry, Mapping) and isinstance(entry.get("columns"), list)
            if not is_ours or entry.get("dataset", "preprocessed") != "preprocessed":
                raise _bad(path, OTHER_SOURCE.format(name=name))
            listed += entry["columns"]
    else:
        listed = content.get("columns") if is_mapping else None
    if not isinstance(listed, list) or not listed:
        found = ", ".join(map(str, content)) if is_mapping else type(content).__name__
        raise _bad(path, NO_COLUMNS.format(found=found))
    return listed


def check_strategies(denoise: DenoiseSettings) -> None:
    """Check that every strategy exists, makes a difference, and has outputs of its own.

    Raises
    ------
    UsageError
        With the flag and what it got.
    """
    models = _values(denoise.model_columns)
    known = [*limits.STRATEGIES, *models]
    labels: dict[str, str] = {}
    for strategy in denoise.strategies:
        chosen = strategy_of(denoise, strategy)
        if chosen.name not in known:
            message = limits.UNKNOWN_WORD.format(flag=FLAG, found=strategy, expected=TAKES)
            raise UsageError(message, nearest_hint(chosen.name, known))
        if not chosen.is_censored and denoise.fd_threshold_mm == 0:
            raise UsageError(NOTHING_CENSORED.format(flag=FLAG, found=strategy))
        first = labels.setdefault(_label(strategy), strategy)
        if first != strategy:
            message = SAME_LABEL.format(flag=FLAG, first=first, second=strategy)
            raise UsageError(message, SAME_LABEL_HINT)


def _checked_name(path: Path) -> str:
    """Return the stem of a file, which must make a label that no built-in strategy has.

    Its first letter is made small, as in the labels of the built-in ones: where the label stands
    behind another word (``desc-denoisedMine``), its case could not be told.
    """
    taken = {_label(each + end) for each in limits.STRATEGIES for end in ("", UNCENSORED)}
    if not _NAME.fullmatch(path.stem) or _label(path.stem) in taken:
        reason = UNNAMEABLE.format(found=path.stem)
        raise UsageError(BAD_NAME.format(path=path, reason=reason), BAD_NAME_HINT)
    return path.stem[0].lower() + path.stem[1:]


def _label(name: str) -> str:
    """Return what is left of a name in files, without case: some file systems have none."""
    return re.sub(r"[^A-Za-z0-9+]", "", name).casefold()


def _values(texts: Sequence[str]) -> dict[str, list[str]]:
    """Take ``NAME=VALUE`` apart: the values by name, in order."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, _, value = text.partition("=")
        found.setdefault(name, []).append(value)
    return found


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _texts(value: Any) -> Sequence[str]:  # noqa: ANN401 not checked yet
    return value if _are_texts(value) else ()


def _bad(path: Path, reason: str) -> UsageError:
    return UsageError(BAD_FILE.format(path=path, reason=reason), BAD_FILE_HINT)
