"""From one correlation matrix to the long tables of its graph metrics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rls_bids.errors import InputDataError
from rls_bids.numerics.graph.correlated import match_correlations
from rls_bids.numerics.graph.draws import child_seed
from rls_bids.numerics.graph.metrics import (
    GLOBAL_METRICS,
    NODAL_METRICS,
    NULL_METRICS,
    compare_metrics,
    describe_graph,
)
from rls_bids.numerics.graph.nulls import latticise, rewire
from rls_bids.numerics.graph.options import (
    NAN,
    SIGNS,
    GraphOptions,
    GraphResult,
    GraphRow,
    NullModel,
    check_options,
)
from rls_bids.numerics.graph.smallworld import area_under_curve, omega, propensity, ratio
from rls_bids.numerics.graph.threshold import (
    FloatArray,
    IntArray,
    Sign,
    check_matrix,
    density_of,
    keep_above,
    keep_strongest,
    reachable_densities,
    select_nodes,
    take_sign,
)

BAD_LABELS = "There are {found} network labels for {n_nodes} nodes; expected one a node."
SMALL_WORLD = ("gamma", "lambda", "sigma", "lambda_harmonic", "sigma_harmonic")
LATTICE_WORLD = ("omega", "propensity")

# Places in the tree of seeds.
SEED_NULLS, SEED_LATTICES, SEED_MODULES = 0, 1, 2
SEED_SIGNS: dict[Sign, int] = {"positive": 0, "negative": 1, "absolute": 2}
SEED_STEPS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """One graph to be made of the matrix: by density or by threshold, the other NaN."""

    sign: Sign
    density: float = NAN
    threshold: float = NAN

    def apply(self, matrix: FloatArray, options: GraphOptions) -> FloatArray | None:
        weights = take_sign(matrix, self.sign)
        if np.isnan(self.threshold):
            kept = keep_strongest(weights, self.density)
        else:
            kept = keep_above(weights, self.threshold)
        if kept is not None and options.weighting == "binary":
            return (kept > 0).astype(np.float64)
        return kept

    def seed(self, root: np.random.SeedSequence, purpose: int) -> np.random.SeedSequence:
        is_density = np.isnan(self.threshold)
        step = round((self.density if is_density else self.threshold) * SEED_STEPS)
        return child_seed(root, purpose, SEED_SIGNS[self.sign], int(is_density), step)


def graph_metrics(
    matrix: ArrayLike,
    options: GraphOptions | None = None,
    *,
    seed: int | np.random.SeedSequence,
    labels: ArrayLike | None = None,
) -> GraphResult:
    """Measure the graphs of a correlation matrix over densities, beside null networks.

    Parameters
    ----------
    matrix : (n_nodes, n_nodes) array
        Correlations r (not Fisher z), NaN where there are none: nodes without values are left
        out of the graphs. Not changed.
    options : GraphOptions, optional
        Densities .05 to .40, binary, without negative correlations, 100 rewired nulls by
        default.
    seed : int or numpy.random.SeedSequence
        Of this matrix, see :func:`~rls_bids.numerics.graph.draws.participant_seed`. Each null
        has a child of its own by sign, density and number, so that the same seed gives the same
        numbers whatever else is asked for or runs beside it.
    labels : (n_nodes,) array, optional
        The network of each node, for the participation coefficient.

    Returns
    -------
    GraphResult

    Raises
    ------
    InputDataError
        The matrix is not square, not symmetric, infinite, has fewer than 3 usable nodes, or
        there is not one label a node.
    UsageError
        Options that cannot be met.

    Examples
    --------
    >>> distance = np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    >>> matrix = 0.9 ** np.minimum(distance, 30 - distance)
    >>> options = GraphOptions(densities=(0.2, 0.3), n_nulls=5)
    >>> result = graph_metrics(matrix, options, seed=1)
    >>> [(row.density, row.value) for row in result.global_rows if row.metric == "clustering"]
    [(0.2, 0.6), (0.3, 0.65...)]
    """
    asked = options or GraphOptions()
    check_options(asked)
    values = check_matrix(matrix)
    kept, nodes_out = select_nodes(values)
    networks = _check_labels(labels, len(values))
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    inner = values[np.ix_(kept, kept)]
    signs = SIGNS[asked.negative]
    cuts = [_Cut(sign=sign, density=density) for sign in signs for density in asked.densities]
    cuts += [_Cut(sign=sign, threshold=step) for sign in signs for step in asked.thresholds]
    global_rows: list[GraphRow] = []
    nodal_rows: list[GraphRow] = []
    for cut in cuts:
        found = _measure(inner, cut, asked, root, None if networks is None else networks[kept])
        global_rows += _global_rows(found, cut, asked)
        nodal_rows += _nodal_rows(found, cut, asked, kept)
    return GraphResult(
        global_rows=(*_mean_weights(inner, asked), *global_rows, *_areas(global_rows)),
        nodal_rows=(*nodal_rows, *_areas(nodal_rows)),
        nodes_out=nodes_out,
        n_nodes=len(kept),
        densities_reached=tuple(
            (sign, reachable_densities(take_sign(inner, sign), asked.densities)) for sign in signs
        ),
    )


def _check_labels(labels: ArrayLike | None, n_nodes: int) -> NDArray[np.generic] | None:
    networks = None if labels is None else np.asarray(labels)
    if networks is not None and networks.shape != (n_nodes,):
        raise InputDataError(BAD_LABELS.format(found=networks.size, n_nodes=n_nodes))
    return networks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was measured of one graph; nulls and lattices have ``NULL_METRICS`` in columns."""

    density: float
    n_nodes: int
    whole: dict[str, float]
    by_node: dict[str, FloatArray]
    nulls: FloatArray
    lattices: FloatArray


