"""What a workload had to change of the sessions that it was made from: counted, so that nothing is silently lost."""

import dataclasses
from dataclasses import dataclass


@dataclass(slots=True)
class Changes:
    """Counts. A field's comment is what the user reads."""

    restarts: int = 0
    padded_turns: int = 0
    empty_outputs: int = 0
    overlaps: int = 0
    cut_sessions: int = 0
    cut_turns: int = 0
    left_out_sessions: int = 0
    repeated_sessions: int = 0

    def lines(self) -> list[str]:
        """What happened, a line each; nothing for what did not."""
        return [f"{count} {_MEANINGS[name]}" for name, count in self.to_json().items() if count]

    def to_json(self) -> dict[str, int]:
        return dataclasses.asdict(self)


_MEANINGS = {
    "restarts": "times a prompt shrank within a session: what follows runs as a session of its own",
    "padded_turns": "turns whose prompt left out part of the last output: it is kept, so the prompt is longer",
    "empty_outputs": "turns without output: one token is asked for",
    "overlaps": "turns that arrived before the last one ended: they follow it at once",
    "cut_sessions": "sessions cut before the turn that the model's context does not hold",
    "cut_turns": "turns cut with them",
    "left_out_sessions": "sessions left out: the model's context does not hold their first turn",
    "repeated_sessions": "sessions run again under another id, since more were asked for than recorded",
}
