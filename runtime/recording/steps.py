"""Matches scheduled steps with their outputs, and measures how long each step took."""

from collections import deque
from typing import TYPE_CHECKING

from ...data.tables.schema import StepRow

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput

MAX_IN_FLIGHT = 64
"""More steps than any engine has in flight; the outputs of older ones were lost."""


class StepLog:
    """Steps in flight, in order: asynchronous scheduling has several."""

    def __init__(self) -> None:
        self._in_flight: deque[tuple[SchedulerOutput, StepRow]] = deque(maxlen=MAX_IN_FLIGHT)
        self._last_output_s = float("-inf")

    def scheduled(self, output: "SchedulerOutput", step: StepRow) -> None:
        self._in_flight.append((output, step))

    def finished(self, output: "SchedulerOutput", now_s: float) -> StepRow | None:
        """The step with its engine time, which is 0 if the clock was set back.

        None for a step that was not noted; steps in flight stay noted.
        """
        finished = None
        if any(scheduled is output for scheduled, _ in self._in_flight):
            scheduled, step = self._in_flight.popleft()
            while scheduled is not output:
                scheduled, step = self._in_flight.popleft()
            finished = step._replace(step_s=max(now_s - max(self._last_output_s, step.start_s), 0.0))
        self._last_output_s = now_s
        return finished
