"""Runs sessions turn by turn. A turn waits for its own session only, never for another session."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from ....data.workload.model import Session, Turn
from ....data.workload.token_ids import session_contexts
from ..completion import Completion, Output, stream_completion
from ..endpoint import Endpoint, ServedModel
from .turn_request import Identity, turn_body, turn_headers


@dataclass(slots=True, kw_only=True)
class ReplayedTurn(Completion):
    """A turn as the replay's client saw it, on the event loop's clock."""

    session_id: str
    kind: str
    turn: int
    last: bool  # the session's last turn
    due_s: float  # when the turn arrives: the session's start, or when the last of the calls returned
    prompt_asked: int  # tokens sent
    output_asked: int  # tokens requested


class SessionReplayer:
    """Sends the turns of sessions and collects them in `turns`, in the order in which they were sent.

    A turn arrives at its session's start, or when all calls of the previous turn have returned. Turns that would arrive
    at `end_s` or later are not sent, nor are those behind a failed turn.
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
        """Run a session and its sub-agents. Called at its start or earlier."""
        await self._run(session, self._start_s + session.arrival_s, None, [])

    async def _run(
        self, session: Session, due_s: float, parent: Session | None, parent_context: Sequence[int]
    ) -> float | None:
        """Run a session whose first turn is due at `due_s`. Returns the end of its last turn, or None without one."""
        headers = turn_headers(session, parent, self._identity)
        synthetic, lengths = session_contexts(session), session.prompt_lengths()
        context: list[int] = []  # the prompts and outputs so far
        if parent is not None and session.shared and session.shared[-1].stream == parent.session_id:
            context = list(parent_context[: session.shared[-1].tokens])
        for index, planned in enumerate(session.turns):
            if self._end_s is not None and due_s >= self._end_s:
                return None
            if planned.kept_tokens is not None:
                del context[planned.kept_tokens :]
            context += synthetic[index][len(context) : lengths[index]]
            turn, output = await self._send(session, index, due_s, context, headers)
            if turn.finish_s is None:
                return None
            if not planned.calls:
                return turn.finish_s
            # Without the server's token ids, or with another number of them, the synthetic ones continue the prompt.
            end = lengths[index] + planned.output_tokens
            real = len(output.token_ids) == planned.output_tokens
            context += output.token_ids if real else synthetic[index][lengths[index] : end]
            returned_s = await self._returned_s(planned, turn.finish_s, session, context)
            if returned_s is None:
                return None
            due_s = returned_s
        return None

    async def _returned_s(self, turn: Turn, finish_s: float, session: Session, context: Sequence[int]) -> float | None:
        """When the last call of a turn returns. Runs its sub-agents; None: one of them did not reach its end."""
        agents = [(call.agent, call.duration_s) for call in turn.calls if call.agent is not None]
        runs = (self._run(agent, finish_s + agent.arrival_s, session, context) for agent, _ in agents)
        returned_s = finish_s + turn.tools_s
        for (_, rest_s), end_s in zip(agents, await asyncio.gather(*runs), strict=True):
            if end_s is None:
                return None
            returned_s = max(returned_s, end_s + rest_s)
        return returned_s

    async def _send(
        self, session: Session, index: int, due_s: float, context: Sequence[int], headers: dict[str, str]
    ) -> tuple[ReplayedTurn, Output]:
        now = asyncio.get_running_loop().time
        body = turn_body(self._model, context, session, index, self._identity)
        await asyncio.sleep(max(due_s - now(), 0.0))
        turn = ReplayedTurn(
            session_id=session.session_id,
            kind=session.kind,
            turn=index,
            last=index + 1 == len(session.turns),
            due_s=due_s,
            prompt_asked=len(context),
            output_asked=session.turns[index].output_tokens,
            sent_s=now(),
        )
        self.turns.append(turn)
        output = await stream_completion(self._client, self._url, body, headers, turn, now)
        self._turn_done(turn)
        return turn, output
