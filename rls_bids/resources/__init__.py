"""Tables that come with the package, as records: the seeds."""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rls_bids.errors import UsageError, nearest_hint
from rls_bids.records import Seed
from rls_bids.settings.limits import IMAGE_ENDINGS, SEED_REGRESSIONS, SEED_SERIES

__all__ = ["choose_seeds", "default_seeds", "list_seeds", "load_seeds"]

BUILT_IN = Path(__file__).with_name("seeds.json")

BAD_ROW = "{path}, {row}: found {found}; expected {expected}."
BAD_FILE = "{path}: found {found}; expected {expected}."
SEEDS_HINT = (
    "A seeds file is JSON (a list of objects) or TSV (a header line), with name, x, y, z (mm) and "
    "radius_mm for a sphere, name and mask for a region, or name and members for a mean."
)
A_SEED = "a sphere with x, y, z and radius_mm, a mask with mask, or a mean with members"
A_NUMBER = "a number of mm between {least:g} and {most:g}"
A_POINT = "a list of three numbers"
TWO_NAMES = "two or more different names of other seeds"
A_FLAG = "true or false"
A_MASK = "atlas:label, like AAL3:Thal_VPL_L, or the path of a NIfTI image that exists"
ALL = "all"
NETWORK_SETS: Mapping[str, tuple[str, ...]] = {
    "gorges": (
        *("sensorimotor", "sensory_thalamic", "ventral_attention", "dorsal_attention"),
        *("basal_ganglia_thalamic", "cingulate", "brainstem"),
    )
}
"""The seven of Gorges 2016 (10.1016/j.neulet.2016.02.043), made of our seeds."""
UNKNOWN_NETWORK = "--seed-networks got {found!r}, but the networks are {expected}."
HEADER = ("name", "network", "centre (mm) or region", "radius (mm)", "space", "source", "default")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0", "n/a", "")
LARGEST_MM = 200.0

Row = dict[str, Any]
Fail = Callable[[str, object, str], UsageError]
"""Makes the error of a row from a column, what was found in it, and what was expected."""


def load_seeds(
    path: str | None = None, *, series: str = "mean", regression: str = "separate"
) -> tuple[Seed, ...]:
    """Read seeds: our table, or a file of the user.

    Parameters
    ----------
    path : str, optional
        JSON or TSV file. Columns are those of :class:`~rls_bids.records.Seed`; ``centre_mm`` may
        be three columns ``x``, ``y``, ``z``; ``kind`` follows from what is given; in TSV
        ``members`` are separated by commas. Other columns are not looked at. Seeds of a
        user's file belong to the network ``user`` and are computed by default, unless it says
        otherwise. ``mask`` is ``atlas:label`` or an image; paths are relative to the file. None
        reads the built-in table.
    series, regression : str
        What holds for rows that do not say it.

    Returns
    -------
    tuple of Seed
        In the order of the file.

    Raises
    ------
    UsageError
        The file is missing or a row cannot be understood; the message names it.

    Examples
    --------
    >>> {seed.name: seed.centre_mm for seed in load_seeds()}["thal_VPL_L"]
    (-18.0, -21.0, 5.0)
    """
    where = str(BUILT_IN if path is None else path)
    rows = _read_rows(where)
    if not rows:
        raise _file_error(where, "no seed", "at least one row")
    usual: Row = {"series": series, "regression": regression}
    seeds = tuple(_seed(row, usual, where, f"row {n}") for n, row in enumerate(rows, start=1))
    _check_names(seeds, where)
    _check_members(seeds, where)
    return seeds


def default_seeds(path: str | None = None) -> tuple[Seed, ...]:
    """Return the seeds that are computed when the user does not choose.

    Examples
    --------
    >>> [seed.name for seed in default_seeds() if seed.network == "salience"]
    ['SN_aIns_L', 'SN_aIns_R', 'SN_dACC_R', 'SN']
    """
    return choose_seeds(load_seeds(path))


