"""Measure graphs: speed beside other libraries, and the truth figures of the validation page.

``OMP_NUM_THREADS=1 python -m benchmarks.graphs`` times a matrix of 300 nodes at eight densities
with 100 nulls, beside the Brain Connectivity Toolbox (a slice of one null a density, scaled) and
igraph, where that is installed. ``python -m benchmarks.graphs --truth`` prints the figures of
``docs/validation-graphs.md``.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import bct
import networkx as nx
import numpy as np

from rls_bids.numerics.graph import DENSITIES, GraphOptions, GraphResult, graph_metrics
from rls_bids.numerics.graph.correlated import match_correlations
from rls_bids.numerics.graph.metrics import compare_metrics
from rls_bids.numerics.graph.nulls import latticise, rewire
from rls_bids.numerics.graph.segregation import clustering
from rls_bids.numerics.graph.smallworld import omega, propensity, ratio
from rls_bids.numerics.graph.threshold import check_matrix, keep_strongest, take_sign

N_NODES, N_NULLS = 300, 100
OUT_OF_REACH = "the matrix does not reach the density {density}"


def seed(*keys: int) -> np.random.SeedSequence:
    """Return a seed by numbers."""
    return np.random.SeedSequence(list(keys))


def correlations(number: int) -> np.ndarray:
    """Return correlations of 200 volumes: ten modules, and nodes coupled to all, more or less."""
    rng = np.random.default_rng(number)
    module = np.repeat(rng.standard_normal((200, 10)), N_NODES // 10, axis=1)
    shared = rng.standard_normal((200, 1)) * rng.uniform(0, 1, N_NODES)
    series = 0.8 * rng.standard_normal((200, N_NODES)) + 0.5 * module + shared
    return check_matrix(np.corrcoef(series.T))


def graph_at(matrix: np.ndarray, density: float) -> np.ndarray:
    """Return the binary graph of the positive correlations."""
    kept = keep_strongest(take_sign(matrix, "positive"), density)
    if kept is None:
        raise SystemExit(OUT_OF_REACH.format(density=density))
    return (kept > 0).astype(float)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def ours(graphs: list[np.ndarray], n_nulls: int) -> None:
    """Rewire, clustering, path length."""
    for graph in graphs:
        for number in range(n_nulls):
            compare_metrics(rewire(graph, "binary", seed(number)), "binary")


def toolbox(graphs: list[np.ndarray], n_nulls: int, swaps: int = 10) -> None:
    """Do the same with the Brain Connectivity Toolbox."""
    for graph in graphs:
        for number in range(n_nulls):
            null, _ = bct.randmio_und(graph, swaps, seed=number)
            bct.clustering_coef_bu(null).mean()
            bct.charpath(bct.distance_bin(null), include_infinite=False)


def with_igraph(graphs: list[np.ndarray], n_nulls: int) -> None:
    """Do the same with igraph."""
    import igraph

    for graph in graphs:
        for _ in range(n_nulls):
            null = igraph.Graph(len(graph), np.argwhere(np.triu(graph)).tolist())
            null.rewire(n=10 * null.ecount())
            null.transitivity_avglocal_undirected(mode="zero")
            null.average_path_length(unconn=True)


def print_speed() -> None:
    """Time nulls of eight densities, then whole analyses."""
    matrix = correlations(1)
    graphs = [graph_at(matrix, density) for density in DENSITIES]
    first = timed(lambda: warm_up(matrix))
    print(f"compilation and first calls {first[0]:.1f} s wall, {first[1]:.1f} s CPU")
    one_swap = partial(toolbox, swaps=1)
    rows = [("rls_bids", ours, N_NULLS), ("bctpy", toolbox, 1), ("bctpy, 1 swap", one_swap, 1)]
    if find_spec("igraph"):
        rows.append(("igraph", with_igraph, 20))
    base = 0.0
    for name, work, n_nulls in rows:
        wall, cpu = (N_NULLS / n_nulls * t for t in timed(lambda: work(graphs, n_nulls)))  # noqa: B023
        base = base or cpu
        print(
            f"nulls, clustering, path length: {name:13s} {wall:8.1f} s wall {cpu:8.1f} s CPU "
            f"({n_nulls} of {N_NULLS} nulls a density timed), {cpu / base:.1f} times rls_bids"
        )
    print_shares(graphs[3])
    for change in (
        {"n_nulls": 0}, {}, {"metrics": "all"}, {"null_model": "correlated"},
        {"weighting": "weighted"}, {"weighting": "weighted", "metrics": "all"},
    ):  # fmt: skip
        asked = replace(GraphOptions(), **change)
        wall, cpu = timed(lambda: graph_metrics(matrix, asked, seed=1))  # noqa: B023
        print(f"graph_metrics {change or 'default'}: {wall:.1f} s wall, {cpu:.1f} s CPU")


def warm_up(matrix: np.ndarray) -> GraphResult:
    """Compile every kernel."""
    small = GraphOptions(densities=(0.1,), n_nulls=1, n_lattices=1, metrics="all")
    graph_metrics(matrix, small, seed=1)
    return graph_metrics(matrix, replace(small, weighting="weighted"), seed=1)


def print_shares(graph: np.ndarray) -> None:
    """Time rewiring and paths alone, of one graph, beside igraph."""
    work: dict[str, Callable[[], object]] = {
        "rls_bids, rewiring": lambda: rewire(graph, "binary", seed(1)),
        "rls_bids, clustering and paths": lambda: compare_metrics(graph, "binary"),
    }
    if find_spec("igraph"):
        import igraph

        made = igraph.Graph(len(graph), np.argwhere(np.triu(graph)).tolist())
        work["igraph, rewiring"] = lambda: made.rewire(n=10 * made.ecount())
        work["igraph, clustering and paths"] = lambda: (
            made.transitivity_avglocal_undirected(mode="zero"),
            made.average_path_length(),
        )
    for name, one in work.items():
        cpu = min(timed(lambda: [one() for _ in range(10)])[1] for _ in range(3))  # noqa: B023
        print(f"density {DENSITIES[3]}, once: {name:32s} {100 * cpu:6.2f} ms CPU")


def beside_nulls(
    graph: np.ndarray, number: int, n_nulls: int, n_lattices: int
) -> dict[str, float]:
    """Return small-world figures of a binary graph."""
    value = compare_metrics(graph, "binary")
    nulls = [
        compare_metrics(rewire(graph, "binary", seed(number, n)), "binary") for n in range(n_nulls)
    ]
    lattices = [
        compare_metrics(latticise(graph, "binary", seed(number, n)), "binary")
        for n in range(n_lattices)
    ]
    mean, flat = (
        {
            name: float(np.mean([d[name] for d in found])) if found else float("nan")
            for name in value
        }
        for found in (nulls, lattices)
    )
    gamma = ratio(value["clustering"], mean["clustering"])
    triples = [(d["clustering"], d["path_length"]) for d in (value, mean, flat)]
    clusterings, lengths = zip(*triples, strict=True)
    return {
        "C": value["clustering"],
        "L": value["path_length"],
        "gamma": gamma,
        "sigma": gamma / ratio(value["path_length"], mean["path_length"]),
        "omega": omega(clusterings[0], lengths[0], lengths[1], clusterings[2]),
        "omega, ring": omega(clusterings[0], lengths[0], lengths[1], 2 / 3),
        "propensity": propensity(clusterings, lengths),
        "C lattice": flat["clustering"],
        "L lattice": flat["path_length"],
    }


def print_means(title: str, found: list[dict[str, float]]) -> None:
    """Print mean and standard deviation of every figure."""
    figures = [
        f"{name} {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
        for name in found[0]
        if not np.isnan(values := [figure[name] for figure in found]).any()
    ]
    print(f"{title}: {', '.join(figures)}", flush=True)


def watts_strogatz(p: float) -> Iterator[np.ndarray]:
    """Yield ten graphs of 300 nodes with ten neighbours."""
    for number in range(10):
        yield nx.to_numpy_array(nx.watts_strogatz_graph(300, 10, p, seed=number))


def print_truth() -> None:
    """Print the figures of known graphs."""
    random = (nx.to_numpy_array(nx.gnp_random_graph(300, 0.1, seed=n)) for n in range(20))
    print_means(
        "ER(300, .10), 20 graphs", [beside_nulls(g, n, 100, 0) for n, g in enumerate(random)]
    )
    for p in (0.0, 0.1, 1.0):
        found = [beside_nulls(graph, n, 100, 20) for n, graph in enumerate(watts_strogatz(p))]
        print_means(f"WS(300, 10, {p:g}), 10 graphs", found)
    print_null_truth()
    print_lattice_truth()
    print_correlated_truth()


def print_null_truth() -> None:
    """Print what nulls share with their graphs, and clustering after 10 and 50 swaps an edge."""
    graphs = {"WS(300, 10, .1)": next(watts_strogatz(0.1))}
    graphs |= {f"correlations, {d:.2f}": graph_at(correlations(1), d) for d in DENSITIES[::3]}
    for name, graph in graphs.items():
        density = graph.mean() * N_NODES / (N_NODES - 1)
        for swaps in (10, 50):
            nulls = [rewire(graph, "binary", seed(n), swaps) for n in range(20)]
            same = all((null.sum(axis=1) == graph.sum(axis=1)).all() for null in nulls)
            shared = np.mean([(null * graph).sum() / graph.sum() for null in nulls])
            mean = np.mean([clustering(null, "binary").mean() for null in nulls])
            print(
                f"{name}, density {density:.3f}, {swaps} swaps an edge: degrees identical {same}, "
                f"shared edges {shared:.3f}, clustering {mean:.4f}"
            )
    weights = keep_strongest(take_sign(correlations(1), "positive"), 0.15)
    if weights is None:
        return
    for maker in (rewire, latticise):
        off = [
            maker(weights, "weighted", seed(n)).sum(axis=1) - weights.sum(axis=1)
            for n in range(10)
        ]
        share = np.sqrt(np.mean(np.square(off))) / weights.sum(axis=1).mean()
        print(f"{maker.__name__}, weighted: strengths differ by {100 * share:.3f} % (RMS of mean)")


def print_lattice_truth() -> None:
    """Print how far a ring whose nodes are shuffled is found again."""
    ring = nx.to_numpy_array(nx.watts_strogatz_graph(300, 10, 0))
    order = np.random.default_rng(1).permutation(300)
    shuffled = ring[np.ix_(order, order)]
    print(f"shuffled ring, clustering {clustering(shuffled, 'binary').mean():.3f}")
    for rounds in (10, 50):
        start = time.process_time()
        _, lattice, _, _ = bct.latmio_und(shuffled, rounds, seed=1)
        print(
            f"latmio_und of bctpy, {rounds} rounds: {clustering(lattice, 'binary').mean():.3f}, "
            f"{time.process_time() - start:.2f} s CPU"
        )
    for swaps in (100, 1000, 3000):
        start = time.process_time()
        lattice = latticise(shuffled, "binary", seed(1), swaps)
        print(
            f"latticise, {swaps} swaps an edge: {clustering(lattice, 'binary').mean():.3f}, "
            f"{time.process_time() - start:.2f} s CPU"
        )


def print_correlated_truth() -> None:
    """Print σ of matrices without structure, and of modules, by either null model."""
    for name in ("without structure", "with modules"):
        for model in ("rewired", "correlated"):
            values = []
            for number in range(5):
                matrix = correlations(number)
                if name == "without structure":
                    matrix = match_correlations(matrix, seed(99, number))
                asked = GraphOptions(densities=(0.1, 0.2), n_nulls=50, null_model=model)
                rows = graph_metrics(matrix, asked, seed=number).global_rows
                values.append([row.value for row in rows if row.metric == "sigma"])
            low, high = np.mean(values, axis=0)
            print(f"correlations {name}, {model} nulls: sigma {low:.3f} at .10, {high:.3f} at .20")


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--truth", action="store_true", help="known graphs instead of speed")
    if parser.parse_args().truth:
        print_truth()
    else:
        print_speed()


if __name__ == "__main__":
    main()
