"""Recorded sessions as trees: each sub-agent below the pause in which its parent waits for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ...tables.ancestry import SessionKey, lineage
from ...tables.schema import CLOCK_S
from ...tables.sessions import RecordedTurn
from ..adjustments import Adjustments
from ..steady_state import NOMINAL_TOKEN_S


@dataclass(frozen=True)
class RecordedNode:
    """A session of a tree: its turns."""

    turns: tuple[RecordedTurn, ...]

    @property
    def key(self) -> SessionKey:
        return self.turns[0].source, self.session_id

    @property
    def session_id(self) -> str:
        return self.turns[0].session_id

    @property
    def parent_key(self) -> SessionKey | None:
        parent_id = self.turns[0].parent_session_id
        return None if parent_id is None else (self.turns[0].source, parent_id)

    @property
    def start_s(self) -> float:
        return self.turns[0].arrival_s


@dataclass(frozen=True)
class RecordedTree(RecordedNode):
    """A session, and the sub-agents that start after each of its turns, by the turn's place."""

    agents: dict[int, list["RecordedTree"]] = field(default_factory=dict)

    @property
    def end_s(self) -> float:
        return end_s(self.turns[-1])


def end_s(turn: RecordedTurn) -> float:
    """The end of a turn; nominal where the trace has none."""
    if turn.finish_s is not None:
        return turn.finish_s
    started_s = [call.start_s for call in turn.calls]
    return min(started_s, default=turn.arrival_s + turn.output_tokens * NOMINAL_TOKEN_S)


def recorded_trees(sessions: Sequence[tuple[RecordedTurn, ...]], adjustments: Adjustments) -> list[RecordedTree]:
    """The trees of a recording, in the order of `sessions`.

    A sub-agent becomes a session of its own, and is counted, where its parent is missing, is the sub-agent itself or
    below it, or does not wait for it.
    """
    trees = {tree.key: tree for tree in map(RecordedTree, sessions)}
    named = ((key, tree.parent_key) for key, tree in trees.items())
    known = {key: parent for key, parent in named if parent is not None and parent in trees}
    roots = []
    for key, tree in trees.items():
        if tree.parent_key is None:
            roots.append(tree)
            continue
        if key not in known or lineage(key, known)[1] is not None:
            adjustments.orphans += 1
            roots.append(tree)
            continue
        parent = trees[known[key]]
        place = _place(parent, tree)
        if place is None:
            adjustments.background_agents += 1
            roots.append(tree)
        else:
            parent.agents.setdefault(place, []).append(tree)
    return roots


def _place(parent: RecordedTree, agent: RecordedTree) -> int | None:
    """The place of the parent's turn that waits for the sub-agent; None where no turn does."""
    pauses = [(end_s(turn), following.arrival_s) for turn, following in pairwise(parent.turns)]
    calling = [place for place, turn in enumerate(parent.turns[:-1]) if _calls(turn, agent.session_id)]
    if not calling:
        calling = [
            place for place, (begin_s, return_s) in enumerate(pauses) if begin_s - CLOCK_S <= agent.start_s < return_s
        ]
    return next((place for place in calling if agent.end_s <= pauses[place][1] + CLOCK_S), None)


def _calls(turn: RecordedTurn, session_id: str) -> bool:
    return any(call.agent_session_id == session_id for call in turn.calls)
