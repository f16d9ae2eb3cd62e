"""Recorded traces as turns of the past: the `turns` and `tool_calls` tables joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.traces import TraceError, read_table
from ..features import feature
from ..features.replay import PastCall, PastTurn
from ..features.turn import TURN_FEATURES, TurnFacts

_NAMES = [part.name for part in TURN_FEATURES]
_TAIL = np.array([name.startswith("tail_") for name in _NAMES])
_FINISHED = ("stop", "length", None)  # finish reasons that tell a turn's length; None: not recorded
_OPTIONAL = ("max_tokens", "temperature", "structured")  # columns that may be null, and the features they become


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    source: str
    past: PastTurn
    features: NDArray[np.float32] | None  # as computed at arrival; None: not recorded, or by another release
    unknown: tuple[str, ...]  # features whose column is null

    def known_features(self, replayed: NDArray[np.float32]) -> NDArray[np.float32]:
        """The recorded vector; without one the replayed, with NaN for what the columns do not tell."""
        if self.features is not None:
            return self.features
        row = replayed.copy()
        row[_TAIL] = np.nan
        row[[_NAMES.index(name) for name in self.unknown]] = np.nan
        return row


def read_traces(folders: Sequence[Path]) -> list[RecordedTurn]:
    """All turns of the folders' tables, each with the call that followed it.

    A pause before a session's next turn of which no tool call tells is a call of an unknown tool, as in serving.
    Raises TraceError for an unusable file, and for a turn that is there twice.
    """
    turns: dict[tuple[str, str, int], dict[str, Any]] = {}
    calls: dict[tuple[str, str, int], dict[str, Any]] = {}
    for folder in folders:
        for row in read_table(_table(folder, "turns"), "turns").to_pylist():
            if _key(row) in turns:
                raise TraceError(
                    f"{folder}: turn {row['turn']} of session {row['session_id']!r} is there twice; remove one"
                )
            turns[_key(row)] = row
        calls |= {_key(row): row for row in read_table(_table(folder, "tool_calls"), "tool_calls").to_pylist()}
    return [_recorded(row, calls.get(key), turns.get(_next(key))) for key, row in sorted(turns.items())]


def _table(folder: Path, name: str) -> Path:
    """The one file that gather writes, or the folder where the recorder wrote several."""
    single = folder / f"{name}.parquet"
    return single if single.is_file() or not folder.is_dir() else folder


def _key(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["source"], row["session_id"], row["turn"]


def _next(key: tuple[str, str, int]) -> tuple[str, str, int]:
    return key[0], key[1], key[2] + 1


def _recorded(row: dict[str, Any], call: dict[str, Any] | None, following: dict[str, Any] | None) -> RecordedTurn:
    finished = row["finish_s"] is not None and row["finish_reason"] in _FINISHED and row["output_tokens"] > 0
    facts = TurnFacts(
        prompt_tokens=row["prompt_tokens"],
        turn=row["turn"],
        max_tokens=row["max_tokens"] or 0,
        temperature=row["temperature"] or 0.0,
        structured=bool(row["structured"]),
        tools_offered=row["tools_offered"],
        tail_token_ids=(),
    )
    finish_s = row["finish_s"] if finished else None
    past_call = None if finish_s is None else _call(finish_s, call, following)
    past = PastTurn(row["session_id"], facts, row["arrival_s"], finish_s, row["output_tokens"], past_call)
    return RecordedTurn(
        source=row["source"],
        past=past,
        features=_recorded_features(row),
        unknown=tuple(name for name in _OPTIONAL if row[name] is None),
    )


def _call(finish_s: float, call: dict[str, Any] | None, following: dict[str, Any] | None) -> PastCall | None:
    if call is not None:
        return_s = call["start_s"] + call["duration_s"] if following is None else following["arrival_s"]
        arguments = (call["argument_count"], call["argument_bytes"], call["argument_head"])
        return PastCall(call["tool"], return_s, call["duration_s"], *arguments)
    if following is None:
        return None
    return PastCall(None, following["arrival_s"], max(following["arrival_s"] - finish_s, 0.0))


def _recorded_features(row: dict[str, Any]) -> NDArray[np.float32] | None:
    features = row["features"]
    if features is None or row["features_version"] != feature.VERSION or len(features) != len(TURN_FEATURES):
        return None
    return np.array([np.nan if value is None else value for value in features], np.float32)
