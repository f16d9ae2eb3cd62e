"""Recorded sessions as trees, as they are: a sub-agent need not end before its parent goes on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..tables.sessions import RecordedCall, RecordedTurn, SessionKey
from ..workload.recorded_trees import end_s


@dataclass(frozen=True)
class Tree:
    """A session and its sub-agents, by the turn that starts them."""

    turns: tuple[RecordedTurn, ...]
    agents: tuple["Agent", ...]

    @property
    def session_id(self) -> str:
        return self.turns[0].session_id

    @property
    def start_s(self) -> float:
        return self.turns[0].arrival_s

    @cached_property
    def end_s(self) -> float:
        """The end of the last turn, nominal where the trace has none; sub-agents included."""
        return max(*map(end_s, self.turns), *(agent.tree.end_s for agent in self.agents), self.start_s)

    @cached_property
    def prefix_tokens(self) -> int:
        return max(turn.prefix_tokens or 0 for turn in self.turns)

    def walk(self) -> Iterator["Tree"]:
        """The session, then its sub-agents and theirs."""
        yield self
        for agent in self.agents:
            yield from agent.tree.walk()

    @property
    def depth(self) -> int:
        """Levels of sub-agents."""
        return max((agent.tree.depth + 1 for agent in self.agents), default=0)


@dataclass(frozen=True)
class Agent:
    place: int  # of the turn that starts it, among its parent's turns
    call: RecordedCall | None  # None: no call names the sub-agent
    tree: Tree


def recorded_trees(sessions: Sequence[tuple[RecordedTurn, ...]]) -> list[Tree]:
    """The trees, in the order of `sessions`. A session without its parent, or in a circle of parents, is a root."""
    by_key = {_key(turns[0]): turns for turns in sessions}
    children: dict[SessionKey, list[SessionKey]] = {key: [] for key in by_key}
    roots: list[SessionKey] = []
    for key, turns in by_key.items():
        parent = (key[0], turns[0].parent_session_id or "")
        (children[parent] if parent in by_key else roots).append(key)
    placed: set[SessionKey] = set()

    def tree(key: SessionKey) -> Tree:
        placed.add(key)
        turns = by_key[key]
        agents = [_agent(turns, tree(child)) for child in children[key] if child not in placed]
        return Tree(turns, tuple(sorted(agents, key=_order)))

    trees = [tree(key) for key in roots]
    return trees + [tree(key) for key in by_key if key not in placed]


def _agent(turns: Sequence[RecordedTurn], tree: Tree) -> Agent:
    """The sub-agent at the first call that names it, or else at the last turn that began before it."""
    for place, turn in enumerate(turns):
        for call in turn.calls:
            if call.agent_session_id == tree.session_id:
                return Agent(place, call, tree)
    return Agent(_last(turn.arrival_s <= tree.start_s for turn in turns), None, tree)


def _last(before: Iterable[bool]) -> int:
    return max((place for place, is_before in enumerate(before) if is_before), default=0)


def _order(agent: Agent) -> tuple[int, bool, int, float]:
    number = 0 if agent.call is None else agent.call.call
    return agent.place, agent.call is None, number, agent.tree.start_s


def _key(turn: RecordedTurn) -> SessionKey:
    return turn.source, turn.session_id