def choose_seeds(seeds: Sequence[Seed], networks: Sequence[str] = ()) -> tuple[Seed, ...]:
    """Return the seeds of some networks, with the members of their means, in the given order.

    Parameters
    ----------
    seeds : sequence of Seed
    networks : sequence of str
        Names of networks (case does not matter), of :data:`NETWORK_SETS`, or ``all``; none are the
        seeds that are computed by default.

    Raises
    ------
    UsageError
        There is no such network.

    Examples
    --------
    >>> [seed.name for seed in choose_seeds(load_seeds(), ["dorsal_attention"])]
    ['DAN_FEF_L', 'DAN_FEF_R', 'DAN_IPS_L', 'DAN_IPS_R', 'DAN']
    """
    known = {seed.network.casefold(): seed.network for seed in seeds}
    sets = {key: names for key, names in NETWORK_SETS.items() if set(names) <= set(known.values())}
    names: set[str] = set()
    for text in networks:
        word = text.casefold()
        if word == ALL:
            names.update(known.values())
        elif word in known:
            names.add(known[word])
        elif word in sets:
            names.update(sets[word])
        else:
            words = (*known.values(), *sets, ALL)
            message = UNKNOWN_NETWORK.format(found=text, expected=", ".join(words))
            raise UsageError(message, nearest_hint(text, words))
    chosen = [s for s in seeds if (s.network in names if networks else s.network_default)]
    needed = {s.name for s in chosen}.union(*(s.members for s in chosen))
    return tuple(seed for seed in seeds if seed.name in needed)


def list_seeds(path: str | None = None) -> str:
    r"""Return a table of seeds, tab-separated, one line each, for ``--list-seeds``.

    Examples
    --------
    >>> list_seeds().splitlines()[1].split("\t")[:5]
    ['thal_VPL_L', 'thalamus', '-18, -21, 5', '4', 'Colin27']
    """
    rows = [
        (
            seed.name,
            seed.network,
            ", ".join(f"{value:g}" for value in seed.centre_mm or ())
            or seed.mask
            or f"mean of {', '.join(seed.members)}",
            f"{seed.radius_mm:g}" if seed.radius_mm else "",
            seed.space if seed.kind != "mean" else "",
            seed.source,
            "yes" if seed.network_default else "no",
        )
        for seed in load_seeds(path)
    ]
    return "".join("\t".join(row) + "\n" for row in (HEADER, *rows))


def _row_error(path: str, row: str, found: str, expected: str) -> UsageError:
    return UsageError(
        BAD_ROW.format(path=path, row=row, found=found, expected=expected), SEEDS_HINT
    )


def _file_error(path: str, found: str, expected: str) -> UsageError:
    return UsageError(BAD_FILE.format(path=path, found=found, expected=expected), SEEDS_HINT)


def _read_rows(path: str) -> list[Row]:
    """Return the rows of a JSON or TSV file as dicts."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise _file_error(path, "no such file", "a JSON or TSV file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _file_error(path, str(error), "a readable text file") from error
    if not path.lower().endswith(".json"):
        lines = csv.DictReader(text.splitlines(), delimiter="\t")
        if "name" not in (lines.fieldnames or ()):
            raise _file_error(
                path,
                f"the columns {', '.join(lines.fieldnames or ()) or 'none'}",
                "a tab-separated header line with name",
            )
        return [{str(key): value for key, value in row.items() if value} for row in lines]
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise _file_error(
            path, f"line {error.lineno}, column {error.colno}: {error.msg}", "JSON"
        ) from error
    rows = content.get("seeds") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _file_error(path, type(content).__name__, "a list of objects")
    return rows


def _seed(row: Row, usual: Row, path: str, number: str) -> Seed:
    """Turn one row into a record; ``usual`` holds where it is silent."""
    name = row.get("name")
    if not isinstance(name, str) or not re.search(r"[A-Za-z0-9]", name):
        raise _row_error(path, number, f"the name {name!r}", "a name with letters or digits")
    label = f"{number} ({name})"

    def fail(column: str, found: object, expected: str) -> UsageError:
        return _row_error(path, label, f"{column} {found!r}", expected)

    kind = _kind(row, fail)
    said = usual | {key: value for key, value in row.items() if value is not None}
    text: dict[str, Any] = {
        field: str(row[field])
        for field in ("network", "space", "evidence", "source", "doi")
        if row.get(field) is not None
    }
    is_sphere = kind == "sphere"
    return Seed(
        name=name.strip(),
        kind=kind,
        centre_mm=_centre(row, fail) if is_sphere else None,
        radius_mm=_number(row, "radius_mm", fail, least=0.0) if is_sphere else None,
        mask=_mask(str(row["mask"]), Path(path).parent, fail) if kind == "mask" else None,
        members=_members(row, fail) if kind == "mean" else (),
        exclude_own=_flag(row, "exclude_own", False, fail),
        network_default=_flag(row, "network_default", True, fail),
        series=_word(said, "series", SEED_SERIES, fail),
        regression=_word(said, "regression", SEED_REGRESSIONS, fail),
        **{"network": "user", **text},
    )


def _kind(row: Row, fail: Fail) -> Literal["sphere", "mask", "mean"]:
    """Return what a row describes; exactly one of the three."""
    has = {
        "sphere": any(row.get(key) is not None for key in ("centre_mm", "x", "y", "z")),
        "mask": bool(row.get("mask")),
        "mean": bool(row.get("members")),
    }
    # A table of regions may give their centroids beside the mask, for display.
    kind = row.get("kind") or next((k for k in ("mean", "mask", "sphere") if has[k]), None)
    if kind == "sphere" and has["sphere"]:
        return "sphere"
    if kind == "mask" and has["mask"]:
        return "mask"
    if kind == "mean" and has["mean"]:
        return "mean"
    given = ", ".join(sorted(key for key in row if row[key] is not None))
    raise fail("columns", given, A_SEED)


def _number(row: Mapping[str, object], key: str, fail: Fail, *, least: float) -> float:
    """Return a finite number above ``least`` and within the head's size."""
    found = row.get(key)
    try:
        value = float(str(found))
    except ValueError:
        raise fail(key, found, A_NUMBER.format(least=least, most=LARGEST_MM)) from None
    if isinstance(found, bool) or not least < value < LARGEST_MM:
        raise fail(key, found, A_NUMBER.format(least=least, most=LARGEST_MM))
    return value


