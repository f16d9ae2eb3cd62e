"""Recorded traces as turns of the past: the `turns` and `tool_calls` tables joined."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.tables.files import TraceError, read_table
from ...data.tables.prompt_tail import TAIL_BUCKETS
from ...data.tables.restarts import Lives
from ...features import feature
from ...features.past import PastCall, PastPause, PastTurn
from ...features.turn import TURN_FEATURES, TurnFacts

_FINISHED = ("stop", "length", None)  # finish reasons that tell a turn's length; None: not recorded
NOMINAL_TOKEN_S = 0.02  # pace of an output of which no finish is told; it only orders what several sessions teach
_TEXT = ("prompt_token_ids", "output_token_ids")  # columns that are not needed here, and large

Key = tuple[str, str, int]  # source, session, turn
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    source: str
    past: PastTurn
    features: NDArray[np.float32] | None  # as computed at arrival; None: not recorded, or by another release
    split_group: str  # sessions of one group are never in different parts of a split
    cut_off: bool  # the output ended at a limit, not by itself
    ends_in_tool: bool | None  # None: the set does not tell of tool calls
    model: str | None = None  # that served it; None: not told


def read_traces(folders: Sequence[Path]) -> list[RecordedTurn]:
    """All turns of the folders' tables, each with the pause and the calls that followed it.

    The calls that a turn made at once are in the order of their column `call`. A pause before a session's next turn of
    which no tool call tells is one without calls, as in serving. Each life of a session (restarts.py) is a session,
    of the split group of the others. Raises TraceError for an unusable file, for a turn or a call that is there twice,
    and for a time or duration that is no number.
    """
    every = [(folder, row) for folder in folders for row in _rows(folder, "turns")]
    lives = Lives(row for _, row in every)
    turns: dict[Key, Row] = {}
    calls: dict[Key, dict[int, Row]] = defaultdict(dict)
    for folder, row in every:
        row["split_group"] = row["split_group"] or row["session_id"]
        row["session_id"] = lives.name(row, row["arrival_s"])
        if _key(row) in turns:
            raise TraceError(
                f"{folder}: turn {row['turn']} of session {row['session_id']!r} is there twice; remove one"
            )
        turns[_key(row)] = row
    for folder in folders:
        for row in _rows(folder, "tool_calls"):
            row["session_id"] = lives.name(row, row["start_s"])
            if row["call"] in calls[_key(row)]:
                raise TraceError(
                    f"{folder}: call {row['call']} of turn {row['turn']} of session {row['session_id']!r} is there "
                    "twice; remove one"
                )
            calls[_key(row)][row["call"]] = row
    told = {key[0] for key in calls} | {key[0] for key, row in turns.items() if row["tool_called"] is not None}
    recorded = []
    for key, row in sorted(turns.items()):
        made = [call for _, call in sorted(calls[key].items())] if key in calls else []
        following = turns.get((key[0], key[1], key[2] + 1))
        ends_in_tool = None if key[0] not in told else bool(made) or row["tool_called"] is not None
        recorded.append(_recorded(row, made, following, ends_in_tool))
    return recorded


def multi_turn(turns: Sequence[RecordedTurn]) -> bool:
    """Whether a source tells of sessions at all: where each has one turn, their lengths say nothing."""
    return max(Counter(turn.past.session_id for turn in turns).values(), default=0) > 1


def by_model(turns: Sequence[RecordedTurn]) -> list[list[RecordedTurn]]:
    """The turns of each model's sessions. A session belongs to the model of its first turn: an engine serves one model,
    and what it remembers over all sessions is of that model alone."""
    first: dict[str, RecordedTurn] = {}
    for turn in turns:
        session = turn.past.session_id
        if session not in first or turn.past.facts.turn < first[session].past.facts.turn:
            first[session] = turn
    found: dict[str, list[RecordedTurn]] = defaultdict(list)
    for turn in turns:
        found[first[turn.past.session_id].model or ""].append(turn)
    return [found[name] for name in sorted(found)]


def _rows(folder: Path, name: str) -> list[Row]:
    """The one file that gather and the importers write, or the folder where the recorder wrote several. It writes no
    calls where no caller names any."""
    if name == "tool_calls" and folder.is_dir() and not any(folder.glob("tool_calls*.parquet")):
        return []
    single = folder / f"{name}.parquet"
    path = single if single.is_file() or not folder.is_dir() else folder
    table = read_table(path, "turns" if name == "turns" else "tool_calls")
    times = [column for column in ("arrival_s", "finish_s", "start_s", "duration_s") if column in table.column_names]
    for column in times:
        values = table.column(column).drop_null().to_numpy()
        if not np.isfinite(values).all():
            raise TraceError(f"{path}: column {column!r} of table {name} holds NaN or infinity; correct what wrote it")
    rows: list[Row] = table.drop_columns([text for text in _TEXT if text in table.column_names]).to_pylist()
    return rows


def _key(row: Mapping[str, Any]) -> Key:
    return row["source"], row["session_id"], row["turn"]


def _recorded(row: Row, calls: Sequence[Row], following: Row | None, ends_in_tool: bool | None) -> RecordedTurn:
    finish_s = _finish_s(row)
    tail = row["tail_counts"]
    facts = TurnFacts(
        prompt_tokens=row["prompt_tokens"],
        turn=row["turn"],
        max_tokens=row["max_tokens"],
        temperature=row["temperature"],
        top_p=row["top_p"],
        structured=row["structured"],
        tools_offered=row["tools_offered"],
        tail=tail if tail is not None and len(tail) == TAIL_BUCKETS else None,
    )
    past = PastTurn(
        session_id=row["session_id"],
        facts=facts,
        arrival_s=row["arrival_s"],
        finish_s=finish_s,
        output_tokens=row["output_tokens"],
        pause=None if finish_s is None else _pause(finish_s, calls, following),
        tenant=row["tenant"],
    )
    limit = row["max_tokens"] if row["max_tokens"] is not None else math.inf
    return RecordedTurn(
        source=row["source"],
        past=past,
        features=_recorded_features(row),
        split_group=row["split_group"],
        cut_off=row["finish_reason"] == "length" or (row["finish_reason"] is None and row["output_tokens"] >= limit),
        ends_in_tool=ends_in_tool,
        model=row.get("model"),
    )


def _finish_s(row: Row) -> float | None:
    """When the turn came to its end; None where it did not. A set without finish times (arrivals and lengths are all
    that it tells) is given a nominal pace, so that its outputs are known some time after their arrival."""
    if row["finish_reason"] not in _FINISHED or row["output_tokens"] <= 0:
        return None
    if row["finish_s"] is not None:
        return float(row["finish_s"])
    if row["finish_reason"] is None and row["features_version"] is None:
        return float(row["arrival_s"] + NOMINAL_TOKEN_S * row["output_tokens"])
    return None


def _pause(finish_s: float, calls: Sequence[Row], following: Row | None) -> PastPause | None:
    """The pause ends with the next turn's arrival; where none came, with the last of its calls."""
    made = tuple(
        PastCall(
            call["tool"],
            max(call["duration_s"], 0.0),
            call["argument_count"],
            call["argument_bytes"],
            call["argument_head"],
            timed=call["timing"] == "call",
        )
        for call in calls
    )
    if following is not None:
        return PastPause(following["arrival_s"], max(following["arrival_s"] - finish_s, 0.0), made)
    if not made:
        return None
    return_s = max(call["start_s"] + call["duration_s"] for call in calls)
    return PastPause(return_s, max(return_s - finish_s, 0.0), made)


def _recorded_features(row: Row) -> NDArray[np.float32] | None:
    features = row["features"]
    if features is None or row["features_version"] != feature.VERSION or len(features) != len(TURN_FEATURES):
        return None
    return np.array([np.nan if value is None else value for value in features], np.float32)
