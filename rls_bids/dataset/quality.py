"""The quality of the runs behind a group model, as numbers that can be compared."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from rls_bids.dataset import naming
from rls_bids.records import GroupInput

LARGEST = ("max_fd",)
WEIGHT = "minutes_kept"
SUMMED = (WEIGHT,)


def quality_columns(root: Path, inputs: Sequence[GroupInput], task: str) -> dict[str, list[float]]:
    """Return the numbers of the quality tables of each input, over the runs of its session.

    Parameters
    ----------
    root : Path
        The output directory.
    inputs : sequence of GroupInput
        Whose participants and sessions are wanted.
    task : str

    Returns
    -------
    dict
        Name of a column → one number an input, NaN where a session has no such number. Numbers
        are averaged over runs by the time kept, minutes are summed, of maxima the largest counts.
        Columns without any number are left out.
    """
    sessions = [_of_session(root, one, task) for one in inputs]
    names = dict.fromkeys(name for session in sessions for name in session)
    columns = {name: [session.get(name, math.nan) for session in sessions] for name in names}
    return {name: values for name, values in columns.items() if not all(map(math.isnan, values))}


def _of_session(root: Path, one: GroupInput, task: str) -> dict[str, float]:
    folder = Path(root, f"sub-{naming.camel_label(one.participant)}")
    folder = folder / f"ses-{naming.camel_label(one.session)}" if one.session else folder
    runs = [
        _numbers(path)
        for path in sorted((folder / "func").glob("*_quality.tsv"))
        if dict(naming.parse(path.relative_to(root).as_posix()).entities).get("task") == task
    ]
    return {name: _combine(name, runs) for run in runs[:1] for name in run}


def _numbers(path: Path) -> dict[str, float]:
    with path.open(encoding="utf-8", newline="") as stream:
        row = next(csv.DictReader(stream, delimiter="\t"), {})
    return {name: math.nan if text in ("n/a", "") else float(text) for name, text in row.items()}


def _combine(name: str, runs: Sequence[dict[str, float]]) -> float:
    pairs = [(run.get(name, math.nan), run.get(WEIGHT, math.nan)) for run in runs]
    known = [(value, weight) for value, weight in pairs if not math.isnan(value)]
    if not known:
        return math.nan
    if name in LARGEST:
        return max(value for value, _ in known)
    if name in SUMMED:
        return sum(value for value, _ in known)
    weights = [weight for _, weight in known]
    if not sum(weights) > 0:  # nothing is known of the time, or nothing was kept
        return sum(value for value, _ in known) / len(known)
    return sum(value * weight for value, weight in known) / sum(weights)
