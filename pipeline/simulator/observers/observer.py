"""What an observer of a simulation is told."""

from collections.abc import Sequence

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.request import Request

from ....data.workload.model import Session
from ..forward import Step
from ..record.records import TurnRecord


class Observer:
    """Ignores every event; subclasses override the events they need. Times are virtual seconds."""

    def asks_for_each_step(self) -> bool:
        """Whether it must see each decode step: then there are no bulks (bulk/)."""
        return False

    def turn_arrived(self, record: TurnRecord, request: Request, session: Session) -> None:
        """The turn enters the scheduler; the simulation completes its record later."""

    def turn_sent_again(self, record: TurnRecord, request: Request) -> None:
        """The turn enters another scheduler, for its engine was lost."""

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:
        """The scheduler composed the step, or the bulk of steps, at `now_s`; the engine completes it at `ends_s`."""

    def turn_finished(self, record: TurnRecord, reason: str) -> None:
        """The record is complete; `reason` is vLLM's finish reason."""


class ObserverGroup(Observer):
    """Passes events to several observers in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def asks_for_each_step(self) -> bool:
        return any(observer.asks_for_each_step() for observer in self._observers)

    def turn_arrived(self, record: TurnRecord, request: Request, session: Session) -> None:
        for observer in self._observers:
            observer.turn_arrived(record, request, session)

    def turn_sent_again(self, record: TurnRecord, request: Request) -> None:
        for observer in self._observers:
            observer.turn_sent_again(record, request)

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:
        for observer in self._observers:
            observer.step_begun(step, scheduler, now_s, ends_s)

    def turn_finished(self, record: TurnRecord, reason: str) -> None:
        for observer in self._observers:
            observer.turn_finished(record, reason)
