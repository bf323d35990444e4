"""What a group level was asked for: the model of a file or of flags, and for whom."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.dataset.model import Model
from rls_bids.dataset.model_flags import model_of_flags, remarks_on_file
from rls_bids.dataset.models import read_model
from rls_bids.dataset.tables import Tables, read_tables
from rls_bids.errors import UsageError
from rls_bids.resources.regions import find_place
from rls_bids.settings import InputSettings, Settings

if TYPE_CHECKING:
    import pandas as pd

NOTHING_IN_BOTH = (
    "{path}: Input has the {name} {own}, of which the command line leaves none ({flag})."
)
UNKNOWN_PEOPLE = "{where} names {who}, but neither participants.tsv nor the results know them."


def read_asked(settings: Settings) -> tuple[Model, InputSettings, Tables]:
    """Return the model, which inputs it is for, and the tables of those asked for.

    Raises
    ------
    UsageError
        A model that cannot be met, or participants that nothing knows.
    """
    asked = settings.group
    model = read_model(asked.model_file) if asked.model_file else None
    chosen = _narrowed(settings.input, model) if model else settings.input
    tables = read_tables(chosen.bids_dir, "".join(chosen.task_ids[:1]))
    if model:
        limit = asked.max_mean_fd_mm or model.max_mean_fd_mm
        remarks = remarks_on_file(model, tables)
        model = replace(model, max_mean_fd_mm=limit, remarks=remarks)
    else:
        model = model_of_flags(asked, tables)
    for region in model.regions:
        find_place(region)
    people = _requested(tables.participants, chosen, model)
    return model, chosen, replace(tables, participants=people)


def _narrowed(chosen: InputSettings, model: Model) -> InputSettings:
    """Return what the command line and the ``Input`` of a model file both ask for."""
    default = InputSettings(bids_dir="", output_dir="").task_ids
    asked = {
        "task_ids": (() if chosen.task_ids == default else chosen.task_ids, model.tasks),
        "session_labels": (chosen.session_labels, model.sessions),
        "participant_labels": (chosen.participant_labels, model.participants),
    }
    left: dict[str, Any] = {}
    for name, (flag, own) in asked.items():
        both = tuple(label for label in own if not flag or label in flag)
        if own and not both:
            words = {"name": name.replace("_", " "), "flag": ", ".join(flag)}
            text = NOTHING_IN_BOTH.format(path=model.source, own=", ".join(own), **words)
            raise UsageError(text)
        if own:
            left[name] = both
    return replace(chosen, **left)


def _requested(table: "pd.DataFrame", chosen: InputSettings, model: Model) -> "pd.DataFrame":
    """Return the rows of those asked for; who is excluded by name stays, to be counted."""
    labels = chosen.participant_labels
    unknown = [
        label
        for label in labels
        if label not in table.index and not Path(chosen.output_dir, f"sub-{label}").is_dir()
    ]
    if unknown:
        where = model.source or "--participant-label"
        raise UsageError(UNKNOWN_PEOPLE.format(where=where, who=", ".join(unknown)))
    return table[table.index.isin(labels)] if labels else table
