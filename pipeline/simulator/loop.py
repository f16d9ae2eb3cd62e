"""The event loop: a turn arrives, the engine steps, a tool returns.

The engine mirrors vLLM's `EngineCore.step_with_batch_queue` with up to two batches in flight: it schedules a step while
the previous one runs, and gets its tokens one step later.
"""

import dataclasses
from collections import deque
from collections.abc import Sequence

from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.request import Request

from ...data.workload.model import Session
from ...data.workload.token_ids import END_ID, session_contexts
from ...runtime.hints.hints import LAST_TOOL, PARENT, TOOLS_OFFERED
from .agenda import Agenda, Due, UnderWay
from .bulk.stepper import Stepper
from .clock import VirtualClock
from .engine import ContextHasher, room_tokens
from .errors import SimulationError
from .forward import ForwardPass, Output, Step
from .offloading import Offloading
from .profile import StepProfile
from .record.observer import Observer
from .record.records import EngineTotals, SimulationResult, TurnRecord

ASYNCHRONOUS, SYNCHRONOUS = 2, 1
"""Batches in flight, with and without vLLM's asynchronous scheduling."""
IDLE_TICK_S = 0.005  # how long the engine idles if the scheduler schedules none of the waiting requests
IDLE_LIMIT_S = 600.0  # the longest idle time with waiting requests, after which the simulation is stuck


class Simulation:
    """Runs `sessions` through `scheduler` on an engine of `profile`. An instance runs once.

    With `agents` it is a closed loop of so many agents. Turns due at `last_arrival_s` or later are not sent.
    """

    def __init__(
        self,
        scheduler: AsyncScheduler,
        profile: StepProfile,
        clock: VirtualClock,
        sessions: Sequence[Session],
        observer: Observer | None = None,
        batches: int = ASYNCHRONOUS,
        last_arrival_s: float = float("inf"),
        agents: int | None = None,
    ) -> None:
        refuse_misfits(sessions, profile)
        self._scheduler = scheduler
        self._clock = clock
        self._observer = observer
        self._batches = batches
        self._last_arrival_s = last_arrival_s
        self._forward = ForwardPass(profile)
        self._offloading = None if scheduler.connector is None else Offloading(scheduler, profile)
        each_step = self._offloading is not None or (observer is not None and observer.asks_for_each_step())
        self._stepper = Stepper(scheduler, self._forward, each_step)
        self._until_s = float("inf")
        self._in_flight: deque[tuple[float, Step]] = deque()
        self._engine_free_s = 0.0
        self._idle_s = 0.0
        self._agenda = Agenda(sessions, agents)
        self._contexts: dict[int, list[ContextHasher]] = {}  # by turn, of the sessions under way, by number
        self._open: dict[str, tuple[Due, TurnRecord, Request]] = {}
        self._turns: list[TurnRecord] = []
        self._totals = EngineTotals()

    def run(self, until_s: float | None = None) -> SimulationResult:
        """Run until nothing is left to do, or until virtual time `until_s`."""
        clock, scheduler, agenda = self._clock, self._scheduler, self._agenda
        self._until_s = float("inf") if until_s is None else until_s
        while until_s is None or clock.now < until_s:
            while (due := agenda.pop(clock.now)) is not None:
                self._arrive(due)
            if scheduler.has_requests() or self._in_flight:
                self._step()
            elif (next_s := agenda.next_s) is not None:
                clock.advance_to(next_s)
            else:
                break
        for _, record, request in self._open.values():
            record.preemptions = request.num_preemptions
        for request_id, tokens in self._stepper.undelivered(step for _, step in self._in_flight):
            self._open[request_id][1].output_tokens += tokens
        return SimulationResult(tuple(self._turns), self._totals, clock.now)

    def _arrive(self, due: Due) -> None:
        if due.time_s >= self._last_arrival_s:
            return
        time_s, number, turn, under_way = due
        session = under_way.session
        contexts = self._contexts.get(number)
        if contexts is None:
            contexts = self._contexts[number] = ContextHasher.of(session_contexts(session), self._scheduler.block_size)
        ids, prompt_tokens = contexts[turn].ids, session.prompt_tokens(turn)
        request_id = f"{session.session_id}/{turn}"
        request = Request(
            request_id=request_id,
            prompt_token_ids=ids[:prompt_tokens],
            sampling_params=_sampling_params(under_way, turn),
            pooling_params=None,
            arrival_time=time_s,
            block_hasher=contexts[turn],
            session_id=session.session_id,
        )
        parent = under_way.parent
        record = TurnRecord(
            session.session_id,
            session.kind,
            turn,
            turn + 1 == len(session.turns),
            time_s,
            prompt_tokens,
            parent_id=None if parent is None else parent.session.session_id,
            midway=session.entered_midway,
        )
        self._turns.append(record)
        self._open[request_id] = (due, record, request)
        self._forward.outputs[request_id] = Output(
            ids, prompt_tokens, prompt_tokens + session.turns[turn].output_tokens
        )
        self._scheduler.add_request(request)
        if self._observer is not None:
            self._observer.turn_arrived(record, request, session)

    def _step(self) -> None:
        """One call of vLLM's engine loop: schedule a step, or wait for the output of the oldest one."""
        if self._scheduler.has_requests():
            before = self._in_flight[-1][1] if self._in_flight else None
            if before is not None and before.bulk_ends_s:
                self._clock.advance_to(before.bulk_ends_s[-2])  # when vLLM schedules the step after the bulk
            starts_s = max(self._engine_free_s, self._clock.now)
            next_s = self._until_s if self._agenda.next_s is None else min(self._until_s, self._agenda.next_s)
            step = self._stepper.next(starts_s, next_s, before)
            scheduled = step.scheduled
            if self._offloading is not None:
                starts_s, transfers = self._offloading.begin(scheduled, self._clock.now, starts_s, step.step_s)
                step = dataclasses.replace(step, transfers=transfers)
            self._engine_free_s = step.bulk_ends_s[-1] if step.bulk_ends_s else starts_s + step.step_s
            self._in_flight.append((self._engine_free_s, step))
            executed = step.tokens > 0
            if executed:
                if self._observer is not None:
                    self._observer.step_begun(step, self._scheduler, self._clock.now, self._engine_free_s)
                self._idle_s = 0.0
                self._totals.steps += step.steps
                self._totals.tokens_scheduled += step.tokens
                self._totals.busy_s += step.step_s
            elif all(waiting.tokens == 0 for _, waiting in self._in_flight):
                self._idle()
            if len(self._in_flight) < self._batches and (executed or self._scheduler.has_requests()):
                return
        if self._in_flight:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        ends_s, step = self._in_flight.popleft()
        self._clock.advance_to(ends_s)
        self._stepper.ends(step, ends_s)
        outputs = self._scheduler.update_from_output(step.scheduled, self._forward.end(step))
        for client in outputs.values():
            for output in client.outputs:
                self._record(output)

    def _record(self, output: EngineCoreOutput) -> None:
        due, record, request = self._open[output.request_id]
        now = self._clock.now
        if (prefill := output.prefill_stats) is not None:
            record.cached_tokens = prefill.num_cached_tokens
            record.loaded_tokens = prefill.num_external_cached_tokens
        if output.new_token_ids:
            if record.first_token_s is None:
                record.first_token_s = now
            record.output_tokens += len(output.new_token_ids)
        if output.finish_reason is None:
            return
        record.finish_s = now
        record.preemptions = request.num_preemptions
        if self._observer is not None:
            self._observer.turn_finished(record, str(output.finish_reason))
        del self._open[output.request_id], self._forward.outputs[output.request_id]
        if record.last:
            del self._contexts[due.number]
        self._agenda.turn_ended(due, now)

    def _idle(self) -> None:
        """Nothing is scheduled and nothing runs: advance the clock to the next event or end of a copy, or by a tick."""
        copied_s = None if self._offloading is None else self._offloading.next_end_s
        if copied_s is None and not self._scheduler.get_num_unfinished_requests():
            return  # the step only reported finished requests
        if any(step.transfers is not None and not step.transfers.is_empty() for _, step in self._in_flight):  # type: ignore[no-untyped-call]
            return  # the scheduler does not know yet that copies have ended
        now = self._clock.now
        until_s = min(time_s for time_s in (now + IDLE_TICK_S, copied_s, self._agenda.next_s) if time_s is not None)
        until_s = max(until_s, now + 1e-9)
        self._idle_s += until_s - now
        if self._idle_s > IDLE_LIMIT_S:
            raise SimulationError(
                f"simulation: {type(self._scheduler).__name__} scheduled none of {len(self._open)} waiting requests "
                f"for {IDLE_LIMIT_S:.0f} s; report this as a bug of the policy"
            )
        self._clock.advance_to(until_s)


