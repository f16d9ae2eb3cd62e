"""A step of vLLM's scheduler: its token budget, and what it may take of the KV cache."""

import itertools
from collections.abc import Iterable

from .names import AsyncScheduler, Request, RequestQueue, RequestStatus
from .contract import HOLDING_QUEUES


def engine_number(scheduler: AsyncScheduler) -> int:
    return int(scheduler.parallel_config.data_parallel_index)


def served_model(scheduler: AsyncScheduler) -> str | None:
    """The model's name to clients; its first one where it has several."""
    names = scheduler.vllm_config.model_config.served_model_name
    return names if isinstance(names, str | None) else names[0]


def steers_budget(scheduler: AsyncScheduler) -> bool:
    """Whether a smaller budget is safe: without chunked prefill it would keep long prompts out for ever."""
    return bool(scheduler.scheduler_config.enable_chunked_prefill) and not scheduler.need_mamba_block_aligned_split


def token_budget(scheduler: AsyncScheduler) -> int:
    """Tokens that the next step may schedule."""
    return int(scheduler.max_num_scheduled_tokens)


def set_token_budget(scheduler: AsyncScheduler, tokens: int, configured: int) -> None:
    """Set it for the next step, between 1 and the configured budget."""
    scheduler.max_num_scheduled_tokens = max(1, min(tokens, configured))


def free_seats(scheduler: AsyncScheduler) -> int:
    """Requests that the next step may admit at most, whatever blocks and tokens there are."""
    return max(scheduler.max_num_running_reqs - len(scheduler.running), 0)


def step_demand(scheduler: AsyncScheduler) -> int:
    """Blocks that the next step may take at most, but for who is admitted from the waiting queue: for every running
    request as much as one step can add, and for those that wait beside the queue their `prompt_demand`."""
    block_tokens, groups = _block_layout(scheduler)
    blocks = len(scheduler.running) * (1 + _ahead(scheduler) // block_tokens)
    blocks += 1 + scheduler.max_num_scheduled_tokens // block_tokens
    blocks += scheduler.kv_cache_manager.watermark_blocks
    return blocks * groups + sum(prompt_demand(scheduler, itertools.islice(holding_queue(scheduler), MAX_HOLDING)))


def prompt_demand(scheduler: AsyncScheduler, requests: Iterable[Request]) -> list[int]:
    """Blocks that each takes at most if the next step admits it; vLLM reserves for whole prompts."""
    (block_tokens, groups), ahead = _block_layout(scheduler), _ahead(scheduler)
    return [groups * (2 + (request.num_tokens + ahead) // block_tokens) for request in requests]


def _block_layout(scheduler: AsyncScheduler) -> tuple[int, int]:
    """Tokens of the smallest block, and in how many groups of layers each token takes one."""
    managers = scheduler.kv_cache_manager.coordinator.single_type_managers
    block_tokens = min((manager.block_size for manager in managers), default=scheduler.block_size)
    return block_tokens, max(len(managers), 1)


def _ahead(scheduler: AsyncScheduler) -> int:
    return 1 + int(scheduler.num_spec_tokens) + int(scheduler.num_lookahead_tokens)


def may_lack_blocks(scheduler: AsyncScheduler) -> bool:
    """Whether a step that has scheduled nothing may have found too few free blocks: nothing runs, and somebody waits,
    for neither a grammar, a remote load nor its next input. Looks at all that wait: not for the hot path."""
    if scheduler.running:
        return False
    waiting = itertools.chain(scheduler.waiting, holding_queue(scheduler))
    return any(request.status in (RequestStatus.WAITING, RequestStatus.PREEMPTED) for request in waiting)


def holding_queue(scheduler: AsyncScheduler) -> RequestQueue:
    """The waiting requests that may hold blocks; before 0.31 all that vLLM has skipped."""
    queue: RequestQueue = getattr(scheduler, next(name for name in HOLDING_QUEUES if hasattr(scheduler, name)))
    return queue


MAX_HOLDING = 16
"""Waiting requests with blocks of their own (streaming sessions, remote loads) that a step's demand counts."""


def reserves_whole_prompts(scheduler: AsyncScheduler) -> bool:
    """Whether a waiting request is admitted only where its whole prompt finds room."""
    return bool(scheduler.scheduler_reserve_full_isl)


def running_demand(scheduler: AsyncScheduler) -> int:
    """Free blocks that the running requests take in the next step, if their token budget allows."""
    managers = scheduler.kv_cache_manager.coordinator.single_type_managers
    ahead = scheduler.num_lookahead_tokens
    blocks = 0
    for manager in managers:
        block_tokens, allocated = manager.block_size, manager.req_to_blocks
        for request in scheduler.running:
            held_tokens = block_tokens * len(allocated.get(request.request_id, ()))
            missing = request.num_tokens_with_spec + request.num_output_placeholders + ahead - held_tokens
            if missing > 0:
                blocks += -(-missing // block_tokens)
    return int(blocks)


class RunningDemand:
    """`running_demand`, counted at most once a step: all of a step's decisions find the same running requests."""

    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._scheduler = scheduler
        self._blocks: int | None = None

    def blocks(self) -> int:
        if self._blocks is None:
            self._blocks = running_demand(self._scheduler)
        return self._blocks

    def forget(self) -> None:
        """The step is decided: vLLM goes on, and what was counted holds no longer."""
        self._blocks = None
