"""What must hold of a scheduler after each step, whatever has happened; see test_invariants.py."""

from collections import Counter

from vllm.v1.request import Request, RequestStatus

from augserve.runtime import AugServeScheduler
from augserve.runtime.pins import Pin
from augserve.runtime.vllm_compat import holding_queue

from .conftest import STEP_S, Engine, TestedScheduler

WAITING = frozenset(
    {
        RequestStatus.WAITING,
        RequestStatus.PREEMPTED,
        RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR,
        RequestStatus.WAITING_FOR_STREAMING_REQ,
    }
)


def check_step(engine: Engine) -> None:
    each_request_is_in_one_place(engine)
    references_are_of_requests_and_pins(engine)
    the_budget_is_respected(engine)
    pins_are_bounded(engine)


def each_request_is_in_one_place(engine: Engine) -> None:
    scheduler = engine.scheduler
    queued = [*scheduler.waiting, *holding_queue(scheduler)]
    places = Counter(request.request_id for request in (*scheduler.running, *queued))
    assert all(count == 1 for count in places.values()), places
    unfinished = {number for number, request in scheduler.requests.items() if not request.is_finished()}
    assert places.keys() == unfinished
    assert all(request.status == RequestStatus.RUNNING for request in scheduler.running)
    assert all(request.status in WAITING for request in queued)
    if isinstance(scheduler, AugServeScheduler):
        assert scheduler._turns.keys() == unfinished


def references_are_of_requests_and_pins(engine: Engine) -> None:
    """Each block's reference count is what requests and pins hold of it, and every other block is free."""
    manager = engine.scheduler.kv_cache_manager
    held: Counter[int] = Counter()
    for group in manager.coordinator.single_type_managers:
        assert group.req_to_blocks.keys() <= engine.scheduler.requests.keys()
        for blocks in group.req_to_blocks.values():
            held.update(block.block_id for block in blocks if not block.is_null)
    for pin in pins_of(engine).values():
        held.update(block.block_id for block in pin.blocks)
    pool = manager.block_pool
    assert {block.block_id: block.ref_cnt for block in pool.blocks if block.ref_cnt and not block.is_null} == held
    assert pool.get_num_free_blocks() == pool.num_gpu_blocks - 1 - len(held)


def the_budget_is_respected(engine: Engine) -> None:
    scheduler = engine.scheduler
    if not engine.scheduled:
        return
    assert sum(engine.scheduled[-1].values()) <= engine.budgets[-1] <= scheduler.scheduler_config.max_num_batched_tokens
    assert len(scheduler.running) <= scheduler.scheduler_config.max_num_seqs


def pins_are_bounded(engine: Engine) -> None:
    scheduler = engine.scheduler
    if not isinstance(scheduler, TestedScheduler) or scheduler._keeper is None:
        return
    pins, settings = scheduler._keeper.pins, scheduler.settings
    most_blocks = settings.retention.max_share * scheduler.kv_cache_manager.block_pool.num_gpu_blocks
    assert pins.blocks == len({block.block_id for pin in pins_of(engine).values() for block in pin.blocks})
    assert pins.blocks <= most_blocks
    keeping = Counter(id(block) for pin in pins_of(engine).values() for block in pin.blocks)
    kept = {id(block): block for pin in pins_of(engine).values() for block in pin.blocks}
    assert pins.releasable_blocks == sum(kept[each].ref_cnt == count for each, count in keeping.items())
    claims = {pin.claimed_by: session for session, pin in pins_of(engine).items() if pin.claimed_by is not None}
    assert pins._claims == claims
    assert claims.keys() <= scheduler.requests.keys()


def pins_of(engine: Engine) -> dict[str, Pin]:
    scheduler = engine.scheduler
    keeper = scheduler._keeper if isinstance(scheduler, AugServeScheduler) else None
    return {} if keeper is None else keeper.pins._pins


class Waits:
    """The bound on waits that overdue.py promises, by an account of tokens that is kept here from what is seen alone.

    Overdue turns that went first leave the account of the overdue in debt by the largest of them at most, and their
    share of each step's budget pays it back. Until then they may be passed over; from then on, where a step admits
    anybody, it admits the one that has waited longest.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        assert isinstance(engine.scheduler, TestedScheduler)
        assert engine.scheduler._ordering is not None
        assert engine.scheduler._ordering._passing is not None
        self._scheduler = engine.scheduler
        self._queue, self._passing = engine.scheduler._ordering.queue, engine.scheduler._ordering._passing
        self._debt = 0.0  # tokens, at most
        self.owed = 0  # times that the longest wait had to end, and did

    def before_step(self) -> None:
        """Who waits, and who will have waited beyond the bound in the coming step."""
        scheduler = self._scheduler
        now_s, turns = self._engine.clock.now_s + STEP_S, scheduler._turns
        self._tokens = {request: request.num_tokens for request in scheduler.waiting}
        since_s = {request: turns[request.request_id].waiting_since_s for request in self._tokens}
        self._overdue = {each for each in since_s if now_s - since_s[each] > scheduler.settings.max_wait_s}
        longest_s = min((since_s[each] for each in self._overdue), default=None)
        self._longest = {each for each in self._overdue if since_s[each] == longest_s}  # several equally long
        self._reserved = self._passing.reserved(self._queue, now_s)

    def check(self) -> None:
        """After the step."""
        admitted = self._tokens.keys() & set(self._scheduler.running)
        if self._tokens:  # else nobody was asked
            earned = self._scheduler.settings.admission.overdue_share * self._engine.budgets[-1]
            self._debt = max(self._debt - earned, 0.0)
        if self._longest and admitted and not self._debt and not self._may_be_passed(admitted):
            assert self._longest & admitted, "who has waited longest was passed over, and nothing was owed"
            self.owed += 1
        self._debt = max([self._debt, *(self._tokens[each] for each in admitted & self._overdue)])

    def _may_be_passed(self, admitted: set[Request]) -> bool:
        """It wants a grammar (or ended for want of one) or an adapter's place, or room that others may pass by for a
        bounded time, or one with a reservation went before."""
        wanting = self._longest & getattr(self._scheduler, "deferred_waiting", set())
        passing_s, now_s = self._scheduler.settings.admission.pass_over_s, self._engine.clock.now_s
        since_s = self._passing._since_s
        passed = {each for each in self._longest if now_s - since_s.get(each, float("-inf")) < passing_s}
        ended = any(each.is_finished() for each in self._longest)
        return bool(wanting or passed or ended or self._reserved in admitted)
