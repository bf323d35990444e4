"""Seed maps: what each seed writes, and what makes it valid."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import fingerprint
from rls_bids.measures import MEASURES
from rls_bids.numerics import correlation, resample, seedmaps, seedseries
from rls_bids.records import Measure, Note, Seed, Session
from rls_bids.resources.regions import circularity
from rls_bids.settings import Settings
from rls_bids.workflows.metadata import preprocessing_of, processing_of, seed_metadata
from rls_bids.workflows.stage import Place, Stage, common_entities, make_product

SEED_VERSION = f"{MEASURES['seed'].version}-{correlation.VERSION}-{seedseries.VERSION}"
NETWORK_VERSION = f"{MEASURES['dualregression'].version}-{correlation.VERSION}"


def measure_of(seed: Seed) -> Measure:
    """Return the measure that makes the maps of a seed."""
    return MEASURES["dualregression" if seed.kind == "network" else "seed"]


def partners_of(seed: Seed, seeds: Mapping[str, Seed]) -> tuple[str, ...]:
    """Return the other seeds that are in one regression with a seed, in the order of the table."""
    if seed.kind == "mean" or seed.regression != "together":
        return ()
    return tuple(
        name
        for name, other in seeds.items()
        if other.kind != "mean"
        and measure_of(other) is measure_of(seed)
        and other.regression == "together"
        and other.network == seed.network
        and name != seed.name
    )


def needed_for(labels: Sequence[str], seeds: Mapping[str, Seed]) -> list[str]:
    """Return all seeds without which some cannot be computed, and these, sorted by name."""
    members = {member for label in labels for member in seeds[label].members}
    partners = {name for label in {*labels, *members} for name in partners_of(seeds[label], seeds)}
    return sorted({*labels, *members, *partners})


def seed_stages(
    session: Session,
    strategy: str,
    seeds: Mapping[str, Seed],
    designs: Sequence[Stage],
    place: Place,
    settings: Settings,
) -> dict[str, Stage]:
    """Return the stage of every seed, and network map, of the measures that were asked for."""
    return {
        name: _seed_stage(session, strategy, seed, seeds, designs, place, settings)
        for name, seed in seeds.items()
        if measure_of(seed).name in settings.measures.names
    }


def _seed_stage(
    session: Session,
    strategy: str,
    seed: Seed,
    seeds: Mapping[str, Seed],
    designs: Sequence[Stage],
    place: Place,
    settings: Settings,
) -> Stage:
    """Return what seed connectivity of one seed writes, combined over the runs of a session."""
    needed = [seeds[name] for name in needed_for([seed.name], seeds)]
    stamp = fingerprint(
        designs=[design.fingerprint for design in designs],
        seed=asdict(seed),
        others=[asdict(other) for other in needed],
        versions=[SEED_VERSION, resample.VERSION, seedmaps.VERSION]
        if seed.kind != "network"
        else [NETWORK_VERSION, resample.VERSION],
    )
    owner = (session.participant, session.session)
    shared: dict[str, Any] = dict(common_entities(session))
    entities = {
        **shared,
        **place.std,
        "denoise": naming.camel_label(strategy),
        "seed": naming.camel_label(seed.name),
    }
    told = _told(seed, seeds) | {
        "Processing": {
            "Preprocessing": preprocessing_of(session),
            **processing_of(settings, strategy, place.size_mm, session.runs),
            **{f"Seed{key}": value for key, value in _how(seed, seeds).items()},
        },
    }
    products = tuple(
        make_product(
            place,
            stamp,
            stat.name,
            naming.derivative("seed_map", *owner, **entities, stat=stat.name),
            f"Connectivity of {seed.name} with every voxel ({stat.name}).",
            [image for run in session.runs for image in run.images],
            **told,
        )
        for stat in measure_of(seed).stats
    )
    shared |= {key: entities[key] for key in ("denoise", "seed")}
    figure = naming.figure(*owner, "seedmap", **shared)
    return Stage(fingerprint=stamp, products=products, figures=(figure,))


def _told(seed: Seed, seeds: Mapping[str, Seed]) -> dict[str, object]:
    """Return what the sidecars say of a seed: its place, how it was used, a warning if any."""
    words = circularity(seed)
    about = seed_metadata(seed, [seeds[name] for name in seed.members]) | _how(seed, seeds)
    return {
        "SkullStripped": True,
        "Seed": about | ({"Circularity": words} if words else {}),
    }


def _how(seed: Seed, seeds: Mapping[str, Seed]) -> dict[str, object]:
    """Return how the series were made and regressed: equal over the participants of a model."""
    own = [seeds[name] for name in seed.members] or [seed]
    others = {name for each in own for name in partners_of(each, seeds)}
    return {
        "Series": sorted({each.series for each in own}),
        "Regression": sorted({each.regression for each in own}),
        "RegressedWith": sorted(others),
        "MaskContent": [each.content for each in own if each.content],
    }


def circular_notes(participant: str | None, seeds: Iterable[Seed]) -> Iterator[Note]:
    """Yield a warning for every seed that is a result of a group model."""
    for seed in seeds:
        words = circularity(seed)
        if words:
            yield Note(participant=participant, level="warning", message=words)
