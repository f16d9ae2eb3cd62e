"""The progress bar of a simulation, over virtual time."""

from typing import Any, Self

from tqdm import tqdm
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ..forward import Step
from ..record.records import TurnRecord
from .observer import Observer


class Progress(Observer):
    def __init__(self, name: str, end_s: float) -> None:
        self._bar: Any = tqdm(desc=name, total=round(end_s), unit=" virtual s", mininterval=0.5)
        self._next_s = 1.0
        self._turns = 0

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:  # noqa: ARG002
        if now_s >= self._next_s:
            self._next_s = int(now_s) + 1.0
            self._bar.set_postfix(turns=self._turns, refresh=False)
            self._bar.update(min(int(now_s), self._bar.total) - self._bar.n)

    def turn_finished(self, record: TurnRecord, reason: str) -> None:  # noqa: ARG002
        self._turns += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._bar.update(self._bar.total - self._bar.n)
        self._bar.close()
