"""Random trees of sessions as rows, for the tests of exporters."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Rows = list[dict[str, Any]]


@dataclass
class Made:
    turns: Rows = field(default_factory=list)
    calls: Rows = field(default_factory=list)


@st.composite
def forests(draw: st.DrawFn) -> Made:
    made = Made()
    for number in range(draw(st.integers(1, 3))):
        _session(draw, made, f"s{number}", None, draw(st.integers(0, 10_000)) / 8, 0)
    return made


def _session(draw: st.DrawFn, made: Made, name: str, parent: str | None, start_s: float, depth: int) -> float:
    """Adds the rows of a session and its sub-agents; returns its end."""
    clock_s = start_s
    turns = draw(st.integers(1, 3))
    for turn in range(turns):
        finish_s = clock_s + draw(st.integers(0, 400)) / 16
        row = {"source": "made", "session_id": name, "turn": turn, "parent_session_id": parent}
        agents = draw(st.integers(0, 2)) if depth < 2 and turn < turns - 1 else 0
        tool = None if turn == turns - 1 else "task" if agents else draw(st.sampled_from([None, "bash"]))
        made.turns.append(
            row
            | {
                "model": draw(st.sampled_from([None, "m"])),
                "arrival_s": clock_s,
                "finish_s": finish_s,
                "prompt_tokens": draw(st.integers(1, 400)),
                "output_tokens": draw(st.integers(0, 50)),
                "finish_reason": draw(st.sampled_from([None, "stop", "length"])),
                "tool_called": tool,
            }
        )
        ends_s = [finish_s]
        for call in range(agents):
            begin_s = finish_s + draw(st.integers(0, 16)) / 16
            agent = f"{name}/a{turn}-{call}"
            end_s = _session(draw, made, agent, name, begin_s, depth + 1)
            made.calls.append(_call(name, turn, call, "task", begin_s, end_s - begin_s) | {"agent_session_id": agent})
            ends_s.append(end_s)
        clock_s = max(ends_s) + draw(st.integers(0, 10_000)) / 16
        if tool == "bash":
            made.calls.append(_call(name, turn, 0, "bash", finish_s, clock_s - finish_s))
    return finish_s


def _call(session: str, turn: int, call: int, tool: str, start_s: float, duration_s: float) -> dict[str, Any]:
    identity = {"source": "made", "session_id": session, "turn": turn, "call": call, "tool": tool}
    return identity | {"start_s": start_s, "duration_s": duration_s, "timing": "call"}
