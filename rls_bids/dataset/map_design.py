"""One comparison of the group level: what is compared, and its design."""

from dataclasses import dataclass
from typing import TypeAlias

from rls_bids.dataset.adjustments import Adjustment
from rls_bids.dataset.designs import Design
from rls_bids.records import Compared

Key: TypeAlias = tuple[str, str, str]
"""Denoising strategy, what is compared, and contrast."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapDesign:
    """One comparison with one denoising strategy.

    ``fingerprint`` changes with any map, with the design and with the contrast.
    """

    strategy: str
    task: str
    compared: Compared
    result: Design
    fingerprint: str
    adjustment: Adjustment | None = None

    @property
    def key(self) -> Key:
        """Strategy, what is compared, contrast: they tell the comparisons of one call apart."""
        return self.strategy, self.compared.name, self.result.label

    @property
    def entities(self) -> dict[str, str]:
        """Entities that all its results share, but the grid."""
        own = {"seed": self.compared.name} if self.compared.seeds else {}
        own |= {"seg": self.compared.atlas} if self.compared.atlas else {}
        return {
            "task": self.task,
            "denoise": self.strategy,
            **own,
            "meas": self.compared.measure,
            "contrast": self.result.label,
        }

    @property
    def size_mm(self) -> str:
        """Edge of the voxels of its maps, which are equally processed."""
        return self.result.inputs[0].size_mm
