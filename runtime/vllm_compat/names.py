"""What is named of vLLM, imported here and nowhere else in the runtime."""

from .unsupported import UnsupportedVllmError, supported_text

try:
    from vllm import __version__ as vllm_version
    from vllm.sampling_params import SamplingParams
    from vllm.v1.core.block_pool import BlockHashToBlockMap, BlockPool
    from vllm.v1.core.kv_cache_coordinator import UnitaryKVCacheCoordinator
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.core.kv_cache_utils import KVCacheBlock, make_block_hash_with_group_id
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.interface import PauseState
    from vllm.v1.core.sched.output import CachedRequestData, NewRequestData, SchedulerOutput
    from vllm.v1.core.sched.request_queue import (
        FCFSRequestQueue,
        PriorityRequestQueue,
        RequestQueue,
        SchedulingPolicy,
    )
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
    from vllm.v1.kv_cache_interface import FullAttentionSpec
    from vllm.v1.metrics.stats import PrefillStats
    from vllm.v1.outputs import ModelRunnerOutput
    from vllm.v1.request import Request, RequestStatus
except ImportError as error:
    installed = not isinstance(error, ModuleNotFoundError) or error.name != "vllm"
    if not installed or not (error.name or "").startswith("vllm"):
        raise  # it is another thing that is missing: vLLM as a whole, or what vLLM needs itself
    raise UnsupportedVllmError(
        f"this vLLM lacks what AugServe relies on ({error}); install {supported_text()}"
    ) from error

__all__ = [
    "AsyncScheduler",
    "BlockHashToBlockMap",
    "BlockPool",
    "CachedRequestData",
    "EngineCoreOutput",
    "EngineCoreOutputs",
    "FCFSRequestQueue",
    "FullAttentionSpec",
    "KVCacheBlock",
    "KVCacheManager",
    "ModelRunnerOutput",
    "NewRequestData",
    "PauseState",
    "PrefillStats",
    "PriorityRequestQueue",
    "Request",
    "RequestQueue",
    "RequestStatus",
    "SamplingParams",
    "Scheduler",
    "SchedulerOutput",
    "SchedulingPolicy",
    "UnitaryKVCacheCoordinator",
    "make_block_hash_with_group_id",
    "vllm_version",
]
