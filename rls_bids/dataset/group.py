"""A group level before anything is computed: for each seed, who is compared, and who is not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rls_bids.dataset import naming
from rls_bids.dataset.description import (
    atomic_write,
    bids_uri,
    fingerprint,
    is_finished,
    read_json,
    write_json,
)
from rls_bids.dataset.designs import Design
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.participants import build_design, read_participants
from rls_bids.dataset.query import query_group
from rls_bids.dataset.results import (
    GRAPHED,
    GroupMaps,
    lacking_nodes,
    matrix_compared,
    matrix_label,
)
from rls_bids.errors import InputDataError
from rls_bids.measures import MEASURES
from rls_bids.records import Compared, GroupInput, Note
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.seeds import seeds_asked
from rls_bids.settings import InputSettings, Settings

if TYPE_CHECKING:
    import pandas as pd

NOBODY = "No participant has a usable map of the seed {seed}: {reasons}."
NO_MATRICES = "No participant has a usable matrix of {atlas}: {reasons}."
NO_MATRICES_HINT = "There are matrices of {found}; choose with --atlases."
NOTHING = "There is nothing to compare of the measures {names}."
NOTHING_HINT = "Run the participant level with them first, or choose others with --measures."
NOT_COMPUTED = "it was not computed"
NO_MATRIX = "no matrix of this atlas"
EXCLUDED = "left out by --exclude-participant-label"
NOT_PROCESSED = "no results of the participant level"
TOO_LITTLE = "no seed map: {minutes:.1f} minutes and {df} degrees of freedom were left"
NO_SEED_MAP = "no seed map was made; the participant's page says why"
NOT_MODELLED = "{seed} ({strategy}) was not modelled: {reason}"

Key: TypeAlias = tuple[str, str, str]
"""Denoising strategy, what is compared, and contrast."""

MEASURED = ("mean_fd", "minutes_kept", "degrees_of_freedom")
DEMOGRAPHY = ("age", "sex")
TABLE_COLUMNS: Mapping[str, dict[str, str]] = {
    "group": {"Description": "Group of the participant."},
    "included": {"Description": "Whether the participant is in the model: yes or no."},
    "reason": {"Description": "Why the participant is left out."},
    "mean_fd": {"Description": "Mean framewise displacement over the runs.", "Units": "mm"},
    "minutes_kept": {"Description": "Time left after censoring.", "Units": "min"},
    "degrees_of_freedom": {"Description": "Residual degrees of freedom of the series."},
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapDesign:
    """One comparison with one denoising strategy.

    ``fingerprint`` changes with any map, with the design and with the contrast.
    """

    strategy: str
    task: str
    compared: Compared
    result: Design
    fingerprint: str

    @property
    def key(self) -> Key:
        """Strategy, what is compared, contrast: they tell the comparisons of one call apart."""
        return self.strategy, self.compared.name, self.result.label

    @property
    def entities(self) -> dict[str, str]:
        """Entities that all its results share, but the grid."""
        own = {"seed": self.compared.name} if self.compared.seeds else {}
        own |= {"seg": self.compared.atlas} if self.compared.atlas else {}
        return {
            "task": self.task,
            "denoise": self.strategy,
            **own,
            "meas": self.compared.measure,
            "contrast": self.result.label,
        }

    @property
    def size_mm(self) -> str:
        """Edge of the voxels of its maps, which are equally processed."""
        return self.result.inputs[0].size_mm


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """A seed that cannot be compared, and why."""

    strategy: str
    seed: str
    error: InputDataError

    @property
    def note(self) -> Note:
        """The same for the page and the log."""
        return Note(
            participant=None,
            level="failed",
            message=NOT_MODELLED.format(
                seed=self.seed, strategy=self.strategy, reason=self.error.message
            ),
            hint=self.error.hint,
            exit_status=self.error.exit_status,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupPlan:
    """All comparisons of one call: ``model`` names them, ``table`` is participants.tsv."""

    model: str
    table: "pd.DataFrame"
    designs: tuple[MapDesign, ...]
    unfit: tuple[Unfit, ...]


def plan_group(settings: Settings) -> GroupPlan:
    """Find the maps and build the design of every seed and strategy.

    Raises
    ------
    UsageError
        A request that no seed can meet (see :func:`.build_design` and :func:`.query_group`).
    InputDataError
        No maps, no participants.tsv, or no seed that can be compared (the first one's reason).
    """
    table = _requested(read_participants(settings.input.bids_dir), settings.input)
    designs: list[MapDesign] = []
    unfit: list[Unfit] = []
    for strategy in settings.denoise.strategies:
        maps = query_group(
            settings.input,
            denoise=strategy,
            space=settings.anat.space,
            resolution=settings.anat.resolution,
        )
        absent = _absent(table, maps, strategy, settings.input)
        for label, compared in _wanted(maps, settings).items():
            try:
                designs.append(_map_design(label, maps, table, absent, strategy, settings))
            except InputDataError as error:
                unfit.append(Unfit(strategy=strategy, seed=compared.name, error=error))
    if not designs and unfit:
        raise unfit[0].error
    if not designs:
        names = ", ".join(settings.measures.names)
        raise InputDataError(NOTHING.format(names=names), NOTHING_HINT)
    model = naming.camel_label(settings.group.group_column)
    return GroupPlan(model=model, table=table, designs=tuple(designs), unfit=tuple(unfit))


def _requested(table: "pd.DataFrame", chosen: InputSettings) -> "pd.DataFrame":
    """Return the rows of those asked for; who is excluded by name stays, to be counted."""
    labels = chosen.participant_labels
    return table[table.index.isin(labels)] if labels else table


def _absent(
    table: "pd.DataFrame", maps: GroupMaps, strategy: str, chosen: InputSettings
) -> dict[str, str]:
    """Return why a participant of the table has no map of any seed, not even a reason for one."""
    known = {one.participant for inputs in maps.inputs.values() for one in inputs}
    known |= {label for reasons in maps.missing.values() for label in reasons}
    return {
        label: EXCLUDED
        if label in chosen.exclude_participant_labels
        else _why_no_map(Path(chosen.output_dir), label, strategy)
        for label in table.index
        if label not in known
    }


def _why_no_map(root: Path, label: str, strategy: str) -> str:
    folder = root / f"sub-{label}"
    if not folder.is_dir():
        return NOT_PROCESSED
    pattern = f"func/*_denoise-{naming.camel_label(strategy)}_design.json"
    told = [read_json(path) for path in sorted(folder.rglob(pattern))]
    if not told:
        return NO_SEED_MAP
    minutes = sum(float(run.get("MinutesKept") or 0) for run in told)
    return TOO_LITTLE.format(
        minutes=minutes, df=sum(int(run.get("ResidualDegreesOfFreedom") or 0) for run in told)
    )


def _wanted(maps: GroupMaps, settings: Settings) -> dict[str, Compared]:
    """Return what to compare by label: seeds as their table has them, local measures, graphs."""
    names = settings.measures.names
    stats = [f"stat-{stat.name}" for name in names for stat in MEASURES[name].stats]
    local = {label: maps.compared[label] for label in stats if label in maps.compared}
    graphs = _wanted_atlases(maps, settings) if "graphs" in names else {}
    graphs |= _wanted_matrices(maps, settings) if "matrices" in names else {}
    has_seeds = {"seed", "dualregression"} & set(names)
    return (_wanted_seeds(maps, settings) if has_seeds else {}) | local | graphs


def _wanted_atlases(maps: GroupMaps, settings: Settings) -> dict[str, Compared]:
    """Return the graphs to compare by label: those of the atlases asked for, if there are any."""
    found = {label: each for label, each in maps.compared.items() if each.atlas}
    asked = [find_atlas(text).name for text in settings.measures.atlases] if found else []
    return {
        label: found.get(label)
        or Compared(name=f"graphs of {name}", measure=GRAPHED, resolution="", atlas=name)
        for name in asked
        for label in [f"seg-{naming.camel_label(name)}"]
    }


def _wanted_matrices(maps: GroupMaps, settings: Settings) -> dict[str, Compared]:
    """Return the matrices to compare by label: those asked for, if there are any."""
    is_any = any(each.is_matrix for each in maps.compared.values())
    asked = [find_atlas(text).name for text in settings.measures.atlases] if is_any else []
    return {
        label: maps.compared.get(label) or matrix_compared(name, measure)
        for name in asked
        for measure in settings.group.matrix_measures
        for label in [matrix_label(naming.camel_label(name), measure)]
    }


def _wanted_seeds(maps: GroupMaps, settings: Settings) -> dict[str, Compared]:
    """Return the seeds to compare by label: those of the seeds file, or all that have maps."""
    found = {label: each for label, each in maps.compared.items() if each.seeds}
    seeds = seeds_asked(settings)
    asked = {naming.camel_label(seed.name): seed for seed in seeds}
    if settings.measures.seeds_file or settings.measures.seed_networks:
        resolution = settings.anat.resolution
        return {
            label: found.get(label)
            or Compared(name=seed.name, measure="fisherz", resolution=resolution, seeds=(seed,))
            for label, seed in asked.items()
        }
    others = sorted(set(found) - set(asked), key=natural_key)
    order = [*(label for label in asked if label in found), *others]
    return {label: found[label] for label in order}


def _map_design(
    label: str,
    maps: GroupMaps,
    table: "pd.DataFrame",
    absent: Mapping[str, str],
    strategy: str,
    settings: Settings,
) -> MapDesign:
    inputs = maps.inputs.get(label, ())
    missing = {**absent, **maps.missing.get(label, {})}
    if not inputs:
        reasons = "; ".join(dict.fromkeys(missing.values())) or NOT_COMPUTED
        raise _nobody(label, reasons, maps)
    if maps.compared[label].atlas:
        missing = dict.fromkeys(table.index, NO_MATRIX) | missing
    result = build_design(inputs, table, settings.group, missing)
    lacking = lacking_nodes(result.inputs)
    if lacking:
        left = [one for one in inputs if one.participant not in lacking]
        result = build_design(left, table, settings.group, missing | lacking)
    return MapDesign(
        strategy=strategy,
        task=maps.task,
        compared=_with_members(maps.compared[label], maps),
        result=result,
        fingerprint=fingerprint(
            maps=[(one.participant, one.fingerprint) for one in result.inputs],
            columns=list(result.design.columns),
            design=result.design.to_numpy(),
            about=result.about,
        ),
    )


def _nobody(label: str, reasons: str, maps: GroupMaps) -> InputDataError:
    """Return the error for what no participant has."""
    if not label.startswith("seg-"):
        return InputDataError(NOBODY.format(seed=label, reasons=reasons))
    others = dict.fromkeys(
        each.atlas
        for key, each in maps.compared.items()
        if each.atlas and key.split("_")[0] != label.split("_", maxsplit=1)[0]
    )
    hint = NO_MATRICES_HINT.format(found=", ".join(others)) if others else ""
    what = label.removeprefix("seg-").replace("_meas-", ", ")
    return InputDataError(NO_MATRICES.format(atlas=what, reasons=reasons), hint)


def _with_members(compared: Compared, maps: GroupMaps) -> Compared:
    """Put the members of a mean of seeds before it."""
    names = [name for seed in compared.seeds for name in seed.members]
    found = (maps.compared.get(naming.camel_label(name)) for name in names)
    members = [seed for each in found if each for seed in each.seeds]
    return replace(compared, seeds=(*members, *compared.seeds))


def participants_of(design: MapDesign, table: "pd.DataFrame", settings: Settings) -> Any:  # noqa: ANN401 - a DataFrame
    """Return one row for every participant, in the model or not, with what the model took.

    Returns
    -------
    DataFrame
        Indexed by label: group, included, reason, demography and covariates as in
        participants.tsv (not centred), and what the participant level measured.
    """
    import pandas as pd

    group, result = settings.group, design.result
    inputs = {one.participant: one for one in result.inputs}
    reasons = dict(result.dropped)
    names = [name for name in dict.fromkeys((*DEMOGRAPHY, *group.covariates)) if name in table]
    columns = [name for name in names if name not in (*TABLE_COLUMNS, group.group_column)]
    rows = {
        label: {
            "group": table[group.group_column].get(label),
            "included": "yes" if label in inputs else "no",
            "reason": reasons.get(label),
            **{name: table[name].get(label) for name in columns},
            **_measured(inputs.get(label)),
        }
        for label in sorted({*inputs, *reasons}, key=natural_key)
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _measured(one: GroupInput | None) -> dict[str, float | None]:
    values = (one.mean_fd_mm, one.minutes_kept, one.degrees_of_freedom) if one else (None,) * 3
    return dict(zip(MEASURED, values, strict=True))


def design_path(design: MapDesign, model: str) -> str:
    """Return the relative path of the design matrix of a seed."""
    return naming.group_table(model, "design", **design.entities)


def write_design_tables(plan: GroupPlan, settings: Settings) -> None:
    """Write the design matrix and the list of participants of every seed, with sidecars."""
    for design in plan.designs:
        matrix = design.result.design
        people = participants_of(design, plan.table, settings)
        people.index = people.index.map("sub-{}".format)
        people = people.astype({"degrees_of_freedom": "Int64"})
        about = dict(design.result.about)
        text = matrix.to_csv(sep="\t", index=False)
        path = design_path(design, plan.model)
        about["Description"] = "Design matrix: an indicator a group, then centred covariates."
        _write_table(path, text, about, design, settings.input)
        text = people.to_csv(sep="\t", na_rep="n/a", index_label="participant_id")
        path = naming.group_table(plan.model, "participants", **design.entities)
        about = {"Description": "Who is in the model, who is not and why.", **TABLE_COLUMNS}
        _write_table(path, text, about, design, settings.input)


def _write_table(
    path: str, text: str, about: Mapping[str, Any], design: MapDesign, chosen: InputSettings
) -> None:
    """Write a table and its sidecar, unless both say so already."""
    root = Path(chosen.output_dir)
    stamp = fingerprint(text=text, about=dict(about), design=design.fingerprint)
    if is_finished(root, path, stamp):
        return
    atomic_write(root / path, text)
    metadata = {**about, "Sources": list(_sources(design, chosen)), "Fingerprint": stamp}
    write_json(root / naming.sidecar(path), metadata)


def _sources(design: MapDesign, chosen: InputSettings) -> Iterator[str]:
    files: Sequence[str] = [one.path for one in design.result.inputs]
    for file in (f"{chosen.bids_dir}/participants.tsv", *files):
        yield bids_uri(file, chosen.output_dir, chosen.bids_dir)
