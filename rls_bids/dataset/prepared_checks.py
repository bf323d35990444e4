"""Can this preprocessed run be used? Every check that needs no voxels; one sentence each."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rls_bids.dataset import checks
from rls_bids.dataset.acquired import UNKNOWN_SIZE, UNKNOWN_SIZE_HINT
from rls_bids.dataset.derivatives import PreparedFiles
from rls_bids.dataset.description import check_fetched, content_hash, fingerprint, read_json
from rls_bids.dataset.products import RUN_ENTITIES
from rls_bids.errors import InputDataError
from rls_bids.measures import MEASURES
from rls_bids.numerics.confounds import MOTION, Table
from rls_bids.numerics.regressors import columns_for
from rls_bids.numerics.translate import DISPLACEMENT, count_marked, not_finite, translate
from rls_bids.records import Note, PreparedRun
from rls_bids.resources.grids import native_size, standard_grid
from rls_bids.resources.templates import NATIVE
from rls_bids.settings import Settings
from rls_bids.settings.strategies import strategy_of

NO_TASK = "{path} has no task- in its name."
NO_MASK = "{path} has no brain mask beside it; {expected} was expected."
NO_CONFOUNDS = "{path} has no confounds table beside it; {expected} was expected."
COPY_HINT = "Copy it from where {generator} wrote it, or run that program again."
OTHER_GRID = "{mask} has {found}, but {path} has {expected}."
WRONG_ROWS = "{path} has {found} rows, but {bold} has {expected} volumes."
UNEVEN_HINT = "They are not of the same run or not complete: copy both again."
NOT_A_TABLE = "{path} is not a table of numbers: {reason}."
RAGGED = "line {line} has {found} values for {expected} columns"
NO_NUMBER = "line {line} holds {found!r}"
LACKING = "{path} cannot be used. {reason}"
NO_MOTION = "{path} lacks {missing}; six motion parameters were expected."
NO_MOTION_HINT = (
    "Censoring and the report need them: take the table that the program itself wrote."
)
NOT_NUMBERS = "{path} holds values that are not finite in {columns}; numbers were expected."
NOT_NUMBERS_HINT = "Compare with the program's own output, or choose another model with -p."
ODD_MARKS = "{path} marks volumes as not in steady state that are not the first ones of the run."
ODD_MARKS_HINT = "Only a run's beginning can be so: take the table that the program itself wrote."
DROPPED = (
    "{path}: the first {n} volumes are left out ({n_marked} are marked as not in steady state)."
)
INTERPOLATED = "{path} has {found}; it is interpolated onto the output grid, {expected}."
NO_LOCAL = (
    "{path}: local measures (ALFF, ReHo, degree centrality) are not made, because the voxel size "
    "of the acquisition is not known: neither {bids_dir} has the raw series nor the data set an "
    "image of it outside standard space."
)
INFLATED = (
    "{path} may be finer than acquired and there is no series with res-native or without res-: "
    "local measures come from it, and regional homogeneity is too high by that interpolation."
)
TIME_FROM_HEADER = "{path}: RepetitionTime is taken from the header ({found:g} s)."
GRID = "{x} × {y} × {z} voxels of {u:.3g} × {v:.3g} × {w:.3g} mm from ({a:g}, {b:g}, {c:g}) mm"

MISSING_VALUES = ("n/a", "", "nan", "NaN")
_GRID_TOLERANCE_MM = 1e-3


def check_prepared(
    label: str,
    files: PreparedFiles,
    local: PreparedFiles,
    generator: str,
    settings: Settings,
    *,
    voxel_size_mm: float | None,
    hash_content: bool,
) -> tuple[PreparedRun | None, tuple[Note, ...]]:
    """Check one preprocessed run and make its record.

    Parameters
    ----------
    label : str
        The participant.
    files : PreparedFiles
        Series, mask and confounds.
    local : PreparedFiles
        Series and mask from which local measures come.
    generator : str
        Who made them.
    settings : Settings
        Space, strategies and dummy scans.
    voxel_size_mm : float or None
        Of the acquisition, if known (:func:`.acquired_size`).
    hash_content : bool
        Whether to read all bytes for ``content``.

    Returns
    -------
    run : PreparedRun or None
        ``None`` when it cannot be used.
    notes : tuple of Note
        Why not, or what is done differently.
    """
    path = files.bold.path
    try:
        header = _checked_images(files, generator)
        metadata = _metadata(path)
        repetition_time, notes = _repetition_time(path, metadata, header)
        table = _checked_table(files, header.shape[3])
        n_marked = _marked(files.confounds, table)
        n_dropped = max(settings.bold.dummy_scans or 0, n_marked)
        _check_columns(files.confounds, table, n_dropped, settings)
        _check_length(path, header.shape[3], n_dropped)
        notes += _local_notes(files, local, generator, voxel_size_mm, settings)
        content = _content(files, local, metadata) if hash_content else ""
        notes += _grid_notes(path, header, voxel_size_mm, settings)
    except InputDataError as error:
        return None, (checks.note_of(label, "failed", path, error.message, error.hint),)
    if n_dropped:
        notes.append(DROPPED.format(path=path, n=n_dropped, n_marked=n_marked))
    entities = files.bold.entities
    run = PreparedRun(
        participant=label,
        session=entities.get("ses"),
        entities=tuple(
            sorted((key, entities[key]) for key in ("task", *RUN_ENTITIES) if key in entities)
        ),
        bold=path,
        mask=files.mask,
        local_bold=local.bold.path,
        local_mask=local.mask,
        confounds=files.confounds,
        content=content,
        voxel_size_mm=voxel_size_mm,
        repetition_time=repetition_time,
        n_volumes=header.shape[3],
        n_dropped=n_dropped,
        generator=generator,
        is_slice_timed=_known(metadata.get("SliceTimingCorrected"), bool),
        start_time=_known(metadata.get("StartTime"), (int, float)),
    )
    return run, tuple(checks.note_of(label, "info", path, message) for message in notes)


def _local_notes(
    files: PreparedFiles,
    local: PreparedFiles,
    generator: str,
    voxel_size_mm: float | None,
    settings: Settings,
) -> list[str]:
    """Check the series of the local measures, and say when it is not on the acquired grid."""
    path = files.bold.path
    if not any(MEASURES[name].kind == "local" for name in settings.measures.names):
        return []
    if voxel_size_mm is None:
        return [NO_LOCAL.format(path=path, bids_dir=settings.input.bids_dir)]
    if local.bold == files.bold:
        return [INFLATED.format(path=path)]
    _checked_images(replace(local, confounds=files.confounds), generator)
    return []


def _known(value: Any, kind: Any) -> Any:  # noqa: ANN401 - a value of a sidecar
    return value if isinstance(value, kind) else None


def _checked_images(files: PreparedFiles, generator: str) -> checks.Header:
    """Return the header of the series after checking that its companions are there and fit."""
    path = files.bold.path
    if "task" not in files.bold.entities:
        raise InputDataError(NO_TASK.format(path=path))
    header = checks.read_header(path)
    if len(header.shape) != 4 or header.shape[3] == 1:
        raise InputDataError(checks.NOT_4D.format(path=path, shape=header.shape))
    hint = COPY_HINT.format(generator=generator)
    if not files.mask:
        name = Path(path).name.replace("_desc-preproc_bold", "_desc-brain_mask")
        raise InputDataError(NO_MASK.format(path=path, expected=name), hint)
    if not files.confounds:
        name = Path(path).name.partition("_space-")[0] + "_desc-confounds_timeseries.tsv"
        raise InputDataError(NO_CONFOUNDS.format(path=path, expected=name), hint)
    mask = checks.read_header(files.mask)
    if not _same_grid(mask, header):
        message = OTHER_GRID.format(
            mask=files.mask, found=_grid_words(mask), path=path, expected=_grid_words(header)
        )
        raise InputDataError(message, hint)
    return header


def _same_grid(one: checks.Header, other: checks.Header) -> bool:
    return one.shape[:3] == other.shape[:3] and np.allclose(
        one.affine, other.affine, atol=_GRID_TOLERANCE_MM
    )


def _grid_words(header: checks.Header) -> str:
    (x, y, z), affine = header.shape[:3], np.array(header.affine)
    (u, v, w), (a, b, c) = np.linalg.norm(affine[:3, :3], axis=0), affine[:3, 3].round(3)
    return GRID.format(x=x, y=y, z=z, a=a, b=b, c=c, u=u, v=v, w=w)


def _grid_notes(
    path: str, header: checks.Header, voxel_size_mm: float | None, settings: Settings
) -> list[str]:
    """Return a sentence when the series does not lie on the output grid."""
    resolution = settings.anat.resolution
    if resolution == NATIVE:
        if voxel_size_mm is None:
            message = UNKNOWN_SIZE.format(path=path, bids_dir=settings.input.bids_dir)
            raise InputDataError(message, UNKNOWN_SIZE_HINT)
        resolution = native_size([voxel_size_mm])
    shape, affine = standard_grid(settings.anat.space, resolution)
    target = checks.Header(
        shape=shape,
        affine=tuple(tuple(row) for row in affine.tolist()),
        time_step_s=0.0,
        is_time_in_doubt=True,
        orientation="",
    )
    if _same_grid(header, target):
        return []
    found, expected = _grid_words(header), _grid_words(target)
    return [INTERPOLATED.format(path=path, found=found, expected=expected)]


def _metadata(path: str) -> dict[str, Any]:
    """Read the sidecar of an image; without one it is empty."""
    stem = path.removesuffix(".gz").removesuffix(".nii")
    sidecar = Path(f"{stem}.json")
    return read_json(sidecar) if sidecar.is_file() or sidecar.is_symlink() else {}


def _repetition_time(
    path: str, metadata: Mapping[str, Any], header: checks.Header
) -> tuple[float, list[str]]:
    """Return the repetition time; a sidecar that is silent leaves it to the header."""
    notes = []
    told = dict(metadata)
    step = header.time_step_s
    if "RepetitionTime" not in told and step > 0 and not header.is_time_in_doubt:
        told["RepetitionTime"] = round(step, 6)
        notes.append(TIME_FROM_HEADER.format(path=path, found=step))
    problem = checks.repetition_time_problem(path, told, header)
    if problem is not None:
        raise InputDataError(*problem)
    return float(told["RepetitionTime"]), notes


def _check_length(path: str, n_volumes: int, n_dropped: int) -> None:
    if n_volumes - n_dropped < checks.MIN_VOLUMES:
        raise InputDataError(
            checks.TOO_SHORT.format(
                path=path, n_volumes=n_volumes, dummies=n_dropped, least=checks.MIN_VOLUMES
            )
        )


def _checked_table(files: PreparedFiles, n_volumes: int) -> Table:
    table = read_confounds(files.confounds)
    n_rows = len(next(iter(table.values())))
    if n_rows != n_volumes:
        message = WRONG_ROWS.format(
            path=files.confounds, found=n_rows, bold=files.bold.path, expected=n_volumes
        )
        raise InputDataError(message, UNEVEN_HINT)
    return table


def read_confounds(path: str) -> Table:
    """Read a confounds table; ``n/a`` becomes NaN.

    Raises
    ------
    InputDataError
        It cannot be read, is only a pointer, has rows of different lengths, or holds words.
    """
    check_fetched(path)
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            names, *rows = [row for row in csv.reader(stream, delimiter="\t") if row]
    except (OSError, ValueError, csv.Error) as error:
        raise InputDataError(NOT_A_TABLE.format(path=path, reason=error)) from error
    numbers = np.array([_numbers(path, names, line, row) for line, row in enumerate(rows, 2)])
    return dict(zip(names, numbers.reshape(-1, len(names)).T, strict=True))


def _numbers(path: str, names: Sequence[str], line: int, row: Sequence[str]) -> list[float]:
    if len(row) != len(names):
        reason = RAGGED.format(line=line, found=len(row), expected=len(names))
        raise InputDataError(NOT_A_TABLE.format(path=path, reason=reason), UNEVEN_HINT)
    values = []
    for text in row:
        try:
            values.append(float("nan") if text in MISSING_VALUES else float(text))
        except ValueError as error:
            reason = NO_NUMBER.format(line=line, found=text)
            raise InputDataError(NOT_A_TABLE.format(path=path, reason=reason)) from error
    return values


def component_metadata(path: str) -> dict[str, Any]:
    """Read the JSON file of a confounds table; without one it is empty."""
    place = Path(path).with_suffix(".json")
    return read_json(place) if place.is_file() else {}


def _marked(path: str, table: Table) -> int:
    n_marked = count_marked(table)
    if n_marked < 0:
        raise InputDataError(ODD_MARKS.format(path=path), ODD_MARKS_HINT)
    return n_marked


def _check_columns(path: str, table: Table, n_dropped: int, settings: Settings) -> None:
    """Check that every strategy finds its columns, and numbers in them."""
    present = translate(table, component_metadata(path))
    missing = [name for name in MOTION if name not in present]
    if missing:
        message = NO_MOTION.format(path=path, missing=", ".join(missing))
        raise InputDataError(message, NO_MOTION_HINT)
    needed = [DISPLACEMENT]
    for strategy in settings.denoise.strategies:
        model = strategy_of(settings.denoise, strategy)
        try:
            names = columns_for(
                model.name,
                list(present),
                band_pass=settings.denoise.band_pass,
                patterns=model.patterns,
                source=model.source,
            )
        except InputDataError as error:
            reason = error.message
            raise InputDataError(LACKING.format(path=path, reason=reason), error.hint) from error
        needed += names
    wrong = not_finite(present, dict.fromkeys(needed), n_dropped)
    if wrong:
        message = NOT_NUMBERS.format(path=path, columns=", ".join(wrong))
        raise InputDataError(message, NOT_NUMBERS_HINT)


def _content(files: PreparedFiles, local: PreparedFiles, metadata: Mapping[str, Any]) -> str:
    """Return the hash of everything that results depend on."""
    own = (files.bold.path, files.mask, files.confounds, local.bold.path, local.mask)
    images = [content_hash(path) for path in dict.fromkeys(own)]
    told = {key: metadata.get(key) for key in ("RepetitionTime", "SliceTimingCorrected")}
    components = component_metadata(files.confounds)
    masks = {name: each.get("Mask") for name, each in components.items() if isinstance(each, dict)}
    return fingerprint(images=images, metadata=told, components=masks)
