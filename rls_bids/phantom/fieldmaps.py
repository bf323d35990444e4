"""The maps of the field that a data set holds: phases, a map in Hz, or opposed EPI images."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rls_bids.phantom.bold import Geometry, on_bold_grid, resting_head
from rls_bids.phantom.cohort import write_json
from rls_bids.phantom.distortion import (
    ECHO_SPACING_S,
    ECHO_TIMES_S,
    OPPOSITE,
    direction,
    encoding,
    field_hz,
    phase_images,
)
from rls_bids.phantom.head import EPI_TISSUES, HeadModel
from rls_bids.phantom.images import save_image
from rls_bids.phantom.space import Floats32, Warp
from rls_bids.phantom.spec import Plan

IDENTIFIER = "field"


def readout(plan: Plan, n_lines: int, towards: str) -> dict[str, object]:
    """Metadata of an EPI that say how it is distorted."""
    return {
        "PhaseEncodingDirection": direction(plan.spec.bold_orientation, towards),
        "EffectiveEchoSpacing": ECHO_SPACING_S,
        "TotalReadoutTime": round(ECHO_SPACING_S * (n_lines - 1), 9),
    }


def write_fieldmaps(
    stem: Path,
    plan: Plan,
    model: HeadModel,
    warp: Warp,
    geometry: Geometry,
    rng: np.random.Generator,
) -> Floats32:
    """Write what the specification asks for; returns the field (Hz) on the BOLD grid.

    Parameters
    ----------
    stem : Path
        Folder and beginning of the file names.
    """
    still = resting_head(plan, model, warp, geometry, None)
    magnitude = on_bold_grid(still.signal, still.factor, geometry.shape)
    field = on_bold_grid(
        field_hz(still.points, model.from_standard, plan.spec.distortion),
        still.factor,
        geometry.shape,
    )
    noise = float(EPI_TISSUES[0] / plan.spec.tsnr)
    if plan.spec.fieldmap == "opposed":
        _write_opposed(stem, plan, model, warp, geometry, noise, rng)
    elif plan.spec.fieldmap != "none":
        _write_echoes(stem, plan, geometry, magnitude, field, noise, rng)
    return field


def _save(
    stem: Path,
    name: str,
    plan: Plan,
    geometry: Geometry,
    data: NDArray[Any],
    metadata: dict[str, object],
) -> None:
    path = stem.with_name(f"{stem.name}_{name}.nii.gz")
    save_image(path, data, geometry.affine, codes=plan.spec.bold_orientation)
    write_json(path.with_name(f"{stem.name}_{name}.json"), metadata)


def _noisy(image: Floats32, noise: float, rng: np.random.Generator) -> NDArray[np.int16]:
    parts = rng.standard_normal((2, *image.shape), dtype=np.float32) * np.float32(noise)
    return np.asarray(np.rint(np.hypot(image + parts[0], parts[1])), np.int16)


def _write_echoes(
    stem: Path,
    plan: Plan,
    geometry: Geometry,
    magnitude: Floats32,
    field: Floats32,
    noise: float,
    rng: np.random.Generator,
) -> None:
    """Write the images of a double gradient echo, or the map that a scanner makes of them."""
    own: dict[str, object] = {"B0FieldIdentifier": IDENTIFIER}
    kind = plan.spec.fieldmap
    first, second, difference = phase_images(field, magnitude, rng, noise)
    if kind == "fieldmap":
        _save(stem, "magnitude", plan, geometry, _noisy(magnitude, noise, rng), own)
        _save(stem, "fieldmap", plan, geometry, field, own | {"Units": "Hz"})
        return
    times = {f"EchoTime{number}": time for number, time in enumerate(ECHO_TIMES_S, start=1)}
    for number, time in enumerate(ECHO_TIMES_S, start=1):
        echo = own | {"EchoTime": time}
        image = _noisy(magnitude, noise, rng)
        _save(stem, f"magnitude{number}", plan, geometry, image, echo)
        if kind == "phases":
            phase = (first, second)[number - 1]
            _save(stem, f"phase{number}", plan, geometry, phase, echo)
    if kind == "phasediff":
        _save(stem, "phasediff", plan, geometry, difference, own | times)


def _write_opposed(
    stem: Path,
    plan: Plan,
    model: HeadModel,
    warp: Warp,
    geometry: Geometry,
    noise: float,
    rng: np.random.Generator,
) -> None:
    """Write one EPI volume encoded like BOLD and one encoded the other way."""
    here = plan.spec.phase_encoding
    for towards in (here, OPPOSITE[here]):
        encoded = encoding(plan, geometry.shape, towards)
        head = resting_head(plan, model, warp, geometry, encoded)
        image = on_bold_grid(head.signal, head.factor, geometry.shape)
        metadata = readout(plan, geometry.shape[encoded.axis], towards)
        metadata["B0FieldIdentifier"] = IDENTIFIER
        label = f"dir-{OPPOSITE[towards]}{towards}_epi"
        _save(stem, label, plan, geometry, _noisy(image, noise, rng), metadata)
