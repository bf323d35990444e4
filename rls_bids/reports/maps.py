"""The seed parts of a participant's page: where the seeds are, their coverage, their maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rls_bids.dataset import naming
from rls_bids.records import Entities, Seed
from rls_bids.reports.pages import FigureItem, Section, Table
from rls_bids.reports.texts import capitalised, figure_item, number, run_title
from rls_bids.settings import Settings

NO_SEEDS_FIGURE = "no run got so far that the seeds were placed"
NO_MAPS = "No seed map was made with {strategy}; see “What was not done, and why”."
MAP_NOT_DRAWN = "the map was not finished or could not be drawn"
COVERAGE_HEADER = (
    *("Seed", "Run", "Voxels used", "Voxels of the seed", "Coverage", "Grey matter"),
    *("White matter", "CSF", "Remark"),
)
COVERAGE_CAPTION = (
    "Voxels inside the brain mask with a temporal signal-to-noise ratio above 20, and the tissue "
    "they are in."
)
NETWORK_CAPTION = (
    " Of network maps: voxels inside the brain mask where they have a weight, and the share of "
    "their absolute weight that lies there."
)
MAP_CAPTION = (
    "{name}: Fisher z over {runs}, {minutes} min kept, {df} residual degrees of freedom. "
    "Colours fade out below |z| = 0.2."
)


class SeedMap(Protocol):
    """A seed map's sidecar with the entities of its name."""

    @property
    def session(self) -> str | None:
        """Label of the session."""

    @property
    def entities(self) -> dict[str, str]:
        """Entities of the name."""

    @property
    def metadata(self) -> dict[str, Any]:
        """The sidecar."""


def seed_sections(
    root: Path,
    label: str,
    sessions: Mapping[tuple[str | None, str], Sequence[Entities]],
    maps: Sequence[SeedMap],
    seeds: Sequence[Seed],
    settings: Settings,
) -> list[Section]:
    """Return the sections on seeds and on seed maps.

    Parameters
    ----------
    root : Path
        The output directory.
    label : str
        The participant.
    sessions : mapping
        (session, task) → entities of its runs.
    maps : sequence
        Sidecars of seed maps, of both statistics.
    seeds : sequence of Seed
        Those asked for, in the order to show.
    settings : Settings
        Which strategies were asked for.
    """
    z_maps = [each for each in maps if each.entities.get("stat") == "fisherz"]
    strategies = list(
        dict.fromkeys(
            [naming.camel_label(name) for name in settings.denoise.strategies]
            + [each.entities["denoise"] for each in z_maps]
        )
    )
    places, parts = [], []
    for (session, task), runs in sessions.items():
        common = _common(runs)
        entities: dict[str, Any] = dict(common)
        title = run_title(session, common)
        path = naming.figure(label, session, "seeds", **entities)
        places.append(figure_item(root, path, "seeds", NO_SEEDS_FIGURE, title))
        for strategy in strategies:
            chosen = [
                each
                for each in z_maps
                if (each.session, each.entities["task"], each.entities["denoise"])
                == (session, task, strategy)
            ]
            parts.append(_maps_of(root, label, common, chosen, seeds, (session, strategy)))
    if not places:
        words = figure_item(root, "", "seeds", NO_SEEDS_FIGURE)
        places.append(FigureItem(title=words.title, path=None, alt="", reason=NO_SEEDS_FIGURE))
    text = () if parts else (NO_MAPS.format(strategy=" or ".join(strategies)),)
    return [
        Section(anchor="seeds", title="Seeds", figures=tuple(places)),
        Section(anchor="maps", title="Seed maps", text=text, parts=tuple(parts)),
    ]


def _common(runs: Sequence[Entities]) -> Entities:
    """Return what all runs share in their names: the name of their combination."""
    shared = set(runs[0]).intersection(*runs)
    return tuple(sorted(pair for pair in shared if pair[0] != "run"))


def _maps_of(
    root: Path,
    label: str,
    common: Entities,
    chosen: Sequence[SeedMap],
    seeds: Sequence[Seed],
    where: tuple[str | None, str],
) -> Section:
    """Return the maps of one session and strategy, in the order of the seeds."""
    session, strategy = where
    by_seed = {each.entities["seed"]: each for each in chosen}
    title = capitalised(f"{run_title(session, common)}, denoised with {strategy}")
    anchor = "-".join(["maps", session or "", strategy, *(label for _, label in common)])
    if not by_seed:
        return Section(anchor=anchor, title=title, text=(NO_MAPS.format(strategy=strategy),))
    entities: dict[str, Any] = {**dict(common), "denoise": strategy}
    names = {naming.camel_label(seed.name): seed.name for seed in seeds}
    names |= {key: _name(by_seed[key]) for key in by_seed if key not in names}
    parts = []
    for key, name in names.items():
        path = naming.figure(label, session, "seedmap", **entities, seed=key)
        figure = _map_figure(root, path, name, by_seed.get(key))
        parts.append(Section(anchor=f"{anchor}-{key}", title=name, figures=(figure,)))
    shown = [by_seed[key] for key in names if key in by_seed]
    coverage = Section(
        anchor=f"{anchor}-coverage",
        title="Coverage of the seeds",
        tables=(_coverage(shown),),
        is_folded=True,
    )
    return Section(anchor=anchor, title=title, parts=(coverage, *parts))


def _name(each: SeedMap) -> str:
    return str(each.metadata.get("Seed", {}).get("Name", each.entities["seed"]))


def _map_figure(root: Path, path: str, name: str, found: SeedMap | None) -> FigureItem:
    if found is None:
        return figure_item(root, path, "seedmap", MAP_NOT_DRAWN, name)
    metadata = found.metadata
    n_runs = metadata.get("NumberOfRuns")
    caption = MAP_CAPTION.format(
        name=name,
        runs="1 run" if n_runs == 1 else f"{number(n_runs)} runs",
        minutes=number(metadata.get("MinutesKept")),
        df=number(metadata.get("DegreesOfFreedom")),
    )
    left_out = [str(each) for each in metadata.get("LeftOut", [])]
    if left_out:
        caption += f" Not in it: {'; '.join(left_out)}."
    reason = str(metadata.get("Missing", MAP_NOT_DRAWN))
    if "Missing" in metadata:
        return FigureItem(title=f"Seed map: {name}", path=None, alt="", reason=reason)
    return figure_item(root, path, "seedmap", reason, name, caption)


def _coverage(maps: Sequence[SeedMap]) -> Table:
    """Return one row a seed and run; seeds of a mean stand at their own name only."""
    rows: dict[tuple[str, str], tuple[str, ...]] = {}
    for each in maps:
        for region in each.metadata.get("SeedCoverage", []):
            run = number(region.get("run"))
            fractions = region.get("tissue_fractions", {})
            rows[(str(region.get("seed")), run)] = (
                str(region.get("seed")),
                run,
                number(region.get("n_voxels")),
                number(region.get("n_region")),
                _percent(region.get("coverage")),
                *(_percent(fractions.get(tissue)) for tissue in ("GM", "WM", "CSF")),
                str(region.get("missing") or ""),
            )
    has_networks = any(each.metadata.get("Seed", {}).get("Kind") == "network" for each in maps)
    return Table(
        caption=COVERAGE_CAPTION + (NETWORK_CAPTION if has_networks else ""),
        header=COVERAGE_HEADER,
        rows=tuple(rows.values()),
    )


def _percent(value: object) -> str:
    return f"{100 * value:.0f} %" if isinstance(value, (int, float)) else number(None)
