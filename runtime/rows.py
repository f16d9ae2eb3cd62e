"""Live turns and pauses as rows of a trace."""

from ..features.feature import VERSION
from .sessions import Pause
from .turns import LiveTurn


def turn_row(live: LiveTurn, source: str, version: str, finish_s: float, reason: str) -> dict[str, object]:
    """The turn as a row of data.schema.TURNS."""
    request = live.request
    params = request.sampling_params
    return {
        "source": source,
        "session_id": live.session_id,
        "turn": live.turn,
        "tenant": None,
        "model": None,
        "split_group": None,
        "request_id": request.request_id,
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
        "tool_called": None,  # not known here; the row of tool_calls that the next turn brings tells it
        "tail_counts": None,
        "features_version": None if live.features is None else VERSION,
        "features": None if live.features is None else live.features.tolist(),
        "scheduler_version": version,
        "prompt_token_ids": None,
        "output_token_ids": None,
    }


def pause_row(live: LiveTurn, pause: Pause, source: str) -> dict[str, object] | None:
    """The tool call that the turn brings the result of, as a row of data.schema.TOOL_CALLS; None without a name."""
    if live.hints.last_tool is None:
        return None
    return {
        "source": source,
        "session_id": live.session_id,
        "turn": pause.turn,
        "call": 0,
        "tool": live.hints.last_tool,
        "argument_count": live.hints.argument_count,
        "argument_bytes": live.hints.argument_bytes,
        "argument_head": live.hints.argument_head,
        "start_s": pause.start_s,
        "duration_s": pause.duration_s,
        "timing": "pause",
        "result_tokens": max(live.request.num_prompt_tokens - pause.context_tokens, 0),
    }
