"""Atlases that users bring: a label image with a table, named and described as BIDS does or not.

Only the table and the sidecars are read here, so that a mistake is found before anything heavy is
imported; the image is read, and compared with the table, when it is used.
"""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rls_bids.errors import UsageError
from rls_bids.records import Atlas, Parcel
from rls_bids.resources.templates import file_sha256
from rls_bids.settings.limits import IMAGE_ENDINGS

INDEX_COLUMNS = ("index", "label_index", "id")
NAME_COLUMNS = ("name", "label", "region")
NETWORK_COLUMNS = ("network", "network_label")
MISSING = ("", "n/a")
N_PARENTS = 3

NO_FILE = "--atlases names {path}, but there is no such file."
NOT_AN_IMAGE = "--atlases names {path}, but an atlas is a NIfTI label image (.nii or .nii.gz)."
NOT_ONE = "--atlases names the folder {path}, which holds {found} files *_dseg.nii.gz; expected 1."
NO_TABLE = "{path} has no table: {wanted} was not found."
BAD_TABLE = "{path}: found {found}; expected {expected}."
NO_LABEL = "{path}: no letter or digit in its name; expected atlas-<label>_dseg.nii.gz."
TABLE_HINT = (
    "An atlas needs a tab-separated table beside it, of the same name but .tsv, with the columns "
    "index (a whole number) and name, and, where known, hemisphere, network and lobe."
)

FROM_NAME = "space-{space} in the name of the file"
FROM_SIDECAR = "{key} in {file}"
NOT_SAID = "neither the file's name nor its sidecar says it; used as it is"

_SPACE_KEYS = ("SpatialReference", "Space", "space")
_SIDES = {"l": "L", "lh": "L", "left": "L", "r": "R", "rh": "R", "right": "R"}

Side = Literal["L", "R", ""]


def describe_atlas_file(text: str) -> Atlas:
    """Describe a label image of the user.

    The space comes from ``space-`` (or ``tpl-``) in the name, else from the sidecar; where
    neither says it, it is ``unknown`` and coordinates are used as they are. The sidecar and the
    table are those of the same name, or those in the folder or above that apply to it.

    Parameters
    ----------
    text : str
        Path of the image, or of a folder with one ``*_dseg.nii.gz``.

    Raises
    ------
    UsageError
        There is no image or no table, or the table cannot be understood.
    """
    path = _image(Path(text))
    entities = _entities(path)
    name = _name(path, entities)
    table = companion(path, ".tsv")
    if table is None:
        raise UsageError(NO_TABLE.format(path=path, wanted=_stem(path) + ".tsv"), TABLE_HINT)
    sidecar = companion(path, ".json")
    about = _read_json(sidecar) if sidecar else {}
    space, evidence = _space(entities, about, sidecar)
    return Atlas(
        name=name,
        kind="labels",
        n_parcels=len(read_table(str(table))),
        space=space,
        evidence=evidence,
        license=_said(about, "License") or _dataset_license(path) or "not stated",
        source=_said(about, "Name", "Description") or str(path),
        doi=_said(about, "DOI", "DatasetDOI"),
        reader="table",
        package="",
        files=tuple((str(each), file_sha256(each)) for each in (path, table)),
    )


def space_of(path: Path) -> tuple[str, str]:
    """Return the space of an image by its name or sidecar, ``unknown`` without, and the evidence.

    Examples
    --------
    >>> space_of(Path("cluster_space-MNI152NLin6Asym_mask.nii.gz"))
    ('MNI152NLin6Asym', 'space-MNI152NLin6Asym in the name of the file')
    """
    sidecar = companion(path, ".json")
    return _space(_entities(path), _read_json(sidecar) if sidecar else {}, sidecar)


def image_label(path: Path) -> str:
    """Return the label that results of an image carry: by its entities, or its name without grid.

    Examples
    --------
    >>> image_label(Path("atlas-Smith10_space-MNI152NLin6Asym_probseg.nii.gz"))
    'Smith10'
    >>> image_label(Path("rsn_20_space-MNI152NLin6Asym_res-2.nii.gz"))
    'rsn20'
    """
    stem = re.sub(r"(^|_)(space|tpl|res)-[A-Za-z0-9+]+", "", _stem(path))
    return _name(path.with_name(stem or path.name), _entities(path))


def companion(path: Path, extension: str) -> Path | None:
    """Find the table or sidecar of an image: of the same name, or one that applies to it.

    One applies when it lies in the folder of the image or up to three above, has the same
    suffix, and every entity of it is one of the image; the nearest and most specific wins.
    """
    own = path.with_name(_stem(path) + extension)
    if own.is_file():
        return own
    entities = _entities(path).items()
    suffix = _stem(path).rpartition("_")[2]
    for folder in [path.parent, *list(path.parents)[1 : N_PARENTS + 1]]:
        fitting = [
            each
            for each in sorted(folder.glob(f"*{suffix}{extension}"))
            if _stem(each).rpartition("_")[2] == suffix and _entities(each).items() <= entities
        ]
        if fitting:
            return max(fitting, key=lambda each: len(_entities(each)))
    return None


