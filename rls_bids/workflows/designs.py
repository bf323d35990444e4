"""What every comparison of the group level hands to its nodes."""

from pathlib import Path

from rls_bids.dataset import naming
from rls_bids.dataset.designs import Design
from rls_bids.dataset.group import MapDesign, design_path
from rls_bids.workflows.stages import Place


def design_files(design: MapDesign, model: str, place: Place) -> dict[str, str]:
    """Return the inputs by which a node reads its design."""
    path = design_path(design, model)
    root = Path(place.output_dir)
    return {"design_file": str(root / path), "sidecar_file": str(root / naming.sidecar(path))}


def count_words(result: Design) -> str:
    """Return how many participants there are, by group: ``RLS 8, HC 7``."""
    if not result.groups:
        return f"n = {len(result.design)}"
    return ", ".join(f"{name} {n}" for name, n in result.counts.items())
