"""Several engines behind a router: who serves a turn, and which engine is away at what time."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import NamedTuple, Self

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ....runtime.routing.placement import SessionPlacement
from ....runtime.routing.rendezvous import rendezvous
from ....runtime.scheduler import AugServeScheduler
from ..agenda import UnderWay
from ..errors import SimulationError
from .replica import Replica


class Routing(StrEnum):
    ROUND_ROBIN = "round-robin"  # turn by turn
    LEAST = "least"  # the engine with the fewest turns under way
    STICKY = "sticky"  # by session, with rendezvous hashing
    BACKLOG = "backlog"  # a new session on the engine with the least expected work; there it stays

    @property
    def keeps_sessions(self) -> bool:
        return self in (Routing.STICKY, Routing.BACKLOG)


_LOSS = re.compile(r"(\d+)@(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")


class Loss(NamedTuple):
    """An engine that is away from `from_s` until `to_s`, virtual seconds; it comes back without its KV cache."""

    rank: int
    from_s: float
    to_s: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """`RANK@S` or `RANK@S-S`. Raises SimulationError."""
        if (found := _LOSS.fullmatch(text)) is None:
            raise SimulationError(f"--lose {text}: not of the form RANK@S or RANK@FROM-TO, seconds; correct it")
        return cls(int(found[1]), float(found[2]), float(found[3] or "inf"))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Engines, each with the same policy. Raises SimulationError where no engine would be left."""

    replicas: int = 1
    routing: Routing = Routing.STICKY
    losses: tuple[Loss, ...] = ()

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise SimulationError(f"--replicas is {self.replicas}; it must be 1 or more")
        for loss in self.losses:
            if not (loss.rank < self.replicas and loss.from_s < loss.to_s):
                raise SimulationError(
                    f"--lose {loss.rank}@{loss.from_s:g}-{loss.to_s:g}: ranks are 0 to {self.replicas - 1}, and an "
                    "engine comes back after it is lost; correct it"
                )
            away = [other.rank for other in self.losses if other.from_s <= loss.from_s < other.to_s]
            if len(set(away)) < len(away):
                raise SimulationError(f"--lose: at {loss.from_s:g} s an engine is lost twice; correct it")
            if len(away) == self.replicas:
                raise SimulationError(f"--lose: at {loss.from_s:g} s every engine is away; leave one")

    def changes(self) -> list[tuple[float, int, bool]]:
        """(time, rank, whether it comes back) in order of time."""
        lost = [(loss.from_s, loss.rank, False) for loss in self.losses]
        back = [(loss.to_s, loss.rank, True) for loss in self.losses if loss.to_s < float("inf")]
        return sorted(lost + back)


ONE_ENGINE = Fleet()


class Router:
    """Chooses among the live engines. Sub-agents go with their parent where sessions stay."""

    def __init__(self, routing: Routing) -> None:
        self._turns = count()
        self._placement = SessionPlacement()
        self._choose: Callable[[UnderWay, Sequence[Replica]], Replica] = {
            Routing.ROUND_ROBIN: self._next,
            Routing.LEAST: _least,
            Routing.STICKY: _sticky,
            Routing.BACKLOG: self._placed,
        }[routing]

    def choose(self, under_way: UnderWay, live: Sequence[Replica]) -> Replica:
        return live[0] if len(live) == 1 else self._choose(under_way, live)

    def _next(self, under_way: UnderWay, live: Sequence[Replica]) -> Replica:  # noqa: ARG002
        return live[next(self._turns) % len(live)]

    def _placed(self, under_way: UnderWay, live: Sequence[Replica]) -> Replica:
        by_rank = {replica.rank: replica for replica in live}
        backlogs_s = {rank: expected_s(replica.scheduler) for rank, replica in by_rank.items()}
        rank, _ = self._placement.place(_key(under_way), None, backlogs_s)
        return by_rank[rank]


def _least(under_way: UnderWay, live: Sequence[Replica]) -> Replica:  # noqa: ARG001
    return min(live, key=lambda replica: len(replica.turns))


def _sticky(under_way: UnderWay, live: Sequence[Replica]) -> Replica:
    by_rank = {replica.rank: replica for replica in live}
    return by_rank[rendezvous(_key(under_way), by_rank)]


def _key(under_way: UnderWay) -> bytes:
    return under_way.root.session.session_id.encode()


def expected_s(scheduler: AsyncScheduler) -> float:
    """Expected engine time of what waits and runs. vLLM's own scheduler forecasts nothing: its prompt tokens that are
    not computed count instead, in place of seconds."""
    if isinstance(scheduler, AugServeScheduler) and scheduler.decisions is not None:
        return scheduler.decisions.work.backlog_s()
    requests = scheduler.requests.values()
    return float(sum(max(request.num_prompt_tokens - request.num_computed_tokens, 0) for request in requests))
