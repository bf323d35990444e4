"""A small cohort in tables: three groups, pairs, sites, treatments and three sessions."""

import json
from pathlib import Path

from rls_bids.dataset.tables import Tables, read_tables
from rls_bids.records import GroupInput
from tests.factories import write_participants

SESSIONS = ("pre", "post", "late")
RLS = tuple(f"{number:02}" for number in range(1, 9))
HC = tuple(f"{number:02}" for number in range(11, 19))
PLM = tuple(f"{number:02}" for number in range(21, 27))
EVERYBODY = (*RLS, *HC, *PLM)
ODD = ("02", "05", "07", "12", "16")
"""Who had the evening first."""


def group_of(label: str) -> str:
    return "RLS" if label in RLS else "HC" if label in HC else "PLM"


def wave(label: str, step: int, size: int = 17) -> int:
    """Return a number that differs between participants, and is the same in every run."""
    return int(label) * step % size


def person(label: str) -> dict[str, object]:
    group = group_of(label)
    treatment = {"RLS": "active" if int(label) % 2 else "sham"}.get(group)
    return {
        "participant_id": f"sub-{label}",
        "group": group,
        "age": 40 + wave(label, 7) + int(label) // 10 * (int(label) % 4),
        "sex": "F" if int(label) % 3 else "M",
        "site": "A" if wave(label, 5, 7) < 4 else "B",
        "pair_id": f"p{int(label) % 10}" if group != "PLM" else None,
        "treatment": treatment,
        "duration": 3 + wave(label, 11) if group == "RLS" else None,
    }


def score(label: str, session: str) -> float:
    return 20 + wave(label, 5) - 0.7 * SESSIONS.index(session) * wave(label, 3, 11)


def mean_fd(label: str, session: str) -> float:
    return 0.1 + 0.01 * wave(label, 3 + SESSIONS.index(session), 13)


def time_of(label: str, session: str) -> str:
    if session == "late":
        return "noon"
    return "evening" if (session == "pre") == (label in ODD) else "morning"


def write_cohort(root: Path, labels: tuple[str, ...] = EVERYBODY) -> Path:
    """Write participants.tsv and a sessions.tsv for each participant."""
    root.mkdir(parents=True, exist_ok=True)
    write_participants(root, [person(label) for label in labels])
    for label in labels:
        lines = ["session_id\tIRLS\ttime"]
        lines += [
            f"ses-{session}\t{score(label, session):.3f}\t{time_of(label, session)}"
            for session in SESSIONS
        ]
        folder = root / f"sub-{label}"
        folder.mkdir(exist_ok=True)
        (folder / f"sub-{label}_sessions.tsv").write_text("\n".join(lines) + "\n")
    return root


def tables_of(root: Path, labels: tuple[str, ...] = EVERYBODY) -> Tables:
    return read_tables(write_cohort(root, labels))


def one_input(label: str, session: str | None, **changes: object) -> GroupInput:
    values = {
        "participant": label,
        "session": session,
        "path": f"/out/sub-{label}_{session}.nii.gz",
        "mean_fd_mm": mean_fd(label, session if session in SESSIONS else "pre"),
        "minutes_kept": 6.0,
        "degrees_of_freedom": 50,
        "size_mm": "2",
        "processing": json.dumps({"Denoising": "acompcor"}),
    }
    return GroupInput(**(values | changes))


def inputs_of(
    labels: tuple[str, ...] = EVERYBODY, sessions: tuple[str, ...] = SESSIONS
) -> tuple[GroupInput, ...]:
    return tuple(one_input(label, session) for label in labels for session in sessions)
