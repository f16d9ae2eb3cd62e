"""Engine steps as rows of a trace, and the measured step time."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput


@dataclass(frozen=True, slots=True)
class StepFacts:
    """A step as scheduled, in the columns of data.schema.STEPS."""

    step: int
    start_s: float
    prefill_tokens: int
    decode_sequences: int
    context_tokens: int
    kv_usage: float
    waiting: int
    running: int
    token_budget: int
    schedule_s: float


MAX_IN_FLIGHT = 64
"""More steps than any engine has in flight: outputs of older ones will not be asked about any more."""


class StepLog:
    """Matches each scheduled step with its output: asynchronous scheduling has several in flight, in order."""

    def __init__(self) -> None:
        self._in_flight: deque[tuple[SchedulerOutput, StepFacts]] = deque(maxlen=MAX_IN_FLIGHT)
        self._last_output_s = float("-inf")

    def scheduled(self, output: "SchedulerOutput", facts: StepFacts) -> None:
        self._in_flight.append((output, facts))

    def finished(self, output: "SchedulerOutput", now_s: float) -> tuple[StepFacts, float] | None:
        """The step's facts and its engine time, seconds: from the last output, or from its own scheduling where that
        came later, 0 where the clock was set back. None for a step that was not noted, as those without tokens are
        not: the noted ones in flight beside it keep their places."""
        step = None
        if any(scheduled is output for scheduled, _ in self._in_flight):
            scheduled, facts = self._in_flight.popleft()
            while scheduled is not output:
                scheduled, facts = self._in_flight.popleft()
            step = facts, max(now_s - max(self._last_output_s, facts.start_s), 0.0)
        self._last_output_s = now_s
        return step


def step_row(facts: StepFacts, step_s: float, source: str) -> dict[str, object]:
    """The step as a row of data.schema.STEPS."""
    return {
        "source": source,
        "step": facts.step,
        "start_s": facts.start_s,
        "prefill_tokens": facts.prefill_tokens,
        "decode_sequences": facts.decode_sequences,
        "context_tokens": facts.context_tokens,
        "kv_usage": facts.kv_usage,
        "waiting": facts.waiting,
        "running": facts.running,
        "token_budget": facts.token_budget,
        "schedule_s": facts.schedule_s,
        "step_s": step_s,
    }
