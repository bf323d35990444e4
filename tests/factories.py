"""Tiny BIDS data sets from a dictionary, for tests that run nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

BOLD_SHAPE = (4, 5, 6, 20)
"""Small enough for thousands of files; all axes differ, so that a swap is noticed."""
REPETITION_TIME = 2.0


def write_nifti(
    path: Path,
    data: np.ndarray,
    *,
    affine: np.ndarray | None = None,
    repetition_time: float | None = None,
    time_unit: str = "sec",
) -> Path:
    """Write an image with sform and qform set, and the repetition time in the given unit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-3.0, 3.0, 3.0, 1.0]) if affine is None else affine
    image = nib.Nifti1Image(data, affine)
    image.header.set_sform(affine, code=1)
    image.header.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", time_unit)
    if data.ndim == 4 and repetition_time is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], repetition_time))
    nib.save(image, path)
    return path


def bold_array(shape: Sequence[int] = BOLD_SHAPE, seed: int = 0) -> np.ndarray:
    """Return a noisy series (X, Y, Z, n_volumes)."""
    return np.random.default_rng(seed).normal(1000, 10, shape).astype(np.float32)


def write_bold(
    folder: Path, stem: str, metadata: Mapping[str, Any] | None = None, **kwargs: Any
) -> Path:
    """Write ``<stem>_bold.nii.gz`` and its sidecar; a metadata value of ``None`` removes a key."""
    metadata = {"RepetitionTime": REPETITION_TIME, "TaskName": "rest", **(metadata or {})}
    data = kwargs.pop("data", None)
    kwargs.setdefault("repetition_time", REPETITION_TIME)
    path = folder / f"{stem}_bold.nii.gz"
    write_nifti(path, bold_array() if data is None else data, **kwargs)
    kept = {key: value for key, value in metadata.items() if value is not None}
    (folder / f"{stem}_bold.json").write_text(json.dumps(kept), encoding="utf-8")
    return path


def write_t1w(folder: Path, stem: str) -> Path:
    """Write ``<stem>_T1w.nii.gz``."""
    data = np.random.default_rng(1).normal(500, 50, (5, 6, 7)).astype(np.float32)
    return write_nifti(folder / f"{stem}_T1w.nii.gz", data)


def write_dataset(
    root: Path,
    participants: Mapping[str, Mapping[str | None, Mapping[str, Any]]],
    table: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write a raw data set and return its root.

    Parameters
    ----------
    root : Path
        Made when missing.
    participants : mapping
        ``{label: {session or None: {"t1w": ["", "acq-hi"], "bold": ["task-rest_run-1"],
        "metadata": {"SliceTiming": …}, "fmap": {"phasediff": {"EchoTime1": …}}}}}``. Without
        ``t1w`` one plain T1w image is written, without ``bold`` one run of the task ``rest``;
        empty lists write none.
    table : sequence of mappings
        Rows of participants.tsv, each with ``participant_id``; none: no such file.
    """
    root.mkdir(parents=True, exist_ok=True)
    content = {"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(content), encoding="utf-8")
    (root / "README").write_text("A tiny data set for tests.\n", encoding="utf-8")
    for label, sessions in participants.items():
        for session, wanted in sessions.items():
            stem = f"sub-{label}" + (f"_ses-{session}" if session else "")
            folder = root / stem.replace("_", "/")
            for name in wanted.get("t1w", [""]):
                write_t1w(folder / "anat", "_".join(filter(None, (stem, name))))
            for name in wanted.get("bold", ["task-rest"]):
                write_bold(folder / "func", f"{stem}_{name}", wanted.get("metadata"))
            for name, metadata in wanted.get("fmap", {}).items():
                image = folder / "fmap" / f"{stem}_{name}.nii.gz"
                write_nifti(image, bold_array(BOLD_SHAPE[:3]))
                image.with_name(f"{stem}_{name}.json").write_text(json.dumps(metadata))
    if table:
        write_participants(root, table)
    return root


def write_participants(root: Path, table: Sequence[Mapping[str, Any]]) -> Path:
    """Write participants.tsv; ``None`` is written ``n/a``."""
    columns = list(dict.fromkeys(key for row in table for key in row))
    lines = ["\t".join(columns)]
    for row in table:
        values = (row.get(column) for column in columns)
        lines.append("\t".join("n/a" if value is None else str(value) for value in values))
    path = root / "participants.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_filter(folder: Path, content: object) -> str:
    """Write a filter file and return its path."""
    path = folder / "filter.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)
