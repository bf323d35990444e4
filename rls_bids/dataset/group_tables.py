"""Tables of a comparison: its design matrix, and everyone who is in it or could have been."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import (
    atomic_write,
    bids_uri,
    fingerprint,
    is_finished,
    write_json,
)
from rls_bids.dataset.filters import natural_key
from rls_bids.dataset.group import GroupPlan, MapDesign, design_path
from rls_bids.dataset.model import MEASURED
from rls_bids.dataset.values import ValueDesign
from rls_bids.dataset.variables import MEASURED_OF
from rls_bids.records import GroupInput
from rls_bids.settings import InputSettings, Settings

if TYPE_CHECKING:
    import pandas as pd

DEMOGRAPHY = ("age", "sex")
DESIGN = "Design matrix; Coding says what each column holds."
TABLE_COLUMNS: Mapping[str, dict[str, str]] = {
    "group": {"Description": "Group of the participant."},
    "included": {"Description": "Whether the participant is in the model: yes or no."},
    "reason": {"Description": "Why the participant is left out."},
    "mean_fd": {"Description": "Mean framewise displacement over the runs.", "Units": "mm"},
    "minutes_kept": {"Description": "Time left after censoring.", "Units": "min"},
    "degrees_of_freedom": {"Description": "Residual degrees of freedom of the series."},
}


def participants_of(design: MapDesign, plan: GroupPlan) -> Any:  # noqa: ANN401 - a DataFrame
    """Return one row for every participant, in the model or not, with what the model took.

    Returns
    -------
    DataFrame
        Indexed by label: group, included, reason, demography and variables of the model (not
        centred, sessions reduced as the maps are), and what the participant level measured, on
        average over the sessions.
    """
    import pandas as pd

    result, table = design.result, plan.tables.participants
    inputs: dict[str, list[GroupInput]] = {}
    for one in result.inputs:
        inputs.setdefault(one.participant, []).append(one)
    reasons = dict(result.dropped)
    own = result.variables
    names = dict.fromkeys((*DEMOGRAPHY, *(own.columns if own is not None else ())))
    known = [name for name in names if name not in (*TABLE_COLUMNS, result.group_column)]
    members = dict(zip(result.design.index, result.groups, strict=False))
    rows = {}
    for label in sorted({*inputs, *reasons}, key=natural_key):
        values = {
            name: own[name].get(label)
            if own is not None and name in own and label in inputs
            else _told(table, name, label)
            for name in known
            if name in table or (own is not None and name in own)
        }
        rows[label] = {
            "group": members.get(label) or _told(table, result.group_column, label),
            "included": "yes" if label in inputs else "no",
            "reason": reasons.get(label),
            **values,
            **_measured(inputs.get(label, [])),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _told(table: "pd.DataFrame", name: str, label: str) -> object:
    """Return what participants.tsv says, or None."""
    value = table[name].get(label) if name in table else None
    return value if isinstance(value, str) else None


def _measured(maps: Sequence[GroupInput]) -> dict[str, float | None]:
    """Return what the participant level measured, on average over the sessions."""
    if not maps:
        return dict.fromkeys(MEASURED)
    return {
        name: sum(float(MEASURED_OF[name](one)) for one in maps) / len(maps) for name in MEASURED
    }


def write_design_tables(plan: GroupPlan, settings: Settings) -> None:
    """Write design matrix and participants of every comparison, and tables of known numbers."""
    for value in plan.values:
        if value.columns is not None:
            _write_values(value, values_file(value, plan.model, settings))
    own = [value.design for value in plan.values if value.columns is not None]
    for design in (*plan.designs, *own):
        matrix = design.result.design
        people = participants_of(design, plan)
        people.index = people.index.map("sub-{}".format)
        freedom = people["degrees_of_freedom"].dropna()
        if (freedom % 1 == 0).all():
            people = people.astype({"degrees_of_freedom": "Int64"})
        about = {**design.result.about, **design.result.about_tables}
        text = matrix.to_csv(sep="\t", index=False)
        path = design_path(design, plan.model)
        about["Description"] = DESIGN
        _write_table(path, text, about, design, settings.input)
        text = people.to_csv(sep="\t", na_rep="n/a", index_label="participant_id")
        path = naming.group_table(plan.model, "participants", **design.entities)
        about = {"Description": "Who is in the model, who is not and why.", **TABLE_COLUMNS}
        _write_table(path, text, about, design, settings.input)


def values_file(value: ValueDesign, model: str, settings: Settings) -> str:
    """Return where the numbers are put that a node compares: in the work directory."""
    name = naming.camel_label(" ".join((model, value.what, *value.design.key)))
    return str(Path(settings.run.work_dir, "values", f"{name}.tsv"))


def _write_values(value: ValueDesign, path: str) -> None:
    """Write one row an input, the columns as they are, beside participant and session."""
    import pandas as pd

    inputs = value.design.result.all_inputs
    told = {
        "participant_id": [f"sub-{one.participant}" for one in inputs],
        "session": [f"ses-{one.session}" if one.session else "n/a" for one in inputs],
    }
    frame = pd.DataFrame({**told, **(value.columns or {})})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(Path(path), frame.to_csv(sep="\t", na_rep="n/a", index=False))


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
