"""Which field map belongs to a BOLD run, and whether it is complete.

A run names its source by ``B0FieldSource``, which the files of a field map answer with
``B0FieldIdentifier``; older data sets point the other way, from the field map to the run, with
``IntendedFor``. A map that nothing points to is not used: which one was meant cannot be known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rls_bids.dataset.checks import read_header
from rls_bids.dataset.filters import BidsFile
from rls_bids.errors import InputDataError
from rls_bids.numerics.fieldmap import axis_and_sign, encoding_vector, line_time
from rls_bids.records import FieldMap

NOT_MEANT = (
    "{folder} holds field maps, but none is meant for {bold}: neither B0FieldSource of the run "
    "nor IntendedFor of a field map says so; distortion is not corrected."
)
INCOMPLETE = "The field map for {bold} cannot be used: {reason}; distortion is not corrected."
NO_DIRECTION = "{bold} has no valid PhaseEncodingDirection ({found!r})"
NO_READOUT = "{bold} has neither TotalReadoutTime nor EffectiveEchoSpacing in its metadata"
NO_ECHO_TIMES = "{path} has no EchoTime1 and EchoTime2 (two different times in seconds)"
NO_PHASE_TIME = "{path} has no EchoTime"
BAD_UNITS = "{path} has the Units {found!r}; Hz, rad/s or Tesla was expected"
NO_MAP = "of {names} none is a phasediff, a pair of phase1 and phase2, a fieldmap or opposed epi"

OTHER_AXES = (
    "{path} has other voxels than {bold}, so the shifts of the field map do not hold for it; the "
    "mean of the run is coregistered instead."
)

DIRECTIONS = ("i", "i-", "j", "j-", "k", "k-")
UNITS = ("Hz", "rad/s", "Tesla")
LONGEST_ECHO_S = 1.0
AXES_TOLERANCE_MM = 1e-3
PARALLEL = 0.9
"""Cosine above which two phase encodings count as one axis: 25°."""

Metadata = Mapping[str, Any]


class UnusableError(ValueError):
    """A field map lacks what it needs; the text says what."""


def find_fieldmap(
    bold: BidsFile,
    metadata: Metadata,
    maps: Sequence[BidsFile],
    metadata_of: Callable[[BidsFile], Metadata],
    root: str,
) -> tuple[FieldMap | None, str]:
    """Find the field map that is meant for a run.

    Parameters
    ----------
    bold : BidsFile
        The run's image.
    metadata : mapping
        The run's own metadata.
    maps : sequence of BidsFile
        The participant's images of field maps.
    metadata_of : callable
        Reads the metadata of a file.
    root : str
        The data set.

    Returns
    -------
    FieldMap or None
    message : str
        Why a map that is there is not used; empty when one is used or none is there.
    """
    if not maps:
        return None, ""
    found = {file.path: metadata_of(file) for file in maps}
    meant = _by_identifier(metadata, maps, found) or _by_intention(bold, maps, found, root)
    if not meant:
        folder = Path(maps[0].path).parent
        return None, NOT_MEANT.format(folder=folder, bold=Path(bold.path).name)
    try:
        check_encoding(bold, metadata)
        return _fieldmap(meant, maps, {**found, bold.path: metadata}, bold), ""
    except (UnusableError, InputDataError) as error:
        return None, INCOMPLETE.format(bold=Path(bold.path).name, reason=str(error).rstrip("."))


def fieldmap_files(fieldmap: FieldMap | None) -> tuple[str, ...]:
    """Return every file that a field map is made of."""
    if fieldmap is None:
        return ()
    return (*fieldmap.images, *([fieldmap.magnitude] if fieldmap.magnitude else []))


def have_same_axes(one: str, other: str) -> bool:
    """Whether two images have the same voxels but for where the grid begins."""
    first, second = (read_header(path) for path in (one, other))
    if first.shape[:3] != second.shape[:3]:
        return False
    axes, other_axes = (np.array(header.affine)[:3, :3] for header in (first, second))
    return bool(np.allclose(axes, other_axes, atol=AXES_TOLERANCE_MM))


def _listed(value: object) -> list[str]:
    """Return a text or a list of texts as a list."""
    return [str(item) for item in (value if isinstance(value, list) else [value]) if item]


def _by_identifier(
    metadata: Metadata, maps: Sequence[BidsFile], found: Mapping[str, Metadata]
) -> list[BidsFile]:
    """Return the files of the first source that the run names and that exists."""
    for source in _listed(metadata.get("B0FieldSource")):
        own = [
            file for file in maps if source in _listed(found[file.path].get("B0FieldIdentifier"))
        ]
        if own:
            return own
    return []


def _by_intention(
    bold: BidsFile, maps: Sequence[BidsFile], found: Mapping[str, Metadata], root: str
) -> list[BidsFile]:
    """Return the files that say they are meant for the run."""
    relative = Path(bold.path).relative_to(root).as_posix()
    within = relative.partition("/")[2]  # older data sets leave out the participant's folder
    names = {relative, within, f"bids::{relative}"}
    return [
        file
        for file in maps
        if names
        & {name.removeprefix("./") for name in _listed(found[file.path].get("IntendedFor"))}
    ]


def check_encoding(epi: BidsFile, metadata: Metadata) -> None:
    """Raise `UnusableError` when an EPI image does not say how it was encoded."""
    name, direction = Path(epi.path).name, metadata.get("PhaseEncodingDirection")
    if direction not in DIRECTIONS:
        raise UnusableError(NO_DIRECTION.format(bold=name, found=direction))
    if not any(_number(metadata, key) for key in ("TotalReadoutTime", "EffectiveEchoSpacing")):
        raise UnusableError(NO_READOUT.format(bold=name))


def _line_time(epi: BidsFile, metadata: Metadata) -> float:
    """Return the time (s) in which 1 Hz shifts an EPI image by one voxel."""
    check_encoding(epi, metadata)
    axis, _ = axis_and_sign(str(metadata["PhaseEncodingDirection"]))
    return line_time(
        read_header(epi.path).shape[axis],
        echo_spacing_s=_number(metadata, "EffectiveEchoSpacing"),
        total_readout_time_s=_number(metadata, "TotalReadoutTime"),
    )


def _number(metadata: Metadata, key: str) -> float:
    """Return a positive number of the metadata, else 0."""
    value = metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return max(float(value), 0.0)


def _fieldmap(
    meant: Sequence[BidsFile],
    maps: Sequence[BidsFile],
    found: Mapping[str, Metadata],
    bold: BidsFile,
) -> FieldMap:
    """Make the record of the first kind that the files hold."""
    own = found[bold.path]
    for kind, images in _kinds(meant, maps, found, bold):
        magnitude = _magnitude(meant, maps, images[0])
        echo_times = _echo_times(kind, images, found)
        units = ""
        if kind == "fieldmap":
            units = str(found[images[0].path].get("Units", ""))
            if units not in UNITS:
                raise UnusableError(BAD_UNITS.format(path=images[0].path, found=units or None))
        return FieldMap(
            kind=kind,
            images=tuple(image.path for image in images),
            direction=str(own["PhaseEncodingDirection"]),
            line_time_s=_line_time(bold, own),
            magnitude=magnitude,
            echo_times_s=echo_times,
            units=units,
            image_direction=(
                str(found[images[0].path]["PhaseEncodingDirection"]) if kind == "opposed" else ""
            ),
            image_line_times_s=tuple(
                _line_time(image, found[image.path]) for image in images if kind == "opposed"
            ),
        )
    raise UnusableError(NO_MAP.format(names=", ".join(Path(file.path).name for file in meant)))


def _kinds(
    meant: Sequence[BidsFile],
    maps: Sequence[BidsFile],
    found: Mapping[str, Metadata],
    bold: BidsFile,
) -> Iterator[tuple[Any, list[BidsFile]]]:
    """Yield each kind of field map that is complete, the most direct first."""
    by_suffix: dict[str, list[BidsFile]] = {}
    for file in meant:
        by_suffix.setdefault(file.entities["suffix"], []).append(file)
    if "fieldmap" in by_suffix:
        yield "fieldmap", by_suffix["fieldmap"][:1]
    if "phasediff" in by_suffix:
        yield "phasediff", by_suffix["phasediff"][:1]
    first = by_suffix.get("phase1", [])
    for one in first[:1]:
        # IntendedFor may stand beside one of the two phases only.
        others = [file for file in maps if _is_partner(file, one, "phase2")]
        if others:
            yield "two_phases", [one, others[0]]
    encoded = [(file, found[file.path].get("PhaseEncodingDirection")) for file in
               by_suffix.get("epi", [])]  # fmt: skip
    cosines = [(file, _cosine(file, direction, bold, found)) for file, direction in encoded]
    against = [file for file, cosine in cosines if cosine < -PARALLEL]
    along = [file for file, cosine in cosines if cosine > PARALLEL]
    if against:
        yield "opposed", [along[0] if along else bold, against[0]]


def _cosine(
    file: BidsFile, direction: object, bold: BidsFile, found: Mapping[str, Metadata]
) -> float:
    """Return the cosine between the phase encodings of an EPI image and of the run, in space.

    Letters alone do not tell: ``j`` of an image that is stored backwards is ``j-`` of the run.
    """
    own = found[bold.path]["PhaseEncodingDirection"]
    if direction not in DIRECTIONS:
        return 0.0
    first, second = (
        encoding_vector(np.array(read_header(one.path).affine), str(way))
        for one, way in ((file, direction), (bold, own))
    )
    return float(first @ second)


def _is_partner(file: BidsFile, other: BidsFile, suffix: str) -> bool:
    """Whether two files differ in their suffix alone."""

    def rest(one: BidsFile) -> dict[str, str]:
        return {key: value for key, value in one.entities.items() if key != "suffix"}

    return file.entities["suffix"] == suffix and rest(file) == rest(other)


def _magnitude(meant: Sequence[BidsFile], maps: Sequence[BidsFile], image: BidsFile) -> str | None:
    """Return the magnitude image of the same acquisition."""
    for suffix in ("magnitude1", "magnitude", "magnitude2"):
        for file in (*meant, *maps):
            if _is_partner(file, image, suffix):
                return file.path
    return None


def _echo_times(
    kind: str, images: Sequence[BidsFile], found: Mapping[str, Metadata]
) -> tuple[float, ...]:
    """Return the two echo times (s) of a phase map."""
    if kind == "phasediff":
        path, told = images[0].path, found[images[0].path]
        times = tuple(_number(told, key) for key in ("EchoTime1", "EchoTime2"))
    elif kind == "two_phases":
        path = images[1].path
        times = tuple(_number(found[image.path], "EchoTime") for image in images)
        if not all(times):
            raise UnusableError(NO_PHASE_TIME.format(path=path))
    else:
        return ()
    if not all(0 < time < LONGEST_ECHO_S for time in times) or times[0] == times[1]:
        raise UnusableError(NO_ECHO_TIMES.format(path=path))
    return times
