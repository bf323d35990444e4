"""What one contrast tests: the record that leads from a model to the nodes of the group level.

A design is written as ``*_design.tsv``, one row a participant, and its sidecar says the rest:
the contrast, the maps of each row, and what may be exchanged. Nodes read both files
(:mod:`rls_bids.interfaces.designs`); nothing else passes between them.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rls_bids.numerics.sizes import SizeKind
from rls_bids.records import GroupInput

if TYPE_CHECKING:
    import pandas as pd

ONE_MAP = ((1.0,),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """One contrast over the participants that can be in it.

    Attributes
    ----------
    design : DataFrame, shape (n_participants, n_columns)
        The index holds participant labels.
    inputs : tuple of GroupInput
        Maps or matrices: all sessions of the first row, then of the second.
    contrasts : tuple of tuples of float
        Weights of the columns; one contrast gives t, several are tested together by F.
    title, label : str
        The contrast for readers (``RLS > HC``) and in file names (``RLSGtHC``).
    hypothesis : str
        The null hypothesis in words.
    groups : tuple of str
        Group of each row; empty without groups.
    group_column : str
        The variable that they are levels of.
    compared : tuple of (str, float)
        Groups that the contrast compares, with their weights; none for slopes.
    sessions : tuple of str
        Sessions of each row; empty where there is one map a participant.
    responses : tuple of tuples of float, shape (n_responses, n_sessions)
        How a row's maps become one number a voxel, or several that are tested together.
    pairs, sites, variance_groups : tuple of str
        Labels of the rows; empty where the model has none.
    combat : tuple of str
        Columns of the design that tell sites and that leave it where tables are harmonised, after
        the column of participants.tsv; empty where they are not.
    assume : str
        An assumption about exchangeability that the model names.
    size : str
        Which effect size goes with the test.
    dropped : tuple of (str, str)
        Who is left out, and why.
    remarks : tuple of str
        What was decided without being asked.
    coding : tuple of (str, str)
        What each column holds, in words.
    variables : DataFrame or None, shape (n_participants, n_variables)
        What the columns were made of, as told or reduced over sessions, not centred.
    extra : tuple of GroupInput
        Maps of participants who lack a session: in no test, but in the estimates of ``mixed``.
    mixed : dict
        The design with one row a map (:class:`~rls_bids.dataset.incomplete.SessionModel`), those
        of ``inputs`` before those of ``extra``; empty where there is none.
    """

    design: "pd.DataFrame"
    inputs: tuple[GroupInput, ...]
    contrasts: tuple[tuple[float, ...], ...]
    title: str
    label: str
    hypothesis: str
    groups: tuple[str, ...] = ()
    group_column: str = ""
    compared: tuple[tuple[str, float], ...] = ()
    sessions: tuple[str, ...] = ()
    responses: tuple[tuple[float, ...], ...] = ONE_MAP
    pairs: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    variance_groups: tuple[str, ...] = ()
    combat: tuple[str, ...] = ()
    assume: str = ""
    size: SizeKind = "hedgesg"
    dropped: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    coding: tuple[tuple[str, str], ...] = ()
    variables: "pd.DataFrame | None" = None
    extra: tuple[GroupInput, ...] = ()
    mixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Participants of each group, those of the contrast first."""
        found = Counter(self.groups)
        order = [*(name for name, _ in self.compared), *sorted(found)]
        return {name: found[name] for name in dict.fromkeys(order)}

    @property
    def scale(self) -> float:
        """What leads from t to a standardised mean (:func:`~rls_bids.numerics.sizes`).

        Of matched pairs: to the mean of their differences.
        """
        counts = self.counts
        if self.pairs and self.size == "dz":
            return math.sqrt(2 / len(self.design))
        if self.compared:
            return math.sqrt(sum(weight**2 / counts[name] for name, weight in self.compared))
        return math.sqrt(1 / len(self.design))

    @property
    def mean_fd_mm(self) -> list[float]:
        """Mean framewise displacement of each row, over its sessions."""
        n = len(self.responses[0])
        values = [one.mean_fd_mm for one in self.inputs]
        return [sum(values[start : start + n]) / n for start in range(0, len(values), n)]

    @property
    def about(self) -> dict[str, Any]:
        """What the sidecar of the design says, from which nodes read it."""
        return {
            "Columns": list(self.design.columns),
            "Coding": dict(self.coding),
            "Rows": [f"sub-{label}" for label in self.design.index],
            "Contrast": self.title,
            "Weights": [list(row) for row in self.contrasts],
            "NullHypothesis": self.hypothesis,
            "Groups": list(self.groups),
            "Compared": dict(self.compared),
            "MeanFd": self.mean_fd_mm,
            "Sessions": list(self.sessions),
            "Responses": [list(row) for row in self.responses],
            "Pairs": list(self.pairs),
            "Sites": list(self.sites),
            "VarianceGroups": list(self.variance_groups),
            "Combat": list(self.combat),
            "Assume": self.assume,
            "EffectSize": self.size,
            "EffectSizeScale": self.scale,
        }

    @property
    def all_inputs(self) -> tuple[GroupInput, ...]:
        """What a table of values has a row for: who is tested, then who lacks a session."""
        return (*self.inputs, *self.extra)

    @property
    def about_tables(self) -> dict[str, Any]:
        """What the sidecar says for tables of values alone; maps do not depend on it."""
        return {"Mixed": dict(self.mixed)} if self.mixed else {}
