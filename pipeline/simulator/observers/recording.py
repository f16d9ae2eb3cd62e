"""Records the turns and steps of a run for traces and timeline, at 88 bytes a step."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import get_type_hints

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.request import Request

from ....data.tables.prompt_tail import tail_counts
from ....data.tables.schema import StepRow
from ....data.workload.model import Session, ToolCall
from ..forward import Step
from ..record.records import TurnRecord
from .observer import Observer


@dataclass(slots=True)
class SeenTurn:
    """A turn with facts beyond its record. Times are virtual seconds; None: the event has not happened."""

    record: TurnRecord
    request_id: str
    max_tokens: int
    tools_offered: int
    calls: tuple[ToolCall, ...]  # they follow the turn; none ends the session
    tail_counts: Sequence[int]  # see features/turn.py
    scheduled_s: float | None = None  # when its first tokens were scheduled
    finish_reason: str | None = None


@dataclass(slots=True)
class Recording(Observer):
    """`turns` are in order of arrival."""

    turns: list[SeenTurn] = field(default_factory=list)
    _open: dict[str, SeenTurn] = field(default_factory=dict)  # by request id
    _step_values: "array[float]" = field(default_factory=lambda: array("d"))

    def asks_for_each_step(self) -> bool:
        return True

    def turn_arrived(self, record: TurnRecord, request: Request, session: Session) -> None:
        turn = SeenTurn(
            record,
            request.request_id,
            session.max_tokens,
            session.tools_offered,
            session.turns[record.turn].calls,
            tail_counts(request.prompt_token_ids or ()),
        )
        self.turns.append(turn)
        self._open[request.request_id] = turn

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:  # noqa: ARG002
        for new in step.scheduled.scheduled_new_reqs:
            turn = self._open[new.req_id]
            if turn.scheduled_s is None:
                turn.scheduled_s = now_s
        running, waiting = scheduler.get_request_counts()
        self.add_step(
            StepRow(
                len(self._step_values) // len(StepRow._fields),
                now_s,
                step.prefill_tokens,
                step.decode_sequences,
                step.context_tokens,
                scheduler.kv_cache_manager.usage,
                waiting,
                running,
                scheduler.max_num_scheduled_tokens,
                schedule_s=0.0,  # virtual time stands still while the scheduler works
                step_s=step.step_s,
            )
        )

    def add_step(self, step: StepRow) -> None:
        self._step_values.extend(step)

    def turn_finished(self, record: TurnRecord, reason: str) -> None:
        self._open.pop(f"{record.session_id}/{record.turn}").finish_reason = reason

    def steps(self) -> Iterator[StepRow]:
        types, values = tuple(get_type_hints(StepRow).values()), self._step_values
        for first in range(0, len(values), len(types)):
            row = zip(types, values[first : first + len(types)], strict=True)
            yield StepRow(*(kind(value) for kind, value in row))
