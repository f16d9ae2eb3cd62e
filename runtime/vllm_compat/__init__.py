"""The one place that knows vLLM's internals: what is relied on, checked at start, and read or set nowhere else."""

from .hooks import HookedScheduler
from .kv_cache import BlockReferences, KvCache
from .names import (
    AsyncScheduler,
    EngineCoreOutputs,
    ModelRunnerOutput,
    PauseState,
    Request,
    RequestQueue,
    RequestStatus,
    SamplingParams,
    SchedulerOutput,
    SchedulingPolicy,
    vllm_version,
)
from .requests import is_decode, prompt_prefix, whole_prefix
from .stepping import (
    RunningDemand,
    engine_number,
    free_seats,
    holding_queue,
    may_lack_blocks,
    prompt_demand,
    reserves_whole_prompts,
    running_demand,
    served_model,
    set_token_budget,
    steers_budget,
    step_demand,
    token_budget,
)
from .unsupported import OVERRIDE, UnsupportedVllmError
from .versions import check_scheduler, check_vllm

__all__ = [
    "OVERRIDE",
    "AsyncScheduler",
    "BlockReferences",
    "EngineCoreOutputs",
    "HookedScheduler",
    "KvCache",
    "ModelRunnerOutput",
    "PauseState",
    "Request",
    "RequestQueue",
    "RequestStatus",
    "RunningDemand",
    "SamplingParams",
    "SchedulerOutput",
    "SchedulingPolicy",
    "UnsupportedVllmError",
    "check_scheduler",
    "check_vllm",
    "engine_number",
    "free_seats",
    "holding_queue",
    "is_decode",
    "may_lack_blocks",
    "prompt_demand",
    "prompt_prefix",
    "reserves_whole_prompts",
    "running_demand",
    "served_model",
    "set_token_budget",
    "steers_budget",
    "step_demand",
    "token_budget",
    "vllm_version",
    "whole_prefix",
]
