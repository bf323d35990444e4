"""The group model that flags of the command line describe, and what is taken without asking."""

from typing import TYPE_CHECKING

from rls_bids.dataset.groups import between_contrast, is_patient, session_contrast
from rls_bids.dataset.harmonising import NOT_MAPS, check_combat
from rls_bids.dataset.model import Contrast, Model, Terms
from rls_bids.dataset.naming import camel_label
from rls_bids.dataset.tables import Tables
from rls_bids.settings import GroupSettings

if TYPE_CHECKING:
    import pandas as pd

NONE = "none"
SITE, PAIR = "site", "pair_id"

SITES_USED = (
    "participants.tsv has {n} values of site: it is a covariate, and participants change places "
    "within their site only (--sites none takes neither)."
)
PAIRS_UNUSED = (
    "participants.tsv has the column pair_id, but pairs are used only with --pairs pair_id."
)
SITES_UNUSED = "participants.tsv has the column site, but the model does not use it."
PATIENTS_ONLY = "Only {group} is in the regression on {column}: the label says patients."
EVERYBODY = (
    "Everyone with a value of {column} is in the regression, whatever the group: no single label "
    "of {group_column} says patients."
)


def model_of_flags(group: GroupSettings, tables: Tables) -> Model:
    """Return the model of the flags.

    Parameters
    ----------
    group : GroupSettings
        What was asked for.
    tables : Tables
        Whose columns decide what is taken by default.
    """
    sites, remarks = _sites(group, tables.participants)
    if PAIR in tables.participants and not group.pairs:
        remarks.append(PAIRS_UNUSED)
    covariates = [name for name in group.covariates if name != group.regress]
    if sites and sites not in covariates:
        covariates.append(f"C({sites})")
    terms: Terms = ()
    contrasts = tuple(between_contrast(text, group.group_column) for text in group.contrast)
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    column = group.regress
    if column:
        terms = ((), (column,), *((name,) for name in dict.fromkeys(covariates)))
        contrasts = (Contrast(name=column, conditions=(column,), weights=((1.0,),)),)
        where, remark = _patients(group, column, tables.participants)
        remarks += [remark] if remark else []
    return Model(
        name=camel_label(column or group.group_column),
        terms=terms,
        contrasts=contrasts,
        within=tuple(session_contrast(text) for text in group.session_contrast),
        group_column=group.group_column,
        covariates=() if column else tuple(dict.fromkeys(covariates)),
        where=where,
        pairs=group.pairs or "",
        sites=sites,
        combat=_combat(group),
        variance_groups=_variances(group),
        max_mean_fd_mm=group.max_mean_fd_mm,
        equivalence_bound=group.equivalence_bound,
        regions=group.regions,
        voxel_covariates=group.voxel_covariates,
        remarks=tuple(remarks),
    )


def remarks_on_file(model: Model, tables: Tables) -> tuple[str, ...]:
    """Say which columns a model file leaves unused though they are made for it."""
    unused = [(SITE, model.sites, SITES_UNUSED), (PAIR, model.pairs, PAIRS_UNUSED)]
    used = {text for term in model.terms for text in term}
    combat = (NOT_MAPS.format(column=model.combat),) if model.combat else ()
    return combat + tuple(
        remark
        for column, is_used, remark in unused
        if column in tables.participants
        and tables.participants[column].nunique() > 1
        and not is_used
        and not used & {column, f"C({column})"}
    )


def _sites(group: GroupSettings, table: "pd.DataFrame") -> tuple[str, list[str]]:
    """Return the column of sites, and what is said of one that was not asked for."""
    if combat := _combat(group):
        return check_combat(combat, group.sites or ""), [NOT_MAPS.format(column=combat)]
    if group.sites is not None:
        return ("" if group.sites == NONE else group.sites), []
    n = table[SITE].nunique() if SITE in table else 0
    if n <= 1 or SITE in group.covariates:
        return (SITE if n > 1 else ""), []
    return SITE, [SITES_USED.format(n=n)]


def _combat(group: GroupSettings) -> str:
    """Return the column over which tables are harmonised; the flag alone means ``site``."""
    return "" if group.combat is None else group.combat or SITE


def _variances(group: GroupSettings) -> str:
    """Return the column of variance groups; the flag alone means the groups."""
    if group.variance_groups is None:
        return ""
    return group.variance_groups or group.group_column


def _patients(
    group: GroupSettings, column: str, table: "pd.DataFrame"
) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], str]:
    """Return who is in a regression: the patients, where the labels tell them from others."""
    if group.group_column not in table:
        return (), ""
    labels = sorted(set(table[group.group_column].dropna()))
    patients = [label for label in labels if is_patient(label)]
    if len(labels) < 2:
        return (), ""
    if len(patients) != 1:
        return (), EVERYBODY.format(column=column, group_column=group.group_column)
    where = ((group.group_column, (patients[0],)),)
    return where, PATIENTS_ONLY.format(group=patients[0], column=column)
