"""Groups of layers with KV caches of their own."""

from typing import Any

import pytest
import torch
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec, SlidingWindowSpec


def sliding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build schedulers with a second group of layers, which has a sliding window."""

    def two_groups(num_blocks: int, **_: Any) -> KVCacheConfig:
        facts: dict[str, Any] = {"block_size": 16, "num_kv_heads": 8, "head_size": 128, "dtype": torch.bfloat16}
        full, sliding = FullAttentionSpec(**facts), SlidingWindowSpec(**facts, sliding_window=256)
        groups = [KVCacheGroupSpec(["full"], full), KVCacheGroupSpec(["sliding"], sliding)]
        return KVCacheConfig(num_blocks=num_blocks, kv_cache_tensors=[], kv_cache_groups=groups)

    monkeypatch.setattr("augserve.pipeline.simulator.engine.KVCacheConfig", two_groups)
