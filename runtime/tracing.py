"""What happens, told to the recorder: turns, tool calls, steps. Without a recorder only the step time is kept."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .recorder import Recorder
from .rows import pause_row, turn_row
from .sessions import Pause
from .steps import StepFacts, StepLog, step_row
from .turns import LiveTurn

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request


class Tracer:
    def __init__(self, recorder: Recorder | None, source: str, version: str) -> None:
        self._recorder = recorder
        self._source = source
        self._version = version
        self._steps = StepLog()

    @property
    def exact(self) -> bool:
        """Whether steps are to be measured to the token, for the recorder, or just counted."""
        return self._recorder is not None

    def pause_ended(self, live: LiveTurn, pause: Pause) -> None:
        if self._recorder is not None and (row := pause_row(live, pause, self._source)) is not None:
            self._recorder.add("tool_calls", row)

    def turn_ended(self, live: LiveTurn, now_s: float, reason: str) -> None:
        if self._recorder is not None:
            self._recorder.add("turns", turn_row(live, self._source, self._version, now_s, reason))

    def step_scheduled(self, output: "SchedulerOutput", facts: StepFacts) -> None:
        self._steps.scheduled(output, facts)

    def step_ended(self, output: "SchedulerOutput", now_s: float) -> tuple[StepFacts, float] | None:
        """The step as scheduled and its engine time, seconds."""
        step = self._steps.finished(output, now_s)
        if step is not None and self._recorder is not None:
            self._recorder.add("steps", step_row(*step, self._source))
        return step

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()


def count_tokens(scheduled: Mapping[str, int]) -> tuple[int, int, int]:
    """Prefill tokens, decoding requests and 0, for a step's scheduled tokens by request: who has one token decodes."""
    decodes = list(scheduled.values()).count(1)
    return sum(scheduled.values()) - decodes, decodes, 0


def measure_tokens(scheduled: Mapping[str, int], requests: "Mapping[str, Request]") -> tuple[int, int, int]:
    """Prefill tokens, decoding requests and the context attended to, tokens, of a step that is just scheduled."""
    from .vllm_compat import is_decode

    prefill_tokens = decodes = context_tokens = 0
    for request_id, tokens in scheduled.items():
        request = requests[request_id]
        context_tokens += request.num_computed_tokens
        if is_decode(request, tokens):
            decodes += 1
        else:
            prefill_tokens += tokens
    return prefill_tokens, decodes, context_tokens
