"""Requests that tests add."""

import random
from concurrent.futures import Future
from typing import Any

from vllm.lora.request import LoRARequest
from vllm.v1.request import Request, RequestStatus

from augserve.pipeline.simulator.engine import block_hasher

from .conftest import Engine


def load(engine: Engine, count: int = 60, seed: int = 1) -> dict[str, int]:
    """Add requests of mixed lengths, some of them in sessions; returns the output tokens of each."""
    rnd = random.Random(seed)
    expected = {}
    for number in range(count):
        output = rnd.randint(1, 60)
        hints = {"augserve_tools_offered": 2, "augserve_last_tool": "sql"}
        engine.add(number, rnd.randint(2, 2000), output, f"s{number % 7}" if number % 3 else None, extra_args=hints)
        expected[f"r{number}"] = output
    return expected


def follow(engine: Engine, before: Request, more: int = 20, session: str | None = None) -> Request:
    """The next turn, of the same session or another: the past and a tool result of `more` tokens."""
    request = Request(
        f"{before.request_id} next",
        [*before.all_token_ids, *range(500, 500 + more)],
        before.sampling_params,
        None,
        arrival_time=engine.clock.now_s,
        session_id=session or before.session_id,
        block_hasher=block_hasher(),
    )
    engine.scheduler.add_request(request)
    return request


def running(engine: Engine, number: int, tokens: int) -> Request:
    """A turn that decodes for long."""
    request = engine.add(number, tokens, 400, f"s{number}", cache_salt=f"s{number}")
    engine.drain_until(lambda: not request.is_prefill_chunk)
    return request


def structured(engine: Engine, number: int, **facts: Any) -> tuple[Request, "Future[Any]"]:
    """A request that waits for its grammar, which is compiled elsewhere."""
    request = engine.add(number, 100, 5, structured=True, **facts)
    assert request.status == RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
    assert request.structured_output_request is not None
    compiled: Future[Any] = Future()
    request.structured_output_request.grammar = compiled
    return request, compiled


def adapter(number: int) -> LoRARequest:
    return LoRARequest(f"lora-{number}", number, "/nowhere")