def read_table(path: str) -> tuple[Parcel, ...]:
    """Read the table of an atlas: one parcel a row, the background (0) left out.

    Raises
    ------
    UsageError
        Columns are missing, an index is not a whole number, or an index or name comes twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _table_error(path, str(error), "a readable text file") from error
    rows = list(csv.DictReader(lines, delimiter="\t"))
    columns = list(rows[0]) if rows else []
    index_column = next((each for each in INDEX_COLUMNS if each in columns), None)
    name_column = next((each for each in NAME_COLUMNS if each in columns), None)
    if index_column is None or name_column is None:
        found = f"the columns {', '.join(map(str, columns)) or 'none'}"
        raise _table_error(path, found, "index and name, and at least one row")
    parcels = []
    for number, row in enumerate(rows, start=1):
        index = row[index_column] or ""
        if not re.fullmatch(r"\d+(\.0*)?", index):
            raise _table_error(path, f"the index {index!r} in row {number}", "a whole number")
        if float(index):
            parcels.append(_parcel(int(float(index)), row[name_column] or "", row))
    _check_unique(path, parcels)
    return tuple(parcels)


def _parcel(index: int, name: str, row: Mapping[str, str | None]) -> Parcel:
    side = (_cell(row, "hemisphere") or _cell(row, "hemi")).lower()
    return Parcel(
        index=index,
        name=name.strip() or str(index),
        hemisphere=_side(side) if side else hemisphere_of(name),
        network=next((cell for key in NETWORK_COLUMNS if (cell := _cell(row, key))), ""),
        lobe=_cell(row, "lobe"),
    )


def _cell(row: Mapping[str, str | None], column: str) -> str:
    value = (row.get(column) or "").strip()
    return "" if value in MISSING else value


def _check_unique(path: str, parcels: list[Parcel]) -> None:
    for what in ("index", "name"):
        seen: set[object] = set()
        for parcel in parcels:
            value = getattr(parcel, what)
            if value in seen:
                raise _table_error(path, f"the {what} {value!r} twice", f"each {what} once")
            seen.add(value)
    if not parcels:
        raise _table_error(path, "no parcel", "at least one row with an index above 0")


def hemisphere_of(name: str) -> Side:
    """Return the side that a name says: its last word, its first, or LH and RH anywhere.

    Examples
    --------
    >>> [hemisphere_of(name) for name in ("Thal_VPL_L", "Right Thalamus", "7Networks_LH_Vis_1")]
    ['L', 'R', 'L']
    >>> hemisphere_of("Area_5L_R"), hemisphere_of("Lingual")
    ('R', '')
    """
    words = re.split(r"[\s_\-.()]+", name.strip())
    for word in (words[-1], words[0]):
        if word in ("L", "R") or word.lower() in ("lh", "rh", "left", "right"):
            return _side(word.lower())
    return next((_side(word.lower()) for word in words if word.lower() in ("lh", "rh")), "")


def _side(word: str) -> Side:
    side = _SIDES.get(word, "")
    return "L" if side == "L" else "R" if side == "R" else ""


def _image(path: Path) -> Path:
    path = path.resolve()
    if path.is_dir():
        found = sorted(path.rglob("*_dseg.nii.gz"))
        if len(found) != 1:
            raise UsageError(NOT_ONE.format(path=path, found=len(found)))
        return found[0]
    if not path.name.endswith(IMAGE_ENDINGS):
        raise UsageError(NOT_AN_IMAGE.format(path=path), TABLE_HINT)
    if not path.is_file():
        raise UsageError(NO_FILE.format(path=path))
    return path


def _stem(path: Path) -> str:
    return re.sub(r"\.(nii\.gz|nii|tsv|json)$", "", path.name)


def _entities(path: Path) -> dict[str, str]:
    pairs = (piece.partition("-") for piece in _stem(path).split("_"))
    return {key: value for key, dash, value in pairs if dash}


def _name(path: Path, entities: Mapping[str, str]) -> str:
    """Return the label that results carry: what BIDS has to tell atlases apart, or the stem."""
    parts = [entities[key] for key in ("atlas", "seg", "scale", "desc") if key in entities]
    pieces = re.findall(r"[A-Za-z0-9+]+", " ".join(parts) if parts else _stem(path))
    if not pieces:
        raise UsageError(NO_LABEL.format(path=path))
    return str(pieces[0]) + "".join(piece[0].upper() + piece[1:] for piece in pieces[1:])


def _space(
    entities: Mapping[str, str], about: Mapping[str, Any], sidecar: Path | None
) -> tuple[str, str]:
    """Return the space and how it is known."""
    for key in ("space", "tpl"):
        if key in entities:
            return entities[key], FROM_NAME.format(space=entities[key]).replace("space", key, 1)
    for key in _SPACE_KEYS:
        value = about.get(key)
        if sidecar and isinstance(value, str) and value:
            return value, FROM_SIDECAR.format(key=key, file=sidecar.name)
    return "unknown", NOT_SAID


def _said(about: Mapping[str, Any], *keys: str) -> str:
    return next((str(about[key]) for key in keys if isinstance(about.get(key), str)), "")


def _dataset_license(path: Path) -> str:
    """Return the licence in the description of the data set that holds a file."""
    for folder in list(path.parents)[: N_PARENTS + 1]:
        description = folder / "dataset_description.json"
        if description.is_file():
            return _said(_read_json(description), "License")
    return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise _table_error(str(path), str(error), "JSON") from error
    return content if isinstance(content, dict) else {}


def _table_error(path: str, found: str, expected: str) -> UsageError:
    return UsageError(BAD_TABLE.format(path=path, found=found, expected=expected), TABLE_HINT)
