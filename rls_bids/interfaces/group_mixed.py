"""Estimates from all sessions there are, beside a test of those who have them all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.dataset.description import read_json
from rls_bids.errors import InputDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIXED_COLUMNS: Mapping[str, dict[str, Any]] = {
    "mixed_effect": {"Description": "Effect from all sessions there are (mixed model)."},
    "mixed_ciLower": {"Description": "Lower 95 % confidence limit of it."},
    "mixed_ciUpper": {"Description": "Upper 95 % confidence limit of it."},
    "mixed_t": {"Description": "t of it."},
    "mixed_p": {"Description": "Two-sided p of it, approximate and not corrected."},
    "mixed_n": {"Description": "Participants with a value in at least one session."},
    "mixed_method": {
        "Description": "How it was estimated.",
        "Levels": {
            "REML": "mixed model with a random constant a participant",
            "within participants": "least squares with a constant for each participant, as a "
            "variance was at its boundary",
            "participant means": "least squares on the participants' means, for the same reason",
            "rows": "least squares on all sessions, for the same reason",
        },
    },
}
TOLD = (
    "Columns mixed_* are estimates from the {n} participants with at least one of the sessions, "
    "{more} of them without all; their p is approximate. All others, p from resampling included, "
    "are of those with all sessions."
)
NO_ESTIMATE = "There are no estimates from a mixed model: {reason}"


def mixed_columns(
    sidecar_file: str, columns: "Mapping[str, NDArray[Any]]", names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Estimate the contrast of a design in every column from all maps that are there.

    Parameters
    ----------
    sidecar_file : str
        Of the design; without sessions there is nothing to do.
    columns : mapping of str to (n_maps,) array
        A table of values with participants and sessions.
    names : sequence of str
        The columns with values.

    Returns
    -------
    columns, told
        :data:`MIXED_COLUMNS`, and what the sidecar says of them.
    """
    import numpy as np

    from rls_bids.numerics.mixed import fit_mixed

    sidecar = read_json(Path(sidecar_file))
    about = sidecar.get("Mixed")
    if not about:
        return {}, {}
    who = list(zip(about["Rows"], about["Sessions"], strict=True))
    known = _rows(columns)
    values = np.full((len(who), len(names)), np.nan)
    for number, key in enumerate(who):
        if key in known:
            values[number] = [float(columns[name][known[key]]) for name in names]
    try:
        found = fit_mixed(values, about["Design"], about["Weights"], about["Rows"])
    except InputDataError as error:
        return {}, {"MixedModel": NO_ESTIMATE.format(reason=error.message)}
    n = len({participant for participant, _ in who})
    told = TOLD.format(n=n, more=n - len(sidecar["Rows"]))
    return {
        "mixed_effect": found.effect,
        "mixed_ciLower": found.lower,
        "mixed_ciUpper": found.upper,
        "mixed_t": found.t,
        "mixed_p": found.p,
        "mixed_n": found.n_participants,
        "mixed_method": np.array([one or None for one in found.method], dtype=object),
    }, {"MixedModel": told}


def _rows(columns: "Mapping[str, NDArray[Any]]") -> dict[tuple[str, str], int]:
    """Return the row of each participant and session of a table of values."""
    sessions = [one if isinstance(one, str) else "n/a" for one in columns["session"]]
    people = [str(one) for one in columns["participant_id"]]
    return {key: row for row, key in enumerate(zip(people, sessions, strict=True))}
