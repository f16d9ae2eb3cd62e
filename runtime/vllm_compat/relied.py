"""What is relied on of vLLM, beyond the names that are imported: signatures, behaviours, attributes."""

from collections.abc import Iterator, Mapping
from typing import Any

from .names import (
    AsyncScheduler,
    BlockHashToBlockMap,
    BlockPool,
    CachedRequestData,
    EngineCoreOutput,
    EngineCoreOutputs,
    FCFSRequestQueue,
    KVCacheBlock,
    KVCacheManager,
    NewRequestData,
    PrefillStats,
    PriorityRequestQueue,
    Request,
    SamplingParams,
    Scheduler,
    SchedulerOutput,
    UnitaryKVCacheCoordinator,
    make_block_hash_with_group_id,
)

SIGNATURES: Mapping[type[Any], Mapping[str, tuple[str, ...]]] = {
    AsyncScheduler: {
        "schedule": ("throttle_prefills",),
        "add_request": ("request",),
        "finish_requests": ("request_ids", "finished_status"),
        "update_from_output": ("scheduler_output", "model_runner_output"),
        "shutdown": (),
        "_free_blocks": ("request",),
        "set_pause_state": ("pause_state",),
        "reset_prefix_cache": ("reset_running_requests", "reset_connector"),
        "get_request_counts": (),
    },
    KVCacheManager: {"get_blocks": ("request_id",), "prefix_cache_lookup_enabled": ("request",)},
    UnitaryKVCacheCoordinator: {"find_longest_cache_hit": ("block_hashes", "max_cache_hit_length")},
    BlockPool: {"touch": ("blocks",), "free_blocks": ("ordered_blocks",), "get_num_free_blocks": (), "get_usage": ()},
    BlockHashToBlockMap: {"get_one_block": ("key",)},
}
"""Methods that are called or overridden, with the names of their parameters beside `self`."""

BEHAVIOURS: Mapping[type[Any], tuple[str, ...]] = {
    Scheduler: (
        # overridden
        "schedule",
        "add_request",
        "finish_requests",
        "update_from_output",
        "shutdown",
        "_free_blocks",
        "set_pause_state",
        "reset_prefix_cache",
        # how requests move between the queues, and lose their blocks
        "_preempt_request",
        "_enqueue_waiting_request",
        "_handle_stopped_request",
        "_free_request",
        "get_request_counts",
    ),
    AsyncScheduler: ("_update_after_schedule", "_update_request_with_output"),
    FCFSRequestQueue: ("*",),
    PriorityRequestQueue: ("*",),
    Request: ("__lt__",),
    # what an admission needs, and who holds which block
    KVCacheManager: ("allocate_slots", "get_computed_blocks", "prefix_cache_lookup_enabled", "get_blocks", "free"),
    UnitaryKVCacheCoordinator: ("find_longest_cache_hit",),
    BlockPool: ("touch", "free_blocks", "get_num_free_blocks", "get_usage"),
    BlockHashToBlockMap: ("get_one_block",),
}
"""Methods that have to do as they did in a release that AugServe was tested with; "*" is the class as a whole."""


def behaviours() -> Iterator[tuple[str, Any]]:
    """Each by its name, None for one that is not there."""
    yield make_block_hash_with_group_id.__name__, make_block_hash_with_group_id
    for owner, names in BEHAVIOURS.items():
        for name in names:
            if name == "*":
                yield owner.__name__, owner
            else:
                yield f"{owner.__name__}.{name}", getattr(owner, name, None)


QUEUE_METHODS = frozenset(
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

SCHEDULER: Mapping[str, tuple[str, ...]] = {
    "": (
        "requests",
        "waiting",
        "running",
        "policy",
        "block_size",
        "hash_block_size",
        "max_num_scheduled_tokens",
        "max_num_running_reqs",
        "current_step",
        "num_spec_tokens",
        "num_lookahead_tokens",
        "need_mamba_block_aligned_split",
        "scheduler_reserve_full_isl",
        "pause_state",
    ),
    "vllm_config": ("additional_config",),
    "vllm_config.model_config": ("served_model_name",),
    "scheduler_config": ("enable_chunked_prefill",),
    "parallel_config": ("data_parallel_index",),
    "kv_cache_manager": ("watermark_blocks",),
    "kv_cache_manager.block_pool": ("num_gpu_blocks", "cached_block_hash_to_block"),
    "kv_cache_manager.coordinator": ("single_type_managers", "eagle_group_ids"),
}
"""Attributes of the constructed scheduler, by the path to what has them; "" is the scheduler itself."""
HOLDING_QUEUES = ("kv_holding_waiting", "skipped_waiting")
"""Attribute of the scheduler, the first that it has: its queue of waiting requests that may hold blocks. Before 0.31 it
holds all that vLLM has skipped."""
GROUP_MANAGER = ("block_size", "req_to_blocks")
"""Attributes of each of the coordinator's single_type_managers."""

REQUEST = (
    "request_id",
    "session_id",
    "arrival_time",
    "priority",
    "status",
    "sampling_params",
    "lora_request",
    "cache_salt",
    "max_tokens",
    "mm_features",
    "prompt_token_ids",
    "prompt_is_token_ids",
    "all_token_ids",
    "output_token_ids",
    "block_hashes",
    "spec_token_ids",
    "num_tokens",
    "num_tokens_with_spec",
    "num_prompt_tokens",
    "num_output_tokens",
    "num_output_placeholders",
    "num_computed_tokens",
    "num_preemptions",
    "is_prefill_chunk",
    "resumable",
    "use_structured_output",
    "is_finished",
    "get_finished_reason",
)
SAMPLING = ("extra_args", "structured_outputs", "temperature", "top_p")
BLOCK = ("block_hash", "ref_cnt", "is_null")

FIELDS: Mapping[type[Any], tuple[str, ...]] = {
    SchedulerOutput: (
        "num_scheduled_tokens",
        "total_num_scheduled_tokens",
        "scheduled_spec_decode_tokens",
        "scheduled_cached_reqs",
        "scheduled_new_reqs",
    ),
    NewRequestData: ("req_id", "num_computed_tokens"),
    CachedRequestData: ("req_ids", "num_computed_tokens"),
    EngineCoreOutputs: ("outputs",),
    EngineCoreOutput: ("request_id", "new_token_ids", "finish_reason", "prefill_stats"),
    PrefillStats: ("num_cached_tokens",),
}
"""Fields of what vLLM hands over, none of which is at hand as the server starts."""


def probes() -> tuple[tuple[object, tuple[str, ...]], ...]:
    """A request, its sampling parameters and a block, made to be looked at, each with what it must have."""
    params = SamplingParams(max_tokens=1)
    request = Request("probe", [0], params, None, arrival_time=0.0)
    return (request, REQUEST), (params, SAMPLING), (KVCacheBlock(0), BLOCK)