def _measure(
    matrix: FloatArray,
    cut: _Cut,
    options: GraphOptions,
    root: np.random.SeedSequence,
    labels: NDArray[np.generic] | None,
) -> _Found:
    """Measure one graph and its nulls; a density out of reach has the same values, all NaN."""
    graph = cut.apply(matrix, options)
    n_nodes = len(matrix)
    if graph is None:
        none = np.full((0, len(NULL_METRICS)), NAN)
        names = NODAL_METRICS if labels is not None else NODAL_METRICS[:-1]
        return _Found(
            density=NAN,
            n_nodes=n_nodes,
            whole=dict.fromkeys(GLOBAL_METRICS, NAN),
            by_node={name: np.full(n_nodes, NAN) for name in names},
            nulls=none,
            lattices=none,
        )
    modules = cut.seed(root, SEED_MODULES)
    whole, by_node = describe_graph(graph, options.weighting, modules, labels)
    return _Found(
        density=density_of(graph),
        n_nodes=n_nodes,
        whole=whole,
        by_node=by_node,
        nulls=_measure_nulls(graph, matrix, cut, options, cut.seed(root, SEED_NULLS)),
        lattices=_measure_lattices(graph, options, cut.seed(root, SEED_LATTICES)),
    )


def _start_row(found: _Found, cut: _Cut, options: GraphOptions) -> Callable[..., GraphRow]:
    """Return a maker of rows that share what belongs to one graph."""
    return partial(
        GraphRow,
        density=cut.density,
        threshold=cut.threshold,
        density_reached=found.density,
        weighting=options.weighting,
        sign=cut.sign,
        n_nodes=found.n_nodes,
    )


def _nodal_rows(found: _Found, cut: _Cut, options: GraphOptions, kept: IntArray) -> list[GraphRow]:
    row = _start_row(found, cut, options)
    return [
        row(metric=name, node=int(node), null_model="", value=float(value))
        for name, values in found.by_node.items()
        for node, value in zip(kept, values, strict=True)
    ]


def _global_rows(found: _Found, cut: _Cut, options: GraphOptions) -> list[GraphRow]:
    row = partial(_start_row(found, cut, options), node=None)
    model = options.null_model
    rows = _beside_nulls(row, found.whole, found.nulls, model)
    rows += [
        row(metric=name, null_model="", value=found.whole[name])
        for name in GLOBAL_METRICS
        if name not in NULL_METRICS
    ]
    beside = _small_world(found.whole, found.nulls) | {"n_nulls": float(len(found.nulls))}
    if options.metrics == "all":
        rows += _beside_nulls(row, found.whole, found.lattices, "lattice")
        beside |= _lattice_world(found.whole, found.nulls, found.lattices)
    rows += [row(metric=name, null_model=model, value=beside[name]) for name in beside]
    return rows


def _measure_nulls(
    graph: FloatArray,
    matrix: FloatArray,
    cut: _Cut,
    options: GraphOptions,
    seed: np.random.SeedSequence,
) -> FloatArray:
    """Return the ``NULL_METRICS`` of every null, one a row; nulls without a graph are left out."""
    found = []
    for number in range(options.n_nulls):
        child = child_seed(seed, number)
        if options.null_model == "rewired":
            null: FloatArray | None = rewire(
                graph, options.weighting, child, options.swaps_per_edge
            )
        else:
            null = cut.apply(match_correlations(matrix, child), options)
        if null is not None:
            found.append(list(compare_metrics(null, options.weighting).values()))
    return np.array(found, dtype=np.float64).reshape(-1, len(NULL_METRICS))


