"""Builds vLLM's scheduler without a worker: configuration, KV-cache manager, prefix cache and block hasher."""

import dataclasses
import json
import logging
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

from .bulk.paced import RoomForBulk
from .errors import SimulationError
from .profile import BLOCK_TOKENS, GIB, EngineLimits

KV_HEADS, HEAD = 8, 128
_TOKEN_BYTES = 2 * 2 * KV_HEADS * HEAD  # of one layer: the scheduler only counts blocks
HASH: Literal["sha256"] = "sha256"  # vLLM's fastest hash that is always installed
BlockHasher = Callable[[Request], list[Any]]

# The scheduler reads only the maximum length and the kind of the model: any decoder-only text model works.
_MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


def build_scheduler(
    scheduler: type[AsyncScheduler],
    limits: EngineLimits,
    additional_config: dict[str, Any] | None = None,
    prefix_caching: bool = True,
    **arguments: Any,
) -> AsyncScheduler:
    """A scheduler as vLLM starts it on an engine with these limits; `arguments` go to the scheduler class.

    Raises SimulationError if the KV cache is smaller than max_model_len, as vLLM would.
    """
    logging.getLogger("vllm").setLevel(logging.ERROR)  # hides advice on starting an engine
    block_tokens = limits.block_tokens
    blocks = limits.kv_tokens // block_tokens
    if limits.max_model_len > blocks * block_tokens:
        raise SimulationError(
            f"profile: max_model_len {limits.max_model_len} exceeds the KV cache of {limits.kv_tokens} tokens; lower it"
        )
    config = VllmConfig(
        model_config=_model_config(limits.max_model_len),
        cache_config=CacheConfig(
            block_size=block_tokens,
            enable_prefix_caching=prefix_caching,
            prefix_caching_hash_algo=HASH,
            kv_offloading_size=limits.host_kv_tokens * _TOKEN_BYTES / GIB if limits.host_kv_tokens else None,
        ),
        scheduler_config=SchedulerConfig.default_factory(  # type: ignore[no-untyped-call]
            max_num_seqs=limits.max_num_seqs,
            max_num_batched_tokens=limits.max_num_batched_tokens,
            max_model_len=limits.max_model_len,
            enable_chunked_prefill=True,
            async_scheduling=True,
            **_chunking(limits),
        ),
        additional_config=additional_config or {},
    )
    config.scheduler_config.async_scheduling = True  # the CPU platform switches it off
    config.cache_config.num_gpu_blocks = blocks
    spec = FullAttentionSpec(block_size=block_tokens, num_kv_heads=KV_HEADS, head_size=HEAD, dtype=torch.bfloat16)
    # The token budget that a policy sets before it calls vLLM's schedule() is corrected there.
    bases = (RoomForBulk,) if scheduler is AsyncScheduler else (scheduler, RoomForBulk)
    simulated: type[AsyncScheduler] = type(scheduler.__name__, bases, {})
    return simulated(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(
            num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
        ),
        structured_output_manager=StructuredOutputManager(config),
        block_size=block_tokens,
        **arguments,
    )


def _chunking(limits: EngineLimits) -> dict[str, Any]:
    """What differs from vLLM's defaults. Raises SimulationError for a setting that this release does not know."""
    stated = {
        "long_prefill_token_threshold": limits.long_prefill_tokens,
        "long_prefill_token_threshold_adaptive": limits.adaptive_long_prefill,
        "watermark": limits.watermark,
    }
    settings = {name: value for name, value in stated.items() if value}
    if unknown := sorted(set(settings) - {field.name for field in dataclasses.fields(SchedulerConfig)}):
        raise SimulationError(f"this release of vLLM has no {unknown[0]}; leave it out or install a newer release")
    return settings


def room_tokens(limits: EngineLimits) -> int:
    """Most tokens of one request in the KV cache: one block is vLLM's null block."""
    return (limits.kv_tokens // limits.block_tokens - 1) * limits.block_tokens


def context_tokens(limits: EngineLimits) -> int:
    """Most tokens of prompt and output together; recorded sessions are cut to them."""
    return min(limits.max_model_len, room_tokens(limits))


@cache
def block_hasher(block_tokens: int = BLOCK_TOKENS) -> BlockHasher:
    hash_function = get_hash_fn_by_name(HASH)
    init_none_hash(hash_function)
    hasher: BlockHasher = get_request_block_hasher(block_tokens, hash_function)
    return hasher


class ContextHasher:
    """The block hashes of requests whose tokens all begin a context, `ids`: each computed once, by vLLM's hasher."""

    def __init__(self, ids: list[int], block_tokens: int) -> None:
        self.ids = ids
        self._block_tokens = block_tokens
        self._hashed: Request | None = None  # a request with as much of the context as was asked for

    @classmethod
    def of(cls, contexts: Iterable[list[int]], block_tokens: int) -> "list[ContextHasher]":
        """A hasher for each turn's context; turns that share a context share its hasher."""
        hashers: dict[int, ContextHasher] = {}
        return [hashers.setdefault(id(ids), cls(ids, block_tokens)) for ids in contexts]

    def __call__(self, request: Request) -> list[Any]:
        """The hashes of the blocks that the request has filled since the last call."""
        known, full = len(request.block_hashes), request.num_tokens // self._block_tokens
        if known >= full:
            return _NO_HASHES
        hashed = self._hashed
        if hashed is None:
            hasher = block_hasher(self._block_tokens)
            hashed = self._hashed = Request("", [], SamplingParams(), None, block_hasher=hasher)
        if len(hashed.block_hashes) < full:
            hashed.append_output_token_ids(self.ids[hashed.num_tokens : full * self._block_tokens])
        return hashed.block_hashes[known:full]


_NO_HASHES: list[Any] = []


@cache
def _model_config(max_model_len: int) -> ModelConfig:
    with tempfile.TemporaryDirectory() as folder:
        config = {**_MODEL, "max_position_embeddings": max_model_len}
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return ModelConfig(
            model=folder,
            skip_tokenizer_init=True,
            dtype="bfloat16",
            max_model_len=max_model_len,
            generation_config="vllm",
        )
