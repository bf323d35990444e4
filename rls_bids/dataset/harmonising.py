"""Which designs can be harmonised over sites (ComBat), and what of the design is then left out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rls_bids.dataset.designs import Design
from rls_bids.dataset.matrix import TOLERANCE, Matrix, columns_of
from rls_bids.dataset.model import Model
from rls_bids.errors import UsageError
from rls_bids.numerics.combat import COVARIATE_HINT, check_sites

if TYPE_CHECKING:
    from rls_bids.dataset.hypotheses import Hypothesis

NOT_MAPS = (
    "Tables of values and of graphs are harmonised over {column} (ComBat). Maps and connections "
    "are not harmonised: in them {column} stays what it is in the design, and participants change "
    "places within it only."
)
OTHER_SITES = (
    "{place}Harmonisation (ComBat) is over {combat!r}, but the sites are {sites!r}; expected the "
    "same column."
)
OTHER_SITES_HINT = "Leave out the sites: those of the harmonisation are taken."
TWO_GROUPS = (
    "{title} is no difference of two groups, and harmonisation (ComBat) can be tested in no other "
    "contrast."
)
NOT_WITH = "Harmonisation (ComBat) does not go with {what}: its test is for whole sites."
NO_SITE = "Harmonisation (ComBat) needs a value of {column} for everyone in the model."
OF_SITES = (
    "Column {name!r} of the design differs only between sites, so that harmonisation (ComBat) "
    "cannot keep it."
)


def check_combat(combat: str, sites: str, place: str = "") -> str:
    """Return the column of sites of a model that may be harmonised.

    Raises
    ------
    UsageError
        The model names another column, or none, for its sites.

    Examples
    --------
    >>> check_combat("site", ""), check_combat("", "centre")
    ('site', 'centre')
    """
    if combat and sites and combat != sites:
        where = f"{place}: " if place else ""
        text = OTHER_SITES.format(place=where, combat=combat, sites=sites)
        raise UsageError(text, OTHER_SITES_HINT)
    return combat or sites


def plan_combat(
    model: Model, matrix: Matrix, tested: "Hypothesis", design: Design
) -> tuple[str, ...]:
    """Return the column of sites and the columns of the design that tell them, or nothing.

    Parameters
    ----------
    model : Model
    matrix : Matrix
        The design, with what tells the sites.
    tested : Hypothesis
        What the contrast compares.
    design : Design
        The same with the groups and sites of the rows.

    Raises
    ------
    UsageError
        Anything but a difference of two groups; pairs or variance groups; a site with few
        participants or without one of the groups; a covariate that only sites tell.
    """
    if not model.combat:
        return ()
    if tested.size != "hedgesg" or len(tested.compared) != len(("one", "other")):
        raise UsageError(TWO_GROUPS.format(title=design.title), COVARIATE_HINT)
    for what, column in (("pairs", model.pairs), ("variance groups", model.variance_groups)):
        if column:
            raise UsageError(NOT_WITH.format(what=what), COVARIATE_HINT)
    sites = design.sites
    if not sites:
        raise UsageError(NO_SITE.format(column=model.combat), COVARIATE_HINT)
    check_sites(sites, design.groups)
    own = columns_of(matrix, model.combat)
    for name, weight in zip(matrix.frame.columns, np.array(design.contrasts).T, strict=True):
        is_told = bool(_within(matrix.frame[name].to_numpy(float), sites) <= TOLERANCE)
        is_varied = float(np.ptp(matrix.frame[name])) > TOLERANCE
        if is_told and is_varied and (name not in own or np.abs(weight).max() > TOLERANCE):
            raise UsageError(OF_SITES.format(name=name), COVARIATE_HINT)
    return (model.combat, *own)


def _within(column: NDArray[np.float64], sites: Sequence[str]) -> float:
    """Return the largest range of a column within a site."""
    labels = np.array(sites)
    return max(float(np.ptp(column[labels == label])) for label in set(sites))
