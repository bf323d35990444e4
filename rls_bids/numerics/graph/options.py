"""What is asked for, and the rows that come back."""

from dataclasses import dataclass
from typing import Literal

from rls_bids.errors import UsageError
from rls_bids.numerics.graph.nulls import SWAPS_PER_EDGE
from rls_bids.numerics.graph.threshold import NodeOut, Sign, Weighting

NullModel = Literal["rewired", "correlated", "lattice", ""]
NAN = float("nan")

DENSITIES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
N_NULLS, N_LATTICES = 100, 20
SIGNS: dict[str, tuple[Sign, ...]] = {
    "drop": ("positive",),
    "absolute": ("absolute",),
    "apart": ("positive", "negative"),
}

NOT_ONE_OF = "The graph option {name} is {found!r}; expected one of {known}."
BAD_DENSITIES = (
    "The graph densities are {found}; expected different numbers above 0 and up to 1, ascending."
)
BAD_THRESHOLDS = "The graph thresholds are {found}; expected different numbers from 0 to below 1."
NOTHING_TO_CUT = "There are neither graph densities nor thresholds; expected at least one."
BAD_COUNT = "The graph option {name} is {found}; expected a whole number of at least {least}."


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """How graphs are made of a matrix and what is measured.

    ``densities`` are proportions of all pairs of nodes, ``thresholds`` fixed correlations that
    an edge has to exceed. Negative correlations are dropped, taken by their size
    (``"absolute"``), or made graphs of their own (``"apart"``). Nulls are ``"rewired"`` graphs
    or graphs of ``"correlated"`` matrices (Hirschberger, Qi and Steuer); ``metrics="all"`` adds ω
    and small-world propensity, which need latticised nulls.
    """

    densities: tuple[float, ...] = DENSITIES
    thresholds: tuple[float, ...] = ()
    weighting: Weighting = "binary"
    negative: Literal["drop", "absolute", "apart"] = "drop"
    metrics: Literal["core", "all"] = "core"
    null_model: Literal["rewired", "correlated"] = "rewired"
    n_nulls: int = N_NULLS
    n_lattices: int = N_LATTICES
    swaps_per_edge: int = SWAPS_PER_EDGE


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRow:
    """One number: a metric of a graph, or of one of its nodes, beside its nulls.

    ``metric`` ends with ``_auc`` for the area under the curve over the densities that were
    reached, divided by the width of their range. ``node`` is the row of the matrix, None for the
    whole graph. What does not apply is NaN: ``density`` with a threshold and of areas,
    ``threshold`` with a density, ``null_mean``, ``null_sd`` and ``z`` without nulls; and what is
    missing: ``density_reached`` and ``value`` where the edges do not make up the density.
    ``null_model`` is empty where no null is involved.
    """

    metric: str
    node: int | None
    density: float
    density_reached: float
    weighting: Weighting
    sign: Sign
    null_model: NullModel
    n_nodes: int
    value: float
    null_mean: float = NAN
    null_sd: float = NAN
    z: float = NAN
    threshold: float = NAN


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphResult:
    """All rows of one matrix, the nodes left out and why, and the densities reached by sign."""

    global_rows: tuple[GraphRow, ...]
    nodal_rows: tuple[GraphRow, ...]
    nodes_out: tuple[NodeOut, ...]
    n_nodes: int
    densities_reached: tuple[tuple[Sign, tuple[float, ...]], ...]


def check_options(options: GraphOptions) -> None:
    """Raise where options cannot be met.

    Raises
    ------
    UsageError
        A word that is not known, densities or thresholds out of range or order, no cut at all,
        or a number that is negative.

    Examples
    --------
    >>> check_options(GraphOptions(thresholds=(0.25,)))
    """
    _check_words(options)
    densities, thresholds = options.densities, options.thresholds
    if not densities and not thresholds:
        raise UsageError(NOTHING_TO_CUT)
    if list(densities) != sorted(set(densities)) or not all(0 < d <= 1 for d in densities):
        raise UsageError(BAD_DENSITIES.format(found=densities))
    if len(set(thresholds)) < len(thresholds) or not all(0 <= t < 1 for t in thresholds):
        raise UsageError(BAD_THRESHOLDS.format(found=thresholds))
    least = {"n_nulls": 0, "n_lattices": 1, "swaps_per_edge": 1}
    for name, lowest in least.items():
        found = getattr(options, name)
        if found != int(found) or found < lowest:
            raise UsageError(BAD_COUNT.format(name=name, found=found, least=lowest))


def _check_words(options: GraphOptions) -> None:
    known = {
        "weighting": ("binary", "weighted"),
        "negative": tuple(SIGNS),
        "metrics": ("core", "all"),
        "null_model": ("rewired", "correlated"),
    }
    for name, words in known.items():
        found = getattr(options, name)
        if found not in words:
            raise UsageError(NOT_ONE_OF.format(name=name, found=found, known=", ".join(words)))
