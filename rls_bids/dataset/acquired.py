"""How large the voxels of a BOLD series were when it was acquired."""

from collections.abc import Iterable, Sequence

import numpy as np

from rls_bids.dataset.checks import Header, read_header
from rls_bids.dataset.derivatives import files_of, run_key
from rls_bids.dataset.filters import IMAGES, BidsFile, Query, select
from rls_bids.errors import InputDataError

UNKNOWN_SIZE = (
    "{path}: the voxel size of the acquisition is not known, because neither {bids_dir} has the "
    "raw series nor the data set an image of it outside standard space."
)
UNKNOWN_SIZE_HINT = "Give the raw data set as BIDS_DIR, or choose res-1 or res-2."


def longest_edge(header: Header) -> float:
    """Return the longest edge of a voxel in mm."""
    return round(float(np.linalg.norm(np.array(header.affine)[:3, :3], axis=0).max()), 4)


def acquired_size(
    bold: BidsFile, label: str, files: Sequence[BidsFile], bids_dir: str
) -> float | None:
    """Find the voxel size of the acquisition behind a preprocessed series.

    That of the raw series counts, else that of an image that the program left in the space of the
    BOLD series or of the T1w image, else that of the series itself if its name has no ``res-``:
    then the program kept the acquired size.

    Parameters
    ----------
    bold : BidsFile
        The preprocessed series.
    label : str
        The participant.
    files : sequence of BidsFile
        The participant's files in the data set of the series.
    bids_dir : str
        Where the raw series may be.

    Returns
    -------
    float or None
        Longest edge (mm); ``None`` where nothing tells it.
    """
    wanted: Query = {"suffix": ("bold",), "extension": IMAGES}
    raw = [one for one in files_of(bids_dir, label) if "desc" not in one.entities]
    kept = wanted | {"suffix": ("boldref", "bold"), "space": (None, "T1w"), "res": (None,)}
    own = [bold] if "res" not in bold.entities else []
    candidates = [*select(raw, wanted), *select(files, kept), *own]
    return _first_size(one.path for one in candidates if run_key(one) == run_key(bold))


def _first_size(paths: Iterable[str]) -> float | None:
    """Return the size told by the first header that can be read."""
    for path in paths:
        try:
            return longest_edge(read_header(path))
        except InputDataError:
            continue
    return None
