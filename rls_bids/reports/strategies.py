"""The part of a group page that puts denoising strategies side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.group import GroupPlan, Key, MapDesign
from rls_bids.interfaces.images import load_volume
from rls_bids.interfaces.tables import load_rows, load_table
from rls_bids.reports.pages import Section, Table
from rls_bids.reports.texts import NOTHING, number
from rls_bids.workflows.group_results import Results
from rls_bids.workflows.stages import Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TITLE = "Denoising strategies side by side"
TEXT = (
    "The same comparison after each strategy. r: correlation of the z values without threshold "
    "with those of the first strategy, over what both tested; same sign: their share with the "
    "same sign."
)
ONE_QUESTION = (
    "Choosing the strategy with the smallest p would be another multiple comparison: p family "
    "holds within a strategy. Declare one beforehand, and read the others as a check."
)
OTHER_PEOPLE = (
    "Not every strategy keeps the same participants, so that differences may come from them."
)
NOT_FINISHED = "not finished"
SIZES = {
    "hedgesg": "Hedges g",
    "dz": "d_z",
    "partialr": "Partial r",
    "partialeta2": "Partial η²",
}
MAP_HEADER = (
    *("Strategy", "n", "p (corrected)", "p (family)", "Voxels", "Clusters", "r", "Same sign"),
    "{size} at the peak",
)
MATRIX_HEADER = (
    *("Strategy", "n", "Connections (FWE)", "Networks (extent)", "r", "Same sign"),
    *("QC-FC, median |r|", "QC-FC, p < .05", "QC-FC and distance, ρ"),
)
CAPTION = "{name}: {title}"
PEAK = "{name}: {title}; peak of {first} at {place} mm"


def strategy_sections(
    plan: GroupPlan, stages: Mapping[Key, Stage], results: Results, root: Path
) -> Iterator[Section]:
    """Yield the section, if a comparison was made with several strategies.

    Parameters
    ----------
    plan : GroupPlan
    stages : mapping
        What each comparison writes; those that are not finished have a row without numbers.
    results : Results
        Families and tables of clusters.
    root : Path
        The output directory.
    """
    together: dict[tuple[str, str], list[MapDesign]] = {}
    for design in plan.designs:
        if not design.compared.atlas or design.compared.is_matrix:
            place = design.compared.name, design.result.title
            together.setdefault(place, []).append(design)
    several = [designs for designs in together.values() if len(designs) > 1]
    if not several:
        return
    tables = []
    for designs in several:
        is_matrix = designs[0].compared.is_matrix
        tables.append(
            _matrix_table(designs, stages, root)
            if is_matrix
            else _map_table(designs, stages, results, root)
        )
    people = [{tuple(design.result.design.index) for design in designs} for designs in several]
    others = (OTHER_PEOPLE,) if any(len(each) > 1 for each in people) else ()
    text = (TEXT, ONE_QUESTION, *others)
    yield Section(anchor=naming.camel_label(TITLE), title=TITLE, text=text, tables=tuple(tables))


def _agreement(one: "Floats", first: "Floats") -> tuple[str, str]:
    """Return r and the share of equal signs where both have a value."""
    if one.shape != first.shape:
        return NOTHING, NOTHING
    shared = np.isfinite(one) & np.isfinite(first)
    a, b = one[shared], first[shared]
    if a.size < 3 or not a.std() or not b.std():
        return NOTHING, NOTHING
    return number(float(np.corrcoef(a, b)[0, 1])), number(float((a * b > 0).mean()))


# --- maps ---------------------------------------------------------------------------------------


def _map_table(
    designs: Sequence[MapDesign], stages: Mapping[Key, Stage], results: Results, root: Path
) -> Table:
    """Return a row for each strategy; what comes first has the peak."""
    rows: list[tuple[str, ...]] = []
    first: Floats | None = None
    words = {"name": designs[0].compared.name, "title": designs[0].result.title}
    caption, peak = CAPTION.format(**words), (0, 0, 0)
    kind = designs[0].result.size
    for design in designs:
        stage = stages[design.key]
        listed = results.clusters.get(design.key)
        if not stage.is_finished(str(root)) or listed is None or not listed.is_finished(str(root)):
            rows.append(_unfinished(design, len(MAP_HEADER)))
            continue
        volume = load_volume(str(root / stage.product("z").path))
        z = np.where(volume.data == 0, np.nan, volume.data)  # 0 marks what was not tested
        if first is None:
            first = z
            if np.isfinite(z).any():
                x, y, w = np.unravel_index(np.nanargmax(np.abs(z)), z.shape)
                peak = int(x), int(y), int(w)
                centre = (volume.affine @ (*peak, 1))[:3]
                place = ", ".join(number(float(value)) for value in centre)
                caption = PEAK.format(first=design.strategy, place=place, **words)
        there = _value_at(root / stage.product(kind).path, peak, first.shape)
        told = read_json(root / naming.sidecar(stage.product("z").path))
        clusters = read_json(root / naming.sidecar(listed.product("clusters").path))
        rows.append(
            (
                design.strategy,
                str(len(design.result.design)),
                number(float(told["SmallestPCorrected"])),
                _family(design, results, root),
                f"{told['NumberOfVoxelsCorrected05']:,}",
                str(clusters["NumberOfClustersCorrected05"]),
                *_agreement(z, first),
                there,
            )
        )
    header = tuple(text.format(size=SIZES[kind]) for text in MAP_HEADER)
    return Table(caption=caption, header=header, rows=tuple(rows))


def _value_at(path: Path, place: tuple[int, int, int], shape: tuple[int, ...]) -> str:
    """Return an effect size; too few degrees of freedom, and there is no map of it."""
    if not path.is_file():
        return NOTHING
    data = load_volume(str(path)).data
    return number(float(data[place])) if data.shape == shape else NOTHING


def _family(design: MapDesign, results: Results, root: Path) -> str:
    """Return the p over all maps of the strategy."""
    stage = results.families.get(design.strategy)
    if stage is None or not stage.is_finished(str(root)):
        return NOTHING
    for row in load_rows(root / stage.product("family").path):
        if (row["map"], row["contrast"]) == (design.compared.name, design.result.title):
            return number(float(row["p_family"]))
    return NOTHING


def _unfinished(design: MapDesign, length: int) -> tuple[str, ...]:
    return design.strategy, NOT_FINISHED, *[NOTHING] * (length - 2)


# --- matrices -----------------------------------------------------------------------------------


def _matrix_table(designs: Sequence[MapDesign], stages: Mapping[Key, Stage], root: Path) -> Table:
    """Return a row for each strategy, with what motion left in the connections."""
    rows: list[tuple[str, ...]] = []
    first: dict[tuple[str, str], float] | None = None
    for design in designs:
        stage = stages[design.key]
        if not stage.is_finished(str(root)):
            rows.append(_unfinished(design, len(MATRIX_HEADER)))
            continue
        path = stage.product("z").path
        told, z = read_json(root / naming.sidecar(path)), _edges(root / path)
        first = first or z
        shared = [pair for pair in first if pair in z]
        rows.append(
            (
                design.strategy,
                str(len(design.result.design)),
                str(told["NumberOfEdgesFwe05"]),
                str(told["NumberOfComponentsExtent05"]),
                *_agreement(
                    np.array([z[pair] for pair in shared]),
                    np.array([first[pair] for pair in shared]),
                ),
                *_motion(told["QcFc"]),
            )
        )
    words = {"name": designs[0].compared.name, "title": designs[0].result.title}
    return Table(caption=CAPTION.format(**words), header=MATRIX_HEADER, rows=tuple(rows))


def _edges(path: Path) -> dict[tuple[str, str], float]:
    """Return z of every connection by the names of its parcels, which may differ."""
    columns = load_table(path)
    names = list(columns)
    return {
        (one, other): float(columns[other][row])
        for row, one in enumerate(names)
        for other in names[row + 1 :]
    }


def _motion(told: Mapping[str, Any]) -> tuple[str, str, str]:
    if "Missing" in told:
        return NOTHING, NOTHING, NOTHING
    share = f"{number(100 * told['ShareUncorrected05'])} %"
    return number(told["MedianAbsR"]), share, number(told["DistanceRho"])
