"""The one module that knows vLLM's internals: what is relied on, checked at start, and read or set nowhere else."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vllm import __version__ as vllm_version
from vllm.sampling_params import SamplingParams
from vllm.v1.core.block_pool import BlockHashToBlockMap, BlockPool
from vllm.v1.core.kv_cache_coordinator import UnitaryKVCacheCoordinator
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import KVCacheBlock, make_block_hash_with_group_id
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import RequestQueue, SchedulingPolicy, create_request_queue
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from .prefix import OWN_BLOCK_TOKENS, Prefix, own_hashes

__all__ = [
    "AsyncScheduler",
    "BlockReferences",
    "EngineCoreOutputs",
    "KvCache",
    "ModelRunnerOutput",
    "PauseState",
    "Request",
    "RequestQueue",
    "RequestStatus",
    "SchedulerOutput",
    "SchedulingPolicy",
    "UnsupportedVllmError",
    "check_scheduler",
    "check_vllm",
    "create_request_queue",
    "engine_number",
    "extra_args",
    "is_decode",
    "prompt_prefix",
    "reserves_whole_prompts",
    "running_demand",
    "sampling",
    "served_model",
    "set_token_budget",
    "steers_budget",
    "step_demand",
    "token_budget",
    "vllm_version",
    "whole_prefix",
]

SUPPORTED = ((0, 32), (0, 33))
"""Versions of vLLM from the first, below the second."""

_SIGNATURES: Mapping[Any, tuple[str, ...]] = {
    AsyncScheduler.schedule: ("self", "throttle_prefills"),
    AsyncScheduler.add_request: ("self", "request"),
    AsyncScheduler.finish_requests: ("self", "request_ids", "finished_status"),
    AsyncScheduler.update_from_output: ("self", "scheduler_output", "model_runner_output"),
    AsyncScheduler.shutdown: ("self",),
    AsyncScheduler._free_blocks: ("self", "request"),
    AsyncScheduler.set_pause_state: ("self", "pause_state"),
    AsyncScheduler.reset_prefix_cache: ("self", "reset_running_requests", "reset_connector"),
    BlockPool.touch: ("self", "blocks"),
    BlockPool.free_blocks: ("self", "ordered_blocks"),
    BlockPool.get_num_free_blocks: ("self",),
    KVCacheManager.get_blocks: ("self", "request_id"),
    BlockHashToBlockMap.get_one_block: ("self", "key"),
    make_block_hash_with_group_id: ("block_hash", "group_id"),
    KVCacheManager.get_computed_blocks: ("self", "request"),
    create_request_queue: ("policy",),
}
_QUEUE_METHODS = frozenset(
    {
        "add_request",
        "pop_request",
        "peek_request",
        "prepend_request",
        "prepend_requests",
        "remove_request",
        "remove_requests",
        "__bool__",
        "__len__",
        "__iter__",
    }
)
_ATTRIBUTES = (
    "requests",
    "waiting",
    "kv_holding_waiting",
    "deferred_waiting",
    "running",
    "policy",
    "kv_cache_manager",
    "max_num_scheduled_tokens",
    "max_num_running_reqs",
    "scheduler_config",
    "current_step",
    "block_size",
    "hash_block_size",
    "num_spec_tokens",
    "num_lookahead_tokens",
    "pause_state",
)


class UnsupportedVllmError(ValueError):
    """This vLLM is not one that AugServe knows; the message names what differs."""


def check_vllm(version: str | None = None) -> None:
    """Raises UnsupportedVllmError unless this vLLM's version and every method relied on are as known."""
    version = version or vllm_version
    low, high = (".".join(map(str, bound)) for bound in SUPPORTED)
    try:
        found = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        found = (0, 0)
    if not SUPPORTED[0] <= found < SUPPORTED[1]:
        raise UnsupportedVllmError(
            f"vLLM {version} is not supported: AugServe knows {low} up to below {high}; install one of these"
        )
    for function, names in _SIGNATURES.items():
        if tuple(inspect.signature(function).parameters) != names:
            raise UnsupportedVllmError(
                f"vLLM {version}: {function.__qualname__} takes other arguments than ({', '.join(names)}); {_REMEDY}"
            )
    if RequestQueue.__abstractmethods__ != _QUEUE_METHODS:
        raise UnsupportedVllmError(f"vLLM {version}: RequestQueue has other methods than known; {_REMEDY}")


