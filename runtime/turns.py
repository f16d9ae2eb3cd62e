"""What AugServe knows of each live turn, from its arrival to its end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .hints import Hints
from .sessions import Pause, SessionTable
from .vectors import turn_vectors

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
        live.features, live.pause_features = turn_vectors(request, params, turn, hints, history, sessions.tools)
    return live, pause
