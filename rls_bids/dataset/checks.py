"""Is this input usable? Checks of header and metadata before, and of the voxels while running.

What makes one run unusable becomes a :class:`~rls_bids.records.Note` with exit status 65 and the
others go on; what the readers find while a graph runs is an
:class:`~rls_bids.errors.InputDataError`.
"""

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.description import check_fetched
from rls_bids.errors import EXIT_DATA, InputDataError
from rls_bids.records import Note

MIN_VOLUMES = 10
MAX_REPETITION_TIME_S = 60.0

UNREADABLE = "{path} cannot be read as NIfTI ({reason})."
UNREADABLE_HINT = "The file is damaged or incomplete: copy or convert it again."
NOT_4D = "{path} has the shape {shape}, but a BOLD series needs four dimensions."
NOT_3D = "{path} has the shape {shape}, but a T1w image needs three dimensions."
NOT_ONE_VOLUME = "{path} has the shape {shape}, but a reference is one volume."
SBREF_LEFT_OUT = "The mean of the run is the BOLD reference instead."
TOO_SHORT = "{path} has {n_volumes} volumes; without the first {dummies}, {least} must be left."
VOLUME_TIMING = "{path} has VolumeTiming instead of RepetitionTime, which is not supported."
NO_REPETITION_TIME = "{path} has no RepetitionTime in its metadata."
NO_REPETITION_TIME_HINT = "Add RepetitionTime (in seconds) to its JSON file."
BAD_REPETITION_TIME = "{path}: RepetitionTime is {found!r}, but seconds (0 to 60) were expected."
OTHER_REPETITION_TIME = (
    "{path}: RepetitionTime is {metadata:g} s in the metadata but {header:g} s in the header."
)
OTHER_REPETITION_TIME_HINT = "Find out which is true and correct the other."
SLICE_TIMING_LENGTH = (
    "{path}: SliceTiming has {found} times for {expected} slices; slice timing is left out."
)
SLICE_TIMING_MS = (
    "{path}: SliceTiming reaches {found:g}, seemingly in milliseconds, with a RepetitionTime of "
    "{repetition_time:g} s; slice timing is left out."
)
SLICE_TIMING_RANGE = (
    "{path}: SliceTiming reaches from {low:g} to {high:g} s, outside 0 to {repetition_time:g} s; "
    "slice timing is left out."
)
SLICE_TIMING_KIND = "{path}: SliceTiming is not a list of numbers; slice timing is left out."
BAD_DIRECTION = (
    "{path}: SliceEncodingDirection is {found!r}, but i, j or k (with or without -) was expected; "
    "slice timing is left out."
)
NOT_FINITE = "{path} has {count} voxels that are NaN or infinite."
CONSTANT = "{path} holds the same value everywhere."
EMPTY_VOLUMES = "{path} has volumes without any signal: {volumes}."
TWO_ORIENTATIONS = "{path}: sform and qform differ by up to {found:.1f} mm; the sform is used."
NO_ORIENTATION = "{path}: the header has neither sform nor qform; left and right are not certain."

DAMAGED = (OSError, EOFError, ValueError, zlib.error)
_CHUNK = 1 << 20
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
# The qform is a float32 quaternion: near half turns it is off by tenths of a millimetre by itself.
_FORM_TOLERANCE_MM = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a NIfTI header says; ``time_step_s`` is 0 where it says nothing of use."""

    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    time_step_s: float
    is_time_in_doubt: bool
    orientation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BoldFacts:
    """What preprocessing needs to know of a usable run; ``n_volumes`` counts dummy scans, too."""

    n_volumes: int
    repetition_time: float
    slice_timing: tuple[float, ...] | None
    slice_encoding_direction: str


def _load(path: str | Path) -> Any:  # noqa: ANN401 - nibabel's images have loose types
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    check_fetched(path)
    if not Path(path).stat().st_size:
        raise InputDataError(UNREADABLE.format(path=path, reason="it is empty"), UNREADABLE_HINT)
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise InputDataError(UNREADABLE.format(path=path, reason="it is of another format"))
        _ = image.affine
    except (*DAMAGED, ImageFileError, HeaderDataError) as error:
        message = UNREADABLE.format(path=path, reason=reason_of(error))
        raise InputDataError(message, UNREADABLE_HINT) from error
    return image


def reason_of(error: BaseException) -> str:
    """Return what an exception says, on one line without a full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def read_header(path: str | Path) -> Header:
    """Read the header of a NIfTI file.

    Raises
    ------
    InputDataError
        The file is missing, empty, not fetched, or no NIfTI file. An uncompressed file must also
        be as long as its header says.
    """
    image = _load(path)
    header = image.header
    step = float(header["pixdim"][4]) if len(image.shape) == 4 else 0.0
    unit = header.get_xyzt_units()[1]
    expected = image.dataobj.offset + math.prod(image.shape) * int(header["bitpix"]) // 8
    if str(path).endswith(".nii") and Path(path).stat().st_size < expected:
        reason = f"{Path(path).stat().st_size} bytes, {expected} expected"
        raise InputDataError(UNREADABLE.format(path=path, reason=reason), UNREADABLE_HINT)
    return Header(
        shape=tuple(int(length) for length in image.shape),
        affine=tuple(tuple(row) for row in image.affine.tolist()),
        time_step_s=step * _SECONDS.get(unit, 1.0),
        is_time_in_doubt=unit not in _SECONDS,
        orientation=_orientation(path, header),
    )


