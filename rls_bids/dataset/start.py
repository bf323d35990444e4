"""How many volumes at the start of a run are dropped: as many as the user says, or as are found.

Looked for while the data set is read, so that the plan, the graph and every sidecar tell the same
number. Only the first volumes are read.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.checks import (
    DAMAGED,
    MIN_VOLUMES,
    TOO_SHORT,
    UNREADABLE,
    UNREADABLE_HINT,
    note_of,
    reason_of,
)
from rls_bids.errors import InputDataError
from rls_bids.numerics.steady import WINDOW, count_non_steady
from rls_bids.records import Note

NON_STEADY = (
    "{path}: dropped at the start, being brighter than the steady state: "
    "{count} of {n_volumes} volumes."
)
NON_STEADY_HINT = "With --dummy-scans N exactly N are dropped."


def volumes_to_drop(
    path: str, participant: str, n_volumes: int, asked: int | None
) -> tuple[int | None, tuple[Note, ...]]:
    """Return how many volumes at the start are dropped, and what there is to say.

    Parameters
    ----------
    path : str
        The series, whose header was checked.
    participant : str
        Label, for the notes.
    n_volumes : int
        Of the whole series.
    asked : int or None
        What the user said, which is taken as it is; ``None``: those that are brighter than the
        steady state.

    Returns
    -------
    count : int or None
        ``None`` when too little would be left.
    notes : tuple of Note

    Raises
    ------
    InputDataError
        The first volumes cannot be read.
    """
    if asked is not None:
        return asked, ()
    count = count_non_steady(read_start(path, WINDOW))
    if n_volumes - count < MIN_VOLUMES:
        message = TOO_SHORT.format(
            path=path, n_volumes=n_volumes, dummies=count, least=MIN_VOLUMES
        )
        return None, (note_of(participant, "skipped", path, message),)
    if not count:
        return 0, ()
    message = NON_STEADY.format(path=path, count=count, n_volumes=n_volumes)
    return count, (note_of(participant, "info", path, message, NON_STEADY_HINT),)


def read_start(path: str | Path, n_volumes: int) -> NDArray[np.float32]:
    """Read the first volumes, (n_volumes, X, Y, Z); what is not finite is 0.

    Raises
    ------
    InputDataError
        The file ends early or is damaged.
    """
    import nibabel as nib

    try:
        image = nib.Nifti1Image.from_filename(path)
        data = np.asarray(image.dataobj[..., :n_volumes], dtype=np.float32)
    except DAMAGED as error:
        message = UNREADABLE.format(path=path, reason=reason_of(error))
        raise InputDataError(message, UNREADABLE_HINT) from error
    return np.nan_to_num(np.moveaxis(data, -1, 0), posinf=0.0, neginf=0.0)
