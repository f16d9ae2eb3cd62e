"""Turns to learn from: recorded turns as events of the past (features/past.py), with what their set says of them."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data.tables.prompt_tail import TAIL_BUCKETS
from ...data.tables.sessions import RecordedTurn, read_sessions
from ...data.workload.steady_state import NOMINAL_TOKEN_S
from ...features import feature
from ...features.past import PastCall, PastPause, PastTurn
from ...features.turn import TURN_FEATURES, TurnFacts

_FINISHED = ("stop", "length", None)  # finish reasons of turns whose output is complete; None: not recorded


@dataclass(frozen=True, slots=True)
class Remaining:
    """The work of a session from a turn's arrival on."""

    turns: int  # this turn included
    tokens: int  # output and new prompt tokens of the turns after this one
    ended_s: float | None  # when the session's last turn finished; None: it did not
    paused: bool  # the last turn ended in a pause
    last: bool

    def censored(self, complete_until_s: float) -> bool:
        """Whether the session went on, or may have: then both counts are lower bounds.

        `complete_until_s`: a session that ended later may have gone on; infinity where all are complete.
        """
        return self.ended_s is None or (
            complete_until_s < math.inf and (self.paused or self.ended_s > complete_until_s)
        )


@dataclass(frozen=True, slots=True)
class TrainingTurn:
    source: str
    past: PastTurn
    features: NDArray[np.float32] | None  # as computed at arrival; None: not recorded, or by another release
    split_group: str  # sessions of a group are in the same part of the split
    cut_off: bool  # the output ended at a limit
    ends_in_tool: bool  # False too where the set records no tool calls
    model: str | None = None  # None: not recorded
    remaining: Remaining | None = None  # None: not computed (outcomes.py)


def read_training_turns(folders: Sequence[Path]) -> list[TrainingTurn]:
    """All turns of the folders by source, session and number, each with the pause and the calls that followed it.

    A pause without a recorded tool call has no calls, as in serving. Raises TraceError as `read_sessions`.
    """
    return [
        _training_turn(turn, following)
        for turns in read_sessions(folders)
        for turn, following in zip(turns, (*turns[1:], None), strict=True)
    ]


def by_model(turns: Sequence[TrainingTurn]) -> dict[str, list[TrainingTurn]]:
    """The turns of each model's sessions, by the model's name; a session belongs to the model of its first turn.

    An engine serves one model, so its history over all sessions is of that model alone.
    """
    first: dict[str, TrainingTurn] = {}
    for turn in turns:
        session = turn.past.session_id
        if session not in first or turn.past.facts.turn < first[session].past.facts.turn:
            first[session] = turn
    models: dict[str, list[TrainingTurn]] = defaultdict(list)
    for turn in turns:
        models[first[turn.past.session_id].model or ""].append(turn)
    return models


def _training_turn(turn: RecordedTurn, following: RecordedTurn | None) -> TrainingTurn:
    finish_s = _finish_s(turn)
    facts = TurnFacts(
        prompt_tokens=turn.prompt_tokens,
        turn=turn.turn,
        max_tokens=turn.max_tokens,
        temperature=turn.temperature,
        top_p=turn.top_p,
        structured=turn.structured,
        tools_offered=turn.tools_offered,
        tail=turn.tail_counts if turn.tail_counts is not None and len(turn.tail_counts) == TAIL_BUCKETS else None,
    )
    past = PastTurn(
        session_id=turn.session_id,
        facts=facts,
        arrival_s=turn.arrival_s,
        finish_s=finish_s,
        output_tokens=turn.output_tokens,
        pause=None if finish_s is None else _pause(finish_s, turn, following),
        tenant=turn.tenant,
    )
    limit = math.inf if turn.max_tokens is None else turn.max_tokens
    return TrainingTurn(
        source=turn.source,
        past=past,
        features=_features(turn),
        split_group=turn.split_group,
        cut_off=turn.finish_reason == "length" or (turn.finish_reason is None and turn.output_tokens >= limit),
        ends_in_tool=bool(turn.calls) or turn.tool_called is not None,
        model=turn.model,
    )


def _finish_s(turn: RecordedTurn) -> float | None:
    """When the turn finished; None where it did not. A set without finish times gets a nominal pace."""
    if turn.finish_reason not in _FINISHED or turn.output_tokens <= 0:
        return None
    if turn.finish_s is None and turn.finish_reason is None and turn.features_version is None:
        return turn.arrival_s + NOMINAL_TOKEN_S * turn.output_tokens
    return turn.finish_s


def _pause(finish_s: float, turn: RecordedTurn, following: RecordedTurn | None) -> PastPause | None:
    """The pause ends with the next turn's arrival; without one, with the last of the calls."""
    calls = tuple(
        PastCall(
            call.tool,
            max(call.duration_s, 0.0),
            call.argument_count,
            call.argument_bytes,
            call.argument_head,
            timed=call.timing == "call",
        )
        for call in turn.calls
    )
    if following is not None and following.turn == turn.turn + 1:
        return_s = following.arrival_s
    elif calls:
        return_s = max(call.end_s for call in turn.calls)
    else:
        return None
    return PastPause(return_s, max(return_s - finish_s, 0.0), calls)


def _features(turn: RecordedTurn) -> NDArray[np.float32] | None:
    if turn.features is None or turn.features_version != feature.VERSION or len(turn.features) != len(TURN_FEATURES):
        return None
    return np.array([np.nan if value is None else value for value in turn.features], np.float32)
