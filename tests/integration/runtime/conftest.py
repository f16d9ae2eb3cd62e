import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from augserve.models.predictor import Rows, TurnPredictions
from augserve.models.settings import SchedulerSettings
from augserve.pipeline.simulator.engine import block_hasher, build_scheduler
from augserve.pipeline.simulator.profile import EngineLimits
from augserve.runtime.deployment import Deployment
from augserve.runtime.scheduler import Artifacts, AugServeScheduler
from augserve.runtime.vllm_compat import holding_queue


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Constant:
    """A predictor that always answers the same; set an answer to NaN, or `broken`, to spoil it."""

    def __init__(self) -> None:
        self.answer = (10.0, 50.0, 200.0)
        self.broken = False

    def _rows(self, rows: Rows) -> Rows:
        if self.broken:
            raise RuntimeError("the predictor is broken")
        return np.tile(np.array(self.answer, np.float32), (len(rows), 1))

    def turns(self, rows: Rows) -> TurnPredictions:
        answer = self._rows(rows)
        return TurnPredictions(answer, answer, answer, np.full(len(rows), 0.5, np.float32))

    tool_duration = _rows


class TestedScheduler(AugServeScheduler):
    """AugServe's scheduler with a clock and a predictor of the test's."""

    __test__ = False
    clock = Clock()
    settings = SchedulerSettings()

    def load_artifacts(self, deployment: Deployment) -> Artifacts:
        self.predictor = Constant()
        return Artifacts(self.settings, self.predictor, "test-1")

    def make_clock(self) -> Callable[[], float]:
        return self.clock


class Engine:
    """A scheduler, and a forward pass that samples a constant token, one step in flight at a time or two."""

    def __init__(self, scheduler: AsyncScheduler, clock: Clock) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.in_flight: list[tuple[SchedulerOutput, list[list[int]]]] = []
        self.outputs: list[EngineCoreOutput] = []
        self.scheduled: list[dict[str, int]] = []

    def add(self, number: int, prompt: int, output: int, session: str | None = None, **facts: Any) -> Request:
        shared = list(range(100, 100 + prompt // 2))
        own = random.Random(number).choices(range(100, 30_000), k=prompt - len(shared))
        params = SamplingParams(max_tokens=output, ignore_eos=True, extra_args=facts.pop("extra_args", None))
        request = Request(
            f"r{number}",
            shared + own,
            params,
            None,
            arrival_time=self.clock.now_s,
            session_id=session,
            block_hasher=block_hasher(),
            **facts,
        )
        self.scheduler.add_request(request)
        return request

    def schedule(self) -> SchedulerOutput:
        scheduled = self.scheduler.schedule()
        requests = self.scheduler.requests
        tokens = [[] if requests[each].is_prefill_chunk else [7] for each in scheduled.num_scheduled_tokens]
        self.in_flight.append((scheduled, tokens))
        self.scheduled.append(dict(scheduled.num_scheduled_tokens))
        return scheduled

    def answer(self) -> None:
        scheduled, tokens = self.in_flight.pop(0)
        ids = list(scheduled.num_scheduled_tokens)
        result = ModelRunnerOutput(ids, {each: index for index, each in enumerate(ids)}, tokens)
        for outputs in self.scheduler.update_from_output(scheduled, result).values():
            self.outputs.extend(outputs.outputs)

    def step(self) -> None:
        """Schedule one ahead, as vLLM does, and answer the step before."""
        self.clock.now_s += 0.02
        self.schedule()
        if len(self.in_flight) > 1:
            self.answer()

    def drain(self) -> None:
        for _ in range(20_000):
            if not self.scheduler.has_requests():
                break
            self.step()
        while self.in_flight:
            self.answer()
        assert not self.scheduler.has_unfinished_requests()

    def assert_nothing_is_left(self) -> None:
        """Every block is free again, every queue empty, every turn forgotten."""
        scheduler = self.scheduler
        pool = scheduler.kv_cache_manager.block_pool
        assert pool.get_num_free_blocks() == pool.num_gpu_blocks - 1
        assert not scheduler.requests
        assert not scheduler.running
        assert not scheduler.waiting
        assert not holding_queue(scheduler)
        assert not getattr(scheduler, "deferred_waiting", ())
        if isinstance(scheduler, AugServeScheduler):
            assert not scheduler._turns

    def finished(self) -> dict[str, int]:
        """Output tokens of each request that came to its end."""
        tokens: dict[str, int] = {}
        for output in self.outputs:
            tokens[output.request_id] = tokens.get(output.request_id, 0) + len(output.new_token_ids)
        ended = {output.request_id for output in self.outputs if output.finish_reason is not None}
        return {request_id: count for request_id, count in tokens.items() if request_id in ended}


EngineMaker = Callable[..., Engine]


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[EngineMaker]:
    made: list[AsyncScheduler] = []

    def make(
        scheduler: type[AsyncScheduler] = TestedScheduler,
        mode: str = "active",
        kv_tokens: int = 16_384,
        max_num_seqs: int = 32,
        traces: bool = False,
        settings: SchedulerSettings | None = None,
        deployment: dict[str, Any] | None = None,
    ) -> Engine:
        clock = Clock()
        section = {"mode": mode, **({"traces": str(tmp_path / "traces")} if traces else {}), **(deployment or {})}
        limits = EngineLimits(
            kv_tokens=kv_tokens, max_model_len=4096, max_num_seqs=max_num_seqs, max_num_batched_tokens=2048
        )
        if issubclass(scheduler, TestedScheduler):
            facts = {"clock": clock, "settings": settings or SchedulerSettings()}
            scheduler = type(scheduler.__name__, (scheduler,), facts)
        built = build_scheduler(scheduler, limits, {"augserve": section})
        made.append(built)
        return Engine(built, clock)

    yield make
    for scheduler in made:
        scheduler.shutdown()
