"""Confounds with fMRIPrep's names and definitions.

Series are (n_volumes, n_voxels); a table is a dict from column name to (n_volumes,) array, in
column order, NaN where a value does not exist (the first row of differences).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.numerics.compcor import (
    Components,
    acompcor,
    cosine_basis,
    erode_mask,
    tissue_mask,
)

__all__ = [
    "Components",
    "acompcor",
    "assemble",
    "cosine_basis",
    "dvars",
    "erode_mask",
    "expand",
    "expand_motion",
    "fill_missing",
    "framewise_displacement",
    "outlier_columns",
    "temporal_snr",
    "tissue_mask",
]

VERSION = "1"  # of the components too

SIGNALS = ("csf", "white_matter", "global_signal")
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
EXPANSIONS = ("", "_derivative1", "_power2", "_derivative1_power2")
INTENSITY = 1000.0
IQR_PER_SD = 1.349
BLOCK_VOXELS = 16384

# Threshold of the probability, then how many voxels are peeled off the mask.
WHITE_MATTER_MASK = (0.9, 2)
CSF_MASK = (0.9, 1)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Table = dict[str, FloatArray]


def framewise_displacement(parameters: ArrayLike, radius_mm: float = 50.0) -> FloatArray:
    """Return framewise displacement after Power 2012.

    Parameters
    ----------
    parameters : (n_volumes, 6) array
        Three translations in mm, three rotations in radians.
    radius_mm : float
        Of the sphere on whose surface rotations are measured.

    Returns
    -------
    (n_volumes,) array
        Sum of the absolute differences, mm; the first is NaN.
        doi:10.1016/j.neuroimage.2011.10.018.

    Examples
    --------
    >>> framewise_displacement([[0, 0, 0, 0, 0, 0], [0.1, -0.2, 0, 0.01, 0, 0]]).round(3).tolist()
    [nan, 0.8]
    """
    values = np.asarray(parameters, dtype=float) * np.repeat([1.0, radius_mm], 3)
    return np.concatenate([[np.nan], np.abs(np.diff(values, axis=0)).sum(axis=1)])


def dvars(data: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """Return DVARS, standardised after Afyouni & Nichols 2018 and plain.

    The data are scaled to a median of 1000. Plain DVARS is the root mean square over voxels of
    the difference to the volume before. It is standardised by its expectation without artefacts:
    the mean over voxels of √(2(1 − ρ)) σ, with σ = interquartile range / 1.349 and ρ the
    autocorrelation at lag 1 (doi:10.1016/j.neuroimage.2017.12.098).

    Parameters
    ----------
    data : (n_volumes, n_voxels) array
        In the brain; voxels whose interquartile range is 0 are left out.

    Returns
    -------
    std_dvars, dvars : (n_volumes,) arrays
        The first value of each is NaN.
    """
    n_volumes = len(data)
    scale = INTENSITY / float(np.median(data))
    squares, expected, n_used = np.zeros(n_volumes - 1), 0.0, 0
    quartiles = [int(0.25 * (n_volumes - 1)), int(0.75 * (n_volumes - 1))]
    for start in range(0, data.shape[1], BLOCK_VOXELS):
        block = data[:, start : start + BLOCK_VOXELS].astype(np.float64) * scale
        ordered = np.partition(block, quartiles, axis=0)
        spread = (ordered[quartiles[1]] - ordered[quartiles[0]]) / IQR_PER_SD
        block, spread = block[:, spread > 0], spread[spread > 0]
        squares += (np.diff(block, axis=0) ** 2).sum(axis=1)
        block -= block.mean(axis=0)
        lag1 = (block[1:] * block[:-1]).sum(axis=0) / (block**2).sum(axis=0)
        expected += float((np.sqrt(2 * (1 - lag1)) * spread).sum())
        n_used += spread.size
    plain = np.full(n_volumes, np.nan)
    if n_used:
        plain[1:] = np.sqrt(squares / n_used)
    return plain / (expected / n_used if n_used else np.nan), plain


def temporal_snr(data: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the mean of each voxel over its standard deviation about a straight line.

    Parameters
    ----------
    data : (n_volumes, n_voxels) array

    Returns
    -------
    (n_voxels,) float32 array
        0 where the voxel is constant.
    """
    n_volumes = len(data)
    line = np.linspace(-1.0, 1.0, n_volumes)[:, None]
    line /= max(float(np.linalg.norm(line)), np.finfo(float).tiny)
    result = np.zeros(data.shape[1], dtype=np.float32)
    for start in range(0, data.shape[1], BLOCK_VOXELS):
        block = data[:, start : start + BLOCK_VOXELS].astype(np.float64)
        mean = block.mean(axis=0)
        block -= mean
        block -= line @ (line.T @ block)
        deviation = np.sqrt((block**2).sum(axis=0) / max(n_volumes - 2, 1))
        varies = deviation > 1e-7 * np.abs(mean)
        ratio = np.divide(mean, deviation, out=np.zeros_like(mean), where=varies)
        result[start : start + BLOCK_VOXELS] = ratio
    return result


def expand(name: str, values: FloatArray) -> Table:
    """Return a column with its backward difference and the squares of both, (n_volumes,) each."""
    difference = np.concatenate([[np.nan], np.diff(values)])
    expanded = (values, difference, values**2, difference**2)
    return {name + suffix: column for suffix, column in zip(EXPANSIONS, expanded, strict=True)}


