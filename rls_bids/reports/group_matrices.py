"""The parts of a group page on matrices: networks of connections, connections, blocks."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.group import Key, MapDesign
from rls_bids.interfaces.atlas import SETS
from rls_bids.reports.group_graphs import EVERY, NODES_OUT, NOT_FINISHED, SIZES
from rls_bids.reports.pages import Section, Table
from rls_bids.reports.texts import NOTHING, figure_item, number
from rls_bids.reports.wording import GROUP_GRAPHS, GROUP_MATRICES
from rls_bids.settings import Settings
from rls_bids.workflows.designs import count_words
from rls_bids.workflows.group_matrices import FIGURES
from rls_bids.workflows.stages import Stage

NOT_COMPARED = "These matrices were not compared: {reason}."
SUMMARY = (
    "Of {n} connections {fwe} differ by themselves (family-wise p ≤ .05), {fdr} at a false "
    "discovery rate of .05, {tfnbs} by the threshold-free statistic. Connections with "
    "|z| > {z} make {components} {word}; of these {extent} survive by extent and "
    "{intensity} by intensity (family-wise p ≤ .05)."
)
WHO = "In this model: {counts}; denoised with {strategy}; {n_nodes} nodes that all of them have."
RESAMPLED = (
    "p come from {n} resamplings{all}; the smallest that this design can reach is {smallest}. "
    "Each correction holds by itself: declare one of them beforehand. The network-based statistic "
    "says that a network differs, not which of its connections do."
)
TANGENT = (
    "Coordinates in the tangent space at the geometric mean of all participants of the model, "
    "which was made without regard to their groups."
)
QC_FC = (
    "Motion that is left (QC-FC): mean framewise displacement correlates with the connections "
    "by a median |r| of {r}, with {share} % of {n} at p < .05 (5 % by chance){given}. Distance "
    "dependence: Spearman's ρ of r and the length of connections is {rho} (negative: motion adds "
    "to short ones)."
)
NO_QC_FC = "What motion left in the connections was not measured: {reason}"
GIVEN = ", given {names}"
COMPONENTS = ("Network", "Sign", "Nodes", "Connections", "Intensity", "p (extent)",
              "p (intensity)", "Largest |z|", "between")  # fmt: skip
EDGES = ("Connection", "{of}", "p", "p (FDR)", "p (FWE)", "p (TFNBS)", "{size}")
BLOCKS = ("Between", "Connections", "Effect", "{of}", "p", "p (FDR)", "p (FWE)", "{size}")
MOST_ROWS = 15
TOP = "{what} with the smallest p, at most {n}; the others are in the table"
WORDS = {
    "components": "Networks of connections",
    "edges": "Connections (selected, so that their effect sizes are inflated)",
    "networks": "Means between and within networks",
    "lobes": "Means between and within lobes",
}


def matrix_sections(
    designs: Sequence[MapDesign], stages: Mapping[Key, Stage], settings: Settings
) -> Iterator[Section]:
    """Yield a section for each kind of matrix, atlas and strategy."""
    root = Path(settings.input.output_dir)
    strategies = {design.strategy for design in designs}
    for design in designs:
        if design.compared.is_matrix:
            name = design.compared.name
            title = f"{name} ({design.strategy})" if len(strategies) > 1 else name
            yield _section(title, design, stages[design.key], root)


def method_words(designs: Sequence[MapDesign], settings: Settings) -> tuple[str, ...]:
    """Return what the methods text says of graphs and matrices that are compared."""
    n = settings.group.n_permutations
    kinds = {design.compared.is_matrix for design in designs if design.compared.atlas}
    words = {False: GROUP_GRAPHS, True: GROUP_MATRICES}
    return tuple(words[kind].format(n=n) for kind in sorted(kinds))


def _section(title: str, design: MapDesign, stage: Stage, root: Path) -> Section:
    anchor = naming.camel_label(title)
    if not stage.is_finished(str(root)):
        reason = NOT_COMPARED.format(reason=NOT_FINISHED)
        return Section(anchor=anchor, title=title, text=(reason,))
    told = read_json(root / naming.sidecar(stage.product("z").path))
    rows = {key: _rows(root / stage.product(key).path) for key in WORDS}
    size = design.result.size
    tables = [
        _components(rows["components"]),
        _tests("edges", rows["edges"], EDGES, size),
        *(_tests(key, rows[key], BLOCKS, size) for key in SETS),
    ]
    figures = tuple(
        figure_item(root, path, what, NOT_FINISHED, title)
        for path, what in zip(stage.figures, FIGURES, strict=True)
    )
    return Section(
        anchor=anchor,
        title=title,
        text=(_summary(told), *_words(design, told)),
        tables=tuple(table for table in tables if table.rows),
        figures=figures,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():  # the atlas has no such sets
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _summary(told: Mapping[str, Any]) -> str:
    n = told["NumberOfComponents"]
    return SUMMARY.format(
        n=told["NumberOfEdges"],
        fwe=told["NumberOfEdgesFwe05"],
        fdr=told["NumberOfEdgesFdr05"],
        tfnbs=told["NumberOfEdgesTfnbs05"],
        z=number(told["FormingZ"]),
        components=n,
        word="network" if n == 1 else "networks",
        extent=told["NumberOfComponentsExtent05"],
        intensity=told["NumberOfComponentsIntensity05"],
    )


def _words(design: MapDesign, told: Mapping[str, Any]) -> Iterator[str]:
    """Say who and what is in the comparison."""
    counts = count_words(design.result)
    yield WHO.format(counts=counts, strategy=design.strategy, n_nodes=told["NumberOfNodes"])
    if told["NodesLeftOut"]:
        nodes = ", ".join(f"{name} ({why})" for name, why in told["NodesLeftOut"].items())
        yield NODES_OUT.format(nodes=nodes)
    if design.compared.measure == "tangent":
        yield TANGENT
    yield motion_words(told["QcFc"])
    drawn = told["Resamplings"]
    yield RESAMPLED.format(
        n=drawn["Number"],
        all=EVERY if drawn["Exhaustive"] else "",
        smallest=number(float(drawn["SmallestP"])),
    )


def motion_words(told: Mapping[str, Any]) -> str:
    """Say how much motion is left in connections."""
    if "Missing" in told:
        return NO_QC_FC.format(reason=told["Missing"])
    names = ", ".join(told["Covariates"])
    return QC_FC.format(
        r=number(told["MedianAbsR"]),
        share=number(100 * told["ShareUncorrected05"]),
        n=f"{told['NumberOfEdges']:,}",
        given=GIVEN.format(names=names) if names else "",
        rho=number(told["DistanceRho"]),
    )


def _shown(row: Mapping[str, str], name: str) -> str:
    return NOTHING if row[name] == "n/a" else number(float(row[name]))


def _components(rows: Sequence[Mapping[str, str]]) -> Table:
    shown = tuple(
        (
            row["component"].lstrip("-"),
            "less" if row["component"].startswith("-") else "more",
            row["n_nodes"],
            row["n_edges"],
            *(_shown(row, name) for name in ("intensity", "p_extent", "p_intensity", "peak_z")),
            f"{row['peak_node_1']} and {row['peak_node_2']}",
        )
        for row in rows[:MOST_ROWS]
    )
    caption = TOP.format(what=WORDS["components"], n=MOST_ROWS)
    return Table(caption=caption, header=COMPONENTS, rows=shown)


def _tests(key: str, rows: Sequence[Mapping[str, str]], header: Sequence[str], size: str) -> Table:
    """Return the tests of connections or blocks, those with the smallest p first."""
    of = "f" if rows and all(row["t"] == "n/a" for row in rows) else "t"
    tested = [row for row in rows if row[of] != "n/a"]
    tested.sort(key=lambda row: (float(row["p_fwe"]), -abs(float(row[of]))))
    corrected = (of, "p_uncorrected", "p_fdr", "p_fwe")
    names = [*corrected, "p_tfnbs", size] if key == "edges" else ["effect", *corrected, size]
    shown = []
    for row in tested[:MOST_ROWS]:
        if key == "edges":
            first = [f"{row['node_1']} and {row['node_2']}"]
        else:
            is_within = row["set_1"] == row["set_2"]
            between = f"within {row['set_1']}" if is_within else f"{row['set_1']}, {row['set_2']}"
            first = [between, row["n_pairs"]]
        shown.append((*first, *(_shown(row, name) for name in names)))
    words = {"of": "F" if of == "f" else "t", "size": SIZES[size]}
    return Table(
        caption=TOP.format(what=WORDS[key], n=MOST_ROWS),
        header=tuple(each.format(**words) for each in header),
        rows=tuple(shown),
    )
