"""Recorded traces as sessions to run: the `turns` and `tool_calls` tables of a folder, joined.

- The pause after a turn is the time from its end to the next turn's arrival, so that a replay at scale 1 has the
  recorded arrivals. Where the trace does not tell a turn's end, it is the calls' own time, from the first one's start
  to the last one's end; without calls it is the time between the two arrivals, less a nominal time to decode.
- Parallel calls become one: it bears the name of the call that ended last.
- Each life of a session (data/tables/restarts.py) is a session.
- A prompt that is no longer than the one before (a context was compacted) begins a session of its own, at its recorded
  distance from the first. A prompt that left out only part of the last output goes on with all of it.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tables.files import TableName, read_table
from ..tables.restarts import Lives
from ..tables.schema import TURNS
from .adjustments import Changes
from .model import MAX_TOKENS, Session, ToolCall, Turn, WorkloadError
from .steady_state import NOMINAL_TOKEN_S

_TURN_COLUMNS = ("source", "session_id", "turn", "arrival_s", "finish_s", "prompt_tokens", "output_tokens")
_OPTIONAL_COLUMNS = ("tools_offered", "split_group")  # of other releases, or null
_CALL_COLUMNS = ("source", "session_id", "turn", "call", "tool", "start_s", "duration_s")
Row = Mapping[str, Any]
Key = tuple[str, str]  # source, session id


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A session as recorded. `pieces` are what runs; a piece's `arrival_s` is since the session's start."""

    source: str
    session_id: str
    group: str  # sessions of a group hold the same records
    start_s: float  # since the first session's
    pieces: tuple[Session, ...]


def read_sessions(folder: Path, changes: Changes) -> tuple[RecordedSession, ...]:
    """The folder's sessions in order of their start; what had to be changed is counted in `changes`.

    Raises TraceError for unusable tables, WorkloadError where there is no session or a turn is there twice.
    """
    wanted = (*_TURN_COLUMNS, *(name for name in _OPTIONAL_COLUMNS if name in TURNS.names))
    recorded = _rows(folder, "turns", wanted)
    for row in recorded:
        _refuse_no_time(folder, row, "arrival_s", "finish_s")
    lives = Lives(recorded)
    turns: dict[Key, list[Row]] = defaultdict(list)
    for row in recorded:
        turns[row["source"], lives.name(row, row["arrival_s"])].append(row)
    if not turns:
        raise WorkloadError(f"{folder}: the traces hold no session; gather or import some first")
    calls: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    if any(folder.glob("tool_calls*.parquet")):
        for row in _rows(folder, "tool_calls", _CALL_COLUMNS):
            _refuse_no_time(folder, row, "start_s", "duration_s")
            calls[row["source"], lives.name(row, row["start_s"]), row["turn"]].append(row)
    max_tokens = max(MAX_TOKENS, *(row["output_tokens"] for rows in turns.values() for row in rows))
    first_s = min(row["arrival_s"] for rows in turns.values() for row in rows)
    sessions = []
    for key, rows in turns.items():
        rows.sort(key=lambda row: int(row["turn"]))
        _refuse_doubles(folder, key, rows)
        pieces = _pieces(key, rows, calls, max_tokens, changes)
        group = rows[0].get("split_group") or rows[0]["session_id"]
        sessions.append(RecordedSession(*key, group, rows[0]["arrival_s"] - first_s, pieces))
    return tuple(sorted(sessions, key=lambda session: (session.start_s, session.source, session.session_id)))


def _rows(folder: Path, name: TableName, columns: Iterable[str]) -> list[Row]:
    rows: list[Row] = read_table(folder, name).select(list(columns)).to_pylist()
    return rows


def _refuse_no_time(folder: Path, row: Row, *names: str) -> None:
    for name in names:
        if row[name] is not None and not math.isfinite(row[name]):
            raise WorkloadError(
                f"{folder}: {name} of turn {row['turn']} of session {row['session_id']!r} is {row[name]}; correct it"
            )


def _refuse_doubles(folder: Path, key: Key, rows: Sequence[Row]) -> None:
    for row, following in itertools.pairwise(rows):
        if row["turn"] == following["turn"]:
            raise WorkloadError(f"{folder}: turn {row['turn']} of session {key[1]!r} is there twice; remove one")


def _pieces(
    key: Key, rows: Sequence[Row], calls: Mapping[tuple[str, str, int], Sequence[Row]], limit: int, changes: Changes
) -> tuple[Session, ...]:
    """The session, cut where its prompt shrinks."""
    pieces: list[Session] = []
    turns: list[Turn] = []
    begun = context = 0  # the piece's first row; tokens of the piece so far
    for index, row in enumerate(rows):
        prompt, output = max(row["prompt_tokens"], 1), max(row["output_tokens"], 1)
        changes.empty_outputs += row["output_tokens"] < 1
        changes.padded_turns += bool(turns) and prompt <= context
        new_tokens = max(prompt - context, 1)
        context += new_tokens + output
        following = rows[index + 1] if index + 1 < len(rows) else None
        goes_on = following is not None and following["prompt_tokens"] > row["prompt_tokens"]
        call = None
        if following is not None and goes_on:
            result_tokens = max(following["prompt_tokens"] - context, 1)
            call = _pause(row, following, calls.get((*key, row["turn"]), ()), result_tokens, changes)
        turns.append(Turn(new_tokens, output, call))
        if not goes_on:
            pieces.append(_piece(key, rows[begun], rows[0], len(pieces), turns, limit))
            begun, context, turns = index + 1, 0, []
    changes.restarts += len(pieces) - 1
    return tuple(pieces)


def _piece(key: Key, row: Row, first: Row, number: int, turns: Sequence[Turn], limit: int) -> Session:
    offered = row["tools_offered"]
    return Session(
        session_id=f"{key[0]}:{key[1]}" + (f"+{number}" if number else ""),
        kind=key[0],
        arrival_s=max(row["arrival_s"] - first["arrival_s"], 0.0),
        turns=tuple(turns),
        tools_offered=1 if offered is None else offered,
        max_tokens=limit,
    )


def _pause(row: Row, following: Row, calls: Sequence[Row], result_tokens: int, changes: Changes) -> ToolCall:
    last = max(calls, key=_end_s, default=None)
    if row["finish_s"] is not None:
        duration_s = following["arrival_s"] - row["finish_s"]
    elif last is not None:
        duration_s = _end_s(last) - min(call["start_s"] for call in calls)
    else:
        duration_s = following["arrival_s"] - row["arrival_s"] - row["output_tokens"] * NOMINAL_TOKEN_S
    changes.overlaps += duration_s < 0
    return ToolCall("" if last is None else str(last["tool"]), max(float(duration_s), 0.0), result_tokens)


def _end_s(call: Row) -> float:
    return float(call["start_s"] + call["duration_s"])
