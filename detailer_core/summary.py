"""What became of segments, in words."""

from __future__ import annotations

from collections.abc import Sequence

from .run import Outcome


def told(outcomes: Sequence[Outcome]) -> str:
    """How many segments are in each state, with the reason of those that are not done."""
    groups = [f"{outcome.state} ({outcome.reason})" if outcome.reason else outcome.state for outcome in outcomes]
    return ", ".join(f"{groups.count(group)} {group}" for group in dict.fromkeys(groups))
