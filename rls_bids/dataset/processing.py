"""Whether the inputs of one comparison were processed equally."""

import json
from collections.abc import Sequence

from rls_bids.errors import UsageError
from rls_bids.records import GroupInput

UNEQUAL = "Participants were processed differently: {differences}."
UNEQUAL_HINT = "Process them again with equal settings, or choose some with --participant-label."


def check_processing(inputs: Sequence[GroupInput]) -> None:
    """Refuse inputs that were processed differently, naming who and in what.

    The commonest processing counts as the rule.
    """
    ways = [one.processing for one in inputs]
    if len(set(ways)) <= 1:
        return
    usual = json.loads(max(sorted(set(ways)), key=ways.count))
    differences = []
    for one in inputs:
        own = json.loads(one.processing)
        differing = [key for key in sorted({*usual, *own}) if usual.get(key) != own.get(key)]
        if differing:
            words = ", ".join(
                f"{key} {own.get(key)} instead of {usual.get(key)}" for key in differing
            )
            session = f" (session {one.session})" if one.session else ""
            differences.append(f"sub-{one.participant}{session} has {words}")
    raise UsageError(UNEQUAL.format(differences="; ".join(differences)), UNEQUAL_HINT)
