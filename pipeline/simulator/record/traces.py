"""A run as the three tables of a trace, on the simulation's clock."""

import re
from collections.abc import Iterator
from pathlib import Path

from ....data.atomic import replace_folder
from ....data.importers.contract import Record
from ....data.importers.reading.problems import Problems
from ....data.importers.writing.writer import TraceWriter
from ....data.workload.model import ToolCall
from ..errors import SimulationError
from ..observers.recording import Recording, SeenTurn

UNKNOWN_TOOL = "unknown"  # the call of a recorded pause
SOURCE = "simulated"
_COPY = re.compile(r"~\d+$")  # the suffix of copies in data/workload


def write_traces(recording: Recording, folder: Path, policy: str, profile: str, timing: str) -> None:
    """Write the tables into `folder`, which appears whole or not at all.

    `timing` is the column of tool_calls: `modelled` where the tool times were drawn, `pause` where they are recorded
    pauses. Raises SimulationError where the folder cannot be written.
    """

    def fill(temporary: Path) -> None:
        # The simulator numbers sessions and turns itself, so a row that fails a check is a bug: strict.
        writer = TraceWriter(temporary, SOURCE, SOURCE, Problems(strict=True), unique=False)
        writer.write(records(recording, policy, profile, timing))

    try:
        replace_folder(folder, fill)
    except OSError as error:
        raise SimulationError(f"{folder}: cannot be written: {error.strerror}; name a writable folder") from error


def records(recording: Recording, policy: str, profile: str, timing: str) -> Iterator[Record]:
    """Rows of all three tables: every turn that arrived, with the calls of finished turns, then the steps."""
    roots = _roots(recording)
    ended_s = {turn.record.session_id: turn.record.finish_s for turn in recording.turns if turn.record.last}
    for turn in recording.turns:
        yield "turns", _turn_row(turn, roots[turn.record.session_id], policy, profile)
        if turn.record.finish_s is not None:
            for number, call in enumerate(turn.calls):
                agent_end_s = turn.record.finish_s if call.agent is None else ended_s.get(call.agent.session_id)
                if agent_end_s is not None:
                    duration_s = agent_end_s - turn.record.finish_s + call.duration_s
                    yield "tool_calls", _call_row(turn, number, call, duration_s, timing)
    for step in recording.steps():
        yield "steps", step._asdict()


def _roots(recording: Recording) -> dict[str, str]:
    """The session at the root of each session's tree. A parent's turns come before those of its sub-agents."""
    roots: dict[str, str] = {}
    for turn in recording.turns:
        session_id, parent_id = turn.record.session_id, turn.record.parent_id
        roots[session_id] = session_id if parent_id is None else roots[parent_id]
    return roots


def _turn_row(turn: SeenTurn, root_id: str, policy: str, profile: str) -> dict[str, object]:
    record = turn.record
    finished = record.finish_s is not None
    return {
        "session_id": record.session_id,
        "turn": record.turn,
        "parent_session_id": record.parent_id,
        "model": profile,
        "split_group": _COPY.sub("", root_id),
        "request_id": turn.request_id,
        "arrival_s": record.arrival_s,
        "first_token_s": record.first_token_s,
        "finish_s": record.finish_s,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": None if record.first_token_s is None else record.cached_tokens,
        "output_tokens": record.output_tokens,
        "max_tokens": turn.max_tokens,
        "temperature": 1.0,  # vLLM's defaults, which the simulator's requests keep
        "top_p": 1.0,
        "structured": False,
        "finish_reason": turn.finish_reason,
        "tools_offered": turn.tools_offered,
        "tool_called": (turn.calls[0].tool or UNKNOWN_TOOL) if finished and turn.calls else None,
        "tail_counts": turn.tail_counts,
        "scheduler_version": policy,
    }


def _call_row(turn: SeenTurn, number: int, call: ToolCall, duration_s: float, timing: str) -> dict[str, object]:
    return {
        "session_id": turn.record.session_id,
        "turn": turn.record.turn,
        "call": number,
        "tool": call.tool or UNKNOWN_TOOL,
        "start_s": turn.record.finish_s,
        "duration_s": duration_s,
        "timing": timing,
        "result_tokens": call.result_tokens,
        "agent_session_id": None if call.agent is None else call.agent.session_id,
    }
