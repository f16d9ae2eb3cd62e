"""Live turns and pauses as rows of a trace."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.tables.prompt_tail import TAIL_BUCKETS
from ...data.tables.pseudonyms import Pseudonyms
from ...features.feature import VERSION
from ...features.turn import TAIL_AT
from ..hints.hints import CallHint
from ..sessions.keys import session_key
from ..sessions.live_turn import LiveTurn
from ..sessions.table import Pause

_TAIL = slice(TAIL_AT, TAIL_AT + TAIL_BUCKETS)


@dataclass(frozen=True, slots=True)
class Origin:
    """Columns that all rows of one scheduler share."""

    source: str
    version: str  # of the scheduler
    model: str | None
    names: Pseudonyms  # of sessions, requests and tenants
    engine: str | None = None  # its number, and a random name of its start


def session_name(session_id: str, names: Pseudonyms) -> str:
    """The name in traces of the session that a caller without a tenant calls `session_id`."""
    return names.of(session_key(session_id, None))


def turn_row(live: LiveTurn, origin: Origin, finish_s: float, reason: str, text: bool = False) -> dict[str, object]:
    """An ended turn as a row of data.tables.schema.TURNS; with `text`, the token ids of prompt and output too.

    The row shares its arrays with the turn, which no longer changes.
    """
    request = live.request
    params = request.sampling_params
    prompt = request.prompt_token_ids  # None for embeddings
    return {
        "source": origin.source,
        "session_id": origin.names.of(live.session_id),
        "turn": live.turn,
        "parent_session_id": _named(_parent_id(live), origin),
        "tenant": _named(live.hints.tenant, origin),
        "model": origin.model,
        "split_group": None,
        "request_id": origin.names.of(request.request_id),
        "arrival_s": live.arrival_s,
        "first_token_s": live.first_token_s,
        "finish_s": finish_s,
        "prompt_tokens": request.num_prompt_tokens,
        "cached_tokens": live.cached_tokens,
        "output_tokens": request.num_output_tokens,
        "max_tokens": request.max_tokens,
        "temperature": None if params is None else params.temperature,
        "top_p": None if params is None else params.top_p,
        "structured": request.use_structured_output,
        "finish_reason": reason,
        "tools_offered": live.hints.tools_offered,
        "tool_called": None,  # known at the next turn: see pause_rows
        "tail_counts": None if prompt is None or live.features is None else live.features[_TAIL].astype(np.int16),
        "features_version": None if live.features is None else VERSION,
        "features": live.features,
        "scheduler_version": origin.version,
        "prompt_token_ids": prompt if text else None,
        "output_token_ids": list(request.output_token_ids) if text else None,
        "engine": origin.engine,
    }


def _named(name: str | None, origin: Origin) -> str | None:
    return None if name is None else origin.names.of(name)


def _parent_id(live: LiveTurn) -> str | None:
    """The session that the caller names as the parent; None where that is the session itself."""
    parent_id = live.hints.parent_session_id
    return None if parent_id == live.session_id else parent_id


def pause_rows(live: LiveTurn, pause: Pause, origin: Origin) -> list[dict[str, object]]:
    """The named tool calls whose results the turn brings, as rows of data.tables.schema.TOOL_CALLS.

    Parallel calls share the pause, which is as long as the slowest of them. The growth of the prompt is divided among
    them in proportion to their results' bytes, if these are known.
    """
    calls = live.hints.calls
    grown = max(live.request.num_prompt_tokens - pause.context_tokens, 0)
    return [
        {
            "source": origin.source,
            "session_id": origin.names.of(live.session_id),
            "turn": pause.turn,
            "call": number,
            "tool": call.tool,
            "argument_count": call.argument_count,
            "argument_bytes": call.argument_bytes,
            "argument_head": call.argument_head,
            "start_s": pause.start_s,
            "duration_s": pause.duration_s,
            "timing": "pause",
            "result_tokens": tokens,
        }
        for number, (call, tokens) in enumerate(zip(calls, _shares(grown, calls), strict=True))
    ]


def _shares(tokens: int, calls: Sequence[CallHint]) -> Sequence[int | None]:
    if len(calls) == 1:
        return [tokens]
    sizes = [call.result_bytes for call in calls]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return [None] * len(sizes)
    return [round(tokens * size / max(sum(known), 1)) for size in known]