def _centre(row: Row, fail: Fail) -> tuple[float, float, float]:
    """Return the three coordinates from ``centre_mm`` or ``x``, ``y``, ``z``."""
    given = row.get("centre_mm")
    if given is not None:
        if not isinstance(given, list) or len(given) != 3:
            raise fail("centre_mm", given, A_POINT)
        row = dict(zip("xyz", given, strict=True))
    x, y, z = (_number(row, axis, fail, least=-LARGEST_MM) for axis in "xyz")
    return x, y, z


def _members(row: Row, fail: Fail) -> tuple[str, ...]:
    """Return the names of the members of a mean."""
    found = row["members"]
    names = found.split(",") if isinstance(found, str) else found
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise fail("members", found, TWO_NAMES)
    names = [name.strip() for name in names]
    if len(names) < 2 or len(set(names)) < len(names):
        raise fail("members", found, TWO_NAMES)
    return tuple(names)


def _mask(text: str, folder: Path, fail: Fail) -> str:
    """Return ``atlas:label`` or an absolute path; both may hold a path relative to the file."""
    atlas, colon, label = text.rpartition(":")
    path = text if text.endswith(IMAGE_ENDINGS) else atlas
    if not (text == path or (colon and atlas and label)):
        raise fail("mask", text, A_MASK)
    if text != path and "/" not in atlas and not atlas.endswith(IMAGE_ENDINGS):
        return text
    found = (folder / path).resolve()
    if not (found.is_file() or (text != path and found.is_dir())):
        raise fail("mask", text, A_MASK)
    return str(found) if text == path else f"{found}:{label}"


def _word(row: Mapping[str, object], key: str, words: Sequence[str], fail: Fail) -> Any:  # noqa: ANN401 one of the words
    """Return one of some words."""
    if row[key] not in words:
        raise fail(key, row[key], " or ".join(words))
    return row[key]


def _flag(row: Mapping[str, object], key: str, default: bool, fail: Fail) -> bool:
    """Return a truth value, also as a word."""
    if key not in row:
        return default
    word = str(row[key]).strip().lower()
    if word not in (*TRUE, *FALSE):
        raise fail(key, row[key], A_FLAG)
    return word in TRUE


def _check_names(seeds: Sequence[Seed], path: str) -> None:
    """Refuse names that would share a file name: equal but for case and punctuation."""
    seen: dict[str, str] = {}
    for number, seed in enumerate(seeds, start=1):
        key = re.sub(r"[^A-Za-z0-9+]", "", seed.name).casefold()
        if key in seen:
            raise _row_error(
                path,
                f"row {number} ({seed.name})",
                f"the same name as {seen[key]} but for case and punctuation",
                "names that stay different in file names",
            )
        seen[key] = seed.name


def _check_members(seeds: Sequence[Seed], path: str) -> None:
    """Refuse means of seeds that are not there, or of other means."""
    kinds = {seed.name: seed.kind for seed in seeds}
    for number, seed in enumerate(seeds, start=1):
        wrong = [name for name in seed.members if kinds.get(name, "mean") == "mean"]
        if wrong:
            raise _row_error(
                path,
                f"row {number} ({seed.name})",
                f"the members {', '.join(wrong)}",
                "names of spheres or masks in the same file",
            )