def expand_motion(parameters: ArrayLike) -> Table:
    """Return the 24 motion columns: parameters, differences, and the squares of both.

    Friston 1996, doi:10.1002/mrm.1910350312, with differences in the place of shifted copies.

    Parameters
    ----------
    parameters : (n_volumes, 6) array
        mm and radians.

    Returns
    -------
    dict of (n_volumes,) arrays
        ``trans_x``, ``trans_x_derivative1``, ``trans_x_power2``, ``trans_x_derivative1_power2``,
        ``trans_y`` …; differences have NaN in the first row.
    """
    table: Table = {}
    for name, values in zip(MOTION, np.asarray(parameters, dtype=float).T, strict=True):
        table |= expand(name, values)
    return table


def assemble(
    series: NDArray[np.floating],
    mask: BoolArray,
    parameters: ArrayLike,
    *,
    white_matter: NDArray[np.floating],
    csf: NDArray[np.floating],
    repetition_time: float,
) -> tuple[Table, dict[str, dict[str, object]]]:
    """Return all confounds of one run, without the outlier columns.

    Parameters
    ----------
    series : (n_volumes, n_voxels) array
        Unsmoothed, in the voxels of ``mask`` (C order).
    mask : (X, Y, Z) bool array
        Brain.
    parameters : (n_volumes, 6) array
        Head motion in mm and radians.
    white_matter, csf : (X, Y, Z) arrays
        Probabilities on the grid of ``mask``.
    repetition_time : float
        Seconds.

    Returns
    -------
    table : dict of (n_volumes,) arrays
        Tissue and global signals with differences and squares, ``std_dvars``, ``dvars``,
        ``framewise_displacement``, ``c_comp_cor_*``, ``w_comp_cor_*``, ``cosine*``, motion.
    metadata : dict
        Of each component and cosine, with fMRIPrep's keys.
    """
    cosines = cosine_basis(len(series), repetition_time)
    table: Table = {}
    metadata: dict[str, dict[str, object]] = {}
    components: Table = {}
    for name, label, probability, (threshold, n_erosions) in (
        ("csf", "CSF", csf, CSF_MASK),
        ("white_matter", "WM", white_matter, WHITE_MATTER_MASK),
    ):
        chosen = tissue_mask(probability, threshold, n_erosions, within=mask)[mask]
        tissue = series[:, chosen]
        if tissue.shape[1]:
            table |= expand(name, tissue.mean(axis=1, dtype=float))
        columns, notes = _named_components(acompcor(tissue, cosines), label, int(chosen.sum()))
        components |= columns
        metadata |= notes
    table |= expand("global_signal", series.mean(axis=1, dtype=float))
    table["std_dvars"], table["dvars"] = dvars(series)
    table["framewise_displacement"] = framewise_displacement(parameters)
    table |= components
    for index, cosine in enumerate(cosines.T):
        table[f"cosine{index:02d}"] = cosine
        metadata[f"cosine{index:02d}"] = {"Method": "Cosine"}
    return table | expand_motion(parameters), metadata


def _named_components(
    found: Components, label: str, n_voxels: int
) -> tuple[Table, dict[str, dict[str, object]]]:
    """Return the components as columns, and what is known of each."""
    columns: Table = {}
    metadata: dict[str, dict[str, object]] = {}
    cumulative = np.cumsum(found.variance_explained)
    for index, values in enumerate(found.components.T):
        name = f"{label[0].lower()}_comp_cor_{index:02d}"
        columns[name] = values
        metadata[name] = {
            "Method": "aCompCor",
            "Mask": label,
            "NumberOfVoxels": n_voxels,
            "SingularValue": float(found.singular_values[index]),
            "VarianceExplained": float(found.variance_explained[index]),
            "CumulativeVarianceExplained": float(cumulative[index]),
            "Retained": True,
        }
    return columns, metadata


def outlier_columns(fd: ArrayLike, threshold_mm: float) -> Table:
    """Return one column a volume whose framewise displacement is above a threshold.

    Parameters
    ----------
    fd : (n_volumes,) array
        mm; NaN counts as still.
    threshold_mm : float
        0: none.

    Returns
    -------
    dict of (n_volumes,) arrays
        ``motion_outlier00`` …, each 1 at one volume and 0 elsewhere.

    Examples
    --------
    >>> {k: v.tolist() for k, v in outlier_columns([np.nan, 0.9, 0.1], 0.5).items()}
    {'motion_outlier00': [0.0, 1.0, 0.0]}
    """
    displacement = np.nan_to_num(np.asarray(fd, dtype=float), nan=0.0)
    found = np.flatnonzero(displacement > threshold_mm) if threshold_mm > 0 else np.zeros(0, int)
    width = max(2, len(str(max(found.size - 1, 0))))
    unit = np.eye(displacement.size)
    return {f"motion_outlier{i:0{width}d}": unit[volume] for i, volume in enumerate(found)}


def fill_missing(columns: ArrayLike) -> FloatArray:
    """Fill NaN at the start of columns with their first value, others with their mean.

    Differences do not exist in the first row; like nilearn, the second row stands in, which
    makes no step of its own.

    Parameters
    ----------
    columns : (n_volumes, k) array

    Returns
    -------
    (n_volumes, k) array
        A column of NaN only becomes 0.

    Examples
    --------
    >>> fill_missing([[np.nan], [3.0], [np.nan], [5.0]]).ravel().tolist()
    [3.0, 3.0, 4.0, 5.0]
    """
    filled = np.array(columns, dtype=float)
    for column in filled.T:
        present = np.flatnonzero(np.isfinite(column))
        if present.size == 0:
            column[:] = 0.0
            continue
        mean = column[present].mean()
        column[: present[0]] = column[present[0]]
        column[~np.isfinite(column)] = mean
    return filled
