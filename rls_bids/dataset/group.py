"""A group level before anything is computed: for each seed, who is compared, and who is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rls_bids.dataset import naming
from rls_bids.dataset.adjustments import Adjustment, Asked, adjust, asked_of
from rls_bids.dataset.asked import read_asked
from rls_bids.dataset.description import fingerprint, read_json
from rls_bids.dataset.designs import Design
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.hypotheses import title_of
from rls_bids.dataset.map_design import Key, MapDesign
from rls_bids.dataset.model import Model
from rls_bids.dataset.participants import Question, build_design
from rls_bids.dataset.query import query_group
from rls_bids.dataset.results import (
    GRAPHED,
    GroupMaps,
    lacking_nodes,
    matrix_compared,
    matrix_label,
)
from rls_bids.dataset.rows import Found
from rls_bids.dataset.tables import Tables
from rls_bids.dataset.towards import TowardsPlan, plan_towards
from rls_bids.dataset.values import ValueDesign, value_designs
from rls_bids.errors import InputDataError, UsageError
from rls_bids.measures import MEASURES
from rls_bids.records import Compared, Note
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.seeds import seeds_asked
from rls_bids.settings import InputSettings, Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GroupPlan", "Key", "MapDesign", "Unfit", "design_path", "plan_group"]

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
NOT_MODELLED = "{seed} ({strategy}){contrast} was not modelled: {reason}"
TOWARDS = "towards controls"
SAME_LABEL = "The contrasts {one!r} and {other!r} would be written to the same files ({label})."


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """A seed that cannot be compared, and why; ``contrast`` where the others of it can be."""

    strategy: str
    seed: str
    error: InputDataError
    contrast: str = ""

    @property
    def note(self) -> Note:
        """The same for the page and the log."""
        return Note(
            participant=None,
            level="failed",
            message=NOT_MODELLED.format(
                seed=self.seed,
                strategy=self.strategy,
                contrast=f", {self.contrast}," if self.contrast else "",
                reason=self.error.message,
            ),
            hint=self.error.hint,
            exit_status=self.error.exit_status,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupPlan:
    """All comparisons of one call: ``model`` names them, ``spec`` says what was asked for.

    ``values`` are comparisons of numbers: regions of maps, and the quality of the data.
    ``towards`` asks of each strategy whether patients move towards controls.
    """

    model: str
    spec: Model
    tables: Tables
    designs: tuple[MapDesign, ...]
    unfit: tuple[Unfit, ...]
    values: tuple[ValueDesign, ...] = ()
    towards: tuple[TowardsPlan, ...] = ()


def plan_group(settings: Settings) -> GroupPlan:
    """Find the maps and build the design of every seed, strategy and contrast.

    Raises
    ------
    UsageError
        A request that no seed can meet (see :func:`.build_design` and :func:`.query_group`).
    InputDataError
        No maps, no participants.tsv, or no seed that can be compared (the first one's reason).
    """
    model, chosen, tables = read_asked(settings)
    asked_for = asked_of(model, settings)
    settings = replace(settings, input=chosen)
    designs: list[MapDesign] = []
    unfit: list[Unfit] = []
    towards: list[TowardsPlan] = []
    for strategy in settings.denoise.strategies:
        maps = query_group(
            chosen,
            denoise=strategy,
            space=settings.anat.space,
            resolution=settings.anat.resolution,
        )
        absent = _absent(tables.participants, maps, strategy, chosen)
        wanted = _wanted(maps, settings)
        for label, compared in wanted.items():
            try:
                found = _found(label, maps, tables, absent)
            except InputDataError as error:
                unfit.append(Unfit(strategy=strategy, seed=compared.name, error=error))
                continue
            for question in model.questions:
                try:
                    made = _design(model, found, question, _compared(label, maps), asked_for)
                    designs.append(_map_design(label, maps, made, strategy))
                except InputDataError as error:
                    unfit.append(_unfit(strategy, compared.name, error, question, model))
        try:
            own = plan_towards(model, maps, wanted, tables, absent, strategy)
            towards += [own] if own else []
        except InputDataError as error:
            unfit.append(Unfit(strategy=strategy, seed=TOWARDS, error=error))
    if not designs and unfit:
        raise unfit[0].error
    if not designs:
        names = ", ".join(settings.measures.names)
        raise InputDataError(NOTHING.format(names=names), NOTHING_HINT)
    _check_labels(designs)
    return GroupPlan(
        model=model.name,
        spec=model,
        tables=tables,
        designs=tuple(designs),
        unfit=tuple(unfit),
        values=tuple(value_designs(designs, model, Path(chosen.output_dir))),
        towards=tuple(towards),
    )


def _unfit(
    strategy: str, seed: str, error: InputDataError, question: Question, model: Model
) -> Unfit:
    """Say which contrast of a seed cannot be tested; once for all where there is one."""
    within, between = question
    title = title_of(between, within) if between and len(model.questions) > 1 else ""
    return Unfit(strategy=strategy, seed=seed, error=error, contrast=title)


def _check_labels(designs: Sequence[MapDesign]) -> None:
    """Refuse contrasts that would be written to the same files."""
    seen: dict[tuple[str, str, str], str] = {}
    for design in designs:
        strategy, name, label = design.key
        title = design.result.title
        other = seen.setdefault((strategy, name, label.casefold()), title)
        if seen and other != title:
            raise UsageError(SAME_LABEL.format(one=other, other=title, label=label))


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


def _found(label: str, maps: GroupMaps, tables: Tables, absent: Mapping[str, str]) -> Found:
    """Return the maps of one comparison, and why others are missing."""
    inputs = maps.inputs.get(label, ())
    missing = {**absent, **maps.missing.get(label, {})}
    if not inputs:
        reasons = "; ".join(dict.fromkeys(missing.values())) or NOT_COMPUTED
        raise _nobody(label, reasons, maps)
    if maps.compared[label].atlas:
        missing = dict.fromkeys(tables.participants.index, NO_MATRIX) | missing
    return Found(
        inputs=inputs, tables=tables, missing=missing, missing_in=maps.missing_in.get(label, {})
    )


def _design(
    model: Model, found: Found, question: Question, compared: Compared, asked: Asked
) -> tuple[Design, Adjustment | None]:
    """Build a design; whoever lacks a node that is compared, or a covariate's image, leaves."""

    def without(lacking: Mapping[str, str]) -> Design:
        left = tuple(one for one in found.inputs if one.participant not in lacking)
        missing = {**found.missing, **lacking}
        return build_design(model, replace(found, inputs=left, missing=missing), question)

    result = build_design(model, found, question)
    if not compared.atlas:
        return adjust(result, compared, asked, without)
    lacking = lacking_nodes(result.inputs)
    return (without(lacking) if lacking else result), None


def _map_design(
    label: str, maps: GroupMaps, made: tuple[Design, Adjustment | None], strategy: str
) -> MapDesign:
    result, adjustment = made
    more = {"adjustment": adjustment.fingerprint} if adjustment else {}
    return MapDesign(
        strategy=strategy,
        task=maps.task,
        compared=_compared(label, maps),
        result=result,
        adjustment=adjustment,
        fingerprint=fingerprint(
            maps=[(one.participant, one.fingerprint) for one in result.inputs],
            columns=list(result.design.columns),
            design=result.design.to_numpy(),
            about=result.about,
            **more,
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


def _compared(label: str, maps: GroupMaps) -> Compared:
    """Return what is compared; the members of a mean of seeds stand before it."""
    compared = maps.compared[label]
    names = [name for seed in compared.seeds for name in seed.members]
    found = (maps.compared.get(naming.camel_label(name)) for name in names)
    members = [seed for each in found if each for seed in each.seeds]
    return replace(compared, seeds=(*members, *compared.seeds))


def design_path(design: MapDesign, model: str) -> str:
    """Return the relative path of the design matrix of a seed."""
    return naming.group_table(model, "design", **design.entities)
