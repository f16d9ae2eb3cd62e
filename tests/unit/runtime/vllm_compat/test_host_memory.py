"""Blocks in host memory, read from vLLM's own manager."""

from types import SimpleNamespace
from typing import Any

import pytest
from vllm.v1.kv_offload.base import ReqContext, make_offload_key
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager

from augserve.runtime.vllm_compat.host_memory import HostMemory

HASHES: list[Any] = [bytes([number]) * 32 for number in range(7)]
CONTEXT = ReqContext(req_id="r")


def stored(*blocks: int) -> CPUOffloadingManager:
    """A manager that has stored the chunks of these last blocks."""
    manager = CPUOffloadingManager(8)
    keys = [make_offload_key(HASHES[block], 0) for block in blocks]
    manager.prepare_store(keys, CONTEXT)
    manager.complete_store(keys, CONTEXT)
    return manager


def test_stored_blocks_are_found() -> None:
    memory = HostMemory(stored(0, 1, 2), chunk_blocks=1)
    assert [memory.holds(HASHES, block) for block in range(5)] == [True, True, True, False, False]


def test_a_block_is_found_by_the_last_block_of_its_chunk() -> None:
    memory = HostMemory(stored(2, 5), chunk_blocks=3)
    assert [memory.holds(HASHES, block) for block in range(7)] == [True] * 6 + [False]  # block 6 has no whole chunk


@pytest.mark.parametrize("connector", [None, SimpleNamespace(), SimpleNamespace(connector_scheduler=None)])
def test_other_connectors_have_no_host_memory_to_read(connector: object) -> None:
    assert HostMemory.of(SimpleNamespace(connector=connector)) is None  # type: ignore[arg-type]
