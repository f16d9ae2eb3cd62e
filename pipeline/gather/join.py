"""Joins the recorder's files with the client's records into the tables of a trace."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from tokenizers import Tokenizer

from ...data.tables.files import read_table, rows_to_table
from ...data.tables.pseudonyms import Pseudonyms
from ...runtime.recording.rows import session_name
from ..project.stage import StageError
from .session import CallSeen, GatheredTurn, SessionSeen, argument_facts

Key = tuple[str, int]  # name of the session in the recorder's files, turn


class JoinError(StageError):
    """Recorder and client disagree; the message names the difference."""


def join_turns(recorded: Path, seen: Sequence[SessionSeen]) -> pa.Table:
    """The recorder's turns, by arrival, with the tool of the client's plan.

    Raises JoinError unless both have the same turns with the same token counts, so that no trace is silently partial.
    """
    table = read_table(recorded, "turns").sort_by([("arrival_s", "ascending"), ("turn", "ascending")])
    rows = table.to_pylist()
    names = Pseudonyms.kept_in(recorded)
    by_key = {(session_name(turn.session_id, names), turn.turn): turn for session in seen for turn in session.turns}
    _check_same_turns(rows, by_key)
    for row in rows:
        turn = by_key[row["session_id"], row["turn"]]
        server_counts = (row["prompt_tokens"], row["output_tokens"])
        client_counts = (turn.prompt_tokens, turn.output_tokens)
        if server_counts != client_counts:
            raise JoinError(
                f"turn {turn.turn} of {turn.session_id}: the recorder has {server_counts} prompt and output tokens, "
                f"the client {client_counts}; gather again and report it"
            )
        row["session_id"], row["tool_called"] = turn.session_id, turn.tool_called
    return rows_to_table("turns", rows)


def _check_same_turns(rows: Sequence[Mapping[str, object]], by_key: Mapping[Key, GatheredTurn]) -> None:
    recorded = {(row["session_id"], row["turn"]) for row in rows}
    if len(recorded) != len(rows) or recorded != set(by_key):
        raise JoinError(
            f"the recorder has {len(rows)} turns ({len(recorded)} distinct), the client {len(by_key)}: "
            f"{len(set(by_key) - recorded)} are missing, {len(recorded - set(by_key))} are unknown; gather again"
        )


def call_table(seen: Sequence[SessionSeen], source: str, tokenizer_file: Path) -> pa.Table:
    """The tool calls with the client's times, by start; results are counted in the model's tokens."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    calls = sorted((call for session in seen for call in session.calls), key=lambda call: call.start_s)
    return rows_to_table("tool_calls", [_call_row(call, source, tokenizer) for call in calls])


def _call_row(call: CallSeen, source: str, tokenizer: Tokenizer) -> dict[str, object]:
    return {
        "source": source,
        "session_id": call.session_id,
        "turn": call.turn,
        "call": 0,
        "tool": call.tool,
        "start_s": call.start_s,
        "duration_s": call.duration_s,
        "timing": "call",
        "result_tokens": len(tokenizer.encode(call.result, add_special_tokens=False).ids),
        **argument_facts(call),
    }
