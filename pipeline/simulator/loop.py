"""The event loop: a turn arrives at an engine, the engines step, a tool returns.

Several engines share one virtual time. Always that one steps whose clock is behind all others. So whatever arrives at
an engine until its clock's time is known, and the router sees every engine at that time or in the step after it.
"""

from collections import deque
from collections.abc import Callable, Sequence

from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.request import Request

from ...data.workload.model import Session
from ...data.workload.token_ids import END_ID, session_contexts
from ...runtime.hints.hints import LAST_TOOL, PARENT, TOOLS_OFFERED
from .agenda import Agenda, Due, UnderWay
from .clock import VirtualClock
from .engine import ContextHasher, room_tokens
from .errors import SimulationError
from .fleet.replica import ASYNCHRONOUS, OpenTurn, Replica
from .fleet.routing import ONE_ENGINE, Fleet, Router
from .forward import Output
from .observers.observer import Observer
from .profile import StepProfile
from .record.records import EngineTotals, SimulationResult, TurnRecord

Start = Callable[[VirtualClock], AsyncScheduler]
"""Builds the scheduler of an engine with this clock."""


class Simulation:
    """Runs `sessions` through `scheduler` on an engine of `profile`. An instance runs once.

    With `agents` it is a closed loop of so many agents. Turns due at `last_arrival_s` or later are not sent. A `fleet`
    of several engines needs `start` for those after the first, and for each that comes back. The turns of a lost engine
    are answered anew by others; their times count from their first arrival.
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
        fleet: Fleet = ONE_ENGINE,
        start: Start | None = None,
    ) -> None:
        refuse_misfits(sessions, profile)
        self._profile = profile
        self._observer = observer
        self._batches = batches
        self._last_arrival_s = last_arrival_s
        self._agenda = Agenda(sessions, agents)
        self._keeps_sessions = fleet.routing.keeps_sessions
        self._router = Router(fleet.routing)
        self._changes = deque(fleet.changes())
        self._start = start
        self._contexts: dict[int, list[ContextHasher]] = {}  # by turn, of the sessions under way, by number
        self._turns: list[TurnRecord] = []
        self._totals = EngineTotals()
        self._live = [self._replica(0, scheduler, clock)]
        for rank in range(1, fleet.replicas):
            self._begin(rank, clock.now)

    def run(self, until_s: float | None = None) -> SimulationResult:
        """Run until nothing is left to do, or until virtual time `until_s`."""
        end_s = float("inf") if until_s is None else until_s
        while True:
            replica, now_s = self._foremost()
            if now_s >= end_s:
                break
            if self._changes and self._changes[0][0] <= now_s:
                self._change(*self._changes.popleft())
            elif (due := self._agenda.pop(now_s)) is not None:
                self._arrive(due)
            elif replica is not None:
                for output in replica.step(self._next_s(replica), end_s):
                    self._record(replica, output)
        for replica in self._live:
            for turn in replica.turns.values():
                turn.record.preemptions = turn.request.num_preemptions
            for request_id, tokens in replica.undelivered():
                replica.turns[request_id].record.output_tokens += tokens
        return SimulationResult(tuple(self._turns), self._totals, max(replica.clock.now for replica in self._live))

    def _foremost(self) -> tuple[Replica | None, float]:
        """The busy engine whose clock is behind those of all others, and its time.

        If all are idle, their clocks go to the next event; the time is infinite if there is none.
        """
        busy = [replica for replica in self._live if replica.busy]
        if busy:
            first = min(busy, key=_now_s)
            return first, first.clock.now
        if (event_s := self._event_s) < float("inf"):
            for replica in self._live:
                replica.clock.advance_to(event_s)
        return None, event_s

    @property
    def _event_s(self) -> float:
        """The next arrival, loss or return; infinite without one."""
        next_s = float("inf") if self._agenda.next_s is None else self._agenda.next_s
        return min(next_s, self._changes[0][0]) if self._changes else next_s

    def _next_s(self, replica: Replica) -> float:
        """Nothing arrives at an engine before this time."""
        others_s = (other.consequence_s for other in self._live if other is not replica)
        return min(self._event_s, *others_s) if len(self._live) > 1 else self._event_s

    def _arrive(self, due: Due) -> None:
        if due.time_s >= self._last_arrival_s:
            return
        session, parent = due.under_way.session, due.under_way.parent
        record = TurnRecord(
            session.session_id,
            session.kind,
            due.turn,
            due.turn + 1 == len(session.turns),
            due.time_s,
            session.prompt_tokens(due.turn),
            parent_id=None if parent is None else parent.session.session_id,
            midway=session.entered_midway,
        )
        self._turns.append(record)
        request = self._send(due, record, due.time_s)
        if self._observer is not None:
            self._observer.turn_arrived(record, request, session)

    def _send(self, due: Due, record: TurnRecord, time_s: float) -> Request:
        """Send a turn to the engine that the router chooses."""
        _, number, turn, under_way = due
        session = under_way.session
        contexts = self._contexts.get(number)
        if contexts is None:
            block_tokens = self._profile.limits.block_tokens
            contexts = self._contexts[number] = ContextHasher.of(session_contexts(session), block_tokens)
        ids, prompt_tokens = contexts[turn].ids, record.prompt_tokens
        request = Request(
            request_id=f"{session.session_id}/{turn}",
            prompt_token_ids=ids[:prompt_tokens],
            sampling_params=_sampling_params(under_way, turn),
            pooling_params=None,
            arrival_time=time_s,
            block_hasher=contexts[turn],
            session_id=session.session_id,
        )
        stays = self._keeps_sessions and not (record.last and under_way.parent is None)
        follows_s = float("inf") if stays else self._agenda.follows_s(due)
        output = Output(ids, prompt_tokens, prompt_tokens + session.turns[turn].output_tokens)
        replica = self._router.choose(under_way, self._live)
        replica.clock.advance_to(time_s)  # that of an idle engine is behind
        replica.add(OpenTurn(due, record, request, output, follows_s))
        return request

    def _record(self, replica: Replica, output: EngineCoreOutput) -> None:
        turn = replica.turns[output.request_id]
        record, now = turn.record, replica.clock.now
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
        record.preemptions = turn.request.num_preemptions
        if self._observer is not None:
            self._observer.turn_finished(record, str(output.finish_reason))
        replica.remove(output.request_id)
        if record.last:
            del self._contexts[turn.due.number]
        self._agenda.turn_ended(turn.due, now)

    def _change(self, time_s: float, rank: int, back: bool) -> None:
        """An engine comes back, or it is lost; then others answer its turns from their beginning."""
        if back:
            self._begin(rank, time_s)
            return
        lost = next(replica for replica in self._live if replica.rank == rank)
        self._live.remove(lost)
        for turn in lost.turns.values():
            turn.record.first_token_s, turn.record.output_tokens = None, 0
            request = self._send(turn.due, turn.record, time_s)
            if self._observer is not None:
                self._observer.turn_sent_again(turn.record, request)

    def _begin(self, rank: int, time_s: float) -> None:
        if self._start is None:
            raise SimulationError("simulation: several engines need a way to start them; give `start`")
        clock = VirtualClock()
        clock.advance_to(time_s)
        self._live.append(self._replica(rank, self._start(clock), clock))
        self._live.sort(key=lambda replica: replica.rank)

    def _replica(self, rank: int, scheduler: AsyncScheduler, clock: VirtualClock) -> Replica:
        return Replica(rank, scheduler, self._profile, clock, self._totals, self._observer, self._batches)


def _now_s(replica: Replica) -> float:
    return replica.clock.now


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
