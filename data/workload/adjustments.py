"""Counts of the differences between a recording and the sessions that are run for it."""

import dataclasses
from dataclasses import dataclass


@dataclass(slots=True)
class Adjustments:
    """Counts, added up while the sessions are made; `lines` says what each field counts."""

    compactions: int = 0
    orphans: int = 0
    background_agents: int = 0
    padded_turns: int = 0
    empty_outputs: int = 0
    overlaps: int = 0
    cut_sessions: int = 0
    cut_turns: int = 0
    left_out_sessions: int = 0
    repeated_sessions: int = 0

    def lines(self) -> list[str]:
        """One line for each count that is not zero."""
        return [f"{count} {_MEANINGS[name]}" for name, count in self.to_json().items() if count]

    def to_json(self) -> dict[str, int]:
        return dataclasses.asdict(self)


_MEANINGS = {
    "compactions": "turns that keep only a part of their session's context",
    "orphans": "sub-agents run as sessions of their own: their parent is missing, or below them",
    "background_agents": "sub-agents run as sessions of their own: their parent does not wait for them",
    "padded_turns": "turns with a longer prompt than recorded: it includes all of the last output",
    "empty_outputs": "turns without output: they produce one token",
    "overlaps": "turns that arrived before the previous turn ended: they follow it at once",
    "cut_sessions": "sessions cut before the first turn that exceeds the model's context",
    "cut_turns": "turns cut from these sessions",
    "left_out_sessions": "sessions and sub-agents left out because their first turn exceeds the model's context",
    "repeated_sessions": "sessions run again under another id: more were asked for than recorded",
}
