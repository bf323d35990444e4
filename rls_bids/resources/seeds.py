"""The seeds of a call: those that were asked for, where they lie in the space of the results."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rls_bids.errors import UsageError
from rls_bids.records import Seed
from rls_bids.resources import choose_seeds, load_seeds
from rls_bids.resources.networkmaps import SAME_LABEL, load_network_maps
from rls_bids.resources.regions import find_place
from rls_bids.resources.spaces import MOVED, NOT_MOVED, SAME, knows, points_to_space
from rls_bids.settings import Settings

NETWORKS = "dualregression"


def seed_to_space(seed: Seed, target: str) -> Seed:
    """Return a seed where it lies in another space; where it was given stays in the record.

    A region is looked up at points of the target space that are moved to its own
    (:func:`.region_on_grid`); a mean has no place of its own.

    Raises
    ------
    UsageError, WorkflowError
        As :func:`.find_place`.

    Examples
    --------
    >>> seed = Seed(name="a", network="b", kind="sphere", centre_mm=(-6.0, -26.0, 76.0),
    ...             radius_mm=4.0, space="MNI152NLin6Asym")
    >>> moved = seed_to_space(seed, "MNI152NLin2009cAsym")
    >>> moved.given_mm, moved.given_space, moved.space
    ((-6.0, -26.0, 76.0), 'MNI152NLin6Asym', 'MNI152NLin2009cAsym')
    """
    if seed.mask:
        place = find_place(seed.mask, seed.space)
        evidence = seed.evidence or place.evidence
        seed = replace(
            seed, mask=place.name, space=place.space, evidence=evidence, content=place.content
        )
    given = replace(seed, given_mm=seed.centre_mm, given_space=seed.space)
    if seed.kind == "mean" or not knows(seed.space, target):
        return given
    if seed.centre_mm is None:
        return replace(given, space=target)
    (x, y, z), *_ = points_to_space(np.array([seed.centre_mm]), seed.space, target)
    # To 0.01 mm: less than the transform knows, and the same text on every machine.
    centre = (round(float(x), 2), round(float(y), 2), round(float(z), 2))
    return replace(given, centre_mm=centre, space=target)


def seeds_in_space(
    space: str,
    path: str | None = None,
    networks: Sequence[str] = (),
    *,
    series: str = "mean",
    regression: str = "separate",
) -> tuple[Seed, ...]:
    """Return the seeds to compute, of our table or a user's file, where they lie in a space.

    Raises
    ------
    UsageError
        As :func:`~rls_bids.resources.choose_seeds` and :func:`.find_place`.
    WorkflowError
        A file of an installed package is missing or changed.
    """
    seeds = load_seeds(path, series=series, regression=regression)
    return tuple(seed_to_space(seed, space) for seed in choose_seeds(seeds, networks))


def seeds_asked(settings: Settings) -> tuple[Seed, ...]:
    """Return the seeds that the settings ask for, where they lie in the space of the results.

    Maps for dual regression come last: they make maps like those of seeds.

    Raises
    ------
    UsageError
        As :func:`seeds_in_space` and :func:`.load_network_maps`, or two would share file names.
    """
    chosen, space = settings.measures, settings.anat.space
    seeds = seeds_in_space(
        space,
        chosen.seeds_file,
        chosen.seed_networks,
        series=chosen.seed_series,
        regression=chosen.seed_regression,
    )
    if chosen.network_maps and NETWORKS in chosen.names:
        maps = load_network_maps(chosen.network_maps)
        seeds += tuple(replace(one, space=_space_of(one, space)) for one in maps)
    _check_labels(seeds)
    return seeds


def _space_of(seed: Seed, target: str) -> str:
    return target if knows(seed.space, target) else seed.space


def _check_labels(seeds: Sequence[Seed]) -> None:
    """Refuse names that would share a file name, or a node, between seeds and network maps."""
    seen: dict[str, Seed] = {}
    for seed in seeds:
        label = re.sub(r"[^A-Za-z0-9+]", "", seed.name).casefold()
        other = seen.setdefault(label, seed)
        if other is not seed:
            raise UsageError(SAME_LABEL.format(one=other.name, other=seed.name))
    sets = {seed.network for seed in seeds if seed.kind == "network"}
    for seed in seeds:
        if seed.kind != "network" and seed.network in sets:
            raise UsageError(SAME_LABEL.format(one=seed.network, other="the set of network maps"))


def says_how(seed: Seed, target: str) -> str:
    """Say in words how a seed came to the space of the results."""
    source = seed.given_space or seed.space
    if source == target:
        return SAME.format(target=target)
    template = MOVED if knows(source, target) else NOT_MOVED
    return template.format(source=source, target=target)