def refuse_misfits(sessions: Sequence[Session], profile: StepProfile) -> None:
    """Raise SimulationError for a session that the engine cannot complete.

    vLLM's API rejects a request longer than the context of the model. A shorter request may still not fit, because the
    null block takes one block of the cache. vLLM would preempt such a request at its last tokens and never resume it.
    """
    longest, room = profile.limits.max_model_len, room_tokens(profile.limits)
    for session in (own for root in sessions for own in root.tree()):
        prompts = session.prompt_lengths()
        tokens = max(prompts) + session.max_tokens
        if tokens > longest:
            raise SimulationError(
                f"workload: session {session.session_id} needs {tokens} tokens, but profile {profile.name} allows "
                f"{longest}; remove the session"
            )
        computed = max(prompt + turn.output_tokens for prompt, turn in zip(prompts, session.turns, strict=True)) - 1
        if computed > room:
            raise SimulationError(
                f"workload: session {session.session_id} computes {computed} tokens, but the KV cache of profile "
                f"{profile.name} has room for {room}; remove the session"
            )
        if any(turn.output_tokens > session.max_tokens for turn in session.turns):
            raise SimulationError(
                f"workload: session {session.session_id} has an output beyond its max_tokens of {session.max_tokens}; "
                "cut the output or raise max_tokens"
            )


def _sampling_params(under_way: UnderWay, turn: int) -> SamplingParams:
    """The parameters of the client, with the hints of the middleware."""
    session = under_way.session
    extra: dict[str, object] = {TOOLS_OFFERED: session.tools_offered}
    if under_way.parent is not None:
        extra[PARENT] = under_way.parent.session.session_id
    if turn and (call := session.turns[turn - 1].longest_call) is not None:
        extra[LAST_TOOL] = call.tool
    return SamplingParams(max_tokens=session.max_tokens, stop_token_ids=[END_ID], extra_args=extra)
