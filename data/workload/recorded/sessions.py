"""Recorded sessions as sessions to run.

- The pause after a turn lasts from its end to the next turn's arrival: a replay at scale 1 has the recorded arrivals.
  The call that returns last gets the rest of the pause. Where the trace has no finish time, the pause is the time of
  the tool calls, from the first start to the last end. Without calls it is the time between the two arrivals, less a
  nominal time to decode.
- A prompt that is no longer than the one before (a compacted context) keeps what was cached of the context. Where the
  trace has block hashes, any turn keeps the blocks that it shares with the turn before.
- Sessions share the prefixes that the trace names. Where it names none, see common_prefixes.py.
- A prompt that lacks only part of the last output is lengthened to include all of it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...tables.sessions import RecordedTurn, read_sessions
from ..adjustments import Adjustments
from ..model import MAX_TOKENS, Session, SharedPrefix, ToolCall, Turn, WorkloadError
from ..prefixes import cut, prompt_prefixes
from .common_prefixes import SessionKey, common_prefixes
from .trees import RecordedTree, end_s, recorded_trees

AGENT_TOOL = "subagent"  # a sub-agent without a call of its own


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A recorded session, and the session to run for it, which arrives at 0."""

    source: str
    session_id: str
    group: str  # the split group
    start_s: float  # since the start of the folder's first session
    session: Session


def recorded_sessions(folder: Path, adjustments: Adjustments) -> tuple[RecordedSession, ...]:
    """The folder's sessions by their start, with their sub-agents. `adjustments` counts differences from the recording.

    Raises TraceError for unusable tables, WorkloadError where there is no session.
    """
    recorded = read_sessions([folder], vectors=False)
    if not recorded:
        raise WorkloadError(f"{folder}: the traces hold no session; gather or import some first")
    most_tokens = max(MAX_TOKENS, *(turn.output_tokens for turns in recorded for turn in turns))
    builder = _Builder(most_tokens, common_prefixes(recorded), adjustments)
    first_s = min(turns[0].arrival_s for turns in recorded)
    sessions = []
    for tree in recorded_trees(recorded, adjustments):
        first = tree.turns[0]
        session = builder.session(tree, 0.0, ())
        sessions.append(
            RecordedSession(first.source, first.session_id, first.split_group, first.arrival_s - first_s, session)
        )
    return tuple(sorted(sessions, key=lambda session: (session.start_s, session.source, session.session_id)))


