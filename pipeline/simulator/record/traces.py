"""A run as the three tables of a trace, on the simulation's clock."""

import re
from collections.abc import Iterator
from pathlib import Path

from ....data.atomic import replace_folder
from ....data.importers.contract import Record
from ....data.importers.reading.problems import Problems
from ....data.importers.writing.writer import TraceWriter
from ..errors import SimulationError
from .recording import Recording, SeenTurn

UNKNOWN_TOOL = "unknown"  # the call of a recorded pause
SOURCE = "simulated"
_COPY = re.compile(r"(\+\d+)?(~\d+)?$")  # the suffixes of parts and repeats in data/workload


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
    """Rows of all three tables: every turn that arrived, with its call if it finished, then the steps."""
    for turn in recording.turns:
        yield "turns", _turn_row(turn, policy, profile)
        if turn.tool_call is not None and turn.record.finish_s is not None:
            yield "tool_calls", _call_row(turn, turn.record.finish_s, timing)
    for step in recording.steps():
        yield "steps", step._asdict()


def _turn_row(turn: SeenTurn, policy: str, profile: str) -> dict[str, object]:
    record = turn.record
    finished = record.finish_s is not None
    return {
        "session_id": record.session_id,
        "turn": record.turn,
        "model": profile,
        "split_group": _COPY.sub("", record.session_id),
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
        "tool_called": _tool(turn) if finished and turn.tool_call is not None else None,
        "tail_counts": turn.tail_counts,
        "scheduler_version": policy,
    }


def _call_row(turn: SeenTurn, start_s: float, timing: str) -> dict[str, object]:
    call = turn.tool_call
    assert call is not None  # noqa: S101 - the caller has looked
    return {
        "session_id": turn.record.session_id,
        "turn": turn.record.turn,
        "call": 0,
        "tool": _tool(turn),
        "start_s": start_s,
        "duration_s": call.duration_s,
        "timing": timing,
        "result_tokens": call.result_tokens,
    }


def _tool(turn: SeenTurn) -> str:
    return (turn.tool_call.tool if turn.tool_call is not None else "") or UNKNOWN_TOOL
