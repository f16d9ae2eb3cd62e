"""A turn as the client of a replay saw it."""

from dataclasses import dataclass


@dataclass(slots=True)
class TurnSeen:
    """Times are seconds on the client's event loop; None: it has not come to that, or the server did not tell."""

    session_id: str
    kind: str
    turn: int
    last: bool  # the session's last turn
    due_s: float  # when it arrives: the session's start, or the last turn's end and the tool's time
    prompt_asked: int  # tokens sent
    output_asked: int  # tokens asked for
    sent_s: float
    first_token_s: float | None = None
    finish_s: float | None = None  # of the last token; None where the turn failed or was broken off
    prompt_tokens: int | None = None  # as the server counts
    output_tokens: int = 0
    cached_tokens: int | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    failure: str | None = None  # the reason's name, without what differs from turn to turn
    detail: str | None = None  # what the server or the system said