def _orientation(path: str | Path, header: Any) -> str:  # noqa: ANN401
    """Return a sentence when the header leaves doubt about the position of the image."""
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        return NO_ORIENTATION.format(path=path)
    if sform is None or qform is None:
        return ""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in header.get_data_shape()[:3]]))
    points = np.vstack([corners.reshape(3, -1), np.ones(8)])
    distance = float(np.linalg.norm(((sform - qform) @ points)[:3], axis=0).max())
    if distance <= _FORM_TOLERANCE_MM:
        return ""
    return TWO_ORIENTATIONS.format(path=path, found=distance)


def note_of(
    participant: str,
    level: Literal["info", "warning", "skipped", "failed"],
    path: str,
    message: str,
    hint: str = "",
) -> Note:
    """Return a note about a file; what is left out for it has the exit status of bad data."""
    status = EXIT_DATA if level in ("skipped", "failed") else 0
    return Note(
        participant=participant,
        level=level,
        message=message,
        hint=hint,
        where=path,
        exit_status=status,
    )


def check_t1w(path: str, participant: str) -> tuple[bool, tuple[Note, ...]]:
    """Return whether a T1w image can be used, and what there is to say."""
    try:
        header = read_header(path)
    except InputDataError as error:
        return False, (note_of(participant, "failed", path, error.message, error.hint),)
    if len([length for length in header.shape if length > 1]) != 3:
        message = NOT_3D.format(path=path, shape=header.shape)
        return False, (note_of(participant, "failed", path, message),)
    if header.orientation:
        return True, (note_of(participant, "warning", path, header.orientation),)
    return True, ()


def check_sbref(path: str) -> tuple[str | None, str]:
    """Return a single-band reference that can be used, or ``None`` and why it cannot."""
    try:
        header = read_header(path)
    except InputDataError as error:
        return None, f"{error.message} {SBREF_LEFT_OUT}"
    if len([length for length in header.shape if length > 1]) != 3:
        return None, f"{NOT_ONE_VOLUME.format(path=path, shape=header.shape)} {SBREF_LEFT_OUT}"
    return path, ""


def check_bold(
    path: str,
    metadata: Mapping[str, Any],
    participant: str,
    *,
    dummy_scans: int = 0,
    use_slice_timing: bool = True,
) -> tuple[BoldFacts | None, tuple[Note, ...]]:
    """Check one run before anything is computed.

    Parameters
    ----------
    path : str
        The NIfTI file.
    metadata : mapping
        Its metadata with inheritance applied.
    participant : str
        Label, for the notes.
    dummy_scans : int
        Volumes to be dropped at the start.
    use_slice_timing : bool
        Whether the step is wanted at all.

    Returns
    -------
    facts : BoldFacts or None
        ``None`` when the run cannot be used.
    notes : tuple of Note
        Why not, or what is done differently.
    """
    try:
        header = read_header(path)
    except InputDataError as error:
        return None, (note_of(participant, "failed", path, error.message, error.hint),)
    refusal = _refusal(path, metadata, header, dummy_scans)
    if refusal is not None:
        level, message, hint = refusal
        return None, (note_of(participant, level, path, message, hint),)
    repetition_time = float(metadata["RepetitionTime"])
    warnings = [header.orientation] if header.orientation else []
    timing: tuple[float, ...] | None = None
    direction = metadata.get("SliceEncodingDirection", "k")
    if use_slice_timing and "SliceTiming" in metadata:
        problem = slice_timing_problem(path, metadata, header.shape)
        warnings += [problem] if problem else []
        timing = None if problem else tuple(float(time) for time in metadata["SliceTiming"])
    facts = BoldFacts(
        n_volumes=header.shape[3],
        repetition_time=repetition_time,
        slice_timing=timing,
        slice_encoding_direction=str(direction),
    )
    return facts, tuple(note_of(participant, "warning", path, message) for message in warnings)


def _refusal(
    path: str, metadata: Mapping[str, Any], header: Header, dummy_scans: int
) -> tuple[Literal["skipped", "failed"], str, str] | None:
    """Return level, message and hint when a run cannot be used."""
    if len(header.shape) != 4 or header.shape[3] == 1:
        return "failed", NOT_4D.format(path=path, shape=header.shape), ""
    if "VolumeTiming" in metadata:
        return "skipped", VOLUME_TIMING.format(path=path), ""
    problem = repetition_time_problem(path, metadata, header)
    if problem is not None:
        return "failed", *problem
    if header.shape[3] - dummy_scans < MIN_VOLUMES:
        message = TOO_SHORT.format(
            path=path, n_volumes=header.shape[3], dummies=dummy_scans, least=MIN_VOLUMES
        )
        return "skipped", message, ""
    return None


