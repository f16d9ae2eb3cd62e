"""What AugServe knows of each live turn, from its arrival to its end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..features.feature import VERSION
from ..features.tool_call import ToolCallFacts, tool_call_features
from ..features.turn import TAIL_TOKENS, TurnFacts, turn_features
from .hints import Hints
from .sessions import Pause, SessionTable

if TYPE_CHECKING:
    from vllm.v1.request import Request


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a turn, medians."""

    output_tokens: float
    remaining_turns: float  # of the session, this one counted
    pause_s: float  # of the tool call after the turn


@dataclass(slots=True, eq=False)
class LiveTurn:
    """One turn in the engine. `request` is vLLM's own object, read and never changed."""

    request: "Request"
    session_id: str
    turn: int  # from 0
    arrival_s: float
    hints: Hints
    new_tokens: int  # prompt tokens beyond the context of the session's last turn
    features: NDArray[np.float32] | None
    pause_features: NDArray[np.float32] | None
    forecast: Forecast | None = None
    cached_tokens: int | None = None  # found at admission
    first_token_s: float | None = None
    waiting_since_s: float = 0.0
    preemptions: int = 0


def arrived(request: "Request", sessions: SessionTable, now_s: float) -> tuple[LiveTurn, Pause | None]:
    """Note a request's arrival in its session. Gives the turn, and the pause (tool call) that it ends, if any.

    Raises whatever a malformed request makes the features raise; the session has noted the arrival by then.
    """
    params = request.sampling_params
    hints = Hints.read(None if params is None else params.extra_args)
    session_id = request.session_id or request.request_id
    session, turn, pause = sessions.turn_arrived(session_id, now_s, hints.last_tool)
    history = session.history
    live = LiveTurn(
        request=request,
        session_id=session_id,
        turn=turn,
        arrival_s=request.arrival_time,
        hints=hints,
        new_tokens=max(request.num_prompt_tokens - history.context_tokens, 0),
        features=None,
        pause_features=None,
        waiting_since_s=request.arrival_time,
    )
    if params is not None:
        facts = TurnFacts(
            prompt_tokens=request.num_prompt_tokens,
            turn=turn,
            max_tokens=request.max_tokens,
            temperature=params.temperature,
            structured=params.structured_outputs is not None,
            tools_offered=hints.tools_offered,
            tail_token_ids=(request.prompt_token_ids or [])[-TAIL_TOKENS:],
        )
        live.features = turn_features(facts, history, sessions.tools)
        # Which tool the turn will call is not known yet: the session's last one stands for it.
        live.pause_features = tool_call_features(ToolCallFacts(history.last_tool, turn), history, sessions.tools)
    return live, pause


def turn_row(live: LiveTurn, source: str, version: str, finish_s: float, reason: str) -> dict[str, object]:
    """The turn as a row of data.schema.TURNS."""
    request = live.request
    params = request.sampling_params
    return {
        "source": source,
        "session_id": live.session_id,
        "turn": live.turn,
        "request_id": request.request_id,
        "arrival_s": live.arrival_s,
        "first_token_s": live.first_token_s,
        "finish_s": finish_s,
        "prompt_tokens": request.num_prompt_tokens,
        "cached_tokens": live.cached_tokens,
        "output_tokens": request.num_output_tokens,
        "max_tokens": request.max_tokens,
        "temperature": None if params is None else params.temperature,
        "structured": request.use_structured_output,
        "finish_reason": reason,
        "tools_offered": live.hints.tools_offered,
        "tool_called": None,  # not known here; the row of tool_calls that the next turn brings tells it
        "features_version": None if live.features is None else VERSION,
        "features": None if live.features is None else live.features.tolist(),
        "scheduler_version": version,
    }


def pause_row(live: LiveTurn, pause: Pause, source: str) -> dict[str, object] | None:
    """The tool call that the turn brings the result of, as a row of data.schema.TOOL_CALLS; None without a name."""
    if live.hints.last_tool is None:
        return None
    return {
        "source": source,
        "session_id": live.session_id,
        "turn": pause.turn,
        "tool": live.hints.last_tool,
        "argument_count": live.hints.argument_count,
        "argument_bytes": live.hints.argument_bytes,
        "argument_head": live.hints.argument_head,
        "start_s": pause.start_s,
        "duration_s": pause.duration_s,
        "result_tokens": max(live.request.num_prompt_tokens - pause.context_tokens, 0),
    }
