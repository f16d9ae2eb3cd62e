"""Every name that the runtime imports from vLLM. No other module of the runtime imports vLLM."""

from .supported import INSTALL, UnsupportedVllmError

try:
    from vllm import __version__ as vllm_version
    from vllm.config import VllmConfig
    from vllm.sampling_params import SamplingParams, SamplingType
    from vllm.v1.core.block_pool import BlockHashToBlockMap, BlockPool
    from vllm.v1.core.kv_cache_coordinator import UnitaryKVCacheCoordinator
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.core.kv_cache_utils import BlockHash, KVCacheBlock, make_block_hash_with_group_id
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.interface import PauseState
    from vllm.v1.core.sched.output import CachedRequestData, NewRequestData, SchedulerOutput
    from vllm.v1.core.sched.request_queue import RequestQueue, SchedulingPolicy, create_request_queue
    from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
    from vllm.v1.kv_cache_interface import FullAttentionSpec
    from vllm.v1.kv_offload.base import LookupResult, ReqContext, make_offload_key
    from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager
    from vllm.v1.metrics.stats import PrefillStats, SchedulerStats
    from vllm.v1.outputs import ModelRunnerOutput
    from vllm.v1.request import Request, RequestStatus
except ImportError as error:
    missing = error.name or ""
    if missing == "vllm" or not missing.startswith("vllm"):
        raise  # vLLM itself or one of its dependencies is not installed
    raise UnsupportedVllmError(f"this vLLM lacks a name that AugServe imports ({error}); {INSTALL}") from error