def _measure_lattices(
    graph: FloatArray, options: GraphOptions, seed: np.random.SeedSequence
) -> FloatArray:
    n_lattices = options.n_lattices if options.metrics == "all" else 0
    found = []
    for number in range(n_lattices):
        lattice = latticise(graph, options.weighting, child_seed(seed, number))
        found.append(list(compare_metrics(lattice, options.weighting).values()))
    return np.array(found, dtype=np.float64).reshape(-1, len(NULL_METRICS))


def _means(nulls: FloatArray) -> dict[str, float]:
    means = nulls.mean(axis=0) if len(nulls) else np.full(len(NULL_METRICS), NAN)
    return {name: float(mean) for name, mean in zip(NULL_METRICS, means, strict=True)}


def _beside_nulls(
    row: Callable[..., GraphRow], whole: dict[str, float], nulls: FloatArray, model: NullModel
) -> list[GraphRow]:
    """Return a row for every metric that the nulls have too, with their mean, SD and its z."""
    means = _means(nulls)
    rows = []
    for column, name in enumerate(NULL_METRICS):
        spread = float(nulls[:, column].std(ddof=1)) if len(nulls) > 1 else NAN
        difference = whole[name] - means[name]
        # A spread of rounding errors alone is none.
        z = difference / spread if spread > 1e-12 * abs(means[name]) else NAN
        null = {"null_model": model, "null_mean": means[name], "null_sd": spread, "z": z}
        rows.append(row(metric=name, value=whole[name], **null))
    return rows


def _small_world(whole: dict[str, float], nulls: FloatArray) -> dict[str, float]:
    null = _means(nulls)
    gamma = ratio(whole["clustering"], null["clustering"])
    by_length = ratio(whole["path_length"], null["path_length"])
    by_harmonic = ratio(whole["path_length_harmonic"], null["path_length_harmonic"])
    values = (gamma, by_length, ratio(gamma, by_length), by_harmonic, ratio(gamma, by_harmonic))
    return dict(zip(SMALL_WORLD, values, strict=True))


def _lattice_world(
    whole: dict[str, float], nulls: FloatArray, lattices: FloatArray
) -> dict[str, float]:
    null, lattice = _means(nulls), _means(lattices)
    clusterings = (whole["clustering"], null["clustering"], lattice["clustering"])
    lengths = (whole["path_length"], null["path_length"], lattice["path_length"])
    return {
        "omega": omega(clusterings[0], lengths[0], lengths[1], clusterings[2]),
        "propensity": propensity(clusterings, lengths),
    }


def _mean_weights(matrix: FloatArray, options: GraphOptions) -> list[GraphRow]:
    """Return the mean weight of each sign: densities make groups equal in edges, not in these.

    van den Heuvel 2017 (10.1016/j.neuroimage.2017.02.005).
    """
    rows = []
    for sign in SIGNS[options.negative]:
        weights = take_sign(matrix, sign)
        mean = float(weights[weights > 0].mean()) if weights.any() else NAN
        rows.append(
            GraphRow(
                metric=f"mean_{sign}_r",
                node=None,
                density=NAN,
                weighting="weighted",
                sign=sign,
                density_reached=density_of(weights),
                null_model="",
                n_nodes=len(matrix),
                value=mean,
            )
        )
    return rows


def _areas(rows: Iterable[GraphRow]) -> list[GraphRow]:
    """Return the area under the curve of every metric over the densities that were reached."""
    curves: dict[tuple[object, ...], list[GraphRow]] = {}
    for row in rows:
        if not np.isnan(row.density) and row.metric != "n_nulls":
            key = (row.metric, row.node, row.sign, row.null_model)
            curves.setdefault(key, []).append(row)
    areas = []
    for curve in curves.values():
        reached = [row for row in curve if not np.isnan(row.density_reached)]
        densities = np.array([row.density for row in reached])
        value = area_under_curve(densities, np.array([row.value for row in reached]))
        first = curve[0]
        areas.append(
            GraphRow(
                metric=f"{first.metric}_auc",
                node=first.node,
                density=NAN,
                density_reached=NAN,
                weighting=first.weighting,
                sign=first.sign,
                null_model=first.null_model,
                n_nodes=first.n_nodes,
                value=value,
            )
        )
    return areas
