"""Our own denoised series: which there are, and what their sidecars say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rls_bids.dataset.description import canonical_json, content_hash, read_json
from rls_bids.dataset.filters import BidsFile, Query, natural_key, read_filters, select
from rls_bids.dataset.naming import Parsed, camel_label, derivative, parse, sidecar
from rls_bids.errors import InputDataError
from rls_bids.records import Entities
from rls_bids.settings import InputSettings

DENOISED = "denoised_bold"
LEFT = (
    *("SecondsKept", "MinutesKept", "ResidualDegreesOfFreedom", "NumberOfVolumesKept"),
    "MeanFramewiseDisplacement",
)
BAD_SIDECAR = "{path} does not say how the series was made ({reason})."
BAD_SIDECAR_HINT = (
    "An earlier version wrote it: delete this file and run the participant level again with "
    "--level full."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisedSeries:
    """A denoised series of one run.

    ``status`` is what nuisance regression left, ``processing`` how it was done, as one text.
    ``is_current`` says that the regressors beside it are those that were fitted: a later call
    without ``--level full`` writes them again, but not the series.
    """

    participant: str
    session: str | None
    entities: Entities
    path: str
    status: dict[str, Any]
    processing: str
    fingerprint: str
    is_current: bool


def series_on_disk(root: str | Path) -> tuple[Parsed, ...]:
    """Return the names of all denoised series in an output folder, taken apart, in order."""
    base = Path(root)
    found = sorted(
        (path.relative_to(base).as_posix() for path in base.glob("sub-*/**/func/*_bold.nii.gz")),
        key=natural_key,
    )
    return tuple(each for each in _parsed(found) if each.product == DENOISED)


def _parsed(paths: list[str]) -> Iterator[Parsed]:
    for path in paths:
        try:
            yield parse(path)
        except ValueError:
            continue  # not a file of ours


def fitting(
    found: tuple[Parsed, ...], chosen: InputSettings, strategy: str, grid: tuple[str, str]
) -> tuple[Parsed, ...]:
    """Return the series that fit labels, task, strategy and grid (space, resolution).

    Of the filter file's query ``bold`` the entities ``acq``, ``ce`` and ``rec`` count.
    """
    filters = read_filters(chosen.bids_filter_file).get("bold", {})
    wanted: Query = {
        "sub": chosen.participant_labels,
        "ses": chosen.session_labels,
        "task": chosen.task_ids,
        "run": chosen.run_ids,
        "space": (grid[0],),
        "res": (grid[1],),
        **{name: labels for name, labels in filters.items() if name in ("acq", "ce", "rec")},
    }
    query = {name: labels for name, labels in wanted.items() if labels}
    label = camel_label(strategy).casefold()
    return tuple(
        one
        for one in found
        if one.participant not in chosen.exclude_participant_labels
        and dict(one.entities)["denoise"].casefold() == label
        and select([_as_file(one)], query)
    )


def fits_strategy(found: Sequence[Parsed], label: str, strategy: str) -> bool:
    """Whether a participant has a series of a strategy at all."""
    wanted = camel_label(strategy).casefold()
    return any(
        one.participant == label and dict(one.entities)["denoise"].casefold() == wanted
        for one in found
    )


def _as_file(one: Parsed) -> BidsFile:
    entities = dict(one.entities) | {"sub": one.participant or ""}
    return BidsFile(path="", entities=entities | ({"ses": one.session} if one.session else {}))


def read_series(root: str | Path, one: Parsed, strategy: str) -> DenoisedSeries:
    """Read what the sidecars of a series and of its regressors say.

    ``strategy`` is as the user calls it: names of series do not keep its first letter's case.

    Raises
    ------
    InputDataError
        A sidecar is missing, or does not say how the series was made.
    """
    base, participant, entities = Path(root), one.participant or "", dict(one.entities)
    path = derivative(DENOISED, participant, one.session, **entities)
    design = {name: each for name, each in entities.items() if name not in ("space", "res")}
    design["denoise"] = camel_label(strategy)
    told = read_json(base / sidecar(path))
    status = read_json(base / sidecar(derivative("design", participant, one.session, **design)))
    try:
        processing = canonical_json({**told["Processing"]})
        for key in LEFT:
            float(status[key])
    except (KeyError, TypeError, ValueError) as error:
        message = BAD_SIDECAR.format(path=base / sidecar(path), reason=f"no usable {error}")
        raise InputDataError(message, BAD_SIDECAR_HINT) from error
    return DenoisedSeries(
        participant=participant,
        session=one.session,
        entities=one.entities,
        path=str(base / path),
        status=status,
        processing=processing,
        fingerprint=told.get("Fingerprint") or content_hash(base / path),
        is_current=told.get("Fingerprint") == status.get("Fingerprint"),
    )
