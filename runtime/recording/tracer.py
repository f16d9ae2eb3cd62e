"""Passes turns, tool calls and steps to the recorder. Without a recorder it only measures step times."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from ...data.tables.schema import StepRow
from ..deployment import Deployment
from ..sessions.live_turn import LiveTurn
from ..sessions.table import Pause
from .recorder import Limits, Recorder
from .rows import Origin, pause_rows, turn_row
from .steps import StepLog

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput

ID_BYTES = 40
"""Memory of a token id in a list: the reference and the number."""


class Tracer:
    def __init__(self, recorder: Recorder | None, origin: Origin, text: bool = False) -> None:
        """`text`: whether token ids are recorded."""
        self._recorder = recorder
        self._origin = origin
        self._text = text
        self._steps = StepLog()

    @classmethod
    def of(cls, deployment: Deployment, version: str, model: str | None, dropped: Callable[[int], None]) -> Self:
        """The tracer that the deployment asks for; `dropped` receives the number of lost rows."""
        recorder = None
        if deployment.traces is not None:
            recorder = Recorder(deployment.traces, dropped, Limits(total_bytes=deployment.traces_max_bytes))
        return cls(recorder, Origin(deployment.source, version, model), deployment.traces_text)

    def pause_ended(self, live: LiveTurn, pause: Pause) -> None:
        if self._recorder is not None:
            for row in pause_rows(live, pause, self._origin):
                self._recorder.add("tool_calls", row)

    def turn_ended(self, live: LiveTurn, now_s: float, reason: str) -> None:
        if self._recorder is not None:
            row = turn_row(live, self._origin, now_s, reason, self._text)
            self._recorder.add("turns", row, ID_BYTES * live.request.num_tokens if self._text else 0)

    def step_scheduled(self, output: "SchedulerOutput", step: StepRow) -> None:
        self._steps.scheduled(output, step)

    def step_ended(self, output: "SchedulerOutput", now_s: float) -> StepRow | None:
        """The step with its engine time; None if `output` was not noted by `step_scheduled`."""
        step = self._steps.finished(output, now_s)
        if step is not None and self._recorder is not None:
            self._recorder.add("steps", {"source": self._origin.source, **step._asdict()})
        return step

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
