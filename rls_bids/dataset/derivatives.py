"""Preprocessed data sets of other programs: who made them, and which files belong together.

File names follow fMRIPrep, from its first versions to the present ones; names of earlier versions
are read as if they were today's, so that queries need to know one spelling only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rls_bids.dataset.description import read_json
from rls_bids.dataset.filters import (
    IMAGES,
    PRESENT,
    BidsFile,
    Query,
    Selection,
    apply_queries,
    bids_file,
    select,
)
from rls_bids.dataset.products import RUN_ENTITIES
from rls_bids.dataset.requests import NO_DIRECTORY
from rls_bids.errors import InputDataError
from rls_bids.paths import named_folders

UNKNOWN_GENERATOR = "an unknown program"
TISSUES = ("GM", "WM", "CSF")

# (datatype, suffix) of fMRIPrep 1.0 and 1.1 → suffix and entities of today.
_EARLY: Mapping[tuple[str, str], tuple[str, dict[str, str]]] = MappingProxyType(
    {
        ("func", "preproc"): ("bold", {"desc": "preproc"}),
        ("func", "brainmask"): ("mask", {"desc": "brain"}),
        ("func", "confounds"): ("timeseries", {"desc": "confounds"}),
        ("func", "regressors"): ("timeseries", {"desc": "confounds"}),
        ("anat", "preproc"): ("T1w", {"desc": "preproc"}),
        ("anat", "probtissue"): ("probseg", {}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One preprocessed data set; ``generator`` is the program that made it, with its version."""

    name: str
    root: str
    generator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedFiles:
    """The files of one run; an empty path is one that is missing."""

    bold: BidsFile
    mask: str
    confounds: str


def open_data_sets(derivatives: Sequence[str]) -> tuple[DataSet, ...]:
    """Return the data sets of ``NAME=PATH`` texts.

    Raises
    ------
    InputDataError
        A folder does not exist, or its description is broken.
    """
    found = []
    for name, root in named_folders(derivatives).items():
        if not Path(root).is_dir():
            raise InputDataError(NO_DIRECTORY.format(path=root))
        found.append(DataSet(name=name, root=root, generator=generator_of(root)))
    return tuple(found)


def generator_of(root: str) -> str:
    """Return program and version as ``dataset_description.json`` tells, e.g. ``fMRIPrep 23.2.0``.

    Versions of fMRIPrep before 20.2 say it under ``PipelineDescription``.
    """
    path = Path(root) / "dataset_description.json"
    if not (path.is_file() or path.is_symlink()):
        return UNKNOWN_GENERATOR
    description = read_json(path)
    told = description.get("GeneratedBy") or [description.get("PipelineDescription")]
    first = told[0] if isinstance(told, list) and told else None
    if not isinstance(first, dict) or not first.get("Name"):
        return UNKNOWN_GENERATOR
    return " ".join(str(first[key]) for key in ("Name", "Version") if first.get(key))


def files_of(root: str, label: str) -> list[BidsFile]:
    """Return a participant's files with the entities that they would have today."""
    own = Path(root) / f"sub-{label}"
    folders = [*own.glob("anat"), *own.glob("func"), *own.glob("ses-*/anat")]
    folders += own.glob("ses-*/func")
    paths = [path for folder in folders for path in sorted(folder.iterdir())]
    return [_present(bids_file(str(path))) for path in paths]


def _present(file: BidsFile) -> BidsFile:
    """Read the name of an earlier version as the present one."""
    entities = dict(file.entities)
    early = _EARLY.get((entities["datatype"], entities["suffix"]))
    if early is not None:
        entities["suffix"] = early[0]
        entities |= early[1]
    if entities["suffix"] == "probseg" and "class" in entities:
        entities["label"] = entities.pop("class")
    if entities["suffix"] == "mask" and entities.get("label") == "brain":
        entities["desc"] = entities.pop("label")
    if entities["suffix"] == "timeseries" and "desc" not in entities:
        entities["desc"] = "confounds"
    return BidsFile(path=file.path, entities=entities)


def find_series(
    files: Sequence[BidsFile], steps: Sequence[tuple[str, Query]], grid: tuple[str, str]
) -> Selection:
    """Return the preprocessed series that the filters leave, one a run.

    Parameters
    ----------
    files : sequence of BidsFile
        Of one participant.
    steps : sequence of (str, Query)
        As for raw data.
    grid : (str, str)
        Space and resolution wanted. Of several resolutions the wanted one is taken, else the one
        without ``res-``.
    """
    (name, base), *others = steps
    base = base | {"desc": ("preproc",), "echo": (None,), "space": (PRESENT,)}
    wanted: Query = {"space": (grid[0],)}
    space = (f"--output-spaces {grid[0]}", wanted)
    selection = apply_queries(files, [(name, base), space, *others])
    return Selection(
        files=best_resolution(selection.files, grid[1]),
        n_files=selection.n_files,
        steps=selection.steps,
    )


def best_resolution(files: Iterable[BidsFile], resolution: str) -> list[BidsFile]:
    """Return one file a run: that of the wanted resolution, else without one, else the first."""
    best: dict[object, tuple[int, BidsFile]] = {}
    for file in files:
        found = file.entities.get("res")
        rank = 1 if found is None else 0 if found.lstrip("0") == resolution else 2
        key = run_key(file)
        if key not in best or rank < best[key][0]:
            best[key] = (rank, file)
    return [file for _, file in best.values()]


def run_key(file: BidsFile) -> tuple[str | None, ...]:
    """Return what tells runs apart."""
    return tuple(file.entities.get(name) for name in ("ses", "task", *RUN_ENTITIES))


def companions(
    bold: BidsFile, files: Sequence[BidsFile], mask: Query, confounds: Query
) -> PreparedFiles:
    """Find the brain mask and the confounds table that belong to a series."""
    masks = [
        file
        for file in select(files, mask)
        if run_key(file) == run_key(bold)
        and all(file.entities.get(name) == bold.entities.get(name) for name in ("space", "res"))
    ]
    tables = [file for file in select(files, confounds) if run_key(file) == run_key(bold)]
    return PreparedFiles(
        bold=bold,
        mask=masks[0].path if masks else "",
        confounds=tables[0].path if tables else "",
    )


def find_anatomy(
    files: Sequence[BidsFile], session: str | None, grid: tuple[str, str]
) -> dict[str, str]:
    """Find the T1w image and the tissue probabilities in standard space.

    Those of the session come before the participant's, these before another session's.

    Returns
    -------
    dict
        ``t1w``, ``GM``, ``WM``, ``CSF`` → path, empty where there is none.
    """
    base: Query = {"datatype": ("anat",), "space": (grid[0],), "extension": IMAGES}
    wanted: dict[str, Query] = {
        "t1w": {"suffix": ("T1w",), "desc": ("preproc",)},
        # What is described further, such as modulated, is no probability.
        **{
            tissue: {"suffix": ("probseg",), "label": (tissue,), "desc": (None,)}
            for tissue in TISSUES
        },
    }
    found = {}
    for what, query in wanted.items():
        ranked = sorted(
            select(files, base | query),
            key=lambda file: (
                file.entities.get("ses") != session,
                file.entities.get("ses") is not None,
                file.entities.get("res", "").lstrip("0") != grid[1],
            ),
        )
        found[what] = ranked[0].path if ranked else ""
    return found
