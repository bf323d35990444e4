"""Our own walk over an output folder: every name, every sidecar, every source.

The official validator knows BIDS; this walk knows what we promise beyond it.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from rls_bids.dataset.description import BIDSIGNORE, read_json
from rls_bids.dataset.naming import Parsed, parse, sidecar
from rls_bids.errors import InputDataError

TOP_FILES = ("dataset_description.json", "README.md", ".bidsignore", "descriptions.tsv")
CITATIONS = ("logs/CITATION.md", "logs/CITATION.bib", "logs/CITATION.html")

MISSING_TOP = "{path}: missing."
WRONG_IGNORE = ".bidsignore: holds other lines than promised."
LEFTOVER = "{path}: a temporary file was left behind."
NO_SIDECAR = "{path}: has no sidecar."
NO_FILE = "{path}: a sidecar without its file, and without Missing."
NO_KEY = "{path}: the sidecar lacks {key}."
LOST_SOURCE = "{path}: the source {uri} does not exist."
LOST_ENTITY = "descriptions.tsv: {rows} do not match the labels in the tree."

_IMAGES_WITHOUT_SKULL = ("T1w", "boldref", "bold", "statmap", "components")
_SERIES = ("preproc_bold", "denoised_bold")


def walk(output_dir: str | Path) -> list[str]:
    """Return one sentence for everything in an output folder that is not as promised.

    Every file below ``sub-*/[ses-*/]{anat,func}`` and ``group`` must be one that
    :func:`rls_bids.dataset.naming.parse` knows, with a sidecar that has ``Description``,
    ``Sources`` that exist, ``Fingerprint``, and ``SkullStripped``, ``Resolution``,
    ``SpatialReference``, ``RepetitionTime`` where they apply.
    """
    root = Path(output_dir)
    problems = [MISSING_TOP.format(path=name) for name in TOP_FILES if not (root / name).is_file()]
    if problems:
        return problems
    ignored = (root / ".bidsignore").read_text(encoding="utf-8").splitlines()
    if ignored != list(BIDSIGNORE):
        problems.append(WRONG_IGNORE)
    links = read_json(root / "dataset_description.json").get("DatasetLinks", {})
    labels = set()
    for path in _files(root):
        labels.add(Path(path).name.partition("_desc-")[2].partition("_")[0])
        problems += _check_file(root, path, links)
    return problems + _check_descriptions(root, labels - {""})


def _files(root: Path) -> list[str]:
    """Return every file below the root but logs and the other data sets, sorted."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - {"log", "multiverse", "jobs"})
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in sorted(names)]
    return found


def _check_file(root: Path, path: str, links: dict[str, str]) -> list[str]:
    place = Path(path)
    if path in TOP_FILES or path in CITATIONS or _is_shown(place):
        return []
    if place.name.startswith("."):
        return [LEFTOVER.format(path=path)]
    if path.endswith(".json"):
        return _check_lone_sidecar(root, path)
    try:
        parsed = parse(path)
    except ValueError as error:
        return [str(error)]
    try:
        metadata = read_json(root / sidecar(path))
    except InputDataError:
        return [NO_SIDECAR.format(path=path)]
    missing = [
        NO_KEY.format(path=path, key=key)
        for key in _promised(path, parsed)
        if metadata.get(key) in (None, "", [])
    ]
    return missing + _check_sources(root, path, metadata, links)


def _is_shown(place: Path) -> bool:
    """Whether this is a figure, ``sub-<label>.html`` or ``group/{model,ica}-<name>.html``."""
    here = place.parent.as_posix()
    if place.parent.name == "figures" and not place.name.startswith("."):
        return True
    starts = {".": ("sub-",), "group": ("model-", "ica-")}.get(here, ())
    return place.suffix == ".html" and place.name.startswith(starts)


def _check_lone_sidecar(root: Path, path: str) -> list[str]:
    """Check that a sidecar stands beside its file, or says why the file is missing."""
    stem = path.removesuffix(".json")
    if any((root / (stem + end)).is_file() for end in (".nii.gz", ".tsv", ".h5", ".txt")):
        return []
    is_excused = "Missing" in read_json(root / path)
    return [] if is_excused else [NO_FILE.format(path=path)]


def _promised(path: str, parsed: Parsed) -> list[str]:
    """Return the keys that the sidecar of this file must have."""
    entities = dict(parsed.entities)
    keys = ["Description", "Sources", "Fingerprint"]
    suffix = path.rsplit("_", 1)[-1].partition(".")[0]
    if suffix in _IMAGES_WITHOUT_SKULL:
        keys.append("SkullStripped")
    if "res" in entities:
        keys.append("Resolution")
    if "space" in entities:
        keys.append("SpatialReference")
    if parsed.product in _SERIES:
        keys.append("RepetitionTime")
    return keys


def _check_sources(
    root: Path, path: str, metadata: dict[str, Any], links: dict[str, str]
) -> list[str]:
    """Return the sources that are not there; ours may also be a result that is only declared."""
    problems = []
    for uri in metadata.get("Sources", []):
        scheme, _, rest = str(uri).partition(":")
        dataset, _, relative = rest.partition(":")
        base = root if not dataset else Path(unquote(urlparse(links.get(dataset, "")).path))
        if scheme != "bids" or not relative or not (base / relative).exists():
            problems.append(LOST_SOURCE.format(path=path, uri=uri))
    return problems


def _check_descriptions(root: Path, labels: set[str]) -> list[str]:
    lines = (root / "descriptions.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = {line.partition("\t")[0].removeprefix("desc-") for line in lines}
    wrong = sorted(rows ^ labels)
    return [LOST_ENTITY.format(rows=", ".join(wrong))] if wrong else []
