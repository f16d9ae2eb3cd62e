"""What AugServe relies on in vLLM beyond the imported names, and the check of it when the server starts.

The check compares names and signatures. What the functions do is compared in CI, once per release
(tests/integration/test_vllm_contract.py).
"""

import inspect
import logging
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

from .names import (
    AsyncScheduler,
    BlockHashToBlockMap,
    BlockPool,
    CachedRequestData,
    CPUOffloadingManager,
    EngineCoreOutput,
    EngineCoreOutputs,
    KVCacheBlock,
    KVCacheManager,
    NewRequestData,
    PrefillStats,
    Request,
    RequestQueue,
    SamplingParams,
    SchedulerOutput,
    UnitaryKVCacheCoordinator,
    vllm_version,
)
from .supported import INSTALL, OVERRIDE, TESTED, UnsupportedVllmError, is_supported

logger = logging.getLogger(f"vllm.{__name__}")

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
    CPUOffloadingManager: {"lookup": ("key", "req_context")},
}
"""Methods that AugServe calls or overrides, with the names of their parameters after `self`."""

QUEUE_METHODS = (
    "add_request pop_request peek_request prepend_request prepend_requests remove_request remove_requests "
    "__bool__ __len__ __iter__"
)
"""The abstract methods of RequestQueue, all of which AugServe's queue implements."""

FIELDS: Mapping[type[Any], str] = {
    Request: "request_id session_id client_index arrival_time priority status sampling_params lora_request cache_salt "
    "max_tokens mm_features prompt_token_ids prompt_is_token_ids all_token_ids output_token_ids block_hashes "
    "spec_token_ids num_tokens num_tokens_with_spec num_prompt_tokens num_output_tokens num_output_placeholders "
    "num_computed_tokens num_preemptions is_prefill_chunk resumable use_structured_output "
    "structured_output_request is_finished get_finished_reason trace_headers",
    SamplingParams: "extra_args structured_outputs temperature top_p seed sampling_type",
    KVCacheBlock: "block_hash ref_cnt is_null",
    SchedulerOutput: "num_scheduled_tokens total_num_scheduled_tokens scheduled_spec_decode_tokens "
    "scheduled_cached_reqs scheduled_new_reqs",
    NewRequestData: "req_id num_computed_tokens",
    CachedRequestData: "req_ids num_computed_tokens num_output_tokens",
    EngineCoreOutputs: "outputs",
    EngineCoreOutput: "request_id new_token_ids finish_reason prefill_stats",
    PrefillStats: "num_cached_tokens",
}
"""Attributes of the objects that vLLM hands over."""

SCHEDULER: Mapping[str, str] = {
    "": "requests waiting running connector policy "
    "block_size hash_block_size max_num_scheduled_tokens max_num_running_reqs "
    "current_step num_spec_tokens num_lookahead_tokens need_mamba_block_aligned_split scheduler_reserve_full_isl "
    "pause_state lora_config",
    "vllm_config": "additional_config",
    "vllm_config.device_config": "device_type",
    "vllm_config.model_config": "served_model_name",
    "vllm_config.observability_config": "otlp_traces_endpoint",
    "scheduler_config": "enable_chunked_prefill disable_chunked_mm_input async_scheduling long_prefill_token_threshold",
    "parallel_config": "data_parallel_index data_parallel_size data_parallel_external_lb pipeline_parallel_size",
    "kv_cache_manager": "watermark_blocks enable_caching",
    "kv_cache_manager.block_pool": "num_gpu_blocks cached_block_hash_to_block",
    "kv_cache_manager.block_pool.cached_block_hash_to_block": "_cache",
    "kv_cache_manager.coordinator": "single_type_managers eagle_group_ids",
}
"""Attributes of a constructed scheduler, by the path to their owner; "" is the scheduler itself."""
HOLDING_QUEUES = ("kv_holding_waiting", "skipped_waiting")
"""The scheduler's queue of waiting requests that may hold blocks: the first of these attributes that exists. Before
vLLM 0.31 it is the queue of all skipped requests."""
GROUP_MANAGER = "block_size req_to_blocks"
"""Attributes of each of the coordinator's single_type_managers."""


def check_vllm(version: str = vllm_version, allow_unknown: bool = False) -> None:
    """Check the version, names and signatures of the imported vLLM.

    An untested build of a supported release logs one warning, as does any other version with `allow_unknown`.

    Raises:
        UnsupportedVllmError: The version is not supported, or something that AugServe uses is missing or changed.
    """
    supported = is_supported(version)
    if not supported and not allow_unknown:
        raise UnsupportedVllmError(
            f'vLLM {version} is not supported; {INSTALL}, or set "{OVERRIDE}": true to run it untested'
        )
    _refuse(version, _differences())
    if not supported:
        logger.warning("AugServe runs untested on vLLM %s, because %s is set", version, OVERRIDE)
    elif version not in TESTED:
        logger.warning("AugServe is not tested on this build of vLLM, %s, only on %s", version, ", ".join(TESTED))


def check_scheduler(scheduler: AsyncScheduler) -> None:
    """Check the attributes of a constructed scheduler and of its parts. Raises UnsupportedVllmError."""
    _refuse(vllm_version, _missing_attributes(scheduler))


def _refuse(version: str, differences: Iterator[str]) -> None:
    if first := next(differences, None):
        more = sum(1 for _ in differences)
        also = f" (and {more} more differences)" if more else ""
        raise UnsupportedVllmError(f"vLLM {version}: {first}{also}; {INSTALL}")


def _differences() -> Iterator[str]:
    for owner, methods in SIGNATURES.items():
        for name, parameters in methods.items():
            method = getattr(owner, name, None)
            if method is None:
                yield f"{owner.__name__} has no {name}"
            elif tuple(inspect.signature(method).parameters)[1:] != parameters:
                yield f"{owner.__name__}.{name} does not take ({', '.join(parameters)})"
    for name in sorted(RequestQueue.__abstractmethods__ ^ set(QUEUE_METHODS.split())):
        yield f"RequestQueue.{name} is new or missing"
    for kind, names in FIELDS.items():
        has = _attributes(kind)
        yield from (f"{kind.__name__} has no {name}" for name in names.split() if name not in has)


def _attributes(kind: type[Any]) -> set[str]:
    """Attributes of the class, and those that its instances get."""
    if kind is Request:  # assigns them in __init__
        return set(dir(Request("probe", [0], SamplingParams(max_tokens=1), None, arrival_time=0.0)))
    return {*dir(kind), *inspect.get_annotations(kind)}


def _missing_attributes(scheduler: AsyncScheduler) -> Iterator[str]:
    for path, names in SCHEDULER.items():
        try:
            owner = attrgetter(path)(scheduler) if path else scheduler
        except AttributeError:
            yield f"the scheduler has no {path}"
            continue
        prefix = f"{path}." if path else ""
        yield from (f"the scheduler has no {prefix}{name}" for name in names.split() if not hasattr(owner, name))
    if not any(hasattr(scheduler, name) for name in HOLDING_QUEUES):
        yield f"the scheduler has no {' or '.join(HOLDING_QUEUES)}"
    coordinator = getattr(getattr(scheduler, "kv_cache_manager", None), "coordinator", None)
    for manager in getattr(coordinator, "single_type_managers", ()):
        kind = type(manager).__name__
        yield from (f"{kind} has no {name}" for name in GROUP_MANAGER.split() if not hasattr(manager, name))
