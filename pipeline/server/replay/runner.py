"""Runs sessions turn by turn. A turn waits for its own session only, never for another session."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from ....data.workload.model import Session
from ....data.workload.token_ids import session_token_ids
from ..completion import Completion, stream_completion
from ..endpoint import Endpoint, ServedModel
from .turn_request import Identity, turn_body, turn_headers


@dataclass(slots=True, kw_only=True)
class ReplayedTurn(Completion):
    """A turn as the replay's client saw it, on the event loop's clock."""

    session_id: str
    kind: str
    turn: int
    last: bool  # the session's last turn
    due_s: float  # when the turn arrives: the session's start, or the last turn's end and the tool's time
    prompt_asked: int  # tokens sent
    output_asked: int  # tokens requested


class SessionReplayer:
    """Sends the turns of sessions and collects them in `turns`, in the order in which they were sent.

    A turn arrives at its session's start, or after the previous turn and its tool. Turns that would arrive at `end_s`
    or later are not sent, nor are those behind a failed turn.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        endpoint: Endpoint,
        model: ServedModel,
        identity: Identity,
        start_s: float,
        end_s: float | None,
        turn_done: Callable[[ReplayedTurn], object],
    ) -> None:
        self.turns: list[ReplayedTurn] = []
        self._client = client
        self._url = f"{endpoint.url}/completions"
        self._model = model
        self._identity = identity
        self._start_s = start_s
        self._end_s = end_s
        self._turn_done = turn_done

    async def run(self, session: Session) -> None:
        """Run a session. Called at its start or earlier."""
        now = asyncio.get_running_loop().time
        ids = session_token_ids(session)
        headers = turn_headers(session, self._identity)
        context: list[int] = []  # the prompts and outputs so far
        position = 0  # in `ids`
        due_s = self._start_s + session.arrival_s
        for index, planned in enumerate(session.turns):
            if self._end_s is not None and due_s >= self._end_s:
                return
            context += ids[position : position + planned.new_tokens]
            position += planned.new_tokens
            body = turn_body(self._model, context, session, index, self._identity)
            await asyncio.sleep(max(due_s - now(), 0.0))
            turn = ReplayedTurn(
                session_id=session.session_id,
                kind=session.kind,
                turn=index,
                last=index + 1 == len(session.turns),
                due_s=due_s,
                prompt_asked=len(context),
                output_asked=planned.output_tokens,
                sent_s=now(),
            )
            self.turns.append(turn)
            output = await stream_completion(self._client, self._url, body, headers, turn, now)
            self._turn_done(turn)
            if turn.finish_s is None or planned.tool_call is None:
                return
            # Without the server's token ids, or with another number of them, the synthetic ones continue the prompt.
            synthetic = ids[position : position + planned.output_tokens]
            context += output.token_ids if len(output.token_ids) == planned.output_tokens else synthetic
            position += planned.output_tokens
            due_s = turn.finish_s + planned.tool_call.duration_s
