"""The history of all sessions together: recent durations of tools, outputs and pauses."""

from collections.abc import Sequence

from .running import RecentLog, RecentTable
from .session_history import ReturnedCall, SessionHistory, own_duration_s

PRIOR = 3.0
"""Number of values with which a level of the hierarchy weighs as much as the level above it."""


class SharedHistory:
    """Bounded in memory, on one clock with the sessions, without anything that becomes known later."""

    def __init__(self) -> None:
        self.call_s: RecentTable[tuple[str, str]] = RecentTable()  # by tool and head
        self.tool_s: RecentTable[str] = RecentTable()
        self.family_s: RecentTable[str] = RecentTable()
        self.all_s = RecentLog()
        self.tenant_output: RecentTable[str] = RecentTable()
        self.after_tool_output: RecentTable[str | None] = RecentTable()  # by the tool whose result the turn read
        self.after_call_output: RecentTable[tuple[str, str]] = RecentTable()
        self.after_pair_output: RecentTable[tuple[str | None, str]] = RecentTable()  # by the last two tools
        self.all_output = RecentLog()
        self.pause_s: RecentTable[str | None] = RecentTable()  # of turns that read a result of the tool
        self.all_pause_s = RecentLog()
        self.all_turns = RecentLog(recent=0.02)  # turn numbers, averaged over a long time

    def turn_finished(self, session: SessionHistory, output_tokens: int) -> None:
        """Note the output of a turn. `session` is its history at the turn's arrival or after its end."""
        value = float(output_tokens)
        self.all_output.add(value)
        self.all_turns.add(max(float(session.output_tokens.count), 1.0))
        self.after_tool_output.add(session.last_tool, value)
        if session.last_tool is not None:
            self.after_pair_output.add((session.tool_before_last, session.last_tool), value)
        if session.last_tool is not None and session.last_head is not None:
            self.after_call_output.add((session.last_tool, session.last_head), value)
        if session.tenant is not None:
            self.tenant_output.add(session.tenant, value)

    def paused(self, session: SessionHistory, pause_s: float) -> None:
        """Note a pause. `session` is its history before the pause ends, so its last tool led to the pause."""
        self.all_pause_s.add(pause_s)
        self.pause_s.add(session.last_tool, pause_s)

    def calls_returned(self, calls: Sequence[ReturnedCall], pause_s: float) -> None:
        """Note the calls of a pause of `pause_s` seconds."""
        for call in calls:
            duration_s = own_duration_s(call, calls, pause_s)
            if call.tool is None or duration_s is None:
                continue
            self.all_s.add(duration_s)
            self.tool_s.add(call.tool, duration_s)
            family = tool_family(call.tool)
            if family is not None:
                self.family_s.add(family, duration_s)
            if call.argument_head is not None:
                self.call_s.add((call.tool, call.argument_head), duration_s)


def tool_family(tool: str) -> str | None:
    """The server or package in a tool's name, None if there is none.

    Known forms: `mcp__server__tool`, `server__tool`, `server.tool`, `server/tool`, `server:tool`.
    """
    name = tool.removeprefix("mcp__")
    for separator in ("__", ".", "/", ":"):
        family, separated, _ = name.partition(separator)
        if separated and family:
            return family
    return None


def fall_back(*levels: RecentLog) -> tuple[float, float, float]:
    """Mean, spread and 0.9 quantile of log values, estimated from `levels`, which go from general to special.

    Each level is shrunk towards the one above it with a weight of PRIOR values. NaN if all levels are empty.
    """
    mean = spread = high = float("nan")
    for level in levels:
        count = level.count
        if not count:
            continue
        if mean != mean:
            mean, high = level.mean, level.high
        else:
            mean = (count * level.mean + PRIOR * mean) / (count + PRIOR)
            high = (count * level.high + PRIOR * high) / (count + PRIOR)
        if count > 1:
            spread = level.spread if spread != spread else (count * level.spread + PRIOR * spread) / (count + PRIOR)
    return mean, spread, high
