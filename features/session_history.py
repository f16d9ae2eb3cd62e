"""The history of a session between its turns. Serving updates it live; training rebuilds it in time order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .feature import bucket
from .running import NAN, RecentLog, Running

TOOL_BUCKETS = 16
MAX_CALLS = 256
"""Bound on the distinct calls (tool and head) of a session, whose names callers choose."""


def call_key(tool: str, head: str | None = None) -> int:
    """Stands for a tool, or for a tool and an argument head, within one process: names may be long, and callers choose
    them. `hash` has a secret in each process, so that nobody can make two names collide."""
    return hash((tool, head))


@dataclass(frozen=True, slots=True)
class ReturnedCall:
    """A tool call whose result the session's next turn brings. None: unknown."""

    tool: str | None
    duration_s: float | None = None  # None: only the pause is known
    argument_bytes: int | None = None
    argument_head: str | None = None


@dataclass(slots=True)
class SessionHistory:
    """A session's past at one moment, without anything that becomes known later."""

    tenant: str | None = None
    first_prompt_log2: float = NAN  # to half an octave
    prompt_tokens: int = 0  # of the last finished turn
    context_tokens: int = 0  # prompt and output of the last finished turn
    new_tokens: float = NAN  # prompt tokens of the last finished turn beyond the context before it
    output_tokens: Running = field(default_factory=Running)
    recent_output: RecentLog = field(default_factory=lambda: RecentLog(recent=0.3))
    pause_s: Running = field(default_factory=Running)  # from a turn's end to the next arrival
    last_tool: str | None = None
    last_head: str | None = None
    last_argument_bytes: int | None = None
    tool_before_last: str | None = None
    same_tool_turns: int = 0  # how many pauses in a row had the last tool
    last_calls: int = 0  # known calls of the last turn
    calls: int = 0  # known calls of the session
    argument_bytes: int = 0  # of the session's calls, as far as known
    call_s: dict[int, Running] = field(default_factory=dict)  # by `call_key`
    tool_turns: list[float] = field(default_factory=lambda: [NAN] * TOOL_BUCKETS)  # the turn of each tool's last call
    tool_counts: list[int] = field(default_factory=lambda: [0] * TOOL_BUCKETS)
    tools: set[int] = field(default_factory=set)  # their `call_key`s

    def turn_finished(self, prompt_tokens: int, output_tokens: int) -> None:
        if not self.output_tokens.count:
            self.first_prompt_log2 = round(2 * math.log2(max(prompt_tokens, 1))) / 2
        self.new_tokens = prompt_tokens - self.context_tokens
        self.prompt_tokens = prompt_tokens
        self.context_tokens = prompt_tokens + output_tokens
        self.output_tokens.add(float(output_tokens))
        self.recent_output.add(float(output_tokens))

    def calls_returned(self, calls: Sequence[ReturnedCall], pause_s: float) -> None:
        """Note the end of a pause and its calls: several parallel ones, or none if they are unknown.

        A single call without its own duration took the whole pause.
        """
        self.pause_s.add(pause_s)
        last = calls[-1] if calls else ReturnedCall(None)
        self.same_tool_turns = self.same_tool_turns + 1 if last.tool == self.last_tool else 1
        self.tool_before_last = self.last_tool
        self.last_tool, self.last_head = last.tool, last.argument_head
        self.last_argument_bytes = last.argument_bytes
        self.last_calls = len(calls)
        self.calls += len(calls)
        for call in calls:
            self.argument_bytes += call.argument_bytes or 0
            if call.tool is None:
                continue
            index = bucket(call.tool, TOOL_BUCKETS)
            self.tool_counts[index] += 1
            self.tool_turns[index] = self.output_tokens.count
            if len(self.tools) < MAX_CALLS:
                self.tools.add(call_key(call.tool))
            duration_s = own_duration_s(call, calls, pause_s)
            if duration_s is not None:
                self._timed(call_key(call.tool), duration_s)
                if call.argument_head is not None:
                    self._timed(call_key(call.tool, call.argument_head), duration_s)

    def _timed(self, key: int, duration_s: float) -> None:
        past = self.call_s.get(key)
        if past is None:
            if len(self.call_s) >= MAX_CALLS:
                return
            past = self.call_s[key] = Running()
        past.add(duration_s)


def own_duration_s(call: ReturnedCall, calls: Sequence[ReturnedCall], pause_s: float) -> float | None:
    """The call's own duration, or the pause if it was the only call; else None: unknown."""
    if call.duration_s is not None:
        return call.duration_s
    return pause_s if len(calls) == 1 else None
