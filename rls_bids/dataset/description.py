"""What describes the output folder, and how files get there: hashes, atomic writes, sidecars.

Resume rests on three functions: :func:`content_hash` says what an input is, :func:`fingerprint`
what a result depends on, and :func:`is_finished` whether the result lies there with that
fingerprint in its sidecar.
"""

import errno
import hashlib
import importlib.metadata
import json
import math
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rls_bids.dataset.meanings import meaning_of
from rls_bids.dataset.naming import sidecar
from rls_bids.errors import CannotWriteError, InputDataError

BIDS_VERSION = "1.10.0"
RAW = "raw"
BIDSIGNORE = (
    "*.html",
    "figures",
    "log",
    "group",
    "multiverse",
    "*_xfm.*",
    "*_boldref.*",
    "*_timeseries.*",
    "*_outliers.*",
    "*_quality.*",
    "*_design.*",
    "*_statmap.*",
    "*_boldmap.*",
    "*_relmat.*",
    "*_graph.*",
)
NOT_FETCHED = "{path} is a pointer: its content is not on this machine."
NOT_FETCHED_HINT = "Fetch it, for example with `datalad get {path}`."
GONE = "{path} is not there or cannot be read ({reason})."
CANNOT_WRITE = "{path} cannot be written ({reason})."
CANNOT_WRITE_HINT = "Check permissions, free space and quota of {folder}."
NOT_JSON = "{path} is not valid JSON: {reason}."
NOT_IN_DATASETS = "{path} lies neither in {output_dir} nor in {bids_dir}."

_POINTERS = (b"/annex/objects/", b"version https://git-lfs.github.com/spec/")
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG)
_CHUNK = 1 << 20
_README = """# Results of rls_bids

Functional connectivity at rest, computed by rls_bids {version} from the raw data set that
`dataset_description.json` names under `DatasetLinks`.

- `sub-<label>[_ses-<label>].html`: the page of a participant (or of one session), with pictures,
  figures of quality and methods.
- `sub-<label>/[ses-<label>/]anat`, `func`: images, tables and transforms; each `.json` beside a
  file says what it is, from which files it was made and with which parameters.
- `sub-<label>/log`: the settings of each run, and what went wrong if anything did.
- `group`: group models, their pages, maps and tables.
- `descriptions.tsv`: the meaning of every `desc-` label.
"""


