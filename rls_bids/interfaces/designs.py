"""Designs as the nodes of the group level read them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.interfaces.tables import load_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.numerics.exchangeability import Resamplings, Units
    from rls_bids.numerics.sizes import SizeKind
    from rls_bids.numerics.statistic import Statistic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupTest:
    """A design as arrays (see :class:`rls_bids.dataset.designs.Design`).

    ``matrix`` (n_rows, n_columns), ``contrasts`` (n_contrasts, n_columns), ``responses``
    (n_responses, n_sessions); ``labels`` and ``groups`` of the rows. The maps of the rows come in
    the order of rows, within each in that of sessions. ``combat`` is the column of sites over
    which tables are harmonised; empty without.
    """

    matrix: "NDArray[np.float64]"
    contrasts: "NDArray[np.float64]"
    responses: "NDArray[np.float64]"
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    compared: dict[str, float]
    mean_fd_mm: tuple[float, ...]
    units: "Units"
    assume: str
    size: "SizeKind"
    scale: float
    combat: str = ""

    @property
    def contrast(self) -> "NDArray[np.float64]":
        """The only contrast as a vector, several as they are."""
        return self.contrasts[0] if len(self.contrasts) == 1 else self.contrasts

    @property
    def sides(self) -> list[float] | None:
        """1 or -1 for rows of the groups that are compared, 0 for others; None without groups."""
        if not self.compared:
            return None
        weights = [self.compared.get(group, 0.0) for group in self.groups]
        return [float((weight > 0) - (weight < 0)) for weight in weights]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """The statistic and the resamplings of a test; ``told`` says in a sidecar what they are."""

    statistic: "Statistic"
    resamplings: "Resamplings"
    told: dict[str, Any]


def load_design(design_file: str, sidecar_file: str) -> GroupTest:
    """Read a design and its sidecar."""
    import numpy as np

    from rls_bids.numerics.exchangeability import Units

    told = json.loads(Path(sidecar_file).read_text(encoding="utf-8"))
    units = {
        name: told[key] or None
        for name, key in (
            ("pairs", "Pairs"),
            ("sites", "Sites"),
            ("variance_groups", "VarianceGroups"),
        )
    }
    return GroupTest(
        matrix=np.column_stack(list(load_table(design_file).values())).astype(float),
        contrasts=np.array(told["Weights"], dtype=float),
        responses=np.array(told["Responses"], dtype=float),
        labels=tuple(row.removeprefix("sub-") for row in told["Rows"]),
        groups=tuple(told["Groups"]),
        compared=dict(told["Compared"]),
        mean_fd_mm=tuple(told["MeanFd"]),
        units=Units(**units),
        assume=told["Assume"],
        size=told["EffectSize"],
        scale=told["EffectSizeScale"],
    )


def draw(
    test: GroupTest, n_permutations: int, random_seed: int, n_voxel_covariates: int = 0
) -> Drawn:
    """Find what may be exchanged, draw the resamplings, and say what they can show.

    Participants who differ by images only are told apart where these are covariates.
    """
    from rls_bids.numerics.exchangeability import choose_exchangeability, draw_resamplings
    from rls_bids.numerics.permutation import smallest_p
    from rls_bids.numerics.statistic import prepare_statistic
    from rls_bids.numerics.voxelwise import told_apart

    chosen = choose_exchangeability(test.matrix, test.contrast, test.units, test.assume)
    matrix = told_apart(test.matrix) if n_voxel_covariates else test.matrix
    drawn = draw_resamplings(chosen, matrix, n_permutations, random_seed)
    statistic = prepare_statistic(
        test.matrix,
        test.contrast,
        variance_groups=test.units.variance_groups,
        n_responses=len(test.responses),
        n_voxel_covariates=n_voxel_covariates,
    )
    told = {
        "Number": len(drawn.order),
        "Distinct": drawn.n_distinct if drawn.is_exhaustive else "more",
        "Exhaustive": drawn.is_exhaustive,
        "SmallestP": smallest_p(statistic, drawn),
        "Kind": chosen.kind,
        "Reason": chosen.reason,
        "Statistic": statistic.name,
        "Set": _set_of(test, drawn),
    }
    return Drawn(statistic=statistic, resamplings=drawn, told=told)


def _set_of(test: GroupTest, drawn: "Resamplings") -> str:
    """Return a short name for the resamplings; equal ones are in step and can be compared."""
    content = f"{test.labels}".encode() + drawn.order.tobytes() + drawn.sign.tobytes()
    return hashlib.sha256(content).hexdigest()[:8]
