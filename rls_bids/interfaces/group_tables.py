"""Tables of a group comparison of graphs: tests of metrics and of nodes, and the values tested."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rls_bids.numerics.columns import ColumnTests
    from rls_bids.numerics.graph import GraphRow

Test: TypeAlias = "Callable[[NDArray[np.float64]], ColumnTests]"
"""A contrast of (n_participants, n_columns) values, with the same resamplings each time."""

AREA = "_auc"
MEAN_R = ("mean_positive_r", "mean_negative_r", "mean_absolute_r")
LEVEL = 0.05
_WHAT = {
    "metric": {"Description": "Metric; _auc: area under its curve over the common densities."},
    "weighting": {"Description": "binary or weighted graphs."},
    "sign": {"Description": "Which correlations are edges: positive, negative or absolute."},
}
_TESTED = {
    "effect": {"Description": "Adjusted difference, first minus second group, as the metric."},
    "t": {"Description": "t of the contrast; n/a where a value is missing or none varies."},
    "df": {"Description": "Residual degrees of freedom."},
    "p_uncorrected": {"Description": "Two-sided p of t, not corrected."},
    "p_permutation": {"Description": "Two-sided p from resampling, not corrected."},
}
_G = {
    "hedgesg": {"Description": "Hedges g from the adjusted t, corrected for small samples."},
    "hedgesg_ciLower": {"Description": "Lower 95 % confidence limit of Hedges g."},
    "hedgesg_ciUpper": {"Description": "Upper 95 % confidence limit of Hedges g."},
}
_OF_METRICS = (
    "p from resampling, family-wise over all areas of this table (largest |z|); n/a for the mean "
    "correlation, which is no metric of the family."
)
_OF_NODES = "p from resampling, family-wise over the nodes of one metric (largest |z|)."
_OF_ALL = "p family-wise over nodes and over the metrics of this table (smallest p)."
_NODE = {"node": {"Description": "Parcel."}}
_WHO = {
    "participant_id": {"Description": "Participant."},
    "group": {"Description": "Group of the participant."},
}
COLUMNS: Mapping[str, Mapping[str, dict[str, str]]] = {
    "global": _WHAT | _TESTED | {"p_fwe": {"Description": _OF_METRICS}} | _G,
    "nodal": {
        **(_WHAT | _NODE | _TESTED),
        "p_fwe": {"Description": _OF_NODES},
        "p_fweMetrics": {"Description": _OF_ALL},
        **_G,
    },
    "globalValues": {
        **(_WHO | _WHAT),
        "density": {"Description": "Share of all pairs that are edges; n/a for areas."},
        "value": {"Description": "Value of the metric."},
    },
    "nodalValues": _WHO | _WHAT,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Values (n_participants, n_rows) of what ``rows`` describe."""

    rows: "list[GraphRow]"
    values: "NDArray[np.float64]"

    def take(self, chosen: Sequence[bool]) -> "Stack":
        """Return some of the columns."""
        import numpy as np

        rows = [row for row, is_in in zip(self.rows, chosen, strict=True) if is_in]
        return Stack(rows=rows, values=self.values[:, np.array(chosen, dtype=bool)])


def stack_rows(rows: "Sequence[Sequence[GraphRow]]") -> Stack:
    """Put participants' rows side by side, what is told twice once."""
    import numpy as np

    first = [(row.metric, row.node, row.weighting, row.sign, str(row.density)) for row in rows[0]]
    places = list(dict(zip(reversed(first), reversed(range(len(first))), strict=True)).values())
    places.sort()
    values = np.array([[own[place].value for place in places] for own in rows], dtype=float)
    return Stack(rows=[rows[0][place] for place in places], values=values)


def compare_whole(stack: Stack, test: Test) -> dict[str, Any]:
    """Test all areas as one family, and the mean correlation by itself."""
    import numpy as np

    family = stack.take([row.metric.endswith(AREA) for row in stack.rows])
    alone = stack.take([row.metric in MEAN_R for row in stack.rows])
    tested = [(each, test(each.values)) for each in (family, alone)]
    columns = _columns(tested)
    columns["p_fwe"] = np.concatenate([tested[0][1].p_fwe, np.full(len(alone.rows), np.nan)])
    return {name: columns[name] for name in COLUMNS["global"]}


def compare_nodes(stack: Stack, names: Sequence[str], test: Test) -> dict[str, Any]:
    """Test every metric over its nodes, and all of them together."""
    import numpy as np

    from rls_bids.numerics.family import adjust_p, correct_family

    kinds = [(row.metric, row.weighting, row.sign) for row in stack.rows]
    parts = [stack.take([each == kind for each in kinds]) for kind in dict.fromkeys(kinds)]
    tested = [(part, test(part.values)) for part in parts]
    columns = _columns(tested)
    columns["node"] = np.array([names[row.node or 0] for part in parts for row in part.rows])
    columns["p_fwe"] = np.concatenate([found.p_fwe for _, found in tested])
    maxima = [found.maxima for _, found in tested if found.maxima.size]
    columns["p_fweMetrics"] = columns["p_fwe"]
    if maxima:
        smallest = correct_family(maxima).smallest
        columns["p_fweMetrics"] = adjust_p(columns["p_fwe"], smallest)
    return {name: columns[name] for name in COLUMNS["nodal"]}


def _columns(tested: "Sequence[tuple[Stack, ColumnTests]]") -> dict[str, Any]:
    """Return the columns that both tables of tests have."""
    import numpy as np

    rows = [row for stack, _ in tested for row in stack.rows]
    fields = {
        **{name: name for name in ("effect", "t", "p_permutation")},
        "p_uncorrected": "p",
        "hedgesg": "g",
        "hedgesg_ciLower": "g_lower",
        "hedgesg_ciUpper": "g_upper",
    }
    return {
        **{name: np.array([getattr(row, name) for row in rows]) for name in _WHAT},
        **{
            name: np.concatenate([getattr(found, field) for _, found in tested])
            for name, field in fields.items()
        },
        "df": np.array([found.df for stack, found in tested for _ in stack.rows]),
    }


def long_table(stack: Stack, who: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return a row for every participant, metric and density."""
    import numpy as np

    n, n_rows = stack.values.shape
    described = {
        name: np.tile([getattr(row, name) for row in stack.rows], n)
        for name in (*_WHAT, "density")
    }
    return {
        "participant_id": np.repeat([f"sub-{label}" for label, _ in who], n_rows),
        "group": np.repeat([group for _, group in who], n_rows),
        **described,
        "value": stack.values.ravel(),
    }


def wide_table(
    stack: Stack, names: Sequence[str], who: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return a row for every participant and metric, and a column for every node."""
    import numpy as np

    n, n_nodes = len(stack.values), len(names)
    heads = stack.rows[::n_nodes]
    described = {name: np.tile([getattr(row, name) for row in heads], n) for name in _WHAT}
    table = stack.values.reshape(n * len(heads), n_nodes)
    return {
        "participant_id": np.repeat([f"sub-{label}" for label, _ in who], len(heads)),
        "group": np.repeat([group for _, group in who], len(heads)),
        **described,
        **dict(zip(names, table.T, strict=True)),
    }


def count_survivors(columns: Mapping[str, Any]) -> int:
    """Return how many p hold family-wise."""
    return int((columns["p_fwe"] <= LEVEL).sum())
