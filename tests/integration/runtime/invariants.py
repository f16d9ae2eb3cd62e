"""What must hold of a scheduler after each step, whatever has happened; see test_invariants.py."""

from collections import Counter

from vllm.v1.request import RequestStatus

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
    assert pins.blocks == sum(len(pin.blocks) for pin in pins_of(engine).values()) <= most_blocks
    claims = {pin.claimed_by: session for session, pin in pins_of(engine).items() if pin.claimed_by is not None}
    assert pins._claims == claims
    assert claims.keys() <= scheduler.requests.keys()


def pins_of(engine: Engine) -> dict[str, Pin]:
    scheduler = engine.scheduler
    keeper = scheduler._keeper if isinstance(scheduler, AugServeScheduler) else None
    return {} if keeper is None else keeper.pins._pins


class Waits:
    """Who will have waited beyond the bound in the coming step; and that it admits nobody in their stead."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        scheduler = engine.scheduler
        assert isinstance(scheduler, TestedScheduler)
        ordering = scheduler._ordering
        assert ordering is not None
        assert ordering._passing is not None
        now_s, turns = engine.clock.now_s + STEP_S, scheduler._turns
        since_s = {request: turns[request.request_id].waiting_since_s for request in scheduler.waiting}
        overdue = [each for each in since_s if now_s - since_s[each] > scheduler.settings.max_wait_s]
        self._before = set(since_s)
        longest_s = min((since_s[each] for each in overdue), default=None)
        self._first = {each for each in overdue if since_s[each] == longest_s}  # several have waited equally long
        self._reserved = ordering._passing.reserved(ordering.queue, now_s)
        self._passed_over = ordering._passing._since_s
        self._overdue = ordering._overdue

    def check(self) -> None:
        """Where somebody was admitted, the longest wait was too, unless it could not be: it wants a grammar (or ended
        for want of one) or an adapter's place, or room that others may pass by for a bounded time, or one with a
        reservation went before, or the overdue had had their share already."""
        scheduler, first = self._engine.scheduler, self._first
        admitted = self._before & set(scheduler.running)
        blocked = first & {*getattr(scheduler, "deferred_waiting", ()), *self._passed_over}
        ended = any(each.is_finished() for each in first)
        if self._overdue.overdrawn:
            return
        assert not first or not admitted or first & admitted or blocked or ended or self._reserved in admitted
