"""The session trees of a run: a session with its sub-agents and theirs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ....data.workload.model import Session
from .names import THIRDS
from .records import TurnRecord


@dataclass(slots=True)
class Tree:
    """The turns of a tree that arrived, by their arrival."""

    session_id: str  # of the root
    kind: str
    midway: bool  # its first turns are left out, so its time is not known
    turns: list[TurnRecord] = field(default_factory=list)
    end_s: float | None = None  # of the root's last turn

    @property
    def begin_s(self) -> float:
        return self.turns[0].arrival_s

    def session_time_s(self) -> float | None:
        """From the first arrival to the end. None: the tree has not ended, or its begin is left out."""
        return None if self.end_s is None or self.midway else self.end_s - self.begin_s

    def serving_time_s(self) -> float | None:
        """The time in which at least one turn of the tree waits or runs; None as for the session time.

        It is the length of the union of the turns' times from arrival to finish: without sub-agents the sum over turns
        of TTFT + decode time, and the session time without the pauses in which the session only waits for tools.
        """
        if self.session_time_s() is None:
            return None
        total_s, until_s = 0.0, self.begin_s
        for turn in sorted(self.turns, key=lambda turn: turn.arrival_s):
            if turn.finish_s is not None and turn.finish_s > until_s:
                total_s += turn.finish_s - max(turn.arrival_s, until_s)
                until_s = turn.finish_s
        return total_s


def trees_of(turns: Iterable[TurnRecord]) -> dict[str, Tree]:
    """Session id, of sub-agents too → its tree. `turns` are by arrival, so parents come before their sub-agents."""
    trees: dict[str, Tree] = {}
    for turn in turns:
        tree = trees.get(turn.session_id)
        if tree is None:
            parent = None if turn.parent_id is None else trees[turn.parent_id]
            tree = trees[turn.session_id] = parent or Tree(turn.session_id, turn.kind, turn.midway)
        tree.turns.append(turn)
        if turn.last and turn.session_id == tree.session_id:
            tree.end_s = turn.finish_s
    return trees


def length_bounds(sessions: Sequence[Session]) -> tuple[int, int] | None:
    """The most turns of a tree in the first and in the second third of the whole sessions, sub-agents included.

    None where fewer than three sessions are whole.
    """
    lengths = sorted(turns_of(session) for session in sessions if not session.entered_midway)
    if len(lengths) < len(THIRDS):
        return None
    return lengths[(len(lengths) - 1) // 3], lengths[2 * (len(lengths) - 1) // 3]


def turns_of(session: Session) -> int:
    """Turns of the session and of its sub-agents."""
    return sum(len(own.turns) for own in session.tree())
