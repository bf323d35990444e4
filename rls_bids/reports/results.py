"""What a participant's sidecars tell: the outputs that are there, with their metadata."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.dataset.products import RUN_ENTITIES
from rls_bids.errors import InputDataError
from rls_bids.records import Entities, Note

EXTENSIONS = (".nii.gz", ".tsv", ".txt", ".h5")
UNREADABLE = "{path} cannot be read, so the page lacks what it says."


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One output with its sidecar; ``run`` are the entities that tell runs apart."""

    product: str
    session: str | None
    entities: dict[str, str]
    metadata: dict[str, Any]

    @property
    def run(self) -> Entities:
        """Task and run entities, sorted."""
        names = ("task", *RUN_ENTITIES)
        return tuple(sorted((k, v) for k, v in self.entities.items() if k in names))


def read_results(root: Path, label: str, unreadable: list[Note]) -> Iterator[Result]:
    """Yield every output of the participant that has a sidecar; the file itself may be missing."""
    folder = root / f"sub-{naming.camel_label(label)}"
    for path in sorted(folder.rglob("*.json")):
        if {"log", "figures"} & set(path.relative_to(folder).parts):
            continue
        parsed = _parse_sidecar(path.relative_to(root).as_posix())
        if parsed is None:
            continue
        try:
            metadata = read_json(path)
        except InputDataError:
            message = UNREADABLE.format(path=path.relative_to(root).as_posix())
            unreadable.append(Note(participant=label, level="warning", message=message))
            continue
        yield Result(
            product=parsed.product,
            session=parsed.session,
            entities=dict(parsed.entities),
            metadata=metadata,
        )


def _parse_sidecar(path: str) -> naming.Parsed | None:
    for extension in EXTENSIONS:
        try:
            return naming.parse(path.removesuffix(".json") + extension)
        except ValueError:
            continue
    return None
