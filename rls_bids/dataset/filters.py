"""Which files of a data set are meant: entities of a file name, filter files, selection.

A query maps entities (by their short names, and ``datatype``, ``suffix``, ``extension``) to the
labels that are wanted. In a filter file ``null`` stands for an entity that is absent and ``"*"``
for one that is present, also within lists.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rls_bids.errors import UsageError

PRESENT = "*"
IMAGES = (".nii", ".nii.gz")
QUERIES = ("t1w", "bold", "sbref", "fmap", "mask", "confounds")
Wanted = tuple[str | None, ...]
Query = dict[str, Wanted]

LONG_NAMES = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "modality": "mod",
    "inversion": "inv",
    "processing": "proc",
    "hemisphere": "hemi",
    "resolution": "res",
    "density": "den",
    "segmentation": "seg",
    "description": "desc",
    "tracer": "trc",
    "staining": "stain",
}
SHORT_NAMES = (
    *("sub", "ses", "sample", "task", "acq", "ce", "trc", "stain", "rec", "dir", "run", "mod"),
    *("echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "res", "den", "seg"),
    *("label", "desc", "recording", "chunk", "datatype", "suffix", "extension"),
)

NOT_A_FILTER = "{path} is not a filter file: {reason}."
UNKNOWN_QUERY = "{path}: the query {found!r} is unknown; there are {known}."
UNKNOWN_ENTITY = "{path}: the entity {found!r} of the query {query!r} is unknown."
METADATA_KEY = "{path}: {found!r} of the query {query!r} is a metadata key; only entities filter."
BAD_VALUE = (
    "{path}: {entity!r} of the query {query!r} is {found!r}; "
    'a label, null, "*" or a list of these was expected.'
)

NO_STEPS = "no filter"
STEP = "{name} keeps {kept} of {before}"

_NUMBERED = ("run", "echo", "flip", "inv", "chunk")


@dataclass(frozen=True, slots=True, kw_only=True)
class BidsFile:
    """A file with the entities that its name and folder give."""

    path: str
    entities: Mapping[str, str]


def bids_file(path: str) -> BidsFile:
    """Read the entities off a path.

    Examples
    --------
    >>> bids_file("/raw/sub-01/func/sub-01_task-rest_run-01_bold.nii.gz").entities["run"]
    '01'
    """
    place = Path(path)
    stem, dot, extension = place.name.partition(".")
    *pairs, suffix = stem.split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    entities |= {"datatype": place.parent.name, "suffix": suffix, "extension": dot + extension}
    return BidsFile(path=path, entities=entities)


def natural_key(text: str) -> tuple[tuple[int, str], ...]:
    """Return a sorting key by which ``run-2`` comes before ``run-10``."""
    pieces = re.findall(r"\d+|\D+", text)
    return tuple((int(piece), piece) if piece.isdecimal() else (-1, piece) for piece in pieces)


def select(files: Iterable[BidsFile], query: Query) -> list[BidsFile]:
    """Return the files that a query wants, in the natural order of their paths."""
    found = [
        file
        for file in files
        if all(
            any(_matches(entity, file.entities.get(entity), label) for label in wanted)
            for entity, wanted in query.items()
        )
    ]
    return sorted(found, key=lambda file: natural_key(file.path))


def _matches(entity: str, found: str | None, wanted: str | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    if wanted in (PRESENT, found):
        return True
    # Numbers are equal whatever their padding: --run-id 1 means run-01, too.
    is_number = entity in _NUMBERED and found.isdecimal() and wanted.isdecimal()
    return is_number and int(found) == int(wanted)


def default_queries() -> dict[str, Query]:
    """Return the queries that select our inputs when there is no filter file."""
    resource = resources.files("rls_bids.dataset") / "bids_filter.json"
    return _checked(json.loads(resource.read_text(encoding="utf-8")), str(resource))


def read_filters(path: str | None) -> dict[str, Query]:
    """Read a filter file; no path means no filter.

    Raises
    ------
    UsageError
        The file cannot be read, or holds an unknown query, an unknown entity, a metadata key or a
        value of the wrong kind.
    """
    if path is None:
        return {}
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(NOT_A_FILTER.format(path=path, reason=error)) from error
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        reason = "an object of queries, each an object of entities, was expected"
        raise UsageError(NOT_A_FILTER.format(path=path, reason=reason))
    return _checked(content, path)


def _checked(content: Mapping[str, Mapping[str, Any]], path: str) -> dict[str, Query]:
    for query in content:
        if query not in QUERIES:
            names = ", ".join(QUERIES)
            message = UNKNOWN_QUERY.format(path=path, found=query, known=names)
            raise UsageError(message, _nearest(query, QUERIES))
    return {
        query: {
            _short_name(entity, query, path): _wanted(value, entity, query, path)
            for entity, value in entities.items()
        }
        for query, entities in content.items()
    }


def _short_name(entity: str, query: str, path: str) -> str:
    name = LONG_NAMES.get(entity, entity)
    if name in SHORT_NAMES:
        return name
    # Entities are lower case, keys of sidecars are camel case with a capital first.
    template = METADATA_KEY if entity[:1].isupper() else UNKNOWN_ENTITY
    message = template.format(path=path, found=entity, query=query)
    raise UsageError(message, _nearest(entity, (*SHORT_NAMES, *LONG_NAMES)))


def _wanted(value: Any, entity: str, query: str, path: str) -> Wanted:  # noqa: ANN401 - JSON
    values = value if isinstance(value, list) else [value]
    is_label = [
        item is None or (isinstance(item, str | int) and not isinstance(item, bool))
        for item in values
    ]
    if not values or not all(is_label):
        raise UsageError(BAD_VALUE.format(path=path, entity=entity, query=query, found=value))
    labels = [item if item is None else str(item) for item in values]
    if LONG_NAMES.get(entity, entity) == "extension":
        labels = [
            label if label in (None, PRESENT) else f".{label.lstrip('.')}" for label in labels
        ]
    return tuple(labels)


def _nearest(found: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(found, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The files left after each filter; ``steps`` says what each of them kept."""

    files: list[BidsFile]
    n_files: int
    steps: tuple[tuple[str, int], ...]

    def say(self) -> str:
        """Return the steps as words."""
        before, words = self.n_files, []
        for name, kept in self.steps:
            words.append(STEP.format(name=name, kept=kept, before=before))
            before = kept
        return ", ".join(words) or NO_STEPS


def apply_queries(files: Sequence[BidsFile], queries: Sequence[tuple[str, Query]]) -> Selection:
    """Apply one query after the other; an entity that comes again replaces its earlier wish."""
    query: Query = {}
    steps = []
    found: list[BidsFile] = []
    for name, wishes in queries:
        query |= wishes
        found = select(files, query)
        steps.append((name, len(found)))
    return Selection(files=found, n_files=steps[0][1], steps=tuple(steps[1:]))


def together(selections: Sequence[Selection]) -> Selection:
    """Return the numbers of all participants together."""
    names = [name for name, _ in selections[0].steps]
    kept = [sum(one.steps[place][1] for one in selections) for place in range(len(names))]
    return Selection(
        files=[file for one in selections for file in one.files],
        n_files=sum(one.n_files for one in selections),
        steps=tuple(zip(names, kept, strict=True)),
    )
