"""Tiny trees as fMRIPrep leaves them, in the layouts of several of its versions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rls_bids.numerics.confounds import MOTION
from tests.factories import BOLD_SHAPE, REPETITION_TIME, bold_array, write_nifti

SPACE = "MNI152NLin2009cAsym"
STD = f"space-{SPACE}_res-2"


@dataclass(frozen=True)
class Layout:
    """Names, components and description of one version; ``{}`` is the run."""

    bold: str
    mask: str
    table: str
    columns: str
    description: Mapping[str, Any]


def by_fmriprep(version: str) -> dict[str, Any]:
    """Return how versions since 20.2 tell who they are."""
    return {"GeneratedBy": [{"Name": "fMRIPrep", "Version": version}]}


LAYOUTS = {
    "25.2.0": Layout(
        f"{{}}_{STD}_desc-preproc_bold.nii.gz",
        f"{{}}_{STD}_desc-brain_mask.nii.gz",
        "{}_desc-confounds_timeseries.tsv",
        "present",
        by_fmriprep("25.2.0"),
    ),
    "20.2.7": Layout(
        f"{{}}_space-{SPACE}_desc-preproc_bold.nii.gz",
        f"{{}}_space-{SPACE}_desc-brain_mask.nii.gz",
        "{}_desc-confounds_timeseries.tsv",
        "told by the sidecar",
        by_fmriprep("20.2.7"),
    ),
    "1.5.0": Layout(
        f"{{}}_space-{SPACE}_desc-preproc_bold.nii.gz",
        f"{{}}_space-{SPACE}_desc-brain_mask.nii.gz",
        "{}_desc-confounds_regressors.tsv",
        "told by the sidecar",
        {"PipelineDescription": {"Name": "fMRIPrep", "Version": "1.5.0"}},
    ),
    "1.0.0": Layout(
        f"{{}}_bold_space-{SPACE}_preproc.nii.gz",
        f"{{}}_bold_space-{SPACE}_brainmask.nii.gz",
        "{}_bold_confounds.tsv",
        "early",
        {},
    ),
}


def confounds_columns(kind: str, n_rows: int = BOLD_SHAPE[3]) -> dict[str, np.ndarray]:
    """Return a table as one of the layouts has it."""
    rng = np.random.default_rng(3)
    names = [*MOTION, "csf", "white_matter", "global_signal", "framewise_displacement", "cosine00"]
    names += [f"a_comp_cor_{index:02d}" for index in range(16)]
    if kind == "present":
        names += [f"{tissue}_comp_cor_{index:02d}" for tissue in "cw" for index in range(5)]
    if kind == "early":
        names = ["CSF", "WhiteMatter", "GlobalSignal", "FramewiseDisplacement", "Cosine00"]
        names += [*"XYZ", "RotX", "RotY", "RotZ", *(f"aCompCor{i:02d}" for i in range(6))]
    return {name: np.abs(rng.normal(size=n_rows)) * 0.1 for name in names}


def component_notes() -> dict[str, dict[str, Any]]:
    """Return the JSON file of a table whose components share one name."""
    masks = ["combined"] * 6 + ["CSF"] * 5 + ["WM"] * 5
    return {
        f"a_comp_cor_{index:02d}": {"Method": "aCompCor", "Mask": mask}
        for index, mask in enumerate(masks)
    }


def write_table(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Write a table with ``n/a`` for NaN."""
    lines = ["\t".join(columns)]
    lines += [
        "\t".join("n/a" if np.isnan(value) else f"{value:.8g}" for value in row)
        for row in zip(*columns.values(), strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_prepared(
    root: Path,
    version: str = "25.2.0",
    runs: Sequence[str] = ("sub-01_task-rest",),
    *,
    metadata: Mapping[str, Any] | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    **image: Any,
) -> Path:
    """Write a derivative data set with the given runs and return its root."""
    layout = LAYOUTS[version]
    root.mkdir(parents=True, exist_ok=True)
    if layout.description:
        content = {"Name": "fMRIPrep", "DatasetType": "derivative", **layout.description}
        (root / "dataset_description.json").write_text(json.dumps(content), encoding="utf-8")
    told = {"RepetitionTime": REPETITION_TIME} if metadata is None else metadata
    image = {"repetition_time": REPETITION_TIME, **image}
    for run in runs:
        session = next((part for part in run.split("_") if part.startswith("ses-")), "")
        func = root / run.split("_")[0] / session / "func"
        bold = write_nifti(func / layout.bold.format(run), bold_array(), **image)
        if told:
            stem = str(bold).removesuffix(".nii.gz")
            Path(f"{stem}.json").write_text(json.dumps(told), encoding="utf-8")
        mask = np.ones(BOLD_SHAPE[:3], np.uint8)
        write_nifti(func / layout.mask.format(run), mask, affine=image.get("affine"))
        table = func / layout.table.format(run)
        write_table(table, columns or confounds_columns(layout.columns))
        if layout.columns == "told by the sidecar":
            table.with_suffix(".json").write_text(json.dumps(component_notes()), encoding="utf-8")
    return root
