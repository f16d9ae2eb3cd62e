"""Recorded sessions as sessions to run.

- The pause after a turn lasts from its end to the next turn's arrival: a replay at scale 1 has the recorded arrivals.
  Where the trace has no finish time, the pause is the tool calls' own time, from the first start to the last end.
  Without calls it is the time between the two arrivals, less a nominal time to decode.
- Parallel calls become one call, named after the call that ended last.
- A prompt that is no longer than the one before (a compacted context) begins another session, at its recorded distance
  from the first. A prompt that lacks only part of the last output is lengthened to include all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..tables.sessions import RecordedCall, RecordedTurn, read_sessions
from .adjustments import Adjustments
from .model import MAX_TOKENS, Session, ToolCall, Turn, WorkloadError
from .steady_state import NOMINAL_TOKEN_S


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A recorded session, and the sessions to run for it: `pieces`, whose arrivals count from the session's start."""

    source: str
    session_id: str
    group: str  # the split group
    start_s: float  # since the start of the folder's first session
    pieces: tuple[Session, ...]


def recorded_sessions(folder: Path, adjustments: Adjustments) -> tuple[RecordedSession, ...]:
    """The folder's sessions by their start; `adjustments` counts what differs from the recording.

    Raises TraceError for unusable tables, WorkloadError where there is no session.
    """
    recorded = read_sessions([folder], vectors=False)
    if not recorded:
        raise WorkloadError(f"{folder}: the traces hold no session; gather or import some first")
    max_tokens = max(MAX_TOKENS, *(turn.output_tokens for turns in recorded for turn in turns))
    first_s = min(turn.arrival_s for turns in recorded for turn in turns)
    sessions = [
        RecordedSession(
            source=turns[0].source,
            session_id=turns[0].session_id,
            group=turns[0].split_group,
            start_s=turns[0].arrival_s - first_s,
            pieces=_pieces(turns, max_tokens, adjustments),
        )
        for turns in recorded
    ]
    return tuple(sorted(sessions, key=lambda session: (session.start_s, session.source, session.session_id)))


def _pieces(recorded: Sequence[RecordedTurn], max_tokens: int, adjustments: Adjustments) -> tuple[Session, ...]:
    """The session, cut where its prompt shrinks."""
    pieces: list[Session] = []
    turns: list[Turn] = []
    first = recorded[0]  # of the piece
    context_tokens = 0  # of the piece so far
    for turn, following in zip(recorded, (*recorded[1:], None), strict=True):
        if not turns:
            first, context_tokens = turn, 0
        prompt_tokens, output_tokens = max(turn.prompt_tokens, 1), max(turn.output_tokens, 1)
        adjustments.empty_outputs += turn.output_tokens < 1
        adjustments.padded_turns += bool(turns) and prompt_tokens <= context_tokens
        new_tokens = max(prompt_tokens - context_tokens, 1)
        context_tokens += new_tokens + output_tokens
        if following is not None and following.prompt_tokens > turn.prompt_tokens:
            result_tokens = max(following.prompt_tokens - context_tokens, 1)
            turns.append(Turn(new_tokens, output_tokens, _tool_call(turn, following, result_tokens, adjustments)))
            continue
        turns.append(Turn(new_tokens, output_tokens, None))
        pieces.append(
            Session(
                session_id=f"{turn.source}:{turn.session_id}" + (f"+{len(pieces)}" if pieces else ""),
                kind=turn.source,
                arrival_s=max(first.arrival_s - recorded[0].arrival_s, 0.0),
                turns=tuple(turns),
                tools_offered=1 if first.tools_offered is None else first.tools_offered,
                max_tokens=max_tokens,
            )
        )
        turns = []
    adjustments.restarts += len(pieces) - 1
    return tuple(pieces)


def _tool_call(turn: RecordedTurn, following: RecordedTurn, result_tokens: int, adjustments: Adjustments) -> ToolCall:
    """The pause between two turns as one tool call."""
    last = max(turn.calls, key=lambda call: call.end_s, default=None)
    pause_s = _pause_s(turn, following, last)
    adjustments.overlaps += pause_s < 0
    return ToolCall("" if last is None else last.tool, max(pause_s, 0.0), result_tokens)


def _pause_s(turn: RecordedTurn, following: RecordedTurn, last: RecordedCall | None) -> float:
    if turn.finish_s is not None:
        return following.arrival_s - turn.finish_s
    if last is not None:
        return last.end_s - min(call.start_s for call in turn.calls)
    return following.arrival_s - turn.arrival_s - turn.output_tokens * NOMINAL_TOKEN_S
