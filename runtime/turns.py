"""What AugServe knows of each live turn, from its arrival to its end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .hints import Hints
from .linking import Link, past_of
from .prefix import Prefix
from .sessions import Pause, SessionTable
from .vectors import returned_calls, turn_vectors

if TYPE_CHECKING:
    from vllm.v1.request import Request


FINISHED = ("stop", "length")
"""What ends a turn that came to its end by itself."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a turn, medians."""

    output_tokens: float
    remaining_turns: float  # of the session, this one counted
    pause_s: float  # of the tool call after the turn
    output_interval: tuple[float, float] | None = None  # 80 %, tokens; None: not told
    pause_interval: tuple[float, float] | None = None  # 80 %, s


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
    prefix: Prefix | None = None  # of the prompt, where its session is recognised by it


def link(request: "Request", sessions: SessionTable, prefix: Prefix | None, now_s: float) -> Link | None:
    """The session that a request continues, where its caller does not say. `prefix` is of its prompt."""
    params = request.sampling_params
    if request.session_id or params is None:
        return None
    hints = Hints.read(params.extra_args)
    return sessions.linked(prefix, (hints.call_id, hints.call_id_before), hints.tenant, now_s)


def arrived(
    request: "Request",
    sessions: SessionTable,
    now_s: float,
    link: Link | None = None,
    prefix: Prefix | None = None,
) -> tuple[LiveTurn, Pause | None]:
    """Note a request's arrival in its session: the one that it names, else the linked one, else one of its own. Gives
    the turn, and the pause (tool calls) that it ends, if any.

    Raises whatever a malformed request makes the features raise; the session has noted the arrival by then.
    """
    params = request.sampling_params
    hints = Hints.read(None if params is None else params.extra_args)
    session_id = request.session_id or (request.request_id if link is None else link.session_id)
    session, turn, pause = sessions.turn_arrived(session_id, now_s, returned_calls(hints))
    history = session.history
    history.tenant = hints.tenant
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
        prefix=prefix,
    )
    if params is not None:
        live.features, live.pause_features = turn_vectors(request, params, turn, hints, history, sessions.shared)
    return live, pause


def ended(live: LiveTurn, sessions: SessionTable, whole: Prefix, reason: str) -> None:
    """Note how the next turn of the session will be recognised, where its caller does not say. `whole` is the prefix
    of prompt and output, `reason` what ended the turn."""
    past = past_of(whole, live.request.num_prompt_tokens, live.hints.call_id, live.hints.tenant, reason == "stop")
    sessions.turn_ended(live.session_id, past, reason in FINISHED)
