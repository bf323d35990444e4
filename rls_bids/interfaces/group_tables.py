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
SIGNED = ("t", "v")
_WHAT = {
    "metric": {"Description": "Metric; _auc: area under its curve over the common densities."},
    "weighting": {"Description": "binary or weighted graphs."},
    "sign": {"Description": "Which correlations are edges: positive, negative or absolute."},
}
TESTED = {
    "effect": {"Description": "Adjusted effect of the contrast, in the unit of what is tested."},
    "t": {
        "Description": "t of the contrast, Welch's v with variance groups; n/a where a value is "
        "missing or none varies."
    },
    "f": {"Description": "F of several contrasts or measurements together, else n/a."},
    "df": {"Description": "Residual degrees of freedom."},
    "p_uncorrected": {"Description": "p of t (two-sided) or F, not corrected."},
    "p_permutation": {"Description": "p from resampling, not corrected."},
}
SIZES = {
    "hedgesg": "Hedges g from the adjusted t, corrected for small samples",
    "dz": "d_z, the mean in units of its standard deviation",
    "partialr": "partial correlation",
    "partialeta2": "partial eta squared",
}
_OF_METRICS = (
    "p from resampling, family-wise over all areas of this table (largest |z|); n/a for the mean "
    "correlation, which is no metric of the family."
)
_OF_NODES = "p from resampling, family-wise over the nodes of one metric (largest |z|)."
_OF_ALL = "p family-wise over nodes and over the metrics of this table (smallest p)."
_NODE = {"node": {"Description": "Parcel."}}
WHO = {
    "participant_id": {"Description": "Participant."},
    "session": {"Description": "Session, n/a where there is one a participant."},
    "group": {"Description": "Group of the participant."},
}


def table_columns(kind: str) -> Mapping[str, Mapping[str, dict[str, str]]]:
    """Return the columns of every table, with what sidecars say of them, for an effect size."""
    return {
        "global": {
            **(_WHAT | TESTED),
            "p_fwe": {"Description": _OF_METRICS},
            **size_columns(kind),
        },
        "nodal": {
            **(_WHAT | _NODE | TESTED),
            "p_fwe": {"Description": _OF_NODES},
            "p_fweMetrics": {"Description": _OF_ALL},
            **size_columns(kind),
        },
        "globalValues": {
            **(WHO | _WHAT),
            "density": {"Description": "Share of all pairs that are edges; n/a for areas."},
            "value": {"Description": "Value of the metric."},
        },
        "nodalValues": WHO | _WHAT,
    }


def size_columns(kind: str) -> dict[str, dict[str, str]]:
    """Return the columns of an effect size and its limits."""
    what = SIZES[kind]
    return {
        kind: {"Description": f"{what[0].upper()}{what[1:]}."},
        f"{kind}_ciLower": {"Description": f"Lower 95 % confidence limit of {what}."},
        f"{kind}_ciUpper": {"Description": f"Upper 95 % confidence limit of {what}."},
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


def compare_whole(stack: Stack, test: Test, kind: str) -> dict[str, Any]:
    """Test all areas as one family, and the mean correlation by itself."""
    import numpy as np

    family = stack.take([row.metric.endswith(AREA) for row in stack.rows])
    alone = stack.take([row.metric in MEAN_R for row in stack.rows])
    tested = [(each, test(each.values)) for each in (family, alone) if each.rows]
    columns = _columns(tested, kind)
    columns["p_fwe"] = np.concatenate([tested[0][1].p_fwe, np.full(len(alone.rows), np.nan)])
    return {name: columns[name] for name in table_columns(kind)["global"]}


def compare_nodes(stack: Stack, names: Sequence[str], test: Test, kind: str) -> dict[str, Any]:
    """Test every metric over its nodes, and all of them together."""
    import numpy as np

    from rls_bids.numerics.family import adjust_p, correct_family

    kinds = [(row.metric, row.weighting, row.sign) for row in stack.rows]
    parts = [stack.take([each == one for each in kinds]) for one in dict.fromkeys(kinds)]
    tested = [(part, test(part.values)) for part in parts]
    columns = _columns(tested, kind)
    columns["node"] = np.array([names[row.node or 0] for part in parts for row in part.rows])
    columns["p_fwe"] = np.concatenate([found.p_fwe for _, found in tested])
    maxima = [found.maxima for _, found in tested if found.maxima.size]
    columns["p_fweMetrics"] = columns["p_fwe"]
    if maxima:
        smallest = correct_family(maxima).smallest
        columns["p_fweMetrics"] = adjust_p(columns["p_fwe"], smallest)
    return {name: columns[name] for name in table_columns(kind)["nodal"]}


def tested_columns(found: "ColumnTests", kind: str) -> dict[str, Any]:
    """Return the columns of `TESTED` and of the effect size."""
    import numpy as np

    nothing = np.full(len(found.statistic), np.nan)
    is_signed = found.name in SIGNED
    return {
        "effect": found.effect,
        "t": found.statistic if is_signed else nothing,
        "f": nothing if is_signed else found.statistic,
        "df": found.df,
        "p_uncorrected": found.p,
        "p_permutation": found.p_permutation,
        kind: found.size,
        f"{kind}_ciLower": found.size_lower,
        f"{kind}_ciUpper": found.size_upper,
    }


def _columns(tested: "Sequence[tuple[Stack, ColumnTests]]", kind: str) -> dict[str, Any]:
    """Return the columns that both tables of tests have."""
    import numpy as np

    rows = [row for stack, _ in tested for row in stack.rows]
    parts = [tested_columns(found, kind) for _, found in tested]
    return {
        **{name: np.array([getattr(row, name) for row in rows]) for name in _WHAT},
        **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
    }


def long_table(stack: Stack, who: Sequence[tuple[str, str | None, str]]) -> dict[str, Any]:
    """Return a row for every participant, session, metric and density."""
    import numpy as np

    n, n_rows = stack.values.shape
    described = {
        name: np.tile([getattr(row, name) for row in stack.rows], n)
        for name in (*_WHAT, "density")
    }
    return {**who_columns(who, n_rows), **described, "value": stack.values.ravel()}


def who_columns(who: Sequence[tuple[str, str | None, str]], n_rows: int) -> dict[str, Any]:
    """Return participant, session and group, each ``n_rows`` times."""
    import numpy as np

    return {
        "participant_id": np.repeat([f"sub-{label}" for label, _, _ in who], n_rows),
        "session": np.repeat(np.array([session for _, session, _ in who], dtype=object), n_rows),
        "group": np.repeat([group for _, _, group in who], n_rows),
    }


def wide_table(
    stack: Stack, names: Sequence[str], who: Sequence[tuple[str, str | None, str]]
) -> dict[str, Any]:
    """Return a row for every participant, session and metric, and a column for every node."""
    import numpy as np

    n, n_nodes = len(stack.values), len(names)
    heads = stack.rows[::n_nodes]
    described = {name: np.tile([getattr(row, name) for row in heads], n) for name in _WHAT}
    table = stack.values.reshape(n * len(heads), n_nodes)
    nodes = dict(zip(names, table.T, strict=True))
    return {**who_columns(who, len(heads)), **described, **nodes}


def count_survivors(columns: Mapping[str, Any]) -> int:
    """Return how many p hold family-wise."""
    return int((columns["p_fwe"] <= LEVEL).sum())
