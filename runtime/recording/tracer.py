"""What happens, told to the recorder: turns, tool calls, steps. Without a recorder only the step time is kept."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

from ..deployment import Deployment
from ..sessions.live_turn import LiveTurn
from ..sessions.table import Pause
from .recorder import Limits, Recorder
from .rows import Origin, pause_rows, turn_row
from .steps import StepFacts, StepLog, step_row

if TYPE_CHECKING:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request

ID_BYTES = 40
"""A token id in a list: the reference and the number."""


class Tracer:
    def __init__(self, recorder: Recorder | None, origin: Origin, text: bool = False) -> None:
        self._recorder = recorder
        self._origin = origin
        self._text = text
        self._steps = StepLog()

    @classmethod
    def of(cls, deployment: Deployment, version: str, model: str | None, dropped: Callable[[int], None]) -> Self:
        """As the deployment asks for it; `dropped` counts the rows that could not be kept."""
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

    def step_scheduled(self, output: "SchedulerOutput", facts: StepFacts) -> None:
        self._steps.scheduled(output, facts)

    def step_ended(self, output: "SchedulerOutput", now_s: float) -> tuple[StepFacts, float] | None:
        """The step as scheduled and its engine time, seconds."""
        step = self._steps.finished(output, now_s)
        if step is not None and self._recorder is not None:
            self._recorder.add("steps", step_row(*step, self._origin.source))
        return step

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()


def step_facts(
    scheduler: "AsyncScheduler", output: "SchedulerOutput", kv_usage: float, start_s: float, schedule_s: float
) -> StepFacts:
    """A step that is just scheduled, `schedule_s` after `start_s`."""
    running, waiting = scheduler.get_request_counts()
    return StepFacts(
        scheduler.current_step,
        start_s,
        *measure_tokens(output, scheduler.requests),
        kv_usage=kv_usage,
        waiting=waiting,
        running=running,
        token_budget=scheduler.max_num_scheduled_tokens,
        schedule_s=schedule_s,
    )


def measure_tokens(output: "SchedulerOutput", requests: "Mapping[str, Request]") -> tuple[int, int, int]:
    """Prefill tokens, decoding requests and the context attended to, tokens, of a step that is just scheduled.

    In C loops over vLLM's own lists as far as possible: this runs each step. Who is given one token decodes, but for
    requests that have no output yet; a piece of exactly one token that a preempted request computes anew counts as a
    decode.
    """
    scheduled, cached, new = output.num_scheduled_tokens, output.scheduled_cached_reqs, output.scheduled_new_reqs
    total = output.total_num_scheduled_tokens
    context_tokens = total + sum(cached.num_computed_tokens) + sum([one.num_computed_tokens for one in new])
    if output.scheduled_spec_decode_tokens:
        from ..vllm_compat import is_decode

        decodes = decoded = 0
        for request_id, tokens in scheduled.items():
            if is_decode(requests[request_id], tokens):
                decodes += 1
                decoded += tokens
        return total - decoded, decodes, context_tokens
    decodes = list(scheduled.values()).count(1) - sum([scheduled[one.req_id] == 1 for one in new])
    if 0 in cached.num_output_tokens:
        without_output = zip(cached.req_ids, cached.num_output_tokens, strict=True)
        decodes -= sum([scheduled[request_id] == 1 for request_id, tokens in without_output if tokens == 0])
    return total - decodes, decodes, context_tokens
