"""Invariants of a scheduler after each step, whatever has happened."""

from collections import Counter

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import RequestStatus

from augserve.runtime import AugServeScheduler
from augserve.runtime.residency.pins import Pin
from augserve.runtime.vllm_compat import holding_queue, lacks_grammar

WAITING = frozenset(
    {
        RequestStatus.WAITING,
        RequestStatus.PREEMPTED,
        RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR,
        RequestStatus.WAITING_FOR_STREAMING_REQ,
    }
)


def check_scheduler(scheduler: AsyncScheduler) -> None:
    each_request_is_in_one_place(scheduler)
    references_are_of_requests_and_pins(scheduler)
    pins_are_counted(scheduler)
    held_turns_wait_for_a_reason(scheduler)


def each_request_is_in_one_place(scheduler: AsyncScheduler) -> None:
    queued = [*scheduler.waiting, *holding_queue(scheduler)]
    places = Counter(request.request_id for request in (*scheduler.running, *queued))
    assert all(count == 1 for count in places.values()), places
    unfinished = {number for number, request in scheduler.requests.items() if not request.is_finished()}
    assert places.keys() == unfinished
    assert all(request.status == RequestStatus.RUNNING for request in scheduler.running)
    assert all(request.status in WAITING for request in queued)
    if isinstance(scheduler, AugServeScheduler):
        assert scheduler.lifecycle.turns.keys() == unfinished


def references_are_of_requests_and_pins(scheduler: AsyncScheduler) -> None:
    """Each block's reference count is the number of requests and pins that reference it; every other block is free."""
    manager = scheduler.kv_cache_manager
    held: Counter[int] = Counter()
    for group in manager.coordinator.single_type_managers:
        assert group.req_to_blocks.keys() <= scheduler.requests.keys()
        for blocks in group.req_to_blocks.values():
            held.update(block.block_id for block in blocks if not block.is_null)
    for pin in pins_of(scheduler).values():
        held.update(block.block_id for block in pin.blocks)
    pool = manager.block_pool
    assert {block.block_id: block.ref_cnt for block in pool.blocks if block.ref_cnt and not block.is_null} == held
    assert pool.get_num_free_blocks() == pool.num_gpu_blocks - 1 - len(held)


def check_budget(scheduler: AsyncScheduler, scheduled: SchedulerOutput, budget: int) -> None:
    """`budget`: the token budget of the step."""
    tokens = sum(scheduled.num_scheduled_tokens.values())
    assert tokens <= budget <= scheduler.scheduler_config.max_num_batched_tokens
    assert len(scheduler.running) <= scheduler.scheduler_config.max_num_seqs


def pins_are_counted(scheduler: AsyncScheduler) -> None:
    if not isinstance(scheduler, AugServeScheduler) or scheduler.decisions is None:
        return
    pins = scheduler.decisions.contexts.pins
    assert pins.blocks == len({block.block_id for pin in pins_of(scheduler).values() for block in pin.blocks})
    counts = Counter(id(block) for pin in pins_of(scheduler).values() for block in pin.blocks)
    pinned = {id(block): block for pin in pins_of(scheduler).values() for block in pin.blocks}
    if len(scheduler.kv_cache_config.kv_cache_groups) == 1:
        assert pins.releasable_blocks == sum(pinned[each].ref_cnt == count for each, count in counts.items())
    claims = {pin.claimed_by: session for session, pin in pins_of(scheduler).items() if pin.claimed_by is not None}
    for request_id, session_id in claims.items():
        assert pins.claimed_blocks(request_id) == len(pins_of(scheduler)[session_id].blocks)
    assert claims.keys() <= scheduler.requests.keys()


def held_turns_wait_for_a_reason(scheduler: AsyncScheduler) -> None:
    """A held turn is heavy and not admitted, or vLLM would skip it; an idle engine offers a turn that can run."""
    if not isinstance(scheduler, AugServeScheduler) or scheduler.decisions is None:
        return
    queue, settings = scheduler.decisions.ordering.queue, scheduler.decisions.admission.settings
    held = [request for request in queue if not queue.offers(request)]
    for request in held:
        if request.lora_request or request.use_structured_output:
            continue
        assert not scheduler.lifecycle.turns[request.request_id].admitted
        step = settings.step_time
        assert step.base_s + step.per_prefill_token_s * request.num_tokens >= settings.residency.heavy_s
    can_run = not all(map(lacks_grammar, held))
    if can_run and not (scheduler.running or queue or holding_queue(scheduler)):
        scheduler.decisions.order(scheduler.engine.clock())
        assert queue, "an idle engine holds every turn"


def pins_of(scheduler: AsyncScheduler) -> dict[str, Pin]:
    decisions = scheduler.decisions if isinstance(scheduler, AugServeScheduler) else None
    return {} if decisions is None else dict(decisions.contexts.pins)
