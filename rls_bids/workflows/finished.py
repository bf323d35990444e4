"""What earlier calls have finished or refused, and what is left to be computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rls_bids.dataset import naming
from rls_bids.dataset.description import read_json
from rls_bids.errors import EXIT_DATA
from rls_bids.interfaces.denoise import REFUSED_HINT, refusal
from rls_bids.records import Note, Session
from rls_bids.settings import Settings
from rls_bids.workflows.matrices import AtlasStages
from rls_bids.workflows.measures import session_label
from rls_bids.workflows.stages import SessionStages, Stage


def refusals(session: Session, stages: SessionStages, settings: Settings) -> dict[str, Note]:
    """Return the strategies that a finished earlier call found to leave too little data."""
    notes = {}
    root = Path(settings.input.output_dir)
    for strategy, designs in stages.designs.items():
        if not all(design.is_finished(str(root)) for design in designs):
            continue
        statuses = [
            read_json(root / naming.sidecar(design.products[0].path)) for design in designs
        ]
        reason = refusal(
            statuses,
            who=session_label(session),
            strategy=strategy,
            min_time_s=settings.denoise.min_time_s,
            min_df=settings.denoise.min_df,
        )
        if reason:
            notes[strategy] = Note(
                participant=session.participant,
                level="skipped",
                message=reason,
                hint=REFUSED_HINT,
                exit_status=EXIT_DATA,
            )
    return notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """The seeds, local measures and atlases that are still to be computed with one strategy."""

    seeds: tuple[str, ...]
    local: tuple[str, ...]
    atlases: tuple[str, ...]


def unfinished_maps(
    stages: SessionStages, output_dir: str, refused: Mapping[str, Note]
) -> dict[str, Unfinished] | None:
    """Return the maps to compute by strategy; ``None`` when the whole session is finished."""

    def left(maps: Mapping[str, Stage] | Mapping[str, AtlasStages]) -> tuple[str, ...]:
        return tuple(name for name, stage in maps.items() if not stage.is_finished(output_dir))

    wanted = {
        strategy: Unfinished(
            seeds=left(stages.seeds[strategy]),
            local=left(stages.local[strategy]),
            atlases=left(stages.atlases[strategy]),
        )
        for strategy in stages.designs
        if strategy not in refused
    }
    designs = (each for designs in stages.designs.values() for each in designs)
    before = [*stages.runs, *stages.quality, *designs]
    done = all(stage.is_finished(output_dir) for stage in before)
    done = done and (not stages.seeds_figure or Path(output_dir, stages.seeds_figure).is_file())
    is_left = any(maps.seeds or maps.local or maps.atlases for maps in wanted.values())
    return None if done and not is_left else wanted
