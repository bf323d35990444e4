"""Comparisons of numbers: means of maps over regions, and the quality of the data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rls_bids.dataset.description import fingerprint
from rls_bids.dataset.designs import Design
from rls_bids.dataset.incomplete import without_columns
from rls_bids.dataset.map_design import Key, MapDesign
from rls_bids.dataset.model import MEASURED, TOLERANCE, Model
from rls_bids.dataset.quality import quality_columns
from rls_bids.records import Compared

REGIONS, QUALITY = "regions", "quality"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValueDesign:
    """A table that is compared: ``what`` is ``regions`` of the design's maps, or ``quality``.

    ``columns`` are the numbers of a table that is known already, one an input of the design;
    ``bound`` is that of equivalence, 0 for none.
    """

    what: str
    design: MapDesign
    regions: tuple[str, ...] = ()
    columns: Mapping[str, Sequence[float]] | None = None
    bound: float = 0.0

    @property
    def key(self) -> Key:
        """Tells its stage apart from those of maps."""
        strategy, name, contrast = self.design.key
        return strategy, f"{self.what} of {name}", contrast


def value_designs(designs: Sequence[MapDesign], model: Model, root: Path) -> Iterator[ValueDesign]:
    """Yield what is compared beside maps, matrices and graphs.

    Parameters
    ----------
    designs : sequence of MapDesign
    model : Model
        With ``regions``, which are averaged in every map, and a bound of equivalence.
    root : Path
        The output directory, whose quality tables are compared.
    """
    bound = model.equivalence_bound or 0.0
    seen = set()
    for design in designs:
        if model.regions and not design.compared.atlas:
            yield ValueDesign(what=REGIONS, design=design, regions=model.regions, bound=bound)
        # Quality belongs to the participants, not to a map: once for each contrast.
        place = (design.strategy, design.result.label)
        if place in seen:
            continue
        seen.add(place)
        columns = quality_columns(root, design.result.all_inputs, design.task)
        result = without_motion(design.result)
        if columns and result is not None:
            yield ValueDesign(
                what=QUALITY, design=_quality_design(design, result, columns), columns=columns
            )


def _quality_design(
    design: MapDesign, result: Design, columns: Mapping[str, Sequence[float]]
) -> MapDesign:
    return replace(
        design,
        compared=Compared(name="quality of the data", measure=QUALITY, resolution=""),
        result=result,
        fingerprint=fingerprint(
            values={name: [float(value) for value in column] for name, column in columns.items()},
            rows=[(one.participant, one.session) for one in result.all_inputs],
            about=result.about,
            design=result.design.to_numpy(),
        ),
    )


def without_motion(result: Design) -> Design | None:
    """Return the design without covariates of motion; None where one of them is what is tested.

    Motion as an outcome must not be adjusted for motion.
    """
    names = list(result.design.columns)
    place = [index for index, name in enumerate(names) if name in MEASURED]
    if any(abs(row[index]) > TOLERANCE for row in result.contrasts for index in place):
        return None
    keep = [index for index in range(len(names)) if index not in place]
    return replace(
        result,
        design=result.design.iloc[:, keep],
        contrasts=tuple(tuple(row[index] for index in keep) for row in result.contrasts),
        mixed=without_columns(result.mixed, MEASURED),
    )
