"""Sessions to run, the same for the simulator and for a live server: trees, since calls may run sub-agents."""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_TOKENS = 1024  # the limit on output that a client of the mix sends


class WorkloadError(ValueError):
    """A workload cannot be made; the message names the figure or file, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One of the calls that a turn makes. Parallel calls begin together, at the turn's end."""

    tool: str  # empty: unknown
    duration_s: float  # until the result; of a sub-agent: from its last token until its result
    result_tokens: int
    agent: "Session | None" = None  # the sub-agent that the call runs; its arrival_s counts from the turn's end


@dataclass(frozen=True, slots=True)
class Turn:
    """One LLM call. Its prompt is the context so far, then `new_tokens`: the first prompt or the tools' results.

    The next turn arrives when all calls have returned.
    """

    new_tokens: int
    output_tokens: int  # unknown to the scheduler
    calls: tuple[ToolCall, ...] = ()  # none ends the session
    kept_tokens: int | None = None  # of the context, before new tokens: a compaction keeps a part. None: all of it

    @property
    def longest_call(self) -> ToolCall | None:
        """The call that takes the longest: a sub-agent where there is one."""
        return max(self.calls, key=lambda call: (call.agent is not None, call.duration_s), default=None)

    @property
    def tools_s(self) -> float:
        """The time until the last call without a sub-agent returns."""
        return max((call.duration_s for call in self.calls if call.agent is None), default=0.0)


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """The first `tokens` of a session, equal to those of each session that names the same `stream`."""

    stream: str  # an id of its own, or the id of a session
    tokens: int
    output_ends: tuple[int, ...] = ()  # lengths at which outputs end within the prefix


@dataclass(frozen=True, slots=True)
class Session:
    session_id: str
    kind: str  # math, qa, ve, chatbot, image, tts, or the source of a recorded session
    arrival_s: float
    turns: tuple[Turn, ...]
    tools_offered: int = 1
    max_tokens: int = MAX_TOKENS  # the limit on output that the client sends with each turn
    shared: tuple[SharedPrefix, ...] = ()  # from the shortest to the longest; each continues the one before

    def prompt_tokens(self, turn: int) -> int:
        """Length of the prompt of turn `turn`."""
        return self.prompt_lengths()[turn]

    def prompt_lengths(self) -> list[int]:
        """Length of the prompt of each turn."""
        lengths: list[int] = []
        context = 0
        for turn in self.turns:
            prompt = turn.new_tokens + (context if turn.kept_tokens is None else turn.kept_tokens)
            lengths.append(prompt)
            context = prompt + turn.output_tokens
        return lengths

    def stream(self, first: int) -> str:
        """The name of the session's own tokens from turn `first` on, which begins the session or compacts it."""
        return f"{self.session_id}|{len(self.turns) - first}" if first else self.session_id

    @property
    def entered_midway(self) -> bool:
        """Whether its first turns are left out: its first prompt is then a prefix of its own tokens."""
        return any(prefix.stream.partition("|")[0] == self.session_id for prefix in self.shared)

    @property
    def agents(self) -> Iterator["Session"]:
        """The sub-agents that the session's turns start, without those of sub-agents."""
        return (call.agent for turn in self.turns for call in turn.calls if call.agent is not None)

    def tree(self) -> Iterator["Session"]:
        """The session, then its sub-agents and theirs."""
        yield self
        for agent in self.agents:
            yield from agent.tree()