_REMEDY = "AugServe does not know this build; install a released vLLM that it supports"


def check_scheduler(scheduler: AsyncScheduler) -> None:
    """Raises UnsupportedVllmError where the constructed scheduler lacks an attribute relied on."""
    if missing := [name for name in _ATTRIBUTES if not hasattr(scheduler, name)]:
        raise UnsupportedVllmError(f"vLLM {vllm_version}: the scheduler has no {missing[0]}; {_REMEDY}")


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


def sampling(request: Request) -> SamplingParams | None:
    """None for a pooling request."""
    return request.sampling_params


def extra_args(request: Request) -> Mapping[str, Any] | None:
    return None if request.sampling_params is None else request.sampling_params.extra_args


def is_decode(request: Request, scheduled_tokens: int) -> bool:
    """Whether a request that schedule() has just given so many tokens decodes, rather than computes its prompt."""
    before = request.num_computed_tokens - scheduled_tokens
    return before >= request.num_prompt_tokens and scheduled_tokens <= 1 + len(request.spec_token_ids)


def prompt_prefix(request: Request, block_tokens: int) -> Prefix | None:
    """The prompt, by vLLM's block hashes, or by hashes of its own where prefix caching is off.

    None where token ids do not say what the prompt is: embeddings, and images that vLLM has not hashed.
    """
    if request.prompt_token_ids is None:
        return None
    salt = f"{request.lora_request.lora_name if request.lora_request else ''}\0{request.cache_salt or ''}"
    if len(request.block_hashes) >= request.num_tokens // block_tokens:
        return Prefix(request.all_token_ids, request.block_hashes, block_tokens, request.num_tokens, salt)
    if request.mm_features or request.prompt_is_token_ids is not None:
        return None
    hashes = own_hashes(request.all_token_ids, salt)
    return Prefix(request.all_token_ids, hashes, OWN_BLOCK_TOKENS, request.num_tokens, salt)


def whole_prefix(request: Request, prompt: Prefix) -> Prefix:
    """Prompt and output of a request that has ended, hashed as its prompt was."""
    hashes = prompt.hashes
    if hashes is not request.block_hashes:
        hashes = own_hashes(request.all_token_ids, prompt.salt, known=hashes)
    return Prefix(request.all_token_ids, hashes, prompt.block_tokens, request.num_tokens, prompt.salt)


