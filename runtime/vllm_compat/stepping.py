"""The next step of vLLM's scheduler: its token budget, and the KV blocks that it may take."""

import itertools
from collections.abc import Iterable

from .contract import HOLDING_QUEUES
from .hooks import HookedScheduler, draws_by_seed
from .names import AsyncScheduler, Request, RequestQueue, RequestStatus


def engine_number(scheduler: AsyncScheduler) -> int:
    return int(scheduler.parallel_config.data_parallel_index)


def pipeline_stages(scheduler: AsyncScheduler) -> int:
    """Steps among which a running request decodes in one: the size of pipeline parallelism."""
    return int(scheduler.parallel_config.pipeline_parallel_size)


def served_model(scheduler: AsyncScheduler) -> str | None:
    """The model's first name for clients."""
    names = scheduler.vllm_config.model_config.served_model_name
    return names if isinstance(names, str | None) else names[0]


def traces_requests(scheduler: AsyncScheduler) -> bool:
    """Whether vLLM was started with --otlp-traces-endpoint."""
    return scheduler.vllm_config.observability_config.otlp_traces_endpoint is not None


def steers_budget(scheduler: AsyncScheduler) -> bool:
    """Whether a smaller budget is safe. Without chunked prefill, long prompts would never be admitted. Models that read
    an image in both directions would get it in parts (vLLM's own check misses an image at the start of a chunk)."""
    config = scheduler.scheduler_config
    return (
        bool(config.enable_chunked_prefill)
        and not config.disable_chunked_mm_input
        and not scheduler.need_mamba_block_aligned_split
    )


def needs_whole_prompts(scheduler: HookedScheduler) -> bool:
    """Whether the next step must cut no prompt that vLLM itself would not. On a CPU, vLLM's engine dies of a part of a
    prompt whose tokens are drawn by a seed: it turns the generator back, which torch can do on GPUs only."""
    if scheduler.vllm_config.device_config.device_type != "cpu":
        return False
    return any(
        draws_by_seed(request) and request.num_tokens - request.num_computed_tokens > 1
        for request in scheduler.seeded.values()
    )


def token_budget(scheduler: AsyncScheduler) -> int:
    """Tokens that the next step may schedule."""
    return int(scheduler.max_num_scheduled_tokens)


def set_token_budget(scheduler: AsyncScheduler, tokens: int, configured: int) -> None:
    """Set the next step's budget, clipped to between 1 and `configured`."""
    scheduler.max_num_scheduled_tokens = max(1, min(tokens, configured))


def chunk_limit(scheduler: AsyncScheduler) -> int:
    """Most prompt tokens that one request computes in a step, `--long-prefill-token-threshold`; 0: no limit."""
    return int(scheduler.scheduler_config.long_prefill_token_threshold)


def set_chunk_limit(scheduler: AsyncScheduler, tokens: int) -> None:
    """Set it for the next step; 0: no limit."""
    scheduler.scheduler_config.long_prefill_token_threshold = tokens


def free_seats(scheduler: AsyncScheduler) -> int:
    """Most requests that the next step can admit, blocks and tokens aside."""
    most = getattr(scheduler, "max_num_active_reqs", None)
    if most is None:  # releases before it count no paused streaming session
        return max(scheduler.max_num_running_reqs - len(scheduler.running), 0)
    return max(int(most) - len(scheduler.running) - int(scheduler.num_waiting_for_streaming_input), 0)


def step_demand(scheduler: AsyncScheduler) -> int:
    """Most blocks that the next step can take, without admissions from the waiting queue.

    Each running request takes what one step can add; the holding queue takes its `holding_demand`. Quick to compute,
    but far above what a step usually takes.
    """
    block_tokens, groups = _block_layout(scheduler)
    blocks = len(scheduler.running) * (1 + _ahead(scheduler) // block_tokens)
    blocks += 1 + scheduler.max_num_scheduled_tokens // block_tokens
    blocks += scheduler.kv_cache_manager.watermark_blocks
    return blocks * groups + holding_demand(scheduler)


def holding_demand(scheduler: AsyncScheduler) -> int:
    """Most blocks that the first requests of the holding queue take in the next step."""
    return sum(prompt_demand(scheduler, itertools.islice(holding_queue(scheduler), MAX_HOLDING)))


def prompt_demand(scheduler: AsyncScheduler, requests: Iterable[Request]) -> list[int]:
    """Most blocks that each request takes if the next step admits it; vLLM reserves whole prompts."""
    (block_tokens, groups), ahead = _block_layout(scheduler), _ahead(scheduler)
    return [groups * (2 + (request.num_tokens + ahead) // block_tokens) for request in requests]


def _block_layout(scheduler: AsyncScheduler) -> tuple[int, int]:
    """Tokens of the smallest block, and the number of layer groups, in each of which a token takes a block."""
    managers = scheduler.kv_cache_manager.coordinator.single_type_managers
    block_tokens = min((manager.block_size for manager in managers), default=scheduler.block_size)
    return block_tokens, max(len(managers), 1)


def _ahead(scheduler: AsyncScheduler) -> int:
    return 1 + int(scheduler.num_spec_tokens) + int(scheduler.num_lookahead_tokens)


def may_lack_blocks(scheduler: AsyncScheduler) -> bool:
    """Whether a step that scheduled nothing may have lacked free blocks: nothing runs, a seat is free, and a request is
    ready to run.

    Reads all waiting requests: not for the hot path.
    """
    if scheduler.running or not free_seats(scheduler):
        return False
    waiting = itertools.chain(scheduler.waiting, holding_queue(scheduler))
    return any(request.status in (RequestStatus.WAITING, RequestStatus.PREEMPTED) for request in waiting)


def holding_queue(scheduler: AsyncScheduler) -> RequestQueue:
    """The waiting requests that may hold blocks; before vLLM 0.31, all skipped requests."""
    queue: RequestQueue = getattr(scheduler, next(name for name in HOLDING_QUEUES if hasattr(scheduler, name)))
    return queue


MAX_HOLDING = 16
"""Most requests of the holding queue (streaming sessions, remote loads) that a step's demand counts."""


def reserves_whole_prompts(scheduler: AsyncScheduler) -> bool:
    """Whether vLLM admits a request only if its whole prompt fits."""
    return bool(scheduler.scheduler_reserve_full_isl)


def running_demand(scheduler: AsyncScheduler) -> int:
    """Free blocks that the running requests take in the next step, if the token budget allows.

    A request that vLLM passes over in the next step (pipeline parallelism does so) takes none.
    """
    managers = scheduler.kv_cache_manager.coordinator.single_type_managers
    ahead, step = scheduler.num_lookahead_tokens, scheduler.current_step + 1
    blocks = 0
    for manager in managers:
        block_tokens, allocated = manager.block_size, manager.req_to_blocks
        for request in scheduler.running:
            if getattr(request, "next_decode_eligible_step", 0) > step:  # vLLM 0.29 has no such field
                continue
            held_tokens = block_tokens * len(allocated.get(request.request_id, ()))
            missing = request.num_tokens_with_spec + request.num_output_placeholders + ahead - held_tokens
            if missing > 0:
                blocks += -(-missing // block_tokens)
    return int(blocks)


class RunningDemand:
    """`running_demand`, counted at most once a step."""

    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._scheduler = scheduler
        self._blocks: int | None = None

    def blocks(self) -> int:
        if self._blocks is None:
            self._blocks = running_demand(self._scheduler)
        return self._blocks

    def forget(self) -> None:
        """Count again at the next call: the step is decided, and vLLM changes the running requests."""
        self._blocks = None