def repetition_time_problem(
    path: str, metadata: Mapping[str, Any], header: Header
) -> tuple[str, str] | None:
    """Return message and hint when RepetitionTime is missing or contradicts the header.

    The header is silent when its step is 0, or 1 of an unknown unit (what writers put there when
    they know nothing); of an unknown unit, seconds and milliseconds are both accepted. Half a
    percent or 2 ms of difference is rounding.
    """
    found = metadata.get("RepetitionTime")
    if found is None:
        return NO_REPETITION_TIME.format(path=path), NO_REPETITION_TIME_HINT
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not 0 < found <= MAX_REPETITION_TIME_S:
        message = BAD_REPETITION_TIME.format(path=path, found=found)
        return message, NO_REPETITION_TIME_HINT
    step = header.time_step_s
    if step == 0 or (header.is_time_in_doubt and step == 1):
        return None
    readings = (step, step / 1000) if header.is_time_in_doubt else (step,)
    if any(abs(reading - found) <= max(0.002, 0.005 * found) for reading in readings):
        return None
    message = OTHER_REPETITION_TIME.format(path=path, metadata=found, header=step)
    return message, OTHER_REPETITION_TIME_HINT


def slice_timing_problem(
    path: str, metadata: Mapping[str, Any], shape: Sequence[int]
) -> str | None:
    """Return a sentence when SliceTiming cannot be used, else ``None``."""
    times, direction = metadata["SliceTiming"], metadata.get("SliceEncodingDirection", "k")
    repetition_time = float(metadata["RepetitionTime"])
    if direction not in ("i", "j", "k", "i-", "j-", "k-"):
        return BAD_DIRECTION.format(path=path, found=direction)
    is_list = isinstance(times, list | tuple) and all(
        isinstance(time, int | float) and math.isfinite(time) for time in times
    )
    if not is_list:
        return SLICE_TIMING_KIND.format(path=path)
    n_slices = shape["ijk".index(direction[0])]
    if len(times) != n_slices:
        return SLICE_TIMING_LENGTH.format(path=path, found=len(times), expected=n_slices)
    low, high = min(times), max(times)
    # The last slice may be written with the rounding of the repetition time.
    longest = repetition_time + 1e-3
    if low >= 0 and high <= longest:
        return None
    if low >= 0 and longest * 10 < high <= longest * 1000:
        return SLICE_TIMING_MS.format(path=path, found=high, repetition_time=repetition_time)
    return SLICE_TIMING_RANGE.format(
        path=path, low=low, high=high, repetition_time=repetition_time
    )


def check_compression(path: str | Path) -> None:
    """Decompress to the end: nibabel stops at the last voxel and never sees the checksum."""
    if str(path).endswith(".gz"):
        with gzip.open(path) as stream:
            while stream.read(_CHUNK):
                pass


def _read(path: str | Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return voxels and affine (the sform where it is set, else the qform)."""
    image = _load(path)
    try:
        check_compression(path)
        data = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
    except DAMAGED as error:
        message = UNREADABLE.format(path=path, reason=reason_of(error))
        raise InputDataError(message, UNREADABLE_HINT) from error
    n_bad = data.size - int(np.count_nonzero(np.isfinite(data)))
    if n_bad:
        raise InputDataError(NOT_FINITE.format(path=path, count=n_bad))
    if data.size == 0 or data.min() == data.max():
        raise InputDataError(CONSTANT.format(path=path))
    return data, np.asarray(image.affine, dtype=np.float64)


def read_bold(path: str | Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read a whole BOLD series.

    Returns
    -------
    series : ndarray, shape (n_volumes, X, Y, Z), float32
        Contiguous, so that a volume is one block of memory.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ mm: the sform where its code is set, else the qform.

    Raises
    ------
    InputDataError
        Truncated or damaged file, not four-dimensional, NaN or infinite voxels, a series or a
        volume without any variation.
    """
    data, affine = _read(path)
    if data.ndim != 4:
        raise InputDataError(NOT_4D.format(path=path, shape=data.shape))
    series = np.ascontiguousarray(np.moveaxis(data, -1, 0))
    flat = series.reshape(len(series), -1)
    empty = np.flatnonzero(flat.min(axis=1) == flat.max(axis=1))
    if empty.size:
        volumes = ", ".join(str(volume) for volume in empty[:5])
        more = "" if empty.size <= 5 else f" and {empty.size - 5} more"
        raise InputDataError(EMPTY_VOLUMES.format(path=path, volumes=volumes + more))
    return series, affine


def read_t1w(path: str | Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read a T1w image.

    Returns
    -------
    volume : ndarray, shape (X, Y, Z), float32
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ mm: the sform where its code is set, else the qform.

    Raises
    ------
    InputDataError
        Truncated or damaged file, not three-dimensional, NaN or infinite voxels, no variation.
    """
    data, affine = _read(path)
    volume = data.reshape(data.shape[:3]) if data.ndim > 3 and data[0, 0, 0].size == 1 else data
    if volume.ndim != 3:
        raise InputDataError(NOT_3D.format(path=path, shape=data.shape))
    return volume, affine
