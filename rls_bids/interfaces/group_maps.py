"""Participants' maps as one array on disk, however many there are, and which voxels are tested."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.errors import InputDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OTHER_GRID = "{path} is not on the grid of {first}."
OTHER_GRID_HINT = "Run the participant level again with the same --output-spaces."
NOTHING_SHARED = "No voxel has a value in all {n} maps, {first} among them."
BAD_NUMBER = "There are {found} maps; expected {n_sessions} for each of {n_rows} participants."
MOST_LOSSES = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """What the participants of a design have.

    ``data`` (n_rows, n_responses, n_voxels) float32 is a memory map over the voxels of ``mask``,
    those where everybody has a value. ``coverage`` (X, Y, Z) counts who has one; ``lost`` are the
    numbers of voxels that only this participant lacks, of those who lack some, most first.
    """

    data: "NDArray[np.float32]"
    mask: "NDArray[np.bool_]"
    affine: "NDArray[np.float64]"
    coverage: "NDArray[np.int32]"
    lost: dict[str, int]


def read_rows(
    paths: Sequence[str],
    responses: "NDArray[np.float64]",
    labels: Sequence[str],
    folder: Path,
) -> Rows:
    """Read maps one by one; in participants' maps 0 is outside the field of view.

    Parameters
    ----------
    paths : sequence of str
        All sessions of the first participant, then of the second.
    responses : (n_responses, n_sessions) array
        How the maps of a participant become what is tested.
    labels : sequence of str
        Of the participants.
    folder : Path
        Where the array is kept; the caller removes it.

    Raises
    ------
    InputDataError
        Maps on different grids, a map that cannot be read, or no voxel that all have.
    """
    import numpy as np

    n_responses, n_sessions = responses.shape
    if len(paths) != len(labels) * n_sessions:
        told = {"found": len(paths), "n_sessions": n_sessions, "n_rows": len(labels)}
        raise ValueError(BAD_NUMBER.format(**told))
    first = _load(paths[0], None)
    inside = first.data != 0  # who is tested has a value in the first map, too
    shape = (len(labels), n_responses, int(inside.sum()))
    wide = np.lib.format.open_memmap(folder / "wide.npy", mode="w+", dtype=np.float32, shape=shape)
    coverage = np.zeros(inside.shape, dtype=np.int32)
    gaps = []
    for row in range(len(labels)):
        values = np.zeros(shape[1:])
        has = np.ones(inside.shape, dtype=bool)
        for session in range(n_sessions):
            data = _load(paths[row * n_sessions + session], (paths[0], first)).data
            has &= data != 0
            values += responses[:, session, None] * data[inside]
        wide[row] = values
        coverage += has
        gaps.append(np.packbits(~has))
    mask = coverage == len(labels)
    if not mask.any():
        raise InputDataError(NOTHING_SHARED.format(n=len(paths), first=paths[0]))
    alone = np.packbits(coverage == len(labels) - 1)
    numbers = [int(np.bitwise_count(gap & alone).sum()) for gap in gaps]
    data = _compact(wide, mask[inside], folder)
    (folder / "wide.npy").unlink()
    order = sorted(range(len(labels)), key=lambda row: -numbers[row])
    lost = {labels[row]: numbers[row] for row in order[:MOST_LOSSES] if numbers[row]}
    return Rows(data=data, mask=mask, affine=first.affine, coverage=coverage, lost=lost)


def _compact(
    wide: "NDArray[np.float32]", keep: "NDArray[np.bool_]", folder: Path
) -> "NDArray[np.float32]":
    """Copy the columns that are kept, a participant at a time."""
    import numpy as np

    shape = (*wide.shape[:2], int(keep.sum()))
    data: NDArray[np.float32] = np.lib.format.open_memmap(
        folder / "rows.npy", mode="w+", dtype=np.float32, shape=shape
    )
    for row, values in enumerate(wide):
        data[row] = values[:, keep]
    return data


def read_voxels(
    paths: Sequence[str], responses: "NDArray[np.float64]", where: "NDArray[np.bool_]"
) -> "NDArray[np.float32]":
    """Return what participants have in some voxels, (n_rows, n_responses, n_voxels)."""
    import numpy as np

    from rls_bids.interfaces.images import load_volume

    n_responses, n_sessions = responses.shape
    shape = (len(paths) // n_sessions, n_responses, int(where.sum()))
    found = np.zeros(shape, dtype=np.float32)
    for number, path in enumerate(paths):
        row, session = divmod(number, n_sessions)
        found[row] += responses[:, session, None] * load_volume(path).data[where]
    return found


def _load(path: str, first: tuple[str, Any] | None) -> Any:
    """Load a map, on the grid of the first one."""
    import numpy as np

    from rls_bids.interfaces.images import load_volume

    volume = load_volume(path)
    if first is not None:
        name, other = first
        is_same = volume.data.shape == other.data.shape
        if not is_same or not np.allclose(volume.affine, other.affine, atol=1e-3):
            raise InputDataError(OTHER_GRID.format(path=path, first=name), OTHER_GRID_HINT)
    return volume