@dataclass(frozen=True, slots=True)
class _Builder:
    max_tokens: int
    common: Mapping[SessionKey, SharedPrefix]
    adjustments: Adjustments

    def session(self, tree: RecordedTree, arrival_s: float, forked: tuple[SharedPrefix, ...]) -> Session:
        """The session of a tree. `forked`: prefixes that it has from its parent, if it names the parent's context."""
        first = tree.turns[0]
        name = f"{first.source}:{first.session_id}"
        turns = self._turns(tree.turns)
        shared = forked or _prefix(first) or self._common(first)
        session = Session(
            session_id=name,
            kind=first.source,
            arrival_s=arrival_s,
            turns=turns,
            tools_offered=1 if first.tools_offered is None else first.tools_offered,
            max_tokens=self.max_tokens,
            shared=tuple(prefix for prefix in shared if prefix.tokens < turns[0].new_tokens),
        )
        calls = [self._calls(tree, place, session) for place in range(len(turns))]
        with_calls = tuple(dataclasses.replace(turn, calls=own) for turn, own in zip(turns, calls, strict=True))
        return dataclasses.replace(session, turns=with_calls)

    def _common(self, first: RecordedTurn) -> tuple[SharedPrefix, ...]:
        prefix = self.common.get((first.source, first.session_id))
        return () if prefix is None else (prefix,)

    def _turns(self, recorded: tuple[RecordedTurn, ...]) -> tuple[Turn, ...]:
        """The turns without their calls."""
        turns: list[Turn] = []
        context = 0
        for place, turn in enumerate(recorded):
            prompt, output = max(turn.prompt_tokens, 1), max(turn.output_tokens, 1)
            self.adjustments.empty_outputs += turn.output_tokens < 1
            kept = _kept_tokens(recorded[place - 1], turn, context) if place else None
            self.adjustments.compactions += kept is not None
            past = context if kept is None else kept
            self.adjustments.padded_turns += place > 0 and prompt <= past
            new = max(prompt - past, 1)
            turns.append(Turn(new, output, (), kept))
            context = past + new + output
        return tuple(turns)

    def _calls(self, tree: RecordedTree, place: int, session: Session) -> tuple[ToolCall, ...]:
        """The calls of a turn. They return when the next turn arrives, at the latest."""
        if place + 1 == len(tree.turns):
            return ()
        turn, following = tree.turns[place], tree.turns[place + 1]
        agents = {agent.session_id: agent for agent in tree.agents.get(place, ())}
        pause_s = _pause_s(turn, following)
        self.adjustments.overlaps += pause_s < 0
        pause_s, begin_s = max(pause_s, 0.0), end_s(turn)
        named: list[tuple[str, float, int, RecordedTree | None]] = [
            (call.tool, call.end_s - begin_s, call.result_tokens or 0, agents.pop(call.agent_session_id or "", None))
            for call in turn.calls
        ]
        named += [(AGENT_TOOL, agent.end_s - begin_s, 0, agent) for agent in agents.values()]
        if not named:
            return (ToolCall("", pause_s, session.turns[place + 1].new_tokens),)
        last = max(range(len(named)), key=lambda number: named[number][1])
        rest_tokens = session.turns[place + 1].new_tokens - sum(tokens for _, _, tokens, _ in named)
        calls = []
        for number, (tool, returned_s, tokens, agent) in enumerate(named):
            tokens += max(rest_tokens, 0) if number == last else 0
            duration_s = pause_s if number == last else min(max(returned_s, 0.0), pause_s)
            calls.append(self._call(tool, duration_s, tokens, agent, begin_s, session, place))
        return tuple(calls)

    def _call(
        self,
        tool: str,
        duration_s: float,
        result_tokens: int,
        agent: RecordedTree | None,
        begin_s: float,
        session: Session,
        place: int,
    ) -> ToolCall:
        if agent is None:
            return ToolCall(tool, duration_s, result_tokens)
        forked = _forked(session, place, agent.turns[0])
        own = self.session(agent, max(agent.start_s - begin_s, 0.0), forked)
        return ToolCall(tool, max(duration_s - (agent.end_s - begin_s), 0.0), result_tokens, own)


def _kept_tokens(before: RecordedTurn, turn: RecordedTurn, context: int) -> int | None:
    """The part of the context that a turn keeps; None: all of it."""
    cached = min(turn.cached_tokens or 0, context, max(turn.prompt_tokens - 1, 0))
    if turn.block_tokens is not None and turn.cached_tokens is not None:
        whole = before.prompt_tokens // turn.block_tokens * turn.block_tokens
        return None if cached >= min(whole, turn.prompt_tokens - 1) else cached
    return cached if turn.prompt_tokens <= before.prompt_tokens else None


def _prefix(first: RecordedTurn) -> tuple[SharedPrefix, ...]:
    if first.prefix_id is None or not first.prefix_tokens:
        return ()
    return (SharedPrefix(f"{first.source}:prefix:{first.prefix_id}", first.prefix_tokens),)


def _forked(parent: Session, place: int, first: RecordedTurn) -> tuple[SharedPrefix, ...]:
    """The prefixes of a sub-agent that begins with its parent's context: its prefix is named after the parent."""
    if not first.prefix_tokens or f"{first.source}:{first.prefix_id}" != parent.session_id:
        return ()
    return cut(prompt_prefixes(parent, place), first.prefix_tokens)


def _pause_s(turn: RecordedTurn, following: RecordedTurn) -> float:
    if turn.finish_s is None and turn.calls:
        return max(call.end_s for call in turn.calls) - end_s(turn)
    return following.arrival_s - end_s(turn)
