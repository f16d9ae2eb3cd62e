"""Recorded sessions as trees: each sub-agent below the pause in which its parent waits for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..tables.sessions import RecordedTurn
from .adjustments import Adjustments
from .steady_state import NOMINAL_TOKEN_S

CLOCK_S = 1.0
"""Sources with whole seconds may date the end of a sub-agent this much after its parent's next turn."""

Name = tuple[str, str]  # source and session id


@dataclass(frozen=True, slots=True)
class RecordedTree:
    """A session's turns, and the sub-agents that start after each, by the turn's place."""

    turns: tuple[RecordedTurn, ...]
    agents: dict[int, list["RecordedTree"]] = field(default_factory=dict)

    @property
    def session_id(self) -> str:
        return self.turns[0].session_id

    @property
    def start_s(self) -> float:
        return self.turns[0].arrival_s

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
    trees: dict[Name, RecordedTree] = {
        (turns[0].source, turns[0].session_id): RecordedTree(turns) for turns in sessions
    }
    roots = []
    for name, tree in trees.items():
        parent_id = tree.turns[0].parent_session_id
        if parent_id is None:
            roots.append(tree)
            continue
        parent = trees.get((name[0], parent_id))
        if parent is None or _is_below(parent, tree, trees):
            adjustments.orphans += 1
            roots.append(tree)
            continue
        place = _place(parent, tree)
        if place is None:
            adjustments.background_agents += 1
            roots.append(tree)
        else:
            parent.agents.setdefault(place, []).append(tree)
    return roots


def _is_below(tree: RecordedTree, above: RecordedTree, trees: Mapping[Name, RecordedTree]) -> bool:
    """Whether `tree` is `above` or one of its descendants, by the recorded parents."""
    seen: set[str] = set()
    current: RecordedTree | None = tree
    while current is not None and current.session_id not in seen:
        if current is above:
            return True
        seen.add(current.session_id)
        parent_id = current.turns[0].parent_session_id
        current = None if parent_id is None else trees.get((current.turns[0].source, parent_id))
    return current is not None  # a cycle further up


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
