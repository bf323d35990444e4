"""Confounds tables of other programs and of earlier versions, brought to the names of ours.

A table is a dict from column name to (n_volumes,) array. fMRIPrep has renamed its columns twice;
components of white matter and CSF stood among others under one name, told apart by the table's
JSON file alone; differences and squares were not always written.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from rls_bids.numerics.confounds import (
    EXPANSIONS,
    MOTION,
    SIGNALS,
    Table,
    expand,
    framewise_displacement,
)

VERSION = "1"

DISPLACEMENT = "framewise_displacement"
MARK = "non_steady_state_outlier"

# Up to fMRIPrep 1.1 in camel case; then, up to 20, as today but with other components.
_EARLY: Mapping[str, str] = MappingProxyType(
    {
        "CSF": "csf",
        "WhiteMatter": "white_matter",
        "GlobalSignal": "global_signal",
        "stdDVARS": "std_dvars",
        "non-stdDVARS": "dvars",
        "FramewiseDisplacement": DISPLACEMENT,
        **{axis.upper(): f"trans_{axis}" for axis in "xyz"},
        **{f"Rot{axis.upper()}": f"rot_{axis}" for axis in "xyz"},
    }
)
_EARLY_NUMBERED: Mapping[str, str] = MappingProxyType(
    {"aCompCor": "a_comp_cor_", "Cosine": "cosine", "NonSteadyStateOutlier": MARK}
)
_KEPT = re.compile(r"[cw]_comp_cor_\d+|cosine\d+")
_PLAIN = ("std_dvars", "dvars", DISPLACEMENT)
_TISSUES: Mapping[str, str] = MappingProxyType({"CSF": "c", "WM": "w"})


def present_name(name: str) -> str:
    """Return what a column is called today.

    Examples
    --------
    >>> [present_name(name) for name in ("RotX", "Cosine01", "csf", "NonSteadyStateOutlier00")]
    ['rot_x', 'cosine01', 'csf', 'non_steady_state_outlier00']
    """
    stem = name.rstrip("0123456789")
    if stem in _EARLY_NUMBERED:
        return _EARLY_NUMBERED[stem] + name[len(stem) :]
    return _EARLY.get(name, name)


def component_names(names: Iterable[str], metadata: Mapping[str, Any]) -> dict[str, str]:
    """Tell which columns are the components of CSF and white matter.

    Parameters
    ----------
    names : iterable of str
        Columns of the table, as they are called today.
    metadata : mapping
        The table's JSON file: of ``a_comp_cor_*`` columns the ``Mask`` they come from.

    Returns
    -------
    dict
        ``c_comp_cor_00`` … → column; empty where nothing tells.

    Examples
    --------
    >>> told = {"a_comp_cor_07": {"Mask": "CSF"}, "a_comp_cor_08": {"Mask": "WM"}}
    >>> component_names(["a_comp_cor_00", "a_comp_cor_07", "a_comp_cor_08"], told)
    {'c_comp_cor_00': 'a_comp_cor_07', 'w_comp_cor_00': 'a_comp_cor_08'}
    """
    listed = list(names)
    found: dict[str, str] = {}
    for mask, letter in _TISSUES.items():
        own = [name for name in listed if name.startswith(f"{letter}_comp_cor_")]
        if own:
            found |= {name: name for name in own}
            continue
        told = [
            name
            for name in sorted(listed, key=lambda name: (len(name), name))
            if name.startswith("a_comp_cor_") and metadata.get(name, {}).get("Mask") == mask
        ]
        found |= {f"{letter}_comp_cor_{index:02d}": name for index, name in enumerate(told)}
    return found


def translate(table: Table, metadata: Mapping[str, Any]) -> Table:
    """Return the columns that we know under their present names, completed.

    Differences and squares that are missing are computed, and so is framewise displacement where
    there are motion parameters. The first row of every difference is NaN. Columns for which we
    have no use (temporal CompCor, AROMA, outliers by other thresholds) are left out.

    Parameters
    ----------
    table : dict of (n_volumes,) arrays
    metadata : mapping
        The table's JSON file; empty without one.
    """
    present = {present_name(name): column for name, column in table.items()}
    components = component_names(present, metadata)
    present |= {ours: present[theirs] for ours, theirs in components.items()}
    result: Table = {}
    for name in SIGNALS:
        if name in present:
            result |= _expanded(name, present)
    result |= {name: np.array(present[name]) for name in _PLAIN if name in present}
    result |= {name: present[name] for name in sorted(present) if _KEPT.fullmatch(name)}
    for name in MOTION:
        if name in present:
            result |= _expanded(name, present)
    if DISPLACEMENT not in result and set(MOTION) <= result.keys():
        motion = np.column_stack([result[name] for name in MOTION])
        result[DISPLACEMENT] = framewise_displacement(motion)
    return without_first_differences(result)


def _expanded(name: str, present: Table) -> Table:
    """Return a column with its difference and squares: as the table has them, else computed."""
    computed = expand(name, present[name])
    return {
        each: np.array(present.get(each, column), dtype=float) for each, column in computed.items()
    }


def is_difference(name: str) -> bool:
    """Whether a column compares each volume with the one before."""
    return name in _PLAIN or EXPANSIONS[1] in name


def without_first_differences(table: Table) -> Table:
    """Return the table with NaN in the first row of every difference: there is none before."""
    for name, column in table.items():
        if is_difference(name):
            column[:1] = np.nan
    return table


def drop_start(table: Table, n_dropped: int) -> Table:
    """Return the table without its first rows; differences to a dropped volume become NaN."""
    return without_first_differences(
        {name: np.array(column[n_dropped:], dtype=float) for name, column in table.items()}
    )


def count_marked(table: Table) -> int:
    """Count the volumes at the start that a table marks as not in steady state.

    Returns
    -------
    int
        −1 when the marked volumes are not those at the start.

    Examples
    --------
    >>> count_marked({"NonSteadyStateOutlier00": np.array([1.0, 0.0, 0.0])})
    1
    """
    marks = [column for name, column in table.items() if present_name(name).startswith(MARK)]
    if not marks:
        return 0
    marked = np.any(np.nan_to_num(np.array(marks)) != 0, axis=0)
    n_marked = int(marked.sum())
    return n_marked if bool(marked[:n_marked].all()) else -1


def not_finite(table: Table, names: Iterable[str], n_dropped: int) -> list[str]:
    """Return which columns hold NaN or infinity where a number is needed."""
    rows = {name: table[name][n_dropped + is_difference(name) :] for name in names}
    return [name for name, column in rows.items() if not np.isfinite(column).all()]
