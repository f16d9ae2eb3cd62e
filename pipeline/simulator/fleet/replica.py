"""One engine of a simulation: vLLM's scheduler on a profile, its clock, and its steps in flight.

The engine mirrors vLLM's `EngineCore.step_with_batch_queue` with up to two batches in flight: it schedules a step while
the previous one runs, and gets its tokens one step later.
"""

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.request import Request

from ..agenda import Due
from ..bulk.stepper import Stepper
from ..clock import VirtualClock
from ..errors import SimulationError
from ..forward import ForwardPass, Output, Step
from ..observers.observer import Observer
from ..offloading import Offloading
from ..profile import StepProfile
from ..record.records import EngineTotals, TurnRecord

ASYNCHRONOUS, SYNCHRONOUS = 2, 1
"""Batches in flight, with and without vLLM's asynchronous scheduling."""
IDLE_TICK_S = 0.005  # how long the engine idles if the scheduler schedules none of the waiting requests
IDLE_LIMIT_S = 600.0  # the longest idle time with waiting requests, after which the simulation is stuck


@dataclass(slots=True, eq=False)
class OpenTurn:
    """A turn that an engine has to answer."""

    due: Due
    record: TurnRecord
    request: Request
    output: Output
    follows_s: float  # the earliest arrival elsewhere that its end may cause, seconds after the end


class Replica:
    """Steps one engine. Its clock runs ahead of that of the simulation by at most a step, or a bulk of them."""

    def __init__(
        self,
        rank: int,
        scheduler: AsyncScheduler,
        profile: StepProfile,
        clock: VirtualClock,
        totals: EngineTotals,
        observer: Observer | None = None,
        batches: int = ASYNCHRONOUS,
    ) -> None:
        """`totals`: of all engines; this one adds its own."""
        self.rank = rank
        self.scheduler = scheduler
        self.clock = clock
        self.turns: dict[str, OpenTurn] = {}  # by request id
        self._totals = totals
        self._observer = observer
        self._batches = batches
        self._forward = ForwardPass(profile)
        self._offloading = None if scheduler.connector is None else Offloading(scheduler, profile)
        each_step = self._offloading is not None or (observer is not None and observer.asks_for_each_step())
        self._stepper = Stepper(scheduler, self._forward, each_step)
        self._in_flight: deque[tuple[float, Step]] = deque()
        self._engine_free_s = 0.0
        self._idle_s = 0.0
        self._least_step_s = profile.step_s(0, 1, 1)
        self._consequence_s: float | None = None  # None: to be computed

    @property
    def busy(self) -> bool:
        return self.scheduler.has_requests() or bool(self._in_flight)

    def add(self, turn: OpenTurn) -> None:
        request_id = turn.request.request_id
        self.turns[request_id] = turn
        self._forward.outputs[request_id] = turn.output
        self._consequence_s = None
        self.scheduler.add_request(turn.request)

    def remove(self, request_id: str) -> OpenTurn:
        """The turn has ended."""
        del self._forward.outputs[request_id]
        return self.turns.pop(request_id)

    def step(self, next_s: float, end_s: float) -> Sequence[EngineCoreOutput]:
        """One call of vLLM's engine loop: schedule a step, or wait for the output of the oldest one, which is returned.

        `next_s`: nothing arrives at this engine before; `end_s`: of the run.
        """
        self._consequence_s = None
        if self.scheduler.has_requests():
            before = self._in_flight[-1][1] if self._in_flight else None
            if before is not None and before.bulk_ends_s:
                self.clock.advance_to(before.bulk_ends_s[-2])  # when vLLM schedules the step after the bulk
            starts_s = max(self._engine_free_s, self.clock.now)
            step = self._stepper.next(starts_s, min(next_s, end_s), before)
            scheduled = step.scheduled
            if self._offloading is not None:
                starts_s, transfers = self._offloading.begin(scheduled, self.clock.now, starts_s, step.step_s)
                step = dataclasses.replace(step, transfers=transfers)
            self._engine_free_s = step.bulk_ends_s[-1] if step.bulk_ends_s else starts_s + step.step_s
            self._in_flight.append((self._engine_free_s, step))
            executed = step.tokens > 0
            if executed:
                if self._observer is not None:
                    self._observer.step_begun(step, self.scheduler, self.clock.now, self._engine_free_s)
                self._idle_s = 0.0
                self._totals.steps += step.steps
                self._totals.tokens_scheduled += step.tokens
                self._totals.busy_s += step.step_s
            elif all(waiting.tokens == 0 for _, waiting in self._in_flight):
                self._idle(next_s)
            if len(self._in_flight) < self._batches and (executed or self.scheduler.has_requests()):
                return ()
        return self._finish_oldest() if self._in_flight else ()

    def undelivered(self) -> Iterator[tuple[str, int]]:
        """Requests with the number of tokens that they have decoded and that did not come yet."""
        return self._stepper.undelivered(step for _, step in self._in_flight)

    @property
    def consequence_s(self) -> float:
        """No turn of this engine causes an arrival elsewhere before this time.

        A turn with n tokens beyond the steps in flight ends at least n steps after them.
        """
        if self._consequence_s is None:
            now_s, free_s, least_s = self.clock.now, max(self._engine_free_s, self.clock.now), self._least_step_s
            times_s = [float("inf")]
            for turn in self.turns.values():
                output = turn.output
                steps = output.end - output.at - turn.request.num_output_placeholders
                times_s.append((free_s + steps * least_s if steps > 0 else now_s) + turn.follows_s)
            self._consequence_s = min(times_s)
        return self._consequence_s

    def _finish_oldest(self) -> Sequence[EngineCoreOutput]:
        ends_s, step = self._in_flight.popleft()
        self.clock.advance_to(ends_s)
        self._stepper.ends(step, ends_s)
        outputs = self.scheduler.update_from_output(step.scheduled, self._forward.end(step))
        return [output for client in outputs.values() for output in client.outputs]

    def _idle(self, next_s: float) -> None:
        """Nothing is scheduled and nothing runs: advance the clock to the next event or end of a copy, or by a tick."""
        copied_s = None if self._offloading is None else self._offloading.next_end_s
        if copied_s is None and not self.scheduler.get_num_unfinished_requests():
            return  # the step only reported finished requests
        if any(step.transfers is not None and not step.transfers.is_empty() for _, step in self._in_flight):  # type: ignore[no-untyped-call]
            return  # the scheduler does not know yet that copies have ended
        now = self.clock.now
        until_s = min(now + IDLE_TICK_S, next_s, float("inf") if copied_s is None else copied_s)
        until_s = max(until_s, now + 1e-9)
        self._idle_s += until_s - now
        if self._idle_s > IDLE_LIMIT_S:
            raise SimulationError(
                f"simulation: {type(self.scheduler).__name__} scheduled none of {len(self.turns)} waiting requests "
                f"for {IDLE_LIMIT_S:.0f} s; report this as a bug of the policy"
            )
        self.clock.advance_to(until_s)
