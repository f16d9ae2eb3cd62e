"""Runs sessions turn by turn. What a turn waits for is its own session alone, never another one."""

import asyncio
from collections.abc import Callable

import httpx

from ....data.workload.model import Session
from ....data.workload.token_ids import session_token_ids
from .endpoint import Endpoint, ServedModel
from .seen import TurnSeen
from .stream import read_turn
from .turn_request import Identity, turn_body, turn_headers


class SessionReplayer:
    """Sends the turns of sessions and keeps what was seen of each in `seen`, in the order in which they were sent.

    A turn arrives at its session's start, or when the last turn has ended and the tool's time is over. One that would
    arrive at `end_s` or later is not sent, and neither is what follows a failed turn.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        endpoint: Endpoint,
        model: ServedModel,
        identity: Identity,
        start_s: float,
        end_s: float | None,
        turn_done: Callable[[TurnSeen], object],
    ) -> None:
        self.seen: list[TurnSeen] = []
        self._client = client
        self._url = f"{endpoint.url}/completions"
        self._model = model
        self._identity = identity
        self._start_s = start_s
        self._end_s = end_s
        self._turn_done = turn_done

    async def run(self, session: Session) -> None:
        """Run a session from its start, at which this is called or before."""
        now = asyncio.get_running_loop().time
        ids = session_token_ids(session)
        headers = turn_headers(session, self._identity)
        context: list[int] = []  # what was really said so far
        at = 0
        due_s = self._start_s + session.arrival_s
        for index, turn in enumerate(session.turns):
            if self._end_s is not None and due_s >= self._end_s:
                return
            context += ids[at : at + turn.new_tokens]
            at += turn.new_tokens
            body = turn_body(self._model, context, session, index, self._identity)
            await asyncio.sleep(max(due_s - now(), 0.0))
            last = index + 1 == len(session.turns)
            seen = TurnSeen(
                session.session_id, session.kind, index, last, due_s, len(context), turn.output_tokens, now()
            )
            self.seen.append(seen)
            output = await read_turn(self._client, self._url, body, headers, seen, now)
            self._turn_done(seen)
            if seen.finish_s is None or turn.tool_call is None:
                return
            # A server that does not tell its tokens, or gave other than were asked for, is told the synthetic ones.
            context += output if len(output) == turn.output_tokens else ids[at : at + turn.output_tokens]
            at += turn.output_tokens
            due_s = seen.finish_s + turn.tool_call.duration_s
