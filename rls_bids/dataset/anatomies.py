"""Which T1w images a session uses: its own before another's, the best kind, repetitions joined.

Repetitions of one acquisition are averaged while the graph runs, where those that do not agree
after alignment are left out, too. Images of another kind are not mixed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rls_bids.dataset import checks
from rls_bids.dataset.description import fingerprint
from rls_bids.dataset.filters import BidsFile
from rls_bids.records import Anatomy, Note

JOINED_T1W = "{used} is averaged with {others} as far as they agree after alignment."
OTHER_T1W = "{used} is used; not used: {others}."
BORROWED_T1W = "{where} has no T1w image of its own that can be used; {used} is used."
NO_OWN_T1W = "{where} has no T1w image of its own that can be used, which --by-session asks for."
NO_OWN_T1W_HINT = "Without --by-session that of another session is used."

SIZE_TOLERANCE = 0.1
_SAME_ACQUISITION = ("acq", "ce", "rec", "mod", "chunk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A T1w image that can be used, and its voxel sizes in mm."""

    file: BidsFile
    sizes_mm: tuple[float, ...]


def choose_anatomies(
    label: str,
    files: Sequence[BidsFile],
    sessions: set[str | None],
    hash_content: Callable[[str], str],
    *,
    own_only: bool = False,
) -> tuple[dict[str | None, Anatomy], list[Note]]:
    """Choose each session's own T1w images, else those of the first session that has any.

    Of several kinds in a session the one without contrast agent comes first, then the one with
    the finest voxels (differences of less than 10 % do not count), then the first name. What is
    of the same kind (``acq``, ``ce``, ``rec``, voxel sizes) is to be averaged.

    Parameters
    ----------
    label : str
        The participant.
    files : sequence of BidsFile
        All T1w images that the filters left, in natural order.
    sessions : set of str or None
        For which an anatomy is wanted.
    hash_content : callable
        Reads the bytes of a file.
    own_only : bool
        Do not use the images of another session.

    Returns
    -------
    chosen : dict
        By session; without those for which there is none.
    notes : list of Note
        Why images cannot be used, and which ones were chosen.
    """
    by_session: dict[str | None, list[BidsFile]] = {}
    for file in files:
        by_session.setdefault(file.entities.get("ses"), []).append(file)
    checked: dict[str | None, tuple[list[Head], list[Note]]] = {}
    made: dict[str | None, Anatomy] = {}
    chosen: dict[str | None, Anatomy] = {}
    extra: list[Note] = []
    for session in sorted(sessions, key=lambda one: one or ""):
        own = [session] if session in by_session else []
        others = [one for one in by_session if one != session and not own_only]
        for source in (*own, *others):
            if source not in checked:
                checked[source] = _usable(label, by_session[source])
            heads, _ = checked[source]
            if not heads:
                continue
            used = best_kind(heads)
            if source not in made:
                made[source] = _anatomy(label, used, hash_content)
            chosen[session] = made[source]
            texts = _say_choice(label, session, used, heads, is_own=source == session)
            extra += [
                Note(participant=label, level="info", message=text, where=used[0].file.path)
                for text in texts
            ]
            break
        else:
            extra += [_no_own(label, session)] if own_only else []
    return chosen, [note for _, found in checked.values() for note in found] + extra


def _no_own(label: str, session: str | None) -> Note:
    where = f"ses-{session}" if session else f"sub-{label}"
    message = NO_OWN_T1W.format(where=where)
    place = f"sub-{label}_{where}_T1w" if session else ""
    return checks.note_of(label, "failed", place, message, NO_OWN_T1W_HINT if session else "")


def _usable(label: str, files: Sequence[BidsFile]) -> tuple[list[Head], list[Note]]:
    """Check the images of one session; a broken one that others replace is only left out."""
    heads: list[Head] = []
    notes: list[Note] = []
    for file in files:
        is_usable, found = checks.check_t1w(file.path, label)
        notes += found
        if is_usable:
            columns = zip(*checks.read_header(file.path).affine[:3], strict=True)
            sizes = [math.hypot(*column) for column in columns]
            heads.append(Head(file=file, sizes_mm=tuple(sizes[:3])))
    if heads:
        notes = [replace(n, level="skipped") if n.level == "failed" else n for n in notes]
    return heads, notes


def best_kind(heads: Sequence[Head]) -> list[Head]:
    """Return the images to average: the best one first, then its repetitions."""
    finest = min(max(head.sizes_mm) for head in heads)

    def rank(head: Head) -> tuple[bool, bool]:
        return "ce" in head.file.entities, max(head.sizes_mm) > finest * (1 + SIZE_TOLERANCE)

    best = min(heads, key=rank)  # the first of equals
    return [best, *(head for head in heads if head is not best and _is_same_kind(head, best))]


def _is_same_kind(one: Head, other: Head) -> bool:
    if any(
        one.file.entities.get(name) != other.file.entities.get(name) for name in _SAME_ACQUISITION
    ):
        return False
    # The axes of two files may be stored in another order.
    pairs = zip(sorted(one.sizes_mm), sorted(other.sizes_mm), strict=True)
    return all(abs(a - b) <= SIZE_TOLERANCE * b for a, b in pairs)


def _anatomy(label: str, heads: Sequence[Head], hash_content: Callable[[str], str]) -> Anatomy:
    paths = [head.file.path for head in heads]
    contents = [hash_content(path) for path in paths]
    return Anatomy(
        participant=label,
        session=heads[0].file.entities.get("ses"),
        t1w=paths[0],
        others=tuple(paths[1:]),
        content=fingerprint(images=contents) if contents[0] and contents[1:] else contents[0],
    )


def _say_choice(
    label: str,
    session: str | None,
    heads: Sequence[Head],
    all_heads: Sequence[Head],
    *,
    is_own: bool,
) -> Iterator[str]:
    """Yield what is not a matter of course."""
    used, *repetitions = (Path(head.file.path).name for head in heads)
    left = [Path(head.file.path).name for head in all_heads if head not in heads]
    if not is_own:
        where = f"ses-{session}" if session else f"sub-{label}"
        yield BORROWED_T1W.format(where=where, used=used)
    if repetitions:
        yield JOINED_T1W.format(used=used, others=", ".join(repetitions))
    if left:
        yield OTHER_T1W.format(used=", ".join([used, *repetitions]), others=", ".join(left))
