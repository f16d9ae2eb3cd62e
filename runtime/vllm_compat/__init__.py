"""The only package of the runtime that imports vLLM or touches its internals."""

from .contract import check_scheduler, check_vllm
from .deferring import adapter_number, lacks_grammar, only_adapters
from .hooks import HookedScheduler
from .kv_cache import BlockReferences, KvCache
from .names import (
    AsyncScheduler,
    EngineCoreOutputs,
    KVCacheBlock,
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
from .queues import own_queue, set_waiting_queue, waiting_queue
from .requests import is_decode, prompt_prefix, trace_headers, whole_prefix
from .running import (
    decoding,
    is_paused,
    move_to_end,
    orders_by_priority,
    running_count,
    running_prompts,
    running_requests,
    tokens_per_decode,
)
from .scheduled import measure_tokens, step_row
from .setups import api_servers, check_setup, splits_sessions
from .stepping import (
    RunningDemand,
    chunk_limit,
    engine_number,
    free_seats,
    holding_demand,
    holding_queue,
    may_lack_blocks,
    needs_whole_prompts,
    pipeline_stages,
    prompt_demand,
    reserves_whole_prompts,
    running_demand,
    served_model,
    set_chunk_limit,
    set_token_budget,
    steers_budget,
    step_demand,
    token_budget,
    traces_requests,
)
from .supported import UnsupportedVllmError