def step_demand(scheduler: AsyncScheduler, heads: Iterable[Request], kept: Callable[[str], int]) -> int:
    """Blocks that the next step may take at most, if it admits `heads`. `kept` tells how many a request needs no free
    ones for. Reserves, as vLLM does, for whole prompts, and for every running request as much as one step can add."""
    managers = scheduler.kv_cache_manager.coordinator.single_type_managers
    block_tokens = min((manager.block_size for manager in managers), default=scheduler.block_size)
    ahead = 1 + scheduler.num_spec_tokens + scheduler.num_lookahead_tokens
    blocks = len(scheduler.running) * (1 + ahead // block_tokens)
    blocks += 1 + scheduler.max_num_scheduled_tokens // block_tokens
    blocks += scheduler.kv_cache_manager.watermark_blocks
    for request in itertools.chain(heads, itertools.islice(scheduler.kv_holding_waiting, MAX_HOLDING)):
        blocks += max(2 + (request.num_tokens + ahead) // block_tokens - kept(request.request_id), 0)
    return blocks * max(len(managers), 1)


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
            tokens = request.num_tokens_with_spec + request.num_output_placeholders + ahead
            blocks += max(-(-tokens // block_tokens) - len(allocated.get(request.request_id, ())), 0)
    return int(blocks)


class BlockReferences:
    """References on cached blocks beyond those of requests: what they hold cannot be evicted."""

    def __init__(self, manager: KVCacheManager) -> None:
        self._manager = manager
        self._pool: BlockPool = manager.block_pool
        managers = manager.coordinator.single_type_managers
        self.block_tokens = min((int(each.block_size) for each in managers), default=1)
        self.groups = max(len(managers), 1)  # of layers, each with blocks of its own
        self.capacity_blocks = max(int(self._pool.num_gpu_blocks) - 1, 1)

    @property
    def free_blocks(self) -> int:
        return int(self._pool.get_num_free_blocks())

    def hold(self, request: Request) -> list[KVCacheBlock]:
        """Reference each block of the request that the prefix cache knows; to be called while they are its own."""
        groups = self._manager.get_blocks(request.request_id).blocks
        blocks = [block for group in groups for block in group if block.block_hash is not None and not block.is_null]
        self._pool.touch(blocks)
        return blocks

    def release(self, blocks: list[KVCacheBlock]) -> None:
        """As vLLM frees a request: the last block is the first to be evicted."""
        self._pool.free_blocks(reversed(blocks))


class KvCache:
    """Read-only view of the KV cache: never touches reference counts, the eviction order or the statistics."""

    def __init__(self, manager: KVCacheManager) -> None:
        self._manager = manager
        self._pool = manager.block_pool
        coordinator = manager.coordinator
        managers = coordinator.single_type_managers
        self._block_tokens = int(managers[0].block_size) if managers else 1
        # With one group of full attention and nothing else, a cached block implies those before it, nearly always.
        self._chained = (
            isinstance(coordinator, UnitaryKVCacheCoordinator)
            and isinstance(coordinator.kv_cache_spec, FullAttentionSpec)
            and not coordinator.eagle_group_ids
        )
        self.capacity_tokens = max(self._pool.num_gpu_blocks - 1, 1) * self._block_tokens
        self.block_tokens = self._block_tokens
        self.watermark_blocks = int(manager.watermark_blocks)

    @property
    def usage(self) -> float:
        """Share of the blocks in use, 0 to 1."""
        return float(self._pool.get_usage())

    @property
    def free_tokens(self) -> int:
        """Tokens for which there are free blocks, cached ones that may be evicted included."""
        return int(self._pool.get_num_free_blocks()) * self._block_tokens

    @property
    def free_blocks(self) -> int:
        return int(self._pool.get_num_free_blocks())

    @property
    def tells_held(self) -> bool:
        """Whether `held_blocks` can tell: with a single group of full attention."""
        return self._chained

    def held_blocks(self, request: Request, cached_tokens: int) -> int:
        """Of the first `cached_tokens` of the request, blocks that others reference: it needs no free ones for them.

        Binary search: who references a block references those before it.
        """
        low, high = 0, min(cached_tokens // self._block_tokens, len(request.block_hashes))
        block_of = self._pool.cached_block_hash_to_block.get_one_block
        while low < high:
            middle = (low + high) // 2
            block = block_of(make_block_hash_with_group_id(request.block_hashes[middle], 0))
            if block is not None and block.ref_cnt > 0:
                low = middle + 1
            else:
                high = middle
        return low

    def cached_tokens(self, request: Request, last_known: int = 0) -> int:
        """Prompt tokens that the prefix cache holds for the request now; cheapest where that is `last_known` still.

        Binary search over the request's block hashes: a lower bound of the last cached block's end where an inner
        block was evicted before a later one (vLLM frees the last blocks of a request first, so this is rare).
        """
        if not self._manager.prefix_cache_lookup_enabled(request):
            return 0
        if not self._chained:
            coordinator = self._manager.coordinator
            return int(coordinator.find_longest_cache_hit(request.block_hashes, request.num_tokens - 1)[1])
        hashes, block = request.block_hashes, self._pool.cached_block_hash_to_block.get_one_block
        low, high = 0, min(len(hashes), (request.num_tokens - 1) // self._block_tokens)
        middle = min(last_known // self._block_tokens, high)
        if middle and block(make_block_hash_with_group_id(hashes[middle - 1], 0)) is None:
            high = middle - 1
        else:
            low = middle
            if low < high and block(make_block_hash_with_group_id(hashes[low], 0)) is None:
                high = low
        while low < high:
            middle = (low + high) // 2
            if block(make_block_hash_with_group_id(hashes[middle], 0)) is None:
                high = middle
            else:
                low = middle + 1
        return low * self._block_tokens
