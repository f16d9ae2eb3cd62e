"""Sessions to run, the same for the simulator and for a live server."""

from dataclasses import dataclass

MAX_TOKENS = 1024  # the limit on output that a client of the mix sends


class WorkloadError(ValueError):
    """A workload cannot be made; the message names the figure or file, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    tool: str  # empty: unknown
    duration_s: float
    result_tokens: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One LLM call. Its prompt is the whole session so far, then `new_tokens`: the first prompt or a tool's result."""

    new_tokens: int
    output_tokens: int  # unknown to the scheduler
    tool_call: ToolCall | None  # after the turn; None ends the session


@dataclass(frozen=True, slots=True)
class Session:
    session_id: str
    kind: str  # math, qa, ve, chatbot, image, tts, or the source of a recorded session
    arrival_s: float
    turns: tuple[Turn, ...]
    tools_offered: int = 1
    max_tokens: int = MAX_TOKENS  # the limit on output that the client sends with each turn

    def prompt_tokens(self, turn: int) -> int:
        """Length of the prompt of turn `turn`."""
        past = self.turns[:turn]
        return sum(t.new_tokens + t.output_tokens for t in past) + self.turns[turn].new_tokens
