"""What a group model is, whether a file or flags of the command line describe it."""

from dataclasses import dataclass
from typing import Literal

Terms = tuple[tuple[str, ...], ...]
"""Columns before they are written out: each a product of factors, the constant an empty one."""

SESSION = "session"
TOLERANCE = 1e-9
MEAN_FD = "mean_fd"
MEASURED = (MEAN_FD, "minutes_kept", "degrees_of_freedom")
"""Variables that the participant level measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A weighted sum of conditions, or several that are tested together (``F``).

    ``name`` is for readers; ``weights`` has a row of the length of ``conditions`` for each sum.
    Between participants a condition is a column of the design or a cell (``group.RLS``, the mean
    of a group), within them it is a cell of sessions (``session.pre``, ``drug.on:time.late``).
    ``is_given``: the name is that of a model file, not made from the conditions.
    """

    name: str
    conditions: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    test: Literal["t", "F"] = "t"
    is_given: bool = False

    @property
    def is_difference(self) -> bool:
        """Whether what is the same in all conditions cancels out."""
        return all(abs(sum(row)) < TOLERANCE for row in self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Towards:
    """Who is to move towards whom: cells like ``group.RLS``, and the sessions before and after.

    ``untreated`` (empty: nobody) are patients without the treatment, chosen alike; ``source`` is
    where the regions come from, ``covariates`` are variables.
    """

    patients: str
    controls: str
    before: str
    after: str
    untreated: str = ""
    source: str = "declared"
    covariates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A group model.

    Attributes
    ----------
    name : str
        Of the page and in file names.
    terms : Terms
        Columns of the design; none where groups are compared that are not named yet.
    contrasts : tuple of Contrast
        What is tested between participants; none: the two groups that there are.
    within : tuple of Contrast
        How the sessions of a participant become one map (t) or several that are tested together
        (F); none: there is one map a participant.
    group_column : str
        Where the groups of the page come from.
    covariates : tuple of str
        Added to ``terms`` by themselves, before groups are known.
    where : tuple of (str, tuple of str)
        Columns of participants.tsv, and the values that are in the model; none: all.
    pairs, sites, variance_groups : str
        Columns of participants.tsv; empty without.
    combat : str
        Column of sites over which tables are harmonised, that of ``sites``; empty without.
    assume : str
        An assumption about exchangeability.
    tasks, sessions, participants : tuple of str
        What the file's ``Input`` asks for; none: what the command line does.
    max_mean_fd_mm : float or None
        Who moved more in any session is left out.
    family : str
        ``all``: the maps of the model are corrected together; ``none``: each by itself.
    equivalence_bound : float or None
        Standardised difference under which nothing matters.
    regions, voxel_covariates : tuple of str
        Declared beforehand for what is tested in regions, and images as covariates.
    towards : Towards or None
        Whether patients move towards controls in the regions.
    remarks : tuple of str
        What was decided without being asked.
    source : str
        The file; empty where flags made the model.
    """

    name: str
    terms: Terms = ()
    contrasts: tuple[Contrast, ...] = ()
    within: tuple[Contrast, ...] = ()
    group_column: str = "group"
    covariates: tuple[str, ...] = ()
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    pairs: str = ""
    sites: str = ""
    variance_groups: str = ""
    combat: str = ""
    assume: str = ""
    tasks: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    max_mean_fd_mm: float | None = None
    family: Literal["all", "none"] = "all"
    equivalence_bound: float | None = None
    regions: tuple[str, ...] = ()
    voxel_covariates: tuple[str, ...] = ()
    towards: Towards | None = None
    remarks: tuple[str, ...] = ()
    source: str = ""

    @property
    def questions(self) -> tuple[tuple[Contrast | None, Contrast | None], ...]:
        """Every contrast within participants with every one between them."""
        return tuple(
            (within, between)
            for within in self.within or (None,)
            for between in self.contrasts or (None,)
        )


def split_cell(condition: str) -> tuple[tuple[str, str], ...]:
    """Take a cell apart: (column, level) pairs; none where a part has no level.

    Examples
    --------
    >>> split_cell("drug.on:time.late")
    (('drug', 'on'), ('time', 'late'))
    >>> split_cell("age")
    ()
    """
    pairs = [part.partition(".") for part in condition.split(":")]
    if not all(column and dot and level for column, dot, level in pairs):
        return ()
    return tuple((column.strip(), level.strip()) for column, _, level in pairs)
