"""Runs sessions turn by turn. A turn waits for its own session only, never for another session."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    parent_id: str | None = None  # of a sub-agent: the session that waits for it
    midway: bool = False  # the session's first turns are left out
    turn: int
    last: bool  # the session's last turn
    due_s: float  # when the turn arrives: the session's start, or when the last of the calls returned
    prompt_asked: int  # tokens sent
    output_asked: int  # tokens requested


class _Parent(NamedTuple):
    """The context of a turn that runs a sub-agent."""

    session_id: str
    planned_ids: Sequence[int]
    sent_ids: Sequence[int]  # with the server's own outputs

    def begins(self, agent: Session, planned_ids: Sequence[int]) -> list[int]:
        """The tokens at the sub-agent's beginning that are the parent's, as they were sent."""
        tokens = min(agent.shared[-1].tokens, len(self.sent_ids)) if agent.shared else 0
        return list(self.sent_ids[:tokens]) if planned_ids[:tokens] == self.planned_ids[:tokens] else []


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
        self.begun: list[Session] = []  # without sub-agents
        self._client = client
        self._url = f"{endpoint.url}/completions"
        self._model = model
        self._identity = identity
        self._start_s = start_s
        self._end_s = end_s
        self._turn_done = turn_done

    async def run(self, session: Session) -> float | None:
        """Run a session and its sub-agents at its arrival; see `run_at`."""
        return await self.run_at(session, self._start_s + session.arrival_s)

    async def run_at(self, session: Session, due_s: float) -> float | None:
        """Run a session and its sub-agents. Its first turn is due at `due_s`, on the event loop's clock.

        Returns when its last turn ended, or when the first turn that is not sent was due. None: a turn failed.
        """
        self.begun.append(session)
        return await self._run(session, due_s, None)

    def is_over(self, due_s: float) -> bool:
        """Whether a turn that is due at `due_s` is no longer sent."""
        return self._end_s is not None and due_s >= self._end_s

    async def _run(self, session: Session, due_s: float, parent: _Parent | None) -> float | None:
        headers = turn_headers(session, None if parent is None else parent.session_id, self._identity)
        synthetic, lengths = session_contexts(session), session.prompt_lengths()
        context = [] if parent is None else parent.begins(session, synthetic[0])  # the prompts and outputs so far
        for index, planned in enumerate(session.turns):
            if self.is_over(due_s):
                return due_s
            if planned.kept_tokens is not None:
                del context[planned.kept_tokens :]
            context += synthetic[index][len(context) : lengths[index]]
            turn, output = await self._send(session, index, due_s, context, headers, parent)
            if turn.finish_s is None:
                return None
            if not planned.calls:
                return turn.finish_s
            # Without the server's token ids, or with another number of them, the synthetic ones continue the prompt.
            end = lengths[index] + planned.output_tokens
            real = len(output.token_ids) == planned.output_tokens
            context += output.token_ids if real else synthetic[index][lengths[index] : end]
            here = _Parent(session.session_id, synthetic[index], context)
            returned_s = await self._returned_s(planned, turn.finish_s, here)
            if returned_s is None:
                return None
            due_s = returned_s
        return None

    async def _returned_s(self, turn: Turn, finish_s: float, parent: _Parent) -> float | None:
        """When the last call of a turn returns. Runs its sub-agents; None: one of them failed."""
        agents = [(call.agent, call.duration_s) for call in turn.calls if call.agent is not None]
        runs = (self._run(agent, finish_s + agent.arrival_s, parent) for agent, _ in agents)
        returned_s = finish_s + turn.tools_s
        for (_, rest_s), end_s in zip(agents, await asyncio.gather(*runs), strict=True):
            if end_s is None:
                return None
            returned_s = max(returned_s, end_s + rest_s)
        return returned_s

    async def _send(
        self,
        session: Session,
        index: int,
        due_s: float,
        context: Sequence[int],
        headers: dict[str, str],
        parent: _Parent | None,
    ) -> tuple[ReplayedTurn, Output]:
        now = asyncio.get_running_loop().time
        body = turn_body(self._model, context, session, index, self._identity)
        await asyncio.sleep(max(due_s - now(), 0.0))
        turn = ReplayedTurn(
            session_id=session.session_id,
            kind=session.kind,
            parent_id=None if parent is None else parent.session_id,
            midway=session.entered_midway,
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
