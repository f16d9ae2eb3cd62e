"""Recorded sessions as trees, as they are: a sub-agent need not end before its parent goes on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..tables.ancestry import SessionKey
from ..tables.sessions import RecordedCall, RecordedTurn
from ..workload.recorded.trees import RecordedNode, end_s


@dataclass(frozen=True)
class Tree(RecordedNode):
    """A session and its sub-agents, by the turn that starts them."""

    agents: tuple["Agent", ...]

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


def trees_as_recorded(sessions: Sequence[tuple[RecordedTurn, ...]]) -> list[Tree]:
    """The trees, in the order of `sessions`. A session without its parent, or in a circle of parents, is a root."""
    nodes = {node.key: node for node in map(RecordedNode, sessions)}
    children: dict[SessionKey, list[SessionKey]] = {key: [] for key in nodes}
    roots: list[SessionKey] = []
    for key, node in nodes.items():
        parent = node.parent_key
        (roots if parent is None else children.get(parent, roots)).append(key)
    placed: set[SessionKey] = set()

    def tree(key: SessionKey) -> Tree:
        placed.add(key)
        turns = nodes[key].turns
        agents = [_agent(turns, tree(child)) for child in children[key] if child not in placed]
        return Tree(turns, tuple(sorted(agents, key=_order)))

    trees = [tree(key) for key in roots]
    return trees + [tree(key) for key in nodes if key not in placed]


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