def content_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; symbolic links are followed.

    Raises
    ------
    InputDataError
        The file is missing, or is only the pointer of git-annex or git-lfs to its content.
    """
    digest = hashlib.sha256()
    check_fetched(path)
    try:
        with Path(path).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputDataError(GONE.format(path=path, reason=error.strerror)) from error
    return digest.hexdigest()


def check_fetched(path: str | Path) -> None:
    """Raise :class:`~rls_bids.errors.InputDataError` when a file's content is not on this machine.

    Its content may be missing (a broken symbolic link) or be a pointer of git-annex or git-lfs.
    """
    place = Path(path)
    hint = NOT_FETCHED_HINT.format(path=path)
    if place.is_symlink() and not place.exists():
        raise InputDataError(NOT_FETCHED.format(path=path), hint)
    try:
        with place.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise InputDataError(GONE.format(path=path, reason=error.strerror)) from error
    if head.startswith(_POINTERS):
        raise InputDataError(NOT_FETCHED.format(path=path), hint)


def canonical_json(value: object) -> str:
    """Return one text for equal values: sorted keys, tuples as lists, 1.0 as 1.

    Examples
    --------
    >>> canonical_json({"b": (1.0, 0.5), "a": None})
    '{"a":null,"b":[1,0.5]}'
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value that JSON can hold
    """Return a value as JSON types only, whole floats as integers, NaN and infinity as None."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return _plain_number(value)
    return str(value) if isinstance(value, Path) else value


def _plain_number(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def fingerprint(**parts: object) -> str:
    """Return 16 hexadecimal digits that change with any of the parts.

    Parts are what a result depends on: content of the inputs, parameters, kernel versions. Records
    and NumPy values are taken as their plain values; the order of keywords does not matter.

    Examples
    --------
    >>> fingerprint(a=1, b=(2, 3)) == fingerprint(b=[2, 3], a=1.0)
    True
    """
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:16]


def atomic_write(path: str | Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file whole or not at all; missing folders are made.

    Parameters
    ----------
    path : str or Path
        Where the file shall stand.
    content : bytes, str or callable
        What to write, or a function that writes the file whose path it is given. That path ends
        as `path` does, so that writers which look at the extension do the right thing.

    Raises
    ------
    CannotWriteError
        The place is full, read-only or forbidden.
    """
    target = Path(path)
    temporary = target.with_name(f".{uuid.uuid4().hex}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            temporary.write_text(content, encoding="utf-8")
        elif isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            content(temporary)
        temporary.replace(target)
    except OSError as error:
        if callable(content) and error.errno not in _FULL_DISK:
            raise
        raise CannotWriteError(
            CANNOT_WRITE.format(path=path, reason=error.strerror),
            CANNOT_WRITE_HINT.format(folder=target.parent),
        ) from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write a JSON object in one piece; keys keep their order, NaN and infinity become null."""
    text = json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False)
    atomic_write(path, text + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object; raises :class:`~rls_bids.errors.InputDataError` naming the path."""
    check_fetched(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputDataError(GONE.format(path=path, reason=error.strerror)) from error
    except ValueError as error:
        raise InputDataError(NOT_JSON.format(path=path, reason=error)) from error
    if not isinstance(content, dict):
        raise InputDataError(NOT_JSON.format(path=path, reason="an object was expected"))
    return content


def is_finished(output_dir: str | Path, relative_path: str, expected: str) -> bool:
    """Whether an output lies there with the expected fingerprint in its sidecar.

    A sidecar with ``Missing`` stands for a result that cannot be made; it needs no file.
    """
    root = Path(output_dir)
    try:
        metadata = read_json(root / sidecar(relative_path))
    except InputDataError:
        return False
    there = (root / relative_path).is_file() or "Missing" in metadata
    return there and metadata.get("Fingerprint") == expected


def bids_uri(
    path: str | Path,
    output_dir: str | Path,
    bids_dir: str | Path,
    derivatives: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the BIDS URI of a file of ours (``bids::…``) or of an input (``bids:raw:…``).

    ``derivatives`` are the folders of other inputs by name; they may lie within ``bids_dir``.

    Examples
    --------
    >>> bids_uri("/raw/sub-01/anat/sub-01_T1w.nii.gz", "/out", "/raw")
    'bids:raw:sub-01/anat/sub-01_T1w.nii.gz'
    """
    place = Path(os.path.abspath(path))  # noqa: PTH100 - links inside a data set stay as they are
    others = ((root, f"bids:{name}:") for name, root in derivatives.items())
    for root, prefix in ((output_dir, "bids::"), *others, (bids_dir, "bids:raw:")):
        for base in (Path(os.path.abspath(root)), Path(root).resolve()):  # noqa: PTH100
            if place.is_relative_to(base):
                return prefix + place.relative_to(base).as_posix()
    raise ValueError(NOT_IN_DATASETS.format(path=path, output_dir=output_dir, bids_dir=bids_dir))


def _write_if_changed(path: Path, text: str) -> None:
    """Leave a file alone that already says so, that parallel runs do not disturb each other."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except OSError:
        pass
    atomic_write(path, text)


def write_dataset_description(
    output_dir: str | Path,
    bids_dir: str | Path,
    version: str,
    derivatives: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write ``dataset_description.json``, ``README.md``, ``.bidsignore``, ``descriptions.tsv``.

    Equal runs write equal bytes, and each file in one piece: participants may do it in parallel.
    ``derivatives`` are further data sets by name; those of earlier calls stay linked, because
    what was made from them is still there.
    """
    root = Path(output_dir)
    description = _dataset_description(Path(bids_dir), version)
    links = {**_earlier_links(root), **{k: Path(v).as_uri() for k, v in derivatives.items()}}
    links = {name: links[name] for name in sorted(links) if name != RAW}
    known = [source["URL"] for source in description["SourceDatasets"]]
    others = dict.fromkeys(url for url in links.values() if url not in known)
    description["SourceDatasets"] += [{"URL": url} for url in others]
    description["DatasetLinks"] |= links
    text = json.dumps(description, indent=2, ensure_ascii=False)
    _write_if_changed(root / "dataset_description.json", text + "\n")
    _write_if_changed(root / "README.md", _README.format(version=version))
    _write_if_changed(root / ".bidsignore", "\n".join(BIDSIGNORE) + "\n")
    write_descriptions(root)


def _earlier_links(root: Path) -> dict[str, str]:
    """Return the links of the description that is there; a broken one has none."""
    try:
        links = read_json(root / "dataset_description.json").get("DatasetLinks")
    except InputDataError:
        return {}
    return dict(links) if isinstance(links, dict) else {}


def _dataset_description(bids_dir: Path, version: str) -> dict[str, Any]:
    generator: dict[str, Any] = {"Name": "rls_bids", "Version": version}
    if url := _code_url():
        generator["CodeURL"] = url
    if container := _container():
        generator["Container"] = container
    raw = read_json(bids_dir / "dataset_description.json")
    source = {"URL": bids_dir.resolve().as_uri()}
    if doi := raw.get("DatasetDOI"):
        source["DOI"] = doi
    return {
        "Name": f"rls_bids: functional connectivity of {raw.get('Name', bids_dir.name)}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
        "SourceDatasets": [source],
        "DatasetLinks": {RAW: bids_dir.resolve().as_uri()},
    }


def _code_url() -> str | None:
    """Return the source address that the installed package states, if it does."""
    try:
        metadata = importlib.metadata.metadata("rls_bids")
    except importlib.metadata.PackageNotFoundError:
        return None
    addresses = dict(
        entry.split(", ", 1) for entry in metadata.get_all("Project-URL") or () if ", " in entry
    )
    return addresses.get("Source") or addresses.get("Homepage")


def _container() -> dict[str, str] | None:
    """Return the container we run in, as its environment variables tell."""
    tag = os.environ.get("RLS_BIDS_CONTAINER", "")
    image = os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER")
    if image:
        return {"Type": "apptainer", "Tag": tag or Path(image).name}
    return {"Type": "docker", "Tag": tag} if tag else None


def write_descriptions(output_dir: str | Path) -> None:
    """Write ``descriptions.tsv``: one row for every ``desc-`` label in the tree.

    Another participant may add a label between our look and our write; we look again until the
    table holds what the tree holds.
    """
    root = Path(output_dir)
    written: dict[str, bool] | None = None
    while (found := _desc_labels(root)) != written:
        rows = [
            f"desc-{label}\t{meaning_of(label, is_picture=found[label])}"
            for label in sorted(found)
        ]
        text = "\n".join(["desc_id\tdescription", *rows])
        _write_if_changed(root / "descriptions.tsv", text + "\n")
        written = found


def _desc_labels(root: Path) -> dict[str, bool]:
    """Return the labels in the tree, with whether each stands only on pictures."""
    labels: dict[str, bool] = {}
    for _, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if folder not in {"log", "logs", "multiverse"}]
        for name in names:
            label = name.partition("_desc-")[2].partition("_")[0]
            if label and not name.startswith("."):
                is_picture = name.endswith((".svg", ".png"))
                labels[label] = labels.get(label, True) and is_picture
    return labels
